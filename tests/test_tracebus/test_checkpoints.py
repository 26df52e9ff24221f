"""Checkpoints: never one against another, whoever signs meanwhile, dies in between, or alters the files."""

from __future__ import annotations

import base64
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from evidence.chain import follow
from evidence.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from evidence.completeness import verify_path
from evidence.errors import LogDamaged, SignatureRefused
from evidence.heads_map import Entry
from evidence.merkle import consistency_proof, verify_consistency
from evidence.note import NoteKey, format_note
from evidence.signing import Ed25519Signer
from tests.test_tracebus.trees import (
    SIGNER,
    FragileLog,
    FragileSigner,
    Interrupted,
    Log,
    NaiveMap,
    append,
    check_tree,
)
from tracebus import EventLogRefused, EventQuery, MemoryEventLog, SqliteEventLog
from tracebus.errors import LogTruncated
from tracebus.fsck import fsck
from tracebus.transparency.checkpoints import Checkpointer, tree_store
from tracebus.transparency.completeness import prove_workflow
from tracebus.transparency.sequencer import sequence
from tracebus.transparency.store import TreeStore


def checkpointer(log: Log, *known: bytes) -> Checkpointer:
    """Return what signs a log's checkpoints."""
    return Checkpointer(log, SIGNER, known=known)


def opened(log: Log, note: bytes) -> Checkpoint:
    """Return a checkpoint that the log's key signed."""
    return open_checkpoint(note, NoteKey(log.origin, SIGNER.verifying_key))


def check_consistent(log: Log, notes: list[bytes]) -> None:
    """Check that of all checkpoints each begins with the one before."""
    checkpoints = sorted({opened(log, note) for note in notes}, key=lambda each: each.size)
    read = log.tree_store.reader(log.tree_store.state().size)
    for old, new in pairwise(each for each in checkpoints if each.size):
        proof = consistency_proof(old.size, new.size, read)
        verify_consistency(old.size, new.size, proof, old.root, new.root)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    """A log of nine events, three runs and three workflows."""
    with closing(SqliteEventLog(tmp_path / "trace.db")) as log:
        append(log, "r1", 3)
        append(log, "r2", 3, workflow_id="w2")
        append(log, "r3", 3, workflow_id="w3")
        yield log


def test_checkpoint(log: SqliteEventLog) -> None:
    """A checkpoint states the log's origin, and size and root of the tree that ends with a heads leaf."""
    note = checkpointer(log).checkpoint()
    assert Checkpoint(log.origin, 10, log.tree_store.root(10)) == opened(log, note)
    check_tree(log)


def test_nothing_new(log: SqliteEventLog) -> None:
    """A tree that has not grown has one checkpoint."""
    assert checkpointer(log).checkpoint() == checkpointer(log).checkpoint()


def test_memory() -> None:
    """A log in memory is checkpointed in memory."""
    log = MemoryEventLog()
    notes = []
    for _ in range(3):
        append(log, "r1", 2)
        notes.append(checkpointer(log).checkpoint())
    assert notes == tree_store(log).checkpoints()
    check_consistent(log, notes)


def test_a_log_without_a_store() -> None:
    """What has no tree store is no transparency log."""
    with pytest.raises(TypeError, match="object has no tree_store"):
        tree_store(object())  # type: ignore[arg-type]


def test_each_begins_with_the_one_before(log: SqliteEventLog) -> None:
    """All checkpoints are of one history, over full tiles and partial ones."""
    notes = [checkpointer(log).checkpoint()]
    for events in (1, 250, 3, 300):
        append(log, "r1", events)
        notes.append(checkpointer(log).checkpoint())
    assert notes == log.tree_store.checkpoints()
    check_consistent(log, notes)


def test_another_key(log: SqliteEventLog) -> None:
    """Where the last checkpoint is by another key, nothing is signed."""
    note = checkpointer(log).checkpoint()
    append(log, "r1")
    with pytest.raises(SignatureRefused):
        Checkpointer(log, Ed25519Signer.generate()).checkpoint()
    assert [note] == log.tree_store.checkpoints()


class WrongSigner(Ed25519Signer):
    """A signer that says it has one key, and signs with another."""

    def sign(self, message: bytes) -> bytes:
        """Sign with another key."""
        return Ed25519Signer.generate().sign(message)


def test_a_signature_that_is_none(log: SqliteEventLog) -> None:
    """What the key does not verify is not stored."""
    with pytest.raises(SignatureRefused):
        Checkpointer(log, WrongSigner(bytes(range(32)))).checkpoint()
    assert [] == log.tree_store.checkpoints()
    assert 10 == opened(log, checkpointer(log).checkpoint()).size


