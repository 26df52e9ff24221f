"""`tracebus verify` and `python -m evidence verify`: the same verdicts, the same exit codes."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import Result

import evidence.__main__
from evidence import Ed25519Signer, VerifyingKey
from evidence.checkpoint import parse_checkpoint
from evidence.cosignature import WitnessKey, cosign
from evidence.note import NoteKey, format_note, parse_note
from tracebus import SqliteEventLog
from tracebus.transparency.checkpoints import Checkpointer

Cli = Callable[..., Result]


class Outcome(NamedTuple):
    """What a verifier said."""

    exit_code: int
    stdout: str
    stderr: str


Verify = Callable[..., Outcome]


@pytest.fixture(params=["tracebus", "evidence"])
def verify(request: pytest.FixtureRequest, cli: Cli, key: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Verify with either command line, by the public key unless another is given."""

    def run(*arguments: object) -> Outcome:
        given = list(map(str, arguments))
        if not {"--key", "--hmac-secret", "--policy"} & set(given):
            given += ["--key", str(key.with_suffix(".pub"))]
        if request.param == "tracebus":
            result = cli("verify", *given)
            return Outcome(result.exit_code, result.stdout, result.stderr)
        capsys.readouterr()
        try:
            code = evidence.__main__.main(["verify", *given])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Write a bundle anew with something changed in it."""
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree, separators=(",", ":")))
    return path


def test_verified(verify: Verify, bundle: Path) -> None:
    """A good bundle exits with 0 and says what it is, run by run, what it shows, and who signed."""
    outcome = verify(bundle, "--workflow", "transfer-42", "--no-tenant")
    lines = outcome.stdout.splitlines()
    assert (0, "") == (outcome.exit_code, outcome.stderr)
    assert lines[0] == (
        "verified: workflow transfer-42, 1 run, 8 events; completeness asserted by the signer"
    )
    assert ["run", "events", "ended", "head"] == lines[2].split()
    facts = [line.split()[0] for line in lines[5:]]
    assert ["shown", "withheld", "erased", "removed", "signed", "made", "log", "bundle", "workflow"] == facts


def test_reminds_to_say_what_is_expected(verify: Verify, bundle: Path) -> None:
    """Where no workflow is expected, a note says that any sound bundle passes."""
    assert "--workflow" in verify(bundle).stdout.splitlines()[-1]


def test_json_report(verify: Verify, bundle: Path) -> None:
    """--json gives the whole report."""
    report = json.loads(verify(bundle, "--json").stdout)
    assert ("verified", 8, "transfer-42") == (report["verdict"], report["events"], report["workflowId"])


@pytest.mark.parametrize(
    "expectation",
    [
        ("--workflow", "other"),
        ("--tenant", "acme"),
        ("--log-origin", "test/01KAJ2"),
        ("--head", "sha256:" + "0" * 64),
    ],
)
def test_another_than_expected_fails(verify: Verify, bundle: Path, expectation: tuple[str, str]) -> None:
    """A sound bundle of something else than expected exits with 1."""
    outcome = verify(bundle, *expectation)
    assert (1, "failed: Unexpected: ") == (outcome.exit_code, outcome.stderr[:20])


def test_what_is_expected_passes(verify: Verify, bundle: Path) -> None:
    """The log's origin and the workflow head that a report names pass as expectations."""
    report = json.loads(verify(bundle, "--json").stdout)
    assert 0 == verify(bundle, "--log-origin", report["log"], "--head", report["workflowHead"]).exit_code


