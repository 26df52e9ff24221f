"""Secrets in what is published: masked before they are recorded, and reported beside their event."""

from __future__ import annotations

import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from evidence import Ed25519Signer, EvidenceBundler, verify_evidence_bundle
from sinks.jsonl import JsonlSink
from tests.test_tracebus.secret_examples import secrets
from tracebus import (
    Alarm,
    ErrorRaised,
    EventLogUnavailable,
    EventPart,
    EventPayload,
    EventQuery,
    FreeForm,
    KeyConflict,
    MemoryEventLog,
    ModelCallStarted,
    PayloadTooLarge,
    RunClosed,
    RunCompleted,
    RunStarted,
    SecretDetected,
    SecretPattern,
    SecretScanner,
    Sensitive,
    SqliteEventLog,
    Subscription,
    ToolExecuted,
    ToolProposed,
    TraceEventBus,
    UnrecordedEvent,
)
from tracebus.eventlog import AnyEvent
from tracebus.fsck import fsck
from tracebus.importers import import_chat
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio

KEY = bytes(range(32))
TOKEN = secrets()["github-token"][0]
PASSWORD = secrets()["url-password"][0]
PEM = secrets()["private-key"][0]
MASKED = "[secret: github-token]"


class Place(EventPart):
    """Where something went."""

    url: str
    note: Sensitive[FreeForm] = None


class Delivered(EventPayload, type="acme.delivered_with_secret"):
    """Something was delivered."""

    to: Place
    by: list[str]
    labels: dict[str, str]
    hidden: Sensitive[dict[str, list[str]] | None] = None


class Opaque:
    """No JSON at all."""

    def __str__(self) -> str:
        return f"opaque, with {TOKEN}"


PAYLOADS: list[Any] = [
    ToolProposed(tool=f"use {TOKEN}", call_id=TOKEN, target=TOKEN, arguments={"url": TOKEN}, rationale=TOKEN),
    ToolExecuted(tool="t", error=TOKEN, on_behalf_of=TOKEN, data_classes=["a", TOKEN], error_kind=TOKEN),
    ToolExecuted(tool="t", result={"a": [{"b": TOKEN}, {TOKEN: PEM}], "c": f"http://u:{PASSWORD}@x"}),
    ToolExecuted(tool="t", result={"big": 2**60, "list": [TOKEN, {TOKEN: float("nan")}], "_sd": PEM}),
    ToolExecuted(tool="t", result={1: TOKEN, "opaque": Opaque(), "error": ValueError(TOKEN)}),
    ToolExecuted(tool="t", result=f"{TOKEN} {'a' * 300_000}"),
    ToolExecuted(tool="t", result={"long": ["x" * 300_000, TOKEN], "nan": float("nan"), TOKEN: 1}),
    ToolExecuted(tool="t", result=f'{{"Authorization": "Bearer {TOKEN}", "key": "{PEM}"}}'),
    ErrorRaised(kind="ValueError", message=f"bad key\n{PEM}", details={"trace": [f"open({TOKEN!r})"]}),
    Delivered(
        to=Place(url=f"http://u:{PASSWORD}@x", note={TOKEN: TOKEN}),
        by=[TOKEN],
        labels={TOKEN: TOKEN},
        hidden={"a": [TOKEN, PEM]},
    ),
    ModelCallStarted(model=TOKEN, provider=TOKEN),
]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def _events(bus: TraceEventBus) -> list[AnyEvent]:
    return [event async for event in bus.query(EventQuery())]


def _types(events: list[AnyEvent]) -> list[str]:
    return [event.type for event in events]


def _said(event: AnyEvent) -> str:
    """Return all that is recorded of an event, its disclosures decoded."""
    disclosures = [base64.urlsafe_b64decode(text + "==") for text in event.disclosures]
    return b"\n".join([event.payload_json or b"", repr(event.header).encode(), *disclosures]).decode()


