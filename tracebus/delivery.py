"""Delivery: one sink's own buffer, task and cursor.

The writer offers each batch to every delivery, which never blocks: what does not fit into the buffer
is left in the log, and read from there when the sink has caught up with what came before. So a
delivery's memory is bounded, and nothing is dropped: the log is the outbox.

A durable sink's cursor, the position that it has confirmed, is kept in the log where the log can
(`CursorStore`); such a sink gets, after a restart, whatever it has not confirmed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from tracebus.errors import SinkRejected, SinkUnavailable
from tracebus.eventlog.base import AnyEvent, CursorStore, EventLog, EventQuery
from tracebus.sink import Sink
from tracebus.writer import LoopWaker

BUFFER_EVENTS: Final = 4096
BATCH_EVENTS: Final = 256
_FIRST_RETRY: Final = 0.05
_LAST_RETRY: Final = 30.0
_READ_RETRY: Final = 1.0
_QUIET: Final = 1.0

_logger = logging.getLogger("tracebus.delivery")


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """How a sink is doing: events confirmed, rejected and waiting, and failures to write."""

    sink: str
    position: int
    confirmed: int
    rejected: int
    failures: int
    lag: int


class Delivery:
    """Brings events to one sink, in order, at least once.

    Args:
        sink: The sink.
        log: The log that the events are in.
        in_writer: Has the writer's thread call a function; cursors are saved there.
    """

    def __init__(self, sink: Sink, log: EventLog, in_writer: Callable[[Callable[[], object]], None]) -> None:
        self.sink = sink
        self._log = log
        self._in_writer = in_writer
        self._buffer: deque[AnyEvent] = deque()
        self._position = 0
        self._saved = 0
        self._stored = 0
        self._confirmed = 0
        self._rejected = 0
        self._failures = 0
        self._wake = anyio.Event()
        self._waker = LoopWaker()
        self._closing = False
        self._drained = anyio.Event()

    @property
    def status(self) -> DeliveryStatus:
        """How the sink is doing now."""
        lag = max(0, self._stored - self._position)
        return DeliveryStatus(
            self.sink.name, self._position, self._confirmed, self._rejected, self._failures, lag
        )

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
        self._stored = max(self._stored, *(event.position or 0 for event in events))
        if len(self._buffer) + len(events) <= BUFFER_EVENTS:
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
                self._failures += 1
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
        while self._buffer and (self._buffer[0].position or 0) <= self._position:
            self._buffer.popleft()  # it came by the log already, or is a repeated publish
        if self._buffer and self._buffer[0].position == self._position + 1:
            return self._take_buffered()
        if self._position < self._stored:
            batch = await anyio.to_thread.run_sync(self._read)
            if batch:
                return batch
            self._position = self._stored
        return []

    def _take_buffered(self) -> list[AnyEvent]:
        batch: list[AnyEvent] = []
        expected = self._position + 1
        while self._buffer and len(batch) < BATCH_EVENTS and self._buffer[0].position == expected:
            batch.append(self._buffer.popleft())
            expected += 1
        return batch

    def _read(self) -> list[AnyEvent]:
        return list(self._log.query(EventQuery(after=self._position, limit=BATCH_EVENTS)))

    async def _write(self, batch: list[AnyEvent]) -> None:
        """Offer a batch until the sink takes or rejects it; wait longer after each failure."""
        pause = _FIRST_RETRY
        while True:
            try:
                await self._offer_to_sink(batch)
            except SinkRejected as error:
                self._rejected += len(batch)
                _logger.error("sink %s rejected %d events: %s", self.sink.name, len(batch), error)
                break
            except Exception as error:
                self._failures += 1
                _logger.warning("sink %s failed, next try in %.2f s: %r", self.sink.name, pause, error)
                await anyio.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY)
            else:
                self._confirmed += len(batch)
                break
        self._position = batch[-1].position or self._position
        if self._position - self._saved >= BUFFER_EVENTS:
            self.save_cursor()

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
            self._in_writer(lambda: log.save_cursor(name, position))
        self._saved = position
