"""Subscriptions: publish waits for whom it should, and what a sink that falls behind misses is told."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tracebus import (
    Alarm,
    BusClosed,
    EventLog,
    EventLogUnavailable,
    EventQuery,
    MemoryEventLog,
    Run,
    SinkOverflow,
    SinkRejected,
    SinkUnavailable,
    SinkUnconfirmed,
    SqliteEventLog,
    Subscription,
    ToolProposed,
    TraceEvent,
    TraceEventBus,
)
from tracebus.confirmation import Confirmation
from tracebus.eventlog import AnyEvent
from tracebus.fsck import fsck
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio

CALL = ToolProposed(tool="wire")
LOG_WORKFLOW = "tracebus:log"


class Gated(CapturingSink):
    """A sink that takes nothing until it is let."""

    def __init__(self, name: str = "gated", *, durable: bool = False) -> None:
        super().__init__(name, durable=durable)
        self.gate = anyio.Event()
        self.entered = anyio.Event()

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        """Wait to be let, then keep the batch."""
        self.entered.set()
        await self.gate.wait()
        await super().write(batch)


class Failing(CapturingSink):
    """A sink that fails with the given errors first, one a batch, and with the last one for ever if told."""

    def __init__(self, *errors: Exception | None, name: str = "failing") -> None:
        super().__init__(name)
        self.errors = list(errors)

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        """Fail, or keep the batch; there is nothing to wait for in either case."""
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        await super().write(batch)


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    """A log of each kind; it must hold together when the test is done."""
    log: EventLog = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "trace.db")
    yield log
    report = fsck(log)
    log.close()
    assert report.fault is None, report.fault


async def stored(log: EventLog, **query: Any) -> list[AnyEvent]:
    """Return the events of a log."""
    return await anyio.to_thread.run_sync(lambda: list(log.query(EventQuery(**query))))


async def gaps(log: EventLog) -> list[dict[str, Any]]:
    """Return what the log says of drops."""
    events = await stored(log, workflow_id=LOG_WORKFLOW, types=("recording_gap",))
    return [event.opened() for event in events]


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 (neither sinks nor logs set events)
            await anyio.sleep(0.005)


def positions(sink: CapturingSink) -> list[int | None]:
    """Return the positions of what a sink got of the users' workflows."""
    return [event.position for event in sink.events if event.workflow_id != LOG_WORKFLOW]


Publish = Callable[[TraceEventBus, Run, int], Any]


async def singly(bus: TraceEventBus, run: Run, count: int) -> None:
    """Publish one after the other."""
    for _ in range(count):
        await bus.publish(CALL, run=run)


async def as_group(bus: TraceEventBus, run: Run, count: int) -> None:
    """Publish as one group."""
    await bus.publish_many([CALL] * count, run=run)


async def from_a_thread(bus: TraceEventBus, run: Run, count: int) -> None:
    """Publish from a worker thread."""

    def work() -> None:
        for _ in range(count):
            bus.publish_sync(CALL, run=run)

    await anyio.to_thread.run_sync(work)


async def from_another_loop(bus: TraceEventBus, run: Run, count: int) -> None:
    """Publish from an event loop of another thread."""
    await anyio.to_thread.run_sync(lambda: anyio.run(singly, bus, run, count))


WAYS = [singly, as_group, from_a_thread, from_another_loop]


# Required sinks


@pytest.mark.parametrize("publish", WAYS)
async def test_confirmed(log: EventLog, publish: Publish) -> None:
    """When publish returns, each required sink has the events, and the log as well."""
    sinks = [CapturingSink(name) for name in ("one", "two")]
    async with TraceEventBus(log, [Subscription(sink, required=True) for sink in sinks]) as bus:
        run = await bus.start_run()
        await publish(bus, run, 3)
        found = [[event.id for event in sink.events] for sink in sinks]
    assert [[event.id for event in await stored(log)]] * 2 == found


