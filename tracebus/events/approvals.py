"""People in the loop: what they were asked, what they saw, what they decided."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import Count, Digest, FreeText, IdentitySource, Severity, Timestamp
from tracebus.payload import EventPayload, FreeForm, Sensitive


class ApprovalRequested(EventPayload, type="approval_requested"):
    """People were asked to approve an action before it proceeds.

    Publish it when the request is put before them; the run may then be `Interrupted`.
    """

    request_id: str
    """Id that the request and its resolution share."""
    tool: FreeText[str | None] = None
    """Tool that would be called."""
    call_id: FreeText[str | None] = None
    """The tool call that waits for it."""
    action: str | None = None
    """What is asked for, in one line of the runtime's words; content belongs in `shown`."""
    approvers: list[str] | None = None
    """Roles, groups or persons who were asked."""
    required_count: Count | None = None
    """How many of them have to approve."""
    policy: str | None = None
    """Policy that requires the approval."""
    rule: str | None = None
    """The rule of the policy that requires it."""
    shown: Sensitive[FreeForm] = None
    """What the approvers are shown."""
    shown_digest: Digest | None = None
    """Digest of what the approvers are shown."""
    arguments_digest: Digest | None = None
    """Digest of the arguments that would be approved."""
    context_digest: Digest | None = None
    """Digest of the context in which the model proposed the action."""
    expires_at: Timestamp | None = None
    """When the request lapses without an answer."""


class ApprovalResolved(EventPayload, type="approval_resolved"):
    """A request for approval was answered, lapsed or was taken back.

    Publish one for each person who answers, before the action proceeds.
    """

    request_id: str
    """Id that the request and its resolution share."""
    actor: str
    """Who decided; where a request lapsed, the service that noticed."""
    identity_source: IdentitySource
    """How the actor's identity is known; frameworks pass names on unchecked: *asserted*."""
    verdict: Literal["approved", "rejected", "edited", "answered", "expired", "withdrawn"]
    """What was decided; *edited*: approved as changed; *answered*: replied to without a call."""
    actor_name: str | None = None
    """The actor's name as printed in a report."""
    actor_role: str | None = None
    """Role in which the actor decided."""
    authority: str | None = None
    """Mandate or delegation that lets the actor decide."""
    call_id: FreeText[str | None] = None
    """The tool call that was decided about."""
    reason: FreeText[str | None] = None
    """Why, in the actor's words."""
    scope: Literal["once", "run", "always"] | None = None
    """What the verdict holds for: this call, alike calls of this run, or alike calls from now on."""
    shown_digest: Digest | None = None
    """Digest of what the actor was shown when deciding."""
    arguments_digest: Digest | None = None
    """Digest of the arguments that were approved, to compare with those executed."""
    edited_arguments: Sensitive[FreeForm] = None
    """What the actor changed the arguments to."""
    answer: Sensitive[FreeForm] = None
    """What the actor replied."""
    waited_ms: Count | None = None
    """Time from the request to the answer, in milliseconds."""


class Escalation(EventPayload, type="escalation"):
    """A matter was passed on to somebody with more authority, or to an incident process.

    Publish it when it is passed on.
    """

    reason: FreeText[str]
    """Why it was passed on, in one line."""
    recipients: list[str] | None = None
    """Roles, groups or persons that it was passed on to."""
    actor: str | None = None
    """Who or what passed it on."""
    severity: Severity | None = None
    """How serious it is."""
    request_id: str | None = None
    """The approval request that was passed on."""
    call_id: FreeText[str | None] = None
    """The tool or model call that it is about."""
    incident_id: str | None = None
    """The incident or ticket that it is handled under."""
    details: Sensitive[FreeForm] = None
    """What the recipients were told."""


class HumanOverride(EventPayload, type="human_override"):
    """A person changed, allowed, blocked or stopped something that the system had decided.

    Publish it before the person's decision takes effect.
    """

    actor: str
    """Who decided."""
    identity_source: IdentitySource
    """How the actor's identity is known."""
    action: Literal["allowed", "blocked", "changed", "stopped"] | None = None
    """What the person did with what the system had decided."""
    actor_name: str | None = None
    """The actor's name as printed in a report."""
    actor_role: str | None = None
    """Role in which the actor decided."""
    authority: str | None = None
    """Mandate or delegation that lets the actor decide."""
    subject: FreeText[str | None] = None
    """What was overridden, such as the policy, the gate or the tool."""
    call_id: FreeText[str | None] = None
    """The tool or model call that was overridden."""
    reason: FreeText[str | None] = None
    """Why, in the actor's words."""
    before: Sensitive[FreeForm] = None
    """What the system had decided or written."""
    before_digest: Digest | None = None
    """Digest of what the system had decided or written."""
    after: Sensitive[FreeForm] = None
    """What holds instead."""
    after_digest: Digest | None = None
    """Digest of what holds instead."""
