"""JSON Lines: an event a line, appended to a file.

A line is the event in its committed form, which verifies and holds no sensitive member::

    {"contentHash":"sha256:…", …, "payload":{"_salt":"…","_sd":["aIsY…"],"callId":"c1","tool":"wire"}}

What the sink's `Subscription` discloses stands beside the payload, in the clear, each member with the
salt of its digest::

    {…, "disclosures":[{"name":"arguments","salt":"M9tg…","value":{"amount":5000}}], "payload":{…}}

So a search finds names and values, the line still verifies (`tracebus verify-log` reads it, and refuses
a value that was changed, which it could not tell of members put back into the payload), and whoever
has to erase downstream drops one member, ``disclosures``, of each line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread

from evidence import MalformedInput, canonical
from tracebus.errors import SinkUnavailable
from tracebus.eventlog import AnyEvent


class JsonlSink:
    """Appends events to a file, a line each: canonical JSON.

    A batch is on the disk when it is confirmed, so after a crash nothing is missing; some lines may
    stand twice, with the same ``id``. A line that a crash cut short is taken away, and written again.

    Args:
        path: The file; it is made if it is not there.
        name: The name by which the sink's cursor is kept; it says the path unless given.
        durable: Go on from the cursor after a restart; otherwise write only what is published while
            the sink is attached.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        durable: bool = True,
    ) -> None:
        self.path = Path(path)
        self.name = name or f"jsonl:{self.path}"
        self.durable = durable
        self._file: BinaryIO | None = None
        self._limiter: anyio.CapacityLimiter | None = None

    @property
    def _thread(self) -> anyio.CapacityLimiter:
        """A worker thread of the sink's own: publishers that wait for it may hold all others."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1)
        return self._limiter

    async def write(self, batch: Sequence[AnyEvent]) -> None:
        """Append a batch, and wait until the disk has it.

        Raises:
            SinkUnavailable: The file cannot be written now.
        """
        lines = b"".join(canonical.dumps(event.to_wire(disclosed=True)) + b"\n" for event in batch)
        await anyio.to_thread.run_sync(self._append, lines, limiter=self._thread)

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
    """Open a file to append to it, at the beginning of a line.

    A last line without its end is what a crash left of a write: it is cut off, for its event comes
    again. If it is whole JSON all the same, it stays, and gets its end.
    """
    file = path.open("a+b")
    size = file.seek(0, os.SEEK_END)
    start = _last_line_start(file, size)
    if start < size:
        file.seek(start)
        if _is_json(file.read()):
            file.write(b"\n")
        else:
            file.truncate(start)
    file.seek(0, os.SEEK_END)
    return file


def _last_line_start(file: BinaryIO, size: int) -> int:
    """Return where the line begins that the file ends in; its size if it ends with a line's end."""
    end = size
    while end > 0:
        begin = max(0, end - 65536)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _is_json(line: bytes) -> bool:
    try:
        canonical.loads(line)
    except MalformedInput:
        return False
    return True