def _has_secret(text: str | bytes) -> bool:
    """Tell whether a text has one of the secrets, or a part of the private key, also in base64."""
    data = text.encode() if isinstance(text, str) else text
    parts = [TOKEN, PASSWORD, PEM.splitlines()[3]]
    encoded = [
        base64.urlsafe_b64encode(b"x" * shift + part.encode())[4:-4] for part in parts for shift in range(3)
    ]
    return any(part in data for part in [*(part.encode() for part in parts), *encoded])


async def test_no_secret_is_in_any_byte(tmp_path: Path) -> None:
    """Wherever in a payload a secret stands, no file, no sink, no alarm and no error has it."""
    alarms: list[Alarm] = []
    errors: list[Exception] = []
    sink, jsonl = CapturingSink(), JsonlSink(tmp_path / "events.jsonl")
    log = SqliteEventLog(tmp_path / "trace.db")
    async with TraceEventBus(log, [Subscription(sink, required=True), jsonl], on_alarm=alarms.append) as bus:
        started = RunStarted(user_id=TOKEN, session_id=TOKEN, model=TOKEN, environment=TOKEN)
        async with bus.run(workflow_id="w1", started=started) as run:
            for payload in PAYLOADS:
                await bus.publish(payload)
            await bus.publish({"a": TOKEN, TOKEN: {"b": PEM}}, type="acme.untyped_with_secret")
            await bus.publish({"a": TOKEN, "b": float("inf")}, type="acme.untyped_with_secret")
            await bus.publish(ToolExecuted(tool="t", result=TOKEN), key="k1")
            with pytest.raises(KeyConflict) as conflict:
                await bus.publish(ToolExecuted(tool="t", result=[TOKEN, PASSWORD]), key="k1")
            with pytest.raises(PayloadTooLarge) as too_large:
                await bus.publish(ToolProposed(tool="t", target=TOKEN + "x " * 600_000))
            await run.finish(reason=f"gave up on {TOKEN}")
            with pytest.raises(RunClosed) as closed:
                await bus.publish(ToolExecuted(tool="t", result=TOKEN))
            errors += [conflict.value, too_large.value, closed.value]
        events = await _events(bus)
        by_user = [event async for event in bus.query(EventQuery(user_id=MASKED))]
    assert (await anyio.to_thread.run_sync(fsck, log)).fault is None
    assert [event for event in events if _has_secret(_said(event))] == []
    assert [name for name, data in _files(tmp_path).items() if _has_secret(data)] == []
    assert [text for text in map(repr, [*errors, *alarms, *sink.events]) if _has_secret(text)] == []
    assert len(events) == len(by_user)
    assert len(PAYLOADS) + 5 == sum(event.type != "secret_detected" for event in events)
    assert len(events) == len(sink.events)


async def test_a_report_says_what_and_where_and_not_the_secret() -> None:
    """It names the pattern, how often, and the keyed hash of the place, which who has the key can tell."""
    scanner = SecretScanner(KEY)
    async with TraceEventBus(MemoryEventLog(), secret_scanner=scanner) as bus, bus.run():
        event = await bus.publish(ToolExecuted(tool="t", result={"a": [TOKEN, f"{TOKEN} {TOKEN}"]}))
        assert {"a": [MASKED, f"{MASKED} {MASKED}"]} == event.payload.result
        _, report, stored, *_ = await _events(bus)
    expected = SecretDetected(
        pattern_id="github-token",
        place_hash=scanner.place_hash("tool_executed", ("result", "a", None)),
        status="masked",
        found_in="result",
        count=3,
        detected_by=scanner.detected_by,
    )
    assert expected == report.payload
    assert event == stored


