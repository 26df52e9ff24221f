"""The demo from beginning to end, in one folder; `tracebus.cli.demo` prints what it returns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import anyio

from evidence import (
    DisclosurePolicy,
    Ed25519Signer,
    EvidenceBundle,
    VerificationReport,
    redact_evidence_bundle,
    verify_evidence_bundle,
)
from tracebus.bus import TraceEventBus
from tracebus.demo.attempts import Attempt, Evidence, export, make_attempts
from tracebus.demo.forgetting import Forgotten, forget
from tracebus.demo.ledger import Ledger, Transfer
from tracebus.demo.payments import PAYMENTS, TENANT, Payment, pay
from tracebus.errors import TracebusError
from tracebus.eventlog import EventQuery, SqliteEventLog
from tracebus.eventlog.base import AnyEvent

FUNDS: Final = 100_000_00
DISCLOSED: Final = DisclosurePolicy(show=["*"], reason="who is paid, and how much, is confidential")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened; `ok` is whether all of it went as it should."""

    folder: Path
    payments: dict[str, list[AnyEvent]]
    transfers: list[Transfer]
    balance: int
    unrecorded: str | None
    report: VerificationReport
    approver_saw: dict[str, Any] | None
    withheld: VerificationReport
    passed_on: VerificationReport
    forgotten: Forgotten
    attempts: list[Attempt]

    @property
    def ok(self) -> bool:
        """Whether the bundles verified, the money fits the record, and every attempt was noticed."""
        return (
            self.fits_the_ledger
            and self.unrecorded is not None
            and self.approver_saw is not None
            and self.report.verdict == self.withheld.verdict == self.passed_on.verdict == "verified"
            and self.forgotten.ok
            and all(attempt.caught for attempt in self.attempts)
        )

    @property
    def fits_the_ledger(self) -> bool:
        """Whether the ledger paid what the log says, allowed by the events that it names."""
        recorded = [
            event
            for events in self.payments.values()
            for event in events
            if event.type == "tool_executed" and event.payload.status == "ok"  # type: ignore[union-attr]
        ]
        paid = [
            (event.payload.result["transfer"], event.payload.result["cents"], *event.causes)  # type: ignore[union-attr]
            for event in recorded
        ]
        lines = [(line.number, line.cents, line.allowed_by) for line in self.transfers]
        return paid == lines and self.balance == FUNDS - sum(line.cents for line in self.transfers)


def tell(folder: Path) -> Outcome:
    """Do everything that the demo shows, with its files in this folder."""
    ledger = Ledger(folder / "ledger.db")
    ledger.create(FUNDS)
    log_path = folder / "trace.db"
    anyio.run(_pay_all, log_path, ledger)
    unrecorded = anyio.run(_pay_unrecorded, log_path, ledger)
    signer = make_keys(folder / "treasury")
    evidence = Evidence(log_path, signer, *(export(log_path, signer, p.workflow_id) for p in PAYMENTS))
    (folder / "payment-1881.json").write_bytes(evidence.approved.to_json())
    (folder / "attempts").mkdir()
    report = _verify(evidence.approved, folder)
    return Outcome(
        folder=folder,
        payments=dict(_recorded(log_path)),
        transfers=ledger.transfers(),
        balance=ledger.balance(),
        unrecorded=unrecorded,
        report=report,
        approver_saw=what_approver_saw(report),
        withheld=_verify(export(log_path, signer, PAYMENTS[0].workflow_id, DISCLOSED), folder),
        passed_on=_verify(_without_arguments(evidence.approved), folder),
        forgotten=forget(evidence, PAYMENTS[1], folder / "forgotten.db"),
        attempts=make_attempts(evidence, folder / "attempts"),
    )


async def _pay_all(path: Path, ledger: Ledger) -> None:
    log = SqliteEventLog(path, name="demo")
    async with TraceEventBus(log) as bus:
        for payment in PAYMENTS:
            await pay(bus, ledger, payment)
    log.close()


async def _pay_unrecorded(path: Path, ledger: Ledger) -> str | None:
    """Try to pay while the log cannot be written; return why nothing was paid."""
    log = SqliteEventLog(path, read_only=True)
    payment = Payment("1884", "Blume Office Supply", Decimal("75.00"))
    with closing(log):
        try:
            async with TraceEventBus(log) as bus:
                await pay(bus, ledger, payment)
        except TracebusError as error:
            return f"{type(error).__name__}: {error}"
    return None


def make_keys(base: Path) -> Ed25519Signer:
    """Make a key pair, as ``tracebus keygen`` does."""
    signer = Ed25519Signer.generate()
    private = os.open(base.with_suffix(".key"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(private, "w", encoding="ascii") as file:
        file.write(signer.to_pem())
    base.with_suffix(".pub").write_text(signer.verifying_key.to_pem(), encoding="ascii")
    return signer


def _recorded(path: Path) -> Iterator[tuple[str, list[AnyEvent]]]:
    with closing(SqliteEventLog(path, read_only=True)) as log:
        for payment in PAYMENTS:
            yield payment.workflow_id, list(log.query(EventQuery(workflow_id=payment.workflow_id)))


def _verify(bundle: EvidenceBundle, folder: Path) -> VerificationReport:
    """Verify as somebody does who has the bundle and the public key's file, and nothing else."""
    return verify_evidence_bundle(
        bundle.to_json(),
        (folder / "treasury.pub").read_bytes(),
        expected_workflow=PAYMENTS[0].workflow_id,
        expected_tenant=TENANT,
    )


def what_approver_saw(report: VerificationReport) -> dict[str, Any] | None:
    """Return what the approval names by digest, if the bundle shows just that."""
    requested = next(event for event in report.events if event.type == "approval_requested")
    resolved = next(event for event in report.events if event.type == "approval_resolved")
    if not requested.payload or not resolved.payload or "shown" not in requested.payload:
        return None
    is_same = resolved.payload["shownDigest"] == requested.member_digest("shown")
    return dict(requested.payload["shown"]) if is_same else None


def _without_arguments(bundle: EvidenceBundle) -> EvidenceBundle:
    """Do as a holder may who passes a bundle on: leave out the arguments of the tool calls."""
    return redact_evidence_bundle(bundle, members=["tool_*:/arguments"]).bundle
