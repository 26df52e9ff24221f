"""The JSON Schemas: they are what the code says, and they take and refuse what the code does."""

import copy
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from evidence.bundle import EvidenceBundle
from evidence.errors import MalformedInput
from evidence.header import FIELDS, check_header
from tracebus.committed import Committer, commit
from tracebus.payload import EventPayload, payload_classes
from tracebus.sensitivity import NEVER_SENSITIVE

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
NAMES = ("bundle", "event", "event-committed")
TYPES = sorted(name for name in payload_classes() if "." not in name)
EVENT_ID = "01M7XXFHXDS6JWE4C1ZGCGV0QT"
DIGEST = f"sha256:{'0a' * 32}"

HEADER = {
    "version": 1,
    "log": "payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB",
    "id": EVENT_ID,
    "runId": "run-7f3a",
    "seq": 1,
    "workflowId": "transfer-42",
    "turnId": "t1",
    "tenantId": "acmé",
    "agentId": "treasury",
    "timestamp": "2026-11-21T02:03:05.005000000Z",
    "occurredAt": "2026-11-21T02:03:05.000000000Z",
    "type": "tool_proposed",
    "risk": "high",
    "causes": [EVENT_ID],
    "key": "k1",
    "contentHash": DIGEST,
    "parentHash": DIGEST,
}

# One text for each pattern that the classes use.
TEXTS = (
    "01M7XXFHXDS6JWE4C1ZGCGV0QT",
    DIGEST,
    f"hmac-{DIGEST}",
    "0a" * 32,
    "2026-11-21T02:03:04Z",
    "42.50",
    "payments-prod/01M5GNHYY0GDQZ3177PGDHW4YB",
    "aIsYPcXVNgptCmrPqb8iudFLktiHQRgcE9Xd5fYJhMQ",
)

each_type = pytest.mark.parametrize("event_type", TYPES)


def load(name: str) -> dict[str, Any]:
    """Return a published schema."""
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


VALIDATORS = {name: Draft202012Validator(load(name)) for name in NAMES}


def fits(name: str, value: Any) -> bool:
    """Tell whether a value fits a published schema."""
    return bool(VALIDATORS[name].is_valid(value))


def sample(schema: dict[str, Any]) -> Any:
    """Return a value with every member, for a schema that pydantic makes of a payload class."""
    definitions = schema.get("$defs", {})

    def value(part: dict[str, Any]) -> Any:
        if "$ref" in part:
            return value(definitions[part["$ref"].rpartition("/")[2]])
        if "anyOf" in part:
            return value(part["anyOf"][0])
        if "enum" in part:
            return part["enum"][-1]
        if "pattern" in part:
            return next(text for text in TEXTS if re.fullmatch(part["pattern"], text))
        if part.get("type") == "object":
            return {name: value(member) for name, member in part["properties"].items()}
        if part.get("type") == "array":
            return [value(part["items"])]
        return {"string": "té\u2028xt", "integer": 1, "number": 0.5, "boolean": False}.get(
            part.get("type", ""), {"any": [None, {"value": 1}]}
        )

    return value(schema)


def payload_of(event_type: str) -> EventPayload:
    """Return a payload of a type with every member."""
    cls = payload_classes()[event_type]
    return cls.model_validate_json(json.dumps(sample(cls.model_json_schema())))


def full(payload: EventPayload) -> dict[str, Any]:
    """Return an event with this payload, sensitive members in the clear."""
    members = payload.model_dump(mode="json", by_alias=True)
    return HEADER | {"type": payload.type, "payload": {k: v for k, v in members.items() if v is not None}}


def committed(payload: EventPayload) -> dict[str, Any]:
    """Return an event with this payload as it is hashed."""
    return HEADER | {"type": payload.type, "payload": json.loads(commit(payload).payload)}


