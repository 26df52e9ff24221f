"""The bus: publish, runs, turns, keys, and what may go wrong."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from evidence import NotCanonicalizable
from tracebus import (
    AppendUnknown,
    BusClosed,
    EventLog,
    EventLogUnavailable,
    EventPayload,
    EventQuery,
    Interrupted,
    KeyConflict,
    MemoryEventLog,
    NoActiveRun,
    RunClosed,
    RunCompleted,
    RunExists,
    RunStarted,
    SqliteEventLog,
    ToolExecuted,
    ToolProposed,
    TraceEventBus,
    UnknownRun,
    UntypedPayload,
)
from tracebus.eventlog import AnyEvent
from tracebus.fsck import fsck
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio


class Weighed(EventPayload, type="acme.weighed"):
    """Something was weighed."""

    kilograms: float
    """Its weight."""


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    """A log of each kind; it must hold together when the test is done."""
    log: EventLog = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "trace.db")
    yield log
    report = fsck(log)
    log.close()
    assert report.fault is None, report.fault


async def events(log: EventLog, **query: Any) -> list[AnyEvent]:
    """Return the events of a log."""
    return await anyio.to_thread.run_sync(lambda: list(log.query(EventQuery(**query))))


async def types(log: EventLog, **query: Any) -> list[str]:
    """Return the types of the events of a log."""
    return [event.type for event in await events(log, **query)]


async def test_publish_returns_the_sealed_event(log: EventLog) -> None:
    """What publish returns is what the log has."""
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w", tenant_id="acme") as run:
        event = await bus.publish(ToolProposed(tool="wire", arguments={"amount": 5000}), risk="high")
    stored = (await events(log, types=("tool_proposed",)))[0]
    assert (run.run_id, "w", "acme", "high") == (event.run_id, event.workflow_id, event.tenant_id, event.risk)
    assert stored == event
    assert {"amount": 5000} == event.payload.arguments


async def test_a_run_has_one_start_and_one_end(log: EventLog) -> None:
    """A run begins with run_started and ends with run_completed, turns within."""
    async with TraceEventBus(log) as bus, bus.run(), bus_turn(bus) as turn_id:
        inside = await bus.publish(ToolProposed(tool="wire"))
    expected = ["run_started", "turn_started", "tool_proposed", "turn_completed", "run_completed"]
    assert expected == await types(log)
    assert ("t1", "t1") == (turn_id, inside.turn_id)


def bus_turn(bus: TraceEventBus) -> Any:
    """Return a turn of the run that is bound."""
    from tracebus.run import resolve

    return resolve(None, None)[0].turn()


async def test_gather(log: EventLog) -> None:
    """A thousand publishes over ten runs at once give ten unbroken chains."""
    async with TraceEventBus(log) as bus:
        runs = [await bus.start_run(run_id=f"r{i}") for i in range(10)]
        async with anyio.create_task_group() as tasks:
            for i in range(1000):
                tasks.start_soon(lambda i=i: bus.publish(ToolProposed(tool=str(i)), run=runs[i % 10]))
        for run in runs:
            await run.finish()
    for run in runs:
        seqs = [event.seq for event in await events(log, run_id=run.run_id)]
        assert list(range(102)) == seqs


async def test_forty_threads(log: EventLog) -> None:
    """Forty threads publish into one run at once, and the chain is one."""
    async with TraceEventBus(log) as bus, bus.run() as run:

        def work() -> None:
            for i in range(10):
                bus.publish_sync(ToolProposed(tool=str(i)), run=run)

        threads = [threading.Thread(target=work) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
    assert list(range(402)) == [event.seq for event in await events(log)]


@pytest.mark.blocking_ok
async def test_publish_sync_in_the_loop(log: EventLog) -> None:
    """Publishing synchronously in the loop's own thread, while tasks publish, blocks nobody for good."""
    async with TraceEventBus(log, [CapturingSink()]) as bus, bus.run() as run:  # noqa: SIM117 (the tasks end first)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(lambda: bus.publish(ToolProposed(tool="async"), run=run))
                bus.publish_sync(ToolProposed(tool="sync"), run=run)
                await anyio.lowlevel.checkpoint()
    assert 42 == await anyio.to_thread.run_sync(log.last_position)


