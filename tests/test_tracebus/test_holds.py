"""Legal holds: which stand, and what they cover."""

from __future__ import annotations

import cProfile
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evidence import Ed25519Signer, EvidenceBundler, LogDamaged, verify_evidence_bundle
from tests.test_tracebus.recorded import record
from tracebus import MemoryEventLog, SqliteEventLog, ToolProposed
from tracebus.committed import Committed
from tracebus.eventlog.base import EventLog, EventQuery
from tracebus.events import LegalHoldChanged
from tracebus.fsck import fsck
from tracebus.holds import Extent, StandingHolds, WorkflowKey, lift_hold, place_hold
from tracebus.upkeep import log_run, workflow_run

ACME_1 = WorkflowKey("w1", "acme")


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    """A log with workflows of three users: w1 of two tenants, w2, w3, and w4 of nobody."""
    log: EventLog = MemoryEventLog() if request.param == "memory" else SqliteEventLog(tmp_path / "trace.db")
    record(log, "w1", tenant="acme", user="u-9")
    record(log, "w1", tenant="böll", user="u-9")
    record(log, "w2", tenant="acme", user="u-91")
    record(log, "w3", user="Zoë")
    record(log, "w4", tenant="acme")
    yield log
    assert fsck(log).fault is None
    log.close()


def placed(hold_id: str = "h1", **members: Any) -> LegalHoldChanged:
    """Return the payload of a hold that is placed."""
    return LegalHoldChanged(hold_id=hold_id, change="placed", actor="counsel", **members)


def released(hold_id: str = "h1", *, actor: str = "counsel", reason: str = "settled") -> LegalHoldChanged:
    """Return the payload of a hold that is lifted."""
    return LegalHoldChanged(hold_id=hold_id, change="released", actor=actor, reason=reason)


def covered(log: EventLog) -> set[tuple[str, str | None]]:
    """Return the workflows that holds cover, the log's own apart."""
    holds = StandingHolds(log)
    runs = [run for run in log.runs() if holds.over(run) is not None]
    return {(run.workflow_id, run.tenant_id) for run in runs if not run.workflow_id.startswith("tracebus:")}


def test_without_holds_nothing_is_covered(log: EventLog) -> None:
    """In a log without holds none stands."""
    assert ((), set()) == (StandingHolds(log).holds, covered(log))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {("w1", "acme"), ("w1", "böll"), ("w2", "acme"), ("w3", None), ("w4", "acme")}),
        ({"tenant_id": "acme"}, {("w1", "acme"), ("w2", "acme"), ("w4", "acme")}),
        ({"tenant_id": "nobody"}, set()),
        ({"user_id": "u-9"}, {("w1", "acme"), ("w1", "böll")}),
        ({"user_id": "u-9", "tenant_id": "böll"}, {("w1", "böll")}),
        ({"user_id": "Zoë"}, {("w3", None)}),
        ({"user_id": "Zoe\u0308"}, set()),
        ({"user_id": "u"}, set()),
    ],
)
def test_what_a_hold_in_the_log_covers(
    log: EventLog, members: dict[str, str], expected: set[tuple[str, str | None]]
) -> None:
    """A hold covers what tenant and user leave of the log: exactly that user, exactly that tenant."""
    place_hold(log, placed(**members))
    assert expected == covered(log)


def test_a_hold_on_workflows(log: EventLog) -> None:
    """A hold on workflows covers these, each of its tenant, and is recorded in each of them."""
    events = place_hold(log, placed(), [ACME_1, WorkflowKey("w3", None)])
    assert {("w1", "acme"), ("w3", None)} == covered(log)
    assert {("w1", "acme"), ("w3", None)} == {(event.workflow_id, event.tenant_id) for event in events}


def test_what_comes_later_is_covered(log: EventLog) -> None:
    """A hold on a person or a tenant covers what is recorded after it."""
    place_hold(log, placed(user_id="u-9"))
    place_hold(log, placed("h2", tenant_id="new"))
    record(log, "w7", user="u-9")
    record(log, "w8", tenant="new")
    assert {("w1", "acme"), ("w1", "böll"), ("w7", None), ("w8", "new")} == covered(log)


