"""Attempts to cheat: each is really made, on a copy, and shown to the tool that has to notice.

Who can write to the log's file may change it, and even make every hash anew; who has a bundle may
change it, shorten it, or sign one of their own. What none of them has is the signer's private key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from evidence import (
    DisclosurePolicy,
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    EvidenceError,
    VerificationFailed,
    verify_evidence_bundle,
)
from evidence.bundle import content_hash
from evidence.header import event_hash
from evidence.projection import views
from tracebus.demo import insider
from tracebus.demo.payments import TENANT
from tracebus.eventlog import SqliteEventLog
from tracebus.fsck import fsck

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A log, the key of its owner, and three bundles out of it: what there is to attack."""

    log: Path
    signer: Ed25519Signer
    approved: EvidenceBundle
    allowed: EvidenceBundle
    denied: EvidenceBundle


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried, and what noticed it: `kind` and `finding` are the finder's own words.

    `kind` is None if nothing was noticed, or if it was refused for a reason that is not the point.
    """

    what: str
    file: Path
    noticed_by: str
    kind: str | None
    finding: str

    @property
    def caught(self) -> bool:
        """Whether it was noticed."""
        return self.kind is not None


def export(
    log: Path, signer: Ed25519Signer, workflow_id: str, disclose: DisclosurePolicy | None = None
) -> EvidenceBundle:
    """Return a signed bundle of one payment."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        bundler = EvidenceBundler(source, signer)

        async def bundle() -> EvidenceBundle:
            return await bundler.bundle(workflow_id, tenant=TENANT, disclose=disclose)

        return anyio.run(bundle)


def make_attempts(evidence: Evidence, folder: Path) -> list[Attempt]:
    """Make every attempt; what each leaves behind goes into the folder."""
    attempts: list[Callable[[Evidence, Path], Attempt]] = [
        _change_approver,
        _delete_event,
        _rewrite_log,
        _change_verdict,
        _change_amount,
        _cut_tail,
        _sign_with_another_key,
        _present_another_payment,
    ]
    return [attempt(evidence, folder) for attempt in attempts]


# On the log


def _change_approver(evidence: Evidence, folder: Path) -> Attempt:
    path = folder / "approver-changed.db"
    with insider.editing(evidence.log, path) as connection:
        insider.change_approver(connection)
    return _by_fsck("an insider edits the log's file: lee.wong approved, not kim.jansen", path)


def _delete_event(evidence: Evidence, folder: Path) -> Attempt:
    path = folder / "event-deleted.db"
    with insider.editing(evidence.log, path) as connection:
        insider.delete_request(connection)
    return _by_fsck("an insider deletes the request for approval from the log's file", path)


def _rewrite_log(evidence: Evidence, folder: Path) -> Attempt:
    """Change the log so that fsck finds nothing, and let its unsuspecting owner sign a bundle of it."""
    path = _rewritten_log(evidence, folder)
    bundle = export(path, evidence.signer, evidence.approved.workflow_id)
    attempt = _by_verify(
        "an insider does as in a, makes every hash anew, and has the company sign a bundle of that",
        bundle.tree,
        folder / "log-rewritten.json",
        evidence,
        expected_head=evidence.approved.workflow_head(),
    )
    with closing(SqliteEventLog(path, read_only=True)) as log:
        if (fault := fsck(log).fault) is not None:
            raise RuntimeError(f"the log was not rewritten well enough: {fault}")
    return attempt


def _rewritten_log(evidence: Evidence, folder: Path) -> Path:
    path = folder / "log-rewritten.db"
    if not path.exists():
        with insider.editing(evidence.log, path) as connection:
            insider.change_approver(connection)
            insider.make_hashes_anew(connection, path, evidence.approved.workflow_id)
    return path


def _by_fsck(what: str, path: Path) -> Attempt:
    with closing(SqliteEventLog(path, read_only=True)) as log:
        fault = fsck(log).fault
    if fault is None:
        return Attempt(what, path, "fsck", None, "nothing was found")
    return Attempt(what, path, "fsck", fault.kind, f"{fault.place}: {fault.reason}")


