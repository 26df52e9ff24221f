"""`tracebus hold`: legal holds are placed, lifted and listed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tracebus import EventQuery, SqliteEventLog
from tracebus.eventlog import AnyEvent, EventLog
from tracebus.events import LegalHoldChanged
from tracebus.holds import WorkflowKey, lift_hold, place_hold

Cli = Callable[..., Result]


def listed(cli: Cli, log: Path) -> list[dict[str, object]]:
    """Return the holds that stand, as `hold list --json` prints them."""
    result = cli("hold", "list", "--log", log, "--json")
    assert result.exit_code == 0, result.output
    holds: list[dict[str, object]] = json.loads(result.stdout)
    return holds


def changes(log: Path) -> list[LegalHoldChanged]:
    """Return what the log records of holds."""
    store = SqliteEventLog(log, read_only=True)
    found = [event.payload for event in store.query(EventQuery(types=("legal_hold_changed",)))]
    return [payload for payload in found if isinstance(payload, LegalHoldChanged)]


def test_set_list_lift(cli: Cli, log: Path) -> None:
    """A hold is placed, listed, lifted, and gone from the list; the log has both changes."""
    assert "no holds stand\n" == cli("hold", "list", "--log", log).stdout
    set_ = cli(
        *("hold", "set", "claim-17", "--user", "u-91", "--reason", "counsel asked", "--matter", "claim 17"),
        *("--review-at", "2027-01-31T00:00:00Z", "--actor", "kim", "--log", log),
    )
    assert (0, True) == (
        set_.exit_code,
        set_.stdout.startswith(
            "hold claim-17 stands over user u-91: 1 workflow now, and what is recorded later\nrecorded as 01"
        ),
    )
    (hold,) = listed(cli, log)
    assert {
        "holdId": "claim-17",
        "placedAt": hold["placedAt"],
        "actor": "kim",
        "reason": "counsel asked",
        "matter": "claim 17",
        "reviewAt": "2027-01-31T00:00:00.000000000Z",
        "isReadable": True,
        "over": [{"userId": "u-91", "tenantId": None}],
        "coveredWorkflows": 1,
    } == hold
    table = cli("hold", "list", "--log", log).stdout.splitlines()
    assert ["hold", "placed", "by", "reason", "matter", "over", "workflows", "review"] == table[0].split()
    assert "claim-17" in table[1]
    assert 0 == cli("hold", "lift", "claim-17", "--reason", "settled", "--log", log).exit_code
    assert [] == listed(cli, log)
    assert [("placed", "asserted"), ("released", "cli")] == [
        (change.change, change.identity_source) for change in changes(log)
    ]


@pytest.mark.parametrize(
    ("options", "over"),
    [
        (["--workflow", "transfer-42"], [{"workflowId": "transfer-42", "tenantId": None}]),
        (
            ["--workflow", "shared-1", "--workflow", "refund-7", "--tenant", "acme"],
            [{"workflowId": "shared-1", "tenantId": "acme"}, {"workflowId": "refund-7", "tenantId": "acme"}],
        ),
        (["--tenant", "acme"], [{"userId": None, "tenantId": "acme"}]),
        (["--user", "u-91", "--tenant", "acme"], [{"userId": "u-91", "tenantId": "acme"}]),
        (["--whole-log"], [{"userId": None, "tenantId": None}]),
    ],
)
def test_what_it_covers(cli: Cli, log: Path, options: list[str], over: list[object]) -> None:
    """The options say what is covered."""
    result = cli("hold", "set", "h1", *options, "--reason", "r", "--log", log)
    assert result.exit_code == 0, result.output
    assert [over] == [hold["over"] for hold in listed(cli, log)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected one of --workflow, --user, --tenant and --whole-log"),
        (["--user", "u-91", "--whole-log"], "expected one of"),
        (["--user", "u-91", "--workflow", "transfer-42"], "expected one of"),
        (["--tenant", "acme", "--whole-log"], "expected one of"),
        (["--user", "u-91", "--no-tenant"], "--no-tenant goes with --workflow"),
        (["--workflow", "nothing"], "the log has no workflow nothing"),
        (["--workflow", "shared-1"], "choose --tenant acme or --tenant böll"),
        (["--workflow", "transfer-42", "--tenant", "acme"], "no workflow transfer-42 of tenant acme"),
        (["--whole-log", "--review-at", "tomorrow"], "expected RFC 3339"),
        (["--user", "u-91", "--matter", "u-91 against us"], "names the user"),
    ],
)
def test_wrong_usage(cli: Cli, log: Path, options: list[str], message: str) -> None:
    """What is refused says why, and records nothing."""
    result = cli("hold", "set", "h1", *options, "--reason", "r", "--log", log)
    assert (2, []) == (result.exit_code, listed(cli, log))
    assert message in result.stderr


def test_an_id_that_stands(cli: Cli, log: Path) -> None:
    """An id stands for one hold at a time, and what does not stand is not lifted."""
    cli("hold", "set", "h1", "--whole-log", "--reason", "r", "--log", log)
    again = cli("hold", "set", "h1", "--user", "u-91", "--reason", "r", "--log", log)
    other = cli("hold", "lift", "h2", "--reason", "r", "--log", log)
    assert (2, 2) == (again.exit_code, other.exit_code)
    assert "stands already" in again.stderr
    assert "no hold h2 stands; tracebus hold list" in other.stderr


def test_nobody_yet(cli: Cli, log: Path) -> None:
    """A hold on somebody the log does not know yet is placed, and the command says so."""
    result = cli("hold", "set", "h1", "--user", "u-9", "--reason", "r", "--log", log)
    assert "over user u-9: nothing that is in the log yet, and what is recorded later" in result.stdout
    assert "note: no run in the log was started for user u-9 so far" in result.stderr
    facts = json.loads(
        cli("hold", "set", "h2", "--tenant", "acme", "--reason", "r", "--log", log, "--json").stdout
    )
    assert (3, 1) == (facts["coveredWorkflows"], len(facts["records"]))


def test_no_log(cli: Cli, tmp_path: Path) -> None:
    """Without a log none is made."""
    for arguments in (
        ["set", "h1", "--whole-log", "--reason", "r"],
        ["lift", "h1", "--reason", "r"],
        ["list"],
    ):
        assert 2 == cli("hold", *arguments, "--log", "none.db").exit_code
    assert not (tmp_path / "none.db").exists()


def test_list(cli: Cli, log: Path) -> None:
    """The table tells why each hold was placed, and how many workflows it covers now."""
    cli("hold", "set", "h1", "--tenant", "acme", "--reason", "tender", "--log", log)
    cli("hold", "set", "h2", "--workflow", "transfer-42", "--reason", "audit", "--log", log)
    lines = cli("hold", "list", "--log", log).stdout.splitlines()
    assert ["h1", "tender", "tenant", "acme", "3"] == [lines[1].split()[i] for i in (0, 3, 5, 6, 7)]
    assert [3, 1] == [hold["coveredWorkflows"] for hold in listed(cli, log)]


def test_lifted_in_that_moment(cli: Cli, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold that somebody lifts while it is placed does not stand, and that is said."""

    def place_and_lift(
        store: EventLog, change: LegalHoldChanged, workflows: list[WorkflowKey]
    ) -> list[AnyEvent]:
        events = place_hold(store, change, workflows)
        lift_hold(store, LegalHoldChanged(hold_id=change.hold_id, change="released", actor="somebody"))
        return events

    monkeypatch.setattr("tracebus.cli.hold.place_hold", place_and_lift)
    result = cli("hold", "set", "h1", "--whole-log", "--reason", "r", "--log", log)
    assert (1, []) == (result.exit_code, listed(cli, log))
    assert "hold h1 was placed, as 0" in result.stderr
    assert "it does not stand" in result.stderr


def test_a_day_of_review(cli: Cli, log: Path) -> None:
    """A day is its midnight, UTC; what is neither a day nor a time is refused."""
    days = ("2027-01-31", "2027-02-30", "2027-1-31")
    codes = [
        cli("hold", "set", day, "--whole-log", "--reason", "r", "--review-at", day, "--log", log).exit_code
        for day in days
    ]
    assert ([0, 2, 2], ["2027-01-31T00:00:00.000000000Z"]) == (
        codes,
        [hold["reviewAt"] for hold in listed(cli, log)],
    )


def test_help(cli: Cli) -> None:
    """What --tenant and --no-tenant mean is said by each command for itself."""
    set_, subject = (
        " ".join(cli(*name, "--help").output.split()) for name in (("hold", "set"), ("subject",))
    )
    assert "Of this tenant; by itself: over all of its workflows." in set_
    assert "With --workflow: the workflow of this id without a tenant." in set_
    assert "Only what this tenant's workflows hold." in subject
