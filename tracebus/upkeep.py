"""Maintenance: runs that record what was done with the record, in a workflow or in the log's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evidence.bundle import EvidenceBundle
from tracebus.committed import Committer
from tracebus.eventlog.base import Draft
from tracebus.events import BundleExported, RunCompleted, RunStarted
from tracebus.ids import new_ulid
from tracebus.kept_texts import check_no_secret
from tracebus.payload import EventPayload
from tracebus.secret_scanner import DEFAULT_SCANNER

RESERVED_PREFIX: Final = "tracebus:"
"""Ids that begin so belong to the log itself."""

LOG_WORKFLOW: Final = f"{RESERVED_PREFIX}log"

_COMMITTER: Final = Committer(scanner=DEFAULT_SCANNER)
"""Masks credentials in texts that nobody was asked to write anew, such as why a key was retired."""


def exported(
    bundle: EvidenceBundle,
    *,
    actor: str | None = None,
    recipient: str | None = None,
    purpose: str | None = None,
) -> BundleExported:
    """Return what the log's own workflow records of an export: by whom, for whom and what for, too.

    Under a later checkpoint it shows that the bundle is older than that. An erasure lists by it who has
    bundles of what was erased.

    Raises:
        ValueError: One of these texts holds a credential.
    """
    check_no_secret(actor=actor, recipient=recipient, purpose=purpose)
    tree = bundle.tree
    withheld, erased = tree["scope"]["withheld"], tree["scope"]["erased"]
    return BundleExported(
        bundle_id=bundle.bundle_id,
        workflow_id=bundle.workflow_id,
        tenant_id=bundle.tenant_id,
        content_hash=tree["contentHash"],
        key_id=tree["signature"]["keyId"],
        event_count=len(tree["events"]),
        withheld_payload_count=len(withheld["payloads"]),
        withheld_disclosure_count=sum(len(entry["digests"]) for entry in withheld["disclosures"]),
        erased_payload_count=len(erased["payloads"]),
        erased_disclosure_count=sum(len(entry["digests"]) for entry in erased["disclosures"]),
        disclosure_policy_digest=tree["scope"].get("disclosurePolicy"),
        actor=actor,
        recipient=recipient,
        purpose=purpose,
    )


def log_run(*payloads: EventPayload) -> list[Draft]:
    """Return the drafts of a whole run of the log's own workflow, to be appended as one group.

    A run for each occasion, so none is ever left open.
    """
    return _maintenance(f"{RESERVED_PREFIX}{new_ulid()}", LOG_WORKFLOW, None, payloads)


def workflow_run(workflow_id: str, tenant_id: str | None, *payloads: EventPayload) -> list[Draft]:
    """Return the drafts of a whole maintenance run of a workflow, to be appended as one group."""
    return _maintenance(f"run-{new_ulid()}", workflow_id, tenant_id, payloads)


def _maintenance(
    run_id: str, workflow_id: str, tenant_id: str | None, payloads: Sequence[EventPayload]
) -> list[Draft]:
    return [
        Draft(
            run_id=run_id, workflow_id=workflow_id, committed=_COMMITTER.commit(payload), tenant_id=tenant_id
        )
        for payload in (RunStarted(kind="maintenance"), *payloads, RunCompleted(outcome="completed"))
    ]
