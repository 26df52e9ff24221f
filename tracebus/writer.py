"""The writer: one thread that appends what any task or thread publishes, in groups.

Publishers put a ticket into a queue and wait for it. The thread takes all that is there, has the log
store it as one batch (one transaction, one sync), and wakes each event loop once. While it syncs,
publishers prepare the next batch. There is no delay to wait for company: a lone publisher's ticket is
a batch of its own.

The queue needs no bound: each publisher waits for its ticket, so there are never more tickets than
publishers.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

import anyio
import anyio.lowlevel

from tracebus.errors import AppendUnknown, BusClosed
from tracebus.eventlog.base import AnyEvent, Draft, EventLog

_logger = logging.getLogger("tracebus.writer")

MAX_BATCH: Final = 1024
"""The most events that are appended in one batch."""


class LoopWaker:
    """Calls functions in an event loop from other threads, without waiting for them.

    `anyio.from_thread` waits for what it calls; the writer must not, for the loop's own thread may be
    waiting for the writer.
    """

    def __init__(self) -> None:
        self._token: Any = anyio.lowlevel.current_token().native_token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoopWaker) and self._token is other._token

    def __hash__(self) -> int:
        return id(self._token)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have the loop call a function soon; a loop that has ended calls nothing."""
        call = getattr(self._token, "call_soon_threadsafe", None) or self._token.run_sync_soon
        with suppress(RuntimeError):  # asyncio's closed loop; trio.RunFinishedError is one, too
            call(function, *args)


class Ticket(ABC):
    """Drafts on their way into the log, and somebody who waits for the outcome."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self._outcome: list[AnyEvent] | Exception = BusClosed()
        self._unclaimed = [True]

    def claim(self) -> bool:
        """Take the ticket, to append it or to withdraw it; only the first claim succeeds."""
        try:
            return self._unclaimed.pop()
        except IndexError:
            return False

    def settle(self, outcome: list[AnyEvent] | Exception) -> None:
        """Set the outcome; `wake` tells whoever waits."""
        self._outcome = outcome

    def result(self) -> list[AnyEvent]:
        """Return the events, or raise what went wrong."""
        if isinstance(self._outcome, Exception):
            # Several publishers may share one outcome; each raises an exception of its own.
            raise copy.copy(self._outcome) from self._outcome
        return self._outcome

    @abstractmethod
    def wakers(self) -> tuple[LoopWaker | None, Callable[[], object]]:
        """Return the loop to wake, None for a plain thread, and the function that wakes there."""


class _TaskTicket(Ticket):
    """A ticket that a task waits for."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        super().__init__(drafts)
        self._done = anyio.Event()
        self._waker = LoopWaker()

    def wakers(self) -> tuple[LoopWaker | None, Callable[[], object]]:
        return self._waker, self._done.set

    async def wait(self) -> list[AnyEvent]:
        try:
            await self._done.wait()
        except anyio.get_cancelled_exc_class():
            if not self.claim():
                with anyio.CancelScope(shield=True):
                    await self._done.wait()
            raise
        return self.result()


