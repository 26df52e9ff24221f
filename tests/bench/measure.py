"""Run measuring programs in turns, and keep every figure."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

HERE: Final = Path(__file__).resolve().parent

Figures = dict[str, float]
"""What one run found, by unit: ``per_second``, ``ms``, ``mb``."""

AllFigures = dict[str, list[float]]
"""What all runs found, by unit."""

K = TypeVar("K", bound=Hashable)


class Program(NamedTuple):
    """A program of this folder that measures (see `child`), and the interpreter that runs it."""

    script: str
    python: str = sys.executable

    def run(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Run a command of it, in a process of its own.

        Raises:
            CalledProcessError: It failed, and has told why on standard error.
            OSError: There is no such interpreter.
        """
        done = subprocess.run(
            self._line(command, arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def ask(self, command: str) -> dict[str, Any] | None:
        """Run a command of it that measures nothing; return None where it cannot be run."""
        with suppress(OSError, subprocess.CalledProcessError):
            done = subprocess.run(self._line(command, {}), capture_output=True, check=True)
            return dict(json.loads(done.stdout.splitlines()[-1]))
        return None

    def syncs(self, command: str, **arguments: Any) -> int | None:
        """Return how often a command has the disk synced; None where that cannot be traced."""
        if shutil.which("strace") is None:
            return None
        with tempfile.NamedTemporaryFile() as trace:
            line = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", trace.name]
            done = subprocess.run(line + self._line(command, arguments), capture_output=True, check=False)
            if done.returncode != 0:
                return None
            return len(re.findall(rb"\bf(?:data)?sync\(", Path(trace.name).read_bytes()))

    def _line(self, command: str, arguments: Mapping[str, Any]) -> list[str]:
        return [self.python, str(HERE / self.script), command, json.dumps(arguments)]


def in_turns(work: str, repeat: int, measures: Mapping[K, Callable[[], Figures]]) -> dict[K, AllFigures]:
    """Measure each of several things, in turns; return the figures of all turns for each.

    Another one begins each turn, so that none always follows the same one. Before each, what others
    left to be written is written, or the next one's syncs would pay for it.
    """
    names = list(measures)
    found: dict[K, AllFigures] = {name: {} for name in names}
    for turn in range(repeat):
        say(f"{work}: {turn + 1} of {repeat}")
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            os.sync()
            for unit, figure in measures[name]().items():
                found[name].setdefault(unit, []).append(figure)
    return found


def say(text: str) -> None:
    """Tell on standard error how far it has come."""
    print(text, file=sys.stderr, flush=True)
