"""Cosignatures: what a witness says and when, and what passes between a log and a witness."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import Ed25519Signer, EvidenceError, MalformedInput, SignatureRefused
from evidence.checkpoint import Checkpoint, format_hash, sign_checkpoint
from evidence.cosignature import (
    MAX_PROOF,
    AddCheckpoint,
    WitnessKey,
    cosign,
    cosigned_at,
    format_add_checkpoint,
    open_cosignatures,
    parse_add_checkpoint,
    parse_conflict,
)
from evidence.note import NoteKey, NoteSignature, format_note, open_note, parse_note

LOG = Ed25519Signer(b"\x01" * 32)
WITNESS = Ed25519Signer(b"\x02" * 32)
ORIGIN = "example.com/tracebus"
LOG_KEY = NoteKey(ORIGIN, LOG.verifying_key)
WITNESS_KEY = WitnessKey("witness.example/w1", WITNESS.verifying_key)
EIGHT = Checkpoint(
    ORIGIN, 8, bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
)
NOTE = sign_checkpoint(EIGHT, LOG)
TIME = 1_700_000_000
LINE = (
    "— witness.example/w1 3xwKNQAAAABlU/EAmDhO8W/RGz5qpOu6Niw0Pld0k/VXHBH8vu3hddkRIvsllMcIbm7ik45qkoEM+RKmIj"
    "HKTv6hZ5hry/GQyBKEDQ==\n"
)
COSIGNATURE = cosign(EIGHT, WITNESS_KEY.name, WITNESS, TIME)


def test_the_known_cosignature_is_made() -> None:
    """A cosignature that another implementation verified is made again, byte for byte."""
    assert LINE == COSIGNATURE.to_line()


def test_the_known_verifier_key_is_read() -> None:
    """The witness's verifier key of the known answer is that of its seed."""
    vkey = "witness.example/w1+df1c0a35+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU"
    assert (WITNESS_KEY, vkey) == (WitnessKey.from_vkey(vkey), WITNESS_KEY.to_vkey())


def test_the_time_is_told() -> None:
    """A cosignature bears its time, as that of the specification's example does."""
    example = NoteSignature.from_line(
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin"
        "1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==",
        "",
    )
    assert (TIME, 1679315147) == (cosigned_at(COSIGNATURE), cosigned_at(example))


def test_a_cosigned_checkpoint_opens_with_both_keys() -> None:
    """Log and witness are told apart by their keys."""
    opened = open_note(format_note(NOTE.with_signatures(COSIGNATURE)), [WITNESS_KEY, LOG_KEY])
    assert [LOG_KEY, WITNESS_KEY] == [key for key, _ in opened.signed_by]


def test_two_times_of_a_witness_both_count() -> None:
    """A witness that said the same again later signed twice."""
    later = cosign(EIGHT, WITNESS_KEY.name, WITNESS, TIME + 60)
    note = format_note(NOTE) + (COSIGNATURE.to_line() + later.to_line()).encode()
    opened = open_note(note, [WITNESS_KEY])
    assert [TIME, TIME + 60] == [cosigned_at(signature) for _, signature in opened.signed_by]


def test_each_changed_byte_of_a_cosignature_is_refused() -> None:
    """Neither time nor signature can be changed."""
    for index in range(len(COSIGNATURE.signature)):
        data = bytearray(COSIGNATURE.signature)
        data[index] ^= 1
        changed = NoteSignature(COSIGNATURE.name, COSIGNATURE.key_id, bytes(data))
        with pytest.raises(SignatureRefused):
            open_note(NOTE.with_signatures(changed), [LOG_KEY, WITNESS_KEY])


@pytest.mark.parametrize("length", [8, 64, 71, 73, 2428])
def test_cosignatures_of_another_length_are_refused(length: int) -> None:
    """A cosignature of a known key has 72 bytes; one of ML-DSA has another key id."""
    changed = NoteSignature(COSIGNATURE.name, COSIGNATURE.key_id, (COSIGNATURE.signature * 40)[:length])
    with pytest.raises(SignatureRefused):
        open_note(NOTE.with_signatures(changed), [LOG_KEY, WITNESS_KEY])


def test_a_cosignature_of_ml_dsa_is_passed_over() -> None:
    """Signature type 6 is not known here, so its lines are a stranger's."""
    line = NoteSignature(WITNESS_KEY.name, b"\x06\x06\x06\x06", bytes(8 + 2420))
    opened = open_note(NOTE.with_signatures(line, COSIGNATURE), [WITNESS_KEY])
    assert [COSIGNATURE] == [signature for _, signature in opened.signed_by]


