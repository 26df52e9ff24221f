"""Erasure against holds, against others at work, and against itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from evidence import (
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    Incomplete,
    VerificationReport,
    canonical,
    verify_evidence_bundle,
)
from evidence.disclosure import disclose
from evidence.note import NoteKey
from evidence.pattern import parse_patterns
from evidence.trust import TrustedLog, TrustPolicy
from tests.test_tracebus.recorded import erase_user, erase_workflow, held, record, request
from tracebus import MemoryEventLog, SqliteEventLog, ToolProposed, TraceEventBus
from tracebus.committed import Committed
from tracebus.erasure import ErasureBatch, erasable_digests
from tracebus.erasure_plan import ErasureReport, erase
from tracebus.erasure_request import ErasureRequest
from tracebus.errors import AppendConflict, EventLogUnavailable, HoldStands
from tracebus.eventlog.base import ANY_TENANT, AnyEvent, EventLog, EventQuery
from tracebus.events import ErasureTarget, LegalHoldChanged, PolicyDecision, RetentionApplied
from tracebus.fsck import fsck
from tracebus.holds import StandingHolds, WorkflowKey, lift_hold, place_hold
from tracebus.testing import draft, events_of
from tracebus.transparency.checkpoints import Checkpointer
from tracebus.upkeep import LOG_WORKFLOW, workflow_run

SIGNER = Ed25519Signer.generate()
LOG_SIGNER = Ed25519Signer.generate()
CALL = ToolProposed(tool="wire", call_id="c1", arguments={"to": "Ada Lovelace"})
W1 = WorkflowKey("w1", None)


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A log with a workflow of the user u-9; it must hold together when the test is done."""
    log: EventLog = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "trace.db")
    record(log, "w1", CALL, user="u-9")
    yield log
    assert fsck(log).fault is None
    log.close()


def hold(log: EventLog, hold_id: str, *workflows: WorkflowKey, **members: Any) -> None:
    """Place a hold, on workflows or on what the members say."""
    change = LegalHoldChanged(hold_id=hold_id, change="placed", actor="counsel", matter="claim 17", **members)
    place_hold(log, change, workflows)


def lift(log: EventLog, hold_id: str) -> None:
    """Lift a hold."""
    lift_hold(log, LegalHoldChanged(hold_id=hold_id, change="released", actor="counsel"))


# Holds

HOLDS: list[tuple[list[WorkflowKey], dict[str, str]]] = [
    ([W1], {}),
    ([], {"user_id": "u-9"}),
    ([], {"tenant_id": "acme"}),
    ([], {}),
]


@pytest.mark.parametrize(("workflows", "members"), HOLDS)
@pytest.mark.parametrize("by", ["user", "workflow", "event"])
def test_under_a_hold(log: EventLog, workflows: list[WorkflowKey], members: dict[str, str], by: str) -> None:
    """What is covered is not erased, however it is asked for; the refusal says by which hold."""
    tenant = members.get("tenant_id")
    (start, *_) = record(log, "w1", CALL, user="u-9", tenant=tenant)
    hold(log, "h1", *workflows, **members)
    before = log.last_position(), held(log)
    what: dict[str, dict[str, Any]] = {
        "user": {"user_id": "u-9"},
        "workflow": {"workflow": WorkflowKey("w1", tenant)},
        "event": {"event_ids": (start.id,)},
    }
    with pytest.raises(HoldStands, match=r"hold h1, placed 20\S+Z by counsel for claim 17, stands over"):
        erase(log, request(**what[by]))
    assert before == (log.last_position(), held(log))


def test_one_held_workflow_of_many(log: EventLog) -> None:
    """If one of a person's workflows is held, nothing of the others goes either."""
    record(log, "w2", CALL, user="u-9")
    hold(log, "h1", WorkflowKey("w2", None))
    before = held(log)
    with pytest.raises(HoldStands, match="workflow w2"):
        erase_user(log, "u-9")
    assert before == held(log)


def test_a_hold_on_another_tenant_s_user(log: EventLog) -> None:
    """A hold on the user of one tenant covers no other tenant's user of the same id."""
    for tenant in ("acme", "böll"):
        record(log, "w2", CALL, user="u-9", tenant=tenant)
    hold(log, "h1", user_id="u-9", tenant_id="böll")
    for held_tenant in (ANY_TENANT, "böll"):
        with pytest.raises(HoldStands):
            erase_user(log, "u-9", tenant_id=held_tenant)
    erase_user(log, "u-9", tenant_id="acme")
    assert {None, "böll"} == {event.tenant_id for event in log.query(EventQuery(user_id="u-9"))}


