"""`tracebus keys`, and `tracebus keygen` with a keyring: from files to verdicts."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import Result

from evidence import (
    Ed25519Signer,
    EvidenceBundler,
    KeyRefused,
    SignatureRefused,
    VerifyingKey,
    parse_policy,
    verify_evidence_bundle,
)
from evidence.checkpoint import parse_checkpoint
from evidence.cosignature import WitnessKey, cosign
from evidence.key_statement import format_time, name_of
from evidence.keyring import Keyring
from evidence.note import NoteKey, format_note, parse_note
from evidence.trust import TrustPolicy
from tracebus import KeyChanged, SqliteEventLog
from tracebus.cli._keyring import check_use
from tracebus.eventlog import EventQuery
from tracebus.transparency.checkpoints import Checkpointer

Cli = Callable[..., Result]

WITNESS = Ed25519Signer(b"\x11" * 32)
WITNESS_KEY = WitnessKey("witness.example/north", WITNESS.verifying_key)


@pytest.fixture
def run(cli: Cli) -> Cli:
    """Run `tracebus`, which must exit with 0."""

    def succeed(*arguments: object) -> Result:
        result = cli(*arguments)
        assert result.exit_code == 0, result.output
        return result

    return succeed


@pytest.fixture
def keys(run: Cli, tmp_path: Path) -> Path:
    """A keyring of a recovery key and the bundle key ``treasury``; the private keys lie beside it."""
    run("keygen", "recovery", "--use", "recovery", "--keyring", "keys.txt")
    run("keygen", "treasury", "--use", "bundle", "--keyring", "keys.txt", "--by", "recovery.key")
    return tmp_path / "keys.txt"


def held(name: str) -> Ed25519Signer:
    """Return the private key of a file in the folder at hand."""
    return Ed25519Signer.from_file(f"{name}.key")


def policy_of(run: Cli, *options: object, trusted: str = "recovery.pub") -> TrustPolicy:
    """Return the policy that `tracebus keys policy` prints."""
    return parse_policy(run("keys", "policy", "keys.txt", "--trusted", trusted, *options).stdout.encode())


def changes(log: Path) -> list[dict[str, Any]]:
    """Return the payloads of all `key_changed` in a log's own workflow."""
    store = SqliteEventLog(log, read_only=True)
    store.open()
    query = EventQuery(workflow_id="tracebus:log", types=("key_changed",))
    found = [event.payload for event in store.query(query)]
    store.close()
    return [
        payload.model_dump(by_alias=False, exclude_none=True)
        for payload in found
        if isinstance(payload, KeyChanged)
    ]


def bundle_at(log: Path, key: str, seconds: float) -> bytes:
    """Return a bundle of transfer-42 that says it was made at a time, POSIX seconds."""
    store = SqliteEventLog(log, read_only=True)
    store.open()
    bundler = EvidenceBundler(store, held(key), clock=lambda: int(seconds * 1e9))
    made = anyio.run(bundler.bundle, "transfer-42").to_json()
    store.close()
    return made


def verifies(bundle: bytes | Path, policy: TrustPolicy) -> bool:
    """Tell whether a bundle is verified by a policy, or refused for its signature."""
    try:
        verify_evidence_bundle(bundle.read_bytes() if isinstance(bundle, Path) else bundle, policy=policy)
    except SignatureRefused:
        return False
    return True


# keygen


def test_the_first_key_begins_a_keyring(keys: Path) -> None:
    """The keyring is made where there is none, and added to; the recovery key vouches."""
    trusted = Keyring.load(keys.read_bytes(), [held("recovery").verifying_key]).keys
    expected = [("recovery", held("recovery").key_id), ("bundle", held("treasury").key_id)]
    assert expected == [(key.use, key.key.key.key_id) for key in trusted if key.why]


