"""Measure speed: beside what is wanted, beside the bare disk, and beside other libraries.

    make bench                                                    # several minutes
    make bench ARGS="--growth --markdown --json figures.json"     # what PERFORMANCE.md holds
    .venv/bin/python tests/bench/bench.py --only publish --repeat 3

Ratios are what counts: machines and disks differ, and so does what else runs. Ours and what it is
compared with are therefore measured in turns, each time in a fresh process, and medians are shown.
"Durable" means one sync before each acknowledgement. A peer that is not installed is left out, and
the tables say so.

=================================  ===================================================
rows.py                            the rows, and what is wanted of each
growth.py                          how figures change as a log grows
contestants.py                     who takes part
ours.py, ceilings.py, peer_*.py    what measures, each time in a process of its own
=================================  ===================================================
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from contestants import Contestant, all_contestants
from growth import Stage, measure_growth
from machine import facts
from measure import HERE, say
from rows import GROUPS, QUICK, Bench, Row, Sizes
from table import as_markdown, as_text, comparison, growth, targets

PEERS: Final = HERE.parent.parent / ".bench-peers" / "bin" / "python"


def main() -> None:
    """Measure, and print the tables."""
    given = parse()
    sizes = QUICK if given.quick else Sizes(repeat=given.repeat, log=given.events)
    contestants = all_contestants(given.peers)
    rows: list[Row] = []
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        machine = facts(Path(place))
        if machine["file system"] in ("tmpfs", "ramfs"):
            say(f"{place} is in memory, where syncs cost nothing: name a folder on a disk, --folder")
        bench = Bench(Path(place), sizes, contestants)
        for group in given.groups:
            rows += GROUPS[group](bench)
        if given.growth:
            stages += measure_growth(Path(place), given.growth_sizes, sizes)
    print(report(machine, sizes, rows, contestants, stages, markdown=given.markdown))
    if given.json is not None:
        found = figures(machine, sizes, rows, contestants, stages)
        given.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--only",
        nargs="+",
        choices=[*GROUPS, "growth"],
        metavar="ROWS",
        help=f"of {', '.join(GROUPS)}, growth",
    )
    add("--growth", action="store_true", help="measure also how figures change as a log grows")
    add("--sizes", nargs="+", type=int, metavar="N", help="events in the log that grows (1000 to 1000000)")
    add("--events", type=int, default=Sizes().log, help="events in the log that is verified (%(default)s)")
    add("--repeat", type=int, default=Sizes().repeat, help="turns, of which medians are shown (%(default)s)")
    add("--quick", action="store_true", help="see that all of it runs: tiny sizes, one turn, no peers")
    add("--peers", metavar="PYTHON", help="the interpreter that has the peers (.bench-peers/bin/python)")
    add("--folder", type=Path, metavar="DIR", help="where to make the logs, on the disk to be measured")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--json", type=Path, metavar="FILE", help="write all figures of all turns to a file")
    given = parser.parse_args()
    given.growth |= "growth" in (given.only or ())
    given.groups = [group for group in given.only or GROUPS if group in GROUPS]
    given.growth_sizes = given.sizes or ([100, 300] if given.quick else [1000, 10_000, 100_000, 1_000_000])
    if given.peers is None and not given.quick:
        given.peers = str(PEERS)
    return given


def report(
    machine: dict[str, str],
    sizes: Sizes,
    rows: Sequence[Row],
    contestants: Sequence[Contestant],
    stages: Sequence[Stage],
    *,
    markdown: bool,
) -> str:
    """Return the facts about the machine, and the tables of what was measured."""
    tables = [targets(rows)] if rows else []
    tables += [comparison(contestants, sizes)] if any(one.figures for one in contestants) else []
    tables += [growth(stages, sizes)] if stages else []
    mark = "- " if markdown else ""
    lines = [f"{mark}{name}: {value}" for name, value in machine.items()]
    return "\n".join([*lines, "", *map(as_markdown if markdown else as_text, tables)])


def figures(
    machine: dict[str, str],
    sizes: Sizes,
    rows: Sequence[Row],
    contestants: Sequence[Contestant],
    stages: Sequence[Stage],
) -> dict[str, Any]:
    """Return everything that was measured, with the figures of every turn."""
    return {
        "machine": machine,
        "sizes": sizes._asdict(),
        "rows": [
            {
                "work": row.work,
                "unit": row.unit,
                "ours": row.ours,
                "median": median(row.ours),
                "reference": row.reference,
                "theirs": row.theirs,
                "ratio": row.ratio,
                "wanted": str(row.target),
                "met": row.is_met,
            }
            for row in rows
        ],
        "contestants": [
            {
                "name": one.name,
                "version": one.version,
                "absent": one.absent,
                "durable": one.durable,
                "syncsAnEvent": one.syncs_an_event,
                "figures": one.figures,
            }
            for one in contestants
        ],
        "growth": [{"events": stage.events, "figures": stage.figures} for stage in stages],
    }


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed, and told why above: {shlex.join(error.cmd)}")
