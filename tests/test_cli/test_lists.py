"""`tracebus workflows` and `tracebus runs`."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Cli = Callable[..., Result]


def test_workflows_sums_up_each(cli: Cli, log: Path) -> None:
    """A workflow's line counts its runs, the open ones and its events; tenants are kept apart."""
    found = json.loads(cli("workflows", "--log", log, "--json").stdout)
    counted = [(each["workflowId"], each["tenantId"], each["runs"], each["openRuns"]) for each in found]
    assert [
        ("transfer-42", None, 1, 0),
        ("refund-7", "acme", 1, 1),
        ("refund-8", "acme", 1, 1),
        ("shared-1", "acme", 1, 0),
        ("shared-1", "böll", 1, 0),
    ] == counted


def test_workflows_is_a_table(cli: Cli, log: Path) -> None:
    """People get a heading and a line for each workflow."""
    lines = cli("workflows", "--log", log).stdout.splitlines()
    assert (6, ["workflow", "tenant", "runs"]) == (len(lines), lines[0].split()[:3])


def test_workflows_of_one_tenant(cli: Cli, log: Path) -> None:
    """--tenant leaves out what is not the tenant's."""
    found = json.loads(cli("workflows", "--log", log, "--tenant", "böll", "--json").stdout)
    assert ["shared-1"] == [each["workflowId"] for each in found]


def test_nothing_found_is_said(cli: Cli, log: Path) -> None:
    """No workflows: a line for people, an empty array for programs."""
    shown = [cli("workflows", "--log", log, "--tenant", "x", *more).stdout for more in ((), ("--json",))]
    assert ["no workflows\n", "[]\n"] == shown


def test_open_lists_open_and_suspended_runs(cli: Cli, log: Path) -> None:
    """--open lists the runs that have not ended, and no other."""
    found = json.loads(cli("runs", "--open", "--log", log, "--json").stdout)
    assert [("refund-7/1", "suspended"), ("refund-8/1", "open")] == [
        (each["runId"], each["status"]) for each in found
    ]


def test_runs_of_one_workflow(cli: Cli, log: Path) -> None:
    """--workflow leaves out the runs of others."""
    found = json.loads(cli("runs", "--workflow", "transfer-42", "--log", log, "--json").stdout)
    assert [("closed", "run_completed", 8)] == [
        (each["status"], each["lastType"], each["events"]) for each in found
    ]


def test_runs_is_a_table(cli: Cli, log: Path) -> None:
    """People see id, workflow, status and last event."""
    lines = cli("runs", "--open", "--log", log).stdout.splitlines()
    assert ["refund-7/1", "refund-7", "acme", "suspended"] == lines[1].split()[:4]


def test_abandon_closes_what_was_left_open(cli: Cli, log: Path) -> None:
    """Open and suspended runs are closed as abandoned; one that has ended, or is not there, is refused."""
    closed = cli("abandon", "refund-7/1", "refund-8/1", "--reason", "died", "--log", log)
    again = cli("abandon", "refund-7/1", "--log", log)
    missing = cli("abandon", "nobody", "--log", log)
    assert [0, 2, 2] == [result.exit_code for result in (closed, again, missing)]
    assert "no open runs\n" == cli("runs", "--open", "--log", log).stdout


def test_abandon_makes_no_log(cli: Cli, tmp_path: Path) -> None:
    """Where there is no log, none is made."""
    assert 2 == cli("abandon", "r", "--log", tmp_path / "none.db").exit_code
    assert [] == list(tmp_path.iterdir())
