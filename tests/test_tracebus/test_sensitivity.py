"""What is sensitive: patterns of the operator, the marks of classes, and what may never be."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evidence import NotCanonicalizable, canonical
from evidence.disclosure import digest_of, disclose, locate, open_payload, parse_disclosure
from evidence.pattern import Paths, parse_patterns
from evidence.projection import PLAIN
from tracebus import (
    ApprovalResolved,
    DataErased,
    ErasureTarget,
    EventPart,
    EventPayload,
    FreeForm,
    GateVerdict,
    MemoryEventLog,
    RunStarted,
    Sensitive,
    ToolExecuted,
    ToolProposed,
    TraceEvent,
    TraceEventBus,
    UntypedPayload,
)
from tracebus.committed import Committed, Committer, commit, content_of
from tracebus.committing import MAX_REACHED
from tracebus.payload import payload_class
from tracebus.sensitivity import NEVER_SENSITIVE, Sensitivity
from tracebus.testing import draft, started

TYPE = "acme.anything"


class Passenger(EventPart):
    """Somebody who flies."""

    seat: str
    """Where they sit."""
    dob: str | None = None
    """Date of birth."""
    passport: Sensitive[str | None] = None
    """Number of the passport."""


class Booked(EventPayload, type="acme.booked"):
    """A flight was booked."""

    flight: str
    """Its number."""
    passengers: list[Passenger] | None = None
    """Who flies."""
    lead: Passenger | None = None
    """Who booked."""
    labels: dict[str, str] | None = None
    """Labels."""
    bags: list[list[int]] | None = None
    """Weights of the bags, by passenger."""
    counts: dict[int, int] | None = None
    """How many bags of how many kilograms."""
    notes: FreeForm = None
    """What was noted."""


def seal(committed: Committed) -> TraceEvent[Any]:
    """Return the event that a log makes of a committed payload."""
    (events,) = MemoryEventLog().append([[started(), draft(payload=committed)]])
    assert isinstance(events, list)
    return events[1]


def shown_without(event: TraceEvent[Any], *paths: str) -> TraceEvent[Any]:
    """Return an event without the disclosures that patterns mean."""
    rules = Paths.of(parse_patterns(f"*:{path}" for path in paths), event.type)
    assert event.payload_json is not None
    located = locate(
        orjson.loads(event.payload_json), [parse_disclosure(each, "event") for each in event.disclosures]
    )
    kept = tuple(each.disclosure.text for each in located if not rules.match(each.path))
    return TraceEvent(event.header, event.payload_json, kept)


def content(committed: Committed) -> bytes:
    """Return what a committed payload says."""
    return content_of(committed.payload, committed.disclosures)


# What patterns reach


def test_a_member_inside_a_free_form_value() -> None:
    """The member leaves, what is beside it stays, and the event reads as it was published."""
    payload = ToolProposed(tool="wire", arguments={"amount": 5000, "iban": "DE 89"})
    committed = Committer(["*:iban"], ["tool_*:/arguments"]).commit(payload)
    arguments = json.loads(committed.payload)["arguments"]

    assert {"amount", "_sd"} == arguments.keys()
    assert [digest_of(committed.disclosures[0])] == arguments["_sd"]
    assert payload == seal(committed).payload
    assert {"amount": 5000} == shown_without(seal(committed), "iban").payload.arguments


def test_a_member_of_what_is_sensitive_already() -> None:
    """It can be withheld while the rest of the sensitive member is shown."""
    event = seal(
        Committer(["*:iban"]).commit(ToolProposed(tool="wire", arguments={"amount": 5, "iban": "DE 1"}))
    )
    less: TraceEvent[Any] = shown_without(event, "iban")

    assert 2 == len(event.disclosures)
    assert {"amount": 5} == less.payload.arguments
    assert all(b"DE 1" not in orjson.dumps(parse_disclosure(text, "").value) for text in less.disclosures)


def test_elements_of_an_array() -> None:
    """An element leaves a digest in its place, and no gap once it is not shown."""
    committed = Committer(["*:/seats/*"]).commit({"seats": ["1A", "1A", "2B"]}, TYPE)
    seats = json.loads(committed.payload)["seats"]
    event = seal(committed)
    less: TraceEvent[Any] = TraceEvent(event.header, event.payload_json, event.disclosures[1:])

    assert [{"..."}] * 3 == [set(seat) for seat in seats]
    assert {"seats": ["1A", "1A", "2B"]} == event.payload.data
    assert {"seats": ["1A", "2B"]} == less.payload.data


def test_the_same_value_twice() -> None:
    """Equal values have different digests: nobody can tell that they are equal."""
    committed = Committer(["*:iban", "*:ibans/*"]).commit(
        {"a": {"iban": "DE 1"}, "b": {"iban": "DE 1"}, "ibans": ["DE 1", "DE 1"]}, TYPE
    )
    assert 4 == len({digest_of(text) for text in committed.disclosures})


def test_typed_members() -> None:
    """Patterns reach into typed lists, mappings and parts, whose marks hold beside them."""
    payload = Booked(
        flight="HAT170",
        passengers=[Passenger(seat="1A", dob="1990-01-02", passport="no. P1"), Passenger(seat="1B")],
        lead=Passenger(seat="1A", dob="1990-01-02"),
        labels={"vip": "yes", "email": "kim@example.org"},
        bags=[[20, 23], [7]],
        notes=[{"email": "kim@example.org"}],
    )
    committed = Committer(["*:dob", "*:email", "acme.booked:bags/*/*"]).commit(payload)
    said = json.loads(committed.payload)

    assert ["_sd", "seat"] == sorted(said["passengers"][0])
    assert 2 == len(said["passengers"][0]["_sd"])
    assert {"_sd", "vip"} == said["labels"].keys()
    assert [2, 1] == [len(bags) for bags in said["bags"]]
    assert not any(word in committed.payload for word in (b"1990-01-02", b"kim@", b"no. P1"))
    assert payload == seal(committed).payload
    less = shown_without(seal(committed), "dob", "email").payload
    assert isinstance(less, Booked)
    assert less.lead == Passenger(seat="1A")
    assert {"vip": "yes"} == less.labels


@pytest.mark.parametrize("patterns", [(), ("*:dob",)])
def test_names_that_are_no_text(patterns: tuple[str, ...]) -> None:
    """A typed mapping by numbers is refused, with patterns as without them."""
    with pytest.raises(NotCanonicalizable, match="object name is not a string"):
        Committer(patterns).commit(Booked(flight="HAT170", counts={20: 1}))


def test_a_required_member() -> None:
    """Where a member that the class requires is withheld, the payload still reads, without the class."""
    event = seal(Committer(["acme.booked:/flight"]).commit(Booked(flight="HAT170", notes="n")))
    assert Booked(flight="HAT170", notes="n") == event.payload
    assert UntypedPayload("acme.booked", {"notes": "n"}) == shown_without(event, "flight").payload


def test_plain_takes_a_mark_off() -> None:
    """It does so for that member and its type, in parts as well, and not for what a pattern means."""
    committer = Committer(plain=["tool_executed:/arguments", "acme.booked:passengers/*/passport"])
    executed = committer.commit(ToolExecuted(tool="t", arguments=["an a"], result=["an r"]))
    booked = committer.commit(
        Booked(
            flight="1",
            passengers=[Passenger(seat="1A", passport="no. P1")],
            lead=Passenger(seat="1A", passport="no. P2"),
        )
    )

    assert b"an a" in executed.payload
    assert b"an r" not in executed.payload
    assert b"no. P1" in booked.payload
    assert b"no. P2" not in booked.payload


def test_sensitive_wins() -> None:
    """What both a sensitive and a plain pattern mean is sensitive."""
    committed = Committer(["*:arguments"], ["*:/arguments"]).commit(ToolProposed(tool="t", arguments="an a"))
    assert b"an a" not in committed.payload


def test_other_types_are_as_they_were() -> None:
    """Patterns of other types change nothing."""
    payload = ToolProposed(tool="t", arguments={"iban": "DE 1"})
    committed = Committer(["acme.*:iban"], ["acme.*:/arguments"]).commit(payload)
    assert content(commit(payload)) == content(committed)
    assert 1 == len(committed.disclosures)


# What may never be sensitive


def test_the_table_names_members() -> None:
    """Each name is that of a member which its class does not mark, and a verifier's are among them."""
    for event_type, names in NEVER_SENSITIVE.items():
        cls = payload_class(event_type)
        assert cls is not None
        assert names <= {member.name for member in cls.members() if not member.is_sensitive}
    assert all(names <= NEVER_SENSITIVE[event_type] for event_type, names in PLAIN.items())


