"""A run: one chain of events, and the handle to publish into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypedDict, Unpack

import anyio

from tracebus.errors import NoActiveRun, RunClosed, UnknownRun
from tracebus.event import TraceEvent
from tracebus.events import (
    Interrupted,
    PreviousRun,
    Resumed,
    RunCompleted,
    RunKind,
    RunStarted,
    TurnCompleted,
    TurnStarted,
)

if TYPE_CHECKING:
    from tracebus.bus import TraceEventBus
    from tracebus.eventlog.base import AnyEvent

Outcome = Literal["completed", "failed", "cancelled", "timed_out", "abandoned"]

FINISH_SECONDS: Final = 5.0
"""How long the terminal event may take while an exception or a cancellation is under way."""


_ENDING: Final = frozenset({RunCompleted.type, Interrupted.type})
"""After these `TraceEventBus.run` publishes no terminal event."""


class RunRef(TypedDict, total=False):
    """What another process needs to go on with a run; plain JSON."""

    log: str
    runId: str
    workflowId: str
    tenantId: str


class RunArguments(TypedDict, total=False):
    """How a run begins; `TraceEventBus.start_run` explains it."""

    workflow_id: str | None
    run_id: str | None
    kind: RunKind
    previous: PreviousRun | None
    tenant_id: str | None
    agent_id: str | None
    user_id: str | None
    started: RunStarted | None
    key: str | None


class Run:
    """A handle to an open run. Make it with `TraceEventBus.run`, `start_run` or `resume_run`.

    It may be used from any task and any thread; it holds no place in the chain, which the log keeps.
    `user_id` is whom it is for, as far as the log still says so.
    """

    def __init__(
        self,
        bus: TraceEventBus,
        run_id: str,
        workflow_id: str,
        tenant_id: str | None,
        agent_id: str | None,
        turns: int = 0,
        user_id: str | None = None,
    ) -> None:
        self._bus = bus
        self._turns = turns
        self._ended = False
        self._open_turns: set[str] = set()
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.tenant_id = tenant_id
        self.agent_id = agent_id
        self.user_id = user_id

    @property
    def ref(self) -> RunRef:
        """The run as plain JSON, for another process to give to `resume_run`."""
        ref = RunRef(log=self._bus.log.origin, runId=self.run_id, workflowId=self.workflow_id)
        if self.tenant_id is not None:
            ref["tenantId"] = self.tenant_id
        return ref

    @property
    def ended(self) -> bool:
        """Whether this handle has finished or suspended the run."""
        return self._ended

    @asynccontextmanager
    async def turn(self, turn_id: str | None = None) -> AsyncIterator[str]:
        """A turn: ``turn_started``, then ``turn_completed``; events published inside carry its id.

        Args:
            turn_id: The turn's id; ``t1``, ``t2`` … in the order of the run unless given.
        """
        self._turns += 1
        turn_id = turn_id or f"t{self._turns}"
        with bound(self, turn_id):
            try:
                await self._bus.publish(TurnStarted())
                yield turn_id
                with anyio.CancelScope(shield=True):
                    await self._bus.publish(TurnCompleted(outcome="completed"))
            except BaseException as error:
                await self._end_turn_after(turn_id, error)
                raise

    async def _end_turn_after(self, turn_id: str, error: BaseException) -> None:
        """Publish the end of a turn that an exception makes; it stays the exception that is raised."""
        if self._ended or turn_id not in self._open_turns:
            return
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        with anyio.move_on_after(FINISH_SECONDS, shield=True) as scope:
            try:
                await self._bus.publish(TurnCompleted(outcome="cancelled" if cancelled else "failed"))
            except Exception as ending:
                error.add_note(f"turn {turn_id} has no end: {ending!r}")
        if scope.cancelled_caught:
            error.add_note(f"turn {turn_id}: its end was not confirmed in {FINISH_SECONDS} s")

    async def suspend(
        self, reason: str, *, expires_at: str | None = None, request_id: str | None = None
    ) -> TraceEvent[Interrupted]:
        """Record that the run waits for somebody or something; `TraceEventBus.run` then leaves it open.

        Args:
            reason: What it waits for.
            expires_at: Until when, RFC 3339.
            request_id: The request for approval that it waits for.
        """
        payload = Interrupted(reason=reason, expires_at=expires_at, request_id=request_id)
        return await self._bus.publish(payload, run=self)

    async def finish(
        self, outcome: Outcome = "completed", reason: str | None = None
    ) -> TraceEvent[RunCompleted]:
        """Publish the run's terminal event; nothing can follow it."""
        return await self._bus.publish(RunCompleted(outcome=outcome, reason=reason), run=self)

    async def finish_after(self, error: BaseException) -> None:
        """Publish the terminal event that an exception makes; it stays the exception that is raised.

        A run that has ended, or was suspended, gets none.
        """
        if self.ended:
            return
        outcome: Outcome = "failed"
        if isinstance(error, anyio.get_cancelled_exc_class()):
            outcome = "cancelled"
        elif isinstance(error, TimeoutError):
            outcome = "timed_out"
        with anyio.move_on_after(FINISH_SECONDS, shield=True) as scope:
            try:
                await self.finish(outcome, reason=type(error).__name__)
            except (UnknownRun, RunClosed):
                return  # it never began, or it has ended already
            except Exception as finishing:
                error.add_note(f"run {self.run_id} has no terminal event: {finishing!r}")
        if scope.cancelled_caught:
            error.add_note(f"run {self.run_id}: its terminal event was not confirmed in {FINISH_SECONDS} s")

    def note(self, event: AnyEvent) -> None:
        """Take note that an event was published into the run."""
        self._ended = event.type in _ENDING or (self._ended and event.type != Resumed.type)
        if event.turn_id is not None:
            if event.type == TurnStarted.type:
                self._open_turns.add(event.turn_id)
            elif event.type == TurnCompleted.type:
                self._open_turns.discard(event.turn_id)

    @asynccontextmanager
    async def child(self, **started: Unpack[RunArguments]) -> AsyncIterator[Run]:
        """A run of the same workflow, begun from this one, for as long as the context lasts.

        Its ``run_started`` names this run and the head that it has now. It is for this run's user, and has
        its agent, unless `started`, the arguments of `TraceEventBus.start_run`, names another.
        """
        inherited = RunArguments(
            workflow_id=self.workflow_id,
            tenant_id=self.tenant_id,
            agent_id=self.agent_id,
            user_id=self.user_id,
            kind="child",
            previous=await self._bus.previous_of(self.run_id),
        )
        async with self._bus.run(**inherited | started) as run:
            yield run

    def __repr__(self) -> str:
        return f"<Run {self.run_id} of workflow {self.workflow_id}>"


class _Binding(NamedTuple):
    run: Run
    turn_id: str | None


_bound: ContextVar[_Binding | None] = ContextVar("tracebus_run", default=None)


@contextmanager
def bound(run: Run, turn_id: str | None = None) -> Iterator[Run]:
    """Make a run, and a turn of it, those that `publish` uses in this context."""
    token = _bound.set(_Binding(run, turn_id))
    try:
        yield run
    finally:
        # Entered in one context and left in another, as test fixtures do, there is nothing to restore.
        with suppress(ValueError):
            _bound.reset(token)


def resolve(run: Run | None, turn_id: str | None) -> tuple[Run, str | None]:
    """Return the run and the turn to publish into: those given, else those bound in this context.

    Raises:
        NoActiveRun: None is given, and none is bound.
    """
    binding = _bound.get()
    if run is None:
        if binding is None:
            raise NoActiveRun
        return binding.run, binding.turn_id if turn_id is None else turn_id
    if turn_id is None and binding is not None and binding.run is run:
        turn_id = binding.turn_id
    return run, turn_id
