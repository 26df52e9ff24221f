"""Redaction: what a holder takes out of a bundle is gone, nothing else is, and it verifies."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import (
    EvidenceBundle,
    EvidenceError,
    HmacSigner,
    RedactionRefused,
    ScopeMismatch,
    SharedSecret,
    canonical,
    verify_evidence_bundle,
)
from evidence.digest import sha256
from evidence.disclosure import digest_of, disclose, parse_disclosure
from evidence.redact import Redacted, redact_evidence_bundle, shown_events
from schemas.build_vectors import KEY as VECTORS_KEY
from schemas.build_vectors import (
    SECRET,
    VECTORS,
    erased_log,
    grown_log,
    nested_log,
    open_log,
    relink,
    resign,
)
from tests.disclosing import KEY, SIGNER, Tree, only, refusal, tree_of, trip, verify

EVERYTHING: dict[str, Any] = {"members": ["*:*"], "payloads": ["*"]}


def redacted(bundle: Any = None, **options: Any) -> Redacted:
    """Redact a bundle, the trip's by default, check that it verifies, and return what came of it."""
    result = redact_evidence_bundle(trip() if bundle is None else bundle, **options)
    verify(result.bundle)
    return result


def shown(bundle: EvidenceBundle, event_type: str) -> Any:
    """Return the payload of the first event of a type, as a verifier shows it."""
    events = verify(bundle).events
    return next(event.payload for event in events if event.type == event_type)


def test_a_member_is_removed() -> None:
    """A member that a pattern means is not shown any more; the rest of its payload is."""
    result = redacted(members=["tool_proposed:arguments"])
    assert (0, 1, ()) == (result.payloads, result.members, result.unmatched)
    assert {"tool": "book", "callId": "c1"} == _without_salt(shown(result.bundle, "tool_proposed"))
    assert {"ticket": "220-1"} == shown(result.bundle, "tool_executed")["result"]


def _without_salt(payload: Any) -> Any:
    return {name: value for name, value in payload.items() if name != "_salt"}


HERS = {"city": "Berlin", "email": "ada@example.org", "phone": "+49 30 1"}


@pytest.mark.parametrize(
    ("members", "traveller"),
    [
        (["*:traveller/contact/email"], {"name": "Ada", "contact": {"city": "Berlin", "phone": "+49 30 1"}}),
        (["*:traveller/contact"], {"name": "Ada"}),
        (["*:email", "*:phone"], {"name": "Ada", "contact": {"city": "Berlin"}}),
        (["*:/email"], {"name": "Ada", "contact": HERS}),
        (["disclosing.trip_booked:traveller/*"], {}),
        (
            ["*:traveller/**/phone"],
            {"name": "Ada", "contact": {"city": "Berlin", "email": "ada@example.org"}},
        ),
    ],
)
def test_nested_members(members: list[str], traveller: Any) -> None:
    """A path means members at any depth, and what stands below a removed member goes with it."""
    result = redacted(members=members)
    assert {"seat": "1A", **traveller} == shown(result.bundle, "disclosing.trip_booked")["traveller"]


def test_what_stands_below_goes_too() -> None:
    """With a member go the disclosures that only it refers to, and it alone is counted, as by a verifier."""
    result = redacted(members=["*:traveller"])
    gone = verify(trip()).shown.disclosures - verify(result.bundle).shown.disclosures
    assert (2 * 5, 2) == (gone, result.members)


def test_elements_of_arrays() -> None:
    """A path reaches the elements of an array, and the members of its elements."""
    tree = nested_log().bundle()
    result = redact_evidence_bundle(tree, members=["model_*:choices/*"])
    report = verify(result.bundle, VECTORS_KEY)
    assert ([], 3) == (report.events[1].payload["choices"], result.members)  # type: ignore[index]


@pytest.mark.parametrize(
    ("payloads", "types"),
    [
        (["tool_proposed"], ["tool_proposed"]),
        (["01000000000000000000000005"], ["disclosing.trip_booked"]),
        (["disclosing.trip_booked"], ["disclosing.trip_booked", "disclosing.trip_booked"]),
        (["tool_*"], ["tool_proposed", "tool_executed"]),
        (["*"], ["tool_proposed", "disclosing.trip_booked", "tool_executed", "disclosing.trip_booked"]),
    ],
)
def test_payloads_are_removed(payloads: list[str], types: list[str]) -> None:
    """Payloads go by type, by event, and by wildcard, which passes over those that are kept."""
    result = redacted(payloads=payloads)
    report = verify(result.bundle)
    gone = [event.type for event in report.events if event.payload is None]
    assert (types, len(types), len(types)) == (gone, result.payloads, report.shown.removed_payloads)


