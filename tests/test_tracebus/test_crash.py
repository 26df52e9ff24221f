"""What was acknowledged survives the death of the process, and the loss of power."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from sinks.jsonl import JsonlSink
from tracebus import EventQuery, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.fsck import fsck
from tracebus.testing import read_json_lines

PUBLISHER = Path(__file__).with_name("publisher.py")
ROUNDS = 50


def publish_until_killed(log: Path, sink: Path, seconds: float) -> set[str]:
    """Run a publisher, kill it after some seconds of publishing, return what it acknowledged."""
    command = [sys.executable, str(PUBLISHER), str(log), str(sink)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        # A line that the kill cut short was acknowledged, but cannot be read.
        lines = (first + process.stdout.read()).decode().split("\n")[:-1]
    return set(lines)


def check(log: SqliteEventLog, acknowledged: set[str]) -> None:
    """Check that a log has all that was acknowledged, holds together, and goes on."""
    stored = {event.id for event in log.query(EventQuery())}
    report = fsck(log)
    assert report.fault is None, report.fault
    assert acknowledged <= stored


async def go_on(log: SqliteEventLog, sink: Path) -> None:
    """Publish into every open run, with the durable sink attached, and end it."""
    async with TraceEventBus(log, [JsonlSink(sink, name="out")], drain_timeout=60) as bus:
        for run in await anyio.to_thread.run_sync(lambda: list(log.runs())):
            if run.status != "closed":
                resumed = await bus.resume_run(run.run_id)
                await bus.publish(ToolProposed(tool="after the crash"), run=resumed)
                await resumed.finish("abandoned")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9(tmp_path: Path) -> None:
    """Fifty times: killed at a random moment, the log has every acknowledged event, and goes on."""
    log, sink = SqliteEventLog(tmp_path / "trace.db"), tmp_path / "out.jsonl"
    chance = random.Random(42)
    acknowledged: set[str] = set()
    for _ in range(ROUNDS):
        acknowledged |= publish_until_killed(log.path, sink, chance.uniform(0, 0.2))
        report = fsck(log)
        assert report.fault is None, report.fault
    check(log, acknowledged)
    assert ROUNDS * 8 >= len(list(log.runs())) > 0
    anyio.run(go_on, log, sink)
    check(log, acknowledged)
    stored = [event.id for event in log.query(EventQuery())]
    delivered = dict.fromkeys(wire["id"] for wire in read_json_lines(sink))
    log.close()
    assert len(acknowledged) > ROUNDS
    assert stored == list(delivered)


# The loss of power: the system calls of a publisher are traced, and a disk is made of those writes
# alone that a completed fdatasync covers.

_CALL = re.compile(
    r"(?P<pid>\d+) +(?P<call>\w+)\((?P<arguments>.*?)"
    r"(?:(?P<unfinished> <unfinished \.\.\.>)|\) += -?\d+.*)$"
)
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<call>\w+) resumed>.*\) += (?P<result>-?\d+)")
_FILE = re.compile(r"\d+<(?P<path>[^>]*)>")
_DATA = re.compile(r'"(?P<hex>(?:\\x[0-9a-f]{2})*)", \d+(?:, (?P<offset>\d+))?')


@pytest.fixture
def strace() -> str:
    """The strace program; without it there is nothing to test, which in CI is a failure."""
    found = shutil.which("strace")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("strace is not installed; .ci/run installs it")
        pytest.skip("strace is not installed")
    return found


class Disk:
    """Files as the disk has them: what was written and synced, apart from what was only written."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = defaultdict(bytearray)
        self.written: dict[str, list[tuple[int, bytes | None]]] = defaultdict(list)
        self.syncing: dict[str, tuple[str, int]] = {}

    def write(self, path: str, offset: int, data: bytes | None) -> None:
        """Take a write, or with None the cutting of the file at an offset, which nothing has synced."""
        self.written[path].append((offset, data))

    def begin_sync(self, pid: str, path: str) -> None:
        """A sync covers what was written before it began."""
        self.syncing[pid] = (path, len(self.written[path]))

    def end_sync(self, pid: str) -> None:
        """When it has ended, the disk has that."""
        path, count = self.syncing.pop(pid)
        for offset, data in self.written[path][:count]:
            _apply(self.synced[path], offset, data)
        del self.written[path][:count]

    def save(self, folder: Path, chance: random.Random) -> None:
        """Write the files as they may be found after a loss of power at this moment.

        Of what was not synced, anything may have reached the disk, in any order.
        """
        for path, content in self.synced.items():
            survived = bytearray(content)
            for offset, data in self.written[path]:
                if chance.random() < 0.5:
                    _apply(survived, offset, data)
            (folder / Path(path).name).write_bytes(survived)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _text(escaped: str) -> str:
    return _bytes(escaped).decode()


