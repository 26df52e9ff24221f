"""Hypothesis strategies that test folders share."""

from __future__ import annotations

import math
from enum import IntEnum, StrEnum
from typing import Any

from hypothesis import strategies as st

MAX_SAFE = 2**53 - 1

characters = st.characters(exclude_categories=["Cs"])
"""Any character that UTF-8 can write: every plane, control characters, noncharacters."""

texts = st.text(characters, max_size=12) | st.text(
    st.sampled_from('\x00\x1f\x7f"\\/\ud7ff\ue000\ufb33\uffff\U00010000\U0001f602\U0010ffff'), max_size=4
)
"""Text, often with what canonical JSON escapes or sorts apart."""

safe_integers = st.integers(-MAX_SAFE, MAX_SAFE) | st.sampled_from([-MAX_SAFE, MAX_SAFE, 10**15, -(10**15)])

floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [
        0.0,
        -0.0,
        5e-324,
        -5e-324,
        2.2250738585072014e-308,
        1.7976931348623157e308,
        1e-07,
        1e-06,
        1e16,
        1e21,
        1e22,
        1e20,
        123456789012345.6,
        333333333.3333333,
        9007199254740991.0,
        9007199254740992.0,
        0.1,
        4.5,
    ]
)

scalars = st.none() | st.booleans() | safe_integers | floats | texts


def json_values(leaves: st.SearchStrategy[Any] = scalars, max_leaves: int = 20) -> st.SearchStrategy[Any]:
    """Return a strategy for nested JSON values: lists, tuples and dicts of these leaves."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(texts, inner, max_size=4)
        ),
        max_leaves=max_leaves,
    )


class Text(str):
    """A subclass of `str`."""


class Number(int):
    """A subclass of `int`."""


class Real(float):
    """A subclass of `float`."""


class Mapping(dict[str, Any]):
    """A subclass of `dict`."""


class Items(list[Any]):
    """A subclass of `list`."""


class Level(IntEnum):
    """An enumeration whose members are integers."""

    LOW = 1
    HIGH = 9007199254740991
    TOO_HIGH = 9007199254740993


class Colour(StrEnum):
    """An enumeration whose members are text."""

    RED = "red"
    HIGH = "\ue000"


subclassed = (
    texts.map(Text)
    | safe_integers.map(Number)
    | floats.map(Real)
    | st.sampled_from(Level)
    | st.sampled_from(Colour)
    | st.dictionaries(texts | texts.map(Text), scalars, max_size=3).map(Mapping)
    | st.lists(scalars, max_size=3).map(Items)
)
"""Values whose types are subclasses of what JSON knows."""

refusable = (
    st.sampled_from([math.nan, math.inf, -math.inf, "\ud800", "\udfff", 2**53, -(2**53), 2**64, b"", object])
    | st.dictionaries(st.integers() | st.none(), scalars, min_size=1, max_size=2)
    | st.dictionaries(st.sampled_from(["\ud800", "a"]), scalars, min_size=1, max_size=2)
    | st.sets(st.integers(), max_size=1)
    | st.decimals()
    | st.datetimes()
    | st.complex_numbers()
)
"""Mostly values that canonical JSON has no bytes for."""
