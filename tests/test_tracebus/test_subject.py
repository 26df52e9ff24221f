"""A person's view: what the log holds about one user, and what speaks of them elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evidence.pattern import parse_patterns
from tests.test_tracebus.keeping import Keeping, keeping_in, nanoseconds
from tracebus.committed import Committer
from tracebus.erasure_plan import erase
from tracebus.erasure_request import ErasureRequest
from tracebus.eventlog import Draft, EventQuery
from tracebus.events import BundleExported, LegalHoldChanged, RunCompleted, ToolExecuted
from tracebus.holds import WorkflowKey, lift_hold, place_hold
from tracebus.retention import apply_retention
from tracebus.retention_policy import parse_retention_policy
from tracebus.subject import HeldCount, SubjectView, SubjectWorkflow, subject_view
from tracebus.subject_document import write_document
from tracebus.testing import FixedClock
from tracebus.upkeep import log_run

POLICY = parse_retention_policy(
    b"""
    version = 1
    name = "test"
    [[rule]]
    types = ["tool_*"]
    members = "P1M"
    payloads = "P2M"
    [[rule]]
    types = ["*"]
    members = "P1Y"
    """
)


@pytest.fixture(params=["memory", "sqlite"])
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeping]:
    """A log with two runs for Marta, one for her namesake of another tenant, and one of a clerk."""
    keeping = keeping_in(request.param, tmp_path)
    keeping.run("2026-01-15T12:00:00+00:00", "r1", user_id="u-91", workflow_id="booking")
    keeping.run("2026-01-20T12:00:00+00:00", "r2", user_id="u-91", workflow_id="refund", ends=False)
    keeping.run("2026-01-21T12:00:00+00:00", "r3", user_id="u-91", workflow_id="booking", tenant_id="acme")
    found = ToolExecuted(tool="crm", status="ok", result={"customers": ["MARTA Böll <marta@example.org>"]})
    keeping.run("2026-01-22T12:00:00+00:00", "r4", found, user_id="clerk", workflow_id="booking")
    yield keeping
    keeping.log.close()


def view(
    keeping: Keeping, *mentions: str, user_id: str = "u-91", tenant_id: str | None = None
) -> SubjectView:
    """Return the view of a person."""
    return subject_view(keeping.log, user_id, tenant_id=tenant_id, mentions=mentions, policy=POLICY)


def document(view: SubjectView) -> dict[str, object]:
    """Return the document of a view, read again."""
    parts: list[str] = []
    write_document(view, parts.append)
    text = "".join(parts)
    assert text.isascii()
    tree: dict[str, object] = json.loads(text)
    return tree


def test_workflows(keeping: Keeping) -> None:
    """Workflows with runs for the person are listed, with these runs and their times, and no others."""
    found = [
        (each.workflow_id, each.tenant_id, [run.run_id for run in each.runs], each.started_at[:10])
        for each in view(keeping).workflows
    ]
    assert [("booking", None, ["r1"], "2026-01-15"), ("refund", None, ["r2"], "2026-01-20")] == found


def test_one_id_of_two_tenants(keeping: Keeping) -> None:
    """A tenant's view has nothing of another tenant's user of the same id."""
    runs = {run.run_id for each in view(keeping, tenant_id="acme").workflows for run in each.runs}
    assert {"r3"} == runs


def test_events(keeping: Keeping) -> None:
    """Each event of the runs comes with its content in the clear, and how many members are held."""
    person = view(keeping)
    events = [held for each in person.workflows for held in person.events(each)]
    expected = ["run_started", "tool_executed", "run_completed", "run_started", "tool_executed"]
    assert expected == [held.event.type for held in events]
    assert [1, 1, 0, 1, 1] == [held.members for held in events]
    assert {"name": "Marta"} == events[1].event.opened()["result"]


def test_run_that_begins_meanwhile(keeping: Keeping) -> None:
    """What is recorded behind the view's back is not in it."""
    person = view(keeping)
    keeping.run("2026-01-25T12:00:00+00:00", "r6", user_id="u-91", workflow_id="booking")
    assert {"r1"} == {held.event.run_id for held in person.events(person.workflows[0])}


