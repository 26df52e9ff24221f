"""What verification returns and raises, and for what: reports, expectations, open runs, missing libraries."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import evidence
from evidence import (
    ANY_TENANT,
    EvidenceBundle,
    EvidenceError,
    Incomplete,
    KeyRefused,
    LogDamaged,
    MalformedInput,
    NotCanonicalizable,
    SharedSecret,
    Shown,
    SignatureRefused,
    Unexpected,
    UnknownWorkflow,
    Unverifiable,
    VerificationReport,
    canonical,
    verify_evidence_bundle,
)
from evidence.disclosure import disclose
from schemas.build_vectors import (
    HMAC,
    KEY,
    SECRET,
    HandLog,
    digest,
    erased_log,
    open_log,
    relink,
    resign,
    salt,
    simple_log,
    two_run_log,
    withholding,
)

Tree = dict[str, Any]

SIMPLE = simple_log().bundle()
REPORT = verify_evidence_bundle(SIMPLE, KEY)


# What is returned


def test_a_report_says_what_was_verified() -> None:
    """The report names bundle, workflow, tenant, log, key and head, and counts what is shown."""
    expected = {
        "verdict": "verified",
        "bundleId": SIMPLE["bundleId"],
        "workflowId": "transfer-42",
        "tenantId": "acme",
        "log": SIMPLE["scope"]["log"],
        "createdAt": "2026-11-21T03:03:04.000000000Z",
        "signatureAlg": "ed25519",
        "keyId": KEY.key_id,
        "convincesThirdParties": True,
        "workflowHead": EvidenceBundle.from_json(SIMPLE).workflow_head(),
        "completeness": "completeness asserted by the signer",
        "checkpoint": None,
        "notes": [],
        "reasons": [],
        "disclosurePolicy": None,
        "disclosurePolicyChecked": False,
        "erasures": [],
        "headline": "verified: workflow transfer-42 of tenant acme, 1 run, 5 events; "
        "completeness asserted by the signer",
        "events": 5,
        "runs": [{"runId": "run-1", "count": 5, "head": SIMPLE["scope"]["runs"][0]["head"], "closed": True}],
        "shown": {
            "payloads": 5,
            "disclosures": 3,
            "withheldPayloads": 0,
            "withheldDisclosures": 0,
            "erasedPayloads": 0,
            "erasedDisclosures": 0,
            "removedPayloads": 0,
            "removedDisclosures": 0,
        },
    }
    assert expected == REPORT.to_dict()


def test_a_report_is_json() -> None:
    """What `to_dict` returns can be written as JSON."""
    assert REPORT.to_dict() == json.loads(json.dumps(REPORT.to_dict()))


def test_events_are_opened() -> None:
    """The events' payloads have their disclosures put back in."""
    payload = REPORT.events[1].payload
    assert payload is not None
    assert {"amount": 5000, "iban": "DE89370400440532013000"} == payload["arguments"]


def test_events_say_how_much_is_hidden() -> None:
    """An event counts the members that are not shown."""
    tree = copy.deepcopy(SIMPLE)
    del tree["disclosures"][tree["events"][1]["id"]]
    assert [0, 1, 0, 0, 0] == [event.hidden for event in verify_evidence_bundle(tree, KEY).events]


def test_everything_kept_back_is_counted() -> None:
    """Withheld, erased and removed are counted apart."""
    tree = erased_log().bundle(disclose=withholding("*:result"))
    gone = tree["scope"]["redactable"][0]
    for event in tree["events"]:
        if event["id"] == gone:
            del event["payload"]
            tree["disclosures"].pop(gone, None)
    expected = Shown(
        payloads=6, withheld_disclosures=1, erased_payloads=1, erased_disclosures=1, removed_payloads=1
    )
    assert expected == verify_evidence_bundle(tree, KEY).shown


def test_the_bundle_may_come_in_any_form() -> None:
    """Bytes, text, a mapping, a buffer and the object are the same bundle."""
    data = canonical.dumps(SIMPLE)
    forms: list[Any] = [
        data,
        data.decode(),
        SIMPLE,
        bytearray(data),
        memoryview(data),
        EvidenceBundle.from_json(data),
    ]
    assert [REPORT] * 6 == [verify_evidence_bundle(form, KEY) for form in forms]


def test_the_key_may_come_in_any_form() -> None:
    """The object, raw bytes and PEM are the same key."""
    assert [REPORT] * 3 == [verify_evidence_bundle(SIMPLE, key) for key in (KEY, KEY.raw, KEY.to_pem())]


def test_what_was_read_is_what_is_verified() -> None:
    """A bundle object that was changed after reading is verified as it was read."""
    bundle = EvidenceBundle.from_json(canonical.dumps(SIMPLE))
    bundle.tree["events"].clear()
    assert REPORT == verify_evidence_bundle(bundle, KEY)


