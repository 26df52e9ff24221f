"""A process that forks while a log is open: nothing that either process acknowledges is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tracebus import EventQuery, SqliteEventLog
from tracebus.fsck import fsck

# The parent closes its log between two events of its child, which makes a log of its own, or uses the
# one that it was born with.
SCRIPT = """
import os, sys
import anyio
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus, TracebusError

async def publish(log, before, after):
    try:
        async with TraceEventBus(log) as bus:
            run = await bus.start_run()
            for wait in (before, after):
                wait()
                event = await bus.publish(ToolProposed(tool="wire"), run=run)
                os.write(1, f"{event.id}\\n".encode())
            os._exit(0)
    except TracebusError as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(0)

path, own_log = sys.argv[1], sys.argv[2] == "own log"
published, told_published = os.pipe()
closed, told_closed = os.pipe()
log = SqliteEventLog(path)
log.open()
child = os.fork()
if child == 0:
    def wait_for_the_parent():
        os.write(told_published, b"x")
        os.read(closed, 1)
    childs_log = SqliteEventLog(path) if own_log else log
    anyio.run(publish, childs_log, lambda: None, wait_for_the_parent)
os.close(told_published)
os.read(published, 1)
log.close()
os.write(told_closed, b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("log", ["own log", "inherited log"])
def test_publishing_in_a_forked_process(tmp_path: Path, log: str) -> None:
    """What a forked process publishes is stored when it is acknowledged, or else refused, and that is said.

    SQLite's locks do not come along into a forked process, though SQLite there takes them for held:
    whoever closes the file next removes the write-ahead log that the process goes on to write to.
    """
    path = tmp_path / "trace.db"
    command = [sys.executable, "-c", SCRIPT, str(path), log]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with closing(SqliteEventLog(path)) as survivor:
        report = fsck(survivor)
        stored = {event.id for event in survivor.query(EventQuery())}
    assert report.fault is None, report.fault
    assert set() == set(done.stdout.split()) - stored
    assert done.stdout or "fork" in done.stderr
