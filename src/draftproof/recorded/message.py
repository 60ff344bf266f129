"""A chat message of an OpenAI-compatible server, whole or in pieces, as channels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from draftproof.records import ToolCall

FINISH_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
}
"""Servers' words for why an answer ended, and ours; another word is ``unknown``."""


class MessageError(ValueError):
    """A message that is not of the protocol's form."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """What an assistant's message holds; see `Completion` for the channels."""

    text: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    refusal: str | None = None


def read_message(message: object) -> ChatMessage:
    """Read an assistant's message.

    Content that is null is no text; beside a tool call, a refusal or reasoning that is a whole
    answer, and alone it is an empty one.

    Args:
        message: With ``content`` (a string, null or a list of text parts), ``reasoning_content``
            or ``reasoning``, ``tool_calls`` (or the older ``function_call``) and ``refusal``.

    Raises:
        MessageError: It is no object, holds none of these, or one of another kind.
    """
    if not isinstance(message, Mapping):
        raise MessageError("the choice holds no message")
    calls = message.get("tool_calls")
    if not calls and message.get("function_call"):
        calls = [{"function": message["function_call"]}]
    reasoning = message.get("reasoning_content")
    if reasoning is None and isinstance(message.get("reasoning"), str | None):
        reasoning = message.get("reasoning")
    refusal = message.get("refusal")
    if "content" not in message and not (calls or reasoning or refusal):
        raise MessageError("the message holds no text (content)")
    return ChatMessage(
        text=_text(message.get("content")),
        reasoning=_string(reasoning, "reasoning_content"),
        tool_calls=read_tool_calls(calls),
        refusal=_string(refusal, "refusal"),
    )


def _text(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping)]
        if len(parts) == len(content) and all(isinstance(p, str) for p in parts):
            return "".join(map(str, parts))
    raise MessageError(f"content must be a string, null or text parts, found {_kind(content)}")


def _string(value: object, field: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise MessageError(f"{field} must be a string, found {_kind(value)}")


def _kind(value: object) -> str:
    return type(value).__name__


def read_tool_calls(calls: object) -> tuple[ToolCall, ...] | None:
    """Read the tool calls of a message; None where there are none.

    Arguments stay as they were written. A server that parsed them (an object in place of a
    string) has lost their spelling; its keys are written out in its own order.

    Raises:
        MessageError: Not a list of calls with a name.
    """
    if not calls:
        return None
    if not isinstance(calls, list):
        raise MessageError(f"tool_calls must be a list, found {_kind(calls)}")
    read = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str):
            raise MessageError("a tool call has no function name")
        arguments = function.get("arguments", "")
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        read.append(ToolCall(name=name, arguments=arguments))
    return tuple(read)


class MessagePieces:
    """Puts the deltas of a stream together to a message."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, delta: object) -> None:
        """Add one delta.

        Raises:
            MessageError: A piece is of another kind than the protocol's.
        """
        if delta is None:
            return
        if not isinstance(delta, Mapping):
            raise MessageError(f"a chunk holds no text but {_kind(delta)}")
        for field in ("content", "reasoning_content", "reasoning", "refusal"):
            piece = delta.get(field)
            if isinstance(piece, str):
                self._pieces.setdefault(field, []).append(piece)
            elif piece is not None:
                raise MessageError(f"a chunk holds no text: {field} is {_kind(piece)}")
        calls = delta.get("tool_calls") or []
        if not isinstance(calls, Sequence):
            raise MessageError("tool_calls of a chunk is no list")
        if delta.get("function_call"):
            calls = [{"index": 0, "function": delta["function_call"]}]
        for place, call in enumerate(calls):
            self._add_call(place, call)

    def _add_call(self, place: int, call: object) -> None:
        if not isinstance(call, Mapping):
            raise MessageError("a tool call of a chunk is no object")
        index, function = call.get("index", place), call.get("function") or {}
        if type(index) is not int or not isinstance(function, Mapping):
            raise MessageError("a tool call of a chunk has no index or no function")
        so_far = self._calls.setdefault(index, {"name": "", "arguments": ""})
        for field in so_far:
            piece = function.get(field)
            if piece is None:
                continue
            if not isinstance(piece, str):
                raise MessageError(f"{field} of a tool call is no string but {_kind(piece)}")
            so_far[field] += piece

    def message(self) -> dict[str, Any]:
        """Return the message as if it had come whole."""
        whole: dict[str, Any] = {name: "".join(p) for name, p in self._pieces.items()}
        whole.setdefault("content", None)
        if self._calls:
            whole["tool_calls"] = [{"function": self._calls[i]} for i in sorted(self._calls)]
        return whole
