"""Attacks on what is hidden: to guess it, to link it, to move it, to bring it back.

Three attackers, as in `test_attacks`: whoever reads a bundle and guesses; a holder, who puts together a
bundle of parts of others; and a user, whose data looks like the format's own. Each bundle here is also
given to the standalone verifier, which has to agree.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import DisclosurePolicy, EvidenceBundle, canonical
from evidence.digest import sha256
from evidence.disclosure import digest_of, digests_in, disclose, encode_base64url, parse_disclosure
from evidence.redact import redact_evidence_bundle
from schemas.build_vectors import HandLog, relink, resign, salt, withholding
from tests.disclosing import (
    KEY,
    SIGNER,
    TRIP,
    WORKFLOW,
    Tree,
    bundle_of,
    only,
    refusal,
    tree_of,
    trip,
    trip_log,
    verify,
)
from tests.strategies import json_values, texts
from tracebus import (
    EventPayload,
    MemoryEventLog,
    Sensitive,
    ToolProposed,
    TraceEventBus,
)
from tracebus.eventlog.base import EventQuery


class Verdict(EventPayload, type="guessing.verdict"):
    """A payload with few possible contents, and a member with fewer."""

    colour: Sensitive[str | None] = None
    granted: bool = False


COLOURS = ["red", "green", "blue"]


def publish(*payloads: Any, log: MemoryEventLog | None = None, rules: Sequence[str] = ()) -> MemoryEventLog:
    """Publish payloads, and mappings as events of type ``acme.data``, in a run of a workflow of their own."""
    log = log or MemoryEventLog()

    async def record() -> None:
        async with TraceEventBus(log, sensitive=rules) as bus, bus.run(workflow_id="w"):
            for payload in payloads:
                if isinstance(payload, EventPayload):
                    await bus.publish(payload)
                else:
                    await bus.publish(payload, type="acme.data")

    anyio.run(record)
    return log


def bundle(log: MemoryEventLog, workflow: str = "w", **options: Any) -> EvidenceBundle:
    """Return a signed bundle."""

    async def make() -> EvidenceBundle:
        return await bundle_of(log, workflow, **options)

    return anyio.run(make)


def stripped(made: EvidenceBundle, **options: Any) -> Tree:
    """Return what a receiver has of a bundle whose holder removed all that may be removed."""
    options = options or {"members": ["*:*"], "payloads": ["*"]}
    return tree_of(redact_evidence_bundle(made, **options).bundle)


def parts_of(text: str) -> list[Any]:
    """Return salt, name and value of a disclosure, or salt and value."""
    parts: list[Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return parts


# Guessing


def guessed_members(digest: str, salts: list[str]) -> list[str]:
    """Return the colours whose disclosure has this digest, for an attacker who tries these salts."""
    return [
        colour
        for colour, tried in itertools.product(COLOURS, salts)
        if digest_of(disclose("colour", colour, tried)[0]) == digest
    ]


def guessed_payloads(content_hash: str, salts: list[str | None]) -> list[Tree]:
    """Return the payloads that hash to contentHash, for an attacker who tries these salts."""
    candidates = [
        {"granted": granted} | ({} if tried is None else {"_salt": tried})
        for granted, tried in itertools.product((False, True), salts)
    ]
    return [candidate for candidate in candidates if sha256(canonical.dumps(candidate)) == content_hash]


def all_that_is_visible(tree: Tree) -> list[str]:
    """Return every string of a bundle: what an attacker could take for a salt."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for item in [*value, *value.values()] if isinstance(value, dict) else value:
                yield from strings(item)

    return sorted({*strings(tree), ""})


@pytest.mark.parametrize("colour", COLOURS)
def test_a_member_is_not_guessed_by_its_digest(colour: str) -> None:
    """With all possible values at hand, no salt that the bundle shows opens the digest of one."""
    tree = stripped(bundle(publish(Verdict(colour=colour))), members=["*:*"])
    (digest,) = only(tree, "guessing.verdict")["payload"]["_sd"]
    assert [] == guessed_members(digest, all_that_is_visible(tree))


