"""Errors of the `evidence` package.

::

    EvidenceError
    ├── NotCanonicalizable        a value has no RFC 8785 form
    ├── MalformedInput            bytes that cannot be read as what they should be
    ├── KeyRefused                a key that must not be used
    ├── UnknownWorkflow           a log has no such workflow
    ├── LogDamaged                a log's record does not hold together; nothing is signed
    ├── RedactionRefused          what is asked to be removed from a bundle may not be, or is not there
    └── VerificationError         the evidence was read, and does not hold
        ├── VerificationFailed
        │   ├── DigestMismatch    a digest is not that of what it stands for
        │   ├── SignatureRefused  no valid signature by the verifier's key
        │   ├── ChainBroken       an event does not follow the one before it
        │   ├── ScopeMismatch     the signed scope or a view says what the events do not
        │   ├── PayloadRefused    a payload is absent, or present, against the scope
        │   ├── DisclosureRefused a disclosure is forged, moved, doubled or unreferenced
        │   ├── ProofRefused      a Merkle proof does not lead to the root that it should
        │   └── Unexpected        valid evidence, of something else than was expected
        ├── Incomplete            nothing is wrong, but something has not ended or is missing
        └── Unverifiable          a key or a library that is needed is absent

What a caller got wrong in calling (a type, an argument out of range) raises `TypeError` or `ValueError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evidence.printable import printable

if TYPE_CHECKING:
    from evidence.report import VerificationReport


class EvidenceError(Exception):
    """Base of every error that evidence, as opposed to its caller, can cause."""


class PlacedError(EvidenceError):
    """An error at a place: `place` says where, `reason` what was expected and what was found."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(printable(f"{place}: {reason}" if place else reason))
        self.place = place
        self.reason = reason

    def __reduce__(self) -> tuple[type[PlacedError], tuple[str, str], dict[str, object]]:
        return type(self), (self.place, self.reason), self.__dict__


class NotCanonicalizable(PlacedError):
    """A value that RFC 8785 gives no bytes for; `place` is a JSON Pointer."""


class MalformedInput(PlacedError):
    """Bytes that cannot be read; `place` is a byte offset, a line or a JSON Pointer."""


class KeyRefused(EvidenceError):
    """A key that cannot be read, or that is too weak to be trusted."""


class UnknownWorkflow(EvidenceError, LookupError):
    """An event log has no workflow of this id and tenant."""

    def __init__(self, workflow_id: str, tenant_id: str | None) -> None:
        of = "no tenant" if tenant_id is None else f"tenant {tenant_id}"
        super().__init__(f"the log has no workflow {workflow_id} of {of}")
        self.workflow_id = workflow_id
        self.tenant_id = tenant_id

    def __reduce__(self) -> tuple[type[UnknownWorkflow], tuple[str, str | None]]:
        return type(self), (self.workflow_id, self.tenant_id)


class LogDamaged(PlacedError):
    """An event log's own record does not hold together, so nothing may be signed from it."""


class RedactionRefused(PlacedError):
    """What a holder asks to be removed from a bundle may not be removed, or is not in it."""


class VerificationError(PlacedError):
    """The evidence was read, and is not verified.

    `report` is set on `Incomplete` and `Unverifiable`, where everything that could be checked was.
    """

    report: VerificationReport | None = None


class VerificationFailed(VerificationError):
    """The evidence is bad: something is not what its digest, signature or chain says."""


class DigestMismatch(VerificationFailed):
    """A digest is not the digest of what it stands for."""


class SignatureRefused(VerificationFailed):
    """The signature is missing, of another algorithm, by another key, or wrong."""


class ChainBroken(VerificationFailed):
    """An event does not follow from the one before it in its run."""


class ScopeMismatch(VerificationFailed):
    """The signed scope, or a view, says what the events do not say."""


class PayloadRefused(VerificationFailed):
    """A payload is absent that may not be, or present though listed as withheld or erased."""


class DisclosureRefused(VerificationFailed):
    """A disclosure is forged, moved, doubled, unreferenced, or shown though listed as withheld."""


class ProofRefused(VerificationFailed):
    """A proof about a log's tree or heads map does not lead to the root that it should."""


class Unexpected(VerificationFailed):
    """Sound evidence of something else than the caller expected, or of more than a policy lets it show."""


class Incomplete(VerificationError):
    """Nothing is wrong, but a run is still open, or a proof that was asked for is missing."""


class Unverifiable(VerificationError):
    """Whether the evidence holds cannot be told: a key or a library that is needed is absent."""
