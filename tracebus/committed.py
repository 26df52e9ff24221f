r"""The committed form of a payload: the canonical bytes that contentHash is over.

A payload class becomes an object with a fresh ``_salt``, in which each sensitive member is replaced
by the digest of its disclosure (`evidence.disclosure`). The caller's objects are read once, here;
what is stored, hashed and handed back later comes from these bytes.

A free-form member takes any value. What RFC 8785 has no bytes for, what uses a reserved name, and
what nests too deep is recorded as JSON text in ASCII, a value that is too large as the beginning of
that text::

    {"jsonText":"{\"id\": 9007199254740993}"}
    {"jsonText":"[1, 2, …","truncated":true,"length":812345,"digest":"sha256:…"}

The text is what Python's `json` writes (with ``NaN`` and ``Infinity`` where they stood); an object
that is no JSON at all stands in it as its `str`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from evidence import canonical
from evidence.digest import sha256
from evidence.disclosure import (
    RESERVED,
    SALT,
    SD,
    digest_of,
    disclose,
    encode_base64url,
    new_salt,
    open_payload,
)
from evidence.errors import NotCanonicalizable
from tracebus.errors import PayloadTooLarge
from tracebus.payload import JSON_TEXT, EventPart, EventPayload, check_user_type, payload_class

MAX_PAYLOAD_DEPTH: Final = 64
_MAX_VALUE_DEPTH: Final = MAX_PAYLOAD_DEPTH - 2  # within a payload, or a disclosure of it
MAX_PAYLOAD_BYTES: Final = 1024 * 1024
MAX_VALUE_BYTES: Final = 256 * 1024
"""A free-form value whose canonical form is larger is recorded as its beginning and its digest."""

_CROWDED_VALUE_BYTES: Final = 8 * 1024  # for all of them, where together they are too large
_TRUNCATED_LENGTH: Final = 1024
# In canonical bytes a quote inside a string is escaped, so these can only be object names.
_RESERVED_NAMES: Final = tuple(f'"{name}":'.encode() for name in (*RESERVED, JSON_TEXT))


class Committed(NamedTuple):
    """A payload in committed form: event type, canonical bytes, disclosures of what left it."""

    type: str
    payload: bytes
    disclosures: tuple[str, ...]


def commit(payload: EventPayload | Mapping[str, Any], event_type: str | None = None) -> Committed:
    """Return the committed form of a payload, or of a plain dict under a user's type.

    A dict whose type has a class is validated as that class first.

    Raises:
        TypeError: Neither a payload nor a mapping, or a type given with a payload.
        ValueError: A mapping without a type, or under a type that no user may use.
        pydantic.ValidationError: The dict does not fit the class of its type.
        NotCanonicalizable: A typed member has no canonical form (NaN, an unsafe integer).
        PayloadTooLarge: The payload is larger than 1 MiB.
    """
    if isinstance(payload, EventPayload):
        if event_type not in (None, payload.type):
            raise TypeError(
                f"type: {type(payload).__name__} has the type {payload.type}, found {event_type!r:.80}"
            )
        return _commit(payload)
    if not isinstance(payload, Mapping):
        raise TypeError(f"payload: expected an EventPayload or a mapping, found {type(payload).__name__}")
    if event_type is None:
        raise ValueError('payload: a plain mapping needs a type, such as type="acme.refund_issued"')
    if cls := payload_class(check_user_type(event_type)):
        return _commit(cls.model_validate(dict(payload)))
    return Committed(event_type, _finish(event_type, dict(free_form(dict(payload)))), ())


def _commit(payload: EventPayload) -> Committed:
    cls, known = type(payload), payload_class(payload.type)
    if known is not cls and (known is None or known.__qualname__ != cls.__qualname__):
        raise TypeError(f"{cls.__name__}: give it a type of its own, for {payload.type} is another class's")
    return _commit_at_once(payload) or _commit_with_care(payload)


def _commit_at_once(payload: EventPayload) -> Committed | None:
    """Commit a payload as most are: small, and with nothing in it that is written in another way.

    Its texts are written first and checked all together, which is faster; None where the check, which
    is a conservative one, does not pass.
    """
    part = _UncheckedPart()
    try:
        members = part.commit(payload)
        members[SALT] = new_salt()
        data = canonical.dumps_unchecked(members)
    except NotCanonicalizable:
        return None
    values = b"\n".join(part.texts)
    text = b"\n".join((values, data))
    if len(text) > _CROWDED_VALUE_BYTES or not canonical.is_certain(text) or not _may_stand(values):
        return None
    return Committed(payload.type, data, tuple(part.disclosures))


def _commit_with_care(payload: EventPayload) -> Committed:
    for limit in (MAX_VALUE_BYTES, _CROWDED_VALUE_BYTES):
        part = _Part(limit)
        members = part.commit(payload)
        try:
            return Committed(payload.type, _finish(payload.type, members), tuple(part.disclosures))
        except PayloadTooLarge:
            if limit == _CROWDED_VALUE_BYTES:
                raise
    raise AssertionError("unreachable")


def content_of(payload: bytes, disclosures: tuple[str, ...]) -> bytes:
    """Return what a committed payload says, without its salts: equal content gives equal bytes."""
    opened = dict(open_payload(canonical.loads(payload), disclosures, "payload").value)
    opened.pop(SALT, None)
    return canonical.dumps(opened)


def free_form(value: Any, max_bytes: int = MAX_VALUE_BYTES) -> Any:
    """Return a value as it may stand in a payload: itself, or its JSON text."""
    if type(value) is str and value.isascii() and len(value) <= max_bytes:
        return value
    try:
        data = canonical.dumps_readable(value, max_depth=_MAX_VALUE_DEPTH)
    except NotCanonicalizable:
        return _json_text(value, max_bytes)
    return value if len(data) <= max_bytes and _may_stand(data) else _json_text(value, max_bytes)


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


def _finish(event_type: str, members: dict[str, Any]) -> bytes:
    """Return the canonical bytes of committed members, with a salt."""
    members[SALT] = new_salt()
    data = canonical.dumps_readable(members, max_depth=MAX_PAYLOAD_DEPTH)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{event_type}: {len(data)} bytes, expected at most {MAX_PAYLOAD_BYTES}; "
            "publish a digest and keep the content elsewhere"
        )
    return data


class _Part:
    """The committing of one payload: how large its values may be, and the disclosures that it made."""

    def __init__(self, max_value_bytes: int) -> None:
        self._max_value_bytes = max_value_bytes
        self.disclosures: list[str] = []

    def commit(self, part: EventPart) -> dict[str, Any]:
        """Return the committed members of a model."""
        members: dict[str, Any] = {}
        digests: list[str] = []
        values = part.__dict__
        for attribute, name, is_sensitive, is_free_form in part.members():
            value = values.get(attribute)
            if value is None:
                continue
            if not is_free_form and type(value) not in _JSON_TYPES:
                value = self._plain(value)
            if is_sensitive:
                text, digest = self._disclose(name, value, is_free_form)
                self.disclosures.append(text)
                digests.append(digest)
            else:
                members[name] = self._free_form(value) if is_free_form else value
        if digests:
            members[SD] = sorted(digests)
        return members

    def _plain(self, value: Any) -> Any:
        """Return the JSON value of a typed member; nested models are committed like the payload."""
        if value is None or type(value) in _JSON_TYPES:
            return value
        if isinstance(value, EventPart):
            return self.commit(value)
        if isinstance(value, list | tuple | set | frozenset | deque):
            return [self._plain(item) for item in value]
        if isinstance(value, Mapping):
            for name in value:
                if name in RESERVED or name == JSON_TEXT:
                    raise NotCanonicalizable(f"/{name}", "the name is reserved; make the member FreeForm")
            return {name: self._plain(item) for name, item in value.items()}
        if isinstance(value, BaseModel) or is_dataclass(value):
            raise TypeError(f"{type(value).__name__} is no EventPart, and its marks would not be seen")
        return self._other(value)

    def _other(self, value: Any) -> Any:
        return to_jsonable_python(value, inf_nan_mode="constants")

    def _free_form(self, value: Any) -> Any:
        return free_form(value, self._max_value_bytes)

    def _disclose(self, name: str, value: Any, is_free_form: bool) -> tuple[str, str]:
        """Make the disclosure of a member; of a free-form one as JSON text where it has to be."""
        if not is_free_form:
            return disclose(name, value)
        salt = new_salt()
        try:
            data = canonical.dumps_readable([salt, name, value], max_depth=_MAX_VALUE_DEPTH)
        except NotCanonicalizable:
            data = b""
        if data and len(data) <= self._max_value_bytes and _may_stand(data):
            text = encode_base64url(data)
            return text, digest_of(text)
        return disclose(name, _json_text(value, self._max_value_bytes), salt)


class _UncheckedPart(_Part):
    """The committing of a payload whose `texts`, free-form values and disclosures, are checked later."""

    def __init__(self) -> None:
        super().__init__(_CROWDED_VALUE_BYTES)
        self.texts: list[bytes] = []

    def _other(self, value: Any) -> Any:
        raise NotCanonicalizable("", "not looked at yet: it may be read only once")

    def _free_form(self, value: Any) -> Any:
        self.texts.append(canonical.dumps_unchecked(value))
        return value

    def _disclose(self, name: str, value: Any, is_free_form: bool) -> tuple[str, str]:
        data = canonical.dumps_unchecked((new_salt(), name, value))
        self.texts.append(data)
        text = encode_base64url(data)
        return text, digest_of(text)


_JSON_TYPES: Final = frozenset({str, bool, int, float})


def _may_stand(data: bytes) -> bool:
    """Tell whether free-form values with these canonical bytes use no reserved name."""
    may_be_reserved = b"_s" in data or b"..." in data or b"jsonText" in data
    return not (may_be_reserved and any(name in data for name in _RESERVED_NAMES))


def _json_text(value: Any, max_bytes: int) -> dict[str, Any]:
    text = _ascii_json(value)
    if len(text) <= max_bytes:
        return {JSON_TEXT: text}
    return {
        JSON_TEXT: text[:_TRUNCATED_LENGTH],
        "truncated": True,
        "length": len(text),
        "digest": sha256(text.encode()),
    }


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
