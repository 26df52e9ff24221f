"""Keyrings: whom they lead to trust, and what in them is refused."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import (
    ChainBroken,
    Ed25519Signer,
    EvidenceError,
    KeyRefused,
    MalformedInput,
    SignatureRefused,
    Unexpected,
    VerifyingKey,
)
from evidence.key_statement import Change, KeyStatement, Use, format_time, open_statement, parse_time
from evidence.keyring import MAX_BYTES, Keyring, add_statement
from evidence.keys import NOTE_ED25519, format_vkey
from evidence.note import Note, NoteKey, format_note, sign_note
from evidence.trust_file import parse_policy

ORIGIN = "payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB"
NAMES = {
    "recovery": "recovery",
    "log": ORIGIN,
    "treasury": "treasury",
    "counter": "counter",
    "thief": "treasury",
}
DAY = 86_400
SEPTEMBER = parse_time("2026-09-01T00:00:00Z", "here")


def held(who: str) -> Ed25519Signer:
    """Return the private key of somebody: ``treasury`` has several, ``treasury-2`` is the second."""
    return Ed25519Signer(who.encode().ljust(32, b"\x01"))


def key(who: str) -> NoteKey:
    """Return the public key of somebody."""
    return NoteKey(NAMES[who.partition("-")[0]], held(who).verifying_key)


def renamed(who: str) -> NoteKey:
    """Return the public key of somebody under a name that it does not have."""
    return NoteKey("finance", key(who).key)


def statement(
    change: Change, use: Use, who: str, day: int, by: str, since: int | None = None
) -> KeyStatement:
    """Return a statement, made so many days after the first of September."""
    compromised = None if since is None else SEPTEMBER + since * DAY
    return KeyStatement(change, use, key(who), SEPTEMBER + day * DAY, key(by), compromised)


def add(
    data: bytes, change: Change, use: Use, who: str, day: int, by: str, since: int | None = None
) -> bytes:
    """Return a keyring with one more statement, signed by all who must."""
    return add_statement(data, statement(change, use, who, day, by, since), held(who), held(by))


def force(data: bytes, said: KeyStatement, *signers: Ed25519Signer) -> bytes:
    """Return a keyring with one more statement, well signed, whether it may stand there or not."""
    note = said.sign(sha256(data).digest(), *signers)
    return (data + b"\n" if data else b"") + format_note(note)


def state(keyring: Keyring, who: str) -> tuple[bool, bool, bool]:
    """Return whether a key is trusted, retired, revoked."""
    listed = keyring.find(key(who).key)
    assert listed is not None
    return listed.why is not None, listed.retired is not None, listed.revoked is not None


RECOVERY = add(b"", "created", "recovery", "recovery", 0, "recovery")
START = add(RECOVERY, "created", "bundle", "treasury", 1, "recovery")
ROTATED = add(START, "rotated", "bundle", "treasury-2", 30, "treasury")
_WITH_LOG = add(ROTATED, "created", "log", "log", 31, "log")
_WITH_COUNTER = add(_WITH_LOG, "created", "receipt", "counter", 32, "recovery")
_RETIRED = add(_WITH_COUNTER, "retired", "receipt", "counter", 33, "counter")
WHOLE = add(_RETIRED, "revoked", "bundle", "treasury", 40, "treasury-2", since=35)


# Whom it leads to trust


def test_a_key_is_trusted_on_the_word_of_a_trusted_one() -> None:
    """Who trusts the recovery key trusts what it created, and what took the place of that; no more."""
    keyring = Keyring.load(WHOLE, [key("recovery")])
    expected = {"recovery": True, "treasury": True, "treasury-2": True, "log": False, "counter": True}
    assert expected == {who: state(keyring, who)[0] for who in expected}


def test_why_a_key_is_trusted_is_told() -> None:
    """Each trusted key says on whose word, and when it was given."""
    whys = {listed.key: listed.why for listed in Keyring.load(WHOLE, [key("treasury").to_vkey()]).keys}
    expected = {
        key("recovery"): None,
        key("treasury"): "you trust it",
        key(
            "treasury-2"
        ): f"bundle key treasury+{key('treasury').key_id.hex()} vouches for it, 2026-10-01T00:00:00Z",
        key("log"): None,
        key("counter"): None,
    }
    assert expected == whys


def test_a_bundle_key_does_not_lead_to_a_log() -> None:
    """Trust in a bundle key reaches neither the recovery key above it nor keys of other uses."""
    keyring = Keyring.load(WHOLE, [key("treasury-2")])
    assert ((), ()) == (keyring.trusted("log", SEPTEMBER + 50 * DAY), keyring.trusted("recovery", SEPTEMBER))


def test_without_trust_nothing_is_trusted() -> None:
    """A file that is verified, and no more, leads to no key."""
    assert [] == [listed for listed in Keyring.load(WHOLE).keys if listed.why]


def test_a_key_without_a_name_may_be_trusted() -> None:
    """A raw public key, as a PEM file holds it, is trusted under the name that the keyring gives it."""
    assert (True, True, True) == state(Keyring.load(WHOLE, [key("treasury").key]), "treasury")


def test_a_trusted_key_of_another_name_is_another_key() -> None:
    """A verifier key names a key and a name: under another name nothing is trusted."""
    with pytest.raises(Unexpected, match="none of the keys that are trusted"):
        Keyring.load(WHOLE, [NoteKey("finance", key("treasury").key)])


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (0, []),
        (1, ["treasury"]),
        (29, ["treasury"]),
        (30, ["treasury-2"]),
        (99, ["treasury-2"]),
    ],
)
def test_a_key_is_trusted_from_its_creation_to_its_end(day: int, expected: list[str]) -> None:
    """At a time, those keys count that were created, and neither replaced, retired nor compromised."""
    trusted = Keyring.load(WHOLE, [key("recovery")]).trusted("bundle", SEPTEMBER + day * DAY)
    assert [key(who) for who in expected] == [listed.key for listed in trusted]


def test_a_key_counts_until_it_was_compromised() -> None:
    """A key that was never retired counts up to, and not at, the time since which it is compromised."""
    data = add(START, "revoked", "bundle", "treasury", 40, "recovery", since=20)
    keyring = Keyring.load(data, [key("recovery")])
    counts = [len(keyring.trusted("bundle", SEPTEMBER + 20 * DAY + seconds)) for seconds in (-1, 0)]
    assert [1, 0] == counts


def test_the_examples_of_the_specification_verify(root: Path) -> None:
    """Both examples of keyring-v1.md are one keyring, and lead to the policy that stands there."""
    text = (root / "schemas" / "keyring-v1.md").read_text("utf-8")
    first, second, policy = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    recovery = NoteKey("recovery", Ed25519Signer(b"\x09" * 32).verifying_key)
    assert [True] * 3 == [bool(listed.why) for listed in Keyring.load(first.encode(), [recovery]).keys]
    whole = Keyring.load(f"{first}\n{second}".encode(), [recovery], seen=first.encode())
    assert policy.splitlines() == whole.policy_lines()


# A thief's words


@pytest.mark.parametrize(("since", "believed"), [(29, False), (30, False), (31, True)])
def test_a_stolen_key_vouches_for_nobody(since: int, believed: bool) -> None:
    """What took a key's place at or after its compromise is not trusted, nor what follows from that."""
    data = add(START, "rotated", "bundle", "thief", 30, "treasury")
    data = add(data, "rotated", "bundle", "thief-2", 32, "thief")
    data = add(data, "revoked", "bundle", "treasury", 40, "treasury", since=since)
    keyring = Keyring.load(data, [key("recovery")])
    assert (believed, believed) == (state(keyring, "thief")[0], state(keyring, "thief-2")[0])


