"""Forgetting: what a payment says of its payee is erased from a copy of the log, on the record."""

from __future__ import annotations

import shutil
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from evidence import VerificationReport, verify_evidence_bundle
from tracebus.demo.attempts import Evidence, export
from tracebus.demo.payments import TENANT, Payment
from tracebus.erasure_plan import erase
from tracebus.erasure_request import ErasureRequest
from tracebus.eventlog import SqliteEventLog
from tracebus.fsck import fsck
from tracebus.holds import WorkflowKey


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of it: how often the name stood in the file's bytes, and what two bundles show.

    `earlier` was made before the erasure and is verified after it, `later` was made of what is left.
    `is_sound` is whether the copy holds together.
    """

    before: int
    after: int
    is_sound: bool
    earlier: VerificationReport
    later: VerificationReport

    @property
    def ok(self) -> bool:
        """Whether nothing is left of it, and everything else holds."""
        is_gone = self.before > 0 == self.after
        return is_gone and self.is_sound and self.earlier.verdict == self.later.verdict == "verified"


def forget(evidence: Evidence, payment: Payment, path: Path) -> Forgotten:
    """Erase a payment's sensitive members from a copy of the log, which is put at a path."""
    shutil.copyfile(evidence.log, path)
    before = _count(path, payment.payee)
    request = ErasureRequest(
        "privacy-desk",
        "asked for by the payee",
        legal_basis="GDPR Art. 17(1)(b)",
        workflow=WorkflowKey(payment.workflow_id, TENANT),
    )
    with closing(SqliteEventLog(path)) as log:
        log.open()
        erase(log, request)
        is_sound = fsck(log).fault is None
    later = export(path, evidence.signer, payment.workflow_id)
    key = evidence.signer.verifying_key
    return Forgotten(
        before=before,
        after=_count(path, payment.payee),
        is_sound=is_sound,
        earlier=verify_evidence_bundle(evidence.allowed.to_json(), key),
        later=verify_evidence_bundle(later.to_json(), key),
    )


def _count(path: Path, text: str) -> int:
    data = path.read_bytes()
    return sum(data.count(spelling) for spelling in _spellings(text.encode()))


def _spellings(text: bytes) -> Iterator[bytes]:
    """Yield a text as it may stand in the file: in the clear, and at each place within base64url."""
    yield text
    for before in range(3):
        encoded = urlsafe_b64encode(bytes(before) + text)
        yield encoded[-(-before * 8 // 6) : (before + len(text)) * 8 // 6]
