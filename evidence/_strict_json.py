"""A small strict JSON reader that says where it stopped and why.

It is the second opinion of `evidence.canonical.loads`: text that is not canonical comes here, most
often because something is wrong with it. It follows the grammar of RFC 8259 and the I-JSON limits
of RFC 7493, and reports byte offsets.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import rfc8785

from evidence.errors import MalformedInput

_SPACE: Final = re.compile(r"[ \t\n\r]*")  # matches anywhere, if only the empty string
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
_LITERALS: Final = {"true": True, "false": False, "null": None}
_LITERAL: Final = re.compile("true|false|null")
_MAX_SAFE: Final = 2**53 - 1
_MAX_NUMBER: Final = 1024


def read(data: bytes, *, max_depth: int, ecmascript_numbers: bool) -> Any:
    """Read one JSON value, or raise `MalformedInput` with the byte offset and the reason."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedInput(f"byte {error.start}", "not UTF-8") from None
    return _Reader(text, max_depth, ecmascript_numbers).read()


class _Reader:
    def __init__(self, text: str, max_depth: int, ecmascript_numbers: bool) -> None:
        self._text = text
        self._at = 0
        self._max_depth = max_depth
        self._ecmascript_numbers = ecmascript_numbers

    def read(self) -> Any:
        if self._text.startswith("\ufeff"):
            self._refuse("a byte order mark, expected a JSON value")
        value = self._value(0)
        self._skip_space()
        if self._at < len(self._text):
            self._refuse("more text after the end of the value")
        return value

    def _refuse(self, reason: str, at: int | None = None) -> NoReturn:
        before = self._text[: self._at if at is None else at]
        raise MalformedInput(f"byte {len(before.encode())}", reason)

    def _skip_space(self) -> None:
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]

    def _peek(self) -> str:
        self._skip_space()
        return self._text[self._at : self._at + 1]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            self._refuse(f"expected {character!r}, found {self._found()}")
        self._at += 1

    def _found(self) -> str:
        return repr(self._text[self._at : self._at + 12]) if self._at < len(self._text) else "the end"

    def _value(self, depth: int) -> Any:
        first = self._peek()
        if first in ("{", "["):
            if depth >= self._max_depth:
                self._refuse(f"nested deeper than {self._max_depth}")
            return self._object(depth + 1) if first == "{" else self._array(depth + 1)
        if first == '"':
            return self._string()
        if literal := _LITERAL.match(self._text, self._at):
            self._at = literal.end()
            return _LITERALS[literal.group()]
        return self._number()

    def _object(self, depth: int) -> dict[str, Any]:
        self._expect("{")
        members: dict[str, Any] = {}
        if self._peek() == "}":
            self._at += 1
            return members
        while True:
            if self._peek() != '"':
                self._refuse(f"expected an object name, found {self._found()}")
            start = self._at
            name = self._string()
            if name in members:
                self._refuse(f"object name given twice: {name!r:.80}", start)
            self._expect(":")
            members[name] = self._value(depth)
            if self._peek() == "}":
                self._at += 1
                return members
            self._expect(",")

    def _array(self, depth: int) -> list[Any]:
        self._expect("[")
        items: list[Any] = []
        if self._peek() == "]":
            self._at += 1
            return items
        while True:
            items.append(self._value(depth))
            if self._peek() == "]":
                self._at += 1
                return items
            self._expect(",")

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            self._refuse("string that does not end, or with a bad escape or control character")
        text: str = json.loads(match.group())
        try:
            text.encode()
        except UnicodeEncodeError:
            self._refuse("string holds a lone surrogate")
        self._at = match.end()
        return text

    def _number(self) -> int | float:
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            self._refuse(f"expected a JSON value, found {self._found()}")
        written = match.group()
        if len(written) > _MAX_NUMBER:
            self._refuse(f"number of {len(written)} characters, expected at most {_MAX_NUMBER}")
        value: int | float
        if match.group(1) or match.group(2):
            value = float(written)
            if value - value != 0:
                self._refuse(f"number beyond the range of a double: {written:.40}")
        else:
            # Longer than any safe integer can be; int() of a very long text would be slow.
            value = int(written) if len(written) <= 17 else _MAX_SAFE + 1
            if abs(value) > _MAX_SAFE:
                self._refuse(f"integer beyond ±(2^53-1): {written:.40}")
        if self._ecmascript_numbers and rfc8785.dumps(value).decode() != written:
            expected = rfc8785.dumps(value).decode()
            self._refuse(f"number written as {written:.40}, expected {expected}")
        self._at = match.end()
        return value
