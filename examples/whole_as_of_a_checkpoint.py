"""Prove that a bundle is the whole workflow: sign a checkpoint, export behind it, verify with the log's key.

    python examples/whole_as_of_a_checkpoint.py

A bundle from which the newest events are left out has a valid signature, too. A verifier who knows the log's
key, and demands the proof, refuses it.
"""

import tempfile
from pathlib import Path

import anyio
import anyio.to_thread

from evidence import Ed25519Signer, EvidenceBundler, Incomplete, parse_policy, verify_evidence_bundle
from tracebus import Checkpointer, SqliteEventLog, ToolProposed, TraceEventBus


async def main(folder: Path) -> None:
    log = SqliteEventLog(folder / "trace.db", name="payments")
    log_key, treasury = Ed25519Signer.generate(), Ed25519Signer.generate()  # a key has one use
    checkpointer = Checkpointer(log, log_key)
    bundler = EvidenceBundler(log, treasury)

    async with TraceEventBus(log) as bus, bus.run(workflow_id="transfer-42"):
        await bus.publish(ToolProposed(tool="wire", arguments={"amount": "5000.00"}))
    await anyio.to_thread.run_sync(checkpointer.checkpoint)  # reads the log: not for the event loop's thread
    whole = await bundler.bundle("transfer-42")

    async with TraceEventBus(log) as bus, bus.run(workflow_id="transfer-42"):
        await bus.publish(ToolProposed(tool="wire", arguments={"amount": "9000.00"}))
    unproved = await bundler.bundle("transfer-42")  # newer than the checkpoint: on the signer's word alone

    # The verifier's own file: whose checkpoints count, and what a bundle must carry.
    policy = parse_policy(
        f"log {checkpointer.log_key.to_vkey()}\nquorum none\n#tracebus require completeness\n".encode()
    )
    print(verify_evidence_bundle(whole, treasury.verifying_key, policy=policy).headline)
    try:
        verify_evidence_bundle(unproved, treasury.verifying_key, policy=policy)
    except Incomplete as error:
        print("refused:", error)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        anyio.run(main, Path(name))
