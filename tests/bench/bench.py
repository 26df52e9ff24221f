"""Measure what DESIGN promises of speed, each figure beside a ceiling or a peer in the same run.

    make bench                     # everything, a few minutes
    .venv/bin/python tests/bench/bench.py --events 20000 --repeat 1

Ratios are what counts: machine, disk and whatever else runs differ, so ours and the reference are
measured in turns, and the median of the repetitions is shown. "Durable" means one sync before each
acknowledgement. A peer that is not installed is left out, and the table says so; `make bench`
installs the peers into a folder of their own.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import anyio
import rfc8785

from evidence import Ed25519Signer, EvidenceBundler, canonical, verify_evidence_bundle
from tracebus import SqliteEventLog, ToolExecuted, TraceEventBus
from tracebus.fsck import fsck

PAYLOAD = {
    "tool": "wire_transfer",
    "callId": "call_oIHazX6yQrB8hUwl4cRilFKj",
    "status": "ok",
    "durationMs": 12.5,
    "arguments": {
        "amount": 5000,
        "currency": "EUR",
        "iban": "DE89370400440532013000",
        "reference": "invoice 4711",
        "urgent": False,
        "beneficiary": "Müller & Söhne GmbH",
    },
    "result": {"id": "tx-8812", "state": "accepted", "fees": [{"kind": "sepa", "amount": 1.25}]},
    "policy": {"id": "p-7", "version": "2026-11-01", "rule": "over-1000"},
    "_salt": "AAAAAAAAAAAAAAAAAAAAAA",
    "note": "checked",
}
"""A typical payload: about 450 bytes in canonical form."""


class Row(NamedTuple):
    """A line of the table: what ours and the reference reached, and what is wanted."""

    work: str
    ours: float
    unit: str
    reference: str
    theirs: float | None
    wanted: str

    @property
    def ratio(self) -> str:
        """Ours in terms of the reference."""
        return "" if not self.theirs else f"{self.ours / self.theirs:.2f}"


def event(number: int) -> ToolExecuted:
    """Return a tool call with two sensitive members, of about the same size."""
    return ToolExecuted(
        tool="wire_transfer",
        call_id="call_oIHazX6yQrB8hUwl4cRilFKj",
        status="ok",
        duration_ms=12,
        arguments=PAYLOAD["arguments"],
        result={"number": number, **PAYLOAD["result"]},  # type: ignore[dict-item]
    )


def per_second(count: int, work: Callable[[], object]) -> float:
    """Run some work once; return how many a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def median_of(repeat: int, *measures: Callable[[], float]) -> list[float]:
    """Measure in turns, several times; return the median of each."""
    found = [[measure() for measure in measures] for _ in range(repeat)]
    return [statistics.median(column) for column in zip(*found, strict=True)]


def canonicalise(folder: Path, repeat: int) -> Row:
    """A payload's canonical bytes, beside `rfc8785`."""

    def many(dumps: Callable[[object], bytes]) -> float:
        def work() -> None:
            for _ in range(3000):
                dumps(PAYLOAD)

        return per_second(3000, work)

    ours, theirs = median_of(
        repeat,
        lambda: many(canonical.dumps),
        lambda: many(rfc8785.dumps),  # type: ignore[arg-type]
    )
    return Row("canonicalise 450 bytes", ours, "/s", "rfc8785", theirs, "≥ 8 ×")


