"""`tracebus export`: what is written, what is left out, what is said."""

import hashlib
import json
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from click.testing import Result

from evidence import (
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    SharedSecret,
    VerifyingKey,
    verify_evidence_bundle,
)
from evidence.disclosure import parse_disclosure
from evidence.note import NoteKey
from schemas.build_vectors import SIGNER, erased_log, run_now
from tracebus import BundleExported, EventQuery, SqliteEventLog, ToolExecuted, TraceEventBus
from tracebus.cli._disclosed import parts_of, rows_of
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


def policy(folder: Path, text: str) -> Path:
    """Write a disclosure policy."""
    path = folder / "policy.toml"
    path.write_text(f'version = 1\nname = "for the supervisor"\n{text}\n')
    return path


@pytest.mark.parametrize(
    "slip",
    [
        *("tool_executd:*", "tool_executed:argumens", "run_started:user_id", "", "x:"),
        *("tool_executed:/resul", "tool_executed:resul/iban", "tool_executed:a//b", "run_completed:outcome"),
    ],
)
@pytest.mark.parametrize("option", ["--withhold", "--show", "--policy"])
def test_a_slip_in_a_pattern_is_refused(
    cli: Cli, log: Path, key: Path, tmp_path: Path, slip: str, option: str
) -> None:
    """A type or a member that there is not is refused, for it would let out what should stay."""
    asked: tuple[object, ...] = (option, slip, "--reason", "privacy")
    if option == "--policy":
        asked = (option, policy(tmp_path, f'[[withhold]]\npatterns = ["{slip}"]\nreason = "x"'))
    result = cli("export", "transfer-42", "-o", tmp_path / "b", "--key", key, "--log", log, *asked)
    is_plain = option == "--show" and slip == "run_completed:outcome"  # is shown anyway
    assert ((0, True) if is_plain else (2, False)) == (result.exit_code, (tmp_path / "b").exists())


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        *(("tool_executed:result/iban", 2), ("tool_executed:**/iban", 2), ("acme.x:y", 2), ("acme.x", 2)),
        *(("*:/x/y", 0), ("tool_executed:result/iban*", 0), ("acme.*", 0)),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_what_matches_nothing(
    cli: Cli, log: Path, key: Path, tmp_path: Path, pattern: str, code: int, more: tuple[str, ...]
) -> None:
    """What is to be withheld and is not there is refused; with a wildcard it is said, in JSON, too."""
    asked = ("--withhold", pattern, "--reason", "privacy", "--json", *more)
    result = cli("export", "transfer-42", "-o", tmp_path / "b", "--key", key, "--log", log, *asked)
    assert (code, True) == (result.exit_code, f"{pattern} matches nothing" in " ".join(result.stderr.split()))
    assert (code == 0 and not more) == (tmp_path / "b").exists()
    if code == 0:
        note = f"--withhold {pattern} matches nothing in this workflow, and withheld nothing"
        assert [note] == json.loads(result.stdout)["notes"]


def test_what_is_refused_is_not_recorded(cli: Cli, log: Path, key: Path) -> None:
    """An export that a slip stopped leaves no record: nothing left the house."""
    asked = ("--withhold", "tool_executed:result/iban", "--reason", "privacy")
    assert 2 == cli("export", "transfer-42", "-o", "b", "--key", key, "--log", log, *asked).exit_code
    with closing(SqliteEventLog(log)) as opened:
        assert [] == list(opened.query(EventQuery(types=("bundle_exported",))))


def test_what_was_erased_may_be_withheld(cli: Cli, log: Path, key: Path) -> None:
    """Of an erased member nobody knows the name: a pattern that may have meant it is no slip."""
    why = ("--reason", "asked for", "--legal-basis", "GDPR Art. 17")
    assert 0 == cli("erase", "--workflow", "transfer-42", *why, "--yes", "--log", log).exit_code
    asked = ("--withhold", "tool_executed:result", "--reason", "privacy")
    result = cli("export", "transfer-42", "-o", "b", "--key", key, "--log", log, *asked)
    assert (0, True) == (result.exit_code, "matches nothing" in result.stderr)


