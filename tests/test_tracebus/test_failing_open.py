"""When the log cannot be written: what raises, what is let go, and how the record tells of it afterwards."""

from __future__ import annotations

import logging
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from evidence import NotCanonicalizable
from evidence.header import format_timestamp
from tracebus import (
    FAIL_OPEN,
    Alarm,
    AppendUnknown,
    ApprovalResolved,
    BusClosed,
    ErrorRaised,
    EventLog,
    EventLogRefused,
    EventLogUnavailable,
    EventPayload,
    EventQuery,
    MemoryEventLog,
    ModelCallCompleted,
    NotRecorded,
    Run,
    RunClosed,
    SqliteEventLog,
    Subscription,
    ToolExecuted,
    ToolProposed,
    TraceEventBus,
    UnrecordedEvent,
)
from tracebus.eventlog import AnyEvent
from tracebus.fsck import fsck
from tracebus.payload import payload_classes
from tracebus.testing import CapturingSink
from tracebus.upkeep import LOG_WORKFLOW

pytestmark = pytest.mark.anyio

ACT = ToolProposed(tool="wire", arguments={"amount": 5000})
RESULT = ToolExecuted(tool="wire", call_id="c1", status="ok", result={"balance": 1})
ANSWER = ModelCallCompleted(model="m", status="ok")
LOG_FAILURES = (EventLogUnavailable, EventLogRefused, AppendUnknown)

OPEN = """
    turn_started turn_completed context_compiled model_call_started model_call_completed tool_executed
    branch_decision handoff memory_retrieved checkpoint_saved error
"""
CLOSED = """
    run_started run_completed interrupted resumed tool_proposed policy_decision gate_verdict policy_violation
    approval_requested approval_resolved escalation human_override memory_proposed memory_written
    secret_detected security_event chain_transaction recording_gap data_erased retention_applied
    legal_hold_changed bundle_exported verification_performed key_changed log_succeeded
"""


class Weighed(EventPayload, type="acme.weighed_open"):
    """Something was weighed."""

    kilograms: float
    """Its weight."""


class Failing(MemoryEventLog):
    """A log that can be down; then it raises an error, and stores all the same if that is unknown."""

    error: Exception | None = None
    failing_appends: tuple[int, ...] = ()
    appends = 0

    def append(self, groups: Any) -> Any:
        """Fail if the log is down, or if this append is one that fails."""
        self.appends += 1
        if self.appends in self.failing_appends:
            raise EventLogUnavailable("down for a moment")
        if self.error is not None:
            raise self.error
        return super().append(groups)

    @contextmanager
    def down(self, error: Exception | None = None) -> Iterator[None]:
        """Be down for a while."""
        self.error = error or EventLogUnavailable("down")
        yield
        self.error = None


Trouble = Callable[[], AbstractContextManager[None]]
"""Has a log fail for as long as the context lasts."""


@contextmanager
def locked(log: SqliteEventLog) -> Iterator[None]:
    """Have another connection hold the file."""
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def full(log: SqliteEventLog) -> Iterator[None]:
    """Have SQLite refuse to let the file grow, as it does where the disk is full."""
    connection = log._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1")  # SQLite takes as many as there are
    yield
    connection.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture(params=["locked", "unavailable", "refused", "unknown"])
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EventLog, Trouble]]:
    """A log, and a way to have it fail for a while; it must hold together when the test is done."""
    log: EventLog
    if request.param == "locked":
        log = file = SqliteEventLog(tmp_path / "trace.db", wait_seconds=0.02)
        yield log, lambda: locked(file)
    else:
        log = memory = Failing()
        errors = {"unavailable": EventLogUnavailable, "refused": EventLogRefused, "unknown": AppendUnknown}
        yield log, lambda: memory.down(errors[request.param]("trouble"))
    report = fsck(log)
    log.close()
    assert report.fault is None, report.fault


async def stored(log: EventLog, **query: Any) -> list[AnyEvent]:
    """Return the events of a log."""
    return await anyio.to_thread.run_sync(lambda: list(log.query(EventQuery(**query))))


