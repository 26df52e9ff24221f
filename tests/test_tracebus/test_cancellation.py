"""Cancelled at any await at all, a call leaves its events in the log whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.test_tracebus.cancelling import Cancelling, Moment, Operation, StagedLog, by_scope, by_task
from tracebus import EventQuery, Run, RunClosed, ToolProposed, TraceEventBus
from tracebus.eventlog import EventLog
from tracebus.fsck import fsck
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio

CALL = ToolProposed(tool="wire", arguments={"amount": 5000})
STEPS = range(1, 100)


@pytest.fixture(
    scope="module",
    params=[("asyncio", by_scope), ("asyncio", by_task), ("trio", by_scope)],
    ids=["asyncio", "asyncio-task", "trio"],
)
def way(request: pytest.FixtureRequest) -> tuple[str, Cancelling]:
    """An event loop, and a way to cancel in it."""
    value: tuple[str, Cancelling] = request.param
    return value


@pytest.fixture(scope="module")
def anyio_backend(way: tuple[str, Cancelling]) -> str:
    """Run each test once for each way to cancel."""
    return way[0]


@pytest.fixture
def cancelled_at(way: tuple[str, Cancelling]) -> Cancelling:
    """The way to cancel."""
    return way[1]


@pytest.fixture(params=["queued", "taken", "stored"])
def moment(request: pytest.FixtureRequest) -> Moment:
    """Whether events wait behind others, are being appended, or are stored when the cancellation comes."""
    value: Moment = request.param
    return value


@pytest.fixture
def log(tmp_path: Path, moment: Moment) -> Iterator[StagedLog]:
    """A log; it must hold together when the test is done."""
    log = StagedLog(tmp_path / "trace.db", moment)
    yield log
    report = fsck(log)
    log.close()
    assert report.fault is None, report.fault


async def types(log: EventLog, run_id: str) -> list[str]:
    """Return the types of a run's events."""
    query = EventQuery(run_id=run_id)
    return await anyio.to_thread.run_sync(lambda: [event.type for event in log.query(query)])


async def publish(bus: TraceEventBus, run: Run) -> None:
    """Publish an event under a key."""
    await bus.publish(CALL, run=run, key="k")


async def publish_many(bus: TraceEventBus, run: Run) -> None:
    """Publish two events under keys."""
    await bus.publish_many([(CALL, {"key": "k1"}), (CALL, {"key": "k2"})], run=run)


async def finish(bus: TraceEventBus, run: Run) -> None:
    """End the run, unless it has ended already."""
    with suppress(RunClosed):
        await run.finish()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (publish, ["tool_proposed"]),
        (publish_many, ["tool_proposed", "tool_proposed"]),
        (finish, ["run_completed"]),
    ],
)
async def test_publishing(
    log: StagedLog,
    moment: Moment,
    cancelled_at: Cancelling,
    call: Callable[[TraceEventBus, Run], Operation],
    expected: list[str],
) -> None:
    """Cancelled while its events wait, a call has not happened, later it has; repeated, it has once."""
    async with TraceEventBus(log) as bus, log.used_by_others(bus):
        for step in STEPS:
            run = await bus.start_run()
            cancelled = await cancelled_at(call(bus, run), step, log)
            found = (await types(log, run.run_id))[1:]
            assert found == ([] if cancelled and moment == "queued" else expected)
            await call(bus, run)
            assert expected == (await types(log, run.run_id))[1:], f"cancelled at step {step}"
            if not cancelled:
                break
    assert step > 1


async def test_suspending(log: StagedLog, cancelled_at: Cancelling) -> None:
    """Wherever a suspension is cancelled, the run is suspended or not, and can be resumed."""
    async with TraceEventBus(log) as bus, log.used_by_others(bus):
        for step in STEPS:
            run = await bus.start_run()
            cancelled = await cancelled_at(run.suspend("lunch"), step, log)
            found = (await types(log, run.run_id))[1:]
            assert found in (["interrupted"], [] if cancelled else ["interrupted"])
            await bus.resume_run(run.run_id)
            assert [*found, "resumed"] == (await types(log, run.run_id))[1:]
            if not cancelled:
                break
    assert step > 1


