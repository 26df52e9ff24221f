"""Memory: what is to be remembered, what was, and what was looked up."""

from __future__ import annotations

from typing import Literal

from tracebus.events._fields import Count, Digest, FreeText, SourceRef, Timestamp, Ulid
from tracebus.payload import EventPayload, FreeForm, Sensitive

MemoryOperation = Literal["create", "update", "delete"]


class MemoryProposed(EventPayload, type="memory_proposed"):
    """An agent wants something remembered, changed or forgotten; nothing was stored yet.

    Publish it before policies and people are asked.
    """

    store: str
    """Store that would hold it."""
    operation: MemoryOperation | None = None
    """What would be done."""
    memory_key: Sensitive[FreeText[str | None]] = None
    """Key that it would be found by; such keys often hold user ids."""
    contents: Sensitive[FreeForm] = None
    """What would be stored."""
    contents_digest: Digest | None = None
    """Digest of what would be stored, to compare with what was."""
    reason: Sensitive[FreeText[str | None]] = None
    """Why, in the agent's words."""
    source_event_ids: list[Ulid] | None = None
    """Events that it was learned from."""
    sources: list[SourceRef] | None = None
    """Documents, records and files that it was learned from."""
    data_classes: list[str] | None = None
    """Classes of the data, such as ``phi``."""


class MemoryWritten(EventPayload, type="memory_written"):
    """A memory was stored, changed or deleted, or the store refused to.

    Publish it once the store has answered.
    """

    store: str
    """Store that holds it."""
    operation: MemoryOperation
    """What was done."""
    status: Literal["ok", "error", "denied"] = "ok"
    """How it ended; *denied*: a policy or a person stopped it."""
    memory_key: Sensitive[FreeText[str | None]] = None
    """Key that it is found by; such keys often hold user ids."""
    contents: Sensitive[FreeForm] = None
    """What was stored."""
    contents_digest: Digest | None = None
    """Digest of what was stored."""
    previous_digest: Digest | None = None
    """Digest of what stood under the key before."""
    reason: Sensitive[FreeText[str | None]] = None
    """Why, in the agent's words."""
    source_event_ids: list[Ulid] | None = None
    """Events that it was learned from."""
    sources: list[SourceRef] | None = None
    """Documents, records and files that it was learned from."""
    expires_at: Timestamp | None = None
    """When the store will forget it."""
    data_classes: list[str] | None = None
    """Classes of the data, such as ``phi``."""


class MemoryRetrieved(EventPayload, type="memory_retrieved"):
    """Something was looked up: in a memory, a knowledge base, a reference database.

    Publish it when the store has answered, before the result is used; also when it found nothing.
    """

    store: str
    """Store that was asked."""
    query: Sensitive[FreeForm] = None
    """What was looked for."""
    query_digest: Digest | None = None
    """Digest of what was looked for."""
    memory_key: Sensitive[FreeText[str | None]] = None
    """Key that was looked up; such keys often hold user ids."""
    contents: Sensitive[FreeForm] = None
    """What was found."""
    contents_digest: Digest | None = None
    """Digest of what was found."""
    result_count: Count | None = None
    """How many entries were found."""
    sources: list[SourceRef] | None = None
    """The entries that were found."""
    data_classes: list[str] | None = None
    """Classes of the data, such as ``phi``."""
    duration_ms: Count | None = None
    """Time from query to answer, in milliseconds."""
