"""Canonical JSON (RFC 8785): the only bytes we hash.

`dumps` writes a Python value as RFC 8785 does: no white space, object names sorted by UTF-16 code
units, numbers as ECMAScript writes them, strings with the shortest escapes. `loads` is its strict
inverse: it refuses whatever a hash would not notice (a name given twice, an integer that a double
cannot hold, a lone surrogate), and says where.

Speed comes from orjson, which writes the same bytes except in a few cases that can be seen, without
parsing, from the text outside the strings:

========================================  ==========================  =====================
a value                                   orjson                      RFC 8785
========================================  ==========================  =====================
1.0, 1e16, 1e-5                           ``1.0  1e16  1e-5``         ``1  100…0  0.00001``
an integer of 16 digits or more           written                     refused beyond 2^53-1
NaN, Infinity                             ``null``                    refused
names with characters from U+E000 up      sorted by code point        sorted by UTF-16 unit
========================================  ==========================  =====================

Where one of these may be at hand, `rfc8785` decides, as slow as it is. Both are tested against each
other and against a third implementation on arbitrary values.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
import rfc8785

from evidence import _strict_json
from evidence.errors import MalformedInput, NotCanonicalizable

MAX_DEPTH: Final = 128
"""How deep arrays and objects may nest in what `loads` reads."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""How much `loads` reads, in bytes."""

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)

# Outside the strings: a long integer; a long integer part, a trailing ".0", or an exponent.
_INTEGER: Final = re.compile(rb"(?<![\d.eE+-])-?\d{16,40}(?![\d.eE])")
_OTHER_NUMBER: Final = re.compile(rb"(?<![\d.])\d{16}|\.0(?!\d)|\de")
_NINES: Final = bytes.maketrans(b"012345678", b"999999999")
_SIXTEEN_DIGITS: Final = b"9" * 16
# UTF-8 lead bytes of U+E000 and above: there UTF-8 and UTF-16 orders part (RFC 8785 3.2.3).
_HIGH_CHARACTER: Final = re.compile(rb"[\xee-\xff]")
_LOW_BYTES: Final = bytes(range(0xEE))
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")


def dumps(value: object) -> bytes:
    """Return the canonical bytes of a JSON value.

    Lists and tuples are arrays, dicts with string keys are objects. Equal to `rfc8785.dumps` on
    everything that it accepts. Beyond that, `enum.Enum` members and `uuid.UUID` may be written as
    their value and their text; nothing else is.

    Raises:
        NotCanonicalizable: The value has no RFC 8785 form (NaN, an integer beyond ±(2^53-1), a lone
            surrogate, a key that is no string, a type that is no JSON); it says where.
    """
    return _dumps_quickly(value) or _dumps_slowly(value)


def dumps_readable(value: object, *, max_depth: int) -> bytes:
    """Return the canonical bytes of a value that `loads` will read again.

    `dumps` writes doubles from 2^53 to 10^21 without a fraction, as RFC 8785 has it; a reader sees
    integers there that it may not take.

    Raises:
        NotCanonicalizable: As `dumps`; or the value nests deeper than `max_depth`, or holds a whole
            double beyond ±(2^53-1).
    """
    text = _dumps_quickly(value)
    if text is None:
        text = _dumps_slowly(value)
        if _holds_unsafe_integer(text):
            raise NotCanonicalizable("", "holds a whole number beyond ±(2^53-1)")
    if not _nests_at_most(text, max_depth):
        raise NotCanonicalizable("", f"nested deeper than {max_depth}")
    return text


def dumps_unchecked(value: object) -> bytes:
    """Return what are the canonical bytes of a value if `is_certain` says so of them.

    Raises:
        NotCanonicalizable: orjson cannot write the value; `dumps` may.
    """
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise NotCanonicalizable("", str(error)) from None


def is_certain(texts: bytes) -> bool:
    """Tell, conservatively, whether JSON texts by `dumps_unchecked` are canonical, and `loads` reads them.

    Several texts are told apart by line ends, and may together nest no deeper than `MAX_DEPTH` / 2.
    """
    depth = texts.count(b"[") + texts.count(b"{")
    return depth <= MAX_DEPTH // 2 and b"null" not in texts and _agrees(texts)


def loads(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    ecmascript_numbers: bool = False,
) -> Any:
    """Read JSON text strictly; whatever two readers could understand differently is refused.

    With `ecmascript_numbers`, numbers must also be written as RFC 8785 writes them (``1``, never
    ``1.0`` or ``1e0``), so that what a person reads is what was hashed.

    Raises:
        MalformedInput: Not JSON, or not UTF-8, larger or deeper than allowed, a name given twice in
            an object, a number that is no finite double, an integer beyond ±(2^53-1), or a lone
            surrogate; `place` is the byte offset.
    """
    if len(data) > max_bytes:
        raise MalformedInput("input", f"{len(data)} bytes, expected at most {max_bytes}")
    value = _read_canonical(data, max_depth)
    return _read_strictly(data, max_depth, ecmascript_numbers) if value is _NOT_CANONICAL else value


