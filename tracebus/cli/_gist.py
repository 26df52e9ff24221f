r"""The gist of an event: what a reader of a timeline needs of its payload, in one line.

What stands in payloads was written by models, tools and users. None of it reaches a terminal as it
is: control characters, escapes and bidi overrides are shown as ``\x1b``, ``\u202e`` (`printable`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from evidence.printable import counted, printable
from evidence.scope import targets_of
from tracebus.free_form import read_free_form

MAX_TEXT: Final = 80
"""How many characters of one member are shown."""

# What a type is told by, in this order; the first members without their names.
_LEADING: Final = {
    "run_started": ("kind",),
    "run_completed": ("outcome",),
    "turn_started": (),
    "turn_completed": ("outcome",),
    "context_compiled": (),
    "model_call_started": ("model",),
    "model_call_completed": ("model", "status"),
    "tool_proposed": ("tool",),
    "tool_executed": ("tool", "status"),
    "policy_decision": ("decision", "policy"),
    "gate_verdict": ("verdict", "gate"),
    "policy_violation": ("policy", "status"),
    "approval_requested": ("action", "tool"),
    "approval_resolved": ("verdict", "actor"),
    "human_override": ("action", "actor"),
    "escalation": ("reason",),
    "branch_decision": ("chosen",),
    "handoff": ("targetAgent",),
    "interrupted": ("reason",),
    "resumed": ("responder",),
    "secret_detected": ("status", "patternId"),
    "security_event": ("kind", "status"),
    "error": ("kind", "message"),
    "recording_gap": ("reason",),
    "data_erased": ("actor",),
    "retention_applied": ("policy", "rule"),
    "legal_hold_changed": ("change", "holdId", "actor"),
}
# What a line has no room for: digests, and what belongs to the run as a whole.
_LEFT_OUT: Final = frozenset(
    {"callId", "requestId", "recorder", "framework", "clock", "coverage", "capture", "index"}
)
# Of these objects one member says enough.
_TOLD_BY_MEMBER: Final = {"source": "name", "previous": "runId"}

_shorten_digests = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b").sub


def gist(event_type: str, members: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an event is told by, and its other members, both fit for a terminal.

    Args:
        event_type: The event's type.
        members: What its payload says, by wire names.
    """
    rest = {name: read_free_form(value) for name, value in members.items()}
    leading = [name for name in _LEADING.get(event_type, ()) if name in rest]
    told_by = " ".join(_shorten(rest.pop(name)) for name in leading)
    return told_by, "  ".join(_others(rest))


def _others(members: Mapping[str, Any]) -> Iterator[str]:
    for name, value in members.items():
        if name not in _LEFT_OUT and not name.lower().endswith("digest"):
            yield f"{_shorten(name)}: {_shorten(_told(name, value))}"


def _told(name: str, value: Any) -> Any:
    """Return what a member is told by: itself, or what a line has room for."""
    if name == "targets":
        return _count(value)
    is_told_by_one = name in _TOLD_BY_MEMBER and isinstance(value, dict)
    return value.get(_TOLD_BY_MEMBER[name]) if is_told_by_one else value


def _count(targets: Any) -> str:
    """Return how much an erasing event names: members and whole payloads."""
    named = targets_of({"targets": targets}).values()
    payloads = sum(digests is None for digests in named)
    members = sum(len(digests) for digests in named if digests is not None)
    counts = ((members, "member"), (payloads, "payload"))
    return ", ".join(counted(count, noun) for count, noun in counts if count)


def _shorten(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "nested too deep to show"
    text = _shorten_digests(r"\1…", text[: MAX_TEXT * 4])
    text = " ".join(text.split()) if "\n" in text[:MAX_TEXT] else text
    return printable(text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…")
