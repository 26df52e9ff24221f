"""What was erased is in no file of the log any more, and everything else still is."""

from __future__ import annotations

import logging
import random
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import anyio
import pytest

from tests.test_tracebus.erasing import Secret, erasure_of, files_of, fill, found, hashes
from tracebus import (
    EventLogUnavailable,
    EventQuery,
    MemoryEventLog,
    SqliteEventLog,
    ToolProposed,
    TraceEventBus,
)
from tracebus._erasing_contract import erasing
from tracebus.errors import UnknownEvent
from tracebus.eventlog import sqlite_erasing
from tracebus.fsck import fsck
from tracebus.testing import draft, events_of, started

COUNT = 90
LARGE = 200 * 1024


@pytest.fixture(params=["sha256", "blake3"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteEventLog]:
    """A log; it must hold together when the test is done."""
    log = SqliteEventLog(tmp_path / "log" / "trace.db", digest_algorithm=request.param, wait_seconds=0.5)
    log.path.parent.mkdir()
    yield log
    report = fsck(log)
    log.close()
    assert report.fault is None, report.fault


sha256_only = pytest.mark.parametrize("log", ["sha256"], indirect=True)


def ids(secrets: list[Secret]) -> set[str]:
    """Return the ids of the events that hold them."""
    return {secret.event_id for secret in secrets}


def test_erased_bytes_are_gone(log: SqliteEventLog) -> None:
    """In several rounds values are erased, scrubbed, and found in no file; the others stay, and hashes do."""
    secrets = fill(log, COUNT, largest=LARGE)
    assert ids(secrets) == found(secrets, files_of(log))
    before = hashes(log)
    gone: list[Secret] = []
    left = list(secrets)
    for number in range(3):
        chosen, left = left[number::3], [s for i, s in enumerate(left) if i % 3 != number]
        gone += chosen
        log.erase(erasure_of(log, chosen))
        assert ids(chosen) == found(chosen, files_of(log))
        log.scrub()
        assert (set(), ids(left)) == (found(gone, files_of(log)), found(left, files_of(log)))
        left += fill(log, 20, seed=number + 2)
    log.close()
    assert (set(), ids(left)) == (found(gone, files_of(log)), found(left, files_of(log)))
    assert before == hashes(log)[: len(before)]


@sha256_only
def test_one_scrub_for_several_erasures(log: SqliteEventLog) -> None:
    """What several erasures have left in the files goes at once; fsck counts it until then."""
    secrets = fill(log, 20)
    for secret in secrets[:5]:
        log.erase(erasure_of(log, [secret]))
    assert (5, None) == (fsck(log).unscrubbed, fsck(log).fault)
    log.scrub()
    assert (0, set()) == (fsck(log).unscrubbed, found(secrets[:5], files_of(log)))


@sha256_only
def test_erased_users_are_gone(log: SqliteEventLog) -> None:
    """The entries of the index of users leave the files with the members that they are made of."""
    users = [f"person-{random.Random(i).getrandbits(100):x}@example.org" for i in range(300)]
    for number, user in enumerate(users):
        events_of(log.append([[started(f"r{number}", user_id=user)]])[0])
    events = list(log.query(EventQuery()))[::2]
    targets = {event.id: None for event in events}
    log.erase(erasing(log, targets))
    log.scrub()
    data = files_of(log)
    assert users[1::2] == [user for user in users if user.encode() in data]


def test_erased_users_are_gone_from_memory() -> None:
    """A log in memory keeps nothing of a user whose entries in the index were erased."""
    log = MemoryEventLog()
    for user in ("u-9", "u-91"):
        log.append([[started(f"run of {user[-1]}", user_id=user)]])
    (event,) = log.query(EventQuery(user_id="u-9"))
    log.erase(erasing(log, {event.id: None}))
    kept = repr(vars(log))
    assert [False, True] == ["'u-9'" in kept, "'u-91'" in kept]


def test_deleting_alone_leaves_bytes(tmp_path: Path) -> None:
    """Why the file is written anew: rows that SQLite overwrites are still there where pages were split."""
    chance = random.Random(1)
    with closing(sqlite3.connect(tmp_path / "plain.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            "CREATE TABLE disclosures (position INTEGER, ordinal INTEGER, disclosure TEXT NOT NULL, "
            "PRIMARY KEY (position, ordinal)) STRICT, WITHOUT ROWID"
        )
        values = {}
        for position in range(1500):
            for ordinal in range(chance.randint(0, 3)):
                size = chance.choice([16, 100, 1000])
                values[position, ordinal] = f"{position}-{chance.getrandbits(size * 4):0{size}x}"
                row = (position, ordinal, values[position, ordinal])
                connection.execute("INSERT INTO disclosures VALUES (?, ?, ?)", row)
        gone = sorted(key for key in values if chance.random() < 0.5)
        connection.executemany("DELETE FROM disclosures WHERE position = ? AND ordinal = ?", gone)
        left = []
        for statement in ("SELECT 1", "VACUUM"):
            connection.execute(statement)
            assert 0 == connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            data = (tmp_path / "plain.db").read_bytes()
            left.append(sum(values[key][-16:].encode() in data for key in gone))
    assert left[0] > 0
    assert 0 == left[1]


@sha256_only
def test_what_is_not_named_is_not_deleted(log: SqliteEventLog) -> None:
    """The triggers let nothing go but what an erasure has named, and change nothing at all."""
    secrets = fill(log, 9)
    log.erase(erasure_of(log, secrets[:4]))
    with closing(sqlite3.connect(log.path)) as connection:
        for table, column in (("payloads", "payload"), ("disclosures", "disclosure")):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = ''"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    connection.execute(statement)


@contextmanager
def read_by_another_process(path: Path) -> Iterator[None]:
    """Have another process read the log as it is now."""
    reader = (
        "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN')\n"
        "c.execute('SELECT count(*) FROM payloads').fetchone()\nprint('reading', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", reader, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "reading\n" == process.stdout.readline()
        try:
            yield
        finally:
            process.communicate()


@sha256_only
def test_somebody_reads(log: SqliteEventLog, caplog: pytest.LogCaptureFixture) -> None:
    """As long as somebody reads, scrubbing says that it cannot; all else goes on; then it is done."""
    secrets = fill(log, 20)
    with read_by_another_process(log.path):
        log.erase(erasure_of(log, secrets[:5]))
        with pytest.raises(EventLogUnavailable, match="somebody is reading the log"):
            log.scrub()
        events_of(log.append([[started("after")]])[0])
        log.close()
        with caplog.at_level(logging.WARNING):
            log.open()
        assert "tried again when the log is opened next" in caplog.text
        events_of(log.append([[draft("after")]])[0])
        assert (5, ids(secrets[:5])) == (fsck(log).unscrubbed, found(secrets[:5], files_of(log)))
    log.close()
    log.open()
    assert (0, set()) == (fsck(log).unscrubbed, found(secrets[:5], files_of(log)))
    assert ids(secrets[5:]) == found(secrets[5:], files_of(log))


@sha256_only
def test_a_reader_that_ends_is_waited_for(log: SqliteEventLog) -> None:
    """Scrubbing waits for who reads, and publishers go on meanwhile."""
    secrets = fill(log, 20)
    log.erase(erasure_of(log, secrets))
    with read_by_another_process(log.path):
        scrubbing = threading.Thread(target=log.scrub)
        scrubbing.start()
        for number in range(5):
            events_of(log.append([[started(f"meanwhile-{number}")]])[0])
    scrubbing.join()
    assert (0, set()) == (log.unscrubbed(), found(secrets, files_of(log)))


@sha256_only
def test_somebody_writes(log: SqliteEventLog) -> None:
    """As long as another process holds the file, nothing is erased and nothing scrubbed, and it says so."""
    secrets = fill(log, 20)
    log.erase(erasure_of(log, secrets[:5]))
    erasure = erasure_of(log, secrets[5:])
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for attempt in (log.scrub, lambda: log.erase(erasure)):
            with pytest.raises(EventLogUnavailable, match="another process holds it"):
                attempt()
    assert 5 == log.unscrubbed()
    log.scrub()
    assert (set(), ids(secrets[5:])) == (found(secrets[:5], files_of(log)), found(secrets[5:], files_of(log)))


@sha256_only
def test_erased_while_being_scrubbed(log: SqliteEventLog) -> None:
    """What is erased after the file was written anew stays to be scrubbed, whoever finishes first."""
    secrets = fill(log, 40)
    log.erase(erasure_of(log, secrets[:5]))
    assert log._connection is not None
    named = sqlite_erasing.rewrite(log._connection, log.path)
    with closing(SqliteEventLog(log.path)) as other:
        other.erase(erasure_of(other, secrets[5:10]))  # opened, it has scrubbed what was left of the first
        assert sqlite_erasing.cut(log._connection, log.path, 1)
        sqlite_erasing.forget(log._connection, log.path, named)
        assert 5 == log.unscrubbed()
        log.scrub()
    assert set() == found(secrets[:10], files_of(log))


@sha256_only
def test_two_erase_the_same(log: SqliteEventLog) -> None:
    """Of two that erase the same, one does, and the other is told that it is gone."""
    secrets = fill(log, 40)
    with closing(SqliteEventLog(log.path)) as other:
        erasures = [erasure_of(each, secrets[:9]) for each in (log, other)]
        log.erase(erasures[0])
        before = hashes(other)
        with pytest.raises(UnknownEvent):
            other.erase(erasures[1])
        assert before == hashes(other)
        other.scrub()
    assert set() == found(secrets[:9], files_of(log))


ERASER = """
import sys
from tests.test_tracebus.erasing import erase_each
erase_each(sys.argv[1], sys.argv[2:])
"""


async def publish(log: SqliteEventLog, run_id: str, stored: set[str], erased: Event) -> None:
    """Publish into a run until the eraser is done."""
    async with TraceEventBus(log) as bus:

        async def work(number: int) -> None:
            async with bus.run(run_id=f"{run_id}-{number}"):
                while not erased.is_set():
                    event = await bus.publish(ToolProposed(tool="wire", arguments={"number": number}))
                    stored.add(event.id)
                    await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(work, number)


@sha256_only
@pytest.mark.slow
@pytest.mark.parametrize("where", ["thread", "processes"])
def test_publishing_meanwhile(log: SqliteEventLog, where: str, root: Path) -> None:
    """While 64 tasks publish, others erase and scrub: they wait, nothing is lost, and no run forks."""
    log = SqliteEventLog(log.path)
    secrets = fill(log, 40)
    stored: set[str] = set()
    erased = Event()
    publishing = threading.Thread(target=anyio.run, args=(publish, log, "p", stored, erased))
    publishing.start()
    try:
        if where == "thread":
            for at in range(0, 20, 2):
                log.erase(erasure_of(log, secrets[at : at + 2]))
                log.scrub()
        else:
            erase_in_processes(log.path, secrets[:20], root)
    finally:
        erased.set()
        publishing.join()
    report = fsck(log)
    assert (None, 0) == (report.fault, report.unscrubbed)
    assert stored == {event.id for event in log.query(EventQuery(types=("tool_proposed",)))} - ids(secrets)
    assert 64 < len(stored)
    assert (set(), ids(secrets[20:])) == (
        found(secrets[:20], files_of(log)),
        found(secrets[20:], files_of(log)),
    )
    log.close()


def erase_in_processes(path: Path, secrets: list[Secret], root: Path) -> None:
    """Have two processes erase the same, one event after another, and scrub after each."""
    command = [sys.executable, "-c", ERASER, str(path), *(secret.event_id for secret in secrets)]
    processes = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    done = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    # One that is opened may have to leave what the other has erased to the other.
    assert [0, 0] == [code for _, code in done], done


def test_erased_behind_the_triggers_is_missing(tmp_path: Path) -> None:
    """A payload that is deleted by naming it in `erasing`, without a record, is found by fsck."""
    with closing(SqliteEventLog(tmp_path / "trace.db")) as log:
        fill(log, 9)
        with closing(sqlite3.connect(log.path)) as connection, connection:
            connection.execute("INSERT INTO erasing VALUES (3, -1)")
            connection.execute("DELETE FROM payloads WHERE position = 3")
        fault = fsck(log).fault
    assert fault is not None
    assert ("missing", 3) == (fault.kind, fault.position)


# Connects to the log as it does, or as it did without its settings, and sorts what has no room in the cache.
SORTER = """
import sys
from tracebus import EventQuery, SqliteEventLog
from tracebus.eventlog import sqlite_file

if sys.argv[2] == "to files":
    plain = sqlite_file.SqliteFile._connect_to
    def connect(self, uri):
        connection = plain(self, uri)
        connection.execute("PRAGMA temp_store = DEFAULT")
        return connection
    sqlite_file.SqliteFile._connect_to = connect
log = SqliteEventLog(sys.argv[1])
for query in (EventQuery(workflow_id="w1"), EventQuery(workflow_id="w1", tenant_id=None)):
    assert sum(1 for _ in log.query(query)) > 10
with log._reading() as connection:  # a sort that no query of ours asks for, of all that is there
    connection.execute("SELECT payload FROM payloads ORDER BY payload DESC").fetchall()
if sys.argv[2] == "scrub":
    log.scrub()
"""
_WRITE = re.compile(r'pwrite64\(\d+<(?P<path>[^>]*)>(?:\(deleted\))?, "(?P<data>[^"]*)"')


def written_elsewhere(strace: str, log: SqliteEventLog, mode: str, root: Path) -> bytes:
    """Read from a log in another process, or scrub it; return what was written outside its folder."""
    trace, folder = log.path.parent.with_suffix(".txt"), str(log.path.parent)
    command = [strace, "-f", "-y", "-xx", "-s", "100000", "-e", "trace=pwrite64", "-e", "signal=none"]
    command += ["-o", str(trace), sys.executable, "-c", SORTER, str(log.path), mode]
    subprocess.run(command, check=True, cwd=root)
    parts = []
    for line in trace.read_text().splitlines():
        if match := _WRITE.search(line):
            path, data = (bytes.fromhex(match[name].replace("\\x", "")) for name in ("path", "data"))
            if not path.decode().startswith(folder):
                parts.append(data)
    return b"\n".join(parts)


@sha256_only
def test_temporary_files(log: SqliteEventLog, strace: str, root: Path) -> None:
    """Reading and erasing write no payloads into temporary files; a scrub only what was not erased."""
    secrets = [secret for seed in range(12) for secret in fill(log, 3, seed=seed, largest=LARGE)]
    assert secrets[0].event_id in found(secrets, written_elsewhere(strace, log, "to files", root))
    assert b"" == written_elsewhere(strace, log, "in memory", root)
    log.erase(erasure_of(log, secrets[::2]))
    log.close()
    copied = written_elsewhere(strace, log, "scrub", root)
    assert (set(), True) == (found(secrets[::2], copied), bool(found(secrets[1::2], copied)))
    assert (0, set()) == (log.unscrubbed(), found(secrets[::2], files_of(log)))
