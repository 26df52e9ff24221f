"""``tracebus verify``: the verifier of `evidence`, behind click."""

from __future__ import annotations

from typing import TextIO

import click

from evidence.command import ACCEPTABLE, Request
from evidence.command import verify as verify_request
from evidence.expectation import ANY_TENANT
from tracebus.cli._common import PlainCommand, json_option

_COLOURS = {"verified": "green", "incomplete": "yellow", "unverifiable": "yellow"}


@click.command("verify", cls=PlainCommand)
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--key", metavar="NAME.pub", help="Your copy of the signer's public key: PEM, or a C2SP verifier key."
)
@click.option(
    "--hmac-secret", metavar="FILE", help="Instead of --key, the secret that you share with the signer."
)
@click.option("--policy", metavar="FILE", help="Your trust policy: whose logs, bundles and witnesses.")
@click.option(
    "--log-key", metavar="VKEY", help="The log's key, or its file: the bundle must be shown to be whole."
)
@click.option("--workflow", metavar="ID", help="The workflow that it must be about.")
@click.option("--tenant", metavar="T", help="The tenant that it must be of.")
@click.option("--no-tenant", is_flag=True, help="It must be of no tenant.")
@click.option("--log-origin", metavar="O", help="The origin of the log that it must come from.")
@click.option("--head", metavar="H", help="The workflow head that it must reach: sha256:…")
@click.option(
    "--disclosure-policy", metavar="FILE", help="The policy by which it must disclose, and no more than that."
)
@click.option("--accept", multiple=True, type=click.Choice(ACCEPTABLE), help="An outcome that will do, too.")
@json_option
def command(
    bundle: str,
    key: str | None,
    hmac_secret: str | None,
    policy: str | None,
    log_key: str | None,
    workflow: str | None,
    tenant: str | None,
    no_tenant: bool,
    log_origin: str | None,
    head: str | None,
    disclosure_policy: str | None,
    accept: tuple[str, ...],
    as_json: bool,
) -> int:
    """Verify a bundle, offline, with a public key that you already hold.

    BUNDLE is a file, or - for standard input. Say what you expect: a sound bundle of another
    workflow is sound. `python -m evidence verify` does the same, and needs less installed.

    A proof that the bundle is whole, as of a checkpoint of its log, is checked with the log's key. With
    --log-key there must be one; a policy says what there must be, and has the signer's key, too.

    With --disclosure-policy the bundle must name that file, and must show nothing that it withholds. What
    it names and is not sensitive could not be withheld by itself: where that is shown, a note says so.

    Exit codes
      0  verified, or an outcome that --accept admits
      1  failed: the evidence is bad, or of something else than you expect
      2  malformed: a file cannot be read as what it should be; or wrong usage
      3  incomplete: a run has not ended, or what the policy requires is missing;
         unverifiable: a library that is needed is absent

    Examples:
      tracebus verify talk-7.json --key treasury.pub --workflow talk-7 --no-tenant
      tracebus verify talk-7.json --policy trust.txt --workflow talk-7 --no-tenant
    """
    if key is not None and hmac_secret is not None:
        raise click.UsageError("--key and --hmac-secret exclude each other")
    if key is None and hmac_secret is None and policy is None:
        raise click.UsageError(
            "expected --key NAME.pub, --hmac-secret FILE, or --policy FILE with a bundle-key"
        )
    if policy is not None and log_key is not None:
        raise click.UsageError("--policy and --log-key exclude each other")
    if tenant is not None and no_tenant:
        raise click.UsageError("--tenant and --no-tenant exclude each other")
    request = Request(
        bundle=bundle,
        key=key,
        hmac_secret=hmac_secret,
        policy=policy,
        log_key=log_key,
        workflow=workflow,
        tenant=None if no_tenant else ANY_TENANT if tenant is None else tenant,
        log_origin=log_origin,
        head=head,
        disclosure_policy=disclosure_policy,
        accept=tuple(outcome for outcome in ACCEPTABLE if outcome in accept),
        as_json=as_json,
    )
    return verify_request(request, _print_headline)


def _print_headline(headline: str, stream: TextIO) -> None:
    click.secho(headline, file=stream, fg=_COLOURS.get(headline.partition(":")[0], "red"), bold=True)
