"""The audit of a log: what it computes, what it refuses, what it says was not done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import canonical
from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import MalformedInput
from evidence.heads_map import map_root
from evidence.merkle import Frontier, event_leaf, leaf_hash
from evidence.note import NoteKey
from tests.translog import (
    LOG_SIGNER,
    alter,
    append_run,
    copy_log,
    cut,
    make_log,
    rewritten,
    start_run,
    tree_of,
    write_jsonl,
    write_segment,
)
from tracebus import SqliteEventLog
from tracebus.anchor import DirectoryAnchor, PublishedLog
from tracebus.eventlog.base import HeadsLeaf
from tracebus.transparency.audit import AuditReport, Claim, audit
from tracebus.transparency.checkpoints import Checkpointer
from tracebus.transparency.copies import JsonlCopy, LogCopy, SqliteCopy, TilesCopy, folder_fetch

SPOILED = "UPDATE tiles SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB)"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 24 events in six runs, three heads leaves and three checkpoints."""
    path = tmp_path / "trace.db"
    make_log(path)
    return path


@pytest.fixture
def published(log: Path, tmp_path: Path) -> Path:
    """The log's public files."""
    return publish(log, tmp_path / "published")


def publish(log: Path, folder: Path) -> Path:
    """Write a log's public files into a new folder."""
    folder.mkdir()
    with closing(SqliteEventLog(log, read_only=True)) as source:
        note = source.tree_store.latest_checkpoint()
        assert note is not None
        DirectoryAnchor(folder).anchor(PublishedLog(source, source.tree_store, key_of(source), note), None)
    return folder


def key_of(log: SqliteEventLog) -> NoteKey:
    """Return the log's public key."""
    return NoteKey(log.origin, LOG_SIGNER.verifying_key)