def examples(document: str, member: str) -> list[dict[str, Any]]:
    """Return the JSON objects with this member that a specification shows."""
    text = (SCHEMAS / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    found = [json.loads(block) for block in blocks]
    return [example for example in found if isinstance(example, dict) and member in example]


@pytest.fixture(scope="module")
def built() -> dict[str, str]:
    """Return what `schemas/build.py` would write."""
    spec = importlib.util.spec_from_file_location("schemas_build", SCHEMAS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    texts: dict[str, str] = module.build()
    return texts


def test_published_schemas_are_the_built_ones(built: dict[str, str]) -> None:
    """The files are what `python schemas/build.py` writes, byte for byte, and there is no other."""
    published = {path.name: path.read_bytes().decode() for path in SCHEMAS.glob("*.schema.json")}

    assert sorted(built) == sorted(published)
    assert [] == [name for name, text in built.items() if published[name] != text]


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid(name: str) -> None:
    """Each file is a draft 2020-12 schema, and is called by its URN."""
    schema = load(name)

    Draft202012Validator.check_schema(schema)
    assert ("https://json-schema.org/draft/2020-12/schema", f"urn:tracebus:schema:{name}") == (
        schema["$schema"],
        schema["$id"],
    )


@pytest.mark.parametrize("name", NAMES)
def test_schemas_stand_alone(name: str) -> None:
    """Each file holds all that it refers to: a validator needs no other file and no network."""
    schema = load(name)
    text = json.dumps(schema)
    resources = set(re.findall(r'"\$id": "([^"]+)"', text))
    references = set(re.findall(r'"\$ref": "([^"]+)"', text))
    definitions = set(re.findall(r'"(\w+)": \{', text))

    assert set() == {ref for ref in references if not ref.startswith("#")} - resources
    assert set() == {ref.removeprefix("#/$defs/") for ref in references if ref.startswith("#")} - definitions


@pytest.mark.parametrize("name", ["event", "event-committed"])
def test_every_type_has_a_branch(name: str) -> None:
    """A schema of events tells each built-in type by its name, and users' types by their dot."""
    branches = [branch["properties"]["type"] for branch in load(name)["oneOf"]]

    assert [*({"const": event_type} for event_type in TYPES), {"pattern": "\\."}] == branches


@pytest.mark.parametrize("name", ["event", "event-committed"])
def test_header_is_the_closed_table(name: str) -> None:
    """The members of an event are those of the header's table, and the payload."""
    assert {*FIELDS, "payload"} == load(name)["properties"].keys()


@each_type
def test_full_form(event_type: str) -> None:
    """An event with every member in the clear fits the schema of its full form."""
    event = full(payload_of(event_type))

    assert [] == [error.message for error in VALIDATORS["event"].iter_errors(event)]


@each_type
def test_committed_form(event_type: str) -> None:
    """An event as it is hashed fits the schema of its committed form."""
    event = committed(payload_of(event_type))

    assert [] == [error.message for error in VALIDATORS["event-committed"].iter_errors(event)]


@each_type
def test_patterns_of_operators(event_type: str) -> None:
    """The committed form fits whatever patterns make sensitive, or take a mark off."""
    payload = payload_of(event_type)
    marked = [member.name for member in payload.members() if member.is_sensitive]
    for committer in (
        Committer(["*:*"]),
        Committer(["*:*/*", "*:**/*"]),
        Committer(plain=[f"*:/{name}" for name in marked]),
    ):
        event = HEADER | {"type": event_type, "payload": json.loads(committer.commit(payload).payload)}
        assert [] == [error.message for error in VALIDATORS["event-committed"].iter_errors(event)]


@each_type
def test_required_members(event_type: str) -> None:
    """The full form has what the class requires; the committed one a salt, and what is never sensitive."""
    payload = payload_of(event_type)
    required = {field.alias for field in type(payload).model_fields.values() if field.is_required()}
    never = required & NEVER_SENSITIVE.get(event_type, frozenset())

    for name, event, expected in (
        ("event", full(payload), required),
        ("event-committed", committed(payload), never | {"_salt"}),
    ):
        needed = {
            member
            for member in event["payload"]
            if not fits(name, event | {"payload": {k: v for k, v in event["payload"].items() if k != member}})
        }
        assert expected == needed


@each_type
def test_unknown_members_are_refused(event_type: str) -> None:
    """The schemas know this release's members, and no other."""
    payload = payload_of(event_type)

    for name, event in (("event", full(payload)), ("event-committed", committed(payload))):
        event["payload"]["noSuchMember"] = 1
        assert not fits(name, event)


@each_type
def test_absent_is_never_null(event_type: str) -> None:
    """A typed member that is null fits no form; a free-form one of any value may be null."""
    payload = payload_of(event_type)
    event = full(payload)
    open_to_null = {
        member.name
        for member in payload.members()
        if fits("event", event | {"payload": event["payload"] | {member.name: None}})
    }
    any_value = {field.alias for field in type(payload).model_fields.values() if field.annotation is Any}

    assert any_value == open_to_null


@each_type
def test_types_are_told_apart(event_type: str) -> None:
    """A payload fits, of all types, those whose classes take it; mostly its own alone."""
    event = full(payload_of(event_type))
    taken_by = [other for other in TYPES if fits("event", event | {"type": other})]

    assert event_type in taken_by
    assert [other for other in TYPES if _takes(payload_classes()[other], event["payload"])] == taken_by


def _takes(cls: type[EventPayload], members: dict[str, Any]) -> bool:
    try:
        cls.model_validate_json(json.dumps(members))
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", ["event", "event-committed"])
def test_users_types(name: str) -> None:
    """A type with a dot may have any payload; a type without one that is not built in is refused."""
    salt = {"_salt": "K1-LISnVc5sAyCuxzpfYhg"} if name == "event-committed" else {}
    payload = {"order": "o-1", "cents": 5, "parts": [{"n": None}], **salt}

    assert fits(name, HEADER | {"type": "acme.refund_issued", "payload": payload})
    assert not fits(name, HEADER | {"type": "refund_issued", "payload": payload})


@pytest.mark.parametrize("name", ["event", "event-committed"])
def test_payloads_may_be_gone(name: str) -> None:
    """An event whose payload was withheld or erased still fits."""
    assert fits(name, HEADER)


@pytest.mark.parametrize(
    "salt", [None, 5, "", "K1-LISnVc5sAyCuxzpfYh", "K1-LISnVc5sAyCuxzpfYhh", "K1+LISnVc5sAyCuxzpfYhg"]
)
def test_committed_payloads_have_a_salt(salt: Any) -> None:
    """A committed payload, a user's as well, has 16 random bytes as base64url."""
    for event_type, members in (("tool_proposed", {"tool": "wire"}), ("acme.refund_issued", {})):
        event = HEADER | {"type": event_type, "payload": members}
        assert fits("event-committed", event | {"payload": members | {"_salt": "K1-LISnVc5sAyCuxzpfYhg"}})
        assert not fits("event-committed", event | {"payload": members | {"_salt": salt}})
        assert not fits("event-committed", event)


@pytest.mark.parametrize(
    "digests",
    [[], ["short"], "no array", [TEXTS[-1], TEXTS[-1]], [f"{number:043}" for number in range(8)]],
    ids=["none", "short", "text", "twice", "too many"],
)
def test_digests_of_disclosures(digests: Any) -> None:
    """`_sd` holds one to as many different digests as the type has members."""
    payload = {"_salt": "K1-LISnVc5sAyCuxzpfYhg", "tool": "wire", "_sd": [TEXTS[-1]]}
    event = HEADER | {"payload": payload}

    assert fits("event-committed", event)
    assert not fits("event-committed", event | {"payload": payload | {"_sd": digests}})


@pytest.mark.parametrize(
    ("tool", "is_taken"),
    [
        ("wire", True),
        ({"jsonText": '"\\ud800"'}, True),
        ({"jsonText": '"aaa', "truncated": True, "length": 300_002, "digest": DIGEST}, True),
        ({"jsonText": '"aaa', "truncated": True}, False),
        ({"jsonText": '"é"'}, False),
        ({"jsonText": "5", "more": 1}, False),
        ({"other": "x"}, False),
        (5, False),
    ],
)
def test_free_form_text(tool: Any, is_taken: bool) -> None:
    """Where somebody else's text may stand, so may its JSON text, and nothing else."""
    payload = {"_salt": "K1-LISnVc5sAyCuxzpfYhg", "tool": tool}

    assert is_taken is fits("event", HEADER | {"payload": {"tool": tool}})
    assert is_taken is fits("event-committed", HEADER | {"payload": payload})


@pytest.mark.parametrize(
    ("arguments", "is_taken"),
    [
        ([1, "a", {"b": None}], True),
        ({"jsonText": "NaN"}, True),
        ({"jsonText": 5}, False),
        ({"jsonText": "NaN", "more": 1}, False),
    ],
)
def test_free_form_values(arguments: Any, is_taken: bool) -> None:
    """A free-form member takes any value; an object with `jsonText` is JSON text."""
    assert is_taken is fits("event", HEADER | {"payload": {"tool": "wire", "arguments": arguments}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("log", ""),
        ("log", "a\u0000b"),
        ("id", "01m7xxfhxds6jwe4c1zgcgv0qt"),
        ("id", "81M7XXFHXDS6JWE4C1ZGCGV0QT"),
        ("runId", "r" * 129),
        ("runId", "é"),
        ("seq", -1),
        ("seq", 2**53),
        ("seq", "1"),
        ("workflowId", ""),
        ("turnId", None),
        ("tenantId", "\u0085"),
        ("agentId", "a" * 257),
        ("timestamp", "2026-11-21T02:03:05.005Z"),
        ("occurredAt", "2026-11-21T02:03:05.005000000+00:00"),
        ("type", "tool proposed é"),
        ("risk", "none"),
        ("causes", []),
        ("causes", [EVENT_ID, EVENT_ID]),
        ("causes", ["e1"]),
        ("key", ""),
        ("contentHash", "0a" * 32),
        ("parentHash", "SHA256:" + "0a" * 32),
        ("seal", "x"),
    ],
)
def test_headers_are_refused_alike(name: str, value: Any) -> None:
    """What the header's check refuses, the schemas refuse too."""
    check_header(HEADER, "event")
    with pytest.raises(MalformedInput):
        check_header(HEADER | {name: value}, "event")

    assert not fits("event", HEADER | {name: value})
    assert not fits("event-committed", HEADER | {name: value})


def test_parent_hash() -> None:
    """A run's first event has no parentHash, and every other one has."""
    without = {name: value for name, value in HEADER.items() if name != "parentHash"}

    assert fits("event", without | {"seq": 0})
    assert not fits("event", HEADER | {"seq": 0})
    assert not fits("event", without)


def test_examples_of_events() -> None:
    """Every event that the specification shows fits the schema of the committed form."""
    shown = examples("event-v1.md", "payload")

    assert len(shown) > 1
    assert [] == [event["id"] for event in shown if not fits("event-committed", event)]


def test_examples_of_bundles() -> None:
    """Every bundle that the specification shows fits the schema, as it fits the reader."""
    shown = examples("bundle-v1.md", "bundleId")

    assert shown
    for bundle in shown:
        EvidenceBundle.from_json(bundle)
        assert [] == [error.message for error in VALIDATORS["bundle"].iter_errors(bundle)]


@pytest.mark.parametrize(
    "path",
    [
        [*place.split(), member]
        for place, members in {
            "": "version bundleId workflowId createdAt generator scope events policyVerdicts approvals "
            "proposals chainTransactions contentHash signature disclosures proofs",
            "generator": "name version",
            "scope": "log digestAlgorithm runs withheld erased redactable",
            "scope withheld": "payloads disclosures",
            "scope erased": "payloads disclosures",
            "scope runs 0": "runId count firstSeq lastSeq head closed",
            "signature": "alg value keyId",
            "events 0": "log id contentHash",
            "scope checkpoint": "size root",
            "proofs completeness": "checkpoint mapRoot inclusion heads",
            "proofs completeness heads": "siblings key head",
        }.items()
        for member in members.split()
    ],
    ids="/".join,
)
def test_bundles_are_refused_alike(path: list[str]) -> None:
    """A bundle without a member, with null or with one too many, is refused by reader and schema."""
    bundle = examples("bundle-v1.md", "bundleId")[0]
    proof = examples("bundle-v1.md", "mapRoot")[0]
    bundle["scope"]["checkpoint"] = {"size": 6, "root": proof["mapRoot"]}
    bundle["proofs"]["completeness"] = proof
    EvidenceBundle.from_json(bundle)
    assert fits("bundle", bundle)
    *parents, name = path

    def changed(change: Any) -> dict[str, Any]:
        tree = copy.deepcopy(bundle)
        place: Any = tree
        for step in parents:
            place = place[int(step) if step.isdigit() else step]
        change(place)
        return tree

    for tree in (
        changed(lambda place: place.pop(name)),
        changed(lambda place: place.update({name: None})),
        changed(lambda place: place.update({"more": 1})),
    ):
        with pytest.raises(MalformedInput):
            EvidenceBundle.from_json(tree)
        assert not fits("bundle", tree)
