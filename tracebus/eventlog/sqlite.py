"""An event log in one SQLite file: the embedded default.

========================  ==========================================================================
``log``                   one row: the log's origin, its digest algorithm, when it was made
``events``                a row an event: the columns are the header, from which its hash is derived
``payloads``              the committed payload's canonical bytes
``disclosures``           what belongs to an event's sensitive members, a row each
``users``                 which runs concern which user
``cursors``               how far each durable sink has come
``heads``                 where the heads leaves stand in the log's tree, and their map roots
``erasing``               which payloads and disclosures were erased and may still be in the files
========================  ==========================================================================

Each fact is there once (ADR 0007): no event hash is stored, so none can contradict the header.
Triggers refuse to change or delete events, payloads and disclosures, but for what is erased
(`tracebus.eventlog.sqlite_erasing`); they stop mistakes, not an insider, whom the chain, the bundles and
the checkpoints show.

What is erased is deleted from the tables at once, and from the bytes of the files by `scrub`. What SQLite
sorts stays in memory, so that no temporary files hold it.

Several processes may append to one file. A group of events is one ``BEGIN IMMEDIATE`` transaction
with one sync (WAL, ``synchronous=FULL``): heads are read, events sealed and stored inside it, so no
two writers follow the same event. Heads are cached for as long as nobody else has written.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from evidence.chain import RunHead
from evidence.digest import SHA256
from tracebus.errors import EventLogRefused, TracebusError
from tracebus.eventlog import sqlite_erasing, sqlite_schema
from tracebus.eventlog.base import (
    ANY_TENANT,
    AnyEvent,
    Draft,
    Erasure,
    EventLog,
    EventQuery,
    HeadsLeaf,
    RunSummary,
)
from tracebus.eventlog.erasing import Records, stored_events
from tracebus.eventlog.sealing import Sealer
from tracebus.eventlog.sqlite_errors import translated
from tracebus.eventlog.sqlite_file import SqliteFile
from tracebus.eventlog.sqlite_rows import (
    SELECT,
    event_of,
    is_selective,
    last_position,
    paged,
    selected,
    where,
)
from tracebus.eventlog.sqlite_writing import Writer, read_head
from tracebus.ids import NewId

_logger = logging.getLogger("tracebus.eventlog")

_PAUSE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 1.0  # of an opening that finds something to scrub


class SqliteEventLog(SqliteFile, EventLog):
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
        super().__init__(
            path,
            name=name,
            digest_algorithm=digest_algorithm,
            clock=clock,
            wait_seconds=wait_seconds,
            read_only=read_only,
        )
        self._new_id = new_id
        self._writer: Writer | None = None

    def _opened_to_write(self, connection: sqlite3.Connection) -> None:
        sealer = Sealer(self._origin, self._algorithm, clock=self._clock, new_id=self._new_id)
        self._writer = Writer(self.path, self._origin, sealer)
        try:
            named = sqlite_erasing.rewrite(connection, self.path)
            self._finish_scrub(named, min(self._wait_seconds, _PATIENCE_SECONDS))
        except TracebusError as error:
            _logger.warning("%s; it is tried again when the log is opened next", error)

    # Appending

    def append(self, groups: Sequence[Sequence[Draft]]) -> list[list[AnyEvent] | Exception]:
        with self._writing() as connection:
            assert self._writer is not None  # noqa: S101 (open() has set it)
            try:
                with self._writer.transaction(connection) as batch:
                    outcomes = [batch.add(group) for group in groups]
            except sqlite3.IntegrityError as error:
                # One group does not fit the tables: each by itself, so that it fails alone.
                if len(groups) == 1:
                    return [EventLogRefused(f"{self.path}: {error}")]
                return [self._append_alone(group) for group in groups]
            return outcomes

    def _append_alone(self, group: Sequence[Draft]) -> list[AnyEvent] | Exception:
        """Append one group; what fails now does not undo the groups before it."""
        try:
            return self.append([group])[0]
        except TracebusError as error:
            return error

    # Erasing

    def erase(self, erasure: Erasure) -> list[AnyEvent]:
        """Store the records and delete the targets, in one transaction."""
        records = Records(erasure)
        with self._writing() as connection:
            assert self._writer is not None  # noqa: S101 (open() has set it)
            try:
                with self._writer.transaction(connection, "read the log to find out") as batch:
                    events = stored_events(map(batch.add, erasure.records))
                    if batch.stored:
                        sqlite_erasing.delete(connection, self._origin, erasure, records)
            except sqlite3.IntegrityError as error:
                raise EventLogRefused(f"{self.path}: {error}") from error
            return events

    def scrub(self) -> None:
        """Write the file anew, and cut its write-ahead log.

        Publishers wait while the file is written. Readers are waited for as long as `wait_seconds` says.
        """
        with self._writing() as connection:
            named = sqlite_erasing.rewrite(connection, self.path)
        self._finish_scrub(named, self._wait_seconds)

    def _finish_scrub(self, named: sqlite_erasing.Named, seconds: float) -> None:
        """Cut the write-ahead log of the file that was written anew; wait for who reads or writes.

        Raises:
            EventLogUnavailable: They take longer.
        """
        deadline = time.monotonic() + seconds
        while named:
            with self._writing() as connection:
                if sqlite_erasing.cut(connection, self.path, self._wait_seconds):
                    sqlite_erasing.forget(connection, self.path, named)
                    return
            if time.monotonic() > deadline:
                raise sqlite_erasing.still_read(self.path)
            time.sleep(_PAUSE_SECONDS)

    def unscrubbed(self) -> int:
        """Return how many erased payloads and disclosures may still be in the bytes of the files."""
        with self._reading() as connection:
            return sqlite_erasing.unscrubbed(connection)

    # Reading

    def head(self, run_id: str) -> RunHead | None:
        with self._reading() as connection:
            return read_head(connection, run_id, self._origin)

    def last_position(self) -> int:
        with self._reading() as connection:
            return last_position(connection)

    def query(self, query: EventQuery) -> Iterator[AnyEvent]:
        with self._reading() as connection:
            read = selected if is_selective(query) else paged
            for row in read(connection, query):
                yield event_of(row, self._origin)

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
        with self._lock, translated(self.path):
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
        with self._writing() as connection, translated(self.path):
            added = connection.execute(
                "INSERT INTO heads SELECT ?, ?, ? WHERE (SELECT coalesce(max(ordinal), -1) FROM heads) = ?",
                (ordinal, *leaf, ordinal - 1),
            )
            return added.rowcount == 1

    def __repr__(self) -> str:
        return f"SqliteEventLog({os.fspath(self.path)!r})"