def test_kept_until(keeping: Keeping) -> None:
    """It says until when the policy keeps members and payloads; of a run that is open, it cannot."""
    person = view(keeping)
    until = [held.kept_until for each in person.workflows for held in person.events(each)]
    year, month, two = (f"{day}T00:00:00.000000000Z" for day in ("2027-01-16", "2026-02-16", "2026-03-16"))
    expected = [(year, "forever"), (month, two), (year, "forever"), (None, "forever"), (None, None)]
    assert expected == until


def test_erased(keeping: Keeping) -> None:
    """What was erased is told with the event that records it: members first, then a whole payload."""
    first, second = nanoseconds("2026-02-16T00:00:00+00:00"), nanoseconds("2026-03-16T00:00:00+00:00")
    for now in (first, second):
        apply_retention(keeping.log, POLICY, clock=FixedClock(now))
    person = view(keeping)
    booking = person.workflows[0]
    periods = {record.id: record.opened()["period"] for record in person.records(booking)}
    (erased,) = (held.erased for held in person.events(booking) if held.event.type == "tool_executed")
    assert [("P1M", 1), ("P2M", None)] == [(periods[part.by or ""], part.members) for part in erased]
    count = HeldCount()
    for held in person.events(booking):
        count.add(held)
    assert (3, 1, 1, 1) == (count.events, count.members, count.erased_members, count.erased_payloads)


def test_user_id_that_was_erased(keeping: Keeping) -> None:
    """With the userId the index forgets the run: the person is found as a mention alone."""
    apply_retention(keeping.log, POLICY, clock=FixedClock(nanoseconds("2027-02-16T00:00:00+00:00")))
    assert ["refund"] == [each.workflow_id for each in view(keeping).workflows]


def test_exports(keeping: Keeping) -> None:
    """Bundles of these workflows that were exported are listed, and those of no others."""
    for tenant in (None, "acme"):
        exported = BundleExported(
            bundle_id="01M5GNHYY0GDQZ3177PGDHW4YB",
            workflow_id="booking",
            tenant_id=tenant,
            content_hash="sha256:" + "0" * 64,
            key_id="1" * 64,
            recipient=f"auditor of {tenant}",
        )
        keeping.append(log_run(exported))
    booking, refund = view(keeping).workflows
    assert ["auditor of None"] == [export.opened()["recipient"] for export in booking.exports]
    assert () == refund.exports


def test_holds(keeping: Keeping) -> None:
    """Holds are told: on a workflow, and on the person."""
    place_hold(
        keeping.log,
        LegalHoldChanged(hold_id="h1", change="placed", actor="counsel"),
        [WorkflowKey("refund", None)],
    )
    found = [[hold.hold_id for hold in each.holds] for each in view(keeping).workflows]
    place_hold(keeping.log, LegalHoldChanged(hold_id="h2", change="placed", actor="counsel", user_id="u-91"))
    assert ([[], ["h1"]], ["h2"]) == (found, [hold.hold_id for hold in view(keeping).holds])


@pytest.mark.parametrize("text", ["marta", "Marta Bo\u0308ll", "MARTA@EXAMPLE.ORG", "böll <", "customers"])
def test_mention(keeping: Keeping, text: str) -> None:
    """A text is found in other runs without regard to case and composition, in values and in names."""
    found = [(each.event.run_id, each.texts) for each in view(keeping, text).mentioned()]
    assert [("r4", (text,))] == found


def test_mentions_are_counted_apart(keeping: Keeping) -> None:
    """What the person's own runs say is no mention, and several texts in one event are one mention."""
    found = list(view(keeping, "Marta", "example.org", "nobody").mentioned())
    assert [("Marta", "example.org")] == [each.texts for each in found]


def test_no_mentions_are_searched_for(keeping: Keeping) -> None:
    """Without a text to look for, the log is not read for mentions."""
    assert [] == list(view(keeping).mentioned(pytest.fail))


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_mention(keeping: Keeping, text: str) -> None:
    """An empty text would be found everywhere: it is refused."""
    with pytest.raises(ValueError, match="mention: expected a text"):
        view(keeping, text)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"id": 9007199254740993}, "9007199254740993"),
        ({"phone": 491701234}, "1701234"),
        ({"Müller": 1, "big": 2**70}, "müller"),
        ([[["deep", {"_sd": "Zoë"}]]], "ZOË"),
        ("x" * 300_000, "xxx"),
        (2**90_000, "0x1000"),
    ],
    ids=["unsafe", "number", "json text", "reserved", "truncated", "huge"],
)
def test_mention_in_what_was_recorded_otherwise(keeping: Keeping, result: object, text: str) -> None:
    """What stands as JSON text, as a number or as its beginning is read as what it is."""
    keeping.run("2026-01-23T12:00:00+00:00", "r5", ToolExecuted(tool="t", status="ok", result=result))
    assert "r5" in {each.event.run_id for each in view(keeping, text).mentioned()}


