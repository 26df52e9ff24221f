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
from tracebus.erasure_plan import ErasurePlan, ErasureReport, erase, plan_erasure
from tracebus.erasure_request import ErasureRequest
from tracebus.errors import (
    AppendConflict,
    AppendUnknown,
    BusClosed,
    EventLogRefused,
    EventLogUnavailable,
    HoldStands,
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
    UnknownEvent,
    UnknownRun,
)
from tracebus.event import TraceEvent, UnrecordedEvent
from tracebus.eventlog import (
    ANY_TENANT,
    CursorStore,
    ErasableLog,
    Erasure,
    EventLog,
    EventQuery,
    MemoryEventLog,
    RunSummary,
    SqliteEventLog,
)
from tracebus.events import *  # noqa: F403 (every event class is public here, too)
from tracebus.holds import Hold, StandingHolds, WorkflowKey, lift_hold, place_hold
from tracebus.losses import FAIL_OPEN
from tracebus.metrics import Metrics
from tracebus.payload import EventPart, EventPayload, FreeForm, Sensitive, UntypedPayload
from tracebus.retention import RetentionReport, apply_retention, rehearse_retention
from tracebus.retention_policy import RetentionPolicy, parse_retention_policy
from tracebus.run import Run, RunRef
from tracebus.secret_patterns import SecretPattern
from tracebus.secret_scanner import SecretScanner
from tracebus.sink import Sink
from tracebus.subject import SubjectView, subject_view
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
    "ErasableLog",
    "Erasure",
    "ErasurePlan",
    "ErasureReport",
    "ErasureRequest",
    "EventLog",
    "EventLogRefused",
    "EventLogUnavailable",
    "EventPart",
    "EventPayload",
    "EventQuery",
    "FreeForm",
    "Hold",
    "HoldStands",
    "KeyConflict",
    "MemoryEventLog",
    "Metrics",
    "NoActiveRun",
    "NotRecorded",
    "PayloadTooLarge",
    "PublishError",
    "RetentionPolicy",
    "RetentionReport",
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
    "StandingHolds",
    "SubjectView",
    "Subscription",
    "TraceEvent",
    "TraceEventBus",
    "TracebusError",
    "UnknownEvent",
    "UnknownRun",
    "UnrecordedEvent",
    "UntypedPayload",
    "WorkflowKey",
    "anchor_all",
    "apply_retention",
    "erase",
    "lift_hold",
    "parse_retention_policy",
    "place_hold",
    "plan_erasure",
    "rehearse_retention",
    "subject_view",
]
__all__ += events.__all__
