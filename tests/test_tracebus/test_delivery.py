"""Delivery: sinks get what is durable, in order, at least once, and hurt nobody."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from tracebus import (
    MemoryEventLog,
    SinkRejected,
    SinkUnavailable,
    SqliteEventLog,
    Subscription,
    ToolProposed,
    TraceEventBus,
)
from tracebus.eventlog import AnyEvent
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio


class Slow(CapturingSink):
    """A sink that takes its time."""

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        await anyio.sleep(0.02)
        await super().write(batch)


class Hanging(CapturingSink):
    """A sink that never comes back."""

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        await anyio.sleep_forever()


class Failing(CapturingSink):
    """A sink that fails with the given errors first, one a batch."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__("failing", durable=True)
        self.errors = list(errors)

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        await super().write(batch)


async def publish(bus: TraceEventBus, count: int) -> list[str]:
    """Publish a run with some tool calls; return the ids of the calls."""
    async with bus.run():
        events = await bus.publish_many([ToolProposed(tool=str(i)) for i in range(count)])
    return [event.id for event in events]


async def test_sinks_close_with_the_bus() -> None:
    """Leaving the bus delivers what is stored, then closes the sinks."""
    sink = CapturingSink()
    async with TraceEventBus(MemoryEventLog(), [sink]) as bus:
        ids = await publish(bus, 3)
    assert ids == [event.id for event in sink.events[1:-1]]
    assert sink.closed


async def test_a_hanging_sink_delays_nobody() -> None:
    """A sink that hangs holds up neither publish, nor another sink, nor for long the end of the bus."""
    good = CapturingSink()
    with anyio.fail_after(5):
        async with TraceEventBus(MemoryEventLog(), [Hanging("hanging"), good], drain_timeout=0.1) as bus:
            await publish(bus, 10)
            while len(good.events) < 12:  # noqa: ASYNC110 (the sink sets no event)
                await anyio.sleep(0.01)
            assert [12, 0] == [status.lag for status in bus.sinks]


@pytest.mark.parametrize("error", [SinkUnavailable("later"), OSError("disk"), ZeroDivisionError()])
async def test_a_failing_sink_is_offered_again(error: Exception) -> None:
    """A batch that a sink could not take is offered again, and nothing is missing or out of order."""
    sink = Failing(error, error)
    async with TraceEventBus(MemoryEventLog(), [sink]) as bus:
        ids = await publish(bus, 5)
    assert ids == [event.id for event in sink.events[1:-1]]
    assert (2, 7) == (bus.sinks[0].failures, bus.sinks[0].confirmed)


async def test_a_rejected_batch_is_passed_over() -> None:
    """A batch that a sink rejects for good is counted, and delivery goes on."""
    sink = Failing(SinkRejected("too large"))
    async with TraceEventBus(MemoryEventLog(), [sink]) as bus:
        await publish(bus, 1)
        while bus.sinks[0].lag:  # noqa: ASYNC110 (a status sets no event)
            await anyio.sleep(0.01)
        ids = await publish(bus, 1)
    status = bus.sinks[0]
    assert status.rejected > 0
    assert 6 == status.rejected + status.confirmed
    assert ids[0] in [event.id for event in sink.events]


async def test_more_than_the_buffer_holds(tmp_path: Path) -> None:
    """What does not fit into a slow sink's buffer comes from the log, in order and once."""
    log = SqliteEventLog(tmp_path / "trace.db")
    sink = Slow()
    async with TraceEventBus(log, [Subscription(sink, buffer_events=10)]) as bus:
        for _ in range(5):
            await publish(bus, 100)
    positions = [event.position for event in sink.events]
    log.close()
    assert list(range(1, 511)) == positions