@pytest.mark.parametrize(
    "payload",
    [
        RunStarted(policy_digest="sha256:" + "0" * 64),
        ApprovalResolved(request_id="r", actor="kim", identity_source="idp", verdict="approved"),
        GateVerdict(gate="g", verdict="pass", policy="p", rule="r", version="1"),
        DataErased(
            actor="kim", reason="asked", targets=[ErasureTarget(event_id="01M7XXFHXDS6JWE4C1ZGCGV0QT")]
        ),
    ],
    ids=lambda payload: payload.type,
)
def test_wildcards_pass_over_verdicts(payload: EventPayload) -> None:
    """However wide a pattern is, what was decided, by whom, and what was erased stays in the clear."""
    wide = Committer(["*:*", "*:**/*", "*:verdict", "*:actor", "*:eventId", "*:targets/*/*"]).commit(payload)
    said, all_of_it = json.loads(wide.payload), json.loads(commit(payload).payload)
    never = NEVER_SENSITIVE[payload.type] & all_of_it.keys()

    assert never
    assert {name: all_of_it[name] for name in never} == {name: said.get(name) for name in never}
    assert content(commit(payload)) == content(wide)


@pytest.mark.parametrize(
    "pattern",
    [
        "gate_verdict:verdict",
        "gate_verdict:/verdict",
        "gate_verdict:**/verdict",
        "run_started:previous/runId",
        "data_erased:targets/*/eventId",
        "data_erased:targets/*",
        "legal_hold_changed:/change",
        "recording_gap:reason",
    ],
)
def test_verdicts_cannot_be_named(pattern: str) -> None:
    """A pattern that names what may never be sensitive is refused."""
    with pytest.raises(ValueError, match="never sensitive"):
        Committer([pattern])


