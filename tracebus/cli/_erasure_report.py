"""What `tracebus erase` says of an erasure: for people, and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from evidence.command import align
from evidence.printable import printable
from tracebus.cli._common import counted, seconds_of
from tracebus.erasure_plan import ErasurePlan, Export
from tracebus.holds import Extent, WorkflowKey

COPIES: Final = (
    "sinks, backups, bundles and the blocks that a file system gave up have their own copies: "
    "nothing here reaches them"
)


def describe(plan: ErasurePlan, what: str) -> Iterator[str]:
    """Yield what goes, or went: by type and in all, where, and what is not reached."""
    if plan.is_empty:
        yield "nothing to erase: nothing that is meant is held any more"
        yield from _others(plan)
        return
    rows = [(name, *share) for name, share in plan.types.items()]
    yield from align(("type", "events", "sensitive members", "payloads"), rows)
    events, members, payloads = plan.total()
    whole = f" and {counted(payloads, 'whole payload')}" if payloads else ""
    yield (
        f"{counted(members, 'sensitive member')}{whole} of {counted(events, 'event')} "
        f"in {counted(len(plan.workflows), 'workflow')} {what}: "
        f"{some([str(Extent(workflow)).removeprefix('workflow ') for workflow in plan.workflows])}"
    )
    if plan.open_runs:
        yield f"still open: {some(plan.open_runs)}; what is recorded there from now on stays"
    yield from _others(plan)
    if plan.exports:
        yield "bundles were exported of this, and nobody can call them back:"
        yield from align(
            ("bundle", "workflow", "exported", "recipient", "purpose"),
            [
                (each.bundle_id, each.workflow.workflow_id, seconds_of(each.exported_at), *_given(each))
                for each in plan.exports
            ],
        )


def _given(export: Export) -> tuple[str, str]:
    return export.recipient or "-", export.purpose or "-"


def _others(plan: ErasurePlan) -> Iterator[str]:
    if plan.other_runs:
        yield (
            f"not touched, for they were not started for this user: {some(plan.other_runs)}; they hold "
            "sensitive members, which --workflow erases"
        )


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(names[:most]) + more)


def facts(plan: ErasurePlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "workflows": [_key(workflow) for workflow in plan.workflows],
        "types": {
            name: {"events": share.events, "sensitiveMembers": share.disclosures, "payloads": share.payloads}
            for name, share in plan.types.items()
        },
        "openRuns": list(plan.open_runs),
        "otherRuns": list(plan.other_runs),
        "exports": [
            {
                "bundleId": each.bundle_id,
                **_key(each.workflow),
                "exportedAt": each.exported_at,
                "recipient": each.recipient,
                "purpose": each.purpose,
            }
            for each in plan.exports
        ],
    }


def _key(workflow: WorkflowKey) -> dict[str, str | None]:
    return {"workflowId": workflow.workflow_id, "tenantId": workflow.tenant_id}


def describe_scrub(reason: str | None) -> Iterator[str]:
    """Yield whether the bytes are gone from the files, and else why not and what to do."""
    if reason is None:
        yield "what was erased is gone from the log's files"
    else:
        yield printable(f"what was erased may still be in the log's files: {reason}")
        yield "when that is over: tracebus erase --finish"
