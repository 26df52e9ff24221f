"""`tracebus show`: what a reader sees, and what no payload can do to a terminal."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import Result

from evidence import DisclosurePolicy, VerifyingKey, Withholding, redact_evidence_bundle
from evidence.note import NoteKey
from tests.disclosing import KEY, bundle_of, trip_log
from tracebus import SecretDetected, SqliteEventLog, ToolExecuted, ToolProposed, TraceEventBus

Cli = Callable[..., Result]

ATTACKS = {
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the title": "\x1b]0;pwned\x07",
    "8-bit CSI": "\x9b2J",
    "turns text around": "\u202efdp.exe",
    "isolates": "\u2066x\u2069",
    "returns the carriage": "ok\rverified",
    "adds a line": "a\n    2026-11-21 approval_resolved approved",
    "is a lone surrogate": "\ud800",
    "hides in tags": "\U000e0041",
    "separates lines": "a\u2028b",
    "deletes": "abc\x7f\x08",
}


def record(path: Path, result: object, tool: str = "search", agent: str | None = None) -> None:
    """Make a log with a tool result in it that somebody else wrote."""

    async def publish() -> None:
        async with (
            TraceEventBus(store) as bus,
            bus.run(workflow_id="w", run_id="r", agent_id=agent) as run,
            run.turn(),
        ):
            await bus.publish(ToolExecuted(tool=tool, status="ok", result=result))

    store = SqliteEventLog(path)
    anyio.run(publish)
    store.close()


def test_shows_runs_turns_and_gists(cli: Cli, log: Path) -> None:
    """The timeline has the run, its turn, and for each event what it is about."""
    shown = cli("show", "transfer-42", "--log", log).stdout
    for part in (
        r"^workflow transfer-42$",
        r"^run \S+  closed, 8 events$",
        r"^  turn t1$",
        r"tool_proposed +wire  arguments: \{\"amount\": 5000\}$",
        r"policy_decision +require_approval limits$",
        r"approval_resolved +approved kim",
        r"tool_executed +wire ok  result: sent  risk high$",
        r"run_completed +completed$",
    ):
        assert re.search(part, shown, re.MULTILINE), part


def test_says_that_a_run_is_suspended(cli: Cli, log: Path) -> None:
    """A run that has not ended says so in its heading, and why in its last line."""
    shown = cli("show", "refund-7", "--log", log).stdout
    assert "run refund-7/1  suspended, 2 events" in shown
    assert "an approval" in shown


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("place", ["text", "within an object", "tool", "agent"])
def test_no_payload_reaches_the_terminal_as_it_is(cli: Cli, tmp_path: Path, attack: str, place: str) -> None:
    """Escapes, bidi overrides, line ends and the like are shown escaped, wherever they stand."""
    path = tmp_path / "trace.db"
    if place == "agent":
        # The header's grammar refuses control characters and unpaired surrogates, not bidi overrides.
        attack = "".join(c for c in attack if c.isprintable() or c in "\u202e\u2066\u2069\u2028")
        record(path, "x", agent=f"agent {attack}")
    elif place == "tool":
        record(path, "x", tool=attack)
    else:
        record(path, attack if place == "text" else {attack: [attack]})
    shown = cli("show", "w", "--log", path).stdout
    dangerous = [character for character in shown.replace("\n", "") if not character.isprintable()]
    assert ([], 10) == (dangerous, shown.count("\n"))


def test_json_is_ascii(cli: Cli, tmp_path: Path) -> None:
    """No escape, no bidi override and no surrogate of a payload is raw in --json, and none is lost."""
    path = tmp_path / "trace.db"
    attack = "".join(text for text in ATTACKS.values() if text != "\ud800")
    record(path, attack)
    shown = cli("show", "w", "--log", path, "--json").stdout
    assert set(shown) <= {"\n", *map(chr, range(0x20, 0x7F))}
    assert attack == json.loads(shown)[2]["payload"]["result"]


def test_json_has_whole_events(cli: Cli, log: Path) -> None:
    """--json gives header, opened payload and event hash; each event names the hash before it."""
    events = json.loads(cli("show", "transfer-42", "--log", log, "--json").stdout)
    assert {"amount": 5000} == events[2]["payload"]["arguments"]
    assert [event["eventHash"] for event in events[:-1]] == [event["parentHash"] for event in events[1:]]


def test_long_texts_are_shortened(cli: Cli, tmp_path: Path) -> None:
    """A long result takes no more than its part of a line."""
    record(tmp_path / "trace.db", "long " * 10_000)
    assert 200 > max(map(len, cli("show", "w", "--log", tmp_path / "trace.db").stdout.splitlines()))


def test_several_tenants_have_to_be_told_apart(cli: Cli, log: Path) -> None:
    """An id that several tenants use is refused with 2, and the choices are named."""
    result = cli("show", "shared-1", "--log", log)
    assert (2, True) == (result.exit_code, "--tenant acme or --tenant böll" in result.stderr)


def test_a_tenant_can_be_chosen(cli: Cli, log: Path) -> None:
    """--tenant shows the workflow of that tenant alone."""
    shown = cli("show", "shared-1", "--tenant", "böll", "--log", log).stdout
    assert ["run shared/2"] == re.findall(r"^run \S+", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [("nope",), ("transfer-42", "--tenant", "acme"), ("shared-1", "--no-tenant")]
)
def test_an_unknown_workflow_is_wrong_usage(cli: Cli, log: Path, arguments: tuple[str, ...]) -> None:
    """A workflow that is not there exits with 2 and says how to find those that are."""
    result = cli("show", *arguments, "--log", log)
    assert (2, True) == (result.exit_code, "tracebus workflows" in result.stderr)


# What is hidden

WHY = ("--reason", "asked for", "--legal-basis", "GDPR Art. 17(1)(b)")


def line_of(shown: str, event_type: str) -> str:
    """Return the line of the first event of a type."""
    return next(line for line in shown.splitlines() if f" {event_type} " in f"{line} ")


def erase(cli: Cli, log: Path, *what: object) -> str:
    """Erase something of transfer-42; return the id of the event that records it."""
    result = cli("erase", "--workflow", "transfer-42", *what, *WHY, "--yes", "--json", "--log", log)
    assert 0 == result.exit_code, result.output
    events = json.loads(cli("show", "transfer-42", "--log", log, "--json").stdout)
    return str([event["id"] for event in events if event["type"] == "data_erased"][-1])


def test_erased_members_are_counted(cli: Cli, log: Path) -> None:
    """Each event says how many members were erased and by which event, which says its id."""
    by = erase(cli, log, "--only", "*:userId")
    shown = cli("show", "transfer-42", "--log", log).stdout
    assert line_of(shown, "run_started").endswith(f"run_started            new  1 member erased by {by}")
    assert line_of(shown, "data_erased").endswith(f"targets: 1 member  event {by}")
    assert "erased" not in line_of(shown, "tool_proposed")


def test_an_erased_payload(cli: Cli, log: Path) -> None:
    """An event without its payload says by which event it was erased, and for programs, too."""
    by = erase(cli, log, "--payloads", "--only", "tool_executed")
    shown = cli("show", "transfer-42", "--log", log)
    assert line_of(shown.stdout, "tool_executed").endswith(f"risk high  payload erased by {by}")
    events = json.loads(cli("show", "transfer-42", "--log", log, "--json").stdout)
    (executed,) = [event for event in events if event["type"] == "tool_executed"]
    assert [{"state": "erased", "payload": True, "by": by}] == executed["hidden"]
    assert "payload" not in executed


@contextmanager
def unguarded(log: Path) -> Iterator[sqlite3.Connection]:
    """Open a log's file, past the log and without its triggers."""
    with closing(sqlite3.connect(log)) as database, database:
        for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        yield database


