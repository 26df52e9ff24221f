"""A sealed event, as publishing returns it and as an event log keeps it."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any, Generic, NoReturn, Self, TypeVar, cast

import orjson
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from evidence import canonical
from evidence.digest import algorithm_of, digest
from evidence.disclosure import SALT, disclose, member_digest, open_payload
from evidence.errors import DigestMismatch, DisclosureRefused, MalformedInput, NotCanonicalizable
from evidence.header import Header, check_header, event_hash
from tracebus.errors import NotRecorded
from tracebus.free_form import read_free_form
from tracebus.payload import EventPayload, UntypedPayload, payload_class

P_co = TypeVar("P_co", bound=EventPayload | UntypedPayload, covariant=True)


class TraceEvent(Generic[P_co]):
    """An event: its header, its payload in committed form, the disclosures that go with it.

    Events are sealed: nothing can be set. `payload` is made from the stored bytes when it is first
    asked for; its class is looked up by type then, so a class defined later is found.
    """

    __slots__ = ("_disclosures", "_header", "_payload", "_payload_json", "_position")

    def __init__(
        self,
        header: Header,
        payload_json: bytes | None,
        disclosures: tuple[str, ...] = (),
        position: int | None = None,
    ) -> None:
        self._header = header
        self._payload_json = payload_json
        self._disclosures = disclosures
        self._position = position
        self._payload: EventPayload | UntypedPayload | None = None

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any] | bytes | str) -> TraceEvent[EventPayload | UntypedPayload]:
        """Read an event in its committed form, as `to_wire` and the JSON Lines sink write it.

        Raises:
            MalformedInput: Not an event.
            DigestMismatch: The payload does not hash to contentHash, as that of the opened form.
            DisclosureRefused: What it discloses is not what was committed.
        """
        if isinstance(wire, Mapping):
            tree = copy.deepcopy(dict(wire))
        else:
            tree = canonical.loads(wire.encode() if isinstance(wire, str) else wire)
        if not isinstance(tree, dict):
            raise MalformedInput("event", f"expected an object, found {type(tree).__name__}")
        payload, is_disclosing = tree.pop("payload", None), "disclosures" in tree
        disclosed = tree.pop("disclosures", None)
        check_header(tree, "event")
        payload_json = None if payload is None else canonical.dumps(payload)
        if (
            payload_json is not None
            and digest(payload_json, algorithm_of(tree["contentHash"])) != tree["contentHash"]
        ):
            raise DigestMismatch(
                f"event {tree['id']}", "payload is not the committed form that contentHash is over"
            )
        if not is_disclosing:
            return TraceEvent(tree, payload_json)
        place = f"event {tree['id']}"
        disclosures = _read_disclosures(disclosed, place)
        open_payload(payload, disclosures, place)
        return TraceEvent(tree, payload_json, disclosures)

    @property
    def id(self) -> str:
        """The event's ULID."""
        return cast(str, self._header["id"])

    @property
    def log(self) -> str:
        """The origin of the log that sealed it."""
        return cast(str, self._header["log"])

    @property
    def run_id(self) -> str:
        """The run that it belongs to."""
        return cast(str, self._header["runId"])

    @property
    def seq(self) -> int:
        """Its place in the run, from 0."""
        return cast(int, self._header["seq"])

    @property
    def workflow_id(self) -> str:
        """The workflow that the run belongs to."""
        return cast(str, self._header["workflowId"])

    @property
    def tenant_id(self) -> str | None:
        """The workflow's tenant."""
        return self._header.get("tenantId")

    @property
    def agent_id(self) -> str | None:
        """The agent that acted."""
        return self._header.get("agentId")

    @property
    def turn_id(self) -> str | None:
        """The turn in which it happened."""
        return self._header.get("turnId")

    @property
    def timestamp(self) -> str:
        """When it was sealed: UTC, nine fractional digits."""
        return cast(str, self._header["timestamp"])

    @property
    def occurred_at(self) -> str | None:
        """When its source says that it happened."""
        return self._header.get("occurredAt")

    @property
    def type(self) -> str:
        """Its type, such as ``tool_executed``."""
        return cast(str, self._header["type"])

    @property
    def risk(self) -> str | None:
        """``low``, ``medium``, ``high`` or ``critical``, where it was rated."""
        return self._header.get("risk")

    @property
    def causes(self) -> tuple[str, ...]:
        """The ids of the events that led to it."""
        return tuple(self._header.get("causes", ()))

    @property
    def key(self) -> str | None:
        """The caller's idempotency key."""
        return self._header.get("key")

    @property
    def content_hash(self) -> str:
        """The digest of the committed payload."""
        return cast(str, self._header["contentHash"])

    @property
    def parent_hash(self) -> str | None:
        """The event hash of the run's previous event."""
        return self._header.get("parentHash")

    @property
    def event_hash(self) -> str:
        """The digest of the header, which the next event of the run names."""
        return event_hash(self._header)

    @property
    def header(self) -> Header:
        """A copy of the header, by wire names."""
        return copy.deepcopy(self._header) if "causes" in self._header else dict(self._header)

    def copy(self) -> Self:
        """Return the same event as an object of its own, whose payload is read anew."""
        return self.showing(self._disclosures)

    def showing(self, disclosures: tuple[str, ...]) -> Self:
        """Return the same event with these of its disclosures and no other: with none, its committed form.

        A disclosure that stands within another one can be read only together with it.
        """
        return type(self)(self._header, self._payload_json, disclosures, self._position)

    @property
    def payload_json(self) -> bytes | None:
        """The committed payload as stored; None once it was erased."""
        return self._payload_json

    @property
    def disclosures(self) -> tuple[str, ...]:
        """The disclosures of its sensitive members that are still held."""
        return self._disclosures

    @property
    def recorded(self) -> bool:
        """Whether it is in a log: true of each event but an `UnrecordedEvent`."""
        return True

    @property
    def position(self) -> int | None:
        """Its place in the log that it was read from, from 1 and growing; None elsewhere."""
        return self._position

    @property
    def payload(self) -> P_co:
        """What the event says, with the sensitive members that are still held.

        An `UntypedPayload` where no class fits: the type is unknown here, members are newer than
        the class, or the payload, or a member that the class requires, is gone.
        """
        if self._payload is None:
            self._payload = _read_payload(self.type, self.opened())
        return cast(P_co, self._payload)

    def opened(self) -> dict[str, Any]:
        """Return the payload's members by wire names, disclosures put back, ``_salt`` left out."""
        if self._payload_json is None:
            return {}
        place = f"event {self._header.get('id', 'that is not recorded')}"
        opened = open_payload(orjson.loads(self._payload_json), self._disclosures, place).value
        opened.pop(SALT, None)
        return cast(dict[str, Any], opened)

    def member_digest(self, name: str) -> str:
        """Return a digest of a sensitive member that gives nothing away: that of its disclosure.

        Another event can name the content so, such as ``shown_digest`` of an approval what was
        shown; who verifies a bundle gets the same from `evidence.VerifiedEvent.member_digest`.

        Args:
            name: The member's name on the wire, such as ``arguments``.

        Raises:
            LookupError: The event holds no disclosure of such a member.
        """
        return member_digest(self._disclosures, name, f"event {self.id}")

    def to_wire(self, *, disclosed: bool = False, opened: bool = False) -> dict[str, Any]:
        """Return the event as JSON values, by wire names.

        The committed form, which verifies, holds digests in place of sensitive members.

        Args:
            disclosed: Beside it, and where there are any, the disclosures that the event has, in the
                clear: ``"disclosures": [{"salt": …, "name": …, "value": …}]``, an array's element without
                a name. `from_wire` checks them against the payload's digests.
            opened: In place of it the payload with its sensitive members, which is not what contentHash
                is over: for reading, and for nothing else.
        """
        wire = self.header
        if self._payload_json is not None:
            wire["payload"] = self.opened() if opened else orjson.loads(self._payload_json)
        if disclosed and self._disclosures:
            wire["disclosures"] = [_disclosure_to_wire(text) for text in self._disclosures]
        return wire

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TraceEvent)
            and self._header == other._header
            and self._payload_json == other._payload_json
            and self._disclosures == other._disclosures
        )

    def __hash__(self) -> int:
        return hash(self._header["id"])

    def __repr__(self) -> str:
        return f"<TraceEvent {self.type} {self.run_id}/{self.seq} {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return TraceEvent, (self._header, self._payload_json, self._disclosures, self._position)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda event: event.to_wire()),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"$ref": "urn:tracebus:schema:event-committed"}


