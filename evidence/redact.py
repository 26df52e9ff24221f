"""Redact a bundle: what its holder takes out before passing it on.

The signature covers neither disclosures nor proofs nor the payloads that the signer listed as redactable
(`schemas/bundle-v1.md` section 9). So a holder may take them out, needs no key to do so, and the bundle
still verifies and says how much was removed after signing. Nothing else changes.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evidence.bundle import EvidenceBundle, decode_signature, signed_bytes, without_payload
from evidence.disclosure import Located, digest_of, locate, open_payload, parse_disclosure, referenced
from evidence.errors import MalformedInput, RedactionRefused
from evidence.header import is_ulid
from evidence.keys import SharedSecret, VerifyingKey
from evidence.pattern import Paths, Pattern, format_path, has_wildcard, parse_patterns
from evidence.signing import HmacSigner
from evidence.verify import verify_evidence_bundle

Standing = Literal["redactable", "kept", "withheld", "erased", "removed"]
"""How it stands with a payload: a holder may remove it; it is shown for good; it is not there, and why."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A bundle after its redaction, and what was removed from it.

    `payloads` and `members` count what a verifier will count as removed: what went with a payload, or with
    a member that it stood in, nobody sees any more. `proofs` are kinds. `unmatched` are the patterns and
    kinds that meant nothing which the bundle shows: nothing was removed for them.
    """

    bundle: EvidenceBundle
    payloads: int
    members: int
    proofs: tuple[str, ...]
    unmatched: tuple[str, ...]

    @property
    def is_changed(self) -> bool:
        """Whether anything was removed."""
        return bool(self.payloads or self.members or self.proofs)


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """What a bundle shows of an event, without any value.

    `members` are the paths of the sensitive members that are shown, as patterns write them; each may be
    removed.
    """

    event_id: str
    run_id: str
    seq: int
    type: str
    payload: Standing
    members: tuple[str, ...]


def redact_evidence_bundle(
    bundle: EvidenceBundle | bytes | str | Mapping[str, Any],
    *,
    members: Iterable[str] = (),
    payloads: Iterable[str] = (),
    proofs: Iterable[str] = (),
    public_key: VerifyingKey | SharedSecret | bytes | str | None = None,
) -> Redacted:
    """Return a bundle without some of what it shows. It verifies if the given one does.

    The bundle is verified before and after. Without a key that is everything but the signature, which a
    redaction does not touch: so nobody passes on what could not verify anyway.

    Args:
        bundle: The bundle; a run in it may be open.
        members: Patterns of sensitive members (`evidence.pattern`). What stands below a member goes
            with it. Where what is meant cannot be taken by itself, what it stands in goes.
        payloads: Event types, in which ``*``, ``?`` and ``[…]`` match as in file names, and event ids.
            A type with a wildcard passes over payloads that may not be removed.
        proofs: Kinds of proof, such as ``completeness``.
        public_key: The signer's key.

    Raises:
        RedactionRefused: A payload may not be removed that is meant by its event's id, or by its type
            without a wildcard; or the bundle has no event of this id or type.
        VerificationFailed, Unverifiable, MalformedInput, KeyRefused: The bundle does not verify.
        ValueError: A pattern is none, or names no member.
        TypeError: One text was given in place of several.
    """
    bundle = EvidenceBundle.from_json(bundle)
    redaction = _Redaction(bundle, members, payloads, proofs)
    try:
        _verify(bundle, public_key)
        redacted = redaction.run()
        _verify(redacted.bundle, public_key)
    except RecursionError:
        raise MalformedInput("bundle", "nested deeper than the caller's stack has room for") from None
    return redacted


def shown_events(bundle: EvidenceBundle | bytes | str | Mapping[str, Any]) -> list[ShownEvent]:
    """Return what a bundle shows of each event, and what of that may be removed.

    Raises:
        MalformedInput: The bundle cannot be read.
        DisclosureRefused: A disclosure cannot be read.
    """
    tree = EvidenceBundle.from_json(bundle)._tree
    return [
        ShownEvent(
            event_id=event["id"],
            run_id=event["runId"],
            seq=event["seq"],
            type=event["type"],
            payload=_standing(event, tree["scope"]),
            members=tuple(sorted({format_path(path) for path, _ in _located(event, tree)})),
        )
        for event in tree["events"]
    ]


class _Redaction:
    """One bundle, and what is asked to be removed from it."""

    def __init__(
        self, bundle: EvidenceBundle, members: Iterable[str], payloads: Iterable[str], proofs: Iterable[str]
    ) -> None:
        self._tree = bundle._tree
        self._events = {event["id"]: event for event in self._tree["events"]}
        self._types = {event["type"] for event in self._tree["events"]}
        self._members = parse_patterns(members)
        self._payloads = parse_patterns(payloads)
        self._proofs = _several(proofs)
        for pattern in self._members:
            if pattern.steps is None:
                hint = f"try '*:{pattern.text:.80}'"
                raise ValueError(f"members: expected type:member, found {pattern.text!r:.80}; {hint}")
        for pattern in self._payloads:
            if pattern.steps is not None:
                raise ValueError(f"payloads: expected a type or an event id, found {pattern.text!r:.80}")
        self._matched: set[str] = set()

    def run(self) -> Redacted:
        """Return the bundle without what is asked for."""
        gone = {event_id for pattern in self._payloads for event_id in self._removable(pattern)}
        shown = self._tree["disclosures"]
        kept = {
            event_id: texts
            for event_id, texts in self._kept_disclosures()
            if event_id not in gone and (texts or not shown[event_id])
        }
        proofs = self._tree["proofs"]
        removed_proofs = tuple(kind for kind in proofs if kind in self._proofs)
        staying = [event for event in self._tree["events"] if event["id"] not in gone]
        tree = self._tree | {
            "events": [
                without_payload(event) if event["id"] in gone else event for event in self._tree["events"]
            ],
            "disclosures": kept,
            "proofs": {kind: proof for kind, proof in proofs.items() if kind not in removed_proofs},
        }
        self._matched.update(removed_proofs)
        asked = [*(pattern.text for pattern in (*self._members, *self._payloads)), *self._proofs]
        return Redacted(
            EvidenceBundle.from_json(tree),
            payloads=len(gone),
            members=sum(self._removed(event, kept.get(event["id"], [])) for event in staying),
            proofs=removed_proofs,
            unmatched=tuple(dict.fromkeys(text for text in asked if text not in self._matched)),
        )

    def _removable(self, pattern: Pattern) -> Iterator[str]:
        """Yield the ids of the events whose payloads a pattern means, and which are there."""
        for event in self._meant(pattern):
            if event["id"] in self._tree["scope"]["redactable"]:
                self._matched.add(pattern.text)
                yield event["id"]
            elif not has_wildcard(pattern.type):
                raise RedactionRefused(
                    _place(event),
                    f"the signer lets no holder remove the payload of {event['type']} {event['id']}",
                )

    def _meant(self, pattern: Pattern) -> list[dict[str, Any]]:
        if is_ulid(pattern.type):
            if pattern.type not in self._events:
                raise RedactionRefused(f"event {pattern.type}", "is not in the bundle")
            events = [self._events[pattern.type]]
        else:
            self._check_type(pattern)
            events = [event for event in self._events.values() if pattern.is_of_type(event["type"])]
        return [event for event in events if "payload" in event]

    def _check_type(self, pattern: Pattern) -> None:
        """Check that a type that is named outright is one of the bundle's: it may be a slip."""
        if not has_wildcard(pattern.type) and pattern.type not in self._types:
            raise RedactionRefused(pattern.text, "the bundle has no event of this type")

    def _removed(self, event: Mapping[str, Any], kept: list[str]) -> int:
        """Return how many members of an event a verifier misses for what does not stay."""
        removed = set(self._tree["disclosures"].get(event["id"], ())).difference(kept)
        if not removed:
            return 0
        hidden = open_payload(event["payload"], kept, _place(event)).hidden
        return len(hidden & set(map(digest_of, removed)))

    def _kept_disclosures(self) -> Iterator[tuple[str, list[str]]]:
        for pattern in self._members:
            self._check_type(pattern)
        for event_id, texts in self._tree["disclosures"].items():
            yield event_id, self._kept_of(self._events[event_id], texts)

    def _kept_of(self, event: Mapping[str, Any], texts: list[str]) -> list[str]:
        """Return those of an event's disclosures that stay: not meant, and below none that is meant."""
        patterns = [pattern for pattern in self._members if pattern.is_of_type(event["type"])]
        if not patterns:
            return texts
        located = _located(event, self._tree)
        meant: set[str] = set()
        for pattern in patterns:
            paths = Paths.of([pattern], event["type"])
            found = {at.digest for path, at in located if paths.takes(path, at.value)}
            if found:
                self._matched.add(pattern.text)
                meant |= found
        kept = [disclosure for _, disclosure in located if disclosure.digest not in meant]
        stays = {disclosure.text for disclosure in referenced(event["payload"], kept)}
        return [text for text in texts if text in stays]


