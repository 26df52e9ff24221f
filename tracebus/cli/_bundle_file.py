"""A bundle's file, as commands read and write it; ``-`` is standard input or output."""

from __future__ import annotations

import stat
import sys
from contextlib import suppress
from pathlib import Path

import click

from evidence.bundle import EvidenceBundle
from evidence.canonical import MAX_BYTES
from evidence.errors import MalformedInput
from evidence.inputs import read_parsed
from tracebus.files import write_whole


def read_bundle(path: str) -> EvidenceBundle:
    """Read a bundle, and no more of a file than a bundle may have.

    Raises:
        MalformedInput: It is none; `place` begins with the path.
        OSError: It cannot be read.
    """
    return read_parsed(path, EvidenceBundle.from_json, MAX_BYTES)


def bundle_target(output: str) -> Path | None:
    """Return the file that a bundle goes to, None for standard output; refuse what may not be replaced."""
    if output == "-":
        return None
    path = Path(output).resolve()  # where a symbolic link leads, the link stays
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise click.BadParameter(f"{output} is no file; standard output is -", param_hint="--output")
        if not _is_bundle(path):
            reason = f"{output} is there, and is no bundle: it is not replaced; name another file"
            raise click.BadParameter(reason, param_hint="--output")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint="--output")
    return path


def write_bundle(path: Path | None, bundle: EvidenceBundle) -> None:
    """Write a bundle to a file, which is then there whole or not at all, or to standard output."""
    data = bundle.to_json()
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_whole(path, data)


def _is_bundle(path: Path) -> bool:
    """Tell whether a file is a bundle that another may replace, and not, say, the log or the key."""
    try:
        EvidenceBundle.from_json(path.read_bytes())
    except MalformedInput:
        return False
    return True
