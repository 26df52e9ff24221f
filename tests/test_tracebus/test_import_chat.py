"""The chat importer: what messages become, what is refused, and that nothing is lost or doubled."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from evidence import Ed25519Signer, EvidenceBundler, MalformedInput, verify_evidence_bundle
from tracebus import (
    ContextCompiled,
    EventLogUnavailable,
    EventQuery,
    MemoryEventLog,
    SqliteEventLog,
    ToolProposed,
    TraceEventBus,
)
from tracebus.eventlog import AnyEvent
from tracebus.fsck import fsck
from tracebus.importers import chat, import_chat

pytestmark = pytest.mark.anyio

CALL = {"id": "c1", "type": "function", "function": {"name": "cancel", "arguments": '{"id": 4}'}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You are an agent"},
    {"role": "user", "content": "Cancel my flight"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "name": "cancel", "content": "done"},
    {"role": "assistant", "content": "It is cancelled"},
    {"role": "user", "content": "Thanks"},
]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of conversations: lists of messages, whole objects, or lines as text or bytes."""

    def to_line(number: int, value: Any) -> bytes:
        if isinstance(value, list):
            value = {"conversation": f"talk-{number}", "messages": value}
        if isinstance(value, dict):
            value = json.dumps(value)
        return value if isinstance(value, bytes) else value.encode()

    def write(*conversations: Any, name: str = "talks.jsonl") -> Path:
        path = tmp_path / name
        data = b"".join(to_line(number, each) + b"\n" for number, each in enumerate(conversations, 1))
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.fixture
async def bus() -> AsyncIterator[TraceEventBus]:
    """A bus on a log in memory, which must hold together when the test is done."""
    log = MemoryEventLog()
    async with TraceEventBus(log) as bus:
        yield bus
    assert fsck(log).fault is None


def events_of(bus: TraceEventBus, conversation: str = "talk-1") -> list[AnyEvent]:
    """Return the events of a workflow."""
    return list(bus.log.query(EventQuery(workflow_id=conversation)))


def opened(bus: TraceEventBus, event_type: str) -> list[dict[str, Any]]:
    """Return the payloads of all events of a type."""
    return [event.opened() for event in bus.log.query(EventQuery(types=(event_type,)))]


# What messages become


async def test_messages_become_events(bus: TraceEventBus, write: Write) -> None:
    """Each message becomes an event of its kind, a user's message begins a turn."""
    await import_chat(bus, write(MESSAGES))
    assert [
        ("run_started", None, "start"),
        ("context_compiled", None, "m0"),
        ("turn_started", "t1", "m1"),
        ("model_call_completed", "t1", "m2"),
        ("tool_proposed", "t1", "m2/0"),
        ("tool_executed", "t1", "m3"),
        ("model_call_completed", "t1", "m4"),
        ("turn_started", "t2", "m5"),
        ("run_completed", None, "end"),
    ] == [(event.type, event.turn_id, event.key) for event in events_of(bus)]


async def test_the_run_says_that_it_was_imported(bus: TraceEventBus, write: Write) -> None:
    """`run_started` names source, digest, size, format and recorder, and the kind is import."""
    path = write(MESSAGES)
    summary = await import_chat(bus, path)
    (started,) = opened(bus, "run_started")
    source = {"name": "talks.jsonl", "format": "openai-chat", "size": path.stat().st_size}
    assert ("import", "imported", {**source, "digest": summary.digest}, "tracebus") == (
        started["kind"],
        started["capture"],
        started["source"],
        started["recorder"]["name"],
    )


async def test_a_call_is_linked_to_what_led_to_it(bus: TraceEventBus, write: Write) -> None:
    """A proposal has the model's answer as its cause, an execution the proposal."""
    await import_chat(bus, write(MESSAGES))
    answer, proposal, execution = events_of(bus)[3:6]
    assert ((answer.id,), (proposal.id,)) == (proposal.causes, execution.causes)


