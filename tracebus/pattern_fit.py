"""Whether patterns of sensitive members fit anything that some events have, or ever had."""

from __future__ import annotations

from collections.abc import Sequence

from evidence import canonical
from evidence.disclosure import locate, open_payload, parse_disclosure
from evidence.pattern import Paths, Pattern, format_path
from tracebus.eventlog.base import AnyEvent


class PatternFit:
    """Says of patterns which fit nothing, as it is shown one event after the other.

    Once something of an event was erased nobody can tell what it was called: a pattern of its type may
    have fitted that, and is not among those that fit nothing.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._unmatched = list(dict.fromkeys(patterns))
        self._held = set[str]()

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The patterns that fit no member, sensitive or in the clear, that these events ever had."""
        return tuple(pattern.text for pattern in self._unmatched)

    @property
    def held(self) -> tuple[str, ...]:
        """The paths of the sensitive members that are held, as patterns write them."""
        return tuple(sorted(self._held))

    def add(self, event: AnyEvent) -> None:
        """Look at an event.

        Raises:
            EvidenceError: The payload or a disclosure was damaged.
        """
        place = f"event {event.id}"
        payload = None if event.payload_json is None else canonical.loads(event.payload_json)
        disclosures = [parse_disclosure(text, place) for text in event.disclosures]
        located = [] if payload is None else locate(payload, disclosures)
        self._held.update(format_path(path) for path, _ in located)
        of_type = [pattern for pattern in self._unmatched if pattern.is_of_type(event.type)]
        if not of_type:
            return
        was_erased = payload is None or bool(open_payload(payload, disclosures, place).hidden)
        for pattern in of_type:
            paths = Paths.of([pattern], event.type)
            if (
                was_erased
                or pattern.steps is None
                or any(paths.takes(path, item.value) for path, item in located)
                or paths.reach(payload)
            ):
                self._unmatched.remove(pattern)
