"""What a bundle's signed scope says is kept back, and whether the bundle bears it out.

Three lists, and three meanings of a payload that is not there:

==============  ==================================================================================
withheld        left out by the signer, who says why; never shown, and may not appear later
erased          no longer in the log; an event in the bundle, named by ``by``, records the erasure
redactable      shown when signed; whoever holds the bundle may remove it
==============  ==================================================================================

Single members are withheld and erased in the same way, by the digests of their disclosures; any
disclosure may be removed by a holder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evidence.errors import DisclosureRefused, PayloadRefused, ScopeMismatch
from evidence.projection import ERASING, KEPT
from evidence.report import Shown


class KeptBack:
    """The scope's lists, checked one event at a time.

    Raises:
        ScopeMismatch: A list names an event twice, one that is not in the bundle, or one whose
            payload may never be kept back.
    """

    def __init__(self, scope: Mapping[str, Any], types: Mapping[str, str]) -> None:
        self._types = types
        withheld, erased = scope["withheld"], scope["erased"]
        self.withheld_payloads = self._payloads("withheld", withheld["payloads"])
        self.erased_payloads = self._payloads("erased", erased["payloads"])
        self.redactable = self._payloads("redactable", [{"eventId": i} for i in scope["redactable"]])
        self.withheld_digests = self._digests("withheld", withheld["disclosures"])
        self.erased_digests = self._digests("erased", erased["disclosures"])
        for event_id in (self.withheld_payloads | self.erased_payloads) & (
            self.withheld_digests.keys() | self.erased_digests.keys()
        ):
            raise ScopeMismatch("scope", f"lists digests of {event_id}, whose payload it does not show")
        twice = self.withheld_payloads & self.erased_payloads
        for event_id, digests in self.withheld_digests.items():
            twice |= digests & self.erased_digests.get(event_id, set())
        if twice:
            raise ScopeMismatch("scope", f"lists {min(twice)} both as withheld and as erased")
        self._erased_by = [*erased["payloads"], *erased["disclosures"]]
        for event_id in (self.withheld_payloads | self.redactable) & types.keys():
            if types[event_id] in KEPT:
                raise ScopeMismatch(
                    "scope", f"{types[event_id]} {event_id} may not be withheld or redactable"
                )

    def _payloads(self, what: str, listed: Iterable[Mapping[str, Any]]) -> set[str]:
        ids: set[str] = set()
        for entry in listed:
            event_id = entry["eventId"]
            if event_id not in self._types:
                raise ScopeMismatch(f"scope {what}", f"lists event {event_id}, which is not in the bundle")
            if event_id in ids:
                raise ScopeMismatch(f"scope {what}", f"lists event {event_id} twice")
            ids.add(event_id)
        return ids

    def _digests(self, what: str, listed: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
        """Return the listed digests by event; an event may be listed several times, a digest not."""
        digests: dict[str, set[str]] = {}
        for entry in listed:
            event_id = entry["eventId"]
            if event_id not in self._types:
                raise ScopeMismatch(f"scope {what}", f"lists event {event_id}, which is not in the bundle")
            known = digests.setdefault(event_id, set())
            if not entry["digests"]:
                raise ScopeMismatch(f"scope {what}", f"lists event {event_id} without digests")
            for digest in entry["digests"]:
                if digest in known:
                    raise ScopeMismatch(f"scope {what}", f"lists digest {digest} twice")
                known.add(digest)
        return digests

    def check_absent(self, event_id: str, place: str) -> bool:
        """Check that a payload may be absent; return whether it was removed after signing.

        Raises:
            PayloadRefused: It may not.
        """
        if event_id in self.withheld_payloads or event_id in self.erased_payloads:
            return False
        if event_id not in self.redactable:
            raise PayloadRefused(place, "payload is absent, and neither withheld, erased nor redactable")
        return True

    def check_present(self, event_id: str, place: str) -> None:
        """Check that a payload may be present.

        Raises:
            PayloadRefused: The scope lists it as withheld or erased.
        """
        for what, listed in (("withheld", self.withheld_payloads), ("erased", self.erased_payloads)):
            if event_id in listed:
                raise PayloadRefused(place, f"payload is present, though the scope lists it as {what}")

    def check_digests(self, event_id: str, shown: frozenset[str], hidden: frozenset[str], place: str) -> int:
        """Check what of a present payload is shown; return how many disclosures were removed.

        Raises:
            DisclosureRefused: A disclosure is shown that the scope lists as withheld or erased.
            ScopeMismatch: The scope lists a digest that is not in the payload.
        """
        withheld = self.withheld_digests.get(event_id, set())
        erased = self.erased_digests.get(event_id, set())
        for what, listed in (("withheld", withheld), ("erased", erased)):
            if listed & shown:
                raise DisclosureRefused(place, f"shows a disclosure that the scope lists as {what}")
            # Below a parent that a holder removed, a listed digest can no longer be seen.
            if not listed <= hidden and hidden <= withheld | erased:
                raise ScopeMismatch(place, f"the scope lists a digest as {what} that is not in the payload")
        return len(hidden - withheld - erased)

    def check_erasures(self, payloads: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Check that each erasure is backed by an event that records it.

        Raises:
            ScopeMismatch: The event is missing, of another type, or names another target.
        """
        targets: dict[str, Targets] = {}
        for entry in self._erased_by:
            event_id, by = entry["eventId"], entry["by"]
            place = f"scope erased {event_id}"
            if self._types.get(by) not in ERASING:
                raise ScopeMismatch(place, f"event {by} is not in the bundle, or records no erasure")
            if by not in targets:
                targets[by] = targets_of(payloads[by] or {})
            if not is_target(targets[by], event_id, entry.get("digests")):
                raise ScopeMismatch(place, f"event {by} does not record that it was erased")

    def erasures(self) -> dict[str, tuple[int, int]]:
        """Return by which events how many payloads and how many disclosures were erased."""
        counts: dict[str, tuple[int, int]] = {}
        for entry in self._erased_by:
            payloads, disclosures = counts.get(entry["by"], (0, 0))
            digests = entry.get("digests")
            erased = (
                (payloads + 1, disclosures) if digests is None else (payloads, disclosures + len(digests))
            )
            counts[entry["by"]] = erased
        return counts

    def count(
        self, *, payloads: int, disclosures: int, removed_payloads: int, removed_disclosures: int
    ) -> Shown:
        """Return how much is shown, and how much is kept back and by whom."""
        return Shown(
            payloads=payloads,
            disclosures=disclosures,
            withheld_payloads=len(self.withheld_payloads),
            withheld_disclosures=sum(map(len, self.withheld_digests.values())),
            erased_payloads=len(self.erased_payloads),
            erased_disclosures=sum(map(len, self.erased_digests.values())),
            removed_payloads=removed_payloads,
            removed_disclosures=removed_disclosures,
        )


Targets = dict[str, set[str] | None]
"""What an erasing event names: event id to digests; None for the whole payload."""


def targets_of(payload: Mapping[str, Any]) -> Targets:
    """Return what an erasing event's payload names as erased.

    Its ``targets`` are ``{eventId}`` for a whole payload, ``{eventId, digests}`` for disclosures;
    what is of another form names nothing.
    """
    targets: Targets = {}
    listed = payload.get("targets")
    for target in listed if isinstance(listed, list) else ():
        if not isinstance(target, dict) or not isinstance(target.get("eventId"), str):
            continue
        event_id, digests = target["eventId"], target.get("digests")
        if "digests" not in target:
            targets[event_id] = None
        elif isinstance(digests, list):
            known = targets.setdefault(event_id, set())
            if known is not None:
                known.update(digest for digest in digests if isinstance(digest, str))
    return targets


def is_target(targets: Targets, event_id: str, digests: Iterable[str] | None) -> bool:
    """Tell whether these disclosures of an event, or its whole payload (None), are named as erased."""
    if event_id not in targets:
        return False
    named = targets[event_id]
    return named is None or (digests is not None and named.issuperset(digests))
