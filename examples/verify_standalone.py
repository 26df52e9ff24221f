"""Verify an evidence bundle without importing tracebus: a second reading of schemas/bundle-v1.md.

    python examples/verify_standalone.py bundle.json key.pub --workflow transfer-42 --log-key VKEY

The step numbers are those of the specification. It reads Ed25519 signatures and SHA-256 logs, and
needs two small libraries: rfc8785 for canonical JSON, PyNaCl for the signature. With the log's key it
verifies, and requires, the proof that the bundle is whole (schemas/log-v1.md); it knows no witnesses.

Exit codes: 0 verified, 1 failed, 2 malformed or usage, 3 incomplete or unverifiable.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
import unicodedata
from datetime import datetime

import rfc8785
from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

MAX_BYTES, MAX_DEPTH, MAX_NOTE = 256 * 1024 * 1024, 128, 1024 * 1024
EMPTY = base64.b64encode(bytes(32)).decode()
ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
VIEWS = {
    "policyVerdicts": {"policy_decision", "gate_verdict", "policy_violation"},
    "approvals": {"approval_requested", "approval_resolved", "human_override"},
    "proposals": {"tool_proposed", "memory_proposed"},
    "chainTransactions": {"chain_transaction"},
}
ERASING = {"data_erased", "retention_applied"}
KEPT = {"run_started", "run_completed", "interrupted", "resumed", "escalation", "recording_gap"}
KEPT |= {"legal_hold_changed"} | ERASING | VIEWS["policyVerdicts"] | VIEWS["approvals"]
PLAIN = {"run_completed": {"outcome"}, "policy_decision": {"decision"}, "gate_verdict": {"verdict"}}
PLAIN |= {"approval_resolved": {"verdict", "actor"}, "human_override": {"actor"}}


class Stop(Exception):
    """Why a bundle is not verified, and which of the exit codes that is."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code


def require(holds, reason, code=1):
    if not holds:
        raise Stop(code, reason)


# Step 1: read strictly


def read(data):
    require(len(data) <= MAX_BYTES, "step 1: too large", 2)
    numbers = dict.fromkeys(("parse_int", "parse_float", "parse_constant"), number)
    try:
        tree = json.loads(data.decode("utf-8"), object_pairs_hook=unique, **numbers)
        check_depth(tree, 0)
        rfc8785.dumps(tree)  # refuses lone surrogates
    except (ValueError, RecursionError) as error:
        raise Stop(2, f"step 1: not strict JSON: {error}") from None
    return tree


