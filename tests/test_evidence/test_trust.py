"""The trust policy: how its file is read, and what it says of checkpoints and keys."""

from __future__ import annotations

import base64
import itertools
import re
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import (
    Ed25519Signer,
    EvidenceError,
    Incomplete,
    MalformedInput,
    SignatureRefused,
    Unexpected,
)
from evidence.checkpoint import Checkpoint, format_checkpoint, open_checkpoint, sign_checkpoint
from evidence.cosignature import WitnessKey, cosign
from evidence.misbehaviour import verify_misbehaviour
from evidence.note import Note, NoteKey, NoteSignature, format_note, sign_note
from evidence.trust import Group, TrustPolicy
from evidence.trust_file import MAX_BYTES, parse_policy

ORIGIN = "payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB"
LOG = Ed25519Signer(b"\x01" * 32)
LOG_KEY = NoteKey(ORIGIN, LOG.verifying_key)
NEW_LOG = Ed25519Signer(b"\x02" * 32)
NEW_LOG_KEY = NoteKey(ORIGIN, NEW_LOG.verifying_key)
BUNDLE = NoteKey("treasury", Ed25519Signer(b"\x03" * 32).verifying_key)
RECEIPT = NoteKey("counter", Ed25519Signer(b"\x04" * 32).verifying_key)
WITNESSES = {
    name: Ed25519Signer(bytes([0x10 + n]) * 32) for n, name in enumerate(("X1", "X2", "X3", "Y1", "Y2", "Y3"))
}
CHECKPOINT = Checkpoint(ORIGIN, 8, b"\x08" * 32)
NOON = int(datetime.fromisoformat("2026-11-21T12:00:00Z").timestamp())


def witness_key(name: str) -> WitnessKey:
    """Return the key of a witness."""
    return WitnessKey(f"witness.example/{name}", WITNESSES[name].verifying_key)


def cosigned(**times: int) -> bytes:
    """Return the checkpoint, with cosignatures of some witnesses at their times."""
    lines = [cosign(CHECKPOINT, f"witness.example/{name}", WITNESSES[name], at) for name, at in times.items()]
    return format_note(sign_checkpoint(CHECKPOINT, LOG).with_signatures(*lines))


def policy(*lines: str, quorum: str = "none") -> TrustPolicy:
    """Return the policy of some lines after the log's, and a quorum."""
    return parse_policy(
        "".join(f"{line}\n" for line in (f"log {LOG_KEY.to_vkey()}", *lines, f"quorum {quorum}")).encode()
    )


WITNESS_LINES = [f"witness {name} {witness_key(name).to_vkey()}" for name in WITNESSES]
# The example of c2sp.org/tlog-policy.
GROUPS = [
    "group X-witnesses 2 X1 X2 X3",
    "group Y-witnesses any Y1 Y2 Y3",
    "group X-and-Y all X-witnesses Y-witnesses",
]
EXAMPLE = policy(*WITNESS_LINES, *GROUPS, quorum="X-and-Y")


# Reading


def test_the_example_of_the_specification_is_read() -> None:
    """The example of tlog-policy has its log, its six witnesses, its three groups and its quorum."""
    expected = (
        [LOG_KEY],
        list(WITNESSES),
        (
            Group("X-witnesses", 2, ("X1", "X2", "X3")),
            Group("Y-witnesses", 1, ("Y1", "Y2", "Y3")),
            Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
        ),
        "X-and-Y",
    )
    assert expected == (
        [log.key for log in EXAMPLE.logs],
        [witness.name for witness in EXAMPLE.witnesses],
        EXAMPLE.groups,
        EXAMPLE.quorum,
    )


def test_spaces_comments_and_urls_are_read_as_specified() -> None:
    """Spaces and tabs separate, empty lines and comments are passed over, a URL is kept."""
    found = parse_policy(
        f"# logs\n\n \t\n\tlog  {LOG_KEY.to_vkey()}\thttps://log.example/ \n"
        f"  # a witness\nwitness w\u00e9 {witness_key('X1').to_vkey()} https://w.example/\n"
        "quorum w\u00e9\n#\n#tracebuses are not meant\n# about tracebus\n# tracebu\u017f\n".encode()
    )
    assert ("https://log.example/", "w\u00e9", "https://w.example/", "w\u00e9") == (
        found.logs[0].url,
        found.witnesses[0].name,
        found.witnesses[0].url,
        found.quorum,
    )


