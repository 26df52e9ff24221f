"""Policies of one kind that were taken for another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.policy_kinds import mistaken


@pytest.mark.parametrize(
    "line",
    [
        *("log acme/x+00000000+AA", "witness w x+1+y", "quorum none", "group a 1 b"),
        *("#tracebus require completeness", "# tracebus bundle-key x"),
    ],
)
def test_a_trust_policy_is_told_by_any_line(line: str) -> None:
    """Whichever of its lines comes first, a trust policy is recognised."""
    found = mistaken(f"# whom we trust\n{line}\n".encode(), "disclosure policy")
    assert (found or "").startswith("this is a trust policy (it has `")


def test_the_kind_that_was_expected_is_not_mistaken() -> None:
    """What is wrong in a file of the right kind is for its parser to say."""
    assert mistaken(b"show = 7", "disclosure policy") is None
    assert mistaken(b"quorum none\n", "trust policy") is None


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes(data: bytes) -> None:
    """Any bytes at all are told to be something, or not to be known; nothing is raised."""
    assert type(mistaken(data, "another")) in (str, type(None))
