"""`tracebus redact`: a bundle passed on without some of what it shows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from evidence import EvidenceBundle, VerifyingKey, verify_evidence_bundle

Cli = Callable[..., Result]


def report(path: Path, key: Path) -> Any:
    """Verify a bundle, and return the report."""
    public_key = VerifyingKey.load(key.with_suffix(".pub").read_bytes())
    return verify_evidence_bundle(path.read_bytes(), public_key, expected_workflow="transfer-42")


def test_what_the_receiver_sees(cli: Cli, bundle: Path, key: Path, tmp_path: Path) -> None:
    """What was removed is gone from the file, and the receiver's verifier says how much it was."""
    result = cli("redact", bundle, "-o", "less.json", "--member", "*:userId", "--payload", "tool_executed")
    assert 0 == result.exit_code, result.output
    assert "removed     1 payload, 1 sensitive member, and what stood in them\n" in result.stdout
    assert "u-91" not in (tmp_path / "less.json").read_text()
    headline = report(tmp_path / "less.json", key).headline
    assert "1 payload and 1 member removed after signing" in headline


def test_the_given_bundle_stays(cli: Cli, bundle: Path) -> None:
    """The bundle that was given is as it was."""
    before = bundle.read_bytes()
    assert 0 == cli("redact", bundle, "-o", "less.json", "--member", "*:*").exit_code
    assert before == bundle.read_bytes()


def test_in_place(cli: Cli, bundle: Path, key: Path) -> None:
    """The bundle itself is replaced where -o names it."""
    assert 0 == cli("redact", bundle, "-o", bundle, "--member", "*:*").exit_code
    assert 0 == report(bundle, key).shown.disclosures


def test_with_the_key(cli: Cli, bundle: Path, key: Path) -> None:
    """With the key the signature is verified, and the outcome says which of the two it was."""
    arguments = ("redact", bundle, "-o", "less.json", "--member", "*:*", "--json")
    found = [json.loads(cli(*arguments, *more).stdout) for more in ((), ("--key", key.with_suffix(".pub")))]
    assert ["unchecked", "verified"] == [outcome["signature"] for outcome in found]


@pytest.mark.parametrize("given", ["another", "private", "none"])
def test_keys_that_do_not_do(cli: Cli, bundle: Path, key: Path, given: str, tmp_path: Path) -> None:
    """Another key's signature fails, a private key and what is no key are refused; nothing is written."""
    cli("keygen", "other")
    (tmp_path / "none.pub").write_text("x")
    path = {"another": tmp_path / "other.pub", "private": key, "none": tmp_path / "none.pub"}[given]
    result = cli("redact", bundle, "-o", "less.json", "--member", "*:*", "--key", path)
    assert {"another": 1, "private": 2, "none": 2}[given] == result.exit_code, result.output
    assert not (tmp_path / "less.json").exists()