def test_the_shortest_policy() -> None:
    """Only the quorum is mandatory."""
    assert TrustPolicy() == parse_policy(b"quorum none\n")


def test_what_tracebus_adds_is_read() -> None:
    """Each of our lines is read, whatever order they come in."""
    found = policy(
        f"#tracebus bundle-key {BUNDLE.to_vkey()}",
        f"  #tracebus\treceipt-key {RECEIPT.to_vkey()}",
        "#tracebus timestamp-root MAA=",
        "#tracebus timestamp-chain MAEA",
        f"#tracebus retired {BUNDLE.to_vkey()} since 2026-11-21T12:00:00Z",
        f"#tracebus revoked {LOG_KEY.to_vkey()} compromised-since 2026-11-21T12:00:00Z",
        WITNESS_LINES[0],
        "#tracebus max-age 86400",
        "#tracebus require witness timestamp completeness",
        quorum="X1",
    )
    expected = (
        (BUNDLE,),
        (RECEIPT,),
        (b"\x30\x00",),
        (b"\x30\x01\x00",),
        {BUNDLE.key: NOON},
        {LOG_KEY.key: NOON},
        86400,
        {"completeness", "timestamp", "witness"},
    )
    assert expected == (
        found.bundle_keys,
        found.receipt_keys,
        found.timestamp_roots,
        found.timestamp_chain,
        found.retired,
        found.revoked,
        found.max_age,
        found.required,
    )


def test_other_tools_see_a_policy_without_what_tracebus_adds() -> None:
    """Without its comments the file is the same policy of logs and witnesses."""
    lines = [*WITNESS_LINES, "#tracebus max-age 60", f"#tracebus bundle-key {BUNDLE.to_vkey()}", *GROUPS]
    plain = [line for line in lines if not line.startswith("#")]
    full, rest = policy(*lines, quorum="X-and-Y"), policy(*plain, quorum="X-and-Y")
    assert (full.logs, full.witnesses, full.groups) == (rest.logs, rest.witnesses, rest.groups)


def test_a_policy_may_be_large() -> None:
    """More logs, witnesses and groups are read than the 32 that C2SP asks for."""
    keys = [Ed25519Signer(n.to_bytes(32, "big")).verifying_key for n in range(1, 301)]
    lines = [f"log {NoteKey(f'log{n}', key).to_vkey()}" for n, key in enumerate(keys[:100])]
    lines += [f"witness w{n} {WitnessKey(f'w{n}', key).to_vkey()}" for n, key in enumerate(keys[100:200])]
    lines += ["group g0 any w0", *(f"group g{n} all g{n - 1} w{n}" for n in range(1, 100)), "quorum g99", ""]
    found = parse_policy("\n".join(lines).encode())
    assert (100, 100, 100) == (len(found.logs), len(found.witnesses), len(found.groups))


