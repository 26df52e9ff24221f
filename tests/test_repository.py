"""What the repository holds, and what must never get into it."""

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

# Lock files that name an index, logs that a run left behind, private keys.
UNWANTED = (
    *("uv.lock", "poetry.lock", "Pipfile.lock"),
    *("*.db", "*.db-journal", "*.db-shm", "*.db-wal", "*.sqlite", "*.sqlite3"),
    *("*.key", "*.p12", "*.pfx", "id_ed25519", "id_rsa", ".env"),
)

# Spelled in pieces, so that this file is not what the tests find.
MACHINE_PATHS = re.compile(
    rb"(?<![\w.~-])(?:/" + rb"work/|/" + rb"root/|/" + rb"home/\w|/" + rb"Users/\w)"
    rb"|[A-Z]:\\{1,2}" + rb"Users\\"
)
REGISTRY_HOSTS = re.compile(
    rb"(?:pypi|pypa|python" rb"hosted)\.(?:org|io)|npm" rb"js\.(?:org|com)|deb\.debian" rb"\.org"
)
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE" rb" KEY-----\r?\n[A-Za-z0-9+/=]{16}")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Return the tracked files, as paths relative to the root."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [Path(name) for name in done.stdout.split("\0") if name]
    if not paths:
        pytest.skip("nothing is tracked yet")
    return paths


def _lines_with(pattern: re.Pattern[bytes], paths: list[Path]) -> list[str]:
    """Return place and text of each match in the files that are still there."""
    found = []
    for path in paths:
        if (ROOT / path).is_file():
            content = (ROOT / path).read_bytes()
            for hit in pattern.finditer(content):
                line = content.count(b"\n", 0, hit.start()) + 1
                found.append(f"{path}:{line}: {hit[0]!r}")
    return found


def test_no_lock_file_event_log_or_key_is_tracked(tracked: list[Path]) -> None:
    """Nothing is tracked that a run leaves behind or that somebody must keep secret."""
    assert [] == [str(path) for path in tracked for name in UNWANTED if fnmatch.fnmatch(path.name, name)]


def test_no_private_key_is_tracked(tracked: list[Path]) -> None:
    """No file holds a private key in PEM, whatever its name."""
    assert [] == _lines_with(PRIVATE_KEY, tracked)


def test_no_path_of_a_machine_is_tracked(tracked: list[Path]) -> None:
    """No file names a folder of the machine that it was written on."""
    assert [] == _lines_with(MACHINE_PATHS, tracked)


def test_no_registry_host_is_tracked(tracked: list[Path]) -> None:
    """No file says where packages come from: that is each installer's own setting."""
    assert [] == _lines_with(REGISTRY_HOSTS, tracked)


def test_every_dependency_is_pinned_as_declared() -> None:
    """requirements-dev.txt follows pyproject.toml; if not, run `make requirements`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    text = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    pins = {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }
    wanted = [Requirement(line) for line in declared]
    wrong = [
        str(want)
        for want in wanted
        if not want.specifier.contains(pins.get(canonicalize_name(want.name), "0"))
    ]
    assert [] == wrong


def test_every_pin_carries_its_hashes() -> None:
    """Pip refuses a file that is not the one that was pinned."""
    text = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    pins = re.split(r"\n(?=\S)", text.strip())
    assert [] == [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin]
