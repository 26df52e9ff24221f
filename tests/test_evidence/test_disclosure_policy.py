"""Disclosure policies: what a bundle shows by one, what a file may say, and what nobody finds out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evidence import (
    DisclosurePolicy,
    EvidenceBundle,
    EvidenceBundler,
    MalformedInput,
    Unexpected,
    VerificationReport,
    Withholding,
    canonical,
    parse_disclosure_policy,
    verify_evidence_bundle,
)
from evidence.disclosure import digest_of, disclose, encode_base64url, locate, parse_disclosure
from evidence.disclosure_policy_file import MAX_BYTES
from evidence.pattern import Paths, Pattern, format_path
from evidence.projection import KEPT, PLAIN
from schemas.build_vectors import KEY, SIGNER, HandLog, resign, run_now, salt, withholding
from tracebus import MemoryEventLog, ToolProposed, TraceEventBus

Tree = dict[str, Any]


# A log with members within members

STANDS_IN: Final = {
    "run_started:userId": None,
    "tool_executed:note": None,
    "tool_executed:result": None,
    "tool_executed:result/customer": "tool_executed:result",
    "tool_executed:result/customer/email": "tool_executed:result/customer",
    "tool_executed:result/seats/*": "tool_executed:result",
    "tool_executed:result/seats/*/dob": "tool_executed:result/seats/*",
}
"""Each sensitive member of the log below, and the one that it stands in."""

SECRETS: Final = ("u-91", "fragile", "Ada Lovelace", "ada@example.org", "Bob", "1970-01-01", "window seat")


def trip_log() -> HandLog:
    """Return a log with a tool's result in which members and elements are sensitive within each other."""
    numbers = itertools.count(9000)
    texts: list[str] = []

    def hide(name: str | None, value: object) -> str:
        text, digest = disclose(name, value, salt(next(numbers)))
        texts.append(text)
        return digest

    customer = {"name": "Ada Lovelace", "_sd": [hide("email", "ada@example.org")]}
    seat = {"name": "Bob", "_sd": [hide("dob", "1970-01-01")]}
    result = {
        "seats": [{"...": hide(None, seat)}, {"...": hide(None, "window seat")}],
        "_sd": [hide("customer", customer)],
    }
    payload = {
        "_salt": salt(8999),
        "tool": "book",
        "_sd": sorted([hide("result", result), hide("note", "fragile")]),
    }
    log = HandLog()
    log.add("run-1", "run_started", {"kind": "new"}, sensitive={"userId": "u-91"})
    log.append("run-1", "tool_executed", payload, texts, "transfer-42", "acme", 90, None, {})
    log.add("run-1", "approval_resolved")
    log.add("run-1", "acme.note", {"text": "plain"})
    log.add("run-1", "run_completed")
    return log


def bundled(log: HandLog, policy: DisclosurePolicy | None) -> EvidenceBundle:
    """Return a bundle by a policy, which verifies and shows no more than that lets it."""
    made: EvidenceBundle = run_now(
        EvidenceBundler(log, SIGNER).bundle("transfer-42", tenant="acme", disclose=policy)
    )
    verify_evidence_bundle(made.to_json(), KEY, expected_disclosure_policy=policy)
    return made


def members(bundle: EvidenceBundle) -> list[str]:
    """Return the sensitive members that a bundle shows, each path once."""
    tree = bundle.tree
    return sorted(
        {
            f"{event['type']}:{format_path(path)}"
            for event in tree["events"]
            for path, _ in locate(
                event.get("payload"),
                [parse_disclosure(text, "test") for text in tree["disclosures"].get(event["id"], ())],
            )
        }
    )


def payloads(bundle: EvidenceBundle) -> list[str]:
    """Return the types of the payloads that a bundle shows."""
    return [event["type"] for event in bundle.tree["events"] if "payload" in event]


def shown_by(**arguments: Any) -> list[str]:
    """Return the sensitive members that a bundle of the log shows by this policy."""
    return members(bundled(trip_log(), DisclosurePolicy(**arguments)))


# What is shown


@pytest.mark.parametrize("policy", [None, DisclosurePolicy(), DisclosurePolicy.everything()])
def test_everything_by_default(policy: DisclosurePolicy | None) -> None:
    """Without a word all is shown: payloads, members, members of members, elements."""
    bundle = bundled(trip_log(), policy)
    assert (sorted(STANDS_IN), 5) == (members(bundle), len(payloads(bundle)))


