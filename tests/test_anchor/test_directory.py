"""The directory anchor."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from evidence.checkpoint import open_checkpoint
from evidence.errors import LogDamaged
from evidence.tiles import audit_tiles
from tests.test_anchor.conftest import Anchored
from tracebus.anchor import AnchorStatus, DirectoryAnchor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "published"
    path.mkdir()
    return path


def files(folder: Path) -> dict[str, bytes]:
    """Return path and content of each file in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_what_is_written_is_a_log_that_others_can_audit(anchored: Anchored, folder: Path) -> None:
    """Checkpoint, checkpoints by size and tiles are there, and the tiles have the checkpoint's root."""
    anchored.anchor(DirectoryAnchor(folder))
    anchored.publish("transfer-3")
    anchored.anchor(DirectoryAnchor(folder))
    found = files(folder)
    checkpoint = open_checkpoint(found["checkpoint"], anchored.key)
    audit_tiles(found.get, checkpoint.size, checkpoint.root)
    sizes = [
        open_checkpoint(found[path], anchored.key).size for path in sorted(found) if "checkpoints/" in path
    ]
    assert (11, [7, 11]) == (checkpoint.size, sizes)


def test_many_tiles(anchored: Anchored, folder: Path) -> None:
    """A log of more than a tile, anchored in between, has full tiles and hashes of them."""
    for number in range(4):
        anchored.publish(*(f"workflow-{number}-{i}" for i in range(30)))
        anchored.anchor(DirectoryAnchor(folder))
    found = files(folder)
    checkpoint = open_checkpoint(found["checkpoint"], anchored.key)
    audit_tiles(found.get, checkpoint.size, checkpoint.root)
    assert {"tile/0/000", "tile/1/000.p/1", "tile/entries/000"} <= found.keys()


def test_again(anchored: Anchored, folder: Path) -> None:
    """To anchor once more where nothing is new changes no file."""
    anchored.anchor(DirectoryAnchor(folder))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (status,) = anchored.anchor(DirectoryAnchor(folder))
    assert (None, before) == (status.error, {path: path.stat().st_mtime_ns for path in folder.rglob("*")})


def test_a_folder_that_is_gone_is_not_made(anchored: Anchored, tmp_path: Path) -> None:
    """A mount that is missing is a failure, and nothing is written in its place."""
    (status,) = anchored.anchor(DirectoryAnchor(tmp_path / "mount", name="mount"))
    assert (f"{tmp_path / 'mount'}: there is no such folder", False, False) == (
        status.error,
        status.refused,
        (tmp_path / "mount").exists(),
    )


def refusal(status: AnchorStatus) -> str:
    """Return why an anchor refused."""
    assert status.refused, status
    return str(status.error)


def test_a_rewritten_history(anchored: Anchored, rewritten: Callable[[], Anchored], folder: Path) -> None:
    """A log of another history is refused, also when it has grown, and nothing is written."""
    other = rewritten()
    anchored.anchor(DirectoryAnchor(folder))
    before = files(folder)
    reasons = [refusal(status) for status in other.force(DirectoryAnchor(folder))]
    other.publish("more")
    reasons += [refusal(status) for status in other.force(DirectoryAnchor(folder))]
    assert ([True, True], before) == (["of another history" in reason for reason in reasons], files(folder))


def test_a_log_that_was_set_back(anchored: Anchored, folder: Path, tmp_path: Path) -> None:
    """A log restored from an older copy is refused: it has less than the folder."""
    older = anchored.copy(tmp_path / "older.db")
    anchored.publish("transfer-3")
    anchored.anchor(DirectoryAnchor(folder))
    older.sign_anew()
    (status,) = older.force(DirectoryAnchor(folder))
    assert "has a checkpoint of size 10, and the log has 7 leaves" in refusal(status)


@pytest.mark.parametrize("name", ["tile/0/000.p/7", "tile/entries/000.p/7"])
def test_a_file_of_other_bytes_is_never_replaced(anchored: Anchored, folder: Path, name: str) -> None:
    """Where another file is already, it stays, and that is said."""
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other")
    (status,) = anchored.anchor(DirectoryAnchor(folder))
    assert (f"{path}: is there, and is not what the log has", b"other", False) == (
        refusal(status).partition(":")[0] + ":" + refusal(status).partition(":")[2].split(":")[0],
        path.read_bytes(),
        (folder / "checkpoint").exists(),
    )


