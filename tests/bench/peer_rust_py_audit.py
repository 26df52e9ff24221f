"""rust-py-audit: hash-chained JSON Lines, written by a core in Rust; ``fsync=True`` makes it durable."""

# mypy: disable-error-code="import-not-found"
# The peer is in an environment of its own, where mypy does not look.

from __future__ import annotations

from pathlib import Path

from payload import PAYLOAD
from peer import serve_peer
from rust_py_audit import AuditLogger


class Log:
    """An `AuditLogger`; nothing is synced."""

    fsync = False

    def __init__(self, folder: Path) -> None:
        self._logger = AuditLogger(app_name="bench", file_path=str(folder / "audit.jsonl"), fsync=self.fsync)

    def append(self, task: int) -> object:
        """Append by `log()`, which is safe in threads."""
        return self._logger.log("agent", "tool_executed", "call", "1", metadata=PAYLOAD)

    def check(self) -> int:
        """Have the file verified by `verify()`."""
        result = self._logger.verify()
        if not result["valid"]:
            raise RuntimeError(result)
        return int(result["total_events"])

    def close(self) -> None:
        """Do nothing: it has no method to close it."""


class SyncedLog(Log):
    """An `AuditLogger` that syncs each event."""

    fsync = True


if __name__ == "__main__":
    serve_peer("rust-py-audit", {"plain": Log, "fsync": SyncedLog})