def test_a_revocation_that_learns_more_counts() -> None:
    """A second revocation may move the compromise back, and then takes the thief's key out of trust."""
    data = add(START, "rotated", "bundle", "thief", 30, "treasury")
    data = add(data, "revoked", "bundle", "treasury", 40, "recovery", since=35)
    before = state(Keyring.load(data, [key("recovery")]), "thief")[0]
    data = add(data, "revoked", "bundle", "treasury", 41, "recovery", since=25)
    assert (True, False) == (before, state(Keyring.load(data, [key("recovery")]), "thief")[0])


def test_a_compromised_recovery_key_vouches_for_nobody() -> None:
    """What a recovery key created at or after its own compromise is not trusted."""
    data = add(START, "created", "log", "log", 10, "recovery")
    data = add(data, "revoked", "recovery", "recovery", 20, "recovery", since=5)
    keyring = Keyring.load(data, [key("recovery")])
    assert (True, False) == (state(keyring, "treasury")[0], state(keyring, "log")[0])


def test_the_owner_goes_on_after_a_theft() -> None:
    """The recovery key revokes a stolen key and creates another, which those who trust it then trust."""
    data = add(START, "revoked", "bundle", "treasury", 40, "recovery", since=39)
    data = add(data, "created", "bundle", "treasury-3", 41, "recovery")
    trusted = Keyring.load(data, [key("recovery")]).trusted("bundle", SEPTEMBER + 42 * DAY)
    assert [key("treasury-3")] == [listed.key for listed in trusted]