def test_what_is_gone_without_a_record(cli: Cli, log: Path) -> None:
    """A member that was deleted past the log is not said to be erased; the line says what to do."""
    with unguarded(log) as database:
        database.execute("DELETE FROM disclosures")
    line = line_of(cli("show", "transfer-42", "--log", log).stdout, "tool_proposed")
    assert line.endswith("wire  1 member gone, and no event records it: run tracebus fsck")


@pytest.mark.parametrize("payload", ["{", "[]", '{"_sd":[]}'])
@pytest.mark.parametrize("event_type", ["tool_proposed", "data_erased"])
def test_a_damaged_event(cli: Cli, log: Path, event_type: str, payload: str) -> None:
    """An event that was damaged says so and what to do, and the others are shown."""
    erase(cli, log, "--only", "*:userId")
    with unguarded(log) as database:
        of_type = "position IN (SELECT position FROM events WHERE type = ?)"
        database.execute(f"UPDATE payloads SET payload = ? WHERE {of_type}", (payload, event_type))
    shown = cli("show", "transfer-42", "--log", log)
    assert (0, 11) == (shown.exit_code, shown.stdout.count("    2"))
    assert "cannot be read (" in line_of(shown.stdout, event_type)
    assert line_of(shown.stdout, event_type).endswith("run tracebus fsck")


