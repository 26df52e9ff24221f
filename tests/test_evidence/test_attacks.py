"""Attacks: by whoever has the file, by a holder, and by the signer; each row of the matrix in PEERS.md.

Three attackers:

- *the finder* has the bundle and no key: may change any byte, and repair `contentHash`
- *the holder* may remove disclosures, redactable payloads and proofs, and nothing else
- *the signer* has the key, and signs something that does not hold together

Every single refusal is also a file in `schemas/vectors/bundles/` (`test_vectors.py`). What is here is
what needs more than one bundle, or every place of one.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import (
    ChainBroken,
    DisclosurePolicy,
    Ed25519Signer,
    EvidenceBundle,
    EvidenceError,
    HmacSigner,
    Incomplete,
    MalformedInput,
    PayloadRefused,
    SharedSecret,
    SignatureRefused,
    Unexpected,
    VerificationFailed,
    VerificationReport,
    canonical,
    verify_evidence_bundle,
)
from evidence.disclosure import disclose
from evidence.projection import KEPT
from schemas.build_vectors import (
    HMAC,
    KEY,
    OTHER_SEED,
    SECRET,
    SIGNER,
    START,
    HandLog,
    digest,
    erased_log,
    nested_log,
    open_log,
    rehash,
    relink,
    resign,
    salt,
    simple_log,
    two_run_log,
    ulid,
    withholding,
)
from tests.strategies import json_values

Tree = dict[str, Any]

SIMPLE = simple_log().bundle()
GOOD: dict[str, Tree] = {
    "simple": SIMPLE,
    "two runs": two_run_log().bundle(),
    "nested": nested_log().bundle(),
    "erased": erased_log().bundle(),
    "withheld": simple_log().bundle(disclose=withholding("tool_proposed", "*:result")),
}


def verify(tree: Tree | bytes, **options: Any) -> VerificationReport:
    """Verify a bundle, as bytes, with the signer's key."""
    data = tree if isinstance(tree, bytes) else canonical.dumps(tree)
    return verify_evidence_bundle(data, options.pop("key", KEY), **options)


def refusal(tree: Tree | bytes, **options: Any) -> str:
    """Return the class of error that refuses a bundle."""
    with pytest.raises(EvidenceError) as caught:
        verify(tree, **options)
    return type(caught.value).__name__


def copied(name: str = "simple") -> Tree:
    """Return a good bundle that a test may change."""
    return copy.deepcopy(GOOD[name])


@pytest.mark.parametrize("name", GOOD)
def test_the_bundles_that_are_attacked_are_good(name: str) -> None:
    """What is attacked below verifies before."""
    assert "verified" == verify(GOOD[name]).verdict


# The finder: every place


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every part of a tree."""
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield (*path, name)
            yield from places(value[name], (*path, name))


def parent_of(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return the object or array that a path's last name stands in."""
    for name in path[:-1]:
        tree = tree[name]
    return tree


def may_remove(tree: Tree, path: tuple[Any, ...]) -> bool:
    """Tell whether a holder may remove this part by itself."""
    match path:
        case ("disclosures", _, *_):
            return len(path) <= 3
        case ("events", int(i), "payload"):
            event = tree["events"][i]
            return event["id"] in tree["scope"]["redactable"] and event["id"] not in tree["disclosures"]
    return False


def repaired(tree: Tree, repair: Callable[[Tree], Tree]) -> bytes:
    """Return the bytes of a tree after its repair, or as it is where it is beyond repair."""
    with suppress(KeyError, TypeError, AttributeError, ValueError):
        return canonical.dumps(repair(copy.deepcopy(tree)))
    return canonical.dumps(tree)


@pytest.mark.parametrize("repair", [lambda tree: tree, rehash], ids=["as it is", "rehashed"])
@pytest.mark.parametrize("name", ["simple", "erased", "withheld"])
def test_nothing_can_be_taken_out(name: str, repair: Callable[[Tree], Tree]) -> None:
    """Nothing can be taken out but what a holder may remove, whether or not hashes are repaired."""
    tree, verified = GOOD[name], []
    for path in places(tree):
        changed = copy.deepcopy(tree)
        del parent_of(changed, path)[path[-1]]
        if repaired(changed, repair) == canonical.dumps(tree):
            continue
        with suppress(EvidenceError):
            verify(repaired(changed, repair))
            verified.append(path)
    assert [path for path in places(tree) if may_remove(tree, path)] == verified


OTHERS: list[Any] = [
    None,
    True,
    0,
    1,
    -1,
    "",
    "x",
    [],
    {},
    "01M7XXFHX80000000000000001",
    "sha256:" + "0" * 64,
]


