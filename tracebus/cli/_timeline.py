"""A workflow as a timeline: each run, its turns, and a line for every event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import click

from evidence.errors import EvidenceError
from evidence.printable import printable
from evidence.projection import ERASING
from tracebus.cli._entries import Entry, ShownRun
from tracebus.cli._gist import gist

_COLOURS: Final = {
    "approval_resolved": "green",
    "approval_requested": "yellow",
    "human_override": "yellow",
    "interrupted": "yellow",
    "policy_decision": "magenta",
    "gate_verdict": "magenta",
    "policy_violation": "red",
    "security_event": "red",
    "secret_detected": "red",
    "error": "red",
    "recording_gap": "red",
    "tool_proposed": "cyan",
    "tool_executed": "cyan",
}
_TYPE_WIDTH: Final = 22


def print_timeline(runs: Iterable[ShownRun]) -> None:
    """Print runs with their turns and events."""
    for run in runs:
        _print_run(run)


def _print_run(run: ShownRun) -> None:
    summary = run.summary
    colour = None if summary.status == "closed" else "yellow"
    click.echo()
    click.secho(f"run {summary.run_id}  {summary.status}, {summary.events} events", bold=True, fg=colour)
    turn: str | None = None
    for entry in run.entries:
        if entry.header.get("turnId") != turn:
            turn = entry.header.get("turnId")
            click.secho("  outside a turn" if turn is None else f"  turn {turn}", bold=True)
        click.echo(_line(entry))


def _line(entry: Entry) -> str:
    try:
        reading = entry.read()
        said = list(_gist_of(entry.type, reading.members))
        hidden = [click.style(printable(part), fg="yellow") for part in reading.hidden]
    except EvidenceError as error:
        said, hidden = [], [click.style(f"cannot be read ({printable(error)}): run tracebus fsck", fg="red")]
    time = click.style(_time(entry.header["timestamp"]), dim=True)
    kind = click.style(entry.type.ljust(_TYPE_WIDTH), fg=_COLOURS.get(entry.type))
    return f"    {time}  {kind} {'  '.join([*said, *_beside(entry), *hidden])}".rstrip()


def _gist_of(event_type: str, members: Mapping[str, Any] | None) -> Iterator[str]:
    told_by, others = ("", "") if members is None else gist(event_type, members)
    if told_by:
        yield click.style(told_by, bold=True)
    if others:
        yield click.style(others, dim=True)


def _beside(entry: Entry) -> Iterator[str]:
    """Yield what the header says beside type and time."""
    header = entry.header
    if "agentId" in header:
        yield f"by {printable(header['agentId'])}"
    if "risk" in header:
        yield click.style(
            f"risk {header['risk']}", fg="red" if header["risk"] in ("high", "critical") else None
        )
    if "occurredAt" in header:
        yield f"occurred {_time(header['occurredAt'])}"
    if entry.type in ERASING:
        yield f"event {header['id']}"


def _time(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:23]}"
