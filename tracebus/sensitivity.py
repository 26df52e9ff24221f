"""Which members of a payload are sensitive: by the marks of its class, and by patterns of the operator.

    Sensitivity(sensitive=["*:iban", "tool_executed:result/passengers/*/dob"], plain=["tool_*:/arguments"])

A *sensitive* pattern (`evidence.pattern`) makes what it means sensitive, also inside free-form values.
A *plain* one takes the mark of a class off what it means. Sensitive wins. What is in
`NEVER_SENSITIVE` stays in the clear whatever is configured.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from evidence.pattern import ANY_DEPTH, NOTHING, Paths, Pattern, Step, parse_patterns
from tracebus.events.faults import RecordingGap
from tracebus.events.upkeep import (
    BundleExported,
    DataErased,
    KeyChanged,
    LegalHoldChanged,
    LogSucceeded,
    RetentionApplied,
    VerificationPerformed,
)
from tracebus.patterns import check_types
from tracebus.payload import EventPart, EventPayload

_POLICY: Final = frozenset({"policy", "rule"})
_DECIDER: Final = frozenset({"actor", "identitySource"})
_UPKEEP: Final[tuple[type[EventPayload], ...]] = (
    BundleExported,
    DataErased,
    KeyChanged,
    LegalHoldChanged,
    LogSucceeded,
    RecordingGap,
    RetentionApplied,
    VerificationPerformed,
)

NEVER_SENSITIVE: Final[dict[str, frozenset[str]]] = {
    "run_started": frozenset({"kind", "previous", "policyDigest"}),
    "run_completed": _DECIDER | {"outcome"},
    "turn_completed": frozenset({"outcome"}),
    "model_call_completed": frozenset({"status"}),
    "tool_executed": frozenset({"status"}),
    "memory_written": frozenset({"status"}),
    "chain_transaction": frozenset({"status"}),
    "policy_decision": _POLICY | {"version", "policyDigest", "decision", "enforced", "requiredApproval"},
    "gate_verdict": _POLICY | {"version", "gate", "verdict"},
    "policy_violation": _POLICY | {"version", "status"},
    "approval_requested": _POLICY | {"requestId"},
    "approval_resolved": _DECIDER | {"requestId", "verdict", "scope"},
    "escalation": frozenset({"actor"}),
    "human_override": _DECIDER | {"action"},
    "secret_detected": frozenset({"status"}),
    "security_event": frozenset({"status", "actor"}),
    **{cls.type: frozenset(each.name for each in cls.members() if not each.is_sensitive) for cls in _UPKEEP},
}
"""The members of each built-in type that no pattern makes sensitive: what was decided, by which rule and
by whom, how it ended; and in records of upkeep all that their class does not mark. `tracebus` reads holds
and erasures from them, and a verifier outcomes, verdicts and targets (`evidence.projection.PLAIN`)."""

_REMEMBERED: Final = 1024  # names a place; data brings any number of them


class Sensitivity:
    """Which members are sensitive, for all event types.

    Raises:
        TypeError: One text was given in place of several.
        ValueError: A text is no pattern, names a type that there is not, means whole payloads, or names
            what is never sensitive.
    """

    def __init__(self, sensitive: Iterable[str] = (), plain: Iterable[str] = ()) -> None:
        self.sensitive = parse_patterns(sensitive)
        self.plain = parse_patterns(plain)
        for pattern in (*self.sensitive, *self.plain):
            if pattern.steps is None:
                raise ValueError(
                    f"pattern {pattern.text!r:.80}: means whole payloads, expected members, as in {_EXAMPLE}"
                )
        check_types((*self.sensitive, *self.plain))
        for pattern in self.sensitive:
            _check(pattern)
        self._known: dict[_Asked, Place] = {}
        self._tops: dict[str, Place] = {}

    def of(self, event_type: str) -> Place:
        """Return what is asked of payloads of a type, at their top."""
        top = self._tops.get(event_type)
        if top is None:
            top = self._top(event_type)
            if len(self._tops) < _REMEMBERED:
                self._tops[event_type] = top
        return top

    def _top(self, event_type: str) -> Place:
        sensitive, plain = Paths.of(self.sensitive, event_type), Paths.of(self.plain, event_type)
        if not sensitive and not plain:
            return NOWHERE
        asked = _Asked(is_sensitive=False, sensitive=sensitive, is_plain=False, plain=plain)
        return Place(asked, self._known, NEVER_SENSITIVE.get(event_type, frozenset()))


_EXAMPLE: Final = "'tool_executed:/result'"


def _check(pattern: Pattern) -> None:
    """Refuse a pattern that names, without wildcards, what is never sensitive."""
    first, *others = pattern.steps or ()
    name = others[0] if first == ANY_DEPTH else first
    if name in NEVER_SENSITIVE.get(pattern.type, ()):
        raise ValueError(f"pattern {pattern.text!r:.80}: {name} of {pattern.type} is never sensitive")


class _Asked(NamedTuple):
    """What is asked of a place itself, and below it."""

    is_sensitive: bool
    sensitive: Paths
    is_plain: bool
    plain: Paths


class MemberRule(NamedTuple):
    """How one member of a class is committed at a place."""

    attribute: str
    name: str
    is_sensitive: bool
    is_free_form: bool
    place: Place


class Place:
    """A place in payloads: whether what stands there is sensitive, and what is asked of what is below.

    Places are shared between payloads, and remember what stands below them.

    Attributes:
        is_sensitive: A pattern means this place.
        is_plain: A pattern takes a class's mark off this place.
        reaches: A pattern may mean something below.
    """

    __slots__ = ("_asked", "_below", "_known", "_members", "is_plain", "is_sensitive", "reaches")

    def __init__(self, asked: _Asked, known: dict[_Asked, Place], never: Iterable[str] = ()) -> None:
        self._asked = asked
        self._known = known
        self._below: dict[Step, Place] = dict.fromkeys(never, NOWHERE) if never else {}
        self._members: dict[type[EventPart], tuple[MemberRule, ...]] = {}
        self.is_sensitive = asked.is_sensitive
        self.is_plain = asked.is_plain
        self.reaches = bool(asked.sensitive)

    def below(self, step: Step) -> Place:
        """Return the place of a member by its name, or of the elements (None)."""
        place = self._below.get(step)
        if place is None:
            asked = _Asked(*self._asked.sensitive.below(step), *self._asked.plain.below(step))
            place = self._known.get(asked)
            if place is None:
                place = self._known[asked] = Place(asked, self._known) if any(asked) else NOWHERE
            if len(self._below) < _REMEMBERED:
                self._below[step] = place
        return place

    def members(self, cls: type[EventPart]) -> tuple[MemberRule, ...]:
        """Return how the members of a class that stands here are committed."""
        rules = self._members.get(cls)
        if rules is None:
            rules = self._members[cls] = tuple(
                MemberRule(
                    member.attribute,
                    member.name,
                    place.is_sensitive or (member.is_sensitive and not place.is_plain),
                    member.is_free_form,
                    place,
                )
                for member, place in ((member, self.below(member.name)) for member in cls.members())
            )
        return rules


NOWHERE: Final = Place(_Asked(False, NOTHING, False, NOTHING), {})
"""A place of which, and below which, nothing is asked."""
