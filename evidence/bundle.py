"""The evidence bundle: one workflow, signed, in one JSON file.

::

    {"version":1, "bundleId":"01KAJ…", "workflowId":"transfer-42", "tenantId":"acme",
     "createdAt":"2026-11-21T02:03:04.123456789Z", "generator":{"name":"tracebus","version":"0.1.0"},
     "scope":{"log":…, "runs":[…], "withheld":…, "erased":…, "redactable":[…]},
     "events":[{…, "payload":{…}}, …],
     "policyVerdicts":[…], "approvals":[…], "proposals":[…], "chainTransactions":[…],
     "contentHash":"sha256:…", "signature":{"alg":"ed25519","value":"…","keyId":"…"},
     "disclosures":{"01KAJ…":["…"]}, "proofs":{}}

``contentHash`` covers everything but itself, ``signature``, ``disclosures``, ``proofs`` and the
events' payloads; those are bound by digests that it does cover. So a holder may pass a bundle on
without some disclosures and redactable payloads, and it still verifies.

The format is `schemas/bundle-v1.md`. This file reads it and checks its form; whether it holds is for
`evidence.verify`.
"""

from __future__ import annotations

import base64
import binascii
import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from evidence import canonical
from evidence.completeness import PROOF, Completeness
from evidence.digest import ALGORITHMS, is_digest, sha256
from evidence.disclosure import is_sd_digest
from evidence.envelope import PAYLOAD_TYPE, pae, statement, to_dsse
from evidence.errors import MalformedInput, NotCanonicalizable
from evidence.header import check_header, is_id, is_name, is_origin, is_timestamp, is_ulid
from evidence.heads import workflow_head
from evidence.projection import VIEWS

BUNDLE_VERSION: Final = 1
MAX_PROOFS: Final = 64

_UNSIGNED: Final = frozenset({"contentHash", "signature", "disclosures", "proofs"})


class EvidenceBundle:
    """A bundle as it is written: its form has been checked, its truth has not.

    What may be relied on is what `verify_evidence_bundle` returns.
    """

    __slots__ = ("_headers", "_json", "_tree")

    def __init__(self, json: bytes, tree: dict[str, Any]) -> None:
        self._json = json
        self._tree = tree
        self._headers = [without_payload(event) for event in tree["events"]]

    @classmethod
    def from_json(cls, data: EvidenceBundle | bytes | str | Mapping[str, Any]) -> EvidenceBundle:
        """Read a bundle from JSON bytes or text, or from a mapping that `json` made of it.

        Raises:
            MalformedInput: Not strict JSON, or not of the form of a bundle; it says where.
        """
        if isinstance(data, EvidenceBundle):
            data = data._json
        elif isinstance(data, str):
            data = _encode(data)
        elif isinstance(data, Mapping):
            data = _dump(data)
        elif not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"bundle: expected bytes, text or a mapping, found {type(data).__name__}")
        json = bytes(data)
        tree = canonical.loads(json, ecmascript_numbers=True)
        _check_shape(tree)
        return cls(json, tree)

    def to_json(self) -> bytes:
        """Return the bundle's canonical bytes: what to write to a file."""
        return canonical.dumps(self._tree)

    def to_dsse(self) -> dict[str, Any]:
        """Return the bundle's signature as a DSSE envelope over an in-toto Statement.

        Any DSSE tool verifies it, given the public key under its `keyId`. That shows that the key's
        owner signed this contentHash and this workflow head; it does not show that the events are what
        they hash to.
        """
        signature = self._tree["signature"]
        return to_dsse(statement_of(self._tree), signature["keyId"], signature["value"])

    def workflow_head(self) -> str:
        """Return the workflow head, as the scope states it."""
        return head_of_tree(self._tree)

    @property
    def tree(self) -> dict[str, Any]:
        """A copy of the bundle's members, by their wire names."""
        return copy.deepcopy(self._tree)

    @property
    def bundle_id(self) -> str:
        """The bundle's ULID."""
        return str(self._tree["bundleId"])

    @property
    def workflow_id(self) -> str:
        """The workflow that the bundle is about."""
        return str(self._tree["workflowId"])

    @property
    def tenant_id(self) -> str | None:
        """The workflow's tenant, if it has one."""
        return self._tree.get("tenantId")

    @property
    def log(self) -> str:
        """The origin of the log that the bundle is of."""
        return str(self._tree["scope"]["log"])

    def __repr__(self) -> str:
        return f"EvidenceBundle(workflow_id={self.workflow_id!r}, bundle_id={self.bundle_id!r})"