@pytest.fixture
def by_policy(cli: Cli, log: Path, key: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle that was exported by a disclosure policy, and the policy."""
    path, policy = tmp_path / "b.json", tmp_path / "policy.toml"
    policy.write_text('version = 1\nname = "x"\nshow = ["*"]\nreason = "privacy"\n')
    cli("export", "transfer-42", "-o", path, "--key", key, "--log", log, "--policy", policy)
    return path, policy


def test_names_the_disclosure_policy(verify: Verify, bundle: Path, by_policy: tuple[Path, Path]) -> None:
    """The policy that the signer names is in the report, as text and as JSON; where there is none, null."""
    path, policy = by_policy
    digest = f"sha256:{hashlib.sha256(policy.read_bytes()).hexdigest()}"
    assert f"policy         {digest}: not checked\n" in verify(path).stdout
    found = [json.loads(verify(file, "--json").stdout)["disclosurePolicy"] for file in (path, bundle)]
    assert [digest, None] == found


def test_a_disclosure_policy_is_compared(verify: Verify, bundle: Path, by_policy: tuple[Path, Path]) -> None:
    """A bundle by that policy passes; one by another, or by none, exits with 1; no policy is usage."""
    path, policy = by_policy
    named = f"sha256:{hashlib.sha256(policy.read_bytes()).hexdigest()}"
    outcomes = [verify(file, "--disclosure-policy", policy) for file in (path, bundle)]
    policy.write_text(policy.read_text() + "# changed\n")
    outcomes += [verify(path, "--disclosure-policy", file) for file in (policy, bundle, "none.toml")]
    assert [0, 1, 1, 2, 2] == [outcome.exit_code for outcome in outcomes]
    assert f"policy         {named}: it shows no more than that\n" in outcomes[0].stdout
    assert outcomes[1].stderr.startswith("failed: Unexpected: disclosure policy: expected sha256:")


DISCLOSURE = 'version = 1\nname = "x"\nshow = ["*:*"]\n'
RETENTION = 'version = 1\nname = "x"\n[[rule]]\ntypes = ["*"]\nmembers = "P13M"\n'
TRUST = "# ours\n#tracebus bundle-key treasury+9ddc6f0a+Abcd\nquorum none\n"


@pytest.mark.parametrize(
    ("option", "text", "says"),
    [
        (
            "--disclosure-policy",
            RETENTION,
            "a retention policy (it has `rule`); expected a disclosure policy",
        ),
        ("--disclosure-policy", TRUST, "a trust policy (it has `bundle-key`); expected a disclosure policy"),
        ("--policy", RETENTION, "a retention policy (it has `rule`); expected a trust policy"),
        ("--policy", DISCLOSURE, "a disclosure policy (it has `show`); expected a trust policy"),
    ],
)
def test_another_kind_of_policy(verify: Verify, bundle: Path, option: str, text: str, says: str) -> None:
    """A policy that was taken for another is called by its name."""
    Path("policy.toml").write_text(text)
    outcome = verify(bundle, option, "policy.toml")
    assert (2, True) == (outcome.exit_code, f"policy.toml: this is {says}" in outcome.stderr)


def test_what_stands_in_the_clear_is_noted(verify: Verify, cli: Cli, log: Path, key: Path) -> None:
    """What the policy names and is not sensitive is told to whoever brings the policy; they decide."""
    policy = DISCLOSURE + '[[withhold]]\npatterns = ["*:tool"]\nreason = "x"\n'
    Path("policy.toml").write_text(policy)
    cli("export", "transfer-42", "-o", "b.json", "--key", key, "--log", log, "--policy", "policy.toml")
    outcome = verify("b.json", "--disclosure-policy", "policy.toml")
    lines = [line for line in outcome.stdout.splitlines() if line.startswith("note ")]
    assert (0, 2) == (outcome.exit_code, sum("shows tool in the clear, which the" in line for line in lines))


def test_says_by_which_event_something_was_erased(
    verify: Verify, cli: Cli, log: Path, key: Path, tmp_path: Path
) -> None:
    """Who had it erased, when, why and on what basis is in the report, as text and as JSON."""
    path = tmp_path / "b.json"
    why = ("--reason", "asked for by the payee", "--legal-basis", "GDPR Art. 17(1)(b)", "--actor", "desk")
    done = json.loads(cli("erase", "--workflow", "transfer-42", *why, "--yes", "--log", log, "--json").stdout)
    cli("export", "transfer-42", "-o", path, "--key", key, "--log", log)
    (erasure,) = json.loads(verify(path, "--json").stdout)["erasures"]
    assert {
        "by": erasure["by"],
        "type": "data_erased",
        "at": erasure["at"],
        "payloads": 0,
        "disclosures": erasure["disclosures"],
        "actor": "desk",
        "reason": "asked for by the payee",
        "legalBasis": "GDPR Art. 17(1)(b)",
    } == erasure
    assert (True, True) == (erasure["by"] in str(done["records"]), erasure["disclosures"] > 0)
    line = f"data_erased {erasure['by']}, {erasure['at'][:19]}Z: desk, asked for by the payee, GDPR"
    assert line in verify(path).stdout


def test_tampering_fails(verify: Verify, bundle: Path) -> None:
    """A verdict changed after signing exits with 1: one line with kind and place."""
    change(bundle, lambda tree: tree["events"][4]["payload"].update(verdict="rejected"))
    outcome = verify(bundle)
    assert (1, "", 1) == (outcome.exit_code, outcome.stdout, len(outcome.stderr.splitlines()))
    assert outcome.stderr.startswith("failed: DigestMismatch: event 4 of run ")


def test_failure_as_json(verify: Verify, bundle: Path) -> None:
    """With --json a refusal is an object of verdict, kind, place and reason."""
    change(bundle, lambda tree: tree["events"][4]["payload"].update(verdict="rejected"))
    why = json.loads(verify(bundle, "--json").stdout)
    assert ("failed", "DigestMismatch", {"verdict", "kind", "place", "reason"}) == (
        why["verdict"],
        why["kind"],
        set(why),
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"a":1,"a":2}', b"[" * 100_000])
def test_malformed(verify: Verify, tmp_path: Path, content: bytes) -> None:
    """What is no bundle exits with 2, in text and in JSON."""
    path = tmp_path / "b.json"
    path.write_bytes(content)
    text, as_json = verify(path), verify(path, "--json")
    assert (2, 2, "malformed") == (text.exit_code, as_json.exit_code, json.loads(as_json.stdout)["verdict"])
    assert text.stderr.startswith("malformed: MalformedInput: ")


def test_an_open_run_is_incomplete(verify: Verify, cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """A bundle with an open run exits with 3, shows what was checked, and --accept admits it."""
    path = tmp_path / "b.json"
    cli("export", "refund-8", "-o", path, "--key", key, "--log", log)
    outcome, accepted = verify(path), verify(path, "--accept", "incomplete")
    assert (3, 0) == (outcome.exit_code, accepted.exit_code)
    assert outcome.stdout.startswith("incomplete: workflow refund-8 of tenant acme")
    assert outcome.stderr.startswith("incomplete: Incomplete: run refund-8/1: ")
    assert "incomplete" == json.loads(verify(path, "--json").stdout)["verdict"]


def test_another_key_fails(verify: Verify, bundle: Path, tmp_path: Path, cli: Cli) -> None:
    """A bundle that somebody else signed exits with 1."""
    cli("keygen", tmp_path / "other")
    outcome = verify(bundle, "--key", tmp_path / "other.pub")
    assert (1, "failed: SignatureRefused") == (outcome.exit_code, outcome.stderr[:24])


def test_a_private_key_is_refused(verify: Verify, bundle: Path, key: Path) -> None:
    """Who gives the private key is told to give the public one."""
    outcome = verify(bundle, "--key", key)
    assert (2, True) == (outcome.exit_code, "give the .pub file" in outcome.stderr)


def test_a_shared_secret(verify: Verify, cli: Cli, log: Path, tmp_path: Path) -> None:
    """--hmac-secret verifies, and the report says that it convinces no third party."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    cli("export", "transfer-42", "-o", tmp_path / "b", "--hmac-secret", secret, "--log", log)
    outcome = verify(tmp_path / "b", "--hmac-secret", secret)
    assert (0, True) == (outcome.exit_code, "convinces no third party" in outcome.stdout)


def test_counts_what_is_withheld_and_removed(
    verify: Verify, cli: Cli, log: Path, key: Path, tmp_path: Path
) -> None:
    """The text tells apart what the signer withheld and what a holder removed."""
    path = tmp_path / "b.json"
    withheld = ("--withhold", "tool_executed:*", "--reason", "privacy")
    cli("export", "transfer-42", "-o", path, "--key", key, "--log", log, *withheld)
    change(path, lambda tree: tree["events"][1].pop("payload"))
    shown = verify(path).stdout
    assert "withheld       0 payloads, 1 sensitive member; privacy\n" in shown
    assert "removed        1 payload, 0 sensitive members, after signing\n" in shown


@pytest.mark.parametrize("missing", ["bundle", "key"])
def test_a_missing_file_is_named(verify: Verify, bundle: Path, missing: str) -> None:
    """A file that is not there exits with 2 and is named; in JSON, too."""
    arguments = ("none.json",) if missing == "bundle" else (bundle, "--key", "none.pub")
    outcome, as_json = verify(*arguments), verify(*arguments, "--json")
    assert (2, True) == (outcome.exit_code, "No such file" in outcome.stderr)
    assert json.loads(as_json.stdout)["place"].startswith("none.")


def test_a_bundle_cannot_write_to_the_terminal(verify: Verify, bundle: Path) -> None:
    """Whatever an error quotes, of a forged bundle or of the arguments, is escaped."""
    attack = "\x1b[2Jverified\u202e"
    outcome, as_json = verify(bundle, "--tenant", attack), verify(bundle, "--tenant", attack, "--json")
    assert "\\x1b[2Jverified\\u202e" in outcome.stderr
    assert outcome.stderr.rstrip("\n").isprintable()
    assert attack in json.loads(as_json.stdout)["reason"]
    assert as_json.stdout.isascii()
    change(bundle, lambda tree: tree["signature"].update(alg=attack))
    outcome, as_json = verify(bundle), verify(bundle, "--json")
    assert outcome.stderr.rstrip("\n").isprintable()
    assert as_json.stdout.isascii()
    assert "\x1b" not in as_json.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("b.json", "--key", "a", "--hmac-secret", "b"),
        ("b.json", "--key", "a", "--tenant", "t", "--no-tenant"),
        ("b.json", "--key", "a", "--accept", "anything"),
        ("--key", "a"),
    ],
)
def test_wrong_usage(verify: Verify, arguments: tuple[str, ...]) -> None:
    """Arguments that exclude each other, or are missing, exit with 2."""
    assert 2 == verify(*arguments).exit_code


