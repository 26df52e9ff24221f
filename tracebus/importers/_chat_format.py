r"""OpenAI chat messages, read strictly, and the events that they are.

A line is one conversation::

    {"conversation":"talk-7","user":"u-91","messages":[{"role":"system","content":"You are …"},
     {"role":"user","content":"Cancel my flight"},
     {"role":"assistant","content":null,"tool_calls":[
       {"id":"c1","type":"function","function":{"name":"cancel","arguments":"{\"id\": 4}"}}]},
     {"role":"tool","tool_call_id":"c1","name":"cancel","content":"done"}],"reward":1.0}

==================  ==============================================================================
role                becomes
==================  ==============================================================================
system, developer   ``context_compiled`` with the message
user                ``turn_started`` with the content, and begins the turn t1, t2 …
assistant           ``model_call_completed`` with the content, then a ``tool_proposed`` for each call
tool                ``tool_executed`` with the content, caused by the proposal of its call
==================  ==============================================================================

``user``, which a request to OpenAI has for the person that it is made for, is the run's user id.

Content stays what it is: text is not parsed, except the arguments of a call, which the format says
are JSON; where they are not (or not I-JSON), their text is kept. A message with members beyond these
is recorded as an object of content and those members; a member that is null counts as absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from evidence import canonical
from evidence.errors import MalformedInput
from evidence.header import is_id
from tracebus.events import ContextCompiled, ModelCallCompleted, ToolExecuted, ToolProposed, TurnStarted
from tracebus.free_form import MAX_VALUE_BYTES, free_form
from tracebus.payload import JSON_TEXT, EventPayload
from tracebus.upkeep import RESERVED_PREFIX

_PLAIN_CALL: Final = {"id", "type", "function"}
_PLAIN_FUNCTION: Final = {"name", "arguments"}
_LONGEST_ESCAPE: Final = 6  # a character written as \u0000


@dataclass(frozen=True, slots=True)
class Planned:
    """An event to be published: its payload, its key in the run, the keys of its causes."""

    key: str
    payload: EventPayload
    turn_id: str | None
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as the events that it becomes.

    `user_id` is whom it was held with, if the record says so; `rest` are the members of its object that
    the format does not know; `shortened` counts the values too large for an event, of which the beginning
    and a digest are kept.
    """

    conversation_id: str
    user_id: str | None
    messages: int
    events: list[Planned]
    rest: dict[str, Any]
    shortened: int


def parse_conversation(line: bytes) -> Conversation:
    """Read a line, and plan its events.

    Raises:
        MalformedInput: Not such a conversation; `place` says where within the line.
    """
    record = _object(_loads(line), "")
    conversation_id, messages = record.pop("conversation", None), record.pop("messages", None)
    if not is_id(conversation_id) or conversation_id.startswith(RESERVED_PREFIX):
        expected = f"1-128 printable ASCII characters, not beginning with {RESERVED_PREFIX}"
        _refuse("conversation", expected, conversation_id)
    if not isinstance(messages, list):
        _refuse("messages", "an array of messages", messages)
    user_id = record.pop("user", None)
    if user_id is not None and not _is_unicode(user_id):
        _refuse("user", "text", user_id)
    plan = _Plan()
    for index, message in enumerate(messages):
        plan.add(index, _object(message, f"messages/{index}"))
    # Nothing in a short line can be too long, whatever is escaped in the event.
    may_be_long = len(line) * _LONGEST_ESCAPE > MAX_VALUE_BYTES
    shortened = sum(map(_count_shortened, plan.events)) if may_be_long else 0
    return Conversation(conversation_id, user_id, len(messages), plan.events, record, shortened)


