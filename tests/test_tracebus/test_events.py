"""The built-in event classes: what holds for every one of them."""

import re
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evidence.projection import ERASING, KEPT, VIEWS
from evidence.scope import is_target, targets_of
from tracebus import events
from tracebus.committed import commit
from tracebus.event import TraceEvent
from tracebus.events import DataErased, ErasureTarget, ToolExecuted, ToolProposed
from tracebus.payload import EventPart, EventPayload, payload_class, payload_classes

# The closed list of the design, in its order.
TYPES = """
    run_started run_completed turn_started turn_completed context_compiled model_call_started
    model_call_completed tool_proposed tool_executed policy_decision gate_verdict approval_requested
    approval_resolved escalation human_override branch_decision handoff interrupted resumed
    memory_proposed memory_written memory_retrieved checkpoint_saved policy_violation secret_detected
    security_event chain_transaction error recording_gap data_erased retention_applied
    legal_hold_changed bundle_exported verification_performed key_changed
    log_succeeded
""".split()  # noqa: SIM905  as the design writes it

PUBLIC = [getattr(events, name) for name in events.__all__]
PARTS = [item for item in PUBLIC if isinstance(item, type) and issubclass(item, EventPart)]
PAYLOADS = [part for part in PARTS if issubclass(part, EventPayload)]
EVENT_ID = "01M7XXFHXDS6JWE4C1ZGCGV0QT"

# What a bundle's reader must always see.
DECIDING = {"verdict", "outcome", "policy", "rule", "actor", "decision", "status", "digest"}

each_payload = pytest.mark.parametrize("cls", PAYLOADS, ids=lambda cls: cls.type)
each_part = pytest.mark.parametrize("cls", PARTS, ids=lambda cls: cls.__name__)
DIGESTS = ("digest", "event_hash", "content_hash")