def test_a_person_s_workflow_is_covered_whole(log: EventLog) -> None:
    """A hold on a person covers the other runs of a workflow that has one for them, too."""
    child = record(log, "w3", ToolProposed(tool="wire"))
    place_hold(log, placed(user_id="Zoë"))
    assert StandingHolds(log).over(child[0]) is not None


def test_what_a_hold_says(log: EventLog) -> None:
    """A hold that stands tells who placed it, when, for what, and what it covers."""
    (event,) = place_hold(
        log,
        placed(user_id="u-9", reason="asked for", matter="claim 17", review_at="2027-01-31T00:00:00Z"),
    )
    (hold,) = StandingHolds(log)
    assert ("h1", event.timestamp, "counsel", "asked for", "claim 17", "2027-01-31T00:00:00Z") == (
        *(hold.hold_id, hold.placed_at, hold.actor, hold.reason, hold.matter),
        hold.review_at,
    )
    assert ((Extent(user_id="u-9"),), True) == (hold.extents, hold.is_readable)


def test_a_lifted_hold_covers_nothing(log: EventLog) -> None:
    """A hold ends where it was placed, and its id is free again; another one goes on."""
    place_hold(log, placed(), [ACME_1, WorkflowKey("w3", None)])
    place_hold(log, placed("h2"), [ACME_1])
    events = lift_hold(log, released())
    assert {("w1", "acme"), ("w3", None)} == {(event.workflow_id, event.tenant_id) for event in events}
    assert ({("w1", "acme")}, None) == (covered(log), StandingHolds(log).find("h1"))
    place_hold(log, placed(user_id="Zoë"))
    assert {("w1", "acme"), ("w3", None)} == covered(log)


@pytest.mark.parametrize(
    ("change", "workflows", "reason"),
    [
        (placed("h0"), [], "stands already"),
        (placed("h1"), [ACME_1, WorkflowKey("w2", None)], "the log has no workflow w2$"),
        (placed("h1", tenant_id="acme"), [ACME_1], "found both"),
        (placed("", user_id="u-9"), [], "1-256 bytes"),
        (placed("a\nb"), [], "1-256 bytes"),
        (placed("case-u-9", user_id="u-9"), [], "^hold: names the user"),
        (placed("h1", user_id="u-9", matter="U-9 ./. acme"), [], "^matter: names the user"),
        (placed("h1", user_id="Zoë", reason="about ZOE\u0308"), [], "^reason: names the user"),
        (placed("h1", user_id="counsel"), [], "^actor: names the user"),
        (placed("h1", tenant_id="bo\u0308ll"), [], "no workflow can be of tenant"),
        (placed("h1", tenant_id=""), [], "no workflow can be of tenant"),
    ],
)
def test_a_hold_that_is_refused(
    log: EventLog, change: LegalHoldChanged, workflows: list[WorkflowKey], reason: str
) -> None:
    """What cannot be placed is refused with the reason, and nothing is recorded."""
    place_hold(log, placed("h0"))
    before = log.last_position()
    with pytest.raises(ValueError, match=reason):
        place_hold(log, change, workflows)
    assert before == log.last_position()


def test_a_hold_that_does_not_stand_is_not_lifted(log: EventLog) -> None:
    """To lift what does not stand is refused."""
    place_hold(log, placed("h10"))
    with pytest.raises(ValueError, match="no hold h1 stands"):
        lift_hold(log, released("h1"))


@pytest.mark.parametrize("text", [{"actor": "U-9"}, {"reason": "u-9 has settled"}])
def test_lifting_names_nobody(log: EventLog, text: dict[str, str]) -> None:
    """Who lifts a hold on a person, and why, stays in the log, and may not name the person."""
    place_hold(log, placed(user_id="u-9"))
    with pytest.raises(ValueError, match=f"^{next(iter(text))}: names the user"):
        lift_hold(log, released(**text))
    assert StandingHolds(log).find("h1") is not None


def test_many_holds(log: EventLog) -> None:
    """To find what covers a workflow takes no longer where very many holds stand over others."""
    several = [run for n in range(500) for run in log_run(placed(f"h{n}", user_id=f"x-{n}"))]
    log.append([several])
    place_hold(log, placed("named"), [ACME_1])
    holds, profile = StandingHolds(log), cProfile.Profile()
    found = [profile.runcall(holds.over, WorkflowKey(*key)) for key in (("w1", "acme"), ("w2", "acme"))]
    calls = sum(entry.callcount for entry in profile.getstats())
    assert ["named", None] == [hold and hold.hold_id for hold in found]
    assert calls < 100


