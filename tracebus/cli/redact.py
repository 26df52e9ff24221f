"""``tracebus redact``: a bundle passed on without some of what it shows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import click

from evidence.bundle import EvidenceBundle
from evidence.command import to_json
from evidence.inputs import read_public_key
from evidence.pattern import Pattern, is_outright, parse_patterns
from evidence.printable import counted, printable
from evidence.redact import Redacted, redact_evidence_bundle, shown_events
from tracebus.cli._bundle_file import bundle_target, read_bundle, write_bundle
from tracebus.cli._common import PlainCommand, echo_table, json_option
from tracebus.patterns import check_types


@click.command("redact", cls=PlainCommand)
@click.argument("path", metavar="BUNDLE")
@click.option("-o", "--output", metavar="FILE", help="Where the bundle goes; - for standard output.")
@click.option("--member", "members", multiple=True, metavar="PATTERN", help="Sensitive members to remove.")
@click.option("--payload", "payloads", multiple=True, metavar="TYPE|ID", help="Whole payloads to remove.")
@click.option("--proof", "proofs", multiple=True, metavar="KIND", help="A proof to remove: completeness.")
@click.option("--key", metavar="NAME.pub", help="The signer's public key: the signature is verified, too.")
@click.option("--list", "is_listing", is_flag=True, help="Show what could be removed, and remove nothing.")
@json_option
def command(
    path: str,
    output: str | None,
    members: tuple[str, ...],
    payloads: tuple[str, ...],
    proofs: tuple[str, ...],
    key: str | None,
    is_listing: bool,
    as_json: bool,
) -> None:
    """Pass a bundle on without some of what it shows. It needs no key, and no leave of the signer.

    BUNDLE is a file, or - for standard input. The signature still holds, for nothing else changes. Whoever
    receives it sees that something was removed, how much, and from which events; not what it said, and
    not who removed it. They cannot guess it either, for each member and each payload has a salt. What one
    event says another one may say, too: look through the --list. Whoever has the bundle as it was can put
    back what you removed: it is gone from your copy only.

    Sensitive members may always be removed, by PATTERN: type:member, or type:path/of/members. Whole
    payloads may be removed where the signer lets a holder do so: by the type of their events, or one by
    its event's id. Runs, verdicts, approvals and erasures are always shown. In a type and in a name * and
    ? match as in file names; a type with a wildcard passes over what may not be removed.

    What matches nothing is refused, unless it has a * or ? in its type or its last name, and then said;
    where nothing at all would be removed, nothing is written.

    The bundle is verified before and after: with --key wholly, without it in all but the signature. The
    file appears whole or not at all; BUNDLE stays as it is, unless -o names it.

    Examples:
      tracebus redact talk-7.json --list
      tracebus redact talk-7.json -o less.json --member '*:userId' --member 'tool_executed:/result'
      tracebus redact talk-7.json -o less.json --payload 'model_*' --key treasury.pub
      tracebus verify less.json --key treasury.pub --workflow talk-7    # as the receiver sees it
    """
    asked = (*members, *payloads, *proofs)
    if is_listing:
        if asked or output is not None or key is not None:
            raise click.UsageError("--list removes nothing: leave out the other options, or --list")
        _echo_list(read_bundle(path), as_json=as_json)
        return
    if output is None:
        raise click.UsageError("expected -o FILE, or --list to see what could be removed")
    if not asked:
        raise click.UsageError("nothing to remove: name it by --member, --payload or --proof; see --list")
    bundle, target = read_bundle(path), bundle_target(output)
    public_key = None if key is None else read_public_key(key)
    try:
        check_types(pattern for pattern in parse_patterns(members) if pattern.steps is not None)
        redacted = redact_evidence_bundle(
            bundle, members=members, payloads=payloads, proofs=proofs, public_key=public_key
        )
    except ValueError as error:
        raise click.UsageError(printable(f"--member, --payload: {error}")) from None
    _check_outcome(redacted, proofs)
    write_bundle(target, redacted.bundle)
    _echo_outcome(redacted, output, is_signed=key is not None, as_json=as_json)


def _echo_list(bundle: EvidenceBundle, *, as_json: bool) -> None:
    events = shown_events(bundle)
    proofs = sorted(bundle.tree["proofs"])
    if as_json:
        click.echo(to_json({"events": [_camel(asdict(event)) for event in events], "proofs": proofs}))
        return
    rows = [(event.event_id, event.type, event.payload, ", ".join(event.members) or None) for event in events]
    echo_table(("event", "type", "payload", "sensitive members shown"), rows)
    click.echo("")
    click.echo("members     may be removed by --member TYPE:MEMBER, all of them by --member '*:*'")
    click.echo("redactable  may be removed by --payload EVENT, or --payload TYPE")
    for kind in proofs:
        click.echo(printable(f"proof       may be removed by --proof {kind}"))


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    return {{"event_id": "id", "run_id": "runId"}.get(name, name): value for name, value in values.items()}


def _check_outcome(redacted: Redacted, proofs: Collection[str]) -> None:
    """Refuse to pass on as redacted what still shows all that a slip was meant to remove."""
    for text in redacted.unmatched:
        if text in proofs or is_outright(Pattern(text)):
            raise click.UsageError(printable(f"{text} means nothing that the bundle shows; see --list"))
    if not redacted.is_changed:
        texts = ", ".join(redacted.unmatched)
        raise click.UsageError(printable(f"nothing would be removed by {texts}; see --list"))


def _echo_outcome(redacted: Redacted, output: str, *, is_signed: bool, as_json: bool) -> None:
    to_stderr = output == "-"
    for text in redacted.unmatched:
        warning = f"note: {text} means nothing that the bundle shows, and removed nothing"
        click.secho(printable(warning), fg="yellow", err=True)
    facts = {
        "file": output,
        "bundleId": redacted.bundle.bundle_id,
        "removed": {
            "payloads": redacted.payloads,
            "members": redacted.members,
            "proofs": list(redacted.proofs),
        },
        "unmatched": list(redacted.unmatched),
        "signature": "verified" if is_signed else "unchecked",
    }
    click.echo(to_json(facts) if as_json else _report(redacted, output, is_signed=is_signed), err=to_stderr)


def _report(redacted: Redacted, output: str, *, is_signed: bool) -> str:
    removed = [counted(redacted.payloads, "payload"), counted(redacted.members, "sensitive member")]
    removed += [f"the proof of {kind}" for kind in redacted.proofs]
    if redacted.payloads or redacted.members:
        removed.append("and what stood in them")
    checked = "verified" if is_signed else "unchecked, for no --key was given; all else was verified"
    lines = (
        f"written to  {output}",
        f"removed     {', '.join(removed)}",
        f"signature   {checked}",
    )
    return "\n".join(map(printable, lines))