def test_a_member_is_guessed_where_its_salt_is_known() -> None:
    """The control: who has the salt, from another copy say, guesses at once."""
    tree = tree_of(bundle(publish(Verdict(colour="green"))))
    event = only(tree, "guessing.verdict")
    known = parts_of(tree["disclosures"][event["id"]][0])[0]
    assert ["green"] == guessed_members(event["payload"]["_sd"][0], [known])


@pytest.mark.parametrize("granted", [False, True])
def test_a_payload_is_not_guessed_by_its_hash(granted: bool) -> None:
    """Of two possible payloads, contentHash tells neither, by any salt that the bundle shows or by none."""
    tree = stripped(bundle(publish(Verdict(granted=granted))))
    event = only(tree, "guessing.verdict")
    assert "payload" not in event
    assert [] == guessed_payloads(event["contentHash"], [None, *all_that_is_visible(tree)])


def test_a_payload_is_guessed_where_its_salt_is_known_or_absent() -> None:
    """The control: with the salt one guess in two is right, and so it is of a payload without one."""
    event = only(tree_of(bundle(publish(Verdict(granted=True)))), "guessing.verdict")
    salted = guessed_payloads(event["contentHash"], [event["payload"]["_salt"]])
    bare = guessed_payloads(sha256(canonical.dumps({"granted": True})), [None])
    assert [[True], [True]] == [[found["granted"] for found in each] for each in (salted, bare)]


def test_a_withheld_payload_keeps_its_salt_to_itself() -> None:
    """The salt of a payload, and of each disclosure, is gone with it from the whole file."""
    made = tree_of(bundle(publish(Verdict(colour="red"))))
    event = only(made, "guessing.verdict")
    (text,) = made["disclosures"][event["id"]]
    less = json.dumps(stripped(EvidenceBundle.from_json(made)))
    assert [False, False] == [part in less for part in (event["payload"]["_salt"], text)]


# Linking


def test_the_same_value_twice_cannot_be_linked() -> None:
    """One value, twice in an event, in two events, two runs and two workflows, has as many digests."""
    log = MemoryEventLog()
    publish(Verdict(colour="red"), Verdict(colour="red"), TRIP, TRIP, log=log)
    publish(Verdict(colour="red"), log=log)
    tree = tree_of(bundle(log))
    digests = [digest for event in tree["events"] for digest in digests_in(event["payload"])]
    digests += [
        digest
        for listed in tree["disclosures"].values()
        for text in listed
        for digest in digests_in(parse_disclosure(text, "").value)
    ]
    assert len(digests) == len(set(digests)) == 3 + 2 * 10


def test_the_same_payload_twice_cannot_be_linked() -> None:
    """Equal payloads have different hashes, so withheld ones cannot be told to be equal."""
    tree = tree_of(bundle(publish(*[Verdict(granted=True)] * 8)))
    hashes = {event["contentHash"] for event in tree["events"] if event["type"] == "guessing.verdict"}
    assert 8 == len(hashes)


def test_two_bundles_of_a_workflow_tell_no_more_than_one() -> None:
    """Events are the same in all bundles, digests included: who has two of them learns what either shows."""
    shown, hidden = tree_of(trip()), stripped(trip(), members=["*:*"])
    for one, other in zip(shown["events"], hidden["events"], strict=True):
        assert one == other


def test_how_many_are_hidden_shows_and_nothing_else() -> None:
    """Hidden members are counted by anybody; their names and the length of their values are not seen."""
    short, long = (
        stripped(bundle(publish(ToolProposed(tool="t", arguments=value))), members=["*:*"])
        for value in ("x", {"iban": "D" * 5_000})
    )
    payloads = [only(tree, "tool_proposed")["payload"] for tree in (short, long)]
    assert [{"_salt": 22, "_sd": [43], "tool": 1}] * 2 == [
        {name: [*map(len, item)] if name == "_sd" else len(item) for name, item in payload.items()}
        for payload in payloads
    ]


# Moving: every disclosure of the trip, everywhere


def places_of(tree: Tree) -> Iterator[tuple[str, int]]:
    """Yield the event and index of each disclosure of a bundle."""
    for event_id, listed in tree["disclosures"].items():
        yield from ((event_id, i) for i in range(len(listed)))