def unique(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("an object name is given twice")
    return dict(pairs)


def number(token):
    if len(token) > 32:
        raise ValueError(f"number too long: {token[:32]}")
    value = int(token) if re.fullmatch(r"-?[0-9]+", token) else float(token)
    if rfc8785.dumps(value).decode() != token:  # also refuses unsafe integers, NaN and Infinity
        raise ValueError(f"number not as ECMAScript writes it: {token}")
    return value


def check_depth(value, depth):
    if isinstance(value, dict | list):
        if depth == MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        for item in value.values() if isinstance(value, dict) else value:
            check_depth(item, depth + 1)


# Step 2: the form. A shape is a test, a list of one shape, or a dict of members ("name?" optional).


def check_shape(shape, value, place):
    if isinstance(shape, dict):
        members = {name.removesuffix("?"): part for name, part in shape.items()}
        require(isinstance(value, dict), f"step 2: {place} is no object", 2)
        require(value.keys() <= members.keys(), f"step 2: {place} has an unknown member", 2)
        missing = {name for name in shape if not name.endswith("?")} - value.keys()
        require(not missing, f"step 2: {place} lacks {missing}", 2)
        for name, item in value.items():
            check_shape(members[name], item, f"{place}/{name}")
    elif isinstance(shape, list):
        require(isinstance(value, list), f"step 2: {place} is no array", 2)
        for i, item in enumerate(value):
            check_shape(shape[0], item, f"{place}/{i}")
    else:
        require(shape(value), f"step 2: {place} is not of its form", 2)


def matches(pattern):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_name(value):
    is_text = isinstance(value, str) and 0 < len(value.encode()) <= 256
    is_clean = is_text and not any(unicodedata.category(character) == "Cc" for character in value)
    return is_clean and unicodedata.is_normalized("NFC", value)


def is_time(value):
    form = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z"
    try:
        return matches(form)(value) and datetime.fromisoformat(value[:19]) is not None
    except ValueError:
        return False


def is_causes(value):
    is_ids = isinstance(value, list) and all(map(is_ulid, value))
    return is_ids and 0 < len(value) <= 64 and len(set(value)) == len(value)


def is_base64(value):
    try:
        return base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except (TypeError, ValueError):
        return False


def is_hash(value):
    return isinstance(value, str) and is_base64(value) and len(base64.b64decode(value)) == 32


def is_sibling(value):
    return value == "" or (is_hash(value) and value != EMPTY)


def is_checkpoint(value):
    try:
        return parse_checkpoint(value) is not None
    except (TypeError, ValueError):
        return False


def is_heads(value):
    members = {"siblings"}, {"siblings", "key", "head"}
    if not isinstance(value, dict) or value.keys() not in members:
        return False
    siblings, entry = value["siblings"], [value[name] for name in value if name != "siblings"]
    return isinstance(siblings, list) and len(siblings) <= 256 and all(map(is_sibling, siblings + entry))


def at_most(length, test):
    return lambda value: isinstance(value, list) and len(value) <= length and all(map(test, value))


def is_disclosures(value):
    is_keyed = isinstance(value, dict) and all(map(is_ulid, value))
    is_lists = is_keyed and all(isinstance(texts, list) for texts in value.values())
    return is_lists and all(isinstance(text, str) for texts in value.values() for text in texts)


is_object, is_bool = lambda v: isinstance(v, dict), lambda v: isinstance(v, bool)
is_count, is_one = lambda v: type(v) is int and v >= 0, lambda v: type(v) is int and v == 1
is_proofs = lambda v: isinstance(v, dict) and len(v) <= 64 and all(map(is_text, v))  # noqa: E731
is_id, is_log = matches(r"[\x20-\x7e]{1,128}"), matches(rf"[!-*,-~]{{1,200}}/{ULID}")
is_text = matches(r"[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]{1,1024}")
is_ulid, is_sd_digest = matches(ULID), matches("[A-Za-z0-9_-]{43}")
is_digest, is_sha256 = matches("(sha256|blake3):[0-9a-f]{64}"), matches("sha256:[0-9a-f]{64}")

# fmt: off
EVENT = {
    "version": is_one, "log": is_log, "id": is_ulid, "runId": is_id, "seq": is_count,
    "workflowId": is_id, "type": is_id, "timestamp": is_time, "contentHash": is_digest,
    "turnId?": is_id, "tenantId?": is_name, "agentId?": is_name, "occurredAt?": is_time,
    "risk?": matches("low|medium|high|critical"), "causes?": is_causes, "key?": is_id,
    "parentHash?": is_digest, "payload?": is_object,
}
RUN = {
    "runId": is_id, "count": is_count, "firstSeq": is_count, "lastSeq": is_count,
    "head": is_digest, "closed": is_bool,
}
WITHHELD, ERASED = {"eventId": is_ulid, "reason": is_text}, {"eventId": is_ulid, "by": is_ulid}
SCOPE = {
    "log": is_log, "digestAlgorithm": matches("sha256|blake3"), "runs": [RUN],
    "withheld": {"payloads": [WITHHELD], "disclosures": [WITHHELD | {"digests": [is_sd_digest]}]},
    "erased": {"payloads": [ERASED], "disclosures": [ERASED | {"digests": [is_sd_digest]}]},
    "redactable": [is_ulid], "disclosurePolicy?": is_sha256,
    "checkpoint?": {"size": is_count, "root": is_hash},
}
COMPLETENESS = {
    "checkpoint": is_checkpoint, "mapRoot": is_hash, "inclusion": at_most(63, is_hash),
    "heads": is_heads, "timestamps?": at_most(16, lambda v: v != "" and is_base64(v)),
}
BUNDLE = {
    "version": is_one, "bundleId": is_ulid, "workflowId": is_id, "tenantId?": is_name,
    "createdAt": is_time, "generator": {"name": is_text, "version": is_text}, "scope": SCOPE,
    "events": [EVENT], **{view: [is_ulid] for view in VIEWS}, "contentHash": is_sha256,
    "signature": {"alg": is_text, "value": is_base64, "keyId": matches("[0-9a-f]{64}")},
    "disclosures": is_disclosures, "proofs": is_proofs,
}
# fmt: on


# Steps 3 and 4: what was signed


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def header_of(event):
    return {name: value for name, value in event.items() if name != "payload"}


def content_hash(bundle):
    unsigned = ("contentHash", "signature", "disclosures", "proofs")
    signed = {name: value for name, value in bundle.items() if name not in unsigned}
    return sha256(rfc8785.dumps(signed | {"events": [*map(header_of, bundle["events"])]}))


def workflow_head(bundle):
    names = ("runId", "count", "head", "closed")
    state = {name: bundle[name] for name in ("workflowId", "tenantId") if name in bundle}
    state["runs"] = [{name: run[name] for name in names} for run in bundle["scope"]["runs"]]
    return sha256(b"tracebus/workflow/v1\n" + rfc8785.dumps(state))


def check_signature(bundle, public_key):
    signature, content = bundle["signature"], bundle["contentHash"].removeprefix("sha256:")
    require(signature["alg"] == "ed25519", "step 4: the key is for ed25519, the signature not")
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": f"bundle/{bundle['bundleId']}", "digest": {"sha256": content}}],
        "predicateType": "urn:tracebus:evidence-bundle:v1",
        "predicate": {"workflowHead": workflow_head(bundle)},
    }
    kind, body = b"application/vnd.in-toto+json", rfc8785.dumps(statement)
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)
    try:
        VerifyKey(public_key).verify(message, base64.b64decode(signature["value"]))
    except (BadSignatureError, ValueError):
        raise Stop(1, "step 4: the signature is not by this key over this bundle") from None
    key_id = hashlib.sha256(public_key).hexdigest()
    require(signature["keyId"] == key_id, "step 4: keyId does not name the key")


