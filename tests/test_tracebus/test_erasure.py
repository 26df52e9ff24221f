"""Erasure: what goes, what stays, and the record of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import Ed25519Signer, EvidenceBundler, UnknownWorkflow, canonical, verify_evidence_bundle
from evidence.disclosure import digest_of, disclose, open_payload
from evidence.pattern import parse_patterns
from tests.test_tracebus.recorded import erase_user, erase_workflow, held, record, request
from tracebus import (
    DataErased,
    MemoryEventLog,
    SqliteEventLog,
    ToolExecuted,
    ToolProposed,
)
from tracebus.committed import Committed
from tracebus.erasure import erasable_digests, may_erase_payload
from tracebus.erasure_plan import erase
from tracebus.errors import UnknownEvent
from tracebus.event import TraceEvent
from tracebus.eventlog.base import AnyEvent, EventLog, EventQuery
from tracebus.events import (
    ApprovalResolved,
    BundleExported,
    ErasureTarget,
    PolicyDecision,
)
from tracebus.fsck import fsck
from tracebus.testing import draft, events_of
from tracebus.upkeep import log_run

CALL = ToolProposed(tool="wire", call_id="c1", arguments={"to": "Ada Lovelace"})
RESULT = ToolExecuted(tool="wire", call_id="c1", status="ok", result={"name": "Ada Lovelace"})
DECISION = PolicyDecision(policy="limits", decision="allow")


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An empty log; it must hold together when the test is done."""
    log: EventLog = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "trace.db")
    yield log
    assert fsck(log).fault is None
    log.close()


def events(log: EventLog, workflow_id: str = "w1") -> list[AnyEvent]:
    """Return the events of a workflow."""
    return list(log.query(EventQuery(workflow_id=workflow_id)))


# What goes


def test_a_user(log: EventLog) -> None:
    """Of a user goes every sensitive member of the runs that were started for them, and no other."""
    record(log, "w1", CALL, DECISION, RESULT, user="u-9")
    record(log, "w2", CALL, user="u-91")
    report = erase_user(log, "u-9")
    assert ["run_started", "tool_proposed"] == held(log)
    assert [(1, 1, 0)] * 3 == list(report.plan.types.values())
    assert ["run_started", "tool_executed", "tool_proposed"] == list(report.plan.types)
    found = [len(list(log.query(EventQuery(user_id=user)))) for user in ("u-9", "u-91")]
    assert [0, 3] == found


def test_the_record(log: EventLog) -> None:
    """An erasure names who, why, by what law and request, and each digest that went."""
    _, call, _ = record(log, "w1", CALL)
    digests = sorted(erasable_digests(call))
    (event,) = erase_workflow(log, "w1", request_id="DSR-204", identity_source="cli").records
    expected = DataErased(
        actor="privacy-desk",
        reason="asked for",
        targets=[ErasureTarget(event_id=call.id, digests=digests)],
        identity_source="cli",
        legal_basis="GDPR Art. 17(1)(b)",
        request_id="DSR-204",
    )
    assert (expected, "w1") == (event.payload, event.workflow_id)


def test_a_workflow_of_one_tenant(log: EventLog) -> None:
    """Of two workflows of the same id only that of the tenant is touched."""
    record(log, "w1", CALL, tenant="acme")
    record(log, "w1", CALL, tenant="böll")
    record(log, "w1", CALL)
    erase_workflow(log, "w1", "acme")
    assert {None, "böll"} == {event.tenant_id for event in log.query(EventQuery()) if event.disclosures}


@pytest.mark.parametrize("tenant", ["other", None])
def test_the_wrong_tenant(log: EventLog, tenant: str | None) -> None:
    """Of a tenant that has no such workflow, or user, nothing is erased."""
    record(log, "w1", CALL, tenant="acme", user="u-9")
    with pytest.raises(UnknownWorkflow):
        erase_workflow(log, "w1", tenant)
    report = erase_user(log, "u-9", tenant_id=tenant)
    assert ((), (), ["run_started", "tool_proposed"]) == (report.plan.runs, report.records, held(log))


@pytest.mark.parametrize("user", ["Zoë", "ユーザー", "a' OR '1'='1", "%", "u-9\N{ZERO WIDTH JOINER}"])
def test_users_of_any_spelling(log: EventLog, user: str) -> None:
    """A user id is compared as it is: no wildcard, no prefix, no other case."""
    others = ["u-9", "zoë", "ユーザ", "a"]
    for name in (user, *others):
        record(log, "w1", user=name)
    erase_user(log, user)
    assert others == [event.opened()["userId"] for event in events(log) if event.disclosures]


def test_named_events(log: EventLog) -> None:
    """Named events lose their sensitive members, and no other event does."""
    _, call, *_ = record(log, "w1", CALL, RESULT)
    _, *_, result, _ = record(log, "w2", CALL, RESULT)
    report = erase(log, request(event_ids=(call.id, result.id)))
    assert (["tool_executed", "tool_proposed"], ["w1", "w2"]) == (
        held(log),
        [event.workflow_id for event in report.records],
    )


