"""The published vectors: built again they are the same, and two implementations agree on each."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from evidence import (
    Ed25519Signer,
    EvidenceError,
    Incomplete,
    MalformedInput,
    SharedSecret,
    Unverifiable,
    VerifyingKey,
    canonical,
    parse_policy,
    verify_evidence_bundle,
)
from evidence.disclosure import digest_of, open_payload
from evidence.header import event_hash, header_bytes
from schemas.build_vectors import (
    KEY,
    VECTORS,
    build,
    relink,
    resign,
    simple_log,
    ulid,
    workflow_head_of_state,
)

Vector = dict[str, Any]


def read(name: str) -> Any:
    """Return what a file of vectors holds."""
    return json.loads((VECTORS / name).read_text("utf-8"))


INDEX: list[Vector] = read("bundles/index.json")["bundles"]


def test_vectors_are_what_the_script_writes() -> None:
    """Built again, the files are the same, byte for byte, and there is no other file."""
    on_disk = {path.relative_to(VECTORS).as_posix(): path.read_bytes() for path in VECTORS.rglob("*.json")}
    assert build() == on_disk


def test_every_refusal_has_its_twin() -> None:
    """There are bundles that verify and at least sixty that do not, each with a name of its own."""
    names = [entry["file"] for entry in INDEX]
    refused = [entry for entry in INDEX if entry["outcome"] in ("failed", "malformed")]
    assert (len(names), True, True) == (len(set(names)), len(refused) >= 60, len(names) - len(refused) >= 10)


def our_outcome(entry: Vector) -> tuple[str, str, dict[str, int], int]:
    """Return outcome, error, counts and the checkpoint's size that we find for a bundle."""
    key = SharedSecret(bytes.fromhex(entry["secret"])) if "secret" in entry else bytes.fromhex(entry["key"])
    expected = {f"expected_{name}": value or None for name, value in entry.get("expect", {}).items()}
    if "logKey" in entry:
        lines = f"log {entry['logKey']}\nquorum none\n#tracebus require completeness\n"
        expected["policy"] = parse_policy(lines.encode())
    outcomes = {MalformedInput: "malformed", Incomplete: "incomplete", Unverifiable: "unverifiable"}
    try:
        report = verify_evidence_bundle((VECTORS / "bundles" / entry["file"]).read_bytes(), key, **expected)
    except EvidenceError as error:
        return outcomes.get(type(error), "failed"), type(error).__name__, {}, 0
    found = report.to_dict()
    counts = {name: count for name, count in found["shown"].items() if count}
    return report.verdict, "", counts, (found["checkpoint"] or {}).get("size", 0)


@pytest.mark.parametrize("entry", INDEX, ids=lambda entry: entry["file"].removesuffix(".json"))
def test_our_verdict_on_each_bundle(entry: Vector) -> None:
    """Each bundle is verified, or refused by the error, that the index states."""
    outcome, error, counts, whole_as_of = our_outcome(entry)
    expected = (entry["outcome"], entry.get("error", ""), entry.get("wholeAsOf", 0))
    assert expected == (outcome, error, whole_as_of)
    assert entry.get("shown", counts) == counts


EXIT_CODES = {"verified": 0, "failed": 1, "malformed": 2, "incomplete": 3, "unverifiable": 3}


def standalone_exit_code(script: Path, key: Path, entry: Vector) -> int:
    """Return the exit code of the second implementation."""
    command = [sys.executable, "-I", str(script), str(VECTORS / "bundles" / entry["file"]), str(key)]
    for name, value in entry.get("expect", {}).items():
        command += [f"--{name}", value]
    if "logKey" in entry:
        command += ["--log-key", entry["logKey"]]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


def test_the_second_implementation_agrees(root: Path, tmp_path: Path) -> None:
    """examples/verify_standalone.py, which imports nothing of ours, ends with the same exit codes."""
    script = root / "examples" / "verify_standalone.py"
    if not script.exists():
        pytest.skip("examples/verify_standalone.py is not there")
    # It reads neither HMACs nor BLAKE3, and says so.
    entries = [entry for entry in INDEX if "key" in entry and "blake3" not in entry["file"]]
    key = tmp_path / "key.pub"
    key.write_text(VerifyingKey(bytes.fromhex(entries[0]["key"])).to_pem())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda entry: standalone_exit_code(script, key, entry), entries))
    expected = {entry["file"]: EXIT_CODES[entry["outcome"]] for entry in entries}
    assert expected == dict(zip(expected, found, strict=True))


def changed_texts() -> list[tuple[str, Any]]:
    """Return where in a bundle there is text, and what text may be refused there."""
    texts = ["\x1b[31m", "two\nlines", "\u202e", "\u200f", "\x85"]
    origins = ["a b/{}", "a+b/{}", "é/{}"]
    return [("generator", text) for text in texts] + [("log", origin.format(ulid(0))) for origin in origins]


