"""Drafts: what a publisher says, checked and canonicalised, before the log gives it its place.

Nothing has changed anywhere when a draft is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

from evidence import canonical
from evidence.header import MAX_CAUSES, RISKS, is_id, is_name, is_ulid
from tracebus.committed import Committed, Committer, content_of
from tracebus.event import TraceEvent
from tracebus.eventlog.base import AnyEvent, Draft
from tracebus.events import PreviousRun, RunStarted
from tracebus.ids import new_ulid
from tracebus.run import Run, resolve
from tracebus.times import to_timestamp
from tracebus.upkeep import RESERVED_PREFIX

if TYPE_CHECKING:
    from tracebus.bus import TraceEventBus


class HeaderArguments(TypedDict, total=False):
    """What a publisher may say beside the payload; `TraceEventBus.publish` explains it."""

    turn_id: str | None
    key: str | None
    causes: Sequence[AnyEvent | str]
    risk: str | None
    occurred_at: datetime | str | None
    agent_id: str | None


def draft_event(
    committer: Committer,
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
        committed=committer.commit(payload, event_type),
        tenant_id=run.tenant_id,
        agent_id=_check("agent_id", agent_id, _NAME) or run.agent_id,
        turn_id=_check("turn_id", turn_id, _ID),
        risk=_check("risk", risk, _RISK),
        causes=_cause_ids(causes),
        key=_check("key", key, _ID),
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
    payload = _run_started(started, kind, previous, user_id)
    run = Run(
        bus,
        run_id,
        run_id if workflow_id is None else workflow_id,
        tenant_id,
        agent_id,
        user_id=payload.user_id,
    )
    _check("run_id", run.run_id, _USER_ID)
    _check("workflow_id", run.workflow_id, _USER_ID)
    committed = bus.committer.commit(payload)
    draft = Draft(
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        committed=committed,
        tenant_id=_check("tenant_id", tenant_id, _NAME),
        agent_id=_check("agent_id", agent_id, _NAME),
        key=_check("key", key, _ID),
        user_id=_recorded_user_id(payload, committed),
    )
    return run, draft


def _run_started(
    started: RunStarted | None, kind: str, previous: PreviousRun | None, user_id: str | None
) -> RunStarted:
    given = {"previous": previous, "user_id": user_id, "kind": kind if kind != "new" else None}
    members = {} if started is None else {name: getattr(started, name) for name in started.model_fields_set}
    return RunStarted(**members | {name: value for name, value in given.items() if value is not None})


def _recorded_user_id(payload: RunStarted, committed: Committed) -> str | None:
    """Return the user id for the log's index: what the event holds, where a secret in it was masked."""
    if not any(finding.path == ("userId",) for finding in committed.findings):
        return payload.user_id
    content = canonical.loads(content_of(committed.payload, committed.disclosures))
    return str(content["userId"])


_Rule = tuple[Callable[[object], bool], str]
"""What a value must fulfil, and how to say so."""

_ID: Final[_Rule] = (is_id, "1-128 printable ASCII characters")
_NAME: Final[_Rule] = (is_name, "1-256 bytes, in Unicode form NFC, without control characters")
_RISK: Final[_Rule] = (lambda value: value in RISKS, ", ".join(RISKS))
_USER_ID: Final[_Rule] = (
    lambda value: is_id(value) and not str(value).startswith(RESERVED_PREFIX),
    f"1-128 printable ASCII characters that do not begin with {RESERVED_PREFIX}",
)


def _check(name: str, value: str | None, rule: _Rule) -> str | None:
    fits, expected = rule
    if value is not None and not fits(value):
        raise ValueError(f"{name}: expected {expected}, found {value!r:.80}")
    return value


def _cause_ids(causes: Sequence[AnyEvent | str]) -> tuple[str, ...]:
    if isinstance(causes, str | TraceEvent):
        raise TypeError("causes: expected a list of events or ids, found one")
    ids = tuple(
        cause if isinstance(cause, str) else cause.id
        for cause in causes
        if isinstance(cause, str) or cause.recorded
    )
    if len(set(ids)) != len(ids) or len(ids) > MAX_CAUSES or not all(map(is_ulid, ids)):
        raise ValueError(f"causes: expected at most {MAX_CAUSES} different event ids, found {ids!r:.200}")
    return ids
