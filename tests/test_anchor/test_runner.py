"""Anchoring at several places: receipts, failures, retries, and what goes into bundles."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from evidence import Ed25519Signer, EvidenceBundler, Incomplete, verify_evidence_bundle
from evidence.checkpoint import parse_checkpoint
from evidence.cosignature import WitnessKey, cosign
from evidence.errors import LogDamaged, SignatureRefused
from evidence.note import NoteKey, parse_note
from evidence.trust_file import parse_policy
from tests.test_anchor.conftest import Anchored
from tracebus import MemoryEventLog, SqliteEventLog
from tracebus.anchor import DirectoryAnchor, PublishedLog, Receipt, anchor_all, anchor_status
from tracebus.errors import AnchorRefused, AnchorUnavailable
from tracebus.transparency.anchorings import Anchorings, AnchorStatus

WITNESS = Ed25519Signer(b"\x02" * 32)
KEY = WitnessKey("witness.example/w1", WITNESS.verifying_key)


class Notary:
    """An anchor in memory, which cosigns; before that, or after it, it raises its `faults`, one each time."""

    def __init__(self, name: str = "notary", *faults: Exception, took_effect: bool = False) -> None:
        self.name = name
        self.faults = list(faults)
        self.took_effect = took_effect
        self.taken: dict[int, bytes] = {}
        self.lasts: list[int | None] = []
        self.time = 1_700_000_000

    def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
        """Take a checkpoint."""
        self.lasts.append(None if last is None else last.size)
        fault = self.faults.pop(0) if self.faults else None
        if fault is None or self.took_effect:
            assert self.taken.setdefault(log.size, log.note) == log.note
        if fault is not None:
            raise fault
        self.time += 1
        return Receipt(log.size, cosignatures=(cosign(log.checkpoint, KEY.name, WITNESS, self.time),))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for milliseconds between attempts."""
    monkeypatch.setattr("tracebus.anchor.runner.FIRST_PAUSE", 0.002)


def test_a_bundle_carries_what_anchors_brought(anchored: Anchored) -> None:
    """A bundle meets a policy that requires a witness after anchoring, and is incomplete before."""
    key = Ed25519Signer(b"\x05" * 32)
    policy = parse_policy(
        (
            f"log {anchored.key.to_vkey()}\nwitness w {KEY.to_vkey()}\nquorum w\n"
            f"#tracebus bundle-key {NoteKey('treasury', key.verifying_key).to_vkey()}\n"
            "#tracebus require completeness witness\n"
        ).encode()
    )

    def export() -> bytes:
        async def bundle() -> Any:
            return await EvidenceBundler(anchored.log, key).bundle("transfer-1")

        return bytes(anyio.run(bundle).to_json())

    anchored.published()
    with pytest.raises(Incomplete):
        verify_evidence_bundle(export(), policy=policy)
    anchored.anchor(Notary())
    assert "transfer-1" == verify_evidence_bundle(export(), policy=policy).workflow_id


def test_status(anchored: Anchored) -> None:
    """The state of each anchor: size, how far behind, failures and the last error."""
    notary, down = Notary(), Notary("down")
    anchored.anchor(notary, down)
    anchored.publish("transfer-3")
    down.faults = [AnchorUnavailable("nobody there")] * 9
    anchored.anchor(notary, down, attempts=2)
    well, ill = anchor_status(anchored.log)[::-1]
    assert [
        AnchorStatus("notary", 11, well.anchored_at, 0, well.attempted_at),
        AnchorStatus("down", 7, ill.anchored_at, 4, ill.attempted_at, 2, "nobody there"),
    ] == [well, ill]
    assert (True, True) == (
        time.time() - 60 < (well.anchored_at or 0) <= time.time(),
        ill.anchored_at is not None,
    )


def test_status_of_one_that_was_never_tried(anchored: Anchored) -> None:
    """It is listed when it is named."""
    assert [AnchorStatus("north")] == anchor_status(anchored.log, ["north"])


def test_it_is_tried_again(anchored: Anchored) -> None:
    """An anchor that is down for a moment is well in the end."""
    notary = Notary("notary", AnchorUnavailable("a moment"), OSError("a moment"))
    (status,) = anchored.anchor(notary, attempts=3)
    assert (None, 0, 3) == (status.error, status.failures, len(notary.lasts))


@pytest.mark.parametrize("fault", [AnchorRefused("another history"), LogDamaged("leaf 3", "is gone")])
def test_a_refusal_is_final(anchored: Anchored, fault: Exception) -> None:
    """It is not tried again at once, and is told from a failure."""
    notary = Notary("notary", fault, fault)
    (status,) = anchored.anchor(notary, attempts=3)
    assert (True, str(fault), 1) == (status.refused, status.error, len(notary.lasts))


@pytest.mark.parametrize("fault", [ValueError("a bug"), KeyError("a bug"), RuntimeError()])
def test_whatever_an_anchor_raises(anchored: Anchored, fault: Exception) -> None:
    """A bug in one is its failure, and no other anchor's."""
    bad, good = anchored.anchor(Notary("bad", fault), Notary("good"))
    assert (True, None, None, 7) == (bool(bad.error), bad.size, good.error, good.size)


