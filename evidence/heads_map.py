r"""The heads map: one hash for the heads of all workflows of a log, at a position in it.

A binary trie by the bits of keys, the most significant first. A place that holds no entry is `EMPTY`,
one that holds a single entry is that entry, however high up, and any other is a node::

    key   = SHA-256("tracebus/workflow-key/v1\n" ‖ JCS({tenantId?, workflowId}))
    entry = SHA-256(0x02 ‖ key ‖ workflow head)
    node  = SHA-256(0x03 ‖ the place where the next bit is 0 ‖ the place where it is 1)
    EMPTY = 32 zero bytes

So a key has one path, and under one root only one thing can be shown at its end: the key's entry, that
of another key, or nothing (`schemas/log-v1.md` section 6). Whoever has all entries computes the root in
one pass (`map_root`). Whoever stores nodes and entries, 65 bytes by their hash, brings the map up to
date (`update`) and makes proofs (`prove`) at the cost of what changes or is asked for.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from evidence import canonical
from evidence.checkpoint import format_hash, parse_hash
from evidence.errors import LogDamaged, MalformedInput, ProofRefused

EMPTY: Final = bytes(32)
MAX_DEPTH: Final = 256  # bits of a key

_KEY_DOMAIN: Final = b"tracebus/workflow-key/v1\n"
_ENTRY: Final = b"\x02"
_NODE: Final = b"\x03"

NodeReader = Callable[[bytes], bytes | None]
"""Returns the 65 bytes that were stored by their hash, or None if there are none: `dict.get` is one."""


class Entry(NamedTuple):
    """A workflow's key and its head, 32 bytes each."""

    key: bytes
    head: bytes

    @classmethod
    def of(cls, workflow_id: str, tenant_id: str | None, head: str) -> Entry:
        """Return the entry of a workflow with this workflow head (`evidence.heads.workflow_head`)."""
        return cls(workflow_key(workflow_id, tenant_id), bytes.fromhex(head.removeprefix("sha256:")))


