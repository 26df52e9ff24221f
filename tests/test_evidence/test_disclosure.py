"""Selective disclosure: hiding and opening are inverse, and nothing else can be put in."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from evidence import DisclosureRefused, MalformedInput, canonical
from evidence.disclosure import (
    RESERVED,
    Opened,
    digest_of,
    disclose,
    is_sd_digest,
    new_salt,
    open_payload,
    parse_disclosure,
    referenced,
)
from tests.strategies import safe_integers, texts


def encoded(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def made(*parts: Any) -> tuple[str, str]:
    """Return text and digest of a disclosure of any parts, written here and not by the code under test."""
    text = encoded(rfc8785.dumps(list(parts)))
    return text, encoded(hashlib.sha256(text.encode()).digest())


def opened(payload: object, texts: Sequence[str] = ()) -> Opened:
    """Open a payload."""
    return open_payload(payload, texts, "event")


def refusal(payload: object, *texts: str) -> str:
    """Return why opening a payload is refused."""
    with pytest.raises(DisclosureRefused) as caught:
        open_payload(payload, texts, "event")
    return caught.value.reason


# Making and reading single disclosures


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0",
            "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0",
        ),
        ("WyJsa2x4RjVqTVlsR1RQVW92TU5JdkNBIiwgIkZSIl0", "w0I8EKcdCtUPkGCNUrfwVp2xEgNjtoIDlOxc9-PlOhs"),
    ],
)
def test_rfc_9901_digests(text: str, expected: str) -> None:
    """The digests of RFC 9901's disclosures are those that it states."""
    assert expected == digest_of(text)


def test_rfc_9901_spelling_is_not_ours() -> None:
    """RFC 9901's examples hold white space; a disclosure here is canonical JSON, and only that."""
    text = "WyJsa2x4RjVqTVlsR1RQVW92TU5JdkNBIiwgIkZSIl0"
    with pytest.raises(DisclosureRefused, match="not canonical JSON"):
        parse_disclosure(text, "event")


@given(texts.filter(lambda name: name not in RESERVED), safe_integers | texts | st.lists(texts))
def test_a_member_is_disclosed_and_read(name: str, value: object) -> None:
    """What was disclosed is read again: name, value and digest."""
    text, digest = disclose(name, value)
    read = parse_disclosure(text, "event")
    assert (text, digest, name, value) == (read.text, read.digest, read.name, read.value)


def test_a_disclosure_is_what_rfc_9901_says() -> None:
    """Text and digest are base64url of salt, name and value, and of the text's SHA-256."""
    assert made("salt", "name", {"b": 1, "a": [None]}) == disclose("name", {"a": [None], "b": 1}, "salt")


def test_an_element_has_no_name() -> None:
    """An element's disclosure holds salt and value."""
    text, _ = disclose(None, "FR", "salt")
    assert (None, "FR") == (parse_disclosure(text, "event").name, parse_disclosure(text, "event").value)


def test_salts_are_fresh() -> None:
    """No two salts are the same, and each holds 16 bytes."""
    salts = {new_salt() for _ in range(1000)}
    assert (1000, {22}) == (len(salts), set(map(len, salts)))


