"""Masking: a payload whose every text has been through the secret scanner, before it is committed.

Names of members are texts too, in mappings and free-form values; and a text is looked at together with the
name that it stands behind, as in ``Authorization: Basic …``. A value that will be recorded as JSON
text is masked in that text, so that what is shortened and digested later holds no secret either.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from evidence import canonical
from evidence.errors import NotCanonicalizable
from evidence.pattern import Step
from tracebus.free_form import MAX_VALUE_DEPTH, JsonText
from tracebus.payload import EventPart
from tracebus.secret_scanner import Finding, SecretScanner

P = TypeVar("P", bound=EventPart)

_Path = tuple[Step, ...]
_Mask = Callable[[Any, _Path], Any]

_STRING: Final = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?')  # and the colon behind a name


class Masking:
    """The masking of one payload, and what was found in it."""

    def __init__(self, scanner: SecretScanner) -> None:
        self._scanner = scanner
        self._found: Counter[tuple[str, _Path]] = Counter()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was masked: one for each pattern and place."""
        return tuple(Finding(pattern, path, count) for (pattern, path), count in self._found.items())

    def of_part(self, part: P, path: _Path = ()) -> P:
        """Return a model without secrets."""
        masked: dict[str, Any] = {}
        for member in part.members():
            value = part.__dict__.get(member.attribute)
            if value is not None:
                mask = self.of_free_form if member.is_free_form else self._typed
                masked[member.attribute] = mask(value, (*path, member.name))
        return part.model_copy(update=masked)

    def of_free_form(self, value: Any, path: _Path = ()) -> Any:
        """Return a free-form value without secrets: as JSON, or as `JsonText` where it is none."""
        if type(value) is str:
            return self._text(value, path)
        try:
            data = canonical.dumps_readable(value, max_depth=MAX_VALUE_DEPTH)
        except NotCanonicalizable:
            return JsonText(self._json_text(JsonText.of(value).text, path))
        tree = orjson.loads(data)  # which is faster to canonicalise than the value is, and read once
        return self._json(tree, path) if self._scanner.may_hold(data) else tree

    def _typed(self, value: Any, path: _Path) -> Any:
        """Return the value of a typed member; what cannot be committed stays, to be refused."""
        if isinstance(value, EventPart):
            return self.of_part(value, path)
        if isinstance(value, list | tuple | set | frozenset | deque):
            return [self._typed(item, (*path, None)) for item in value]
        if isinstance(value, Mapping):
            return self._members(value.items(), path, self._typed)
        if value is None or isinstance(value, bool | int | float | BaseModel) or is_dataclass(value):
            return value
        if type(value) is str:
            return self._text(value, path)
        return self._json(to_jsonable_python(value, inf_nan_mode="constants"), path)

    def _json(self, value: Any, path: _Path) -> Any:
        if type(value) is str:
            return self._text(value, path)
        if type(value) is list:
            return [self._json(item, (*path, None)) for item in value]
        if type(value) is dict:
            return self._members(value.items(), path, self._json)
        return value

    def _members(self, members: Collection[tuple[Any, Any]], path: _Path, mask: _Mask) -> dict[Any, Any]:
        names = _Names(name for name, _ in members)
        masked: dict[Any, Any] = {}
        for given, value in members:
            name = self._name(given, names, path) if isinstance(given, str) else given
            masked[name] = mask(value, (*path, name))
        return masked

    def _json_text(self, text: str, path: _Path) -> str:
        """Mask the strings of JSON text. Names are kept apart from all others of the text."""
        names = _Names(json.loads(string) for string, colon in _STRING.findall(text) if colon)
        named: _Path = ()

        def masked(found: re.Match[str]) -> str:
            nonlocal named
            string, colon = found.group(1), found.group(2) or ""
            given = json.loads(string)
            if colon:
                put = self._name(given, names, path)
                named = (put,)
            else:
                put = self._text(given, path, named)
            return found.group() if put == given else json.dumps(put) + colon

        return _STRING.sub(masked, text)

    def _text(self, text: str, path: _Path, below: _Path = ()) -> str:
        """Mask a text as it stands behind the name of its member, by which some secrets are told."""
        name = next((step for step in reversed((*path, *below)) if step is not None), None)
        frame = "" if name is None else f"{name}: "
        masked, patterns = self._scanner.mask(frame + text)
        if not masked.startswith(frame):
            frame = ""
            masked, patterns = self._scanner.mask(text)
        self._found.update((pattern, path) for pattern in patterns)
        return masked.removeprefix(frame)

    def _name(self, name: str, names: _Names, path: _Path) -> str:
        masked, patterns = self._scanner.mask(name)
        if not patterns:
            return name
        masked = names.unlike_others(masked)
        self._found.update((pattern, (*path, masked)) for pattern in patterns)
        return masked


class _Names:
    """The names in an object: two that are masked alike would be one, and a member would be lost."""

    def __init__(self, names: Iterable[Any]) -> None:
        self._taken = set(names)
        self._counts: Counter[str] = Counter()

    def unlike_others(self, name: str) -> str:
        """Return a name, with a number behind it if it is taken."""
        free = name
        while free in self._taken:
            self._counts[name] += 1
            free = f"{name} ({self._counts[name] + 1})"
        self._taken.add(free)
        return free
