"""What a bundle's signature is over: an in-toto Statement in DSSE's pre-authentication encoding.

The statement holds digests only, so that it stays within the 4,096 bytes that a KMS signs, and any
DSSE tool can check the signature without knowing what a bundle is::

    PAE = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body          (DSSE v1.0.2, protocol.md)

LEN counts bytes, in ASCII decimal.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from evidence import canonical

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:tracebus:evidence-bundle:v1"


def pae(payload_type: str, body: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding of a body: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def statement(bundle_id: str, content_hash: str, workflow_head: str) -> bytes:
    """Return the canonical bytes of the in-toto Statement about a bundle."""
    subject = {
        "name": f"bundle/{bundle_id}",
        "digest": {"sha256": content_hash.removeprefix("sha256:")},
    }
    return canonical.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"workflowHead": workflow_head},
        }
    )


def to_dsse(body: bytes, key_id: str, signature: str) -> dict[str, Any]:
    """Return the DSSE envelope of a statement and its signature (standard base64)."""
    return {
        "payload": base64.b64encode(body).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id, "sig": signature}],
    }
