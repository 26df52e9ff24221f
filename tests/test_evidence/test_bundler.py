"""The bundler: what it signs of a log, and what it refuses to sign."""

from __future__ import annotations

import copy
import hashlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from evidence import (
    DisclosurePolicy,
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    EvidenceSigner,
    HmacSigner,
    LogDamaged,
    SharedSecret,
    Shown,
    UnknownWorkflow,
    VerificationReport,
    Withholding,
    WorkflowEvent,
    canonical,
    verify_evidence_bundle,
)
from evidence.projection import KEPT
from schemas.build_vectors import (
    KEY,
    SECRET,
    SIGNER,
    HandLog,
    erased_log,
    nested_log,
    open_log,
    run_now,
    simple_log,
    two_run_log,
    withholding,
)
from tracebus import MemoryEventLog, SqliteEventLog, TraceEventBus
from tracebus.events import ApprovalResolved, ToolExecuted, ToolProposed

Tree = dict[str, Any]


def bundled(log: Any, signer: Any = SIGNER, **options: Any) -> EvidenceBundle:
    """Return the bundle of the workflow transfer-42 of acme."""
    options = {"tenant": "acme"} | options
    made: EvidenceBundle = run_now(EvidenceBundler(log, signer).bundle("transfer-42", **options))
    return made


def shown(log: HandLog, **options: Any) -> Shown:
    """Return what the bundle of a log shows."""
    return verify_evidence_bundle(bundled(log, **options), KEY).shown


# Real logs


async def record(log: Any) -> None:
    """Record a small workflow of two runs, and one of another tenant with the same name."""
    async with TraceEventBus(log) as bus:
        run_of_acme = bus.run(workflow_id="transfer-42", tenant_id="acme", user_id="u-91")
        async with run_of_acme as run, run.turn():
            await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"amount": 5000}))
            await bus.publish(
                ApprovalResolved(request_id="a1", verdict="approved", actor="kim", identity_source="idp")
            )
            await bus.publish({"note": [1.5, None, "é"], "big": 2**63}, type="acme.note")
        async with bus.run(workflow_id="transfer-42", tenant_id="globex", user_id="u-92"):
            await bus.publish(ToolProposed(tool="wire", arguments={"globex": 1}))
        async with bus.run(workflow_id="transfer-42", tenant_id="acme"):
            await bus.publish(
                ToolExecuted(tool="wire", call_id="c1", status="ok", result={"n": float("nan")})
            )


async def exported(log: Any, signer: Any = SIGNER, key: Any = KEY, **options: Any) -> VerificationReport:
    """Bundle the workflow of a real log, and verify it from its bytes."""
    bundle = await EvidenceBundler(log, signer).bundle("transfer-42", tenant="acme", **options)
    return verify_evidence_bundle(
        bundle.to_json(), key, expected_workflow="transfer-42", expected_tenant="acme"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_recorded_workflow_is_bundled_and_verified(kind: str, algorithm: str, tmp_path: Path) -> None:
    """What the bus recorded, in either log and with either algorithm, verifies with all its disclosures."""
    log = (
        MemoryEventLog(digest_algorithm=algorithm)
        if kind == "memory"
        else SqliteEventLog(tmp_path / "t.db", digest_algorithm=algorithm)
    )
    await record(log)
    report = await exported(log)
    log.close()
    assert (2, 0, 0) == (len(report.runs), report.shown.withheld_payloads, report.shown.removed_disclosures)
    arguments = [
        event.payload["arguments"]
        for event in report.events
        if event.payload and "arguments" in event.payload
    ]
    assert [{"amount": 5000}] == arguments


@pytest.mark.anyio
async def test_a_bundle_shows_nothing_of_another_tenant() -> None:
    """Nothing of the other tenant's workflow of the same name is in the bundle, not even a digest."""
    log = MemoryEventLog()
    await record(log)
    text = (await EvidenceBundler(log, SIGNER).bundle("transfer-42", tenant="acme")).to_json().decode()
    foreign = list(log.select_workflow("transfer-42", "globex"))
    secrets = [
        part
        for item in foreign
        for part in (item.header["id"], item.header["runId"], item.header["contentHash"], *item.disclosures)
    ]
    assert [] == [part for part in ["globex", *secrets] if part in text]


@pytest.mark.anyio
async def test_runs_stand_in_the_order_of_their_first_events() -> None:
    """Runs that went on at the same time stand in the order in which they began."""
    log = MemoryEventLog()
    async with TraceEventBus(log) as bus:
        first = await bus.start_run(run_id="z", workflow_id="transfer-42", tenant_id="acme")
        second = await bus.start_run(run_id="a", workflow_id="transfer-42", tenant_id="acme")
        await bus.publish(ToolProposed(tool="x"), run=second)
        await bus.publish(ToolProposed(tool="y"), run=first)
        await second.finish("completed")
        await first.finish("completed")
    assert ["z", "a"] == [run.run_id for run in (await exported(log)).runs]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("workflow", "tenant"),
    [("transfer-43", "acme"), ("transfer-42", None), ("transfer-42", "x"), ("", "acme")],
)
async def test_a_workflow_that_is_not_there_is_unknown(workflow: str, tenant: str | None) -> None:
    """There is no bundle of nothing."""
    log = MemoryEventLog()
    await record(log)
    with pytest.raises(UnknownWorkflow):
        await EvidenceBundler(log, SIGNER).bundle(workflow, tenant=tenant)


