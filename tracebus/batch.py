"""Batches: what publishers put into the writer's queue."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from tracebus.confirmation import Confirmation
from tracebus.errors import AppendUnknown
from tracebus.eventlog.base import AnyEvent, Draft
from tracebus.gate import Gate
from tracebus.secret_reports import is_report


class Ticket:
    """Drafts on their way into the log, and what became of them.

    `confirmations` are what their publisher waits for next, `size` is how many events are counted as
    published, which reports of secrets are not. Nobody published, and nobody waits for, a ticket that is
    `unattended`.
    """

    __slots__ = ("confirmations", "drafts", "outcome", "size", "unattended")

    def __init__(
        self,
        drafts: Sequence[Draft],
        confirmations: Sequence[Confirmation] = (),
        *,
        unattended: bool = False,
    ) -> None:
        self.drafts = drafts
        self.size = 0 if unattended else len(drafts) - sum(map(is_report, drafts))
        self.confirmations = confirmations
        self.unattended = unattended
        self.outcome: list[AnyEvent] | Exception = AppendUnknown("the writer failed")

    def result(self) -> list[AnyEvent]:
        """Return the events, or raise what went wrong."""
        if isinstance(self.outcome, Exception):
            raise _another(self.outcome)
        return self.outcome

    def note_each(self, note: Callable[[AnyEvent], object]) -> list[AnyEvent]:
        """Do as `result`, and call a function with each event first."""
        events = self.result()
        for event in events:
            note(event)
        return events


class Batch:
    """Tickets that are appended together; `settled` opens when their outcomes are there.

    It takes no lock: a handler of signals may publish whose thread is in the midst of publishing.
    """

    __slots__ = ("_closed", "_tickets", "settled", "size")

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()
        self._closed = False
        self.size = 0
        self.settled = Gate()

    def join(self, ticket: Ticket) -> bool:
        """Add a ticket; return False if the batch was taken before."""
        self.size += len(ticket.drafts)
        self._tickets.append(ticket)
        return not (self._closed and self.withdraw(ticket))

    def withdraw(self, ticket: Ticket) -> bool:
        """Take a ticket back; return False if the writer has it already."""
        try:
            self._tickets.remove(ticket)
        except ValueError:
            return False
        return True

    def take(self) -> list[Ticket]:
        """Return the tickets, for good: none can join or be withdrawn any more."""
        self._closed = True
        tickets = []
        with suppress(IndexError):
            while True:
                tickets.append(self._tickets.popleft())
        return tickets


def _another(error: Exception) -> Exception:
    """Return an exception of its own for one of several publishers who share an outcome."""
    try:
        own = copy.copy(error)
    except Exception:
        return error  # one of somebody's, that takes other arguments than it keeps
    own.__cause__ = error
    return own
