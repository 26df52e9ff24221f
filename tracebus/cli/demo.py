"""``tracebus demo``: payments, the evidence of them, and attempts to cheat; see `tracebus.demo`."""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evidence.command import FAILED, OK, Request, to_json
from evidence.command import verify as verify_request
from evidence.printable import printable
from tracebus.cli._common import PlainCommand, json_option

if TYPE_CHECKING:
    from tracebus.demo.attempts import Attempt
    from tracebus.demo.story import Outcome
    from tracebus.eventlog.base import AnyEvent

_WIDTH = 100


@click.command("demo", cls=PlainCommand)
@click.option("--keep", metavar="DIR", help="Put the files into this new folder, not into a temporary one.")
@click.option("--discard", is_flag=True, help="Delete the files in the end.")
@json_option
def command(keep: str | None, discard: bool, as_json: bool) -> int:
    """Record payments, export one as evidence, verify it, and try eight ways to cheat.

    An agent's choices and a person's answer are scripted; no model is called, no network used. The
    ledger, the event log, the keys, the bundle and the attempts are real, and stay in a folder that
    the demo names, so that you can look into them yourself.

    Exit codes: 0 the bundle was verified, and every attempt noticed; 1 something was not.

    Example:
      tracebus demo --keep demo
    """
    from tracebus.demo.story import tell

    if keep is not None and discard:
        raise click.UsageError("--keep and --discard exclude each other")
    folder = _make_folder(keep)
    try:
        outcome = tell(folder)
        if as_json:
            click.echo(to_json(_to_dict(outcome)))
        else:
            _print(outcome, discard)
    finally:
        if discard:
            shutil.rmtree(folder)
    return OK if outcome.ok else FAILED


def _make_folder(keep: str | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="tracebus-demo-"))
    folder = Path(keep)
    try:
        folder.mkdir()
    except FileExistsError:
        raise click.BadParameter(f"{keep} exists; name a new folder", param_hint="--keep") from None
    return folder


# For people


def _print(outcome: Outcome, discard: bool) -> None:
    click.secho("Three payments, the evidence of one of them, and who tries to cheat", bold=True)
    _say(
        "No model is called: the agent's choices, and the person's answer, are scripted. The ledger, the "
        "log, the keys and the attempts are real. Digests are shortened here; --json has them whole."
    )
    _print_payments(outcome)
    _print_unrecorded(outcome)
    _print_verification(outcome)
    _print_less(outcome)
    _print_forgotten(outcome)
    _print_attempts(outcome.attempts)
    _print_end(outcome, discard)


def _print_payments(outcome: Outcome) -> None:
    _heading(1, "An agent pays invoices. Each step is on the disk before the next is taken")
    for workflow_id, events in outcome.payments.items():
        click.secho(f"\n   {workflow_id}", bold=True)
        for event in events:
            line = _line(event)
            if line is not None:
                click.echo(_shorten(f"   {event.seq:>3}  {event.type:<19}{line}"))
    click.echo()
    for transfer in outcome.transfers:
        paid = f"{transfer.cents / 100:,.2f} EUR to {transfer.payee}"
        _say(f"ledger: {paid}, allowed by event {transfer.allowed_by}")
    fits = "as the log says" if outcome.fits_the_ledger else "which is NOT what the log says"
    _say(f"ledger: {outcome.balance / 100:,.2f} EUR of 100,000.00 are left, {fits}")


def _line(event: AnyEvent) -> str | None:
    """Return an event in words, or None for those that only frame the others."""
    said = event.opened()
    match event.type:
        case "tool_proposed":
            asked = said["arguments"]
            return f"{event.agent_id} wants to pay {asked['amount']} EUR to {asked['payee']}"
        case "policy_decision":
            return (
                f"{said['policy']} v{said['version']}, {said['rule']}: {said['decision']}, {said['reason']}"
            )
        case "approval_requested":
            return f"{', '.join(said['approvers'])} is asked: {said['shown']['question']}"
        case "approval_resolved":
            who = f"{said['actor']}, {said['actorRole']}"
            return f"{said['verdict']} by {who}; identity {said['identitySource']}, unchecked"
        case "tool_executed":
            return "paid" if said["status"] == "ok" else f"{said['status']}: not paid"
    return None


