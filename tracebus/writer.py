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
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

import anyio
import anyio.lowlevel

from tracebus.alarm import Alarm, OnAlarm, log_alarm
from tracebus.errors import AppendUnknown, BusClosed
from tracebus.eventlog.base import AnyEvent, Draft, EventLog
from tracebus.losses import LOG_FAILURES, Losses

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

    __slots__ = ("drafts", "outcome", "unattended")

    def __init__(self, drafts: Sequence[Draft], *, unattended: bool = False) -> None:
        self.drafts = drafts
        self.unattended = unattended
        self.outcome: list[AnyEvent] | Exception = BusClosed()

    def result(self) -> list[AnyEvent]:
        """Return the events, or raise what went wrong."""
        if isinstance(self.outcome, Exception):
            # Several publishers may share one outcome; each raises an exception of its own.
            raise copy.copy(self.outcome) from self.outcome
        return self.outcome

    def note_each(self, note: Callable[[AnyEvent], object]) -> list[AnyEvent]:
        """Do as `result`, and call a function with each event first."""
        events = self.result()
        for event in events:
            note(event)
        return events


class Gate:
    """Opens once; tasks of any event loop, and threads, wait for it.

    All tasks of one event loop wait for one event, and all threads for another.
    """

    __slots__ = ("_entries", "_opened")

    def __init__(self) -> None:
        self._entries: dict[object, tuple[LoopWaker, anyio.Event]] = {}
        self._opened = threading.Event()

    def entry(self) -> anyio.Event:
        """Return the event that is set in this task's loop when the gate opens."""
        waker = LoopWaker()
        _, entry = self._entries.get(waker.loop) or self._entries.setdefault(
            waker.loop, (waker, anyio.Event())
        )
        if self._opened.is_set():  # it may have opened before it saw this entry
            entry.set()
        return entry

    def wait(self, seconds: float | None = None) -> bool:
        """Block this thread until the gate is open; return False if it is not after so long."""
        return self._opened.wait(seconds)

    def open(self) -> None:
        """Let all pass: threads at once, tasks by one call to each event loop."""
        self._opened.set()
        for waker, entry in list(self._entries.values()):
            waker.call_soon(entry.set)


class _Batch:
    """Tickets that are appended together; `settled` opens when their outcomes are there.

    It takes no lock: a handler of signals may publish whose thread is in the midst of publishing.
    """

    __slots__ = ("_closed", "_tickets", "settled", "size")

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()
        self._closed = False
        self.size = 0
        self.settled = Gate()

    def join(self, ticket: Ticket) -> bool:
        """Add a ticket; return False if the batch was taken before."""
        self.size += len(ticket.drafts)
        self._tickets.append(ticket)
        return not (self._closed and self.withdraw(ticket))

    def withdraw(self, ticket: Ticket) -> bool:
        """Take a ticket back; return False if the writer has it already."""
        try:
            self._tickets.remove(ticket)
        except ValueError:
            return False
        return True

    def take(self) -> list[Ticket]:
        """Return the tickets, for good: none can join or be withdrawn any more."""
        self._closed = True
        tickets = []
        with suppress(IndexError):
            while True:
                tickets.append(self._tickets.popleft())
        return tickets


@dataclass(slots=True)
class Counts:
    """What a writer has done so far, in events.

    `submitted` = `committed` + `refused` + `unrecorded` + `withdrawn` + those that are waiting.
    """

    submitted: int = 0
    committed: int = 0
    refused: int = 0
    unrecorded: int = 0
    withdrawn: int = 0
    batches: int = 0
    last_batch: int = 0
    largest_batch: int = 0

    @property
    def waiting(self) -> int:
        """How many are in the queue, or being appended."""
        return self.submitted - self.committed - self.refused - self.unrecorded - self.withdrawn


