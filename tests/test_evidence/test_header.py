"""Digests, the header's table of fields, and the event hash."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from evidence import MalformedInput
from evidence.digest import algorithm_of, digest, hasher, is_digest
from evidence.header import (
    FIELDS,
    REQUIRED_FIELDS,
    check_header,
    event_hash,
    format_timestamp,
    header_bytes,
    is_id,
    is_name,
    is_origin,
    is_timestamp,
    is_ulid,
)
from tests.strategies import json_values

ULID = "01M7XXFH1VB8R6HT68BRYNQVAT"
DIGEST = "sha256:" + "0" * 64

HEADER: dict[str, Any] = {
    "version": 1,
    "log": f"payments/{ULID}",
    "id": ULID,
    "runId": "run-1",
    "seq": 1,
    "workflowId": "transfer-42",
    "type": "tool_executed",
    "timestamp": "2026-11-21T02:03:04.123456789Z",
    "contentHash": DIGEST,
    "turnId": "t1",
    "tenantId": "acme",
    "agentId": "treasury",
    "occurredAt": "2026-11-21T02:03:04.000000000Z",
    "risk": "high",
    "causes": [ULID],
    "key": "k",
    "parentHash": DIGEST,
}


def accepts(header: dict[str, Any]) -> bool:
    """Tell whether the table of fields accepts a header."""
    try:
        check_header(header, "event")
    except MalformedInput:
        return False
    return True


# Digests


def test_sha256_digest_is_that_of_hashlib() -> None:
    """A digest is the algorithm's name, a colon and lower-case hexadecimal digits."""
    assert f"sha256:{hashlib.sha256(b'abc').hexdigest()}" == digest(b"abc", "sha256")


def test_blake3_digest_is_that_of_its_specification() -> None:
    """The BLAKE3 digest of no bytes is the one that its authors publish."""
    expected = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert expected == digest(b"", "blake3")


@pytest.mark.parametrize("algorithm", ["", "md5", "SHA256", "sha-256", "sha512"])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    """There are two algorithms, and each has one name."""
    with pytest.raises(ValueError, match="digest algorithm: expected one of"):
        hasher(algorithm)


@pytest.mark.parametrize("text", [DIGEST, "blake3:" + "a" * 64, "sha256:" + "0123456789abcdef" * 4])
def test_digests_are_told(text: str) -> None:
    """Both algorithms' digests are digests."""
    assert is_digest(text)


@pytest.mark.parametrize(
    "value",
    [
        "",
        DIGEST + "\n",
        DIGEST[:-1],
        DIGEST + "0",
        "sha256:" + "A" * 64,
        " " + DIGEST,
        "sha512:" + "0" * 64,
        "SHA256:" + "0" * 64,
        "sha256:" + "\u0661" * 64,
        "0" * 64,
        None,
        1,
        b"",
        DIGEST.encode(),
        [DIGEST],
    ],
)
def test_what_is_no_digest_is_told(value: object) -> None:
    """There is one spelling of a digest."""
    assert not is_digest(value)


def test_algorithm_of_a_digest() -> None:
    """A digest names its algorithm."""
    assert "blake3" == algorithm_of("blake3:" + "0" * 64)


# The forms of fields


@pytest.mark.parametrize("value", ["a", " ", "~", "!", "x" * 128, "tracebus:log", "acme.x y"])
def test_ids(value: str) -> None:
    """An id is 1 to 128 printable ASCII characters, space included."""
    assert is_id(value)


@pytest.mark.parametrize(
    "value", ["", "x" * 129, "\x1f", "\x7f", "é", "a\n", "a\x00", "\u0661", None, 1, b"a", ["a"]]
)
def test_not_ids(value: object) -> None:
    """Empty, too long, control characters, other scripts and other types are no ids."""
    assert not is_id(value)


@pytest.mark.parametrize("value", ["a", "x" * 256, "é" * 128, "😂" * 64, "a b", "\u200d", "日本"])
def test_names(value: str) -> None:
    """A name is 1 to 256 bytes of UTF-8 in NFC."""
    assert is_name(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x" * 257,
        "é" * 128 + "x",
        "😂" * 65,
        "e\u0301",
        "\x00",
        "a\n",
        "\x7f",
        "é\x85",
        "\u212b",
        "\ud800",
        None,
        1,
        b"a",
        ["a"],
        True,
    ],
)
def test_not_names(value: object) -> None:
    """Too long in bytes, not in NFC, control characters, lone surrogates and other types are no names."""
    assert not is_name(value)


