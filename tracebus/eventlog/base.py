"""What an event log promises, and what every event log does alike: sealing.

An event log is blocking. The bus calls `append` from its one writer thread and reads from worker
threads, so a log needs no event loop and no lock of its own around a transaction (ADR 0008).

Appending is a compare-and-swap per run: an event is sealed against the run's head, in the same
transaction that stores it, so two writers can never both follow the same event.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import anyio.to_thread

from evidence import canonical
from evidence.bundler import WorkflowEvent
from evidence.chain import FIRST_TYPE, RunHead, follow
from evidence.digest import ALGORITHMS, SHA256, hasher
from evidence.disclosure import open_payload
from evidence.errors import EvidenceError
from evidence.header import EVENT_VERSION, Header, format_timestamp, is_origin
from tracebus.committed import Committed, content_of
from tracebus.errors import (
    AppendConflict,
    KeyConflict,
    PublishError,
    RunClosed,
    RunExists,
    UnknownRun,
)
from tracebus.event import TraceEvent
from tracebus.ids import MonotonicIds, NewId, new_ulid
from tracebus.payload import EventPayload, UntypedPayload

AnyEvent = TraceEvent[EventPayload | UntypedPayload]

ANY_TENANT: Final = object()
"""In a query: workflows of every tenant, and of none."""


@dataclass(frozen=True, slots=True)
class Draft:
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

    `since` and `until` bound the timestamp, RFC 3339 in UTC: from `since`, and before `until`.
    `after` is a position: only events behind it.
    """

    tenant_id: str | object | None = ANY_TENANT
    user_id: str | None = None
    agent_id: str | None = None
    workflow_id: str | None = None
    run_id: str | None = None
    turn_id: str | None = None
    types: tuple[str, ...] = ()
    risk: str | None = None
    since: str | None = None
    until: str | None = None
    after: int = 0
    limit: int | None = None


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
        for name, value in (
            ("parentHash", head.event_hash if head else None),
            ("tenantId", draft.tenant_id),
            ("agentId", draft.agent_id),
            ("turnId", draft.turn_id),
            ("occurredAt", draft.occurred_at),
            ("risk", draft.risk),
            ("causes", list(draft.causes) or None),
            ("key", draft.key),
        ):
            if value is not None:
                header[name] = value
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

    Where something of the stored event was erased, only the types are compared.
    """
    same = (stored.type, stored.workflow_id, stored.tenant_id) == (
        draft.committed.type,
        draft.workflow_id,
        draft.tenant_id,
    )
    if same and stored.payload_json is not None:
        _, payload, disclosures = draft.committed
        kept = open_payload(canonical.loads(stored.payload_json), stored.disclosures, "stored")
        if not kept.hidden:
            same = content_of(stored.payload_json, stored.disclosures) == content_of(payload, disclosures)
    if not same:
        raise KeyConflict(
            draft.run_id, f"key {draft.key} stands for another event, {stored.type} {stored.id}"
        )
    return stored
