"""One customer of an airline is erased from a hundred recorded conversations, down to the bytes."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread

from evidence import Ed25519Signer, EvidenceBundler, verify_evidence_bundle
from tests.test_tracebus.airline import Talk, conversations, details, facts_of, imported
from tests.test_tracebus.recorded import erase_user
from tracebus.fsck import fsck

CUSTOMER = "mia_li_3668"
OTHER = "omar_rossi_1241"


def facts_about(customer: str, talks: list[Talk]) -> list[str]:
    """Return what the record says of a customer, and of nobody else."""
    facts = [customer, *facts_of(dict(details(talks))[customer])]
    others = json.dumps([each for each in talks if each.get("user") != customer], ensure_ascii=False)
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
    talks = await in_thread(conversations, shared)
    facts = {customer: facts_about(customer, talks) for customer in (CUSTOMER, OTHER)}
    assert [9, 11] == [len(each) for each in facts.values()]

    log, folder = await imported(talks, tmp_path), tmp_path / "log"
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
