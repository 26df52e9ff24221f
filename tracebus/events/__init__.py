"""The built-in events: what agent and workflow runtimes do, as typed payloads.

One family a file:

=============  =====================================================================================
`runs`         `RunStarted`, `RunCompleted`, `Interrupted`, `Resumed`, `CheckpointSaved`
`turns`        `TurnStarted`, `TurnCompleted`
`models`       `ContextCompiled`, `ModelCallStarted`, `ModelCallCompleted`
`tools`        `ToolProposed`, `ToolExecuted`
`policy`       `PolicyDecision`, `GateVerdict`, `PolicyViolation`
`approvals`    `ApprovalRequested`, `ApprovalResolved`, `Escalation`, `HumanOverride`
`agents`       `BranchDecision`, `Handoff`
`memory`       `MemoryProposed`, `MemoryWritten`, `MemoryRetrieved`
`security`     `SecretDetected`, `SecurityEvent`
`chain`        `ChainTransaction`
`faults`       `ErrorRaised` (``error`` on the wire), `RecordingGap`
`upkeep`       `DataErased`, `RetentionApplied`, `LegalHoldChanged`, `BundleExported`,
               `VerificationPerformed`, `KeyChanged`, `LogSucceeded`
=============  =====================================================================================

On the wire the type is the class's name in snake_case: `ToolExecuted` is ``tool_executed``.

What is true of all of them:

- Few fields must be given: those without which the event says nothing.
- What people and models wrote, and who the user is, is `Sensitive`: it can be withheld and erased,
  and a payload reads well without it. Verdicts, outcomes, policies and actors never are, and a
  reason, even where a person wrote it, stays beside the verdict that it explains.
- What the runtime did not choose (arguments, results, answers, the names that models write) is
  free-form: whatever it holds, the event is recorded.
- Durations are whole milliseconds (``duration_ms``), sizes are bytes, times are RFC 3339 text,
  and amounts of money are decimal text.
- Who is responsible is ``actor``, an id and never a description; ``identity_source`` says how far
  that id can be trusted.
- A digest has no salt. Leave it out where the content is short enough to be guessed and may have to
  be erased.

A runtime's own events subclass `tracebus.payload.EventPayload` under a type with a dot.
"""

from __future__ import annotations

from tracebus.events._fields import IdentitySource, Software, SourceRef
from tracebus.events.agents import BranchDecision, Handoff
from tracebus.events.approvals import ApprovalRequested, ApprovalResolved, Escalation, HumanOverride
from tracebus.events.chain import ChainTransaction
from tracebus.events.faults import ErrorRaised, RecordingGap
from tracebus.events.memory import MemoryProposed, MemoryRetrieved, MemoryWritten
from tracebus.events.models import ContextCompiled, ModelCallCompleted, ModelCallStarted, TokenUsage
from tracebus.events.policy import GateVerdict, PolicyDecision, PolicyViolation
from tracebus.events.runs import (
    CheckpointSaved,
    Clock,
    ImportSource,
    Interrupted,
    PreviousRun,
    Resumed,
    RunCompleted,
    RunKind,
    RunOutcome,
    RunStarted,
)
from tracebus.events.security import SecretDetected, SecurityEvent
from tracebus.events.tools import ToolExecuted, ToolProposed
from tracebus.events.turns import TurnCompleted, TurnStarted
from tracebus.events.upkeep import (
    BundleExported,
    DataErased,
    ErasureTarget,
    KeyChanged,
    LegalHoldChanged,
    LogSucceeded,
    RetentionApplied,
    VerificationPerformed,
)

__all__ = [
    "ApprovalRequested",
    "ApprovalResolved",
    "BranchDecision",
    "BundleExported",
    "ChainTransaction",
    "CheckpointSaved",
    "Clock",
    "ContextCompiled",
    "DataErased",
    "ErasureTarget",
    "ErrorRaised",
    "Escalation",
    "GateVerdict",
    "Handoff",
    "HumanOverride",
    "IdentitySource",
    "ImportSource",
    "Interrupted",
    "KeyChanged",
    "LegalHoldChanged",
    "LogSucceeded",
    "MemoryProposed",
    "MemoryRetrieved",
    "MemoryWritten",
    "ModelCallCompleted",
    "ModelCallStarted",
    "PolicyDecision",
    "PolicyViolation",
    "PreviousRun",
    "RecordingGap",
    "Resumed",
    "RetentionApplied",
    "RunCompleted",
    "RunKind",
    "RunOutcome",
    "RunStarted",
    "SecretDetected",
    "SecurityEvent",
    "Software",
    "SourceRef",
    "TokenUsage",
    "ToolExecuted",
    "ToolProposed",
    "TurnCompleted",
    "TurnStarted",
    "VerificationPerformed",
]
