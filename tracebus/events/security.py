"""Security: secrets found where they do not belong, and incidents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tracebus.events._fields import Count, FreeText, Severity, Timestamp, Ulid
from tracebus.payload import EventPayload, FreeForm, Sensitive

PlaceHash = Annotated[str, Field(pattern=r"^hmac-sha256:[0-9a-f]{64}$")]
"""A keyed one-way hash, so that nobody without the key can guess what it is of."""


class SecretDetected(EventPayload, type="secret_detected"):
    """A secret was found where it does not belong: a key, a password, a token.

    The bus stores one beside each event in which it masked a secret; publish it for those that you find
    yourself. The secret itself, or a digest of it, is never recorded.
    """

    pattern_id: str
    """The pattern that matched, such as ``aws-access-key``."""
    place_hash: PlaceHash
    """Keyed one-way hash of the place: equal places can be told, but not what they are."""
    status: Literal["masked", "blocked", "passed"]
    """What was done: replaced before use, the action stopped, or nothing."""
    found_in: Literal["prompt", "context", "response", "arguments", "result", "memory", "other"] | None = None
    """Kind of content that it was found in."""
    count: Count | None = None
    """How many matches were found at the place."""
    event_id: Ulid | None = None
    """The event that it was found in, if it was recorded before it was found."""
    detected_by: str | None = None
    """What found it, with its version."""


class SecurityEvent(EventPayload, type="security_event"):
    """Something relevant to security happened: an attack, a failed sign-in, an incident's next step.

    Publish it when somebody becomes aware of it, and again when its status changes.
    """

    kind: str
    """What happened, such as ``prompt_injection`` or ``sign_in_failed``."""
    severity: Severity | None = None
    """How serious it is."""
    status: Literal["suspected", "confirmed", "contained", "resolved", "dismissed"] | None = None
    """Where its handling stands."""
    became_aware_at: Timestamp | None = None
    """When somebody first knew; reporting deadlines run from it."""
    incident_id: str | None = None
    """The incident or ticket that it is handled under; shared by all its events."""
    actor: str | None = None
    """Who or what set this status."""
    detected_by: str | None = None
    """What found it."""
    subject: FreeText[str | None] = None
    """What it concerns, such as a tool or a system."""
    call_id: FreeText[str | None] = None
    """The tool or model call that it concerns."""
    reason: FreeText[str | None] = None
    """Why it counts as this, in one line."""
    details: Sensitive[FreeForm] = None
    """What was found."""
