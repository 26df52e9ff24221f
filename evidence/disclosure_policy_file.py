"""The file of a disclosure policy: TOML, read strictly.

::

    version = 1
    name = "payments, for the supervisor"

    show = ["*", "tool_*:*"]
    reason = "not needed to supervise payments"

    [[withhold]]
    patterns = ["tool_executed:result/customer", "model_call_*"]
    reason = "bank secrecy"

The format is `schemas/disclosure-policy-v1.md`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from evidence.bundle import is_text
from evidence.digest import sha256
from evidence.disclosure_policy import ALL, DisclosurePolicy, Withholding
from evidence.errors import MalformedInput
from evidence.pattern import Pattern

MAX_BYTES: Final = 64 * 1024
"""How large a policy file may be, in bytes."""

VERSION: Final = 1

_POLICY: Final = "disclosure policy"


def parse_disclosure_policy(data: bytes) -> DisclosurePolicy:
    """Read a disclosure policy; its digest is that of these very bytes.

    Raises:
        MalformedInput: It is none, or would withhold what a bundle always shows; `place` is a JSON
            Pointer, where it is TOML.
    """
    if len(data) > MAX_BYTES:
        raise MalformedInput(_POLICY, f"expected at most {MAX_BYTES} bytes, found {len(data)}")
    try:
        table = tomllib.loads(data.decode())
        return _policy(table, sha256(data))
    except UnicodeDecodeError as error:
        raise MalformedInput(f"byte {error.start}", "expected UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, and what int() says of too many digits
        raise MalformedInput(_POLICY, f"expected TOML: {error!s:.200}") from None
    except RecursionError:
        raise MalformedInput(_POLICY, "nested deeper than the caller's stack has room for") from None


def _policy(table: Mapping[str, Any], digest: str) -> DisclosurePolicy:
    _check_table("", table, _POLICY_FORM)
    show, redactable = table.get("show", [ALL]), table.get("redactable")
    _check_patterns((f"/show/{i}", text) for i, text in enumerate(show))
    _check_patterns((f"/redactable/{i}", text) for i, text in enumerate(redactable or ()))
    if "reason" not in table and ALL not in show:
        raise MalformedInput("/reason", "expected why what show leaves out is withheld, found none")
    withhold = _withhold(table.get("withhold", []))
    with _placed("/redactable"):
        return DisclosurePolicy(
            show=tuple(show),
            withhold=withhold,
            reason=table.get("reason"),
            redactable=None if redactable is None else tuple(redactable),
            name=table["name"],
            digest=digest,
        )


def _withhold(tables: list[dict[str, Any]]) -> tuple[Withholding, ...]:
    for i, table in enumerate(tables):
        _check_table(f"/withhold/{i}", table, _WITHHOLDING_FORM)
    _check_patterns(
        (f"/withhold/{i}/patterns/{j}", text)
        for i, table in enumerate(tables)
        for j, text in enumerate(table["patterns"])
    )
    made = []
    for i, table in enumerate(tables):
        with _placed(f"/withhold/{i}/patterns"):
            made.append(Withholding(tuple(table["patterns"]), table["reason"]))
    return tuple(made)


@contextmanager
def _placed(place: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise MalformedInput(place, str(error).removeprefix(f"{place[1:]}: ")) from None


class _Form(NamedTuple):
    """What a member has to be."""

    holds: Callable[[Any], bool]
    expected: str
    is_required: bool = True


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


_TEXT: Final = _Form(is_text, "a text of 1-1024 characters without controls")
_PATTERNS: Final = _Form(_are_texts, "an array of patterns", is_required=False)

_POLICY_FORM: Final = {
    "version": _Form(lambda value: type(value) is int and value == VERSION, f"the integer {VERSION}"),
    "name": _TEXT,
    "show": _PATTERNS,
    "reason": _TEXT._replace(is_required=False),
    "redactable": _PATTERNS,
    "withhold": _Form(_are_tables, "tables, [[withhold]]", is_required=False),
}
_WITHHOLDING_FORM: Final = {
    "patterns": _Form(lambda value: bool(value) and _are_texts(value), "an array of one or more patterns"),
    "reason": _TEXT,
}


def _check_table(place: str, table: Mapping[str, Any], forms: Mapping[str, _Form]) -> None:
    for name in table:
        if name not in forms:
            close = get_close_matches(name, forms, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise MalformedInput(f"{place}/{name:.80}", f"expected one of {', '.join(forms)}{hint}")
    for name, form in forms.items():
        if name not in table and form.is_required:
            raise MalformedInput(f"{place}/{name}", f"expected {form.expected}, found none")
        if name in table and not form.holds(table[name]):
            raise MalformedInput(f"{place}/{name}", f"expected {form.expected}, found {table[name]!r:.80}")


def _check_patterns(placed: Iterable[tuple[str, str]]) -> None:
    """Check that texts are patterns, and that none stands twice."""
    first: dict[str, str] = {}
    for place, text in placed:
        try:
            Pattern(text)
        except ValueError as error:
            raise MalformedInput(place, str(error).removeprefix("pattern: ")) from None
        if text in first:
            raise MalformedInput(
                place, f"expected each pattern once, found {text!r:.80} at {first[text]}, too"
            )
        first[text] = place
