"""Sinks: where events go once they are in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tracebus.eventlog.base import AnyEvent


@runtime_checkable
class Sink(Protocol):
    """Receives events that the event log has stored.

    Events of one run arrive in the order of seq, each at least once; after a restart some may arrive
    again, with the same id. Nothing is promised about the order between runs. A batch is never empty,
    and the next one is offered when `write` has returned. A slow sink, or one that fails, delays
    neither publishers nor other sinks.

    A sink decides itself what it passes on of sensitive members: ``event.to_wire()`` is the committed
    form, which holds none; ``event.to_wire(opened=True)`` holds them all. Let the committed form be
    the default, so that copies downstream hold nothing that must be erased later.
    """

    @property
    def name(self) -> str:
        """A name, unique in a bus, by which a durable sink's cursor is kept."""
        ...

    @property
    def durable(self) -> bool:
        """Whether it wants the events that were stored while it was away, from its cursor on."""
        ...

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        """Take a batch; return when the sink has done with it what it promises to its users.

        Raises:
            SinkUnavailable: Not now; the batch is offered again, later and later. So it is on any
                other exception.
            SinkRejected: Never; the batch is passed over, and counted.
        """
        ...

    async def aclose(self) -> None:
        """Release what the sink holds; nothing is written afterwards."""
        ...
