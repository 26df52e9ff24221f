"""What an anchor is: a place outside, where a log's checkpoints are kept, signed again or dated.

A log that is rewritten, by whoever holds its files and its key, has another tree. It is noticed by
whoever kept a checkpoint of the old one, so an anchor is worth as much as it is out of the log's reach.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from evidence.checkpoint import Checkpoint, open_checkpoint, timestamped_bytes
from evidence.errors import EvidenceError, LogDamaged
from evidence.merkle import consistency_proof, event_leaf, heads_leaf, leaf_hash
from evidence.note import Note, NoteKey, open_note, parse_note
from evidence.tiles import new_files
from tracebus.errors import AnchorRefused
from tracebus.eventlog.base import AnyEvent, EventLog, EventQuery, HeadsLeaf, HeadsStore
from tracebus.transparency.anchorings import Receipt
from tracebus.transparency.store import TreeStore

CHECKPOINTS: Final = "checkpoints/"
"""Where anchors that keep files keep all checkpoints."""


class PublishedLog:
    """A log as of a checkpoint that it signed: what an anchor is given. May be read from any thread.

    Args:
        log: The event log, which keeps heads leaves.
        store: Its tree store.
        log_key: The key that verifies its checkpoints, named as its origin.
        note: The checkpoint, a note.
        former: Keys that the log had before; an older checkpoint may be by one of them.

    Attributes:
        log_key: The key that the checkpoint is by.
        checkpoint: What it says.
        note: The checkpoint with that key's signature alone, the bytes that are published and timestamped.

    Raises:
        SignatureRefused: The note is not signed by a key of the log.
    """

    def __init__(
        self,
        log: EventLog,
        store: TreeStore,
        log_key: NoteKey,
        note: bytes,
        *,
        former: Iterable[NoteKey] = (),
    ) -> None:
        self._log = log
        self._store = store
        self._keys = tuple(dict.fromkeys((log_key, *former)))
        self.log_key, self.checkpoint = self._open(note)
        self.note: bytes = timestamped_bytes(parse_note(note), self.log_key)

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self.checkpoint.size

    @property
    def signed_note(self) -> Note:
        """The checkpoint's note, parsed."""
        return parse_note(self.note)

    def files(self, old: int) -> Iterator[tuple[str, bytes]]:
        """Yield the tlog-tiles files that this tree has and that of its first `old` leaves has not.

        They hold hashes only.

        Raises:
            LogDamaged: An event is not the one that the tree has.
        """
        return new_files(old, self.size, self._store.reader(self.size), self._leaf_data)

    def consistency(self, old: int) -> list[bytes]:
        """Return the proof that this tree begins with that of its first `old` leaves; empty for none."""
        return consistency_proof(old, self.size, self._store.reader(self.size)) if old else []

    def entries(self, start: int, end: int) -> Iterator[AnyEvent | HeadsLeaf]:
        """Yield what stands at each leaf from an index up to another.

        Raises:
            LogDamaged: It is not what the tree has.
        """
        read = self._store.reader(self.size)
        heads_before = bisect_left(self._heads_at, start)
        events = self._log.query(EventQuery(after=start - heads_before, limit=end - start))
        for index in range(start, end):
            is_heads = heads_before < len(self._heads_at) and self._heads_at[heads_before] == index
            entry = self._heads[heads_before] if is_heads else next(events, None)
            heads_before += is_heads
            if entry is None or leaf_hash(_data(entry)) != read(0, index):
                raise LogDamaged(f"leaf {index}", "the log no longer has what its tree has there")
            yield entry

    def check_continues(self, older: bytes, place: str) -> Checkpoint:
        """Check that this log goes on from a checkpoint that was found somewhere, and return it.

        Raises:
            AnchorRefused: It is no checkpoint by this log's key, or of another history.
        """
        try:
            _, found = self._open(older)
        except EvidenceError as error:
            raise AnchorRefused(
                f"{place}: holds what is no checkpoint of {self.log_key.name}: {error}"
            ) from error
        size = self._store.state().size
        if found.size > size:
            reason = f"has a checkpoint of size {found.size}, and the log has {size} leaves: it lost events"
            raise AnchorRefused(f"{place}: {reason}, or was restored from an older copy")
        if self._store.root(found.size) != found.root:
            reason = f"its checkpoint of size {found.size} is of another history than the log's"
            raise AnchorRefused(f"{place}: {reason}: events that it covers were changed")
        return found

    def check_kept(self, last: Receipt | None, found: int, place: str) -> None:
        """Check that a place still has what it gave a receipt for; `found` is the size that it has.

        Raises:
            AnchorRefused: It has lost it.
        """
        if last is not None and found < last.size:
            has = f"has one of size {found}" if found else "has none"
            reason = f"took a checkpoint of size {last.size}, and {has} now: it was cut, or is another place"
            raise AnchorRefused(f"{place}: {reason}; another place is to have a name of its own")

    def has(self, size: int) -> bool:
        """Tell whether the log has come to this size, perhaps since the checkpoint."""
        return size <= self._store.state().size

    def _open(self, note: bytes) -> tuple[NoteKey, Checkpoint]:
        """Verify a checkpoint, and return it with the key that it is by."""
        signers = [key for key, _ in open_note(note, self._keys).signed_by]
        key = next(key for key in self._keys if key in signers)
        return key, open_checkpoint(note, key)

    def _leaf_data(self, start: int, end: int) -> Iterator[bytes]:
        return map(_data, self.entries(start, end))

    @cached_property
    def _heads(self) -> list[HeadsLeaf]:
        return self._log.heads_leaves() if isinstance(self._log, HeadsStore) else []

    @cached_property
    def _heads_at(self) -> list[int]:
        """The index of each heads leaf (ADR 0011)."""
        return [leaf.position + ordinal for ordinal, leaf in enumerate(self._heads)]


