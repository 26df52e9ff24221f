"""What every log that erases has to do: a part of `tracebus.testing.EventLogContract`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from evidence.disclosure import SD, disclose, encode_base64url, parse_disclosure
from tracebus.committed import Committed, commit
from tracebus.errors import AppendConflict, RunExists, UnknownEvent
from tracebus.eventlog.base import AnyEvent, Draft, ErasableLog, Erasure, EventLog, EventQuery, Targets
from tracebus.events import (
    DataErased,
    ErasureTarget,
    LegalHoldChanged,
    RunCompleted,
    RunStarted,
    ToolProposed,
)
from tracebus.fsck import fsck
from tracebus.upkeep import workflow_run


def record(targets: Targets, workflow_id: str = "w1", tenant_id: str | None = None) -> list[Draft]:
    """Return the maintenance run that records an erasure."""
    listed = [
        ErasureTarget(event_id=event_id, digests=None if digests is None else sorted(digests))
        for event_id, digests in targets.items()
    ]
    return workflow_run(workflow_id, tenant_id, DataErased(actor="desk", reason="asked", targets=listed))


def erasing(log: EventLog, targets: Targets, *records: Sequence[Draft]) -> Erasure:
    """Return an erasure that was planned just now."""
    return Erasure(targets, records or [record(targets)], log.last_position())


def digests_of(event: AnyEvent, name: str | None = None) -> frozenset[str]:
    """Return the digests of an event's disclosures: of all that it holds, or of the members of a name."""
    held = [parse_disclosure(text, "event") for text in event.disclosures]
    return frozenset(disclosure.digest for disclosure in held if name in (None, disclosure.name))