def test_nothing_but_what_is_always_shown() -> None:
    """The policy that shows nothing leaves runs and decisions, and not a sensitive member of them."""
    bundle = bundled(trip_log(), DisclosurePolicy.nothing("secret"))
    assert ([], ["run_started", "approval_resolved", "run_completed"]) == (members(bundle), payloads(bundle))


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        (["tool_executed:result"], ["run_started", "tool_executed", "approval_resolved", "run_completed"]),
        (["acme.*"], ["run_started", "approval_resolved", "acme.note", "run_completed"]),
        (["*"], ["run_started", "tool_executed", "approval_resolved", "acme.note", "run_completed"]),
        (["run_started:userId"], ["run_started", "approval_resolved", "run_completed"]),
    ],
)
def test_show_names_the_payloads_too(show: Sequence[str], expected: list[str]) -> None:
    """A payload is shown where a pattern is of its type; what is always shown is shown anyway."""
    assert expected == payloads(bundled(trip_log(), DisclosurePolicy(show=show, reason="x")))


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        (["*"], []),
        (["*:userId"], ["run_started:userId"]),
        (["tool_*:/result"], ["tool_executed:result"]),
        (["*:result", "*:note"], ["tool_executed:note", "tool_executed:result"]),
        (["*:email"], []),
        (["*:email", "*:customer"], []),
        (["*:result", "tool_executed:result/*"], ["tool_executed:result", "tool_executed:result/customer"]),
        (["*:result", "*:result/seats/*"], ["tool_executed:result", "tool_executed:result/seats/*"]),
        (
            ["tool_*:result", "tool_*:result/**/*"],
            [name for name in sorted(STANDS_IN) if name.startswith("tool_executed:result")],
        ),
    ],
)
def test_show_by_path(show: Sequence[str], expected: list[str]) -> None:
    """A member is shown where a pattern means it, and what it stands in is shown, too."""
    assert expected == shown_by(show=show, reason="x")


@pytest.mark.parametrize(
    ("withhold", "gone"),
    [
        ("*:userId", ["run_started:userId"]),
        ("tool_executed:result", [name for name in STANDS_IN if name.startswith("tool_executed:result")]),
        ("*:customer", ["tool_executed:result/customer", "tool_executed:result/customer/email"]),
        ("tool_executed:result/*/email", ["tool_executed:result/customer/email"]),
        (
            "tool_executed:result/seats/*",
            ["tool_executed:result/seats/*", "tool_executed:result/seats/*/dob"],
        ),
        ("tool_executed:result/seats/*/*", ["tool_executed:result/seats/*/dob"]),
        ("tool_executed:email", ["tool_executed:result/customer/email"]),
        ("tool_executed:/email", []),
        ("acme.*:*", []),
    ],
)
def test_withhold_by_path(withhold: str, gone: list[str]) -> None:
    """A member that a pattern means is not shown, nor what stands below it."""
    assert sorted(STANDS_IN.keys() - gone) == shown_by(withhold=[Withholding([withhold], "x")])


@pytest.mark.parametrize("is_hidden", [True, False])
def test_what_stands_below_an_element(is_hidden: bool) -> None:
    """What stands below an element that is meant is withheld, also if the element is in the clear."""
    inner, inner_digest = disclose("dob", "1970", salt(1))
    crew, crew_digest = disclose("dob", "1971", salt(2))
    seat = {"_sd": [inner_digest]}
    outer, outer_digest = disclose(None, seat, salt(3))
    log = HandLog()
    log.add("run-1", "run_started")
    seats = [{"...": outer_digest}] if is_hidden else [seat]
    payload = {"_salt": salt(4), "seats": seats, "crew": [{"_sd": [crew_digest]}]}
    texts = [inner, crew, outer] if is_hidden else [inner, crew]
    log.append("run-1", "acme.x", payload, texts, "transfer-42", "acme", 9, None, {})
    log.add("run-1", "run_completed")
    tree = bundled(log, withholding("*:seats/*")).tree
    assert [[crew]] == list(tree["disclosures"].values())


