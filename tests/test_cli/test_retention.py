"""`tracebus retention`: show a policy, rehearse it, apply it."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.test_cli.conftest import Cli
from tests.test_tracebus.keeping import Keeping
from tracebus import EventQuery, SqliteEventLog
from tracebus.retention_policy import DEFAULT_POLICY, DEFAULT_TEXT
from tracebus.testing import FixedClock

LATER = "2099-01-01T00:00:00Z"


def held(path: Path) -> int:
    """Return how many disclosures a log holds."""
    log = SqliteEventLog(path, read_only=True)
    return sum(len(event.disclosures) for event in log.query(EventQuery()))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A log with a run that ended long ago, for a person, one of another workflow, and one that is open."""
    path = tmp_path / "old.db"
    clock = FixedClock()
    keeping = Keeping(SqliteEventLog(path, clock=clock), clock)
    keeping.run("2020-01-15T12:00:00+00:00", "r1", user_id="u-91")
    keeping.run("2020-01-15T12:00:00+00:00", "r2", workflow_id="w2")
    keeping.run("2020-01-15T12:00:00+00:00", "r3", ends=False)
    keeping.log.close()
    return path


def test_show(cli: Cli, tmp_path: Path) -> None:
    """The default policy is printed as TOML that can be saved, edited and given back."""
    shown = cli("retention", "show").stdout
    path = tmp_path / "retention.toml"
    path.write_text(shown)
    assert DEFAULT_TEXT == shown
    assert "default" == tomllib.loads(shown)["name"]
    assert shown == cli("retention", "show", "--policy", path).stdout


def test_show_json(cli: Cli) -> None:
    """With --json it is a policy's rules as they are understood."""
    shown = json.loads(cli("retention", "show", "--json").stdout)
    rule = {"types": ["*"], "tenantId": None, "members": "P13M", "payloads": "forever", "legalBasis": None}
    assert {"name": "default", "digest": DEFAULT_POLICY.digest, "rules": [rule]} == shown


def test_show_warns(cli: Cli, tmp_path: Path) -> None:
    """A rule that decides about nothing is noted, on standard error."""
    path = tmp_path / "retention.toml"
    path.write_text(DEFAULT_TEXT + '[[rule]]\ntypes = ["tool_*"]\nmembers = "P1M"\n')
    result = cli("retention", "show", "--policy", path)
    assert (0, True) == (result.exit_code, "rule 2: decides about nothing" in result.stderr)


@pytest.mark.parametrize("verb", ["show", "apply"])
def test_refused_policy(cli: Cli, log: Path, tmp_path: Path, verb: str) -> None:
    """A policy that cannot be read is refused with file, rule and member, and nothing is erased."""
    path = tmp_path / "retention.toml"
    path.write_text(DEFAULT_TEXT.replace("P13M", "13 months"))
    result = cli("retention", verb, "--policy", path, *(("--yes", "--log", log) if verb == "apply" else ()))
    assert (2, True) == (result.exit_code, f"{path}: rule 1 members: expected" in result.output)


def test_dry_run(cli: Cli, log: Path) -> None:
    """A rehearsal tells what would go at a time, by rule, and what is passed over; nothing goes."""
    before = held(log)
    result = cli("retention", "apply", "--dry-run", "--now", LATER, "--log", log)
    told = json.loads(cli("retention", "apply", "--dry-run", "--now", LATER, "--json", "--log", log).stdout)
    assert f"{told['erased']['members']} sensitive members of" in result.output
    assert "2 runs passed over" in result.output
    assert (before, before, 2, False) == (
        held(log),
        told["erased"]["members"],
        told["openRuns"],
        told["scrubbed"],
    )


def test_nothing_is_due(cli: Cli, log: Path) -> None:
    """In a log that is young enough nothing is due, and nobody is asked."""
    result = cli("retention", "apply", "--dry-run", "--log", log)
    assert (0, True) == (result.exit_code, "nothing is due by policy default" in result.output)