# Signers


class SlowSigner:
    """A signer that has to wait for its signature, as for a KMS."""

    alg, key_id = SIGNER.alg, SIGNER.key_id

    def sign(self, message: bytes) -> Awaitable[bytes]:
        """Return the signature, later."""

        async def later() -> bytes:
            await anyio.lowlevel.checkpoint()
            return SIGNER.sign(message)

        return later()


@pytest.mark.anyio
async def test_a_signer_may_be_awaited() -> None:
    """A signature that comes as an awaitable is waited for."""
    log = MemoryEventLog()
    await record(log)
    assert "verified" == (await exported(log, SlowSigner())).verdict


@pytest.mark.anyio
async def test_an_hmac_bundle_verifies() -> None:
    """A bundle may carry an HMAC."""
    log = MemoryEventLog()
    await record(log)
    secret = SharedSecret(SECRET)
    assert "hmac-sha256" == (await exported(log, HmacSigner(secret), secret)).signature_alg


def test_our_signers_are_signers() -> None:
    """Both signers, and any object with their three members, satisfy the protocol."""
    signers = [SIGNER, HmacSigner(SharedSecret(SECRET)), SlowSigner()]
    assert [True] * 3 == [isinstance(signer, EvidenceSigner) for signer in signers]


def test_a_signer_that_fails_is_heard() -> None:
    """What a signer raises comes out as it is."""

    class Broken(SlowSigner):
        def sign(self, message: bytes) -> Awaitable[bytes]:
            raise ConnectionError("the KMS is away")

    with pytest.raises(ConnectionError, match="the KMS is away"):
        bundled(simple_log(), Broken())


def test_every_bundle_has_an_id_of_its_own() -> None:
    """Two bundles of the same log have two ids, and the same workflow head."""
    one, two = bundled(simple_log()), bundled(simple_log())
    assert (False, True) == (one.bundle_id == two.bundle_id, one.workflow_head() == two.workflow_head())


# Withholding


def test_nothing_is_withheld_by_default() -> None:
    """Without a word, everything is shown."""
    assert Shown(payloads=5, disclosures=3) == shown(simple_log())


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["tool_executed"], Shown(payloads=4, disclosures=2, withheld_payloads=1)),
        (["tool_*"], Shown(payloads=3, disclosures=1, withheld_payloads=2)),
        (["tool_?roposed"], Shown(payloads=4, disclosures=2, withheld_payloads=1)),
        (["*:*"], Shown(payloads=5, withheld_disclosures=3)),
        (["*:arguments"], Shown(payloads=5, disclosures=2, withheld_disclosures=1)),
        (
            ["tool_executed:result", "run_started:userId"],
            Shown(payloads=5, disclosures=1, withheld_disclosures=2),
        ),
        (["*", "*:*"], Shown(payloads=3, withheld_payloads=2, withheld_disclosures=1)),
        (["Tool_executed", "*:Arguments", "tool"], Shown(payloads=5, disclosures=3)),
        ([], Shown(payloads=5, disclosures=3)),
    ],
)
def test_patterns_of_withholding(patterns: Sequence[str], expected: Shown) -> None:
    """A pattern names types, or members of types; what always shows is passed over by wildcards."""
    assert expected == shown(simple_log(), disclose=withholding(*patterns))


