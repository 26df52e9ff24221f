"""On recorded conversations with an airline's customers: one customer's view, and retention by a policy."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from evidence import Ed25519Signer, EvidenceBundler, verify_evidence_bundle
from tests.test_tracebus.keeping import nanoseconds
from tracebus import EventQuery, SqliteEventLog, TraceEventBus
from tracebus.fsck import fsck
from tracebus.importers.chat import import_chat
from tracebus.retention import apply_retention
from tracebus.retention_policy import DEFAULT_POLICY
from tracebus.subject import subject_view
from tracebus.testing import FixedClock

CUSTOMER = "mia_li_3668"


@pytest.fixture
def conversations(shared: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """The first twelve conversations, each with the customer whose profile was asked for as its user."""
    with gzip.open(shared / "data" / "tau-airline-gpt4o.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line, _ in zip(file, range(12), strict=False)]
    for line in lines:
        named = re.search(r"user_id\W+(\w+)", json.dumps(line["messages"]).replace("\\", ""))
        if named is not None:
            line["user"] = named[1]
    return lines


@pytest.fixture
def log(conversations: list[dict[str, Any]], tmp_path: Path) -> SqliteEventLog:
    """A log with these conversations."""
    path = tmp_path / "airline.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in conversations))
    clock = FixedClock(nanoseconds("2026-11-21T12:00:00+00:00"))
    log = SqliteEventLog(tmp_path / "trace.db", clock=clock)

    async def fill() -> None:
        async with TraceEventBus(log) as bus:
            await import_chat(bus, path)

    anyio.run(fill)
    return log


def texts(conversations: list[dict[str, Any]], *, of_customer: bool) -> set[str]:
    """Return what the customer wrote, or what all others did and the customer did not."""
    said: dict[bool, set[str]] = {True: set(), False: set()}
    for each in conversations:
        wrote = {message["content"] for message in each["messages"] if message["role"] == "user"}
        said[each.get("user") == CUSTOMER] |= wrote
    return said[of_customer] - said[not of_customer]


def test_a_customers_view(conversations: list[dict[str, Any]], log: SqliteEventLog) -> None:
    """It has all that the customer wrote, and nothing that only others did."""
    view = subject_view(log, CUSTOMER)
    shown = json.dumps(
        [held.event.opened() for each in view.workflows for held in view.events(each)], ensure_ascii=False
    )
    mine, others = (texts(conversations, of_customer=of) for of in (True, False))
    assert mine
    assert (mine, set()) == (
        {text for text in mine if json.dumps(text, ensure_ascii=False)[1:-1] in shown},
        {text for text in others if json.dumps(text, ensure_ascii=False)[1:-1] in shown},
    )
    assert [2] == list({len(view.workflows)})


def test_retention(log: SqliteEventLog) -> None:
    """After 13 months what people and models wrote is gone, from the file, too; bundles and chains hold."""
    signer = Ed25519Signer.generate()
    workflow = subject_view(log, CUSTOMER).workflows[0].workflow_id
    bundler = EvidenceBundler(log, signer)
    disclosures = [text.encode() for event in log.query(EventQuery()) for text in event.disclosures]
    before = anyio.run(bundler.bundle, workflow).to_json()
    due = FixedClock(nanoseconds("2027-12-22T00:00:00+00:00"))
    report = apply_retention(log, DEFAULT_POLICY, clock=due)
    after = anyio.run(bundler.bundle, workflow).to_json()
    shown = [
        verify_evidence_bundle(bundle, signer.verifying_key, expected_workflow=workflow).shown
        for bundle in (before, after)
    ]
    assert (None, 12, None) == (report.not_scrubbed, report.records, fsck(log).fault)
    assert (len(disclosures), [0, shown[0].disclosures]) == (
        report.erased.members,
        [each.erased_disclosures for each in shown],
    )
    assert () == subject_view(log, CUSTOMER).workflows
    left = bytes_of(log)
    assert [] == [text for text in disclosures if text in left]


def bytes_of(log: SqliteEventLog) -> bytes:
    """Return what is in the files of a log, the write-ahead log included."""
    return b"".join(path.read_bytes() for path in sorted(log.path.parent.glob("trace.db*")))


def test_disclosures_are_in_the_file(log: SqliteEventLog) -> None:
    """Before that they are there: looking for them in the file would find them."""
    disclosures = [text.encode() for event in log.query(EventQuery()) for text in event.disclosures]
    found = bytes_of(log)
    assert all(text in found for text in disclosures if len(text) < 200)