@pytest.mark.parametrize(
    "pattern", ["gate_verdict:*", "gate_verdict:verd[i]ct", "*:verdict", "gate_*:/verdict"]
)
def test_wildcards_are_taken(pattern: str) -> None:
    """A pattern that may mean other members too is no mistake."""
    assert b'"verdict":"pass"' in Committer([pattern]).commit(GateVerdict(gate="g", verdict="pass")).payload


@pytest.mark.parametrize(("sensitive", "plain"), [(["tool_executed"], []), ([], ["tool_*"])])
def test_whole_payloads_are_refused(sensitive: list[str], plain: list[str]) -> None:
    """A pattern of whole payloads means nothing here, and is refused."""
    with pytest.raises(ValueError, match="expected members"):
        Committer(sensitive, plain)


@pytest.mark.parametrize("pattern", ["tool_exectued:result", "tool_exectued:/result", "tools:*"])
@pytest.mark.parametrize("argument", ["sensitive", "plain"])
def test_a_type_that_there_is_not_is_refused(argument: str, pattern: str) -> None:
    """A misspelt type would leave in the clear what should be sensitive: no bus begins with it."""
    with pytest.raises(ValueError, match="there is no event type tool"):
        TraceEventBus(MemoryEventLog(), **{argument: [pattern]})


@pytest.mark.parametrize("pattern", ["tool_exec*:result", "not.yet_defined:iban", "[t]ool_x:result"])
def test_a_type_that_there_may_be_is_taken(pattern: str) -> None:
    """What a wildcard means, and which types users will have, nobody knows yet."""
    assert [pattern] == [each.text for each in Sensitivity([pattern]).sensitive]