@pytest.mark.parametrize("bundle", [None, 1, [], object()])
def test_what_is_no_bundle_raises_type_error(bundle: Any) -> None:
    """What the caller got wrong is a TypeError."""
    with pytest.raises(TypeError, match="bundle: expected"):
        verify_evidence_bundle(bundle, KEY)


@pytest.mark.parametrize("tree", [{}, {1: 2}, {"a": object()}, {"a": float("nan")}, {"a": "\ud800"}])
def test_a_mapping_that_is_no_bundle_is_malformed(tree: Any) -> None:
    """A mapping that JSON cannot have made is malformed input."""
    with pytest.raises(MalformedInput):
        verify_evidence_bundle(tree, KEY)


def test_text_with_half_a_character_is_malformed() -> None:
    """Text that UTF-8 cannot write is malformed input."""
    with pytest.raises(MalformedInput):
        verify_evidence_bundle("\ud800", KEY)


def test_an_hmac_says_that_it_convinces_no_third_party() -> None:
    """A bundle with an HMAC verifies, and the report says what that is worth."""
    report = verify_evidence_bundle(simple_log().bundle(HMAC), SharedSecret(SECRET))
    assert (False, 1) == (report.convinces_third_parties, len(report.notes))
    assert "convinces no third party" in report.notes[0]


def test_a_clock_that_stepped_back_is_noted() -> None:
    """A timestamp before the one before it is reported, and refused not."""
    log = HandLog()
    log.add("r", "run_started")
    log.add("r", "acme.x", timestamp="2020-01-01T00:00:00.000000000Z")
    log.add("r", "run_completed")
    assert ["event 1 of run r: the clock stepped back"] == [
        note.partition(",")[0] for note in verify_evidence_bundle(log.bundle(), KEY).notes
    ]


# Expectations


HEAD = REPORT.workflow_head


@pytest.mark.parametrize(
    "expected",
    [
        {"expected_workflow": "transfer-42"},
        {"expected_tenant": "acme"},
        {"expected_tenant": ANY_TENANT},
        {"expected_log": SIMPLE["scope"]["log"]},
        {"expected_head": HEAD},
    ],
)
def test_what_was_expected(expected: dict[str, Any]) -> None:
    """A bundle that is what the caller expects verifies."""
    assert REPORT == verify_evidence_bundle(SIMPLE, KEY, **expected)


@pytest.mark.parametrize(
    "expected",
    [
        {"expected_workflow": "transfer-4"},
        {"expected_workflow": ""},
        {"expected_tenant": "acm"},
        {"expected_tenant": ""},
        {"expected_tenant": None},
        {"expected_log": "vectors"},
        {"expected_log": ""},
        {"expected_head": ""},
        {"expected_head": HEAD.removeprefix("sha256:")},
        {"expected_head": HEAD.upper()},
    ],
)
def test_what_was_not_expected(expected: dict[str, Any]) -> None:
    """A sound bundle that is not what the caller expects is refused, and the error says in what."""
    with pytest.raises(Unexpected, match="expected"):
        verify_evidence_bundle(SIMPLE, KEY, **expected)


def test_a_bad_bundle_is_bad_before_it_is_unexpected() -> None:
    """A bundle that does not hold is refused for that, whatever was expected of it."""
    tree = copy.deepcopy(SIMPLE)
    tree["signature"]["value"] = "A" * 86 + "=="
    with pytest.raises(SignatureRefused):
        verify_evidence_bundle(tree, KEY, expected_workflow="another")


# Open runs


def test_an_open_run_is_incomplete_with_a_report() -> None:
    """A run that has not ended raises Incomplete, which carries what was found."""
    with pytest.raises(Incomplete, match="run run-1: has not ended") as caught:
        verify_evidence_bundle(open_log().bundle(), KEY)
    assert caught.value.report is not None
    assert ("incomplete", 4) == (caught.value.report.verdict, len(caught.value.report.events))


def test_an_open_run_may_be_accepted() -> None:
    """A caller who accepts open runs gets the report, which does not say verified."""
    report = verify_evidence_bundle(open_log().bundle(), KEY, accept=("incomplete",))
    assert ("incomplete", "incomplete:") == (report.verdict, report.headline.partition(" ")[0])


@pytest.mark.parametrize("accept", [(), ("unverifiable",), ("verified",), ("failed",)])
def test_other_acceptance_is_none(accept: Any) -> None:
    """An open run is accepted only by whoever says so."""
    with pytest.raises(Incomplete):
        verify_evidence_bundle(open_log().bundle(), KEY, accept=accept)