@pytest.mark.parametrize("publish", WAYS)
async def test_rejected_at_once(log: EventLog, publish: Publish) -> None:
    """That a required sink rejects events is told, though it does so before publish begins to wait."""
    sink = Failing(None)
    async with TraceEventBus(log, [Subscription(sink, required=True)]) as bus:
        run = await bus.start_run()
        sink.errors = [SinkRejected("too large")] * 100
        with pytest.raises(SinkUnconfirmed, match="failing: rejected: too large") as caught:
            await publish(bus, run, 1)
    assert [caught.value.event_ids] == [(event.id,) for event in (await stored(log))[1:]]
    assert "failing" == caught.value.sink


async def test_group_rejected_in_part() -> None:
    """A group is not confirmed if any batch of it was rejected, though its last one was taken."""
    sink = Failing(None)
    async with TraceEventBus(MemoryEventLog(), [Subscription(sink, required=True)]) as bus:
        run = await bus.start_run()
        sink.errors = [SinkRejected("too large")]
        with pytest.raises(SinkUnconfirmed, match="too large") as caught:
            await bus.publish_many([CALL] * 600, run=run)
        await until(lambda: not bus.sinks[0].lag)
    assert 600 == len(caught.value.event_ids)
    assert (256, 345) == (bus.sinks[0].rejected, bus.sinks[0].confirmed)


@pytest.mark.parametrize("publish", WAYS)
async def test_not_confirmed_in_time(publish: Publish) -> None:
    """Where a required sink hangs, publish says so after a while; the events are durable, and offered on."""
    log, sink = MemoryEventLog(), Gated()
    async with TraceEventBus(log, [Subscription(sink, required=True, confirm_seconds=0.05)]) as bus:
        with pytest.raises(SinkUnconfirmed, match=r"durable, sink unconfirmed.*not confirmed in 0\.05 s"):
            await bus.start_run(run_id="r1")
        sink.gate.set()
        run = await bus.resume_run("r1")
        sink.gate = anyio.Event()
        with pytest.raises(SinkUnconfirmed) as caught:
            await publish(bus, run, 1)
        sink.gate.set()
    events = await stored(log)
    assert caught.value.event_ids == (events[2].id,)
    assert events == sink.events


async def test_failing_then_recovering() -> None:
    """A required sink that fails is offered the event again, and publish waits for that."""
    log, sink = MemoryEventLog(), Failing(None, SinkUnavailable("later"), OSError("disk"))
    async with TraceEventBus(log, [Subscription(sink, required=True)]) as bus:
        run = await bus.start_run()
        event = await bus.publish(CALL, run=run)
        assert event.id == sink.events[-1].id
        assert 2 == bus.sinks[0].failures


async def test_failing_for_long() -> None:
    """Where a required sink fails for too long, publish names its last error."""
    log, sink = MemoryEventLog(), Failing(None, *[OSError("disk")] * 2)
    async with TraceEventBus(log, [Subscription(sink, required=True, confirm_seconds=0.03)]) as bus:
        run = await bus.start_run()
        with pytest.raises(SinkUnconfirmed, match=r"last error: OSError\('disk'\)"):
            await bus.publish(CALL, run=run)
    assert 2 == len(sink.events)


async def test_time_is_counted_from_the_append() -> None:
    """Several required sinks have their time together, not one after the other."""

    class Slow(CapturingSink):
        async def write(self, batch: Sequence[AnyEvent]) -> None:
            if self.events:
                await anyio.sleep(0.4)
            await super().write(batch)

    slow, hanging = Slow("slow"), Failing(None, *[OSError()] * 20, name="hanging")
    subscriptions = [
        Subscription(slow, required=True),
        Subscription(hanging, required=True, confirm_seconds=0.5),
    ]
    async with TraceEventBus(MemoryEventLog(), subscriptions, drain_timeout=0) as bus:
        run = await bus.start_run()
        begun = time.monotonic()
        with pytest.raises(SinkUnconfirmed, match="sink hanging"):
            await bus.publish(CALL, run=run)
        assert 0.4 <= time.monotonic() - begun < 0.8
    assert 2 == len(slow.events)


