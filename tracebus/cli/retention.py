"""``tracebus retention``: how long what is kept, and erasing what has been kept for long enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from evidence.command import OK, UNSETTLED, align, to_json
from evidence.printable import counted, printable
from tracebus.cli._actor import actor_option, identify
from tracebus.cli._common import (
    PlainCommand,
    check_can_ask,
    check_is_there,
    confirm_erasing,
    json_option,
    log_option,
    progress_bar,
    reading,
    seconds_of,
    time_of,
    writing,
)
from tracebus.cli._erasure_report import COPIES, clear_facts, describe_clear, describe_scrub
from tracebus.cli._retention_policy import policy_option, read_policy
from tracebus.retention import RetentionReport, Tally, apply_retention, rehearse_retention
from tracebus.retention_policy import FOREVER, RetentionPolicy


@click.group("retention")
def command() -> None:
    """Erase what has been kept for long enough, on the record; show the policy that says how long.

    A policy says by event type and tenant how long sensitive members, and how long whole payloads are kept,
    counted from the end of the run. Without one, sensitive members go after 13 months, and payloads stay.
    """


@command.command("show", cls=PlainCommand, short_help="print a policy")
@policy_option
@json_option
def show(policy_path: str | None, as_json: bool) -> None:
    """Print a retention policy, as TOML, to save and edit; schemas/retention-policy-v1.md explains it.

    A file is checked first: what is wrong in it is refused, and what is hardly meant is noted.

    Examples:
      tracebus retention show > retention.toml
      tracebus retention show --policy retention.toml --json
    """
    policy = read_policy(policy_path)
    if as_json:
        click.echo(to_json(_policy_to_json(policy)))
        return
    for line in policy.text.splitlines():
        click.echo(printable(line))


def _policy_to_json(policy: RetentionPolicy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "digest": policy.digest,
        "rules": [
            {
                "types": [pattern.type for pattern in rule.types],
                "tenantId": rule.tenant_id,
                "members": str(rule.members or FOREVER),
                "payloads": str(rule.payloads or FOREVER),
                "legalBasis": rule.legal_basis,
            }
            for rule in policy.rules
        ],
    }


@command.command("apply", cls=PlainCommand, short_help="erase what is due")
@policy_option
@click.option("--dry-run", is_flag=True, help="Show what would go, and change nothing.")
@click.option("--now", metavar="TIME", help="With --dry-run: what would go at this time, or on this day.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@actor_option
@log_option
@json_option
def apply(
    policy_path: str | None,
    dry_run: bool,
    now: str | None,
    yes: bool,
    actor: str | None,
    log_path: str,
    as_json: bool,
) -> int:
    """Erase what a retention policy does not keep any longer, and record it, as retention_applied.

    What goes are sensitive members, and, where the policy says so, whole payloads. Headers, hashes,
    verdicts and approvals stay, so the chain, and bundles that were made before, still verify. Runs that
    have not ended are passed over, and so is what a legal hold covers. A member counts once, with those
    within it. What stands in the clear goes only with a payload: --dry-run lists what is left so.

    Run it from time to time, such as every night. If it is interrupted, run it again: what is erased is
    recorded, and the rest is found. The log's file is then written anew, which takes room for a second
    copy, and writers wait for it.

    Examples:
      tracebus retention apply --dry-run --policy retention.toml
      tracebus retention apply --dry-run --policy retention.toml --now 2027-12-31
      tracebus retention apply --policy retention.toml --actor 'nightly job' --yes

    Exit codes: 0 done, or nothing is due; 2 wrong usage, or no such policy; 3 not now, or the files still
    hold what was erased, for somebody is reading: tracebus erase --finish.
    """
    policy = read_policy(policy_path)
    if now is not None and not dry_run:
        raise click.UsageError("--now is for rehearsals: add --dry-run")
    if not (dry_run or yes):
        check_can_ask(as_json=as_json)
    check_is_there(log_path)
    if dry_run:
        at = None if now is None else time_of(now, "--now")
        return _print(_rehearse(log_path, policy, at), as_json)
    if not yes and not _confirmed(_rehearse(log_path, policy, None)):
        click.echo("nothing was erased")
        return OK
    who, _ = identify(actor)
    with writing(log_path) as log, progress_bar("erasing what is due") as show_progress:
        total = log.last_position()
        try:
            report = apply_retention(
                log, policy, actor=who, progress=lambda seen: show_progress(seen, max(seen, total))
            )
        except ValueError as error:
            raise click.UsageError(printable(error)) from None
    return _print(report, as_json)


def _confirmed(report: RetentionReport) -> bool:
    """Ask whether what is due is to be erased, if anything is."""
    if not report.erased.events:
        return True
    _echo(_describe(report))
    return confirm_erasing()


def _rehearse(log_path: str, policy: RetentionPolicy, now: str | None) -> RetentionReport:
    with reading(log_path) as log, progress_bar("looking for what is due") as show_progress:
        total = log.last_position()
        return rehearse_retention(
            log, policy, at=now, progress=lambda seen: show_progress(seen, max(seen, total))
        )


def _print(report: RetentionReport, as_json: bool) -> int:
    if as_json:
        click.echo(to_json(_to_json(report)))
    else:
        _echo(_describe(report))
        if report.erased.events and not report.is_rehearsal:
            click.echo(f"recorded in {counted(report.records, 'event')} retention_applied")
            _echo(describe_scrub(report.not_scrubbed))
            click.echo(COPIES)
    return OK if report.not_scrubbed is None else UNSETTLED


def _describe(report: RetentionReport) -> Iterator[str]:
    """Yield what is due by which rule, and what is passed over and why."""
    rows = [
        (part.rule, part.what, part.period, part.cutoff[:10], *_cells(part.erased)) for part in report.periods
    ]
    if rows:
        headings = ("rule", "period of", "period", "runs ended before", "events", "members", "payloads")
        yield from align(headings, rows)
    what = "would be erased" if report.is_rehearsal else "erased"
    nothing = "nothing to erase" if report.held else "nothing is due"
    told = f"{_amount(report.erased)} {what}" if report.erased.events else nothing
    yield f"{told} by policy {report.policy.name}, as of {seconds_of(report.at)}"
    if report.open_runs:
        yield f"{counted(report.open_runs, 'run')} passed over, for time counts from a run's end"
    for hold_id, tally in report.held.items():
        yield f"{_amount(tally)} due and not erased: hold {hold_id} stands"
    yield from describe_clear(report.in_clear, "a period for payloads, in a policy, takes these payloads")


def _cells(tally: Tally) -> tuple[int, int, int]:
    return tally.events, tally.members, tally.payloads


def _amount(tally: Tally) -> str:
    parts = [counted(tally.members, "sensitive member")] if tally.members or not tally.payloads else []
    parts += [counted(tally.payloads, "whole payload")] if tally.payloads else []
    return f"{' and '.join(parts)} of {counted(tally.events, 'event')}"


def _to_json(report: RetentionReport) -> dict[str, Any]:
    return {
        "policy": report.policy.name,
        "digest": report.policy.digest,
        "at": report.at,
        "isRehearsal": report.is_rehearsal,
        "periods": [
            {
                "rule": part.rule,
                "what": part.what,
                "period": str(part.period),
                "cutoff": part.cutoff,
                **_tally_to_json(part.erased),
            }
            for part in report.periods
        ],
        "erased": _tally_to_json(report.erased),
        "held": {hold_id: _tally_to_json(tally) for hold_id, tally in report.held.items()},
        "openRuns": report.open_runs,
        "inTheClear": clear_facts(report.in_clear),
        "recordCount": report.records,
        "scrubbed": report.not_scrubbed is None and not report.is_rehearsal,
        "notScrubbed": report.not_scrubbed,
    }


def _tally_to_json(tally: Tally) -> dict[str, int]:
    return {"events": tally.events, "members": tally.members, "payloads": tally.payloads}


def _echo(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(printable(line))
