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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from tracebus.errors import SinkOverflow, SinkRejected, SinkUnavailable, SinkUnconfirmed
from tracebus.eventlog.base import AnyEvent, CursorStore, EventLog, EventQuery
from tracebus.overflow import Dropped
from tracebus.subscription import Subscription
from tracebus.upkeep import log_run
from tracebus.writer import Gate, LoopWaker, Writer

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


class _Confirmation:
    """A publisher's wait for a sink to reach a position; `refusal` says why it never will."""

    __slots__ = ("gate", "position", "refusal")

    def __init__(self, position: int) -> None:
        self.position = position
        self.gate = Gate()
        self.refusal: str | None = None


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
        self._dropped = Dropped(subscription)
        self._confirmations: list[_Confirmation] = []
        self._lock = threading.Lock()  # of what publishers wait for
        self._wake = anyio.Event()
        self._waker = LoopWaker()
        self._loop_thread = threading.get_ident()
        self._closing = False
        self._drained = anyio.Event()
        self._stopped = False

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

    def admit(self, *, blocking: bool) -> None:
        """Check, before an append, that the subscription lets it happen.

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

    async def confirm(self, events: Sequence[AnyEvent]) -> None:
        """Wait, after an append, for what the subscription says: the sink's confirmation, or its room.

        Raises:
            SinkUnconfirmed: A required sink has rejected an event, or not confirmed it in time.
        """
        confirmation = self._expect(events)
        if confirmation is None:
            return
        entry = confirmation.gate.entry()
        seconds = self.subscription.confirm_seconds if self.subscription.required else None
        with anyio.move_on_after(seconds):
            await entry.wait()
        self._check(confirmation, events, is_open=entry.is_set())

    def confirm_sync(self, events: Sequence[AnyEvent]) -> None:
        """Do as `confirm` in a thread, blocking it."""
        confirmation = self._expect(events)
        if confirmation is not None:
            seconds = self.subscription.confirm_seconds if self.subscription.required else None
            is_open = confirmation.gate.wait(seconds)
            self._check(confirmation, events, is_open=is_open)

    def _expect(self, events: Sequence[AnyEvent]) -> _Confirmation | None:
        """Return what a publisher of these events has to wait for, if it has to."""
        position = max((event.position or 0 for event in events), default=0)
        if not self.subscription.required:
            position -= self.subscription.buffer_events
        with self._lock:
            if position <= self._position:
                return None
            confirmation = _Confirmation(position)
            if self._stopped:
                confirmation.refusal = _CLOSED
                confirmation.gate.open()
            else:
                self._confirmations.append(confirmation)
        return confirmation

    def _check(self, confirmation: _Confirmation, events: Sequence[AnyEvent], *, is_open: bool) -> None:
        if not self.subscription.required:
            return
        refusal = confirmation.refusal
        if not is_open:
            refusal = f"not confirmed in {self.subscription.confirm_seconds} s"
            if self._last_error is not None:
                refusal += f"; last error: {self._last_error}"
        if refusal is not None:
            raise SinkUnconfirmed(self.sink.name, tuple(event.id for event in events), refusal)

    def _release(self, refusal: str | None = None, *, all_of_them: bool = False) -> None:
        """Let publishers go on whose position is reached."""
        with self._lock:
            reached = [
                waiting
                for waiting in self._confirmations
                if all_of_them or waiting.position <= self._position
            ]
            self._confirmations = [waiting for waiting in self._confirmations if waiting not in reached]
            for waiting in reached:
                waiting.refusal = refusal
                waiting.gate.open()

    # For the bus

    async def start(self) -> None:
        """Find where to begin: a durable sink at its cursor, another one at the end of the log."""
        self._position, self._stored = await anyio.to_thread.run_sync(self._find_start)
        self._saved = self._position

    def _find_start(self) -> tuple[int, int]:
        end = self._log.last_position()
        if not self.sink.durable or not isinstance(self._log, CursorStore):
            return end, end
        cursor = self._log.load_cursor(self.sink.name)
        return (0 if cursor is None else cursor), end

    def offer(self, events: list[AnyEvent]) -> None:
        """Take note of new events; called from the writer's thread, and never blocks."""
        if not events:
            return
        newest = max(event.position or 0 for event in events)
        if newest > self._stored:
            self._dropped.note_offer(self._stored + 1, newest, self._lag)
            self._stored = newest
        if len(self._buffer) + len(events) <= self.subscription.buffer_events:
            self._buffer.extend(event.copy() for event in events)
        self._waker.call_soon(self._notify)

    def _notify(self) -> None:
        self._wake.set()

    async def drain(self) -> None:
        """Have `run` return once everything stored so far is delivered, and wait for that.

        The cursor is for the caller to save, who has to do so also where this takes too long.
        """
        self._closing = True
        self._wake.set()
        await self._drained.wait()

    async def run(self) -> None:
        """Deliver until closed. Neither the sink nor the log can end it by failing."""
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

    def stop(self) -> None:
        """Store how far the sink has come, and let go who still waits for it; `run` has ended."""
        self._stopped = True
        self._release(_CLOSED, all_of_them=True)
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
            self._buffer.popleft()  # it came by the log already, or is a repeated publish
        if self._buffer and self._buffer[0].position == self._position + 1:
            return self._take_buffered()
        if self._position < self._stored:
            batch = await anyio.to_thread.run_sync(self._read)
            if batch:
                return batch
            self._advance(self._stored)
        return []

    def _skip(self) -> None:
        """Drop what the subscription says to drop; record it once the sink is back within its buffer."""
        position = self._dropped.skip(self._position, self._stored)
        if position > self._position:
            self._advance(position)
        self._record_drops()

    def _record_drops(self, *, is_last: bool = False) -> None:
        if self._dropped.has_begun:
            self._writer.alarm(self._dropped.alarm())
        if is_last or self._lag <= self.subscription.buffer_events // 2:
            gap = self._dropped.take_gap()
            if gap is not None:
                self._writer.append_later(log_run(gap))

    def _take_buffered(self) -> list[AnyEvent]:
        batch: list[AnyEvent] = []
        expected, size = self._position + 1, self._dropped.room(self._position, BATCH_EVENTS)
        while self._buffer and len(batch) < size and self._buffer[0].position == expected:
            batch.append(self._buffer.popleft())
            expected += 1
        return batch

    def _read(self) -> list[AnyEvent]:
        size = self._dropped.room(self._position, BATCH_EVENTS)
        return list(self._log.query(EventQuery(after=self._position, limit=size)))

    async def _write(self, batch: list[AnyEvent]) -> None:
        """Offer a batch until the sink takes or rejects it; wait longer after each failure."""
        pause, refusal = _FIRST_RETRY, None
        while True:
            try:
                await self._offer_to_sink(batch)
            except SinkRejected as error:
                self._rejected += len(batch)
                self._last_error = refusal = f"rejected: {error}"
                _logger.error("sink %s rejected %d events: %s", self.sink.name, len(batch), error)
                break
            except Exception as error:
                self._note_failure(error)
                _logger.warning("sink %s failed, next try in %.2f s: %r", self.sink.name, pause, error)
                await anyio.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY)
            else:
                self._confirmed += len(batch)
                break
        self._advance(batch[-1].position or self._position, refusal)
        if self._position - self._saved >= _SAVE_EVERY:
            self.save_cursor()

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        self._last_error = repr(error)

    def _advance(self, position: int, refusal: str | None = None) -> None:
        self._position = position
        if self._confirmations:
            self._release(refusal)

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
