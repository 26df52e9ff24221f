"""`tracebus export`: what is written, what is left out, what is said."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from evidence import Ed25519Signer, EvidenceBundle, SharedSecret, VerifyingKey, verify_evidence_bundle
from evidence.note import NoteKey
from tracebus import BundleExported, EventQuery, SqliteEventLog
from tracebus.transparency.checkpoints import Checkpointer

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
    arguments = ("export", "transfer-42", "--key", key, "--log", log, "--no-record", "-o")
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
    arguments = ("export", "transfer-42", "-o", "b.json", "--key", key, "--no-record")
    cli(*arguments)
    before = (tmp_path / "b.json").read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    result = cli(*arguments)
    assert (2, before, []) == (
        result.exit_code,
        (tmp_path / "b.json").read_bytes(),
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


# Whole as of a checkpoint


@pytest.fixture
def log_key(log: Path) -> NoteKey:
    """The key of the log, which has signed a checkpoint."""
    with closing(SqliteEventLog(log)) as store:
        checkpointer = Checkpointer(store, Ed25519Signer(b"\x03" * 32))
        checkpointer.checkpoint()
        return checkpointer.log_key


def add_event(cli: Cli, log: Path) -> None:
    """Add an event to refund-7: it is abandoned."""
    assert 0 == cli("abandon", "refund-7/1", "--reason", "test", "--log", log).exit_code


def test_says_that_a_bundle_is_whole(cli: Cli, log: Path, key: Path, log_key: NoteKey) -> None:
    """What the last checkpoint has is exported with the proof of it, as text and JSON say."""
    arguments = ("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log)
    text, facts = cli(*arguments).stdout, json.loads(cli(*arguments, "--json").stdout)
    assert f"completeness   whole as of checkpoint {facts['checkpoint']['size']}\n" in text
    assert (True, 0) == (facts["isProvedWhole"], facts["newerEvents"])


def test_says_that_there_is_no_checkpoint(cli: Cli, log: Path, key: Path) -> None:
    """Without a checkpoint the signer's word is all, and the text says what would change that."""
    arguments = ("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log)
    text, facts = cli(*arguments).stdout, json.loads(cli(*arguments, "--json").stdout)
    assert "completeness   asserted by the signer\n" in text
    assert "tracebus log checkpoint" in text
    assert (False, None, 8) == (facts["isProvedWhole"], facts["checkpoint"], facts["newerEvents"])


def test_says_what_newer_events_mean(cli: Cli, log: Path, key: Path, log_key: NoteKey) -> None:
    """With newer events there is no proof, and the text says why, and both ways out; one of them is taken."""
    add_event(cli, log)
    arguments = ("export", "refund-7", "-o", "b.json", "--key", key, "--log", log)
    text, cut = cli(*arguments).stdout, cli(*arguments, "--as-of-checkpoint").stdout
    assert "note           1 event is newer than checkpoint " in text
    assert "tracebus log checkpoint, or leave them out, --as-of-checkpoint\n" in text
    assert "completeness   whole as of checkpoint " in cut
    assert "note           1 event is newer, and left out\n" in cut


def test_as_of_a_checkpoint_that_there_is_not(cli: Cli, log: Path, key: Path) -> None:
    """Where no checkpoint has the workflow, --as-of-checkpoint exits with 3 and writes nothing."""
    result = cli("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log, "--as-of-checkpoint")
    assert (3, True, False) == (result.exit_code, "sign one first" in result.stderr, Path("b.json").exists())


def test_the_log_records_the_export(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """Whoever looks into the log later finds which bundles were made, and with which key."""
    arguments = ("export", "transfer-42", "-o", tmp_path / "b.json", "--key", key, "--log", log)
    made = [json.loads(cli(*arguments, "--json", *more).stdout) for more in ([], ["--no-record"])]
    with closing(SqliteEventLog(log)) as opened:
        (recorded,) = opened.query(EventQuery(types=("bundle_exported",)))
    payload = recorded.payload
    assert isinstance(payload, BundleExported)
    assert ("tracebus:log", made[0]["bundleId"], made[0]["keyId"], 8) == (
        recorded.workflow_id,
        payload.bundle_id,
        payload.key_id,
        payload.event_count,
    )


def test_a_log_that_cannot_be_written_is_exported_from(
    cli: Cli, log: Path, key: Path, tmp_path: Path
) -> None:
    """Where the export cannot be recorded, the bundle is made all the same, and it is said."""
    with closing(sqlite3.connect(log, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_no_update")
    result = cli("export", "transfer-42", "-o", tmp_path / "b.json", "--key", key, "--log", log)
    assert (0, True) == (result.exit_code, (tmp_path / "b.json").exists())
    assert "the export is not recorded" in result.stderr


def test_a_key_that_is_not_in_use_is_refused(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A keyring that lists a key for bundles lets it sign one; one that is not listed signs nothing."""
    cli("keygen", "bundles", "--use", "bundle", "--keyring", "keys.txt")
    cli("keygen", "stray")
    arguments = ("export", "transfer-42", "-o", tmp_path / "b.json", "--log", log, "--keyring", "keys.txt")
    codes = [cli(*arguments, "--key", name).exit_code for name in ("bundles.key", "stray.key")]
    assert [0, 2] == codes