def claims_of(log: Path) -> list[Claim]:
    """Return the checkpoints of a log as claims that somebody else kept."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        key = key_of(source)
        return [Claim("kept", open_checkpoint(note, key)) for note in source.tree_store.checkpoints()]


def run_audit(
    copy: LogCopy, claims: list[Claim], scratch: Path, first: int = 0, last: int | None = None
) -> AuditReport:
    """Audit a copy of a log."""
    scratch.mkdir()
    return audit(copy, claims[0].checkpoint.origin, claims, scratch, first=first, last=last)


def audit_log(
    path: Path, claims: list[Claim], scratch: Path, first: int = 0, last: int | None = None
) -> AuditReport:
    """Audit an event log."""
    with closing(SqliteEventLog(path, read_only=True)) as log:
        return run_audit(SqliteCopy(log), claims, scratch, first, last)


def done(report: AuditReport) -> dict[str, int]:
    """Return how much of each check was done."""
    return {check.name: check.done for check in report.checks}


def test_a_sound_log(log: Path, tmp_path: Path) -> None:
    """Every event, leaf, map and checkpoint is computed and compared, and nothing is left out."""
    report = audit_log(log, claims_of(log), tmp_path / "scratch")
    assert ("verified", 27, 24, 0, True) == (
        report.verdict,
        report.size,
        report.events,
        report.uncovered,
        all(not check.not_done for check in report.checks),
    )
    assert {"events": 24, "payloads": 24, "leaves": 27, "heads maps": 3, "checkpoints": 3} == {
        name: count for name, count in done(report).items() if name != "tile hashes"
    }


def test_a_copy_without_its_tree_store(log: Path, tmp_path: Path) -> None:
    """The tree follows from the events alone; that no tiles were compared is said."""
    copy = copy_log(log, tmp_path / "copy.db", tree=False)
    report = audit_log(copy, claims_of(log), tmp_path / "scratch")
    left_out = {check.name for check in report.checks if check.not_done}
    assert ("verified", {"tile hashes"}) == (report.verdict, left_out)


def test_events_behind_the_newest_checkpoint_are_counted(log: Path, tmp_path: Path) -> None:
    """They are verified, and said to be covered by nothing."""
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    report = audit_log(log, claims_of(log), tmp_path / "scratch")
    assert ("verified", 28, 4) == (report.verdict, report.events, report.uncovered)


def test_without_a_checkpoint_nothing_is_concluded(log: Path, tmp_path: Path) -> None:
    """A log that nothing is compared with may be any."""
    claims = claims_of(log)
    (tmp_path / "scratch").mkdir()
    with closing(SqliteEventLog(log, read_only=True)) as source:
        report = audit(SqliteCopy(source), claims[0].checkpoint.origin, [], tmp_path / "scratch")
    assert ("incomplete", None) == (report.verdict, report.fault)


def test_a_cut_tail(log: Path, tmp_path: Path) -> None:
    """A copy that lacks leaves of a checkpoint is refused, whatever became of its tree store."""
    copy = copy_log(log, tmp_path / "copy.db", tree=False)
    cut(copy, 16)
    report = audit_log(copy, claims_of(log), tmp_path / "scratch")
    assert ("failed", True) == (report.verdict, "the copy has 18 leaves" in report.reason)


def test_a_rewritten_suffix_of_equal_length(log: Path, tmp_path: Path) -> None:
    """A history of the same length and its own, sound chain has another root than was signed."""
    copy = rewritten(log, tmp_path / "copy.db", last=16)
    with closing(SqliteEventLog(copy)) as other:
        Checkpointer(other, LOG_SIGNER, rebuilt=True).checkpoint()
    report = audit_log(copy, claims_of(log), tmp_path / "scratch")
    assert ("failed", True) == (report.verdict, "checkpoint of size 27 (kept)" in report.reason)


def test_a_deleted_run(log: Path, tmp_path: Path) -> None:
    """The place of its events is named."""
    alter(log, "DELETE FROM events WHERE run_id = 'a1'")
    report = audit_log(log, claims_of(log), tmp_path / "scratch")
    assert ("failed", "leaf 9: the event at position 9 is gone") == (report.verdict, report.reason)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE events SET risk = 'low' WHERE position = 10", "event 2 of run a1: parentHash"),
        ("UPDATE events SET risk = 'grave' WHERE position = 10", "event 1 of run a1 risk: expected"),
        ("UPDATE events SET timestamp = '' WHERE position = 10", "event 1 of run a1 timestamp: expected"),
        ("UPDATE payloads SET payload = '{}' WHERE position = 10", "event 1 of run a1: its payload hashes"),
        ("UPDATE events SET risk = 'low' WHERE position = 16", "leaf 17: its heads map has root"),
        ("UPDATE heads SET map_root = zeroblob(32) WHERE ordinal = 1", "leaf 17: its heads map has root"),
        ("UPDATE heads SET position = 15 WHERE ordinal = 1", "leaf 16: its heads map has root"),
        ("UPDATE log SET origin = 'test/01M5GNHYY0GDQZ3177PGDHW4YB'", "event 0 of run a0: expected log"),
    ],
)
def test_an_altered_row(log: Path, tmp_path: Path, statement: str, reason: str) -> None:
    """The first place where something does not hold is named."""
    claims = claims_of(log)
    copy = copy_log(log, tmp_path / "copy.db", tree=False)
    alter(copy, statement)
    report = audit_log(copy, claims, tmp_path / "scratch")
    assert ("failed", True) == (report.verdict, reason in report.reason), report.reason


def test_a_changed_tile(log: Path, tmp_path: Path) -> None:
    """Tiles that proofs would be made from are compared with the tree."""
    with closing(sqlite3.connect(tree_of(log), isolation_level=None)) as connection:
        connection.execute(SPOILED)
    report = audit_log(log, claims_of(log), tmp_path / "scratch")
    assert ("failed", True) == (report.verdict, report.reason.startswith("hash 0 of tile level 0: expected"))


def _dishonest(path: Path, entries: str) -> list[Claim]:
    """Make a log whose operator signs a second heads map without something; return its checkpoints."""
    with closing(SqliteEventLog(path, name="test")) as log:
        log.open()
        append_run(log, "a", workflow="w")
        append_run(log, "b", workflow="x")
        Checkpointer(log, LOG_SIGNER).checkpoint()
        append_run(log, "c", workflow="w")
        store = log.tree_store
        kept = {
            "a workflow": [store.entry("w", "acme")],
            "a run": [store.entry("w", "acme"), store.entry("x", "acme")],
        }[entries]
        root = map_root(sorted(kept))
        assert log.add_heads_leaf(1, HeadsLeaf(log.last_position(), root))
        return [Claim("kept", _checkpoint_over(log))]


def _checkpoint_over(log: SqliteEventLog) -> Checkpoint:
    """Return what the operator signs: the tree over the leaves as they are, maps unchecked."""
    frontier = Frontier()
    for leaf in SqliteCopy(log).leaves(0, None):
        data = leaf.data or (event_leaf(leaf.event.event_hash) if leaf.event else b"")
        frontier.append(leaf_hash(data))
    return Checkpoint(log.origin, frontier.size, frontier.root())


@pytest.mark.parametrize("entries", ["a workflow", "a run"])
def test_a_map_that_leaves_something_out(tmp_path: Path, entries: str) -> None:
    """A signed map without a workflow, or with an older head of one, is not that of the events before it."""
    path = tmp_path / "trace.db"
    claims = _dishonest(path, entries)
    report = audit_log(path, claims, tmp_path / "scratch")
    assert ("failed", True) == (report.verdict, "leaf 13: its heads map has root" in report.reason)


# From the middle


def test_a_later_part(log: Path, tmp_path: Path) -> None:
    """From a checkpoint on, leaves are compared, and maps are said not to be computed."""
    report = audit_log(log, claims_of(log), tmp_path / "scratch", first=9)
    left_out = {check.name: check.not_done for check in report.checks if check.not_done}
    assert ("verified", 16, 9, 27, {"events", "heads maps"}) == (
        report.verdict,
        report.events,
        report.first,
        report.size,
        set(left_out),
    )


def test_an_earlier_part(log: Path, tmp_path: Path) -> None:
    """Up to a checkpoint, everything is done; later checkpoints are counted."""
    report = audit_log(log, claims_of(log), tmp_path / "scratch", last=18)
    assert ("verified", 16, 18, 2) == (report.verdict, report.events, report.size, done(report)["heads maps"])


def test_a_later_part_of_a_tree_that_was_changed_before(log: Path, tmp_path: Path) -> None:
    """What is taken for granted is bound by the checkpoint at the beginning."""
    with closing(sqlite3.connect(tree_of(log), isolation_level=None)) as connection:
        connection.execute(SPOILED)
    report = audit_log(log, claims_of(log), tmp_path / "scratch", first=9)
    assert ("failed", True) == (report.verdict, "checkpoint of size 9 (kept)" in report.reason)


def test_a_later_part_needs_a_checkpoint_in_it(log: Path, tmp_path: Path) -> None:
    """The checkpoint at the beginning shows nothing of what comes after it."""
    report = audit_log(log, claims_of(log)[:1], tmp_path / "scratch", first=9)
    assert "incomplete" == report.verdict


def test_a_later_part_without_tiles(log: Path, tmp_path: Path) -> None:
    """Without tiles the tree cannot be taken up in its middle."""
    copy = copy_log(log, tmp_path / "copy.db", tree=False)
    with pytest.raises(ValueError, match="expected tiles"):
        audit_log(copy, claims_of(log), tmp_path / "scratch", first=9)


# Published files


def test_published_files(log: Path, published: Path, tmp_path: Path) -> None:
    """From the files alone the tree is computed; that events were not seen is said."""
    report = run_audit(TilesCopy(folder_fetch(published)), claims_of(log), tmp_path / "scratch")
    assert ("verified", 27, 0, 0) == (report.verdict, report.size, report.events, report.uncovered)
    assert {"events", "payloads", "heads maps"} == {c.name for c in report.checks if c.not_done}


@pytest.mark.parametrize("first", [0, 9, 26])
def test_published_files_in_part(log: Path, published: Path, tmp_path: Path, first: int) -> None:
    """A part of the files is enough for a part of the tree."""
    report = run_audit(TilesCopy(folder_fetch(published)), claims_of(log), tmp_path / "s", first, 27)
    assert ("verified", 27 - first) == (report.verdict, done(report)["leaves"])


def test_a_changed_entry(log: Path, published: Path, tmp_path: Path) -> None:
    """An entry that is not the leaf that the tiles have is refused."""
    path = published / "tile/entries/000.p/27"
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    report = run_audit(TilesCopy(folder_fetch(published)), claims_of(log), tmp_path / "scratch")
    assert ("failed", True) == (report.verdict, "hash 0 of tile level 0" in report.reason)


def test_a_missing_file(log: Path, published: Path, tmp_path: Path) -> None:
    """What is not there is no contradiction, and no verification."""
    (published / "tile/entries/000.p/27").unlink()
    report = run_audit(TilesCopy(folder_fetch(published)), claims_of(log), tmp_path / "scratch")
    assert ("incomplete", True) == (report.verdict, "is not there" in report.reason)


@pytest.mark.parametrize("kind", [b"\x00", b"\x03", b"\x04"])
def test_a_leaf_of_another_kind(log: Path, published: Path, tmp_path: Path, kind: bytes) -> None:
    """Kinds that the format does not have, and two functions in one log, are refused."""
    path = published / "tile/entries/000.p/27"
    data = bytearray(path.read_bytes())
    data[35 + 2 : 35 + 3] = kind
    path.write_bytes(data)
    copy = TilesCopy(folder_fetch(published))
    copy.fetch = None
    report = run_audit(copy, claims_of(log), tmp_path / "scratch")
    assert ("failed", "leaf 1") == (report.verdict, report.reason[:6])


# Published files with events, as they are in an S3 anchor's bucket


def bucket(folder: Path) -> TilesCopy:
    """Return files with events and without the newest checkpoint, got one by one."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "checkpoint"
    }
    return TilesCopy(files.get, size=27, events=True)


