"""Logs that lost events: they take no more, sign nothing, and are followed by a successor."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from evidence.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from evidence.errors import LogDamaged, MalformedInput, SignatureRefused
from evidence.note import NoteKey, format_note, parse_note
from evidence.receipt import checkpoint_digest
from tests.translog import (
    LOG_SIGNER,
    OTHER_SIGNER,
    alter,
    append_run,
    copy_log,
    cut,
    make_log,
    rewritten,
    tree_of,
)
from tracebus import SqliteEventLog
from tracebus.errors import EventLogRefused, LogTruncated
from tracebus.events import LogSucceeded
from tracebus.transparency.checkpoints import Checkpointer
from tracebus.transparency.successor import succeed
from tracebus.upkeep import LOG_WORKFLOW


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 24 events and three checkpoints."""
    path = tmp_path / "trace.db"
    make_log(path)
    return path


def put_back(log: Path, copy: Path) -> None:
    """Put another file in the place of a log, beside the tree store that is there."""
    for suffix in ("-wal", "-shm"):
        log.with_name(log.name + suffix).unlink(missing_ok=True)
    log.write_bytes(copy.read_bytes())


def sign(log: Path, **options: object) -> bytes:
    """Sign a checkpoint of a log."""
    with closing(SqliteEventLog(log)) as source:
        return Checkpointer(source, LOG_SIGNER, **options).checkpoint()  # type: ignore[arg-type]


def checkpoints(log: Path) -> int:
    """Return how many checkpoints are stored."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        return len(source.tree_store.checkpoints())


# A log that lost events refuses to append


def _cut(log: Path, tmp_path: Path) -> None:
    cut(log, 20)


def _older_copy(log: Path, tmp_path: Path) -> None:
    older = copy_log(log, tmp_path / "older.db", tree=False)
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
        Checkpointer(more, LOG_SIGNER).checkpoint()
    put_back(log, older)


def _older_copy_that_grew(log: Path, tmp_path: Path) -> None:
    older = copy_log(log, tmp_path / "older.db", tree=False)
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
        Checkpointer(more, LOG_SIGNER).checkpoint()
    with closing(SqliteEventLog(older)) as other:
        for name in ("d", "e", "f"):
            append_run(other, name)
    put_back(log, older)


def _rewritten_suffix(log: Path, tmp_path: Path) -> None:
    put_back(log, rewritten(log, tmp_path / "other.db", last=20))


def _deleted_last_run(log: Path, tmp_path: Path) -> None:
    alter(log, "DELETE FROM events WHERE run_id = 'b2'")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (_cut, "events up to 20 only"),
        (_older_copy, "events up to 24 only"),
        (_older_copy_that_grew, "another event there"),
        (_rewritten_suffix, "another event there"),
        (_deleted_last_run, "events up to 20 only"),
    ],
)
def test_it_refuses_to_append(
    log: Path, tmp_path: Path, damage: Callable[[Path, Path], None], found: str
) -> None:
    """It says what it lost, takes nothing, and signs nothing."""
    damage(log, tmp_path)
    before = checkpoints(log)
    for act in (lambda: SqliteEventLog(log).open(), lambda: sign(log)):
        with pytest.raises(LogTruncated, match=found):
            act()
    assert before == checkpoints(log)


def test_it_can_still_be_read(log: Path) -> None:
    """What is left can be looked into, read only."""
    cut(log, 20)
    with closing(SqliteEventLog(log, read_only=True)) as left:
        assert 20 == left.last_position()


def test_a_run_deleted_in_the_middle_cannot_be_written_again(log: Path) -> None:
    """Its leaves stay in the tree; another run of that name is refused before anything is signed."""
    alter(log, "DELETE FROM events WHERE run_id = 'a1'")
    with closing(SqliteEventLog(log)) as source:
        append_run(source, "a1", workflow="w")
    before = checkpoints(log)
    with pytest.raises(LogDamaged, match="run a1"):
        sign(log)
    assert before == checkpoints(log)


# Nothing is signed that contradicts a checkpoint


def test_a_tree_store_that_is_gone_is_not_signed_over(log: Path) -> None:
    """The tree could be built again; what the log had signed could not be known. So nothing is signed."""
    tree_of(log).unlink()
    for _ in range(2):
        with pytest.raises(LogDamaged, match="no checkpoint"):
            sign(log)
    assert 0 == checkpoints(log)


def test_a_tree_is_built_again_beside_a_known_checkpoint(log: Path) -> None:
    """With the newest checkpoint from elsewhere the log goes on, with the same tree."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        newest = source.tree_store.latest_checkpoint()
    assert newest is not None
    tree_of(log).unlink()
    assert newest == sign(log, known=[newest])


def test_a_tree_is_built_again_on_request(log: Path) -> None:
    """Whoever says that nothing is kept anywhere gets a checkpoint; here it is the same."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        newest = source.tree_store.latest_checkpoint()
    tree_of(log).unlink()
    assert newest == sign(log, rebuilt=True)


@pytest.mark.parametrize("grown", [False, True])
def test_an_older_copy_contradicts_a_known_checkpoint(log: Path, tmp_path: Path, grown: bool) -> None:
    """A copy without its tree store, restored and grown again, is not signed beside the newest anchor."""
    older = copy_log(log, tmp_path / "older.db", tree=False)
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    newest = sign(log)
    if grown:
        with closing(SqliteEventLog(older)) as other:
            append_run(other, "d")
            append_run(other, "e")
    with pytest.raises(LogDamaged, match="another history"):
        sign(older, known=[newest])
    assert 0 == checkpoints(older)


def test_a_checkpoint_table_that_was_emptied(log: Path) -> None:
    """The tree is still there, so what is signed next is what was signed last."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        newest = source.tree_store.latest_checkpoint()
    with closing(sqlite3.connect(tree_of(log), isolation_level=None)) as connection:
        connection.execute("DELETE FROM checkpoints")
    assert newest == sign(log)


