"""What is measured of tracebus, a command each: `python ours.py COMMAND JSON` (see `child`)."""

from __future__ import annotations

import sys
import time
import timeit
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from child import milliseconds, peak_megabytes, serve
from payload import PAYLOAD, PAYLOAD_WITHOUT_SALT, WARM_UP, WORKFLOW

from evidence import Ed25519Signer, EvidenceBundler, canonical, verify_evidence_bundle
from tracebus import EventQuery, Run, SqliteEventLog, ToolExecuted, TraceEventBus
from tracebus.committed import Committer
from tracebus.fsck import fsck

OLDEST: Final = "oldest"
"""The first workflow of a log that `fill` makes: the one that is bundled."""


def log_in(folder: str, *, read_only: bool = False) -> SqliteEventLog:
    """Return the event log of a folder."""
    return SqliteEventLog(Path(folder, "trace.db"), read_only=read_only)


def tool_call(number: int) -> ToolExecuted:
    """Return a typed event of about the payload's size, two members of which are sensitive."""
    return ToolExecuted(
        tool="wire_transfer",
        call_id="call_oIHazX6yQrB8hUwl4cRilFKj",
        status="ok",
        duration_ms=12,
        arguments=PAYLOAD["arguments"],
        result={"number": number, **PAYLOAD["result"]},
    )


async def publish_typed(bus: TraceEventBus, run: Run, number: int) -> None:
    """Publish a typed event; its sensitive members become salted digests, each with a disclosure."""
    await bus.publish(tool_call(number), run=run)


async def publish_dict(bus: TraceEventBus, run: Run, number: int) -> None:
    """Publish what the peers are given: a dict, of which nothing is sensitive."""
    await bus.publish(PAYLOAD_WITHOUT_SALT, type="bench.tool_executed", run=run)


Publish = Callable[[TraceEventBus, Run, int], Coroutine[Any, Any, None]]
PUBLISH: Final[dict[str, Publish]] = {"typed": publish_typed, "dict": publish_dict}


def canonicalise(count: int) -> dict[str, Any]:
    """Canonical bytes of the payload."""
    return {"per_second": count / timeit.timeit(lambda: canonical.dumps(PAYLOAD), number=count)}