async def test_a_report_stands_before_its_event_within_the_run() -> None:
    """The first event stays the first and the last stays the last, each with its report beside it."""
    async with TraceEventBus(MemoryEventLog()) as bus:
        run = await bus.start_run(started=RunStarted(environment=TOKEN))
        with bus.bind(run):
            await bus.publish(ToolExecuted(tool=TOKEN), turn_id="t1", agent_id="a1")
            ended = await run.finish(reason=TOKEN)
        events = await _events(bus)
    expected = ["run_started", "secret_detected", "secret_detected", "tool_executed", "secret_detected"]
    assert [*expected, "run_completed"] == _types(events)
    assert "run_completed" == ended.type
    assert run.ended
    assert ("t1", "a1") == (events[2].turn_id, events[2].agent_id)


async def test_a_terminal_event_with_a_secret_ends_its_run() -> None:
    """A run that publishes its own end, with a secret in it, is not ended a second time."""
    async with TraceEventBus(MemoryEventLog()) as bus:
        async with bus.run():
            await bus.publish(RunCompleted(outcome="failed", reason=TOKEN))
        assert ["run_started", "secret_detected", "run_completed"] == _types(await _events(bus))


async def test_publishers_get_their_own_events() -> None:
    """Many at once, and from a thread: reports are stored with them, and neither returned nor counted."""
    payloads = [ToolExecuted(tool="a"), ToolExecuted(tool=TOKEN), ToolExecuted(tool=TOKEN, result=PEM)]
    async with TraceEventBus(MemoryEventLog()) as bus, bus.run() as run:
        events = await bus.publish_many(payloads)
        one = await anyio.to_thread.run_sync(partial(bus.publish_sync, payloads[1], run=run))
        assert ["a", MASKED, MASKED, MASKED] == [event.payload.tool for event in [*events, one]]
        assert (5, 5) == (bus.metrics.published, bus.metrics.committed)
        stored = _types(await _events(bus))
    expected = ["run_started", "tool_executed", "secret_detected", "tool_executed", "secret_detected"]
    assert [*expected, "secret_detected", "tool_executed", "secret_detected", "tool_executed"] == stored


async def test_neither_is_stored_without_the_other() -> None:
    """Where the event is refused, nothing says that a secret was found in it."""
    async with TraceEventBus(MemoryEventLog()) as bus:
        run = await bus.start_run()
        await run.finish()
        with pytest.raises(RunClosed):
            await bus.publish(ToolExecuted(tool=TOKEN), run=run)
        assert ["run_started", "run_completed"] == _types(await _events(bus))


async def test_a_repeat_repeats_both() -> None:
    """Published again under its key, the event comes back, and nothing is stored a second time."""
    payload = ToolExecuted(tool=TOKEN, result=[TOKEN, f"http://u:{PASSWORD}@x"])
    async with TraceEventBus(MemoryEventLog()) as bus, bus.run():
        first = await bus.publish(payload, key="k1")
        stored = _types(await _events(bus))
        assert first.id == (await bus.publish(payload, key="k1")).id
        assert stored == _types(await _events(bus))
        assert 3 == stored.count("secret_detected")


async def test_a_repeat_by_another_process() -> None:
    """What was published under keys repeats, up to the run's end, also with another scanner key."""
    log, payload = MemoryEventLog(), ToolExecuted(tool=TOKEN)
    stored = []
    for scanner in (SecretScanner(KEY), SecretScanner(KEY), SecretScanner()):
        async with TraceEventBus(log, secret_scanner=scanner) as bus:
            run = await bus.start_run(run_id="r1", started=RunStarted(environment=TOKEN), key="k0")
            await bus.publish(payload, run=run, key="k1")
            await bus.publish(RunCompleted(outcome="failed", reason=TOKEN), run=run, key="k2")
            stored.append([(event.type, event.id) for event in await _events(bus)])
    assert [stored[0]] * 3 == stored
    assert 6 == len(stored[0])


def _ignore(alarm: Alarm) -> None:
    """Do nothing about an alarm."""


class Down(MemoryEventLog):
    """A log that takes nothing while it is down."""

    is_down = False
    appends_left: int | None = None

    def append(self, groups: Any) -> Any:
        """Raise while the log is down, and once no more appends are left."""
        if self.appends_left is not None:
            self.appends_left -= 1
        if self.is_down or self.appends_left == 0:
            self.is_down = True
            raise EventLogUnavailable("down")
        return super().append(groups)