def content_hash(tree: Mapping[str, Any], headers: list[dict[str, Any]] | None = None) -> str:
    """Return the contentHash that a bundle's members have; `headers` are its events', if at hand."""
    signed = {name: value for name, value in tree.items() if name not in _UNSIGNED}
    signed["events"] = headers or [without_payload(event) for event in tree["events"]]
    return sha256(canonical.dumps(signed))


def head_of_tree(tree: Mapping[str, Any]) -> str:
    """Return the workflow head that the members of a bundle state."""
    return workflow_head(tree["workflowId"], tree.get("tenantId"), tree["scope"]["runs"])


def statement_of(tree: Mapping[str, Any]) -> bytes:
    """Return the in-toto Statement that the signature of a bundle with these members is over."""
    return statement(tree["bundleId"], tree["contentHash"], head_of_tree(tree))


def signed_bytes(tree: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed: the pre-authentication encoding of `statement_of`."""
    return pae(PAYLOAD_TYPE, statement_of(tree))


def without_payload(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of an event on the wire."""
    return {name: value for name, value in event.items() if name != "payload"}


def decode_signature(text: str) -> bytes:
    """Return the bytes of a signature in standard base64, in its one canonical spelling.

    Raises:
        MalformedInput: It is not.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise MalformedInput("/signature/value", "not standard base64") from None
    if base64.b64encode(data).decode() != text:
        raise MalformedInput("/signature/value", "not base64 in its one canonical spelling")
    return data


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise MalformedInput(f"character {error.start}", "a lone surrogate") from None


def _dump(tree: Mapping[str, Any]) -> bytes:
    try:
        return canonical.dumps(dict(tree))
    except NotCanonicalizable as error:
        raise MalformedInput(error.place, error.reason) from None


# The form, member by member. A check takes a place and a value, and raises MalformedInput.

_Check = Callable[[str, Any], None]


def _is(test: Callable[[object], bool], expected: str) -> _Check:
    def check(place: str, value: object) -> None:
        if not test(value):
            raise MalformedInput(place, f"expected {expected}, found {value!r:.80}")

    return check


def _array(check_item: _Check) -> _Check:
    def check(place: str, value: object) -> None:
        if not isinstance(value, list):
            raise MalformedInput(place, f"expected an array, found {value!r:.80}")
        for i, item in enumerate(value):
            check_item(f"{place}/{i}", item)

    return check


def _object(required: dict[str, _Check], optional: dict[str, _Check] | None = None) -> _Check:
    members = required | (optional or {})

    def check(place: str, value: object) -> None:
        if not isinstance(value, dict):
            raise MalformedInput(place or "/", f"expected an object, found {value!r:.80}")
        for name in required.keys() - value.keys():
            raise MalformedInput(place or "/", f"member {name} is missing")
        for name, item in value.items():
            if name not in members:
                raise MalformedInput(place or "/", f"unknown member {name!r:.80}")
            members[name](f"{place}/{name}", item)

    return check


def _map(check_name: _Check, check_item: _Check) -> _Check:
    def check(place: str, value: object) -> None:
        if not isinstance(value, dict):
            raise MalformedInput(place, f"expected an object, found {value!r:.80}")
        for name, item in value.items():
            check_name(f"{place}/{name:.80}", name)
            check_item(f"{place}/{name:.80}", item)

    return check


def _check_event(place: str, value: object) -> None:
    if not isinstance(value, dict):
        raise MalformedInput(place, f"expected an event, found {value!r:.80}")
    check_header(without_payload(value), place)
    if "payload" in value and not isinstance(value["payload"], dict):
        raise MalformedInput(f"{place}/payload", f"expected an object, found {value['payload']!r:.80}")


_matches_hash = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=").fullmatch

# C0 and C1 controls, and what changes the direction of text: nothing that a terminal would act on.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def is_text(value: object) -> bool:
    """Tell whether this can be a text for people in a bundle: 1-1024 characters without controls."""
    return isinstance(value, str) and 0 < len(value) <= 1024 and _UNPRINTABLE.search(value) is None


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


_text = _is(is_text, "1-1024 characters without controls")
_count = _is(_is_count, "an integer from 0")
_bool = _is(lambda value: isinstance(value, bool), "true or false")
_id = _is(is_id, "1-128 printable ASCII characters")
_name = _is(is_name, "1-256 bytes, NFC, without control characters")
_event_id = _is(is_ulid, "an event id, a ULID")
_timestamp = _is(is_timestamp, "a UTC time with nine fractional digits and Z")
_digest = _is(is_digest, "a digest")
_sha256 = _is(lambda value: is_digest(value) and str(value).startswith("sha256:"), "a sha256 digest")
_hex = _is(
    lambda value: isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef"),
    "64 lower-case hex digits",
)
_hash = _is(lambda value: isinstance(value, str) and _matches_hash(value) is not None, "32 bytes in base64")
_event_ids = _array(_event_id)
_sd_digests = _array(_is(is_sd_digest, "a disclosure's digest"))

_check_run = _object(
    {"runId": _id, "count": _count, "firstSeq": _count, "lastSeq": _count, "head": _digest, "closed": _bool}
)
_check_withheld = _object(
    {
        "payloads": _array(_object({"eventId": _event_id, "reason": _text})),
        "disclosures": _array(_object({"eventId": _event_id, "digests": _sd_digests, "reason": _text})),
    }
)
_check_erased = _object(
    {
        "payloads": _array(_object({"eventId": _event_id, "by": _event_id})),
        "disclosures": _array(_object({"eventId": _event_id, "digests": _sd_digests, "by": _event_id})),
    }
)
_check_scope = _object(
    {
        "log": _is(is_origin, "a log's origin, a name and a ULID"),
        "digestAlgorithm": _is(lambda value: value in ALGORITHMS, "sha256 or blake3"),
        "runs": _array(_check_run),
        "withheld": _check_withheld,
        "erased": _check_erased,
        "redactable": _event_ids,
    },
    {"disclosurePolicy": _sha256, "checkpoint": _object({"size": _count, "root": _hash})},
)
_proofs = _is(
    lambda value: isinstance(value, dict) and len(value) <= MAX_PROOFS and all(map(is_text, value)),
    f"an object of at most {MAX_PROOFS} kinds of proof, each named in 1-1024 characters",
)


def _check_proofs(place: str, value: Any) -> None:
    _proofs(place, value)
    if PROOF in value:
        Completeness.from_json(value[PROOF])


_check_shape_at = _object(
    {
        "version": _is(lambda value: type(value) is int and value == BUNDLE_VERSION, "1"),
        "bundleId": _is(is_ulid, "a ULID"),
        "workflowId": _id,
        "createdAt": _timestamp,
        "generator": _object({"name": _text, "version": _text}),
        "scope": _check_scope,
        "events": _array(_check_event),
        **dict.fromkeys(VIEWS, _event_ids),
        "contentHash": _sha256,
        "signature": _object(
            {"alg": _text, "value": _is(lambda value: isinstance(value, str), "base64"), "keyId": _hex}
        ),
        "disclosures": _map(_event_id, _array(_is(lambda value: isinstance(value, str), "a disclosure"))),
        "proofs": _check_proofs,
    },
    {"tenantId": _name},
)


def _check_shape(tree: object) -> None:
    """Check the closed form of a bundle (schemas/bundle-v1.md, verification step 2)."""
    _check_shape_at("", tree)
