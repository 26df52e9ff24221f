"""Write a sink of your own: events go to it once they are durable, at its own pace.

    python examples/own_sink.py

It gets no sensitive members of events, so none has to be erased from it later, unless it is subscribed with
what it may see: `Subscription(Pager(), disclose=["policy_violation:*"])`.

Test yours with `tracebus.testing.SinkContract`: subclass it, say how to make the sink and what it
received, and pytest checks what every sink has to do.
"""

from collections.abc import Sequence
from typing import Any

import anyio

from tracebus import (
    MemoryEventLog,
    PolicyViolation,
    SinkUnavailable,
    ToolProposed,
    TraceEvent,
    TraceEventBus,
)


class Pager:
    """Tells people of policy violations."""

    name = "pager"  # by which its cursor is kept
    durable = True  # after a restart it gets what it missed

    def __init__(self) -> None:
        self.told: list[str] = []
        self.line_is_busy = True

    async def write(self, batch: Sequence[TraceEvent[Any]]) -> None:
        """Take a batch. Whatever is raised here delays neither publishers nor other sinks."""
        if self.line_is_busy:
            self.line_is_busy = False
            raise SinkUnavailable("the line is busy")  # the batch is offered again
        for event in batch:
            if event.type == "policy_violation":
                self.told.append(f"{event.payload.policy}: {event.payload.status}")

    async def aclose(self) -> None:
        """Nothing to release."""


async def main() -> None:
    pager = Pager()
    async with TraceEventBus(MemoryEventLog(), sinks=[pager]) as bus, bus.run():
        await bus.publish(ToolProposed(tool="delete_customer"))
        await bus.publish(PolicyViolation(policy="no-deletions", status="blocked", severity="high"))
    # Leaving the bus has waited for the sink, up to drain_timeout seconds.
    print("told:", pager.told)
    assert pager.told == ["no-deletions: blocked"]


if __name__ == "__main__":
    anyio.run(main)
