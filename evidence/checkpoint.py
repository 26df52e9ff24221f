"""Checkpoints (c2sp.org/tlog-checkpoint): a log's statement of its size and root, as a signed note.

The text is three lines: the log's origin, the number of leaves, the root hash in base64::

    payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB
    8
    XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=

More lines may follow, of which nothing is known here. The key of a log is named as its origin, so
whoever holds the key knows whose checkpoints it signs.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from evidence.errors import MalformedInput, Unexpected
from evidence.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from evidence.note import Note, NoteKey, format_note, open_note, parse_base64, sign_note
from evidence.signing import Ed25519Signer

# int() also reads "+1", "1_0", " 1 " and the digits of other scripts.
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_LINE: Final = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says it holds: of whom, how many leaves, the root hash over them.

    Attributes:
        origin: The log's name, the same in all its checkpoints.
        size: The number of leaves, at most 2^63-1.
        root: The root hash of the tree of that size, 32 bytes.
        extensions: Further lines; the log's signature covers them, and that is all that is known.

    Raises:
        ValueError: A checkpoint cannot hold these values.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(_LINE.fullmatch(line) for line in (self.origin, *self.extensions)):
            raise ValueError("checkpoint: expected lines that are not empty, without controls")
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"checkpoint size: expected 0 to 2^63-1, found {self.size}")
        if len(self.root) != HASH_SIZE:
            raise ValueError(f"checkpoint root: expected {HASH_SIZE} bytes, found {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise ValueError("checkpoint root: expected that of the empty tree, for size 0")


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Return the text of a checkpoint's note."""
    lines = (checkpoint.origin, str(checkpoint.size), format_hash(checkpoint.root), *checkpoint.extensions)
    return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint's note, which somebody else has verified.

    Raises:
        MalformedInput: It is none, or in another spelling than `format_checkpoint` gives it.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop():
        raise MalformedInput("checkpoint", "expected three lines or more, each with a newline")
    origin, size, root, *extensions = lines
    for number, line in enumerate(lines, 1):
        if not _LINE.fullmatch(line):
            raise MalformedInput(f"checkpoint line {number}", f"empty, or with controls: {line!r:.80}")
    hashed = parse_hash(root, "checkpoint line 3")
    count = parse_size(size, "checkpoint line 2")
    if count == 0 and hashed != EMPTY_ROOT:
        raise MalformedInput("checkpoint line 3", f"expected the root of the empty tree, found {root}")
    return Checkpoint(origin, count, hashed, tuple(extensions))


def parse_size(text: str, place: str) -> int:
    """Return the size of a tree from ASCII decimals without leading zeros.

    Raises:
        MalformedInput: It is written otherwise, or larger than 2^63-1.
    """
    size = int(text) if _DECIMAL.fullmatch(text) else -1
    if not 0 <= size <= MAX_SIZE:
        raise MalformedInput(place, f"expected a decimal from 0 to 2^63-1, found {text!r:.80}")
    return size


def format_hash(value: bytes) -> str:
    """Return a hash as checkpoints and proofs write it, base64 of 44 characters."""
    return base64.b64encode(value).decode()


def parse_hash(text: str, place: str) -> bytes:
    """Return a hash of 32 bytes from base64.

    Raises:
        MalformedInput: It is not that, or not in the one canonical spelling.
    """
    value = parse_base64(text, place)
    if len(value) != HASH_SIZE:
        raise MalformedInput(place, f"expected a hash of {HASH_SIZE} bytes, found {len(value)}")
    return value


def sign_checkpoint(checkpoint: Checkpoint, signer: Ed25519Signer) -> Note:
    """Return a checkpoint as a note, signed by the log's key, whose name is the origin.

    Whether the log has signed another checkpoint that contradicts this one is the caller's care.

    Raises:
        ValueError: The origin cannot be the name of a key: it has a space or a plus.
    """
    return sign_note(format_checkpoint(checkpoint), checkpoint.origin, signer)


def open_checkpoint(data: bytes | Note, log_key: NoteKey) -> Checkpoint:
    """Verify a checkpoint with the log's key, and hand it out.

    Raises:
        MalformedInput: It is no checkpoint.
        SignatureRefused: The log's signature is wrong or missing.
        Unexpected: The log's key signed it for another origin than its own.
    """
    checkpoint = parse_checkpoint(open_note(data, [log_key]).text)
    if checkpoint.origin != log_key.name:
        raise Unexpected("checkpoint", f"expected origin {log_key.name}, found {checkpoint.origin}")
    return checkpoint


def timestamped_bytes(note: Note, log_key: NoteKey) -> bytes:
    """Return what a timestamp of a checkpoint is over: the note with the log's signature line alone.

    Witnesses' lines come later, and do not change it.

    Raises:
        ValueError: The note has no signature line of the log.
    """
    lines = (line for line in note.signatures if (line.name, line.key_id) == (log_key.name, log_key.key_id))
    return format_note(Note(note.text, tuple(lines)[:1]))