@pytest.mark.parametrize(
    "value", [{"iban": "DE89"}, {"jsonText": '{"iban": "DE89", "n": NaN}'}, '{"iban": "DE89"}']
)
def test_what_is_meant_in_the_clear_within_a_member(value: object) -> None:
    """A member is withheld for what stands in it without a disclosure of its own."""
    log = HandLog()
    log.add("run-1", "run_started")
    log.add("run-1", "tool_executed", {"tool": "x"}, sensitive={"result": value, "error": "none"})
    log.add("run-1", "run_completed")
    bundle = bundled(log, withholding("*:iban"))
    assert ["tool_executed:error"] == members(bundle)
    assert b"DE89" not in bundle.to_json()


def test_what_is_meant_beside_a_digest() -> None:
    """A member is withheld also for what stands in an element of it beside the digest of something else."""
    dob, dob_digest = disclose("dob", "1970", salt(1))
    result, result_digest = disclose("result", [{"_sd": [dob_digest], "iban": "DE89"}], salt(2))
    log = HandLog()
    log.add("run-1", "run_started")
    payload = {"_salt": salt(3), "_sd": [result_digest]}
    log.append("run-1", "acme.x", payload, [dob, result], "transfer-42", "acme", 9, None, {})
    log.add("run-1", "run_completed")
    bundle = bundled(log, withholding("*:iban"))
    assert {} == bundle.tree["disclosures"]
    shown = bundled(log, DisclosurePolicy.everything())
    with pytest.raises(Unexpected, match="shows result, which"):
        verify_evidence_bundle(shown, KEY, expected_disclosure_policy=withholding("*:iban"))


def notes_on(payload: dict[str, Any], *patterns: str, event_type: str = "acme.x") -> list[str]:
    """Return what a verifier says of two events of a payload that shows all, by what a policy withholds."""
    log = HandLog()
    log.add("run-1", "run_started")
    log.add("run-1", event_type, payload)
    log.add("run-1", event_type, payload)
    log.add("run-1", "run_completed")
    policy = withholding(*patterns)
    report = verify_evidence_bundle(bundled(log, policy), KEY, expected_disclosure_policy=policy)
    assert "verified" == report.verdict
    return list(report.notes)


CLEAR: Final = {"iban": "DE89", "seats": [{"dob": "1970"}, {"dob": "1980"}], "text": ' {"dob": "1970"}'}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*:iban", ["iban", "text"]),
        ("acme.x:/seats", ["seats"]),
        ("*:dob", ["seats/*/dob", "text"]),
        ("*:seats/*/dob", ["seats/*/dob"]),
        ("*:*", []),
        ("acme.y:iban", []),
        ("*:name", ["text"]),
    ],
)
def test_what_is_meant_in_the_clear_is_noted(pattern: str, paths: list[str]) -> None:
    """What a policy means to withhold and stands in the clear is said, once for each type and path."""
    assert [
        f"acme.x shows {path} in the clear, which the disclosure policy would withhold if it were sensitive: "
        "event 1 of run run-1"
        for path in paths
    ] == notes_on(CLEAR, pattern)


def test_what_must_be_in_the_clear_is_not_noted() -> None:
    """A verdict cannot be sensitive: that a wildcard means it is no news."""
    verdict = {"verdict": "approved", "actor": "kim", "note": "x"}
    assert ["note"] == [
        note.split()[2] for note in notes_on(verdict, "*:[anv]*", event_type="approval_resolved")
    ]


def test_without_a_policy_nothing_is_noted() -> None:
    """Nobody is told of a policy that they did not bring."""
    log = HandLog()
    log.add("run-1", "run_started")
    log.add("run-1", "acme.x", CLEAR)
    log.add("run-1", "run_completed")
    assert () == verify_evidence_bundle(bundled(log, withholding("*:iban")), KEY).notes


PATTERNS: Final = st.sampled_from(
    [
        *("*:*", "*", "tool_*", "acme.*", "run_*:*", "*:[a-d]*", "*:/note", "*:dob", "*:email", "*:customer"),
        *("*:result", "*:result/*", "*:result/**/*", "*:**/seats/*", "tool_executed:result/customer/*"),
    ]
)