async def test_optional_sink_beside_a_required_one(log: EventLog) -> None:
    """Publish waits for the required sink alone."""
    sinks = [CapturingSink("copy"), Gated("view")]
    async with TraceEventBus(log, [Subscription(sinks[0], required=True), sinks[1]], drain_timeout=0) as bus:
        with anyio.fail_after(5):
            await singly(bus, await bus.start_run(), 5)
        assert [6, 0] == [len(sink.events) for sink in sinks]


async def test_repeated_key() -> None:
    """Published again by the same key, what the sink has is confirmed at once, and offered to it once."""
    sink = CapturingSink()
    async with TraceEventBus(MemoryEventLog(), [Subscription(sink, required=True)]) as bus:
        run = await bus.start_run()
        first = await bus.publish(CALL, run=run, key="k")
        assert first == await bus.publish(CALL, run=run, key="k")
        assert first in await bus.publish_many([(CALL, {"key": "k"}), CALL], run=run)
    assert [1, 2, 3] == positions(sink)


async def test_run_that_is_not_confirmed(log: EventLog) -> None:
    """A run whose beginning is not confirmed has its end in the log all the same."""
    sink = Gated()

    async def work() -> None:
        async with bus.run():
            pass

    subscription = Subscription(sink, required=True, confirm_seconds=0.05)
    async with TraceEventBus(log, [subscription], drain_timeout=0) as bus:
        with pytest.raises(SinkUnconfirmed):
            await work()
    assert ["run_started", "run_completed"] == [event.type for event in await stored(log)]


@pytest.mark.parametrize("subscription", [{"required": True}, {"overflow": "block"}])
async def test_publish_sync_in_the_loop_is_refused(log: EventLog, subscription: dict[str, Any]) -> None:
    """In the loop's own thread, publish_sync cannot wait for a sink of that loop: nothing is recorded."""
    async with TraceEventBus(log, [Subscription(CapturingSink(), **subscription)]) as bus:
        run = await bus.start_run()
        with pytest.raises(RuntimeError, match="await publish instead"):
            bus.publish_sync(CALL, run=run)
    assert ["run_started"] == [event.type for event in await stored(log)]


@pytest.mark.blocking_ok
@pytest.mark.parametrize("overflow", ["catch_up", "error", "drop_oldest", "drop_newest"])
async def test_publish_sync_in_the_loop(log: EventLog, overflow: Any) -> None:
    """Where there is no sink to wait for, publish_sync does its work in the loop's own thread, too."""
    async with TraceEventBus(log, [Subscription(CapturingSink(), overflow=overflow)]) as bus:
        event = bus.publish_sync(CALL, run=await bus.start_run())
    assert event in await stored(log)


@pytest.mark.parametrize("publish", WAYS)
@pytest.mark.parametrize("subscription", [{"required": True}, {"overflow": "block", "buffer_events": 1}])
async def test_closing_while_publishers_wait(publish: Publish, subscription: dict[str, Any]) -> None:
    """Who waits for a sink when the bus closes is let go: who required it is told so."""
    log, sink, outcomes = MemoryEventLog(), Gated(), []

    async def work() -> None:
        try:
            await publish(bus, run, 1)
            outcomes.append("published")
        except SinkUnconfirmed as error:
            outcomes.append(error.reason)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:  # noqa: SIM117 (the bus closes first)
            async with TraceEventBus(log, [Subscription(sink, **subscription)], drain_timeout=0.05) as bus:
                sink.gate.set()
                run = await bus.start_run()
                await until(lambda: not bus.sinks[0].lag)
                sink.gate = anyio.Event()
                for _ in range(3):
                    tasks.start_soon(work)
                await until(lambda: log.last_position() == 4)
    refused = ["the bus was closed"] * 3
    assert sorted(outcomes) == (refused if "required" in subscription else ["published"] * 3)


