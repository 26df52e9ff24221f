"""Several processes append to one log, also to one run."""

import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import anyio
import pytest

from tracebus import EventQuery, SqliteEventLog, TraceEventBus
from tracebus.fsck import fsck

SECONDS = 5
SCRIPT = """
import sys, time
import anyio
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus

async def main(path, run_id, seconds):
    async with TraceEventBus(SqliteEventLog(path)) as bus:
        run = await bus.resume_run(run_id) if run_id else await bus.start_run()
        end = time.monotonic() + seconds

        async def work():
            while time.monotonic() < end:
                event = await bus.publish(ToolProposed(tool="wire"), run=run)
                print(event.id)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(work)

anyio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
"""


def publish_from(processes: int, log: Path, run_id: str) -> list[set[str]]:
    """Publish from several processes at once; return for each the events that it was told are stored."""
    command = [sys.executable, "-c", SCRIPT, str(log), run_id, str(SECONDS)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(processes)
        ]
        outputs = [process.communicate(timeout=100)[0] for process in started]
    assert [0] * processes == [process.returncode for process in started]
    return [set(output.split()) for output in outputs]


async def start(path: Path) -> str:
    """Begin a run; return its id."""
    async with TraceEventBus(SqliteEventLog(path)) as bus:
        return (await bus.start_run()).run_id


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("same_run", [False, True], ids=["own-runs", "one-run"])
def test_processes(tmp_path: Path, processes: int, same_run: bool) -> None:
    """For ten seconds processes append to one log: no fork, no gap, nothing lost, nobody starved."""
    path = tmp_path / "trace.db"
    run_id = anyio.run(start, path) if same_run else ""
    acknowledged = publish_from(processes, path, run_id)
    with closing(SqliteEventLog(path)) as log:
        report = fsck(log)
        stored = {event.id for event in log.query(EventQuery(types=("tool_proposed",)))}
    assert report.fault is None, report.fault
    assert (1 if same_run else processes) == report.runs
    assert set().union(*acknowledged) == stored
    assert all(acknowledged)
