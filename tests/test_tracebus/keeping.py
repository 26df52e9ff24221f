"""A log whose clock a test sets, to fill with runs that ended when the test says."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tracebus.eventlog import AnyEvent, Draft, EventLog, EventQuery, MemoryEventLog, SqliteEventLog
from tracebus.events import RunCompleted, RunStarted, ToolExecuted
from tracebus.payload import EventPayload
from tracebus.testing import FixedClock, draft, events_of


def nanoseconds(time: str) -> int:
    """Return a time, RFC 3339 in whole seconds, in nanoseconds since 1970."""
    return int(datetime.fromisoformat(time).timestamp()) * 1_000_000_000


class Keeping:
    """A log and its clock."""

    def __init__(self, log: EventLog, clock: FixedClock) -> None:
        self.log = log
        self.clock = clock

    def at(self, time: str) -> None:
        """Set the clock."""
        self.clock.now = nanoseconds(time)

    def append(self, drafts: Sequence[Draft]) -> list[AnyEvent]:
        """Append drafts as one group."""
        return events_of(self.log.append([drafts])[0])

    def end(self, time: str, run_id: str) -> None:
        """Append the end of a run at a time."""
        self.at(time)
        self.append([draft(run_id, RunCompleted(outcome="completed"))])

    def run(
        self,
        ended_at: str,
        run_id: str,
        *payloads: EventPayload,
        workflow_id: str = "w1",
        tenant_id: str | None = None,
        user_id: str | None = None,
        occurred_at: str | None = None,
        ends: bool = True,
    ) -> list[AnyEvent]:
        """Append a run that is over at a time, with a tool result in it unless other payloads are given."""
        self.at(ended_at)
        last = (RunCompleted(outcome="completed"),) if ends else ()
        content = payloads or (ToolExecuted(tool="crm", status="ok", result={"name": "Marta"}),)
        return self.append(
            [
                draft(
                    run_id,
                    payload,
                    workflow_id=workflow_id,
                    tenant_id=tenant_id,
                    user_id=user_id if isinstance(payload, RunStarted) else None,
                    occurred_at=occurred_at,
                )
                for payload in (RunStarted(user_id=user_id), *content, *last)
            ]
        )


def keeping_in(kind: str, folder: Path) -> Keeping:
    """Return a new log, open, in memory or in SQLite, with a clock of its own."""
    clock = FixedClock()
    log: EventLog = (
        MemoryEventLog(clock=clock) if kind == "memory" else SqliteEventLog(folder / "trace.db", clock=clock)
    )
    log.open()
    return Keeping(log, clock)


def held(log: EventLog) -> dict[str, int]:
    """Return by run id how many disclosures a log holds, of runs that hold some."""
    found: dict[str, int] = {}
    for event in log.query(EventQuery()):
        if event.disclosures:
            found[event.run_id] = found.get(event.run_id, 0) + len(event.disclosures)
    return found
