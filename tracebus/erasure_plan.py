"""What an erasure would take, and carrying it out: all of it with its records, or nothing (ADR 0018)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from evidence.errors import UnknownWorkflow
from evidence.pattern import matches_payload
from tracebus.erasure import (
    NEVER_ERASED,
    ErasureBatch,
    count_members,
    erasable_digests,
    may_erase_payload,
    past_hold_digests,
)
from tracebus.erasure_request import ErasureRequest
from tracebus.errors import AppendConflict, EventLogUnavailable, UnknownEvent
from tracebus.eventlog.base import AnyEvent, ErasableLog, EventLog, EventQuery
from tracebus.events import RunCompleted
from tracebus.holds import StandingHolds, WorkflowKey, refusal
from tracebus.in_clear import ClearShare, InClear
from tracebus.out_of_reach import exports_of, other_runs
from tracebus.pattern_fit import PatternFit
from tracebus.upkeep import RESERVED_PREFIX

_ATTEMPTS: Final = 5


class TypeShare(NamedTuple):
    """How much goes of the events of one type; a member counts once, with those within it."""

    events: int
    members: int
    payloads: int


class Export(NamedTuple):
    """A bundle that was made of a workflow, as ``bundle_exported`` has it: nobody can call it back."""

    workflow: WorkflowKey
    bundle_id: str
    exported_at: str
    recipient: str | None
    purpose: str | None


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What an erasure would take, as of one reading of the log.

    `workflows` are those of which something goes. `runs` are all that the request means, `open_runs` those
    of them that go on: what they record later is not erased. `other_runs` are those of the same workflows
    that were not started for the person: a child run, say. `exports` are the bundles that were made of any
    of these workflows. `in_clear` is what is left, by type, of payloads that stay. `unmatched` are patterns
    that fit no member that these events ever had, where that can be told, and `held` the paths of the
    sensitive members that they have; both are empty without patterns.
    """

    request: ErasureRequest
    workflows: tuple[WorkflowKey, ...]
    types: dict[str, TypeShare]
    runs: tuple[str, ...]
    open_runs: tuple[str, ...]
    other_runs: tuple[str, ...]
    exports: tuple[Export, ...]
    in_clear: dict[str, ClearShare]
    unmatched: tuple[str, ...]
    held: tuple[str, ...]
    batch: ErasureBatch

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to erase."""
        return not self.types

    def total(self) -> TypeShare:
        """Return how much goes in all."""
        return (
            TypeShare(*map(sum, zip(*self.types.values(), strict=True))) if self.types else TypeShare(0, 0, 0)
        )


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was erased: `plan`, by the events `records`, none where there was nothing.

    `not_scrubbed` says why the bytes may still be in the log's files; None when they are gone.
    """

    plan: ErasurePlan
    records: tuple[AnyEvent, ...]
    not_scrubbed: str | None = None


def plan_erasure(log: EventLog, request: ErasureRequest) -> ErasurePlan:
    """Return what a request would take; nothing is changed.

    Raises:
        HoldStands: A legal hold covers some of it.
        UnknownWorkflow: The log has no such workflow.
        UnknownEvent: The log has no event of one of the ids.
        ValueError: A named event is one that is never erased.
        EvidenceError: What is to be erased, or a record of a hold, was damaged.
        TypeError: This log cannot erase.
    """
    if not isinstance(log, ErasableLog):
        raise TypeError(f"{type(log).__name__} is no log that can erase")
    return _Planning(log, request, StandingHolds(log)).plan()


def erase(log: EventLog, request: ErasureRequest) -> ErasureReport:
    """Erase what a request means, and record it: all of it or nothing; then scrub the log's files.

    What a request means is what is there now: a plan that was made before is not taken for it.

    Raises:
        HoldStands: A legal hold covers some of it; nothing was changed.
        AppendConflict, UnknownEvent: Others kept changing the log; nothing was changed, try again.
        AppendUnknown: It cannot be told whether it is done; what is left when it is read again tells.
        UnknownWorkflow, UnknownEvent, ValueError, EvidenceError, TypeError: As `plan_erasure`.
    """
    for _ in range(_ATTEMPTS - 1):
        plan = plan_erasure(log, request)
        try:
            return _carry_out(log, plan)
        except (AppendConflict, UnknownEvent):
            continue
    return _carry_out(log, plan_erasure(log, request))


def _carry_out(log: EventLog, plan: ErasurePlan) -> ErasureReport:
    records = tuple(plan.batch.commit())
    return ErasureReport(plan, records, scrub(log))


def scrub(log: EventLog) -> str | None:
    """Scrub a log's files of what was erased; return why that is not possible now, or None."""
    if isinstance(log, ErasableLog):
        try:
            log.scrub()
        except EventLogUnavailable as error:
            return str(error)
    return None


