"""The directory anchor: a log's public files in a folder (c2sp.org/tlog-tiles; schemas/log-v1.md, 8).

::

    checkpoint                        the newest checkpoint
    checkpoints/0000000000000000006   each, by its size
    tile/…                            hashes, of which anybody makes proofs

Files hold hashes only, so the folder may be published. It is worth something where the log's host cannot
change it afterwards: another host's, a backup's, a repository's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from tracebus.anchor.base import CHECKPOINTS, PublishedLog, checkpoint_path
from tracebus.errors import AnchorRefused, AnchorUnavailable
from tracebus.files import sync_folder, write_whole
from tracebus.transparency.anchorings import Receipt

_NEWEST: Final = "checkpoint"


class DirectoryAnchor:
    """Writes checkpoints and tiles into a folder that is there: a mount that is missing is not made up.

    Each file appears whole, and the checkpoint after all that it needs. A file is never changed, but
    `checkpoint`: where another one is, the log or the folder was rewritten.

    Args:
        path: The folder.
        name: The anchor's name; the path unless given.
    """

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or os.fspath(path)

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any], folder: Path) -> Self:
        """Make the anchor of a table: `path`."""
        paths = {"path": folder / options["path"]} if "path" in options else {}
        return cls(**{**options, **paths, "name": name})

    def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
        """Write what the folder does not have yet of a log and its checkpoint.

        Raises:
            AnchorUnavailable: The folder is not there, or cannot be written.
            AnchorRefused: The folder has another history of the log.
        """
        try:
            if not self.path.is_dir():
                raise AnchorUnavailable(f"{self.path}: there is no such folder")
            newest = self._check_continues(log, self.path / _NEWEST)
            found = max(newest, self._check_continues(log, self._largest()))
            log.check_kept(last, found, str(self.path))
            for path, content in log.files(found):
                self._keep(path, content)
            if found < log.size or not found:
                self._keep(checkpoint_path(log.size), log.note)
            if newest < log.size:
                _write(self.path / _NEWEST, log.note)
        except OSError as error:
            raise AnchorUnavailable(f"{self.path}: {error}") from error
        return Receipt(log.size)

    def newest(self) -> bytes | None:
        """Return the largest checkpoint that the folder has."""
        try:
            return self._largest().read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnchorUnavailable(f"{self.path}: {error}") from error

    def _largest(self) -> Path:
        """Return where the largest checkpoint is: `checkpoint` may be an older one, for a moment."""
        folder = self.path / CHECKPOINTS
        names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
        return folder / max((name for name in names if name.isdecimal()), default=_NEWEST)

    def _check_continues(self, log: PublishedLog, path: Path) -> int:
        """Return the size of the checkpoint in a file, 0 for none, if the log goes on from it."""
        try:
            note = path.read_bytes()
        except FileNotFoundError:
            return 0
        return log.check_continues(note, str(path)).size

    def _keep(self, name: str, content: bytes) -> None:
        """Write a file that is never to change, if it is not there."""
        path = self.path / name
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            _write(path, content)
            return
        if found != content:
            reason = "is there, and is not what the log has: the log or this folder was rewritten"
            raise AnchorRefused(f"{path}: {reason}; nothing was replaced")


def _write(path: Path, content: bytes) -> None:
    """Write a file, and make the folders above it."""
    for folder in _make_folders(path.parent):
        sync_folder(folder)
    write_whole(path, content)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it, and return those in which one was made."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [each.parent for each in missing]
