"""Applying a retention policy: what is due goes, on the record, and nothing else does."""

import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from evidence import Ed25519Signer, EvidenceBundler, verify_evidence_bundle
from evidence.projection import ERASING
from tests.test_tracebus.keeping import Keeping, held, keeping_in
from tracebus.erasure import ErasureBatch
from tracebus.errors import AppendConflict, AppendUnknown
from tracebus.eventlog import AnyEvent, EventQuery, MemoryEventLog, SqliteEventLog
from tracebus.events import (
    LegalHoldChanged,
    PolicyDecision,
    RetentionApplied,
    ToolExecuted,
    ToolProposed,
    VerificationPerformed,
)
from tracebus.fsck import fsck
from tracebus.holds import WorkflowKey, lift_hold, place_hold
from tracebus.payload import EventPayload
from tracebus.retention import RetentionReport, apply_retention, kept_until, rehearse_retention
from tracebus.retention_policy import DEFAULT_POLICY, RetentionPolicy, parse_retention_policy
from tracebus.testing import FixedClock, draft, started
from tracebus.upkeep import log_run

MONTH = 'types = ["*"]\nmembers = "P1M"'


def policy(*rules: str) -> RetentionPolicy:
    """Return the policy of these rules."""
    text = 'version = 1\nname = "test"\n' + "".join(f"[[rule]]\n{rule}\n" for rule in rules)
    return parse_retention_policy(text.encode())


@pytest.fixture(params=["memory", "sqlite"])
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeping]:
    """A log with a clock of its own; it must hold together when the test is done."""
    keeping = keeping_in(request.param, tmp_path)
    yield keeping
    report = fsck(keeping.log)
    keeping.log.close()
    assert report.fault is None, report.fault


def apply(keeping: Keeping, time: str, rules: RetentionPolicy) -> RetentionReport:
    """Apply a policy at a time."""
    keeping.at(time)
    return apply_retention(keeping.log, rules, actor="nightly job", clock=keeping.clock)


def records(keeping: Keeping, workflow_id: str | None = None) -> list[AnyEvent]:
    """Return what records erasures, in one workflow or in all."""
    return list(keeping.log.query(EventQuery(workflow_id=workflow_id, types=tuple(ERASING))))


def told(record: AnyEvent) -> RetentionApplied:
    """Return what a record says."""
    assert isinstance(record.payload, RetentionApplied)
    return record.payload


@pytest.mark.parametrize(
    ("time", "is_due"),
    [
        ("2026-02-28T23:59:59+00:00", False),
        ("2026-03-01T00:00:00+00:00", True),
    ],
)
@pytest.mark.parametrize("ended_at", ["2026-01-31T00:00:00+00:00", "2026-01-31T23:59:59+00:00"])
def test_boundary(keeping: Keeping, ended_at: str, time: str, is_due: bool) -> None:
    """Until the last second of the period nothing goes, and in the next one it does."""
    keeping.run(ended_at, "r1", user_id="u-91")
    report = apply(keeping, time, policy(MONTH))
    assert ({} if is_due else {"r1": 2}) == held(keeping.log)
    assert (2 * is_due, is_due) == (report.erased.members, report.records)


def test_end_at_the_cutoff(keeping: Keeping) -> None:
    """A run that ended in the very moment of the cutoff, at midnight, has another day."""
    keeping.run("2026-02-01T00:00:00+00:00", "r1")
    left = []
    for time in ("2026-03-01T23:59:59+00:00", "2026-03-02T00:00:00+00:00"):
        apply(keeping, time, policy('types = ["acme.*"]\nmembers = "P1D"', MONTH))
        left.append(held(keeping.log))
    assert [{"r1": 1}, {}] == left


def test_time_is_the_logs_own(keeping: Keeping) -> None:
    """What an import says of when something occurred does not count: it would be due at once."""
    keeping.run("2026-11-21T10:00:00+00:00", "r1", occurred_at="2019-01-01T00:00:00.000000000Z")
    apply(keeping, "2026-11-22T10:00:00+00:00", policy(MONTH))
    assert {"r1": 1} == held(keeping.log)


def test_time_counts_from_the_end(keeping: Keeping) -> None:
    """What a long run recorded at its beginning is kept as long as its end."""
    keeping.run("2026-01-01T00:00:00+00:00", "r1", ends=False)
    keeping.end("2026-06-01T00:00:00+00:00", "r1")
    apply(keeping, "2026-06-30T00:00:00+00:00", policy(MONTH))
    assert {"r1": 1} == held(keeping.log)


