"""The benchmarks run; how fast anything is, is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = [
    "canonicalise 450 bytes",
    "commit, for each sensitive member",
    "its size, beside the payload's",
    "publish, one after another",
    "publish, 4 at once",
    "publish_many",
    "verify a log of 100 events",
    "its memory",
    "bundle 100 events out of 100",
    "verify that bundle",
    "import evidence",
]
LIBRARIES = [
    "tracebus: ToolExecuted, two sensitive members",
    "tracebus: the same as a dict, none sensitive",
    "bare disk: append + fdatasync",
]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need os.sync")
def test_a_quick_run_measures_and_prints_every_row(root: Path, tmp_path: Path) -> None:
    """Each row has a figure, in the table and in the file of all figures."""
    bench, file = root / "tests" / "bench" / "bench.py", tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(bench), "--quick", "--folder", str(tmp_path), "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    figures = json.loads(file.read_text("utf-8"))
    assert ROWS == [row["work"] for row in figures["rows"] if row["median"] > 0]
    assert LIBRARIES == [one["name"] for one in figures["contestants"] if one["figures"]]
    printed = {line.split("  ")[0] for line in done.stdout.splitlines()}
    assert set() == {*ROWS, *LIBRARIES} - printed
