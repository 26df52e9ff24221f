"""Gates: where tasks of any event loop, and threads, wait until some thread lets them pass."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel


class LoopWaker:
    """Calls functions in an event loop from other threads, without waiting for them.

    `anyio.from_thread` waits for what it calls; the writer must not, for the loop's own thread may be
    waiting for the writer.
    """

    def __init__(self) -> None:
        self.loop: Any = anyio.lowlevel.current_token().native_token

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Have the loop call a function soon; a loop that has ended calls nothing."""
        call = getattr(self.loop, "call_soon_threadsafe", None) or self.loop.run_sync_soon
        with suppress(RuntimeError):  # asyncio's closed loop; trio.RunFinishedError is one, too
            call(function, *args)


class Gate:
    """Opens once; tasks of any event loop, and threads, wait for it.

    All tasks of one event loop wait for one event, and each thread for a lock of its own: a handler of
    signals may wait at the gate at which the thread that it interrupts is about to wait.
    """

    __slots__ = ("_entries", "_is_open", "_threads")

    def __init__(self) -> None:
        self._entries: dict[object, tuple[LoopWaker, anyio.Event]] = {}
        self._threads: deque[threading.Lock] = deque()
        self._is_open = False

    def entry(self) -> anyio.Event:
        """Return the event that is set in this task's loop when the gate opens."""
        waker = LoopWaker()
        _, entry = self._entries.get(waker.loop) or self._entries.setdefault(
            waker.loop, (waker, anyio.Event())
        )
        if self._is_open:  # it may have opened before it saw this entry
            entry.set()
        return entry

    def wait(self, seconds: float | None = None) -> bool:
        """Block this thread until the gate is open; return False if it is not after so long."""
        passed = threading.Lock()
        passed.acquire()
        self._threads.append(passed)
        if self._is_open:
            return True
        return passed.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))

    def open(self) -> None:
        """Let all pass: threads at once, tasks by one call to each event loop."""
        self._is_open = True
        with suppress(IndexError):
            while True:
                self._threads.popleft().release()
        for waker, entry in list(self._entries.values()):
            waker.call_soon(entry.set)
