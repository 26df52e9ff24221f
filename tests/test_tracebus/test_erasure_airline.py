"""One customer of an airline is erased from a hundred recorded conversations, down to the bytes."""

from __future__ import annotations

import gzip
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync as in_thread

from evidence import Ed25519Signer, EvidenceBundler, verify_evidence_bundle
from tests.test_tracebus.recorded import erase_user
from tracebus import SqliteEventLog, TraceEventBus
from tracebus.fsck import fsck
from tracebus.importers.chat import import_chat

CUSTOMER = "mia_li_3668"
OTHER = "omar_rossi_1241"


def conversations(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the conversations, each with the customer that the agent looked up, if it did."""
    with gzip.open(path, "rt") as file:
        for line in file:
            conversation = json.loads(line)
            for message in conversation["messages"]:
                for call in message.get("tool_calls") or ():
                    user = json.loads(call["function"]["arguments"]).get("user_id")
                    if user:
                        conversation["user"] = user
            yield conversation


def facts_of(customer: str, conversations: list[dict[str, Any]]) -> list[str]:
    """Return what the record says of a customer, and of nobody else: name, address, birth date, cards."""
    (details, *_) = (
        json.loads(message["content"])
        for conversation in conversations
        if conversation.get("user") == customer
        for message in conversation["messages"]
        if message.get("name") == "get_user_details"
    )
    facts = [
        customer,
        " ".join(details["name"].values()),
        details["email"],
        details["address"]["address1"],
        details["dob"],
        *details["payment_methods"],
    ]
    others = json.dumps([each for each in conversations if each.get("user") != customer], ensure_ascii=False)
    return [fact for fact in facts if fact not in others]


def spellings(fact: str) -> Iterator[bytes]:
    """Yield a text as it stands in a file: in the clear, and within base64url, at each of three places."""
    data = fact.encode()
    yield data
    for before in range(3):
        encoded = urlsafe_b64encode(bytes(before) + data)
        yield encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


def found(folder: Path, facts: list[str]) -> set[str]:
    """Return which texts the bytes of a folder's files have."""
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return {fact for fact in facts for text in spellings(fact) if any(text in data for data in files)}


@pytest.mark.anyio
async def test_one_customer_of_an_airline(shared: Path, tmp_path: Path) -> None:
    """Nothing of the customer is left in any byte, everything of others is, and every bundle verifies."""
    source = shared / "data" / "tau-airline-gpt4o.jsonl.gz"
    if not source.is_file():
        pytest.skip(f"no {source}")
    talks = await in_thread(lambda: list(conversations(source)))
    await anyio.Path(tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    facts = {customer: facts_of(customer, talks) for customer in (CUSTOMER, OTHER)}
    assert [9, 11] == [len(each) for each in facts.values()]

    folder = tmp_path / "log"
    folder.mkdir()
    log = SqliteEventLog(folder / "trace.db")
    async with TraceEventBus(log) as bus:
        await import_chat(bus, tmp_path / "talks.jsonl")
    for customer in (CUSTOMER, OTHER):
        assert set(facts[customer]) == await in_thread(found, folder, facts[customer])

    report = await in_thread(erase_user, log, CUSTOMER)
    assert (2, None) == (len(report.records), report.not_scrubbed)
    for customer, expected in ((CUSTOMER, set()), (OTHER, set(facts[OTHER]))):
        assert expected == await in_thread(found, folder, facts[customer])

    assert None is (await in_thread(fsck, log)).fault
    signer = Ed25519Signer.generate()
    bundler = EvidenceBundler(log, signer)
    erased = {}
    for talk in talks:
        bundle = await bundler.bundle(talk["conversation"])
        shown = verify_evidence_bundle(bundle, signer.verifying_key).shown
        if shown.erased_disclosures:
            erased[talk["user"]] = shown.disclosures
    await in_thread(log.close)
    assert {CUSTOMER: 0} == erased
