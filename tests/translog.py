"""A transparency log to look into, and what an insider does to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from evidence import Ed25519Signer, canonical
from evidence.checkpoint import format_hash
from tracebus import RunCompleted, RunStarted, SqliteEventLog, ToolExecuted
from tracebus.committed import commit
from tracebus.eventlog import AnyEvent
from tracebus.eventlog.base import Draft, EventLog, EventQuery
from tracebus.payload import EventPayload
from tracebus.transparency.checkpoints import Checkpointer

LOG_SIGNER = Ed25519Signer(b"\x01" * 32)
OTHER_SIGNER = Ed25519Signer(b"\x02" * 32)


def append_run(log: EventLog, name: str, *, workflow: str | None = None, tools: int = 2) -> list[AnyEvent]:
    """Append a whole run, in one group."""
    payloads: list[EventPayload] = [
        RunStarted(kind="new"),
        *(ToolExecuted(tool="wire", call_id=f"c{i}", status="ok") for i in range(tools)),
        RunCompleted(outcome="completed"),
    ]
    drafts = [Draft(name, workflow or f"workflow-{name}", commit(payload), "acme") for payload in payloads]
    (outcome,) = log.append([drafts])
    assert not isinstance(outcome, Exception), outcome
    return outcome


def start_run(log: EventLog, name: str) -> None:
    """Append the first event of a run that stays open."""
    (outcome,) = log.append([[Draft(name, f"workflow-{name}", commit(RunStarted(kind="new")), "acme")]])
    assert not isinstance(outcome, Exception), outcome


def make_log(path: Path, *, rounds: int = 3) -> list[bytes]:
    """Make a log with two runs and a checkpoint in each round; return the checkpoints."""
    notes = []
    with closing(SqliteEventLog(path, name="test")) as log:
        log.open()
        for number in range(rounds):
            append_run(log, f"a{number}", workflow="w")
            append_run(log, f"b{number}")
            notes.append(Checkpointer(log, LOG_SIGNER).checkpoint())
    return notes


def tree_of(log: Path) -> Path:
    """Return where a log's tree store is."""
    return log.with_name(f"{log.name}-tree")


def copy_log(log: Path, to: Path, *, tree: bool = True) -> Path:
    """Copy a log as a backup does, by VACUUM INTO, with its tree store or without."""
    for source, target in ((log, to), *([(tree_of(log), tree_of(to))] if tree else [])):
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    return to


def alter(log: Path, *statements: str) -> None:
    """Change a log behind its triggers' back, and put them back."""
    with closing(sqlite3.connect(log, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, created in triggers:
            connection.execute(created)


def cut(log: Path, last: int) -> None:
    """Take away all events behind a position, and the heads leaves behind them."""
    alter(
        log,
        *(f"DELETE FROM {table} WHERE position > {last}" for table in ("events", "payloads", "heads")),
    )


def rewritten(log: Path, to: Path, *, last: int) -> Path:
    """Return a copy of a log that is another from a position on, as long, and without a tree store."""
    copy_log(log, to, tree=False)
    with closing(SqliteEventLog(log, read_only=True)) as source:
        runs = {event.run_id: event for event in source.query(EventQuery(after=last))}
    cut(to, last)
    with closing(SqliteEventLog(to)) as copy:
        for event in runs.values():
            append_run(copy, event.run_id, workflow=event.workflow_id)
    return to


def write_segment(log: Path, folder: Path) -> Path:
    """Write the events of a small log beside its published files, as the S3 anchor does."""
    lines = []
    with closing(SqliteEventLog(log, read_only=True)) as source:
        heads = {leaf.position: leaf for leaf in source.heads_leaves()}
        for event in source.query(EventQuery()):
            lines.append({"header": event.header, "payload": event.to_wire()["payload"]})
            if leaf := heads.get(event.position or 0):
                lines.append({"heads": format_hash(leaf.map_root)})
    (folder / "events/000.p").mkdir(parents=True)
    path = folder / f"events/000.p/{len(lines)}"
    path.write_bytes(b"".join(canonical.dumps(line) + b"\n" for line in lines))
    return path


def write_jsonl(log: Path, to: Path) -> Path:
    """Write a log as the JSON Lines sink does, in the order of positions."""
    with closing(SqliteEventLog(log, read_only=True)) as source, to.open("wb") as file:
        for line in _lines(source):
            file.write(line)
    return to


def _lines(log: SqliteEventLog) -> Iterator[bytes]:
    for event in log.query(EventQuery()):
        yield canonical.dumps(event.to_wire()) + b"\n"
