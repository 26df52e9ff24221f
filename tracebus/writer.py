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
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
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
        self.loop: Any = anyio.lowlevel.current_token().native_token

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have the loop call a function soon; a loop that has ended calls nothing."""
        call = getattr(self.loop, "call_soon_threadsafe", None) or self.loop.run_sync_soon
        with suppress(RuntimeError):  # asyncio's closed loop; trio.RunFinishedError is one, too
            call(function, *args)


class Ticket:
    """Drafts on their way into the log, and what became of them."""

    __slots__ = ("drafts", "outcome", "taken")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.outcome: list[AnyEvent] | Exception = BusClosed()
        self.taken = False

    def result(self) -> list[AnyEvent]:
        """Return the events, or raise what went wrong."""
        if isinstance(self.outcome, Exception):
            # Several publishers may share one outcome; each raises an exception of its own.
            raise copy.copy(self.outcome) from self.outcome
        return self.outcome


class _Batch:
    """Tickets that are appended together, and the means to wake those who wait for them.

    All tasks of one event loop wait for one event, and all threads for another.
    """

    __slots__ = ("_done", "_gates", "size", "tickets")

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.size = 0
        self._gates: dict[object, tuple[LoopWaker, anyio.Event]] = {}
        self._done = threading.Event()

    def gate(self) -> anyio.Event:
        """Return the event that is set in this task's loop once the batch is settled."""
        waker = LoopWaker()
        gate = self._gates.get(waker.loop)
        if gate is None:
            gate = self._gates[waker.loop] = (waker, anyio.Event())
        return gate[1]

    def wait(self) -> None:
        """Block this thread until the batch is settled."""
        self._done.wait()

    def wake(self) -> None:
        """Wake those who wait: threads at once, tasks by one call to each event loop."""
        self._done.set()
        for waker, gate in self._gates.values():
            waker.call_soon(gate.set)


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
        self._queue: SimpleQueue[_Batch | Callable[[], object] | None] = SimpleQueue()
        self._lock = threading.RLock()  # a signal's handler may publish while its thread is here
        self._open_batch: _Batch | None = None  # the last one in the queue, while more may join it
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
        ticket = Ticket(drafts)
        with self._lock:
            gate = self._join(ticket).gate()
        try:
            await gate.wait()
        except anyio.get_cancelled_exc_class():
            if not self._withdraw(ticket):
                with anyio.CancelScope(shield=True):
                    await gate.wait()
            raise
        return ticket.result()

    def append_sync(self, drafts: Sequence[Draft]) -> list[AnyEvent]:
        """Do as `append` from any thread, blocking it."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("publish_sync in the writer's own thread would wait for itself")
        ticket = Ticket(drafts)
        self._join(ticket).wait()
        return ticket.result()

    def call(self, function: Callable[[], object]) -> None:
        """Have the writer's thread call a function between two batches, after what is queued."""
        with self._lock:
            self._check_open(self._closed)
            self._enqueue(function)

    def stop(self) -> None:
        """Refuse further tickets, and have the thread end when those that are queued are appended."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._enqueue(None)

    def flush(self) -> None:
        """Refuse further tickets, and append those that are queued. Blocks until that is done."""
        done = threading.Event()
        with self._lock:
            self._flushed = True
            self._enqueue(done.set)
        done.wait()

    def close(self) -> None:
        """Append what is queued, then end the thread. Blocks until it has ended."""
        self.stop()
        self._thread.join()

    def _check_open(self, closed: bool) -> None:
        if closed or os.getpid() != self._process:  # the thread did not come along into a fork
            raise BusClosed

    def _enqueue(self, item: Callable[[], object] | None) -> None:
        self._open_batch = None
        self._queue.put(item)

    def _join(self, ticket: Ticket) -> _Batch:
        """Put a ticket into the batch that is filling, and return that."""
        with self._lock:
            self._check_open(self._closed or self._flushed)
            batch = self._open_batch
            if batch is None or batch.size >= MAX_BATCH:
                batch = self._open_batch = _Batch()
                self._queue.put(batch)
            batch.tickets.append(ticket)
            batch.size += len(ticket.drafts)
            return batch

    def _withdraw(self, ticket: Ticket) -> bool:
        """Take a ticket back; return False if the writer has taken it already."""
        with self._lock:
            if not ticket.taken:
                ticket.drafts = ()
            return not ticket.taken

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, _Batch):
                self._append(item, self._take(item))
            else:
                _call(item)

    def _take(self, batch: _Batch) -> list[Ticket]:
        """Close a batch to further tickets; return those that were not withdrawn."""
        with self._lock:
            if self._open_batch is batch:
                self._open_batch = None
            tickets = [ticket for ticket in batch.tickets if ticket.drafts]
            for ticket in tickets:
                ticket.taken = True
        return tickets

    def _append(self, batch: _Batch, tickets: list[Ticket]) -> None:
        """Append a batch and wake who waits, whatever happens: the thread must go on."""
        try:
            outcomes = self._log.append([ticket.drafts for ticket in tickets]) if tickets else []
            if len(outcomes) != len(tickets):
                raise AppendUnknown(f"the log gave {len(outcomes)} outcomes for {len(tickets)} groups")
        except BaseException as error:
            for ticket in tickets:
                ticket.outcome = error if isinstance(error, Exception) else AppendUnknown(repr(error))
        else:
            for ticket, outcome in zip(tickets, outcomes, strict=True):
                ticket.outcome = outcome
            stored = [event for events in outcomes if isinstance(events, list) for event in events]
            _call(lambda: self._on_stored(stored))
        finally:
            batch.wake()


def _call(function: Callable[[], object]) -> None:
    """Call what somebody asked to be called in this thread; it must not end the thread."""
    try:
        function()
    except Exception:
        _logger.exception("a call in the writer's thread failed")
