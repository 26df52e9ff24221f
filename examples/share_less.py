"""Pass evidence on, and show less of it: no key is needed, and the signature still holds.

python examples/share_less.py
"""

import anyio

from evidence import Ed25519Signer, EvidenceBundler, redact_evidence_bundle, verify_evidence_bundle
from tracebus import ApprovalResolved, MemoryEventLog, ToolExecuted, ToolProposed, TraceEventBus


async def main() -> None:
    # The operator records a payment, and signs a bundle for an auditor, which shows everything.
    log, signer = MemoryEventLog(), Ed25519Signer.generate()
    async with TraceEventBus(log) as bus, bus.run(workflow_id="transfer-42", user_id="u-91"):
        await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"iban": "DE89…", "cents": 500}))
        await bus.publish(
            ApprovalResolved(request_id="a1", actor="kim", identity_source="idp", verdict="approved")
        )
        await bus.publish(ToolExecuted(tool="wire", call_id="c1", status="ok", result={"reference": "77"}))
    bundle = await EvidenceBundler(log, signer).bundle("transfer-42")

    # The auditor passes it on without the account and the customer, and without what the tool answered.
    less = redact_evidence_bundle(
        bundle.to_json(),
        members=["tool_proposed:arguments", "*:userId"],
        payloads=["tool_executed"],
        public_key=signer.verifying_key,
    )
    print("removed: ", less.payloads, "payload,", less.members, "members")

    # Whoever receives it verifies what the operator signed, and sees what is missing; not what it said.
    received = less.bundle.to_json()
    report = verify_evidence_bundle(received, signer.verifying_key, expected_workflow="transfer-42")
    print(report.headline)
    for event in report.events:
        shown = {name: value for name, value in (event.payload or {}).items() if name != "_salt"}
        print(f"  {event.type:<18} {shown if event.payload else 'removed'}  hidden members: {event.hidden}")

    # Disclosures are base64 in the file, so a search through its bytes finds nothing either way.
    before = verify_evidence_bundle(bundle, signer.verifying_key)
    assert ["DE89" in str(shown.events) for shown in (before, report)] == [True, False]


if __name__ == "__main__":
    anyio.run(main)
