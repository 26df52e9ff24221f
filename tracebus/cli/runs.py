"""``tracebus runs``: the runs of a log, those that have not ended first of all."""

from __future__ import annotations

from typing import Any

import click

from tracebus.cli._common import (
    PlainCommand,
    echo_json_array,
    echo_table,
    json_option,
    log_option,
    reading,
    seconds_of,
)
from tracebus.eventlog import ANY_TENANT, RunSummary


@click.command("runs", cls=PlainCommand)
@log_option
@click.option(
    "--open", "only_open", is_flag=True, help="Only runs that have not ended: open and suspended ones."
)
@click.option("--workflow", metavar="ID", help="Only the runs of this workflow.")
@click.option("--tenant", metavar="T", help="Only the runs of this tenant.")
@json_option
def command(log_path: str, only_open: bool, workflow: str | None, tenant: str | None, as_json: bool) -> None:
    """List the runs of a log, in the order in which they began.

    A run is closed by its terminal event. One that is open is at work, or its process died; one that
    is suspended waits for somebody, and can be resumed.

    Example:
      tracebus runs --open
    """
    with reading(log_path) as log:
        found = log.runs(workflow_id=workflow, tenant_id=ANY_TENANT if tenant is None else tenant)
        runs = [run for run in found if not only_open or run.status != "closed"]
    if as_json:
        echo_json_array(_to_dict(run) for run in runs)
    elif runs:
        echo_table(
            ("run", "workflow", "tenant", "status", "events", "started", "last", "last event"),
            [_row(run) for run in runs],
        )
    else:
        click.echo("no open runs" if only_open else "no runs")


def _row(run: RunSummary) -> tuple[object, ...]:
    began, last = seconds_of(run.started_at), seconds_of(run.last_at)
    return run.run_id, run.workflow_id, run.tenant_id, run.status, run.events, began, last, run.last_type


def _to_dict(run: RunSummary) -> dict[str, Any]:
    return {
        "runId": run.run_id,
        "workflowId": run.workflow_id,
        "tenantId": run.tenant_id,
        "status": run.status,
        "events": run.events,
        "startedAt": run.started_at,
        "lastAt": run.last_at,
        "lastType": run.last_type,
    }
