"""Record a workflow, export it as a signed bundle, and verify that.

    python examples/record_and_verify.py            # files in a temporary folder
    python examples/record_and_verify.py FOLDER     # or here

This is the README's first screen as a file.
"""

import sys
import tempfile
from pathlib import Path

import anyio

from evidence import Ed25519Signer, EvidenceBundle, EvidenceBundler, verify_evidence_bundle
from tracebus import ApprovalResolved, SqliteEventLog, ToolExecuted, ToolProposed, TraceEventBus


async def record(log: SqliteEventLog) -> None:
    async with TraceEventBus(log) as bus, bus.run(workflow_id="transfer-42", user_id="u-91"):
        await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"amount": "5000.00"}))
        await bus.publish(
            ApprovalResolved(request_id="a1", actor="kim", identity_source="session", verdict="approved")
        )
        # Here the events above are on the disk: now, and not earlier, the tool may run.
        await bus.publish(ToolExecuted(tool="wire", call_id="c1", status="ok", result={"reference": "W-1"}))


async def record_and_export(folder: Path, signer: Ed25519Signer) -> EvidenceBundle:
    log = SqliteEventLog(folder / "trace.db", name="payments")
    await record(log)
    bundle = await EvidenceBundler(log, signer).bundle("transfer-42")
    log.close()
    return bundle


def verify(folder: Path) -> None:
    """Needs the two files and nothing else: no log, no network, no trust in whoever sent the bundle."""
    bundle, public_key = (folder / "transfer-42.json").read_bytes(), (folder / "treasury.pub").read_bytes()
    report = verify_evidence_bundle(bundle, public_key, expected_workflow="transfer-42")
    print(report.headline)
    for event in report.events:
        print(f"  {event.header['seq']}  {event.type}")


def main(folder: Path) -> None:
    signer = Ed25519Signer.generate()  # in earnest: tracebus keygen, then Ed25519Signer.from_file
    bundle = anyio.run(record_and_export, folder, signer)
    (folder / "transfer-42.json").write_bytes(bundle.to_json())
    (folder / "treasury.pub").write_text(signer.verifying_key.to_pem())
    verify(folder)
    print(f"files in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="tracebus-")))
