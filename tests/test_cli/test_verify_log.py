"""`tracebus verify-log`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from evidence import Ed25519Signer
from evidence.cosignature import WitnessKey
from evidence.note import NoteKey
from evidence.receipt import verify_receipt
from tests.translog import (
    LOG_SIGNER,
    OTHER_SIGNER,
    alter,
    append_run,
    copy_log,
    cut,
    make_log,
    rewritten,
    tree_of,
    write_jsonl,
    write_segment,
)
from tracebus import SqliteEventLog
from tracebus.eventlog.base import EventQuery
from tracebus.events import VerificationPerformed
from tracebus.transparency.checkpoints import Checkpointer

Cli = Callable[..., Result]

RECEIPT_SIGNER = Ed25519Signer(b"\x09" * 32)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with three checkpoints; beside it log.pub and kept.note, its newest checkpoint."""
    path = tmp_path / "t.db"
    notes = make_log(path)
    (tmp_path / "kept.note").write_bytes(notes[-1])
    (tmp_path / "log.pub").write_text(LOG_SIGNER.verifying_key.to_pem())
    (tmp_path / "receipt.key").write_text(RECEIPT_SIGNER.to_pem())
    (tmp_path / "receipt.pub").write_text(RECEIPT_SIGNER.verifying_key.to_pem())
    return path


@pytest.fixture
def published(cli: Cli, log: Path, tmp_path: Path) -> Path:
    """The log's public files."""
    folder = tmp_path / "published"
    folder.mkdir()
    assert 0 == cli("log", "publish", log, folder, "--log-key", "log.pub").exit_code
    return folder


def vkey_of(log: Path) -> str:
    """Return the log's verifier key."""
    with closing(SqliteEventLog(log, read_only=True)) as source:
        return NoteKey(source.origin, LOG_SIGNER.verifying_key).to_vkey()


def test_a_sound_log(cli: Cli, log: Path) -> None:
    """It exits with 0, and says what was compared with what."""
    result = cli("verify-log", log, "--log-key", "log.pub", "--checkpoint", "kept.note")
    assert (0, True, True) == (
        result.exit_code,
        result.stdout.startswith("verified: log test/"),
        "27 leaves, 24 events, as of the checkpoint of size 27" in result.stdout,
    )


@pytest.mark.parametrize("how", ["pem", "vkey", "file with vkey"])
def test_the_log_key_in_its_forms(cli: Cli, log: Path, tmp_path: Path, how: str) -> None:
    """The key is PEM in a file, a verifier key, or a file with one."""
    (tmp_path / "log.vkey").write_text(vkey_of(log) + "\n")
    key = {"pem": "log.pub", "vkey": vkey_of(log), "file with vkey": "log.vkey"}[how]
    assert 0 == cli("verify-log", log, "--log-key", key).exit_code


def test_json(cli: Cli, log: Path) -> None:
    """--json has verdict, counts, each check, and each checkpoint with its source."""
    result = cli("verify-log", log, "--log-key", "log.pub", "--checkpoint", "kept.note", "--json")
    found = json.loads(result.stdout)
    assert ("verified", 27, 24, ["copy", "copy", "copy", "file kept.note"]) == (
        found["verdict"],
        found["to"],
        found["events"],
        [claim["source"] for claim in found["checkpoints"]],
    )
    assert ["events", "payloads", "leaves", "heads maps", "tile hashes", "checkpoints", "store"] == [
        check["name"] for check in found["checks"]
    ]


def test_a_rewritten_log_signed_again(cli: Cli, log: Path, tmp_path: Path) -> None:
    """With the key that was stolen everything fits, but the checkpoint that somebody kept."""
    copy = rewritten(log, tmp_path / "copy.db", last=16)
    with closing(SqliteEventLog(copy)) as other:
        Checkpointer(other, LOG_SIGNER, rebuilt=True).checkpoint()
    alone = cli("verify-log", copy, "--log-key", "log.pub")
    compared = cli("verify-log", copy, "--log-key", "log.pub", "--checkpoint", "kept.note")
    assert (0, 1, True) == (
        alone.exit_code,
        compared.exit_code,
        "checkpoint of size 27 (file kept.note)" in compared.stdout,
    )