class UnrecordedEvent(TraceEvent[P_co]):
    """An event that failed open: the log could not be written, and is not waited for (ADR 0010).

    Type, run, payload and whatever else the publisher said are there. It was not sealed: id, seq, time,
    hashes and the forms on the wire raise `NotRecorded`.
    """

    __slots__ = ()

    @property
    def recorded(self) -> bool:
        """False."""
        return False

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotRecorded(f"{self.type} of run {self.run_id}: the log could not be written; check .recorded")

    id = seq = timestamp = log = content_hash = parent_hash = event_hash = header = property(_refuse)
    to_wire = member_digest = _refuse

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<UnrecordedEvent {self.type} {self.run_id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return UnrecordedEvent, (self._header, self._payload_json, self._disclosures)


def _disclosure_to_wire(text: str) -> dict[str, Any]:
    """Return what an encoded disclosure of a log says."""
    salt, *name, value = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return {"salt": salt, "value": value} | ({"name": name[0]} if name else {})


def _read_disclosures(disclosed: object, place: str) -> tuple[str, ...]:
    """Return the disclosures that `to_wire` wrote in the clear, as they are encoded.

    Raises:
        MalformedInput: They are of another form.
        DisclosureRefused: One has no canonical form.
    """
    if not isinstance(disclosed, list) or not disclosed:
        raise MalformedInput(f"{place}/disclosures", f"expected one or more, found {disclosed!r:.80}")
    texts = []
    for i, item in enumerate(disclosed):
        at = f"{place}/disclosures/{i}"
        if not isinstance(item, dict) or {"salt", "value"} | ({"name"} & item.keys()) != item.keys():
            raise MalformedInput(at, "expected salt, name and value, or salt and value")
        if not isinstance(item["salt"], str) or not item["salt"] or not isinstance(item.get("name", ""), str):
            raise MalformedInput(at, "expected texts as salt and name")
        try:
            texts.append(disclose(item.get("name"), item["value"], item["salt"])[0])
        except NotCanonicalizable as error:
            raise DisclosureRefused(at, f"has no canonical form: {error}") from None
    return tuple(texts)


def _validate(value: object) -> TraceEvent[EventPayload | UntypedPayload]:
    if isinstance(value, TraceEvent):
        return value
    if not isinstance(value, Mapping | bytes | str):
        raise ValueError(f"expected an event, found {type(value).__name__}")
    try:
        return TraceEvent.from_wire(value)
    except (MalformedInput, DigestMismatch, DisclosureRefused) as error:
        raise ValueError(str(error)) from None


def _read_payload(event_type: str, opened: dict[str, Any]) -> EventPayload | UntypedPayload:
    cls = payload_class(event_type)
    if cls is None:
        return UntypedPayload(event_type, _read_members(opened))
    try:
        payload = cls.model_validate_json(orjson.dumps(opened))
    except ValidationError:
        return UntypedPayload(event_type, _read_members(opened))
    for member in cls.members():
        if member.is_free_form and member.attribute in payload.__dict__:
            # The model is new and nobody else's yet; JSON text may hold what pydantic's JSON cannot.
            payload.__dict__[member.attribute] = read_free_form(payload.__dict__[member.attribute])
    return payload


def _read_members(opened: dict[str, Any]) -> dict[str, Any]:
    whole = read_free_form(opened)
    if whole is not opened and isinstance(whole, dict):
        return whole
    return {name: read_free_form(value) for name, value in opened.items()}
