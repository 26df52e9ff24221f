"""The tables, as text to read in a terminal and as Markdown: the same cells in both."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

from contestants import ONE_BY_ONE, VERIFY, Contestant
from growth import Stage
from measure import AllFigures
from payload import WORKFLOW
from rows import Row, Sizes

UNITS: Final = {"per_second": "/s", "ms": "ms", "mb": "MB", "bytes": "bytes"}

NOTHING: Final = "–"


class Table(NamedTuple):
    """A title, what explains the table, the names of its columns, and the cells."""

    title: str
    caption: str
    columns: Sequence[str]
    cells: Sequence[Sequence[str]]


def as_text(table: Table) -> str:
    """Return a table in columns; the first one stands to the left, the others to the right."""
    lines = [table.columns, *table.cells]
    first, *others = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for name, *cells in lines:
        right = [f"{cell:>{width}}" for cell, width in zip(cells, others, strict=True)]
        text.append("  ".join([f"{name:<{first}}", *right]).rstrip())
    return "\n".join([table.title, "", *text, "", *textwrap.wrap(table.caption, 100), ""])


def as_markdown(table: Table) -> str:
    """Return a table as Markdown, under a heading of its own."""
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    lines = [f"| {' | '.join(line).strip()} |" for line in (table.columns, rule, *table.cells)]
    return "\n".join([f"## {table.title}", "", *textwrap.wrap(table.caption, 110), "", *lines, ""])


def targets(rows: Sequence[Row]) -> Table:
    """Return the table of what is wanted, and what was reached."""
    columns = ["work", "ours", "reference", "reached", "ratio", "wanted", "met"]
    cells = [
        [
            row.work,
            _figure(row.ours, row.unit),
            row.reference,
            _figure(row.theirs, row.unit) if row.reference else "",
            _ratio(row.ours, row.theirs),
            str(row.target),
            {True: "yes", False: "no", None: ""}[row.is_met],
        ]
        for row in rows
    ]
    caption = "Medians; the ratio is ours divided by the reference, measured in turns with it."
    return Table("Targets", caption, columns, cells)


def comparison(contestants: Sequence[Contestant], sizes: Sizes) -> Table:
    """Return the table of ours beside the bare disk and the peers."""
    columns = [
        *("library", "durable", "syncs an event"),
        *("one by one", "ratio", f"{sizes.tasks} at once", "ratio", "by"),
        *("verify", "ratio", "its memory"),
    ]
    caption = (
        "The same event of about 450 bytes, by each library's own means; medians, measured in turns. "
        "Ratio: how many times as fast the first line is. Durable: each event is synced to the disk "
        "before the next one; the syncs were counted by strace while events were published one by one. "
        f"{sizes.tasks} at once: as many asyncio tasks, or as many threads where the library is faster so. "
        f"Verify: a log of {sizes.log:,} events, and the peak resident memory of the process that does it; "
        f"{NOTHING} where there is nothing to verify, or it was not measured."
    )
    cells = [_comparison_line(contestant, contestants[0], len(columns)) for contestant in contestants]
    return Table("Beside other libraries", caption, columns, cells)


def _comparison_line(contestant: Contestant, ours: Contestant, columns: int) -> list[str]:
    name = f"{contestant.name} {contestant.version}".rstrip()
    if contestant.absent:
        return [name, contestant.absent, *[""] * (columns - 2)]
    syncs = contestant.syncs_an_event
    way = contestant.best_way()
    verified = contestant.figures.get(VERIFY)
    return [
        name,
        "yes" if contestant.durable else "no",
        "not counted" if syncs is None else f"{syncs:.2f}",
        *_compared(contestant.figures.get(ONE_BY_ONE), ours.figures.get(ONE_BY_ONE)),
        *_compared(contestant.figures.get(way), ours.figures.get(ours.best_way())),
        way,
        *_compared(verified, ours.figures.get(VERIFY)),
        _figure((verified or {}).get("mb", ()), "MB"),
    ]


def _compared(figures: AllFigures | None, ours: AllFigures | None) -> tuple[str, str]:
    """Return a rate, and how many times as fast ours is."""
    if figures is None or ours is None:
        return NOTHING, ""
    if not figures:
        return "failed", ""
    return _figure(figures["per_second"], "/s"), _ratio(ours["per_second"], figures["per_second"])


def growth(stages: Sequence[Stage], sizes: Sizes) -> Table:
    """Return the table of a log that grows, a column for each size."""
    works = [
        (f"publish, {sizes.tasks} at once", "publish", "per_second"),
        (f"publish_many, {sizes.batch:,} at a time", "publish_many", "per_second"),
        ("file size, an event", "file", "bytes"),
        ("verify", "verify", "per_second"),
        ("  its memory", "verify", "mb"),
        ("log.query, every event", "log.query", "per_second"),
        ("  its memory", "log.query", "mb"),
        ("bus.query, every event", "bus.query", "per_second"),
        ("  its memory", "bus.query", "mb"),
        (f"bundle {WORKFLOW:,} events", "bundle", "ms"),
        ("  its memory", "bundle", "mb"),
        ("memory of importing tracebus alone", "import", "mb"),
    ]
    columns = ["events in the log", *(f"{stage.events:,}" for stage in stages)]
    cells = [
        [name, *(_figure(stage.figures[work][unit], UNITS[unit]) for stage in stages)]
        for name, work, unit in works
    ]
    caption = (
        f"A log of typed events, two members of each sensitive, in workflows of {WORKFLOW:,}; medians. "
        "What is published goes into a copy of it. Memory: the peak resident memory of a process that does "
        "this and nothing else."
    )
    return Table("As a log grows", caption, columns, cells)


def _figure(runs: Sequence[float], unit: str) -> str:
    """Return the median of some runs with its unit; a dash if there are none."""
    if not runs:
        return NOTHING
    value = median(runs)
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:,.1f} {unit}"


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{median(ours) / median(theirs):.2f} ×" if ours and theirs else ""