async def test_publish_many_is_all_or_none(log: EventLog) -> None:
    """Several events are appended in order; where one is refused, none is."""
    async with TraceEventBus(log) as bus, bus.run():
        await bus.publish_many([ToolProposed(tool="a"), ToolProposed(tool="b")])
        with pytest.raises(NotCanonicalizable):
            await bus.publish_many([ToolProposed(tool="c"), Weighed(kilograms=float("nan"))])
        assert [] == await bus.publish_many([])
    assert ["run_started", "tool_proposed", "tool_proposed", "run_completed"] == await types(log)


async def test_publish_many_with_headers(log: EventLog) -> None:
    """Beside each payload may stand what publish takes, a key above all."""
    items = [(ToolProposed(tool=str(i)), {"key": f"k{i}", "turn_id": "t7"}) for i in range(3)]
    async with TraceEventBus(log) as bus, bus.run():
        first = await bus.publish_many(items)
        again = await bus.publish_many(items)
    assert first == again
    assert [("k0", "t7"), ("k1", "t7"), ("k2", "t7")] == [(event.key, event.turn_id) for event in first]


async def test_errors_come_out_as_they_are(log: EventLog) -> None:
    """What is raised inside the bus comes out of it, and not in a group."""
    with pytest.raises(KeyError, match="mine"):
        async with TraceEventBus(log, [CapturingSink()]):
            raise KeyError("mine")


async def test_no_run(log: EventLog) -> None:
    """Publishing without a run is refused, with advice."""
    async with TraceEventBus(log) as bus:
        with pytest.raises(NoActiveRun, match="pass run="):
            await bus.publish(ToolProposed(tool="wire"))


async def test_threads_do_not_see_the_bound_run(log: EventLog) -> None:
    """A plain thread has no bound run, and takes a handle."""
    async with TraceEventBus(log) as bus, bus.run() as run:
        errors: list[Exception] = []

        def work() -> None:
            try:
                bus.publish_sync(ToolProposed(tool="lost"))
            except NoActiveRun as error:
                errors.append(error)
            bus.publish_sync(ToolProposed(tool="found"), run=run)

        thread = threading.Thread(target=work)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
    assert 1 == len(errors)
    assert ["run_started", "tool_proposed", "run_completed"] == await types(log)


async def test_tasks_inherit_the_bound_run(log: EventLog) -> None:
    """A task that is started inside a run publishes into it."""
    async with TraceEventBus(log) as bus, bus.run(), anyio.create_task_group() as tasks:
        tasks.start_soon(bus.publish, ToolProposed(tool="wire"))
    assert ["run_started", "tool_proposed", "run_completed"] == await types(log)


async def test_two_runs_at_once_do_not_mix(log: EventLog) -> None:
    """Two tasks, each in a run of its own, publish each into theirs."""
    async with TraceEventBus(log) as bus:

        async def work(name: str) -> None:
            async with bus.run(run_id=name):
                for _ in range(5):
                    await bus.publish(ToolProposed(tool=name))
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, "r1")
            tasks.start_soon(work, "r2")
    for name in ("r1", "r2"):
        tools = [event.opened()["tool"] for event in await events(log, run_id=name, types=("tool_proposed",))]
        assert [name] * 5 == tools


async def test_callers_dict_is_read_once(log: EventLog) -> None:
    """Changing a dict after publish changes neither the event nor the log."""
    arguments = {"amount": 5000}
    async with TraceEventBus(log) as bus, bus.run():
        event = await bus.publish(ToolProposed(tool="wire", arguments=arguments))
        arguments["amount"] = 1
    assert {"amount": 5000} == event.payload.arguments


async def test_refused_payload_leaves_no_gap(log: EventLog) -> None:
    """A payload without canonical form raises before anything changes."""
    async with TraceEventBus(log) as bus, bus.run():
        with pytest.raises(NotCanonicalizable, match="not finite"):
            await bus.publish(Weighed(kilograms=float("inf")))
        event = await bus.publish(Weighed(kilograms=1.5))
    assert 1 == event.seq