def test_mention_of_a_tenant(keeping: Keeping) -> None:
    """With a tenant only its events are searched."""
    assert [] == list(view(keeping, "example.org", tenant_id="acme").mentioned())


def test_unknown_user(keeping: Keeping) -> None:
    """A user whom the index does not know has no workflows, and may be mentioned."""
    person = view(keeping, "example.org", user_id="nobody")
    assert ((), 1) == (person.workflows, sum(1 for _ in person.mentioned()))


def test_document(keeping: Keeping) -> None:
    """The document has all of it, by workflow, in JSON."""
    tree = document(view(keeping, "example.org"))
    booking, refund = tree["workflows"]  # type: ignore[misc]
    assert ("tracebus/subject-view/v1", "u-91", None, ["example.org"]) == (
        tree["type"],
        tree["userId"],
        tree["tenantId"],
        tree["texts"],
    )
    assert [("r1", 3), ("r2", 2)] == [
        (each["runs"][0]["runId"], len(each["events"])) for each in (booking, refund)
    ]
    assert {"name": "Marta"} == booking["events"][1]["event"]["payload"]["result"]
    assert ({"events": 5, "membersHeld": 4, "erasedMembers": 0, "erasedPayloads": 0}, 1) == (
        {name: count for name, count in tree["held"].items() if name != "membersUntil"},  # type: ignore[attr-defined]
        tree["mentions"],
    )


def test_document_tells_of_erasures(keeping: Keeping) -> None:
    """The document tells of each erasure when, by whom and by which policy, and which event it took from."""
    for time in (
        "2026-02-16T00:00:00+00:00",
        "2026-02-23T00:00:00+00:00",
    ):  # then the clerk's run
        apply_retention(keeping.log, POLICY, actor="job", clock=FixedClock(nanoseconds(time)))
    booking = document(view(keeping))["workflows"][0]  # type: ignore[index]
    (erasure,) = booking["erasures"]
    assert ("retention_applied", "job", "test", "P1M") == tuple(
        erasure[name] for name in ("type", "actor", "policy", "period")
    )
    assert [[], [{"by": erasure["eventId"], "members": 1}], []] == [
        each["erased"] for each in booking["events"]
    ]


def test_empty_document(keeping: Keeping) -> None:
    """The document of somebody of whom nothing is held is whole, too."""
    tree = document(view(keeping, "nobody", user_id="nobody"))
    assert ([], [], 0) == (tree["workflows"], tree["mentioned"], tree["mentions"])


def test_nothing_is_recorded(keeping: Keeping) -> None:
    """A view changes nothing in the log."""
    before = list(keeping.log.query(EventQuery()))
    document(view(keeping, "Marta"))
    assert before == list(keeping.log.query(EventQuery()))


def test_read_while_it_is_erased(keeping: Keeping) -> None:
    """What is left of the person's runs is told, also if their index entries go while the view is read."""
    marta = view(keeping)
    before = [held.event.id for workflow in marta.workflows for held in marta.events(workflow)]
    erase(keeping.log, ErasureRequest("desk", "asked", user_id="u-91", tenant_id=None))
    after = [held.event.id for workflow in marta.workflows for held in marta.events(workflow)]
    assert (5, before) == (len(before), after)


def test_other_runs(keeping: Keeping) -> None:
    """Runs of the same workflow that were not started for the person are named, whatever they hold."""
    keeping.run(
        "2026-01-23T12:00:00+00:00", "r7", RunCompleted(outcome="completed"), workflow_id="refund", ends=False
    )
    change = LegalHoldChanged(hold_id="h1", change="placed", actor="counsel")
    place_hold(keeping.log, change, [WorkflowKey("refund", None)])
    found = {each.workflow_id: [run.run_id for run in each.other_runs] for each in view(keeping).workflows}
    assert {"booking": ["r4"], "refund": ["r7"]} == found
    booking = document(view(keeping))["workflows"][0]  # type: ignore[index]
    assert ["r4"] == [run["runId"] for run in booking["otherRuns"]]


