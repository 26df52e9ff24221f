"""Forms that fields of several families share."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field

from tracebus.payload import FREE_FORM, JSON_TEXT, EventPart

T = TypeVar("T")


def _read_text(value: object) -> object:
    """Return the text that was recorded as JSON text, anything else as it is."""
    if isinstance(value, dict) and len(value) == 1:
        text = value.get(JSON_TEXT)
        if isinstance(text, str) and text.startswith('"'):
            return json.loads(text)
    return value


FreeText = Annotated[T, BeforeValidator(_read_text), FREE_FORM]
"""Text that the runtime did not choose: ``FreeText[str]``, ``FreeText[str | None]``.

Like `FreeForm` it never causes a refusal: a lone surrogate, or a megabyte, is recorded as JSON text.
"""

Digest = Annotated[str, Field(pattern=r"^(sha256|blake3):[0-9a-f]{64}$")]
"""A digest, ``sha256:`` or ``blake3:`` and 64 hex digits. It carries no salt: short text is guessed."""

Timestamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
        r"(Z|[+-][0-9]{2}:[0-9]{2})$"
    ),
]
"""A time as RFC 3339 text with its offset: ``2026-11-21T02:03:04Z``."""

Ulid = Annotated[str, Field(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
"""The id of an event or a bundle."""

RunId = Annotated[str, Field(pattern=r"^[ -~]{1,128}$")]
"""The id of a run or a workflow."""

KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A key id: the SHA-256 of the raw public key, 64 hex digits."""

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A number of things, bytes or milliseconds."""

Ordinal = Annotated[int, Field(ge=1, le=2**53 - 1)]
"""A place in a row that is counted from 1."""

Number = Annotated[float, Field(allow_inf_nan=False, ge=1 - 2**53, le=2**53 - 1)]
"""A number that may have a fraction or be negative, within the numbers that I-JSON keeps exact."""

DecimalText = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
"""A number as decimal text, of any size and without rounding: ``"5000.00"``."""

Severity = Literal["low", "medium", "high", "critical"]

IdentitySource = Literal["idp", "session", "cli", "asserted", "system"]
"""How an actor's identity is known.

========  ==================================================================================
idp       an identity provider authenticated the actor for this very action
session   the actor was signed in to the application
cli       the operating system's account that ran a command
asserted  the caller said so; nothing checked it
system    no person: the runtime itself acted, such as on an expiry
========  ==================================================================================
"""


class Software(EventPart):
    """A piece of software, by name and version."""

    name: str
    """Its name, such as the name of its package."""
    version: str | None = None
    """Its version."""


class SourceRef(EventPart):
    """Where a piece of content came from."""

    source_id: FreeText[str]
    """Id or address of the source: a document, a record, a memory, a file."""
    digest: Digest | None = None
    """Digest of the content as it was read."""
    version: FreeText[str | None] = None
    """Version of the source as it was read."""
