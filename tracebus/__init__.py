"""An async event bus for agent and workflow runtimes, whose events are evidence.

    from tracebus import SqliteEventLog, ToolProposed, TraceEventBus

    async with TraceEventBus(SqliteEventLog("trace.db")) as bus:
        async with bus.run(workflow_id="transfer-42") as run:
            await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"amount": 5000}))

If publish returned, the event is durable, and a later change is found, within the limits that
SECURITY.md states. What a bundle of a workflow is, and how it is verified, is in `evidence`.
"""

from tracebus import events
from tracebus.alarm import Alarm
from tracebus.anchor import Anchoring, anchor_all
from tracebus.bus import TraceEventBus
from tracebus.delivery import DeliveryStatus
from tracebus.errors import (
    AppendConflict,
    AppendUnknown,
    BusClosed,
    EventLogRefused,
    EventLogUnavailable,
    KeyConflict,
    NoActiveRun,
    NotRecorded,
    PayloadTooLarge,
    PublishError,
    RunClosed,
    RunExists,
    SinkOverflow,
    SinkRejected,
    SinkUnavailable,
    SinkUnconfirmed,
    TracebusError,
    UnknownRun,
)
from tracebus.event import TraceEvent, UnrecordedEvent
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
from tracebus.losses import FAIL_OPEN
from tracebus.metrics import Metrics
from tracebus.payload import EventPart, EventPayload, FreeForm, Sensitive, UntypedPayload
from tracebus.run import Run, RunRef
from tracebus.secret_patterns import SecretPattern
from tracebus.secret_scanner import SecretScanner
from tracebus.sink import Sink
from tracebus.subscription import Subscription
from tracebus.transparency.checkpoints import Checkpointer

__all__ = [
    "ANY_TENANT",
    "FAIL_OPEN",
    "Alarm",
    "Anchoring",
    "AppendConflict",
    "AppendUnknown",
    "BusClosed",
    "Checkpointer",
    "CursorStore",
    "DeliveryStatus",
    "EventLog",
    "EventLogRefused",
    "EventLogUnavailable",
    "EventPart",
    "EventPayload",
    "EventQuery",
    "FreeForm",
    "KeyConflict",
    "MemoryEventLog",
    "Metrics",
    "NoActiveRun",
    "NotRecorded",
    "PayloadTooLarge",
    "PublishError",
    "Run",
    "RunClosed",
    "RunExists",
    "RunRef",
    "RunSummary",
    "SecretPattern",
    "SecretScanner",
    "Sensitive",
    "Sink",
    "SinkOverflow",
    "SinkRejected",
    "SinkUnavailable",
    "SinkUnconfirmed",
    "SqliteEventLog",
    "Subscription",
    "TraceEvent",
    "TraceEventBus",
    "TracebusError",
    "UnknownRun",
    "UnrecordedEvent",
    "UntypedPayload",
    "anchor_all",
]
__all__ += events.__all__
