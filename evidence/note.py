r"""Signed notes (c2sp.org/signed-note): text, and under it the signatures of those who stand by it.

::

    example.com/log42
    8
    XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=

    — example.com/log42 5/PrXheC0T9vn6dstw60a0owfVNInxLGkRD0DFKAF6p3geIo…
    — witness.example/w1 3xwKNQAAAABlU/EAmDhO8W/RGz5qpOu6Niw0Pld0k/VXHBH8…

The text ends in a newline, and ends at the last empty line of the note. A signature line is an em
dash, a key's name, and base64 of a key id of four bytes and a signature. Name and key id together say
which key it is; lines of keys that the reader does not know are passed over.

What a signature is over depends on the kind of key: `NoteKey` signs the text itself,
`evidence.cosignature.WitnessKey` a time and the text. Text of a note that was only parsed means
nothing: `open_note` hands it out once it is verified.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, Self

from evidence.errors import KeyRefused, MalformedInput, SignatureRefused
from evidence.keys import KEY_NAME, NOTE_ED25519, VerifyingKey, format_vkey, note_key_id, parse_vkey
from evidence.signing import Ed25519Signer

MAX_BYTES: Final = 1024 * 1024
"""How large a note may be, in bytes."""

MAX_SIGNATURES: Final = 64
"""How many signature lines a note may have; C2SP asks readers for 16 at least."""

_KEY_ID_SIZE: Final = 4
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME: Final = re.compile(KEY_NAME)
_SIGNATURE_LINE: Final = re.compile(rf"— (?P<name>{KEY_NAME}) (?P<base64>[A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: whose it says it is, and the bytes. Nothing of it is verified.

    Raises:
        ValueError: A note cannot hold it: a name with a space or a plus, a key id that is not four
            bytes, no signature.
    """

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.key_id) != _KEY_ID_SIZE or not self.signature:
            raise ValueError(f"not a note's signature: {self!r:.200}")

    def to_line(self) -> str:
        """Return the signature as the line of a note, with its newline."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"

    @classmethod
    def from_line(cls, line: str, place: str) -> NoteSignature:
        """Read a signature line, without its newline.

        Raises:
            MalformedInput: It is none, or in another spelling than `to_line` gives it.
        """
        match = _SIGNATURE_LINE.fullmatch(line)
        if match is None:
            raise MalformedInput(place, f"expected a signature line, — name base64, found {line!r:.80}")
        data = parse_base64(match["base64"], place)
        if len(data) <= _KEY_ID_SIZE:
            raise MalformedInput(place, f"expected a key id and a signature, found {len(data)} bytes")
        return cls(match["name"], data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:])


@dataclass(frozen=True, slots=True)
class Note:
    """A note: text, with its final newline, and signatures. Nothing of it is verified.

    Raises:
        ValueError: The text does not end in a newline, or holds controls; or there are no
            signatures, or more than `MAX_SIGNATURES`.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        _check_text(self.text)
        if not 0 < len(self.signatures) <= MAX_SIGNATURES:
            raise ValueError(f"note: expected 1 to {MAX_SIGNATURES} signatures, found {len(self.signatures)}")

    def with_signatures(self, *signatures: NoteSignature) -> Note:
        """Return the note with more signatures; a key's new one takes the place of its old one."""
        kept = {(old.name, old.key_id): old for old in self.signatures}
        return Note(self.text, tuple((kept | {(new.name, new.key_id): new for new in signatures}).values()))


class NoteVerifier(Protocol):
    """A key that a reader of notes knows."""

    @property
    def name(self) -> str:
        """The key's name in signature lines."""
        ...

    @property
    def key_id(self) -> bytes:
        """The key's id in signature lines, four bytes."""
        ...

    def accepts(self, signature: bytes, text: bytes) -> bool:
        """Tell whether this is the key's signature of a note with this text."""
        ...


@dataclass(frozen=True, slots=True)
class NamedKey:
    """An Ed25519 key, under a name and for one type of signature: what a C2SP verifier key is.

    Raises:
        ValueError: Notes cannot have the name.
    """

    name: str
    key: VerifyingKey

    signature_type: ClassVar[int]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f'key name: expected text without spaces, "+" and controls, found {self.name!r:.80}'
            )

    @property
    def key_id(self) -> bytes:
        """The key's id in signature lines: four bytes of a hash of name, type and key."""
        return note_key_id(self.name, self.signature_type, self.key.raw)

    @classmethod
    def from_vkey(cls, text: str) -> Self:
        """Read a C2SP verifier key, ``name+hash+base64``, of this type of signature.

        Raises:
            KeyRefused: It is none, of another type, or too weak.
        """
        name, signature_type, raw = parse_vkey(text)
        if signature_type != cls.signature_type:
            reason = f"expected signature type {cls.signature_type}, found {signature_type}"
            raise KeyRefused(f"verifier key: {reason}")
        return cls(name, VerifyingKey(raw))

    def to_vkey(self) -> str:
        """Return the key as a C2SP verifier key, ``name+hash+base64``."""
        return format_vkey(self.name, self.signature_type, self.key.raw)


