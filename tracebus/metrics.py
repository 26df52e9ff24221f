"""Metrics: what a bus has done since it was opened, and how it is doing."""

from __future__ import annotations

from dataclasses import dataclass

from tracebus.delivery import DeliveryStatus


@dataclass(frozen=True, slots=True)
class Metrics:
    """A bus at a glance; all counts are of events since it was opened.

    ``published`` were given to it; of these ``committed`` are in the log (repeats by key included),
    ``refused`` raised, ``unrecorded`` failed open, ``withdrawn`` were cancelled before they were appended,
    and ``queue_depth`` are waiting. A batch is what was appended with one sync: ``batches`` so far, the
    last and the largest of ``last_batch`` and ``largest_batch`` events. What the bus records itself, such
    as gaps and ``secret_detected``, counts in batches only.
    """

    published: int
    committed: int
    refused: int
    unrecorded: int
    withdrawn: int
    batches: int
    last_batch: int
    largest_batch: int
    sinks: tuple[DeliveryStatus, ...]

    @property
    def queue_depth(self) -> int:
        """How many events are waiting to be appended, or being appended."""
        return self.published - self.committed - self.refused - self.unrecorded - self.withdrawn
