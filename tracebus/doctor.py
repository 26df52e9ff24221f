"""Doctor: is this installation what it should be?

Three import packages belong to one distribution, and two of their names are general (ADR 0002):
another distribution, or a folder of the same name where Python looks first, can take their place.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = ("evidence", "sinks", "tracebus")
GROUPS: Final = ("tracebus.sinks", "tracebus.eventlogs")
_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what, what was found, and what is wrong with it, if anything."""

    what: str
    found: str
    fault: str | None = None


def examine() -> Iterator[Finding]:
    """Yield a finding for each package, entry point and library that everything else rests on."""
    yield Finding("tracebus", f"{version('tracebus')}, Python {platform.python_version()}")
    yield from _packages()
    yield from _entry_points()
    fault = None if sqlite3.sqlite_version_info >= _OLDEST_SQLITE else "older than 3.37, has no STRICT tables"
    yield Finding("SQLite", sqlite3.sqlite_version, fault)


def _packages() -> Iterator[Finding]:
    home = _folder("tracebus")
    owners = packages_distributions()
    for name in PACKAGES:
        folder = _folder(name)
        others = sorted(set(owners.get(name, ())) - {"tracebus"})
        fault = None
        if folder is None:
            fault = "cannot be found: install tracebus again"
        elif home is None or folder.parent != home.parent:
            fault = "not beside tracebus: another folder or distribution of this name comes first"
        elif others:
            fault = f"also written by {', '.join(others)}: uninstall that, then install tracebus again"
        yield Finding(f"package {name}", str(folder), fault)


def _folder(name: str) -> Path | None:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _entry_points() -> Iterator[Finding]:
    for group in GROUPS:
        for entry in entry_points(group=group):
            fault = None
            try:
                entry.load()
            except Exception as error:
                fault = f"cannot be loaded: {error!r}"
            yield Finding(f"{group} {entry.name}", entry.value, fault)