def refusals(tree: Tree, changed: Iterator[Tree]) -> set[str]:
    """Return how changed bundles are refused; there is at least one of them, and none is the bundle."""
    found = [refusal(other) for other in changed if other["disclosures"] != tree["disclosures"]]
    assert found
    return set(found)


def test_a_disclosure_in_another_event() -> None:
    """A disclosure that is moved, or copied, to another event, also of the same type, is refused."""
    tree = tree_of(trip())

    def moved() -> Iterator[Tree]:
        for (source, i), is_copy in itertools.product(places_of(tree), (True, False)):
            for target in [event["id"] for event in tree["events"] if event["id"] != source]:
                changed = tree_of(trip())
                text = changed["disclosures"][source][i]
                if not is_copy:
                    del changed["disclosures"][source][i]
                changed["disclosures"].setdefault(target, []).append(text)
                yield changed

    assert {"DisclosureRefused"} == refusals(tree, moved())


def test_a_child_without_its_parent() -> None:
    """Wherever a disclosure is taken out whose children stay, they are unreferenced, and refused."""
    tree, outcomes = tree_of(trip()), []
    for event_id, i in places_of(tree):
        changed = tree_of(trip())
        text = changed["disclosures"][event_id].pop(i)
        if digests_in(parse_disclosure(text, "").value):
            outcomes.append(refusal(changed))
        else:
            assert "verified" == verify(changed).verdict
    assert ["DisclosureRefused"] * 6 == outcomes


def test_a_forged_disclosure() -> None:
    """A disclosure with another value, name or salt, or its parts swapped, is refused in every place."""
    tree = tree_of(trip())

    def forged() -> Iterator[Tree]:
        for event_id, i in places_of(tree):
            text = tree["disclosures"][event_id][i]
            known, name, value = parts_of(text)
            for parts in (
                [known, name, "forged"],
                [known, "forged", value],
                [salt(1), name, value],
                [known, value],
                [name, known, value],
            ):
                changed = tree_of(trip())
                changed["disclosures"][event_id][i] = encode_base64url(canonical.dumps(parts))
                yield changed

    assert {"DisclosureRefused"} == refusals(tree, forged())


def test_a_disclosure_that_is_doubled() -> None:
    """A disclosure that is given twice is refused; in another order they are the same bundle."""
    tree = tree_of(trip())

    def doubled() -> Iterator[Tree]:
        for event_id, i in places_of(tree):
            changed = tree_of(trip())
            changed["disclosures"][event_id].append(changed["disclosures"][event_id][i])
            yield changed

    assert {"DisclosureRefused"} == refusals(tree, doubled())
    for listed in tree["disclosures"].values():
        listed.reverse()
    assert [event.payload for event in verify(trip()).events] == [
        event.payload for event in verify(tree).events
    ]


# Moving: what the signer would have to help with

FIRST, FIRST_DIGEST = disclose(None, "first", salt(1))
SECOND, SECOND_DIGEST = disclose(None, "second", salt(2))
MEMBER, MEMBER_DIGEST = disclose("name", "value", salt(3))
CHILD, CHILD_DIGEST = disclose("child", 1, salt(4))
OTHER, OTHER_DIGEST = disclose(None, "other", salt(6))
NEST, NEST_DIGEST = disclose(None, {"_sd": [MEMBER_DIGEST]}, salt(8))
PARENT, PARENT_DIGEST = disclose("parent", {"_sd": [CHILD_DIGEST]}, salt(5))


def hand_made(payload: Tree, *disclosures: str) -> Tree:
    """Return a bundle whose second event has this payload and these disclosures, signed as it stands."""
    log = HandLog()
    log.add("r", "run_started")
    log.add("r", "acme.x")
    log.add("r", "run_completed")
    tree = log.bundle(SIGNER)
    event = tree["events"][1]
    event["payload"] = {"_salt": salt(9), **payload}
    event["contentHash"] = sha256(canonical.dumps(event["payload"]))
    tree["disclosures"][event["id"]] = list(disclosures)
    return resign(relink(tree), SIGNER)


def opened(payload: Tree, *disclosures: str) -> Tree:
    """Return what is shown of a payload with these disclosures."""
    shown = dict(verify(hand_made(payload, *disclosures)).events[1].payload or {})
    del shown["_salt"]
    return shown


