"""`tracebus log`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from evidence.checkpoint import open_checkpoint
from evidence.merkle import Frontier, event_leaf, leaf_hash
from evidence.misbehaviour import verify_misbehaviour
from evidence.note import NoteKey
from evidence.tiles import audit_tiles
from tests.translog import (
    LOG_SIGNER,
    OTHER_SIGNER,
    append_run,
    copy_log,
    cut,
    make_log,
    rewritten,
    tree_of,
)
from tracebus import SqliteEventLog
from tracebus.eventlog.base import EventQuery
from tracebus.events import LogSucceeded
from tracebus.transparency.copies import folder_fetch

Cli = Callable[..., Result]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 24 events and three checkpoints; its key is in log.key and log.pub."""
    path = tmp_path / "t.db"
    make_log(path)
    (tmp_path / "log.key").write_text(LOG_SIGNER.to_pem())
    (tmp_path / "log.pub").write_text(LOG_SIGNER.verifying_key.to_pem())
    (tmp_path / "new.key").write_text(OTHER_SIGNER.to_pem())
    return path


def key_of(log: Path) -> NoteKey:
    """Return the log's public key."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        return NoteKey(source.origin, LOG_SIGNER.verifying_key)


def status(cli: Cli, log: Path) -> dict[str, object]:
    """Return what `log status --json` says."""
    result = cli("log", "status", log, "--json")
    assert result.exit_code == 0, result.output
    facts: dict[str, object] = json.loads(result.stdout)
    return facts


# Status


def test_status_of_a_log_without_checkpoints(cli: Cli, tmp_path: Path) -> None:
    """Nothing is covered; no tree store is made."""
    path = tmp_path / "t.db"
    with closing(SqliteEventLog(path)) as log:
        append_run(log, "a")
    found = status(cli, path)
    assert (4, 0, None, None, 4, False, False) == (
        *(found[name] for name in ("events", "treeSize", "checkpoint", "coveredUpTo", "notCovered")),
        found["lostEvents"],
        tree_of(path).exists(),
    )


def test_status(cli: Cli, log: Path) -> None:
    """It tells what the newest checkpoint covers, and since when something is not."""
    covered = status(cli, log)
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    grown = status(cli, log)
    assert (24, 27, 0, None, 28, 4, True) == (
        *(covered[name] for name in ("events", "treeSize", "notCovered", "secondsNotCovered")),
        grown["events"],
        grown["notCovered"],
        isinstance(grown["secondsNotCovered"], int),
    )


def test_status_of_a_log_that_lost_events(cli: Cli, log: Path) -> None:
    """It can be looked at, and says so."""
    cut(log, 20)
    result = cli("log", "status", log)
    assert (0, True, True) == (
        result.exit_code,
        status(cli, log)["lostEvents"],
        "it refuses to append" in result.stdout,
    )


# Checkpoints


def test_a_checkpoint_is_made_and_printed(cli: Cli, log: Path) -> None:
    """What is printed is the note, signed by the key, of all events there are."""
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    result = cli("log", "checkpoint", log, "--key", "log.key")
    assert (0, 32) == (result.exit_code, open_checkpoint(result.stdout_bytes, key_of(log)).size)


def test_the_log_may_be_left_out(cli: Cli, log: Path, tmp_path: Path) -> None:
    """Like elsewhere it is trace.db, or what TRACEBUS_LOG names."""
    result = cli("log", "checkpoint", "--key", "log.key", env={"TRACEBUS_LOG": str(log)})
    assert (0, 2) == (result.exit_code, cli("log", "checkpoint", "--key", "log.key").exit_code)


def test_nothing_new_gives_the_same_checkpoint(cli: Cli, log: Path) -> None:
    """A tree that has not grown has one checkpoint."""
    first, second = (cli("log", "checkpoint", log, "--key", "log.key").stdout for _ in range(2))
    assert first == second


def test_a_log_that_lost_events_gets_none(cli: Cli, log: Path) -> None:
    """It exits with 1, as a faulty log does, and says where to read on."""
    cut(log, 20)
    result = cli("log", "checkpoint", log, "--key", "log.key")
    assert (1, True) == (result.exit_code, "tracebus log --help" in result.output)


def test_another_key_signs_nothing(cli: Cli, log: Path) -> None:
    """The last checkpoint is by another key than is given."""
    assert 1 == cli("log", "checkpoint", log, "--key", "new.key").exit_code


@pytest.mark.parametrize(
    ("arguments", "code"), [((), 1), (("--after", "kept.note"), 0), (("--rebuilt",), 0)], ids=str
)
def test_a_tree_store_that_is_gone(
    cli: Cli, log: Path, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """Signing goes on beside a checkpoint that somebody kept, or on request, and not otherwise."""
    (tmp_path / "kept.note").write_text(cli("log", "checkpoint", log, "--key", "log.key").stdout)
    tree_of(log).unlink()
    assert code == cli("log", "checkpoint", log, "--key", "log.key", *arguments).exit_code


def test_an_older_copy_is_refused_beside_a_newer_checkpoint(cli: Cli, log: Path, tmp_path: Path) -> None:
    """Restored with its tree store, it fits together; the newest anchor shows that it is older."""
    older = copy_log(log, tmp_path / "older.db")
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    (tmp_path / "kept.note").write_text(cli("log", "checkpoint", log, "--key", "log.key").stdout)
    result = cli("log", "checkpoint", older, "--key", "log.key", "--after", "kept.note")
    assert (1, True) == (result.exit_code, "another history" in result.output)


def test_checkpoints_are_listed(cli: Cli, log: Path) -> None:
    """The oldest first, with how many events each covers."""
    found = json.loads(cli("log", "checkpoints", log, "--json").stdout)
    assert [(9, 8), (18, 16), (27, 24)] == [(each["size"], each["events"]) for each in found]
    assert [9, 18, 27] == [open_checkpoint(each["note"].encode(), key_of(log)).size for each in found]
    table = cli("log", "checkpoints", log).stdout.splitlines()
    assert [["size", "events", "root"], ["9", "8"]] == [table[0].split(), table[1].split()[:2]]


# Published files


def test_publish(cli: Cli, log: Path, tmp_path: Path) -> None:
    """The files hold together with the checkpoint; to publish again adds what is new."""
    folder = tmp_path / "published"
    folder.mkdir()
    first = cli("log", "publish", log, folder, "--log-key", "log.pub")
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    cli("log", "checkpoint", log, "--key", "log.key")
    second = cli("log", "publish", log, folder, "--log-key", "log.pub")
    checkpoint = open_checkpoint((folder / "checkpoint").read_bytes(), key_of(log))
    audit_tiles(folder_fetch(folder), checkpoint.size, checkpoint.root)
    assert (0, 0, 32) == (first.exit_code, second.exit_code, checkpoint.size)


def test_publish_writes_nothing_over_another_history(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A folder with the files of the log as it was is left as it is."""
    folder = tmp_path / "published"
    folder.mkdir()
    cli("log", "publish", log, folder, "--log-key", "log.pub")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    copy = rewritten(log, tmp_path / "copy.db", last=16)
    cli("log", "checkpoint", copy, "--key", "log.key", "--rebuilt")
    result = cli("log", "publish", copy, folder, "--log-key", "log.pub")
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert (True, before) == (result.exit_code != 0, after)