class OvertakenSigner(Ed25519Signer):
    """A signer that takes so long that another process signs a checkpoint meanwhile."""

    log: SqliteEventLog

    def sign(self, message: bytes) -> bytes:
        """Sign when another has."""
        append(self.log, "r1")
        checkpointer(self.log).checkpoint()
        return super().sign(message)


def test_overtaken(log: SqliteEventLog) -> None:
    """Who is overtaken by a larger checkpoint returns that one, and stores none."""
    signer = OvertakenSigner(bytes(range(32)))
    signer.log = log
    note = Checkpointer(log, signer).checkpoint()
    assert [note] == log.tree_store.checkpoints()
    assert 12 == opened(log, note).size


def test_proofs_without_a_signer(tmp_path: Path) -> None:
    """While nobody can sign, workflows that did not go on are shown whole by the last checkpoint."""
    with closing(FragileLog(tmp_path / "trace.db")) as log:
        signer = FragileSigner(log.moments)
        append(log, "r1", 3)
        append(log, "r2", 3, workflow_id="w2")
        note = Checkpointer(log, signer).checkpoint()
        for turn in range(4):
            append(log, f"n{turn}", workflow_id="w2")
            append(log, "r9", workflow_id="w9")
            sequence(log, log.tree_store)
        proof = prove_workflow(log.tree_store, log.origin, "w1", None)
        assert proof is not None
        assert ({"r1": 3}, note) == (proof.counts, proof.proof.checkpoint)
        verify_path(proof.proof, opened(log, note), Entry.of("w1", None, head_of(log, "w1")))
        others = [prove_workflow(log.tree_store, log.origin, name, None) for name in ("w2", "w9", "none")]
        assert [None] * 3 == others


def head_of(log: Log, workflow_id: str) -> str:
    """Return a workflow's head, computed from its events."""
    naive = NaiveMap()
    for event in log.query(EventQuery(workflow_id=workflow_id)):
        naive.take(event)
    (entry,) = naive.entries()
    return f"sha256:{entry.head.hex()}"


def test_signer_that_fails_from_the_first(tmp_path: Path) -> None:
    """A log that was sequenced several times before its first checkpoint is signed gets one all the same."""
    with closing(FragileLog(tmp_path / "trace.db")) as log:
        for _ in range(3):
            append(log, "r1")
            log.moments.interrupt(9)
            with pytest.raises(Interrupted):
                Checkpointer(log, FragileSigner(log.moments)).checkpoint()
            log.moments.interrupt(0)
        Checkpointer(log, FragileSigner(log.moments)).checkpoint()
        check_tree(log)


# Several processes, and their ends

SCRIPT = """
import base64, os, sys, threading, time
import anyio
from evidence.signing import Ed25519Signer
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.transparency.checkpoints import Checkpointer

path, seconds = sys.argv[1], float(sys.argv[2])
log = SqliteEventLog(path)
done = threading.Event()

def checkpoint():
    checkpointer = Checkpointer(log, Ed25519Signer(bytes(range(32))))
    while not done.is_set():
        note = checkpointer.checkpoint()
        os.write(1, base64.b64encode(note) + b"\\n")

async def publish():
    end = time.monotonic() + seconds
    async with TraceEventBus(log) as bus:
        async def work():
            async with bus.run() as run:
                while time.monotonic() < end:
                    await bus.publish(ToolProposed(tool="wire"), run=run)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(work)

log.open()
thread = threading.Thread(target=checkpoint)
thread.start()
anyio.run(publish)
done.set()
thread.join()
"""


def start(stack: ExitStack, path: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a process that publishes, and signs checkpoints all the time."""
    command = [sys.executable, "-c", SCRIPT, str(path), str(seconds)]
    return stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))


def notes_in(output: str) -> list[bytes]:
    """Return the checkpoints that a process has printed; its last line may be cut."""
    return [base64.b64decode(line) for line in output.split("\n")[:-1]]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes(tmp_path: Path, processes: int) -> None:
    """All checkpoints that several publishing processes were given are of one history, and each gets some."""
    with ExitStack() as stack:
        started = [start(stack, tmp_path / "trace.db", 1.5) for _ in range(processes)]
        outputs = [process.communicate(timeout=100)[0] for process in started]
    assert [0] * processes == [process.returncode for process in started]
    given = [notes_in(output) for output in outputs]
    assert all(given)
    with closing(SqliteEventLog(tmp_path / "trace.db")) as log:
        checkpointer(log).checkpoint()
        check_tree(log)
        check_consistent(log, [note for notes in given for note in notes])
        assert set().union(*given) <= set(log.tree_store.checkpoints())
        assert processes * 4 == fsck(log).runs


def test_killed(tmp_path: Path) -> None:
    """After a process was killed as it signed and published, the next goes on; no checkpoint is lost."""
    path, given, chance = tmp_path / "trace.db", list[bytes](), random.Random(7)
    for _ in range(3):
        with ExitStack() as stack:
            process = start(stack, path, 60)
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(chance.uniform(0, 0.5))
            process.kill()
            given += notes_in(first + process.stdout.read())
    with closing(SqliteEventLog(path)) as log:
        given.append(checkpointer(log).checkpoint())
        check_tree(log)
        check_consistent(log, given)
        assert set(given) <= set(log.tree_store.checkpoints())


# An insider


def edit(path: Path, *statements: str) -> None:
    """Do to a file what an insider can, who takes the triggers out and puts them back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)


