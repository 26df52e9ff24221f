"""Tiles and entry bundles: which files a tree has, and what is noticed of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import DigestMismatch, EvidenceError, Incomplete, MalformedInput, ProofRefused
from evidence.merkle import (
    Frontier,
    consistency_proof,
    event_leaf,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from evidence.tiles import (
    Tile,
    TileReader,
    audit_tiles,
    format_entries,
    format_path,
    new_files,
    parse_entries,
    parse_path,
    published_entries,
)

LARGE = 70_000  # the example of c2sp.org/tlog-tiles

Files = dict[str, bytes]


@cache
def leaf(index: int) -> bytes:
    """Return the data of a leaf."""
    return event_leaf(f"sha256:{index:064x}")


class Tree:
    """A tree in memory: leaves, complete subtrees, and the root of every size."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self.nodes: dict[tuple[int, int], bytes] = {}
        frontier = Frontier()
        self.roots = [frontier.root()]
        for data in leaves:
            self.nodes |= {(level, index): value for level, index, value in frontier.append(leaf_hash(data))}
            self.roots.append(frontier.root())

    def read(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree."""
        return self.nodes[level, index]

    def files(self, old: int, size: int) -> Files:
        """Return the files that are new in the tree of `size` leaves."""
        return dict(new_files(old, size, self.read, lambda start, end: self.leaves[start:end]))


@pytest.fixture(scope="module")
def large() -> Tree:
    """Return a tree of 70,000 leaves."""
    return Tree([leaf(index) for index in range(LARGE)])


@cache
def small(size: int = 600) -> Tree:
    """Return a tree with two full tiles and a partial one."""
    return Tree([leaf(index) for index in range(size)])


# Paths


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("tile/0/000", Tile(0, 0)),
        ("tile/63/999", Tile(63, 999)),
        ("tile/1/x001/000.p/1", Tile(1, 1000, 1)),
        ("tile/0/x001/x234/067", Tile(0, 1_234_067)),
        ("tile/entries/x001/x234/067.p/255", Tile(None, 1_234_067, 255)),
        ("tile/0/x036/x028/x797/x018/x963/967", Tile(0, 2**63 // 256 - 1)),
    ],
)
def test_paths(path: str, tile: Tile) -> None:
    """Indices stand in groups of three digits, all but the last after an x."""
    assert (path, tile) == (format_path(tile), parse_path(path))


@given(st.none() | st.integers(0, 63), st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_a_path_tells_the_tile(level: int | None, index: int, width: int) -> None:
    """What was formatted is parsed again."""
    tile = Tile(level, index, width)
    assert tile == parse_path(format_path(tile))


@pytest.mark.parametrize(
    "path",
    [
        *("", "checkpoint", "tile/0", "tile/0/", "/tile/0/000", "tile/0/000/", "tile/0/000\n", "tile/00/000"),
        *("tile/64/000", "tile/-1/000", "tile/a/000", "tile/data/000", "tile/0/00", "tile/0/0000"),
        *("tile/0/x000/000", "tile/0/001/000", "tile/0/x001", "tile/0/x001/x000", "tile/0/X001/000"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/300", "tile/0/000.p/01", "tile/0/000.p/"),
        *(
            "tile/0/000.p",
            "tile/0/000.p/1/",
            "tile/0/\u0660\u0660\u0660",
            "tile/0/x001/../000",
            "tile/0/" + "x001/" * 6 + "000",
        ),
    ],
)
def test_paths_of_another_spelling_are_refused(path: str) -> None:
    """A tile has one path, so whoever serves files by it serves no other file."""
    with pytest.raises(MalformedInput, match="tile path"):
        parse_path(path)


# Entry bundles


def test_an_entry_follows_its_length() -> None:
    """The length is two bytes, big-endian."""
    entries = [b"", b"a", b"b" * 258]
    data = b"\x00\x00" + b"\x00\x01a" + b"\x01\x02" + b"b" * 258
    assert (data, entries) == (format_entries(entries), parse_entries(data, "bundle"))


@given(st.lists(st.binary(max_size=40)))
def test_a_bundle_tells_its_entries(entries: list[bytes]) -> None:
    """What was formatted is parsed again."""
    assert entries == parse_entries(format_entries(entries), "bundle")


@given(st.binary())
def test_any_bundle_is_read_or_refused(data: bytes) -> None:
    """What is read is formatted to the same bytes; all else is malformed."""
    try:
        entries = parse_entries(data, "bundle")
    except MalformedInput:
        return
    assert data == format_entries(entries)


def test_a_bundle_that_was_cut_is_refused() -> None:
    """Unless it was cut between entries, where only their number tells."""
    entries = [b"", b"a", b"bc"]
    data = format_entries(entries)
    read = []
    for length in range(len(data)):
        try:
            read.append((length, parse_entries(data[:length], "bundle")))
        except MalformedInput as refused:
            assert f"beyond the bundle's {length} bytes" in refused.reason  # noqa: PT017
    assert [(0, []), (2, entries[:1]), (5, entries[:2])] == read


def test_an_entry_has_at_most_65535_bytes() -> None:
    """A longer one has no length of two bytes."""
    assert [bytes(65_535)] == parse_entries(format_entries([bytes(65_535)]), "bundle")
    with pytest.raises(ValueError, match="found 65536"):
        format_entries([bytes(65_536)])


# Files


def test_the_files_of_70000_leaves(large: Tree) -> None:
    """273 full tiles and one of 112 on level 0, a full one and one of 17 on level 1, one of 1 on level 2."""
    files = large.files(0, LARGE)
    level_0 = [f"tile/0/{index:03d}" for index in range(273)] + ["tile/0/273.p/112"]
    bundles = [path.replace("/0/", "/entries/") for path in level_0]
    above = ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    lengths = {len(content) for path, content in files.items() if ".p/" not in path}
    assert sorted(level_0 + bundles + above) == sorted(files)
    assert {256 * 32, 256 * 35} == lengths


def test_a_tile_has_the_hashes_of_the_specification(large: Tree) -> None:
    """Tile n of level l holds MTH(D[(256n+i)·256^l : (256n+i+1)·256^l])."""
    files = large.files(0, LARGE)
    of_leaves, of_tiles, of_all = (files[f"tile/{path}"] for path in ("0/001", "1/001.p/17", "2/000.p/1"))
    assert b"".join(leaf_hash(leaf(index)) for index in range(256, 512)) == of_leaves
    assert (
        b"".join(Tree([leaf(256 * n + i) for i in range(256)]).roots[256] for n in range(256, 273))
        == of_tiles
    )
    assert large.roots[65_536] == of_all


@pytest.mark.parametrize(
    ("old", "size", "paths"),
    [
        (0, 0, []),
        (7, 7, []),
        (256, 256, []),
        (0, 1, ["tile/entries/000.p/1", "tile/0/000.p/1"]),
        (1, 255, ["tile/entries/000.p/255", "tile/0/000.p/255"]),
        (255, 256, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]),
        (256, 257, ["tile/entries/001.p/1", "tile/0/001.p/1"]),
        (
            *(300, 513),
            ["tile/entries/001", "tile/entries/002.p/1", "tile/0/001", "tile/0/002.p/1", "tile/1/000.p/2"],
        ),
    ],
)
def test_the_files_that_are_new(old: int, size: int, paths: list[str]) -> None:
    """Only what the larger tree has and the smaller had not."""
    assert paths == list(small().files(old, size))


@given(st.lists(st.integers(0, 600), max_size=8).map(sorted))
def test_publishing_in_steps_comes_to_the_same(sizes: list[int]) -> None:
    """Whatever checkpoints are between, all files of a tree are there, and can be audited at each size."""
    tree, published = small(), Files()
    for old, size in zip([0, *sizes], sizes, strict=False):
        published |= tree.files(old, size)
        assert tree.files(0, size).items() <= published.items()
    for size in sizes:
        audit_tiles(published.get, size, tree.roots[size])


# Reading


@given(st.data())
def test_proofs_can_be_made_from_tiles(data: st.DataObject) -> None:
    """They are those that the log makes, and verify."""
    tree = small()
    size = data.draw(st.integers(1, 600))
    position = data.draw(st.integers(1, size))
    read = TileReader(tree.files(0, size).get, size)
    inclusion = inclusion_proof(position - 1, size, read)
    consistency = consistency_proof(position, size, read)
    verify_inclusion(leaf_hash(leaf(position - 1)), position - 1, size, inclusion, tree.roots[size])
    verify_consistency(position, size, consistency, tree.roots[position], tree.roots[size])
    assert inclusion_proof(position - 1, size, tree.read) == inclusion
    assert consistency_proof(position, size, tree.read) == consistency


def test_every_hash_can_be_read_from_tiles(large: Tree) -> None:
    """On every level, from 70,000 leaves up to half of the tree."""
    read = TileReader(large.files(0, LARGE).get, LARGE)
    assert [] == [at for at, value in large.nodes.items() if at[0] > 5 and read(*at) != value]


@pytest.mark.parametrize("at", [(-1, 0), (0, -1), (0, 600), (3, 75), (9, 1), (10, 0)])
def test_a_hash_that_the_tree_has_not(at: tuple[int, int]) -> None:
    """What is not complete in the tree of that size is in no tile of it."""
    with pytest.raises(ValueError, match="a tree of 600 leaves has no hash"):
        TileReader(small().files(0, 600).get, 600)(*at)


def test_a_full_tile_stands_in_for_a_partial_one() -> None:
    """A partial file may be deleted when the full one is there; then that is read up to the size."""
    tree = small()
    files = {path: content for path, content in tree.files(0, 512).items() if ".p/" not in path}
    files |= {"tile/1/000.p/1": tree.files(0, 300)["tile/1/000.p/1"]}
    audit_tiles(files.get, 300, tree.roots[300])
    assert [leaf(index) for index in range(300)] == list(published_entries(files.get, 300))


def test_proofs_from_wrong_tiles_do_not_verify() -> None:
    """Whoever reads from a mirror need not trust it."""
    tree = small()
    files = {path: bytes(len(content)) for path, content in tree.files(0, 600).items()}
    read = TileReader(files.get, 600)
    with pytest.raises(ProofRefused):
        verify_inclusion(leaf_hash(leaf(9)), 9, 600, inclusion_proof(9, 600, read), tree.roots[600])


# Audit


def refusals(change: Callable[[bytes], bytes | None]) -> dict[str, type[EvidenceError] | None]:
    """Audit 600 leaves with each file changed, one after another; return what was raised."""
    tree = small()
    files = tree.files(0, 600)
    raised: dict[str, type[EvidenceError] | None] = {}
    for path, content in files.items():
        changed = change(content)
        others = {name: data for name, data in files.items() if name != path}
        try:
            audit_tiles((others | ({} if changed is None else {path: changed})).get, 600, tree.roots[600])
            raised[path] = None
        except EvidenceError as error:
            raised[path] = type(error)
    assert len(files) == 7
    return raised


@pytest.mark.parametrize("at", [0, 2, 31, 32, 40, -1])
def test_a_changed_file_is_noticed(at: int) -> None:
    """Whichever byte it is, and in whichever file; in a length, it makes a bundle unreadable."""

    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[at] ^= 0x80
        return bytes(changed)

    lengths = {"entries": MalformedInput} if at == 0 else {}
    expected = {path: lengths.get(path.split("/")[1], DigestMismatch) for path in small().files(0, 600)}
    assert expected == refusals(change)


def test_a_missing_file_is_noticed() -> None:
    """What was not published cannot be audited."""
    assert {Incomplete} == set(refusals(lambda content: None).values())


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\x00", lambda c: c + c, lambda c: b""])
def test_a_file_of_another_length_is_refused(change: Callable[[bytes], bytes]) -> None:
    """A tile has 32 bytes for each hash, a bundle as many entries as its width, and nothing after."""
    assert {MalformedInput} == set(refusals(change).values())


def test_a_bundle_that_lacks_an_entry_is_refused() -> None:
    """It would shift all that follows."""
    tree = small()
    files = tree.files(0, 600)
    files["tile/entries/001"] = format_entries(tree.leaves[256:511])
    with pytest.raises(MalformedInput, match="expected 256 entries, found 255"):
        audit_tiles(files.get, 600, tree.roots[600])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 599])
def test_files_of_another_root_are_refused(size: int) -> None:
    """A checkpoint's root is that of its size, and of these entries."""
    tree = small()
    audit_tiles((tree.files(0, 600) | tree.files(0, size)).get, size, tree.roots[size])
    with pytest.raises(DigestMismatch, match=f"tree of {size}: expected root"):
        audit_tiles((tree.files(0, 600) | tree.files(0, size)).get, size, tree.roots[600])


def test_the_example_of_the_specification(root: Path) -> None:
    """The log of schemas/log-v1.md has the two files that it says."""
    text = (root / "schemas" / "log-v1.md").read_text("utf-8")
    listed = re.findall(r"^\d (0[12][0-9a-f]{64})$", text, re.MULTILINE)
    files = Tree([bytes.fromhex(data) for data in listed]).files(0, 6)
    stated = re.findall(r"`(tile/[a-z0-9/.]+)`, (\d+)\s+bytes", text)
    assert {path: int(length) for path, length in stated} == {path: len(files[path]) for path in files}
