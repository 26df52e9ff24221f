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
from evidence.bundler import EvidenceBundler
from evidence.completeness import Completeness
from evidence.disclosure import Disclosure
from evidence.disclosure_policy import DisclosurePolicy, Withholding
from evidence.disclosure_policy_file import parse_disclosure_policy
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
    RedactionRefused,
    ScopeMismatch,
    SignatureRefused,
    Unexpected,
    UnknownWorkflow,
    Unverifiable,
    VerificationError,
    VerificationFailed,
)
from evidence.expectation import ANY_TENANT
from evidence.keys import SharedSecret, VerifyingKey
from evidence.redact import Redacted, redact_evidence_bundle
from evidence.report import Shown, VerificationReport, VerifiedEvent, VerifiedRun
from evidence.signing import Ed25519Signer, EvidenceSigner, HmacSigner
from evidence.trust import TrustPolicy
from evidence.trust_file import parse_policy
from evidence.verify import verify_evidence_bundle
from evidence.workflow_source import CompletenessSource, WorkflowEvent, WorkflowProof, WorkflowSource

__all__ = [
    "ANY_TENANT",
    "ChainBroken",
    "Completeness",
    "CompletenessSource",
    "DigestMismatch",
    "Disclosure",
    "DisclosurePolicy",
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
    "Redacted",
    "RedactionRefused",
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
    "parse_disclosure_policy",
    "parse_policy",
    "redact_evidence_bundle",
    "verify_evidence_bundle",
]
