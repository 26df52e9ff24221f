"""Secrets in payloads: masked wherever a text stands, before anything is canonicalised."""

import json
from collections import Counter
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import canonical
from evidence.digest import sha256
from tests.test_tracebus.secret_examples import secrets
from tracebus import (
    EventPart,
    EventPayload,
    EventQuery,
    FreeForm,
    MemoryEventLog,
    Sensitive,
    ToolProposed,
    TraceEventBus,
)
from tracebus.committed import Committed, Committer, commit, content_of
from tracebus.secret_patterns import SecretPattern
from tracebus.secret_scanner import Finding, SecretScanner

TYPE = "acme.anything"
TOKEN = "acme_" + "0123456789abcdef" * 2
MARK = "[secret: acme-token]"
SCANNER = SecretScanner(patterns=[SecretPattern("acme-token", r"acme_[a-z0-9]{32}", ("acme_",))])
COMMITTER = Committer(scanner=SCANNER)


class Server(EventPart):
    """A server."""

    host: str
    """Its name."""
    password: Sensitive[str | None] = None
    """How to get in."""


class Mode(Enum):
    """A mode that holds what it should not."""

    LOUD = TOKEN


class Deployed(EventPayload, type="acme.deployed"):
    """Something was deployed."""

    servers: list[Server] | None = None
    """Where."""
    settings: dict[str, str] | None = None
    """How."""
    tags: frozenset[str] | None = None
    """Tags."""
    mode: Mode | None = None
    """Mode."""
    price: Decimal | None = None
    """Price."""
    log: FreeForm = None
    """What was printed."""
    secret_log: Sensitive[FreeForm] = None
    """The same, sensitive."""


def content(committed: Committed) -> Any:
    """Return what a committed payload says."""
    return canonical.loads(content_of(committed.payload, committed.disclosures))


def test_typed_members() -> None:
    """Texts in lists, parts, mappings, sets and enumerations are masked, sensitive or not."""
    committed = COMMITTER.commit(
        Deployed(
            servers=[Server(host="a"), Server(host=f"b {TOKEN}", password=TOKEN)],
            settings={"key": TOKEN, TOKEN: "x"},
            tags=frozenset({TOKEN}),
            mode=Mode.LOUD,
            price=Decimal("1.50"),
        )
    )
    assert {
        "servers": [{"host": "a"}, {"host": f"b {MARK}", "password": MARK}],
        "settings": {"key": MARK, MARK: "x"},
        "tags": [MARK],
        "mode": MARK,
        "price": "1.50",
    } == content(committed)
    assert {
        Finding("acme-token", ("servers", None, "host"), 1),
        Finding("acme-token", ("servers", None, "password"), 1),
        Finding("acme-token", ("settings", "key"), 1),
        Finding("acme-token", ("settings", MARK), 1),
        Finding("acme-token", ("tags", None), 1),
        Finding("acme-token", ("mode",), 1),
    } == set(committed.findings)


def test_one_finding_for_each_place() -> None:
    """Elements of an array are one place, and what was found in them is counted together."""
    committed = COMMITTER.commit({"lines": [TOKEN, f"{TOKEN} and {TOKEN}"]}, TYPE)
    assert (Finding("acme-token", ("lines", None), 3),) == committed.findings


def test_names_do_not_collide() -> None:
    """Two names that are masked alike stay two, and neither takes the place of a third."""
    other = TOKEN.replace("0", "9")
    for value in ({TOKEN: 1, other: 2, MARK: 3}, {TOKEN: 1, other: 2, MARK: 3, "n": 2**63}):
        said = content(COMMITTER.commit({"value": value}, TYPE))
        said = json.loads(said["jsonText"]) if "jsonText" in said else said
        assert [1, 2, 3] == sorted(said["value"][name] for name in said["value"] if name != "n")
        assert {MARK, f"{MARK} (2)", f"{MARK} (3)"} == said["value"].keys() - {"n"}


def test_a_text_is_looked_at_with_its_name() -> None:
    """What is told by the name before it is masked also where that is the name of its member."""
    basic, key = secrets()["basic-credentials"][0], secrets()["aws-secret-key"][0]
    value = {
        "headers": {"Authorization": f"Basic {basic}", "authorization": [f"basic {basic}"], "Digest": key},
        "SecretAccessKey": key,
    }
    masked = {
        "headers": {
            "Authorization": "Basic [secret: basic-credentials]",
            "authorization": ["basic [secret: basic-credentials]"],
            "Digest": key,
        },
        "SecretAccessKey": "[secret: aws-secret-key]",
    }
    assert masked == content(COMMITTER.commit(value, TYPE))
    as_text = content(COMMITTER.commit(value | {"n": 2**63}, TYPE))["jsonText"]
    assert masked | {"n": 2**63} == json.loads(as_text)


