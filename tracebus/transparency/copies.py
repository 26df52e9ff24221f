"""Copies of a log, leaf by leaf, for whoever audits it (`tracebus.transparency.audit`).

====================  ==============================================================================
`SqliteCopy`          an event log: events, places of the heads leaves, tiles and checkpoints
`JsonlCopy`           a JSON Lines export: events in the order of positions. Where the heads leaves
                      stand it does not tell: that, published entries do
`TilesCopy`           published files (tlog-tiles): hashes, and events where an anchor keeps them
====================  ==============================================================================

Nothing that a copy says is verified here, but that it can be read.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from evidence import canonical
from evidence.checkpoint import parse_checkpoint
from evidence.errors import Incomplete, LogDamaged, MalformedInput
from evidence.merkle import heads_leaf
from evidence.note import format_note, parse_note
from evidence.tiles import FULL, Fetch, Tile, format_path, parse_entries
from tracebus.event import TraceEvent
from tracebus.eventlog import AnyEvent, SqliteEventLog
from tracebus.eventlog.base import EventQuery
from tracebus.transparency.anchorings import Anchorings

EVENT_KINDS: Final = (b"\x01", b"\x03")
"""How the data of an event's leaf begins (schemas/log-v1.md section 4)."""

MAX_LINE: Final = 64 * 1024 * 1024
"""How long a line of an export may be, in bytes."""


class Leaf(NamedTuple):
    """A leaf of a copy.

    `event` is None for a heads leaf, and where only hashes are at hand. `data` is what the leaf is said to
    be; None where only the event says it. With `in_tree` False it is an event that is in no tree yet.
    """

    event: AnyEvent | None
    data: bytes | None
    in_tree: bool = True


class Kept(NamedTuple):
    """A checkpoint that is kept somewhere, as a note, and timestamps of it."""

    note: bytes
    timestamps: tuple[bytes, ...] = ()


class LogCopy(Protocol):
    """A copy of a log.

    Attributes:
        fetch: Gets tiles, which are compared with the tree; None if there are none.
        size: How many leaves the copy says to have; None if it cannot tell.
        has_events: Whether it has events, and not hashes alone.
        has_places: Whether it tells where the heads leaves stand: without that there is no tree.
    """

    fetch: Fetch | None
    size: int | None
    has_events: bool
    has_places: bool

    def leaves(self, first: int, last: int | None) -> Iterator[Leaf]:
        """Yield the leaves from an index up to another, or to the end, and then the events behind them.

        Raises:
            EvidenceError: The copy cannot be read on.
        """
        ...

    def checkpoints(self) -> list[Kept]:
        """Return the checkpoints that the copy holds."""
        ...


class SqliteCopy:
    """A SQLite event log, or a copy of one, that is only read."""

    has_events = True
    has_places = True

    def __init__(self, log: SqliteEventLog) -> None:
        self.log = log
        self._heads = log.heads_leaves()
        store = log.tree_store
        has_store = store.exists()
        self.fetch: Fetch | None = store.fetch if has_store else None
        self.size: int | None = store.state_of(log.origin).size if has_store else None

    def leaves(self, first: int, last: int | None) -> Iterator[Leaf]:
        """Yield events in the order of positions, and the heads leaves among them."""
        ordinal = sum(leaf.position + index < first for index, leaf in enumerate(self._heads))
        index, behind = first, self._heads[ordinal:]
        events = self.log.query(EventQuery(after=first - ordinal))
        for end, root in behind:
            while index < end + ordinal and (last is None or index < last):
                event = next(events, None)
                position = index + 1 - ordinal
                if event is None or event.position != position:
                    raise LogDamaged(f"leaf {index}", f"the event at position {position} is gone")
                yield Leaf(event, None)
                index += 1
            if last is not None and index >= last:
                return
            yield Leaf(None, heads_leaf(root))
            index, ordinal = index + 1, ordinal + 1
        if last is None:
            yield from (Leaf(event, None, in_tree=False) for event in events)

    def checkpoints(self) -> list[Kept]:
        """Return those of its tree store, the newest with what anchors brought back for it."""
        store = self.log.tree_store
        notes = store.checkpoints() if store.exists() else []
        if not notes:
            return []
        newest = parse_note(notes.pop())
        size, brought = parse_checkpoint(newest.text).size, Anchorings(store)
        newest = newest.with_signatures(*brought.cosignatures(size))
        return [*map(Kept, notes), Kept(format_note(newest), brought.timestamps(size))]


