"""The timestamp anchor, with `openssl ts` behind HTTP, and with servers that are no authority."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

pytest.importorskip("rfc3161_client", reason="rfc3161-client is not installed")

from cryptography.hazmat.primitives.serialization import Encoding

from evidence.timestamp import open_timestamp
from tests.test_anchor.conftest import Anchored, Reply, absent, serving
from tests.test_evidence.test_timestamp import Authority, certify
from tracebus.anchor import TimestampAnchor, load_anchors
from tracebus.transparency.anchorings import Anchorings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A timestamp authority of openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        absent("openssl is not installed")
    folder = tmp_path / "authority"
    folder.mkdir()
    root = certify("test root")
    return Authority(folder, str(openssl), root, certify("test authority", root))


def granted(authority: Authority) -> Reply:
    """Return an answer to somebody else's request."""
    from evidence.timestamp import make_timestamp_request

    return Reply(200, authority.answer(make_timestamp_request(b"something else").der))


def kept(anchored: Anchored) -> tuple[bytes, ...]:
    """Return the timestamps that are kept of the newest checkpoint."""
    return Anchorings(anchored.log.tree_store).timestamps(anchored.published().size)


def test_a_checkpoint_is_timestamped(anchored: Anchored, authority: Authority) -> None:
    """What is kept verifies under the root, over the checkpoint with the log's signature alone."""
    with serving(lambda body: Reply(200, authority.answer(body))) as server:
        (status,) = anchored.anchor(TimestampAnchor(server.url, [authority.root.der]))
    (response,) = kept(anchored)
    found = open_timestamp(response, anchored.published().note, [authority.root.der])
    assert (None, "CN=test authority") == (status.error, found.authority)


def test_openssl_verifies_what_is_kept(anchored: Anchored, authority: Authority) -> None:
    """`openssl ts -verify` accepts the note and the response as two files."""
    with serving(lambda body: Reply(200, authority.answer(body))) as server:
        anchored.anchor(TimestampAnchor(server.url, [authority.root.der]))
    (authority.folder / "checkpoint.note").write_bytes(anchored.published().note)
    (authority.folder / "checkpoint.tsr").write_bytes(kept(anchored)[0])
    (authority.folder / "root.pem").write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    files = ("-data", "checkpoint.note", "-in", "checkpoint.tsr", "-CAfile", "root.pem")
    assert b"Verification: OK" in authority.run("ts", "-verify", *files)


def test_one_checkpoint_is_timestamped_once(anchored: Anchored, authority: Authority) -> None:
    """The first timestamp of a checkpoint tells most, so idle rounds ask for no other; a new one is."""
    with serving(lambda body: Reply(200, authority.answer(body))) as server:
        anchor = TimestampAnchor(server.url, [authority.root.der])
        anchored.anchor(anchor)
        first = kept(anchored)
        anchored.anchor(anchor)
        asked, second = len(server.bodies), kept(anchored)
        anchored.publish("transfer-3")
        anchored.anchor(anchor)
        assert (1, True, 2) == (asked, first == second, len(server.bodies))


def test_an_authority_under_another_root(anchored: Anchored, authority: Authority) -> None:
    """A timestamp that does not lead to a given root does not count, and is not kept."""
    with serving(lambda body: Reply(200, authority.answer(body))) as server:
        (status,) = anchored.anchor(TimestampAnchor(server.url, [certify("another root").der]))
    assert (None, True, ()) == (status.size, status.error is not None, kept(anchored))


def test_a_timestamp_of_something_else(anchored: Anchored, authority: Authority) -> None:
    """An answer to another request does not count."""
    with serving(lambda body: granted(authority)) as server:
        (status,) = anchored.anchor(TimestampAnchor(server.url, [authority.root.der]))
    assert (None, True, ()) == (status.size, status.error is not None, kept(anchored))


def test_a_replayed_timestamp(anchored: Anchored, authority: Authority) -> None:
    """An answer that was good for an earlier request, for the same checkpoint, has not the nonce."""
    answers: list[bytes] = []

    def reply(body: bytes) -> Reply:
        answers.append(authority.answer(body))
        return Reply(200, answers[0])

    with serving(reply) as server:
        (first,) = anchored.anchor(TimestampAnchor(server.url, [authority.root.der], name="first"))
        (second,) = anchored.anchor(TimestampAnchor(server.url, [authority.root.der], name="second"))
    assert (None, True) == (first.error, "nonce" in str(second.error).lower()), second.error


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"garbage"),
        Reply(200, b""),
        Reply(200, b"\x30" * 300_000),
        Reply(302, b"", (("Location", "http://127.0.0.1:1/"),)),
        Reply(500, b""),
        Reply(200, b"x" * 50, pause=0.2),
    ],
    ids=["garbage", "nothing", "too-much", "redirect", "error", "dripping"],
)
def test_answers_that_cannot_be_used(anchored: Anchored, authority: Authority, reply: Reply) -> None:
    """They are failures, in time, and nothing is kept."""
    with serving(lambda body: reply) as server:
        anchor = TimestampAnchor(server.url, [authority.root.der], seconds=1)
        (status,) = anchored.anchor(anchor)
    assert (None, False, ()) == (status.size, status.refused, kept(anchored))
    assert server.url in str(status.error)


def test_cut_at_every_length(anchored: Anchored, authority: Authority) -> None:
    """A response that is cut off anywhere does not count; the whole one does."""
    lengths = iter(range(0, 2000, 149))
    whole = threading.Event()

    def reply(body: bytes) -> Reply:
        answer = authority.answer(body)
        length = next(lengths)
        if length >= len(answer):
            whole.set()
        return Reply(200, answer[:length])

    with serving(reply) as server:
        anchor = TimestampAnchor(server.url, [authority.root.der])
        outcomes = []
        while not whole.is_set():
            (status,) = anchored.anchor(anchor)
            outcomes.append(status.error is None)
    assert [False] * (len(outcomes) - 1) + [True] == outcomes


def test_from_a_file_of_anchors(anchored: Anchored, authority: Authority, tmp_path: Path) -> None:
    """Roots are PEM files, beside the file of anchors."""
    (tmp_path / "root.pem").write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    with serving(lambda body: Reply(200, authority.answer(body))) as server:
        config = f'[dated]\nkind = "timestamp"\nurl = "{server.url}"\nroots = ["root.pem"]\n'
        (tmp_path / "anchors.toml").write_text(config)
        (status,) = anchored.anchor(*load_anchors(tmp_path / "anchors.toml"))
    assert ("dated", None, 7) == (status.anchor, status.error, status.size)


def test_without_roots() -> None:
    """Nothing that came back could count."""
    with pytest.raises(ValueError, match="roots"):
        TimestampAnchor("https://tsa.example", [])
