"""The sequencer: whatever happens, the tree is that of the events and the heads leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.errors import LogDamaged
from evidence.note import open_note
from tests.test_tracebus.trees import (
    SIGNER,
    FragileLog,
    FragileSigner,
    Interrupted,
    Log,
    append,
    check_tree,
)
from tracebus import EventQuery, MemoryEventLog, SqliteEventLog
from tracebus.errors import AppendConflict
from tracebus.eventlog import AnyEvent, Draft, HeadsLeaf
from tracebus.testing import draft, events_of, started
from tracebus.transparency.checkpoints import Checkpointer
from tracebus.transparency.sequencer import sequence
from tracebus.transparency.store import TreeStore
from tracebus.transparency.writer import TreeWriter


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    """An empty log, in memory or in a file."""
    log = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "trace.db")
    yield log
    log.close()


def test_empty_log(log: Log) -> None:
    """A log without events has an empty tree, and no heads leaf."""
    assert 0 == sequence(log, log.tree_store).size
    assert [] == log.heads_leaves()


def test_several_times(log: Log) -> None:
    """Each sequencing takes in what is new, and puts one heads leaf behind it."""
    append(log, "r1", 3)
    append(log, "r2", 2, workflow_id="w2")
    first = sequence(log, log.tree_store)
    append(log, "r3", 2)
    append(log, "r2", 1, workflow_id="w2")
    second = sequence(log, log.tree_store)
    assert [(6, 5, 1), (10, 8, 2)] == [(state.size, state.position, state.heads) for state in (first, second)]
    check_tree(log)


def test_nothing_new(log: Log) -> None:
    """Where no event is new, nothing is added."""
    append(log, "r1")
    assert sequence(log, log.tree_store) == sequence(log, log.tree_store)
    assert 1 == len(log.heads_leaves())


def test_progress(log: Log) -> None:
    """Who waits is told every thousand events."""
    append(log, "r1", 2_100)
    seen: list[int] = []
    sequence(log, log.tree_store, seen.append)
    assert [1_000, 2_000] == seen


@pytest.mark.parametrize("events", [254, 255, 256, 257, 511, 512])
def test_full_tiles(log: Log, events: int) -> None:
    """A tile fills up by events or by a heads leaf, and the tree goes on behind it."""
    append(log, "r1", events)
    sequence(log, log.tree_store)
    check_tree(log)
    append(log, "r1", 2)
    sequence(log, log.tree_store)
    check_tree(log)


def test_blake3(tmp_path: Path) -> None:
    """Leaves of events that are hashed with BLAKE3 are of a kind of their own."""
    with closing(SqliteEventLog(tmp_path / "trace.db", digest_algorithm="blake3")) as log:
        append(log, "r1", 3)
        sequence(log, log.tree_store)
        check_tree(log)


def test_many_workflows(log: Log) -> None:
    """The map is right where workflows are more than are held in memory, and where few of them go on."""
    for first in range(0, 9_000, 1_000):
        names = [str(number) for number in range(first, first + 1_000)]
        for outcome in log.append([[started(name, workflow_id=name)] for name in names]):
            events_of(outcome)
    sequence(log, log.tree_store)
    append(log, "4711", workflow_id="4711")
    append(log, "other", workflow_id="4711")
    sequence(log, log.tree_store)
    check_tree(log)


def test_rebuilt(log: Log) -> None:
    """A tree that is built again, over all heads leaves at once, is the same."""
    for run in ("r1", "r2", "r1", "r3"):
        append(log, run, 90, workflow_id=run)
        expected = sequence(log, log.tree_store)
    again = TreeStore(None)
    assert expected == sequence(log, again)
    assert log.tree_store.root(expected.size) == again.root(expected.size)
    check_tree(log, again)


def test_two_stores(log: Log) -> None:
    """Of two sequencers with stores of their own one at a time adds a heads leaf; the other takes it in."""
    stores = [TreeStore(None), TreeStore(None)]
    for turn in range(4):
        append(log, f"r{turn}")
        sequence(log, stores[turn % 2])
    states = [sequence(log, store) for store in stores]
    assert states[0] == states[1]
    for store in stores:
        check_tree(log, store)


def test_overtaken(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequencer that another overtook, with a store of its own, says so, and goes on at the next try."""
    append(log, "r1")
    other, add = TreeStore(None), log.add_heads_leaf

    def overtake(ordinal: int, leaf: HeadsLeaf) -> bool:
        monkeypatch.undo()
        sequence(log, other)
        return add(ordinal, leaf)

    monkeypatch.setattr(log, "add_heads_leaf", overtake)
    with pytest.raises(AppendConflict, match="another sequencer"):
        sequence(log, log.tree_store)
    assert sequence(log, other) == sequence(log, log.tree_store)
    check_tree(log)


