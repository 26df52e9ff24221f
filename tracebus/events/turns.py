"""Turns: the steps of a run, each from an input to an output."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import Count, Digest, FreeText
from tracebus.payload import EventPayload, FreeForm, Sensitive


class TurnStarted(EventPayload, type="turn_started"):
    """A turn of the run began: a user's message came in, or the next step is due.

    Publish it before the turn's first model or tool call.
    """

    index: Count | None = None
    """Number of the turn in the run, from 0."""
    node: str | None = None
    """Node or step of the workflow graph that the turn executes."""
    input: Sensitive[FreeForm] = None
    """What the turn works on, such as the user's message."""
    input_digest: Digest | None = None
    """Digest of what the turn works on."""


class TurnCompleted(EventPayload, type="turn_completed"):
    """A turn of the run ended.

    Publish it after the turn's last call, also when the turn failed.
    """

    outcome: Literal["completed", "failed", "cancelled", "interrupted"]
    """How the turn ended; *interrupted*: it goes on after the run is resumed."""
    reason: FreeText[str | None] = None
    """Why it ended so, in one line."""
    output: Sensitive[FreeForm] = None
    """What the turn produced, such as the answer to the user."""
    output_digest: Digest | None = None
    """Digest of what the turn produced."""
    duration_ms: Count | None = None
    """Time from start to end, in milliseconds."""
