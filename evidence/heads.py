r"""Workflow heads: one digest for the state of a whole workflow.

A workflow is (tenantId, workflowId): one or more runs. Its head commits to how many events each run
has, to each run's last event hash, and to whether it has ended, so whoever knows the head notices a
missing tail and a missing run::

    workflow head = SHA-256("tracebus/workflow/v1\n" ‖ JCS({tenantId?, workflowId,
                                                            runs:[{runId, count, head, closed}]}))

Runs stand in the order of their first events in the log (`schemas/bundle-v1.md` section 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from evidence import canonical
from evidence.chain import RunHead
from evidence.digest import sha256

_DOMAIN: Final = b"tracebus/workflow/v1\n"


def workflow_head(workflow_id: str, tenant_id: str | None, runs: Iterable[Mapping[str, Any]]) -> str:
    """Return the head of a workflow.

    Args:
        workflow_id: The workflow.
        tenant_id: Its tenant, or None.
        runs: For each run its ``runId``, ``count``, ``head`` and ``closed``, as a bundle's scope has
            them; other members are left out of account.
    """
    state: dict[str, Any] = {
        "workflowId": workflow_id,
        "runs": [{name: run[name] for name in ("runId", "count", "head", "closed")} for run in runs],
    }
    if tenant_id is not None:
        state["tenantId"] = tenant_id
    return sha256(_DOMAIN + canonical.dumps(state))


def run_state(head: RunHead) -> dict[str, Any]:
    """Return what a bundle's scope says of a run with this head."""
    return {
        "runId": head.run_id,
        "count": head.length,
        "firstSeq": 0,
        "lastSeq": head.seq,
        "head": head.event_hash,
        "closed": head.closed,
    }
