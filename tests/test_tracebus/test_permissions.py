"""A log that may not be written: entering the bus says so, and works once it may; it can be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tracebus import SqliteEventLog
from tracebus.fsck import fsck

# Publishes, by one and the same bus, for each line that it reads.
PUBLISHER = """
import sys
import anyio
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus, TracebusError

async def main(path):
    bus = TraceEventBus(SqliteEventLog(path))
    for _ in sys.stdin:
        doing = "entering"
        try:
            async with bus:
                doing = "publishing"
                async with bus.run():
                    await bus.publish(ToolProposed(tool="wire"))
        except TracebusError as error:
            print(doing, type(error).__name__, error, flush=True)
        else:
            print("published", flush=True)

anyio.run(main, sys.argv[1])
"""
READER = """
import sys
from tracebus import EventQuery, SqliteEventLog
from tracebus.fsck import fsck

log = SqliteEventLog(sys.argv[1], read_only=True)
print(fsck(log).fault, sum(1 for _ in log.query(EventQuery())))
"""


@pytest.fixture
def heeding() -> list[str]:
    """What to begin a command with, so that permissions are heeded, which root as such does not."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no such permissions")
    if os.geteuid() != 0:
        return []
    command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("runs as root, and cannot do without root's rights (setpriv)")
    return command


class Publisher:
    """A process that publishes when it is asked to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def publish(self) -> str:
        """Have it publish; return ``published``, or what it was doing, and class and text of the error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("place", "begun"),
    [("trace.db", True), (".", True), (".", False)],
    ids=["file", "folder", "folder-of-a-new-log"],
)
def test_not_to_be_written(tmp_path: Path, heeding: list[str], place: str, begun: bool) -> None:
    """Where the file or its folder may not be written, that is said; the same bus works when it may."""
    log = SqliteEventLog(tmp_path / "trace.db")
    if begun:
        log.open()
        log.close()
    protected = tmp_path / place
    mode = protected.stat().st_mode
    command = [*heeding, sys.executable, "-c", PUBLISHER, str(log.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        publisher = Publisher(process)
        protected.chmod(mode & ~0o222)
        refused = [publisher.publish(), publisher.publish()]
        protected.chmod(mode)
        after = publisher.publish()
        process.communicate()
    for error in refused:
        assert error.startswith("entering EventLogUnavailable")
        assert "its folder" in error
    assert "published" == after
    with closing(log):
        report = fsck(log)
    assert (3, None) == (report.events, report.fault)


@pytest.mark.parametrize("place", ["trace.db", "."])
def test_read_where_nothing_may_be_written(tmp_path: Path, heeding: list[str], place: str) -> None:
    """A log in a file, or a folder, that may not be written is read and checked; nothing is made there."""
    log = SqliteEventLog(tmp_path / "trace.db")
    command = [sys.executable, "-c", PUBLISHER, str(log.path)]
    subprocess.run(command, input="\n", stdout=subprocess.DEVNULL, text=True, check=True)
    protected = tmp_path / place
    mode = protected.stat().st_mode
    protected.chmod(mode & ~0o222)
    command = [*heeding, sys.executable, "-c", READER, str(log.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    protected.chmod(mode)
    assert ("None 3\n", "") == (done.stdout, done.stderr)
