"""Signed notes: what is read, what is refused, and whose signatures count."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import Ed25519Signer, EvidenceError, KeyRefused, MalformedInput, SignatureRefused, VerifyingKey
from evidence.cosignature import WitnessKey
from evidence.keys import format_vkey
from evidence.note import (
    MAX_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteKey,
    NoteSignature,
    format_note,
    open_note,
    parse_base64,
    parse_note,
    parse_signatures,
    sign_note,
)

# The example of c2sp.org/signed-note.
SPEC_KEY = NoteKey.from_vkey("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Z"
    "tg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()

# The examples of golang.org/x/mod/sumdb/note.
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_KEY = NoteKey.from_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
ENOCH_KEY = NoteKey.from_vkey("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
PETER = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJ"
    "nAM=\n"
)
ENOCH = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ"
    "=\n"
)
GO_NOTE = f"{GO_TEXT}\n{PETER}".encode()

SIGNER = Ed25519Signer(b"\x01" * 32)
KEY = NoteKey("example.com/log", SIGNER.verifying_key)


def line_of(name: str, key_id: bytes, signature: bytes) -> str:
    """Return a signature line with its base64 spelled here."""
    return f"— {name} {base64.b64encode(key_id + signature).decode()}\n"


def signers(note: bytes, *keys: NoteKey) -> list[str]:
    """Return the names of the keys that a note was opened with."""
    return [key.name for key, _ in open_note(note, keys).signed_by]


# Known answers


def test_the_example_of_the_specification_opens() -> None:
    """The example of signed-note opens with the key that it names."""
    assert "This is an example message.\n" == open_note(SPEC_NOTE, [SPEC_KEY]).text


def test_the_example_of_go_is_made_again() -> None:
    """Go's example, signed again from its seed, is the same bytes."""
    assert GO_NOTE == format_note(sign_note(GO_TEXT, "PeterNeumann", Ed25519Signer(GO_SEED)))


def test_unknown_keys_are_passed_over() -> None:
    """Who knows one of two keys gets the note, signed by that one."""
    note = f"{GO_TEXT}\n{PETER}{ENOCH}".encode()
    assert (["PeterNeumann"], ["EnochRoot"]) == (signers(note, PETER_KEY), signers(note, ENOCH_KEY))


def test_all_known_keys_are_told() -> None:
    """Who knows both keys is told of both, in the order of the lines."""
    note = f"{GO_TEXT}\n{PETER}{ENOCH}".encode()
    assert ["PeterNeumann", "EnochRoot"] == signers(note, ENOCH_KEY, PETER_KEY)


@pytest.mark.parametrize(
    ("kind", "vkey"),
    [
        (NoteKey, SPEC_KEY.to_vkey()),
        (NoteKey, "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"),
        (NoteKey, "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"),
        (WitnessKey, "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"),
        (WitnessKey, "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv"),
    ],
)
def test_keys_of_others_are_written_as_they_were_read(
    kind: type[NoteKey] | type[WitnessKey], vkey: str
) -> None:
    """Verifier keys that others published are read, and written again."""
    assert vkey == kind.from_vkey(vkey).to_vkey()


# Reading

