"""`tracebus erase`: what would go, what went, what is said, and when it is refused."""

import functools
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest
from click.testing import Result

from evidence import verify_evidence_bundle
from tracebus import (
    DataErased,
    EventQuery,
    SqliteEventLog,
    ToolExecuted,
    TraceEventBus,
)
from tracebus.errors import AppendConflict
from tracebus.eventlog import AnyEvent, Erasure
from tracebus.fsck import fsck

Cli = Callable[..., Result]

WHY = ("--reason", "asked for", "--legal-basis", "GDPR Art. 17(1)(b)")

LEFT = (
    "left, for it stands in the clear: tool_executed (1: callId, tool), tool_proposed (1: callId, tool); "
    "--payloads takes these payloads"
)
"""What is said of the payloads of transfer-42, which hold nothing personal."""


@contextmanager
def opened(path: Path) -> Iterator[SqliteEventLog]:
    """Open a log to read it."""
    with closing(SqliteEventLog(path, read_only=True)) as log:
        yield log


def held(path: Path) -> list[str]:
    """Return which types of events have sensitive members; the log has to hold together."""
    with opened(path) as log:
        assert fsck(log).fault is None
        return [event.type for event in log.query(EventQuery()) if event.disclosures]


def erasures(path: Path) -> list[AnyEvent]:
    """Return the events that record erasures."""
    with opened(path) as log:
        return list(log.query(EventQuery(types=("data_erased",))))


