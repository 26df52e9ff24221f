"""A workflow that has much to hide, nested three deep, and the second verifier beside ours."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from evidence import (
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    EvidenceError,
    Incomplete,
    MalformedInput,
    VerificationReport,
    canonical,
    verify_evidence_bundle,
)
from tracebus import (
    ApprovalRequested,
    ApprovalResolved,
    EventPart,
    EventPayload,
    FreeForm,
    MemoryEventLog,
    Sensitive,
    ToolExecuted,
    ToolProposed,
    TraceEventBus,
)
from tracebus.testing import FixedClock, SequentialIds

Tree = dict[str, Any]

SIGNER = Ed25519Signer(b"\x07" * 32)
KEY = SIGNER.verifying_key
WORKFLOW = "trip-7"
_VERIFIER = Path(__file__).resolve().parent.parent / "examples/verify_standalone.py"


class Contact(EventPart):
    """How to reach somebody."""

    city: str
    email: Sensitive[str | None] = None
    phone: Sensitive[str | None] = None


class Traveller(EventPart):
    """Somebody who travels."""

    seat: str
    name: Sensitive[str | None] = None
    contact: Sensitive[Contact | None] = None


class TripBooked(EventPayload, type="disclosing.trip_booked"):
    """A trip was booked."""

    route: str
    traveller: Sensitive[Traveller | None] = None
    companions: list[Traveller] = []  # noqa: RUF012 (pydantic copies it)
    answer: Sensitive[FreeForm] = None


TRIP = TripBooked(
    route="TXL-LIS",
    traveller=Traveller(
        seat="1A", name="Ada", contact=Contact(city="Berlin", email="ada@example.org", phone="+49 30 1")
    ),
    companions=[
        Traveller(seat="1B", name="Bob", contact=Contact(city="Rom", email="bob@example.org")),
        Traveller(seat="1C", name="Cy"),
    ],
    answer={"booking": "X7", "price": [199, 0.5]},
)


async def record(log: MemoryEventLog) -> None:
    """Record the workflow: two runs."""
    async with TraceEventBus(log) as bus:
        async with bus.run(workflow_id=WORKFLOW, user_id="u-91"):
            await bus.publish(ToolProposed(tool="book", call_id="c1", arguments={"card": "4111"}))
            await bus.publish(ApprovalRequested(request_id="a1", shown={"card": "4111", "price": 199}))
            await bus.publish(
                ApprovalResolved(request_id="a1", actor="kim", identity_source="idp", verdict="approved")
            )
            await bus.publish(TRIP)
            await bus.publish(
                ToolExecuted(tool="book", call_id="c1", status="ok", result={"ticket": "220-1"})
            )
        async with bus.run(workflow_id=WORKFLOW, user_id="u-91"):
            await bus.publish(TRIP)


async def bundle_of(log: MemoryEventLog, workflow: str = WORKFLOW, **options: Any) -> EvidenceBundle:
    """Return a signed bundle of a workflow of a log."""
    return await EvidenceBundler(log, SIGNER).bundle(workflow, **options)


@cache
def trip_log() -> MemoryEventLog:
    """Return a log with the workflow, recorded once."""
    log = MemoryEventLog(clock=FixedClock(step=1_000_000), new_id=SequentialIds())
    anyio.run(record, log)
    return log


@cache
def trip() -> EvidenceBundle:
    """Return the bundle of the workflow, made once; every payload may be removed that ever may."""
    return anyio.run(bundle_of, trip_log())


def tree_of(bundle: EvidenceBundle) -> Tree:
    """Return the members of a bundle, for a test to change."""
    tree: Tree = json.loads(bundle.to_json())
    return tree


def only(tree: Tree, event_type: str) -> Tree:
    """Return the first event of a type."""
    return next(event for event in tree["events"] if event["type"] == event_type)


@cache
def standalone() -> ModuleType:
    """Return examples/verify_standalone.py, which imports nothing of ours, as a module."""
    spec = importlib.util.spec_from_file_location("verify_standalone", _VERIFIER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verify(bundle: EvidenceBundle | Tree, key: Any = KEY) -> VerificationReport:
    """Verify a bundle with our verifier and the second one, which have to agree; return our report."""
    data = bundle.to_json() if isinstance(bundle, EvidenceBundle) else canonical.dumps(bundle)
    code = _standalone_code(data, key)
    try:
        report = verify_evidence_bundle(data, key)
    except EvidenceError as error:
        _agree({MalformedInput: 2, Incomplete: 3}.get(type(error), 1), code)
        raise
    _agree(0, code)
    return report


def _standalone_code(data: bytes, key: Any) -> int:
    module = standalone()
    try:
        module.verify(data, key.raw, None, {}, [])
    except module.Stop as stop:
        return int(stop.code)
    return 0


def _agree(ours: int, theirs: int) -> None:
    assert ours == theirs, f"our verifier ends with {ours}, the second one with {theirs}"


def refusal(bundle: EvidenceBundle | Tree, key: Any = KEY) -> str:
    """Return the class of the error by which a bundle is refused; fail if it verifies."""
    with pytest.raises(EvidenceError) as caught:
        verify(bundle, key)
    return type(caught.value).__name__
