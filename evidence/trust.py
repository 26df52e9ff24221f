"""The trust policy: which keys a verifier trusts, for what, how many of them, and until when.

It is read from a file (`evidence.trust_file`), and is the verifier's own: nothing that is verified by
it can change it. A checkpoint is verified in two steps, for the same checkpoint may be enough for one
question and not for another: `TrustPolicy.verify_checkpoint` tells who stands by it, and refuses what is
wrong; `TrustPolicy.verify_requirements` tells whether that is enough.

Times are POSIX seconds. Two are drawn from a quorum's cosignatures: by when the checkpoint existed, which
shows that it is older than the theft of a key; and until when no newer one was known, which shows that
it is fresh. A timestamp shows the first only: an old checkpoint can be timestamped today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from evidence.checkpoint import Checkpoint, parse_checkpoint, timestamped_bytes
from evidence.cosignature import WitnessKey, cosigned_at
from evidence.errors import Incomplete, MalformedInput, SignatureRefused, Unexpected
from evidence.keys import VerifyingKey
from evidence.note import NoteKey, NoteVerifier, OpenedNote, open_note
from evidence.timestamp import Timestamp, open_timestamp

REQUIREMENTS: Final = ("completeness", "timestamp", "witness")
"""What a policy may require of a bundle: a proof of that kind, beyond the signature."""

CLOCK_SKEW: Final = 300
"""By how many seconds the clocks of witness and verifier may differ."""


@dataclass(frozen=True, slots=True)
class TrustedLog:
    """A log whose checkpoints are accepted; its origin is the name of its key."""

    key: NoteKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class TrustedWitness:
    """A witness whose cosignatures count, under the name that the policy gives it."""

    name: str
    key: WitnessKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses and groups, of which `threshold` must have cosigned for the group to have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifiedCheckpoint:
    """A checkpoint that a log of the policy signed, and who else stands by it.

    Attributes:
        checkpoint: The checkpoint, as it was verified.
        log: The key that signed it.
        cosigned: The witnesses whose cosignatures count, with the last time of each, POSIX seconds.
        timestamps: Those that are under the policy's roots.
        quorum_met: Whether the witnesses are those that the policy asks for.
        existed_by: By when it was there, as a quorum of witnesses or a timestamp shows; else None.
        newest_at: When a quorum of witnesses last said that they knew no newer one; else None.
        passed_over: Why other cosignatures of known witnesses, and timestamps, do not count.
    """

    checkpoint: Checkpoint
    log: NoteKey
    cosigned: Mapping[str, int]
    timestamps: tuple[Timestamp, ...]
    quorum_met: bool
    existed_by: int | None
    newest_at: int | None
    passed_over: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """What a verifier trusts. `evidence.trust_file.parse_policy` makes it, and checks that it makes sense.

    Attributes:
        quorum: The witness or group that must have cosigned a checkpoint; None where nobody must.
        bundle_keys: The keys that may sign bundles.
        receipt_keys: The keys that may sign receipts.
        timestamp_roots: The certificates that timestamps must lead to, DER.
        timestamp_chain: Certificates that complete the chains of timestamps, DER.
        retired: Since when, in POSIX seconds, a key is not used any more.
        revoked: Since when, in POSIX seconds, somebody else may have had a key.
        max_age: How many seconds ago a quorum may have seen a checkpoint as the newest.
        required: What a bundle must carry, of `REQUIREMENTS`.
    """

    logs: tuple[TrustedLog, ...] = ()
    witnesses: tuple[TrustedWitness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str | None = None
    bundle_keys: tuple[NoteKey, ...] = ()
    receipt_keys: tuple[NoteKey, ...] = ()
    timestamp_roots: tuple[bytes, ...] = ()
    timestamp_chain: tuple[bytes, ...] = ()
    retired: Mapping[VerifyingKey, int] = field(default_factory=dict)
    revoked: Mapping[VerifyingKey, int] = field(default_factory=dict)
    max_age: int | None = None
    required: frozenset[str] = frozenset()

    def verify_checkpoint(self, note: bytes, timestamps: Sequence[bytes] = ()) -> VerifiedCheckpoint:
        """Verify a checkpoint, and tell which log signed it and who else stands by it.

        Whether that is enough, `verify_requirements` tells. Timestamps and cosignatures that do not
        count are passed over: whoever could spoil one could as well leave it out.

        Args:
            note: The checkpoint, with all signature lines.
            timestamps: RFC 3161 responses about it (`evidence.checkpoint.timestamped_bytes`).

        Raises:
            MalformedInput: It is no checkpoint.
            SignatureRefused: No log of the policy signed it; a log's or a witness's signature is
                wrong; or the log's key was retired or revoked, and nothing shows that it is older.
            Unexpected: A log's key signed it for another origin than the log's own.
            Unverifiable: There are timestamps, and rfc3161-client is absent.
        """
        known: list[NoteVerifier] = [log.key for log in self.logs]
        known += [witness.key for witness in self.witnesses]
        opened = open_note(note, known)
        checkpoint = parse_checkpoint(opened.text)
        log = self._signing_log(opened, checkpoint)
        passed_over: list[str] = []
        cosigned = self._cosigned(opened, passed_over)
        dated = self._timestamps(timestamps, timestamped_bytes(opened.note, log), passed_over)
        witnessed = self._quorum_time(cosigned)
        shown = [witnessed, *(timestamp.existed_by for timestamp in dated)]
        existed_by = min((time for time in shown if time is not None), default=None)
        self.verify_key(log.key, "checkpoint", shown=existed_by)
        return VerifiedCheckpoint(
            checkpoint=checkpoint,
            log=log,
            cosigned=cosigned,
            timestamps=dated,
            quorum_met=self.quorum is None or witnessed is not None,
            existed_by=existed_by,
            newest_at=self._quorum_time(cosigned, newest=True),
            passed_over=tuple(passed_over),
        )

    def verify_requirements(self, verified: VerifiedCheckpoint, now: int) -> None:
        """Verify that as much stands by a checkpoint as the policy asks for.

        Args:
            verified: What `verify_checkpoint` found.
            now: The verifier's time, POSIX seconds.

        Raises:
            Incomplete: The quorum is not met, a required timestamp is missing, or the quorum is
                too long ago.
        """
        if not verified.quorum_met:
            found = ", ".join(verified.cosigned) or "nobody"
            raise Incomplete("checkpoint", f"expected cosignatures of {self.quorum}, found {found}")
        if "timestamp" in self.required and not verified.timestamps:
            raise Incomplete("checkpoint", "expected a timestamp under a root of the policy, found none")
        if self.max_age is None:
            return
        newest = verified.newest_at
        if newest is None or not now - self.max_age <= newest <= now + CLOCK_SKEW:
            found = "never" if newest is None else format_time(newest)
            raise Incomplete(
                "checkpoint", f"expected a quorum of the last {self.max_age} seconds, found {found}"
            )

    def verify_key(
        self, key: VerifyingKey, place: str, *, claimed: int | None = None, shown: int | None = None
    ) -> None:
        """Verify that a signature is from before its key was retired or revoked.

        A retired key was in its owner's hands only, so the owner's word counts; a revoked one was not.

        Args:
            key: The key that made the signature.
            place: Where the signature is.
            claimed: When it was made, as its maker says, POSIX seconds.
            shown: By when it was there, as others show, POSIX seconds.

        Raises:
            SignatureRefused: The key was retired or revoked, and nothing that counts is older.
        """
        if fault := self._fault_of(key, claimed, shown):
            raise SignatureRefused(place, fault)

    def _fault_of(self, key: VerifyingKey, claimed: int | None, shown: int | None) -> str | None:
        revoked, retired = self.revoked.get(key), self.retired.get(key)
        if revoked is not None and (shown is None or shown >= revoked):
            since = format_time(revoked)
            return f"by a key that was compromised since {since}, and nobody shows that it is older"
        dates = [date for date in (claimed, shown) if date is not None]
        if retired is not None and min(dates, default=retired) >= retired:
            return f"by a key that was retired {format_time(retired)}, and nothing says that it is older"
        return None

    def _signing_log(self, opened: OpenedNote, checkpoint: Checkpoint) -> NoteKey:
        logs = [key for key, _ in opened.signed_by if isinstance(key, NoteKey)]
        if not logs:
            raise SignatureRefused("checkpoint", "signed by no log of the policy")
        own = [log for log in logs if log.name == checkpoint.origin]
        if not own:
            raise Unexpected("checkpoint", f"origin {checkpoint.origin}, signed by the key of {logs[0].name}")
        # A log that changes its key may sign with both: then the new one counts.
        return min(own, key=lambda log: log.key in self.retired or log.key in self.revoked)

    def _cosigned(self, opened: OpenedNote, passed_over: list[str]) -> dict[str, int]:
        names = {witness.key: witness.name for witness in self.witnesses}
        cosigned: dict[str, int] = {}
        for key, signature in opened.signed_by:
            if isinstance(key, WitnessKey):
                name, time = names[key], cosigned_at(signature)
                # A timestamp does not cover cosignatures, so nothing shows a revoked witness's to be older.
                if fault := self._fault_of(key.key, claimed=time, shown=None):
                    passed_over.append(f"cosignature of {name}: {fault}")
                else:
                    cosigned[name] = max(time, cosigned.get(name, 0))
        return cosigned

    def _timestamps(
        self, responses: Sequence[bytes], data: bytes, passed_over: list[str]
    ) -> tuple[Timestamp, ...]:
        if not self.timestamp_roots:
            passed_over += ["timestamp: the policy has no root for it"] * len(responses)
            return ()
        dated = []
        for response in responses:
            try:
                dated.append(open_timestamp(response, data, self.timestamp_roots, chain=self.timestamp_chain))
            except (MalformedInput, SignatureRefused) as error:
                passed_over.append(str(error))
        return tuple(dated)

    def _quorum_time(self, times: Mapping[str, int], *, newest: bool = False) -> int | None:
        """Return the first time by which a quorum had cosigned, or the last since which one has."""
        reached = dict(times)
        for group in self.groups:  # each after its members
            found = sorted((reached[name] for name in group.members if name in reached), reverse=newest)
            if len(found) >= group.threshold:
                reached[group.name] = found[group.threshold - 1]
        return None if self.quorum is None else reached.get(self.quorum)


def format_time(seconds: int) -> str:
    """Return a time in POSIX seconds for people to read, also one that no calendar has."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds after 1970"
