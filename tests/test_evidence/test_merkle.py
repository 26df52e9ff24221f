"""The Merkle tree: hashing, appending, proofs and their verification.

`mth`, `path` and `proof_of` are the definitions of RFC 9162 section 2.1, `accepts_inclusion` and
`accepts_consistency` its verification algorithms, written down as they stand there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import EvidenceError, MalformedInput, ProofRefused
from evidence.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    consistency_proof,
    event_leaf,
    heads_leaf,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

# The leaves that transparency-dev/merkle tests with, and the roots of the trees of the first 1 to 8.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

# Where attacks are tried in every place: all shapes of small trees, and one with a long right edge.
SIZES = [*range(1, 18), 33]


def mth(leaves: Sequence[bytes]) -> bytes:
    """Return MTH(D_n), RFC 9162 section 2.1.1."""
    n = len(leaves)
    if n == 0:
        return hashlib.sha256(b"").digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(n)
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PATH(m, D_n), section 2.1.3.1."""
    n = len(leaves)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof_of(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PROOF(m, D_n), section 2.1.4.1."""
    return subproof(m, leaves, True)


def subproof(m: int, leaves: Sequence[bytes], known: bool) -> list[bytes]:
    """Return SUBPROOF(m, D_n, b)."""
    n = len(leaves)
    if m == n:
        return [] if known else [mth(leaves)]
    k = split(n)
    if m <= k:
        return [*subproof(m, leaves[:k], known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def split(n: int) -> int:
    """Return the largest power of two below n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def accepts_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell what the algorithm of section 2.1.3.2 says."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def accepts_consistency(first: int, second: int, proof: Sequence[bytes], one: bytes, two: bytes) -> bool:
    """Tell what the algorithm of section 2.1.4.2 says, for 0 < first < second."""
    if not proof:
        return False
    consistency_path = [one, *proof] if first & (first - 1) == 0 else list(proof)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = consistency_path[0]
    for c in consistency_path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr == one and sr == two and sn == 0


@cache
def leaves_of(size: int) -> tuple[bytes, ...]:
    """Return the data of some leaves."""
    return tuple(b"leaf %d" % i for i in range(size))


def grown(leaves: Sequence[bytes]) -> tuple[Frontier, dict[tuple[int, int], bytes]]:
    """Append leaves one by one; return the frontier, and all that it said was completed."""
    frontier, nodes = Frontier(), {}
    for data in leaves:
        for level, index, value in frontier.append(leaf_hash(data)):
            assert (level, index) not in nodes
            nodes[level, index] = value
    return frontier, nodes


def reader(leaves: Sequence[bytes]) -> Callable[[int, int], bytes]:
    """Return a hash reader for a tree with these leaves."""
    nodes = grown(leaves)[1]
    return lambda level, index: nodes[level, index]


def is_accepted(verify: Callable[..., None], *arguments: Any) -> bool:
    """Tell whether a verification accepts; whatever it refuses, it refuses with one of our errors."""
    try:
        verify(*arguments)
    except EvidenceError:
        return False
    return True


def altered(proof: Sequence[bytes]) -> list[list[bytes]]:
    """Return a proof with each byte changed, each hash taken out, put in twice or cut, and more hashes."""
    changes = []
    for at, value in enumerate(proof):
        for byte in range(32):
            changed = bytearray(value)
            changed[byte] ^= 1 << byte % 8
            changes.append([*proof[:at], bytes(changed), *proof[at + 1 :]])
        changes += [
            [*proof[:at], *proof[at + 1 :]],
            [*proof[:at], value, value, *proof[at + 1 :]],
            [*proof[:at], value[:-1], *proof[at + 1 :]],
            [*proof[:at], value + b"\x00", *proof[at + 1 :]],
        ]
        changes += [[*proof[:at], proof[at + 1], value, *proof[at + 2 :]] for _ in proof[at + 1 : at + 2]]
    return [*changes, [*proof, bytes(32)], [bytes(32), *proof], [*proof, b""]]


# Hashing and appending


def test_roots_of_the_known_trees() -> None:
    """The trees of 0 to 8 known leaves have their known roots."""
    roots = [grown(LEAVES[:size])[0].root().hex() for size in range(9)]
    assert [EMPTY_ROOT.hex(), *ROOTS] == roots


@given(st.integers(0, 300))
def test_the_root_is_that_of_the_definition(size: int) -> None:
    """Appending leaf by leaf gives the root that RFC 9162 defines."""
    assert mth(leaves_of(size)) == grown(leaves_of(size))[0].root()


@given(st.integers(0, 300))
def test_appending_tells_each_complete_subtree_once(size: int) -> None:
    """What is completed is every complete subtree of the tree, with its hash."""
    leaves = leaves_of(size)
    expected = {
        (level, index): mth(leaves[index << level : (index + 1) << level])
        for level in range(size.bit_length())
        for index in range(size >> level)
    }
    assert expected == grown(leaves)[1]


@given(st.integers(0, 300), st.integers(0, 40))
def test_a_frontier_can_be_stored_and_read_again(size: int, more: int) -> None:
    """Size and hashes are all that there is to a frontier, and the complete subtrees hold them."""
    leaves = leaves_of(size + more)
    stored = grown(leaves[:size])[0]
    again = Frontier(stored.size, list(stored.hashes))
    for data in leaves[size:]:
        again.append(leaf_hash(data))
    assert (stored, mth(leaves)) == (Frontier.at(size, reader(leaves)), again.root())


@pytest.mark.parametrize(
    ("size", "hashes"),
    [
        (-1, []),
        (0, [bytes(32)]),
        (1, []),
        (3, [bytes(32)]),
        (1, [bytes(31)]),
        (4, [bytes(32)] * 2),
        (2**63, [bytes(32)]),
    ],
)
def test_a_frontier_that_cannot_be_is_refused(size: int, hashes: list[bytes]) -> None:
    """A frontier that was stored badly is noticed before anything is appended to it."""
    with pytest.raises(MalformedInput, match="frontier"):
        Frontier(size, hashes)


def test_only_a_leaf_hash_is_appended() -> None:
    """Leaf data, which is not as long, is not mistaken for its hash."""
    with pytest.raises(MalformedInput, match="found one of 33"):
        Frontier().append(heads_leaf(bytes(32)))


def test_the_leaf_of_an_event_tells_the_algorithm() -> None:
    """The same 32 bytes by another function are another leaf; so they are as a map root."""
    digits = "ab" * 32
    leaves = [
        event_leaf(f"sha256:{digits}"),
        heads_leaf(bytes.fromhex(digits)),
        event_leaf(f"blake3:{digits}"),
    ]
    assert [f"0{kind}{digits}" for kind in (1, 2, 3)] == [leaf.hex() for leaf in leaves]


@pytest.mark.parametrize("text", ["", "ab" * 32, "md5:" + "ab" * 32, "sha256:" + "AB" * 32, "sha256:ab"])
def test_the_leaf_of_what_is_no_event_hash(text: str) -> None:
    """Only a digest, in its one spelling, has a leaf."""
    with pytest.raises(ValueError, match="event hash"):
        event_leaf(text)


# Proofs


@given(st.data())
def test_inclusion_proofs_are_those_of_the_definition(data: st.DataObject) -> None:
    """They are PATH(m, D_n), and verify."""
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof = inclusion_proof(index, size, reader(leaves_of(300)))
    verify_inclusion(leaf_hash(leaves[index]), index, size, proof, mth(leaves))
    assert path(index, leaves) == proof


@given(st.data())
def test_consistency_proofs_are_those_of_the_definition(data: st.DataObject) -> None:
    """They are PROOF(m, D_n), and verify."""
    size = data.draw(st.integers(1, 300))
    old_size = data.draw(st.integers(1, size))
    leaves = leaves_of(size)
    proof = consistency_proof(old_size, size, reader(leaves_of(300)))
    verify_consistency(old_size, size, proof, mth(leaves[:old_size]), mth(leaves))
    assert proof_of(old_size, leaves) == proof


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 4), (4, 4), (5, 4)])
def test_there_is_no_inclusion_proof_of_no_leaf(index: int, size: int) -> None:
    """Whoever asks for a leaf outside of the tree is told so."""
    with pytest.raises(ValueError, match="leaf: expected"):
        inclusion_proof(index, size, reader(leaves_of(8)))