def test_clock_that_was_set_back(keeping: Keeping) -> None:
    """Where the clock was set back before the run ended, nothing goes before its time."""
    keeping.run("2026-06-01T00:00:00+00:00", "r1", ends=False)
    keeping.end("2020-01-01T00:00:00+00:00", "r1")
    apply(keeping, "2026-06-30T00:00:00+00:00", policy(MONTH))
    assert {"r1": 1} == held(keeping.log)


def test_open_runs_are_passed_over(keeping: Keeping) -> None:
    """A run that has not ended is kept, however old it is, and counted."""
    keeping.run("2020-01-01T00:00:00+00:00", "r1", ends=False)
    report = apply(keeping, "2026-11-21T00:00:00+00:00", policy(MONTH))
    assert ({"r1": 1}, 1) == (held(keeping.log), report.open_runs)


def test_default_policy(keeping: Keeping) -> None:
    """After 13 months sensitive members go, and payloads stay."""
    keeping.run("2025-10-20T12:00:00+00:00", "r1", user_id="u-91")
    keeping.run("2025-10-21T12:00:00+00:00", "r2")
    report = apply(keeping, "2026-11-21T00:00:00+00:00", DEFAULT_POLICY)
    assert {"r2": 1} == held(keeping.log)
    assert (2, 0) == (report.erased.members, report.erased.payloads)
    assert all(event.payload_json is not None for event in keeping.log.query(EventQuery()))
    assert [] == list(keeping.log.query(EventQuery(user_id="u-91")))


def test_record(keeping: Keeping) -> None:
    """The record names policy, digest, rule, period, cutoff, legal basis and all that went."""
    events = keeping.run("2026-01-15T12:00:00+00:00", "r1", user_id="u-91")
    rules = policy('types = ["acme.*"]\nmembers = "P1D"', f'{MONTH}\nlegal-basis = "contract, section 9"')
    apply(keeping, "2026-03-01T12:00:00+00:00", rules)
    (record,) = records(keeping)
    said = told(record)
    assert ("w1", "nightly job", "test", rules.digest, "2") == (
        record.workflow_id,
        said.actor,
        said.policy,
        said.version,
        said.rule,
    )
    assert ("P1M", "2026-02-01T00:00:00.000000000Z", "contract, section 9") == (
        said.period,
        said.cutoff,
        said.legal_basis,
    )
    assert {event.id for event in events if event.disclosures} == {each.event_id for each in said.targets}


def test_members_first_payloads_later(keeping: Keeping) -> None:
    """A rule's two periods end one after the other; nothing is erased or recorded twice."""
    rules = policy('types = ["tool_*"]\nmembers = "P1M"\npayloads = "P1Y"')
    keeping.run("2026-01-15T12:00:00+00:00", "r1")
    times = ["2026-03-01T00:00:00+00:00"] * 2 + ["2027-03-01T00:00:00+00:00"] * 2
    reports = [apply(keeping, time, rules) for time in times]
    assert [(1, 0), (0, 0), (0, 1), (0, 0)] == [
        (report.erased.members, report.erased.payloads) for report in reports
    ]
    assert [("P1M", False), ("P1Y", True)] == [
        (told(record).period, told(record).targets[0].digests is None) for record in records(keeping)
    ]


