"""``tracebus verify-log``: is this copy the log that was signed?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click

from evidence import Ed25519Signer
from evidence.checkpoint import parse_checkpoint
from evidence.command import FAILED, OK, UNSETTLED, to_json
from evidence.errors import LogDamaged, MalformedInput
from evidence.header import is_origin
from evidence.note import parse_note
from evidence.printable import printable
from evidence.receipt import ReceiptCheck, checkpoint_digest, sign_receipt
from tracebus.anchor.s3 import S3Anchor
from tracebus.cli._audit_report import print_report, receipt_of, report_to_json
from tracebus.cli._common import PlainCommand, json_option, progress_bar, reading, writing
from tracebus.cli._receipt import verify_file, write_new
from tracebus.cli._trust import Trust, log_key_option, read_file
from tracebus.event import TraceEvent
from tracebus.eventlog import SqliteEventLog
from tracebus.events import VerificationPerformed
from tracebus.events._fields import Software
from tracebus.fsck import fsck
from tracebus.transparency.audit import AuditReport, Claim, audit
from tracebus.transparency.copies import (
    MAX_LINE,
    JsonlCopy,
    Kept,
    LogCopy,
    SqliteCopy,
    TilesCopy,
    folder_fetch,
)
from tracebus.upkeep import log_run

_CODES: Final = {"verified": OK, "failed": FAILED, "incomplete": UNSETTLED}
_S3: Final = "s3://"
_SQLITE: Final = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class _Request:
    """The options that say what to verify, against what."""

    path: Path
    bucket: S3Anchor | None
    log_key: str | None
    policy: str | None
    checkpoints: tuple[str, ...]
    anchor_dirs: tuple[str, ...]
    tiles: str | None
    first: int
    last: int | None


@click.command("verify-log", cls=PlainCommand)
@click.argument("copy", metavar="[COPY]", required=False)
@log_key_option
@click.option("--policy", metavar="FILE", help="Instead of --log-key, a trust policy.")
@click.option("--checkpoint", "checkpoints", multiple=True, metavar="FILE", help="A checkpoint you kept.")
@click.option(
    "--anchor-dir", "anchor_dirs", multiple=True, metavar="DIR", help="A folder with anchored checkpoints."
)
@click.option("--tiles", metavar="DIR", help="With JSON Lines: the log's published files.")
@click.option("--endpoint", metavar="URL", help="With s3://: of a store that is not Amazon's.")
@click.option(
    "--from", "first", metavar="N", type=click.IntRange(0), default=0, help="Begin behind N leaves."
)
@click.option("--to", "last", metavar="M", type=click.IntRange(0), help="End behind M leaves.")
@click.option("--receipt", metavar="OUT", help="Write a signed receipt of what was done and found.")
@click.option("--receipt-key", metavar="KEY", help="NAME.key to sign it; to verify one, NAME.pub.")
@click.option("--record", is_flag=True, help="Record the verification in the log itself.")
@click.option("--verify-receipt", metavar="FILE", help="Verify a receipt, and nothing else.")
@json_option
def command(
    copy: str | None,
    log_key: str | None,
    policy: str | None,
    checkpoints: tuple[str, ...],
    anchor_dirs: tuple[str, ...],
    tiles: str | None,
    endpoint: str | None,
    first: int,
    last: int | None,
    receipt: str | None,
    receipt_key: str | None,
    record: bool,
    verify_receipt: str | None,
    as_json: bool,
) -> int:
    """Compute a log's tree from a copy of it, and compare it with checkpoints that the log signed.

    COPY
      an event log      events, payloads, chains, tree, heads maps; also its tiles and checkpoints, if
                        the file beside it, COPY-tree, came with it
      JSON Lines        events, payloads and chains; with --tiles, tree and heads maps, too. It must
                        hold all events in the log's order, as a durable sink writes them that was
                        there from the beginning; lines may stand twice
      a folder          published files (tracebus log publish): the tree alone, hashes only; a copy of
                        an S3 anchor's bucket: its events, too, if it was given them
      s3://BUCKET/PREFIX  an S3 anchor's bucket itself; of each object what was put there first

    What the copy says of itself shows little: whoever rewrote it could sign it again with a stolen
    key. Bring checkpoints that were kept elsewhere, with --checkpoint and --anchor-dir. That there are
    none newer, only a policy with witnesses and max-age shows.

    N and M are sizes as checkpoints name them. With --from, what an earlier run has verified is taken
    from the tiles, and heads maps are not computed.

    Exit codes
      0  verified: it is the log that was signed, up to the newest checkpoint that was compared
      1  failed: an event, the tree, a map or a checkpoint is not what it should be
      2  malformed: a file cannot be read as what it should be; or wrong usage
      3  incomplete: nothing to compare with, or less than the policy asks for

    Examples:
      tracebus verify-log copy.db --log-key log.pub --checkpoint kept.note
      tracebus verify-log events.jsonl --tiles published --policy trust.txt
      tracebus verify-log copy.db --log-key log.pub --receipt r.json --receipt-key notary.key
      tracebus verify-log s3://evidence/payments/ --log-key log.pub
      tracebus verify-log --verify-receipt r.json --receipt-key notary.pub
    """
    if verify_receipt is not None:
        return verify_file(verify_receipt, receipt_key, policy, as_json)
    if copy is None:
        raise click.UsageError("expected COPY: an event log, a JSON Lines export, or a folder")
    if (receipt is None) != (receipt_key is None):
        raise click.UsageError("--receipt OUT and --receipt-key KEY go together")
    bucket = _open_bucket(copy, endpoint)
    if bucket is None and not Path(copy).exists():
        raise click.BadParameter(f"there is no {click.format_filename(copy)}", param_hint="COPY")
    if record and (bucket is not None or not _is_sqlite(Path(copy))):
        raise click.UsageError("--record is for an event log")
    request = _Request(Path(copy), bucket, log_key, policy, checkpoints, anchor_dirs, tiles, first, last)
    signer = None if receipt_key is None else Ed25519Signer.from_file(receipt_key)
    began = time.monotonic()
    report, trust = _verify(request, signer)
    if receipt is not None and signer is not None:
        write_new(receipt, sign_receipt(receipt_of(report, trust), signer))
    duration_ms = int((time.monotonic() - began) * 1000)
    if as_json:
        click.echo(to_json(report_to_json(report)))
    else:
        print_report(report)
    if record:
        _record(request.path, report, trust, duration_ms)
    return _CODES[report.verdict]


def _verify(request: _Request, signer: Ed25519Signer | None) -> tuple[AuditReport, Trust]:
    if request.bucket is not None:
        return _verify_bucket(request, request.bucket, signer)
    if _is_sqlite(request.path):
        if request.tiles is not None:
            raise click.UsageError("--tiles is for JSON Lines: an event log has its own")
        with reading(str(request.path)) as log:
            report, trust = _audit(request, signer, SqliteCopy(log), log.origin)
            if report.fault is None and not request.first and request.last is None:
                report = _with_store(report, log)
            return report, trust
    if request.path.is_dir():
        tiles = _open_folder(request.path)
        return _audit(request, signer, tiles, _origin_of_tiles(tiles, request))
    published = None if request.tiles is None else TilesCopy(folder_fetch(request.tiles))
    if signer is not None and published is None:
        raise click.UsageError("--receipt needs a tree to be about: give --tiles, too")
    with tempfile.TemporaryDirectory() as scratch:
        lines = JsonlCopy(request.path, published, Path(scratch))
        return _audit(request, signer, lines, _origin_of_lines(request.path))


def _audit(
    request: _Request,
    signer: Ed25519Signer | None,
    copy: LogCopy,
    origin: str,
    kept: Sequence[Kept] = (),
) -> tuple[AuditReport, Trust]:
    trust = Trust(origin, request.log_key, request.policy)
    if signer is not None and trust.signs_elsewhere(signer.key_id):
        raise click.UsageError("--receipt-key: a key has one use, and this one is trusted for another")
    claims = trust.claims("copy", copy.checkpoints()) + trust.claims("bucket", kept)
    for name in request.checkpoints:
        claims += trust.claims(f"file {Path(name).name}", [Kept(read_file(name))])
    for folder in request.anchor_dirs:
        claims += _anchored(trust, Path(folder))
    with tempfile.TemporaryDirectory() as scratch, progress_bar("verifying", "leaves") as show:
        total = (copy.size or 0) if request.last is None else request.last
        try:
            report = audit(
                copy,
                origin,
                claims,
                Path(scratch),
                first=request.first,
                last=request.last,
                progress=lambda leaves: show(leaves, max(total - request.first, leaves)),
            )
        except ValueError as error:
            raise click.UsageError(f"--from: {error}") from None
    newest = max(report.claims, key=lambda claim: claim.checkpoint.size, default=None)
    return replace(report, missing=report.missing + trust.missing(newest)), trust


def _anchored(trust: Trust, folder: Path) -> list[Claim]:
    """Return the checkpoints of a folder that a directory anchor, or a copy of a bucket, is."""
    paths = [
        path for path in (folder / "checkpoint", *sorted(folder.glob("checkpoints/*"))) if path.is_file()
    ]
    if not paths:
        raise click.UsageError(printable(f"--anchor-dir: {folder} has no checkpoint, and no checkpoints/"))
    return [claim for path in paths for claim in trust.claims(f"anchor {path.name}", [Kept(read_file(path))])]


def _with_store(report: AuditReport, log: SqliteEventLog) -> AuditReport:
    """Look into the file, too: tables, triggers, disclosures, and whether each erasure was recorded."""
    with progress_bar("checking the file") as show:
        found = fsck(log, lambda events: show(events, max(events, report.events)))
    fault = found.fault
    check = ReceiptCheck("store", found.events)
    return replace(
        report,
        checks=(*report.checks, check),
        fault=None if fault is None else LogDamaged(fault.place, f"{fault.kind}: {fault.reason}"),
    )


def _open_bucket(copy: str, endpoint: str | None) -> S3Anchor | None:
    if not copy.startswith(_S3):
        if endpoint is not None:
            raise click.UsageError("--endpoint is for s3://BUCKET/PREFIX")
        return None
    name, _, prefix = copy.removeprefix(_S3).partition("/")
    return S3Anchor(name, prefix, endpoint=endpoint)


def _verify_bucket(
    request: _Request, bucket: S3Anchor, signer: Ed25519Signer | None
) -> tuple[AuditReport, Trust]:
    """Verify what an anchor put into a bucket, against all checkpoints that it put there."""
    kept = [Kept(note) for note in bucket.checkpoints()]
    if not kept:
        raise click.UsageError(printable(f"{bucket.name} has no checkpoint"))
    checkpoint = parse_checkpoint(parse_note(kept[-1].note).text)
    tiles = TilesCopy(bucket.fetch, size=checkpoint.size, events=bucket.has_entries())
    return _audit(request, signer, tiles, checkpoint.origin, kept)


def _open_folder(folder: Path) -> TilesCopy:
    """Return the published files in a folder; in a copy of an anchor's bucket, events are among them."""
    kept = sorted(folder.glob("checkpoints/*"))
    size = parse_checkpoint(parse_note(read_file(kept[-1])).text).size if kept else None
    return TilesCopy(folder_fetch(folder), size=size, events=(folder / "events").is_dir())