def test_a_policy_may_match_nothing(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """A policy is for many workflows: what matches nothing in this one is withheld in another."""
    path = policy(tmp_path, '[[withhold]]\npatterns = ["acme.x:y"]\nreason = "x"')
    result = cli("export", "transfer-42", "-o", "b", "--key", key, "--log", log, "--policy", path, "--json")
    assert (0, []) == (result.exit_code, json.loads(result.stdout)["notes"])


def test_a_retention_policy_is_no_disclosure_policy(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """A policy of another kind is called by its name, and nothing is written."""
    path = policy(tmp_path, '[[rule]]\ntypes = ["*"]\nmembers = "P13M"')
    result = cli("export", "transfer-42", "-o", "b", "--key", key, "--log", log, "--policy", path)
    assert (2, False) == (result.exit_code, Path("b").exists())
    assert "this is a retention policy (it has `rule`); expected a disclosure policy" in result.stderr


def test_the_next_command_verifies(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """What is printed for the receiver names all that they should expect, and works as it stands."""
    path = policy(tmp_path, 'show = ["*"]\nreason = "not asked for"')
    arguments = ("export", "transfer-42", "-o", "a bundle.json", "--key", key, "--log", log, "--policy", path)
    (line,) = [line for line in cli(*arguments).stdout.splitlines() if "tracebus verify" in line]
    words = shlex.split(line.replace("NAME.pub", str(key.with_suffix(".pub"))))
    assert {"--no-tenant", "--workflow", "--disclosure-policy"} < set(words)
    result = cli(*words[1:])
    assert (0, True) == (result.exit_code, "it shows no more than that" in result.stdout)


def test_the_next_command_names_the_tenant(cli: Cli, log: Path, key: Path) -> None:
    """The tenant is one of the things to expect."""
    export = ("export", "shared-1", "--tenant", "acme", "-o", "b.json", "--key", key, "--log", log)
    assert "--workflow shared-1 --tenant acme\n" in cli(*export).stdout


def test_by_a_policy(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """A policy's file is obeyed, named by its digest in bundle, facts and record, and checked by verify."""
    path = policy(
        tmp_path,
        'show = ["*", "tool_*:*"]\nreason = "not asked for"\n'
        '[[withhold]]\npatterns = ["*:result"]\nreason = "bank secrecy"',
    )
    arguments = ("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log, "--policy", path)
    facts = json.loads(cli(*arguments, "--json").stdout)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert {"run_started": 1, "tool_executed": 1} == facts["withheld"]["members"]
    assert (digest, True) == (facts["disclosurePolicy"], digest in cli(*arguments).stdout)
    assert 0 == cli("verify", "b.json", "--key", "treasury.pub", "--disclosure-policy", path).exit_code
    with closing(SqliteEventLog(log)) as opened:
        recorded = [event.payload for event in opened.query(EventQuery(types=("bundle_exported",)))]
    assert [digest] * 2 == [getattr(payload, "disclosure_policy_digest", None) for payload in recorded]


@pytest.mark.parametrize(
    ("arguments", "shown", "payloads"),
    [
        ((), ["arguments", "result", "userId"], 8),
        (("--show", "nothing"), [], 4),
        (("--show", "*"), [], 8),
        (("--show", "tool_*:*"), ["arguments", "result"], 6),
        (("--show", "*", "--show", "*:/userId"), ["userId"], 8),
        (("--show", "*:*", "--withhold", "*:result"), ["arguments", "userId"], 8),
    ],
)
def test_show(
    cli: Cli,
    log: Path,
    key: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    shown: list[str],
    payloads: int,
) -> None:
    """--show names all that may leave; with nothing, only what every bundle shows is left."""
    reason = ("--reason", "privacy") if arguments else ()
    cli("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log, *arguments, *reason)
    report = verify_evidence_bundle((tmp_path / "b.json").read_bytes(), key.with_suffix(".pub").read_text())
    names = {parse_disclosure(text, "test").name for event in report.events for text in event.disclosures}
    assert (shown, payloads) == (sorted(map(str, names)), report.shown.payloads)


def test_dry_run(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A dry run needs no key, counts by type and member, and leaves neither a file nor a record."""
    path = policy(tmp_path, 'show = ["*", "tool_*:*"]\nreason = "not asked for"')
    arguments = ("export", "transfer-42", "--log", log, "--policy", path, "--dry-run", "-o", "b.json")
    text, told = cli(*arguments).stdout, json.loads(cli(*arguments, "--json").stdout)
    rows = {(row["type"], row["member"]): row for row in told["parts"]}
    assert ["run_started", "userId", "0", "1", "0", "0", "not", "asked", "for"] in map(
        str.split, text.splitlines()
    )
    assert (1, 0) == (rows["tool_executed", "result"]["shown"], rows["tool_executed", None]["withheld"])
    assert f"for the supervisor, {told['disclosurePolicy']}" in text
    assert not (tmp_path / "b.json").exists()
    with closing(SqliteEventLog(log)) as opened:
        assert [] == list(opened.query(EventQuery(types=("bundle_exported",))))


def test_dry_run_of_what_is_withheld_whole(cli: Cli, log: Path) -> None:
    """Members of a payload that is withheld are counted, as withheld with it."""
    asked = ("--withhold", "tool_executed", "--reason", "privacy")
    text = cli("export", "transfer-42", "--log", log, "--dry-run", *asked).stdout
    lines = [line.split() for line in text.splitlines() if line.startswith("tool_executed")]
    assert [
        ["tool_executed", "-", "0", "1", "0", "0", "privacy"],
        ["tool_executed", "result", "0", "0", "1", "0"],
    ] == lines
    assert "enclosed       withheld with what it stands in" in text


def test_dry_run_of_what_was_erased() -> None:
    """What is erased is counted; of a member that is gone nobody knows the name."""
    log = erased_log()
    bundle = run_now(EvidenceBundler(log, SIGNER).bundle("transfer-42", tenant="acme"))
    rows = rows_of(parts_of(bundle, log.events))
    assert [("run_started", "?"), ("tool_proposed", None)] == [
        (row["type"], row["member"]) for row in rows if row["erased"] == 1
    ]


async def _nested(log: SqliteEventLog) -> None:
    async with (
        TraceEventBus(log, sensitive=["tool_executed:result/iban"]) as bus,
        bus.run(workflow_id="nested"),
    ):
        await bus.publish(ToolExecuted(tool="wire", result={"iban": "DE89", "amount": 1}))


@pytest.mark.parametrize("pattern", ["*:result", "*:iban", "tool_executed", "*"])
def test_a_dry_run_counts_as_the_bundle_does(cli: Cli, key: Path, tmp_path: Path, pattern: str) -> None:
    """The rows sum up to what the receiver's verifier will count; what is nested in it is told apart."""
    with closing(SqliteEventLog(tmp_path / "nested.db")) as log:
        anyio.run(_nested, log)
    asked = ("export", "nested", "--log", "nested.db", "--withhold", pattern, "--reason", "privacy", "--json")
    told = json.loads(cli(*asked, "--dry-run").stdout)
    made = json.loads(cli(*asked, "-o", "b.json", "--key", key).stdout)
    shown = verify_evidence_bundle((tmp_path / "b.json").read_bytes(), _public(key)).shown
    payloads = sum(row["withheld"] for row in told["parts"] if row["member"] is None)
    members = sum(row["withheld"] for row in told["parts"] if row["member"] is not None)
    assert (shown.withheld_payloads, shown.withheld_disclosures) == (payloads, members)
    assert (made["withheld"], made["erased"]) == (told["withheld"], told["erased"])


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text()


def test_warns_of_what_stays_hidden(cli: Cli, key: Path, tmp_path: Path) -> None:
    """A member that show names stays hidden where what it stands in is not shown, and that is said."""
    with closing(SqliteEventLog(tmp_path / "nested.db")) as log:
        anyio.run(_nested, log)
    arguments = ("export", "nested", "--log", "nested.db", "--dry-run", "--reason", "privacy", "--show")
    alone = cli(*arguments, "tool_executed:result/iban")
    both = cli(*arguments, "tool_executed:result/iban", "--show", "*:result")
    assert "--show tool_executed:result/iban: 1 of 1 members stay hidden" in alone.stderr
    assert "" == both.stderr


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_warns_of_what_a_policy_leaves_in_the_clear(
    cli: Cli, log: Path, key: Path, tmp_path: Path, more: list[str]
) -> None:
    """What a policy means to withhold and cannot, for it is not sensitive, is told wherever it is shown."""
    asked = ("--policy", policy(tmp_path, '[[withhold]]\npatterns = ["tool_*:tool"]\nreason = "x"'))
    result = cli("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log, *asked, *more)
    assert (0, True) == (
        result.exit_code,
        result.stderr.startswith("note: withhold tool_*:tool means members that are not sensitive"),
    )


def test_a_policys_patterns_are_for_many_workflows(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """That one of a policy matches nothing is told where the policy is looked at, in a dry run."""
    asked = ("--policy", policy(tmp_path, '[[withhold]]\npatterns = ["acme.*:iban"]\nreason = "x"'))
    arguments = ("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log, *asked)
    told = [cli(*arguments, *more).stderr for more in ([], ["--dry-run"])]
    assert ["", "note: withhold acme.*:iban matches nothing in this workflow, and withheld nothing\n"] == told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("show = 1", "policy.toml: /show: expected an array"),
        ("show = [", "policy.toml: disclosure policy: expected TOML"),
        ('[[withhold]]\npatterns = ["approval_resolved"]\nreason = "x"', "always shows"),
    ],
)
def test_what_is_no_policy_signs_nothing(
    cli: Cli, log: Path, key: Path, tmp_path: Path, text: str, says: str
) -> None:
    """A file that is no policy, or would withhold what was decided, exits with 2 and leaves no bundle."""
    asked = ("--policy", policy(tmp_path, text))
    result = cli("export", "transfer-42", "-o", tmp_path / "b", "--key", key, "--log", log, *asked)
    assert (2, True, False) == (result.exit_code, says in result.stderr, (tmp_path / "b").exists())


def test_for_whom_is_recorded(cli: Cli, log: Path, key: Path) -> None:
    """Recipient, purpose and actor are found in the log later; with --no-record they would be lost."""
    told = ("--recipient", "BaFin", "--purpose", "inquiry 77", "--actor", "kim")
    arguments = ("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log, *told)
    assert [0, 2] == [cli(*arguments).exit_code, cli(*arguments, "--no-record").exit_code]
    with closing(SqliteEventLog(log)) as opened:
        (recorded,) = (event.payload for event in opened.query(EventQuery(types=("bundle_exported",))))
    assert isinstance(recorded, BundleExported)
    assert ("BaFin", "inquiry 77", "kim") == (recorded.recipient, recorded.purpose, recorded.actor)


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
        (("transfer-42", "--key", "treasury.pub"), "give the .key file beside it"),
        (("transfer-42", "--key", "absent.key"), "absent.key: No such file or directory; tracebus keygen"),
        (("transfer-42", "--key", "none.key"), "none.key"),
        (("transfer-42", "--key", "treasury.key", "--withhold", "x"), "--reason"),
        (("transfer-42", "--key", "treasury.key", "--reason", "x"), "--withhold"),
        (("transfer-42", "--key", "treasury.key", "--show", "*"), "--reason"),
        (("transfer-42", "--key", "treasury.key", "--policy", "p", "--reason", "x"), "leave out"),
        (("transfer-42", "--key", "treasury.key", "--policy", "none.toml"), "none.toml"),
        (
            ("transfer-42", "--key", "treasury.key", "--show", "nothing", "--show", "*", "--reason", "x"),
            "excludes",
        ),
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


def test_a_bundle_goes_somewhere(cli: Cli, log: Path, key: Path) -> None:
    """Without -o, and with a key, it is told that a file is missing."""
    result = cli("export", "transfer-42", "--key", key, "--log", log)
    assert (2, True) == (result.exit_code, "-o FILE" in result.stderr)


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
    assert (3, True, False) == (
        result.exit_code,
        "log checkpoint --key" in result.stderr,
        Path("b.json").exists(),
    )


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