ARRAY = {"a": [{"...": FIRST_DIGEST}, {"...": SECOND_DIGEST}], "b": [{"...": OTHER_DIGEST}]}


def test_elements_stand_where_their_digests_stand() -> None:
    """The order of disclosures moves no element within its array, nor to another one."""
    for order in itertools.permutations((FIRST, SECOND, OTHER)):
        assert {"a": ["first", "second"], "b": ["other"]} == opened(ARRAY, *order)


def test_elements_cannot_change_places() -> None:
    """Digests that change places, within an array or between two, change the payload, and are refused."""
    for one, two in (("a0", "a1"), ("a0", "b0"), ("a1", "b0")):
        tree = hand_made(ARRAY, FIRST, SECOND, OTHER)
        payload = tree["events"][1]["payload"]
        items = [payload[place[0]][int(place[1])] for place in (one, two)]
        for place, item in zip((two, one), items, strict=True):
            payload[place[0]][int(place[1])] = item
        assert "DigestMismatch" == refusal(tree)


def test_an_element_that_is_hidden_leaves_no_place() -> None:
    """Which of an array's elements is hidden shows in the committed payload, not in the opened one."""
    assert {"a": ["second"], "b": []} == opened(ARRAY, SECOND)


@pytest.mark.parametrize(
    ("payload", "disclosures"),
    [
        ({"_sd": [FIRST_DIGEST]}, [FIRST]),
        ({"a": {"_sd": [FIRST_DIGEST]}}, [FIRST]),
        ({"a": [{"...": MEMBER_DIGEST}]}, [MEMBER]),
        ({"a": [[{"...": MEMBER_DIGEST}]]}, [MEMBER]),
        ({"_sd": [MEMBER_DIGEST], "name": "there"}, [MEMBER]),
        ({"_sd": sorted([MEMBER_DIGEST, PARENT_DIGEST]), "parent": 1}, [PARENT, CHILD]),
        ({"_sd": [PARENT_DIGEST]}, [CHILD]),
        ({"_sd": [CHILD_DIGEST]}, [PARENT, CHILD]),
        ({"_sd": sorted([CHILD_DIGEST, PARENT_DIGEST])}, [PARENT, CHILD]),
        ({"_sd": sorted([CHILD_DIGEST, PARENT_DIGEST])}, [PARENT]),
        ({}, [MEMBER]),
        ({"_sd": [MEMBER_DIGEST]}, [MEMBER, FIRST]),
        ({"_sd": [MEMBER_DIGEST]}, [MEMBER, MEMBER]),
        ({"a": [{"...": FIRST_DIGEST}, {"...": FIRST_DIGEST}]}, [FIRST]),
        ({"_sd": [MEMBER_DIGEST], "a": {"_sd": [MEMBER_DIGEST]}}, [MEMBER]),
    ],
    ids=[
        "an element in the payload",
        "an element in an object",
        "a member in an array",
        "a member in an inner array",
        "a member that is there",
        "a parent that is there",
        "a child without its parent",
        "parent and child swapped",
        "a child at two depths",
        "a child at two depths, its parent shown",
        "no digest at all",
        "one too many",
        "one twice",
        "an element at two places",
        "a member at two places",
    ],
)
def test_what_a_signer_cannot_place(payload: Tree, disclosures: list[str]) -> None:
    """Between object and array, parent and child, or at two places, nothing fits, although it is signed."""
    assert "DisclosureRefused" == refusal(hand_made(payload, *disclosures))


@pytest.mark.parametrize(
    ("payload", "disclosures", "shown"),
    [
        ({"_sd": [PARENT_DIGEST]}, [CHILD, PARENT], {"parent": {"child": 1}}),
        ({"a": [{"_sd": [PARENT_DIGEST]}]}, [PARENT, CHILD], {"a": [{"parent": {"child": 1}}]}),
        ({"a": [{"...": NEST_DIGEST}]}, [MEMBER, NEST], {"a": [{"name": "value"}]}),
        ({"_sd": [PARENT_DIGEST]}, [PARENT], {"parent": {}}),
    ],
)
def test_what_fits(payload: Tree, disclosures: list[str], shown: Tree) -> None:
    """The control: in their own places they are shown."""
    assert shown == opened(payload, *disclosures)


