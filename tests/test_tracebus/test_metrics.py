"""Metrics: each event that was published is accounted for, at every moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tracebus import (
    EventLog,
    EventLogUnavailable,
    MemoryEventLog,
    Metrics,
    RunClosed,
    SinkRejected,
    SqliteEventLog,
    Subscription,
    ToolExecuted,
    ToolProposed,
    TraceEventBus,
)
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio

ACT = ToolProposed(tool="wire")
RESULT = ToolExecuted(tool="wire", status="ok")


class Held(MemoryEventLog):
    """A log whose appends wait until they are let, and fail while it is down."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.is_down = False

    def append(self, groups: Any) -> Any:
        """Wait, then append or fail."""
        assert self.gate.wait(10)
        if self.is_down:
            raise EventLogUnavailable("down")
        return super().append(groups)


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    """A log of each kind."""
    log: EventLog = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "trace.db")
    yield log
    log.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 (neither sinks nor logs set events)
            await anyio.sleep(0.005)


def settled(metrics: Metrics) -> tuple[int, int, int, int]:
    """Return what became of what was published."""
    return metrics.committed, metrics.refused, metrics.unrecorded, metrics.withdrawn


async def test_each_outcome(log: EventLog) -> None:
    """What was stored, repeated or refused is counted by event, groups and starts of runs included."""
    async with TraceEventBus(log) as bus:
        async with bus.run() as run:
            await bus.publish(ACT, key="k")
            await bus.publish(ACT, key="k")
            await bus.publish_many([ACT, ACT, ACT])
        with pytest.raises(RunClosed):
            await bus.publish_many([ACT, ACT], run=run)
        metrics = bus.metrics
    assert (9, 0) == (metrics.published, metrics.queue_depth)
    assert (7, 2, 0, 0) == settled(metrics)


async def test_each_outcome_of_an_outage() -> None:
    """What failed open was not committed; nor are the gaps counted that the bus records of it."""
    log = Held()
    async with TraceEventBus(log) as bus:
        run = await bus.start_run()
        log.is_down = True
        await bus.publish_many([RESULT, RESULT], run=run)
        with pytest.raises(EventLogUnavailable):
            await bus.publish(ACT, run=run)
        log.is_down = False
        await bus.publish(ACT, run=run)
        assert 3 == log.last_position()
        assert (5, 2) == (bus.metrics.published, bus.metrics.committed)
        assert (2, 1, 2, 0) == settled(bus.metrics)


async def test_queue_depth() -> None:
    """What waits for the log is the queue's depth; what is cancelled there was withdrawn."""
    log = Held()
    async with TraceEventBus(log) as bus:
        run = await bus.start_run()
        log.gate.clear()
        async with anyio.create_task_group() as first:
            first.start_soon(lambda: bus.publish(ACT, run=run))
            await until(lambda: bus.metrics.queue_depth == 1)
            await anyio.sleep(0.05)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(lambda: bus.publish_many([ACT, ACT], run=run))
                await until(lambda: bus.metrics.queue_depth == 11)
                tasks.cancel_scope.cancel()
            assert (12, 1) == (bus.metrics.published, bus.metrics.queue_depth)
            assert (1, 0, 0, 10) == settled(bus.metrics)
            log.gate.set()
        assert (2, 0, 0, 10) == settled(bus.metrics)
    assert 2 == log.last_position()


async def test_batches() -> None:
    """A batch is what was appended with one sync: a lone event, a group, or what came during the last one."""
    log = Held()

    def sizes() -> tuple[int, int, int]:
        return bus.metrics.batches, bus.metrics.last_batch, bus.metrics.largest_batch

    async with TraceEventBus(log) as bus:
        assert (0, 0, 0) == sizes()
        run = await bus.start_run()
        assert (1, 1, 1) == sizes()
        await bus.publish_many([ACT] * 20, run=run)
        await bus.publish(ACT, run=run)
        assert (3, 1, 20) == sizes()
        log.gate.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: bus.publish(ACT, run=run))
            await until(lambda: bus.metrics.queue_depth == 1)
            await anyio.sleep(0.05)
            for _ in range(40):
                tasks.start_soon(lambda: bus.publish(ACT, run=run))
            await until(lambda: bus.metrics.queue_depth == 41)
            log.gate.set()
        assert (5, 40, 40) == sizes()
        log.is_down = True
        with pytest.raises(EventLogUnavailable):
            await bus.publish(ACT, run=run)
        assert (5, 40, 40) == sizes()


async def test_sinks_counters(log: EventLog) -> None:
    """Each sink tells how far it has come, and what it confirmed, rejected, failed at and missed."""

    class Scripted(CapturingSink):
        script: tuple[Exception | None, ...] = (None, SinkRejected("too large"), OSError("disk"), None)

        async def write(self, batch: Any) -> None:
            error, self.script = (self.script[0], self.script[1:]) if self.script else (None, ())
            if error is not None:
                raise error
            await super().write(batch)

    sink, other = Scripted("scripted"), CapturingSink("other")
    async with TraceEventBus(log, [sink, other]) as bus:
        run = await bus.start_run()
        for count in range(2, 5):
            await until(lambda: not any(status.lag for status in bus.metrics.sinks))
            await bus.publish_many([ACT] * count, run=run)
        await until(lambda: not any(status.lag for status in bus.metrics.sinks))
        first, second = bus.metrics.sinks
    assert ("scripted", "other") == (first.sink, second.sink)
    assert (10, 0, 8, 2, 0, 1) == (
        first.position,
        first.lag,
        first.confirmed,
        first.rejected,
        first.dropped,
        first.failures,
    )
    assert "OSError('disk')" == first.last_error
    assert (10, 10, 0, None) == (second.position, second.confirmed, second.failures, second.last_error)


