"""eventsourcing: stored events in SQLite, a transaction for each `save`; no hashes and no chain."""

# mypy: disable-error-code="import-not-found, misc"
# The peer is in an environment of its own, where mypy does not look.

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from payload import PAYLOAD
from peer import serve_peer


class ToolExecuted(DomainEvent):
    """An event that holds the payload."""

    payload: dict[str, Any]


class Log:
    """An `Application` with its SQLite recorder; each task has an aggregate of its own."""

    def __init__(self, folder: Path) -> None:
        database = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.db")}
        self._application = Application(env=database)
        self._aggregates: dict[int, tuple[Any, count[int]]] = {}

    def append(self, task: int) -> object:
        """Append by `save()` of one event, the next of the task's aggregate."""
        if task not in self._aggregates:
            self._aggregates[task] = (uuid4(), count(1))
        aggregate, versions = self._aggregates[task]
        return self._application.save(
            ToolExecuted(
                originator_id=aggregate,
                originator_version=next(versions),
                timestamp=ToolExecuted.create_timestamp(),
                payload=PAYLOAD,
            )
        )

    def check(self) -> int:
        """Count the events: there is nothing to verify."""
        return int(self._application.recorder.max_notification_id())

    def close(self) -> None:
        """Close the database."""
        self._application.close()


if __name__ == "__main__":
    serve_peer("eventsourcing", {"sqlite": Log})
