"""The JSON Lines sink."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sinks.jsonl import JsonlSink
from tracebus import MemoryEventLog, SinkUnavailable, ToolProposed, TraceEvent, TraceEventBus
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


async def publish(path: Path, **options: Any) -> TraceEvent[ToolProposed]:
    """Publish one tool call through a JSON Lines sink."""
    async with TraceEventBus(MemoryEventLog(), [JsonlSink(path, **options)]) as bus, bus.run():
        return await bus.publish(ToolProposed(tool="wire", arguments={"iban": "DE89"}))


@pytest.mark.anyio
async def test_lines_are_events(tmp_path: Path) -> None:
    """A line reads back as the event, in committed form, and its payload hashes to contentHash."""
    path = tmp_path / "events.jsonl"
    event = await publish(path)
    read = TraceEvent.from_wire(path.read_bytes().splitlines()[1])
    assert (event.header, event.payload_json) == (read.header, read.payload_json)


@pytest.mark.anyio
async def test_opened(tmp_path: Path) -> None:
    """Opened, sensitive members stand in the clear."""
    await publish(tmp_path / "events.jsonl", opened=True)
    wire = read_json_lines(tmp_path / "events.jsonl")[1]
    assert {"tool": "wire", "arguments": {"iban": "DE89"}} == wire["payload"]


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
