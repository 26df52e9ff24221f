"""What `tracebus erase` says of an erasure: for people, and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from evidence.command import align
from evidence.printable import counted, printable
from evidence.projection import KEPT
from tracebus.cli._common import seconds_of
from tracebus.erasure_plan import ErasurePlan, Export
from tracebus.events import RunStarted
from tracebus.holds import Extent, WorkflowKey
from tracebus.in_clear import ClearShare

COPIES: Final = (
    "sinks, backups, bundles and the blocks that a file system gave up have their own copies: "
    "nothing here reaches them"
)


def describe(plan: ErasurePlan, what: str) -> Iterator[str]:
    """Yield what goes, or went: by type and in all, where, and what is not reached."""
    if plan.is_empty:
        yield _nothing(plan)
        yield from _left(plan)
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
    yield from _left(plan)
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


def _nothing(plan: ErasurePlan) -> str:
    only = [pattern.text for pattern in plan.request.only]
    if not only:
        return "nothing to erase: no sensitive member is held any more, if there was one"
    return (
        f"nothing to erase: no sensitive member that is held fits {some(only)}; {describe_held(plan)}; what "
        "was erased before has no name any more"
    )


def describe_held(plan: ErasurePlan) -> str:
    """Return which sensitive members the events have that an erasure with patterns is about."""
    return f"held are: {some(plan.held, 12)}" if plan.held else "none is held"


def _left(plan: ErasurePlan) -> Iterator[str]:
    """Yield what stays though somebody may think that it goes."""
    if plan.unmatched and not plan.is_empty:
        yield f"no sensitive member here fits {some(plan.unmatched)}; {describe_held(plan)}"
    taken = "--only TYPE --payloads" if plan.request.only else "--payloads"
    yield from describe_clear(plan.in_clear, f"{taken} takes these payloads")
    if plan.in_clear and plan.request.user_id is not None and RunStarted.type in plan.types:
        yield "without the userId they are found by --workflow, and by --user no more"
    if plan.other_runs:
        yield (
            f"not touched, for they were not started for this user: {some(plan.other_runs)}; "
            "--workflow erases what they hold"
        )


def describe_clear(shares: Mapping[str, ClearShare], taken: str) -> Iterator[str]:
    """Yield what is left in payloads that stay, apart from that of types that a bundle always shows."""
    kept = {name: share for name, share in shares.items() if name in KEPT}
    others = {name: share for name, share in shares.items() if name not in KEPT}
    if others:
        yield f"left, for it stands in the clear: {_listed(others)}; {taken}"
    if kept:
        yield (
            "left, for it stands in the clear in what a bundle always shows: "
            f"{_listed(kept)}; tracebus erase --event ID --payloads takes one"
        )


def _listed(shares: Mapping[str, ClearShare]) -> str:
    return some([f"{name} ({share.payloads}: {some(share.members)})" for name, share in shares.items()], 12)


def clear_facts(shares: Mapping[str, ClearShare]) -> dict[str, Any]:
    """Return as JSON values what is left in payloads that stay."""
    return {
        name: {"payloads": share.payloads, "members": list(share.members)} for name, share in shares.items()
    }


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(names[:most]) + more)


def facts(plan: ErasurePlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "workflows": [_key(workflow) for workflow in plan.workflows],
        "types": {
            name: {"events": share.events, "members": share.members, "payloads": share.payloads}
            for name, share in plan.types.items()
        },
        "openRuns": list(plan.open_runs),
        "otherRuns": list(plan.other_runs),
        "inTheClear": clear_facts(plan.in_clear),
        "unmatched": list(plan.unmatched),
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