@pytest.mark.parametrize(("old_size", "size"), [(0, 0), (0, 4), (-1, 4), (5, 4)])
def test_there_is_no_consistency_proof_of_such_sizes(old_size: int, size: int) -> None:
    """Nor of the empty tree: it would be empty, whatever the other tree."""
    with pytest.raises(ValueError, match="old size: expected"):
        consistency_proof(old_size, size, reader(leaves_of(8)))


@pytest.mark.parametrize("make", [inclusion_proof, consistency_proof])
@pytest.mark.parametrize(("position", "size"), [(1, 300), (137, 299), (255, 256), (299, 300)])
def test_what_a_proof_reads_does_not_depend_on_hashes(make: Any, position: int, size: int) -> None:
    """So who reads asynchronously can first ask what is needed, and then have it at hand."""
    read = reader(leaves_of(300))
    wanted: list[tuple[int, int]] = []
    make(position, size, lambda *at: wanted.append(at) or bytes(32))
    at_hand = {at: read(*at) for at in wanted}
    assert make(position, size, read) == make(position, size, lambda *at: at_hand[at])


def test_a_proof_in_a_huge_tree_reads_little() -> None:
    """In a tree of some 10^18 equal leaves a proof takes a few hundred reads, and verifies."""
    by_level = [leaf_hash(b"")]
    for _ in range(62):
        by_level.append(node_hash(by_level[-1], by_level[-1]))
    reads = 0

    def read(level: int, index: int) -> bytes:
        nonlocal reads
        reads += 1
        return by_level[level]

    size, old_size = MAX_SIZE, 10**18 + 7
    root, old_root = Frontier.at(size, read).root(), Frontier.at(old_size, read).root()
    verify_inclusion(by_level[0], old_size, size, inclusion_proof(old_size, size, read), root)
    verify_consistency(old_size, size, consistency_proof(old_size, size, read), old_root, root)
    assert reads < 500


