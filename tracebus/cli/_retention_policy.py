"""The retention policy that a command goes by."""

from __future__ import annotations

import click

from evidence.inputs import read_parsed
from evidence.printable import printable
from tracebus.retention_policy import DEFAULT_POLICY, MAX_BYTES, RetentionPolicy, parse_retention_policy

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
    policy = read_parsed(path, parse_retention_policy, MAX_BYTES, "retention policy")
    for warning in policy.warnings():
        click.secho(printable(f"note: {path}: {warning}"), fg="yellow", err=True)
    return policy
