"""How figures change as a log grows: each measured at so many events, in a process of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from contestants import OURS
from measure import AllFigures, Figures, in_turns, say
from rows import Sizes


@dataclass
class Stage:
    """What was measured at one size of the log, by work."""

    events: int
    figures: dict[str, AllFigures]


def measure_growth(folder: Path, events: Sequence[int], sizes: Sizes) -> Iterator[Stage]:
    """Let a log grow, in workflows of 1,000 typed events; measure at each number of events."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for count in sorted(events):
            say(f"fill a log to {count:,} events")
            OURS.run("fill", folder=place, events=count)
            found = in_turns(
                f"at {count:,} events",
                sizes.repeat,
                {
                    "publish": partial(
                        _append, place, "publish", kind="typed", tasks=sizes.tasks, each=sizes.each
                    ),
                    "publish_many": partial(
                        _append, place, "publish_many", events=sizes.many, size=sizes.batch
                    ),
                    "verify": partial(OURS.run, "verify", folder=place, events=count),
                    "log.query": partial(OURS.run, "query", folder=place, through="log"),
                    "bus.query": partial(OURS.run, "query", folder=place, through="bus"),
                    "bundle": partial(OURS.run, "bundle", folder=place),
                    "import": partial(OURS.run, "imports"),
                },
            )
            file_size = Path(place, "trace.db").stat().st_size
            yield Stage(count, {"file": {"bytes": [file_size / count]}} | found)


def _append(log: str, command: str, **arguments: Any) -> Figures:
    """Publish into a copy of a log, so that the log itself keeps its size."""
    with tempfile.TemporaryDirectory(dir=Path(log).parent) as copy:
        shutil.copy(Path(log, "trace.db"), copy)
        os.sync()
        return OURS.run(command, folder=copy, **arguments)