async def test_nothing_is_made_up(bus: TraceEventBus, write: Write) -> None:
    """No time, model, status, duration or turn's end is there that the source does not have."""
    await import_chat(bus, write(MESSAGES))
    events = events_of(bus)
    assert [] == [event for event in events if event.occurred_at is not None or event.risk is not None]
    members = {name for event in events[1:-1] for name in event.opened()}
    assert members == {
        *("messages", "messageCount", "index", "input", "status", "response"),
        *("tool", "callId", "arguments", "result"),
    }
    assert [{"tool": "cancel", "callId": "c1", "result": "done"}] == opened(bus, "tool_executed")


async def test_the_end_says_what_it_does_not_know(bus: TraceEventBus, write: Write) -> None:
    """`run_completed` says that the record ended, not how; what else the line says is its output."""
    await import_chat(bus, write({"conversation": "a", "messages": [], "reward": 0.5, "tags": ["x"]}))
    (completed,) = opened(bus, "run_completed")
    assert ("completed", {"reward": 0.5, "tags": ["x"]}) == (completed["outcome"], completed["output"])
    assert "does not say how the conversation ended" in completed["reason"]


@pytest.mark.parametrize(
    ("arguments", "recorded"),
    [
        ('{"b": 1, "a": [2.5, null]}', {"a": [2.5, None], "b": 1}),
        ("{}", {}),
        ("", ""),
        ("not JSON", "not JSON"),
        ("[1, 2]", "[1, 2]"),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ('{"id": 12345678901234567890}', '{"id": 12345678901234567890}'),
        ('{"a": "\\ud800"}', '{"a": "\\ud800"}'),
        ("\ud800", "\ud800"),
        ({"already": "parsed"}, {"already": "parsed"}),
        ({"_sd": [1], "...": 2}, {"_sd": [1], "...": 2}),
    ],
)
async def test_arguments(bus: TraceEventBus, write: Write, arguments: Any, recorded: Any) -> None:
    """Arguments are parsed where they are the JSON of an object without loss, and kept where not."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    await import_chat(bus, write([{"role": "assistant", "content": None, "tool_calls": [call]}]))
    (proposed,) = bus.log.query(EventQuery(types=("tool_proposed",)))
    assert isinstance(proposed.payload, ToolProposed)
    assert recorded == proposed.payload.arguments


@pytest.mark.parametrize(
    "content",
    [
        "",
        " \n",
        '{"a": 1.0}',
        "\ud800 alone",
        "\x1b[2J\u202e",
        "9" * 400,
        [{"type": "text", "text": "hi"}],
        None,
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant", "tool", "system"])
async def test_content_is_kept_as_it_is(bus: TraceEventBus, write: Write, content: Any, role: str) -> None:
    """Content of any role comes back as it was: verbatim, unparsed, whatever is in it."""
    names = {"name": "f"} if role == "tool" else {}
    await import_chat(bus, write([{"role": role, "content": content, **names}]))
    payload = chat_payload(events_of(bus)[1])
    found = payload["messages"][0]["content"] if role == "system" else payload.get(_HOLDS[role])
    assert content == found


_HOLDS = {"user": "input", "assistant": "response", "tool": "result"}


def chat_payload(event: AnyEvent) -> dict[str, Any]:
    """Return an event's members as the importer was given them."""
    payload = event.payload
    if isinstance(payload, ContextCompiled):
        return {"messages": payload.messages}
    members = payload.data if hasattr(payload, "data") else vars(payload)
    return {name: value for name, value in members.items() if value is not None}


@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
async def test_further_members_are_not_lost(bus: TraceEventBus, write: Write, role: str) -> None:
    """A message that says more than the format knows is recorded with all of it, nulls apart."""
    more = {"id": 2**63, "audio": {"x": [1]}, "refusal": None}
    message = {"role": role, "content": "hi", **more} | ({"name": "f"} if role == "tool" else {})
    await import_chat(bus, write([message]))
    expected = {"content": "hi", "id": 2**63, "audio": {"x": [1]}}
    assert expected == chat_payload(events_of(bus)[1])[_HOLDS[role]]


