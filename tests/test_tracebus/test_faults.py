"""The file of a log in trouble: publishers are told, lose nothing acknowledged, and go on afterwards."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tracebus import (
    FAIL_OPEN,
    Alarm,
    AppendUnknown,
    BusClosed,
    EventLogUnavailable,
    EventQuery,
    Run,
    SqliteEventLog,
    ToolExecuted,
    ToolProposed,
    TracebusError,
    TraceEventBus,
)
from tracebus.fsck import fsck

pytestmark = pytest.mark.anyio

CALL = ToolProposed(tool="wire", arguments={"account": "x" * 400})


async def publish_each(bus: TraceEventBus, run: Run, keys: list[str]) -> dict[str, str | TracebusError]:
    """Publish under each key at once; return for each key the event's id, or the error."""
    outcomes: dict[str, str | TracebusError] = {}

    async def publish(key: str) -> None:
        try:
            outcomes[key] = (await bus.publish(CALL, run=run, key=key)).id
        except TracebusError as error:
            outcomes[key] = error

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(publish, key)
    return outcomes


def stored(log: SqliteEventLog) -> dict[str | None, str]:
    """Return the ids of the published events of a log that holds together, by their keys."""
    report = fsck(log)
    assert report.fault is None, report.fault
    events = list(log.query(EventQuery(types=("tool_proposed",))))
    by_key = {event.key: event.id for event in events}
    assert len(events) == len(by_key), "a key has two events"
    return by_key