def test_a_name_and_a_text_that_are_a_secret_together() -> None:
    """A secret that begins in the name is none of the text's, and does not hide the one that is."""
    pattern = SecretPattern("acme-pair", r"acme_a: \w+", ("acme_a",))
    committer = Committer(scanner=SecretScanner(patterns=[pattern, *SCANNER.patterns[:1]]))
    assert {"acme_a": f"b {MARK}"} == content(committer.commit({"acme_a": f"b {TOKEN}"}, TYPE))


class Opaque:
    """An object that is no JSON."""

    def __str__(self) -> str:
        """Return what is recorded of it."""
        return f'Opaque("{TOKEN}")'


@pytest.mark.parametrize(
    "value",
    [
        Opaque(),
        [Opaque()],
        {TOKEN},
        {(TOKEN,): 1},
        {"id": 2**63, TOKEN: TOKEN},
        {"_sd": TOKEN},
        {"jsonText": TOKEN},
        f"\ud800 {TOKEN}",
        [float("nan"), TOKEN],
        ["x" * 300_000, TOKEN],
        TOKEN + "x" * 300_000,
        (TOKEN,),
        Mode.LOUD,
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("member", ["log", "secret_log"])
def test_whatever_a_text_stands_in(value: Any, member: str) -> None:
    """JSON text, descriptions of objects and shortened values hold no secret either."""
    committed = COMMITTER.commit(Deployed(**{member: value}))
    as_dict = COMMITTER.commit({"value": value}, TYPE)

    name = "log" if member == "log" else "secretLog"
    assert TOKEN not in json.dumps(content(committed))
    assert TOKEN.encode() not in as_dict.payload
    assert {"acme-token"} == {finding.pattern_id for finding in committed.findings}
    assert {name} == {finding.path[0] for finding in committed.findings}


def test_a_shortened_value_is_digested_without_its_secret() -> None:
    """The digest is over the masked text, for the other one would tell a guess of the secret."""
    said = content(COMMITTER.commit(ToolProposed(tool="t", arguments=["x" * 300_000, TOKEN])))["arguments"]
    assert sha256(json.dumps(["x" * 300_000, MARK]).encode()) == said["digest"]
    assert len(json.dumps(["x" * 300_000, MARK])) == said["length"]


def test_masked_and_sensitive() -> None:
    """Patterns mean names as they are recorded, and hold beside the masks."""
    committed = Committer(["*:iban"], ["tool_*:/arguments"], SCANNER).commit(
        ToolProposed(tool="t", arguments={"iban": f"DE {TOKEN}", "note": TOKEN})
    )
    assert {"note": MARK} == {
        name: value for name, value in json.loads(committed.payload)["arguments"].items() if name != "_sd"
    }
    assert {"iban": f"DE {MARK}", "note": MARK} == content(committed)["arguments"]


@pytest.mark.anyio
async def test_the_index_of_users() -> None:
    """The log's index holds a user id as the event does, and so no secret."""
    log = MemoryEventLog()
    async with TraceEventBus(log, secret_scanner=SCANNER) as bus:
        async with bus.run(run_id="r1", user_id=f"u-91 {TOKEN}"):
            pass
        async with bus.run(run_id="r2", user_id="u-91"):
            pass
    found = {
        user: {event.run_id for event in log.query(EventQuery(user_id=user))}
        for user in (f"u-91 {MARK}", f"u-91 {TOKEN}", "u-91")
    }
    assert {f"u-91 {MARK}": {"r1"}, f"u-91 {TOKEN}": set(), "u-91": {"r2"}} == found


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(TOKEN),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.just(TOKEN) | st.just(MARK), inner, max_size=4)
    ),
    max_leaves=15,
)


def _tokens(value: Any) -> int:
    """Count the secrets in a value, names included."""
    if isinstance(value, dict):
        return sum(_tokens(name) + _tokens(item) for name, item in value.items())
    return sum(map(_tokens, value)) if isinstance(value, list) else int(value == TOKEN)


@given(values)
def test_nothing_else_changes(value: Any) -> None:
    """Each secret is masked and counted, and what holds none says what it says without a scanner."""
    event = ToolProposed(tool="t", arguments=value)
    committed = COMMITTER.commit(event)

    assert _tokens(value) == sum(finding.count for finding in committed.findings)
    assert TOKEN not in json.dumps(content(committed))
    if not _tokens(value):
        assert content(commit(event)) == content(committed)


@given(st.dictionaries(st.text() | st.just(TOKEN) | st.just(MARK), values, max_size=5))
def test_dicts(data: dict[str, Any]) -> None:
    """The same of a dict under a user's type."""
    committed = COMMITTER.commit(data, TYPE)

    assert Counter({"acme-token": _tokens(data)}) + Counter() == sum(
        (Counter({each.pattern_id: each.count}) for each in committed.findings), Counter()
    )
    assert TOKEN.encode() not in committed.payload
    if not _tokens(data):
        assert content(commit(data, TYPE)) == content(committed)