async def types(log: EventLog, run: Run) -> list[str]:
    """Return the types of a run's events."""
    return [event.type for event in await stored(log, run_id=run.run_id)]


async def gaps(log: EventLog, **query: Any) -> list[dict[str, Any]]:
    """Return what the log says of gaps."""
    return [event.opened() for event in await stored(log, types=("recording_gap",), **query)]


def kinds(alarms: list[Alarm]) -> list[tuple[str, int]]:
    """Return what alarms said."""
    return [(alarm.kind, alarm.lost) for alarm in alarms]


OUTAGE = [("log_failed", 0), ("log_recovered", 1)]


# Which types


async def test_each_type_is_decided() -> None:
    """Each built-in type fails open or closed on purpose; a new one has to be put into one of these lists."""
    built_in = {name for name in payload_classes() if "." not in name}
    assert built_in == {*OPEN.split(), *CLOSED.split()}
    assert set(OPEN.split()) == FAIL_OPEN
    assert FAIL_OPEN.isdisjoint(CLOSED.split())


@pytest.mark.parametrize(
    ("payload", "fails_open"),
    [
        (RESULT, True),
        (ANSWER, True),
        (ErrorRaised(kind="ValueError"), True),
        (ACT, False),
        (ApprovalResolved(request_id="q", verdict="approved", actor="u-1", identity_source="idp"), False),
        (Weighed(kilograms=1.5), False),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
@pytest.mark.parametrize("way", ["publish", "publish_sync", "publish_many"])
async def test_by_default(payload: EventPayload, fails_open: bool, way: str) -> None:
    """What tells of something past may be lost; acts, decisions and users' own types raise."""
    log = Failing()

    async def publish() -> AnyEvent:
        if way == "publish_many":
            (event,) = await bus.publish_many([payload], run=run)
            return event
        if way == "publish_sync":
            return await anyio.to_thread.run_sync(lambda: bus.publish_sync(payload, run=run))
        return await bus.publish(payload, run=run)

    async with TraceEventBus(log) as bus, bus.run() as run:
        with log.down():
            if fails_open:
                assert not (await publish()).recorded
            else:
                with pytest.raises(EventLogUnavailable, match="down"):
                    await publish()
        assert (await publish()).recorded
    expected = ["recording_gap", payload.type] if fails_open else [payload.type]
    assert ["run_started", *expected, "run_completed"] == await types(log, run)


async def test_what_fails_open_is_yours_to_say() -> None:
    """`fail_open` names the types that may be lost, users' own as well; all others raise."""
    log = Failing()
    async with TraceEventBus(log, fail_open={Weighed.type, "acme.refunded"}) as bus, bus.run():
        with log.down():
            assert not (await bus.publish(Weighed(kilograms=1.5))).recorded
            assert not (await bus.publish({"cents": 1}, type="acme.refunded")).recorded
            with pytest.raises(EventLogUnavailable):
                await bus.publish({"cents": 1}, type="acme.paid")
            with pytest.raises(EventLogUnavailable):
                await bus.publish(RESULT)
    assert [2] == [gap["count"] for gap in await gaps(log)]


async def test_nothing_fails_open(failing: tuple[EventLog, Trouble]) -> None:
    """With ``fail_open=()`` each type raises, and there is no gap."""
    log, trouble = failing
    async with TraceEventBus(log, fail_open=()) as bus, bus.run() as run:
        with trouble():
            for payload in (RESULT, ANSWER, ACT):
                with pytest.raises(LOG_FAILURES):
                    await bus.publish(payload)
    assert ["run_started", "run_completed"] == await types(log, run)


async def test_types_are_given_as_a_collection() -> None:
    """One name alone, which is a collection of letters, is refused."""
    with pytest.raises(TypeError, match="fail_open: expected a collection"):
        TraceEventBus(MemoryEventLog(), fail_open="tool_executed")


async def test_only_the_logs_failures_count() -> None:
    """What is wrong with an event or its run raises, whether or not its type may be lost."""
    log = Failing()
    async with TraceEventBus(log, fail_open={*FAIL_OPEN, Weighed.type}) as bus:
        async with bus.run() as closed:
            pass
        with log.down(), pytest.raises(NotCanonicalizable):
            await bus.publish(Weighed(kilograms=float("nan")), run=closed)
        with pytest.raises(RunClosed):
            await bus.publish(RESULT, run=closed)
    with pytest.raises(BusClosed):
        await bus.publish(RESULT, run=closed)
    assert [] == await gaps(log)


async def test_error_of_ones_own_log() -> None:
    """What a log of somebody's raises comes out as it is, though it be an exception that cannot be copied."""

    class QuotaExceeded(EventLogUnavailable):
        def __init__(self, *, used: int) -> None:
            super().__init__(f"{used} bytes are used")

    log = Failing()
    async with TraceEventBus(log) as bus, bus.run():
        with log.down(QuotaExceeded(used=5)):
            with pytest.raises(QuotaExceeded, match="5 bytes are used"):
                await bus.publish(ACT)
            assert not (await bus.publish(RESULT)).recorded


# What publish returns


async def test_unrecorded_event() -> None:
    """An event that failed open has what its publisher said, and no place in a chain."""
    log = Failing()
    arguments: dict[str, Any] = {
        "turn_id": "t1",
        "key": "k",
        "risk": "high",
        "causes": ["01" + "0" * 24],
        "occurred_at": "2026-11-21T02:03:04Z",
        "agent_id": "sub",
    }
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w", tenant_id="acme") as run:
        with log.down():
            event = await bus.publish(RESULT, **arguments)
    assert isinstance(event, UnrecordedEvent)
    assert (False, "tool_executed", run.run_id, "w", "acme") == (
        event.recorded,
        event.type,
        event.run_id,
        event.workflow_id,
        event.tenant_id,
    )
    found = {name: getattr(event, name) for name in arguments}
    assert (
        arguments | {"causes": ("01" + "0" * 24,), "occurred_at": "2026-11-21T02:03:04.000000000Z"} == found
    )
    assert RESULT == event.payload
    assert {"balance": 1} == event.opened()["result"]
    assert None is event.position
    for twin in (event.copy(), pickle.loads(pickle.dumps(event))):
        assert (False, RESULT, False) == (twin.recorded, twin.payload, twin == event)
    assert "UnrecordedEvent tool_executed" in repr(event)


@pytest.mark.parametrize(
    "name", ["id", "seq", "timestamp", "log", "content_hash", "parent_hash", "event_hash", "header"]
)
async def test_what_an_unrecorded_event_refuses(name: str) -> None:
    """Asked for what only a log can give, it raises, and says what to look at."""
    log = Failing()
    async with TraceEventBus(log) as bus, bus.run():
        with log.down():
            event = await bus.publish(RESULT)
    with pytest.raises(NotRecorded, match=r"the log could not be written; check \.recorded"):
        getattr(event, name)
    with pytest.raises(NotRecorded):
        event.to_wire()
    with pytest.raises(NotRecorded):
        event.member_digest("result")


async def test_unrecorded_cause_is_left_out() -> None:
    """An event that failed open leads to others as any does, but cannot be named by them."""
    log = Failing()
    async with TraceEventBus(log) as bus, bus.run():
        before = await bus.publish(ACT)
        with log.down():
            lost = await bus.publish(RESULT, causes=[before])
        after = await bus.publish(ACT, causes=[before, lost])
    assert ((before.id,), (before.id,)) == (lost.causes, after.causes)


async def test_group() -> None:
    """A group may be lost if each event in it may; else it raises whole, and nothing of it is lost."""
    log = Failing()
    async with TraceEventBus(log) as bus, bus.run():
        with log.down():
            lost = await bus.publish_many([RESULT, ANSWER])
            with pytest.raises(EventLogUnavailable):
                await bus.publish_many([RESULT, ACT, ANSWER])
    assert [(False, "tool_executed"), (False, "model_call_completed")] == [
        (event.recorded, event.type) for event in lost
    ]
    assert [2] == [gap["count"] for gap in await gaps(log)]


# The gap


async def test_gap_stands_before_the_runs_next_event(failing: tuple[EventLog, Trouble]) -> None:
    """When the log takes events again, the first is the gap: how many, of which types, from when to when."""
    log, trouble = failing
    alarms = list[Alarm]()
    async with TraceEventBus(log, on_alarm=alarms.append) as bus, bus.run(tenant_id="acme") as run:
        before = await bus.publish(ACT)
        with trouble():
            for payload in (RESULT, ANSWER, RESULT):
                assert not (await bus.publish(payload)).recorded
            with pytest.raises(LOG_FAILURES):
                await bus.publish(ACT)
        await bus.publish(ACT)
    expected = ["run_started", "tool_proposed", "recording_gap", "tool_proposed", "run_completed"]
    assert expected == await types(log, run)
    (gap,) = await gaps(log, tenant_id="acme", workflow_id=run.workflow_id)
    assert (3, ["model_call_completed", "tool_executed"]) == (gap["count"], gap["types"])
    assert "event log" == gap["component"]
    assert "lost, or not known to be recorded" in gap["reason"]
    assert before.timestamp <= gap["since"] <= gap["until"]
    assert [("log_failed", 0), ("log_recovered", 3)] == kinds(alarms)
    assert type(alarms[0].error).__name__ in gap["reason"]
    assert isinstance(alarms[0].error, LOG_FAILURES)


async def test_gaps_of_several_runs() -> None:
    """Each run that lost events has a gap of its own, and no other run has one."""
    log = Failing()
    async with TraceEventBus(log) as bus:
        runs = [await bus.start_run() for _ in range(4)]
        with log.down():
            for count, run in enumerate(runs):
                await bus.publish_many([RESULT] * count, run=run)
                for _ in range(count):
                    await bus.publish(ANSWER, run=run)
        await bus.publish(ACT, run=runs[0])
    found = [[gap["count"] for gap in await gaps(log, run_id=run.run_id)] for run in runs]
    assert [[], [2], [4], [6]] == found
    assert [event.seq for event in await stored(log, types=("recording_gap",))] == [1, 1, 1]


async def test_second_outage() -> None:
    """Each outage has its gap and its two alarms, also one in which nothing was lost but acts refused."""
    log, alarms = Failing(), list[Alarm]()
    async with TraceEventBus(log, on_alarm=alarms.append) as bus, bus.run() as run:
        for payload in (RESULT, ANSWER, ACT):
            with log.down():
                for _ in range(3):
                    try:
                        await bus.publish(payload)
                    except EventLogUnavailable:
                        assert payload is ACT
            await bus.publish(ACT)
    assert [3, 3] == [gap["count"] for gap in await gaps(log)]
    expected = ["recording_gap", "tool_proposed"] * 2 + ["tool_proposed"]
    assert ["run_started", *expected, "run_completed"] == await types(log, run)
    outage = [("log_failed", 0), ("log_recovered", 3)]
    assert [*outage, *outage, ("log_failed", 0), ("log_recovered", 0)] == kinds(alarms)


@pytest.mark.parametrize("failing_again", [False, True], ids=["at-once", "failing-again"])
async def test_run_closed_meanwhile(tmp_path: Path, failing_again: bool) -> None:
    """A run that another bus closed has its gap in the log's own workflow, whatever fails between."""

    class Down(SqliteEventLog):
        outcomes: list[bool] = []  # noqa: RUF012 (set by the test, for one instance)

        def append(self, groups: Any) -> Any:
            if self.outcomes and not self.outcomes.pop(0):
                raise EventLogUnavailable("down")
            return super().append(groups)

    log = Down(tmp_path / "trace.db")
    async with TraceEventBus(log) as bus:
        lost, other = await bus.start_run(), await bus.start_run()
        log.outcomes = [False]
        await bus.publish(RESULT, run=lost)
        async with TraceEventBus(SqliteEventLog(log.path)) as another:
            await another.abandon_run(lost.run_id)
        if failing_again:
            log.outcomes = [True, False]
            with pytest.raises(EventLogUnavailable):
                await bus.publish(ACT, run=other)
        await bus.publish(ACT, run=other)
    assert ["run_started", "run_completed"] == await types(log, lost)
    (gap,) = await gaps(log, workflow_id=LOG_WORKFLOW)
    assert (1, ["tool_executed"]) == (gap["count"], gap["types"])
    assert f"in run {lost.run_id}" in gap["reason"]
    (event,) = await stored(log, types=("recording_gap",))
    maintenance = await stored(log, run_id=event.run_id)
    assert ["run_started", "recording_gap", "run_completed"] == [event.type for event in maintenance]
    assert "maintenance" == maintenance[0].opened()["kind"]


async def test_gap_when_the_bus_closes(failing: tuple[EventLog, Trouble]) -> None:
    """Where nothing else is published, the gap is recorded, and the alarm raised, when the bus closes."""
    log, trouble = failing
    alarms = list[Alarm]()
    sink = CapturingSink()
    async with TraceEventBus(log, [sink], on_alarm=alarms.append) as bus:
        run = await bus.start_run()
        with trouble():
            await bus.publish(RESULT, run=run)
    assert ["run_started", "recording_gap"] == await types(log, run)
    assert ["run_started", "recording_gap"] == [event.type for event in sink.events]
    assert OUTAGE == kinds(alarms)


async def test_closing_while_the_log_is_down(caplog: pytest.LogCaptureFixture) -> None:
    """Where the log is down to the end, the bus closes all the same, and tells how much was lost."""
    log = Failing()
    with anyio.fail_after(10):
        async with TraceEventBus(log, [CapturingSink(durable=True)]) as bus:
            run = await bus.start_run()
            log.error = EventLogUnavailable("down")
            await bus.publish_many([RESULT, ANSWER], run=run)
    assert [(logging.ERROR, "2 events were lost, and the log could not be written to record it")] == [
        (record.levelno, record.message) for record in caplog.records if record.name == "tracebus.writer"
    ]


async def publish_from_many(bus: TraceEventBus, runs: list[Run], payload: EventPayload) -> list[AnyEvent]:
    """Publish five times into each run, all at once; return what publish returned."""
    published: list[AnyEvent] = []

    async def work(run: Run) -> None:
        for _ in range(5):
            published.append(await bus.publish(payload, run=run))

    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(work, run)
    return published


async def test_many_publishers(failing: tuple[EventLog, Trouble]) -> None:
    """Of what many publish through an outage, each event is in the log or counted in a gap, never both."""
    log, trouble = failing
    async with TraceEventBus(log, on_alarm=lambda _: None) as bus:
        runs = [await bus.start_run() for _ in range(8)]
        before = await publish_from_many(bus, runs, RESULT)
        with trouble():
            lost = await publish_from_many(bus, runs, RESULT)
        after = await publish_from_many(bus, runs, RESULT)
    assert not any(event.recorded for event in lost)
    found = await stored(log, types=("tool_executed",))
    assert {event.id for event in before + after} == {event.id for event in found}
    for run in runs:
        expected = ["tool_executed"] * 5 + ["recording_gap"] + ["tool_executed"] * 5
        assert ["run_started", *expected] == await types(log, run)
    assert [5] * 8 == [gap["count"] for gap in await gaps(log)]


async def test_full_file(tmp_path: Path) -> None:
    """Where the file cannot grow, what does not fit into it any more is counted, and the rest is there."""
    log = SqliteEventLog(tmp_path / "trace.db")
    large = ToolExecuted(tool="wire", status="ok", result="x" * 50_000)
    async with TraceEventBus(log, on_alarm=lambda _: None) as bus:
        runs = [await bus.start_run() for _ in range(8)]
        with full(log):
            published = await publish_from_many(bus, runs, large)
        published += await publish_from_many(bus, runs, large)
    recorded = {event.id for event in published if event.recorded}
    assert recorded == {event.id for event in await stored(log, types=("tool_executed",))}
    assert 80 - len(recorded) == sum(gap["count"] for gap in await gaps(log)) > 0
    report = await anyio.to_thread.run_sync(fsck, log)
    assert report.fault is None, report.fault


# Alarms


async def test_alarm_thread() -> None:
    """Alarms are raised in the writer's thread; one that publishes there is told so, and hangs nobody."""
    log, threads = Failing(), list[str]()

    def on_alarm(alarm: Alarm) -> None:
        threads.append(threading.current_thread().name)
        bus.publish_sync(RESULT, run=run)

    with anyio.fail_after(5):
        async with TraceEventBus(log, on_alarm=on_alarm) as bus:
            run = await bus.start_run()
            with log.down():
                await bus.publish(RESULT, run=run)
    assert ["tracebus-writer"] * 2 == threads


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), SystemExit(1), KeyboardInterrupt()])
async def test_alarm_that_raises(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the callback raises, publishing goes on, and it is logged."""
    log = Failing()

    def on_alarm(alarm: Alarm) -> None:
        raise error

    with anyio.fail_after(5):
        async with TraceEventBus(log, on_alarm=on_alarm) as bus, bus.run() as run:
            with log.down():
                assert not (await bus.publish(RESULT)).recorded
            assert (await bus.publish(RESULT)).recorded
    assert ["run_started", "recording_gap", "tool_executed", "run_completed"] == await types(log, run)
    found = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [error, error] == found


async def test_alarms_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Without a callback, alarms go to the logger ``tracebus``."""
    log = Failing()
    async with TraceEventBus(log) as bus, bus.run():
        with log.down():
            await bus.publish(RESULT)
    assert [
        (logging.ERROR, "log_failed: the event log cannot be written: down"),
        (logging.WARNING, "log_recovered: the event log can be written again; 1 events were lost"),
    ] == [(record.levelno, record.message) for record in caplog.records if record.name == "tracebus"]


# Runs, turns and sinks


async def test_run_cannot_begin() -> None:
    """A run does not begin while the log is down, and what is inside it is not done."""
    log, entered = Failing(), False

    async def work() -> None:
        nonlocal entered
        async with bus.run():
            entered = True

    async with TraceEventBus(log) as bus:
        with log.down(), pytest.raises(EventLogUnavailable):
            await work()
    assert (False, 0) == (entered, log.last_position())


async def test_run_cannot_end() -> None:
    """A run that ends while the log is down says so, and stays open."""
    log = Failing()

    async def work() -> None:
        async with bus.run(run_id="r1"):
            log.error = EventLogUnavailable("down")

    async with TraceEventBus(log) as bus:
        with pytest.raises(EventLogUnavailable):
            await work()
        log.error = None
        assert ["open"] == [run.status for run in log.runs()]
        await bus.abandon_run("r1")


async def test_turn_goes_on() -> None:
    """A turn goes on while the log is down: that it began and ended is counted among what was lost."""
    log = Failing()
    async with TraceEventBus(log) as bus, bus.run() as run:
        with log.down():
            async with run.turn():
                await bus.publish(RESULT)
    (gap,) = await gaps(log)
    assert (3, ["tool_executed", "turn_completed", "turn_started"]) == (gap["count"], gap["types"])
    assert ["run_started", "recording_gap", "run_completed"] == await types(log, run)


async def test_no_sink_gets_what_was_lost() -> None:
    """What was not recorded is offered to no sink, and publish does not wait for one that is required."""

    class Hanging(CapturingSink):
        async def write(self, batch: Any) -> None:
            if self.events:
                await anyio.sleep_forever()
            await super().write(batch)

    log, sink = Failing(), CapturingSink()
    subscriptions = [sink, Subscription(Hanging("required"), required=True)]
    async with TraceEventBus(log, subscriptions, drain_timeout=0.2) as bus:
        run = await bus.start_run()
        with log.down(), anyio.fail_after(5):
            await bus.publish(RESULT, run=run)
    assert ["run_started", "recording_gap"] == [event.type for event in sink.events]


async def test_times_of_a_gap() -> None:
    """A gap tells when the first event was lost, and when the log took events again."""
    log = Failing()
    async with TraceEventBus(log) as bus, bus.run():
        with log.down():
            await bus.publish(RESULT)
            between = format_timestamp(time.time_ns())
            await bus.publish(RESULT)
    (gap,) = await gaps(log)
    assert gap["since"] < between < gap["until"]