each_free_form_member = pytest.mark.parametrize(
    ("cls", "attribute"),
    [(cls, member.attribute) for cls in PAYLOADS for member in cls.members() if member.is_free_form],
    ids=lambda value: value if isinstance(value, str) else value.type,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


def values(hint: Any, constraints: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """Return a strategy for what fits a field's type."""
    limits = {
        name: value
        for constraint in constraints
        for name in ("pattern", "ge", "le", "min_length")
        if (value := getattr(constraint, name, None)) is not None
    }
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return values(args[0], [item for mark in args[1:] for item in getattr(mark, "metadata", [mark])])
    if origin in (Union, UnionType):
        return st.one_of([values(arg) for arg in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is list:
        return st.lists(values(args[0]), min_size=limits.get("min_length", 0), max_size=3)
    if hint is str and "pattern" in limits:
        return st.from_regex(limits["pattern"], fullmatch=True)
    if hint is int:
        return st.integers(limits.get("ge", -100), limits.get("le", 100))
    if isinstance(hint, type) and issubclass(hint, EventPart):
        return instances(hint)
    return {
        Any: json_values,
        str: st.text(max_size=20),
        float: st.floats(limits.get("ge"), limits.get("le"), allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        NoneType: st.none(),
    }[hint]


def instances(cls: type[EventPart], *, only_required: bool = False) -> st.SearchStrategy[Any]:
    """Return a strategy for instances of a class."""
    members = {
        name: values(field.annotation, field.metadata)
        for name, field in cls.model_fields.items()
        if field.is_required() or not only_required
    }
    return st.fixed_dictionaries(members).map(lambda drawn: cls(**drawn))


def read_back(payload: EventPayload) -> Any:
    """Return the payload that an event made of this payload has."""
    committed = commit(payload)
    header = {"id": EVENT_ID, "type": committed.type}
    return TraceEvent[Any](header, committed.payload, committed.disclosures).payload


def test_types() -> None:
    """Each type of the design has one class, and there is no other without a dot."""
    built_in = {name for name in payload_classes() if "." not in name}

    assert sorted(TYPES) == sorted(built_in)
    assert sorted(TYPES) == sorted(cls.type for cls in PAYLOADS)


def test_types_that_evidence_names() -> None:
    """Every type that a bundle's views and rules speak of has a class."""
    named = KEPT.union(ERASING, *VIEWS.values())

    assert set() == named - set(TYPES)


def test_public_names() -> None:
    """`__all__` is sorted and holds every public name of the package that is no module."""
    public = {
        name
        for name, value in vars(events).items()
        if not name.startswith("_") and getattr(value, "__package__", None) is None and name != "annotations"
    }

    assert sorted(public) == events.__all__


@each_payload
def test_type_is_the_class_name(cls: type[EventPayload]) -> None:
    """The type is the class's name in snake_case; only `ErrorRaised` is `error`."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    assert {"error_raised": "error"}.get(name, name) == cls.type
    assert cls is payload_class(cls.type)


@each_part
def test_descriptions(cls: type[EventPart]) -> None:
    """Every class and every field says what it means, and ends the sentence."""
    texts = {name: field.description or "" for name, field in cls.model_fields.items()}
    texts["(class)"] = vars(cls).get("__doc__") or ""

    assert [] == [name for name, text in texts.items() if not text.rstrip().endswith(".")]


@each_payload
def test_says_when_to_publish(cls: type[EventPayload]) -> None:
    """Every payload class says when to publish it, or that tracebus does."""
    assert re.search(r"\b[Pp]ublish", cls.__doc__ or "")


@each_part
def test_sensitive_members_are_optional(cls: type[EventPart]) -> None:
    """A payload whose sensitive members are withheld or erased still fits its class."""
    sensitive = [member.attribute for member in cls.members() if member.is_sensitive]

    assert [] == [name for name in sensitive if cls.model_fields[name].get_default() is not None]
    assert [] == [name for name in sensitive if cls.model_fields[name].is_required()]


@each_part
def test_what_decides_is_never_sensitive(cls: type[EventPart]) -> None:
    """No verdict, outcome, policy, rule, actor, decision, status or digest can be withheld."""
    sensitive = [member.attribute for member in cls.members() if member.is_sensitive]

    assert [] == [name for name in sensitive if DECIDING & set(name.split("_"))]


@pytest.mark.parametrize(
    ("event_type", "members"),
    [
        ("run_started", {"user_id", "session_id"}),
        ("context_compiled", {"messages"}),
        ("model_call_completed", {"response", "error"}),
        ("tool_proposed", {"arguments", "rationale"}),
        ("tool_executed", {"arguments", "result", "error", "on_behalf_of"}),
        ("approval_requested", {"shown"}),
        ("approval_resolved", {"edited_arguments", "answer"}),
        ("memory_written", {"memory_key", "contents", "reason"}),
        ("error", {"message", "details"}),
        ("policy_violation", {"details"}),
        ("data_erased", set()),
        ("secret_detected", set()),
    ],
)
def test_sensitive_members(event_type: str, members: set[str]) -> None:
    """What people and models wrote, and who the user is, leaves the payload; nothing else does."""
    cls = payload_classes()[event_type]

    assert members == {member.attribute for member in cls.members() if member.is_sensitive}


@each_part
@settings(max_examples=10)
@given(data=st.data())
def test_json_round_trip(cls: type[EventPart], data: st.DataObject) -> None:
    """What a class writes as JSON, by wire names, it reads as the same."""
    payload = data.draw(instances(cls))
    written = payload.model_dump_json(by_alias=True)

    assert {member.name for member in cls.members()} == orjson.loads(written).keys()
    assert payload == cls.model_validate_json(written)


@each_payload
@settings(max_examples=10)
@given(data=st.data())
def test_committed_round_trip(cls: type[EventPayload], data: st.DataObject) -> None:
    """What is published is what the event's payload says, through the committed form."""
    payload = data.draw(instances(cls))

    assert payload == read_back(payload)


@each_payload
@settings(max_examples=5)
@given(data=st.data())
def test_reads_without_disclosures(cls: type[EventPayload], data: st.DataObject) -> None:
    """With every disclosure erased a payload is read as its class, its other members as they were."""
    payload = data.draw(instances(cls))
    kept = TraceEvent[Any]({"id": EVENT_ID, "type": cls.type}, commit(payload).payload).payload
    sensitive = {member.attribute: None for member in cls.members() if member.is_sensitive}

    assert payload.model_copy(update=sensitive) == kept


@each_part
def test_free_form_members(cls: type[EventPart]) -> None:
    """What people, models and tools wrote is free-form; only ids of persons are typed and sensitive."""
    written = {"tool", "call_id", "subject", "explanation", "message", "error"}
    typed = {member.attribute for member in cls.members() if not member.is_free_form}
    sensitive = {member.attribute for member in cls.members() if member.is_sensitive}

    assert cls is events.VerificationPerformed or set() == typed & written
    assert typed & sensitive <= {"user_id", "session_id", "on_behalf_of"}


@each_free_form_member
@settings(max_examples=1)
@given(data=st.data())
def test_free_form_members_refuse_nothing(
    cls: type[EventPayload], attribute: str, data: st.DataObject
) -> None:
    """Text that somebody else wrote is recorded whatever it holds, and read back as it was."""
    required = dict(data.draw(instances(cls, only_required=True)))
    payloads = [cls(**required | {attribute: text}) for text in ("\ud800", '"', "[1]", '{"_sd":[]}')]

    assert payloads == [read_back(payload) for payload in payloads]


@each_free_form_member
@settings(max_examples=1)
@given(data=st.data())
def test_free_form_members_may_be_long(cls: type[EventPayload], attribute: str, data: st.DataObject) -> None:
    """Text that is too long is recorded as its beginning, and suppresses no event."""
    required = dict(data.draw(instances(cls, only_required=True)))
    committed = commit(cls(**required | {attribute: "a" * 300_000}))

    assert len(committed.payload) + sum(map(len, committed.disclosures)) < 10_000


@each_payload
@settings(max_examples=1)
@given(data=st.data())
def test_unknown_members_are_refused(cls: type[EventPayload], data: st.DataObject) -> None:
    """A misspelt argument raises where the payload is made."""
    required = dict(data.draw(instances(cls, only_required=True)))

    cls(**required)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        cls(**required | {"no_such_member": 1})


@each_payload
@settings(max_examples=1)
@given(data=st.data())
def test_frozen(cls: type[EventPayload], data: st.DataObject) -> None:
    """A payload's members cannot be set once it is made."""
    payload = data.draw(instances(cls))

    for name in cls.model_fields:
        with pytest.raises(ValidationError, match="Instance is frozen"):
            setattr(payload, name, getattr(payload, name))


@pytest.mark.parametrize(
    ("cls", "attribute"),
    [
        (cls, name)
        for cls in PARTS
        for name in cls.model_fields
        if name.endswith(("digest", "event_hash", "content_hash"))
    ],
)
def test_digests_have_one_spelling(cls: type[EventPart], attribute: str) -> None:
    """A digest is lower-case hex with its algorithm, and nothing around it."""
    digest = f"sha256:{'0a' * 32}"
    refused = [digest.upper(), digest[7:], digest[:-1], digest + "\n", f" {digest}", f"md5:{'0a' * 16}"]

    assert [] == [text for text in refused if not _refuses(cls, attribute, text)]
    assert [] == [text for text in (digest, f"blake3:{'0a' * 32}") if _refuses(cls, attribute, text)]


@pytest.mark.parametrize(
    ("cls", "attribute"), [(cls, name) for cls in PARTS for name in cls.model_fields if name.endswith("_ms")]
)
def test_durations_are_finite(cls: type[EventPart], attribute: str) -> None:
    """A length of time that has no canonical form is refused where the payload is made."""
    assert [] == [value for value in (float("nan"), float("inf"), "5") if not _refuses(cls, attribute, value)]
    assert not _refuses(cls, attribute, 5)


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("2026-11-21T02:03:04Z", True),
        ("2026-11-21T02:03:04.123456789+01:00", True),
        ("2026-11-21T02:03:04", False),
        ("2026-11-21 02:03:04Z", False),
        ("2026-11-21", False),
        ("\u0662026-11-21T02:03:04Z", False),
    ],
)
def test_times_name_their_offset(text: str, is_taken: bool) -> None:
    """A time is RFC 3339, and says how far it is from UTC."""
    assert is_taken is not _refuses(payload_classes()["interrupted"], "expires_at", text)


def test_a_plain_digest_is_no_place_hash() -> None:
    """The place of a secret is given by a keyed hash; an unkeyed one is refused."""
    cls = payload_classes()["secret_detected"]

    assert _refuses(cls, "place_hash", f"sha256:{'0a' * 32}")
    assert not _refuses(cls, "place_hash", f"hmac-sha256:{'0a' * 32}")


def test_erasures_name_their_targets() -> None:
    """What an erasing event records is what the verifier looks for."""
    digest = "aIsYPcXVNgptCmrPqb8iudFLktiHQRgcE9Xd5fYJhMQ"
    other = "01M7XXFHXDS6JWE4C1ZGCGV0QV"
    targets = [ErasureTarget(event_id=EVENT_ID, digests=[digest]), ErasureTarget(event_id=other)]
    payload = orjson.loads(commit(DataErased(actor="dpo", reason="request", targets=targets)).payload)

    named = targets_of(payload)
    assert is_target(named, EVENT_ID, [digest])
    assert not is_target(named, EVENT_ID, None)
    assert is_target(named, other, None)


@pytest.mark.parametrize("targets", [[], [{"eventId": EVENT_ID, "digests": []}]])
def test_erasures_of_nothing_are_refused(targets: list[Any]) -> None:
    """An erasure that names nothing cannot be recorded."""
    with pytest.raises(ValidationError, match="too_short"):
        DataErased.model_validate_json(
            orjson.dumps({"actor": "dpo", "reason": "request", "targets": targets})
        )


def test_absent_members_are_absent() -> None:
    """A member that is None is not in the payload."""
    payload = orjson.loads(commit(ToolProposed(tool="wire", call_id="c1")).payload)

    assert {"_salt", "tool", "callId"} == payload.keys()


def test_misspelt_status_is_refused() -> None:
    """A word outside a closed vocabulary raises where the payload is made."""
    with pytest.raises(ValidationError, match="Input should be 'ok'"):
        ToolExecuted(tool="wire", status="okay")  # type: ignore[arg-type]


def _refuses(cls: type[EventPart], attribute: str, value: object) -> bool:
    """Tell whether a class refuses a value for one of its members; others may be missing."""
    try:
        cls(**{attribute: value})
    except ValidationError as error:
        return any(item["type"] != "missing" for item in error.errors())
    return False
