"""The committed form of payloads, and what hostile data does to it: nothing."""

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from evidence import NotCanonicalizable, canonical
from evidence.disclosure import digest_of, open_payload
from tracebus import (
    EventPart,
    EventPayload,
    FreeForm,
    MemoryEventLog,
    PayloadTooLarge,
    Sensitive,
    ToolExecuted,
    TraceEvent,
    UntypedPayload,
)
from tracebus.committed import Committed, Committer, commit, content_of
from tracebus.free_form import MAX_VALUE_BYTES
from tracebus.secret_scanner import DEFAULT_SCANNER, SecretScanner
from tracebus.testing import draft, started


class Address(EventPart):
    """Where somebody lives."""

    country: str
    """ISO 3166 code."""
    street: Sensitive[str | None] = None
    """Street and number."""


class Delivered(EventPayload, type="acme.delivered"):
    """A parcel arrived."""

    parcel: str
    """Its number."""
    to: Address | None = None
    """Where to."""
    stops: list[Address] | None = None
    """On the way."""
    receipt: Sensitive[FreeForm] = None
    """What the carrier's system answered."""
    open_receipt: FreeForm = None
    """The same, not sensitive."""
    labels: dict[str, str] | None = None
    """Labels."""
    weight: float | None = None
    """Kilograms."""
    price: Decimal | None = None
    """Price."""
    ticket: UUID | None = None
    """Ticket."""


def seal(committed: Committed) -> TraceEvent[Any]:
    """Return the event that a log makes of a committed payload."""
    (events,) = MemoryEventLog().append([[started(), draft(payload=committed)]])
    assert isinstance(events, list)
    return events[1]


def members(committed: Committed) -> dict[str, Any]:
    """Return the members of a committed payload."""
    value: dict[str, Any] = json.loads(committed.payload)
    return value


def test_salt() -> None:
    """Two payloads that say the same are committed to by different bytes."""
    first, second = commit(Delivered(parcel="1")), commit(Delivered(parcel="1"))
    assert first.payload != second.payload
    assert 22 == len(members(first)["_salt"])


def test_absent_is_absent() -> None:
    """A member that is None is not written."""
    assert {"_salt", "parcel"} == members(commit(Delivered(parcel="1"))).keys()


def test_sensitive_member_leaves() -> None:
    """A sensitive member is not in the payload, its digest is, and its disclosure beside it."""
    committed = commit(Delivered(parcel="1", receipt={"signed": "Kim"}))
    assert b"Kim" not in committed.payload
    assert [digest_of(committed.disclosures[0])] == members(committed)["_sd"]
    assert {"signed": "Kim"} == seal(committed).payload.receipt


def test_sensitive_member_of_a_part() -> None:
    """Members of nested models, and of those in arrays, leave as well, and come back."""
    payload = Delivered(
        parcel="1",
        to=Address(country="DE", street="Weg 1"),
        stops=[Address(country="FR", street="Rue 2"), Address(country="CH")],
    )
    committed = commit(payload)
    assert b"Weg" not in committed.payload
    assert b"Rue" not in committed.payload
    assert 2 == len(committed.disclosures)
    assert payload == seal(committed).payload


@pytest.mark.parametrize("member", ["receipt", "open_receipt"])
@pytest.mark.parametrize(
    "hostile",
    [
        9007199254740993,
        {"id": 2**63},
        1e20,
        float("nan"),
        [float("inf")],
        "lone \ud800 surrogate",
        {"\udfff": 1},
        {"_sd": ["x"]},
        {"a": [{"...": "digest"}]},
        {"_salt": 1},
        {"jsonText": "1"},
        {"deep": {"jsonText": "1", "truncated": True}},
    ],
    ids=repr,
)
def test_hostile_values_are_recorded(member: str, hostile: Any) -> None:
    """A free-form value that is no I-JSON, or uses a reserved name, is recorded and read back."""
    committed = commit(Delivered(parcel="1", **{member: hostile}))
    read = getattr(seal(committed).payload, member)
    assert repr(hostile) == repr(read)
    assert canonical.is_canonical(committed.payload)


