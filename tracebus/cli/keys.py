"""``tracebus keys``: the public history of keys, and the trust policy that follows from it."""

from __future__ import annotations

import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import click

from evidence import Ed25519Signer, MalformedInput
from evidence.key_statement import KeyStatement, format_time, name_of, parse_time
from evidence.keyring import Keyring, ListedKey
from evidence.note import NoteKey
from evidence.printable import printable
from evidence.trust import REQUIREMENTS
from evidence.trust_file import parse_policy
from tracebus.cli._common import PlainCommand, echo_json_array, echo_table, json_option
from tracebus.cli._keyring import (
    changing,
    find_by_word,
    find_held,
    next_second,
    read_keyring,
    read_trusted,
    record,
    recording_options,
)
from tracebus.cli.keygen import new_pair

_trusted_option = click.option(
    "--trusted",
    multiple=True,
    metavar="KEY",
    help="A key that you trust: NAME.pub, or a verifier key; may be given several times.",
)
_seen_option = click.option(
    "--seen", metavar="FILE", help="Your older copy of the keyring: all of it must still be there."
)
_by_option = click.option(
    "--by", required=True, metavar="NAME.key", help="The private key on whose word: its own, or one that may."
)


@click.group("keys")
def command() -> None:
    """List, replace, retire and revoke the keys of a keyring."""


@command.command("list", cls=PlainCommand, short_help="list the keys, their state, and which to trust")
@click.argument("keyring", metavar="KEYRING")
@_trusted_option
@_seen_option
@json_option
def list_(keyring: str, trusted: tuple[str, ...], seen: str | None, as_json: bool) -> None:
    """List the keys of a keyring, once all of its statements are verified.

    With --trusted it also says which keys you have a reason to trust, and why. That the file is whole to
    its end, no file can say of itself: compare it with an older copy, with --seen.

    Example:
      tracebus keys list keys.txt --trusted recovery.pub
    """
    keys = _load(keyring, trusted, seen).keys
    if as_json:
        echo_json_array(map(_facts, keys))
        return
    rows = [
        (key.use, name_of(key.key), format_time(key.created), _state(key), key.why if trusted else None)
        for key in keys
    ]
    echo_table(("use", "key", "created", "state", "trusted"), rows)


@command.command("rotate", cls=PlainCommand, short_help="make a key that takes the place of another")
@click.argument("keyring", metavar="KEYRING")
@click.argument("old", metavar="OLD.key")
@click.argument("new", metavar="NEW")
@recording_options
def rotate(
    keyring: str, old: str, new: str, log_path: str | None, actor: str | None, reason: str | None
) -> None:
    """Make a key that takes the place of another: NEW.key and NEW.pub, as keygen makes them.

    The old key vouches for the new one, and is retired from then on: delete OLD.key where it is used. The
    new one has its use and its name. Of a key that was stolen, this convinces nobody.

    Example:
      tracebus keys rotate keys.txt treasury.key treasury-2027 --log trace.db
    """
    held, signer = Ed25519Signer.from_file(old), Ed25519Signer.generate()
    with changing(keyring) as file:
        replaced = find_held(file.keyring, held)
        key = NoteKey(replaced.key.name, signer.verifying_key)
        statement = KeyStatement("rotated", replaced.use, key, next_second(), replaced.key)
        write = file.add(statement, held, signer)
        with new_pair(new, signer):
            record(log_path, statement, actor, reason)
            write()
    _echo(f"{name_of(key)} took the place of {name_of(replaced.key)}, retired {format_time(statement.at)}")
    click.echo(f"next: sign with {new.removesuffix('.key')}.key, and pass {printable(keyring)} on")


@command.command("retire", cls=PlainCommand, short_help="say that a key is not used any more")
@click.argument("keyring", metavar="KEYRING")
@click.argument("key", metavar="KEY")
@_by_option
@recording_options
def retire(
    keyring: str, key: str, by: str, log_path: str | None, actor: str | None, reason: str | None
) -> None:
    """Say that a key is not used any more, and that nothing takes its place.

    KEY is its name, name+hash or verifier key, as list shows them. What it signed before still counts.

    Example:
      tracebus keys retire keys.txt treasury --by treasury.key
    """
    held = Ed25519Signer.from_file(by)
    with changing(keyring) as file:
        ended, voice = find_by_word(file.keyring, key), find_held(file.keyring, held)
        statement = KeyStatement("retired", ended.use, ended.key, next_second(), voice.key)
        write = file.add(statement, held)
        record(log_path, statement, actor, reason)
        write()
    _echo(f"{name_of(ended.key)} was retired {format_time(statement.at)}")


