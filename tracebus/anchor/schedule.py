"""The schedule: a log is anchored beside its bus, now and then, and once more when the bus closes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from evidence.note import NoteKey
from evidence.signing import Ed25519Signer
from tracebus.alarm import Alarm, OnAlarm
from tracebus.anchor.base import Anchor, PublishedLog
from tracebus.anchor.runner import FIRST_PAUSE, AnchorRunner
from tracebus.eventlog.base import EventLog

T = TypeVar("T")

_logger = logging.getLogger("tracebus.anchor")


class Anchoring:
    """When a bus anchors its log: at its start, then in intervals, and when it closes.

    All of it happens in worker threads, each anchor at its own pace: publish does not wait for any of
    it. An anchor that fails is tried again, after a second, then two, four, up to the interval, and
    always with the newest checkpoint. The first failure of a row raises the alarm ``anchor_failed``.

    Args:
        signer: The log's key, which signs nothing but checkpoints.
        anchors: Where checkpoints go.
        every: The interval, in seconds. What was not anchored yet, an insider could still change.
        when_idle: Whether anchors are visited also when no event is new. Witnesses then say once more
            that they know no newer checkpoint, which is what tells a fresh one from an old one.
        former: Keys that the log had before; older checkpoints may be by them.
    """

    def __init__(
        self,
        signer: Ed25519Signer,
        anchors: Sequence[Anchor],
        *,
        every: float = 3600.0,
        when_idle: bool = True,
        former: Iterable[NoteKey] = (),
    ) -> None:
        if not every > 0:
            raise ValueError(f"every: expected seconds, more than 0, found {every}")
        self._signer = signer
        self._anchors = tuple(anchors)
        self._every = every
        self._when_idle = when_idle
        self._former = tuple(former)

    @asynccontextmanager
    async def beside(self, log: EventLog, on_alarm: OnAlarm, seconds: float) -> AsyncIterator[None]:
        """Anchor a log while the block lasts, and what is new at its end, for at most so many seconds."""
        runner = AnchorRunner(log, self._signer, self._anchors, former=self._former)
        rounds = _Rounds(runner, on_alarm, self._every, self._when_idle)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(rounds.run, name="tracebus anchoring")
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(seconds, shield=True):
                await rounds.finish()


class _Rounds:
    """The anchoring of one log, while its bus is open."""

    def __init__(self, runner: AnchorRunner, on_alarm: OnAlarm, every: float, when_idle: bool) -> None:
        self._runner = runner
        self._on_alarm = on_alarm
        self._every = every
        self._when_idle = when_idle
        # Of its own, so that anchors that hang keep no threads from others; and one may hang at the end.
        self._threads = anyio.CapacityLimiter(2 * len(runner.anchors) + 1)
        self._newest: PublishedLog | None = None
        self._changed = anyio.Event()
        self._sizes: dict[str, int] = {}  # what each anchor was brought here

    async def run(self) -> None:
        """Anchor until cancelled; a thread that is at work then is left to itself."""
        async with anyio.create_task_group() as tasks:
            for anchor in self._runner.anchors:
                tasks.start_soon(self._attend, anchor, name=f"tracebus anchor {anchor.name}")
            while True:
                published = await self._in_thread(self._checkpoint)
                is_new = self._newest is None or (
                    published is not None and published.size > self._newest.size
                )
                if published is not None and (is_new or self._when_idle):
                    self._newest = published
                    self._changed.set()
                    self._changed = anyio.Event()
                await anyio.sleep(self._every)

    async def finish(self) -> None:
        """Bring what is new to each anchor, once."""
        published = await self._in_thread(self._checkpoint)
        if published is None:
            return
        async with anyio.create_task_group() as tasks:
            for anchor in self._runner.anchors:
                if self._sizes.get(anchor.name, 0) < published.size:
                    tasks.start_soon(self._in_thread, partial(self._bring, anchor, published, 0))

    async def _attend(self, anchor: Anchor) -> None:
        """Bring each checkpoint to an anchor, the newest one again and again until it has it."""
        brought: PublishedLog | None = None
        failures = 0
        while True:
            newest = self._newest
            if newest is None or newest is brought:
                await self._changed.wait()
                continue
            if await self._in_thread(partial(self._bring, anchor, newest, failures)):
                brought, failures = newest, 0
            else:
                await anyio.sleep(min(FIRST_PAUSE * 2**failures, self._every))
                failures = min(failures + 1, 32)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    # In a worker thread

    def _checkpoint(self) -> PublishedLog | None:
        try:
            return self._runner.checkpoint()
        except Exception as error:
            self._raise_alarm(f"no checkpoint was signed: {error}", error)
            return None

    def _bring(self, anchor: Anchor, published: PublishedLog, failures: int) -> bool:
        """Bring a checkpoint to an anchor once; tell whether it has it."""
        error: Exception | None
        try:
            error = self._runner.bring(anchor, published)
        except Exception as failure:
            error = failure
        if error is None:
            self._sizes[anchor.name] = published.size
            return True
        if not failures:
            self._raise_alarm(f"anchor {anchor.name}: {error}", error)
        return False

    def _raise_alarm(self, message: str, error: Exception) -> None:
        try:
            self._on_alarm(Alarm("anchor_failed", message, error=error))
        except Exception:
            _logger.exception("on_alarm raised")
