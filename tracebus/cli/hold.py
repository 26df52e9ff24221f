"""``tracebus hold``: legal holds, under which nothing is erased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from evidence.command import to_json
from evidence.printable import counted, printable
from tracebus.cli._actor import actor_option, identify
from tracebus.cli._common import (
    PlainCommand,
    check_is_there,
    echo_json_array,
    echo_table,
    json_option,
    log_option,
    reading,
    seconds_of,
    time_of,
    which_tenant,
    writing,
)
from tracebus.eventlog import ANY_TENANT, AnyEvent, EventLog, EventQuery
from tracebus.events import LegalHoldChanged
from tracebus.holds import Extent, Hold, StandingHolds, WorkflowKey, lift_hold, place_hold
from tracebus.upkeep import LOG_WORKFLOW


@click.group("hold")
def command() -> None:
    """Place, lift and list legal holds: what one covers is not erased, by anybody, for any reason.

    A hold is an event of the log; what stands is what was placed and not lifted since.
    """


@command.command("set", cls=PlainCommand, short_help="place a hold")
@click.argument("hold", metavar="HOLD")
@click.option(
    "--workflow",
    "workflows",
    multiple=True,
    metavar="W",
    help="Over this workflow; may be given several times.",
)
@click.option("--user", metavar="U", help="Over the workflows that have runs for this person.")
@click.option("--tenant", metavar="T", help="Of this tenant; by itself: over all of its workflows.")
@click.option("--no-tenant", is_flag=True, help="With --workflow: the workflow of this id without a tenant.")
@click.option("--whole-log", is_flag=True, help="Over everything in the log.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, in one line; it stays in the log.")
@click.option("--matter", metavar="TEXT", help="The case, claim or investigation that it serves.")
@click.option("--review-at", metavar="TIME", help="When to look at it again, such as 2027-01-31.")
@actor_option
@log_option
@json_option
def set_(
    hold: str,
    workflows: tuple[str, ...],
    user: str | None,
    tenant: str | None,
    no_tenant: bool,
    whole_log: bool,
    reason: str,
    matter: str | None,
    review_at: str | None,
    actor: str | None,
    log_path: str,
    as_json: bool,
) -> None:
    """Place a legal hold. Until it is lifted nothing that it covers is erased, retention included.

    HOLD is its id, of your choosing. A hold over a person, a tenant or the whole log also covers what is
    recorded later. One over a person covers whole workflows, since not every run says whom it is for.

    Examples:
      tracebus hold set claim-17 --user u-91 --matter 'claim 17' --reason 'counsel asked for it'
      tracebus hold set audit-3 --workflow transfer-42 --workflow refund-7 --reason 'audit 3'
      tracebus hold set acme --tenant acme --reason 'tender under dispute' --review-at 2027-01-31

    A hold is not a secret: whoever reads the log, or the bundle of a held workflow, sees it. HOLD, reason
    and matter stay when it is lifted, so name no person in them; the user's id can be erased then.
    """
    _check_scope(workflows, user, tenant, no_tenant, whole_log)
    who, source = identify(actor)
    change = LegalHoldChanged(
        hold_id=hold,
        change="placed",
        actor=who,
        identity_source=source,
        reason=reason,
        matter=matter,
        tenant_id=None if workflows else tenant,
        user_id=user,
        review_at=None if review_at is None else time_of(review_at, "--review-at"),
    )
    check_is_there(log_path)
    with writing(log_path) as log:
        keys = [WorkflowKey(name, which_tenant(log, name, tenant, no_tenant)) for name in workflows]
        events = _attempt(lambda: place_hold(log, change, list(dict.fromkeys(keys))))
        holds = StandingHolds(log)
        placed = holds.find(hold)
        if placed is None:
            lifted = (
                f"hold {hold} was placed, as {', '.join(_ids(events))}, and lifted by somebody right then"
            )
            raise click.ClickException(printable(f"{lifted}; it does not stand"))
        (covered,) = _covered(log, holds, [placed])
        is_known = user is None or _is_known(log, user, tenant)
    if not is_known:
        told = f"note: no run in the log was started for user {user} so far"
        click.secho(printable(told), fg="yellow", err=True)
    if as_json:
        click.echo(to_json({**_facts(placed, covered), "records": _ids(events)}))
        return
    now = "nothing that is in the log yet" if covered == 0 else f"{counted(covered, 'workflow')} now"
    later = "" if workflows else ", and what is recorded later"
    click.echo(printable(f"hold {hold} stands over {_extents(placed)}: {now}{later}"))
    click.echo(f"recorded as {', '.join(_ids(events))}")


@command.command("lift", cls=PlainCommand, short_help="end a hold")
@click.argument("hold", metavar="HOLD")
@click.option("--reason", required=True, metavar="TEXT", help="Why, in one line; it stays in the log.")
@actor_option
@log_option
@json_option
def lift(hold: str, reason: str, actor: str | None, log_path: str, as_json: bool) -> None:
    """End a legal hold, on the record: what it covered may be erased again, unless another one covers it.

    Example:
      tracebus hold lift claim-17 --reason 'settled, counsel released it on 4 May'
    """
    who, source = identify(actor)
    change = LegalHoldChanged(
        hold_id=hold, change="released", actor=who, identity_source=source, reason=reason
    )
    check_is_there(log_path)
    with writing(log_path) as log:
        events = _attempt(lambda: lift_hold(log, change))
    if as_json:
        click.echo(to_json({"holdId": hold, "records": _ids(events)}))
        return
    click.echo(printable(f"hold {hold} is lifted; recorded as {', '.join(_ids(events))}"))


@command.command("list", cls=PlainCommand, short_help="list the holds that stand")
@log_option
@json_option
def list_(log_path: str, as_json: bool) -> None:
    """List the legal holds that stand, what each covers, and how many workflows that is now.

    In JSON isReadable is false where the record of a hold cannot be read in full, because a newer release
    wrote it or something of it is gone: it then covers the whole log.

    Example:
      tracebus hold list
    """
    with reading(log_path) as log:
        standing = StandingHolds(log)
        holds = list(standing)
        covered = _covered(log, standing, holds)
    if as_json:
        echo_json_array(map(_facts, holds, covered))
    elif holds:
        echo_table(
            ("hold", "placed", "by", "reason", "matter", "over", "workflows", "review"),
            [
                (
                    hold.hold_id,
                    seconds_of(hold.placed_at),
                    hold.actor,
                    hold.reason,
                    hold.matter,
                    _extents(hold),
                    count,
                    hold.review_at and seconds_of(hold.review_at),
                )
                for hold, count in zip(holds, covered, strict=True)
            ],
        )
    else:
        click.echo("no holds stand")


def _check_scope(
    workflows: Sequence[str], user: str | None, tenant: str | None, no_tenant: bool, whole_log: bool
) -> None:
    named = bool(workflows) + (user is not None) + whole_log
    if named > 1 or (named == 0 and tenant is None) or (whole_log and tenant is not None):
        raise click.UsageError("expected one of --workflow, --user, --tenant and --whole-log")
    if no_tenant and not workflows:
        raise click.UsageError("--no-tenant goes with --workflow")


def _attempt(change: Callable[[], list[AnyEvent]]) -> list[AnyEvent]:
    try:
        return change()
    except ValueError as error:
        raise click.UsageError(printable(error)) from None


def _is_known(log: EventLog, user: str, tenant: str | None) -> bool:
    """Tell whether some run was started for a person, of a tenant where one is named."""
    query = EventQuery(user_id=user, tenant_id=ANY_TENANT if tenant is None else tenant, limit=1)
    return next(iter(log.query(query)), None) is not None


def _ids(events: Sequence[AnyEvent]) -> list[str]:
    return [event.id for event in events]


def _covered(log: EventLog, standing: StandingHolds, holds: Sequence[Hold]) -> list[int]:
    """Return how many workflows each of these holds covers now."""
    if not holds:
        return []
    workflows = {WorkflowKey(run.workflow_id, run.tenant_id) for run in log.runs()}
    covering = Counter(hold.hold_id for key in workflows - {_OWN} for hold in standing.all_over(key))
    return [covering[hold.hold_id] for hold in holds]


_OWN: Final = WorkflowKey(LOG_WORKFLOW, None)


def _extents(hold: Hold) -> str:
    listed = ", ".join(map(str, hold.extents))
    return listed if hold.is_readable else f"{listed} (its record cannot be read in full: tracebus fsck)"


def _facts(hold: Hold, covered: int) -> dict[str, Any]:
    return {
        "holdId": hold.hold_id,
        "placedAt": hold.placed_at,
        "actor": hold.actor,
        "reason": hold.reason,
        "matter": hold.matter,
        "reviewAt": hold.review_at,
        "isReadable": hold.is_readable,
        "over": [_extent_facts(extent) for extent in hold.extents],
        "coveredWorkflows": covered,
    }


def _extent_facts(extent: Extent) -> dict[str, str | None]:
    if extent.workflow is not None:
        return {"workflowId": extent.workflow.workflow_id, "tenantId": extent.workflow.tenant_id}
    return {"userId": extent.user_id, "tenantId": extent.tenant_id}