def test_a_cosignature_does_not_fit_another_checkpoint() -> None:
    """A witness's word is about one checkpoint, its extension lines included."""
    for other in (Checkpoint(ORIGIN, 9, EIGHT.root), Checkpoint(ORIGIN, 8, EIGHT.root, ("x",))):
        with pytest.raises(SignatureRefused):
            open_note(sign_checkpoint(other, LOG).with_signatures(COSIGNATURE), [LOG_KEY, WITNESS_KEY])


def test_a_plain_signature_is_no_cosignature() -> None:
    """A witness's signature over the text itself, without time, does not count, nor the other way."""
    text = NOTE.text.encode()
    plain = WITNESS.sign(text)
    assert (False, False) == (
        WITNESS_KEY.accepts(bytes(8) + plain, text),
        NoteKey(WITNESS_KEY.name, WITNESS.verifying_key).accepts(COSIGNATURE.signature[8:], text),
    )


@pytest.mark.parametrize("time", [-1, 2**63])
def test_times_out_of_range_are_not_signed(time: int) -> None:
    """A time is from 0 to 2^63-1."""
    with pytest.raises(ValueError, match="time"):
        cosign(EIGHT, WITNESS_KEY.name, WITNESS, time)


def test_times_out_of_range_are_refused() -> None:
    """A time beyond 2^63-1 is refused, though the signature over it is right."""
    text = NOTE.text.encode()
    plain = WITNESS.sign(b"cosignature/v1\ntime %d\n%b" % (2**63, text))
    assert not WITNESS_KEY.accepts((2**63).to_bytes(8, "big") + plain, text)


@pytest.mark.parametrize("time", [0, 1, 2**63 - 1])
def test_times_in_range_are_accepted(time: int) -> None:
    """The first and the last time are as good as others."""
    signature = cosign(EIGHT, WITNESS_KEY.name, WITNESS, time)
    assert (True, time) == (
        WITNESS_KEY.accepts(signature.signature, NOTE.text.encode()),
        cosigned_at(signature),
    )


def test_what_is_no_cosignature_has_no_time() -> None:
    """Asking the log's signature for a time is the caller's slip."""
    with pytest.raises(ValueError, match="expected 72 bytes"):
        cosigned_at(NOTE.signatures[0])


# What a witness answers


def test_an_answer_is_verified() -> None:
    """The witness's line is taken from its answer, and lines of strangers are not."""
    stranger = NoteSignature("witness.example/w2", b"abcd", bytes(72))
    answer = (stranger.to_line() + LINE).encode()
    assert (COSIGNATURE,) == open_cosignatures(answer, NOTE, WITNESS_KEY)


@pytest.mark.parametrize(
    "answer", [b"", b"\n", LINE.encode()[:-1], LINE.encode() + b"\n", b"\xff\n", b"ok\n"]
)
def test_a_malformed_answer_is_refused(answer: bytes) -> None:
    """An answer is signature lines."""
    with pytest.raises(MalformedInput):
        open_cosignatures(answer, NOTE, WITNESS_KEY)


def test_an_answer_about_another_checkpoint_is_refused() -> None:
    """A cosignature of another checkpoint is no answer."""
    other = cosign(Checkpoint(ORIGIN, 9, EIGHT.root), WITNESS_KEY.name, WITNESS, TIME)
    with pytest.raises(SignatureRefused):
        open_cosignatures(other.to_line().encode(), NOTE, WITNESS_KEY)


def test_an_answer_of_another_witness_is_refused() -> None:
    """A stranger's cosignature is no answer."""
    other = cosign(EIGHT, "witness.example/w2", LOG, TIME)
    with pytest.raises(SignatureRefused):
        open_cosignatures(other.to_line().encode(), NOTE, WITNESS_KEY)


@pytest.mark.parametrize(
    ("answer", "size"), [(b"0\n", 0), (b"23\n", 23), (b"9223372036854775807\n", 2**63 - 1)]
)
def test_a_conflict_tells_the_size(answer: bytes, size: int) -> None:
    """The answer 409 is a size and a newline."""
    assert size == parse_conflict(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"23",
        b"23\n\n",
        b" 23\n",
        b"023\n",
        b"23\r\n",
        b"-1\n",
        b"\xd9\xa8\n",
        b"9" * 10_000 + b"\n",
    ],
)
def test_a_malformed_conflict_is_refused(answer: bytes) -> None:
    """Nothing else is a size."""
    with pytest.raises(MalformedInput):
        parse_conflict(answer)


# What a log asks

EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()  # noqa: E501 - as in the specification