async def _import(log: Down, path: Path, appends: int | None = None) -> list[str]:
    async with TraceEventBus(log, fail_open=(), on_alarm=_ignore, secret_scanner=SecretScanner()) as bus:
        log.appends_left = appends
        if appends is None:
            await import_chat(bus, path)
        else:
            with pytest.raises(EventLogUnavailable):
                await import_chat(bus, path)
        log.is_down, log.appends_left = False, None
        return _types(await _events(bus))


async def test_an_import_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    """Whatever found secrets before, to import again adds what is missing, and nothing else."""
    path = tmp_path / "talks.jsonl"
    messages = [{"role": "user", "content": f"use {TOKEN}"}] * 3
    path.write_text(json.dumps({"conversation": f"talk {TOKEN[:8]}", "user": TOKEN, "messages": messages}))
    expected = await _import(Down(), path)
    assert 4 == expected.count("secret_detected")
    log = Down()
    assert expected[:4] == await _import(log, path, appends=3)
    assert expected == await _import(log, path)
    assert expected == await _import(log, path)


async def test_a_report_fails_open_as_its_event_does() -> None:
    """What may go unrecorded goes with its report, without its secret, and the gap counts both."""
    log = Down()
    async with TraceEventBus(log, on_alarm=_ignore) as bus, bus.run():
        log.is_down = True
        lost = await bus.publish(ToolExecuted(tool="t", result=TOKEN))
        with pytest.raises(EventLogUnavailable):
            await bus.publish(ToolProposed(tool="t", arguments=TOKEN))
        with pytest.raises(EventLogUnavailable):
            await bus.publish_many([_own_report(), ToolExecuted(tool="t")])
        assert 1 == bus.metrics.unrecorded
        log.is_down = False
        await bus.publish(ToolExecuted(tool="t"))
        gap = (await _events(bus))[1]
    assert isinstance(lost, UnrecordedEvent)
    assert MASKED == lost.payload.result
    assert (2, ["secret_detected", "tool_executed"]) == (gap.payload.count, gap.payload.types)


def _own_report(**members: Any) -> SecretDetected:
    return SecretDetected(
        pattern_id="p", place_hash=SecretScanner(KEY).place_hash("x.y", ()), status="blocked", **members
    )


async def test_a_report_of_the_publishers_is_an_event_of_theirs() -> None:
    """What they found themselves they publish themselves, and get back, even with a secret in it."""
    async with TraceEventBus(MemoryEventLog()) as bus, bus.run():
        event = await bus.publish(_own_report(detected_by=TOKEN))
        assert MASKED == event.payload.detected_by
        assert ["run_started", "secret_detected", "secret_detected"] == _types(await _events(bus))


@pytest.mark.parametrize("name", ["key", "turn_id", "agent_id"])
async def test_a_secret_in_a_header_is_refused(name: str) -> None:
    """It could be neither masked nor erased there; the error names the place and not the secret."""
    async with TraceEventBus(MemoryEventLog()) as bus, bus.run() as run:
        with pytest.raises(ValueError, match=rf"^{name}: holds a secret \(github-token\)") as refused:
            await bus.publish(ToolExecuted(tool="t"), **{name: TOKEN})
        with pytest.raises(ValueError, match=rf"^{name}: "):
            bus.publish_sync(ToolExecuted(tool="t"), run=run, **{name: f"x:{TOKEN}"})
        assert ["run_started"] == _types(await _events(bus))
    assert not _has_secret(repr(refused.value))


@pytest.mark.parametrize("name", ["run_id", "workflow_id", "tenant_id", "agent_id"])
async def test_no_run_begins_with_a_secret_in_its_header(name: str) -> None:
    """The same of what every event of the run would carry."""
    async with TraceEventBus(MemoryEventLog()) as bus:
        with pytest.raises(ValueError, match="holds a secret"):
            await bus.start_run(**{name: TOKEN})
        assert [] == await _events(bus)