def test_a_bucket_with_events(log: Path, published: Path, tmp_path: Path) -> None:
    """From the objects alone everything is computed that an event log gives."""
    write_segment(log, published)
    report = run_audit(bucket(published), claims_of(log), tmp_path / "scratch")
    assert ("verified", 24, 24, 3) == (
        report.verdict,
        report.events,
        done(report)["payloads"],
        done(report)["heads maps"],
    ), report.reason


@pytest.mark.parametrize(
    ("old", "new", "verdict", "reason"),
    [
        (b'"status":"ok"', b'"status":"no"', "failed", "is not the committed form"),
        (b'"seq":1', b'"seq":2', "failed", "event 2 of run a0: expected seq 1"),
        (b'{"header":{', b'{"header":3,"x":{', "failed", "expected an event, header and payload"),
        (b'{"heads":', b'\n{"heads":', "failed", "event, header and payload"),
    ],
    ids=["payload", "header", "line", "a line more"],
)
def test_a_bucket_with_altered_events(
    log: Path, published: Path, tmp_path: Path, old: bytes, new: bytes, verdict: str, reason: str
) -> None:
    """An event that is not that of its leaf is named."""
    path = write_segment(log, published)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    report = run_audit(bucket(published), claims_of(log), tmp_path / "scratch")
    assert (verdict, True) == (report.verdict, reason in report.reason), report.reason


