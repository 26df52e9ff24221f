"""The chain of one run: each event names the hash of the one before it.

This is the one definition of a link. A writer appends only what `follow` accepts; a verifier accepts
only what `follow` does. What a chain shows by itself is that nothing before its head was changed,
taken out or put in; it shows nothing about what might come after its head.

The rules, for the events of a run in order:

1. the first is ``run_started``, has seq 0 and no parentHash; no other is ``run_started``
2. seq grows by one; parentHash is the event hash of the event before
3. the id grows; log, workflow, tenant and digest algorithm stay
4. ``run_completed`` is the last
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from evidence.digest import algorithm_of
from evidence.errors import ChainBroken
from evidence.header import event_hash

FIRST_TYPE: Final = "run_started"
TERMINAL_TYPE: Final = "run_completed"


class RunHead(NamedTuple):
    """The newest event of a run, as far as the next one depends on it."""

    run_id: str
    seq: int
    event_hash: str
    event_id: str
    type: str
    timestamp: str
    log: str
    workflow_id: str
    tenant_id: str | None

    @property
    def closed(self) -> bool:
        """Whether the run has ended: nothing may follow."""
        return self.type == TERMINAL_TYPE

    @property
    def length(self) -> int:
        """How many events the run has."""
        return self.seq + 1


def head_of(header: Mapping[str, Any]) -> RunHead:
    """Return the head that a checked header makes, without asking what it follows."""
    return RunHead(
        header["runId"],
        header["seq"],
        event_hash(header),
        header["id"],
        header["type"],
        header["timestamp"],
        header["log"],
        header["workflowId"],
        header.get("tenantId"),
    )


def follow(head: RunHead | None, header: Mapping[str, Any]) -> RunHead:
    """Check that an event follows the head of its run, and return the run's new head.

    `head` is None where the run has no event yet. The header has been checked (`check_header`).

    Raises:
        ChainBroken: One of the rules above does not hold; the error names event and rule.
    """
    if head is None:
        _check_first(header)
    else:
        _check_link(head, header)
    return head_of(header)


def _place(header: Mapping[str, Any]) -> str:
    return f"event {header['seq']} of run {header['runId']}"


def _check_first(header: Mapping[str, Any]) -> None:
    place = _place(header)
    if header["seq"] != 0:
        raise ChainBroken(place, f"expected the run's first event, with seq 0, found {header['seq']}")
    if header["type"] != FIRST_TYPE:
        raise ChainBroken(place, f"expected {FIRST_TYPE} to begin the run, found {header['type']}")
    if "parentHash" in header:
        raise ChainBroken(place, "a run's first event has no parent, found a parentHash")


def _check_link(head: RunHead, header: Mapping[str, Any]) -> None:
    place = _place(header)
    if head.type == TERMINAL_TYPE:
        raise ChainBroken(place, f"follows {TERMINAL_TYPE}, which ends the run at seq {head.seq}")
    if header["seq"] != head.seq + 1:
        raise ChainBroken(place, f"expected seq {head.seq + 1}, found {header['seq']}")
    if header["type"] == FIRST_TYPE:
        raise ChainBroken(place, f"{FIRST_TYPE} may only begin a run")
    if header.get("parentHash") != head.event_hash:
        found = header.get("parentHash", "none")
        raise ChainBroken(
            place, f"parentHash {found} is not the hash of event {head.seq} ({head.event_hash})"
        )
    if header["id"] <= head.event_id:
        raise ChainBroken(place, f"id {header['id']} does not follow {head.event_id}")
    for name, expected in (
        ("log", head.log),
        ("workflowId", head.workflow_id),
        ("tenantId", head.tenant_id),
    ):
        if header.get(name) != expected:
            raise ChainBroken(place, f"{name}: expected {expected}, found {header.get(name)}")
    if algorithm_of(header["contentHash"]) != algorithm_of(head.event_hash):
        raise ChainBroken(place, "its digest algorithm is not that of the event before")
