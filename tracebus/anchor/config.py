"""The file of anchors: which anchors a log has, in TOML, a table for each.

::

    [archive]
    kind = "directory"
    path = "/mnt/archive/payments"

    [north]
    kind = "witness"
    url = "https://witness.example/north"
    key = "witness.example/north+8228031e+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU"

A table's name is the anchor's, and what it brought is kept under that. Kinds are the entry points of the
group ``tracebus.anchors``; the other values are options of the kind.
"""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from evidence.errors import KeyRefused
from tracebus.anchor.base import Anchor, AnchorType

GROUP: Final = "tracebus.anchors"


def load_anchors(path: str | os.PathLike[str]) -> list[Anchor]:
    """Return the anchors that a file names, in its order.

    Raises:
        ValueError: The file is not as it should be; the message names the place.
        OSError: The file, or one that it names, cannot be read.
    """
    file = Path(path)
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if not tables:
        raise ValueError(f"{file}: expected a table for each anchor, found none")
    return [_make(f"{file}: [{name}]", name, table, file.parent) for name, table in tables.items()]


def _make(place: str, name: str, table: Any, folder: Path) -> Anchor:
    kinds = {entry.name: entry for entry in entry_points(group=GROUP)}
    kind = table.get("kind") if isinstance(table, dict) else None
    if kind not in kinds:
        raise ValueError(f"{place}: expected kind = one of {', '.join(sorted(kinds))}, found {kind!r:.80}")
    options = {key: value for key, value in table.items() if key != "kind"}
    anchor_type: AnchorType = kinds[kind].load()
    try:
        return anchor_type.from_options(name, options, folder)
    except (TypeError, ValueError, KeyRefused) as error:
        reason = str(error).rpartition("__init__() ")[2]
        raise ValueError(f"{place}: {reason}") from error
