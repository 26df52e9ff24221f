"""``tracebus log``: how far a log is covered, its checkpoints, its published files."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from evidence import Ed25519Signer
from evidence.checkpoint import format_hash, parse_checkpoint
from evidence.command import to_json
from evidence.errors import Incomplete
from evidence.note import NoteKey, parse_note
from evidence.printable import printable
from tracebus.anchor import DirectoryAnchor, PublishedLog
from tracebus.cli._common import (
    LOG_VARIABLE,
    PlainCommand,
    check_is_there,
    echo_json_array,
    echo_table,
    json_option,
    progress_bar,
    reading,
    seconds_of,
    writing,
)
from tracebus.cli._keyring import check_use, keyring_option, log_keys
from tracebus.cli._log_history import misbehaviour, succeed
from tracebus.cli._trust import log_key_option, read_file, read_log_key
from tracebus.eventlog import SqliteEventLog
from tracebus.eventlog.base import AnyEvent, EventQuery
from tracebus.transparency.checkpoints import Checkpointer

_key_option = click.option("--key", required=True, metavar="KEY", help="The log's private key, NAME.key.")


def _log_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("log_path", metavar="[LOG]", default="trace.db", envvar=LOG_VARIABLE)(command)


@click.group("log")
def command() -> None:
    """Make, list and publish the checkpoints of a log.

    A log that says that it lost events takes no more: it was cut, altered, or restored from an older copy.
    Look into it with `tracebus log status` and `tracebus verify-log`; put a whole copy in its place, or go
    on under a successor with `tracebus log succeed`. OPERATING.md tells it step by step.
    """


@command.command(
    "status", cls=PlainCommand, short_help="show how far a log is covered, and whether it lost events"
)
@_log_argument
@json_option
def status(log_path: str, as_json: bool) -> None:
    """Show how far a log is covered by signed checkpoints, and whether it lost events.

    It reads only, also a log that refuses to be appended to. That nothing was lost it tells by the file
    beside the log, LOG-tree: if both were replaced, checkpoints kept elsewhere show it (verify-log).
    """
    with reading(log_path) as log:
        facts = _status_of(log)
    if as_json:
        click.echo(to_json(facts))
        return
    newest = facts["checkpoint"]
    lines = {
        "log": facts["log"],
        "events": facts["events"],
        "tree": f"{facts['treeSize']} leaves",
        "checkpoint": "none" if newest is None else f"size {newest['size']}, root {newest['root']}",
        "covered up to": facts["coveredUpTo"] or "nothing",
        "not covered": f"{facts['notCovered']} events"
        + ("" if facts["secondsNotCovered"] is None else f", the oldest for {facts['secondsNotCovered']} s"),
    }
    for name, value in lines.items():
        click.echo(f"{name:<14} {printable(value)}")
    if facts["lostEvents"]:
        click.secho("it lost events that its tree has, or has others there: it refuses to append", fg="red")


def _status_of(log: SqliteEventLog) -> dict[str, Any]:
    store = log.tree_store
    state, note, events = store.state_of(log.origin), store.latest_checkpoint(), log.last_position()
    checkpoint = None if note is None else parse_checkpoint(parse_note(note).text)
    covered = 0 if checkpoint is None else _events_in(log, checkpoint.size)
    last_of_tree = _event_at(log, state.position)
    last_covered, next_event = _event_at(log, covered), _event_at(log, covered + 1)
    return {
        "log": log.origin,
        "events": events,
        "treeSize": state.size,
        "checkpoint": checkpoint and {"size": checkpoint.size, "root": format_hash(checkpoint.root)},
        "coveredUpTo": last_covered and seconds_of(last_covered.timestamp),
        "notCovered": max(0, events - covered),
        "secondsNotCovered": next_event and _seconds_since(next_event.timestamp),
        "lostEvents": (last_of_tree and last_of_tree.event_hash) != state.last_event,
    }


def _event_at(log: SqliteEventLog, position: int) -> AnyEvent | None:
    found = next(log.query(EventQuery(after=position - 1, limit=1)), None) if position else None
    return found if found is not None and found.position == position else None


def _events_in(log: SqliteEventLog, size: int) -> int:
    """Return how many of the first leaves are events (ADR 0011)."""
    heads = [leaf.position + ordinal for ordinal, leaf in enumerate(log.heads_leaves())]
    return size - bisect_left(heads, size)


def _seconds_since(timestamp: str) -> int:
    then = datetime.fromisoformat(timestamp[:19]).replace(tzinfo=UTC)
    return max(0, int(time.time() - then.timestamp()))


@command.command("checkpoint", cls=PlainCommand, short_help="sign a checkpoint of all events, and print it")
@_log_argument
@_key_option
@click.option(
    "--after", multiple=True, metavar="FILE", help="A checkpoint kept elsewhere, which must still hold."
)
@click.option("--rebuilt", is_flag=True, help="Sign though its earlier checkpoints are lost everywhere.")
@keyring_option
def checkpoint(
    log_path: str, key: str, after: tuple[str, ...], rebuilt: bool, keyring_path: str | None
) -> None:
    """Take all events into the tree, sign a checkpoint of it, and print it.

    Where nothing is new, the last one is printed. Nothing is signed that contradicts an earlier
    checkpoint, of those in LOG-tree or given by --after.

    If the log had checkpoints and LOG-tree is gone, it was restored, or somebody removed it: give the
    newest one that an anchor or somebody else keeps, by --after. Only if there is none anywhere, and you
    have verified the log otherwise, is --rebuilt right: two histories under one name cannot be taken back.

    Examples:
      tracebus log checkpoint trace.db --key log.key
      tracebus log checkpoint trace.db --key log.key --after kept.note
    """
    check_is_there(log_path)
    signer = Ed25519Signer.from_file(key)
    known = [read_file(name) for name in after]
    with writing(log_path) as log, progress_bar("taking in events") as show:
        check_use(keyring_path, NoteKey(log.origin, signer.verifying_key), "log")
        total = log.last_position()
        former = log_keys(keyring_path, log.origin)
        checkpointer = Checkpointer(log, signer, known=known, rebuilt=rebuilt, former=former)
        note = checkpointer.checkpoint(lambda events: show(events, total))
    click.echo(note, nl=False)


@command.command("checkpoints", cls=PlainCommand, short_help="list the checkpoints")
@_log_argument
@json_option
def checkpoints(log_path: str, as_json: bool) -> None:
    """List the checkpoints in LOG-tree, the oldest first. Signatures are not verified here."""
    with reading(log_path) as log:
        notes = log.tree_store.checkpoints()
        rows = [(parse_checkpoint(parse_note(note).text), note.decode()) for note in notes]
        counts = [_events_in(log, each.size) for each, _ in rows]
    if as_json:
        echo_json_array(
            {"size": each.size, "events": count, "root": format_hash(each.root), "note": note}
            for (each, note), count in zip(rows, counts, strict=True)
        )
        return
    echo_table(
        ("size", "events", "root"),
        [(each.size, count, format_hash(each.root)) for (each, _), count in zip(rows, counts, strict=True)],
    )


@command.command("publish", cls=PlainCommand, short_help="write the public files into a folder")
@_log_argument
@click.argument("folder", metavar="DIR")
@log_key_option
def publish(log_path: str, folder: str, log_key: str | None) -> None:
    """Write a log's public files into a folder: tiles, entries, and then the newest checkpoint.

    They hold hashes only, in the form of c2sp.org/tlog-tiles, and may be served by any web server. What is
    there stays; if it is of another history, nothing is written. DIR must be there.

    Example:
      tracebus log publish trace.db /srv/log --log-key log.pub
    """
    if log_key is None:
        raise click.UsageError("expected --log-key KEY, to verify what is published")
    with reading(log_path) as log:
        note = log.tree_store.latest_checkpoint()
        if note is None:
            raise Incomplete("checkpoint", "there is none to publish: tracebus log checkpoint makes it")
        published = PublishedLog(log, log.tree_store, read_log_key(log_key, log.origin), note)
        DirectoryAnchor(folder).anchor(published, None)
    click.echo(printable(f"{folder} has the tree of {published.size} leaves"))


command.add_command(misbehaviour)
command.add_command(succeed)