@given(st.sets(PATTERNS), st.sets(PATTERNS))
@example({"*:*"}, {"*:result/*"})
def test_the_rule(show: set[str], withhold: set[str]) -> None:
    """For any policy: shown is what show means, stands in what is shown, and below nothing to withhold."""

    def is_meant(patterns: Iterable[str], event_type: str, path: str) -> bool:
        steps = [None if step == "*" else step for step in path.split("/")]
        return Paths.of(map(Pattern, patterns), event_type).match(steps)

    def is_withheld(event_type: str, path: str) -> bool:
        steps = path.split("/")
        return any(is_meant(withhold, event_type, "/".join(steps[: i + 1])) for i in range(len(steps)))

    def is_shown(name: str) -> bool:
        event_type, _, path = name.partition(":")
        around = STANDS_IN[name]
        is_open = is_shown(around) if around else event_type in payloads(bundle)
        return is_open and is_meant(show, event_type, path) and not is_withheld(event_type, path)

    policy = DisclosurePolicy(show=show, reason="x", withhold=[Withholding(withhold, "y")])
    bundle = bundled(trip_log(), policy)
    assert [name for name in sorted(STANDS_IN) if is_shown(name)] == members(bundle)


# Reasons


def test_each_reason_where_it_belongs() -> None:
    """What is withheld carries the first reason that means it; what show leaves out the policy's own."""
    policy = DisclosurePolicy(
        show=["tool_*:*"],
        reason="not asked for",
        withhold=[
            Withholding(["*:email", "*:note"], "a person"),
            Withholding(["tool_executed:result/seats/*", "*:note"], "the airline's"),
        ],
    )
    bundle = bundled(trip_log(), policy)
    withheld = bundle.tree["scope"]["withheld"]
    found = {entry["reason"]: len(entry["digests"]) for entry in withheld["disclosures"]}
    assert {"not asked for": 1, "a person": 2, "the airline's": 2} == found
    assert ["not asked for"] == [entry["reason"] for entry in withheld["payloads"]]


def test_only_what_a_reader_can_see_is_listed() -> None:
    """Of members within each other only the outermost that is withheld is listed (bundle-v1.md section 5)."""
    withheld = bundled(trip_log(), withholding("*:*")).tree["scope"]["withheld"]["disclosures"]
    assert 3 == sum(len(entry["digests"]) for entry in withheld)


@pytest.mark.parametrize(
    ("withhold", "expected"),
    [("*:email", (1, 0)), ("*:customer", (0, 1)), ("*:result", (0, 1)), ("*:userId", (1, 1))],
)
@pytest.mark.parametrize("is_gone", [True, False])
def test_what_was_erased_is_not_withheld(withhold: str, expected: tuple[int, int], is_gone: bool) -> None:
    """An erased member is listed as erased, deleted or not yet, unless it stands in what is withheld."""
    log = trip_log()
    event_id = log.events[1].header["id"]
    parsed = [parse_disclosure(text, "test") for text in log.events[1].disclosures]
    (email,) = (item for item in parsed if item.name == "email")
    log.add("run-2", "run_started", {"kind": "maintenance"})
    log.add("run-2", "data_erased", {"targets": [{"eventId": event_id, "digests": [email.digest]}]})
    log.add("run-2", "run_completed")
    if is_gone:
        log.erase(event_id, [email.digest])
    bundle = bundled(log, withholding(withhold))
    scope = bundle.tree["scope"]
    counts = [sum(len(e["digests"]) for e in scope[part]["disclosures"]) for part in ("erased", "withheld")]
    assert (expected, False) == (tuple(counts), b"ada@example.org" in texts_of(bundle))


def test_reasons_are_reported() -> None:
    """The verifier's report gives all of them, and the policy's digest."""
    policy = parse_disclosure_policy(EXAMPLE)
    report = verify_evidence_bundle(bundled(trip_log(), policy).to_json(), KEY)
    assert (("not needed to supervise payments", "bank secrecy"), policy.digest) == (
        report.reasons,
        report.disclosure_policy,
    )


def test_a_policy_stays_what_it_was() -> None:
    """Lists that a policy was made of may change later; the policy does not."""
    show, withhold = ["*"], [Withholding(["acme.*"], "x")]
    policy = DisclosurePolicy(show=show, reason="x", withhold=withhold)
    show.append("*:*")
    withhold.clear()
    bundle = bundled(trip_log(), policy)
    assert ([], False) == (members(bundle), "acme.note" in payloads(bundle))


def test_a_policy_that_is_made_in_code_has_no_digest() -> None:
    """A bundle names a policy only where there is a file of it."""
    bundle = bundled(trip_log(), DisclosurePolicy.nothing("secret"))
    assert "disclosurePolicy" not in bundle.tree["scope"]


# What may not be withheld