def test_a_log_that_was_cut(cli: Cli, log: Path) -> None:
    """A log that refuses to append can be verified all the same, and fails."""
    cut(log, 20)
    result = cli("verify-log", log, "--log-key", "log.pub")
    assert (1, True) == (result.exit_code, result.stdout.startswith("failed: "))


def test_an_erasure_that_nobody_recorded(cli: Cli, log: Path) -> None:
    """Hashes hold without a payload; that nothing records why it is gone is a fault."""
    alter(log, "DELETE FROM payloads WHERE position = 3")
    result = cli("verify-log", log, "--log-key", "log.pub")
    assert (1, True) == (result.exit_code, "its payload is gone, and no event records why" in result.stdout)


def test_nothing_to_compare_with(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A copy without checkpoints, and none from elsewhere: incomplete."""
    copy = copy_log(log, tmp_path / "copy.db", tree=False)
    result = cli("verify-log", copy, "--log-key", "log.pub")
    assert (3, True) == (result.exit_code, result.stdout.startswith("incomplete: "))


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--log-key", "other.pub"), 1, "copy: note: signed by no key that is known"),
        (("--log-key", "a+b"), 2, "a+b"),
        ((), 2, "expected one of --log-key KEY and --policy FILE"),
        (("--log-key", "log.pub", "--checkpoint", "log.pub"), 2, "file log.pub: note"),
        (("--log-key", "log.pub", "--anchor-dir", "."), 2, "has no checkpoint"),
        (("--log-key", "log.pub", "--receipt", "r.json"), 2, "go together"),
        (("--log-key", "log.pub", "--tiles", "."), 2, "--tiles is for JSON Lines"),
        (("--log-key", "log.pub", "--from", "100"), 3, "the copy has 27 leaves"),
    ],
)
def test_refusals(
    cli: Cli, log: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    """What cannot be read, is by another key, or makes no sense, is said with its place."""
    (tmp_path / "other.pub").write_text(OTHER_SIGNER.verifying_key.to_pem())
    result = cli("verify-log", log, *arguments)
    assert (code, True) == (result.exit_code, text in result.output), result.output


def test_a_key_of_another_log(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A verifier key names its log: another one is not verified with it."""
    other = tmp_path / "other.db"
    make_log(other, rounds=1)
    result = cli("verify-log", log, "--log-key", vkey_of(other))
    assert (1, True) == (result.exit_code, "is the key of log" in result.output)


def test_published_files_and_anchors(cli: Cli, log: Path, published: Path) -> None:
    """A folder is verified by itself, and is a source of checkpoints for a log."""
    files = cli("verify-log", published, "--log-key", "log.pub", "--json")
    whole = cli("verify-log", log, "--log-key", "log.pub", "--anchor-dir", published, "--json")
    sources = {claim["source"] for claim in json.loads(whole.stdout)["checkpoints"]}
    assert (0, 0, 0, 27) == (
        files.exit_code,
        whole.exit_code,
        json.loads(files.stdout)["events"],
        json.loads(files.stdout)["to"],
    )
    assert {"copy", "anchor checkpoint", "anchor 0000000000000000027"} == sources


def test_a_copy_of_a_bucket(cli: Cli, log: Path, published: Path) -> None:
    """A folder with events, and checkpoints by their sizes alone, is verified with its events."""
    write_segment(log, published)
    (published / "checkpoint").unlink()
    result = cli("verify-log", published, "--log-key", "log.pub", "--anchor-dir", published, "--json")
    found = json.loads(result.stdout)
    assert (0, 24, 27) == (result.exit_code, found["events"], found["to"]), result.output


@pytest.mark.parametrize(("tiles", "code"), [(True, 0), (False, 3)])
def test_json_lines(cli: Cli, log: Path, published: Path, tmp_path: Path, tiles: bool, code: int) -> None:
    """With the published files an export is verified; alone it cannot be compared."""
    lines = write_jsonl(log, tmp_path / "events.jsonl")
    arguments = ("--tiles", published) if tiles else ()
    result = cli("verify-log", lines, "--log-key", "log.pub", *arguments)
    assert code == result.exit_code, result.output


def test_a_file_that_is_neither(cli: Cli, log: Path) -> None:
    """A file that is no log and no export is malformed."""
    assert 2 == cli("verify-log", "log.pub", "--log-key", "log.pub").exit_code


# Policies


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("log {vkey}\nquorum none\n", 0),
        ("log {vkey}\nwitness n {witness}\nquorum n\n", 3),
    ],
    ids=["log alone", "a witness is missing"],
)
def test_a_policy(cli: Cli, log: Path, tmp_path: Path, lines: str, code: int) -> None:
    """A policy says whose signature counts, and what else must stand by the newest checkpoint."""
    witness = WitnessKey("w.example/n", OTHER_SIGNER.verifying_key).to_vkey()
    (tmp_path / "policy.txt").write_text(lines.format(vkey=vkey_of(log), witness=witness))
    result = cli("verify-log", log, "--policy", "policy.txt")
    assert code == result.exit_code, result.output


