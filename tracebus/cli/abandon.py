"""``tracebus abandon``: close runs that nobody will go on with."""

from __future__ import annotations

import anyio
import click

from tracebus.bus import TraceEventBus
from tracebus.cli._common import PlainCommand, check_is_there, log_option, writing
from tracebus.eventlog import SqliteEventLog


@click.command("abandon", cls=PlainCommand)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", help="Why; the run's terminal event says so.")
@log_option
def command(runs: tuple[str, ...], reason: str | None, log_path: str) -> None:
    """Close runs whose process died, or that nobody will resume.

    Each gets its terminal event, with the outcome "abandoned"; nothing can follow it. A run that is
    still at work somewhere is stopped by this: what it publishes next is refused.

    Example:
      tracebus runs --open
      tracebus abandon run-7f3a --reason "the worker died on Friday"
    """
    check_is_there(log_path)
    with writing(log_path) as log:
        anyio.run(_abandon, log, runs, reason)
    for run in runs:
        click.echo(f"{run}: closed as abandoned")


async def _abandon(log: SqliteEventLog, runs: tuple[str, ...], reason: str | None) -> None:
    async with TraceEventBus(log) as bus:
        for run_id in runs:
            await bus.abandon_run(run_id, reason=reason)
