"""The demo: what it shows is really done, and its exit code means it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tracebus.fsck import FsckReport

Cli = Callable[..., Result]

NOTICED = [
    ("fsck", "changed", "event 5 of run payment-1881/1"),
    ("fsck", "missing", "event 5 of run payment-1881/1"),
    ("verify --head", "Unexpected", "workflow head"),
    ("verify", "DigestMismatch", "event 3 of run payment-1883/1"),
    ("verify", "DisclosureRefused", "event 6 of run payment-1881/1"),
    ("verify", "SignatureRefused", "signature"),
    ("verify", "SignatureRefused", "signature"),
    ("verify --workflow", "Unexpected", "workflow"),
]


@pytest.fixture
def told(cli: Cli) -> dict[str, Any]:
    """What the demo tells programs, its files in ./demo."""
    result = cli("demo", "--keep", "demo", "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_each_attempt_is_noticed_by_the_tool_that_should(told: dict[str, Any]) -> None:
    """Every attempt is noticed for the reason that it stands for, at the place that was changed."""
    found = [(a["noticedBy"], a["kind"], a["finding"].partition(":")[0]) for a in told["attempts"]]
    assert NOTICED == found


def test_the_money_moved(told: dict[str, Any], tmp_path: Path) -> None:
    """The ledger paid what was allowed, and each of its lines names the event that allowed it."""
    with closing(sqlite3.connect(tmp_path / "demo" / "ledger.db")) as ledger:
        paid = ledger.execute("SELECT reference, cents, allowed_by FROM transfers").fetchall()
    with closing(sqlite3.connect(tmp_path / "demo" / "trace.db")) as log:
        types = dict(log.execute("SELECT id, type FROM events").fetchall())
    assert [("invoice 1881", 4_800_000), ("invoice 1882", 32_000)] == [line[:2] for line in paid]
    assert ["approval_resolved", "policy_decision"] == [types[line[2]] for line in paid]
    assert (True, 5_168_000) == (told["ledger"]["fitsTheLog"], told["ledger"]["balance"])


def test_what_cannot_be_recorded_is_not_paid(told: dict[str, Any]) -> None:
    """The payment that could not be recorded left neither a trace in the ledger nor in the log."""
    assert told["unrecorded"].startswith("EventLogRefused: ")
    assert 2 == len(told["ledger"]["transfers"])


def test_the_report_counts_what_is_not_shown(told: dict[str, Any]) -> None:
    """What the signer withheld and what a holder removed are counted, each as what it is."""
    assert "verified" == told["report"]["verdict"]
    assert (5, 0) == (told["withheld"]["withheldDisclosures"], told["withheld"]["removedDisclosures"])
    assert (0, 2) == (told["passedOn"]["withheldDisclosures"], told["passedOn"]["removedDisclosures"])


def test_what_is_erased_is_gone(told: dict[str, Any], tmp_path: Path) -> None:
    """The name stands in the log's bytes before, and nowhere after; both bundles say what they show."""
    forgotten = told["forgotten"]
    assert (True, 0, True) == (forgotten["before"] > 0, forgotten["after"], forgotten["isSound"])
    assert (0, 4) == tuple(forgotten[name]["erasedDisclosures"] for name in ("earlier", "later"))
    with closing(sqlite3.connect(tmp_path / "demo" / "forgotten.db")) as log:
        types = [row[0] for row in log.execute("SELECT type FROM events ORDER BY position DESC LIMIT 3")]
    assert ["run_completed", "data_erased", "run_started"] == types


def test_what_the_approver_saw_is_in_the_bundle(told: dict[str, Any]) -> None:
    """The digest in the approval leads to what was shown."""
    assert told["approverSaw"]["question"] == "Pay 48,000.00 EUR to Nordwind Logistics for invoice 1881?"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "payment-1881", "--log", "demo/trace.db"), 0),
        (("fsck", "--log", "demo/trace.db"), 0),
        (("verify", "demo/payment-1881.json", "--key", "demo/treasury.pub"), 0),
        (("fsck", "--log", "demo/attempts/approver-changed.db"), 1),
        (("fsck", "--log", "demo/attempts/log-rewritten.db"), 0),
        (("verify", "demo/attempts/tail-cut.json", "--key", "demo/treasury.pub"), 1),
        (("show", "payment-1882", "--log", "demo/forgotten.db"), 0),
    ],
)
@pytest.mark.usefixtures("told")
def test_the_files_can_be_looked_into(cli: Cli, arguments: tuple[str, ...], code: int) -> None:
    """The files that are left say to the command line what they said to the demo."""
    assert code == cli(*arguments).exit_code


def test_it_reads_well(cli: Cli) -> None:
    """The text fits a page's width, has no digest at full length, and no colour off a terminal."""
    result = cli("demo", "--keep", "demo")
    lines = result.stdout.splitlines()
    assert (0, "", []) == (result.exit_code, result.stderr, [line for line in lines[:-6] if len(line) > 105])
    assert "approved by kim.jansen, head of treasury" in result.stdout
    assert "8 of 8 attempts were noticed" in result.stdout
    assert "\x1b" not in result.stdout


def test_an_attempt_that_is_not_noticed_fails_the_demo(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fsck finds nothing any more, the demo says so, and exits with 1."""
    monkeypatch.setattr("tracebus.demo.attempts.fsck", lambda log: FsckReport(0, 0, 0, 0, 0, 0, None))
    result = cli("demo", "--discard")
    assert (1, 2) == (result.exit_code, result.stdout.count("NOT NOTICED"))
    assert "6 of 8 attempts were noticed" in result.stdout


def test_the_temporary_folder_is_named_and_kept(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without --keep the files are in a new folder under the temporary one, which the demo names."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = cli("demo")
    (folder,) = tmp_path.glob("tracebus-demo-*")
    assert f"cd {folder}" in result.stdout
    assert (folder / "payment-1881.json").is_file()


def test_discard_leaves_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With --discard the folder is gone in the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert 0 == cli("demo", "--discard").exit_code
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    """--keep makes a folder; one that exists already is refused as wrong usage."""
    (tmp_path / "demo").mkdir()
    assert 2 == cli("demo", "--keep", "demo").exit_code
    assert [] == list((tmp_path / "demo").iterdir())