def test_one_text_is_refused() -> None:
    """One pattern in place of several would be taken for many of one letter."""
    with pytest.raises(TypeError, match="expected several"):
        Committer("*:iban")


# What cannot be walked


class Opaque:
    """An object that is no JSON."""

    def __str__(self) -> str:
        """Return what is recorded of it."""
        return "Opaque(iban=DE 89)"


UNREADABLE: list[Any] = [
    {"iban": "DE 89", "id": 2**63},
    {"iban": "DE 89", "_sd": ["x"]},
    [{"iban": "DE 89", "...": 1}],
    {"iban": "DE 89", "jsonText": "x"},
    {"iban": "DE 89", "_salt": "x"},
    {"iban": "DE 89", "long": "x" * 300_000},
    {"iban": "DE 89", "score": float("nan")},
    json.loads('{"iban": "DE 89", "deep": ' + "[" * 70 + "]" * 70 + "}"),
    {("iban",): "DE 89"},
    {"iban", "DE 89"},
    Opaque(),
    [Opaque()],
    '{"iban": "DE 89"}',
    ' \n[{"iban": "DE 89"}',
    "{'iban': 'DE 89'}",
    {"answer": '{"iban": "DE 89"}'},
    ['["DE 89"]'],
]


@pytest.mark.parametrize("value", UNREADABLE, ids=lambda value: repr(value)[:40])
def test_what_cannot_be_walked_leaves(value: Any) -> None:
    """Where a pattern may mean something in a value that has no members to tell apart, it leaves."""
    plain = ["tool_*:/arguments"]
    event = ToolProposed(tool="wire", arguments=value)
    reached = Committer(["*:iban"], plain).commit(event)

    assert b"DE 89" in Committer((), plain).commit(event).payload
    assert b"DE 89" not in reached.payload
    assert content(commit(event)) == content(reached)


@pytest.mark.parametrize("value", UNREADABLE, ids=lambda value: repr(value)[:40])
def test_a_dict_that_cannot_be_walked(value: Any) -> None:
    """A dict of a user's type leaves as JSON text, and nothing that tells of its content stays."""
    committed = Committer(["*:iban"]).commit({"value": value}, TYPE)

    assert b"DE 89" not in committed.payload
    assert b"sha256" not in committed.payload
    assert content(commit({"value": value}, TYPE)) == content(committed)
    assert seal(commit({"value": value}, TYPE)).payload == seal(committed).payload


@pytest.mark.parametrize(
    "value", [2**63, "x" * 300_000, "lone \ud800", float("nan"), "[see below]", "{}?"[2:]]
)
def test_what_has_no_members_stays(value: Any) -> None:
    """A number or a text has nothing in it that a pattern could mean."""
    committed = Committer(["*:iban"], ["tool_*:/arguments"]).commit(
        ToolProposed(tool="wire", arguments=value)
    )
    assert "arguments" in json.loads(committed.payload)


class Delivered(EventPayload, type="sensitivity.delivered"):
    """A receipt as the bytes that came."""

    receipt: bytes | None = None
    pages: list[bytes] = []  # noqa: RUF012 (pydantic copies it)
    parts: dict[str, bytes] = {}  # noqa: RUF012


@pytest.mark.parametrize("name", ["receipt", "pages", "parts"])
def test_bytes_that_hold_a_document_leave(name: str) -> None:
    """Bytes are recorded as text: what they hold counts as it does there."""
    document = b'{"iban": "DE 89"}'
    value = {"receipt": document, "pages": [document], "parts": {"1": document}}[name]
    event = Delivered(**{name: value})
    committed = Committer(["*:iban"]).commit(event)

    assert b"DE 89" not in committed.payload
    assert event == seal(committed).payload