async def test_cancelled_while_waiting(log: EventLog) -> None:
    """A publisher that is cancelled while it waits for a sink leaves its event there, and in the log."""
    sink = Gated()
    async with TraceEventBus(log, [Subscription(sink, required=True)]) as bus:
        sink.gate.set()
        run = await bus.start_run()
        sink.gate = anyio.Event()
        with anyio.move_on_after(0.05) as scope:
            await bus.publish(CALL, run=run)
        assert scope.cancelled_caught
        sink.gate.set()
    assert [1, 2] == positions(sink)


async def test_nobody_is_waited_for_who_gave_up() -> None:
    """Of publishers that gave up on a sink that hangs, nothing stays in memory."""
    subscription = Subscription(Gated(), required=True, confirm_seconds=0.01)
    async with TraceEventBus(MemoryEventLog(), [subscription], drain_timeout=0) as bus:
        with pytest.raises(SinkUnconfirmed):
            await bus.start_run(run_id="r1")
        run = Run(bus, "r1", "r1", None, None)
        for _ in range(20):
            with pytest.raises(SinkUnconfirmed):
                await bus.publish(CALL, run=run)
            with anyio.move_on_after(0):
                await bus.publish(CALL, run=run)
        await anyio.sleep(0.05)
        gc.collect()
        waiting = sum(isinstance(thing, Confirmation) for thing in gc.get_objects())
    assert 0 == waiting


# Overflow


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overflow": "drop"}, "overflow: expected one of"),
        ({"required": True, "overflow": "drop_oldest"}, "required sink"),
        ({"required": True, "overflow": "drop_newest"}, "required sink"),
        ({"buffer_events": 0}, "more than 0"),
        ({"confirm_seconds": 0}, "more than 0"),
    ],
)
async def test_wrong_subscriptions(arguments: dict[str, Any], message: str) -> None:
    """A subscription that cannot be kept is refused."""
    with pytest.raises(ValueError, match=message):
        Subscription(CapturingSink(), **arguments)


@pytest.mark.parametrize("publish", [singly, as_group])
async def test_catch_up(log: EventLog, publish: Publish) -> None:
    """Publish goes on while a sink hangs, and the sink gets all of it later, in order and once."""
    sink = Gated()
    async with TraceEventBus(log, [Subscription(sink, buffer_events=5)]) as bus:
        with anyio.fail_after(5):
            await publish(bus, await bus.start_run(), 300)
        sink.gate.set()
    assert list(range(1, 302)) == positions(sink)
    assert [] == await gaps(log)


@pytest.mark.parametrize("publish", WAYS)
async def test_block(publish: Publish) -> None:
    """Publish waits, after the append, for a sink to be back within its buffer; others go on."""
    log, sink, other = MemoryEventLog(), Gated(), CapturingSink()
    subscription = Subscription(sink, overflow="block", buffer_events=5)
    async with TraceEventBus(log, [subscription, other]) as bus, anyio.create_task_group() as tasks:
        run = await bus.start_run()
        await publish(bus, run, 4)
        done = anyio.Event()

        async def publish_one() -> None:
            await publish(bus, run, 1)
            done.set()

        tasks.start_soon(publish_one)
        await until(lambda: len(other.events) == 6)
        await anyio.sleep(0.05)
        assert not done.is_set()
        sink.gate.set()
        with anyio.fail_after(5):
            await done.wait()
            await publish(bus, run, 30)
    assert list(range(1, 37)) == positions(sink) == positions(other)