def test_digests_are_shortened(cli: Cli, tmp_path: Path) -> None:
    """Of a digest eight digits are shown."""

    async def publish() -> None:
        async with TraceEventBus(store) as bus, bus.run(workflow_id="w"):
            place = "hmac-sha256:" + "0123456789abcdef" * 4
            await bus.publish(SecretDetected(pattern_id="p", place_hash=place, status="masked"))

    store = SqliteEventLog(tmp_path / "trace.db")
    anyio.run(publish)
    store.close()
    shown = cli("show", "w", "--log", tmp_path / "trace.db").stdout
    assert line_of(shown, "secret_detected").endswith("masked p  placeHash: hmac-sha256:01234567…")


def test_the_run_before_is_named(cli: Cli, tmp_path: Path) -> None:
    """Of the run that another one follows from its id is shown."""

    async def publish() -> None:
        async with TraceEventBus(store) as bus, bus.run(workflow_id="w", run_id="r") as run, run.child():
            pass

    store = SqliteEventLog(tmp_path / "trace.db")
    anyio.run(publish)
    store.close()
    assert "run_started            child  previous: r\n" in cli("show", "w").stdout


# Bundles


@pytest.fixture
def pub(key: Path) -> Path:
    """The file of the signer's public key."""
    return key.with_suffix(".pub")


@pytest.fixture
def sparse(cli: Cli, log: Path, key: Path, tmp_path: Path) -> tuple[Path, str]:
    """A bundle with erased, withheld and removed parts, and the id of the event that records the erasure."""
    by = erase(cli, log, "--only", "*:userId")
    export = ("export", "transfer-42", "-o", "whole.json", "--key", key, "--log", log)
    withheld = ("--withhold", "tool_proposed:arguments", "--withhold", "turn_started", "--reason", "secrecy")
    assert 0 == cli(*export, *withheld).exit_code
    redact = ("redact", "whole.json", "-o", "sparse.json")
    removed = cli(*redact, "--member", "tool_executed:result", "--payload", "turn_completed")
    assert 0 == removed.exit_code, removed.output
    return tmp_path / "sparse.json", by


def test_a_bundle_is_shown_as_the_log_is(cli: Cli, log: Path, bundle: Path, pub: Path) -> None:
    """Behind the verdict stands the timeline that the log itself has."""
    from_log = cli("show", "transfer-42", "--log", log).stdout.splitlines()
    shown = cli("show", "--bundle", bundle, "--key", pub)
    assert 0 == shown.exit_code, shown.output
    headline, *timeline = shown.stdout.splitlines()
    assert headline.startswith("verified: workflow transfer-42, 1 run, 8 events; completeness asserted")
    assert from_log[1:] == timeline


def test_each_event_of_a_bundle_says_what_is_hidden(cli: Cli, sparse: tuple[Path, str], pub: Path) -> None:
    """What is withheld has its reason, what is erased its event, what a holder removed is said to be."""
    path, by = sparse
    shown = cli("show", "--bundle", path, "--key", pub).stdout
    for event_type, end in {
        "run_started": f"new  1 member erased by {by}",
        "turn_started": "turn_started           payload withheld: secrecy",
        "tool_proposed": "wire  1 member withheld: secrecy",
        "tool_executed": "wire ok  risk high  1 member removed by a holder",
        "turn_completed": "turn_completed         payload removed by a holder",
        "approval_resolved": "approved kim  identitySource: idp",
    }.items():
        assert line_of(shown, event_type).endswith(end), event_type


