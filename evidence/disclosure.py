"""Selective disclosure, built as RFC 9901 (SD-JWT) builds it.

A sensitive member leaves its object, and a salted digest joins the object's ``_sd``; a sensitive
array element becomes ``{"...": digest}``. What left is kept beside the event as a *disclosure*::

    disclosure = base64url(JCS([salt, name, value]))     an object's member
    disclosure = base64url(JCS([salt, value]))           an array's element
    digest     = base64url(SHA-256(disclosure as ASCII))

The payload's contentHash covers the digests, so to withhold is to leave a disclosure out, and to
erase is to delete it: no hash changes. Without its 128-bit salt a value cannot be guessed from its
digest. Digests are always SHA-256, sorted, and without decoys; there is no ``_sd_alg``.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from evidence import canonical
from evidence.digest import sha256
from evidence.errors import DisclosureRefused, MalformedInput

SD: Final = "_sd"
ELEMENT: Final = "..."
SALT: Final = "_salt"
RESERVED: Final = frozenset({SD, ELEMENT, SALT})
"""Names that no member of a payload may have by itself."""

MAX_OPENED_DEPTH: Final = 128

_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_FROM_STANDARD: Final = bytes.maketrans(b"+/", b"-_")
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})

_matches_digest = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch


class Disclosure(NamedTuple):
    """One value that left a payload: its encoded text, and what the text says.

    `name` is None for an array's element.
    """

    text: str
    digest: str
    name: str | None
    value: Any


class Located(NamedTuple):
    """A disclosure, and where in the opened payload it stands: names from the top, None for an element."""

    path: tuple[str | None, ...]
    disclosure: Disclosure


class Opened(NamedTuple):
    """A payload with its disclosures put back in.

    `value` holds no ``_sd`` and no ``...`` any more; an element that is not shown is left out.
    `shown` are the digests of the disclosures put in, `hidden` those that nothing was given for.
    """

    value: Any
    shown: frozenset[str]
    hidden: frozenset[str]


def new_salt() -> str:
    """Return a fresh salt: 16 random bytes as base64url, 22 characters. Each is given out once."""
    while True:
        try:
            return _salts.popleft()
        except IndexError:
            # The kernel is asked for many at a time: each request lets other threads run first.
            random = os.urandom(16 * _SALTS)
            _salts.extend(encode_base64url(random[i : i + 16]) for i in range(0, len(random), 16))


_SALTS: Final = 64
_salts: deque[str] = deque()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_salts.clear)


def encode_base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 4648 section 5)."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_FROM_STANDARD).decode()


def disclose(name: str | None, value: object, salt: str | None = None) -> tuple[str, str]:
    """Make a disclosure of a member, or of an element (`name` None); return its text and digest.

    Raises:
        NotCanonicalizable: The value has no canonical form that a reader would take.
    """
    salt = salt or new_salt()
    parts = [salt, value] if name is None else [salt, name, value]
    text = encode_base64url(canonical.dumps_readable(parts, max_depth=canonical.MAX_DEPTH))
    return text, digest_of(text)


def digest_of(text: str) -> str:
    """Return the digest of an encoded disclosure (RFC 9901 section 4.2.3)."""
    return encode_base64url(hashlib.sha256(text.encode("ascii")).digest())


def member_digest(disclosures: Iterable[str], name: str, place: str) -> str:
    """Return a digest of a sensitive member that gives nothing away: that of its disclosure.

    Another event can name the content so, such as ``shownDigest`` of an approval what was shown,
    without undoing the salt, as a bare digest of the content would.

    Raises:
        LookupError: None of the disclosures is of such a member.
    """
    for text in disclosures:
        if parse_disclosure(text, place).name == name:
            return sha256(text.encode())
    raise LookupError(f"{place} holds no sensitive member {name!r:.80}")


def is_sd_digest(value: object) -> bool:
    """Tell whether this can be the digest of a disclosure: 43 characters of base64url."""
    return isinstance(value, str) and _matches_digest(value) is not None


def parse_disclosure(text: str, place: str) -> Disclosure:
    """Read an encoded disclosure.

    Raises:
        DisclosureRefused: It is not unpadded base64url of the canonical bytes of an array of salt,
            name and value, or salt and value.
    """
    parts = _decode(text, place)
    is_array = isinstance(parts, list) and 2 <= len(parts) <= 3
    if not is_array or not parts[0] or not all(type(part) is str for part in parts[:-1]):
        raise DisclosureRefused(place, "expected [salt, name, value] or [salt, value]")
    name = parts[1] if len(parts) == 3 else None
    if name in RESERVED:
        raise DisclosureRefused(place, f"discloses the reserved name {name}")
    return Disclosure(text, digest_of(text), name, parts[-1])


def _decode(text: str, place: str) -> Any:
    try:
        standard = text.encode("ascii").translate(_TO_STANDARD)
        data = binascii.a2b_base64(standard + b"=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise DisclosureRefused(place, "not base64url") from None
    if encode_base64url(data) != text:
        raise DisclosureRefused(place, "not base64url in its one canonical spelling")
    try:
        return canonical.loads_canonical(data)
    except MalformedInput as error:
        raise DisclosureRefused(place, f"not canonical JSON: {error}") from None


def open_payload(payload: object, disclosures: Iterable[str | Disclosure], place: str) -> Opened:
    """Put the disclosures of one event, encoded or parsed, back into its committed payload.

    The result is a new value; the payload is not changed. ``_salt`` stays.

    Raises:
        DisclosureRefused: A disclosure is malformed, given twice, or referenced nowhere in this
            payload or in what is shown of it; a digest stands twice; a disclosed name is already
            taken; or the payload's own ``_sd`` or ``...`` is malformed.
    """
    return _Opening(disclosures, place).open(payload)


def referenced(payload: object, disclosures: Iterable[Disclosure]) -> list[Disclosure]:
    """Return those disclosures that a payload refers to, directly or through another one of them."""
    disclosures = list(disclosures)
    by_digest = {disclosure.digest: disclosure for disclosure in disclosures}
    found: set[str] = set()
    pending = list(digests_in(payload))
    while pending:
        digest = pending.pop()
        if digest in by_digest and digest not in found:
            found.add(digest)
            pending.extend(digests_in(by_digest[digest].value))
    return [disclosure for disclosure in disclosures if disclosure.digest in found]


def locate(payload: object, disclosures: Iterable[Disclosure]) -> list[Located]:
    """Return where in a payload disclosures belong, each parent before what stands below it.

    Those that nothing in the payload refers to, directly or through another one of them, are left out.
    """
    by_digest = {disclosure.digest: disclosure for disclosure in disclosures}
    found: list[Located] = []
    pending: list[tuple[tuple[str | None, ...], object]] = [((), payload)]
    while pending:
        path, value = pending.pop()
        for digest, at in _digests_at(value, path):
            disclosure = by_digest.pop(digest, None)
            if disclosure is not None:
                located = Located((*at, disclosure.name), disclosure)
                found.append(located)
                pending.append((located.path, disclosure.value))
    return found


def _digests_at(value: object, path: tuple[str | None, ...]) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    """Yield each digest that stands in a committed value, with the path of what it left."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == SD and isinstance(item, list):
                yield from ((digest, path) for digest in filter(is_sd_digest, item))
            elif type(item) not in _SCALARS:
                yield from _digests_at(item, (*path, name))
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and is_sd_digest(item.get(ELEMENT)):
                yield item[ELEMENT], path
            elif type(item) not in _SCALARS:
                yield from _digests_at(item, (*path, None))


