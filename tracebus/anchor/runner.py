"""Anchoring: a checkpoint is made, and brought to each anchor, in threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from evidence.errors import EvidenceError, LogDamaged
from evidence.note import NoteKey, open_note
from evidence.signing import Ed25519Signer
from tracebus.anchor.base import Anchor, PublishedLog, ReadableAnchor
from tracebus.errors import AnchorRefused, AnchorUnavailable
from tracebus.eventlog.base import EventLog
from tracebus.transparency.anchorings import Anchorings, AnchorStatus
from tracebus.transparency.checkpoints import Checkpointer, tree_store

ATTEMPTS: Final = 3
FIRST_PAUSE: Final = 1.0
"""How long the first pause after a failure is, in seconds; each further one is twice as long."""


class AnchorRunner:
    """Makes checkpoints of a log, brings them to anchors, and keeps what comes back. Blocking.

    Args:
        log: The event log.
        signer: The log's key.
        anchors: Where checkpoints go.
        former: Keys that the log had before.
        clock: Returns the time in POSIX seconds.

    Raises:
        ValueError: Two anchors have the same name.
        TypeError: The log cannot be a transparency log.
    """

    def __init__(
        self,
        log: EventLog,
        signer: Ed25519Signer,
        anchors: Sequence[Anchor],
        *,
        former: Iterable[NoteKey] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        names = [anchor.name for anchor in anchors]
        if len(set(names)) < len(names):
            raise ValueError(f"anchors: expected different names, found {names}")
        self.anchors = tuple(anchors)
        self._log = log
        self._store = tree_store(log)
        self._former = tuple(former)
        self._signer = signer
        self._checkpointer: Checkpointer | None = None
        self._kept = Anchorings(self._store)
        self._clock = clock

    def checkpoint(self, progress: Callable[[int], object] = lambda events: None) -> PublishedLog:
        """Sign a checkpoint, unless the newest one has all events, and return the log as of it.

        The first time, anchors are asked for theirs: a log that was restored together with its tree store
        would not know what it has signed.

        Raises:
            LogDamaged, SignatureRefused, EventLogUnavailable: As `Checkpointer.checkpoint`.
        """
        if self._checkpointer is None:
            plain = Checkpointer(self._log, self._signer, former=self._former)
            known = list(self._known((plain.log_key, *self._former)))
            self._checkpointer = Checkpointer(self._log, self._signer, known=known, former=self._former)
        note = self._checkpointer.checkpoint(progress)
        log_key = self._checkpointer.log_key
        return PublishedLog(self._log, self._store, log_key, note, former=self._former)

    def _known(self, keys: Iterable[NoteKey]) -> Iterator[bytes]:
        """Yield what anchors have of this log; one that is down, or has something else, is passed over."""
        keys = list(keys)
        for anchor in self.anchors:
            if isinstance(anchor, ReadableAnchor):
                with suppress(AnchorUnavailable, AnchorRefused, EvidenceError):
                    note = anchor.newest()
                    if note is not None:
                        open_note(note, keys)
                        yield note

    def bring(self, anchor: Anchor, published: PublishedLog) -> Exception | None:
        """Bring a checkpoint to an anchor, once; store the receipt, or why there is none, and return that.

        Raises:
            EventLogUnavailable: Neither can be stored now.
        """
        try:
            receipt = anchor.anchor(published, self._kept.latest(anchor.name))
            self._kept.add_receipt(anchor.name, receipt, int(self._clock()))
        except Exception as error:  # whatever it is, the other anchors get theirs
            reason = str(error) or type(error).__name__
            self._kept.add_failure(anchor.name, reason, int(self._clock()), refused=is_refusal(error))
            return error
        return None

    def bring_patiently(self, anchor: Anchor, published: PublishedLog, attempts: int) -> None:
        """Do as `bring`, up to so many times, with pauses; a refusal is final."""
        for attempt in range(attempts):
            if attempt:
                time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
            error = self.bring(anchor, published)
            if error is None or is_refusal(error):
                return


def is_refusal(error: Exception) -> bool:
    """Tell whether a failure says that a history was rewritten, so that to try again soon is no use."""
    return isinstance(error, AnchorRefused | LogDamaged)


def anchor_all(
    log: EventLog,
    signer: Ed25519Signer,
    anchors: Sequence[Anchor],
    *,
    former: Iterable[NoteKey] = (),
    attempts: int = ATTEMPTS,
    progress: Callable[[int], object] = lambda events: None,
) -> list[AnchorStatus]:
    """Make a checkpoint, bring it to all anchors at the same time, and return how each is doing.

    An anchor that fails is in what is returned; it keeps no other one from its checkpoint.

    Args:
        log: The event log.
        signer: The log's key.
        anchors: Where the checkpoint goes.
        former: Keys that the log had before; older checkpoints may be by them.
        attempts: How often an anchor is tried.
        progress: Called now and then with the number of events taken into the tree.

    Raises:
        LogDamaged: The log is not the one that its last checkpoint is of; nothing is signed.
        SignatureRefused: The last checkpoint is not by this key, or a former one.
        EventLogUnavailable: The log or its tree store cannot be used now.
        ValueError: Two anchors have the same name.
    """
    runner = AnchorRunner(log, signer, anchors, former=former)
    published = runner.checkpoint(progress)
    with ThreadPoolExecutor(max(1, len(anchors)), thread_name_prefix="tracebus anchor") as threads:
        brought = [threads.submit(runner.bring_patiently, anchor, published, attempts) for anchor in anchors]
    for each in brought:
        each.result()
    return anchor_status(log, [anchor.name for anchor in anchors])


def anchor_status(log: EventLog, names: Sequence[str] | None = None) -> list[AnchorStatus]:
    """Return how a log's anchors are doing: those of these names, tried or not; or all that were tried.

    Raises:
        EventLogUnavailable: The tree store cannot be read now.
        TypeError: The log cannot be a transparency log.
    """
    store = tree_store(log)
    known = Anchorings(store).status() if store.exists() else {}
    return [known.get(name, AnchorStatus(name)) for name in (known if names is None else names)]
