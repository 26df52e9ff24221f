"""What the adapter of a peer provides, and the commands that measure one.

Each adapter is a program of its own, `peer_*.py`, which runs in the interpreter that the peer is
installed in and uses nothing of ours but the payload, so that no version of anything is shared.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from child import peak_megabytes, serve
from payload import WARM_UP


class PeerLog(Protocol):
    """A peer's log in a folder, made when there is none; used as its documentation says."""

    def __init__(self, folder: Path) -> None: ...

    def append(self, task: int) -> object:
        """Append the payload as one event; return when the peer says that it has it.

        It may be called from several threads. `task` is the number of the task or thread.
        """
        ...

    def check(self) -> int:
        """Return the number of events in the log, verified where the peer can do that.

        Raises:
            RuntimeError: The peer finds its own log broken.
        """
        ...

    def close(self) -> None:
        """Release the log; one that only lives in memory is written to the folder."""
        ...


def publish(kind: type[PeerLog], folder: str, way: str, tasks: int, each: int) -> dict[str, Any]:
    """Append from some tasks at once, or from one; then see that nothing was lost, and no chain broken."""
    log = kind(Path(folder))
    for _ in range(WARM_UP):
        log.append(0)
    seconds = WAYS[way](log.append, tasks, each)
    count = log.check()
    log.close()
    if count != WARM_UP + tasks * each:
        raise RuntimeError(f"of {WARM_UP + tasks * each} events, the log has {count}")
    return {"per_second": tasks * each / seconds}


def in_threads(append: Callable[[int], object], tasks: int, each: int) -> float:
    """Append from threads, which start together; return the seconds that it took."""
    started: list[float] = []
    failed: list[Exception] = []
    barrier = threading.Barrier(tasks, action=lambda: started.append(time.perf_counter()))

    def work(task: int) -> None:
        barrier.wait()
        try:
            for _ in range(each):
                append(task)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(task,)) for task in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - started[0]


def in_tasks(append: Callable[[int], object], tasks: int, each: int) -> float:
    """Append from asyncio tasks, which block the loop one after another; return the seconds it took."""

    async def work(task: int) -> None:
        for _ in range(each):
            append(task)
            await asyncio.sleep(0)

    async def gather() -> float:
        start = time.perf_counter()
        await asyncio.gather(*(work(task) for task in range(tasks)))
        return time.perf_counter() - start

    return asyncio.run(gather())


def one_by_one(append: Callable[[int], object], tasks: int, each: int) -> float:
    """Append in a plain loop; return the seconds that it took."""
    start = time.perf_counter()
    for _ in range(tasks * each):
        append(0)
    return time.perf_counter() - start


WAYS: Final = {"one by one": one_by_one, "threads": in_threads, "tasks": in_tasks}


def fill(kind: type[PeerLog], folder: str, events: int) -> dict[str, Any]:
    """Make a log of so many events; this is not measured."""
    log = kind(Path(folder))
    for _ in range(events):
        log.append(0)
    log.close()
    return {"events": events}


def verify(kind: type[PeerLog], folder: str, events: int) -> dict[str, Any]:
    """Open the log of a folder and verify it, in the peer's own way."""
    log = kind(Path(folder))
    start = time.perf_counter()
    count = log.check()
    seconds = time.perf_counter() - start
    if count != events:
        raise RuntimeError(f"of {events} events, {count} were verified")
    return {"per_second": events / seconds, "mb": peak_megabytes()}


def serve_peer(distribution: str, kinds: Mapping[str, type[PeerLog]]) -> None:
    """Carry out the command of the command line: `installed`, or one for a kind of log that the peer has."""

    def installed() -> dict[str, Any]:
        return {"version": version(distribution)}

    def of_kind(command: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        return lambda kind, **arguments: command(kinds[kind], **arguments)

    commands = {command.__name__: of_kind(command) for command in (publish, fill, verify)}
    serve(commands | {"installed": installed})