def digests_in(value: object) -> list[str]:
    """Return the digests that stand in a committed value, those within disclosures apart."""
    found: list[str] = []
    _find_digests(value, found)
    return found


def _find_digests(value: object, found: list[str]) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if type(item) in _SCALARS:
                if name == ELEMENT and is_sd_digest(item):
                    found.append(item)
            elif name != SD:
                _find_digests(item, found)
            elif isinstance(item, list):
                found.extend(filter(is_sd_digest, item))
    elif isinstance(value, list):
        for item in value:
            if type(item) not in _SCALARS:
                _find_digests(item, found)


class _Opening:
    def __init__(self, disclosures: Iterable[str | Disclosure], place: str) -> None:
        self._place = place
        self._unused: dict[str, Disclosure] = {}
        for disclosure in disclosures:
            if isinstance(disclosure, str):
                disclosure = parse_disclosure(disclosure, place)  # noqa: PLW2901 (encoded until here)
            if disclosure.digest in self._unused:
                raise DisclosureRefused(place, f"disclosure {disclosure.digest} is given twice")
            self._unused[disclosure.digest] = disclosure
        self._shown: set[str] = set()
        self._hidden: set[str] = set()

    def open(self, payload: object) -> Opened:
        try:
            value = self._open(payload, 0)
        except RecursionError:
            reason = "nested deeper than the caller's stack has room for"
            raise DisclosureRefused(self._place, reason) from None
        if self._unused:
            name = next(iter(self._unused.values())).name
            what = "an array element" if name is None else f"member {name!r:.80}"
            reason = f"no digest in the event is that of a disclosure of {what}: changed, or of another event"
            raise DisclosureRefused(self._place, reason)
        return Opened(value, frozenset(self._shown), frozenset(self._hidden))

    def _open(self, value: object, depth: int) -> object:
        if not isinstance(value, dict | list):
            return value
        if depth >= MAX_OPENED_DEPTH:
            raise DisclosureRefused(self._place, f"opened payload is nested deeper than {MAX_OPENED_DEPTH}")
        if isinstance(value, dict):
            return self._open_object(value, depth)
        return [item for element in value for item in self._open_element(element, depth)]

    def _open_object(self, committed: dict[str, Any], depth: int) -> dict[str, Any]:
        if ELEMENT in committed:
            raise DisclosureRefused(self._place, f"{ELEMENT!r} outside an array")
        opened = {
            name: item if type(item) in _SCALARS else self._open(item, depth + 1)
            for name, item in committed.items()
            if name != SD
        }
        digests = committed.get(SD, [])
        if SD in committed and not (
            isinstance(digests, list) and digests and digests == sorted(map(str, digests))
        ):
            raise DisclosureRefused(self._place, f"{SD}: expected a sorted array of digests")
        for digest in digests:
            disclosure = self._take(digest)
            if disclosure is None:
                continue
            if disclosure.name is None or disclosure.name in opened:
                raise DisclosureRefused(self._place, f"cannot put {disclosure.name!r:.80} into its object")
            opened[disclosure.name] = self._open(disclosure.value, depth + 1)
        return opened

    def _open_element(self, element: object, depth: int) -> Iterator[object]:
        if not (isinstance(element, dict) and ELEMENT in element):
            yield self._open(element, depth + 1)
            return
        if len(element) != 1:
            raise DisclosureRefused(self._place, f"{ELEMENT!r} stands beside other members")
        disclosure = self._take(element[ELEMENT])
        if disclosure is None:
            return
        if disclosure.name is not None:
            raise DisclosureRefused(self._place, f"cannot put member {disclosure.name!r:.80} into an array")
        yield self._open(disclosure.value, depth + 1)

    def _take(self, digest: Any) -> Disclosure | None:
        """Return the disclosure that a digest stands for, or None where it is not shown."""
        if not is_sd_digest(digest):
            raise DisclosureRefused(
                self._place, f"expected a digest, 43 characters of base64url, found {digest!r:.80}"
            )
        if digest in self._shown or digest in self._hidden:
            raise DisclosureRefused(self._place, f"digest {digest} stands twice")
        disclosure: Disclosure | None = self._unused.pop(digest, None)
        (self._hidden if disclosure is None else self._shown).add(digest)
        return disclosure
