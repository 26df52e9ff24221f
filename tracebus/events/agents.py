"""Agents and paths: who goes on with the work, and which way it goes."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import FreeText, RunId
from tracebus.payload import EventPayload, FreeForm, Sensitive


class BranchDecision(EventPayload, type="branch_decision"):
    """The workflow came to a fork and took one of its branches.

    Publish it before the branch is entered.
    """

    chosen: FreeText[str]
    """The branch that was taken."""
    condition: str | None = None
    """The condition, or the router, that was asked."""
    alternatives: list[str] | None = None
    """The branches that were not taken."""
    decided_by: Literal["rule", "model", "human"] | None = None
    """What kind of thing chose."""
    node: str | None = None
    """Node or step of the workflow graph that the fork belongs to."""
    reason: str | None = None
    """Why, in the runtime's words."""
    explanation: Sensitive[FreeForm] = None
    """What a model or a person wrote to explain the choice."""


class Handoff(EventPayload, type="handoff"):
    """One agent passed work to another.

    Publish it before the other agent begins.
    """

    target_agent: FreeText[str]
    """Agent that gets the work."""
    source_agent: str | None = None
    """Agent that passes it on."""
    kind: Literal["transfer", "delegate", "return"] | None = None
    """*transfer*: for good; *delegate*: and waits for the result; *return*: the result comes back."""
    intent: Sensitive[FreeText[str | None]] = None
    """What the other agent is meant to do."""
    content: Sensitive[FreeForm] = None
    """What is passed along."""
    target_run_id: RunId | None = None
    """Run in which the other agent works."""
    call_id: FreeText[str | None] = None
    """The tool call that asked for it."""
    protocol: str | None = None
    """Protocol by which a remote agent is reached."""
