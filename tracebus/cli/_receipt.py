"""Receipts on the command line: verified and shown, and new files that overwrite nothing."""

from __future__ import annotations

import os
from datetime import datetime

import click

from evidence.command import OK, to_json
from evidence.errors import SignatureRefused
from evidence.note import NoteKey
from evidence.printable import printable
from evidence.receipt import MAX_BYTES, Receipt, verify_receipt
from evidence.trust_file import MAX_BYTES as MAX_POLICY_BYTES
from evidence.trust_file import parse_policy
from tracebus.cli._common import echo_table
from tracebus.cli._keyring import read_trusted
from tracebus.cli._trust import read_file


def verify_file(path: str, receipt_key: str | None, policy_path: str | None, as_json: bool) -> int:
    """Verify a receipt with a public key, or by the receipt keys of a policy, and print it.

    Raises:
        click.UsageError: Neither is given, or both.
        EvidenceError: It is refused.
    """
    if (receipt_key is None) == (policy_path is None):
        raise click.UsageError("expected one of --receipt-key NAME.pub and --policy FILE")
    receipt = _verify(read_file(path, MAX_BYTES), receipt_key, policy_path)
    if as_json:
        click.echo(to_json(receipt.to_json()))
        return OK
    headline = f"signed: {receipt.verdict}: log {receipt.log}, leaves {receipt.first} to {receipt.size}"
    click.secho(printable(headline + (f": {receipt.reason}" if receipt.reason else "")), bold=True)
    click.echo(printable(f"by {receipt.verifier}, {receipt.verified_at}, as its maker says"))
    click.echo(f"tree {receipt.tree_digest}")
    click.echo()
    echo_table(("check", "done", "not done"), [(c.name, c.done, c.not_done or "-") for c in receipt.checks])
    click.echo()
    echo_table(
        ("checkpoints of", "compared", "newest"), [(s.source, s.count, s.newest) for s in receipt.checkpoints]
    )
    return OK


def _verify(data: bytes, receipt_key: str | None, policy_path: str | None) -> Receipt:
    if receipt_key is not None:
        key = read_trusted(receipt_key)
        return verify_receipt(data, key.key if isinstance(key, NoteKey) else key)
    policy = parse_policy(read_file(str(policy_path), MAX_POLICY_BYTES))
    for named in policy.receipt_keys:
        try:
            receipt = verify_receipt(data, named.key)
        except SignatureRefused:
            continue
        made = datetime.fromisoformat(f"{receipt.verified_at[:19]}+00:00")
        policy.verify_key(named.key, "receipt", claimed=int(made.timestamp()))
        return receipt
    raise SignatureRefused("receipt", "no receipt-key of the policy signed it")


def write_new(path: str, data: bytes) -> None:
    """Write a new file, on the disk when this returns.

    Raises:
        click.UsageError: There is a file of this name.
        OSError: It cannot be written.
    """
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise click.UsageError(printable(f"{path} exists, and was not overwritten")) from None
