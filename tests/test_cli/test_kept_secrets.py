"""Credentials in what the command line records for ever: refused, and on no byte of the log."""

from pathlib import Path

import pytest

from tests.test_cli.conftest import Cli
from tracebus import EventQuery, SqliteEventLog

TOKEN = "ghp_" + "0123456789abcdefABCDEF0123456789abcd"
WHY = ("--reason", "asked for", "--legal-basis", "law", "--yes")
REFUSED = "holds a secret (github-token); write it without"


def recorded(log: Path) -> tuple[bool, list[str]]:
    """Return whether the token is in the bytes of a log, and which events of upkeep the log has."""
    data = b"".join(file.read_bytes() for file in log.parent.glob(f"{log.name}*") if file.is_file())
    store = SqliteEventLog(log, read_only=True)
    types = ("data_erased", "legal_hold_changed", "retention_applied", "bundle_exported")
    return TOKEN.encode() in data, [event.type for event in store.query(EventQuery(types=types))]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("hold", "set", "h1", "--whole-log", "--reason", f"with {TOKEN}"), "reason"),
        (("hold", "set", "h1", "--whole-log", "--reason", "r", "--matter", TOKEN), "matter"),
        (("hold", "set", "h1", "--whole-log", "--reason", "r", "--actor", TOKEN), "actor"),
        (("hold", "set", "h1", "--user", TOKEN, "--reason", "r"), "user"),
        (("hold", "set", TOKEN, "--whole-log", "--reason", "r"), "hold"),
        (("hold", "lift", "h1", "--reason", TOKEN), "reason"),
        (("erase", "--user", "u-91", *WHY, "--reason", TOKEN), "reason"),
        (("erase", "--user", "u-91", *WHY, "--legal-basis", TOKEN), "legal basis"),
        (("erase", "--user", "u-91", *WHY, "--request-id", TOKEN), "request id"),
        (("erase", "--workflow", "transfer-42", *WHY, "--actor", TOKEN), "actor"),
        (("retention", "apply", "--yes", "--actor", TOKEN), "actor"),
        (("export", "transfer-42", "--purpose", TOKEN), "purpose"),
        (("export", "transfer-42", "--recipient", TOKEN), "recipient"),
        (("export", "transfer-42", "--actor", TOKEN), "actor"),
    ],
)
def test_refused(cli: Cli, log: Path, key: Path, arguments: tuple[str, ...], place: str) -> None:
    """It is said where a credential is and of which kind; nothing of it is recorded, or repeated."""
    more = ("-o", "b.json", "--key", key) if arguments[0] == "export" else ()
    result = cli(*arguments, *more, "--log", log)
    assert (2, (False, [])) == (result.exit_code, recorded(log))
    assert f"{place}: {REFUSED}" in result.output
    assert TOKEN not in result.output
    assert not Path("b.json").exists()


def test_a_retention_policy(cli: Cli, log: Path) -> None:
    """A credential in the texts of a policy, which each record names, is refused, too."""
    Path("retention.toml").write_text(
        f'version = 1\nname = "p"\n[[rule]]\ntypes = ["*"]\nmembers = "P1D"\nlegal-basis = "{TOKEN}"\n'
    )
    result = cli("retention", "apply", "--policy", "retention.toml", "--yes", "--log", log)
    assert (2, True) == (result.exit_code, f"legal basis: {REFUSED}" in result.output)
    assert (False, []) == recorded(log)


def test_abandon(cli: Cli, log: Path) -> None:
    """What goes through a bus is masked, as all that code records."""
    result = cli("abandon", "refund-8/1", "--reason", f"died with {TOKEN}", "--log", log)
    assert (0, (False, [])) == (result.exit_code, recorded(log))


def test_a_key_s_reason(cli: Cli, log: Path) -> None:
    """Why a key was made or retired goes into the log's own workflow: masked there, too."""
    told = ("--log", log, "--keyring", "keys.txt", "--actor", f"kim {TOKEN}")
    assert 0 == cli("keygen", "treasury", "--use", "bundle", *told).exit_code
    store = SqliteEventLog(log, read_only=True)
    (event,) = store.query(EventQuery(types=("key_changed",)))
    assert ("kim [secret: github-token]", (False, [])) == (event.opened()["actor"], recorded(log))
