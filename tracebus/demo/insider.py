"""What an insider can do who may write to the log's file: on a copy, with the triggers out of the way."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from evidence.digest import sha256
from evidence.header import event_hash
from tracebus.eventlog import EventQuery, SqliteEventLog


@contextmanager
def editing(log: Path, copy: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the log without the triggers that refuse changes; they are put back in the end."""
    shutil.copyfile(log, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)


def change_approver(connection: sqlite3.Connection) -> None:
    """Let somebody else have approved."""
    connection.execute(
        """UPDATE payloads SET payload = replace(payload, '"actor":"kim.jansen"', '"actor":"lee.wong"')
        WHERE position = (SELECT position FROM events WHERE type = 'approval_resolved')"""
    )


def delete_request(connection: sqlite3.Connection) -> None:
    """Delete the request for approval, with all that belongs to it."""
    query = "SELECT position FROM events WHERE type = 'approval_requested'"
    (position,) = connection.execute(query).fetchone()
    for table in ("disclosures", "payloads", "events"):
        connection.execute(f"DELETE FROM {table} WHERE position = ?", (position,))


def make_hashes_anew(connection: sqlite3.Connection, log: Path, workflow_id: str) -> None:
    """Make all hashes of a workflow of one run fit what its payloads say now."""
    connection.commit()
    with closing(SqliteEventLog(log, read_only=True)) as reader:
        events = list(reader.query(EventQuery(workflow_id=workflow_id)))
    parent: str | None = None
    for event in events:
        header = event.header | {"contentHash": sha256(event.payload_json or b"")}
        if parent is not None:
            header["parentHash"] = parent
        parent = event_hash(header)
        connection.execute(
            "UPDATE events SET content_hash = ?, parent_hash = ? WHERE position = ?",
            (header["contentHash"], header.get("parentHash"), event.position),
        )
