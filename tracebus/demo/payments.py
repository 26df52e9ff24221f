"""The workflow of the demo: an agent proposes payments, a policy and a person decide, a ledger pays.

This is how a runtime uses the bus: it publishes what is about to happen, waits until that is on the
disk, and only then acts. `pay` is the whole of it.

No model is called: the agent's choices, and the person's, are scripted. The ledger is real.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import anyio.to_thread

from tracebus import (
    ApprovalRequested,
    ApprovalResolved,
    PolicyDecision,
    RunStarted,
    Software,
    ToolExecuted,
    ToolProposed,
    TraceEvent,
    TraceEventBus,
)
from tracebus.demo.ledger import Ledger, Transfer

TENANT: Final = "acme"
LIMIT: Final = Decimal("10000.00")
KNOWN_PAYEES: Final = frozenset({"Nordwind Logistics", "Blume Office Supply"})


@dataclass(frozen=True)
class Payment:
    """A payment that the agent wants made."""

    invoice: str
    payee: str
    amount: Decimal

    @property
    def workflow_id(self) -> str:
        """The workflow that is about this payment, and nothing else."""
        return f"payment-{self.invoice}"

    def arguments(self) -> dict[str, str]:
        """Return what the tool is called with."""
        return {
            "payee": self.payee,
            "amount": str(self.amount),
            "currency": "EUR",
            "reference": f"invoice {self.invoice}",
        }

    def __str__(self) -> str:
        return f"{self.amount:,} EUR to {self.payee} for invoice {self.invoice}"


PAYMENTS: Final = (
    Payment("1881", "Nordwind Logistics", Decimal("48000.00")),
    Payment("1882", "Blume Office Supply", Decimal("320.00")),
    Payment("1883", "QuikCash Ltd", Decimal("9500.00")),
)
"""What the scripted agent chooses: one over the limit, one below, one to nobody it may pay."""


class Answer(NamedTuple):
    """What a person answered."""

    actor: str
    role: str
    verdict: Literal["approved", "rejected"]
    reason: str


Ask = Callable[[dict[str, Any]], Awaitable[Answer]]
"""Shows a request to a person, and waits for the answer."""


async def ask_kim(shown: dict[str, Any]) -> Answer:
    """Answer as the script says; in earnest, this puts the request on somebody's screen."""
    return Answer("kim.jansen", "head of treasury", "approved", "checked against the purchase order")


async def pay(bus: TraceEventBus, ledger: Ledger, payment: Payment, ask: Ask = ask_kim) -> None:
    """Make one payment, if the policy, and the person where the policy wants one, allow it."""
    run = bus.run(
        workflow_id=payment.workflow_id,
        run_id=f"{payment.workflow_id}/1",
        tenant_id=TENANT,
        agent_id="treasury-agent",
        user_id="u-91",
        started=RunStarted(agent=Software(name="scripted-agent"), environment="demo"),
    )
    async with run as started, started.turn():
        proposed = await bus.publish(
            ToolProposed(tool="transfer", call_id="c1", target="ledger", arguments=payment.arguments())
        )
        decided = await bus.publish(judge(payment), causes=[proposed])
        allowed_by = decided.id if decided.payload.decision == "allow" else None
        if decided.payload.decision == "require_approval":
            resolved = await approve(bus, payment, decided, ask)
            allowed_by = resolved.id if resolved.payload.verdict == "approved" else None
        await execute(bus, ledger, payment, allowed_by)


def judge(payment: Payment) -> PolicyDecision:
    """Ask the policy: who may be paid, and how much without a person's approval."""
    decision: Literal["allow", "deny", "require_approval"]
    if payment.payee not in KNOWN_PAYEES:
        decision, rule, reason = "deny", "known-payees", f"{payment.payee} is not a known payee"
    elif payment.amount > LIMIT:
        decision, rule, reason = "require_approval", "four-eyes", f"over {LIMIT:,} EUR"
    else:
        decision, rule, reason = "allow", "small-payments", f"not over {LIMIT:,} EUR"
    return PolicyDecision(
        policy="payments",
        version="3",
        rule=rule,
        decision=decision,
        reason=reason,
        call_id="c1",
        required_approval="treasury" if decision == "require_approval" else None,
    )


async def approve(
    bus: TraceEventBus, payment: Payment, decided: TraceEvent[PolicyDecision], ask: Ask
) -> TraceEvent[ApprovalResolved]:
    """Ask a person; record what they were shown before they see it, and what they said."""
    shown = {"question": f"Pay {payment}?", **payment.arguments()}
    requested = await bus.publish(
        ApprovalRequested(
            request_id="a1",
            call_id="c1",
            tool="transfer",
            approvers=["treasury"],
            policy="payments",
            shown=shown,
        ),
        causes=[decided],
    )
    answer = await ask(shown)
    return await bus.publish(
        ApprovalResolved(
            request_id="a1",
            call_id="c1",
            actor=answer.actor,
            actor_role=answer.role,
            identity_source="asserted",  # nobody logged in: the script says that it is Kim
            verdict=answer.verdict,
            reason=answer.reason,
            shown_digest=requested.member_digest("shown"),
        ),
        causes=[requested],
        risk="high",
    )


async def execute(bus: TraceEventBus, ledger: Ledger, payment: Payment, allowed_by: str | None) -> None:
    """Let the ledger pay, if an event that is on the disk allows it; record what came of it."""
    if allowed_by is None:
        await bus.publish(ToolExecuted(tool="transfer", call_id="c1", target="ledger", status="denied"))
        return
    arguments = payment.arguments()
    line = await anyio.to_thread.run_sync(_transfer, ledger, payment, allowed_by)
    await bus.publish(
        ToolExecuted(
            tool="transfer",
            call_id="c1",
            target="ledger",
            status="ok",
            arguments=arguments,
            result={"transfer": line.number, "cents": line.cents},
        ),
        causes=[allowed_by],
    )


def _transfer(ledger: Ledger, payment: Payment, allowed_by: str) -> Transfer:
    return ledger.transfer(payment.payee, int(payment.amount * 100), f"invoice {payment.invoice}", allowed_by)