@pytest.mark.parametrize(
    "text",
    {
        "empty": "",
        "no base64": "*",
        "standard base64": base64.b64encode(rfc8785.dumps(["s", "n", "\u00ff\u00fe>?"])).decode().rstrip("="),
        "padded": encoded(b'["s","n",12]') + "=",
        "unused bits": encoded(b'["s",1]')[:-1] + "R",
        "white space": "WyJzIiwx XQ",
        "line end": encoded(b'["s",1]') + "\n",
        "not ASCII": "é",
        "no JSON": encoded(b"x"),
        "white space in JSON": encoded(b'["s", 1]'),
        "1.0": encoded(b'["s",1.0]'),
        "unsafe integer": encoded(b'["s",9007199254740993]'),
        "name twice": encoded(b'["s",{"a":1,"a":1}]'),
        "lone surrogate": encoded(b'["s","\\ud800"]'),
        "NaN": encoded(b'["s",NaN]'),
        "not UTF-8": encoded(b'["s","\xff"]'),
        "an object": encoded(b'{"a":1}'),
        "text": encoded(b'"s"'),
        "no part": encoded(b"[]"),
        "one part": encoded(b'["s"]'),
        "four parts": encoded(b'["s","n",1,2]'),
        "salt is a number": encoded(b'[1,"n",1]'),
        "salt is null": encoded(b"[null,1]"),
        "salt is empty": encoded(b'["","n",1]'),
        "name is a number": encoded(b'["s",1,1]'),
        "name is null": encoded(b'["s",null,1]'),
        "name is _sd": encoded(b'["s","_sd",[]]'),
        "name is ...": encoded(b'["s","...","x"]'),
        "name is _salt": encoded(b'["s","_salt","x"]'),
        "too deep": encoded(b'["s",' + b"[" * 200 + b"]" * 200 + b"]"),
    }.items(),
    ids=lambda item: item[0],
)
def test_other_spellings_of_disclosures_are_refused(text: tuple[str, str]) -> None:
    """A disclosure has one spelling, and its parts one form."""
    with pytest.raises(DisclosureRefused):
        parse_disclosure(text[1], "event")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.binary(max_size=30).map(encoded))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text ends in a disclosure of this very text, or in DisclosureRefused."""
    try:
        read = parse_disclosure(text, "event")
    except DisclosureRefused:
        return
    assert text == read.text


@pytest.mark.parametrize(
    "value", ["A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "+", "é" * 43, "", None, 1, ["A" * 43]]
)
def test_what_is_no_digest(value: object) -> None:
    """A digest is 43 characters of base64url."""
    assert not is_sd_digest(value)


# Hiding and opening whole payloads


class Node:
    """A part of a payload that may be hidden, and how to say what is left of it."""

    def __init__(self, value: Any, draw: Any, salts: Iterator[int]) -> None:
        self.digest = ""
        self.text = ""
        self._value = value
        self._salts = salts
        if isinstance(value, dict):
            self._parts = {
                name: (Node(item, draw, salts), draw(st.booleans())) for name, item in value.items()
            }
        elif isinstance(value, list):
            self._parts = {i: (Node(item, draw, salts), draw(st.booleans())) for i, item in enumerate(value)}

    def committed(self) -> Any:
        """Return the committed form, in which what is hidden is a digest."""
        if not isinstance(self._value, dict | list):
            return self._value
        parts = {name: self._commit(name, *part) for name, part in self._parts.items()}
        if isinstance(self._value, list):
            return list(parts.values())
        digests = sorted(node.digest for node, is_hidden in self._parts.values() if is_hidden)
        members = {name: part for name, part in parts.items() if not self._parts[name][1]}
        return members | ({"_sd": digests} if digests else {})

    def _commit(self, name: Any, node: Node, is_hidden: bool) -> Any:
        committed = node.committed()
        if not is_hidden:
            return committed
        parts = [committed] if isinstance(name, int) else [name, committed]
        node.text, node.digest = made(f"salt {next(self._salts)}", *parts)
        return {"...": node.digest}

    def hidden(self) -> Iterator[Node]:
        """Yield every part that is hidden, those within others too."""
        if isinstance(self._value, dict | list):
            for node, is_hidden in self._parts.values():
                if is_hidden:
                    yield node
                yield from node.hidden()

    def showing(self, shown: set[str]) -> Any:
        """Return what a reader sees to whom these digests' disclosures are shown."""
        if not isinstance(self._value, dict | list):
            return self._value
        seen = {
            name: node.showing(shown)
            for name, (node, is_hidden) in self._parts.items()
            if not is_hidden or node.digest in shown
        }
        return seen if isinstance(self._value, dict) else list(seen.values())

    def reachable(self, shown: set[str]) -> set[str]:
        """Return those of the digests whose parents are shown too."""
        if not isinstance(self._value, dict | list):
            return set()
        found: set[str] = set()
        for node, is_hidden in self._parts.values():
            if is_hidden and node.digest not in shown:
                continue
            found |= {node.digest} if is_hidden else set()
            found |= node.reachable(shown)
        return found


