"""Proof of misbehaviour: two checkpoints of one log that cannot both be true, in one file.

A log signs no checkpoint that contradicts one that it signed before. Whoever holds two that do, its own
and a witness's, say, can show that to anybody who holds the log's key::

    {"type": "tracebus/log-misbehaviour/v1",
     "checkpoints": ["<note>", "<note>"],
     "root": "<base64>", "consistency": ["<base64>", …]}

Two checkpoints of the same size and with different roots are enough by themselves. Two of different
sizes are not: that somebody has no consistency proof says nothing. There, `root` and `consistency` show
that the larger tree begins with another smaller tree than the log signed: they are a consistency proof
(RFC 9162 section 2.1.4) from a tree of the smaller size and this root to the larger checkpoint. Given
that, no proof from the smaller checkpoint can exist, or SHA-256 has a collision.

When witnesses cosigned them is no part of it: a log may have an old checkpoint cosigned late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from evidence import canonical
from evidence.checkpoint import Checkpoint, format_hash, open_checkpoint, parse_hash
from evidence.errors import MalformedInput, ProofRefused
from evidence.merkle import verify_consistency
from evidence.note import MAX_BYTES as MAX_NOTE_BYTES
from evidence.note import NoteKey

TYPE: Final = "tracebus/log-misbehaviour/v1"
MAX_BYTES: Final = 4 * MAX_NOTE_BYTES
"""How large the file may be, in bytes."""

_SAME_SIZE: Final = {"type", "checkpoints"}
_OTHER_SIZE: Final = {*_SAME_SIZE, "root", "consistency"}


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What a log did: it signed both of these, and the larger tree does not begin with the smaller.

    `root` is that of the smaller size in the larger tree; of equal sizes, the root of the second.
    """

    smaller: Checkpoint
    larger: Checkpoint
    root: bytes


def format_misbehaviour(
    smaller: bytes,
    larger: bytes,
    log_key: NoteKey,
    *,
    root: bytes | None = None,
    consistency: Sequence[bytes] = (),
) -> bytes:
    """Return the file that shows two checkpoints to contradict each other, once that is verified.

    Args:
        smaller: A checkpoint of the log, as a note.
        larger: Another, of at least the same size.
        log_key: The log's key.
        root: For different sizes, the root of the larger tree at the smaller size.
        consistency: For different sizes, the proof from that root to the larger checkpoint.

    Raises:
        MalformedInput: One is no checkpoint.
        VerificationFailed: One is not of this log, or they do not contradict each other.
    """
    tree: dict[str, Any] = {"type": TYPE, "checkpoints": [_text(smaller), _text(larger)]}
    if root is not None:
        tree |= {"root": format_hash(root), "consistency": list(map(format_hash, consistency))}
    data = canonical.dumps(tree)
    verify_misbehaviour(data, log_key)
    return data


def verify_misbehaviour(data: bytes, log_key: NoteKey) -> Misbehaviour:
    """Verify that a log signed two checkpoints that contradict each other, and return them.

    Raises:
        MalformedInput: The file cannot be read.
        SignatureRefused: A checkpoint is not signed by the log's key.
        Unexpected: A checkpoint is of another origin.
        ProofRefused: The checkpoints do not contradict each other, or nothing shows that they do.
    """
    tree = _read(data)
    smaller, larger = (open_checkpoint(note.encode(), log_key) for note in tree["checkpoints"])
    if smaller.size > larger.size:
        raise ProofRefused("misbehaviour", "expected the smaller checkpoint first")
    if (smaller.size == larger.size) != (tree.keys() == _SAME_SIZE):
        raise ProofRefused(
            "misbehaviour", "expected a root and a consistency proof for different sizes alone"
        )
    root = larger.root
    if smaller.size < larger.size:
        root = parse_hash(tree["root"], "/root")
        proof = [parse_hash(text, f"/consistency/{index}") for index, text in enumerate(tree["consistency"])]
        verify_consistency(smaller.size, larger.size, proof, root, larger.root)
    if root == smaller.root:
        raise ProofRefused("misbehaviour", "the checkpoints agree")
    return Misbehaviour(smaller, larger, root)


def _text(note: bytes) -> str:
    try:
        return note.decode()
    except UnicodeDecodeError as error:
        raise MalformedInput(f"note byte {error.start}", "not UTF-8") from None


def _read(data: bytes) -> dict[str, Any]:
    tree = canonical.loads(data, max_bytes=MAX_BYTES, max_depth=4)
    if not isinstance(tree, dict) or tree.get("type") != TYPE:
        raise MalformedInput("/type", f"expected a JSON object of type {TYPE}")
    if tree.keys() not in (_SAME_SIZE, _OTHER_SIZE):
        raise MalformedInput("", f"expected {', '.join(sorted(_OTHER_SIZE))}, found {', '.join(tree)!r:.80}")
    if not _is_texts(tree["checkpoints"]) or len(tree["checkpoints"]) != 2:
        raise MalformedInput("/checkpoints", "expected two notes")
    if "root" in tree and not (_is_texts([tree["root"]]) and _is_texts(tree["consistency"])):
        raise MalformedInput("/consistency", "expected hashes")
    return tree


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
