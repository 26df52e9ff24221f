"""Say what the bus owes to each sink, and what may be lost when the log cannot be written.

python examples/when_things_fail.py
"""

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from sinks.jsonl import JsonlSink
from tracebus import (
    Alarm,
    EventLogUnavailable,
    EventQuery,
    ModelCallCompleted,
    SqliteEventLog,
    Subscription,
    ToolProposed,
    TraceEvent,
    TraceEventBus,
)


class Dashboard:
    """Shows the newest events, and is slower than they come."""

    name = "dashboard"
    durable = False

    async def write(self, batch: Sequence[TraceEvent[Any]]) -> None:
        """Take a batch."""
        await anyio.sleep(0.2)

    async def aclose(self) -> None:
        """Nothing to release."""


async def main(folder: Path) -> None:
    alarms: list[Alarm] = []
    log = SqliteEventLog(folder / "trace.db", wait_seconds=0.1)
    bus = TraceEventBus(
        log,
        sinks=[
            Subscription(JsonlSink(folder / "events.jsonl"), required=True),  # publish waits for it, too
            Subscription(Dashboard(), overflow="drop_oldest", buffer_events=20),  # dropped, and recorded
        ],
        fail_open={"model_call_completed"},  # may be lost; all others raise
        on_alarm=alarms.append,
    )
    async with bus, bus.run() as run:
        await bus.publish(ToolProposed(tool="wire"))
        lines = await anyio.Path(folder / "events.jsonl").read_text()
        print("in the copy when publish returned:", lines.count("\n"), "events")

        with sqlite3.connect(log.path, timeout=0, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")  # another program holds the log, and the bus gives up on it
            lost = await bus.publish(ModelCallCompleted(model="m", status="ok"))
            print("failed open, recorded:", lost.recorded)
            try:
                await bus.publish(ToolProposed(tool="wire"))
            except EventLogUnavailable:
                print("failed closed: not proposed, so nothing is to be executed")
            other.execute("ROLLBACK")

        for _ in range(50):
            await bus.publish(ToolProposed(tool="ping"))
    print("alarms:", sorted({alarm.kind for alarm in alarms}))
    print("dropped for the dashboard:", bus.metrics.sinks[1].dropped > 0)
    print("run:", [event.type for event in log.query(EventQuery(run_id=run.run_id, limit=4))])
    other.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        anyio.run(main, Path(name))
