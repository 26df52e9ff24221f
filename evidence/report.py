"""What verification found: the report, and the events as they were verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evidence.disclosure import member_digest
from evidence.printable import counted, printable

Verdict = Literal["verified", "incomplete", "unverifiable"]


@dataclass(frozen=True, slots=True)
class VerifiedEvent:
    """An event whose header, and payload where it is shown, are what was signed.

    `payload` has its disclosures put back in; it is None where the payload is withheld, erased or
    was removed. `hidden` counts the members of it that are not shown, `disclosures` are those that are.
    """

    header: Mapping[str, Any]
    payload: Mapping[str, Any] | None
    hidden: int = 0
    disclosures: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The event's ULID."""
        return str(self.header["id"])

    @property
    def type(self) -> str:
        """The event's type, such as ``tool_executed``."""
        return str(self.header["type"])

    def member_digest(self, name: str) -> str:
        """Return the digest by which another event names a sensitive member of this one.

        So ``shownDigest`` of an approval is compared with what the request showed:
        ``request.member_digest("shown")``.

        Raises:
            LookupError: The bundle does not show such a member.
        """
        return member_digest(self.disclosures, name, f"event {self.id}")


@dataclass(frozen=True, slots=True)
class VerifiedRun:
    """A run of the workflow: how many events it has, its last event's hash, whether it has ended."""

    run_id: str
    count: int
    head: str
    closed: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """How much of what was recorded the bundle shows.

    `payloads` and `disclosures` count what is shown; `withheld_*` and `erased_*` what the signer
    listed as left out; `removed_*` what a holder took out after signing.
    """

    payloads: int = 0
    disclosures: int = 0
    withheld_payloads: int = 0
    withheld_disclosures: int = 0
    erased_payloads: int = 0
    erased_disclosures: int = 0
    removed_payloads: int = 0
    removed_disclosures: int = 0


@dataclass(frozen=True, slots=True)
class VerifiedErasure:
    """An event that records what was erased, and how much of the workflow that is.

    `by` is its id, `type` ``data_erased`` or ``retention_applied``, `at` its timestamp; who ordered it, why,
    and on what it rests are what its payload says, in words of the signer's.
    """

    by: str
    type: str
    at: str
    payloads: int
    disclosures: int
    actor: str | None
    reason: str | None
    legal_basis: str | None


def erasure_of(event: VerifiedEvent, payloads: int, disclosures: int) -> VerifiedErasure:
    """Return what an event records that erased so much."""
    said = event.payload or {}
    texts = (said.get(name) for name in ("actor", "reason", "legalBasis"))
    actor, reason, legal_basis = (text if isinstance(text, str) else None for text in texts)
    if reason is None and isinstance(said.get("policy"), str):
        reason = f"policy {said['policy']}"
    timestamp = str(event.header["timestamp"])
    return VerifiedErasure(event.id, event.type, timestamp, payloads, disclosures, actor, reason, legal_basis)


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The outcome of verifying a bundle that did not fail.

    `verdict` is ``verified``, or ``incomplete`` or ``unverifiable`` where the caller accepts those.
    `reasons` are those that the signer gives for what is withheld; `disclosure_policy` is the digest of the
    policy by which it was decided, None where the signer names none.
    `completeness` says on whose word the workflow is whole. Where a checkpoint that is enough for the
    policy shows it, `checkpoint` has its origin, size and root, the log's key, and who cosigned it when;
    else it is None. `notes` are what a reader should know and that fails nothing: clocks that stepped back,
    an HMAC, proofs that were removed or are of an unknown kind, what a policy asks for and is not shown, what
    stands in the clear though the disclosure policy means to withhold it.
    `events` are read from the very bytes that were verified.
    """

    verdict: Verdict
    bundle_id: str
    workflow_id: str
    tenant_id: str | None
    log: str
    created_at: str
    signature_alg: str
    key_id: str
    convinces_third_parties: bool
    workflow_head: str
    runs: tuple[VerifiedRun, ...]
    shown: Shown
    reasons: tuple[str, ...]
    disclosure_policy: str | None
    disclosure_policy_checked: bool
    erasures: tuple[VerifiedErasure, ...]
    completeness: str
    checkpoint: Mapping[str, Any] | None
    notes: tuple[str, ...]
    events: tuple[VerifiedEvent, ...]

    @property
    def headline(self) -> str:
        """The outcome in one line, of printable characters."""
        of = f" of tenant {self.tenant_id}" if self.tenant_id is not None else ""
        events = counted(len(self.events), "event")
        return printable(
            f"{self.verdict}: workflow {self.workflow_id}{of}, {counted(len(self.runs), 'run')}, "
            f"{events}; {self._kept_back()}{self.completeness}"
        )

    def _kept_back(self) -> str:
        shown = self.shown
        counts = (
            ("withheld", shown.withheld_payloads, shown.withheld_disclosures),
            ("erased", shown.erased_payloads, shown.erased_disclosures),
            ("removed after signing", shown.removed_payloads, shown.removed_disclosures),
        )
        return "".join(
            f"{counted(payloads, 'payload')} and {counted(members, 'member')} {what}; "
            for what, payloads, members in counts
            if payloads or members
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report, without the events, as JSON values, by names in camelCase."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return _on_the_wire(
            values
            | {
                "notes": list(self.notes),
                "reasons": list(self.reasons),
                "headline": self.headline,
                "events": len(self.events),
                "runs": [_on_the_wire(asdict(run)) for run in self.runs],
                "shown": _on_the_wire(asdict(self.shown)),
                "erasures": [_on_the_wire(asdict(erasure)) for erasure in self.erasures],
                "checkpoint": self.checkpoint and _on_the_wire(self.checkpoint),
            }
        )


def _on_the_wire(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return members by their names in camelCase; what is below them stays as it is."""
    return {
        first + "".join(map(str.capitalize, others)): value
        for (first, *others), value in ((name.split("_"), value) for name, value in values.items())
    }
