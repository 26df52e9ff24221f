"""What becomes of each part of a workflow in a bundle, by type and path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any, Final, Literal, NamedTuple

import click

from evidence import EvidenceBundle, WorkflowEvent, canonical
from evidence.disclosure import Located, locate, parse_disclosure
from evidence.pattern import Paths, Pattern, Step, format_path, is_outright
from evidence.printable import printable
from evidence.projection import KEPT
from tracebus.cli._disclosing import Asked

State = Literal["shown", "withheld", "enclosed", "erased"]
STATES: Final[tuple[State, ...]] = ("shown", "withheld", "enclosed", "erased")
"""What becomes of a part. What is enclosed is withheld with what it stands in: the bundle does not list it,
and nobody who has only the bundle can count it."""

_UNKNOWN: Final = "?"


class Part(NamedTuple):
    """A payload, whose path is empty, or a sensitive member of one, and what becomes of it in a bundle.

    `path` is None for an erased member: nobody knows its name any more. `reason` is why it is withheld.
    `value` is what it says, as far as it stands in the clear in it.
    """

    type: str
    path: tuple[Step, ...] | None
    state: State
    reason: str | None = None
    value: object = None


def parts_of(bundle: EvidenceBundle, events: Sequence[WorkflowEvent]) -> list[Part]:
    """Return what becomes of each part of a workflow in a bundle that was made of these events."""
    tree, recorded = bundle.tree, {event.header["id"]: event for event in events}
    scope, shown = tree["scope"], tree["disclosures"]
    payloads = {entry["eventId"]: entry["reason"] for entry in scope["withheld"]["payloads"]}
    withheld = {d: e["reason"] for e in scope["withheld"]["disclosures"] for d in e["digests"]}
    erased: dict[str, set[str]] = {}
    for entry in scope["erased"]["disclosures"]:
        erased.setdefault(entry["eventId"], set()).update(entry["digests"])
    parts = []
    for event in tree["events"]:
        event_id, event_type = event["id"], event["type"]
        if "payload" not in event and event_id not in payloads:
            parts.append(Part(event_type, (), "erased"))
            continue
        reason = payloads.get(event_id)
        state: State = "shown" if reason is None else "withheld"
        parts.append(Part(event_type, (), state, reason, _committed(recorded[event_id])))
        gone, texts = set(erased.get(event_id, ())), set(shown.get(event_id, ()))
        for path, item in _located(recorded[event_id]):
            if item.digest in gone:  # recorded, and not yet deleted
                gone.remove(item.digest)
                parts.append(Part(event_type, path, "erased"))
            elif item.text in texts:
                parts.append(Part(event_type, path, "shown", None, item.value))
            elif item.digest in withheld:
                parts.append(Part(event_type, path, "withheld", withheld[item.digest], item.value))
            else:
                parts.append(Part(event_type, path, "enclosed", None, item.value))
        parts += [Part(event_type, None, "erased")] * len(gone)
    return parts


def _located(event: WorkflowEvent) -> list[Located]:
    disclosures = [parse_disclosure(text, "disclosure") for text in event.disclosures]
    return locate(_committed(event), disclosures)


def _committed(event: WorkflowEvent) -> Any:
    return canonical.loads(event.payload or b"{}")


def rows_of(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return how many parts of each type and path are in each state, and why."""
    counts: dict[tuple[str, str], Counter[State]] = {}
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for part in parts:
        place = part.type, _UNKNOWN if part.path is None else format_path(part.path)
        counts.setdefault(place, Counter())[part.state] += 1
        listed = reasons.setdefault(place, {})
        if part.reason is not None:
            listed[part.reason] = None
    return [
        {
            "type": place[0],
            "member": place[1] or None,
            **{state: counts[place][state] for state in STATES},
            "reasons": list(reasons[place]),
        }
        for place in sorted(counts)
    ]


def exposed_by(asked: Asked, parts: Sequence[Part]) -> Iterator[str]:
    """Yield which patterns of ``withhold`` mean something that is shown, for it is not sensitive."""
    for pattern in asked.withhold:
        if in_the_clear := _in_the_clear(pattern, parts):
            yield (
                f"{_option(asked)}withhold {pattern.text} means members that are not sensitive, and are "
                f"shown, in payloads of {', '.join(in_the_clear)}: withhold these payloads whole, or have "
                "the members recorded as sensitive"
            )


def warnings_of(asked: Asked, parts: Sequence[Part]) -> Iterator[str]:
    """Yield the same, which patterns match nothing, and which members stay hidden in spite of ``show``."""
    yield from exposed_by(asked, parts)
    option = _option(asked)
    for pattern in _matching_nothing(asked, parts):
        yield f"{option}withhold {pattern.text} matches nothing in this workflow, and withheld nothing"
    for_type = cache(asked.policy.for_type)
    for pattern in asked.show:
        meant = _meant(pattern, parts)
        hidden = [part for part in meant if part.path and part.state in ("withheld", "enclosed")]
        enclosed = sum(
            for_type(part.type).why_withheld(part.path or (), part.value) is None for part in hidden
        )
        if not meant:
            what = "payload" if pattern.steps is None else "sensitive member"
            yield f"{option}show {pattern.text} matches no {what} in this workflow"
        if enclosed:
            yield (
                f"{option}show {pattern.text}: {enclosed} of {len(meant)} members stay hidden, "
                "for what they stand in is not shown"
            )


def check_matched(asked: Asked, parts: Sequence[Part]) -> None:
    """Refuse a pattern of ``--withhold`` without a wildcard that matches nothing: a slip would let it out.

    A policy is for many workflows, and what was erased has no name that could be matched.

    Raises:
        click.UsageError: There is one.
    """
    erased = {part.type for part in parts if part.state == "erased"}
    for pattern in () if asked.is_file else _matching_nothing(asked, parts):
        if is_outright(pattern) and pattern.type not in erased:
            raise click.UsageError(
                printable(
                    f"--withhold {pattern.text} matches nothing in this workflow; "
                    "--dry-run without it lists what there is"
                )
            )


def _matching_nothing(asked: Asked, parts: Sequence[Part]) -> Iterator[Pattern]:
    """Yield which patterns of ``withhold`` mean nothing that is in the workflow, shown or not."""
    for pattern in asked.withhold:
        is_matched = any(part.path or part.type not in KEPT for part in _taken(pattern, parts))
        if not is_matched and not _in_the_clear(pattern, parts):
            yield pattern


def _option(asked: Asked) -> str:
    return "" if asked.is_file else "--"


def _meant(pattern: Pattern, parts: Sequence[Part]) -> list[Part]:
    if pattern.steps is None:
        return [part for part in parts if part.path == () and pattern.is_of_type(part.type)]
    paths_of = cache(partial(Paths.of, [pattern]))
    return [part for part in parts if part.path and paths_of(part.type).match(part.path)]


def _taken(pattern: Pattern, parts: Sequence[Part]) -> list[Part]:
    """Return what a pattern withholds: what it means, or else what that stands in."""
    if pattern.steps is None:
        return _meant(pattern, parts)
    paths_of = cache(partial(Paths.of, [pattern]))
    return [part for part in parts if part.path and paths_of(part.type).takes(part.path, part.value)]


def _in_the_clear(pattern: Pattern, parts: Sequence[Part]) -> list[str]:
    """Return the types of shown payloads in which a pattern names what is not sensitive."""
    paths_of = cache(partial(Paths.of, [pattern]))
    return sorted(
        {p.type for p in parts if p.path == () and p.state == "shown" and paths_of(p.type).reach(p.value)}
    )
