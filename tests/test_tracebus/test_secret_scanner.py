"""The secret scanner: what it takes for a secret, what it leaves alone, and how long it takes."""

import gzip
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evidence import canonical
from tests.test_tracebus.secret_examples import FRAMES, near_misses, secrets, texts
from tracebus.secret_patterns import PATTERNS, SecretPattern
from tracebus.secret_scanner import DEFAULT_SCANNER, Finding, SecretScanner

KEY = bytes(range(32))
SCANNER = SecretScanner(KEY)
ACME = SecretPattern("acme-token", r"acme_[a-z0-9]{8}", ("acme_",))

_IDS = [pattern.id for pattern in PATTERNS]


def test_each_pattern_has_examples_and_near_misses() -> None:
    """A pattern without an example of what it finds, and of what it must not, is not finished."""
    assert sorted(_IDS) == sorted(secrets()) == sorted(near_misses())


@pytest.mark.parametrize(("pattern_id", "secret", "text"), texts(), ids=[row[0] for row in texts()])
def test_masks_a_secret(pattern_id: str, secret: str, text: str) -> None:
    """A marker stands where the secret stood, and all around it stays."""
    marker = f"[secret: {pattern_id}]"
    found_as = text.replace(secret, marker)
    assert (found_as, (pattern_id,)) == SCANNER.mask(text)


@pytest.mark.parametrize(
    "escape", ["\\n", "\\r\\n", "\\\\n", "\\u00e9", "\\ud83d\\ude00", "\\x1b", "%3D", "%0A"]
)
def test_masks_behind_an_escape(escape: str) -> None:
    """A secret that begins a line of a text within JSON, or a part of a URL, is found there."""
    for pattern_id, secret, text in texts():
        found_as = escape + text.replace(secret, f"[secret: {pattern_id}]")
        assert (found_as, (pattern_id,)) == SCANNER.mask(escape + text)


