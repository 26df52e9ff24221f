"""Fsck: re-derive every hash of a log, and name the first fault.

It reads the log run by run and checks each event as a verifier would: header, chain, payload,
disclosures. What it shows is that the log holds together. It cannot show that the tail of a run, or
a whole run, was not cut off: only a bundle, a head or a checkpoint kept elsewhere can.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from evidence import canonical
from evidence.chain import RunHead, follow
from evidence.digest import hasher
from evidence.disclosure import digest_of, digests_in, open_payload
from evidence.errors import ChainBroken, EvidenceError, MalformedInput
from evidence.header import Header, check_header
from evidence.projection import ERASING
from evidence.scope import Targets, is_target, targets_of
from tracebus.errors import TracebusError
from tracebus.eventlog.base import AnyEvent, ErasableLog, EventLog, EventQuery

_MAX_WORKFLOWS: Final = 16

FaultKind = Literal["changed", "missing", "forked", "torn"]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that does not hold together.

    ========  ==========================================================================
    changed   a header, a payload or a disclosure is not what was sealed
    missing   an event, a payload or a disclosure is gone, and nothing records why
    forked    two events follow the same one
    torn      the store itself is damaged or altered: pages, rows, tables, triggers
    ========  ==========================================================================

    `position` is None where the fault is not at one event.
    """

    kind: FaultKind
    place: str
    reason: str
    position: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What was checked, and the first fault; `fault` is None where all holds together.

    `unscrubbed` is how many erased payloads and disclosures may still be in the bytes of the log's files,
    which is no fault: they go when the log is scrubbed, or opened for writing.
    """

    events: int
    runs: int
    open_runs: int
    erased_payloads: int
    erased_disclosures: int
    unscrubbed: int
    fault: Fault | None


def fsck(log: EventLog, progress: Callable[[int], object] = lambda events: None) -> FsckReport:
    """Check a whole log; memory stays flat.

    Args:
        log: The log.
        progress: Called now and then with the number of events checked so far.

    Raises:
        EventLogUnavailable: The log cannot be read now.
        EventLogRefused: It is no event log.
    """
    return _Fsck(log, progress).run()


class _Fsck:
    def __init__(self, log: EventLog, progress: Callable[[int], object]) -> None:
        self._log = log
        self._progress = progress
        self._origin = log.origin
        self._hash = hasher(log.digest_algorithm)
        self._head: RunHead | None = None
        self._head_position: int | None = None
        self._events = 0
        self._runs = 0
        self._open_runs = 0
        self._erased_payloads = 0
        self._erased_disclosures = 0
        self._erasures = _Erasures(log)

    def run(self) -> FsckReport:
        return FsckReport(
            fault=self._find_fault(),
            events=self._events,
            runs=self._runs,
            open_runs=self._open_runs,
            erased_payloads=self._erased_payloads,
            erased_disclosures=self._erased_disclosures,
            unscrubbed=self._count_unscrubbed(),
        )

    def _count_unscrubbed(self) -> int:
        try:
            return self._log.unscrubbed() if isinstance(self._log, ErasableLog) else 0
        except TracebusError:  # what is wrong with the file is the fault
            return 0

    def _find_fault(self) -> Fault | None:
        try:
            return self._read_all()
        except TracebusError as error:
            place = (
                "store" if self._head is None else f"after event {self._head.seq} of run {self._head.run_id}"
            )
            return Fault("torn", place, f"cannot be read on: {error}")

    def _read_all(self) -> Fault | None:
        for reason in self._ask_store("check_store"):
            return Fault("torn", "store", reason)
        for event in self._log.scan():
            fault = self._check(event)
            if fault is not None:
                return fault
            self._events += 1
            if self._events % 1000 == 0:
                self._progress(self._events)
        self._end_run()
        self._progress(self._events)
        for reason in self._ask_store("check_leftovers"):
            return Fault("missing", "store", reason)
        return None

    def _ask_store(self, question: str) -> Iterator[str]:
        """Yield what a log that can check its own store finds wrong with it."""
        check = getattr(self._log, question, None)
        return iter(()) if check is None else check()

    def _check(self, event: AnyEvent) -> Fault | None:
        header = event._header  # it is not kept, and not changed
        place = f"event {header.get('seq')} of run {header.get('runId')}"
        try:
            check_header(header, place)
        except MalformedInput as error:
            field = error.place.removeprefix(place).strip()
            return Fault(
                "changed", place, f"{field}: {error.reason}" if field else error.reason, event.position
            )
        return self._check_link(event, header, place) or self._check_payload(event, header, place)

    def _check_link(self, event: AnyEvent, header: Header, place: str) -> Fault | None:
        if self._head is not None and self._head.run_id != header["runId"]:
            self._end_run()
        head, seq = self._head, header["seq"]
        expected = 0 if head is None else head.seq + 1
        if seq < expected:
            return Fault("forked", place, "the run has two events at this place", event.position)
        if seq > expected:
            gone = f"event {expected}" if seq == expected + 1 else f"events {expected} to {seq - 1}"
            return Fault("missing", place, f"{gone} of the run is not there before it", event.position)
        if header["log"] != self._origin:
            return Fault("changed", place, f"is of log {header['log']}", event.position)
        try:
            self._head = follow(head, header)
        except ChainBroken as error:
            named = header.get("parentHash")
            if head is not None and named != head.event_hash:
                place = f"event {head.seq} of run {head.run_id}"
                reason = (
                    f"its header hashes to {head.event_hash}, and event {seq} names {named} as its "
                    "parent: one of the two was changed"
                )
                return Fault("changed", place, reason, self._head_position)
            return Fault("changed", place, error.reason, event.position)
        self._head_position = event.position
        self._runs += head is None
        return None

    def _end_run(self) -> None:
        if self._head is not None and not self._head.closed:
            self._open_runs += 1
        self._head = None

    def _check_payload(self, event: AnyEvent, header: Header, place: str) -> Fault | None:
        payload = event.payload_json
        if payload is None:
            if self._erasures.name(event, None):
                self._erased_payloads += 1
                return None
            return Fault("missing", place, "its payload is gone, and no event records why", event.position)
        found = self._hash(payload)
        if found != header["contentHash"]:
            reason = f"its payload hashes to {found}, its contentHash is {header['contentHash']}"
            return Fault("changed", place, reason, event.position)
        try:
            hidden = _hidden(canonical.loads_canonical(payload), event.disclosures, place)
        except MalformedInput:
            return Fault("changed", place, "its payload is not canonical JSON", event.position)
        except EvidenceError as error:
            reason = str(error).removeprefix(f"{place}: ")
            return Fault("changed", place, f"its disclosures: {reason}", event.position)
        for digest in hidden:
            if not self._erasures.name(event, digest):
                reason = f"the disclosure of {digest} is gone, and no event records why"
                return Fault("missing", place, reason, event.position)
            self._erased_disclosures += 1
        return None


class _Erasures:
    """What the log's workflows record as erased; of the few that were asked for last it is kept."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._by_workflow: dict[tuple[str, str | None], list[Targets]] = {}

    def name(self, event: AnyEvent, digest: str | None) -> bool:
        """Tell whether a disclosure of an event, or its whole payload (None), is recorded as erased."""
        digests = None if digest is None else [digest]
        return any(is_target(targets, event.id, digests) for targets in self._of_workflow_of(event))

    def _of_workflow_of(self, event: AnyEvent) -> list[Targets]:
        workflow = event.workflow_id, event.tenant_id
        if workflow not in self._by_workflow:
            if len(self._by_workflow) >= _MAX_WORKFLOWS:
                self._by_workflow.clear()
            self._by_workflow[workflow] = self._read(*workflow)
        return self._by_workflow[workflow]

    def _read(self, workflow_id: str, tenant_id: str | None) -> list[Targets]:
        types = tuple(sorted(ERASING))
        records = self._log.query(EventQuery(workflow_id=workflow_id, tenant_id=tenant_id, types=types))
        try:
            return [targets_of(record.opened()) for record in records]
        except (EvidenceError, TracebusError):
            return []


def _hidden(committed: Any, disclosures: tuple[str, ...], place: str) -> Collection[str]:
    """Return the digests in a payload that no disclosure is held for; each one held must be of a digest.

    Raises:
        DisclosureRefused: A disclosure is of no digest, or the payload's digests are malformed.
    """
    if all(map(str.isascii, disclosures)):
        held, named = set(map(digest_of, disclosures)), digests_in(committed)
        if held == set(named) and len(held) == len(named) == len(disclosures):
            return ()
    return open_payload(committed, disclosures, place).hidden