@command.command("revoke", cls=PlainCommand, short_help="say that somebody else may have a key")
@click.argument("keyring", metavar="KEYRING")
@click.argument("key", metavar="KEY")
@click.option(
    "--compromised-since",
    "since",
    required=True,
    metavar="TIME",
    help="From when on somebody else may have had it, such as 2026-11-21T02:03:04Z.",
)
@_by_option
@recording_options
def revoke(
    keyring: str,
    key: str,
    since: str,
    by: str,
    log_path: str | None,
    actor: str | None,
    reason: str | None,
) -> None:
    """Say that somebody else may have a key, or have had it: what it signed counts only if it is older.

    KEY is its name, name+hash or verifier key, as list shows them. It may say so itself, so may a key that
    took its place, and the recovery key. If you learn that it was earlier, revoke it again.

    Example:
      tracebus keys revoke keys.txt treasury --compromised-since 2026-11-01T00:00:00Z --by recovery.key
    """
    held = Ed25519Signer.from_file(by)
    try:
        compromised_since = parse_time(since, "--compromised-since")
    except MalformedInput as error:
        raise click.BadParameter(error.reason, param_hint="--compromised-since") from None
    with changing(keyring) as file:
        ended, voice = find_by_word(file.keyring, key), find_held(file.keyring, held)
        statement = KeyStatement(
            "revoked", ended.use, ended.key, int(time.time()), voice.key, compromised_since
        )
        write = file.add(statement, held)
        record(log_path, statement, actor, reason)
        write()
    _echo(f"{name_of(ended.key)} was revoked, compromised since {since}")
    _echo(f"next: pass {keyring} on, now, to all who verify, and a policy made of it")


@command.command("policy", cls=PlainCommand, short_help="print the trust policy that follows")
@click.argument("keyring", metavar="KEYRING")
@_trusted_option
@_seen_option
@click.option(
    "--witness", "witnesses", multiple=True, nargs=2, metavar="NAME VKEY", help="A witness that counts."
)
@click.option("--threshold", type=click.IntRange(1), metavar="K", help="How many witnesses must cosign; all.")
@click.option(
    "--timestamp-root", "roots", multiple=True, metavar="FILE", help="A root of timestamps, PEM or DER."
)
@click.option(
    "--require", multiple=True, type=click.Choice(REQUIREMENTS), help="What a bundle must carry a proof of."
)
def policy(
    keyring: str,
    trusted: tuple[str, ...],
    seen: str | None,
    witnesses: tuple[tuple[str, str], ...],
    threshold: int | None,
    roots: tuple[str, ...],
    require: tuple[str, ...],
) -> None:
    """Print the trust policy that follows from a keyring, for those who trust some key of it.

    It has the keys that are trusted, and since when which were retired or revoked. Add by hand what else
    you ask for; schemas/trust-v1.md says how.

    Example:
      tracebus keys policy keys.txt --trusted recovery.pub > policy.txt
    """
    if not trusted:
        raise click.UsageError("say whom you trust, and know it from elsewhere: --trusted NAME.pub")
    lines = _load(keyring, trusted, seen).policy_lines()
    lines += [f"witness {name} {vkey}" for name, vkey in witnesses]
    if witnesses:
        names = " ".join(name for name, _ in witnesses)
        lines.append(f"group cosigners {threshold or 'all'} {names}")
    lines.append(f"quorum {'cosigners' if witnesses else 'none'}")
    lines += [f"#tracebus timestamp-root {_certificate(root)}" for root in roots]
    if require:
        lines.append(f"#tracebus require {' '.join(sorted(set(require)))}")
    text = "".join(f"{line}\n" for line in lines)
    parse_policy(text.encode())
    click.echo(text, nl=False)


def _load(path: str, trusted: tuple[str, ...], seen: str | None) -> Keyring:
    older = b"" if seen is None else read_keyring(seen)
    return Keyring.load(read_keyring(path), map(read_trusted, trusted), seen=older)


def _state(key: ListedKey) -> str:
    if key.revoked is not None:
        return f"compromised since {format_time(key.revoked)}"
    return "in use" if key.retired is None else f"retired {format_time(key.retired)}"


def _facts(key: ListedKey) -> dict[str, Any]:
    return {
        "use": key.use,
        "key": key.key.to_vkey(),
        "keyId": key.key.key.key_id,
        "created": format_time(key.created),
        "retired": None if key.retired is None else format_time(key.retired),
        "compromisedSince": None if key.revoked is None else format_time(key.revoked),
        "voucher": None if key.voucher is None else key.voucher.to_vkey(),
        "trusted": key.why,
    }


def _certificate(path: str) -> str:
    """Return the DER of a certificate in base64, from a file of DER or PEM."""
    data = Path(path).read_bytes()
    if not data.startswith(b"-----BEGIN CERTIFICATE-----"):
        return b64encode(data).decode()
    _, _, body = data.decode("ascii", "replace").partition("\n")
    return "".join(body.partition("-----END CERTIFICATE-----")[0].split())


def _echo(text: str) -> None:
    click.echo(printable(text))
