"""What a tree store says of a log: how far its tree has come, each run, the newest checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from evidence.chain import TERMINAL_TYPE, RunHead


@dataclass(frozen=True, slots=True)
class TreeState:
    """How far a tree has come.

    Attributes:
        origin: The log that it is of; None for a tree that has nothing.
        size: Its leaves.
        position: The position of the newest event among them.
        heads: How many of its leaves are heads leaves.
        map_root: The root of the newest heads map; 32 zero bytes for the empty one.
        last_event: The hash of the event at `position`.
    """

    origin: str | None
    size: int
    position: int
    heads: int
    map_root: bytes
    last_event: str | None


class RunState(NamedTuple):
    """A run as far as the tree has come.

    `first` is the position of its first event, `last_id` the id of its newest, and `touched` the ordinal of
    the heads map that was the first to have it as it is.
    """

    run_id: str
    first: int
    workflow_id: str
    tenant_id: str | None
    events: int
    head: str
    last_id: str
    closed: int
    touched: int

    @classmethod
    def of(cls, head: RunHead, first: int, touched: int) -> RunState:
        """Return the state of a run with this head."""
        return cls(
            head.run_id,
            first,
            head.workflow_id,
            head.tenant_id,
            head.length,
            head.event_hash,
            head.event_id,
            int(head.closed),
            touched,
        )

    def to_head(self, origin: str) -> RunHead:
        """Return the run's head, as far as `evidence.chain.follow` asks for it."""
        kind = TERMINAL_TYPE if self.closed else ""
        return RunHead(
            self.run_id,
            self.events - 1,
            self.head,
            self.last_id,
            kind,
            "",
            origin,
            self.workflow_id,
            self.tenant_id,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a workflow head says of the run."""
        return {"runId": self.run_id, "count": self.events, "head": self.head, "closed": bool(self.closed)}


class SignedTree(NamedTuple):
    """A signed checkpoint, as a note; how many heads leaves its tree has, and the root of the last map."""

    size: int
    heads: int
    map_root: bytes
    note: bytes
