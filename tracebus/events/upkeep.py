"""Upkeep of the record itself: erasure, retention, holds, exports, checks, keys.

These are published by tracebus and by its operators, into maintenance runs and into the workflow
``tracebus:log``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tracebus.events._fields import (
    Count,
    Digest,
    FreeText,
    IdentitySource,
    KeyId,
    RunId,
    Software,
    Timestamp,
    Ulid,
)
from tracebus.payload import EventPart, EventPayload, Sensitive

DisclosureDigest = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""The digest of a sensitive member, as it stands in ``_sd``."""


class ErasureTarget(EventPart):
    """What was erased of one event."""

    event_id: Ulid
    """The event."""
    digests: Annotated[list[DisclosureDigest], Field(min_length=1)] | None = None
    """Digests of the sensitive members, nested ones too, that were erased; absent: the payload was, whole."""


class DataErased(EventPayload, type="data_erased"):
    """Recorded data was erased on purpose; headers, hashes and the chain stay.

    Publish it together with the erasure: the bundle's verifier asks for it.
    """

    actor: str
    """Who ordered the erasure."""
    reason: FreeText[str]
    """Why it was ordered, in one line."""
    targets: Annotated[list[ErasureTarget], Field(min_length=1)]
    """What was erased."""
    identity_source: IdentitySource | None = None
    """How the actor's identity is known."""
    legal_basis: str | None = None
    """Law or contract that it rests on, such as ``GDPR Art. 17(1)(b)``."""
    request_id: str | None = None
    """The request or ticket that asked for it; not the name of the person concerned."""


class RetentionApplied(EventPayload, type="retention_applied"):
    """Recorded data was erased because its time was over; headers, hashes and the chain stay.

    Publish it together with the erasure: the bundle's verifier asks for it.
    """

    actor: str
    """Service or person that applied the policy."""
    policy: str
    """The retention policy."""
    targets: Annotated[list[ErasureTarget], Field(min_length=1)]
    """What was erased."""
    version: str | None = None
    """Version of the policy."""
    rule: str | None = None
    """The rule or class of the policy that applied."""
    period: str | None = None
    """How long the policy keeps such data, as an ISO 8601 duration such as ``P6M``."""
    cutoff: Timestamp | None = None
    """Data from before this time was due."""
    legal_basis: str | None = None
    """Law or contract that the period rests on."""
    reason: FreeText[str | None] = None
    """What else there is to say, in one line."""


class LegalHoldChanged(EventPayload, type="legal_hold_changed"):
    """A legal hold was placed or released: while it stands, nothing it covers may be erased.

    In a workflow it covers that workflow. In ``tracebus:log`` it covers what `tenant_id` and `user_id`
    say, and with neither of them the whole log. Publish it before the hold takes effect, or ends; it
    ends where it was placed.
    """

    hold_id: str
    """Id of the hold."""
    change: Literal["placed", "released"]
    """What happened to the hold."""
    actor: str
    """Who ordered it."""
    identity_source: IdentitySource | None = None
    """How the actor's identity is known."""
    reason: FreeText[str | None] = None
    """Why, in one line."""
    matter: str | None = None
    """Case, claim or investigation that it serves."""
    tenant_id: str | None = None
    """In ``tracebus:log``: it covers the workflows of this tenant; absent: of every tenant, and of none."""
    user_id: Sensitive[str | None] = None
    """In ``tracebus:log``: it covers the workflows that have runs for this person; absent: for anybody."""
    review_at: Timestamp | None = None
    """When it is to be looked at again."""


class BundleExported(EventPayload, type="bundle_exported"):
    """An evidence bundle was made and signed.

    Published by the export, so that a bundle can be dated after its key was retired.
    """

    bundle_id: Ulid
    """Id of the bundle."""
    workflow_id: RunId
    """The workflow that the bundle is about."""
    content_hash: Digest
    """The bundle's contentHash."""
    key_id: KeyId
    """Key that signed it."""
    tenant_id: str | None = None
    """The workflow's tenant."""
    event_count: Count | None = None
    """How many events it holds."""
    withheld_payload_count: Count | None = None
    """How many payloads were withheld."""
    withheld_disclosure_count: Count | None = None
    """How many sensitive members were withheld."""
    erased_payload_count: Count | None = None
    """How many payloads had been erased."""
    erased_disclosure_count: Count | None = None
    """How many sensitive members had been erased."""
    disclosure_policy_digest: Digest | None = None
    """Digest of the policy that said what to withhold."""
    actor: str | None = None
    """Who exported it."""
    recipient: str | None = None
    """Organisation or role that it was made for."""
    purpose: str | None = None
    """What it was made for, in one line."""


class VerificationPerformed(EventPayload, type="verification_performed"):
    """A log, a workflow or a bundle was verified.

    Publish it when the check is done, whatever it found.
    """

    subject: Literal["log", "workflow", "bundle", "store"]
    """What was verified."""
    verdict: Literal["verified", "failed", "incomplete", "unverifiable"]
    """What was found."""
    bundle_id: Ulid | None = None
    """The bundle that was verified."""
    workflow_id: RunId | None = None
    """The workflow that was verified."""
    tenant_id: str | None = None
    """The workflow's tenant."""
    content_hash: Digest | None = None
    """The bundle's contentHash."""
    checkpoint_digest: Digest | None = None
    """Digest of the checkpoint that was verified against."""
    key_id: KeyId | None = None
    """Key that the signature was checked with."""
    event_count: Count | None = None
    """How many events were checked."""
    verifier: Software | None = None
    """What checked."""
    actor: str | None = None
    """Who had it checked."""
    reason: FreeText[str | None] = None
    """Why it did not verify: what was expected and found."""
    duration_ms: Count | None = None
    """How long the check took, in milliseconds."""


class KeyChanged(EventPayload, type="key_changed"):
    """A signing key was created, replaced, retired or revoked.

    Publish it before the change takes effect.
    """

    key_id: KeyId
    """The key."""
    change: Literal["created", "rotated", "retired", "revoked"]
    """What happened to it; *rotated*: it took the place of `previous_key_id`."""
    use: Literal["log", "bundle", "receipt"]
    """What the key signs; a key has one use."""
    algorithm: str | None = None
    """Algorithm of the key, such as ``ed25519``."""
    previous_key_id: KeyId | None = None
    """Key that it took the place of."""
    compromised_since: Timestamp | None = None
    """From when on a revoked key may have been in other hands."""
    custody: str | None = None
    """Where the private key is held, such as ``aws-kms`` or ``file``."""
    actor: str | None = None
    """Who ordered it."""
    reason: FreeText[str | None] = None
    """Why, in one line."""


class LogSucceeded(EventPayload, type="log_succeeded"):
    """This log goes on for another one, to which nothing is appended any more.

    Published by ``tracebus log succeed``, as the first event of the new log's own workflow behind
    ``run_started``.
    """

    previous_log: Annotated[str, Field(pattern=r"^[!-*,-~]{1,200}/[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    """Origin of the log before."""
    checkpoint_size: Count
    """Size of the newest checkpoint of that log that is known."""
    checkpoint_root: Digest
    """Its root hash."""
    checkpoint_digest: Digest
    """Digest of its text, the lines without the signatures."""
    reason: FreeText[str]
    """Why the log could not go on, in one line."""
    event_count: Count | None = None
    """How many events are left in that log."""
    actor: str | None = None
    """Who ordered it."""
