"""Payloads: what an event says, as a typed model.

A payload class is a frozen pydantic model with an event type::

    class RefundIssued(EventPayload, type="acme.refund_issued"):
        '''Money went back to a customer.'''

        order: str
        cents: int
        customer: Sensitive[str | None] = None     # leaves the payload, can be withheld and erased
        answer: Sensitive[FreeForm] = None         # whatever the payment service answered

On the wire names are camelCase, a member that is None is absent, and defaults are written out.
Built-in types have no dot in their name, users' types must have one.

Two marks say how a member is committed (`tracebus.committed`): `Sensitive` members are replaced by
salted digests, `FreeForm` members take any value at all and never cause a refusal. Give a sensitive
member a default, so that the payload can still be read as this class where it is withheld. Operators
can mark more, and take marks off, with patterns (`tracebus.sensitivity`).
"""

from __future__ import annotations

from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from evidence.disclosure import RESERVED
from evidence.header import is_id

JSON_TEXT: Final = "jsonText"
"""The one member of the object that stands for a value which is not I-JSON."""


class _Mark:
    """A mark on a member; the JSON Schema shows it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {f"x-{self.name}": True}

    def __repr__(self) -> str:
        return self.name


SENSITIVE: Final = _Mark("sensitive")
FREE_FORM: Final = _Mark("free-form")

T = TypeVar("T")
Sensitive = Annotated[T, SENSITIVE]
"""A member that leaves the committed payload as a salted digest: ``user_id: Sensitive[str | None]``."""

FreeForm = Annotated[Any, FREE_FORM]
"""A member that takes whatever came: what is not I-JSON is recorded as JSON text."""


class Member(NamedTuple):
    """How one member of a payload class is committed."""

    attribute: str
    name: str
    is_sensitive: bool
    is_free_form: bool


def _member(cls: type[BaseModel], attribute: str, field: FieldInfo) -> Member:
    """Return how a member is committed.

    Raises:
        TypeError: Its name is reserved; a mark stands where it would not be seen; a model in it is no
            `EventPart`; or None would be read back as another default.
    """
    name, place = field.alias or attribute, f"{cls.__name__}.{attribute}"
    if name in RESERVED or name == JSON_TEXT:
        raise TypeError(f"{place}: the member name {name} is reserved")
    annotations: list[Any] = [field.annotation]
    marks = list(field.metadata)
    if get_origin(field.annotation) in (Union, UnionType):  # Sensitive[str] | None
        annotations = list(get_args(field.annotation))
        for i, choice in enumerate(annotations):
            if get_origin(choice) is Annotated:
                marks += choice.__metadata__
                annotations[i] = choice.__origin__
    for annotation in annotations:
        _check_within(annotation, place)
    is_nullable = NoneType in annotations or field.annotation is Any
    if is_nullable and not field.is_required() and field.get_default(call_default_factory=False) is not None:
        raise TypeError(f"{place}: None is absent on the wire, and would be read back as the default")
    return Member(
        attribute,
        name,
        any(mark is SENSITIVE for mark in marks),
        any(mark is FREE_FORM for mark in marks),
    )


def _check_within(annotation: Any, place: str) -> None:
    """Refuse marks below the top of a member, and models that know no marks."""
    if any(isinstance(mark, _Mark) for mark in getattr(annotation, "__metadata__", ())):
        raise TypeError(f"{place}: mark the whole member, as Sensitive[list[str]], or use an EventPart")
    is_class = isinstance(annotation, type) and not get_args(annotation)
    is_model = is_class and (is_dataclass(annotation) or issubclass(annotation, BaseModel))
    if is_model and not issubclass(annotation, EventPart):
        raise TypeError(f"{place}: {annotation.__name__} is no EventPart, and its marks would not be seen")
    for argument in get_args(annotation):
        _check_within(argument, place)


class EventPart(BaseModel):
    """A model that stands inside a payload, with the same rules for names and marks."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )

    __members: ClassVar[tuple[Member, ...]]

    @classmethod
    def members(cls) -> tuple[Member, ...]:
        """Return how each member of this class is committed, in the order of definition."""
        cached = cls.__dict__.get("_EventPart__members")
        if cached is None:
            fields = cls.model_fields.items()
            cached = cls.__members = tuple(_member(cls, name, field) for name, field in fields)
        return cached

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__pydantic_complete__:  # otherwise when it is first used
            cls.members()


class EventPayload(EventPart):
    """Base of all payload classes; subclass it with a type to define an event of your own.

    Raises:
        TypeError: The type is missing, malformed, without a dot, or taken by another class.
    """

    type: ClassVar[str]

    def __init_subclass__(cls, *, type: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if type is None:
            if not hasattr(cls, "type"):
                raise TypeError(
                    f'{cls.__name__}: expected class {cls.__name__}(EventPayload, type="acme.name")'
                )
            return
        cls.type = type
        _register(cls)


class UntypedPayload:
    """A payload read without a class: its type is unknown here, or it is newer than its class.

    `data` holds its members by their wire names, with the disclosures that are shown.
    """

    __slots__ = ("data", "type")

    def __init__(self, type: str, data: dict[str, Any]) -> None:
        self.type = type
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedPayload) and (self.type, self.data) == (other.type, other.data)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"UntypedPayload(type={self.type!r}, data={self.data!r})"


_classes: dict[str, type[EventPayload]] = {}
_BUILT_IN_PACKAGE: Final = "tracebus.events"


def payload_class(event_type: str) -> type[EventPayload] | None:
    """Return the class of an event type, or None where none is defined (yet)."""
    return _classes.get(event_type)


def payload_classes() -> dict[str, type[EventPayload]]:
    """Return all classes by event type, users' own included."""
    return dict(_classes)


def check_user_type(event_type: object) -> str:
    """Return an event type that users may publish under.

    Raises:
        ValueError: Not 1-128 printable ASCII characters with a dot in it.
    """
    if not isinstance(event_type, str) or not is_id(event_type) or "." not in event_type:
        raise ValueError(
            'event type: expected printable ASCII with a dot, such as "acme.refund_issued", '
            f"found {event_type!r:.80}"
        )
    return event_type


def _register(cls: type[EventPayload]) -> None:
    is_built_in = cls.__module__.startswith(_BUILT_IN_PACKAGE)
    if not is_built_in:
        try:
            check_user_type(cls.type)
        except ValueError as error:
            raise TypeError(f"{cls.__name__}: {error}") from None
    other = _classes.get(cls.type)
    # A module that is loaded again (a notebook, a reloader) may define its class again.
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(
            f"{cls.__name__}: type {cls.type} is taken by {other.__module__}.{other.__qualname__}"
        )
    _classes[cls.type] = cls