def _insert_checkpoint(log: Path, size: int, note: bytes) -> None:
    with closing(sqlite3.connect(tree_of(log), isolation_level=None)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(checkpoints)")]
        values = {"size": size, "heads": 1, "map_root": bytes(32), "note": note}
        marks = ", ".join("?" * len(columns))
        connection.execute(
            f"INSERT INTO checkpoints VALUES ({marks})", [values[column] for column in columns]
        )


def test_a_forged_checkpoint_of_enormous_size(log: Path) -> None:
    """One by another key is refused, and nothing is signed beside it."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        forged = Checkpoint(source.origin, 2**62, bytes(32))
    _insert_checkpoint(log, 2**62, format_note(sign_checkpoint(forged, OTHER_SIGNER)))
    with pytest.raises(SignatureRefused):
        sign(log)
    assert 4 == checkpoints(log)


def test_an_old_checkpoint_in_the_place_of_an_enormous_one(log: Path) -> None:
    """A row that says another size than its note is refused, when there is something to sign."""
    with closing(SqliteEventLog(log)) as source:
        _insert_checkpoint(log, 2**62, source.tree_store.checkpoints()[0])
        append_run(source, "c")
    with pytest.raises((LogDamaged, EventLogRefused)):
        sign(log)
    assert 4 == checkpoints(log)


@pytest.mark.parametrize("note", [b"", b"\xff" * 100, b"x" * (1 << 24)])
def test_a_note_that_is_none(log: Path, note: bytes) -> None:
    """Any bytes in the place of a note end in an error of ours, and nothing is signed."""
    _insert_checkpoint(log, 2**62, note)
    with pytest.raises((LogDamaged, MalformedInput)):
        sign(log)
    assert 4 == checkpoints(log)


# Backups


@pytest.mark.parametrize("how", ["vacuum into", "backup"])
def test_a_whole_copy_goes_on_as_the_log(log: Path, tmp_path: Path, how: str) -> None:
    """A copy of both files is the log: its next checkpoint continues the last."""
    copy = tmp_path / "copy.db"
    if how == "vacuum into":
        copy_log(log, copy)
    else:
        for source, target in ((log, copy), (tree_of(log), tree_of(copy))):
            with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
                one.backup(other)
    with closing(SqliteEventLog(copy)) as restored:
        append_run(restored, "c")
    note = sign(copy)
    assert (32, 4) == (open_checkpoint(note, _key(log)).size, checkpoints(copy))


def test_a_newer_copy_beside_an_older_tree_store_goes_on(log: Path, tmp_path: Path) -> None:
    """The tree store is brought up to the log; a copy of the log made later lacks nothing of it."""
    older_tree = tree_of(log).read_bytes()
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    newest = sign(log)
    copy = copy_log(log, tmp_path / "copy.db", tree=False)
    tree_of(copy).write_bytes(older_tree)
    assert newest == sign(copy)


def _key(log: Path) -> NoteKey:
    with closing(SqliteEventLog(log, read_only=True)) as source:
        return NoteKey(source.origin, LOG_SIGNER.verifying_key)


# Successors


def test_a_successor_says_what_it_follows(log: Path, tmp_path: Path) -> None:
    """The first run of the new log holds the old origin, the old checkpoint and the reason."""
    note = sign(log)
    old = open_checkpoint(note, _key(log))
    with closing(SqliteEventLog(tmp_path / "new.db", name="test")) as new:
        event = succeed(new, note, _key(log), "the disk failed", event_count=20, actor="kim")
        assert isinstance(event.payload, LogSucceeded)
        found = event.payload
        assert (LOG_WORKFLOW, 2, 3) == (event.workflow_id, event.position, new.last_position())
        assert new.origin != old.origin
    expected = LogSucceeded(
        previous_log=old.origin,
        checkpoint_size=27,
        checkpoint_root=f"sha256:{old.root.hex()}",
        checkpoint_digest=checkpoint_digest(old),
        reason="the disk failed",
        event_count=20,
        actor="kim",
    )
    assert expected == found


def test_a_successor_needs_a_checkpoint_of_the_log(log: Path, tmp_path: Path) -> None:
    """One that the old log's key did not sign is refused, and nothing is recorded."""
    note = sign(log)
    key = NoteKey(_key(log).name, OTHER_SIGNER.verifying_key)
    with closing(SqliteEventLog(tmp_path / "new.db")) as new:
        with pytest.raises(SignatureRefused):
            succeed(new, note, key, "the disk failed")
        assert 0 == new.last_position()


def test_a_successor_is_a_new_log(log: Path, tmp_path: Path) -> None:
    """A log that has events goes on for nobody."""
    note = sign(log)
    with closing(SqliteEventLog(tmp_path / "new.db")) as new:
        append_run(new, "a")
        with pytest.raises(LogDamaged, match="expected a new log, found 4 events"):
            succeed(new, note, _key(log), "the disk failed")


def test_the_signature_lines_of_others_do_not_change_the_digest(log: Path) -> None:
    """A checkpoint is named by its text: cosignatures may join it later."""
    note = parse_note(sign(log))
    both = note.with_signatures(sign_checkpoint(open_checkpoint(note, _key(log)), OTHER_SIGNER).signatures[0])
    one, other = (checkpoint_digest(open_checkpoint(each, _key(log))) for each in (note, both))
    assert one == other
