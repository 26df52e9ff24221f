"""Receipts: signed, verified, and refused when anything in them is not as it was signed."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import Ed25519Signer, canonical
from evidence.checkpoint import Checkpoint
from evidence.digest import sha256
from evidence.envelope import PAYLOAD_TYPE, STATEMENT_TYPE, pae, to_dsse
from evidence.errors import EvidenceError, KeyRefused, MalformedInput, SignatureRefused
from evidence.keys import VerifyingKey
from evidence.receipt import (
    MAX_STATEMENT,
    PREDICATE_TYPE,
    CheckpointsSeen,
    Receipt,
    ReceiptCheck,
    checkpoint_digest,
    sign_receipt,
    verify_receipt,
)

SIGNER = Ed25519Signer(b"\x07" * 32)
RECEIPT = Receipt(
    log="payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB",
    first=0,
    size=6,
    root=bytes.fromhex("6aa7ab16cb2a820152c77ebd23c055590593ef83e35e73a62e40f6baa2883073"),
    events=5,
    verdict="incomplete",
    checks=(ReceiptCheck("events", 5), ReceiptCheck("payloads", 4, "1 are absent")),
    checkpoints=(CheckpointsSeen("anchor", 2, 6),),
    trust={"policy": sha256(b"policy")},
    verified_at="2026-11-21T03:04:05.123456789Z",
    verifier="tracebus 0.1.0",
    reason="a quorum is missing",
)


def signed(body: bytes, signer: Ed25519Signer = SIGNER) -> bytes:
    """Return an envelope of a statement, whatever it says."""
    signature = base64.b64encode(signer.sign(pae(PAYLOAD_TYPE, body))).decode()
    return canonical.dumps(to_dsse(body, signer.key_id, signature))


def statement_of(data: bytes) -> dict[str, Any]:
    """Return what an envelope holds."""
    statement: dict[str, Any] = json.loads(base64.b64decode(json.loads(data)["payload"]))
    return statement


def test_what_was_signed_comes_back() -> None:
    """Sign and verify are inverses."""
    assert verify_receipt(sign_receipt(RECEIPT, SIGNER), SIGNER.verifying_key) == RECEIPT


@pytest.mark.parametrize(
    "key", [SIGNER.verifying_key.raw, SIGNER.verifying_key.to_pem(), SIGNER.verifying_key], ids=str
)
def test_the_key_in_its_forms(key: VerifyingKey | bytes | str) -> None:
    """The verifier's key is an object, 32 bytes or PEM."""
    assert RECEIPT == verify_receipt(sign_receipt(RECEIPT, SIGNER), key)


def test_it_is_an_in_toto_statement() -> None:
    """The subject is the tree, by the digest of the text of its checkpoint."""
    text = b"payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB\n6\naqerFswqgFSx37Uj8BrVUQWk74PjnXOmLkD2uqKIHME=\n"
    receipt = replace(RECEIPT, root=base64.b64decode("aqerFswqgFSx37Uj8BrVUQWk74PjnXOmLkD2uqKIHME="))
    statement = statement_of(sign_receipt(receipt, SIGNER))
    subject = {
        "name": "tree/payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB/6",
        "digest": {"sha256": sha256(text).removeprefix("sha256:")},
    }
    assert (STATEMENT_TYPE, PREDICATE_TYPE, [subject]) == (
        statement["_type"],
        statement["predicateType"],
        statement["subject"],
    )


def test_further_lines_of_a_checkpoint_are_part_of_its_digest() -> None:
    """Extensions are signed, so they belong to the text."""
    one = Checkpoint("a", 1, bytes(32))
    assert checkpoint_digest(one) != checkpoint_digest(replace(one, extensions=("x",)))


def test_another_key() -> None:
    """A receipt by another key than the verifier's is refused, whatever its keyid says."""
    data = json.loads(sign_receipt(RECEIPT, Ed25519Signer(b"\x08" * 32)))
    data["signatures"][0]["keyid"] = SIGNER.key_id
    with pytest.raises(SignatureRefused):
        verify_receipt(canonical.dumps(data), SIGNER.verifying_key)


def test_one_of_several_signatures_is_enough() -> None:
    """Others may have signed it, too."""
    data = json.loads(sign_receipt(RECEIPT, SIGNER))
    data["signatures"].insert(0, {"sig": base64.b64encode(bytes(64)).decode()})
    assert RECEIPT == verify_receipt(canonical.dumps(data), SIGNER.verifying_key)


