"""`tracebus subject`: what a person's view prints, writes and refuses."""

import json
import os
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli.conftest import Cli
from tracebus import EventQuery, SqliteEventLog, ToolExecuted
from tracebus.subject_document import Counted, write_document
from tracebus.testing import draft, started

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


def test_table(cli: Cli, log: Path) -> None:
    """A line a workflow tells how many events and sensitive members are held, and until when."""
    result = cli("subject", "u-91", "--log", log)
    assert 0 == result.exit_code, result.output
    line = next(each for each in result.output.splitlines() if each.startswith("transfer-42 "))
    assert ["transfer-42", "-", "1", "8"] == line.split()[:4]
    assert "other people" in result.output


def test_full(cli: Cli, log: Path) -> None:
    """With --full it prints what the events say, sensitive members in the clear."""
    plain, full = (cli("subject", "u-91", "--log", log, *more) for more in ((), ("--full",)))
    assert [False, True] == ['"amount": 5000' in result.output for result in (plain, full)]


def test_mentions(cli: Cli, log: Path) -> None:
    """Mentions in other runs are listed with workflow and event, whose id `erase --event` takes."""
    result = cli("subject", "nobody", "--mention", "KIM", "--mention", "absent", "--log", log)
    lines = result.output.splitlines()
    assert 0 == result.exit_code, result.output
    with closing(SqliteEventLog(log, read_only=True)) as store:
        (verdict,) = store.query(EventQuery(types=("approval_resolved",)))
    line = lines[lines.index("mentioned in other runs") + 2]
    assert ["transfer-42", "-", "approval_resolved", verdict.id, "KIM"] == line.split()


def test_json(cli: Cli, log: Path) -> None:
    """With --json the whole document goes to standard output."""
    tree = json.loads(cli("subject", "u-91", "--json", "--log", log).stdout)
    assert ("tracebus/subject-view/v1", ["transfer-42"]) == (
        tree["type"],
        [workflow["workflowId"] for workflow in tree["workflows"]],
    )


def test_file(cli: Cli, log: Path, tmp_path: Path) -> None:
    """-o writes the same document, readable by its owner alone; with --json it prints what was written."""
    path = tmp_path / "u-91.json"
    text, facts = (cli("subject", "u-91", "-o", path, "--log", log, *more) for more in ((), ("--json",)))
    written, printed = json.loads(path.read_text()), cli("subject", "u-91", "--json", "--log", log).stdout
    expected = json.loads(printed) | {"createdAt": written["createdAt"]}
    assert expected == written
    assert (0o600, 8) == (stat.S_IMODE(path.stat().st_mode), json.loads(facts.stdout)["events"])
    assert text.output.startswith("u-91.json: 1 workflow, 8 events")