class ErasingContract:
    """Tests of `ErasableLog`; a log that is none skips them."""

    durable = True

    @pytest.fixture
    def erasable(self, log: EventLog) -> ErasableLog:
        """The log, with a run of four events, and one that was started for a person."""
        if not isinstance(log, ErasableLog):
            pytest.skip("this log does not erase")
        call = ToolProposed(tool="wire", call_id="c1", arguments={"iban": "DE89"})
        drafts = [
            Draft("r1", "w1", commit(RunStarted())),
            Draft("r1", "w1", commit(call), key="k"),
            Draft("r1", "w1", commit(call)),
            Draft("r1", "w1", nested()),
            Draft("r2", "w1", commit(RunStarted(user_id="u1", session_id="s1")), user_id="u1"),
        ]
        for outcome in log.append([[item] for item in drafts]):
            assert isinstance(outcome, list), outcome
        return log

    @pytest.fixture
    def events(self, log: EventLog, erasable: ErasableLog) -> list[AnyEvent]:
        """The events of it."""
        return list(log.query(EventQuery()))

    def test_erased_disclosures(self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]) -> None:
        """Disclosures that were erased come back no more; payload, header and other events stay."""
        stored = erasable.erase(erasing(log, {events[1].id: digests_of(events[1])}))
        assert stored == list(log.query(EventQuery(after=5)))
        assert ["run_started", "data_erased", "run_completed"] == [event.type for event in stored]
        left = list(log.query(EventQuery()))
        assert {"tool": "wire", "callId": "c1"}.items() <= left[1].opened().items()
        assert ((), events[1].payload_json) == (left[1].disclosures, left[1].payload_json)
        assert events[:1] + events[2:] == left[:1] + left[2:5]
        assert [event.event_hash for event in events] == [event.event_hash for event in left[:5]]

    def test_erased_payload(self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]) -> None:
        """A whole payload goes with all its disclosures."""
        erasable.erase(erasing(log, {events[1].id: None}))
        left = list(log.query(EventQuery()))[1]
        assert (None, (), events[1].event_hash) == (left.payload_json, left.disclosures, left.event_hash)
        report = fsck(log)
        assert (1, 0, None) == (report.erased_payloads, report.erased_disclosures, report.fault)

    def test_erased_one_of_two(self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]) -> None:
        """Of several disclosures only the named ones go."""
        erasable.erase(erasing(log, {events[4].id: digests_of(events[4], "sessionId")}))
        opened = list(log.query(EventQuery()))[4].opened()
        assert ("u1", None) == (opened["userId"], opened.get("sessionId"))
        assert 1 == fsck(log).erased_disclosures

    def test_erased_within_a_disclosure(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]
    ) -> None:
        """What stands within a disclosure is erased by its own digest, and the rest of it is shown."""
        erasable.erase(erasing(log, {events[3].id: digests_of(events[3], "inner")}))
        assert {"plain": 1} == list(log.query(EventQuery()))[3].opened()["outer"]

    def test_nothing_is_left_without_its_parent(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]
    ) -> None:
        """To erase a disclosure, and not what stands within it, is refused."""
        with pytest.raises(ValueError, match="stands within one that is to be erased"):
            erasable.erase(erasing(log, {events[3].id: digests_of(events[3], "outer")}))
        assert events == list(log.query(EventQuery()))
        erasable.erase(erasing(log, {events[3].id: digests_of(events[3])}))
        assert "outer" not in list(log.query(EventQuery()))[3].opened()

    @pytest.mark.parametrize("name", ["userId", None])
    def test_user_is_erased_from_the_index(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent], name: str | None
    ) -> None:
        """With the ``userId`` of a run's first event, or its payload, goes its entry in the index."""
        assert [5] == [event.position for event in log.query(EventQuery(user_id="u1"))]
        digests = None if name is None else digests_of(events[4], name)
        erasable.erase(erasing(log, {events[4].id: digests}))
        assert [] == list(log.query(EventQuery(user_id="u1")))

    def test_user_stays_in_the_index(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]
    ) -> None:
        """With any other member the entry stays."""
        session = digests_of(events[4], "sessionId")
        erasable.erase(erasing(log, {events[4].id: session, events[1].id: None}))
        assert [5] == [event.position for event in log.query(EventQuery(user_id="u1"))]

    def test_nothing_to_erase_there(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]
    ) -> None:
        """An event or a disclosure that is not there, or not any more, refuses the whole erasure."""
        wanted = {events[1].id: digests_of(events[1]), events[2].id: None}
        erasable.erase(erasing(log, wanted))
        before = list(log.query(EventQuery()))
        foreign = digests_of(events[4])
        for event_id, digests in [*wanted.items(), (events[3].id, foreign), ("0" * 26, None)]:
            targets = {events[4].id: None, event_id: digests}
            with pytest.raises(UnknownEvent, match=event_id):
                erasable.erase(erasing(log, targets))
        assert before == list(log.query(EventQuery()))

    def test_hold_since(self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]) -> None:
        """An erasure is refused if a hold was changed after it was planned, also in another workflow."""
        erasure = erasing(log, {events[1].id: None})
        hold = LegalHoldChanged(hold_id="h1", change="placed", actor="court")
        (outcome,) = log.append([workflow_run("w2", "acme", hold)])
        assert isinstance(outcome, list), outcome
        before = list(log.query(EventQuery()))
        with pytest.raises(AppendConflict, match="plan it again"):
            erasable.erase(erasure)
        assert before == list(log.query(EventQuery()))
        assert 3 == len(erasable.erase(erasure._replace(planned_at=log.last_position())))

    def test_refused_record(self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]) -> None:
        """Where one of the records may not follow its run, nothing is erased and nothing recorded."""
        targets: Targets = {events[1].id: None}
        refused = [Draft("r1", "w1", commit(RunStarted()))]
        with pytest.raises(RunExists):
            erasable.erase(erasing(log, targets, record(targets), refused))
        assert events == list(log.query(EventQuery()))

    def test_no_erasure_without_its_record(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]
    ) -> None:
        """What no record names, in the same workflow, is not erased."""
        targets: Targets = {events[1].id: digests_of(events[1]), events[2].id: None}
        partly: Targets = {events[1].id: digests_of(events[1]), events[2].id: digests_of(events[2])}
        for records in (
            [],
            [record({events[2].id: None})],
            [record(partly)],
            [record(targets, "w2")],
            [record(targets, "w1", "acme")],
            [workflow_run("w1", None)],
        ):
            with pytest.raises(ValueError, match=r"no record in workflow w1|expected events of the types"):
                erasable.erase(Erasure(targets, records, log.last_position()))
        for nothing in ({}, {events[1].id: frozenset[str]()}):
            with pytest.raises(ValueError, match="something to erase"):
                erasable.erase(Erasure(nothing, [record(targets)], log.last_position()))
        assert events == list(log.query(EventQuery()))

    def test_records_in_several_workflows(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]
    ) -> None:
        """One erasure may touch several workflows, each with its own record, and several records of one."""
        other = Draft("r3", "w2", commit(ToolProposed(tool="x", arguments=1)))
        (outcome,) = log.append([[Draft("r3", "w2", commit(RunStarted())), other]])
        assert isinstance(outcome, list), outcome
        first: Targets = {events[1].id: digests_of(events[1])}
        second: Targets = {events[2].id: None}
        third: Targets = {outcome[1].id: None}
        records = [record(first), record(second), record(third, "w2")]
        stored = erasable.erase(erasing(log, {**first, **second, **third}, *records))
        assert ["w1"] * 6 + ["w2"] * 3 == [event.workflow_id for event in stored]
        report = fsck(log)
        assert (2, 1, None) == (report.erased_payloads, report.erased_disclosures, report.fault)

    def test_erasing_again_under_keys(
        self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]
    ) -> None:
        """Records that all have keys and are stored come back: what they name is gone."""
        targets: Targets = {events[1].id: None}
        keyed = [item._replace(key=f"e{i}") for i, item in enumerate(record(targets))]
        erasure = erasing(log, targets, keyed)
        assert erasable.erase(erasure) == erasable.erase(erasure)
        assert 8 == log.last_position()

    def test_runs_go_on(self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]) -> None:
        """The chain of a run goes on behind erased events, and what was stored under a key still is."""
        head = log.head("r1")
        erasable.erase(erasing(log, {events[1].id: digests_of(events[1]), events[3].id: None}))
        assert head == log.head("r1")
        same = ToolProposed(tool="wire", call_id="c1", arguments={"iban": "DE89"})
        repeated, done = log.append(
            [
                [Draft("r1", "w1", commit(same), key="k")],
                [Draft("r1", "w1", commit(RunCompleted(outcome="completed")))],
            ]
        )
        assert isinstance(repeated, list), repeated
        assert isinstance(done, list), done
        assert (events[1].id, head and head.event_hash) == (repeated[0].id, done[0].parent_hash)

    def test_scrub(self, log: EventLog, erasable: ErasableLog, events: list[AnyEvent]) -> None:
        """Scrubbing takes nothing away that can be read, and leaves nothing to be scrubbed."""
        erasable.scrub()
        assert events == list(log.query(EventQuery()))
        for event in events[1:3]:
            erasable.erase(erasing(log, {event.id: None}))
        before = list(log.query(EventQuery()))
        erasable.scrub()
        erasable.scrub()
        assert (before, 0, 0) == (list(log.query(EventQuery())), erasable.unscrubbed(), fsck(log).unscrubbed)

    def test_erased_for_good(self, make_log: Callable[..., EventLog]) -> None:
        """A log that is opened again has not what was erased; it has what was not, and nothing to scrub."""
        log, again = make_log(), make_log()
        if not self.durable or not isinstance(log, ErasableLog) or not isinstance(again, ErasableLog):
            pytest.skip("this log is not durable, or does not erase")
        call = ToolProposed(tool="wire", arguments={"iban": "DE89"})
        run = [Draft("r1", "w1", commit(payload)) for payload in (RunStarted(), call, call)]
        (events,) = log.append([run])
        assert isinstance(events, list), events
        log.erase(erasing(log, {events[1].id: digests_of(events[1])}))
        log.close()
        again.open()
        left = list(again.query(EventQuery()))
        again.close()
        assert ((), events[2], 0) == (left[1].disclosures, left[2], again.unscrubbed())


def nested() -> Committed:
    """Return a payload with a disclosure that holds another one."""
    text, digest = disclose("inner", "secret")
    outer, outer_digest = disclose("outer", {"plain": 1, SD: [digest]})
    salt = encode_base64url(bytes(16))
    payload = f'{{"_salt":"{salt}","_sd":["{outer_digest}"]}}'.encode()
    return Committed("acme.nested", payload, (text, outer))
