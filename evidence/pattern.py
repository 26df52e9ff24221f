"""Patterns: which payloads, and which members of them, somebody means.

::

    tool_executed                               payloads of this type, whole
    *:userId                                    members called userId, at any depth, of any type
    tool_*:result                               members called result, at any depth
    tool_executed:/result                       that member of the payload itself, and no other
    tool_executed:result/customer/email         the member at this path
    tool_executed:result/passengers/*/dob       below each element of an array, or each member
    tool_executed:result/**/email               at any depth below result

A pattern is an event type, and after a colon a path of names on the wire. In a type and in a name ``*``,
``?`` and ``[…]`` match as in file names; ``*`` as a step also stands for any element of an array, and
``**`` for any number of steps. A path of one step matches at any depth, as in ``.gitignore``; any other
begins at the payload. In a name ``/`` is written ``~1`` and ``~`` is written ``~0`` (RFC 6901 section 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from evidence.disclosure import RESERVED

ANY_DEPTH: Final = "**"
_ANY: Final = "*"
_WILDCARDS: Final = frozenset("*?[")

Step = str | None
"""A step of a path: the name of a member, or None for an element of an array."""


class Pattern:
    """One pattern, as it was written and as it is matched.

    Raises:
        ValueError: It has no type, an empty step, or a tilde that stands for nothing.
    """

    __slots__ = ("steps", "text", "type")

    def __init__(self, text: str) -> None:
        self.text = text
        self.type, colon, path = text.partition(":")
        self.steps: tuple[str, ...] | None = _steps(text, path) if colon else None
        if not self.type:
            raise ValueError(f"pattern: expected type or type:member, found {text!r:.80}")

    def is_of_type(self, event_type: str) -> bool:
        """Tell whether it is about events of this type."""
        return fnmatchcase(event_type, self.type)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


def parse_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Return the patterns of several texts.

    Raises:
        TypeError: One text was given in place of several.
        ValueError: One of them is no pattern.
    """
    if isinstance(texts, str):
        raise TypeError("patterns: expected several, such as a list, found one text")
    return tuple(map(Pattern, texts))


class Paths:
    """What patterns still ask for at one place in a payload, on the way down from its top.

    It is false where they ask for nothing below.
    """

    __slots__ = ("_below", "_rests")

    def __init__(self, rests: frozenset[tuple[str, ...]]) -> None:
        self._rests = rests
        self._below: dict[Step, tuple[bool, Paths]] = {}

    @classmethod
    def of(cls, patterns: Iterable[Pattern], event_type: str) -> Paths:
        """Return what the patterns ask for in payloads of a type; those of whole payloads ask for nothing."""
        return cls(frozenset(p.steps for p in patterns if p.steps is not None and p.is_of_type(event_type)))

    def below(self, step: Step) -> tuple[bool, Paths]:
        """Return whether a member or an element is meant, and what is asked for below it."""
        found = self._below.get(step)
        if found is None:
            if len(self._below) >= _MAX_KEPT:
                self._below.clear()
            found = self._below[step] = self._step(step)
        return found

    def _step(self, step: Step) -> tuple[bool, Paths]:
        found = False
        rests: set[tuple[str, ...]] = set()
        pending = list(self._rests)
        while pending:
            first, *others = rest = pending.pop()
            if first == ANY_DEPTH:
                rests.add(rest)
                pending.append(tuple(others))
            elif fnmatchcase(step, first) if step is not None else first == _ANY:
                found = found or not others
                if others:
                    rests.add(tuple(others))
        if rests == self._rests:
            return found, self
        return found, Paths(frozenset(rests)) if rests else NOTHING

    def at(self, path: Iterable[Step]) -> tuple[bool, Paths]:
        """Return whether the member at a path is meant, and what is asked for below it."""
        found, paths = False, self
        for step in path:
            found, paths = paths.below(step)
        return found, paths

    def match(self, path: Iterable[Step]) -> bool:
        """Tell whether the member at a path is meant."""
        return self.at(path)[0]

    def takes(self, path: Iterable[Step], value: object) -> bool:
        """Tell whether a value at a path has to go for what is meant to be gone.

        It is meant itself, stands below what is meant, or holds something that is, in the clear.
        """
        paths = self
        for step in path:
            found, paths = paths.below(step)
            if found:
                return True
        return paths.reach(value)

    def reach(self, value: object) -> bool:
        """Tell whether something that is meant stands below this place in a value, in the clear.

        What has a digest of its own does not stand there. Text that holds a document may hold what is
        meant, and counts. A last step of ``*`` names nothing, and means here what has a digest alone.
        """
        named = frozenset(rest for rest in self._rests if rest[-1] != _ANY)
        return bool(named) and Paths(named)._holds(value)

    def _holds(self, value: object) -> bool:
        if isinstance(value, dict):
            return any(self._holds_at(name, item) for name, item in value.items() if name not in RESERVED)
        if isinstance(value, list):
            return any(self._holds_at(None, item) for item in value)
        return bool(self) and is_document(value)

    def _holds_at(self, step: Step, value: object) -> bool:
        if not self:
            return False
        found, paths = self.below(step)
        if found and _says_something(value):
            return True
        return paths._holds(value) or (step == _JSON_TEXT and _is_more_than_a_number(value))

    def __bool__(self) -> bool:
        return bool(self._rests)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Paths) and self._rests == other._rests

    def __hash__(self) -> int:
        return hash(self._rests)


