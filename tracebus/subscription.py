"""What a bus promises about a sink: whether publish waits for it, and what happens when it falls behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from tracebus.sink import Sink

Overflow = Literal["catch_up", "block", "error", "drop_oldest", "drop_newest"]
"""A full buffer's choice.

===============  ==================================================================================
``catch_up``     the sink gets the rest from the log later; publish goes on
``block``        publish waits, after the append, until the sink is back within its buffer
``error``        publish raises `SinkOverflow` before the append
``drop_oldest``  the sink skips to the newest events that fit into the buffer
``drop_newest``  the sink finishes what is in the buffer, and skips what came meanwhile
===============  ==================================================================================
"""

BUFFER_EVENTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Subscription:
    """A sink, and what the bus promises about it (ADR 0009).

    Args:
        sink: The sink.
        required: Publish returns when the sink has confirmed the event, too. If it has not after
            `confirm_seconds`, publish raises `SinkUnconfirmed`, and the event is durable all the same.
        confirm_seconds: How long publish waits for a required sink.
        overflow: What happens when the sink has more than `buffer_events` events to go.
        buffer_events: How many events are kept in memory for the sink.

    Raises:
        ValueError: An argument is out of its range.
    """

    sink: Sink
    required: bool = False
    confirm_seconds: float = 10.0
    overflow: Overflow = "catch_up"
    buffer_events: int = BUFFER_EVENTS

    def __post_init__(self) -> None:
        if self.overflow not in get_args(Overflow):
            raise ValueError(f"overflow: expected one of {get_args(Overflow)}, found {self.overflow!r:.80}")
        if self.required and self.drops:
            raise ValueError(f"overflow: {self.overflow} would drop what a required sink has to confirm")
        if self.buffer_events < 1 or self.confirm_seconds <= 0:
            raise ValueError("buffer_events, confirm_seconds: expected more than 0")

    @property
    def is_attended(self) -> bool:
        """Whether publish has to look at how the sink is doing."""
        return self.required or self.overflow in ("block", "error")

    @property
    def drops(self) -> bool:
        """Whether events may be dropped for this sink."""
        return self.overflow in ("drop_oldest", "drop_newest")
