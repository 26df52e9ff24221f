"""The events of a workflow as they are read: those of a log, and those of a verified bundle, alike.

An entry has the committed payload and the disclosures that are there. What is not there is counted,
with the reason that the source gives: the bundle's signed scope, or the log's records of erasures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple

from evidence import canonical
from evidence.bundle import EvidenceBundle, without_payload
from evidence.disclosure import SALT, open_payload
from evidence.errors import EvidenceError, MalformedInput
from evidence.header import Header
from evidence.printable import counted
from evidence.projection import ERASING
from evidence.scope import targets_of
from tracebus.eventlog import AnyEvent, EventLog, EventQuery, RunSummary

State = Literal["withheld", "erased", "removed"]


class Hidden(NamedTuple):
    """A part of an event that cannot be read: so many sensitive members, or the whole payload (None).

    `why` is the signer's reason for what is withheld, the id of the event that records it for what is
    erased; None for what a holder removed, and for what is gone without a record of it.
    """

    state: State
    members: int | None
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        part = {"payload": True} if self.members is None else {"members": self.members}
        why = {"withheld": {"reason": self.why}, "erased": {"by": self.why}, "removed": {}}
        return {"state": self.state, **part, **why[self.state]}

    def __str__(self) -> str:
        count = self.members
        part = "payload" if count is None else counted(count, "member")
        if self.state == "withheld":
            return f"{part} withheld: {self.why}"
        if self.state == "removed":
            return f"{part} removed by a holder"
        if self.why is None:
            return f"{part} gone, and no event records it: run tracebus fsck"
        return f"{part} erased by {self.why}"


class Reasons:
    """Why parts of events are hidden, as far as their source says; `otherwise`: what the rest is."""

    def __init__(self, otherwise: State) -> None:
        self._otherwise = otherwise
        self._payloads: dict[str, Hidden] = {}
        self._members: dict[str, list[tuple[State, str, frozenset[str]]]] = {}

    def add(self, state: State, event_id: str, digests: Iterable[str] | None, why: str) -> None:
        """Add the reason for these sensitive members of an event, or for its whole payload (None)."""
        if digests is None:
            self._payloads.setdefault(event_id, Hidden(state, None, why))
        else:
            self._members.setdefault(event_id, []).append((state, why, frozenset(digests)))

    def of(self, event_id: str, hidden: frozenset[str] | None) -> tuple[Hidden, ...]:
        """Return what is hidden of an event whose payload refers to digests without a disclosure.

        What is listed counts even where it stands below another hidden member. None: the payload is hidden.
        """
        if hidden is None:
            return (self._payloads.get(event_id, Hidden(self._otherwise, None)),)
        counts: Counter[tuple[State, str | None]] = Counter()
        for state, why, digests in self._members.get(event_id, ()):
            counts[state, why] += len(digests)
            hidden -= digests
        if hidden:
            counts[self._otherwise, None] += len(hidden)
        return tuple(Hidden(state, count, why) for (state, why), count in counts.items())


class Reading(NamedTuple):
    """What an event says, by wire names; None where its payload is hidden. And what is hidden of it."""

    members: Mapping[str, Any] | None
    hidden: tuple[Hidden, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: its header, its payload as it is stored, and the disclosures that are there."""

    header: Header
    stored: bytes | Mapping[str, Any] | None
    disclosures: tuple[str, ...]
    reasons: Reasons

    @property
    def type(self) -> str:
        """The event's type."""
        return str(self.header["type"])

    def committed(self) -> Mapping[str, Any] | None:
        """Return the committed payload, with digests in place of sensitive members; None where it is hidden.

        Raises:
            MalformedInput: It was damaged.
        """
        if not isinstance(self.stored, bytes):
            return self.stored
        payload = canonical.loads_canonical(self.stored)
        if not isinstance(payload, dict):
            raise MalformedInput(f"event {self.header['id']}", f"expected an object, found {payload!r:.80}")
        return payload

    def read(self) -> Reading:
        """Return what the event says, and what is hidden of it.

        Raises:
            EvidenceError: It was damaged.
        """
        event_id, payload = self.header["id"], self.committed()
        if payload is None:
            return Reading(None, self.reasons.of(event_id, None))
        opened = open_payload(payload, self.disclosures, f"event {event_id}")
        members = {name: value for name, value in opened.value.items() if name != SALT}
        return Reading(members, self.reasons.of(event_id, opened.hidden))


class ShownRun(NamedTuple):
    """A run at a glance, and its events, to be read once."""

    summary: RunSummary
    entries: Iterator[Entry]


def runs_of_log(log: EventLog, workflow_id: str, tenant_id: str | None) -> Iterator[ShownRun]:
    """Yield the runs of a workflow of a log; memory stays flat however many events they have."""
    reasons = _erased_in(log, workflow_id, tenant_id)
    for run in list(log.runs(workflow_id=workflow_id, tenant_id=tenant_id)):
        events = log.query(EventQuery(run_id=run.run_id))
        yield ShownRun(run, (_entry(event, reasons) for event in events))


def _entry(event: AnyEvent, reasons: Reasons) -> Entry:
    return Entry(event.header, event.payload_json, event.disclosures, reasons)


def _erased_in(log: EventLog, workflow_id: str, tenant_id: str | None) -> Reasons:
    """Return what the events of a workflow record as erased; those that were damaged record nothing."""
    reasons = Reasons(otherwise="erased")
    types = tuple(sorted(ERASING))
    for event in log.query(EventQuery(workflow_id=workflow_id, tenant_id=tenant_id, types=types)):
        with suppress(EvidenceError):
            for event_id, digests in targets_of(_entry(event, reasons).read().members or {}).items():
                reasons.add("erased", event_id, digests, event.id)
    return reasons


def runs_of_bundle(bundle: EvidenceBundle) -> Iterator[ShownRun]:
    """Yield the runs of a bundle that was verified."""
    tree = bundle.tree
    reasons = _listed_in(tree["scope"])
    for _, group in groupby(tree["events"], lambda event: event["runId"]):
        entries = [
            Entry(
                without_payload(event),
                event.get("payload"),
                tuple(tree["disclosures"].get(event["id"], ())),
                reasons,
            )
            for event in group
        ]
        yield ShownRun(_summary([entry.header for entry in entries]), iter(entries))


def _summary(headers: list[Header]) -> RunSummary:
    first, last = headers[0], headers[-1]
    return RunSummary(
        run_id=first["runId"],
        workflow_id=first["workflowId"],
        tenant_id=first.get("tenantId"),
        events=len(headers),
        started_at=first["timestamp"],
        last_at=last["timestamp"],
        last_type=last["type"],
    )


def _listed_in(scope: Mapping[str, Any]) -> Reasons:
    """Return what a bundle's signed scope lists as withheld and erased; the rest a holder removed."""
    reasons = Reasons(otherwise="removed")
    states: tuple[tuple[State, str], ...] = (("withheld", "reason"), ("erased", "by"))
    for state, why in states:
        for listed in (*scope[state]["payloads"], *scope[state]["disclosures"]):
            reasons.add(state, listed["eventId"], listed.get("digests"), listed[why])
    return reasons