@pytest.mark.parametrize(
    "bad",
    [
        {"risk": "huge"},
        {"key": "é"},
        {"key": "x" * 129},
        {"turn_id": ""},
        {"causes": ["not a ulid"]},
        {"occurred_at": "yesterday"},
        {"agent_id": "a\nb"},
    ],
)
async def test_bad_arguments(log: EventLog, bad: dict[str, Any]) -> None:
    """An argument that a header cannot hold is a ValueError that names it, and nothing is appended."""
    async with TraceEventBus(log) as bus, bus.run():
        with pytest.raises(ValueError, match=r"expected|does not fit"):
            await bus.publish(ToolProposed(tool="wire"), **bad)
    assert ["run_started", "run_completed"] == await types(log)


async def test_reserved_ids(log: EventLog) -> None:
    """Ids that belong to the log itself cannot be taken."""
    async with TraceEventBus(log) as bus:
        with pytest.raises(ValueError, match="workflow_id"):
            await bus.start_run(workflow_id="tracebus:log")


async def test_run_started_is_not_published(log: EventLog) -> None:
    """A second run_started cannot be published into a run."""
    async with TraceEventBus(log) as bus, bus.run():
        with pytest.raises(ValueError, match="start_run"):
            await bus.publish(RunStarted())


async def test_plain_dict(log: EventLog) -> None:
    """A dict can be published under a type of one's own, and is read back as it was."""
    async with TraceEventBus(log) as bus, bus.run():
        event = await bus.publish({"cents": 250, "ok": None}, type="acme.refunded")
        typed = await bus.publish({"kilograms": 2.5}, type="acme.weighed")
        for wrong in (None, "refunded", "tool_proposed"):
            with pytest.raises(ValueError, match="type"):
                await bus.publish({"cents": 1}, type=wrong)  # type: ignore[arg-type]
    assert UntypedPayload("acme.refunded", {"cents": 250, "ok": None}) == event.payload
    assert Weighed(kilograms=2.5) == typed.payload


async def test_type_defined_later(log: EventLog) -> None:
    """An event whose class is defined after it was published is read as that class."""
    async with TraceEventBus(log) as bus, bus.run():
        event = await bus.publish({"name": "x"}, type="acme.later")

    class Later(EventPayload, type="acme.later"):
        """Defined late."""

        name: str

    assert Later(name="x") == event.payload


async def test_key(log: EventLog) -> None:
    """The same key gives the stored event back; with another content it conflicts."""
    async with TraceEventBus(log) as bus, bus.run():
        first = await bus.publish(ToolProposed(tool="wire", arguments={"a": 1}), key="k")
        again = await bus.publish(ToolProposed(tool="wire", arguments={"a": 1}), key="k")
        with pytest.raises(KeyConflict, match="key k"):
            await bus.publish(ToolProposed(tool="wire", arguments={"a": 2}), key="k")
    assert first == again
    assert ["run_started", "tool_proposed", "run_completed"] == await types(log)


async def test_closed_run(log: EventLog) -> None:
    """After its end a run takes nothing more."""
    async with TraceEventBus(log) as bus:
        async with bus.run() as run:
            pass
        with pytest.raises(RunClosed, match="ended at seq 1"):
            await bus.publish(ToolProposed(tool="late"), run=run)
        with pytest.raises(RunClosed):
            await bus.resume_run(run.run_id)


async def test_run_ids_are_unique(log: EventLog) -> None:
    """A run id can be used once, unless the same start is repeated by its key."""
    async with TraceEventBus(log) as bus:
        await bus.start_run(run_id="r")
        with pytest.raises(RunExists):
            await bus.start_run(run_id="r")
        first = await bus.start_run(run_id="k", key="start")
        again = await bus.start_run(run_id="k", key="start")
        with pytest.raises(KeyConflict):
            await bus.start_run(run_id="k", key="start", tenant_id="other")
    assert first.ref == again.ref


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError("x"), "failed"), (TimeoutError(), "timed_out"), (None, "completed")]
)
async def test_outcomes(log: EventLog, error: Exception | None, outcome: str) -> None:
    """The terminal event says how the run ended, and the exception goes on."""
    raised: Exception | None = None
    async with TraceEventBus(log) as bus:
        try:
            async with bus.run():
                if error:
                    raise error
        except (ValueError, TimeoutError) as caught:
            raised = caught
    *_, last = await events(log)
    assert raised is error
    assert outcome == last.opened()["outcome"]


