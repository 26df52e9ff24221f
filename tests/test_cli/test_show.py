"""`tracebus show`: what a reader sees, and what no payload can do to a terminal."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from click.testing import Result

from tracebus import SqliteEventLog, ToolExecuted, TraceEventBus

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