class HeadsProof(NamedTuple):
    """What stands at the end of a key's path, and what stands beside the path.

    Attributes:
        siblings: The hashes beside the path, from the bottom to the top.
        entry: The key's own entry, that of another key, or None for `EMPTY`.
    """

    siblings: tuple[bytes, ...]
    entry: Entry | None

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON: base64, with the empty string for `EMPTY`."""
        entry = {} if self.entry is None else self.entry._asdict()
        members = {name: _encode(value) for name, value in entry.items()}
        return {"siblings": [_encode(sibling) for sibling in self.siblings], **members}

    @classmethod
    def from_json(cls, value: object, place: str) -> HeadsProof:
        """Read a proof from JSON; whether it holds is for `verify_heads_proof`.

        Raises:
            MalformedInput: It is not of that form.
        """
        if not isinstance(value, dict) or value.keys() not in ({"siblings"}, {"siblings", "key", "head"}):
            raise MalformedInput(place, "expected siblings, and either both of key and head or none")
        texts = value["siblings"]
        if not isinstance(texts, list) or len(texts) > MAX_DEPTH:
            raise MalformedInput(f"{place}/siblings", f"expected an array of at most {MAX_DEPTH} hashes")
        siblings = [_decode(text, f"{place}/siblings/{i}") for i, text in enumerate(texts)]
        entry = [_decode(value[name], f"{place}/{name}") for name in ("key", "head") if name in value]
        return cls(tuple(siblings), Entry(*entry) if entry else None)


class MapUpdate(NamedTuple):
    """A new root, what to store by its hash, and the hashes that only older maps have."""

    root: bytes
    added: dict[bytes, bytes]
    replaced: set[bytes]


def workflow_key(workflow_id: str, tenant_id: str | None) -> bytes:
    """Return the key of a workflow."""
    workflow = {"workflowId": workflow_id} | ({} if tenant_id is None else {"tenantId": tenant_id})
    return _sha256(_KEY_DOMAIN + canonical.dumps(workflow))


def map_root(entries: Iterable[Entry]) -> bytes:
    """Return the root of the map that has these entries; a few hundred hashes are held at a time.

    Raises:
        ValueError: They do not come in the order of their keys, or a key comes twice.
    """
    return _subtree(entries, 0, _sha256)


def update(root: bytes, entries: Iterable[Entry], read: NodeReader) -> MapUpdate:
    """Put entries, of known or of new keys, into the map that has this root.

    Raises:
        LogDamaged: The store does not have the map.
    """
    added: dict[bytes, bytes] = {}
    opened: set[bytes] = set()

    def put(content: bytes) -> bytes:
        value = _sha256(content)
        added[value] = content
        return value

    def put_into(place: bytes, changed: Sequence[Entry], depth: int) -> bytes:
        if not changed:
            return place
        if place == EMPTY:
            return _subtree(changed, depth, put)
        opened.add(place)
        kind, left, right = _open(place, read, depth)
        if kind == _ENTRY:
            merged = {left: right} | dict(changed)
            return _subtree(map(Entry._make, sorted(merged.items())), depth, put)
        middle = bisect_left(changed, 1, key=lambda entry: _bit(entry.key, depth))
        new_left = put_into(left, changed[:middle], depth + 1)
        return put(_NODE + new_left + put_into(right, changed[middle:], depth + 1))

    new_root = put_into(root, [Entry(*item) for item in sorted(dict(entries).items())], 0)
    return MapUpdate(new_root, added, opened - added.keys())


def prove(key: bytes, root: bytes, read: NodeReader) -> HeadsProof:
    """Return the proof of what the map that has this root has for a key.

    Raises:
        LogDamaged: The store does not have the map.
    """
    siblings: list[bytes] = []
    place, entry = root, None
    while place != EMPTY and entry is None:
        kind, left, right = _open(place, read, len(siblings))
        if kind == _ENTRY:
            entry = Entry(left, right)
        else:
            sibling, place = (left, right) if _bit(key, len(siblings)) else (right, left)
            siblings.append(sibling)
    return HeadsProof(tuple(reversed(siblings)), entry)


def verify_heads_proof(proof: HeadsProof, key: bytes, head: bytes | None, root: bytes) -> None:
    """Verify that the map that has this root has this head for a key, or, for None, that it has none.

    Raises:
        ProofRefused: It has another head or none, or one after all, or the proof does not lead to the root.
    """
    siblings, entry = proof
    place = f"heads map, key {key.hex()}"
    depth = len(siblings)
    if depth > MAX_DEPTH or any(len(value) != 32 for value in (key, root, *siblings, *(entry or ()))):
        raise ProofRefused(place, f"expected at most {MAX_DEPTH} siblings, and 32 bytes everywhere")
    found = entry.head if entry and entry.key == key else None
    if found != head:
        raise ProofRefused(place, f"expected {_named(head)}, found {_named(found)}")
    if entry and _shared_bits(entry.key, key) < depth:
        raise ProofRefused(place, "the path of the entry is another")
    if siblings and siblings[0] == EMPTY:
        raise ProofRefused(place, "the path goes on below a place that holds one entry or none")
    value = _sha256(_ENTRY + entry.key + entry.head) if entry else EMPTY
    for sibling in siblings:
        depth -= 1
        value = _sha256(_NODE + (sibling + value if _bit(key, depth) else value + sibling))
    if value != root:
        raise ProofRefused(place, f"expected map root {root.hex()}, found {value.hex()}")


def _subtree(entries: Iterable[Entry], depth: int, put: Callable[[bytes], bytes]) -> bytes:
    """Return the hash of the place at `depth` that holds these entries, in the order of their keys.

    An entry stands one place below the last that it shares with a neighbour. From there it is carried up
    to where the path of the next entry parts from its own, and waits as a left half for the right one.
    """
    halves: list[tuple[int, bytes]] = []  # those that wait, and at which bit the right one differs
    iterator = iter(entries)
    entry, before = next(iterator, None), depth - 1
    while entry is not None:
        after = next(iterator, None)
        if after is not None and after.key <= entry.key:
            raise ValueError(f"key {after.key.hex()} comes after {entry.key.hex()}")
        shared = depth - 1 if after is None else _shared_bits(entry.key, after.key)
        value = put(_ENTRY + entry.key + entry.head)
        for bit in range(max(before, shared), shared, -1):
            if halves and halves[-1][0] == bit:
                value = put(_NODE + halves.pop()[1] + value)
            else:
                value = put(_NODE + (EMPTY + value if _bit(entry.key, bit) else value + EMPTY))
        halves.append((shared, value))
        entry, before = after, shared
    return halves[0][1] if halves else EMPTY


def _open(place: bytes, read: NodeReader, depth: int) -> tuple[bytes, bytes, bytes]:
    """Return what a place was hashed from: its kind, and the two values of 32 bytes."""
    content = read(place) or b""
    kinds = (_ENTRY, _NODE) if depth < MAX_DEPTH else (_ENTRY,)
    if _sha256(content) != place or len(content) != 65 or content[:1] not in kinds:
        raise LogDamaged(f"heads map, hash {place.hex()}", "the store does not have what it is the hash of")
    return content[:1], content[1:33], content[33:]


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _shared_bits(one: bytes, other: bytes) -> int:
    return MAX_DEPTH - (int.from_bytes(one) ^ int.from_bytes(other)).bit_length()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _named(head: bytes | None) -> str:
    return "no entry" if head is None else f"head {head.hex()}"


def _encode(value: bytes) -> str:
    return "" if value == EMPTY else format_hash(value)


def _decode(text: object, place: str) -> bytes:
    value = EMPTY if text == "" else parse_hash(text if isinstance(text, str) else "", place)
    if _encode(value) != text:
        raise MalformedInput(place, "expected the empty string for 32 zero bytes")
    return value