# Steps 5 and 6: chains and scope


def follow_chains(bundle, notes):
    """Return the last event and the head of each run, in bundle order."""
    require(bundle["scope"]["digestAlgorithm"] == "sha256", "step 5: no BLAKE3 here", 3)
    require(bundle["events"], "step 5: no events")
    same = {"log": bundle["scope"]["log"], "workflowId": bundle["workflowId"]}
    same["tenantId"] = bundle.get("tenantId")
    runs, ids, keys, last, head = {}, set(), set(), None, None
    for event in bundle["events"]:
        place = f"step 5: event {event['seq']} of run {event['runId']}: "
        if last is None or event["runId"] != last["runId"]:
            require(event["runId"] not in runs, place + "its run's events do not stand together")
            last = head = None
        follows = last or {"seq": -1, "id": "", "type": None, "timestamp": ""}
        is_first = last is None
        for name, expected in same.items():
            require(event.get(name) == expected, f"{place}{name} is not the bundle's")
        require(is_sha256(event["contentHash"]), place + "its digest algorithm is not the scope's")
        require(event["id"] not in ids, place + "event id stands twice")
        key = (event["runId"], event.get("key"))
        require(key[1] is None or key not in keys, place + "key stands twice in the run")
        require(event["seq"] == follows["seq"] + 1, place + "seq is not the next one")
        require(event.get("parentHash") == head, place + "parentHash is not the hash before")
        require(event["id"] > follows["id"], place + "id does not grow")
        require((event["type"] == "run_started") == is_first, place + "run_started begins a run")
        require(follows["type"] != "run_completed", place + "follows the terminal event")
        if event["timestamp"] < follows["timestamp"]:
            notes.append(place + "the clock stepped back")
        head, last = sha256(b"tracebus/event/v1\n" + rfc8785.dumps(header_of(event))), event
        runs[event["runId"]] = (last, head)
        ids.add(event["id"])
        keys.add(key)
    return runs


