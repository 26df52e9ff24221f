"""The tree writer: puts leaves into a tree store, and brings the heads map up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from typing import Final

from evidence import heads_map
from evidence.chain import RunHead
from evidence.errors import LogDamaged
from evidence.merkle import HASH_SIZE, event_leaf, heads_leaf, leaf_hash, subtree_root
from evidence.tiles import FULL
from tracebus.transparency.states import RunState, TreeState
from tracebus.transparency.store import TreeStore, tile_id

_RUNS_IN_MEMORY: Final = 4096


@contextmanager
def changing(store: TreeStore, origin: str) -> Iterator[TreeWriter]:
    """All changes of the block to a log's tree together, or none; nobody else changes it meanwhile.

    Raises:
        EventLogRefused: The store is another log's.
        LogDamaged: The store does not hold together.
        EventLogUnavailable: The store cannot be used now.
    """
    with store.transaction() as connection:
        writer = TreeWriter(store, connection, replace(store.state_of(origin), origin=origin))
        yield writer
        writer.flush()


class TreeWriter:
    """Changes a tree store, within `changing`; a few thousand runs and a tile of each level are held.

    `state` is how far it has come.
    """

    def __init__(self, store: TreeStore, connection: sqlite3.Connection, state: TreeState) -> None:
        self._store = store
        self._connection = connection
        self.state = state
        self._runs: dict[str, RunState] = {}
        self._tiles = list(self._read_last_tiles())

    # Tree

    def take_event(self, head: RunHead) -> None:
        """Append the leaf of the event at the next position, which is the new head of its run."""
        run = self.run(head.run_id)
        self._append(leaf_hash(event_leaf(head.event_hash)))
        position = self.state.position + 1
        self.state = replace(
            self.state, size=self.state.size + 1, position=position, last_event=head.event_hash
        )
        self._runs[head.run_id] = RunState.of(head, run.first if run else position, self.state.heads)
        if len(self._runs) >= _RUNS_IN_MEMORY:
            self._flush_runs()

    def take_heads(self, map_root: bytes) -> None:
        """Append the heads leaf of the map that `update_map` has made."""
        self._append(leaf_hash(heads_leaf(map_root)))
        self.state = replace(
            self.state, size=self.state.size + 1, heads=self.state.heads + 1, map_root=map_root
        )

    def run(self, run_id: str) -> RunState | None:
        """Return a run as far as the tree has come, or None."""
        return self._runs.get(run_id) or self._store.run(run_id)

    def _append(self, value: bytes) -> None:
        for level in range(8):
            if level == len(self._tiles):
                self._tiles.append(bytearray())
            tile = self._tiles[level]
            tile += value
            if len(tile) < FULL * HASH_SIZE:
                return
            index = (self.state.size + 1 >> 8 * (level + 1)) - 1
            self._put_tile(level, index, tile)
            value = _root_of(tile)
            tile.clear()

    def _read_last_tiles(self) -> Iterator[bytearray]:
        """Yield the last tile of each level, empty where the level ends in a full one."""
        level, hashes = 0, self.state.size
        while hashes:
            index, width = divmod(hashes, FULL)
            tile = self._store.tile(level, index) if width else b""
            if len(tile) < width * HASH_SIZE:
                place = f"tile {index} of level {level}"
                raise LogDamaged(place, f"expected {width} hashes in {self._store.path}, found fewer")
            yield bytearray(tile[: width * HASH_SIZE])
            level, hashes = level + 1, hashes >> 8

    def _put_tile(self, level: int, index: int, hashes: bytearray) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO tiles VALUES (?, ?)", (tile_id(level, index), bytes(hashes))
        )

    # Heads map

    def update_map(self) -> bytes:
        """Bring the map up to the state of the runs, and return its root."""
        self._flush_runs()
        root = self.state.map_root
        changed = self._connection.execute(
            "SELECT DISTINCT workflow_id, tenant_id FROM runs WHERE touched = ?", (self.state.heads,)
        )
        while workflows := changed.fetchmany(_RUNS_IN_MEMORY):
            entries = [self._store.entry(*workflow) for workflow in workflows]
            update = heads_map.update(root, entries, self._store.node)
            root = update.root
            self._connection.executemany("INSERT OR IGNORE INTO nodes VALUES (?, ?)", update.added.items())
            self._connection.executemany(
                "INSERT OR IGNORE INTO replaced VALUES (?, ?)",
                ((self.state.heads, value) for value in update.replaced),
            )
        self._forget_nodes()
        return root

    def _forget_nodes(self) -> None:
        """Delete what neither the map of the newest signed checkpoint has, nor a newer one."""
        signed = self._store.signed_tree()
        kept = self.state.heads + 1 if signed is None else signed.heads
        for statement in (
            "DELETE FROM nodes WHERE hash IN (SELECT hash FROM replaced WHERE heads < ?)",
            "DELETE FROM replaced WHERE heads < ?",
        ):
            self._connection.execute(statement, (kept,))

    def _flush_runs(self) -> None:
        marks = ", ".join("?" * len(RunState._fields))
        self._connection.executemany(f"INSERT OR REPLACE INTO runs VALUES ({marks})", self._runs.values())
        self._runs.clear()

    def flush(self) -> None:
        """Write what is held in memory."""
        self._flush_runs()
        for level, tile in enumerate(self._tiles):
            if tile:
                self._put_tile(level, self.state.size >> 8 * (level + 1), tile)
        self._connection.execute(
            "UPDATE state SET origin = ?, size = ?, position = ?, heads = ?, map_root = ?, last_event = ?",
            astuple(self.state),
        )


def _root_of(tile: bytes | bytearray) -> bytes:
    """Return the hash above the 256 of a full tile."""
    return subtree_root([bytes(tile[i : i + HASH_SIZE]) for i in range(0, len(tile), HASH_SIZE)])