GOOD = GO_NOTE.decode()
MALFORMED = {
    "empty": "",
    "text alone": GO_TEXT,
    "no signatures": GO_TEXT + "\n",
    "no text": "\n" + PETER,
    "no empty line": GO_TEXT + PETER,
    "no newline at the end": GOOD[:-1],
    "another character for the newline at the end": GOOD[:-1] + "!",
    "empty line at the end": GOOD + "\n",
    "space on the empty line": f"{GO_TEXT} \n{PETER}",
    "carriage returns": GOOD.replace("\n", "\r\n"),
    "NUL": "\0" + GOOD,
    "U+0001": "\x01" + GOOD,
    "tab in the text": "\t" + GOOD,
    "U+001F in the text": "\x1f" + GOOD,
    "another line among the signatures": GOOD + "Unexpected line.\n",
    "a hyphen": GOOD.replace("—", "-"),
    "an en dash": GOOD.replace("—", "\u2013"),
    "two spaces": GOOD.replace("— ", "—  "),
    "no space": GOOD.replace("— ", "—"),
    "space before the dash": GOOD.replace("— ", " — "),
    "space at the end": GOOD[:-1] + " \n",
    "space in the name": GOOD.replace("PeterN", "Peter N"),
    "no-break space in the name": GOOD.replace("PeterN", "Peter\u00a0N"),
    "U+2028 in the name": GOOD.replace("PeterN", "Peter\u2028N"),
    "U+3000 in the name": GOOD.replace("PeterN", "Peter\u3000N"),
    "plus in the name": GOOD.replace("PeterN", "Peter+N"),
    "no name": GOOD.replace("PeterNeumann", ""),
    "no signature": re.sub("x08.*=", "", GOOD),
    "key id alone": line_of("a", b"abcd", b"").join([GO_TEXT + "\n", ""]),
    "three bytes": line_of("a", b"abc", b"").join([GO_TEXT + "\n", ""]),
    "unused bits": GOOD.replace("nAM=", "nAN="),
    "no padding": GOOD.replace("nAM=", "nAM"),
    "more padding": GOOD.replace("nAM=", "nAM=="),
    "URL-safe base64": GOOD.replace("/", "_"),
    "something after the padding": GOOD.replace("nAM=", "nAM=AAAA"),
    "digits of another script": GOOD.replace("x08", "x\uff108"),
    "a line twice, one without base64": f"{GOOD}— PeterNeumann\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_notes_are_refused(name: str) -> None:
    """What is no note in its one spelling is refused, and not as a wrong signature."""
    with pytest.raises(MalformedInput):
        open_note(MALFORMED[name].encode(), [PETER_KEY])


@pytest.mark.parametrize("note", [b"\xff" + GO_NOTE, GO_NOTE[:-1] + b"\xe2\n", b"\xed\xa0\x80" + GO_NOTE])
def test_other_bytes_than_utf8_are_refused(note: bytes) -> None:
    """A note is UTF-8, without surrogates."""
    with pytest.raises(MalformedInput, match="not UTF-8"):
        parse_note(note)


def test_the_place_of_a_fault_is_told() -> None:
    """A bad signature line is named by its number in the note."""
    with pytest.raises(MalformedInput) as caught:
        parse_note(f"{GO_TEXT}\n{PETER}oops\n".encode())
    assert "note line 5" == caught.value.place


@pytest.mark.parametrize(("note", "place"), [("a\0", "note line 1"), ("a\nb\n\tc", "note line 3")])
def test_the_line_of_a_control_character_is_told(note: str, place: str) -> None:
    """A control character is named with its line."""
    with pytest.raises(MalformedInput, match="control character") as caught:
        parse_note(note.encode())
    assert place == caught.value.place


def test_signature_lines_alone_end_in_a_newline() -> None:
    """Lines that are cut off are refused, and counted from 1."""
    with pytest.raises(MalformedInput):
        parse_signatures(PETER[:-1].encode() + b"!")
    with pytest.raises(MalformedInput) as caught:
        parse_signatures(f"{PETER}oops\n".encode())
    assert "signatures line 2" == caught.value.place


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\u00a0", "\ufeff", "\x7f"])
def test_only_newlines_end_lines(character: str) -> None:
    """What other software takes for the end of a line is a character like others, in the text."""
    text = f"one{character}\u2014 two three{character}\n"
    note = format_note(sign_note(text, KEY.name, SIGNER))
    assert text == open_note(note, [KEY]).text


def test_the_last_empty_line_counts() -> None:
    """A text may hold empty lines, and lines that look like signatures."""
    text = f"one\n\n\n{PETER}\n\n{PETER}"
    note = format_note(sign_note(text, KEY.name, SIGNER))
    assert (text, 1) == (open_note(note, [KEY]).text, len(parse_note(note).signatures))


def test_an_empty_text_is_a_newline() -> None:
    """The shortest text is one newline, as in Go."""
    assert "\n" == open_note(format_note(sign_note("\n", KEY.name, SIGNER)), [KEY]).text


@pytest.mark.parametrize("index", range(len(SPEC_NOTE)))
def test_each_changed_byte_is_refused(index: int) -> None:
    """No byte of a note can be another one."""
    for value in {0, 10, 32, 43, 61, 0xFF, SPEC_NOTE[index] ^ 1, SPEC_NOTE[index] ^ 0x20} - {
        SPEC_NOTE[index]
    }:
        changed = SPEC_NOTE[:index] + bytes([value]) + SPEC_NOTE[index + 1 :]
        with pytest.raises((MalformedInput, SignatureRefused)):
            open_note(changed, [SPEC_KEY])


def test_each_cut_is_refused() -> None:
    """A note that is cut off anywhere, at either end, is refused."""
    for length in range(len(SPEC_NOTE)):
        for part in (SPEC_NOTE[:length], SPEC_NOTE[length + 1 :]):
            with pytest.raises((MalformedInput, SignatureRefused)):
                open_note(part, [SPEC_KEY])


def test_each_inserted_byte_is_refused() -> None:
    """A byte more, anywhere, is refused."""
    for index in range(len(SPEC_NOTE) + 1):
        for value in b"\n =A\x00":
            with pytest.raises((MalformedInput, SignatureRefused)):
                open_note(SPEC_NOTE[:index] + bytes([value]) + SPEC_NOTE[index:], [SPEC_KEY])


def test_too_large_a_note_is_refused() -> None:
    """Size is checked before anything else."""
    head = b"x" * (MAX_BYTES + 1 - len(SPEC_NOTE))
    with pytest.raises(MalformedInput, match=f"expected at most {MAX_BYTES}"):
        parse_note(head + SPEC_NOTE)
    assert MAX_BYTES == len(format_note(parse_note(head[1:] + SPEC_NOTE)))


def test_a_note_that_nobody_could_read_is_not_written() -> None:
    """A note larger than the limit is not formatted."""
    with pytest.raises(ValueError, match=f"expected at most {MAX_BYTES}"):
        format_note(sign_note("x" * MAX_BYTES + "\n", KEY.name, SIGNER))


def test_many_signatures_are_accepted() -> None:
    """A note may have as many signatures as the limit says, more than the 16 of C2SP."""
    lines = "".join(line_of(f"key{number}", b"abcd", b"x") for number in range(MAX_SIGNATURES - 1))
    assert ["PeterNeumann"] == signers(f"{GO_TEXT}\n{lines}{PETER}".encode(), PETER_KEY)


@pytest.mark.parametrize("count", [MAX_SIGNATURES, 10_000])
def test_too_many_signatures_are_refused(count: int) -> None:
    """More signatures than the limit are refused, whosever they are."""
    lines = "— a YWJjZGU=\n" * count
    with pytest.raises(MalformedInput, match=f"{count + 1} signature lines"):
        open_note(f"{GO_TEXT}\n{lines}{PETER}".encode(), [PETER_KEY])


# Whose signatures count


def test_a_note_of_strangers_is_refused() -> None:
    """If no known key has signed, the text is not handed out."""
    with pytest.raises(SignatureRefused, match=r"by no key that is known, but by PeterNeumann\+c74f20a3"):
        open_note(GO_NOTE, [ENOCH_KEY])


def test_without_keys_nothing_opens() -> None:
    """Who knows no key gets no text."""
    with pytest.raises(SignatureRefused):
        open_note(GO_NOTE, [])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    """One good signature does not make up for a wrong one."""
    wrong = line_of("EnochRoot", ENOCH_KEY.key_id, bytes(64))
    for lines in (PETER + wrong, wrong + PETER):
        with pytest.raises(SignatureRefused, match="EnochRoot"):
            open_note(f"{GO_TEXT}\n{lines}".encode(), [PETER_KEY, ENOCH_KEY])


def test_a_wrong_signature_after_a_right_one_of_the_same_key_spoils_the_note() -> None:
    """Each line of a known key is verified, not only the first."""
    wrong = line_of("PeterNeumann", PETER_KEY.key_id, bytes(64))
    with pytest.raises(SignatureRefused, match="PeterNeumann"):
        open_note(f"{GO_TEXT}\n{PETER}{wrong}".encode(), [PETER_KEY])


def test_a_line_twice_is_told_twice() -> None:
    """A line that stands there twice opens, and counting keys is the reader's business."""
    assert ["PeterNeumann"] * 2 == signers(f"{GO_TEXT}\n{PETER}{PETER}".encode(), PETER_KEY)


@pytest.mark.parametrize(
    "line",
    [
        line_of("PeterNeumann", b"\0\0\0\0", bytes(64)),
        line_of("PeterNeuman", PETER_KEY.key_id, bytes(64)),
        line_of("peterneumann", PETER_KEY.key_id, bytes(64)),
        line_of("witness.example/ml-dsa", b"abcd", bytes(8 + 2420)),
    ],
    ids=["another id", "another name", "another case", "ML-DSA-44"],
)
def test_a_name_or_an_id_alone_is_a_stranger(line: str) -> None:
    """Lines that share only the name or only the id with a known key are passed over."""
    assert ["PeterNeumann"] == signers(f"{GO_TEXT}\n{line}{PETER}".encode(), PETER_KEY)


def test_another_key_of_the_same_name_is_refused() -> None:
    """The key is what counts: a note under the same name by another key is a stranger's."""
    forged = format_note(sign_note(GO_TEXT, "PeterNeumann", SIGNER))
    with pytest.raises(SignatureRefused):
        open_note(forged, [PETER_KEY])


def test_a_key_id_can_be_copied_and_does_not_help() -> None:
    """A forger who writes the known key's id is told apart by the signature."""
    signature = SIGNER.sign(GO_TEXT.encode())
    forged = f"{GO_TEXT}\n{line_of('PeterNeumann', PETER_KEY.key_id, signature)}".encode()
    with pytest.raises(SignatureRefused, match="not the signature of this note"):
        open_note(forged, [PETER_KEY])


@pytest.mark.parametrize("length", [1, 63, 65, 72, 128])
def test_signatures_of_another_length_are_refused(length: int) -> None:
    """A known key's signature is 64 bytes."""
    forged = f"{GO_TEXT}\n{line_of('PeterNeumann', PETER_KEY.key_id, bytes(length))}".encode()
    with pytest.raises(SignatureRefused):
        open_note(forged, [PETER_KEY])


def test_a_signature_moved_to_another_text_is_refused() -> None:
    """A signature is for its text."""
    with pytest.raises(SignatureRefused):
        open_note(f"{GO_TEXT}more\n\n{PETER}".encode(), [PETER_KEY])


def test_two_keys_of_the_same_name_and_id_are_the_callers_slip() -> None:
    """Which of two keys is meant must be clear."""
    with pytest.raises(ValueError, match=r"two keys of name PeterNeumann and id c74f20a3"):
        open_note(GO_NOTE, [PETER_KEY, NoteKey.from_vkey(PETER_KEY.to_vkey())])


def test_a_note_opens_from_its_parts() -> None:
    """A note that was parsed before is verified the same."""
    note = parse_note(GO_NOTE)
    assert note == open_note(note, [PETER_KEY]).note
    with pytest.raises(SignatureRefused):
        open_note(replace(note, text="other\n"), [PETER_KEY])


# Making


def test_a_new_signature_takes_the_place_of_the_old_one() -> None:
    """A key has one line: signing again replaces it, and other lines stay."""
    note = parse_note(f"{GO_TEXT}\n{PETER}{ENOCH}".encode())
    new = NoteSignature("PeterNeumann", PETER_KEY.key_id, b"new")
    other = NoteSignature("PeterNeumann", b"abcd", b"other")
    assert (new, note.signatures[1], other) == note.with_signatures(new, other).signatures


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\r\n", "\x00\n", "\ud800\n"])
def test_other_texts_are_not_signed(text: str) -> None:
    """A text that a note cannot hold is refused before it is signed."""
    with pytest.raises(ValueError, match=r"note text|surrogates"):
        sign_note(text, KEY.name, SIGNER)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\u2003b", "a\x00b", "\ud800"])
def test_other_names_are_refused(name: str) -> None:
    """A key's name has no spaces, no plus and no controls."""
    with pytest.raises(ValueError, match="key name"):
        NoteKey(name, SIGNER.verifying_key)
    with pytest.raises(ValueError, match="not a note's signature"):
        NoteSignature(name, b"abcd", b"x")


@pytest.mark.parametrize("signatures", [0, MAX_SIGNATURES + 1])
def test_a_note_has_signatures(signatures: int) -> None:
    """A note without signatures, or with more than the limit, is not made."""
    with pytest.raises(ValueError, match=f"found {signatures}"):
        Note("text\n", (NoteSignature("a", b"abcd", b"x"),) * signatures)


def test_keys_of_two_types_are_two_keys() -> None:
    """A key that signs notes and one that cosigns differ, though their raw key is the same."""
    raw = SIGNER.verifying_key
    assert (False, False) == (
        NoteKey("a", raw) == WitnessKey("a", raw),
        NoteKey("a", raw).key_id == WitnessKey("a", raw).key_id,
    )


@pytest.mark.parametrize("vkey", ["", "a", "a+b", SPEC_KEY.to_vkey().replace("foo", "fop"), "a+00000000+"])
def test_other_verifier_keys_are_refused(vkey: str) -> None:
    """What is no verifier key is refused."""
    with pytest.raises(KeyRefused):
        NoteKey.from_vkey(vkey)


def test_a_verifier_key_is_for_its_type_of_signature() -> None:
    """A witness's key is not taken for a log's, nor the other way."""
    with pytest.raises(KeyRefused, match="expected signature type 1, found 4"):
        NoteKey.from_vkey(WitnessKey("a", SIGNER.verifying_key).to_vkey())
    with pytest.raises(KeyRefused, match="expected signature type 4, found 1"):
        WitnessKey.from_vkey(KEY.to_vkey())


def test_a_weak_verifier_key_is_refused() -> None:
    """Under a key of small order one signature may fit every note."""
    with pytest.raises(KeyRefused, match="prime order"):
        NoteKey.from_vkey(format_vkey("a", 1, b"\x01" + bytes(31)))


# Properties

names = st.text(
    st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp"], exclude_characters="+\x85"),
    min_size=1,
    max_size=8,
).filter(lambda name: not re.search(r"[\s\x00-\x1f]", name))
signatures = st.builds(
    NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)
)
lines = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"]) | st.sampled_from("\n—+ "), max_size=60
)
notes = st.builds(
    Note, lines.map(lambda text: text + "\n"), st.lists(signatures, min_size=1, max_size=5).map(tuple)
)


