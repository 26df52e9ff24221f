"""The file of a trust policy: a C2SP tlog-policy (c2sp.org/tlog-policy), and what tracebus adds to it.

::

    log payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB+45b3b4cb+AYqI…
    witness north witness.example/w1+df1c0a35+BIE5…
    witness south witness.example/w2+6f3c1d2e+BOlt…
    group both all north south
    quorum both
    #tracebus bundle-key treasury+9ddc6f0a+Abcd…
    #tracebus require completeness witness

What tracebus adds stands in comments, so that other tools read the rest. No slip hides in one: a comment
whose first word is tracebus, however it is spelled, is one of these lines or is refused. The format is
`schemas/trust-v1.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final, NoReturn, TypeVar

from evidence.cosignature import WitnessKey
from evidence.errors import KeyRefused, MalformedInput
from evidence.keys import VerifyingKey
from evidence.note import NamedKey, NoteKey, parse_base64
from evidence.trust import REQUIREMENTS, Group, TrustedLog, TrustedWitness, TrustPolicy

MAX_BYTES: Final = 1024 * 1024
"""How large a policy file may be, in bytes."""

_NONE: Final = "none"
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPACE: Final = re.compile(r"[ \t]+")
_OURS: Final = re.compile(r"#[ \t]*tracebus(?![0-9a-z_])", re.ASCII | re.IGNORECASE)
_COUNT: Final = re.compile(r"[1-9][0-9]{0,8}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")

_Key = TypeVar("_Key", bound=NamedKey)


def parse_policy(data: bytes) -> TrustPolicy:
    """Read a trust policy strictly.

    Raises:
        MalformedInput: It is none, or contradicts itself; `place` is the line.
    """
    if len(data) > MAX_BYTES:
        raise MalformedInput("policy", f"{len(data)} bytes, expected at most {MAX_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedInput(f"byte {error.start}", "not UTF-8") from None
    *lines, rest = text.split("\n")
    if rest:
        raise MalformedInput(f"line {len(lines) + 1}", "expected a newline at its end: is the file cut off?")
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        reader.read(number, line)
    return reader.finish()


class _Reader:
    """Reads lines, and keeps what they define; `_at` is the number of the line that is being read."""

    def __init__(self) -> None:
        self._at = 0
        self._logs: list[TrustedLog] = []
        self._witnesses: list[TrustedWitness] = []
        self._groups: list[Group] = []
        self._quorum: list[str] = []
        self._bundle_keys: list[NoteKey] = []
        self._receipt_keys: list[NoteKey] = []
        self._roots: list[bytes] = []
        self._chain: list[bytes] = []
        self._retired: dict[VerifyingKey, int] = {}
        self._revoked: dict[VerifyingKey, int] = {}
        self._max_age: list[int] = []
        self._required: list[frozenset[str]] = []
        # Where each key, each name and id of a key, each name and each membership was first seen.
        self._keys: dict[VerifyingKey, tuple[int, str]] = {}
        self._key_ids: dict[tuple[str, bytes], int] = {}
        self._names: dict[str, int] = {}
        self._members: dict[str, int] = {}

    def read(self, number: int, line: str) -> None:
        self._at = number
        if found := _FORBIDDEN.search(line):
            self._refuse(f"control character {found.group()!r}")
        words = [word for word in _SPACE.split(line) if word]
        if not words:
            return
        lines = _C2SP
        if words[0].startswith("#"):
            if not _OURS.match(line.lstrip(" \t")):
                return
            if words.pop(0) != "#tracebus" or not words:
                self._refuse('expected "#tracebus" and what it is to say, or a comment that begins otherwise')
            lines = _TRACEBUS
        keyword, *values = words
        if keyword not in lines:
            self._refuse(f"expected one of {', '.join(lines)}, found {keyword!r:.80}")
        form, least, most, handle = lines[keyword]
        if not least <= len(values) <= most:
            self._refuse(f"expected {keyword} {form}, found {len(values)} words after {keyword}")
        handle(self, *values)

    def finish(self) -> TrustPolicy:
        self._at = 0
        if not self._quorum:
            self._refuse("expected one quorum line, found none")
        required = self._required[0] if self._required else frozenset()
        quorum = None if self._quorum[0] == _NONE else self._quorum[0]
        needed = (
            ("witness" in required, quorum, "require witness needs a quorum"),
            (self._max_age, quorum, "max-age needs a quorum: nobody else says that a checkpoint is new"),
            ("timestamp" in required, self._roots, "require timestamp needs a timestamp-root"),
            ("completeness" in required, self._logs, "require completeness needs a log"),
            (self._chain, self._roots, "timestamp-chain needs a timestamp-root"),
        )
        for is_asked, is_there, reason in needed:
            if is_asked and not is_there:
                self._refuse(reason)
        return TrustPolicy(
            logs=tuple(self._logs),
            witnesses=tuple(self._witnesses),
            groups=tuple(self._groups),
            quorum=quorum,
            bundle_keys=tuple(self._bundle_keys),
            receipt_keys=tuple(self._receipt_keys),
            timestamp_roots=tuple(self._roots),
            timestamp_chain=tuple(self._chain),
            retired=self._retired,
            revoked=self._revoked,
            max_age=self._max_age[0] if self._max_age else None,
            required=required,
        )

    def _refuse(self, reason: str) -> NoReturn:
        raise MalformedInput(f"line {self._at}" if self._at else "policy", reason)

    # C2SP

    def log(self, vkey: str, url: str | None = None) -> None:
        self._logs.append(TrustedLog(self._key(NoteKey, vkey), url))

    def witness(self, name: str, vkey: str, url: str | None = None) -> None:
        self._define(name)
        self._witnesses.append(TrustedWitness(name, self._key(WitnessKey, vkey), url))

    def group(self, name: str, threshold: str, *members: str) -> None:
        for member in members:
            self._check_defined(member)
            if member in self._members:
                self._refuse(f"{member!r:.80} is a member of the group of line {self._members[member]}")
            self._members[member] = self._at
        self._define(name)
        spelled = {"all": len(members), "any": 1}
        count = int(threshold) if _COUNT.fullmatch(threshold) else spelled.get(threshold, 0)
        if not 1 <= count <= len(members):
            self._refuse(f"expected all, any or 1 to {len(members)}, found {threshold!r:.80}")
        self._groups.append(Group(name, count, members))

    def quorum(self, name: str) -> None:
        if self._quorum:
            self._refuse("expected one quorum line, found another")
        if name != _NONE:
            self._check_defined(name)
        self._quorum.append(name)

    def _define(self, name: str) -> None:
        if name == _NONE or name in self._names:
            where = f"on line {self._names[name]}" if name in self._names else "already, as nobody"
            self._refuse(f"name {name!r:.80} is defined {where}")
        self._names[name] = self._at

    def _check_defined(self, name: str) -> None:
        if name not in self._names:
            self._refuse(f"expected a name that is defined above, found {name!r:.80}")

    def _key(self, kind: type[_Key], vkey: str) -> _Key:
        try:
            key = kind.from_vkey(vkey)
        except KeyRefused as error:
            self._refuse(str(error))
        if key.key in self._keys:
            self._refuse(f"the key of line {self._keys[key.key][0]}: a key has one use")
        line = self._key_ids.setdefault((key.name, key.key_id), self._at)
        if line != self._at:
            self._refuse(f"a key with the name and id of that of line {line}")
        self._keys[key.key] = (self._at, vkey)
        return key

    # tracebus

    def bundle_key(self, vkey: str) -> None:
        self._bundle_keys.append(self._key(NoteKey, vkey))

    def receipt_key(self, vkey: str) -> None:
        self._receipt_keys.append(self._key(NoteKey, vkey))

    def timestamp_root(self, certificate: str) -> None:
        self._roots.append(self._certificate(certificate))

    def timestamp_chain(self, certificate: str) -> None:
        self._chain.append(self._certificate(certificate))

    def retired(self, vkey: str, word: str, time: str) -> None:
        self._end(self._retired, vkey, word, "since", time)

    def revoked(self, vkey: str, word: str, time: str) -> None:
        self._end(self._revoked, vkey, word, "compromised-since", time)

    def max_age(self, seconds: str) -> None:
        if self._max_age or not _COUNT.fullmatch(seconds):
            self._refuse(f"expected one max-age, in seconds, found {seconds!r:.80}")
        self._max_age.append(int(seconds))

    def require(self, *required: str) -> None:
        if self._required:
            self._refuse("expected one require line, found another")
        if len(set(required)) != len(required) or not set(required) <= set(REQUIREMENTS):
            self._refuse(f"expected some of {', '.join(REQUIREMENTS)}, found {' '.join(required)!r:.80}")
        self._required.append(frozenset(required))

    def _certificate(self, text: str) -> bytes:
        der = parse_base64(text, f"line {self._at}")
        if not der.startswith(b"\x30"):  # a SEQUENCE; it is read whole when it is needed
            self._refuse("expected a certificate, base64 of its DER")
        if der in self._roots or der in self._chain:
            self._refuse("the certificate stands on an earlier line")
        return der

    def _end(self, ended: dict[VerifyingKey, int], vkey: str, word: str, expected: str, time: str) -> None:
        named = [key for key, (_, defined) in self._keys.items() if defined == vkey]
        if not named:
            self._refuse(f"expected the key of a line above, found {vkey!r:.80}")
        if named[0] in ended:
            self._refuse("a line above says it of the same key")
        if word != expected:
            self._refuse(f"expected the word {expected}, found {word!r:.80}")
        ended[named[0]] = self._time(time)

    def _time(self, text: str) -> int:
        try:
            time = datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
        except ValueError:
            time = None
        if time is None:
            self._refuse(f"expected a time like 2026-11-21T02:03:04Z, found {text!r:.80}")
        return int(time.timestamp())


_Line = tuple[str, int, float, Callable[..., None]]
"""What follows a keyword: in words, how many words at least and at most, and who reads them."""

_C2SP: Final[dict[str, _Line]] = {
    "log": ("<vkey> [<url>]", 1, 2, _Reader.log),
    "witness": ("<name> <vkey> [<url>]", 2, 3, _Reader.witness),
    "group": ("<name> all|any|<k> <name>...", 3, float("inf"), _Reader.group),
    "quorum": ("<name>|none", 1, 1, _Reader.quorum),
}
_TRACEBUS: Final[dict[str, _Line]] = {
    "bundle-key": ("<vkey>", 1, 1, _Reader.bundle_key),
    "receipt-key": ("<vkey>", 1, 1, _Reader.receipt_key),
    "timestamp-root": ("<base64>", 1, 1, _Reader.timestamp_root),
    "timestamp-chain": ("<base64>", 1, 1, _Reader.timestamp_chain),
    "retired": ("<vkey> since <time>", 3, 3, _Reader.retired),
    "revoked": ("<vkey> compromised-since <time>", 3, 3, _Reader.revoked),
    "max-age": ("<seconds>", 1, 1, _Reader.max_age),
    "require": ("completeness|timestamp|witness...", 1, 3, _Reader.require),
}