def test_disclosures_go_with_their_payload() -> None:
    """Of an event whose payload was removed, no disclosure stays, and none is counted beside it."""
    result = redacted(payloads=["disclosing.*"])
    assert (2, 0) == (result.payloads, result.members)
    assert {"tool_proposed", "run_started", "approval_requested", "tool_executed"} == {
        event.type for event in shown_events(result.bundle) if event.members
    }


def test_a_wildcard_passes_over_what_the_signer_keeps() -> None:
    """Where the signer lets holders remove some payloads only, a wildcard removes those."""
    tree = tree_of(trip())
    tree["scope"]["redactable"] = [only(tree, "tool_executed")["id"]]
    result = redact_evidence_bundle(_signed(tree), payloads=["tool_*"])
    assert ["tool_executed"] == [
        event.type for event in verify(result.bundle).events if event.payload is None
    ]


def _signed(tree: Tree) -> Tree:
    return resign(tree, SIGNER)


@pytest.mark.parametrize(
    ("options", "place", "reason"),
    [
        ({"payloads": ["run_started"]}, "event 0 of run", "lets no holder remove the payload of run_started"),
        ({"payloads": ["approval_resolved"]}, "event 3 of run", "the payload of approval_resolved"),
        ({"payloads": ["01000000000000000000000003"]}, "event 2 of run", "payload of approval_requested"),
        (
            {"payloads": ["01M7XXFHX80000000000000077"]},
            "event 01M7XXFHX80000000000000077",
            "not in the bundle",
        ),
        ({"payloads": ["tool_executd"]}, "tool_executd", "no event of this type"),
        ({"members": ["tool_executd:result"]}, "tool_executd:result", "no event of this type"),
        ({"payloads": ["tool_proposed", "run_completed"]}, "event 6 of run", "run_completed"),
    ],
)
def test_refusals(options: dict[str, Any], place: str, reason: str) -> None:
    """What may not be removed, and what is not there, is refused with place and reason."""
    with pytest.raises(RedactionRefused, match=reason) as caught:
        redact_evidence_bundle(trip(), **options)
    assert caught.value.place.startswith(place)


def test_a_payload_that_the_signer_keeps_is_refused() -> None:
    """A payload that could be removable, and is not listed, is refused by its type."""
    tree = tree_of(trip())
    tree["scope"]["redactable"] = []
    with pytest.raises(RedactionRefused, match="lets no holder remove"):
        redact_evidence_bundle(_signed(tree), payloads=["tool_executed"])


@pytest.mark.parametrize(
    "options",
    [{"members": ["tool_proposed"]}, {"payloads": ["a:b"]}, {"members": [""]}, {"payloads": [":x"]}],
)
def test_patterns_of_the_wrong_kind(options: dict[str, Any]) -> None:
    """A pattern of members names a member, one of payloads none."""
    with pytest.raises(ValueError, match="expected"):
        redact_evidence_bundle(trip(), **options)


@pytest.mark.parametrize("name", ["members", "payloads", "proofs"])
def test_one_text_in_place_of_several(name: str) -> None:
    """One text is no list of patterns."""
    options: dict[str, Any] = {name: "*:*"}
    with pytest.raises(TypeError, match="several"):
        redact_evidence_bundle(trip(), **options)


def test_only_what_was_removed_changes() -> None:
    """With what was removed put back, the bundle is what it was, byte for byte; so is what was signed."""
    before = tree_of(trip())
    after = tree_of(redacted(members=["*:email"], payloads=["tool_executed"]).bundle)
    executed = only(before, "tool_executed")
    assert executed["id"] not in after["disclosures"]
    only(after, "tool_executed")["payload"] = executed["payload"]
    for event_id, texts in after["disclosures"].items():
        kept = [
            text for text in before["disclosures"][event_id] if parse_disclosure(text, "").name != "email"
        ]
        assert kept == texts
    after["disclosures"] = before["disclosures"]
    assert canonical.dumps(before) == canonical.dumps(after)


def test_the_bundle_that_was_given_stays() -> None:
    """A redaction makes another bundle; the one that was given is as it was."""
    tree = tree_of(trip())
    given, bundle = copy.deepcopy(tree), EvidenceBundle.from_json(tree)
    redact_evidence_bundle(tree, **EVERYTHING)
    redact_evidence_bundle(bundle, **EVERYTHING)
    assert (given, canonical.dumps(given)) == (tree, bundle.to_json())


