"""Successors: a log goes on under a new origin when the old one cannot.

A log that lost events, or whose key was stolen, must not sign another checkpoint. Its successor is a new
log, with a new origin and a new key, whose own workflow begins by saying which log it goes on for, what
that log had signed, and why it ended. The old log is left as it is.
"""

from __future__ import annotations

from evidence.checkpoint import open_checkpoint
from evidence.errors import LogDamaged
from evidence.note import NoteKey
from evidence.receipt import checkpoint_digest
from tracebus.eventlog.base import AnyEvent, EventLog
from tracebus.events import LogSucceeded
from tracebus.upkeep import log_run


def succeed(
    new: EventLog,
    checkpoint: bytes,
    old_key: NoteKey,
    reason: str,
    *,
    event_count: int | None = None,
    actor: str | None = None,
) -> AnyEvent:
    """Record, as the first of a new log, which log it goes on for; return that event.

    Args:
        new: The new log, which has no events.
        checkpoint: The newest checkpoint of the old log that is known anywhere, as a note.
        old_key: The key that signed it; its name is the old log's origin.
        reason: Why the old log could not go on.
        event_count: How many events are left in it.
        actor: Who ordered it.

    Raises:
        LogDamaged: The new log has events.
        MalformedInput, VerificationFailed: The checkpoint is not the old log's.
        TracebusError: The new log could not take it.
    """
    known = open_checkpoint(checkpoint, old_key)
    if new.last_position():
        raise LogDamaged("successor", f"expected a new log, found {new.last_position()} events")
    succeeded = LogSucceeded(
        previous_log=known.origin,
        checkpoint_size=known.size,
        checkpoint_root=f"sha256:{known.root.hex()}",
        checkpoint_digest=checkpoint_digest(known),
        reason=reason,
        event_count=event_count,
        actor=actor,
    )
    (outcome,) = new.append([log_run(succeeded)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome[1]
