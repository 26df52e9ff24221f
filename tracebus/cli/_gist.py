r"""The gist of an event: what a reader of a timeline needs of its payload, in one line.

What stands in payloads was written by models, tools and users. None of it reaches a terminal as it
is: control characters, escapes and bidi overrides are shown as ``\x1b``, ``\u202e`` (`printable`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from evidence.printable import printable
from tracebus.eventlog import AnyEvent
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
}
# What a line has no room for: digests, and what belongs to the run as a whole.
_LEFT_OUT: Final = frozenset(
    {"callId", "requestId", "recorder", "framework", "clock", "coverage", "capture", "index"}
)


def gist(event: AnyEvent) -> tuple[str, str]:
    """Return what an event is told by, and its other members, both fit for a terminal.

    Raises:
        EvidenceError: Its disclosures are not those of its payload.
    """
    if event.payload_json is None:
        return "", "payload erased"
    members = {name: read_free_form(value) for name, value in event.opened().items()}
    leading = [name for name in _LEADING.get(event.type, ()) if name in members]
    told_by = " ".join(_shorten(members.pop(name)) for name in leading)
    return told_by, "  ".join(_others(members))


def _others(members: Mapping[str, Any]) -> Iterator[str]:
    for name, value in members.items():
        if name not in _LEFT_OUT and not name.lower().endswith("digest"):
            is_source = name == "source" and isinstance(value, dict)
            yield f"{_shorten(name)}: {_shorten(value.get('name') if is_source else value)}"


def _shorten(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "nested too deep to show"
    text = " ".join(text[: MAX_TEXT * 4].split()) if "\n" in text[:MAX_TEXT] else text
    return printable(text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…")
