"""The committed form of a payload: the canonical bytes that contentHash is over.

A payload class becomes an object with a fresh ``_salt``, in which each sensitive member is replaced
by the digest of its disclosure (`evidence.disclosure`). The caller's objects are read once, here;
what is stored, hashed and handed back later comes from these bytes.

Sensitive is what the class marks and what patterns of the operator mean (`tracebus.sensitivity`); a
pattern reaches members and elements inside of values::

    {"_salt":"…","tool":"wire","arguments":{"amount":5000,"_sd":["…"]}}        *:iban
    {"_salt":"…","tool":"book","arguments":{"seats":[{"...":"…"},{"...":"…"}]}}  tool_*:arguments/seats/*

Where a pattern may mean something that cannot be told apart, because a value is recorded as JSON
text or shortened (`tracebus.free_form`) or is text with JSON in it, the whole value leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from evidence import canonical
from evidence.disclosure import SALT, new_salt, open_payload
from evidence.errors import NotCanonicalizable
from tracebus.committing import Committing, UncheckedCommitting
from tracebus.errors import PayloadTooLarge
from tracebus.free_form import (
    CROWDED_VALUE_BYTES,
    MAX_PAYLOAD_DEPTH,
    MAX_VALUE_BYTES,
    has_no_reserved_name,
)
from tracebus.masking import Masking
from tracebus.payload import EventPayload, check_user_type, payload_class
from tracebus.secret_scanner import Finding, SecretScanner
from tracebus.sensitivity import Place, Sensitivity

MAX_PAYLOAD_BYTES: Final = 1024 * 1024


class Committed(NamedTuple):
    """A payload in committed form: event type, canonical bytes, disclosures of what left it.

    `findings` are the secrets that were masked in it.
    """

    type: str
    payload: bytes
    disclosures: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


class Committer:
    """Brings payloads into committed form, by the rules of an operator.

    Args:
        sensitive: Patterns of what is sensitive, in addition to what classes mark.
        plain: Patterns of what is not, though its class marks it.
        scanner: Finds and masks secrets in every text of a payload.

    Raises:
        TypeError: One text was given in place of several patterns.
        ValueError: A pattern is none, means whole payloads, or names what is never sensitive.
    """

    def __init__(
        self,
        sensitive: Iterable[str] = (),
        plain: Iterable[str] = (),
        scanner: SecretScanner | None = None,
    ) -> None:
        self._sensitivity = Sensitivity(sensitive, plain)
        self._scanner = scanner

    def commit(self, payload: EventPayload | Mapping[str, Any], event_type: str | None = None) -> Committed:
        """Return the committed form of a payload, or of a plain dict under a user's type.

        A dict whose type has a class is validated as that class first.

        Raises:
            TypeError: Neither a payload nor a mapping, or a type given with a payload.
            ValueError: A mapping without a type, or under a type that no user may use.
            pydantic.ValidationError: The dict does not fit the class of its type.
            NotCanonicalizable: A typed member has no canonical form (NaN, an unsafe integer).
            PayloadTooLarge: The payload is larger than 1 MiB.
        """
        if isinstance(payload, EventPayload):
            if event_type not in (None, payload.type):
                raise TypeError(
                    f"type: {type(payload).__name__} has the type {payload.type}, found {event_type!r:.80}"
                )
            return self._commit(payload)
        if not isinstance(payload, Mapping):
            raise TypeError(f"payload: expected an EventPayload or a mapping, found {type(payload).__name__}")
        if event_type is None:
            raise ValueError('payload: a plain mapping needs a type, such as type="acme.refund_issued"')
        if cls := payload_class(check_user_type(event_type)):
            return self._commit(cls.model_validate(dict(payload)))
        return self._commit_mapping(event_type, dict(payload))

    def _commit(self, payload: EventPayload) -> Committed:
        cls, known = type(payload), payload_class(payload.type)
        if known is not cls and (known is None or known.__qualname__ != cls.__qualname__):
            raise TypeError(
                f"{cls.__name__}: give it a type of its own, for {payload.type} is another class's"
            )
        place = self._sensitivity.of(payload.type)
        try:
            committed = self._commit_at_once(payload.type, payload, place)
            return committed or self._commit_with_care(payload, place)
        except RecursionError:
            raise NotCanonicalizable("", "a typed member is nested too deep, or within itself") from None

    def _commit_at_once(
        self, event_type: str, payload: EventPayload | dict[str, Any], place: Place
    ) -> Committed | None:
        """Commit a payload as most are: small, and with nothing in it that is written in another way.

        Its texts are written first and checked all together, which is faster; None where a check, of
        which each is a conservative one, does not pass.
        """
        part = UncheckedCommitting()
        try:
            if isinstance(payload, dict):
                members = part.commit_mapping(payload, place)
            else:
                members = part.commit(payload, place)
            members[SALT] = new_salt()
            data = canonical.dumps_unchecked(members)
        except NotCanonicalizable:
            return None
        values = b"\n".join(part.values)
        if not self._may_stand(values, b"\n".join((values, data, *part.texts))):
            return None
        return Committed(event_type, data, tuple(part.disclosures))

    def _may_stand(self, values: bytes, text: bytes) -> bool:
        """Tell whether nothing in a text has to be written in another way, or masked."""
        return (
            len(text) <= MAX_VALUE_BYTES
            and canonical.is_certain(text)
            and has_no_reserved_name(values)
            and not (self._scanner is not None and self._scanner.may_hold(text))
        )

    def _commit_with_care(self, payload: EventPayload, place: Place) -> Committed:
        findings: tuple[Finding, ...] = ()
        if self._scanner is not None:
            masking = Masking(self._scanner)
            payload = masking.of_part(payload)
            findings = masking.findings
        for limit in (MAX_VALUE_BYTES, CROWDED_VALUE_BYTES):
            part = Committing(limit)
            members = part.commit(payload, place)
            try:
                data = _finish(payload.type, members)
                return Committed(payload.type, data, tuple(part.disclosures), findings)
            except PayloadTooLarge:
                if limit == CROWDED_VALUE_BYTES:
                    raise
        raise AssertionError("unreachable")

    def _commit_mapping(self, event_type: str, mapping: dict[str, Any]) -> Committed:
        place = self._sensitivity.of(event_type)
        if committed := self._commit_at_once(event_type, mapping, place):
            return committed
        value: Any = mapping
        findings: tuple[Finding, ...] = ()
        if self._scanner is not None:
            masking = Masking(self._scanner)
            value = masking.of_free_form(mapping)
            findings = masking.findings
        part = Committing(MAX_VALUE_BYTES)
        members = part.commit_mapping(value, place)
        return Committed(event_type, _finish(event_type, members), tuple(part.disclosures), findings)


_BY_MARKS: Final = Committer()


def commit(payload: EventPayload | Mapping[str, Any], event_type: str | None = None) -> Committed:
    """Return the committed form by the marks of classes alone, as `Committer.commit` does."""
    return _BY_MARKS.commit(payload, event_type)


def content_of(payload: bytes, disclosures: tuple[str, ...]) -> bytes:
    """Return what a committed payload says, without its salts: equal content gives equal bytes."""
    opened = dict(open_payload(canonical.loads(payload), disclosures, "payload").value)
    opened.pop(SALT, None)
    return canonical.dumps(opened)


def _finish(event_type: str, members: dict[str, Any]) -> bytes:
    """Return the canonical bytes of committed members, with a salt."""
    members[SALT] = new_salt()
    data = canonical.dumps_readable(members, max_depth=MAX_PAYLOAD_DEPTH)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{event_type}: {len(data)} bytes, expected at most {MAX_PAYLOAD_BYTES}; "
            "publish a digest and keep the content elsewhere"
        )
    return data
