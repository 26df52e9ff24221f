r"""Cosignatures (c2sp.org/tlog-cosignature): a witness's word that a log only grew, and when it said so.

A witness has seen every checkpoint that it cosigned of a log, and cosigns none that contradicts an
earlier one. Its signature line stands in the checkpoint's note, and holds the time::

    key id (4 bytes) ‖ POSIX seconds (8 bytes, big-endian) ‖ Ed25519 signature (64 bytes)

    signed: "cosignature/v1\ntime 1700000000\n" ‖ the note's text

This is the Ed25519 type of cosignature, signature type 4. Those of type 6, ML-DSA, are lines of keys
that are not known, and are passed over.

Below that is what passes between a log and a witness (c2sp.org/tlog-witness, ``add-checkpoint``), as
bytes: who sends them is not known here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from evidence.checkpoint import Checkpoint, format_checkpoint, format_hash, parse_hash, parse_size
from evidence.errors import MalformedInput
from evidence.merkle import MAX_SIZE
from evidence.note import (
    NamedKey,
    Note,
    NoteSignature,
    format_note,
    open_note,
    parse_note,
    parse_signatures,
)
from evidence.signing import Ed25519Signer

MAX_TIME: Final = 2**63 - 1
"""The last time that a cosignature may bear, in POSIX seconds."""

MAX_PROOF: Final = 63
"""How many hashes the proof in a request may have."""

_MAX_HEAD: Final = len("old ") + 19 + MAX_PROOF * len("\n" + "=" * 44)
_TIMED_SIGNATURE: Final = struct.Struct(">Q64s")


class WitnessKey(NamedKey):
    """A key that cosigns checkpoints, as witnesses do: signature type 4.

    What a witness signs does not hold its name, so two witnesses never share a key.
    """

    __slots__ = ()

    signature_type = 4

    def accepts(self, signature: bytes, text: bytes) -> bool:
        """Tell whether this is the key's cosignature of a note with this text."""
        if len(signature) != _TIMED_SIGNATURE.size:
            return False
        time, plain = _TIMED_SIGNATURE.unpack(signature)
        return time <= MAX_TIME and self.key.accepts(plain, _message(time, text))


def cosign(checkpoint: Checkpoint, name: str, signer: Ed25519Signer, time: int) -> NoteSignature:
    """Return a witness's cosignature of a checkpoint, as of a time in POSIX seconds.

    Whether the witness may make this statement, only its records of the log can tell.

    Raises:
        ValueError: No cosignature can bear this time, or no key this name.
    """
    if not 0 <= time <= MAX_TIME:
        raise ValueError(f"time: expected 0 to 2^63-1, found {time}")
    key = WitnessKey(name, signer.verifying_key)
    signature = signer.sign(_message(time, format_checkpoint(checkpoint).encode()))
    return NoteSignature(name, key.key_id, _TIMED_SIGNATURE.pack(time, signature))


def _message(time: int, text: bytes) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (time, text)


def cosigned_at(signature: NoteSignature) -> int:
    """Return the time that a cosignature bears, in POSIX seconds; `WitnessKey` has accepted it before.

    Raises:
        ValueError: It is not of the size of a cosignature.
    """
    if len(signature.signature) != _TIMED_SIGNATURE.size:
        raise ValueError(f"cosignature: expected 72 bytes, found {len(signature.signature)}")
    time: int = _TIMED_SIGNATURE.unpack(signature.signature)[0]
    return time


def open_cosignatures(answer: bytes, checkpoint: Note, witness: WitnessKey) -> tuple[NoteSignature, ...]:
    """Return a witness's cosignatures of a checkpoint from its answer to a request, verified.

    Lines of other keys are passed over.

    Raises:
        MalformedInput: The answer is not signature lines.
        SignatureRefused: One of the witness's is not for this checkpoint, or there is none.
    """
    opened = open_note(Note(checkpoint.text, parse_signatures(answer)), [witness])
    return tuple(signature for _, signature in opened.signed_by)


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    r"""A log's request to a witness: cosign this checkpoint, which continues the one that you know.

    ::

        "old 20852014\n" ‖ base64 hash lines ‖ "\n" ‖ note

    Attributes:
        old_size: The size of the last checkpoint that the witness has cosigned, 0 for none.
        proof: The consistency proof from that size, empty from 0; not verified.
        checkpoint: The checkpoint; not verified.

    Raises:
        ValueError: No tree has that size, or there are more hashes than 63.
    """

    old_size: int
    proof: Sequence[bytes]
    checkpoint: Note

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_SIZE or len(self.proof) > MAX_PROOF:
            raise ValueError(
                f"old size {self.old_size}, {len(self.proof)} hashes: expected 0 or more, 63 or less"
            )


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """Return the body of a request."""
    lines = [f"old {request.old_size}", *map(format_hash, request.proof), ""]
    return "".join(f"{line}\n" for line in lines).encode() + format_note(request.checkpoint)


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Read the body of a request. Nothing is verified.

    Raises:
        MalformedInput: It is none, or in another spelling than `format_add_checkpoint` gives it.
    """
    head, separator, note = body.partition(b"\n\n")
    if not separator or not head.startswith(b"old ") or len(head) > _MAX_HEAD:
        raise MalformedInput(
            "request", f"expected old, a size and up to {MAX_PROOF} hashes, found {head!r:.80}"
        )
    size, *hashes = head.decode("ascii", "replace").removeprefix("old ").split("\n")
    old_size = parse_size(size, "request line 1")
    proof = tuple(parse_hash(line, f"request line {number}") for number, line in enumerate(hashes, 2))
    return AddCheckpoint(old_size, proof, parse_note(note))


def parse_conflict(answer: bytes) -> int:
    """Return the size that a witness knows, from its answer 409 (``text/x.tlog.size``).

    Raises:
        MalformedInput: It is not a size and a newline.
    """
    text = answer[:32].decode("ascii", "replace")
    if not text.endswith("\n"):
        raise MalformedInput("answer", f"expected a size and a newline, found {text!r}")
    return parse_size(text[:-1], "answer")
