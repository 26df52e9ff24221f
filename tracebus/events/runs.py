"""Runs: how they start, pause, continue and end, and the checkpoints that they leave."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import (
    Count,
    Digest,
    FreeText,
    IdentitySource,
    Number,
    RunId,
    Software,
    Timestamp,
)
from tracebus.payload import EventPart, EventPayload, FreeForm, Sensitive

RunKind = Literal["new", "retry", "resume", "child", "import", "maintenance"]
"""Why a run was started.

===========  ===============================================================================
new          work that nothing here preceded
retry        the previous run is tried again
resume       the previous run goes on in a new run
child        the previous run started this one and may wait for it
import       the events were taken over from another record; `source` names it
maintenance  something learned after the work had ended: an erasure, a hold, a settlement
===========  ===============================================================================
"""

RunOutcome = Literal["completed", "failed", "cancelled", "timed_out", "abandoned"]
"""How a run ended; *abandoned*: its process died and another one closed it."""


class PreviousRun(EventPart):
    """The event of another run that this run goes on from."""

    run_id: RunId
    """The other run."""
    seq: Count
    """Position of the event in the other run, from 0."""
    event_hash: Digest
    """Event hash of that event."""


class ImportSource(EventPart):
    """The record that imported events were taken from."""

    name: str
    """File name or address of the record."""
    digest: Digest | None = None
    """Digest of the record's bytes."""
    format: str | None = None
    """Format of the record, such as ``otlp-json``."""
    size: Count | None = None
    """Size of the record in bytes."""


class Clock(EventPart):
    """The clock that the events' times are taken from."""

    source: str
    """What the clock follows, such as ``chrony``, ``ntp``, ``ptp`` or ``unsynchronised``."""
    offset_ms: Number | None = None
    """Last measured distance from the source, in milliseconds."""
    synced_at: Timestamp | None = None
    """When it was last measured."""


class RunStarted(EventPayload, type="run_started"):
    """A run began: who it is for, which versions act in it, and what its recorder can see.

    Always a run's first event; the bus publishes it.
    """

    kind: RunKind = "new"
    """Why the run was started."""
    previous: PreviousRun | None = None
    """The run that this one retries, resumes or was started by, and where it stood."""
    user_id: Sensitive[str | None] = None
    """The person that the run works for."""
    session_id: Sensitive[str | None] = None
    """The conversation or session that the run belongs to."""
    agent: Software | None = None
    """Name and version of the agent; the header has its id."""
    model: str | None = None
    """The model that the agent is set up to use."""
    prompt_digest: Digest | None = None
    """Digest of the system prompt in force."""
    policy_digest: Digest | None = None
    """Digest of the policies in force."""
    tool_catalog_digest: Digest | None = None
    """Digest of the definitions of the tools on offer."""
    change_ref: str | None = None
    """Ticket or commit under which these versions were approved for use."""
    environment: str | None = None
    """Where it runs, such as ``production``."""
    data_classes: list[str] | None = None
    """Classes of the data that the run works on, such as ``phi``."""
    recorder: Software | None = None
    """What recorded the events: the library or adapter."""
    framework: Software | None = None
    """The agent framework that the recorder is attached to."""
    coverage: list[str] | None = None
    """Event types that this recorder can emit; what is not listed was not looked for."""
    capture: Literal["inline", "observed", "imported"] | None = None
    """*inline*: recorded as it acts; *observed*: from telemetry, best effort; *imported*: later."""
    source: ImportSource | None = None
    """Where imported events were taken from."""
    clock: Clock | None = None
    """The clock behind the timestamps."""


class RunCompleted(EventPayload, type="run_completed"):
    """A run ended, well or not; nothing follows it in this run.

    Always a run's last event; the bus publishes it.
    """

    outcome: RunOutcome
    """How the run ended."""
    reason: FreeText[str | None] = None
    """Why it ended so, in one line."""
    actor: str | None = None
    """Who cancelled it."""
    identity_source: IdentitySource | None = None
    """How the actor's identity is known."""
    output: Sensitive[FreeForm] = None
    """What the run produced."""
    output_digest: Digest | None = None
    """Digest of what the run produced."""
    duration_ms: Count | None = None
    """Time from start to end, in milliseconds."""


class Interrupted(EventPayload, type="interrupted"):
    """A run was suspended and waits for something: an approval, an answer, a time.

    Publish it when the runtime stops working on the run without ending it.
    """

    reason: FreeText[str]
    """What the run waits for, in one line."""
    request_id: str | None = None
    """The approval request that it waits for."""
    checkpoint_id: str | None = None
    """The checkpoint that it can be resumed from."""
    expires_at: Timestamp | None = None
    """When the runtime gives up waiting."""


class Resumed(EventPayload, type="resumed"):
    """A suspended run goes on.

    Publish it before any work that follows. If a person approved something, that is
    `ApprovalResolved`, published beside it.
    """

    responder: str | None = None
    """Operator or service that let the run go on; an end user belongs in `user_id`."""
    identity_source: IdentitySource | None = None
    """How the responder's identity is known."""
    user_id: Sensitive[str | None] = None
    """End user whose answer let the run go on."""
    reason: FreeText[str | None] = None
    """Why the run goes on, in one line."""
    answer: Sensitive[FreeForm] = None
    """The answer that the run waited for."""
    checkpoint_id: str | None = None
    """The checkpoint that it goes on from."""
    waited_ms: Count | None = None
    """How long the run was suspended, in milliseconds."""


class CheckpointSaved(EventPayload, type="checkpoint_saved"):
    """The runtime saved the state that the run can be resumed from.

    Publish it once the state is stored.
    """

    checkpoint_id: str
    """Id of the checkpoint in its store."""
    store: str | None = None
    """Store that holds it."""
    parent_checkpoint_id: str | None = None
    """The checkpoint that it follows."""
    step: int | None = None
    """The runtime's number for the step after which it was saved; some count from -1."""
    state: Sensitive[FreeForm] = None
    """The state."""
    state_digest: Digest | None = None
    """Digest of the state as stored."""
    size: Count | None = None
    """Size of the state as stored, in bytes."""
