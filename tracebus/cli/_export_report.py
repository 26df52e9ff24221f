"""What an export says: of a bundle that it made, and of one that it would make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from evidence import DisclosurePolicy, EvidenceBundle
from evidence.command import to_json
from evidence.completeness import PROOF
from evidence.printable import printable
from tracebus.cli._common import echo_table
from tracebus.cli._disclosed import STATES, Part, rows_of


def print_preview(
    bundle: EvidenceBundle, policy: DisclosurePolicy, parts: Sequence[Part], *, as_json: bool
) -> None:
    """Print what a bundle would show, for whoever has to agree before it is signed."""
    rows = rows_of(parts)
    if as_json:
        head = {"workflowId": bundle.workflow_id, "tenantId": bundle.tenant_id}
        named = {"disclosurePolicy": policy.digest, "disclosurePolicyName": policy.name}
        click.echo(to_json({**head, **named, "parts": rows}))
        return
    click.echo(printable(f"workflow {bundle.workflow_id}: nothing was signed, written or recorded"))
    if policy.digest is not None:
        click.echo(printable(f"policy   {policy.name}, {policy.digest}"))
    echo_table(("type", "member", *STATES, "reason"), [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> list[object]:
    is_enclosed = row["withheld"] and not row["reasons"]
    reason = "with what it stands in" if is_enclosed else "; ".join(row["reasons"])
    return [row["type"], row["member"], *(row[state] for state in STATES), reason]


def facts_of(bundle: EvidenceBundle, output: str) -> dict[str, Any]:
    """Return what there is to say of a bundle, as JSON values."""
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
        "disclosurePolicy": scope.get("disclosurePolicy"),
        "withheld": withheld,
        "erased": {
            "payloads": len(scope["erased"]["payloads"]),
            "members": sum(len(entry["digests"]) for entry in scope["erased"]["disclosures"]),
        },
    }


def _add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count


def report_of(facts: dict[str, Any]) -> str:
    """Return the facts as lines for people."""
    withheld, erased = facts["withheld"], facts["erased"]
    lines = [
        f"{facts['bundle']}: workflow {facts['workflowId']}, {facts['events']} events",
        f"workflow head  {facts['workflowHead']}",
        f"key id         {facts['keyId']}",
        *_completeness(facts),
        f"withheld       payloads: {_counted(withheld['payloads'])}",
        f"               sensitive members: {_counted(withheld['members'])}",
    ]
    if facts["disclosurePolicy"] is not None:
        lines.append(f"policy         {facts['disclosurePolicy']}")
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