@pytest.mark.parametrize("publish", WAYS)
async def test_error(log: EventLog, publish: Publish) -> None:
    """Publish raises before the append where a sink is as far behind as its buffer is large."""
    sink = Gated()
    async with TraceEventBus(log, [Subscription(sink, overflow="error", buffer_events=5)]) as bus:
        run = await bus.start_run()
        await publish(bus, run, 4)
        with pytest.raises(SinkOverflow, match="gated is 5 events behind; nothing was recorded"):
            await publish(bus, run, 1)
        assert 5 == len(await stored(log))
        sink.gate.set()
        await until(lambda: not bus.sinks[0].lag)
        await publish(bus, run, 1)
    assert list(range(1, 7)) == positions(sink)


async def test_error_never_waits(log: EventLog) -> None:
    """What was admitted is not waited for, though it is more than the buffer holds."""
    sink = Gated()
    async with TraceEventBus(log, [Subscription(sink, overflow="error", buffer_events=5)]) as bus:
        run = await bus.start_run()
        with anyio.fail_after(5):
            await bus.publish_many([CALL] * 50, run=run)
        sink.gate.set()
    assert list(range(1, 52)) == positions(sink)


# The first event is in the sink's hands while 100 come, and ten fit into its buffer.
DROPS = [("drop_oldest", [1], [*range(92, 102)]), ("drop_newest", [*range(1, 11)], [])]


