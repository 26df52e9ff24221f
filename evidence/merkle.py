r"""The Merkle tree of a log: hashes, roots, and proofs of inclusion and consistency (RFC 9162 section 2.1).

::

    leaf hash  = SHA-256(0x00 ‖ leaf data)
    node       = SHA-256(0x01 ‖ left ‖ right)
    empty root = SHA-256("")

    leaf data  = 0x01 ‖ 32 bytes    an event, by its SHA-256 event hash
                 0x02 ‖ 32 bytes    the root of the heads map (`evidence.heads_map`)
                 0x03 ‖ 32 bytes    an event, by its BLAKE3 event hash

The hash of a *complete subtree* is named by level and index: level 0 are the leaf hashes, and (k, i) is
the hash of the leaves from i·2^k up to (i+1)·2^k. Once there, it never changes: a writer stores it when
`Frontier.append` returns it, and whoever makes a proof asks a `HashReader` for O(log size) of them.
The format is `schemas/log-v1.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from evidence.digest import BLAKE3, SHA256, is_digest
from evidence.errors import MalformedInput, ProofRefused

HASH_SIZE: Final = 32  # bytes
MAX_SIZE: Final = 2**63 - 1  # leaves; as far as C2SP tools count
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
_EVENT_KINDS: Final = {SHA256: b"\x01", BLAKE3: b"\x03"}
_HEADS_KIND: Final = b"\x02"

HashReader = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree at a level and an index.

It raises what it will if it has none. What is asked for depends on index and sizes alone, never on a
hash, so whoever reads asynchronously can make a proof twice: first to learn what is asked for.
"""

Proof = Sequence[bytes]
"""The hashes beside a path, from the bottom to the top."""

_Range = tuple[int, int]


def event_leaf(event_hash: str) -> bytes:
    """Return the leaf data of an event, 33 bytes: a kind that tells the digest's algorithm, and the digest.

    Raises:
        ValueError: Not an event hash, `sha256:…` or `blake3:…`.
    """
    if not is_digest(event_hash):
        raise ValueError(f"event hash: expected a digest, found {event_hash!r:.80}")
    algorithm, _, digits = event_hash.partition(":")
    return _EVENT_KINDS[algorithm] + bytes.fromhex(digits)