def delete(condition: str) -> list[str]:
    """Return what deletes events, with all that belongs to them."""
    events = f"SELECT position FROM events WHERE {condition}"
    rows = [f"DELETE FROM {table} WHERE position IN ({events})" for table in ("payloads", "disclosures")]
    return [*rows, f"DELETE FROM events WHERE {condition}"]


def rewrite(path: Path, run_id: str, seq: int) -> None:
    """Change an event of a run, and re-hash what follows it."""
    with closing(SqliteEventLog(path, read_only=True)) as log:
        events = [
            event.header | {"position": event.position} for event in log.query(EventQuery(run_id=run_id))
        ]
    head, statements = None, []
    for header in events:
        position = header.pop("position")
        if header["seq"] == seq:
            header["agentId"] = "somebody-else"
        if header["seq"] > seq and head is not None:
            header["parentHash"] = head.event_hash
        head = follow(head, header)
        parent = f"'{header['parentHash']}'" if "parentHash" in header else "NULL"
        agent = f"'{header['agentId']}'" if "agentId" in header else "NULL"
        change = f"UPDATE events SET agent_id = {agent}, parent_hash = {parent} WHERE position = {position}"
        statements.append(change)
    edit(path, *statements)


def refusal(path: Path) -> str:
    """Return why a log is not opened for appending."""
    with closing(SqliteEventLog(path)) as log, pytest.raises(LogTruncated) as refused:
        log.open()
    return str(refused.value)


def altered(log: SqliteEventLog, *statements: str) -> None:
    """Close a log that has a checkpoint, and alter its file."""
    checkpointer(log).checkpoint()
    log.close()
    edit(log.path, *statements)


def altered_tree(log: SqliteEventLog, *statements: str) -> None:
    """Close a log that has a checkpoint, and alter its tree store."""
    checkpointer(log).checkpoint()
    log.close()
    assert log.tree_store.path is not None
    edit(log.tree_store.path, *statements)


def test_cut_tail(log: SqliteEventLog) -> None:
    """A log that lost its newest events is not appended to, nor signed for, and can still be read."""
    altered(log, *delete("position > 7"))
    assert "up to position 9, and the log has events up to 7 only" in refusal(log.path)
    with closing(SqliteEventLog(log.path, read_only=True)) as reader:
        assert 7 == len(list(reader.query(EventQuery())))


def test_cut_while_it_is_open(log: SqliteEventLog) -> None:
    """A log that is cut while it is open goes on; the next checkpoint notices, and is not signed."""
    note = checkpointer(log).checkpoint()
    edit(log.path, *delete("position > 7"))
    append(log, "new", 3)
    with pytest.raises(LogDamaged, match="position 9: the log no longer has the event that its tree has"):
        checkpointer(log).checkpoint()
    assert [note] == log.tree_store.checkpoints()


def test_rewritten_suffix(log: SqliteEventLog) -> None:
    """A suffix of equal length, every hash of it right again, is refused by the hash of the newest event."""
    altered(log)
    rewrite(log.path, "r3", 1)
    with closing(SqliteEventLog(log.path, read_only=True)) as reader:
        assert fsck(reader).fault is None
    assert "another event there" in refusal(log.path)


@pytest.mark.parametrize("how", ["deleted", "rewritten"])
def test_older_events(log: SqliteEventLog, how: str) -> None:
    """What was altered before the newest event is not noticed as the log goes on: the tree has its leaves.

    Checkpoints are still those of the true history, so an export, which is compared with them, fails, and
    so does whoever builds the tree again.
    """
    altered(log)
    if how == "deleted":
        edit(log.path, *delete("run_id = 'r1'"))
    else:
        rewrite(log.path, "r1", 1)
    append(log, "r2", 2, workflow_id="w2")
    note = checkpointer(log).checkpoint()
    assert 13 == opened(log, note).size
    with pytest.raises(LogDamaged):
        Checkpointer(log, SIGNER, TreeStore(None), known=[note]).checkpoint()


