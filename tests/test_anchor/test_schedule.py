"""The schedule of anchoring, beside a bus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from evidence import Ed25519Signer
from tracebus import Alarm, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.anchor import Anchoring, PublishedLog, Receipt, anchor_status
from tracebus.errors import AnchorRefused, AnchorUnavailable

pytestmark = pytest.mark.anyio

SIGNER = Ed25519Signer(b"\x01" * 32)


class Recorder:
    """An anchor that notes sizes, and does first what `before` says."""

    def __init__(self, name: str = "recorder", before: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self.before = before
        self.sizes: list[int] = []
        self.calls = 0

    def has_more_than(self, size: int) -> bool:
        """Tell whether it was brought a larger checkpoint than one of this size."""
        return max(self.sizes, default=0) > size

    def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
        """Take a checkpoint."""
        self.calls += 1
        self.before()
        self.sizes.append(log.size)
        return Receipt(log.size)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "trace.db"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for milliseconds after failures."""
    monkeypatch.setattr("tracebus.anchor.schedule.FIRST_PAUSE", 0.01)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 (what is waited for happens in threads)
            await anyio.sleep(0.01)


async def waiting(log: SqliteEventLog) -> tuple[int, int]:
    """Return how many events of a log its tree does not have, and the size of that."""

    def read() -> tuple[int, int]:
        state = log.tree_store.state()
        return log.last_position() - state.position, state.size

    return await anyio.to_thread.run_sync(read)


async def publish(bus: TraceEventBus, workflow: str) -> None:
    """Publish a run of three events."""
    async with bus.run(workflow_id=workflow):
        await bus.publish(ToolProposed(tool="wire"))


async def test_it_anchors_at_the_beginning_and_at_the_end(path: Path) -> None:
    """What was there is anchored when the bus opens, and what it published when it closes."""
    recorder = Recorder()
    for number in range(2):
        async with TraceEventBus(SqliteEventLog(path), anchoring=Anchoring(SIGNER, [recorder])) as bus:
            await until(lambda: len(recorder.sizes) % 2 == 1)
            await publish(bus, f"transfer-{number}")
    assert ([0, 4, 4, 8], (0, 8)) == (recorder.sizes, await waiting(SqliteEventLog(path)))


async def test_in_intervals(path: Path) -> None:
    """New events are anchored while the bus is open."""
    recorder = Recorder()
    anchoring = Anchoring(SIGNER, [recorder], every=0.05)
    async with TraceEventBus(SqliteEventLog(path), anchoring=anchoring) as bus:
        for number in range(3):
            before = max(recorder.sizes, default=0)
            await publish(bus, f"transfer-{number}")
            await until(partial(recorder.has_more_than, before))


@pytest.mark.parametrize("when_idle", [True, False])
async def test_when_idle(path: Path, when_idle: bool) -> None:
    """Where nothing is new, anchors are visited in each interval, or not."""
    recorder = Recorder()
    anchoring = Anchoring(SIGNER, [recorder], every=0.02, when_idle=when_idle)
    async with TraceEventBus(SqliteEventLog(path), anchoring=anchoring):
        await until(lambda: bool(recorder.sizes))
        await anyio.sleep(0.5)
    assert when_idle == (recorder.calls > 2)


async def test_an_anchor_that_fails_is_tried_again(path: Path) -> None:
    """It is brought the checkpoint until it takes it; of a row of failures, the first raises an alarm."""
    faults = [AnchorUnavailable("nobody there")] * 3
    recorder = Recorder(before=lambda: _raise(faults))
    alarms: list[Alarm] = []
    bus = TraceEventBus(SqliteEventLog(path), anchoring=Anchoring(SIGNER, [recorder]), on_alarm=alarms.append)
    async with bus:
        await until(lambda: bool(recorder.sizes))
    assert ([("anchor_failed", "anchor recorder: nobody there")], 4) == (
        [(alarm.kind, alarm.message) for alarm in alarms],
        recorder.calls,
    )


def _raise(faults: list[AnchorUnavailable]) -> None:
    if faults:
        raise faults.pop()


async def test_an_anchor_that_hangs_keeps_nobody_waiting(path: Path) -> None:
    """Another anchor has each checkpoint, publish goes on, and the bus closes in its time."""
    released = threading.Event()
    hanging = Recorder("hanging", before=lambda: released.wait(30))
    good = Recorder("good")
    anchoring = Anchoring(SIGNER, [hanging, good], every=0.05)
    started = time.monotonic()
    bus = TraceEventBus(SqliteEventLog(path), anchoring=anchoring, drain_timeout=0.5)
    try:
        async with bus:
            await publish(bus, "transfer-1")
            await until(lambda: good.has_more_than(0))
    finally:
        released.set()
    assert (True, False) == (time.monotonic() - started < 10, hanging.has_more_than(0))


async def test_on_alarm_that_raises(path: Path) -> None:
    """It is logged, and anchoring goes on."""
    faults = [AnchorUnavailable("nobody there")]
    recorder = Recorder(before=lambda: _raise(faults))

    def on_alarm(alarm: Alarm) -> None:
        raise RuntimeError("a bug")

    bus = TraceEventBus(SqliteEventLog(path), anchoring=Anchoring(SIGNER, [recorder]), on_alarm=on_alarm)
    async with bus:
        await until(lambda: bool(recorder.sizes))


async def test_a_refusal(path: Path) -> None:
    """An anchor that has another history raises the alarm, and publish goes on."""
    alarms: list[Alarm] = []

    def refuse() -> None:
        raise AnchorRefused("another history")

    log = SqliteEventLog(path)
    anchoring = Anchoring(SIGNER, [Recorder(before=refuse)])
    async with TraceEventBus(log, anchoring=anchoring, on_alarm=alarms.append) as bus:
        await until(lambda: bool(alarms))
        await publish(bus, "transfer-1")
    (status,) = await anyio.to_thread.run_sync(anchor_status, log)
    assert (AnchorRefused, True, "another history") == (type(alarms[0].error), status.refused, status.error)


async def test_no_checkpoint_can_be_signed(path: Path) -> None:
    """With another key than the log's, the alarm says so, no anchor is visited, and publish goes on."""
    async with TraceEventBus(SqliteEventLog(path), anchoring=Anchoring(SIGNER, [])) as bus:
        await publish(bus, "transfer-1")
    alarms: list[Alarm] = []
    recorder = Recorder()
    anchoring = Anchoring(Ed25519Signer(b"\x02" * 32), [recorder])
    async with TraceEventBus(SqliteEventLog(path), anchoring=anchoring, on_alarm=alarms.append) as bus:
        await until(lambda: bool(alarms))
        await publish(bus, "transfer-2")
    assert (True, 0) == (alarms[0].message.startswith("no checkpoint was signed: "), recorder.calls)


async def test_the_bus_is_cancelled(path: Path) -> None:
    """What is new is anchored also then."""
    recorder = Recorder()
    with anyio.move_on_after(5) as scope:
        async with TraceEventBus(SqliteEventLog(path), anchoring=Anchoring(SIGNER, [recorder])) as bus:
            await publish(bus, "transfer-1")
            scope.cancel()
            await anyio.sleep(1)
    assert (0, recorder.sizes[-1]) == await waiting(SqliteEventLog(path))


async def test_every() -> None:
    """An interval that is none is refused."""
    with pytest.raises(ValueError, match="every"):
        Anchoring(SIGNER, [], every=0)
