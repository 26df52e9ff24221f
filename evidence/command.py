"""Verify for a command line: from paths and expectations to printed lines and an exit code.

`python -m evidence` and `tracebus verify` are two parsers in front of `verify`. What is printed has
all control characters escaped, for a bundle's text is its maker's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

from evidence.bundle import EvidenceBundle
from evidence.canonical import MAX_BYTES
from evidence.digest import is_digest
from evidence.disclosure_policy import DisclosurePolicy
from evidence.errors import (
    EvidenceError,
    Incomplete,
    LogDamaged,
    MalformedInput,
    Unverifiable,
    VerificationFailed,
)
from evidence.expectation import ANY_TENANT
from evidence.inputs import (
    read_disclosure_policy,
    read_limited,
    read_log_key,
    read_policy,
    read_public_key,
    read_shared_secret,
)
from evidence.keys import SharedSecret, VerifyingKey
from evidence.printable import counted, printable
from evidence.report import VerificationReport
from evidence.trust import TrustedLog, TrustPolicy, format_time
from evidence.verify import Accept, verify_evidence_bundle

ACCEPTABLE: Final = ("incomplete", "unverifiable")
"""The outcomes that `Request.accept` may admit."""

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNSETTLED: Final = 3
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

Headline = Callable[[str, TextIO], None]
"""Prints a headline to a stream, in colour perhaps."""


def _print_plain(headline: str, stream: TextIO) -> None:
    print(headline, file=stream)


@dataclass(frozen=True, slots=True)
class Request:
    """What to verify, with which key, and what is expected: the arguments of the command line.

    Files are named by path; a bundle may be ``-``, standard input. One of `key` and `hmac_secret`
    is given, or a `policy` that has keys for bundles. `log_key` is a C2SP verifier key, or a file
    with one or with PEM: it stands for a policy that trusts this log and requires completeness.
    `disclosure_policy` is the policy that the bundle must name, and show no more by than it lets.
    `tenant` is None for a workflow that has none.
    """

    bundle: str
    key: str | None = None
    hmac_secret: str | None = None
    policy: str | None = None
    log_key: str | None = None
    workflow: str | None = None
    tenant: str | object | None = ANY_TENANT
    log_origin: str | None = None
    head: str | None = None
    disclosure_policy: str | None = None
    accept: Accept = ()
    as_json: bool = False


def verify(request: Request, headline: Headline = _print_plain) -> int:
    """Verify as requested, print the outcome, and return the exit code."""
    try:
        report = _verify(request)
    except (EvidenceError, OSError) as error:
        _print_refusal(error, request, headline)
        return exit_code(error)
    if request.as_json:
        print(to_json(report.to_dict()))
    else:
        _print_lines(_describe(report, request), headline)
    return OK


def _verify(request: Request) -> VerificationReport:
    if request.head is not None and not is_digest(request.head):
        raise MalformedInput("--head", f"expected a workflow head, sha256:…, found {request.head!r:.80}")
    key, bundle = _read_key(request), EvidenceBundle.from_json(read_limited(request.bundle, MAX_BYTES))
    return verify_evidence_bundle(
        bundle,
        key,
        policy=_read_policy(request, bundle),
        expected_workflow=request.workflow,
        expected_tenant=request.tenant,
        expected_log=request.log_origin,
        expected_head=request.head,
        expected_disclosure_policy=_read_disclosure_policy(request),
        accept=request.accept,
    )


def _read_policy(request: Request, bundle: EvidenceBundle) -> TrustPolicy | None:
    if request.log_key is not None:
        log = TrustedLog(read_log_key(request.log_key, bundle.log))
        return TrustPolicy(logs=(log,), required=frozenset({"completeness"}))
    if request.policy is None:
        return None
    policy = read_policy(request.policy)
    if not policy.bundle_keys and request.key is None and request.hmac_secret is None:
        raise MalformedInput(request.policy, "has no bundle-key: give the signer's with --key NAME.pub")
    return policy


def _read_disclosure_policy(request: Request) -> DisclosurePolicy | None:
    path = request.disclosure_policy
    return None if path is None else read_disclosure_policy(path)


def _read_key(request: Request) -> VerifyingKey | SharedSecret | None:
    if request.hmac_secret is not None:
        return read_shared_secret(request.hmac_secret)
    return None if request.key is None else read_public_key(request.key)


# Errors


def exit_code(error: BaseException) -> int:
    """Return the exit code that an error stands for."""
    if isinstance(error, VerificationFailed | LogDamaged):
        return FAILED
    return UNSETTLED if isinstance(error, Incomplete | Unverifiable) else USAGE


def refusal(error: EvidenceError | OSError) -> dict[str, str]:
    """Return why nothing was verified, as JSON values: verdict, kind, place and reason."""
    settled = {FAILED: "failed", USAGE: "malformed"}
    verdict = settled.get(exit_code(error), type(error).__name__.lower())
    kind = type(error).__name__
    if isinstance(error, OSError):
        place, reason = str(error.filename or ""), error.strerror or str(error)
    else:
        place, reason = getattr(error, "place", ""), getattr(error, "reason", str(error))
    return {"verdict": verdict, "kind": kind, "place": place, "reason": reason}


def _print_refusal(error: EvidenceError | OSError, request: Request, headline: Headline) -> None:
    why = refusal(error)
    if request.as_json:
        print(to_json(why))
        return
    report = getattr(error, "report", None)
    if report is not None:
        _print_lines(_describe(report, request), headline)
    place = f"{why['place']}: " if why["place"] else ""
    kind = "" if isinstance(error, OSError) else f"{why['kind']}: "
    line = f"{why['verdict']}: {kind}{place}{why['reason']}{_advice(error)}"
    headline(printable(line), sys.stderr)


def _advice(error: EvidenceError | OSError) -> str:
    return "; --accept incomplete admits this" if isinstance(error, Incomplete) else ""


def guarded(run: Callable[[], int]) -> int:
    """Run a command; return its exit code, also when it is interrupted or nobody reads its output."""
    try:
        code = run()
        _flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter complains on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


def _flush() -> None:
    """Write what is buffered; a standard output that was closed takes nothing, and has nothing."""
    if sys.stdout is not None:
        sys.stdout.flush()


# Output


def to_json(value: object) -> str:
    """Return JSON in ASCII: no terminal, and no pager, can take anything in it for a command."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def align(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a table, the headings first, each column as wide as its widest cell."""
    cells = [list(headings), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _print_lines(lines: Iterator[str], headline: Headline) -> None:
    """Print printable lines, the first of them as a headline."""
    headline(next(lines), sys.stdout)
    for line in lines:
        print(line)


def _describe(report: VerificationReport, request: Request) -> Iterator[str]:
    yield printable(report.headline)
    yield ""
    runs = [(run.run_id, run.count, "yes" if run.closed else "no", run.head) for run in report.runs]
    yield from align(("run", "events", "ended", "head"), runs)
    yield ""
    facts = [*_kept_back(report), *_provenance(report), *_checkpoint(report), *_notes(report, request)]
    yield from (f"{name:<14} {printable(value)}" for name, value in facts)


def _kept_back(report: VerificationReport) -> Iterator[tuple[str, str]]:
    shown = report.shown
    yield "shown", _count(shown.payloads, shown.disclosures)
    withheld = _count(shown.withheld_payloads, shown.withheld_disclosures)
    yield "withheld", "; ".join([withheld, *report.reasons])
    if report.disclosure_policy is not None or report.disclosure_policy_checked:
        named = report.disclosure_policy or "a policy that it does not name"
        checked = "it shows no more than that" if report.disclosure_policy_checked else "not checked"
        yield "policy", f"{named}: {checked}"
    yield "erased", _count(shown.erased_payloads, shown.erased_disclosures)
    for erasure in report.erasures:
        said = [text for text in (erasure.actor, erasure.reason, erasure.legal_basis) if text is not None]
        yield "", f"{erasure.type} {erasure.by}, {erasure.at[:19]}Z: {', '.join(said)}"
    removed = _count(shown.removed_payloads, shown.removed_disclosures)
    yield "removed", removed if removed == "nothing" else f"{removed}, after signing"


def _count(payloads: int, members: int) -> str:
    if not payloads and not members:
        return "nothing"
    return f"{counted(payloads, 'payload')}, {counted(members, 'sensitive member')}"


def _provenance(report: VerificationReport) -> Iterator[tuple[str, str]]:
    yield "signed by", f"{report.signature_alg} key {report.key_id}"
    yield "made", f"{report.created_at}, as the signer says"
    yield "log", report.log
    yield "bundle", report.bundle_id
    yield "workflow head", report.workflow_head


def _checkpoint(report: VerificationReport) -> Iterator[tuple[str, str]]:
    checkpoint = report.checkpoint
    if checkpoint is None:
        return
    yield "checkpoint", f"size {checkpoint['size']}, root {checkpoint['root']}"
    cosigned = [f"{name} {format_time(time)}" for name, time in checkpoint["witnesses"].items()]
    yield "cosigned by", ", ".join(cosigned) or "nobody who is trusted"
    for name, time in (("there by", checkpoint["existed_by"]), ("newest at", checkpoint["newest_at"])):
        if time is not None:
            yield name, format_time(time)


def _notes(report: VerificationReport, request: Request) -> Iterator[tuple[str, str]]:
    yield from (("note", note) for note in report.notes)
    if request.workflow is None:
        yield "note", "sound evidence of another workflow is sound, too: say which you expect with --workflow"