def check_scope(bundle, runs, expected):
    recomputed = [
        {"runId": run_id, "count": last["seq"] + 1, "firstSeq": 0, "lastSeq": last["seq"]}
        | {"head": head, "closed": last["type"] == "run_completed"}
        for run_id, (last, head) in runs.items()
    ]
    require(bundle["scope"]["runs"] == recomputed, "step 6: scope/runs is not what the events say")
    found = {"workflow": bundle["workflowId"], "tenant": bundle.get("tenantId", "")}
    found |= {"log": bundle["scope"]["log"], "head": workflow_head(bundle)}
    for name, value in expected.items():
        is_met = value is None or value == found[name]
        require(is_met, f"step 6: expected {name} {value!a}, found {found[name]!a}")


# Steps 7 and 8: payloads and disclosures


def listed_once(entries, types, place):
    """Return (event id, digest) of each entry of a list; None stands for the whole payload."""
    pairs = [(entry["eventId"], d) for entry in entries for d in entry.get("digests", [None])]
    is_full = all(entry.get("digests", [None]) for entry in entries)
    require(is_full and len(set(pairs)) == len(pairs), f"{place} lists a thing twice, or nothing")
    require(all(entry["eventId"] in types for entry in entries), f"{place} lists a foreign event")
    return set(pairs)


def check_payloads(bundle):
    """Return how many payloads and disclosures were removed after signing."""
    scope, types = bundle["scope"], {event["id"]: event["type"] for event in bundle["events"]}
    withheld, erased, disclosures = scope["withheld"], scope["erased"], bundle["disclosures"]
    gone = listed_once(withheld["payloads"] + erased["payloads"], types, "step 7: scope")
    gone |= listed_once(withheld["disclosures"] + erased["disclosures"], types, "step 8: scope")
    redactable = [{"eventId": event_id} for event_id in scope["redactable"]]
    removable = listed_once(redactable, types, "step 7: scope/redactable")
    for entry in withheld["payloads"] + redactable:
        is_kept = types[entry["eventId"]] in KEPT
        require(not is_kept, f"step 7: {entry['eventId']} may not be withheld or redactable")
    for entry in withheld["disclosures"] + erased["disclosures"]:
        is_shown = (entry["eventId"], None) not in gone
        require(is_shown, f"step 7: digests are listed of {entry['eventId']}, whose payload is not shown")
    opened, seen, removed = {}, set(), [0, 0]
    for event in bundle["events"]:
        event_id, whole = event["id"], (event["id"], None)
        if "payload" not in event:
            require(whole in gone | removable, f"step 7: payload of {event_id} may not be absent")
            is_bare = not disclosures.get(event_id)
            require(is_bare, f"step 8: {event_id} has disclosures, but no payload")
            removed[0] += whole not in gone
            continue
        require(whole not in gone, f"step 7: payload of {event_id} is shown, but listed as gone")
        found = sha256(rfc8785.dumps(event["payload"]))
        require(found == event["contentHash"], f"step 7: payload of {event_id} was changed")
        plain = PLAIN.get(event["type"], set())
        is_plain = all(isinstance(event["payload"].get(name), str) for name in plain)
        require(is_plain, f"step 7: {event_id} does not show what was decided, and by whom")
        opening = Opening(f"step 8: event {event_id}: ", disclosures.get(event_id, []), seen)
        opened[event_id] = opening.open_all(event["payload"])
        listed = {digest for of, digest in gone if of == event_id}
        require(not listed & opening.shown, f"step 8: {event_id} shows what is listed as gone")
        after_signing = opening.hidden - listed
        is_seen = listed <= opening.hidden or after_signing  # or below what was removed
        require(is_seen, f"step 8: the scope lists a digest that is not in {event_id}")
        removed[1] += len(after_signing)
    require(disclosures.keys() <= types.keys(), "step 8: disclosures of a foreign event")
    for entry in erased["payloads"] + erased["disclosures"]:
        backed = types.get(entry["by"]) in ERASING and records(opened.get(entry["by"]), entry)
        require(backed, f"step 7: no event records the erasure in {entry['eventId']}")
    return removed