# Receipts


def test_a_receipt(cli: Cli, log: Path, tmp_path: Path) -> None:
    """It says what was done and found, and is verified with the receipt key."""
    made = cli(
        *("verify-log", log, "--log-key", "log.pub", "--checkpoint", "kept.note"),
        *("--receipt", "r.json", "--receipt-key", "receipt.key"),
    )
    read = cli("verify-log", "--verify-receipt", "r.json", "--receipt-key", "receipt.pub")
    receipt = verify_receipt((tmp_path / "r.json").read_bytes(), RECEIPT_SIGNER.verifying_key)
    assert (0, 0, True) == (
        made.exit_code,
        read.exit_code,
        read.stdout.startswith("signed: verified: log test/"),
    )
    assert ("verified", 0, 27, 24, [("copy", 3, 27), ("file", 1, 27)], {"logKey": vkey_of(log)}) == (
        receipt.verdict,
        receipt.first,
        receipt.size,
        receipt.events,
        [(seen.source, seen.count, seen.newest) for seen in receipt.checkpoints],
        receipt.trust,
    )


def test_a_receipt_of_a_failure(cli: Cli, log: Path, tmp_path: Path) -> None:
    """What was found to be wrong is signed as well."""
    cut(log, 20)
    arguments = ("--receipt", "r.json", "--receipt-key", "receipt.key")
    result = cli("verify-log", log, "--log-key", "log.pub", *arguments)
    receipt = verify_receipt((tmp_path / "r.json").read_bytes(), RECEIPT_SIGNER.verifying_key)
    assert (1, "failed", True) == (result.exit_code, receipt.verdict, bool(receipt.reason))


def test_a_receipt_by_another_key(cli: Cli, log: Path) -> None:
    """It is refused."""
    cli("verify-log", log, "--log-key", "log.pub", "--receipt", "r.json", "--receipt-key", "receipt.key")
    assert 1 == cli("verify-log", "--verify-receipt", "r.json", "--receipt-key", "log.pub").exit_code


