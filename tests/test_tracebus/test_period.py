"""How long a period is: calendar days, clamped months, and the cutoff that they make."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracebus.period import MAX_YEARS, Period

_DAYS = st.dates(min_value=date(1970, 1, 1), max_value=date(2500, 12, 31))
_TEXTS = st.builds(
    lambda *numbers: "P" + "".join(f"{n}{unit}" for n, unit in zip(numbers, "YMWD", strict=True) if n),
    *(st.integers(0, most) for most in (300, 600, 600, 4000)),
).filter(lambda text: text != "P")


def at(day: date, clock: str = "12:00:00.000000000") -> str:
    """Return a time on a day, as a header has it."""
    return f"{day.isoformat()}T{clock}Z"


@pytest.mark.parametrize(
    ("first", "period", "last"),
    [
        ("2026-01-15", "P1D", "2026-01-16"),
        ("2026-01-31", "P1M", "2026-02-28"),
        ("2028-01-31", "P1M", "2028-02-29"),
        ("2026-12-31", "P2M", "2027-02-28"),
        ("2026-10-31", "P1M", "2026-11-30"),
        ("2028-02-29", "P1Y", "2029-02-28"),
        ("2028-02-29", "P4Y", "2032-02-29"),
        ("2096-02-29", "P4Y", "2100-02-28"),
        ("2026-02-28", "P1M", "2026-03-28"),
        ("2026-01-31", "P1M1D", "2026-03-01"),
        ("2026-01-30", "P1Y1M1W1D", "2027-03-08"),
        ("2026-11-21", "P13M", "2027-12-21"),
        ("2026-12-31", "P2W", "2027-01-14"),
        ("2026-11-21", "P180D", "2027-05-20"),
        ("2026-11-21", "P7Y", "2033-11-21"),
    ],
)
def test_last_day(first: str, period: str, last: str) -> None:
    """Months come first, and end with the month where it has no such day; then come weeks and days."""
    assert date.fromisoformat(last) == Period.parse(period).last_day(date.fromisoformat(first))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "P0D",
        "P01M",
        "P-1M",
        "-P1M",
        "+P1M",
        "P1.5Y",
        "P1M1Y",
        "P1D1W",
        "P1M1M",
        "PT1H",
        "P1DT1H",
        "p1m",
        "P 1M",
        "P1M ",
        "P1M\n",
        "1M",
        "P12345D",
        "P1001Y",
        "P1000Y1D",
        "P\u0661M",
        "forever",
    ],
)
def test_refused(text: str) -> None:
    """What is not years, months, weeks and days, each once, in order and not zero, is refused."""
    with pytest.raises(ValueError, match="expected"):
        Period.parse(text)


def test_longest_period() -> None:
    """A thousand years are taken, and what would end behind the last year is never due."""
    longest = Period.parse(f"P{MAX_YEARS}Y")
    assert ("1026-11-21T00:00:00.000000000Z", None) == (
        longest.cutoff(at(date(2026, 11, 21))),
        longest.due_at(at(date(9026, 11, 21))),
    )


@given(_TEXTS, _DAYS, _DAYS)
def test_later_start_never_ends_earlier(text: str, one: date, other: date) -> None:
    """Of two days the later one's period ends no earlier: so one cutoff can part what is due."""
    period = Period.parse(text)
    first, second = sorted((one, other))
    assert period.last_day(first) <= period.last_day(second)


@given(_TEXTS, _DAYS, st.integers(-3, 3), st.sampled_from(["00:00:00.000000000", "23:59:59.999999999"]))
def test_cutoff_is_due_at(text: str, ended: date, days: int, clock: str) -> None:
    """What ended before the cutoff, and only that, is what is due by its own last day."""
    period = Period.parse(text)
    now = at(period.last_day(ended) + timedelta(days=days), clock)
    due_at = period.due_at(at(ended, clock))
    assert due_at is not None
    assert (due_at <= now) == (at(ended, clock) < period.cutoff(now))


@given(_TEXTS, _DAYS)
def test_day_before_is_never_due(text: str, ended: date) -> None:
    """On the last day of the period nothing is due; on the next one it is."""
    period = Period.parse(text)
    last = period.last_day(ended)
    latest = at(ended, "23:59:59.999999999")
    assert (False, True) == tuple(latest < period.cutoff(at(day)) for day in (last, last + timedelta(days=1)))


@given(_TEXTS, _DAYS, _DAYS)
def test_cutoff_never_goes_back(text: str, one: date, other: date) -> None:
    """As time goes on, what was due stays due."""
    period = Period.parse(text)
    first, second = sorted((one, other))
    assert period.cutoff(at(first)) <= period.cutoff(at(second))


def test_specification(root: Path) -> None:
    """The table of schemas/retention-policy-v1.md section 6 is what the code does."""
    text = (root / "schemas" / "retention-policy-v1.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\S+)Z \| `(P\w+)` \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert len(rows) == 8
    for ended, written, last, due in rows:
        period = Period.parse(written)
        found = period.last_day(date.fromisoformat(ended[:10])), period.due_at(f"{ended}.000000000Z")
        assert (date.fromisoformat(last), f"{due}T00:00:00.000000000Z") == found
