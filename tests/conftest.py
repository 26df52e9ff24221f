"""Fixtures and settings that every test folder shares."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent


def in_ci() -> bool:
    """Tell whether CI runs the suite: there, what is missing fails instead of being skipped."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


# No deadline anywhere: a slow moment of a busy machine is no defect. CI draws the same examples on
# every run, so a failure there is the change's; developers' machines look for new examples.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if in_ci() else "dev"))


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each test marked `anyio` once on asyncio and once on trio."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of foreign test vectors: TRACEBUS_SHARED, or `../shared`."""
    path = Path(os.environ.get("TRACEBUS_SHARED") or ROOT.parent / "shared")
    if path.is_dir():
        return path
    reason = f"no folder {path}: name it in TRACEBUS_SHARED"
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an asyncio test in which our code blocks the event loop (sleep, file, socket, SQLite).

    Only what `tracebus` or `sinks` calls counts: a test may read a file between two awaits, and
    so may the contracts in `tracebus.testing`. blockbuster knows asyncio's loop alone, so the trio
    run of the same test goes unwatched. A test marked `blocking_ok` is left alone.
    """
    is_async = request.node.get_closest_marker("anyio") is not None
    if (
        not is_async
        or request.node.get_closest_marker("blocking_ok") is not None
        or request.getfixturevalue("anyio_backend_name") != "asyncio"
    ):
        yield
        return
    contracts = ["tracebus.testing"] if find_spec("tracebus.testing") else []
    with blockbuster_ctx(["tracebus", "sinks"], excluded_modules=contracts):
        yield
