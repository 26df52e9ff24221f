"""Durable means synced: what is acknowledged is on the disk by then, for each acknowledgement there is."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.test_tracebus.test_crash import Disk, replay

# Each publisher writes the id of an event to standard output when it is told that it is stored.
BUS = """
import os, sys, threading
import anyio
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus

CALL = ToolProposed(tool="wire", arguments={"account": "x" * 400})

def acknowledge(events):
    for event in events:
        os.write(1, f"{event.id}\\n".encode())

async def main(path):
    async with TraceEventBus(SqliteEventLog(path)) as bus, bus.run() as run:
        async def work():
            for _ in range(10):
                acknowledge([await bus.publish(CALL, run=run)])

        def work_in_a_thread():
            for _ in range(10):
                acknowledge([bus.publish_sync(CALL, run=run)])

        await work()
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(work)
            for _ in range(4):
                tasks.start_soon(anyio.to_thread.run_sync, work_in_a_thread)
        for _ in range(5):
            acknowledge(await bus.publish_many([CALL] * 20))

anyio.run(main, sys.argv[1], backend=sys.argv[2])
"""
PLAIN = """
import os, sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute(f"PRAGMA synchronous = {sys.argv[2]}")
connection.execute("CREATE TABLE events (id TEXT)")
for i in range(230):
    connection.execute("INSERT INTO events VALUES (?)", (f"event {i}",))
    os.write(1, f"event {i}\\n".encode())
os._exit(0)
"""


def trace(strace: str, folder: Path, script: str, argument: str) -> tuple[Path, Path]:
    """Run a publisher; return its database, and what it did to that and to its standard output."""
    database, calls, output = folder / "trace.db", folder / "trace.txt", folder / "output.txt"
    command = [strace, "-f", "--seccomp-bpf", "-y", "-xx", "-s", "1000000", "-o", str(calls)]
    command += ["-e", "trace=pwrite64,write,fdatasync,fsync,ftruncate", "-e", "signal=none"]
    command += ["-P", str(output), "-P", str(database), "-P", f"{database}-wal", "-P", str(folder)]
    command += [sys.executable, "-c", script, str(database), argument]
    with output.open("wb") as acknowledgements:
        subprocess.run(command, stdout=acknowledgements, check=True)
    return database, calls


def synced(disk: Disk, database: Path, folder: Path) -> set[str]:
    """Return the events of a database of which only what was synced is left."""
    copy = folder / "copy.db"
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(disk.synced[f"{database}{suffix}"])
    with closing(sqlite3.connect(copy)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone() is None:
            return set()
        return {event_id for (event_id,) in connection.execute("SELECT id FROM events")}


def losses(strace: str, folder: Path, script: str, argument: str) -> list[int]:
    """Return how many acknowledged events were not on the disk, at each acknowledgement."""
    database, calls = trace(strace, folder, script, argument)
    disk = Disk()
    return [
        len(acknowledged - synced(disk, database, folder)) for acknowledged in replay(calls, database, disk)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_synced_before_acknowledged(strace: str, tmp_path: Path, backend: str) -> None:
    """Published from tasks, threads and in batches, no event is acknowledged before it is synced."""
    assert [0] * 230 == losses(strace, tmp_path, BUS, backend)


def named(path: Path) -> str:
    """Return how a trace names the file of a call."""
    return "<" + "".join(f"\\x{byte:02x}" for byte in str(path).encode()) + ">"


@pytest.mark.slow
def test_names_synced(strace: str, tmp_path: Path) -> None:
    """The folder, where a new log's files have their names, is synced before anything is acknowledged."""
    database, calls = trace(strace, tmp_path, BUS, "asyncio")
    before, acknowledged, _ = calls.read_text().partition(named(tmp_path / "output.txt"))
    _, made, since = before.partition(named(Path(f"{database}-wal")))
    assert acknowledged
    assert made
    assert re.search(r"sync\(\d+" + re.escape(named(tmp_path)), since)


@pytest.mark.slow
def test_full_synchronisation_of_sqlite(strace: str, tmp_path: Path) -> None:
    """SQLite by itself syncs before each acknowledgement where it is told to."""
    assert [0] * 230 == losses(strace, tmp_path, PLAIN, "FULL")


@pytest.mark.slow
@pytest.mark.parametrize("level", ["NORMAL", "OFF"])
def test_less_than_full_shows(strace: str, tmp_path: Path, level: str) -> None:
    """Where SQLite is told to sync less, events are acknowledged before: the tests above can fail."""
    found = losses(strace, tmp_path, PLAIN, level)
    assert 230 == len(found)
    assert all(found[:100])