async def test_metrics_outlive_the_bus(log: EventLog) -> None:
    """After the bus was closed its metrics can be read; opened again it begins to count anew."""
    bus = TraceEventBus(log, [CapturingSink()])
    async with bus, bus.run():
        await bus.publish(ACT)
    assert (3, 3, 0) == (bus.metrics.published, bus.metrics.sinks[0].confirmed, bus.metrics.sinks[0].lag)
    async with bus:
        assert (0, 0) == (bus.metrics.published, bus.metrics.sinks[0].confirmed)


async def test_identity_under_load() -> None:
    """Whenever one looks, what was published is committed, refused, lost, withdrawn or waiting."""
    log, samples, done = Held(), list[Metrics](), threading.Event()

    def sample() -> None:
        while not done.is_set():
            samples.append(bus.metrics)

    async def work(index: int) -> None:
        for i in range(20):
            with suppress(EventLogUnavailable), anyio.move_on_after(0.0005 if i % 5 == 0 else None):
                await bus.publish(ACT if i % 2 else RESULT, run=runs[index % 4])
            with suppress(RunClosed):
                await bus.publish(RESULT, run=closed)

    def work_in_a_thread() -> None:
        for i in range(40):
            with suppress(EventLogUnavailable):
                bus.publish_sync(ACT if i % 2 else RESULT, run=runs[i % 4])

    async def trouble() -> None:
        for i in range(8):
            await anyio.sleep(0.01)
            log.is_down = i % 2 == 0

    subscriptions = [
        CapturingSink("a"),
        Subscription(CapturingSink("b"), overflow="drop_oldest", buffer_events=9),
    ]
    async with TraceEventBus(log, subscriptions, on_alarm=lambda _: None) as bus:
        runs = [await bus.start_run() for _ in range(4)]
        closed = await bus.start_run()
        await closed.finish()
        threads = [threading.Thread(target=work_in_a_thread) for _ in range(4)]
        threads.append(threading.Thread(target=sample))
        for thread in threads:
            thread.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trouble)
            for index in range(16):
                tasks.start_soon(work, index)
        for thread in threads[:-1]:
            await anyio.to_thread.run_sync(thread.join)
        done.set()
        await anyio.to_thread.run_sync(threads[-1].join)
        last = bus.metrics
    for before, after in pairwise(samples):
        assert after.published == sum(settled(after)) + after.queue_depth
        assert after.queue_depth >= 0
        assert all(x <= y for x, y in zip(settled(before), settled(after), strict=True))
    assert 6 + 16 * 40 + 4 * 40 == last.published
    assert 0 == last.queue_depth
    assert all(settled(last))
    assert len(samples) > 100


# The main thread publishes, and so does a handler of signals that interrupts it anywhere, itself included.
SIGNALS = """
import faulthandler, random, signal, sys, threading, time
import anyio
from tracebus import MemoryEventLog, Subscription, ToolProposed, TraceEventBus
from tracebus.testing import CapturingSink

CALL = ToolProposed(tool="wire")
opened, closing = threading.Event(), threading.Event()

async def main():
    global bus, run
    sinks = [
        Subscription(CapturingSink("required"), required=True),
        Subscription(CapturingSink("block"), overflow="block", buffer_events=2),
        Subscription(CapturingSink("drop"), overflow="drop_newest", buffer_events=2),
    ]
    async with TraceEventBus(MemoryEventLog(), sinks, on_alarm=lambda _: None) as bus:
        run = await bus.start_run()
        opened.set()
        await anyio.to_thread.run_sync(closing.wait)

depth = published = handled = 0
is_over = False

def interrupt_soon():
    if not is_over:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.001))

def handle(*_):
    global depth, handled
    depth += 1
    if depth < 4:
        interrupt_soon()
    bus.publish_sync(CALL, run=run)
    handled += 1
    depth -= 1
    interrupt_soon()

loop = threading.Thread(target=lambda: anyio.run(main, backend=sys.argv[1]))
loop.start()
opened.wait()
signal.signal(signal.SIGALRM, handle)
faulthandler.dump_traceback_later(15, exit=True)
interrupt_soon()
end = time.monotonic() + 0.7
while time.monotonic() < end:
    bus.publish_sync(CALL, run=run)
    published += 1
is_over = True
time.sleep(0.01)
closing.set()
loop.join()
metrics = bus.metrics
assert handled > 50, handled
assert metrics.published == metrics.committed == 1 + published + handled, (metrics, published, handled)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timers")
async def test_handlers_of_signals(anyio_backend_name: str) -> None:
    """A handler of signals may publish where it interrupts a thread that does: each event is counted."""
    command = [sys.executable, "-c", SIGNALS, anyio_backend_name]
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    )
    assert (0, "") == (done.returncode, done.stderr)
