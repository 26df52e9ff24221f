"""Errors of the `tracebus` package.

::

    TracebusError
    ├── PublishError              an event was not published
    │   ├── NoActiveRun           no run given, and none bound here
    │   ├── UnknownRun            the log has no run of this id
    │   ├── RunExists             the log has a run of this id already
    │   ├── RunClosed             the run has ended; nothing may follow
    │   ├── AppendConflict        the run's head is not the expected one
    │   ├── KeyConflict           the key stands for another content in this run
    │   ├── SinkOverflow          a sink that refuses to fall behind is behind
    │   ├── BusClosed             the bus is closed, or closing
    │   └── AppendUnknown         whether the event is in the log cannot be told
    ├── SinkUnconfirmed           the event is durable, but a required sink has not confirmed it
    ├── NotRecorded               an event that failed open has no id, seq, time or hash
    ├── PayloadTooLarge           a payload's typed members are larger than an event may be
    ├── UnknownEvent              the log has no such event, or it holds no such disclosure
    ├── HoldStands                a legal hold covers what was to be erased
    ├── EventLogUnavailable       the log cannot be opened, read or written now
    ├── EventLogRefused           a file is no event log, or one that must not be written
    │   └── LogTruncated          the log has lost events that its tree has
    ├── AnchorUnavailable         an anchor cannot take a checkpoint now
    ├── AnchorRefused             an anchor has another history of the log, or does not know it
    ├── SinkUnavailable           a sink wants to be offered the batch again
    └── SinkRejected              a sink will never take these events

Evidence that is bad raises `evidence.EvidenceError`; wrong arguments raise `TypeError` or
`ValueError`.
"""

from __future__ import annotations


class TracebusError(Exception):
    """Base of the errors that publishing, storing and delivering can cause."""


class PublishError(TracebusError):
    """The event was not published. Unless it is `AppendUnknown`, it is not in the log."""


class NoActiveRun(PublishError):
    """Publish was called without a run, and no run is bound in this context."""

    def __init__(self) -> None:
        super().__init__(
            "no run: pass run=…, or publish inside `async with bus.run()` or `with bus.bind(run)`; "
            "executor threads and callbacks do not see the run that is bound elsewhere"
        )

    def __reduce__(self) -> tuple[type[NoActiveRun], tuple[()]]:
        return type(self), ()


class RunError(PublishError):
    """A run does not allow this; `run_id` names it."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(f"run {run_id}: {reason}")
        self.run_id = run_id
        self.reason = reason

    def __reduce__(self) -> tuple[type[RunError], tuple[str, str]]:
        return type(self), (self.run_id, self.reason)


class UnknownRun(RunError):
    """The log has no run of this id."""


class RunExists(RunError):
    """The log has a run of this id already."""


class RunClosed(RunError):
    """The run has its terminal event; what is learned later goes into a new run of the workflow."""


class AppendConflict(RunError):
    """The run's head is not the one that was expected: somebody else appended."""


class KeyConflict(RunError):
    """An event of this run has the same key, and another type or content."""


class BusClosed(PublishError):
    """The bus was closed before the event was taken."""

    def __init__(self) -> None:
        super().__init__("the bus is closed: publish inside `async with TraceEventBus(…)`")

    def __reduce__(self) -> tuple[type[BusClosed], tuple[()]]:
        return type(self), ()


class AppendUnknown(PublishError):
    """The log failed in such a way that the event may or may not be stored.

    Publish it again with the same `key`: the stored event comes back, or it is appended now.
    """


class SinkOverflow(PublishError):
    """A sink whose subscription says ``overflow="error"`` is behind by more than its buffer."""


class SinkUnconfirmed(TracebusError):
    """Durable, sink unconfirmed: the log has the events, and a required sink has not confirmed them.

    Unless it has rejected them, the sink is offered them further on. Do not publish them again:
    `event_ids` are in the log.
    """

    def __init__(self, sink: str, event_ids: tuple[str, ...], reason: str) -> None:
        shown = ", ".join(event_ids[:3]) + (" …" if len(event_ids) > 3 else "")
        super().__init__(f"durable, sink unconfirmed: {shown} is in the log; sink {sink}: {reason}")
        self.sink = sink
        self.event_ids = event_ids
        self.reason = reason

    def __reduce__(self) -> tuple[type[SinkUnconfirmed], tuple[str, tuple[str, ...], str]]:
        return type(self), (self.sink, self.event_ids, self.reason)


class NotRecorded(TracebusError):
    """The event failed open: the log could not be written, and the event has no place in it."""


class PayloadTooLarge(TracebusError, ValueError):
    """The typed members of a payload are larger than an event may be."""


class UnknownEvent(TracebusError):
    """The log has no event of this id, or the event holds no such disclosure."""


class HoldStands(TracebusError):
    """A legal hold covers what was to be erased; nothing was changed."""


class EventLogUnavailable(TracebusError):
    """The event log cannot be opened, read or written now; nothing was changed."""


class EventLogRefused(TracebusError):
    """What was opened is not an event log of ours, or its append-only rules are not in force."""


class LogTruncated(EventLogRefused):
    """The event log has lost events that its tree has, or has others in their place: nothing is appended."""

    def __init__(self, path: object, expected: int, found: int, *, is_other: bool) -> None:
        what = "another event there" if is_other else f"events up to {found} only"
        super().__init__(
            f"{path}: its tree has events up to position {expected}, and the log has {what}: it was cut, "
            "restored from an older copy, or altered. Nothing is appended to it. Compare it with a backup; "
            "`tracebus log --help` says how to look into it, and how to go on under a successor"
        )
        self.expected = expected
        self.found = found


class AnchorUnavailable(TracebusError):
    """An anchor cannot take a checkpoint now, or its answer cannot be used: it is brought again."""


class AnchorRefused(TracebusError):
    """An anchor has another history of the log than the log has, or will not take its checkpoints at all."""


class SinkUnavailable(TracebusError):
    """A sink cannot take a batch now: it is offered again."""


class SinkRejected(TracebusError):
    """A sink will never take this batch: it is passed over, and counted."""