async def test_cancelled_run(log: EventLog) -> None:
    """A run that is cancelled gets its terminal event all the same."""
    async with TraceEventBus(log) as bus:
        with anyio.move_on_after(0.05):
            async with bus.run(), bus_turn(bus):
                await anyio.sleep_forever()
    last = [event.opened().get("outcome") for event in await events(log)][-2:]
    assert ["cancelled", "cancelled"] == last


async def test_suspended_run_stays_open(log: EventLog) -> None:
    """A run that was suspended gets no terminal event, and is listed as suspended."""
    async with TraceEventBus(log) as bus, bus.run() as run:
        await run.suspend("waits for an approval", expires_at="2026-12-01T00:00:00Z")
    (summary,) = await anyio.to_thread.run_sync(lambda: list(log.runs()))
    assert ("suspended", "interrupted") == (summary.status, summary.last_type)


async def test_child(log: EventLog) -> None:
    """A child run is of the same workflow, and names its parent's head."""
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w", tenant_id="acme") as parent:
        head = await anyio.to_thread.run_sync(log.head, parent.run_id)
        async with parent.child(agent_id="sub") as child:
            event = await bus.publish(ToolProposed(tool="wire"))
    assert head is not None
    first = (await events(log, run_id=child.run_id))[0]
    assert ("w", "acme", "sub", child.run_id) == (
        event.workflow_id,
        event.tenant_id,
        event.agent_id,
        event.run_id,
    )
    expected = {"runId": parent.run_id, "seq": 0, "eventHash": head.event_hash}
    assert {"kind": "child", "previous": expected} == first.opened()


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_a_child_is_for_the_same_user(log: EventLog, is_resumed: bool) -> None:
    """A child run is for its parent's user, also where the parent was resumed, and is found by that user."""
    async with TraceEventBus(log) as bus:
        parent = await bus.start_run(workflow_id="w", user_id="u-91")
        if is_resumed:
            await parent.suspend("a person is asked")
            parent = await bus.resume_run(parent.ref)
        async with parent.child() as child, parent.child(user_id="u-7") as other:
            pass
        await parent.finish()
    found = {event.run_id for event in await events(log, user_id="u-91")}
    assert ({parent.run_id, child.run_id}, "u-7") == (found, other.user_id)


async def test_resume_in_another_process(tmp_path: Path) -> None:
    """Another process goes on with a run, turns and all, from its ref."""
    log = SqliteEventLog(tmp_path / "trace.db")
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w", tenant_id="acme", agent_id="a") as run:
        async with run.turn():
            pass
        await run.suspend("lunch")
    script = (
        "import anyio, sys\n"
        "from tracebus import *\n"
        "async def main():\n"
        "    async with TraceEventBus(SqliteEventLog(sys.argv[1])) as bus:\n"
        "        run = await bus.resume_run(sys.argv[2], reason='back')\n"
        "        async with run.turn() as turn:\n"
        "            print(turn)\n"
        "        await run.finish()\n"
        "anyio.run(main)\n"
    )
    command = [sys.executable, "-c", script, str(log.path), run.ref["runId"]]
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, capture_output=True, text=True, check=True)
    )
    assert "t2" == done.stdout.strip()
    expected = ["run_started", "turn_started", "turn_completed", "interrupted"]
    expected += ["resumed", "turn_started", "turn_completed", "run_completed"]
    assert expected == await types(log, run_id=run.run_id, tenant_id="acme", workflow_id="w")
    assert {"a"} == {event.agent_id for event in await events(log)}
    log.close()


async def test_resume_unknown_run(log: EventLog) -> None:
    """A run that is not there cannot be resumed."""
    async with TraceEventBus(log) as bus:
        with pytest.raises(UnknownRun, match="nobody"):
            await bus.resume_run("nobody")


async def test_abandoned_run(log: EventLog) -> None:
    """A run that was left open can be closed as abandoned, once."""
    async with TraceEventBus(log) as bus:
        run = await bus.start_run()
        event = await bus.abandon_run(run.run_id, reason="its process died")
        with pytest.raises(RunClosed):
            await bus.abandon_run(run.run_id)
        with pytest.raises(UnknownRun):
            await bus.abandon_run("nobody")
    assert RunCompleted(outcome="abandoned", reason="its process died") == event.payload


