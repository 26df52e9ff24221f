"""What several subcommands share: the log to read, the tenant that is meant, tables and JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import Final

import click

from evidence.command import align
from evidence.printable import printable
from tracebus.eventlog import SqliteEventLog
from tracebus.times import to_timestamp


class PlainCommand(click.Command):
    """A command whose help is its docstring as it is written, line by line."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the docstring without filling its paragraphs again."""
        formatter.write(f"\n{indent(cleandoc(self.help or ''), '  ')}\n")


LOG_VARIABLE: Final = "TRACEBUS_LOG"

log_option = click.option(
    "--log",
    "log_path",
    metavar="FILE",
    default="trace.db",
    envvar=LOG_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="The event log.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
tenant_option = click.option("--tenant", metavar="T", help="The workflow's tenant.")
no_tenant_option = click.option("--no-tenant", is_flag=True, help="The workflow of this id without a tenant.")


_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def time_of(text: str, option: str) -> str:
    """Return a time that somebody gave as headers have it; a day stands for its midnight, UTC.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        return to_timestamp(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError as error:
        raise click.BadParameter(printable(error), param_hint=option) from None


@contextmanager
def writing(path: str) -> Iterator[SqliteEventLog]:
    """Open a log for writing, and make it where there is none."""
    if not Path(path).absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder for {click.format_filename(path)}", param_hint="--log")
    try:
        log = SqliteEventLog(path)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--log") from None
    with closing(log):
        log.open()
        yield log


@contextmanager
def reading(path: str) -> Iterator[SqliteEventLog]:
    """Open a log that is there to read it."""
    check_is_there(path)
    with closing(SqliteEventLog(path, read_only=True)) as log:
        log.open()
        yield log


def check_is_there(path: str) -> None:
    """Check that there is a log; none is made, nor is an empty file taken for one."""
    if not Path(path).is_file() or not Path(path).stat().st_size:
        raise click.BadParameter(
            f"there is no event log {click.format_filename(path)}; name another, "
            f"in {LOG_VARIABLE} if you like, or make one: tracebus import chat FILE",
            param_hint="--log",
        )


def check_can_ask(*, as_json: bool) -> None:
    """Check that somebody is there to be asked before anything is erased.

    Raises:
        click.UsageError: Nobody is.
    """
    if as_json or sys.stdin is None or not sys.stdin.isatty():  # None: it was closed
        raise click.UsageError(
            "nobody can be asked here: look with --dry-run what would go, and then add --yes"
        )


def confirm_erasing() -> bool:
    """Ask whether what was shown is to be erased."""
    return click.confirm("Erase this? It cannot be undone")


def which_tenant(log: SqliteEventLog, workflow_id: str, tenant: str | None, no_tenant: bool) -> str | None:
    """Return the tenant of the workflow that is meant.

    Raises:
        click.UsageError: The log has none that would fit; or several tenants have a workflow of this
            id, and none was named.
    """
    if tenant is not None and no_tenant:
        raise click.UsageError("--tenant and --no-tenant exclude each other")
    tenants = {run.tenant_id for run in log.runs(workflow_id=workflow_id)}
    if tenant is not None or no_tenant:
        tenants &= {tenant}
    if not tenants:
        of = f" of tenant {tenant}" if tenant is not None else " without a tenant" if no_tenant else ""
        raise click.UsageError(
            printable(f"the log has no workflow {workflow_id}{of}; tracebus workflows lists what it has")
        )
    if len(tenants) > 1:
        several = f"several tenants have a workflow {workflow_id}; choose {tenant_choices(tenants)}"
        raise click.UsageError(printable(several))
    (found,) = tenants
    return found


def tenant_choices(tenants: Collection[str | None]) -> str:
    """Return the options that choose one of these tenants."""
    choices = [f"--tenant {name}" for name in sorted(name for name in tenants if name is not None)]
    return " or ".join(choices + ["--no-tenant"] * (None in tenants))


def echo_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table for people; an absent value is a dash."""
    lines = align(headings, [["-" if cell is None else cell for cell in row] for row in rows])
    click.secho(next(lines), bold=True)
    for line in lines:
        click.echo(line)


def echo_json_array(values: Iterable[object]) -> None:
    """Print a JSON array, a line an item, in ASCII, so that no terminal takes it for a command."""
    separator = "[\n"
    for value in values:
        click.echo(separator + json.dumps(value).replace("\x7f", "\\u007f"), nl=False)
        separator = ",\n"
    click.echo("[]" if separator == "[\n" else "\n]")


def seconds_of(timestamp: str) -> str:
    """Return a header's timestamp to the second, as tables show it."""
    return timestamp[:19] + "Z"


@contextmanager
def progress_bar(label: str, unit: str = "events") -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error while the work lasts, if that is a terminal.

    The function takes what is done so far, and all there is to do.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