# Verification


@pytest.mark.parametrize("size", SIZES[1:])
def test_an_altered_inclusion_proof_is_refused(size: int) -> None:
    """No byte of a proof, of the leaf or of the root can be changed; nothing taken out, put in or swapped."""
    leaves = leaves_of(size)
    root, read = mth(leaves), reader(leaves)
    accepted = [
        (index, changed)
        for index in range(size)
        for proof in [inclusion_proof(index, size, read)]
        for changed in altered([leaf_hash(leaves[index]), *proof, root])
        if len(changed) > 1
        and is_accepted(verify_inclusion, changed[0], index, size, changed[1:-1], changed[-1])
    ]
    assert [] == accepted


@pytest.mark.parametrize("size", SIZES)
def test_an_inclusion_proof_is_of_one_leaf_at_one_index(size: int) -> None:
    """The proof of a leaf, or its place, is none of another."""
    leaves = leaves_of(size)
    root, read = mth(leaves), reader(leaves)
    accepted = [
        (leaf, index, of)
        for of in range(size)
        for proof in [inclusion_proof(of, size, read)]
        for leaf in range(size)
        for index in range(-1, size + 2)
        if is_accepted(verify_inclusion, leaf_hash(leaves[leaf]), index, size, proof, root)
    ]
    assert [(index, index, index) for index in range(size)] == accepted


@pytest.mark.parametrize("at", [0, 31, 33, 64])
def test_the_parts_of_a_node_have_their_length(at: int) -> None:
    """A leaf hash and its sibling that are divided elsewhere hash to the same, and are refused."""
    leaves = leaves_of(2)
    both = leaf_hash(leaves[0]) + leaf_hash(leaves[1])
    with pytest.raises(MalformedInput, match="expected hashes of 32 bytes"):
        verify_inclusion(both[:at], 0, 2, [both[at:]], mth(leaves))
    with pytest.raises(MalformedInput, match="expected hashes of 32 bytes"):
        verify_consistency(1, 2, [both[at:]], both[:at], mth(leaves))


