"""`tracebus import chat`: what it prints, and how it is interrupted. The mapping: test_import_chat."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from tracebus import EventQuery, SqliteEventLog

Cli = Callable[..., Result]

TALK = {
    "conversation": "talk-7",
    "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}],
}


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """A file of two conversations."""
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps(TALK) + "\n" + json.dumps({**TALK, "conversation": "talk-8"}) + "\n")
    return path


def test_imports(cli: Cli, talks: Path) -> None:
    """Import makes the log, and says what was added and what to do next."""
    result = cli("import", "chat", talks)
    assert (0, True) == (result.exit_code, "talks.jsonl: 2 conversations, 4 messages" in result.stdout)
    assert "added      8 events to trace.db" in result.stdout
    assert "2 new" in result.stdout


def test_the_same_file_again_adds_nothing(cli: Cli, talks: Path) -> None:
    """A second import adds no event, and says so."""
    cli("import", "chat", talks)
    before = json.loads(cli("runs", "--json").stdout)
    result = cli("import", "chat", talks)
    assert (0, True, before) == (
        result.exit_code,
        "nothing was added" in result.stdout,
        json.loads(cli("runs", "--json").stdout),
    )


def test_json_summary(cli: Cli, talks: Path) -> None:
    """--json gives the counts."""
    summary = json.loads(cli("import", "chat", talks, "--json").stdout)
    assert (2, 4, 8, 2, 0) == tuple(
        summary[name] for name in ("conversations", "messages", "events", "imported", "present")
    )


def test_patterns(cli: Cli, tmp_path: Path) -> None:
    """--plain leaves a member in the clear, and --sensitive takes one within it out."""
    function = {"name": "book", "arguments": '{"flight": "HAT170", "email": "kim@example.org"}'}
    call = {"id": "c1", "type": "function", "function": function}
    talk = {"conversation": "t", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps(talk))

    result = cli("import", "chat", path, "--plain", "tool_*:/arguments", "--sensitive", "*:email")

    assert 0 == result.exit_code
    with closing(SqliteEventLog(tmp_path / "trace.db", read_only=True)) as log:
        (event,) = log.query(EventQuery(types=("tool_proposed",)))
    assert {"flight", "_sd"} == json.loads(event.payload_json or b"")["arguments"].keys()
    assert 1 == len(event.disclosures)


@pytest.mark.parametrize("option", [("--sensitive", "*:"), ("--sensitive", "gate_verdict:verdict")])
def test_a_pattern_that_is_refused(cli: Cli, talks: Path, option: tuple[str, str]) -> None:
    """It exits with 2, and no log is made."""
    result = cli("import", "chat", talks, *option)
    assert (2, True) == (result.exit_code, "pattern" in result.stderr)
    assert not Path("trace.db").exists()


def test_a_malformed_line_is_named(cli: Cli, talks: Path) -> None:
    """A bad line exits with 2: one line with file, line, expected and found; what is before it stays."""
    talks.write_text(talks.read_text() + '{"conversation":"x","messages":[{"role":"alien","content":""}]}\n')
    result = cli("import", "chat", talks)
    assert (2, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "talks.jsonl, line 3: messages/0/role: expected system" in result.stderr
    assert "found 'alien'; the 2 conversations before it are in the log" in result.stderr
    assert 2 == len(json.loads(cli("workflows", "--json").stdout))


def test_nothing_of_a_line_reaches_the_terminal(cli: Cli, talks: Path) -> None:
    """A malformed line that is quoted is escaped."""
    talks.write_text('{"conversation":"x\\u001b[2J\\u202e","messages":[]}')
    assert cli("import", "chat", talks).stderr.rstrip("\n").isprintable()


@pytest.mark.parametrize("arguments", [("none.jsonl",), (".",), ("talks.jsonl", "--log", "none/trace.db")])
def test_wrong_paths(cli: Cli, talks: Path, arguments: tuple[str, ...]) -> None:
    """A file or a folder that is not there exits with 2."""
    assert 2 == cli("import", "chat", *arguments).exit_code


_DIES = """
import os, signal, sys
import anyio
from tracebus import SqliteEventLog, TraceEventBus
from tracebus.importers import import_chat