def _print_unrecorded(outcome: Outcome) -> None:
    _heading(2, "What cannot be recorded is not done")
    _say("A fourth payment, 75.00 EUR, while the log cannot be written. Before any money moves:")
    _result(outcome.unrecorded is not None, "stopped", outcome.unrecorded or "it was paid all the same")


def _print_verification(outcome: Outcome) -> None:
    _heading(3, "payment-1881 leaves as one signed file, and is verified with the public key alone")
    bundle, key = outcome.folder / "payment-1881.json", outcome.folder / "treasury.pub"
    click.echo(
        "   $ tracebus verify payment-1881.json --key treasury.pub --workflow payment-1881 --tenant acme"
    )
    report = io.StringIO()
    with redirect_stdout(report):
        verify_request(Request(str(bundle), str(key), workflow="payment-1881", tenant="acme"))
    for number, line in enumerate(report.getvalue().splitlines()):
        click.secho(_shorten(f"   {line}".rstrip()), fg="green" if number == 0 else None)
    _print_approval(outcome)


def _print_approval(outcome: Outcome) -> None:
    approval = next(event for event in outcome.report.events if event.type == "approval_resolved")
    said = approval.payload or {}
    click.echo()
    _say(f"who approved: {said['actor']}, {said['actorRole']}: {said['reason']}")
    if outcome.approver_saw is None:
        _result(False, "", "what was shown is not what the approval names")
    else:
        _say(f"who was shown: {outcome.approver_saw['question']}")
        _say("the approval names that by its digest, and the bundle shows it")


def _print_less(outcome: Outcome) -> None:
    _heading(4, "Not all has to be shown, and what is not shown is counted")
    withheld, passed_on = outcome.withheld, outcome.passed_on
    from tracebus.demo.story import DISCLOSED

    _say("exported without any sensitive member: verdicts, the approver and the order of events remain:")
    count = f"{withheld.shown.withheld_disclosures} members withheld by the signer, who says why"
    _result(withheld.verdict == "verified", withheld.verdict, f"{count}: {DISCLOSED.reason}")
    _say("shown whole to somebody who passes it on without the arguments of the tool calls:")
    count = f"{passed_on.shown.removed_disclosures} members removed after signing; the signature still holds"
    _result(passed_on.verdict == "verified", passed_on.verdict, count)


def _print_forgotten(outcome: Outcome) -> None:
    _heading(5, "What is erased is gone, on the record, and everything else still verifies")
    forgotten = outcome.forgotten
    erased = forgotten.later.shown.erased_disclosures
    _say("in a copy of the log, Blume Office Supply, who was paid in payment-1882, asks to be forgotten:")
    found = f"{forgotten.before} times in the bytes of the file before, {forgotten.after} times after"
    _result(forgotten.after == 0 < forgotten.before, "erased", found)
    _result(
        forgotten.is_sound, "fsck", "every hash and link of that log still holds", bad="FSCK FOUND A FAULT"
    )
    _result(forgotten.earlier.verdict == "verified", forgotten.earlier.verdict, "the bundle from before")
    later = f"a bundle made after: {erased} members erased, and the event that says by whom and why"
    _result(forgotten.later.verdict == "verified", forgotten.later.verdict, later)


def _print_attempts(attempts: list[Attempt]) -> None:
    _heading(6, "Attempts to cheat, and what noticed them")
    for letter, attempt in zip("abcdefghijklmnop", attempts, strict=False):
        _say(f"{letter}  {attempt.what}", hanging=3)
        found = f"{attempt.kind}: {attempt.finding}" if attempt.kind else attempt.finding
        _result(attempt.caught, f"   {attempt.noticed_by}", found, bad="   NOT NOTICED")


