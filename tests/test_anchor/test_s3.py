"""The S3 anchor, on a live S3 with Object Lock."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

pytest.importorskip("boto3", reason="boto3 is not installed")

from botocore.exceptions import ClientError

from evidence import Ed25519Signer, canonical
from evidence.checkpoint import open_checkpoint
from evidence.errors import LogDamaged
from evidence.header import event_hash
from evidence.note import NoteKey
from evidence.tiles import audit_tiles
from tests.test_anchor.conftest import Anchored
from tests.test_anchor.seaweed import Buckets
from tracebus import SqliteEventLog
from tracebus.anchor import AnchorStatus, S3Anchor
from tracebus.cli import main
from tracebus.errors import AnchorRefused, AnchorUnavailable
from tracebus.eventlog import EventQuery
from tracebus.transparency.anchorings import Anchorings

pytestmark = pytest.mark.server

BUCKET: Final = "evidence"
_NUMBERS: Final = itertools.count()


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix for this test alone, and credentials where boto3 looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "admin")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"log-{next(_NUMBERS)}/"


@pytest.fixture
def anchor(buckets: Buckets, prefix: str) -> S3Anchor:
    """The bucket as an anchor, with events."""
    return S3Anchor(BUCKET, prefix, entries=True, endpoint=buckets.url, name="worm")


def versions(buckets: Buckets, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield all versions of all objects."""
    pages = buckets.client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
    for page in pages:
        yield from page.get("Versions", ())


def details(anchored: Anchored) -> dict[str, str]:
    """Return path and version id of all that receipts name."""
    receipts = Anchorings(anchored.log.tree_store).receipts("worm")
    return {path: version for receipt in receipts for path, version in receipt.details.items()}


def refusal(status: AnchorStatus) -> str:
    """Return why an anchor refused."""
    assert status.refused, status
    return str(status.error)


def test_what_is_there_is_a_log_that_others_can_audit(anchored: Anchored, anchor: S3Anchor) -> None:
    """Read by the version ids of the receipts, tiles have the root of the checkpoint."""
    anchored.anchor(anchor)
    anchored.publish("transfer-3")
    (status,) = anchored.anchor(anchor)
    paths = details(anchored)
    checkpoint = open_checkpoint(
        anchor.read(f"checkpoints/{11:019d}", paths[f"checkpoints/{11:019d}"]), anchored.key
    )
    audit_tiles(
        lambda path: anchor.read(path, paths[path]) if path in paths else None,
        checkpoint.size,
        checkpoint.root,
    )
    assert (None, 11) == (status.error, checkpoint.size)


def test_events_are_there(anchored: Anchored, anchor: S3Anchor) -> None:
    """A line for each leaf: headers hash to the event hashes, payloads are as committed."""
    anchored.anchor(anchor)
    path = "events/000.p/7"
    lines = [canonical.loads(line) for line in anchor.read(path, details(anchored)[path]).splitlines()]
    events = list(anchored.log.query(EventQuery()))
    found = [(event_hash(line["header"]), canonical.dumps(line["payload"])) for line in lines[:-1]]
    assert [(event.event_hash, event.payload_json) for event in events] == found
    assert {"heads"} == lines[-1].keys()
    assert b"DE89" not in anchor.read(path, details(anchored)[path])


def test_without_entries_only_hashes_are_there(anchored: Anchored, buckets: Buckets, prefix: str) -> None:
    """Checkpoints and tiles alone, unless events are asked for."""
    anchored.anchor(S3Anchor(BUCKET, prefix, endpoint=buckets.url))
    keys = sorted(each["Key"] for each in versions(buckets, prefix))
    assert [
        prefix + path for path in (f"checkpoints/{7:019d}", "tile/0/000.p/7", "tile/entries/000.p/7")
    ] == keys


