"""Events as rows of a SQLite event log, and back."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Final

from evidence.header import Header
from tracebus.event import TraceEvent
from tracebus.eventlog.base import ANY_TENANT, AnyEvent, EventQuery

# Header field and column; `log` is the same for all events of a file and stands in its own table.
_COLUMNS: Final = {
    "version": "version",
    "id": "id",
    "runId": "run_id",
    "seq": "seq",
    "workflowId": "workflow_id",
    "tenantId": "tenant_id",
    "agentId": "agent_id",
    "turnId": "turn_id",
    "type": "type",
    "timestamp": "timestamp",
    "occurredAt": "occurred_at",
    "risk": "risk",
    "causes": "causes",
    "key": "key",
    "contentHash": "content_hash",
    "parentHash": "parent_hash",
}
_FIELDS: Final = tuple(_COLUMNS)
_CAUSES: Final = _FIELDS.index("causes")

SELECT: Final = (
    "SELECT e.position, CAST(p.payload AS BLOB), "
    "(SELECT group_concat(d.disclosure, ' ') FROM disclosures d WHERE d.position = e.position), "
    + ", ".join(f"e.{column}" for column in _COLUMNS.values())
    + " FROM events e LEFT JOIN payloads p ON p.position = e.position"
)
INSERT_EVENTS: Final = f"INSERT INTO events (position, {', '.join(_COLUMNS.values())}) VALUES "
_ROWS: Final = (256, 32, 4, 1)
_PAGE: Final = 500


def values_of(header: Header) -> list[Any]:
    """Return the values of a header's columns."""
    values = [header.get(field) for field in _FIELDS]
    if values[_CAUSES] is not None:
        values[_CAUSES] = " ".join(header["causes"])
    return values


def event_of(row: tuple[Any, ...], origin: str) -> AnyEvent:
    """Return the event of a row of `SELECT`; its values are as stored, and unchecked."""
    header: Header = {
        field: value for field, value in zip(_FIELDS, row[3:], strict=True) if value is not None
    }
    header["log"] = origin
    if "causes" in header:
        header["causes"] = str(header["causes"]).split(" ")
    disclosures = tuple(row[2].split(" ")) if row[2] else ()
    return TraceEvent(header, row[1], disclosures, row[0])


def where(query: EventQuery) -> tuple[str, list[Any]]:
    """Return the conditions of a query, to stand behind another one, and their values."""
    conditions: list[str] = []
    values: list[Any] = []
    for column in ("agent_id", "workflow_id", "run_id", "turn_id", "risk"):
        value = getattr(query, column)
        if value is not None:
            conditions.append(f"e.{column} = ?")
            values.append(value)
    if query.tenant_id is not ANY_TENANT:
        conditions.append("e.tenant_id IS ?")
        values.append(query.tenant_id)
    for column, chosen in (("type", query.types), ("id", query.ids)):
        if chosen:  # as one value, for SQLite takes only so many
            conditions.append(f"e.{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(chosen))
    if query.user_id is not None:
        conditions.append("e.run_id IN (SELECT u.run_id FROM users u WHERE u.user_id = ?)")
        values.append(query.user_id)
    for comparison, value in ((">=", query.since), ("<", query.until)):
        if value is not None:
            conditions.append(f"e.timestamp {comparison} ?")
            values.append(value)
    return "".join(f" AND {condition}" for condition in conditions), values


def is_selective(query: EventQuery) -> bool:
    """Tell whether a query goes by an index, which has its events in another order than the log."""
    return bool(query.workflow_id or query.run_id or query.user_id or query.ids)


def paged(connection: sqlite3.Connection, query: EventQuery) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query in the order of the log, page by page: each begins behind the one before."""
    conditions, values = where(query)
    after, left = query.after, query.limit
    while left is None or left > 0:
        page = _PAGE if left is None else min(_PAGE, left)
        rows = connection.execute(
            f"{SELECT} WHERE e.position > ?{conditions} ORDER BY e.position LIMIT ?", (after, *values, page)
        ).fetchall()
        yield from rows
        if len(rows) < page:
            return
        after, left = rows[-1][0], None if left is None else left - page


def selected(connection: sqlite3.Connection, query: EventQuery) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query in the order of the log: their positions are sorted once, 8 bytes each."""
    conditions, values = where(query)
    found = connection.execute(
        f"SELECT e.position FROM events e WHERE e.position > ?{conditions} ORDER BY e.position LIMIT ?",
        (query.after, *values, -1 if query.limit is None else query.limit),
    )
    positions = array("q", (row[0] for row in found))
    for start in range(0, len(positions), _PAGE):
        page = json.dumps(positions[start : start + _PAGE].tolist())
        yield from connection.execute(
            f"{SELECT} WHERE e.position IN (SELECT value FROM json_each(?)) ORDER BY e.position", (page,)
        ).fetchall()


def last_position(connection: sqlite3.Connection) -> int:
    """Return the position of the newest event; 0 where there is none."""
    (position,) = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
    return int(position)


def insert(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, many by one statement.

    `executemany` hands the interpreter over to other threads, and waits to get it back, at each row;
    this does so once for up to 256 rows. The few sizes keep the statements in sqlite3's cache.
    """
    start = 0
    for size in _ROWS:
        while len(rows) - start >= size:
            marks = f"({', '.join('?' * len(rows[0]))})"
            values = [value for row in rows[start : start + size] for value in row]
            connection.execute(statement + ", ".join([marks] * size), values)
            start += size
