"""Delivery: one sink's own buffer, task and cursor.

The writer offers each batch to every delivery, which never blocks: what does not fit into the buffer
is left in the log, and read from there when the sink has caught up with what came before. So a
delivery's memory is bounded, and nothing is dropped unless the subscription says so (ADR 0009): the log
is the outbox.

A durable sink's cursor, the position that it has confirmed, is kept in the log where the log can
(`CursorStore`); such a sink gets, after a restart, whatever it has not confirmed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from tracebus.confirmation import Confirmation, Confirmations
from tracebus.errors import EventLogUnavailable, SinkOverflow, SinkRejected, SinkUnavailable
from tracebus.eventlog.base import AnyEvent, CursorStore, EventLog, EventQuery
from tracebus.gate import LoopWaker
from tracebus.overflow import Dropped
from tracebus.subscription import Subscription
from tracebus.upkeep import LOG_WORKFLOW, log_run
from tracebus.writer import Writer

BATCH_EVENTS: Final = 256
_SAVE_EVERY: Final = 4096
_FIRST_RETRY: Final = 0.05
_LAST_RETRY: Final = 30.0
_READ_RETRY: Final = 1.0
_QUIET: Final = 1.0
_CLOSED: Final = "the bus was closed"

_logger = logging.getLogger("tracebus.delivery")


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """How a sink is doing.

    `position` is how far it has come in the log, `lag` how many events behind the newest. `confirmed`,
    `rejected` and `dropped` are counts of events since the bus was opened, `failures` of writes that
    were tried again; `last_error` is the newest reason, whether of a failure or a rejection.
    """

    sink: str
    position: int
    lag: int
    confirmed: int
    rejected: int
    dropped: int
    failures: int
    last_error: str | None


class Delivery:
    """Brings events to one sink, in order, at least once.

    Args:
        subscription: The sink, and what the bus promises about it.
        log: The log that the events are in.
        writer: Its thread stores cursors, and appends what is to be recorded of drops.
    """

    def __init__(self, subscription: Subscription, log: EventLog, writer: Writer) -> None:
        self.sink = subscription.sink
        self.subscription = subscription
        self._log = log
        self._writer = writer
        self._buffer: deque[AnyEvent] = deque()
        self._position = 0
        self._saved = 0
        self._stored = 0
        self._confirmed = 0
        self._rejected = 0
        self._failures = 0
        self._last_error: str | None = None
        self._reached: str | None = None  # the time of the event at the position, where it is known
        self._dropped = Dropped(subscription)
        self._confirmations = Confirmations(subscription, lambda: self._last_error)
        self._wake = anyio.Event()
        self._waker = LoopWaker()
        self._loop_thread = threading.get_ident()
        self._reader = anyio.CapacityLimiter(1)  # publishers may hold all threads of the default one
        self._scope = anyio.CancelScope(shield=True)
        self._closing = False
        self._drained = anyio.Event()

    @property
    def status(self) -> DeliveryStatus:
        """How the sink is doing now."""
        return DeliveryStatus(
            sink=self.sink.name,
            position=self._position,
            lag=self._lag,
            confirmed=self._confirmed,
            rejected=self._rejected,
            dropped=self._dropped.count,
            failures=self._failures,
            last_error=self._last_error,
        )

    @property
    def _lag(self) -> int:
        return max(0, self._stored - self._position)

    # For publishers

    def admit(self, *, blocking: bool) -> Confirmation:
        """Check, before an append, that the subscription lets it happen; return what to wait for after it.

        Raises:
            SinkOverflow: The sink is behind, and its subscription says ``error``.
            RuntimeError: A thread may not block that the sink runs in itself.
        """
        subscription = self.subscription
        if subscription.overflow == "error" and self._lag >= subscription.buffer_events:
            raise SinkOverflow(f"sink {self.sink.name} is {self._lag} events behind; nothing was recorded")
        waits = subscription.required or subscription.overflow == "block"
        if blocking and waits and threading.get_ident() == self._loop_thread:
            raise RuntimeError(
                f"publish_sync in the bus' own thread would keep sink {self.sink.name} from being written, "
                "which it has to wait for; await publish instead"
            )
        return Confirmation(self._confirmations)

    # For the bus

    async def start(self) -> None:
        """Find where to begin: a durable sink at its cursor, another one at the end of the log."""
        self._position, self._stored = await anyio.to_thread.run_sync(self._find_start)
        self._saved = self._confirmations.position = self._position

    def _find_start(self) -> tuple[int, int]:
        end = self._log.last_position()
        if not self.sink.durable or not isinstance(self._log, CursorStore):
            return end, end
        cursor = self._log.load_cursor(self.sink.name)
        return (0 if cursor is None else cursor), end

    def offer(self, events: list[AnyEvent]) -> None:
        """Take note of new events; called from the writer's thread, and never blocks."""
        first = self._stored + 1
        new = [event for event in events if (event.position or 0) >= first]  # others are repeats
        if not new:
            return
        self._stored = max(event.position or 0 for event in new)
        if len(self._buffer) + len(new) <= self.subscription.buffer_events:
            self._buffer.extend(new)
        is_upkeep = all(event.workflow_id == LOG_WORKFLOW for event in new)
        self._waker.call_soon(self._note_offer, first, self._stored, is_upkeep)

    def _note_offer(self, first: int, last: int, is_upkeep: bool) -> None:
        self._dropped.note_offer(first, last, self._position, is_upkeep=is_upkeep)
        self._wake.set()

    async def drain(self) -> None:
        """Have `run` return once everything stored so far is delivered, and wait for that.

        The cursor is for the caller to save, who has to do so also where this takes too long.
        """
        self._closing = True
        self._wake.set()
        await self._drained.wait()

    async def run(self) -> None:
        """Deliver until drained or cancelled by `cancel`: a cancellation around the bus lets it go on."""
        with self._scope:
            await self._deliver()

    async def _deliver(self) -> None:
        """Deliver until drained. Neither the sink nor the log can end it by failing."""
        while True:
            try:
                batch = await self._next_batch()
            except Exception as error:
                self._note_failure(error)
                _logger.warning("sink %s: cannot read the log: %r", self.sink.name, error)
                await anyio.sleep(_READ_RETRY)
                continue
            if batch:
                await self._write(batch)
            elif self._closing:
                self._drained.set()
                return
            else:
                await self._idle()

    def cancel(self) -> None:
        """Have `run` end, whatever is left."""
        self._scope.cancel()

    def stop(self) -> None:
        """Store how far the sink has come, and let go who still waits for it; `run` has ended."""
        self._confirmations.close(_CLOSED)
        self._record_drops(is_last=True)
        self.save_cursor()

    async def aclose(self) -> None:
        """Close the sink; that it fails to close is logged, and keeps no other sink from closing."""
        try:
            await self.sink.aclose()
        except Exception:
            _logger.exception("sink %s failed to close", self.sink.name)

    async def _idle(self) -> None:
        """Wait for events; save the cursor once it has been quiet for a while."""
        if self._position != self._saved:
            with anyio.move_on_after(_QUIET):
                await self._wake.wait()
            if not self._wake.is_set():
                self.save_cursor()
        await self._wake.wait()
        self._wake = anyio.Event()

    async def _next_batch(self) -> list[AnyEvent]:
        """Return the events behind the position: from the buffer where it continues, else read."""
        self._skip()
        while self._buffer and (self._buffer[0].position or 0) <= self._position:
            self._buffer.popleft()  # it came by the log already
        size = self._dropped.room(self._position, BATCH_EVENTS)
        if self._buffer and self._buffer[0].position == self._position + 1:
            return self._take_buffered(size)
        if self._position < self._stored:
            return await anyio.to_thread.run_sync(self._read, size, limiter=self._reader)
        return []

    def _skip(self) -> None:
        """Drop what the subscription says to drop; record it once the sink is back within its buffer."""
        position = self._dropped.skip(self._position, self._stored, self._reached)
        if position > self._position:
            self._advance(position)
        self._record_drops()

    def _record_drops(self, *, is_last: bool = False) -> None:
        if alarm := self._dropped.take_alarm():
            self._writer.alarm(alarm)
        if is_last or self._lag <= self.subscription.buffer_events // 2:
            gap = self._dropped.take_gap(is_last=is_last)
            if gap is not None:
                self._writer.append_later(log_run(gap))

    def _take_buffered(self, size: int) -> list[AnyEvent]:
        batch: list[AnyEvent] = []
        expected = self._position + 1
        while self._buffer and len(batch) < size and self._buffer[0].position == expected:
            batch.append(self._buffer.popleft())
            expected += 1
        return batch

    def _read(self, size: int) -> list[AnyEvent]:
        """Read what was offered; what the log has beyond that, publishers may not have begun to wait for."""
        stored = self._stored
        events = self._log.query(EventQuery(after=self._position, limit=size))
        offered = [event for event in events if (event.position or 0) <= stored]
        if not offered:
            raise EventLogUnavailable(
                f"events up to {stored} are stored, but none is read after {self._position}"
            )
        return offered

    async def _write(self, batch: list[AnyEvent]) -> None:
        """Offer a batch until the sink takes or rejects it; wait longer after each failure."""
        batch, pause = await self._shown(batch), _FIRST_RETRY
        while True:
            try:
                await self._offer_to_sink(batch)
            except SinkRejected as error:
                self._note_rejected(batch, error)
                break
            except Exception as error:
                self._note_failure(error)
                _logger.warning("sink %s failed, next try in %.2f s: %r", self.sink.name, pause, error)
                await anyio.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY)
            else:
                self._confirmed += len(batch)
                break
        self._reached = batch[-1].timestamp
        self._advance(batch[-1].position or self._position)
        if self._position - self._saved >= _SAVE_EVERY:
            self.save_cursor()

    async def _shown(self, batch: list[AnyEvent]) -> list[AnyEvent]:
        """Return a batch as the sink may see it: the one place where every event on its way passes."""
        if self.subscription.reads_payloads:
            return await anyio.to_thread.run_sync(self.subscription.shown, batch, limiter=self._reader)
        return self.subscription.shown(batch)

    def _note_rejected(self, batch: list[AnyEvent], error: SinkRejected) -> None:
        self._rejected += len(batch)
        self._last_error = f"rejected: {error}"
        _logger.error("sink %s rejected %d events: %s", self.sink.name, len(batch), error)
        first, last = batch[0].position or 0, batch[-1].position or 0
        self._confirmations.refuse(first, last, self._last_error)

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        self._last_error = repr(error)

    def _advance(self, position: int) -> None:
        self._position = position
        self._confirmations.reach(position)

    async def _offer_to_sink(self, batch: list[AnyEvent]) -> None:
        try:
            await self.sink.write(tuple(batch))
        except anyio.get_cancelled_exc_class():
            # Is it this task that is cancelled, or something that the sink waited for?
            await anyio.lowlevel.checkpoint_if_cancelled()
            raise SinkUnavailable("cancelled from within") from None

    def save_cursor(self) -> None:
        """Have the writer's thread store how far the sink has come."""
        log, name, position = self._log, self.sink.name, self._position
        if self.sink.durable and isinstance(log, CursorStore):
            self._writer.call(lambda: log.save_cursor(name, position))
        self._saved = position
