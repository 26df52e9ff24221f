r"""Free-form values: how whatever came is recorded, and read again.

What RFC 8785 has no bytes for, what uses a reserved name, and what nests too deep is recorded as
JSON text in ASCII, a value that is too large as the beginning of that text::

    {"jsonText":"{\"id\": 9007199254740993}"}
    {"jsonText":"[1, 2, …","truncated":true,"length":812345,"digest":"sha256:…"}

The text is what Python's `json` writes (with ``NaN`` and ``Infinity`` where they stood); an object
that is no JSON at all stands in it as its `str`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from evidence import canonical
from evidence.digest import sha256
from evidence.disclosure import RESERVED
from evidence.errors import NotCanonicalizable
from tracebus.payload import JSON_TEXT

MAX_PAYLOAD_DEPTH: Final = 64
MAX_VALUE_DEPTH: Final = MAX_PAYLOAD_DEPTH - 2  # within a payload, or a disclosure of it
MAX_VALUE_BYTES: Final = 256 * 1024
"""A free-form value whose canonical form is larger is recorded as its beginning and its digest."""

CROWDED_VALUE_BYTES: Final = 8 * 1024
"""The same, for each value of a payload that they make too large together."""

_TRUNCATED_LENGTH: Final = 1024
# In canonical bytes a quote inside a string is escaped, so these can only be object names.
_RESERVED_NAMES: Final = tuple(f'"{name}":'.encode() for name in (*RESERVED, JSON_TEXT))


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value in JSON text already, which stands for it wherever a free-form value does."""

    text: str

    @classmethod
    def of(cls, value: Any) -> JsonText:
        """Return the JSON text of any value at all, in ASCII."""
        return value if isinstance(value, JsonText) else cls(_ascii_json(value))

    def recorded(self, max_bytes: int) -> dict[str, Any]:
        """Return the object that stands for the value in a payload."""
        if len(self.text) <= max_bytes:
            return {JSON_TEXT: self.text}
        return {
            JSON_TEXT: self.text[:_TRUNCATED_LENGTH],
            "truncated": True,
            "length": len(self.text),
            "digest": sha256(self.text.encode()),
        }


def free_form(value: Any, max_bytes: int = MAX_VALUE_BYTES) -> Any:
    """Return a value as it may stand in a payload: itself, or its JSON text."""
    if type(value) is str and value.isascii() and len(value) <= max_bytes:
        return value
    return JsonText.of(value).recorded(max_bytes) if standing(value, max_bytes) is None else value


def standing(value: Any, max_bytes: int) -> bytes | None:
    """Return the canonical bytes of a free-form value, or None where its JSON text has to be recorded."""
    try:
        data = canonical.dumps_readable(value, max_depth=MAX_VALUE_DEPTH)
    except NotCanonicalizable:
        return None
    return data if len(data) <= max_bytes and has_no_reserved_name(data) else None


def has_no_reserved_name(data: bytes) -> bool:
    """Tell whether free-form values with these canonical bytes use no reserved name."""
    may_be_reserved = b"_s" in data or b"..." in data or b"jsonText" in data
    return not (may_be_reserved and any(name in data for name in _RESERVED_NAMES))


def read_free_form(value: Any) -> Any:
    """Return the value that `free_form` was given, as far as JSON text can tell.

    A truncated value stays the object that says so.
    """
    if isinstance(value, dict) and value.keys() == {JSON_TEXT}:
        try:
            return json.loads(value[JSON_TEXT])
        except (TypeError, ValueError, RecursionError):
            return value
    return value


def _ascii_json(value: Any) -> str:
    for attempt in (value, _softened(value, MAX_PAYLOAD_DEPTH)):
        try:
            return json.dumps(attempt, default=_describe)
        except (TypeError, ValueError, RecursionError):  # keys of other types, cycles, huge integers
            continue
    return json.dumps(_describe(value))


def _softened(value: Any, depth: int) -> Any:
    """Return a value in which integers that Python writes in no decimal text stand in hexadecimal."""
    if isinstance(value, int) and value.bit_length() > _MAX_DECIMAL_BITS:
        return hex(value)
    if depth and isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: _softened(item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_softened(item, depth - 1) for item in value]
    return value


_MAX_DECIMAL_BITS: Final = 2000  # well below sys.get_int_max_str_digits()


def _describe(value: object) -> str:
    """Return the text of an object that is no JSON; an object whose own `str` fails is named."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__qualname__}: str() raised {type(error).__name__}>"
