"""Proofs of completeness: what they show, what a policy asks for, and what a cheat can do with them.

The single refusals are vectors, too (`test_vectors.py`). Here are the logs of tracebus, the policies, and
what needs every place of a proof, or proofs that belong to other bundles.
"""

from __future__ import annotations

import base64
import copy
import importlib.util
import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import (
    Completeness,
    CompletenessSource,
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    EvidenceError,
    Incomplete,
    LogDamaged,
    MalformedInput,
    TrustPolicy,
    Unverifiable,
    VerificationReport,
    WorkflowProof,
    canonical,
    parse_policy,
    verify_evidence_bundle,
)
from evidence.checkpoint import timestamped_bytes
from evidence.completeness import PROOF
from evidence.cosignature import WitnessKey, cosign
from evidence.note import NoteKey, format_note, parse_note
from schemas.build_vectors import (
    HMAC,
    KEY,
    LOG_SIGNER,
    OTHER_SEED,
    SECRET,
    SIGNER,
    START,
    HandLog,
    SharedSecret,
    erased_log,
    grown_log,
    log_vkey,
    open_log,
    proof_of,
    resign,
    run_now,
    showing,
    withholding,
)
from tests.strategies import json_values
from tracebus import MemoryEventLog, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.events import DataErased
from tracebus.transparency.checkpoints import Checkpointer

Tree = dict[str, Any]

GROWN = grown_log()
ORIGIN = GROWN.origin
WHOLE = GROWN.bundle()
SIZE = GROWN.tree.size
NORTH, SOUTH = (Ed25519Signer(bytes([0x20 + n]) * 32) for n in range(2))
BUNDLE_LINE = f"#tracebus bundle-key {NoteKey('treasury', KEY).to_vkey()}"
WITNESS_LINES = [
    f"witness {name} {WitnessKey(f'witness.example/{name}', signer.verifying_key).to_vkey()}"
    for name, signer in (("north", NORTH), ("south", SOUTH))
]
MADE = int((START + timedelta(hours=1)).timestamp())
ASSERTED = "completeness asserted by the signer"


def policy(*lines: str, quorum: str = "none", origin: str = ORIGIN) -> TrustPolicy:
    """Return the policy that trusts the log, and says these lines."""
    text = [f"log {log_vkey(origin)}", *WITNESS_LINES, "group both all north south", f"quorum {quorum}"]
    return parse_policy("".join(f"{line}\n" for line in (*text, *lines)).encode())


REQUIRED = policy("#tracebus require completeness")


def verify(tree: Tree, trusted: TrustPolicy | None = REQUIRED, **options: Any) -> VerificationReport:
    """Verify a bundle, as bytes, with the signer's key."""
    return verify_evidence_bundle(canonical.dumps(tree), options.pop("key", KEY), policy=trusted, **options)


def refusal(tree: Tree, trusted: TrustPolicy | None = REQUIRED, **options: Any) -> str:
    """Return the class of error that refuses a bundle."""
    with pytest.raises(EvidenceError) as caught:
        verify(tree, trusted, **options)
    return type(caught.value).__name__


def with_proof(**changes: Any) -> Tree:
    """Return the whole bundle with members of its proof replaced."""
    tree = copy.deepcopy(WHOLE)
    tree["proofs"][PROOF].update(changes)
    return tree


def cosigned(**times: int) -> Tree:
    """Return the whole bundle, its checkpoint cosigned by witnesses at these times."""
    proof = proof_of(GROWN)
    signers = {"north": NORTH, "south": SOUTH}
    lines = [
        cosign(proof.stated_checkpoint(), f"witness.example/{name}", signers[name], at)
        for name, at in times.items()
    ]
    note = parse_note(proof.checkpoint).with_signatures(*lines)
    return with_proof(checkpoint=format_note(note).decode())


# What a proof shows


def test_a_whole_bundle_says_so() -> None:
    """The report names the checkpoint, and the headline says as of which the bundle is whole."""
    report = verify(WHOLE)
    whole = f"whole as of checkpoint {SIZE} of {ORIGIN}"
    assert ("verified", whole, ()) == (report.verdict, report.completeness, report.notes)
    assert report.headline.endswith(f"2 runs, 6 events; {whole}")
    expected = WHOLE["scope"]["checkpoint"] | {
        "origin": ORIGIN,
        "logKey": LOG_SIGNER.verifying_key.key_id,
        "witnesses": {},
        "timestamps": 0,
        "existedBy": None,
        "newestAt": None,
    }
    assert expected == report.to_dict()["checkpoint"]


