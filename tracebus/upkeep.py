"""The log's own workflow, ``tracebus:log``: what concerns the log and no workflow of a user."""

from __future__ import annotations

from typing import Final

from tracebus.committed import commit
from tracebus.eventlog.base import Draft
from tracebus.events import RunCompleted, RunStarted
from tracebus.ids import new_ulid
from tracebus.payload import EventPayload

RESERVED_PREFIX: Final = "tracebus:"
"""Ids that begin so belong to the log itself."""

LOG_WORKFLOW: Final = f"{RESERVED_PREFIX}log"


def log_run(*payloads: EventPayload) -> list[Draft]:
    """Return the drafts of a whole run of the log's own workflow, to be appended as one group.

    A run for each occasion, so none is ever left open.
    """
    run_id = f"{RESERVED_PREFIX}{new_ulid()}"
    return [
        Draft(run_id=run_id, workflow_id=LOG_WORKFLOW, committed=commit(payload))
        for payload in (RunStarted(kind="maintenance"), *payloads, RunCompleted(outcome="completed"))
    ]