def test_other_objects_are_recorded_as_text() -> None:
    """What is no JSON at all is recorded as text; where even that fails, it is named."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    cycle: list[Any] = []
    cycle.append(cycle)
    read = seal(commit(Delivered(parcel="1", receipt=[{1}, b"x", Broken()]))).payload.receipt
    assert ["{1}", "b'x'"] == read[:2]
    assert "Broken" in read[2]
    assert "[[...]]" == seal(commit(Delivered(parcel="1", receipt=cycle))).payload.receipt
    assert "{(1, 2): 3}" == seal(commit(Delivered(parcel="1", receipt={(1, 2): 3}))).payload.receipt


def test_keys_of_other_types_do_not_merge() -> None:
    """The names 1 and "1" are both in the text that is recorded."""
    committed = commit(Delivered(parcel="1", open_receipt={1: "a", "1": "b"}))
    assert '{"1": "a", "1": "b"}' == members(committed)["openReceipt"]["jsonText"]


def test_bottomless_nesting() -> None:
    """A value that nests deeper than a reader may go is recorded as text."""
    deep: Any = 1
    for _ in range(60_000):
        deep = [deep]
    assert "jsonText" in members(commit(Delivered(parcel="1", open_receipt=deep)))["openReceipt"]


@pytest.mark.parametrize("member", ["receipt", "open_receipt"])
def test_large_value(member: str) -> None:
    """A value that is too large is recorded as its beginning, its length and its digest."""
    value = {"page": "x" * MAX_VALUE_BYTES}
    read = getattr(seal(commit(Delivered(parcel="1", **{member: value}))).payload, member)
    text = json.dumps(value)
    assert (text[:1024], True, len(text)) == (read["jsonText"], read["truncated"], read["length"])
    assert read["digest"].startswith("sha256:")


def test_many_large_values() -> None:
    """Values that together are too large for an event are all shortened, and the event is recorded."""

    class Crowded(EventPayload, type="acme.crowded"):
        """Much at once."""

        a: FreeForm = None
        b: FreeForm = None
        c: FreeForm = None
        d: FreeForm = None
        e: FreeForm = None
        f: FreeForm = None

    text = "x" * (MAX_VALUE_BYTES - 100)
    committed = commit(Crowded(a=text, b=text, c=text, d=text, e=text, f="short"))
    assert {"truncated": True}.items() <= members(committed)["a"].items()
    assert "short" == members(committed)["f"]


def test_typed_members_are_strict() -> None:
    """A typed member without canonical form is refused, with its place."""
    with pytest.raises(NotCanonicalizable, match="/weight"):
        commit(Delivered(parcel="1", weight=float("nan")))
    with pytest.raises(NotCanonicalizable, match="surrogate"):
        commit(Delivered.model_construct(parcel="\ud800"))
    with pytest.raises(NotCanonicalizable, match="reserved"):
        commit(Delivered(parcel="1", labels={"_sd": "x"}))
    with pytest.raises(PayloadTooLarge, match="digest"):
        commit(Delivered(parcel="x" * 2_000_000))


def test_sensitive_members_can_be_read_again() -> None:
    """A typed sensitive member that no reader would take is refused, as one that is not sensitive."""

    class Counted(EventPayload, type="acme.counted"):
        """A number."""

        number: Sensitive[float | None] = None

    with pytest.raises(NotCanonicalizable, match="whole number"):
        commit(Counted(number=2.0**53))


class Nested(EventPayload, type="acme.nested"):
    """A typed member of any type."""

    value: Any = None


@pytest.mark.parametrize("scanner", [None, DEFAULT_SCANNER])
def test_a_typed_member_within_itself_is_refused(scanner: SecretScanner | None) -> None:
    """What has no end is refused like anything else that has no canonical form."""
    cycle: list[Any] = []
    cycle.append(cycle)
    payload = Nested.model_construct(value=cycle)
    with pytest.raises(NotCanonicalizable, match="within itself"):
        Committer(["*:iban"], scanner=scanner).commit(payload)


def test_python_types_come_back() -> None:
    """Decimals and UUIDs are text on the wire, and themselves in Python."""
    payload = Delivered(
        parcel="1", price=Decimal("12.50"), ticket=UUID("12345678-1234-5678-1234-567812345678")
    )
    committed = commit(payload)
    assert "12.50" == members(committed)["price"]
    assert payload == seal(committed).payload


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_any_value_is_recorded(value: Any) -> None:
    """Whatever a tool returns is recorded, and reads back as JSON would give it."""
    committed = commit(ToolExecuted(tool="t", status="ok", result=value))
    read = seal(committed).payload
    expected = None if value is None else json.loads(json.dumps(value))
    assert isinstance(read, ToolExecuted)
    assert repr(_plain(expected)) == repr(_plain(read.result))


def _plain(value: Any) -> Any:
    """Return a value with whole floats as integers, as JSON has them, and names in order."""
    if isinstance(value, float):
        return int(value) if value == value and abs(value) < 2**53 and value == int(value) else value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(value[name]) for name in sorted(value)}
    return value


def _content(committed: Committed) -> bytes:
    return content_of(committed.payload, committed.disclosures)


@given(json_values, st.text(), st.integers() | st.floats())
def test_the_fast_way_is_the_careful_way(value: Any, tool: str, number: float) -> None:
    """A payload that is committed at once says what it says when each member is looked at."""
    event = ToolExecuted(tool=tool, arguments=value, result={"value": value, "number": number})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracebus.committed.Committer._commit_at_once", lambda *arguments: None)
        careful = commit(event)
    quick = commit(event)
    assert _content(careful) == _content(quick)
    assert canonical.is_canonical(quick.payload)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_any_dict_is_recorded(data: dict[str, Any]) -> None:
    """A plain dict under a user's type is recorded whole, whatever is in it."""
    event = seal(commit(data, "acme.anything"))
    assert isinstance(event.payload, UntypedPayload)
    assert repr(_plain(json.loads(json.dumps(data)))) == repr(_plain(event.payload.data))


