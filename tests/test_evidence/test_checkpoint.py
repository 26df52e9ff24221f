"""Checkpoints: their one spelling, and whose they are."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import Ed25519Signer, EvidenceError, MalformedInput, SignatureRefused, Unexpected
from evidence.checkpoint import (
    Checkpoint,
    format_checkpoint,
    format_hash,
    open_checkpoint,
    parse_checkpoint,
    parse_hash,
    parse_size,
    sign_checkpoint,
    timestamped_bytes,
)
from evidence.merkle import Frontier, leaf_hash
from evidence.note import Note, NoteKey, NoteSignature, format_note, parse_note, sign_note

SIGNER = Ed25519Signer(b"\x01" * 32)
ORIGIN = "example.com/tracebus"
KEY = NoteKey(ORIGIN, SIGNER.verifying_key)
VKEY = "example.com/tracebus+e7f3eb5e+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c"
ROOT_8 = bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
EIGHT = Checkpoint(ORIGIN, 8, ROOT_8)
TEXT = "example.com/tracebus\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
LINE = (
    "— example.com/tracebus 5/PrXheC0T9vn6dstw60a0owfVNInxLGkRD0DFKAF6p3geIoxITMFzT89Ksg+P6kBAE8GTtiKhBSP308"
    "vWpNU3COkAI=\n"
)
NOTE = f"{TEXT}\n{LINE}".encode()
EMPTY_ROOT = hashlib.sha256(b"").digest()


# Known answers


def test_the_tree_of_rfc_6962_has_the_root_of_the_known_answer() -> None:
    """The eight leaves of Certificate Transparency's test vectors lead to the root that is signed here."""
    leaves = (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf_hash(bytes.fromhex(leaf)))
    assert ROOT_8 == tree.root()


def test_the_known_checkpoint_is_made() -> None:
    """A checkpoint that two other implementations verified is made again, byte for byte."""
    assert NOTE == format_note(sign_checkpoint(EIGHT, SIGNER))


def test_the_known_checkpoint_opens() -> None:
    """The known checkpoint opens with its verifier key."""
    assert EIGHT == open_checkpoint(NOTE, NoteKey.from_vkey(VKEY))


def test_the_checkpoint_of_the_empty_tree() -> None:
    """The empty tree's checkpoint is that of the specification."""
    text, empty = "a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", Checkpoint("a", 0, EMPTY_ROOT)
    assert (text, empty) == (format_checkpoint(empty), parse_checkpoint(text))


