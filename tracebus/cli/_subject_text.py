"""A person's view as text, to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import click

from evidence.command import align
from evidence.printable import counted, printable
from tracebus.cli._common import echo_table, seconds_of
from tracebus.cli._erasure_report import some
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
    for hold in view.holds:
        click.echo(printable(f"under a legal hold: {hold}"))
    for record in view.past_holds:
        hold_id = record.opened().get("holdId")
        click.echo(
            printable(f"named in hold {hold_id}, which was lifted: event {record.id}; erase --user takes it")
        )
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
    if full and told:
        click.echo("\nin the clear: no sensitive members; tracebus erase takes them only with --payloads")
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
    counts = ((members, "member"), (payloads, "payload"))
    return ", ".join(counted(count, noun) for count, noun in counts if count) or None


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
    lines += [f"held      {hold}" for hold in workflow.holds]
    if workflow.other_runs:
        names = some([run.run_id for run in workflow.other_runs])
        lines.append(f"not here  {names}: not started for this user")
    if lines or full:
        of = "" if workflow.tenant_id is None else f" of tenant {workflow.tenant_id}"
        click.echo()
        click.secho(printable(f"workflow {workflow.workflow_id}{of}"), bold=True)
    for line in lines:
        click.echo(printable(f"  {line}"))
    if full:
        for held in view.events(workflow):
            _print_event(held.event, "  ", in_clear=held.in_clear)


def _export(export: AnyEvent) -> str:
    said = export.opened()
    by = f"bundle {said.get('bundleId')} at {seconds_of(export.timestamp)}"
    told = [f"{word} {said[name]}" for name, word in _TOLD.items() if said.get(name)]
    return ", ".join([by, *told])


_TOLD = {"recipient": "to", "purpose": "for", "actor": "by"}


def _print_event(event: AnyEvent, told: str, *, in_clear: Sequence[str] = ()) -> None:
    """Print an event, and its content; `told` stands between its type and its id."""
    time = f"{event.timestamp[:10]} {event.timestamp[11:23]}"
    gone = "  payload erased" if event.payload_json is None else ""
    click.echo(f"  {click.style(time, dim=True)}  {event.type}{printable(told)}{event.id}{gone}")
    if in_clear:
        click.echo(printable(f"      in the clear: {', '.join(in_clear)}"))
    if event.payload_json is not None:
        for line in json.dumps(event.opened(), ensure_ascii=False, indent=2).split("\n")[1:-1]:
            click.echo(printable(f"      {line}"))


def _print_mentions(view: SubjectView, progress: Callable[[int], object], *, full: bool) -> None:
    rows: list[tuple[str, str, str, str, str]] = []
    is_found = False
    for mention in view.mentioned(progress):
        event = mention.event
        if not is_found:
            is_found = True
            click.secho("\nmentioned in other runs", bold=True)
        if full:
            of = "" if event.tenant_id is None else f" of tenant {event.tenant_id}"
            _print_event(event, f"  workflow {event.workflow_id}{of}, run {event.run_id}, event ")
        else:
            texts = ", ".join(mention.texts)
            rows.append((event.workflow_id, event.tenant_id or "-", event.type, event.id, texts))
    for line in align(("workflow", "tenant", "type", "event", "text"), rows) if rows else ():
        click.echo(f"  {line}")
    if not is_found:
        click.secho("\nmentioned in no other run", bold=True)