@pytest.mark.parametrize("publish", [singly, as_group])
@pytest.mark.parametrize(("overflow", "before", "after"), DROPS, ids=["drop_oldest", "drop_newest"])
async def test_drop(
    log: EventLog, overflow: Any, before: list[int], after: list[int], publish: Publish
) -> None:
    """A sink that drops gets the newest, or what it has; what it missed is counted, alarmed and recorded."""
    sink, other, alarms = Gated(), CapturingSink(), list[Alarm]()
    subscription = Subscription(sink, overflow=overflow, buffer_events=10)
    dropped = 101 - len(before + after)
    async with TraceEventBus(log, [subscription, other], on_alarm=alarms.append) as bus:
        run = await bus.start_run()
        await sink.entered.wait()
        with anyio.fail_after(10):
            await publish(bus, run, 100)
        await until(lambda: len(other.events) == 101)
        sink.gate.set()
        await until(lambda: len(sink.events) == len(before + after) + 3)
        assert (dropped, 0, 0) == (bus.sinks[0].dropped, bus.sinks[0].lag, bus.sinks[1].dropped)
    assert before + after == positions(sink)
    assert list(range(1, 102)) == positions(other)
    events = await stored(log)
    (gap,) = await gaps(log)
    assert (dropped, "sink gated") == (gap["count"], gap["component"])
    assert overflow in gap["reason"]
    assert events[len(before) - 1].timestamp == gap["since"]
    assert events[100].timestamp < gap["until"] <= events[-1].timestamp
    assert [("sink_dropped", dropped)] == [(alarm.kind, alarm.lost) for alarm in alarms]
    assert 104 == len(events)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_drop_again(overflow: Any) -> None:
    """Each time that a sink falls behind has its alarm and its gap, and the counts add up."""
    log, sink, alarms = MemoryEventLog(), Gated(), list[Alarm]()
    sink.gate.set()
    subscription = Subscription(sink, overflow=overflow, buffer_events=10)
    async with TraceEventBus(log, [subscription], on_alarm=alarms.append) as bus:
        run = await bus.start_run()
        for i in range(1, 4):
            await until(lambda: not bus.sinks[0].lag)
            sink.gate = anyio.Event()
            await singly(bus, run, 101)
            sink.gate.set()
            await until(lambda i=i: log.last_position() == 1 + i * (101 + 3))
        await until(lambda: not bus.sinks[0].lag)
    counts = [gap["count"] for gap in await gaps(log)]
    assert 3 == len(counts)
    assert counts == [alarm.lost for alarm in alarms]
    assert sum(counts) == bus.sinks[0].dropped == log.last_position() - len(sink.events)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_drop_of_some(overflow: Any) -> None:
    """What fits into the buffer is not dropped, however often it fills to the brim."""
    log, sink = MemoryEventLog(), Gated()
    sink.gate.set()
    async with TraceEventBus(log, [Subscription(sink, overflow=overflow, buffer_events=10)]) as bus:
        run = await bus.start_run()
        for _ in range(20):
            await until(lambda: not bus.sinks[0].lag)
            sink.gate = anyio.Event()
            await singly(bus, run, 10)
            sink.gate.set()
    assert list(range(1, 202)) == positions(sink)
    assert 0 == bus.sinks[0].dropped


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
@pytest.mark.parametrize("size", [1, 4])
async def test_gaps_make_no_gaps(overflow: Any, size: int) -> None:
    """That a gap's own events do not fit into small buffers makes no endless row of gaps."""
    log = MemoryEventLog()
    sinks = [CapturingSink(str(i)) for i in range(3)]
    subscriptions = [Subscription(sink, overflow=overflow, buffer_events=size) for sink in sinks]
    async with TraceEventBus(log, subscriptions) as bus:
        await as_group(bus, await bus.start_run(), 50)
        await anyio.sleep(0.1)
        settled = log.last_position()
        await anyio.sleep(0.05)
        assert settled == log.last_position()
    assert settled <= 51 + 3 * 2 * len(sinks)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_gap_when_the_bus_closes(log: EventLog, overflow: Any) -> None:
    """What was dropped for a sink that is still behind when the bus closes is recorded then."""

    class Stepped(Gated):
        async def write(self, batch: Sequence[AnyEvent]) -> None:
            await super().write(batch)
            self.gate = anyio.Event()

    sink, alarms = Stepped(), list[Alarm]()
    subscription = Subscription(sink, overflow=overflow, buffer_events=10)
    async with TraceEventBus(log, [subscription], drain_timeout=0.05, on_alarm=alarms.append) as bus:
        run = await bus.start_run()
        await sink.entered.wait()
        await singly(bus, run, 30)
        sink.gate.set()
        await until(lambda: len(sink.events) == 1)
        if overflow == "drop_newest":  # what it has comes first
            await singly(bus, run, 10)
            sink.gate.set()
        await until(lambda: alarms)
        assert [] == await gaps(log)
    assert [bus.sinks[0].dropped] == [gap["count"] for gap in await gaps(log)]
    assert [(20 if overflow == "drop_oldest" else 21)] == [alarm.lost for alarm in alarms]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_gap_while_the_log_cannot_be_written(overflow: Any) -> None:
    """What cannot be recorded of a drop, for the log is down just then, is recorded when it is up again."""

    class Failing(MemoryEventLog):
        is_down = False

        def append(self, groups: Any) -> Any:
            if self.is_down:
                raise EventLogUnavailable("down")
            return super().append(groups)

    log, sink, alarms = Failing(), Gated(), list[Alarm]()
    subscription = Subscription(sink, overflow=overflow, buffer_events=10)
    async with TraceEventBus(log, [subscription], on_alarm=alarms.append) as bus:
        run = await bus.start_run()
        await sink.entered.wait()
        await singly(bus, run, 50)
        log.is_down = True
        sink.gate.set()
        await until(lambda: "log_failed" in [alarm.kind for alarm in alarms])
        assert [] == await gaps(log)
        log.is_down = False
        await bus.publish(CALL, run=run)
    assert [bus.sinks[0].dropped] == [gap["count"] for gap in await gaps(log)]


async def test_drop_of_a_backlog(tmp_path: Path) -> None:
    """What a durable sink missed while it was away is dropped, too, where it is more than the buffer."""
    log, sink = SqliteEventLog(tmp_path / "trace.db"), CapturingSink(durable=True)
    async with TraceEventBus(log) as bus:
        await as_group(bus, await bus.start_run(), 99)
    async with TraceEventBus(log, [Subscription(sink, overflow="drop_oldest", buffer_events=10)]) as bus:
        await until(lambda: len(sink.events) >= 10)
    assert list(range(91, 101)) == positions(sink)
    assert [90] == [gap["count"] for gap in await gaps(log)]