def test_the_proof_in_the_specification_holds(root: Path) -> None:
    """The proof that bundle-v1.md prints holds for the bundle that it prints, cited as it says."""
    text = (root / "schemas/bundle-v1.md").read_text("utf-8")
    blocks = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]
    tree = next(block for block in blocks if "events" in block)
    proof = next(block for block in blocks if "mapRoot" in block)
    cited = re.search(r'`"checkpoint": (\{.*?\})`', text)
    assert cited is not None
    tree["scope"]["checkpoint"], tree["proofs"] = json.loads(cited[1]), {PROOF: proof}
    vkey = NoteKey(tree["scope"]["log"], KEY).to_vkey()
    trusted = parse_policy(f"log {vkey}\nquorum none\n#tracebus require completeness\n".encode())
    report = verify(resign(tree), trusted)
    assert f"whole as of checkpoint 6 of {tree['scope']['log']}" == report.completeness


def test_what_is_kept_back_leaves_a_bundle_whole() -> None:
    """Withheld, erased and removed payloads and members do not matter to completeness."""
    log = erased_log()
    log.checkpoint()
    tree = log.bundle(disclose=withholding("tool_executed"))
    tree["disclosures"] = {}
    report = verify(tree, policy("#tracebus require completeness", origin=log.origin))
    shown = report.shown
    assert report.completeness.startswith("whole")
    assert (1, 1, 1) == (shown.erased_payloads, shown.erased_disclosures, shown.withheld_payloads)


def test_a_proof_survives_json() -> None:
    """What `to_json` returns, `from_json` reads, timestamps included."""
    proof = replace(proof_of(GROWN), timestamps=(b"\x30\x00", b"x"))
    assert proof == Completeness.from_json(json.loads(json.dumps(proof.to_json())))


def test_half_a_character_in_a_checkpoint_is_malformed() -> None:
    """A lone surrogate, which no bundle can have, is refused by the reader of proofs as well."""
    with pytest.raises(MalformedInput, match="UTF-8"):
        Completeness.from_json(WHOLE["proofs"][PROOF] | {"checkpoint": "\ud800"})


# The logs of tracebus


async def record(log: Any, workflow: str = "transfer-42", tenant: str | None = "acme") -> None:
    """Record a run of a workflow."""
    async with TraceEventBus(log) as bus, bus.run(workflow_id=workflow, tenant_id=tenant):
        await bus.publish(ToolProposed(tool="wire", arguments={"amount": 5000}))


async def checkpoint(log: Any) -> bytes:
    """Sign a checkpoint of a log, in a worker thread."""
    return await anyio.to_thread.run_sync(lambda: Checkpointer(log, LOG_SIGNER).checkpoint())


async def filled(log: Any) -> bytes:
    """Record runs of several workflows, with a checkpoint between them and one behind; return that."""
    await record(log)
    await record(log, tenant="globex")
    await checkpoint(log)
    for number in range(5):
        await record(log, f"refund-{number}", None)
    await record(log)
    return await checkpoint(log)


async def bundled(log: Any, **options: Any) -> Tree:
    """Return the tree of the bundle of transfer-42 of acme."""
    return (await EvidenceBundler(log, SIGNER).bundle("transfer-42", tenant="acme", **options)).tree