def test_receipt_keys_of_a_policy(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A policy's receipt keys count, and no other; one that was retired before, no more."""
    cli("verify-log", log, "--log-key", "log.pub", "--receipt", "r.json", "--receipt-key", "receipt.key")
    vkey = NoteKey("notary", RECEIPT_SIGNER.verifying_key).to_vkey()
    other = NoteKey("notary", OTHER_SIGNER.verifying_key).to_vkey()
    policies = {
        0: f"quorum none\n#tracebus receipt-key {other}\n#tracebus receipt-key {vkey}\n",
        1: f"quorum none\n#tracebus receipt-key {other}\n",
    }
    retired = f"{policies[0]}#tracebus retired {vkey} since 2020-01-01T00:00:00Z\n"
    for code, text in [*policies.items(), (1, retired)]:
        (tmp_path / "policy.txt").write_text(text)
        assert code == cli("verify-log", "--verify-receipt", "r.json", "--policy", "policy.txt").exit_code


def test_a_receipt_key_has_one_use(cli: Cli, log: Path, tmp_path: Path) -> None:
    """The log's key signs no receipts; no file is made."""
    (tmp_path / "log.key").write_text(LOG_SIGNER.to_pem())
    result = cli("verify-log", log, "--log-key", "log.pub", "--receipt", "r.json", "--receipt-key", "log.key")
    assert (2, False) == (result.exit_code, (tmp_path / "r.json").exists())


def test_an_export_alone_gets_no_receipt(cli: Cli, log: Path, tmp_path: Path) -> None:
    """There is no tree that it could be about."""
    lines = write_jsonl(log, tmp_path / "events.jsonl")
    arguments = ("--receipt", "r.json", "--receipt-key", "receipt.key")
    assert 2 == cli("verify-log", lines, "--log-key", "log.pub", *arguments).exit_code


# Recording


def test_it_is_recorded(cli: Cli, log: Path) -> None:
    """--record appends what was found to the log's own workflow, and leaves the log verifiable."""
    recorded = cli("verify-log", log, "--log-key", "log.pub", "--record")
    with closing(SqliteEventLog(log, read_only=True)) as source:
        (event,) = source.query(EventQuery(types=("verification_performed",)))
    payload = event.payload
    assert isinstance(payload, VerificationPerformed)
    assert (0, "tracebus:log", "log", "verified", 24) == (
        recorded.exit_code,
        event.workflow_id,
        payload.subject,
        payload.verdict,
        payload.event_count,
    )
    assert 0 == cli("verify-log", log, "--log-key", "log.pub").exit_code


def test_what_is_recorded_says_why_it_failed(cli: Cli, log: Path) -> None:
    """A failure is recorded as one, where the log still takes events."""
    alter(log, "UPDATE events SET risk = 'low' WHERE position = 10")
    result = cli("verify-log", log, "--log-key", "log.pub", "--record")
    with closing(SqliteEventLog(log, read_only=True)) as source:
        (event,) = source.query(EventQuery(types=("verification_performed",)))
    payload = event.payload
    assert isinstance(payload, VerificationPerformed)
    found = (result.exit_code, payload.verdict, str(payload.reason)[:16])
    assert (1, "failed", "hash 10 of tile ") == found


def test_events_that_no_checkpoint_covers(cli: Cli, log: Path) -> None:
    """They are counted in the open."""
    with closing(SqliteEventLog(log)) as more:
        append_run(more, "c")
    assert "4 events are in no tree" in cli("verify-log", log, "--log-key", "log.pub").stdout


def test_a_log_that_takes_nothing_is_reported_before_it_refuses(cli: Cli, log: Path) -> None:
    """What was found is printed, though it cannot be recorded."""
    cut(log, 20)
    result = cli("verify-log", log, "--log-key", "log.pub", "--record")
    assert (1, True, True) == (
        result.exit_code,
        result.stdout.startswith("failed: "),
        "Nothing is appended" in result.stderr,
    )


def test_only_a_log_records(cli: Cli, log: Path, published: Path) -> None:
    """A folder has no workflow to record in."""
    assert 2 == cli("verify-log", published, "--log-key", "log.pub", "--record").exit_code


def test_the_tree_store_of_another_log(cli: Cli, log: Path, tmp_path: Path) -> None:
    """It is no part of this copy, and is refused."""
    other = tmp_path / "other.db"
    make_log(other, rounds=1)
    tree_of(log).write_bytes(tree_of(other).read_bytes())
    result = cli("verify-log", log, "--log-key", "log.pub")
    assert (2, True) == (result.exit_code, "is the tree of log" in result.output)
