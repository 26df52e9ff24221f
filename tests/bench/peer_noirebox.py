"""noirebox: hash-chained rows in SQLite, each signed with Ed25519 and committed by itself."""

# mypy: disable-error-code="import-not-found"
# The peer is in an environment of its own, where mypy does not look.

from __future__ import annotations

from pathlib import Path

from noirebox.chain import load_instance_key, verify_chain
from noirebox.store import EventStore
from payload import PAYLOAD
from peer import serve_peer


class Log:
    """An `EventStore` and its key, used as its server and its `noirebox verify` use them."""

    def __init__(self, folder: Path) -> None:
        path = str(folder / "journal.db")
        self._store, self._key = EventStore(path), load_instance_key(path)

    def append(self, task: int) -> object:
        """Append by `append()`, which is safe in threads."""
        return self._store.append("tool_executed", PAYLOAD, self._key)

    def check(self) -> int:
        """Read the whole journal and verify it: links, hashes and signatures."""
        result = verify_chain(self._key.public_hex(), self._store.all())
        if not result["valid"]:
            raise RuntimeError(result["first_error"])
        return int(result["nb_events"])

    def close(self) -> None:
        """Do nothing: it has no method to close it."""


class UnsyncedLog(Log):
    """The same without syncs, to make a log to verify in less time; it is not measured."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store._conn.execute("PRAGMA synchronous = OFF")


if __name__ == "__main__":
    serve_peer("noirebox", {"sqlite": Log, "unsynced": UnsyncedLog})