def test_one_that_hangs_delays_no_other(anchored: Anchored) -> None:
    """The others have their checkpoint while one has not answered yet."""
    good = Notary("good")
    seen: list[int] = []

    class Slow(Notary):
        def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
            deadline = time.monotonic() + 10
            while not good.taken and time.monotonic() < deadline:
                time.sleep(0.01)
            seen.extend(good.taken)
            return super().anchor(log, last)

    anchored.anchor(Slow("slow"), good)
    assert [7] == seen


@pytest.mark.parametrize("took_effect", [False, True])
def test_a_failure_before_or_after_it_took_effect(anchored: Anchored, took_effect: bool) -> None:
    """Either way the next attempt ends with a receipt, and the anchor was brought one note for one size."""
    notary = Notary("notary", *[AnchorUnavailable("cut off")] * 3, took_effect=took_effect)
    sizes = []
    for number in range(4):
        anchored.publish(f"more-{number}")
        (status,) = anchored.anchor(notary)
        sizes.append(status.size)
    assert ([None, None, None, 22], 4 if took_effect else 1) == (sizes, len(notary.taken))


@pytest.mark.parametrize("method", ["add_receipt", "latest"])
@pytest.mark.parametrize("took_effect", [False, True])
def test_a_crash_beside_the_anchor(
    anchored: Anchored, monkeypatch: pytest.MonkeyPatch, method: str, took_effect: bool
) -> None:
    """When the receipt cannot be read or stored, or was and we did not hear of it, the next time mends it."""
    original: Callable[..., Any] = getattr(Anchorings, method)

    def crashing(self: Anchorings, *arguments: Any) -> Any:
        if took_effect:
            original(self, *arguments)
        raise OSError("crashed")

    notary = Notary()
    with monkeypatch.context() as patch:
        patch.setattr(Anchorings, method, crashing)
        (first,) = anchored.anchor(notary)
    anchored.publish("transfer-3")
    (second,) = anchored.anchor(notary)
    assert ("crashed", None, 11) == (first.error, second.error, second.size)


def test_the_last_receipt_is_handed_back(anchored: Anchored) -> None:
    """An anchor gets its newest receipt, also by another process."""
    notary = Notary()
    anchored.anchor(notary)
    anchored.publish("transfer-3")
    anchored.log.close()
    Anchored(SqliteEventLog(anchored.log.path)).anchor(notary)
    assert [None, 7] == notary.lasts


def test_several_at_the_same_time(anchored: Anchored, tmp_path: Path) -> None:
    """Several processes may anchor one log at once; each anchor has one note for each size."""
    notaries = [Notary("a"), Notary("b")]
    errors: list[str | None] = []

    def work() -> None:
        other = Anchored(SqliteEventLog(anchored.log.path))
        errors.extend(status.error for status in other.anchor(*notaries, attempts=5))
        other.log.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([None] * 8, [7]) == (errors, list(notaries[0].taken))


def test_a_cosignature_takes_the_place_of_the_older_one(anchored: Anchored) -> None:
    """Of one witness and checkpoint the newest line is kept."""
    notary = Notary()
    anchored.anchor(notary)
    anchored.anchor(notary)
    expected = cosign(anchored.published().checkpoint, KEY.name, WITNESS, notary.time)
    assert (expected,) == Anchorings(anchored.log.tree_store).cosignatures(7)


def test_a_log_in_memory() -> None:
    """It can be anchored, too."""
    log = MemoryEventLog()
    (status,) = anchor_all(log, Ed25519Signer(b"\x01" * 32), [Notary()])
    assert None is status.error


def test_another_key(anchored: Anchored) -> None:
    """With another key than the last checkpoint's nothing is signed, and no anchor is visited."""
    anchored.published()
    notary = Notary()
    with pytest.raises(SignatureRefused):
        anchor_all(anchored.log, WITNESS, [notary])
    assert [] == notary.lasts


def test_names_differ(anchored: Anchored) -> None:
    """What two anchors brought under one name could not be told apart."""
    with pytest.raises(ValueError, match="different names"):
        anchored.anchor(Notary(), Notary())


def test_it_is_brought_the_newest_checkpoint(anchored: Anchored) -> None:
    """What an anchor takes is the checkpoint of the log's store, of all events."""
    notary = Notary()
    anchored.anchor(notary)
    note = notary.taken[7]
    assert (note, 7) == (
        anchored.log.tree_store.latest_checkpoint(),
        parse_checkpoint(parse_note(note).text).size,
    )


def test_a_log_restored_with_its_store_signs_nothing(anchored: Anchored, tmp_path: Path) -> None:
    """Log and tree store of an older backup do not know what came after; an anchor does, and is asked."""
    folder = tmp_path / "anchor"
    folder.mkdir()
    anchored.anchor(DirectoryAnchor(folder))
    older = anchored.copy(tmp_path / "older.db")
    shutil.copy(f"{anchored.log.path}-tree", f"{older.log.path}-tree")
    anchored.publish("lost")
    anchored.anchor(DirectoryAnchor(folder))
    older.publish("other")
    before = older.log.tree_store.checkpoints()
    with pytest.raises(LogDamaged, match="nothing was signed"):
        older.anchor(DirectoryAnchor(folder))
    assert before == older.log.tree_store.checkpoints()
