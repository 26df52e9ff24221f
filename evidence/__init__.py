"""Evidence: bytes to verdict, in both directions.

This package makes and verifies evidence bundles, and is all that a verifier needs: canonical JSON,
digests, event headers, chains, selective disclosure, bundles, signers, trust policies and the
verifier. It is synchronous, opens no connection, and knows nothing of event loops, databases or the
event classes; to it, an event is authenticated bytes.

    from evidence import verify_evidence_bundle

    report = verify_evidence_bundle(bundle_json, public_key, expected_workflow="transfer-42")
    print(report.headline)
"""

from evidence.bundle import EvidenceBundle
from evidence.bundler import (
    CompletenessSource,
    EvidenceBundler,
    Withholding,
    WorkflowEvent,
    WorkflowProof,
    WorkflowSource,
)
from evidence.completeness import Completeness
from evidence.disclosure import Disclosure
from evidence.errors import (
    ChainBroken,
    DigestMismatch,
    DisclosureRefused,
    EvidenceError,
    Incomplete,
    KeyRefused,
    LogDamaged,
    MalformedInput,
    NotCanonicalizable,
    PayloadRefused,
    ProofRefused,
    ScopeMismatch,
    SignatureRefused,
    Unexpected,
    UnknownWorkflow,
    Unverifiable,
    VerificationError,
    VerificationFailed,
)
from evidence.keys import SharedSecret, VerifyingKey
from evidence.report import Shown, VerificationReport, VerifiedEvent, VerifiedRun
from evidence.signing import Ed25519Signer, EvidenceSigner, HmacSigner
from evidence.trust import TrustPolicy
from evidence.trust_file import parse_policy
from evidence.verify import ANY_TENANT, verify_evidence_bundle

__all__ = [
    "ANY_TENANT",
    "ChainBroken",
    "Completeness",
    "CompletenessSource",
    "DigestMismatch",
    "Disclosure",
    "DisclosureRefused",
    "Ed25519Signer",
    "EvidenceBundle",
    "EvidenceBundler",
    "EvidenceError",
    "EvidenceSigner",
    "HmacSigner",
    "Incomplete",
    "KeyRefused",
    "LogDamaged",
    "MalformedInput",
    "NotCanonicalizable",
    "PayloadRefused",
    "ProofRefused",
    "ScopeMismatch",
    "SharedSecret",
    "Shown",
    "SignatureRefused",
    "TrustPolicy",
    "Unexpected",
    "UnknownWorkflow",
    "Unverifiable",
    "VerificationError",
    "VerificationFailed",
    "VerificationReport",
    "VerifiedEvent",
    "VerifiedRun",
    "VerifyingKey",
    "Withholding",
    "WorkflowEvent",
    "WorkflowProof",
    "WorkflowSource",
    "parse_policy",
    "verify_evidence_bundle",
]
