"""The command line as a whole: help, errors, signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import Result

from tracebus.cli import _COMMANDS, _attempt, main
from tracebus.errors import AppendUnknown, EventLogRefused, EventLogUnavailable

Cli = Callable[..., Result]

MODULES = {
    name: f"tracebus.cli.{'import_' if name == 'import' else name.replace('-', '_')}" for name in _COMMANDS
}
PRESENT = [name for name, module in MODULES.items() if find_spec(module)]


def tracebus(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "tracebus", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def test_every_command_has_a_file_and_every_file_is_a_command(root: Path) -> None:
    """What lies in tracebus/cli is listed in --help, under its own name."""
    files = {path.stem.rstrip("_").replace("_", "-") for path in (root / "tracebus" / "cli").glob("[!_]*.py")}
    assert set(_COMMANDS) >= files


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_help_lists_every_command(cli: Cli, name: str) -> None:
    """`tracebus --help` names each command and says what it does."""
    assert f"  {name} " in cli("--help").stdout


@pytest.mark.parametrize("name", PRESENT)
def test_every_command_explains_itself(cli: Cli, name: str) -> None:
    """`tracebus COMMAND --help` shows the command's usage."""
    result = cli(name, *(["chat"] if name == "import" else []), "--help")
    assert (0, True) == (result.exit_code, "Usage: " in result.stdout)


def test_help_teaches(cli: Cli) -> None:
    """The first help shows a worked example in order, the exit codes and the environment variable."""
    shown = cli("--help").stdout
    steps = ["tracebus keygen", "tracebus import chat", "tracebus show", "tracebus export", "tracebus verify"]
    places = [shown.index(step) for step in steps]
    assert places == sorted(places)
    assert "TRACEBUS_LOG" in shown
    assert "Exit codes" in shown


def test_help_loads_no_command() -> None:
    """`tracebus --help` stays quick: neither a command, nor rich, nor sqlite's log is imported for it."""
    code = (
        "import sys; from tracebus.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith(('tracebus.cli.', 'rich'))], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stderr.strip()


def test_version(cli: Cli) -> None:
    """`tracebus --version` prints name and version."""
    assert cli("--version").stdout.startswith("tracebus, version ")


def test_an_unknown_command_is_wrong_usage(cli: Cli) -> None:
    """A command that does not exist exits with 2."""
    assert 2 == cli("nope").exit_code


@pytest.mark.parametrize("command", ["workflows", "runs", "fsck"])
def test_reading_makes_no_log(cli: Cli, tmp_path: Path, command: str) -> None:
    """A reading command on a log that is not there exits with 2, says what to do, and makes none."""
    result = cli(command, "--log", "none.db")
    assert (2, True, []) == (result.exit_code, "TRACEBUS_LOG" in result.stderr, list(tmp_path.iterdir()))


def test_reading_leaves_an_empty_file_alone(cli: Cli, tmp_path: Path) -> None:
    """An empty file is not turned into a log by reading it."""
    path = tmp_path / "empty.db"
    path.touch()
    assert (2, 0) == (cli("runs", "--log", path).exit_code, path.stat().st_size)


def test_another_file_is_no_log(cli: Cli, tmp_path: Path) -> None:
    """A file that is no event log is refused with 2, in one line."""
    path = tmp_path / "text.db"
    path.write_text("hello, " * 1000)
    result = cli("workflows", "--log", path)
    assert (2, 1) == (result.exit_code, len(result.stderr.splitlines()))


def test_the_log_can_be_named_in_the_environment(cli: Cli, log: Path, tmp_path: Path) -> None:
    """TRACEBUS_LOG is used where --log is not given."""
    log.rename(tmp_path / "other.db")
    assert 0 == cli("workflows", env={"TRACEBUS_LOG": str(tmp_path / "other.db")}).exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EventLogRefused("no log"), 2),
        (EventLogUnavailable("locked"), 3),
        (AppendUnknown("who knows"), 3),
        (PermissionError(13, "Permission denied", "a\x1b[2J.db"), 2),
    ],
)
def test_errors_become_exit_codes(capsys: pytest.CaptureFixture[str], error: Exception, code: int) -> None:
    """An error becomes its exit code and one line on stderr."""

    def fail() -> None:
        raise error

    found = _attempt(fail)
    shown = capsys.readouterr().err
    assert (code, 1, False) == (found, len(shown.splitlines()), "\x1b[2J" in shown)


def test_mistakes_of_ours_are_not_hidden() -> None:
    """An error that no input should cause is raised, with its traceback."""
    with pytest.raises(ZeroDivisionError):
        _attempt(lambda: 1 // 0)


def test_a_closed_pipe_leaves_no_traceback(log: Path) -> None:
    """When the reader of the output goes away, nothing is said, and the exit code tells."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "tracebus", "show", "transfer-42", "--log", str(log)]
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (141, b"") == (done.returncode, done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a child")
def test_ctrl_c_is_clean(tmp_path: Path, key: Path) -> None:
    """An interrupted command exits with 130 and one line, no traceback."""
    fifo = tmp_path / "bundle.json"
    os.mkfifo(fifo)
    public_key = str(key.with_suffix(".pub"))
    command = [sys.executable, "-m", "tracebus", "verify", str(fifo), "--key", public_key]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    # The other end opens when the child does: then it is reading.
    with open(fifo, "wb"):
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    assert (130, "interrupted\n") == (child.returncode, errors)


def test_no_colours_without_a_terminal(log: Path) -> None:
    """Output that goes into a pipe holds no escape sequence."""
    assert "\x1b" not in tracebus("show", "transfer-42", "--log", log).stdout


def test_colours_can_be_switched_off(cli: Cli, log: Path) -> None:
    """NO_COLOR holds on a terminal, too."""
    coloured, plain = (
        cli("show", "transfer-42", "--log", log, color=True, env={"NO_COLOR": value}).stdout
        for value in ("", "1")
    )
    assert (True, False) == ("\x1b" in coloured, "\x1b" in plain)


def test_commands_are_commands() -> None:
    """Each module gives a click command under the name by which it is called."""
    with click.Context(main) as context:
        named = {name: main.get_command(context, name) for name in PRESENT}
    assert dict.fromkeys(PRESENT, True) == {name: command is not None for name, command in named.items()}
