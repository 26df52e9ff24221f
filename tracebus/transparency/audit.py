"""Audit: compute a log's tree from a copy of it, and compare it with what the log signed.

It does what `schemas/log-v1.md` section 9.3 says, in one pass over the leaves: each event's header, link
and payload; each leaf; the heads map at each heads leaf; the root at the size of each checkpoint. What
only another part of the copy could show is named as not done.

Memory is flat: run states and the nodes of the heads map are in a scratch folder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from evidence.chain import RunHead, follow, head_of
from evidence.checkpoint import Checkpoint
from evidence.digest import algorithm_of, digest
from evidence.errors import (
    DigestMismatch,
    EvidenceError,
    Incomplete,
    LogDamaged,
    MalformedInput,
    Unexpected,
    Unverifiable,
)
from evidence.header import check_header
from evidence.merkle import Frontier, event_leaf, leaf_hash
from evidence.receipt import ReceiptCheck
from evidence.tiles import TileReader
from tracebus.eventlog import AnyEvent
from tracebus.transparency.copies import EVENT_KINDS, Leaf, LogCopy
from tracebus.transparency.store import TreeStore
from tracebus.transparency.writer import TreeWriter, changing

_LEAF_SIZE: Final = 33
_HEADS_KIND: Final = b"\x02"
_HEADS_IN_MEMORY: Final = 20_000
_PROGRESS_LEAVES: Final = 1000


class Claim(NamedTuple):
    """A checkpoint whose signatures were verified: where it was found, and which witnesses cosigned it."""

    source: str
    checkpoint: Checkpoint
    cosigned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was verified of a copy of a log, and what was found.

    Attributes:
        origin: The log.
        first: The leaves before this one were taken for granted.
        size: The tree that was computed has so many leaves.
        root: Its root hash; None where nothing tells where the heads leaves stand.
        events: How many events were verified.
        uncovered: How many of them no checkpoint covers.
        checks: What was done, and what was not.
        claims: The checkpoints that the tree was compared with.
        fault: The first thing that does not hold; None if all does.
        missing: Why it cannot be told whether the copy is the log that was signed; empty if it can.
    """

    origin: str
    first: int
    size: int
    root: bytes | None
    events: int
    uncovered: int
    checks: tuple[ReceiptCheck, ...]
    claims: tuple[Claim, ...]
    fault: EvidenceError | None
    missing: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """``verified``, ``failed`` or ``incomplete``."""
        if self.fault is not None and not isinstance(self.fault, Incomplete | Unverifiable):
            return "failed"
        return "incomplete" if self.fault is not None or self.missing else "verified"

    @property
    def reason(self) -> str:
        """Why the verdict is not *verified*; else empty."""
        return "; ".join([*([str(self.fault)] if self.fault else []), *self.missing])


def audit(
    copy: LogCopy,
    origin: str,
    claims: Sequence[Claim],
    scratch: Path,
    *,
    first: int = 0,
    last: int | None = None,
    progress: Callable[[int], object] = lambda leaves: None,
) -> AuditReport:
    """Verify a copy of a log against checkpoints of it.

    Args:
        copy: The copy.
        origin: Whose log it must be.
        claims: Checkpoints of the log, from the copy and from elsewhere, whose signatures were verified.
        scratch: An empty folder, for what must not be held in memory.
        first: Begin behind so many leaves, which an earlier audit has covered: the tree before is taken
            from the tiles, and heads maps are not computed.
        last: End behind so many leaves.
        progress: Called now and then with the number of leaves read.

    Raises:
        EventLogUnavailable: The copy cannot be read now.
        EventLogRefused: The copy is damaged as a file.
        ValueError: There are no tiles to begin behind `first` leaves with.
    """
    if first and (copy.fetch is None or not copy.has_places):
        raise ValueError("expected tiles: without them the tree cannot be taken up in its middle")
    with ExitStack() as stack:
        maps = None
        if copy.has_events and not first:
            maps = stack.enter_context(changing(TreeStore(scratch / "maps"), origin))
        return _Audit(copy, origin, claims, maps, first, last).run(progress)


