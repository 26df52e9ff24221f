"""``tracebus export``: one workflow, signed, in one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import anyio
import click

from evidence import (
    DisclosurePolicy,
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    EvidenceSigner,
    HmacSigner,
    WorkflowEvent,
    WorkflowProof,
)
from evidence.command import to_json
from evidence.completeness import cited
from evidence.inputs import read_shared_secret
from evidence.printable import printable
from tracebus.cli._actor import actor_option, identify
from tracebus.cli._bundle_file import bundle_target, write_bundle
from tracebus.cli._common import (
    PlainCommand,
    json_option,
    log_option,
    no_tenant_option,
    reading,
    tenant_option,
    which_tenant,
    writing,
)
from tracebus.cli._disclosed import check_matched, exposed_by, parts_of, warnings_of
from tracebus.cli._disclosing import asked_for
from tracebus.cli._export_report import facts_of, print_preview, report_of
from tracebus.cli._keyring import check_use, keyring_option
from tracebus.errors import TracebusError
from tracebus.events import BundleExported
from tracebus.upkeep import exported, log_run


@click.command("export", cls=PlainCommand)
@click.argument("workflow", metavar="WORKFLOW")
@click.option("-o", "--output", metavar="FILE", help="Where the bundle goes; - for standard output.")
@click.option("--key", metavar="NAME.key", help="The private key that signs it; tracebus keygen makes one.")
@click.option(
    "--hmac-secret", metavar="FILE", help="Instead of --key, a shared secret: convinces no third party."
)
@log_option
@tenant_option
@no_tenant_option
@click.option("--policy", metavar="FILE", help="A disclosure policy: what to show, what to withhold and why.")
@click.option(
    "--show", multiple=True, metavar="PATTERN", help="What alone to show; several times, or the word nothing."
)
@click.option(
    "--withhold", multiple=True, metavar="PATTERN", help="What to leave out; may be given several times."
)
@click.option("--reason", metavar="TEXT", help="Why the rest is withheld; the bundle says so.")
@click.option("--dry-run", is_flag=True, help="Print what would be shown, withheld and erased; sign nothing.")
@click.option(
    "--as-of-checkpoint", is_flag=True, help="Leave out what is newer than the log's last checkpoint."
)
@keyring_option
@click.option("--recipient", metavar="WHOM", help="The organisation or role that it is for; is recorded.")
@click.option("--purpose", metavar="TEXT", help="What it is for, in one line; is recorded.")
@actor_option
@click.option("--no-record", is_flag=True, help="Do not record the export in the log.")
@json_option
def command(
    workflow: str,
    output: str | None,
    key: str | None,
    hmac_secret: str | None,
    keyring_path: str | None,
    recipient: str | None,
    purpose: str | None,
    actor: str | None,
    no_record: bool,
    log_path: str,
    tenant: str | None,
    no_tenant: bool,
    policy: str | None,
    show: tuple[str, ...],
    withhold: tuple[str, ...],
    reason: str | None,
    dry_run: bool,
    as_of_checkpoint: bool,
    as_json: bool,
) -> None:
    """Export one workflow as a signed bundle that shows it whole, and nothing of any other.

    If the log's last checkpoint has all of the workflow, the bundle carries the proof of that:
    `tracebus log checkpoint` signs one.

    Without more, all that is still held is shown. A PATTERN is an event type, whose payloads are meant,
    or type:member, for sensitive members at any depth, or type:path/to/member, with * for each element
    of an array and ** for any depth; * and ? match as in file names. --show gives all that may leave (or
    says nothing), --withhold takes from it, and is refused where it has no * and matches nothing. Runs,
    verdicts and approvals are always shown.

    A policy is a TOML file that says the same, with several reasons; the bundle names it by its digest.
    See what a policy would do before anything is signed: --dry-run, which needs neither key nor file.

    Examples:
      tracebus export talk-7 -o talk-7.json --key treasury.key
      tracebus export talk-7 -o talk-7.json --key treasury.key
          --withhold 'tool_*:*' --withhold '*:userId' --reason 'personal data of a customer'
      tracebus export talk-7 --policy supervisor.toml --dry-run
      tracebus export talk-7 -o talk-7.json --key treasury.key --policy supervisor.toml
          --recipient 'the supervisor' --purpose 'inquiry 77'
      tracebus export talk-7 -o talk-7.json --key treasury.key
          --show '*' --show 'tool_*:arguments' --reason 'trade secret'

    The file appears whole or not at all; one of that name is replaced. That it was made, by whom and for
    whom is recorded in the log's own workflow, tracebus:log, if the log can be written.
    """
    if no_record and (recipient or purpose or actor):
        raise click.UsageError("--recipient, --purpose and --actor are recorded: leave out --no-record")
    if output is None and not dry_run:
        raise click.UsageError("expected -o FILE for the bundle, or --dry-run")
    # What a dry run signs is thrown away, and so is the key: what it counts is what would be signed.
    signer = Ed25519Signer.generate() if dry_run else _signer(key, hmac_secret, keyring_path)
    asked = asked_for(policy, show, withhold, reason)
    with reading(log_path) as log:
        tenant = which_tenant(log, workflow, tenant, no_tenant)
        proof = log.prove_workflow(workflow, tenant)
        selected = _Selected(log.select_workflow(workflow, tenant), proof)
    bundle = anyio.run(_bundle, selected, signer, workflow, tenant, asked.policy, as_of_checkpoint)
    parts = parts_of(bundle, selected.events) if dry_run or asked.show or asked.withhold else []
    check_matched(asked, parts)
    if output is None or dry_run:
        notes = list(warnings_of(asked, parts))
        _warn(notes)
        print_preview(bundle, asked.policy, parts, notes, as_json=as_json)
        return
    # That a pattern matches nothing is no slip in a policy, which is for many workflows.
    notes = list(exposed_by(asked, parts) if asked.is_file else warnings_of(asked, parts))
    path = bundle_target(output)
    if not no_record:
        try:
            export = exported(bundle, actor=identify(actor)[0], recipient=recipient, purpose=purpose)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        notes += _record(log_path, export)
    write_bundle(path, bundle)
    _warn(notes)
    facts = facts_of(bundle, output, notes) | selected.facts()
    click.echo(to_json(facts) if as_json else report_of(facts, policy), err=output == "-")


class _Selected:
    """A workflow as it was read, so that what is reported is what is signed."""

    def __init__(self, events: list[WorkflowEvent], proof: WorkflowProof | None) -> None:
        self.events = events
        self.proof = proof

    async def read_workflow(self, workflow_id: str, tenant_id: str | None) -> Sequence[WorkflowEvent]:
        return self.events

    async def read_completeness(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        return self.proof

    def facts(self) -> dict[str, Any]:
        """Return the last checkpoint that has the workflow, and how many of its events are newer."""
        if self.proof is None:
            return {"checkpoint": None, "newerEvents": len(self.events)}
        newer = [event for event in self.events if not self.proof.has(event.header)]
        return {"checkpoint": cited(self.proof.proof.stated_checkpoint()), "newerEvents": len(newer)}


async def _bundle(
    source: _Selected,
    signer: EvidenceSigner,
    workflow: str,
    tenant: str | None,
    disclose: DisclosurePolicy,
    as_of_checkpoint: bool,
) -> EvidenceBundle:
    return await EvidenceBundler(source, signer).bundle(
        workflow, tenant=tenant, disclose=disclose, as_of_checkpoint=as_of_checkpoint
    )


def _record(log_path: str, export: BundleExported) -> Iterator[str]:
    """Record the export in the log; where that cannot be, yield why, for the bundle is none the worse."""
    try:
        with writing(log_path) as log:
            (outcome,) = log.append([log_run(export)])
            if isinstance(outcome, Exception):
                raise outcome
    except TracebusError as error:
        yield f"the export is not recorded: {error}"


def _signer(key: str | None, hmac_secret: str | None, keyring_path: str | None) -> EvidenceSigner:
    if key is not None and hmac_secret is None:
        signer = Ed25519Signer.from_file(key)
        check_use(keyring_path, signer.verifying_key, "bundle")
        return signer
    if hmac_secret is not None and key is None:
        if keyring_path is not None:
            raise click.UsageError("--keyring lists no shared secrets: leave it out, or sign with --key")
        return HmacSigner(read_shared_secret(hmac_secret))
    raise click.UsageError(
        "expected one of --key NAME.key and --hmac-secret FILE; tracebus keygen makes a key"
    )


def _warn(notes: Iterable[str]) -> None:
    """Say what of the patterns did nothing here: a slip in one would let out what should stay."""
    for note in notes:
        click.secho(printable(f"note: {note}"), fg="yellow", err=True)
