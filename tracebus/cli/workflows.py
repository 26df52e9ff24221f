"""``tracebus workflows``: what is in a log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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


@click.command("workflows", cls=PlainCommand)
@log_option
@click.option("--tenant", metavar="T", help="Only the workflows of this tenant.")
@json_option
def command(log_path: str, tenant: str | None, as_json: bool) -> None:
    """List the workflows of a log, in the order in which they began.

    Example:
      tracebus workflows --log trace.db --tenant acme
    """
    with reading(log_path) as log:
        workflows = _gather(log.runs(tenant_id=ANY_TENANT if tenant is None else tenant))
    if as_json:
        echo_json_array(workflow.to_dict() for workflow in workflows)
    elif workflows:
        echo_table(
            ("workflow", "tenant", "runs", "open", "events", "started", "last"),
            [workflow.row() for workflow in workflows],
        )
    else:
        click.echo("no workflows")


@dataclass(slots=True)
class _Workflow:
    """A workflow at a glance, summed up over its runs."""

    workflow_id: str
    tenant_id: str | None
    started_at: str
    last_at: str = ""
    runs: int = 0
    open_runs: int = 0
    events: int = 0

    def add(self, run: RunSummary) -> None:
        self.runs += 1
        self.open_runs += run.status != "closed"
        self.events += run.events
        self.last_at = max(self.last_at, run.last_at)

    def row(self) -> tuple[object, ...]:
        """Return the cells of its line."""
        began, last = seconds_of(self.started_at), seconds_of(self.last_at)
        return self.workflow_id, self.tenant_id, self.runs, self.open_runs, self.events, began, last

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "workflowId": self.workflow_id,
            "tenantId": self.tenant_id,
            "runs": self.runs,
            "openRuns": self.open_runs,
            "events": self.events,
            "startedAt": self.started_at,
            "lastAt": self.last_at,
        }


def _gather(runs: Iterable[RunSummary]) -> list[_Workflow]:
    workflows: dict[tuple[str | None, str], _Workflow] = {}
    for run in runs:
        key = run.tenant_id, run.workflow_id
        if key not in workflows:
            workflows[key] = _Workflow(run.workflow_id, run.tenant_id, run.started_at)
        workflows[key].add(run)
    return list(workflows.values())