class _Audit:
    """One audit.

    In one that began in the middle of the log, a run begins with the first event of it that is met, and is
    forgotten when many others have come since.
    """

    def __init__(
        self,
        copy: LogCopy,
        origin: str,
        claims: Sequence[Claim],
        maps: TreeWriter | None,
        first: int,
        last: int | None,
    ) -> None:
        self._copy = copy
        self._origin = origin
        self._claims = deque(sorted(claims, key=lambda claim: claim.checkpoint.size))
        self._total = len(claims)
        self._maps = maps
        self._first = first
        self._last = last
        self._tiles_size = copy.size or 0
        self._tiles = TileReader(copy.fetch, self._tiles_size) if copy.fetch else None
        self._frontier = Frontier()
        self._heads: dict[str, RunHead] = {}
        self._kind: bytes | None = None
        self._compared: list[Claim] = []
        self._events = self._in_tree = self._covered = 0
        self._payloads = self._absent = self._map_count = self._heads_leaves = self._hashes = 0

    def run(self, progress: Callable[[int], object]) -> AuditReport:
        fault = None
        try:
            self._begin()
            for count, leaf in enumerate(self._copy.leaves(self._first, self._last), 1):
                self._take(leaf)
                if count % _PROGRESS_LEAVES == 0:
                    progress(count)
            self._finish()
        except EvidenceError as error:
            fault = error
        return AuditReport(
            origin=self._origin,
            first=self._first,
            size=self._frontier.size,
            root=self._frontier.root() if self._copy.has_places else None,
            events=self._events,
            uncovered=max(self._events, self._in_tree) - self._covered,
            checks=tuple(self._checks()),
            claims=tuple(self._compared),
            fault=fault,
            missing=() if fault else tuple(self._missing()),
        )

    def _begin(self) -> None:
        if self._first:
            assert self._tiles is not None  # noqa: S101 (`audit` has checked it)
            if self._first > self._tiles_size:
                raise Incomplete(f"leaf {self._first}", f"the copy has {self._tiles_size} leaves")
            self._frontier = Frontier.at(self._first, self._tiles)
        self._compare()

    def _take(self, leaf: Leaf) -> None:
        place = f"leaf {self._frontier.size}"
        data = leaf.data
        if leaf.event is not None:
            head = self._take_event(leaf.event)
            found = event_leaf(head.event_hash)
            if data not in (None, found):
                reason = f"the published entry is not that of {_named(leaf.event)}: lines before it are"
                raise DigestMismatch(place, f"{reason} missing, or it was moved or changed")
            data = found
            if self._maps is not None:
                self._maps.take_event(head)
        if not leaf.in_tree:
            return
        if data is None or len(data) != _LEAF_SIZE or data[:1] not in (*EVENT_KINDS, _HEADS_KIND):
            raise MalformedInput(place, "expected a leaf of 33 bytes, of an event or a heads map")
        if data[:1] == _HEADS_KIND:
            self._take_heads(data, place)
        else:
            self._take_kind(data[:1], place)
        self._append(leaf_hash(data))

    def _take_kind(self, kind: bytes, place: str) -> None:
        if self._kind not in (None, kind):
            raise MalformedInput(place, "the log's events are hashed with two functions")
        self._kind = kind
        self._in_tree += 1

    # Events

    def _take_event(self, event: AnyEvent) -> RunHead:
        header = event._header  # it is not kept, and not changed
        place = _named(event)
        check_header(header, place)
        if header["log"] != self._origin:
            raise Unexpected(place, f"expected log {self._origin}, found {header['log']}")
        before = self._head_before(header["runId"])
        head = head_of(header) if before is None and self._first else follow(before, header)
        if len(self._heads) >= _HEADS_IN_MEMORY:
            del self._heads[next(iter(self._heads))]
        self._heads.pop(head.run_id, None)
        self._heads[head.run_id] = head
        self._take_payload(event, place)
        self._events += 1
        return head

    def _head_before(self, run_id: str) -> RunHead | None:
        head = self._heads.get(run_id)
        run = self._maps.run(run_id) if head is None and self._maps is not None else None
        return head if run is None else run.to_head(self._origin)

    def _take_payload(self, event: AnyEvent, place: str) -> None:
        payload = event.payload_json
        if payload is None:
            self._absent += 1
            return
        expected = event.content_hash
        found = digest(payload, algorithm_of(expected))
        if found != expected:
            raise DigestMismatch(place, f"its payload hashes to {found}, its contentHash is {expected}")
        self._payloads += 1

    # Heads maps

    def _take_heads(self, data: bytes, place: str) -> None:
        self._heads_leaves += 1
        if self._maps is None:
            return
        expected = self._maps.update_map()
        if data[1:] != expected:
            raise DigestMismatch(
                place,
                f"its heads map has root {data[1:].hex()}, the events before it give {expected.hex()}: it "
                "leaves out a workflow, a run or its newest events, or has others",
            )
        self._maps.take_heads(expected)
        self._map_count += 1

    # Tree

    def _append(self, value: bytes) -> None:
        for level, index, expected in self._frontier.append(value):
            if self._tiles is None or level % 8 or (index + 1) << level > self._tiles_size:
                continue
            found = self._tiles(level, index)
            self._hashes += 1
            if found != expected:
                place = f"hash {index} of tile level {level // 8}"
                raise DigestMismatch(place, f"expected {expected.hex()}, found {found.hex()}")
        self._compare()

    def _compare(self) -> None:
        """Compare the tree with the checkpoints of its size."""
        while self._claims and self._claims[0].checkpoint.size <= self._frontier.size:
            claim = self._claims.popleft()
            size, expected = claim.checkpoint.size, claim.checkpoint.root
            if size < self._frontier.size:
                continue
            found = self._frontier.root()
            if found != expected:
                raise DigestMismatch(
                    f"checkpoint of size {size} ({claim.source})",
                    f"the log signed root {expected.hex()}, the copy has {found.hex()}",
                )
            self._compared.append(claim)
            self._covered = self._in_tree

    def _finish(self) -> None:
        if self._last is not None or not self._copy.has_places:
            return
        have = self._frontier.size
        if self._claims:
            claim = self._claims[-1]
            raise LogDamaged(
                f"checkpoint of size {claim.checkpoint.size} ({claim.source})",
                f"the copy has {have} leaves: it is older than the checkpoint, or was cut",
            )
        if self._tiles_size > have:
            raise LogDamaged("tree", f"its tiles are of {self._tiles_size} leaves, the copy has {have}")

    # Report

    def _missing(self) -> Iterable[str]:
        if not self._copy.has_places:
            yield "nothing tells where the heads leaves stand, so there is no tree to compare: give --tiles"
        elif not any(claim.checkpoint.size > self._first for claim in self._compared):
            yield "no checkpoint of this log was compared, so it may be another history than it signed"

    def _checks(self) -> Iterable[ReceiptCheck]:
        hashes_only = "" if self._copy.has_events else "the copy has hashes only"
        yield ReceiptCheck("events", self._events, hashes_only or (self._first and _EARLIER) or "")
        absent = f"{self._absent} are absent" if self._absent else ""
        yield ReceiptCheck("payloads", self._payloads, hashes_only or absent)
        no_tree = "" if self._copy.has_places else "the places of the heads leaves are not known"
        yield ReceiptCheck("leaves", self._frontier.size - self._first, no_tree)
        left = self._heads_leaves - self._map_count
        no_maps = f"{left} were not computed: that takes all events before" if left else ""
        yield ReceiptCheck("heads maps", self._map_count, no_tree or no_maps)
        yield ReceiptCheck("tile hashes", self._hashes, "" if self._tiles else "the copy has no tiles")
        others = self._total - len(self._compared)
        not_compared = f"{others} are of other sizes" if others else ""
        yield ReceiptCheck("checkpoints", len(self._compared), not_compared)


_EARLIER: Final = "events before the first leaf were taken for granted"


def _named(event: AnyEvent) -> str:
    header = event._header
    return f"event {header.get('seq')} of run {header.get('runId')}"
