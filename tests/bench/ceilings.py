"""What ours cannot be faster than, or is measured by: the bare disk, bare SQLite, `rfc8785`."""

from __future__ import annotations

import os
import sqlite3
import timeit
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import rfc8785
from child import per_second, serve
from payload import PAYLOAD

_ROW: Final = b"x" * 700  # about what a row of an event takes in a file


def canonicalise(count: int) -> dict[str, Any]:
    """Canonical bytes of the payload by `rfc8785`."""
    return {"per_second": count / timeit.timeit(lambda: rfc8785.dumps(PAYLOAD), number=count)}


def publish(folder: str, tasks: int, each: int) -> dict[str, Any]:
    """Append to a file and fdatasync it: the disk's own ceiling, with one sync for all tasks."""
    descriptor = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
    # Where there is no fdatasync, as on macOS, fsync is the nearest; it promises less there.
    sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)

    def work() -> None:
        for _ in range(each):
            os.write(descriptor, _ROW * tasks)
            sync(descriptor)

    try:
        return {"per_second": per_second(tasks * each, work)}
    finally:
        os.close(descriptor)


def executemany(folder: str, source: str, size: int) -> dict[str, Any]:
    """Insert the rows of a log into the empty tables of another, `size` events in a transaction.

    The tables, their indexes and their triggers are ours, and so is the one sync a transaction;
    what is missing is all that makes an event: validating, canonicalising, hashing, chaining.
    """
    from tracebus import SqliteEventLog  # nothing else here is ours

    target = Path(folder) / "target.db"
    with closing(SqliteEventLog(target)) as log:
        log.open()
    with closing(sqlite3.connect(Path(source, "trace.db"))) as connection:
        tables = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY position").fetchall()
            for table in ("events", "payloads", "disclosures")
        }
    count = len(tables["events"])
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")

        def work() -> None:
            for first in range(0, count, size):
                connection.execute("BEGIN IMMEDIATE")
                for table, rows in tables.items():
                    chosen = rows[first * len(rows) // count : (first + size) * len(rows) // count]
                    marks = ", ".join("?" * len(rows[0]))
                    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", chosen)
                connection.execute("COMMIT")

        return {"per_second": per_second(count, work)}


if __name__ == "__main__":
    serve({command.__name__: command for command in (canonicalise, publish, executemany)})