@pytest.mark.parametrize("repair", [lambda tree: tree, rehash], ids=["as it is", "rehashed"])
def test_nothing_can_be_replaced(repair: Callable[[Tree], Tree]) -> None:
    """No member and no element can be replaced by another value, but disclosures by none."""
    verified = set()
    for path in places(SIMPLE):
        for other in OTHERS:
            changed = copied()
            parent = parent_of(changed, path)
            parent[path[-1]] = other
            data = repaired(changed, repair)
            if data == canonical.dumps(SIMPLE):
                continue
            with suppress(EvidenceError):
                verify(data)
                verified.add((path[0], canonical.dumps(other).decode()))
    assert {("disclosures", "{}"), ("disclosures", "[]")} == verified


@pytest.mark.parametrize(
    "name", ["seal", "approved", "payload_", "Payload", "_sd", "...", "$schema", "", "alg", "kid", "jwk"]
)
def test_no_member_can_be_added_outside_of_payloads(name: str) -> None:
    """Objects outside of payloads, disclosures and proofs are closed, in every place."""
    verified = []
    for path in [(), *places(SIMPLE)]:
        changed = copied()
        value: Any = changed
        for part in path:
            value = value[part]
        if isinstance(value, dict) and "payload" not in path and name not in value:
            value[name] = "x"
            try:
                verify(resign(changed) if path[:1] not in (("signature",), ("disclosures",)) else changed)
            except MalformedInput:
                continue
            verified.append(path)
    assert ([("proofs",)] if name else []) == verified  # the name of a proof is text, and not empty


def test_no_member_can_be_added_to_payloads() -> None:
    """A payload is bound by its digest: nothing can be added to it, at any depth."""
    for path in [p for p in places(SIMPLE) if "payload" in p]:
        changed = copied()
        value = parent_of(changed, path)
        if isinstance(value, dict):
            value["added"] = 1
            assert refusal(changed) in ("DigestMismatch", "MalformedInput")


def test_no_object_name_can_be_doubled() -> None:
    """Every name of every object, given twice with the same or another value, is refused."""
    data = canonical.dumps(SIMPLE)
    names = list(re.finditer(rb'[{,]("(?:[^"\\]|\\.)*"):', data))
    assert len(names) > 100
    for match in names:
        doubled = data[: match.start() + 1] + match[1] + b":0," + data[match.start() + 1 :]
        assert "MalformedInput" == refusal(doubled)


@pytest.mark.parametrize(
    ("written", "numeral"), [(b".0", 1), (b"e0", 1), (b"E+0", 1), (b"0e-1", 1), (b"-", 0)]
)
def test_no_number_can_be_written_otherwise(written: bytes, numeral: int) -> None:
    """Every number, written 1.0, 1e0, 10e-1 or -1 for 1, is refused, in payloads too."""
    tree = two_run_log().bundle()
    data = canonical.dumps(tree)
    numbers = list(re.finditer(rb"(?<=[:\[,])-?\d+(?=[,}\]])", data))
    assert len(numbers) > 20
    for match in numbers:
        text = match[0] + written if numeral else written + match[0]
        with pytest.raises(EvidenceError):
            verify(data[: match.start()] + text + data[match.end() :])


def meaning(report: VerificationReport) -> tuple[Any, ...]:
    """Return what a report says that no holder may change."""
    headers = [dict(event.header) for event in report.events]
    return report.bundle_id, report.workflow_head, report.created_at, report.runs, headers, report.workflow_id


def is_part_of(shown: Any, whole: Any) -> bool:
    """Tell whether what is shown is what was shown before, or less of it."""
    if shown is None:
        return True
    if isinstance(whole, dict) and isinstance(shown, dict):
        return shown.keys() <= whole.keys() and all(is_part_of(shown[name], whole[name]) for name in shown)
    return bool(shown == whole)


def changed_bytes(data: bytes, stride: int) -> Iterator[bytes]:
    """Yield the data with one byte changed, taken out or put in, at every position."""
    rng = random.Random(1)
    for at in range(len(data)):
        yield data[:at] + data[at + 1 :]
        yield data[:at] + bytes([data[at] ^ (1 << at % 7)]) + data[at + 1 :]
        if at % stride == 0:
            yield data[:at] + bytes([rng.randrange(256)]) + data[at:]
            yield data[:at] + data[at : at + 1] + data[at:]
            yield data[:at]


def test_every_byte_counts() -> None:
    """With any one byte changed, taken out or put in, a bundle is refused, or says the same or less."""
    log = HandLog()
    log.add("r", "run_started", {"kind": "new"}, sensitive={"userId": "u-91"})
    log.add("r", "acme.x", {"n": 1.5}, sensitive={"a": 1})
    log.add("r", "run_completed", {"outcome": "completed"})
    tree = log.bundle()
    good = verify(tree)
    whole = {event.id: event.payload for event in good.events}
    for data in changed_bytes(canonical.dumps(tree), stride=3):
        try:
            report = verify(data)
        except EvidenceError:
            continue
        assert meaning(good) == meaning(report)
        assert all(is_part_of(event.payload, whole[event.id]) for event in report.events)


