"""Cancels a call at one of its awaits, by number, and at a chosen moment of its appends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread

from tracebus import SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.eventlog import AnyEvent
from tracebus.eventlog.base import Draft

Operation = Coroutine[Any, Any, object]

Moment = Literal["queued", "taken", "stored"]
"""Whether events wait behind others, are being appended, or are stored when a cancellation comes."""


class StagedLog(SqliteEventLog):
    """A log that arranges for a cancellation to come at a moment."""

    def __init__(self, path: Path, moment: Moment) -> None:
        super().__init__(path)
        self._moment = moment
        self._gate = threading.Event()
        self._gate.set()
        self._arrived = threading.Event()
        self._opener = threading.Timer(0, self._gate.set)

    def append(self, groups: Sequence[Sequence[Draft]]) -> list[list[AnyEvent] | Exception]:
        """Take the time that is needed, then append."""
        if not self._gate.is_set():
            self._arrived.set()
            assert self._gate.wait(10)
        if groups and self._moment == "taken":
            time.sleep(0.004)
        return super().append(groups)

    def before(self) -> None:
        """Have an append of others wait, before the operation goes on and publishes."""
        self._opener.cancel()
        if self._opener.ident is not None:
            self._opener.join()
        if self._moment == "queued" and self._gate.is_set():
            self._arrived.clear()
            self._gate.clear()
            assert self._arrived.wait(10)

    def let_go(self) -> None:
        """Let what waits be appended."""
        self._gate.set()

    def cancel(self, cancel: Callable[[], object]) -> None:
        """Cancel when the moment has come; what does not heed it goes on a little later."""
        time.sleep({"queued": 0, "taken": 0.001, "stored": 0.003}[self._moment])
        cancel()
        self._opener = threading.Timer(0.02, self._gate.set)
        self._opener.start()

    @asynccontextmanager
    async def used_by_others(self, bus: TraceEventBus) -> AsyncIterator[None]:
        """Publish from a thread all the time, so that there is somebody to wait behind."""
        run, done = await bus.start_run(), threading.Event()

        def publish() -> None:
            while self._moment == "queued" and not done.is_set():
                bus.publish_sync(ToolProposed(tool="other"), run=run)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            done.set()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join)


class CancelAt:
    """Awaits a coroutine, and calls `cancel` where it is suspended for the n-th time."""

    def __init__(self, coroutine: Operation, step: int, log: StagedLog, cancel: Callable[[], object]) -> None:
        self._coroutine = coroutine
        self._step = step
        self._log = log
        self._cancel = cancel
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, None]:
        """Hand what the coroutine waits for to the event loop, and the loop's answers to the coroutine."""
        answer: Any = None
        error: BaseException | None = None
        while True:
            self._log.before()
            try:
                waits_for = self._coroutine.send(answer) if error is None else self._coroutine.throw(error)
            except BaseException as end:
                self._log.let_go()
                if isinstance(end, StopIteration):
                    return
                raise
            self.suspensions += 1
            if self.suspensions == self._step:
                self._log.cancel(self._cancel)
            else:
                self._log.let_go()
            answer, error = None, None
            try:
                answer = yield waits_for
            except BaseException as thrown:
                error = thrown


Cancelling = Callable[[Operation, int, StagedLog], Awaitable[bool]]
"""Runs an operation, cancels it at a step, and tells whether it came to that step."""


async def by_scope(operation: Operation, step: int, log: StagedLog) -> bool:
    """Cancel by a cancel scope of anyio's, as its timeouts and task groups do."""
    with anyio.CancelScope() as scope:
        driven = CancelAt(operation, step, log, scope.cancel)
        await driven
    return driven.suspensions >= step


async def by_task(operation: Operation, step: int, log: StagedLog) -> bool:
    """Cancel the task, as asyncio's own timeouts and task groups do, from which no scope shields."""

    async def work() -> None:
        await driven

    driven = CancelAt(operation, step, log, lambda: task.cancel())  # noqa: PLW0108 (the task comes after)
    task = asyncio.ensure_future(work())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return driven.suspensions >= step