def test_a_bundle_as_json(cli: Cli, sparse: tuple[Path, str], pub: Path) -> None:
    """Programs get the report and each event: opened, with event hash, and what of it is hidden."""
    path, by = sparse
    found = json.loads(cli("show", "--bundle", path, "--key", pub, "--json").stdout)
    events = {event["type"]: event for event in found["events"] if event["workflowId"] == "transfer-42"}
    assert ("verified", len(found["events"])) == (found["report"]["verdict"], found["report"]["events"])
    assert {
        "turn_started": [{"state": "withheld", "payload": True, "reason": "secrecy"}],
        "tool_proposed": [{"state": "withheld", "members": 1, "reason": "secrecy"}],
        "tool_executed": [{"state": "removed", "members": 1}],
        "turn_completed": [{"state": "removed", "payload": True}],
    } == {name: event["hidden"] for name, event in events.items() if "hidden" in event and name[0] == "t"}
    assert {"kind": "new"} == found["events"][0]["payload"]
    assert [{"state": "erased", "members": 1, "by": by}] == found["events"][0]["hidden"]
    assert found["report"]["runs"][-1]["head"] == found["events"][-1]["eventHash"]


@pytest.mark.parametrize("withheld", ["*:email", "*:contact"])
@pytest.mark.parametrize("removed", ["*:*", "disclosing.trip_booked:/traveller", "*:email", "*:contact"])
def test_what_is_hidden_adds_up_to_the_report(cli: Cli, tmp_path: Path, withheld: str, removed: str) -> None:
    """The parts that events say are hidden are as many as the verifier counts, nested ones too."""
    policy = DisclosurePolicy(withhold=[Withholding([withheld], "secrecy")])
    bundle = anyio.run(partial(bundle_of, trip_log(), disclose=policy))
    less = redact_evidence_bundle(bundle, members=[removed]).bundle
    (tmp_path / "less.json").write_bytes(less.to_json())
    (tmp_path / "trip.pub").write_text(KEY.to_pem())
    found = json.loads(cli("show", "--bundle", "less.json", "--key", "trip.pub", "--json").stdout)
    counts = Counter({"withheld": 0, "removed": 0})
    for event in found["events"]:
        for part in event.get("hidden", ()):
            counts[part["state"]] += part["members"]
    shown = found["report"]["shown"]
    assert {"withheld": shown["withheldDisclosures"], "removed": shown["removedDisclosures"]} == counts


def test_an_open_run_is_shown(cli: Cli, log: Path, key: Path, pub: Path) -> None:
    """A bundle with a run that has not ended is shown, and said to be incomplete and why."""
    cli("export", "refund-7", "-o", "refund.json", "--key", key, "--log", log)
    shown = cli("show", "refund-7", "--bundle", "refund.json", "--key", pub)
    assert 0 == shown.exit_code, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("incomplete: workflow refund-7 of tenant acme, 1 run, 2 events")
    assert ["note: run refund-7/1 has not ended", "", "run refund-7/1  suspended, 2 events"] == lines[1:4]


def test_from_standard_input(cli: Cli, bundle: Path, pub: Path) -> None:
    """A bundle is read from a pipe."""
    shown = cli("show", "--bundle", "-", "--key", pub, input=bundle.read_bytes())
    assert (0, True) == (shown.exit_code, shown.stdout.startswith("verified: "))