def test_publish_needs_a_checkpoint(cli: Cli, tmp_path: Path) -> None:
    """A log that signed nothing has nothing to publish."""
    path = tmp_path / "t.db"
    with closing(SqliteEventLog(path)) as log:
        append_run(log, "a")
    (tmp_path / "log.pub").write_text(LOG_SIGNER.verifying_key.to_pem())
    assert 3 == cli("log", "publish", path, tmp_path, "--log-key", "log.pub").exit_code


# Contradictions


@pytest.fixture
def forked(cli: Cli, log: Path, tmp_path: Path) -> Path:
    """ours.note, and theirs.note of the same size over another history, which is published."""
    (tmp_path / "ours.note").write_text(cli("log", "checkpoint", log, "--key", "log.key").stdout)
    copy = rewritten(log, tmp_path / "copy.db", last=16)
    made = cli("log", "checkpoint", copy, "--key", "log.key", "--rebuilt")
    (tmp_path / "theirs.note").write_text(made.stdout)
    with closing(SqliteEventLog(copy)) as more:
        append_run(more, "c")
    grown = cli("log", "checkpoint", copy, "--key", "log.key")
    (tmp_path / "grown.note").write_text(grown.stdout)
    (tmp_path / "tree").mkdir()
    cli("log", "publish", copy, "tree", "--log-key", "log.pub")
    return copy


