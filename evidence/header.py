r"""The event header: what is hashed of an event, and never erased.

An event on the wire is its header and, beside it, its payload::

    {"version":1, "log":"payments/01KAJ2…", "id":"01KAJ3…", "runId":"run-7f3a", "seq":4,
     "workflowId":"transfer-42", "timestamp":"2026-11-21T02:03:04.123456789Z",
     "type":"tool_executed", "contentHash":"sha256:…", "parentHash":"sha256:…",
     "payload":{"_salt":"…", …}}

The header is a closed table of fields (`schemas/event-v1.md` section 4). An absent field is absent,
never null. It binds the payload by `contentHash` alone, so a payload can be withheld or erased and
the header, and the chain over it, stays what it was.

::

    event hash = digest("tracebus/event/v1\n" ‖ JCS(header))
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from evidence.digest import algorithm_of, hasher, is_digest
from evidence.errors import MalformedInput

Header = dict[str, Any]
"""An event header by its wire names; `check_header` says what may stand in it."""

EVENT_VERSION: Final = 1
RISKS: Final = ("low", "medium", "high", "critical")
MAX_CAUSES: Final = 64

_DOMAIN: Final = b"tracebus/event/v1\n"

# Cached, as those below that are: most values of a run's events are those of the event before.
_matches_id = lru_cache(maxsize=1024)(re.compile(r"[\x20-\x7e]{1,128}").fullmatch)
_matches_ulid = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}").fullmatch
_matches_origin = lru_cache(maxsize=16)(re.compile(r"[!-*,-~]{1,200}/[0-7][0-9A-HJKMNP-TV-Z]{25}").fullmatch)
_matches_timestamp = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z").fullmatch


def is_id(value: object) -> bool:
    """Tell whether this can be a run, workflow or turn id, a key or a type: 1-128 printable ASCII."""
    return isinstance(value, str) and _matches_id(value) is not None


def is_name(value: object) -> bool:
    """Tell whether this can be a tenant or an agent: 1-256 bytes, NFC, no control characters."""
    if not isinstance(value, str) or not value:
        return False
    if value.isascii():
        return len(value) <= 256 and value.isprintable()
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return False
    has_control = any(unicodedata.category(character) == "Cc" for character in value)
    return size <= 256 and not has_control and unicodedata.is_normalized("NFC", value)


def is_origin(value: object) -> bool:
    """Tell whether this can be a log's origin: a name without spaces and "+", a slash, a ULID."""
    return isinstance(value, str) and _matches_origin(value) is not None


def is_ulid(value: object) -> bool:
    """Tell whether this is a ULID: 26 upper-case Crockford digits, within 128 bits."""
    return isinstance(value, str) and _matches_ulid(value) is not None


def is_timestamp(value: object) -> bool:
    """Tell whether this is a UTC time with nine fractional digits: 2026-11-21T02:03:04.123456789Z."""
    return isinstance(value, str) and _matches_timestamp(value) is not None and _are_on_the_clock(value[:19])


@lru_cache(maxsize=16)
def _are_on_the_clock(seconds: str) -> bool:
    """Tell whether there is such a second: no 30 February, no 25 o'clock."""
    try:
        datetime.fromisoformat(seconds)
    except ValueError:
        return False
    return True


def format_timestamp(nanoseconds: int) -> str:
    """Return a time since 1970 in the form that `is_timestamp` accepts."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{_format_seconds(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=16)
def _format_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def _is_seq(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_version(value: object) -> bool:
    return type(value) is int and value == EVENT_VERSION


def _is_risk(value: object) -> bool:
    return value in RISKS


def _are_causes(value: object) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MAX_CAUSES
        and all(map(is_ulid, value))
        and len(set(value)) == len(value)
    )


_REQUIRED: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "version": (_is_version, "1"),
    "log": (is_origin, "a log's origin, a name and a ULID"),
    "id": (is_ulid, "a ULID"),
    "runId": (is_id, "1-128 printable ASCII characters"),
    "seq": (_is_seq, "an integer from 0"),
    "workflowId": (is_id, "1-128 printable ASCII characters"),
    "type": (is_id, "1-128 printable ASCII characters"),
    "timestamp": (is_timestamp, "a UTC time with nine fractional digits and Z"),
    "contentHash": (is_digest, "a digest"),
}
_OPTIONAL: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "turnId": (is_id, "1-128 printable ASCII characters"),
    "tenantId": (is_name, "1-256 bytes, NFC, without control characters"),
    "agentId": (is_name, "1-256 bytes, NFC, without control characters"),
    "occurredAt": (is_timestamp, "a UTC time with nine fractional digits and Z"),
    "risk": (_is_risk, "low, medium, high or critical"),
    "causes": (_are_causes, f"1-{MAX_CAUSES} different event ids"),
    "key": (is_id, "1-128 printable ASCII characters"),
    "parentHash": (is_digest, "a digest"),
}
_FIELDS: Final = _REQUIRED | _OPTIONAL

REQUIRED_FIELDS: Final = frozenset(_REQUIRED)
FIELDS: Final = frozenset(_FIELDS)


def check_header(header: Mapping[str, object], place: str) -> None:
    """Check a header against the closed table of fields.

    Raises:
        MalformedInput: A field is missing, unknown, or not of its form; `place` comes first in it.
    """
    if not header.keys() >= REQUIRED_FIELDS:
        missing = min(REQUIRED_FIELDS - header.keys())
        raise MalformedInput(place, f"header field {missing} is missing")
    for name, value in header.items():
        field = _FIELDS.get(name)
        if field is None:
            raise MalformedInput(place, f"unknown header field {name!r:.80}")
        if not field[0](value):
            raise MalformedInput(f"{place} {name}", f"expected {field[1]}, found {value!r:.80}")


def header_bytes(header: Mapping[str, object]) -> bytes:
    """Return JCS(header) of a checked header.

    A header's names are ASCII and its values are strings, small integers and lists of strings, so
    orjson's sorted form is the canonical one.
    """
    return orjson.dumps(header, option=orjson.OPT_SORT_KEYS)


def event_hash(header: Mapping[str, object]) -> str:
    """Return the event hash of a checked header, by the algorithm that its contentHash names."""
    return hasher(algorithm_of(header["contentHash"]))(_DOMAIN + header_bytes(header))  # type: ignore[arg-type]
