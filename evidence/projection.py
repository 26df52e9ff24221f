"""Which events a bundle's views list, and which payloads may never be taken out.

Both are fixed tables over the event type, so that a verifier recomputes them: a view is exactly the
events of its types, in bundle order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

VIEWS: Final[dict[str, frozenset[str]]] = {
    "policyVerdicts": frozenset({"policy_decision", "gate_verdict", "policy_violation"}),
    "approvals": frozenset({"approval_requested", "approval_resolved", "human_override"}),
    "proposals": frozenset({"tool_proposed", "memory_proposed"}),
    "chainTransactions": frozenset({"chain_transaction"}),
}

ERASING: Final = frozenset({"data_erased", "retention_applied"})
"""The types of events that record that something was erased."""

KEPT: Final = (
    frozenset(
        {
            "run_started",
            "run_completed",
            "interrupted",
            "resumed",
            "escalation",
            "recording_gap",
            "legal_hold_changed",
        }
    )
    | ERASING
    | VIEWS["policyVerdicts"]
    | VIEWS["approvals"]
)
"""The types whose payloads a bundle always shows: not redactable, and not withheld."""

PLAIN: Final[dict[str, frozenset[str]]] = {
    "run_completed": frozenset({"outcome"}),
    "policy_decision": frozenset({"decision"}),
    "gate_verdict": frozenset({"verdict"}),
    "approval_resolved": frozenset({"verdict", "actor"}),
    "human_override": frozenset({"actor"}),
}
"""Members that stand in a payload itself, never in a disclosure: what was decided, and by whom."""


def missing_plain(event_type: str, payload: Mapping[str, Any]) -> list[str]:
    """Return which members of `PLAIN` a committed payload of this type does not have, as text."""
    plain = PLAIN.get(event_type)
    return sorted(name for name in plain if not isinstance(payload.get(name), str)) if plain else []


def views(headers: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return every view over the events with these headers: view name to event ids."""
    listed: dict[str, list[str]] = {name: [] for name in VIEWS}
    for header in headers:
        for name, types in VIEWS.items():
            if header["type"] in types:
                listed[name].append(header["id"])
    return listed