def records(payload, entry):
    """Tell whether an erasing event's payload names what an entry of the scope says is erased."""
    targets = payload.get("targets") if payload else None
    named = set()
    for target in targets if isinstance(targets, list) else ():
        if isinstance(target, dict) and target.get("eventId") == entry["eventId"]:
            if "digests" not in target:  # the whole payload, with its disclosures
                return True
            if isinstance(target["digests"], list):
                named.update(digest for digest in target["digests"] if isinstance(digest, str))
    return "digests" in entry and named.issuperset(entry["digests"])


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Opening:
    """One event's payload, as its disclosures are put back into it; `seen` is the bundle's."""

    def __init__(self, place, texts, seen):
        self.place, self.seen, self.shown, self.hidden = place, seen, set(), set()
        self.unused = {self._digest(text): self._decode(text) for text in texts}
        self._require(len(self.unused) == len(texts), "a disclosure is given twice")

    def open_all(self, payload):
        """Return the payload with all disclosures in their places."""
        opened = self._open(payload, 0)
        self._require(not self.unused, "a disclosure is referenced nowhere in its event")
        return opened

    def _require(self, holds, reason):
        require(holds, self.place + reason)

    def _digest(self, text):
        return base64url(hashlib.sha256(text.encode()).digest())

    def _decode(self, text):
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            parts = read(data)
        except (ValueError, Stop):
            raise Stop(1, self.place + "a disclosure is not base64url of strict JSON") from None
        self._require(base64url(rfc8785.dumps(parts)) == text, "a disclosure is not canonical")
        self._require(isinstance(parts, list) and len(parts) in (2, 3), "no disclosure")
        is_salted = all(isinstance(part, str) for part in parts[:-1]) and parts[0]
        self._require(is_salted, "a disclosure's salt is empty, or its name is no string")
        is_free = len(parts) == 2 or parts[1] not in ("_sd", "...", "_salt")
        self._require(is_free, "a disclosed name is reserved")
        return parts

    def _open(self, value, depth):
        self._require(depth <= MAX_DEPTH, "nested too deep once opened")
        if isinstance(value, list):
            return [part for item in value for part in self._open_element(item, depth + 1)]
        if not isinstance(value, dict):
            return value
        self._require("..." not in value, "'...' outside an array")
        opened = {k: self._open(item, depth + 1) for k, item in value.items() if k != "_sd"}
        digests = value.get("_sd", [])
        is_sorted = isinstance(digests, list) and digests == sorted(map(str, digests))
        self._require(is_sorted and (digests or "_sd" not in value), "_sd is no sorted array")
        for digest in digests:
            for _, name, item in self._take(digest, 3):
                self._require(name not in opened, "a disclosed name is already there")
                opened[name] = self._open(item, depth + 1)
        return opened

    def _open_element(self, item, depth):
        if not (isinstance(item, dict) and "..." in item):
            return [self._open(item, depth)]
        self._require(len(item) == 1, "'...' beside other members")
        return [self._open(value, depth) for _, value in self._take(item["..."], 2)]

    def _take(self, digest, length):
        """Return the disclosure of a digest, in a list; an empty list where it is not shown."""
        self._require(is_sd_digest(digest) and digest not in self.seen, "a digest stands twice")
        self.seen.add(digest)
        parts = self.unused.pop(digest, None)
        (self.hidden if parts is None else self.shown).add(digest)
        self._require(parts is None or len(parts) == length, "a disclosure of the other kind")
        return [] if parts is None else [parts]


# Step 10: whole as of a checkpoint


def parse_checkpoint(note):
    """Return origin, size and root of a checkpoint, the text that is signed, and its signature lines.

    Raises ValueError where it is none, or not in its one spelling.
    """
    text, separator, lines = note.rpartition("\n\n")
    text += "\n"
    is_note = separator and lines.endswith("\n") and len(note.encode()) <= MAX_NOTE
    if not is_note or re.search(r"[\x00-\x09\x0b-\x1f]", note) or lines.count("\n") > 64:
        raise ValueError("no note")
    signatures = []
    for line in lines[:-1].split("\n"):
        found = re.fullmatch(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/=]+)", line)
        if not found or not is_base64(found[2]) or len(base64.b64decode(found[2])) < 5:
            raise ValueError("no signature line")
        data = base64.b64decode(found[2])
        signatures.append((found[1], data[:4], data[4:]))
    origin, size, root, *others = text[:-1].split("\n")
    is_sized = re.fullmatch("0|[1-9][0-9]{0,18}", size) and int(size) < 2**63
    if not is_sized or not is_hash(root) or "" in [origin, *others]:
        raise ValueError("no checkpoint")
    root = base64.b64decode(root)
    if size == "0" and root != hashlib.sha256().digest():
        raise ValueError("no root of the empty tree")
    return origin, int(size), root, text, signatures


