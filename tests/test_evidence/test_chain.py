"""Chains of runs, and workflow heads."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from evidence import ChainBroken
from evidence.chain import RunHead, follow
from evidence.header import event_hash
from evidence.heads import run_state, workflow_head
from schemas.build_vectors import START, HandLog, simple_log, two_run_log, ulid

Header = dict[str, Any]

GOOD: list[Header] = [event.header for event in simple_log().events]


def chain_of(length: int, closed: bool) -> list[Header]:
    """Return the headers of a good run."""
    log = HandLog()
    log.add("run-1", "run_started")
    for _ in range(length):
        log.add("run-1", "acme.step")
    if closed:
        log.add("run-1", "run_completed")
    return [event.header for event in log.events]


def follows(headers: Sequence[Header]) -> bool:
    """Tell whether these headers are a chain from its beginning."""
    head: RunHead | None = None
    try:
        for header in headers:
            head = follow(head, header)
    except ChainBroken:
        return False
    return True


def relinked(headers: list[Header]) -> list[Header]:
    """Repair every parentHash, as whoever rewrites a whole chain would."""
    previous = None
    for header in headers:
        header.pop("parentHash", None)
        if previous:
            header["parentHash"] = previous
        previous = event_hash(header)
    return headers


@given(st.integers(0, 6), st.booleans())
def test_a_good_chain_follows(length: int, closed: bool) -> None:
    """A run that began and perhaps ended follows."""
    assert follows(chain_of(length, closed))


@given(st.integers(0, 6), st.booleans())
def test_the_head_is_the_last_event(length: int, closed: bool) -> None:
    """The head of a run counts its events, knows its last hash, and whether it has ended."""
    headers = chain_of(length, closed)
    head = None
    for header in headers:
        head = follow(head, header)
    assert head is not None
    assert (len(headers), event_hash(headers[-1]), closed) == (head.length, head.event_hash, head.closed)


def drop(headers: list[Header], at: int) -> None:
    """Take an event out."""
    del headers[at]


def double(headers: list[Header], at: int) -> None:
    """Let an event stand twice."""
    headers.insert(at, copy.deepcopy(headers[at]))


def swap(headers: list[Header], at: int) -> None:
    """Let two neighbours change places."""
    headers[at], headers[at - 1] = headers[at - 1], headers[at]


def change(name: str, value: object) -> Callable[[list[Header], int], None]:
    """Return a change of one field."""

    def apply(headers: list[Header], at: int) -> None:
        if headers[at].get(name) == value:
            headers[at]["agentId"] = "somebody else"
        else:
            headers[at][name] = value

    return apply


CHANGES = [
    drop,
    double,
    swap,
    change("seq", 2),
    change("type", "run_completed"),
    change("type", "run_started"),
    change("type", "acme.other"),
    change("tenantId", "globex"),
    change("workflowId", "transfer-43"),
    change("log", f"other/{ulid(0)}"),
    change("id", ulid(0)),
    change("timestamp", "2026-11-21T00:00:00.000000000Z"),
    change("agentId", "mallory"),
    change("risk", "low"),
    change("causes", [ulid(1)]),
    change("key", "k2"),
    change("turnId", "t9"),
    change("occurredAt", "2026-11-21T00:00:00.000000000Z"),
    change("contentHash", "sha256:" + "1" * 64),
    change("contentHash", "blake3:" + "1" * 64),
    change("parentHash", "sha256:" + "1" * 64),
]


@given(st.integers(2, 6), st.sampled_from(CHANGES), st.data())
def test_any_change_before_the_head_breaks_the_chain(
    length: int, apply: Callable[[list[Header], int], None], data: st.DataObject
) -> None:
    """Whatever happens to an event that another one follows, the chain does not follow any more."""
    headers = chain_of(length, True)
    at = data.draw(st.integers(1, len(headers) - 2))
    apply(headers, at)
    assert not follows(headers)


def setting(
    at: int, *, without: str = "", relink: bool = True, **fields: object
) -> Callable[[list[Header]], None]:
    """Return a change of fields of one event, after which the parents are repaired."""

    def apply(headers: list[Header]) -> None:
        headers[at].update(fields)
        headers[at].pop(without, None)
        if relink:
            relinked(headers)

    return apply


BROKEN: dict[str, tuple[Callable[[list[Header]], object], str]] = {
    "begins at seq 1": (setting(0, seq=1), "with seq 0"),
    "begins with another type": (setting(0, type="acme.x"), "to begin the run"),
    "begins with a parent": (setting(0, relink=False, parentHash="sha256:" + "0" * 64), "has no parent"),
    "begins twice": (setting(2, type="run_started"), "may only begin"),
    "a seq is left out": (setting(2, seq=3), "expected seq 2, found 3"),
    "a seq stands twice": (setting(2, seq=1), "expected seq 2, found 1"),
    "a parent is missing": (setting(2, relink=False, without="parentHash"), "parentHash none"),
    "a parent is wrong": (
        setting(2, relink=False, parentHash="sha256:" + "0" * 64),
        "is not the hash of event 1",
    ),
    "a parent was changed": (setting(1, relink=False, risk="low"), "is not the hash of event 1"),
    "an id stands twice": (setting(2, id=GOOD[1]["id"]), "does not follow"),
    "an id falls": (setting(2, id=ulid(0, START)), "does not follow"),
    "another log": (setting(2, log=f"b/{ulid(0)}"), "log: expected"),
    "another workflow": (setting(2, workflowId="b"), "workflowId: expected"),
    "another tenant": (setting(2, tenantId="b"), "tenantId: expected acme, found b"),
    "no tenant": (setting(2, without="tenantId"), "tenantId: expected acme, found None"),
    "another algorithm": (setting(2, contentHash="blake3:" + "0" * 64), "digest algorithm"),
    "after the end": (setting(2, type="run_completed"), "which ends the run"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_is_kept(name: str) -> None:
    """Each rule is refused by itself, with the others repaired, and the refusal says which it is."""
    apply, message = BROKEN[name]
    headers = copy.deepcopy(GOOD)
    apply(headers)
    with pytest.raises(ChainBroken, match=message):
        reduce(follow, headers, None)


def test_a_clock_that_steps_back_follows() -> None:
    """A timestamp earlier than the one before is no break."""
    headers = copy.deepcopy(GOOD)
    headers[2]["timestamp"] = "2020-01-01T00:00:00.000000000Z"
    assert follows(relinked(headers))


@given(st.lists(st.sampled_from(range(5)), max_size=6))
def test_only_a_beginning_of_the_chain_follows(order: list[int]) -> None:
    """Of all sequences of a run's events, those follow that are a beginning of it."""
    assert (order == list(range(len(order)))) == follows([GOOD[i] for i in order])


