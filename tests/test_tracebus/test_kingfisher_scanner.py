"""The Kingfisher scanner: what the library's rules add to our patterns, and what they leave alone."""

from __future__ import annotations

import base64
import os
import shutil
import string
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import canonical
from tests.conftest import in_ci
from tests.test_tracebus.secret_examples import FRAMES, near_misses, secrets, some, texts
from tests.test_tracebus.test_secret_scanner import _strings
from tracebus import (
    EventQuery,
    SecretDetected,
    SecretPattern,
    SecretScanner,
    SqliteEventLog,
    ToolExecuted,
    TraceEventBus,
)
from tracebus.kingfisher_scanner import KingfisherScanner
from tracebus.secret_patterns import marker

KEY = bytes(range(32))
OURS = SecretScanner(KEY)

LINEAR: Final = "kingfisher:betterleaks.linear-api-key"
EXAMPLES: Final = {
    LINEAR: "lin" + "_api_" + some(40),
    "kingfisher:betterleaks.doppler-api-token": "dp" + ".pt." + some(43),
    "kingfisher:betterleaks.groq-api-key": "gsk" + "_" + some(52),
    "kingfisher:betterleaks.notion-api-token": "ntn" + "_" + some(11, string.digits) + some(35),
    "kingfisher:betterleaks.perplexity-api-key": "pplx" + "-" + some(48),
    "kingfisher:betterleaks.pulumi-api-token": "pul" + "-" + some(40, "0123456789abcdef"),
    "kingfisher:betterleaks.replicate-api-token": "r8" + "_" + some(37),
}
"""Secrets of which we have no pattern, by the id of the rule that finds them."""
TOKEN: Final = EXAMPLES[LINEAR]
GITHUB: Final = secrets()["github-token"][0]


@pytest.fixture(scope="module")
def compiled_rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the compiled rules, so that they are compiled once."""
    return tmp_path_factory.mktemp("rules")


@pytest.fixture(scope="module")
def scanner(compiled_rules: Path) -> KingfisherScanner:
    """A scanner; without the library there is nothing to test."""
    if find_spec("kingfisher_sdk") is None:
        reason = "kingfisher-secret-scanner is not installed"
        if in_ci():
            pytest.fail(reason)
        pytest.skip(reason)
    return KingfisherScanner(KEY, cache_dir=compiled_rules)


def _run(program: str, *arguments: str | Path, **environment: str) -> str:
    """Run a program in a process of its own, where `token` is a secret."""
    imports = "import sys\nfrom tracebus.kingfisher_scanner import KingfisherScanner\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}token = {TOKEN!r}\n{program}", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "frame",
    ["{}", 'use "{}", not the old one', "TOKEN={}\n", "ü😀\u2028 {} é", "\x00{}\x00", "\ud800\ud800 {} é"],
)
@pytest.mark.parametrize(("rule", "secret"), EXAMPLES.items(), ids=EXAMPLES)
def test_masks_what_only_a_rule_finds(scanner: KingfisherScanner, rule: str, secret: str, frame: str) -> None:
    """A marker that names the rule stands where the secret stood, and all around it stays."""
    text = frame.format(secret)
    assert (text, ()) == OURS.mask(text)
    assert (frame.format(marker(rule)), (rule,)) == scanner.mask(text)


_ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(before=_ANY_TEXT, after=_ANY_TEXT)
def test_masks_the_secret_and_nothing_else(scanner: KingfisherScanner, before: str, after: str) -> None:
    """Whatever stands around it, lone surrogates and NUL too: each character of that stays."""
    assert (f"{before} {marker(LINEAR)} {after}", (LINEAR,)) == scanner.mask(f"{before} {TOKEN} {after}")


@pytest.mark.parametrize(("pattern_id", "secret", "text"), texts(), ids=[row[0] for row in texts()])
def test_our_patterns_come_first(scanner: KingfisherScanner, pattern_id: str, secret: str, text: str) -> None:
    """What we have a pattern for is masked as it is without the library, and under our name."""
    assert (text.replace(secret, marker(pattern_id)), (pattern_id,)) == scanner.mask(text)


@pytest.mark.usefixtures("scanner")
def test_own_patterns_come_first(compiled_rules: Path) -> None:
    """A pattern of the user's is looked for, as without the library."""
    own = SecretPattern("our-linear", r"lin_api_[a-zA-Z0-9]{40}", ("lin_api_",))
    scanner = KingfisherScanner(patterns=[own], cache_dir=compiled_rules)
    assert (marker("our-linear"), ("our-linear",)) == scanner.mask(TOKEN)


def test_masks_each_secret(scanner: KingfisherScanner) -> None:
    """Several secrets, of ours and of rules, side by side and again: ours first, then in their order."""
    groq = "kingfisher:betterleaks.groq-api-key"
    text = f"é{GITHUB} {TOKEN}\n{EXAMPLES[groq]};{TOKEN} {GITHUB}"
    ours, linear = marker("github-token"), marker(LINEAR)
    masked = f"é{ours} {linear}\n{marker(groq)};{linear} {ours}"
    assert (masked, ("github-token", "github-token", LINEAR, groq, LINEAR)) == scanner.mask(text)