def check_completeness(bundle, log_key):
    """Verify the proof that the bundle is whole, and return the size of the checkpoint that it is of."""
    proof = bundle["proofs"].get("completeness")
    require(proof is not None, "incomplete: step 10: no proof that the bundle is whole", 3)
    origin, size, root, text, signatures = parse_checkpoint(proof["checkpoint"])
    name, key_id, key = log_key
    ours = [signature for *named, signature in signatures if named == [name, key_id]]
    require(ours, "step 10: the checkpoint is not signed by the log's key")
    for signature in ours:
        try:
            VerifyKey(key).verify(text.encode(), signature)
        except (BadSignatureError, ValueError):
            raise Stop(1, "step 10: the checkpoint's signature is wrong") from None
    require(origin == name == bundle["scope"]["log"], "step 10: the checkpoint is of another log")
    cited = {"size": size, "root": base64.b64encode(root).decode()}
    is_cited = bundle["scope"].get("checkpoint") == cited
    require(is_cited, "step 10: the scope does not cite this checkpoint")
    map_root = base64.b64decode(proof["mapRoot"])
    check_heads(bundle, proof["heads"], map_root)
    # Beside the path of the last leaf stands a left neighbour for each bit that is set in its index.
    is_full = size > 0 and len(proof["inclusion"]) == (size - 1).bit_count()
    require(is_full, "step 10: the inclusion proof is not as long as it must be")
    value = hashlib.sha256(b"\x00\x02" + map_root).digest()
    for neighbour in proof["inclusion"]:
        value = hashlib.sha256(b"\x01" + base64.b64decode(neighbour) + value).digest()
    require(value == root, "step 10: the heads leaf is not shown to be the last one")
    return size


def check_heads(bundle, proof, map_root):
    """Verify that the heads map has the bundle's workflow head (log-v1.md section 6.2)."""
    workflow = {name: bundle[name] for name in ("workflowId", "tenantId") if name in bundle}
    key = hashlib.sha256(b"tracebus/workflow-key/v1\n" + rfc8785.dumps(workflow)).digest()
    head = bytes.fromhex(workflow_head(bundle).removeprefix("sha256:"))
    entry = [base64.b64decode(proof.get(name) or EMPTY) for name in ("key", "head")]
    has_head = "key" in proof and entry == [key, head]
    require(has_head, "step 10: the log's head of the workflow is another")
    siblings = [base64.b64decode(sibling or EMPTY) for sibling in proof["siblings"]]
    require(siblings[:1] != [bytes(32)], "step 10: the path goes on below its end")
    value = hashlib.sha256(b"\x02" + key + head).digest()
    bits = f"{int.from_bytes(key, 'big'):0256b}"[: len(siblings)]
    for bit, sibling in zip(reversed(bits), siblings, strict=True):
        value = hashlib.sha256(b"\x03" + (value + sibling if bit == "0" else sibling + value)).digest()
    require(value == map_root, "step 10: the path does not lead to the map root")


