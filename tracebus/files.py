"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tracebus.ids import new_ulid


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or replace one, so that it is whole or not there, also after a crash or a loss of power.

    Raises:
        OSError: It cannot be written; what was there is there.
    """
    temporary = path.with_name(f".{path.name}.{new_ulid()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what happened in a folder durable; not every system can open a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
