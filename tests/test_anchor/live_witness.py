"""A C2SP witness that runs, of another implementation than ours."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evidence.note import NoteKey


@dataclass
class Witness:
    """A C2SP witness that runs: another implementation than ours."""

    python: str
    config: Path
    url: str
    vkey: str = ""
    process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> str:
        """Run the witness's command line; return what it prints."""
        command = [self.python, "-m", "aics_witness", *arguments]
        environment = {**os.environ, "AICS_WITNESS_CONFIG": str(self.config)}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Serve."""
        self.process = subprocess.Popen(
            [self.python, "-m", "aics_witness", "serve"],
            env={**os.environ, "AICS_WITNESS_CONFIG": str(self.config)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(f"{self.url}/healthz", self.process)

    def stop(self) -> None:
        """Serve no longer."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def restart(self) -> None:
        """Serve with the logs that it was told of meanwhile."""
        self.stop()
        self.start()

    def trust(self, key: NoteKey) -> None:
        """Have the witness know a log."""
        self.run("add-log", "--origin", key.name, "--vkey", key.to_vkey())

    def size_of(self, key: NoteKey) -> int | None:
        """Return the size that it has cosigned last of a log."""
        (log,) = (
            log for log in json.loads(self.run("status", "--json"))["logs"] if log["origin"] == key.name
        )
        size: int | None = log["size"]
        return size

    def evidence(self) -> list[dict[str, Any]]:
        """Return the contradictions that it kept."""
        kept: list[dict[str, Any]] = json.loads(self.run("evidence"))
        return kept


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 40) -> None:
    """Wait until somebody answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"nobody answers at {url}")