def test_outcome_as_json(cli: Cli, bundle: Path) -> None:
    """For programs the outcome is JSON."""
    arguments = ("--member", "*:userId", "--payload", "tool_*", "--member", "*:iban", "--json")
    result = cli("redact", bundle, "-o", "less.json", *arguments)
    found = json.loads(result.stdout)
    assert {"payloads": 2, "members": 1, "proofs": []} == found["removed"]
    assert (["*:iban"], "less.json") == (found["unmatched"], found["file"])
    assert EvidenceBundle.from_json(bundle.read_bytes()).bundle_id == found["bundleId"]
    assert "*:iban means nothing that the bundle shows, and removed nothing" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--member", "tool_*:reslt"), "nothing would be removed by tool_*:reslt"),
        (("--member", "*:userId", "--member", "tool_executed:reslt"), "tool_executed:reslt means nothing"),
        (("--member", "*:userId", "--proof", "completeness"), "completeness means nothing"),
        (("--member", "*:userId", "--member", "tool_exectued:result"), "did you mean tool_executed?"),
    ],
)
def test_what_removes_nothing_is_refused(
    cli: Cli, bundle: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """A slip of the pen is not passed on as redacted: no file is written."""
    result = cli("redact", bundle, "-o", "less.json", *arguments)
    assert (2, False) == (result.exit_code, (tmp_path / "less.json").exists())
    assert says in " ".join(result.stderr.split())


def test_what_was_removed_before_is_refused(cli: Cli, bundle: Path) -> None:
    """A payload that is not there any more is not removed once more."""
    assert 0 == cli("redact", bundle, "-o", "less.json", "--payload", "tool_executed").exit_code
    result = cli("redact", "less.json", "-o", "least.json", "--payload", "tool_executed")
    assert (2, True) == (result.exit_code, "tool_executed means nothing" in result.stderr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--payload", "approval_resolved"), "event 4 of run"),
        (("--payload", "tool_exected"), "no event of this type"),
        (("--payload", "01M7XXFHX80000000000000077"), "not in the bundle"),
        (("--member", "tool_executed"), "expected type:member"),
        (("--member", "userId"), "try '*:userId'"),
        (("--member", "a:~"), "expected ~0 or ~1"),
        ((), "see --list"),
    ],
)
def test_refusals(cli: Cli, bundle: Path, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """What may not be removed, what is not there, and what means nothing is wrong usage; no file is made."""
    result = cli("redact", bundle, "-o", "less.json", *arguments)
    assert 2 == result.exit_code
    assert says in result.stderr
    assert not (tmp_path / "less.json").exists()


def test_a_changed_bundle_is_not_passed_on(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    """A bundle that does not verify is refused without any key, and the target stays as it is."""
    good = bundle.read_bytes()
    (tmp_path / "less.json").write_bytes(good)
    bundle.write_bytes(good.replace(b'"verdict":"approved"', b'"verdict":"rejected"'))
    result = cli("redact", bundle, "-o", "less.json", "--member", "*:*")
    assert (1, good) == (result.exit_code, (tmp_path / "less.json").read_bytes())


@pytest.mark.parametrize("name", ["treasury.key", "trace.db"])
def test_what_is_no_bundle_is_not_replaced(cli: Cli, bundle: Path, tmp_path: Path, name: str) -> None:
    """A key or a log that -o names by a slip stays."""
    before = (tmp_path / name).read_bytes()
    assert 2 == cli("redact", bundle, "-o", tmp_path / name, "--member", "*:*").exit_code
    assert before == (tmp_path / name).read_bytes()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="a folder's permissions bind its user")
def test_a_folder_that_cannot_be_written(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    """A file that cannot be written is not there."""
    (tmp_path / "out").mkdir(mode=0o500)
    assert 0 != cli("redact", bundle, "-o", "out/less.json", "--member", "*:*").exit_code
    assert [] == list((tmp_path / "out").iterdir())


def test_a_folder_that_is_not_there(cli: Cli, bundle: Path) -> None:
    """A folder is not made."""
    result = cli("redact", bundle, "-o", "none/less.json", "--member", "*:*")
    assert (2, True) == (result.exit_code, "there is no folder" in result.stderr)


def test_a_file_that_is_not_there(cli: Cli) -> None:
    """A bundle that cannot be read is wrong usage."""
    result = cli("redact", "none.json", "-o", "less.json", "--member", "*:*")
    assert (2, True) == (result.exit_code, "none.json" in result.stderr)


def test_a_file_that_is_no_bundle(cli: Cli, tmp_path: Path) -> None:
    """A file of another kind is named with what is wrong in it."""
    (tmp_path / "agent.py").write_text("import os\n")
    result = cli("redact", "agent.py", "-o", "less.json", "--member", "*:*")
    assert (2, True) == (result.exit_code, "agent.py: byte 0: expected a JSON value" in result.stderr)


def test_pipes(cli: Cli, bundle: Path, key: Path, tmp_path: Path) -> None:
    """From standard input to standard output, the bundle alone is written there."""
    result = cli("redact", "-", "-o", "-", "--member", "*:*", input=bundle.read_bytes())
    assert 0 == result.exit_code, result.output
    (tmp_path / "piped.json").write_bytes(result.stdout_bytes)
    assert 0 == report(tmp_path / "piped.json", key).shown.disclosures
    assert "3 sensitive members" in result.stderr


# --list


def test_list(cli: Cli, bundle: Path) -> None:
    """The list has each event with its members and whether its payload may go, and never a value."""
    result = cli("redact", bundle, "--list")
    assert 0 == result.exit_code, result.output
    lines = [line.split()[1:] for line in result.stdout.splitlines()]
    assert ["tool_proposed", "redactable", "arguments"] in lines
    assert ["approval_resolved", "kept", "-"] in lines
    assert not [value for value in ("u-91", "5000", "sent") if value in result.stdout.replace("0500", "")]


def test_list_as_json(cli: Cli, bundle: Path) -> None:
    """For programs the list is JSON; what it lists can be removed by what it says."""
    listed = json.loads(cli("redact", bundle, "--list", "--json").stdout)["events"]
    executed = next(event for event in listed if event["type"] == "tool_executed")
    assert {"id", "runId", "seq", "type", "payload", "members"} == executed.keys()
    assert ["result"] == executed["members"]
    result = cli("redact", bundle, "-o", "less.json", "--payload", executed["id"], "--json")
    assert 1 == json.loads(result.stdout)["removed"]["payloads"]


@pytest.mark.parametrize("arguments", [("-o", "less.json"), ("--member", "*:*"), ("--key", "x.pub")])
def test_list_and_something_else(cli: Cli, bundle: Path, arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A list removes nothing, and says so to whoever asks for both."""
    assert 2 == cli("redact", bundle, "--list", *arguments).exit_code
    assert not (tmp_path / "less.json").exists()


def test_output_is_needed(cli: Cli, bundle: Path) -> None:
    """Without -o nothing is written, and the message names both ways on."""
    result = cli("redact", bundle, "--member", "*:*")
    assert (2, True) == (result.exit_code, "-o FILE, or --list" in result.stderr)
