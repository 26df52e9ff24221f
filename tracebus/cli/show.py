"""``tracebus show``: a workflow to read, run by run and turn by turn."""

from __future__ import annotations

from collections.abc import Iterator

import click

from evidence.errors import EvidenceError
from evidence.printable import printable
from tracebus.cli._common import (
    PlainCommand,
    echo_json_array,
    json_option,
    log_option,
    no_tenant_option,
    reading,
    tenant_option,
    which_tenant,
)
from tracebus.eventlog import AnyEvent, EventLog, EventQuery, RunSummary

_COLOURS = {
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
_TYPE_WIDTH = 22


@click.command("show", cls=PlainCommand)
@click.argument("workflow", metavar="WORKFLOW")
@log_option
@tenant_option
@no_tenant_option
@json_option
def command(workflow: str, log_path: str, tenant: str | None, no_tenant: bool, as_json: bool) -> None:
    r"""Show a workflow as a timeline: each run, its turns, and the gist of every event.

    Times are those at which the log sealed the events, in UTC; where the source said when it
    happened, that follows. Long texts are shortened, and control characters shown as \x1b.

    With --json, every event as it is in the log, sensitive members in the clear: header, payload and
    event hash.

    Example:
      tracebus show talk-7 | less
    """
    with reading(log_path) as log:
        tenant = which_tenant(log, workflow, tenant, no_tenant)
        runs = list(log.runs(workflow_id=workflow, tenant_id=tenant))
        if as_json:
            echo_json_array(_to_dict(event) for run in runs for event in _events(log, run))
            return
        of = "" if tenant is None else f" of tenant {printable(tenant)}"
        click.secho(f"workflow {workflow}{of}", bold=True)
        for run in runs:
            _show_run(run, _events(log, run))


def _events(log: EventLog, run: RunSummary) -> Iterator[AnyEvent]:
    return log.query(EventQuery(run_id=run.run_id))


def _to_dict(event: AnyEvent) -> dict[str, object]:
    return event.to_wire(opened=True) | {"eventHash": event.event_hash}


def _show_run(run: RunSummary, events: Iterator[AnyEvent]) -> None:
    colour = None if run.status == "closed" else "yellow"
    click.echo()
    click.secho(f"run {run.run_id}  {run.status}, {run.events} events", bold=True, fg=colour)
    turn: str | None = None
    for event in events:
        if event.turn_id != turn:
            turn = event.turn_id
            click.secho("  outside a turn" if turn is None else f"  turn {turn}", bold=True)
        click.echo(_line(event))


def _line(event: AnyEvent) -> str:
    from tracebus.cli._gist import gist

    try:
        told_by, others = gist(event)
    except EvidenceError as error:
        told_by, others = "", f"cannot be read ({printable(error)}): run tracebus fsck"
    time = click.style(_time(event.timestamp), dim=True)
    kind = click.style(event.type.ljust(_TYPE_WIDTH), fg=_COLOURS.get(event.type))
    parts = [click.style(told_by, bold=True)] if told_by else []
    parts += [click.style(others, dim=True)] if others else []
    return f"    {time}  {kind} {'  '.join([*parts, *_beside(event)])}".rstrip()


def _beside(event: AnyEvent) -> Iterator[str]:
    """Yield what the header says beside type and time."""
    if event.agent_id is not None:
        yield f"by {printable(event.agent_id)}"
    if event.risk is not None:
        yield click.style(f"risk {event.risk}", fg="red" if event.risk in ("high", "critical") else None)
    if event.occurred_at is not None:
        yield f"occurred {_time(event.occurred_at)}"


def _time(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:23]}"
