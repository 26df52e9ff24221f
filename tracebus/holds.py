"""Legal holds: which stand, what they cover, how they are placed and lifted (ADR 0018).

What stands is derived from the log's ``legal_hold_changed`` events: placed, and not released in the
workflow where it was placed. A hold on workflows is recorded in each of them; one on a tenant, on a
person or on the whole log in ``tracebus:log``. While a hold stands nothing that it covers is erased,
and what is recorded later is covered as well.

A hold on a person covers, whole, each workflow that has a run for them by the log's index of users:
child runs and later ones of the same workflow do not always say whom they are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from evidence import canonical
from evidence.disclosure import open_payload
from evidence.errors import LogDamaged
from evidence.header import is_name
from tracebus.errors import HoldStands
from tracebus.eventlog.base import ANY_TENANT, AnyEvent, Draft, EventLog, EventQuery
from tracebus.events import LegalHoldChanged, RunStarted
from tracebus.free_form import read_free_form
from tracebus.kept_texts import check_no_secret, check_unnamed
from tracebus.upkeep import LOG_WORKFLOW, RESERVED_PREFIX, log_run, workflow_run

HOLD_TYPE: Final = LegalHoldChanged.type


class WorkflowKey(NamedTuple):
    """A workflow: its id, and its tenant where it has one."""

    workflow_id: str
    tenant_id: str | None


class OfWorkflow(Protocol):
    """Anything that belongs to a workflow: an event, a run."""

    @property
    def workflow_id(self) -> str:
        """The workflow's id."""
        ...

    @property
    def tenant_id(self) -> str | None:
        """The workflow's tenant."""
        ...


