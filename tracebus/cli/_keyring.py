"""What the commands about keys share: the keyring's file, keys by name, what the log records of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

from evidence import Ed25519Signer, KeyRefused, MalformedInput, VerifyingKey
from evidence.command import UNSETTLED
from evidence.key_statement import KeyStatement, format_time, name_of
from evidence.keyring import MAX_BYTES, Keyring, ListedKey, add_statement
from evidence.keys import ED25519
from evidence.note import NoteKey
from evidence.printable import printable
from tracebus.cli._common import check_is_there, writing
from tracebus.events import KeyChanged
from tracebus.files import sync_folder
from tracebus.upkeep import log_run

Use = Literal["log", "bundle", "receipt"]
_Command = TypeVar("_Command", bound=Callable[..., Any])

_PUBLIC: Final = 0o644

keyring_option = click.option(
    "--keyring", "keyring_path", metavar="FILE", help="Refuse a key that is not in use by this keyring."
)


def check_use(keyring_path: str | None, key: NoteKey | VerifyingKey, use: Use) -> None:
    """Check, before signing, that a keyring has a key in use, for this use; without a keyring, nothing.

    A log's key is given with the log's origin as its name.

    Raises:
        KeyRefused: It is not listed, for another use or log, retired, or revoked.
        EvidenceError: The keyring is refused.
        OSError: It cannot be read.
    """
    if keyring_path is not None:
        Keyring.load(read_keyring(keyring_path)).check_use(key, use)


def log_keys(keyring_path: str | None, origin: str) -> list[NoteKey]:
    """Return all keys that a keyring has for a log, also former ones; none without a keyring.

    An older checkpoint of the log may be by any of them.

    Raises:
        EvidenceError: The keyring is refused.
        OSError: It cannot be read.
    """
    if keyring_path is None:
        return []
    keys = Keyring.load(read_keyring(keyring_path)).keys
    return [listed.key for listed in keys if (listed.use, listed.key.name) == ("log", origin)]


def read_keyring(path: str | Path) -> bytes:
    """Return the bytes of a keyring, and no more of them than may be."""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def find_by_word(keyring: Keyring, word: str) -> ListedKey:
    """Return the key that a user named: by name, name+hash, or verifier key.

    Raises:
        click.BadParameter: There is none, or more than one.
    """
    found = [
        listed
        for listed in keyring.keys
        if word in (listed.key.name, name_of(listed.key), listed.key.to_vkey(), listed.key.key.key_id)
    ]
    if len(found) != 1:
        names = ", ".join(name_of(listed.key) for listed in found or keyring.keys)
        many = f"{len(found)} keys" if found else "no key"
        raise click.BadParameter(printable(f"the keyring has {many} {word}; expected one of {names}"))
    return found[0]


def find_held(keyring: Keyring, signer: Ed25519Signer) -> ListedKey:
    """Return what a keyring says of a key that is at hand.

    Raises:
        KeyRefused: It is not listed.
    """
    listed = keyring.find(signer.verifying_key)
    if listed is None:
        raise KeyRefused(f"key {signer.key_id} is not in the keyring")
    return listed


def read_trusted(word: str) -> NoteKey | VerifyingKey:
    """Return a public key that a user trusts: a C2SP verifier key, or a file with one or with PEM.

    Raises:
        KeyRefused: It is neither.
        OSError: There is no such file.
    """
    with suppress(KeyRefused):
        return NoteKey.from_vkey(word)
    with open(word, "rb") as file:
        text = file.read(MAX_BYTES).decode("ascii", "replace").strip()
    return VerifyingKey.load(text) if text.startswith("-----BEGIN") else NoteKey.from_vkey(text)


class _Busy(click.ClickException):
    """A keyring is being changed by somebody else."""

    exit_code = UNSETTLED


class KeyringFile:
    """A keyring's file while it is changed."""

    def __init__(self, path: Path, descriptor: int, temporary: Path, data: bytes) -> None:
        self.data = data
        self.keyring = Keyring.load(data) if data else Keyring(())
        self._path = path
        self._descriptor = descriptor
        self._temporary = temporary

    def add(self, statement: KeyStatement, *held: Ed25519Signer) -> Callable[[], None]:
        """Sign a statement; return the function that writes the keyring with it, whole or not at all.

        Raises:
            EvidenceError: The statement may not stand there.
        """
        grown = add_statement(self.data, statement, *held)

        def write() -> None:
            with os.fdopen(os.dup(self._descriptor), "wb") as file:
                file.write(grown)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._temporary, self._path)
            sync_folder(self._path.parent)

        return write


@contextmanager
def changing(path: str, *, may_be_new: bool = False) -> Iterator[KeyringFile]:
    """Open a keyring to add to it; nobody else can meanwhile.

    Raises:
        _Busy: Somebody else is at it, or an earlier change was cut off.
        EvidenceError: It is refused.
        OSError: It cannot be read or written.
    """
    target = Path(path).resolve()  # where a symbolic link leads, the link stays
    temporary = target.with_name(f"{target.name}.lock")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PUBLIC)
    except FileExistsError:
        raise _Busy(
            f"{printable(path)} is being changed, or a change of it was cut off; "
            f"if nobody is at it, remove {printable(temporary)}"
        ) from None
    try:
        is_new = may_be_new and not target.exists()
        data = b"" if is_new else read_keyring(target)
        if not data and not is_new:
            raise MalformedInput(path, "is empty: restore it from a copy")
        yield KeyringFile(target, descriptor, temporary, data)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def recording_options(command: _Command) -> _Command:
    """Give a command the options that say which log records the change, who ordered it, and why."""
    for option in (
        click.option("--reason", metavar="TEXT", help="Why; the log keeps it."),
        click.option("--actor", metavar="WHO", help="Who ordered it; the log keeps it."),
        click.option(
            "--log", "log_path", metavar="FILE", help="Record it in this log before it takes effect."
        ),
    ):
        command = option(command)
    return command


def record(
    log_path: str | None, statement: KeyStatement, actor: str | None = None, reason: str | None = None
) -> None:
    """Append what happens to a key to the log's own workflow, if there is a log.

    Raises:
        click.UsageError: There is no log of this name; or nothing of this may stand there.
        TracebusError: The log cannot take it.
    """
    if log_path is None:
        if actor is not None or reason is not None:
            raise click.UsageError("--actor and --reason go into a log: name it with --log FILE")
        return
    if statement.use == "recovery":
        raise click.UsageError("a recovery key belongs to no log: leave --log out")
    check_is_there(log_path)
    is_rotation, since = statement.change == "rotated", statement.compromised_since
    changed = KeyChanged(
        key_id=statement.key.key.key_id,
        change=statement.change,
        use=statement.use,
        algorithm=ED25519,
        previous_key_id=statement.by.key.key_id if is_rotation else None,
        compromised_since=None if since is None else format_time(since),
        actor=actor,
        reason=reason,
    )
    with writing(log_path) as log:
        for outcome in log.append([log_run(changed)]):
            if isinstance(outcome, Exception):
                raise outcome


def next_second() -> int:
    """Wait for the next full second and return it, POSIX: what was signed before is older by its own word."""
    now = time.time()
    time.sleep(1 - now % 1)
    return max(int(time.time()), int(now) + 1)
