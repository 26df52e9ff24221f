"""The witness anchor: a witness cosigns what continues all it has seen of a log (c2sp.org/tlog-witness).

How many witnesses must have cosigned, and which, is for the verifier's trust policy to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from evidence.cosignature import (
    AddCheckpoint,
    WitnessKey,
    format_add_checkpoint,
    open_cosignatures,
    parse_conflict,
)
from evidence.errors import MalformedInput, VerificationFailed
from tracebus.anchor._http import SECONDS, Answer, check_url, post
from tracebus.anchor.base import PublishedLog
from tracebus.errors import AnchorRefused, AnchorUnavailable
from tracebus.transparency.anchorings import Receipt

_MAX_ANSWER: Final = 64 * 1024
_ROUNDS: Final = 3  # another sequencer may have a checkpoint cosigned between two of them
_CONFLICT: Final = 409
_CONTRADICTION: Final = 422
_REASONS: Final = {
    400: "did not understand the request",
    403: "does not have this log's key: give it the log's vkey",
    404: "does not know this log: give it the log's vkey",
    _CONTRADICTION: "has cosigned another history of this log; one of the two was rewritten",
}


class WitnessAnchor:
    """Has checkpoints cosigned by a witness. Only a cosignature by its key is kept.

    Args:
        url: The witness's prefix; requests go to ``<url>/add-checkpoint``.
        key: Its key, or that as a C2SP vkey.
        name: The anchor's name; the key's unless given.
        seconds: How long a request may take.

    Raises:
        KeyRefused: The vkey is none of a witness.
        ValueError: The URL is none.
    """

    def __init__(
        self, url: str, key: WitnessKey | str, *, name: str | None = None, seconds: float = SECONDS
    ) -> None:
        self._key = WitnessKey.from_vkey(key) if isinstance(key, str) else key
        self.name = name or self._key.name
        self._url = f"{check_url(url).rstrip('/')}/add-checkpoint"
        self._seconds = seconds

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any], folder: Path) -> Self:
        """Make the anchor of a table: `url`, `key`, a vkey, and perhaps `seconds`."""
        return cls(**{**options, "name": name})

    def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
        """Have the checkpoint cosigned, also one that was: a new cosignature says that none is newer.

        Raises:
            AnchorUnavailable: The witness did not answer with a cosignature that holds.
            AnchorRefused: The witness has another history of the log, or does not know it.
        """
        old = min(last.size, log.size) if last is not None else 0
        for _ in range(_ROUNDS):
            answer = self._send(log, old)
            if answer.status != _CONFLICT:
                return self._receipt(log, answer)
            old = self._known_size(log, answer)
        raise AnchorUnavailable(f"{self._url}: says that it knows size {old}, and refuses it")

    def _send(self, log: PublishedLog, old: int) -> Answer:
        request = AddCheckpoint(old, log.consistency(old), log.signed_note)
        body = format_add_checkpoint(request)
        return post(self._url, body, "text/plain; charset=utf-8", most=_MAX_ANSWER, seconds=self._seconds)

    def _known_size(self, log: PublishedLog, answer: Answer) -> int:
        """Return the size that the witness has cosigned last, as its answer 409 says."""
        try:
            known = parse_conflict(answer.body)
        except MalformedInput as error:
            raise AnchorUnavailable(f"{self._url}: answered {_CONFLICT}: {error}") from error
        if known <= log.size:
            return known
        if log.has(known):
            raise AnchorUnavailable(f"{self._url}: has a newer checkpoint of this log, of size {known}")
        reason = f"has cosigned size {known}, and the log has {log.size} leaves: it lost events"
        raise AnchorRefused(f"{self._url}: {reason}, or was restored from an older copy")

    def _receipt(self, log: PublishedLog, answer: Answer) -> Receipt:
        if answer.status in _REASONS:
            said = answer.body[:200].decode("utf-8", "replace").strip()
            raise AnchorRefused(f"{self._url}: answered {answer.status}, {_REASONS[answer.status]} ({said})")
        if answer.status != 200:
            raise AnchorUnavailable(f"{self._url}: answered {answer.status}")
        try:
            cosignatures = open_cosignatures(answer.body, log.signed_note, self._key)
        except (MalformedInput, VerificationFailed) as error:
            raise AnchorUnavailable(f"{self._url}: {error}") from error
        return Receipt(log.size, cosignatures=cosignatures)