def test_tiles_of_a_tree_that_grew_up() -> None:
    """Beyond 2^16 and 2^24 leaves the hashes of full tiles stand where tlog-tiles wants them."""
    for levels in (2, 3):
        size = 256**levels
        last = [(level, (size - 1 >> 8 * level) // 256) for level in range(levels)]
        store = TreeStore(None)
        with store.transaction() as connection:
            for level, index in last:
                connection.execute("INSERT INTO tiles VALUES (?, ?)", (level << 56 | index, bytes(255 * 32)))
            connection.execute("UPDATE state SET size = ?, position = ?", (size - 1, size - 1))
            writer = TreeWriter(store, connection, store.state())
            writer.take_heads(bytes(32))
            writer.take_heads(bytes(32))
            writer.flush()
        widths = {(level, index): len(store.tile(level, index)) // 32 for level, index in last}
        assert dict.fromkeys(last, 256) == widths
        assert (1, 1) == (len(store.tile(levels, 0)) // 32, len(store.tile(0, size // 256)) // 32)


# Interrupted


def checkpoint_interrupted(path: Path, at: int) -> str:
    """Sign a second checkpoint, interrupted at a moment; then go on, twice. Return which moment it was."""
    with closing(FragileLog(path)) as log:
        checkpointer = Checkpointer(log, FragileSigner(log.moments))
        first = checkpointer.checkpoint()
        append(log, "r1", 2)
        append(log, "r4", workflow_id="w4")
        log.moments.interrupt(at)
        with suppress(Interrupted):
            checkpointer.checkpoint()
        log.moments.interrupt(0)
        second = checkpointer.checkpoint()
        assert second == checkpointer.checkpoint()
        append(log, "r2", 1, workflow_id="w2")
        third = checkpointer.checkpoint()
        check_tree(log)
        assert [first, second, third] == log.tree_store.checkpoints()
        return log.moments.name


def test_interrupted_at_each_moment(tmp_path: Path) -> None:
    """Whichever step fails, before or after it took effect: the next checkpoint goes on from there."""
    path = tmp_path / "before" / "trace.db"
    path.parent.mkdir()
    with closing(SqliteEventLog(path)) as log:
        append(log, "r1", 2)
        append(log, "r2", 2, workflow_id="w2")
        Checkpointer(log, SIGNER).checkpoint()
    names: list[str] = []
    while "" not in names:
        place = tmp_path / f"interrupted-{len(names)}"
        shutil.copytree(path.parent, place)
        names.append(checkpoint_interrupted(place / "trace.db", len(names) + 1))
    assert {
        "before a transaction",
        "before the heads leaves are read",
        "before an event is read",
        "before a heads leaf is stored",
        "after a heads leaf is stored",
        "before a commit",
        "after a commit",
        "before a signature",
        "after a signature",
        "",
    } == set(names)


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 4), st.integers(1, 40)),
    st.tuples(st.just("sequence"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("checkpoint"), st.integers(0, 1), st.integers(0, 30)),
    st.tuples(st.just("reopen"), st.integers(0, 1), st.just(0)),
)


@settings(max_examples=80)
@given(st.lists(STEPS, max_size=12))
def test_any_interleaving(steps: list[tuple[str, int, int]]) -> None:
    """However two sequencers of one log take turns, and are interrupted: the tree is that of the events."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.db"
        logs = [FragileLog(path), FragileLog(path)]
        signed: list[bytes] = []
        for step, which, number in steps:
            log = logs[which % 2]
            if step == "append":
                append(log, f"r{which}", number, workflow_id=f"w{which // 2}")
            elif step == "reopen":
                log.close()
            else:
                log.moments.interrupt(number)
                try:
                    if step == "sequence":
                        sequence(log, log.tree_store)
                    else:
                        signed.append(Checkpointer(log, FragileSigner(log.moments)).checkpoint())
                except Interrupted:
                    pass
                log.moments.interrupt(0)
        checkpointer = Checkpointer(logs[0], SIGNER)
        signed.append(checkpointer.checkpoint())
        check_tree(logs[0])
        kept = logs[0].tree_store.checkpoints()
        assert list(dict.fromkeys(signed)) == [note for note in kept if note in signed]
        assert [open_note(note, [checkpointer.log_key]).text for note in kept]
        for log in logs:
            log.close()


# What is refused


class AlteredLog(MemoryEventLog):
    """A log in memory that shows its events as an insider wants them."""

    alter: Callable[[AnyEvent], AnyEvent | None] = staticmethod(lambda event: event)

    def query(self, query: EventQuery) -> Iterator[AnyEvent]:
        """Yield the events that are left."""
        return (event for event in map(self.alter, super().query(query)) if event is not None)


def with_field(position: int, **fields: object) -> Callable[[AnyEvent], AnyEvent]:
    """Return what changes an event's header."""

    def alter(event: AnyEvent) -> AnyEvent:
        if event.position == position:
            event._header.update(fields)
        return event

    return alter


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (lambda event: None if event.position == 2 else event, "position 2: the event is gone"),
        (lambda event: None if event.position == 4 else event, "position 4: the event is gone"),
        (with_field(2, agentId="other"), "parentHash"),
        (with_field(2, seq=5), "expected seq 1, found 5"),
        (with_field(4, workflowId="other"), "workflowId: expected w1, found other"),
        (with_field(4, id="0" * 26), "id 0{26} does not follow"),
        (with_field(4, contentHash="blake3:" + "0" * 64), "digest algorithm"),
        (with_field(1, log="other/01M5GNHYY0GDQZ3177PGDHW4YB"), "is not one of log"),
        (with_field(1, contentHash="blake3:" + "0" * 64), "is not one of log"),
        (with_field(3, timestamp="now"), "timestamp"),
    ],
    ids=[
        "gone",
        "tail-gone",
        "changed",
        "seq",
        "workflow",
        "id",
        "algorithm",
        "log",
        "other-algorithm",
        "malformed",
    ],
)
def test_what_no_verifier_accepts(alter: Callable[[AnyEvent], AnyEvent | None], complaint: str) -> None:
    """An event that does not follow the one before it is put into no tree."""
    log = AlteredLog()
    append(log, "r1", 4)
    log.alter = alter  # type: ignore[method-assign]
    with pytest.raises(LogDamaged, match=complaint):
        sequence(log, log.tree_store)
    assert (0, []) == (log.tree_store.state().size, log.heads_leaves())


def test_a_log_without_heads_leaves() -> None:
    """A log that keeps no heads leaves cannot be sequenced."""

    class Plain:
        heads_leaves = None

    with pytest.raises(TypeError, match="Plain keeps no heads leaves"):
        sequence(Plain(), TreeStore(None))  # type: ignore[arg-type]


def test_groups_of_several_runs(log: Log) -> None:
    """Events of runs that take turns are each put behind those of their own run."""
    group: list[Draft] = [started("r1"), started("r2"), draft("r1"), draft("r2"), draft("r1")]
    events_of(log.append([group])[0])
    sequence(log, log.tree_store)
    check_tree(log)