def test_which_bytes_do_not_count() -> None:
    """Of all single bytes that can be taken out, none leaves a bundle that verifies."""
    data = canonical.dumps(SIMPLE)
    rng = random.Random(2)
    for at in rng.sample(range(len(data)), 800):
        assert refusal(data[:at] + data[at + 1 :])


@pytest.mark.parametrize("name", ["simple", "nested"])
def test_every_truncation_is_refused(name: str) -> None:
    """A bundle that was cut short anywhere is malformed."""
    data = canonical.dumps(GOOD[name])
    assert {"MalformedInput"} == {refusal(data[:end]) for end in range(0, len(data), 13)}


# The finder: signatures and keys


def test_a_stripped_signature_is_refused() -> None:
    """Without a signature, with an empty object, and with null, a bundle is refused."""
    trees = [copied() for _ in range(3)]
    del trees[0]["signature"]
    trees[1]["signature"] = {}
    trees[2]["signature"] = None
    assert ["MalformedInput"] * 3 == [refusal(tree) for tree in trees]


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "", "ED25519", "ed25519ph", "EdDSA", "HS256", "hmac-sha256", "rs256"]
)
@pytest.mark.parametrize("value", ["", base64.b64encode(b"\0" * 64).decode(), SIMPLE["signature"]["value"]])
def test_another_algorithm_is_refused(alg: str, value: str) -> None:
    """The algorithm is that of the verifier's key, whatever the bundle says."""
    tree = copied()
    tree["signature"] |= {"alg": alg, "value": value}
    assert refusal(tree) in ("SignatureRefused", "MalformedInput")


@pytest.mark.parametrize(
    "secret", [KEY.raw, KEY.raw.hex().encode(), KEY.to_pem().encode(), KEY.key_id.encode()]
)
@pytest.mark.parametrize("alg", ["hmac-sha256", "ed25519"])
def test_an_hmac_with_what_is_public_is_refused(secret: bytes, alg: str) -> None:
    """An HMAC keyed with the public key in any of its forms is no signature."""
    tree = resign(copied(), HmacSigner(SharedSecret(secret)))
    tree["signature"] |= {"alg": alg, "keyId": KEY.key_id}
    assert "SignatureRefused" == refusal(tree)


def test_a_signature_is_no_hmac() -> None:
    """A verifier with a secret refuses a signature, and one made with the secret as a seed."""
    secret = SharedSecret(SECRET)
    by_seed = resign(copied(), Ed25519Signer(SECRET))
    assert ["SignatureRefused"] * 2 == [refusal(SIMPLE, key=secret), refusal(by_seed, key=secret)]


def test_another_key_is_refused() -> None:
    """A bundle that somebody else signed, whatever key it names, is refused."""
    tree = resign(copied(), Ed25519Signer(OTHER_SEED))
    renamed = copy.deepcopy(tree)
    renamed["signature"]["keyId"] = KEY.key_id
    assert ["SignatureRefused"] * 2 == [refusal(tree), refusal(renamed)]


def test_another_key_id_is_refused() -> None:
    """A good signature under another key's name is refused, so a bundle has one form."""
    tree = copied()
    tree["signature"]["keyId"] = Ed25519Signer(OTHER_SEED).key_id
    assert "SignatureRefused" == refusal(tree)


def test_a_weak_key_cannot_be_used_to_verify() -> None:
    """The universal forgery under the neutral element stops at the key."""
    tree = copied()
    weak = b"\x01" + b"\0" * 31
    tree["signature"]["value"] = base64.b64encode(weak + b"\0" * 32).decode()
    assert "KeyRefused" == refusal(tree, key=weak)


def test_the_signature_of_another_bundle_is_refused() -> None:
    """A signature fits the bundle that it was made for, also if the same key made both."""
    tree = copied()
    tree["signature"] = copy.deepcopy(GOOD["two runs"]["signature"])
    assert "SignatureRefused" == refusal(tree)


def test_a_signature_over_something_else_of_ours_is_refused() -> None:
    """A signature over contentHash, over the statement, or over the content is no signature of the bundle."""
    bundle = EvidenceBundle.from_json(SIMPLE)
    dsse = bundle.to_dsse()
    for message in (
        SIMPLE["contentHash"].encode(),
        bytes.fromhex(SIMPLE["contentHash"].removeprefix("sha256:")),
        base64.b64decode(dsse["payload"]),
        bundle.to_json(),
    ):
        tree = copied()
        tree["signature"]["value"] = base64.b64encode(SIGNER.sign(message)).decode()
        assert "SignatureRefused" == refusal(tree)