@pytest.mark.parametrize(
    "arguments",
    [("ours.note", "theirs.note"), ("grown.note", "ours.note", "--tree", "tree")],
    ids=["one size", "two sizes"],
)
def test_two_histories(cli: Cli, log: Path, forked: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Two checkpoints become one file, which shows the contradiction to whoever has the key."""
    vkey = key_of(log).to_vkey()
    made = cli("log", "misbehaviour", *arguments, "--log-key", vkey, "-o", "proof.json")
    read = cli("log", "misbehaviour", "proof.json", "--log-key", vkey)
    shown = verify_misbehaviour((tmp_path / "proof.json").read_bytes(), key_of(log))
    assert (0, 0, True, True) == (
        made.exit_code,
        read.exit_code,
        "contradicted itself" in read.stdout,
        shown.root != shown.smaller.root,
    ), made.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ours.note", "ours.note", "-o", "proof.json"), 1),
        (("theirs.note", "grown.note", "--tree", "tree", "-o", "proof.json"), 1),
        (("ours.note", "grown.note", "-o", "proof.json"), 2),
        (("ours.note", "theirs.note"), 2),
        (("ours.note",), 2),
    ],
    ids=str,
)
def test_no_contradiction(
    cli: Cli, log: Path, forked: Path, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """Checkpoints that agree show nothing, nor do two sizes without a tree; no file is made."""
    result = cli("log", "misbehaviour", *arguments, "--log-key", key_of(log).to_vkey())
    assert (code, False) == (result.exit_code, (tmp_path / "proof.json").exists()), result.output


# Successors


def test_a_successor(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A log that lost events is followed by one with an origin of its own; the old one stays as it is."""
    newest = cli("log", "checkpoint", log, "--key", "log.key").stdout.encode()
    old = key_of(log)
    cut(log, 20)
    before = log.read_bytes()
    result = cli(
        *("log", "succeed", log, "new.db", "--key", "new.key", "--log-key", "log.pub"),
        *("--reason", "a disk failed"),
    )
    assert 0 == result.exit_code, result.output
    with closing(SqliteEventLog(tmp_path / "new.db", read_only=True)) as new:
        first = open_checkpoint(result.stdout_bytes, NoteKey(new.origin, OTHER_SIGNER.verifying_key))
        (event,) = new.query(EventQuery(types=("log_succeeded",)))
        name = new.origin.partition("/")[0]
        leaves = Frontier()
        for each in new.query(EventQuery()):
            leaves.append(leaf_hash(event_leaf(each.event_hash)))
    assert isinstance(event.payload, LogSucceeded)
    assert (old.name, open_checkpoint(newest, old).size, "a disk failed", 20, "test", 4, 3, before) == (
        event.payload.previous_log,
        event.payload.checkpoint_size,
        event.payload.reason,
        event.payload.event_count,
        name,
        first.size,
        leaves.size,
        log.read_bytes(),
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("new.db", "--log-key", "log.pub"), 0),
        (("new.db",), 1),
        (("t.db", "--log-key", "log.pub"), 2),
        (("new.db", "--log-key", "log.pub", "--checkpoint", "log.pub"), 2),
    ],
    ids=["the old key", "without the old key", "over the old log", "no checkpoint"],
)
def test_what_a_successor_needs(
    cli: Cli, log: Path, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """A new file, and a checkpoint by the old log's key; else nothing is made."""
    result = cli("log", "succeed", log, *arguments, "--key", "new.key", "--reason", "r")
    assert (code, code == 0) == (result.exit_code, (tmp_path / "new.db").exists()), result.output
