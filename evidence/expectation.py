"""What the verifier of a bundle brings along: whom they trust, and what they expect it to be.

A sound bundle of something else is sound. So whoever verifies one says what it should be about, and what is
compared here is not in the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

from evidence.bundle import EvidenceBundle
from evidence.disclosure import locate, parse_disclosure
from evidence.disclosure_policy import DisclosurePolicy
from evidence.errors import SignatureRefused, Unexpected
from evidence.keys import SharedSecret, VerifyingKey
from evidence.pattern import format_path
from evidence.trust import TrustPolicy

ANY_TENANT: Final = object()
"""No expectation about the tenant; None expects a workflow that has none."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The verifier's trust policy, and the time, POSIX seconds; None is the clock's."""

    policy: TrustPolicy | None
    now: float | None

    def key_of(self, bundle: EvidenceBundle) -> VerifyingKey:
        """Return the one of the policy's keys that a bundle names: a hint, which the signature confirms."""
        named = bundle._tree["signature"]["keyId"]
        for trusted in self.policy.bundle_keys if self.policy is not None else ():
            if trusted.key.key_id == named:
                return trusted.key
        raise SignatureRefused("signature", f"by key {named}, which the policy does not list for bundles")

    def check_key(self, key: VerifyingKey | SharedSecret, created_at: str) -> None:
        """Check that the policy lets a key sign bundles, and did so when it signed."""
        if self.policy is None:
            return
        listed = [trusted.key for trusted in self.policy.bundle_keys]
        if listed and key not in listed:
            raise SignatureRefused(
                "signature", f"by key {key.key_id}, which the policy does not list for bundles"
            )
        if isinstance(key, VerifyingKey):
            created = datetime.fromisoformat(f"{created_at[:19]}+00:00")
            self.policy.verify_key(key, "signature", claimed=int(created.timestamp()))


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a bundle should be; None, or `ANY_TENANT`, expects nothing."""

    workflow: str | None = None
    tenant: object = ANY_TENANT
    log: str | None = None
    head: str | None = None
    disclosure_policy: DisclosurePolicy | None = None

    def check(self, bundle: EvidenceBundle) -> list[str]:
        """Compare with a bundle that was verified; return what fails nothing, and a reader should know.

        Raises:
            Unexpected: It is of something else, or shows more than the disclosure policy lets it.
        """
        for what, expected, found in (
            ("workflow", self.workflow, bundle.workflow_id),
            ("log", self.log, bundle.log),
            ("workflow head", self.head, bundle.workflow_head()),
        ):
            if expected is not None and expected != found:
                raise Unexpected(what, f"expected {expected}, found {found}")
        if self.tenant is not ANY_TENANT and self.tenant != bundle.tenant_id:
            reason = f"expected {self.tenant or 'none'}, found {bundle.tenant_id or 'none'}"
            raise Unexpected("tenant", reason)
        return [] if self.disclosure_policy is None else _check_disclosed(self.disclosure_policy, bundle)


def _check_disclosed(policy: DisclosurePolicy, bundle: EvidenceBundle) -> list[str]:
    """Check that a bundle names a policy, where that has a digest, and shows nothing that it withholds.

    Return where it shows what the policy means to withhold and could not, once for each type and path.
    """
    tree = bundle._tree
    named = tree["scope"].get("disclosurePolicy")
    if policy.digest not in (None, named):
        reason = f"expected {policy.digest}, found {named or 'none'}: another file, or changed since"
        raise Unexpected("disclosure policy", reason)
    for_type = cache(policy.for_type)
    exposed: dict[tuple[str, str], str] = {}
    for event in tree["events"]:
        if "payload" not in event:
            continue
        place, of_type = f"event {event['seq']} of run {event['runId']}", for_type(event["type"])
        if of_type.withheld is not None:
            raise Unexpected(place, "shows its payload, which the disclosure policy withholds")
        shown = [parse_disclosure(text, place) for text in tree["disclosures"].get(event["id"], ())]
        for path, item in locate(event["payload"], shown):
            if of_type.why_withheld(path, item.value) is not None:
                raise Unexpected(place, f"shows {format_path(path)}, which the disclosure policy withholds")
        for path in of_type.exposed(event["payload"]):
            exposed.setdefault((event["type"], format_path(path)), place)
    return [
        f"{event_type} shows {path} in the clear, which the disclosure policy would withhold if it were "
        f"sensitive: {place}"
        for (event_type, path), place in exposed.items()
    ]