def replay(trace: Path, log: Path, disk: Disk) -> Iterator[set[str]]:
    """Do to a disk what the trace says; yield, after each acknowledgement, all of them so far."""
    acknowledged = set[str]()
    names = {str(log), f"{log}-wal"}
    for line in trace.read_text().splitlines():
        if (resumed := _RESUMED.match(line)) and resumed["call"] == "fdatasync":
            if resumed["pid"] in disk.syncing:
                disk.end_sync(resumed["pid"])
            continue
        call = _CALL.match(line)
        if call is None or not (file := _FILE.match(call["arguments"])):
            continue
        path, data = _text(file["path"]), _DATA.search(call["arguments"])
        if call["call"] == "fdatasync" and path in names:
            disk.begin_sync(call["pid"], path)
            if not call["unfinished"]:
                disk.end_sync(call["pid"])
        elif call["call"] == "pwrite64" and path in names and data:
            disk.write(path, int(data["offset"]), _bytes(data["hex"]))
        elif call["call"] == "ftruncate" and path in names:
            disk.write(path, int(call["arguments"].rpartition(", ")[2]), None)
        elif call["call"] == "write" and call["arguments"].startswith("1<") and data:
            acknowledged.add(_text(data["hex"]).strip())
            yield acknowledged


@pytest.fixture
def traced(tmp_path: Path, strace: str) -> tuple[Path, bytes, Path]:
    """A log that was published to until the publisher was killed, as it began, and the trace."""
    log, trace = tmp_path / "trace.db", tmp_path / "trace.txt"
    with closing(SqliteEventLog(log)) as fresh:
        fresh.open()
    empty = log.read_bytes()
    calls = "trace=pwrite64,write,fdatasync,ftruncate"
    command = [strace, "-f", "-y", "-xx", "-s", "1000000", "-e", calls, "-e", "signal=none", "-o", str(trace)]
    command += [sys.executable, str(PUBLISHER), str(log), ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        for _ in range(400):
            process.stdout.readline()
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.read()
    return log, empty, trace


def survivors(
    traced: tuple[Path, bytes, Path], disk: Disk, folder: Path
) -> Iterator[tuple[set[str], set[str]]]:
    """Lose the power at forty moments; yield what was acknowledged by then, and what is in the log."""
    log, empty, trace = traced
    chance = random.Random(7)
    moments = set(chance.sample(range(1, 380), 40))
    for moment, acknowledged in enumerate(replay(trace, log, disk)):
        if moment not in moments:
            continue
        place = folder / f"after-{moment}"
        place.mkdir()
        disk.synced[str(log)] = disk.synced[str(log)] or bytearray(empty)
        disk.save(place, chance)
        with closing(SqliteEventLog(place / "trace.db")) as survivor:
            report = fsck(survivor)
            assert report.fault is None, report.fault
            yield acknowledged, {event.id for event in survivor.query(EventQuery())}


@pytest.mark.slow
def test_power_loss(traced: tuple[Path, bytes, Path], tmp_path: Path) -> None:
    """Whenever the power fails, a disk that keeps what was synced has every acknowledged event."""
    losses = [acknowledged - stored for acknowledged, stored in survivors(traced, Disk(), tmp_path)]
    assert [set()] * 40 == losses


class ForgetfulDisk(Disk):
    """A disk that does not do what a sync asks for."""

    def end_sync(self, pid: str) -> None:
        """Do nothing."""
        del self.syncing[pid]


@pytest.mark.slow
def test_power_loss_shows_what_is_not_synced(traced: tuple[Path, bytes, Path], tmp_path: Path) -> None:
    """The same moments on a disk that ignores syncs lose acknowledged events: the test above can fail."""
    losses = [acknowledged - stored for acknowledged, stored in survivors(traced, ForgetfulDisk(), tmp_path)]
    assert any(losses)
