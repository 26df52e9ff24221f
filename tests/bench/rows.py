"""The rows of the table of targets, each measured in turns with what it is compared with."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, Literal, NamedTuple

from contestants import CEILINGS, ONE_BY_ONE, OURS, VERIFY, Contestant
from measure import Figures, in_turns, say
from payload import WORKFLOW


class Sizes(NamedTuple):
    """How much is measured."""

    repeat: int = 5
    canonicalise: int = 30_000
    """Times that the payload is canonicalised."""
    one_by_one: int = 1500
    """Events that one publisher publishes, each after the other."""
    tasks: int = 64
    each: int = 100
    """Events that each of the tasks publishes."""
    many: int = 10_000
    """Events that `publish_many` publishes."""
    batch: int = 1000
    """Events that `publish_many` is given at a time."""
    log: int = 100_000
    """Events in the log that is verified, and out of which one workflow is bundled."""
    traced: int = 1000
    """Events for which syncs are counted; 0 to count none."""


QUICK: Final = Sizes(
    repeat=1, canonicalise=100, one_by_one=20, tasks=4, each=5, many=50, batch=20, log=100, traced=0
)
"""Enough to see that everything runs, and for nothing else."""


@dataclass(frozen=True)
class Target:
    """What is wanted: at most, or at least, so much of the figure itself or of its ratio."""

    sign: Literal["≥", "<"]
    bound: float
    unit: str

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:,g} {self.unit}"

    def is_met(self, value: float) -> bool:
        """Tell whether a value is what was wanted."""
        return value >= self.bound if self.sign == "≥" else value < self.bound


@dataclass(frozen=True)
class Row:
    """A row of the table: some work, what ours and a reference reached, and what is wanted."""

    work: str
    unit: str
    ours: Sequence[float]
    target: Target
    reference: str = ""
    theirs: Sequence[float] = ()

    @property
    def ratio(self) -> float | None:
        """Ours in terms of the reference, where there is one."""
        return median(self.ours) / median(self.theirs) if self.theirs else None

    @property
    def is_met(self) -> bool | None:
        """Whether ours is what was wanted; None where what it is compared with is missing."""
        value = self.ratio if self.target.unit == "×" else median(self.ours)
        return None if value is None else self.target.is_met(value)


class Bench:
    """Measures the rows, group by group; what is measured of a contestant is kept with it."""

    def __init__(self, folder: Path, sizes: Sizes, contestants: Sequence[Contestant]) -> None:
        self._folder = folder
        self._sizes = sizes
        self._contestants = [contestant for contestant in contestants if not contestant.absent]
        self._ours = self._contestants[0]
        (self._disk,) = [contestant for contestant in contestants if contestant.program == CEILINGS]

    def canonicalise(self) -> Iterator[Row]:
        """A payload's canonical bytes, beside `rfc8785`."""
        count = self._sizes.canonicalise
        found = in_turns(
            "canonicalise",
            self._sizes.repeat,
            {
                "ours": lambda: OURS.run("canonicalise", count=count),
                "rfc8785": lambda: CEILINGS.run("canonicalise", count=count),
            },
        )
        ours, theirs = (found[name]["per_second"] for name in ("ours", "rfc8785"))
        yield Row("canonicalise 450 bytes", "/s", ours, Target("≥", 8, "×"), "rfc8785", theirs)

    def sensitive(self) -> Iterator[Row]:
        """What each member costs that a pattern makes sensitive."""
        work = "commit, for each sensitive member"
        count = self._sizes.canonicalise
        found = in_turns(work, self._sizes.repeat, {"ours": lambda: OURS.run("sensitive", count=count)})
        yield Row(work, "µs", found["ours"]["us"], Target("<", 5, "µs"))
        yield Row(
            "its size, beside the payload's", "bytes", found["ours"]["bytes"], Target("<", 160, "bytes")
        )

    def publish(self) -> Iterator[Row]:
        """Publish one after another, beside the bare disk, and from many tasks at once, beside peers."""
        sizes = self._sizes
        self._count_syncs()
        work = "publish, one after another"
        self._publish(work, lambda contestant: (ONE_BY_ONE,), 1, sizes.one_by_one)
        yield Row(
            work,
            "/s",
            self._ours.runs(ONE_BY_ONE),
            Target("≥", 0.6, "×"),
            "append + fdatasync",
            self._disk.runs(ONE_BY_ONE),
        )
        work = f"publish, {sizes.tasks} at once"
        self._publish(work, lambda contestant: contestant.at_once, sizes.tasks, sizes.each)
        best = self._best_durable_peer()
        theirs = [] if best is None else best.runs(best.best_way())
        reference = "no durable peer" if best is None else best.name
        yield Row(work, "/s", self._ours.runs(self._ours.best_way()), Target("≥", 5, "×"), reference, theirs)

    def _count_syncs(self) -> None:
        for contestant in self._contestants if self._sizes.traced else ():
            say(f"count syncs: {contestant.name}")
            contestant.trace_syncs(self._folder, self._sizes.traced)

    def _publish(
        self, work: str, ways: Callable[[Contestant], Collection[str]], tasks: int, each: int
    ) -> None:
        measures = {
            (contestant.name, way): partial(contestant.publish, self._folder, way, tasks, each)
            for contestant in self._contestants
            for way in ways(contestant)
        }
        found = in_turns(work, self._sizes.repeat, measures)
        for contestant in self._contestants:
            contestant.figures |= {way: found[contestant.name, way] for way in ways(contestant)}

    def _best_durable_peer(self) -> Contestant | None:
        """Return the peer that syncs each event and is the fastest when many use it at once."""
        able = [peer for peer in self._contestants if peer.is_peer and peer.durable]
        able = [peer for peer in able if peer.runs(peer.best_way())]
        return max(able, key=lambda peer: median(peer.runs(peer.best_way())), default=None)

    def publish_many(self) -> Iterator[Row]:
        """Bulk publishing, beside bare `executemany` of the same rows into the same tables."""
        sizes = self._sizes

        def ours() -> Figures:
            with tempfile.TemporaryDirectory(dir=self._folder) as place:
                return OURS.run("publish_many", folder=place, events=sizes.many, size=sizes.batch)

        def theirs() -> Figures:
            with tempfile.TemporaryDirectory(dir=self._folder) as place:
                return CEILINGS.run("executemany", folder=place, source=source, size=sizes.batch)

        with tempfile.TemporaryDirectory(dir=self._folder) as source:
            OURS.run("publish_many", folder=source, events=sizes.many, size=sizes.batch)
            found = in_turns("publish_many", sizes.repeat, {"ours": ours, "theirs": theirs})
        rates = [found[name]["per_second"] for name in ("ours", "theirs")]
        yield Row(
            "publish_many", "/s", rates[0], Target("≥", 0.4, "×"), "executemany, the same rows", rates[1]
        )

    def verify(self) -> Iterator[Row]:
        """Verify a log of many events; peers that can verify do the same with theirs."""
        work = f"verify a log of {self._sizes.log:,} events"
        able = [contestant for contestant in self._contestants if contestant.verified_kind]
        logs = {contestant.verified_log: self._log(contestant) for contestant in able}
        measures = {
            contestant.verified_log: partial(
                contestant.verify, logs[contestant.verified_log], self._sizes.log
            )
            for contestant in able
        }
        found = in_turns(work, self._sizes.repeat, measures)
        for contestant in able:
            contestant.figures[VERIFY] = found[contestant.verified_log]
        yield Row(work, "/s", self._ours.runs(VERIFY), Target("≥", 90_000, "/s"))
        yield Row("its memory", "MB", self._ours.runs(VERIFY, "mb"), Target("<", 64, "MB"))

    def _log(self, contestant: Contestant) -> Path:
        """Return the folder of a contestant's large log, which is made when it is first asked for."""
        folder = self._folder / "-".join(contestant.verified_log)
        if not folder.exists():
            say(f"fill a log: {contestant.name}")
            folder.mkdir()
            contestant.fill(folder, self._sizes.log)
        return folder

    def bundle(self) -> Iterator[Row]:
        """Bundle one workflow of a large log, and verify that bundle."""
        log = str(self._log(self._ours))
        events = min(WORKFLOW, self._sizes.log)
        work = f"bundle {events:,} events out of {self._sizes.log:,}"
        found = in_turns(
            work,
            self._sizes.repeat,
            {
                "bundle": lambda: OURS.run("bundle", folder=log),
                "verify": lambda: OURS.run("verify_bundle", folder=log),
            },
        )
        yield Row(work, "ms", found["bundle"]["ms"], Target("<", 100, "ms"))
        yield Row("verify that bundle", "ms", found["verify"]["ms"], Target("<", 25, "ms"))

    def import_evidence(self) -> Iterator[Row]:
        """A fresh interpreter that imports `evidence`, less one that imports nothing."""
        found = in_turns(
            "import evidence",
            self._sizes.repeat,
            {code: partial(_run_python, code) for code in ("import evidence", "pass")},
        )
        pairs = zip(found["import evidence"]["ms"], found["pass"]["ms"], strict=True)
        extra = [with_it - without for with_it, without in pairs]
        yield Row("import evidence", "ms", extra, Target("<", 150, "ms"))


def _run_python(code: str) -> Figures:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return {"ms": (time.perf_counter() - start) * 1000}


GROUPS: Final[dict[str, Callable[[Bench], Iterator[Row]]]] = {
    "canonicalise": Bench.canonicalise,
    "sensitive": Bench.sensitive,
    "publish": Bench.publish,
    "publish_many": Bench.publish_many,
    "verify": Bench.verify,
    "bundle": Bench.bundle,
    "import": Bench.import_evidence,
}