@pytest.mark.parametrize(("where", "text"), changed_texts())
def test_both_implementations_read_the_same_texts(where: str, text: str, root: Path, tmp_path: Path) -> None:
    """A signed bundle with this generator, or of this log, has one outcome in both implementations."""
    tree = simple_log().bundle()
    if where == "generator":
        tree["generator"]["name"] = text
    else:
        for part in (tree["scope"], *tree["events"]):
            part["log"] = text
        relink(tree)
    bundle, key = tmp_path / "bundle.json", tmp_path / "key.pub"
    bundle.write_bytes(canonical.dumps(resign(tree)))
    key.write_text(KEY.to_pem())
    try:
        outcome = verify_evidence_bundle(bundle.read_bytes(), KEY).verdict
    except MalformedInput:
        outcome = "malformed"
    command = [sys.executable, "-I", str(root / "examples/verify_standalone.py"), str(bundle), str(key)]
    found = subprocess.run(command, check=False, capture_output=True, timeout=60).returncode
    assert EXIT_CODES[outcome] == found


def specified_bundles(root: Path) -> list[tuple[str, str]]:
    """Return the bundles that the specification prints, each with the workflow head that it states."""
    text = (root / "schemas" / "bundle-v1.md").read_text("utf-8")
    blocks = re.findall(r"```json\n(.*?)\n```(.*?)(?=```json|\Z)", text, re.DOTALL)
    heads = [re.search(r"Workflow head: `(sha256:[0-9a-f]{64})`", after) for _, after in blocks]
    return [(block, head[1]) for (block, _), head in zip(blocks, heads, strict=True) if head]


def test_the_bundles_in_the_specification_verify(root: Path) -> None:
    """The two bundles that bundle-v1.md prints verify, and reach the workflow heads that it states."""
    bundles = specified_bundles(root)
    key = Ed25519Signer(b"\x01" * 32).verifying_key
    verdicts = [
        verify_evidence_bundle(bundle, key, expected_workflow="transfer-42", expected_head=head).verdict
        for bundle, head in bundles
    ]
    assert ["verified"] * 2 == verdicts


# Single steps


@pytest.mark.parametrize("vector", read("canonical.json")["accepted"], ids=lambda vector: vector["what"])
def test_canonical_vectors(vector: Vector) -> None:
    """Each text has these canonical bytes, by our code and by rfc8785."""
    value = json.loads(vector["text"])
    expected = bytes.fromhex(vector["canonicalHex"])
    assert (expected, expected) == (canonical.dumps(value), rfc8785.dumps(value))


@pytest.mark.parametrize("vector", read("canonical.json")["refused"], ids=lambda vector: vector["what"])
def test_refused_json_vectors(vector: Vector) -> None:
    """Each of these byte strings is refused by the strict reader."""
    with pytest.raises(MalformedInput):
        canonical.loads(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("vector", read("event_hash.json"), ids=lambda vector: vector["what"])
def test_event_hash_vectors(vector: Vector) -> None:
    """Each header has these canonical bytes and this event hash."""
    header = vector["header"]
    assert (vector["jcsHex"], vector["eventHash"]) == (header_bytes(header).hex(), event_hash(header))


@pytest.mark.parametrize("vector", read("disclosure.json"), ids=lambda vector: vector["what"])
def test_disclosure_vectors(vector: Vector) -> None:
    """Each committed payload hashes to this, and opens to that."""
    texts = [disclosure["text"] for disclosure in vector["disclosures"]]
    assert [disclosure["digest"] for disclosure in vector["disclosures"]] == [
        digest_of(text) for text in texts
    ]
    expected = hashlib.sha256(rfc8785.dumps(vector["committed"])).hexdigest()
    assert vector["contentHash"] == f"sha256:{expected}"
    assert vector["opened"] == open_payload(vector["committed"], texts, "vector").value


@pytest.mark.parametrize("vector", read("workflow_head.json"), ids=lambda vector: vector["what"])
def test_workflow_head_vectors(vector: Vector) -> None:
    """Each state has this head, by our code and by hand."""
    by_hand = hashlib.sha256(b"tracebus/workflow/v1\n" + rfc8785.dumps(vector["state"])).hexdigest()
    assert (vector["workflowHead"],) * 2 == (workflow_head_of_state(vector["state"]), f"sha256:{by_hand}")


@pytest.mark.parametrize("vector", read("statement_pae.json"), ids=lambda vector: vector["what"])
def test_statement_vectors(vector: Vector) -> None:
    """The statement is the specification's, its encoding DSSE's, and the signature is over that."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": f"bundle/{vector['bundleId']}",
                "digest": {"sha256": vector["contentHash"].removeprefix("sha256:")},
            }
        ],
        "predicateType": "urn:tracebus:evidence-bundle:v1",
        "predicate": {"workflowHead": vector["workflowHead"]},
    }
    body = rfc8785.dumps(statement)
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(body), body)
    assert (vector["statementHex"], vector["paeHex"]) == (body.hex(), message.hex())
    key = VerifyingKey(bytes.fromhex(vector["publicKeyHex"]))
    assert key.accepts(bytes.fromhex(vector["signatureHex"]), message)
