"""Write the test vectors in `vectors/`: ``python schemas/build_vectors.py``.

Every run writes the same bytes: keys, ids, times and salts are made from constants here, and nothing
asks a clock or a random source. A test builds the files again and compares.

The bundles come in two kinds. What verifies is what the bundler makes of a log written by hand
(`HandLog`), or what a holder may make of that. What is refused is one of those with one thing wrong
with it, and is named after it. An attacker without a key can repair `contentHash` (`rehash`); the
signer who cheats signs again (`resign`). Where that could matter, the vector has been repaired as far
as it can be, so that it is refused for the reason it is named after and for no other.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from evidence import (
    Completeness,
    DisclosurePolicy,
    Ed25519Signer,
    EvidenceBundle,
    EvidenceBundler,
    HmacSigner,
    SharedSecret,
    Withholding,
    WorkflowEvent,
    WorkflowProof,
    canonical,
    chain,
    envelope,
    heads_map,
)
from evidence.bundle import content_hash, head_of_tree, signed_bytes, statement_of
from evidence.checkpoint import Checkpoint, format_checkpoint, format_hash, sign_checkpoint
from evidence.completeness import PROOF, cited
from evidence.digest import digest
from evidence.disclosure import disclose, encode_base64url, open_payload
from evidence.header import event_hash, header_bytes
from evidence.heads import run_state, workflow_head
from evidence.heads_map import Entry, workflow_key
from evidence.merkle import Frontier, event_leaf, heads_leaf, inclusion_proof, leaf_hash
from evidence.note import NoteKey, format_note, sign_note

Tree = dict[str, Any]

VECTORS: Final = Path(__file__).resolve().parent / "vectors"

SEED: Final = b"\x01" * 32
OTHER_SEED: Final = b"\x02" * 32
LOG_SEED: Final = b"\x03" * 32
SECRET: Final = b"a shared secret for test vectors"
SIGNER: Final = Ed25519Signer(SEED)
HMAC: Final = HmacSigner(SharedSecret(SECRET))
KEY: Final = SIGNER.verifying_key
LOG_SIGNER: Final = Ed25519Signer(LOG_SEED)

START: Final = datetime(2026, 11, 21, 2, 3, 4, tzinfo=UTC)
_GENERATOR: Final = {"name": "tracebus", "version": "test vectors"}
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(number: int, at: datetime = START) -> str:
    """Return the ULID of a time and a number, instead of a random one."""
    value = int(at.timestamp() * 1000) << 80 | number
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def salt(number: int) -> str:
    """Return a salt of 16 bytes, made from a number."""
    return encode_base64url(hashlib.sha256(b"salt %d" % number).digest()[:16])


def run_now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine waits for something")


def withholding(*patterns: str, reason: str = "bank secrecy") -> DisclosurePolicy:
    """Return the policy that withholds what these patterns mean, and shows all else."""
    return DisclosurePolicy(withhold=[Withholding(patterns, reason)])


DECIDED: Final[dict[str, Tree]] = {
    "run_completed": {"outcome": "completed"},
    "policy_decision": {"decision": "allow"},
    "gate_verdict": {"verdict": "pass"},
    "approval_resolved": {"verdict": "approved", "actor": "kim"},
    "human_override": {"actor": "kim"},
}
"""What payloads of these types have to show, where a vector does not say otherwise."""


class HandLog:
    """A log whose events are written one by one, by hand; a bundler's source.

    It checks nothing but what `evidence.chain.follow` does, and hides what it is told to hide.
    """

    def __init__(
        self, *, origin: str = f"vectors/{ulid(0)}", algorithm: str = "sha256", first: int = 1
    ) -> None:
        self.origin = origin
        self.algorithm = algorithm
        self.events: list[WorkflowEvent] = []
        self.tree = HandTree(origin)
        self._heads: dict[str, chain.RunHead] = {}
        self._next = first

    def add(
        self,
        run_id: str,
        event_type: str,
        members: Mapping[str, Any] | None = None,
        *,
        sensitive: Mapping[str, Any] | None = None,
        elements: Mapping[str, Sequence[Any]] | None = None,
        workflow_id: str = "transfer-42",
        tenant_id: str | None = "acme",
        at: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Append an event and return its id; `sensitive` members, and `elements` of arrays, are hidden."""
        number, self._next = self._next, self._next + 1
        disclosures = []
        hidden = {} if sensitive is None else sensitive
        decided = {name: value for name, value in DECIDED.get(event_type, {}).items() if name not in hidden}
        payload: Tree = {"_salt": salt(number * 100), **decided, **(members or {})}
        for i, (name, value) in enumerate((sensitive or {}).items(), 1):
            text, digest_text = disclose(name, value, salt(number * 100 + i))
            payload.setdefault("_sd", []).append(digest_text)
            disclosures.append(text)
        for name, values in (elements or {}).items():
            texts = [disclose(None, value, salt(number * 100 + 50 + i)) for i, value in enumerate(values)]
            payload[name] = [{"...": digest_text} for _, digest_text in texts]
            disclosures += [text for text, _ in texts]
        if "_sd" in payload:
            payload["_sd"].sort()
        return self.append(
            run_id, event_type, payload, disclosures, workflow_id, tenant_id, number, at, fields
        )

    def append(
        self,
        run_id: str,
        event_type: str,
        payload: Tree,
        disclosures: Sequence[str],
        workflow_id: str,
        tenant_id: str | None,
        number: int,
        at: datetime | None,
        fields: Mapping[str, Any],
    ) -> str:
        """Append an event with a committed payload, and return its id."""
        self._next = max(self._next, number + 1)
        head = self._heads.get(run_id)
        payload_bytes = canonical.dumps(payload)
        when = at or START + timedelta(seconds=number)
        header: Tree = {
            "version": 1,
            "log": self.origin,
            "id": ulid(number, START + timedelta(seconds=number)),
            "runId": run_id,
            "seq": head.length if head else 0,
            "workflowId": workflow_id,
            "type": event_type,
            "timestamp": f"{when:%Y-%m-%dT%H:%M:%S}.{number:09d}Z",
            "contentHash": digest(payload_bytes, self.algorithm),
            **fields,
        }
        if tenant_id is not None:
            header["tenantId"] = tenant_id
        if head:
            header["parentHash"] = head.event_hash
        self._heads[run_id] = chain.follow(head, header)
        self.events.append(WorkflowEvent(header, payload_bytes, tuple(disclosures)))
        return str(header["id"])

    def erase(self, event_id: str, digests: Sequence[str] | None = None) -> None:
        """Take a payload out of the log, or only these disclosures of it."""
        for i, event in enumerate(self.events):
            if event.header["id"] == event_id:
                kept = [t for t in event.disclosures if digests is not None and _digest_of(t) not in digests]
                payload = None if digests is None else event.payload
                self.events[i] = WorkflowEvent(event.header, payload, tuple(kept))

    async def read_workflow(self, workflow_id: str, tenant_id: str | None) -> Sequence[WorkflowEvent]:
        """Return a workflow's events, run by run."""
        runs: dict[str, list[WorkflowEvent]] = {}
        for event in self.events:
            if (event.header["workflowId"], event.header.get("tenantId")) == (workflow_id, tenant_id):
                runs.setdefault(event.header["runId"], []).append(event)
        return [event for run in runs.values() for event in run]

    def checkpoint(self, signer: Ed25519Signer = LOG_SIGNER) -> bytes:
        """Put what is new into the tree, sign a checkpoint of it, and return that, as a note."""
        return self.tree.checkpoint(self.events, signer)

    async def read_completeness(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        """Return the proof by the newest checkpoint, if there is one that has the workflow."""
        return self.tree.prove(workflow_id, tenant_id)

    def bundle(
        self,
        signer: Any = SIGNER,
        *,
        workflow_id: str = "transfer-42",
        tenant: str | None = "acme",
        **options: Any,
    ) -> Tree:
        """Return the tree of the bundle that the bundler makes."""
        bundler = EvidenceBundler(
            self,
            signer,
            clock=lambda: int((START + timedelta(hours=1)).timestamp()) * 1_000_000_000,
            new_id=lambda: ulid(99, START + timedelta(hours=1)),
        )
        made = run_now(bundler.bundle(workflow_id, tenant=tenant, **options))
        tree = json.loads(made.to_json())
        tree["generator"] = dict(_GENERATOR)
        return resign(tree, signer)


class HandTree:
    """The tree over a log that is written by hand, as of its newest checkpoint (log-v1.md)."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.size = 0
        self.note = b""
        self.map_root = heads_map.EMPTY
        self._frontier = Frontier()
        self._subtrees: dict[tuple[int, int], bytes] = {}
        self._nodes: dict[bytes, bytes] = {}
        self._runs: dict[tuple[str, str | None], dict[str, chain.RunHead]] = {}
        self._taken = 0

    def checkpoint(self, events: Sequence[WorkflowEvent], signer: Ed25519Signer) -> bytes:
        """Append the events that are new, and a heads leaf; return the signed checkpoint."""
        for header, *_ in events[self._taken :]:
            self._append(event_leaf(event_hash(header)))
            runs = self._runs.setdefault((header["workflowId"], header.get("tenantId")), {})
            runs[header["runId"]] = chain.head_of(header)
        self._taken = len(events)
        entries = [
            Entry.of(*workflow, workflow_head(*workflow, [run_state(head) for head in runs.values()]))
            for workflow, runs in self._runs.items()
        ]
        update = heads_map.update(self.map_root, entries, self._nodes.get)
        self._nodes |= update.added
        self.map_root = update.root
        self._append(heads_leaf(update.root))
        self.size = self._frontier.size
        self.note = signed_checkpoint(self.origin, self.size, self._frontier.root(), signer)
        return self.note

    def _append(self, leaf: bytes) -> None:
        completed = self._frontier.append(leaf_hash(leaf))
        self._subtrees |= {(level, index): value for level, index, value in completed}

    def include(self, index: int) -> tuple[bytes, ...]:
        """Return the proof that the leaf at this index is in the tree."""
        return tuple(inclusion_proof(index, self.size, lambda *subtree: self._subtrees[subtree]))

    def prove(self, workflow_id: str, tenant_id: str | None) -> WorkflowProof | None:
        """Return the proof that the checkpoint has all of a workflow."""
        runs = self._runs.get((workflow_id, tenant_id))
        if runs is None:
            return None
        heads = heads_map.prove(workflow_key(workflow_id, tenant_id), self.map_root, self._nodes.get)
        proof = Completeness(self.note, self.map_root, self.include(self.size - 1), heads)
        return WorkflowProof({run_id: head.length for run_id, head in runs.items()}, proof)


def signed_checkpoint(origin: str, size: int, root: bytes, signer: Ed25519Signer = LOG_SIGNER) -> bytes:
    """Return a checkpoint that says this, signed."""
    return format_note(sign_checkpoint(Checkpoint(origin, size, root), signer))


def log_vkey(origin: str) -> str:
    """Return the key of a log's checkpoints, as a C2SP verifier key."""
    return NoteKey(origin, LOG_SIGNER.verifying_key).to_vkey()


def _digest_of(text: str) -> str:
    return encode_base64url(hashlib.sha256(text.encode()).digest())


def rehash(tree: Tree) -> Tree:
    """Repair contentHash, as anybody can; the signature stays what it was."""
    tree["contentHash"] = content_hash(tree)
    return tree


def resign(tree: Tree, signer: Any = SIGNER) -> Tree:
    """Repair contentHash and sign again, as only the key's owner can."""
    rehash(tree)
    value = signer.sign(signed_bytes(tree))
    tree["signature"] = {
        "alg": signer.alg,
        "value": base64.b64encode(value).decode(),
        "keyId": signer.key_id,
    }
    return tree


def relink(tree: Tree, *, rescope: bool = True) -> Tree:
    """Number and chain the events anew, and state the scope's runs and the views anew."""
    heads: dict[str, Tree] = {}
    for event in tree["events"]:
        header = {name: value for name, value in event.items() if name != "payload"}
        run = heads.get(header["runId"])
        event["seq"] = header["seq"] = run["count"] if run else 0
        event.pop("parentHash", None)
        header.pop("parentHash", None)
        if run:
            event["parentHash"] = header["parentHash"] = run["head"]
        heads[header["runId"]] = {
            "runId": header["runId"],
            "count": header["seq"] + 1,
            "firstSeq": 0,
            "lastSeq": header["seq"],
            "head": event_hash(header),
            "closed": header["type"] == chain.TERMINAL_TYPE,
        }
    if rescope:
        tree["scope"]["runs"] = list(heads.values())
    return tree


# The logs that the bundles are of


def simple_log(**options: Any) -> HandLog:
    """One run: proposed, approved, executed, completed."""
    log = HandLog(**options)
    log.add("run-1", "run_started", {"kind": "new"}, sensitive={"userId": "u-91"}, agentId="treasury")
    proposed = log.add(
        "run-1",
        "tool_proposed",
        {"tool": "wire", "callId": "c1"},
        sensitive={"arguments": {"amount": 5000, "iban": "DE89370400440532013000"}},
        turnId="t1",
        risk="high",
    )
    log.add(
        "run-1",
        "approval_resolved",
        {"requestId": "a1", "verdict": "approved", "actor": "kim"},
        turnId="t1",
        causes=[proposed],
    )
    log.add(
        "run-1",
        "tool_executed",
        {"tool": "wire", "callId": "c1", "status": "ok"},
        sensitive={"result": {"reference": "ÄÖ 7 €"}},
        turnId="t1",
        key="c1",
    )
    log.add("run-1", "run_completed", {"outcome": "completed"})
    return log


def two_run_log() -> HandLog:
    """Two runs of one workflow, whose events came in turns; every view has an event in it."""
    log = HandLog()
    log.add("run-1", "run_started", {"kind": "new"})
    log.add("run-2", "run_started", {"kind": "retry"})
    log.add("run-1", "policy_decision", {"policy": "limits", "decision": "allow"})
    log.add("run-2", "gate_verdict", {"gate": "four-eyes", "verdict": "pass"})
    log.add("run-1", "tool_proposed", {"tool": "wire"})
    log.add("run-2", "chain_transaction", {"chain": "eip155:1", "hash": "0x00"})
    log.add("run-2", "human_override", {"actor": "kim"})
    log.add("run-1", "acme.note", {"text": "a type that tracebus does not know", "n": [1, 2.5, -1e-7, None]})
    log.add("run-2", "run_completed", {"outcome": "completed"})
    log.add("run-1", "run_completed", {"outcome": "failed"})
    return log


def nested_log() -> HandLog:
    """Disclosures of elements, and one within another."""
    log = HandLog()
    log.add("run-1", "run_started", {"kind": "new"})
    log.add(
        "run-1",
        "model_call_completed",
        {"model": "m"},
        elements={"choices": ["first", {"text": "second"}, 3]},
    )
    inner, inner_digest = disclose("iban", "DE89370400440532013000", salt(7001))
    outer, outer_digest = disclose("arguments", {"amount": 1, "_sd": [inner_digest]}, salt(7002))
    payload = {"_salt": salt(7000), "_sd": [outer_digest], "tool": "wire"}
    log.append("run-1", "tool_proposed", payload, [inner, outer], "transfer-42", "acme", 70, None, {})
    log.add("run-1", "run_completed", {"outcome": "completed"})
    return log


def erased_log() -> HandLog:
    """A payload and a member were erased, and a second run records it."""
    log = simple_log()
    started, proposed = log.events[0], log.events[1]
    user_digest = json.loads(started.payload or b"")["_sd"]
    targets = [
        {"eventId": proposed.header["id"]},
        {"eventId": started.header["id"], "digests": user_digest},
    ]
    log.add("run-2", "run_started", {"kind": "maintenance"})
    log.add("run-2", "data_erased", {"actor": "privacy-desk", "reason": "request 77", "targets": targets})
    log.add("run-2", "run_completed", {"outcome": "completed"})
    log.erase(proposed.header["id"])
    log.erase(started.header["id"], user_digest)
    return log


def open_log() -> HandLog:
    """A run that has not ended."""
    log = simple_log()
    log.events.pop()
    return log


def empty_payload_log() -> HandLog:
    """A workflow without a tenant, whose run only began and ended."""
    log = HandLog()
    log.add("run-1", "run_started", {"kind": "new"}, tenant_id=None)
    log.add("run-1", "run_completed", {"outcome": "cancelled"}, tenant_id=None)
    return log


def grown_log(checkpoints: int = 2, **options: Any) -> HandLog:
    """A log of four workflows, with a checkpoint, then another run of the first one, and a checkpoint."""
    log = HandLog(**options)
    others: Sequence[tuple[str, str | None]] = (
        ("transfer-42", "globex"),
        ("transfer-42", None),
        ("refund-7", "acme"),
    )
    log.add("run-1", "run_started", {"kind": "new"})
    for number, (workflow_id, tenant_id) in enumerate(others):
        log.add(f"other-{number}", "run_started", workflow_id=workflow_id, tenant_id=tenant_id)
    log.add("run-1", "tool_proposed", {"tool": "wire"}, sensitive={"arguments": {"amount": 5000}})
    log.add("run-1", "run_completed", {"outcome": "failed"})
    log.add("other-1", "run_completed", tenant_id=None)
    log.checkpoint()
    if checkpoints == 2:
        log.add("run-2", "run_started", {"kind": "retry"})
        log.add("run-2", "approval_resolved", {"requestId": "a1", "verdict": "denied"})
        log.add("other-0", "run_completed", tenant_id="globex")
        log.add("run-2", "run_completed", {"outcome": "cancelled"})
        log.checkpoint()
    return log


# What a bundle is in the index


@dataclass(frozen=True)
class Case:
    """A bundle, and what a verifier says of it.

    `outcome` is verified, failed, malformed, incomplete; `error` is the class that our verifier
    raises. `expect` holds what the caller expects (workflow, tenant, log, head), `key` the public
    key in hexadecimal, or `secret` the shared secret. `log_key` is the log's key, where the verifier
    has it and requires that the bundle is shown to be whole; then it is so as of the checkpoint of
    size `whole_as_of`.
    """

    name: str
    what: str
    data: bytes
    outcome: str
    error: str = ""
    key: str = KEY.raw.hex()
    secret: str = ""
    log_key: str = ""
    whole_as_of: int = 0
    expect: Mapping[str, str] = field(default_factory=dict)
    shown: Mapping[str, int] = field(default_factory=dict)


def _good(name: str, what: str, tree: Tree, *, outcome: str = "verified", **options: Any) -> Case:
    return Case(name, what, canonical.dumps(tree), outcome, **options)


def _without_payloads(tree: Tree) -> Tree:
    for event in tree["events"]:
        if event["id"] in tree["scope"]["redactable"]:
            del event["payload"]
            tree["disclosures"].pop(event["id"], None)
    return tree


def good_cases() -> Iterator[Case]:
    """Yield the bundles that verify, or would if their runs had ended."""
    simple = simple_log().bundle()
    counts = {"payloads": 5, "disclosures": 3}
    yield _good("simple", "one run, nothing kept back", simple, shown=counts)
    head = head_of_tree(simple)
    expect = {"workflow": "transfer-42", "tenant": "acme", "log": simple["scope"]["log"], "head": head}
    yield _good(
        "simple-expected", "the same, and everything that can be expected of it", simple, expect=expect
    )
    yield Case(
        "simple-indented",
        "the same, with other white space, escapes and order of members, which nothing is hashed of",
        json.dumps(dict(reversed(simple.items())), indent=2, ensure_ascii=True).encode(),
        "verified",
    )
    yield _good("two-runs", "two runs, and an event in every view", two_run_log().bundle())
    yield _good("no-tenant", "no tenant, and a run of two events", empty_payload_log().bundle(tenant=None))
    withheld = simple_log().bundle(disclose=withholding("tool_*", "*:userId"))
    counts = {"payloads": 3, "withheldPayloads": 2, "withheldDisclosures": 1}
    yield _good("withheld", "the signer left out two payloads and a member", withheld, shown=counts)
    yield _good("erased", "a payload and a member are erased, and an event says so", erased_log().bundle())
    redacted = _without_payloads(simple_log().bundle())
    counts = {"payloads": 3, "disclosures": 1, "removedPayloads": 2}
    yield _good("redacted", "a holder removed every payload that may be", redacted, shown=counts)
    fewer = simple_log().bundle()
    fewer["disclosures"] = {}
    counts = {"payloads": 5, "removedDisclosures": 3}
    yield _good("fewer-disclosures", "a holder removed every disclosure", fewer, shown=counts)
    yield _good("nested", "disclosures of elements, and one within another", nested_log().bundle())
    proofs = simple_log().bundle()
    proofs["proofs"] = {"urn:example:proof": {"any": [1.5, None]}}
    yield _good("unknown-proof", "a proof of a kind that nobody knows was added", proofs)
    yield _good(
        "hmac", "an HMAC instead of a signature", simple_log().bundle(HMAC), key="", secret=SECRET.hex()
    )
    opened = open_log().bundle()
    yield _good("open", "a run has not ended", opened, outcome="incomplete", error="Incomplete")
    yield _good("blake3", "a log made with BLAKE3", simple_log(algorithm="blake3").bundle())


# What is refused: one thing wrong, and the rest repaired as far as it goes

Change = Callable[[Tree], Any]


def _refused_by_whom() -> list[tuple[str, str, str, Callable[[Tree], Tree], Change]]:
    """Return (name, what, error, repair, change) for changes to the simple bundle."""
    as_is: Callable[[Tree], Tree] = lambda tree: tree  # noqa: E731
    other = Ed25519Signer(OTHER_SEED)
    hmac_of_public_key = HmacSigner(SharedSecret(KEY.raw))

    def set_in(*path: Any) -> Change:
        *parents, last, value = path

        def change(tree: Any) -> None:
            for parent in parents:
                tree = tree[parent]
            tree[last] = value

        return change

    def drop(*path: Any) -> Change:
        *parents, last = path

        def change(tree: Any) -> None:
            for parent in parents:
                tree = tree[parent]
            del tree[last]

        return change

    def event_id(tree: Tree, index: int) -> str:
        return str(tree["events"][index]["id"])

    def drop_event(index: int) -> Change:
        def change(tree: Tree) -> None:
            gone = tree["events"].pop(index)["id"]
            tree["disclosures"].pop(gone, None)
            tree["scope"]["redactable"] = [i for i in tree["scope"]["redactable"] if i != gone]
            for view in ("policyVerdicts", "approvals", "proposals", "chainTransactions"):
                tree[view] = [i for i in tree[view] if i != gone]

        return change

    def drop_middle_and_renumber(tree: Tree) -> None:
        drop_event(2)(tree)
        for i, event in enumerate(tree["events"]):
            event["seq"] = i
        tree["scope"]["runs"][0] |= {"count": 4, "lastSeq": 3}

    def cut_tail(tree: Tree) -> None:
        drop_event(4)(tree)
        relink(tree)

    def swap(tree: Tree) -> None:
        events = tree["events"]
        events[1], events[2] = events[2], events[1]

    def append_after_end(tree: Tree) -> None:
        event = copy.deepcopy(tree["events"][3])
        event |= {"id": ulid(50, START + timedelta(minutes=1)), "key": "c2"}
        tree["events"].append(event)
        tree["disclosures"].pop(event["id"], None)
        del tree["disclosures"][event_id(tree, 3)]
        relink(tree)

    def second_start(tree: Tree) -> None:
        tree["events"][3]["type"] = "run_started"
        tree["scope"]["redactable"].remove(event_id(tree, 3))
        relink(tree)

    def same_id(tree: Tree) -> None:
        tree["events"][3]["id"] = event_id(tree, 2)
        relink(tree)

    def falling_id(tree: Tree) -> None:
        tree["events"][3]["id"] = ulid(1, START)
        relink(tree)

    def same_key(tree: Tree) -> None:
        tree["events"][1]["key"] = tree["events"][2]["key"] = "k1"
        relink(tree)

    def hide_verdict(tree: Tree) -> None:
        event = tree["events"][2]
        text, hidden = disclose("verdict", event["payload"].pop("verdict"), salt(991))
        event["payload"]["_sd"] = [hidden]
        event["contentHash"] = digest(canonical.dumps(event["payload"]), "sha256")
        tree["disclosures"][event["id"]] = [text]
        relink(tree)

    def mixed(name: str, value: str) -> Change:
        def change(tree: Tree) -> None:
            tree["events"][3][name] = value
            relink(tree)

        return change

    def swap_payloads(tree: Tree) -> None:
        one, two = tree["events"][1], tree["events"][3]
        one["payload"], two["payload"] = two["payload"], one["payload"]

    def change_payload(tree: Tree) -> None:
        tree["events"][2]["payload"]["verdict"] = "denied"

    def change_payload_and_header(tree: Tree) -> None:
        payload = tree["events"][2]["payload"]
        payload["verdict"] = "denied"
        tree["events"][2]["contentHash"] = digest(canonical.dumps(payload), "sha256")

    def change_everything_unsigned(tree: Tree) -> None:
        change_payload_and_header(tree)
        relink(tree)

    def forge_disclosure(tree: Tree) -> None:
        text, _ = disclose("arguments", {"amount": 1}, salt(1))
        tree["disclosures"][event_id(tree, 1)] = [text]

    def add_disclosure(tree: Tree) -> None:
        text, _ = disclose("approvedBy", "the board", salt(1))
        tree["disclosures"][event_id(tree, 1)].append(text)

    def move_disclosure(tree: Tree) -> None:
        of = tree["disclosures"]
        of[event_id(tree, 3)] += of.pop(event_id(tree, 1))

    def double_disclosure(tree: Tree) -> None:
        tree["disclosures"][event_id(tree, 1)] *= 2

    def disclosure_of_no_payload(tree: Tree) -> None:
        del tree["events"][1]["payload"]

    def foreign_disclosure(tree: Tree) -> None:
        tree["disclosures"][ulid(77)] = []

    def respell_disclosure(tree: Tree) -> None:
        of = tree["disclosures"][event_id(tree, 1)]
        of[0] += "="

    def withheld_but_shown(tree: Tree) -> None:
        entry = {"eventId": event_id(tree, 1), "reason": "bank secrecy"}
        tree["scope"]["withheld"]["payloads"].append(entry)

    def withheld_kept(tree: Tree) -> None:
        del tree["events"][2]["payload"]
        entry = {"eventId": event_id(tree, 2), "reason": "bank secrecy"}
        tree["scope"]["withheld"]["payloads"].append(entry)

    def withheld_disclosure_shown(tree: Tree) -> None:
        digests = tree["events"][1]["payload"]["_sd"]
        entry = {"eventId": event_id(tree, 1), "digests": digests, "reason": "bank secrecy"}
        tree["scope"]["withheld"]["disclosures"].append(entry)

    def withheld_digest_nowhere(tree: Tree) -> None:
        entry = {"eventId": event_id(tree, 1), "digests": ["A" * 43], "reason": "bank secrecy"}
        tree["scope"]["withheld"]["disclosures"].append(entry)

    def withheld_twice(tree: Tree) -> None:
        withheld_but_shown(tree)
        withheld_but_shown(tree)
        del tree["events"][1]["payload"]
        del tree["disclosures"][event_id(tree, 1)]

    def erased_by_nothing(tree: Tree) -> None:
        del tree["events"][1]["payload"]
        del tree["disclosures"][event_id(tree, 1)]
        entry = {"eventId": event_id(tree, 1), "by": event_id(tree, 2)}
        tree["scope"]["erased"]["payloads"].append(entry)

    def erased_by_absent(tree: Tree) -> None:
        erased_by_nothing(tree)
        tree["scope"]["erased"]["payloads"][0]["by"] = ulid(77)

    def redactable_kept(tree: Tree) -> None:
        tree["scope"]["redactable"].append(event_id(tree, 2))

    def no_events(tree: Tree) -> None:
        tree["events"], tree["scope"]["runs"], tree["scope"]["redactable"] = [], [], []
        tree["approvals"], tree["proposals"], tree["disclosures"] = [], [], {}

    def view_omits(tree: Tree) -> None:
        tree["approvals"] = []

    def view_invents(tree: Tree) -> None:
        tree["policyVerdicts"] = [event_id(tree, 2)]

    def extend_redactable(tree: Tree) -> None:
        tree["scope"]["redactable"].append(event_id(tree, 4))

    def scope_run_without_events(tree: Tree) -> None:
        tree["scope"]["runs"].append(tree["scope"]["runs"][0] | {"runId": "run-2"})

    def mix_algorithms(tree: Tree) -> None:
        event = tree["events"][3]
        event["contentHash"] = digest(canonical.dumps(event["payload"]), "blake3")

    by_other: Callable[[Tree], Tree] = lambda tree: resign(tree, other)  # noqa: E731
    by_hmac: Callable[[Tree], Tree] = lambda tree: resign(tree, hmac_of_public_key)  # noqa: E731

    def resigned_but_named(tree: Tree) -> Tree:
        resign(tree, other)
        tree["signature"]["keyId"] = KEY.key_id
        return tree

    nothing: Change = lambda tree: None  # noqa: E731
    return [
        # The signature
        ("signature-missing", "the signature was taken away", "MalformedInput", as_is, drop("signature")),
        (
            "signature-empty",
            "the signature's value is empty",
            "SignatureRefused",
            as_is,
            set_in("signature", "value", ""),
        ),
        (
            "signature-zeros",
            "the signature is zeros",
            "SignatureRefused",
            as_is,
            set_in("signature", "value", "A" * 86 + "=="),
        ),
        (
            "signature-respelled",
            "the base64 has unused bits that are not zero",
            "MalformedInput",
            as_is,
            lambda tree: tree["signature"].update(value=_respell(tree["signature"]["value"])),
        ),
        (
            "alg-none",
            "the algorithm is none",
            "SignatureRefused",
            as_is,
            set_in("signature", {"alg": "none", "value": "", "keyId": KEY.key_id}),
        ),
        (
            "alg-unknown",
            "the algorithm is unknown",
            "SignatureRefused",
            as_is,
            set_in("signature", "alg", "Ed25519"),
        ),
        (
            "hmac-with-public-key",
            "an HMAC with the public key's bytes as the secret",
            "SignatureRefused",
            by_hmac,
            nothing,
        ),
        ("other-key", "signed by another key", "SignatureRefused", by_other, nothing),
        (
            "other-key-named-as-ours",
            "signed by another key, with our keyId",
            "SignatureRefused",
            resigned_but_named,
            nothing,
        ),
        (
            "key-id-changed",
            "the keyId names another key",
            "SignatureRefused",
            as_is,
            set_in("signature", "keyId", other.key_id),
        ),
        # Changed without the key
        (
            "content-hash-changed",
            "contentHash was changed",
            "DigestMismatch",
            as_is,
            set_in("contentHash", "sha256:" + "0" * 64),
        ),
        (
            "bundle-id-changed",
            "the bundle's id was changed",
            "DigestMismatch",
            as_is,
            set_in("bundleId", ulid(98)),
        ),
        (
            "bundle-id-changed-rehashed",
            "the same, and contentHash repaired",
            "SignatureRefused",
            rehash,
            set_in("bundleId", ulid(98)),
        ),
        (
            "workflow-changed-rehashed",
            "the workflow's name was changed",
            "SignatureRefused",
            rehash,
            set_in("workflowId", "transfer-43"),
        ),
        ("tenant-removed-rehashed", "the tenant was removed", "SignatureRefused", rehash, drop("tenantId")),
        (
            "event-changed-rehashed",
            "a header was changed",
            "SignatureRefused",
            rehash,
            set_in("events", 1, "risk", "low"),
        ),
        (
            "event-dropped-rehashed",
            "an event was taken out of the middle",
            "SignatureRefused",
            rehash,
            drop_event(2),
        ),
        ("events-swapped-rehashed", "two events changed places", "SignatureRefused", rehash, swap),
        (
            "tail-cut-rehashed",
            "the last event was cut off, scope and heads repaired",
            "SignatureRefused",
            rehash,
            cut_tail,
        ),
        ("payload-changed", "a verdict was changed", "DigestMismatch", as_is, change_payload),
        (
            "payload-changed-rehashed",
            "the same, and every hash repaired",
            "SignatureRefused",
            rehash,
            change_everything_unsigned,
        ),
        (
            "redactable-extended-rehashed",
            "a payload was made removable",
            "SignatureRefused",
            rehash,
            extend_redactable,
        ),
        (
            "view-changed-rehashed",
            "an approval was taken out of the view",
            "SignatureRefused",
            rehash,
            view_omits,
        ),
        ("payloads-swapped", "two payloads changed places", "DigestMismatch", as_is, swap_payloads),
        (
            "payload-removed",
            "a payload is gone that no holder may remove",
            "PayloadRefused",
            as_is,
            drop("events", 2, "payload"),
        ),
        # Disclosures
        (
            "disclosure-forged",
            "a disclosure says another amount",
            "DisclosureRefused",
            as_is,
            forge_disclosure,
        ),
        (
            "disclosure-added",
            "a disclosure that nothing refers to",
            "DisclosureRefused",
            as_is,
            add_disclosure,
        ),
        (
            "disclosure-moved",
            "a disclosure stands with another event",
            "DisclosureRefused",
            as_is,
            move_disclosure,
        ),
        ("disclosure-doubled", "a disclosure is given twice", "DisclosureRefused", as_is, double_disclosure),
        (
            "disclosure-without-payload",
            "a payload was removed, its disclosures not",
            "DisclosureRefused",
            as_is,
            disclosure_of_no_payload,
        ),
        (
            "disclosure-of-foreign-event",
            "disclosures of an event that is not there",
            "DisclosureRefused",
            as_is,
            foreign_disclosure,
        ),
        ("disclosure-respelled", "a disclosure is padded", "DisclosureRefused", as_is, respell_disclosure),
        # Signed again by a signer who cheats, or errs
        ("signed-no-events", "no events", "ChainBroken", resign, no_events),
        ("signed-event-dropped", "an event is missing in the middle", "ChainBroken", resign, drop_event(2)),
        (
            "signed-event-dropped-renumbered",
            "the same, and numbered anew",
            "ChainBroken",
            resign,
            drop_middle_and_renumber,
        ),
        ("signed-event-after-end", "an event follows run_completed", "ChainBroken", resign, append_after_end),
        ("signed-second-start", "a run begins twice", "ChainBroken", resign, second_start),
        ("signed-id-twice", "an event id stands twice", "ChainBroken", resign, same_id),
        ("signed-key-twice", "two events of a run have one key", "ChainBroken", resign, same_key),
        (
            "signed-verdict-hidden",
            "an approval shows its verdict only in a disclosure",
            "PayloadRefused",
            resign,
            hide_verdict,
        ),
        ("signed-id-falls", "an event id is less than the one before it", "ChainBroken", resign, falling_id),
        ("signed-events-swapped", "two events changed places", "ChainBroken", resign, swap),
        (
            "signed-mixed-tenant",
            "an event of another tenant",
            "ScopeMismatch",
            resign,
            mixed("tenantId", "globex"),
        ),
        (
            "signed-mixed-workflow",
            "an event of another workflow",
            "ScopeMismatch",
            resign,
            mixed("workflowId", "transfer-43"),
        ),
        (
            "signed-mixed-log",
            "an event of another log",
            "ScopeMismatch",
            resign,
            mixed("log", f"other/{ulid(0)}"),
        ),
        (
            "signed-mixed-algorithm",
            "an event with a BLAKE3 digest in a SHA-256 log",
            "ScopeMismatch",
            resign,
            mix_algorithms,
        ),
        (
            "signed-wrong-count",
            "the scope counts one event more",
            "ScopeMismatch",
            resign,
            set_in("scope", "runs", 0, "count", 6),
        ),
        (
            "signed-wrong-first-seq",
            "the scope says that seq begins at 1",
            "ScopeMismatch",
            resign,
            set_in("scope", "runs", 0, "firstSeq", 1),
        ),
        (
            "signed-wrong-head",
            "the scope states another head",
            "ScopeMismatch",
            resign,
            set_in("scope", "runs", 0, "head", "sha256:" + "0" * 64),
        ),
        (
            "signed-wrong-closed",
            "the scope says that the run is open",
            "ScopeMismatch",
            resign,
            set_in("scope", "runs", 0, "closed", False),
        ),
        (
            "signed-run-without-events",
            "the scope lists a run of which there are no events",
            "ScopeMismatch",
            resign,
            scope_run_without_events,
        ),
        (
            "signed-payload-changed",
            "a payload does not hash to contentHash",
            "DigestMismatch",
            resign,
            change_payload,
        ),
        (
            "signed-payload-missing",
            "a payload is absent and nothing says why",
            "PayloadRefused",
            resign,
            drop("events", 2, "payload"),
        ),
        (
            "signed-withheld-but-shown",
            "a payload is listed as withheld, and there",
            "PayloadRefused",
            resign,
            withheld_but_shown,
        ),
        ("signed-withheld-verdict", "an approval is withheld", "ScopeMismatch", resign, withheld_kept),
        (
            "signed-withheld-twice",
            "a payload is listed as withheld twice",
            "ScopeMismatch",
            resign,
            withheld_twice,
        ),
        (
            "signed-withheld-disclosure-shown",
            "a member is listed as withheld, and shown",
            "DisclosureRefused",
            resign,
            withheld_disclosure_shown,
        ),
        (
            "signed-withheld-digest-nowhere",
            "a digest is listed as withheld that stands nowhere",
            "ScopeMismatch",
            resign,
            withheld_digest_nowhere,
        ),
        (
            "signed-erased-unrecorded",
            "a payload is listed as erased, and the event named records no erasure",
            "ScopeMismatch",
            resign,
            erased_by_nothing,
        ),
        (
            "signed-erased-by-absent-event",
            "the event that records the erasure is not in the bundle",
            "ScopeMismatch",
            resign,
            erased_by_absent,
        ),
        (
            "signed-redactable-verdict",
            "an approval's payload is redactable",
            "ScopeMismatch",
            resign,
            redactable_kept,
        ),
        ("signed-view-omits", "an approval is missing in the view", "ScopeMismatch", resign, view_omits),
        (
            "signed-view-invents",
            "a view lists an event that is not of its types",
            "ScopeMismatch",
            resign,
            view_invents,
        ),
        # The form
        ("version-2", "a version that does not exist yet", "MalformedInput", resign, set_in("version", 2)),
        (
            "unknown-member",
            "an unknown member of the bundle",
            "MalformedInput",
            resign,
            set_in("note", "trust me"),
        ),
        (
            "unknown-header-field",
            "an unknown field in a header",
            "MalformedInput",
            resign,
            set_in("events", 1, "approved", True),
        ),
        (
            "unknown-scope-member",
            "an unknown member of the scope",
            "MalformedInput",
            resign,
            set_in("scope", "complete", True),
        ),
        (
            "unknown-signature-member",
            "an unknown member of the signature",
            "MalformedInput",
            as_is,
            set_in("signature", "jwk", {}),
        ),
        (
            "seal-reserved",
            "a header with the reserved field seal",
            "MalformedInput",
            resign,
            set_in("events", 1, "seal", ""),
        ),
        (
            "null-for-absent",
            "null where a field should be absent",
            "MalformedInput",
            resign,
            set_in("events", 0, "turnId", None),
        ),
        (
            "payload-no-object",
            "a payload that is an array",
            "MalformedInput",
            resign,
            set_in("events", 1, "payload", []),
        ),
        ("events-no-array", "events that are an object", "MalformedInput", as_is, set_in("events", {})),
        ("proofs-no-object", "proofs that are an array", "MalformedInput", as_is, set_in("proofs", [])),
    ]


def _respell(value: str) -> str:
    """Change the last character before the padding, so that only unused bits change."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(value.rstrip("=")) - 1
    return value[:at] + alphabet[alphabet.index(value[at]) + 1] + value[at + 1 :]


def refused_cases() -> Iterator[Case]:
    """Yield the bundles that are refused."""
    for name, what, error, repair, change in _refused_by_whom():
        tree = simple_log().bundle()
        change(tree)
        outcome = "malformed" if error == "MalformedInput" else "failed"
        yield Case(name, what, canonical.dumps(repair(tree)), outcome, error)
    yield from _refused_texts()
    yield from _unexpected()


def _refused_texts() -> Iterator[Case]:
    """Yield bundles whose JSON says the same to one reader, and something else to another."""
    good = canonical.dumps(simple_log().bundle())
    texts = {
        "duplicate-name": ("a name given twice", good[:-1] + b',"version":1}'),
        "duplicate-name-escaped": ("a name given twice, once escaped", good[:-1] + b',"v\\u0065rsion":1}'),
        "duplicate-name-in-payload": (
            "a name given twice in a payload, the first time with another verdict",
            good.replace(b'"verdict":', b'"verdict":"denied","verdict":', 1),
        ),
        "number-with-fraction": ("1.0 for 1", good.replace(b'"version":1,', b'"version":1.0,', 1)),
        "number-with-exponent": ("1e0 for 1", good.replace(b'"version":1,', b'"version":1e0,', 1)),
        "number-minus-zero": ("-0 for 0", good.replace(b'"seq":0', b'"seq":-0', 1)),
        "number-rewritten-in-payload": (
            "5000.0 for 5000",
            good.replace(b'"callId":"c1"', b'"callId":5000.0', 1),
        ),
        "integer-unsafe": ("an integer beyond 2^53", good.replace(b'"seq":1', b'"seq":9007199254740993', 1)),
        "byte-order-mark": ("a byte order mark", b"\xef\xbb\xbf" + good),
        "trailing-text": ("a second value after the first", good + b"{}"),
        "cut-short": ("the last byte is missing", good[:-1]),
        "lone-surrogate": ("half a character", good.replace(b'"kim"', b'"\\ud800"', 1)),
        "not-utf-8": ("a byte that is no UTF-8", good.replace(b'"kim"', b'"\xff"', 1)),
        "nan": ("NaN", good.replace(b'"kim"', b"NaN", 1)),
        "nested-too-deep": (
            "129 arrays within each other",
            good[:-1].replace(b'"proofs":{}', b'"proofs":{"a":' + b"[" * 127 + b"]" * 127 + b"}", 1) + b"}",
        ),
        "empty": ("no bytes at all", b""),
    }
    for name, (what, data) in texts.items():
        yield Case(name, what, data, "malformed", "MalformedInput")


def _unexpected() -> Iterator[Case]:
    """Yield sound bundles of something else than what the caller expects."""
    data = canonical.dumps(simple_log().bundle())
    cut = canonical.dumps(open_log().bundle())
    head = head_of_tree(simple_log().bundle())
    other_tenant = HandLog()
    other_tenant.add("run-9", "run_started", {"kind": "new"}, tenant_id="globex")
    other_tenant.add("run-9", "run_completed", {"outcome": "completed"}, tenant_id="globex")
    globex = canonical.dumps(other_tenant.bundle(tenant="globex"))
    shorter = two_run_log()
    expected_two = head_of_tree(shorter.bundle())
    shorter.events = [event for event in shorter.events if event.header["runId"] == "run-1"]
    one_run = canonical.dumps(shorter.bundle())
    for name, what, bundle, expect in (
        ("expected-other-workflow", "sound, of another workflow", data, {"workflow": "transfer-43"}),
        (
            "expected-other-tenant",
            "sound, of another tenant's workflow of the same name",
            globex,
            {"workflow": "transfer-42", "tenant": "acme"},
        ),
        ("expected-no-tenant", "sound, of a tenant where none was expected", data, {"tenant": ""}),
        ("expected-other-log", "sound, of another log", data, {"log": f"other/{ulid(0)}"}),
        ("expected-head-tail-cut", "signed again without the last event", cut, {"head": head}),
        ("expected-head-run-missing", "signed again without the second run", one_run, {"head": expected_two}),
    ):
        yield Case(name, what, bundle, "failed", "Unexpected", expect=expect)


# Completeness (step 10)


def complete_cases() -> Iterator[Case]:
    """Yield bundles with proofs of completeness that hold, and what may become of them."""
    grown = grown_log()
    origin, whole = grown.origin, grown.bundle()
    key: Tree = {"log_key": log_vkey(origin)}
    yield _good("complete", "whole as of a checkpoint", whole, whole_as_of=grown.tree.size, **key)
    yield _good("complete-no-log-key", "the same, to a verifier without the log's key: unchecked", whole)
    older = grown_log(1)
    yield _good(
        "complete-older",
        "whole as of the checkpoint before, when there was one run",
        older.bundle(),
        whole_as_of=older.tree.size,
        **key,
    )
    newer = grown_log()
    newer.add("run-3", "run_started", {"kind": "retry"})
    yield _good(
        "complete-as-of",
        "a run that is newer than the checkpoint was left out",
        newer.bundle(as_of_checkpoint=True),
        whole_as_of=newer.tree.size,
        **key,
    )
    yield _good(
        "complete-none",
        "no proof, and one is required",
        newer.bundle(),
        outcome="incomplete",
        error="Incomplete",
        **key,
    )
    removed = copy.deepcopy(whole)
    removed["proofs"] = {}
    yield _good(
        "complete-removed",
        "a holder removed the proof, and one is required",
        removed,
        outcome="incomplete",
        error="Incomplete",
        **key,
    )
    yield _good("complete-removed-no-log-key", "a holder removed the proof, and none is required", removed)
    for name, what, log, options in (
        ("complete-alone", "the only workflow of its log", simple_log(), {}),
        ("complete-erased", "two things erased", erased_log(), {}),
        ("complete-no-tenant", "of no tenant, beside the same id of tenants", grown_log(), {"tenant": None}),
        ("complete-blake3", "of a log made with BLAKE3", grown_log(algorithm="blake3"), {}),
        (
            "complete-withheld",
            "a payload withheld",
            grown_log(),
            {"disclose": withholding("tool_proposed")},
        ),
    ):
        if not log.tree.size:
            log.checkpoint()
        yield _good(
            name,
            f"whole: {what}",
            log.bundle(**options),
            whole_as_of=log.tree.size,
            log_key=log_vkey(log.origin),
        )
    opened = open_log()
    opened.checkpoint()
    yield _good(
        "complete-open",
        "whole as of a checkpoint, when a run had not ended",
        opened.bundle(),
        outcome="incomplete",
        error="Incomplete",
        **key,
    )
    cosigned = copy.deepcopy(whole)
    cosigned["proofs"][PROOF]["checkpoint"] += "\u2014 witness.example/w " + "AAAA" * 25 + "\n"
    cosigned["proofs"][PROOF]["timestamps"] = ["MAA="]
    yield _good(
        "complete-cosigned",
        "somebody unknown cosigned the checkpoint, and there is a timestamp that is none",
        cosigned,
        whole_as_of=grown.tree.size,
        **key,
    )
    yield _good(
        "complete-one-leaf",
        "the tree is its heads leaf alone",
        _one_leaf(whole, origin),
        whole_as_of=1,
        **key,
    )


def _one_leaf(tree: Tree, origin: str) -> Tree:
    """Return the bundle as a log would have it whose tree is a heads leaf and nothing else."""
    entry = Entry.of(tree["workflowId"], tree["tenantId"], head_of_tree(tree))
    root = heads_map.map_root([entry])
    note = signed_checkpoint(origin, 1, leaf_hash(heads_leaf(root)))
    return _with_proof(tree, Completeness(note, root, (), heads_map.HeadsProof((), entry)))


def _with_proof(tree: Tree, proof: Completeness) -> Tree:
    """Return a bundle with this proof, signed again."""
    tree = copy.deepcopy(tree)
    tree["scope"]["checkpoint"] = cited(proof.stated_checkpoint())
    tree["proofs"] = {PROOF: proof.to_json()}
    return resign(tree)


def showing(log: HandLog, shows: Callable[[Mapping[str, Any]], bool]) -> Tree:
    """Return a bundle of some of a log's events, with the log's proof: what a signer who cheats signs."""
    less = HandLog(origin=log.origin)
    less.events = [event for event in log.events if shows(event.header)]
    return _with_proof(less.bundle(), proof_of(log))


def proof_of(log: HandLog, workflow_id: str = "transfer-42", tenant_id: str | None = "acme") -> Completeness:
    """Return the proof that a log has for a workflow."""
    found = log.tree.prove(workflow_id, tenant_id)
    if found is None:
        raise AssertionError("the log has no such workflow")
    return found.proof


def refused_completeness_cases() -> Iterator[Case]:
    """Yield bundles whose proof of completeness does not hold, or is none."""
    key = log_vkey(grown_log().origin)
    for name, what, error, tree in (*_false_proofs(), *_other_checkpoints()):
        yield Case(name, what, canonical.dumps(tree), "failed", error, log_key=key)
    foreign = f"other/{ulid(0)}"
    yield Case(
        "signed-complete-by-other-log",
        "the proof holds, in a log that the verifier trusts and that is not the bundle's",
        canonical.dumps(_one_leaf(grown_log().bundle(), foreign)),
        "failed",
        "Unexpected",
        log_key=log_vkey(foreign),
    )
    for name, what, change in _changed_proofs():
        tree = grown_log().bundle()
        change(tree["proofs"][PROOF])
        yield Case(name, what, canonical.dumps(tree), "failed", "ProofRefused", log_key=key)
    for name, what, path, value in _FORMLESS_PROOFS:
        tree = grown_log().bundle()
        parent = tree["proofs"]
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = value
        yield Case(name, what, canonical.dumps(tree), "malformed", "MalformedInput")
    tree = grown_log().bundle()
    tree["scope"]["checkpoint"] = proof_of(grown_log()).checkpoint.decode()
    what = "the scope cites a checkpoint as text"
    yield Case("scope-checkpoint-text", what, canonical.dumps(resign(tree)), "malformed", "MalformedInput")


def _false_proofs() -> Iterator[tuple[str, str, str, Tree]]:
    """Yield proofs that hold, and not for this bundle, signed by a signer who cheats."""
    grown = grown_log()
    whole, size = grown.bundle(), grown.tree.size
    last = [event.header for event in grown.events if event.header["workflowId"] == "transfer-42"][-1]
    refused = "ProofRefused"
    tree = showing(grown, lambda header: header["id"] != last["id"])
    yield "signed-complete-tail-cut", "the last event was left out", refused, tree
    tree = showing(grown, lambda header: header["runId"] != "run-1")
    yield "signed-complete-run-missing", "the first run was left out", refused, tree
    tree = showing(grown, lambda header: header["runId"] != "run-2")
    yield (
        "signed-complete-newest-run-missing",
        "the newest run, with its approval, was left out",
        refused,
        tree,
    )
    older = grown_log(1)
    old = proof_of(older)
    tree = _with_proof(
        older.bundle(),
        replace(old, checkpoint=grown.tree.note, inclusion=grown.tree.include(older.tree.size - 1)),
    )
    yield "signed-complete-older-leaf", "by an older heads leaf of the tree, not its last leaf", refused, tree
    for name, workflow_id, tenant_id in (
        ("signed-complete-other-workflow", "refund-7", "acme"),
        ("signed-complete-other-tenant", "transfer-42", "globex"),
        ("signed-complete-no-tenant", "transfer-42", None),
    ):
        tree = _with_proof(whole, proof_of(grown, workflow_id, tenant_id))
        yield name, "the proof of another workflow", refused, tree
    absent = heads_map.HeadsProof(proof_of(grown).heads.siblings, None)
    yield (
        "signed-complete-absent",
        "the proof ends in no entry",
        refused,
        _with_proof(whole, replace(proof_of(grown), heads=absent)),
    )
    note = signed_checkpoint(grown.origin, 0, hashlib.sha256().digest())
    tree = _with_proof(whole, replace(proof_of(grown), checkpoint=note, inclusion=()))
    yield "signed-complete-empty-log", "the checkpoint is of an empty log", refused, tree
    tree = copy.deepcopy(whole)
    del tree["scope"]["checkpoint"]
    yield "signed-complete-uncited", "the scope cites no checkpoint", "ScopeMismatch", resign(tree)
    tree = copy.deepcopy(whole)
    tree["scope"]["checkpoint"]["size"] = size - 1
    yield "signed-complete-cited-otherwise", "the scope cites another size", "ScopeMismatch", resign(tree)


def _other_checkpoints() -> Iterator[tuple[str, str, str, Tree]]:
    """Yield bundles whose checkpoint was replaced by a holder."""
    grown = grown_log()
    proof, origin = proof_of(grown), grown.origin
    stated = proof.stated_checkpoint()
    other = Ed25519Signer(OTHER_SEED)
    forked = grown_log(1)
    forked.events = [event for event in forked.events if event.header["runId"] != "other-2"]
    for number in range(grown.tree.size - len(forked.events) - 1):
        forked.add(f"fork-{number}", "run_started", workflow_id="refund-8")
    forked.tree = HandTree(origin)
    forked.checkpoint()
    foreign = f"other/{ulid(0)}"
    wrong = proof.checkpoint.decode()
    at = len(wrong) - 8
    notes = (
        ("checkpoint-split", "another one of the log for that size", "ProofRefused", forked.tree.note),
        (
            "checkpoint-other-key",
            "signed by another key",
            "SignatureRefused",
            signed_checkpoint(origin, stated.size, stated.root, other),
        ),
        (
            "checkpoint-other-log",
            "of another log, by its key",
            "SignatureRefused",
            signed_checkpoint(foreign, stated.size, stated.root, other),
        ),
        (
            "checkpoint-other-origin",
            "of another log, by the key of this one",
            "Unexpected",
            format_note(sign_note(format_checkpoint(replace(stated, origin=foreign)), origin, LOG_SIGNER)),
        ),
        (
            "checkpoint-changed",
            "its size was changed",
            "SignatureRefused",
            wrong.replace(f"\n{stated.size}\n", f"\n{stated.size + 1}\n").encode(),
        ),
        (
            "checkpoint-signature-changed",
            "its signature was changed",
            "SignatureRefused",
            (wrong[:at] + ("B" if wrong[at] == "A" else "A") + wrong[at + 1 :]).encode(),
        ),
    )
    for name, what, error, note in notes:
        tree = grown.bundle()
        tree["proofs"][PROOF]["checkpoint"] = note.decode()
        yield name, f"the checkpoint was replaced: {what}", error, tree


def _changed_proofs() -> Iterator[tuple[str, str, Change]]:
    """Yield changes of a holder to a proof, whose form stays right."""
    zeros = format_hash(bytes(32))

    def swap(values: list[str]) -> None:
        values[0], values[1] = values[1], values[0]

    yield "inclusion-swapped", "two hashes changed places", lambda proof: swap(proof["inclusion"])
    yield "inclusion-short", "the last hash is missing", lambda proof: proof["inclusion"].pop()
    yield "inclusion-long", "a hash too many", lambda proof: proof["inclusion"].append(zeros)
    yield "siblings-swapped", "two siblings changed places", lambda proof: swap(proof["heads"]["siblings"])
    yield "siblings-short", "the first sibling is missing", lambda proof: proof["heads"]["siblings"].pop(0)
    yield (
        "siblings-long",
        "the path goes on below its end",
        lambda proof: proof["heads"]["siblings"].insert(0, ""),
    )
    yield "siblings-zeros", "a sibling is EMPTY instead", lambda p: p["heads"]["siblings"].__setitem__(-1, "")
    yield "map-root-changed", "the map root was changed", lambda proof: proof.update(mapRoot=zeros)
    yield (
        "heads-key-changed",
        "the entry has another key",
        lambda proof: proof["heads"].update(key=zeros[:-4] + "AAE="),
    )
    yield "heads-head-changed", "the entry has another head", lambda proof: proof["heads"].update(head="")


_HASH: Final = format_hash(b"\x01" * 32)
_FORMLESS_PROOFS: Final[tuple[tuple[str, str, tuple[Any, ...], Any], ...]] = (
    ("completeness-no-object", "a proof that is an array", (PROOF,), []),
    ("completeness-unknown-member", "an unknown member", (PROOF, "root"), _HASH),
    ("completeness-no-note", "the checkpoint is no note", (PROOF, "checkpoint"), "checkpoint 6\n"),
    (
        "completeness-note-size",
        "the checkpoint's size has a leading zero",
        (PROOF, "checkpoint"),
        f"vectors/{ulid(0)}\n06\n{_HASH}\n\n\u2014 log AAAAAAA=\n",
    ),
    (
        "completeness-note-control",
        "the checkpoint has a tab in it",
        (PROOF, "checkpoint"),
        f"vectors\t/{ulid(0)}\n6\n{_HASH}\n\n\u2014 log AAAAAAA=\n",
    ),
    ("completeness-map-root", "the map root is no hash", (PROOF, "mapRoot"), _HASH[:-4]),
    ("completeness-hash-respelled", "unused bits are not zero", (PROOF, "mapRoot"), _HASH[:-2] + "F="),
    ("completeness-many-hashes", "64 hashes of inclusion", (PROOF, "inclusion"), [_HASH] * 64),
    ("completeness-many-siblings", "257 siblings", (PROOF, "heads", "siblings"), [_HASH] * 257),
    ("completeness-zeros", "32 zero bytes written out", (PROOF, "heads", "siblings"), ["A" * 43 + "="]),
    (
        "completeness-half-entry",
        "an entry without its head",
        (PROOF, "heads"),
        {"siblings": [], "key": _HASH},
    ),
    ("completeness-many-timestamps", "17 timestamps", (PROOF, "timestamps"), ["MAA="] * 17),
    ("completeness-timestamp", "a timestamp that is no base64", (PROOF, "timestamps"), ["MAA"]),
)


# The vectors of single steps


def _canonical_vectors() -> list[Tree]:
    texts = [
        (
            "numbers",
            "[0,-0,1.0,1e0,1e21,1e-7,0.000001,333333333.33333329,4.50,2e-3,1e23,5e-324,1.7976931348623157e308,9007199254740991]",
        ),
        (
            "names sorted by UTF-16 code units",
            '{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}',
        ),
        ("escapes", '"\\u0000\\u0008\\u0009\\u000a\\u000c\\u000d\\u001f\\u007f\\u2028\\u20ac\\/\\"\\\\"'),
        ("white space and nesting", ' { "b" : [ ] , "a" : { } , "" : [ { "x" : null } , true , false ] } '),
        ("no normalisation", '["\\u00e9","e\\u0301"]'),
    ]
    return [
        {"what": what, "text": text, "canonicalHex": canonical.dumps(json.loads(text)).hex()}
        for what, text in texts
    ]


def _refused_json_vectors() -> list[Tree]:
    texts = [
        ("a name given twice", b'{"a":1,"a":1}'),
        ("a name given twice, once escaped", b'{"a":1,"\\u0061":1}'),
        ("a number that is no finite double", b"1e400"),
        ("an integer beyond 2^53-1", b"9007199254740992"),
        ("NaN", b"NaN"),
        ("Infinity", b"-Infinity"),
        ("a lone surrogate", b'"\\udc00"'),
        ("a byte order mark", b"\xef\xbb\xbf1"),
        ("bytes that are no UTF-8", b'"\xed\xa0\x80"'),
        ("a control character", b'"\n"'),
        ("a leading zero", b"01"),
        ("text after the value", b"1 1"),
        ("a comma too many", b"[1,]"),
        ("nested 129 deep", b"[" * 129 + b"]" * 129),
    ]
    return [{"what": what, "hex": data.hex()} for what, data in texts]


def _event_hash_vectors() -> list[Tree]:
    return [
        {
            "what": event.header["type"],
            "header": event.header,
            "jcsHex": header_bytes(event.header).hex(),
            "eventHash": event_hash(event.header),
        }
        for log in (simple_log(), simple_log(algorithm="blake3"))
        for event in log.events[:2]
    ]


def _disclosure_vectors() -> list[Tree]:
    vectors = []
    for log in (simple_log(), nested_log()):
        for event in log.events:
            if event.disclosures:
                committed = json.loads(event.payload or b"")
                vectors.append(
                    {
                        "what": f"{event.header['type']}: all disclosures put back",
                        "committed": committed,
                        "contentHash": event.header["contentHash"],
                        "disclosures": [{"text": t, "digest": _digest_of(t)} for t in event.disclosures],
                        "opened": open_payload(committed, event.disclosures, "vector").value,
                    }
                )
    return vectors


def _workflow_head_vectors() -> list[Tree]:
    vectors = []
    for what, tree in (
        ("with a tenant", two_run_log().bundle()),
        ("without", empty_payload_log().bundle(tenant=None)),
    ):
        runs = [
            {name: run[name] for name in ("runId", "count", "head", "closed")}
            for run in tree["scope"]["runs"]
        ]
        state = {"workflowId": tree["workflowId"], "runs": runs}
        if "tenantId" in tree:
            state["tenantId"] = tree["tenantId"]
        vectors.append({"what": what, "state": state, "workflowHead": head_of_tree(tree)})
    return vectors


def workflow_head_of_state(state: Mapping[str, Any]) -> str:
    """Return the head of a workflow in this state."""
    return workflow_head(state["workflowId"], state.get("tenantId"), state["runs"])


def _statement_vectors() -> list[Tree]:
    tree = simple_log().bundle()
    body = statement_of(tree)
    return [
        {
            "what": "the statement about bundles/simple.json",
            "bundleId": tree["bundleId"],
            "contentHash": tree["contentHash"],
            "workflowHead": head_of_tree(tree),
            "statementHex": body.hex(),
            "paeHex": envelope.pae(envelope.PAYLOAD_TYPE, body).hex(),
            "seedHex": SEED.hex(),
            "publicKeyHex": KEY.raw.hex(),
            "keyId": KEY.key_id,
            "signatureHex": base64.b64decode(tree["signature"]["value"]).hex(),
            "dsse": EvidenceBundle.from_json(tree).to_dsse(),
        }
    ]


def cases() -> list[Case]:
    """Return every bundle, those that verify first."""
    return [*good_cases(), *complete_cases(), *refused_cases(), *refused_completeness_cases()]


_INDEX_MEMBERS: Final = {
    "error": "error",
    "key": "key",
    "secret": "secret",
    "logKey": "log_key",
    "expect": "expect",
    "shown": "shown",
    "wholeAsOf": "whole_as_of",
}


def _index(all_cases: Sequence[Case]) -> Tree:
    bundles = []
    for case in all_cases:
        entry: Tree = {"file": f"{case.name}.json", "what": case.what, "outcome": case.outcome}
        for member, name in _INDEX_MEMBERS.items():
            if value := getattr(case, name):
                entry[member] = dict(value) if isinstance(value, Mapping) else value
        bundles.append(entry)
    return {
        "what": "Bundles, and what a verifier says of each. Test keys: never trust them for anything else.",
        "seeds": {"signer": SEED.hex(), "other": OTHER_SEED.hex(), "log": LOG_SEED.hex()},
        "bundles": bundles,
    }


def _pretty(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=True).encode() + b"\n"


def build() -> dict[str, bytes]:
    """Return every file by its path below `vectors/`."""
    all_cases = cases()
    files = {
        "canonical.json": _pretty({"accepted": _canonical_vectors(), "refused": _refused_json_vectors()}),
        "event_hash.json": _pretty(_event_hash_vectors()),
        "disclosure.json": _pretty(_disclosure_vectors()),
        "workflow_head.json": _pretty(_workflow_head_vectors()),
        "statement_pae.json": _pretty(_statement_vectors()),
        "bundles/index.json": _pretty(_index(all_cases)),
    }
    return files | {f"bundles/{case.name}.json": case.data for case in all_cases}


def main() -> None:
    """Write the files, and remove those that are no vector any more."""
    files = build()
    for path in VECTORS.rglob("*.json"):
        if path.relative_to(VECTORS).as_posix() not in files:
            path.unlink()
    for name, data in files.items():
        path = VECTORS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main()
