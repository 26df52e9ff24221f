"""Verify a bundle with nothing but this package: ``python -m evidence verify``.

    python -m evidence verify bundle.json --key treasury.pub --workflow transfer-42
    python -m evidence verify bundle.json --policy trust.txt --workflow transfer-42

It opens no connection, and needs no event loop, no database and no command-line library. What it
prints goes to standard output, why a bundle is refused to standard error, one line; both with all
control characters escaped, for a bundle's text is its maker's.

Exit codes, which are those of ``tracebus``, too:

=====  ==========================================================================================
0      verified, or an outcome that ``--accept`` admits
1      failed: the evidence is bad, or of something else than you said you expect
2      malformed: a file cannot be read as what it should be; or wrong usage
3      incomplete (a run has not ended, or what the policy requires is missing) or unverifiable (a
       library that is needed is absent)
130    interrupted from the keyboard
141    whoever read the output has closed it
=====  ==========================================================================================

`tracebus verify` is the same, behind another parser.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from evidence.command import ACCEPTABLE, Request, guarded, verify
from evidence.expectation import ANY_TENANT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    if not (given["key"] or given["hmac_secret"] or given["policy"]):
        parser.error("expected --key NAME.pub, --hmac-secret FILE, or --policy FILE with a bundle-key")
    return guarded(lambda: verify(_request(given)))


def _request(given: Mapping[str, Any]) -> Request:
    values = {name: value for name, value in given.items() if name not in ("command", "no_tenant")}
    if given["no_tenant"]:
        values["tenant"] = None
    elif given["tenant"] is None:
        values["tenant"] = ANY_TENANT
    return Request(**values)


def _parser() -> argparse.ArgumentParser:
    doc = str(__doc__)
    parser = argparse.ArgumentParser(
        prog="python -m evidence",
        description=doc.partition("\n")[0],
        epilog=doc.partition("\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"evidence, of tracebus {version('tracebus')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="verify")
    _add_arguments(commands.add_parser("verify", help="verify a bundle with a public key"))
    return parser


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="the bundle's file; - for standard input")
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--key", metavar="NAME.pub", help="your copy of the signer's public key")
    keys.add_argument("--hmac-secret", metavar="FILE", help="the secret that you share with the signer")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--policy", metavar="FILE", help="your trust policy: whose logs, bundles, witnesses")
    trust.add_argument(
        "--log-key", metavar="VKEY", help="the log's key, or its file: the bundle must be shown to be whole"
    )
    add("--workflow", metavar="ID", help="the workflow that it must be about")
    tenants = parser.add_mutually_exclusive_group()
    tenants.add_argument("--tenant", metavar="T", help="the tenant that it must be of")
    tenants.add_argument("--no-tenant", action="store_true", help="it must be of no tenant")
    add("--log-origin", metavar="O", help="the origin of the log that it must come from")
    add("--head", metavar="H", help="the workflow head that it must reach: sha256:...")
    add("--disclosure-policy", metavar="FILE", help="the policy by which it must disclose, and no more")
    add("--accept", action="append", default=[], choices=ACCEPTABLE, help="an outcome that will do, too")
    add("--json", action="store_true", dest="as_json", help="print the report as JSON")


if __name__ == "__main__":
    sys.exit(main())