@pytest.mark.parametrize("pattern", ["*", "run_*"])
def test_a_pattern_without_a_colon_is_for_payloads(pattern: str) -> None:
    """A pattern for types passes what always shows over, its members included."""
    assert 0 == shown(simple_log(), disclose=withholding(pattern)).withheld_disclosures


def test_what_is_withheld_is_not_in_the_bundle() -> None:
    """Neither value nor salt of what is withheld is anywhere in the bundle."""
    log = simple_log()
    text = bundled(log, disclose=withholding("*:*")).to_json().decode()
    disclosures = [t for event in log.events for t in event.disclosures]
    assert [] == [t for t in [*disclosures, "DE8937", "u-91"] if t in text]


def test_the_reason_is_in_the_bundle() -> None:
    """The scope says why."""
    tree = bundled(simple_log(), disclose=withholding("*:*", "tool_executed", reason="§ 203 StGB")).tree
    entries = [entry for part in tree["scope"]["withheld"].values() for entry in part]
    assert {"§ 203 StGB"} == {entry["reason"] for entry in entries}


def test_what_stands_below_a_withheld_member_is_withheld_with_it() -> None:
    """A nested disclosure is not left behind without its parent, and only the parent is listed."""
    log = nested_log()
    tree = bundled(log, disclose=withholding("*:arguments")).tree
    listed = [digest for entry in tree["scope"]["withheld"]["disclosures"] for digest in entry["digests"]]
    assert (1, 3) == (len(listed), sum(map(len, tree["disclosures"].values())))


def test_elements_are_withheld_by_a_wildcard() -> None:
    """An array's elements have no name; `type:*` withholds them."""
    expected = Shown(payloads=4, disclosures=2, withheld_disclosures=3)
    assert expected == shown(nested_log(), disclose=withholding("model_call_completed:*"))


@pytest.mark.parametrize("event_type", sorted(KEPT))
def test_what_always_shows_cannot_be_withheld(event_type: str) -> None:
    """A pattern that names a type whose payload always shows is a mistake."""
    with pytest.raises(ValueError, match=f"always shows the payload of {event_type}"):
        Withholding([event_type], "x")


def test_a_reason_is_asked_for() -> None:
    """Withholding without a reason is a mistake."""
    with pytest.raises(ValueError, match="expected a reason"):
        Withholding(["tool_executed"], "")


def test_one_pattern_as_text_is_refused() -> None:
    """`Withholding("tool_executed", …)` is a TypeError: its letters are no patterns."""
    with pytest.raises(TypeError, match="found one text"):
        Withholding("tool_executed", "bank secrecy")


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 1025, "\x1b[31m"])
def test_a_reason_that_no_bundle_can_state_is_refused_before_signing(reason: str) -> None:
    """Nothing is signed that its own verifier calls malformed."""
    signed: list[bytes] = []

    class Spy(Ed25519Signer):
        def sign(self, message: bytes) -> bytes:
            signed.append(message)
            return super().sign(message)

    with pytest.raises(Exception):  # noqa: B017, PT011  whichever it is
        bundled(simple_log(), Spy(b"\x01" * 32), disclose=withholding("tool_*", reason=reason))
    assert [] == signed


# Redactable


def test_redactable_is_all_but_what_always_shows() -> None:
    """By default every payload may be removed that need not show."""
    tree = bundled(two_run_log()).tree
    expected = [event["id"] for event in tree["events"] if event["type"] not in KEPT]
    assert expected == tree["scope"]["redactable"]


