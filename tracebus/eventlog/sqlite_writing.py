"""Writing to a SQLite event log: groups of events sealed and stored in one transaction, with one sync."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from evidence.chain import RunHead, head_of
from evidence.header import check_header
from tracebus.errors import AppendUnknown
from tracebus.eventlog.base import AnyEvent, Draft
from tracebus.eventlog.sealing import Batch, Sealer
from tracebus.eventlog.sqlite_errors import advice_on, translated
from tracebus.eventlog.sqlite_rows import INSERT_EVENTS, SELECT, event_of, insert, last_position, values_of

_MAX_CACHED_HEADS: Final = 10_000


class Writer:
    """Seals and stores events; it caches runs' heads for as long as nobody else has written.

    Args:
        path: The file, for messages.
        origin: The log's origin.
        sealer: Seals the events.
    """

    def __init__(self, path: Path, origin: str, sealer: Sealer) -> None:
        self._path = path
        self._origin = origin
        self._sealer = sealer
        self._heads: dict[str, RunHead] = {}
        self._last_position = 0
        self._data_version = -1

    @contextmanager
    def transaction(
        self,
        connection: sqlite3.Connection,
        to_find_out: str = "publish again with the same key to find out",
    ) -> Iterator[Batch]:
        """All that the block does to the tables, and the events of the batch, durably, or nothing.

        Raises:
            EventLogUnavailable: The file cannot be written now.
            AppendUnknown: It cannot be told whether it was done.
        """
        with translated(self._path):
            connection.execute("BEGIN IMMEDIATE")
        try:
            with translated(self._path):
                self._refresh(connection)
                batch = Batch(
                    self._sealer,
                    lambda run_id: self._heads.get(run_id) or read_head(connection, run_id, self._origin),
                    lambda run_id, key: self._find_key(connection, run_id, key),
                )
                yield batch
                self._insert(connection, batch.stored)
        except BaseException:
            _roll_back(connection)
            raise
        self._commit(connection, to_find_out)
        self._last_position += len(batch.stored)
        self._remember(batch.heads)

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Forget what is cached if another connection has written since."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._data_version = version
            self._heads.clear()
            self._last_position = last_position(connection)

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

    def _commit(self, connection: sqlite3.Connection, to_find_out: str) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # What was written to the WAL may yet be found there by recovery.
            _roll_back(connection)
            self._data_version = -1
            raise AppendUnknown(
                f"{self._path}: commit failed ({error}{advice_on(error)}); {to_find_out}"
            ) from error

    def _remember(self, heads: dict[str, RunHead]) -> None:
        self._heads |= heads
        if len(self._heads) > _MAX_CACHED_HEADS:
            self._heads = dict(list(self._heads.items())[_MAX_CACHED_HEADS // 2 :])

    def _find_key(self, connection: sqlite3.Connection, run_id: str, key: str) -> AnyEvent | None:
        row = connection.execute(f"{SELECT} WHERE e.run_id = ? AND e.key = ?", (run_id, key)).fetchone()
        return None if row is None else event_of(row, self._origin)


def read_head(connection: sqlite3.Connection, run_id: str, origin: str) -> RunHead | None:
    """Return the head of a run; None if the log has no such run."""
    row = connection.execute(f"{SELECT} WHERE e.run_id = ? ORDER BY e.seq DESC LIMIT 1", (run_id,)).fetchone()
    if row is None:
        return None
    header = event_of(row, origin)._header
    check_header(header, f"event {header.get('seq')} of run {run_id}")
    return head_of(header)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
