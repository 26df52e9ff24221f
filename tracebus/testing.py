"""For tests: clocks and ids that repeat, a capturing sink, suites for one's own log or sink.

A test module subclasses a suite and makes the thing to be tested; pytest does the rest::

    class TestMyLog(EventLogContract):
        @pytest.fixture
        def make_log(self, tmp_path):
            return lambda **options: MyEventLog(tmp_path / "log", **options)

The suites need pytest; nothing else of `tracebus` does.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from evidence.chain import RunHead, follow
from evidence.header import check_header
from tracebus._erasing_contract import ErasingContract
from tracebus.bus import TraceEventBus
from tracebus.committed import Committed, commit
from tracebus.errors import AppendConflict, KeyConflict, RunClosed, RunExists, UnknownRun
from tracebus.eventlog.base import (
    AnyEvent,
    CursorStore,
    Draft,
    EventLog,
    EventQuery,
    HeadsLeaf,
    HeadsStore,
)
from tracebus.eventlog.memory import MemoryEventLog
from tracebus.events import RunCompleted, RunStarted, ToolProposed
from tracebus.fsck import fsck
from tracebus.sink import Sink
from tracebus.subscription import Subscription

__all__ = ["CapturingSink", "EventLogContract", "FixedClock", "SequentialIds", "SinkContract"]


class FixedClock:
    """A clock that stands at a time, in nanoseconds since 1970, or steps on at each look."""

    def __init__(self, now: int = 1_763_690_584_123_456_789, step: int = 0) -> None:
        self.now = now
        self.step = step

    def __call__(self) -> int:
        """Return the time, then step on."""
        now = self.now
        self.now += self.step
        return now


class SequentialIds:
    """Makes event ids that count up: the same ones in each test."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, now: int, after: str | None) -> str:
        """Return the next id."""
        self._count += 1
        return f"01{self._count:024d}"


class CapturingSink:
    """Keeps the events that it gets, in `events`, and the batches, in `batches`.

    Like any sink it gets no sensitive members, unless its `Subscription` discloses them.
    """

    def __init__(self, name: str = "capturing", *, durable: bool = False) -> None:
        self.name = name
        self.durable = durable
        self.events: list[AnyEvent] = []
        self.batches: list[list[AnyEvent]] = []
        self.closed = False

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        """Keep a batch."""
        self.batches.append(list(batch))
        self.events += batch

    async def aclose(self) -> None:
        """Take note that the sink was closed."""
        self.closed = True


def draft(run_id: str = "r1", payload: Any = None, **fields: Any) -> Draft:
    """Return a draft of a run of workflow ``w1``, as the bus would make it."""
    payload = ToolProposed(tool="wire") if payload is None else payload
    committed = payload if isinstance(payload, Committed) else commit(payload)
    return Draft(run_id=run_id, workflow_id=fields.pop("workflow_id", "w1"), committed=committed, **fields)


def started(run_id: str = "r1", **fields: Any) -> Draft:
    """Return the draft of a run's first event."""
    return draft(run_id, RunStarted(), **fields)


