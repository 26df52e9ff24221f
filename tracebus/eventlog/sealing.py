"""Sealing: what every event log does alike to give events their place, id, time and hashes.

A log calls `Batch` within the transaction that stores what it returns, so that an event is sealed
against the very head that it follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from evidence import canonical
from evidence.chain import FIRST_TYPE, RunHead, follow
from evidence.digest import SHA256, hasher
from evidence.disclosure import open_payload
from evidence.errors import EvidenceError
from evidence.header import EVENT_VERSION, Header, format_timestamp
from tracebus.committed import content_of
from tracebus.errors import AppendConflict, KeyConflict, PublishError, RunClosed, RunExists, UnknownRun
from tracebus.event import TraceEvent
from tracebus.eventlog.base import AnyEvent, Draft
from tracebus.ids import MonotonicIds, NewId
from tracebus.secret_reports import is_report

# Header fields that are there if the draft says something of them.
_OPTIONAL: Final = ("tenantId", "agentId", "turnId", "occurredAt", "risk", "key", "causes")
_optional_values = attrgetter("tenant_id", "agent_id", "turn_id", "occurred_at", "risk", "key", "causes")


def add_optional_fields(header: Header, draft: Draft) -> None:
    """Add to a header the fields that the publisher may leave out."""
    for name, value in zip(_OPTIONAL, _optional_values(draft), strict=True):
        if value:
            header[name] = list(value) if name == "causes" else value


class Sealer:
    """Seals drafts: gives each its place in its run, its id, its time and its hashes.

    What it seals follows from the head by the same rules that a verifier applies
    (`evidence.chain.follow`). It keeps no state of runs.
    """

    def __init__(
        self,
        origin: str,
        algorithm: str = SHA256,
        *,
        clock: Callable[[], int] = time.time_ns,
        new_id: NewId | None = None,
    ) -> None:
        self._origin = origin
        self._digest = hasher(algorithm)
        self._clock = clock
        self._new_id = new_id or MonotonicIds()

    def seal(self, draft: Draft, head: RunHead | None) -> tuple[Header, RunHead]:
        """Return the header of the sealed event, and the head that it makes.

        Raises:
            RunExists, UnknownRun, RunClosed, AppendConflict: It may not follow this head.
        """
        check_admission(draft, head)
        now = self._clock()
        header: Header = {
            "version": EVENT_VERSION,
            "log": self._origin,
            "id": self._new_id(now, head.event_id if head else None),
            "runId": draft.run_id,
            "seq": head.seq + 1 if head else 0,
            "workflowId": draft.workflow_id,
            "type": draft.committed.type,
            "timestamp": format_timestamp(now),
            "contentHash": self._digest(draft.committed.payload),
        }
        if head is not None:
            header["parentHash"] = head.event_hash
        add_optional_fields(header, draft)
        return header, follow(head, header)


def check_admission(draft: Draft, head: RunHead | None) -> None:
    """Check that a run in this state takes this event.

    Raises:
        RunExists, UnknownRun, RunClosed, AppendConflict: It does not.
    """
    starts = draft.committed.type == FIRST_TYPE
    if head is None:
        if not starts:
            raise UnknownRun(draft.run_id, "the log has no such run; begin it with start_run() or run()")
        return
    if starts:
        raise RunExists(draft.run_id, "the log has this run already; resume_run() goes on with it")
    if head.closed:
        raise RunClosed(draft.run_id, f"ended at seq {head.seq}; start a new run of the workflow")
    if draft.expected_head not in (None, head.event_hash):
        raise AppendConflict(draft.run_id, f"expected head {draft.expected_head}, found {head.event_hash}")


class Batch:
    """Groups of drafts on their way into a log, sealed one after another.

    The heads that the batch makes count for the rest of it; the log takes them over when it has
    stored `stored`.

    Args:
        sealer: Seals the drafts.
        find_head: Returns the head that a run has in the log.
        find_key: Returns the event that a run has under a key, in the log.
    """

    def __init__(
        self,
        sealer: Sealer,
        find_head: Callable[[str], RunHead | None],
        find_key: Callable[[str, str], AnyEvent | None],
    ) -> None:
        self._sealer = sealer
        self._find_head = find_head
        self._find_key = find_key
        self._keyed: dict[tuple[str, str], AnyEvent] = {}
        self.heads: dict[str, RunHead] = {}
        self.stored: list[tuple[Draft, AnyEvent]] = []

    def add(self, group: Sequence[Draft]) -> list[AnyEvent] | Exception:
        """Seal a group; return its events, or why it is refused, and then nothing of it counts."""
        heads, keyed = dict[str, RunHead](), dict[tuple[str, str], AnyEvent]()
        stored: list[tuple[Draft, AnyEvent]] = []
        events: list[AnyEvent] = []
        try:
            for draft in group:
                run_id, key = draft.run_id, draft.key
                if key is not None:
                    known = keyed.get((run_id, key)) or self._keyed.get((run_id, key))
                    if known := known or self._find_key(run_id, key):
                        events.append(_repeat(draft, known))
                        continue
                head = heads.get(run_id) or self.heads.get(run_id) or self._find_head(run_id)
                header, heads[run_id] = self._sealer.seal(draft, head)
                event: AnyEvent = TraceEvent(header, draft.committed.payload, draft.committed.disclosures)
                events.append(event)
                stored.append((draft, event))
                if key is not None:
                    keyed[run_id, key] = event
        except (PublishError, EvidenceError) as error:
            return error
        self.heads |= heads
        self._keyed |= keyed
        self.stored += stored
        return events


def _repeat(draft: Draft, stored: AnyEvent) -> AnyEvent:
    """Return the stored event that a draft with the same key repeats.

    Where something of the stored event was erased, only the types are compared; of a report of secrets, too,
    for it says where they were in a way that another process cannot repeat.
    """
    same = (stored.type, stored.workflow_id, stored.tenant_id) == (
        draft.committed.type,
        draft.workflow_id,
        draft.tenant_id,
    )
    if same and stored.payload_json is not None and not is_report(draft):
        payload, disclosures = draft.committed.payload, draft.committed.disclosures
        kept = open_payload(canonical.loads(stored.payload_json), stored.disclosures, "stored")
        if not kept.hidden:
            same = content_of(stored.payload_json, stored.disclosures) == content_of(payload, disclosures)
    if not same:
        raise KeyConflict(
            draft.run_id, f"key {draft.key} stands for another event, {stored.type} {stored.id}"
        )
    return stored
