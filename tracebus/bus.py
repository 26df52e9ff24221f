"""The bus: what a runtime publishes events with.

    async with TraceEventBus(SqliteEventLog("trace.db"), sinks=[JsonlSink("events.jsonl")]) as bus:
        async with bus.run(workflow_id="transfer-42", tenant_id="acme") as run:
            event = await bus.publish(ToolProposed(tool="wire", call_id="c1", arguments={"amount": 5000}))

Publish validates and canonicalises in the caller's task, appends durably by the writer's thread, and
only then returns the sealed event and offers it to sinks. Whoever awaits it before acting has the
event sealed before the act.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, TypeVar, Unpack, overload

import anyio
import anyio.to_thread

from tracebus.alarm import OnAlarm, log_alarm
from tracebus.anchor.schedule import Anchoring
from tracebus.committed import Committer
from tracebus.confirmation import Confirmation
from tracebus.delivery import Delivery, DeliveryStatus
from tracebus.drafting import HeaderArguments, draft_event, draft_start
from tracebus.errors import BusClosed, RunClosed, UnknownRun
from tracebus.event import TraceEvent
from tracebus.eventlog.base import AnyEvent, Draft, EventLog, EventQuery
from tracebus.events import IdentitySource, PreviousRun, Resumed, RunCompleted, RunStarted
from tracebus.losses import FAIL_OPEN, Losses
from tracebus.metrics import Metrics
from tracebus.payload import EventPayload, UntypedPayload
from tracebus.run import Run, RunArguments, RunRef, bound
from tracebus.secret_reports import add_reports, without_reports
from tracebus.secret_scanner import DEFAULT_SCANNER, SecretScanner
from tracebus.sink import Sink
from tracebus.subscription import Subscription
from tracebus.writer import Counts, Writer

P = TypeVar("P", bound=EventPayload)

_PAGE: Final = 500


class TraceEventBus:
    """Publishes events into an event log, and passes them on to sinks.

    Use it as an async context manager, in asyncio or trio. Inside, any task and any thread may
    publish. Leaving it appends what is queued, gives sinks `drain_timeout` seconds to take what is
    left, and closes the log, which opens again when it is used.

    Args:
        log: The event log.
        sinks: Where events go after the log. Each has its own buffer, task and pace; a `Subscription`
            says of a sink that publish waits for it, or what happens when it falls behind.
        drain_timeout: How long leaving waits for sinks, in seconds. A durable sink gets the rest at
            the next start, another one loses it.
        fail_open: The event types that go unrecorded, instead of raising, when the log cannot be
            written (ADR 0010). ``()`` has all raise.
        on_alarm: Called, in the writer's thread, when the log fails or recovers and when a sink
            drops events, and in another one when anchoring fails; it may not block. Alarms are logged
            unless it is given.
        anchoring: When the log's checkpoints are signed and brought to anchors, beside all this; never
            unless given.
        sensitive: What is sensitive besides the members that classes mark (ADR 0015): patterns such as
            ``*:iban`` or ``tool_executed:result/passengers/*/dob``. It leaves the payload as a salted digest.
        plain: What is not sensitive although its class marks it: patterns such as ``tool_*:/arguments``.
        secret_scanner: Replaces credentials by markers before anything is recorded, each with a
            `SecretDetected` beside its event (ADR 0017). None records what it is given.
    """

    def __init__(
        self,
        log: EventLog,
        sinks: Iterable[Sink | Subscription] = (),
        *,
        drain_timeout: float = 10.0,
        fail_open: Collection[str] = FAIL_OPEN,
        on_alarm: OnAlarm = log_alarm,
        anchoring: Anchoring | None = None,
        sensitive: Collection[str] = (),
        plain: Collection[str] = (),
        secret_scanner: SecretScanner | None = DEFAULT_SCANNER,
    ) -> None:
        if isinstance(log, str | os.PathLike):
            raise TypeError(f"log: expected an event log, such as SqliteEventLog({os.fspath(log)!r})")
        if isinstance(fail_open, str):
            raise TypeError(f"fail_open: expected a collection of event types, found {fail_open!r:.80}")
        self.log = log
        self.committer = Committer(sensitive, plain, secret_scanner)
        self._secret_scanner = secret_scanner
        self._subscriptions = tuple(
            sink if isinstance(sink, Subscription) else Subscription(sink) for sink in sinks
        )
        self._drain_timeout = drain_timeout
        self._fail_open = frozenset(fail_open)
        self._on_alarm = on_alarm
        self._anchoring = anchoring
        self._deliveries: tuple[Delivery, ...] = ()
        self._attended: tuple[Delivery, ...] = ()
        self._open_writer: Writer | None = None
        self._counts = Counts()
        self._exit = AsyncExitStack()
        names = [subscription.sink.name for subscription in self._subscriptions]
        if len(set(names)) < len(names):
            raise ValueError(f"sinks: expected different names, found {names}")

    async def __aenter__(self) -> TraceEventBus:
        if self._open_writer is not None:
            raise RuntimeError("the bus is open already")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close_log)
            await anyio.to_thread.run_sync(self._open_log)
            writer = Writer(self.log, self._offer, Losses(self._fail_open), self._on_alarm)
            stack.callback(writer.stop)
            self._counts = writer.counts
            self._deliveries = tuple(Delivery(each, self.log, writer) for each in self._subscriptions)
            self._attended = tuple(each for each in self._deliveries if each.subscription.is_attended)
            for delivery in self._deliveries:
                await delivery.start()
            if self._anchoring is not None:
                anchoring = self._anchoring.beside(self.log, self._on_alarm, self._drain_timeout)
                await stack.enter_async_context(anchoring)
            stack.push_async_callback(self._close_sinks, writer)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            for delivery in self._deliveries:
                tasks.start_soon(delivery.run, name=f"tracebus sink {delivery.sink.name}")
            stack.push_async_callback(self._stop, writer)
            self._exit = stack.pop_all()
        self._open_writer = writer
        return self

    def _open_log(self) -> None:
        if self._secret_scanner is not None:
            self._secret_scanner.prepare()
        self.log.open()
        self.log.append(())  # a log that cannot be written is noticed here, not by the first event

    async def _close_log(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.log.close)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What was raised inside is not shown to the task group, which would wrap it into a group.
        await self._exit.aclose()

    async def _stop(self, writer: Writer) -> None:
        """Append what is queued, deliver what is stored, and have the tasks of the sinks end."""
        self._open_writer = None
        try:
            with anyio.CancelScope(shield=True):
                # A limiter of its own: publishers that wait for a sink may hold all other threads.
                await anyio.to_thread.run_sync(writer.flush, limiter=anyio.CapacityLimiter(1))
                with anyio.move_on_after(self._drain_timeout):
                    await self._drain()
        finally:
            for delivery in self._deliveries:
                delivery.cancel()

    async def _close_sinks(self, writer: Writer) -> None:
        """Store the cursors, end the writer's thread, close the sinks, of which none is writing any more."""
        with anyio.CancelScope(shield=True):
            for delivery in self._deliveries:
                delivery.stop()
            await anyio.to_thread.run_sync(writer.close, limiter=anyio.CapacityLimiter(1))
            for delivery in self._deliveries:
                with anyio.move_on_after(self._drain_timeout):
                    await delivery.aclose()

    async def _drain(self) -> None:
        async with anyio.create_task_group() as waiting:
            for delivery in self._deliveries:
                waiting.start_soon(delivery.drain)

    def _offer(self, events: list[AnyEvent]) -> None:
        for delivery in self._deliveries:
            delivery.offer(events)

    @property
    def _writer(self) -> Writer:
        if self._open_writer is None:
            raise BusClosed
        return self._open_writer

    @property
    def sinks(self) -> tuple[DeliveryStatus, ...]:
        """How each sink is doing."""
        return tuple(delivery.status for delivery in self._deliveries)

    @property
    def metrics(self) -> Metrics:
        """What the bus has done since it was opened, and how it is doing; cheap enough to poll."""
        counts = self._counts
        return Metrics(
            committed=counts.committed,
            refused=counts.refused,
            unrecorded=counts.unrecorded,
            withdrawn=counts.withdrawn,
            published=counts.submitted,  # read last of these: no more was settled than was published
            batches=counts.batches,
            last_batch=counts.last_batch,
            largest_batch=counts.largest_batch,
            sinks=self.sinks,
        )

    # Publishing

    @overload
    async def publish(
        self, payload: P, *, run: Run | None = None, **header: Unpack[HeaderArguments]
    ) -> TraceEvent[P]: ...

    @overload
    async def publish(
        self,
        payload: Mapping[str, Any],
        *,
        type: str,
        run: Run | None = None,
        **header: Unpack[HeaderArguments],
    ) -> TraceEvent[UntypedPayload]: ...

    async def publish(
        self,
        payload: Any,
        *,
        type: str | None = None,
        run: Run | None = None,
        **header: Unpack[HeaderArguments],
    ) -> TraceEvent[Any]:
        """Append an event durably; return it sealed.

        When it returns a sealed event, that is in the log for good. When it raises, the event is not
        in the log, unless the error is `SinkUnconfirmed`, which says so, or `AppendUnknown`, or the task
        was cancelled: then publish it again with the same key, and the stored event comes back.

        Args:
            payload: What happened; or a dict, with a type of your own.
            type: The type of a dict, with a dot in it: ``acme.refund_issued``.
            run: The run; the one bound in this context if None.
            turn_id: The turn; the one bound in this context if None.
            key: Your idempotency key, unique in the run, 1-128 printable ASCII characters. It is not
                erasable: put nothing personal into it.
            causes: Events that led to this one, or their ids; at most 64.
            risk: ``low``, ``medium``, ``high`` or ``critical``.
            occurred_at: When the source says it happened: a datetime with a zone, or RFC 3339.
            agent_id: The agent that acted, if it is not the run's.

        Raises:
            NoActiveRun: No run is given, and none is bound.
            PublishError: The log refused it (`RunClosed`, `KeyConflict` …), or the bus is closed.
            EventLogUnavailable: The log cannot be written now. Of a type in `fail_open`, an
                `UnrecordedEvent` is returned instead, and a gap recorded later.
            AppendUnknown: It cannot be told whether the event is in the log.
            SinkUnconfirmed: The event is durable, but a required sink has not confirmed it.
            ValueError, TypeError, NotCanonicalizable: The payload or an argument cannot be taken, or an
                argument is a secret.
        """
        run, draft = draft_event(self.committer, payload, type, run, **header)
        (event,) = await self._append([draft], run)
        return event

    async def _append(self, drafts: list[Draft], run: Run) -> list[AnyEvent]:
        """Append a group, and wait for the sinks that publish has to wait for.

        What it returns is the publisher's: reports of secrets are stored with it, and left out.
        """
        group = add_reports(drafts, run, self._secret_scanner)
        writer, confirmations = self._writer, self._admit(blocking=False)
        try:
            events = await writer.append(group, run.note, confirmations)
            for confirmation in confirmations:
                await confirmation.wait()
        finally:
            for confirmation in confirmations:
                confirmation.forget()
        return without_reports(group, events)

    def _append_sync(self, drafts: list[Draft], run: Run) -> list[AnyEvent]:
        """Do as `_append` in a thread, blocking it."""
        group = add_reports(drafts, run, self._secret_scanner)
        writer, confirmations = self._writer, self._admit(blocking=True)
        try:
            events = writer.append_sync(group, run.note, confirmations)
            for confirmation in confirmations:
                confirmation.wait_sync()
        finally:
            for confirmation in confirmations:
                confirmation.forget()
        return without_reports(group, events)

    def _admit(self, *, blocking: bool) -> list[Confirmation]:
        return [delivery.admit(blocking=blocking) for delivery in self._attended]

    @overload
    def publish_sync(
        self, payload: P, *, run: Run | None = None, **header: Unpack[HeaderArguments]
    ) -> TraceEvent[P]: ...

    @overload
    def publish_sync(
        self,
        payload: Mapping[str, Any],
        *,
        type: str,
        run: Run | None = None,
        **header: Unpack[HeaderArguments],
    ) -> TraceEvent[UntypedPayload]: ...

    def publish_sync(
        self,
        payload: Any,
        *,
        type: str | None = None,
        run: Run | None = None,
        **header: Unpack[HeaderArguments],
    ) -> TraceEvent[Any]:
        """Do as `publish`, from any thread, and block it until the event is durable.

        In an event loop's own thread this stops the loop for as long: there, prefer `publish`.
        """
        run, draft = draft_event(self.committer, payload, type, run, **header)
        (event,) = self._append_sync([draft], run)
        return event

    async def publish_many(
        self,
        payloads: Iterable[EventPayload | tuple[EventPayload, HeaderArguments]],
        *,
        run: Run | None = None,
    ) -> list[AnyEvent]:
        """Append several events of one run, in this order, all or none; return them sealed.

        Args:
            payloads: What happened; beside a payload, in a tuple, may stand a dict of what `publish`
                takes: ``(payload, {"key": "m1", "turn_id": "t1"})``.
            run: The run; the one bound in this context if None.

        Raises:
            As `publish`.
        """
        items = [item if isinstance(item, tuple) else (item, HeaderArguments()) for item in payloads]
        drafts = [draft_event(self.committer, payload, None, run, **header) for payload, header in items]
        return await self._append([draft for _, draft in drafts], drafts[0][0]) if drafts else []

    # Reading

    async def query(self, query: EventQuery) -> AsyncIterator[AnyEvent]:
        """Yield events of the log in the order of their positions, without blocking the event loop.

        Raises:
            EventLogUnavailable: The log cannot be read now.
        """
        left = query.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            events = await anyio.to_thread.run_sync(self._read, replace(query, limit=size))
            for event in events:
                yield event
            if len(events) < size:
                return
            query = replace(query, after=events[-1].position or query.after)
            left = None if left is None else left - size

    def _read(self, query: EventQuery) -> list[AnyEvent]:
        return list(self.log.query(query))

    # Runs

    async def start_run(self, **started: Unpack[RunArguments]) -> Run:
        """Begin a run, and return the handle to it. Whoever begins it this way has to finish it.

        Args:
            workflow_id: The workflow; the run's own id if None.
            run_id: The run's id, unique in the log; a new one if None.
            kind: ``new``, ``retry``, ``resume``, ``child``, ``import`` or ``maintenance``.
            previous: The run that this one follows from (`previous_of`).
            tenant_id: The workflow's tenant.
            agent_id: The agent that acts; goes into every event of the run.
            user_id: On whose behalf; a sensitive member of ``run_started``, and in the log's index.
            started: More to say about the run's beginning. `kind`, `previous` and `user_id` are
                taken from it where they are not given.
            key: An idempotency key: to begin the same run again gives the handle to it.

        Raises:
            RunExists: The log has the run already.
            PublishError, EventLogUnavailable, AppendUnknown, ValueError: As `publish`.
        """
        run, draft = draft_start(self, **started)
        await self._append([draft], run)
        return run

    async def resume_run(
        self,
        run: str | RunRef,
        *,
        responder: str | None = None,
        identity_source: IdentitySource | None = None,
        reason: str | None = None,
    ) -> Run:
        """Go on with an open run, also in another process and days later; emits ``resumed``.

        Args:
            run: The run's id, or its `ref`.
            responder: Who or what made it go on.
            identity_source: How the responder's identity is known.
            reason: Why.

        Raises:
            UnknownRun: The log has no such run.
            RunClosed: It has ended.
        """
        run_id = run if isinstance(run, str) else run["runId"]
        resumed = await anyio.to_thread.run_sync(self._find_run, run_id)
        payload = Resumed(responder=responder, identity_source=identity_source, reason=reason)
        await self.publish(payload, run=resumed)
        return resumed

    async def abandon_run(self, run_id: str, *, reason: str | None = None) -> TraceEvent[RunCompleted]:
        """Close a run that nobody will go on with, such as one whose process died.

        Raises:
            UnknownRun: The log has no such run.
            RunClosed: It has ended.
        """
        run = await anyio.to_thread.run_sync(self._find_run, run_id)
        return await run.finish("abandoned", reason)

    def _find_run(self, run_id: str) -> Run:
        head = self.log.head(run_id)
        if head is None:
            raise UnknownRun(run_id, "the log has no such run")
        if head.closed:
            raise RunClosed(run_id, f"ended at seq {head.seq}; start a new run of the workflow")
        (first,) = self.log.query(EventQuery(run_id=run_id, limit=1))
        turns = sum(1 for _ in self.log.query(EventQuery(run_id=run_id, types=("turn_started",))))
        user_id = first.payload.user_id if isinstance(first.payload, RunStarted) else None
        return Run(self, run_id, head.workflow_id, head.tenant_id, first.agent_id, turns, user_id)

    async def previous_of(self, run_id: str) -> PreviousRun:
        """Return what a run that follows from this one says of it: run, seq and event hash.

        Raises:
            UnknownRun: The log has no such run.
        """
        head = await anyio.to_thread.run_sync(self.log.head, run_id)
        if head is None:
            raise UnknownRun(run_id, "the log has no such run")
        return PreviousRun(run_id=head.run_id, seq=head.seq, event_hash=head.event_hash)

    @asynccontextmanager
    async def run(self, **started: Unpack[RunArguments]) -> AsyncIterator[Run]:
        """A run for as long as the context lasts: begins it, binds it, and publishes its end.

        The terminal event says ``completed``; after an exception ``failed``, after a `TimeoutError`
        ``timed_out``, after a cancellation ``cancelled``. It is published then too, shielded, and given
        up after five seconds, unless the log is appending it just then. A run that was suspended or
        finished inside, by the methods or by publishing `Interrupted` or `RunCompleted`, gets none.

        Args:
            started: The arguments of `start_run`.

        Raises:
            As `start_run`, and whatever is raised inside.
        """
        run, draft = draft_start(self, **started)
        try:
            await self._append([draft], run)
            with bound(run):
                yield run
            if not run.ended:
                await run.finish()
        except BaseException as error:
            await run.finish_after(error)
            raise

    def bind(self, run: Run) -> AbstractContextManager[Run]:
        """Make a run the one that `publish` uses in this context; begins and ends nothing."""
        return bound(run)
