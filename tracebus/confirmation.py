"""Confirmations: a publisher's wait for a sink that publish waits for (ADR 0009)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import anyio

from tracebus.errors import SinkUnconfirmed
from tracebus.eventlog.base import AnyEvent
from tracebus.gate import Gate
from tracebus.subscription import Subscription


class Confirmations:
    """The publishers that wait for one sink.

    They are added by the writer's thread and let go by the sink's own task. No lock is taken, for a
    handler of signals may publish in the midst of either: each is let go by whoever takes it out.

    Args:
        subscription: What publishers wait for.
        last_error: Returns what went wrong with the sink last.
    """

    def __init__(self, subscription: Subscription, last_error: Callable[[], str | None]) -> None:
        self.subscription = subscription
        self.last_error = last_error
        self.position = 0
        self._refusal: str | None = None
        self._waiting: dict[Confirmation, bool] = {}

    def add(self, confirmation: Confirmation) -> None:
        """Have a publisher wait, unless it need not any more."""
        self._waiting[confirmation] = True
        if self._refusal is not None:
            self._let_go(confirmation, self._refusal)
        elif confirmation.last <= self.position:
            self._let_go(confirmation)

    def remove(self, confirmation: Confirmation) -> bool:
        """Take out a publisher that waits; return False if it does not, or not any more."""
        return self._waiting.pop(confirmation, False)

    def reach(self, position: int) -> None:
        """Let go who waits for the sink to come this far."""
        self.position = position
        for confirmation in list(self._waiting):
            if confirmation.last <= position:
                self._let_go(confirmation)

    def refuse(self, first: int, last: int, refusal: str) -> None:
        """Let go who waits for one of these positions: the sink will never confirm them all."""
        for confirmation in list(self._waiting):
            if confirmation.first <= last and first <= confirmation.last:
                self._let_go(confirmation, refusal)

    def close(self, refusal: str) -> None:
        """Let go who waits, now and from now on."""
        self._refusal = refusal
        for confirmation in list(self._waiting):
            self._let_go(confirmation, refusal)

    def _let_go(self, confirmation: Confirmation, refusal: str | None = None) -> None:
        if self.remove(confirmation):
            confirmation.let_go(refusal)


class Confirmation:
    """A publisher's wait for one sink: for its confirmation where it is required, else for its room.

    Args:
        confirmations: Those who wait for the sink.
    """

    __slots__ = ("_confirmations", "_deadline", "_event_ids", "_gate", "_refusal", "first", "last")

    def __init__(self, confirmations: Confirmations) -> None:
        self._confirmations = confirmations
        self._gate: Gate | None = None
        self._refusal: str | None = None
        self._event_ids: tuple[str, ...] = ()
        self._deadline = 0.0
        self.first = self.last = 0

    def expect(self, events: Sequence[AnyEvent]) -> None:
        """Begin to wait; called in the writer's thread when events are stored, before any sink has them."""
        subscription = self._confirmations.subscription
        positions = [event.position or 0 for event in events]
        if subscription.required:
            positions = [position for position in positions if position > self._confirmations.position]
        elif subscription.overflow == "block":
            positions = [max(positions) - subscription.buffer_events]
        else:
            return
        if positions:
            self.first, self.last = min(positions), max(positions)
            self._event_ids = tuple(event.id for event in events)
            self._deadline = time.monotonic() + subscription.confirm_seconds
            self._gate = Gate()
            self._confirmations.add(self)

    def let_go(self, refusal: str | None) -> None:
        """Have the publisher go on; with a refusal it is told that the sink has not confirmed."""
        self._refusal = refusal
        if self._gate is not None:
            self._gate.open()

    async def wait(self) -> None:
        """Wait for what was begun to wait for, if anything was.

        Raises:
            SinkUnconfirmed: A required sink has rejected an event, or not confirmed it in time.
        """
        if self._gate is not None:
            entry = self._gate.entry()
            with anyio.move_on_after(self._seconds_left()):
                await entry.wait()
            self._check(is_open=entry.is_set())

    def wait_sync(self) -> None:
        """Do as `wait` in a thread, blocking it."""
        if self._gate is not None:
            self._check(is_open=self._gate.wait(self._seconds_left()))

    def forget(self) -> None:
        """Wait no more."""
        self._confirmations.remove(self)

    def _seconds_left(self) -> float | None:
        if not self._confirmations.subscription.required:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def _check(self, *, is_open: bool) -> None:
        subscription = self._confirmations.subscription
        refusal = self._refusal
        if not is_open:
            refusal = f"not confirmed in {subscription.confirm_seconds} s"
            if last_error := self._confirmations.last_error():
                refusal += f"; last error: {last_error}"
        if refusal is not None and subscription.required:
            raise SinkUnconfirmed(subscription.sink.name, self._event_ids, refusal)