async def test_further_members_of_a_call_are_not_lost(bus: TraceEventBus, write: Write) -> None:
    """Where a call says more than its proposal can, the answer keeps the calls."""
    calls = [{**CALL, "index": 7}]
    await import_chat(bus, write([{"role": "assistant", "content": "ok", "tool_calls": calls}]))
    assert {"content": "ok", "tool_calls": calls} == chat_payload(events_of(bus)[1])["response"]


async def test_a_refusal_is_a_refusal(bus: TraceEventBus, write: Write) -> None:
    """A message with a refusal is an answer of the status refused, and keeps its words."""
    await import_chat(bus, write([{"role": "assistant", "content": None, "refusal": "I may not"}]))
    assert [{"status": "refused", "response": {"refusal": "I may not"}}] == opened(
        bus, "model_call_completed"
    )


async def test_a_tool_is_known_by_its_call(bus: TraceEventBus, write: Write) -> None:
    """A tool message without a name has that of the latest call with its id."""
    messages = [dict(message) for message in MESSAGES]
    del messages[3]["name"]
    await import_chat(bus, write(messages))
    assert ["cancel"] == [payload["tool"] for payload in opened(bus, "tool_executed")]


async def test_a_value_that_is_too_large_is_counted(bus: TraceEventBus, write: Write) -> None:
    """What an event cannot hold is kept as its beginning and a digest, and the summary says so."""
    summary = await import_chat(bus, write([{"role": "user", "content": "x" * 300_000}], MESSAGES))
    (event,) = (event for event in events_of(bus) if event.type == "turn_started")
    assert (1, True) == (summary.shortened, event.opened()["input"]["truncated"])


# Identities


async def test_runs_are_named_after_file_and_conversation(bus: TraceEventBus, write: Write) -> None:
    """A run's id holds the file's digest and the conversation; of a long id, a digest."""
    long = "x" * 128
    summary = await import_chat(bus, write(MESSAGES, {"conversation": long, "messages": []}))
    prefix = f"import/{summary.digest[7:23]}/"
    found = {run.workflow_id: run.run_id for run in bus.log.runs()}
    assert f"{prefix}talk-1" == found["talk-1"]
    assert found[long].startswith(f"{prefix}sha256-")


async def test_another_file_is_another_run(bus: TraceEventBus, write: Write) -> None:
    """A conversation from a changed file becomes a further run of its workflow."""
    await import_chat(bus, write(MESSAGES))
    await import_chat(bus, write(MESSAGES, MESSAGES))
    assert [2, 1] == [len(list(bus.log.runs(workflow_id=name))) for name in ("talk-1", "talk-2")]


async def test_twice_adds_nothing(bus: TraceEventBus, write: Write) -> None:
    """The same file again adds no event, and the summary says that all was there."""
    path = write(MESSAGES, MESSAGES)
    first = await import_chat(bus, path)
    second = await import_chat(bus, path)
    assert (18, 2, 0) == (first.events, first.imported, first.present)
    assert (0, 0, 2, 18) == (second.events, second.imported, second.present, bus.log.last_position())


async def test_twice_at_once_adds_nothing_twice(bus: TraceEventBus, write: Write) -> None:
    """Two imports of one file at the same time make one record."""
    path = write(*[MESSAGES] * 20)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(import_chat, bus, path)
    assert 20 * 9 == bus.log.last_position()


async def test_a_cancelled_import_is_completed(bus: TraceEventBus, write: Write) -> None:
    """Cancelled half-way, an import leaves open runs; the next one adds what is missing, once."""
    path = write(*([*MESSAGES] * (number + 1) for number in range(20)))
    whole = sum(2 + 7 * (number + 1) for number in range(20))
    with anyio.CancelScope() as scope:
        await import_chat(bus, path, progress=lambda done, total: scope.cancel())
    cut = bus.log.last_position()
    opened = [run for run in bus.log.runs() if run.status == "open"]
    assert (True, True) == (0 < cut < whole, bool(opened))
    summary = await import_chat(bus, path)
    assert (whole - cut, len(opened), whole) == (summary.events, summary.completed, bus.log.last_position())