def test_more_than_may_leave_one_by_one() -> None:
    """A value of which too much would leave in pieces leaves as a whole."""
    numbers = list(range(MAX_REACHED + 1))
    committer = Committer(["*:arguments/*", "acme.*:bags/*/*"], ["tool_*:/arguments"])
    proposed = committer.commit(ToolProposed(tool="t", arguments=numbers))
    booked = committer.commit(Booked(flight="1", bags=[numbers]))

    assert 1 == len(proposed.disclosures) == len(booked.disclosures)
    assert numbers == seal(proposed).payload.arguments
    assert [numbers] == seal(booked).payload.bags


def test_a_deep_value_from_deep_in_the_callers_stack() -> None:
    """What nests too deep to be walked does not use up the stack; it leaves as JSON text."""

    def published_below(frames: int) -> Committed:
        return (
            published_below(frames - 1)
            if frames
            else committer.commit(ToolProposed(tool="t", arguments=deep))
        )

    committer = Committer(["*:iban"], ["tool_*:/arguments"])
    deep: Any = "DE 89"
    for _ in range(240):
        deep = {"iban": deep}
    assert b"DE 89" not in published_below(sys.getrecursionlimit() // 2).payload


@pytest.mark.parametrize("depth", [1, 58, 59, 60, 61, 62, 63, 64])
@pytest.mark.parametrize("plain", [[], ["*:/arguments"]])
def test_at_the_limit_of_depth(depth: int, plain: list[str]) -> None:
    """What may just be walked has room for the digests in it, in the payload and in a disclosure."""
    value: Any = [{"iban": "DE 89"}, "DE 90"]
    for _ in range(depth):
        value = [value]
    event = ToolProposed(tool="t", arguments=value)
    committed = Committer(["*:iban", "*:arguments/**/*"], plain).commit(event)

    assert b"DE 89" not in committed.payload
    assert event == seal(committed).payload


# Whatever is published, and whatever is meant

names = st.sampled_from(["a", "b", "iban", "x/y", "~", "*", "user.name", "é", "\ue000", "_sdx"])
steps = st.sampled_from(["a", "b", "iban", "x~1y", "~0", "*", "**", "[ab]", "user.*", "?"])
marked = st.integers(0, 9999).map(lambda number: f"secret{number:04}")
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.just(1e21) | st.just(0.5) | marked
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Return a pattern over members that `values` have."""
    path = [*draw(st.lists(steps, max_size=3)), draw(steps.filter(lambda step: step != "**"))]
    event_type = draw(st.sampled_from(["*", "acme.*", TYPE, "acme.*", "other.type"]))
    return f"{event_type}:{draw(st.sampled_from(['', '/']))}{'/'.join(path)}"


def texts_of(value: Any, path: tuple[str | None, ...] = ()) -> Iterator[tuple[tuple[str | None, ...], str]]:
    """Yield the marked texts in a value, with their paths."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from texts_of(item, (*path, name))
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item, (*path, None))
    elif isinstance(value, str) and value.startswith("secret"):
        yield path, value


def is_meant(rules: Paths, path: tuple[str | None, ...], above: int = 0) -> bool:
    """Tell whether patterns mean a path, or a place on the way to it that is longer than `above`."""
    return any(rules.match(path[:length]) for length in range(above + 1, len(path) + 1))


@given(st.dictionaries(names, values, max_size=5), st.lists(patterns(), max_size=4))
@example({"a": [{"iban": "secret0001"}]}, ["*:a", "*:a/*", "*:iban"])
def test_nothing_that_is_meant_stays(data: dict[str, Any], asked: list[str]) -> None:
    """What patterns mean is neither in the payload nor in the disclosure of anything above it."""
    committed = Committer(asked).commit(data, TYPE)
    rules = Paths.of(parse_patterns(asked), TYPE)
    payload = canonical.loads(committed.payload)
    located = locate(payload, [parse_disclosure(text, "") for text in committed.disclosures])

    assert all(rules.match(each.path) for each in located)
    assert len(committed.disclosures) == len(located)
    in_clear = {text for path, text in texts_of(data) if not is_meant(rules, path)}
    assert in_clear == {text for _, text in texts_of(payload)}
    for each in located:
        below = {
            text
            for path, text in texts_of(data)
            if path[: len(each.path)] == each.path and not is_meant(rules, path, len(each.path))
        }
        assert {text for _, text in texts_of(each.disclosure.value)} <= below