def test_everything_is_locked_for_seven_years(
    anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str
) -> None:
    """Each version is in compliance mode, until seven years from now."""
    anchored.anchor(anchor)
    locks = [
        buckets.client.get_object_retention(Bucket=BUCKET, Key=each["Key"], VersionId=each["VersionId"])[
            "Retention"
        ]
        for each in versions(buckets, prefix)
    ]
    until = datetime.now(UTC) + timedelta(days=7 * 365)
    assert [("COMPLIANCE", True)] * 4 == [(lock["Mode"], lock["RetainUntilDate"] > until) for lock in locks]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("delete_object", {}),
        ("delete_object", {"BypassGovernanceRetention": True}),
        ("put_object_retention", {"Mode": "COMPLIANCE", "days": 1}),
        ("put_object_retention", {"Mode": "GOVERNANCE", "days": 9000}),
        ("put_object_retention", {"Mode": "GOVERNANCE", "days": 1, "BypassGovernanceRetention": True}),
    ],
)
def test_nothing_is_deleted_or_shortened(
    anchored: Anchored,
    anchor: S3Anchor,
    buckets: Buckets,
    prefix: str,
    method: str,
    arguments: dict[str, Any],
) -> None:
    """The administrator of the bucket gets 403, and each version reads as before."""
    anchored.anchor(anchor)
    arguments = dict(arguments)
    if "Mode" in arguments:
        until = datetime.now(UTC) + timedelta(days=arguments.pop("days"))
        arguments["Retention"] = {"Mode": arguments.pop("Mode"), "RetainUntilDate": until}
    for each in list(versions(buckets, prefix)):
        with pytest.raises(ClientError) as refused:
            getattr(buckets.client, method)(
                Bucket=BUCKET, Key=each["Key"], VersionId=each["VersionId"], **arguments
            )
        assert 403 == refused.value.response["ResponseMetadata"]["HTTPStatusCode"]
    path = f"checkpoints/{7:019d}"
    assert anchored.published().note == anchor.read(path, details(anchored)[path])


def test_idle(anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str) -> None:
    """Where nothing is new nothing is put, and the receipt stays."""
    anchored.anchor(anchor)
    before = details(anchored)
    (status,) = anchored.anchor(anchor)
    assert (None, before, 4) == (status.error, details(anchored), len(list(versions(buckets, prefix))))


def test_a_rewritten_history(anchored: Anchored, rewritten: Callable[[], Anchored], anchor: S3Anchor) -> None:
    """A log of another history is refused, of the same size or grown, and puts nothing."""
    other = rewritten()
    anchored.anchor(anchor)
    (equal,) = other.force(anchor)
    other.publish("more")
    (grown,) = other.force(anchor)
    assert [True, True] == ["of another history" in refusal(status) for status in (equal, grown)]


def test_delete_markers_hide_nothing(
    anchored: Anchored, rewritten: Callable[[], Anchored], anchor: S3Anchor, buckets: Buckets, prefix: str
) -> None:
    """Whoever lays delete markers over everything, and anchors a rewritten log, is refused none the less."""
    other = rewritten()
    anchored.anchor(anchor)
    for each in list(versions(buckets, prefix)):
        buckets.client.delete_object(Bucket=BUCKET, Key=each["Key"])
    (status,) = other.force(anchor)
    assert "of another history" in refusal(status)


def test_laid_over(anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str) -> None:
    """A newer version over the checkpoint is noticed, and the old one is read by its version id."""
    anchored.anchor(anchor)
    path = f"checkpoints/{7:019d}"
    buckets.client.put_object(Bucket=BUCKET, Key=prefix + path, Body=b"tampered")
    anchored.publish("transfer-3")
    (status,) = anchored.anchor(anchor)
    assert "holds what is no checkpoint" in refusal(status)
    assert anchored.published().size == 11
    assert b"tampered" not in anchor.read(path, details(anchored)[path])


def test_a_log_that_was_set_back(anchored: Anchored, anchor: S3Anchor, tmp_path: Path) -> None:
    """A log restored from an older copy is refused."""
    older = anchored.copy(tmp_path / "older.db")
    anchored.publish("transfer-3")
    anchored.anchor(anchor)
    older.sign_anew()
    (status,) = older.force(anchor)
    assert "has a checkpoint of size 10, and the log has 7 leaves" in refusal(status)


