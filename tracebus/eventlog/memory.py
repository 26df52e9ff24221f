"""An event log in memory: for tests, and for what need not outlive the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from evidence.chain import RunHead
from evidence.digest import SHA256
from tracebus.errors import UnknownEvent
from tracebus.event import TraceEvent
from tracebus.eventlog.base import (
    ANY_TENANT,
    AnyEvent,
    Draft,
    Erasure,
    EventLog,
    EventQuery,
    HeadsLeaf,
    RunSummary,
    check_algorithm,
    new_origin,
)
from tracebus.eventlog.erasing import HOLD_TYPE, Records, chosen, hold_since, stored_events, takes_user
from tracebus.eventlog.sealing import Batch, Sealer
from tracebus.ids import NewId
from tracebus.payload import EventPayload, UntypedPayload
from tracebus.transparency.store import TreeStore


class MemoryEventLog(EventLog):
    """Keeps events in lists. Nothing is durable; everything else is as `EventLog` promises.

    Args:
        name: The log's name, the first part of its origin.
        digest_algorithm: ``sha256`` or ``blake3``.
        clock: Returns the time in nanoseconds since 1970.
        new_id: Makes event ids.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        digest_algorithm: str = SHA256,
        clock: Callable[[], int] = time.time_ns,
        new_id: NewId | None = None,
    ) -> None:
        self._origin = new_origin(name)
        self._algorithm = check_algorithm(digest_algorithm)
        self._sealer = Sealer(self._origin, self._algorithm, clock=clock, new_id=new_id)
        self._lock = threading.Lock()
        self._events: list[AnyEvent] = []
        self._runs: dict[str, list[AnyEvent]] = {}
        self._heads: dict[str, RunHead] = {}
        self._keys: dict[tuple[str, str], AnyEvent] = {}
        self._users: dict[str, set[str]] = {}
        self._cursors: dict[str, int] = {}
        self._leaves: list[HeadsLeaf] = []
        self.tree_store = TreeStore(None)

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def digest_algorithm(self) -> str:
        return self._algorithm

    def open(self) -> None:
        """Do nothing: memory is open."""

    def close(self) -> None:
        """Do nothing: the events stay."""

    def append(self, groups: Sequence[Sequence[Draft]]) -> list[list[AnyEvent] | Exception]:
        with self._lock:
            batch = self._batch()
            outcomes = [batch.add(group) for group in groups]
            self._take_over(batch)
        return outcomes

    def _batch(self) -> Batch:
        return Batch(self._sealer, self._heads.get, lambda run_id, key: self._keys.get((run_id, key)))

    def _take_over(self, batch: Batch) -> None:
        self._heads |= batch.heads
        for draft, event in batch.stored:
            self._store(draft, event)

    def _store(self, draft: Draft, event: AnyEvent) -> None:
        event._position = len(self._events) + 1
        event = event.copy()  # what the publisher was given is the publisher's
        self._events.append(event)
        self._runs.setdefault(event.run_id, []).append(event)
        if event.key is not None:
            self._keys[event.run_id, event.key] = event
        if draft.user_id is not None:
            self._users.setdefault(draft.user_id, set()).add(event.run_id)

    def erase(self, erasure: Erasure) -> list[AnyEvent]:
        """Store the records and let go of the targets."""
        records = Records(erasure)
        with self._lock:
            batch = self._batch()
            events = stored_events(map(batch.add, erasure.records))
            if batch.stored:
                left = self._without(erasure, records)
                self._take_over(batch)
                for event, _ in left:
                    self._replace(event)
                self._forget_users({event.run_id for event, takes_user_entry in left if takes_user_entry})
        return events

    def _without(self, erasure: Erasure, records: Records) -> list[tuple[AnyEvent, bool]]:
        """Return what is left of each event, and whether its run's entries in the index of users go."""
        for hold in self._events[erasure.planned_at :]:
            if hold.type == HOLD_TYPE:
                raise hold_since(hold, erasure.planned_at)
        found = {event.id: event for event in self._events if event.id in erasure.targets}
        left: list[tuple[AnyEvent, bool]] = []
        for event_id, digests in erasure.targets.items():
            if event_id not in found:
                raise UnknownEvent(f"the log has no event {event_id}")
            event = found[event_id]
            gone = chosen(event, digests)
            records.check(event, digests)
            payload = None if digests is None else event.payload_json
            kept = tuple(text for text in event.disclosures if text not in gone)
            rest = TraceEvent[EventPayload | UntypedPayload](event.header, payload, kept, event.position)
            left.append((rest, takes_user(event, digests)))
        return left

    def _replace(self, event: AnyEvent) -> None:
        self._events[(event.position or 0) - 1] = event
        self._runs[event.run_id][event.seq or 0] = event
        if event.key is not None:
            self._keys[event.run_id, event.key] = event

    def _forget_users(self, run_ids: set[str]) -> None:
        if run_ids:
            kept = {user_id: runs - run_ids for user_id, runs in self._users.items()}
            self._users = {user_id: runs for user_id, runs in kept.items() if runs}

    def scrub(self) -> None:
        """Do nothing: what was erased is in no file, and the log has let go of it."""

    def unscrubbed(self) -> int:
        """Return 0: what was erased is gone at once."""
        return 0

    def head(self, run_id: str) -> RunHead | None:
        return self._heads.get(run_id)

    def last_position(self) -> int:
        return len(self._events)

    def query(self, query: EventQuery) -> Iterator[AnyEvent]:
        with self._lock:
            runs_of_user = set(self._users.get(query.user_id, ())) if query.user_id is not None else None
            stored = len(self._events)
        found = 0
        for index in range(query.after, stored):
            if query.limit is not None and found >= query.limit:
                return
            event = self._events[index]
            if _matches(event, query) and (runs_of_user is None or event.run_id in runs_of_user):
                found += 1
                yield event.copy()

    def runs(
        self, *, workflow_id: str | None = None, tenant_id: str | object | None = ANY_TENANT
    ) -> Iterator[RunSummary]:
        with self._lock:
            runs = [(run[0], run[-1], len(run)) for run in self._runs.values()]
        for first, last, count in runs:
            if workflow_id not in (None, first.workflow_id) or tenant_id not in (ANY_TENANT, first.tenant_id):
                continue
            yield RunSummary(
                first.run_id,
                first.workflow_id,
                first.tenant_id,
                count,
                first.timestamp,
                last.timestamp,
                last.type,
            )

    def scan(self) -> Iterator[AnyEvent]:
        with self._lock:
            events = [event for run_id in sorted(self._runs) for event in self._runs[run_id]]
        yield from events

    def load_cursor(self, sink: str) -> int | None:
        """Return the position that a sink has confirmed."""
        return self._cursors.get(sink)

    def save_cursor(self, sink: str, position: int) -> None:
        """Store the position that a sink has confirmed."""
        self._cursors[sink] = position

    def heads_leaves(self, first: int = 0) -> list[HeadsLeaf]:
        """Return the heads leaves from an ordinal on."""
        return self._leaves[first:]

    def add_heads_leaf(self, ordinal: int, leaf: HeadsLeaf) -> bool:
        """Store the next heads leaf."""
        with self._lock:
            if ordinal != len(self._leaves):
                return False
            self._leaves.append(leaf)
            return True


def _matches(event: TraceEvent[object], query: EventQuery) -> bool:  # type: ignore[type-var]
    return (
        query.tenant_id in (ANY_TENANT, event.tenant_id)
        and query.agent_id in (None, event.agent_id)
        and query.workflow_id in (None, event.workflow_id)
        and query.run_id in (None, event.run_id)
        and query.turn_id in (None, event.turn_id)
        and (not query.types or event.type in query.types)
        and (not query.ids or event.id in query.ids)
        and query.risk in (None, event.risk)
        and (query.since is None or event.timestamp >= query.since)
        and (query.until is None or event.timestamp < query.until)
    )