class NoteKey(NamedKey):
    """A key that signs the text of notes, as logs do: signature type 1."""

    __slots__ = ()

    signature_type = NOTE_ED25519

    def accepts(self, signature: bytes, text: bytes) -> bool:
        """Tell whether this is the key's signature of a note with this text."""
        return self.key.accepts(signature, text)


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note that at least one known key has signed.

    `signed_by` holds each known key with its signature, in the order of the note's lines; a key that
    signed twice is there twice. `note` also has the lines of keys that are not known.
    """

    note: Note
    signed_by: tuple[tuple[NoteVerifier, NoteSignature], ...]

    @property
    def text(self) -> str:
        """The text that was signed, with its final newline."""
        return self.note.text


def parse_note(data: bytes) -> Note:
    """Read a note strictly. Nothing is verified.

    Raises:
        MalformedInput: It is none; too large; or has too many signatures. `place` is the line.
    """
    note = _decode(data, "note")
    # The text may hold empty lines: what counts is the last.
    body, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise MalformedInput("note", "expected text, an empty line, and signature lines that end in newlines")
    return Note(body + "\n", _parse_signatures(lines, "note", body.count("\n") + 3))


def parse_signatures(data: bytes) -> tuple[NoteSignature, ...]:
    """Read signature lines that stand alone, as witnesses answer with them. Nothing is verified.

    Raises:
        MalformedInput: They are none, or not in their one spelling; too large or too many.
    """
    lines = _decode(data, "signatures")
    if not lines.endswith("\n"):
        raise MalformedInput("signatures", "expected signature lines that end in newlines")
    return _parse_signatures(lines, "signatures", 1)


def _decode(data: bytes, place: str) -> str:
    """Return the text of some bytes, if they are few, UTF-8, and without controls but newlines."""
    if len(data) > MAX_BYTES:
        raise MalformedInput(place, f"{len(data)} bytes, expected at most {MAX_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedInput(f"{place} byte {error.start}", "not UTF-8") from None
    if control := _CONTROL.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise MalformedInput(f"{place} line {line}", f"control character {control.group()!r}")
    return text


def _parse_signatures(lines: str, place: str, first: int) -> tuple[NoteSignature, ...]:
    count = lines.count("\n")
    if count > MAX_SIGNATURES:
        raise MalformedInput(place, f"{count} signature lines, expected at most {MAX_SIGNATURES}")
    # Not splitlines: it also splits at U+0085 and U+2028.
    return tuple(
        NoteSignature.from_line(line, f"{place} line {number}")
        for number, line in enumerate(lines[:-1].split("\n"), first)
    )


def parse_base64(text: str, place: str) -> bytes:
    """Return the bytes of standard base64, RFC 4648 section 4, in its one canonical spelling.

    Raises:
        MalformedInput: It is none, or has unused bits that are not zero.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data or base64.b64encode(data).decode() != text:
        raise MalformedInput(place, f"expected base64 in its canonical spelling, found {text!r:.80}")
    return data


def format_note(note: Note) -> bytes:
    """Return a note's bytes, which `parse_note` reads.

    Raises:
        ValueError: They are more than `MAX_BYTES`.
    """
    data = (note.text + "\n" + "".join(line.to_line() for line in note.signatures)).encode()
    if len(data) > MAX_BYTES:
        raise ValueError(f"note: {len(data)} bytes, expected at most {MAX_BYTES}")
    return data


def sign_note(text: str, name: str, signer: Ed25519Signer) -> Note:
    """Return a note with this text, and under it the signature of a `NoteKey` of this name.

    Raises:
        ValueError: A note cannot have this text, or a key this name.
    """
    _check_text(text)
    key = NoteKey(name, signer.verifying_key)
    return Note(text, (NoteSignature(name, key.key_id, signer.sign(text.encode())),))


def open_note(data: bytes | Note, verifiers: Iterable[NoteVerifier]) -> OpenedNote:
    """Verify a note with the keys that the reader knows, and hand it out.

    Signatures of other keys are passed over. One wrong signature of a known key spoils the note.

    Raises:
        MalformedInput: It is no note.
        SignatureRefused: A known key's signature is wrong, or no known key has signed.
        ValueError: Two of the verifiers have the same name and key id.
    """
    known: dict[tuple[str, bytes], NoteVerifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) is not verifier:
            raise ValueError(f"two keys of name {verifier.name} and id {verifier.key_id.hex()}")
    note = data if isinstance(data, Note) else parse_note(data)
    text = note.text.encode()
    signed_by = []
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        if not key.accepts(line.signature, text):
            reason = "not the signature of this note by the key of this name and id"
            raise SignatureRefused(f"signature of {line.name}+{line.key_id.hex()}", reason)
        signed_by.append((key, line))
    if not signed_by:
        found = ", ".join(f"{line.name}+{line.key_id.hex()}" for line in note.signatures[:4])
        raise SignatureRefused("note", f"signed by no key that is known, but by {found}")
    return OpenedNote(note, tuple(signed_by))


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise ValueError(f"note text: expected lines that end in a newline, without controls: {text!r:.80}")
    text.encode()
