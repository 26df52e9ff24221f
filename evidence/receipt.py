"""Receipts: a verifier's signed word for what it verified of a log, what it found, and what it left out.

A receipt is a DSSE envelope over an in-toto Statement, as a bundle's signature is (`evidence.envelope`),
so any DSSE tool checks it. Its subject is the tree that the verifier computed itself, named by the
digest of the three lines that a checkpoint of it has: whoever holds a checkpoint sees by its text whether
the receipt is about it. The format is `schemas/receipt-v1.md`.

A receipt says what its maker did, and is worth as much as its maker.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from evidence import canonical
from evidence.checkpoint import Checkpoint, format_checkpoint, format_hash, parse_hash
from evidence.digest import is_digest, sha256
from evidence.envelope import PAYLOAD_TYPE, STATEMENT_TYPE, pae, to_dsse
from evidence.errors import MalformedInput, SignatureRefused
from evidence.header import is_timestamp
from evidence.keys import VerifyingKey
from evidence.note import parse_base64
from evidence.signing import Ed25519Signer

PREDICATE_TYPE: Final = "urn:tracebus:verification-receipt:v1"
VERDICTS: Final = ("verified", "failed", "incomplete")
MAX_BYTES: Final = 64 * 1024
"""How large the file may be, in bytes."""
MAX_STATEMENT: Final = 4096
"""How large what is signed may be, in bytes: as much as a KMS signs."""

_MAX_SIGNATURES: Final = 16
_MEMBERS: Final = {
    *("log", "from", "to", "root", "events", "verdict", "checks", "checkpoints", "trust", "verifiedAt"),
    "verifier",
}


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """One kind of check: of how many things it was made, and what was left out and why; else empty."""

    name: str
    done: int
    not_done: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON."""
        return {"name": self.name, "done": self.done} | ({"notDone": self.not_done} if self.not_done else {})


@dataclass(frozen=True, slots=True)
class CheckpointsSeen:
    """How many checkpoints were compared from one source, and the size of the newest."""

    source: str
    count: int
    newest: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"source": self.source, "count": self.count, "newest": self.newest}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was verified of a log, and what was found.

    Attributes:
        log: The log's origin.
        first: The leaves before this one were taken for granted.
        size: The tree that was computed has so many leaves.
        root: Its root hash.
        events: How many events were verified, those included that are in no tree yet.
        verdict: One of `VERDICTS`.
        checks: What was done, and what was not.
        checkpoints: What the tree was compared with.
        trust: What signatures were verified by: `logKey`, a verifier key, or `policy`, the digest of a
            trust policy's file.
        verified_at: When, by the verifier's clock: UTC, nine fractional digits.
        verifier: The software, name and version.
        reason: Why the verdict is not *verified*; else empty.
    """

    log: str
    first: int
    size: int
    root: bytes
    events: int
    verdict: str
    checks: tuple[ReceiptCheck, ...]
    checkpoints: tuple[CheckpointsSeen, ...]
    trust: Mapping[str, str]
    verified_at: str
    verifier: str
    reason: str = ""

    @property
    def tree_digest(self) -> str:
        """The digest of the text that a checkpoint of this tree has, without signatures."""
        return checkpoint_digest(Checkpoint(self.log, self.size, self.root))

    def to_json(self) -> dict[str, Any]:
        """Return the statement's predicate."""
        predicate = {
            "log": self.log,
            "from": self.first,
            "to": self.size,
            "root": format_hash(self.root),
            "events": self.events,
            "verdict": self.verdict,
            "checks": [check.to_json() for check in self.checks],
            "checkpoints": [seen.to_json() for seen in self.checkpoints],
            "trust": dict(self.trust),
            "verifiedAt": self.verified_at,
            "verifier": self.verifier,
        }
        return predicate | ({"reason": self.reason} if self.reason else {})


def checkpoint_digest(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 digest of a checkpoint's text: its lines, each with its newline, unsigned."""
    return sha256(format_checkpoint(checkpoint).encode())


def sign_receipt(receipt: Receipt, signer: Ed25519Signer) -> bytes:
    """Return the receipt's file, signed with a key that signs receipts only.

    Raises:
        ValueError: The statement is longer than `MAX_STATEMENT`.
    """
    body = _statement(receipt)
    if len(body) > MAX_STATEMENT:
        raise ValueError(f"receipt: expected at most {MAX_STATEMENT} bytes to sign, found {len(body)}")
    signature = base64.b64encode(signer.sign(pae(PAYLOAD_TYPE, body))).decode()
    return canonical.dumps(to_dsse(body, signer.key_id, signature)) + b"\n"


def verify_receipt(data: bytes, key: VerifyingKey | bytes | str) -> Receipt:
    """Verify a receipt with its maker's public key, and hand it out.

    Args:
        data: The file.
        key: The key, from the verifier's own hands: an object, 32 bytes, PEM or a C2SP verifier key.

    Raises:
        KeyRefused: The key cannot be read, or is too weak.
        MalformedInput: It is no receipt.
        SignatureRefused: It is not signed with this key.
    """
    verifying_key = VerifyingKey.load(key)
    body, signatures = _open_envelope(data)
    message = pae(PAYLOAD_TYPE, body)
    if not any(verifying_key.accepts(signature, message) for signature in signatures):
        raise SignatureRefused("receipt", f"no valid signature by key {verifying_key.key_id}")
    receipt = _read_statement(body)
    if _statement(receipt) != body:
        raise MalformedInput("receipt", "the statement is not about the tree that it tells of")
    return receipt


def _statement(receipt: Receipt) -> bytes:
    subject = {
        "name": f"tree/{receipt.log}/{receipt.size}",
        "digest": {"sha256": receipt.tree_digest.removeprefix("sha256:")},
    }
    return canonical.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": PREDICATE_TYPE,
            "predicate": receipt.to_json(),
        }
    )