def test_everything() -> None:
    """With all that may be removed removed, decisions and runs are still shown, and it verifies."""
    result = redacted(**EVERYTHING)
    report = verify(result.bundle)
    assert {"verdict": "approved", "actor": "kim"} == {
        name: shown(result.bundle, "approval_resolved")[name] for name in ("verdict", "actor")
    }
    assert (0, 4) == (report.shown.disclosures, report.shown.removed_payloads)
    assert "4 payloads and 3 members removed after signing" in report.headline


def test_twice() -> None:
    """What was removed already is removed no second time, and nothing else is."""
    once = redacted(**EVERYTHING, proofs=["completeness"])
    again = redacted(once.bundle, **EVERYTHING, proofs=["completeness"])
    assert (once.bundle.to_json(), False) == (again.bundle.to_json(), again.is_changed)
    assert ("*:*", "*", "completeness") == again.unmatched


@pytest.mark.parametrize(
    "options",
    [{}, {"members": ["*:nothing"]}, {"payloads": ["acme.*"]}, {"payloads": ["run_*"]}, {"proofs": ["x"]}],
)
def test_nothing(options: dict[str, Any]) -> None:
    """Where nothing is meant that may be removed, the bundle is the same, and the result says so."""
    result = redacted(**options)
    asked = tuple(text for texts in options.values() for text in texts)
    assert (trip().to_json(), False, asked) == (result.bundle.to_json(), result.is_changed, result.unmatched)


def test_an_event_whose_payload_is_gone_is_no_refusal() -> None:
    """A withheld or erased payload is as gone as it was asked to be."""
    tree = erased_log().bundle()
    erased = tree["scope"]["erased"]["payloads"][0]["eventId"]
    result = redact_evidence_bundle(tree, payloads=[erased, "tool_proposed"])
    assert (False, (erased, "tool_proposed")) == (result.is_changed, result.unmatched)


def test_what_would_not_verify_is_refused() -> None:
    """Where a signer hid the record of an erasure in a disclosure, a holder cannot remove that one."""
    tree = erased_log().bundle()
    event = only(tree, "data_erased")
    text, digest = disclose("targets", event["payload"].pop("targets"), "a salt")
    event["payload"]["_sd"] = [digest]
    event["contentHash"] = sha256(canonical.dumps(event["payload"]))
    tree["disclosures"][event["id"]] = [text]
    resign(relink(tree))
    assert "verified" == verify(tree, VECTORS_KEY).verdict
    with pytest.raises(ScopeMismatch, match="does not record"):
        redact_evidence_bundle(tree, members=["data_erased:targets"])


def test_proofs() -> None:
    """A proof goes by its kind, the others stay, and a report says that the one is missing."""
    tree = grown_log().bundle()
    tree["proofs"]["acme.stamp"] = {"any": "thing"}
    result = redact_evidence_bundle(tree, proofs=["completeness"])
    assert (("completeness",), ()) == (result.proofs, result.unmatched)
    assert ["acme.stamp"] == list(tree_of(result.bundle)["proofs"])
    notes = verify(result.bundle, VECTORS_KEY).notes
    assert any("completeness that it was signed with was removed" in note for note in notes)


def test_an_open_run_may_be_passed_on() -> None:
    """A bundle whose run has not ended can be redacted, and is as incomplete as it was."""
    result = redact_evidence_bundle(open_log().bundle(), members=["*:*"], public_key=VECTORS_KEY)
    assert result.is_changed
    assert "Incomplete" == refusal(result.bundle, VECTORS_KEY)


def test_with_a_shared_secret() -> None:
    """A bundle with an HMAC is verified with its secret."""
    secret = SharedSecret(SECRET)
    tree = resign(tree_of(trip()), HmacSigner(secret))
    result = redact_evidence_bundle(tree, members=["*:*"], public_key=secret)
    assert 0 == verify_evidence_bundle(result.bundle, secret).shown.disclosures


# What does not verify is not passed on

BAD = [
    entry
    for entry in json.loads((VECTORS / "bundles/index.json").read_text("utf-8"))["bundles"]
    if entry["outcome"] in ("failed", "malformed") and "expect" not in entry and "logKey" not in entry
]


@pytest.mark.parametrize("entry", BAD, ids=lambda entry: entry["file"])
def test_garbage_is_not_passed_on(entry: dict[str, Any]) -> None:
    """What does not verify is refused, with the key always, without it unless the signature is the fault."""
    data = (VECTORS / "bundles" / entry["file"]).read_bytes()
    key = SharedSecret(bytes.fromhex(entry["secret"])) if "secret" in entry else bytes.fromhex(entry["key"])
    with pytest.raises(EvidenceError):
        redact_evidence_bundle(data, **EVERYTHING, public_key=key)
    if entry.get("error") not in ("SignatureRefused", "KeyRefused"):
        with pytest.raises(EvidenceError):
            redact_evidence_bundle(data, **EVERYTHING)


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_any_bytes_end_in_an_evidence_error(data: bytes | str) -> None:
    """Whatever is given in place of a bundle is refused."""
    with pytest.raises(EvidenceError):
        redact_evidence_bundle(data, **EVERYTHING)
    with pytest.raises(EvidenceError):
        shown_events(data)


