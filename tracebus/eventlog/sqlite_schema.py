"""The tables of a SQLite event log: made with sqlite-utils, checked against a fresh copy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from tracebus.errors import EventLogRefused

APPLICATION_ID: Final = 0x54524246
USER_VERSION: Final = 1

_TABLES: Final = ("log", "events", "payloads", "disclosures", "users", "cursors", "heads", "erasing")
_APPEND_ONLY: Final = ("log", "events", "payloads", "disclosures", "heads")
WHOLE_PAYLOAD: Final = -1
"""In ``erasing``, in the place of a disclosure's ordinal: the payload."""

# Which rows may be deleted: those that `erasing` names (ADR 0018).
_ERASABLE: Final = {"payloads": str(WHOLE_PAYLOAD), "disclosures": "OLD.ordinal"}


def is_empty(connection: sqlite3.Connection) -> bool:
    """Tell whether a database has no tables yet."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def check_identity(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a database is empty or one of ours, before anything is written to it.

    Raises:
        EventLogRefused: It is another application's, or of a newer release.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (user_version,) = connection.execute("PRAGMA user_version").fetchone()
    if is_empty(connection):
        return
    if application_id != APPLICATION_ID:
        raise EventLogRefused(f"{path}: a SQLite database, but no tracebus event log")
    if user_version > USER_VERSION:
        raise EventLogRefused(
            f"{path}: made by a newer tracebus (layout {user_version}, this one knows {USER_VERSION})"
        )


def create(connection: sqlite3.Connection, origin: str, algorithm: str, created: str) -> None:
    """Make the tables of a new log, within the transaction that is open."""
    _create_tables(connection)
    connection.execute("INSERT INTO log VALUES (?, ?, ?)", (origin, algorithm, created))


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the tables, indexes and triggers are those that `create` makes.

    Raises:
        EventLogRefused: One of them is missing or was changed.
    """
    fault = next(_schema_faults(connection), None)
    if fault is not None:
        raise EventLogRefused(f"{path}: {fault}; look closer with `tracebus fsck`")


def faults(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong with the schema, and with the pages of the file."""
    yield from _schema_faults(connection)
    for (message,) in connection.execute("PRAGMA quick_check(10)"):
        if message != "ok":
            yield message


def leftovers(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield which rows belong to events that are not there."""
    for table in ("payloads", "disclosures"):
        (count,) = connection.execute(
            f"SELECT count(*) FROM {table} WHERE position NOT IN (SELECT position FROM events)"
        ).fetchone()
        if count:
            yield f"events are gone, to which {count} rows of {table} belong"


def _schema_faults(connection: sqlite3.Connection) -> Iterator[str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        _create_tables(fresh)
        expected = _objects(fresh)
    found = _objects(connection)
    for (kind, name), description in expected.items():
        if (kind, name) not in found:
            yield f"{kind} {name} is missing"
        elif found[kind, name] != description:
            yield f"{kind} {name} was changed"
    for kind, name in found.keys() - expected.keys():
        if kind == "trigger":
            yield f"trigger {name} was added"


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str], object]:
    """Return what our tables consist of: (kind, name) to what it does, not to how it is written.

    A table is its columns with their types, an index its columns, a trigger its SQL, which is ours.
    """
    marks = ", ".join("?" * len(_TABLES))
    objects: dict[tuple[str, str], object] = {}
    for kind, name, sql in connection.execute(
        f"SELECT type, name, sql FROM sqlite_master WHERE tbl_name IN ({marks})", _TABLES
    ).fetchall():
        if kind == "trigger":
            objects[kind, name] = sql
        elif kind == "index":
            columns = connection.execute("SELECT name FROM pragma_index_info(?)", (name,)).fetchall()
            objects[kind, name] = (columns, (sql or "").upper().startswith("CREATE UNIQUE"))
        else:
            objects[kind, name] = connection.execute(
                'SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,)
            ).fetchall()
    return objects


def _create_tables(connection: sqlite3.Connection) -> None:
    db = Database(connection, strict=True, recursive_triggers=False, execute_plugins=False)
    db.table("log").create({"origin": str, "digest_algorithm": str, "created": str}, pk="origin")
    db.table("events").create(
        {
            "position": int,
            "version": int,
            "id": str,
            "run_id": str,
            "seq": int,
            "workflow_id": str,
            "tenant_id": str,
            "agent_id": str,
            "turn_id": str,
            "type": str,
            "timestamp": str,
            "occurred_at": str,
            "risk": str,
            "causes": str,
            "key": str,
            "content_hash": str,
            "parent_hash": str,
        },
        pk="position",
        not_null={"version", "id", "run_id", "seq", "workflow_id", "type", "timestamp", "content_hash"},
    )
    events = db.table("events")
    events.create_index(["id"], index_name="events_id", unique=True)
    events.create_index(["run_id", "seq"], index_name="events_run", unique=True)
    events.create_index(["workflow_id", "tenant_id"], index_name="events_workflow")
    connection.execute("CREATE UNIQUE INDEX events_key ON events (run_id, key) WHERE key IS NOT NULL")
    connection.execute("CREATE INDEX events_first ON events (position) WHERE seq = 0")
    db.table("payloads").create({"position": int, "payload": str}, pk="position", not_null={"payload"})
    # Clustered: an event's disclosures lie together, and there is no second tree to keep.
    connection.execute(
        "CREATE TABLE disclosures (position INTEGER, ordinal INTEGER, disclosure TEXT NOT NULL, "
        "PRIMARY KEY (position, ordinal)) STRICT, WITHOUT ROWID"
    )
    db.table("users").create({"user_id": str, "run_id": str}, pk=("user_id", "run_id"))
    db.table("cursors").create({"sink": str, "position": int}, pk="sink")
    db.table("heads").create(
        {"ordinal": int, "position": int, "map_root": bytes}, pk="ordinal", not_null={"position", "map_root"}
    )
    connection.execute(
        "CREATE TABLE erasing (position INTEGER, ordinal INTEGER, PRIMARY KEY (position, ordinal)) "
        "STRICT, WITHOUT ROWID"
    )
    for table in _APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            connection.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"{_exception(table) if action == 'DELETE' else ''}"
                f"BEGIN SELECT RAISE(ABORT, '{table}: append-only, {action} refused'); END"
            )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")


def _exception(table: str) -> str:
    """Return the condition of a trigger that lets the rows go that are being erased."""
    if table not in _ERASABLE:
        return ""
    return (
        "WHEN NOT EXISTS (SELECT 1 FROM erasing x "
        f"WHERE x.position = OLD.position AND x.ordinal = {_ERASABLE[table]}) "
    )