async def test_a_log_that_fails_is_told(
    bus: TraceEventBus, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the log is raised, not a group of errors, and not that of a later bad line."""

    async def fail(self: object, conversation: object, run_id: str) -> int:
        raise EventLogUnavailable("no space")

    path = write(MESSAGES, "{")
    monkeypatch.setattr(chat._Import, "_publish", fail)
    with pytest.raises(EventLogUnavailable, match="no space"):
        await import_chat(bus, path)


# Files


@pytest.mark.parametrize("name", ["talks.jsonl", "talks.jsonl.gz"])
async def test_plain_and_gzip(bus: TraceEventBus, write: Write, name: str) -> None:
    """Gzip is told by its first bytes; the digest is that of the file as it is."""
    path = write(MESSAGES, MESSAGES, name=name)
    renamed = path.rename(path.with_name("talks"))
    assert 2 == (await import_chat(bus, renamed)).imported


async def test_gzip_of_several_members(bus: TraceEventBus, tmp_path: Path) -> None:
    """Gzip files that were put together are one file."""
    path = tmp_path / "talks.gz"
    lines = [json.dumps({"conversation": name, "messages": []}).encode() + b"\n" for name in "ab"]
    path.write_bytes(b"".join(map(gzip.compress, lines)))
    assert 2 == (await import_chat(bus, path)).imported


async def test_blank_lines_and_line_ends(bus: TraceEventBus, tmp_path: Path) -> None:
    """Blank lines are passed over, lines may end in CRLF, the last one in nothing."""
    first, second = (json.dumps({"conversation": name, "messages": []}) for name in "ab")
    (tmp_path / "talks").write_bytes(f"\n{first}\r\n  \r\n{second}".encode())
    assert 2 == (await import_chat(bus, tmp_path / "talks")).imported


async def test_an_empty_file(bus: TraceEventBus, tmp_path: Path) -> None:
    """A file without conversations imports none."""
    (tmp_path / "talks").touch()
    assert 0 == (await import_chat(bus, tmp_path / "talks")).conversations


async def test_a_gzip_file_that_was_cut_off(bus: TraceEventBus, write: Write) -> None:
    """A truncated gzip file is refused with its line; what could be read before it is imported."""
    path = write(*[[{"role": "user", "content": str(number) * 5000}] for number in range(300)], name="t.gz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MalformedInput, match=r"t\.gz, line \d+: the gzip data is damaged or cut off"):
        await import_chat(bus, path)
    assert {"closed"} >= {run.status for run in bus.log.runs()}


async def test_a_gzip_file_that_was_damaged(bus: TraceEventBus, write: Write) -> None:
    """Bytes changed within a gzip file are noticed."""
    path = write(*[MESSAGES] * 10, name="t.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MalformedInput, match=r"t\.gz, line \d+: "):
        await import_chat(bus, path)


@pytest.mark.blocking_ok  # the test's own callback writes to the file, within the import
async def test_a_file_that_grows_meanwhile(bus: TraceEventBus, write: Write) -> None:
    """A file that changes while it is imported is noticed: its digest says something else."""
    path = write(*[MESSAGES] * 200)

    def append(done: int, total: int) -> None:
        with path.open("ab") as file:
            file.write(b"\n")

    with pytest.raises(MalformedInput, match="was changed while it was imported"):
        await import_chat(bus, path, progress=append)


async def test_a_missing_file(bus: TraceEventBus, tmp_path: Path) -> None:
    """A file that is not there is an OSError."""
    with pytest.raises(FileNotFoundError):
        await import_chat(bus, tmp_path / "none")


# What is refused


def _with(message: dict[str, Any]) -> dict[str, Any]:
    return {"conversation": "x", "messages": [MESSAGES[0], message]}


def _with_call(call: Any) -> dict[str, Any]:
    return _with({"role": "assistant", "content": None, "tool_calls": [call]})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        (b"\xff\xfe", "byte 0: not UTF-8"),
        ("\ufeff{}", "BOM"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1e999}', "beyond the range of a double"),
        ("[]", "expected an object, found []"),
        ('{"conversation":"a","conversation":"b","messages":[]}', "'conversation' stands twice"),
        (
            '{"conversation":"a","messages":[{"role":"user","content":"x","content":"y"}]}',
            "'content' stands twice",
        ),
        ({"messages": []}, "conversation: expected 1-128 printable ASCII characters"),
        ({"conversation": "", "messages": []}, "conversation: expected 1-128"),
        ({"conversation": "x" * 129, "messages": []}, "conversation: expected 1-128"),
        ({"conversation": "ö", "messages": []}, "conversation: expected 1-128"),
        ({"conversation": "tracebus:log", "messages": []}, "not beginning with tracebus:"),
        ({"conversation": 7, "messages": []}, "found 7"),
        ({"conversation": "x"}, "messages: expected an array of messages, found nothing"),
        ({"conversation": "x", "messages": {}}, "messages: expected an array"),
        ({"conversation": "x", "messages": ["hi"]}, "messages/0: expected an object, found 'hi'"),
        (_with({"role": "alien", "content": ""}), "messages/1/role: expected system, developer, user"),
        (_with({"role": ["user"], "content": ""}), "messages/1/role: expected system"),
        (_with({"content": ""}), "messages/1/role: expected system"),
        (_with({"role": "user"}), "messages/1: content is missing"),
        (_with({"role": "user", "content": 5}), "messages/1/content: expected text, null or an array"),
        (_with({"role": "tool", "content": ""}), "messages/1/name: expected the tool's name"),
        (_with({"role": "tool", "content": "", "tool_call_id": 5}), "messages/1/tool_call_id: expected text"),
        (_with({"role": "assistant", "tool_calls": {}}), "messages/1/tool_calls: expected an array"),
        (_with_call("x"), "messages/1/tool_calls/0: expected an object"),
        (_with_call({"id": "c1"}), "messages/1/tool_calls/0/function: expected an object, found nothing"),
        (_with_call({"function": {"name": "f"}}), "messages/1/tool_calls/0/id: expected text"),
        (_with_call({"id": "c1", "function": {}}), "messages/1/tool_calls/0/function/name: expected text"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_malformed_lines(bus: TraceEventBus, write: Write, line: Any, says: str) -> None:
    """A line that is no conversation is refused with file, line and place, and leaves nothing behind."""
    path = write(MESSAGES, line, MESSAGES)
    with pytest.raises(MalformedInput) as refused:
        await import_chat(bus, path)
    assert "talks.jsonl, line 2" == refused.value.place
    assert says in refused.value.reason
    assert refused.value.reason.endswith("; the 1 conversations before it are in the log")
    assert [("talk-1", "closed")] == [(run.workflow_id, run.status) for run in bus.log.runs()]


async def test_a_conversation_that_stands_twice(bus: TraceEventBus, write: Write) -> None:
    """The same conversation again in one file is refused: which one would be it?"""
    talk = {"conversation": "a", "messages": []}
    with pytest.raises(MalformedInput, match="line 3: conversation a stands in line 1 already"):
        await import_chat(bus, write(talk, MESSAGES, talk))


async def test_the_user(bus: TraceEventBus, write: Write) -> None:
    """The conversation's user is the run's, can be withheld and found, and is in nothing else."""
    talk = {"conversation": "talk-1", "messages": MESSAGES, "user": "u-91", "reward": 1}
    await import_chat(bus, write(talk))
    events = events_of(bus)

    assert "u-91" == events[0].opened()["userId"]
    assert b"u-91" not in (events[0].payload_json or b"")
    assert {"reward": 1} == events[-1].opened()["output"]
    assert ["talk-1"] == [event.workflow_id for event in bus.log.query(EventQuery(user_id="u-91", limit=1))]


@pytest.mark.parametrize("user", [5, {"id": "u"}, "\ud800"])
async def test_a_user_that_is_no_text(bus: TraceEventBus, write: Write, user: Any) -> None:
    """It is refused: nobody would find it under the person's id."""
    with pytest.raises(MalformedInput, match="line 1: user: expected text"):
        await import_chat(bus, write({"conversation": "talk-1", "messages": [], "user": user}))


# A real record


@pytest.fixture(scope="session")
def airline(shared: Path) -> Path:
    """A hundred conversations of an airline's agent."""
    path = shared / "data" / "tau-airline-gpt4o.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no file {path}")
    return path