def test_apply(cli: Cli, old: Path) -> None:
    """What is due goes, and it is told by which rule, how it is recorded, and what is not reached."""
    result = cli("retention", "apply", "--yes", "--actor", "nightly job", "--log", old)
    assert 0 == result.exit_code, result.output
    assert "3 sensitive members of 3 events erased by policy default" in result.output
    assert "recorded in 2 events retention_applied" in result.output
    assert "gone from the log's files" in result.output
    assert (1, 0) == (held(old), cli("fsck", "--log", old).exit_code)


def test_apply_json(cli: Cli, old: Path) -> None:
    """With --json it is the report, whose numbers a monitor can read; a second time there is nothing."""
    first, second = (
        json.loads(cli("retention", "apply", "--yes", "--json", "--log", old).stdout) for _ in range(2)
    )
    assert ({"events": 3, "members": 3, "payloads": 0}, 2, 1, True) == (
        first["erased"],
        first["recordCount"],
        first["openRuns"],
        first["scrubbed"],
    )
    assert ({"events": 0, "members": 0, "payloads": 0}, 0, False) == (
        second["erased"],
        second["recordCount"],
        second["isRehearsal"],
    )


def test_the_log_verifies(cli: Cli, old: Path) -> None:
    """The log that a checkpoint was signed of before is that log still, and with a later one, too."""
    cli("keygen", "log")
    codes = []
    for _ in range(2):
        signed = cli("log", "checkpoint", old, "--key", "log.key")
        Path("kept.note").write_text(signed.stdout)
        cli("retention", "apply", "--yes", "--log", old)
        verified = cli("verify-log", old, "--log-key", "log.pub", "--checkpoint", "kept.note")
        codes.append((signed.exit_code, verified.exit_code))
    assert ([(0, 0), (0, 0)], 1) == (codes, held(old))


def test_hold(cli: Cli, old: Path) -> None:
    """What a hold covers stays, and the hold is named."""
    cli("hold", "set", "claim-17", "--workflow", "w1", "--reason", "counsel", "--log", old)
    result = cli("retention", "apply", "--yes", "--log", old)
    assert "2 sensitive members of 2 events due and not erased: hold claim-17 stands" in result.output
    assert (0, 3) == (result.exit_code, held(old))


def test_nobody_can_be_asked(cli: Cli, old: Path) -> None:
    """Without a terminal nothing goes unless --yes says so."""
    result = cli("retention", "apply", "--log", old)
    assert (2, 4) == (result.exit_code, held(old))


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("n\n", 4), ("\n", 4)])
def test_asks(cli: Cli, old: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    """On a terminal it shows what would go, and asks."""
    monkeypatch.setattr("tracebus.cli.retention.check_can_ask", lambda *, as_json: None)
    result = cli("retention", "apply", "--log", old, input=answer)
    assert "3 sensitive members of 3 events would be erased" in result.output
    assert (0, left) == (result.exit_code, held(old))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--yes", "--now", LATER),
        ("--dry-run", "--now", "tomorrow"),
        ("--dry-run", "--policy", "absent.toml"),
        ("--dry-run", "--log", "absent.db"),
        ("--yes", "--log", "absent.db"),
    ],
)
def test_wrong_usage(cli: Cli, old: Path, arguments: tuple[str, ...]) -> None:
    """What does not go together, or is not there, is refused, and no log is made."""
    result = cli("retention", "apply", "--log", old, *arguments)
    assert (2, 4, False) == (result.exit_code, held(old), Path("absent.db").exists())


def test_a_day(cli: Cli, log: Path) -> None:
    """A day is its midnight, UTC."""
    day, time = (
        json.loads(cli("retention", "apply", "--dry-run", "--now", now, "--json", "--log", log).stdout)
        for now in ("2099-01-01", LATER)
    )
    assert ("2099-01-01T00:00:00.000000000Z", time) == (day["at"], day)


def test_a_disclosure_policy(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A disclosure policy that is given in place of a retention policy is called by its name."""
    path = tmp_path / "show.toml"
    path.write_text('version = 1\nname = "p"\nshow = ["*"]\nreason = "r"\n')
    result = cli("retention", "apply", "--policy", path, "--yes", "--log", log)
    assert (2, True) == (
        result.exit_code,
        "this is a disclosure policy (it has `show`); expected a retention policy" in result.output,
    )