def test_all_holds(keeping: Keeping) -> None:
    """All the holds that stand over a workflow, or on the person, are told."""
    for hold_id, members, workflows in (
        ("h1", {}, [WorkflowKey("refund", None)]),
        ("h2", {}, [WorkflowKey("refund", None)]),
        ("h3", {"user_id": "u-91"}, []),
        ("h4", {"user_id": "u-91"}, []),
    ):
        change = LegalHoldChanged(hold_id=hold_id, change="placed", actor="counsel", **members)
        place_hold(keeping.log, change, workflows)
    tree = document(view(keeping))
    booking, refund = (
        [hold["holdId"] for hold in each["holds"]]
        for each in tree["workflows"]  # type: ignore[attr-defined]
    )
    on_person = [hold["holdId"] for hold in tree["holds"]]  # type: ignore[attr-defined]
    assert (["h3", "h4"], ["h1", "h2", "h3", "h4"], ["h3", "h4"]) == (booking, refund, on_person)


@pytest.mark.parametrize("tenant_id", [None, "acme"])
def test_lifted_holds(keeping: Keeping, tenant_id: str | None) -> None:
    """Lifted holds that still name the person are told, also of a tenant, until they are erased."""
    for hold_id, user_id in (("h1", "u-91"), ("h2", "clerk"), ("h3", "u-91")):
        change = LegalHoldChanged(hold_id=hold_id, change="placed", actor="counsel", user_id=user_id)
        (record,) = place_hold(keeping.log, change)
        if hold_id != "h3":
            lift_hold(keeping.log, LegalHoldChanged(hold_id=hold_id, change="released", actor="counsel"))
        if hold_id == "h1":
            named = record
    tree = document(view(keeping, tenant_id=tenant_id))
    expected = {"holdId": "h1", "placedAt": named.timestamp, "eventId": named.id}
    assert [expected] == tree["pastHolds"]
    lift_hold(keeping.log, LegalHoldChanged(hold_id="h3", change="released", actor="counsel"))
    erase(keeping.log, ErasureRequest("desk", "asked", user_id="u-91", tenant_id=tenant_id))
    assert [] == document(view(keeping, tenant_id=tenant_id))["pastHolds"]


def test_in_the_clear(keeping: Keeping) -> None:
    """Of each event it is told which members stand in the clear, and those only."""
    events = document(view(keeping))["workflows"][0]["events"]  # type: ignore[index]
    assert [["kind"], ["status", "tool"], ["outcome"]] == [each["inTheClear"] for each in events]


def test_a_member_counts_once(keeping: Keeping) -> None:
    """A sensitive member counts with those within it, while it is held and when it is erased."""
    committer = Committer(sensitive=["*:**/email"])
    result = ToolExecuted(tool="crm", status="ok", result={"email": "m@example.org", "phones": ["1", "2"]})
    items = [Draft("r2", "refund", committer.commit(result), None) for _ in range(2)]
    event, other = keeping.append(items)
    person = view(keeping)
    refund = person.workflows[1]
    counts = []
    for only in (["*:email"], ["*:result"]):
        counts.append(_counts(person, refund, event.id))
        request = ErasureRequest("desk", "asked", event_ids=(event.id,), only=parse_patterns(only))
        erase(keeping.log, request)
    counts.append(_counts(person, refund, event.id))
    erase(keeping.log, ErasureRequest("desk", "asked", event_ids=(other.id,)))
    assert [(1, []), (1, [1]), (0, [1, 1])] == counts
    assert (0, [1]) == _counts(person, refund, other.id)


def _counts(person: SubjectView, workflow: SubjectWorkflow, event_id: str) -> tuple[int, list[int | None]]:
    """Return how many members of an event are held, and were erased by each record."""
    (held,) = (held for held in person.events(workflow) if held.event.id == event_id)
    return held.members, [part.members for part in held.erased]
