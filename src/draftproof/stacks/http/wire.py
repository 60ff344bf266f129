"""The OpenAI-compatible protocol: what is sent, and what may be believed of what comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from httpx_sse import EventSource

from draftproof.recorded.message import (
    FINISH_REASONS,
    ChatMessage,
    MessageError,
    MessagePieces,
    read_message,
)
from draftproof.records import CHAT_CHANNELS, TEXT_CHANNELS, Channel, Prompt, Speculation
from draftproof.stacks.base import messages_of, plain_text, seed_of
from draftproof.stacks.http.telemetry import UnknownCountersError, speculation_of
from draftproof.stacks.spec import ArmSpec

_BROKEN_OFF = frozenset({"abort", "error", "cancelled"})
_KEPT_OF_A_STREAM = ("metrics", "timings", "usage", "sglext", "meta_info")


class FaultError(Exception):
    """An attempt that failed for a reason that another attempt may not meet.

    Attributes:
        retry_after: Seconds that the server asks to wait, None where it does not say.
        unreachable: Whether there was no connection at all.
    """

    def __init__(
        self, text: str, *, retry_after: float | None = None, unreachable: bool = False
    ) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole and well-formed response with exactly one answer."""

    id: str
    model: str
    message: ChatMessage
    channels: tuple[Channel, ...]
    finish_reason: str
    token_ids: tuple[int, ...] | None
    provenance: str | None
    speculation: Speculation | None
    unknown_counters: str | None
    system_fingerprint: str | None = None


def question(spec: ArmSpec, prompt: Prompt) -> dict[str, object]:
    """Return the part of a request's body that carries the prompt.

    The completions API takes text: the messages' contents, one a paragraph, as the local decoder
    feeds a model without a chat template.
    """
    messages = messages_of(prompt)
    if spec.api == "completions":
        return {"prompt": plain_text(messages, prompt.prefill)}
    return continued(messages, prompt.prefill) if prompt.prefill else {"messages": messages}


def continued(messages: list[dict[str, str]], beginning: str) -> dict[str, object]:
    """Return the part of a chat request whose answer goes on from a beginning."""
    return {
        "messages": [*messages, {"role": "assistant", "content": beginning}],
        "add_generation_prompt": False,
        "continue_final_message": True,
    }


def request_body(spec: ArmSpec, prompt: Prompt, model: str) -> dict[str, object]:
    """Return a request's body."""
    body: dict[str, object] = {
        "model": model,
        **question(spec, prompt),
        "temperature": spec.temperature,
        spec.limit_field: spec.max_new_tokens,
        "stream": spec.stream,
        **spec.extra_body,
    }
    if spec.stream:
        body.setdefault("stream_options", {"include_usage": True})
    if spec.temperature > 0:
        body["seed"] = seed_of(spec, prompt, 28)
    return body


def read_reply(body: bytes, spec: ArmSpec) -> Reply:
    """Read a response, whole or streamed.

    Raises:
        FaultError: It is not whole, not well-formed, or holds other than one answer.
    """
    if not body.strip():
        raise FaultError("the body is empty")
    document = _joined(body, spec.api) if spec.stream else _object(body, "the body")
    if document.get("error"):
        raise FaultError(f"an error came as an answer: {_short(document['error'])}")
    choices = document.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        count = len(choices) if isinstance(choices, list) else 0
        raise FaultError(f"one answer was asked for, but the response holds {count} choices")
    choice = choices[0]
    if choice.get("index", 0) != 0:
        raise FaultError(f"the only choice has index {_short(choice.get('index'))}")
    try:
        message = read_message(
            choice.get("message") if spec.api == "chat" else {"content": choice.get("text", 0)}
        )
    except MessageError as error:
        raise FaultError(str(error)) from error
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason in _BROKEN_OFF:
        raise FaultError(f"the answer was broken off (finish_reason {reason!r})")
    speculation, unknown = None, None
    try:
        speculation = speculation_of(document)
    except UnknownCountersError as error:
        unknown = str(error)
    return Reply(
        id=_name(document, "id"),
        model=_name(document, "model"),
        message=message,
        channels=CHAT_CHANNELS if spec.api == "chat" else TEXT_CHANNELS,
        finish_reason=FINISH_REASONS.get(reason, "unknown"),
        token_ids=_token_ids(choice.get("token_ids")) or _verbose_ids(document),
        provenance=_provenance(choice.get("provenance")),
        speculation=speculation,
        unknown_counters=unknown,
        system_fingerprint=_system_fingerprint(document.get("system_fingerprint")),
    )