async def test_a_run_that_has_a_secret_in_its_header_can_end() -> None:
    """A run that was begun without a scanner is not kept open by one."""
    log = MemoryEventLog()
    async with TraceEventBus(log, secret_scanner=None) as bus:
        await bus.start_run(run_id=TOKEN, workflow_id=TOKEN, agent_id=TOKEN)
    async with TraceEventBus(log) as bus:
        await bus.abandon_run(TOKEN)
        assert ["run_started", "run_completed"] == _types(await _events(bus))


async def test_without_a_scanner_everything_is_recorded_as_given() -> None:
    """Who says None means it."""
    async with TraceEventBus(MemoryEventLog(), secret_scanner=None) as bus, bus.run():
        event = await bus.publish(ToolExecuted(tool="t", result=TOKEN), key=TOKEN)
        assert TOKEN == event.payload.result
        assert ["run_started", "tool_executed"] == _types(await _events(bus))


async def test_own_patterns_are_looked_for() -> None:
    """A form of the user's own is masked and reported like any other."""
    own = SecretPattern("acme-token", r"acme_[a-z0-9]{8}", ("acme_",))
    scanner = SecretScanner(patterns=[own])
    async with TraceEventBus(MemoryEventLog(), secret_scanner=scanner) as bus, bus.run():
        event = await bus.publish(ToolExecuted(tool="t", result="acme_0123abcd"))
        assert "[secret: acme-token]" == event.payload.result


async def test_many_places_are_reported_together() -> None:
    """A result that is full of secrets, as only a hostile one is, does not fill the log with reports."""
    result = {f"m{i}": f"{TOKEN} http://u:{PASSWORD}@x" for i in range(1000)}
    scanner = SecretScanner(KEY)
    async with TraceEventBus(MemoryEventLog(), secret_scanner=scanner) as bus, bus.run():
        await bus.publish(ToolExecuted(tool="t", result=result))
        _, *reports, _ = await _events(bus)
    place = scanner.place_hash("tool_executed", ())
    said = sorted((r.payload.pattern_id, r.payload.count, r.payload.place_hash) for r in reports)
    assert [("github-token", 1000, place), ("url-password", 1000, place)] == said


async def test_a_bundle_shows_the_marker() -> None:
    """What was masked in a sensitive member is masked in its disclosure; the rest verifies as ever."""
    log, signer = MemoryEventLog(), Ed25519Signer(b"\x07" * 32)
    async with TraceEventBus(log) as bus, bus.run(workflow_id="w1"):
        await bus.publish(ToolExecuted(tool="t", result={"token": TOKEN, "amount": 5}))
    bundle = await EvidenceBundler(log, signer).bundle("w1")
    report = verify_evidence_bundle(bundle, signer.verifying_key, expected_workflow="w1")
    assert "verified" in report.headline
    disclosed = [text for texts in bundle.tree["disclosures"].values() for text in texts]
    shown = b"".join(base64.urlsafe_b64decode(text + "==") for text in disclosed).decode()
    assert f'{{"amount":5,"token":"{MASKED}"}}' in shown
    assert not _has_secret(bundle.to_json())


@pytest.mark.parametrize(
    ("payload", "found_in"),
    [
        (ToolProposed(tool="t", arguments=TOKEN), "arguments"),
        (ToolExecuted(tool="t", result=TOKEN), "result"),
        (ToolExecuted(tool="t", error=TOKEN), None),
        (ModelCallStarted(model=TOKEN), "prompt"),
        (ErrorRaised(kind=TOKEN), None),
    ],
)
async def test_says_in_which_kind_of_content_it_was_found(
    payload: EventPayload, found_in: str | None
) -> None:
    """Where type or member tell it."""
    async with TraceEventBus(MemoryEventLog()) as bus, bus.run():
        await bus.publish(payload)
        report = (await _events(bus))[1]
    assert found_in == report.payload.found_in
