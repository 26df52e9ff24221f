"""Canonical JSON: bytes as RFC 8785 has them, and a reader that refuses what a hash would not notice."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jcs_admit
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from evidence import MalformedInput, NotCanonicalizable, canonical
from tests.strategies import (
    Level,
    characters,
    floats,
    json_values,
    refusable,
    safe_integers,
    scalars,
    subclassed,
    texts,
)

NAMES = ["arrays", "french", "structures", "unicode", "values", "weird"]


def reference(value: object) -> bytes | None:
    """Return what rfc8785 writes, or None where it refuses."""
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, RecursionError):
        return None


def ours(value: object) -> bytes | None:
    """Return what we write, or None where we refuse."""
    try:
        return canonical.dumps(value)
    except NotCanonicalizable:
        return None


def refusal(data: bytes, **options: Any) -> MalformedInput:
    """Return the refusal of some bytes."""
    with pytest.raises(MalformedInput) as caught:
        canonical.loads(data, **options)
    return caught.value


def depth_of(value: object) -> int:
    """Return how deep a value nests, naively."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list | tuple):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def is_readable(value: object) -> bool:
    """Tell, naively, whether no number in a value is written as an integer that no reader may take."""
    if isinstance(value, dict):
        return all(map(is_readable, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_readable, value))
    return not (isinstance(value, float) and 2**53 <= abs(value) < 1e21)


# Writing


@pytest.mark.parametrize("name", NAMES)
def test_rfc_8785_vectors(shared: Path, name: str) -> None:
    """The inputs of RFC 8785's author give his outputs."""
    value = json.loads((shared / "vectors/jcs/input" / f"{name}.json").read_text("utf-8"))
    expected = (shared / "vectors/jcs/output" / f"{name}.json").read_bytes()
    assert expected.rstrip(b"\n") == canonical.dumps(value)


@pytest.mark.parametrize("name", NAMES)
def test_rfc_8785_inputs_are_read(shared: Path, name: str) -> None:
    """The strict reader reads those inputs as Python's reader does."""
    data = (shared / "vectors/jcs/input" / f"{name}.json").read_bytes()
    assert json.loads(data) == canonical.loads(data)


@given(json_values())
def test_dumps_writes_what_rfc8785_writes(value: object) -> None:
    """On JSON values the bytes are those of the reference implementation."""
    assert reference(value) == ours(value)


@given(json_values(scalars | subclassed))
def test_dumps_agrees_on_subclasses(value: object) -> None:
    """What rfc8785 writes of subclasses of str, int, float, dict and list, we write too."""
    expected = reference(value)
    if expected is None:
        return
    assert expected == ours(value)


@given(json_values(scalars | refusable, max_leaves=6))
def test_dumps_refuses_what_rfc8785_refuses(value: object) -> None:
    """NaN, unsafe integers, lone surrogates, other keys and types are refused, wherever they stand."""
    assert reference(value) == ours(value)


@given(floats)
def test_dumps_agrees_on_floats(number: float) -> None:
    """Every finite double is written as ECMAScript writes it."""
    assert reference([number]) == ours([number])


@given(st.integers(-(2**70), 2**70) | safe_integers)
def test_dumps_agrees_on_integers(number: int) -> None:
    """Integers are written up to 2^53-1 and refused beyond."""
    assert reference({"": number}) == ours({"": number})


@given(st.dictionaries(texts, st.none(), max_size=8))
def test_dumps_sorts_names_by_utf_16(value: dict[str, None]) -> None:
    """Names are sorted by UTF-16 code units, in every plane."""
    names = [name for name, _ in json.loads(canonical.dumps(value), object_pairs_hook=list)]
    assert sorted(value, key=lambda name: name.encode("utf-16-be")) == names


def ecmascript(number: float) -> str:
    """Write a double by the rules of ECMAScript's Number::toString, from its shortest digits."""
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    k, n = len(digits), point
    if k <= n <= 21:
        return sign + digits + "0" * (n - k)
    if 0 < n <= 21:
        return f"{sign}{digits[:n]}.{digits[n:]}"
    if -6 < n <= 0:
        return f"{sign}0.{'0' * -n}{digits}"
    tail = f".{digits[1:]}" if k > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if n > 0 else '-'}{abs(n - 1)}"