def test_after_the_hold(log: EventLog) -> None:
    """When the last hold that covers it is lifted, it can be erased."""
    hold(log, "h1", W1)
    hold(log, "h2", user_id="u-9")
    lift(log, "h1")
    with pytest.raises(HoldStands, match="hold h2"):
        erase_user(log, "u-9")
    lift(log, "h2")
    erase_user(log, "u-9")
    assert [] == held(log)


def test_the_held_person_s_id(log: EventLog) -> None:
    """The id of a person in the record of a hold stays while it stands, and goes with the rest after it."""
    hold(log, "h1", user_id="u-9")
    hold(log, "h2", user_id="u-91")
    with pytest.raises(HoldStands, match="user u-9 is not erased: hold h1"):
        erase_user(log, "u-9")
    lift(log, "h1")
    report = erase_user(log, "u-9")
    (stands,) = StandingHolds(log)
    assert (["legal_hold_changed"], "h2", True) == (held(log), stands.hold_id, stands.is_readable)
    workflows = {event.workflow_id: event.run_id.startswith("tracebus:") for event in report.records}
    assert {"w1": False, LOG_WORKFLOW: True} == workflows


def test_a_person_of_whom_only_a_hold_was_recorded(log: EventLog) -> None:
    """The id in a lifted hold is erased also where no run was started for the person."""
    for hold_id, user in (("h1", "nobody"), ("h2", "else")):
        hold(log, hold_id, user_id=user)
        lift(log, hold_id)
    report = erase_user(log, "nobody")
    left = [event.opened().get("userId") for event in log.query(EventQuery(types=("legal_hold_changed",)))]
    assert ({"legal_hold_changed": (1, 1, 0)}, [None, None, "else", None]) == (report.plan.types, left)


def test_a_person_in_a_workflow_s_own_hold(log: EventLog) -> None:
    """What a program's own record of a hold says of a person goes with the person, not with the workflow."""
    for change in ("placed", "released"):
        named = LegalHoldChanged(hold_id="h1", change=change, actor="app", user_id="u-9")
        log.append([workflow_run("w1", None, named)])
    erase_workflow(log, "w1")
    assert ["legal_hold_changed"] * 2 == held(log)
    erase_user(log, "u-9")
    assert [] == held(log)


def test_a_hold_of_the_same_id_again(log: EventLog) -> None:
    """A hold that was lifted and is placed anew covers anew; the id of its first record may go later."""
    hold(log, "h1", user_id="u-9")
    lift(log, "h1")
    hold(log, "h1", user_id="u-9")
    with pytest.raises(HoldStands):
        erase_user(log, "u-9")
    lift(log, "h1")
    report = erase_user(log, "u-9")
    assert 2 == report.plan.types["legal_hold_changed"].members


class MeanwhileLog(SqliteEventLog):
    """A log in which something happens at the moment at which an erasure was planned, and not begun."""

    meanwhile: Any = None

    def erase(self, erasure: Any) -> list[AnyEvent]:
        """Let it happen, once; then erase."""
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        return super().erase(erasure)


@pytest.fixture
def racing(tmp_path: Path) -> Iterator[MeanwhileLog]:
    """A log with a workflow of the user u-9, and another one."""
    log = MeanwhileLog(tmp_path / "trace.db")
    record(log, "w1", CALL, user="u-9")
    record(log, "w2", CALL, user="u-91")
    yield log
    assert fsck(log).fault is None
    log.close()