async def test_closed_bus(log: EventLog) -> None:
    """A bus that is not open takes nothing, from tasks and from threads."""
    bus = TraceEventBus(log)
    async with bus:
        run = await bus.start_run()
    with pytest.raises(BusClosed):
        await bus.publish(ToolProposed(tool="late"), run=run)
    with pytest.raises(BusClosed):
        bus.publish_sync(ToolProposed(tool="late"), run=run)


async def test_bus_opens_again(log: EventLog) -> None:
    """A bus that was closed can be opened again; one that is open cannot."""
    bus = TraceEventBus(log)
    async with bus, bus.run():
        with pytest.raises(RuntimeError, match="open already"):
            await bus.__aenter__()
    async with bus, bus.run():
        pass
    assert 4 == await anyio.to_thread.run_sync(log.last_position)


async def test_cancelled_publish(log: EventLog) -> None:
    """A publish that is cancelled is either whole in the log or not in it, and the run goes on."""
    async with TraceEventBus(log) as bus, bus.run() as run:
        for _ in range(50):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(lambda: bus.publish(ToolProposed(tool="x"), run=run))
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        event = await bus.publish(ToolProposed(tool="after"), run=run)
    assert event.seq + 2 == await anyio.to_thread.run_sync(log.last_position)


async def test_publishing_while_closing(log: EventLog) -> None:
    """What was taken before the bus closed is stored; what came later is refused."""
    stored, refused = [], 0
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            nonlocal refused
            try:
                while True:
                    stored.append(await bus.publish(ToolProposed(tool="x"), run=run))
            except BusClosed:
                refused += 1

        async with TraceEventBus(log) as bus:
            run = await bus.start_run()
            for _ in range(8):
                tasks.start_soon(work)
            await anyio.sleep(0.05)
    assert 8 == refused
    assert {event.id for event in stored} <= {event.id for event in await events(log)}


class FailingLog(MemoryEventLog):
    """A log whose next append fails with the error that it was given."""

    error: Exception | None = None

    def append(self, groups: Any) -> Any:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return super().append(groups)


@pytest.mark.parametrize("error", [EventLogUnavailable("disk"), AppendUnknown("commit"), ZeroDivisionError()])
async def test_failing_log(error: Exception) -> None:
    """An error of the log reaches the publisher as it is, and the next publish works."""
    log = FailingLog()
    async with TraceEventBus(log) as bus, bus.run():
        log.error = error
        with pytest.raises(type(error)):
            await bus.publish(ToolProposed(tool="x"), key="k")
        event = await bus.publish(ToolProposed(tool="x"), key="k")
    assert 1 == event.seq


async def test_terminal_event_that_fails() -> None:
    """Where the terminal event cannot be written, the exception that ended the run is still raised."""
    failing = FailingLog()

    async def work() -> None:
        async with bus.run():
            failing.error = EventLogUnavailable("disk full")
            raise KeyError("the agent's own")

    async with TraceEventBus(failing) as bus:
        with pytest.raises(KeyError) as caught:
            await work()
    assert "disk full" in str(caught.value.__notes__)


async def test_query_in_pages() -> None:
    """The bus reads the log in pages, as many events as were asked for."""
    log = MemoryEventLog()
    async with TraceEventBus(log) as bus, bus.run():
        await bus.publish_many([ToolProposed(tool="x") for _ in range(1200)])
        seqs = [event.seq async for event in bus.query(EventQuery(limit=1100))]
        rest = [event.seq async for event in bus.query(EventQuery(after=1100))]
    assert (list(range(1100)), list(range(1100, 1201))) == (seqs, rest)


async def test_user_of_a_run(log: EventLog) -> None:
    """A run's user is found by query, stands in no header, and not in the committed payload."""
    async with TraceEventBus(log) as bus, bus.run(user_id="u-91"):
        await bus.publish(ToolExecuted(tool="wire", status="ok"))
    first = (await events(log, user_id="u-91"))[0]
    assert 3 == len(await types(log, user_id="u-91"))
    assert b"u-91" not in (first.payload_json or b"")
    assert "u-91" not in str(first.header)
    assert "u-91" == first.opened()["userId"]