values = st.recursive(
    st.none() | st.booleans() | safe_integers | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts.filter(lambda name: name not in RESERVED), inner, max_size=4)
    ),
    max_leaves=12,
)
payloads = st.dictionaries(texts.filter(lambda name: name not in RESERVED), values, max_size=4)


@st.composite
def hidings(draw: Any) -> tuple[dict[str, Any], dict[str, Any], Node]:
    """Draw a payload, its committed form with random parts hidden, and how it was made."""
    payload = draw(payloads)
    node = Node(payload, draw, iter(range(10_000)))
    return payload, node.committed(), node


@given(hidings())
def test_opening_undoes_hiding(hiding: tuple[dict[str, Any], dict[str, Any], Node]) -> None:
    """With all disclosures, in any order, the payload is what it was."""
    payload, committed, node = hiding
    disclosures = sorted(part.text for part in node.hidden())
    assert payload == opened(committed, disclosures).value


@given(hidings(), st.randoms(use_true_random=False))
def test_a_reader_sees_what_is_shown(
    hiding: tuple[dict[str, Any], dict[str, Any], Node], random: Any
) -> None:
    """With some of the disclosures, exactly the others' values are missing."""
    _, committed, node = hiding
    hidden = list(node.hidden())
    shown = node.reachable({part.digest for part in hidden if random.random() < 0.6})
    result = opened(committed, [part.text for part in hidden if part.digest in shown])
    assert (node.showing(shown), shown) == (result.value, set(result.shown))


@given(hidings(), st.randoms(use_true_random=False))
def test_hidden_and_shown_are_all_that_can_be_seen(
    hiding: tuple[dict[str, Any], dict[str, Any], Node], random: Any
) -> None:
    """A digest is shown, hidden, or below one that is hidden."""
    _, committed, node = hiding
    parts = list(node.hidden())
    shown = node.reachable({part.digest for part in parts if random.random() < 0.6})
    result = opened(committed, [part.text for part in parts if part.digest in shown])
    below = {part.digest for part in parts} - result.shown - result.hidden
    assert all(digest not in json.dumps(result.value) for digest in below | result.hidden)
    assert not result.shown & result.hidden


@given(hidings(), st.randoms(use_true_random=False))
def test_referenced_are_those_with_all_their_parents(
    hiding: tuple[dict[str, Any], dict[str, Any], Node], random: Any
) -> None:
    """Of any disclosures, those are referenced whose parents are among them."""
    _, committed, node = hiding
    chosen = [part for part in node.hidden() if random.random() < 0.6]
    found = referenced(committed, [parse_disclosure(part.text, "") for part in chosen])
    assert node.reachable({part.digest for part in chosen}) == {disclosure.digest for disclosure in found}


@given(hidings())
def test_opening_changes_nothing(hiding: tuple[dict[str, Any], dict[str, Any], Node]) -> None:
    """The committed payload is what it was before."""
    _, committed, node = hiding
    before = canonical.dumps(committed)
    opened(committed, [part.text for part in node.hidden()])
    assert before == canonical.dumps(committed)


@given(hidings(), st.data())
def test_a_disclosure_fits_no_other_payload(
    hiding: tuple[dict[str, Any], dict[str, Any], Node], data: st.DataObject
) -> None:
    """A disclosure more than there are digests for is refused, wherever it comes from."""
    _, committed, node = hiding
    disclosures = [part.text for part in node.hidden()]
    name = data.draw(st.none() | texts.filter(lambda name: name not in RESERVED))
    foreign, _ = disclose(name, data.draw(values))
    assert "no digest" in refusal(committed, *disclosures, foreign)


