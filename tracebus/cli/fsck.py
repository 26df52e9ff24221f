"""``tracebus fsck``: does the log hold together?"""

from __future__ import annotations

from dataclasses import asdict

import click

from evidence.command import FAILED, OK, to_json
from evidence.printable import printable
from tracebus.cli._common import PlainCommand, json_option, log_option, progress_bar, reading
from tracebus.errors import EventLogRefused
from tracebus.eventlog.sqlite_schema import APPLICATION_ID
from tracebus.fsck import Fault, FsckReport, fsck

_LIMITS = (
    "not shown by this: that nothing was cut off at the end of a run, or as a whole run; only a bundle "
    "or a workflow head kept elsewhere shows that"
)
_UNSCRUBBED = (
    "not scrubbed: {} erased payloads and sensitive members may still be in the bytes of the file and its "
    "write-ahead log; `tracebus erase --finish` takes them out, and so does what opens the log for writing"
)


@click.command("fsck", cls=PlainCommand)
@log_option
@json_option
def command(log_path: str, as_json: bool) -> int:
    """Re-derive every hash and link of a log, and name the first fault.

    Faults
      changed  a header, a payload or a disclosure is not what was sealed
      missing  something is gone, and no event records that it was erased
      forked   two events follow the same one
      torn     the file itself is damaged, or its append-only rules were altered

    What was erased and recorded is no fault. Its bytes may still be in the file, if the scrubbing of it
    was interrupted or had to wait: this is said, and is no fault either.

    A log whose tail was cut off still holds together: fsck cannot tell. Export bundles, or keep
    workflow heads elsewhere, and compare: tracebus verify --head.

    Exit codes: 0 all holds together; 1 a fault; 2 no event log; 3 not readable now.
    """
    try:
        report = _check(log_path)
    except EventLogRefused as error:
        if not _is_event_log(log_path):
            raise
        report = FsckReport(0, 0, 0, 0, 0, 0, Fault("torn", "store", str(error)))
    if as_json:
        click.echo(to_json(_to_dict(report)))
    else:
        _print(report)
    return OK if report.fault is None else FAILED


def _check(log_path: str) -> FsckReport:
    with reading(log_path) as log, progress_bar("checking") as show:
        total = log.last_position()
        return fsck(log, lambda events: show(events, total))


def _is_event_log(path: str) -> bool:
    """Tell whether a file that cannot be opened as one began as an event log (SQLite format, 1.3)."""
    with open(path, "rb") as file:
        header = file.read(100)
    return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4)


def _print(report: FsckReport) -> None:
    checked = f"{report.events} events of {report.runs} runs"
    erased = f"{report.erased_payloads} payloads and {report.erased_disclosures} sensitive members erased"
    more = f"{report.open_runs} runs open, {erased}"
    if report.unscrubbed:
        click.secho(_UNSCRUBBED.format(report.unscrubbed), fg="yellow", err=True)
    if report.fault is None:
        click.secho(f"sound: {checked} hold together; {more}", fg="green", bold=True)
        click.echo(_LIMITS)
        return
    click.echo(f"checked {checked} before the first fault")
    click.secho(printable(report.fault), fg="red", bold=True, err=True)


def _to_dict(report: FsckReport) -> dict[str, object]:
    return {
        "sound": report.fault is None,
        "events": report.events,
        "runs": report.runs,
        "openRuns": report.open_runs,
        "erasedPayloads": report.erased_payloads,
        "erasedDisclosures": report.erased_disclosures,
        "unscrubbed": report.unscrubbed,
        "fault": None if report.fault is None else asdict(report.fault),
        "notShown": _LIMITS,
    }