class Writer:
    """Appends to an event log from a thread of its own.

    Args:
        log: The log; `append` is called from the writer's thread only.
        on_stored: Called in the writer's thread with each batch of new events, once they are
            durable and before any publisher is woken.
        losses: What may be lost when the log cannot be written, and what has been.
        on_alarm: Called in the writer's thread when the log fails, and when it takes events again.
    """

    def __init__(
        self,
        log: EventLog,
        on_stored: Callable[[list[AnyEvent]], None],
        losses: Losses,
        on_alarm: OnAlarm = log_alarm,
    ) -> None:
        self._log = log
        self._on_stored = on_stored
        self._losses = losses
        self._on_alarm = on_alarm
        self._failing = False
        self.counts = Counts()
        self._queue: SimpleQueue[_Batch | Callable[[], object] | None] = SimpleQueue()
        self._lock = threading.RLock()  # a signal's handler may publish while its thread is here
        self._filling: _Batch | None = None  # the last one in the queue
        self._process = os.getpid()
        self._closed = False
        self._flushed = False
        self._thread = threading.Thread(target=self._run, name="tracebus-writer", daemon=True)
        self._thread.start()

    async def append(self, drafts: Sequence[Draft], note: Callable[[AnyEvent], object]) -> list[AnyEvent]:
        """Append drafts as one group, from a task; return the sealed events once they are durable.

        Cancelled before the writer took them, nothing is appended; cancelled later, it waits for the
        outcome first, and the events are in the log. `note` is called with each event in either case.

        Raises:
            PublishError, EvidenceError: The group was refused; nothing of it is in the log.
            AppendUnknown: It cannot be told whether it is in the log.
        """
        ticket = Ticket(drafts)
        batch = self._join(ticket)
        settled = batch.settled.entry()
        try:
            await settled.wait()
        except anyio.get_cancelled_exc_class():
            if batch.withdraw(ticket):
                self._note_withdrawn(len(drafts))
            else:
                with anyio.CancelScope(shield=True):
                    await settled.wait()
                with suppress(Exception):
                    ticket.note_each(note)
            raise
        return ticket.note_each(note)

    def append_sync(self, drafts: Sequence[Draft], note: Callable[[AnyEvent], object]) -> list[AnyEvent]:
        """Do as `append` from any thread, blocking it."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("publish_sync in the writer's own thread would wait for itself")
        ticket = Ticket(drafts)
        self._join(ticket).settled.wait()
        return ticket.note_each(note)

    def append_later(self, drafts: Sequence[Draft]) -> None:
        """Have drafts appended as one group, and wait for nothing; that it was refused is logged."""
        self._join(Ticket(drafts, unattended=True))

    def alarm(self, alarm: Alarm) -> None:
        """Have the writer's thread raise an alarm."""
        self.call(lambda: self._on_alarm(alarm))

    def call(self, function: Callable[[], object]) -> None:
        """Have the writer's thread call a function between two batches, after what is queued."""
        self._check_process()
        with self._lock:
            if self._closed:
                raise BusClosed
            self._enqueue(function)

    def stop(self) -> None:
        """Refuse further tickets, and have the thread end when those that are queued are appended."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._enqueue(None)

    def flush(self) -> None:
        """Refuse further tickets, append those that are queued, record what was lost. Blocks until then."""
        done = threading.Event()
        with self._lock:
            self._flushed = True
            self._enqueue(_Batch())
            self._enqueue(done.set)
        done.wait()

    def close(self) -> None:
        """Append what is queued, then end the thread. Blocks until it has ended."""
        self.stop()
        self._thread.join()

    def _check_process(self) -> None:
        """Check that this is no fork, where the thread is missing and the lock may be held for ever."""
        if os.getpid() != self._process:
            raise BusClosed

    def _enqueue(self, item: _Batch | Callable[[], object] | None) -> None:
        self._filling = None
        self._queue.put(item)

    def _join(self, ticket: Ticket) -> _Batch:
        """Put a ticket into the batch that is filling, and return that."""
        self._check_process()
        with self._lock:
            if self._closed or (self._flushed and not ticket.unattended):
                raise BusClosed
            self.counts.submitted += len(ticket.drafts)
            batch = self._filling
            if batch is None or batch.size >= MAX_BATCH or not batch.join(ticket):
                batch = self._filling = _Batch()
                batch.join(ticket)
                self._queue.put(batch)
            return batch

    def _note_withdrawn(self, events: int) -> None:
        with self._lock:
            self.counts.withdrawn += events

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, _Batch):
                self._append(item, item.take())
            else:
                _call(item)

    def _append(self, batch: _Batch, tickets: list[Ticket]) -> None:
        """Append a batch and wake who waits, whatever happens: the thread must go on."""
        try:
            failure = self._record_losses()
            if tickets:
                groups = [ticket.drafts for ticket in tickets]
                outcomes = self._outcomes(groups) if failure is None else _all(failure, groups)
                for ticket, outcome in zip(tickets, outcomes, strict=True):
                    self._settle(ticket, outcome)
                self._note_batch(outcomes)
        finally:
            batch.settled.open()

    def _record_losses(self) -> Exception | None:
        """Record what was lost before anything else is; return the error if the log still fails."""
        while gaps := self._losses.gaps():
            outcomes = self._outcomes(list(gaps.values()))
            for run_id, outcome in zip(gaps, outcomes, strict=True):
                self._losses.note(run_id, outcome)
            self._offer(outcomes)
            if failure := _failure(outcomes):
                return failure
        return None

    def _outcomes(self, groups: Sequence[Sequence[Draft]]) -> list[list[AnyEvent] | Exception]:
        try:
            outcomes = self._log.append(groups)
            if len(outcomes) != len(groups):
                raise AppendUnknown(f"the log gave {len(outcomes)} outcomes for {len(groups)} groups")
        except BaseException as raised:
            error = raised if isinstance(raised, Exception) else AppendUnknown(repr(raised))
            return _all(error, groups)
        return outcomes

    def _settle(self, ticket: Ticket, outcome: list[AnyEvent] | Exception) -> None:
        size = len(ticket.drafts)
        if isinstance(outcome, list):
            self.counts.committed += size
        elif self._losses.may_lose(ticket.drafts, outcome):
            outcome = self._losses.add(ticket.drafts, outcome)
            self.counts.unrecorded += size
        else:
            self.counts.refused += size
            if ticket.unattended:
                _logger.error("not recorded: %r", outcome)
        ticket.outcome = outcome

    def _note_batch(self, outcomes: list[list[AnyEvent] | Exception]) -> None:
        """Count a batch, offer what is stored to the sinks, and raise the alarms."""
        stored = self._offer(outcomes)
        self.counts.batches += 1
        self.counts.last_batch = stored
        self.counts.largest_batch = max(self.counts.largest_batch, stored)
        failure = _failure(outcomes)
        if failure is not None and not self._failing:
            self._failing = True
            message = f"the event log cannot be written: {failure}"
            _call(lambda: self._on_alarm(Alarm("log_failed", message, error=failure)))
        elif failure is None and self._failing:
            self._failing, lost = False, self._losses.take_total()
            message = f"the event log can be written again; {lost} events were lost"
            _call(lambda: self._on_alarm(Alarm("log_recovered", message, lost)))

    def _offer(self, outcomes: list[list[AnyEvent] | Exception]) -> int:
        """Offer what is stored to the sinks; return how many events that is."""
        stored = [event for events in outcomes if isinstance(events, list) for event in events]
        _call(lambda: self._on_stored(stored))
        return len(stored)


def _all(error: Exception, groups: Sequence[object]) -> list[list[AnyEvent] | Exception]:
    """Return the outcomes of groups that all failed for one reason."""
    return [error for _ in groups]


def _failure(outcomes: Iterable[list[AnyEvent] | Exception]) -> Exception | None:
    """Return the first of the log's own failures."""
    return next((outcome for outcome in outcomes if isinstance(outcome, LOG_FAILURES)), None)


def _call(function: Callable[[], object]) -> None:
    """Call what somebody asked to be called in this thread; it must not end the thread."""
    try:
        function()
    except Exception:
        _logger.exception("a call in the writer's thread failed")