X1, X2 = WITNESS_LINES[:2]
LOG_LINE = f"log {LOG_KEY.to_vkey()}"
TIME = "2026-11-21T12:00:00Z"
BUNDLE_LINE = f"#tracebus bundle-key {BUNDLE.to_vkey()}"
REFUSED = {
    "empty": ("", "policy"),
    "no quorum": (f"{LOG_LINE}\n", "policy"),
    "two quorums": ("quorum none\nquorum none\n", "line 2"),
    "no newline at the end": (f"{LOG_LINE}\nquorum none", "line 2"),
    "cut off within a name": (f"{X1}\n{X2}\ngroup X 2 X1 X2\nquorum X"[:-1], "line 4"),
    "unknown line": ("logs x\nquorum none\n", "line 1"),
    "upper case": (f"{LOG_LINE.upper()}\nquorum none\n", "line 1"),
    "carriage returns": (f"{LOG_LINE}\r\nquorum none\r\n", "line 1"),
    "form feed": ("\fquorum none\n", "line 1"),
    "DEL": ("quorum none\x7f\n", "line 1"),
    "NUL in a comment": ("# \0\nquorum none\n", "line 1"),
    "no-break space": (f"log\u00a0{LOG_KEY.to_vkey()}\nquorum none\n", "line 1"),
    "U+2028 for a newline": (f"{LOG_LINE}\u2028quorum none\n", "line 1"),
    "byte order mark": ("\ufeffquorum none\n", "line 1"),
    "comment at the end of a line": (f"{LOG_LINE} # mine too\nquorum none\n", "line 1"),
    "log without a key": ("log\nquorum none\n", "line 1"),
    "log with a name": (f"log a {LOG_KEY.to_vkey()}\nquorum none\n", "line 1"),
    "log with a witness's key": (f"log {witness_key('X1').to_vkey()}\nquorum none\n", "line 1"),
    "witness with a log's key": (f"witness a {LOG_KEY.to_vkey()}\nquorum none\n", "line 1"),
    "witness without a name": (f"witness {witness_key('X1').to_vkey()}\nquorum none\n", "line 1"),
    "bad vkey": (f"{LOG_LINE[:-1]}x\nquorum none\n", "line 1"),
    "weak key": (
        "log a+"
        + NoteKey("a", LOG.verifying_key).key_id.hex()
        + "+"
        + base64.b64encode(b"\x01\x01" + bytes(31)).decode()
        + "\nquorum none\n",
        "line 1",
    ),
    "log twice": (f"{LOG_LINE}\n{LOG_LINE}\nquorum none\n", "line 2"),
    "log's key under another name": (
        f"{LOG_LINE}\nlog {NoteKey('other', LOG.verifying_key).to_vkey()}\nquorum none\n",
        "line 2",
    ),
    "witness's key under another name": (
        f"{X1}\nwitness X2 {WitnessKey('other', WITNESSES['X1'].verifying_key).to_vkey()}\nquorum none\n",
        "line 2",
    ),
    "log's key as a witness": (
        f"{LOG_LINE}\nwitness X {WitnessKey('w', LOG.verifying_key).to_vkey()}\nquorum none\n",
        "line 2",
    ),
    "log's key for bundles": (
        f"{LOG_LINE}\n#tracebus bundle-key {LOG_KEY.to_vkey()}\nquorum none\n",
        "line 2",
    ),
    "bundle's key for receipts": (
        f"{BUNDLE_LINE}\n#tracebus receipt-key {BUNDLE.to_vkey()}\nquorum none\n",
        "line 2",
    ),
    "name twice": (f"{X1}\n{X2.replace('X2', 'X1', 1)}\nquorum none\n", "line 2"),
    "group of a witness's name": (f"{X1}\ngroup X1 any X1\nquorum none\n", "line 2"),
    "witness called none": (f"{X1.replace('X1', 'none', 1)}\nquorum none\n", "line 1"),
    "group called none": (f"{X1}\ngroup none any X1\nquorum none\n", "line 2"),
    "none in a group": (f"{X1}\ngroup g any none\nquorum none\n", "line 2"),
    "undefined quorum": (f"{X1}\nquorum X2\n", "line 2"),
    "quorum before its name": (f"quorum X1\n{X1}\n", "line 1"),
    "quorum of a witness's key name": (f"{X1}\nquorum witness.example/X1\n", "line 2"),
    "quorum in another Unicode form": (f"{X1.replace('X1', chr(0xE9), 1)}\nquorum e\u0301\n", "line 2"),
    "two quorum names": (f"{X1}\n{X2}\nquorum X1 X2\n", "line 3"),
    "undefined member": (f"{X1}\ngroup g all X1 X2\nquorum g\n", "line 2"),
    "group of itself": (f"{X1}\ngroup g any g\nquorum g\n", "line 2"),
    "member twice": (f"{X1}\n{X2}\ngroup g all X1 X1\nquorum g\n", "line 3"),
    "member of two groups": (f"{X1}\ngroup g any X1\ngroup h any X1\nquorum g\n", "line 3"),
    "no members": (f"{X1}\ngroup g any\nquorum g\n", "line 2"),
    "threshold 0": (f"{X1}\ngroup g 0 X1\nquorum g\n", "line 2"),
    "threshold too high": (f"{X1}\ngroup g 2 X1\nquorum g\n", "line 2"),
    "threshold with a leading zero": (f"{X1}\ngroup g 01 X1\nquorum g\n", "line 2"),
    "threshold with a plus": (f"{X1}\ngroup g +1 X1\nquorum g\n", "line 2"),
    "threshold in other digits": (f"{X1}\ngroup g \uff11 X1\nquorum g\n", "line 2"),
    "threshold of many digits": (f"{X1}\ngroup g {'1' * 10_000} X1\nquorum g\n", "line 2"),
    "threshold some": (f"{X1}\ngroup g some X1\nquorum g\n", "line 2"),
    "no threshold": (f"{X1}\n{X2}\ngroup g X1 X2\nquorum g\n", "line 3"),
    # what tracebus adds
    "no keyword": ("#tracebus\nquorum none\n", "line 1"),
    "unknown keyword": ("#tracebus trust-all yes\nquorum none\n", "line 1"),
    "space after the number sign": (f"# tracebus bundle-key {BUNDLE.to_vkey()}\nquorum none\n", "line 1"),
    "capital letter": (f"#Tracebus bundle-key {BUNDLE.to_vkey()}\nquorum none\n", "line 1"),
    "colon": ("#tracebus: max-age 60\nquorum none\n", "line 1"),
    "hyphen": ("#tracebus-max-age 60\nquorum none\n", "line 1"),
    "not in a comment": (f"bundle-key {BUNDLE.to_vkey()}\nquorum none\n", "line 1"),
    "log in a comment": (f"#tracebus {LOG_LINE}\nquorum none\n", "line 1"),
    "bundle-key of a witness": (
        f"#tracebus bundle-key {witness_key('X1').to_vkey()}\nquorum none\n",
        "line 1",
    ),
    "root that is not base64": ("#tracebus timestamp-root ?\nquorum none\n", "line 1"),
    "root with unused bits": ("#tracebus timestamp-root MAB=\nquorum none\n", "line 1"),
    "root that is not DER": ("#tracebus timestamp-root LS0t\nquorum none\n", "line 1"),
    "root twice": ("#tracebus timestamp-root MAA=\n#tracebus timestamp-root MAA=\nquorum none\n", "line 2"),
    "root as a link": (
        "#tracebus timestamp-root MAA=\n#tracebus timestamp-chain MAA=\nquorum none\n",
        "line 2",
    ),
    "link without a root": ("#tracebus timestamp-chain MAA=\nquorum none\n", "policy"),
    "retired, not above": (f"#tracebus retired {BUNDLE.to_vkey()} since {TIME}\nquorum none\n", "line 1"),
    "retired by its id": (
        f"{BUNDLE_LINE}\n#tracebus retired {BUNDLE.key_id.hex()} since {TIME}\nquorum none\n",
        "line 2",
    ),
    "retired twice": (
        f"{BUNDLE_LINE}\n" + f"#tracebus retired {BUNDLE.to_vkey()} since {TIME}\n" * 2 + "quorum none\n",
        "line 3",
    ),
    "retired, another word": (
        f"{BUNDLE_LINE}\n#tracebus retired {BUNDLE.to_vkey()} from {TIME}\nquorum none\n",
        "line 2",
    ),
    "revoked since": (
        f"{BUNDLE_LINE}\n#tracebus revoked {BUNDLE.to_vkey()} since {TIME}\nquorum none\n",
        "line 2",
    ),
    **{
        f"time {time}": (
            f"{BUNDLE_LINE}\n#tracebus retired {BUNDLE.to_vkey()} since {time}\nquorum none\n",
            "line 2",
        )
        for time in (
            *("2026-11-21", "2026-11-21T12:00Z", "2026-11-21T12:00:00", "2026-11-21T12:00:00+00:00"),
            *("2026-11-21t12:00:00z", "2026-02-30T12:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T12:00:60Z"),
            *("2026-11-21T12:00:00.5Z", "\uff12026-11-21T12:00:00Z", "0000-01-01T00:00:00Z", "1795262400"),
        )
    },
    **{
        f"max-age {age}": (f"{X1}\n#tracebus max-age {age}\nquorum X1\n", "line 2")
        for age in ("0", "-1", "+1", "060", "1_0", "1h", "P1D", "\uff11", "9" * 10_000, "1.5")
    },
    "max-age twice": (f"{X1}\n#tracebus max-age 1\n#tracebus max-age 1\nquorum X1\n", "line 3"),
    "max-age without witnesses": ("#tracebus max-age 60\nquorum none\n", "policy"),
    "require something else": ("#tracebus require trust\nquorum none\n", "line 1"),
    "require twice": (f"{X1}\n#tracebus require witness\n#tracebus require witness\nquorum X1\n", "line 3"),
    "require a word twice": (f"{X1}\n#tracebus require witness witness\nquorum X1\n", "line 2"),
    "require witness without a quorum": ("#tracebus require witness\nquorum none\n", "policy"),
    "require timestamp without a root": ("#tracebus require timestamp\nquorum none\n", "policy"),
    "require completeness without a log": ("#tracebus require completeness\nquorum none\n", "policy"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_policies_are_refused(name: str) -> None:
    """A slip is refused, with the line that it is on."""
    text, place = REFUSED[name]
    with pytest.raises(MalformedInput) as caught:
        parse_policy(text.encode())
    assert place == caught.value.place


WHOLE_LINES = [
    f"{LOG_LINE} https://log.example/",
    f"{X1} https://w.example/",
    "quorum none",
    BUNDLE_LINE,
    f"#tracebus receipt-key {RECEIPT.to_vkey()}",
    "#tracebus timestamp-root MAA=",
    "#tracebus timestamp-chain MAEA",
    f"#tracebus retired {LOG_KEY.to_vkey()} since {TIME}",
    f"#tracebus revoked {LOG_KEY.to_vkey()} compromised-since {TIME}",
    "#tracebus max-age 60",
    "#tracebus require completeness timestamp witness",
]


@pytest.mark.parametrize("line", WHOLE_LINES, ids=lambda line: " ".join(line.split()[:2]))
def test_a_word_more_is_refused(line: str) -> None:
    """A line has no more words than it says."""
    with pytest.raises(MalformedInput, match=r"line 1: expected .*words after"):
        parse_policy(f"{line} more\nquorum none\n".encode())


@pytest.mark.parametrize(
    "line", [*WHOLE_LINES, "group g any X1"], ids=lambda line: " ".join(line.split()[:2])
)
def test_a_keyword_alone_is_refused(line: str) -> None:
    """A line has no fewer words than it says."""
    keyword = re.match(r"(#tracebus )?\S+", line)
    assert keyword
    with pytest.raises(MalformedInput, match=r"line 1: expected .*found 0 words after"):
        parse_policy(f"{keyword.group()}\nquorum none\n".encode())


def test_two_keys_of_the_same_name_and_id_are_refused() -> None:
    """Key ids are short: of these two seeds, the keys have the same under the name of log."""
    keys = [NoteKey("log", Ed25519Signer(seed.to_bytes(32, "big")).verifying_key) for seed in (16018, 63453)]
    lines = "".join(f"log {key.to_vkey()}\n" for key in keys)
    with pytest.raises(MalformedInput, match="a key with the name and id of that of line 1"):
        parse_policy(f"{lines}quorum none\n".encode())


@pytest.mark.parametrize("data", [b"\xffquorum none\n", b"quorum none\n# \xe9\n"])
def test_other_bytes_than_utf8_are_refused(data: bytes) -> None:
    """A policy is UTF-8."""
    with pytest.raises(MalformedInput, match="not UTF-8"):
        parse_policy(data)


def test_too_large_a_policy_is_refused() -> None:
    """Size is checked before anything else."""
    end = b"\nquorum none\n"
    with pytest.raises(MalformedInput, match="expected at most"):
        parse_policy(b"#" * (MAX_BYTES + 1 - len(end)) + end)
    assert TrustPolicy() == parse_policy(b"#" * (MAX_BYTES - len(end)) + end)


@given(st.data())
def test_any_bytes_end_in_a_policy_or_an_evidence_error(data: st.DataObject) -> None:
    """A changed or arbitrary file raises nothing but EvidenceError."""
    lines = [LOG_LINE, *WITNESS_LINES, *GROUPS, BUNDLE_LINE, "#tracebus max-age 60", "quorum X-and-Y", ""]
    text = bytearray("\n".join(lines).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(text) - 1))
        text[index : index + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=2))
    try:
        parse_policy(bytes(text))
    except EvidenceError:
        return