async def test_explicit_end(log: EventLog) -> None:
    """A run that was finished inside is not finished again."""
    async with TraceEventBus(log) as bus, bus.run() as run:
        await run.finish("failed", reason="policy")
    *_, last = await events(log)
    assert RunCompleted(outcome="failed", reason="policy") == last.payload


async def test_cancelled_at_the_end(log: EventLog) -> None:
    """A run, and a turn, that are cancelled by their very last statement get their ends."""
    async with TraceEventBus(log) as bus:
        with anyio.CancelScope() as scope:
            async with bus.run() as run, run.turn():
                scope.cancel()
    expected = ["run_started", "turn_started", "turn_completed", "run_completed"]
    assert expected == await types(log)


async def test_cancelled_at_the_beginning(log: EventLog) -> None:
    """A run that is cancelled while it begins is not in the log, or has its end."""
    async with TraceEventBus(log) as bus:
        for _ in range(20):
            async with anyio.create_task_group() as tasks:

                async def begin() -> None:
                    async with bus.run():
                        await anyio.sleep_forever()

                tasks.start_soon(begin)
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
    runs = await anyio.to_thread.run_sync(lambda: list(log.runs()))
    assert {"closed"} >= {run.status for run in runs}


@pytest.mark.parametrize("payload", [RunCompleted(outcome="failed"), Interrupted(reason="lunch")])
async def test_published_ends(log: EventLog, payload: EventPayload) -> None:
    """A run that was ended or suspended by publishing the event is left as it is."""
    async with TraceEventBus(log) as bus, bus.run():
        await bus.publish(payload)
    assert ["run_started", payload.type] == await types(log)


class ShortLog(MemoryEventLog):
    """A log of somebody's that loses count."""

    def append(self, groups: Any) -> Any:
        return super().append(groups)[1:]


async def test_a_log_that_breaks_its_word() -> None:
    """A log that returns too little hangs nobody: publishers are told that nothing is known."""
    with anyio.fail_after(5):
        async with TraceEventBus(ShortLog()) as bus:
            for _ in range(2):
                with pytest.raises(AppendUnknown, match="0 outcomes for 1 groups"):
                    await bus.start_run()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.blocking_ok
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_fork(log: EventLog) -> None:
    """In a forked process, which has no writer, publishing is refused, and does not hang."""
    async with TraceEventBus(log) as bus, bus.run() as run:
        child = os.fork()
        if child == 0:
            try:
                bus.publish_sync(ToolProposed(tool="x"), run=run)
            except BusClosed:
                os._exit(7)
            os._exit(1)
        _, status = await anyio.to_thread.run_sync(os.waitpid, child, 0)
    assert 7 == os.waitstatus_to_exitcode(status)


async def test_each_publisher_has_its_own_error() -> None:
    """Publishers that one failure meets raise exceptions of their own."""
    failing = FailingLog()
    errors: list[Exception] = []
    async with TraceEventBus(failing) as bus, bus.run() as run:

        async def work() -> None:
            try:
                await bus.publish(ToolProposed(tool="x"), run=run)
            except EventLogUnavailable as error:
                errors.append(error)

        failing.error = EventLogUnavailable("disk full")
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(work)
    assert len(errors) == len({id(error) for error in errors}) > 0


async def test_key_of_a_start_needs_a_run_id(log: EventLog) -> None:
    """A key without a run id could never be repeated, and is refused."""
    async with TraceEventBus(log) as bus:
        with pytest.raises(ValueError, match="run_id"):
            await bus.start_run(key="k")


async def test_extreme_times(log: EventLog) -> None:
    """A time at the edge of what Python knows is written in full, or refused."""
    async with TraceEventBus(log) as bus, bus.run():
        first = datetime.min.replace(tzinfo=UTC)
        event = await bus.publish(ToolProposed(tool="x"), occurred_at=first)
        with pytest.raises(ValueError, match="out of range"):
            await bus.publish(
                ToolProposed(tool="x"), occurred_at=first.replace(tzinfo=timezone(timedelta(hours=2)))
            )
    assert "0001-01-01T00:00:00.000000000Z" == event.occurred_at