def _is_sqlite(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _origin_of_tiles(tiles: TilesCopy, request: _Request) -> str:
    kept = [*(each.note for each in tiles.checkpoints()), *(read_file(name) for name in request.checkpoints)]
    kept += [read_file(path) for path in sorted(request.path.glob("checkpoints/*"))[-1:]]
    if not kept:
        raise click.UsageError("the folder has no checkpoint: give one with --checkpoint")
    return parse_checkpoint(parse_note(kept[0]).text).origin


def _origin_of_lines(path: Path) -> str:
    with path.open("rb") as file:
        line = file.readline(MAX_LINE)
    origin = TraceEvent.from_wire(line).log if line else None
    if not is_origin(origin):
        raise MalformedInput(path.name, "expected an event log, or an event in JSON on each line")
    return str(origin)


def _record(path: Path, report: AuditReport, trust: Trust, duration_ms: int) -> None:
    newest = max(report.claims, key=lambda claim: claim.checkpoint.size, default=None)
    performed = VerificationPerformed(
        subject="log",
        verdict=report.verdict,  # type: ignore[arg-type]
        checkpoint_digest=None if newest is None else checkpoint_digest(newest.checkpoint),
        key_id=None if trust.key is None else trust.key.key.key_id,
        event_count=report.events,
        verifier=Software(name="tracebus", version=version("tracebus")),
        reason=report.reason or None,
        duration_ms=duration_ms,
    )
    with writing(str(path)) as log:
        for outcome in log.append([log_run(performed)]):
            if isinstance(outcome, Exception):
                raise outcome
