"""What sinks get to see: the committed form, and beyond that what their subscription discloses."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tracebus import (
    EventPart,
    EventPayload,
    FreeForm,
    MemoryEventLog,
    Sensitive,
    SinkUnavailable,
    SqliteEventLog,
    Subscription,
    ToolProposed,
    TraceEvent,
    TraceEventBus,
)
from tracebus.eventlog import AnyEvent, EventQuery
from tracebus.sink import Sink
from tracebus.testing import CapturingSink

pytestmark = pytest.mark.anyio

SECRET = "DE89370400440532013000"


class Guest(EventPart):
    """Somebody who stays."""

    name: str = "guest"
    email: Sensitive[str | None] = None
    passport: Sensitive[str | None] = None


class RoomBooked(EventPayload, type="disclosing.room_booked"):
    """A room was booked."""

    room: int
    customer: Sensitive[Guest | None] = None
    guests: list[Guest] = []  # noqa: RUF012 (pydantic copies it)
    note: Sensitive[FreeForm] = None


HERS = {"email": "ada@example.org", "passport": "P1"}
BOOKED = RoomBooked(
    room=7,
    customer=Guest(name="Ada", **HERS),
    guests=[Guest(name="Bob", email="bob@example.org"), Guest(name="Cy", email="cy@example.org")],
    note={"late": True},
)


async def shown(payload: EventPayload, *disclose: str) -> AnyEvent:
    """Return what a sink got of an event that was published."""
    sink = CapturingSink()
    async with TraceEventBus(MemoryEventLog(), [Subscription(sink, disclose=disclose)]) as bus, bus.run():
        await bus.publish(payload)
    return sink.events[1]


def all_that_it_holds(events: Sequence[AnyEvent]) -> str:
    """Return every value that can be reached from events, as text."""
    read = [(event.opened(), event.to_wire(disclosed=True), repr(event.payload)) for event in events]
    return json.dumps(read) + repr(pickle.dumps(list(events)))


async def publish_secrets(
    log: MemoryEventLog | SqliteEventLog, count: int, *sinks: Sink | Subscription
) -> None:
    """Publish a run of tool calls, each with a secret among its arguments."""
    async with TraceEventBus(log, sinks) as bus, bus.run():
        await bus.publish_many([ToolProposed(tool="wire", arguments={"iban": SECRET}) for _ in range(count)])


class FailingOnce(CapturingSink):
    """A sink that refuses its first batch."""

    failed = False

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        if not self.failed:
            self.failed = True
            raise SinkUnavailable("not now")
        await super().write(batch)


WAYS: dict[str, dict[str, Any]] = {
    "offered": {},
    "read from the log": {"buffer_events": 1},
    "required": {"required": True},
    "blocking": {"overflow": "block"},
    "dropping": {"overflow": "drop_oldest", "buffer_events": 3},
}


@pytest.mark.parametrize("way", WAYS)
async def test_by_default_nothing_sensitive_is_shown(way: str) -> None:
    """However events come to a sink, they hold no sensitive member, and no salt of one."""
    sink = FailingOnce()
    await publish_secrets(MemoryEventLog(), 10, Subscription(sink, **WAYS[way]))
    assert [()] == list({event.disclosures for event in sink.events})
    assert SECRET not in all_that_it_holds(sink.events)
    assert {"tool_proposed"} <= {event.type for event in sink.events}


@pytest.mark.parametrize("way", WAYS)
async def test_disclosed_members_are_shown(way: str) -> None:
    """However events come to a sink, they hold the members that were disclosed to it."""
    sink = FailingOnce()
    await publish_secrets(
        MemoryEventLog(), 10, Subscription(sink, disclose=["tool_proposed:arguments"], **WAYS[way])
    )
    calls = [event for event in sink.events if event.type == "tool_proposed"]
    assert calls
    assert [{"iban": SECRET}] * len(calls) == [event.payload.arguments for event in calls]  # type: ignore[union-attr]


@pytest.mark.parametrize(("disclose", "is_shown"), [((), False), (("*:arguments",), True)])
async def test_after_a_restart(tmp_path: Path, disclose: tuple[str, ...], is_shown: bool) -> None:
    """What was stored while a durable sink was away reaches it as its subscription says now."""
    log, sink = SqliteEventLog(tmp_path / "trace.db"), CapturingSink(durable=True)
    await publish_secrets(log, 2, sink)
    await publish_secrets(log, 2)
    sink.events.clear()
    async with TraceEventBus(log, [Subscription(sink, disclose=disclose)]):
        pass
    assert 4 == len(sink.events)
    assert is_shown == (SECRET in all_that_it_holds(sink.events))


async def test_only_the_disclosures_go() -> None:
    """Header, payload bytes and position are those of the log's event."""
    log, sink = MemoryEventLog(), CapturingSink()
    await publish_secrets(log, 3, sink)
    stored = list(log.query(EventQuery()))
    assert [(event.header, event.payload_json, event.position) for event in stored] == [
        (event.header, event.payload_json, event.position) for event in sink.events
    ]