def in_another_process(log: SqliteEventLog, *arguments: str) -> None:
    """Run the command line on a log, in a process of its own."""
    command = [sys.executable, "-m", "tracebus", *arguments, "--log", str(log.path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_a_hold_in_between(racing: MeanwhileLog) -> None:
    """A hold that another process places between plan and erasure refuses it; nothing was changed."""
    arguments = ("hold", "set", "h1", "--user", "u-9", "--reason", "counsel")
    racing.meanwhile = lambda: in_another_process(racing, *arguments)
    before = held(racing)
    with pytest.raises(HoldStands, match="hold h1"):
        erase_user(racing, "u-9")
    assert [*before, "legal_hold_changed"] == held(racing)
    assert [] == list(racing.query(EventQuery(types=("data_erased",))))


def test_a_hold_on_something_else_in_between(racing: MeanwhileLog) -> None:
    """A hold on others that comes in between makes the plan be made anew, and no more."""
    arguments = ("hold", "set", "h1", "--user", "u-91", "--reason", "counsel")
    racing.meanwhile = lambda: in_another_process(racing, *arguments)
    assert 2 == erase_user(racing, "u-9").plan.total().members


def test_a_hold_by_a_thread_in_between(racing: MeanwhileLog) -> None:
    """The same with a thread of this process, and its own handle on the file."""

    def place() -> None:
        other = SqliteEventLog(racing.path)
        thread = threading.Thread(target=hold, args=(other, "h1", W1))
        thread.start()
        thread.join()
        other.close()

    racing.meanwhile = place
    with pytest.raises(HoldStands, match="hold h1"):
        erase_workflow(racing, "w1")


def test_a_batch_does_not_plan_anew(racing: MeanwhileLog) -> None:
    """Whoever collects a batch hears of a hold that was recorded since, and nothing is changed."""
    batch = ErasureBatch(racing, StandingHolds(racing))
    event = next(racing.query(EventQuery(types=("tool_proposed",))))
    batch.add(event, erasable_digests(event), request(workflow=W1).record)
    hold(racing, "h1", WorkflowKey("w2", None))
    before = held(racing)
    with pytest.raises(AppendConflict):
        batch.commit()
    assert before == held(racing)


class LateLog(MemoryEventLog):
    """A log in which something is recorded just as somebody begins to read a workflow."""

    meanwhile: Any = None

    def query(self, query: EventQuery) -> Iterator[AnyEvent]:
        """Record it, once; then read."""
        if self.meanwhile is not None and query.workflow_id is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        return super().query(query)


def test_a_held_person_s_run_in_between() -> None:
    """What is recorded after the holds were read is not erased: it may be covered already."""
    log = LateLog()
    record(log, "w1", CALL)
    hold(log, "h1", user_id="u-9")
    log.meanwhile = lambda: record(log, "w1", CALL, user="u-9")
    erase_workflow(log, "w1")
    assert ["legal_hold_changed", "run_started", "tool_proposed"] == held(log)


def test_somebody_else_is_faster(racing: MeanwhileLog) -> None:
    """What another process erased in between is not recorded twice."""
    arguments = ("erase", "--user", "u-9", "--reason", "r", "--legal-basis", "b", "--yes")
    racing.meanwhile = lambda: in_another_process(racing, *arguments)
    report = erase_workflow(racing, "w1")
    assert ((), 1) == (report.records, len(list(racing.query(EventQuery(types=("data_erased",))))))


# Against itself


@pytest.mark.parametrize("payloads", [False, True])
def test_twice(log: EventLog, payloads: bool) -> None:
    """The second time there is nothing to erase, and nothing is recorded."""
    erase_workflow(log, "w1", payloads=payloads)
    before = log.last_position()
    report = erase_workflow(log, "w1", payloads=payloads)
    assert (True, (), before) == (report.plan.is_empty, report.records, log.last_position())


def test_the_erasure_itself(log: EventLog) -> None:
    """The record of an erasure, or of a hold, is never erased."""
    hold(log, "h1", W1)
    lift(log, "h1")
    (erased,) = erase_workflow(log, "w1").records
    changes = list(log.query(EventQuery(types=("legal_hold_changed",))))
    for event in (erased, *changes):
        with pytest.raises(ValueError, match="whose payload is never erased"):
            erase(log, request(event_ids=(event.id,), payloads=True))
        assert () == erase(log, request(event_ids=(event.id,))).records
    erase_workflow(log, "w1", payloads=True)
    kept = [
        event.payload_json for event in log.query(EventQuery(types=("data_erased", "legal_hold_changed")))
    ]
    assert (4, False) == (len(kept), None in kept)


def test_the_log_s_own_record(log: EventLog) -> None:
    """Nothing of the log's own workflow is erased by name."""
    hold(log, "h1", user_id="u-9")
    lift(log, "h1")
    event = next(log.query(EventQuery(types=("legal_hold_changed",))))
    with pytest.raises(ValueError, match="log's own record"):
        request(workflow=WorkflowKey(LOG_WORKFLOW, None))
    for payloads in (True, False):
        with pytest.raises(ValueError, match="log's own record"):
            erase(log, request(event_ids=(event.id,), payloads=payloads))


@pytest.mark.parametrize("event_type", ["data_erased", "legal_hold_changed", "run_started"])
def test_a_batch_takes_no_record_of_upkeep(log: EventLog, event_type: str) -> None:
    """Whole payloads of records of upkeep, or of the log's own workflow, come into no batch."""
    hold(log, "h0")
    lift(log, "h0")
    erase_workflow(log, "w1")
    query = EventQuery(types=(event_type,), workflow_id=LOG_WORKFLOW if "run" in event_type else None)
    batch = ErasureBatch(log, StandingHolds(log))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="never erased"):
        batch.add(next(log.query(query)), None, request(workflow=W1).record)


@pytest.mark.parametrize(
    "texts",
    [
        {"reason": "u-9 wants it"},
        {"reason": "asked by U-9."},
        {"request_id": "dsr/u-9"},
        {"legal_basis": "contract with u-9"},
        {"actor": "u-9"},
        {"reason": "\uff55-9 wants it"},
    ],
)
def test_the_record_names_the_person(texts: dict[str, str]) -> None:
    """A request whose record would keep what is erased is refused."""
    members: dict[str, Any] = {"actor": "desk", "reason": "asked for", "user_id": "u-9"} | texts
    with pytest.raises(ValueError, match="names the user"):
        ErasureRequest(**members)


@pytest.mark.parametrize("user", ["7", "u-9", "a"])
def test_a_text_that_only_looks_like_it(user: str) -> None:
    """A user id within a longer word or number is none."""
    made = ErasureRequest("desk", "Art. 17(1), u-91, bu-9", user_id=user)
    assert user == made.user_id


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"user_id": "u", "workflow": W1},
        {"workflow": W1, "event_ids": ("x",)},
        {"user_id": "u", "reason": " "},
    ],
)
def test_a_request_that_says_too_little_or_too_much(members: dict[str, Any]) -> None:
    """A request is about one of a workflow, a user and events, and gives a reason."""
    with pytest.raises(ValueError, match="expected"):
        ErasureRequest(**({"actor": "desk", "reason": "asked for"} | members))