def test_older_copy_that_grew(log: SqliteEventLog, tmp_path: Path) -> None:
    """A log that was restored from an older copy, and went on without its tree, is refused beside it."""
    log.close()
    old = tmp_path / "old.db"
    shutil.copy(log.path, old)
    append(log, "r1")
    checkpointer(log).checkpoint()
    log.close()
    with closing(SqliteEventLog(old)) as copy:
        append(copy, "r1", 5)
    shutil.copy(old, log.path)
    assert "another event there" in refusal(log.path)


def test_older_copy_with_its_tree(log: SqliteEventLog, tmp_path: Path) -> None:
    """Where log and tree are both restored from an older copy, only a checkpoint kept elsewhere tells."""
    first = checkpointer(log).checkpoint()
    log.close()
    for name in ("trace.db", "trace.db-tree"):
        shutil.copy(tmp_path / name, tmp_path / f"old-{name}")
    append(log, "r1")
    kept = checkpointer(log).checkpoint()
    log.close()
    for name in ("trace.db", "trace.db-tree"):
        shutil.copy(tmp_path / f"old-{name}", tmp_path / name)
    append(log, "r1", 2)
    with pytest.raises(LogDamaged, match="another history"):
        checkpointer(log, kept).checkpoint()
    assert [first] == log.tree_store.checkpoints()
    unknowing = checkpointer(log).checkpoint()
    assert opened(log, unknowing).size > opened(log, kept).size


def test_newest_heads_leaf(log: SqliteEventLog) -> None:
    """The newest heads leaf is compared with the tree before anything is put behind it."""
    altered(log, "UPDATE heads SET map_root = zeroblob(32)")
    append(log, "r1")
    with pytest.raises(LogDamaged, match=r"heads leaf 0: the log has map root 00.* its tree map root"):
        checkpointer(log).checkpoint()


def test_heads_leaf_that_is_gone(log: SqliteEventLog) -> None:
    """A heads leaf that the log lost is not put there again."""
    altered(log, "DELETE FROM heads")
    append(log, "r1")
    with pytest.raises(LogDamaged, match="heads leaf 0: the log has none"):
        checkpointer(log).checkpoint()


def test_older_heads_leaf(log: SqliteEventLog) -> None:
    """An older heads leaf that was altered is noticed by whoever builds the tree again, and not before."""
    checkpointer(log).checkpoint()
    append(log, "r1")
    altered(log, "UPDATE heads SET map_root = zeroblob(32) WHERE ordinal = 0")
    append(log, "r1")
    note = checkpointer(log).checkpoint()
    with pytest.raises(LogDamaged, match=r"heads leaf 0: .* its events give map root"):
        Checkpointer(log, SIGNER, TreeStore(None), known=[note]).checkpoint()


def test_false_heads_leaf(log: SqliteEventLog) -> None:
    """A heads leaf that an insider adds is compared with the map of the events before it."""
    altered(log, "INSERT INTO heads VALUES (1, 9, zeroblob(32))")
    with pytest.raises(LogDamaged, match=r"heads leaf 1: .* its events give map root"):
        checkpointer(log).checkpoint()


def test_tile(log: SqliteEventLog) -> None:
    """A tile that the root depends on is compared with the last checkpoint before anything is signed."""
    altered_tree(log, "UPDATE tiles SET hashes = zeroblob(length(hashes))")
    append(log, "r1")
    with pytest.raises(LogDamaged, match="another history than it signed; nothing was signed"):
        checkpointer(log).checkpoint()


@pytest.mark.parametrize("statement", ["DELETE FROM tiles", "UPDATE tiles SET hashes = zeroblob(32)"])
def test_tile_that_is_gone(log: SqliteEventLog, statement: str) -> None:
    """A tile that is gone, or cut, is named."""
    altered_tree(log, statement)
    with pytest.raises(LogDamaged, match="tile 0 of level 0: expected 10 hashes"):
        checkpointer(log).checkpoint()


def test_full_tile(log: SqliteEventLog) -> None:
    """A full tile that was altered, of which the hash above is kept, does no harm to later checkpoints."""
    append(log, "r1", 300)
    altered_tree(log, "UPDATE tiles SET hashes = zeroblob(8192) WHERE id = 0")
    append(log, "r1")
    root = opened(log, checkpointer(log).checkpoint()).root
    again = TreeStore(None)
    assert root == again.root(sequence(log, again).size)


