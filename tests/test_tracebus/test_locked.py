"""Another process holds the file of a log: publishers wait, and are told when it takes too long."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tracebus import EventLogUnavailable, EventQuery, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.fsck import fsck

pytestmark = pytest.mark.anyio

CALL = ToolProposed(tool="wire")
ADVICE = "another process holds it, try again"
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[None]:
    """Have another process hold the file's write lock."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        try:
            yield
        finally:
            holder.communicate()


def types(log: SqliteEventLog) -> list[str]:
    """Return the types of the events of a log that holds together."""
    report = fsck(log)
    assert report.fault is None, report.fault
    return [event.type for event in log.query(EventQuery())]


async def test_held_for_a_while(tmp_path: Path) -> None:
    """Publishers wait for the file while another process holds it; readers do not."""
    log = SqliteEventLog(tmp_path / "trace.db")
    async with TraceEventBus(log) as bus, bus.run(), anyio.create_task_group() as tasks:
        with held_by_another_process(log.path):
            tasks.start_soon(bus.publish, CALL)
            await anyio.sleep(0.3)
            waiting = await anyio.to_thread.run_sync(types, log)
    assert ["run_started"] == waiting
    assert ["run_started", "tool_proposed", "run_completed"] == await anyio.to_thread.run_sync(types, log)


async def test_held_for_long(tmp_path: Path) -> None:
    """Publishers are told when they have waited for long; the event loop goes on, and later the run does."""
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            await anyio.sleep(0.05)
            rounds += 1

    log = SqliteEventLog(tmp_path / "trace.db", wait_seconds=1)
    async with TraceEventBus(log) as bus, bus.run() as run:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            with held_by_another_process(log.path), pytest.raises(EventLogUnavailable, match=ADVICE):
                await bus.publish(CALL, run=run, key="k")
            tasks.cancel_scope.cancel()
        await bus.publish(CALL, run=run, key="k")
    found = await anyio.to_thread.run_sync(types, log)
    assert rounds > 10
    assert ["run_started", "tool_proposed", "run_completed"] == found


async def test_held_while_a_bus_is_entered(tmp_path: Path) -> None:
    """Who enters a bus whose log is held for long is told so, and enters it later."""
    log = SqliteEventLog(tmp_path / "trace.db", wait_seconds=0.2)
    bus = TraceEventBus(log)
    async with bus:
        pass
    with held_by_another_process(log.path), pytest.raises(EventLogUnavailable, match=ADVICE):
        await bus.__aenter__()
    async with bus, bus.run():
        pass