_MAX_KEPT: Final = 1024
_JSON_TEXT: Final = "jsonText"  # event-v1.md section 6
NOTHING: Final = Paths(frozenset())


_begins_document = re.compile(
    r"""[\s\ufeff"']*"""
    r"""(?:\{\s*(?:\\*["'}]|b["']|-?\d+\s*:)"""
    r"""|\[\s*(?:\\*["']|b["']|[\[{(\]\d-]|(?:true|false|null|NaN|Infinity|True|False|None|nan|inf)\b))"""
).match


def is_document(value: object) -> bool:
    """Tell whether a value is text that begins as a JSON object or array does, or as Python prints them.

    Quotation marks may stand before it, as where JSON was put into JSON.
    """
    return isinstance(value, str) and _begins_document(value) is not None


def _is_more_than_a_number(json_text: object) -> bool:
    """Tell whether JSON text is that of a value which may hold others, or of the text of such a value."""
    return isinstance(json_text, str) and (json_text.startswith('"') or is_document(json_text))


def _says_something(value: object) -> bool:
    """Tell whether a value is more than what holds digests together."""
    if isinstance(value, dict):
        return len(value) != 1 or RESERVED.isdisjoint(value)
    return not isinstance(value, list) or not value or any(map(_says_something, value))


def is_outright(pattern: Pattern) -> bool:
    """Tell whether a pattern has no wildcard in its type, and none in its last step.

    It names one thing, so that it is a slip where there is no such thing.
    """
    last = (pattern.steps or (pattern.type,))[-1]
    return not has_wildcard(pattern.type) and not has_wildcard(last)


def has_wildcard(name: str) -> bool:
    """Tell whether a type or a step may match more than the one name that it is."""
    return not _WILDCARDS.isdisjoint(name)


def matches_payload(patterns: Iterable[Pattern], event_type: str) -> bool:
    """Tell whether whole payloads of a type are meant."""
    return any(pattern.steps is None and pattern.is_of_type(event_type) for pattern in patterns)


def format_path(path: Iterable[Step]) -> str:
    """Return a path as a pattern writes it, from the payload's top: ``result/passengers/*/dob``."""
    return "/".join(_ANY if step is None else step.replace("~", "~0").replace("/", "~1") for step in path)


def _steps(text: str, path: str) -> tuple[str, ...]:
    steps = path.removeprefix("/").split("/")
    if not all(steps) or steps[-1] == ANY_DEPTH:
        raise ValueError(f"pattern: expected a member behind each colon and slash, found {text!r:.80}")
    names = tuple(map(_unescaped, steps))
    if None in names:
        raise ValueError(f"pattern: expected ~0 or ~1 for each tilde, found {text!r:.80}")
    named = tuple(name for name in names if name is not None)
    return named if "/" in path else (ANY_DEPTH, *named)


def _unescaped(step: str) -> str | None:
    plain = step.replace("~1", "").replace("~0", "")
    return None if "~" in plain else step.replace("~1", "/").replace("~0", "~")
