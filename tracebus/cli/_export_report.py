"""What an export says: of a bundle that it made, and of one that it would make."""

from __future__ import annotations

import shlex
from collections import Counter
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
    bundle: EvidenceBundle,
    policy: DisclosurePolicy,
    parts: Sequence[Part],
    notes: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Print what a bundle would show, for whoever has to agree before it is signed."""
    rows, kept_back = rows_of(parts), kept_back_of(bundle)
    if as_json:
        head = {"workflowId": bundle.workflow_id, "tenantId": bundle.tenant_id}
        named = {"disclosurePolicy": policy.digest, "disclosurePolicyName": policy.name}
        click.echo(to_json({**head, **named, "parts": rows, **kept_back, "notes": list(notes)}))
        return
    click.echo(printable(f"workflow {bundle.workflow_id}: nothing was signed, written or recorded"))
    if policy.digest is not None:
        click.echo(printable(f"policy   {policy.name}, {policy.digest}"))
    echo_table(("type", "member", *STATES, "reason"), [_cells(row) for row in rows])
    click.echo("")
    click.echo("\n".join(map(printable, _counts(kept_back))))
    if any(row["enclosed"] for row in rows):
        click.echo("enclosed       withheld with what it stands in: no bundle counts these apart")


def _cells(row: Mapping[str, Any]) -> list[object]:
    return [row["type"], row["member"], *(row[state] for state in STATES), "; ".join(row["reasons"])]


def facts_of(bundle: EvidenceBundle, output: str, notes: Sequence[str]) -> dict[str, Any]:
    """Return what there is to say of a bundle that was written to a file, as JSON values."""
    scope = bundle.tree["scope"]
    return {
        "file": output,
        "bundleId": bundle.bundle_id,
        "workflowId": bundle.workflow_id,
        "tenantId": bundle.tenant_id,
        "workflowHead": bundle.workflow_head(),
        "keyId": bundle.tree["signature"]["keyId"],
        "events": len(bundle.tree["events"]),
        "isProvedWhole": PROOF in bundle.tree["proofs"],
        "openRuns": [run["runId"] for run in scope["runs"] if not run["closed"]],
        "disclosurePolicy": scope.get("disclosurePolicy"),
        **kept_back_of(bundle),
        "notes": list(notes),
    }


def kept_back_of(bundle: EvidenceBundle) -> dict[str, dict[str, dict[str, int]]]:
    """Return how many payloads and members a bundle lists as withheld and as erased, by type."""
    scope, types = bundle.tree["scope"], {event["id"]: event["type"] for event in bundle.tree["events"]}
    kept_back: dict[str, dict[str, dict[str, int]]] = {}
    for state in ("withheld", "erased"):
        payloads: Counter[str] = Counter(types[entry["eventId"]] for entry in scope[state]["payloads"])
        members: Counter[str] = Counter()
        for entry in scope[state]["disclosures"]:
            members[types[entry["eventId"]]] += len(entry["digests"])
        kept_back[state] = {"payloads": dict(payloads), "members": dict(members)}
    return kept_back


def report_of(facts: dict[str, Any], policy_path: str | None) -> str:
    """Return the facts as lines for people; the policy's file is named to who verifies."""
    lines = [
        f"{facts['file']}: workflow {facts['workflowId']}, {facts['events']} events",
        f"workflow head  {facts['workflowHead']}",
        f"key id         {facts['keyId']}",
        *_completeness(facts),
        *_counts(facts),
    ]
    if facts["disclosurePolicy"] is not None:
        lines.append(f"policy         {facts['disclosurePolicy']}")
    lines += [
        f"note           run {run} has not ended: to verify this will say incomplete"
        for run in facts["openRuns"]
    ]
    lines.append("next           keep the workflow head; whoever has the public key verifies with")
    lines.append(f"               {_verify_command(facts, policy_path)}")
    return "\n".join(map(printable, lines))


def _verify_command(facts: dict[str, Any], policy_path: str | None) -> str:
    tenant = facts["tenantId"]
    words = ["tracebus", "verify", facts["file"], "--key", "NAME.pub"]
    words += ["--log-key", "LOG.pub"] if facts["isProvedWhole"] else []
    words += ["--workflow", facts["workflowId"]]
    words += ["--no-tenant"] if tenant is None else ["--tenant", tenant]
    words += [] if policy_path is None else ["--disclosure-policy", policy_path]
    return shlex.join(words)


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


def _counts(kept_back: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a bundle says is withheld and erased."""
    for state in ("withheld", "erased"):
        yield f"{state:<14} payloads: {_counted(kept_back[state]['payloads'])}"
        yield f"{'':<14} sensitive members: {_counted(kept_back[state]['members'])}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in sorted(counts.items())) or "none"
