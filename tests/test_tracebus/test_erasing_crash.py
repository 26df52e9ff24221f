"""Erasing that dies, or that the disk fails: it has not begun, or is completed when the log is opened next.

strace kills the process that erases, or has its system calls fail.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_tracebus.erasing import Secret, erasure_of, files_of, fill, found, hashes
from tests.test_tracebus.test_crash import Disk, replay
from tracebus import EventQuery, SqliteEventLog
from tracebus.fsck import fsck

# Opens the log, erases what it is told to, and scrubs; says what it has done.
ERASER = """
import json, logging, os, sys
from tracebus import DataErased, ErasureTarget, SqliteEventLog
from tracebus.errors import TracebusError
from tracebus.eventlog import Erasure
from tracebus.upkeep import workflow_run

logging.disable()
wanted = json.loads(sys.argv[2])
listed = [ErasureTarget(event_id=event, digests=digests) for event, digests in wanted.items()]
targets = {event: digests and frozenset(digests) for event, digests in wanted.items()}
log = SqliteEventLog(sys.argv[1])
try:
    log.open()
    os.write(1, b"opened ")
    if targets:
        record = workflow_run("w1", None, DataErased(actor="desk", reason="asked", targets=listed))
        log.erase(Erasure(targets, [record], log.last_position()))
        os.write(1, b"erased ")
    log.scrub()
    os.write(1, b"scrubbed ")
except TracebusError as error:
    os.write(1, type(error).__name__.encode())
    os._exit(0)
"""
CALLS = "pwrite64,fdatasync,ftruncate"


class Case(NamedTuple):
    """A log, what is to be erased from it, and what is not."""

    folder: Path
    gone: list[Secret]
    kept: list[Secret]
    hashes: list[str]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A log of sixty values, half of which are to be erased; they are in its write-ahead log, too."""
    folder = tmp_path_factory.mktemp("case") / "copied"
    with closing(SqliteEventLog(folder.with_name("open") / "trace.db")) as log:
        log.path.parent.mkdir()
        secrets = fill(log, 60)
        shutil.copytree(log.path.parent, folder, ignore=shutil.ignore_patterns("*-shm"))
        return Case(folder, secrets[::2], secrets[1::2], hashes(log))


class Outcome(NamedTuple):
    """What a process said before it ended, and the log that it left."""

    said: list[str]
    log: SqliteEventLog


def run(
    strace: str,
    case: Case,
    folder: Path,
    *inject: str,
    secrets: list[Secret] | None = None,
    only: Sequence[str] = (),
) -> Outcome:
    """Erase from a copy of the log in a process in which calls fail, or kill it, on some files only."""
    if not folder.exists():
        shutil.copytree(case.folder, folder)
    targets = {
        s.event_id: s.digests and sorted(s.digests) for s in (case.gone if secrets is None else secrets)
    }
    command = [strace, "-f", "-o", str(folder.with_suffix(".txt")), "-e", f"trace={CALLS}"]
    command += ["-e", "signal=none", *(part for fault in inject for part in ("-e", f"inject={fault}"))]
    command += [part for name in only for part in ("-P", str(folder / name))]
    command += [sys.executable, "-c", ERASER, str(folder / "trace.db"), json.dumps(targets)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9, 137), done.stderr
    return Outcome(done.stdout.split(), SqliteEventLog(folder / "trace.db"))


def erased_only(case: Case, folder: Path) -> Path:
    """Return a copy of the log from which it is erased, and which is not scrubbed."""
    shutil.copytree(case.folder, folder)
    with closing(SqliteEventLog(folder / "trace.db")) as log:
        log.erase(erasure_of(log, case.gone))
    return folder


def check(case: Case, outcome: Outcome) -> bool:
    """Check that it has not begun, or is completed by opening the log; return whether it had begun."""
    said, log = outcome
    if "scrubbed" in said:
        assert set() == found(case.gone, files_of(log))
    with closing(SqliteEventLog(log.path, read_only=True)) as reader:
        assert fsck(reader).fault is None
    log.open()
    report = fsck(log)
    has_begun = bool(list(log.query(EventQuery(types=("data_erased",)))))
    data = files_of(log)
    assert ("erased" not in said) or has_begun
    assert (None, 0) == (report.fault, report.unscrubbed)
    assert case.hashes == hashes(log)[: len(case.hashes)]
    assert {s.event_id for s in case.kept} == found(case.kept, data)
    assert (set() if has_begun else {s.event_id for s in case.gone}) == found(case.gone, data)
    assert (10 if has_begun else 0) == report.erased_payloads
    log.close()
    return has_begun