# What may not stand there

REFUSED: dict[str, tuple[bytes, KeyStatement, str]] = {
    "a fork": (ROTATED, statement("rotated", "bundle", "thief", 31, "treasury"), "was replaced, retired"),
    "a rotation by a retired key": (
        add(START, "retired", "bundle", "treasury", 20, "treasury"),
        statement("rotated", "bundle", "thief", 31, "treasury"),
        "was replaced, retired or revoked",
    ),
    "a rotation by a revoked key": (
        add(START, "revoked", "bundle", "treasury", 20, "treasury", since=20),
        statement("rotated", "bundle", "thief", 31, "treasury"),
        "was replaced, retired or revoked",
    ),
    "a rotation by a stranger": (
        START,
        statement("rotated", "bundle", "thief", 31, "thief-2"),
        "not in the keyring",
    ),
    "a rotation to another use": (
        START,
        statement("rotated", "log", "thief", 31, "treasury"),
        "expected a key of use",
    ),
    "a rotation to another name": (
        START,
        statement("rotated", "bundle", "log", 31, "treasury"),
        "expected a key of use",
    ),
    "a rotation of the recovery key": (
        START,
        statement("rotated", "recovery", "recovery-2", 31, "recovery"),
        "but a new keyring",
    ),
    "a rotation to itself": (
        START,
        statement("rotated", "bundle", "treasury", 31, "treasury"),
        "has one use",
    ),
    "a rotation to an old key": (
        ROTATED,
        statement("rotated", "bundle", "treasury", 31, "treasury-2"),
        "has one use",
    ),
    "a second recovery key": (
        START,
        statement("created", "recovery", "recovery-2", 31, "recovery-2"),
        "only be the first",
    ),
    "a late recovery key": (
        add(b"", "created", "bundle", "treasury", 0, "treasury"),
        statement("created", "recovery", "recovery", 1, "recovery"),
        "only be the first",
    ),
    "a key that a bundle key creates": (
        START,
        statement("created", "log", "log", 31, "treasury"),
        "no recovery key",
    ),
    "a key that a stranger creates": (
        START,
        statement("created", "log", "log", 31, "thief"),
        "not in the keyring",
    ),
    "a key created twice": (START, statement("created", "bundle", "treasury", 31, "treasury"), "has one use"),
    "a key for a second use": (
        START,
        statement("created", "receipt", "treasury", 31, "treasury"),
        "has one use",
    ),
    "a key created by a retired recovery key": (
        add(START, "retired", "recovery", "recovery", 20, "recovery"),
        statement("created", "log", "log", 31, "recovery"),
        "was replaced, retired or revoked",
    ),
    "an older statement": (
        ROTATED,
        statement("created", "log", "log", 29, "log"),
        "made before the one above",
    ),
    "a retirement by a stranger": (
        START,
        statement("retired", "bundle", "treasury", 31, "thief"),
        "may not retire",
    ),
    "a retirement by a predecessor": (
        ROTATED,
        statement("retired", "bundle", "treasury-2", 31, "treasury"),
        "may not retire",
    ),
    "a second retirement": (
        add(START, "retired", "bundle", "treasury", 20, "treasury"),
        statement("retired", "bundle", "treasury", 31, "treasury"),
        "was retired or revoked above",
    ),
    "a retirement for another use": (
        START,
        statement("retired", "log", "treasury", 31, "treasury"),
        "for use log",
    ),
    "a revocation by a stranger": (
        START,
        statement("revoked", "bundle", "treasury", 31, "thief", since=2),
        "may not revoke",
    ),
    "a revocation by a predecessor": (
        ROTATED,
        statement("revoked", "bundle", "treasury-2", 31, "treasury", since=2),
        "may not revoke",
    ),
    "a revocation by a key of another use": (
        _WITH_LOG,
        statement("revoked", "bundle", "treasury-2", 31, "log", since=2),
        "may not revoke",
    ),
    "a revocation of an unknown key": (
        START,
        statement("revoked", "bundle", "thief", 31, "thief", since=2),
        "not in the keyring",
    ),
    "a revocation ahead of time": (
        START,
        statement("revoked", "bundle", "treasury", 31, "treasury", since=32),
        "after the statement was made",
    ),
    "a revocation that takes another back": (
        WHOLE,
        statement("revoked", "bundle", "treasury", 41, "recovery", since=36),
        "was revoked above",
    ),
    "a revocation that says nothing new": (
        WHOLE,
        statement("revoked", "bundle", "treasury", 41, "recovery", since=35),
        "was revoked above",
    ),
    "a rotation by a key under another name": (
        START,
        replace(statement("rotated", "bundle", "treasury-2", 31, "treasury"), by=renamed("treasury")),
        "not in the keyring",
    ),
    "a retirement of a key under another name": (
        START,
        replace(statement("retired", "bundle", "treasury", 31, "recovery"), key=renamed("treasury")),
        "not in the keyring",
    ),
    "a retirement by a recovery key under another name": (
        START,
        replace(statement("retired", "bundle", "treasury", 31, "recovery"), by=renamed("recovery")),
        "may not retire",
    ),
    "a revocation by a successor under another name": (
        ROTATED,
        replace(
            statement("revoked", "bundle", "treasury", 31, "treasury-2", since=2), by=renamed("treasury-2")
        ),
        "may not revoke",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_statement_that_may_not_stand_there_is_refused(name: str) -> None:
    """Well signed as it is, each is refused for its own reason, by whom it would be added and by readers."""
    data, said, reason = REFUSED[name]
    everybody = [
        held(who) for who in ("recovery", "recovery-2", "treasury", "treasury-2", "log", "thief", "thief-2")
    ]
    with pytest.raises((SignatureRefused, MalformedInput), match=reason):
        add_statement(data, said, *everybody)
    with pytest.raises((SignatureRefused, MalformedInput), match=reason):
        Keyring.load(force(data, said, *everybody), [key("treasury")])


def test_a_key_of_the_same_name_and_id_is_refused() -> None:
    """A second key with the short id of another, which 2^16 attempts find, cannot be listed beside it."""
    one, other = (Ed25519Signer(seed.to_bytes(32, "big")) for seed in (33_470, 172_784))
    keys = [NoteKey("treasury", signer.verifying_key) for signer in (one, other)]
    first, second = (KeyStatement("created", "bundle", each, SEPTEMBER, each) for each in keys)
    assert keys[0].key_id == keys[1].key_id
    with pytest.raises(MalformedInput, match="of the same name and id"):
        Keyring.load(force(force(b"", first, one), second, other))


def test_who_must_sign_must_be_at_hand() -> None:
    """Nothing is added without the private key on whose word it stands."""
    with pytest.raises(ValueError, match="must sign, and is not at hand"):
        add_statement(START, statement("rotated", "bundle", "treasury-2", 30, "treasury"), held("treasury-2"))


def _signed_by(data: bytes, said: KeyStatement, *names: str) -> bytes:
    """Return a keyring with a statement that bears the signatures of these, and of no other."""
    text = said.to_text(sha256(data).digest())
    lines = [line for who in names for line in sign_note(text, key(who).name, held(who)).signatures]
    return data + b"\n" + format_note(Note(text, tuple(lines)))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("thief",), "expected the signature of treasury"),
        (("treasury",), "found none"),
        (("treasury-2",), "expected the signature of treasury"),
        (("treasury-2", "treasury"), "expected the signature of treasury"),
        (("treasury", "treasury-2", "thief"), "expected no other signature"),
        (("treasury", "treasury-2", "treasury-2"), "expected no other signature"),
    ],
)
def test_exactly_those_sign_who_must(names: tuple[str, ...], reason: str) -> None:
    """A rotation is signed by the old key and the new one, in this order, and by nobody else."""
    said = statement("rotated", "bundle", "treasury-2", 30, "treasury")
    with pytest.raises(SignatureRefused, match=reason):
        Keyring.load(_signed_by(START, said, *names))


