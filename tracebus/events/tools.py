"""Tool calls: what a model wants done, and what was done."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import Count, Digest, FreeText, Ordinal
from tracebus.payload import EventPayload, FreeForm, Sensitive


class ToolProposed(EventPayload, type="tool_proposed"):
    """A model asked for a tool call; nothing was done yet.

    Publish it once for each call, before policies and people are asked. A call that is proposed
    again after a pause is the same proposal.
    """

    tool: FreeText[str]
    """Name of the tool, as the model wrote it; there may be no such tool."""
    call_id: FreeText[str | None] = None
    """Id that this call's events share."""
    target: str | None = None
    """System that the tool acts on, as configured; what the model chose is in the arguments."""
    arguments: Sensitive[FreeForm] = None
    """What the model wants the tool to be called with."""
    arguments_digest: Digest | None = None
    """Digest of the arguments, to compare with those approved and executed."""
    tool_digest: Digest | None = None
    """Digest of the tool's definition as the model saw it."""
    rationale: Sensitive[FreeForm] = None
    """Why the model says it wants the call."""


class ToolExecuted(EventPayload, type="tool_executed"):
    """A tool call ended: the tool ran, or it was stopped before it could.

    Publish it only from a place that is reached after policies and approvals; a call that still
    waits for approval was not executed.
    """

    tool: FreeText[str]
    """Name of the tool."""
    status: Literal["ok", "error", "denied", "timed_out", "cancelled"] | None = None
    """How the call ended, if it is known; *denied*: stopped by a policy or a person, and not run."""
    call_id: FreeText[str | None] = None
    """Id that this call's events share."""
    target: str | None = None
    """System that the tool acted on, as configured; what the model chose is in the arguments."""
    arguments: Sensitive[FreeForm] = None
    """What the tool was called with."""
    arguments_digest: Digest | None = None
    """Digest of the arguments, to compare with those proposed and approved."""
    result: Sensitive[FreeForm] = None
    """What the tool returned."""
    result_digest: Digest | None = None
    """Digest of what the tool returned."""
    error: Sensitive[FreeText[str | None]] = None
    """What went wrong, in the tool's words."""
    error_kind: str | None = None
    """Class of what went wrong, such as ``ConnectionError``."""
    attempt: Ordinal | None = None
    """Number of the attempt, from 1."""
    principal: str | None = None
    """Service account whose rights the tool used."""
    on_behalf_of: Sensitive[str | None] = None
    """Person for whom the service account acted."""
    data_classes: list[str] | None = None
    """Classes of the data that were read or written, such as ``phi``."""
    duration_ms: Count | None = None
    """Time from call to end, in milliseconds."""
