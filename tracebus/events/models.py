"""Model calls: what a model was given, and what it answered."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import Count, DecimalText, Digest, FreeText, Ordinal, SourceRef
from tracebus.payload import EventPart, EventPayload, FreeForm, Sensitive


class TokenUsage(EventPart):
    """How many tokens a model call took, as the provider counts them."""

    input_tokens: Count | None = None
    """Tokens of what the model was given."""
    output_tokens: Count | None = None
    """Tokens of what the model answered, its reasoning included."""
    cached_tokens: Count | None = None
    """Input tokens that came from the provider's cache."""
    reasoning_tokens: Count | None = None
    """Output tokens that were reasoning."""


class ContextCompiled(EventPayload, type="context_compiled"):
    """What a model is about to be given was put together: instructions, history, retrieved text.

    Publish it before the model call, and when a long history was shortened.
    """

    call_id: FreeText[str | None] = None
    """Id of the model call that the context is for."""
    messages: Sensitive[FreeForm] = None
    """The messages, in the order in which the model gets them."""
    digest: Digest | None = None
    """Digest of the messages."""
    prompt_digest: Digest | None = None
    """Digest of the system prompt within them."""
    message_count: Count | None = None
    """Number of messages."""
    token_count: Count | None = None
    """Number of tokens, as the runtime estimates it."""
    dropped_count: Count | None = None
    """Number of messages that were left out or summarised to make room."""
    sources: list[SourceRef] | None = None
    """Documents, memories and files that the messages quote."""


class ModelCallStarted(EventPayload, type="model_call_started"):
    """A model is about to be called.

    Publish it before the request leaves.
    """

    model: str
    """The model, as the request names it."""
    provider: str | None = None
    """Who runs the model, such as ``openai`` or ``self-hosted``."""
    call_id: FreeText[str | None] = None
    """Id that this call's events share."""
    attempt: Ordinal | None = None
    """Number of the attempt, from 1."""
    parameters: Sensitive[FreeForm] = None
    """Settings sent along, such as temperature and seed; frameworks put user ids among them."""
    context_digest: Digest | None = None
    """Digest of the messages sent; `context_compiled` has it too."""
    tools: list[str] | None = None
    """Names of the tools offered to the model."""


class ModelCallCompleted(EventPayload, type="model_call_completed"):
    """A model answered, or the call failed.

    Publish it when the answer is whole, before anything acts on it. Each tool call that the answer
    asks for is a `ToolProposed` of its own.
    """

    model: FreeText[str | None] = None
    """The model that answered, as the response names it, if it is known."""
    status: Literal["ok", "error", "refused", "timed_out", "cancelled"]
    """How the call ended; *refused*: the model or its provider declined to answer."""
    provider: str | None = None
    """Who runs the model."""
    call_id: FreeText[str | None] = None
    """Id that this call's events share."""
    response: Sensitive[FreeForm] = None
    """What the model answered."""
    response_digest: Digest | None = None
    """Digest of what the model answered; leave it out where the answer is short enough to guess."""
    response_id: FreeText[str | None] = None
    """The provider's id of the response."""
    finish_reason: FreeText[str | None] = None
    """Why the model stopped, in the provider's words."""
    usage: TokenUsage | None = None
    """Tokens used."""
    cost: DecimalText | None = None
    """Price of the call, as decimal text."""
    currency: str | None = None
    """Currency of the price, such as ``USD``."""
    duration_ms: Count | None = None
    """Time from request to whole answer, in milliseconds."""
    error: Sensitive[FreeText[str | None]] = None
    """What went wrong, in the words of the provider or client."""
