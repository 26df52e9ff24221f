"""``tracebus log misbehaviour`` and ``succeed``: a log that contradicts itself, and one that cannot go on."""

from __future__ import annotations

from pathlib import Path

import click

from evidence import Ed25519Signer
from evidence.checkpoint import open_checkpoint
from evidence.errors import Incomplete
from evidence.merkle import Frontier, consistency_proof
from evidence.misbehaviour import MAX_BYTES, Misbehaviour, format_misbehaviour, verify_misbehaviour
from evidence.note import NoteKey
from evidence.printable import printable
from evidence.tiles import TileReader
from tracebus.cli._common import PlainCommand, reading
from tracebus.cli._keyring import check_use, keyring_option, read_trusted
from tracebus.cli._receipt import write_new
from tracebus.cli._trust import read_file, read_log_key
from tracebus.eventlog import SqliteEventLog
from tracebus.transparency.checkpoints import Checkpointer
from tracebus.transparency.copies import folder_fetch
from tracebus.transparency.successor import succeed as succeed_log


@click.command("misbehaviour", cls=PlainCommand, short_help="show that two checkpoints contradict each other")
@click.argument("files", metavar="FILE [LARGER]", nargs=-1, required=True)
@click.option("--log-key", required=True, metavar="VKEY", help="The log's verifier key.")
@click.option("--tree", metavar="DIR", help="The published files of the larger tree.")
@click.option("-o", "--output", metavar="OUT", help="Where the proof goes.")
def misbehaviour(files: tuple[str, ...], log_key: str, tree: str | None, output: str | None) -> None:
    """Put two checkpoints that contradict each other into one file that shows it; or verify such a file.

    Of one size, two roots are enough. Of different sizes, the files of the larger tree are needed, by
    --tree: they show that it does not begin with the smaller one.

    With a single FILE it is a proof, and is verified. Exit codes: 0 the log contradicted itself; 1 that is
    not shown; 2 malformed, or wrong usage; 3 something is missing.

    Examples:
      tracebus log misbehaviour ours.note theirs.note --log-key log.vkey -o proof.json
      tracebus log misbehaviour proof.json --log-key log.vkey
    """
    key = read_trusted(log_key)
    if not isinstance(key, NoteKey):
        raise click.UsageError("--log-key: expected a verifier key, name+hash+base64, which names the log")
    if len(files) == 1:
        found = verify_misbehaviour(read_file(files[0], MAX_BYTES), key)
    elif len(files) == 2 and output is not None:
        found = _show_misbehaviour(read_file(files[0]), read_file(files[1]), key, tree, output)
    else:
        raise click.UsageError("expected one proof, or two checkpoints and -o OUT")
    sizes = f"checkpoints of size {found.smaller.size} and {found.larger.size}"
    click.echo(printable(f"log {found.larger.origin} contradicted itself: {sizes} are of two histories"))


def _show_misbehaviour(one: bytes, other: bytes, key: NoteKey, tree: str | None, output: str) -> Misbehaviour:
    first, second = sorted((one, other), key=lambda note: open_checkpoint(note, key).size)
    smaller, larger = open_checkpoint(first, key), open_checkpoint(second, key)
    if smaller.size == larger.size:
        data = format_misbehaviour(first, second, key)
    elif tree is None:
        raise click.UsageError("the checkpoints are of different sizes: give the larger tree, by --tree DIR")
    else:
        read = TileReader(folder_fetch(tree), larger.size)
        root = Frontier.at(smaller.size, read).root()
        proof = consistency_proof(smaller.size, larger.size, read)
        data = format_misbehaviour(first, second, key, root=root, consistency=proof)
    write_new(output, data)
    return verify_misbehaviour(data, key)


@click.command("succeed", cls=PlainCommand, short_help="make a log that goes on for another one")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--key", required=True, metavar="KEY", help="The new log's private key, NAME.key.")
@click.option("--reason", required=True, metavar="TEXT", help="Why the old log cannot go on.")
@click.option("--log-key", metavar="KEY", help="The old log's public key; that of --key unless given.")
@click.option("--checkpoint", "kept", metavar="FILE", help="A newer checkpoint of it than OLD-tree has.")
@click.option("--actor", metavar="WHO", help="Who ordered it.")
@keyring_option
def succeed(
    old: str,
    new: str,
    key: str,
    reason: str,
    log_key: str | None,
    kept: str | None,
    actor: str | None,
    keyring_path: str | None,
) -> None:
    r"""Make a log that goes on for another one, and sign its first checkpoint.

    The new log has an origin of its own; its first events say which log it follows, the newest checkpoint
    that is known of it, and why. OLD is left as it is: keep it, and what was anchored of it. Give the new
    log a new key, for a key has the name of one log.

    Example:
      tracebus log succeed trace.db trace-2.db --key log-2.key --log-key log.pub \
        --checkpoint anchored.note --reason "disk failure, events since 14:00 are lost"
    """
    signer = Ed25519Signer.from_file(key)
    if Path(new).exists():
        raise click.UsageError(printable(f"{new} exists: a successor is a new log"))
    with reading(old) as before:
        note = read_file(kept) if kept is not None else before.tree_store.latest_checkpoint()
        if note is None:
            raise Incomplete("checkpoint", "the old log has none: give the newest one kept, by --checkpoint")
        old_key = (
            NoteKey(before.origin, signer.verifying_key)
            if log_key is None
            else read_log_key(log_key, before.origin)
        )
        open_checkpoint(note, old_key)  # before anything is made
        name, algorithm = before.origin.rpartition("/")[0], before.digest_algorithm
        left = before.last_position()
    successor = SqliteEventLog(new, name=name, digest_algorithm=algorithm)
    try:
        successor.open()
        check_use(keyring_path, NoteKey(successor.origin, signer.verifying_key), "log")
        succeed_log(successor, note, old_key, reason, event_count=left, actor=actor)
        signed = Checkpointer(successor, signer).checkpoint()
    finally:
        successor.close()
    click.echo(printable(f"{new} is log {successor.origin}, and follows {old_key.name}"), err=True)
    click.echo(signed, nl=False)
