"""Policies and gates: what rules said, and where they were broken."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import Digest, FreeText, Number, Severity
from tracebus.payload import EventPayload, FreeForm, Sensitive


class PolicyDecision(EventPayload, type="policy_decision"):
    """A policy was asked about an action, and said what may happen.

    Publish every decision, also the ones that allow, before the action proceeds.
    """

    policy: str
    """Name or id of the policy."""
    decision: Literal["allow", "deny", "modify", "warn", "require_approval", "escalate"]
    """What the policy says; *modify*: allowed in a changed form; *warn*: allowed, and noted."""
    version: str | None = None
    """Version of the policy in force."""
    policy_digest: Digest | None = None
    """Digest of the policy in force."""
    rule: str | None = None
    """The rule of the policy that decided."""
    subject: FreeText[str | None] = None
    """What was judged, such as the tool's name."""
    call_id: FreeText[str | None] = None
    """The tool or model call that was judged."""
    arguments_digest: Digest | None = None
    """Digest of the arguments that were judged."""
    required_approval: str | None = None
    """Role or group whose approval the policy requires."""
    reason: str | None = None
    """Why, in the policy's words."""
    enforced: bool | None = None
    """Whether the decision took effect; false for a policy on trial."""
    modified: Sensitive[FreeForm] = None
    """What the policy changed the arguments or the content to."""


class GateVerdict(EventPayload, type="gate_verdict"):
    """A gate checked an input or output: a guardrail, an evaluation, a test, a quality check.

    Publish it before what was checked is used.
    """

    gate: str
    """Name of the gate."""
    verdict: Literal["pass", "fail", "warn", "skipped", "error"]
    """What the gate found; *error*: the gate itself failed and found nothing."""
    version: str | None = None
    """Version of the gate."""
    policy: str | None = None
    """Policy that requires the gate."""
    rule: str | None = None
    """The rule or criterion that decided."""
    subject: FreeText[str | None] = None
    """What was checked, such as ``input``, ``output`` or a tool's name."""
    call_id: FreeText[str | None] = None
    """The tool or model call that was checked."""
    subject_digest: Digest | None = None
    """Digest of what was checked."""
    score: Number | None = None
    """The measured value."""
    threshold: Number | None = None
    """The value that the score was compared with."""
    evaluator: str | None = None
    """Model, program or role that judged."""
    reason: str | None = None
    """Why, in the gate's own words."""
    explanation: Sensitive[FreeForm] = None
    """What a model or a person wrote to explain the verdict."""


class PolicyViolation(EventPayload, type="policy_violation"):
    """Something was done, or attempted, that a policy forbids.

    Publish it when the violation is found, also long after it happened.
    """

    policy: str
    """Name or id of the policy."""
    version: str | None = None
    """Version of the policy that was broken."""
    rule: str | None = None
    """The rule that was broken."""
    status: Literal["blocked", "happened", "unknown"]
    """Whether the forbidden thing took place."""
    severity: Severity | None = None
    """How serious it is."""
    subject: FreeText[str | None] = None
    """What broke the rule, such as the tool's name."""
    call_id: FreeText[str | None] = None
    """The tool or model call that broke the rule."""
    reason: str | None = None
    """What is forbidden about it, in the policy's words."""
    detected_by: str | None = None
    """What found the violation."""
    details: Sensitive[FreeForm] = None
    """What was found."""