def new_log(kind: str, folder: Path, algorithm: str = "sha256") -> Any:
    """Return a new log, in memory or in a file."""
    if kind == "memory":
        return MemoryEventLog(digest_algorithm=algorithm)
    return SqliteEventLog(folder / "t.db", digest_algorithm=algorithm)


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_an_exported_workflow_is_whole(kind: str, algorithm: str, tmp_path: Path) -> None:
    """What the bus recorded and a checkpoint covers is exported with a proof, in either log."""
    log = new_log(kind, tmp_path, algorithm)
    size = parse_note(await filled(log)).text.split("\n")[1]
    tree = await bundled(log)
    log.close()
    origin = tree["scope"]["log"]
    report = verify(tree, policy("#tracebus require completeness", origin=origin))
    assert isinstance(log, CompletenessSource)
    assert (f"whole as of checkpoint {size} of {origin}", 2) == (report.completeness, len(report.runs))


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_newer_events_need_another_checkpoint(kind: str, tmp_path: Path) -> None:
    """With newer events there is no proof; without them, or after another checkpoint, there is."""
    log = new_log(kind, tmp_path)
    await filled(log)
    await record(log)
    newer = await bundled(log)
    older = await bundled(log, as_of_checkpoint=True)
    await checkpoint(log)
    again = await bundled(log)
    log.close()
    assert (3, {}, False) == (len(newer["scope"]["runs"]), newer["proofs"], "checkpoint" in newer["scope"])
    trusted = policy("#tracebus require completeness", origin=older["scope"]["log"])
    assert [2, 3] == [len(verify(tree, trusted).runs) for tree in (older, again)]


@pytest.mark.anyio
async def test_newer_events_of_others_do_not_matter() -> None:
    """A workflow that did not change is whole as of the last checkpoint, whatever others did since."""
    log = MemoryEventLog()
    await filled(log)
    await record(log, "refund-0", None)
    report = verify(await bundled(log), policy("#tracebus require completeness", origin=log.origin))
    assert "verified" == report.verdict


@pytest.mark.anyio
@pytest.mark.parametrize("covers", ["nothing", "others"])
async def test_as_of_a_checkpoint_that_does_not_have_it(covers: str) -> None:
    """What no checkpoint has cannot be exported as of one; without that wish it is, without a proof."""
    log = MemoryEventLog()
    if covers == "others":
        await record(log, "refund-0", None)
        await checkpoint(log)
    await record(log)
    assert {} == (await bundled(log))["proofs"]
    with pytest.raises(Incomplete, match="sign one first"):
        await bundled(log, as_of_checkpoint=True)


@pytest.mark.anyio
async def test_an_erasure_is_never_left_out() -> None:
    """What was erased after the checkpoint would be shown as of it, so that this is refused."""
    log = MemoryEventLog()
    await filled(log)
    event_id = log.select_workflow("transfer-42", "acme")[1].header["id"]
    async with TraceEventBus(log) as bus, bus.run(workflow_id="transfer-42", tenant_id="acme"):
        await bus.publish(DataErased(actor="desk", reason="request 7", targets=[{"eventId": event_id}]))
    with pytest.raises(Incomplete, match="erasure"):
        await bundled(log, as_of_checkpoint=True)