def bytes_of(path: Path) -> bytes:
    """Return all bytes of a log's files."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*") if file.is_file())


def test_a_user(cli: Cli, log: Path) -> None:
    """What is erased is said by type, and recorded under the account that ran the command."""
    result = cli("erase", "--user", "u-91", *WHY, "--request-id", "DSR-204", "--yes", "--log", log)
    (record,) = erasures(log)
    lines = result.stdout.splitlines()
    assert (0, []) == (result.exit_code, held(log))
    assert ["type", "events", "sensitive", "members", "payloads"] == lines[0].split()
    assert [
        ["run_started", "1", "1", "0"],
        ["tool_executed", "1", "1", "0"],
        ["tool_proposed", "1", "1", "0"],
    ] == [line.split() for line in lines[1:4]]
    assert [
        "3 sensitive members of 3 events in 1 workflow erased: transfer-42",
        LEFT,
        "without the userId they are found by --workflow, and by --user no more",
        f"recorded as {record.id}",
        "what was erased is gone from the log's files",
    ] == lines[4:9]
    payload = record.payload
    assert isinstance(payload, DataErased)
    assert ("asked for", "GDPR Art. 17(1)(b)", "DSR-204", "cli", 3) == (
        *(payload.reason, payload.legal_basis, payload.request_id, payload.identity_source),
        len(payload.targets),
    )
    assert b"u-91" not in bytes_of(log)


def test_dry_run(cli: Cli, log: Path) -> None:
    """A rehearsal says the same, needs no reason, and changes nothing."""
    before = log.read_bytes()
    result = cli("erase", "--user", "u-91", "--dry-run", "--log", log)
    facts = json.loads(cli("erase", "--user", "u-91", "--dry-run", "--json", "--log", log).stdout)
    assert "3 sensitive members of 3 events in 1 workflow would be erased: transfer-42" in result.stdout
    assert (0, before) == (result.exit_code, log.read_bytes())
    assert {
        "workflows": [{"workflowId": "transfer-42", "tenantId": None}],
        "types": {
            name: {"events": 1, "members": 1, "payloads": 0}
            for name in ("run_started", "tool_executed", "tool_proposed")
        },
        "openRuns": [],
        "otherRuns": [],
        "inTheClear": {
            name: {"payloads": 1, "members": ["callId", "tool"]}
            for name in ("tool_executed", "tool_proposed")
        },
        "unmatched": [],
        "exports": [],
    } == facts


def test_json(cli: Cli, log: Path, bundle: Path) -> None:
    """As JSON: what went, by which events, whether it is gone from the files, what was exported."""
    bundle_id = json.loads(bundle.read_bytes())["bundleId"]
    facts = json.loads(
        cli("erase", "--workflow", "transfer-42", *WHY, "--yes", "--json", "--log", log).stdout
    )
    (export,) = facts["exports"]
    assert ([event.id for event in erasures(log)], True, None) == (
        facts["records"],
        facts["scrubbed"],
        facts["notScrubbed"],
    )
    assert (bundle_id, "transfer-42") == (export["bundleId"], export["workflowId"])


def test_bundles_that_are_out(cli: Cli, log: Path, bundle: Path, key: Path, tmp_path: Path) -> None:
    """The bundles that were exported are listed; they still verify, and so does a new one."""
    result = cli("erase", "--user", "u-91", *WHY, "--yes", "--log", log)
    assert json.loads(bundle.read_bytes())["bundleId"] in result.stdout
    assert "have their own copies" in result.stdout
    new = tmp_path / "new.json"
    cli("export", "transfer-42", "-o", new, "--key", key, "--log", log)
    public = key.with_suffix(".pub").read_text()
    reports = [verify_evidence_bundle(path.read_bytes(), public).shown for path in (bundle, new)]
    assert [(3, 0), (0, 3)] == [(shown.disclosures, shown.erased_disclosures) for shown in reports]


def test_only_and_payloads(cli: Cli, log: Path) -> None:
    """Patterns choose members; with --payloads those without a member choose whole payloads."""
    only = ("--only", "*:arguments", "--only", "tool_executed")
    result = cli("erase", "--workflow", "transfer-42", *only, "--payloads", *WHY, "--yes", "--log", log)
    assert "2 sensitive members and 1 whole payload of 2 events" in result.stdout
    assert ["run_started"] == held(log)


def test_an_event(cli: Cli, log: Path) -> None:
    """A named event loses its payload whatever its type."""
    with opened(log) as store:
        (verdict,) = store.query(EventQuery(types=("approval_resolved",)))
    result = cli("erase", "--event", verdict.id, "--payloads", *WHY, "--yes", "--log", log)
    with opened(log) as store:
        (after,) = store.query(EventQuery(ids=(verdict.id,)))
    assert (0, None) == (result.exit_code, after.payload_json)


def test_twice(cli: Cli, log: Path) -> None:
    """Where nothing is left it says so, records nothing, and that is no failure."""
    arguments = ("erase", "--workflow", "transfer-42", *WHY, "--yes", "--log", log)
    cli(*arguments)
    result = cli(*arguments)
    assert (0, 1) == (result.exit_code, len(erasures(log)))
    assert result.stdout.startswith("nothing to erase")


def test_under_a_hold(cli: Cli, log: Path) -> None:
    """Under a hold the exit code is 1, the hold is named, and nothing changed; a rehearsal says it, too."""
    cli("hold", "set", "h1", "--user", "u-91", "--matter", "claim 17", "--reason", "r", "--log", log)
    before = held(log)
    for last in ("--yes", "--dry-run"):
        result = cli("erase", "--workflow", "transfer-42", *WHY, last, "--log", log)
        assert 1 == result.exit_code
        assert "hold h1, placed 20" in result.stderr
        assert "for claim 17" in result.stderr
        assert "tracebus hold lift h1" in result.stderr
    assert before == held(log)


def test_a_held_name_in_the_bytes(cli: Cli, log: Path) -> None:
    """When the hold is lifted, the person's id leaves the record of the hold, too."""
    cli("hold", "set", "h1", "--user", "u-91", "--reason", "r", "--log", log)
    assert 1 == cli("erase", "--user", "u-91", *WHY, "--yes", "--log", log).exit_code
    cli("hold", "lift", "h1", "--reason", "r", "--log", log)
    assert 0 == cli("erase", "--user", "u-91", *WHY, "--yes", "--log", log).exit_code
    assert ([], False) == (held(log), b"u-91" in bytes_of(log))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*WHY, "--yes"], "expected one of a workflow, a user and events"),
        (["--user", "u-91", "--workflow", "transfer-42", *WHY, "--yes"], "expected one of"),
        (["--user", "u-91", "--yes"], "expected --reason and --legal-basis"),
        (["--user", "u-91", *WHY], "look with --dry-run what would go, and then add --yes"),
        (["--user", "nobody", *WHY, "--yes"], "no run in the log was started for user nobody"),
        (["--user", "u-9", *WHY, "--yes"], "no run in the log was started for user u-9:"),
        (["--user", "u-91", "--tenant", "acme", *WHY, "--yes"], "no run in the log was started for user"),
        (["--workflow", "nothing", *WHY, "--yes"], "the log has no workflow nothing"),
        (
            ["--workflow", "transfer-42", "--tenant", "acme", *WHY, "--yes"],
            "no workflow transfer-42 of tenant",
        ),
        (["--workflow", "shared-1", *WHY, "--yes"], "choose --tenant acme or --tenant böll"),
        (["--workflow", "tracebus:log", *WHY, "--yes"], "tracebus:log"),
        (["--event", "01KAJ2000000000000000000ZZ", *WHY, "--yes"], "the log has no event 01KAJ2"),
        (["--event", "01KAJ2000000000000000000ZZ", "--tenant", "t", *WHY, "--yes"], "an id is one event's"),
        (["--user", "u-91", "--only", ":x", *WHY, "--yes"], "expected type or type:member"),
        (["--user", "u-91", *WHY, "--yes", "--request-id", "u-91"], "request id: names the user"),
        (["--user", "u-91", *WHY, "--yes", "--reason", " "], "expected an actor and a reason"),
        (["--user", "u-91", "--finish"], "--finish stands by itself"),
        (["--finish", "--dry-run"], "--finish stands by itself"),
        (["--user", "u-91", "--tenant", "t", "--no-tenant", *WHY, "--yes"], "exclude each other"),
        (["--user", "u-91", "--actor", " ", *WHY, "--yes"], "expected who orders it"),
    ],
)
def test_wrong_usage(cli: Cli, log: Path, arguments: list[str], message: str) -> None:
    """What is refused says what was expected, and changes nothing."""
    before = held(log)
    result = cli("erase", *arguments, "--log", log)
    assert (2, before, []) == (result.exit_code, held(log), erasures(log))
    assert message in result.stderr


