"""A program that measures one thing, in a process of its own, and prints what it found as JSON.

    python ours.py verify '{"folder": "/tmp/x"}'

Each measurement has a fresh process, so that none profits or suffers from another's memory and caches.
This file is all that a peer's program shares with ours: it needs nothing but the standard library.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Command = Callable[..., dict[str, Any]]


def serve(commands: Mapping[str, Command]) -> None:
    """Carry out the command that the command line names, and print its figures."""
    name, arguments = sys.argv[1:]
    print(json.dumps(commands[name](**json.loads(arguments))))


def per_second(count: int, work: Callable[[], object]) -> float:
    """Do some work once; return how many a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def milliseconds(work: Callable[[], object]) -> float:
    """Do some work once; return how long it took."""
    return 1000 / per_second(1, work)


def peak_megabytes() -> float:
    """Return the most memory that this process had resident so far, in units of 2**20 bytes.

    Linux carries the parent's peak over an exec into ``ru_maxrss``, so there the kernel's figure for
    this program alone is read, ``VmHWM`` (proc_pid_status(5)).
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
