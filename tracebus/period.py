"""Periods: how long something is kept, in calendar days (schemas/retention-policy-v1.md sections 3 and 6).

::

    P13M      thirteen months
    P1Y6M     a year and six months
    P2W       two weeks

An ISO 8601 duration of whole years, months, weeks and days. The day from which it runs is not counted, and it
ends with its last day, in UTC, as Regulation (EEC, Euratom) No 1182/71 Article 3 counts: so what is kept for
a period is kept for all of it.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from tracebus.times import to_timestamp

MAX_YEARS: Final = 1000

_NUMBER: Final = "([1-9][0-9]{0,3})"
_PERIOD: Final = re.compile(f"P(?=.)(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?")
_DAYS_IN_A_MONTH: Final = 365.2425 / 12
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A period: a number of months, and then of days. `text` is how it was written."""

    months: int
    days: int
    text: str

    @classmethod
    def parse(cls, text: str) -> Period:
        """Read a period.

        Raises:
            ValueError: It is none, or one of more than 1,000 years.
        """
        match = _PERIOD.fullmatch(text)
        if match is None:
            raise ValueError(f"expected years, months, weeks, days, as P13M or P2W, found {text!r:.80}")
        years, months, weeks, days = (int(number or 0) for number in match.groups())
        period = cls(12 * years + months, 7 * weeks + days, text)
        if period.nominal_days > MAX_YEARS * 12 * _DAYS_IN_A_MONTH:
            raise ValueError(f"expected at most {MAX_YEARS} years, found {text}")
        return period

    @property
    def nominal_days(self) -> float:
        """How long it is, in days, with months of 365.2425 / 12 days: to compare periods by."""
        return self.months * _DAYS_IN_A_MONTH + self.days

    def last_day(self, first: date) -> date:
        """Return the last day of the period that runs from a day.

        Where the month has no such day, it is the month's last day, and then come the days.

        Raises:
            OverflowError: It is behind the year 9999.
        """
        years, month = divmod(first.month - 1 + self.months, 12)
        year = first.year + years
        if year > date.max.year:
            raise OverflowError(f"{self.text} from {first} ends behind the year {date.max.year}")
        day = min(first.day, calendar.monthrange(year, month + 1)[1])
        return date(year, month + 1, day) + timedelta(days=self.days)

    def due_at(self, ended_at: str) -> str | None:
        """Return from when on something is due whose run ended at a time; both as headers have them.

        None: not within the years that a header can tell.
        """
        try:
            return _midnight(self.last_day(date.fromisoformat(ended_at[:10])) + _DAY)
        except OverflowError:
            return None

    def cutoff(self, now: str) -> str:
        """Return the time such that, now, what runs hold is due that ended before it, and nothing else."""
        return _cutoff(self, date.fromisoformat(now[:10]))

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=256)
def _cutoff(period: Period, today: date) -> str:
    """Return the first day from which the period is not over before today."""
    day = max(today - timedelta(days=int(period.nominal_days)), date.min)
    while day > date.min and not _is_over(period, day - _DAY, today):
        day -= _DAY
    while _is_over(period, day, today):
        day += _DAY
    return _midnight(day)


def _is_over(period: Period, first: date, today: date) -> bool:
    try:
        return period.last_day(first) < today
    except OverflowError:
        return False


def _midnight(day: date) -> str:
    return to_timestamp(datetime(day.year, day.month, day.day, tzinfo=UTC))
