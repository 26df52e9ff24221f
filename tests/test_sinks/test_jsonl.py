"""The JSON Lines sink."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from evidence import DisclosureRefused, MalformedInput
from sinks.jsonl import JsonlSink
from tracebus import (
    MemoryEventLog,
    SinkUnavailable,
    SqliteEventLog,
    Subscription,
    ToolProposed,
    TraceEvent,
    TraceEventBus,
)
from tracebus.cli import main
from tracebus.sink import Sink
from tracebus.testing import SinkContract, read_json_lines


class TestJsonlSink(SinkContract):
    """It is a sink."""

    @pytest.fixture
    def make_sink(self, tmp_path: Path) -> Callable[[], Sink]:
        self.path = tmp_path / "events.jsonl"
        return lambda: JsonlSink(self.path)

    def received(self) -> list[dict[str, Any]]:
        return read_json_lines(self.path)


async def publish(path: Path, disclose: tuple[str, ...] = ()) -> TraceEvent[ToolProposed]:
    """Publish one tool call through a JSON Lines sink that sees these members of it."""
    sink = Subscription(JsonlSink(path), disclose=disclose)
    async with TraceEventBus(MemoryEventLog(), [sink]) as bus, bus.run():
        return await bus.publish(ToolProposed(tool="wire", arguments={"iban": "DE89"}))


@pytest.mark.anyio
async def test_lines_are_events(tmp_path: Path) -> None:
    """A line reads back as the event, in committed form, and its payload hashes to contentHash."""
    path = tmp_path / "events.jsonl"
    event = await publish(path)
    read = TraceEvent.from_wire(path.read_bytes().splitlines()[1])
    assert (event.header, event.payload_json) == (read.header, read.payload_json)


@pytest.mark.anyio
async def test_disclosed_lines(tmp_path: Path) -> None:
    """What was disclosed to it stands in the clear beside the committed payload, by name and value."""
    path = tmp_path / "events.jsonl"
    event = await publish(path, disclose=("*:arguments",))
    wire = read_json_lines(path)[1]
    (disclosed,) = wire["disclosures"]
    assert ("arguments", {"iban": "DE89"}) == (disclosed["name"], disclosed["value"])
    assert event.to_wire()["payload"] == wire["payload"]


@pytest.mark.anyio
async def test_disclosed_lines_read_back(tmp_path: Path) -> None:
    """A line with disclosures reads back as the event, and its payload as it was published."""
    path = tmp_path / "events.jsonl"
    event = await publish(path, disclose=("*:*",))
    read = TraceEvent.from_wire(path.read_bytes().splitlines()[1])
    assert event == read
    assert ToolProposed(tool="wire", arguments={"iban": "DE89"}) == read.payload


CHANGES: dict[str, Callable[[list[Any]], object]] = {
    "another value": lambda disclosed: disclosed[0].update(value={"iban": "FR14"}),
    "another name": lambda disclosed: disclosed[0].update(name="result"),
    "another salt": lambda disclosed: disclosed[0].update(salt="A" * 22),
    "no name": lambda disclosed: disclosed[0].pop("name"),
    "twice": lambda disclosed: disclosed.append(disclosed[0]),
    "a reserved name": lambda disclosed: disclosed[0].update(name="_sd"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_disclosed_lines_are_tamper_evident(
    tmp_path: Path, change: Callable[[list[Any]], object]
) -> None:
    """Whoever changes what a line discloses makes a line that is refused."""
    await publish(tmp_path / "events.jsonl", disclose=("*:*",))
    wire = read_json_lines(tmp_path / "events.jsonl")[1]
    change(wire["disclosures"])
    with pytest.raises(DisclosureRefused):
        TraceEvent.from_wire(wire)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "disclosed",
    [
        None,
        {},
        [],
        "x",
        [None],
        [[]],
        [{}],
        [{"salt": "s"}],
        [{"value": 1}],
        [{"salt": "", "value": 1}],
        [{"salt": 1, "value": 1}],
        [{"salt": "s", "name": None, "value": 1}],
        [{"salt": "s", "name": "n", "value": 1, "more": 1}],
    ],
)
async def test_disclosures_of_another_form(tmp_path: Path, disclosed: object) -> None:
    """What stands in the place of disclosures, and has not their form, is malformed."""
    await publish(tmp_path / "events.jsonl")
    wire = read_json_lines(tmp_path / "events.jsonl")[1]
    with pytest.raises(MalformedInput, match="disclosures"):
        TraceEvent.from_wire(wire | {"disclosures": disclosed})


@pytest.mark.anyio
async def test_disclosures_without_a_payload(tmp_path: Path) -> None:
    """Disclosures of a payload that is not there are refused."""
    await publish(tmp_path / "events.jsonl", disclose=("*:*",))
    wire = read_json_lines(tmp_path / "events.jsonl")[1]
    del wire["payload"]
    with pytest.raises(DisclosureRefused):
        TraceEvent.from_wire(wire)


@pytest.mark.anyio
@pytest.mark.parametrize("whole", [b"", b'{"an":"earlier line"}\n', b'{"x":"' + b"y" * 200_000 + b'"}\n'])
@pytest.mark.parametrize(("last", "kept"), [(b"", b""), (b'{"torn": "li', b""), (b'{"a":1}', b'{"a":1}\n')])
async def test_torn_line(tmp_path: Path, whole: bytes, last: bytes, kept: bytes) -> None:
    """What a crash left of a line is cut off; a whole line without its end gets it."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(whole + last)
    await publish(path)
    written = path.read_bytes()
    assert written.startswith(whole + kept)
    first = written.removeprefix(whole + kept).splitlines()[0]
    assert "run_started" == TraceEvent.from_wire(first).type


@pytest.mark.anyio
async def test_folder_missing(tmp_path: Path) -> None:
    """A file that cannot be opened is a sink that is unavailable."""
    log = MemoryEventLog()
    async with TraceEventBus(log) as bus, bus.run():
        event = await bus.publish(ToolProposed(tool="wire"))
    with pytest.raises(SinkUnavailable, match=os.strerror(2)):
        await JsonlSink(tmp_path / "none" / "events.jsonl").write([event])


@pytest.mark.parametrize(("change", "code"), [("", 0), ("FR14", 1)])
def test_disclosed_lines_are_a_copy_that_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, code: int
) -> None:
    """`tracebus verify-log` verifies lines with disclosures, and refuses a value that was changed."""
    monkeypatch.chdir(tmp_path)
    anyio.run(publish_to_sqlite, tmp_path)
    (tmp_path / "tiles").mkdir()
    lines = tmp_path / "events.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b"DE89", change.encode() or b"DE89"))
    commands = (
        "keygen log",
        "log checkpoint --key log.key",
        "log publish trace.db tiles --log-key log.pub",
        "verify-log events.jsonl --log-key log.pub --tiles tiles",
    )
    results = [CliRunner().invoke(main, command.split()) for command in commands]
    assert [0, 0, 0, code] == [result.exit_code for result in results], [result.output for result in results]


async def publish_to_sqlite(folder: Path) -> None:
    """Publish one tool call to a log in the folder, and to lines that disclose its arguments."""
    sink = Subscription(JsonlSink(folder / "events.jsonl"), disclose=["*:arguments"])
    async with TraceEventBus(SqliteEventLog(folder / "trace.db"), [sink]) as bus, bus.run():
        await bus.publish(ToolProposed(tool="wire", arguments={"iban": "DE89"}))
