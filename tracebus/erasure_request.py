"""A request to erase: who asks for what to go, and why.

::

    request = ErasureRequest("privacy-desk", "asked for by the person concerned", user_id="u-91")
    plan = plan_erasure(log, request)       # what would go; changes nothing
    report = erase(log, request)            # all of it, with its records, or nothing

Both are in `tracebus.erasure_plan`, and block, as logs do: in async code call them in a worker thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from evidence.pattern import Pattern
from tracebus.eventlog.base import ANY_TENANT
from tracebus.events import DataErased, ErasureTarget, IdentitySource
from tracebus.holds import WorkflowKey
from tracebus.kept_texts import check_no_secret, check_unnamed
from tracebus.upkeep import RESERVED_PREFIX


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """Who erases what, and why. One of `workflow`, `user_id` and `event_ids` says of what.

    Args:
        actor: Who ordered it; never the person whose data it is.
        reason: Why, in one line. It stays: put nothing into it that is to be erased.
        legal_basis: Law or contract that it rests on.
        request_id: The request or ticket that asked for it.
        identity_source: How the actor's identity is known.
        workflow: All events of this workflow.
        user_id: All events of the runs that were started for this person, by the log's index.
        tenant_id: With `user_id`: only of this tenant, or with None only of none.
        event_ids: These events.
        only: Of them, only the sensitive members that these patterns mean, and what stands below.
        payloads: Whole payloads, too: of types that `may_erase_payload`, and that patterns without a
            member mean where there are any; of a named event, whatever its type.

    Raises:
        ValueError: Not one of the three is given; it is the log's own workflow; actor or reason is
            empty; or one of the texts that stay names the person, or holds a credential.
    """

    actor: str
    reason: str
    legal_basis: str | None = None
    request_id: str | None = None
    identity_source: IdentitySource | None = None
    workflow: WorkflowKey | None = None
    user_id: str | None = None
    tenant_id: str | object | None = ANY_TENANT
    event_ids: tuple[str, ...] = ()
    only: tuple[Pattern, ...] = ()
    payloads: bool = False

    def __post_init__(self) -> None:
        if (self.workflow is not None) + (self.user_id is not None) + bool(self.event_ids) != 1:
            raise ValueError("expected one of a workflow, a user and events to erase")
        if self.workflow is not None and self.workflow.workflow_id.startswith(RESERVED_PREFIX):
            raise ValueError(f"{self.workflow.workflow_id} is the log's own record; nothing of it is erased")
        if not self.actor.strip() or not self.reason.strip():
            raise ValueError("expected an actor and a reason, for the record of the erasure")
        texts = {"actor": self.actor, "reason": self.reason}
        given = {"legal_basis": self.legal_basis, "request_id": self.request_id}
        check_no_secret(**texts, **given)
        if self.user_id is not None:
            check_unnamed(self.user_id, **texts, **given)

    def record(self, targets: list[ErasureTarget]) -> DataErased:
        """Return the event that records that these targets were erased."""
        return DataErased(
            actor=self.actor,
            reason=self.reason,
            targets=targets,
            identity_source=self.identity_source,
            legal_basis=self.legal_basis,
            request_id=self.request_id,
        )