def _events_in_memory() -> int:
    gc.collect()
    return sum(isinstance(thing, TraceEvent) for thing in gc.get_objects())


@pytest.mark.parametrize("overflow", ["catch_up", "drop_oldest", "drop_newest"])
async def test_memory_is_bounded(tmp_path: Path, overflow: Any) -> None:
    """However much is published while a sink hangs, no more than its buffer is held in memory."""
    sink = Gated()
    subscription = Subscription(sink, overflow=overflow, buffer_events=20)
    async with TraceEventBus(SqliteEventLog(tmp_path / "trace.db"), [subscription]) as bus:
        run = await bus.start_run()
        await sink.entered.wait()
        before = _events_in_memory()
        await singly(bus, run, 80)
        held = _events_in_memory() - before
        sink.gate.set()
    assert held <= 20 + 10


async def test_what_cannot_be_read_yet_is_not_passed_over() -> None:
    """Where a log does not show yet what it has stored, a sink waits for that."""

    class Late(MemoryEventLog):
        is_shown = False

        def query(self, query: EventQuery) -> Iterator[AnyEvent]:
            return super().query(query) if self.is_shown else iter(())

    log, sink = Late(), CapturingSink()
    async with TraceEventBus(log, [Subscription(sink, buffer_events=1)]) as bus:
        await as_group(bus, await bus.start_run(), 50)
        await until(lambda: bus.sinks[0].failures)
        log.is_shown = True
    assert list(range(1, 52)) == positions(sink)


async def test_no_sink_is_closed_while_it_writes() -> None:
    """A sink that cannot be interrupted is closed when its last write is done, which the cursor knows."""

    class Uninterruptible(CapturingSink):
        def __init__(self) -> None:
            super().__init__(durable=True)
            self.is_writing = self.was_writing = False

        async def write(self, batch: Sequence[AnyEvent]) -> None:
            self.is_writing = True
            await anyio.to_thread.run_sync(time.sleep, 0.3)
            self.is_writing = False
            await super().write(batch)

        async def aclose(self) -> None:
            self.was_writing = self.is_writing

    log, sink = MemoryEventLog(), Uninterruptible()
    async with TraceEventBus(log, [sink], drain_timeout=0.05) as bus:
        await bus.start_run()
    assert not sink.was_writing
    assert (1, 1) == (len(sink.events), log.load_cursor(sink.name))


async def test_publishers_that_hold_all_threads(tmp_path: Path) -> None:
    """Publishers that hold all of the loop's worker threads, and wait for a sink, keep it from nothing."""
    sink = Gated()
    limiter = anyio.to_thread.current_default_thread_limiter()
    threads, limiter.total_tokens = limiter.total_tokens, 3
    subscription = Subscription(sink, overflow="block", buffer_events=1)
    try:
        with anyio.fail_after(10):
            async with TraceEventBus(SqliteEventLog(tmp_path / "trace.db"), [subscription]) as bus:
                run = await bus.start_run()
                async with anyio.create_task_group() as tasks:
                    for _ in range(6):
                        tasks.start_soon(from_a_thread, bus, run, 10)
                    await until(lambda: bus.metrics.committed == 4)
                    sink.gate.set()
    finally:
        limiter.total_tokens = threads
    assert list(range(1, 62)) == positions(sink)


OTHER = """
import sys
import anyio
from sinks.jsonl import JsonlSink
from tracebus import SqliteEventLog, Subscription, ToolProposed, TraceEventBus

async def main(log, copy):
    sink = Subscription(JsonlSink(copy), required=True)
    async with TraceEventBus(SqliteEventLog(log), [sink]) as bus:
        run = await bus.start_run()
        for i in range(30):
            await bus.publish(ToolProposed(tool="other"), run=run)
            assert open(copy).read().count("\\n") >= i + 2

anyio.run(main, *sys.argv[1:])
"""


