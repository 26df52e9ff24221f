"""Overflow: which events a sink that has fallen behind will not get, and how that is told."""

from __future__ import annotations

import threading
import time
from collections import deque

from evidence.header import format_timestamp
from tracebus.alarm import Alarm
from tracebus.events import RecordingGap
from tracebus.subscription import Subscription


class Dropped:
    """The positions that are dropped for one sink (ADR 0009).

    Positions are taken note of in the writer's thread, and skipped in the sink's own task.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._overflow = subscription.overflow
        self._size = subscription.buffer_events
        self._sink = subscription.sink.name
        self._lock = threading.Lock()
        # For drop_newest: first and last positions to skip. An event at least lies between two of them.
        self._ranges: deque[list[int]] = deque()
        self._unrecorded = 0
        self._alarmed = False
        self._since = ""
        self.count = 0

    def note_offer(self, first: int, last: int, lag: int) -> None:
        """Take note of new events, at a time when so many others wait."""
        if self._overflow != "drop_newest":
            return
        with self._lock:
            waiting = lag - sum(end - begin + 1 for begin, end in self._ranges)
            room = max(0, self._size - waiting)
            begin = first + room
            if begin > last:
                return
            if self._ranges and self._ranges[-1][1] == begin - 1:
                self._ranges[-1][1] = last
            else:
                self._ranges.append([begin, last])

    def skip(self, position: int, stored: int) -> int:
        """Return the position behind which the sink goes on."""
        if self._overflow == "drop_oldest":
            target = max(position, stored - self._size)
        elif self._overflow == "drop_newest":
            with self._lock:
                target = position
                while self._ranges and self._ranges[0][0] <= target + 1:
                    target = max(target, self._ranges.popleft()[1])
        else:
            return position
        self._note_dropped(target - position)
        return target

    def room(self, position: int, size: int) -> int:
        """Return how many of the next events may be delivered, at most `size`."""
        with self._lock:
            return min(size, self._ranges[0][0] - 1 - position) if self._ranges else size

    def _note_dropped(self, count: int) -> None:
        if count <= 0:
            return
        if not self._unrecorded:
            self._since = format_timestamp(time.time_ns())
            self._alarmed = False
        self._unrecorded += count
        self.count += count

    @property
    def has_begun(self) -> bool:
        """Whether events are being dropped, and no alarm has been raised."""
        return self._unrecorded > 0 and not self._alarmed

    def alarm(self) -> Alarm:
        """Return the alarm that events are being dropped."""
        self._alarmed = True
        message = f"sink {self._sink} fell behind; {self._unrecorded} events are dropped so far"
        return Alarm("sink_dropped", message, self._unrecorded)

    def take_gap(self) -> RecordingGap | None:
        """Return what is to be recorded of the events dropped since this was asked last."""
        if not self._unrecorded:
            return None
        count, self._unrecorded = self._unrecorded, 0
        return RecordingGap(
            reason=f"the sink fell behind: {self._overflow}; the log has the events",
            count=count,
            since=self._since,
            until=format_timestamp(time.time_ns()),
            component=f"sink {self._sink}",
        )
