"""Patterns that operators write, checked against the types that there are.

What a pattern means is `evidence.pattern`, which knows no types. Here they are known, so that a slip is
refused where it is made, and not found out when something was shown that should have stayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import tracebus.events  # noqa: F401  (defines the built-in types)
from evidence.pattern import Pattern, has_wildcard
from tracebus.payload import payload_classes


def check_types(patterns: Iterable[Pattern]) -> None:
    """Check that each type that is named outright may be one: built in, or a user's, which has a dot.

    Raises:
        ValueError: A type has neither a wildcard nor a dot, and is not built in.
    """
    known = payload_classes()
    for pattern in patterns:
        if has_wildcard(pattern.type) or "." in pattern.type or pattern.type in known:
            continue
        close = get_close_matches(pattern.type, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"pattern {pattern.text!r:.80}: there is no event type {pattern.type:.80}{hint}")
