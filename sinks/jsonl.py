"""JSON Lines: an event a line, appended to a file.

A line is the event in its committed form, which verifies and holds no sensitive member in the clear;
with ``opened=True`` its sensitive members stand in the clear, and whoever keeps such a file has to
erase from it what is erased from the log.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread

from evidence import canonical
from tracebus.errors import SinkUnavailable
from tracebus.eventlog import AnyEvent


class JsonlSink:
    """Appends events to a file, a line each: canonical JSON.

    A batch is on the disk when it is confirmed, so after a crash nothing is missing; some lines may
    stand twice, with the same ``id``. A line that a crash cut short is ended, and written again.

    Args:
        path: The file; it is made if it is not there.
        opened: Write sensitive members in the clear.
        name: The name by which the sink's cursor is kept; it says the path unless given.
        durable: Go on from the cursor after a restart; otherwise write only what is published while
            the sink is attached.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        opened: bool = False,
        name: str | None = None,
        durable: bool = True,
    ) -> None:
        self.path = Path(path)
        self.name = name or f"jsonl:{self.path}"
        self.durable = durable
        self._opened = opened
        self._file: BinaryIO | None = None

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        """Append a batch, and wait until the disk has it.

        Raises:
            SinkUnavailable: The file cannot be written now.
        """
        lines = b"".join(canonical.dumps(event.to_wire(opened=self._opened)) + b"\n" for event in batch)
        await anyio.to_thread.run_sync(self._append, lines)

    async def aclose(self) -> None:
        """Close the file."""
        if self._file is not None:
            await anyio.to_thread.run_sync(self._file.close)
            self._file = None

    def _append(self, lines: bytes) -> None:
        try:
            if self._file is None:
                self._file = _open_at_line_start(self.path)
            start = self._file.tell()
            try:
                self._file.write(lines)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError:
                self._abandon(start)
                raise
        except OSError as error:
            raise SinkUnavailable(f"{self.path}: {error.strerror}") from error

    def _abandon(self, start: int) -> None:
        """Take back what a failed write may have left, so that the next try does not double it."""
        file, self._file = self._file, None
        if file is not None:
            try:
                os.ftruncate(file.fileno(), start)
            finally:
                file.close()

    def __repr__(self) -> str:
        return f"JsonlSink({os.fspath(self.path)!r})"


def _open_at_line_start(path: Path) -> BinaryIO:
    """Open a file to append to it; a last line that was cut short is ended first."""
    file = path.open("ab")
    if file.tell():
        with path.open("rb") as reader:
            reader.seek(-1, os.SEEK_END)
            if reader.read(1) != b"\n":
                file.write(b"\n")
    return file
