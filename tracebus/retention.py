"""Retention: what has been kept for long enough is erased, on the record (ADR 0018).

::

    policy = parse_retention_policy(Path("retention.toml").read_bytes())
    report = apply_retention(log, policy, actor="nightly job")

How long that is, a policy says by type and tenant, counted from the end of the run
(schemas/retention-policy-v1.md). Time is the log's own: the timestamp of the run's last event, and not what
the source says of when something occurred.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, NamedTuple

from evidence.header import format_timestamp
from tracebus.erasure import (
    NEVER_ERASED,
    ErasureBatch,
    count_members,
    erasable_digests,
    may_erase_payload,
)
from tracebus.erasure_plan import scrub
from tracebus.errors import AppendConflict, UnknownEvent
from tracebus.eventlog.base import AnyEvent, ErasableLog, EventLog, EventQuery, RunSummary
from tracebus.events import ErasureTarget, RetentionApplied
from tracebus.holds import StandingHolds
from tracebus.in_clear import ClearShare, InClear
from tracebus.kept_texts import check_no_secret
from tracebus.period import Period
from tracebus.retention_policy import DEFAULT_POLICY, FOREVER, RetentionPolicy
from tracebus.times import to_timestamp
from tracebus.upkeep import RESERVED_PREFIX

DEFAULT_ACTOR: Final = "tracebus retention"

What = Literal["members", "payloads"]
"""What a period is about: sensitive members, or whole payloads."""

_STEP: Final = 2_000  # members and payloads in a transaction, during which nobody else can write
_ATTEMPTS: Final = 5


@dataclass(slots=True)
class Tally:
    """How much of how many events: whole payloads, and sensitive members of others.

    A member counts once, with those within it.
    """

    events: int = 0
    payloads: int = 0
    members: int = 0

    def add(self, event: AnyEvent, digests: frozenset[str] | None) -> None:
        """Count one event, of which these digests are meant, or the whole payload (None)."""
        self.events += 1
        if digests is None:
            self.payloads += 1
        else:
            self.members += count_members(event, digests)


@dataclass(frozen=True, slots=True)
class PeriodReport:
    """How much was due by one period of a rule; `rule` counts from 1."""

    rule: int
    what: What
    period: Period
    cutoff: str
    erased: Tally


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What was erased, or would have been where it was a rehearsal.

    `held` tells by hold id what was due and stays, `open_runs` how many runs were passed over because
    they have not ended, `records` how many ``retention_applied`` events tell of what was erased.
    `in_clear` is, by type, what a rehearsal finds in payloads that stay longer than their sensitive members.
    `not_scrubbed` says why its bytes may still be in the log's files; None: they are not.
    """

    policy: RetentionPolicy
    at: str
    is_rehearsal: bool
    periods: tuple[PeriodReport, ...]
    held: dict[str, Tally]
    open_runs: int
    records: int
    in_clear: dict[str, ClearShare]
    not_scrubbed: str | None = None

    @property
    def erased(self) -> Tally:
        """How much it is together."""
        parts = [part.erased for part in self.periods]
        return Tally(
            *(sum(getattr(part, name) for part in parts) for name in ("events", "payloads", "members"))
        )


class KeptUntil(NamedTuple):
    """From when on an event's sensitive members, and its payload, are due.

    ``forever`` where they are not; None where it cannot be told yet, for the run has not ended.
    """

    members: str | None
    payload: str | None


