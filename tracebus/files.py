"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tracebus.ids import new_ulid


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or replace one, so that it is whole or not there, also after a crash or a loss of power.

    Raises:
        OSError: It cannot be written; what was there is there.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Give a file to write, which is there as `write_whole` promises once the block ends without an error.

    Args:
        path: The file.
        mode: Its permissions, less what the umask takes away.

    Raises:
        OSError: It cannot be written; what was there is there.
    """
    temporary = path.with_name(f".{path.name}.{new_ulid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            yield file
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