def test_a_key_that_its_owner_does_not_have_is_not_created() -> None:
    """The recovery key alone cannot list somebody else's key: that key has to sign, too."""
    said = statement("created", "log", "log", 31, "recovery")
    with pytest.raises(SignatureRefused, match="expected the signature of payments-prod"):
        Keyring.load(_signed_by(START, said, "recovery"))


WEAK = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]


@pytest.mark.parametrize("raw", WEAK, ids=lambda raw: raw.hex()[:8])
def test_a_weak_key_is_refused(raw: bytes) -> None:
    """A key under which one signature fits every message can neither be listed nor vouch."""
    weak = format_vkey("treasury", NOTE_ED25519, raw).encode()
    for line in (b"created bundle ", b"by "):
        data = START.replace(line + key("treasury").to_vkey().encode(), line + weak)
        data = data.replace(line + key("recovery").to_vkey().encode(), line + weak)
        with pytest.raises(MalformedInput, match="not a point of prime order"):
            Keyring.load(data)


# The file


def _edits() -> dict[str, bytes]:
    """Return the whole keyring with each of its lines removed, doubled, or changed with the next one."""
    lines = WHOLE.splitlines(keepends=True)
    edits = {}
    for at in range(len(lines)):
        edits[f"{at} removed"] = b"".join(lines[:at] + lines[at + 1 :])
        edits[f"{at} doubled"] = b"".join(lines[:at] + lines[at : at + 1] + lines[at:])
        edits[f"{at} moved"] = b"".join(lines[:at] + lines[at + 1 : at + 2] + [lines[at]] + lines[at + 2 :])
    return {name: data for name, data in edits.items() if data != WHOLE}


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_every_byte_counts(bit: int) -> None:
    """A keyring with any one byte changed is refused."""
    accepted = []
    for at in range(len(WHOLE)):
        changed = WHOLE[:at] + bytes([WHOLE[at] ^ bit]) + WHOLE[at + 1 :]
        try:
            Keyring.load(changed)
        except EvidenceError:
            continue
        accepted.append(at)
    assert [] == accepted