@given(hidings(), st.data())
def test_a_disclosure_below_a_hidden_parent_is_refused(
    hiding: tuple[dict[str, Any], dict[str, Any], Node], data: st.DataObject
) -> None:
    """A disclosure whose parent is not shown is referenced nowhere."""
    _, committed, node = hiding
    parts = list(node.hidden())
    nested = [part for part in parts if list(part.hidden())]
    if not nested:
        return
    gone = data.draw(st.sampled_from(nested))
    assert "no digest" in refusal(committed, *(part.text for part in parts if part is not gone))


almost_committed = st.recursive(
    st.sampled_from([None, 1, "A" * 43, "B" * 43, "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["_sd", "...", "_salt", "a"]), inner, max_size=3)
    ),
)


@given(almost_committed)
def test_any_payload_is_opened_or_refused(payload: object) -> None:
    """Whatever stands under the reserved names, opening ends in a value without them or in a refusal."""
    try:
        value = opened(payload).value
    except DisclosureRefused:
        return
    text = json.dumps(value)
    assert ('"_sd":' in text, '"...":' in text) == (False, False)


# What is refused


TEXT, DIGEST = made("s", "name", 1)
ELEMENT, ELEMENT_DIGEST = made("s", 1)


def test_a_forged_value_is_refused() -> None:
    """A disclosure with another value has another digest, and nothing refers to it."""
    forged, _ = made("s", "name", 2)
    assert "no digest" in refusal({"_sd": [DIGEST]}, forged)


def test_the_same_disclosure_twice_is_refused() -> None:
    """A disclosure is given once."""
    assert "twice" in refusal({"_sd": [DIGEST]}, TEXT, TEXT)


@pytest.mark.parametrize(
    "payload",
    [
        {"_sd": [DIGEST, DIGEST]},
        {"_sd": [DIGEST], "a": {"_sd": [DIGEST]}},
        {"_sd": [DIGEST], "a": [{"...": DIGEST}]},
        {"a": [{"...": DIGEST}, {"...": DIGEST}]},
    ],
)
@pytest.mark.parametrize("texts", [(), (TEXT,)])
def test_a_digest_twice_is_refused(payload: object, texts: tuple[str, ...]) -> None:
    """A digest stands once, shown or not, in whatever place."""
    assert refusal(payload, *texts)


def test_a_digest_within_itself_cannot_be_made_to_loop() -> None:
    """A digest that stands again below its own disclosure's sibling is refused."""
    inner, inner_digest = made("s", "inner", {"_sd": [DIGEST]})
    assert "twice" in refusal({"_sd": sorted([DIGEST, inner_digest])}, inner)


def test_a_name_that_is_there_already_is_refused() -> None:
    """No disclosure replaces a member."""
    assert "cannot put 'name'" in refusal({"_sd": [DIGEST], "name": 0}, TEXT)


def test_a_name_that_another_disclosure_has_is_refused() -> None:
    """No two disclosures give the same member."""
    other, other_digest = made("t", "name", 2)
    assert "cannot put 'name'" in refusal({"_sd": sorted([DIGEST, other_digest])}, TEXT, other)


def test_an_element_in_an_object_is_refused() -> None:
    """An element's disclosure fits no object."""
    assert "cannot put" in refusal({"_sd": [ELEMENT_DIGEST]}, ELEMENT)


def test_a_member_in_an_array_is_refused() -> None:
    """A member's disclosure fits no array."""
    assert "cannot put" in refusal({"a": [{"...": DIGEST}]}, TEXT)


@pytest.mark.parametrize(
    "payload",
    [
        {"...": ELEMENT_DIGEST},
        {"a": {"...": ELEMENT_DIGEST}},
        {"a": {"b": {"...": None}}},
        {"a": [[{"...": ELEMENT_DIGEST, "b": 1}]]},
        {"a": [{"...": ELEMENT_DIGEST, "_sd": [DIGEST]}]},
    ],
)
def test_an_element_digest_elsewhere_is_refused(payload: object) -> None:
    """`...` stands alone, in an object that is an element."""
    assert "'...'" in refusal(payload)


@pytest.mark.parametrize(
    "digests",
    [
        None,
        {},
        "x",
        DIGEST,
        [],
        [1],
        [None],
        [[DIGEST]],
        ["x"],
        [DIGEST + "="],
        [DIGEST[:-1] + "\n"],
        ["b", "a"],
    ],
)
def test_a_malformed_sd_is_refused(digests: object) -> None:
    """`_sd` is a sorted array of digests, and not empty."""
    assert refusal({"_sd": digests})


def test_an_unsorted_sd_is_refused() -> None:
    """The order of `_sd` tells nothing."""
    assert "sorted" in refusal({"_sd": sorted([DIGEST, ELEMENT_DIGEST], reverse=True)})


@pytest.mark.parametrize("digest", [None, 1, "", [], {}, DIGEST[:-1], DIGEST + "A"])
def test_a_malformed_element_digest_is_refused(digest: object) -> None:
    """`...` names a digest."""
    assert "expected a digest" in refusal({"a": [{"...": digest}]})


def test_a_reserved_name_within_a_disclosed_value_is_refused() -> None:
    """What a disclosure holds keeps the same rules."""
    text, digest = made("s", "name", {"...": DIGEST})
    assert "'...' outside an array" in refusal({"_sd": [digest]}, text)


def nested(depth: int) -> tuple[dict[str, Any], list[str]]:
    """Return a payload with disclosures one within another."""
    texts, digest = [], ""
    for i in range(depth):
        text, digest = made(f"s{i}", "a", {"_sd": [digest]} if digest else 1)
        texts.append(text)
    return {"_sd": [digest]}, texts


def test_deeply_nested_disclosures_are_opened() -> None:
    """Disclosures may stand one within another up to the depth that a value may have."""
    payload, texts = nested(128)
    value = opened(payload, texts).value
    for _ in range(128):
        value = value["a"]
    assert 1 == value


@pytest.mark.parametrize("depth", [130, 1_000, 20_000])
def test_bottomless_disclosures_are_refused(depth: int) -> None:
    """A small payload cannot be opened into one that is too deep."""
    payload, texts = nested(depth)
    assert "nested deeper" in refusal(payload, *texts)


def test_deep_values_within_deep_values_are_refused() -> None:
    """Each disclosure is read, and the whole is too deep."""
    value: Any = 1
    for _ in range(100):
        value = [value]
    inner, inner_digest = made("s", "a", value)
    outer: Any = {"_sd": [inner_digest]}
    for _ in range(100):
        outer = [outer]
    text, digest = made("t", "b", outer)
    assert "nested deeper" in refusal({"_sd": [digest]}, text, inner)


def test_many_disclosures_take_time_in_proportion() -> None:
    """Twenty thousand disclosures of one payload are opened within two seconds."""
    pairs = [made("s", f"n{i}", i) for i in range(20_000)]
    payload = {"_sd": sorted(digest for _, digest in pairs)}
    start = time.perf_counter()
    assert 20_000 == len(opened(payload, [text for text, _ in pairs]).value)
    assert time.perf_counter() - start < 2


def test_the_payload_is_checked_before_it_is_opened() -> None:
    """Disclosures that do not parse are refused with the event's place."""
    with pytest.raises(DisclosureRefused, match=r"^event 3 of run r"):
        open_payload({}, ["*"], "event 3 of run r")


def test_malformed_input_does_not_leak() -> None:
    """The JSON reader's refusal comes out as DisclosureRefused."""
    with pytest.raises(DisclosureRefused) as caught:
        parse_disclosure(encoded(b"["), "event")
    assert not isinstance(caught.value, MalformedInput)