def test_a_cycle_cannot_be_made() -> None:
    """A disclosure cannot name its own digest, nor two each other's: what names a digest has another one."""
    itself, _ = disclose("self", {"_sd": [MEMBER_DIGEST]}, salt(3))
    back, back_digest = disclose("back", {"_sd": [digest_of(itself)]}, salt(6))
    again, _ = disclose("self", {"_sd": [back_digest]}, salt(3))
    for disclosures in ([itself], [itself, back], [again, back]):
        tree = hand_made({"_sd": [MEMBER_DIGEST]}, *disclosures)
        assert "DisclosureRefused" == refusal(tree)


# Data that looks like the format's own

RESERVED = ["_sd", "...", "_salt", "jsonText"]
LOOKALIKES: list[Any] = [
    MEMBER_DIGEST,
    [MEMBER_DIGEST],
    [],
    {"...": FIRST_DIGEST},
    [{"...": FIRST_DIGEST}],
    {"_sd": [MEMBER_DIGEST]},
    "{}",
    None,
    1,
]


def buried(name: str, value: Any, depth: int) -> Any:
    """Return an object with a member of this name, this deep in objects and arrays."""
    found: Any = {name: value, "beside": 1}
    for level in range(depth):
        found = [found] if level % 2 else {"a": found, "b": [1]}
    return found


RULES = [[], ["*:*"], ["acme.*:*/*", "*:arguments/**/a"], ["*:a", "*:beside", "*:arguments/*"]]
"""What else an operator may call sensitive: nothing, everything, elements and members within."""


def round_trip(*payloads: Any, rules: Sequence[str] = ()) -> tuple[MemoryEventLog, EvidenceBundle]:
    """Publish payloads, bundle them, redact the bundle in every way, verify each; return log and bundle."""
    log = publish(*payloads, rules=rules)
    made = bundle(log)
    verify(made)
    for members, whole in itertools.product(([], ["*:*"], ["tool_*:arguments"]), ([], ["*"], ["acme.*"])):
        verify(redact_evidence_bundle(made, members=members, payloads=whole, public_key=KEY).bundle)
    return log, made


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("depth", [0, 1, 2, 5, 40, 70])
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_reserved_names_in_users_data(name: str, depth: int, rules: list[str]) -> None:
    """A user's member with a reserved name, at any depth, is recorded as text, and is no digest."""
    values = [buried(name, value, depth) for value in LOOKALIKES]
    payloads = [ToolProposed(tool="t", arguments=value) for value in values]
    payloads += [value if isinstance(value, dict) else {"data": value} for value in values]  # type: ignore[misc]
    log, made = round_trip(*payloads, rules=rules)
    events = [event for event in log.query(EventQuery()) if not event.type.startswith("run_")]
    assert values == [event.payload.arguments for event in events[: len(values)]]  # type: ignore[union-attr]
    digests = [digest for event in tree_of(made)["events"] for digest in digests_in(event["payload"])]
    assert MEMBER_DIGEST not in digests


DATA = st.lists(json_values(st.sampled_from([*RESERVED, MEMBER_DIGEST, 1]), max_leaves=8), max_size=3)


@given(DATA, st.sampled_from(RULES))
def test_any_data_is_bundled_and_redacted(values: list[Any], rules: list[str]) -> None:
    """Whatever users publish, the bundle verifies, also after redaction."""
    calls = [ToolProposed(tool="t", arguments=value) for value in values]
    round_trip(*calls, *({"v": value} for value in values), rules=rules)


NAMED = st.dictionaries(st.sampled_from([*RESERVED, "a"]) | texts, st.sampled_from(LOOKALIKES), max_size=4)


@given(NAMED, st.sampled_from(RULES))
def test_any_names_are_bundled_and_redacted(data: dict[str, Any], rules: list[str]) -> None:
    """Whatever users name their members, the bundle verifies, also after redaction."""
    round_trip(data, {"inner": data}, ToolProposed(tool="t", arguments=[data]), rules=rules)


