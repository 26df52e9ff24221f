"""Losses: the events that failed open, until a gap in the record says so (ADR 0010)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from evidence.header import Header, format_timestamp
from tracebus.committed import commit
from tracebus.errors import AppendUnknown, EventLogRefused, EventLogUnavailable
from tracebus.event import UnrecordedEvent
from tracebus.eventlog.base import AnyEvent, Draft
from tracebus.eventlog.sealing import add_optional_fields
from tracebus.events import RecordingGap
from tracebus.secret_reports import is_report
from tracebus.upkeep import log_run

FAIL_OPEN: Final = frozenset(
    {
        "turn_started",
        "turn_completed",
        "context_compiled",
        "model_call_started",
        "model_call_completed",
        "tool_executed",
        "branch_decision",
        "handoff",
        "memory_retrieved",
        "checkpoint_saved",
        "error",
    }
)
"""Event types that fail open unless a bus is told otherwise: what tells of something that has happened
already, or that changes nothing outside. All others, users' own too, fail closed: publish raises."""

LOG_FAILURES: Final = (EventLogUnavailable, EventLogRefused, AppendUnknown)
"""The errors that are the log's, not the event's."""


@dataclass(slots=True)
class _Loss:
    """What was lost of one run."""

    run_id: str
    workflow_id: str
    tenant_id: str | None
    agent_id: str | None
    reason: str
    since: str
    types: Counter[str] = field(default_factory=Counter)
    is_elsewhere: bool = False

    def gap(self, until: str) -> list[Draft]:
        """Return the group that records the loss."""
        where = f" in run {self.run_id}" if self.is_elsewhere else ""
        gap = RecordingGap(
            reason=f"{self.reason}: lost{where}, or not known to be recorded",
            count=self.types.total(),
            since=self.since,
            until=until,
            types=sorted(self.types),
            component="event log",
        )
        if self.is_elsewhere:
            return log_run(gap)
        draft = Draft(
            run_id=self.run_id,
            workflow_id=self.workflow_id,
            tenant_id=self.tenant_id,
            agent_id=self.agent_id,
            committed=commit(gap),
        )
        return [draft]


class Losses:
    """What was lost and is not yet in the record. It belongs to the writer's thread.

    Args:
        fail_open: The event types that may be lost.
        clock: Returns the time in nanoseconds since 1970.
    """

    def __init__(self, fail_open: Collection[str], clock: Callable[[], int] = time.time_ns) -> None:
        self._fail_open = frozenset(fail_open)
        self._clock = clock
        self._by_run: dict[str, _Loss] = {}
        self._upkeep: dict[str, Sequence[Draft]] = {}
        self._total = 0

    @property
    def count(self) -> int:
        """How many events were lost of which no gap tells yet."""
        return sum(loss.types.total() for loss in self._by_run.values())

    def may_lose(self, drafts: Sequence[Draft], error: Exception) -> bool:
        """Tell whether a group that was not stored for this reason fails open.

        A report of secrets does as the event that it goes with.
        """
        return isinstance(error, LOG_FAILURES) and all(
            draft.committed.type in self._fail_open or is_report(draft) for draft in drafts
        )

    def add(self, drafts: Sequence[Draft], error: Exception) -> list[AnyEvent]:
        """Take note of a group that was lost; return what its publisher gets."""
        now = format_timestamp(self._clock())
        for draft in drafts:
            loss = self._by_run.get(draft.run_id)
            if loss is None:
                place = (draft.run_id, draft.workflow_id, draft.tenant_id, draft.agent_id)
                loss = self._by_run[draft.run_id] = _Loss(*place, type(error).__name__, now)
            loss.types[draft.committed.type] += 1
            self._total += 1
        return [_unrecorded(draft) for draft in drafts]

    def keep(self, drafts: Sequence[Draft]) -> None:
        """Keep a run of the log's own workflow until the log takes it."""
        self._upkeep[drafts[0].run_id] = drafts

    def gaps(self) -> dict[str, Sequence[Draft]]:
        """Return, for each run that lost events, the group that records it; and what was kept."""
        until = format_timestamp(self._clock())
        return {run_id: loss.gap(until) for run_id, loss in self._by_run.items()} | self._upkeep

    def note(self, run_id: str, outcome: list[AnyEvent] | Exception) -> None:
        """Take note of what became of a run's gap.

        A run that takes no event any more, having been closed elsewhere, has it recorded in the log's own
        workflow.
        """
        if isinstance(outcome, LOG_FAILURES) or self._upkeep.pop(run_id, None) is not None:
            return
        loss = self._by_run[run_id]
        if isinstance(outcome, list) or loss.is_elsewhere:
            del self._by_run[run_id]
        else:
            loss.is_elsewhere = True

    def take_total(self) -> int:
        """Return how many events were lost since this was asked last."""
        total, self._total = self._total, 0
        return total


def _unrecorded(draft: Draft) -> AnyEvent:
    header: Header = {
        "runId": draft.run_id,
        "workflowId": draft.workflow_id,
        "type": draft.committed.type,
    }
    add_optional_fields(header, draft)
    return UnrecordedEvent(header, draft.committed.payload, draft.committed.disclosures)
