"""The tree store: who reads does not wait and makes nothing; what is no store, or damaged, is refused."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest

from evidence.errors import EvidenceError
from evidence.heads_map import EMPTY
from tests.test_tracebus.trees import SIGNER, append, check_tree
from tracebus import EventLogRefused, EventLogUnavailable, SqliteEventLog, TracebusError
from tracebus.eventlog import HeadsLeaf
from tracebus.testing import draft, events_of
from tracebus.transparency.checkpoints import Checkpointer
from tracebus.transparency.completeness import prove_workflow
from tracebus.transparency.sequencer import sequence
from tracebus.transparency.states import TreeState
from tracebus.transparency.store import TreeStore
from tracebus.transparency.writer import changing

ORIGIN = "log/01M5GNHYY0GDQZ3177PGDHW4YB"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    """A log of two workflows, with a checkpoint."""
    with closing(SqliteEventLog(tmp_path / "trace.db")) as log:
        append(log, "r1", 3)
        append(log, "r2", 300, workflow_id="w2")
        Checkpointer(log, SIGNER).checkpoint()
        yield log


@pytest.fixture
def file(log: SqliteEventLog) -> Path:
    """The file of a log's tree store."""
    assert log.tree_store.path is not None
    return log.tree_store.path


# Reading


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    """A store that is not there reads as an empty one, and is not made."""
    store = TreeStore(tmp_path / "tree")
    empty = TreeState(None, 0, 0, 0, EMPTY, None)
    assert (False, empty, None, []) == (
        store.exists(),
        store.state(),
        store.latest_checkpoint(),
        store.checkpoints(),
    )
    assert prove_workflow(store, ORIGIN, "w1", None) is None
    assert [] == list(tmp_path.iterdir())


def test_reading_makes_no_store(tmp_path: Path) -> None:
    """To append, read and export makes no tree store; to sign a checkpoint does."""
    path = tmp_path / "trace.db"
    for read_only in (False, True):
        with closing(SqliteEventLog(path, read_only=read_only)) as log:
            if not read_only:
                append(log, "r1", 3)
            assert anyio.run(log.read_completeness, "w1", None) is None
            assert not log.tree_store.exists()
    with closing(SqliteEventLog(path)) as log:
        Checkpointer(log, SIGNER).checkpoint()
        assert log.tree_store.exists()
    assert {"trace.db", "trace.db-tree"} == {each.name for each in tmp_path.iterdir()}


def test_read_only(log: SqliteEventLog, file: Path) -> None:
    """A log that is opened to be read gives proofs, adds nothing to its tree, and is not signed for."""
    log.close()
    before = file.read_bytes()
    with closing(SqliteEventLog(log.path, read_only=True)) as reader:
        proof = anyio.run(reader.read_completeness, "w1", None)
        with pytest.raises(EventLogRefused, match="read only"):
            Checkpointer(reader, SIGNER).checkpoint()
        with pytest.raises(EventLogRefused, match="read only"):
            reader.add_heads_leaf(1, HeadsLeaf(303, bytes(32)))
    assert proof is not None
    assert {"r1": 3} == proof.counts
    assert before == file.read_bytes()


def test_reading_while_it_is_changed(log: SqliteEventLog) -> None:
    """While the tree is brought up to date, however long that takes, others read, prove, open and append.

    They see the tree as it was.
    """

    def others() -> tuple[bool, TreeState, TreeState]:
        with closing(SqliteEventLog(log.path)) as another:
            append(another, "r3", workflow_id="w3")
            append(log, "r4", workflow_id="w4")
            proof = prove_workflow(log.tree_store, log.origin, "w1", None)
            return proof is not None, log.tree_store.state(), another.tree_store.state()

    before = log.tree_store.state()
    with ThreadPoolExecutor(1) as pool, changing(log.tree_store, log.origin) as tree:
        tree.take_heads(bytes(32))
        tree.flush()
        assert before != log.tree_store.state()
        assert (True, before, before) == pool.submit(others).result(timeout=5)


def test_one_state_in_one_block(log: SqliteEventLog) -> None:
    """What is read in one block is of one state, though the tree grows meanwhile."""
    store, another = TreeStore(log.tree_store.path), TreeStore(log.tree_store.path)
    with store.using():
        before = store.state()
        append(log, "r1")
        with ThreadPoolExecutor(1) as pool:
            after = pool.submit(sequence, log, another).result()
        assert before == store.state()
    assert after == store.state()


