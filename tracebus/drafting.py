"""Drafts: what a publisher says, checked and canonicalised, before the log gives it its place.

Nothing has changed anywhere when a draft is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

from evidence.header import MAX_CAUSES, RISKS, is_id, is_name, is_ulid
from tracebus.committed import commit
from tracebus.event import TraceEvent
from tracebus.eventlog.base import AnyEvent, Draft
from tracebus.events import PreviousRun, RunStarted
from tracebus.ids import new_ulid
from tracebus.run import Run, resolve
from tracebus.times import to_timestamp

if TYPE_CHECKING:
    from tracebus.bus import TraceEventBus

RESERVED_PREFIX: Final = "tracebus:"
"""Ids that begin so belong to the log itself."""


class HeaderArguments(TypedDict, total=False):
    """What a publisher may say beside the payload; `TraceEventBus.publish` explains it."""

    turn_id: str | None
    key: str | None
    causes: Sequence[AnyEvent | str]
    risk: str | None
    occurred_at: datetime | str | None
    agent_id: str | None


def draft_event(
    payload: Any,
    event_type: str | None,
    run: Run | None,
    *,
    turn_id: str | None = None,
    key: str | None = None,
    causes: Sequence[AnyEvent | str] = (),
    risk: str | None = None,
    occurred_at: datetime | str | None = None,
    agent_id: str | None = None,
) -> tuple[Run, Draft]:
    """Check and canonicalise; nothing has changed anywhere when this raises."""
    if isinstance(payload, RunStarted):
        raise ValueError("run_started: begin runs with run() or start_run(started=…)")
    run, turn_id = resolve(run, turn_id)
    return run, Draft(
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        committed=commit(payload, event_type),
        tenant_id=run.tenant_id,
        agent_id=_check("agent_id", agent_id, is_name) or run.agent_id,
        turn_id=_check("turn_id", turn_id, is_id),
        risk=_check("risk", risk, lambda value: value in RISKS),
        causes=_cause_ids(causes),
        key=_check("key", key, is_id),
        occurred_at=None if occurred_at is None else to_timestamp(occurred_at),
    )


def draft_start(
    bus: TraceEventBus,
    workflow_id: str | None = None,
    run_id: str | None = None,
    kind: str = "new",
    previous: PreviousRun | None = None,
    tenant_id: str | None = None,
    agent_id: str | None = None,
    user_id: str | None = None,
    started: RunStarted | None = None,
    key: str | None = None,
) -> tuple[Run, Draft]:
    """Return the handle of a run that is to begin, and the draft of its first event."""
    if key is not None and run_id is None:
        raise ValueError("key: expected a run_id with it, or the repeated start would begin another run")
    run_id = f"run-{new_ulid()}" if run_id is None else run_id
    run = Run(bus, run_id, run_id if workflow_id is None else workflow_id, tenant_id, agent_id)
    _check("run_id", run.run_id, _is_user_id)
    _check("workflow_id", run.workflow_id, _is_user_id)
    payload = _run_started(started, kind, previous, user_id)
    draft = Draft(
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        committed=commit(payload),
        tenant_id=_check("tenant_id", tenant_id, is_name),
        agent_id=_check("agent_id", agent_id, is_name),
        key=_check("key", key, is_id),
        user_id=payload.user_id,
    )
    return run, draft


def _run_started(
    started: RunStarted | None, kind: str, previous: PreviousRun | None, user_id: str | None
) -> RunStarted:
    given = {"previous": previous, "user_id": user_id, "kind": kind if kind != "new" else None}
    members = {} if started is None else {name: getattr(started, name) for name in started.model_fields_set}
    return RunStarted(**members | {name: value for name, value in given.items() if value is not None})


def _check(name: str, value: str | None, fits: Any) -> str | None:
    if value is not None and not fits(value):
        raise ValueError(f"{name}: {value!r:.80} does not fit; see the header in schemas/event-v1.md")
    return value


def _is_user_id(value: object) -> bool:
    return is_id(value) and not cast(str, value).startswith(RESERVED_PREFIX)


def _cause_ids(causes: Sequence[AnyEvent | str]) -> tuple[str, ...]:
    if isinstance(causes, str | TraceEvent):
        raise TypeError("causes: expected a list of events or ids, found one")
    ids = tuple(cause if isinstance(cause, str) else cause.id for cause in causes)
    if len(set(ids)) != len(ids) or len(ids) > MAX_CAUSES or not all(map(is_ulid, ids)):
        raise ValueError(f"causes: expected at most {MAX_CAUSES} different event ids, found {ids!r:.200}")
    return ids