def test_an_event_that_is_not_there(log: EventLog) -> None:
    """If one of the named events is not in the log, nothing is erased."""
    _, call, _ = record(log, "w1", CALL)
    missing = "01KAJ2000000000000000000ZZ"
    with pytest.raises(UnknownEvent, match=missing):
        erase(log, request(event_ids=(call.id, missing)))
    assert ["tool_proposed"] == held(log)


def test_payloads(log: EventLog) -> None:
    """Whole payloads go where that is asked for, and those that a bundle always shows stay."""
    record(log, "w1", CALL, DECISION, RESULT, user="u-9")
    report = erase_workflow(log, "w1", payloads=True)
    gone = [event.type for event in events(log) if event.payload_json is None]
    assert (["tool_proposed", "tool_executed"], []) == (gone, held(log))
    assert {"run_started": (1, 1, 0), "tool_executed": (1, 1, 1), "tool_proposed": (1, 1, 1)} == (
        report.plan.types
    )


def test_the_payload_of_a_named_event(log: EventLog) -> None:
    """Of an event that is named, the payload goes whatever its type."""
    _, _, decision, _ = record(log, "w1", CALL, DECISION)
    erase(log, request(event_ids=(decision.id,), payloads=True))
    gone = [event.id for event in events(log) if event.payload_json is None]
    assert [decision.id] == gone


def test_which_payloads_may_go() -> None:
    """By type, what was decided, approved and erased stays."""
    types = [
        "tool_proposed",
        "acme.note",
        "policy_decision",
        "run_started",
        "data_erased",
        "legal_hold_changed",
    ]
    assert ["tool_proposed", "acme.note"] == [name for name in types if may_erase_payload(name)]


# Only some members


def nested(log: EventLog) -> AnyEvent:
    """Record an event with a sensitive member in a sensitive member, and sensitive elements of an array."""
    email, email_digest = disclose("email", "ada@example.org")
    customer, customer_digest = disclose("customer", {"_sd": [email_digest], "vip": True})
    phone, phone_digest = disclose("phone", "555")
    seats = [disclose(None, name) for name in ("12A", "12B")]
    result = {"_sd": [customer_digest], "seats": [{"...": digest} for _, digest in seats]}
    payload = canonical.dumps({"_salt": "s", "_sd": [phone_digest], "result": result})
    (start,) = record(log, "w1", ended=False)
    texts = (email, customer, phone, *(text for text, _ in seats))
    item = draft(start.run_id, Committed("acme.note", payload, texts))
    return events_of(log.append([[item]])[0])[0]


CUSTOMER = {"email": "ada@example.org", "vip": True}
SEATS = ["12A", "12B"]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ([], {"result": {"seats": []}}),
        (["acme.note"], {"result": {"seats": []}}),
        (["acme.*:*"], {"result": {"seats": []}}),
        (["*:email"], {"phone": "555", "result": {"customer": {"vip": True}, "seats": SEATS}}),
        (["*:customer"], {"phone": "555", "result": {"seats": SEATS}}),
        (["acme.note:result"], {"phone": "555", "result": {"seats": []}}),
        (["acme.note:result/seats/*", "*:phone"], {"result": {"customer": CUSTOMER, "seats": []}}),
    ],
)
def test_only(log: EventLog, patterns: list[str], left: Any) -> None:
    """Patterns mean a member wherever it stands, and with it what stands below."""
    event = nested(log)
    erase_workflow(log, "w1", only=parse_patterns(patterns))
    (after,) = log.query(EventQuery(ids=(event.id,)))
    assert left == after.opened()


@pytest.mark.parametrize(
    "pattern", ["acme.note:/email", "tool_*:email", "tool_*", "acme.note:seats/customer"]
)
def test_only_what_is_not_there(log: EventLog, pattern: str) -> None:
    """Patterns that mean nothing here erase nothing, and nothing is recorded."""
    event = nested(log)
    before = log.last_position()
    report = erase_workflow(log, "w1", only=parse_patterns([pattern]))
    (after,) = log.query(EventQuery(ids=(event.id,)))
    assert (event.opened(), (), before) == (after.opened(), report.records, log.last_position())


def test_below_what_was_erased(log: EventLog) -> None:
    """What stands in a member of a member can go first, and then the outer one."""
    event = nested(log)
    erase_workflow(log, "w1", only=parse_patterns(["*:email"]))
    erase_workflow(log, "w1", only=parse_patterns(["*:customer"]))
    (after,) = log.query(EventQuery(ids=(event.id,)))
    assert {"phone": "555", "result": {"seats": ["12A", "12B"]}} == after.opened()


def test_payloads_of_one_type(log: EventLog) -> None:
    """Of patterns without a member, whole payloads of their type go where that is asked for."""
    record(log, "w1", CALL, RESULT)
    erase_workflow(log, "w1", only=parse_patterns(["tool_proposed", "*:result"]), payloads=True)
    gone = [event.type for event in events(log) if event.payload_json is None]
    assert (["tool_proposed"], []) == (gone, held(log))