@dataclass(slots=True)
class _Plan:
    """The events of one conversation, message by message."""

    events: list[Planned] = field(default_factory=list)
    turns: int = 0
    proposals: dict[str, tuple[str, str]] = field(default_factory=dict)  # call id to key and tool

    def add(self, index: int, message: dict[str, Any]) -> None:
        """Plan the events of one message.

        Raises:
            MalformedInput: It is not a message of this format.
        """
        place, role = f"messages/{index}", message.get("role")
        plan = self._planners().get(role) if isinstance(role, str) else None
        if plan is None:
            _refuse(f"{place}/role", "system, developer, user, assistant or tool", role)
        _check_content(message, place)
        plan(f"m{index}", message, place)

    def _planners(self) -> dict[str, Callable[[str, dict[str, Any], str], None]]:
        return {
            "system": self._add_system,
            "developer": self._add_system,
            "user": self._add_user,
            "assistant": self._add_assistant,
            "tool": self._add_tool,
        }

    def _publish(self, key: str, payload: EventPayload, *causes: str) -> None:
        turn_id = f"t{self.turns}" if self.turns else None
        self.events.append(Planned(key, payload, turn_id, causes))

    def _add_system(self, key: str, message: dict[str, Any], place: str) -> None:
        self._publish(key, ContextCompiled(messages=[message], message_count=1))

    def _add_user(self, key: str, message: dict[str, Any], place: str) -> None:
        self.turns += 1
        self._publish(key, TurnStarted(index=self.turns - 1, input=_said(message, {"role"})))

    def _add_assistant(self, key: str, message: dict[str, Any], place: str) -> None:
        calls = _tool_calls(message, f"{place}/tool_calls")
        recorded = {"role", "tool_calls"} if all(map(_is_plain, calls)) else {"role"}
        refused = message.get("refusal") is not None
        answer = ModelCallCompleted(status="refused" if refused else "ok", response=_said(message, recorded))
        self._publish(key, answer)
        for number, call in enumerate(calls):
            self._add_call(f"{key}/{number}", call, key)

    def _add_call(self, key: str, call: dict[str, Any], cause: str) -> None:
        function = call["function"]
        arguments = _read_arguments(function.get("arguments"))
        self._publish(
            key, ToolProposed(tool=function["name"], call_id=call["id"], arguments=arguments), cause
        )
        self.proposals[call["id"]] = key, function["name"]

    def _add_tool(self, key: str, message: dict[str, Any], place: str) -> None:
        call_id = message.get("tool_call_id")
        if call_id is not None and not isinstance(call_id, str):
            _refuse(f"{place}/tool_call_id", "text", call_id)
        proposal, proposed = self.proposals.get(call_id or "", (None, None))
        tool = proposed if message.get("name") is None else message["name"]
        if not isinstance(tool, str):
            _refuse(f"{place}/name", "the tool's name, as no earlier call has this tool_call_id", tool)
        result = _said(message, {"role", "tool_call_id", "name"})
        executed = ToolExecuted(tool=tool, call_id=call_id, result=result)
        self._publish(key, executed, *([proposal] if proposal else []))


def _said(message: dict[str, Any], recorded: set[str]) -> Any:
    """Return a message's content; with it, in an object, what else is recorded nowhere."""
    rest = {name: value for name, value in message.items() if name not in recorded and value is not None}
    return rest.get("content") if rest.keys() <= {"content"} else rest


def _read_arguments(text: Any) -> Any:
    """Return a call's arguments: the object that they are the JSON of, else what was there."""
    if not isinstance(text, str):
        return text
    try:
        value = canonical.loads(text.encode())
    except (MalformedInput, UnicodeEncodeError):
        return text
    return value if isinstance(value, dict) else text


def _is_plain(call: dict[str, Any]) -> bool:
    """Tell whether a call says nothing that its proposal does not say."""
    return call.keys() <= _PLAIN_CALL and call["function"].keys() <= _PLAIN_FUNCTION


def _count_shortened(planned: Planned) -> int:
    values = (getattr(planned.payload, member.attribute, None) for member in planned.payload.members())
    stored = ((value, free_form(value)) for value in values)
    return sum(
        kept is not value and isinstance(kept, dict) and JSON_TEXT in kept and "truncated" in kept
        for value, kept in stored
    )


# Reading


def _loads(line: bytes) -> Any:
    """Read JSON of any numbers and strings, for what they are is the source's; names stand once."""
    try:
        return json.loads(
            line.decode(),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise MalformedInput(f"byte {error.start}", "not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedInput(f"character {error.pos}", f"not JSON: {error.msg}") from None
    except ValueError as error:
        raise MalformedInput("", f"not JSON: {error}") from None
    except RecursionError:
        raise MalformedInput("", "not JSON that can be read: nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {doubled!r:.80} stands twice in an object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"the number {text:.40} is beyond the range of a double")
    return value


def _is_unicode(value: Any) -> bool:
    """Tell whether a value is text without lone surrogates."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(place, "an object", value)
    return value


def _tool_calls(message: dict[str, Any], place: str) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list):
        _refuse(place, "an array of tool calls", calls)
    return list(_checked_calls(calls, place))


def _checked_calls(calls: list[Any], place: str) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(calls):
        at = f"{place}/{index}"
        function = _object(_object(call, at).get("function"), f"{at}/function")
        for where, value in ((f"{at}/id", call.get("id")), (f"{at}/function/name", function.get("name"))):
            if not isinstance(value, str):
                _refuse(where, "text", value)
        yield call


def _check_content(message: dict[str, Any], place: str) -> None:
    """Check that there is content: text, null, or the parts of a message that is not only text."""
    content = message.get("content")
    if "content" not in message and message["role"] != "assistant":
        raise MalformedInput(place, "content is missing")
    if content is not None and not isinstance(content, str | list):
        _refuse(f"{place}/content", "text, null or an array of parts", content)


def _refuse(place: str, expected: str, found: Any) -> NoReturn:
    raise MalformedInput(
        place, f"expected {expected}, found {'nothing' if found is None else f'{found!r:.80}'}"
    )