def test_lifted_elsewhere(log: EventLog) -> None:
    """An event of another workflow lifts nothing: whoever writes there has no say here."""
    place_hold(log, placed(), [ACME_1])
    log.append([workflow_run("w2", "acme", released()), workflow_run("w1", "böll", released())])
    assert {("w1", "acme")} == covered(log)


def test_a_program_holds_its_own_workflow_only(log: EventLog) -> None:
    """In a workflow a hold covers that workflow, whatever else it names."""
    log.append([workflow_run("w2", "acme", placed(user_id="u-9", tenant_id="böll"))])
    assert {("w2", "acme")} == covered(log)


def committed(**members: object) -> Committed:
    """Return the payload of a changed hold as some other release may write it."""
    return Committed("legal_hold_changed", json.dumps(members, separators=(",", ":")).encode(), ())


def test_a_hold_by_a_newer_release(log: EventLog) -> None:
    """What cannot be read of a hold makes it cover more, not less; it can be lifted."""
    foreign = committed(_salt="s", actor="x", change="placed", holdId="h1", sessionId="s1", tenantId="acme")
    run = log_run(placed())
    log.append(
        [[item._replace(committed=foreign) if "hold" in item.committed.type else item for item in run]]
    )
    (hold,) = StandingHolds(log)
    assert ((Extent(),), False) == (hold.extents, hold.is_readable)
    assert 5 == len(covered(log))
    lift_hold(log, released())
    assert set() == covered(log)


def test_a_release_by_a_newer_release(log: EventLog) -> None:
    """A release that cannot be read in full lifts nothing."""
    place_hold(log, placed(), [ACME_1])
    foreign = committed(_salt="s", actor="x", change="released", holdId="h1", partOf="w1")
    run = workflow_run("w1", "acme", released())
    log.append(
        [[item._replace(committed=foreign) if "hold" in item.committed.type else item for item in run]]
    )
    assert StandingHolds(log).find("h1") is not None


def insider(path: Path, statement: str) -> None:
    """Edit a log's file as an insider can, its triggers away."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


def test_a_held_user_s_id_is_taken_away(tmp_path: Path) -> None:
    """Where somebody removed the id of the person who is held, the hold covers everything."""
    log = SqliteEventLog(tmp_path / "trace.db")
    record(log, "w1")
    (event,) = place_hold(log, placed(user_id="u-9"))
    log.close()
    insider(log.path, f"DELETE FROM disclosures WHERE position = {event.position}")
    reader = SqliteEventLog(log.path, read_only=True)
    assert ({("w1", None)}, [False]) == (
        covered(reader),
        [hold.is_readable for hold in StandingHolds(reader)],
    )


def test_the_record_of_a_hold_is_taken_away(tmp_path: Path) -> None:
    """Where somebody removed what a hold says, it cannot be told what stands: refused."""
    log = SqliteEventLog(tmp_path / "trace.db")
    (event,) = place_hold(log, placed())
    log.close()
    insider(log.path, f"DELETE FROM payloads WHERE position = {event.position}")
    with pytest.raises(LogDamaged, match=f"{event.id}: .*the record of it is gone"):
        StandingHolds(SqliteEventLog(log.path, read_only=True))


@pytest.mark.anyio
async def test_a_held_workflow_s_bundle(tmp_path: Path) -> None:
    """The bundle of a held workflow verifies, and shows that it was held and released."""
    log = MemoryEventLog()
    record(log, "w1")
    place_hold(log, placed(), [WorkflowKey("w1", None)])
    lift_hold(log, released())
    signer = Ed25519Signer.generate()
    bundle = await EvidenceBundler(log, signer).bundle("w1")
    report = verify_evidence_bundle(bundle, signer.verifying_key)
    shown = [event["payload"]["change"] for event in bundle.tree["events"] if "hold" in event["type"]]
    assert ("verified", ["placed", "released"]) == (report.verdict, shown)


def test_as_of(log: EventLog) -> None:
    """A reading of the holds says up to where it was taken."""
    position = log.last_position()
    assert position == StandingHolds(log).as_of
    assert [] == list(log.query(EventQuery(after=position)))
