"""Which kind of policy a file holds: so that one that was taken for another is called by its name."""

from __future__ import annotations

import re
import tomllib
from typing import Final

_MEMBERS: Final = (
    ("rule", "retention policy"),
    ("withhold", "disclosure policy"),
    ("show", "disclosure policy"),
    ("redactable", "disclosure policy"),
)
"""By which member of a TOML file its kind is told; first come, first told."""

_TRUST: Final = re.compile(
    rb"^(?:#[ \t]*tracebus[ \t]+)?(log|witness|group|quorum|bundle-key|receipt-key|require)[ \t]+[^ \t=]",
    re.M,
)


def mistaken(data: bytes, expected: str) -> str | None:
    """Return what to say of a file that is another kind of policy than was expected; None if it is none.

    A guess, for messages alone, of a file that was refused already.
    """
    found = _kind_of(data)
    if found is None or found[0] == expected:
        return None
    return f"this is a {found[0]} (it has `{found[1]}`); expected a {expected}"


def _kind_of(data: bytes) -> tuple[str, str] | None:
    """Return the kind of a policy, and the member or the word by which it was told."""
    try:
        table = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        table = {}
    for member, kind in _MEMBERS:
        if member in table:
            return kind, member
    line = _TRUST.search(data)  # its comments alone are TOML, too
    return None if line is None else ("trust policy", line[1].decode())