def apply_retention(
    log: EventLog,
    policy: RetentionPolicy = DEFAULT_POLICY,
    *,
    actor: str = DEFAULT_ACTOR,
    clock: Callable[[], int] = time.time_ns,
    progress: Callable[[int], object] = lambda events: None,
) -> RetentionReport:
    """Erase from a log what a policy does not keep any longer, record it in each workflow, and scrub.

    It is done in steps, each of which is whole or has not happened, so that it can be repeated after
    whatever stopped it. What a legal hold covers stays, also if the hold is placed meanwhile.

    Args:
        log: The log, open for writing.
        policy: The policy.
        actor: The service or person that applies it; each record names it.
        clock: Returns the time in nanoseconds since 1970.
        progress: Is told how many events were looked at or passed over.

    Raises:
        TypeError: The log cannot erase.
        ValueError: The actor is empty; or the actor, the policy's name or a legal basis, which the records
            keep, holds a credential.
        EventLogUnavailable: The log cannot be read or written now; repeat it.
        AppendUnknown: It cannot be told whether the last step is done; repeat it.
        EvidenceError: What is due was damaged; nothing of its step was erased.
    """
    if not isinstance(log, ErasableLog):
        raise TypeError(f"log: expected one that can erase, found {type(log).__name__}")
    if not actor.strip():
        raise ValueError("actor: expected a service or person, for the records, found nothing")
    check_no_secret(actor=actor, policy=policy.name)
    for rule in policy.rules:
        check_no_secret(legal_basis=rule.legal_basis)
    application = _Application(log, policy, format_timestamp(clock()), actor, progress)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            application.run(lambda holds: ErasureBatch(log, holds))
            break
        except (AppendConflict, UnknownEvent):  # a hold was placed meanwhile, or somebody else erased it
            if attempt == _ATTEMPTS:
                raise
    return replace(application.report(), not_scrubbed=scrub(log))


def rehearse_retention(
    log: EventLog,
    policy: RetentionPolicy = DEFAULT_POLICY,
    *,
    at: datetime | str | None = None,
    progress: Callable[[int], object] = lambda events: None,
) -> RetentionReport:
    """Return what `apply_retention` would erase at a time, now unless one is given; nothing is changed.

    Raises:
        ValueError: The time is none (`tracebus.times.to_timestamp`).
        EvidenceError: What is due was damaged.
    """
    now = format_timestamp(time.time_ns()) if at is None else to_timestamp(at)
    application = _Application(log, policy, now, DEFAULT_ACTOR, progress, is_rehearsal=True)
    application.run(lambda holds: None)
    return application.report()


def kept_until(policy: RetentionPolicy, event: AnyEvent, ended_at: str | None) -> KeptUntil:
    """Return how long a policy keeps what an event holds, if no legal hold keeps it for longer.

    Args:
        policy: The policy.
        event: The event.
        ended_at: When its run ended (`end_of`); None if it has not.
    """
    index = policy.decide(event.type, event.tenant_id)
    if index is None or event.type in NEVER_ERASED or event.workflow_id.startswith(RESERVED_PREFIX):
        return KeptUntil(FOREVER, FOREVER)
    rule = policy.rules[index]
    payload = rule.payloads if may_erase_payload(event.type) else None
    return KeptUntil(_due_at(rule.members, ended_at), _due_at(payload, ended_at))


def _due_at(period: Period | None, ended_at: str | None) -> str | None:
    if period is None:
        return FOREVER
    return None if ended_at is None else period.due_at(ended_at) or FOREVER


def end_of(run: RunSummary) -> str | None:
    """Return when a run ended, by the log's clock; None if it has not.

    Where that clock was set back while it ran, it is the later time.
    """
    return max(run.started_at, run.last_at) if run.status == "closed" else None


class _Clause:
    """One period of one rule at the time when it is applied; called, it makes the record of what it took."""

    def __init__(
        self, policy: RetentionPolicy, index: int, what: What, period: Period, now: str, actor: str
    ) -> None:
        self._policy = policy
        self._index = index
        self._actor = actor
        self.what = what
        self.period = period
        self.cutoff = period.cutoff(now)
        self.erased = Tally()

    def __call__(self, targets: list[ErasureTarget]) -> RetentionApplied:
        """Return the event that records that these targets were erased."""
        return RetentionApplied(
            actor=self._actor,
            policy=self._policy.name,
            version=self._policy.digest,
            rule=str(self._index + 1),
            period=self.period.text,
            cutoff=self.cutoff,
            legal_basis=self._policy.rules[self._index].legal_basis,
            targets=targets,
        )

    def report(self) -> PeriodReport:
        """Return what it took."""
        return PeriodReport(self._index + 1, self.what, self.period, self.cutoff, self.erased)


class _Due(NamedTuple):
    """What is due of an event: these digests, or the whole payload (None)."""

    event: AnyEvent
    clause: _Clause
    digests: frozenset[str] | None


