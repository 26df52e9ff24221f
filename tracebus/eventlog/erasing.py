"""What an erasure takes of each event, and what it has to keep to, whatever the log stores events in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from evidence import canonical
from evidence.chain import FIRST_TYPE
from evidence.disclosure import SD, Disclosure, open_payload, parse_disclosure, referenced
from evidence.projection import ERASING
from evidence.scope import Targets, is_target, targets_of
from tracebus.errors import AppendConflict, UnknownEvent
from tracebus.eventlog.base import AnyEvent, Draft, Erasure

HOLD_TYPE: Final = "legal_hold_changed"

_Workflow = tuple[str, str | None]
_USER_ID: Final = "userId"


class Records:
    """What the records of an erasure name, by workflow: nothing goes that they do not name.

    Raises:
        ValueError: There is nothing to erase, or no record of it.
    """

    def __init__(self, erasure: Erasure) -> None:
        if not erasure.targets or not all(digests is None or digests for digests in erasure.targets.values()):
            raise ValueError("targets: expected something to erase, of each event that is named")
        self._named: dict[_Workflow, Targets] = {}
        for draft in (draft for group in erasure.records for draft in group):
            if draft.committed.type in ERASING:
                named = self._named.setdefault((draft.workflow_id, draft.tenant_id), {})
                for event_id, digests in targets_of(_opened(draft)).items():
                    known = named.setdefault(event_id, set())
                    named[event_id] = None if known is None or digests is None else known | digests
        if not self._named:
            raise ValueError(
                f"records: expected events of the types {', '.join(sorted(ERASING))}, found none"
            )

    def check(self, event: AnyEvent, digests: frozenset[str] | None) -> None:
        """Check that the records name what is to be erased of an event.

        Raises:
            ValueError: They do not.
        """
        named = self._named.get((event.workflow_id, event.tenant_id), {})
        if not is_target(named, event.id, digests):
            shown = "its payload" if digests is None else min(digests - (named.get(event.id) or set()))
            raise ValueError(
                f"event {event.id}: no record in workflow {event.workflow_id} names {shown} as erased"
            )


def _opened(draft: Draft) -> Mapping[str, object]:
    committed = draft.committed
    opened = open_payload(canonical.loads(committed.payload), committed.disclosures, committed.type).value
    return opened if isinstance(opened, dict) else {}


def chosen(event: AnyEvent, digests: frozenset[str] | None) -> frozenset[str]:
    """Return which of an event's disclosures go, as encoded texts: all, if the whole payload does.

    Raises:
        UnknownEvent: It does not have the payload, or a disclosure, any more or at all.
        ValueError: A disclosure would be left that belongs to one that goes.
        EvidenceError: A payload or a disclosure was damaged.
    """
    if event.payload_json is None:
        raise UnknownEvent(f"event {event.id}: its payload was erased already")
    if digests is None:
        return frozenset(event.disclosures)
    held = [parse_disclosure(text, f"event {event.id}") for text in event.disclosures]
    missing = digests - {disclosure.digest for disclosure in held}
    if missing:
        raise UnknownEvent(f"event {event.id}: holds no disclosure {min(missing)}, or not any more")
    _check_nested(event, held, digests)
    return frozenset(disclosure.text for disclosure in held if disclosure.digest in digests)


def _check_nested(event: AnyEvent, held: list[Disclosure], digests: frozenset[str]) -> None:
    """Check that what stands within an erased disclosure is erased by its own digest."""
    kept = [disclosure for disclosure in held if disclosure.digest not in digests]
    if not kept:
        return
    payload = canonical.loads(event.payload_json or b"")
    lost = {d.digest for d in referenced(payload, held)} - digests
    lost -= {d.digest for d in referenced(payload, kept)}
    if lost:
        raise ValueError(
            f"event {event.id}: disclosure {min(lost)} stands within one that is to be erased: name it, too"
        )


def takes_user(event: AnyEvent, digests: frozenset[str] | None) -> bool:
    """Tell whether the run's entry in the index of users goes: with the ``userId`` of its first event."""
    if event.type != FIRST_TYPE:
        return False
    if digests is None:
        return True
    named = canonical.loads(event.payload_json or b"").get(SD, [])
    held = (parse_disclosure(text, f"event {event.id}") for text in event.disclosures)
    return any(d.name == _USER_ID and d.digest in digests and d.digest in named for d in held)


def hold_since(event: AnyEvent, planned_at: int) -> AppendConflict:
    """Return the refusal of an erasure that was planned before a legal hold was recorded."""
    return AppendConflict(
        event.run_id,
        f"a legal hold was changed at position {event.position}, and the erasure was planned at position "
        f"{planned_at}: plan it again",
    )


def stored_events(outcomes: Iterable[list[AnyEvent] | Exception]) -> list[AnyEvent]:
    """Return the events of all groups, or raise why one was refused."""
    events: list[AnyEvent] = []
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        events += outcome
    return events
