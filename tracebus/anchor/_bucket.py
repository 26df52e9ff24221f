"""A bucket with S3 Object Lock: objects are put once, locked, and read by version id."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple

from tracebus.errors import AnchorRefused, AnchorUnavailable
from tracebus.ids import new_ulid

COMPLIANCE: Final = "COMPLIANCE"

_EXISTS: Final = 412  # to If-None-Match: *
_DENIED: Final = 403
_SECONDS: Final = 30.0
_PROBE: Final = timedelta(days=1)


class Found(NamedTuple):
    """An object: content, version id, and the mode of its lock, if it has one."""

    content: bytes
    version: str
    mode: str | None


class LockedBucket:
    """What is under one prefix of a bucket with Object Lock. Paths are relative to the prefix.

    Args:
        name: What it is called in errors.
        bucket: The bucket.
        prefix: What keys begin with.
        endpoint: The URL of a store that is not Amazon's.
        region: The region; boto3 knows where to look unless given.

    Raises:
        AnchorUnavailable: From any method: the bucket cannot be reached, or does not let us.
    """

    def __init__(
        self, name: str, bucket: str, prefix: str, endpoint: str | None = None, region: str | None = None
    ) -> None:
        self.name = name
        self._bucket = bucket
        self._prefix = prefix
        self._endpoint = endpoint
        self._region = region

    def put(self, path: str, content: bytes, until: datetime) -> str | None:
        """Put an object, locked until a time, and return its version id; None if there is one already.

        Raises:
            AnchorRefused: The bucket gives no version ids.
        """
        try:
            put = self._call(
                "put_object",
                Key=self._prefix + path,
                Body=content,
                IfNoneMatch="*",
                ChecksumSHA256=base64.b64encode(hashlib.sha256(content).digest()).decode(),
                ObjectLockMode=COMPLIANCE,
                ObjectLockRetainUntilDate=until,
            )
        except _ErrorAnswer as error:
            if error.status == _EXISTS:
                return None
            raise
        if "VersionId" not in put:
            raise AnchorRefused(
                f"{self.name}: gives no version ids, so its versioning is off; nothing is safe there"
            )
        return str(put["VersionId"])

    def get(self, path: str, version: str | None = None) -> Found:
        """Return an object, the newest version unless one is named."""
        which = {} if version is None else {"VersionId": version}
        found = self._call("get_object", Key=self._prefix + path, **which)
        with self._translated():
            content = found["Body"].read()
        return Found(content, str(found.get("VersionId")), found.get("ObjectLockMode"))

    def versions(self, folder: str, after: str) -> Iterator[tuple[str, str]]:
        """Yield path and version id of each object in a folder behind a path, also of those deleted since."""
        with self._translated():
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._bucket, Prefix=self._prefix + folder, KeyMarker=self._prefix + after
            )
            for page in pages:
                for each in page.get("Versions", ()):
                    yield each["Key"].removeprefix(self._prefix), each["VersionId"]

    def check(self) -> list[str]:
        """Try what Object Lock must refuse, on an object that is put there for it and locked for a day.

        A refusal may come from the lock, or from what our credentials are allowed. The object's mode, which
        is looked up, says that the lock refuses it to everybody.

        Returns:
            A line for each thing that was found to be as it should.

        Raises:
            AnchorRefused: Something is possible, or set so, that must not be.
        """
        self._expect("versioning", "Enabled", self._call("get_bucket_versioning").get("Status"))
        lock = self._call("get_object_lock_configuration").get("ObjectLockConfiguration", {})
        self._expect("Object Lock", "Enabled", lock.get("ObjectLockEnabled"))
        path, until = f"check/{new_ulid()}", datetime.now(UTC).replace(microsecond=0) + _PROBE
        version = self.put(path, b"tracebus anchor --check\n", until)
        probe = {"Key": self._prefix + path, "VersionId": version}
        self._expect("lock of a new object", (COMPLIANCE, until), self._lock_of(probe))
        lines = [
            "versioning and Object Lock are on",
            f"{path} version {version} is locked in compliance mode until {until.isoformat()}",
        ]
        for what, method, more in _forbidden(until):
            self._expect_refusal(what, method, {**probe, **more})
            lines.append(f"refused: {what}")
        self._expect("whether an object is put over another", None, self.put(path, b"over it\n", until))
        self._expect("lock after all this", (COMPLIANCE, until), self._lock_of(probe))
        return [*lines, "refused: to put another object where one is"]

    def _lock_of(self, probe: Mapping[str, Any]) -> tuple[str, datetime]:
        retention = self._call("get_object_retention", **probe)["Retention"]
        return retention["Mode"], retention["RetainUntilDate"].astimezone(UTC).replace(microsecond=0)

    def _expect(self, what: str, expected: object, found: object) -> None:
        if found != expected:
            raise AnchorRefused(
                f"{self.name}: {what}: expected {expected}, found {found}; nothing is safe there"
            )

    def _expect_refusal(self, what: str, method: str, arguments: Mapping[str, Any]) -> None:
        try:
            self._call(method, **arguments)
        except _ErrorAnswer as error:
            if error.status != _DENIED:
                raise AnchorUnavailable(f"{what}: cannot be tried: {error}") from error
            return
        raise AnchorRefused(
            f"{self.name}: {what}: expected a refusal, and it was allowed; nothing is safe there"
        )

    # Calling

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3  # type: ignore[import-untyped]
            from botocore.config import Config  # type: ignore[import-untyped]
        except ImportError:
            raise AnchorUnavailable(f"{self.name}: needs boto3: install tracebus[s3]") from None
        config = Config(
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path" if self._endpoint else "auto"},
        )
        with self._translated():
            return boto3.client("s3", endpoint_url=self._endpoint, region_name=self._region, config=config)

    def _call(self, method: str, **arguments: Any) -> Any:
        call = getattr(self._client, method)
        with self._translated():
            return call(Bucket=self._bucket, **arguments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate what boto3 raises: answers that are errors, and everything else."""
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        try:
            yield
        except ClientError as error:
            raise _ErrorAnswer(self.name, error.response) from error
        except (BotoCoreError, ValueError, OSError) as error:
            raise AnchorUnavailable(f"{self.name}: {error}") from error


class _ErrorAnswer(AnchorUnavailable):
    """An answer of the bucket that is an error; `status` is that of HTTP."""

    def __init__(self, place: str, response: Mapping[str, Any]) -> None:
        self.status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        error = response.get("Error", {})
        super().__init__(f"{place}: answered {self.status} {error.get('Code')}: {error.get('Message')}")


def _forbidden(until: datetime) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what a lock until a time must refuse: what it is, the method, its arguments."""
    bypass = {"BypassGovernanceRetention": True}
    shorter = {"Retention": {"Mode": COMPLIANCE, "RetainUntilDate": until - _PROBE / 2}}
    governance = {"Retention": {"Mode": "GOVERNANCE", "RetainUntilDate": until}}
    return [
        ("to delete the version", "delete_object", {}),
        ("to delete the version with governance bypass", "delete_object", bypass),
        ("to shorten the retention", "put_object_retention", shorter),
        ("to change to governance mode", "put_object_retention", governance),
        ("to change to governance mode with bypass", "put_object_retention", governance | bypass),
    ]