def test_every_line_counts() -> None:
    """A keyring with a line removed, doubled, or in another place is refused."""
    accepted = []
    for name, data in _edits().items():
        try:
            Keyring.load(data)
        except EvidenceError:
            continue
        accepted.append(name)
    assert [] == accepted


STATEMENTS = re.split(rb"\n\n(?=tracebus)", WHOLE.removesuffix(b"\n"))


def _joined(statements: list[bytes]) -> bytes:
    return b"\n\n".join(statements) + b"\n"


@pytest.mark.parametrize("at", range(len(STATEMENTS)))
def test_every_statement_has_its_place(at: int) -> None:
    """A statement that is removed before others, doubled or moved breaks the chain, or is a second start."""
    moved = [*STATEMENTS[:at], *STATEMENTS[at + 1 :], STATEMENTS[at]]
    edits = [[*STATEMENTS[: at + 1], *STATEMENTS[at:]]]
    if at < len(STATEMENTS) - 1:
        edits += [[*STATEMENTS[:at], *STATEMENTS[at + 1 :]], moved]
    for edit in edits:
        with pytest.raises(ChainBroken, match="was not made after the statements that stand before it"):
            Keyring.load(_joined(edit))


def test_a_cut_is_noticed_within_a_statement_only() -> None:
    """Of all beginnings of the file, only those that end with a statement are accepted."""
    accepted = []
    for length in range(len(WHOLE)):
        try:
            Keyring.load(WHOLE[:length])
        except EvidenceError:
            continue
        accepted.append(length)
    whole = [len(_joined(STATEMENTS[:count])) for count in range(1, len(STATEMENTS))]
    assert whole == accepted


