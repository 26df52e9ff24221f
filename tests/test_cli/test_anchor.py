"""`tracebus anchor`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.test_anchor.conftest import Reply, serving

Cli = Callable[..., Result]

WITNESS = "witness.example/north+8228031e+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU"


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    """A file of anchors that names a folder."""
    (tmp_path / "archive").mkdir()
    path = tmp_path / "anchors.toml"
    path.write_text('[archive]\nkind = "directory"\npath = "archive"\n')
    return path


def test_anchoring(cli: Cli, log: Path, key: Path, anchors: Path) -> None:
    """A checkpoint is brought to the folder, which the status says then, too."""
    made = cli("anchor", anchors, "--log", log, "--key", key)
    shown = cli("anchor", anchors, "--log", log, "--status")
    assert (0, 0, True, True) == (
        made.exit_code,
        shown.exit_code,
        (anchors.parent / "archive" / "checkpoint").is_file(),
        made.stdout == shown.stdout,
    ), made.output
    assert "checkpoint: size 16; 0 events in none yet" in made.stdout


def test_json(cli: Cli, log: Path, key: Path, anchors: Path) -> None:
    """--json has the checkpoint, what is not in it yet, and the state of each anchor."""
    found = json.loads(cli("anchor", anchors, "--log", log, "--key", key, "--json").stdout)
    (anchor,) = found["anchors"]
    assert (16, 0, "archive", 16, 0, None) == (
        found["checkpoint"]["size"],
        found["eventsAfter"],
        *(anchor[name] for name in ("anchor", "size", "behind", "error")),
    )


def test_status_before_anything_was_done(cli: Cli, log: Path, anchors: Path) -> None:
    """All events are in no checkpoint, and the anchor has none."""
    result = cli("anchor", anchors, "--log", log, "--status")
    assert (0, True, False) == (
        result.exit_code,
        "checkpoint: none yet; 15 events in none yet" in result.stdout,
        log.with_name(f"{log.name}-tree").exists(),
    )


def test_one_of_two_is_down(cli: Cli, log: Path, key: Path, anchors: Path) -> None:
    """It exits with 3 and says which; the other one has the checkpoint."""
    with anchors.open("a") as file:
        file.write('[gone]\nkind = "directory"\npath = "gone"\n')
    result = cli("anchor", anchors, "--log", log, "--key", key)
    assert (3, True, True) == (
        result.exit_code,
        "failed: gone: " in result.stderr,
        (anchors.parent / "archive" / "checkpoint").is_file(),
    )


def test_a_refusal(cli: Cli, log: Path, key: Path, anchors: Path) -> None:
    """A folder with something else in the checkpoint's place exits with 1."""
    (anchors.parent / "archive" / "checkpoint").write_text("something else")
    result = cli("anchor", anchors, "--log", log, "--key", key)
    assert (1, True) == (result.exit_code, "refused: archive: " in result.stderr)


def test_answers_do_not_reach_the_terminal_raw(cli: Cli, log: Path, key: Path, tmp_path: Path) -> None:
    """What a server answers is printed without its controls."""
    path = tmp_path / "anchors.toml"
    with serving(lambda body: Reply(403, b"\x1b[2Jgone")) as server:
        path.write_text(f'[north]\nkind = "witness"\nurl = "{server.url}"\nkey = "{WITNESS}"\n')
        result = cli("anchor", path, "--log", log, "--key", key)
    assert (1, True, False) == (result.exit_code, "gone" in result.stderr, "\x1b" in result.stderr)


def test_another_key(cli: Cli, log: Path, key: Path, anchors: Path) -> None:
    """The key of a log does not change in passing: another one exits with 1."""
    cli("anchor", anchors, "--log", log, "--key", key)
    cli("keygen", "other")
    assert 1 == cli("anchor", anchors, "--log", log, "--key", "other.key").exit_code


def test_check_of_what_cannot_be_checked(cli: Cli, anchors: Path) -> None:
    """A folder has nothing to try, which is said."""
    result = cli("anchor", anchors, "--check")
    assert (0, "archive\n  nothing to try: what it protects, its operator decides\n") == (
        result.exit_code,
        result.stdout,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a table for each anchor, found none"),
        ("[archive", "anchors.toml: "),
        ('archive = "x"', "[archive]: expected kind = one of directory, s3, timestamp, witness, found None"),
        ('[a]\nkind = "tape"', "[a]: expected kind = one of directory, s3, timestamp, witness, found 'tape'"),
        ('[a]\nkind = "directory"', "[a]: missing 1 required positional argument: 'path'"),
        ('[a]\nkind = "directory"\npath = "x"\nmode = 1', "[a]: got an unexpected keyword argument 'mode'"),
        ('[a]\nkind = "witness"\nurl = "https://w.example"\nkey = "x"', "[a]: key: expected"),
        (f'[a]\nkind = "witness"\nurl = "w.example"\nkey = "{WITNESS}"', "[a]: url: expected https://"),
        ('[a]\nkind = "s3"\nbucket = "b"\nyears = 0', "[a]: years: expected more than 0"),
        ('[a]\nkind = "timestamp"\nurl = "https://t.example"\nroots = []', "[a]: roots: expected"),
    ],
)
def test_files_of_anchors_that_are_wrong(
    cli: Cli, log: Path, key: Path, tmp_path: Path, text: str, reason: str
) -> None:
    """They exit with 2; the message names file, table and reason, and nothing is signed."""
    path = tmp_path / "anchors.toml"
    path.write_text(text)
    result = cli("anchor", path, "--log", log, "--key", key)
    assert (2, True, False) == (
        result.exit_code,
        reason in result.stderr.replace("\n", " "),
        log.with_name(f"{log.name}-tree").exists(),
    ), result.stderr


@pytest.mark.parametrize("arguments", [(), ("anchors.toml",), ("--key", "treasury.key")])
def test_wrong_usage(cli: Cli, log: Path, key: Path, anchors: Path, arguments: tuple[str, ...]) -> None:
    """Anchors and a key are needed."""
    assert 2 == cli("anchor", *arguments, "--log", log).exit_code