def chained_doubles(count: int) -> Iterator[float]:
    """Yield doubles with random bits: a chain of SHA-256, four of them a link."""
    link, made = b"\0" * 32, 0
    while made < count:
        link = hashlib.sha256(link).digest()
        for number in struct.unpack("<4d", link):
            if math.isfinite(number) and made < count:
                made += 1
                yield number


def test_ten_thousand_random_doubles() -> None:
    """Doubles with random bits are written by ECMAScript's rules, as this test states them itself."""
    numbers = list(chained_doubles(10_000))
    expected = ",".join(map(ecmascript, numbers))
    assert expected == canonical.dumps(numbers).decode()[1:-1]


def test_doubles_around_each_power_of_ten() -> None:
    """Doubles just below, at and above every power of ten are written by ECMAScript's rules."""
    powers = [float(f"1e{exponent}") for exponent in range(-323, 309)]
    numbers = [n for p in powers for n in (math.nextafter(p, 0), p, math.nextafter(p, math.inf), -p)]
    assert [ecmascript(n) for n in numbers] == [canonical.dumps(n).decode() for n in numbers]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("/", math.nan),
        ("/a/1", {"a": [0, math.inf]}),
        ("/a~1b~0c", {"a/b~c": 2**53}),
        ("/0", ["\ud800"]),
        ("/x", {"x": {1: 2}}),
        ("/x/0", {"x": ({1, 2},)}),
        ("/9", [None, *range(8), Level.TOO_HIGH]),
    ],
)
def test_refusal_names_the_place(place: str, value: object) -> None:
    """The JSON Pointer of a refusal leads to the part that has no canonical form."""
    with pytest.raises(NotCanonicalizable) as caught:
        canonical.dumps(value)
    assert place == caught.value.place


def test_a_value_within_itself_is_refused() -> None:
    """A list that holds itself is refused, and does not exhaust the stack or the memory."""
    value: list[object] = []
    value.append(value)
    assert ours(value) is None


def test_a_wide_value_within_itself_is_refused() -> None:
    """A dict that holds itself a hundred times over is refused as quickly."""
    value: dict[str, object] = {}
    value |= {str(i): value for i in range(100)}
    assert ours(value) is None


# Reading


@given(json_values())
def test_loads_reads_what_dumps_writes(value: object) -> None:
    """What was written is read and written again as it was, unless it is an integer beyond 2^53."""
    data = canonical.dumps(value)
    if not is_readable(value):
        refusal(data)
        return
    assert data == canonical.dumps(canonical.loads(data))


@given(json_values(st.none() | st.booleans() | safe_integers | texts))
def test_loads_returns_the_value(value: Any) -> None:
    """Without floats and tuples, what is read equals what was written."""
    expected = json.loads(json.dumps(value))
    assert expected == canonical.loads(canonical.dumps(value))


