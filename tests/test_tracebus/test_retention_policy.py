"""Reading a retention policy: what decides, and what is refused where."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import MalformedInput
from evidence.digest import sha256
from evidence.projection import KEPT
from tracebus.retention_policy import (
    DEFAULT_POLICY,
    DEFAULT_TEXT,
    MAX_BYTES,
    RetentionPolicy,
    parse_retention_policy,
)

_HEAD = 'version = 1\nname = "test"\n'


def policy(*rules: str, head: str = _HEAD) -> RetentionPolicy:
    """Return the policy of these rules."""
    return parse_retention_policy((head + "".join(f"[[rule]]\n{rule}\n" for rule in rules)).encode())


def examples(root: Path) -> list[str]:
    """Return the policies that the specification shows."""
    text = (root / "schemas" / "retention-policy-v1.md").read_text(encoding="utf-8")
    return re.findall(r"```toml\n(.*?)```", text, re.DOTALL)


def test_specification(root: Path) -> None:
    """Both examples of the specification are taken without a warning; the second is the default."""
    first, second = examples(root)
    assert DEFAULT_TEXT == second
    assert [] == [
        warning for text in (first, second) for warning in parse_retention_policy(text.encode()).warnings()
    ]


def test_default() -> None:
    """Unless somebody says otherwise, members are kept for 13 months and payloads for ever (ADR 0018)."""
    (rule,) = DEFAULT_POLICY.rules
    assert (["*"], "P13M", None) == ([each.type for each in rule.types], str(rule.members), rule.payloads)


def test_digest_is_that_of_the_file() -> None:
    """The digest that each erasure records is the SHA-256 of the file's bytes."""
    data = DEFAULT_TEXT.replace("\n", "\r\n").encode()
    assert sha256(data) == parse_retention_policy(data).digest


@pytest.mark.parametrize(
    ("event_type", "tenant", "decides"),
    [
        ("chain_transaction", "böll", 0),
        ("acme.refund_issued", None, 0),
        ("tool_executed", "böll", 1),
        ("tool_executed", "BÖLL", 3),
        ("acme.trace_step", "böll", 1),
        ("acme.trace_step", None, 2),
        ("run_started", "acme", 3),
    ],
)
def test_first_rule_that_fits_decides(root: Path, event_type: str, tenant: str | None, decides: int) -> None:
    """Type and tenant, which is compared exactly, say which rule is the first to fit."""
    first, _ = examples(root)
    assert decides == parse_retention_policy(first.encode()).decide(event_type, tenant)


def test_nothing_decides() -> None:
    """What no rule fits is kept, and no rule is made up."""
    assert policy('types = ["tool_*"]\nmembers = "P1M"').decide("turn_started", None) is None


def test_members_are_kept_as_long_as_payloads() -> None:
    """Where a rule says nothing of members they are kept as long as payloads, and those for ever."""
    (rule,) = policy('types = ["acme.*"]\npayloads = "P3W"').rules
    (other,) = policy('types = ["acme.*"]\nmembers = "P3W"').rules
    assert ("P3W", "P3W", "P3W", None) == (
        str(rule.members),
        str(rule.payloads),
        str(other.members),
        other.payloads,
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "version"),
        ("version = 1", "name"),
        (_HEAD, "rule"),
        (_HEAD + "rule = []", "rule"),
        (_HEAD + "rule = [1]", "rule 1"),
        (_HEAD + "[rule]", "rule"),
        (_HEAD.replace("1", "2", 1), "version"),
        (_HEAD.replace("1", "true", 1), "version"),
        (_HEAD.replace("1", "1.0", 1), "version"),
        (_HEAD.replace("test", ""), "name"),
        (_HEAD.replace("test", "e\\u0301"), "name"),
        (_HEAD + "rules = []", "policy"),
        (_HEAD + "name = 'twice'", "policy"),
        ("version = 1 name", "policy"),
        ("a = " + "[" * 20_000, "policy"),
        (_HEAD + "#" * MAX_BYTES, "policy"),
    ],
    ids=range(16),
)
def test_refused_file(text: str, place: str) -> None:
    """What the file itself has wrong is refused with its place."""
    with pytest.raises(MalformedInput) as refused:
        parse_retention_policy(text.encode())
    assert place == refused.value.place