def test_a_bucket_without_a_segment(log: Path, published: Path, tmp_path: Path) -> None:
    """Events that are not there are no contradiction, and no verification."""
    report = run_audit(bucket(published), claims_of(log), tmp_path / "scratch")
    assert ("incomplete", "events/000.p/27: is not there") == (report.verdict, report.reason)


# JSON Lines


def jsonl(path: Path, published: Path | None, scratch: Path) -> JsonlCopy:
    """Return an export, with the published files or without."""
    scratch.mkdir(exist_ok=True)
    tiles = None if published is None else TilesCopy(folder_fetch(published))
    return JsonlCopy(path, tiles, scratch)


def test_an_export_with_published_files(log: Path, published: Path, tmp_path: Path) -> None:
    """Events from the export, places of the heads leaves from the files: everything is computed."""
    lines = write_jsonl(log, tmp_path / "events.jsonl")
    report = run_audit(jsonl(lines, published, tmp_path / "x"), claims_of(log), tmp_path / "scratch")
    assert ("verified", 24, 3) == (report.verdict, report.events, done(report)["heads maps"]), report.reason


def test_an_export_alone(log: Path, tmp_path: Path) -> None:
    """Events and chains are verified; that it is the log that was signed cannot be told."""
    lines = write_jsonl(log, tmp_path / "events.jsonl")
    report = run_audit(jsonl(lines, None, tmp_path / "x"), claims_of(log), tmp_path / "scratch")
    assert ("incomplete", 24, None, True) == (
        report.verdict,
        report.events,
        report.root,
        "give --tiles" in report.reason,
    )


