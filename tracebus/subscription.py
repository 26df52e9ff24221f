"""What a bus promises about a sink: whether publish waits for it, and what it gets to see, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import orjson

from evidence.disclosure import locate, parse_disclosure, referenced
from evidence.errors import EvidenceError
from evidence.pattern import Paths, Pattern, parse_patterns
from tracebus.eventlog.base import AnyEvent
from tracebus.patterns import check_types
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
_EVERYTHING: Final = "*:*"


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
        disclose: Which sensitive members the sink gets to see, as patterns (`evidence.pattern`):
            ``("tool_executed:result",)``, or ``("*:*",)`` for all. The bus takes the disclosures of all
            others out of the events before the sink gets them, on every way to it: by default the sink
            gets the committed form, and no copy of it holds a sensitive member that would have to be erased
            there, too. Payloads without them, and headers, it gets whole. What stands below a member that
            is not disclosed is not disclosed either.

    Raises:
        TypeError: `disclose` is one text in place of several.
        ValueError: An argument is out of its range, a pattern names no member, or names a type that there is
            not.
    """

    sink: Sink
    required: bool = False
    confirm_seconds: float = 10.0
    overflow: Overflow = "catch_up"
    buffer_events: int = BUFFER_EVENTS
    disclose: Sequence[str] = ()
    _patterns: tuple[Pattern, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.overflow not in get_args(Overflow):
            raise ValueError(f"overflow: expected one of {get_args(Overflow)}, found {self.overflow!r:.80}")
        if self.required and self.drops:
            raise ValueError(f"overflow: {self.overflow} would drop what a required sink has to confirm")
        if self.buffer_events < 1 or self.confirm_seconds <= 0:
            raise ValueError("buffer_events, confirm_seconds: expected more than 0")
        patterns = parse_patterns(self.disclose)
        for pattern in patterns:
            if pattern.steps is None:
                raise ValueError(f"disclose: expected type:member, found {pattern.text!r:.80}")
        check_types(patterns)
        object.__setattr__(self, "disclose", tuple(pattern.text for pattern in patterns))
        object.__setattr__(self, "_patterns", patterns)

    @property
    def is_attended(self) -> bool:
        """Whether publish has to look at how the sink is doing."""
        return self.required or self.overflow in ("block", "error")

    @property
    def drops(self) -> bool:
        """Whether events may be dropped for this sink."""
        return self.overflow in ("drop_oldest", "drop_newest")

    @property
    def reads_payloads(self) -> bool:
        """Whether payloads have to be read to tell what the sink may see of them."""
        return bool(self._patterns) and not self._discloses_all

    @property
    def _discloses_all(self) -> bool:
        return any(pattern.text == _EVERYTHING for pattern in self._patterns)

    def shown(self, batch: Sequence[AnyEvent]) -> list[AnyEvent]:
        """Return events as the sink may see them, as objects of their own."""
        if not self._patterns:
            return [event.showing(()) for event in batch]
        if self._discloses_all:
            return [event.copy() for event in batch]
        return [event.showing(self._disclosed(event) if event.disclosures else ()) for event in batch]

    def _disclosed(self, event: AnyEvent) -> tuple[str, ...]:
        """Return the disclosures that patterns mean, and whose parents they mean, too; of damage, none."""
        paths = Paths.of(self._patterns, event.type)
        if not paths or event.payload_json is None:
            return ()
        try:
            payload = orjson.loads(event.payload_json)
            held = [parse_disclosure(text, "disclosure") for text in event.disclosures]
        except (EvidenceError, ValueError):
            return ()
        meant = [located.disclosure for located in locate(payload, held) if paths.match(located.path)]
        return tuple(disclosure.text for disclosure in referenced(payload, meant))
