"""The wheel, as a user gets it: installed with pip into an environment that has no dev tools."""

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("evidence", "sinks", "tracebus")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def _run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it printed; fail with its errors."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def _without_hashes(requirements: str) -> str:
    """Turn pinned requirements into constraints: pip asks a hash of the wheel itself otherwise."""
    return re.sub(r" \\\n +--hash=\S+", "", requirements)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the work tree."""
    out = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    _run(*build, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and what it declares, no more, and return the folder of its commands."""
    home = tmp_path_factory.mktemp("installed")
    pins = home / "constraints.txt"
    pins.write_text(_without_hashes((ROOT / "requirements-dev.txt").read_text(encoding="utf-8")))
    venv.create(home / "venv", with_pip=True, symlinks=sys.platform != "win32")
    bin_dir = home / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    _run(bin_dir / "python", "-m", "pip", "install", "-q", "-c", pins, wheel, cwd=home)
    return bin_dir


def test_holds_three_packages_and_nothing_else(wheel: Path) -> None:
    """Tests, schemas, examples and ADRs are not installed."""
    names = zipfile.ZipFile(wheel).namelist()
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    assert {*PACKAGES, info} == {name.partition("/")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(wheel: Path, package: str) -> None:
    """Type checkers read the annotations of each installed package."""
    assert f"{package}/py.typed" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_without_dev_tools(scripts: Path, package: str) -> None:
    """Each package imports from the wheel, with its declared dependencies alone."""
    code = f"import {package}; print({package}.__file__)"
    loaded_from = Path(_run(scripts / "python", "-c", code, cwd=scripts).strip())
    assert loaded_from.is_relative_to(scripts.parent.resolve())


def test_every_entry_point_loads(scripts: Path) -> None:
    """Each name the wheel advertises leads to an object."""
    code = (
        "from importlib.metadata import distribution\n"
        "for each in distribution('tracebus').entry_points: each.load(); print(each.name)"
    )
    loaded = _run(scripts / "python", "-c", code, cwd=scripts).split()
    assert {"tracebus", "memory", "sqlite", "jsonl"} <= set(loaded)


def test_command_line_runs(scripts: Path) -> None:
    """`tracebus --help` prints its usage."""
    assert "Usage: tracebus" in _run(scripts / "tracebus", "--help", cwd=scripts)


def test_verifier_runs_as_a_module(scripts: Path) -> None:
    """`python -m evidence --help` prints its usage."""
    shown = _run(scripts / "python", "-m", "evidence", "--help", cwd=scripts)
    assert shown.lower().startswith("usage:")
