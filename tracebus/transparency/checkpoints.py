"""Checkpoints: the log's signed word for its size and root, never one against another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from evidence.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from evidence.errors import LogDamaged
from evidence.note import NoteKey, format_note, open_note
from evidence.signing import Ed25519Signer
from tracebus.eventlog.base import EventLog, HeadsLeaf, HeadsStore
from tracebus.transparency.sequencer import sequence
from tracebus.transparency.states import SignedTree
from tracebus.transparency.store import TreeStore


class Checkpointer:
    """Signs checkpoints of a log with its key.

    Args:
        log: The event log.
        signer: The log's key, which signs nothing else.
        store: What is derived of the log; the log's own unless given.
        known: Checkpoints of the log that are kept elsewhere, as notes: nothing is signed that
            contradicts one of them.
        rebuilt: Sign although the log had checkpoints and none is at hand: somebody has looked for them.
        former: Keys that the log had before; an older checkpoint may be by one of them.
    """

    def __init__(
        self,
        log: EventLog,
        signer: Ed25519Signer,
        store: TreeStore | None = None,
        *,
        known: Iterable[bytes] = (),
        rebuilt: bool = False,
        former: Iterable[NoteKey] = (),
    ) -> None:
        self._log = log
        self._signer = signer
        self._store = store or tree_store(log)
        self._known = tuple(known)
        self._rebuilt = rebuilt
        self._keys = list(dict.fromkeys((self.log_key, *former)))

    @property
    def log_key(self) -> NoteKey:
        """The key that verifies the log's checkpoints, named as its origin."""
        return NoteKey(self._log.origin, self._signer.verifying_key)

    def checkpoint(self, progress: Callable[[int], object] = lambda events: None) -> bytes:
        """Take all events into the tree, and return the signed checkpoint, as a note.

        Where nothing is new since the last checkpoint, it is that one. It is stored before it is returned.

        Raises:
            LogDamaged: The tree is not the one that the last checkpoint, or a known one, is of; or the
                log had checkpoints, and none is left. Nothing is signed.
            SignatureRefused: The last checkpoint, or a known one, is not by this key or a former one, or
                the signer made a signature that is not by this key.
            EventLogUnavailable: The log or the store cannot be used now.
        """
        self._check_not_lost()
        state = sequence(self._log, self._store, progress)
        for known in self._known:
            self._check(known)
        seen: list[bytes | None] = []
        while True:
            note = self._store.latest_checkpoint()
            if note in seen:  # somebody who signed meanwhile would have left another one
                raise LogDamaged("checkpoints", "the newest one is not the one of the largest size; altered")
            last = None if note is None else self._check(note)
            if note is not None and last is not None and last.size >= state.size:
                return note
            checkpoint = Checkpoint(self._log.origin, state.size, self._store.root(state.size))
            signed = format_note(sign_checkpoint(checkpoint, self._signer))
            open_checkpoint(signed, self.log_key)
            tree = SignedTree(state.size, state.heads, state.map_root, signed)
            if self._store.add_checkpoint(tree, after=None if last is None else last.size):
                return signed
            seen.append(note)

    def _check_not_lost(self) -> None:
        """Check that the store has the checkpoints of a log that had some, or that one is known.

        Attempts that were interrupted, or had no signer, leave a store without one: it has the heads leaves
        of the log, but perhaps the newest.
        """
        if self._known or self._rebuilt or self._store.latest_checkpoint() is not None:
            return
        leaves = len(_leaves(self._log))
        if leaves > self._store.state().heads + self._store.exists():
            raise LogDamaged(
                "checkpoints",
                f"the log was taken into a tree {leaves} times, and its store has no checkpoint: the store "
                "was lost, or the log restored without it. Nothing was signed: give the newest checkpoint "
                "that is kept elsewhere, see `tracebus log checkpoint --help`",
            )

    def _check(self, note: bytes) -> Checkpoint:
        """Check that a checkpoint is by a key of the log and of this tree."""
        by = [key for key, _ in open_note(note, self._keys).signed_by if isinstance(key, NoteKey)]
        last = open_checkpoint(note, by[0])
        if self._store.state().size < last.size or self._store.root(last.size) != last.root:
            raise LogDamaged(
                f"checkpoint of size {last.size}",
                "the log has another history than it signed; nothing was signed. Compare it with a backup, "
                "and see `tracebus log --help`",
            )
        return last


def _leaves(log: EventLog) -> list[HeadsLeaf]:
    return log.heads_leaves() if isinstance(log, HeadsStore) else []


def tree_store(log: EventLog) -> TreeStore:
    """Return the tree store that belongs to a log.

    Raises:
        TypeError: The log has none.
    """
    store = getattr(log, "tree_store", None)
    if not isinstance(store, TreeStore):
        raise TypeError(f"{type(log).__name__} has no tree_store, and cannot be a transparency log")
    return store
