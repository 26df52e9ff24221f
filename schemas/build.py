"""Write the JSON Schemas beside this file: ``python schemas/build.py``.

The payloads come from the classes in `tracebus.events`, the header from the table in
`evidence.header`, the bundle from the one in `evidence.bundle`. A test compares the files with what
`build` returns, so a change of a class shows in a schema's diff.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

import tracebus.events  # noqa: F401  defines the payload classes
from evidence.completeness import PROOF
from evidence.digest import ALGORITHMS
from evidence.disclosure import ELEMENT, SALT, SD
from evidence.header import EVENT_VERSION, MAX_CAUSES, REQUIRED_FIELDS, RISKS
from evidence.projection import VIEWS
from tracebus.payload import JSON_TEXT, payload_classes
from tracebus.sensitivity import NEVER_SENSITIVE

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_URN: Final = "urn:tracebus:schema:"

_RELEASE: Final = (
    "The schema knows the types and members of this release, and refuses others; a verifier does not: to it, "
    "what a newer writer adds is authenticated data."
)

_ULID: Final = {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"}
_ID: Final = {"type": "string", "pattern": "^[ -~]{1,128}$"}
_NAME: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": 256,
    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
}
_TIME: Final = {"type": "string", "pattern": "^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\\.[0-9]{9}Z$"}
_DIGEST: Final = {"type": "string", "pattern": "^(sha256|blake3):[0-9a-f]{64}$"}
_SHA256: Final = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_HASH: Final = {"type": "string", "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 1024}
_BOOLEAN: Final = {"type": "boolean"}

_HEADER: Final[dict[str, Schema]] = {
    "version": {"const": EVENT_VERSION, "description": "Version of the event format."},
    "log": _NAME | {"description": "Origin of the log that sealed the event."},
    "id": _ULID | {"description": "The event's id; grows within a run."},
    "runId": _ID | {"description": "The run that the event belongs to."},
    "seq": _COUNT | {"description": "Position in the run, from 0."},
    "workflowId": _ID | {"description": "The workflow that the run belongs to."},
    "turnId": _ID | {"description": "The turn in which it happened."},
    "tenantId": _NAME | {"description": "The workflow's tenant. At most 256 bytes, in NFC."},
    "agentId": _NAME | {"description": "The agent that acted. At most 256 bytes, in NFC."},
    "timestamp": _TIME | {"description": "When the event was sealed, UTC."},
    "occurredAt": _TIME | {"description": "When its source says that it happened, UTC."},
    "type": _ID | {"description": "What happened. Built-in types have no dot, users' types have one."},
    "risk": {"enum": list(RISKS), "description": "How risky it was rated."},
    "causes": {
        "type": "array",
        "items": _ULID,
        "minItems": 1,
        "maxItems": MAX_CAUSES,
        "uniqueItems": True,
        "description": "Ids of the events that led to it.",
    },
    "key": _ID | {"description": "The caller's idempotency key, unique in the run."},
    "contentHash": _DIGEST | {"description": "Digest of the payload in its committed form."},
    "parentHash": _DIGEST | {"description": "Event hash of the run's previous event; absent at seq 0."},
}

_FREE_FORM: Final[dict[str, Schema]] = {
    "FreeForm": {
        "description": "Any value. An object with the member jsonText stands for one that is not I-JSON.",
        "if": {"type": "object", "required": [JSON_TEXT]},
        "then": {"$ref": "#/$defs/JsonText"},
    },
    "JsonText": {
        "description": "A value as JSON text: it is not I-JSON, uses a reserved name, or is too large. "
        "Of one that is too large only the beginning stands here.",
        "type": "object",
        "properties": {
            JSON_TEXT: {"type": "string", "pattern": "^[ -~]*$", "description": "JSON, in ASCII."},
            "truncated": {"const": True, "description": "Only the beginning of the text is here."},
            "length": _COUNT | {"description": "Length of the whole text, in bytes."},
            "digest": _SHA256 | {"description": "Digest of the whole text."},
        },
        "required": [JSON_TEXT],
        "additionalProperties": False,
        "dependentRequired": {
            "truncated": ["length", "digest"],
            "length": ["truncated"],
            "digest": ["truncated"],
        },
    },
}

_COMMITTED: Final[dict[str, Schema]] = {
    SALT: {
        "description": "16 random bytes, base64url; without them a payload could be guessed from its digest.",
        "type": "string",
        "pattern": "^[A-Za-z0-9_-]{21}[AQgw]$",
    },
    SD: {
        "description": "Digests of the disclosures of sensitive members, sorted (RFC 9901).",
        "type": "array",
        "items": {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"},
        "minItems": 1,
        "uniqueItems": True,
    },
}


_ELEMENT: Final[Schema] = {
    "description": "The digest of the disclosure of a sensitive element, in its place (RFC 9901).",
    "type": "object",
    "properties": {ELEMENT: _COMMITTED[SD]["items"]},
    "required": [ELEMENT],
    "additionalProperties": False,
}


def build() -> dict[str, str]:
    """Return the text of each schema by its file name."""
    schemas = {
        "event": event_schema(),
        "event-committed": event_committed_schema(),
        "bundle": bundle_schema(),
    }
    return {f"{name}.schema.json": _dump(name, schema) for name, schema in schemas.items()}


def event_schema() -> Schema:
    """Return the schema of an event with its sensitive members in the clear."""
    return _event(
        "Event, full form",
        "An event with its sensitive members in the clear, as far as they are held. contentHash is over the "
        f"committed form instead. {_RELEASE}",
        _payloads(),
        {"type": "object"},
    )


def event_committed_schema() -> Schema:
    """Return the schema of an event as it is hashed, stored and put into bundles."""
    payloads = {name: _commit(name, schema) for name, schema in _payloads().items()}
    return _event(
        "Event, committed form",
        "An event as it is hashed: in place of each sensitive member, _sd has the digest of its disclosure. "
        "Classes and operators choose what is sensitive; what was decided, and by whom, never is. "
        f"The payload is absent where it was withheld or erased. {_RELEASE}",
        payloads | {"Element": _ELEMENT},
        {"type": "object", "properties": _COMMITTED, "required": [SALT]},
    )


def bundle_schema() -> Schema:
    """Return the schema of an evidence bundle; the schema of its events is embedded in it."""
    event_ids = _array(_ULID)
    payload: dict[str, Schema] = {"eventId": _ULID}
    disclosures: dict[str, Schema] = {"eventId": _ULID, "digests": _array(_TEXT) | {"minItems": 1}}
    run: dict[str, Schema] = {
        "runId": _ID,
        "count": _COUNT,
        "firstSeq": {"const": 0},
        "lastSeq": _COUNT,
        "head": _DIGEST | {"description": "Event hash of the run's last event."},
        "closed": _BOOLEAN | {"description": "Whether the run has ended."},
    }
    scope: dict[str, Schema] = {
        "log": _NAME | {"description": "Origin of the log that the events come from."},
        "digestAlgorithm": {
            "enum": list(ALGORITHMS),
            "description": "Algorithm of event and content hashes.",
        },
        "runs": _array(_closed(run)),
        "withheld": _kept_back(payload, disclosures, {"reason": _TEXT})
        | {"description": "What the signer left out, and why."},
        "erased": _kept_back(payload, disclosures, {"by": _ULID})
        | {"description": "What the log no longer has, and the event that records the erasure."},
        "redactable": event_ids | {"description": "Events whose payload a holder may remove."},
        "disclosurePolicy": _SHA256 | {"description": "Digest of the policy that said what to withhold."},
        "checkpoint": _closed({"size": _COUNT, "root": _HASH})
        | {"description": "The checkpoint as of which the signer had a proof that the bundle is whole."},
    }
    members: dict[str, Schema] = {
        "version": {"const": 1, "description": "Version of the bundle format."},
        "bundleId": _ULID,
        "workflowId": _ID | {"description": "The workflow that the bundle is about."},
        "tenantId": _NAME | {"description": "The workflow's tenant."},
        "createdAt": _TIME,
        "generator": _closed({"name": _TEXT, "version": _TEXT}) | {"description": "What made the bundle."},
        "scope": _closed(scope, optional=["checkpoint", "disclosurePolicy"]),
        "events": _array({"$ref": f"{_URN}event-committed"}) | {"minItems": 1},
        **{
            view: event_ids | {"description": f"Ids of the events of type {', '.join(sorted(types))}."}
            for view, types in VIEWS.items()
        },
        "contentHash": _SHA256,
        "signature": _closed(
            {
                "alg": _TEXT,
                "value": {"type": "string", "pattern": "^[A-Za-z0-9+/]+={0,2}$"},
                "keyId": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            }
        ),
        "disclosures": {
            "description": "Disclosures that are shown, by event id. Not signed: digests bind them.",
            "type": "object",
            "propertyNames": _ULID,
            "additionalProperties": _array({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
        },
        "proofs": {
            "description": "Further proofs, by kind. Not signed.",
            "type": "object",
            "properties": {PROOF: _completeness()},
        },
    }
    return {
        "title": "Evidence bundle",
        "description": "One workflow, signed. To fit this schema says nothing of whether the bundle holds; "
        f"verifying it does. {_RELEASE}",
        **_closed(members, optional=["tenantId"]),
        "$defs": {"event-committed": _named("event-committed", event_committed_schema())},
    }


def _completeness() -> Schema:
    """Return the schema of the proof that a bundle is whole."""
    hash_or_empty: Schema = {"anyOf": [_HASH, {"const": ""}], "description": "Empty for 32 zero bytes."}
    heads = _closed(
        {
            "siblings": _array(hash_or_empty) | {"maxItems": 256},
            "key": hash_or_empty,
            "head": hash_or_empty,
        },
        optional=["key", "head"],
    )
    members: dict[str, Schema] = {
        "checkpoint": {"type": "string", "description": "The checkpoint, a C2SP note with its signatures."},
        "mapRoot": _HASH | {"description": "The root of the heads map in the tree's last leaf."},
        "inclusion": _array(_HASH) | {"maxItems": 63, "description": "That this leaf is the last one."},
        "heads": heads
        | {
            "dependentRequired": {"key": ["head"], "head": ["key"]},
            "description": "That the map has the bundle's workflow head.",
        },
        "timestamps": _array({"type": "string", "contentEncoding": "base64", "minLength": 4})
        | {"maxItems": 16, "description": "RFC 3161 responses about the checkpoint."},
    }
    what = "That the bundle is the whole workflow, as of a checkpoint of the log."
    return _closed(members, optional=["timestamps"]) | {"description": what}


def _event(title: str, description: str, payloads: dict[str, Schema], other: Schema) -> Schema:
    """Return the schema of events whose payloads are these, by class name."""
    classes = _built_in_classes()
    branches = [
        _branch(event_type, {"const": event_type}, {"$ref": f"#/$defs/{classes[event_type]}"})
        for event_type in sorted(classes)
    ]
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": {**_HEADER, "payload": {"type": "object", "description": "What happened."}},
        "required": sorted(REQUIRED_FIELDS),
        "additionalProperties": False,
        "if": {"properties": {"seq": {"const": 0}}},
        "then": {"properties": {"parentHash": False}},
        "else": {"required": ["parentHash"]},
        "oneOf": [*branches, _branch("users' types", {"pattern": "\\."}, other)],
        "$defs": payloads | _FREE_FORM,
    }


def _branch(title: str, event_type: Schema, payload: Schema) -> Schema:
    return {"title": title, "properties": {"type": event_type, "payload": payload}}


def _built_in_classes() -> dict[str, str]:
    """Return the class names of the built-in types; a caller may have defined types of its own."""
    return {name: cls.__name__ for name, cls in payload_classes().items() if "." not in name}


def _payloads() -> dict[str, Schema]:
    """Return the schemas of the built-in payload classes and of the parts in them, by class name."""
    classes = payload_classes()
    _, generated = models_json_schema(
        [(classes[event_type], "validation") for event_type in _built_in_classes()]
    )
    return {name: _model(schema) for name, schema in generated["$defs"].items()}


def _model(schema: Schema) -> Schema:
    paragraphs = schema["description"].split("\n\n")
    return schema | {
        "description": "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs),
        "properties": {name: _member(member) for name, member in schema["properties"].items()},
    }


def _member(schema: Schema) -> Schema:
    """Return a member's schema without what only Python sees: null, and a title made of the name."""
    schema = {
        key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)
    }
    choices = [choice for choice in schema.pop("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema = choices[0] | schema
    elif choices:
        schema["anyOf"] = choices
    if not schema.get("x-free-form"):
        return schema
    if schema.pop("type", None) == "string":
        return schema | {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/JsonText"}]}
    return schema | {"$ref": "#/$defs/FreeForm"}


def _commit(name: str, schema: Schema) -> Schema:
    """Return the committed form of a model's schema: any member may have left it, but what never does."""
    types = {cls: event_type for event_type, cls in _built_in_classes().items()}
    members = schema["properties"]
    sensitive = sorted(member for member, value in members.items() if value.get("x-sensitive"))
    marked = f" Its class marks {', '.join(sensitive)}." if sensitive else ""
    committed = {member: _with_elements(value) for member, value in members.items()}
    committed[SD] = _COMMITTED[SD] | {
        "description": f"{_COMMITTED[SD]['description']}{marked}",
        "maxItems": len(members),
    }
    required = set(schema.get("required", ())) & NEVER_SENSITIVE.get(types.get(name, ""), frozenset())
    if name in types:
        committed[SALT] = _COMMITTED[SALT]
        required.add(SALT)
    schema = {key: value for key, value in schema.items() if key != "required"} | {"properties": committed}
    return schema | {"required": sorted(required)} if required else schema


def _with_elements(schema: Schema) -> Schema:
    """Return a typed member's schema, with digests in the place of elements that left its arrays."""
    if schema.get("type") != "array":
        return schema
    items = {"anyOf": [_with_elements(schema["items"]), {"$ref": "#/$defs/Element"}]}
    return schema | {"items": items}


def _kept_back(payload: dict[str, Schema], disclosures: dict[str, Schema], why: dict[str, Schema]) -> Schema:
    return _closed(
        {"payloads": _array(_closed(payload | why)), "disclosures": _array(_closed(disclosures | why))}
    )


def _closed(members: dict[str, Schema], optional: list[str] | None = None) -> Schema:
    """Return the schema of an object with these members and no others."""
    return {
        "type": "object",
        "properties": members,
        "required": sorted(members.keys() - set(optional or ())),
        "additionalProperties": False,
    }


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _named(name: str, schema: Schema) -> Schema:
    return {"$schema": _DIALECT, "$id": f"{_URN}{name}"} | schema


def _dump(name: str, schema: Schema) -> str:
    return json.dumps(_named(name, schema), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _write() -> None:
    folder = Path(__file__).parent
    for name, text in build().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    _write()