@given(notes)
def test_notes_come_back_as_they_were(note: Note) -> None:
    """Parsing is the inverse of formatting."""
    assert note == parse_note(format_note(note))


@given(notes, st.data())
def test_a_note_has_one_spelling(note: Note, data: st.DataObject) -> None:
    """Whatever is read is written as it was read."""
    changed = bytearray(format_note(note))
    index = data.draw(st.integers(0, len(changed) - 1))
    changed[index] = data.draw(st.integers(0, 255))
    try:
        found = parse_note(bytes(changed))
    except MalformedInput:
        return
    assert bytes(changed) == format_note(found)


@given(st.binary(max_size=200) | notes.map(format_note))
def test_any_bytes_end_in_a_note_or_an_evidence_error(data: bytes) -> None:
    """Arbitrary bytes raise nothing but EvidenceError."""
    try:
        open_note(data, [KEY])
    except EvidenceError:
        return
    pytest.fail("opened without a signature")


@given(lines.map(lambda text: text + "\n"), names)
def test_what_was_signed_opens(text: str, name: str) -> None:
    """A signed text opens with its key, and with no other."""
    note = format_note(sign_note(text, name, SIGNER))
    assert text == open_note(note, [NoteKey(name, SIGNER.verifying_key)]).text
    with pytest.raises(SignatureRefused):
        open_note(note, [NoteKey(name, VerifyingKey(PETER_KEY.key.raw))])


@given(st.lists(signatures, min_size=1, max_size=4))
def test_signature_lines_alone_come_back(found: list[NoteSignature]) -> None:
    """Signature lines, as witnesses answer with them, are read and written."""
    assert tuple(found) == parse_signatures("".join(line.to_line() for line in found).encode())


@given(st.text(max_size=12) | st.binary(max_size=12).map(lambda data: base64.b64encode(data).decode()))
def test_base64_has_one_spelling(text: str) -> None:
    """What is read as base64 is the one way to write it."""
    try:
        data = parse_base64(text, "")
    except MalformedInput:
        return
    assert text == base64.b64encode(data).decode()