def test_file_replaces_only_its_like(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A document is replaced, and made its owner's; the log, another file or a folder is refused."""
    path, other = tmp_path / "u-91.json", tmp_path / "other.json"
    cli("subject", "u-91", "-o", path, "--log", log)
    path.chmod(0o644)
    other.write_text('{"type": "something"}')
    codes = [
        cli("subject", "u-91", "-o", each, "--log", log).exit_code for each in (path, other, log, tmp_path)
    ]
    assert [0, 2, 2, 2] == codes
    assert (0o600, '{"type": "something"}') == (stat.S_IMODE(path.stat().st_mode), other.read_text())


def test_file_that_comes_meanwhile(
    cli: Cli, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is put in the document's place while it is written is not replaced."""
    path = tmp_path / "u-91.json"

    def write(*arguments: Any) -> Counted:
        path.write_text("something else")
        return write_document(*arguments)

    monkeypatch.setattr("tracebus.cli.subject.write_document", write)
    result = cli("subject", "u-91", "-o", path, "--log", log)
    assert (2, "something else") == (result.exit_code, path.read_text())
    assert [log, path] == sorted(each for each in tmp_path.iterdir() if "-" not in each.suffix)


def test_file_is_a_link_to_itself(cli: Cli, log: Path, tmp_path: Path) -> None:
    """A link that leads nowhere is refused."""
    path = tmp_path / "u-91.json"
    path.symlink_to(path)
    result = cli("subject", "u-91", "-o", path, "--log", log)
    assert (2, "too many" in result.output.lower()) == (result.exit_code, True)


def test_file_is_whole_or_not_there(
    cli: Cli, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where writing fails half-way nothing is left, and what was there is there."""
    path = tmp_path / "u-91.json"
    cli("subject", "u-91", "-o", path, "--log", log)
    before = path.read_bytes(), sorted(tmp_path.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tracebus.files.os.fsync", full)
    failed = cli("subject", "u-91", "-o", path, "--log", log)
    assert (2, before) == (failed.exit_code, (path.read_bytes(), sorted(tmp_path.iterdir())))


def test_unknown_user(cli: Cli, log: Path) -> None:
    """Of a user whom the index does not know, it says what to do."""
    result = cli("subject", "u-404", "--log", log)
    assert (2, True) == (result.exit_code, "--mention TEXT" in " ".join(result.output.split()))


def test_several_tenants(cli: Cli, log: Path) -> None:
    """One id in several tenants may be several persons: a tenant has to be chosen."""
    store = SqliteEventLog(log)
    for tenant in ("acme", "other"):
        store.append([[started(tenant, tenant_id=tenant, user_id="u-7")]])
    store.close()
    asked, chosen, nobody = (
        cli("subject", "u-7", "--log", log, *more) for more in ((), ("--tenant", "acme"), ("--no-tenant",))
    )
    assert [2, 0, 2] == [result.exit_code for result in (asked, chosen, nobody)]
    assert "--tenant acme or --tenant other" in " ".join(asked.output.split())


def test_escapes(cli: Cli, log: Path) -> None:
    """What models and tools wrote reaches no terminal as it is."""
    payload = ToolExecuted(tool="t", status="ok", result={"\x1b[2J": "\u202e\x07", "a": "b\u2028forged"})
    store = SqliteEventLog(log)
    store.append([[started("evil", user_id="u-7"), draft("evil", payload)]])
    store.close()
    output = cli("subject", "u-7", "--full", "--log", log, "--mention", "\x1b").output
    assert not {"\x1b", "\x07", "\u202e", "\u2028"} & set(output)
    assert not [line for line in output.splitlines() if line.lstrip().startswith("forged")]


def test_policy(cli: Cli, log: Path, tmp_path: Path) -> None:
    """Until when it is kept, the policy says that is given; one that cannot be read is refused."""
    policy, bad = tmp_path / "retention.toml", tmp_path / "bad.toml"
    policy.write_text('version = 1\nname = "mine"\n[[rule]]\ntypes = ["*"]\nmembers = "forever"\n')
    bad.write_text("version = 2")
    found, refused = (cli("subject", "u-91", "--log", log, "--policy", each) for each in (policy, bad))
    assert ("forever", 2) == (found.output.splitlines()[3].split()[7], refused.exit_code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tenant", "acme", "--no-tenant"),
        ("--full", "--json"),
        ("--mention", ""),
        ("-o", "no/folder/file.json"),
        ("--log", "absent.db"),
    ],
)
def test_wrong_usage(cli: Cli, log: Path, arguments: tuple[str, ...]) -> None:
    """What does not go together, or is not there, is refused."""
    assert 2 == cli("subject", "u-91", "--log", log, *arguments).exit_code


def test_mentions_in_full(cli: Cli, log: Path) -> None:
    """With --full, too, what stands in other runs is printed under its own heading, with its workflow."""
    store = SqliteEventLog(log)
    store.append(
        [
            [started("own", workflow_id="own-1", user_id="u-7")],
            [
                started("other", workflow_id="other-1"),
                draft("other", ToolExecuted(tool="u-7", status="ok"), workflow_id="other-1"),
            ],
        ]
    )
    store.close()
    output = cli("subject", "u-7", "--mention", "u-7", "--full", "--log", log).output
    own, others = output.split("mentioned in other runs\n")
    assert ("other-1" not in own, "own-1" not in others) == (True, True)
    assert "tool_executed  workflow other-1, run other, event 0" in others
    absent = cli("subject", "u-7", "--mention", "absent", "--full", "--log", log).output
    assert "mentioned in no other run\n" in absent


def test_in_the_clear(cli: Cli, log: Path) -> None:
    """With --full it is marked what stands in the clear, and said what takes it."""
    output = cli("subject", "u-91", "--full", "--log", log).output
    assert "      in the clear: callId, tool\n" in output
    assert "in the clear: no sensitive members; tracebus erase takes them only with --payloads" in output


def test_what_else_there_is(cli: Cli, log: Path) -> None:
    """Other runs of the workflow, all of its holds, and lifted ones that name the person are listed."""
    store = SqliteEventLog(log)
    store.append([[started("child", workflow_id="transfer-42")]])
    store.close()
    for hold_id in ("h1", "h2", "h3"):
        cli("hold", "set", hold_id, "--user", "u-91", "--reason", "r", "--log", log)
    cli("hold", "lift", "h3", "--reason", "r", "--log", log)
    lines = [line.split(",")[0] for line in cli("subject", "u-91", "--log", log).output.splitlines()]
    assert {
        "  not here  child: not started for this user",
        "  held      hold h1",
        "  held      hold h2",
    } <= set(lines)
    assert [True] * 3 == [f"under a legal hold: hold {hold_id}" in lines for hold_id in ("h1", "h2")] + [
        "named in hold h3" in lines
    ]


@pytest.mark.parametrize("more", [(), ("--tenant", "acme"), ("--mention", "absent")])
def test_of_whom_only_a_lifted_hold_is_left(cli: Cli, log: Path, more: tuple[str, ...]) -> None:
    """A lifted hold that names somebody is told also where no run was started for them."""
    cli("hold", "set", "h1", "--user", "u-404", "--reason", "r", "--log", log)
    cli("hold", "lift", "h1", "--reason", "r", "--log", log)
    result = cli("subject", "u-404", *more, "--log", log)
    assert (0, True) == (result.exit_code, "named in hold h1, which was lifted: event 0" in result.output)