async def test_two_processes(tmp_path: Path) -> None:
    """Each process waits for its own sinks, and drops for its own what comes from either."""
    log, copy = SqliteEventLog(tmp_path / "trace.db"), tmp_path / "copy.jsonl"
    required, view = CapturingSink("required"), Gated("view")
    subscriptions = [
        Subscription(required, required=True),
        Subscription(view, overflow="drop_oldest", buffer_events=10),
    ]
    async with TraceEventBus(log, subscriptions) as bus:
        run = await bus.start_run()
        await view.entered.wait()
        command = [sys.executable, "-c", OTHER, str(log.path), str(copy)]
        await anyio.to_thread.run_sync(lambda: subprocess.run(command, check=True))
        await bus.publish(CALL, run=run)
        assert list(range(1, 34)) == positions(required)
        view.gate.set()
        await until(lambda: len(view.events) == 1 + 10 + 3)
    assert 32 == copy.read_bytes().count(b"\n")
    assert [1, *range(24, 34)] == positions(view)
    assert [22] == [gap["count"] for gap in await gaps(log)]


async def test_many_publishers_of_all_kinds(log: EventLog) -> None:
    """Tasks and threads publish at once to sinks of every kind: each gets in order what it is owed."""
    sinks = {
        name: CapturingSink(name) for name in ("required", "catch_up", "block", "drop_oldest", "drop_newest")
    }
    subscriptions = [
        Subscription(sinks["required"], required=True, buffer_events=7),
        *(Subscription(sinks[name], overflow=name, buffer_events=7) for name in list(sinks)[1:]),  # type: ignore[arg-type]
    ]
    confirmed: list[str] = []

    async def work(run: Run) -> None:
        for _ in range(20):
            event = await bus.publish(CALL, run=run)
            confirmed.append(event.id)

    def work_in_a_thread(run: Run) -> None:
        for _ in range(20):
            event = bus.publish_sync(CALL, run=run)
            confirmed.append(event.id)

    with anyio.fail_after(60):
        async with TraceEventBus(log, subscriptions, on_alarm=lambda _: None) as bus:
            run = await bus.start_run()
            threads = [threading.Thread(target=work_in_a_thread, args=(run,)) for _ in range(5)]
            for thread in threads:
                thread.start()
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(work, run)
            for thread in threads:
                await anyio.to_thread.run_sync(thread.join)
            assert set(confirmed) <= {event.id for event in sinks["required"].events}
            await until(lambda: not any(status.lag for status in bus.sinks))
            statuses = bus.sinks
    assert 300 == len(confirmed)
    for sink, status in zip(sinks.values(), statuses, strict=True):
        found = [event.position or 0 for event in sink.events][: status.confirmed]
        assert sorted(set(found)) == found
        assert status.position == status.confirmed + status.dropped
    assert [0, 0, 0] == [status.dropped for status in statuses[:3]]


async def test_acknowledged_is_offered_once() -> None:
    """What publish has acknowledged before the bus closes, or while it does, each sink gets exactly once."""
    for _ in range(10):
        sink, acknowledged, begun = CapturingSink(), list[str](), threading.Barrier(5)

        def work(bus: TraceEventBus, run: Run, acknowledged: list[str], begun: threading.Barrier) -> None:
            begun.wait()
            with suppress(BusClosed):
                while True:
                    acknowledged.append(bus.publish_sync(CALL, run=run).id)

        async with TraceEventBus(MemoryEventLog(), [sink]) as bus:
            run = await bus.start_run()
            threads = [threading.Thread(target=work, args=(bus, run, acknowledged, begun)) for _ in range(4)]
            for thread in threads:
                thread.start()
            await anyio.to_thread.run_sync(begun.wait)
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        assert sorted(acknowledged) == sorted(event.id for event in sink.events[1:])
