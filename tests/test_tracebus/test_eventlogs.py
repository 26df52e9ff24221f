"""Each event log keeps the promises of `EventLog`."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import evidence
from tracebus import EventLogRefused, EventLogUnavailable, EventQuery, MemoryEventLog, SqliteEventLog
from tracebus.eventlog import EventLog
from tracebus.testing import EventLogContract, draft, events_of, started


class TestMemoryEventLog(EventLogContract):
    """In memory."""

    durable = False

    @pytest.fixture
    def make_log(self) -> Callable[..., EventLog]:
        return MemoryEventLog


class TestSqliteEventLog(EventLogContract):
    """In a SQLite file."""

    @pytest.fixture
    def make_log(self, tmp_path: Path) -> Callable[..., EventLog]:
        return lambda **options: SqliteEventLog(tmp_path / "trace.db", **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with one run of three events."""
    path = tmp_path / "trace.db"
    log = SqliteEventLog(path)
    events_of(log.append([[started(user_id="u1"), draft(key="k"), draft()]])[0])
    log.close()
    return path


def edit(path: Path, *statements: str) -> None:
    """Do to the file what an insider can."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_durability_settings(path: Path) -> None:
    """The log is in write-ahead mode, and its writer syncs on each commit."""
    log = SqliteEventLog(path)
    log.open()
    assert log._connection is not None
    mode = log._connection.execute("PRAGMA journal_mode").fetchone()
    synchronous = log._connection.execute("PRAGMA synchronous").fetchone()
    log.close()
    assert (("wal",), (2,)) == (mode, synchronous)


@pytest.mark.parametrize("table", ["log", "events", "payloads", "disclosures"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET rowid_column = rowid_column"])
def test_append_only(path: Path, table: str, statement: str) -> None:
    """Plain SQL cannot change or delete what is stored."""
    column = {"log": "origin", "disclosures": "ordinal"}.get(table, "position")
    if table == "disclosures":
        edit(path, "INSERT INTO disclosures VALUES (1, 0, 'x')")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        edit(path, statement.format(table).replace("rowid_column", column))


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("DROP TRIGGER events_no_update", "trigger events_no_update is missing"),
        ("DROP INDEX events_run", "index events_run is missing"),
        ("DROP TABLE payloads", "table payloads is missing"),
        ("ALTER TABLE events ADD COLUMN note TEXT", "table events was changed"),
        (
            "CREATE TRIGGER quiet AFTER INSERT ON events BEGIN SELECT 1; END",
            "trigger quiet was added",
        ),
    ],
)
def test_changed_schema_is_refused(path: Path, statement: str, complaint: str) -> None:
    """A log whose tables, indexes or triggers were changed is not opened."""
    edit(path, statement)
    with pytest.raises(EventLogRefused, match=complaint):
        SqliteEventLog(path).open()


def test_own_tables_beside_it(path: Path) -> None:
    """Tables and indexes of one's own, as Datasette's users make them, do no harm."""
    edit(path, "CREATE TABLE notes (event TEXT)", "CREATE INDEX by_type ON events (type)")
    log = SqliteEventLog(path)
    assert log.last_position() == 3
    log.close()


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Another application's database, and what is no database, are refused and left alone."""
    other = tmp_path / "other.db"
    edit(other, "CREATE TABLE mine (x)")
    text = tmp_path / "text.db"
    text.write_text("hello, this is a text file, and a long one " * 50)
    before = text.read_bytes()
    with pytest.raises(EventLogRefused, match="no tracebus event log"):
        SqliteEventLog(other).open()
    with pytest.raises(EventLogRefused, match="not a database"):
        SqliteEventLog(text).open()
    assert before == text.read_bytes()


def test_newer_layout_is_refused(path: Path) -> None:
    """A log that a newer release made is refused, with both versions named."""
    edit(path, "PRAGMA user_version = 99")
    with pytest.raises(EventLogRefused, match="layout 99, this one knows 1"):
        SqliteEventLog(path).open()


def test_memory_path_is_refused() -> None:
    """SQLite's :memory: is refused, for each connection would have its own."""
    with pytest.raises(ValueError, match=":memory:"):
        SqliteEventLog(":memory:")


def test_reading_makes_no_log(tmp_path: Path) -> None:
    """Who reads a log does not make one."""
    with pytest.raises(EventLogUnavailable, match="no such event log"):
        SqliteEventLog(tmp_path / "none.db", read_only=True).open()
    assert [] == list(tmp_path.iterdir())