def test_what_several_rules_find_is_masked_once(scanner: KingfisherScanner) -> None:
    """One secret that is a match for two rules gets one marker and one finding."""
    key = some(32, string.ascii_lowercase + string.digits)
    rule = "kingfisher:betterleaks.bittrex-access-key"
    assert (f"bittrex_key = {marker(rule)}", (rule,)) == scanner.mask(f"bittrex_key = {key}")


def test_a_marker_is_no_secret(scanner: KingfisherScanner, compiled_rules: Path) -> None:
    """No marker of any rule is found again, also where it stands in what frames a secret."""
    from kingfisher_sdk import Rules

    rules = Rules(confidence="high", cache_dir=compiled_rules).metadata()
    ids = ["kingfisher:" + rule["id"] for rule in rules]
    frames = ["{}", 'key = "{}"', "token: {}", *(frame for frames in FRAMES.values() for frame in frames)]
    framed = [frame.format(marker(rule)) for rule in ids for frame in frames]
    assert len(ids) > 300
    assert [] == [text for text in framed if scanner.mask(text) != (text, ())]


def test_no_rule_reaches_over_a_marker(scanner: KingfisherScanner) -> None:
    """What our patterns masked stays, also where a rule would take it and all around it for one secret."""
    key = "PRIVATE" + " KEY"
    frame = f"-----BEGIN {key}-----\nis how a key begins, and {{}} is none; it ends in\n-----END {key}-----"
    assert (frame.format(marker("github-token")), ("github-token",)) == scanner.mask(frame.format(GITHUB))


def test_what_only_reads_like_a_marker_hides_nothing(scanner: KingfisherScanner) -> None:
    """A secret between the brackets of a marker that nobody puts there is found."""
    assert (f"[secret: {marker(LINEAR)} ]", (LINEAR,)) == scanner.mask(f"[secret: {TOKEN} ]")


@pytest.mark.parametrize(
    "text",
    [
        "heroku_request_id: 01234567-89ab-4cde-8f01-23456789abcd",
        'virustotal = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"',
        "circleci: da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "datadog_trace_id: 4bf92f3577b34da6a3ce929d0e0e4736",
        "cloudinary_cloud_name = 'acme-shop'",
    ],
)
def test_leaves_identifiers_alone(scanner: KingfisherScanner, text: str) -> None:
    """A UUID, a digest, a commit, a trace and a name are no secrets for standing behind a provider's."""
    assert (text, ()) == scanner.mask(text)


@pytest.mark.parametrize("pattern_id", near_misses())
def test_leaves_near_misses_alone(scanner: KingfisherScanner, pattern_id: str) -> None:
    """What our patterns are careful to leave, the rules leave too."""
    for text in near_misses()[pattern_id]:
        assert (text, ()) == scanner.mask(text)


def test_leaves_what_is_encoded(scanner: KingfisherScanner) -> None:
    """Base64 is not looked into: a document that mentions a secret would be masked as a whole."""
    text = base64.b64encode(f"a document\nwith {TOKEN} in it".encode()).decode()
    assert (text, ()) == scanner.mask(text)


def test_conversations_of_others_have_no_secret(scanner: KingfisherScanner, shared: Path) -> None:
    """Recorded conversations of an airline's agent are left as they are."""
    strings = list(_strings(shared / "data" / "tau-airline-gpt4o.jsonl.gz"))
    assert len(strings) > 10_000
    assert [] == [text for text in strings if scanner.mask(text)[1]]


def test_leaves_what_reads_like_utf_16(scanner: KingfisherScanner) -> None:
    """Text with a NUL behind each character is taken for the text that it is, so that no half is masked."""
    text = "".join(f"{character}\x00" for character in f"x {TOKEN} x")
    assert (text, ()) == scanner.mask(text)