@pytest.mark.parametrize("event_type", sorted(KEPT))
def test_what_is_always_shown_is_no_holders_to_remove(event_type: str) -> None:
    """A type whose payload always shows cannot be named as redactable."""
    with pytest.raises(ValueError, match=f"always shows the payload of {event_type}"):
        DisclosurePolicy(redactable=[event_type])


@pytest.mark.parametrize("name", [f"{kind}:{name}" for kind, names in PLAIN.items() for name in names])
@pytest.mark.parametrize("slash", ["", "/"])
def test_what_was_decided_cannot_be_withheld(name: str, slash: str) -> None:
    """A pattern that names a verdict, or who gave it, is a mistake; a wildcard passes over it."""
    with pytest.raises(ValueError, match="always shows"):
        Withholding([name.replace(":", f":{slash}")], "x")
    assert 5 == len(payloads(bundled(trip_log(), withholding(name.partition(":")[0][:-1] + "?:*"))))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"show": ["*:userId"]}, "expected a reason"),
        ({"show": []}, "expected a reason"),
        ({"show": [], "reason": "two\nlines"}, "expected a reason"),
        ({"redactable": ["tool_*:result"]}, "without a path"),
        ({"show": [":x"], "reason": "x"}, "pattern"),
        ({"digest": "md5:x"}, "sha256"),
    ],
)
def test_a_policy_that_is_none(arguments: dict[str, Any], says: str) -> None:
    """A policy that could not be obeyed, or not be stated in a bundle, is refused when it is made."""
    with pytest.raises(ValueError, match=says):
        DisclosurePolicy(**arguments)


# The receiver's side


def verified(tree: Tree, policy: DisclosurePolicy) -> VerificationReport:
    """Verify a bundle that should have been made by a policy."""
    return verify_evidence_bundle(
        canonical.dumps(tree), KEY, expected_workflow="transfer-42", expected_disclosure_policy=policy
    )


def test_a_bundle_by_another_policy_is_not_what_was_expected() -> None:
    """The digest is compared: with one comment more it is another policy."""
    tree = bundled(trip_log(), parse_disclosure_policy(EXAMPLE)).tree
    with pytest.raises(Unexpected, match="disclosure policy: expected sha256:"):
        verified(tree, parse_disclosure_policy(EXAMPLE + b"# more\n"))


def test_a_bundle_by_no_policy_is_not_what_was_expected() -> None:
    """A bundle that names none fails, also where it shows no more."""
    policy = parse_disclosure_policy(EXAMPLE)
    tree = bundled(trip_log(), DisclosurePolicy.nothing("secret")).tree
    with pytest.raises(Unexpected, match="found none"):
        verified(tree, policy)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('show=["*", "*:/result"]\nreason="x"', "shows note, which"),
        ('show=["tool_*:result"]\nreason="x"', "event 3 of run run-1: shows its payload"),
        (
            '[[withhold]]\npatterns=["*:email"]\nreason="x"',
            "event 1 of run run-1: shows result/customer/email",
        ),
        ('[[withhold]]\npatterns=["*:**/seats/*"]\nreason="x"', "shows result/seats/*, which"),
    ],
)
def test_a_signer_who_shows_more_than_the_policy_lets(text: str, says: str) -> None:
    """A bundle that names a policy, and shows what it withholds, fails and is told where."""
    policy = parse_disclosure_policy(f'version=1\nname="x"\n{text}'.encode())
    tree = bundled(trip_log(), None).tree
    tree["scope"]["disclosurePolicy"] = policy.digest
    if "payload" in says:
        tree["disclosures"] = {}
    else:
        del tree["disclosures"][tree["events"][0]["id"]]
    with pytest.raises(Unexpected, match=re.escape(says)):
        verified(resign(tree), policy)


def test_a_policy_that_is_made_in_code_is_checked_too() -> None:
    """Of a policy without a file it is compared what is shown, and not what the bundle names."""
    with pytest.raises(Unexpected, match="event 0 of run run-1: shows userId"):
        verified(bundled(trip_log(), None).tree, DisclosurePolicy(show=["*"], reason="x"))


def test_a_bundle_may_show_less_than_its_policy_lets() -> None:
    """What a holder removed, or was erased, is no breach."""
    policy = parse_disclosure_policy(EXAMPLE)
    tree = bundled(trip_log(), policy).tree
    tree["disclosures"] = {}
    assert 2 == verified(tree, policy).shown.removed_disclosures


