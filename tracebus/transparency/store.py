"""The tree store: what is derived of a log to make proofs from, and the checkpoints.

=================  =================================================================================
``state``          one row: whose tree it is, and how far it has come
``tiles``          256 hashes each, as tlog-tiles has them; the last of a level grows
``nodes``          nodes and entries of the heads map, by their hash
``replaced``       which of them only older maps have
``runs``           each run's count and head, as far as the tree has come
``checkpoints``    the signed checkpoints, by size, each with its heads map
=================  =================================================================================

All but the checkpoints, and what anchors brought back (`anchorings`), can be built again from the log. For
a log in memory it is in memory.

Whoever reads the file has a connection of its own, and sees one state of it however long it reads; only
one writer is at work at a time, be it of this process or of another. No connection stays open, so that a
process may fork, and the write-ahead log goes when the last one is closed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from evidence.errors import Incomplete, LogDamaged, MalformedInput
from evidence.heads import workflow_head
from evidence.heads_map import Entry
from evidence.merkle import HASH_SIZE, Frontier
from evidence.note import MAX_BYTES
from evidence.tiles import TileReader, parse_path
from tracebus.errors import EventLogRefused, EventLogUnavailable
from tracebus.transparency import anchorings
from tracebus.transparency.states import RunState, SignedTree, TreeState

APPLICATION_ID: Final = 0x54525445
USER_VERSION: Final = 1

_TABLES: Final = (
    "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 0), origin TEXT, size INTEGER NOT NULL, "
    "position INTEGER NOT NULL, heads INTEGER NOT NULL, map_root BLOB NOT NULL, last_event TEXT) STRICT",
    "INSERT INTO state VALUES (0, NULL, 0, 0, 0, zeroblob(32), NULL)",
    "CREATE TABLE tiles (id INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT",
    "CREATE TABLE nodes (hash BLOB PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE replaced (heads INTEGER, hash BLOB, PRIMARY KEY (heads, hash)) STRICT, WITHOUT ROWID",
    "CREATE TABLE runs (run_id TEXT PRIMARY KEY, first INTEGER NOT NULL, workflow_id TEXT NOT NULL, "
    "tenant_id TEXT, events INTEGER NOT NULL, head TEXT NOT NULL, last_id TEXT NOT NULL, "
    "closed INTEGER NOT NULL, touched INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE INDEX runs_workflow ON runs (workflow_id, tenant_id, first)",
    "CREATE INDEX runs_touched ON runs (touched)",
    "CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, heads INTEGER NOT NULL, map_root BLOB NOT NULL, "
    "note BLOB NOT NULL) STRICT",
    *anchorings.TABLES,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {USER_VERSION}",
)
_RUN: Final = "run_id, first, workflow_id, tenant_id, events, head, last_id, closed, touched"
_NOTE: Final = f"coalesce(substr(note, 1, {MAX_BYTES + 1}), x'')"  # substr makes NULL of an empty one
_LEVEL_BITS: Final = 56  # a tile's id is its level, then its index
_WAIT_SECONDS: Final = 10.0


class TreeStore:
    """Keeps what is derived of one log, in a SQLite file, or in memory if the path is None.

    Every method may be called from any thread, and may block. A file that is not there reads as an empty
    store; only a change makes it. With `read_only` it is not changed, and may lie where nothing can be
    written. Who reads what is in memory waits for who changes it.

    Raises:
        EventLogUnavailable: From any method, when the file cannot be used now.
        EventLogRefused: The file is no tree store, or is damaged.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path and path.absolute()
        self._read_only = read_only
        self._thread = threading.local()
        self._lock = threading.RLock()  # of what is in memory, which has one connection
        self._memory: sqlite3.Connection | None = None

    def exists(self) -> bool:
        """Tell whether there is something in the store, without making it."""
        return self.state().origin is not None if self.path is None else self.path.exists()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All changes of the block together, or none; nobody else changes the store meanwhile.

        What this thread reads meanwhile has the changes.
        """
        if self._read_only:
            raise EventLogRefused(f"{self.path}: was opened to be read only")
        with self._translated(), self._connected(self._open) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if self._is_empty(connection):
                    _make(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading. All that this thread reads in the block is of one state of the store."""
        connection: sqlite3.Connection | None = getattr(self._thread, "connection", None)
        if connection is not None:
            yield connection
        else:
            with self._translated(), self._connected(self._open_to_read) as connection:
                yield connection

    def state(self) -> TreeState:
        """Return how far the tree has come."""
        with self.using() as connection:
            row = connection.execute(
                "SELECT origin, size, position, heads, map_root, last_event FROM state"
            ).fetchone()
        if row is None or [*map(type, row[1:5])] != [int, int, int, bytes]:
            raise EventLogRefused(f"{self.path}: does not say how far its tree has come; it was altered")
        return TreeState(*row)

    def state_of(self, origin: str) -> TreeState:
        """Return how far the tree of a log has come.

        Raises:
            EventLogRefused: The store is another log's.
        """
        state = self.state()
        if state.origin not in (None, origin):
            raise EventLogRefused(
                f"{self.path}: is the tree of log {state.origin}, not of {origin}: put it beside that log"
            )
        return state

    def fetch(self, path: str) -> bytes | None:
        """Return the tile at a path of tlog-tiles, or None; it is a `Fetch`, for hashes only."""
        tile = parse_path(path)
        if tile.level is None:
            return None
        size = tile.width * HASH_SIZE
        hashes = self.tile(tile.level, tile.index)
        return hashes[:size] if len(hashes) >= size else None

    def tile(self, level: int, index: int) -> bytes:
        """Return the hashes of a tile, as many as there are."""
        with self.using() as connection:
            row = connection.execute(
                "SELECT hashes FROM tiles WHERE id = ?", (tile_id(level, index),)
            ).fetchone()
        return b"" if row is None else bytes(row[0])

    def reader(self, size: int) -> TileReader:
        """Return the reader of hashes for proofs in the tree of this size."""
        return TileReader(self.fetch, size)

    def root(self, size: int) -> bytes:
        """Return the root of the tree of the first `size` leaves, from its tiles.

        Raises:
            LogDamaged: The store does not have them.
        """
        try:
            with self.using():
                return Frontier.at(size, self.reader(size)).root()
        except (Incomplete, MalformedInput) as error:
            raise LogDamaged(f"tree of {size}", f"{self.path} is damaged: {error}") from error

    def node(self, value: bytes) -> bytes | None:
        """Return what a hash of the heads map was made from, or None; it is a `NodeReader`."""
        with self.using() as connection:
            row = connection.execute("SELECT content FROM nodes WHERE hash = ?", (value,)).fetchone()
        return None if row is None else bytes(row[0])

    def runs_of(self, workflow_id: str, tenant_id: str | None) -> list[RunState]:
        """Return the runs of a workflow, in the order of their first events."""
        with self.using() as connection:
            rows = connection.execute(
                f"SELECT {_RUN} FROM runs WHERE workflow_id = ? AND tenant_id IS ? ORDER BY first",
                (workflow_id, tenant_id),
            ).fetchall()
        return [RunState(*row) for row in rows]

    def run(self, run_id: str) -> RunState | None:
        """Return a run, or None."""
        with self.using() as connection:
            row = connection.execute(f"SELECT {_RUN} FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return None if row is None else RunState(*row)

    def entry(self, workflow_id: str, tenant_id: str | None) -> Entry:
        """Return what the heads map has to have for a workflow."""
        runs = [run.to_json() for run in self.runs_of(workflow_id, tenant_id)]
        return Entry.of(workflow_id, tenant_id, workflow_head(workflow_id, tenant_id, runs))

    def signed_tree(self) -> SignedTree | None:
        """Return the newest signed checkpoint, with its heads map; None if there is none."""
        with self.using() as connection:
            row = connection.execute(
                f"SELECT size, heads, map_root, {_NOTE} FROM checkpoints ORDER BY size DESC LIMIT 1"
            ).fetchone()
        return None if row is None else SignedTree(*row)

    def latest_checkpoint(self) -> bytes | None:
        """Return the newest signed checkpoint, as a note; None if there is none."""
        signed = self.signed_tree()
        return None if signed is None else signed.note

    def checkpoints(self) -> list[bytes]:
        """Return all signed checkpoints, the oldest first."""
        with self.using() as connection:
            rows = connection.execute(f"SELECT {_NOTE} FROM checkpoints ORDER BY size").fetchall()
        return [bytes(note) for (note,) in rows]

    def add_checkpoint(self, tree: SignedTree, *, after: int | None) -> bool:
        """Store a checkpoint if the newest one has the size `after`; tell whether it did."""
        with self.transaction() as connection:
            changed = connection.execute(
                "INSERT OR IGNORE INTO checkpoints "
                "SELECT ?, ?, ?, ? WHERE (SELECT max(size) FROM checkpoints) IS ?",
                (*tree, after),
            )
            return changed.rowcount == 1

    # The file

    @contextmanager
    def _connected(self, connect: Callable[[Path], sqlite3.Connection]) -> Iterator[sqlite3.Connection]:
        """Connect, and have this thread read through the connection while the block lasts."""
        if self.path is None:
            with self._lock:
                self._memory = self._memory or _make(_connect(":memory:"))
                yield self._memory
            return
        connection = connect(self.path)
        outer = getattr(self._thread, "connection", None)
        self._thread.connection = connection
        try:
            yield connection
        finally:
            self._thread.connection = outer
            connection.close()

    def _open(self, path: Path) -> sqlite3.Connection:
        connection = _connect(f"{path.as_uri()}?mode=rwc")
        try:
            connection.execute("BEGIN")
            self._is_empty(connection)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_read(self, path: Path) -> sqlite3.Connection:
        if not path.exists():
            return _make(_connect(":memory:"))
        connection = _connect(f"{path.as_uri()}?mode={'ro' if self._read_only else 'rw'}")
        try:
            try:
                connection.execute("BEGIN")
                is_empty = self._is_empty(connection)
            except sqlite3.OperationalError:
                if not self._read_only:
                    raise
                # In a folder that cannot be written, where nobody writes, it is read without a -shm file.
                connection.close()
                connection = _connect(f"{path.as_uri()}?immutable=1")
                is_empty = self._is_empty(connection)
        except BaseException:
            connection.close()
            raise
        if is_empty:
            connection.close()
            return _make(_connect(":memory:"))
        return connection

    def _is_empty(self, connection: sqlite3.Connection) -> bool:
        """Tell whether a database has no tables yet, and check that it is ours otherwise."""
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
            return True
        if application_id != APPLICATION_ID:
            raise EventLogRefused(f"{self.path}: a SQLite database, but no tree store")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > USER_VERSION:
            raise EventLogRefused(
                f"{self.path}: made by a newer tracebus (layout {version}, this one knows {USER_VERSION})"
            )
        return False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # No such table or column; text that is not UTF-8.
            if getattr(error, "sqlite_errorname", "") in ("", "SQLITE_ERROR"):
                raise self._damaged(error) from error
            is_busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
            advice = "; somebody else is changing it, try again" if is_busy else ""
            raise EventLogUnavailable(f"{self.path}: {error}{advice}") from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # a damaged name in SQLite's message
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> EventLogRefused:
        return EventLogRefused(
            f"{self.path}: {error}; it is damaged, or no tree store. It is built again if it is moved away, "
            "all but its checkpoints: see `tracebus log --help`"
        )


def tile_id(level: int, index: int) -> int:
    """Return the id of a tile in its table."""
    return level << _LEVEL_BITS | index


def _connect(database: str) -> sqlite3.Connection:
    return sqlite3.connect(
        database, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False, uri=True
    )


def _make(connection: sqlite3.Connection) -> sqlite3.Connection:
    for statement in _TABLES:
        connection.execute(statement)
    return connection
