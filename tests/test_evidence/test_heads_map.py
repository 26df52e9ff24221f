"""The heads map: its root, its proofs, and what could pass for a proof.

`naive` is the definition of schemas/log-v1.md section 6.1, written down as it stands there.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import heads
from evidence.errors import LogDamaged, MalformedInput, ProofRefused
from evidence.heads_map import (
    EMPTY,
    Entry,
    HeadsProof,
    map_root,
    prove,
    update,
    verify_heads_proof,
    workflow_key,
)
from tests.strategies import json_values

Store = dict[bytes, bytes]


def naive(entries: Sequence[Entry], depth: int = 0) -> tuple[bytes, Store]:
    """Return the hash of the place that holds these entries, and all that is hashed below it."""
    if not entries:
        return bytes(32), {}
    if len(entries) == 1:
        content, store = b"\x02" + entries[0].key + entries[0].head, {}
    else:
        halves: list[list[Entry]] = [[], []]
        for entry in entries:
            halves[int.from_bytes(entry.key) >> (255 - depth) & 1].append(entry)
        (left, one), (right, two) = naive(halves[0], depth + 1), naive(halves[1], depth + 1)
        content, store = b"\x03" + left + right, one | two
    value = hashlib.sha256(content).digest()
    return value, store | {value: content}


def as_entries(heads_by_key: dict[bytes, bytes]) -> list[Entry]:
    """Return entries in the order of their keys."""
    return [Entry(*item) for item in sorted(heads_by_key.items())]


def workflows(count: int) -> list[Entry]:
    """Return the entries of some workflows."""
    return as_entries(
        {workflow_key(f"w{i}", None): hashlib.sha256(b"head %d" % i).digest() for i in range(count)}
    )


def verifies(proof: HeadsProof, key: bytes, head: bytes | None, root: bytes) -> bool:
    """Tell whether a proof is accepted; what is refused is refused with our error."""
    try:
        verify_heads_proof(proof, key, head, root)
    except ProofRefused:
        return False
    return True


# Keys that part late, or in few bits, make deep and uneven tries; hashes alone would not.
keys = st.binary(min_size=32, max_size=32) | st.lists(
    st.sampled_from([0x00, 0x01, 0x80, 0xFF]), min_size=2, max_size=2
).map(lambda pair: bytes([pair[0], *[0] * 30, pair[1]]))
maps = st.dictionaries(keys, st.binary(min_size=32, max_size=32), max_size=12)


# Root and store


@given(maps)
def test_the_root_is_that_of_the_definition(heads_by_key: dict[bytes, bytes]) -> None:
    """One pass over the entries gives the root that the specification defines."""
    entries = as_entries(heads_by_key)
    assert naive(entries)[0] == map_root(iter(entries))


@given(maps, maps, st.integers(1, 5), st.randoms(use_true_random=False))
def test_a_map_can_be_brought_up_to_date(
    first: dict[bytes, bytes], second: dict[bytes, bytes], step: int, shuffler: random.Random
) -> None:
    """In any order and any portions, it comes to the same map; and the store holds that map, and no more."""
    changes = [*first.items(), *second.items()]
    shuffler.shuffle(changes)
    root, store = EMPTY, Store()
    for at in range(0, len(changes), step):
        changed = update(root, [Entry(*change) for change in changes[at : at + step]], store.get)
        store |= changed.added
        for value in changed.replaced:
            del store[value]
        root = changed.root
    assert naive(as_entries(dict(changes))) == (root, store)


def test_bringing_up_to_date_opens_only_what_changes() -> None:
    """Of a thousand workflows one goes on: a path is read and written, and an older map can still be read."""
    entries = workflows(1000)
    root, store = naive(entries)
    reads = []
    changed = update(
        root, [Entry(entries[500].key, EMPTY)], lambda value: reads.append(value) or store[value]
    )
    depth = len(prove(entries[500].key, root, store.get).siblings)
    assert [depth + 1] * 3 == [len(reads), len(changed.added), len(changed.replaced)]
    store |= changed.added
    heads_in = [prove(entries[500].key, of, store.get).entry for of in (root, changed.root)]
    assert [entries[500], Entry(entries[500].key, EMPTY)] == heads_in


def test_putting_in_what_is_there_changes_nothing() -> None:
    """The root stays, and nothing is to be deleted."""
    entries = workflows(20)
    root, store = naive(entries)
    changed = update(root, entries[3:9], store.get)
    assert (root, set(), True) == (changed.root, changed.replaced, changed.added.items() <= store.items())


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (0, 1, 1), (0, 2, 1)])
def test_entries_out_of_order_are_refused(order: tuple[int, ...]) -> None:
    """A root over entries that do not ascend would be that of no map."""
    entries = workflows(3)
    with pytest.raises(ValueError, match="comes after"):
        map_root(entries[i] for i in order)


def test_a_key_tells_workflow_and_tenant() -> None:
    """Workflows of one id have different keys under different tenants, and under none."""
    expected = hashlib.sha256(b'tracebus/workflow-key/v1\n{"tenantId":"acme","workflowId":"w"}').digest()
    found = [workflow_key("w", tenant) for tenant in ("acme", None, "", "other")]
    assert (expected, 4) == (found[0], len(set(found)))


@pytest.mark.parametrize("damage", ["missing", "changed", "cut", "of another kind"])
def test_a_damaged_store_is_noticed(damage: str) -> None:
    """No root is made, and no proof, from what is not what was stored."""
    entries = workflows(8)
    root, store = naive(entries)
    content = store.pop(root)
    if damage == "changed":
        store[root] = content[:-1] + bytes([content[-1] ^ 1])
    elif damage != "missing":
        content = content[:-1] if damage == "cut" else b"\x01" + content[1:]
        root = hashlib.sha256(content).digest()
        store[root] = content
    for use in (lambda: prove(entries[0].key, root, store.get), lambda: update(root, entries, store.get)):
        with pytest.raises(LogDamaged, match="does not have"):
            use()


def test_a_store_that_never_ends_is_noticed() -> None:
    """No place is deeper than a key has bits."""
    store = Store()
    root = hashlib.sha256(b"below").digest()
    for _ in range(257):
        content = b"\x03" + root + root
        root = hashlib.sha256(content).digest()
        store[root] = content
    with pytest.raises(LogDamaged, match="does not have"):
        prove(bytes(32), root, store.get)


# Proofs


@given(maps, keys)
def test_what_the_map_has_can_be_shown(heads_by_key: dict[bytes, bytes], other: bytes) -> None:
    """Each head, and the absence of any other key, has a proof, also after it was written as JSON."""
    root, store = naive(as_entries(heads_by_key))
    for key in (*heads_by_key, other):
        proof = prove(key, root, store.get)
        verify_heads_proof(proof, key, heads_by_key.get(key), root)
        assert proof == HeadsProof.from_json(json.loads(json.dumps(proof.to_json())), "proof")


@given(maps, keys, st.binary(min_size=32, max_size=32) | st.none())
def test_nothing_else_can_be_shown(heads_by_key: dict[bytes, bytes], key: bytes, head: bytes | None) -> None:
    """The proof for one key shows nothing of another, and no other head than the map has."""
    root, store = naive(as_entries(heads_by_key))
    proofs = [prove(of, root, store.get) for of in (*heads_by_key, key)]
    expected = [heads_by_key.get(key) == head and proof == proofs[-1] for proof in proofs]
    assert expected == [verifies(proof, key, head, root) for proof in proofs]


def test_two_keys_that_part_at_the_last_bit() -> None:
    """The longest path has 256 siblings, and no place is below it."""
    entries = [Entry(bytes(32), b"a" * 32), Entry(bytes(31) + b"\x01", b"b" * 32)]
    root, store = naive(entries)
    proof = prove(entries[1].key, root, store.get)
    verify_heads_proof(proof, *entries[1], root)
    too_long = HeadsProof((*proof.siblings, EMPTY), proof.entry)
    assert (256, False) == (len(proof.siblings), verifies(too_long, *entries[1], root))


MAP = workflows(40)
ROOT, STORE = naive(MAP)
ABSENT = [workflow_key(f"absent {i}", None) for i in range(40)]


def proofs() -> list[tuple[HeadsProof, bytes, bytes | None]]:
    """Return proof, key and head for workflows that the map has, and for some that it has not."""
    known = dict(MAP)
    return [(prove(key, ROOT, STORE.get), key, known.get(key)) for key in (*known, *ABSENT)]


def altered(proof: HeadsProof) -> list[HeadsProof]:
    """Return a proof with each byte changed, each sibling taken out, doubled, swapped, emptied or cut."""
    siblings, entry = proof
    changes = [HeadsProof(siblings, None)] if entry else [HeadsProof(siblings, Entry(*MAP[0]))]
    for at, value in enumerate(siblings):
        before, after = siblings[:at], siblings[at + 1 :]
        for byte in range(32):
            changed = bytearray(value)
            changed[byte] ^= 1 << byte % 8
            changes.append(HeadsProof((*before, bytes(changed), *after), entry))
        others = [(), (value, value), (value[:-1],), (EMPTY,), (value, EMPTY), (value[:16], value[16:])]
        changes += [HeadsProof((*before, *other, *after), entry) for other in others]
        changes += [HeadsProof((*before, after[0], value, *after[1:]), entry) for _ in after[:1]]
    longer = [(EMPTY, *siblings), (ROOT, *siblings), (*siblings, EMPTY), (*siblings, ROOT)]
    return [change for change in [*changes, *(HeadsProof(more, entry) for more in longer)] if change != proof]


def test_an_altered_proof_is_refused() -> None:
    """No byte can be changed; no sibling taken out, put in, swapped or emptied; no path made longer."""
    accepted = [
        (key, change)
        for proof, key, head in proofs()
        for change in altered(proof)
        if verifies(change, key, head, ROOT)
    ]
    assert [] == accepted


def test_a_proof_is_of_one_key_and_one_head() -> None:
    """Change any bit of the key, or any byte of the head or of the root, and it is refused."""
    accepted = []
    for proof, key, head in proofs()[::8]:
        for bit in range(256):
            flip = (1 << bit).to_bytes(32)
            changed = xor(key, flip)
            if head is not None:
                relabelled = HeadsProof(proof.siblings, Entry(changed, head))
                reheaded = HeadsProof(proof.siblings, Entry(key, xor(head, flip)))
                accepted += [verifies(proof, changed, head, ROOT), verifies(relabelled, changed, head, ROOT)]
                accepted += [verifies(proof, key, xor(head, flip), ROOT)]
                accepted += [verifies(reheaded, key, xor(head, flip), ROOT)]
            accepted += [verifies(proof, key, head, xor(ROOT, flip))]
    assert set(accepted) == {False}


def xor(one: bytes, other: bytes) -> bytes:
    """Return two values combined bit by bit."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def test_a_workflow_of_the_map_cannot_be_denied() -> None:
    """Not with the empty end, nor with any entry of the map, at any depth of the path."""
    accepted = []
    for proof, key, _ in proofs()[:10]:
        for length in range(len(proof.siblings) + 1):
            siblings = proof.siblings[len(proof.siblings) - length :]
            ends = [None, *(entry for entry in MAP if entry.key != key)]
            accepted += [verifies(HeadsProof(siblings, end), key, None, ROOT) for end in ends]
    assert {False} == set(accepted)