@pytest.mark.parametrize("pattern_id", ["aws-secret-key", "basic-credentials"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_masks_in_json_within_json(pattern_id: str, depth: int) -> None:
    """What is told by the name before it is found also where the quotes around both are escaped."""
    (secret,), frame = secrets()[pattern_id], FRAMES[pattern_id][1]
    text, masked = frame.format(secret), frame.format(f"[secret: {pattern_id}]")
    for _ in range(depth):
        text, masked = json.dumps(text), json.dumps(masked)
    assert (masked, (pattern_id,)) == SCANNER.mask(text)


@pytest.mark.parametrize("pattern_id", _IDS)
def test_leaves_a_near_miss_alone(pattern_id: str) -> None:
    """What looks like a secret of a form and is none stays as it is."""
    for text in near_misses()[pattern_id]:
        assert (text, ()) == SCANNER.mask(text)


@pytest.mark.parametrize("pattern_id", _IDS)
def test_a_marker_is_no_secret(pattern_id: str) -> None:
    """What was masked is not found again, also where it stands in what frames a secret."""
    marker = f"[secret: {pattern_id}]"
    for frame in ["{}", *(frame for frames in FRAMES.values() for frame in frames)]:
        assert (frame.format(marker), ()) == SCANNER.mask(frame.format(marker))


def test_counts_each_secret() -> None:
    """Several secrets in a text are each masked, and each has its pattern's id."""
    one, two = secrets()["github-token"][:2]
    other = secrets()["npm-token"][0]
    masked = "[secret: github-token], [secret: github-token] and [secret: npm-token]"
    found = ("github-token", "github-token", "npm-token")
    assert (masked, found) == SCANNER.mask(f"{one}, {two} and {other}")


def test_a_secret_in_a_frame_is_named_by_its_own_form() -> None:
    """A token in a URL or a header is masked once, as the token that it is."""
    token = secrets()["github-token"][0]
    assert ("https://x:[secret: github-token]@acme.com", ("github-token",)) == SCANNER.mask(
        f"https://x:{token}@acme.com"
    )
    assert ("Bearer [secret: github-token]", ("github-token",)) == SCANNER.mask(f"Bearer {token}")


def test_masks_among_characters_that_are_no_unicode() -> None:
    """A lone surrogate, which no UTF-8 has, hides nothing."""
    token = secrets()["github-token"][0]
    assert ("\ud800 [secret: github-token]", ("github-token",)) == SCANNER.mask(f"\ud800 {token}")


def _in_json(text: str) -> bytes:
    return canonical.dumps({"a": text, "b": [text, {text: None}]})


@given(
    st.text(), st.sampled_from(texts()), st.text(), st.sampled_from(["", "\n", '"', "\\", " ", "é", "\x00"])
)
def test_the_filter_misses_nothing(before: str, example: tuple[str, str, str], after: str, edge: str) -> None:
    """Where `mask` finds something in a text, `may_hold` says so of JSON with it, whatever is escaped."""
    text = f"{before}{edge}{example[2]}{edge}{after}"
    assert bool(SCANNER.mask(text)[1]) <= SCANNER.may_hold(_in_json(text))


@pytest.mark.parametrize("character", [chr(code) for code in range(32)] + ["\x7f", "\x80"])
def test_the_filter_misses_no_control_character(character: str) -> None:
    """The same where JSON escapes what stands within a secret."""
    text = f"postgres://svc:p4ss{character}w0rd@db"
    assert bool(SCANNER.mask(text)[1]) <= SCANNER.may_hold(_in_json(text))


_LITERALS = [literal for pattern in PATTERNS for literal in pattern.literals]
_PIECES = st.sampled_from(
    [*_LITERALS, "://", "@", ":", "\n", "\t", '"', "\\", "/", "é", "\u2028", " ", "\x7f", "x" * 40]
)


@given(st.lists(_PIECES | st.text("aA0_-.=+%:@/", max_size=40), max_size=12).map("".join))
def test_the_filter_misses_nothing_in_texts_made_of_pieces(text: str) -> None:
    """The same of texts that are put together from what frames secrets, where most are found by accident."""
    assert bool(SCANNER.mask(text)[1]) <= SCANNER.may_hold(_in_json(text))


@given(st.text())
def test_the_filter_seldom_speaks(text: str) -> None:
    """A text without any literal passes the filter, so that most payloads are not looked at further."""
    assume(not any(literal in text for literal in _LITERALS))
    assert not SCANNER.may_hold(_in_json(text))


def test_a_url_and_an_address_pass_the_filter() -> None:
    """What is common in payloads costs no second look."""
    text = _in_json('see https://acme.com/x?y=1, and write to "bob@acme.com"')
    assert not SCANNER.may_hold(text)


_HOSTILE = [
    *(literal * 3 for literal in _LITERALS),
    *("a://", "://a:", "://:", "a:b@", "://a:b", "eyJaaaaaaaaaaaa.", "eyJaaaaaaaaaaaa.eyJaaaaaaaaaaaa."),
    *("sk-" + "a" * 20, "sk-proj-", "Bearer ", "Bearer a.", "bearer " + "a" * 19 + " ", "1234567890:AA"),
    *("-----BEGIN " + "PRIVATE KEY" + "-----", "-----BEGIN " + "PRIVATE KEY" + "-----\n" + "a" * 16 + "\n"),
    *(
        "-----BEGIN " + "A " * 4,
        "-----BEGIN " + "PRIVATE KEY" + "-----" + "\nA-a: " * 4,
        "\n",
        "\\n",
        "=",
        " ",
    ),
    *(
        "SecretAccessKey" + " " * 4,
        "SecretAccessKey: " + "a" * 39 + " ",
        "Authorization: Basic a ",
        "sig=%2B",
    ),
    *("hooks.slack.com/services/a ", "https://hooks.slack.com/services/", "AccountKey=" + "a" * 85 + "="),
]


@pytest.mark.slow
@pytest.mark.parametrize("piece", _HOSTILE, ids=range(len(_HOSTILE)))
def test_takes_time_in_proportion(piece: str) -> None:
    """Eight times as much of a text that was made to be slow takes about eight times as long, not 64."""
    small, large = (_least_time(_filled(piece, kib * 1024)) for kib in (32, 256))
    assert large < 24 * small + 0.005


def _filled(piece: str, size: int) -> str:
    return (piece * (size // len(piece) + 1))[:size]


def _least_time(text: str) -> float:
    def once() -> float:
        began = time.perf_counter()
        SCANNER.mask(text)
        for pattern in PATTERNS:
            pattern.mask(text)
        return time.perf_counter() - began

    return min(once() for _ in range(3))


def test_the_place_is_hashed_and_not_the_secret() -> None:
    """Who has the key can compute the hash of a place, by what the documentation says of it."""
    message = b'tracebus/secret-place/v1\n["tool_executed","result","\\u00e4",null]'
    expected = "hmac-sha256:" + hmac.new(KEY, message, hashlib.sha256).hexdigest()
    assert expected == SCANNER.place_hash("tool_executed", ("result", "ä", None))


def test_places_are_told_apart_under_one_key_only() -> None:
    """Equal places have equal hashes, others have others, and under another key all have."""
    place = ("tool_executed", ("result", "a"))
    assert SCANNER.place_hash(*place) == SecretScanner(KEY).place_hash(*place)
    others = {
        SCANNER.place_hash("tool_proposed", ("result", "a")),
        SCANNER.place_hash("tool_executed", ("result", None)),
        SCANNER.place_hash("tool_executed", ("result", "\ud800")),
        SecretScanner().place_hash(*place),
        SecretScanner().place_hash(*place),
    }
    assert 5 == len(others - {SCANNER.place_hash(*place)})


def test_own_patterns_come_first() -> None:
    """A pattern of the user's is looked for, and wins over a built-in one."""
    own = SecretPattern("our-proxy", r"://proxy:[^@]+@", ("://",))
    scanner = SecretScanner(patterns=[ACME, own])
    assert ("[secret: acme-token]", ("acme-token",)) == scanner.mask("acme_0123abcd")
    assert ("http[secret: our-proxy]x", ("our-proxy",)) == scanner.mask("http://proxy:secret@x")
    assert scanner.may_hold(_in_json("acme_0123abcd"))
    assert scanner.may_hold(_in_json("http://proxy:s e c r e t@x"))


def test_own_patterns_may_frame_the_secret() -> None:
    """The group named secret is what is replaced, or the whole match where that has none."""
    own = SecretPattern("acme-pin", r"PIN=(?P<secret>[0-9]{6})|OPIN=[a-z]{6}", ("PIN=",))
    expected = ("PIN=[secret: acme-pin], [secret: acme-pin].", ("acme-pin", "acme-pin"))
    assert expected == SecretScanner(patterns=[own]).mask("PIN=123456, OPIN=abcdef.")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (ACME._replace(id="Acme Token"), "expected an id"),
        (ACME._replace(id="a" * 65), "expected an id"),
        (ACME._replace(id="jwt"), "expected different ids"),
        (ACME._replace(regex="("), "unterminated"),
        (ACME._replace(regex="acme_[a-z]*|"), "an empty text"),
        (ACME._replace(regex="acme-token"), "its own marker"),
        (ACME._replace(literals=()), "expected the literals"),
        (ACME._replace(literals="acme_"), "expected the literals"),
        (ACME._replace(literals=("a",)), "expected a literal"),
        (ACME._replace(literals=('a"b',)), "expected a literal"),
        (ACME._replace(literals=("a\\b",)), "expected a literal"),
        (ACME._replace(literals=("a\nb",)), "expected a literal"),
        (ACME._replace(literals=("äb",)), "expected a literal"),
    ],
)
def test_an_own_pattern_that_cannot_work_is_refused(pattern: SecretPattern, reason: str) -> None:
    """The filter and the markers rest on what is asked of a pattern."""
    with pytest.raises(ValueError, match=reason):
        SecretScanner(patterns=[pattern])


def test_a_short_key_is_refused() -> None:
    """A key that can be tried out would give the places away."""
    with pytest.raises(ValueError, match="expected at least 16 bytes, found 15"):
        SecretScanner(b"x" * 15)


def test_says_what_it_is() -> None:
    """Findings name the library and its version."""
    assert SCANNER.detected_by.startswith("tracebus ")


def test_may_be_used_in_any_thread() -> None:
    """Threads that begin together with a new scanner all find the same."""
    scanner = SecretScanner()
    token = secrets()["github-token"][0]
    together, found = threading.Barrier(8), []

    def mask() -> None:
        together.wait()
        found.append(scanner.mask(token))

    threads = [threading.Thread(target=mask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [("[secret: github-token]", ("github-token",))] * 8 == found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_may_be_used_after_a_fork() -> None:
    """A child finds the same, under the same key."""
    program = (
        "import os, sys\n"
        "from tracebus.secret_scanner import DEFAULT_SCANNER as scanner\n"
        "token = 'ghp' + '_' + 'a1' * 18\n"
        "def found(): return scanner.mask(token), scanner.place_hash('x.y', ('a',))\n"
        "before = found()\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if found() == before else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or (found() != before))\n"
    )
    assert 0 == subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode


def test_nothing_is_compiled_on_import() -> None:
    """What costs time is made when it is first needed."""
    program = (
        "import tracebus, tracebus.secret_patterns as patterns\n"
        "from tracebus.secret_scanner import DEFAULT_SCANNER\n"
        "print(patterns.compiled.cache_info().currsize, DEFAULT_SCANNER._filter)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
    assert b"0 None" == done.stdout.strip()


def test_conversations_of_others_have_no_secret(shared: Path) -> None:
    """Recorded conversations of an airline's agent, 100 of them and more, are left as they are."""
    found = [text for text in _strings(shared / "data/tau-airline-gpt4o.jsonl.gz") if SCANNER.mask(text)[1]]
    assert [] == found


def _strings(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            pending = [json.loads(line)]
            while pending:
                value = pending.pop()
                if isinstance(value, str):
                    yield value
                elif isinstance(value, dict):
                    pending += [*value, *value.values()]
                elif isinstance(value, list):
                    pending += value


def test_a_finding_is_a_value() -> None:
    """Equal findings are equal, and what is found is no part of them."""
    assert Finding("jwt", ("a", None), 2) == Finding("jwt", ("a", None), 2)
    assert DEFAULT_SCANNER.patterns == PATTERNS