@pytest.mark.parametrize(
    "change", [lambda tree: tree["approvals"].clear(), lambda tree: tree["events"].pop(2)]
)
def test_an_open_run_does_not_hide_a_failure(change: Callable[[Tree], Any]) -> None:
    """A bundle with an open run that does not hold has failed, and acceptance does not help."""
    tree = open_log().bundle()
    change(tree)
    with pytest.raises(EvidenceError) as caught:
        verify_evidence_bundle(resign(tree), KEY, accept=("incomplete", "unverifiable"))
    assert not isinstance(caught.value, Incomplete)


def test_one_open_run_of_two_is_enough() -> None:
    """A workflow is whole when every run has ended."""
    log = two_run_log()
    log.events.pop()
    with pytest.raises(Incomplete, match="run run-1"):
        verify_evidence_bundle(log.bundle(), KEY)


# Missing libraries


@pytest.fixture
def without_blake3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import blake3` fail, as where it is not installed."""
    monkeypatch.setitem(sys.modules, "blake3", None)


def test_a_blake3_bundle_verifies() -> None:
    """A bundle of a BLAKE3 log verifies where BLAKE3 is installed."""
    assert "verified" == verify_evidence_bundle(simple_log(algorithm="blake3").bundle(), KEY).verdict


def test_without_blake3_it_is_unverifiable(request: pytest.FixtureRequest) -> None:
    """Where BLAKE3 is absent, its bundles are unverifiable, and the error says what is missing."""
    tree = simple_log(algorithm="blake3").bundle()
    request.getfixturevalue("without_blake3")
    with pytest.raises(Unverifiable, match="blake3") as caught:
        verify_evidence_bundle(tree, KEY)
    assert caught.value.report is not None
    assert ("unverifiable", ()) == (caught.value.report.verdict, caught.value.report.events)


def test_unverifiable_may_be_accepted(request: pytest.FixtureRequest) -> None:
    """A caller who accepts that gets a report without a single event."""
    tree = simple_log(algorithm="blake3").bundle()
    request.getfixturevalue("without_blake3")
    report = verify_evidence_bundle(tree, KEY, accept=("unverifiable",))
    assert ("unverifiable", (), ()) == (report.verdict, report.events, report.runs)


def test_unverifiable_does_not_hide_a_bad_signature(request: pytest.FixtureRequest) -> None:
    """What can be checked without BLAKE3 is: the signature, and what the caller expects."""
    tree = simple_log(algorithm="blake3").bundle()
    request.getfixturevalue("without_blake3")
    with pytest.raises(Unexpected):
        verify_evidence_bundle(tree, KEY, expected_workflow="another", accept=("unverifiable",))
    tree["signature"]["value"] = "A" * 86 + "=="
    with pytest.raises(SignatureRefused):
        verify_evidence_bundle(tree, KEY, accept=("unverifiable",))


@pytest.mark.usefixtures("without_blake3")
def test_sha256_bundles_need_no_blake3() -> None:
    """Where BLAKE3 is absent, other bundles verify."""
    assert REPORT == verify_evidence_bundle(SIMPLE, KEY)


# Reports and errors in other processes


def test_reports_can_be_sent_to_another_process() -> None:
    """A report survives pickling, with its events."""
    assert REPORT == pickle.loads(pickle.dumps(REPORT))


@pytest.mark.parametrize(
    "error",
    [
        UnknownWorkflow("w", "t"),
        LogDamaged("event 1", "changed"),
        MalformedInput("byte 3", "not UTF-8"),
        NotCanonicalizable("/a", "NaN"),
        KeyRefused("too weak"),
        SignatureRefused("signature", "missing"),
    ],
)
def test_errors_can_be_sent_to_another_process(error: EvidenceError) -> None:
    """An error survives pickling, with its text and its attributes."""
    copied = pickle.loads(pickle.dumps(error))
    assert (type(error), str(error), vars(error)) == (type(copied), str(copied), vars(copied))


def test_incomplete_can_be_sent_to_another_process() -> None:
    """Incomplete survives pickling with its report."""
    with pytest.raises(Incomplete) as caught:
        verify_evidence_bundle(open_log().bundle(), KEY)
    assert caught.value.report == pickle.loads(pickle.dumps(caught.value)).report


# Whoever calls, from wherever


def from_depth(depth: int, call: Callable[[], VerificationReport]) -> VerificationReport:
    """Call from deep within other calls."""
    return call() if depth == 0 else from_depth(depth - 1, call)


def deeply_nested() -> Tree:
    """Return a bundle with element disclosures one within another, as deep as they may be."""
    tree = copy.deepcopy(SIMPLE)
    event, texts, digest_text = tree["events"][1], [], ""
    for i in range(126):
        text, digest_text = disclose(None, [{"...": digest_text}] if digest_text else [], salt(i))
        texts.append(text)
    event["payload"] = {"_salt": salt(0), "list": [{"...": digest_text}]}
    tree["disclosures"][event["id"]] = texts
    event["contentHash"] = digest(canonical.dumps(event["payload"]), "sha256")
    return resign(relink(tree))


def test_the_deepest_bundle_verifies() -> None:
    """What the limits allow is verified."""
    assert "verified" == verify_evidence_bundle(deeply_nested(), KEY).verdict


def test_a_deep_caller_gets_a_report_or_a_refusal() -> None:
    """Called from deep within a program, verification still ends in a report or an EvidenceError."""
    outcome = "verified"
    try:
        from_depth(700 - len(inspect.stack(0)), lambda: verify_evidence_bundle(deeply_nested(), KEY))
    except EvidenceError:
        outcome = "refused"
    except RecursionError:
        outcome = "RecursionError"
    assert outcome in ("verified", "refused")


@pytest.mark.parametrize("where", [b'"callId":"c1"', b'"risk":"high"'])
def test_a_very_deep_caller_gets_a_refusal(where: bytes) -> None:
    """Called from 900 frames deep, a changed bundle is refused by an EvidenceError."""
    deep = where.partition(b":")[0] + b":" + b"[" * 120 + b"null" + b"]" * 120
    data = canonical.dumps(SIMPLE).replace(where, deep, 1)
    with pytest.raises(EvidenceError):
        from_depth(900 - len(inspect.stack(0)), lambda: verify_evidence_bundle(data, KEY))


def test_many_erasures_take_time_in_proportion() -> None:
    """Ten times as many erased members take about ten times as long."""
    seconds = []
    for count in (400, 4000):
        log = HandLog()
        log.add("r", "run_started")
        names = {f"n{i}": i for i in range(count)}
        subject = log.add("r", "acme.x", sensitive=names)
        digests = json.loads(log.events[1].payload or b"")["_sd"]
        log.add("r", "data_erased", {"targets": [{"eventId": subject, "digests": [d]} for d in digests]})
        log.add("r", "run_completed")
        log.erase(subject, digests)
        tree = log.bundle()
        by = tree["scope"]["erased"]["disclosures"][0]["by"]
        tree["scope"]["erased"]["disclosures"] = [
            {"eventId": subject, "digests": [d], "by": by} for d in digests
        ]
        data = canonical.dumps(resign(tree))
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            verify_evidence_bundle(data, KEY)
            best = min(best, time.process_time() - start)
        seconds.append(best)
    assert seconds[1] < 40 * seconds[0]  # in proportion it is 10 times, in proportion to the square 100


MANY: dict[str, Callable[[Tree], Any]] = {
    "unknown members": lambda tree: tree.update({f"x{i}": i for i in range(50_000)}),
    "proofs": lambda tree: tree["proofs"].update({f"x{i}": i for i in range(50_000)}),
    "a long proof": lambda tree: tree["proofs"].update({"x" * 3_000_000: 1}),
    "runs in the scope": lambda tree: tree["scope"]["runs"].extend(
        tree["scope"]["runs"][0] | {"runId": f"r{i}"} for i in range(20_000)
    ),
    "redactable": lambda tree: tree["scope"]["redactable"].extend(tree["scope"]["redactable"] * 20_000),
    "disclosures": lambda tree: tree["disclosures"].update(
        {tree["events"][1]["id"]: [disclose(f"n{i}", i, "s")[0] for i in range(20_000)]}
    ),
    "approvals": lambda tree: tree["approvals"].extend(tree["approvals"] * 50_000),
}


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("is_signed", [False, True])
def test_many_of_a_thing_take_time_in_proportion(name: str, is_signed: bool) -> None:
    """Tens of thousands of anything are verified or refused within three seconds, signed or not."""
    tree = copy.deepcopy(SIMPLE)
    MANY[name](tree)
    data = canonical.dumps(resign(tree) if is_signed else tree)
    start, message = time.perf_counter(), ""
    try:
        verify_evidence_bundle(data, KEY)
    except EvidenceError as error:
        message = str(error)
    assert (True, True) == (len(message) < 500, time.perf_counter() - start < 3)


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200f", "\u2028", "\u2029"])
def test_a_headline_is_one_line_that_reads_forward(character: str) -> None:
    """No tenant's name turns the direction of the headline, or breaks it."""
    tenant = f"acme{character}evil"
    log = HandLog()
    log.add("r", "run_started", tenant_id=tenant)
    log.add("r", "run_completed", tenant_id=tenant)
    try:
        headline = verify_evidence_bundle(log.bundle(tenant=tenant), KEY).headline
    except EvidenceError:
        return
    assert character not in headline


def test_the_public_names_are_there() -> None:
    """Everything in `__all__` is there, sorted, and nothing stands in it twice."""
    assert sorted(set(evidence.__all__)) == list(evidence.__all__)
    assert all(hasattr(evidence, name) for name in evidence.__all__)
