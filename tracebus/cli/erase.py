"""``tracebus erase``: erase what is recorded of a person, a workflow or an event, on the record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import click

from evidence.command import OK, UNSETTLED, to_json
from evidence.pattern import Pattern, parse_patterns
from evidence.printable import printable
from tracebus.cli._actor import actor_option, identify
from tracebus.cli._common import (
    PlainCommand,
    check_can_ask,
    check_is_there,
    confirm_erasing,
    json_option,
    log_option,
    reading,
    tenant_choices,
    which_tenant,
    writing,
)
from tracebus.cli._erasure_report import COPIES, describe, describe_held, describe_scrub, facts, some
from tracebus.erasure_plan import ErasurePlan, ErasureReport, erase, plan_erasure, scrub
from tracebus.erasure_request import ErasureRequest
from tracebus.eventlog import ANY_TENANT, EventQuery, SqliteEventLog
from tracebus.events import RunStarted
from tracebus.holds import WorkflowKey
from tracebus.patterns import check_types


@click.command("erase", cls=PlainCommand)
@click.option("--user", metavar="U", help="The runs that were started for this person.")
@click.option("--workflow", metavar="W", help="This workflow.")
@click.option(
    "--event", "events", multiple=True, metavar="ID", help="This event; may be given several times."
)
@click.option("--tenant", metavar="T", help="The tenant of the workflow or the user.")
@click.option("--no-tenant", is_flag=True, help="The workflow or the user without a tenant.")
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Only these sensitive members; may be given several times.",
)
@click.option("--payloads", is_flag=True, help="Whole payloads, too; those that tell what was decided stay.")
@click.option("--reason", metavar="TEXT", help="Why, in one line; it stays in the log.")
@click.option("--legal-basis", metavar="TEXT", help="Law or contract, such as 'GDPR Art. 17(1)(b)'.")
@click.option("--request-id", metavar="R", help="The request or ticket that asked for it.")
@actor_option
@click.option("--dry-run", is_flag=True, help="Show what would go, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--finish", is_flag=True, help="Remove from the files what an erasure before had to leave there."
)
@log_option
@json_option
def command(
    user: str | None,
    workflow: str | None,
    events: tuple[str, ...],
    tenant: str | None,
    no_tenant: bool,
    only: tuple[str, ...],
    payloads: bool,
    reason: str | None,
    legal_basis: str | None,
    request_id: str | None,
    actor: str | None,
    dry_run: bool,
    yes: bool,
    finish: bool,
    log_path: str,
    as_json: bool,
) -> int:
    """Erase what is recorded of a person, a workflow or an event, and record that it was erased.

    What goes are the sensitive members; one counts once, with those within it. Headers, hashes, verdicts
    and approvals stay, so the chain, and bundles that were made before, still verify. All of it goes, or
    nothing. Who erased it, why and what is recorded in each workflow, as data_erased, which its bundles
    show from then on.

    What stands in the clear in a payload stays, and is listed: --payloads takes whole payloads, too; with
    --event of any type.

    Examples:
      tracebus erase --user u-91 --dry-run
      tracebus erase --user u-91 --reason 'asked for by the person concerned'
          --legal-basis 'GDPR Art. 17(1)(b)' --request-id DSR-204
      tracebus erase --workflow talk-7 --only 'tool_*:result/customer' --reason … --legal-basis …
      tracebus erase --event 01KAJ2… --payloads --reason 'a password in a prompt' --legal-basis …

    --user goes by the log's index of whom a run was started for; what other runs say of the person,
    `tracebus subject` finds. A PATTERN is type:member, or a path of members such as tool_*:result/**/email,
    and means what stands below, too; a type alone means all of it.

    What a legal hold covers is not erased: `tracebus hold list`. The log's file is then written anew,
    which takes room for a second copy, and writers wait for it. If somebody reads meanwhile, or the disk is
    full, the exit code is 3; then, and if it was interrupted, `tracebus erase --finish` makes up for it.

    Exit codes: 0 done, or nothing to erase; 1 a hold stands; 2 wrong usage, no such workflow, user or
    event, or no member that a PATTERN fits; 3 not now. A user who was erased is one of whom nothing is
    known: 2, as for an id that is misspelled.
    """
    check_is_there(log_path)
    if finish:
        if user or workflow or events or only or payloads or dry_run:
            raise click.UsageError("--finish stands by itself: it erases nothing more")
        return _finish(log_path, as_json)
    if tenant is not None and no_tenant:
        raise click.UsageError("--tenant and --no-tenant exclude each other")
    if events and (tenant is not None or no_tenant):
        raise click.UsageError("--tenant and --no-tenant go with --user and --workflow: an id is one event's")
    if not dry_run and (reason is None or legal_basis is None):
        raise click.UsageError("expected --reason and --legal-basis: the record of the erasure keeps them")
    if not (dry_run or yes):
        check_can_ask(as_json=as_json)
    who, source = identify(actor)
    opened: AbstractContextManager[SqliteEventLog] = reading(log_path) if dry_run else writing(log_path)
    with opened as log:
        try:
            request = ErasureRequest(
                actor=who,
                reason="dry run" if reason is None else reason,
                legal_basis=legal_basis,
                request_id=request_id,
                identity_source=source,
                workflow=_workflow(log, workflow, tenant, no_tenant),
                user_id=user,
                tenant_id=_tenant_of_user(log, user, tenant, no_tenant),
                event_ids=events,
                only=_patterns(only),
                payloads=payloads,
            )
            plan = plan_erasure(log, request)
        except ValueError as error:
            raise click.UsageError(printable(error)) from None
        _check_found(plan)
        if dry_run:
            return _print_plan(plan, as_json)
        if not (yes or plan.is_empty):
            _echo(describe(plan, "would be erased"))
            if not confirm_erasing():
                click.echo("nothing was erased")
                return OK
        report = erase(log, request)
    return _print_report(report, as_json)


def _check_found(plan: ErasurePlan) -> None:
    """Refuse a user without runs, and patterns none of which fits anything: both may be slips."""
    user = plan.request.user_id
    if user is not None and not plan.runs and plan.is_empty:
        reason = (
            f"no run in the log was started for user {user}: the id is spelled otherwise, or its userId was "
            "erased already; what is left then, --workflow finds"
        )
        raise click.UsageError(printable(reason))
    only = {pattern.text for pattern in plan.request.only}
    if only and only == set(plan.unmatched):
        reason = f"no sensitive member here fits {some(plan.unmatched)}; {describe_held(plan)}"
        raise click.BadParameter(reason, param_hint="--only")


def _workflow(
    log: SqliteEventLog, workflow: str | None, tenant: str | None, no_tenant: bool
) -> WorkflowKey | None:
    if workflow is None:
        return None
    return WorkflowKey(workflow, which_tenant(log, workflow, tenant, no_tenant))


def _tenant_of_user(
    log: SqliteEventLog, user: str | None, tenant: str | None, no_tenant: bool
) -> str | object | None:
    """Return the tenant of the person who is meant: two tenants may have different users of one id.

    Raises:
        click.UsageError: Several tenants have a user of this id, and none was named.
    """
    if user is None:
        return ANY_TENANT
    if tenant is not None or no_tenant:
        return tenant
    runs = log.query(EventQuery(user_id=user, types=(RunStarted.type,)))
    tenants = {event.tenant_id for event in runs}
    if len(tenants) > 1:
        raise click.UsageError(
            printable(f"several tenants have a user {user}; choose {tenant_choices(tenants)}")
        )
    return tenants.pop() if tenants else ANY_TENANT


def _patterns(texts: Sequence[str]) -> tuple[Pattern, ...]:
    try:
        patterns = parse_patterns(texts)
        check_types(patterns)
    except ValueError as error:
        is_member = any(":" not in text for text in texts)
        hint = "; a member of events of any type is written *:member" if is_member else ""
        raise click.BadParameter(printable(f"{error}{hint}"), param_hint="--only") from None
    return patterns


def _finish(log_path: str, as_json: bool) -> int:
    with writing(log_path) as log:
        reason = scrub(log)
    if as_json:
        click.echo(to_json({"scrubbed": reason is None, "notScrubbed": reason}))
    else:
        _echo(describe_scrub(reason))
    return OK if reason is None else UNSETTLED


def _print_plan(plan: ErasurePlan, as_json: bool) -> int:
    if as_json:
        click.echo(to_json(facts(plan)))
    else:
        _echo(describe(plan, "would be erased"))
    return OK


def _print_report(report: ErasureReport, as_json: bool) -> int:
    if as_json:
        records = [event.id for event in report.records]
        scrubbed = {"scrubbed": report.not_scrubbed is None, "notScrubbed": report.not_scrubbed}
        click.echo(to_json(facts(report.plan) | {"records": records} | scrubbed))
    else:
        _echo(describe(report.plan, "erased"))
        if report.records:
            click.echo(f"recorded as {some([event.id for event in report.records])}")
        _echo(describe_scrub(report.not_scrubbed))
        click.echo(COPIES)
    return OK if report.not_scrubbed is None else UNSETTLED


def _echo(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)
