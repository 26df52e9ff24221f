"""The command line: one subcommand a file, loaded when it is used.

Exit codes: 0 done or verified; 1 failed (bad evidence, a faulty log); 2 malformed input or wrong
usage; 3 incomplete, unverifiable, or not possible now (a log that is locked); 130 interrupted; 141
the output's reader has gone.

A command raises what is wrong, and `_Commands.invoke` alone makes of it an exit code and a line on
standard error. A command may also return an exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from textwrap import indent
from typing import Any, Final

import click

from evidence.command import FAILED, OK, UNSETTLED, USAGE, exit_code, guarded
from evidence.errors import EvidenceError
from evidence.printable import printable
from tracebus.errors import (
    AppendConflict,
    AppendUnknown,
    EventLogUnavailable,
    HoldStands,
    LogTruncated,
    TracebusError,
)

_COMMANDS: Final = {
    "demo": "see a workflow recorded, exported, verified, and a tampering caught",
    "import": "import recorded conversations as workflows",
    "workflows": "list the workflows of a log",
    "runs": "list the runs of a log",
    "abandon": "close runs that a dead process left open",
    "show": "show a workflow of a log or a bundle as a timeline, or which members are sensitive",
    "export": "export one workflow as a signed bundle",
    "redact": "pass a bundle on without some of what it shows",
    "verify": "verify a bundle with a public key",
    "anchor": "sign a checkpoint of a log, and bring it to places outside",
    "fsck": "re-derive every hash of a log, and name the first fault",
    "log": "checkpoints of a log: make, list, publish; a log that refuses to append",
    "verify-log": "verify a copy of a log against checkpoints that were kept elsewhere",
    "subject": "show everything that is held about one person",
    "erase": "erase what is recorded of a person, a workflow or an event, on the record",
    "retention": "erase what has been kept for long enough; show the policy",
    "hold": "place, lift and list legal holds, under which nothing is erased",
    "keygen": "make a key pair",
    "keys": "list, replace, retire and revoke keys; make a trust policy of them",
    "doctor": "examine the installation",
}


class _Commands(click.Group):
    """Loads a subcommand's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = "import_" if cmd_name == "import" else cmd_name.replace("-", "_")
        module = import_module(f"tracebus.cli.{name}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 (a mistake in our own table)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog line by line, as it stands."""
        formatter.write("\n" + indent(self.epilog or "", "  "))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand: the one place where errors become exit codes and messages."""
        ctx.exit(guarded(lambda: _attempt(lambda: super(_Commands, self).invoke(ctx))))


def _attempt(run: Callable[[], Any]) -> int:
    try:
        code = run()
    except click.ClickException:
        raise  # wrong usage: click prints it, with the command's usage line
    except click.Abort:  # a question that was not answered
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        raise
    except (EvidenceError, TracebusError, OSError) as error:
        click.secho(f"tracebus: {printable(_describe(error))}", fg="red", err=True)
        return _exit_code(error)
    return code if isinstance(code, int) else OK


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return str(error)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, LogTruncated | HoldStands):
        return FAILED
    is_unsettled = isinstance(error, EventLogUnavailable | AppendUnknown | AppendConflict)
    return UNSETTLED if is_unsettled else exit_code(error)


_EPILOG: Final = f"""Example: conversations in, one of them out as evidence, and checked by somebody else
  tracebus keygen treasury                          # treasury.key to sign, treasury.pub to verify
  tracebus import chat talks.jsonl.gz               # into trace.db, or --log FILE
  tracebus workflows                                # what is in the log
  tracebus show talk-7                              # one workflow, to read
  tracebus export talk-7 -o talk-7.json --key treasury.key
  tracebus verify talk-7.json --key treasury.pub --workflow talk-7

TRACEBUS_LOG names the event log where --log does not; without both it is trace.db.
NO_COLOR switches colours off.

Exit codes
  {OK}  done, or verified
  {FAILED}  failed: bad evidence, or a faulty log
  {USAGE}  malformed input, or wrong usage
  {UNSETTLED}  incomplete, unverifiable, or not possible now (a log that is locked)
"""


@click.group(
    "tracebus",
    cls=_Commands,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(None, "-V", "--version", package_name="tracebus")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Record what agents do as evidence; export a workflow as one signed file; verify it anywhere."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
