"""Many at once: a bus that is left while thousands publish, and ten thousand runs alive together."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tracebus import BusClosed, EventQuery, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.fsck import fsck

CALL = ToolProposed(tool="wire")
RUNS = 10_000


def published(log: SqliteEventLog) -> dict[str | None, str]:
    """Return the ids of the published events of a log that holds together, by their keys."""
    report = fsck(log)
    assert report.fault is None, report.fault
    return {event.key: event.id for event in log.query(EventQuery(types=("tool_proposed",)))}


@pytest.mark.anyio
async def test_left_with_a_full_queue(tmp_path: Path) -> None:
    """Who publishes while the bus is left is told the truth: the event is stored, or BusClosed is raised."""
    outcomes: dict[str, str | BusClosed] = {}
    begun, leaving = 0, anyio.Event()

    async def publish(key: str) -> None:
        nonlocal begun
        begun += 1
        try:
            outcomes[key] = (await bus.publish(CALL, run=run, key=key)).id
        except BusClosed as error:
            outcomes[key] = error

    async def publish_late(key: str) -> None:
        await leaving.wait()
        await publish(key)

    def publish_sync(key: str) -> None:
        try:
            outcomes[key] = bus.publish_sync(CALL, run=run, key=key).id
        except BusClosed as error:
            outcomes[key] = error

    log = SqliteEventLog(tmp_path / "trace.db")
    threads = [threading.Thread(target=publish_sync, args=(f"thread {i}",)) for i in range(50)]
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, TraceEventBus(log) as bus:
            run = await bus.start_run()
            for i in range(500):
                tasks.start_soon(publish_late, f"late {i}")
            for i in range(2000):
                tasks.start_soon(publish, f"queued {i}")
            for thread in threads:
                thread.start()
            while begun < 2000:
                await anyio.lowlevel.checkpoint()
            waiting = 2050 - len(outcomes)
            leaving.set()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
    stored = await anyio.to_thread.run_sync(published, log)
    assert 2550 == len(outcomes)
    assert {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, str)} == stored
    assert {f"queued {i}" for i in range(2000)} <= stored.keys()
    assert waiting > 0
    assert {f"late {i}" for i in range(500)}.isdisjoint(stored)


# The process tells the most memory that it has had: with one run, and after each round of many.
PUBLISHER = """
import resource, sys
import anyio
from tracebus import SqliteEventLog, ToolProposed, TraceEventBus

CALL = ToolProposed(tool="wire", arguments={"account": "x" * 100})

def tell_memory():
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(most if sys.platform == "darwin" else most * 1024)

async def publish_from(bus, runs):
    waiting, all_alive = runs, anyio.Event()

    async def work():
        nonlocal waiting
        async with bus.run():
            await bus.publish(CALL)
            waiting -= 1
            if waiting == 0:
                all_alive.set()
            await all_alive.wait()
            await bus.publish(CALL)

    async with anyio.create_task_group() as tasks:
        for _ in range(runs):
            tasks.start_soon(work)

async def main(path, *rounds):
    async with TraceEventBus(SqliteEventLog(path)) as bus:
        for runs in rounds:
            await publish_from(bus, runs)
            tell_memory()

anyio.run(main, sys.argv[2], *map(int, sys.argv[3:]), backend=sys.argv[1])
"""


def publisher(backend: str, path: Path, *rounds: int) -> subprocess.Popen[str]:
    """Start a process that publishes from so many runs at once, round by round."""
    command = [sys.executable, "-c", PUBLISHER, backend, str(path), *map(str, rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_ten_thousand_runs_at_once(tmp_path: Path) -> None:
    """Ten thousand runs that are alive at once are as many chains, and take memory until they end.

    A run that is alive is a task with its frames and what it waits with: some 17 KiB, so that 40 KiB
    are too many. Of a run that has ended nothing stays but its place in a cache of bounded size: where
    a second round needs 2 KiB more for each, something else does.
    """
    logs = {backend: SqliteEventLog(tmp_path / f"{backend}.db") for backend in ("asyncio", "trio")}
    with (
        publisher("asyncio", logs["asyncio"].path, 1, RUNS, RUNS) as on_asyncio,
        publisher("trio", logs["trio"].path, 1, RUNS) as on_trio,
    ):
        idle, first, second = map(int, on_asyncio.communicate()[0].split())
        idle_trio, first_trio = map(int, on_trio.communicate()[0].split())
    assert max(first - idle, first_trio - idle_trio) < RUNS * 40 * 1024
    assert second - first < RUNS * 2 * 1024
    for log, runs in ((logs["asyncio"], 2 * RUNS + 1), (logs["trio"], RUNS + 1)):
        report = fsck(log)
        assert (None, runs, 0) == (report.fault, report.runs, report.open_runs)
        assert {4} == {run.events for run in log.runs()}