def test_the_example_of_the_specification_is_read() -> None:
    """The text of tlog-checkpoint's example is read, and written again."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    found = parse_checkpoint(text)
    assert ("example.com/behind-the-sofa", 20852163, text) == (
        found.origin,
        found.size,
        format_checkpoint(found),
    )


# Reading

ROOT = format_hash(ROOT_8)
MALFORMED = {
    "empty": "",
    "a newline": "\n",
    "two lines": "a\n8\n",
    "no newline at the end": TEXT[:-1],
    "no origin": f"\n8\n{ROOT}\n",
    "empty extension": f"a\n8\n{ROOT}\n\n",
    "empty line in between": f"a\n\n8\n{ROOT}\n",
    "no size": f"a\n\n{ROOT}\n",
    "leading zero": f"a\n08\n{ROOT}\n",
    "two zeros": f"a\n00\n{format_hash(EMPTY_ROOT)}\n",
    "plus": f"a\n+8\n{ROOT}\n",
    "minus": f"a\n-8\n{ROOT}\n",
    "minus zero": f"a\n-0\n{format_hash(EMPTY_ROOT)}\n",
    "underscore": f"a\n1_0\n{ROOT}\n",
    "space before": f"a\n 8\n{ROOT}\n",
    "space after": f"a\n8 \n{ROOT}\n",
    "full-width digits": f"a\n\uff18\n{ROOT}\n",
    "Arabic digits": f"a\n\u0668\n{ROOT}\n",
    "superscript": f"a\n8\u00b2\n{ROOT}\n",
    "hexadecimal": f"a\n0x8\n{ROOT}\n",
    "exponent": f"a\n1e3\n{ROOT}\n",
    "fraction": f"a\n8.0\n{ROOT}\n",
    "2^63": f"a\n{2**63}\n{ROOT}\n",
    "thousands of digits": f"a\n{'9' * 10_000}\n{ROOT}\n",
    "no root": "a\n8\n\n",
    "31 bytes": f"a\n8\n{format_hash(bytes(31))}\n",
    "33 bytes": f"a\n8\n{format_hash(bytes(33))}\n",
    "unused bits": f"a\n8\n{ROOT.replace('g=', 'h=')}\n",
    "no padding": f"a\n8\n{ROOT[:-1]}\n",
    "hex root": f"a\n8\n{ROOT_8.hex()}\n",
    "URL-safe root": f"a\n8\n{ROOT.replace('+', '-').replace('/', '_')}\n",
    "space in the root": f"a\n8\n {ROOT}\n",
    "empty tree with another root": f"a\n0\n{ROOT}\n",
    "U+2028 for a newline": f"a\u20288\n{ROOT}\n",
    "carriage returns": TEXT.replace("\n", "\r\n"),
}


@pytest.mark.parametrize(
    ("text", "line"), [(f"a\n08\n{ROOT}\n", 2), (f"a\n8\n{ROOT}\n\n", 4), ("\n8\nx\n", 1)]
)
def test_the_line_of_a_fault_is_told(text: str, line: int) -> None:
    """A fault is named with its line."""
    with pytest.raises(MalformedInput) as caught:
        parse_checkpoint(text)
    assert f"checkpoint line {line}" == caught.value.place


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_checkpoints_are_refused(name: str) -> None:
    """What is no checkpoint in its one spelling is refused."""
    with pytest.raises(MalformedInput):
        parse_checkpoint(MALFORMED[name])


@pytest.mark.parametrize(
    "name", [name for name, text in MALFORMED.items() if text.endswith("\n") and "\r" not in text]
)
def test_malformed_checkpoints_are_refused_though_signed(name: str) -> None:
    """A log's signature makes no checkpoint of a note that is none."""
    note = sign_note(MALFORMED[name], ORIGIN, SIGNER)
    with pytest.raises(MalformedInput):
        open_checkpoint(note, KEY)


def test_the_largest_size_is_read() -> None:
    """Sizes go up to 2^63-1."""
    assert 2**63 - 1 == parse_checkpoint(f"a\n{2**63 - 1}\n{ROOT}\n").size


def test_extensions_are_kept() -> None:
    """Further lines are read, and written again."""
    text = f"a b+c\n8\n{ROOT}\none\n— two\u2028three\n"
    assert (("one", "— two\u2028three"), text) == (
        parse_checkpoint(text).extensions,
        format_checkpoint(parse_checkpoint(text)),
    )


@pytest.mark.parametrize(
    "values",
    [
        ("", 8, ROOT_8),
        ("a\nb", 8, ROOT_8),
        ("a\x00", 8, ROOT_8),
        ("\ud800", 8, ROOT_8),
        ("a", -1, ROOT_8),
        ("a", 2**63, ROOT_8),
        ("a", 8, ROOT_8[:-1]),
        ("a", 0, ROOT_8),
        ("a", 8, ROOT_8, ("",)),
        ("a", 8, ROOT_8, ("b\nc",)),
    ],
)
def test_other_values_are_refused(values: tuple[str, int, bytes]) -> None:
    """A checkpoint that could not be read again is not made."""
    with pytest.raises(ValueError, match="checkpoint"):
        Checkpoint(*values)


# Whose it is


def test_a_checkpoint_of_another_log_is_refused() -> None:
    """Another log's checkpoint is signed by no known key."""
    other = sign_checkpoint(Checkpoint("example.com/other", 8, ROOT_8), Ed25519Signer(b"\x03" * 32))
    with pytest.raises(SignatureRefused):
        open_checkpoint(other, KEY)


