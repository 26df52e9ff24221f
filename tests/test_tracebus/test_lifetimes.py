"""Runs that time out, runs within runs, and tasks that outlive their run or their bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tracebus import BusClosed, EventQuery, RunClosed, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.fsck import fsck
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio

CALL = ToolProposed(tool="wire")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    """A log; it must hold together when the test is done."""
    log = SqliteEventLog(tmp_path / "trace.db")
    yield log
    report = fsck(log)
    log.close()
    assert report.fault is None, report.fault


async def outcomes(log: SqliteEventLog) -> dict[str, str]:
    """Return how the runs ended, in the order of their ends."""
    query = EventQuery(types=("run_completed",))
    events = await anyio.to_thread.run_sync(lambda: list(log.query(query)))
    return {event.run_id: event.opened()["outcome"] for event in events}


async def publish_for_ever(bus: TraceEventBus) -> None:
    """Publish into the run that is bound."""
    while True:
        await bus.publish(CALL)


async def test_timeout_inside_a_run(log: SqliteEventLog) -> None:
    """A run that a timeout inside it ends has timed out, and the timeout comes out of it."""

    async def work() -> None:
        async with bus.run(run_id="r1"):
            with anyio.fail_after(0.01):
                await publish_for_ever(bus)

    async with TraceEventBus(log) as bus:
        with pytest.raises(TimeoutError):
            await work()
    assert {"r1": "timed_out"} == await outcomes(log)


async def test_timeout_around_a_run(log: SqliteEventLog) -> None:
    """A run that a timeout around it ends was cancelled, as far as it can know."""

    async def work() -> None:
        with anyio.fail_after(0.01):
            async with bus.run(run_id="r1"):
                await publish_for_ever(bus)

    async with TraceEventBus(log) as bus:
        with pytest.raises(TimeoutError):
            await work()
    assert {"r1": "cancelled"} == await outcomes(log)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_timeouts_of_asyncio(log: SqliteEventLog) -> None:
    """Timeouts of asyncio's own, inside a run and around it, count as those of anyio do."""

    async def inside() -> None:
        async with bus.run(run_id="r1"), asyncio.timeout(0.01):
            await publish_for_ever(bus)

    async def around() -> None:
        async with asyncio.timeout(0.01), bus.run(run_id="r2"):
            await publish_for_ever(bus)

    async with TraceEventBus(log) as bus:
        with pytest.raises(TimeoutError):
            await inside()
        with pytest.raises(TimeoutError):
            await around()
    assert {"r1": "timed_out", "r2": "cancelled"} == await outcomes(log)


async def test_run_in_a_run(log: SqliteEventLog) -> None:
    """Within a run another one is bound for as long as it lasts; then the outer one is again."""
    async with TraceEventBus(log) as bus, bus.run() as outer:
        before = await bus.publish(CALL)
        async with bus.run() as inner:
            inside = await bus.publish(CALL)
            aside = await bus.publish(CALL, run=outer)
        after = await bus.publish(CALL)
    expected = [outer.run_id, inner.run_id, outer.run_id, outer.run_id]
    assert expected == [event.run_id for event in (before, inside, aside, after)]


async def test_failure_in_nested_runs(log: SqliteEventLog) -> None:
    """An exception ends the runs that it leaves, the inner one first, and not the one that catches it."""
    async with TraceEventBus(log) as bus, bus.run(run_id="r1"):
        with pytest.raises(KeyError, match="mine"):
            async with bus.run(run_id="r2"), bus.run(run_id="r3"):
                raise KeyError("mine")
    assert [("r3", "failed"), ("r2", "failed"), ("r1", "completed")] == list((await outcomes(log)).items())


async def test_failure_beside_a_run(log: SqliteEventLog) -> None:
    """Where one of several tasks fails, its run has failed, and those of its siblings were cancelled."""

    async def work(run_id: str) -> None:
        async with bus.run(run_id=run_id):
            await bus.publish(CALL)
            if run_id == "r2":
                raise KeyError("mine")
            await anyio.sleep_forever()

    async def work_all() -> None:
        async with anyio.create_task_group() as tasks:
            for run_id in ("r1", "r2", "r3"):
                tasks.start_soon(work, run_id)

    async with TraceEventBus(log) as bus:
        with pytest.raises(ExceptionGroup) as caught:
            await work_all()
    assert ["mine"] == [error.args[0] for error in caught.value.exceptions]
    assert {"r1": "cancelled", "r2": "failed", "r3": "cancelled"} == await outcomes(log)


async def test_bus_that_is_cancelled(log: SqliteEventLog) -> None:
    """A cancellation around a bus ends its runs, and its sinks get all that is stored, without delay."""
    sink, begun = CapturingSink(), time.monotonic()
    with anyio.move_on_after(0.05):
        async with TraceEventBus(log, [sink], drain_timeout=5) as bus, bus.run(run_id="r1"):
            await bus.publish(CALL)
            await anyio.sleep_forever()
    assert {"r1": "cancelled"} == await outcomes(log)
    assert ["run_started", "tool_proposed", "run_completed"] == [event.type for event in sink.events]
    assert time.monotonic() - begun < 4


async def test_task_that_outlives_its_run(log: SqliteEventLog) -> None:
    """A task that was begun in a run, and goes on after its end, is told that nothing may follow."""
    refused: list[RunClosed] = []

    async def work() -> None:
        await ended.wait()
        with pytest.raises(RunClosed, match="ended at seq 1; start a new run of the workflow") as caught:
            await bus.publish(CALL)
        refused.append(caught.value)

    ended = anyio.Event()
    async with TraceEventBus(log) as bus, anyio.create_task_group() as tasks:
        async with bus.run() as run:
            tasks.start_soon(work)
        ended.set()
    assert [run.run_id] == [error.run_id for error in refused]


async def test_task_that_outlives_its_bus(log: SqliteEventLog) -> None:
    """A task that was begun in a bus, and goes on after its end, is told so; another bus is none of its."""
    refused: list[str] = []

    async def work() -> None:
        await left.wait()
        for attempt in (bus.publish(CALL), bus.publish_many([CALL]), bus.start_run(), run.finish()):
            with pytest.raises(BusClosed, match="publish inside `async with TraceEventBus"):
                await attempt
            refused.append("refused")

    left = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with TraceEventBus(log) as bus:
            run = await bus.start_run()
            with bus.bind(run):
                tasks.start_soon(work)
        async with TraceEventBus(log):
            left.set()
    assert ["refused"] * 4 == refused
    assert 1 == await anyio.to_thread.run_sync(log.last_position)