class Extent(NamedTuple):
    """What a hold covers: one workflow; else the part of the log that tenant and user leave of it."""

    workflow: WorkflowKey | None = None
    tenant_id: str | None = None
    user_id: str | None = None

    def __str__(self) -> str:
        if self.workflow is not None:
            workflow_id, tenant_id = self.workflow
            return f"workflow {workflow_id}" + (f" of tenant {tenant_id}" if tenant_id is not None else "")
        parts = [f"user {self.user_id}"] if self.user_id is not None else []
        parts += [f"tenant {self.tenant_id}"] if self.tenant_id is not None else []
        return " of ".join(parts) or "the whole log"


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold that stands.

    `is_readable` is False where the record of it cannot be read in full, because a newer release wrote it
    or something of it is gone: it then covers the whole log.
    """

    hold_id: str
    placed_at: str
    actor: str
    reason: str | None
    matter: str | None
    review_at: str | None
    extents: tuple[Extent, ...]
    is_readable: bool = True

    def __str__(self) -> str:
        matter = f" for {self.matter}" if self.matter is not None else ""
        return f"hold {self.hold_id}, placed {self.placed_at[:19]}Z by {self.actor}{matter}"


class StandingHolds:
    """The holds that stand in a log, and what they cover, as of position `as_of`.

    Raises:
        LogDamaged: A record of a hold is gone, so that it cannot be told what stands.
    """

    def __init__(self, log: EventLog) -> None:
        self.as_of = log.last_position()
        placed: dict[tuple[WorkflowKey, str], list[AnyEvent]] = {}
        self._past: list[AnyEvent] = []
        for event in log.query(EventQuery(types=(HOLD_TYPE,))):
            hold_id, change = _identity(event)
            key = WorkflowKey(event.workflow_id, event.tenant_id), hold_id
            if change == "placed":
                placed.setdefault(key, []).append(event)
            else:
                self._past += [*placed.pop(key, ()), event]
        self._places: dict[str, list[WorkflowKey]] = {}
        by_id: dict[str, list[AnyEvent]] = {}
        for (workflow, hold_id), events in placed.items():
            self._places.setdefault(hold_id, []).append(workflow)
            by_id.setdefault(hold_id, []).extend(events)
        self.holds = tuple(_hold(hold_id, events) for hold_id, events in by_id.items())
        self._by_extent: dict[Extent, list[Hold]] = {}
        for hold in self.holds:
            for extent in hold.extents:
                self._by_extent.setdefault(extent, []).append(hold)
        self._users = _held_users(log, self.holds)

    def __iter__(self) -> Iterator[Hold]:
        return iter(self.holds)

    def find(self, hold_id: str) -> Hold | None:
        """Return the hold of an id, if it stands."""
        return next((hold for hold in self.holds if hold.hold_id == hold_id), None)

    def over(self, item: OfWorkflow) -> Hold | None:
        """Return a hold that covers the workflow that an event or a run belongs to."""
        return next(self._over(item), None)

    def all_over(self, item: OfWorkflow) -> tuple[Hold, ...]:
        """Return all the holds that cover the workflow that an event or a run belongs to."""
        return tuple(dict.fromkeys(self._over(item)))

    def _over(self, item: OfWorkflow) -> Iterator[Hold]:
        for extent in self.extents_over(item):
            yield from self._by_extent.get(extent, ())

    def extents_over(self, item: OfWorkflow) -> Iterator[Extent]:
        """Yield each extent that covers the workflow that an event or a run belongs to."""
        key = WorkflowKey(item.workflow_id, item.tenant_id)
        yield Extent(key)
        for user_id in (None, *self._users.get(key, ())):
            for tenant_id in (None, key.tenant_id):
                yield Extent(None, tenant_id, user_id)

    def over_user(self, user_id: str, tenant_id: str | object | None = ANY_TENANT) -> tuple[Hold, ...]:
        """Return the holds on this very person, whatever the log has of them; of a tenant, or of any."""
        return tuple(
            hold
            for hold in self.holds
            if any(
                extent.user_id == user_id and _is_of(tenant_id, extent.tenant_id) for extent in hold.extents
            )
        )

    def places(self, hold_id: str) -> Sequence[WorkflowKey]:
        """Return the workflows in which a hold is recorded."""
        return self._places.get(hold_id, ())

    def past_records_of(
        self, user_id: str, tenant_id: str | object | None = ANY_TENANT
    ) -> Iterator[AnyEvent]:
        """Yield the records that still name a person, of holds on them that no longer stand."""
        for event in self._past:
            said = event.opened()
            if said.get("userId") == user_id and _is_of(tenant_id, said.get("tenantId")):
                yield event


def _is_of(asked: str | object | None, tenant_id: str | None) -> bool:
    """Tell whether a hold on a tenant, or on all (None), is among those that are asked for."""
    return asked is ANY_TENANT or tenant_id in (None, asked)


def refusal(hold: Hold, what: str) -> HoldStands:
    """Return the error that says why something is not erased."""
    covered = ", ".join(map(str, hold.extents[:3])) + (" …" if len(hold.extents) > 3 else "")
    return HoldStands(
        f"{what} is not erased: {hold}, stands over {covered}; nothing was changed. "
        f"tracebus hold lift {hold.hold_id} ends it, on the record"
    )


def _identity(event: AnyEvent) -> tuple[str, str]:
    """Return the id of the hold that an event is about, and the change.

    A change that cannot be read in full counts as placed, for a hold covers more then and never less.

    Raises:
        LogDamaged: The event does not say which hold it is about.
    """
    hold_id = event.opened().get("holdId")
    if not isinstance(hold_id, str):
        raise LogDamaged(f"event {event.id}", "a legal hold was changed, and the record of it is gone")
    payload = event.payload
    is_release = isinstance(payload, LegalHoldChanged) and payload.change == "released"
    return hold_id, "released" if is_release else "placed"


def _hold(hold_id: str, records: Sequence[AnyEvent]) -> Hold:
    """Return the hold that these records, all of them standing, place."""
    newest = {name: read_free_form(value) for name, value in records[-1].opened().items()}
    is_readable = all(map(_is_readable, records))
    return Hold(
        hold_id=hold_id,
        placed_at=records[0].timestamp,
        actor=str(newest.get("actor")),
        reason=_text(newest.get("reason")),
        matter=_text(newest.get("matter")),
        review_at=_text(newest.get("reviewAt")),
        extents=tuple(dict.fromkeys(map(_extent, records))) if is_readable else (Extent(),),
        is_readable=is_readable,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _is_readable(record: AnyEvent) -> bool:
    payload = record.payload_json
    if payload is None or not isinstance(record.payload, LegalHoldChanged):
        return False
    return not open_payload(canonical.loads(payload), record.disclosures, f"event {record.id}").hidden


def _extent(record: AnyEvent) -> Extent:
    payload = record.payload
    assert isinstance(payload, LegalHoldChanged)  # noqa: S101 (`_is_readable` says so)
    if record.workflow_id == LOG_WORKFLOW:
        return Extent(None, payload.tenant_id, payload.user_id)
    return Extent(WorkflowKey(record.workflow_id, record.tenant_id))


def _held_users(log: EventLog, holds: Sequence[Hold]) -> dict[WorkflowKey, set[str]]:
    """Return for which held persons a workflow has runs."""
    users: dict[WorkflowKey, set[str]] = {}
    held = {extent.user_id for hold in holds for extent in hold.extents} - {None}
    for user_id in held:
        for event in log.query(EventQuery(user_id=user_id, types=(RunStarted.type,))):
            users.setdefault(WorkflowKey(event.workflow_id, event.tenant_id), set()).add(str(user_id))
    return users


def place_hold(
    log: EventLog, change: LegalHoldChanged, workflows: Sequence[WorkflowKey] = ()
) -> list[AnyEvent]:
    """Record a hold, in all of these workflows or in ``tracebus:log``; return the events.

    Args:
        log: The log.
        change: The hold; its `change` is ``placed``.
        workflows: What it covers; none where tenant, user or the whole log are held.

    Raises:
        ValueError: Its id or its tenant is no name, or its id is that of a hold that stands; id, actor,
            reason or matter, which stay when it is lifted, name the user or hold a credential;
            workflows are given beside a tenant or a user; or one of them is the log's own, or not in
            the log.
    """
    if not is_name(change.hold_id):
        raise ValueError(
            "hold: expected 1-256 bytes, in Unicode form NFC, without control characters, "
            f"found {change.hold_id!r:.80}"
        )
    if change.tenant_id is not None and not is_name(change.tenant_id):
        raise ValueError(f"hold: no workflow can be of tenant {change.tenant_id!r:.80}")
    _check_texts(change, change.user_id)
    check_no_secret(user=change.user_id)
    if any(workflow_id.startswith(RESERVED_PREFIX) for workflow_id, _ in workflows):
        raise ValueError("hold: nothing of the log's own workflow is erased, with or without a hold")
    if workflows and (change.tenant_id is not None or change.user_id is not None):
        raise ValueError("hold: expected workflows, or a tenant or user, found both")
    if (standing := StandingHolds(log).find(change.hold_id)) is not None:
        raise ValueError(f"{standing}, stands already: choose another id, or lift it first")
    for workflow_id, tenant_id in workflows:
        if next(log.runs(workflow_id=workflow_id, tenant_id=tenant_id), None) is None:
            raise ValueError(f"the log has no {Extent(WorkflowKey(workflow_id, tenant_id))}")
    return _record(log, change, workflows)


def lift_hold(log: EventLog, change: LegalHoldChanged) -> list[AnyEvent]:
    """Record that a hold ends, wherever it was placed; return the events.

    Args:
        log: The log.
        change: Which hold, by whom and why; its `change` is ``released``.

    Raises:
        ValueError: No such hold stands; or actor or reason, which stay, name the user or hold a
            credential.
    """
    _check_texts(change, None)
    standing = StandingHolds(log)
    hold = standing.find(change.hold_id)
    if hold is None:
        raise ValueError(f"no hold {change.hold_id} stands; tracebus hold list says which do")
    for extent in hold.extents:
        _check_texts(change, extent.user_id)
    return _record(log, change, standing.places(change.hold_id))


def _check_texts(change: LegalHoldChanged, user_id: str | None) -> None:
    """Check that what stays of the record of a hold names neither a credential nor the person it is about."""
    texts = {"hold": change.hold_id, "actor": change.actor, "reason": change.reason}
    check_no_secret(matter=change.matter, **texts)
    if user_id is not None:
        check_unnamed(user_id, matter=change.matter, **texts)


def _record(log: EventLog, change: LegalHoldChanged, workflows: Sequence[WorkflowKey]) -> list[AnyEvent]:
    """Append the maintenance runs that record a change, all of them or none."""
    drafts: list[Draft] = []
    for workflow_id, tenant_id in workflows or [WorkflowKey(LOG_WORKFLOW, None)]:
        drafts += (
            log_run(change) if workflow_id == LOG_WORKFLOW else workflow_run(workflow_id, tenant_id, change)
        )
    (outcome,) = log.append([drafts])
    if isinstance(outcome, Exception):
        raise outcome
    return [event for event in outcome if event.type == HOLD_TYPE]
