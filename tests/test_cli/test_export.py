"""`tracebus export`: what is written, what is left out, what is said."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from evidence import EvidenceBundle, SharedSecret, VerifyingKey, verify_evidence_bundle
from tracebus.cli import export

Cli = Callable[..., Result]


def test_the_bundle_verifies(bundle: Path, key: Path) -> None:
    """What export writes, the public key verifies."""
    report = verify_evidence_bundle(bundle.read_bytes(), key.with_suffix(".pub").read_text())
    assert "verified" == report.verdict


def test_says_head_and_key(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """The workflow head and the key id are printed, as text and as JSON, and are those of the bundle."""
    path = tmp_path / "b.json"
    text = cli("export", "transfer-42", "-o", path, "--key", key, "--log", log).stdout
    facts = json.loads(cli("export", "transfer-42", "-o", path, "--key", key, "--log", log, "--json").stdout)
    public = VerifyingKey.load(key.with_suffix(".pub").read_text())
    assert (EvidenceBundle.from_json(path.read_bytes()).workflow_head(), public.key_id) == (
        facts["workflowHead"],
        facts["keyId"],
    )
    assert facts["workflowHead"] in text
    assert facts["keyId"] in text


def test_withholds_and_says_what(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """Sensitive members and payloads that a pattern names are left out and counted, with the reason."""
    path = tmp_path / "b.json"
    withheld = ("--withhold", "tool_*:*", "--withhold", "turn_started", "--reason", "names of customers")
    facts = json.loads(
        cli("export", "transfer-42", "-o", path, "--key", key, "--log", log, "--json", *withheld).stdout
    )
    assert {"payloads": {"turn_started": 1}, "members": {"tool_executed": 1, "tool_proposed": 1}} == facts[
        "withheld"
    ]
    assert "names of customers" in path.read_text()


def test_warns_of_a_pattern_that_matches_nothing(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """A pattern with a wildcard that matches nothing is told on stderr: it may be a slip."""
    result = cli(
        *("export", "transfer-42", "-o", tmp_path / "b", "--key", key, "--log", log),
        *("--withhold", "tool_executd*:*", "--withhold", "*:userId", "--reason", "privacy"),
    )
    assert (0, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "tool_executd*:* matches nothing" in result.stderr


@pytest.mark.parametrize(
    "slip", ["tool_executd:*", "tool_executed:argumens", "run_started:user_id", "", "x:"]
)
def test_a_slip_in_a_pattern_is_refused(cli: Cli, log: Path, key: Path, tmp_path: Path, slip: str) -> None:
    """A type or a member that there is not is refused, for it would let out what should stay."""
    result = cli(
        *("export", "transfer-42", "-o", tmp_path / "b", "--key", key, "--log", log),
        *("--withhold", slip, "--reason", "privacy"),
    )
    assert (2, False) == (result.exit_code, (tmp_path / "b").exists())


def test_only_a_bundle_is_replaced(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """A bundle is replaced by a newer one; the log, a key, or any other file is not."""
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    out = tmp_path / "b.json"
    before = [path.read_bytes() for path in (log, key, other)]
    arguments = ("export", "transfer-42", "--key", key, "--log", log, "-o")
    codes = [cli(*arguments, path).exit_code for path in (out, out, log, key, other)]
    assert [0, 0, 2, 2, 2] == codes
    assert before == [path.read_bytes() for path in (log, key, other)]


def test_dash_is_standard_output(cli: Cli, log: Path, key: Path) -> None:
    """With -o - the bundle, and nothing else, goes to standard output; what is said to stderr."""
    result = cli("export", "transfer-42", "-o", "-", "--key", key, "--log", log)
    report = verify_evidence_bundle(result.stdout_bytes, key.with_suffix(".pub").read_text())
    assert ("verified", True) == (report.verdict, "workflow head" in result.stderr)


def test_a_shared_secret_signs(cli: Cli, log: Path, tmp_path: Path) -> None:
    """--hmac-secret makes a bundle for those who have the secret."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(32)))
    cli("export", "transfer-42", "-o", tmp_path / "b", "--hmac-secret", secret, "--log", log)
    report = verify_evidence_bundle((tmp_path / "b").read_bytes(), SharedSecret(secret.read_bytes()))
    assert "hmac-sha256" == report.signature_alg


def test_notes_a_run_that_is_open(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """Exporting a workflow at work says that it will not verify as complete."""
    result = cli("export", "refund-8", "-o", tmp_path / "b", "--key", key, "--log", log)
    assert "run refund-8/1 has not ended" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("transfer-42",), "one of --key"),
        (("transfer-42", "--key", "treasury.key", "--hmac-secret", "treasury.key"), "one of --key"),
        (("transfer-42", "--key", "treasury.pub"), "PRIVATE KEY"),
        (("transfer-42", "--key", "none.key"), "none.key"),
        (("transfer-42", "--key", "treasury.key", "--withhold", "x"), "--reason"),
        (("transfer-42", "--key", "treasury.key", "--reason", "x"), "--withhold"),
        (
            ("transfer-42", "--key", "treasury.key", "--withhold", "approval_resolved", "--reason", "x"),
            "always shows",
        ),
        (("nope", "--key", "treasury.key"), "tracebus workflows"),
        (("shared-1", "--key", "treasury.key"), "--tenant acme"),
        (("shared-1", "--key", "treasury.key", "--tenant", "acme", "--no-tenant"), "exclude"),
    ],
)
def test_wrong_usage_writes_nothing(
    cli: Cli, log: Path, key: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """What was asked for wrongly exits with 2, says why, and leaves no file."""
    result = cli("export", *arguments, "-o", "b.json")
    assert (2, True, []) == (result.exit_code, says in result.stderr, list(tmp_path.glob("*b.json*")))


@pytest.mark.parametrize("output", ["none/b.json", "."])
def test_the_place_has_to_be_there(cli: Cli, log: Path, key: Path, output: str) -> None:
    """An output in a folder that is not there, or that is no file, exits with 2."""
    assert 2 == cli("export", "transfer-42", "-o", output, "--key", key).exit_code


def test_a_failed_write_keeps_the_old_file(
    cli: Cli, log: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where writing fails, the file of before is whole, and nothing lies beside it."""
    (tmp_path / "b.json").write_text("before")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export.os, "fsync", fail)
    result = cli("export", "transfer-42", "-o", "b.json", "--key", key)
    assert (2, "before", []) == (
        result.exit_code,
        (tmp_path / "b.json").read_text(),
        list(tmp_path.glob(".b.json*")),
    )


def test_a_link_stays_a_link(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """Where the output is a symbolic link, the file that it leads to is replaced."""
    (tmp_path / "b.json").symlink_to(tmp_path / "real.json")
    cli("export", "transfer-42", "-o", "b.json", "--key", key)
    assert (tmp_path / "b.json").is_symlink()
    assert (tmp_path / "real.json").stat().st_size > 1000


def test_a_damaged_log_is_never_signed(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """A workflow whose record does not hold together exits with 1 and leaves no bundle."""
    with closing(sqlite3.connect(log, isolation_level=None)) as connection:
        (made,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'payloads_no_update'"
        ).fetchone()
        connection.execute("DROP TRIGGER payloads_no_update")
        connection.execute("UPDATE payloads SET payload = replace(payload, 'approved', 'rejected')")
        connection.execute(made)
    result = cli("export", "transfer-42", "-o", "b.json", "--key", key)
    assert (1, True) == (result.exit_code, "payload was changed" in result.stderr)
    assert not (tmp_path / "b.json").exists()