def test_the_parts_of_an_entry_have_their_length() -> None:
    """A key that has a byte of the head would hash to the same, and be the key of another."""
    (key, head), (proof, _, _) = MAP[0], proofs()[0]
    for at in (31, 33, 0, 64):
        shifted = HeadsProof(proof.siblings, Entry((key + head)[:at], (key + head)[at:]))
        assert not verifies(shifted, key, None, ROOT)
        assert not verifies(shifted, shifted.entry.key, shifted.entry.head, ROOT)  # type: ignore[union-attr]


@pytest.mark.parametrize("side", [0, 1])
def test_an_entry_that_stands_too_deep_is_refused(side: int) -> None:
    """Whoever makes a map with a place for one entry below another cannot show anything with it."""
    entry = Entry(bytes([side << 7]) + bytes(31), b"h" * 32)
    value, _ = naive([entry])
    root = hashlib.sha256(b"\x03" + (EMPTY + value if side else value + EMPTY)).digest()
    assert not verifies(HeadsProof((EMPTY,), entry), *entry, root)
    assert not verifies(HeadsProof((EMPTY,), entry), xor(entry.key, bytes(31) + b"\x01"), None, root)


def test_an_entry_on_the_path_of_another_key_is_refused() -> None:
    """Whoever makes a map with an entry in a wrong place cannot show with it that another is absent."""
    entries = [Entry(bytes([first]) + bytes(31), b"h" * 32) for first in (0x80, 0xC0)]
    (misplaced, _), (other, _) = (naive([entry]) for entry in entries)
    root = hashlib.sha256(b"\x03" + misplaced + other).digest()
    assert not verifies(HeadsProof((other,), entries[0]), bytes(32), None, root)