def _print_end(outcome: Outcome, discard: bool) -> None:
    caught = sum(attempt.caught for attempt in outcome.attempts)
    click.echo()
    summary = (
        f"The bundle was {outcome.report.verdict}; {caught} of {len(outcome.attempts)} attempts were noticed."
    )
    click.secho(summary, fg="green" if outcome.ok else "red", bold=True)
    _say(
        "Attempt c shows a limit: fsck finds nothing in a log that was rewritten whole. Only what was kept "
        "elsewhere, here the workflow head that the first bundle had, shows it.",
        indent="",
    )
    if discard:
        return
    click.echo("\nEverything is still there; look into it:")
    for line in _suggestions(outcome.folder):
        click.echo(f"   {line}")


def _suggestions(folder: Path) -> Iterator[str]:
    program = _program()
    yield f"cd {click.format_filename(folder.absolute())}"
    yield f"{program} show payment-1881 --log trace.db"
    yield f"{program} verify payment-1881.json --key treasury.pub"
    yield f"{program} fsck --log attempts/approver-changed.db"
    yield f"{program} verify attempts/tail-cut.json --key treasury.pub"
    yield f"{program} show payment-1882 --log forgotten.db"


def _program() -> str:
    """Return how to call us from anywhere: by name, if that finds us, else by path."""
    beside = Path(sys.executable).with_name("tracebus")
    if shutil.which("tracebus"):
        return "tracebus"
    return str(beside) if beside.exists() else f"{sys.executable} -m tracebus"


def _heading(number: int, text: str) -> None:
    click.secho(f"\n{number}. {text}", bold=True)


def _say(text: str, indent: str = "   ", hanging: int = 0) -> None:
    wrapped = textwrap.wrap(
        _shorten(text), _WIDTH, initial_indent=indent, subsequent_indent=indent + " " * hanging
    )
    for line in wrapped:
        click.echo(line)


def _result(good: bool, mark: str, text: str, bad: str = "") -> None:
    """Print an outcome, its first words in colour."""
    mark = mark if good else bad or mark
    indent = "   " + " " * (len(mark) - len(mark.lstrip()))
    first, *others = textwrap.wrap(
        _shorten(f"{mark.strip()}: {text}"), _WIDTH, initial_indent=indent, subsequent_indent=indent + "  "
    )
    word = indent + mark.strip()
    click.echo(click.style(word, fg="green" if good else "red", bold=True) + first[len(word) :])
    for line in others:
        click.echo(line)


def _shorten(text: str) -> str:
    """Return text with its digests and key ids cut short."""
    return printable(re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1…", text))


# For programs


def _to_dict(outcome: Outcome) -> dict[str, Any]:
    return {
        "ok": outcome.ok,
        "folder": str(outcome.folder),
        "ledger": {
            "balance": outcome.balance,
            "transfers": [line._asdict() for line in outcome.transfers],
            "fitsTheLog": outcome.fits_the_ledger,
        },
        "unrecorded": outcome.unrecorded,
        "report": outcome.report.to_dict(),
        "approverSaw": outcome.approver_saw,
        "withheld": outcome.withheld.to_dict()["shown"],
        "passedOn": outcome.passed_on.to_dict()["shown"],
        "forgotten": {
            "before": outcome.forgotten.before,
            "after": outcome.forgotten.after,
            "isSound": outcome.forgotten.is_sound,
            "earlier": outcome.forgotten.earlier.to_dict()["shown"],
            "later": outcome.forgotten.later.to_dict()["shown"],
        },
        "attempts": [
            {
                "what": attempt.what,
                "file": str(attempt.file.relative_to(outcome.folder)),
                "caught": attempt.caught,
                "noticedBy": attempt.noticed_by,
                "kind": attempt.kind,
                "finding": attempt.finding,
            }
            for attempt in outcome.attempts
        ],
    }
