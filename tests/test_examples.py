"""Every example runs, offline, and says what it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAYS = {
    "record_and_verify": "verified: workflow transfer-42, 1 run, 5 events",
    "own_event_type": "withheld:  1 member",
    "own_sink": "told: ['no-deletions: blocked']",
    "share_less": "1 payload and 2 members removed after signing",
    "whole_as_of_a_checkpoint": "refused: proofs: completeness is required",
    "when_things_fail": "run: ['run_started', 'tool_proposed', 'recording_gap', 'tool_proposed']",
    "approval_across_processes": "\n".join(
        [
            "0 run_started",
            "1 tool_proposed",
            "2 approval_requested",
            "3 interrupted",
            "4 resumed",
            "5 approval_resolved",
            "6 tool_executed",
            "7 run_completed",
        ]
    ),
}


def run(script: Path, *arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run an example as a user does, with warnings as errors and its temporary files in the folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)},
        timeout=60,
    )


def test_every_example_is_tested(root: Path) -> None:
    """Each script in examples/ is run by a test in this file."""
    assert {*SAYS, "verify_standalone"} == {path.stem for path in (root / "examples").glob("*.py")}


@pytest.mark.parametrize("name", SAYS)
def test_example(root: Path, tmp_path: Path, name: str) -> None:
    """The example ends well, and prints what it is for."""
    done = run(root / "examples" / f"{name}.py", folder=tmp_path)
    assert (0, True) == (done.returncode, SAYS[name] in done.stdout), done.stderr


def test_the_standalone_verifier_verifies_what_an_example_made(root: Path, tmp_path: Path) -> None:
    """A bundle made by one example is verified by another, which imports nothing of ours."""
    run(root / "examples" / "record_and_verify.py", tmp_path, folder=tmp_path)
    verifier, files = root / "examples" / "verify_standalone.py", ("transfer-42.json", "treasury.pub")
    good = run(verifier, *files, "--workflow", "transfer-42", folder=tmp_path)
    other = run(verifier, *files, "--workflow", "transfer-43", folder=tmp_path)
    assert (0, 1) == (good.returncode, other.returncode), good.stdout + good.stderr
    assert good.stdout.startswith("verified: ")