@given(st.text(st.characters(categories=["Cc"]), min_size=1, max_size=2), st.sampled_from(["", "a", "é"]))
def test_names_hold_no_control_characters(controls: str, text: str) -> None:
    """No character of category Cc stands in a name, ASCII or not."""
    assert not is_name(text + controls)


@pytest.mark.parametrize("value", ["0" * 26, "7" + "Z" * 25, ULID])
def test_ulids(value: str) -> None:
    """A ULID is 26 upper-case Crockford digits, from zero to 2^128-1."""
    assert is_ulid(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "8" + "0" * 25,
        "0" * 25,
        "0" * 27,
        ULID.lower(),
        ULID[:-1] + "I",
        ULID[:-1] + "L",
        ULID[:-1] + "O",
        ULID[:-1] + "U",
        ULID + "\n",
        ULID[:-1] + "-",
        None,
        1,
        ULID.encode(),
    ],
)
def test_not_ulids(value: object) -> None:
    """Other lengths, lower case, I, L, O and U, and what is beyond 128 bits are no ULIDs."""
    assert not is_ulid(value)


@pytest.mark.parametrize(
    "value", [f"a/{ULID}", f"a/b/{ULID}", f"payments-prod.eu:1/{ULID}", "x" * 200 + f"/{ULID}"]
)
def test_origins(value: str) -> None:
    """An origin is a name, a slash and a ULID."""
    assert is_origin(value)


@pytest.mark.parametrize(
    "value",
    [ULID, f"/{ULID}", f"a{ULID}", f"a/{ULID}\n", f"a\n/{ULID}", f"a/{ULID.lower()}", "a/", "", None, 1],
)
def test_not_origins(value: object) -> None:
    """Without name, slash or ULID it is no origin."""
    assert not is_origin(value)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-21T02:03:04.123456789Z",
        "2024-02-29T23:59:59.999999999Z",
        "0001-01-01T00:00:00.000000000Z",
        "9999-12-31T23:59:59.999999999Z",
    ],
)
def test_timestamps(value: str) -> None:
    """A time is in UTC, has nine fractional digits, and exists."""
    assert is_timestamp(value)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-21T02:03:04Z",
        "2026-11-21T02:03:04.123Z",
        "2026-11-21T02:03:04.123456789+00:00",
        "2026-11-21 02:03:04.123456789Z",
        "2026-11-21t02:03:04.123456789z",
        "2026-11-21T02:03:04.1234567890Z",
        "2026-02-29T00:00:00.000000000Z",
        "2026-13-01T00:00:00.000000000Z",
        "2026-11-31T00:00:00.000000000Z",
        "2026-11-21T24:00:00.000000000Z",
        "2026-11-21T23:60:00.000000000Z",
        "2026-06-30T23:59:60.000000000Z",
        "0000-01-01T00:00:00.000000000Z",
        "2026-11-21T02:03:04,123456789Z",
        "2026-11-21T02:03:04.123456789Z\n",
        "2026-11-21T02:03:04.12345678\u0669Z",
        "20261121T020304.123456789Z",
        "",
        None,
        1,
    ],
)
def test_not_timestamps(value: object) -> None:
    """Other spellings, leap seconds and times that do not exist are no times."""
    assert not is_timestamp(value)


@given(st.integers(0, 253402300799_999999999))
def test_formatted_times_are_accepted(nanoseconds: int) -> None:
    """Every time from 1970 to 9999 is formatted as a header has it, to the nanosecond."""
    text = format_timestamp(nanoseconds)
    assert is_timestamp(text)
    assert f"{nanoseconds % 1_000_000_000:09d}Z" == text[-10:]


# The table


def test_a_full_header_is_accepted() -> None:
    """Every field of the table may stand in a header."""
    assert FIELDS == HEADER.keys()
    assert accepts(HEADER)


def test_a_header_of_required_fields_is_accepted() -> None:
    """Only the required fields are required."""
    assert accepts({name: HEADER[name] for name in REQUIRED_FIELDS})