def _open_envelope(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return what is signed, and the signatures; nothing of it is verified."""
    tree = canonical.loads(data, max_bytes=MAX_BYTES, max_depth=8)
    if not isinstance(tree, dict) or tree.get("payloadType") != PAYLOAD_TYPE:
        _refuse("", f"expected a DSSE envelope with the payloadType {PAYLOAD_TYPE}")
    payload, signatures = tree.get("payload"), tree.get("signatures")
    if not isinstance(payload, str):
        _refuse("/payload", "expected base64")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= _MAX_SIGNATURES:
        _refuse("/signatures", f"expected 1 to {_MAX_SIGNATURES} of them")
    found = []
    for index, signature in enumerate(signatures):
        if not isinstance(signature, dict) or not isinstance(signature.get("sig"), str):
            _refuse(f"/signatures/{index}", "expected an object with sig, in base64")
        found.append(parse_base64(signature["sig"], f"/signatures/{index}/sig"))
    return parse_base64(payload, "/payload"), found


def _read_statement(body: bytes) -> Receipt:
    tree = canonical.loads(body, max_bytes=MAX_BYTES, max_depth=8)
    if not isinstance(tree, dict) or tree.get("predicateType") != PREDICATE_TYPE:
        _refuse("/predicateType", f"expected {PREDICATE_TYPE}")
    predicate = tree.get("predicate")
    if not isinstance(predicate, dict) or predicate.keys() - {"reason"} != _MEMBERS:
        _refuse("/predicate", f"expected {', '.join(sorted(_MEMBERS))}, and perhaps reason")
    receipt = Receipt(
        log=_text(predicate, "log"),
        first=_count(predicate, "from"),
        size=_count(predicate, "to"),
        root=parse_hash(_text(predicate, "root"), "/predicate/root"),
        events=_count(predicate, "events"),
        verdict=_text(predicate, "verdict"),
        checks=tuple(
            ReceiptCheck(_text(check, "name"), _count(check, "done"), _text(check, "notDone", ""))
            for check in _objects(predicate, "checks")
        ),
        checkpoints=tuple(
            CheckpointsSeen(_text(seen, "source"), _count(seen, "count"), _count(seen, "newest"))
            for seen in _objects(predicate, "checkpoints")
        ),
        trust={name: _text(_object(predicate["trust"]), name) for name in _object(predicate["trust"])},
        verified_at=_text(predicate, "verifiedAt"),
        verifier=_text(predicate, "verifier"),
        reason=_text(predicate, "reason", ""),
    )
    _check_values(receipt)
    return receipt


def _check_values(receipt: Receipt) -> None:
    if receipt.verdict not in VERDICTS:
        _refuse("/predicate/verdict", f"expected one of {', '.join(VERDICTS)}")
    if not is_timestamp(receipt.verified_at):
        _refuse("/predicate/verifiedAt", "expected a UTC time with nine fractional digits and Z")
    policy = receipt.trust.get("policy")
    if receipt.trust.keys() not in ({"logKey"}, {"policy"}) or not (policy is None or is_digest(policy)):
        _refuse("/predicate/trust", "expected logKey, or policy with a digest")
    try:
        Checkpoint(receipt.log, receipt.size, receipt.root)
    except ValueError as error:
        _refuse("/predicate", str(error))


def _text(tree: dict[str, Any], name: str, default: str | None = None) -> str:
    value = tree.get(name, default)
    if not isinstance(value, str) or (name in tree and not value):
        _refuse(f"/predicate/{name}", "expected text")
    return value


def _count(tree: dict[str, Any], name: str) -> int:
    value = tree.get(name)
    if type(value) is not int or value < 0:
        _refuse(f"/predicate/{name}", "expected a whole number from 0")
    return value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse("/predicate", "expected an object")
    return value


def _objects(tree: dict[str, Any], name: str) -> list[dict[str, Any]]:
    values = tree[name]
    if not isinstance(values, list):
        _refuse(f"/predicate/{name}", "expected an array")
    return [_object(value) for value in values]


def _refuse(place: str, reason: str) -> NoReturn:
    raise MalformedInput(f"receipt {place}".rstrip(), reason)
