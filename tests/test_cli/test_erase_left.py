"""What `tracebus erase` and `retention apply` say of what stays, and of patterns that mean nothing."""

import json
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from tests.test_cli.conftest import Cli
from tracebus import EventQuery, SqliteEventLog, ToolExecuted, ToolProposed, TraceEventBus
from tracebus.events import ApprovalResolved
from tracebus.fsck import fsck

WHY = ("--reason", "asked for", "--legal-basis", "GDPR Art. 17(1)(b)", "--yes")
NOTE = {"name": "Marta", "address": {"street": "Ring 1"}, "empty": {}, "count": None}


async def _fill(log: SqliteEventLog) -> None:
    rules = {"plain": ["tool_proposed:arguments"], "sensitive": ["acme.note:address", "tool_*:**/email"]}
    async with TraceEventBus(log, **rules) as bus:
        async with bus.run(workflow_id="w1", user_id="u-91"):
            for amount in (1, 2):
                await bus.publish(ToolProposed(tool="wire", arguments={"amount": amount}))
            await bus.publish(NOTE, type="acme.note")
            await bus.publish(
                ApprovalResolved(
                    request_id="a",
                    actor="kim",
                    identity_source="idp",
                    verdict="approved",
                    reason="Marta asked",
                )
            )
            result = {"customer": {"email": "m@example.org", "vip": True}}
            await bus.publish(ToolExecuted(tool="wire", status="ok", result=result))
        async with bus.run(workflow_id="w1", run_id="of-nobody"):
            pass


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A log in which much stands in the clear, and an e-mail address in a result that is sensitive, too."""
    path = tmp_path / "left.db"
    with closing(SqliteEventLog(path, name="left")) as log:
        anyio.run(_fill, log)
    return path


def test_what_stands_in_the_clear(cli: Cli, left: Path) -> None:
    """Rehearsal and result say how many payloads stay with what in them, and what takes them."""
    for more in (("--dry-run",), WHY):
        lines = cli("erase", "--user", "u-91", *more, "--log", left).stdout.splitlines()
        assert (
            "left, for it stands in the clear: acme.note (1: name), tool_executed (1: tool), "
            "tool_proposed (2: arguments, tool); --payloads takes these payloads" in lines
        )
        assert (
            "left, for it stands in the clear in what a bundle always shows: approval_resolved (1: reason); "
            "tracebus erase --event ID --payloads takes one" in lines
        )
        assert "without the userId they are found by --workflow, and by --user no more" in lines


def test_nothing_but_what_stands_in_the_clear(cli: Cli, left: Path) -> None:
    """Where no sensitive member is held any more, it is said, too."""
    cli("erase", "--workflow", "w1", *WHY, "--log", left)
    result = cli("erase", "--workflow", "w1", *WHY, "--log", left)
    assert result.stdout.startswith("nothing to erase: no sensitive member is held any more")
    assert "tool_proposed (2: arguments, tool)" in result.stdout


def test_with_payloads(cli: Cli, left: Path) -> None:
    """With --payloads nothing is left but what a bundle always shows."""
    facts = json.loads(
        cli("erase", "--user", "u-91", "--payloads", "--dry-run", "--json", "--log", left).stdout
    )
    assert {"approval_resolved": {"payloads": 1, "members": ["reason"]}} == facts["inTheClear"]


def test_patterns(cli: Cli, left: Path) -> None:
    """With patterns only what they mean is left: what stands in the clear, or holds it."""
    only = ("--only", "*:name", "--only", "*:amount", "--only", "*:email")
    result = cli("erase", "--user", "u-91", *only, "--dry-run", "--log", left)
    assert (
        "left, for it stands in the clear: acme.note (1: name), tool_proposed (2: arguments); "
        "--only TYPE --payloads takes these payloads" in result.stdout.splitlines()
    )
    assert "userId" not in result.stdout


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (
            "*:emial",
            "no sensitive member here fits *:emial; held are: address, result, result/customer/email",
        ),
        ("acme.nothing", "no sensitive member here fits acme.nothing; held are: address"),
        ("acme.note:result", "no sensitive member here fits acme.note:result"),
        ("email", "there is no event type email; a member of events of any type is written *:member"),
        ("tool_exectued:result", "there is no event type tool_exectued; did you mean tool_executed?"),
    ],
)
def test_a_pattern_that_means_nothing(cli: Cli, left: Path, only: str, message: str) -> None:
    """A slip in a pattern is refused, and not taken for a request that is met."""
    before = left.read_bytes()
    for more in (("--dry-run",), WHY):
        result = cli("erase", "--user", "u-91", "--only", only, *more, "--log", left)
        assert (2, True) == (result.exit_code, message in result.stderr), result.output
    assert before == left.read_bytes()


def test_one_of_several_patterns_means_nothing(cli: Cli, left: Path) -> None:
    """What the others mean goes, and the one that fits nothing is named."""
    only = ("--only", "*:email", "--only", "*:emial")
    facts = json.loads(cli("erase", "--workflow", "w1", *only, "--dry-run", "--json", "--log", left).stdout)
    result = cli("erase", "--workflow", "w1", *only, *WHY, "--log", left)
    assert ({"tool_executed": {"events": 1, "members": 1, "payloads": 0}}, ["*:emial"]) == (
        facts["types"],
        facts["unmatched"],
    )
    assert (0, True) == (result.exit_code, "no sensitive member here fits *:emial; held" in result.stdout)


def test_a_pattern_of_what_was_erased(cli: Cli, left: Path) -> None:
    """A second time what a pattern meant is gone; its name is, too, so that is no slip."""
    arguments = ("erase", "--workflow", "w1", "--only", "tool_executed:**/email", *WHY, "--log", left)
    cli(*arguments)
    result = cli(*arguments)
    assert (0, True) == (
        result.exit_code,
        "no sensitive member that is held fits tool_executed:**/email" in result.stdout,
    )


def test_a_member_counts_once(cli: Cli, left: Path) -> None:
    """A member within another is counted with it: as many are said to go as fsck then finds gone."""
    result = cli("erase", "--workflow", "w1", *WHY, "--log", left)
    with closing(SqliteEventLog(left, read_only=True)) as log:
        report = fsck(log)
        named = [event.opened()["targets"] for event in log.query(EventQuery(types=("data_erased",)))]
    assert "3 sensitive members of 3 events" in result.stdout
    assert (3, 4) == (
        report.erased_disclosures,
        sum(len(target["digests"]) for targets in named for target in targets),
    )


def test_runs_for_others_are_named(cli: Cli, left: Path) -> None:
    """Other runs of the workflow are named whatever they hold; runs of upkeep are not."""
    cli("hold", "set", "h1", "--workflow", "w1", "--reason", "r", "--log", left)
    cli("hold", "lift", "h1", "--reason", "r", "--log", left)
    for more in (("--dry-run", "--json"), (*WHY, "--json")):
        facts = json.loads(cli("erase", "--user", "u-91", *more, "--log", left).stdout)
        assert ["of-nobody"] == facts["otherRuns"]


def test_retention(cli: Cli, left: Path) -> None:
    """A rehearsal of retention says it of payloads that stay longer; of held workflows it does not."""
    arguments = ("retention", "apply", "--dry-run", "--now", "2099-01-01", "--log", left)
    result = cli(*arguments)
    assert (
        "left, for it stands in the clear: acme.note (1: name), tool_executed (1: tool), "
        "tool_proposed (2: arguments, tool); a period for payloads, in a policy, takes these payloads"
        in result.stdout.splitlines()
    )
    cli("hold", "set", "h1", "--workflow", "w1", "--reason", "r", "--log", left)
    held = cli(*arguments)
    assert "in the clear" not in held.stdout
    assert "nothing to erase by policy default" in held.stdout
    assert "3 sensitive members of 3 events due and not erased: hold h1 stands" in held.stdout


def test_a_pattern_of_a_lifted_hold(cli: Cli, left: Path) -> None:
    """A pattern that fits only the person's id in the record of a lifted hold is no slip."""
    cli("hold", "set", "h1", "--user", "u-404", "--reason", "r", "--log", left)
    cli("hold", "lift", "h1", "--reason", "r", "--log", left)
    result = cli("erase", "--user", "u-404", "--only", "*:userId", *WHY, "--log", left)
    assert (0, True) == (result.exit_code, "1 sensitive member of 1 event" in result.stdout)
    assert b"u-404" not in left.read_bytes()


def test_what_somebody_else_wrote(cli: Cli, left: Path) -> None:
    """Names of members that stand in the clear reach no terminal as they are."""
    with closing(SqliteEventLog(left)) as log:
        anyio.run(_publish, log, {"\x1b[2Jname": "Marta"})
    result = cli("erase", "--user", "u-91", "--dry-run", "--log", left)
    assert (0, False, True) == (result.exit_code, "\x1b" in result.stdout, "[2Jname" in result.stdout)


async def _publish(log: SqliteEventLog, payload: dict[str, str]) -> None:
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w1", user_id="u-91"):
        await bus.publish(payload, type="acme.note")