@pytest.mark.parametrize("module", ["tracebus", "evidence"])
def test_reads_standard_input(module: str, bundle: Path, key: Path) -> None:
    """A bundle named - is read from standard input."""
    done = subprocess.run(
        [sys.executable, "-m", module, "verify", "-", "--key", str(key.with_suffix(".pub"))],
        input=bundle.read_bytes(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (0, True) == (done.returncode, done.stdout.startswith(b"verified: "))


def test_the_verifier_alone_loads_no_command_line_library(bundle: Path, key: Path) -> None:
    """`python -m evidence verify` imports neither click nor tracebus nor an event loop."""
    code = (
        "import sys, evidence.__main__ as cli\n"
        f"code = cli.main(['verify', {str(bundle)!r}, '--key', {str(key.with_suffix('.pub'))!r}])\n"
        "print(code, {'click', 'rich', 'tracebus', 'asyncio', 'anyio', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "0 set()" == done.stdout.splitlines()[-1]


@pytest.mark.parametrize("module", ["tracebus", "evidence"])
def test_output_needs_no_unicode(module: str, cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """What the terminal's encoding cannot show is escaped, and nothing fails."""
    path = tmp_path / "b.json"
    cli("export", "shared-1", "--tenant", "böll", "-o", path, "--key", key, "--log", log)
    done = subprocess.run(
        [sys.executable, "-m", module, "verify", str(path), "--key", str(key.with_suffix(".pub"))],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (0, True) == (done.returncode, b"of tenant b\\xf6ll" in done.stdout)


# Whole as of a checkpoint


class Anchored(NamedTuple):
    """A bundle with a proof of completeness, and what it takes to trust it."""

    bundle: Path
    log_key: str
    policy: Path


@pytest.fixture
def anchored(cli: Cli, log: Path, key: Path, tmp_path: Path) -> Anchored:
    """A bundle of transfer-42, whole as of a checkpoint, and a policy with both keys that requires that."""
    with closing(SqliteEventLog(log)) as store:
        checkpointer = Checkpointer(store, Ed25519Signer(b"\x03" * 32))
        checkpointer.checkpoint()
        log_key = checkpointer.log_key.to_vkey()
    path, policy = tmp_path / "whole.json", tmp_path / "trust.txt"
    assert 0 == cli("export", "transfer-42", "-o", path, "--key", key, "--log", log).exit_code
    signer = NoteKey("treasury", VerifyingKey.load(key.with_suffix(".pub").read_text())).to_vkey()
    policy.write_text(
        f"log {log_key}\nquorum none\n#tracebus bundle-key {signer}\n#tracebus require completeness\n"
    )
    return Anchored(path, log_key, policy)


def removed(anchored: Anchored) -> Path:
    """Return the bundle without its proof."""
    return change(anchored.bundle, lambda tree: tree.update(proofs={}))


def test_a_policy_brings_the_keys(verify: Verify, anchored: Anchored) -> None:
    """With a policy no key is needed; the text and the report say as of which checkpoint it is whole."""
    outcome = verify(anchored.bundle, "--policy", anchored.policy)
    checkpoint = json.loads(verify(anchored.bundle, "--policy", anchored.policy, "--json").stdout)[
        "checkpoint"
    ]
    lines = outcome.stdout.splitlines()
    whole = f"whole as of checkpoint {checkpoint['size']} of {checkpoint['origin']}"
    assert (0, "") == (outcome.exit_code, outcome.stderr)
    assert lines[0].endswith(f"8 events; {whole}")
    assert f"checkpoint     size {checkpoint['size']}, root {checkpoint['root']}" in lines
    assert "cosigned by    nobody who is trusted" in lines


@pytest.mark.parametrize("form", ["vkey", "file", "pem"])
def test_the_logs_key_is_enough(verify: Verify, anchored: Anchored, tmp_path: Path, form: str) -> None:
    """--log-key takes a verifier key, or a file with one or with PEM."""
    path, given = tmp_path / "log.pub", [anchored.log_key]
    path.write_text(anchored.log_key + "\n")
    if form == "file":
        given = [str(path)]
    if form == "pem":
        path.write_text(NoteKey.from_vkey(anchored.log_key).key.to_pem())
        given = [str(path)]
    assert "whole as of" in verify(anchored.bundle, "--log-key", *given).stdout.splitlines()[0]


def test_without_the_logs_key_the_proof_is_unchecked(verify: Verify, anchored: Anchored) -> None:
    """A proof that nobody can check is told, and whose word it is then."""
    outcome = verify(anchored.bundle)
    assert (0, True) == (outcome.exit_code, "asserted by the signer" in outcome.stdout.splitlines()[0])
    assert "note           proof of completeness: unchecked" in outcome.stdout


@pytest.mark.parametrize("by", ["policy", "log-key"])
def test_a_missing_proof_is_incomplete(verify: Verify, anchored: Anchored, by: str) -> None:
    """Without the proof that is required the exit code is 3, unless that is accepted."""
    given = ("--policy", anchored.policy) if by == "policy" else ("--log-key", anchored.log_key)
    path = removed(anchored)
    outcome, accepted = verify(path, *given), verify(path, *given, "--accept", "incomplete")
    assert (3, 0, 0) == (outcome.exit_code, accepted.exit_code, verify(path).exit_code)
    assert outcome.stderr.startswith("incomplete: Incomplete: proofs: completeness is required")
    assert "signed with was removed" in accepted.stdout


def test_another_logs_key_fails(verify: Verify, anchored: Anchored, key: Path) -> None:
    """A key that did not sign the checkpoint exits with 1."""
    outcome = verify(anchored.bundle, "--log-key", key.with_suffix(".pub"))
    assert (1, True) == (outcome.exit_code, outcome.stderr.startswith("failed: SignatureRefused: note"))


def test_a_bad_proof_fails(verify: Verify, anchored: Anchored) -> None:
    """A proof of something else exits with 1."""
    change(anchored.bundle, lambda tree: tree["proofs"]["completeness"].update(mapRoot="A" * 43 + "="))
    outcome = verify(anchored.bundle, "--policy", anchored.policy)
    assert (1, True) == (outcome.exit_code, outcome.stderr.startswith("failed: ProofRefused: completeness"))


def test_what_a_policy_asks_for_exits_with_3(verify: Verify, anchored: Anchored) -> None:
    """A policy that requires witnesses is not met by the log's word alone."""
    witness = WitnessKey("w.example", Ed25519Signer(b"\x04" * 32).verifying_key).to_vkey()
    text = anchored.policy.read_text().replace("quorum none", f"witness w {witness}\nquorum w")
    anchored.policy.write_text(text)
    outcome = verify(anchored.bundle, "--policy", anchored.policy)
    assert (3, True) == (outcome.exit_code, "expected cosignatures of w, found nobody" in outcome.stderr)


def test_who_cosigned_and_when_is_told(verify: Verify, anchored: Anchored) -> None:
    """Witnesses are listed by the policy's names for them, with the times that they tell."""
    signer = Ed25519Signer(b"\x04" * 32)
    witness = WitnessKey("w.example", signer.verifying_key).to_vkey()
    text = anchored.policy.read_text().replace("quorum none", f"witness west {witness}\nquorum west")
    anchored.policy.write_text(text)

    def cosigned(tree: dict[str, Any]) -> None:
        proof = tree["proofs"]["completeness"]
        note = parse_note(proof["checkpoint"].encode())
        line = cosign(parse_checkpoint(note.text), "w.example", signer, 1_795_230_002)
        proof["checkpoint"] = format_note(note.with_signatures(line)).decode()

    outcome = verify(change(anchored.bundle, cosigned), "--policy", anchored.policy)
    lines = outcome.stdout.splitlines()
    assert "cosigned by    west 2026-11-21T03:00:02Z" in lines
    assert "newest at      2026-11-21T03:00:02Z" in lines


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "quorum"),
        ("quorum none\n", "has no bundle-key"),
        ("quorum none\nhello\n", "trust.txt: line 2"),
    ],
)
def test_a_policy_that_is_none(verify: Verify, anchored: Anchored, text: str, says: str) -> None:
    """A policy that cannot be read, or brings no key where none is given, exits with 2 and is named."""
    anchored.policy.write_text(text)
    outcome = verify(anchored.bundle, "--policy", anchored.policy)
    assert (2, True) == (outcome.exit_code, says in outcome.stderr)


@pytest.mark.parametrize("given", ["nothing", "log+00000000+AYqI", "treasury.key", "whole.json"])
def test_a_log_key_that_is_none(verify: Verify, anchored: Anchored, given: str) -> None:
    """What is no public key exits with 2."""
    outcome = verify(anchored.bundle, "--log-key", given)
    assert (2, True) == (outcome.exit_code, "--log-key" in outcome.stderr)


def test_a_policy_and_a_log_key_exclude_each_other(verify: Verify, anchored: Anchored) -> None:
    """Nobody has to guess which of the two counts."""
    given = ("--policy", anchored.policy, "--log-key", anchored.log_key)
    assert 2 == verify(anchored.bundle, *given).exit_code


@pytest.mark.parametrize("module", ["tracebus", "evidence"])
def test_some_key_is_needed(module: str, anchored: Anchored) -> None:
    """A log's key verifies no bundle."""
    command = [sys.executable, "-m", module, "verify", str(anchored.bundle), "--log-key", anchored.log_key]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (2, True) == (done.returncode, b"--key NAME.pub" in done.stderr)
