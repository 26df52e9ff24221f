"""The committing of one payload: its members, and the disclosures of what leaves it.

What `tracebus.committed` promises is done here, once with care, and once in the way that most payloads
allow, with all checks at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from evidence import canonical
from evidence.disclosure import ELEMENT, RESERVED, SD, digest_of, disclose, encode_base64url, new_salt
from evidence.errors import NotCanonicalizable
from evidence.pattern import is_document
from tracebus.free_form import (
    CROWDED_VALUE_BYTES,
    MAX_VALUE_DEPTH,
    JsonText,
    free_form,
    has_no_reserved_name,
    standing,
)
from tracebus.payload import JSON_TEXT, EventPart
from tracebus.sensitivity import NOWHERE, Place

MAX_REACHED: Final = 4096
"""How much may leave a payload because of patterns; a value that holds more leaves as a whole."""

_JSON_TYPES: Final = frozenset({str, bool, int, float})
_TELLING: Final = (JSON_TEXT, "digest")  # of a value in JSON text

_Commit = Callable[[Any, Place], Any]


class _Unreachable(Exception):
    """What patterns mean in a value cannot be told apart from the rest of it."""


class Committing:
    """The committing of one payload: how large its values may be, and the disclosures that it made."""

    def __init__(self, max_value_bytes: int) -> None:
        self._max_value_bytes = max_value_bytes
        self.disclosures: list[str] = []

    def commit(self, part: EventPart, place: Place) -> dict[str, Any]:
        """Return the committed members of a model that stands at a place."""
        members: dict[str, Any] = {}
        digests: list[str] = []
        values = part.__dict__
        for attribute, name, is_sensitive, is_free_form, below in place.members(type(part)):
            value = values.get(attribute)
            if value is None:
                continue
            if below.reaches:
                value, leaves = self._reach(value, below, is_free_form)
                if is_sensitive or leaves:
                    digests.append(self._disclose(name, value))
                else:
                    members[name] = value
                continue
            if not is_free_form and type(value) not in _JSON_TYPES:
                value = self._plain(value, below)
            if not is_sensitive:
                members[name] = self._free_form(value) if is_free_form else value
            elif is_free_form:
                digests.append(self._disclose_free_form(name, value))
            else:
                digests.append(self._disclose(name, value))
        if digests:
            members[SD] = sorted(digests)
        return members

    def commit_mapping(self, mapping: Any, place: Place) -> dict[str, Any]:
        """Return the committed members of a mapping that is a payload; it is one free-form value."""
        if not place.reaches:
            return dict(self._free_form(mapping))
        members, leaves = self._reach(mapping, place, is_free_form=True)
        if leaves:  # the digest of a text that is known but for a little of it would tell that little
            digests = [self._disclose(name, members.pop(name)) for name in _TELLING if name in members]
            members[SD] = sorted(digests)
        return dict(members)

    def _reach(self, value: Any, place: Place, is_free_form: bool) -> tuple[Any, bool]:
        """Return a value without what patterns mean in it, and whether all of it has to leave."""
        if isinstance(value, str | int | float):
            return self._free_form(value) if is_free_form else self._plain(value, place), is_document(value)
        made = len(self.disclosures)
        try:
            committed = self._walk(self._tree(value), place) if is_free_form else self._plain(value, place)
        except _Unreachable:
            del self.disclosures[made:]
            return self._free_form(value) if is_free_form else self._plain(value, NOWHERE), True
        return committed, is_document(committed)

    def _plain(self, value: Any, place: Place) -> Any:
        """Return the JSON value of a typed member; nested models are committed like the payload."""
        if value is None or type(value) in _JSON_TYPES:
            return value
        if isinstance(value, EventPart):
            return self.commit(value, place)
        if isinstance(value, list | tuple | set | frozenset | deque):
            return self._array(value, place, self._plain)
        if isinstance(value, Mapping):
            for name in value:
                if not isinstance(name, str):
                    raise NotCanonicalizable(f"/{name!r:.80}", "object name is not a string")
                if name in RESERVED or name == JSON_TEXT:
                    raise NotCanonicalizable(f"/{name}", "the name is reserved; make the member FreeForm")
            return self._object(value, place, self._plain)
        if isinstance(value, BaseModel) or is_dataclass(value):
            raise TypeError(f"{type(value).__name__} is no EventPart, and its marks would not be seen")
        return self._walk(self._other(value), place)

    def _walk(self, value: Any, place: Place) -> Any:
        """Return a JSON value without what patterns mean in it."""
        if place.reaches:
            if type(value) is dict:
                return self._object(value, place, self._walk)
            if type(value) is list:
                return self._array(value, place, self._walk)
        return value

    def _object(self, value: Mapping[str, Any], place: Place, commit: _Commit) -> dict[str, Any]:
        if place is NOWHERE:
            return {name: commit(item, NOWHERE) for name, item in value.items()}
        kept: dict[str, Any] = {}
        digests: list[str] = []
        for name, item in value.items():
            below = place.below(name)
            committed = commit(item, below)
            if below.is_sensitive or (below.reaches and is_document(committed)):
                digests.append(self._leave(name, committed))
            else:
                kept[name] = committed
        if digests:
            kept[SD] = sorted(digests)
        return kept

    def _array(self, value: Iterable[Any], place: Place, commit: _Commit) -> list[Any]:
        if place is NOWHERE:
            return [commit(item, NOWHERE) for item in value]
        below = place.below(None)
        kept: list[Any] = []
        for item in value:
            committed = commit(item, below)
            leaves = below.is_sensitive or (below.reaches and is_document(committed))
            kept.append({ELEMENT: self._leave(None, committed)} if leaves else committed)
        return kept

    def _leave(self, name: str | None, value: Any) -> str:
        if len(self.disclosures) >= MAX_REACHED:
            raise _Unreachable
        return self._disclose(name, value)

    def _tree(self, value: Any) -> Any:
        """Return a free-form value as JSON, to be walked."""
        data = standing(value, self._max_value_bytes)
        if data is None:
            raise _Unreachable
        return orjson.loads(data)

    def _other(self, value: Any) -> Any:
        return to_jsonable_python(value, inf_nan_mode="constants")

    def _free_form(self, value: Any) -> Any:
        return free_form(value, self._max_value_bytes)

    def _disclose(self, name: str | None, value: Any) -> str:
        """Make the disclosure of a member or an element; return its digest."""
        text, digest = disclose(name, value)
        self.disclosures.append(text)
        return digest

    def _disclose_free_form(self, name: str, value: Any) -> str:
        """Make the disclosure of a free-form member, as JSON text where it has to be."""
        salt = new_salt()
        try:
            data = canonical.dumps_readable([salt, name, value], max_depth=MAX_VALUE_DEPTH)
        except NotCanonicalizable:
            data = b""
        if not data or len(data) > self._max_value_bytes or not has_no_reserved_name(data):
            return self._disclose(name, JsonText.of(value).recorded(self._max_value_bytes))
        return self._keep(data)

    def _keep(self, data: bytes) -> str:
        """Keep a disclosure that has these canonical bytes; return its digest."""
        text = encode_base64url(data)
        self.disclosures.append(text)
        return digest_of(text)


class UncheckedCommitting(Committing):
    """The committing of a payload that is checked later.

    `values` are its free-form values as they came, and disclosures of them; `texts` what else left it.
    """

    def __init__(self) -> None:
        super().__init__(CROWDED_VALUE_BYTES)
        self.values: list[bytes] = []
        self.texts: list[bytes] = []

    def _tree(self, value: Any) -> Any:
        data = canonical.dumps_unchecked(value)
        if data.count(b"[") + data.count(b"{") > MAX_VALUE_DEPTH:
            raise NotCanonicalizable("", "may be nested too deep to be walked")
        self.values.append(data)
        return orjson.loads(data)

    def _other(self, value: Any) -> Any:
        raise NotCanonicalizable("", "not looked at yet: it may be read only once")

    def _free_form(self, value: Any) -> Any:
        self.values.append(canonical.dumps_unchecked(value))
        return value

    def _disclose(self, name: str | None, value: Any) -> str:
        data = canonical.dumps_unchecked((new_salt(), value) if name is None else (new_salt(), name, value))
        self.texts.append(data)
        return self._keep(data)

    def _disclose_free_form(self, name: str, value: Any) -> str:
        data = canonical.dumps_unchecked((new_salt(), name, value))
        self.values.append(data)
        text = encode_base64url(data)
        self.disclosures.append(text)
        return digest_of(text)
