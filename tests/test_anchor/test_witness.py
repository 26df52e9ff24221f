"""The witness anchor, with a live witness of another implementation, and with servers that are none."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from evidence import Ed25519Signer, MalformedInput
from evidence.checkpoint import parse_checkpoint
from evidence.cosignature import (
    AddCheckpoint,
    WitnessKey,
    cosign,
    format_add_checkpoint,
    open_cosignatures,
    parse_add_checkpoint,
)
from evidence.trust_file import parse_policy
from tests.test_anchor.conftest import Anchored, Reply, serving
from tests.test_anchor.live_witness import Witness
from tracebus import SqliteEventLog
from tracebus.anchor import DirectoryAnchor, WitnessAnchor
from tracebus.transparency.anchorings import Anchorings
from tracebus.transparency.completeness import prove_workflow

WITNESS = Ed25519Signer(b"\x02" * 32)
KEY = WitnessKey("witness.example/w1", WITNESS.verifying_key)


def cosigned(body: bytes, time: int = 1_700_000_000) -> Reply:
    """Answer as a witness that believes everything."""
    checkpoint = parse_checkpoint(parse_add_checkpoint(body).checkpoint.text)
    return Reply(200, cosign(checkpoint, KEY.name, WITNESS, time).to_line().encode())


class TestLive:
    """A live witness."""

    pytestmark = pytest.mark.server

    def test_it_cosigns_a_log_that_grows(self, anchored: Anchored, witness: Witness) -> None:
        """Each checkpoint is cosigned, from none on, and the cosignature meets a policy's quorum."""
        anchor = WitnessAnchor(witness.url, witness.vkey)
        for workflow in ("transfer-3", "transfer-4", "transfer-5"):
            anchored.publish(workflow)
            (status,) = anchored.anchor(anchor)
            assert (None, witness.size_of(anchored.key)) == (status.error, status.size)
        policy = parse_policy(f"log {anchored.key.to_vkey()}\nwitness w {witness.vkey}\nquorum w\n".encode())
        proof = prove_workflow(anchored.log.tree_store, anchored.log.origin, "transfer-5", None)
        assert proof is not None
        verified = policy.verify_checkpoint(proof.proof.checkpoint, proof.proof.timestamps)
        assert (True, {"w"}) == (verified.quorum_met, set(verified.cosigned))

    def test_an_empty_log(self, witness: Witness, tmp_path: Path) -> None:
        """A log may be anchored before its first event, and goes on from there."""
        empty = Anchored(SqliteEventLog(tmp_path / "empty.db", name="empty"))
        empty.log.open()
        witness.trust(empty.key)
        witness.restart()
        anchors = WitnessAnchor(witness.url, witness.vkey), DirectoryAnchor(tmp_path, name="folder")
        before = empty.anchor(*anchors)
        empty.publish("transfer-1")
        after = empty.anchor(*anchors)
        assert ([(0, None)] * 2, [(4, None)] * 2) == (
            [(status.size, status.error) for status in before],
            [(status.size, status.error) for status in after],
        )

    def test_what_it_knows_need_not_be_known(self, anchored: Anchored, witness: Witness) -> None:
        """Without the receipt, as after the tree store was lost, the witness says which size it has (409)."""
        anchored.anchor(WitnessAnchor(witness.url, witness.vkey, name="once"))
        anchored.publish("transfer-3")
        (status,) = anchored.anchor(WitnessAnchor(witness.url, witness.vkey, name="anew"))
        assert (None, status.size) == (status.error, witness.size_of(anchored.key))

    def test_idle(self, anchored: Anchored, witness: Witness) -> None:
        """The same checkpoint is cosigned once more, and the newer cosignature is the one that is kept."""
        anchor = WitnessAnchor(witness.url, witness.vkey)
        (first,) = anchored.anchor(anchor)
        (second,) = anchored.anchor(anchor)
        kept = Anchorings(anchored.log.tree_store).cosignatures(7)
        assert (None, None, 1) == (first.error, second.error, len(kept))

    def test_a_rewritten_history(
        self, anchored: Anchored, rewritten: Callable[[], Anchored], witness: Witness
    ) -> None:
        """A log of the same size and another history is refused, and so it is when it has grown."""
        other = rewritten()
        anchored.anchor(WitnessAnchor(witness.url, witness.vkey))
        (equal,) = other.anchor(WitnessAnchor(witness.url, witness.vkey))
        other.publish("more")
        (grown,) = other.anchor(WitnessAnchor(witness.url, witness.vkey))
        assert (True, True, True, True, True) == (
            bool(witness.evidence()),
            equal.refused,
            "answered 422, has cosigned another history" in str(equal.error),
            grown.refused,
            "answered 422" in str(grown.error),
        )

    def test_a_log_that_was_set_back(self, anchored: Anchored, witness: Witness, tmp_path: Path) -> None:
        """A log restored from an older copy is refused: the witness knows more of it than it has."""
        older = anchored.copy(tmp_path / "older.db")
        anchored.publish("transfer-3")
        anchored.anchor(WitnessAnchor(witness.url, witness.vkey))
        older.sign_anew()
        (status,) = older.anchor(WitnessAnchor(witness.url, witness.vkey))
        assert (True, True) == (status.refused, "cosigned size 10, and the log has 7" in str(status.error))

    def test_it_refuses_a_smaller_tree_itself(self, anchored: Anchored, witness: Witness) -> None:
        """Whoever asks it past us to cosign a smaller tree gets nothing, whatever old size is said."""
        small = anchored.published()
        anchored.publish("transfer-3")
        anchored.anchor(WitnessAnchor(witness.url, witness.vkey))
        bodies = [format_add_checkpoint(AddCheckpoint(old, [], small.signed_note)) for old in (0, 7, 10)]
        assert [409, 409, 400] == [_status(witness.url, body) for body in bodies]

    def test_a_log_that_it_does_not_know(self, anchored: Anchored, witness: Witness, tmp_path: Path) -> None:
        """A witness that was not told of the log says so, and the error says what to give it."""
        other = Anchored(SqliteEventLog(tmp_path / "other.db", name="other"))
        other.publish("transfer-1")
        (status,) = other.anchor(WitnessAnchor(witness.url, witness.vkey))
        assert "answered 404, does not know this log: give it the log's vkey" in str(status.error)