def test_a_node_is_no_leaf() -> None:
    """Leaves and nodes are hashed apart: the two parts of a node do not pass for a leaf's data."""
    leaves = leaves_of(4)
    left, right = mth(leaves[:2]), mth(leaves[2:])
    with pytest.raises(ProofRefused, match="expected root"):
        verify_inclusion(leaf_hash(left + right), 0, 1, [], mth(leaves))


@pytest.mark.parametrize("size", SIZES[1:])
def test_an_altered_consistency_proof_is_refused(size: int) -> None:
    """No byte of a proof or of the roots can be changed; nothing taken out, put in or swapped."""
    leaves = leaves_of(size)
    root, read = mth(leaves), reader(leaves)
    accepted = [
        (old_size, changed)
        for old_size in range(1, size)
        for proof in [consistency_proof(old_size, size, read)]
        for changed in altered([mth(leaves[:old_size]), *proof, root])
        if len(changed) > 1
        and is_accepted(verify_consistency, old_size, size, changed[1:-1], changed[0], changed[-1])
    ]
    assert [] == accepted


@pytest.mark.parametrize("size", SIZES)
def test_a_consistency_proof_is_of_one_old_tree(size: int) -> None:
    """The proof of one old size, or its root, is none of another."""
    leaves = leaves_of(size)
    root, read = mth(leaves), reader(leaves)
    roots = {old_size: mth(leaves[:old_size]) for old_size in range(size + 1)}
    accepted = [
        (with_root, old_size, of)
        for of in range(1, size + 1)
        for proof in [consistency_proof(of, size, read)]
        for with_root in range(size + 1)
        for old_size in range(-1, size + 2)
        if is_accepted(verify_consistency, old_size, size, proof, roots[with_root], root)
    ]
    assert [(old_size, old_size, old_size) for old_size in range(1, size + 1)] == accepted


def test_a_log_with_another_history_is_not_consistent() -> None:
    """If one old leaf is another, no proof that the log can make leads to the kept root."""
    leaves = leaves_of(20)
    kept = mth(leaves[:13])
    for changed in range(13):
        forked = [*leaves[:changed], b"another", *leaves[changed + 1 :]]
        proof = consistency_proof(13, 20, reader(forked))
        with pytest.raises(ProofRefused, match="expected old root"):
            verify_consistency(13, 20, proof, kept, mth(forked))


hashes = st.sampled_from([leaf_hash(data) for data in leaves_of(3)]) | st.binary(min_size=32, max_size=32)


@given(st.data())
def test_inclusion_is_accepted_as_the_rfc_does(data: st.DataObject) -> None:
    """For proofs that lead somewhere, whatever index and size they are said to be of."""
    size, index = data.draw(st.integers(1, 70)), data.draw(st.integers(0, 70))
    proof = data.draw(st.lists(hashes, max_size=8))
    leaf = data.draw(hashes)
    root = climbed(leaf, data.draw(st.integers(0, 255)), proof)
    expected = accepts_inclusion(leaf, index, size, proof, root)
    assert expected == is_accepted(verify_inclusion, leaf, index, size, proof, root)


@given(st.data())
def test_sizes_are_accepted_as_the_rfc_does(data: st.DataObject) -> None:
    """A good proof, said to be of other sizes, is accepted exactly where the RFC's algorithm does so.

    It does in some cases: a size is not bound by the root, but by the checkpoint that states both.
    """
    size = data.draw(st.integers(2, 70))
    old_size, said, said_old = (data.draw(st.integers(1, size)) for _ in range(3))
    leaves = leaves_of(size)
    read, root, old_root = reader(leaves), mth(leaves), mth(leaves[:old_size])
    leaf, index = leaf_hash(leaves[old_size - 1]), old_size - 1
    proof = inclusion_proof(index, size, read)
    expected = accepts_inclusion(leaf, index, said, proof, root)
    assert expected == is_accepted(verify_inclusion, leaf, index, said, proof, root)
    proof = consistency_proof(old_size, size, read)
    if said_old < said:
        expected = accepts_consistency(said_old, said, proof, old_root, root)
        assert expected == is_accepted(verify_consistency, said_old, said, proof, old_root, root)