@pytest.mark.parametrize("value", ["====", "A", "AAAA\n", "*", "\u0661" * 86 + "==", "A" * 10_000])
def test_other_signature_values_are_refused(value: str) -> None:
    """A signature's value that is no signature is refused, whatever it is."""
    tree = copied()
    tree["signature"]["value"] = value
    assert refusal(tree) in ("SignatureRefused", "MalformedInput")


# The finder: whole runs and bundles


def test_run_b_cannot_be_presented_as_run_a() -> None:
    """Events of another run of the same log and key do not stand in for those of this one."""
    log = two_run_log()
    tree = log.bundle()
    wanted, other = tree["scope"]["runs"]
    tree["events"] = [event for event in tree["events"] if event["runId"] == other["runId"]]
    for event in tree["events"]:
        event["runId"] = wanted["runId"]
    assert "SignatureRefused" == refusal(rehash(tree))


def test_a_bundle_of_another_workflow_is_not_the_one_expected() -> None:
    """A sound bundle of workflow B is refused by whoever asks for workflow A, and is sound otherwise."""
    log = simple_log()
    log.add("run-b", "run_started", workflow_id="transfer-43")
    log.add("run-b", "run_completed", workflow_id="transfer-43")
    other = log.bundle(workflow_id="transfer-43")
    assert "verified" == verify(other).verdict
    assert "Unexpected" == refusal(other, expected_workflow="transfer-42")


@pytest.mark.parametrize(
    ("tenant", "expected"), [("acme", "globex"), ("acme", None), ("acme", "ACME"), (None, "acme"), (None, "")]
)
def test_another_tenants_workflow_of_the_same_name_is_refused(
    tenant: str | None, expected: str | None
) -> None:
    """A tenant is expected by name, or none is."""
    log = HandLog()
    log.add("run-1", "run_started", tenant_id=tenant)
    log.add("run-1", "run_completed", tenant_id=tenant)
    assert "Unexpected" == refusal(
        log.bundle(tenant=tenant), expected_workflow="transfer-42", expected_tenant=expected
    )


def test_another_logs_workflow_is_refused() -> None:
    """The same workflow out of another log is refused by whoever expects this one."""
    log = simple_log(origin=f"staging/{ulid(0)}")
    assert "Unexpected" == refusal(log.bundle(), expected_log=SIMPLE["scope"]["log"])


def test_runs_cannot_be_swapped() -> None:
    """Runs in another order, in the events, the scope or both, are refused."""
    outcomes = []
    for in_scope, in_events in ((True, False), (False, True), (True, True)):
        tree = copied("two runs")
        if in_scope:
            tree["scope"]["runs"].reverse()
        if in_events:
            tree["events"].sort(key=lambda event: event["runId"], reverse=True)
        outcomes.append(refusal(rehash(tree)))
    assert ["SignatureRefused"] * 3 == outcomes


def drop_run(tree: Tree, run_id: str) -> Tree:
    """Take a run out, without a trace."""
    gone = {event["id"] for event in tree["events"] if event["runId"] == run_id}
    tree["events"] = [event for event in tree["events"] if event["id"] not in gone]
    tree["scope"]["runs"] = [run for run in tree["scope"]["runs"] if run["runId"] != run_id]
    tree["scope"]["redactable"] = [i for i in tree["scope"]["redactable"] if i not in gone]
    for view in ("policyVerdicts", "approvals", "proposals", "chainTransactions"):
        tree[view] = [i for i in tree[view] if i not in gone]
    return tree


def test_a_whole_run_cannot_be_taken_out() -> None:
    """Without a run, and without a trace of it, the signature does not fit."""
    assert "SignatureRefused" == refusal(rehash(drop_run(copied("two runs"), "run-2")))


def test_a_run_that_the_signer_left_out_shows_in_the_head() -> None:
    """What the signer leaves out is noticed by whoever knows the workflow's head."""
    tree = resign(drop_run(copied("two runs"), "run-2"))
    head = EvidenceBundle.from_json(GOOD["two runs"]).workflow_head()
    assert "verified" == verify(tree).verdict
    assert "Unexpected" == refusal(tree, expected_head=head)


def test_a_cut_tail_shows() -> None:
    """A closed run without its end is open, and an open run without its newest event has another head."""
    head = EvidenceBundle.from_json(SIMPLE).workflow_head()
    cut = open_log()
    assert ["Unexpected", "Incomplete"] == [refusal(cut.bundle(), expected_head=head), refusal(cut.bundle())]
    open_head = EvidenceBundle.from_json(cut.bundle()).workflow_head()
    cut.events.pop()
    assert "Unexpected" == refusal(cut.bundle(), expected_head=open_head, accept=("incomplete",))


