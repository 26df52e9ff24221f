"""Erasing from a SQLite event log: rows deleted, then the file written anew (ADR 0018).

The table ``erasing`` names the rows: by position, and the ordinal of a disclosure or -1 for the payload.
The triggers let them go, and nothing else. As long as a row of it is there, the files have to be scrubbed:

1. ``VACUUM`` writes the file anew, from the rows that are there. To overwrite what is deleted
   (``secure_delete``) is not enough: when a page was split, what moved stays in the gap of the old one.
2. ``wal_checkpoint(TRUNCATE)`` cuts the write-ahead log, in which the pages from before still stand. It
   has been cut only if SQLite says that nobody kept it from that.
3. The rows that `erasing` had *before* 1 are deleted from it. Whatever happens before that is durable, the
   next one begins again at 1; what somebody else erased in the meantime stays named. To be durable, its
   commit has to sync the write-ahead log, and with it that it was cut.

The temporary file that ``VACUUM`` makes is a copy of what is there, too, and has nothing of what is not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tracebus.errors import EventLogUnavailable, UnknownEvent
from tracebus.eventlog.base import Erasure
from tracebus.eventlog.erasing import HOLD_TYPE, Records, chosen, hold_since, takes_user
from tracebus.eventlog.sqlite_errors import advice_on, translated
from tracebus.eventlog.sqlite_rows import SELECT, event_of, insert
from tracebus.eventlog.sqlite_schema import WHOLE_PAYLOAD

Named = list[tuple[int, int]]
"""Rows of ``erasing``: position, and ordinal."""

_PATIENCE_MS: Final = 50  # for readers, while the writers are kept waiting, too


def delete(connection: sqlite3.Connection, origin: str, erasure: Erasure, records: Records) -> None:
    """Delete the targets of an erasure, within the transaction that is open, and name them in `erasing`.

    Raises:
        AppendConflict, UnknownEvent, ValueError, EvidenceError: As `ErasableLog.erase`.
    """
    _check_holds(connection, origin, erasure.planned_at)
    payloads: Named = []
    disclosures: Named = []
    runs: list[str] = []
    for event_id, digests in erasure.targets.items():
        row = connection.execute(f"{SELECT} WHERE e.id = ?", (event_id,)).fetchone()
        if row is None:
            raise UnknownEvent(f"the log has no event {event_id}")
        event, position = event_of(row, origin), row[0]
        gone = chosen(event, digests)
        records.check(event, digests)
        if digests is None:
            payloads.append((position, WHOLE_PAYLOAD))
        if takes_user(event, digests):
            runs.append(event.run_id)
        held = connection.execute(
            "SELECT position, ordinal, disclosure FROM disclosures WHERE position = ?", (position,)
        )
        disclosures += [(at, ordinal) for at, ordinal, text in held if text in gone]
    connection.execute("PRAGMA secure_delete = ON")
    insert(connection, "INSERT INTO erasing (position, ordinal) VALUES ", payloads + disclosures)
    connection.executemany("DELETE FROM disclosures WHERE position = ? AND ordinal = ?", disclosures)
    connection.executemany("DELETE FROM payloads WHERE position = ?", [row[:1] for row in payloads])
    if runs:
        connection.execute(
            "DELETE FROM users WHERE run_id IN (SELECT value FROM json_each(?))", (json.dumps(runs),)
        )


def _check_holds(connection: sqlite3.Connection, origin: str, planned_at: int) -> None:
    row = connection.execute(
        f"{SELECT} WHERE e.position > ? AND e.type = ? ORDER BY e.position LIMIT 1", (planned_at, HOLD_TYPE)
    ).fetchone()
    if row is not None:
        raise hold_since(event_of(row, origin), planned_at)


def unscrubbed(connection: sqlite3.Connection) -> int:
    """Return how many deleted payloads and disclosures may still be in the files."""
    (count,) = connection.execute("SELECT count(*) FROM erasing").fetchone()
    return int(count)


def rewrite(connection: sqlite3.Connection, path: Path) -> Named:
    """Write the file anew; return what of `erasing` is gone from it now. Writers wait meanwhile.

    Raises:
        EventLogUnavailable: Not now: somebody else is writing, or there is no space.
    """
    with translated(path):
        named = connection.execute("SELECT position, ordinal FROM erasing").fetchall()
    if not named:
        return []
    try:
        with translated(path):
            connection.execute("PRAGMA temp_store = FILE")  # a copy of the whole log
            connection.execute("VACUUM")
    except EventLogUnavailable as error:
        cause = error.__cause__
        what = f"{cause}{_advice(cause)}" if isinstance(cause, sqlite3.Error) else str(error)
        raise EventLogUnavailable(f"{path}: what was erased may still be in the file: {what}") from cause
    finally:
        connection.execute("PRAGMA temp_store = MEMORY")
    return named


def cut(connection: sqlite3.Connection, path: Path, wait_seconds: float) -> bool:
    """Cut the write-ahead log to nothing; return False if somebody is reading or writing.

    Raises:
        EventLogUnavailable: The file cannot be written now.
    """
    with translated(path):
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
        try:
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(wait_seconds * 1000)}")
    return not is_busy


def forget(connection: sqlite3.Connection, path: Path, named: Sequence[tuple[int, int]]) -> None:
    """Take rows out of `erasing`, durably: they are in no file any more.

    Raises:
        EventLogUnavailable: The file cannot be written now.
    """
    with translated(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("DELETE FROM erasing WHERE position = ? AND ordinal = ?", named)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def still_read(path: Path) -> EventLogUnavailable:
    """Return the error of a write-ahead log that could not be cut."""
    return EventLogUnavailable(
        f"{path}: what was erased may still be in its -wal file: somebody is reading the log, and keeps it "
        "from being cut; end what reads for long (fsck, verify-log, a backup), and scrub again "
        "(tracebus erase --finish)"
    )


def _advice(error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_IOERR")):
        return (
            "; to write the file anew needs its size twice: where temporary files go (SQLITE_TMPDIR, "
            "/var/tmp), and beside it. Scrub again when there is space"
        )
    return advice_on(error)
