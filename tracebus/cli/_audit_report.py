"""What `tracebus verify-log` found: printed, as JSON, and as a receipt."""

from __future__ import annotations

import time
from importlib.metadata import version
from itertools import groupby
from typing import Any, Final

import click

from evidence.header import format_timestamp
from evidence.printable import printable
from evidence.receipt import CheckpointsSeen, Receipt
from tracebus.cli._common import echo_table
from tracebus.cli._trust import Trust
from tracebus.transparency.audit import AuditReport

_COLOURS: Final = {"verified": "green", "failed": "red", "incomplete": "yellow"}
_MAX_REASON: Final = 500


def receipt_of(report: AuditReport, trust: Trust) -> Receipt:
    """Return the receipt of an audit that computed a tree."""
    assert report.root is not None  # noqa: S101 (_verify has asked for tiles)
    seen = []
    sizes = sorted((claim.source.partition(" ")[0], claim.checkpoint.size) for claim in report.claims)
    for source, group in groupby(sizes, key=lambda item: item[0]):
        found = [size for _, size in group]
        seen.append(CheckpointsSeen(source, len(found), found[-1]))
    return Receipt(
        log=report.origin,
        first=report.first,
        size=report.size,
        root=report.root,
        events=report.events,
        verdict=report.verdict,
        checks=report.checks,
        checkpoints=tuple(seen),
        trust=trust.described,
        verified_at=format_timestamp(time.time_ns()),
        verifier=f"tracebus {version('tracebus')}",
        reason=report.reason[:_MAX_REASON],
    )


def _headline(report: AuditReport) -> str:
    newest = max((claim.checkpoint.size for claim in report.claims), default=None)
    counted = f"{report.size - report.first} leaves, {report.events} events"
    against = "compared with no checkpoint" if newest is None else f"as of the checkpoint of size {newest}"
    reason = f": {report.reason}" if report.reason else ""
    return f"{report.verdict}: log {report.origin}, {counted}, {against}{reason}"


def print_report(report: AuditReport) -> None:
    """Print what was found, and a line for each check."""
    click.secho(printable(_headline(report)), fg=_COLOURS[report.verdict], bold=True)
    click.echo()
    echo_table(("check", "done", "not done"), [(c.name, c.done, c.not_done or "-") for c in report.checks])
    cosigned = sorted({name for claim in report.claims for name in claim.cosigned})
    if cosigned:
        click.echo(printable(f"cosigned by {', '.join(cosigned)}"))
    if report.claims and all(claim.source == "copy" for claim in report.claims):
        click.echo("compared with the copy's own checkpoints only; bring one that was kept elsewhere")
    if report.uncovered:
        click.echo(f"{report.uncovered} events are in no tree that was compared with a checkpoint")


def report_to_json(report: AuditReport) -> dict[str, Any]:
    """Return what was found, as JSON."""
    return {
        "verdict": report.verdict,
        "reason": report.reason,
        "log": report.origin,
        "from": report.first,
        "to": report.size,
        "root": None if report.root is None else report.root.hex(),
        "events": report.events,
        "uncovered": report.uncovered,
        "checks": [check.to_json() for check in report.checks],
        "checkpoints": [
            {"source": claim.source, "size": claim.checkpoint.size, "cosigned": list(claim.cosigned)}
            for claim in report.claims
        ],
    }