def sensitive(count: int) -> dict[str, Any]:
    """What each member costs that a pattern makes sensitive, inside a value: time, and bytes beside it."""
    payload = tool_call(0)
    patterns = [f"*:arguments/{name}" for name in ("amount", "currency", "iban", "reference", "beneficiary")]
    committers = [Committer(sensitive=patterns[:wanted]) for wanted in (1, len(patterns))]
    size, larger = (
        len(committed.payload) + sum(map(len, committed.disclosures))
        for committed in (committer.commit(payload) for committer in committers)
    )
    best = [float("inf")] * 2
    for _ in range(20):  # in turns, as other work may disturb one
        for i, committer in enumerate(committers):
            taken = timeit.timeit(partial(committer.commit, payload), number=count // 20)
            best[i] = min(best[i], taken / (count // 20))
    more = len(patterns) - 1
    return {"us": (best[1] - best[0]) / more * 1e6, "bytes": (larger - size) / more}


def publish(kind: str, folder: str, tasks: int, each: int) -> dict[str, Any]:
    """Publish into one run from some tasks at once, each of which awaits one event before the next."""

    async def measure() -> float:
        async with TraceEventBus(log_in(folder)) as bus, bus.run() as run:

            async def work(events: int) -> None:
                for number in range(events):
                    await PUBLISH[kind](bus, run, number)

            await work(WARM_UP)
            start = time.perf_counter()
            async with anyio.create_task_group() as group:
                for _ in range(tasks):
                    group.start_soon(work, each)
            return tasks * each / (time.perf_counter() - start)

    return {"per_second": anyio.run(measure)}


def publish_many(folder: str, events: int, size: int) -> dict[str, Any]:
    """Publish into one run in bulk, `size` events at a time."""

    async def measure() -> float:
        async with TraceEventBus(log_in(folder)) as bus, bus.run() as run:
            payloads = [tool_call(number) for number in range(events)]
            start = time.perf_counter()
            for first in range(0, events, size):
                await bus.publish_many(payloads[first : first + size], run=run)
            return events / (time.perf_counter() - start)

    return {"per_second": anyio.run(measure)}


def fill(folder: str, events: int) -> dict[str, Any]:
    """Bring a log to so many typed events, in workflows of one run each; this is not measured."""

    async def work() -> None:
        async with TraceEventBus(log_in(folder)) as bus:
            have = bus.log.last_position()
            for size in with_progress(workflow_sizes(events - have), have, events):
                async with bus.run(workflow_id=OLDEST if have == 0 else None) as run:
                    await bus.publish_many([tool_call(number) for number in range(size - 2)], run=run)
                have += size

    anyio.run(work)
    return {"events": events}


def workflow_sizes(events: int) -> Iterator[int]:
    """Yield sizes that add up to `events`, each of them 2 or more: a workflow has a beginning and an end."""
    while events > 0:
        size = min(WORKFLOW, events)
        size -= events - size == 1
        events -= size
        yield size


def with_progress(sizes: Iterator[int], have: int, wanted: int) -> Iterator[int]:
    """Yield the same sizes, and tell on standard error, every few seconds, how far it has come."""
    said = time.monotonic()
    for size in sizes:
        yield size
        have += size
        if time.monotonic() - said > 5:
            said = time.monotonic()
            print(f"  filling a log: {have:,} of {wanted:,} events", file=sys.stderr, flush=True)


def verify(folder: str, events: int) -> dict[str, Any]:
    """Check a whole log, as `tracebus fsck` does: every header, link, payload and disclosure."""
    with closing(log_in(folder, read_only=True)) as log:
        start = time.perf_counter()
        report = fsck(log)
        seconds = time.perf_counter() - start
    if report.fault is not None or report.events != events:
        raise RuntimeError(f"of {events} events, {report.events} were checked; fault: {report.fault}")
    return {"per_second": events / seconds, "mb": peak_megabytes()}


def query(folder: str, through: str) -> dict[str, Any]:
    """Read every event of a log, one by one: through the bus, in an event loop, or from the log itself."""

    async def read_bus() -> float:
        async with TraceEventBus(log_in(folder)) as bus:
            count, start = 0, time.perf_counter()
            async for _ in bus.query(EventQuery()):
                count += 1
            return count / (time.perf_counter() - start)

    def read_log() -> float:
        with closing(log_in(folder, read_only=True)) as log:
            count, start = 0, time.perf_counter()
            for _ in log.query(EventQuery()):
                count += 1
            return count / (time.perf_counter() - start)

    rate = anyio.run(read_bus) if through == "bus" else read_log()
    return {"per_second": rate, "mb": peak_megabytes()}


def bundle(folder: str) -> dict[str, Any]:
    """Bundle the oldest workflow of a log, and keep it beside the log with its key; then time another."""
    signer = Ed25519Signer.generate()
    with closing(log_in(folder, read_only=True)) as log:
        bundler = EvidenceBundler(log, signer)
        Path(folder, "bundle.json").write_bytes(anyio.run(bundler.bundle, OLDEST).to_json())
        Path(folder, "public.pem").write_text(signer.verifying_key.to_pem())
        memory = peak_megabytes()
        taken = milliseconds(lambda: anyio.run(bundler.bundle, OLDEST))
    return {"ms": taken, "mb": memory}


def verify_bundle(folder: str) -> dict[str, Any]:
    """Verify the bundle in a folder with its key, and time a second verification."""
    made, key = Path(folder, "bundle.json").read_bytes(), Path(folder, "public.pem").read_text()
    verify_evidence_bundle(made, key, expected_workflow=OLDEST)
    return {"ms": milliseconds(lambda: verify_evidence_bundle(made, key, expected_workflow=OLDEST))}


def imports() -> dict[str, Any]:
    """Do nothing: what a process takes that has imported tracebus, to compare the others with."""
    return {"mb": peak_megabytes()}


if __name__ == "__main__":
    commands = (
        canonicalise,
        sensitive,
        publish,
        publish_many,
        fill,
        verify,
        query,
        bundle,
        verify_bundle,
        imports,
    )
    serve({command.__name__: command for command in commands})
