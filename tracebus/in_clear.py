"""What stands in the clear: members of a payload that are no sensitive ones, and go only with the payload.

Where sensitive members are erased and payloads are not, that much is left. Whether it is personal nobody can
tell from here; that it is there, and of which members, an operator is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tracebus.events  # noqa: F401  (defines the built-in types)
from evidence import canonical
from evidence.disclosure import RESERVED
from evidence.pattern import Paths, Pattern
from tracebus.erasure import NEVER_ERASED
from tracebus.eventlog.base import AnyEvent
from tracebus.payload import payload_class
from tracebus.upkeep import RESERVED_PREFIX


class ClearShare(NamedTuple):
    """Of how many payloads of a type something stands in the clear, and which members, by name."""

    payloads: int
    members: tuple[str, ...]


def members_in_clear(payload: Mapping[str, Any]) -> list[str]:
    """Return the members of a committed payload that stand there themselves, whole or in part."""
    return sorted(name for name, value in payload.items() if name not in RESERVED and _is_clear(value))


def _is_clear(value: object) -> bool:
    if isinstance(value, dict):
        return any(name not in RESERVED and _is_clear(item) for name, item in value.items())
    return any(map(_is_clear, value)) if isinstance(value, list) else value is not None


class InClear:
    """Counts by type what is left in the clear of events that lose sensitive members, and no more.

    Of built-in types that is what people, models and tools wrote: members that their classes mark as
    sensitive or free-form. Of other types it is every member.

    Args:
        only: Where there are any: only what these patterns mean.
    """

    def __init__(self, only: Sequence[Pattern] = ()) -> None:
        self._only = only
        self._payloads = Counter[str]()
        self._members: dict[str, set[str]] = {}

    def add(self, event: AnyEvent) -> None:
        """Count an event whose payload stays.

        Raises:
            EvidenceError: The payload was damaged.
        """
        is_record = event.type in NEVER_ERASED or event.workflow_id.startswith(RESERVED_PREFIX)
        if is_record or event.payload_json is None:
            return
        names = self._meant(event.type, canonical.loads(event.payload_json))
        if names:
            self._payloads[event.type] += 1
            self._members.setdefault(event.type, set()).update(names)

    def _meant(self, event_type: str, payload: Mapping[str, Any]) -> list[str]:
        """Return which members are meant, and stand in the clear."""
        names = members_in_clear(payload)
        patterns = [pattern for pattern in self._only if pattern.is_of_type(event_type)]
        if not self._only or any(pattern.steps is None or pattern.steps[-1] == "*" for pattern in patterns):
            return [name for name in names if _is_written(event_type, name)]
        paths = Paths.of(patterns, event_type)
        return [name for name in names if paths.takes((name,), payload[name])]

    def shares(self) -> dict[str, ClearShare]:
        """Return what was counted, by type."""
        return {
            name: ClearShare(count, tuple(sorted(self._members[name])))
            for name, count in sorted(self._payloads.items())
        }


def _is_written(event_type: str, name: str) -> bool:
    """Tell whether people, models and tools may have written a member, as far as its class says."""
    cls = None if "." in event_type else payload_class(event_type)
    member = next((each for each in cls.members() if each.name == name), None) if cls else None
    return member is None or member.is_sensitive or member.is_free_form
