"""Who orders what a command does to the record."""

from __future__ import annotations

import getpass
import os

import click

from tracebus.events import IdentitySource
from tracebus.kept_texts import check_no_secret

actor_option = click.option(
    "--actor", metavar="WHO", help="Who orders it; else the account that runs the command."
)


def identify(actor: str | None) -> tuple[str, IdentitySource]:
    """Return who is named, or whose account it is, and how that is known.

    Raises:
        click.BadParameter: Nobody is named, or the name holds a credential.
    """
    if actor is not None:
        if not actor.strip():
            raise click.BadParameter("expected who orders it, for the record", param_hint="--actor")
        try:
            check_no_secret(actor=actor)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--actor") from None
        return actor, "asserted"
    try:
        return getpass.getuser(), "cli"
    except (KeyError, OSError, ImportError):  # an account without a name
        return f"uid {os.getuid()}", "cli"
