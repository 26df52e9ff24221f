"""The clock steps back: ids still grow, the order of events stays, and they are found by their times."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tracebus import EventQuery, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.eventlog import AnyEvent
from tracebus.fsck import fsck
from tracebus.testing import FixedClock

pytestmark = pytest.mark.anyio

CALL = ToolProposed(tool="wire")
NOON = 1_795_262_400_000_000_000  # 2026-11-21T12:00:00Z
HOUR = 3_600_000_000_000
SECOND = 1_000_000_000


async def read(log: SqliteEventLog, query: EventQuery) -> list[AnyEvent]:
    """Return the events of a query, from a log that holds together."""
    report = await anyio.to_thread.run_sync(fsck, log)
    assert report.fault is None, report.fault
    return await anyio.to_thread.run_sync(lambda: list(log.query(query)))


async def test_clock_steps_back(tmp_path: Path) -> None:
    """Events from before and after the step are in the order of publishing, each with its own time."""
    clock = FixedClock(NOON, step=SECOND)
    log = SqliteEventLog(tmp_path / "trace.db", clock=clock)
    async with TraceEventBus(log) as bus, bus.run() as old:
        clock.now = NOON
        before = [await bus.publish(CALL) for _ in range(3)]
        clock.now = NOON - HOUR
        after = [await bus.publish(CALL) for _ in range(3)]
        async with bus.run():
            new = await bus.publish(CALL)
    events = await read(log, EventQuery())
    assert all(earlier.id < later.id for earlier, later in pairwise(events))
    assert [1, 2, 3, 4, 5, 6] == [event.seq for event in before + after]
    assert "2026-11-21T12:00:02.000000000Z" == before[-1].timestamp
    assert "2026-11-21T11:00:00.000000000Z" == after[0].timestamp
    assert "2026-11-21T11:00:04.000000000Z" == new.timestamp
    assert old.run_id == events[-1].run_id


async def test_times_are_found(tmp_path: Path) -> None:
    """A query by time finds what has a time in it, on both sides of the step, in the order of publishing."""
    clock = FixedClock(NOON, step=SECOND)
    log = SqliteEventLog(tmp_path / "trace.db", clock=clock)
    async with TraceEventBus(log) as bus:
        run = await bus.start_run()
        for now in (NOON, NOON + HOUR, NOON, NOON + 2 * HOUR):
            clock.now = now
            await bus.publish_many([CALL] * 600, run=run)
        found = [event.seq async for event in bus.query(EventQuery(since="2026-11-21T13:00:00Z"))]
        query = EventQuery(since="2026-11-21T12:00:00Z", until="2026-11-21T12:05:00Z", types=(CALL.type,))
        within = [event.seq for event in await read(log, query)]
    assert [*range(601, 1201), *range(1801, 2401)] == found
    assert [*range(1, 301), *range(1201, 1501)] == within


async def test_restarted_with_the_clock_behind(tmp_path: Path) -> None:
    """A process whose clock is behind that of the one before it goes on with the run: ids and chain hold."""
    path, times = tmp_path / "trace.db", (NOON, NOON - HOUR, NOON - 2 * HOUR, NOON + HOUR)
    async with TraceEventBus(SqliteEventLog(path, clock=FixedClock(NOON))) as bus:
        run = await bus.start_run(run_id="r1")
    for now in times:
        async with TraceEventBus(SqliteEventLog(path, clock=FixedClock(now))) as bus:
            run = await bus.resume_run("r1")
            await bus.publish(CALL, run=run)
    events = await read(SqliteEventLog(path), EventQuery(run_id="r1"))
    assert all(earlier.id < later.id for earlier, later in pairwise(events))
    assert [f"{hour}:00" for hour in (12, 12, 12, 11, 11, 10, 10, 13, 13)] == [
        event.timestamp[11:16] for event in events
    ]
