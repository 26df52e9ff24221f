"""A file of conversations: plain or gzip, a line each, identified by the digest of its bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from evidence.errors import MalformedInput
from tracebus.importers._chat_format import Conversation, parse_conversation

MAX_LINE_BYTES: Final = 64 * 1024 * 1024

_GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(slots=True)
class ChatFile:
    """An open file of conversations; memory holds a line at a time.

    `position` is how many of its `size` bytes have been read. `digest` is over the bytes as they
    are in the file, compressed or not; `stamp` tells whether the file was changed since.
    """

    name: str
    digest: str
    size: int
    file: BufferedReader
    stamp: tuple[int, int]
    position: int = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ChatFile:
        """Open a file, and read it once for its digest.

        Raises:
            OSError: It cannot be read.
        """
        file = Path(path).open("rb")  # noqa: SIM115 (close() closes it)
        try:
            stamp = _stamp(file)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
        except BaseException:
            file.close()
            raise
        # A name that is no Unicode has no place in an event.
        name = os.fsencode(Path(path).name).decode("utf-8", "replace")
        return cls(name, f"sha256:{digest}", size, file, stamp)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def conversations(self) -> Iterator[Conversation]:
        """Yield the conversations; blank lines are passed over.

        Raises:
            MalformedInput: A line is no conversation, or one that stood there before, or cannot be
                unpacked; it names file and line. Or the file was changed while it was read.
        """
        first_line: dict[str, int] = {}
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            place = f"{self.name}, line {number}"
            try:
                conversation = parse_conversation(line)
            except MalformedInput as error:
                raise MalformedInput(place, str(error)) from None
            first = first_line.setdefault(conversation.conversation_id, number)
            if first != number:
                reason = f"conversation {conversation.conversation_id} stands in line {first} already"
                raise MalformedInput(place, reason)
            yield conversation

    def _lines(self) -> Iterator[bytes]:
        is_gzip = self.file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        self.file.seek(0)
        if is_gzip:
            with gzip.GzipFile(fileobj=self.file) as unpacked:
                yield from self._read_lines(unpacked)
        else:
            yield from self._read_lines(self.file)
        if self.stamp != _stamp(self.file):
            raise MalformedInput(self.name, "was changed while it was imported; its digest is another now")

    def _read_lines(self, lines: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            try:
                line = lines.readline(MAX_LINE_BYTES + 1)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                reason = f"the gzip data is damaged or cut off: {error}"
                raise MalformedInput(f"{self.name}, line {number}", reason) from None
            self.position = self.file.tell()
            if len(line) > MAX_LINE_BYTES:
                reason = f"expected lines of at most {MAX_LINE_BYTES} bytes"
                raise MalformedInput(f"{self.name}, line {number}", reason)
            if not line:
                return
            yield line


def _stamp(file: BufferedReader) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
