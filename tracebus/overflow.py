"""Overflow: which events a sink that has fallen behind will not get, and how that is told."""

from __future__ import annotations

import time
from collections import deque

from evidence.header import format_timestamp
from tracebus.alarm import Alarm
from tracebus.events import RecordingGap
from tracebus.subscription import Subscription


class Dropped:
    """The events that are dropped for one sink (ADR 0009). It belongs to the sink's own event loop."""

    def __init__(self, subscription: Subscription) -> None:
        self._overflow = subscription.overflow
        self._size = subscription.buffer_events
        self._sink = subscription.sink.name
        # For drop_newest: first and last positions to skip. An event at least lies between two of them.
        self._ranges: deque[list[int]] = deque()
        self._unrecorded = 0
        self._since: str | None = None
        self._is_alarmed = False
        self._is_due = True
        self.count = 0

    def note_offer(self, first: int, last: int, position: int, *, is_upkeep: bool) -> None:
        """Take note of new events, at a time when the sink has come to a position.

        Where they are nothing but what the log itself records, a gap that they make is recorded with the
        next one, or each gap would make another.
        """
        self._is_due = self._is_due or not is_upkeep
        if self._overflow != "drop_newest":
            return
        waiting = first - 1 - position - sum(end - begin + 1 for begin, end in self._ranges)
        begin = first + max(0, self._size - waiting)
        if begin > last:
            return
        if self._ranges and self._ranges[-1][1] == begin - 1:
            self._ranges[-1][1] = last
        else:
            self._ranges.append([begin, last])

    def skip(self, position: int, stored: int, since: str | None) -> int:
        """Return the position behind which the sink goes on; `since` is the time of the event there."""
        target = position
        if self._overflow == "drop_oldest":
            target = max(position, stored - self._size)
        while self._ranges and self._ranges[0][0] <= target + 1:
            target = max(target, self._ranges.popleft()[1])
        if target > position:
            if not self._unrecorded:
                self._since, self._is_alarmed = since, False
            self._unrecorded += target - position
            self.count += target - position
        return target

    def room(self, position: int, size: int) -> int:
        """Return how many of the next events may be delivered, at most `size`; after `skip`, at least one."""
        return min(size, self._ranges[0][0] - 1 - position) if self._ranges else size

    def take_alarm(self) -> Alarm | None:
        """Return the alarm that events are being dropped, once for each gap."""
        if self._is_alarmed or not self._unrecorded:
            return None
        self._is_alarmed = True
        message = f"sink {self._sink} fell behind; {self._unrecorded} events are dropped so far"
        return Alarm("sink_dropped", message, self._unrecorded)

    def take_gap(self, *, is_last: bool) -> RecordingGap | None:
        """Return what is to be recorded of the events dropped since this was asked last."""
        if not self._unrecorded or not (self._is_due or is_last):
            return None
        count, self._unrecorded, self._is_due = self._unrecorded, 0, False
        return RecordingGap(
            reason=f"the sink fell behind: {self._overflow}; the log has the events",
            count=count,
            since=self._since,
            until=format_timestamp(time.time_ns()),
            component=f"sink {self._sink}",
        )