# The signer


def signed_twice(change: Callable[[Tree], object], name: str = "simple", *, linked: bool = False) -> str:
    """Return how a bundle is refused that the signer changed and signed again."""
    tree = copied(name)
    change(tree)
    return refusal(resign(relink(tree) if linked else tree))


@pytest.mark.parametrize("at", range(5))
def test_the_signer_cannot_leave_out_an_event(at: int) -> None:
    """Whichever event is missing, the chain shows it, also signed, or the run is open."""

    def change(tree: Tree) -> None:
        gone = tree["events"].pop(at)["id"]
        tree["disclosures"].pop(gone, None)
        tree["scope"]["redactable"] = [i for i in tree["scope"]["redactable"] if i != gone]
        for view in ("approvals", "proposals"):
            tree[view] = [i for i in tree[view] if i != gone]

    expected = ["ChainBroken"] * 4 + ["ScopeMismatch"]
    assert expected[at] == signed_twice(change)


@pytest.mark.parametrize("member", ["count", "lastSeq", "firstSeq"])
@pytest.mark.parametrize("by", [-1, 1, 2**40])
def test_the_signer_cannot_miscount(member: str, by: int) -> None:
    """The scope's counts are those of the events."""

    def change(tree: Tree) -> None:
        tree["scope"]["runs"][0][member] = abs(tree["scope"]["runs"][0][member] + by)

    assert "ScopeMismatch" == signed_twice(change)


@pytest.mark.parametrize("run", range(2))
@pytest.mark.parametrize("name", ["tenantId", "workflowId", "log"])
def test_the_signer_cannot_mix(run: int, name: str) -> None:
    """A whole run of another tenant, workflow or log does not fit, however well it is chained."""

    def change(tree: Tree) -> None:
        value = f"other/{ulid(0)}" if name == "log" else "other"
        for event in tree["events"]:
            if event["runId"] == tree["scope"]["runs"][run]["runId"]:
                event[name] = value

    assert "ScopeMismatch" == signed_twice(change, "two runs", linked=True)


def test_the_signer_cannot_interleave_runs() -> None:
    """The events of a run stand together."""

    def change(tree: Tree) -> None:
        tree["events"].sort(key=lambda event: event["id"])

    assert "ScopeMismatch" == signed_twice(change, "two runs")


def test_the_signer_cannot_list_a_run_twice() -> None:
    """A run stands once in the scope."""
    assert "ScopeMismatch" == signed_twice(
        lambda tree: tree["scope"]["runs"].append(tree["scope"]["runs"][0])
    )


def test_the_signer_cannot_repeat_a_run() -> None:
    """The events of a run, a second time, are no second run."""

    def change(tree: Tree) -> None:
        tree["events"] += copy.deepcopy(tree["events"])
        tree["scope"]["runs"].append(tree["scope"]["runs"][0] | {"runId": "run-2"})

    assert signed_twice(change) in ("ChainBroken", "ScopeMismatch")


@pytest.mark.parametrize("view", ["policyVerdicts", "approvals", "proposals", "chainTransactions"])
@pytest.mark.parametrize("change", ["empty", "doubled", "foreign", "all", "reversed"])
def test_the_signer_cannot_misstate_a_view(view: str, change: str) -> None:
    """A view lists its events, all of them, once, in bundle order."""
    tree = copied("two runs")
    ids = [event["id"] for event in tree["events"]]
    listed = {
        "empty": [],
        "doubled": [i for i in tree[view] for _ in range(2)],
        "foreign": [*tree[view], ulid(77)],
        "all": ids,
        "reversed": tree[view][::-1],
    }[change]
    if listed == tree[view]:
        return
    tree[view] = listed
    assert "ScopeMismatch" == refusal(resign(tree))


@pytest.mark.parametrize("event_type", sorted(KEPT - {"run_started", "run_completed"}))
@pytest.mark.parametrize("how", ["withheld", "redactable"])
def test_the_signer_cannot_keep_back_what_always_shows(event_type: str, how: str) -> None:
    """Verdicts, approvals, erasures and the like are never withheld, and never redactable."""
    log = HandLog()
    log.add("r", "run_started")
    kept = log.add("r", event_type, {"verdict": "denied"})
    log.add("r", "run_completed")
    tree = log.bundle()
    if how == "withheld":
        del tree["events"][1]["payload"]
        tree["scope"]["withheld"]["payloads"].append({"eventId": kept, "reason": "why not"})
    else:
        tree["scope"]["redactable"].append(kept)
    assert "ScopeMismatch" == refusal(resign(tree))