@pytest.mark.parametrize("name", ["checkpoint", f"checkpoints/{7:019d}", f"checkpoints/{999:019d}"])
@pytest.mark.parametrize("found", [b"", b"not a note\n", b"payments\n7\nAAAA\n\n\xe2\x80\x94 x AAAA\n"])
def test_a_checkpoint_that_is_none(anchored: Anchored, folder: Path, name: str, found: bytes) -> None:
    """What is in a checkpoint's place, and is not by the log's key, is refused and left."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(found)
    (status,) = anchored.anchor(DirectoryAnchor(folder))
    assert ("holds what is no checkpoint" in refusal(status), found) == (True, path.read_bytes())


def test_a_crash_or_a_race_left_an_older_newest_checkpoint(anchored: Anchored, folder: Path) -> None:
    """The checkpoints by size tell what the folder has; the newest one is written once more."""
    anchored.anchor(DirectoryAnchor(folder, name="d"))
    older = (folder / "checkpoint").read_bytes()
    anchored.publish("transfer-3")
    anchored.anchor(DirectoryAnchor(folder, name="d"))
    newer = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(older)
    (status,) = anchored.anchor(DirectoryAnchor(folder, name="d"))
    assert (None, newer) == (status.error, (folder / "checkpoint").read_bytes())


def test_a_folder_that_was_emptied(anchored: Anchored, folder: Path) -> None:
    """A folder that took a checkpoint and has none is refused, rather than filled once more."""
    anchored.anchor(DirectoryAnchor(folder, name="d"))
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoint").unlink()
    (status,) = anchored.anchor(DirectoryAnchor(folder, name="d"))
    assert "took a checkpoint of size 7, and has none now" in refusal(status)


@pytest.mark.parametrize("took_effect", [False, True])
def test_a_crash_at_any_step(
    anchored: Anchored, folder: Path, monkeypatch: pytest.MonkeyPatch, took_effect: bool
) -> None:
    """Whichever file's writing fails, before or after it is there, the next time goes on.

    At no moment is the checkpoint there without what it needs.
    """
    replace, budget = os.replace, [0]

    def failing(source: str, target: str) -> None:
        budget[0] -= 1
        if budget[0] == 0 and not took_effect:
            raise OSError("crashed")
        replace(source, target)
        if budget[0] == 0:
            raise OSError("crashed")

    monkeypatch.setattr("tracebus.anchor.directory.os.replace", failing)
    steps = 0
    while True:
        steps += 1
        anchored.publish(f"workflow-{steps}")
        budget[0] = steps
        (status,) = anchored.anchor(DirectoryAnchor(folder, name="d"))
        found = files(folder)
        if "checkpoint" in found:
            checkpoint = open_checkpoint(found["checkpoint"], anchored.key)
            audit_tiles(found.get, checkpoint.size, checkpoint.root)
        if status.error is None:
            break
        assert "crashed" in status.error
    assert (5, anchored.published().size) == (steps, checkpoint.size)


def test_only_hashes_are_written(anchored: Anchored, folder: Path) -> None:
    """No id, type or value of an event is in any file."""
    anchored.anchor(DirectoryAnchor(folder))
    everything = b"".join(content for path, content in files(folder).items() if path.startswith("tile/"))
    assert [] == [word for word in (b"transfer", b"wire", b"tool", b"DE89", b"run") if word in everything]


def test_another_key_of_the_log(anchored: Anchored, folder: Path) -> None:
    """After the log's key was replaced, the same checkpoint stands, and the next one is by the new key."""
    anchored.anchor(DirectoryAnchor(folder))
    anchored.rotate()
    (idle,) = anchored.anchor(DirectoryAnchor(folder))
    anchored.publish("transfer-3")
    (grown,) = anchored.anchor(DirectoryAnchor(folder))
    checkpoint = open_checkpoint((folder / "checkpoint").read_bytes(), anchored.key)
    assert (None, None, 11) == (idle.error, grown.error, checkpoint.size)


def test_an_event_that_was_changed_is_not_published(anchored: Anchored, folder: Path) -> None:
    """Where the log has no longer the header that its tree has, no checkpoint is written."""
    published = anchored.published()
    with closing(sqlite3.connect(anchored.log.path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE events SET type = 'tool_denied' WHERE type = 'tool_proposed'")
    with pytest.raises(LogDamaged, match="leaf 1"):
        DirectoryAnchor(folder).anchor(published, None)
    assert not (folder / "checkpoint").exists()