@pytest.mark.anyio
@pytest.mark.blocking_ok
async def test_every_payload_of_a_workflow(log: EventLog) -> None:
    """A workflow whose every payload was erased, one named event after the other, verifies still."""
    verdict = ApprovalResolved(request_id="a1", actor="kim", identity_source="idp", verdict="approved")
    stored = record(log, "w1", CALL, DECISION, verdict, RESULT, user="u-9")
    erase(log, request(event_ids=tuple(event.id for event in stored), payloads=True))
    signer = Ed25519Signer.generate()
    bundle = await EvidenceBundler(log, signer).bundle("w1")
    shown = verify_evidence_bundle(bundle.to_json(), signer.verifying_key).shown
    assert (6, 0) == (shown.erased_payloads, shown.disclosures)
    assert [] == list(log.query(EventQuery(user_id="u-9")))


def test_what_others_say(log: EventLog) -> None:
    """Runs of the same workflows that were not started for the person are pointed out, and not touched."""
    record(log, "w1", CALL, user="u-9")
    (_, call, _) = record(log, "w1", CALL)
    record(log, "w2", CALL, user="u-91")
    report = erase_user(log, "u-9")
    assert ((call.run_id,), ()) == (report.plan.other_runs, erase_user(log, "u-91").plan.other_runs)


def test_exports(log: EventLog) -> None:
    """The bundles that were made of the workflow are listed, and none of another tenant's."""
    record(log, "w1", CALL, tenant="acme")
    for number, (workflow_id, tenant) in enumerate([("w1", "acme"), ("w1", None), ("w2", "acme")]):
        exported = BundleExported(
            bundle_id=f"01{number:024d}",
            workflow_id=workflow_id,
            tenant_id=tenant,
            content_hash="sha256:" + "0" * 64,
            key_id="0" * 64,
            recipient="auditor",
        )
        log.append([log_run(exported)])
    (export,) = erase_workflow(log, "w1", "acme").plan.exports
    assert ("01" + "0" * 24, "auditor", None) == (export.bundle_id, export.recipient, export.purpose)


def test_open_runs(log: EventLog) -> None:
    """The report tells which of the runs go on."""
    start, *_ = record(log, "w1", CALL, ended=False)
    _, call, _ = record(log, "w1", CALL)
    assert (start.run_id,) == erase_workflow(log, "w1").plan.open_runs
    assert () == erase(log, request(event_ids=(call.id,))).plan.open_runs
    assert (start.run_id,) == erase(log, request(event_ids=(start.id,))).plan.open_runs


Tree = Any
"""A payload as it is made: JSON values, in which a pair ("hidden", value) becomes a disclosure."""

trees = st.recursive(
    st.integers(0, 9),
    lambda inner: (
        st.lists(st.tuples(st.just("hidden"), inner) | inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), st.tuples(st.just("hidden"), inner) | inner, max_size=3)
    ),
    max_leaves=12,
)
steps = st.sampled_from(["a", "b", "c", "*", "**"])
patterns = st.lists(steps, min_size=1, max_size=3).map(lambda path: "acme.note:/" + "/".join([*path, "a"]))


def hide(tree: Tree, texts: list[str]) -> Any:
    """Return a payload in committed form; its disclosures go into a list."""
    if isinstance(tree, list):
        return [
            {"...": _disclose(None, item[1], texts)} if isinstance(item, tuple) else hide(item, texts)
            for item in tree
        ]
    if not isinstance(tree, dict):
        return tree
    hidden = {name: item[1] for name, item in tree.items() if isinstance(item, tuple)}
    made = {name: hide(item, texts) for name, item in tree.items() if name not in hidden}
    if hidden:
        made["_sd"] = sorted(_disclose(name, item, texts) for name, item in hidden.items())
    return made


def _disclose(name: str | None, value: Tree, texts: list[str]) -> str:
    text, digest = disclose(name, hide(value, texts))
    texts.append(text)
    return digest


@given(tree=st.dictionaries(st.sampled_from("abc"), trees, max_size=3), pattern=patterns)
def test_what_is_left_opens(tree: Tree, pattern: str) -> None:
    """Whatever patterns mean: what is left opens, nothing that is meant is left, and no other thing went."""
    texts: list[str] = []
    payload = hide(tree, texts)
    header = {"id": "e1", "type": "acme.note", "workflowId": "w1"}
    event: AnyEvent = TraceEvent(header, canonical.dumps(payload), tuple(texts))
    only = parse_patterns([pattern])
    digests = erasable_digests(event, only)
    kept = [text for text in texts if digest_of(text) not in digests]
    opened = open_payload(payload, kept, "left")
    assert digests >= opened.hidden
    left: AnyEvent = TraceEvent(header, canonical.dumps(payload), tuple(kept))
    assert frozenset() == erasable_digests(left, only)
    assert {digest_of(text) for text in texts} == erasable_digests(event)