@pytest.fixture(scope="module")
def calls(strace: str, case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many calls of each kind the whole of it takes."""
    folder = tmp_path_factory.mktemp("counted") / "log"
    outcome = run(strace, case, folder)
    assert ["opened", "erased", "scrubbed"] == outcome.said
    assert check(case, outcome)
    trace = folder.with_suffix(".txt").read_text()
    return {call: trace.count(f" {call}(") for call in CALLS.split(",")}


def steps(count: int, rounds: int) -> Iterator[int]:
    """Yield as many numbers from 1 to a count, spread evenly, both ends among them."""
    yield from sorted({1 + round(i * (count - 1) / max(1, rounds - 1)) for i in range(rounds)})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed(strace: str, case: Case, calls: dict[str, int], tmp_path: Path) -> None:
    """Killed at any write, sync or cut, an erasure has not begun, or is completed by the next opening."""
    shares = {"pwrite64": 20, "fdatasync": 10, "ftruncate": 4}
    faults = [
        f"{call}:signal=SIGKILL:when={number}"
        for call, share in shares.items()
        for number in steps(calls[call], share)
    ]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda fault: run(strace, case, tmp_path / fault, fault), faults))
    assert len(outcomes) >= 30
    assert {True, False} == {check(case, outcome) for outcome in outcomes}


@pytest.mark.slow
def test_killed_while_it_is_completed(strace: str, case: Case, calls: dict[str, int], tmp_path: Path) -> None:
    """Killed again while what was interrupted is completed, it is completed by the opening after that."""
    for number in steps(calls["pwrite64"] // 2, 3):
        folder = erased_only(case, tmp_path / f"again-{number}")
        outcome = run(strace, case, folder, f"pwrite64:signal=SIGKILL:when={number}", secrets=[])
        assert check(case, outcome)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error"),
    [("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync", "EIO"), ("ftruncate", "EIO")],
)
def test_failing_disk(
    strace: str, case: Case, calls: dict[str, int], tmp_path: Path, call: str, error: str
) -> None:
    """From some call on all fail: it says so, and is completed, or can be repeated, when the disk works."""
    for number in steps(calls[call], 3):
        outcome = run(strace, case, tmp_path / f"{number}", f"{call}:error={error}:when={number}+")
        assert outcome.said[-1] in ("EventLogUnavailable", "AppendUnknown", "scrubbed")
        check(case, outcome)


@pytest.mark.parametrize("fault", ["pwrite64:error=ENOSPC", "fdatasync:error=EIO", "ftruncate:error=EIO"])
def test_opened_while_the_disk_fails(strace: str, case: Case, tmp_path: Path, fault: str) -> None:
    """A log that cannot be scrubbed now is opened all the same, and scrubbed when it is opened again."""
    folder = erased_only(case, tmp_path / "log")
    files = ("trace.db", "trace.db-wal")  # without its -shm no log is opened
    outcome = run(strace, case, folder, fault, secrets=[], only=files)
    assert ["opened", "EventLogUnavailable"] == outcome.said
    assert check(case, outcome)


@pytest.mark.slow
def test_power_loss(strace: str, case: Case, tmp_path: Path) -> None:
    """What is said to be erased is so when the power failed; what is said to be scrubbed is in no file."""
    folder = tmp_path / "log"
    trace = trace_erasing(strace, case, folder)
    disk, chance = Disk(), random.Random(7)
    for path in case.folder.iterdir():
        disk.synced[str(folder / path.name)] = bytearray(path.read_bytes())
    said: list[str] = []
    for moment, acknowledged in enumerate(replay(trace, folder / "trace.db", disk)):
        said = sorted(acknowledged)
        for number in range(8):
            place = tmp_path / f"after-{moment}-{number}"
            place.mkdir()
            disk.save(place, chance)
            assert ("erased" in said) == check(case, Outcome(said, SqliteEventLog(place / "trace.db")))
    assert ["erased", "opened", "scrubbed"] == said


def trace_erasing(strace: str, case: Case, folder: Path) -> Path:
    """Erase from a copy of the log, in one process; return the trace of all that it wrote."""
    trace = folder.with_suffix(".trace")
    shutil.copytree(case.folder, folder)
    wanted = {secret.event_id: secret.digests and sorted(secret.digests) for secret in case.gone}
    command = [strace, "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS},write", "-e", "signal=none"]
    command += ["-o", str(trace), sys.executable, "-c", ERASER, str(folder / "trace.db"), json.dumps(wanted)]
    subprocess.run(command, capture_output=True, check=True)
    return trace
