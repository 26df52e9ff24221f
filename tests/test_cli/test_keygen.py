"""`tracebus keygen`."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from evidence import Ed25519Signer, VerifyingKey
from tracebus.cli import keygen

Cli = Callable[..., Result]


def test_makes_a_pair_that_fits(cli: Cli, tmp_path: Path) -> None:
    """NAME.pub is the public key of NAME.key, and its id is printed."""
    result = cli("keygen", "treasury")
    public = VerifyingKey.load((tmp_path / "treasury.pub").read_text())
    assert Ed25519Signer.from_file(tmp_path / "treasury.key").verifying_key == public
    assert public.key_id in result.stdout
    assert "tracebus export" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_the_private_key_is_its_owners(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME.key has mode 0600 from the moment it exists, whatever the umask."""
    modes = []
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(keygen.os, "open", watched)
    before = os.umask(0)
    try:
        cli("keygen", "treasury")
    finally:
        os.umask(before)
    assert ([0o600, 0o644], 0o600) == (modes, stat.S_IMODE((tmp_path / "treasury.key").stat().st_mode))


@pytest.mark.parametrize("there", ["treasury.key", "treasury.pub"])
def test_overwrites_nothing(cli: Cli, tmp_path: Path, there: str) -> None:
    """Where either file exists, keygen exits with 2, keeps it, and leaves no other behind."""
    (tmp_path / there).write_text("mine")
    result = cli("keygen", "treasury")
    assert (2, [there], "mine") == (
        result.exit_code,
        [path.name for path in tmp_path.iterdir()],
        (tmp_path / there).read_text(),
    )


def test_follows_no_dangling_link(cli: Cli, tmp_path: Path) -> None:
    """A symbolic link in the key's place is refused, also one that leads nowhere."""
    (tmp_path / "treasury.key").symlink_to(tmp_path / "elsewhere")
    assert (2, False) == (cli("keygen", "treasury").exit_code, (tmp_path / "elsewhere").exists())


def test_the_folder_has_to_be_there(cli: Cli) -> None:
    """A folder that is not there exits with 2, without a traceback."""
    assert 2 == cli("keygen", "none/treasury").exit_code