def test_reading_changes_nothing(path: Path) -> None:
    """A log that is opened to be read is not written to, fit to be appended to or not."""
    edit(path, "DROP TRIGGER events_no_update")
    before = path.read_bytes()
    log = SqliteEventLog(path, read_only=True)
    assert 3 == len(list(log.query(EventQuery())))
    with pytest.raises(EventLogRefused, match="read only"):
        log.append([[draft()]])
    log.close()
    assert before == path.read_bytes()


def test_reading_while_another_writes(path: Path) -> None:
    """A reader sees what a writer has committed so far."""
    writer, reader = SqliteEventLog(path), SqliteEventLog(path, read_only=True)
    events_of(writer.append([[draft()]])[0])
    assert 4 == reader.last_position()
    events_of(writer.append([[draft()]])[0])
    assert 5 == reader.last_position()
    writer.close()
    reader.close()


@pytest.mark.parametrize("replace", [False, True])
def test_file_gone_or_replaced(path: Path, replace: bool) -> None:
    """Appending to a file that was deleted or replaced under way is refused, not lost."""
    log = SqliteEventLog(path)
    events_of(log.append([[draft()]])[0])
    path.rename(path.with_suffix(".old"))
    if replace:
        edit(path, "CREATE TABLE mine (x)")
    with pytest.raises(EventLogUnavailable, match=r"replaced|gone"):
        log.append([[draft()]])
    log.close()


def test_two_writers_share_a_run(path: Path) -> None:
    """Two connections append to one run in turns, and its chain is one."""
    logs = [SqliteEventLog(path), SqliteEventLog(path)]
    for turn in range(20):
        events_of(logs[turn % 2].append([[draft()]])[0])
    seqs = [event.seq for event in logs[0].query(EventQuery(run_id="r1"))]
    for log in logs:
        log.close()
    assert list(range(23)) == seqs


def test_failed_batch_leaves_nothing(path: Path) -> None:
    """A batch that the disk has no room for is refused whole, and the next one is stored."""
    log = SqliteEventLog(path)
    log.open()
    assert log._connection is not None
    pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
    log._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(EventLogUnavailable, match="full"):
        log.append([[draft() for _ in range(500)]])
    log._connection.execute("PRAGMA max_page_count = 1000000")
    (event,) = events_of(log.append([[draft()]])[0])
    log.close()
    assert (3, 4) == (event.seq, event.position)


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log stays the one that it was when the process changes its folder."""
    monkeypatch.chdir(tmp_path)
    log = SqliteEventLog("trace.db")
    events_of(log.append([[started()]])[0])
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    log.close()
    assert 1 == log.last_position()
    log.close()
    assert [] == list(other.iterdir())


def test_a_log_is_not_made_anew(path: Path) -> None:
    """Where the file was deleted, every further use is refused; another log is not begun in its place."""
    log = SqliteEventLog(path)
    events_of(log.append([[draft()]])[0])
    for file in path.parent.iterdir():
        file.unlink()
    for _ in range(2):
        with pytest.raises(EventLogUnavailable, match="gone"):
            log.append([[draft()]])
    with pytest.raises(EventLogUnavailable):
        log.last_position()
    log.close()
    assert not path.exists()


def test_times_in_queries(path: Path) -> None:
    """Bounds are RFC 3339 in any form and zone."""
    log = SqliteEventLog(path)
    (first, *_) = log.query(EventQuery())
    second = first.timestamp[:19] + "Z"
    found = len(list(log.query(EventQuery(since=second))))
    none = list(log.query(EventQuery(until=second)))
    log.close()
    assert (3, []) == (found, none)


def test_queries_for_very_many(path: Path) -> None:
    """Events are asked for by more ids than SQLite takes values."""
    with closing(SqliteEventLog(path)) as log:
        (first, *_) = log.query(EventQuery())
        ids = (*(f"{number:026}" for number in range(260_000)), first.id)
        assert [first] == list(log.query(EventQuery(ids=ids)))


def test_any_tenant_is_that_of_the_verifier(path: Path) -> None:
    """Whichever of the packages `ANY_TENANT` was imported from, a query takes it for every tenant."""
    with closing(SqliteEventLog(path)) as log:
        assert 3 == len(list(log.query(EventQuery(tenant_id=evidence.ANY_TENANT))))