@pytest.mark.parametrize("at", [0, 2, 4])
def test_what_always_shows_cannot_be_removed(at: int) -> None:
    """Start, approval and end of a run keep their payloads, whoever takes them out."""
    tree = copied()
    del tree["events"][at]["payload"]
    tree["disclosures"].pop(tree["events"][at]["id"], None)
    assert ["PayloadRefused"] * 2 == [refusal(tree), refusal(resign(tree))]


def erase(tree: Tree, at: int, by: str) -> None:
    """List a payload as erased, and take it out."""
    event_id = tree["events"][at]["id"]
    tree["events"][at].pop("payload", None)
    tree["disclosures"].pop(event_id, None)
    tree["scope"]["erased"]["payloads"].append({"eventId": event_id, "by": by})


def test_the_signer_cannot_erase_without_a_record() -> None:
    """An erasure is backed by an event of the right type that names it: not by any other, or by itself."""
    tree = copied("erased")
    record = next(event["id"] for event in tree["events"] if event["type"] == "data_erased")
    at = next(i for i, event in enumerate(tree["events"]) if event["type"] == "data_erased")
    outcomes = []
    for target, by in ((3, record), (3, ulid(77)), (3, tree["events"][0]["id"]), (at, record)):
        changed = copied("erased")
        erase(changed, target, by)
        outcomes.append(refusal(resign(changed)))
    assert ["ScopeMismatch"] * 4 == outcomes


def with_targets(targets: Any) -> Tree:
    """Return a signed bundle in which event 1 is listed as erased by an event with these targets."""
    log = HandLog()
    log.add("r", "run_started")
    log.add("r", "acme.x", {"secret": 1})
    by = log.add("r", "data_erased", {"targets": []})
    log.add("r", "run_completed")
    tree = log.bundle(disclose=DisclosurePolicy(redactable=[]))
    erase(tree, 1, by)
    record = tree["events"][2]
    record["payload"]["targets"] = targets
    record["contentHash"] = digest(canonical.dumps(record["payload"]), "sha256")
    return resign(relink(tree))


def test_an_erasure_that_names_the_payload_is_accepted() -> None:
    """The helper below makes a good bundle, when the targets name the event."""
    assert (
        1 == verify(with_targets([{"eventId": ulid(2, START + timedelta(seconds=2))}])).shown.erased_payloads
    )


@pytest.mark.parametrize(
    "targets",
    [
        [],
        {},
        None,
        "x",
        [None],
        [[]],
        [{}],
        [{"eventId": None}],
        [{"eventId": ulid(9)}],
        [{"eventId": [ulid(2)]}],
    ]
    + [
        [{"eventId": ulid(2, START + timedelta(seconds=2)), "digests": d}]
        for d in ([], ["x"], "x", {}, [None], 0)
    ],
)
def test_targets_of_any_other_form_back_nothing(targets: Any) -> None:
    """Targets that do not name the payload, whatever they are, back no erasure."""
    assert "ScopeMismatch" == refusal(with_targets(targets))


def test_payloads_cannot_change_places() -> None:
    """Payloads stay with their events: swapped between any two, both ways and repaired, they are refused."""
    for one in range(5):
        for two in range(one):
            tree = copied()
            first, second = tree["events"][one], tree["events"][two]
            first["payload"], second["payload"] = second["payload"], first["payload"]
            assert "DigestMismatch" == refusal(resign(tree))


def test_disclosures_cannot_change_places() -> None:
    """Disclosures stay with their events: moved to any other, they are refused."""
    tree = copied()
    for source in list(tree["disclosures"]):
        for target in [event["id"] for event in tree["events"] if event["id"] != source]:
            changed = copied()
            moved = changed["disclosures"].pop(source)
            changed["disclosures"].setdefault(target, []).extend(moved)
            assert "DisclosureRefused" == refusal(changed)


def test_the_same_digest_in_two_events_is_refused() -> None:
    """A disclosure that would fit two events is refused, although the signer made it so."""
    log = HandLog()
    log.add("r", "run_started")
    text, digest_text = disclose("a", 1, salt(1))
    for number in (10, 11):
        payload = {"_salt": salt(number), "_sd": [digest_text]}
        log.append("r", "acme.x", payload, [text], "transfer-42", "acme", number, None, {})
    log.add("r", "run_completed")
    assert "DisclosureRefused" == refusal(log.bundle())


def test_withheld_disclosures_cannot_be_shown_later() -> None:
    """What the signer withheld, a holder who has it cannot put back in as if it had been shown."""
    log = simple_log()
    text = log.events[3].disclosures[0]
    tree = copied("withheld")
    tree["disclosures"].setdefault(tree["events"][3]["id"], []).append(text)
    assert "DisclosureRefused" == refusal(tree)


