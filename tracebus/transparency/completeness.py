"""Proofs, from the tree store, that a workflow is whole as of the newest checkpoint."""

from __future__ import annotations

from evidence import heads_map
from evidence.completeness import Completeness
from evidence.heads_map import workflow_key
from evidence.merkle import inclusion_proof
from evidence.note import format_note, parse_note
from evidence.workflow_source import WorkflowProof
from tracebus.transparency.anchorings import Anchorings
from tracebus.transparency.store import TreeStore


def prove_workflow(
    store: TreeStore, origin: str, workflow_id: str, tenant_id: str | None
) -> WorkflowProof | None:
    """Return the proof that the newest checkpoint has all of a workflow, and how many events of each run.

    The checkpoint bears the cosignatures and timestamps that anchors brought back.

    None if there is no checkpoint, if it does not have the workflow yet, or if the tree has newer events of
    the workflow than it has: then another one is to be signed first.

    Args:
        store: The log's tree store.
        origin: The log.
        workflow_id: The workflow.
        tenant_id: Its tenant, or None.

    Raises:
        EventLogUnavailable: The store cannot be read now.
        EventLogRefused: The store is damaged, or another log's.
        LogDamaged: The store does not have what the checkpoint is of.
    """
    with store.using():
        store.state_of(origin)
        signed = store.signed_tree()
        runs = store.runs_of(workflow_id, tenant_id)
        if signed is None or not runs or any(run.touched >= signed.heads for run in runs):
            return None
        inclusion = inclusion_proof(signed.size - 1, signed.size, store.reader(signed.size))
        heads = heads_map.prove(workflow_key(workflow_id, tenant_id), signed.map_root, store.node)
        anchored = Anchorings(store)
        note = parse_note(signed.note).with_signatures(*anchored.cosignatures(signed.size))
        timestamps = anchored.timestamps(signed.size)
    proof = Completeness(format_note(note), signed.map_root, tuple(inclusion), heads, timestamps)
    return WorkflowProof({run.run_id: run.events for run in runs}, proof)