async def test_start_run(log: StagedLog, cancelled_at: Cancelling) -> None:
    """A run whose beginning was cancelled anywhere is begun exactly once by the same key."""
    async with TraceEventBus(log) as bus, log.used_by_others(bus):
        for step in STEPS:
            run_id = f"run-{step}"
            cancelled = await cancelled_at(bus.start_run(run_id=run_id, key="start"), step, log)
            assert await types(log, run_id) in (["run_started"], [] if cancelled else ["run_started"])
            run = await bus.start_run(run_id=run_id, key="start")
            await bus.publish(CALL, run=run)
            assert ["run_started", "tool_proposed"] == await types(log, run_id)
            if not cancelled:
                break
    assert step > 1


async def in_run(bus: TraceEventBus, run_id: str) -> None:
    """Publish in a run."""
    async with bus.run(run_id=run_id):
        await bus.publish(CALL)


async def in_child(bus: TraceEventBus, run_id: str) -> None:
    """Publish in a run that another one began."""
    parent = await bus.start_run()
    async with parent.child(run_id=run_id):
        await bus.publish(CALL)


RUN = ["run_started", "tool_proposed", "run_completed"]
RUNS = [[], ["run_started", "run_completed"], RUN]


@pytest.mark.parametrize("call", [in_run, in_child])
async def test_run(
    log: StagedLog, cancelled_at: Cancelling, call: Callable[[TraceEventBus, str], Operation]
) -> None:
    """Wherever a run is cancelled, it has its end, or never began."""
    async with TraceEventBus(log) as bus, log.used_by_others(bus):
        for step in STEPS:
            cancelled = await cancelled_at(call(bus, f"run-{step}"), step, log)
            found = await types(log, f"run-{step}")
            assert found in (RUNS if cancelled else [RUN]), f"cancelled at step {step}"
            if not cancelled:
                break
    assert step > 1


async def in_turn(bus: TraceEventBus, run: Run) -> None:
    """Publish an event in a turn."""
    async with run.turn():
        await bus.publish(CALL)


TURN = ["turn_started", "tool_proposed", "turn_completed"]
TURNS = [[], ["turn_started", "turn_completed"], TURN]
UNENDED = [["turn_started"], ["turn_started", "tool_proposed"]]


async def test_turn(log: StagedLog, cancelled_at: Cancelling) -> None:
    """Wherever a turn is cancelled, it has its end, or never began.

    Only what passes anyio's scopes, if it comes while the end is published, can leave a turn without it.
    """
    outcomes = TURNS if cancelled_at is by_scope else TURNS + UNENDED
    async with TraceEventBus(log) as bus, log.used_by_others(bus):
        for step in STEPS:
            run = await bus.start_run()
            cancelled = await cancelled_at(in_turn(bus, run), step, log)
            found = (await types(log, run.run_id))[1:]
            assert found in (outcomes if cancelled else [TURN]), f"cancelled at step {step}"
            if not cancelled:
                break
    assert step > 1


async def is_closed(log: StagedLog) -> bool:
    """Tell whether a log's file is closed, within two seconds: SQLite then removes the files beside it."""
    beside = anyio.Path(f"{log.path}-wal")
    with anyio.move_on_after(2):
        while await beside.exists():  # noqa: ASYNC110 (a file sets no event)
            await anyio.sleep(0.01)
    return not await beside.exists()


@pytest.mark.parametrize("moment", ["taken", "stored"])
async def test_bus(tmp_path: Path, moment: Moment, cancelled_at: Cancelling) -> None:
    """Wherever entering, using or leaving a bus is cancelled, its run has ended and its log is closed.

    Only what passes anyio's scopes can cut the closing short.
    """

    async def use(log: StagedLog) -> None:
        async with TraceEventBus(log, [CapturingSink(durable=True)], drain_timeout=0.1) as bus:
            await in_run(bus, "r1")

    for step in STEPS:
        log = StagedLog(tmp_path / f"{step}.db", moment)
        cancelled = await cancelled_at(use(log), step, log)
        if cancelled_at is by_scope:
            assert await is_closed(log), f"cancelled at step {step}, the log was left open"
        assert await types(log, "r1") in (RUNS if cancelled else [RUN])
        report = await anyio.to_thread.run_sync(fsck, log)
        assert (None, 0) == (report.fault, report.open_runs)
        log.close()
        if not cancelled:
            break
    assert step > 1