def heads_leaf(map_root: bytes) -> bytes:
    """Return the leaf data, 33 bytes, that puts the root of a heads map into the log."""
    return _HEADS_KIND + map_root


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf with this data."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """Return the hash above complete subtrees of one size, 2^k of them."""
    while len(hashes) > 1:
        hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree: all that is needed to append to it and to know its root.

    Attributes:
        size: How many leaves the tree has.
        hashes: Those of the largest complete subtrees, from left to right, one for each bit that is set
            in `size`: a tree of 11 leaves has those of 8, 2 and 1.

    Raises:
        MalformedInput: The hashes are not as many, or not as long, as a tree of that size has.
    """

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.hashes) != self.size.bit_count():
            raise MalformedInput("frontier", f"{len(self.hashes)} hashes for a tree of {self.size} leaves")
        _check_hashes(self.hashes, "frontier")

    @classmethod
    def at(cls, size: int, read: HashReader) -> Frontier:
        """Return the frontier of the tree's first `size` leaves, from its complete subtrees."""
        return cls(size, _complete_subtrees(0, size, read))

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Append a leaf, by its leaf hash, and return the subtrees that it completes, two on average.

        They are level, index and hash, from level 0 up, at most one for each level.
        """
        _check_hashes([leaf], "leaf")
        index, value = self.size, leaf
        completed = [(0, index, value)]
        while index & 1:
            value = node_hash(self.hashes.pop(), value)
            index >>= 1
            completed.append((len(completed), index, value))
        self.hashes.append(value)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the tree's root hash."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Return the proof that the leaf at `index` is in the tree of `size` leaves.

    This is PATH of RFC 9162 section 2.1.3.1.

    Raises:
        ValueError: There is no such leaf in that tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf: expected one of 0 to {size - 1}, found {index}")
    return _hashes_of(_path(index, index + 1, size), read)


def consistency_proof(old_size: int, size: int, read: HashReader) -> list[bytes]:
    """Return the proof that the tree of `size` leaves begins with the tree of `old_size` leaves.

    This is PROOF of RFC 9162 section 2.1.4.1. It is empty for equal sizes.

    Raises:
        ValueError: The sizes are not `1 <= old_size <= size`: with the empty tree every tree is consistent.
    """
    if not 1 <= old_size <= size:
        raise ValueError(f"old size: expected 1 to {size}, found {old_size}")
    start = _edge_start(old_size, size)
    edge = [(start, old_size)] if start else []
    return _hashes_of(edge + _path(start, old_size, size), read)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Proof, root: bytes) -> None:
    """Verify that a leaf hash stands at `index` in the tree of `size` leaves with this root.

    It accepts what RFC 9162 section 2.1.3.2 accepts.

    Raises:
        MalformedInput: A hash is not 32 bytes long.
        ProofRefused: There is no such leaf, or the proof does not lead from it to the root.
    """
    place = f"inclusion of leaf {index} in the tree of {size}"
    _check_hashes([leaf, *proof, root], place)
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofRefused(place, "there is no such leaf")
    path = _path(index, index + 1, size)
    _check("a number of hashes of", len(proof), len(path), place)
    _check("root", _climb(leaf, index, path, proof).hex(), root.hex(), place)


def verify_consistency(old_size: int, size: int, proof: Proof, old_root: bytes, root: bytes) -> None:
    """Verify that the tree of `size` leaves begins with the tree of `old_size` leaves, by their roots.

    It accepts what RFC 9162 section 2.1.4.2 accepts; of equal sizes, equal roots and an empty proof. An old
    size of 0 is refused: that a tree begins with the empty one says nothing about it.

    Raises:
        MalformedInput: A hash is not 32 bytes long.
        ProofRefused: The sizes are in the wrong order, or the proof does not lead to both roots.
    """
    place = f"consistency of the tree of {size} with that of {old_size}"
    if not 1 <= old_size <= size <= MAX_SIZE:
        raise ProofRefused(place, "expected two sizes, the old one from 1 up to the other")
    if old_size < size:
        _check_hashes([old_root, *proof, root], place)
    start = _edge_start(old_size, size)
    path = _path(start, old_size, size)
    _check("a number of hashes of", len(proof), len(path) + (start > 0), place)
    edge, *siblings = proof if start else (old_root, *proof)
    on_left = [sibling for (beside, _), sibling in zip(path, siblings, strict=True) if beside < start]
    _check("old root", _fold([*reversed(on_left), edge]).hex(), old_root.hex(), place)
    _check("root", _climb(edge, start, path, siblings).hex(), root.hex(), place)


def _path(start: int, end: int, size: int) -> list[_Range]:
    """Return what stands beside the path from a subtree up to the root of the tree of `size` leaves."""
    path = []
    low, high = 0, size
    while (low, high) != (start, end):
        middle = low + (1 << (high - low - 1).bit_length() - 1)  # k of RFC 9162 section 2.1.1
        if start < middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return path[::-1]


def _edge_start(old_size: int, size: int) -> int:
    """Return where the largest subtree of the new tree begins that ends where the old tree does.

    From 0, it is the old tree, whose root the verifier has: a proof leaves it out.
    """
    return old_size & (old_size - 1) if old_size < size else 0


def _climb(value: bytes, start: int, path: Sequence[_Range], siblings: Proof) -> bytes:
    """Return the root above a subtree that begins at `start`."""
    for (beside, _), sibling in zip(path, siblings, strict=True):
        value = node_hash(sibling, value) if beside < start else node_hash(value, sibling)
    return value


def _complete_subtrees(start: int, end: int, read: HashReader) -> list[bytes]:
    """Return the largest complete subtrees that a range is made of, from left to right."""
    hashes = []
    while start < end:
        level = (end - start).bit_length() - 1
        hashes.append(read(level, start >> level))
        start += 1 << level
    return hashes


def _hashes_of(ranges: Iterable[_Range], read: HashReader) -> list[bytes]:
    return [_fold(_complete_subtrees(start, end, read)) for start, end in ranges]


def _fold(hashes: Sequence[bytes]) -> bytes:
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


def _check_hashes(hashes: Iterable[bytes], place: str) -> None:
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise MalformedInput(place, f"expected hashes of {HASH_SIZE} bytes, found one of {len(value)}")


def _check(what: str, found: object, expected: object, place: str) -> None:
    if found != expected:
        raise ProofRefused(place, f"expected {what} {expected}, found {found}")