def events_of(outcome: list[AnyEvent] | Exception) -> list[AnyEvent]:
    """Return a group's events, or raise why it was refused."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class EventLogContract(ErasingContract, ABC):
    """What every event log has to do; subclass it in a test module, and give it `make_log`.

    `make_log(**options)` returns a log, not yet open: with the same storage each time within a test.
    Its options are `clock`, `new_id` and `digest_algorithm`, and a log has to accept them. After each
    test the whole log is checked by `fsck`. What only some logs can (keep cursors, erase) is tested of
    those that can, and skipped otherwise.
    """

    durable = True
    """Whether a log that is made again has what the one before it stored."""

    @pytest.fixture
    @abstractmethod
    def make_log(self) -> Callable[..., EventLog]:
        """Return the function that makes logs."""

    @pytest.fixture
    def log(self, make_log: Callable[..., EventLog]) -> Iterator[EventLog]:
        """An open log; it must hold together when the test is done."""
        log = make_log(clock=FixedClock(step=1_000_000), new_id=SequentialIds())
        log.open()
        yield log
        report = fsck(log)
        log.close()
        assert report.fault is None, report.fault

    def append(self, log: EventLog, *drafts: Draft) -> list[AnyEvent]:
        """Append drafts, each as a group of its own."""
        outcomes = log.append([[draft] for draft in drafts])
        return [event for outcome in outcomes for event in events_of(outcome)]

    def test_origin_stays(self, log: EventLog) -> None:
        """The origin is the same at each look, and names a ULID."""
        assert log.origin == log.origin
        assert len(log.origin.rpartition("/")[2]) == 26

    def test_chain(self, log: EventLog) -> None:
        """Events of a run follow one another as a verifier wants it."""
        events = self.append(
            log, started(), draft(), draft(), draft(payload=RunCompleted(outcome="completed"))
        )
        head: RunHead | None = None
        for event in events:
            check_header(event.header, "event")
            head = follow(head, event.header)
        assert head == log.head("r1")

    def test_positions_grow(self, log: EventLog) -> None:
        """Positions begin at 1 and grow in the order of appending."""
        events = self.append(log, started(), started("r2"), draft(), draft("r2"))
        assert [1, 2, 3, 4] == [event.position for event in events]
        assert log.last_position() == 4

    def test_head_of_unknown_run(self, log: EventLog) -> None:
        """A run that is not there has no head."""
        assert log.head("nobody") is None

    @pytest.mark.parametrize(
        ("before", "refused", "error"),
        [
            ([], draft(), UnknownRun),
            ([started()], started(), RunExists),
            ([started(), draft(payload=RunCompleted(outcome="failed"))], draft(), RunClosed),
            ([started()], draft(expected_head="sha256:" + "0" * 64), AppendConflict),
            ([started(), draft(key="k")], draft(payload=ToolProposed(tool="other"), key="k"), KeyConflict),
        ],
        ids=["unknown-run", "run-exists", "run-closed", "conflict", "key-conflict"],
    )
    def test_refusals(
        self, log: EventLog, before: list[Draft], refused: Draft, error: type[Exception]
    ) -> None:
        """A draft that may not follow is refused by its own error, and nothing is stored."""
        self.append(log, *before)
        (outcome,) = log.append([[refused]])
        assert error is type(outcome)
        assert log.last_position() == len(before)

    def test_refusal_does_not_fail_others(self, log: EventLog) -> None:
        """In one batch, a refused group fails alone."""
        outcomes = log.append([[started()], [draft("nobody")], [draft()]])
        assert [list, UnknownRun, list] == [type(outcome) for outcome in outcomes]
        assert log.last_position() == 2

    def test_group_is_all_or_nothing(self, log: EventLog) -> None:
        """Where one draft of a group is refused, none of it is stored, and its run goes on."""
        self.append(log, started())
        (outcome,) = log.append([[draft(), draft("nobody")]])
        assert isinstance(outcome, UnknownRun)
        (event,) = self.append(log, draft())
        assert event.seq == 1

    def test_key_repeats(self, log: EventLog) -> None:
        """The same key and content give the stored event back, and store nothing."""
        first, again = self.append(log, started(), draft(key="k"), draft(key="k"))[1:]
        (later,) = self.append(log, draft(key="k"))
        assert first == again == later
        assert log.last_position() == 2

    def test_key_is_per_run(self, log: EventLog) -> None:
        """Two runs may use the same key."""
        events = self.append(log, started(), started("r2"), draft(key="k"), draft("r2", key="k"))
        assert events[2].id != events[3].id

    def test_key_in_closed_run(self, log: EventLog) -> None:
        """What a closed run has under a key still comes back."""
        stored = self.append(log, started(), draft(key="k"), draft(payload=RunCompleted(outcome="completed")))
        assert [stored[1]] == self.append(log, draft(key="k"))

    def test_expected_head(self, log: EventLog) -> None:
        """An append that names the right head succeeds."""
        (first,) = self.append(log, started())
        (second,) = self.append(log, draft(expected_head=first.event_hash))
        assert second.parent_hash == first.event_hash

    def test_ids_grow_though_the_clock_steps_back(self, make_log: Callable[..., EventLog]) -> None:
        """Within a run ids grow also when the clock goes back an hour."""
        clock = FixedClock()
        log = make_log(clock=clock)
        log.open()
        (first,) = self.append(log, started())
        clock.now -= 3_600_000_000_000
        (second,) = self.append(log, draft())
        log.close()
        assert second.id > first.id
        assert second.timestamp < first.timestamp

    def test_blake3(self, make_log: Callable[..., EventLog]) -> None:
        """A log made with BLAKE3 says so in each hash."""
        log = make_log(digest_algorithm="blake3")
        log.open()
        first, second = self.append(log, started(), draft())
        log.close()
        hashes = {first.content_hash, second.content_hash, second.parent_hash or ""}
        assert {"blake3"} == {text.partition(":")[0] for text in hashes}

    def test_content_comes_back(self, log: EventLog) -> None:
        """Header, payload and disclosures are read back as they were sealed."""
        tool = ToolProposed(tool="wire", arguments={"amount": 5000, "note": "é \u0000 😀"})
        sealed = self.append(
            log,
            started(tenant_id="acme", agent_id="treasury"),
            draft(
                payload=tool,
                tenant_id="acme",
                agent_id="sub",
                turn_id="t1",
                risk="high",
                causes=("01" + "0" * 24, "01" + "0" * 23 + "1"),
                key="k",
                occurred_at="2026-11-21T02:03:04.000000000Z",
            ),
        )
        assert sealed == list(log.query(EventQuery()))
        assert sealed[1].payload == tool

    def fill(self, log: EventLog) -> None:
        """Store seven events of three runs, two workflows and two tenants."""
        self.append(
            log,
            started(tenant_id="acme", user_id="u1", agent_id="a1"),
            started("r2", tenant_id="other", user_id="u2"),
            started("r3", workflow_id="w2", user_id="u1"),
            draft(tenant_id="acme", turn_id="t1", risk="high", agent_id="a1"),
            draft("r2", RunCompleted(outcome="failed"), tenant_id="other"),
            draft(tenant_id="acme", agent_id="a2"),
            draft("r3", workflow_id="w2"),
        )

    @pytest.mark.parametrize(
        ("query", "positions"),
        [
            (EventQuery(), [1, 2, 3, 4, 5, 6, 7]),
            (EventQuery(tenant_id="acme"), [1, 4, 6]),
            (EventQuery(tenant_id=None), [3, 7]),
            (EventQuery(user_id="u1"), [1, 3, 4, 6, 7]),
            (EventQuery(agent_id="a1"), [1, 4]),
            (EventQuery(workflow_id="w1"), [1, 2, 4, 5, 6]),
            (EventQuery(workflow_id="w1", tenant_id="other"), [2, 5]),
            (EventQuery(run_id="r3"), [3, 7]),
            (EventQuery(turn_id="t1"), [4]),
            (EventQuery(types=("run_started",)), [1, 2, 3]),
            (EventQuery(types=("run_started", "run_completed")), [1, 2, 3, 5]),
            (EventQuery(risk="high"), [4]),
            (EventQuery(after=5), [6, 7]),
            (EventQuery(after=2, limit=3), [3, 4, 5]),
            (EventQuery(limit=0), []),
            (EventQuery(workflow_id="nobody"), []),
        ],
    )
    def test_query(self, log: EventLog, query: EventQuery, positions: list[int]) -> None:
        """A query yields the events that fit all its conditions, in order."""
        self.fill(log)
        assert positions == [event.position for event in log.query(query)]

    def test_query_by_time(self, log: EventLog) -> None:
        """`since` is included, `until` is not."""
        self.fill(log)
        times = [event.timestamp for event in log.query(EventQuery())]
        found = log.query(EventQuery(since=times[2], until=times[5]))
        assert [3, 4, 5] == [event.position for event in found]

    def test_runs(self, log: EventLog) -> None:
        """Runs are listed in the order of their first events, with count and status."""
        self.fill(log)
        runs = [(run.run_id, run.workflow_id, run.tenant_id, run.events, run.status) for run in log.runs()]
        expected = [
            ("r1", "w1", "acme", 3, "open"),
            ("r2", "w1", "other", 2, "closed"),
            ("r3", "w2", None, 2, "open"),
        ]
        assert expected == runs
        assert ["r1"] == [run.run_id for run in log.runs(workflow_id="w1", tenant_id="acme")]

    def test_select_workflow(self, log: EventLog) -> None:
        """A workflow is selected run by run, and of one tenant only."""
        self.append(log, started(), started("r2"), draft(), started("r3", tenant_id="acme"), draft("r2"))
        found = [(item.header["runId"], item.header["seq"]) for item in log.select_workflow("w1", None)]
        assert [("r1", 0), ("r1", 1), ("r2", 0), ("r2", 1)] == found

    def test_a_page_is_not_the_end(self, log: EventLog) -> None:
        """A query yields all events, however many pages the log reads them in."""
        self.append(log, started())
        events_of(log.append([[draft() for _ in range(1200)]])[0])
        assert sum(1 for _ in log.query(EventQuery())) == 1201

    def test_stored_for_good(self, make_log: Callable[..., EventLog]) -> None:
        """A log that is opened again has every event, and goes on with the chain."""
        if not self.durable:
            pytest.skip("this log is not durable")
        log = make_log()
        log.open()
        before = self.append(log, started(), draft())
        log.close()
        again = make_log()
        again.open()
        (after,) = self.append(again, draft())
        stored, origin = list(again.query(EventQuery())), again.origin
        again.close()
        assert [*before, after] == stored
        assert origin == before[0].log
        assert after.parent_hash == before[1].event_hash

    def test_cursor(self, log: EventLog) -> None:
        """A cursor is kept by sink, and read back."""
        if not isinstance(log, CursorStore):
            pytest.skip("this log keeps no cursors")
        log.save_cursor("a", 5)
        log.save_cursor("a", 7)
        assert (7, None) == (log.load_cursor("a"), log.load_cursor("b"))

    def test_heads_leaves(self, log: EventLog) -> None:
        """Heads leaves are stored in the order of their ordinals, each once, and read from any on."""
        if not isinstance(log, HeadsStore):
            pytest.skip("this log keeps no heads leaves")
        self.append(log, started(), draft(), draft())
        leaves = [HeadsLeaf(1, bytes(32)), HeadsLeaf(3, bytes([1] * 32)), HeadsLeaf(3, bytes([2] * 32))]
        added = [log.add_heads_leaf(ordinal, leaves[ordinal]) for ordinal in (1, 0, 0, 2, 1, 2)]
        assert [False, True, False, False, True, True] == added
        assert [leaves, leaves[1:], []] == [log.heads_leaves(first) for first in (0, 1, 3)]

    def test_heads_leaves_are_stored_for_good(self, make_log: Callable[..., EventLog]) -> None:
        """A log that is opened again has its heads leaves, and goes on behind them."""
        log, again = make_log(), make_log()
        if not self.durable or not isinstance(log, HeadsStore) or not isinstance(again, HeadsStore):
            pytest.skip("this log is not durable, or keeps no heads leaves")
        self.append(log, started())
        log.add_heads_leaf(0, HeadsLeaf(1, bytes(32)))
        log.close()
        added = [again.add_heads_leaf(ordinal, HeadsLeaf(1, bytes(32))) for ordinal in (0, 1)]
        stored = again.heads_leaves()
        again.close()
        assert ([False, True], [HeadsLeaf(1, bytes(32))] * 2) == (added, stored)


class SinkContract(ABC):
    """What every sink has to do; subclass it in a test module, and give it `make_sink` and `received`.

    Tests are async and run with anyio's pytest plugin, on each backend of `anyio_backend`.
    """

    @pytest.fixture
    @abstractmethod
    def make_sink(self) -> Callable[[], Sink]:
        """Return the function that makes the sink: with the same destination each time in a test."""

    @abstractmethod
    def received(self) -> Iterable[dict[str, Any]]:
        """Return what arrived at the destination, as events on the wire."""

    async def publish(self, sink: Sink | Subscription, log: EventLog, count: int, secret: str) -> list[str]:
        """Publish a run with some tool calls; return the ids of its events."""
        async with TraceEventBus(log, [sink]) as bus, bus.run() as run:
            for _ in range(count):
                await bus.publish(ToolProposed(tool="wire", arguments={"iban": secret}))
        return [event.id for event in log.query(EventQuery(run_id=run.run_id))]

    @pytest.mark.anyio
    async def test_is_a_sink(self, make_sink: Callable[[], Sink]) -> None:
        """It has what the protocol asks for."""
        assert isinstance(make_sink(), Sink)

    @pytest.mark.anyio
    async def test_everything_arrives_in_order(self, make_sink: Callable[[], Sink]) -> None:
        """Each event of a run arrives, in the order of seq."""
        ids = await self.publish(make_sink(), MemoryEventLog(), 600, "DE89")
        assert ids == [wire["id"] for wire in self.received()]

    @pytest.mark.anyio
    async def test_nothing_sensitive_arrives(self, make_sink: Callable[[], Sink]) -> None:
        """What arrives is the committed form, which holds no sensitive member, whatever the sink does."""
        await self.publish(make_sink(), MemoryEventLog(), 1, "DE89370400440532013000")
        arrived = json.dumps(list(self.received()))
        assert "DE89370400440532013000" not in arrived
        assert "_sd" in arrived

    @pytest.mark.anyio
    async def test_what_is_disclosed_arrives(self, make_sink: Callable[[], Sink]) -> None:
        """Sensitive members that the sink's subscription discloses arrive, as the sink passes them on."""
        subscription = Subscription(make_sink(), disclose=["tool_proposed:arguments"])
        await self.publish(subscription, MemoryEventLog(), 1, "DE89370400440532013000")
        assert "DE89370400440532013000" in json.dumps(list(self.received()))

    @pytest.mark.anyio
    async def test_goes_on_after_a_restart(self, make_sink: Callable[[], Sink]) -> None:
        """A durable sink gets what was stored while it was away, a second time at most."""
        log = MemoryEventLog()
        sink = make_sink()
        if not sink.durable:
            pytest.skip("this sink is not durable")
        await self.publish(sink, log, 2, "one")
        async with TraceEventBus(log) as bus, bus.run():
            await bus.publish(ToolProposed(tool="while away"))
        await self.publish(make_sink(), log, 2, "two")
        stored = [event.id for event in log.query(EventQuery())]
        assert stored == list(dict.fromkeys(wire["id"] for wire in self.received()))

    @pytest.mark.anyio
    async def test_closing_twice(self, make_sink: Callable[[], Sink]) -> None:
        """Closing a sink that is closed, or was never used, does nothing."""
        sink = make_sink()
        await sink.aclose()
        await sink.aclose()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return what a JSON Lines file holds, for `SinkContract.received`."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