class _Application:
    """One application of a policy at a time: run it as often as it takes to get to the end."""

    def __init__(
        self,
        log: EventLog,
        policy: RetentionPolicy,
        now: str,
        actor: str,
        progress: Callable[[int], object],
        *,
        is_rehearsal: bool = False,
    ) -> None:
        self._log = log
        self._is_rehearsal = is_rehearsal
        self._policy = policy
        self._now = now
        self._progress = progress
        self._clauses: dict[tuple[int, What], _Clause] = {}
        for index, rule in enumerate(policy.rules):
            periods: tuple[tuple[What, Period | None], ...]
            periods = (("members", rule.members), ("payloads", rule.payloads))
            for what, period in periods:
                if period is not None:
                    self._clauses[index, what] = _Clause(policy, index, what, period, now, actor)
        self._latest_cutoff = max((clause.cutoff for clause in self._clauses.values()), default="")
        self._held: dict[str, Tally] = {}
        self._open_runs = self._records = 0
        self._in_clear = InClear()

    def run(self, new_batch: Callable[[StandingHolds], ErasureBatch | None]) -> None:
        """Go through all runs; what is gone already is not due again."""
        holds = StandingHolds(self._log)
        self._held, self._open_runs = {}, 0
        step = _Step(new_batch(holds))
        for run in self._ended_runs():
            hold = holds.over(run)
            for due in self._due(run, self._in_clear if self._is_rehearsal and hold is None else None):
                if hold is not None:
                    self._held.setdefault(hold.hold_id, Tally()).add(due.event, due.digests)
                    continue
                step.add(due)
                if step.size >= _STEP:
                    self._records += step.commit()
                    step = _Step(new_batch(holds))
        self._records += step.commit()

    def report(self) -> RetentionReport:
        """Return what was done, or would have been."""
        periods = tuple(clause.report() for clause in self._clauses.values())
        return RetentionReport(
            self._policy,
            self._now,
            self._is_rehearsal,
            periods,
            self._held,
            self._open_runs,
            self._records,
            self._in_clear.shares(),
        )

    def _ended_runs(self) -> Iterator[RunSummary]:
        """Yield the runs that ended long enough ago for some period."""
        seen = 0
        for run in self._log.runs():
            ended_at = end_of(run)
            if run.workflow_id.startswith(RESERVED_PREFIX):
                pass
            elif ended_at is None:
                self._open_runs += 1
            elif ended_at < self._latest_cutoff:
                yield run
            seen += run.events
            self._progress(seen)

    def _due(self, run: RunSummary, in_clear: InClear | None) -> Iterator[_Due]:
        """Yield what is due of a run; what its payloads keep in the clear is counted, if it is to be."""
        ended_at = end_of(run)
        for event in self._log.query(EventQuery(run_id=run.run_id)):
            index = self._policy.decide(event.type, event.tenant_id)
            payloads = self._over(index, "payloads", ended_at)
            members = self._over(index, "members", ended_at)
            if payloads is not None and may_erase_payload(event.type):
                if event.payload_json is not None:
                    yield _Due(event, payloads, None)
            elif members is not None:
                if in_clear is not None:
                    in_clear.add(event)
                if digests := erasable_digests(event):
                    yield _Due(event, members, digests)

    def _over(self, index: int | None, what: What, ended_at: str | None) -> _Clause | None:
        """Return the clause of a rule whose period is over for a run that ended then."""
        clause = None if index is None else self._clauses.get((index, what))
        return clause if clause is not None and ended_at is not None and ended_at < clause.cutoff else None


class _Step:
    """What goes in one transaction; it counts when that is done. Without a batch it is only counted."""

    def __init__(self, batch: ErasureBatch | None) -> None:
        self._batch = batch
        self._due: list[_Due] = []
        self.size = 0

    def add(self, due: _Due) -> None:
        """Add what is due of an event."""
        if self._batch is not None:
            self._batch.add(due.event, due.digests, due.clause)
        self._due.append(due)
        self.size += 1 if due.digests is None else len(due.digests)

    def commit(self) -> int:
        """Erase it; return how many events record it."""
        records = 0 if self._batch is None else len(self._batch.commit())
        for due in self._due:
            due.clause.erased.add(due.event, due.digests)
        return records