@pytest.mark.parametrize(
    ("chosen", "expected"), [([], 0), (["tool_executed"], 1), (["run_*", "tool_*"], 2), (["*"], 2)]
)
def test_redactable_may_be_chosen(chosen: Sequence[str], expected: int) -> None:
    """A policy may allow fewer types; what always shows is passed over by a wildcard."""
    policy = DisclosurePolicy(redactable=chosen)
    assert expected == len(bundled(simple_log(), disclose=policy).tree["scope"]["redactable"])


def test_withheld_payloads_are_not_redactable() -> None:
    """What is not there cannot be removed."""
    tree = bundled(simple_log(), disclose=withholding("tool_proposed")).tree
    assert 1 == len(tree["scope"]["redactable"])


# Erasure


def test_erased_is_listed_with_its_record() -> None:
    """A payload and a member that are gone are listed with the event that says so."""
    tree = bundled(erased_log()).tree
    record_id = next(event["id"] for event in tree["events"] if event["type"] == "data_erased")
    erased = tree["scope"]["erased"]
    assert [(1, record_id), (1, record_id)] == [
        (len(erased[part]), erased[part][0]["by"]) for part in ("payloads", "disclosures")
    ]


def test_erased_without_a_record_is_damage() -> None:
    """A payload that is gone without a word is refused, and so is a member."""
    for digests in (None, []):
        log = simple_log()
        log.erase(
            log.events[1].header["id"],
            None if digests is None else canonical.loads(log.events[1].payload or b"")["_sd"],
        )
        with pytest.raises(LogDamaged, match="no event records"):
            bundled(log)


def test_a_record_in_another_workflow_does_not_count() -> None:
    """The event that records an erasure is in the same workflow, and so in the bundle."""
    log = erased_log()
    for event in log.events:
        if event.header["runId"] == "run-2":
            event.header["workflowId"] = "tracebus:log"
    with pytest.raises(LogDamaged, match="no event records"):
        bundled(log)


def test_erased_and_withheld_are_told_apart() -> None:
    """What is gone is erased, also where a pattern would withhold it."""
    tree = bundled(erased_log(), disclose=withholding("*", "*:*")).tree
    gone = tree["scope"]["erased"]["payloads"][0]["eventId"]
    withheld = [entry["eventId"] for part in tree["scope"]["withheld"].values() for entry in part]
    assert gone not in withheld


def test_what_is_recorded_as_erased_is_not_exported() -> None:
    """Where the record says erased and the data is still there, nothing of it leaves the log."""
    log = simple_log()
    log.add("run-2", "run_started", {"kind": "maintenance"})
    log.add("run-2", "data_erased", {"targets": [{"eventId": log.events[1].header["id"]}]})
    log.add("run-2", "run_completed")
    try:
        text = bundled(log).to_json().decode()
    except LogDamaged:
        return
    assert log.events[1].disclosures[0] not in text


# Damaged logs: nothing is signed


def changed_header(at: int, **fields: Any) -> Callable[[HandLog], None]:
    """Return a change of an event's header."""

    def change(log: HandLog) -> None:
        log.events[at] = log.events[at]._replace(header={**log.events[at].header, **fields})

    return change


def changed_event(at: int, **fields: Any) -> Callable[[HandLog], None]:
    """Return a change of an event's payload or disclosures."""

    def change(log: HandLog) -> None:
        log.events[at] = log.events[at]._replace(**fields)

    return change