@pytest.mark.parametrize("name", ["_sd", "...", "_salt"])
def test_a_holder_cannot_give_reserved_names_away(name: str) -> None:
    """No disclosure puts a reserved name into a payload, signed or not."""
    text, digest = disclose(name, [MEMBER_DIGEST], salt(7))
    assert "DisclosureRefused" == refusal(hand_made({"_sd": [digest]}, text))


# The holder: what may not be removed


@pytest.mark.parametrize("with_disclosures", [False, True])
def test_payloads_that_may_not_be_removed(with_disclosures: bool) -> None:
    """A payload that is taken out by hand, though the signer did not list it, is refused."""
    for i, event in enumerate(tree_of(trip())["events"]):
        tree = tree_of(trip())
        del tree["events"][i]["payload"]
        if with_disclosures:
            tree["disclosures"].pop(event["id"], None)
        if event["id"] not in tree["scope"]["redactable"]:
            assert "PayloadRefused" == refusal(tree)
        elif event["id"] in tree["disclosures"]:
            assert "DisclosureRefused" == refusal(tree)
        else:
            assert "verified" == verify(tree).verdict


def test_the_signer_says_which_payloads_may_be_removed() -> None:
    """Where the signer lists one type, a holder who removes another, or adds it to the list, is refused."""
    made = tree_of(bundle(trip_log(), WORKFLOW, disclose=DisclosurePolicy(redactable=["tool_executed"])))
    event = only(made, "tool_proposed")
    del event["payload"]
    del made["disclosures"][event["id"]]
    assert "PayloadRefused" == refusal(made)
    made["scope"]["redactable"].append(event["id"])
    assert "DigestMismatch" == refusal(made)


def test_events_and_digests_may_not_be_removed() -> None:
    """An event, a digest of a hidden member, and an entry of the scope are signed, and stay."""
    changes: list[Callable[[Tree], Any]] = [
        lambda tree: tree["events"].pop(4),
        lambda tree: only(tree, "disclosing.trip_booked")["payload"].pop("_sd"),
        lambda tree: only(tree, "disclosing.trip_booked")["payload"]["_sd"].pop(),
        lambda tree: tree["scope"]["redactable"].pop(),
        lambda tree: tree["approvals"].pop(),
    ]
    for change in changes:
        tree = stripped(trip(), members=["*:*"])
        change(tree)
        assert refusal(tree) in ("DigestMismatch", "SignatureRefused")


# The holder: what was hidden, brought back


def brought_back(into: Tree, out_of: Tree) -> Iterator[Tree]:
    """Yield a bundle with what another one shows beyond it: each disclosure, each payload, and all of it."""
    everything = copy.deepcopy(into)
    for i, event in enumerate(out_of["events"]):
        hidden = [t for t in out_of["disclosures"].get(event["id"], []) if t not in str(into["disclosures"])]
        for text in hidden:
            changed = copy.deepcopy(into)
            changed["disclosures"].setdefault(event["id"], []).append(text)
            yield changed
        everything["disclosures"].setdefault(event["id"], []).extend(hidden)
        if "payload" in event and "payload" not in into["events"][i]:
            changed = copy.deepcopy(into)
            changed["events"][i]["payload"] = event["payload"]
            yield changed
            everything["events"][i]["payload"] = event["payload"]
    everything["disclosures"] = {name: listed for name, listed in everything["disclosures"].items() if listed}
    yield everything


@pytest.mark.parametrize(
    "patterns",
    [
        ["*:*"],
        ["*:traveller"],
        ["*:traveller/contact/email"],
        ["tool_*", "disclosing.*"],
        ["tool_*:*", "*:email"],
    ],
)
def test_what_was_withheld_is_not_brought_back(patterns: list[str]) -> None:
    """What the signer withheld, the holder of a bundle that shows it does not get in, by parts or whole."""
    less = tree_of(bundle(trip_log(), WORKFLOW, disclose=withholding(*patterns)))
    verify(less)
    attempts = list(brought_back(less, tree_of(trip())))
    assert len(attempts) > 1
    assert {refusal(attempt) for attempt in attempts} <= {"DisclosureRefused", "PayloadRefused"}


