"""What the documentation says is so: its snippets run, its links lead somewhere, its lists are whole."""

import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import anyio
import click
import pytest
from click.testing import CliRunner

from evidence import parse_disclosure_policy
from tracebus.cli import main

DOCUMENTS = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "KEYS.md",
    "OPERATING.md",
    "PRIVACY.md",
    "PERFORMANCE.md",
    "schemas/README.md",
    "adr/README.md",
]


class Block(NamedTuple):
    """A fenced block of a Markdown document."""

    language: str
    text: str


def blocks(document: Path) -> Iterator[Block]:
    """Yield a document's fenced blocks."""
    for fence in re.finditer(r"^```(\w+)\n(.*?)^```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        yield Block(fence[1], fence[2])


def run_python(text: str) -> str:
    """Run a snippet as a script of its own; return what it prints."""
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def run_console(text: str) -> str:
    """Run the lines that begin with a prompt; return what the last one prints."""
    printed = ""
    for line in text.splitlines():
        prompt, program, *arguments = shlex.split(line)
        assert ("$", "tracebus") == (prompt, program)
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        printed = result.stdout
    return printed


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_readme_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Its blocks run in order, in one folder, and print what the text blocks after them say."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRACEBUS_LOG", raising=False)
    monkeypatch.setattr(anyio, "run", partial(anyio.run, backend=backend))
    printed, languages = "", []
    for block in blocks(root / "README.md"):
        languages.append(block.language)
        match block.language:
            case "python":
                printed = run_python(block.text)
            case "console":
                printed = run_console(block.text)
            case "text":
                assert block.text == printed
    assert ["python", "console", "python", "text", "console", "console", "python", "console"] == languages


def test_the_first_screen_is_short(root: Path) -> None:
    """Recording takes a dozen lines, verifying six."""
    python = (block for block in blocks(root / "README.md") if block.language == "python")
    record, verify = (_lines(next(python)) for _ in range(2))
    assert (True, True) == (record <= 12, verify <= 6), (record, verify)


def test_what_privacy_shows_can_be_done(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program in it runs, and the policy in it is one."""
    monkeypatch.chdir(tmp_path)
    python, toml = blocks(root / "PRIVACY.md")
    run_python(python.text)
    assert ("python", "toml") == (python.language, toml.language)
    assert "payments, for the supervisor" == parse_disclosure_policy(toml.text.encode()).name


@pytest.mark.parametrize("document", ["KEYS.md", "OPERATING.md", "PRIVACY.md"])
def test_commands_have_their_options(root: Path, document: str) -> None:
    """Each command that a document shows is one, and has the options that are given to it."""
    lines = re.findall(r"^    tracebus (.+(?:\\\n.+)*)", (root / document).read_text("utf-8"), re.MULTILINE)
    assert lines
    for line in lines:
        words = line.partition("#")[0].split()
        command = next(name for name in _commands() if words[: len(name.split())] == name.split())
        shown = CliRunner().invoke(main, [*command.split(), "--help"]).stdout.split()
        assert {word for word in words if word.startswith("--")} <= set(shown), line


def _lines(block: Block) -> int:
    return sum(bool(line.strip()) for line in block.text.splitlines())


def test_the_readme_lists_every_command(root: Path) -> None:
    """The table of commands has each command of the command line, and no other."""
    listed = re.findall(r"^\| `tracebus ([a-z -]+)`", (root / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(_commands()) == sorted(listed)


def _commands() -> Iterator[str]:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {inner}" for inner in command.list_commands(context))
        else:
            yield name


def test_the_readme_names_every_example(root: Path) -> None:
    """Each script in examples/ is linked to."""
    text = (root / "README.md").read_text("utf-8")
    assert [] == [
        path.name for path in (root / "examples").glob("*.py") if f"examples/{path.name})" not in text
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(root: Path, document: str) -> None:
    """Each link to a file of the repository leads to one."""
    path = root / document
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8"))
    assert [] == [link for link in links if not (path.parent / link).exists()]


@pytest.mark.parametrize("document", ["README.md", "CHANGELOG.md"])
def test_words_that_promise_too_much(root: Path, document: str) -> None:
    """We say tamper-evident and refused, and leave these words alone."""
    words = r"immutab\w+|proven|compliant|unforgeable|guarantee\w*|tamper-?proof|military|\w*-grade"
    assert [] == re.findall(words, (root / document).read_text("utf-8"), re.IGNORECASE)
