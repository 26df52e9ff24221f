r"""Completeness: the proof that a bundle is the whole workflow, as of a signed checkpoint of the log.

In a bundle it is `proofs.completeness`::

    {"checkpoint": "<origin>\n<size>\n<root>\n\n— <signatures>\n",
     "mapRoot": "<base64>",
     "inclusion": ["<base64>", ...],
     "heads": {"siblings": [...], "key": "...", "head": "..."},
     "timestamps": ["<base64 of an RFC 3161 response>", ...]}

The log's key signs the checkpoint; the last leaf of its tree is the root of a heads map; the map has the
bundle's workflow head for the bundle's workflow. It shows no other workflow. The steps are those of
`schemas/log-v1.md` section 9.1.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from evidence.checkpoint import Checkpoint, format_hash, parse_checkpoint, parse_hash
from evidence.errors import MalformedInput, ProofRefused, Unexpected
from evidence.heads_map import Entry, HeadsProof, verify_heads_proof
from evidence.merkle import heads_leaf, leaf_hash, verify_inclusion
from evidence.note import parse_base64, parse_note

if TYPE_CHECKING:
    from evidence.trust import TrustPolicy, VerifiedCheckpoint

PROOF: Final = "completeness"
"""The name of this kind of proof in a bundle."""

_PLACE: Final = f"/proofs/{PROOF}"
_MAX_HASHES: Final = 63  # in a tree of at most 2^63-1 leaves
_MAX_TIMESTAMPS: Final = 16
_REQUIRED: Final = frozenset({"checkpoint", "mapRoot", "inclusion", "heads"})


@dataclass(frozen=True, slots=True)
class Completeness:
    """What leads from a workflow head to a signed checkpoint. Nothing of it is verified.

    Attributes:
        checkpoint: The checkpoint, as a note with all its signatures.
        map_root: The root of the heads map in the tree's last leaf.
        inclusion: The proof that this leaf is the last one.
        heads: The proof that the map has the workflow's head.
        timestamps: RFC 3161 responses about the checkpoint.
    """

    checkpoint: bytes
    map_root: bytes
    inclusion: tuple[bytes, ...]
    heads: HeadsProof
    timestamps: tuple[bytes, ...] = ()

    def stated_checkpoint(self) -> Checkpoint:
        """Return what the checkpoint says, whoever signed it.

        Raises:
            MalformedInput: It is no checkpoint.
        """
        return parse_checkpoint(parse_note(self.checkpoint).text)

    def to_json(self) -> dict[str, Any]:
        """Return the proof as a bundle has it."""
        proof: dict[str, Any] = {
            "checkpoint": self.checkpoint.decode(),
            "mapRoot": format_hash(self.map_root),
            "inclusion": [format_hash(value) for value in self.inclusion],
            "heads": self.heads.to_json(),
        }
        if self.timestamps:
            proof["timestamps"] = [base64.b64encode(response).decode() for response in self.timestamps]
        return proof

    @classmethod
    def from_json(cls, value: object) -> Completeness:
        """Read a proof; whether it holds is for `verify_completeness`.

        Raises:
            MalformedInput: It is not of that form.
        """
        if not isinstance(value, dict) or not _REQUIRED <= value.keys() <= _REQUIRED | {"timestamps"}:
            members = ", ".join(sorted(_REQUIRED))
            raise MalformedInput(_PLACE, f"expected an object with {members}, and perhaps timestamps")
        proof = cls(
            _text(value["checkpoint"], f"{_PLACE}/checkpoint").encode("utf-8", "surrogatepass"),
            parse_hash(_text(value["mapRoot"], f"{_PLACE}/mapRoot"), f"{_PLACE}/mapRoot"),
            tuple(
                parse_hash(text, f"{_PLACE}/inclusion/{i}")
                for i, text in enumerate(_texts(value["inclusion"], f"{_PLACE}/inclusion", _MAX_HASHES))
            ),
            HeadsProof.from_json(value["heads"], f"{_PLACE}/heads"),
            tuple(
                parse_base64(text, f"{_PLACE}/timestamps/{i}")
                for i, text in enumerate(
                    _texts(value.get("timestamps", []), f"{_PLACE}/timestamps", _MAX_TIMESTAMPS)
                )
            ),
        )
        try:
            proof.stated_checkpoint()
        except MalformedInput as error:
            raise MalformedInput(f"{_PLACE}/checkpoint", str(error)) from None
        return proof


def verify_completeness(
    proof: Completeness, log: str, workflow_id: str, tenant_id: str | None, head: str, policy: TrustPolicy
) -> VerifiedCheckpoint:
    """Verify that a workflow's head is the one that a log committed to, and return the checkpoint.

    Whether as much stands by the checkpoint as the policy asks for, `policy.verify_requirements` tells.

    Args:
        proof: The proof.
        log: The log's origin.
        workflow_id: The workflow.
        tenant_id: Its tenant, or None.
        head: Its workflow head, as computed from verified events.
        policy: Which logs are trusted.

    Raises:
        MalformedInput: The checkpoint is none.
        SignatureRefused: No log that is trusted signed it.
        Unexpected: It is of another log.
        ProofRefused: The proof does not lead from the head to the checkpoint.
        Unverifiable: There are timestamps, and rfc3161-client is absent.
    """
    verified = policy.verify_checkpoint(proof.checkpoint, proof.timestamps)
    if verified.checkpoint.origin != log:
        raise Unexpected("checkpoint", f"expected one of log {log}, found {verified.checkpoint.origin}")
    verify_path(proof, verified.checkpoint, Entry.of(workflow_id, tenant_id, head))
    return verified


def verify_path(proof: Completeness, checkpoint: Checkpoint, entry: Entry) -> None:
    """Verify that a proof leads from a workflow's entry in the heads map to a checkpoint.

    Raises:
        ProofRefused: It does not: as of that checkpoint, the workflow has other events or other runs.
    """
    last = checkpoint.size - 1
    leaf = leaf_hash(heads_leaf(proof.map_root))
    try:
        verify_heads_proof(proof.heads, entry.key, entry.head, proof.map_root)
        verify_inclusion(leaf, last, checkpoint.size, proof.inclusion, checkpoint.root)
    except ProofRefused as error:
        place = f"completeness as of checkpoint {checkpoint.size}"
        raise ProofRefused(place, f"the workflow's head is not shown to be the log's: {error}") from None


def cited(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return how the scope of a bundle names the checkpoint that it was made at."""
    return {"size": checkpoint.size, "root": format_hash(checkpoint.root)}


def described(verified: VerifiedCheckpoint) -> Mapping[str, Any]:
    """Return a verified checkpoint for a report, as JSON values; times are POSIX seconds."""
    return {
        "origin": verified.checkpoint.origin,
        **cited(verified.checkpoint),
        "log_key": verified.log.key.key_id,
        "witnesses": dict(verified.cosigned),
        "timestamps": len(verified.timestamps),
        "existed_by": verified.existed_by,
        "newest_at": verified.newest_at,
    }


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise MalformedInput(place, f"expected text, found {value!r:.80}")
    return value


def _texts(value: object, place: str, most: int) -> list[str]:
    if not isinstance(value, list) or len(value) > most:
        raise MalformedInput(place, f"expected an array of at most {most} texts")
    return [_text(item, f"{place}/{i}") for i, item in enumerate(value)]
