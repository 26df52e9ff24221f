"""Verify an evidence bundle: offline, with a key that the verifier already holds.

The steps are those of `schemas/bundle-v1.md` section "Verification", and carry its numbers:

1. read strictly                      7. payloads
2. check the form                     8. disclosures
3. recompute contentHash              9. views
4. check the signature               10. completeness
5. follow the chains                 11. has every run ended?
6. compare the scope

The first fault ends it: an exception says where it is and of what kind.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from evidence import canonical
from evidence.bundle import (
    EvidenceBundle,
    content_hash,
    decode_signature,
    signed_bytes,
)
from evidence.chain import RunHead, follow
from evidence.completeness import PROOF, Completeness, cited, described, verify_completeness
from evidence.digest import algorithm_of, digest, hasher
from evidence.disclosure import Opened, open_payload
from evidence.disclosure_policy import DisclosurePolicy
from evidence.errors import (
    ChainBroken,
    DigestMismatch,
    DisclosureRefused,
    Incomplete,
    MalformedInput,
    PayloadRefused,
    ScopeMismatch,
    SignatureRefused,
    Unverifiable,
)
from evidence.expectation import ANY_TENANT, Expectation, Trust
from evidence.heads import run_state
from evidence.keys import SharedSecret, VerifyingKey, load_key
from evidence.projection import missing_plain, views
from evidence.report import (
    Shown,
    Verdict,
    VerificationReport,
    VerifiedErasure,
    VerifiedEvent,
    VerifiedRun,
    erasure_of,
)
from evidence.scope import KeptBack
from evidence.trust import TrustPolicy, VerifiedCheckpoint, format_time

Accept = Collection[Literal["incomplete", "unverifiable"]]


def verify_evidence_bundle(
    bundle: EvidenceBundle | bytes | str | Mapping[str, Any],
    public_key: VerifyingKey | SharedSecret | bytes | str | None = None,
    *,
    expected_workflow: str | None = None,
    expected_tenant: str | object | None = ANY_TENANT,
    expected_log: str | None = None,
    expected_head: str | None = None,
    expected_disclosure_policy: DisclosurePolicy | None = None,
    policy: TrustPolicy | None = None,
    now: float | None = None,
    accept: Accept = (),
) -> VerificationReport:
    """Verify a bundle, and return the report and the events only if it is verified.

    The key comes from the caller, and decides the algorithm; what a bundle says about keys is never
    trusted. Say what you expect: a sound bundle of another workflow is sound.

    What is shown by success: the events are those that the key's owner signed for; within each run
    none was changed, left out or put in; nothing but what the report counts is kept back. That the
    workflow has no other run, and an open run no later event, rests on the signer, unless you give
    `expected_head`, or a `policy` that knows the log's key, and the bundle carries a proof of it. Anybody can
    take the proof away: only a policy that requires it refuses then.

    Args:
        bundle: The bundle, as an object, JSON bytes or text, or a mapping. Prefer bytes: whoever made
            a mapping of them may have passed over a name given twice.
        public_key: An Ed25519 public key (object, 32 bytes, PEM, C2SP verifier key), or a
            `SharedSecret` for a bundle with an HMAC. None for whichever of the policy's signed it.
        expected_workflow: The workflow id that the bundle must be about.
        expected_tenant: The tenant that it must be of; None for a workflow without a tenant.
        expected_log: The origin of the log that it must come from.
        expected_head: The workflow head (``sha256:…``) that it must reach.
        expected_disclosure_policy: The policy that it must name, if that is of a file, and must show no
            more by than it lets (`parse_disclosure_policy`, `schemas/disclosure-policy-v1.md`).
        policy: Whose checkpoints are trusted, which keys may sign bundles and until when, and what a
            bundle must carry (`parse_policy`, `schemas/trust-v1.md`).
        now: The time, POSIX seconds, for what may not be too old; the clock's unless given.
        accept: ``"incomplete"`` and ``"unverifiable"``, where those outcomes will do.

    Raises:
        MalformedInput: The bundle cannot be read.
        KeyRefused: The key cannot be read, or is too weak.
        VerificationFailed: The bundle is bad, or of something else than expected.
        Incomplete: A run has not ended, or a proof that the policy requires is missing, and `accept` has
            no ``"incomplete"``.
        Unverifiable: A library or a key that is needed is absent, and `accept` has no ``"unverifiable"``.
    """
    if public_key is None and (policy is None or not policy.bundle_keys):
        raise TypeError("public_key: expected a key, or a policy that has keys of bundles")
    key = None if public_key is None else load_key(public_key)
    expected = Expectation(
        expected_workflow, expected_tenant, expected_log, expected_head, expected_disclosure_policy
    )
    try:
        return _verify(bundle, key, expected, Trust(policy, now), accept)
    except RecursionError:
        raise MalformedInput("bundle", "nested deeper than the caller's stack has room for") from None


def _verify(
    bundle: EvidenceBundle | bytes | str | Mapping[str, Any],
    key: VerifyingKey | SharedSecret | None,
    expected: Expectation,
    trust: Trust,
    accept: Accept,
) -> VerificationReport:
    bundle = EvidenceBundle.from_json(bundle)  # steps 1 and 2
    verification = _Verification(bundle, key or trust.key_of(bundle), trust)
    missing = verification.run()
    verification.notes += expected.check(bundle)
    verification.policy_checked = expected.disclosure_policy is not None
    if missing is not None:
        return _settle(verification.report("unverifiable"), Unverifiable("bundle", missing), accept)
    if verification.lacking is not None:
        return _settle(verification.report("incomplete"), verification.lacking, accept)
    # 11
    for head in verification.heads.values():
        if not head.closed:
            reason = f"has not ended: its last event is {head.type}, seq {head.seq}"
            open_run = Incomplete(f"run {head.run_id}", reason)
            return _settle(verification.report("incomplete"), open_run, accept)
    return verification.report("verified")


def _settle(
    report: VerificationReport, error: Incomplete | Unverifiable, accept: Accept
) -> VerificationReport:
    if report.verdict in accept:
        return report
    error.report = report
    raise error


class _Verification:
    """One bundle under verification: its members, and what the steps have found so far."""

    def __init__(self, bundle: EvidenceBundle, key: VerifyingKey | SharedSecret, trust: Trust) -> None:
        self.trust = trust
        self.checkpoint: VerifiedCheckpoint | None = None
        self.lacking: Incomplete | None = None
        self.bundle = bundle
        self.tree = bundle._tree
        self.scope = self.tree["scope"]
        self.key = key
        self.heads: dict[str, RunHead] = {}
        self.workflow_head = bundle.workflow_head()
        self.events: dict[str, VerifiedEvent] = {}
        self.digests: set[str] = set()
        self.shown = Shown()
        self.erasures: tuple[VerifiedErasure, ...] = ()
        self.policy_checked = False
        self.notes: list[str] = []

    def run(self) -> str | None:
        """Take the steps 3 to 10; return what is missing to take them all, or None."""
        self._check_content_hash()
        self._check_signature()
        missing = self._check_digest_algorithm()
        if missing is None:
            headers = self._follow_chains()
            self._compare_scope()
            self._check_payloads(headers)
            self._compare_views(headers)
            missing = self._check_completeness()
            self._note_proofs()
        return missing

    # 3
    def _check_content_hash(self) -> None:
        expected, found = content_hash(self.tree, self.bundle._headers), self.tree["contentHash"]
        if expected != found:
            raise DigestMismatch("contentHash", f"the content hashes to {expected}, found {found}")

    # 4
    def _check_signature(self) -> None:
        signature, key = self.tree["signature"], self.key
        if signature["alg"] != key.alg:
            raise SignatureRefused(
                "signature", f"the key at hand is for {key.alg}, found algorithm {signature['alg']:.40}"
            )
        value = decode_signature(signature["value"])
        if not key.accepts(value, signed_bytes(self.tree)):
            named = signature["keyId"]
            hint = "" if named == key.key_id else f"; it names key {named}"
            raise SignatureRefused("signature", f"not made over this bundle by key {key.key_id}{hint}")
        if signature["keyId"] != key.key_id:
            raise SignatureRefused("signature", f"keyId {signature['keyId']} does not name key {key.key_id}")
        self.trust.check_key(key, self.tree["createdAt"])
        if not key.convinces_third_parties:
            self.notes.append("HMAC: convinces no third party, for whoever can verify it can forge it")

    # 5
    def _check_digest_algorithm(self) -> str | None:
        """Check that all events use the scope's algorithm; return what is missing to compute it."""
        algorithm = self.scope["digestAlgorithm"]
        for event in self.tree["events"]:
            if algorithm_of(event["contentHash"]) != algorithm:
                raise ScopeMismatch(_place(event), f"contentHash is not {algorithm}, as the scope says")
        try:
            hasher(algorithm)(b"")
        except ImportError as error:
            return f"{error}; it is needed for {algorithm} digests"
        return None

    def _follow_chains(self) -> list[dict[str, Any]]:
        """Follow each run's chain, and return the events' headers."""
        headers = self.bundle._headers
        ids: set[str] = set()
        keys: set[tuple[str, str]] = set()
        for header in headers:
            self._check_membership(header)
            if header["id"] in ids:
                raise ChainBroken(_place(header), f"event id {header['id']} stands twice")
            ids.add(header["id"])
            key = (header["runId"], header["key"]) if "key" in header else None
            if key in keys:
                raise ChainBroken(_place(header), f"key {header['key']} stands twice in the run")
            if key is not None:
                keys.add(key)
            head = self.heads.get(header["runId"])
            self.heads[header["runId"]] = follow(head, header)
            if head is not None and header["timestamp"] < head.timestamp:
                self.notes.append(f"{_place(header)}: the clock stepped back, from {head.timestamp}")
        if not headers:
            raise ChainBroken("bundle", "holds no events")
        return headers

    def _check_membership(self, header: Mapping[str, Any]) -> None:
        """Check that an event is of this log and workflow, and stands in the place of its run."""
        for name, expected in (
            ("log", self.scope["log"]),
            ("workflowId", self.bundle.workflow_id),
            ("tenantId", self.bundle.tenant_id),
        ):
            if header.get(name) != expected:
                raise ScopeMismatch(_place(header), f"{name}: expected {expected}, found {header.get(name)}")
        run_id, runs = header["runId"], self.scope["runs"]
        index = len(self.heads) - (run_id in self.heads)
        if index >= len(runs) or runs[index]["runId"] != run_id:
            raise ScopeMismatch(_place(header), "the scope does not list its run at this place")

    # 6
    def _compare_scope(self) -> None:
        for listed, head in zip(self.scope["runs"], self.heads.values(), strict=False):
            for name, value in run_state(head).items():
                if listed[name] != value:
                    place = f"scope of run {head.run_id}"
                    raise ScopeMismatch(place, f"{name}: the events say {value}, found {listed[name]}")
        if len(self.scope["runs"]) > len(self.heads):
            missing = self.scope["runs"][len(self.heads)]["runId"]
            raise ScopeMismatch("scope", f"lists run {missing}, of which there are no events")

    def _check_payloads(self, headers: list[dict[str, Any]]) -> None:
        kept_back = KeptBack(self.scope, {header["id"]: header["type"] for header in headers})
        disclosures = self.tree["disclosures"]
        removed_payloads = removed_disclosures = 0
        for header, event in zip(headers, self.tree["events"], strict=True):
            event_id, place = header["id"], _place(header)
            texts = disclosures.get(event_id, [])
            if "payload" not in event:
                removed_payloads += kept_back.check_absent(event_id, place)
                if texts:
                    raise DisclosureRefused(place, "has disclosures, but no payload that refers to them")
                self.events[event_id] = VerifiedEvent(header, None)
                continue
            kept_back.check_present(event_id, place)
            opened = self._open(header, event["payload"], texts, place)
            removed_disclosures += kept_back.check_digests(event_id, opened.shown, opened.hidden, place)
            self.events[event_id] = VerifiedEvent(
                header, opened.value, len(opened.hidden), tuple(sorted(texts))
            )
        for event_id in disclosures.keys() - self.events.keys():
            raise DisclosureRefused("disclosures", f"of event {event_id}, which is not in the bundle")
        kept_back.check_erasures({event_id: event.payload for event_id, event in self.events.items()})
        self.erasures = tuple(
            erasure_of(self.events[by], payloads, erased)
            for by, (payloads, erased) in kept_back.erasures().items()
        )
        self.shown = kept_back.count(
            payloads=sum(event.payload is not None for event in self.events.values()),
            disclosures=sum(map(len, disclosures.values())),
            removed_payloads=removed_payloads,
            removed_disclosures=removed_disclosures,
        )

    def _open(
        self, header: Mapping[str, Any], payload: dict[str, Any], texts: list[str], place: str
    ) -> Opened:
        # 7
        found = digest(canonical.dumps(payload), self.scope["digestAlgorithm"])
        if found != header["contentHash"]:
            raise DigestMismatch(place, f"the payload hashes to {found}, not to {header['contentHash']}")
        if hidden := missing_plain(header["type"], payload):
            raise PayloadRefused(place, f"does not show its {hidden[0]}")
        # 8
        opened = open_payload(payload, texts, place)
        digests = opened.shown | opened.hidden
        if not self.digests.isdisjoint(digests):
            raise DisclosureRefused(place, "a digest in it stands in another event too")
        self.digests |= digests
        return opened

    # 9
    def _compare_views(self, headers: list[dict[str, Any]]) -> None:
        for name, expected in views(headers).items():
            if self.tree[name] != expected:
                raise ScopeMismatch(name, "is not the list of the events of its types, in bundle order")

    # 10
    def _check_completeness(self) -> str | None:
        """Verify the proof that the bundle is whole; return what is missing to do so, or None."""
        policy, proofs = self.trust.policy, self.tree["proofs"]
        if policy is not None and policy.logs and PROOF in proofs:
            try:
                self._verify_completeness(policy, Completeness.from_json(proofs[PROOF]))
            except Unverifiable as error:
                return str(error)
        elif policy is not None and policy.required:
            required = " and ".join(sorted(policy.required))
            self._lack(Incomplete("proofs", f"{required} is required, and nothing shows it"))
        return None

    def _verify_completeness(self, policy: TrustPolicy, proof: Completeness) -> None:
        bundle, log = self.bundle, self.scope["log"]
        verified = verify_completeness(
            proof, log, bundle.workflow_id, bundle.tenant_id, self.workflow_head, policy
        )
        if self.scope.get("checkpoint") != cited(verified.checkpoint):
            raise ScopeMismatch("scope checkpoint", "is not the one that the proof of completeness is of")
        self.notes.extend(verified.passed_over)
        now = time.time() if self.trust.now is None else self.trust.now
        try:
            policy.verify_requirements(verified, int(now))
        except Incomplete as error:
            self._lack(error, is_required=bool(policy.required))
        else:
            self.checkpoint = verified

    def _lack(self, error: Incomplete, *, is_required: bool = True) -> None:
        """Note what the policy asks for and the bundle does not show."""
        self.notes.append(str(error))
        if is_required:
            self.lacking = error

    def _note_proofs(self) -> None:
        proofs, policy = self.tree["proofs"], self.trust.policy
        if PROOF in proofs and (policy is None or not policy.logs):
            self.notes.append(f"proof of {PROOF}: unchecked, for no key of the log was given")
        if "checkpoint" in self.scope and PROOF not in proofs:
            self.notes.append(f"the proof of {PROOF} that it was signed with was removed")
        unknown = [kind for kind in proofs if kind != PROOF]
        self.notes.extend(f"proof of unknown kind {kind!r:.80}: unchecked" for kind in unknown)

    def _completeness(self) -> str:
        if self.checkpoint is None:
            return _ASSERTED
        checkpoint, existed_by = self.checkpoint.checkpoint, self.checkpoint.existed_by
        seen = "" if existed_by is None else f", which was there by {format_time(existed_by)}"
        return f"whole as of checkpoint {checkpoint.size} of {checkpoint.origin}{seen}"

    def _reasons(self) -> tuple[str, ...]:
        withheld = self.scope["withheld"]
        listed = [*withheld["payloads"], *withheld["disclosures"]]
        return tuple(dict.fromkeys(entry["reason"] for entry in listed))

    def report(self, verdict: Verdict) -> VerificationReport:
        """Return what was found, under this verdict."""
        return VerificationReport(
            verdict=verdict,
            bundle_id=self.bundle.bundle_id,
            workflow_id=self.bundle.workflow_id,
            tenant_id=self.bundle.tenant_id,
            log=self.scope["log"],
            created_at=self.tree["createdAt"],
            signature_alg=self.key.alg,
            key_id=self.key.key_id,
            convinces_third_parties=self.key.convinces_third_parties,
            workflow_head=self.workflow_head,
            runs=tuple(
                VerifiedRun(head.run_id, head.length, head.event_hash, head.closed)
                for head in self.heads.values()
            ),
            shown=self.shown,
            reasons=self._reasons(),
            disclosure_policy=self.scope.get("disclosurePolicy"),
            disclosure_policy_checked=self.policy_checked,
            erasures=self.erasures,
            completeness=self._completeness(),
            checkpoint=None if self.checkpoint is None else described(self.checkpoint),
            notes=tuple(self.notes),
            events=tuple(self.events.values()),
        )


_ASSERTED: Final = "completeness asserted by the signer"


def _place(header: Mapping[str, Any]) -> str:
    return f"event {header['seq']} of run {header['runId']}"