async def test_the_committed_form_is_what_a_sink_writes_unless_it_asks() -> None:
    """What was disclosed to a sink is in the form on the wire only where the sink asks for it."""
    event = await shown(BOOKED, "*:*")
    assert [False, True] == [
        "disclosures" in event.to_wire(disclosed=disclosed) for disclosed in (False, True)
    ]
    assert "disclosures" not in (await shown(BOOKED)).to_wire(disclosed=True)


async def test_the_publisher_and_other_sinks_keep_theirs() -> None:
    """What one sink does not get to see, the publisher, the log and another sink still have."""
    log, blind, seeing = MemoryEventLog(), CapturingSink("blind"), CapturingSink("seeing")
    async with TraceEventBus(log, [blind, Subscription(seeing, disclose=["*:*"])]) as bus, bus.run():
        event = await bus.publish(ToolProposed(tool="wire", arguments={"iban": SECRET}))
    assert [event, event] == [seeing.events[1], list(log.query(EventQuery()))[1]]
    assert 1 == len(event.disclosures)
    assert () == blind.events[1].disclosures


async def test_a_payload_is_read_without_the_rest() -> None:
    """The payload is of its class, with the members that were disclosed, and None for the others."""
    event = await shown(BOOKED, "*:note")
    assert (
        RoomBooked(room=7, guests=[Guest(name="Bob"), Guest(name="Cy")], note={"late": True}) == event.payload
    )


@pytest.mark.parametrize(
    ("disclose", "opened"),
    [
        ([], {}),
        (["*:*"], {"customer": {"name": "Ada", **HERS}, "note": {"late": True}}),
        (["disclosing.*:customer"], {"customer": {"name": "Ada"}}),
        (["disclosing.room_booked:/customer", "*:passport"], {"customer": {"name": "Ada", "passport": "P1"}}),
        (["*:customer/email"], {}),
        (["*:customer", "*:customer/email"], {"customer": {"name": "Ada", "email": "ada@example.org"}}),
        (["*:note/late"], {}),
        (["tool_*:*"], {}),
    ],
)
async def test_patterns(disclose: list[str], opened: dict[str, Any]) -> None:
    """Exactly the members that patterns mean are shown, and none below one that is not."""
    found = (await shown(BOOKED, *disclose)).opened()
    assert opened == {name: found[name] for name in ("customer", "note") if name in found}


async def test_members_of_elements() -> None:
    """A path reaches the members of an array's elements."""
    found = (await shown(BOOKED, "*:guests/*/email")).opened()
    assert ["bob@example.org", "cy@example.org"] == [guest["email"] for guest in found["guests"]]
    assert "customer" not in found


async def test_what_the_operator_calls_sensitive() -> None:
    """Members and elements that are sensitive by a rule are shown only where they are disclosed."""
    blind, seeing = CapturingSink("blind"), CapturingSink("seeing")
    rules = ["acme.seen:people/*/email", "acme.seen:tags/*", "acme.seen:note"]
    sinks: list[Sink | Subscription] = [blind, Subscription(seeing, disclose=rules[:2])]
    async with TraceEventBus(MemoryEventLog(), sinks, sensitive=rules) as bus, bus.run():
        people = [{"email": "a@example.org", "n": 1}, {"email": "b@example.org", "n": 2}]
        await bus.publish({"people": people, "tags": ["p", "q"], "note": SECRET}, type="acme.seen")
    assert {"people": [{"n": 1}, {"n": 2}], "tags": []} == blind.events[1].opened()
    assert {"people": people, "tags": ["p", "q"]} == seeing.events[1].opened()
    assert SECRET not in all_that_it_holds([*blind.events, *seeing.events])


async def test_damage_discloses_nothing() -> None:
    """Of an event whose disclosures cannot be read, nothing is disclosed by a pattern."""
    event = await shown(BOOKED, "*:*")
    damaged = TraceEvent[Any](event.header, event.payload_json, (*event.disclosures, "xxxx"), 1)
    (seen,) = Subscription(CapturingSink(), disclose=["*:note"]).shown([damaged])
    assert () == seen.disclosures


@pytest.mark.parametrize("disclose", [["tool_executed"], [""], [":x"], ["a:"], ["a:b//c"]])
async def test_patterns_that_name_no_member(disclose: list[str]) -> None:
    """A pattern that names no member is refused: payloads are shown anyway, without what is sensitive."""
    with pytest.raises(ValueError, match="expected"):
        Subscription(CapturingSink(), disclose=disclose)


async def test_a_subscription_does_not_change() -> None:
    """What is done to the list of patterns later is not done to the subscription, which can be hashed."""
    disclose, sink = ["*:note"], CapturingSink()
    subscription = Subscription(sink, disclose=disclose)
    disclose.append("*:*")
    assert {Subscription(sink, disclose=["*:note"])} == {subscription}


async def test_one_pattern_in_place_of_several() -> None:
    """One text is no list of patterns."""
    with pytest.raises(TypeError, match="several"):
        Subscription(CapturingSink(), disclose="*:*")


async def test_a_type_that_there_is_not() -> None:
    """A misspelt type would show a sink nothing of what it was meant to get: it is refused at once."""
    with pytest.raises(ValueError, match="there is no event type tool_exectued; did you mean tool_executed"):
        Subscription(CapturingSink(), disclose=["tool_exectued:result"])