def test_payload_goes_with_its_members(keeping: Keeping) -> None:
    """Where both are due the payload goes as a whole, in one record."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1")
    report = apply(keeping, "2027-03-01T00:00:00+00:00", policy('types = ["tool_*"]\npayloads = "P1M"'))
    gone = [event.type for event in keeping.log.query(EventQuery()) if event.payload_json is None]
    assert (["tool_executed"], {}, 1) == (gone, held(keeping.log), report.records)


def test_what_a_bundle_shows_stays(keeping: Keeping) -> None:
    """A wildcard passes over payloads that a bundle always shows; their sensitive members go."""
    decision = PolicyDecision(policy="limits", decision="allow")
    keeping.run("2026-01-15T12:00:00+00:00", "r1", decision, ToolProposed(tool="wire"), user_id="u-91")
    apply(keeping, "2027-03-01T00:00:00+00:00", policy('types = ["*"]\npayloads = "P1M"'))
    events = list(keeping.log.query(EventQuery(run_id="r1")))
    assert ["run_started", "policy_decision", "run_completed"] == [
        event.type for event in events if event.payload_json is not None
    ]
    assert [()] * 4 == [event.disclosures for event in events]


def test_first_rule_decides(keeping: Keeping) -> None:
    """A type that an earlier rule keeps for ever is kept, also where a later rule fits it."""
    rules = policy('types = ["tool_executed"]\nmembers = "forever"', MONTH)
    keeping.run(
        "2026-01-15T12:00:00+00:00", "r1", ToolExecuted(tool="a", status="ok", result="x"), user_id="u"
    )
    apply(keeping, "2027-03-01T00:00:00+00:00", rules)
    assert {"tool_executed"} == {event.type for event in keeping.log.query(EventQuery()) if event.disclosures}


def test_two_tenants(keeping: Keeping) -> None:
    """A rule for a tenant decides about its workflows alone, though ids are the same in another one."""
    rules = policy('types = ["*"]\ntenant = "acme"\nmembers = "P1M"', 'types = ["*"]\nmembers = "P1Y"')
    for tenant in ("acme", "other", None):
        keeping.run("2026-01-15T12:00:00+00:00", f"of {tenant}", tenant_id=tenant)
    report = apply(keeping, "2026-06-01T00:00:00+00:00", rules)
    assert {"of other": 1, "of None": 1} == held(keeping.log)
    assert [("w1", "acme", "1")] == [
        (record.workflow_id, record.tenant_id, told(record).rule) for record in records(keeping)
    ]
    assert [1, 0] == [part.erased.members for part in report.periods]


def test_each_workflow_has_its_record(keeping: Keeping) -> None:
    """What goes is recorded in the workflow that it goes from, in a run that has ended."""
    for number in range(3):
        keeping.run("2026-01-15T12:00:00+00:00", f"r{number}", workflow_id=f"w{number}")
    apply(keeping, "2026-06-01T00:00:00+00:00", policy(MONTH))
    assert ["w0", "w1", "w2"] == [record.workflow_id for record in records(keeping)]
    assert {"closed"} == {run.status for run in keeping.log.runs()}


def place(keeping: Keeping, hold_id: str, *workflows: str, user_id: str | None = None) -> None:
    """Place a hold."""
    change = LegalHoldChanged(hold_id=hold_id, change="placed", actor="counsel", user_id=user_id)
    place_hold(keeping.log, change, [WorkflowKey(each, None) for each in workflows])


def test_hold(keeping: Keeping) -> None:
    """What a hold covers stays and is reported with its id; when it is lifted it goes."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1", workflow_id="held", user_id="u-91")
    keeping.run("2026-01-15T12:00:00+00:00", "r2", workflow_id="free")
    place(keeping, "claim-17", "held")
    report = apply(keeping, "2026-06-01T00:00:00+00:00", policy(MONTH))
    kept = report.held["claim-17"]
    assert ({"r1": 2}, ["claim-17"], (2, 2)) == (
        held(keeping.log),
        list(report.held),
        (kept.events, kept.members),
    )
    lift_hold(keeping.log, LegalHoldChanged(hold_id="claim-17", change="released", actor="counsel"))
    again = apply(keeping, "2026-06-02T00:00:00+00:00", policy(MONTH))
    assert ({}, {}) == (held(keeping.log), again.held)


