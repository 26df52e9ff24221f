"""``tracebus subject``: everything that is held about one person."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from evidence.command import to_json
from evidence.printable import counted, printable
from tracebus.cli._common import (
    PlainCommand,
    json_option,
    log_option,
    progress_bar,
    reading,
    tenant_choices,
)
from tracebus.cli._retention_policy import policy_option, read_policy
from tracebus.cli._subject_text import print_view
from tracebus.eventlog import ANY_TENANT
from tracebus.files import whole_file
from tracebus.subject import SubjectView, subject_view
from tracebus.subject_document import Counted, count_to_json, is_document, write_document

_OWNER_ONLY = 0o600


@click.command("subject", cls=PlainCommand)
@click.argument("user", metavar="USER")
@log_option
@click.option("--tenant", metavar="T", help="Only what this tenant's workflows hold.")
@click.option("--no-tenant", is_flag=True, help="Only what workflows without a tenant hold.")
@click.option(
    "--mention",
    "mentions",
    multiple=True,
    metavar="TEXT",
    help="Also events of other runs with this text in them; may be given several times.",
)
@policy_option
@click.option("--full", is_flag=True, help="Print what each event says, too.")
@click.option("-o", "--output", metavar="FILE", help="Write all of it into a JSON file of your own.")
@json_option
def command(
    user: str,
    log_path: str,
    tenant: str | None,
    no_tenant: bool,
    mentions: tuple[str, ...],
    policy_path: str | None,
    full: bool,
    output: str | None,
    as_json: bool,
) -> None:
    """Show everything that is held about one person, as a request of access asks for (GDPR Art. 15).

    USER is the id that runs were started for: bus.run(user_id=…). The log's index knows these runs and no
    others. Of their workflows it shows what is held, with the sensitive members in the clear, what was
    erased and why, who was given bundles, which legal holds stand, and until when it is kept: by the
    default retention policy, or that of --policy. A sensitive member counts once, with those within it;
    what stands in the clear beside them is named. Other runs of these workflows are named, too, and
    lifted holds that still name the person.

    What is said of the person in other runs, --mention finds: a name, an e-mail address, a user id. It
    reads the whole log. Case does not matter; the text has to stand in one value.

    What comes out may hold data of other people, too: of a colleague who approved something, of whoever
    else is in a document. Look through it before you hand it over.

    Nothing is recorded in the log, and nothing in it is changed. -o FILE is readable by you alone.

    Examples:
      tracebus subject u-91
      tracebus subject u-91 --mention marta@example.org --mention 'Marta Böll' -o u-91.json
      tracebus subject u-91 --tenant acme --full | less
    """
    if tenant is not None and no_tenant:
        raise click.UsageError("--tenant and --no-tenant exclude each other")
    if full and (as_json or output):
        raise click.UsageError("--full is for text: JSON has all of it")
    path = None if output is None else _target(output)
    policy = read_policy(policy_path)
    with reading(log_path) as log:
        tenant_id = tenant if tenant is not None or no_tenant else ANY_TENANT
        try:
            view = subject_view(log, user, tenant_id=tenant_id, mentions=mentions, policy=policy)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--mention") from None
        _check(view)
        if path is not None:
            with whole_file(path, _OWNER_ONLY) as file:
                written = _write(view, lambda text: file.write(text.encode()))
                _check_replaceable(path)  # it may have come meanwhile
            _report_file(path, view, written, as_json)
        elif as_json:
            _write(view, lambda text: click.echo(text, nl=False))
        else:
            with _searching(view) as progress:
                print_view(view, progress, full=full)


def _check(view: SubjectView) -> None:
    """Refuse a user whom the log does not know, and one id that may be two persons."""
    if not (view.workflows or view.mentions or view.holds or view.past_holds):
        of = "" if view.tenant_id is ANY_TENANT else f" of {_tenant_name(view.tenant_id)}"
        raise click.UsageError(
            printable(
                f"no run in this log was started for {view.user_id}{of}. It may be spelled otherwise; its "
                "userId may have been erased; or the log only speaks of the person: search for a name or an "
                f"address with --mention TEXT"
            )
        )
    tenants = {workflow.tenant_id for workflow in view.workflows}
    if len(tenants) > 1:
        raise click.UsageError(
            printable(
                f"several tenants have runs for {view.user_id}, which may be as many persons; "
                f"choose {tenant_choices(tenants)}"
            )
        )


def _tenant_name(tenant_id: object) -> str:
    return "no tenant" if tenant_id is None else f"tenant {tenant_id}"


def _target(output: str) -> Path:
    """Return the file that the document goes to; refuse what may not be replaced."""
    path = Path(os.path.realpath(output))
    _check_replaceable(path)
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint="--output")
    return path


def _check_replaceable(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode) or not is_document(path):
            reason = f"{path} is there, and is no such document: it is not replaced; name another file"
            raise click.BadParameter(reason, param_hint="--output")


def _write(view: SubjectView, write: Callable[[str], object]) -> Counted:
    with _searching(view) as progress:
        return write_document(view, write, progress)


@contextmanager
def _searching(view: SubjectView) -> Iterator[Callable[[int], object]]:
    """Show how far the log was searched for mentions, if it is searched."""
    if not view.mentions:
        yield lambda position: None
        return
    total = view.log.last_position()
    with progress_bar("searching") as show:
        yield lambda position: show(position, max(position, total))


def _report_file(path: Path, view: SubjectView, written: Counted, as_json: bool) -> None:
    if as_json:
        facts = count_to_json(written.held) | {"mentions": written.mentions}
        click.echo(to_json({"file": str(path), "workflows": len(view.workflows)} | facts))
        return
    parts = [counted(len(view.workflows), "workflow"), counted(written.held.events, "event")]
    parts += [f"{counted(written.mentions, 'mention')} in other runs"] if view.mentions else []
    click.echo(printable(f"{path.name}: {', '.join(parts)}; readable by you alone"))
    click.echo("It may hold data of other people, too: look through it before you hand it over.")
