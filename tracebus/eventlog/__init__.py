"""Event logs: append-only stores of events, one chain for each run.

`EventLog` says what a log promises; `MemoryEventLog` and `SqliteEventLog` are two of them. A log of
one's own subclasses `EventLog` and passes `tracebus.testing.EventLogContract`.
"""

from tracebus.eventlog.base import (
    ANY_TENANT,
    AnyEvent,
    CursorStore,
    Draft,
    ErasableLog,
    Erasure,
    EventLog,
    EventQuery,
    HeadsLeaf,
    HeadsStore,
    RunSummary,
)
from tracebus.eventlog.memory import MemoryEventLog
from tracebus.eventlog.sealing import Batch, Sealer
from tracebus.eventlog.sqlite import SqliteEventLog

__all__ = [
    "ANY_TENANT",
    "AnyEvent",
    "Batch",
    "CursorStore",
    "Draft",
    "ErasableLog",
    "Erasure",
    "EventLog",
    "EventQuery",
    "HeadsLeaf",
    "HeadsStore",
    "MemoryEventLog",
    "RunSummary",
    "Sealer",
    "SqliteEventLog",
]