@pytest.mark.parametrize("name", sorted(REQUIRED_FIELDS))
def test_each_required_field_is_required(name: str) -> None:
    """A header without a required field is refused, and the refusal names it."""
    with pytest.raises(MalformedInput, match=f"{name} is missing"):
        check_header({n: v for n, v in HEADER.items() if n != name}, "event")


@pytest.mark.parametrize("name", ["payload", "seal", "eventHash", "Version", "", "_salt", "log ", "runID"])
def test_unknown_fields_are_refused(name: str) -> None:
    """The table is closed."""
    with pytest.raises(MalformedInput, match="unknown header field"):
        check_header({**HEADER, name: "x"}, "event")


@pytest.mark.parametrize("name", sorted(FIELDS))
@pytest.mark.parametrize("value", [None, True, False, 1.0, "", [], {}, -1, 2**53, "\x00", ["x"], [None]])
def test_no_field_takes_these(name: str, value: object) -> None:
    """Null, booleans, floats, empty and out-of-range values fit no field."""
    assert not accepts({**HEADER, name: value})


@given(st.sampled_from(sorted(FIELDS)), json_values())
def test_any_value_is_accepted_or_refused(name: str, value: object) -> None:
    """Any JSON value in any field ends in acceptance or MalformedInput, and nothing else."""
    assert accepts({**HEADER, name: value}) in (True, False)


@pytest.mark.parametrize("seq", [0, 1, 2**53 - 1])
def test_seq_is_a_safe_integer(seq: int) -> None:
    """A seq is an integer from 0 to 2^53-1."""
    assert accepts({**HEADER, "seq": seq})


@pytest.mark.parametrize("version", [0, 2, "1", True])
def test_other_versions_are_refused(version: object) -> None:
    """This is version 1."""
    assert not accepts({**HEADER, "version": version})


@pytest.mark.parametrize(
    "causes",
    [[], [ULID, ULID], ["x"], [ULID.lower()], ULID, [[ULID]], {ULID: 1}, [f"{i:026d}" for i in range(65)]],
)
def test_causes_are_different_event_ids(causes: object) -> None:
    """None, the same twice, more than 64, or what is no event id is refused."""
    assert not accepts({**HEADER, "causes": causes})


def test_sixty_four_causes_are_accepted() -> None:
    """Up to 64 causes may be named."""
    assert accepts({**HEADER, "causes": [f"{i:026d}" for i in range(64)]})


@pytest.mark.parametrize("risk", ["low", "medium", "high", "critical"])
def test_risks(risk: str) -> None:
    """There are four risks."""
    assert accepts({**HEADER, "risk": risk})


@pytest.mark.parametrize("risk", ["none", "High", "severe", ["low"], {"low": 1}])
def test_other_risks_are_refused(risk: object) -> None:
    """There is no fifth."""
    assert not accepts({**HEADER, "risk": risk})


# The hash


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(is_name)
ids = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
headers = st.fixed_dictionaries(
    {name: st.just(HEADER[name]) for name in ("version", "log", "id", "timestamp", "contentHash")}
    | {"runId": ids, "workflowId": ids, "type": ids, "seq": st.integers(0, 2**53 - 1)},
    optional={"tenantId": names, "agentId": names, "turnId": ids, "key": ids, "risk": st.just("low")},
)


@given(headers)
def test_header_bytes_are_canonical(header: dict[str, Any]) -> None:
    """The bytes of any checked header are those of RFC 8785."""
    assert accepts(header)
    assert rfc8785.dumps(header) == header_bytes(header)


@given(headers)
def test_event_hash_is_domain_separated(header: dict[str, Any]) -> None:
    """The event hash is SHA-256 over the domain and the canonical header."""
    expected = hashlib.sha256(b"tracebus/event/v1\n" + rfc8785.dumps(header)).hexdigest()
    assert f"sha256:{expected}" == event_hash(header)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_event_hash_covers_every_field(name: str) -> None:
    """Without any one of its fields a header has another hash, and so it has in another spelling."""
    if name == "contentHash":
        changed = {**HEADER, name: "sha256:" + "1" * 64}
    else:
        changed = {n: v for n, v in HEADER.items() if n != name}
    assert event_hash(HEADER) != event_hash(changed)


def test_event_hash_does_not_depend_on_order() -> None:
    """A header's fields may be in any order."""
    assert event_hash(HEADER) == event_hash(dict(reversed(HEADER.items())))