# While others are at work


@pytest.mark.anyio
async def test_a_run_that_goes_on(tmp_path: Path) -> None:
    """Of an open run goes what is there; what it publishes meanwhile and later stays, in one chain."""
    log = SqliteEventLog(tmp_path / "trace.db")
    reports: list[ErasureReport] = []
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w1", user_id="u-9") as run:
        await bus.publish(CALL)

        async def keep_publishing() -> None:
            for _ in range(50):
                await bus.publish(CALL, run=run)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_publishing)
            reports.append(await in_thread(erase_user, log, "u-9"))
        await bus.publish(CALL)
    (report,) = reports
    calls = await in_thread(list, log.query(EventQuery(run_id=run.run_id, types=("tool_proposed",))))
    erased = report.plan.types["tool_proposed"].members
    assert ((run.run_id,), 52, 52 - erased) == (
        report.plan.open_runs,
        len(calls),
        sum(bool(event.disclosures) for event in calls),
    )
    assert None is (await in_thread(fsck, log)).fault
    report_of_bundle = await verified(log)
    log.close()
    assert erased + 1 == report_of_bundle.shown.erased_disclosures


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what blocks in a worker thread, as async code has to."""
    return await anyio.to_thread.run_sync(function, *arguments)


async def bundled(log: EventLog, **options: Any) -> EvidenceBundle:
    """Return the bundle of w1."""
    return await EvidenceBundler(log, SIGNER).bundle("w1", **options)


async def verified(log: EventLog) -> VerificationReport:
    """Return the report of the bundle of w1; it has to verify."""
    bundle = await bundled(log)
    return verify_evidence_bundle(bundle.to_json(), SIGNER.verifying_key, expected_workflow="w1")


def test_a_log_that_cannot_be_scrubbed_now(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files cannot be rewritten now, the erasure stands, and the report says so."""

    def scrub() -> None:
        raise EventLogUnavailable("somebody reads")

    monkeypatch.setattr(log, "scrub", scrub)
    report = erase_workflow(log, "w1")
    assert ("somebody reads", 1, []) == (report.not_scrubbed, len(report.records), held(log))


# Bundles and checkpoints


@pytest.mark.anyio
async def test_bundles_before_and_after(log: EventLog) -> None:
    """A bundle from before verifies as it did; one from after says what was erased, and by which event."""
    before = (await bundled(log)).to_json()
    (erasure,) = (await in_thread(erase_user, log, "u-9")).records
    old = verify_evidence_bundle(before, SIGNER.verifying_key)
    after = await bundled(log)
    new = verify_evidence_bundle(after.to_json(), SIGNER.verifying_key)
    by = {entry["by"] for entry in after.tree["scope"]["erased"]["disclosures"]}
    assert ((2, 0), (0, 2), {erasure.id}) == (
        (old.shown.disclosures, old.shown.erased_disclosures),
        (new.shown.disclosures, new.shown.erased_disclosures),
        by,
    )


