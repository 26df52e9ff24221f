"""Who takes part: ours in two ways, the bare disk, and the peers in theirs."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from measure import AllFigures, Figures, Program, say

OURS: Final = Program("ours.py")
CEILINGS: Final = Program("ceilings.py")

ONE_BY_ONE: Final = "one by one"
VERIFY: Final = "verify"


@dataclass
class Contestant:
    """A way to write events down, and what was measured of it."""

    name: str
    program: Program
    kind: str = ""
    """Which of the program's logs."""
    verified_kind: str = ""
    """Which of the program's logs to make and to verify; none where it cannot verify."""
    at_once: tuple[str, ...] = ("tasks",)
    """The ways in which many may use it at once; the best one counts."""
    is_peer: bool = False
    promises_sync: bool = True
    version: str = ""
    absent: str = ""
    """Why it does not take part."""
    syncs_an_event: float | None = None
    figures: dict[str, AllFigures] = field(default_factory=dict)
    """What was measured, by work: `ONE_BY_ONE`, each way of `at_once`, `VERIFY`."""

    @property
    def durable(self) -> bool:
        """Whether each event is synced before the next; as promised, where that could not be traced."""
        return self.promises_sync if self.syncs_an_event is None else self.syncs_an_event > 0.95

    @property
    def verified_log(self) -> tuple[str, str]:
        """Which log is verified: one may do for several contestants."""
        return Path(self.program.script).stem, self.verified_kind

    def publish(self, folder: Path, way: str, tasks: int, each: int) -> Figures:
        """Publish into a new log, in one of the ways to use it."""
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return self._run("publish", **self._publishing(place, way, tasks, each))

    def trace_syncs(self, folder: Path, events: int) -> None:
        """Find out how many syncs it makes for each event that is published by itself."""
        with tempfile.TemporaryDirectory(dir=folder) as place:
            count = self.program.syncs("publish", **self._publishing(place, ONE_BY_ONE, 1, events))
        self.syncs_an_event = None if count is None else count / events

    def fill(self, folder: Path, events: int) -> None:
        """Make a log to verify."""
        self._run("fill", **self._verifying(folder, events))

    def verify(self, folder: Path, events: int) -> Figures:
        """Verify a log that `fill` made."""
        return self._run("verify", **self._verifying(folder, events))

    def _publishing(self, folder: str, way: str, tasks: int, each: int) -> dict[str, Any]:
        kind = {"kind": self.kind} if self.kind else {}
        return {"folder": folder, "tasks": tasks, "each": each, **kind, **self._peers_only(way=way)}

    def _verifying(self, folder: Path, events: int) -> dict[str, Any]:
        return {"folder": str(folder), "events": events, **self._peers_only(kind=self.verified_kind)}

    def _peers_only(self, **arguments: Any) -> dict[str, Any]:
        return arguments if self.is_peer else {}

    def _run(self, command: str, **arguments: Any) -> Figures:
        """Run a command of the program; a peer that fails found nothing, ours may not fail."""
        try:
            return self.program.run(command, **arguments)
        except subprocess.CalledProcessError:
            if not self.is_peer:
                raise
            say(f"{self.name}: {command} failed")
            return {}

    def runs(self, work: str, unit: str = "per_second") -> list[float]:
        """Return what was measured of some work; nothing if it was not."""
        return self.figures.get(work, {}).get(unit, [])

    def best_way(self) -> str:
        """Return the way in which many use it at once with the most success."""
        return max(self.at_once, key=lambda way: median(self.runs(way) or [0]))


def all_contestants(peers: str | None) -> list[Contestant]:
    """Return who takes part; peers that are not installed are among them, and say so.

    Args:
        peers: The interpreter that the peers are installed in; None to leave all of them out.
    """
    return [
        Contestant("tracebus: ToolExecuted, two sensitive members", OURS, "typed", "typed"),
        Contestant("tracebus: the same as a dict, none sensitive", OURS, "dict"),
        Contestant("bare disk: append + fdatasync", CEILINGS, at_once=("one sync for all",)),
        *([] if peers is None else _find(_peers(peers))),
    ]


def _peers(python: str) -> Iterator[Contestant]:
    """Yield each way that a peer has to append one event and return when it has it.

    Some logs are made without syncs to be verified, which saves a minute and changes no byte of them.
    """
    for name, script, kind, verified_kind, promises_sync in (
        ("rust-py-audit, fsync=True", "peer_rust_py_audit.py", "fsync", "plain", True),
        ("rust-py-audit", "peer_rust_py_audit.py", "plain", "plain", False),
        ("noirebox", "peer_noirebox.py", "sqlite", "unsynced", True),
        ("eventsourcing, SQLite", "peer_eventsourcing.py", "sqlite", "", True),
        ("agent-aegis, AuditLogger", "peer_agent_aegis.py", "table", "", True),
        ("agent-aegis, CryptoAuditChain", "peer_agent_aegis.py", "chain", "chain", False),
    ):
        yield Contestant(
            name,
            Program(script, python),
            kind,
            verified_kind,
            at_once=("tasks", "threads"),
            is_peer=True,
            promises_sync=promises_sync,
        )


def _find(peers: Iterable[Contestant]) -> Iterator[Contestant]:
    """Yield the peers, each with its version, or with the reason why there is none."""
    for peer in peers:
        installed = peer.program.ask("installed")
        if installed is None:
            peer.absent = "not installed"
        else:
            peer.version = installed["version"]
        yield peer