def test_run_that_goes_on(log: SqliteEventLog) -> None:
    """A run whose state in the tree was altered is noticed at its next event."""
    altered_tree(log, "UPDATE runs SET events = 2 WHERE run_id = 'r1'")
    append(log, "r1")
    with pytest.raises(LogDamaged, match="event 3 of run r1: expected seq 2"):
        checkpointer(log).checkpoint()


def test_run_that_does_not_go_on(log: SqliteEventLog) -> None:
    """A run that is struck out, where another of its workflow goes on, makes a false map, which is signed.

    An export notices, for its events are compared with the map, and so does whoever builds the tree again.
    """
    altered_tree(log, "DELETE FROM runs WHERE run_id = 'r1'")
    append(log, "other")
    note = checkpointer(log).checkpoint()
    with pytest.raises(LogDamaged, match=r"heads leaf 1: .* its events give map root"):
        Checkpointer(log, SIGNER, TreeStore(None), known=[note]).checkpoint()


def test_heads_map(log: SqliteEventLog) -> None:
    """A node of the heads map that is gone is missed when the map is next changed there."""
    altered_tree(log, "DELETE FROM nodes")
    append(log, "r1")
    with pytest.raises(LogDamaged, match="heads map"):
        checkpointer(log).checkpoint()


@pytest.mark.parametrize(
    "change",
    [
        "size = 9",
        "position = 8, size = 9",
        "heads = 2, size = 11",
        "last_event = NULL",
    ],
)
def test_state(log: SqliteEventLog, change: str) -> None:
    """How far the tree has come is compared with the log."""
    checkpointer(log).checkpoint()
    assert log.tree_store.path is not None
    edit(log.tree_store.path, f"UPDATE state SET {change}")
    with pytest.raises(LogDamaged):
        checkpointer(log).checkpoint()


def test_deleted_checkpoints(log: SqliteEventLog) -> None:
    """Where only the checkpoints are gone, the next goes on from the tree, which is the same still."""
    notes = [checkpointer(log).checkpoint()]
    altered_tree(log, "DELETE FROM checkpoints")
    append(log, "r1")
    notes.append(checkpointer(log).checkpoint())
    check_consistent(log, notes)


def test_lost_store(log: SqliteEventLog) -> None:
    """Where the store is gone with the checkpoints, none is signed until one is given, or none is left."""
    note = checkpointer(log).checkpoint()
    assert log.tree_store.path is not None
    log.tree_store.path.unlink()
    append(log, "r1")
    with pytest.raises(LogDamaged, match="its store has no checkpoint"):
        checkpointer(log).checkpoint()
    check_consistent(log, [note, checkpointer(log, note).checkpoint()])


@pytest.mark.parametrize("size", [3, 10, 1_000])
def test_forged_checkpoint(log: SqliteEventLog, size: int) -> None:
    """A checkpoint by another key, in the place of the last, is refused."""
    forger = Ed25519Signer.generate()
    forged = format_note(sign_checkpoint(Checkpoint(log.origin, size, bytes(32)), forger))
    altered_tree(log, f"UPDATE checkpoints SET size = {size}, note = x'{forged.hex()}'")
    append(log, "r1")
    with pytest.raises(SignatureRefused):
        checkpointer(log).checkpoint()


def test_moved_checkpoint(log: SqliteEventLog) -> None:
    """A checkpoint that stands where a larger one would is refused."""
    altered_tree(log, "UPDATE checkpoints SET size = 1000")
    append(log, "r1")
    with pytest.raises(LogDamaged, match="not the one of the largest size"):
        checkpointer(log).checkpoint()


def test_checkpoint_of_another_history(log: SqliteEventLog) -> None:
    """Nothing is signed beside a checkpoint of another history, though the log's key signed it."""
    other = format_note(sign_checkpoint(Checkpoint(log.origin, 10, bytes(32)), SIGNER))
    altered_tree(log, f"UPDATE checkpoints SET note = x'{other.hex()}'")
    append(log, "r1")
    with pytest.raises(LogDamaged, match="another history"):
        checkpointer(log).checkpoint()


def test_tree_of_another_log(log: SqliteEventLog, tmp_path: Path) -> None:
    """A tree that belongs to another log is refused, and both logs are named."""
    with closing(SqliteEventLog(tmp_path / "other.db", name="other")) as other:
        append(other, "r1", 9)
        checkpointer(other).checkpoint()
        origin = other.origin
    log.close()
    shutil.copy(tmp_path / "other.db-tree", f"{log.path}-tree")
    with pytest.raises(EventLogRefused, match=f"is the tree of log {origin}, not of {log.origin}"):
        append(log, "r1")
