"""Erasure: what of an event may go, and how it goes together with the record of it (ADR 0018).

What is erased are disclosures, the sensitive members, and where it is asked for whole payloads.
Headers and hashes stay, so chains, proofs and bundles that were made before still verify.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from evidence import canonical
from evidence.disclosure import digests_in, locate, parse_disclosure, referenced
from evidence.pattern import Paths, Pattern, matches_payload
from evidence.projection import ERASING, KEPT
from tracebus.eventlog.base import AnyEvent, Draft, ErasableLog, Erasure, Targets
from tracebus.events import ErasureTarget
from tracebus.holds import HOLD_TYPE, StandingHolds, WorkflowKey, refusal
from tracebus.payload import EventPayload
from tracebus.upkeep import LOG_WORKFLOW, RESERVED_PREFIX, log_run, workflow_run

NEVER_ERASED: Final = ERASING | {HOLD_TYPE}
"""The types of events that say what was erased, and what must not be: they stay, whatever is asked."""

Record = Callable[[list[ErasureTarget]], EventPayload]
"""Makes the event that records that these targets were erased."""

_MAX_RECORD_BYTES: Final = 256 * 1024  # of the 1 MiB that an event may have
_TARGET_BYTES: Final = 64  # {"digests":[],"eventId":"…26…"} and a comma
_DIGEST_BYTES: Final = 46
_MAX_DIGESTS: Final = (_MAX_RECORD_BYTES - _TARGET_BYTES) // _DIGEST_BYTES


def may_erase_payload(event_type: str) -> bool:
    """Tell whether whole payloads of a type are erased where it is asked for, by type or by age.

    Those that a bundle always shows are not: what was decided stays (ADR 0006). Of such an event the
    payload is erased only where the very event is named, and never that of one in `NEVER_ERASED`.
    """
    return event_type not in KEPT


def erasable_digests(event: AnyEvent, only: Sequence[Pattern] = ()) -> frozenset[str]:
    """Return the digests of an event's disclosures that may be erased: all that are held, nested ones too.

    Args:
        event: The event, as the log has it.
        only: Where there are any: only what these patterns mean, and what stands below it; where that
            cannot be taken by itself, what it stands in. A pattern without a member means all of its type.

    Raises:
        EvidenceError: The payload or a disclosure was damaged.
    """
    is_erasable = event.type not in NEVER_ERASED and not event.workflow_id.startswith(RESERVED_PREFIX)
    return _held_digests(event, only) if is_erasable else frozenset()


def past_hold_digests(event: AnyEvent, only: Sequence[Pattern] = ()) -> frozenset[str]:
    """Return the same of the record of a hold that stands no longer, which may name a person.

    Raises:
        ValueError: It is no record of a hold.
        EvidenceError: The payload or a disclosure was damaged.
    """
    if event.type != HOLD_TYPE:
        raise ValueError(f"event {event.id}: expected {HOLD_TYPE}, found {event.type}")
    return _held_digests(event, only)


def _held_digests(event: AnyEvent, only: Sequence[Pattern]) -> frozenset[str]:
    if not event.disclosures or event.payload_json is None:
        return frozenset()
    place = f"event {event.id}"
    held = [parse_disclosure(text, place) for text in event.disclosures]
    payload = canonical.loads(event.payload_json)
    located = locate(payload, held)
    if not only or matches_payload(only, event.type):
        return frozenset(item.digest for _, item in located)
    paths = Paths.of(only, event.type)
    kept = referenced(payload, [item for path, item in located if not paths.takes(path, item.value)])
    return frozenset(item.digest for _, item in located) - {item.digest for item in kept}


def count_members(event: AnyEvent, digests: Collection[str] | None = None) -> int:
    """Return how many members these disclosures of an event are, all that are held unless some are given.

    A member counts once, with those within it: so verifiers count, who do not see the inner ones.

    Raises:
        EvidenceError: A disclosure was damaged.
    """
    held = [parse_disclosure(text, f"event {event.id}") for text in event.disclosures]
    counted = [item for item in held if digests is None or item.digest in digests]
    within = {digest for item in counted for digest in digests_in(item.value)}
    return sum(item.digest not in within for item in counted)


class ErasureBatch:
    """Collects what is erased in one transaction: all of it, with its records, or nothing.

    Each workflow gets one maintenance run that records what goes from it.

    Args:
        log: The log.
        holds: The holds that stand, read before the events were: a hold that was recorded since makes
            `commit` refuse.
    """

    def __init__(self, log: ErasableLog, holds: StandingHolds) -> None:
        self._log = log
        self._holds = holds
        self._targets: dict[WorkflowKey, dict[Record, dict[str, frozenset[str] | None]]] = {}
        self._size = 0

    def __len__(self) -> int:
        """Return how many disclosures and whole payloads were added."""
        return self._size

    def add(self, event: AnyEvent, digests: frozenset[str] | None, record: Record) -> None:
        """Add disclosures of an event, or its whole payload (None), each event once.

        What is added with an equal `record` is recorded together.

        Raises:
            HoldStands: A hold covers the event.
            ValueError: Its whole payload is never erased.
        """
        is_kept = event.type in NEVER_ERASED or event.workflow_id.startswith(RESERVED_PREFIX)
        if digests is None and is_kept:
            raise ValueError(f"event {event.id}: the payload of this {event.type} is never erased")
        hold = self._holds.over(event)
        if hold is not None:
            raise refusal(hold, f"event {event.id}")
        by_record = self._targets.setdefault(WorkflowKey(event.workflow_id, event.tenant_id), {})
        by_record.setdefault(record, {})[event.id] = digests
        self._size += 1 if digests is None else len(digests)

    def commit(self) -> list[AnyEvent]:
        """Erase what was added; return the events that record it.

        Until the log is scrubbed, the bytes may still be in its files.

        Raises:
            AppendConflict: A legal hold was recorded since the holds were read; nothing was changed.
            UnknownEvent: Something is gone already, somebody else erased it; nothing was changed.
            AppendUnknown: It cannot be told whether it is done.
        """
        if not self._targets:
            return []
        targets: Targets = {
            event_id: digests
            for by_record in self._targets.values()
            for listed in by_record.values()
            for event_id, digests in listed.items()
        }
        records = [_run(workflow, by_record) for workflow, by_record in self._targets.items()]
        stored = self._log.erase(Erasure(targets, records, self._holds.as_of))
        return [event for event in stored if event.type in ERASING]


def _run(workflow: WorkflowKey, by_record: Mapping[Record, Targets]) -> list[Draft]:
    """Return the maintenance run of a workflow that records what is erased from it."""
    events = [record(part) for record, targets in by_record.items() for part in _parts(targets)]
    if workflow.workflow_id == LOG_WORKFLOW:
        return log_run(*events)
    return workflow_run(*workflow, *events)


def _parts(targets: Targets) -> Iterator[list[ErasureTarget]]:
    """Yield the targets in lists that one event has room for."""
    part: list[ErasureTarget] = []
    size = 0
    for target in _pieces(targets):
        target_size = _TARGET_BYTES + _DIGEST_BYTES * len(target.digests or ())
        if part and size + target_size > _MAX_RECORD_BYTES:
            yield part
            part, size = [], 0
        part.append(target)
        size += target_size
    if part:
        yield part


def _pieces(targets: Targets) -> Iterator[ErasureTarget]:
    """Yield what each event loses; an event that loses very much is named several times."""
    for event_id, digests in targets.items():
        if digests is None:
            yield ErasureTarget(event_id=event_id)
            continue
        listed = sorted(digests)
        for first in range(0, len(listed), _MAX_DIGESTS):
            yield ErasureTarget(event_id=event_id, digests=listed[first : first + _MAX_DIGESTS])
