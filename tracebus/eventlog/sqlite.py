"""An event log in one SQLite file: the embedded default.

========================  ==========================================================================
``log``                   one row: the log's origin, its digest algorithm, when it was made
``events``                a row an event: the columns are the header, from which its hash is derived
``payloads``              the committed payload's canonical bytes
``disclosures``           what belongs to an event's sensitive members, a row each
``users``                 which runs concern which user
``cursors``               how far each durable sink has come
``heads``                 where the heads leaves stand in the log's tree, and their map roots
========================  ==========================================================================

Each fact is there once (ADR 0007): no event hash is stored, so none can contradict the header.
Triggers refuse to change or delete events, payloads and disclosures; they stop mistakes, not an
insider, whom the chain, the bundles and the checkpoints show.

Several processes may append to one file. A group of events is one ``BEGIN IMMEDIATE`` transaction
with one sync (WAL, ``synchronous=FULL``): heads are read, events sealed and stored inside it, so no
two writers follow the same event. Heads are cached for as long as nobody else has written.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from evidence.chain import RunHead, head_of
from evidence.digest import ALGORITHMS, SHA256
from evidence.errors import MalformedInput
from evidence.header import check_header, format_timestamp, is_origin
from tracebus.errors import (
    AppendUnknown,
    EventLogRefused,
    EventLogUnavailable,
    LogTruncated,
    TracebusError,
)
from tracebus.eventlog import forks, sqlite_schema
from tracebus.eventlog.base import (
    ANY_TENANT,
    AnyEvent,
    Draft,
    EventLog,
    EventQuery,
    HeadsLeaf,
    RunSummary,
    check_algorithm,
    new_origin,
)
from tracebus.eventlog.sealing import Batch, Sealer
from tracebus.eventlog.sqlite_rows import INSERT_EVENTS, SELECT, event_of, insert, values_of, where
from tracebus.ids import NewId
from tracebus.transparency.store import TreeStore

_PAGE: Final = 500
_MAX_CACHED_HEADS: Final = 10_000


class SqliteEventLog(EventLog):
    """An event log in a SQLite file; it is made when it is first opened.

    Args:
        path: The file. Beside it, SQLite keeps ``-wal`` and ``-shm`` while it is open.
        name: The name of a new log, the first part of its origin.
        digest_algorithm: ``sha256`` or ``blake3``, for a new log.
        clock: Returns the time in nanoseconds since 1970.
        new_id: Makes event ids.
        wait_seconds: How long to wait for another process that is writing, before an append fails.
        read_only: Make nothing, write nothing, and read also a log that is not fit to be appended
            to, so that it can be looked into.

    Raises:
        ValueError: The path is SQLite's ``:memory:``; use `MemoryEventLog`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "tracebus",
        digest_algorithm: str = SHA256,
        clock: Callable[[], int] = time.time_ns,
        new_id: NewId | None = None,
        wait_seconds: float = 10.0,
        read_only: bool = False,
    ) -> None:
        if os.fspath(path) in (":memory:", ""):
            raise ValueError("path: expected a file, for each connection has its own :memory:")
        self.path = Path(path).absolute()
        self._name = name
        self._new_algorithm = check_algorithm(digest_algorithm)
        self._clock = clock
        self._new_id = new_id
        self._wait_seconds = wait_seconds
        self._read_only = read_only
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self.tree_store = TreeStore(self.path.with_name(f"{self.path.name}-tree"), read_only=read_only)
        self._inode = (0, 0)
        self._is_lost = False
        self._origin = ""
        self._algorithm = SHA256
        self._sealer: Sealer | None = None
        self._heads: dict[str, RunHead] = {}
        self._last_position = 0
        self._data_version = -1

    # Opening

    @property
    def origin(self) -> str:
        if not self._origin:
            self.open()
        return self._origin

    @property
    def digest_algorithm(self) -> str:
        if not self._origin:
            self.open()
        return self._algorithm

    def open(self) -> None:
        """Open the file, or make it.

        Raises:
            EventLogRefused: It is no event log, one of a newer release, its append-only rules were
                taken out, or the file system cannot do write-ahead logging.
            EventLogUnavailable: It cannot be opened, is locked, or is not there and `read_only`.
        """
        if self._is_open():
            return  # without the lock, which a writer holds while it appends
        with self._lock:
            if self._is_open():
                return
            if self._origin and not self.path.exists():
                raise EventLogUnavailable(f"{self.path}: the file of log {self._origin} is gone")
            if self._read_only and not self.path.is_file():
                raise EventLogUnavailable(f"{self.path}: there is no such event log")
            self._check_before_opening()
            with _translated(self.path):
                connection = self._connect()
            try:
                with _translated(self.path):
                    sqlite_schema.check_identity(connection, self.path)
                    if not self._read_only:
                        self._prepare(connection)
                    self._read_identity(connection)
            except BaseException:
                connection.close()
                raise
            if self._read_only:
                connection.close()  # each reader has a connection of its own
            else:
                self._connection = connection
                self._is_lost = False
                forks.register(self)

    def _check_before_opening(self) -> None:
        """Check what SQLite would find out too late, or not at all.

        Raises:
            EventLogUnavailable: The process was forked from one that has the file open; the file took the
                place of the one that was open, with whose -wal it would be mixed; or it may not be written,
                and SQLite would leave a -shm that may not be either.
        """
        forks.check_not_inherited(self.path)
        try:
            status = os.stat(self.path)
        except OSError:
            return
        if self._is_lost and (status.st_dev, status.st_ino) != self._inode:
            raise self._replaced()
        if not self._read_only and not os.access(self.path, os.W_OK):
            raise EventLogUnavailable(
                f"{self.path}: may not be written; check the permissions of the file and its folder"
            )

    def let_go(self) -> list[tuple[Path, sqlite3.Connection]]:
        """Forget the connection in a forked process (`tracebus.eventlog.forks`)."""
        connection, self._connection = self._connection, None
        self._lock = threading.RLock()  # a thread of the other process may have held it
        return [] if connection is None else [(self.path, connection)]

    def _is_open(self) -> bool:
        return self._connection is not None or (self._read_only and self._origin != "")

    def _connect(self) -> sqlite3.Connection:
        uri = self.path.as_uri()
        if not self._read_only:
            # A log that was there is never made anew: it would be another one.
            return self._connect_to(f"{uri}?mode={'rw' if self._origin else 'rwc'}")
        connection = self._connect_to(f"{uri}?mode=ro")
        try:
            connection.execute("PRAGMA user_version")
        except sqlite3.OperationalError:
            # In a folder that cannot be written, where nobody writes, it is read without a -shm file.
            connection.close()
            return self._connect_to(f"{uri}?immutable=1")
        return connection

    def _connect_to(self, uri: str) -> sqlite3.Connection:
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=self._wait_seconds,
            isolation_level=None,
            check_same_thread=False,
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new log, or check those of an old one, to be appended to."""
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise EventLogRefused(f"{self.path}: needs write-ahead logging, its file system gives {mode}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if sqlite_schema.is_empty(connection):
                created = format_timestamp(self._clock())
                sqlite_schema.create(connection, new_origin(self._name), self._new_algorithm, created)
            sqlite_schema.check(connection, self.path)
            self._check_tree(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _check_tree(self, connection: sqlite3.Connection) -> None:
        """Check that the log has the newest event that its tree has.

        Raises:
            LogTruncated: It has lost events, or has others in their place.
            EventLogRefused: The tree store beside it is damaged, or another log's.
        """
        (origin, _) = self._identity_in(connection)
        state = self.tree_store.state_of(origin)
        row = connection.execute(f"{SELECT} WHERE e.position = ?", (state.position,)).fetchone()
        if (None if row is None else _event_hash(row, origin)) != state.last_event:
            raise LogTruncated(
                self.path, state.position, _last_position(connection), is_other=row is not None
            )

    def _read_identity(self, connection: sqlite3.Connection) -> None:
        origin, algorithm = self._identity_in(connection)
        if self._origin not in ("", origin):
            raise EventLogRefused(
                f"{self.path}: is log {origin}, was {self._origin} when it was opened first"
            )
        self._origin, self._algorithm = origin, algorithm
        self._sealer = Sealer(self._origin, self._algorithm, clock=self._clock, new_id=self._new_id)
        self._data_version = -1
        status = self.path.stat()
        self._inode = (status.st_dev, status.st_ino)

    def _identity_in(self, connection: sqlite3.Connection) -> tuple[str, str]:
        row = connection.execute("SELECT origin, digest_algorithm FROM log").fetchone()
        if row is None or not is_origin(row[0]) or row[1] not in ALGORITHMS:
            raise EventLogRefused(f"{self.path}: table log does not say whose log this is; it was altered")
        return row[0], row[1]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for one reader, so that readers and the writer never wait."""
        if not self._origin:
            self.open()
        with _translated(self.path):
            connection = self._connect()
        with closing(connection), _translated(self.path):
            connection.execute("PRAGMA query_only = ON")
            yield connection

    # Appending

    def append(self, groups: Sequence[Sequence[Draft]]) -> list[list[AnyEvent] | Exception]:
        with self._writing() as connection:
            try:
                return self._append(connection, groups)
            except sqlite3.IntegrityError as error:
                # One group does not fit the tables: each by itself, so that it fails alone.
                if len(groups) == 1:
                    return [EventLogRefused(f"{self.path}: {error}")]
                return [self._append_alone(group) for group in groups]

    def _append_alone(self, group: Sequence[Draft]) -> list[AnyEvent] | Exception:
        """Append one group; what fails now does not undo the groups before it."""
        try:
            return self.append([group])[0]
        except TracebusError as error:
            return error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection, for one thread at a time."""
        with self._lock:
            if self._read_only:
                raise EventLogRefused(f"{self.path}: was opened to be read only")
            self.open()
            assert self._connection is not None  # noqa: S101 (open() has just set it)
            self._check_file()
            yield self._connection

    def _check_file(self) -> None:
        """Check that the path still leads to the open file; SQLite would write on into the old one.

        Raises:
            EventLogUnavailable: It was deleted or replaced.
        """
        try:
            status = os.stat(self.path)
        except OSError as error:
            self.close()
            self._is_lost = True
            raise EventLogUnavailable(f"{self.path}: the file is gone: {error.strerror}") from None
        if (status.st_dev, status.st_ino) != self._inode:
            self.close()
            self._is_lost = True
            raise self._replaced()

    def _replaced(self) -> EventLogUnavailable:
        return EventLogUnavailable(
            f"{self.path}: the file was replaced by another while it was open; close the log, take away the "
            "-wal and -shm files beside it, which are of the other, and open it in a new process"
        )

    def _append(
        self, connection: sqlite3.Connection, groups: Sequence[Sequence[Draft]]
    ) -> list[list[AnyEvent] | Exception]:
        assert self._sealer is not None  # noqa: S101 (open() has set it)
        with _translated(self.path):
            connection.execute("BEGIN IMMEDIATE")
        try:
            with _translated(self.path):
                self._refresh(connection)
                batch = Batch(
                    self._sealer,
                    lambda run_id: self._find_head(connection, run_id),
                    lambda run_id, key: self._find_key(connection, run_id, key),
                )
                outcomes = [batch.add(group) for group in groups]
                self._insert(connection, batch.stored)
        except BaseException:
            _roll_back(connection)
            raise
        self._commit(connection)
        self._last_position += len(batch.stored)
        self._remember(batch.heads)
        return outcomes

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Forget what is cached if another connection has written since."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._data_version = version
            self._heads.clear()
            self._last_position = _last_position(connection)

    def _insert(self, connection: sqlite3.Connection, stored: list[tuple[Draft, AnyEvent]]) -> None:
        events, payloads, disclosures, users = [], [], [], []
        for position, (draft, event) in enumerate(stored, self._last_position + 1):
            event._position = position
            events.append((position, *values_of(event._header)))
            payloads.append((position, draft.committed.payload.decode()))
            disclosures += [(position, i, text) for i, text in enumerate(draft.committed.disclosures)]
            if draft.user_id is not None:
                users.append((draft.user_id, draft.run_id))
        insert(connection, INSERT_EVENTS, events)
        insert(connection, "INSERT INTO payloads (position, payload) VALUES ", payloads)
        insert(connection, "INSERT INTO disclosures (position, ordinal, disclosure) VALUES ", disclosures)
        insert(connection, "INSERT OR IGNORE INTO users (user_id, run_id) VALUES ", users)

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # What was written to the WAL may yet be found there by recovery.
            _roll_back(connection)
            self._data_version = -1
            raise AppendUnknown(
                f"{self.path}: commit failed ({error}{_advice(error)}); "
                "publish again with the same key to find out"
            ) from error

    def _remember(self, heads: dict[str, RunHead]) -> None:
        self._heads |= heads
        if len(self._heads) > _MAX_CACHED_HEADS:
            self._heads = dict(list(self._heads.items())[_MAX_CACHED_HEADS // 2 :])

    def _find_head(self, connection: sqlite3.Connection, run_id: str) -> RunHead | None:
        return self._heads.get(run_id) or self._read_head(connection, run_id)

    def _read_head(self, connection: sqlite3.Connection, run_id: str) -> RunHead | None:
        row = connection.execute(
            f"{SELECT} WHERE e.run_id = ? ORDER BY e.seq DESC LIMIT 1", (run_id,)
        ).fetchone()
        if row is None:
            return None
        header = event_of(row, self._origin)._header
        check_header(header, f"event {header.get('seq')} of run {run_id}")
        return head_of(header)

    def _find_key(self, connection: sqlite3.Connection, run_id: str, key: str) -> AnyEvent | None:
        row = connection.execute(f"{SELECT} WHERE e.run_id = ? AND e.key = ?", (run_id, key)).fetchone()
        return None if row is None else event_of(row, self._origin)

    # Reading

    def head(self, run_id: str) -> RunHead | None:
        with self._reading() as connection:
            return self._read_head(connection, run_id)

    def last_position(self) -> int:
        with self._reading() as connection:
            return _last_position(connection)

    def query(self, query: EventQuery) -> Iterator[AnyEvent]:
        conditions, values = where(query)
        after, found = query.after, 0
        with self._reading() as connection:
            while query.limit is None or found < query.limit:
                page = _PAGE if query.limit is None else min(_PAGE, query.limit - found)
                rows = connection.execute(
                    f"{SELECT} WHERE e.position > ?{conditions} ORDER BY e.position LIMIT ?",
                    (after, *values, page),
                ).fetchall()
                yield from (event_of(row, self._origin) for row in rows)
                if len(rows) < page:
                    return
                after, found = rows[-1][0], found + len(rows)

    def runs(
        self, *, workflow_id: str | None = None, tenant_id: str | object | None = ANY_TENANT
    ) -> Iterator[RunSummary]:
        conditions, values = where(EventQuery(workflow_id=workflow_id, tenant_id=tenant_id))
        with self._reading() as connection:
            yield from (
                RunSummary(*row)
                for row in connection.execute(
                    "SELECT e.run_id, e.workflow_id, e.tenant_id, l.seq + 1, e.timestamp, l.timestamp, l.type"
                    " FROM events e JOIN events l ON l.run_id = e.run_id"
                    " AND l.seq = (SELECT max(m.seq) FROM events m WHERE m.run_id = e.run_id)"
                    f" WHERE e.seq = 0{conditions} ORDER BY e.position",
                    values,
                )
            )

    def scan(self) -> Iterator[AnyEvent]:
        with self._reading() as connection:
            for row in connection.execute(f"{SELECT} ORDER BY e.run_id, e.seq, e.position"):
                yield event_of(row, self._origin)

    def check_store(self) -> Iterator[str]:
        """Yield what is wrong with the file itself: damaged pages, tables or triggers changed."""
        with self._reading() as connection:
            yield from sqlite_schema.faults(connection)

    def check_leftovers(self) -> Iterator[str]:
        """Yield what is left of events that are gone: payloads and disclosures without one."""
        with self._reading() as connection:
            yield from sqlite_schema.leftovers(connection)

    def load_cursor(self, sink: str) -> int | None:
        """Return the position that a sink has confirmed."""
        with self._reading() as connection:
            row = connection.execute("SELECT position FROM cursors WHERE sink = ?", (sink,)).fetchone()
        return None if row is None else row[0]

    def save_cursor(self, sink: str, position: int) -> None:
        """Store the position that a sink has confirmed."""
        with self._lock, _translated(self.path):
            self.open()
            assert self._connection is not None  # noqa: S101 (open() has just set it)
            self._connection.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (sink, position))

    def heads_leaves(self, first: int = 0) -> list[HeadsLeaf]:
        """Return the heads leaves from an ordinal on."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT position, map_root FROM heads WHERE ordinal >= ? ORDER BY ordinal", (first,)
            )
            return [HeadsLeaf(position, bytes(root)) for position, root in rows]

    def add_heads_leaf(self, ordinal: int, leaf: HeadsLeaf) -> bool:
        """Store the next heads leaf."""
        with self._writing() as connection, _translated(self.path):
            added = connection.execute(
                "INSERT INTO heads SELECT ?, ?, ? WHERE (SELECT coalesce(max(ordinal), -1) FROM heads) = ?",
                (ordinal, *leaf, ordinal - 1),
            )
            return added.rowcount == 1

    def __repr__(self) -> str:
        return f"SqliteEventLog({os.fspath(self.path)!r})"


def _last_position(connection: sqlite3.Connection) -> int:
    (position,) = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
    return int(position)


def _event_hash(row: tuple[Any, ...], origin: str) -> str | None:
    """Return the event hash of a row of `SELECT`; None if it is no event any more."""
    event = event_of(row, origin)
    try:
        check_header(event._header, "event")
    except MalformedInput:
        return None
    return event.event_hash


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as ours; the one place that knows them."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # a row that does not fit, which `append` sorts out; a mistake in a call
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" in str(error):
            raise EventLogRefused(f"{path}: {error}; it is damaged") from error
        raise EventLogUnavailable(f"{path}: {error}{_advice(error)}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # a damaged name in SQLite's message
        raise EventLogRefused(f"{path}: {error}; it is damaged, or no event log") from error


def _advice(error: sqlite3.Error) -> str:
    advice = {
        "SQLITE_BUSY": "; another process holds it, try again",
        "SQLITE_FULL": "; free some space, and publish again",
        "SQLITE_READONLY": "; check the permissions of the file and its folder",
        "SQLITE_CANTOPEN": "; check that its folder exists and may be written",
    }
    name = getattr(error, "sqlite_errorname", "")
    return next((text for prefix, text in advice.items() if name.startswith(prefix)), "")