# On a bundle


def _change_verdict(evidence: Evidence, folder: Path) -> Attempt:
    tree = evidence.denied.tree
    _event(tree, "policy_decision")["payload"]["decision"] = "allow"
    what = "somebody edits the third payment's bundle: the policy allowed it"
    return _by_verify(what, tree, folder / "verdict-changed.json", evidence)


def _change_amount(evidence: Evidence, folder: Path) -> Attempt:
    tree = evidence.approved.tree
    shown = tree["disclosures"][_event(tree, "tool_executed")["id"]]
    for i, text in enumerate(shown):
        clear = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        changed = clear.replace(b'"48000.00"', b'"4800.00"')
        shown[i] = base64.urlsafe_b64encode(changed).decode().rstrip("=")
    what = "somebody edits the bundle: 4,800 EUR were paid, not 48,000"
    return _by_verify(what, tree, folder / "amount-changed.json", evidence)


def _cut_tail(evidence: Evidence, folder: Path) -> Attempt:
    """Leave out what came after the approval, and make every number and hash fit again."""
    tree = evidence.approved.tree
    last = _event(tree, "approval_resolved")
    tree["events"] = tree["events"][: last["seq"] + 1]
    kept = {event["id"] for event in tree["events"]}
    header = {name: value for name, value in last.items() if name != "payload"}
    tree["scope"]["runs"][0] |= {
        "count": len(kept),
        "lastSeq": last["seq"],
        "head": event_hash(header),
        "closed": False,
    }
    tree["scope"]["redactable"] = [event_id for event_id in tree["scope"]["redactable"] if event_id in kept]
    tree["disclosures"] = {name: texts for name, texts in tree["disclosures"].items() if name in kept}
    tree |= views(tree["events"])
    tree["contentHash"] = content_hash(tree)
    what = "somebody cuts off the end, the payment itself, and makes all hashes fit"
    return _by_verify(what, tree, folder / "tail-cut.json", evidence)


def _sign_with_another_key(evidence: Evidence, folder: Path) -> Attempt:
    path = _rewritten_log(evidence, folder)
    bundle = export(path, Ed25519Signer.generate(), evidence.approved.workflow_id)
    what = "somebody makes a whole bundle, sound in itself, and signs it with another key"
    return _by_verify(what, bundle.tree, folder / "signed-by-another.json", evidence)


def _present_another_payment(evidence: Evidence, folder: Path) -> Attempt:
    what = "somebody presents the second payment's bundle, genuine, as that of the first"
    path, expected = folder / "another-payment.json", evidence.approved.workflow_id
    return _by_verify(what, evidence.allowed.tree, path, evidence, expected_workflow=expected)


def _event(tree: Tree, event_type: str) -> Tree:
    event: Tree = next(event for event in tree["events"] if event["type"] == event_type)
    return event


def _by_verify(
    what: str,
    tree: Tree,
    path: Path,
    evidence: Evidence,
    *,
    expected_workflow: str | None = None,
    expected_head: str | None = None,
) -> Attempt:
    """Write the bundle, read it again, and verify it as one who has the public key alone."""
    path.write_text(json.dumps(tree), encoding="utf-8")
    by = "verify --head" if expected_head else "verify --workflow" if expected_workflow else "verify"
    try:
        verify_evidence_bundle(
            path.read_bytes(),
            evidence.signer.verifying_key,
            expected_workflow=expected_workflow or tree["workflowId"],
            expected_tenant=TENANT,
            expected_head=expected_head,
        )
    except VerificationFailed as error:
        return Attempt(what, path, by, type(error).__name__, str(error))
    except EvidenceError as error:
        return Attempt(what, path, by, None, f"refused, but for another reason: {error!r}")
    return Attempt(what, path, by, None, "it was verified")
