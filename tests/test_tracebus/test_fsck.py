"""Fsck names the first fault of a log, and its kind."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tracebus import EventLogRefused, MemoryEventLog, RunCompleted, RunStarted, SqliteEventLog, ToolProposed
from tracebus.fsck import Fault, fsck
from tracebus.testing import draft, events_of, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two interleaved runs, of five and three events."""
    path = tmp_path / "trace.db"
    log = SqliteEventLog(path)
    call = ToolProposed(tool="wire", arguments={"amount": 5000})
    drafts = [started(), started("r2"), draft(payload=call), draft("r2"), draft(payload=call), draft()]
    drafts += [
        draft("r2", RunCompleted(outcome="completed")),
        draft(payload=RunCompleted(outcome="completed")),
    ]
    for item in drafts:
        events_of(log.append([[item]])[0])
    log.close()
    return path


def insider(path: Path, *statements: str) -> Fault | None:
    """Edit the file as an insider can, traces removed, and return what fsck finds."""
    with closing(sqlite3.connect(path)) as connection, connection:
        saved = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        dropped = [f"DROP TRIGGER {name}" for name, _ in saved]
        for statement in [*dropped, *statements, *(sql for _, sql in saved)]:
            connection.execute(statement)
    log = SqliteEventLog(path, read_only=True)
    fault = fsck(log).fault
    log.close()
    return fault


def test_sound_log(path: Path) -> None:
    """A sound log has no fault; runs and events are counted."""
    log = SqliteEventLog(path, read_only=True)
    report = fsck(log)
    log.close()
    assert (8, 2, 0, None) == (report.events, report.runs, report.open_runs, report.fault)


def test_open_runs_are_counted() -> None:
    """Runs without their terminal event are counted as open."""
    log = MemoryEventLog()
    log.append([[started()], [started("r2")], [draft()]])
    assert 2 == fsck(log).open_runs


@pytest.mark.parametrize(
    ("statement", "kind", "place"),
    [
        (
            "UPDATE payloads SET payload = replace(payload, 'wire', 'wary') WHERE position = 3",
            "changed",
            "event 1 of run r1",
        ),
        ("UPDATE events SET risk = 'low' WHERE position = 3", "changed", "event 1 of run r1"),
        ("UPDATE events SET timestamp = '2020' WHERE position = 3", "changed", "event 1 of run r1"),
        ("UPDATE events SET type = 'tool_executed' WHERE position = 3", "changed", "event 1 of run r1"),
        ("UPDATE events SET tenant_id = 'x' WHERE position = 2", "changed", "event 0 of run r2"),
        ("UPDATE disclosures SET disclosure = 'xxxx' WHERE position = 3", "changed", "event 1 of run r1"),
        (
            "UPDATE log SET origin = 'other/01M7Y4C0NE778Z5S3XMTJZ8C9M'",
            "changed",
            "event 0 of run r1",
        ),
        ("DELETE FROM events WHERE position = 3", "missing", "event 2 of run r1"),
        ("DELETE FROM events WHERE position = 1", "missing", "event 1 of run r1"),
        ("DELETE FROM payloads WHERE position = 3", "missing", "event 1 of run r1"),
        ("DELETE FROM disclosures WHERE position = 3", "missing", "event 1 of run r1"),
        ("DROP INDEX events_run", "torn", "store"),
    ],
)
def test_insider(path: Path, statement: str, kind: str, place: str) -> None:
    """What an insider does to the file is named by kind and place."""
    fault = insider(path, statement)
    assert fault is not None
    assert (kind, place) == (fault.kind, fault.place)


def test_rehashed_payload(path: Path) -> None:
    """A payload that is changed together with its contentHash breaks the chain at its event."""
    import hashlib

    with closing(sqlite3.connect(path)) as connection:
        (payload,) = connection.execute("SELECT payload FROM payloads WHERE position = 3").fetchone()
    forged = payload.replace("wire", "wary")
    digest = "sha256:" + hashlib.sha256(forged.encode()).hexdigest()
    fault = insider(
        path,
        f"UPDATE payloads SET payload = '{forged}' WHERE position = 3",
        f"UPDATE events SET content_hash = '{digest}' WHERE position = 3",
    )
    assert fault is not None
    assert ("changed", "event 1 of run r1", 3) == (fault.kind, fault.place, fault.position)


def test_forked_run(path: Path) -> None:
    """Two events that follow the same one are a fork."""
    columns = "version, id, run_id, seq, workflow_id, type, timestamp, content_hash, parent_hash"
    copied = columns.replace("id,", "'01M7Y4C0NN01DBDG3W55BE6YHQ',", 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP INDEX events_run")
        connection.execute(
            f"INSERT INTO events (position, {columns}) SELECT 99, {copied} FROM events WHERE position = 5"
        )
        connection.execute("INSERT INTO payloads SELECT 99, payload FROM payloads WHERE position = 5")
    log = SqliteEventLog(path, read_only=True)
    log.check_store = lambda: iter(())  # type: ignore[method-assign] # the missing index is not the point
    fault = fsck(log).fault
    log.close()
    assert fault is not None
    assert ("forked", "event 2 of run r1") == (fault.kind, fault.place)


def damage(path: Path, at: bytes) -> None:
    """Overwrite a part of the file, from some bytes in it on."""
    data = path.read_bytes()
    start = data.index(at)
    path.write_bytes(data[:start] + os.urandom(600) + data[start + 600 :])


@pytest.mark.parametrize("at", [b'"tool":"wire"', b"tool_proposed"])
def test_damaged_pages(path: Path, at: bytes) -> None:
    """Pages that the disk damaged are reported as torn, or as the change that they make."""
    damage(path, at)
    log = SqliteEventLog(path, read_only=True)
    report = fsck(log)
    log.close()
    assert report.fault is not None


def test_unreadable_file(path: Path) -> None:
    """A file whose schema is damaged is refused as no event log, or a damaged one."""
    damage(path, b"CREATE TABLE")
    with pytest.raises(EventLogRefused, match="damaged"):
        fsck(SqliteEventLog(path, read_only=True))


def test_cut_tail_is_not_seen(path: Path) -> None:
    """Fsck alone cannot see that a run's tail was cut off; it counts the run as open."""
    tail = [f"DELETE FROM {table} WHERE position = 8" for table in ("events", "payloads", "disclosures")]
    assert insider(path, *tail) is None


def test_leftovers_of_a_cut_tail(path: Path) -> None:
    """A tail that was cut without its payloads is missing."""
    fault = insider(path, "DELETE FROM events WHERE position = 8")
    assert fault is not None
    assert ("missing", "store") == (fault.kind, fault.place)


def test_erasure_without_record(path: Path) -> None:
    """A payload that is gone is missing, unless an event of its workflow records the erasure."""
    from tracebus import DataErased, ErasureTarget

    log = SqliteEventLog(path)
    (target,) = (event for event in log.scan() if event.position == 3)
    erased = DataErased(actor="desk", reason="request", targets=[ErasureTarget(event_id=target.id)])
    done = RunCompleted(outcome="completed")
    group = [draft("m", RunStarted(kind="maintenance")), draft("m", erased), draft("m", done)]
    events_of(log.append([group])[0])
    log.close()
    assert insider(path, "DELETE FROM payloads WHERE position = 3") is None
