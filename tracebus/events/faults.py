"""Faults: what went wrong in the work, and in recording it."""

from __future__ import annotations

from tracebus.events._fields import Count, Digest, FreeText, Ordinal, Timestamp
from tracebus.payload import EventPayload, FreeForm, Sensitive


class ErrorRaised(EventPayload, type="error"):
    """Something went wrong: an exception, a failed service, a limit that was reached.

    Publish it where the error is handled or leaves the agent. The failure of a tool or of a model
    call is already told by that call's own event.
    """

    kind: str
    """Class of the error, such as ``TimeoutError``."""
    message: Sensitive[FreeText[str | None]] = None
    """What the error says."""
    details: Sensitive[FreeForm] = None
    """What else is known, such as the stack."""
    stack_digest: Digest | None = None
    """Digest of the stack: equal faults can be told."""
    component: str | None = None
    """Part of the system in which it went wrong."""
    call_id: FreeText[str | None] = None
    """The tool or model call in which it went wrong."""
    handled: bool | None = None
    """Whether the run goes on."""
    retryable: bool | None = None
    """Whether trying again may succeed."""
    attempt: Ordinal | None = None
    """Number of the attempt that failed, from 1."""


class RecordingGap(EventPayload, type="recording_gap"):
    """Something happened that was not recorded, or may not have been.

    Publish it as soon as recording works again, with what is known of what was missed.
    """

    reason: FreeText[str]
    """Why it was not recorded, in one line."""
    count: Count | None = None
    """How many events were lost; absent where that is unknown."""
    since: Timestamp | None = None
    """From when on something may be missing."""
    until: Timestamp | None = None
    """When recording worked again."""
    types: list[str] | None = None
    """Event types that were missed, as far as known."""
    component: str | None = None
    """Hook, adapter, process or sink that failed to record."""