def test_a_bundle_key_in_the_place_of_a_receipt_key_says_so() -> None:
    """A key that cannot be read is refused as a key."""
    with pytest.raises(KeyRefused):
        verify_receipt(sign_receipt(RECEIPT, SIGNER), b"short")


def test_every_byte_counts() -> None:
    """No byte can be changed: the file is refused, or still says the same."""
    data = sign_receipt(RECEIPT, SIGNER)
    for index in range(len(data)):
        changed = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        try:
            found = verify_receipt(changed, SIGNER.verifying_key)
        except EvidenceError:
            continue
        assert RECEIPT == found


@pytest.mark.parametrize("length", range(0, 900, 7))
def test_a_file_that_is_cut(length: int) -> None:
    """A beginning of a receipt is none."""
    with pytest.raises(MalformedInput):
        verify_receipt(sign_receipt(RECEIPT, SIGNER)[:length], SIGNER.verifying_key)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(max_size=5), st.lists).map(canonical.dumps))
def test_any_bytes(data: bytes) -> None:
    """Any bytes, also if they are signed, end in an error of ours."""
    for each in (data, signed(data)):
        with pytest.raises(EvidenceError):
            verify_receipt(each, SIGNER.verifying_key)


def _paths(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, ...]] = []
    if isinstance(value, dict):
        inner = [path for name in value for path in _paths(value[name], (*at, name))]
    elif isinstance(value, list):
        inner = [path for index in range(len(value)) for path in _paths(value[index], (*at, index))]
    return [at, *inner] if at else inner


PATHS = _paths(statement_of(sign_receipt(RECEIPT, SIGNER)))


def _change(path: tuple[str | int, ...], value: object) -> bytes:
    statement: Any = statement_of(sign_receipt(RECEIPT, SIGNER))
    *parents, last = path
    holder = statement
    for name in parents:
        holder = holder[name]
    if value is _change:
        del holder[last]
    else:
        holder[last] = value
    return canonical.dumps(statement)


@pytest.mark.parametrize("value", [None, "", -1, 1.5, True, [], {}, _change], ids=str)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: "/".join(map(str, path)))
def test_a_signed_statement_of_another_form(path: tuple[str | int, ...], value: object) -> None:
    """Whatever a maker signs, it is a receipt in its one form, or refused."""
    body = _change(path, value)
    try:
        found = verify_receipt(signed(body), SIGNER.verifying_key)
    except MalformedInput:
        return
    assert body == base64.b64decode(json.loads(sign_receipt(found, SIGNER))["payload"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("subject", 0, "digest", "sha256"), "00" * 32),
        (("subject", 0, "name"), "tree/another/6"),
        (("_type",), "https://in-toto.io/Statement/v2"),
        (("predicate", "verdict"), "fine"),
        (("predicate", "verifiedAt"), "yesterday"),
        (("predicate", "trust"), {"logKey": "x", "policy": sha256(b"")}),
        (("predicate", "trust"), {"policy": "sha256:short"}),
        (("predicate", "to"), 0),
        (("predicate", "log"), "two\nlines"),
        (("predicate", "more"), 1),
        (("predicate", "checks", 0, "more"), 1),
        (("more",), 1),
    ],
    ids=str,
)
def test_a_statement_that_contradicts_itself(path: tuple[str | int, ...], value: object) -> None:
    """Values that cannot be, members that are not known, and another subject are refused."""
    with pytest.raises(MalformedInput):
        verify_receipt(signed(_change(path, value)), SIGNER.verifying_key)


def test_what_is_signed_stays_small() -> None:
    """More than a KMS signs is not signed."""
    long = replace(RECEIPT, reason="x" * MAX_STATEMENT)
    with pytest.raises(ValueError, match="expected at most 4096 bytes"):
        sign_receipt(long, SIGNER)


def test_the_example_of_the_specification(root: Path) -> None:
    """The file verifies, and holds the statement that is shown beside it."""
    text = (root / "schemas/receipt-v1.md").read_text("utf-8")
    shown, file = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    receipt = verify_receipt(file.encode(), SIGNER.verifying_key)
    assert (json.loads(shown), "verified") == (statement_of(file.encode()), receipt.verdict)