def test_an_older_copy_shows_a_cut() -> None:
    """A file without its newest statement is refused by whoever saw the statement."""
    assert 5 == len(Keyring.load(WHOLE, seen=_WITH_COUNTER).keys)
    with pytest.raises(ChainBroken, match="does not go on from the older copy"):
        Keyring.load(_RETIRED, seen=WHOLE)


def test_an_older_copy_shows_a_fork() -> None:
    """Another continuation, sound in itself, is refused by whoever saw the owner's."""
    thiefs = add(START, "rotated", "bundle", "thief", 29, "treasury")
    assert (True, False, False) == state(Keyring.load(thiefs, [key("recovery")]), "thief")
    with pytest.raises(ChainBroken, match="does not go on from the older copy"):
        Keyring.load(thiefs, [key("recovery")], seen=ROTATED)


def test_a_statement_fits_one_keyring_only() -> None:
    """A statement that was signed for one keyring is refused in another, of the same keys."""
    other = add(add(b"", "created", "recovery", "recovery", 0, "recovery"), "created", "log", "log", 0, "log")
    created = START.removeprefix(RECOVERY)
    with pytest.raises(ChainBroken):
        Keyring.load(other + created)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        WHOLE + b"\n",
        b"\n" + WHOLE,
        b"\xef\xbb\xbf" + WHOLE,
        WHOLE.replace(b"\n", b"\r\n"),
        WHOLE.replace(b" ", b"  ", 1),
        WHOLE.replace(b"T00:00:00Z", b"T24:00:00Z", 1),
        WHOLE.replace(b"T00:00:00Z", b"T00:00:00+00:00", 1),
        WHOLE.replace(b"09-01", b"02-30", 1),
        WHOLE.replace(b"keyring/v1", b"keyring/v2", 1),
    ],
)
def test_another_spelling_is_refused(data: bytes) -> None:
    """There is one way to write a keyring."""
    with pytest.raises(MalformedInput):
        Keyring.load(data)


def test_a_name_with_a_control_is_refused() -> None:
    """A name that no trust policy can hold is refused, however well it is signed."""
    odd = NoteKey("trea\x7fsury", held("treasury").verifying_key)
    with pytest.raises(MalformedInput, match="control character 0x7f"):
        Keyring.load(force(b"", KeyStatement("created", "bundle", odd, SEPTEMBER, odd), held("treasury")))


def test_an_enormous_file_is_refused_unread() -> None:
    """More than a mebibyte is refused before anything in it is looked at."""
    began = time.perf_counter()
    with pytest.raises(MalformedInput, match="expected at most 1048576"):
        Keyring.load(b"\n\n" * (32 * MAX_BYTES))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("filling", [b"\n", b"\n\n", b"a", b"a\n\n", "— a AAAA\n".encode(), b"\xff"])
def test_a_large_file_of_nothing_is_refused_soon(filling: bytes) -> None:
    """The largest file there may be, full of nothing, is refused within seconds."""
    began = time.perf_counter()
    with pytest.raises(MalformedInput):
        Keyring.load((filling * MAX_BYTES)[:MAX_BYTES])
    assert time.perf_counter() - began < 5


@given(st.binary(max_size=200) | st.builds(bytes.__add__, st.just(START), st.binary(max_size=80)))
def test_any_bytes_end_in_a_result_or_an_evidence_error(data: bytes) -> None:
    """Nothing but an `EvidenceError` comes out of a file that is none."""
    try:
        Keyring.load(data, [key("treasury")])
    except EvidenceError:
        return
    assert data == START


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_times_are_written_in_one_way(seconds: int) -> None:
    """What is written is read as the same second, in each year from 1 to 9999."""
    assert seconds == parse_time(format_time(seconds), "here")


