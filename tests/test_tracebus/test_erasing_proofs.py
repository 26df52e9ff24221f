"""What was signed, shown or copied before an erasure still verifies, and so does what is made afterwards."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import anyio

from evidence import EvidenceBundler, verify_evidence_bundle
from evidence.checkpoint import open_checkpoint
from evidence.note import NoteKey
from tests.test_tracebus.erasing import hashes
from tests.test_tracebus.trees import SIGNER, check_tree
from tests.translog import LOG_SIGNER, append_run, make_log, write_jsonl
from tracebus import EventQuery, SqliteEventLog
from tracebus._erasing_contract import erasing, record
from tracebus.anchor import DirectoryAnchor, PublishedLog
from tracebus.eventlog.base import Targets
from tracebus.transparency.audit import Claim, audit
from tracebus.transparency.checkpoints import Checkpointer
from tracebus.transparency.copies import JsonlCopy, SqliteCopy, TilesCopy, folder_fetch


def test_proofs_from_before_and_after(tmp_path: Path) -> None:
    """Checkpoints, tree and completeness proofs are what they were; those made afterwards verify, too."""
    path = tmp_path / "trace.db"
    notes = make_log(path)
    with closing(SqliteEventLog(path)) as log:
        proof = log.prove_workflow("w", "acme")
        before, root = hashes(log), log.tree_store.root(log.tree_store.state().size)
        erase_tools(log)
        assert before == hashes(log)[: len(before)]
        assert notes == log.tree_store.checkpoints()
        assert (proof is not None, proof) == (True, log.prove_workflow("w", "acme"))
        assert root == log.tree_store.root(log.tree_store.state().size)
        append_run(log, "later")
        assert notes != [Checkpointer(log, LOG_SIGNER).checkpoint()]
        check_tree(log)


def erase_tools(log: SqliteEventLog) -> int:
    """Erase the payloads of all tool events of workflow w, and scrub; return how many there were."""
    tools = log.query(EventQuery(workflow_id="w", types=("tool_executed",)))
    targets: Targets = dict.fromkeys(event.id for event in tools)
    log.erase(erasing(log, targets, record(targets, "w", "acme")))
    log.scrub()
    return len(targets)


def test_bundles_from_before_and_after(tmp_path: Path) -> None:
    """A bundle that was made before an erasure verifies and shows all; one made afterwards what is left."""
    make_log(tmp_path / "trace.db")
    with closing(SqliteEventLog(tmp_path / "trace.db")) as log:

        async def export() -> bytes:
            return (await EvidenceBundler(log, SIGNER).bundle("w", tenant="acme")).to_json()

        before = anyio.run(export)
        count = erase_tools(log)
        after = anyio.run(export)
    shown = [
        sum(
            event.payload is not None for event in verify_evidence_bundle(bundle, SIGNER.verifying_key).events
        )
        for bundle in (before, after)
    ]
    assert shown[0] + 3 - count == shown[1]


def test_audits_from_before_and_after(tmp_path: Path) -> None:
    """The erased log is verified, and so is its JSON Lines copy from before, against the same checkpoints."""
    path = tmp_path / "trace.db"
    make_log(path)
    with closing(SqliteEventLog(path)) as log:
        key = NoteKey(log.origin, LOG_SIGNER.verifying_key)
        claims = [Claim("kept", open_checkpoint(note, key)) for note in log.tree_store.checkpoints()]
        published = tmp_path / "published"
        published.mkdir()
        note = log.tree_store.latest_checkpoint()
        assert note is not None
        DirectoryAnchor(published).anchor(PublishedLog(log, log.tree_store, key, note), None)
        lines = write_jsonl(path, tmp_path / "before.jsonl")
        erase_tools(log)
        found = []
        for name, make in {
            "log": lambda scratch: SqliteCopy(log),
            "lines": lambda scratch: JsonlCopy(lines, TilesCopy(folder_fetch(published)), scratch),
        }.items():
            scratch = tmp_path / name
            scratch.mkdir()
            found.append(audit(make(scratch), log.origin, claims, scratch).verdict)
    assert ["verified", "verified"] == found
