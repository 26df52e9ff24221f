"""A hundred recorded conversations are exported: what was decided and done is shown, and no customer is."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync as in_thread

from evidence import (
    DisclosurePolicy,
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    Withholding,
    verify_evidence_bundle,
)
from tests.test_tracebus.airline import Talk, conversations, details, facts_of, imported

pytestmark = pytest.mark.anyio

SIGNER = Ed25519Signer.generate()


def text_of(bundle: EvidenceBundle) -> str:
    """Return all that can be read in a bundle, its disclosures decoded."""
    tree = bundle.tree
    decoded = [
        urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        for texts in tree["disclosures"].values()
        for text in texts
    ]
    # A text within a text has its quotes escaped; the facts have none.
    return "\n".join([json.dumps(tree, ensure_ascii=False), *decoded])


def facts_in(talks: list[Talk]) -> Iterator[str]:
    """Yield what the record says of all customers, their ids too."""
    for user, customer in details(talks):
        yield from [user, *facts_of(customer)]


async def exported(
    talks: list[Talk], folder: Path, policy: DisclosurePolicy, **rules: Any
) -> tuple[str, set[str]]:
    """Return what can be read in all bundles, each verified, and the names of the tools shown in them."""
    log = await imported(talks, folder, **rules)
    bundler, texts, tools = EvidenceBundler(log, SIGNER), [], set[str]()
    for talk in talks:
        bundle = await bundler.bundle(talk["conversation"], disclose=policy)
        report = verify_evidence_bundle(
            bundle.to_json(), SIGNER.verifying_key, expected_disclosure_policy=policy
        )
        texts.append(text_of(bundle))
        tools |= {str(event.payload["tool"]) for event in report.events if "tool" in (event.payload or {})}
    await in_thread(log.close)
    return "\n".join(texts), tools


NO_CUSTOMERS = {
    "without what is sensitive": DisclosurePolicy(show=["*"], reason="personal data"),
    "without what is said, written and looked up": DisclosurePolicy(
        withhold=[
            Withholding(["context_*:*", "turn_*:*", "model_*:*", "run_*:*"], "what was said"),
            Withholding(["*:user_id", "*:passengers", "*:payment*", "*:name", "*:email"], "a customer"),
            Withholding(["tool_executed:*", "tool_proposed:rationale"], "what was looked up"),
            Withholding(["*:summary", "*:thought"], "what a model wrote, which may name a customer"),
        ]
    ),
}


@pytest.mark.parametrize("policy", NO_CUSTOMERS.values(), ids=NO_CUSTOMERS.keys())
async def test_no_customer_is_shown(shared: Path, tmp_path: Path, policy: DisclosurePolicy) -> None:
    """Decisions and tool names are there; names, addresses, birth dates and means of payment are not."""
    talks = await in_thread(conversations, shared)
    facts = set(facts_in(talks))
    text, tools = await exported(talks, tmp_path, policy)
    assert (14, 100, set()) == (
        len(tools),
        text.count('"outcome": "completed"'),
        {fact for fact in facts if fact in text},
    )


async def test_the_search_finds_them(shared: Path, tmp_path: Path) -> None:
    """In bundles that show everything each of these facts is found: the search can find them."""
    talks = await in_thread(conversations, shared)
    facts = set(facts_in(talks))
    text, _ = await exported(talks, tmp_path, DisclosurePolicy.everything())
    missing = {fact for fact in facts if fact not in text}
    assert {fact for fact in missing if " " not in fact} == set()  # a full name is in two members
    assert len(facts) > 150
