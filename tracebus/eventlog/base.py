"""What an event log promises.

An event log is blocking. The bus calls `append` from its one writer thread and reads from worker
threads, so a log needs no event loop and no lock of its own around a transaction (ADR 0008).

Appending is a compare-and-swap per run: an event is sealed against the run's head, in the same
transaction that stores it, so two writers can never both follow the same event.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, runtime_checkable

import anyio.to_thread

from evidence import expectation
from evidence.chain import RunHead
from evidence.digest import ALGORITHMS
from evidence.header import is_origin
from evidence.workflow_source import WorkflowEvent, WorkflowProof
from tracebus.committed import Committed
from tracebus.event import TraceEvent
from tracebus.ids import new_ulid
from tracebus.payload import EventPayload, UntypedPayload
from tracebus.times import to_timestamp
from tracebus.transparency.completeness import prove_workflow
from tracebus.transparency.store import TreeStore

AnyEvent = TraceEvent[EventPayload | UntypedPayload]

ANY_TENANT: Final = expectation.ANY_TENANT
"""In a query: workflows of every tenant, and of none."""


class Draft(NamedTuple):
    """An event before it is sealed: all of it but what its place in the log decides.

    `expected_head` is the event hash that the run's head must have, where the caller cares.
    `user_id` goes into the log's index of users, and into no header.
    """

    run_id: str
    workflow_id: str
    committed: Committed
    tenant_id: str | None = None
    agent_id: str | None = None
    turn_id: str | None = None
    risk: str | None = None
    causes: tuple[str, ...] = ()
    key: str | None = None
    occurred_at: str | None = None
    user_id: str | None = None
    expected_head: str | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run at a glance. `status` is ``open``, ``suspended`` or ``closed``."""

    run_id: str
    workflow_id: str
    tenant_id: str | None
    events: int
    started_at: str
    last_at: str
    last_type: str

    @property
    def status(self) -> str:
        """``closed`` after the terminal event, ``suspended`` after an interruption, else ``open``."""
        return {"run_completed": "closed", "interrupted": "suspended"}.get(self.last_type, "open")


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events to read; what is None, or empty, does not limit.

    `since` and `until` bound the timestamp, RFC 3339 text: from `since`, and before `until`.
    `after` is a position: only events behind it.
    """

    tenant_id: str | object | None = ANY_TENANT
    user_id: str | None = None
    agent_id: str | None = None
    workflow_id: str | None = None
    run_id: str | None = None
    turn_id: str | None = None
    types: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    risk: str | None = None
    since: str | None = None
    until: str | None = None
    after: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, to_timestamp(value))


class EventLog(Protocol):
    """An append-only store of events, one chain for each run.

    Events have positions: integers from 1 that grow in the order in which they were stored. Every
    method may be called from any thread, but `append` from one thread at a time, and may block.

    Raises:
        EventLogUnavailable: From any method, when the store cannot be used now.
    """

    @property
    def origin(self) -> str:
        """The log's name and the ULID of its creation: ``payments-prod/01KAJ2…``; it never changes."""
        ...

    @property
    def digest_algorithm(self) -> str:
        """The algorithm of contentHash and event hash: ``sha256`` or ``blake3``."""
        ...

    def open(self) -> None:
        """Open the store, or make it; to do it again does nothing."""
        ...

    def close(self) -> None:
        """Release what is open; the log may be opened again."""
        ...

    @abstractmethod
    def append(self, groups: Sequence[Sequence[Draft]]) -> list[list[AnyEvent] | Exception]:
        """Seal and store events durably; return for each group its events, or why it was refused.

        A group is stored as a whole or not at all, and one that is refused does not fail another.
        A draft with a key that its run has already is not stored again: the stored event comes back.

        Raises:
            AppendUnknown: It cannot be told whether the groups are stored.
        """
        ...

    @abstractmethod
    def head(self, run_id: str) -> RunHead | None:
        """Return the head of a run; None if the log has no such run."""
        ...

    @abstractmethod
    def last_position(self) -> int:
        """Return the position of the newest event; 0 in an empty log."""
        ...

    @abstractmethod
    def query(self, query: EventQuery) -> Iterator[AnyEvent]:
        """Yield events in the order of their positions; memory stays flat however many there are."""
        ...

    @abstractmethod
    def runs(
        self, *, workflow_id: str | None = None, tenant_id: str | object | None = ANY_TENANT
    ) -> Iterator[RunSummary]:
        """Yield the runs in the order of their first events."""
        ...

    @abstractmethod
    def scan(self) -> Iterator[AnyEvent]:
        """Yield every event as stored and unchecked, run by run, in the order of seq."""
        ...

    def select_workflow(self, workflow_id: str, tenant_id: str | None) -> list[WorkflowEvent]:
        """Return a workflow's events, run by run in the order of their first events."""
        by_run: dict[str, list[WorkflowEvent]] = {}
        for event in self.query(EventQuery(workflow_id=workflow_id, tenant_id=tenant_id)):
            item = WorkflowEvent(event.header, event.payload_json, event.disclosures)
            by_run.setdefault(event.run_id, []).append(item)
        return [item for run in by_run.values() for item in run]

    async def read_workflow(self, workflow_id: str, tenant_id: str | None) -> Sequence[WorkflowEvent]:
        """Do as `select_workflow` in a worker thread; this makes a log a bundler's source."""
        return await anyio.to_thread.run_sync(self.select_workflow, workflow_id, tenant_id)

    def prove_workflow(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        """Return the proof that the newest checkpoint has all of a workflow; None if it cannot be given."""
        store = getattr(self, "tree_store", None)
        if not isinstance(store, TreeStore):
            return None
        return prove_workflow(store, self.origin, workflow_id, tenant_id)

    async def read_completeness(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        """Do as `prove_workflow` in a worker thread; this makes a log a bundler's source of proofs."""
        return await anyio.to_thread.run_sync(self.prove_workflow, workflow_id, tenant_id)


@runtime_checkable
class CursorStore(Protocol):
    """Keeps, for each durable sink, the position up to which it has confirmed events.

    An event log that can, is one too. `save_cursor` is called from the thread that appends.
    """

    def load_cursor(self, sink: str) -> int | None:
        """Return the position that a sink has confirmed; None for a sink never seen."""
        ...

    def save_cursor(self, sink: str, position: int) -> None:
        """Store the position that a sink has confirmed."""
        ...


class HeadsLeaf(NamedTuple):
    """A heads leaf of the log's tree: it stands behind the event at `position` (schemas/log-v1.md)."""

    position: int
    map_root: bytes


@runtime_checkable
class HeadsStore(Protocol):
    """Keeps the heads leaves of a transparency log, append-only; an event log that can, is one too."""

    def heads_leaves(self, first: int = 0) -> list[HeadsLeaf]:
        """Return the heads leaves from an ordinal on, in their order."""
        ...

    def add_heads_leaf(self, ordinal: int, leaf: HeadsLeaf) -> bool:
        """Store the next heads leaf durably; return False if there are not `ordinal` of them.

        Its position is that of an event, and not before that of the leaf before it.
        """
        ...


Targets = Mapping[str, frozenset[str] | None]
"""What is erased: event id to the digests of disclosures; None for a whole payload with all of them."""


class Erasure(NamedTuple):
    """What is to be erased, and the runs that record it (ADR 0018).

    `planned_at` is the position up to which its planner has read the log.
    """

    targets: Targets
    records: Sequence[Sequence[Draft]]
    planned_at: int


@runtime_checkable
class ErasableLog(Protocol):
    """Erases payloads and disclosures, never events; an event log that can, is one too."""

    def erase(self, erasure: Erasure) -> list[AnyEvent]:
        """Store the records and delete the targets in one step, durably; return the records' events.

        With the ``userId`` of a ``run_started`` goes the run's entry in the index of users. What was
        deleted can no longer be read; until `scrub` returns, its bytes may still be in the files.

        Whether it is done, where that cannot be told, reading tells. Records whose drafts all have keys may
        also be erased again: where they are stored, what they name is gone, and they come back.

        Raises:
            AppendConflict: A legal hold was recorded after `planned_at`; nothing was changed.
            UnknownEvent: The log has no such event, or has that payload or disclosure not any more, or
                never had it; nothing was changed.
            PublishError: A record may not follow its run's head; nothing was changed.
            ValueError: The records do not name a target, in its workflow; or a disclosure would stay that
                belongs to one that goes. Nothing was changed.
            EvidenceError: An event or a record is damaged; nothing was changed.
            AppendUnknown: It cannot be told whether it is done.
        """
        ...

    def scrub(self) -> None:
        """Remove from the files the bytes of all that was erased; do nothing where nothing was.

        A log that a crash kept from it does it when it is opened for writing.

        Raises:
            EventLogUnavailable: Not now: somebody is reading, or the disk is full. Nothing is lost.
        """
        ...

    def unscrubbed(self) -> int:
        """Return how many erased payloads and disclosures are still to be scrubbed from the files."""
        ...


def new_origin(name: str) -> str:
    """Return the origin of a new log.

    Raises:
        ValueError: The name is not 1-200 printable ASCII characters without spaces and "+"; it
            becomes the name of the log's key (c2sp.org/signed-note).
    """
    origin = f"{name}/{new_ulid()}"
    if not is_origin(origin):
        raise ValueError(
            f'log name: expected 1-200 ASCII characters without spaces or "+", found {name!r:.80}'
        )
    return origin


def check_algorithm(algorithm: str) -> str:
    """Return a digest algorithm that a log may be made with.

    Raises:
        ValueError: It is not sha256 or blake3.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"digest algorithm: expected one of {ALGORITHMS}, found {algorithm!r:.80}")
    return algorithm