def test_a_log_key_has_the_name_of_its_log(run: Cli, log: Path) -> None:
    """A log's key is named as the log's origin, and its creation is recorded there."""
    result = run("keygen", "notary", "--use", "log", "--log", log, "--keyring", "keys.txt", "--actor", "kim")
    (listed,) = Keyring.load(Path("keys.txt").read_bytes()).keys
    store = SqliteEventLog(log, read_only=True)
    store.open()
    origin = store.origin
    store.close()
    expected = {
        "key_id": held("notary").key_id,
        "change": "created",
        "use": "log",
        "algorithm": "ed25519",
        "actor": "kim",
    }
    assert (origin, [expected], True) == (
        listed.key.name,
        changes(log),
        listed.key.to_vkey() in result.stdout,
    )


@pytest.mark.parametrize(
    "options",
    [
        ["--use", "log"],
        ["--use", "log", "--log", "none.db"],
        ["--use", "bundle", "--log", "none.db", "--keyring", "new.txt"],
        ["--use", "recovery", "--log", "trace.db", "--keyring", "new.txt"],
        ["--use", "bundle", "--by", "recovery.key"],
        ["--use", "bundle", "--reason", "because"],
        ["--use", "bundle", "--keyring", "keys.txt", "--by", "none.key"],
        ["--use", "bundle", "--keyring", "new.txt", "--by", "recovery.key"],
        ["--keyring", "new.txt"],
        ["--use", "everything"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("log")
def test_wrong_usage_leaves_nothing_behind(cli: Cli, keys: Path, options: list[str]) -> None:
    """What cannot be done exits with 2, makes no key, and leaves the keyring as it was."""
    before = keys.read_bytes()
    result = cli("keygen", "desk", *options)
    left = [path.name for path in keys.parent.iterdir() if path.name.startswith(("desk", "new", "keys.txt."))]
    assert (2, before, []) == (result.exit_code, keys.read_bytes(), left), result.output


@pytest.mark.parametrize("name", ["tre+asury", "trea sury", "trea\u2028sury"])
def test_a_name_that_notes_cannot_have_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    """A key with a use is called without spaces and plus signs."""
    result = cli("keygen", name, "--use", "bundle")
    assert (2, []) == (result.exit_code, list(tmp_path.iterdir()))


def test_a_bundle_key_creates_nobody(cli: Cli, keys: Path) -> None:
    """Only the recovery key vouches for a new key that takes nobody's place."""
    before = keys.read_bytes()
    result = cli("keygen", "desk", "--use", "bundle", "--keyring", keys, "--by", "treasury.key")
    found = (result.exit_code, keys.read_bytes(), Path("desk.key").exists(), Path("desk.pub").exists())
    assert (1, before, False, False) == found


# rotate, retire, revoke


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_rotate_makes_a_pair(run: Cli, keys: Path) -> None:
    """The new key has files like any other, its use and its name; the old one is retired."""
    run("keys", "rotate", keys, "treasury.key", "treasury-2")
    _, old, new = Keyring.load(keys.read_bytes()).keys
    expected = (0o600, held("treasury-2").verifying_key, "treasury", "bundle", new.created)
    mode = stat.S_IMODE(Path("treasury-2.key").stat().st_mode)
    assert expected == (mode, new.key.key, new.key.name, new.use, old.retired)
    assert new.key.key == VerifyingKey.load(Path("treasury-2.pub").read_text())


def test_each_change_is_recorded(run: Cli, keys: Path, log: Path) -> None:
    """With --log, the log's own workflow has what happened to which key, who ordered it, and why."""
    why = ("--log", log, "--actor", "kim", "--reason", "a new year")
    run("keys", "rotate", keys, "treasury.key", "treasury-2", *why)
    run("keys", "retire", keys, held("treasury-2").key_id, "--by", "treasury-2.key", *why)
    since = format_time(int(time.time()) - 60)
    run(
        "keys",
        "revoke",
        keys,
        held("treasury").key_id,
        "--compromised-since",
        since,
        "--by",
        "recovery.key",
        *why,
    )
    base = {"use": "bundle", "algorithm": "ed25519", "actor": "kim", "reason": "a new year"}
    old, new = held("treasury").key_id, held("treasury-2").key_id
    expected = [
        {"key_id": new, "change": "rotated", "previous_key_id": old},
        {"key_id": new, "change": "retired"},
        {"key_id": old, "change": "revoked", "compromised_since": since},
    ]
    assert [base | change for change in expected] == changes(log)


def test_it_is_recorded_before_it_takes_effect(
    cli: Cli, keys: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the keyring cannot be written, the log has it already, and neither keyring nor files changed."""
    before = keys.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "keys.txt")

    monkeypatch.setattr(os, "replace", full)
    result = cli("keys", "rotate", keys, "treasury.key", "treasury-2", "--log", log)
    left = sorted(path.name for path in keys.parent.glob("*treasury-2*")) + sorted(keys.parent.glob("*.lock"))
    assert (2, before, []) == (result.exit_code, keys.read_bytes(), left)
    assert ["rotated"] == [change["change"] for change in changes(log)]


def test_what_a_log_cannot_take_does_not_take_effect(cli: Cli, keys: Path) -> None:
    """If the log cannot record it, neither keyring nor files change."""
    Path("broken.db").write_bytes(b"no database" * 500)
    before = keys.read_bytes()
    result = cli("keys", "rotate", keys, "treasury.key", "treasury-2", "--log", "broken.db")
    assert (before, []) == (keys.read_bytes(), list(keys.parent.glob("treasury-2*")))
    assert result.exit_code != 0


def test_a_file_that_is_there_is_not_overwritten(cli: Cli, keys: Path, log: Path) -> None:
    """A new key whose name is taken exits with 2, and nothing is done."""
    before = (keys.read_bytes(), Path("recovery.key").read_bytes())
    result = cli("keys", "rotate", keys, "treasury.key", "recovery", "--log", log)
    after = (keys.read_bytes(), Path("recovery.key").read_bytes())
    assert (2, before, []) == (result.exit_code, after, changes(log))


def test_two_changes_at_once_exclude_each_other(cli: Cli, keys: Path) -> None:
    """Where somebody else is at it, nothing is done, and the exit code says: not now."""
    before = keys.read_bytes()
    lock = keys.with_name("keys.txt.lock")
    lock.touch()
    result = cli("keys", "rotate", keys, "treasury.key", "treasury-2")
    assert (3, before, True) == (result.exit_code, keys.read_bytes(), lock.exists())
    assert "is being changed" in result.stderr


def test_a_link_stays_a_link(run: Cli, keys: Path) -> None:
    """A keyring that is reached over a symbolic link is changed where it lies."""
    (keys.parent / "link.txt").symlink_to(keys)
    run("keys", "rotate", "link.txt", "treasury.key", "treasury-2")
    assert (True, 3) == ((keys.parent / "link.txt").is_symlink(), len(Keyring.load(keys.read_bytes()).keys))


def test_a_keyring_only_grows(run: Cli, keys: Path) -> None:
    """What a copy from before has is there after each change."""
    before = keys.read_bytes()
    run("keys", "rotate", keys, "treasury.key", "treasury-2")
    run("keys", "retire", keys, held("treasury-2").key_id, "--by", "recovery.key")
    assert keys.read_bytes().startswith(before)


@pytest.mark.parametrize("word", ["treasury", "nobody", "treasury+00000000"])
def test_a_key_has_to_be_named_clearly(cli: Cli, run: Cli, keys: Path, word: str) -> None:
    """A name that two keys have, or none, exits with 2 and says which there are."""
    run("keys", "rotate", keys, "treasury.key", "treasury-2")
    before = keys.read_bytes()
    result = cli("keys", "retire", keys, word, "--by", "recovery.key")
    names = [name_of(key.key) for key in Keyring.load(before).keys]
    assert (2, before) == (result.exit_code, keys.read_bytes())
    assert any(name in result.stderr for name in names)


@pytest.mark.parametrize(
    ("since", "code"),
    [("yesterday", 2), ("2026-11-21", 2), ("2026-11-21T02:03:04+01:00", 2), ("9999-01-01T00:00:00Z", 1)],
)
def test_a_time_that_cannot_be_is_refused(cli: Cli, keys: Path, since: str, code: int) -> None:
    """A revocation since no time, or since the future, changes nothing."""
    before = keys.read_bytes()
    result = cli("keys", "revoke", keys, "treasury", "--compromised-since", since, "--by", "treasury.key")
    assert (code, before) == (result.exit_code, keys.read_bytes())


def test_an_altered_keyring_is_not_added_to(cli: Cli, keys: Path) -> None:
    """A keyring that is refused is refused for changes, too."""
    keys.write_bytes(keys.read_bytes().replace(b"bundle", b"log", 1))
    before = keys.read_bytes()
    result = cli("keys", "rotate", keys, "treasury.key", "treasury-2")
    assert (1, before, False) == (result.exit_code, keys.read_bytes(), Path("treasury-2.key").exists())


def test_an_empty_keyring_is_not_begun_again(cli: Cli, tmp_path: Path) -> None:
    """A file that a crash left empty is not taken for a keyring that nobody has begun."""
    (tmp_path / "keys.txt").touch()
    result = cli("keygen", "desk", "--use", "bundle", "--keyring", "keys.txt")
    assert (2, b"", False) == (
        result.exit_code,
        (tmp_path / "keys.txt").read_bytes(),
        Path("desk.key").exists(),
    )


# list


def test_list_tells_state_and_trust(run: Cli, keys: Path) -> None:
    """Each key is listed with its use, its state, and why it is trusted."""
    run("keys", "rotate", keys, "treasury.key", "treasury-2")
    listed = json.loads(run("keys", "list", keys, "--trusted", "treasury.pub", "--json").stdout)
    found = [(key["use"], key["keyId"], key["retired"] is None, key["trusted"]) for key in listed]
    old = name_of(NoteKey("treasury", held("treasury").verifying_key))
    expected = [
        ("recovery", held("recovery").key_id, True, None),
        ("bundle", held("treasury").key_id, False, "you trust it"),
        (
            "bundle",
            held("treasury-2").key_id,
            True,
            f"bundle key {old} vouches for it, {listed[2]['created']}",
        ),
    ]
    assert expected == found


def test_the_table_has_a_line_for_each_key(run: Cli, keys: Path) -> None:
    """For people, a line a key, with what became of it."""
    run(
        "keys",
        "revoke",
        keys,
        "treasury",
        "--compromised-since",
        "2026-01-01T00:00:00Z",
        "--by",
        "recovery.key",
    )
    lines = run("keys", "list", keys).stdout.splitlines()
    assert (3, True, True) == (len(lines), "in use" in lines[1], "compromised since 2026-01-01" in lines[2])


def test_an_older_copy_finds_what_was_cut(cli: Cli, run: Cli, keys: Path) -> None:
    """With --seen, a keyring that lost its newest statement is refused; without, it is not noticed."""
    cut = keys.read_bytes()
    run("keys", "rotate", keys, "treasury.key", "treasury-2")
    (keys.parent / "mine.txt").write_bytes(keys.read_bytes())
    keys.write_bytes(cut)
    codes = [cli("keys", "list", keys).exit_code, cli("keys", "list", keys, "--seen", "mine.txt").exit_code]
    assert [0, 1] == codes


# policy


def test_a_policy_needs_somebody_to_trust(cli: Cli, keys: Path) -> None:
    """Nobody's keyring tells whom to trust."""
    assert 2 == cli("keys", "policy", keys).exit_code


def test_a_stranger_leads_to_no_policy(cli: Cli, run: Cli, keys: Path) -> None:
    """A keyring that lists none of the keys that are trusted is refused."""
    run("keygen", "stranger")
    result = cli("keys", "policy", keys, "--trusted", "stranger.pub")
    assert (1, "") == (result.exit_code, result.stdout)


def test_a_policy_may_ask_for_more(run: Cli, keys: Path) -> None:
    """Witnesses, how many of them, timestamp roots and requirements come from options."""
    der = b"\x30\x03\x02\x01\x01"
    pem = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE-----\n"
    Path("root.pem").write_text(pem)
    Path("root.der").write_bytes(der + b"\x00")
    second = WitnessKey("witness.example/south", Ed25519Signer(b"\x12" * 32).verifying_key)
    policy = policy_of(
        run,
        *("--witness", "north", WITNESS_KEY.to_vkey(), "--witness", "south", second.to_vkey()),
        *("--threshold", 1, "--timestamp-root", "root.pem", "--timestamp-root", "root.der"),
        *("--require", "witness", "--require", "timestamp"),
    )
    (group,) = policy.groups
    required = frozenset({"witness", "timestamp"})
    expected: object = (("north", "south"), 1, group.name, (der, der + b"\x00"), required)
    assert expected == (
        group.members,
        group.threshold,
        policy.quorum,
        policy.timestamp_roots,
        policy.required,
    )


@pytest.mark.parametrize(
    "options",
    [
        ["--require", "witness"],
        ["--require", "completeness"],
        ["--witness", "north", "witness.example/north+00000000+AAAA"],
        ["--witness", "north south", WITNESS_KEY.to_vkey()],
        ["--witness", "north", WITNESS_KEY.to_vkey(), "--threshold", "2"],
        ["--timestamp-root", "keys.txt"],
        ["--timestamp-root", "none.pem"],
    ],
    ids=" ".join,
)
def test_a_policy_that_makes_no_sense_is_not_printed(cli: Cli, keys: Path, options: list[str]) -> None:
    """What a verifier would refuse to read is not written."""
    result = cli("keys", "policy", keys, "--trusted", "recovery.pub", *options)
    assert (2, "") == (result.exit_code, result.stdout)


# From key to verdict


def test_bundles_before_and_after_a_rotation_verify(run: Cli, keys: Path, log: Path) -> None:
    """The old key's bundle and the new key's are verified; a later one by the old key is not."""
    run("export", "transfer-42", "-o", "old.json", "--key", "treasury.key", "--log", log)
    run("keys", "rotate", keys, "treasury.key", "treasury-2", "--log", log)
    run("export", "transfer-42", "-o", "new.json", "--key", "treasury-2.key", "--log", log)
    run("export", "transfer-42", "-o", "late.json", "--key", "treasury.key", "--log", log)
    policy = policy_of(run)
    assert [True, True, False] == [verifies(Path(f"{name}.json"), policy) for name in ("old", "new", "late")]


def test_the_policy_of_a_cut_keyring_lags(run: Cli, keys: Path, log: Path) -> None:
    """By a keyring from before the rotation, the new key is unknown, and the old one still counts."""
    before = keys.read_bytes()
    run("keys", "rotate", keys, "treasury.key", "treasury-2")
    keys.write_bytes(before)
    policy = policy_of(run)
    now = time.time()
    made = [bundle_at(log, key, now) for key in ("treasury", "treasury-2")]
    assert [True, False] == [verifies(bundle, policy) for bundle in made]


def test_a_retired_keys_bundle_that_lies_about_its_time_is_not_noticed(
    run: Cli, keys: Path, log: Path
) -> None:
    """A retired key was its owner's: a date before its end is believed, until the key is revoked."""
    made = time.time()
    run("keys", "retire", keys, "treasury", "--by", "treasury.key")
    bundles = [bundle_at(log, "treasury", at) for at in (made - 60, time.time() + 1)]
    retired = [verifies(bundle, policy_of(run)) for bundle in bundles]
    run(
        "keys",
        "revoke",
        keys,
        "treasury",
        "--compromised-since",
        format_time(int(made)),
        "--by",
        "treasury.key",
    )
    revoked = [verifies(bundle, policy_of(run)) for bundle in bundles]
    assert ([True, False], [False, False]) == (retired, revoked)


def test_a_stolen_key_counts_until_it_is_revoked(run: Cli, keys: Path, log: Path) -> None:
    """A thief's bundle verifies before the revocation, and after it none of that key's; a new key goes on."""
    forged = bundle_at(log, "treasury", time.time())
    before = verifies(forged, policy_of(run))
    since = format_time(int(time.time()) - 3600)
    run("keys", "revoke", keys, "treasury", "--compromised-since", since, "--by", "recovery.key")
    run("keygen", "treasury-2", "--use", "bundle", "--keyring", keys, "--by", "recovery.key")
    policy = policy_of(run)
    again = bundle_at(log, "treasury-2", time.time())
    assert (True, False, True) == (before, verifies(forged, policy), verifies(again, policy))


def test_a_thief_who_rotates_is_left_out_by_the_revocation(run: Cli, keys: Path, log: Path) -> None:
    """The thief's new key is trusted at first; once the theft is known to be older, no more."""
    since = format_time(int(time.time()) - 3600)
    run("keys", "rotate", keys, "treasury.key", "thief")
    forged = bundle_at(log, "thief", time.time())
    before = verifies(forged, policy_of(run))
    run("keys", "revoke", keys, held("treasury").key_id, "--compromised-since", since, "--by", "recovery.key")
    policy = policy_of(run)
    assert (True, False) == (before, verifies(forged, policy))
    assert [held("treasury").verifying_key] == [key.key for key in policy.bundle_keys]


def test_a_revoked_logs_checkpoint_counts_if_a_witness_shows_that_it_is_older(
    run: Cli, keys: Path, log: Path
) -> None:
    """After a log's key was stolen, a checkpoint that was cosigned before holds, and any other is refused."""
    run("keygen", "notary", "--use", "log", "--log", log, "--keyring", keys, "--by", "recovery.key")
    store = SqliteEventLog(log)
    store.open()
    note = Checkpointer(store, held("notary")).checkpoint()
    store.close()
    now = int(time.time())
    parsed = parse_note(note)
    checkpoint = parse_checkpoint(parsed.text)
    notes = [note] + [
        format_note(parsed.with_signatures(cosign(checkpoint, WITNESS_KEY.name, WITNESS, at)))
        for at in (now - 7200, now - 1800)
    ]
    run(
        "keys",
        "revoke",
        keys,
        checkpoint.origin,
        "--compromised-since",
        format_time(now - 3600),
        "--by",
        "recovery.key",
    )
    policy = policy_of(run, "--witness", "north", WITNESS_KEY.to_vkey())

    def holds(signed: bytes) -> bool:
        try:
            policy.verify_checkpoint(signed)
        except SignatureRefused:
            return False
        return True

    assert [False, True, False] == [holds(signed) for signed in notes]


def test_a_log_goes_on_with_its_new_key(cli: Cli, run: Cli, keys: Path, log: Path) -> None:
    """After a rotation the new key goes on from the old one's checkpoint; the old one signs no more."""
    run("keygen", "notary", "--use", "log", "--log", log, "--keyring", keys, "--by", "recovery.key")
    run("log", "checkpoint", log, "--key", "notary.key", "--keyring", keys)
    run("keys", "rotate", keys, "notary.key", "notary-2", "--log", log)
    old, new = (
        cli("log", "checkpoint", log, "--key", f"{name}.key", "--keyring", keys)
        for name in ("notary", "notary-2")
    )
    assert (2, True) == (old.exit_code, "was retired" in old.stderr)
    policy = policy_of(run)
    verified = policy.verify_checkpoint(new.stdout_bytes)
    assert held("notary-2").verifying_key == verified.log.key


def test_a_log_does_not_go_on_with_a_strangers_key(cli: Cli, run: Cli, keys: Path, log: Path) -> None:
    """Without a keyring that has both keys, no new key goes on from the old one's checkpoint."""
    run("keygen", "notary", "--use", "log", "--log", log, "--keyring", keys, "--by", "recovery.key")
    run("log", "checkpoint", log, "--key", "notary.key")
    run("keygen", "stranger", "--use", "log", "--log", log)
    result = cli("log", "checkpoint", log, "--key", "stranger.key")
    assert (1, True) == (result.exit_code, "signed by no key that is known" in result.stderr)


# What commands that sign ask


def test_commands_that_sign_ask_the_keyring(run: Cli, keys: Path) -> None:
    """`check_use` passes a key in use, and refuses one of another use, a retired and an unknown one."""
    treasury, stranger = held("treasury").verifying_key, Ed25519Signer.generate().verifying_key
    check_use(None, stranger, "bundle")
    check_use(str(keys), treasury, "bundle")
    with pytest.raises(KeyRefused, match="a key has one use"):
        check_use(str(keys), treasury, "log")
    with pytest.raises(KeyRefused, match="is not in the keyring"):
        check_use(str(keys), stranger, "bundle")
    run("keys", "retire", keys, "treasury", "--by", "treasury.key")
    with pytest.raises(KeyRefused, match="was retired"):
        check_use(str(keys), treasury, "bundle")