def _status(url: str, body: bytes) -> int:
    request = urllib.request.Request(f"{url}/add-checkpoint", body)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_only_the_log_signature_is_sent(anchored: Anchored) -> None:
    """The request has the old size, no proof from nothing, and the checkpoint with one signature."""
    with serving(cosigned) as server:
        anchored.anchor(WitnessAnchor(server.url, KEY))
        anchored.anchor(WitnessAnchor(server.url, KEY, name="another"))
    sent = [parse_add_checkpoint(body) for body in server.bodies]
    assert [(0, 0, 1)] * 2 == [
        (each.old_size, len(each.proof), len(each.checkpoint.signatures)) for each in sent
    ]


def test_the_path_below_a_prefix(anchored: Anchored) -> None:
    """A slash at the end of the URL is none of the path."""
    with serving(cosigned) as server:
        (status,) = anchored.anchor(WitnessAnchor(f"{server.url}/", KEY))
    assert (None, 7) == (status.error, status.size)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"garbage"), "signatures: expected signature lines"),
        (Reply(200, b""), "signatures"),
        (Reply(200, b"x" * 100_000), "answered with more than 65536 bytes"),
        (Reply(409, b"many\n"), "answered 409: answer: expected a decimal"),
        (Reply(409, b"3\n"), "says that it knows size 3, and refuses it"),
        (Reply(301, b"", (("Location", "http://127.0.0.1:1/"),)), "answered 301"),
        (Reply(500, b"oops"), "answered 500"),
        (Reply(503, b"later"), "answered 503"),
    ],
)
def test_answers_that_cannot_be_used(anchored: Anchored, reply: Reply, reason: str) -> None:
    """What is no answer is a failure, not a refusal, and nothing of it is kept."""
    with serving(lambda body: reply) as server:
        (status,) = anchored.anchor(WitnessAnchor(server.url, KEY))
    kept = Anchorings(anchored.log.tree_store).cosignatures(7)
    assert (True, False, None, ()) == (reason in str(status.error), status.refused, status.size, kept), status


def test_a_cosignature_of_something_else(anchored: Anchored) -> None:
    """A cosignature by the witness of another checkpoint, or by another key of its name, is not kept."""
    small = anchored.published()
    anchored.publish("transfer-3")
    line = cosign(small.checkpoint, KEY.name, WITNESS, 1).to_line().encode()
    impostor = cosign(small.checkpoint, KEY.name, Ed25519Signer(b"\x03" * 32), 1).to_line().encode()
    errors = []
    for body in (line, impostor):
        with serving(lambda _, body=body: Reply(200, body)) as server:
            (status,) = anchored.anchor(WitnessAnchor(server.url, KEY))
            errors.append((status.size, "sign" in str(status.error)))
    assert [(None, True)] * 2 == errors


def test_down_and_slow(anchored: Anchored, nobody: str) -> None:
    """A witness that is down, or drips its answer, is a failure within the time that it has."""
    with serving(lambda body: Reply(200, b"x" * 100, pause=0.2)) as server:
        statuses = anchored.anchor(
            WitnessAnchor(nobody, KEY, name="down"), WitnessAnchor(server.url, KEY, name="slow", seconds=0.5)
        )
    assert [(False, True), (False, True)] == [
        (status.refused, found in str(status.error))
        for status, found in zip(statuses, (nobody, "no whole answer within 0.5 s"), strict=True)
    ]


@pytest.mark.parametrize("url", ["witness.example", "file:///etc/passwd", "ftp://witness.example"])
def test_urls_that_are_none(url: str) -> None:
    """Only http and https are spoken."""
    with pytest.raises(ValueError, match="expected https"):
        WitnessAnchor(url, KEY)


def test_garbage_of_every_length(anchored: Anchored) -> None:
    """Cut at every length, a good answer is a failure, but the whole."""
    request = AddCheckpoint(0, [], anchored.published().signed_note)
    good = cosigned(format_add_checkpoint(request)).body
    for length in range(len(good)):
        with pytest.raises(MalformedInput):
            open_cosignatures(good[:length], request.checkpoint, KEY)