async def _same_user_of_two_tenants(log: SqliteEventLog) -> None:
    async with TraceEventBus(log) as bus:
        for tenant in ("acme", "böll"):
            async with bus.run(workflow_id="w7", tenant_id=tenant, user_id="u-7"):
                await bus.publish(ToolExecuted(tool="wire", status="ok", result=tenant))
        async with bus.run(workflow_id="w7", tenant_id="acme", run_id="child"):
            await bus.publish(ToolExecuted(tool="wire", status="ok", result="of whom?"))
        await bus.start_run(workflow_id="goes-on", run_id="open", tenant_id="acme", user_id="u-7")


def test_a_user_of_two_tenants(cli: Cli, log: Path) -> None:
    """Users of one id and two tenants are told apart; runs for nobody, and open ones, are pointed out."""
    store = SqliteEventLog(log)
    anyio.run(_same_user_of_two_tenants, store)
    store.close()
    unclear = cli("erase", "--user", "u-7", *WHY, "--yes", "--log", log)
    assert "choose --tenant acme or --tenant böll" in unclear.stderr
    result = cli("erase", "--user", "u-7", "--tenant", "acme", *WHY, "--yes", "--log", log)
    assert (2, 0) == (unclear.exit_code, result.exit_code)
    assert "still open: open; what is recorded there from now on stays" in result.stdout
    assert "not touched, for they were not started for this user: child; --workflow erases" in result.stdout
    with opened(log) as store:
        left = {event.tenant_id for event in store.query(EventQuery(user_id="u-7"))}
    assert {"böll"} == left


def test_finish_when_somebody_reads(cli: Cli, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads, the bytes may have to stay: exit code 3, and --finish makes up for it."""
    impatient = functools.partial(SqliteEventLog, wait_seconds=0.1)
    monkeypatch.setattr("tracebus.cli._common.SqliteEventLog", impatient)
    with closing(sqlite3.connect(log, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM disclosures").fetchone()
        result = cli("erase", "--user", "u-91", *WHY, "--yes", "--log", log)
    assert (3, []) == (result.exit_code, held(log))
    assert "tracebus erase --finish" in result.stdout
    done = cli("erase", "--finish", "--log", log)
    assert (0, "what was erased is gone from the log's files\n") == (done.exit_code, done.stdout)
    assert b"u-91" not in bytes_of(log)


def test_nothing_to_finish(cli: Cli, log: Path) -> None:
    """Where nothing is left to be scrubbed, --finish does nothing."""
    before = log.read_bytes()
    assert (0, before) == (cli("erase", "--finish", "--log", log).exit_code, log.read_bytes())


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 3), ("", 3)])
def test_on_a_terminal_it_asks(log: Path, answer: str, left: int) -> None:
    """A person is shown what would go, and asked; only yes erases."""
    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "tracebus", "erase", "--user", "u-91", *WHY, "--log", str(log)]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, text=True) as process:
        os.close(terminal)
        os.write(person, f"{answer}\n".encode())
        stdout, _ = process.communicate(timeout=60)
        os.close(person)
    assert (0, left) == (process.returncode, len(held(log)))
    assert f"would be erased: transfer-42\n{LEFT}\n" in stdout
    assert "\nErase this? It cannot be undone [y/N]:" in stdout
    assert ("nothing was erased" in stdout) == (left == 3)


def test_a_question_that_is_not_answered(log: Path) -> None:
    """Who leaves at the question has interrupted it: nothing is erased, and the exit code is of no hold."""
    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "tracebus", "erase", "--user", "u-91", *WHY, "--log", str(log)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, stdin=terminal, **pipes) as process:
        os.close(terminal)
        os.write(person, b"\x04")  # Ctrl-D
        _, errors = process.communicate(timeout=60)
        os.close(person)
    assert (130, b"interrupted\n", 3) == (process.returncode, errors, len(held(log)))


@pytest.mark.parametrize("command", [("erase", "--user", "u-91", *WHY), ("retention", "apply")])
def test_without_a_standard_input(log: Path, command: tuple[str, ...]) -> None:
    """Where standard input is closed nobody can be asked."""
    program = "import sys; sys.stdin = None; from tracebus.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *command, "--log", str(log)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (2, True) == (done.returncode, "nobody can be asked here" in done.stderr)


def test_holds_that_keep_changing(cli: Cli, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others keep changing holds meanwhile, the exit code says: not now."""

    def conflict(log: SqliteEventLog, erasure: Erasure) -> list[AnyEvent]:
        raise AppendConflict("r1", "a legal hold was changed: plan it again")

    monkeypatch.setattr(SqliteEventLog, "erase", conflict)
    result = cli("erase", "--user", "u-91", *WHY, "--yes", "--log", log)
    assert (3, 3, True) == (result.exit_code, len(held(log)), "plan it again" in result.stderr)
