"""Logs to erase from, and the search for what was erased in the bytes of their files."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import NamedTuple

from tracebus import EventQuery, SqliteEventLog, ToolProposed
from tracebus._erasing_contract import digests_of, record
from tracebus.committed import commit
from tracebus.errors import UnknownEvent
from tracebus.eventlog import AnyEvent, Draft, Erasure
from tracebus.eventlog.base import Targets
from tracebus.testing import draft, events_of, started

_WINDOW = 44  # bytes: enough to be there for one reason only, also where half of it is not hexadecimal
_STEP = 1500


class Secret(NamedTuple):
    """A value that an event holds, as a whole payload or in a disclosure, and the salts beside it."""

    event_id: str
    value: str
    digests: frozenset[str] | None
    salts: tuple[str, ...]


def fill(log: SqliteEventLog, count: int, seed: int = 1, largest: int = 20_000) -> list[Secret]:
    """Store values of many sizes, some of them large, under runs of persons; return them."""
    chance = random.Random(seed)
    values = [_value(chance, chance.choice([16, 60, 400, 3000])) for _ in range(count)]
    for at in (0, 1, count // 2):
        values[at] = _value(chance, largest)
    secrets = []
    for number, value in enumerate(values):
        run_id = f"r{seed}-{number // 10}"
        group = [] if number % 10 else [started(run_id, user_id=None)]
        secret = {"text": value} if number % 3 == 0 else ToolProposed(tool="wire", arguments={"text": value})
        committed = commit(secret, "acme.note") if isinstance(secret, dict) else commit(secret)
        event = events_of(log.append([[*group, draft(run_id, committed)]])[0])[-1]
        secrets.append(Secret(event.id, value, digests_of(event) or None, tuple(_salts(event))))
    return secrets


def _value(chance: random.Random, size: int) -> str:
    """Return text in which each part is there once; some of it is not ASCII."""
    text = f"{chance.getrandbits(size * 4):0{size}x}"
    return "ÄÖ東京😀".join(text[i : i + 200] for i in range(0, size, 200))


def _salts(event: AnyEvent) -> Iterable[str]:
    if event.disclosures:
        for text in event.disclosures:
            yield base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split('"')[1]
    else:
        yield (event.payload_json or b"").decode().split('"_salt":"')[1][:22]


def erasure_of(log: SqliteEventLog, secrets: Iterable[Secret], *records: list[Draft]) -> Erasure:
    """Return the erasure of some secrets, planned now."""
    targets: Targets = {secret.event_id: secret.digests for secret in secrets}
    return Erasure(targets, records or [record(targets)], log.last_position())


def files_of(log: SqliteEventLog) -> bytes:
    """Return the bytes of all files in the folder of a log."""
    return b"\n".join(path.read_bytes() for path in sorted(log.path.parent.iterdir()) if path.is_file())


def found(secrets: Iterable[Secret], data: bytes) -> set[str]:
    """Return the ids of the events of which any part of the value, or a salt, is in some bytes."""
    return {
        s.event_id
        for s in secrets
        if any(part in data for text in (s.value, *s.salts) for part in parts(text))
    }


def parts(text: str) -> Iterable[bytes]:
    """Yield what to look for: parts of a text in the clear, and as base64url at each alignment."""
    data = text.encode()
    for form in (data, *(_aligned(data, shift) for shift in range(3))):
        last = max(len(form) - _WINDOW, 0)
        for start in {*range(0, last, max(last // 20, _STEP)), last}:
            yield form[start : start + _WINDOW]


def _aligned(data: bytes, shift: int) -> bytes:
    """Return what base64url makes of bytes that stand behind `shift` others, without what those share in."""
    encoded = base64.urlsafe_b64encode(bytes(shift) + data)
    return encoded[(0, 2, 3)[shift] : (len(data) + shift) // 3 * 4]


def hashes(log: SqliteEventLog) -> list[str]:
    """Return the event hashes of a log."""
    return [event.event_hash for event in log.query(EventQuery())]


def erase_each(path: str, event_ids: list[str]) -> None:
    """Erase whole payloads, one by one, with a scrub after each; what somebody else erased is passed over."""
    with closing(SqliteEventLog(path)) as log:
        for event_id in event_ids:
            targets: Targets = {event_id: None}
            with suppress(UnknownEvent):
                log.erase(Erasure(targets, [record(targets)], log.last_position()))
            log.scrub()