def test_with_a_shared_secret(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A bundle with an HMAC is shown to whoever shares the secret, and said to convince nobody else."""
    (tmp_path / "secret").write_bytes(b"s" * 32)
    cli("export", "transfer-42", "-o", "h.json", "--hmac-secret", "secret", "--log", log)
    shown = cli("show", "--bundle", "h.json", "--hmac-secret", "secret").stdout.splitlines()
    assert (True, True) == (shown[0].startswith("verified: "), shown[1].startswith("note: HMAC: convinces"))


def test_with_a_trust_policy(cli: Cli, bundle: Path, pub: Path, tmp_path: Path) -> None:
    """A policy that has the signer's key will do; what it requires and the bundle lacks is noted."""
    log_key = NoteKey(trip_log().origin, KEY).to_vkey()
    signer = NoteKey("treasury", VerifyingKey.load(pub.read_text())).to_vkey()
    policy = f"log {log_key}\nquorum none\n#tracebus require completeness\n"
    (tmp_path / "trust.txt").write_text(policy)
    result = cli("show", "--bundle", bundle, "--policy", "trust.txt")
    assert (2, True) == (result.exit_code, "trust.txt: has no bundle-key" in result.stderr)
    (tmp_path / "trust.txt").write_text(f"{policy}#tracebus bundle-key {signer}\n")
    shown = cli("show", "--bundle", bundle, "--policy", "trust.txt").stdout.splitlines()
    assert shown[0].startswith("incomplete: ")
    assert shown[1].startswith("note: proofs: ")
    assert "completeness" in shown[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "give the public key that you have of its signer, --key NAME.pub"),
        (("--key", "other.pub"), 1, "not made over this bundle by key"),
        (("--key", "treasury.key"), 2, "a private key, expected a public one"),
        (("--key", "none.pub"), 2, "none.pub"),
        (("--key", "treasury.pub", "--hmac-secret", "x"), 2, "exclude each other"),
        (("--key", "treasury.pub", "--log", "trace.db"), 2, "--bundle and --log exclude each other"),
        (("transfer-43", "--key", "treasury.pub"), 1, "expected transfer-43, found transfer-42"),
        (("--tenant", "acme", "--key", "treasury.pub"), 1, "expected acme"),
        (("--tenant", "acme", "--no-tenant", "--key", "treasury.pub"), 2, "exclude each other"),
    ],
)
def test_what_is_not_verified_is_not_shown(
    cli: Cli, bundle: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """Without the right key, and where another workflow is expected, nothing of the bundle is printed."""
    cli("keygen", "other")
    result = cli("show", "--bundle", bundle, *arguments)
    assert (code, "", True) == (result.exit_code, result.stdout, says in result.stderr), result.output


@pytest.mark.parametrize("more", [(), ("--json",), ("--members",)])
def test_a_changed_bundle_is_not_shown(cli: Cli, bundle: Path, pub: Path, more: tuple[str, ...]) -> None:
    """A bundle in which something was changed is refused with 1, in every form."""
    bundle.write_bytes(bundle.read_bytes().replace(b'"verdict":"approved"', b'"verdict":"rejected"'))
    result = cli("show", "--bundle", bundle, "--key", pub, *more)
    assert (1, "") == (result.exit_code, result.stdout)
    assert "the payload hashes to" in result.stderr


def test_what_is_no_bundle(cli: Cli, log: Path, pub: Path) -> None:
    """A file that is no bundle is named, and refused with 2."""
    result = cli("show", "--bundle", log, "--key", pub)
    assert (2, True) == (result.exit_code, f"{log}: byte" in result.stderr)


@pytest.mark.parametrize("is_log_there", [True, False])
def test_a_file_in_place_of_a_workflow(cli: Cli, bundle: Path, log: Path, is_log_there: bool) -> None:
    """Whoever names a bundle's file as a workflow is told how to read it, with a log and without."""
    if not is_log_there:
        log.unlink()
    result = cli("show", bundle.name)
    assert (2, True) == (result.exit_code, "--bundle transfer-42.json --key NAME.pub" in result.stderr)


@pytest.mark.parametrize("arguments", [("--key", "x.pub"), ("--hmac-secret", "x"), ("--policy", "x")])
def test_keys_are_for_bundles(cli: Cli, log: Path, arguments: tuple[str, ...]) -> None:
    """A key beside a log is wrong usage: nothing of a log is verified here."""
    result = cli("show", "transfer-42", *arguments, "--log", log)
    assert (2, True) == (result.exit_code, "--bundle FILE" in result.stderr)


def test_nothing_is_named(cli: Cli) -> None:
    """Without a workflow and a bundle, both are named."""
    result = cli("show")
    assert (2, True) == (result.exit_code, "WORKFLOW, tracebus workflows lists them; or" in result.stderr)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_no_bundle_reaches_the_terminal_as_it_is(cli: Cli, tmp_path: Path, key: Path, attack: str) -> None:
    """What a bundle's maker wrote is shown escaped, as what stands in a log is."""
    record(tmp_path / "trace.db", {attack: [attack]}, tool=attack)
    reason = ("--withhold", "turn_started", "--reason", "\u2028\U000e0041")
    assert 0 == cli("export", "w", "-o", "w.json", "--key", key, *reason).exit_code
    for more in ((), ("--members",)):
        shown = cli("show", "--bundle", "w.json", "--key", key.with_suffix(".pub"), *more).stdout
        assert [] == [character for character in shown.replace("\n", "") if not character.isprintable()]
        assert "tool_executed" in shown


# --members


def record_trip(path: Path) -> None:
    """Make a log in which parts of a free-form member are sensitive."""

    async def publish() -> None:
        plain, sensitive = ["tool_proposed:/arguments"], ["*:iban", "tool_proposed:**/passengers/*/dob"]
        async with (
            TraceEventBus(store, plain=plain, sensitive=sensitive) as bus,
            bus.run(workflow_id="w", user_id="u-91"),
        ):
            passengers = [{"seat": "1A", "dob": "1990-01-01"}, {"seat": "1B", "dob": "1991-01-01"}]
            arguments: dict[str, Any] = {"to": {"iban": "DE89", "city": "Rom"}, "passengers": passengers}
            await bus.publish(ToolProposed(tool="book", arguments=arguments | {"tags": [], "a/b": {"x": 1}}))
            await bus.publish(ToolProposed(tool="book", arguments={"deep": deep(9)}))

    store = SqliteEventLog(path)
    anyio.run(publish)
    store.close()


def test_json_text_is_one_member(cli: Cli, tmp_path: Path) -> None:
    """A value that is recorded as JSON text counts as the member that it is, not as that of the text."""

    async def publish() -> None:
        async with TraceEventBus(store, plain=["tool_proposed:/arguments"]) as bus, bus.run(workflow_id="w"):
            await bus.publish(ToolProposed(tool="book", arguments={"not for every reader": 2**60}))

    store = SqliteEventLog(tmp_path / "trace.db")
    anyio.run(publish)
    store.close()
    found = json.loads(cli("show", "w", "--members", "--json").stdout)
    assert ["arguments", "tool"] == [row["member"] for row in found if row["type"] == "tool_proposed"]


def deep(levels: int) -> dict[str, Any]:
    """Return an object that nests so deep."""
    return {"d": deep(levels - 1)} if levels else {"end": 1}


def test_members(cli: Cli, tmp_path: Path) -> None:
    """The table has each member's path, how often it occurs and how it stands with it, and no value."""
    record_trip(tmp_path / "trace.db")
    shown = cli("show", "w", "--members").stdout
    rows = [re.split(r"  +", line) for line in shown.splitlines() if line.startswith("tool_proposed")]
    assert [
        ["arguments/a~1b/x", "1", "in the clear"],
        ["arguments/deep/d/d/d/d", "1", "in the clear"],
        ["arguments/passengers/*/dob", "2", "sensitive"],
        ["arguments/passengers/*/seat", "2", "in the clear"],
        ["arguments/tags", "1", "in the clear"],
        ["arguments/to/city", "1", "in the clear"],
        ["arguments/to/iban", "1", "sensitive"],
        ["tool", "2", "in the clear"],
    ] == [row[1:] for row in rows]
    assert not [value for value in ("u-91", "DE89", "Rom", "1990", "1A") if value in shown]


def test_members_that_are_hidden(cli: Cli, sparse: tuple[Path, str], pub: Path) -> None:
    """What is hidden has no name, and says by whose doing; a payload that is hidden has no member at all."""
    path, _ = sparse
    shown = ("show", "--bundle", path, "--key", pub, "--members", "--json")
    found = json.loads(cli(*shown).stdout)
    assert "verified" == found["report"]["verdict"]
    assert [
        ("run_started", "?", 1, "erased"),
        ("tool_executed", "?", 1, "removed"),
        ("tool_proposed", "?", 1, "withheld"),
        ("turn_completed", None, 1, "removed"),
        ("turn_started", None, 1, "withheld"),
    ] == [tuple(row.values()) for row in found["members"] if row["standing"] not in IN_THE_BUNDLE]


IN_THE_BUNDLE = ("sensitive", "in the clear")


def test_members_of_a_log_as_json(cli: Cli, log: Path) -> None:
    """For programs they are an array."""
    found = json.loads(cli("show", "transfer-42", "--log", log, "--members", "--json").stdout)
    expected = {"type": "tool_executed", "member": "result", "count": 1, "standing": "sensitive"}
    assert [expected] == [row for row in found if row["member"] == "result"]