async def test_every_workflow_of_a_real_record_verifies(airline: Path, tmp_path: Path) -> None:
    """100 conversations become 100 workflows, each of which exports and verifies by itself."""
    log, signer = SqliteEventLog(tmp_path / "trace.db"), Ed25519Signer.generate()
    async with TraceEventBus(log) as bus:
        summary = await import_chat(bus, airline)
        assert (100, 2658, 100) == (summary.conversations, summary.messages, summary.imported)
        workflows = [run.workflow_id for run in await anyio.to_thread.run_sync(lambda: list(log.runs()))]
        verified = []
        for workflow in workflows:
            bundle = await EvidenceBundler(log, signer).bundle(workflow)
            verified.append(
                verify_evidence_bundle(
                    bundle.to_json(), signer.verifying_key, expected_workflow=workflow, expected_tenant=None
                ).verdict
            )
    report = await anyio.to_thread.run_sync(fsck, log)
    log.close()
    assert (["verified"] * 100, None) == (verified, report.fault)


async def test_nothing_of_a_real_record_is_lost(airline: Path, bus: TraceEventBus) -> None:
    """The events hold every message of the source: its conversations can be made of them again."""
    await import_chat(bus, airline)
    with gzip.open(airline, "rt") as file:
        for line in file:
            talk = json.loads(line)
            events = events_of(bus, talk["conversation"])
            assert _without_spelling(talk["messages"]) == _messages(events[1:-1])
            assert {"reward": talk["reward"]} == events[-1].opened()["output"]


