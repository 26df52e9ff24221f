"""``tracebus export``: one workflow, signed, in one file."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import click

from evidence import (
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    EvidenceSigner,
    HmacSigner,
    MalformedInput,
    Withholding,
    WorkflowEvent,
    WorkflowProof,
)
from evidence.command import read_shared_secret, to_json
from evidence.completeness import PROOF, cited
from evidence.disclosure import parse_disclosure
from evidence.printable import printable
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
from tracebus.cli._keyring import check_use, keyring_option
from tracebus.errors import TracebusError
from tracebus.files import write_whole
from tracebus.payload import payload_class
from tracebus.upkeep import exported, log_run


@click.command("export", cls=PlainCommand)
@click.argument("workflow", metavar="WORKFLOW")
@click.option(
    "-o", "--output", required=True, metavar="FILE", help="Where the bundle goes; - for standard output."
)
@click.option("--key", metavar="NAME.key", help="The private key that signs it; tracebus keygen makes one.")
@click.option(
    "--hmac-secret", metavar="FILE", help="Instead of --key, a shared secret: convinces no third party."
)
@log_option
@tenant_option
@no_tenant_option
@click.option(
    "--withhold", multiple=True, metavar="PATTERN", help="What to leave out; may be given several times."
)
@click.option("--reason", metavar="TEXT", help="Why it is left out; the bundle says so.")
@click.option(
    "--as-of-checkpoint", is_flag=True, help="Leave out what is newer than the log's last checkpoint."
)
@keyring_option
@click.option("--no-record", is_flag=True, help="Do not record the export in the log.")
@json_option
def command(
    workflow: str,
    output: str,
    key: str | None,
    hmac_secret: str | None,
    keyring_path: str | None,
    no_record: bool,
    log_path: str,
    tenant: str | None,
    no_tenant: bool,
    withhold: tuple[str, ...],
    reason: str | None,
    as_of_checkpoint: bool,
    as_json: bool,
) -> None:
    """Export one workflow as a signed bundle that shows it whole, and nothing of any other.

    If the log's last checkpoint has all of the workflow, the bundle carries the proof of that:
    `tracebus log checkpoint` signs one.

    A PATTERN is an event type, whose payloads are then left out, or type:member, for sensitive
    members; * and ? match as in file names. Runs, verdicts and approvals are always shown.

    Examples:
      tracebus export talk-7 -o talk-7.json --key treasury.key
      tracebus export talk-7 -o talk-7.json --key treasury.key
          --withhold 'tool_*:*' --withhold '*:userId' --reason 'personal data of a customer'

    The file appears whole or not at all; one of that name is replaced. That it was made is recorded in
    the log's own workflow, tracebus:log, if the log can be written.
    """
    signer = _signer(key, hmac_secret, keyring_path)
    withholding = _withholding(withhold, reason)
    with reading(log_path) as log:
        tenant = which_tenant(log, workflow, tenant, no_tenant)
        proof = log.prove_workflow(workflow, tenant)
        selected = _Selected(log.select_workflow(workflow, tenant), proof)
    bundle = anyio.run(_bundle, selected, signer, workflow, tenant, withholding, as_of_checkpoint)
    _warn_of_unmatched(withhold, selected.events)
    path = _target(output)
    if not no_record:
        _record(log_path, bundle)
    _write(path, bundle.to_json())
    facts = _facts(bundle, output) | selected.facts()
    to_stderr = output == "-"
    click.echo(to_json(facts) if as_json else _report(facts), err=to_stderr)


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
    withhold: Withholding | None,
    as_of_checkpoint: bool,
) -> EvidenceBundle:
    return await EvidenceBundler(source, signer).bundle(
        workflow, tenant=tenant, withhold=withhold, as_of_checkpoint=as_of_checkpoint
    )


def _record(log_path: str, bundle: EvidenceBundle) -> None:
    """Record the export in the log; where that cannot be, say so, for the bundle is none the worse."""
    try:
        with writing(log_path) as log:
            (outcome,) = log.append([log_run(exported(bundle))])
            if isinstance(outcome, Exception):
                raise outcome
    except TracebusError as error:
        click.secho(printable(f"note: the export is not recorded: {error}"), fg="yellow", err=True)


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


def _withholding(patterns: tuple[str, ...], reason: str | None) -> Withholding | None:
    if not patterns:
        if reason is not None:
            raise click.UsageError("--reason says why something is withheld: name it with --withhold PATTERN")
        return None
    if not reason:
        raise click.UsageError("--withhold needs --reason TEXT: the bundle says why something is left out")
    for pattern in patterns:
        _check_pattern(pattern)
    try:
        return Withholding(patterns, reason)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--withhold") from None


def _check_pattern(pattern: str) -> None:
    """Refuse what a slip makes of a pattern: a type, or a sensitive member, that there is not.

    Types of users have a dot, and may be unknown here; patterns with a wildcard are warned of where
    they match nothing.
    """
    event_type, _, name = pattern.partition(":")
    if set(event_type) & set("*?[") or "." in event_type:
        return
    cls = payload_class(event_type)
    if cls is None:
        raise click.BadParameter(f"there is no event type {event_type}", param_hint="--withhold")
    members = sorted(member.name for member in cls.members() if member.is_sensitive)
    if name and not set(name) & set("*?[") and name not in members:
        has = f"has {', '.join(members)}" if members else "has none"
        reason = f"{event_type} has no sensitive member {name}; it {has}"
        raise click.BadParameter(reason, param_hint="--withhold")


def _warn_of_unmatched(patterns: Sequence[str], events: Sequence[WorkflowEvent]) -> None:
    """Say which patterns match nothing here: a slip in one would let out what should stay."""
    types = {event.header["type"] for event in events if event.payload is not None}
    members = {
        (event.header["type"], parse_disclosure(text, "disclosure").name)
        for event in events
        for text in event.disclosures
    }
    for pattern in patterns:
        one = Withholding((pattern,), "asked")
        if not any(map(one.of_payload, types)) and not any(one.of_member(*member) for member in members):
            warning = f"note: --withhold {pattern} matches nothing in this workflow, and withheld nothing"
            click.secho(printable(warning), fg="yellow", err=True)


def _facts(bundle: EvidenceBundle, output: str) -> dict[str, Any]:
    scope, types = bundle.tree["scope"], {event["id"]: event["type"] for event in bundle.tree["events"]}
    withheld: dict[str, dict[str, int]] = {"payloads": {}, "members": {}}
    for entry in scope["withheld"]["payloads"]:
        _add(withheld["payloads"], types[entry["eventId"]], 1)
    for entry in scope["withheld"]["disclosures"]:
        _add(withheld["members"], types[entry["eventId"]], len(entry["digests"]))
    return {
        "bundle": output,
        "bundleId": bundle.bundle_id,
        "workflowId": bundle.workflow_id,
        "tenantId": bundle.tenant_id,
        "workflowHead": bundle.workflow_head(),
        "keyId": bundle.tree["signature"]["keyId"],
        "events": len(types),
        "isProvedWhole": PROOF in bundle.tree["proofs"],
        "openRuns": [run["runId"] for run in scope["runs"] if not run["closed"]],
        "withheld": withheld,
        "erased": {
            "payloads": len(scope["erased"]["payloads"]),
            "members": sum(len(entry["digests"]) for entry in scope["erased"]["disclosures"]),
        },
    }


def _add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count


def _report(facts: dict[str, Any]) -> str:
    withheld, erased = facts["withheld"], facts["erased"]
    lines = [
        f"{facts['bundle']}: workflow {facts['workflowId']}, {facts['events']} events",
        f"workflow head  {facts['workflowHead']}",
        f"key id         {facts['keyId']}",
        *_completeness(facts),
        f"withheld       payloads: {_counted(withheld['payloads'])}",
        f"               sensitive members: {_counted(withheld['members'])}",
    ]
    if erased["payloads"] or erased["members"]:
        lines.append(f"erased         payloads: {erased['payloads']}; members: {erased['members']}")
    lines += [
        f"note           run {run} has not ended: to verify this will say incomplete"
        for run in facts["openRuns"]
    ]
    lines.append("next           keep the workflow head; whoever has the public key verifies with")
    keys = "--key NAME.pub" + " --log-key LOG.pub" * facts["isProvedWhole"]
    lines.append(f"               tracebus verify {facts['bundle']} {keys} --workflow {facts['workflowId']}")
    return "\n".join(map(printable, lines))


def _completeness(facts: dict[str, Any]) -> Iterator[str]:
    """Yield on whose word the bundle is whole, and what to do where no checkpoint shows it."""
    size, count = facts["checkpoint"] and facts["checkpoint"]["size"], facts["newerEvents"]
    newer = f"{count} event is" if count == 1 else f"{count} events are"
    if facts["isProvedWhole"]:
        yield f"completeness   whole as of checkpoint {size}"
        if count:
            yield f"note           {newer} newer, and left out"
        return
    yield "completeness   asserted by the signer"
    if size is None:
        yield "note           no checkpoint shows that it is whole; tracebus log checkpoint signs one"
    else:
        yield f"note           {newer} newer than checkpoint {size}, so that nothing shows that it is whole:"
        yield "               sign another, tracebus log checkpoint, or leave them out, --as-of-checkpoint"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in sorted(counts.items())) or "none"


def _target(output: str) -> Path | None:
    """Return the file that the bundle goes to, None for standard output; refuse what may not be replaced."""
    if output == "-":
        return None
    path = Path(output).resolve()  # where a symbolic link leads, the link stays
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise click.BadParameter(f"{output} is no file; standard output is -", param_hint="--output")
        if not _is_bundle(path):
            reason = f"{output} is there, and is no bundle: it is not replaced; name another file"
            raise click.BadParameter(reason, param_hint="--output")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint="--output")
    return path


def _write(path: Path | None, data: bytes) -> None:
    """Write a file that is there whole or not at all, also after a crash."""
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_whole(path, data)


def _is_bundle(path: Path) -> bool:
    """Tell whether a file is a bundle that another may replace, and not, say, the log or the key."""
    try:
        EvidenceBundle.from_json(path.read_bytes())
    except MalformedInput:
        return False
    return True
