"""The recorded conversations of an airline's agent: a hundred, with invented customers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tracebus import SqliteEventLog, TraceEventBus
from tracebus.importers.chat import import_chat

Talk = dict[str, Any]


def conversations(shared: Path) -> list[Talk]:
    """Return the conversations, each with the customer that the agent looked up, if it did."""
    path = shared / "data" / "tau-airline-gpt4o.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt") as file:
        return [_with_user(json.loads(line)) for line in file]


def _with_user(talk: Talk) -> Talk:
    for message in talk["messages"]:
        for call in message.get("tool_calls") or ():
            user = json.loads(call["function"]["arguments"]).get("user_id")
            if user:
                talk["user"] = user
    return talk


def details(talks: list[Talk]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the airline holds of each customer whom an agent looked up, by user id."""
    for talk in talks:
        for message in talk["messages"]:
            if message.get("name") == "get_user_details" and message["content"].startswith("{"):
                yield talk["user"], json.loads(message["content"])


def facts_of(customer: dict[str, Any]) -> list[str]:
    """Return name, address, birth date and means of payment, as the record has them."""
    return [
        " ".join(customer["name"].values()),
        customer["email"],
        customer["address"]["address1"],
        customer["dob"],
        *customer["payment_methods"],
    ]


async def imported(talks: list[Talk], folder: Path, **rules: Any) -> SqliteEventLog:
    """Return a log in a folder of its own, with the conversations in it."""
    await anyio.Path(folder / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    await anyio.Path(folder / "log").mkdir()
    log = SqliteEventLog(folder / "log" / "trace.db")
    async with TraceEventBus(log, **rules) as bus:
        await import_chat(bus, folder / "talks.jsonl")
    return log
