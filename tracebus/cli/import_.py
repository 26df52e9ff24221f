"""``tracebus import``: records that others made, taken over as workflows."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from evidence.command import to_json
from evidence.printable import printable
from tracebus.bus import TraceEventBus
from tracebus.cli._common import PlainCommand, json_option, log_option, progress_bar, writing
from tracebus.importers.chat import ImportSummary, Progress, import_chat
from tracebus.secret_scanner import DEFAULT_SCANNER
from tracebus.sensitivity import Sensitivity


@click.group("import")
def command() -> None:
    """Import recorded conversations as workflows."""


@command.command("chat", cls=PlainCommand)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@log_option
@click.option(
    "--sensitive",
    multiple=True,
    metavar="PATTERN",
    help="What is sensitive besides what models and people wrote; may be given several times.",
)
@click.option(
    "--plain",
    multiple=True,
    metavar="PATTERN",
    help="What is not sensitive, though its type says so; may be given several times.",
)
@click.option("--no-secret-scan", is_flag=True, help="Record credentials as they stand in the file.")
@json_option
def chat(
    file: Path,
    log_path: str,
    sensitive: tuple[str, ...],
    plain: tuple[str, ...],
    no_secret_scan: bool,
    as_json: bool,
) -> None:
    """Import OpenAI chat messages: JSON Lines, plain or gzip, one conversation a line.

    A line
      {"conversation": "talk-7", "messages": [{"role": "user", "content": "..."}, ...]}

    Each conversation becomes the workflow of that id, each user's message begins a turn. What the
    file does not say, such as times, models and outcomes, is not made up. The same file again adds
    nothing, and completes an import that was interrupted.

    A malformed line ends the import: it is named, and the conversations before it stay.

    What is sensitive can be withheld and erased later, piece by piece: all content, and the "user"
    of a conversation. --sensitive makes pieces of their own of members within arguments, which are
    parsed; a tool's result is text, and one piece. --plain leaves in the clear what it names, but
    for what --sensitive means, or may mean in a text that holds JSON. Credentials are masked, and
    each place recorded, unless --no-secret-scan is given.

    Examples:
      tracebus import chat talks.jsonl.gz --log trace.db
      tracebus import chat talks.jsonl --plain 'tool_*:/arguments' --sensitive '*:email' --sensitive '*:dob'
    """
    if not file.is_file():
        raise click.BadParameter(f"there is no file {click.format_filename(file)}", param_hint="FILE")
    try:
        Sensitivity(sensitive, plain)
    except ValueError as error:
        raise click.UsageError(printable(str(error))) from None
    with writing(log_path) as log, progress_bar("importing", "bytes") as show:
        scanner = None if no_secret_scan else DEFAULT_SCANNER
        bus = TraceEventBus(log, sensitive=sensitive, plain=plain, secret_scanner=scanner)
        summary = anyio.run(_import, bus, file, show)
    click.echo(to_json(summary.to_dict()) if as_json else _report(summary, log_path))


async def _import(bus: TraceEventBus, file: Path, progress: Progress) -> ImportSummary:
    async with bus:
        return await import_chat(bus, file, progress=progress)


def _report(summary: ImportSummary, log_path: str) -> str:
    lines = [
        f"{summary.source}: {summary.conversations} conversations, {summary.messages} messages",
        f"added      {summary.events} events to {log_path}",
        f"workflows  {summary.imported} new, {summary.present} there already, "
        f"{summary.completed} completed after an interrupted import",
    ]
    if not summary.conversations:
        lines.append("nothing was added: the file holds no conversation")
    elif not summary.events:
        lines.append("nothing was added: this file is in the log already")
    if summary.shortened:
        lines.append(
            f"note       {summary.shortened} values were too large: their beginning and digest are kept"
        )
    lines.append("next: tracebus workflows")
    return "\n".join(map(printable, lines))