def _several(kinds: Iterable[str]) -> tuple[str, ...]:
    if isinstance(kinds, str):
        raise TypeError("proofs: expected several, such as a list, found one text")
    return tuple(kinds)


def _located(event: Mapping[str, Any], tree: Mapping[str, Any]) -> list[Located]:
    """Return the disclosures of an event that the bundle shows, and where they stand."""
    texts = tree["disclosures"].get(event["id"], [])
    return locate(event.get("payload"), [parse_disclosure(text, _place(event)) for text in texts])


def _place(event: Mapping[str, Any]) -> str:
    return f"event {event['seq']} of run {event['runId']}"


def _standing(event: Mapping[str, Any], scope: Mapping[str, Any]) -> Standing:
    if "payload" in event:
        return "redactable" if event["id"] in scope["redactable"] else "kept"
    standings: tuple[Standing, ...] = ("withheld", "erased")
    for standing in standings:
        if any(entry["eventId"] == event["id"] for entry in scope[standing]["payloads"]):
            return standing
    return "removed"


def _verify(bundle: EvidenceBundle, key: VerifyingKey | SharedSecret | bytes | str | None) -> None:
    """Verify a bundle; without a key as if it were signed by one made for this, so all but its signature."""
    if key is None:
        tree = bundle._tree
        decode_signature(tree["signature"]["value"])
        key = SharedSecret(os.urandom(32))
        signer = HmacSigner(key)
        value = base64.b64encode(signer.sign(signed_bytes(tree))).decode()
        bundle = EvidenceBundle.from_json(
            tree | {"signature": {"alg": signer.alg, "value": value, "keyId": signer.key_id}}
        )
    verify_evidence_bundle(bundle, key, accept=["incomplete"])