# The file

EXAMPLE: Final = b"""version = 1
name = "payments, for the supervisor"
show = ["*", "tool_*:*"]
reason = "not needed to supervise payments"
redactable = ["tool_*"]

[[withhold]]
patterns = ["*:customer", "*:**/seats/*"]
reason = "bank secrecy"
"""


def documented(root: Path) -> list[str]:
    """Return the policies of the specification."""
    text = (root / "schemas" / "disclosure-policy-v1.md").read_text("utf-8")
    return re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_specification(root: Path) -> None:
    """Each is a policy, and the digest that is stated of the first is its own."""
    policies = [parse_disclosure_policy(text.encode()) for text in documented(root)]
    assert ["payments, for the supervisor", "decisions only", "without persons"] == [p.name for p in policies]
    assert f"`{policies[0].digest}`" in (root / "schemas" / "disclosure-policy-v1.md").read_text("utf-8")


def test_the_patterns_of_the_specification(root: Path) -> None:
    """Each pattern in its table is one."""
    text = (root / "schemas" / "disclosure-policy-v1.md").read_text("utf-8")
    table = text.partition("| pattern | means |")[2].partition("\n\n")[0]
    assert 8 == len([Pattern(found) for found in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)])


def test_the_digest_is_that_of_the_bytes() -> None:
    """`sha256sum` of the file is what the bundle names."""
    assert f"sha256:{hashlib.sha256(EXAMPLE).hexdigest()}" == parse_disclosure_policy(EXAMPLE).digest


def test_the_smallest_policy_shows_everything() -> None:
    """Version and name suffice."""
    bundle = bundled(trip_log(), parse_disclosure_policy(b'version = 1\nname = "all"\n'))
    assert sorted(STANDS_IN) == members(bundle)


BAD: Final[dict[str, tuple[str, str]]] = {
    "empty": ("", "/version"),
    "no TOML": ("version", "disclosure policy"),
    "a member twice": ('version=1\nversion=1\nname="x"', "disclosure policy"),
    "an integer of many digits": ("version=" + "9" * 5000, "disclosure policy"),
    "nested deep": ("version=" + "[" * 30_000, "disclosure policy"),
    "another version": ('version=2\nname="x"', "/version"),
    "a version that is true": ('version=true\nname="x"', "/version"),
    "a version that is a float": ('version=1.0\nname="x"', "/version"),
    "no name": ("version=1", "/name"),
    "a name with a control": ('version=1\nname="a\\u001b"', "/name"),
    "an unknown member": ('version=1\nname="x"\nwithold=[]', "/withold"),
    "show is a text": ('version=1\nname="x"\nshow="*"', "/show"),
    "show has a number": ('version=1\nname="x"\nshow=[1]\nreason="x"', "/show"),
    "show has no pattern": ('version=1\nname="x"\nshow=["a:"]\nreason="x"', "/show/0"),
    "show has one twice": ('version=1\nname="x"\nshow=["a","b","a"]\nreason="x"', "/show/2"),
    "show without a reason": ('version=1\nname="x"\nshow=["a"]', "/reason"),
    "a reason of no length": ('version=1\nname="x"\nreason=""', "/reason"),
    "a reason too long": (f'version=1\nname="x"\nreason="{"x" * 1025}"', "/reason"),
    "redactable has a path": ('version=1\nname="x"\nredactable=["a:b"]', "/redactable"),
    "redactable is always shown": ('version=1\nname="x"\nredactable=["resumed"]', "/redactable"),
    "withhold is a table": ('version=1\nname="x"\n[withhold]\npatterns=["a"]', "/withhold"),
    "withhold has a text": ('version=1\nname="x"\nwithhold=["a"]', "/withhold"),
    "withhold of nothing": (
        'version=1\nname="x"\n[[withhold]]\npatterns=[]\nreason="x"',
        "/withhold/0/patterns",
    ),
    "withhold without a reason": ('version=1\nname="x"\n[[withhold]]\npatterns=["a"]', "/withhold/0/reason"),
    "withhold with a turned reason": (
        'version=1\nname="x"\n[[withhold]]\npatterns=["a"]\nreason="a\\u202eb"',
        "/withhold/0/reason",
    ),
    "withhold with more": (
        'version=1\nname="x"\n[[withhold]]\npatterns=["a"]\nreason="x"\nshow=[]',
        "/withhold/0/show",
    ),
    "withhold of a verdict": (
        'version=1\nname="x"\n[[withhold]]\npatterns=["a"]\nreason="x"\n'
        '[[withhold]]\npatterns=["b","gate_verdict"]\nreason="x"',
        "/withhold/1/patterns",
    ),
    "a pattern in two of them": (
        'version=1\nname="x"\n[[withhold]]\npatterns=["a"]\nreason="x"\n'
        '[[withhold]]\npatterns=["b","a"]\nreason="y"',
        "/withhold/1/patterns/1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_policy_is_refused(name: str) -> None:
    """A file that says anything else than a policy is refused, and the place is told."""
    text, place = BAD[name]
    with pytest.raises(MalformedInput) as refused:
        parse_disclosure_policy(text.encode())
    assert place == refused.value.place


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("an unknown member", "redactable, withhold; did you mean withhold?"),
        ("redactable has a path", "/redactable: expected a type without a path, found 'a:b'"),
        ("redactable is always shown", "/redactable: a bundle always shows the payload of resumed"),
    ],
)
def test_a_refusal_says_it_once_and_helps(name: str, says: str) -> None:
    """A misspelt member is answered with the one that was meant, and no place is told twice."""
    with pytest.raises(MalformedInput) as refused:
        parse_disclosure_policy(BAD[name][0].encode())
    assert str(refused.value).endswith(says)


