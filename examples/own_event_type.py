"""Define an event type of your own, with members that can be withheld and members that take anything.

python examples/own_event_type.py
"""

import anyio

from evidence import DisclosurePolicy, Ed25519Signer, EvidenceBundler, Withholding, verify_evidence_bundle
from tracebus import EventPayload, FreeForm, MemoryEventLog, Sensitive, TraceEventBus


class RefundIssued(EventPayload, type="acme.refund_issued"):  # your types have a dot in them
    """Money went back to a customer."""

    order: str
    cents: int
    customer: Sensitive[str | None] = None
    """Leaves the payload as a salted digest: it can be withheld from a bundle, and erased."""
    answer: Sensitive[FreeForm] = None
    """Whatever the payment service answered; nothing that it may send stops the record."""


async def main() -> None:
    log = MemoryEventLog()
    async with TraceEventBus(log) as bus, bus.run(workflow_id="order-7"):
        answer = {"status": "ok", "odd": float("nan")}  # no JSON number, and recorded all the same
        event = await bus.publish(RefundIssued(order="7", cents=1999, customer="Ada", answer=answer))
        print("published:", event.payload)
        print("committed:", event.to_wire()["payload"])

        # A dict will do, too; then nothing checks its members.
        await bus.publish({"order": "7", "mail": "sent"}, type="acme.customer_told")

    signer = Ed25519Signer.generate()
    withhold = Withholding(["acme.refund_issued:/customer"], reason="not needed for the audit")
    policy = DisclosurePolicy(withhold=[withhold])
    bundle = await EvidenceBundler(log, signer).bundle("order-7", disclose=policy)
    report = verify_evidence_bundle(bundle, signer.verifying_key, expected_workflow="order-7")
    refund = next(event for event in report.events if event.type == "acme.refund_issued")
    print("verified: ", refund.payload)
    print("withheld: ", report.shown.withheld_disclosures, "member")


if __name__ == "__main__":
    anyio.run(main)