@given(st.integers(0, 400))
def test_each_cut_within_a_line_is_refused(length: int) -> None:
    """A file that is cut off within a line is never a weaker policy."""
    text = f"{X1}\n{X2}\ngroup X 2 X1 X2\n#tracebus max-age 86400\nquorum X\n".encode()
    if length < len(text):
        with pytest.raises(MalformedInput):
            parse_policy(text[:length])


# The specification


@pytest.fixture(scope="module")
def examples(root: Path) -> list[str]:
    """Return the fenced blocks of schemas/trust-v1.md: policy, checkpoint, proof of misbehaviour."""
    text = (root / "schemas/trust-v1.md").read_text("utf-8")
    return re.findall(r"^```(?:json)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_example_of_our_specification_holds(examples: list[str]) -> None:
    """The policy and the checkpoint of schemas/trust-v1.md give what is said there."""
    trust = parse_policy(examples[0].encode())
    found = trust.verify_checkpoint(examples[1].encode())
    trust.verify_requirements(found, 1795316402)
    expected = (ORIGIN, {"north": 1795230002, "west": 1795230005}, 1795230005, 1795230002)
    assert expected == (found.log.name, found.cosigned, found.existed_by, found.newest_at)
    with pytest.raises(Incomplete, match="expected a quorum of the last 86400 seconds"):
        trust.verify_requirements(found, 1795316403)


def test_the_example_of_misbehaviour_holds(examples: list[str]) -> None:
    """The proof of misbehaviour in schemas/trust-v1.md is about the checkpoint of its first example."""
    log = parse_policy(examples[0].encode()).logs[0].key
    found = verify_misbehaviour(examples[2].encode(), log)
    assert (open_checkpoint(examples[1].encode(), log), 7) == (found.smaller, found.larger.size)


# Quorums


@pytest.mark.parametrize(
    "names", [c for n in range(7) for c in itertools.combinations(WITNESSES, n)], ids=str
)
def test_the_quorum_of_the_example(names: tuple[str, ...]) -> None:
    """Two of the X and one of the Y, no less, make the example's quorum."""
    expected = sum(name.startswith("X") for name in names) >= 2 and any(
        name.startswith("Y") for name in names
    )
    found = EXAMPLE.verify_checkpoint(cosigned(**dict.fromkeys(names, NOON)))
    assert (expected, set(names)) == (found.quorum_met, set(found.cosigned))


@given(st.dictionaries(st.sampled_from(list(WITNESSES)), st.integers(0, 20)))
def test_the_times_of_a_quorum(times: dict[str, int]) -> None:
    """It existed by the first moment that a quorum had cosigned it, and is newest as of the last."""
    found = EXAMPLE.verify_checkpoint(cosigned(**times))

    def is_quorum(names: set[str]) -> bool:
        return len(names & {"X1", "X2", "X3"}) >= 2 and bool(names & {"Y1", "Y2", "Y3"})

    by = [t for t in range(21) if is_quorum({name for name, at in times.items() if at <= t})]
    since = [t for t in range(21) if is_quorum({name for name, at in times.items() if at >= t})]
    assert (min(by, default=None), max(since, default=None)) == (found.existed_by, found.newest_at)


def test_a_single_witness_may_be_the_quorum() -> None:
    """A quorum may name one witness."""
    one = policy(X1, X2, quorum="X2")
    assert (False, True) == (
        one.verify_checkpoint(cosigned(X1=NOON)).quorum_met,
        one.verify_checkpoint(cosigned(X2=NOON)).quorum_met,
    )


def test_without_a_quorum_the_log_is_enough() -> None:
    """A policy of none asks nobody, and has no time from anybody."""
    found = policy(X1).verify_checkpoint(cosigned())
    assert (True, None, None, LOG_KEY, CHECKPOINT) == (
        found.quorum_met,
        found.existed_by,
        found.newest_at,
        found.log,
        found.checkpoint,
    )


def test_a_witness_counts_once() -> None:
    """Two cosignatures of one witness are one voice, with its last time."""
    first, second = (cosign(CHECKPOINT, "witness.example/X1", WITNESSES["X1"], NOON + n) for n in (0, 60))
    note = format_note(sign_checkpoint(CHECKPOINT, LOG)) + (first.to_line() + second.to_line()).encode()
    found = policy(X1, X2, "group g 2 X1 X2", quorum="g").verify_checkpoint(note)
    assert ({"X1": NOON + 60}, False) == (found.cosigned, found.quorum_met)


def test_strangers_do_not_count() -> None:
    """A witness that the policy does not list is nobody."""
    found = policy(X1, quorum="X1").verify_checkpoint(cosigned(X2=NOON))
    assert ({}, False) == (found.cosigned, found.quorum_met)


# Whose checkpoint


def test_a_checkpoint_of_an_unknown_log_is_refused() -> None:
    """Witnesses do not make up for the log's signature."""
    other = format_note(sign_checkpoint(CHECKPOINT, NEW_LOG))
    with pytest.raises(SignatureRefused):
        EXAMPLE.verify_checkpoint(other)
    line = cosign(CHECKPOINT, "witness.example/X1", WITNESSES["X1"], NOON)
    with pytest.raises(SignatureRefused, match="signed by no log of the policy"):
        EXAMPLE.verify_checkpoint(format_note(Note(format_checkpoint(CHECKPOINT), (line,))))


def test_a_log_signs_for_its_own_origin_only() -> None:
    """One log's key does not sign another log's checkpoints, though the policy lists both."""
    both = policy(f"log {NoteKey('other', NEW_LOG.verifying_key).to_vkey()}")
    with pytest.raises(Unexpected, match=f"origin {ORIGIN}, signed by the key of other"):
        both.verify_checkpoint(format_note(sign_note(format_checkpoint(CHECKPOINT), "other", NEW_LOG)))


def test_a_wrong_cosignature_of_a_known_witness_is_refused() -> None:
    """A known key's wrong signature spoils the note."""
    line = NoteSignature("witness.example/X1", witness_key("X1").key_id, bytes(72))
    with pytest.raises(SignatureRefused, match=r"witness\.example/X1"):
        EXAMPLE.verify_checkpoint(format_note(sign_checkpoint(CHECKPOINT, LOG).with_signatures(line)))


def test_what_is_no_checkpoint_is_refused() -> None:
    """A log's note that is no checkpoint is malformed."""
    with pytest.raises(MalformedInput):
        EXAMPLE.verify_checkpoint(format_note(sign_note("hello\n", ORIGIN, LOG)))


@given(st.data())
def test_a_changed_byte_is_refused_or_drops_a_witness(data: st.DataObject) -> None:
    """Changing a note never adds a witness, a time or another text."""
    note = cosigned(X1=NOON, Y1=NOON)
    index = data.draw(st.integers(0, len(note) - 1))
    changed = note[:index] + bytes([data.draw(st.integers(0, 255))]) + note[index + 1 :]
    try:
        found = EXAMPLE.verify_checkpoint(changed)
    except EvidenceError:
        return
    assert (CHECKPOINT, True) == (
        found.checkpoint,
        found.cosigned.items() <= {"X1": NOON, "Y1": NOON}.items(),
    )


# What is asked for


def test_a_quorum_that_is_not_met_is_incomplete() -> None:
    """The policy's quorum is asked for, and who cosigned is told."""
    with pytest.raises(Incomplete, match="expected cosignatures of X-and-Y, found X1, X2"):
        EXAMPLE.verify_requirements(EXAMPLE.verify_checkpoint(cosigned(X1=NOON, X2=NOON)), NOON)
    with pytest.raises(Incomplete, match="found nobody"):
        EXAMPLE.verify_requirements(EXAMPLE.verify_checkpoint(cosigned()), NOON)


def test_a_quorum_that_is_met_is_enough() -> None:
    """Without further requirements the quorum is all, however old it is."""
    found = EXAMPLE.verify_checkpoint(cosigned(X1=0, X3=0, Y2=0))
    assert EXAMPLE.verify_requirements(found, NOON) is None


@pytest.mark.parametrize(
    ("age", "is_fresh"), [(-301, False), (-300, True), (0, True), (60, True), (61, False)]
)
def test_a_checkpoint_must_be_fresh(age: int, is_fresh: bool) -> None:
    """A quorum must have said of late, and not in the future, that it knows no newer checkpoint."""
    fresh = policy(X1, "#tracebus max-age 60", quorum="X1")
    found = fresh.verify_checkpoint(cosigned(X1=NOON - age))
    if is_fresh:
        assert fresh.verify_requirements(found, NOON) is None
    else:
        with pytest.raises(Incomplete, match="expected a quorum of the last 60 seconds"):
            fresh.verify_requirements(found, NOON)


def test_one_late_witness_does_not_make_a_quorum_fresh() -> None:
    """All of a quorum must be recent."""
    fresh = policy(X1, X2, "group g all X1 X2", "#tracebus max-age 60", quorum="g")
    with pytest.raises(Incomplete):
        fresh.verify_requirements(fresh.verify_checkpoint(cosigned(X1=NOON, X2=NOON - 61)), NOON)


@pytest.mark.parametrize("time", [253402300800, 2**63 - 1])
def test_a_time_beyond_the_calendar_is_refused_as_others(time: int) -> None:
    """A witness may claim any second up to 2^63-1."""
    fresh = policy(X1, "#tracebus max-age 60", quorum="X1")
    with pytest.raises(Incomplete, match=f"{time} seconds after 1970"):
        fresh.verify_requirements(fresh.verify_checkpoint(cosigned(X1=time)), NOON)


# Keys that ended


def ended(word: str, key: NoteKey | WitnessKey, *lines: str, quorum: str = "none") -> TrustPolicy:
    """Return a policy in which a key is retired or revoked since noon."""
    how = {"retired": "since", "revoked": "compromised-since"}[word]
    return policy(*lines, f"#tracebus {word} {key.to_vkey()} {how} {TIME}", quorum=quorum)


@pytest.mark.parametrize(
    ("word", "claimed", "shown", "is_good"),
    [
        ("retired", None, None, False),
        ("retired", NOON - 1, None, True),
        ("retired", NOON, None, False),
        ("retired", None, NOON - 1, True),
        ("retired", NOON - 1, NOON + 9, True),
        ("retired", NOON + 9, NOON, False),
        ("revoked", None, None, False),
        ("revoked", NOON - 1, None, False),
        ("revoked", NOON - 1, NOON, False),
        ("revoked", None, NOON - 1, True),
        ("revoked", NOON + 9, NOON - 1, True),
    ],
)
def test_a_key_that_ended_signs_no_more(
    word: str, claimed: int | None, shown: int | None, is_good: bool
) -> None:
    """Of a retired key its owner's word counts; of a revoked one, only what others show."""
    found = ended(word, BUNDLE, BUNDLE_LINE)
    if is_good:
        assert found.verify_key(BUNDLE.key, "bundle", claimed=claimed, shown=shown) is None
    else:
        with pytest.raises(SignatureRefused, match=r"2026-11-21T12:00:00Z"):
            found.verify_key(BUNDLE.key, "bundle", claimed=claimed, shown=shown)


def test_a_key_that_did_not_end_is_good() -> None:
    """Other keys are not affected."""
    assert ended("revoked", BUNDLE, BUNDLE_LINE).verify_key(LOG_KEY.key, "checkpoint") is None


@pytest.mark.parametrize("word", ["retired", "revoked"])
def test_a_checkpoint_by_a_stolen_key_needs_a_quorum_before_the_theft(word: str) -> None:
    """Whoever stole the log's key cannot have honest witnesses date a checkpoint back."""
    stolen = ended(word, LOG_KEY, X1, X2, "group g all X1 X2", quorum="g")
    assert NOON - 1 == stolen.verify_checkpoint(cosigned(X1=NOON - 1, X2=NOON - 9)).existed_by
    for times in ({}, {"X1": NOON - 1}, {"X1": NOON - 1, "X2": NOON}):
        with pytest.raises(SignatureRefused, match=r"compromised|retired"):
            stolen.verify_checkpoint(cosigned(**times))


def test_a_log_that_changes_its_key_may_sign_with_both() -> None:
    """The new key counts, whichever line comes first."""
    both = ended("revoked", LOG_KEY, f"log {NEW_LOG_KEY.to_vkey()}")
    old, new = sign_checkpoint(CHECKPOINT, LOG), sign_checkpoint(CHECKPOINT, NEW_LOG)
    notes = (old.with_signatures(*new.signatures), new.with_signatures(*old.signatures))
    assert [NEW_LOG_KEY] * 2 == [both.verify_checkpoint(format_note(note)).log for note in notes]


def test_a_retired_witness_counts_until_then() -> None:
    """A witness that ended honestly keeps the word that it gave before."""
    found = ended("retired", witness_key("X1"), X1, quorum="X1")
    before, after = (found.verify_checkpoint(cosigned(X1=at)) for at in (NOON - 1, NOON))
    assert (True, (), False, 1) == (
        before.quorum_met,
        before.passed_over,
        after.quorum_met,
        len(after.passed_over),
    )


def test_a_revoked_witness_never_counts() -> None:
    """Whoever stole a witness's key can write any time."""
    found = ended("revoked", witness_key("X1"), X1, quorum="X1").verify_checkpoint(cosigned(X1=NOON - 9))
    assert ({}, False, True) == (found.cosigned, found.quorum_met, "X1" in found.passed_over[0])


def test_timestamps_without_a_root_are_passed_over() -> None:
    """Who has no root for timestamps is told that they were not looked at."""
    found = EXAMPLE.verify_checkpoint(cosigned(), [b"", b""])
    assert ((), ("timestamp: the policy has no root for it",) * 2) == (found.timestamps, found.passed_over)
