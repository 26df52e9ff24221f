"""What an export is asked to disclose: from the options of the command line to a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import click

from evidence import DisclosurePolicy, Withholding
from evidence.inputs import read_disclosure_policy
from evidence.pattern import ANY_DEPTH, Pattern, has_wildcard
from evidence.printable import printable
from tracebus.patterns import check_types
from tracebus.payload import payload_class

NOTHING: Final = "nothing"
"""What ``--show`` takes in place of a pattern, to show nothing but what a bundle always shows."""


class Asked(NamedTuple):
    """A policy, and the patterns that somebody wrote for it: on the command line, or in a file."""

    policy: DisclosurePolicy
    show: tuple[Pattern, ...]
    withhold: tuple[Pattern, ...]
    is_file: bool


def asked_for(path: str | None, show: Sequence[str], withhold: Sequence[str], reason: str | None) -> Asked:
    """Return what the options ask for; all that is still held where they ask for nothing.

    Raises:
        click.UsageError: They contradict each other, or a pattern is a slip.
        MalformedInput: The file is no disclosure policy.
        OSError: It cannot be read.
    """
    if path is None:
        policy = _policy(show, withhold, reason)
    elif show or withhold or reason is not None:
        raise click.UsageError("--policy says all of it: leave out --show, --withhold and --reason")
    else:
        policy = read_disclosure_policy(path)
    withheld = tuple(pattern for listed in policy.withhold for pattern in listed.parsed)
    asked = Asked(policy, policy.shown if path is not None or show else (), withheld, path is not None)
    for pattern in asked.show:
        _check_slip(pattern, path or "--show")
    for pattern in asked.withhold:
        _check_slip(pattern, path or "--withhold")
    return asked


def _policy(show: Sequence[str], withhold: Sequence[str], reason: str | None) -> DisclosurePolicy:
    if not show and not withhold:
        if reason is not None:
            raise click.UsageError(
                "--reason says why something is withheld: name it with --withhold, or the rest with --show"
            )
        return DisclosurePolicy.everything()
    if not reason:
        needs = "--show" if show else "--withhold"
        raise click.UsageError(f"{needs} needs --reason TEXT: the bundle says why something is left out")
    if NOTHING in show and len(show) > 1:
        raise click.UsageError(f"--show {NOTHING} excludes any other --show")
    try:
        withheld = [Withholding(withhold, reason)] if withhold else []
        if NOTHING in show:
            return DisclosurePolicy(show=(), withhold=withheld, reason=reason)
        return DisclosurePolicy(show=show or ("*:*",), withhold=withheld, reason=reason)
    except ValueError as error:
        hint = "--show or --withhold" if show and withhold else "--show" if show else "--withhold"
        raise click.BadParameter(printable(str(error)), param_hint=hint) from None


def _check_slip(pattern: Pattern, hint: str) -> None:
    """Refuse what a slip makes of a pattern: a type, or a member of a payload, that there is not.

    Types of users have a dot, and may be unknown here; patterns with a wildcard are warned of where
    they match nothing.
    """
    try:
        check_types([pattern])
    except ValueError as error:
        raise click.BadParameter(printable(str(error)), param_hint=hint) from None
    cls = payload_class(pattern.type)
    if cls is None or "." in pattern.type:
        return
    names = [member.name for member in cls.members()]
    is_deep = pattern.text.partition(":")[2].startswith(f"{ANY_DEPTH}/")
    name = next((step for step in pattern.steps or () if step != ANY_DEPTH), "*")
    if not is_deep and not has_wildcard(name) and name not in names:
        reason = (
            f"{pattern.type} has no member {name}; it has {', '.join(sorted(names))}; "
            f"one within these is written {pattern.type}:{ANY_DEPTH}/{name}"
        )
        raise click.BadParameter(printable(reason), param_hint=hint)
