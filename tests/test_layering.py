"""Who may import whom: sinks -> tracebus -> evidence, and nobody asyncio."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Package -> top-level modules that none of its files may import, not even for type checking.
FORBIDDEN = {
    "evidence": {
        *("tracebus", "sinks"),
        *("asyncio", "anyio", "trio", "sniffio"),
        *("pydantic", "sqlite3", "sqlite_utils", "click", "rich"),
        *("socket", "ssl", "http", "urllib3", "httpx", "aiohttp", "requests"),
    },
    "tracebus": {"sinks", "asyncio"},
    "sinks": {"asyncio"},
}
SOURCES = sorted(path.relative_to(ROOT) for package in FORBIDDEN for path in (ROOT / package).rglob("*.py"))
# Each file of a sink; the package itself may name them all.
SINKS = [path for path in SOURCES if path.parts[0] == "sinks" and path.parts[1] != "__init__.py"]


def _loaded_by(module: str) -> set[str]:
    """Return the top-level names that importing a module adds in a fresh interpreter."""
    code = (
        "import json, sys\n"
        "before = set(sys.modules)\n"
        f"import {module}\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def _imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of all that a file imports, wherever in it."""
    package = path.parent.parts  # of a module and of an __init__.py alike
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                parent = package[: len(package) - level + 1] if level else ()
                base = ".".join((*parent, *([module] if module else [])))
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def _forbidden(path: Path, source: str) -> list[str]:
    """Return a line of text for each import in a file that crosses a layer."""
    package = path.parts[0]
    return [
        f"{path}:{line}: {package} may not import {name}"
        for line, name in _imports(path, ast.parse(source))
        if name.partition(".")[0] in FORBIDDEN[package]
    ]


def _sinks_imported(path: Path, source: str) -> list[str]:
    """Return the other public sink modules that a sink imports."""
    found = []
    for _, name in _imports(path, ast.parse(source)):
        top, _, rest = name.partition(".")
        sink = rest.partition(".")[0]
        is_module = (ROOT / "sinks" / f"{sink}.py").exists() or (ROOT / "sinks" / sink).is_dir()
        if top == "sinks" and sink and is_module and not sink.startswith("_"):
            found.append(sink)
    return sorted(set(found) - {path.parts[1].removesuffix(".py")})


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_every_package_has_sources(package: str) -> None:
    """The tests below look at something."""
    assert any(path.parts[0] == package for path in SOURCES)


def test_evidence_loads_no_event_loop_and_no_database() -> None:
    """Who only verifies gets no event loop, no network, no database, no bus."""
    assert set() == _loaded_by("evidence") & FORBIDDEN["evidence"]


def test_tracebus_loads_no_sink() -> None:
    """The bus finds its sinks by entry point, and only when asked."""
    assert "sinks" not in _loaded_by("tracebus")


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    """A file imports from its own layer and the ones below, and asyncio nowhere."""
    assert [] == _forbidden(path, (ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SINKS, ids=str)
def test_sinks_do_not_know_each_other(path: Path) -> None:
    """A sink may share a private module with others, and imports no other sink."""
    assert [] == _sinks_imported(path, (ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("path", "source", "refused"),
    [
        ("evidence/a.py", "import tracebus.bus", True),
        ("evidence/a.py", "from pydantic import BaseModel", True),
        ("evidence/a.py", "def f():\n    import sqlite3", True),
        ("evidence/b/c.py", "from .. import chain", False),
        ("evidence/b/c.py", "from ..chain import link", False),
        ("tracebus/a.py", "from evidence import verify", False),
        ("tracebus/a.py", "from sinks.jsonl import JsonlSink", True),
        ("tracebus/a.py", "import importlib\nimportlib.import_module('sinks.jsonl')", True),
        ("tracebus/a.py", "from asyncio import Queue", True),
        ("tracebus/asyncio.py", "from . import asyncio", False),
        ("sinks/a.py", "from tracebus import Sink\nfrom evidence import digest", False),
        ("sinks/a.py", "import asyncio.subprocess", True),
    ],
)
def test_the_import_check_sees(path: str, source: str, refused: bool) -> None:
    """The check above refuses what it should and nothing else."""
    assert refused == bool(_forbidden(Path(path), source))