async def test_durable_sink_goes_on_at_its_cursor(tmp_path: Path) -> None:
    """After a restart, a durable sink gets what it has not confirmed, and only that."""
    log = SqliteEventLog(tmp_path / "trace.db")
    async with TraceEventBus(log, [CapturingSink(durable=True)]) as bus:
        await publish(bus, 3)
    async with TraceEventBus(log) as bus:
        missed = await publish(bus, 3)
    again = CapturingSink(durable=True)
    async with TraceEventBus(log, [again]) as bus:
        pass
    log.close()
    assert missed == [event.id for event in again.events[1:-1]]


async def test_other_sinks_begin_at_the_end() -> None:
    """A sink that is not durable gets what is stored from now on."""
    log = MemoryEventLog()
    async with TraceEventBus(log) as bus:
        await publish(bus, 3)
    sink = CapturingSink()
    async with TraceEventBus(log, [sink]) as bus:
        ids = await publish(bus, 2)
    assert ids == [event.id for event in sink.events[1:-1]]


async def test_names_must_differ() -> None:
    """Two sinks of one name would share a cursor, and are refused."""
    with pytest.raises(ValueError, match="different names"):
        TraceEventBus(MemoryEventLog(), [CapturingSink(), CapturingSink()])


class Cancelling(CapturingSink):
    """A sink in which something that it waits for was cancelled."""

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        await super().write(batch)
        if len(self.batches) == 1:
            raise _cancelled()

    async def aclose(self) -> None:
        raise RuntimeError("cannot close")


def _cancelled() -> BaseException:
    cls = anyio.get_cancelled_exc_class()
    return cls._create(source="unknown") if hasattr(cls, "_create") else cls()


async def test_a_sink_cannot_cancel_the_publisher() -> None:
    """A cancellation within a sink, and a sink that cannot close, concern that sink alone."""
    sink, good = Cancelling("bad"), CapturingSink("good")
    async with TraceEventBus(MemoryEventLog(), [sink, good]) as bus:
        ids = await publish(bus, 3)
        while bus.sinks[0].lag:  # noqa: ASYNC110 (a status sets no event)
            await anyio.sleep(0.01)
    assert bus.sinks[0].failures > 0
    assert ids == [event.id for event in good.events[1:-1]]
    assert good.closed


class Forgetful(MemoryEventLog):
    """A log whose reads fail with anything at all."""

    def query(self, query: object) -> Iterator[AnyEvent]:
        raise OSError("cannot read")


async def test_a_log_that_cannot_be_read() -> None:
    """Where a sink has fallen behind and the log cannot be read, publishing goes on."""
    sink = Subscription(CapturingSink(), buffer_events=1)
    async with TraceEventBus(Forgetful(), [sink], drain_timeout=0.1) as bus:
        await publish(bus, 10)
    assert bus.sinks[0].failures > 0


async def test_cursor_is_saved_when_the_drain_times_out() -> None:
    """What a sink has confirmed is remembered, though it hangs on the rest when the bus closes."""

    class Once(CapturingSink):
        async def write(self, batch: Sequence[AnyEvent]) -> None:
            if self.batches:
                await anyio.sleep_forever()
            await super().write(batch)

    log, sink = MemoryEventLog(), Once(durable=True)
    async with TraceEventBus(log, [sink], drain_timeout=0.1) as bus:
        await publish(bus, 1)
        while not sink.events:  # noqa: ASYNC110 (the sink sets no event)
            await anyio.sleep(0.01)
        await publish(bus, 1)
    assert len(sink.events) == log.load_cursor(sink.name)


async def test_sinks_share_nothing_that_changes() -> None:
    """What a publisher or a sink does to a payload's values, another sink does not see."""
    sink = CapturingSink()
    seeing_all = Subscription(sink, disclose=["*:*"])
    async with TraceEventBus(MemoryEventLog(), [seeing_all]) as bus, bus.run():
        event = await bus.publish(ToolProposed(tool="x", arguments={"amount": 5000}))
        event.payload.arguments["amount"] = 1
    assert {"amount": 5000} == sink.events[1].opened()["arguments"]
    assert {"amount": 5000} == sink.events[1].payload.arguments  # type: ignore[union-attr]