def test_what_a_holder_removed_is_brought_back() -> None:
    """The control: what a holder removed, another one who has it may put back, up to the bundle as signed."""
    *_, everything = brought_back(stripped(trip()), tree_of(trip()))
    for listed in everything["disclosures"].values():
        listed.sort()
    whole = tree_of(trip())
    for listed in whole["disclosures"].values():
        listed.sort()
    assert canonical.dumps(whole) == canonical.dumps(everything)
    assert 0 == verify(everything).shown.removed_disclosures


def test_what_was_erased_is_not_brought_back() -> None:
    """What was erased, a holder of an old bundle does not get into a new one: no member, and no payload."""
    before, after = erased_since()
    verify(before)
    shown = verify(after).shown
    assert (1, 5) == (shown.erased_payloads, shown.erased_disclosures)  # below one of the five is a sixth
    new = {event["id"] for event in after["events"]}
    assert new > {event["id"] for event in before["events"]}
    attempts = list(brought_back(after, before))
    assert 1 + 1 + 6 + 1 == len(attempts)  # the payload, its own disclosure, six members, and all at once
    assert {refusal(attempt) for attempt in attempts} <= {"DisclosureRefused", "PayloadRefused"}


def test_an_old_bundle_still_shows_what_was_erased() -> None:
    """What was handed out before an erasure still verifies: no format calls a copy back."""
    before, _ = erased_since()
    assert "u-91" in {(event.payload or {}).get("userId") for event in verify(before).events}


def erased_since() -> tuple[Tree, Tree]:
    """Return a bundle of a log, and one of the same workflow after a payload and members were erased."""
    log = HandLog()
    user = {"userId": "u-91"}
    started = log.add("r", "run_started", {"kind": "new"}, sensitive=user)
    proposed = log.add("r", "tool_proposed", {"tool": "wire"}, sensitive={"arguments": {"iban": "DE89"}})
    hidden: dict[str, Any] = {"elements": {"log": ["a", "b"]}, "sensitive": {"result": 1}}
    executed = log.add("r", "tool_executed", {"tool": "wire"}, **hidden)
    payload = {"_salt": salt(80), "_sd": [PARENT_DIGEST], "tool": "wire"}
    nested = log.append("r", "acme.nested", payload, [PARENT, CHILD], "transfer-42", "acme", 80, None, {})
    log.add("r", "run_completed")
    before = log.bundle(SIGNER)
    by_event = {event.header["id"]: [*map(digest_of, event.disclosures)] for event in log.events}
    targets: list[Tree] = [{"eventId": proposed}]
    targets += [{"eventId": name, "digests": by_event[name]} for name in (started, executed, nested)]
    log.add("m", "run_started", {"kind": "maintenance"})
    log.add("m", "data_erased", {"actor": "desk", "reason": "request", "targets": targets})
    log.add("m", "run_completed")
    for target in targets:
        log.erase(target["eventId"], target.get("digests"))
    return before, log.bundle(SIGNER)


# Nested members that one bundle shows, and another withholds


NESTED = ["*:traveller", "*:contact", "*:email", "*:phone", "*:name", "*:companions/*/contact"]


@given(st.lists(st.sampled_from(NESTED), max_size=3))
def test_a_nested_member_that_another_bundle_shows(patterns: list[str]) -> None:
    """Whatever is withheld at whichever depth, nothing that another bundle shows below it gets in."""
    less = tree_of(bundle(trip_log(), WORKFLOW, disclose=withholding(*patterns)))
    for attempt in brought_back(less, tree_of(trip())):
        if attempt["disclosures"] != less["disclosures"]:
            assert "DisclosureRefused" == refusal(attempt)


def test_a_child_shown_by_one_bundle_and_withheld_by_another() -> None:
    """Of a parent that both show, a child that one withholds stays hidden there, and is said to be."""
    less = tree_of(bundle(trip_log(), WORKFLOW, disclose=withholding("*:traveller/contact/email")))
    report = verify(less)
    booked = next(event for event in report.events if event.type == "disclosing.trip_booked")
    assert {"city": "Berlin", "phone": "+49 30 1"} == booked.payload["traveller"]["contact"]  # type: ignore[index]
    assert 2 == report.shown.withheld_disclosures