@pytest.mark.parametrize(
    ("rule", "place", "reason"),
    [
        ('members = "P1M"', "rule 2 types", "expected one or more types"),
        ('types = []\nmembers = "P1M"', "rule 2 types", "found []"),
        ('types = "*"\nmembers = "P1M"', "rule 2 types", "found '*'"),
        ('types = ["*", 1]\nmembers = "P1M"', "rule 2 types, number 2", "found 1"),
        ('types = [""]\nmembers = "P1M"', "rule 2 types, number 1", "found ''"),
        ('types = ["tool_executed:result"]\nmembers = "P1M"', "rule 2 types, number 1", "without a member"),
        ('types = ["tool_exectued"]\nmembers = "P1M"', "rule 2 types, number 1", "'tool_exectued'"),
        ('types = ["t\\u00f6ol_*"]\nmembers = "P1M"', "rule 2 types, number 1", "a type"),
        ('types = ["*"]', "rule 2", "expected members or payloads"),
        ('types = ["*"]\nmembers = 13', "rule 2 members", "found 13"),
        ('types = ["*"]\nmembers = "13M"', "rule 2 members", "found '13M'"),
        ('types = ["*"]\nmembers = "Forever"', "rule 2 members", "found 'Forever'"),
        ('types = ["*"]\npayloads = "P1Y6"', "rule 2 payloads", "found 'P1Y6'"),
        ('types = ["*"]\nmembers = "P2Y"\npayloads = "P1Y"', "rule 2 members", "expected at most P1Y"),
        ('types = ["*"]\nmembers = "forever"\npayloads = "P1Y"', "rule 2 members", "found forever"),
        ('types = ["*"]\nmembers = "P1M"\nmember = "P1M"', "rule 2", "found 'member'"),
        ('types = ["*"]\nmembers = "P1M"\ntenant = ""', "rule 2 tenant", "found ''"),
        ('types = ["*"]\nmembers = "P1M"\nlegal-basis = "a\\nb"', "rule 2 legal-basis", "found 'a\\nb'"),
    ],
)
def test_refused_rule(rule: str, place: str, reason: str) -> None:
    """What a rule has wrong is refused with rule, member, what was expected and what was found."""
    with pytest.raises(MalformedInput) as refused:
        policy('types = ["*"]\nmembers = "P1M"', rule)
    assert place == refused.value.place
    assert reason.replace("\n", "\\n") in str(refused.value)


@pytest.mark.parametrize("event_type", sorted(KEPT))
def test_payloads_that_a_bundle_shows(event_type: str) -> None:
    """A rule that names such a type is refused if it ends its payloads, and taken if it ends its members."""
    with pytest.raises(MalformedInput, match=f"a bundle always shows those of {event_type}"):
        policy(f'types = ["{event_type}"]\nmembers = "P1M"\npayloads = "P1Y"')
    assert policy(f'types = ["{event_type}"]\nmembers = "P1M"').rules[0].payloads is None


@pytest.mark.parametrize(
    ("earlier", "later", "is_hidden"),
    [
        ('types = ["*"]', 'types = ["tool_executed"]', True),
        ('types = ["tool_*"]', 'types = ["tool_executed", "tool_p*"]', True),
        ('types = ["tool_*"]', 'types = ["tool_executed", "turn_*"]', False),
        ('types = ["tool_*"]', 'types = ["t*"]', False),
        ('types = ["tool_?xecuted"]', 'types = ["tool_*xecuted"]', False),
        ('types = ["tool_[ep]*"]', 'types = ["tool_e*"]', False),
        ('types = ["tool_[ep]*"]', 'types = ["tool_[ep]*"]', True),
        ('types = ["tool_*e*"]', 'types = ["tool_[er]*"]', False),
        ('types = ["*"]\ntenant = "acme"', 'types = ["*"]', False),
        ('types = ["*"]\ntenant = "acme"', 'types = ["*"]\ntenant = "other"', False),
        ('types = ["*"]\ntenant = "acme"', 'types = ["tool_*"]\ntenant = "acme"', True),
        ('types = ["*"]', 'types = ["*"]\ntenant = "acme"', True),
    ],
)
def test_unreachable_rule(earlier: str, later: str, is_hidden: bool) -> None:
    """A rule that decides about nothing is warned of, and none that still decides about something."""
    found = policy(f'{earlier}\nmembers = "P1M"', f'{later}\nmembers = "P2M"').warnings()
    assert is_hidden == any(warning.startswith("rule 2: decides about nothing") for warning in found)


def test_two_rules_may_hide_a_third() -> None:
    """A rule is unreachable also where it takes several before it to fit all that it fits."""
    rules = [
        f'types = [{types}]\nmembers = "P1M"'
        for types in ('"tool_*"', '"turn_*"', '"turn_s*", "tool_executed"')
    ]
    assert ["rule 3: decides about nothing, for rules before it fit all that it fits"] == list(
        policy(*rules).warnings()
    )


def test_misspelt_wildcard() -> None:
    """A pattern that fits no built-in type, and has no dot, is warned of: it would keep for ever."""
    found = policy('types = ["tol_*", "acme.*", "mem*"]\nmembers = "P1M"').warnings()
    assert ["rule 1: tol_* fits no built-in type of event"] == list(found)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes(data: bytes) -> None:
    """Any bytes end in a policy or in `MalformedInput`."""
    with suppress(MalformedInput):
        assert isinstance(parse_retention_policy(data), RetentionPolicy)


_VALUES = st.sampled_from(
    [
        *("1", "0", "true", "1e400", "nan", "9" * 21, "2026-01-01", '""', '"acme"', '"P1M"', '"P1Y"'),
        *('"forever"', "[]", "{}", "[{}]", '[["*"]]', '["*"]', '["tool_*","acme.x"]', '["run_started"]'),
    ]
)
_LINES = st.builds(
    "{} = {}".format,
    st.sampled_from(["version", "name", "types", "tenant", "members", "payloads", "legal-basis", "x"]),
    _VALUES,
)


@given(st.lists(_LINES | st.just("[[rule]]") | st.just("[rule]"), max_size=12))
def test_any_lines(lines: list[str]) -> None:
    """Whatever stands where, it ends in a policy or in `MalformedInput`."""
    for head in ("", _HEAD):
        with suppress(MalformedInput):
            assert parse_retention_policy((head + "\n".join(lines)).encode()).rules
