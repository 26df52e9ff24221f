"""What anchors brought back, kept beside the checkpoints in the tree store.

=================  =================================================================================
``receipts``       of each anchor and size: when it took the checkpoint, and what it said of that
``attempts``       of each anchor: its newest attempt, and why it failed
``cosignatures``   witnesses' signature lines, the newest of each key, by size
``timestamps``     timestamp authorities' responses, the first of each anchor, by size
=================  =================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from evidence.note import NoteSignature

if TYPE_CHECKING:
    from tracebus.transparency.store import TreeStore

TABLES: Final = (
    "CREATE TABLE receipts (anchor TEXT, size INTEGER, at INTEGER NOT NULL, details TEXT NOT NULL, "
    "PRIMARY KEY (anchor, size)) STRICT, WITHOUT ROWID",
    "CREATE TABLE attempts (anchor TEXT PRIMARY KEY, at INTEGER NOT NULL, failures INTEGER NOT NULL, "
    "error TEXT, refused INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE cosignatures (size INTEGER, name TEXT, key_id BLOB, signature BLOB NOT NULL, "
    "PRIMARY KEY (size, name, key_id)) STRICT, WITHOUT ROWID",
    "CREATE TABLE timestamps (size INTEGER, anchor TEXT, response BLOB NOT NULL, "
    "PRIMARY KEY (size, anchor)) STRICT, WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an anchor gives for a checkpoint.

    Attributes:
        size: The size of the checkpoint that it has.
        cosignatures: Witnesses' signature lines for the checkpoint, verified.
        timestamp: An RFC 3161 response about the checkpoint, DER, verified.
        details: What else is to be known of it, such as the version ids of objects.
    """

    size: int
    cosignatures: tuple[NoteSignature, ...] = ()
    timestamp: bytes | None = None
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnchorStatus:
    """How an anchor is doing. Times are POSIX seconds.

    Attributes:
        anchor: Its name.
        size: The size of the largest checkpoint that it has; None for none.
        anchored_at: When it last took a checkpoint, perhaps the same once more.
        behind: By how many leaves that is smaller than the newest checkpoint.
        attempted_at: When it was last tried.
        failures: How often it has failed since it last took one.
        error: Why it failed last; None if it did not.
        refused: Whether that is because its history of the log is another.
    """

    anchor: str
    size: int | None = None
    anchored_at: int | None = None
    behind: int = 0
    attempted_at: int | None = None
    failures: int = 0
    error: str | None = None
    refused: bool = False


class Anchorings:
    """Keeps receipts and failures of anchors in a tree store; each method is one change, or none.

    Raises:
        EventLogUnavailable: From any method, when the store cannot be used now.
    """

    def __init__(self, store: TreeStore) -> None:
        self._store = store

    def add_receipt(self, anchor: str, receipt: Receipt, now: int) -> None:
        """Store what an anchor gave, and that it is well."""
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO receipts VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET at = excluded.at, details = excluded.details",
                (anchor, receipt.size, now, json.dumps(dict(receipt.details))),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO cosignatures VALUES (?, ?, ?, ?)",
                [(receipt.size, each.name, each.key_id, each.signature) for each in receipt.cosignatures],
            )
            if receipt.timestamp is not None:
                connection.execute(
                    "INSERT OR IGNORE INTO timestamps VALUES (?, ?, ?)",
                    (receipt.size, anchor, receipt.timestamp),
                )
            connection.execute("INSERT OR REPLACE INTO attempts VALUES (?, ?, 0, NULL, 0)", (anchor, now))

    def add_failure(self, anchor: str, error: str, now: int, *, refused: bool) -> None:
        """Store that an anchor failed."""
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO attempts VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at, "
                "failures = failures + 1, error = excluded.error, refused = excluded.refused",
                (anchor, now, error, refused),
            )

    def latest(self, anchor: str) -> Receipt | None:
        """Return an anchor's receipt for the largest checkpoint that it has, or None."""
        with self._store.using() as connection:
            row = connection.execute(
                "SELECT size, details FROM receipts WHERE anchor = ? ORDER BY size DESC LIMIT 1", (anchor,)
            ).fetchone()
            if row is None:
                return None
            size, details = row
            response = connection.execute(
                "SELECT response FROM timestamps WHERE size = ? AND anchor = ?", (size, anchor)
            ).fetchone()
        return Receipt(
            size, timestamp=None if response is None else bytes(response[0]), details=json.loads(details)
        )

    def receipts(self, anchor: str) -> list[Receipt]:
        """Return all of an anchor's receipts with their details, the oldest first."""
        with self._store.using() as connection:
            rows = connection.execute(
                "SELECT size, details FROM receipts WHERE anchor = ? ORDER BY size", (anchor,)
            ).fetchall()
        return [Receipt(size, details=json.loads(details)) for size, details in rows]

    def status(self) -> dict[str, AnchorStatus]:
        """Return how each anchor is doing that was ever tried, by name."""
        with self._store.using() as connection:
            rows = connection.execute(
                "SELECT anchor, max(size), max(receipts.at), "
                "(SELECT coalesce(max(size), 0) FROM checkpoints) - coalesce(max(size), 0), "
                "attempts.at, failures, error, refused "
                "FROM attempts LEFT JOIN receipts USING (anchor) GROUP BY anchor ORDER BY anchor"
            ).fetchall()
        return {row[0]: replace(AnchorStatus(*row), refused=bool(row[-1])) for row in rows}

    def cosignatures(self, size: int) -> tuple[NoteSignature, ...]:
        """Return the witnesses' signature lines for the checkpoint of a size."""
        with self._store.using() as connection:
            rows = connection.execute(
                "SELECT name, key_id, signature FROM cosignatures WHERE size = ? ORDER BY name, key_id",
                (size,),
            ).fetchall()
        return tuple(NoteSignature(*row) for row in rows)

    def timestamps(self, size: int) -> tuple[bytes, ...]:
        """Return the timestamps of the checkpoint of a size."""
        with self._store.using() as connection:
            rows = connection.execute(
                "SELECT response FROM timestamps WHERE size = ? ORDER BY anchor", (size,)
            ).fetchall()
        return tuple(bytes(response) for (response,) in rows)
