"""Select one workflow from a log, and sign it as a bundle."""

from __future__ import annotations

import base64
import inspect
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final

from evidence import canonical, projection
from evidence.bundle import (
    BUNDLE_VERSION,
    EvidenceBundle,
    content_hash,
    head_of_tree,
    signed_bytes,
)
from evidence.chain import RunHead, follow
from evidence.completeness import PROOF, Completeness, cited, verify_path
from evidence.digest import algorithm_of, digest
from evidence.disclosure import open_payload, parse_disclosure, referenced
from evidence.disclosure_policy import DisclosurePolicy, TypeDisclosure
from evidence.errors import EvidenceError, Incomplete, LogDamaged, ProofRefused, UnknownWorkflow
from evidence.header import Header, check_header, format_timestamp
from evidence.heads import run_state
from evidence.heads_map import Entry
from evidence.projection import ERASING
from evidence.scope import Targets, is_target, targets_of
from evidence.signing import EvidenceSigner
from evidence.workflow_source import CompletenessSource, WorkflowEvent, WorkflowProof, WorkflowSource


class EvidenceBundler:
    """Makes signed bundles of single workflows out of one event log.

    Every link and digest is checked while a bundle is made: what does not hold together is refused,
    and never signed.

    Args:
        log: The event log, or whatever else can `read_workflow`.
        signer: Makes the signature.
        clock: Returns the time in nanoseconds since 1970; `time.time_ns` unless a test sets it.
        new_id: Returns a new ULID for each bundle.
    """

    def __init__(
        self,
        log: WorkflowSource,
        signer: EvidenceSigner,
        *,
        clock: Callable[[], int] = time.time_ns,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._log = log
        self._signer = signer
        self._clock = clock
        self._new_id = new_id or _new_ulid

    async def bundle(
        self,
        workflow_id: str,
        *,
        tenant: str | None = None,
        disclose: DisclosurePolicy | None = None,
        as_of_checkpoint: bool = False,
    ) -> EvidenceBundle:
        """Return a signed bundle of a whole workflow, as the log has it now.

        Where the newest checkpoint has all of it, the bundle carries the proof that it is whole.

        Args:
            workflow_id: The workflow.
            tenant: Its tenant; None for a workflow that has none.
            disclose: What to show of it, and why not the rest; None for all that is still held.
            as_of_checkpoint: Leave out what came after the newest checkpoint, so that it can be
                shown that the rest is whole.

        Raises:
            UnknownWorkflow: The log has no such workflow.
            Incomplete: `as_of_checkpoint`, and no checkpoint has the workflow, or an erasure came after it.
            LogDamaged: The log's record of it does not hold together.
        """
        proof = await self._read_proof(workflow_id, tenant)  # before the events: so they are all there
        events = await self._log.read_workflow(workflow_id, tenant)
        if not events:
            raise UnknownWorkflow(workflow_id, tenant)
        if as_of_checkpoint:
            events = _as_of_checkpoint(events, proof)
        tree = _Selection(events, disclose or DisclosurePolicy.everything()).tree()
        tree |= {
            "version": BUNDLE_VERSION,
            "bundleId": self._new_id(),
            "workflowId": workflow_id,
            "createdAt": format_timestamp(self._clock()),
            "generator": {"name": "tracebus", "version": _version()},
            "proofs": {},
        }
        if tenant is not None:
            tree["tenantId"] = tenant
        if proof is not None and all(proof.has(event.header) for event in events):
            _add_proof(tree, proof.proof)
        return await self._sign(tree)

    async def _read_proof(self, workflow_id: str, tenant: str | None) -> WorkflowProof | None:
        if not isinstance(self._log, CompletenessSource):
            return None
        return await self._log.read_completeness(workflow_id, tenant)

    async def _sign(self, tree: dict[str, Any]) -> EvidenceBundle:
        tree["contentHash"] = content_hash(tree)
        made = self._signer.sign(signed_bytes(tree))
        value = await made if inspect.isawaitable(made) else made
        tree["signature"] = {
            "alg": self._signer.alg,
            "value": base64.b64encode(value).decode(),
            "keyId": self._signer.key_id,
        }
        return EvidenceBundle.from_json(tree)


_SIGN: Final = "tracebus log checkpoint --key NAME.key"


def _as_of_checkpoint(
    events: Sequence[WorkflowEvent], proof: WorkflowProof | None
) -> Sequence[WorkflowEvent]:
    """Return the events that a checkpoint has, if the others can be left out."""
    if proof is None:
        raise Incomplete("checkpoint", f"the log has none that shows this workflow: sign one first, {_SIGN}")
    kept = [event for event in events if proof.has(event.header)]
    if not kept:
        raise LogDamaged("checkpoint", "the log has none of the events of this workflow that its tree has")
    for event in events:
        if event.header.get("type") in ERASING and not proof.has(event.header):
            # What it erased would be shown, or be missing without a reason.
            raise Incomplete("checkpoint", f"an erasure came after it: sign another one first, {_SIGN}")
    return kept


def _add_proof(tree: dict[str, Any], proof: Completeness) -> None:
    """Put the proof that a bundle is whole into it, if it is a proof of that."""
    checkpoint = proof.stated_checkpoint()
    try:
        verify_path(proof, checkpoint, Entry.of(tree["workflowId"], tree.get("tenantId"), head_of_tree(tree)))
    except ProofRefused as error:
        raise LogDamaged(
            "checkpoint", f"the log's tree has other events of this workflow: {error}"
        ) from error
    tree["scope"]["checkpoint"] = cited(checkpoint)
    tree["proofs"][PROOF] = proof.to_json()


class _Selection:
    """One workflow's events on their way into a bundle."""

    def __init__(self, events: Sequence[WorkflowEvent], policy: DisclosurePolicy) -> None:
        self._policy = policy
        self._for_type = cache(policy.for_type)
        self._erasures = _erasures(events)
        self._heads: dict[str, RunHead] = {}
        self._events: list[dict[str, Any]] = []
        self._disclosures: dict[str, list[str]] = {}
        self._withheld: dict[str, list[dict[str, Any]]] = {"payloads": [], "disclosures": []}
        self._erased: dict[str, list[dict[str, Any]]] = {"payloads": [], "disclosures": []}
        self._redactable: list[str] = []
        for event in events:
            self._add(event)

    def tree(self) -> dict[str, Any]:
        """Return the members of the bundle that the events decide."""
        first = self._events[0]
        scope = {
            "log": first["log"],
            "digestAlgorithm": algorithm_of(first["contentHash"]),
            "runs": [run_state(head) for head in self._heads.values()],
            "withheld": self._withheld,
            "erased": self._erased,
            "redactable": self._redactable,
        }
        if self._policy.digest is not None:
            scope["disclosurePolicy"] = self._policy.digest
        return {
            "scope": scope,
            "events": self._events,
            **projection.views(self._events),
            "disclosures": self._disclosures,
        }

    def _add(self, event: WorkflowEvent) -> None:
        header = event.header
        place = f"event {header.get('seq')} of run {header.get('runId')}"
        try:
            check_header(header, place)
            self._heads[header["runId"]] = follow(self._heads.get(header["runId"]), header)
            is_erased = header["type"] not in ERASING and self._erased_by(header["id"], None) is not None
            if event.payload is None or is_erased:
                self._add_erased(header, place)
            else:
                self._add_payload(header, event.payload, event.disclosures, place)
        except LogDamaged:
            raise
        except EvidenceError as error:
            raise LogDamaged(place, str(error).removeprefix(f"{place}: ")) from error

    def _erased_by(self, event_id: str, digests: list[str] | None) -> str | None:
        """Return the event that records that a payload, or these disclosures of it, were erased."""
        return next((by for by, named in self._erasures if is_target(named, event_id, digests)), None)

    def _add_erased(self, header: Header, place: str) -> None:
        by = self._erased_by(header["id"], None)
        if by is None:
            raise LogDamaged(place, "payload is missing, and no event records that it was erased")
        self._events.append(dict(header))
        self._erased["payloads"].append({"eventId": header["id"], "by": by})

    def _add_payload(self, header: Header, payload: bytes, disclosures: Sequence[str], place: str) -> None:
        if digest(payload, algorithm_of(header["contentHash"])) != header["contentHash"]:
            raise LogDamaged(place, "payload was changed: it does not hash to contentHash")
        committed = canonical.loads_canonical(payload)
        if not isinstance(committed, dict):
            raise LogDamaged(place, "payload is not an object")
        if hidden := projection.missing_plain(header["type"], committed):
            raise LogDamaged(place, f"payload does not show its {hidden[0]}")
        of_type = self._for_type(header["type"])
        if of_type.withheld is not None:
            self._events.append(dict(header))
            self._withheld["payloads"].append({"eventId": header["id"], "reason": of_type.withheld})
            return
        self._events.append({**header, "payload": committed})
        if of_type.is_redactable:
            self._redactable.append(header["id"])
        self._add_disclosures(header["id"], of_type, committed, disclosures, place)

    def _add_disclosures(
        self,
        event_id: str,
        of_type: TypeDisclosure,
        committed: dict[str, Any],
        disclosures: Sequence[str],
        place: str,
    ) -> None:
        parsed = [parse_disclosure(text, place) for text in disclosures]
        held = [item for item in parsed if self._erased_by(event_id, [item.digest]) is None]
        if len(held) < len(parsed):  # recorded as erased, and not yet gone
            held = referenced(committed, held)
        erased = hidden = open_payload(committed, held, place).hidden
        self._check_erased(event_id, erased, place)
        kept, reasons = of_type.select(committed, held)
        if reasons:
            hidden = open_payload(committed, kept, place).hidden  # what a reader of the bundle can see
        for reason, listed in _grouped(sorted(hidden - erased), reasons.get):
            self._withheld["disclosures"].append({"eventId": event_id, "digests": listed, "reason": reason})
        for by, listed in _grouped(sorted(hidden & erased), lambda item: self._erased_by(event_id, [item])):
            self._erased["disclosures"].append({"eventId": event_id, "digests": listed, "by": by})
        if kept:
            self._disclosures[event_id] = [item.text for item in kept]

    def _check_erased(self, event_id: str, digests: Collection[str], place: str) -> None:
        for digest_text in digests:
            if self._erased_by(event_id, [digest_text]) is None:
                reason = f"disclosure {digest_text} is missing, and no event records its erasure"
                raise LogDamaged(place, reason)


def _grouped(
    digests: Iterable[str], key: Callable[[str], str | None]
) -> Iterable[tuple[str | None, list[str]]]:
    groups: dict[str | None, list[str]] = {}
    for digest_text in digests:
        groups.setdefault(key(digest_text), []).append(digest_text)
    return groups.items()


def _erasures(events: Iterable[WorkflowEvent]) -> list[tuple[str, Targets]]:
    """Return which events record erasures, and of what; damage shows when these events are added."""
    erasures: list[tuple[str, Targets]] = []
    for event in events:
        if event.payload is None or event.header.get("type") not in ERASING:
            continue
        with suppress(EvidenceError):
            check_header(event.header, "event")
            payload = canonical.loads_canonical(event.payload)
            is_sealed = digest(event.payload, algorithm_of(event.header["contentHash"]))
            if isinstance(payload, dict) and is_sealed == event.header["contentHash"]:
                erasures.append((event.header["id"], targets_of(payload)))
    return erasures


def _version() -> str:
    from importlib.metadata import version  # loads the e-mail package, and with it sockets

    return version("tracebus")


def _new_ulid() -> str:
    from ulid import ULID  # costs more than the rest of the package to import

    return str(ULID())
