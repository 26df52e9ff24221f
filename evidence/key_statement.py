r"""Statements about keys: that one was created, replaced, retired or revoked, and on whose word.

A statement is a signed note (`evidence.note`) of five lines::

    tracebus/keyring/v1
    rotated bundle treasury+275e2f91+AYqHX/8es4RRV3rNWv7kBUVlaN18ieCQhjoFV7x69J8X
    at 2026-10-01T00:00:00Z
    by treasury+2201149d+AW56HN0psLeP0Tr0xVmP7/TvKpcWbjym8uT7/M2AUFvx
    after kBBluXl9w9eWIz+mN/bqwZzPHX3e5Sdvnxtqcwt3XN8=

    — treasury IgEUnVSJkKrSQL+LISUW9KZkRVgl4…
    — treasury J14vkQ/+bmNWidKffjNHh39FBHWXh…

It names the key with its use, when it was made, the key on whose word it stands, and the SHA-256 of the
keyring as it was before, which binds it to its place. Two sign it at most: the key of the line ``by``;
and a new key, to show that its owner has it. The format is `schemas/keyring-v1.md`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Final, Literal, cast

from evidence.checkpoint import format_hash, parse_hash
from evidence.errors import KeyRefused, MalformedInput, SignatureRefused
from evidence.note import Note, NoteKey, NoteSignature, sign_note
from evidence.signing import Ed25519Signer

Use = Literal["log", "bundle", "receipt", "recovery"]
"""What a key signs: checkpoints, bundles, receipts; *recovery*: statements about other keys, and no more."""

Change = Literal["created", "rotated", "retired", "revoked"]
"""What happened to a key; *rotated*: it took the place of the key on whose word the statement stands."""

_FORM: Final = re.compile(
    r"tracebus/keyring/v1\n"
    r"(?P<change>created|rotated|retired|revoked) (?P<use>log|bundle|receipt|recovery) (?P<key>[^ \n]+)"
    r"(?: compromised-since (?P<since>[^ \n]+))?\n"
    r"at (?P<at>[^ \n]+)\n"
    r"by (?P<by>[^ \n]+)\n"
    r"after (?P<after>[^ \n]+)\n"
)


@dataclass(frozen=True, slots=True)
class KeyStatement:
    """What is said of a key, and on whose word.

    Attributes:
        change: What happened to the key.
        use: What the key signs.
        key: The key; its name is a log's origin, if it is a log's.
        at: When the statement was made, as its maker says, POSIX seconds.
        by: The key on whose word it stands, which may be the key itself.
        compromised_since: From when on somebody else may have had a revoked key, POSIX seconds.

    Raises:
        ValueError: A key was revoked without saying since when, or the reverse.
    """

    change: Change
    use: Use
    key: NoteKey
    at: int
    by: NoteKey
    compromised_since: int | None = None

    def __post_init__(self) -> None:
        if (self.change == "revoked") != (self.compromised_since is not None):
            raise ValueError(f"key statement: compromised-since stands with revoked, found {self.change}")

    @property
    def signers(self) -> tuple[NoteKey, ...]:
        """The keys that must sign: that on whose word it stands, and a new key."""
        is_new = self.change in ("created", "rotated") and self.key != self.by
        return (self.by, self.key) if is_new else (self.by,)

    def to_text(self, after: bytes) -> str:
        """Return the note's text; `after` is the SHA-256 of the keyring as it was before."""
        since = (
            ""
            if self.compromised_since is None
            else f" compromised-since {format_time(self.compromised_since)}"
        )
        return (
            "tracebus/keyring/v1\n"
            f"{self.change} {self.use} {self.key.to_vkey()}{since}\n"
            f"at {format_time(self.at)}\n"
            f"by {self.by.to_vkey()}\n"
            f"after {format_hash(after)}\n"
        )

    def sign(self, after: bytes, *held: Ed25519Signer) -> Note:
        """Return the statement as a note, signed by those that must.

        Raises:
            ValueError: A key that must sign is not among those held.
        """
        text, by_key = self.to_text(after), {signer.verifying_key: signer for signer in held}
        lines: list[NoteSignature] = []
        for key in self.signers:
            if key.key not in by_key:
                raise ValueError(f"key statement: the key {name_of(key)} must sign, and is not at hand")
            lines += sign_note(text, key.name, by_key[key.key]).signatures
        return Note(text, tuple(lines))


def open_statement(note: Note, place: str) -> tuple[KeyStatement, bytes]:
    """Verify a statement's signatures; return it, and the hash of the keyring that it was made after.

    Whether those who signed may say it, the keyring tells (`evidence.keyring`).

    Raises:
        MalformedInput: It is no statement, or holds a key that is too weak; `place` is given.
        SignatureRefused: A signature is missing, wrong, or one too many.
    """
    statement, after = _parse(note.text, place)
    for key, line in zip_longest(statement.signers, note.signatures):
        if key is None or line is None or (key.name, key.key_id) != (line.name, line.key_id):
            expected = "no other signature" if key is None else f"the signature of {name_of(key)}"
            found = "none" if line is None else f"that of {line.name}+{line.key_id.hex()}"
            raise SignatureRefused(place, f"expected {expected}, found {found}")
        if not key.accepts(line.signature, note.text.encode()):
            raise SignatureRefused(place, f"not the signature of this statement by {name_of(key)}")
    return statement, after


def _parse(text: str, place: str) -> tuple[KeyStatement, bytes]:
    match = _FORM.fullmatch(text)
    if match is None:
        raise MalformedInput(
            place, f"expected the five lines of a statement about a key, found {text!r:.120}"
        )
    since = match["since"]
    if (match["change"] == "revoked") != (since is not None):
        raise MalformedInput(place, "compromised-since stands with revoked, and with nothing else")
    statement = KeyStatement(
        cast(Change, match["change"]),
        cast(Use, match["use"]),
        _key(match["key"], place),
        parse_time(match["at"], place),
        _key(match["by"], place),
        None if since is None else parse_time(since, place),
    )
    return statement, parse_hash(match["after"], place)


def _key(vkey: str, place: str) -> NoteKey:
    try:
        return NoteKey.from_vkey(vkey)
    except KeyRefused as error:
        raise MalformedInput(place, str(error)) from None


def name_of(key: NoteKey) -> str:
    """Return the short name of a key: the first two parts of its verifier key."""
    return f"{key.name}+{key.key_id.hex()}"


def format_time(seconds: int) -> str:
    """Return POSIX seconds as ``2026-11-21T02:03:04Z``.

    Raises:
        ValueError: The time is not in the years 1 to 9999.
    """
    try:
        return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}Z"
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"time: {seconds} seconds after 1970 is in no year from 1 to 9999") from None


def parse_time(text: str, place: str) -> int:
    """Return POSIX seconds from a time in the one form that `format_time` gives it.

    Raises:
        MalformedInput: It is no such time.
    """
    try:
        seconds = int(datetime.fromisoformat(text).timestamp())
        if format_time(seconds) == text:
            return seconds
    except (ValueError, OverflowError, OSError):
        pass
    raise MalformedInput(place, f"expected a time like 2026-11-21T02:03:04Z, found {text!r:.80}")