@given(st.dictionaries(names, values, max_size=5), st.lists(patterns(), max_size=4), st.data())
def test_what_is_opened_is_what_was_published(
    data: dict[str, Any], asked: list[str], some: st.DataObject
) -> None:
    """With all disclosures the value is there again, with some of them it still opens and reads."""
    committed = Committer(asked).commit(data, TYPE)
    event = seal(committed)
    kept = tuple(text for text in committed.disclosures if some.draw(st.booleans()))
    located = locate(canonical.loads(committed.payload), [parse_disclosure(text, "") for text in kept])

    assert canonical.dumps(data) == content(committed)
    assert canonical.is_canonical(committed.payload)
    less: TraceEvent[Any] = TraceEvent(
        event.header, event.payload_json, tuple(each.disclosure.text for each in located)
    )
    assert isinstance(less.payload, UntypedPayload)


hostile = st.recursive(
    marked
    | st.sampled_from([2**63, 1e20, float("nan"), "\ud800", Opaque(), (1, 2), None])
    | marked.map(lambda text: json.dumps({"iban": text})),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.sampled_from(["_sd", "...", "_salt", "jsonText"]), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)


@given(hostile, st.lists(patterns(), min_size=1, max_size=3), st.booleans())
def test_hostile_values(value: Any, asked: list[str], is_plain: bool) -> None:
    """Whatever is in a value, its event is recorded, and what patterns mean does not stand in it."""
    asked = [pattern.replace("acme.*", "tool_*").replace(TYPE, "tool_proposed") for pattern in asked]
    event = ToolProposed(tool="t", arguments=value)
    committed = Committer(asked, ["tool_*:/arguments"] if is_plain else []).commit(event)
    rules = Paths.of(parse_patterns(asked), event.type)

    texts = list(texts_of({"arguments": value}))
    elsewhere = {text for path, text in texts if not is_meant(rules, path)}
    meant = {text for path, text in texts if is_meant(rules, path)} - elsewhere
    assert not [text for text in meant if text.encode() in committed.payload]
    assert content(commit(event)) == content(committed)
    assert type(seal(commit(event)).payload) is type(seal(committed).payload)


@given(values, st.lists(patterns(), max_size=3))
def test_the_fast_way_is_the_careful_way(value: Any, asked: list[str]) -> None:
    """A payload that is committed at once has the same members as one that is looked at in parts."""
    committer = Committer([pattern.replace("acme.*", "tool_*") for pattern in asked], ["*:/result"])
    event = ToolExecuted(tool="t", arguments=value, result={"value": value})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracebus.committed.Committer._commit_at_once", lambda *arguments: None)
        careful = committer.commit(event)
    quick = committer.commit(event)

    assert content(careful) == content(quick)
    assert _shape(careful) == _shape(quick)


def _shape(committed: Committed) -> Any:
    """Return what stands where in a committed payload, digests and salts apart."""
    payload = canonical.loads(committed.payload)
    located = locate(payload, [parse_disclosure(text, "") for text in committed.disclosures])
    return sorted(payload), sorted(str(each.path) for each in located)


@given(st.lists(names, min_size=1, max_size=4))
def test_names_are_not_read_as_digests(path: list[str]) -> None:
    """A user's member named as ours is a value like others, also beside what left."""
    value: Any = {"_sd": [disclose("x", 1)[1]], "...": disclose(None, 1)[1], "iban": "DE 89"}
    for name in reversed(path):
        value = {name: value}
    committed = Committer(["*:iban"]).commit({"beside": {"iban": "DE 90"}, "value": value}, TYPE)
    opened = open_payload(canonical.loads(committed.payload), committed.disclosures, "payload")

    assert not opened.hidden
    assert {"beside": {"iban": "DE 90"}, "value": value} == seal(committed).payload.data