@given(st.text())
def test_the_filter_lets_everything_pass(scanner: KingfisherScanner, text: str) -> None:
    """What rules find cannot be told from JSON, so each string is looked at."""
    assert scanner.may_hold(canonical.dumps([text]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        f"{TOKEN} ",
        f"é{TOKEN} ",
        f"{marker(LINEAR)} ",
        "-----BEGIN " + "PRIVATE KEY" + "-----",
        "heroku: ",
        "\x00",
    ],
    ids=["secrets", "not ascii", "markers", "keys", "names", "nul"],
)
def test_takes_time_in_proportion(scanner: KingfisherScanner, piece: str) -> None:
    """Four times as much of a text that is full of matches takes about four times as long, not 16."""
    small, large = (_least_time(scanner, piece * (kib * 1024 // len(piece))) for kib in (256, 1024))
    assert large < 12 * small + 0.005


def _least_time(scanner: KingfisherScanner, text: str) -> float:
    def once() -> float:
        began = time.perf_counter()
        scanner.mask(text)
        return time.perf_counter() - began

    return min(once() for _ in range(2))


def test_says_what_it_is(scanner: KingfisherScanner) -> None:
    """Findings name both, with the versions that tell which rules there were."""
    expected = f"{OURS.detected_by}, kingfisher-secret-scanner {version('kingfisher-secret-scanner')}"
    assert expected == scanner.detected_by


def test_may_be_used_in_any_thread(scanner: KingfisherScanner) -> None:
    """Threads that mask at the same time all find the same."""
    text, found = f"{TOKEN} " * 200, []
    threads = [threading.Thread(target=lambda: found.append(scanner.mask(text))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(f"{marker(LINEAR)} " * 200, (LINEAR,) * 200)] * 8 == found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("scanner")
def test_may_be_used_after_a_fork(compiled_rules: Path) -> None:
    """Children that are born while other threads mask find the same, and none of them hangs."""
    program = """
import os, signal, threading
scanner, text, done = KingfisherScanner(cache_dir=sys.argv[1]), f"{token} " * 1000, threading.Event()
def mask():
    while not done.is_set():
        scanner.mask(text)
threads = [threading.Thread(target=mask) for _ in range(2)]
for thread in threads: thread.start()
before, codes = scanner.mask(text), []
for _ in range(20):
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(0 if scanner.mask(text) == before else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
for thread in threads: thread.join()
print(len(before[1]), sorted(set(codes)))
"""
    assert "1000 [0]" == _run(program, compiled_rules)


@pytest.fixture
def strace() -> str:
    """The strace program; without it there is nothing to test, which in CI is a failure."""
    found = shutil.which("strace")
    if found is None:
        if in_ci():
            pytest.fail("strace is not installed; .ci/run installs it")
        pytest.skip("strace is not installed")
    return found


def _network_calls(strace: str, program: str, folder: Path) -> str:
    trace = folder / "trace"
    command = [strace, "-f", "-qq", "-e", "trace=%network", "-e", "signal=none", "-o", str(trace)]
    subprocess.run([*command, sys.executable, "-c", program], check=True, timeout=100)
    return trace.read_text(encoding="utf-8")


@pytest.mark.usefixtures("scanner")
def test_no_socket_is_opened(strace: str, tmp_path: Path) -> None:
    """Neither making the scanner nor finding secrets calls anything of the network; the trace would tell."""
    program = (
        "from tracebus.kingfisher_scanner import KingfisherScanner\n"
        f"assert KingfisherScanner().mask({' '.join(EXAMPLES.values())!r})[1]\n"
    )
    assert "" == _network_calls(strace, program, tmp_path)
    assert "AF_INET" in _network_calls(strace, "import socket; socket.socket()", tmp_path)


@pytest.mark.usefixtures("scanner")
def test_nothing_is_written_unless_a_folder_is_given(tmp_path: Path) -> None:
    """Compiled rules are kept only where the program says; from there they find the same."""
    home, cache = tmp_path / "home", tmp_path / "cache"
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "KF_RULE_CACHE_DIR", "LOCALAPPDATA"), str(home))
    program = """
for cache_dir in (None, sys.argv[1], sys.argv[1]):
    print(*KingfisherScanner(cache_dir=cache_dir).mask(token)[1])
"""
    assert [LINEAR] * 3 == _run(program, cache, **homes).split()
    assert (False, 1) == (home.exists(), len(list(cache.iterdir())))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the scanner is refused at once, with what to install."""
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", None)
    with pytest.raises(ModuleNotFoundError, match=r"install tracebus\[secrets\]"):
        KingfisherScanner()


def _bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.anyio
async def test_what_a_rule_finds_is_not_in_the_log(scanner: KingfisherScanner, tmp_path: Path) -> None:
    """What a rule masked is in no byte of the log, and is reported beside its event under the rule's id."""
    log = SqliteEventLog(tmp_path / "log.db")
    async with TraceEventBus(log, secret_scanner=scanner) as bus, bus.run():
        result = {"stdout": [f"token {TOKEN} of {GITHUB}"], TOKEN: 1}
        event = await bus.publish(ToolExecuted(tool="t", result=result))
        reports = [e.payload async for e in bus.query(EventQuery()) if isinstance(e.payload, SecretDetected)]
    assert {"stdout": [f"token {marker(LINEAR)} of {marker('github-token')}"], marker(LINEAR): 1} == (
        event.payload.result
    )
    assert ["github-token", LINEAR, LINEAR] == sorted(report.pattern_id for report in reports)
    assert {scanner.detected_by} == {report.detected_by for report in reports}
    written = _bytes_in(tmp_path)
    assert b"betterleaks.linear-api-key" in written
    assert not [secret for secret in (TOKEN, GITHUB) if secret.encode() in written]


@pytest.mark.anyio
async def test_a_header_that_a_rule_finds_is_refused(scanner: KingfisherScanner, tmp_path: Path) -> None:
    """An id cannot be masked, so one that holds a secret starts no run, and the error does not say it."""
    async with TraceEventBus(SqliteEventLog(tmp_path / "log.db"), secret_scanner=scanner) as bus:
        with pytest.raises(ValueError, match=f"workflow_id: holds a secret .{LINEAR}") as refused:
            await bus.start_run(workflow_id=TOKEN)
    assert TOKEN not in str(refused.value)