def test_withheld_members_still_read() -> None:
    """Without its disclosures a payload is read as its class, the sensitive members absent."""
    committed = commit(ToolExecuted(tool="wire", status="ok", arguments={"a": 1}))
    event = seal(committed._replace(disclosures=()))
    assert ToolExecuted(tool="wire", status="ok") == event.payload


def test_newer_member_reads_untyped() -> None:
    """A member that this release does not know leaves the payload readable, without its class."""
    payload = canonical.dumps({"_salt": "x", "tool": "wire", "status": "ok", "newer": 1})
    event = seal(Committed("tool_executed", payload, ()))
    assert UntypedPayload("tool_executed", {"tool": "wire", "status": "ok", "newer": 1}) == event.payload


def test_member_digest_names_the_disclosure() -> None:
    """The digest of a sensitive member is that of its disclosure, so that it cannot be guessed."""
    committed = commit(ToolExecuted(tool="wire", status="ok", arguments={"a": 1}))
    digest = seal(committed).member_digest("arguments")
    opened = open_payload(members(committed), committed.disclosures, "event")
    assert 1 == len(opened.shown)
    assert digest.startswith("sha256:")
    with pytest.raises(LookupError, match="result"):
        seal(committed).member_digest("result")


def test_marks_within_a_union() -> None:
    """A member marked before it is made optional is sensitive all the same."""

    class Optional(EventPayload, type="acme.optional"):
        """Marked within."""

        name: Sensitive[str] | None = None

    assert b"Kim" not in commit(Optional(name="Kim")).payload


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (list[Sensitive[str]], ...),
        (dict[str, Sensitive[str]], ...),
        (list[FreeForm], ...),
        (BaseModel, ...),
        (int | None, 100),
    ],
    ids=str,
)
def test_what_would_not_be_seen_is_refused(annotation: Any, default: Any) -> None:
    """A mark below the top, a model without marks, and a None that would read back as a default."""
    with pytest.raises(TypeError, match=r"Wrong\.member"):
        type(
            "Wrong",
            (EventPayload,),
            {"__annotations__": {"member": annotation}, "member": default, "__module__": __name__},
            type="acme.wrong",
        )


def test_a_subclass_needs_a_type() -> None:
    """A class that only inherits its type is refused, for it would not be read back."""

    class Express(Delivered):
        """Sooner."""

    with pytest.raises(TypeError, match="type of its own"):
        commit(Express(parcel="1"))


def test_huge_integers_are_recorded() -> None:
    """An integer that Python writes in no decimal text is recorded, and what is beside it stays."""
    read = seal(commit(Delivered(parcel="1", receipt={"n": 10**5000, "ok": True}))).payload.receipt
    assert (hex(10**5000), True) == (read["n"], read["ok"])