async def publish_through(
    log: SqliteEventLog, trouble: AbstractContextManager[object]
) -> list[TracebusError]:
    """Publish before a trouble, in it and after it, without reopening the bus; return the errors.

    What was acknowledged has to be in the log, and each event exactly once.
    """
    keys = [f"k{i}" for i in range(20)]
    async with TraceEventBus(log) as bus, bus.run() as run:
        acknowledged = await publish_each(bus, run, ["before"])
        with trouble:
            refused = await publish_each(bus, run, keys)
        acknowledged |= await publish_each(bus, run, keys)
    assert acknowledged == await anyio.to_thread.run_sync(stored, log)
    return [error for error in refused.values() if isinstance(error, TracebusError)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; to mount it takes rights that nobody must have to run tests."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system: {getattr(error, 'stderr', error)}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a file system to its last byte; free the space afterwards."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            assert 0 == os.statvfs(disk).f_bavail
    try:
        yield
    finally:
        filler.unlink()


async def test_full_disk(small_disk: Path) -> None:
    """Where the disk is full, publishers are told to free some space, and then go on."""
    log = SqliteEventLog(small_disk / "trace.db")
    errors = await publish_through(log, filled(small_disk))
    assert 20 == len(errors)
    for error in errors:
        assert isinstance(error, EventLogUnavailable | AppendUnknown)
        assert re.search(r"disk is full.*free some space.*publish again", str(error))


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Have the system refuse to let a file of this process grow beyond a size (RLIMIT_FSIZE)."""
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_file_size_limit(tmp_path: Path) -> None:
    """Where the file may not grow, publishers are told, and go on once it may."""
    log = SqliteEventLog(tmp_path / "trace.db")
    errors = await publish_through(log, files_limited_to(8192))
    assert 20 == len(errors)
    for error in errors:
        assert isinstance(error, EventLogUnavailable | AppendUnknown)
        assert re.search(r"disk (I/O error|is full).*publish again", str(error))


async def test_failing_open(tmp_path: Path) -> None:
    """What fails open is lost while the file may not grow; run and alarms say how much, in place."""
    log, alarms = SqliteEventLog(tmp_path / "trace.db"), list[Alarm]()
    async with TraceEventBus(log, on_alarm=alarms.append) as bus, bus.run() as run:
        with files_limited_to(8192):
            lost = [await bus.publish(ToolExecuted(tool="wire", status="ok")) for _ in range(3)]
            refused = await publish_each(bus, run, ["k"])
        await bus.publish(CALL, key="k")
    assert [False] * 3 == [event.recorded for event in lost]
    assert isinstance(refused["k"], TracebusError)
    assert {"k"} == (await anyio.to_thread.run_sync(stored, log)).keys()
    events = await anyio.to_thread.run_sync(lambda: list(log.query(EventQuery())))
    assert ["run_started", "recording_gap", "tool_proposed", "run_completed"] == [e.type for e in events]
    gap = events[1].opened()
    assert (3, ["tool_executed"]) == (gap["count"], gap["types"])
    assert [("log_failed", 0), ("log_recovered", 3)] == [(alarm.kind, alarm.lost) for alarm in alarms]


async def test_alarm_in_trouble(tmp_path: Path) -> None:
    """The log has not recovered until it has taken an event: that it refuses one is no sign of it."""
    log, alarms = SqliteEventLog(tmp_path / "trace.db"), list[Alarm]()
    async with TraceEventBus(log, on_alarm=alarms.append) as bus, bus.run() as run:
        async with bus.run() as ended:
            await bus.publish(CALL, key="k")
        with files_limited_to(8192):
            refused = await publish_each(bus, run, ["k"])
            refused |= await publish_each(bus, ended, ["late"])
        during = [alarm.kind for alarm in alarms]
    assert {"k", "late"} == {key for key, error in refused.items() if isinstance(error, TracebusError)}
    assert ["log_failed"] == during
    assert ["log_failed", "log_recovered"] == [alarm.kind for alarm in alarms]


async def test_left_in_trouble(tmp_path: Path) -> None:
    """A bus is left while its log cannot be written: the run's end raises, and another bus ends the run."""

    async def work() -> None:
        async with TraceEventBus(log) as bus, bus.run(run_id="r1"):
            await bus.publish(CALL, key="k")
            trouble.enter_context(files_limited_to(8192))
            await bus.publish(ToolExecuted(tool="wire", status="ok"))

    log = SqliteEventLog(tmp_path / "trace.db")
    with ExitStack() as trouble, pytest.raises((EventLogUnavailable, AppendUnknown)):
        await work()
    assert {"k"} == (await anyio.to_thread.run_sync(stored, log)).keys()
    async with TraceEventBus(log) as bus:
        await bus.abandon_run("r1")
    report = await anyio.to_thread.run_sync(fsck, log)
    assert (0, None) == (report.open_runs, report.fault)


async def lose(log: SqliteEventLog, bus: TraceEventBus) -> None:
    """Publish in a run, move the file away, and publish again."""
    async with bus.run():
        await bus.publish(CALL, key="before")
        os.rename(log.path, f"{log.path}.away")
        await bus.publish(CALL, key="after")


async def test_file_gone(tmp_path: Path) -> None:
    """Where the file is gone, the first error is what comes out; that the run has no end is its note."""
    log = SqliteEventLog(tmp_path / "trace.db")
    async with TraceEventBus(log) as bus:
        with pytest.raises(EventLogUnavailable, match="the file is gone") as caught:
            await lose(log, bus)
    with pytest.raises(BusClosed):
        await bus.start_run()
    (note,) = caught.value.__notes__
    assert re.search("has no terminal event: EventLogUnavailable", note)
    os.rename(f"{log.path}.away", log.path)
    assert {"before"} == (await anyio.to_thread.run_sync(stored, log)).keys()


async def test_backup_restored_too_soon(tmp_path: Path) -> None:
    """Where a backup has taken the file's place, every publish is refused, and the backup left as it is."""
    log = SqliteEventLog(tmp_path / "trace.db")
    async with TraceEventBus(log) as bus:
        run = await bus.start_run()
    backup = log.path.read_bytes()
    async with TraceEventBus(log) as bus:
        await bus.publish(CALL, run=run)
        (tmp_path / "backup").write_bytes(backup)
        os.replace(tmp_path / "backup", log.path)
        for _ in range(3):
            with pytest.raises(EventLogUnavailable, match="replaced"):
                await bus.publish(CALL, run=run)
    assert backup == log.path.read_bytes()


async def test_file_comes_back(tmp_path: Path) -> None:
    """A run whose file was gone for a while goes on, in the same bus."""

    @contextmanager
    def moved_away() -> Iterator[None]:
        os.rename(log.path, f"{log.path}.away")
        yield
        os.rename(f"{log.path}.away", log.path)

    log = SqliteEventLog(tmp_path / "trace.db")
    errors = await publish_through(log, moved_away())
    assert 20 == len(errors)
    assert {EventLogUnavailable} == {type(error) for error in errors}


@pytest.mark.parametrize("fail_open", [FAIL_OPEN, ()], ids=["turns-fail-open", "turns-fail-closed"])
async def test_turn_that_cannot_end(tmp_path: Path, fail_open: Collection[str]) -> None:
    """Where neither turn nor run can be ended, what the agent raised is what comes out."""

    async def work() -> None:
        async with bus.run() as run, run.turn():
            os.unlink(log.path)
            raise KeyError("the agent's own")

    log = SqliteEventLog(tmp_path / "trace.db")
    async with TraceEventBus(log, fail_open=fail_open) as bus:
        with pytest.raises(KeyError, match="the agent's own") as caught:
            await work()
    assert "has no terminal event" in str(caught.value.__notes__)
