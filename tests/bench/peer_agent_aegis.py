"""agent-aegis: an audit table in SQLite without hashes, and a hash chain that lives in memory."""

# mypy: disable-error-code="import-not-found"
# The peer is in an environment of its own, where mypy does not look.

from __future__ import annotations

from pathlib import Path

from aegis.core.action import Action
from aegis.core.crypto_audit import CryptoAuditChain
from aegis.core.policy import Approval, PolicyDecision
from aegis.core.risk import RiskLevel
from aegis.runtime.audit import AuditLogger
from payload import PAYLOAD
from peer import serve_peer


class Table:
    """An `AuditLogger`."""

    def __init__(self, folder: Path) -> None:
        self._logger = AuditLogger(folder / "audit.db")

    def append(self, task: int) -> object:
        """Append by `log()`, which is safe in threads."""
        action = Action("tool_executed", "wire_transfer", PAYLOAD)
        return self._logger.log("session", PolicyDecision(action, RiskLevel.LOW, Approval.AUTO, "rule"))

    def check(self) -> int:
        """Count the rows: there is nothing to verify."""
        return int(self._logger.count())

    def close(self) -> None:
        """Close the database."""
        self._logger.close()


class Chain:
    """A `CryptoAuditChain`; its file is written and read as a whole."""

    def __init__(self, folder: Path) -> None:
        self._chain, self._file = CryptoAuditChain(), folder / "chain.jsonl"

    def append(self, task: int) -> object:
        """Append by `append()`, which is safe in threads."""
        return self._chain.append(
            "agent", "tool_executed", "wire_transfer", "auto", "low", "rule", metadata=PAYLOAD
        )

    def check(self) -> int:
        """Verify what is in memory, or load the file, which verifies it."""
        if len(self._chain) == 0:
            self._chain.import_jsonl(self._file)
        elif not (result := self._chain.verify()).valid:
            raise RuntimeError(result.error_message)
        return len(self._chain)

    def close(self) -> None:
        """Write the file."""
        self._chain.export_jsonl(self._file)


if __name__ == "__main__":
    serve_peer("agent-aegis", {"table": Table, "chain": Chain})
