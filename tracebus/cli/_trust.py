"""Whose checkpoints count, for the commands about the transparency log: a log's key, or a trust policy."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import click

from evidence.checkpoint import open_checkpoint
from evidence.digest import sha256
from evidence.errors import Incomplete, PlacedError, Unexpected
from evidence.note import MAX_BYTES as MAX_NOTE_BYTES
from evidence.note import NoteKey
from evidence.trust import TrustPolicy, VerifiedCheckpoint
from evidence.trust_file import MAX_BYTES, parse_policy
from tracebus.cli._keyring import read_trusted
from tracebus.transparency.audit import Claim
from tracebus.transparency.copies import Kept

log_key_option = click.option(
    "--log-key", metavar="KEY", help="The log's public key: a verifier key, or a file with it or with PEM."
)


def read_log_key(word: str, origin: str) -> NoteKey:
    """Return the public key of the log of this origin.

    Raises:
        KeyRefused: It cannot be read.
        Unexpected: It is the key of another log.
    """
    key = read_trusted(word)
    if not isinstance(key, NoteKey):
        return NoteKey(origin, key)
    if key.name != origin:
        raise Unexpected("--log-key", f"is the key of log {key.name}, the log here is {origin}")
    return key


def read_file(path: str | Path, most: int = MAX_NOTE_BYTES) -> bytes:
    """Return the bytes of a file, and one more than may be where it is too large."""
    with open(path, "rb") as file:
        return file.read(most + 1)


class Trust:
    """A log's key, or a trust policy, and the checkpoints that were verified by it.

    Args:
        origin: The log that is verified.
        log_key: The key, as `read_trusted` reads it; or None.
        policy_path: A trust policy's file; or None.

    Raises:
        click.UsageError: Neither is given, or both.
        EvidenceError: It is refused.
    """

    def __init__(self, origin: str, log_key: str | None, policy_path: str | None) -> None:
        if (log_key is None) == (policy_path is None):
            raise click.UsageError("expected one of --log-key KEY and --policy FILE")
        self.origin = origin
        self.key = None if log_key is None else read_log_key(log_key, origin)
        self._verified: dict[int, list[VerifiedCheckpoint]] = {}
        self._policy: TrustPolicy | None = None
        self.described: dict[str, str] = {}
        if policy_path is not None:
            data = read_file(policy_path, MAX_BYTES)
            self._policy = parse_policy(data)
            self.described = {"policy": sha256(data)}
        elif self.key is not None:
            self.described = {"logKey": self.key.to_vkey()}

    def signs_elsewhere(self, key_id: str) -> bool:
        """Tell whether a key is trusted for something else than receipts."""
        keys = [] if self.key is None else [self.key]
        if self._policy is not None:
            keys += [*(log.key for log in self._policy.logs), *self._policy.bundle_keys]
        return any(key.key.key_id == key_id for key in keys)

    def claims(self, source: str, kept: Iterable[Kept]) -> list[Claim]:
        """Verify the signatures of checkpoints, and return what they say.

        Raises:
            MalformedInput, VerificationError: One is refused, or of another log; the place names the source.
        """
        return [self._claim(source, each) for each in kept]

    def _claim(self, source: str, kept: Kept) -> Claim:
        try:
            if self._policy is None:
                assert self.key is not None  # noqa: S101 (one of the two is there)
                return Claim(source, open_checkpoint(kept.note, self.key))
            verified = self._policy.verify_checkpoint(kept.note, kept.timestamps)
            if verified.checkpoint.origin != self.origin:
                raise Unexpected("checkpoint", f"is of log {verified.checkpoint.origin}, not {self.origin}")
        except PlacedError as error:
            raise type(error)(f"{source}: {error.place}", error.reason) from None
        self._verified.setdefault(verified.checkpoint.size, []).append(verified)
        return Claim(source, verified.checkpoint, tuple(verified.cosigned))

    def missing(self, newest: Claim | None) -> tuple[str, ...]:
        """Return what the policy asks for beyond the log's signature, and the newest checkpoint has not."""
        if self._policy is None or newest is None:
            return ()
        reasons = []
        for verified in self._verified[newest.checkpoint.size]:
            try:
                self._policy.verify_requirements(verified, int(time.time()))
            except Incomplete as error:
                reasons.append(str(error))
            else:
                return ()
        return tuple(dict.fromkeys(reasons))
