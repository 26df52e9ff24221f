"""Events as rows of a SQLite event log, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
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