def test_a_path_beyond_the_last_bit_is_refused() -> None:
    """Also if it ends in nothing, and all hashes are as long as they should be."""
    with pytest.raises(ProofRefused, match="at most 256 siblings"):
        verify_heads_proof(HeadsProof((ROOT,) * 257, None), bytes(32), None, ROOT)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_has_no_proof(key: bytes) -> None:
    """Not even of its absence, in the map without entries."""
    assert not verifies(HeadsProof((), None), key, None, EMPTY)


def test_a_refusal_says_what_was_expected() -> None:
    """If the workflow went on, or is not there, the refusal says so, and not only that roots differ."""
    (proof, key, head), (absence, absent, _) = proofs()[0], proofs()[-1]
    assert head
    for refused, arguments in [
        (f"expected head {EMPTY.hex()}, found head {head.hex()}", (proof, key, EMPTY)),
        (f"expected no entry, found head {head.hex()}", (proof, key, None)),
        (f"expected head {head.hex()}, found no entry", (absence, absent, head)),
    ]:
        with pytest.raises(ProofRefused, match=refused):
            verify_heads_proof(*arguments, ROOT)


heads_proofs = st.builds(
    HeadsProof,
    st.lists(st.binary(max_size=33) | st.just(EMPTY), max_size=300).map(tuple),
    st.none() | st.builds(Entry, st.binary(max_size=33), st.binary(max_size=33)),
)


