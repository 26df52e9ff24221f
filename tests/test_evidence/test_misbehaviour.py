"""Proof of misbehaviour: which two checkpoints contradict each other, and which do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import Ed25519Signer, EvidenceError, MalformedInput, SignatureRefused, Unexpected
from evidence.checkpoint import Checkpoint, format_checkpoint, format_hash, sign_checkpoint
from evidence.errors import ProofRefused
from evidence.merkle import Frontier, HashReader, consistency_proof, leaf_hash
from evidence.misbehaviour import MAX_BYTES, TYPE, format_misbehaviour, verify_misbehaviour
from evidence.note import NoteKey, format_note, sign_note

SIGNER = Ed25519Signer(b"\x01" * 32)
ORIGIN = "payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB"
KEY = NoteKey(ORIGIN, SIGNER.verifying_key)


def tree(size: int, forked_at: int | None = None) -> tuple[bytes, HashReader]:
    """Return the root of a tree and what reads its subtrees; from `forked_at` on its leaves are others."""
    frontier, hashes = Frontier(), {}
    for index in range(size):
        fork = b"fork" if forked_at is not None and index >= forked_at else b""
        for level, position, value in frontier.append(leaf_hash(b"%d%b" % (index, fork))):
            hashes[level, position] = value
    return frontier.root(), lambda level, position: hashes[level, position]


def note_of(size: int, root: bytes, *extensions: str) -> bytes:
    """Return a signed checkpoint of the log."""
    return format_note(sign_checkpoint(Checkpoint(ORIGIN, size, root, extensions), SIGNER))


def shown(smaller: int, larger: int, forked_at: int) -> bytes:
    """Return the proof that a log signed a tree, and a larger one that forks off from it."""
    root, _ = tree(smaller)
    other_root, read = tree(larger, forked_at)
    return format_misbehaviour(
        note_of(smaller, root),
        note_of(larger, other_root),
        KEY,
        root=tree(smaller, forked_at)[0],
        consistency=consistency_proof(smaller, larger, read),
    )


def changed(data: bytes, **members: Any) -> bytes:
    """Return a file with some members replaced, or left out where they are None."""
    found = json.loads(data) | members
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


SAME = format_misbehaviour(note_of(8, tree(8)[0]), note_of(8, tree(8, 3)[0]), KEY)
OTHER = shown(6, 11, 2)


def test_two_roots_of_one_size_are_misbehaviour() -> None:
    """Two checkpoints of one size with different roots are shown by themselves."""
    found = verify_misbehaviour(SAME, KEY)
    assert (8, tree(8)[0], tree(8, 3)[0]) == (found.smaller.size, found.smaller.root, found.larger.root)


@pytest.mark.parametrize("larger", [9, 13, 16, 17, 31])
@pytest.mark.parametrize("smaller", [1, 2, 3, 4, 6, 7, 8])
def test_a_fork_between_two_sizes_is_misbehaviour(smaller: int, larger: int) -> None:
    """A larger tree that begins with another one than was signed is shown by a proof from that."""
    for forked_at in range(smaller):
        found = verify_misbehaviour(shown(smaller, larger, forked_at), KEY)
        assert (smaller, larger, tree(smaller, forked_at)[0]) == (
            found.smaller.size,
            found.larger.size,
            found.root,
        )


def test_an_honest_log_is_not_accused() -> None:
    """Checkpoints of a log that only grew cannot be made to contradict each other."""
    root, (larger, read) = tree(6)[0], tree(11)
    with pytest.raises(ProofRefused, match="agree"):
        format_misbehaviour(
            note_of(6, root),
            note_of(11, larger),
            KEY,
            root=root,
            consistency=consistency_proof(6, 11, read),
        )


@pytest.mark.parametrize("sizes", [(0, 0), (8, 8)])
def test_the_same_checkpoint_twice_is_not_misbehaviour(sizes: tuple[int, int]) -> None:
    """A checkpoint that was signed again, perhaps with other extension lines, agrees with itself."""
    first, second = (note_of(size, tree(size)[0], f"line {n}") for n, size in enumerate(sizes))
    with pytest.raises(ProofRefused, match="agree"):
        format_misbehaviour(first, second, KEY)


def test_different_sizes_alone_show_nothing() -> None:
    """That nobody gives a consistency proof says nothing about a log."""
    with pytest.raises(ProofRefused, match="expected a root and a consistency proof for different sizes"):
        format_misbehaviour(note_of(6, tree(6)[0]), note_of(11, tree(11, 2)[0]), KEY)


def test_the_empty_tree_contradicts_none() -> None:
    """Every tree begins with the empty one."""
    with pytest.raises(ProofRefused):
        format_misbehaviour(note_of(0, tree(0)[0]), note_of(11, tree(11)[0]), KEY, root=tree(3)[0])


def test_an_invented_root_shows_nothing() -> None:
    """The larger checkpoint must lead to the root that is given for the smaller size."""
    for root in (bytes(32), tree(6)[0], tree(6, 1)[0]):
        with pytest.raises(ProofRefused):
            verify_misbehaviour(changed(OTHER, root=format_hash(root)), KEY)


def test_a_changed_proof_shows_nothing() -> None:
    """Each hash of the consistency proof counts, as does their number."""
    proof = json.loads(OTHER)["consistency"]
    wrong = [proof[:-1], [*proof, proof[0]], proof[::-1], []]
    wrong += [[*proof[:index], format_hash(bytes(32)), *proof[index + 1 :]] for index in range(len(proof))]
    for consistency in wrong:
        with pytest.raises(ProofRefused):
            verify_misbehaviour(changed(OTHER, consistency=consistency), KEY)


def test_the_smaller_checkpoint_comes_first() -> None:
    """A file has one form."""
    with pytest.raises(ProofRefused, match="smaller checkpoint first"):
        verify_misbehaviour(changed(OTHER, checkpoints=json.loads(OTHER)["checkpoints"][::-1]), KEY)


def test_a_proof_for_equal_sizes_is_refused() -> None:
    """Nothing is in the file that is not needed."""
    with pytest.raises(ProofRefused, match="for different sizes alone"):
        verify_misbehaviour(changed(SAME, root=format_hash(tree(8)[0]), consistency=[]), KEY)


def test_another_keys_checkpoint_is_no_evidence() -> None:
    """Who has not the log's key cannot accuse it."""
    forged = sign_note(
        format_checkpoint(Checkpoint(ORIGIN, 8, bytes(32))), ORIGIN, Ed25519Signer(b"\x09" * 32)
    )
    with pytest.raises(SignatureRefused):
        format_misbehaviour(note_of(8, tree(8)[0]), format_note(forged), KEY)