def test_withheld_payloads_cannot_be_shown_later() -> None:
    """Nor can a withheld payload be put back in."""
    tree = copied("withheld")
    tree["events"][1]["payload"] = copy.deepcopy(SIMPLE["events"][1]["payload"])
    assert "PayloadRefused" == refusal(tree)


def test_one_bit_of_a_signed_scope_is_enough() -> None:
    """Reasons, log, algorithm: each part of the scope is signed."""
    changes: list[Callable[[Tree], Any]] = [
        lambda tree: tree["scope"]["withheld"]["payloads"][0].update(reason="none of your business"),
        lambda tree: tree["scope"]["withheld"].update(payloads=[]),
        lambda tree: tree["scope"]["withheld"].update(disclosures=[]),
        lambda tree: tree["scope"].update(redactable=[]),
        lambda tree: tree["scope"].update(disclosurePolicy="sha256:" + "0" * 64),
        lambda tree: tree["scope"].update(checkpoint={"size": 6, "root": "A" * 43 + "="}),
        lambda tree: tree["generator"].update(version="9"),
        lambda tree: tree.update(createdAt="2020-01-01T00:00:00.000000000Z"),
    ]
    for change in changes:
        tree = copied("withheld")
        change(tree)
        assert ["DigestMismatch", "SignatureRefused"] == [refusal(tree), refusal(rehash(tree))]


def test_the_signer_cannot_inflate_what_is_withheld() -> None:
    """Digests are listed of payloads that were shown when signed, not of ones that the signer withheld."""
    tree = copied("withheld")
    entry = {"eventId": tree["events"][1]["id"], "digests": ["A" * 43, "B" * 43], "reason": "x"}
    tree["scope"]["withheld"]["disclosures"].append(entry)
    assert "ScopeMismatch" == refusal(resign(tree))


def test_null_digests_name_no_payload() -> None:
    """An absent member is absent, never null: null digests back the erasure of no payload."""
    targets = [{"eventId": ulid(2, START + timedelta(seconds=2)), "digests": None}]
    assert "ScopeMismatch" == refusal(with_targets(targets))


# The holder


def test_a_holder_may_remove_redactable_payloads() -> None:
    """Each redactable payload, alone or with others, may go with its disclosures; the report counts them."""
    redactable = SIMPLE["scope"]["redactable"]
    for chosen in ([], redactable[:1], redactable[1:], redactable):
        tree = copied()
        for event in tree["events"]:
            if event["id"] in chosen:
                del event["payload"]
                tree["disclosures"].pop(event["id"], None)
        assert len(chosen) == verify(tree).shown.removed_payloads


def test_a_holder_may_remove_disclosures() -> None:
    """Every choice of disclosures may go; the report counts those that could have been seen."""
    texts = [(event_id, text) for event_id, list_ in SIMPLE["disclosures"].items() for text in list_]
    for mask in range(1 << len(texts)):
        tree = copied()
        tree["disclosures"] = {}
        for i, (event_id, text) in enumerate(texts):
            if mask >> i & 1:
                tree["disclosures"].setdefault(event_id, []).append(text)
        shown = verify(tree).shown
        assert (mask.bit_count(), len(texts) - mask.bit_count()) == (
            shown.disclosures,
            shown.removed_disclosures,
        )


def test_a_holder_may_not_keep_a_child_without_its_parent() -> None:
    """A disclosure within another goes with it."""
    tree = copied("nested")
    event_id = next(event["id"] for event in tree["events"] if event["type"] == "tool_proposed")
    inner, outer = tree["disclosures"][event_id]
    tree["disclosures"][event_id] = [outer]
    assert 1 == verify(tree).shown.removed_disclosures
    tree["disclosures"][event_id] = [inner]
    assert "DisclosureRefused" == refusal(tree)


def test_a_holder_may_remove_what_surrounds_withheld_members() -> None:
    """A digest that the signer withheld may stand below a disclosure that a holder removed."""
    tree = nested_log().bundle(disclose=withholding("*:iban"))
    tree["disclosures"] = {}
    shown = verify(tree).shown
    assert (1, 4) == (shown.withheld_disclosures, shown.removed_disclosures)


def test_a_holder_may_reorder_and_indent() -> None:
    """Members in another order, white space and escapes change nothing."""
    report = verify(SIMPLE)
    spellings = [
        json.dumps(SIMPLE, indent=4, ensure_ascii=True),
        json.dumps(SIMPLE, indent="\t", ensure_ascii=False, separators=(" ,\r\n", " : ")),
        json.dumps(dict(sorted(SIMPLE.items(), reverse=True))),
        "\n" + canonical.dumps(SIMPLE).decode() + " \n",
    ]
    assert [report] * 4 == [verify(spelling.encode()) for spelling in spellings]