@given(heads_proofs, st.binary(max_size=33), st.none() | st.binary(max_size=33), st.binary(max_size=33))
def test_any_proof_is_refused(proof: HeadsProof, key: bytes, head: bytes | None, root: bytes) -> None:
    """Whatever is put together without the map is refused, with our error; but for the empty map."""
    assert verifies(proof, key, head, root) == (
        (proof, head, root, len(key)) == (HeadsProof((), None), None, EMPTY, 32)
    )


# The wire


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"siblings": None},
        {"siblings": {}},
        {"siblings": "A" * 43 + "="},
        {"siblings": [None]},
        {"siblings": [1]},
        {"siblings": ["A" * 43 + "="]},
        {"siblings": ["A" * 42 + "B="]},
        {"siblings": ["A" * 42 + "E=" + "\n"]},
        {"siblings": ["_" * 42 + "8="]},
        {"siblings": ["A" * 44]},
        {"siblings": ["\ud800"]},
        {"siblings": ["AAAA"]},
        {"siblings": [""] * 257},
        {"siblings": [], "key": ""},
        {"siblings": [], "head": ""},
        {"siblings": [], "key": "", "head": None},
        {"siblings": [], "key": "", "head": "", "depth": 0},
        {"siblings": [], "other": ""},
    ],
)
def test_json_of_another_form_is_refused(value: object) -> None:
    """There is one spelling of a proof; above all, 32 zero bytes are the empty string."""
    with pytest.raises(MalformedInput, match="proof"):
        HeadsProof.from_json(value, "proof")


@given(json_values() | st.dictionaries(st.sampled_from(["siblings", "key", "head", "x"]), json_values()))
def test_any_json_is_read_or_refused(value: Any) -> None:
    """What is read is written the same; all else is malformed, and nothing worse."""
    try:
        proof = HeadsProof.from_json(value, "proof")
    except MalformedInput:
        return
    assert value == proof.to_json()


def test_the_examples_of_the_specification(root: Path) -> None:
    """Keys, heads, map root and the three proofs of schemas/log-v1.md belong together."""
    text = (root / "schemas" / "log-v1.md").read_text("utf-8")
    leaves = re.findall(r"^\d 0([12])([0-9a-f]{64})$", text, re.MULTILINE)
    event_hashes = [f"sha256:{digits}" for kind, digits in leaves if kind == "1"]
    map_root_there = bytes.fromhex(leaves[-1][1])
    runs = [
        {"runId": "run-7f3a", "count": 4, "head": event_hashes[4], "closed": True},
        {"runId": "run-9", "count": 1, "head": event_hashes[2], "closed": False},
    ]
    entries = [
        Entry.of(workflow_id, "acme", heads.workflow_head(workflow_id, "acme", [run]))
        for workflow_id, run in zip(("transfer-42", "refund-7"), runs, strict=True)
    ]
    listed = re.findall(r"^\| `[\w-]+` \| `([0-9a-f]{64})` \| `([0-9a-f]{64})` \|$", text, re.MULTILINE)
    blocks = re.findall(r"```json\n(\{.*?\})\n```", text, re.DOTALL)
    present, *absent = (HeadsProof.from_json(json.loads(block), "example") for block in blocks)
    verify_heads_proof(present, *entries[0], map_root_there)
    for proof, workflow_id in zip(absent, ("transfer-43", "refund-8"), strict=True):
        verify_heads_proof(proof, workflow_key(workflow_id, "acme"), None, map_root_there)
    assert (listed, map_root_there) == (
        [(entry.key.hex(), entry.head.hex()) for entry in entries],
        map_root(sorted(entries)),
    )