class TilesCopy:
    """A log's published files, as some `Fetch` gets them: from a folder, or from an object store.

    Args:
        fetch: Gets a file by its path.
        size: How many leaves there are, where no file ``checkpoint`` says it.
        events: Whether there are events, too, as the S3 anchor writes them: for ``tile/entries/000`` a
            file ``events/000`` with a line for each leaf.
    """

    has_places = True

    def __init__(self, fetch: Fetch, *, size: int | None = None, events: bool = False) -> None:
        self.fetch: Fetch | None = fetch
        self.has_events = events
        self._fetch = fetch
        self._note = fetch("checkpoint")
        self.size = size if self._note is None else parse_checkpoint(parse_note(self._note).text).size

    def leaves(self, first: int, last: int | None) -> Iterator[Leaf]:
        """Yield the published entries, and their events."""
        end = self.size if last is None else last
        if end is None:
            raise Incomplete("checkpoint", "is not there, so how many leaves there are cannot be told")
        size = max(self.size or 0, end)
        for index in range(first // FULL, -(-end // FULL)):
            start = index * FULL
            width = min(FULL, size - start)
            entries = self._bundle(index, width)
            events = self._segment(index, width, entries) if self.has_events else [None] * len(entries)
            found = map(Leaf, events, entries)
            yield from islice(found, max(0, first - start), min(width, end - start))

    def _bundle(self, index: int, width: int) -> list[bytes]:
        path, data, count = self._file("tile/entries", index, width)
        entries = parse_entries(data, path)
        if len(entries) != count:
            raise MalformedInput(path, f"expected {count} entries, found {len(entries)}")
        return entries

    def _segment(self, index: int, width: int, entries: list[bytes]) -> list[AnyEvent | None]:
        path, data, _ = self._file("events", index, width)
        lines = data.split(b"\n")
        if lines.pop() or len(lines) < width:
            raise MalformedInput(path, f"expected {width} lines, found {len(lines)}")
        return [_read_line(*item, path) for item in zip(lines[:width], entries, strict=False)]

    def _file(self, folder: str, index: int, width: int) -> tuple[str, bytes, int]:
        """Return path, content and width of a file; of the full one, where a partial one was deleted."""
        for found in dict.fromkeys((width, FULL)):
            path = format_path(Tile(None, index, found)).replace("tile/entries", folder)
            data = self._fetch(path)
            if data is not None:
                return path, data, found
        path = format_path(Tile(None, index, width)).replace("tile/entries", folder)
        raise Incomplete(path, "is not there")

    def checkpoints(self) -> list[Kept]:
        """Return the one that is published."""
        return [] if self._note is None else [Kept(self._note)]


class JsonlCopy:
    """A JSON Lines export (`sinks.jsonl`), with the published files, or without.

    Events stand in it in the order of positions, if its sink was there from the log's first event on and
    never dropped any. After a restart some may stand twice; the second is passed over. A last line that
    has no end is passed over, too: it is being written.

    Args:
        path: The file.
        tiles: The log's published files, which tell where the heads leaves stand.
        scratch: A folder for what must not be held in memory.
    """

    has_events = True

    def __init__(self, path: Path, tiles: TilesCopy | None, scratch: Path) -> None:
        self._path = path
        self._tiles = tiles
        self._scratch = scratch
        self.fetch = tiles.fetch if tiles else None
        self.size = tiles.size if tiles else None
        self.has_places = tiles is not None
        self.repeated = 0

    def leaves(self, first: int, last: int | None) -> Iterator[Leaf]:
        """Yield the leaves that the entries name, each event's with the next line."""
        events = self._events()
        if self._tiles is not None:
            yield from self._matched(self._tiles, events, first, last)
        if last is None:
            yield from (Leaf(event, None, in_tree=False) for event in events)

    def _matched(
        self, tiles: TilesCopy, events: Iterator[AnyEvent], first: int, last: int | None
    ) -> Iterator[Leaf]:
        for index, leaf in enumerate(tiles.leaves(0, last)):
            event = None
            if leaf.data is not None and leaf.data[:1] in EVENT_KINDS:
                event = next(events, None)
                if event is None:
                    raise Incomplete(f"leaf {index}", f"{self._path.name} has no more events")
            if index >= first:
                yield Leaf(event, leaf.data)

    def _events(self) -> Iterator[AnyEvent]:
        with closing(sqlite3.connect(self._scratch / "seen", isolation_level=None)) as seen:
            seen.execute("PRAGMA journal_mode = OFF")
            seen.execute("PRAGMA synchronous = OFF")
            seen.execute("CREATE TABLE seen (hash TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
            seen.execute("BEGIN")
            for number, line in self._lines():
                event = _read(line, number)
                if seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (event.event_hash,)).rowcount:
                    yield event
                else:
                    self.repeated += 1

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise MalformedInput(f"line {number}", f"expected at most {MAX_LINE} bytes")
                if line.endswith(b"\n"):
                    yield number, line[:-1]

    def checkpoints(self) -> list[Kept]:
        """Return those of the published files."""
        return self._tiles.checkpoints() if self._tiles else []


def _read_line(line: bytes, entry: bytes, path: str) -> AnyEvent | None:
    """Return the event of a line of a segment; None for a heads leaf, which the entry tells."""
    if entry[:1] not in EVENT_KINDS:
        return None
    tree = canonical.loads(line)
    if not isinstance(tree, dict) or not isinstance(tree.get("header"), dict):
        raise MalformedInput(path, "expected an event, header and payload, on the line of its leaf")
    payload = {"payload": tree["payload"]} if "payload" in tree else {}
    return TraceEvent.from_wire(tree["header"] | payload)


def _read(line: bytes, number: int) -> AnyEvent:
    try:
        return TraceEvent.from_wire(line)
    except MalformedInput as error:
        raise MalformedInput(f"line {number} {error.place}".rstrip(), error.reason) from None


def folder_fetch(folder: str | os.PathLike[str]) -> Fetch:
    """Return what gets a log's files from a folder.

    Raises:
        OSError: When it is called: a file is there, and cannot be read.
    """
    root = Path(folder)

    def fetch(path: str) -> bytes | None:
        try:
            with (root / path).open("rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    return fetch
