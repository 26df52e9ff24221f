"""`tracebus fsck`."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from click.testing import Result

from tracebus import EventQuery, SqliteEventLog
from tracebus._erasing_contract import digests_of, erasing, record
from tracebus.eventlog.base import Targets

Cli = Callable[..., Result]


def alter(log: Path, sql: str) -> None:
    """Change a log behind its triggers' back, and put them back."""
    with closing(sqlite3.connect(log, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(sql)
        for _, created in triggers:
            connection.execute(created)


def test_a_sound_log(cli: Cli, log: Path) -> None:
    """A sound log exits with 0, counts what was checked, and says what fsck cannot show."""
    result = cli("fsck", "--log", log)
    assert (0, True, True) == (
        result.exit_code,
        result.stdout.startswith("sound: 15 events of 5 runs hold together; 2 runs open"),
        "cut off" in result.stdout,
    )


def test_a_log_that_is_still_to_be_scrubbed(cli: Cli, log: Path) -> None:
    """That bytes of what was erased may still be in the files is said, and is no fault."""
    with closing(SqliteEventLog(log)) as source:
        event = next(event for event in source.query(EventQuery()) if event.type == "tool_proposed")
        targets: Targets = {event.id: digests_of(event)}
        source.erase(erasing(source, targets, record(targets, event.workflow_id, event.tenant_id)))
    shown = cli("fsck", "--log", log)
    found = json.loads(cli("fsck", "--log", log, "--json").stdout)
    assert (0, True) == (shown.exit_code, "not scrubbed: 1 erased" in shown.stderr)
    assert (True, 1, 1) == (found["sound"], found["unscrubbed"], found["erasedDisclosures"])


def test_a_changed_payload(cli: Cli, log: Path) -> None:
    """A payload changed in the file exits with 1; the fault has kind and place."""
    alter(log, "UPDATE payloads SET payload = replace(payload, 'approved', 'rejected')")
    result = cli("fsck", "--log", log)
    assert (1, True) == (result.exit_code, result.stderr.startswith("changed: event 4 of run "))


def test_a_missing_event_as_json(cli: Cli, log: Path) -> None:
    """--json gives the fault as an object."""
    alter(log, "DELETE FROM events WHERE type = 'approval_resolved'")
    result = cli("fsck", "--log", log, "--json")
    found = json.loads(result.stdout)
    assert (1, False, "missing") == (result.exit_code, found["sound"], found["fault"]["kind"])


def test_a_log_cut_in_half_is_torn(cli: Cli, log: Path) -> None:
    """A log whose file lost its end is a fault (1), not merely another file (2)."""
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    result = cli("fsck", "--log", log)
    assert (1, "torn: ") == (result.exit_code, result.stderr[:6])


def test_a_file_that_never_was_a_log(cli: Cli, tmp_path: Path) -> None:
    """Another file exits with 2: there is nothing to check."""
    path = tmp_path / "text.db"
    path.write_text("hello, " * 1000)
    assert 2 == cli("fsck", "--log", path).exit_code


def test_json_of_a_sound_log(cli: Cli, log: Path) -> None:
    """--json of a sound log has no fault, and says what was not shown."""
    found = json.loads(cli("fsck", "--log", log, "--json").stdout)
    assert (True, None, 15, 5, 2) == (
        found["sound"],
        found["fault"],
        found["events"],
        found["runs"],
        found["openRuns"],
    )
    assert "cut off" in found["notShown"]