def test_a_file_that_is_too_large() -> None:
    """One byte above the limit is refused; at the limit it is read."""
    fill = EXAMPLE + b"#" * (MAX_BYTES - len(EXAMPLE))
    assert "payments, for the supervisor" == parse_disclosure_policy(fill).name
    with pytest.raises(MalformedInput, match="at most 65536 bytes"):
        parse_disclosure_policy(fill + b"#")


@pytest.mark.parametrize(
    "data", [b"\xff", b'name="\xed\xa0\x80"', EXAMPLE.decode().encode("utf-16"), b"\xef\xbb\xbf"]
)
def test_bytes_that_are_no_text(data: bytes) -> None:
    """What is not UTF-8, or begins with a byte order mark, is refused."""
    with pytest.raises(MalformedInput):
        parse_disclosure_policy(data)


def try_to_obey(data: bytes) -> None:
    """Read a policy, and make a bundle by it if it is one."""
    try:
        policy = parse_disclosure_policy(data)
    except MalformedInput:
        return
    bundled(trip_log(), policy)


@given(st.binary() | st.text().map(str.encode))
@example(b'version=1\nname="x"\nshow=["[z-a]:[", "*:[!"]\nreason="x"')
def test_any_bytes(data: bytes) -> None:
    """Whatever is given is a policy that can be obeyed, or MalformedInput."""
    try_to_obey(data)


WORDS: Final = ["version", "name", "show", "reason", "redactable", "patterns", "[[withhold]]", "=", "1", "\n"]
WORDS_OF_VALUES: Final = [
    '"x"',
    '["*"]',
    '["*:*"]',
    '["tool_*:result/*"]',
    "[]",
    "'[a-'",
    "{",
    "}",
    "true",
    '"\\u0000"',
]


@given(st.lists(st.sampled_from(WORDS + WORDS_OF_VALUES)).map(" ".join))
def test_any_words(text: str) -> None:
    """So is whatever is made of the words of a policy."""
    try_to_obey(f'version = 1\nname = "x"\n{text}'.encode())


@pytest.mark.parametrize("byte", [0x00, 0x22, 0x2A, 0x5B, 0x5C, 0x7E, 0xFF])
def test_every_byte(byte: int) -> None:
    """So is a policy with any one byte changed; it is never the same policy."""
    digest = parse_disclosure_policy(EXAMPLE).digest
    for i in range(len(EXAMPLE)):
        changed = EXAMPLE[:i] + bytes([byte]) + EXAMPLE[i + 1 :]
        try:
            policy = parse_disclosure_policy(changed)
        except MalformedInput:
            continue
        assert (digest == policy.digest) is (changed == EXAMPLE)


# What nobody finds out


