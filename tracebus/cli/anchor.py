"""``tracebus anchor``: a checkpoint of a log, signed, and brought to places outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from evidence import Ed25519Signer
from evidence.checkpoint import format_hash, parse_checkpoint
from evidence.command import FAILED, OK, UNSETTLED, to_json
from evidence.note import NoteKey, parse_note
from evidence.printable import printable
from tracebus.anchor import Anchor, AnchorStatus, CheckableAnchor, anchor_all, anchor_status, load_anchors
from tracebus.cli._common import (
    PlainCommand,
    check_is_there,
    echo_table,
    json_option,
    log_option,
    progress_bar,
    reading,
    writing,
)
from tracebus.cli._keyring import check_use, keyring_option, log_keys
from tracebus.errors import AnchorRefused, AnchorUnavailable
from tracebus.eventlog import SqliteEventLog


@click.command("anchor", cls=PlainCommand)
@click.argument("file", metavar="[FILE]", required=False)
@log_option
@click.option("--key", metavar="NAME.key", help="The log's private key, which signs nothing but checkpoints.")
@click.option(
    "--status", "only_status", is_flag=True, help="Sign and bring nothing; show how anchors are doing."
)
@click.option("--check", "only_check", is_flag=True, help="Try whether anchors protect what they are given.")
@keyring_option
@json_option
def command(
    file: str | None,
    log_path: str,
    key: str | None,
    only_status: bool,
    only_check: bool,
    keyring_path: str | None,
    as_json: bool,
) -> int:
    """Sign a checkpoint of a log, and bring it to the anchors that FILE names.

    An anchor is a place outside that notices, or shows, when the log is rewritten: a folder on another
    host, a bucket with Object Lock, a witness that cosigns, an authority that dates. What witnesses and
    authorities give back goes into the bundles that are exported afterwards.

    FILE is TOML, a table for each anchor; its name is yours. Paths in it begin at its folder.

      [archive]
      kind = "directory"
      path = "/mnt/archive/payments"

      [north]
      kind = "witness"
      url = "https://witness.example/north"
      key = "witness.example/north+8228031e+BIE5dw6o..."

      [dated]
      kind = "timestamp"
      url = "https://tsa.example/"
      roots = ["tsa-root.pem"]

      [worm]
      kind = "s3"
      bucket = "evidence"         # with Object Lock
      prefix = "payments/"
      years = 7
      entries = true              # events, too, without the values of sensitive members
      endpoint = "https://..."    # of a store that is not Amazon's

    Examples:
      tracebus keygen log
      tracebus anchor anchors.toml --key log.key
      tracebus anchor anchors.toml --status --json
      tracebus anchor anchors.toml --check

    Run it as often as you like: what was done is not done again, and what failed is tried again. A bus
    can do the same beside its work: TraceEventBus(log, anchoring=Anchoring(signer, anchors)).

    Exit codes: 0 all anchors have the checkpoint; 1 one has, or the log has, another history than was
    signed: look into it; 2 wrong usage; 3 an anchor did not take it now. --status: 0, whatever it shows.
    """
    anchors = _load(file)
    if only_check:
        return _check(anchors)
    if only_status:
        check_is_there(log_path)
        with reading(log_path) as log:
            _show(log, anchor_status(log, [anchor.name for anchor in anchors] or None), as_json)
        return OK
    if not anchors or key is None:
        raise click.UsageError("expected FILE, the anchors, and --key NAME.key; tracebus keygen makes a key")
    check_is_there(log_path)
    signer = Ed25519Signer.from_file(key)
    with writing(log_path) as log, progress_bar("taking events in") as show:
        total = log.last_position()
        check_use(keyring_path, NoteKey(log.origin, signer.verifying_key), "log")
        former = log_keys(keyring_path, log.origin)
        statuses = anchor_all(
            log, signer, anchors, former=former, progress=lambda events: show(events, total)
        )
        _show(log, statuses, as_json)
    return _exit_code(statuses)


def _load(file: str | None) -> list[Anchor]:
    if file is None:
        return []
    try:
        return load_anchors(file)
    except ValueError as error:
        raise click.BadParameter(printable(str(error)), param_hint="FILE") from None


def _exit_code(statuses: Sequence[AnchorStatus]) -> int:
    if any(status.refused for status in statuses):
        return FAILED
    return UNSETTLED if any(status.error is not None for status in statuses) else OK


def _check(anchors: Sequence[Anchor]) -> int:
    """Try whether anchors protect what they are given, and say what was found."""
    codes = [OK]
    for anchor in anchors:
        click.secho(printable(anchor.name), bold=True)
        if not isinstance(anchor, CheckableAnchor):
            click.echo("  nothing to try: what it protects, its operator decides")
            continue
        try:
            for line in anchor.check():
                click.echo(printable(f"  {line}"))
        except (AnchorRefused, AnchorUnavailable) as error:
            click.secho(printable(f"  {error}"), fg="red", err=True)
            codes.append(FAILED if isinstance(error, AnchorRefused) else UNSETTLED)
    return FAILED if FAILED in codes else max(codes)


def _show(log: SqliteEventLog, statuses: Sequence[AnchorStatus], as_json: bool) -> None:
    store = log.tree_store
    note = store.latest_checkpoint() if store.exists() else None
    covered = store.state().position if note is not None else 0
    waiting = log.last_position() - covered
    checkpoint = None if note is None else parse_checkpoint(parse_note(note).text)
    if as_json:
        newest = checkpoint and {"size": checkpoint.size, "root": format_hash(checkpoint.root)}
        facts = {"log": log.origin, "checkpoint": newest, "eventsAfter": waiting}
        click.echo(to_json({**facts, "anchors": [_to_dict(status) for status in statuses]}))
        return
    size = "none yet" if checkpoint is None else f"size {checkpoint.size}"
    click.echo(printable(f"log {log.origin}, checkpoint: {size}; {waiting} events in none yet"))
    rows = [
        [printable(each.anchor), each.size, each.behind, _time(each.anchored_at), each.failures]
        for each in statuses
    ]
    echo_table(["ANCHOR", "SIZE", "BEHIND", "ANCHORED", "FAILURES"], rows)
    for status in statuses:
        if status.error is not None:
            word = "refused" if status.refused else "failed"
            click.secho(printable(f"{word}: {status.anchor}: {status.error}"), fg="red", err=True)


def _to_dict(status: AnchorStatus) -> dict[str, object]:
    facts = asdict(status)
    times = {"anchoredAt": _time(facts.pop("anchored_at")), "attemptedAt": _time(facts.pop("attempted_at"))}
    return {**facts, **times}


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