def test_another_origins_checkpoint_is_no_evidence() -> None:
    """Two logs that share a key, against the rules, do not contradict each other."""
    other = sign_note(format_checkpoint(Checkpoint("other", 8, bytes(32))), ORIGIN, SIGNER)
    with pytest.raises(Unexpected):
        format_misbehaviour(note_of(8, tree(8)[0]), format_note(other), KEY)


@pytest.mark.parametrize(
    "members",
    [
        {"type": "tracebus/log-misbehaviour/v2"},
        {"type": None},
        {"checkpoints": None},
        {"checkpoints": []},
        {"checkpoints": ["a"]},
        {"checkpoints": [1, 2]},
        {"checkpoints": "ab"},
        {"checkpoints": ["a", "b"]},
        {"root": None},
        {"consistency": None},
        {"root": 1},
        {"root": "x"},
        {"root": format_hash(bytes(31))},
        {"consistency": "x"},
        {"consistency": [1]},
        {"consistency": ["x"]},
        {"more": 1},
    ],
    ids=str,
)
def test_other_forms_are_refused(members: dict[str, Any]) -> None:
    """Every member has its form, and there are no others."""
    with pytest.raises(MalformedInput):
        verify_misbehaviour(changed(OTHER, **members), KEY)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 1000, b" " * (MAX_BYTES + 1)])
def test_other_files_are_refused(data: bytes) -> None:
    """What is no file of this type is refused."""
    with pytest.raises(MalformedInput):
        verify_misbehaviour(data, KEY)


def test_bytes_that_are_no_text_are_no_checkpoint() -> None:
    """A note that is not UTF-8 does not get into a file."""
    with pytest.raises(MalformedInput, match="not UTF-8"):
        format_misbehaviour(b"\xff", b"", KEY)


@given(st.sampled_from([SAME, OTHER]), st.data())
def test_any_bytes_end_in_an_evidence_error_or_the_same_finding(data: bytes, draw: st.DataObject) -> None:
    """A changed byte is refused, or changes nothing of what was signed."""
    index = draw.draw(st.integers(0, len(data) - 1))
    other = data[:index] + bytes([draw.draw(st.integers(0, 255))]) + data[index + 1 :]
    try:
        found = verify_misbehaviour(other, KEY)
    except EvidenceError:
        return
    assert verify_misbehaviour(data, KEY) == found


def test_the_file_is_as_the_specification_says() -> None:
    """The file is canonical JSON with the members of its kind."""
    assert ({"type", "checkpoints"}, {"type", "checkpoints", "root", "consistency"}, TYPE) == (
        set(json.loads(SAME)),
        set(json.loads(OTHER)),
        json.loads(OTHER)["type"],
    )