def decoded(value: object) -> Iterator[bytes]:
    """Yield each text of a JSON value as it stands, and whatever it may be the base64 of."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from decoded(name)
            yield from decoded(item)
    elif isinstance(value, list):
        for item in value:
            yield from decoded(item)
    elif isinstance(value, str):
        yield value.encode()
        for alphabet in (b"+/", b"-_"):
            with_padding = value.encode("ascii", "ignore") + b"=" * (-len(value) % 4)
            try:
                yield base64.b64decode(with_padding, alphabet, validate=True)
            except binascii.Error:
                continue


def texts_of(bundle: EvidenceBundle) -> bytes:
    """Return all that can be read in a bundle, also in its base64, and in its DSSE envelope."""
    return b"\n".join([bundle.to_json(), *decoded(bundle.tree), *decoded(bundle.to_dsse())])


def test_what_is_withheld_is_nowhere() -> None:
    """No value that is withheld is in a bundle, encoded or not; with everything shown each of them is."""
    secrets = [secret.encode() for secret in SECRETS]
    shown, hidden = (
        texts_of(bundled(trip_log(), policy)) for policy in (None, DisclosurePolicy(show=["*"], reason="x"))
    )
    assert secrets == [secret for secret in secrets if secret in shown]
    assert [] == [secret for secret in secrets if secret in hidden]


NAMES: Final = ("verdict", "decision", "outcome", "approved")
VALUES: Final = ("approved", "rejected", "escalated", True, False, None, *range(100))


def guesses(salts: Iterable[str | None]) -> Iterator[str]:
    """Yield the digests, in hex and in base64url, of whatever of these names and values could be hashed."""
    for known, value in itertools.product(salts, VALUES):
        salted: list[object] = [] if known is None else [known]
        contents: list[object] = [value, [*salted, value]]
        for name in NAMES:
            contents += [[*salted, name, value], {name: value}, {"_salt": known, name: value}]
        for content in contents:
            data = canonical.dumps(content)
            yield hashlib.sha256(data).hexdigest()
            yield encode_base64url(hashlib.sha256(data).digest())
            yield digest_of(encode_base64url(data))


def found(bundle: EvidenceBundle, salts: Iterable[str | None]) -> set[str]:
    """Return which digests in a bundle a dictionary of names and values finds, with these salts."""
    text = bundle.to_json().decode()
    return {guess for guess in guesses(salts) if guess in text}


def salts_in(bundle: EvidenceBundle) -> list[str]:
    """Return each salt that a bundle shows."""
    tree = bundle.tree
    shown = [
        canonical.loads(base64.urlsafe_b64decode(t + "==")) for ts in tree["disclosures"].values() for t in ts
    ]
    return [disclosure[0] for disclosure in shown] + [
        event["payload"]["_salt"] for event in tree["events"] if "payload" in event
    ]


def test_a_dictionary_finds_nothing() -> None:
    """Digests of few possible values give nothing away, until the salt is known; then they do."""
    log = HandLog()
    log.add("run-1", "run_started", sensitive={"userId": "u-91"})
    log.add("run-1", "acme.review", {"verdict": "approved"})
    log.add("run-1", "acme.checked", sensitive={"verdict": "approved"})
    log.add("run-1", "acme.checked", elements={"verdict": ["approved", 7]})
    log.add("run-1", "run_completed")
    bundle = bundled(log, withholding("acme.review", "acme.checked:*"))
    known = salts_in(bundle)
    assert (5, set()) == (len(known), found(bundle, [None, "", *known]))
    secret = [
        canonical.loads(base64.urlsafe_b64decode(text + "=="))[0]
        for e in log.events
        for text in e.disclosures
    ]
    assert 4 == len(secret)
    of_payload = json.loads(log.events[1].payload or b"")["_salt"]
    assert (3, 1) == (len(found(bundle, secret)), len(found(bundle, [of_payload])))


@pytest.mark.anyio
async def test_equal_values_have_different_digests() -> None:
    """Nobody sees in a bundle that two calls had the same arguments."""
    assert disclose("amount", 5000) != disclose("amount", 5000)
    log = MemoryEventLog()
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w"):
        for _ in range(2):
            await bus.publish(ToolProposed(tool="wire", arguments={"amount": 5000}))
    policy = DisclosurePolicy(show=["*"], reason="x")
    tree = (await EvidenceBundler(log, SIGNER).bundle("w", disclose=policy)).tree
    digests = [d for entry in tree["scope"]["withheld"]["disclosures"] for d in entry["digests"]]
    hashes = [event["contentHash"] for event in tree["events"] if event["type"] == "tool_proposed"]
    assert (2, 2) == (len(set(digests)), len(set(hashes)))