def test_a_statement_is_what_was_signed() -> None:
    """A statement is read as it was made."""
    said = statement("revoked", "bundle", "treasury", 40, "recovery", since=2)
    assert (said, b"\x07" * 32) == open_statement(said.sign(b"\x07" * 32, held("recovery")), "here")


def test_a_revocation_says_since_when() -> None:
    """A revocation without a time, and a time without a revocation, are the caller's slip."""
    with pytest.raises(ValueError, match="compromised-since stands with revoked"):
        statement("revoked", "bundle", "treasury", 40, "recovery")
    with pytest.raises(ValueError, match="compromised-since stands with revoked"):
        statement("retired", "bundle", "treasury", 40, "recovery", since=2)


# One use


def test_a_key_in_use_passes() -> None:
    """A key is accepted for its use, with and without its name."""
    keyring = Keyring.load(WHOLE)
    keyring.check_use(key("treasury-2").key, "bundle")
    keyring.check_use(key("log"), "log")


@pytest.mark.parametrize(
    ("who", "use", "reason"),
    [
        ("treasury-2", "log", "is for use bundle, not log: a key has one use"),
        ("log", "bundle", "is for use log, not bundle"),
        ("log", "receipt", "is for use log, not receipt"),
        ("recovery", "bundle", "is for use recovery, not bundle"),
        ("thief", "bundle", "is not in the keyring"),
        ("counter", "receipt", "was retired 2026-10-04T00:00:00Z"),
        ("treasury", "bundle", "was revoked, compromised since 2026-10-06T00:00:00Z"),
    ],
)
def test_a_key_that_must_not_sign_is_refused(who: str, use: Use, reason: str) -> None:
    """A key of another use, an unknown, a retired and a revoked one are refused before they sign."""
    with pytest.raises(KeyRefused, match=reason):
        Keyring.load(WHOLE).check_use(key(who).key, use)


def test_a_key_of_another_log_is_refused() -> None:
    """A log's key is one for its own origin only."""
    with pytest.raises(KeyRefused, match="is not the key of payments-test"):
        Keyring.load(WHOLE).check_use(
            NoteKey("payments-test/01M5GNHYY0GDQZ3177PGDHW4YB", key("log").key), "log"
        )


# The policy


def test_the_policy_has_the_trusted_keys_and_their_ends() -> None:
    """The lines say what the keyring says of the keys that are trusted, and are read as a policy."""
    lines = Keyring.load(WHOLE, [key("recovery"), key("log")]).policy_lines()
    policy = parse_policy("".join(f"{line}\n" for line in [*lines, "quorum none"]).encode())
    expected = (
        [key("log")],
        (key("treasury"), key("treasury-2")),
        (key("counter"),),
        {key("treasury").key: SEPTEMBER + 30 * DAY, key("counter").key: SEPTEMBER + 33 * DAY},
        {key("treasury").key: SEPTEMBER + 35 * DAY},
    )
    found = (
        [log.key for log in policy.logs],
        policy.bundle_keys,
        policy.receipt_keys,
        policy.retired,
        policy.revoked,
    )
    assert expected == found


def test_the_policy_leaves_out_a_thief() -> None:
    """A key that a stolen one vouched for stands in no policy."""
    data = add(START, "rotated", "bundle", "thief", 30, "treasury")
    data = add(data, "revoked", "bundle", "treasury", 40, "treasury", since=29)
    lines = Keyring.load(data, [key("recovery")]).policy_lines()
    assert [] == [line for line in lines if key("thief").to_vkey() in line]


def test_a_trusted_key_that_cannot_be_read_is_refused() -> None:
    """Text that is no verifier key ends in `KeyRefused`."""
    with pytest.raises(KeyRefused):
        Keyring.load(WHOLE, ["treasury"])


def test_a_key_is_found_by_its_bytes() -> None:
    """`find` returns a listed key, trusted or not, and None for another."""
    keyring = Keyring.load(START)
    listed = keyring.find(VerifyingKey(key("treasury").key.raw))
    assert (key("treasury"), None) == (listed and listed.key, keyring.find(key("thief").key))
