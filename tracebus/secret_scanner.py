"""The secret scanner: replaces credentials in what is about to be recorded (ADR 0017).

    scanner = SecretScanner(patterns=[SecretPattern("acme-token", r"acme_[a-z0-9]{32}", ("acme_",))])
    scanner.mask("use acme_0123…")              # ("use [secret: acme-token]", ("acme-token",))
    TraceEventBus(log, secret_scanner=scanner)

It recognises the forms that issuers gave their credentials. Nothing that is encoded, split, or without a
form of its own is found.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydantic_core import SchemaValidator, core_schema

from tracebus.secret_patterns import PATTERNS, URL_PASSWORD, SecretPattern, compiled

MIN_SECRET_LENGTH: Final = 8
"""Shorter texts are not looked at."""

_PLACE_TAG: Final = b"tracebus/secret-place/v1\n"
_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LITERAL: Final = re.compile(r"[!#-\[\]-~ ]{2,64}")  # what JSON writes as it is

# URLs are common, and addresses of e-mail beside them: a name, and not the literal alone, is looked for.
# What JSON escapes there, and is no white space, are a backspace and other control characters.
_URL_FILTER: Final = r'://(?:[^ /?#@"\\]|\\b|\\u00)*@'


@dataclass(frozen=True, slots=True)
class Finding:
    """Secrets of one form that were found at one place, and masked.

    The path leads from the payload's top, by names of members as they are recorded, and None for an
    element of an array. `count` is how many there were.
    """

    pattern_id: str
    path: tuple[str | None, ...]
    count: int


class SecretScanner:
    """Finds secrets by their form. It may be used in any thread, and after a fork.

    Args:
        key: Keys the hashes of places; give one, 16 random bytes or more, to compare places that several
            processes found. A random one unless given.
        patterns: Forms to look for besides the built-in ones, and before them.

    Raises:
        ValueError: The key is short; a pattern has a malformed or repeated id, a malformed regular
            expression, or literals that are missing or cannot stand in JSON; it matches what it puts in.
    """

    def __init__(self, key: bytes | None = None, patterns: Iterable[SecretPattern] = ()) -> None:
        if key is not None and len(key) < _MIN_KEY_BYTES:
            raise ValueError(f"key: expected at least {_MIN_KEY_BYTES} bytes, found {len(key)}")
        self._key = secrets.token_bytes(32) if key is None else key
        own = tuple(patterns)
        for pattern in own:
            _check(pattern)
        self.patterns: Final = own + PATTERNS
        ids = [pattern.id for pattern in self.patterns]
        if len(set(ids)) < len(ids):
            raise ValueError(f"patterns: expected different ids, found {sorted(ids)}")
        self._filter: Callable[[str | bytes], bool] | None = None

    def may_hold(self, data: bytes) -> bool:
        """Tell whether strings may hold a secret, from the canonical JSON that they are in.

        It may say so wrongly; where it says no, `mask` finds nothing in any string of them.
        """
        return self._may_match(data)

    def mask(self, text: str) -> tuple[str, tuple[str, ...]]:
        """Return a text with markers in place of its secrets, and the id of each secret's pattern."""
        if len(text) < MIN_SECRET_LENGTH or not (self._may_match(text) or _has_surrogates(text)):
            return text, ()
        found: list[str] = []
        for pattern in self.patterns:
            if any(literal in text for literal in pattern.literals):
                text, count = pattern.mask(text)
                found += [pattern.id] * count
        return text, tuple(found)

    def place_hash(self, event_type: str, path: Sequence[str | None]) -> str:
        """Return the keyed one-way hash of a place: ``hmac-sha256:<64 hexadecimal digits>``.

        It is HMAC-SHA256 over ``tracebus/secret-place/v1``, a newline, and the JSON array of the event type
        and the steps of the path, in ASCII.
        """
        place = json.dumps([event_type, *path], separators=(",", ":")).encode()
        return f"hmac-sha256:{hmac.new(self._key, _PLACE_TAG + place, hashlib.sha256).hexdigest()}"

    @property
    def detected_by(self) -> str:
        """What finds the secrets, with its version."""
        return f"tracebus {_version()}"

    def prepare(self) -> None:
        """Make what is otherwise made when it is first needed; this reads a file."""
        self._may_match("")
        _version()

    def _may_match(self, text: str | bytes) -> bool:
        """Search for the literals of all patterns at once."""
        if self._filter is None:  # two threads may both make it
            self._filter = _literal_filter(self.patterns)
        return self._filter(text)


@cache
def _version() -> str:
    from importlib.metadata import version  # loads the e-mail package, and with it sockets

    return version("tracebus")


_MIN_KEY_BYTES: Final = 16


def _literal_filter(patterns: Sequence[SecretPattern]) -> Callable[[str | bytes], bool]:
    """Return a function that tells whether a text, or UTF-8, contains a literal of any pattern.

    pydantic searches with the regular expressions of Rust, which look for all of them in one pass, in a
    tenth of the time that a loop over ``in`` takes, or less.
    """
    literals = {literal for pattern in patterns if pattern != URL_PASSWORD for literal in pattern.literals}
    schema = core_schema.str_schema(
        pattern="|".join([*map(re.escape, sorted(literals)), _URL_FILTER]), regex_engine="rust-regex"
    )
    return SchemaValidator(schema).isinstance_python


def _has_surrogates(text: str) -> bool:
    """Tell whether a text is not Unicode, and so beyond the filter."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _check(pattern: SecretPattern) -> None:
    """Check a pattern of the user's.

    Raises:
        ValueError: It cannot be used.
    """
    if not _ID.fullmatch(pattern.id) or len(pattern.id) > _MAX_ID_LENGTH:
        raise ValueError(f"pattern: expected an id such as acme-token, found {pattern.id!r:.80}")
    place = f"pattern {pattern.id}"
    if not pattern.literals or isinstance(pattern.literals, str):
        raise ValueError(f"{place}: expected the literals of which each match contains one")
    for literal in pattern.literals:
        if not _LITERAL.fullmatch(literal):
            expected = "2 to 64 characters of printable ASCII, no quote and no backslash"
            raise ValueError(f"{place}: expected a literal of {expected}, found {literal!r:.80}")
    try:
        regex = compiled(pattern.regex)
    except re.error as error:
        raise ValueError(f"{place}: {error}") from None
    if regex.search(pattern.marker) or regex.search(""):
        raise ValueError(f"{place}: it matches its own marker, or an empty text")


_MAX_ID_LENGTH: Final = 64

DEFAULT_SCANNER: Final = SecretScanner()
"""What a bus uses unless it is told otherwise."""
