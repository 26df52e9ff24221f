"""What members are recorded, by event type: which are sensitive, which stand in the clear; never values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import click

from evidence.disclosure import RESERVED, locate, parse_disclosure
from evidence.pattern import Step, format_path
from tracebus.cli._common import echo_table
from tracebus.cli._entries import Entry, ShownRun
from tracebus.payload import JSON_TEXT

MAX_DEPTH: Final = 6
"""How many steps of a path are listed; what stands deeper counts for what it stands in."""

_UNKNOWN: Final = "?"
_SENSITIVE: Final = "sensitive"
_IN_THE_CLEAR: Final = "in the clear"


def members_of(runs: Iterable[ShownRun]) -> list[dict[str, Any]]:
    """Return how often each member occurs in events of each type, and how it stands with it.

    A member is named by its path, as patterns write it; None is a whole payload that is hidden, ``?``
    a hidden member, whose name nobody knows.

    Raises:
        EvidenceError: An event was damaged.
    """
    counts = Counter(
        (entry.type, member, standing)
        for run in runs
        for entry in run.entries
        for member, standing in _members(entry)
    )
    keys = sorted(counts, key=lambda key: (key[0], key[1] or "", key[2]))
    return [{"type": key[0], "member": key[1], "count": counts[key], "standing": key[2]} for key in keys]


def print_members(rows: list[dict[str, Any]]) -> None:
    """Print them as a table, and what the words in it mean."""
    echo_table(("type", "member", "count", "standing"), [tuple(row.values()) for row in rows])
    click.echo()
    click.echo(
        "sensitive     a salted digest stands in its place; can be withheld, removed and erased by itself"
    )
    click.echo("in the clear  shows wherever its payload does, and goes only with it")


def _members(entry: Entry) -> Iterator[tuple[str | None, str]]:
    """Yield the members of an event, and how it stands with each."""
    committed = entry.committed()
    if committed is not None:
        place = f"event {entry.header['id']}"
        for path, _ in locate(committed, [parse_disclosure(text, place) for text in entry.disclosures]):
            yield format_path(path), _SENSITIVE
        for path in _in_the_clear(committed, ()):
            yield format_path(path), _IN_THE_CLEAR
    for hidden in entry.read().hidden:
        if hidden.members is None:
            yield None, hidden.state
        else:
            yield from [(_UNKNOWN, hidden.state)] * hidden.members


def _in_the_clear(value: Any, path: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Yield the paths of what holds nothing further, and is no digest of a disclosure."""
    if not value or not isinstance(value, dict | list) or JSON_TEXT in value:
        yield path[:MAX_DEPTH]
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in RESERVED:
                yield from _in_the_clear(item, (*path, name))
    else:
        for item in value:
            yield from _in_the_clear(item, (*path, None))