def bare_syncs(folder: Path, count: int, size: int = 1) -> float:
    """Append and fdatasync, `size` events at a time: the disk's own ceiling."""
    descriptor = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:

        def work() -> None:
            for _ in range(count // size):
                os.write(descriptor, b"x" * 700 * size)
                os.fdatasync(descriptor)

        return per_second(count, work)
    finally:
        os.close(descriptor)


async def _publish(path: Path, tasks: int, each: int) -> float:
    log = SqliteEventLog(path)
    async with TraceEventBus(log) as bus, bus.run() as run:

        async def work() -> None:
            for number in range(each):
                await bus.publish(event(number), run=run)

        start = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(work)
        rate = tasks * each / (time.perf_counter() - start)
    log.close()
    return rate


def publish(folder: Path, tasks: int, each: int) -> float:
    """Publish from some tasks at once; events a second."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return anyio.run(_publish, Path(place) / "trace.db", tasks, each)


def publish_one_by_one(folder: Path, repeat: int) -> Row:
    """One publisher that waits for each event, beside a bare append and fdatasync."""
    ours, theirs = median_of(repeat, lambda: publish(folder, 1, 1500), lambda: bare_syncs(folder, 1500))
    return Row("publish, one after another", ours, "/s", "append + fdatasync", theirs, "≥ 0.6 ×")


def publish_64(folder: Path, repeat: int) -> Row:
    """Sixty-four publishers at once."""
    (ours,) = median_of(repeat, lambda: publish(folder, 64, 250))
    return Row("publish, 64 at once", ours, "/s", "", None, "≥ 5 × the best durable peer")


async def _publish_many(path: Path, count: int) -> float:
    log = SqliteEventLog(path)
    async with TraceEventBus(log) as bus, bus.run():
        payloads = [event(number) for number in range(count)]
        start = time.perf_counter()
        for first in range(0, count, 1000):
            await bus.publish_many(payloads[first : first + 1000])
        rate = count / (time.perf_counter() - start)
    log.close()
    return rate


def publish_many(folder: Path, repeat: int) -> Row:
    """Bulk publishing, beside bare `executemany` of the same rows into the same tables."""
    count = 10_000

    def ours() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return anyio.run(_publish_many, Path(place) / "trace.db", count)

    def theirs() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return bare_rows(Path(place), count)

    measured = median_of(repeat, ours, theirs)
    return Row("publish_many", measured[0], "/s", "executemany", measured[1], "≥ 0.4 ×")


def bare_rows(folder: Path, count: int) -> float:
    """Insert the rows of a log into the tables of another, by `executemany`, a sync for each 1,000."""
    source, target = folder / "source.db", folder / "target.db"
    anyio.run(_publish_many, source, count)
    with closing(SqliteEventLog(target)) as log:
        log.open()
    with (
        closing(sqlite3.connect(source)) as rows,
        closing(sqlite3.connect(target, isolation_level=None)) as into,
    ):
        tables = {
            table: rows.execute(f"SELECT * FROM {table} WHERE position <= {count}").fetchall()
            for table in ("events", "payloads", "disclosures")
        }
        into.execute("PRAGMA synchronous = FULL")

        def work() -> None:
            for first in range(0, count, 1000):
                into.execute("BEGIN IMMEDIATE")
                for table, values in tables.items():
                    chosen = values[first * len(values) // count : (first + 1000) * len(values) // count]
                    marks = ", ".join("?" * len(values[0]))
                    into.executemany(f"INSERT INTO {table} VALUES ({marks})", chosen)
                into.execute("COMMIT")

        return per_second(count, work)


async def _fill(path: Path, events: int, workflow_events: int) -> None:
    """Make a log of workflows of so many events each."""
    log = SqliteEventLog(path)
    async with TraceEventBus(log) as bus:
        for number in range(max(1, events // workflow_events)):
            async with bus.run(workflow_id=f"w{number}"):
                await bus.publish_many([event(i) for i in range(workflow_events - 2)])
    log.close()


def large_log(folder: Path, repeat: int, events: int) -> Iterator[Row]:
    """Verify a log, bundle one of its workflows, verify the bundle."""
    path = folder / "large.db"
    anyio.run(_fill, path, events, 1000)
    code = "import sys; from tests.bench.bench import check; check(sys.argv[1])"
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    rate, megabytes = map(float, child.stdout.split())
    yield Row(f"verify a log of {events:,} events", rate, "/s", "", None, "≥ 90,000/s")
    yield Row("  its memory", megabytes, "MB", "", None, "< 64 MB")
    log, signer = SqliteEventLog(path, read_only=True), Ed25519Signer.generate()

    def bundle() -> float:
        start = time.perf_counter()
        anyio.run(lambda: EvidenceBundler(log, signer).bundle("w0"))
        return (time.perf_counter() - start) * 1000

    made = anyio.run(lambda: EvidenceBundler(log, signer).bundle("w0")).to_json()

    def verify() -> float:
        start = time.perf_counter()
        verify_evidence_bundle(made, signer.verifying_key)
        return (time.perf_counter() - start) * 1000

    bundling, verifying = median_of(max(5, repeat), bundle, verify)
    log.close()
    yield Row(f"bundle 1,000 events out of {events:,}", bundling, "ms", "", None, "< 100 ms")
    yield Row("verify that bundle", verifying, "ms", "", None, "< 25 ms")


def check(path: str) -> None:
    """Check a log in a process of its own; print events a second, and the memory that it took in MB."""
    with closing(SqliteEventLog(path, read_only=True)) as log:
        start = time.perf_counter()
        report = fsck(log)
        rate = report.events / (time.perf_counter() - start)
    assert report.fault is None, report.fault
    print(rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def import_evidence(folder: Path, repeat: int) -> Row:
    """A fresh interpreter that imports `evidence`, less one that imports nothing."""

    def start(code: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - begin) * 1000

    with_it, without = median_of(max(5, repeat), lambda: start("import evidence"), lambda: start("pass"))
    return Row("import evidence", with_it - without, "ms", "", None, "< 150 ms")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=100_000, help="events in the large log")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions, of which the median counts")
    given = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"\n{'work':<38} {'ours':>12} {'':<4} {'reference':<20} {'theirs':>10} {'ratio':>6}  wanted")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for row in rows(folder, given.repeat, given.events):
            theirs = "" if row.theirs is None else f"{row.theirs:,.0f}"
            print(
                f"{row.work:<38} {row.ours:>12,.1f} {row.unit:<4} {row.reference:<20} {theirs:>10} "
                f"{row.ratio:>6}  {row.wanted}",
                flush=True,
            )


def rows(folder: Path, repeat: int, events: int) -> Iterator[Row]:
    """Yield the table, line by line."""
    yield canonicalise(folder, repeat)
    yield publish_one_by_one(folder, repeat)
    yield publish_64(folder, repeat)
    yield publish_many(folder, repeat)
    yield from large_log(folder, repeat, events)
    yield import_evidence(folder, repeat)


if __name__ == "__main__":
    main()
