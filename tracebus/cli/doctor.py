"""``tracebus doctor``: is this installation what it should be?"""

from __future__ import annotations

from dataclasses import asdict

import click

from evidence.command import FAILED, OK
from tracebus.cli._common import PlainCommand, echo_json_array, echo_table, json_option
from tracebus.doctor import examine


@click.command("doctor", cls=PlainCommand)
@json_option
def command(as_json: bool) -> int:
    """Examine the installation: packages, entry points, SQLite.

    "evidence" and "sinks" are general names: another distribution, or a folder of that name, can take
    their place. This shows where each is imported from.

    Exit codes
      0  all is well
      1  something is not; it is named
    """
    findings = list(examine())
    if as_json:
        echo_json_array(map(asdict, findings))
    else:
        echo_table(("what", "found", "fault"), [(f.what, f.found, f.fault) for f in findings])
    return FAILED if any(finding.fault for finding in findings) else OK
