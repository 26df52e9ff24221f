"""Alarms: what an operator has to hear of at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_logger = logging.getLogger("tracebus")


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that an operator has to hear of at once.

    =================  ============================================================================
    ``log_failed``     the event log cannot be written; events that fail open are being lost
    ``log_recovered``  it can be written again; `lost` events were lost meanwhile
    ``sink_dropped``   a sink fell behind, and `lost` events are dropped for it; the log has them
    ``anchor_failed``  no checkpoint could be signed, or an anchor did not take it; it is tried again
    =================  ============================================================================
    """

    kind: Literal["log_failed", "log_recovered", "sink_dropped", "anchor_failed"]
    message: str
    lost: int = 0
    error: Exception | None = None


OnAlarm = Callable[[Alarm], object]
"""Called in the writer's thread, or in one that anchors: it may not block, and what it raises is logged."""


def log_alarm(alarm: Alarm) -> None:
    """Write an alarm to the logger ``tracebus``; what a bus does that is given nothing else to call."""
    level = logging.WARNING if alarm.kind == "log_recovered" else logging.ERROR
    _logger.log(level, "%s: %s", alarm.kind, alarm.message)
