"""``tracebus show``: a workflow to read, run by run and turn by turn, from a log or from a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from evidence.bundle import EvidenceBundle
from evidence.canonical import MAX_BYTES
from evidence.command import to_json
from evidence.errors import MalformedInput
from evidence.expectation import ANY_TENANT
from evidence.header import event_hash
from evidence.inputs import read_parsed, read_policy, read_public_key, read_shared_secret
from evidence.keys import SharedSecret, VerifyingKey
from evidence.printable import printable
from evidence.report import VerificationReport
from evidence.verify import verify_evidence_bundle
from tracebus.cli._common import (
    PlainCommand,
    echo_json_array,
    json_option,
    log_option,
    no_tenant_option,
    reading,
    tenant_option,
    which_tenant,
)
from tracebus.cli._entries import Entry, ShownRun, runs_of_bundle, runs_of_log
from tracebus.cli._members import members_of, print_members
from tracebus.cli._timeline import print_timeline


@click.command("show", cls=PlainCommand)
@click.argument("workflow", metavar="[WORKFLOW]", required=False)
@log_option
@click.option("--bundle", metavar="FILE", help="Instead of a log, the bundle to read; - for standard input.")
@click.option("--key", metavar="NAME.pub", help="With --bundle: your copy of the signer's public key.")
@click.option(
    "--hmac-secret", metavar="FILE", help="Instead of --key, the secret that you share with the signer."
)
@click.option("--policy", metavar="FILE", help="With --bundle: your trust policy.")
@tenant_option
@no_tenant_option
@click.option("--members", is_flag=True, help="What is recorded, and whether it is sensitive; never values.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    workflow: str | None,
    log_path: str,
    bundle: str | None,
    key: str | None,
    hmac_secret: str | None,
    policy: str | None,
    tenant: str | None,
    no_tenant: bool,
    members: bool,
    as_json: bool,
) -> None:
    r"""Show a workflow as a timeline: each run, its turns, and the gist of every event.

    Times are those at which the log sealed the events, in UTC; where the source said when it
    happened, that follows. Long texts are shortened, and control characters shown as \x1b.

    Beside each event stands what of it is hidden: erased, and by which event; in a bundle also what its
    signer withheld, and why, and what a holder removed. Names of hidden members are not known.

    A bundle is verified first, and shown only if it verifies: give the signer's public key, or a trust
    policy with it. An incomplete one is shown, too, and says first what is missing, such as the end of a
    run. WORKFLOW is then the workflow that the bundle must be about, and may be left out. Exit codes are
    those of tracebus verify --accept incomplete, which says more about signature and completeness.

    With --members, a table of what is recorded: for each event type its members, how often they
    occur, and whether they are sensitive or stand in the clear. What stands in the clear and should not
    is recorded otherwise from then on by TraceEventBus(log, sensitive=["tool_proposed:iban"]).

    With --json, every event with its header, its payload, sensitive members in the clear, its event hash,
    and what is hidden: an array for a log; for a bundle an object, with the report of the verification.

    Examples:
      tracebus show talk-7 | less
      tracebus show talk-7 --members
      tracebus show --bundle talk-7.json --key treasury.pub
      tracebus show talk-7 --no-tenant --bundle talk-7.json --policy trust.txt
    """
    keys = _Keys(key, hmac_secret, policy)
    if bundle is None:
        keys.check_unused()
        _show_log(log_path, workflow, tenant, no_tenant, members=members, as_json=as_json)
        return
    if tenant is not None and no_tenant:
        raise click.UsageError("--tenant and --no-tenant exclude each other")
    if ctx.get_parameter_source("log_path") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--bundle and --log exclude each other")
    keys.check()
    expected_tenant = None if no_tenant else ANY_TENANT if tenant is None else tenant
    _show_bundle(bundle, keys, workflow, expected_tenant, members=members, as_json=as_json)


# A log


def _show_log(
    path: str, workflow: str | None, tenant: str | None, no_tenant: bool, *, members: bool, as_json: bool
) -> None:
    if workflow is None:
        raise click.UsageError("expected a WORKFLOW, tracebus workflows lists them; or --bundle FILE")
    with _advising(workflow), reading(path) as log:
        tenant = which_tenant(log, workflow, tenant, no_tenant)
        runs = runs_of_log(log, workflow, tenant)
        if as_json:
            echo_json_array(_to_json(runs, members=members))
            return
        of = "" if tenant is None else f" of tenant {printable(tenant)}"
        click.secho(f"workflow {printable(workflow)}{of}", bold=True)
        _print(runs, members=members)


@contextmanager
def _advising(workflow: str) -> Iterator[None]:
    """Say how a bundle is read to whoever names its file where a workflow is expected."""
    try:
        yield
    except click.UsageError as error:
        if os.path.isfile(workflow):
            advice = f"to read the bundle {workflow}: --bundle {workflow} --key NAME.pub"
            raise click.UsageError(f"{error.format_message()}; {printable(advice)}") from None
        raise


# A bundle


class _Keys(NamedTuple):
    """With what a bundle is verified, as the command line names it."""

    key: str | None
    hmac_secret: str | None
    policy: str | None

    def check_unused(self) -> None:
        """Check that none is named where there is no bundle."""
        if any(path is not None for path in self):
            raise click.UsageError("--key, --hmac-secret and --policy are for a bundle: --bundle FILE")

    def check(self) -> None:
        """Check that a bundle can be verified."""
        if self.key is not None and self.hmac_secret is not None:
            raise click.UsageError("--key and --hmac-secret exclude each other")
        if self == (None, None, None):
            raise click.UsageError(
                "a bundle is shown only if it verifies: give the public key that you have of its signer, "
                "--key NAME.pub, or --hmac-secret FILE, or --policy FILE with a bundle-key"
            )

    def verify(self, bundle: EvidenceBundle, workflow: str | None, tenant: object) -> VerificationReport:
        """Verify a bundle, in which a run may be open.

        Raises:
            EvidenceError: It does not verify, or a key or the policy cannot be read.
        """
        policy = None if self.policy is None else read_policy(self.policy)
        key: VerifyingKey | SharedSecret | None = None
        if self.key is not None:
            key = read_public_key(self.key)
        elif self.hmac_secret is not None:
            key = read_shared_secret(self.hmac_secret)
        elif policy is not None and not policy.bundle_keys:
            raise MalformedInput(
                self.policy or "", "has no bundle-key: give the signer's with --key NAME.pub"
            )
        return verify_evidence_bundle(
            bundle,
            key,
            policy=policy,
            expected_workflow=workflow,
            expected_tenant=tenant,
            accept=["incomplete"],
        )


def _show_bundle(
    path: str, keys: _Keys, workflow: str | None, tenant: object, *, members: bool, as_json: bool
) -> None:
    bundle = read_parsed(path, EvidenceBundle.from_json, MAX_BYTES)
    report = keys.verify(bundle, workflow, tenant)
    runs = runs_of_bundle(bundle)
    if as_json:
        name = "members" if members else "events"
        click.echo(to_json({"report": report.to_dict(), name: list(_to_json(runs, members=members))}))
        return
    colour = "green" if report.verdict == "verified" else "yellow"
    click.secho(report.headline, bold=True, fg=colour)
    open_runs = [f"run {run.run_id} has not ended" for run in report.runs if not run.closed]
    for note in (*open_runs, *report.notes):
        click.echo(printable(f"note: {note}"))
    _print(runs, members=members)


# Output


def _print(runs: Iterable[ShownRun], *, members: bool) -> None:
    if members:
        click.echo()
        print_members(members_of(runs))
    else:
        print_timeline(runs)


def _to_json(runs: Iterable[ShownRun], *, members: bool) -> Iterator[dict[str, Any]]:
    if members:
        yield from members_of(runs)
    else:
        yield from (_event_to_json(entry) for run in runs for entry in run.entries)


def _event_to_json(entry: Entry) -> dict[str, Any]:
    said, hidden = entry.read()
    payload = {} if said is None else {"payload": said}
    kept_back = {"hidden": [part.to_dict() for part in hidden]} if hidden else {}
    return {**entry.header, **payload, "eventHash": event_hash(entry.header), **kept_back}
