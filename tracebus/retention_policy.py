"""Retention policies: how long a log keeps what, in TOML (schemas/retention-policy-v1.md).

::

    version = 1
    name = "acme-2026"

    [[rule]]
    types = ["chain_transaction", "acme.refund_*"]
    members = "P7Y"                    # sensitive members
    payloads = "P10Y"                  # whole payloads
    legal-basis = "instruction F-12 of the finance department"

    [[rule]]
    types = ["*"]
    members = "P13M"

The first rule that fits an event decides. Time counts from the end of the run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, NoReturn

import tracebus.events  # noqa: F401  (defines the built-in types)
from evidence.bundle import is_text
from evidence.digest import sha256
from evidence.errors import MalformedInput
from evidence.header import is_name
from evidence.pattern import Pattern
from evidence.projection import KEPT
from tracebus.payload import payload_classes
from tracebus.period import Period

FOREVER: Final = "forever"
MAX_BYTES: Final = 65_536
"""How large a policy file may be, in bytes."""

DEFAULT_TEXT: Final = """\
version = 1
name = "default"

# Sensitive members: what people and models wrote, and who the user is. A year, and a month to look back.
# Payloads are kept for ever: without them a bundle shows less of what was decided.
[[rule]]
types = ["*"]
members = "P13M"
payloads = "forever"
"""
"""The policy that applies where an operator has written none (ADR 0018)."""

_WILDCARDS: Final = frozenset("*?[")
_FILE: Final = frozenset({"version", "name", "rule"})
_RULE: Final = frozenset({"types", "tenant", "members", "payloads", "legal-basis"})


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """One rule: which events it is about, and how long is kept what of them; None is for ever."""

    types: tuple[Pattern, ...]
    members: Period | None
    payloads: Period | None
    tenant_id: str | None = None
    legal_basis: str | None = None

    def fits(self, event_type: str, tenant_id: str | None) -> bool:
        """Tell whether it is about events of a type in workflows of a tenant."""
        return self.tenant_id in (None, tenant_id) and any(
            pattern.is_of_type(event_type) for pattern in self.types
        )


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """A retention policy, as it was read. `text` is its file.

    Make one with `parse_retention_policy`.
    """

    name: str
    rules: tuple[RetentionRule, ...]
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 digest of the file, which each erasure records."""
        return sha256(self.text.encode())

    def decide(self, event_type: str, tenant_id: str | None) -> int | None:
        """Return which of the rules decides about an event, its index; None: it is kept for ever."""
        found = (i for i, rule in enumerate(self.rules) if rule.fits(event_type, tenant_id))
        return next(found, None)

    def warnings(self) -> Iterator[str]:
        """Yield what is not wrong, but hardly meant: rules that decide about nothing, types that are none."""
        for i, rule in enumerate(self.rules):
            earlier = [each for each in self.rules[:i] if each.tenant_id in (None, rule.tenant_id)]
            hiding = [pattern.type for each in earlier for pattern in each.types]
            if all(any(_covers(other, each.type) for other in hiding) for each in rule.types):
                yield f"rule {i + 1}: decides about nothing, for rules before it fit all that it fits"
            for pattern in rule.types:
                if "." not in pattern.type and not any(map(pattern.is_of_type, payload_classes())):
                    yield f"rule {i + 1}: {pattern.type} fits no built-in type of event"


def parse_retention_policy(data: bytes) -> RetentionPolicy:
    """Read a retention policy strictly.

    Raises:
        MalformedInput: It is none; `place` names the rule and the member.
    """
    text, tree = _load(data)
    _check_members("policy", tree, _FILE)
    version = tree.get("version")
    if type(version) is not int or version != 1:
        _refuse("version", "1", version)
    if not is_name(tree.get("name")):
        _refuse("name", "1 to 256 bytes in Unicode form NFC, without control characters", tree.get("name"))
    rules = tree.get("rule")
    if not isinstance(rules, list) or not rules:
        _refuse("rule", "one or more tables [[rule]]", rules)
    return RetentionPolicy(tree["name"], tuple(_rule(f"rule {i}", r) for i, r in enumerate(rules, 1)), text)