def _data(entry: AnyEvent | HeadsLeaf) -> bytes:
    return heads_leaf(entry.map_root) if isinstance(entry, HeadsLeaf) else event_leaf(entry.event_hash)


def checkpoint_path(size: int) -> str:
    """Return where anchors that keep files keep the checkpoint of a size; names sort as sizes do."""
    return f"{CHECKPOINTS}{size:019d}"


class Anchor(Protocol):
    """A place outside that takes a log's checkpoints."""

    @property
    def name(self) -> str:
        """What it is called among the log's anchors; what it brought is kept under this name."""
        ...

    def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
        """Bring a checkpoint there, and return what was given for it; blocking, in a worker thread.

        It is called again after a failure, of which it may not be known how far it came, and when
        nothing is new: to have done so already is no error. It returns in the end, and does not try
        again by itself.

        Args:
            log: The log, as of the checkpoint.
            last: The receipt for the largest checkpoint that it has had, if that was kept.

        Raises:
            AnchorUnavailable: It cannot be reached, or its answer is none.
            AnchorRefused: It has another history of the log.
        """
        ...


@runtime_checkable
class ReadableAnchor(Protocol):
    """An anchor that gives back the newest checkpoint that it has, so that nothing is signed against it."""

    def newest(self) -> bytes | None:
        """Return the note, as it was found; None if there is none.

        Raises:
            AnchorUnavailable: It cannot be read now.
        """
        ...


@runtime_checkable
class CheckableAnchor(Protocol):
    """An anchor that can be asked whether it protects what it is given."""

    def check(self) -> list[str]:
        """Try what must be impossible there, and return a line for each thing that was found to be so.

        Raises:
            AnchorRefused: Something is possible that must not be.
            AnchorUnavailable: It cannot be tried now.
        """
        ...


class AnchorType(Protocol):
    """What an entry point of the group ``tracebus.anchors`` leads to: a class of anchors."""

    def from_options(self, name: str, options: Mapping[str, Any], folder: Path) -> Anchor:
        """Make an anchor of a table in a file of anchors; relative paths begin at the folder.

        Raises:
            TypeError, ValueError: An option is missing, unknown or wrong.
        """
        ...