@pytest.mark.parametrize("locked", [False, True])
def test_an_object_that_is_there_already(
    anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str, locked: bool
) -> None:
    """The right bytes in the right place count if they are locked; nothing is put over them."""
    content = dict(anchored.published().files(0))["tile/0/000.p/7"]
    until = datetime.now(UTC) + timedelta(days=9000)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until} if locked else {}
    buckets.client.put_object(Bucket=BUCKET, Key=f"{prefix}tile/0/000.p/7", Body=content, **lock)
    (status,) = anchored.anchor(anchor)
    found = [each for each in versions(buckets, prefix) if each["Key"].endswith("tile/0/000.p/7")]
    assert (not locked, 1) == ("not locked" in str(status.error), len(found))


def test_a_payload_that_was_erased_between_two_attempts(
    anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str
) -> None:
    """A segment with a payload that the log has erased since is the same segment."""
    anchored.anchor(anchor)
    path = "events/000.p/7"
    lines = [json.loads(line) for line in anchor.read(path, details(anchored)[path]).splitlines()]
    erased = b"".join(
        canonical.dumps({key: value for key, value in line.items() if (number, key) != (1, "payload")})
        + b"\n"
        for number, line in enumerate(lines)
    )
    version = details(anchored)[path]
    assert version == anchor._keep(path, erased)
    with pytest.raises(AnchorRefused, match="is not what the log has"):
        anchor._keep(path, erased.replace(b"tool_proposed", b"tool_executed"))


@pytest.mark.parametrize("took_effect", [False, True])
def test_a_crash_at_any_step(anchored: Anchored, anchor: S3Anchor, took_effect: bool) -> None:
    """Whichever put fails, before or after it took effect, the next attempts end well."""
    bucket, budget = anchor._bucket, [0]
    put = bucket.put

    def failing(*arguments: Any) -> Any:
        budget[0] -= 1
        if budget[0] == 0 and not took_effect:
            raise AnchorUnavailable("cut off")
        version = put(*arguments)
        if budget[0] == 0:
            raise AnchorUnavailable("cut off")
        return version

    bucket.put = failing  # type: ignore[method-assign]
    errors = []
    for step in range(1, 7):
        budget[0] = step
        (status,) = anchored.anchor(anchor)
        errors.append(status.error)
    paths = details(anchored)
    checkpoint = f"checkpoints/{7:019d}"
    assert (["cut off"] * 4 + [None] * 2, anchored.published().note) == (
        errors,
        anchor.read(checkpoint, paths[checkpoint]),
    )


def test_down(anchored: Anchored, nobody: str, prefix: str) -> None:
    """A bucket that cannot be reached is a failure."""
    (status,) = anchored.anchor(S3Anchor(BUCKET, prefix, endpoint=nobody, name="down"))
    assert (None, False, True) == (status.size, status.refused, "down: " in str(status.error))


def test_no_such_bucket(anchored: Anchored, buckets: Buckets, prefix: str) -> None:
    """A bucket that is not there is a failure that says so."""
    (status,) = anchored.anchor(S3Anchor("elsewhere", prefix, endpoint=buckets.url))
    assert (None, True) == (status.size, "NoSuchBucket" in str(status.error))


def test_check(anchor: S3Anchor) -> None:
    """A bucket as it should be passes, and what was tried is said."""
    lines = anchor.check()
    assert (6, True) == (sum(line.startswith("refused: ") for line in lines), "compliance mode" in lines[1])


def test_check_of_a_bucket_without_locks(buckets: Buckets, prefix: str) -> None:
    """A bucket without Object Lock is refused in words."""
    plain = buckets.make("plain", locks=False)
    with pytest.raises((AnchorRefused, AnchorUnavailable)) as refused:
        S3Anchor(plain, prefix, endpoint=buckets.url).check()
    assert "versioning" in str(refused.value)