def die(done, total):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with TraceEventBus(SqliteEventLog(sys.argv[2])) as bus:
        await import_chat(bus, sys.argv[1], progress=die)

anyio.run(main)
"""


@pytest.fixture
def long_talks(tmp_path: Path) -> Path:
    """A gzip file of 100 conversations of growing length, so that many are under way at once."""
    path = tmp_path / "long.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for number in range(100):
            messages = TALK["messages"] * (number + 1)
            file.write(json.dumps({"conversation": f"talk-{number}", "messages": messages}) + "\n")
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="kills a child with SIGKILL")
def test_an_import_that_was_killed_is_completed(cli: Cli, long_talks: Path, tmp_path: Path) -> None:
    """After kill -9 half-way the next import adds what is missing, and nothing twice."""
    log = tmp_path / "trace.db"
    killed = subprocess.run([sys.executable, "-c", _DIES, str(long_talks), str(log)], check=False, timeout=60)
    cut = json.loads(cli("runs", "--json").stdout)
    opened = [run for run in cut if run["status"] == "open"]
    assert (-signal.SIGKILL, True) == (killed.returncode, len(opened) > 1)
    summary = json.loads(cli("import", "chat", long_talks, "--json").stdout)
    assert (100, len(opened), 100 - len(cut)) == (
        summary["conversations"],
        summary["completed"],
        summary["imported"],
    )
    whole = json.loads(cli("runs", "--json").stdout)
    assert {f"talk-{n}": ("closed", 2 + 2 * (n + 1)) for n in range(100)} == {
        run["workflowId"]: (run["status"], run["events"]) for run in whole
    }
    assert summary["events"] == sum(run["events"] for run in whole) - sum(run["events"] for run in cut)
    assert 0 == cli("fsck").exit_code


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a child")
def test_ctrl_c_during_an_import(cli: Cli, long_talks: Path, tmp_path: Path) -> None:
    """Interrupted from the keyboard, an import exits with 130 and one line, and can be completed."""
    code = (
        "import os, signal, sys, tracebus.importers.chat as chat\n"
        "real = chat._Import._publish\n"
        "async def publish(self, conversation, run_id):\n"
        "    if conversation.conversation_id == 'talk-9':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return await real(self, conversation, run_id)\n"
        "chat._Import._publish = publish\n"
        "from tracebus.cli import main\n"
        "main(['import', 'chat', *sys.argv[1:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(long_talks), "--log", str(tmp_path / "trace.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert (130, "interrupted\n") == (done.returncode, done.stderr)
    assert 100 == json.loads(cli("import", "chat", long_talks, "--json").stdout)["conversations"]
    assert "no open runs\n" == cli("runs", "--open").stdout


def test_secrets(cli: Cli, tmp_path: Path) -> None:
    """Credentials are masked, and each place recorded, unless it is said not to."""
    secret = "ghp_" + "a1B2" * 9
    talk = {"conversation": "talk-7", "messages": [{"role": "user", "content": f"use {secret}"}]}
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps(talk) + "\n")
    cli("import", "chat", path)
    cli("import", "chat", path, "--log", "as-it-is.db", "--no-secret-scan")
    masked, as_it_is = (
        cli("show", "talk-7", "--json", "--log", log).stdout for log in ("trace.db", "as-it-is.db")
    )
    assert ([True, True], [False, True]) == (
        ["[secret: github-token]" in masked, "secret_detected" in masked],
        ["secret_detected" in as_it_is, secret in as_it_is],
    )


def test_a_secret_in_an_id(cli: Cli, tmp_path: Path) -> None:
    """A conversation whose id is a secret is refused, and the secret is not repeated."""
    secret = "ghp_" + "a1B2" * 9
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps(TALK) + "\n" + json.dumps({**TALK, "conversation": secret}) + "\n")
    result = cli("import", "chat", path)
    assert (2, True, False) == (
        result.exit_code,
        "talks.jsonl: the id of a conversation: " in result.stderr,
        secret in result.stderr + result.stdout,
    )
    assert ["talk-7"] == [run["workflowId"] for run in json.loads(cli("runs", "--json").stdout)]