# Any sequence of removals

PATHS = ["*", "userId", "email", "contact", "name", "traveller", "/answer", "companions/*/contact"]
PATHS += ["traveller/**/phone", "traveller/contact/email", "arguments", "result"]
MEMBERS = [f"{event_type}:{path}" for event_type in ("*", "disclosing.*") for path in PATHS]
EVENTS = [event.event_id for event in shown_events(trip()) if event.payload == "redactable"]
PAYLOADS = ["*", "tool_*", "tool_executed", "disclosing.trip_booked", *EVENTS]


@st.composite
def removals(draw: Any) -> dict[str, list[str]]:
    """Draw what a holder removes."""
    return {
        "members": draw(st.lists(st.sampled_from(MEMBERS), max_size=3)),
        "payloads": draw(st.lists(st.sampled_from(PAYLOADS), max_size=2)),
    }


@given(st.lists(removals(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_redactions_compose_and_commute(steps: list[dict[str, list[str]]], random: Any) -> None:
    """Any sequence of removals, in any order, verifies, and equals all of them at once."""
    together = {name: [text for step in steps for text in step[name]] for name in ("members", "payloads")}
    expected = redacted(**together).bundle.to_json()
    for _ in range(2):
        bundle = trip()
        for step in steps:
            bundle = redacted(bundle, **step, public_key=KEY).bundle
        assert expected == bundle.to_json()
        random.shuffle(steps)


@given(removals())
def test_counts_are_those_of_a_verifier(removal: dict[str, list[str]]) -> None:
    """What is said to have been removed is what the receiver's report will say."""
    result = redacted(**removal)
    shown = verify(result.bundle).shown
    assert (shown.removed_payloads, shown.removed_disclosures) == (result.payloads, result.members)


def test_counts_of_a_second_redaction() -> None:
    """What another holder removed before is not counted again, also where what it stood in goes now."""
    once = redacted(members=["*:traveller/contact"]).bundle
    twice = redacted(once, members=["*:traveller", "*:userId"])
    assert (2, 4) == (verify(once).shown.removed_disclosures, twice.members)
    assert 4 == verify(twice.bundle).shown.removed_disclosures


@given(removals())
def test_what_is_not_meant_stays(removal: dict[str, list[str]]) -> None:
    """Of what is shown after a removal, everything was shown before, in its place and order."""
    before, after = tree_of(trip()), tree_of(redacted(**removal).bundle)
    for event_id, texts in after["disclosures"].items():
        assert texts == [text for text in before["disclosures"][event_id] if text in texts]
    kept = {digest_of(text) for texts in after["disclosures"].values() for text in texts}
    assert kept == {digest for event in verify(after).events for digest in map(digest_of, event.disclosures)}


# What a bundle shows


def test_what_is_shown_is_listed() -> None:
    """Each event is listed with how its payload stands and which members are shown, without a value."""
    listed = {
        event.seq: event for event in shown_events(trip()) if event.run_id == shown_events(trip())[0].run_id
    }
    assert [
        ("run_started", "kept", ("userId",)),
        ("tool_proposed", "redactable", ("arguments",)),
        ("approval_requested", "kept", ("shown",)),
        ("approval_resolved", "kept", ()),
    ] == [(listed[i].type, listed[i].payload, listed[i].members) for i in range(4)]
    assert (
        "answer",
        "companions/*/contact",
        "companions/*/contact/email",
        "companions/*/name",
        "traveller",
        "traveller/contact",
        "traveller/contact/email",
        "traveller/contact/phone",
        "traveller/name",
    ) == listed[4].members


def test_every_standing() -> None:
    """A payload is redactable or kept, or it is withheld, erased or removed."""
    withheld = (VECTORS / "bundles/withheld.json").read_bytes()
    removed = redact_evidence_bundle(erased_log().bundle(), payloads=["tool_executed"]).bundle
    found = {event.payload for data in (trip(), withheld, removed) for event in shown_events(data)}
    assert {"redactable", "kept", "withheld", "erased", "removed"} == found


def test_listed_paths_are_patterns() -> None:
    """Each path that is listed removes what it names."""
    for event in shown_events(trip()):
        for path in event.members:
            result = redacted(members=[f"{event.type}:/{path}"])
            assert result.is_changed
            after = next(other for other in shown_events(result.bundle) if other.event_id == event.event_id)
            assert path not in after.members