DAMAGE: dict[str, Callable[[HandLog], object]] = {
    "an event is missing": lambda log: log.events.pop(2),
    "the first event is missing": lambda log: log.events.pop(0),
    "an event stands twice": lambda log: log.events.insert(2, copy.deepcopy(log.events[2])),
    "two events changed places": lambda log: log.events.insert(1, log.events.pop(2)),
    "a type was changed": changed_header(2, type="approval_requested"),
    "a time was changed": changed_header(2, timestamp="2026-11-21T00:00:00.000000000Z"),
    "a risk was taken out": changed_header(1, risk="low"),
    "a seq was changed": changed_header(3, seq=9),
    "a parent was changed": changed_header(3, parentHash="sha256:" + "0" * 64),
    "a digest was changed": changed_header(3, contentHash="sha256:" + "0" * 64),
    "a digest is of the other algorithm": changed_header(3, contentHash="blake3:" + "0" * 64),
    "a payload was changed": changed_event(2, payload=b'{"verdict":"denied"}'),
    "a payload is empty": changed_event(2, payload=b""),
    "a payload is missing": changed_event(2, payload=None),
    "the disclosures are missing": changed_event(1, disclosures=()),
    "a disclosure is doubled": lambda log: changed_event(1, disclosures=log.events[1].disclosures * 2)(log),
    "a disclosure is another event's": lambda log: changed_event(1, disclosures=log.events[3].disclosures)(
        log
    ),
    "a disclosure is no base64": changed_event(1, disclosures=("*",)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_log_is_refused(name: str) -> None:
    """Whatever does not hold together in a log is LogDamaged, and nothing is signed."""
    log = simple_log()
    DAMAGE[name](log)
    with pytest.raises(LogDamaged):
        bundled(log)


def with_own_hash(payload: bytes, event_type: str = "acme.x") -> HandLog:
    """Return a log with an event whose payload is these bytes, and whose contentHash is right."""
    log = HandLog()
    log.add("r", "run_started")
    log.add("r", event_type)
    header = log.events[1].header | {"contentHash": f"sha256:{hashlib.sha256(payload).hexdigest()}"}
    log.events[1] = WorkflowEvent(header, payload, ())
    return log


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b'{"a":1,"a":1}', b'{"a":NaN}', b"[" * 200])
def test_a_payload_that_is_no_json_is_damage(payload: bytes) -> None:
    """A payload that cannot be read is LogDamaged, also if its digest is right."""
    with pytest.raises(LogDamaged):
        bundled(with_own_hash(payload))


@pytest.mark.parametrize(
    "payload", [b"[]", b"null", b"1", b'"x"', b'{"a":1.0}', b'{"b":1,"a":1}', b'{"a":1e16}']
)
def test_a_payload_that_is_no_canonical_object_is_damage(payload: bytes) -> None:
    """A payload that is not the canonical form of an object is LogDamaged, also if its digest is right."""
    with pytest.raises(LogDamaged):
        bundled(with_own_hash(payload))


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"null", b'{"a":1,"a":1}', b'{"a":NaN}'])
@pytest.mark.parametrize("is_asked", [False, True])
def test_an_erasure_record_that_is_none_is_damage(payload: bytes, is_asked: bool) -> None:
    """A data_erased whose payload cannot be read is LogDamaged, whether or not something refers to it."""
    log = with_own_hash(payload, "data_erased")
    log.add("r2", "run_started")
    if is_asked:
        log.events[2] = log.events[2]._replace(payload=None)
    with pytest.raises(LogDamaged):
        bundled(log)


def test_a_changed_erasure_record_that_names_itself_is_damage() -> None:
    """Whoever edits an erasure record in the log, also to name itself, gets no signature."""
    log = erased_log()
    at = next(i for i, event in enumerate(log.events) if event.header["type"] == "data_erased")
    event = log.events[at]
    payload = canonical.loads(event.payload or b"")
    payload["targets"] += [{"eventId": event.header["id"]}, {"eventId": log.events[2].header["id"]}]
    log.events[at] = event._replace(payload=canonical.dumps(payload))
    with pytest.raises(LogDamaged):
        bundled(log)


@pytest.mark.parametrize(
    "fields",
    [{"contentHash": "md5:x"}, {"type": ""}, {"version": 2}, {"id": "x"}, {"risk": "none"}, {"seal": "x"}],
    ids=str,
)
def test_a_header_within_a_run_that_is_none_is_damage(fields: Tree) -> None:
    """A header in the middle that does not fit the table of fields is LogDamaged."""
    log = simple_log()
    changed_header(1, **fields)(log)
    with pytest.raises(LogDamaged):
        bundled(log)


