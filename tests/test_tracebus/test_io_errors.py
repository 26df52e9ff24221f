"""Writes and syncs of the disk that fail: nothing acknowledged is lost, nothing is there twice.

strace makes the system calls of a publisher fail, some of them or all, on the log's files only.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from tracebus import EventQuery, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.fsck import fsck

# Publishes under one key after another. Under each, until it is acknowledged; or until the first
# failure, at which the process dies.
PUBLISHER = """
import os, sys
import anyio
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus, TracebusError

async def main(path, count, dies):
    async with TraceEventBus(SqliteEventLog(path)) as bus:
        run = await bus.resume_run("r1")
        for i in range(count):
            for _ in range(50):
                try:
                    event = await bus.publish(ToolProposed(tool="wire"), run=run, key=f"k{i}")
                except TracebusError as error:
                    os.write(1, f"{type(error).__name__} k{i} {error}\\n".encode())
                    if dies:
                        os._exit(9)
                else:
                    os.write(1, f"ack k{i} {event.id}\\n".encode())
                    break

anyio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3] == "dies")
"""


async def start(path: Path) -> None:
    """Begin the run."""
    async with TraceEventBus(SqliteEventLog(path)) as bus:
        await bus.start_run(run_id="r1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with the run."""
    path = tmp_path / "trace.db"
    anyio.run(start, path)
    return path


def publish(
    strace: str, path: Path, file: Path, fault: str, *, count: int = 30, dies: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Run a publisher, a call on a file failing; return what it acknowledged, by key, and its errors."""
    call = fault.partition(":")[0]
    command = [strace, "-f", "--seccomp-bpf", "-o", str(path.with_name("trace.txt")), "-P", str(file)]
    command += ["-e", f"trace={call}", "-e", "signal=none", "-e", f"inject={fault}"]
    command += [sys.executable, "-c", PUBLISHER, str(path), str(count), "dies" if dies else ""]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (9 if dies else 0) == done.returncode, done.stderr
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    acknowledged = {key: event_id for kind, key, event_id in lines if kind == "ack"}
    return acknowledged, [f"{kind}: {text}" for kind, _, text in lines if kind != "ack"]


def stored(path: Path) -> dict[str | None, str]:
    """Return the ids of the published events of a log that holds together, by their keys."""
    with closing(SqliteEventLog(path)) as log:
        report = fsck(log)
        assert report.fault is None, report.fault
        events = list(log.query(EventQuery(types=("tool_proposed",))))
    assert {1} >= set(Counter(event.key for event in events).values())
    return {event.key: event.id for event in events}


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("fdatasync:error=EIO:when=5+3", "disk I/O error"),
        ("pwrite64:error=EIO:when=50+41", "disk I/O error"),
        ("pwrite64:error=ENOSPC:when=50+41", "disk is full"),
    ],
)
def test_failing_now_and_then(strace: str, path: Path, fault: str, text: str) -> None:
    """Repeated by the same key, each event is stored exactly once, as it was acknowledged."""
    acknowledged, errors = publish(strace, path, path.with_name("trace.db-wal"), fault)
    assert errors
    for error in errors:
        assert error.startswith(("AppendUnknown", "EventLogUnavailable"))
        assert text in error
        assert "publish again with the same key" in error
    assert 30 == len(acknowledged)
    assert acknowledged == stored(path)


async def repeat(path: Path, key: str) -> str:
    """Publish under a key; return the event's id."""
    async with TraceEventBus(SqliteEventLog(path)) as bus:
        run = await bus.resume_run("r1")
        return (await bus.publish(ToolProposed(tool="wire"), run=run, key=key)).id


@pytest.mark.parametrize("fault", ["fdatasync:error=EIO:when=9+", "pwrite64:error=EIO:when=97+"])
def test_death_after_a_failure(strace: str, path: Path, fault: str) -> None:
    """What a process that died could not tell, another one finds out by the same key."""
    acknowledged, errors = publish(strace, path, path.with_name("trace.db-wal"), fault, dies=True)
    assert 1 == len(errors)
    key = f"k{len(acknowledged)}"
    before = stored(path)
    acknowledged[key] = anyio.run(repeat, path, key)
    assert before.items() <= acknowledged.items()
    assert acknowledged == stored(path)


@pytest.mark.parametrize("fault", ["fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64:error=ENOSPC"])
def test_no_checkpoint(strace: str, path: Path, fault: str) -> None:
    """Where the file itself cannot be written, what is in its write-ahead log is as durable as ever."""
    acknowledged, errors = publish(strace, path, path, fault, count=300)
    assert [] == errors
    assert 300 == len(acknowledged)
    assert acknowledged == stored(path)
