"""The sequencer: puts events into the tree, and the root of the heads map behind them (ADR 0011)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from evidence.chain import follow
from evidence.digest import algorithm_of
from evidence.errors import ChainBroken, LogDamaged, MalformedInput
from evidence.header import check_header
from tracebus.errors import AppendConflict
from tracebus.eventlog.base import AnyEvent, EventLog, EventQuery, HeadsLeaf, HeadsStore
from tracebus.transparency.states import TreeState
from tracebus.transparency.store import TreeStore
from tracebus.transparency.writer import TreeWriter, changing

_PROGRESS_EVENTS: Final = 1000


def sequence(
    log: EventLog, store: TreeStore, progress: Callable[[int], object] = lambda events: None
) -> TreeState:
    """Bring the tree up to the newest event, with a heads leaf at its end; return its state.

    Nothing is added where no event is new. Whatever step an earlier attempt, or another process, got to:
    it goes on from there. What the tree has already is not computed again; of that, it is checked that
    the log still has the newest event and the newest heads leaf.

    Args:
        log: The event log, which keeps the heads leaves.
        store: What is derived of it.
        progress: Called now and then with the number of events taken in.

    Raises:
        LogDamaged: The events, or the heads leaves, are not what the tree has or may have.
        AppendConflict: Another sequencer, with another store, added a heads leaf meanwhile; try again.
        EventLogRefused: The store is damaged, or another log's.
        EventLogUnavailable: The log or the store cannot be used now.
    """
    heads = _heads_store(log)
    origin = log.origin
    with changing(store, origin) as tree:
        for leaf in _new_heads_leaves(log, heads, tree.state):
            _take_events(log, tree, leaf.position, progress)
            _take_heads(tree, leaf)
        position = log.last_position()
        if position > tree.state.position:
            _take_events(log, tree, position, progress)
            leaf = HeadsLeaf(position, tree.update_map())
            if not heads.add_heads_leaf(tree.state.heads, leaf):
                raise AppendConflict("tracebus:log", "another sequencer added a heads leaf; try again")
            tree.take_heads(leaf.map_root)
        return tree.state


def _heads_store(log: EventLog) -> HeadsStore:
    if not isinstance(log, HeadsStore):
        raise TypeError(f"{type(log).__name__} keeps no heads leaves, and cannot be a transparency log")
    return log


def _new_heads_leaves(log: EventLog, heads: HeadsStore, state: TreeState) -> list[HeadsLeaf]:
    """Return the heads leaves that the tree does not have yet, if the log still has what it was made of."""
    if state.size != state.position + state.heads:
        raise LogDamaged(
            "tree store", f"{state.position} events and {state.heads} heads make no {state.size}"
        )
    if not state.heads:
        return heads.heads_leaves()
    leaves = heads.heads_leaves(state.heads - 1)
    newest = leaves[0] if leaves else None
    expected = HeadsLeaf(state.position, state.map_root)
    if newest != expected:
        raise LogDamaged(
            f"heads leaf {state.heads - 1}", f"the log has {_named(newest)}, its tree {_named(expected)}"
        )
    found = next(log.query(EventQuery(after=state.position - 1, limit=1)), None)
    if found is None or (found.position, found.event_hash) != (state.position, state.last_event):
        raise LogDamaged(f"position {state.position}", "the log no longer has the event that its tree has")
    return leaves[1:]


def _named(leaf: HeadsLeaf | None) -> str:
    return "none" if leaf is None else f"map root {leaf.map_root.hex()} after position {leaf.position}"


def _take_heads(tree: TreeWriter, leaf: HeadsLeaf) -> None:
    """Take in a heads leaf that the log has already, if the map is what it says."""
    found = tree.update_map()
    if leaf != HeadsLeaf(tree.state.position, found):
        expected = HeadsLeaf(tree.state.position, found)
        raise LogDamaged(
            f"heads leaf {tree.state.heads}",
            f"the log has {_named(leaf)}, its events give {_named(expected)}",
        )
    tree.take_heads(found)


def _take_events(log: EventLog, tree: TreeWriter, last: int, progress: Callable[[int], object]) -> None:
    origin, algorithm = log.origin, log.digest_algorithm
    for event in _events(log, tree.state.position, last):
        header = event._header  # it is not kept, and not changed
        run = tree.run(event.run_id)
        try:
            check_header(header, f"event at position {event.position}")
            head = follow(run.to_head(origin) if run else None, header)
        except (ChainBroken, MalformedInput) as error:
            raise LogDamaged(error.place, error.reason) from error
        if head.log != origin or algorithm_of(head.event_hash) != algorithm:
            raise LogDamaged(f"event at position {event.position}", f"is not one of log {origin}")
        tree.take_event(head)
        if tree.state.position % _PROGRESS_EVENTS == 0:
            progress(tree.state.position)


def _events(log: EventLog, after: int, last: int) -> Iterator[AnyEvent]:
    """Yield the events behind a position up to another, and miss none."""
    events = log.query(EventQuery(after=after, limit=max(0, last - after)))
    for position in range(after + 1, last + 1):
        event = next(events, None)
        if event is None or event.position != position:
            raise LogDamaged(
                f"position {position}", f"the event is gone, or none up to {last} was ever there"
            )
        yield event