def test_hold_on_a_person(keeping: Keeping) -> None:
    """A hold on a person covers their workflows, and its own record is not erased."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1", user_id="u-91")
    keeping.run("2026-01-15T12:00:00+00:00", "r2", workflow_id="w2", user_id="u-92")
    place(keeping, "claim-17", user_id="u-91")
    apply(keeping, "2027-06-01T00:00:00+00:00", policy(MONTH))
    of_log = {run.run_id for run in keeping.log.runs(workflow_id="tracebus:log")}
    assert {"r1", *of_log} == held(keeping.log).keys()


def test_hold_that_comes_between(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold that is placed while retention is under way is heeded: it is planned anew."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1", workflow_id="held")
    keeping.run("2026-01-15T12:00:00+00:00", "r2", workflow_id="free")
    keeping.run("2026-01-15T12:00:00+00:00", "r3", workflow_id="open", ends=False)
    commit = ErasureBatch.commit

    def late(batch: ErasureBatch) -> list[AnyEvent]:
        monkeypatch.undo()
        place(keeping, "claim-17", "held")
        return commit(batch)

    monkeypatch.setattr(ErasureBatch, "commit", late)
    report = apply(keeping, "2026-06-01T00:00:00+00:00", policy(MONTH))
    assert ({"r1": 1, "r3": 1}, 1, ["claim-17"]) == (
        held(keeping.log),
        report.erased.members,
        list(report.held),
    )
    assert (1, 1, None) == (report.held["claim-17"].members, report.open_runs, report.not_scrubbed)


def test_the_logs_own_record_stays(keeping: Keeping) -> None:
    """What the log records of itself is kept, whatever a rule says; so is what records an erasure."""
    keeping.at("2026-01-15T12:00:00+00:00")
    performed = VerificationPerformed(subject="log", verdict="verified", actor="kim")
    keeping.append(log_run(performed))
    keeping.run("2026-01-15T12:00:00+00:00", "r1")
    rules = policy('types = ["*"]\npayloads = "P1M"')
    apply(keeping, "2027-06-01T00:00:00+00:00", rules)
    again = apply(keeping, "2028-06-01T00:00:00+00:00", rules)
    of_log = keeping.log.query(EventQuery(workflow_id="tracebus:log"))
    assert (0, True) == (again.erased.events, all(event.payload_json is not None for event in of_log))


@pytest.mark.parametrize(
    ("workflow_id", "payload", "members", "until"),
    [
        ("w1", ToolProposed(tool="wire"), "2026-02-16T00:00:00.000000000Z", "2026-03-16T00:00:00.000000000Z"),
        ("w1", PolicyDecision(policy="p", decision="deny"), "2026-02-16T00:00:00.000000000Z", "forever"),
        ("w1", LegalHoldChanged(hold_id="h", change="placed", actor="a"), "forever", "forever"),
        ("tracebus:log", ToolProposed(tool="wire"), "forever", "forever"),
    ],
)
def test_kept_until(workflow_id: str, payload: EventPayload, members: str, until: str) -> None:
    """Until when something is kept is told as it will be: some of it for ever, whatever the rule says."""
    log = MemoryEventLog()
    log.append([[started(workflow_id=workflow_id), draft(payload=payload, workflow_id=workflow_id)]])
    event = list(log.query(EventQuery()))[1]
    rules = policy('types = ["*"]\nmembers = "P1M"\npayloads = "P2M"')
    assert (members, until) == kept_until(rules, event, "2026-01-15T12:00:00.000000000Z")


def test_rehearsal(keeping: Keeping) -> None:
    """A rehearsal tells what would go at a time, and changes nothing."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1", user_id="u-91")
    last = keeping.log.last_position()
    times = "2026-02-15T23:59:59Z", "2026-02-16T00:00:00Z"
    reports = [rehearse_retention(keeping.log, policy(MONTH), at=time) for time in times]
    assert [0, 2] == [report.erased.members for report in reports]
    assert (last, {"r1": 2}) == (keeping.log.last_position(), held(keeping.log))


@pytest.mark.parametrize("stopped_at", range(4))
def test_interrupted(keeping: Keeping, monkeypatch: pytest.MonkeyPatch, stopped_at: int) -> None:
    """Stopped before or behind any step, it completes when it is repeated, and records nothing twice."""
    monkeypatch.setattr("tracebus.retention._STEP", 2)
    for number in range(4):
        keeping.run("2026-01-15T12:00:00+00:00", f"r{number}", user_id="u-91")
    commit, commits = ErasureBatch.commit, 0

    def stopping(batch: ErasureBatch) -> list[AnyEvent]:
        nonlocal commits
        commits += 1
        if stopped_at == 0:
            raise AppendUnknown("stopped before the first step")
        stored = commit(batch)
        if commits == stopped_at:
            raise AppendUnknown("stopped behind a step")
        return stored

    with monkeypatch.context() as stop:
        stop.setattr(ErasureBatch, "commit", stopping)
        with pytest.raises(AppendUnknown):
            apply(keeping, "2026-06-01T00:00:00+00:00", policy(MONTH))
    assert 8 - 2 * stopped_at == sum(held(keeping.log).values())
    apply(keeping, "2026-06-01T00:00:00+00:00", policy(MONTH))
    targets = [
        digest
        for record in records(keeping)
        for each in told(record).targets
        for digest in each.digests or ()
    ]
    assert ({}, 8, 8) == (held(keeping.log), len(targets), len(set(targets)))


def test_conflict_without_end(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody is in the way each time, it gives up and says so."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1")

    def conflict(batch: ErasureBatch) -> Sequence[AnyEvent]:
        raise AppendConflict("r1", "somebody else appended")

    monkeypatch.setattr(ErasureBatch, "commit", conflict)
    with pytest.raises(AppendConflict):
        apply(keeping, "2026-06-01T00:00:00+00:00", policy(MONTH))


