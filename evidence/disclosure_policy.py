"""Disclosure policies: which payloads, and which sensitive members of them, a bundle shows.

::

    DisclosurePolicy(
        show=["*", "tool_*:*"],
        reason="not needed to supervise payments",
        withhold=[Withholding(["tool_executed:result/customer", "model_call_*"], "bank secrecy")],
    )

A sensitive member is shown if `show` means it, no `withhold` means it or what stands in it in the clear,
and what it stands in is shown. A payload is shown if `show` has a pattern of its type and no `withhold`
means it whole; what a bundle always shows (`evidence.projection.KEPT`), no policy withholds. As a file,
which a bundle names by its digest, a policy is read by `evidence.disclosure_policy_file`;
`schemas/disclosure-policy-v1.md` specifies both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from evidence.bundle import is_text
from evidence.digest import is_digest
from evidence.disclosure import RESERVED, Disclosure, locate, referenced
from evidence.pattern import ANY_DEPTH, Paths, Pattern, Step, matches_payload, parse_patterns
from evidence.projection import KEPT, PLAIN

ALL: Final = "*:*"
"""The pattern of every sensitive member."""


@dataclass(frozen=True, slots=True)
class Withholding:
    """Some of what a policy withholds, and why.

    `patterns` are those of `evidence.pattern`: ``tool_executed`` is the whole payload,
    ``tool_executed:result/*/email`` a sensitive member of it; `parsed` are the same. A pattern with a
    wildcard passes over what is always shown.

    Raises:
        ValueError: A pattern is none, or names what a bundle always shows; or the reason is not 1-1024
            characters without controls.
    """

    patterns: Collection[str]
    reason: str
    parsed: tuple[Pattern, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parsed", parse_patterns(self.patterns))
        _check_reason(self.reason)
        _check_may_go(self.parsed)
        for pattern in self.parsed:
            if pattern.steps and (name := _plain_member(pattern)):
                raise ValueError(
                    f"a bundle always shows {name} of {pattern.type}, found {pattern.text!r:.80}"
                )


@dataclass(frozen=True, slots=True)
class DisclosurePolicy:
    """What a bundle shows.

    `show` are patterns of all that may be shown, everything unless given; what they leave out is withheld
    for `reason`. `withhold` takes from it again. `redactable` are patterns of the types whose payloads a
    holder may remove later; None for all but those that a bundle always shows. `digest` names the file
    that the policy was read from; a policy that is made in code has none. `shown` and `removable` are the
    patterns of `show` and `redactable`, parsed.

    Raises:
        ValueError: A pattern is none, or names what a bundle always shows; or a reason is missing, or is
            no text that a bundle can state.
    """

    show: Collection[str] = (ALL,)
    withhold: Collection[Withholding] = ()
    reason: str | None = None
    redactable: Collection[str] | None = None
    name: str | None = None
    digest: str | None = None
    shown: tuple[Pattern, ...] = field(init=False, repr=False, compare=False)
    removable: tuple[Pattern, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "withhold", tuple(self.withhold))
        object.__setattr__(self, "shown", parse_patterns(self.show))
        removable = ("*",) if self.redactable is None else self.redactable
        object.__setattr__(self, "removable", parse_patterns(removable))
        if self.reason is not None or not self.may_show_all:
            _check_reason(self.reason)
        _check_may_go(self.removable)
        for pattern in self.removable:
            if pattern.steps is not None:
                raise ValueError(f"redactable: expected a type without a path, found {pattern.text!r:.80}")
        if self.digest is not None and not (is_digest(self.digest) and self.digest.startswith("sha256:")):
            raise ValueError(f"digest: expected sha256:…, found {self.digest!r:.80}")

    @classmethod
    def everything(cls) -> DisclosurePolicy:
        """Return the policy that shows all that is still held."""
        return cls()

    @classmethod
    def nothing(cls, reason: str) -> DisclosurePolicy:
        """Return the policy that shows nothing but what a bundle always shows."""
        return cls(show=(), reason=reason)

    @property
    def may_show_all(self) -> bool:
        """Whether `show` leaves nothing out."""
        return any(pattern.text == ALL for pattern in self.shown)

    def for_type(self, event_type: str) -> TypeDisclosure:
        """Return what the policy says of events of one type."""
        return TypeDisclosure(self, event_type)


class TypeDisclosure:
    """What a policy says of events of one type.

    `withheld` is why their payloads are withheld, None where they are shown; `is_redactable` is whether
    a holder may remove them.
    """

    __slots__ = (
        "_named",
        "_plain",
        "_reason",
        "_shown",
        "_shows_all",
        "_withheld",
        "is_redactable",
        "withheld",
    )

    def __init__(self, policy: DisclosurePolicy, event_type: str) -> None:
        self._reason = policy.reason or ""
        self._shown = Paths.of(policy.shown, event_type)
        paths = [(Paths.of(listed.parsed, event_type), listed.reason) for listed in policy.withhold]
        self._withheld = [(asked, reason) for asked, reason in paths if asked]
        self._shows_all = policy.may_show_all and not self._withheld
        patterns = [pattern for listed in policy.withhold for pattern in listed.parsed]
        # As in `Paths.reach`, a last step of * names nothing that stands in the clear.
        self._named = Paths.of((p for p in patterns if p.steps and p.steps[-1] != "*"), event_type)
        self._plain = PLAIN.get(event_type, frozenset())
        is_kept = event_type in KEPT
        self.withheld = None if is_kept else self._why_withheld(policy, event_type)
        self.is_redactable = not is_kept and matches_payload(policy.removable, event_type)

    def _why_withheld(self, policy: DisclosurePolicy, event_type: str) -> str | None:
        for listed in policy.withhold:
            if matches_payload(listed.parsed, event_type):
                return listed.reason
        return None if any(pattern.is_of_type(event_type) for pattern in policy.shown) else self._reason

    def why_withheld(self, path: Sequence[Step], value: object) -> str | None:
        """Return why the sensitive member of this value is withheld itself; None where it is not.

        It is shown only if what it stands in is shown, too. It is withheld also for the sake of what
        stands in it in the clear.
        """
        for paths, reason in self._withheld:
            if paths.takes(path, value):
                return reason
        return None if self._shown.match(path) else self._reason

    def exposed(self, payload: Mapping[str, Any]) -> Iterator[tuple[Step, ...]]:
        """Yield where a committed payload has in the clear what `withhold` means, or a text that may hold it.

        It is not sensitive, and so cannot be withheld by itself. What must be in the clear is passed over.
        """
        if self._named:
            clear = {name: value for name, value in payload.items() if name not in self._plain}
            yield from _exposed(self._named, clear, ())

    def select(
        self, payload: object, disclosures: Sequence[Disclosure]
    ) -> tuple[Sequence[Disclosure], dict[str, str]]:
        """Return which disclosures of a payload to show, and by digest why others are withheld themselves."""
        if self._shows_all:
            return disclosures, {}
        located = locate(payload, disclosures)
        found = ((at.disclosure.digest, self.why_withheld(at.path, at.disclosure.value)) for at in located)
        reasons = {digest: reason for digest, reason in found if reason is not None}
        return referenced(payload, [item for item in disclosures if item.digest not in reasons]), reasons


def _exposed(paths: Paths, value: object, at: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    for step, item in _in_the_clear(value):
        if paths.reach([item] if step is None else {step: item}):
            is_meant, below = paths.below(step)
            deeper = [] if is_meant else list(_exposed(below, item, (*at, step)))
            yield from deeper or [(*at, step)]


def _in_the_clear(value: object) -> Iterator[tuple[Step, object]]:
    if isinstance(value, dict):
        yield from ((name, item) for name, item in value.items() if name not in RESERVED)
    elif isinstance(value, list):
        yield from ((None, item) for item in value)


def _check_reason(reason: str | None) -> None:
    if not is_text(reason):
        raise ValueError(f"expected a reason of 1-1024 characters without controls, found {reason!r:.80}")


def _check_may_go(patterns: Iterable[Pattern]) -> None:
    """Check that no pattern is the name of a type whose payload a bundle always shows."""
    for pattern in patterns:
        if pattern.text in KEPT:
            raise ValueError(f"a bundle always shows the payload of {pattern.text}")


def _plain_member(pattern: Pattern) -> str | None:
    """Return the member that a pattern names and that is never in a disclosure, if it does."""
    *before, name = pattern.steps or ("",)
    return name if before in ([], [ANY_DEPTH]) and name in PLAIN.get(pattern.type, ()) else None
