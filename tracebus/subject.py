"""A person's view: what a log holds about one user, for requests of access (GDPR Art. 15).

::

    view = subject_view(log, "u-91", mentions=["marta@example.org"])
    for workflow in view.workflows:
        for held in view.events(workflow):
            print(held.event.timestamp, held.event.type, held.event.opened())
    for mention in view.mentioned():
        print(mention.texts, mention.event.opened())

The log's index knows the runs that were started for a user, and no others: child runs that do not say whom
they are for, and what is said of a person elsewhere, are found as mentions alone. An entry of the index is
erased with the ``userId`` that it is made of. Nothing is recorded: a log that is opened to be read will do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evidence import canonical
from evidence.disclosure import digests_in, open_payload
from evidence.header import format_timestamp
from evidence.projection import ERASING
from evidence.scope import targets_of
from tracebus.eventlog.base import ANY_TENANT, AnyEvent, EventLog, EventQuery, RunSummary
from tracebus.events import RunStarted
from tracebus.holds import Hold, StandingHolds, WorkflowKey
from tracebus.in_clear import members_in_clear
from tracebus.mentions import Mentions
from tracebus.out_of_reach import exports_of, other_runs
from tracebus.retention import KeptUntil, end_of, kept_until
from tracebus.retention_policy import DEFAULT_POLICY, FOREVER, RetentionPolicy


class Erased(NamedTuple):
    """What one event records as erased of another: so many members, or the whole payload (None).

    `by` is the recording event's id; None where no event tells of it.
    """

    by: str | None
    members: int | None


class HeldEvent(NamedTuple):
    """An event of a run for the person: how much is held, what was erased, until when.

    `members` is how many sensitive ones are held, each counted once with those within it. `in_clear` are
    the members of the payload that stand in the clear, whole or in part: they go only with the payload.
    """

    event: AnyEvent
    members: int
    in_clear: tuple[str, ...]
    erased: tuple[Erased, ...]
    kept_until: KeptUntil


@dataclass(slots=True)
class HeldCount:
    """How much is held about a person, and how much of it was erased."""

    events: int = 0
    members: int = 0
    erased_members: int = 0
    erased_payloads: int = 0
    members_until: str | None = ""
    """From when on the last of the members are due; None: a run has not ended. Empty: none are held."""

    def add(self, held: HeldEvent) -> None:
        """Count an event."""
        self.events += 1
        self.members += held.members
        self.erased_members += sum(part.members or 0 for part in held.erased)
        self.erased_payloads += sum(part.members is None for part in held.erased)
        if held.members:
            self.members_until = _later(self.members_until, held.kept_until.members)


def _later(one: str | None, other: str | None) -> str | None:
    """Return the later of two times: for ever is later than any, and before it what is not known yet."""
    if FOREVER in (one, other):
        return FOREVER
    return None if one is None or other is None else max(one, other)


@dataclass(frozen=True, slots=True)
class SubjectWorkflow:
    """A workflow with runs that were started for the person, in the order in which they began.

    `other_runs` were not started for the person: what they hold is not in the view. `exports` are the
    ``bundle_exported`` events of bundles of it, `holds` the legal holds that cover it.
    """

    workflow_id: str
    tenant_id: str | None
    runs: tuple[RunSummary, ...]
    other_runs: tuple[RunSummary, ...]
    exports: tuple[AnyEvent, ...]
    holds: tuple[Hold, ...]

    @property
    def started_at(self) -> str:
        """When the first of the runs began."""
        return min(run.started_at for run in self.runs)

    @property
    def last_at(self) -> str:
        """When the last event of the runs was sealed."""
        return max(run.last_at for run in self.runs)


class Mentioned(NamedTuple):
    """An event of a run that was not started for the person, and which of the texts stand in it."""

    event: AnyEvent
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubjectView:
    """What a log holds about a person. Make one with `subject_view`.

    Workflows are in memory, events are read when they are asked for.
    """

    log: EventLog
    user_id: str
    tenant_id: str | object | None
    created_at: str
    policy: RetentionPolicy
    mentions: Mentions
    workflows: tuple[SubjectWorkflow, ...]
    holds: tuple[Hold, ...]
    """The legal holds on this very person."""
    past_holds: tuple[AnyEvent, ...]
    """The records of such holds that were lifted, and still name the person."""

    def events(self, workflow: SubjectWorkflow) -> Iterator[HeldEvent]:
        """Yield the events of the person's runs in a workflow, in the order of the log.

        Raises:
            EvidenceError: An event was damaged.
        """
        ended = {run.run_id: end_of(run) for run in workflow.runs}
        erased = _erased_in(self.records(workflow))
        for event in self.log.query(
            EventQuery(workflow_id=workflow.workflow_id, tenant_id=workflow.tenant_id)
        ):
            if event.run_id in ended:
                until = kept_until(self.policy, event, ended[event.run_id])
                yield _held(event, erased.get(event.id, []), until)

    def records(self, workflow: SubjectWorkflow) -> Iterator[AnyEvent]:
        """Yield the events that record erasures in a workflow, of whatever run."""
        return self.log.query(
            EventQuery(
                workflow_id=workflow.workflow_id, tenant_id=workflow.tenant_id, types=tuple(sorted(ERASING))
            )
        )

    def mentioned(self, progress: Callable[[int], object] = lambda position: None) -> Iterator[Mentioned]:
        """Yield the events of other runs in which one of the texts stands; each event of the log is read.

        Args:
            progress: Is told the position up to which the log was read.

        Raises:
            EvidenceError: An event was damaged.
        """
        if not self.mentions:
            return
        own = {run.run_id for workflow in self.workflows for run in workflow.runs}
        for event in self.log.query(EventQuery(tenant_id=self.tenant_id)):
            if event.run_id not in own and (texts := self.mentions.find(event.opened())):
                yield Mentioned(event, texts)
            progress(event.position or 0)


def subject_view(
    log: EventLog,
    user_id: str,
    *,
    tenant_id: str | object | None = ANY_TENANT,
    mentions: Sequence[str] = (),
    policy: RetentionPolicy = DEFAULT_POLICY,
    clock: Callable[[], int] = time.time_ns,
) -> SubjectView:
    """Return what a log holds about a user; without workflows where the index does not know the user.

    Args:
        log: The log.
        user_id: The user, as runs were started for them.
        tenant_id: Only workflows of this tenant, or with None of none. The same id in two tenants may
            be two persons.
        mentions: Texts, such as a name or an e-mail address, to find the person in other runs by.
        policy: The retention policy that is in force.
        clock: Returns the time in nanoseconds since 1970.

    Raises:
        ValueError: A text to look for is empty.
    """
    texts = Mentions(mentions)
    holds = StandingHolds(log)
    run_ids: dict[WorkflowKey, set[str]] = {}
    for event in log.query(EventQuery(user_id=user_id, tenant_id=tenant_id, types=(RunStarted.type,))):
        run_ids.setdefault(WorkflowKey(event.workflow_id, event.tenant_id), set()).add(event.run_id)
    exports = exports_of(log, run_ids.keys())
    workflows = []
    for key, ids in run_ids.items():
        runs = log.runs(workflow_id=key.workflow_id, tenant_id=key.tenant_id)
        own = tuple(run for run in runs if run.run_id in ids)
        others = other_runs(log, key, ids)
        told = tuple(exports.get(key, ()))
        workflows.append(SubjectWorkflow(*key, own, others, told, holds.all_over(own[0])))
    return SubjectView(
        log,
        user_id,
        tenant_id,
        format_timestamp(clock()),
        policy,
        texts,
        tuple(workflows),
        holds.over_user(user_id, tenant_id),
        tuple(holds.past_records_of(user_id, tenant_id)),
    )


_Named = tuple[str, set[str] | None]
"""Which event records that digests, or a whole payload (None), were erased."""


def _erased_in(records: Iterator[AnyEvent]) -> dict[str, list[_Named]]:
    """Return by event id what these records name as erased."""
    named: dict[str, list[_Named]] = {}
    for record in records:
        for event_id, digests in targets_of(record.opened()).items():
            named.setdefault(event_id, []).append((record.id, digests))
    return named


def _held(event: AnyEvent, named: Sequence[_Named], until: KeptUntil) -> HeldEvent:
    """Return what of an event is held, and what was erased of it by which records."""
    if event.payload_json is None:
        erased = [Erased(by, None if digests is None else len(digests)) for by, digests in named]
        if all(digests is not None for _, digests in named):
            erased.append(Erased(None, None))
        return HeldEvent(event, 0, (), tuple(erased), until)
    payload = canonical.loads(event.payload_json)
    opened = open_payload(payload, event.disclosures, f"event {event.id}")
    # Of what a record names, members within others are not seen any more: they count with the outer ones.
    erased = [Erased(by, len(digests & opened.hidden) or len(digests)) for by, digests in named if digests]
    unexplained = opened.hidden.difference(*(digests or () for _, digests in named))
    if unexplained:
        erased.append(Erased(None, len(unexplained)))
    members = len(opened.shown.intersection(digests_in(payload)))
    return HeldEvent(event, members, tuple(members_in_clear(payload)), tuple(erased), until)