def test_a_holder_may_reorder_disclosures() -> None:
    """The disclosures of an event may be in any order."""
    tree = copied("nested")
    for texts in tree["disclosures"].values():
        texts.reverse()
    tree["disclosures"] = dict(reversed(tree["disclosures"].items()))
    assert verify(GOOD["nested"]) == verify(tree)


def test_a_holder_may_add_proofs_and_they_say_nothing() -> None:
    """A proof of an unknown kind is reported as unchecked, and changes nothing else."""
    tree = copied()
    tree["proofs"] = {"complete": {"verdict": "whole"}, "another kind": None}
    report = verify(tree)
    assert (SIMPLE["bundleId"], "completeness asserted by the signer") == (
        report.bundle_id,
        report.completeness,
    )
    notes = [note for note in report.notes if "unchecked" in note]
    assert 2 == len(notes)


@pytest.mark.parametrize("name", ["", "\x1b[31m", "\u202e", "x" * 1025])
def test_names_of_proofs_are_text(name: str) -> None:
    """A proof whose name would break or turn a line, or is empty or long, is malformed."""
    tree = copied()
    tree["proofs"] = {name: None}
    assert "MalformedInput" == refusal(tree)


# Anything at all


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_and_text_are_refused(data: bytes | str) -> None:
    """Arbitrary bytes and text raise MalformedInput and nothing else."""
    with pytest.raises(MalformedInput):
        verify_evidence_bundle(data, KEY)


@given(json_values())
def test_any_json_is_refused(value: object) -> None:
    """Arbitrary JSON raises MalformedInput and nothing else."""
    with pytest.raises(MalformedInput):
        verify_evidence_bundle(canonical.dumps(value), KEY)


PLACES = {name: list(places(tree)) for name, tree in GOOD.items()}


@given(
    st.sampled_from(sorted(GOOD)),
    st.data(),
    st.sampled_from(["as it is", "rehashed", "signed", "linked and signed"]),
)
def test_any_value_anywhere_ends_in_a_report_or_a_refusal(
    name: str, data: st.DataObject, repair: str
) -> None:
    """Any JSON value in any place, repaired by whomever, raises nothing but EvidenceError."""
    tree = copied(name)
    path = data.draw(st.sampled_from(PLACES[name]))
    parent_of(tree, path)[path[-1]] = data.draw(json_values(max_leaves=5))
    try:
        if repair == "rehashed":
            rehash(tree)
        elif repair == "signed":
            resign(tree)
        elif repair == "linked and signed":
            resign(relink(tree))
    except Exception:  # the tree is beyond repair
        return
    try:
        verify(tree, accept=("incomplete", "unverifiable"))
    except EvidenceError:
        return
    # What verifies was signed so, is unsigned, or was not changed.
    tree["disclosures"], tree["proofs"] = GOOD[name]["disclosures"], GOOD[name]["proofs"]
    is_same = canonical.dumps(tree) == canonical.dumps(GOOD[name])
    assert is_same or repair in ("signed", "linked and signed")


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_bytes_of_a_bundle_changed(changes: list[tuple[int, int]]) -> None:
    """With any bytes of a bundle changed, it is refused, or says what it said."""
    data = bytearray(canonical.dumps(SIMPLE))
    for at, value in changes:
        data[at % len(data)] = value
    try:
        report = verify(bytes(data))
    except EvidenceError:
        return
    assert meaning(verify(SIMPLE)) == meaning(report)


def test_errors_are_of_the_families_that_callers_catch() -> None:
    """Bad evidence is VerificationFailed; what is open is not; what cannot be read is neither."""
    found = [
        issubclass(error, VerificationFailed)
        for error in (ChainBroken, PayloadRefused, SignatureRefused, Unexpected, Incomplete, MalformedInput)
    ]
    assert [True, True, True, True, False, False] == found


def test_hmac_bundles_keep_the_same_rules() -> None:
    """An HMAC bundle is refused when changed, with another secret, and with a public key."""
    tree = simple_log().bundle(HMAC)
    changed = copy.deepcopy(tree)
    changed["events"][2]["payload"]["verdict"] = "denied"
    secret = SharedSecret(SECRET)
    outcomes = [
        refusal(changed, key=secret),
        refusal(tree, key=SharedSecret(b"another secret entirely")),
        refusal(tree, key=KEY),
    ]
    assert ["DigestMismatch", "SignatureRefused", "SignatureRefused"] == outcomes


def test_a_payload_digest_of_another_algorithm_is_refused() -> None:
    """In a BLAKE3 log, a SHA-256 digest of the right payload is refused."""
    tree = simple_log(algorithm="blake3").bundle()
    event = tree["events"][3]
    event["contentHash"] = digest(canonical.dumps(event["payload"]), "sha256")
    assert "ScopeMismatch" == refusal(resign(tree))