@given(json_values(), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_loads_reads_other_spellings(value: Any, indent: int | str | None, ascii_only: bool) -> None:
    """White space and escapes change nothing: the same value is read."""
    try:
        data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    try:
        read = canonical.loads(data)
    except MalformedInput:
        assert not is_readable(value)
        return
    assert canonical.dumps(json.loads(data)) == canonical.dumps(read)


def admitted(data: bytes, *, max_depth: int = 128) -> bytes | None:
    """Return what the independent jcs_admit makes of JSON text, or None where it refuses."""
    try:
        return jcs_admit.admit_with(data, safe_integers=True, max_depth=max_depth)
    except jcs_admit.JcsError:
        return None


def read(data: bytes) -> bytes | None:
    """Return the canonical form of what we read, or None where we refuse."""
    try:
        return canonical.dumps(canonical.loads(data))
    except MalformedInput:
        return None


# jcs_admit calls 1e100 an integer, and refuses it as unsafe; to us it is a double.
WHOLE_FLOAT = re.compile(rb"\d[.eE]")

almost_json = st.lists(
    st.sampled_from(
        [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"a"',
            '"b"',
            '"\\u0061"',
            '"\\ud83d\\ude00"',
            '"\\ud800"',
            '""',
            " ",
            "1",
            "-0",
            "0.5",
            "1e5",
            "-1.50",
            "9007199254740991",
            "9007199254740992",
            "01",
            "1.",
            ".5",
            "+1",
            "true",
            "false",
            "null",
            "NaN",
            "Infinity",
            "\n",
            "\x0b",
            "\ufeff",
            '"\n"',
            '"\\x"',
            '"\u2028"',
            "é",
        ]
    ),
    max_size=9,
).map("".join)


@given(almost_json | st.text(max_size=8))
@example('{"a":1,"\\u0061":2}')
@example('{"a":[],"a":[]}')
@example("-0.0")
def test_reader_agrees_with_an_independent_one(text: str) -> None:
    """Of text that is nearly JSON, we accept and refuse what jcs_admit does, with the same bytes."""
    data = text.encode("utf-8", "surrogatepass")
    expected = admitted(data)
    if expected is None and WHOLE_FLOAT.search(data):
        return
    assert expected == read(data)


@given(json_values(), st.data())
def test_changed_json_is_judged_as_by_an_independent_reader(value: object, data: st.DataObject) -> None:
    """Good JSON with one byte changed is accepted or refused as by jcs_admit, with the same bytes."""
    good = canonical.dumps(value)
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    expected = admitted(changed)
    if expected is None and WHOLE_FLOAT.search(changed):
        return
    assert expected == read(changed)


@given(st.binary(max_size=40) | st.text(characters, max_size=20).map(str.encode))
def test_any_bytes_end_in_a_value_or_a_refusal(data: bytes) -> None:
    """Arbitrary bytes raise nothing but MalformedInput, which names an offset within them."""
    try:
        canonical.loads(data, ecmascript_numbers=True)
    except MalformedInput as error:
        offset = int(error.place.removeprefix("byte "))
        assert 0 <= offset <= len(data)


REFUSED = {
    "duplicate name": (b'{"a":1,"a":2}', 7),
    "duplicate name, same value": (b'{"a":1,"a":1}', 7),
    "duplicate name, escaped": (b'{"a":1,"\\u0061":2}', 7),
    "duplicate name, deep": (b'[[{"x":{"a":1,"b":2,"a":3}}]]', 20),
    "duplicate empty name": (b'{"":0,"":0}', 6),
    "NaN": (b"[NaN]", 1),
    "Infinity": (b"[Infinity]", 1),
    "-Infinity": (b"[-Infinity]", 1),
    "byte order mark": (b"\xef\xbb\xbf{}", 0),
    "UTF-16": ("{}".encode("utf-16"), 0),
    "lone surrogate, escaped": (b'["\\ud800"]', 1),
    "lone low surrogate, escaped": (b'["\\udc00"]', 1),
    "surrogates in the wrong order": (b'["\\ude00\\ud83d"]', 1),
    "lone surrogate in a name": (b'{"\\ud800":1}', 1),
    "lone surrogate, raw": (b'["\xed\xa0\x80"]', 2),
    "overlong UTF-8": (b'["\xc0\xaf"]', 2),
    "UTF-8 beyond U+10FFFF": (b'["\xf4\x90\x80\x80"]', 2),
    "2^53": (b"[9007199254740992]", 1),
    "-2^53": (b"[-9007199254740992]", 1),
    "2^53+1": (b"9007199254740993", 0),
    "a long integer": (b"1" * 5000, 0),
    "1e400": (b"[1e400]", 1),
    "-1e400": (b"[-1e400]", 1),
    "a long exponent": (b"1e" + b"9" * 500, 0),
    "trailing text": (b"{} {}", 3),
    "trailing comma": (b"[1,]", 3),
    "trailing NUL": (b"1\x00", 1),
    "no value": (b"", 0),
    "white space only": (b" \n", 2),
    "missing comma": (b"[1 2]", 3),
    "missing colon": (b'{"a" 1}', 5),
    "name without quotes": (b"{a:1}", 1),
    "single quotes": (b"['a']", 1),
    "comment": (b"[/**/]", 1),
    "bad escape": (b'["\\x41"]', 1),
    "bad unicode escape": (b'["\\u12g4"]', 1),
    "escaped line end": (b'["\\\n"]', 1),
    "control character": (b'["\x1f"]', 1),
    "raw tab": (b'["\t"]', 1),
    "raw NUL": (b'["\x00"]', 1),
    "leading zero": (b"[01]", 2),
    "leading zeros": (b"[-00]", 3),
    "plus": (b"[+1]", 1),
    "no digit before the point": (b"[.5]", 1),
    "no digit after the point": (b"[1.]", 2),
    "no digit in the exponent": (b"[1e]", 2),
    "minus alone": (b"[-]", 1),
    "other digits": ("[\u0661]".encode(), 1),
    "vertical tab for space": (b"[\x0b1]", 1),
    "no-break space": ("[\u00a01]".encode(), 1),
    "True": (b"[True]", 1),
    "unknown word": (b"[nul]", 1),
    "mismatched brackets": (b"[}", 1),
    "closing only": (b"]", 0),
    "depth": (b"[" * 129 + b"]" * 129, 128),
    "depth, never closed": (b"[" * 100_000, 128),
    "depth of objects": (b'{"a":' * 129 + b"1" + b"}" * 129, 128 * 5),
    "depth after wide": (b"[[],[],[],[]," + b"[" * 128 + b"]" * 128 + b"]", 13 + 127),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reader_refuses_with_the_byte_offset(name: str) -> None:
    """What two readers could understand differently is refused, and `place` is where it stands."""
    data, offset = REFUSED[name]
    assert f"byte {offset}" == refusal(data).place


def test_offset_counts_bytes_not_characters() -> None:
    """Behind characters of several bytes the offset is still that of the byte."""
    data = '["é€😂",01]'.encode()
    assert f"byte {data.index(b'01') + 1}" == refusal(data).place


@pytest.mark.parametrize(
    "text", ["1.0", "1e0", "-0", "-0.0", "1E+2", "0.10", "1e21", "100e-2", "1e-6", "0e0"]
)
def test_other_spellings_of_numbers_are_refused_when_asked(text: str) -> None:
    """With `ecmascript_numbers`, a number must be written as RFC 8785 writes it."""
    assert "byte 1" == refusal(f"[{text}]".encode(), ecmascript_numbers=True).place


@given(floats | safe_integers)
def test_ecmascript_numbers_reads_canonical_numbers(number: float) -> None:
    """With `ecmascript_numbers`, what RFC 8785 writes is read, also behind white space."""
    data = canonical.dumps(number)
    if not is_readable(number):
        return
    assert number == canonical.loads(b" " + data, ecmascript_numbers=True)


@given(json_values().filter(lambda value: isinstance(value, list | tuple | dict)))
def test_every_truncation_is_refused(value: object) -> None:
    """A document that was cut anywhere is refused."""
    data = canonical.dumps(value)
    assert [None] * len(data) == [read(data[:end]) for end in range(len(data))]


def test_size_is_checked_first() -> None:
    """Larger than allowed is refused before anything is parsed."""
    assert "input" == refusal(b"[" * 101, max_bytes=100).place


def test_size_at_the_cap_is_read() -> None:
    """Exactly as large as allowed is read."""
    assert "x" * 98 == canonical.loads(b'"' + b"x" * 98 + b'"', max_bytes=100)


@pytest.mark.parametrize("space", [b"", b" "])
def test_deepest_allowed_is_read(space: bytes) -> None:
    """Depth 128 is read, on the fast path and on the slow one."""
    data = space + b"[" * 128 + b"]" * 128
    assert data.strip() == canonical.dumps(canonical.loads(data))


@given(json_values(texts | st.sampled_from(['[{"', "\\", '"', '\\"[', "[]"])), st.integers(0, 6))
def test_depth_is_that_of_a_naive_recursion(value: object, limit: int) -> None:
    """Brackets count outside of strings only, whatever the strings hold."""
    assert (depth_of(value) <= limit) == canonical.is_canonical(canonical.dumps(value), max_depth=limit)


@given(json_values(), st.integers(0, 6))
def test_dumps_readable_writes_what_loads_reads(value: object, limit: int) -> None:
    """`dumps_readable` writes what `dumps` writes, and refuses exactly what `loads` would refuse."""
    expected = canonical.dumps(value) if is_readable(value) and depth_of(value) <= limit else None
    try:
        found = canonical.dumps_readable(value, max_depth=limit)
    except NotCanonicalizable:
        found = None
    assert expected == found


@given(json_values(), st.integers(0, 5))
def test_reader_and_naive_recursion_agree_on_depth(value: object, limit: int) -> None:
    """`loads` reads exactly what nests at most as deep as allowed."""
    data = b" " + canonical.dumps(value)
    if not is_readable(value):
        return
    is_read = True
    try:
        canonical.loads(data, max_depth=limit)
    except MalformedInput:
        is_read = False
    assert (depth_of(value) <= limit) == is_read


@given(json_values())
def test_is_canonical_knows_what_dumps_writes(value: object) -> None:
    """Canonical bytes are told from others."""
    data = canonical.dumps(value)
    assert is_readable(value) == canonical.is_canonical(data)


@pytest.mark.parametrize(
    "data",
    [b" 1", b"1 ", b'{"b":1,"a":2}', b"1.0", b'"\\u0041"', b'"\\/"', b'{"a":1,"a":1}', b"", b"[", b"\xff"],
)
def test_is_canonical_refuses_other_spellings(data: bytes) -> None:
    """Other spellings, and what is no JSON, are not canonical."""
    assert False is canonical.is_canonical(data)


@pytest.mark.parametrize(
    "data", [b" 1", b"1.0", b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"[", b"10000000000000000"]
)
def test_loads_canonical_refuses_other_spellings(data: bytes) -> None:
    """`loads_canonical` reads canonical bytes only."""
    with pytest.raises(MalformedInput):
        canonical.loads_canonical(data)


@given(json_values())
def test_loads_canonical_reads_what_dumps_writes(value: object) -> None:
    """`loads_canonical` reads what `dumps` writes and `loads` reads."""
    data = canonical.dumps(value)
    if not is_readable(value):
        return
    assert data == canonical.dumps(canonical.loads_canonical(data))


# Time and memory


BOMBS = {
    "open brackets": b"[" * 1_000_000,
    "quotes": b'"' * 1_000_000,
    "backslashes": b'"' + b"\\" * 1_000_000,
    "digits": b"1" * 1_000_000,
    "fraction": b"0." + b"3" * 1_000_000,
    "exponent": b"1e" + b"1" * 1_000_000,
    "unsafe integers": b"[" + b"9234567890123456," * 50_000 + b"1]",
    "names given twice": b"{" + b'"a":1,' * 100_000 + b'"a":1}',
    "unfinished string": b'"' + b"a" * 1_000_000,
    "spaces": b" " * 1_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_reader_takes_time_in_proportion(name: str) -> None:
    """A megabyte made to be slow is refused within two seconds."""
    start = time.perf_counter()
    refusal(BOMBS[name])
    assert time.perf_counter() - start < 2


def test_reader_takes_memory_in_proportion() -> None:
    """A long string that is not canonical is read within a few times its size."""
    data = b' "' + b"a" * 1_000_000 + b'"'
    tracemalloc.start()
    try:
        canonical.loads(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(data)


def test_long_names_do_not_flood_messages() -> None:
    """A refusal quotes at most a few words of what it refuses."""
    name = b'"' + b"a" * 100_000 + b'"'
    assert len(str(refusal(b"{" + name + b":1," + name + b":1}"))) < 200


def test_messages_hold_no_control_characters() -> None:
    """What a refusal quotes is escaped."""
    message = str(refusal(b"{\x1b[31m:1}"))
    assert None is re.search(r"[\x00-\x1f]", message)