def verify(data, public_key, log_key, expected, notes):
    bundle = read(data)  # 1
    check_shape(BUNDLE, bundle, "bundle")  # 2
    if "completeness" in bundle["proofs"]:
        check_shape(COMPLETENESS, bundle["proofs"]["completeness"], "bundle/proofs/completeness")
    is_content = bundle["contentHash"] == content_hash(bundle)
    require(is_content, "step 3: contentHash is not that of the content")  # 3
    check_signature(bundle, public_key)  # 4
    runs = follow_chains(bundle, notes)  # 5
    check_scope(bundle, runs, expected)  # 6
    payloads, disclosures = check_payloads(bundle)  # 7, 8
    for view, types in VIEWS.items():  # 9
        ids = [event["id"] for event in bundle["events"] if event["type"] in types]
        require(bundle[view] == ids, f"step 9: {view} is not the list of the events of its types")
    whole = "completeness asserted by the signer"
    if log_key:  # 10
        size = check_completeness(bundle, log_key)
        whole = f"whole as of checkpoint {size} of {bundle['scope']['log']}"
    unchecked = [kind for kind in bundle["proofs"] if kind != "completeness" or not log_key]
    notes += [f"step 10: proof {kind!a}: unchecked" for kind in unchecked]
    for run_id, (last, _) in runs.items():  # 11
        is_closed = last["type"] == "run_completed"
        require(is_closed, f"incomplete: step 11: run {run_id} has not ended", 3)
    kept_back = ", ".join(
        f"{what}: {len(bundle['scope'][what]['payloads'])} payloads and "
        f"{sum(len(entry['digests']) for entry in bundle['scope'][what]['disclosures'])} disclosures"
        for what in ("withheld", "erased")
    )
    tenant = f" of tenant {bundle['tenantId']!a}" if "tenantId" in bundle else ""
    return (
        f"workflow {bundle['workflowId']}{tenant}, runs: {len(runs)}, "
        f"events: {len(bundle['events'])}, {kept_back}, removed after signing: {payloads} payloads and "
        f"{disclosures} disclosures; {whole}"
    )


def load_key(pem):
    """Return the 32 bytes of an Ed25519 SubjectPublicKeyInfo (RFC 8410)."""
    lines = [line.strip() for line in pem.strip().splitlines()]
    is_pem = lines[:1] + lines[-1:] == [f"-----{word} PUBLIC KEY-----" for word in ("BEGIN", "END")]
    body = "".join(lines[1:-1])
    require(is_pem and is_base64(body), "key: expected PEM, a SubjectPublicKeyInfo", 2)
    der, key = base64.b64decode(body), base64.b64decode(body)[12:]
    is_ed25519 = der[:12].hex() == "302a300506032b6570032100" and len(key) == 32
    require(is_ed25519, "key: expected an Ed25519 key", 2)
    return check_strong(key)


def check_strong(key):
    is_strong = crypto_core_ed25519_is_valid_point(key)  # prime order, in its canonical form
    require(is_strong, "key: too weak", 2)
    return key


def load_log_key(vkey):
    """Return name, id and 32 bytes of a C2SP verifier key, name+hash+base64, of type 1."""
    found = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", vkey)
    data = base64.b64decode(found[3]) if found and is_base64(found[3]) else b""
    require(data[:1] == b"\x01" and len(data) == 33, "log key: expected a verifier key, Ed25519", 2)
    key_id = hashlib.sha256(found[1].encode() + b"\n" + data).digest()[:4]
    require(key_id.hex() == found[2], "log key: its hash is not that of the rest", 2)
    return found[1], key_id, check_strong(data[1:])


def main():
    parser = argparse.ArgumentParser(description="verify an evidence bundle")
    parser.add_argument("bundle")
    parser.add_argument("key", help="the signer's public key, PEM, from a source you trust")
    for name in ("workflow", "tenant", "log", "head"):
        parser.add_argument(f"--{name}", help=f"the {name} that you expect")
    parser.add_argument("--log-key", help="the log's verifier key: the bundle must be shown to be whole")
    expected, notes = vars(parser.parse_args()), []
    try:
        with open(expected.pop("key"), encoding="ascii") as file:
            public_key = load_key(file.read())
        vkey = expected.pop("log_key")
        log_key = load_log_key(vkey) if vkey else None
        with open(expected.pop("bundle"), "rb") as file:
            data = file.read(MAX_BYTES + 1)
        print("verified:", verify(data, public_key, log_key, expected, notes))
    except Stop as stop:
        outcome = {1: "failed: ", 2: "malformed: ", 3: ""}[stop.code]
        print(outcome + str(stop))
        return stop.code
    except (OSError, UnicodeError) as error:
        print(f"malformed: {error}")
        return 2
    finally:
        for note in notes:
            print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
