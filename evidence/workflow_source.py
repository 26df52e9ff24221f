"""What a bundler needs of an event log: the events of one workflow, and the proof that they are all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from evidence.completeness import Completeness
from evidence.header import Header


class WorkflowEvent(NamedTuple):
    """An event as a log keeps it: header, payload bytes (None once erased), disclosures held."""

    header: Header
    payload: bytes | None
    disclosures: Sequence[str]


class WorkflowSource(Protocol):
    """What a bundler needs of an event log."""

    async def read_workflow(self, workflow_id: str, tenant_id: str | None) -> Sequence[WorkflowEvent]:
        """Return the workflow's events, run by run in the order of their first events; or none."""
        ...


class WorkflowProof(NamedTuple):
    """How many events of each run of a workflow a checkpoint has, by run id, and the proof of it."""

    counts: Mapping[str, int]
    proof: Completeness

    def has(self, header: Header) -> bool:
        """Tell whether an event of the workflow is one that the checkpoint has."""
        run_id, seq = header.get("runId"), header.get("seq")
        return isinstance(run_id, str) and isinstance(seq, int) and seq < self.counts.get(run_id, 0)


@runtime_checkable
class CompletenessSource(Protocol):
    """What a bundler needs of a log to prove that a bundle is whole; a `WorkflowSource` may be one, too."""

    async def read_completeness(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        """Return the proof by the newest checkpoint; None if no checkpoint has the workflow."""
        ...
