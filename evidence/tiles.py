r"""A log's tree in files: tiles of hashes, and bundles of entries (c2sp.org/tlog-tiles).

::

    tile/0/x001/x234/067     the 256 leaf hashes from leaf 1234067·256 on: 8,192 bytes
    tile/1/000.p/112         the hashes of 112 full tiles of level 0
    tile/entries/000         the data of leaves 0 to 255, each after its length, uint16 big-endian

The last tile of a level may be partial, ``.p/`` and its width. A file never changes; a partial one may be
deleted when the full one is there. Whoever publishes a tree writes what `new_files` yields, and then the
checkpoint. Whoever follows the log gets files by a `Fetch`, makes proofs from tiles (`TileReader`), or
rebuilds the tree from its entries and compares all that is published with it (`audit_tiles`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from evidence.errors import DigestMismatch, Incomplete, MalformedInput
from evidence.merkle import HASH_SIZE, Frontier, HashReader, leaf_hash, subtree_root

FULL: Final = 256  # hashes in a full tile, entries in a full bundle

Fetch = Callable[[str], bytes | None]
"""Returns the file at a path, or None if there is none."""

EntryReader = Callable[[int, int], Iterable[bytes]]
"""Returns the data of the leaves from an index up to another."""

_TILES_IN_MEMORY: Final = 64
_PATH: Final = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """Which tile, or which bundle of entries.

    Attributes:
        level: Each hash is that of 256^level leaves; None for a bundle of entries.
        index: The place among those of its level.
        width: How many hashes or entries it has.
    """

    level: int | None
    index: int
    width: int = FULL


def format_path(tile: Tile) -> str:
    """Return the path of a tile, below the log's prefix."""
    level = "entries" if tile.level is None else tile.level
    thousands, rest = divmod(tile.index, 1000)
    path = f"{rest:03d}"
    while thousands:
        thousands, rest = divmod(thousands, 1000)
        path = f"x{rest:03d}/{path}"
    partial = "" if tile.width == FULL else f".p/{tile.width}"
    return f"tile/{level}/{path}{partial}"


def parse_path(path: str) -> Tile:
    """Return the tile that is at a path, which `format_path` wrote.

    Raises:
        MalformedInput: It is not the path of a tile in its one spelling.
    """
    match = _PATH.fullmatch(path)
    if match:
        level, index, width = match.groups()
        tile = Tile(
            None if level == "entries" else int(level),
            int(index.replace("x", "").replace("/", "")),
            int(width or FULL),
        )
        if format_path(tile) == path and tile.width <= FULL:
            return tile
    raise MalformedInput("tile path", f"expected tile/LEVEL/INDEX[.p/WIDTH], found {path!r:.80}")


def format_entries(entries: Iterable[bytes]) -> bytes:
    """Return the bundle of these entries.

    Raises:
        ValueError: An entry has more than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > 65_535:
            raise ValueError(f"entry: expected at most 65535 bytes, found {len(entry)}")
        parts += (len(entry).to_bytes(2), entry)
    return b"".join(parts)


def parse_entries(data: bytes, place: str) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        MalformedInput: It does not end where an entry does.
    """
    entries: list[bytes] = []
    end = 0
    while end < len(data):
        start = end + 2
        end = start + int.from_bytes(data[end:start])
        if end > len(data):
            raise MalformedInput(place, f"entry {len(entries)} ends beyond the bundle's {len(data)} bytes")
        entries.append(data[start:end])
    return entries


def new_files(old: int, size: int, read: HashReader, entries: EntryReader) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file that a tree of `size` leaves has and one of `old` leaves has not.

    One file is held at a time. They may be written in any order, but before the checkpoint of that size.
    """
    for index, width in _new_tiles(0, old, size):
        start = index * FULL
        yield format_path(Tile(None, index, width)), format_entries(entries(start, start + width))
    for level in range(64):
        for index, width in _new_tiles(level, old, size):
            hashes = (read(8 * level, at) for at in range(index * FULL, index * FULL + width))
            yield format_path(Tile(level, index, width)), b"".join(hashes)


def published_entries(fetch: Fetch, size: int) -> Iterator[bytes]:
    """Yield the data of each leaf of the tree of `size` leaves, as published: it has not been verified.

    Raises:
        Incomplete: A bundle is not there.
        MalformedInput: A bundle cannot be read, or has not as many entries as it should.
    """
    for index, width in _new_tiles(0, 0, size):
        found, data = _fetch(fetch, Tile(None, index, width))
        place = format_path(found)
        entries = parse_entries(data, place)
        if len(entries) != found.width:
            raise MalformedInput(place, f"expected {found.width} entries, found {len(entries)}")
        yield from entries[:width]


class TileReader:
    """A `HashReader` for the tree of `size` leaves, from tiles, of which it keeps some in memory.

    The hashes are those that are published: a proof made from wrong ones will not verify.

    Raises:
        Incomplete: A tile is not there.
        MalformedInput: A tile is not as long as it should be.
    """

    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._tile = lru_cache(_TILES_IN_MEMORY)(self._read_tile)

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        if level < 0 or not 0 <= index < self._size >> level:
            raise ValueError(f"a tree of {self._size} leaves has no hash {index} of level {level}")
        tile_level, height = divmod(level, 8)
        tile_index, at = divmod(index << height, FULL)
        tile = self._tile(tile_level, tile_index)
        return subtree_root(
            [tile[i * HASH_SIZE : (i + 1) * HASH_SIZE] for i in range(at, at + (1 << height))]
        )

    def _read_tile(self, level: int, index: int) -> bytes:
        width = min(FULL, (self._size >> 8 * level) - index * FULL)
        found, data = _fetch(self._fetch, Tile(level, index, width))
        expected = found.width * HASH_SIZE
        if len(data) != expected:
            raise MalformedInput(format_path(found), f"expected {expected} bytes, found {len(data)}")
        return data


def audit_tiles(fetch: Fetch, size: int, root: bytes) -> None:
    """Rebuild a tree from its published entries, and compare every tile and the root; memory is flat.

    Raises:
        DigestMismatch: A tile or the root is not that of the entries.
        Incomplete: A file is not there.
        MalformedInput: A file cannot be read.
    """
    published = TileReader(fetch, size)
    frontier = Frontier()
    for data in published_entries(fetch, size):
        for level, index, expected in frontier.append(leaf_hash(data)):
            if level % 8 == 0 and (found := published(level, index)) != expected:
                place = f"hash {index} of tile level {level // 8}"
                raise DigestMismatch(place, f"expected {expected.hex()}, found {found.hex()}")
    if frontier.root() != root:
        raise DigestMismatch(f"tree of {size}", f"expected root {root.hex()}, found {frontier.root().hex()}")


def _new_tiles(level: int, old_size: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield index and width of the tiles of a level that a tree of `size` leaves has and the old has not."""
    old, new = old_size >> 8 * level, size >> 8 * level
    if old < new:
        for index in range(old // FULL, (new - 1) // FULL + 1):
            yield index, min(FULL, new - index * FULL)


def _fetch(fetch: Fetch, tile: Tile) -> tuple[Tile, bytes]:
    """Return a tile and its file; the full one, where a partial one has been deleted."""
    for found in dict.fromkeys((tile, replace(tile, width=FULL))):
        data = fetch(format_path(found))
        if data is not None:
            return found, data
    raise Incomplete(format_path(tile), "is not there")