def _load(data: bytes) -> tuple[str, dict[str, Any]]:
    if len(data) > MAX_BYTES:
        raise MalformedInput("policy", f"expected at most {MAX_BYTES} bytes, found {len(data)}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedInput(f"byte {error.start}", "expected UTF-8") from None
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedInput("policy", f"expected TOML: {error}") from None


def _rule(place: str, table: Any) -> RetentionRule:
    if not isinstance(table, dict):
        _refuse(place, "a table", table)
    _check_members(place, table, _RULE)
    if "members" not in table and "payloads" not in table:
        raise MalformedInput(place, "expected members or payloads, or both, found neither")
    for name, fits, expected in (
        ("tenant", is_name, "1 to 256 bytes in Unicode form NFC, without control characters"),
        ("legal-basis", is_text, "1 to 1024 characters without controls"),
    ):
        if name in table and not fits(table[name]):
            _refuse(f"{place} {name}", expected, table[name])
    payloads = _period(f"{place} payloads", table.get("payloads", FOREVER))
    members = _period(f"{place} members", table["members"]) if "members" in table else payloads
    _check_order(place, members, payloads)
    types = _types(place, table.get("types"), may_erase_payloads=payloads is not None)
    return RetentionRule(types, members, payloads, table.get("tenant"), table.get("legal-basis"))


def _period(place: str, value: Any) -> Period | None:
    if value == FOREVER:
        return None
    if not isinstance(value, str):
        _refuse(place, f'a period such as "P13M", or "{FOREVER}"', value)
    try:
        return Period.parse(value)
    except ValueError as error:
        raise MalformedInput(place, f'{error}; "{FOREVER}" has no end') from None


def _check_order(place: str, members: Period | None, payloads: Period | None) -> None:
    if payloads is None or (members is not None and members.nominal_days <= payloads.nominal_days):
        return
    found = members or FOREVER
    reason = f"expected at most {payloads}, for a payload takes its members with it, found {found}"
    raise MalformedInput(f"{place} members", reason)


def _types(place: str, texts: Any, *, may_erase_payloads: bool) -> tuple[Pattern, ...]:
    if not isinstance(texts, list) or not texts:
        _refuse(f"{place} types", 'one or more types, such as ["tool_*"]', texts)
    patterns = []
    for i, text in enumerate(texts, 1):
        pattern = _type(f"{place} types, number {i}", text)
        if may_erase_payloads and pattern.type in KEPT:
            reason = f'expected payloads = "{FOREVER}", for a bundle always shows those of {pattern.type}'
            raise MalformedInput(f"{place} payloads", reason)
        patterns.append(pattern)
    return tuple(patterns)


def _type(place: str, text: Any) -> Pattern:
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or ":" in text:
        _refuse(place, "a type without a member, such as tool_executed or tool_*", text)
    if not _WILDCARDS & set(text) and "." not in text and text not in payload_classes():
        _refuse(place, "a built-in type of event, one with a dot, or a wildcard", text)
    return Pattern(text)


def _covers(pattern: str, other: str) -> bool:
    """Tell whether a pattern surely fits every type that another one fits.

    A star swallows whatever stands there, also a wildcard; of anything less simple it is not sure.
    """
    if pattern == other:
        return True
    is_sure = not _WILDCARDS & set(other) or not (set("?[") & set(pattern) or "[" in other)
    return pattern == "*" or (is_sure and fnmatchcase(other, pattern))


def _check_members(place: str, table: dict[str, Any], known: frozenset[str]) -> None:
    for name in table:
        if name not in known:
            reason = f"expected no member but {', '.join(sorted(known))}, found {name!r:.80}"
            raise MalformedInput(place, reason)


def _refuse(place: str, expected: str, found: object) -> NoReturn:
    shown = "nothing" if found is None else f"{found!r:.80}"
    raise MalformedInput(place, f"expected {expected}, found {shown}")


DEFAULT_POLICY: Final = parse_retention_policy(DEFAULT_TEXT.encode())
"""Sensitive members for 13 months after the run's end, payloads for ever."""
