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

    An event arrives in its committed form, without its sensitive members, so that a copy downstream
    holds none that has to be erased when the log erases it. What a sink gets to see beyond that, its
    `Subscription` says (``disclose=``), and the bus takes out the rest. ``event.to_wire()`` is the
    committed form always, ``event.to_wire(disclosed=True)`` has beside it what was disclosed to the sink.
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
