"""Secret reports: the `SecretDetected` that is stored together with the event in which secrets were masked.

The event's group gets one for each form of secret and place: before the event, so that a terminal event
stays the last one, but behind ``run_started``, which is the first. They are no event of the publisher's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from evidence.chain import FIRST_TYPE
from tracebus.committed import Committed, commit
from tracebus.eventlog.base import AnyEvent, Draft
from tracebus.events import SecretDetected
from tracebus.secret_scanner import Finding, SecretScanner

if TYPE_CHECKING:
    from tracebus.run import Run

_FoundIn = Literal["prompt", "context", "response", "arguments", "result", "memory"]

MAX_PLACES: Final = 16
"""Where more secrets than these are found in an event, there is one report for each form, of the event."""

_IN_MEMBER: Final[dict[str | None, _FoundIn]] = {"arguments": "arguments", "result": "result"}
_IN_TYPE: Final[dict[str, _FoundIn]] = {
    "turn_started": "prompt",
    "context_compiled": "context",
    "model_call_started": "prompt",
    "model_call_completed": "response",
    "turn_completed": "response",
    "memory_proposed": "memory",
    "memory_written": "memory",
    "memory_retrieved": "memory",
}
_KEY_PREFIX: Final = "tracebus:secret:"
_LATER_NAMES: Final = ("agent_id", "turn_id", "key")
_NAMES: Final = ("run_id", "workflow_id", "tenant_id", *_LATER_NAMES)


class _Report(Committed):
    """The committed payload of a report, told by its class from one that somebody published."""

    __slots__ = ()


def is_report(draft: Draft) -> bool:
    """Tell whether a draft reports the secrets of another one in its group."""
    return isinstance(draft.committed, _Report)


def add_reports(drafts: list[Draft], run: Run, scanner: SecretScanner | None) -> list[Draft]:
    """Return a group with the reports of the secrets that were masked in it.

    Raises:
        ValueError: An id, a name or a key in a header, where nothing can be masked, holds a secret.
    """
    if scanner is None:
        return drafts
    _check_headers(drafts, run, scanner)
    if not any(draft.committed.findings for draft in drafts):
        return drafts
    group = []
    for draft in drafts:
        reports = _reports(draft, scanner)
        group += [draft, *reports] if draft.committed.type == FIRST_TYPE else [*reports, draft]
    return group


def without_reports(group: list[Draft], events: list[AnyEvent]) -> list[AnyEvent]:
    """Return the events of a group that are the publisher's own."""
    if len(group) == 1:
        return events
    return [event for draft, event in zip(group, events, strict=True) if not is_report(draft)]


def _check_headers(drafts: list[Draft], run: Run, scanner: SecretScanner) -> None:
    """Check what is new in the headers: a run that was begun in another way can still go on and end."""
    for draft in drafts:
        is_first = draft.committed.type == FIRST_TYPE
        for name in _NAMES if is_first else _LATER_NAMES:
            value = getattr(draft, name)
            if value is None or (value == run.agent_id and not is_first):
                continue
            if found := scanner.mask(value)[1]:
                raise ValueError(f"{name}: holds a secret ({', '.join(found)}), which cannot be masked there")


def _reports(draft: Draft, scanner: SecretScanner) -> list[Draft]:
    findings = draft.committed.findings
    if len(findings) > MAX_PLACES:
        found: Counter[str] = Counter()
        for finding in findings:
            found[finding.pattern_id] += finding.count
        findings = tuple(Finding(pattern_id, (), count) for pattern_id, count in found.items())
    return [_report(draft, finding, number, scanner) for number, finding in enumerate(findings)]


def _report(draft: Draft, finding: Finding, number: int, scanner: SecretScanner) -> Draft:
    event_type, path = draft.committed.type, finding.path
    payload = SecretDetected(
        pattern_id=finding.pattern_id,
        place_hash=scanner.place_hash(event_type, path),
        status="masked",
        found_in=(_IN_MEMBER.get(path[0]) if path else None) or _IN_TYPE.get(event_type),
        count=finding.count,
        detected_by=scanner.detected_by,
    )
    return draft._replace(
        committed=_Report(*commit(payload)),
        key=None if draft.key is None else _derived_key(draft.key, number),
        causes=(),
        user_id=None,
    )


def _derived_key(key: str, number: int) -> str:
    """Return the key of a report, which repeats when its event does, whatever keys the hash of the place."""
    return _KEY_PREFIX + hashlib.sha256(f"{key}\n{number}".encode()).hexdigest()