def climbed(leaf: bytes, sides: int, proof: Sequence[bytes]) -> bytes:
    """Return where a proof leads, if it takes these sides."""
    for bit, sibling in enumerate(proof):
        leaf = node_hash(sibling, leaf) if sides >> bit & 1 else node_hash(leaf, sibling)
    return leaf


@pytest.mark.parametrize(("old_size", "size"), [(0, 0), (0, 8), (9, 8), (-1, 8), (1, 2**63), (2**63, 2**63)])
def test_consistency_of_such_sizes_is_refused(old_size: int, size: int) -> None:
    """With the empty tree every tree is consistent, which must not pass for a proof of anything."""
    with pytest.raises(ProofRefused, match="expected two sizes"):
        verify_consistency(old_size, size, [], EMPTY_ROOT, EMPTY_ROOT)


def test_trees_of_one_size_have_one_root() -> None:
    """Two roots of one size are two histories, and no proof is needed if there is one root."""
    one, other = bytes(32), bytes(31) + b"\x01"
    verify_consistency(5, 5, [], one, one)
    for proof, root in [([], other), ([one], one)]:
        with pytest.raises(ProofRefused):
            verify_consistency(5, 5, proof, one, root)


def test_a_refusal_says_what_was_expected() -> None:
    """It names the leaf and the tree, and both roots."""
    leaf, root = leaf_hash(b"a"), leaf_hash(b"b")
    with pytest.raises(ProofRefused) as refused:
        verify_inclusion(leaf, 0, 1, [], root)
    expected = ("inclusion of leaf 0 in the tree of 1", f"expected root {root.hex()}, found {leaf.hex()}")
    assert expected == (refused.value.place, refused.value.reason)


# What others have written down


def decoded(texts: Sequence[str] | None) -> list[bytes]:
    """Return the hashes of a vector."""
    return [base64.b64decode(text) for text in texts or ()]


def test_inclusion_vectors(shared: Path) -> None:
    """The 98 cases of transparency-dev/merkle are accepted and refused as they say."""
    vectors = json.loads((shared / "vectors" / "merkle" / "inclusion.json").read_text("utf-8"))
    found = {}
    for case in vectors:
        leaf, root = decoded([case["leafHash"], case["root"]])
        arguments = (leaf, case["leafIdx"], case["treeSize"], decoded(case["proof"]), root)
        found[case["name"]] = is_accepted(verify_inclusion, *arguments)
    assert (98, {case["name"]: not case["wantErr"] for case in vectors}) == (len(found), found)


def test_consistency_vectors(shared: Path) -> None:
    """The 98 cases of transparency-dev/merkle are accepted and refused as they say."""
    vectors = json.loads((shared / "vectors" / "merkle" / "consistency.json").read_text("utf-8"))
    found = {}
    for case in vectors:
        roots = decoded([case["root1"], case["root2"]])
        arguments = (case["size1"], case["size2"], decoded(case["proof"]), *roots)
        found[case["name"]] = is_accepted(verify_consistency, *arguments)
    assert (98, {case["name"]: not case["wantErr"] for case in vectors}) == (len(found), found)


def test_the_example_of_the_specification(root: Path) -> None:
    """Leaves, tree, checkpoint and both proofs of schemas/log-v1.md belong together."""
    text = (root / "schemas" / "log-v1.md").read_text("utf-8")
    listed = re.findall(r"^\d (0[12][0-9a-f]{64})\n  ([0-9a-f]{64})$", text, re.MULTILINE)
    leaves = [bytes.fromhex(data) for data, _ in listed]
    [tree_root] = decoded(re.findall(r"^6\n(\S{44})$", text, re.MULTILINE))
    [old_root] = decoded(re.findall(r"size 3, whose root is `(\S{44})`", text))
    inclusion, consistency = (
        decoded(json.loads(block)) for block in re.findall(r"```json\n(\[.*?\])\n```", text, re.DOTALL)
    )
    verify_inclusion(leaf_hash(leaves[5]), 5, 6, inclusion, tree_root)
    verify_consistency(3, 6, consistency, old_root, tree_root)
    assert ([value for _, value in listed], tree_root, old_root) == (
        [leaf_hash(data).hex() for data in leaves],
        mth(leaves),
        mth(leaves[:3]),
    )
