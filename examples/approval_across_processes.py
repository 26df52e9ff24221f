"""Wait for a person in one process, and go on in another, days later perhaps.

    python examples/approval_across_processes.py

The first process asks for approval and ends. What it hands over is a few JSON members, here in a
file; in earnest, in the queue or the table in which requests wait for people.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

from tracebus import (
    ApprovalRequested,
    ApprovalResolved,
    EventQuery,
    SqliteEventLog,
    ToolExecuted,
    ToolProposed,
    TraceEventBus,
)


async def ask(log: SqliteEventLog) -> dict[str, Any]:
    """Propose a transfer, ask for approval, and suspend the run; return what the answer needs."""
    async with TraceEventBus(log) as bus, bus.run(workflow_id="transfer-42", agent_id="treasury") as run:
        await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"amount": "5000.00"}))
        requested = await bus.publish(
            ApprovalRequested(
                request_id="a1", call_id="c1", approvers=["treasury"], shown="Wire 5,000.00 EUR?"
            )
        )
        await run.suspend("approval a1")  # so that leaving the run does not end it
        return {"run": run.ref, "requested": requested.id, "shown": requested.member_digest("shown")}


async def answer(log: SqliteEventLog, waiting: dict[str, Any]) -> None:
    """Go on with the run: record who decided, act, and end the run."""
    async with TraceEventBus(log) as bus:
        run = await bus.resume_run(waiting["run"]["runId"], responder="approval-desk")
        with bus.bind(run):
            resolved = await bus.publish(
                ApprovalResolved(
                    request_id="a1",
                    call_id="c1",
                    actor="kim",
                    identity_source="session",
                    verdict="approved",
                    shown_digest=waiting["shown"],
                ),
                causes=[waiting["requested"]],
            )
            await bus.publish(ToolExecuted(tool="wire", call_id="c1", status="ok"), causes=[resolved])
        await run.finish()


def main(arguments: list[str]) -> None:
    match arguments:
        case ["ask", folder]:
            waiting = anyio.run(ask, SqliteEventLog(Path(folder, "trace.db")))
            Path(folder, "waiting.json").write_text(json.dumps(waiting))
        case ["answer", folder]:
            waiting = json.loads(Path(folder, "waiting.json").read_text())
            anyio.run(answer, SqliteEventLog(Path(folder, "trace.db")), waiting)
        case _:
            with tempfile.TemporaryDirectory() as folder:
                for step in ("ask", "answer"):
                    subprocess.run([sys.executable, __file__, step, folder], check=True)
                show(SqliteEventLog(Path(folder, "trace.db")))


def show(log: SqliteEventLog) -> None:
    for event in log.query(EventQuery(workflow_id="transfer-42")):
        print(event.seq, event.type)
    log.close()


if __name__ == "__main__":
    main(sys.argv[1:])
