"""The retention policy that a command goes by."""

from __future__ import annotations

from pathlib import Path

import click

from evidence.errors import MalformedInput
from evidence.printable import printable
from tracebus.retention_policy import DEFAULT_POLICY, RetentionPolicy, parse_retention_policy

policy_option = click.option(
    "--policy", "policy_path", metavar="FILE", help="The retention policy; without it, the default one."
)


def read_policy(path: str | None) -> RetentionPolicy:
    """Return the policy of a file, or the default one; warn of what in it is hardly meant.

    Raises:
        MalformedInput: It is none.
        OSError: It cannot be read.
    """
    if path is None:
        return DEFAULT_POLICY
    try:
        policy = parse_retention_policy(Path(path).read_bytes())
    except MalformedInput as error:
        raise MalformedInput(f"{path}: {error.place}", error.reason) from None
    for warning in policy.warnings():
        click.secho(printable(f"note: {path}: {warning}"), fg="yellow", err=True)
    return policy
