"""A runtime that publishes until it is killed: eight tasks, a run each, and a durable sink.

    python publisher.py LOG SINK

It writes the id of each event to standard output when publish has returned it, and nothing else.
"""

import os
import sys

import anyio

from sinks.jsonl import JsonlSink
from tracebus import SqliteEventLog, ToolExecuted, TraceEventBus


async def work(bus: TraceEventBus) -> None:
    """Publish into a run of its own, for ever."""
    run = await bus.start_run()
    while True:
        event = await bus.publish(
            ToolExecuted(tool="wire", status="ok", result={"state": "x" * 100}), run=run
        )
        os.write(1, f"{event.id}\n".encode())


async def main() -> None:
    """Publish from eight tasks."""
    log, sink = sys.argv[1:]
    sinks = [JsonlSink(sink, name="out")] if sink else []
    async with TraceEventBus(SqliteEventLog(log), sinks) as bus, anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(work, bus)


if __name__ == "__main__":
    anyio.run(main)
