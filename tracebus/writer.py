"""The writer: one thread that appends what any task or thread publishes, in groups.

Publishers put a ticket into a queue and wait for it. The thread takes all that is there, has the log
store it as one batch (one transaction, one sync), and wakes each event loop once. While it syncs,
publishers prepare the next batch. There is no delay to wait for company: a lone publisher's ticket is
a batch of its own.

The queue needs no bound: each publisher waits for its ticket, so there are never more tickets than
publishers.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

import anyio

from tracebus.alarm import Alarm, OnAlarm, log_alarm
from tracebus.batch import Batch, Ticket
from tracebus.confirmation import Confirmation
from tracebus.errors import AppendUnknown, BusClosed
from tracebus.eventlog.base import AnyEvent, Draft, EventLog
from tracebus.losses import LOG_FAILURES, Losses

_logger = logging.getLogger("tracebus.writer")

MAX_BATCH: Final = 1024
"""The most events that are appended in one batch."""


@dataclass(slots=True)
class Counts:
    """What a writer has done so far, in publishers' events (`Metrics`)."""

    submitted: int = 0
    committed: int = 0
    refused: int = 0
    unrecorded: int = 0
    withdrawn: int = 0
    batches: int = 0
    last_batch: int = 0
    largest_batch: int = 0


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
        self._queue: SimpleQueue[Batch | Callable[[], object] | None] = SimpleQueue()
        self._filling: Batch | None = None  # one in the queue
        self._process = os.getpid()
        self._is_closing = False  # publishers are refused
        self._is_stopped = False  # everybody is refused
        self._is_sealed = False  # so says the thread itself to those whom that did not reach
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="tracebus-writer", daemon=True)
        self._thread.start()

    async def append(
        self,
        drafts: Sequence[Draft],
        note: Callable[[AnyEvent], object],
        confirmations: Sequence[Confirmation] = (),
    ) -> list[AnyEvent]:
        """Append drafts as one group, from a task; return the sealed events once they are durable.

        Cancelled before the writer took them, nothing is appended; cancelled later, it waits for the
        outcome first, and the events are in the log. `note` is called with each event in either case.
        Confirmations begin to wait once the events are stored, and before a sink has them.

        Raises:
            PublishError, EvidenceError: The group was refused; nothing of it is in the log.
            AppendUnknown: It cannot be told whether it is in the log.
        """
        ticket = Ticket(drafts, confirmations)
        batch = self._join(ticket)
        settled = batch.settled.entry()
        try:
            await settled.wait()
        except anyio.get_cancelled_exc_class():
            if batch.withdraw(ticket):
                self.counts.withdrawn += ticket.size
            else:
                with anyio.CancelScope(shield=True):
                    await settled.wait()
                with suppress(Exception):
                    ticket.note_each(note)
            raise
        return ticket.note_each(note)

    def append_sync(
        self,
        drafts: Sequence[Draft],
        note: Callable[[AnyEvent], object],
        confirmations: Sequence[Confirmation] = (),
    ) -> list[AnyEvent]:
        """Do as `append` from any thread, blocking it."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("publish_sync in the writer's own thread would wait for itself")
        ticket = Ticket(drafts, confirmations)
        self._join(ticket).settled.wait()
        return ticket.note_each(note)

    def append_later(self, drafts: Sequence[Draft]) -> None:
        """Have a run of the log's own workflow appended, and wait for nothing.

        Where the log fails, it is appended later; that it was refused is logged.
        """
        self._join(Ticket(drafts, unattended=True))

    def alarm(self, alarm: Alarm) -> None:
        """Have the writer's thread raise an alarm."""
        self.call(partial(self._on_alarm, alarm))

    def call(self, function: Callable[[], object]) -> None:
        """Have the writer's thread call a function between two batches, after what is queued."""
        self._check_process()
        if self._is_stopped:
            raise BusClosed
        self._enqueue(function)

    def stop(self) -> None:
        """Refuse further tickets, and have the thread end when those that are queued are appended."""
        if not self._is_stopped:
            self._is_closing = self._is_stopped = True
            self._enqueue(None)

    def flush(self) -> None:
        """Refuse publishers, append what they have queued, record what was lost. Blocks until then."""
        done = threading.Event()
        self._is_closing = True
        self._enqueue(partial(self._seal, done))
        done.wait()

    def close(self) -> None:
        """Append what is queued, then end the thread. Blocks until it has ended."""
        self.stop()
        self._thread.join()

    def _check_process(self) -> None:
        """Check that this is no fork, where the thread is missing."""
        if os.getpid() != self._process:
            raise BusClosed

    def _enqueue(self, item: Callable[[], object] | None) -> None:
        self._filling = None
        self._queue.put(item)

    def _join(self, ticket: Ticket) -> Batch:
        """Put a ticket into the batch that is filling, and return that.

        It takes no lock, for a handler of signals may come here at any line, and wait then for a sink whose
        event loop publishes as well. So what is found filling has to be in the queue already, and whoever
        comes too late has to notice it. Counting is safe, as `+=` calls nothing.
        """
        self._check_process()
        if self._is_stopped or (self._is_closing and not ticket.unattended):
            raise BusClosed
        self.counts.submitted += ticket.size
        batch = self._filling
        if batch is None or batch.size >= MAX_BATCH or not batch.join(ticket):
            batch = Batch()
            batch.join(ticket)
            self._queue.put(batch)
            self._filling = batch
        if self._has_ended and batch.withdraw(ticket):
            self.counts.withdrawn += ticket.size
            raise BusClosed
        return batch

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._do(item)
        self._is_sealed = self._has_ended = True
        with suppress(Empty):
            while True:
                self._do(self._queue.get_nowait())
        if lost := self._losses.count:
            _logger.error("%d events were lost, and the log could not be written to record it", lost)

    def _do(self, item: Batch | Callable[[], object] | None) -> None:
        if item is not None:
            _call(partial(self._append, item) if isinstance(item, Batch) else item)

    def _seal(self, done: threading.Event) -> None:
        try:
            self._record_losses()
        finally:
            self._is_sealed = True
            done.set()

    def _append(self, batch: Batch) -> None:
        """Append a batch and wake who waits, whatever happens."""
        try:
            failure = self._record_losses()
            tickets = self._admit(batch.take())
            if tickets:
                groups = [ticket.drafts for ticket in tickets]
                outcomes = self._outcomes(groups) if failure is None else _all(failure, groups)
                for ticket, outcome in zip(tickets, outcomes, strict=True):
                    self._settle(ticket, outcome)
                self._count_batch(self._offer(outcomes))
        finally:
            batch.settled.open()

    def _admit(self, tickets: list[Ticket]) -> list[Ticket]:
        """Return the tickets that are to be appended; refuse what publishers queued when it was too late."""
        if not self._is_sealed:
            return tickets
        for ticket in tickets:
            if not ticket.unattended:
                self._settle(ticket, BusClosed())
        return [ticket for ticket in tickets if ticket.unattended]

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
        """Append groups; return what became of each, whatever the log raises."""
        try:
            outcomes = self._log.append(groups)
            if len(outcomes) != len(groups):
                raise AppendUnknown(f"the log gave {len(outcomes)} outcomes for {len(groups)} groups")
        except BaseException as raised:
            error = raised if isinstance(raised, Exception) else AppendUnknown(repr(raised))
            outcomes = _all(error, groups)
        self._watch(outcomes)
        return outcomes

    def _watch(self, outcomes: list[list[AnyEvent] | Exception]) -> None:
        """Raise the alarm when the log fails first, and when it takes events again."""
        failure = _failure(outcomes)
        if failure is not None and not self._failing:
            self._failing = True
            message = f"the event log cannot be written: {failure}"
            self._raise_alarm(Alarm("log_failed", message, error=failure))
        elif failure is None and self._failing and any(isinstance(outcome, list) for outcome in outcomes):
            self._failing, lost = False, self._losses.take_total()
            message = f"the event log can be written again; {lost} events were lost"
            self._raise_alarm(Alarm("log_recovered", message, lost))

    def _raise_alarm(self, alarm: Alarm) -> None:
        _call(partial(self._on_alarm, alarm))

    def _settle(self, ticket: Ticket, outcome: list[AnyEvent] | Exception) -> None:
        if ticket.unattended:
            self._settle_upkeep(ticket, outcome)
            return
        if isinstance(outcome, list):
            self.counts.committed += ticket.size
            for confirmation in ticket.confirmations:
                confirmation.expect(outcome)
        elif self._losses.may_lose(ticket.drafts, outcome):
            outcome = self._losses.add(ticket.drafts, outcome)
            self.counts.unrecorded += ticket.size
        else:
            self.counts.refused += ticket.size
        ticket.outcome = outcome

    def _settle_upkeep(self, ticket: Ticket, outcome: list[AnyEvent] | Exception) -> None:
        if isinstance(outcome, LOG_FAILURES):
            self._losses.keep(ticket.drafts)
        elif isinstance(outcome, Exception):
            _logger.error("not recorded: %r", outcome)

    def _count_batch(self, stored: int) -> None:
        if stored:
            self.counts.batches += 1
            self.counts.last_batch = stored
            self.counts.largest_batch = max(self.counts.largest_batch, stored)

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
    """Call what somebody asked to be called in this thread; nothing that it raises ends the thread."""
    try:
        function()
    except BaseException:
        _logger.exception("a call in the writer's thread failed")
