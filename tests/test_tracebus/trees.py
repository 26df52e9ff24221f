"""What a log's tree has to be, computed from its events and heads leaves alone; failures on the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection

from evidence.chain import RunHead, follow
from evidence.heads import run_state, workflow_head
from evidence.heads_map import Entry, map_root, prove, verify_heads_proof
from evidence.merkle import Frontier, event_leaf, heads_leaf, leaf_hash
from evidence.signing import Ed25519Signer
from evidence.tiles import FULL, audit_tiles, format_entries, parse_path
from tracebus import EventQuery, MemoryEventLog, SqliteEventLog
from tracebus.eventlog import AnyEvent, Draft, HeadsLeaf
from tracebus.testing import draft, events_of, started
from tracebus.transparency.store import TreeStore

Log = SqliteEventLog | MemoryEventLog

SIGNER = Ed25519Signer(bytes(range(32)))


def append(log: Log, run_id: str, events: int = 1, workflow_id: str = "w1") -> None:
    """Append events to a run, which begins with the first."""
    kind = draft if log.head(run_id) else started
    drafts: list[Draft] = [kind(run_id, workflow_id=workflow_id)]
    drafts += [draft(run_id, workflow_id=workflow_id) for _ in range(events - 1)]
    events_of(log.append([drafts])[0])


class NaiveMap:
    """All workflows' heads, in a dictionary."""

    def __init__(self) -> None:
        self._heads: dict[str, RunHead] = {}

    def take(self, event: AnyEvent) -> None:
        """Take in an event."""
        self._heads[event.run_id] = follow(self._heads.get(event.run_id), event.header)

    def entries(self) -> list[Entry]:
        """Return the entries of all workflows, by their keys."""
        workflows: dict[tuple[str, str | None], list[RunHead]] = {}
        for head in self._heads.values():
            workflows.setdefault((head.workflow_id, head.tenant_id), []).append(head)
        return sorted(
            Entry.of(*workflow, workflow_head(*workflow, map(run_state, heads)))
            for workflow, heads in workflows.items()
        )


def leaves_of(log: Log) -> tuple[list[bytes], list[Entry]]:
    """Return the data of all leaves that a log's tree has to have, and the entries of its newest map.

    Each heads leaf of the log must be the root of the map of the events before it.
    """
    naive, leaves = NaiveMap(), list[bytes]()
    events = list(log.query(EventQuery()))
    taken = 0
    for leaf in log.heads_leaves():
        for event in events[taken : leaf.position]:
            naive.take(event)
            leaves.append(event_leaf(event.event_hash))
        taken = leaf.position
        assert leaf == HeadsLeaf(taken, map_root(naive.entries()))
        leaves.append(heads_leaf(leaf.map_root))
    return leaves, naive.entries()


def check_tree(log: Log, store: TreeStore | None = None) -> None:
    """Compare every tile, the root, the state and the heads map of a log's tree with what they have to be."""
    store = store or log.tree_store
    leaves, entries = leaves_of(log)
    state = store.state()
    assert (len(leaves), len(log.heads_leaves())) == (state.size, state.heads)
    naive = Frontier()
    for data in leaves:
        naive.append(leaf_hash(data))
    assert naive.root() == store.root(state.size)

    def fetch(path: str) -> bytes | None:
        tile = parse_path(path)
        if tile.level is not None:
            return store.fetch(path)
        return format_entries(leaves[tile.index * FULL : tile.index * FULL + tile.width])

    audit_tiles(fetch, state.size, naive.root())
    assert map_root(entries) == state.map_root
    with store.using():
        for entry in entries:
            proof = prove(entry.key, state.map_root, store.node)
            verify_heads_proof(proof, entry.key, entry.head, state.map_root)


class Interrupted(Exception):
    """What happens at a moment: a failure that nobody foresaw."""


class Moments:
    """Counts the moments before and after each step, and interrupts at one of them."""

    def __init__(self) -> None:
        self.interrupt_at = 0
        self.passed = 0
        self.name = ""

    def interrupt(self, at: int) -> None:
        """Interrupt at a moment from now on, the first being 1; never for 0."""
        self.interrupt_at, self.passed = at, 0

    def reach(self, name: str) -> None:
        """Come to a moment."""
        self.passed += 1
        if self.passed == self.interrupt_at:
            self.name = name
            raise Interrupted(name)


class FragileStore(TreeStore):
    """A tree store whose transactions can be interrupted."""

    def __init__(self, path: Path, moments: Moments) -> None:
        super().__init__(path)
        self._moments = moments

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Interrupt before it begins, before the commit, and after it."""
        self._moments.reach("before a transaction")
        with super().transaction() as connection:
            yield connection
            self._moments.reach("before a commit")
        self._moments.reach("after a commit")


class FragileLog(SqliteEventLog):
    """A log whose steps for the tree can be interrupted; the tree store and the signer, too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.moments = Moments()
        assert self.tree_store.path is not None
        self.tree_store = FragileStore(self.tree_store.path, self.moments)

    def heads_leaves(self, first: int = 0) -> list[HeadsLeaf]:
        """Interrupt before."""
        self.moments.reach("before the heads leaves are read")
        return super().heads_leaves(first)

    def query(self, query: EventQuery) -> Iterator[AnyEvent]:
        """Interrupt before each event."""
        for event in super().query(query):
            self.moments.reach("before an event is read")
            yield event

    def add_heads_leaf(self, ordinal: int, leaf: HeadsLeaf) -> bool:
        """Interrupt before and after."""
        self.moments.reach("before a heads leaf is stored")
        added = super().add_heads_leaf(ordinal, leaf)
        self.moments.reach("after a heads leaf is stored")
        return added


class FragileSigner(Ed25519Signer):
    """A signer that can fail, also when it has signed."""

    def __init__(self, moments: Moments) -> None:
        super().__init__(bytes(range(32)))
        self._moments = moments

    def sign(self, message: bytes) -> bytes:
        """Interrupt before and after."""
        self._moments.reach("before a signature")
        signature = super().sign(message)
        self._moments.reach("after a signature")
        return signature