def loads_canonical(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Read JSON text that must be canonical.

    Raises:
        MalformedInput: Not what `dumps` writes, or not what `loads` reads.
    """
    value = _read_canonical(data, max_depth)
    if value is not _NOT_CANONICAL:
        return value
    _read_strictly(data, max_depth, ecmascript_numbers=True)
    raise MalformedInput("input", "not in canonical form (RFC 8785)")


def is_canonical(data: bytes, *, max_depth: int = MAX_DEPTH) -> bool:
    """Tell whether `loads` reads these bytes, and `dumps` writes them so."""
    return _read_canonical(data, max_depth) is not _NOT_CANONICAL


def _dumps_quickly(value: object) -> bytes | None:
    """Return the canonical bytes by orjson; None where it is not certain that these are they."""
    try:
        text = orjson.dumps(value, option=_OPTIONS)
    except TypeError:
        return None
    # A null is certain only where the value has None; NaN compares unequal to it, and to itself.
    if _agrees(text) and (b"null" not in text or orjson.loads(text) == value):
        return text
    return None


def _read_strictly(data: bytes, max_depth: int, ecmascript_numbers: bool) -> Any:
    try:
        return _strict_json.read(data, max_depth=max_depth, ecmascript_numbers=ecmascript_numbers)
    except RecursionError:
        raise MalformedInput("input", "nested deeper than the caller's stack has room for") from None


_NOT_CANONICAL: Final = object()


def _read_canonical(data: bytes, max_depth: int) -> Any:
    """Read canonical bytes; return `_NOT_CANONICAL` where they are not, or may not be, canonical."""
    try:
        if not _nests_at_most(data, max_depth):
            return _NOT_CANONICAL
        value = orjson.loads(data)
        # The same bytes again: no name was doubled, no number lost or written otherwise.
        if orjson.dumps(value, option=_OPTIONS) == data and _agrees(data):
            return value
        if _holds_unsafe_integer(data) or _dumps_slowly(value) != data:
            return _NOT_CANONICAL
    except (ValueError, NotCanonicalizable):
        return _NOT_CANONICAL
    return value


def _agrees(text: bytes) -> bool:
    """Tell, conservatively, whether RFC 8785 writes a value as orjson did, NaN apart."""
    segments = _split_at_strings(text)
    outside = b"".join(segments[::2])
    if _may_hold_other_number(outside) and _OTHER_NUMBER.search(outside):
        return False
    if text.isascii() or not text.translate(None, _LOW_BYTES):
        return True
    return not _HIGH_CHARACTER.search(_names(segments))


def _may_hold_other_number(outside: bytes) -> bool:
    """Tell whether `_OTHER_NUMBER` is worth searching for; ten times as fast as searching."""
    digits = outside.translate(_NINES)
    return b".0" in outside or b"9e" in digits or _SIXTEEN_DIGITS in digits


def _holds_unsafe_integer(text: bytes) -> bool:
    outside = b"".join(_split_at_strings(text)[::2])
    return any(abs(int(number)) >= 2**53 for number in _INTEGER.findall(outside))


def _split_at_strings(text: bytes) -> list[bytes]:
    """Split JSON text at its quotes: even segments lie outside the strings, odd ones are strings.

    Escaped quotes and backslashes are dropped first, which only ever changes string contents.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text.split(b'"')


def _names(segments: list[bytes]) -> bytes:
    """Return the object names, one after another: the strings that a colon follows."""
    strings, after = segments[1::2], segments[2::2]
    return b"".join(name for name, follows in zip(strings, after, strict=False) if follows[:1] == b":")


def _nests_at_most(data: bytes, depth: int) -> bool:
    if data.count(b"[") + data.count(b"{") <= depth:
        return True
    outside = b"".join(_split_at_strings(data)[::2])
    brackets = outside.translate(_ONE_KIND).translate(None, _NOT_BRACKETS)
    too_deep = b"[" * (depth + 1)
    for _ in range(depth):  # each pass takes the innermost pairs away
        if not brackets or too_deep in brackets:
            break
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if len(brackets) == before:
            break
    return not brackets


def _dumps_slowly(value: object) -> bytes:
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError) as error:
        raise _refusal(value) or NotCanonicalizable("", str(error)) from None


def _refusal(value: object) -> NotCanonicalizable | None:
    """Find the first part of a value that RFC 8785 refuses, and name it by JSON Pointer."""
    stack: list[tuple[str, object]] = [("", value)]
    open_containers = 0
    while stack:
        pointer, part = stack.pop()
        reason = _why_refused(part)
        if reason:
            return NotCanonicalizable(pointer or "/", reason)
        open_containers += isinstance(part, (dict, list, tuple))
        if pointer.count("/") > 500 or open_containers > 1_000_000:
            return NotCanonicalizable(pointer[:80], "nested too deep, or within itself")
        if isinstance(part, dict):
            stack += ((f"{pointer}/{_escape(key)}", item) for key, item in reversed(part.items()))
        elif isinstance(part, (list, tuple)):
            stack += ((f"{pointer}/{i}", part[i]) for i in range(len(part) - 1, -1, -1))
    return None


def _why_refused(part: object) -> str | None:
    if part is None or isinstance(part, (bool, list, tuple)):
        return None
    if isinstance(part, int):
        return None if abs(part) < 2**53 else f"integer of {part.bit_length()} bits, beyond ±(2^53-1)"
    if isinstance(part, float):
        return None if part - part == 0 else f"number is not finite: {part}"
    if isinstance(part, str):
        return None if _is_unicode(part) else "string holds a lone surrogate"
    if isinstance(part, dict):
        for key in part:
            if not isinstance(key, str):
                return f"object name is not a string: {key!r:.80}"
            if not _is_unicode(key):
                return f"object name holds a lone surrogate: {key!r:.80}"
        return None
    return f"not a JSON value: {type(part).__module__}.{type(part).__qualname__}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
