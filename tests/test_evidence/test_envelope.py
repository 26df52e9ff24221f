"""The signed statement, in DSSE's encoding, as foreign tools see it."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from typing import Any

import jcs_admit
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from evidence import EvidenceBundle, VerifyingKey
from evidence.envelope import PAYLOAD_TYPE, pae, statement
from schemas.build_vectors import HMAC, KEY, SIGNER, HandLog, simple_log, ulid

BUNDLE = EvidenceBundle.from_json(simple_log().bundle())
FOREIGN_KEY = SSlibKey(KEY.key_id, "ed25519", "ed25519", {"public": KEY.raw.hex()})


def test_dsse_vector() -> None:
    """The pre-authentication encoding is that of DSSE's own example."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert expected == pae("http://example.com/HelloWorld", b"hello world")


def test_lengths_count_bytes() -> None:
    """Lengths are those of the bytes, in a body of any bytes."""
    assert b"DSSEv1 3 \xe2\x82\xac 2 \xc3\xa9" == pae("€", "é".encode())


@given(st.text(max_size=20), st.binary(max_size=40))
def test_pae_is_that_of_independent_tools(kind: str, body: bytes) -> None:
    """Two other implementations encode the same."""
    expected = Envelope(body, kind, {}).pae()
    assert (expected, expected) == (pae(kind, body), bytes(jcs_admit.dsse.pae(kind, body)))


def test_the_statement_is_an_in_toto_statement() -> None:
    """The statement holds what the specification lists, and no more, in canonical form."""
    head = BUNDLE.workflow_head()
    expected = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": f"bundle/{BUNDLE.bundle_id}",
                "digest": {"sha256": BUNDLE.tree["contentHash"].removeprefix("sha256:")},
            }
        ],
        "predicateType": "urn:tracebus:evidence-bundle:v1",
        "predicate": {"workflowHead": head},
    }
    assert rfc8785.dumps(expected) == statement(BUNDLE.bundle_id, BUNDLE.tree["contentHash"], head)


def test_the_content_hash_is_recomputed_without_our_code() -> None:
    """The contentHash is SHA-256 over what rfc8785 makes of the tree that json reads."""
    tree = json.loads(BUNDLE.to_json())
    for name in ("contentHash", "signature", "disclosures", "proofs"):
        del tree[name]
    for event in tree["events"]:
        del event["payload"]
    expected = hashlib.sha256(rfc8785.dumps(tree)).hexdigest()
    assert f"sha256:{expected}" == BUNDLE.tree["contentHash"]


def test_a_foreign_tool_verifies_the_signature() -> None:
    """The tool securesystemslib verifies the bundle's DSSE envelope."""
    envelope = Envelope.from_dict(copy.deepcopy(BUNDLE.to_dsse()))
    assert {KEY.key_id} == set(envelope.verify([FOREIGN_KEY], 1))


def changed(dsse: dict[str, Any], part: str) -> dict[str, Any]:
    """Return an envelope with one part changed."""
    if part == "payloadType":
        return dsse | {"payloadType": "application/json"}
    if part == "payload":
        body = base64.b64decode(dsse["payload"])
        return dsse | {"payload": base64.b64encode(body.replace(b"bundle/0", b"bundle/1")).decode()}
    signature = bytearray(base64.b64decode(dsse["signatures"][0]["sig"]))
    signature[10] ^= 1
    return dsse | {
        "signatures": [dsse["signatures"][0] | {"sig": base64.b64encode(bytes(signature)).decode()}]
    }


@pytest.mark.parametrize("part", ["payloadType", "payload", "sig"])
def test_a_foreign_tool_refuses_a_changed_envelope(part: str) -> None:
    """The tool securesystemslib refuses an envelope whose type, statement or signature was changed."""
    envelope = Envelope.from_dict(changed(BUNDLE.to_dsse(), part))
    with pytest.raises(VerificationError):
        envelope.verify([FOREIGN_KEY], 1)


def test_a_foreign_tool_refuses_the_envelope_of_a_changed_bundle() -> None:
    """The envelope follows the bundle: when the bundle is changed, the statement is another."""
    tree = json.loads(BUNDLE.to_json())
    tree["scope"]["runs"][0]["closed"] = False
    envelope = Envelope.from_dict(EvidenceBundle.from_json(tree).to_dsse())
    with pytest.raises(VerificationError):
        envelope.verify([FOREIGN_KEY], 1)


def test_what_is_signed_fits_a_kms() -> None:
    """However large the bundle, the signed bytes are well below the 4,096 that a KMS signs."""
    log = HandLog()
    for i in range(300):
        run_id = f"{i:03d}" + "r" * 125
        log.add(run_id, "run_started", workflow_id="w" * 128, tenant_id="é" * 128)
        log.add(run_id, "run_completed", workflow_id="w" * 128, tenant_id="é" * 128)
    seen: list[bytes] = []

    class Spy:
        alg, key_id = SIGNER.alg, SIGNER.key_id

        def sign(self, message: bytes) -> bytes:
            seen.append(message)
            return SIGNER.sign(message)

    log.bundle(Spy(), workflow_id="w" * 128, tenant="é" * 128)
    assert max(map(len, seen)) < 512


def test_the_signature_is_over_the_pae() -> None:
    """The signature verifies over exactly the encoded statement, with the key alone."""
    body = statement(BUNDLE.bundle_id, BUNDLE.tree["contentHash"], BUNDLE.workflow_head())
    signature = base64.b64decode(BUNDLE.tree["signature"]["value"])
    found = [VerifyingKey(KEY.raw).accepts(signature, message) for message in (pae(PAYLOAD_TYPE, body), body)]
    assert [True, False] == found


def test_an_hmac_is_in_the_envelope_too() -> None:
    """An HMAC bundle has an envelope of the same form, which names the secret's id."""
    dsse = EvidenceBundle.from_json(simple_log().bundle(HMAC)).to_dsse()
    assert (HMAC.key_id, 32) == (
        dsse["signatures"][0]["keyid"],
        len(base64.b64decode(dsse["signatures"][0]["sig"])),
    )


@pytest.mark.parametrize("bundle_id", [ulid(1), ulid(2)])
def test_the_statement_names_its_bundle(bundle_id: str) -> None:
    """Two bundles with the same content have two statements."""
    body = json.loads(statement(bundle_id, "sha256:" + "0" * 64, "sha256:" + "1" * 64))
    assert f"bundle/{bundle_id}" == body["subject"][0]["name"]
