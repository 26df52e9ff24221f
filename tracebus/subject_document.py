"""The JSON document of a person's view, to hand over or to look through.

::

    {"type":"tracebus/subject-view/v1","log":…,"createdAt":…,"userId":…,"tenantId":…,"texts":[…],
     "retentionPolicy":{"name":…,"digest":…},"holds":[…],"pastHolds":[…],
     "workflows":[
      {"workflowId":…,"tenantId":…,"startedAt":…,"lastAt":…,"runs":[…],"otherRuns":[…],"holds":[…],"exports":[…],
       "events":[
        {"event":{…},"membersHeld":2,"inTheClear":["tool"],"erased":[…],"membersUntil":…,"payloadUntil":…}
       ],"erasures":[…],"held":{…}}
     ],"mentioned":[
      {"texts":["marta@example.org"],"event":{…}}
     ],"held":{…},"mentions":1}

An ``event`` is its header and its payload, with the sensitive members that are held; those that are named as
``inTheClear`` are none, and go only with the whole payload. ``otherRuns`` are runs of the workflow that were
not started for the person, and ``pastHolds`` records of lifted holds that still name them. Times until which
something is kept are ``forever``, or null where the run has not ended. It is written event by event, in
ASCII.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracebus.eventlog.base import ANY_TENANT, AnyEvent, RunSummary
from tracebus.holds import Hold
from tracebus.subject import HeldCount, HeldEvent, SubjectView, SubjectWorkflow

TYPE: Final = "tracebus/subject-view/v1"
_BEGINNING: Final = f'{{"type": "{TYPE}", '.encode()


class Counted(NamedTuple):
    """How much a document tells: of the person's own runs, and how many events of others mention them."""

    held: HeldCount
    mentions: int


def is_document(path: Path) -> bool:
    """Tell whether a file is a document of this kind, which another may replace."""
    with path.open("rb") as file:
        return file.read(len(_BEGINNING)) == _BEGINNING


def write_document(
    view: SubjectView,
    write: Callable[[str], object],
    progress: Callable[[int], object] = lambda position: None,
) -> Counted:
    """Write the document of a view, piece by piece.

    Args:
        view: The view.
        write: Takes each piece of text.
        progress: Is told the position up to which the log was searched for mentions.

    Raises:
        EvidenceError: An event was damaged; the document is not whole.
    """
    write(_dumps(_head(view))[:-1])
    write(', "workflows": [')
    held, mentions = HeldCount(), 0
    for i, workflow in enumerate(view.workflows):
        write(",\n " if i else "\n ")
        _write_workflow(view, workflow, write, held)
    write('\n], "mentioned": [')
    for mention in view.mentioned(progress):
        write(",\n  " if mentions else "\n  ")
        write(_dumps({"texts": mention.texts, "event": mention.event.to_wire(opened=True)}))
        mentions += 1
    write(f'\n], "held": {_dumps(count_to_json(held))}, "mentions": {mentions}}}\n')
    return Counted(held, mentions)


def _write_workflow(
    view: SubjectView, workflow: SubjectWorkflow, write: Callable[[str], object], total: HeldCount
) -> None:
    write(_dumps(workflow_to_json(workflow))[:-1])
    write(', "events": [')
    count, records = HeldCount(), set[str]()
    for held in view.events(workflow):
        write(",\n   " if count.events else "\n   ")
        write(_dumps(_held_to_json(held)))
        count.add(held)
        total.add(held)
        records.update(part.by for part in held.erased if part.by is not None)
    erasures = [erasure_to_json(record) for record in view.records(workflow) if record.id in records]
    write(f'\n  ], "erasures": {_dumps(erasures)}, "held": {_dumps(count_to_json(count))}}}')


def _head(view: SubjectView) -> dict[str, Any]:
    tenant = {} if view.tenant_id is ANY_TENANT else {"tenantId": view.tenant_id}
    return {
        "type": TYPE,
        "log": view.log.origin,
        "createdAt": view.created_at,
        "userId": view.user_id,
        **tenant,
        "texts": view.mentions.texts,
        "retentionPolicy": {"name": view.policy.name, "digest": view.policy.digest},
        "holds": [_hold_to_json(hold) for hold in view.holds],
        "pastHolds": [_past_hold_to_json(record) for record in view.past_holds],
    }


def workflow_to_json(workflow: SubjectWorkflow) -> dict[str, Any]:
    """Return what is known of a workflow without its events, as JSON values."""
    return {
        "workflowId": workflow.workflow_id,
        "tenantId": workflow.tenant_id,
        "startedAt": workflow.started_at,
        "lastAt": workflow.last_at,
        "runs": [_run_to_json(run) for run in workflow.runs],
        "otherRuns": [_run_to_json(run) for run in workflow.other_runs],
        "holds": [_hold_to_json(hold) for hold in workflow.holds],
        "exports": [_export_to_json(export) for export in workflow.exports],
    }


def count_to_json(count: HeldCount) -> dict[str, Any]:
    """Return how much is held, as JSON values."""
    until = {} if count.members_until == "" else {"membersUntil": count.members_until}
    return {
        "events": count.events,
        "membersHeld": count.members,
        **until,
        "erasedMembers": count.erased_members,
        "erasedPayloads": count.erased_payloads,
    }


def erasure_to_json(record: AnyEvent) -> dict[str, Any]:
    """Return what an event that records an erasure says of it, as JSON values; its targets are left out."""
    said = {name: value for name, value in record.opened().items() if name != "targets"}
    return {"eventId": record.id, "type": record.type, "at": record.timestamp, **said}


def _held_to_json(held: HeldEvent) -> dict[str, Any]:
    return {
        "event": held.event.to_wire(opened=True),
        "membersHeld": held.members,
        "inTheClear": held.in_clear,
        "erased": [
            {"by": part.by} | ({"payload": True} if part.members is None else {"members": part.members})
            for part in held.erased
        ],
        "membersUntil": held.kept_until.members,
        "payloadUntil": held.kept_until.payload,
    }


def _run_to_json(run: RunSummary) -> dict[str, Any]:
    return {
        "runId": run.run_id,
        "status": run.status,
        "events": run.events,
        "startedAt": run.started_at,
        "lastAt": run.last_at,
    }


def _hold_to_json(hold: Hold) -> dict[str, Any]:
    return {"holdId": hold.hold_id, "placedAt": hold.placed_at}


def _past_hold_to_json(record: AnyEvent) -> dict[str, Any]:
    return {"holdId": record.opened().get("holdId"), "placedAt": record.timestamp, "eventId": record.id}


def _export_to_json(export: AnyEvent) -> dict[str, Any]:
    said = export.opened()
    told = ("bundleId", "contentHash", "keyId", "actor", "recipient", "purpose")
    return {"at": export.timestamp} | {name: said[name] for name in told if name in said}


def _dumps(value: object) -> str:
    return json.dumps(value).replace("\x7f", "\\u007f")