class _ThreadTicket(Ticket):
    """A ticket that a thread waits for."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        super().__init__(drafts)
        self._done = threading.Event()

    def wakers(self) -> tuple[LoopWaker | None, Callable[[], object]]:
        return None, self._done.set

    def wait(self) -> list[AnyEvent]:
        self._done.wait()
        return self.result()


class Writer:
    """Appends to an event log from a thread of its own.

    Args:
        log: The log; `append` is called from the writer's thread only.
        on_stored: Called in the writer's thread with each batch of new events, once they are
            durable and before any publisher is woken.
    """

    def __init__(self, log: EventLog, on_stored: Callable[[list[AnyEvent]], None]) -> None:
        self._log = log
        self._on_stored = on_stored
        self._queue: SimpleQueue[Ticket | Callable[[], object] | None] = SimpleQueue()
        self._closing = threading.RLock()  # a signal's handler may publish while its thread is here
        self._process = os.getpid()
        self._closed = False
        self._flushed = False
        self._thread = threading.Thread(target=self._run, name="tracebus-writer", daemon=True)
        self._thread.start()

    async def append(self, drafts: Sequence[Draft]) -> list[AnyEvent]:
        """Append drafts as one group, from a task; return the sealed events once they are durable.

        Cancelled before the writer took them, nothing is appended; cancelled later, it waits for the
        outcome first, and the events are in the log.

        Raises:
            PublishError, EvidenceError: The group was refused; nothing of it is in the log.
            AppendUnknown: It cannot be told whether it is in the log.
        """
        ticket = _TaskTicket(drafts)
        self._put(ticket)
        return await ticket.wait()

    def append_sync(self, drafts: Sequence[Draft]) -> list[AnyEvent]:
        """Do as `append` from any thread, blocking it."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("publish_sync in the writer's own thread would wait for itself")
        ticket = _ThreadTicket(drafts)
        self._put(ticket)
        return ticket.wait()

    def call(self, function: Callable[[], object]) -> None:
        """Have the writer's thread call a function between two batches."""
        self._put(function)

    def stop(self) -> None:
        """Refuse further tickets, and have the thread end when those that are queued are appended."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def flush(self) -> None:
        """Refuse further tickets, and append those that are queued. Blocks until that is done."""
        done = threading.Event()
        with self._closing:
            self._flushed = True
            self._queue.put(done.set)
        done.wait()

    def close(self) -> None:
        """Append what is queued, then end the thread. Blocks until it has ended."""
        self.stop()
        self._thread.join()

    def _put(self, item: Ticket | Callable[[], object]) -> None:
        if os.getpid() != self._process:
            raise BusClosed  # the thread did not come along into the forked process
        with self._closing:
            if self._closed or (self._flushed and isinstance(item, Ticket)):
                raise BusClosed
            self._queue.put(item)

    def _run(self) -> None:
        while self._run_batch():
            pass

    def _run_batch(self) -> bool:
        """Take and append one batch; return False once the writer is closed and all is appended."""
        tickets: list[Ticket] = []
        events = 0
        item = self._queue.get()
        while isinstance(item, Ticket):
            if item.claim():
                tickets.append(item)
                events += len(item.drafts)
            if events >= MAX_BATCH:
                break
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
        if tickets:
            self._append(tickets)
        if callable(item):  # what was asked for after these tickets is done after them
            _call(item)
        return item is not None

    def _append(self, tickets: list[Ticket]) -> None:
        """Append a batch and wake who waits, whatever happens: the thread must go on."""
        try:
            outcomes = self._log.append([ticket.drafts for ticket in tickets])
            if len(outcomes) != len(tickets):
                raise AppendUnknown(f"the log gave {len(outcomes)} outcomes for {len(tickets)} groups")
        except BaseException as error:
            for ticket in tickets:
                ticket.settle(error if isinstance(error, Exception) else AppendUnknown(repr(error)))
        else:
            for ticket, outcome in zip(tickets, outcomes, strict=True):
                ticket.settle(outcome)
            stored = [event for events in outcomes if isinstance(events, list) for event in events]
            _call(lambda: self._on_stored(stored))
        finally:
            _wake(tickets)


def _wake(tickets: list[Ticket]) -> None:
    """Wake those who wait: threads at once, tasks by one call to each event loop."""
    by_loop: dict[LoopWaker, list[Callable[[], object]]] = {}
    for ticket in tickets:
        waker, wake = ticket.wakers()
        if waker is None:
            wake()
        else:
            by_loop.setdefault(waker, []).append(wake)
    for waker, wakes in by_loop.items():
        waker.call_soon(_call_all, wakes)


def _call(function: Callable[[], object]) -> None:
    """Call what somebody asked to be called in this thread; it must not end the thread."""
    try:
        function()
    except Exception:
        _logger.exception("a call in the writer's thread failed")


def _call_all(functions: list[Callable[[], object]]) -> None:
    for function in functions:
        function()
