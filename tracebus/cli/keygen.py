"""``tracebus keygen``: a key pair, in two files that nobody could read too early."""

from __future__ import annotations

import os
from pathlib import Path

import click

from evidence import Ed25519Signer
from tracebus.cli._common import PlainCommand

_PRIVATE = 0o600
_PUBLIC = 0o644


@click.command("keygen", cls=PlainCommand)
@click.argument("name", metavar="NAME")
def command(name: str) -> None:
    """Make an Ed25519 key pair: NAME.key to sign bundles with, NAME.pub to verify them with.

    Nothing is ever overwritten. NAME.key is not encrypted, and readable by you alone: whoever has it
    signs in your name. NAME.pub goes to those who verify, by a way that they trust; a bundle never
    brings its own key.

    Example:
      tracebus keygen treasury
    """
    base = name.removesuffix(".key")
    private, public = Path(f"{base}.key"), Path(f"{base}.pub")
    signer = Ed25519Signer.generate()
    _create(private, signer.to_pem(), _PRIVATE)
    try:
        _create(public, signer.verifying_key.to_pem(), _PUBLIC)
    except BaseException:
        private.unlink()
        raise
    click.echo(f"{private}  signs: keep it secret, and a copy of it somewhere safe")
    click.echo(f"{public}  verifies: give it to those who verify")
    click.echo(f"key id {signer.key_id}")
    click.echo(f"next: tracebus export WORKFLOW -o bundle.json --key {private}")


def _create(path: Path, text: str, mode: int) -> None:
    """Write a new file that has its mode from the first moment, and reaches the disk."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise click.UsageError(f"{path} exists, and was not overwritten: choose another name") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise
