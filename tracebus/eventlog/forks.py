"""Forks: a SQLite file that was open when a process was forked is not used in the new one.

SQLite keeps its locks by process and by file, and does not notice a fork: in the child it takes locks for
held that are the parent's, and the parent may remove the write-ahead log under it. So whoever keeps a
connection open is registered here; in the child it lets go of it, and the file is not opened again.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from pathlib import Path
from typing import Final, Protocol

from tracebus.errors import EventLogUnavailable

_Inode = tuple[int, int]


class ConnectionOwner(Protocol):
    """Keeps a connection to a SQLite file open."""

    def let_go(self) -> list[tuple[Path, sqlite3.Connection]]:
        """Forget the connections, in a child process, without closing them; return them."""
        ...


_owners: weakref.WeakSet[ConnectionOwner] = weakref.WeakSet()
# Kept for ever: to close an inherited connection would be to use it.
_inherited: Final[dict[_Inode, list[sqlite3.Connection]]] = {}


def register(owner: ConnectionOwner) -> None:
    """Have an owner let go of its connections in each process that is forked from this one."""
    _owners.add(owner)


def check_not_inherited(path: Path) -> None:
    """Check that a file was not open in the process that this one was forked from.

    Raises:
        EventLogUnavailable: It was.
    """
    if _inherited and path.exists() and _inode(path) in _inherited:
        raise EventLogUnavailable(
            f"{path}: was open when this process was forked, and cannot be used in it; fork before the "
            'log is opened, or start processes anew (multiprocessing: the "spawn" method)'
        )


def _inode(path: Path) -> _Inode:
    status = path.stat()
    return status.st_dev, status.st_ino


def _forked() -> None:
    for owner in list(_owners):
        for path, connection in owner.let_go():
            try:
                _inherited.setdefault(_inode(path), []).append(connection)
            except OSError:  # the file is gone, and so nobody can open it
                _inherited.setdefault((0, 0), []).append(connection)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forked)