def test_lines_that_stand_twice(log: Path, published: Path, tmp_path: Path) -> None:
    """What a sink wrote again after a restart is passed over."""
    path = write_jsonl(log, tmp_path / "events.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:10], *lines[6:]]))
    copy = jsonl(path, published, tmp_path / "x")
    report = run_audit(copy, claims_of(log), tmp_path / "scratch")
    assert ("verified", 24, 4) == (report.verdict, report.events, copy.repeated)


def test_a_line_that_is_being_written(log: Path, published: Path, tmp_path: Path) -> None:
    """A last line without its end is passed over."""
    path = write_jsonl(log, tmp_path / "events.jsonl")
    path.write_bytes(path.read_bytes() + b'{"version":1,"lo')
    report = run_audit(jsonl(path, published, tmp_path / "x"), claims_of(log), tmp_path / "scratch")
    assert "verified" == report.verdict


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ("dropped", "failed", "event 1 of run b0: expected the run's first event"),
        ("swapped", "failed", "leaf 4: the published entry is not that of event 0 of run a1"),
        ("cut", "incomplete", "events.jsonl has no more events"),
        ("opened", "failed", "is not the committed form"),
        ("garbled", "failed", "line 3 byte 0"),
    ],
)
def test_an_export_that_lacks_something(
    log: Path, published: Path, tmp_path: Path, change: str, verdict: str, reason: str
) -> None:
    """Lines that are missing, moved, altered or not events are named."""
    path = write_jsonl(log, tmp_path / "events.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {
        "dropped": [*lines[:4], *lines[5:]],
        "swapped": [*lines[:4], *lines[8:12], *lines[4:8], *lines[12:]],
        "cut": lines[:20],
        "opened": [lines[0].replace(b'"kind":"new"', b'"kind":"old"'), *lines[1:]],
        "garbled": [*lines[:2], b"\xff\n", *lines[3:]],
    }[change]
    path.write_bytes(b"".join(changed))
    report = run_audit(jsonl(path, published, tmp_path / "x"), claims_of(log), tmp_path / "scratch")
    assert (verdict, True) == (report.verdict, reason in report.reason), report.reason


def test_an_event_of_an_open_run(tmp_path: Path) -> None:
    """A run that has not ended is part of the maps like any other."""
    path = tmp_path / "trace.db"
    make_log(path, rounds=1)
    with closing(SqliteEventLog(path)) as log:
        start_run(log, "open")
        Checkpointer(log, LOG_SIGNER).checkpoint()
    report = audit_log(path, claims_of(path), tmp_path / "scratch")
    assert ("verified", 2) == (report.verdict, done(report)["heads maps"])


def test_a_report_names_every_reason(log: Path, tmp_path: Path) -> None:
    """What is missing beside a fault is said, too."""
    report = audit_log(log, claims_of(log), tmp_path / "scratch")
    assert "a; b" == replace(report, missing=("a", "b")).reason


# Any bytes

ORIGIN = "test/01M5GNHYY0GDQZ3177PGDHW4YB"


@given(
    st.lists(
        st.binary(max_size=60) | st.recursive(st.none() | st.text(max_size=5), st.lists).map(canonical.dumps)
    )
)
def test_any_lines_end_in_a_report(lines: list[bytes]) -> None:
    """Whatever an export holds, the audit ends in a report."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(b"\n".join(lines))
        report = audit(JsonlCopy(path, None, Path(folder)), ORIGIN, [], Path(folder))
    assert report.verdict in ("incomplete", "failed")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path, list[Claim]]:
    """An export of eight events, the published files, and the checkpoint."""
    log = tmp_path_factory.mktemp("log") / "trace.db"
    make_log(log, rounds=1)
    lines = write_jsonl(log, log.with_suffix(".jsonl")).read_bytes()
    return lines, publish(log, log.with_name("published")), claims_of(log)


@given(st.data())
def test_any_change_of_an_export_is_noticed(
    example: tuple[bytes, Path, list[Claim]], data: st.DataObject
) -> None:
    """With one byte that is another, an export is not verified."""
    lines, published, claims = example
    at = data.draw(st.integers(0, len(lines) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[at]))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(lines[:at] + bytes([byte]) + lines[at + 1 :])
        copy = JsonlCopy(path, TilesCopy(folder_fetch(published)), Path(folder))
        report = audit(copy, claims[0].checkpoint.origin, claims, Path(folder))
    assert report.verdict in ("incomplete", "failed")


@given(
    st.dictionaries(st.sampled_from(["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"]), st.binary())
)
def test_any_files_end_in_a_report(files: dict[str, bytes]) -> None:
    """Whatever published files hold, the audit ends in a report, or they are refused when they are opened."""
    claim = Claim("kept", Checkpoint(ORIGIN, 3, bytes(32)))
    try:
        copy = TilesCopy(files.get, size=3)
    except MalformedInput:
        return
    with TemporaryDirectory() as folder:
        report = audit(copy, ORIGIN, [claim], Path(folder))
    assert report.verdict in ("incomplete", "failed")
