"""What an erasure for a person does not reach: other runs of the same workflows, and bundles that are out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from tracebus.erasure import NEVER_ERASED
from tracebus.eventlog.base import AnyEvent, EventLog, EventQuery, RunSummary
from tracebus.events import BundleExported
from tracebus.holds import WorkflowKey
from tracebus.upkeep import LOG_WORKFLOW


def other_runs(log: EventLog, workflow: WorkflowKey, own: Collection[str]) -> tuple[RunSummary, ...]:
    """Return the runs of a workflow that are not among these, in the order in which they began.

    Runs of upkeep, which hold nothing but records of erasures and holds, are left out.
    """
    workflow_id, tenant_id = workflow
    types = tuple(sorted(NEVER_ERASED))
    query = EventQuery(workflow_id=workflow_id, tenant_id=tenant_id, types=types)
    records = Counter(event.run_id for event in log.query(query))
    return tuple(
        run
        for run in log.runs(workflow_id=workflow_id, tenant_id=tenant_id)
        if run.run_id not in own
        and not (records[run.run_id] and run.events == records[run.run_id] + _START_AND_END)
    )


_START_AND_END = 2


def exports_of(log: EventLog, workflows: Collection[WorkflowKey]) -> dict[WorkflowKey, list[AnyEvent]]:
    """Return by workflow the events of the log's own record that tell of bundles of it."""
    found: dict[WorkflowKey, list[AnyEvent]] = {}
    if workflows:
        for event in log.query(EventQuery(workflow_id=LOG_WORKFLOW, types=(BundleExported.type,))):
            said = event.opened()
            key = WorkflowKey(said.get("workflowId", ""), said.get("tenantId"))
            if key in workflows:
                found.setdefault(key, []).append(event)
    return found
