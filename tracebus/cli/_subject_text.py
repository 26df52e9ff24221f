"""A person's view as text, to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import click

from evidence.command import align
from evidence.printable import printable
from tracebus.cli._common import echo_table, seconds_of
from tracebus.eventlog import AnyEvent
from tracebus.retention_policy import FOREVER
from tracebus.subject import HeldCount, SubjectView, SubjectWorkflow


def print_view(view: SubjectView, progress: Callable[[int], object], *, full: bool) -> None:
    """Print workflows, what there is to say of each, and mentions; `full`: what the events say, too."""
    told = [_Told(view, workflow) for workflow in view.workflows]
    policy = printable(view.policy.name)
    click.secho(
        printable(f"user {view.user_id}, log {view.log.origin}, {seconds_of(view.created_at)}"), bold=True
    )
    if view.hold is not None:
        click.echo(printable(f"under a legal hold: {view.hold}"))
    if told:
        click.echo()
        echo_table(_HEADINGS, [each.row() for each in told])
        click.echo(f"\nuntil: when the last of them are due by policy {policy}; no date: a run is open")
    else:
        click.echo("no run was started for this user")
    for each in told:
        _print_workflow(view, each, full=full)
    if view.mentions:
        _print_mentions(view, progress, full=full)
    click.echo("\nIt may hold data of other people, too: look through it before you hand it over.")


_HEADINGS = ("workflow", "tenant", "runs", "events", "began", "last", "sensitive", "until", "erased")


class _Told:
    """A workflow, how much of it is held, and which events record what was erased of it."""

    def __init__(self, view: SubjectView, workflow: SubjectWorkflow) -> None:
        self.workflow = workflow
        self.count = HeldCount()
        self.members: Counter[str | None] = Counter()
        self.payloads: Counter[str | None] = Counter()
        for held in view.events(workflow):
            self.count.add(held)
            for part in held.erased:
                if part.members is None:
                    self.payloads[part.by] += 1
                else:
                    self.members[part.by] += part.members

    def row(self) -> tuple[object, ...]:
        """Return the cells of its line."""
        workflow, count = self.workflow, self.count
        times = seconds_of(workflow.started_at), seconds_of(workflow.last_at)
        erased = _amount(count.erased_members, count.erased_payloads)
        cells = workflow.workflow_id, workflow.tenant_id, len(workflow.runs), count.events, *times
        return *cells, count.members, _until(count.members_until), erased

    def erasures(self, records: Iterator[AnyEvent]) -> Iterator[str]:
        """Yield what was erased, by which event, when and why."""
        for record in records:
            amount = _amount(self.members[record.id], self.payloads[record.id])
            if amount is not None:
                yield f"{amount}: {_erasure(record)}"
        if amount := _amount(self.members[None], self.payloads[None]):
            yield f"{amount}: gone, and no event records it; run tracebus fsck"


def _amount(members: int, payloads: int) -> str | None:
    parts = [f"{members} member{'s' * (members != 1)}"] if members else []
    parts += [f"{payloads} payload{'s' * (payloads != 1)}"] if payloads else []
    return ", ".join(parts) or None


def _until(time: str | None) -> str | None:
    return time if time in (None, FOREVER) else time[:10] or None


def _erasure(record: AnyEvent) -> str:
    said = record.opened()
    by = f"{record.type} {record.id} at {seconds_of(record.timestamp)} by {said.get('actor')}"
    why = [said.get("reason"), said.get("legalBasis")]
    if "policy" in said:
        why = [f"policy {said['policy']}, rule {said.get('rule')}, {said.get('period')}", *why]
    return "; ".join([by, *(text for text in why if text)])


def _print_workflow(view: SubjectView, told: _Told, *, full: bool) -> None:
    workflow = told.workflow
    lines = [f"erased    {line}" for line in told.erasures(view.records(workflow))]
    lines += [f"exported  {_export(export)}" for export in workflow.exports]
    lines += [f"held      {workflow.hold}"] if workflow.hold is not None else []
    if lines or full:
        of = "" if workflow.tenant_id is None else f" of tenant {workflow.tenant_id}"
        click.echo()
        click.secho(printable(f"workflow {workflow.workflow_id}{of}"), bold=True)
    for line in lines:
        click.echo(printable(f"  {line}"))
    if full:
        for held in view.events(workflow):
            _print_event(held.event)


def _export(export: AnyEvent) -> str:
    said = export.opened()
    by = f"bundle {said.get('bundleId')} at {seconds_of(export.timestamp)}"
    told = [f"{word} {said[name]}" for name, word in _TOLD.items() if said.get(name)]
    return ", ".join([by, *told])


_TOLD = {"recipient": "to", "purpose": "for", "actor": "by"}


def _print_event(event: AnyEvent) -> None:
    time = f"{event.timestamp[:10]} {event.timestamp[11:23]}"
    gone = "  payload erased" if event.payload_json is None else ""
    click.echo(f"  {click.style(time, dim=True)}  {event.type}{gone}")
    if event.payload_json is not None:
        for line in json.dumps(event.opened(), ensure_ascii=False, indent=2).split("\n")[1:-1]:
            click.echo(printable(f"      {line}"))


def _print_mentions(view: SubjectView, progress: Callable[[int], object], *, full: bool) -> None:
    found: Counter[tuple[str, str | None, str]] = Counter()
    for mention in view.mentioned(progress):
        for text in mention.texts:
            found[mention.event.workflow_id, mention.event.tenant_id, text] += 1
        if full:
            _print_event(mention.event)
    click.secho("\nmentioned in other runs" if found else "\nmentioned in no other run", bold=True)
    rows = [
        (workflow, "-" if tenant is None else tenant, text, count)
        for (workflow, tenant, text), count in found.items()
    ]
    for line in align(("workflow", "tenant", "text", "events"), rows) if rows else ():
        click.echo(f"  {line}")
