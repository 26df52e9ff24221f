"""Import OpenAI chat messages: each conversation a workflow, in a run of the kind ``import``.

    async with TraceEventBus(SqliteEventLog("trace.db")) as bus:
        summary = await import_chat(bus, "talks.jsonl.gz")

How messages become events is in `_chat_format`. Of the run:

- The workflow's id is the conversation's, without a tenant. The run's id is
  ``import/<first 16 hex digits of the file's SHA-256>/<conversation>``, with ``sha256-<32 hex>`` of
  the conversation's id in its place where that is longer than a run id may be.
- ``run_started`` names the file, its digest and its size, and says that its events are imported. The
  conversation's ``user``, if it has one, is the run's user id: sensitive, and found by
  ``EventQuery(user_id=…)``.
- ``run_completed`` says *completed*: the record was taken over to its end. Its reason says that this
  is not how the conversation ended, which the format does not tell. Its output are the members of
  the conversation's object that the format does not know, such as ``reward``.
- No event has an ``occurredAt``: the format has no times. The timestamps are those of the import.

Each event has a key that its place in the file decides. So the same file again adds nothing, and an
import that died half-way is completed by the next one. A changed file, and a file compressed anew, is
another record: its conversations are new runs of the same workflows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final

import anyio
import anyio.to_thread

from evidence.chain import RunHead
from evidence.errors import MalformedInput
from evidence.header import is_id
from tracebus.bus import TraceEventBus
from tracebus.events import (
    ContextCompiled,
    ImportSource,
    ModelCallCompleted,
    RunCompleted,
    RunStarted,
    Software,
    ToolExecuted,
    ToolProposed,
    TurnStarted,
)
from tracebus.importers._chat_file import ChatFile
from tracebus.importers._chat_format import Conversation
from tracebus.run import Run

FORMAT: Final = "openai-chat"

_CONCURRENCY: Final = 64
_COVERAGE: Final = (ContextCompiled, TurnStarted, ModelCallCompleted, ToolProposed, ToolExecuted)
_REASON: Final = "end of the imported record, which does not say how the conversation ended"

Progress = Callable[[int, int], object]
"""Called with the bytes of the file that have been read, and how many it has."""


@dataclass(slots=True)
class ImportSummary:
    """What an import did.

    Of the file's conversations, `imported` are new, `completed` are those that an interrupted import
    had begun, `present` were there already. `events` counts the events that this import added,
    `shortened` the values that were too large for an event and of which it keeps the beginning and a
    digest.
    """

    source: str
    digest: str
    conversations: int = 0
    messages: int = 0
    imported: int = 0
    completed: int = 0
    present: int = 0
    events: int = 0
    shortened: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


async def import_chat(
    bus: TraceEventBus,
    path: str | os.PathLike[str],
    *,
    progress: Progress = lambda done, total: None,
) -> ImportSummary:
    """Import a JSON Lines file of conversations, plain or gzip.

    A line is checked before its first event is published, and the lines before a bad one are imported
    to their end. After any other failure, conversations under way have open runs: import again.

    Args:
        bus: The bus to publish with.
        path: The file.
        progress: Called as conversations are done.

    Raises:
        MalformedInput: A line is no conversation; it names file and line, expected and found.
        OSError: The file cannot be read.
        TracebusError: An event could not be published.
    """
    file = await anyio.to_thread.run_sync(ChatFile.open, path)
    try:
        started = await anyio.to_thread.run_sync(_started, file)
        return await _Import(bus, file, started, progress).run()
    finally:
        file.close()


class _Import:
    """One import under way: workers that take a conversation each, and import it to its end."""

    def __init__(self, bus: TraceEventBus, file: ChatFile, started: RunStarted, progress: Progress) -> None:
        self._bus = bus
        self._file = file
        self._started = started
        self._progress = progress
        self._summary = ImportSummary(file.name, file.digest)
        self._conversations = file.conversations()
        self._reading = anyio.Lock()
        self._faults: list[Exception] = []
        self._at_end = False

    async def run(self) -> ImportSummary:
        async with anyio.create_task_group() as workers:
            for _ in range(_CONCURRENCY):
                workers.start_soon(self._work)
        # A bad line comes last: it says that all before it is in the log.
        for fault in sorted(self._faults, key=lambda fault: isinstance(fault, MalformedInput)):
            if isinstance(fault, MalformedInput):
                done = f"the {self._summary.conversations} conversations before it are in the log"
                raise MalformedInput(fault.place, f"{fault.reason}; {done}")
            raise fault
        return self._summary

    async def _work(self) -> None:
        """Import conversations until there are no more, or one could not be.

        Faults are kept and raised in `run`, for a task group would wrap them into another error.
        """
        try:
            while (conversation := await self._next()) is not None:
                await self._import(conversation)
                self._progress(self._file.position, self._file.size)
        except Exception as error:
            self._at_end = True
            self._faults.append(error)

    async def _next(self) -> Conversation | None:
        async with self._reading:
            if self._at_end:
                return None
            conversation = await anyio.to_thread.run_sync(next, self._conversations, None)
            self._at_end = conversation is None
            return conversation

    async def _import(self, conversation: Conversation) -> None:
        summary = self._summary
        run_id = _run_id(self._file.digest, conversation.conversation_id)
        head = await anyio.to_thread.run_sync(self._bus.log.head, run_id)
        if head is None or not head.closed:
            stored = await self._publish(conversation, run_id)
            summary.events += stored - _length(head)
            summary.shortened += conversation.shortened
        summary.imported += head is None
        summary.completed += head is not None and not head.closed
        summary.present += head is not None and head.closed
        summary.conversations += 1
        summary.messages += conversation.messages

    async def _publish(self, conversation: Conversation, run_id: str) -> int:
        """Publish a conversation's events, those that are stored already without effect; count them."""
        run = await self._start(conversation, run_id)
        ids: dict[str, str] = {}
        for planned in conversation.events:
            event = await self._bus.publish(
                planned.payload,
                run=run,
                turn_id=planned.turn_id,
                key=planned.key,
                causes=[ids[key] for key in planned.causes],
            )
            ids[planned.key] = event.id
        ended = RunCompleted(outcome="completed", reason=_REASON, output=conversation.rest or None)
        end = await self._bus.publish(ended, run=run, key="end")
        return end.seq + 1

    async def _start(self, conversation: Conversation, run_id: str) -> Run:
        try:
            return await self._bus.start_run(
                workflow_id=conversation.conversation_id,
                run_id=run_id,
                kind="import",
                user_id=conversation.user_id,
                started=self._started,
                key="start",
            )
        except ValueError as error:  # a secret, or a name that is reserved; it is not repeated here
            raise MalformedInput(f"{self._file.name}: the id of a conversation", str(error)) from None


def _started(file: ChatFile) -> RunStarted:
    return RunStarted(
        recorder=Software(name="tracebus", version=version("tracebus")),
        capture="imported",
        coverage=[payload.type for payload in _COVERAGE],
        source=ImportSource(name=file.name, digest=file.digest, format=FORMAT, size=file.size),
    )


def _run_id(digest: str, conversation_id: str) -> str:
    prefix = f"import/{digest.removeprefix('sha256:')[:16]}/"
    if is_id(prefix + conversation_id):
        return prefix + conversation_id
    return f"{prefix}sha256-{hashlib.sha256(conversation_id.encode()).hexdigest()[:32]}"


def _length(head: RunHead | None) -> int:
    return 0 if head is None else head.length