def test_a_checkpoint_of_another_origin_by_this_key_is_refused() -> None:
    """A key signs for the origin that it is named as, and for no other."""
    other = sign_note(format_checkpoint(Checkpoint("example.com/other", 8, ROOT_8)), ORIGIN, SIGNER)
    with pytest.raises(Unexpected, match=r"expected origin example.com/tracebus, found example.com/other"):
        open_checkpoint(other, KEY)


def test_the_text_is_not_read_before_it_is_verified() -> None:
    """A bad signature is what is told of a bad checkpoint."""
    note = Note("no checkpoint\n", parse_note(NOTE).signatures)
    with pytest.raises(SignatureRefused):
        open_checkpoint(note, KEY)


@pytest.mark.parametrize("index", range(len(NOTE)))
def test_each_changed_byte_is_refused(index: int) -> None:
    """No byte of a checkpoint can be another one."""
    for flip in (1, 2, 0x20, 0x80):
        changed = NOTE[:index] + bytes([NOTE[index] ^ flip]) + NOTE[index + 1 :]
        with pytest.raises(EvidenceError):
            open_checkpoint(changed, KEY)


def test_each_cut_is_refused() -> None:
    """A checkpoint that is cut off anywhere is refused."""
    for length in range(len(NOTE)):
        with pytest.raises(EvidenceError):
            open_checkpoint(NOTE[:length], KEY)


@pytest.mark.parametrize("origin", ["a b", "a+b", "a\u2003b"])
def test_an_origin_that_no_key_can_have_is_not_signed(origin: str) -> None:
    """A log's key is named as its origin, so an origin that cannot be a name is the caller's slip."""
    with pytest.raises(ValueError, match="key name"):
        sign_checkpoint(Checkpoint(origin, 8, ROOT_8), SIGNER)


def test_what_is_timestamped_stays_when_witnesses_sign() -> None:
    """Lines that come later do not change the bytes that were timestamped."""
    note = parse_note(NOTE)
    witnessed = note.with_signatures(
        NoteSignature("w", b"abcd", b"x"), NoteSignature(ORIGIN, b"abcd", b"another key")
    )
    twice = Note(note.text, note.signatures * 2)
    assert [NOTE] * 3 == [timestamped_bytes(each, KEY) for each in (note, witnessed, twice)]


def test_what_the_log_did_not_sign_is_not_timestamped() -> None:
    """Without the log's line there is nothing to timestamp."""
    with pytest.raises(ValueError, match="found 0"):
        timestamped_bytes(Note(TEXT, (NoteSignature("w", b"abcd", b"x"),)), KEY)


# Properties

printable_lines = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1, max_size=20
)
checkpoints = st.builds(
    Checkpoint,
    printable_lines,
    st.integers(1, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(printable_lines, max_size=3).map(tuple),
)


@given(checkpoints)
def test_checkpoints_come_back_as_they_were(checkpoint: Checkpoint) -> None:
    """Parsing is the inverse of formatting."""
    assert checkpoint == parse_checkpoint(format_checkpoint(checkpoint))


@given(checkpoints, st.data())
def test_a_checkpoint_has_one_spelling(checkpoint: Checkpoint, data: st.DataObject) -> None:
    """Whatever is read is written as it was read."""
    text = format_checkpoint(checkpoint)
    index = data.draw(st.integers(0, len(text) - 1))
    changed = text[:index] + data.draw(st.text(max_size=2)) + text[index + 1 :]
    try:
        found = parse_checkpoint(changed)
    except MalformedInput:
        return
    assert changed == format_checkpoint(found)


@given(st.text(max_size=20) | st.integers().map(str))
def test_sizes_have_one_spelling(text: str) -> None:
    """What is read as a size is the one way to write it."""
    try:
        size = parse_size(text, "")
    except MalformedInput:
        return
    assert text == str(size)


@given(st.binary(min_size=32, max_size=32))
def test_hashes_come_back_as_they_were(value: bytes) -> None:
    """A hash is read as it was written."""
    assert value == parse_hash(format_hash(value), "")
