"""Workflows put into a log without a bus, and erased: for the tests of erasure and of holds."""

from __future__ import annotations

from typing import Any

from tracebus.committed import commit
from tracebus.erasure_plan import ErasureReport, erase
from tracebus.erasure_request import ErasureRequest
from tracebus.eventlog.base import AnyEvent, Draft, EventLog, EventQuery
from tracebus.events import RunCompleted, RunStarted
from tracebus.holds import WorkflowKey
from tracebus.ids import new_ulid
from tracebus.payload import EventPayload
from tracebus.testing import events_of


def record(
    log: EventLog,
    workflow_id: str,
    *payloads: EventPayload,
    tenant: str | None = None,
    user: str | None = None,
    ended: bool = True,
) -> list[AnyEvent]:
    """Record a run of a workflow: its start, these payloads, and its end unless it goes on."""
    run_id = f"run-{new_ulid()}"
    end = [RunCompleted(outcome="completed")] if ended else []
    drafts = [
        Draft(run_id, workflow_id, commit(payload), tenant, user_id=user)
        for payload in (RunStarted(user_id=user), *payloads, *end)
    ]
    (outcome,) = log.append([drafts])
    return events_of(outcome)


def request(**members: Any) -> ErasureRequest:
    """Return a request to erase, by the privacy desk."""
    return ErasureRequest("privacy-desk", "asked for", "GDPR Art. 17(1)(b)", **members)


def erase_user(log: EventLog, user: str, **members: Any) -> ErasureReport:
    """Erase what is recorded of a user."""
    return erase(log, request(user_id=user, **members))


def erase_workflow(
    log: EventLog, workflow_id: str, tenant: str | None = None, **members: Any
) -> ErasureReport:
    """Erase a workflow."""
    return erase(log, request(workflow=WorkflowKey(workflow_id, tenant), **members))


def held(log: EventLog) -> list[str]:
    """Return which types of events have sensitive members, in the order of the log."""
    return [event.type for event in log.query(EventQuery()) if event.disclosures]