# Workflow heads


def state(*runs: tuple[str, int, bool]) -> list[dict[str, Any]]:
    """Return what a scope says of runs."""
    return [
        {"runId": run_id, "count": count, "head": "sha256:" + "0" * 64, "closed": closed}
        for run_id, count, closed in runs
    ]


def test_workflow_head_is_domain_separated() -> None:
    """The head is SHA-256 over its domain and the canonical state."""
    runs = state(("run-1", 3, True))
    body = rfc8785.dumps({"workflowId": "w", "tenantId": "t", "runs": runs})
    expected = hashlib.sha256(b"tracebus/workflow/v1\n" + body).hexdigest()
    assert f"sha256:{expected}" == workflow_head("w", "t", runs)


def test_workflow_head_leaves_other_members_out_of_account() -> None:
    """What a scope says beyond count, head and end is not in the head."""
    runs = state(("run-1", 3, True))
    assert workflow_head("w", None, runs) == workflow_head("w", None, [runs[0] | {"firstSeq": 0, "x": 1}])


@pytest.mark.parametrize(
    "other",
    [
        ("v", "t", state(("a", 1, True), ("b", 2, False))),
        ("w", "u", state(("a", 1, True), ("b", 2, False))),
        ("w", None, state(("a", 1, True), ("b", 2, False))),
        ("w", "t", state(("b", 2, False), ("a", 1, True))),
        ("w", "t", state(("a", 1, True))),
        ("w", "t", []),
        ("w", "t", state(("a", 2, True), ("b", 2, False))),
        ("w", "t", state(("a", 1, False), ("b", 2, False))),
        ("w", "t", state(("c", 1, True), ("b", 2, False))),
    ],
)
def test_workflow_head_commits_to_everything(other: tuple[str, str | None, list[dict[str, Any]]]) -> None:
    """Another name, tenant, order, number or state of runs gives another head."""
    assert workflow_head("w", "t", state(("a", 1, True), ("b", 2, False))) != workflow_head(*other)


def test_no_tenant_is_not_a_tenant_without_name() -> None:
    """A workflow without a tenant has another head than one of any tenant."""
    heads = {workflow_head("w", tenant, []) for tenant in (None, "", "null")}
    assert 3 == len(heads)


def test_run_state_is_what_a_scope_says() -> None:
    """What a bundle's scope says of a run follows from its head."""
    tree = two_run_log().bundle()
    head = None
    for event in tree["events"]:
        if event["runId"] == "run-2":
            head = follow(head, {name: value for name, value in event.items() if name != "payload"})
    assert head is not None
    assert tree["scope"]["runs"][1] == run_state(head)