PERSONAL = ["email", "dob", "address", "name", "first_name", "last_name", "passengers", "payment_methods"]


async def test_patterns_on_a_real_record(airline: Path) -> None:
    """What patterns mean leaves the calls' arguments; results that are JSON in a text leave as a whole."""
    log = MemoryEventLog()
    patterns = [f"*:{name}" for name in PERSONAL]
    plain = ["tool_*:/arguments", "tool_executed:/result"]
    async with TraceEventBus(log, sensitive=patterns, plain=plain) as bus:
        await import_chat(bus, airline)
    withheld = 0
    for event in log.query(EventQuery(types=("tool_proposed",))):
        arguments, committed = event.opened()["arguments"], json.loads(event.payload_json or b"")["arguments"]
        assert {name for name in arguments if name not in PERSONAL} == committed.keys() - {"_sd"}
        assert len(arguments.keys() & set(PERSONAL)) == len(committed.get("_sd", []))
        withheld += "_sd" in committed
    results = [
        (_is_container(event.opened()["result"]), "result" in json.loads(event.payload_json or b""))
        for event in log.query(EventQuery(types=("tool_executed",)))
    ]
    assert withheld
    assert {(True, False), (False, True)} == set(results)


def _is_container(text: str) -> bool:
    """Tell whether a text is a JSON object or array."""
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False


def _without_spelling(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parse the calls' arguments, for the events hold what they say and not how it is written."""
    for message in messages:
        for call in message.get("tool_calls") or ():
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages


def _messages(events: list[AnyEvent]) -> list[dict[str, Any]]:
    """Return the messages that events were made of."""
    messages: list[dict[str, Any]] = []
    for event in events:
        says = event.opened()
        match event.type:
            case "context_compiled":
                messages += says["messages"]
            case "turn_started":
                messages.append({"role": "user", "content": says["input"]})
            case "model_call_completed":
                messages.append({"role": "assistant", "content": says.get("response")})
            case "tool_proposed":
                function = {"name": says["tool"], "arguments": says["arguments"]}
                call = {"id": says["callId"], "type": "function", "function": function}
                messages[-1].setdefault("tool_calls", []).append(call)
            case "tool_executed":
                named = {"tool_call_id": says["callId"], "name": says["tool"]}
                messages.append({"role": "tool", "content": says["result"], **named})
    return messages
