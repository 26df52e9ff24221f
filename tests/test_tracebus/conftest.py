"""What the tests of the bus and its logs share."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import in_ci


@pytest.fixture(scope="session")
def strace() -> str:
    """The strace program; without it there is nothing to test, which in CI is a failure."""
    found = shutil.which("strace")
    if found is None:
        if in_ci():
            pytest.fail("strace is not installed; .ci/run installs it")
        pytest.skip("strace is not installed")
    return found