def test_bundles(keeping: Keeping) -> None:
    """A bundle from before verifies as it did; one from after lists what the policy took, and verifies."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1", user_id="u-91")
    signer = Ed25519Signer.generate()
    bundler = EvidenceBundler(keeping.log, signer)
    before = anyio.run(bundler.bundle, "w1").to_json()
    apply(keeping, "2026-06-01T00:00:00+00:00", policy('types = ["tool_*"]\npayloads = "P1M"', MONTH))
    after = anyio.run(bundler.bundle, "w1")
    shown = [
        verify_evidence_bundle(bundle, signer.verifying_key, expected_workflow="w1").shown
        for bundle in (before, after.to_json())
    ]
    assert [(0, 0), (1, 1)] == [(each.erased_payloads, each.erased_disclosures) for each in shown]
    erased = after.tree["scope"]["erased"]
    assert {record.id for record in records(keeping)} == {
        entry["by"] for entry in (*erased["payloads"], *erased["disclosures"])
    }


_KILLED = """
import os, sys
from tracebus import SqliteEventLog, erasure, retention

commit, retention._STEP, left = erasure.ErasureBatch.commit, 2, [int(sys.argv[2])]

def killed(batch):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    return commit(batch)

erasure.ErasureBatch.commit = killed
retention.apply_retention(SqliteEventLog(sys.argv[1]))
"""


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_killed(tmp_path: Path, steps: int) -> None:
    """Where its process dies between two steps, what went is recorded, and it completes when repeated."""
    clock = FixedClock()
    keeping = Keeping(SqliteEventLog(tmp_path / "trace.db", clock=clock), clock)
    for number in range(3):
        keeping.run("2020-01-15T12:00:00+00:00", f"r{number}", user_id="u-91")
    disclosures = [text.encode() for event in keeping.log.query(EventQuery()) for text in event.disclosures]
    keeping.log.close()
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "trace.db"), str(steps)]
    assert 9 == subprocess.run(command, check=False, timeout=60).returncode
    assert (6 - 2 * steps, steps) == (sum(held(keeping.log).values()), len(records(keeping)))
    report = apply(keeping, "2026-11-21T00:00:00+00:00", DEFAULT_POLICY)
    fault = fsck(keeping.log).fault
    keeping.log.close()
    assert ({}, None, None) == (held(keeping.log), report.not_scrubbed, fault)
    left = b"".join(path.read_bytes() for path in tmp_path.glob("trace.db*"))
    assert [] == [text for text in disclosures if text in left]


def test_somebody_reads(tmp_path: Path) -> None:
    """While somebody reads the file it is not scrubbed: that is told, and made up for when repeated."""
    path, clock = tmp_path / "trace.db", FixedClock()
    keeping = Keeping(SqliteEventLog(path, clock=clock, wait_seconds=0.1), clock)
    keeping.run("2020-01-15T12:00:00+00:00", "r1")
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        first = apply(keeping, "2026-11-21T00:00:00+00:00", DEFAULT_POLICY)
    second = apply(keeping, "2026-11-21T00:00:00+00:00", DEFAULT_POLICY)
    keeping.log.close()
    assert (1, True) == (first.erased.members, first.not_scrubbed is not None)
    assert (0, None) == (second.erased.members, second.not_scrubbed)


def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times as much that is due takes no more memory, for it goes step by step."""
    monkeypatch.setattr("tracebus.retention._STEP", 50)
    clock = FixedClock()
    keeping = Keeping(SqliteEventLog(tmp_path / "trace.db", clock=clock), clock)
    result = ToolExecuted(tool="crm", status="ok", result="x" * 1000)
    peaks = []
    for runs in (40, 10, 50):  # the first is for what is loaded and cached once
        for number in range(runs):
            keeping.run("2020-01-15T12:00:00+00:00", f"{runs}/{number}", *[result] * 20)
        tracemalloc.start()
        report = apply(keeping, "2026-11-21T00:00:00+00:00", DEFAULT_POLICY)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert 20 * runs == report.erased.members
    keeping.log.close()
    assert peaks[2] < 1.5 * peaks[1], peaks


def test_nobody_applies_it(keeping: Keeping) -> None:
    """Without a name for who applies the policy nothing is erased: each record has to tell."""
    keeping.run("2026-01-15T12:00:00+00:00", "r1")
    keeping.at("2026-03-01T00:00:00+00:00")
    with pytest.raises(ValueError, match=r"^actor: expected a service or person"):
        apply_retention(keeping.log, policy(MONTH), actor=" ", clock=keeping.clock)
    assert {"r1": 1} == held(keeping.log)