@pytest.mark.anyio
async def test_erased_payloads_in_a_bundle(log: EventLog) -> None:
    """A bundle verifies without the payloads that were erased, those of named events of any type too."""

    def erase_all() -> None:
        _, decision, _ = record(log, "w1", PolicyDecision(policy="limits", decision="allow"))
        erase_workflow(log, "w1", payloads=True)
        erase(log, request(event_ids=(decision.id,), payloads=True))

    await in_thread(erase_all)
    report = await verified(log)
    assert (2, "verified") == (report.shown.erased_payloads, report.verdict)


@pytest.mark.anyio
async def test_checkpoints_before_and_after(log: EventLog) -> None:
    """As of a checkpoint before the erasure no bundle is made; the next checkpoint has it whole again."""
    checkpointer = await in_thread(Checkpointer, log, LOG_SIGNER)
    await in_thread(checkpointer.checkpoint)
    await in_thread(erase_user, log, "u-9")
    with pytest.raises(Incomplete, match="an erasure came after it"):
        await bundled(log, as_of_checkpoint=True)
    assert "completeness asserted by the signer" in (await verified(log)).headline
    await in_thread(checkpointer.checkpoint)
    bundle = await bundled(log)
    policy = TrustPolicy(logs=(TrustedLog(NoteKey(log.origin, LOG_SIGNER.verifying_key)),))
    report = verify_evidence_bundle(bundle.to_json(), SIGNER.verifying_key, policy=policy)
    assert ("verified", 2) == (report.verdict, report.shown.erased_disclosures)
    assert "whole as of" in report.headline


# Much of it


def test_many_events(tmp_path: Path) -> None:
    """20,000 events of one workflow are erased in one step, by records that are each well below 1 MiB."""
    log = SqliteEventLog(tmp_path / "trace.db")
    record(log, "w1", *[CALL] * 20_000, user="u-9")
    report = erase_workflow(log, "w1")
    sizes = [len(event.payload_json or b"") for event in report.records]
    left = log.query(EventQuery(workflow_id="w1"))
    assert (20_001, 0) == (report.plan.total().members, sum(len(event.disclosures) for event in left))
    assert max(sizes) <= 300_000 < sum(sizes)
    log.close()


def test_an_event_with_very_many_members(log: EventLog) -> None:
    """An event may lose more members than one record can name."""
    elements = [disclose(None, number) for number in range(12_000)]
    payload = canonical.dumps({"_salt": "s", "all": [{"...": digest} for _, digest in elements]})
    (start,) = record(log, "w1", ended=False)
    item = draft(start.run_id, Committed("acme.note", payload, tuple(text for text, _ in elements)))
    events_of(log.append([[item]])[0])
    report = erase_workflow(log, "w1", only=parse_patterns(["acme.*"]))
    assert (3, 12_000) == (len(report.records), report.plan.total().members)


def test_many_workflows(log: EventLog) -> None:
    """A person's 300 workflows are erased in one step, each with the record of its own."""
    for number in range(300):
        record(log, f"of-{number}", CALL, user="u-7")
    report = erase_user(log, "u-7")
    assert (300, 600) == (len(report.records), report.plan.total().members)
    assert {f"of-{number}" for number in range(300)} == {event.workflow_id for event in report.records}
    assert ["run_started", "tool_proposed"] == held(log)  # those of u-9


def test_a_policy_s_record(log: EventLog) -> None:
    """Retention collects in the same way, under records of its own, a run for each workflow."""
    record(log, "w2", CALL)
    batch = ErasureBatch(log, StandingHolds(log))  # type: ignore[arg-type]

    def members(targets: list[ErasureTarget]) -> RetentionApplied:
        return RetentionApplied(actor="nightly", policy="default", rule="members", targets=targets)

    def payloads(targets: list[ErasureTarget]) -> RetentionApplied:
        return RetentionApplied(actor="nightly", policy="default", rule="payloads", targets=targets)

    for event in list(log.query(EventQuery(types=("run_started", "tool_proposed")))):
        if event.type == "tool_proposed":
            batch.add(event, None, payloads)
        elif event.disclosures:
            batch.add(event, erasable_digests(event), members)
    size, records = len(batch), batch.commit()
    found = [(event.workflow_id, event.opened()["rule"]) for event in records]
    assert (3, [("w1", "members"), ("w1", "payloads"), ("w2", "payloads")]) == (size, sorted(found))
    assert records[0].run_id == records[1].run_id
