"""An async event bus for agent and workflow runtimes, whose events are evidence.

    from tracebus import SqliteEventLog, ToolProposed, TraceEventBus

    async with TraceEventBus(SqliteEventLog("trace.db")) as bus:
        async with bus.run(workflow_id="transfer-42") as run:
            await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"amount": 5000}))

If publish returned, the event is durable, and a later change is found, within the limits that
SECURITY.md states. What a bundle of a workflow is, and how it is verified, is in `evidence`.
"""

from tracebus import events
from tracebus.bus import TraceEventBus
from tracebus.errors import (
    AppendConflict,
    AppendUnknown,
    BusClosed,
    EventLogRefused,
    EventLogUnavailable,
    KeyConflict,
    NoActiveRun,
    PayloadTooLarge,
    PublishError,
    RunClosed,
    RunExists,
    SinkRejected,
    SinkUnavailable,
    TracebusError,
    UnknownRun,
)
from tracebus.event import TraceEvent
from tracebus.eventlog import (
    ANY_TENANT,
    CursorStore,
    EventLog,
    EventQuery,
    MemoryEventLog,
    RunSummary,
    SqliteEventLog,
)
from tracebus.events import *  # noqa: F403 (every event class is public here, too)
from tracebus.payload import EventPart, EventPayload, FreeForm, Sensitive, UntypedPayload
from tracebus.run import Run, RunRef
from tracebus.sink import Sink

__all__ = [
    "ANY_TENANT",
    "AppendConflict",
    "AppendUnknown",
    "BusClosed",
    "CursorStore",
    "EventLog",
    "EventLogRefused",
    "EventLogUnavailable",
    "EventPart",
    "EventPayload",
    "EventQuery",
    "FreeForm",
    "KeyConflict",
    "MemoryEventLog",
    "NoActiveRun",
    "PayloadTooLarge",
    "PublishError",
    "Run",
    "RunClosed",
    "RunExists",
    "RunRef",
    "RunSummary",
    "Sensitive",
    "Sink",
    "SinkRejected",
    "SinkUnavailable",
    "SqliteEventLog",
    "TraceEvent",
    "TraceEventBus",
    "TracebusError",
    "UnknownRun",
    "UntypedPayload",
]
__all__ += events.__all__
