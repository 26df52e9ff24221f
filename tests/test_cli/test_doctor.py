"""`tracebus doctor`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Cli = Callable[..., Result]


def test_this_installation_is_well(cli: Cli) -> None:
    """Packages, entry points and SQLite are named, and nothing is wrong with them."""
    result = cli("doctor", "--json")
    found = json.loads(result.stdout)
    assert (0, set()) == (result.exit_code, {finding["fault"] for finding in found} - {None})
    assert {"package evidence", "package sinks", "package tracebus"} <= {finding["what"] for finding in found}


def test_a_package_of_the_same_name_is_found(tmp_path: Path) -> None:
    """A folder called sinks that Python finds first is named as what is wrong."""
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "tracebus", "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 1 == done.returncode
    assert "not beside tracebus" in done.stdout