def _joined(body: bytes, api: str) -> dict[str, object]:
    """Put the chunks of a stream together as if it had come whole."""
    document: dict[str, object] = {}
    pieces = MessagePieces()
    tokens: list[object] = []
    provenance = ""
    reason = None
    ended = False
    for data in _events(body):
        if ended:
            raise FaultError("the stream goes on after its end")
        if data == "[DONE]":
            ended = True
            continue
        chunk = _object(data, "a chunk")
        if chunk.get("error"):
            raise FaultError(f"the stream reports an error: {_short(chunk['error'])}")
        if isinstance(chunk.get("system_fingerprint"), str):
            document["system_fingerprint"] = chunk["system_fingerprint"]
        for field in ("id", "model"):
            value = chunk.get(field)
            if value and document.setdefault(field, value) != value:
                raise FaultError(f"the stream changes its {field} from one chunk to the next")
        document |= {k: chunk[k] for k in _KEPT_OF_A_STREAM if chunk.get(k) is not None}
        choices = chunk.get("choices") or []
        if (
            not isinstance(choices, list)
            or len(choices) > 1
            or any(not isinstance(c, dict) or c.get("index", 0) for c in choices)
        ):
            raise FaultError("one answer was asked for, but the stream holds 2 choices or more")
        for choice in choices:
            if reason is not None:
                raise FaultError("the stream goes on after its finish_reason")
            try:
                chat = api == "chat"
                pieces.add(choice.get("delta") if chat else {"content": choice.get("text")})
            except MessageError as error:
                raise FaultError(str(error)) from error
            ids = choice.get("token_ids") or _verbose_ids(chunk) or ()
            # what is no list of ids is left for the check of the whole
            tokens += ids if isinstance(ids, list | tuple) else [ids]
            provenance += str(choice.get("provenance") or "")
            reason = choice.get("finish_reason")
    if not ended or reason is None:
        raise FaultError("the stream was cut off before its end")
    message = pieces.message()
    choice = {"index": 0, "finish_reason": reason, "token_ids": tokens or None}
    choice |= {"message": message} if api == "chat" else {"text": message["content"] or ""}
    return {**document, "choices": [choice | {"provenance": provenance or None}]}


def _events(body: bytes) -> list[str]:
    """Return the data of a whole stream's events; one that was cut off is the last."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FaultError(f"the stream is no UTF-8: {error}") from error
    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    # an event ends with an empty line, which a stream may leave out at its very end
    response = httpx.Response(200, headers=headers, content=body + b"\n\n")
    return [event.data.strip() for event in EventSource(response).iter_sse() if event.data]


def _object(body: bytes | str, what: str) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FaultError(f"{what} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise FaultError(f"{what} is no JSON object")
    return document


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:300] + "…"


def _name(document: Mapping[str, object], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value:
        raise FaultError(f"the response has no {field}")
    return value


def _system_fingerprint(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _token_ids(value: object) -> tuple[int, ...] | None:
    if isinstance(value, list) and value and all(type(v) is int for v in value):
        return tuple(value)
    return None


def _verbose_ids(document: Mapping[str, object]) -> tuple[int, ...] | None:
    """Return the ids that llama.cpp puts beside the answer."""
    verbose = document.get("__verbose")
    return _token_ids(verbose.get("tokens")) if isinstance(verbose, dict) else None


def _provenance(value: object) -> str | None:
    return value if isinstance(value, str) and value and not value.strip("dcbp") else None


def error_text(body: bytes, status: int) -> str:
    """Return what a response with an error status says, shortened."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return f"HTTP {status}"
    error = document.get("error", document) if isinstance(document, dict) else document
    message = error.get("message", error) if isinstance(error, dict) else error
    return f"HTTP {status}: {_short(message)}"