class Misled(HandLog):
    """A log whose tree is another one's."""

    async def read_completeness(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        """Return the proof of a log that went on otherwise."""
        return await GROWN.read_completeness(workflow_id, tenant_id)


OURS = [event for event in GROWN.events if event.header["runId"] in ("run-1", "run-2")]


@pytest.mark.parametrize("as_of_checkpoint", [True, False])
@pytest.mark.parametrize("events", [OURS[:-1], OURS[:3], OURS[3:] + OURS[:3]], ids=["event", "run", "order"])
def test_a_proof_of_other_events_is_never_signed(events: list[Any], as_of_checkpoint: bool) -> None:
    """Where a log lost an event or a run that its tree has, or has another order, nothing is signed."""
    log = Misled(origin=ORIGIN)
    log.events = events
    with pytest.raises(LogDamaged, match="tree has other events"):
        log.bundle(as_of_checkpoint=as_of_checkpoint)


def test_a_log_without_what_its_tree_has_is_damaged() -> None:
    """As of a checkpoint, a workflow of which the log has only other events is not signed."""
    log = Misled(origin=ORIGIN)
    log.add("run-9", "run_started")
    with pytest.raises(LogDamaged, match="none of the events"):
        log.bundle(as_of_checkpoint=True)


class Growing(HandLog):
    """A log that another process appends to, and checkpoints, between any two reads."""

    async def read_completeness(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        """Return the newest proof, and then append."""
        found = await super().read_completeness(workflow_id, tenant_id)
        self._grow()
        return found

    async def read_workflow(self, workflow_id: str, tenant_id: str | None) -> Any:
        """Return the events, and then append."""
        found = await super().read_workflow(workflow_id, tenant_id)
        self._grow()
        return found

    def _grow(self) -> None:
        self.add(f"run-{len(self.events)}", "run_started")
        self.checkpoint()


def test_a_log_that_grows_meanwhile() -> None:
    """Events that come while a bundle is made leave it without a proof, or out of it, and never false."""
    log = Growing()
    log.add("run-0", "run_started")
    log.checkpoint()
    assert {} == log.bundle()["proofs"]
    tree = log.bundle(as_of_checkpoint=True)
    report = verify(tree, policy(origin=log.origin), accept=["incomplete"])
    assert report.completeness.startswith("whole as of")


# What a policy asks for


def test_without_the_logs_key_a_proof_is_unchecked() -> None:
    """Without a policy, or with one that knows no log, a proof is unchecked, and the report says so."""
    knows_none = parse_policy(f"quorum none\n{BUNDLE_LINE}\n".encode())
    for trusted in (None, knows_none):
        report = verify(with_proof(mapRoot="A" * 43 + "="), trusted)
        assert (ASSERTED, None) == (report.completeness, report.checkpoint)
        assert ("proof of completeness: unchecked, for no key of the log was given",) == report.notes


def test_a_removed_proof_is_noted_and_lacking_where_required() -> None:
    """A holder may remove the proof: it is noted, and incomplete only where a policy requires it."""
    tree = copy.deepcopy(WHOLE) | {"proofs": {}}
    removed = "the proof of completeness that it was signed with was removed"
    for trusted in (None, policy()):
        report = verify(tree, trusted)
        assert ("verified", ASSERTED, (removed,)) == (report.verdict, report.completeness, report.notes)
    assert "Incomplete" == refusal(tree)
    accepted = verify(tree, accept=["incomplete"])
    lacking = "proofs: completeness is required, and nothing shows it"
    assert ("incomplete", ASSERTED, (lacking, removed)) == (
        accepted.verdict,
        accepted.completeness,
        accepted.notes,
    )


@pytest.mark.parametrize("requires", ["witness", "completeness", "witness completeness"])
def test_every_requirement_needs_a_checkpoint(requires: str) -> None:
    """Whatever a policy requires, a bundle without a checkpoint does not have."""
    trusted = policy(f"#tracebus require {requires}", quorum="north")
    assert "Incomplete" == refusal(copy.deepcopy(WHOLE) | {"proofs": {}}, trusted)


def test_a_policy_without_a_log_that_requires_witnesses_is_not_met() -> None:
    """Where no log is known, a checkpoint cannot count, however it is cosigned."""
    text = f"{WITNESS_LINES[0]}\nquorum north\n#tracebus require witness\n"
    assert "Incomplete" == refusal(cosigned(north=MADE), parse_policy(text.encode()))


def test_a_quorum_that_is_not_required_makes_no_bundle_worse() -> None:
    """A checkpoint that is not enough is as none: the signer's word, and a note of what is wanting."""
    report = verify(cosigned(north=MADE), policy(quorum="both"))
    assert ("verified", ASSERTED, None) == (report.verdict, report.completeness, report.checkpoint)
    assert ("checkpoint: expected cosignatures of both, found north",) == report.notes


def test_a_quorum_that_is_required() -> None:
    """Where witnesses are required, all of the quorum must have cosigned."""
    trusted = policy("#tracebus require completeness witness", quorum="both")
    assert "Incomplete" == refusal(WHOLE, trusted)
    assert "Incomplete" == refusal(cosigned(north=MADE), trusted)
    report = verify(cosigned(north=MADE, south=MADE + 5), trusted)
    assert report.completeness.endswith(", which was there by 2026-11-21T03:03:09Z")
    assert {"north": MADE, "south": MADE + 5} == (report.checkpoint or {})["witnesses"]


def test_a_wrong_cosignature_fails() -> None:
    """A cosignature that a known witness did not make spoils the checkpoint."""
    tree = cosigned(north=MADE)
    note = tree["proofs"][PROOF]["checkpoint"]
    at = note.rindex(" ") + 20
    tree["proofs"][PROOF]["checkpoint"] = note[:at] + ("A" if note[at] != "A" else "B") + note[at + 1 :]
    assert "SignatureRefused" == refusal(tree)


@pytest.mark.parametrize(("age", "expected"), [(0, "verified"), (60, "verified"), (61, "Incomplete")])
def test_a_checkpoint_may_be_too_old(age: int, expected: str) -> None:
    """With max-age, a quorum must have known no newer checkpoint lately."""
    trusted = policy("#tracebus max-age 60", "#tracebus require completeness", quorum="north")
    tree, now = cosigned(north=MADE), MADE + age
    found = (
        verify(tree, trusted, now=now).verdict if expected == "verified" else refusal(tree, trusted, now=now)
    )
    assert expected == found


def test_the_time_is_the_clocks_where_none_is_given() -> None:
    """What a witness cosigns now is young, and what it cosigned an hour ago too old for a minute."""
    trusted = policy("#tracebus max-age 60", "#tracebus require completeness", quorum="north")
    now = int(datetime.now(UTC).timestamp())
    assert "verified" == verify(cosigned(north=now), trusted).verdict
    assert "Incomplete" == refusal(cosigned(north=now - 3600), trusted)


def test_a_time_that_no_calendar_has_is_told() -> None:
    """A witness may cosign for a year beyond 9999."""
    report = verify(cosigned(north=2**62), policy(quorum="north"))
    assert report.completeness.endswith(f"{2**62} seconds after 1970")


ROOT_LINE = "#tracebus timestamp-root MAA="


def test_garbage_for_a_timestamp_is_passed_over_or_lacking() -> None:
    """A timestamp that is none is noted; where one is required, that is incomplete."""
    pytest.importorskip("rfc3161_client")
    from tests.test_evidence.test_timestamp import certify  # makes certificates

    root = base64.b64encode(certify("test root").der).decode()
    tree = with_proof(timestamps=["MAA=", base64.b64encode(bytes(300_000)).decode()])
    lines = (f"#tracebus timestamp-root {root}", "#tracebus require completeness timestamp")
    assert 2 == len(verify(tree, policy(lines[0])).notes)
    assert "Incomplete" == refusal(tree, policy(*lines))


def test_a_timestamp_that_is_required(tmp_path: Path) -> None:
    """A timestamp under a root of the policy shows by when the checkpoint was there."""
    pytest.importorskip("rfc3161_client")
    import shutil

    from evidence.timestamp import make_timestamp_request
    from tests.test_evidence.test_timestamp import Authority, certify

    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    root = certify("test root")
    authority = Authority(tmp_path, openssl, root, certify("test authority", root))
    note = timestamped_bytes(
        parse_note(proof_of(GROWN).checkpoint), NoteKey(ORIGIN, LOG_SIGNER.verifying_key)
    )
    response = authority.answer(make_timestamp_request(note).der)
    tree = with_proof(timestamps=[base64.b64encode(response).decode()])
    trusted = policy(
        f"#tracebus timestamp-root {base64.b64encode(root.der).decode()}",
        "#tracebus require completeness timestamp",
    )
    report = verify(tree, trusted)
    assert (1, True) == ((report.checkpoint or {})["timestamps"], "was there by" in report.completeness)
    assert "Incomplete" == refusal(WHOLE, trusted)


def test_timestamps_need_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rfc3161-client a bundle with timestamps is unverifiable, which may be accepted."""
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    tree, trusted = with_proof(timestamps=["MAA="]), policy(ROOT_LINE, "#tracebus require completeness")
    with pytest.raises(Unverifiable, match="rfc3161-client"):
        verify(tree, trusted)
    report = verify(tree, trusted, accept=["unverifiable"])
    assert ("unverifiable", ASSERTED) == (report.verdict, report.completeness)


# Keys of bundles


def test_a_policy_may_bring_the_key() -> None:
    """Without a key, it is whichever of the policy's the bundle names."""
    other = NoteKey("other", Ed25519Signer(OTHER_SEED).verifying_key).to_vkey()
    trusted = policy(f"#tracebus bundle-key {other}", BUNDLE_LINE)
    assert KEY.key_id == verify(WHOLE, trusted, key=None).key_id


def test_a_bundle_by_a_key_that_the_policy_does_not_list_is_refused() -> None:
    """Neither the key that a bundle names, nor the caller's own, goes beyond the policy's."""
    other = Ed25519Signer(OTHER_SEED)
    trusted = policy(BUNDLE_LINE)
    theirs = resign(copy.deepcopy(WHOLE), other)
    assert "SignatureRefused" == refusal(theirs, trusted, key=None)
    assert "SignatureRefused" == refusal(theirs, trusted, key=other.verifying_key)
    theirs["signature"]["keyId"] = KEY.key_id
    assert "SignatureRefused" == refusal(theirs, trusted, key=None)
    by_hmac = resign(copy.deepcopy(WHOLE), HMAC)
    assert "SignatureRefused" == refusal(by_hmac, trusted, key=SharedSecret(SECRET))


def test_a_policy_without_keys_of_bundles_takes_the_callers() -> None:
    """With no bundle-key in the policy, the caller's key or secret counts; and one is needed."""
    assert "verified" == verify(WHOLE, policy()).verdict
    by_hmac = resign(copy.deepcopy(WHOLE), HMAC)
    assert "verified" == verify(by_hmac, policy(), key=SharedSecret(SECRET)).verdict
    for trusted in (None, policy()):
        with pytest.raises(TypeError, match="public_key"):
            verify(WHOLE, trusted, key=None)


@pytest.mark.parametrize(
    ("line", "since", "expected"),
    [
        ("retired {} since {}", MADE + 1, "verified"),
        ("retired {} since {}", MADE, "SignatureRefused"),
        ("revoked {} compromised-since {}", MADE + 1, "SignatureRefused"),
        ("revoked {} compromised-since {}", MADE, "SignatureRefused"),
    ],
)
def test_keys_that_are_not_used_any_more(line: str, since: int, expected: str) -> None:
    """A retired key's word about the time counts; a revoked key's does not, whatever the checkpoint shows."""
    time = f"{datetime.fromtimestamp(since, UTC):%Y-%m-%dT%H:%M:%SZ}"
    vkey = NoteKey("treasury", KEY).to_vkey()
    trusted = policy(BUNDLE_LINE, f"#tracebus {line.format(vkey, time)}", quorum="north")
    tree = cosigned(north=MADE - 3600)
    found = verify(tree, trusted).verdict if expected == "verified" else refusal(tree, trusted)
    assert expected == found


def test_a_logs_key_that_was_revoked() -> None:
    """A checkpoint by a revoked key counts if witnesses show that it is older."""
    revoked = f"#tracebus revoked {log_vkey(ORIGIN)} compromised-since 2026-11-21T12:00:00Z"
    assert "verified" == verify(cosigned(north=MADE), policy(revoked, quorum="north")).verdict
    assert "SignatureRefused" == refusal(WHOLE, policy(revoked, quorum="north"))


# Cheats


@pytest.mark.parametrize("last", range(1, 6))
def test_the_signer_cannot_leave_out_the_last_events(last: int) -> None:
    """However many events at the end are left out, the rest is not what the log has."""
    ours = [e.header["id"] for e in GROWN.events if e.header["runId"] in ("run-1", "run-2")]
    tree = showing(GROWN, lambda header: header["id"] in ours[:-last])
    assert "ProofRefused" == refusal(tree)


@pytest.mark.parametrize("run_id", ["run-1", "run-2"])
def test_the_signer_cannot_leave_out_a_run(run_id: str) -> None:
    """A bundle without a run, views and all, is not what the log has."""
    assert "ProofRefused" == refusal(showing(GROWN, lambda header: header["runId"] != run_id))


def test_the_signer_cannot_invent_a_run() -> None:
    """Nor is a bundle with a run more what the log has."""
    more = grown_log()
    more.add("run-3", "run_started")
    tree = more.bundle()
    tree["scope"]["checkpoint"], tree["proofs"] = WHOLE["scope"]["checkpoint"], WHOLE["proofs"]
    assert "ProofRefused" == refusal(resign(tree))


def test_an_older_bundle_is_whole_as_of_its_older_checkpoint_only() -> None:
    """What was whole once says as of when; with the newer checkpoint it does not hold."""
    older = grown_log(1)
    report = verify(older.bundle())
    assert f"whole as of checkpoint {older.tree.size} of {ORIGIN}" == report.completeness
    tree = older.bundle()
    tree["scope"]["checkpoint"], tree["proofs"] = WHOLE["scope"]["checkpoint"], WHOLE["proofs"]
    assert "ProofRefused" == refusal(resign(tree))
    tree = copy.deepcopy(WHOLE)
    tree["scope"]["checkpoint"] = older.bundle()["scope"]["checkpoint"]
    assert "ScopeMismatch" == refusal(resign(tree))


OTHER_PROOFS = {
    "other tenant": proof_of(GROWN, "transfer-42", "globex"),
    "no tenant": proof_of(GROWN, "transfer-42", None),
    "other workflow": proof_of(GROWN, "refund-7", "acme"),
    "older": proof_of(grown_log(1)),
    "blake3": proof_of(grown_log(algorithm="blake3")),
    "other log": proof_of(grown_log(origin="other/01M5GNHYY0GDQZ3177PGDHW4YB")),
}
"""Proofs that hold, each for something else than the whole bundle."""


def other_parts() -> list[tuple[str, str]]:
    """Return which parts of which other proofs are not the same in the whole bundle's."""
    ours = WHOLE["proofs"][PROOF]
    return [
        (name, part)
        for name, proof in OTHER_PROOFS.items()
        for part, value in (proof.to_json() | {"all": None}).items()
        if ours.get(part) != value or part == "all"
    ]


@pytest.mark.parametrize(("name", "part"), other_parts())
def test_no_part_of_another_proof_fits(name: str, part: str) -> None:
    """Neither another proof that holds, nor any part of it, shows anything of this bundle."""
    proof = OTHER_PROOFS[name]
    theirs = proof.to_json()
    tree = with_proof(**(theirs if part == "all" else {part: theirs[part]}))
    if part in ("all", "checkpoint"):
        checkpoint = proof.stated_checkpoint()
        root = base64.b64encode(checkpoint.root).decode()
        tree["scope"]["checkpoint"] = {"size": checkpoint.size, "root": root}
        resign(tree)
    expected = (
        ["SignatureRefused"] if name == "other log" and part in ("all", "checkpoint") else ["ProofRefused"]
    )
    assert expected == [refusal(tree)]


def hashes_of(proof: Tree) -> Iterator[tuple[Any, Any]]:
    """Yield the object or array, and the name or index, of every hash of a proof."""
    yield proof, "mapRoot"
    yield from ((proof["heads"], name) for name in ("key", "head"))
    for values in (proof["inclusion"], proof["heads"]["siblings"]):
        yield from ((values, i) for i in range(len(values)))


def test_every_hash_counts() -> None:
    """No hash of a proof can be another, swapped with its neighbour, doubled or left out."""
    count, found = len(list(hashes_of(WHOLE["proofs"][PROOF]))), []
    for number in range(count):
        for change in ("replace", "double", "drop", "swap"):
            tree = copy.deepcopy(WHOLE)
            parent, at = list(hashes_of(tree["proofs"][PROOF]))[number]
            if change == "replace":
                parent[at] = base64.b64encode(bytes([7]) * 32).decode()
            elif isinstance(parent, dict):
                continue
            elif change == "double":
                parent.insert(at, parent[at])
            elif change == "drop":
                del parent[at]
            else:
                parent[at - 1], parent[at] = parent[at], parent[at - 1]
            if tree != WHOLE:
                found.append(refusal(tree))
    assert {"ProofRefused"} == set(found)
    assert len(found) >= 2 * count


def standalone(root: Path) -> ModuleType:
    """Return the second implementation as a module."""
    spec = importlib.util.spec_from_file_location("verify_standalone", root / "examples/verify_standalone.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(data: bytes) -> int:
    """Return the exit code of our verifier for a bundle."""
    try:
        verify_evidence_bundle(data, KEY, policy=REQUIRED)
    except MalformedInput:
        return 2
    except Incomplete:
        return 3
    except EvidenceError:
        return 1
    return 0


def theirs(module: ModuleType, data: bytes) -> int:
    """Return the exit code of the second implementation for a bundle."""
    try:
        module.verify(data, KEY.raw, module.load_log_key(log_vkey(ORIGIN)), {}, [])
    except module.Stop as stop:
        return int(stop.code)
    return 0


def changed_bytes(data: bytes) -> Iterator[bytes]:
    """Yield the bytes with every third one changed, doubled by another, or taken out."""
    generator = random.Random(7)
    for at in range(0, len(data), 3):
        byte = bytes([generator.choice(b'Aa0+/="\\{}[],:\n \xe2\x80\x94')])
        yield data[:at] + byte + data[at + 1 :]
        yield data[:at] + byte + data[at:]
        yield data[:at] + data[at + 1 :]


def test_no_byte_of_a_proof_can_be_changed(root: Path) -> None:
    """A byte of the proof changed, put in or taken out is refused, alike by both implementations."""
    tree = copy.deepcopy(WHOLE)
    text = json.dumps({"proofs": tree.pop("proofs")} | tree, ensure_ascii=False, separators=(",", ":"))
    proof, separator, rest = text.encode().partition(b',"version"')
    module, outcomes = standalone(root), set()
    for part in changed_bytes(proof):
        changed = part + separator + rest
        found = ours(changed)
        assert (found, changed) == (theirs(module, changed), changed)
        assert found or json.loads(changed) == WHOLE  # white space
        outcomes.add(found)
    assert {0, 1, 2, 3} == outcomes


@pytest.mark.parametrize(
    "change",
    [
        {"inclusion": ["A" * 44] * 1_000_000},
        {"heads": {"siblings": ["A" * 43 + "="] * 1_000_000}},
        {"timestamps": ["MAA="] * 1_000_000},
        {"checkpoint": "x\n" * 5_000_000},
        {"checkpoint": "x\n1\ny\n\n" + "— a AAAAAAA=\n" * 500_000},
        {"timestamps": [base64.b64encode(bytes(10_000_000)).decode() + "x"]},
    ],
    ids=["inclusion", "siblings", "timestamps", "text", "signatures", "timestamp"],
)
def test_enormous_proofs_are_malformed(change: Tree) -> None:
    """Arrays and texts of any size are refused before anything is computed of them."""
    assert "MalformedInput" == refusal(with_proof(**change))


@given(json_values())
def test_any_json_for_a_proof_ends_in_a_refusal(value: object) -> None:
    """Whatever stands in place of the proof, with or without a policy, is malformed."""
    tree = copy.deepcopy(WHOLE)
    tree["proofs"][PROOF] = value
    assert ["MalformedInput"] * 2 == [refusal(tree), refusal(tree, None)]


@given(st.sampled_from(sorted(WHOLE["proofs"][PROOF])), json_values())
def test_any_json_in_a_proof_ends_in_a_refusal(name: str, value: object) -> None:
    """Whatever stands in place of one of its members is refused, and raises nothing else."""
    assert refusal(with_proof(**{name: value})) in ("MalformedInput", "ProofRefused")


def test_an_open_run_does_not_hide_a_bad_proof() -> None:
    """A run that has not ended is incomplete, and a proof that does not hold fails before that."""
    log = open_log()
    log.checkpoint()
    tree = log.bundle()
    trusted = policy(origin=log.origin)
    assert "Incomplete" == refusal(tree, trusted)
    tree["proofs"][PROOF]["mapRoot"] = "A" * 43 + "="
    assert "ProofRefused" == refusal(tree, trusted, accept=["incomplete"])


def test_what_is_missing_is_not_hidden_by_accepting_an_open_run() -> None:
    """Who accepts open runs is told that the proof is missing, too."""
    log = open_log()
    report = verify(log.bundle(), policy("#tracebus require completeness"), accept=["incomplete"])
    assert "proofs: completeness is required, and nothing shows it" in report.notes


def test_other_proofs_are_unchecked_in_the_order_of_the_bundle() -> None:
    """Proofs of unknown kinds are noted one by one, beside one that is known."""
    tree = copy.deepcopy(WHOLE)
    tree["proofs"] = {"b": 1, **tree["proofs"], "a": None}
    data = json.dumps(tree).encode()
    notes = verify_evidence_bundle(data, KEY, policy=REQUIRED).notes
    assert ("proof of unknown kind 'b': unchecked", "proof of unknown kind 'a': unchecked") == notes


def test_a_source_needs_no_proofs() -> None:
    """A source that only reads workflows is bundled as before."""

    class Plain:
        async def read_workflow(self, workflow_id: str, tenant_id: str | None) -> Any:
            return await GROWN.read_workflow(workflow_id, tenant_id)

    made: EvidenceBundle = run_now(EvidenceBundler(Plain(), SIGNER).bundle("transfer-42", tenant="acme"))
    assert {} == made.tree["proofs"]
