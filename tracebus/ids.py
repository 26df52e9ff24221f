"""Event ids: ULIDs that grow within a run, also when the clock steps back."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Final

from ulid import ULID
from ulid.base32 import decode, encode

NewId = Callable[[int, str | None], str]
"""Makes the id of an event from the time in nanoseconds and the id that it must follow."""

_RANDOM_BITS: Final = 80
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NEXT_DIGIT: Final = dict(itertools.pairwise(_DIGITS))


def new_ulid() -> str:
    """Return a new ULID."""
    return str(ULID())


class MonotonicIds:
    """Makes ULIDs, each greater than the one it follows and than any it made before.

    Within a millisecond, and while the clock stands behind the last id, the next id is the last one
    plus one, as the ULID specification's monotonic generators do. Not safe for several threads.
    """

    def __init__(self) -> None:
        self._last = 0
        self._last_text = ""

    def __call__(self, now: int, after: str | None) -> str:
        """Return an id for the time `now` (nanoseconds since 1970), greater than `after`."""
        if after is not None and after > self._last_text:
            self._last, self._last_text = _to_int(after), after
        if now // 1_000_000 > self._last >> _RANDOM_BITS:
            self._last = now // 1_000_000 << _RANDOM_BITS | int.from_bytes(os.urandom(10))
            self._last_text = _to_text(self._last)
        else:
            self._last += 1
            self._last_text = _following(self._last_text) or _to_text(self._last)
        return self._last_text


def _following(ulid: str) -> str | None:
    """Return the ULID after this one where only the last digit differs: in most cases, and faster."""
    following = _NEXT_DIGIT.get(ulid[-1:])
    return following and ulid[:-1] + following


def _to_int(ulid: str) -> int:
    return int.from_bytes(decode(ulid))


def _to_text(value: int) -> str:
    return encode(value.to_bytes(16))