@pytest.mark.parametrize(
    ("at", "fields"),
    [
        (0, {"contentHash": ""}),
        (0, {"contentHash": "md5:x"}),
        (0, {"turnId": b"x"}),
        (-1, {"turnId": b"x"}),
        (-1, {"type": ""}),
        (-1, {"version": 2}),
        (-1, {"id": "x"}),
        (-1, {"timestamp": "yesterday"}),
        (-1, {"risk": "none"}),
        (-1, {"agentId": "a\nb"}),
        (-1, {"seal": "x"}),
        (-1, {"causes": [1]}),
    ],
    ids=str,
)
def test_a_first_or_last_header_that_is_none_is_damage(at: int, fields: Tree) -> None:
    """So is the first, whose digest names the algorithm, and the last, which nothing follows."""
    log = simple_log()
    changed_header(at, **fields)(log)
    with pytest.raises(LogDamaged):
        bundled(log)


def edit(path: Path, *statements: tuple[str, Sequence[Any]]) -> None:
    """Change a SQLite log as somebody would who has the file: without its triggers."""
    with sqlite3.connect(path) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement, values in statements:
            connection.execute(statement, values)
        for _, sql in triggers:
            connection.execute(sql)
    connection.close()


EDITS: dict[str, tuple[str, Sequence[Any]]] = {
    "payload changed": (
        "UPDATE payloads SET payload = replace(payload, 'approved', 'denied')",
        (),
    ),
    "payload deleted": ("DELETE FROM payloads WHERE position = 4", ()),
    "disclosures deleted": ("DELETE FROM disclosures WHERE position = 3", ()),
    "disclosure forged": ("UPDATE disclosures SET disclosure = 'WyJzIiwiYSIsMV0' WHERE position = 3", ()),
    "event deleted": ("DELETE FROM events WHERE position = 4", ()),
    "time changed": ("UPDATE events SET timestamp = replace(timestamp, '20', '19') WHERE position = 3", ()),
    "actor changed": ("UPDATE events SET agent_id = 'mallory' WHERE position = 4", ()),
    "risk changed": ("UPDATE events SET risk = 'low' WHERE position = 3", ()),
    "tenant changed": ("UPDATE events SET tenant_id = 'globex' WHERE position = 4", ()),
    "workflow changed": ("UPDATE events SET workflow_id = 'other' WHERE position = 4", ()),
    "run changed": ("UPDATE events SET run_id = 'run-x' WHERE position = 4", ()),
    "hash changed": ("UPDATE events SET content_hash = parent_hash WHERE position = 4", ()),
    "parent changed": ("UPDATE events SET parent_hash = NULL WHERE position = 4", ()),
    "key added": ("UPDATE events SET key = 'k' WHERE position = 4", ()),
    "first event renamed": ("UPDATE events SET type = 'turn_started' WHERE position = 1", ()),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", EDITS)
async def test_an_edited_file_is_refused(name: str, tmp_path: Path) -> None:
    """Whoever edits the log's file around its triggers gets no signature."""
    path = tmp_path / "trace.db"
    log = SqliteEventLog(path)
    await record(log)
    log.close()
    edit(path, EDITS[name])
    source = SqliteEventLog(path, read_only=True)
    with pytest.raises(LogDamaged):
        await EvidenceBundler(source, SIGNER).bundle("transfer-42", tenant="acme")


# What is signed


def test_what_is_signed_is_what_the_log_has() -> None:
    """The bundle's events are the log's, header by header, and payload by payload."""
    log = two_run_log()
    tree = bundled(log).tree
    recorded = [{**event.header, "payload": canonical.loads(event.payload or b"")} for event in log.events]
    assert sorted(recorded, key=lambda event: event["id"]) == sorted(
        tree["events"], key=lambda event: event["id"]
    )


def test_a_bundle_is_canonical() -> None:
    """A bundle's bytes are canonical, and read back to the same bundle."""
    data = bundled(simple_log()).to_json()
    assert (True, data) == (canonical.is_canonical(data), EvidenceBundle.from_json(data).to_json())


def test_an_open_run_is_bundled_as_open() -> None:
    """A run that has not ended may be bundled, and says so."""
    assert [False] == [run["closed"] for run in bundled(open_log()).tree["scope"]["runs"]]


def test_the_log_is_not_changed() -> None:
    """Bundling changes nothing of what the log handed out."""
    log = simple_log()
    before = copy.deepcopy(log.events)
    bundle = bundled(log)
    bundle.tree["events"][0]["payload"]["kind"] = "changed"
    assert before == log.events
