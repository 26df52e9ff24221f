"""``tracebus keygen``: a key pair, in two files that nobody could read too early."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from evidence import Ed25519Signer
from evidence.key_statement import KeyStatement, Use
from evidence.note import NoteKey
from evidence.printable import printable
from tracebus.cli._common import PlainCommand, check_is_there, reading
from tracebus.cli._keyring import changing, find_held, record, recording_options

_PRIVATE = 0o600
_PUBLIC = 0o644
_USES = ("log", "bundle", "receipt", "recovery")
_NEXT = {
    "log": "tracebus log checkpoint --key",
    "bundle": "tracebus export WORKFLOW -o bundle.json --key",
}


@click.command("keygen", cls=PlainCommand)
@click.argument("name", metavar="NAME")
@click.option("--use", type=click.Choice(_USES), help="What the key is for: a key has one use.")
@click.option("--keyring", metavar="FILE", help="Add the key to this keyring, or begin one with it.")
@click.option("--by", metavar="NAME.key", help="The keyring's recovery key, to vouch for the new one.")
@recording_options
def command(
    name: str,
    use: Use | None,
    keyring: str | None,
    by: str | None,
    log_path: str | None,
    actor: str | None,
    reason: str | None,
) -> None:
    """Make an Ed25519 key pair: NAME.key to sign with, NAME.pub to verify with.

    Nothing is ever overwritten. NAME.key is not encrypted, and readable by you alone: whoever has it
    signs in your name. NAME.pub goes to those who verify, by a way that they trust; a bundle never
    brings its own key.

    Uses
      log       signs the checkpoints of the log of --log, and has its origin as its name
      bundle    signs bundles; also without --use
      receipt   signs receipts
      recovery  stays offline, begins a keyring, vouches for its keys and revokes stolen ones

    Examples:
      tracebus keygen treasury
      tracebus keygen recovery --use recovery --keyring keys.txt
      tracebus keygen treasury --use bundle --keyring keys.txt --by recovery.key
      tracebus keygen notary --use log --log trace.db --keyring keys.txt --by recovery.key
    """
    signer = Ed25519Signer.generate()
    if use is None:
        if any(option is not None for option in (keyring, by, log_path, actor, reason)):
            raise click.UsageError("say what the key is for: --use log, bundle, receipt or recovery")
        with new_pair(name, signer):
            pass
        _report(name, signer)
        return
    key = NoteKey(_key_name(name, use, log_path), signer.verifying_key)
    if keyring is None:
        if by is not None:
            raise click.UsageError("--by vouches for a key in a keyring: name it with --keyring FILE")
        with new_pair(name, signer):
            record(log_path, KeyStatement("created", use, key, int(time.time()), key), actor, reason)
    else:
        _add(name, signer, key, use, keyring, by, (log_path, actor, reason))
    _report(name, signer, use)
    click.echo(printable(f"verifier key {key.to_vkey()}"))


def _add(
    name: str,
    signer: Ed25519Signer,
    key: NoteKey,
    use: Use,
    keyring: str,
    by: str | None,
    recorded: tuple[str | None, str | None, str | None],
) -> None:
    """Make the pair, record it in the log, and add it to the keyring, or do none of these."""
    held = signer if by is None else Ed25519Signer.from_file(by)
    with changing(keyring, may_be_new=True) as file:
        voucher = key if by is None else find_held(file.keyring, held).key
        statement = KeyStatement("created", use, key, int(time.time()), voucher)
        write = file.add(statement, signer, held)
        log_path, actor, reason = recorded
        with new_pair(name, signer):
            record(log_path, statement, actor, reason)
            write()


def _key_name(name: str, use: Use, log_path: str | None) -> str:
    """Return what a key is called in notes: a log's key as its origin, others as their file."""
    if use != "log":
        found = Path(name.removesuffix(".key")).name
    elif log_path is None:
        raise click.UsageError("a log's key has the name of its log: name the log with --log FILE")
    else:
        check_is_there(log_path)
        with reading(log_path) as log:
            found = log.origin
    if "+" in found or any(not char.isprintable() or char.isspace() for char in found):
        raise click.UsageError(printable(f'a key that has a use is called without spaces and "+": {found}'))
    return found


@contextmanager
def new_pair(name: str, signer: Ed25519Signer) -> Iterator[None]:
    """Write the two files of a key pair; take them away again if what they are made for fails.

    Raises:
        click.UsageError: There is a file of this name.
    """
    private, public = _paths(name)
    _create(private, signer.to_pem(), _PRIVATE)
    try:
        _create(public, signer.verifying_key.to_pem(), _PUBLIC)
        try:
            yield
        except BaseException:
            public.unlink()
            raise
    except BaseException:
        private.unlink()
        raise


def _paths(name: str) -> tuple[Path, Path]:
    base = name.removesuffix(".key")
    return Path(f"{base}.key"), Path(f"{base}.pub")


def _report(name: str, signer: Ed25519Signer, use: Use = "bundle") -> None:
    private, public = _paths(name)
    click.echo(f"{private}  signs: keep it secret, and a copy of it somewhere safe")
    click.echo(f"{public}  verifies: give it to those who verify")
    click.echo(f"key id {signer.key_id}")
    if use in _NEXT:
        click.echo(f"next: {_NEXT[use]} {private}")


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
