"""The S3 anchor: checkpoints, tiles and perhaps events, under Object Lock in compliance mode (ADR 0012).

::

    checkpoints/0000000000000000006   each checkpoint, by its size
    tile/…                            hashes (c2sp.org/tlog-tiles)
    events/000.p/6                    a line for each leaf of tile/entries/000.p/6, in JSON Lines:
        {"header":{…},"payload":{…}}    an event, in committed form; without payload if that was erased
        {"heads":"<base64>"}            the root of the heads map, in a heads leaf

In compliance mode nobody deletes an object, or shortens its retention, before that ends: so the provider
says, and `S3Anchor.check` tries it. A newer version, or a delete marker, may still be laid over an object;
the version ids in receipts lead to what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import orjson

from evidence import canonical
from evidence.checkpoint import format_hash
from evidence.digest import algorithm_of, hasher
from evidence.errors import LogDamaged
from evidence.tiles import FULL, parse_path
from tracebus.anchor._bucket import COMPLIANCE, LockedBucket
from tracebus.anchor.base import CHECKPOINTS, PublishedLog, checkpoint_path
from tracebus.errors import AnchorRefused
from tracebus.eventlog.base import AnyEvent, HeadsLeaf
from tracebus.transparency.anchorings import Receipt

_ENTRIES: Final = "tile/entries/"
_EVENTS: Final = "events/"
_DAYS_PER_YEAR: Final = 365.25


class S3Anchor:
    """Puts what is published of a log into a bucket with Object Lock, each object once and locked.

    Credentials are found by boto3. They need to put objects and their retention, and to get and list objects
    and versions; they should be allowed no more.

    Args:
        bucket: The bucket. Object Lock is on, best from its creation.
        prefix: What keys begin with; one log has one prefix to itself.
        entries: Whether events go there, too: headers and committed payloads, of those that the bucket has
            no tiles of yet. A payload stays there when it is erased in the log; it has digests in place of
            sensitive members, never their values.
        years: How long objects are locked.
        name: The anchor's name; ``s3://bucket/prefix`` unless given.
        endpoint: The URL of a store that is not Amazon's.
        region: The region; boto3 knows where to look unless given.

    Raises:
        ValueError: The years are none.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        entries: bool = False,
        years: float = 7,
        name: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
    ) -> None:
        if not 0 < years <= 100:
            raise ValueError(f"years: expected more than 0, and up to 100, found {years}")
        self.name = name or f"s3://{bucket}/{prefix}"
        self._bucket = LockedBucket(self.name, bucket, prefix, endpoint, region)
        self._entries = entries
        self._retention = timedelta(days=years * _DAYS_PER_YEAR)

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any], folder: Path) -> Self:
        """Make the anchor of a table: `bucket`; `prefix`, `entries`, `years`, `endpoint`, `region`."""
        return cls(**{**options, "name": name})

    def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
        """Put what the bucket does not have yet of a log, and its checkpoint last.

        The receipt's details are the version ids of what was put, by path.

        Raises:
            AnchorUnavailable: The bucket cannot be reached, or does not let us.
            AnchorRefused: The bucket has another history of the log, or does not lock what it is given.
            LogDamaged: An event is not the one that the tree has, or its payload not the one of its header.
        """
        found, versions = self._check_continues(log, last)
        if found >= log.size and versions:
            return last if last is not None and last.size == log.size else Receipt(log.size, details=versions)
        versions = {}
        for path, content in log.files(found):
            versions[path] = self._keep(path, content)
            if self._entries and path.startswith(_ENTRIES):
                segment = _EVENTS + path.removeprefix(_ENTRIES)
                versions[segment] = self._keep(segment, _format_segment(log, path))
        path = checkpoint_path(log.size)
        versions[path] = self._keep(path, log.note)
        return Receipt(log.size, details=versions)

    def read(self, path: str, version: str) -> bytes:
        """Return the object at a path, as of a version id that a receipt holds.

        Raises:
            AnchorUnavailable: It cannot be read.
        """
        return self._bucket.get(path, version).content

    def newest(self) -> bytes | None:
        """Return the largest checkpoint that the bucket has."""
        return next(reversed(self.checkpoints()), None)

    def checkpoints(self) -> list[bytes]:
        """Return all checkpoints that the bucket has, also those that were deleted since, by size.

        Raises:
            AnchorUnavailable: They cannot be read.
        """
        versions = self._bucket.versions(CHECKPOINTS, CHECKPOINTS)
        return [self.read(*each) for each in sorted(versions) if _size(each[0]) is not None]

    def has_entries(self) -> bool:
        """Tell whether the bucket was given events."""
        return next(iter(self._bucket.versions(_EVENTS, "")), None) is not None

    def fetch(self, path: str) -> bytes | None:
        """Return what was put at a path first, whatever was laid over it or deleted since; it is a `Fetch`.

        Raises:
            AnchorUnavailable: It cannot be read.
        """
        if path == "checkpoint":
            return self.newest()
        found = [version for each, version in self._bucket.versions(path, "") if each == path]
        return self.read(path, found[-1]) if found else None  # the newest comes first

    def check(self) -> list[str]:
        """Try what Object Lock must refuse, on an object that is put there for it and locked for a day.

        Returns:
            A line for each thing that was found to be as it should.

        Raises:
            AnchorUnavailable: The bucket cannot be reached.
            AnchorRefused: Something is possible, or set so, that must not be.
        """
        return self._bucket.check()

    def _check_continues(self, log: PublishedLog, last: Receipt | None) -> tuple[int, dict[str, str]]:
        """Return size, path and version of the bucket's largest checkpoint, if the log goes on from it."""
        after = checkpoint_path(last.size - 1) if last is not None and last.size else CHECKPOINTS
        found = [each for each in self._bucket.versions(CHECKPOINTS, after) if _size(each[0]) is not None]
        newest = max((path for path, _ in found), default=None)
        of_newest = [each for each in found if each[0] == newest]
        for path, version in of_newest:  # all of its versions: one may have been laid over another
            log.check_continues(self.read(path, version), f"{self.name}: {path} version {version}")
        size = 0 if newest is None else _size(newest) or 0
        log.check_kept(last, size, self.name)
        return size, dict(of_newest)

    def _keep(self, path: str, content: bytes) -> str:
        """Put an object that is not there, locked, and return its version id; or that of the same one."""
        version = self._bucket.put(path, content, datetime.now(UTC) + self._retention)
        if version is not None:
            return version
        found = self._bucket.get(path)
        place = f"{self.name}: {path} version {found.version}"
        if not _is_same(path, found.content, content):
            reason = "is not what the log has: the log was rewritten, or the object was laid over"
            raise AnchorRefused(f"{place}: {reason}; nothing was replaced")
        if found.mode != COMPLIANCE:
            raise AnchorRefused(f"{place}: is not locked in compliance mode; somebody else put it there")
        return found.version


def _size(path: str) -> int | None:
    """Return the size that the path of a checkpoint names, or None."""
    digits = path.removeprefix(CHECKPOINTS)
    return int(digits) if digits.isdecimal() and path == checkpoint_path(int(digits)) else None


def _format_segment(log: PublishedLog, path: str) -> bytes:
    """Return the lines of the leaves that stand in a bundle of entries."""
    tile = parse_path(path)
    start = tile.index * FULL
    return b"".join(map(_format_line, log.entries(start, start + tile.width)))


def _format_line(entry: AnyEvent | HeadsLeaf) -> bytes:
    if isinstance(entry, HeadsLeaf):
        return canonical.dumps({"heads": format_hash(entry.map_root)}) + b"\n"
    payload = b""
    if entry.payload_json is not None:
        if hasher(algorithm_of(entry.content_hash))(entry.payload_json) != entry.content_hash:
            raise LogDamaged(f"event {entry.id}", "its payload is not the one that was sealed")
        payload = b',"payload":' + entry.payload_json
    return b'{"header":' + canonical.dumps(entry.header) + payload + b"}\n"


def _is_same(path: str, found: bytes, content: bytes) -> bool:
    """Tell whether an object is what it should be; of an event, a payload may have been erased since."""
    if found == content or not path.startswith(_EVENTS):
        return found == content
    try:
        return _without_payloads(found) == _without_payloads(content)
    except (orjson.JSONDecodeError, AttributeError):
        return False


def _without_payloads(segment: bytes) -> list[dict[str, Any]]:
    lines = [orjson.loads(line) for line in segment.splitlines()]
    return [{key: value for key, value in line.items() if key != "payload"} for line in lines]