def test_one_writer_at_a_time(log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot change the store because another does is told, and changes nothing."""
    monkeypatch.setattr("tracebus.transparency.store._WAIT_SECONDS", 0.1)
    append(log, "r1")
    with ThreadPoolExecutor(1) as pool, changing(log.tree_store, log.origin):
        waiting = pool.submit(sequence, log, log.tree_store)
        with pytest.raises(EventLogUnavailable, match="locked"):
            waiting.result()
    check_tree(log)


def test_a_failure_changes_nothing(log: SqliteEventLog) -> None:
    """A block that fails leaves the store as it was."""
    before = log.tree_store.state()
    with suppress(ZeroDivisionError), changing(log.tree_store, log.origin) as tree:
        tree.take_heads(bytes(32))
        tree.flush()
        raise ZeroDivisionError
    assert before == log.tree_store.state()
    check_tree(log)


# What is kept


def count(store: TreeStore, table: str) -> int:
    """Return the number of rows of a table."""
    with store.using() as connection:
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(rows)


def reachable(store: TreeStore, root: bytes) -> set[bytes]:
    """Return the hashes of all nodes and entries of a heads map."""
    content = None if root == EMPTY else store.node(root)
    if content is None:
        return set()
    below = () if content[:1] == b"\x02" else (content[1:33], content[33:])
    return {root}.union(*(reachable(store, place) for place in below))


def test_nodes_do_not_pile_up(log: SqliteEventLog) -> None:
    """Of the heads maps the store has the one that was signed last, and the one before."""
    for turn in range(6):
        for number in range(turn, turn + 20):
            append(log, f"n{number}", workflow_id=f"n{number}")
        before = reachable(log.tree_store, log.tree_store.state().map_root)
        Checkpointer(log, SIGNER).checkpoint()
        now = reachable(log.tree_store, log.tree_store.state().map_root)
        assert len(before | now) == count(log.tree_store, "nodes")


def test_nodes_while_the_tree_is_built_again(log: SqliteEventLog) -> None:
    """Where no checkpoint needs an older map, none is kept, over however many heads leaves."""
    for turn in range(12):
        append(log, "r1")
        append(log, f"n{turn}", workflow_id=f"n{turn}")
        sequence(log, log.tree_store)
    again = TreeStore(None)
    sequence(log, again)
    nodes = reachable(again, again.state().map_root)
    assert (len(nodes), 0) == (count(again, "nodes"), count(again, "replaced"))


def test_heads_are_append_only(log: SqliteEventLog) -> None:
    """Plain SQL cannot change or delete the log's heads leaves."""
    for statement in ("DELETE FROM heads", "UPDATE heads SET position = 1"):
        with (
            closing(sqlite3.connect(log.path)) as connection,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            connection.execute(statement)


def test_heads_of_a_replaced_file(log: SqliteEventLog, tmp_path: Path) -> None:
    """A heads leaf does not go into a file that is no longer at the log's path."""
    shutil.copy(log.path, tmp_path / "copy.db")
    (tmp_path / "copy.db").rename(log.path)
    with pytest.raises(EventLogUnavailable, match="replaced by another"):
        log.add_heads_leaf(1, HeadsLeaf(303, bytes(32)))


# What is no store, or damaged


def edit(file: Path, *statements: str) -> None:
    """Change a database."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def replace(file: Path, *parts: bytes) -> None:
    """Write something that is no UTF-8 over parts of a file."""
    for part in parts:
        assert part in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(part, b"\xff" * len(part)))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda file: file.write_text("this is no database" * 100), "no tree store.*built again"),
        (lambda file: edit(file, "PRAGMA application_id = 7"), "a SQLite database, but no tree store"),
        (lambda file: edit(file, "PRAGMA user_version = 99"), "made by a newer tracebus"),
        (lambda file: edit(file, "DROP TABLE state"), "no such table: state; it is damaged"),
        (lambda file: edit(file, "DELETE FROM state"), "does not say how far its tree has come"),
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), "damaged"),
        (lambda file: replace(file, b"nodesnodes", b"CREATE TABLE nodes"), "damaged"),
        (lambda file: edit(file, "UPDATE state SET origin = 'other/log'"), "is the tree of log other/log"),
    ],
    ids=["text", "another-application", "newer", "no-table", "no-state", "cut", "schema", "another-log"],
)
def test_what_is_no_store(
    log: SqliteEventLog, file: Path, change: Callable[[Path], object], complaint: str
) -> None:
    """What is no tree store of this log is refused by name, by whoever opens the log to append and who reads.

    When it is moved away, the log can be opened, and the tree is built again.
    """
    log.close()
    change(file)
    for attempt in (
        log.open,
        lambda: anyio.run(log.read_completeness, "w1", None),
        lambda: anyio.run(SqliteEventLog(log.path, read_only=True).read_completeness, "w1", None),
    ):
        with pytest.raises(EventLogRefused, match=complaint):
            attempt()
    file.unlink()
    Checkpointer(log, SIGNER, rebuilt=True).checkpoint()
    check_tree(log)


def test_any_damage(log: SqliteEventLog, file: Path) -> None:
    """Whatever bytes are damaged, the log is signed for with the true root, or it is said why not."""
    append(log, "r1", 2)
    log.close()
    root, whole, events = log.tree_store.root(304), file.read_bytes(), log.path.read_bytes()
    chance, outcomes = random.Random(7), set()
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 3, 30])):
            at = chance.randrange(len(whole) - 8)
            damaged[at : at + 8] = chance.randbytes(8)
        file.write_bytes(damaged)
        log.path.write_bytes(events)
        try:
            with closing(SqliteEventLog(log.path)) as again:
                Checkpointer(again, SIGNER).checkpoint()
                found = again.tree_store.root(304)
                prove_workflow(again.tree_store, again.origin, "w1", None)
            assert root == found
            outcomes.add("signed")
        except (TracebusError, EvidenceError):
            outcomes.add("refused")
    assert {"signed", "refused"} == outcomes


# Processes

FORKED = """
import os, sys
from evidence.signing import Ed25519Signer
from tracebus import SqliteEventLog
from tracebus.testing import draft
from tracebus.transparency.checkpoints import Checkpointer

log = SqliteEventLog(sys.argv[1])
log.append([[draft("r1")]])
Checkpointer(log, Ed25519Signer(bytes(range(32)))).checkpoint()
child = os.fork()
if child == 0:
    print(log.tree_store.state().size, len(log.tree_store.checkpoints()), flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked(log: SqliteEventLog) -> None:
    """A process that was forked from one that signs reads the tree as well."""
    log.close()
    command = [sys.executable, "-c", FORKED, str(log.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "306 2\n" == done.stdout
    events_of(log.append([[draft("r1")]])[0])
    Checkpointer(log, SIGNER).checkpoint()
    check_tree(log)