def test_the_example_of_the_specification_is_read() -> None:
    """The request of tlog-witness's example is read, and written again."""
    request = parse_add_checkpoint(EXAMPLE)
    assert (20852014, 4, 2, EXAMPLE) == (
        request.old_size,
        len(request.proof),
        len(request.checkpoint.signatures),
        format_add_checkpoint(request),
    )


HASH = format_hash(bytes(32))
BODY = format_note(NOTE).decode()
REQUESTS = {
    "empty": "",
    "no old size": f"\n{BODY}",
    "another word": f"new 0\n\n{BODY}",
    "no size": f"old \n\n{BODY}",
    "two spaces": f"old  0\n\n{BODY}",
    "leading zero": f"old 01\n\n{BODY}",
    "minus": f"old -1\n\n{BODY}",
    "2^63": f"old {2**63}\n\n{BODY}",
    "space after": f"old 0 \n\n{BODY}",
    "full-width digit": f"old \uff10\n\n{BODY}",
    "carriage return": f"old 0\r\n\r\n{BODY}",
    "no empty line": f"old 0\n{BODY}",
    "short hash": f"old 1\n{format_hash(bytes(31))}\n\n{BODY}",
    "long hash": f"old 1\n{format_hash(bytes(33))}\n\n{BODY}",
    "unused bits": f"old 1\n{HASH.replace('A=', 'B=')}\n\n{BODY}",
    "64 hashes": f"old 1\n{(HASH + chr(10)) * 64}\n{BODY}",
    "a million hashes": f"old 1\n{(HASH + chr(10)) * 1_000_000}\n{BODY}",
    "no note": "old 0\n\n",
    "no signature": "old 0\n\na\n",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_malformed_requests_are_refused(name: str) -> None:
    """What is no request in its one spelling is refused."""
    with pytest.raises(MalformedInput):
        parse_add_checkpoint(REQUESTS[name].encode())


def test_the_line_of_a_fault_is_told() -> None:
    """A bad hash is named with its line."""
    with pytest.raises(MalformedInput) as caught:
        parse_add_checkpoint(f"old 1\n{HASH}\noops\n\n{BODY}".encode())
    assert "request line 3" == caught.value.place


def test_a_request_has_at_most_63_hashes() -> None:
    """The longest proof is read; a longer one is not made."""
    longest = AddCheckpoint(2**63 - 1, (bytes(32),) * MAX_PROOF, NOTE)
    assert longest == parse_add_checkpoint(format_add_checkpoint(longest))
    with pytest.raises(ValueError, match="64 hashes"):
        AddCheckpoint(1, (bytes(32),) * (MAX_PROOF + 1), NOTE)


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_request_is_about_a_size(size: int) -> None:
    """A size that no tree has is not asked about."""
    with pytest.raises(ValueError, match="old size"):
        AddCheckpoint(size, (), NOTE)


requests = st.builds(
    AddCheckpoint,
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF).map(tuple),
    st.sampled_from([NOTE, NOTE.with_signatures(COSIGNATURE)]),
)


@given(requests)
def test_requests_come_back_as_they_were(request: AddCheckpoint) -> None:
    """Parsing is the inverse of formatting."""
    assert request == parse_add_checkpoint(format_add_checkpoint(request))


@given(requests, st.data())
def test_a_request_has_one_spelling(request: AddCheckpoint, data: st.DataObject) -> None:
    """Whatever is read is written as it was read."""
    changed = bytearray(format_add_checkpoint(request))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_add_checkpoint(bytes(changed))
    except MalformedInput:
        return
    assert bytes(changed) == format_add_checkpoint(found)


@given(st.binary(max_size=120))
def test_any_bytes_end_in_an_evidence_error_or_a_result(data: bytes) -> None:
    """Arbitrary bytes raise nothing but EvidenceError."""
    for read in (parse_add_checkpoint, parse_conflict, parse_note):
        try:
            read(data)
        except EvidenceError:
            continue


@given(st.integers(0, 2**63 - 1), st.binary(max_size=40))
def test_what_was_cosigned_is_accepted(time: int, extension: bytes) -> None:
    """A cosignature fits the checkpoint and the time that it was made for."""
    lines = (base64.b64encode(extension).decode(),) if extension else ()
    checkpoint = Checkpoint(ORIGIN, 8, EIGHT.root, lines)
    signature = cosign(checkpoint, WITNESS_KEY.name, WITNESS, time)
    opened = open_note(sign_checkpoint(checkpoint, LOG).with_signatures(signature), [WITNESS_KEY])
    assert [time] == [cosigned_at(found) for _, found in opened.signed_by]