class _Planning:
    def __init__(self, log: EventLog, request: ErasureRequest, holds: StandingHolds) -> None:
        assert isinstance(log, ErasableLog)  # noqa: S101 (`plan_erasure` has refused others)
        self._log: EventLog = log
        self._request = request
        self._holds = holds
        self._batch = ErasureBatch(log, holds)
        self._events = Counter[str]()
        self._members = Counter[str]()
        self._payloads = Counter[str]()
        self._runs: dict[str, WorkflowKey] = {}
        self._ended: set[str] = set()
        self._workflows = dict[WorkflowKey, None]()
        self._in_clear = InClear(request.only)
        self._fit = PatternFit(request.only)

    def plan(self) -> ErasurePlan:
        self._check_user()
        for event in self._selected():
            self._runs[event.run_id] = WorkflowKey(event.workflow_id, event.tenant_id)
            if event.type == RunCompleted.type:
                self._ended.add(event.run_id)
            if self._request.only and event.type not in NEVER_ERASED:
                self._fit.add(event)
            self._add(event)
        self._add_past_holds()
        workflows = tuple(dict.fromkeys(self._runs.values()))
        return ErasurePlan(
            request=self._request,
            workflows=tuple(self._workflows),
            types={
                name: TypeShare(self._events[name], self._members[name], self._payloads[name])
                for name in sorted(self._events)
            },
            runs=tuple(self._runs),
            open_runs=tuple(run_id for run_id in self._runs if self._is_open(run_id)),
            other_runs=tuple(self._other_runs(workflows)),
            exports=tuple(_exports(self._log, workflows)),
            in_clear=self._in_clear.shares(),
            unmatched=self._fit.unmatched,
            held=self._fit.held,
            batch=self._batch,
        )

    def _check_user(self) -> None:
        if self._request.user_id is not None:
            for hold in self._holds.over_user(self._request.user_id, self._request.tenant_id):
                raise refusal(hold, f"user {self._request.user_id}")

    def _selected(self) -> Iterator[AnyEvent]:
        """Yield the events that the request means, as far as the log had been read for holds."""
        request = self._request
        if request.workflow is not None:
            workflow_id, tenant_id = request.workflow
            query = EventQuery(workflow_id=workflow_id, tenant_id=tenant_id)
        elif request.user_id is not None:
            query = EventQuery(user_id=request.user_id, tenant_id=request.tenant_id)
        else:
            query = EventQuery(ids=request.event_ids)
        missing = set(request.event_ids)
        found = False
        for event in self._log.query(query):
            if (event.position or 0) > self._holds.as_of:
                break
            found = True
            missing.discard(event.id)
            yield event
        if missing:
            raise UnknownEvent(f"the log has no event {min(missing)}")
        if request.workflow is not None and not found:
            raise UnknownWorkflow(*request.workflow)

    def _add(self, event: AnyEvent) -> None:
        """Add what goes of an event, if anything does."""
        if self._takes_payload(event):
            if event.payload_json is not None:
                self._take(event, None)
            return
        self._in_clear.add(event)
        if digests := erasable_digests(event, self._request.only):
            self._take(event, digests)

    def _takes_payload(self, event: AnyEvent) -> bool:
        request = self._request
        if request.event_ids and event.workflow_id.startswith(RESERVED_PREFIX):
            raise ValueError(f"event {event.id} is of the log's own record; nothing of it is erased")
        if not request.payloads or (request.only and not matches_payload(request.only, event.type)):
            return False
        if not request.event_ids:
            return may_erase_payload(event.type)
        if event.type in NEVER_ERASED:
            raise ValueError(f"event {event.id} is a {event.type}, whose payload is never erased")
        return True

    def _take(self, event: AnyEvent, digests: frozenset[str] | None) -> None:
        self._batch.add(event, digests, self._request.record)
        self._workflows[WorkflowKey(event.workflow_id, event.tenant_id)] = None
        self._events[event.type] += 1
        self._members[event.type] += count_members(event, digests)
        self._payloads[event.type] += digests is None

    def _add_past_holds(self) -> None:
        """Add the person's id where it stands in the record of a hold that was lifted."""
        user_id, tenant_id = self._request.user_id, self._request.tenant_id
        if user_id is None:
            return
        for event in self._holds.past_records_of(user_id, tenant_id):
            self._fit.add(event)
            if digests := past_hold_digests(event, self._request.only):
                self._take(event, digests)

    def _is_open(self, run_id: str) -> bool:
        if run_id in self._ended:
            return False
        head = self._log.head(run_id)
        return head is not None and not head.closed

    def _other_runs(self, workflows: tuple[WorkflowKey, ...]) -> Iterator[str]:
        if self._request.user_id is None:
            return
        for workflow in workflows:
            yield from (run.run_id for run in other_runs(self._log, workflow, self._runs.keys()))


def _exports(log: EventLog, workflows: tuple[WorkflowKey, ...]) -> Iterator[Export]:
    """Yield which bundles were made of workflows."""
    for workflow, events in exports_of(log, workflows).items():
        for event in events:
            said = event.opened()
            recipient, purpose = said.get("recipient"), said.get("purpose")
            yield Export(workflow, str(said.get("bundleId")), event.timestamp, recipient, purpose)