def test_check_of_what_would_allow_it(anchor: S3Anchor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that lets a locked version go is refused."""
    bucket = anchor._bucket
    call = bucket._call

    def lenient(method: str, **arguments: Any) -> Any:
        return {} if method == "delete_object" else call(method, **arguments)

    monkeypatch.setattr(bucket, "_call", lenient)
    with pytest.raises(AnchorRefused, match="to delete the version: expected a refusal, and it was allowed"):
        anchor.check()


def test_another_key_of_the_log(anchored: Anchored, anchor: S3Anchor) -> None:
    """After the log's key was replaced, the same checkpoint stands, and the next one is by the new key."""
    anchored.anchor(anchor)
    anchored.rotate()
    (idle,) = anchored.anchor(anchor)
    anchored.publish("transfer-3")
    (grown,) = anchored.anchor(anchor)
    path = f"checkpoints/{11:019d}"
    checkpoint = open_checkpoint(anchor.read(path, details(anchored)[path]), anchored.key)
    assert (None, None, 11) == (idle.error, grown.error, checkpoint.size)


def test_what_is_there_need_not_be_known(
    anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str
) -> None:
    """Without the receipt, as after the tree store was lost, the bucket tells; nothing is put twice."""
    anchored.anchor(anchor)
    count = len(list(versions(buckets, prefix)))
    anchor.name = "anew"
    (status,) = anchored.anchor(anchor)
    (receipt,) = Anchorings(anchored.log.tree_store).receipts("anew")
    assert (None, 7, count, {f"checkpoints/{7:019d}"}) == (
        status.error,
        status.size,
        len(list(versions(buckets, prefix))),
        receipt.details.keys(),
    )


def test_an_empty_log(anchor: S3Anchor, tmp_path: Path) -> None:
    """A log may be anchored before its first event, and goes on from there."""
    empty = Anchored(SqliteEventLog(tmp_path / "empty.db", name="empty"))
    sizes = [empty.anchor(anchor)[0].size for _ in range(2)]
    empty.publish("transfer-1")
    assert [0, 0, 4] == [*sizes, empty.anchor(anchor)[0].size]


@pytest.mark.parametrize(
    ("table", "reason"), [("payloads", "its payload is not the one"), ("events", "leaf 1")]
)
def test_an_event_that_was_changed_is_not_put(
    anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str, table: str, reason: str
) -> None:
    """What is put is compared with what the tree has: no altered payload or header goes there."""
    published = anchored.published()
    column = "payload" if table == "payloads" else "type"
    change = f"UPDATE {table} SET {column} = replace({column}, 'tool', 'toil')"
    with closing(sqlite3.connect(anchored.log.path, isolation_level=None)) as connection:
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        assert connection.execute(change).rowcount
    with pytest.raises(LogDamaged, match=reason):
        anchor.anchor(published, None)
    assert [] == [each["Key"] for each in versions(buckets, prefix) if "checkpoints/" in each["Key"]]


def test_the_bucket_alone_is_verified(
    anchored: Anchored, anchor: S3Anchor, buckets: Buckets, prefix: str
) -> None:
    """An auditor needs the bucket and the log's key: events, tree and maps, against each checkpoint in it.

    What was laid over the objects, or deleted from sight, changes nothing.
    """
    anchored.anchor(anchor)
    anchored.publish("transfer-3")
    anchored.anchor(anchor)
    each = f"{prefix}events/000.p/7"
    buckets.client.put_object(Bucket=BUCKET, Key=each, Body=b"tampered")
    buckets.client.delete_object(Bucket=BUCKET, Key=f"{prefix}checkpoints/{7:019d}")
    arguments = ["verify-log", f"s3://{BUCKET}/{prefix}", "--endpoint", buckets.url, "--json"]
    done = CliRunner().invoke(main, [*arguments, "--log-key", anchored.key.to_vkey()])
    stranger = NoteKey(anchored.key.name, Ed25519Signer.generate().verifying_key)
    refused = CliRunner().invoke(main, [*arguments, "--log-key", stranger.to_vkey()])
    found = json.loads(done.stdout)
    assert (0, 1) == (done.exit_code, refused.exit_code)
    assert ("verified", 9) == (found["verdict"], found["events"])
