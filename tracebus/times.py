"""Times as they stand in headers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from evidence.header import is_timestamp

_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def to_timestamp(value: datetime | str) -> str:
    """Return a time as a header has it: UTC, nine fractional digits, ``Z``.

    Args:
        value: A datetime with a time zone, or RFC 3339 text with at most nine fractional digits.

    Raises:
        ValueError: The datetime has no time zone, or the text is not RFC 3339.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"time: expected a datetime with a time zone, found {value.isoformat()}")
        try:
            whole = value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"time: {value.isoformat()} is out of range in UTC") from None
        return f"{whole.replace(tzinfo=None).isoformat(timespec='microseconds')}000Z"
    if is_timestamp(value):
        return value
    match = _RFC3339.fullmatch(value)
    if match is None:
        raise ValueError(f"time: expected RFC 3339 such as 2026-11-21T02:03:04Z, found {value!r:.80}")
    date, clock, fraction, zone = match.groups()
    moment = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    return to_timestamp(moment)[:20] + f"{(fraction or ''):0<9}Z"
