"""Patterns: what they mean, what they pass over, and what is no pattern."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evidence.disclosure import SD, disclose, locate, open_payload, parse_disclosure
from evidence.pattern import Paths, Pattern, format_path, matches_payload, parse_patterns


def means(text: str, event_type: str, path: list[str | None]) -> bool:
    """Tell whether a pattern means the member of a type at a path."""
    return Paths.of([Pattern(text)], event_type).match(path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("*:userId", ["userId"]),
        ("*:userId", ["result", None, "userId"]),
        ("*:*", ["result"]),
        ("*:*", ["result", None]),
        ("tool_*:result", ["result"]),
        ("tool_executed:/result", ["result"]),
        ("tool_executed:result/email", ["result", "email"]),
        ("tool_executed:result/*/dob", ["result", None, "dob"]),
        ("tool_executed:result/*/dob", ["result", "first", "dob"]),
        ("tool_executed:result/*", ["result", None]),
        ("tool_executed:result/**/email", ["result", "email"]),
        ("tool_executed:result/**/email", ["result", "a", None, "b", "email"]),
        ("tool_executed:**/email", ["email"]),
        ("tool_executed:**/a/**/b", ["x", "a", "a", "b"]),
        ("tool_executed:/*Id", ["callId"]),
        ("tool_executed:/a[*]", ["a*"]),
        ("tool_executed:/a~1b", ["a/b"]),
        ("tool_executed:/a~01", ["a~1"]),
    ],
)
def test_means(text: str, path: list[str | None]) -> None:
    """A pattern means the member at this path."""
    assert True is means(text, "tool_executed", path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tool_proposed:result", ["result"]),
        ("tool_executed", ["result"]),
        ("*:userId", ["userid"]),
        ("*:userId", ["userId", "name"]),
        ("tool_executed:/result", ["x", "result"]),
        ("tool_executed:result/email", ["x", "result", "email"]),
        ("tool_executed:result/*/dob", ["result", "dob"]),
        ("tool_executed:result/**/email", ["email"]),
        ("tool_executed:result/?", ["result", None]),
        ("tool_executed:result/[*]", ["result", None]),
    ],
)
def test_passes_over(text: str, path: list[str | None]) -> None:
    """A pattern does not mean the member at this path."""
    assert False is means(text, "tool_executed", path)


@pytest.mark.parametrize(
    "text", ["", ":a", "t:", "t:/", "t:a//b", "t:a/", "t:a/**", "t:**", "t:a~", "t:~2/b"]
)
def test_no_pattern(text: str) -> None:
    """What leaves out a type or a step, or has a tilde that stands for nothing, is refused by its text."""
    with pytest.raises(ValueError, match="pattern: expected") as refused:
        Pattern(text)
    assert repr(text)[:80] in str(refused.value)


def test_several_are_no_text() -> None:
    """One text in place of several patterns is refused, for its characters would be taken for patterns."""
    with pytest.raises(TypeError, match="found one text"):
        parse_patterns("*:userId")


def test_payloads() -> None:
    """A pattern without a path means whole payloads, and no member; one with a path no payload."""
    patterns = parse_patterns(["tool_*", "turn_started:input"])
    found = [matches_payload(patterns, event_type) for event_type in ("tool_executed", "turn_started")]
    assert [True, False] == found
    assert not Paths.of(patterns, "tool_executed")


@given(st.lists(st.text(min_size=1), min_size=2))
def test_a_path_means_itself(path: list[str]) -> None:
    """A path without wildcards, as it is formatted, is a pattern for that very path."""
    escaped = ["".join(f"[{c}]" if c in "*?[" else c for c in name) for name in path]
    assert True is means(f"t:{format_path(escaped)}", "t", list(path))


def test_many_wildcards() -> None:
    """A pattern of many wildcards is matched in a time that does not grow with each step."""
    text = "t:" + "**/" * 40 + "z"
    assert False is means(text, "t", ["a"] * 60)


def test_locate() -> None:
    """Each disclosure is found at its path, a parent before what stands below it."""
    street, street_digest = disclose("street", "Elm")
    first, first_digest = disclose(None, "a@x")
    home, home_digest = disclose("home", {SD: [street_digest], "mails": [{"...": first_digest}]})
    payload = {"customer": {SD: [home_digest]}}
    given = [parse_disclosure(text, "test") for text in (street, first, home)]
    found = {".".join(step or "*" for step in at.path): at.disclosure.text for at in locate(payload, given)}
    assert {"customer.home": home, "customer.home.street": street, "customer.home.mails.*": first} == found
    assert "customer.home" == next(iter(found))
    assert {"customer": {"home": {"street": "Elm", "mails": ["a@x"]}}} == open_payload(
        payload, given, "test"
    ).value


def test_locate_leaves_out_orphans() -> None:
    """A disclosure that nothing refers to, such as one whose parent is not at hand, is not located."""
    street, _ = disclose("street", "Elm")
    assert [] == locate({"customer": {}}, [parse_disclosure(street, "test")])


@pytest.mark.parametrize(
    "value",
    [
        {"iban": "DE89"},
        {"a": [{"b": {"iban": None}}]},
        [{"iban": []}],
        {"jsonText": '{"iban": "DE89"}'},
        {"note": ' [{"iban": "DE89"}]'},
        "{'iban': 'DE89'}",
        {"iban": {"_sd": ["x"], "bank": "N26"}},
        [{"_sd": ["x"], "iban": "DE89"}],
        {"iban": [{"...": "x"}, "DE89"]},
        {"jsonText": '"Account(iban=DE89)"'},
        {"jsonText": '"{\\"iban\\": \\"DE89\\\\ud800\\"}"'},
        '"{\\"iban\\": \\"DE89\\"}"',
        "{7: {'iban': 'DE89'}}",
        "{b'iban': 'DE89'}",
        '[NaN, {"iban": "DE89"}]',
        "[('iban', 'DE89')]",
    ],
)
def test_reaches_into(value: object) -> None:
    """What is meant stands in a value in the clear, or may stand in a text in it."""
    assert True is Paths.of([Pattern("t:iban")], "t").takes(["result"], value)


@pytest.mark.parametrize(
    "value",
    [
        "DE89",
        {"note": "iban: DE89"},
        {"_sd": ["iban"]},
        {"iban": {"_sd": ["x"]}},
        {"iban": [{"...": "x"}, {"...": "y"}]},
        {"iban": [[{"...": "x"}], {"_sd": ["x"]}]},
        [{"...": "iban"}],
        {"jsonText": "12345678901234567890"},
        {"jsonText": "NaN"},
        "{iban} of {0}",
        "[info] no iban",
    ],
)
def test_does_not_reach_into(value: object) -> None:
    """What has a digest of its own, and words in a text, do not count as standing there."""
    assert False is Paths.of([Pattern("t:iban")], "t").takes(["result"], value)


Path = tuple[str | None, ...]

_NAMES: Final = st.sampled_from(["a", "b", "iban"])
_STEPS: Final = st.sampled_from(["a", "b", "iban", "[ab]", "*", "**"])
_PATHS: Final = st.tuples(st.lists(_STEPS, max_size=3), st.sampled_from(["a", "iban", "?", "*"]))
_VALUES: Final = st.recursive(
    st.integers(),
    lambda inner: (
        st.lists(inner | st.just({"...": "x"}), max_size=3)
        | st.dictionaries(_NAMES, inner, max_size=3)
        | st.dictionaries(_NAMES, inner, max_size=3).map(lambda members: {"_sd": ["x"]} | members)
    ),
    max_leaves=12,
)


def in_the_clear(
    value: object, path: tuple[str | None, ...]
) -> Iterator[tuple[tuple[str | None, ...], bool]]:
    """Yield the path of each part of a value, and whether more than digests stands there."""
    below: list[tuple[Path, object]] = []
    if isinstance(value, dict):
        below = [((*path, name), item) for name, item in value.items() if name not in ("_sd", "...")]
    elif isinstance(value, list):
        below = [((*path, None), item) for item in value]
    says = [part for at, item in below for part in in_the_clear(item, at)]
    is_a_digest = isinstance(value, dict) and value.keys() in ({"_sd"}, {"..."})
    is_of_digests = isinstance(value, list) and bool(value) and not any(is_more for _, is_more in says)
    yield path, not (is_a_digest or is_of_digests)
    yield from says


@given(_VALUES, st.lists(_PATHS, max_size=3))
@example([{"_sd": ["x"], "iban": 1}], [([], "iban")])
def test_reaches_all_that_stands_in_the_clear(value: object, asked: list[tuple[list[str], str]]) -> None:
    """A value goes if it holds, outside of any digest, something that a pattern names."""
    patterns = [Pattern("t:" + "/".join(["result", "**", *before, last])) for before, last in asked]
    named = Paths.of([pattern for pattern in patterns if not pattern.text.endswith("*")], "t")
    parts = list(in_the_clear(value, ("result",)))[1:]
    expected = any(named.match(path) for path, is_more in parts if is_more)
    assert expected is Paths.of(patterns, "t").takes(["result"], value)


def test_reaches_by_path() -> None:
    """Text that may hold a document counts only where a pattern asks for something below it."""
    paths = Paths.of([Pattern("t:result/items/*/name")], "t")
    found = [
        paths.takes(["result"], value)
        for value in ({"items": "[1]"}, {"other": "[1]"}, {"items": [{"name": 1}]}, {"items": {"name": 1}})
    ]
    assert [True, False, True, False] == found


def test_takes_what_stands_below() -> None:
    """What stands below something that is meant goes with it; what stands around it does not."""
    paths = Paths.of([Pattern("t:/result")], "t")
    found = [paths.takes(path, 1) for path in (["result"], ["result", "a", None], ["a", "result"])]
    assert [True, True, False] == found


def test_a_last_wildcard_names_nothing() -> None:
    """A pattern of all members means those with a digest of their own, and not what they stand in."""
    paths = Paths.of([Pattern("t:result/*"), Pattern("t:a/**/*")], "t")
    found = [paths.takes([name], {"iban": "DE89"}) for name in ("result", "a")]
    assert [False, False] == found
    assert True is paths.takes(["result", "iban"], "DE89")
