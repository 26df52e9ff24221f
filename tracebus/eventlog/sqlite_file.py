"""The file of a SQLite event log: made, opened, checked, and connected to.

One connection writes, for one thread at a time. Each reader has a connection of its own, so that readers
and the writer never wait for each other.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from evidence.digest import ALGORITHMS, SHA256
from evidence.errors import MalformedInput
from evidence.header import check_header, format_timestamp, is_origin
from tracebus.errors import EventLogRefused, EventLogUnavailable, LogTruncated
from tracebus.eventlog import forks, sqlite_schema
from tracebus.eventlog.base import check_algorithm, new_origin
from tracebus.eventlog.sqlite_errors import translated
from tracebus.eventlog.sqlite_rows import SELECT, event_of, last_position
from tracebus.transparency.store import TreeStore


class SqliteFile(ABC):
    """What of a SQLite event log is the file; `tracebus.eventlog.SqliteEventLog` explains the arguments."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str,
        digest_algorithm: str,
        clock: Callable[[], int],
        wait_seconds: float,
        read_only: bool,
    ) -> None:
        if os.fspath(path) in (":memory:", ""):
            raise ValueError("path: expected a file, for each connection has its own :memory:")
        self.path = Path(path).absolute()
        self._name = name
        self._new_algorithm = check_algorithm(digest_algorithm)
        self._clock = clock
        self._wait_seconds = wait_seconds
        self._read_only = read_only
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self.tree_store = TreeStore(self.path.with_name(f"{self.path.name}-tree"), read_only=read_only)
        self._inode = (0, 0)
        self._is_lost = False
        self._origin = ""
        self._algorithm = SHA256

    @property
    def origin(self) -> str:
        """The log's name and the ULID of its creation."""
        if not self._origin:
            self.open()
        return self._origin

    @property
    def digest_algorithm(self) -> str:
        """The algorithm of contentHash and event hash."""
        if not self._origin:
            self.open()
        return self._algorithm

    def open(self) -> None:
        """Open the file, or make it.

        A log whose scrubbing was interrupted is scrubbed; where that is not possible now, a warning says so.

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
            with translated(self.path):
                connection = self._connect()
            try:
                with translated(self.path):
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
                self._opened_to_write(connection)

    @abstractmethod
    def _opened_to_write(self, connection: sqlite3.Connection) -> None:
        """Do what is to be done when the file was opened; only origin and algorithm may have changed."""

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def let_go(self) -> list[tuple[Path, sqlite3.Connection]]:
        """Forget the connection in a forked process (`tracebus.eventlog.forks`)."""
        connection, self._connection = self._connection, None
        self._lock = threading.RLock()  # a thread of the other process may have held it
        return [] if connection is None else [(self.path, connection)]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for one reader."""
        if not self._origin:
            self.open()
        with translated(self.path):
            connection = self._connect()
        with closing(connection), translated(self.path):
            connection.execute("PRAGMA query_only = ON")
            yield connection

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

    def _is_open(self) -> bool:
        return self._connection is not None or (self._read_only and self._origin != "")

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

    # Connections

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
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._wait_seconds, isolation_level=None, check_same_thread=False
        )
        # What SQLite sorts, or may have to undo, would go to files of another folder, where nobody erases.
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    # What the file has to be

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
        found = _event_hash_at(connection, state.position, origin)
        if found != state.last_event:
            raise LogTruncated(
                self.path, state.position, last_position(connection), is_other=found is not None
            )

    def _read_identity(self, connection: sqlite3.Connection) -> None:
        origin, algorithm = self._identity_in(connection)
        if self._origin not in ("", origin):
            raise EventLogRefused(
                f"{self.path}: is log {origin}, was {self._origin} when it was opened first"
            )
        self._origin, self._algorithm = origin, algorithm
        status = self.path.stat()
        self._inode = (status.st_dev, status.st_ino)

    def _identity_in(self, connection: sqlite3.Connection) -> tuple[str, str]:
        row = connection.execute("SELECT origin, digest_algorithm FROM log").fetchone()
        if row is None or not is_origin(row[0]) or row[1] not in ALGORITHMS:
            raise EventLogRefused(f"{self.path}: table log does not say whose log this is; it was altered")
        return row[0], row[1]


def _event_hash_at(connection: sqlite3.Connection, position: int, origin: str) -> str | None:
    """Return the event hash at a position; None if there is no event there, "" if it is none any more."""
    row = connection.execute(f"{SELECT} WHERE e.position = ?", (position,)).fetchone()
    if row is None:
        return None
    event = event_of(row, origin)
    try:
        check_header(event._header, "event")
    except MalformedInput:
        return ""
    return event.event_hash
