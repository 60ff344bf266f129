"""What a request may ask for. What would change the answer and is not served is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from draftproof.records import Message
from draftproof.serve.drawing import Drawing
from draftproof.serve.errors import RequestError

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "echo": (False,),
    "suffix": ("",),
}
"""Fields that are served at these values only, at which they change nothing."""
_IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
     "parallel_tool_calls"}
)  # fmt: skip
"""Fields that never change an answer."""


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class _Question(Drawing):
    """What both kinds of request share."""

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    return_token_ids: bool = False


class _TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text"]
    text: str


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str | tuple[_TextPart, ...]
    name: str | None = None

    def message(self) -> Message:
        text = self.content
        if not isinstance(text, str):
            text = "".join(part.text for part in text)
        return Message(self.role, text)


class ChatQuestion(_Question):
    """A body of ``/v1/chat/completions``."""

    messages: tuple[_Turn, ...] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    continue_final_message: bool = False
    logprobs: bool = False
    add_generation_prompt: bool = True

    @property
    def with_logprobs(self) -> bool:
        """Whether each token's log-probability is asked for."""
        return self.logprobs

    def conversation(self) -> tuple[tuple[Message, ...], str]:
        """Return the messages, and the beginning of the answer that the last one gives.

        Raises:
            RequestError: The flags contradict each other or the messages.
        """
        messages = tuple(turn.message() for turn in self.messages)
        if not self.continue_final_message:
            if not self.add_generation_prompt:
                raise RequestError(
                    "without a generation prompt there is nothing to answer; "
                    "set continue_final_message to continue the last message",
                    param="add_generation_prompt",
                )
            return messages, ""
        if self.add_generation_prompt:
            raise RequestError(
                "continue_final_message needs add_generation_prompt to be false",
                param="add_generation_prompt",
            )
        if messages[-1].role != "assistant" or len(messages) < 2:
            raise RequestError(
                "continue_final_message needs a last message of the assistant, after another",
                param="messages",
            )
        return messages[:-1], messages[-1].content


class TextQuestion(_Question):
    """A body of ``/v1/completions``; the prompt is one text, or one list of token ids."""

    prompt: str | tuple[int, ...] | tuple[str, ...] | tuple[tuple[int, ...], ...]
    logprobs: int | None = Field(default=None, ge=0, le=0, strict=True)

    @property
    def with_logprobs(self) -> bool:
        """Whether each token's log-probability is asked for."""
        return self.logprobs is not None

    def one_prompt(self) -> str | tuple[int, ...]:
        """Return the only prompt.

        Raises:
            RequestError: There is none, or more than one.
        """
        prompt = self.prompt
        if isinstance(prompt, str):
            return prompt
        if prompt and isinstance(prompt[0], int):
            return tuple(int(token) for token in prompt if isinstance(token, int))
        if len(prompt) != 1:
            raise RequestError("exactly one prompt is served a request", param="prompt")
        only = prompt[0]
        return only if isinstance(only, str | tuple) else ()


def read_chat(body: Mapping[str, object]) -> ChatQuestion:
    """Return a chat request.

    Raises:
        RequestError: Naming the field and what is wrong with it.
    """
    try:
        return ChatQuestion.model_validate(_served(body))
    except ValidationError as error:
        raise _explained(error) from error


def read_text(body: Mapping[str, object]) -> TextQuestion:
    """Return a completion request.

    Raises:
        RequestError: Naming the field and what is wrong with it.
    """
    try:
        return TextQuestion.model_validate(_served(body))
    except ValidationError as error:
        raise _explained(error) from error


def _served(body: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that are served, after a look at those that must be neutral."""
    for field, values in _NEUTRAL.items():
        value = body.get(field)
        # True == 1 must not let n=true pass
        if value is not None and not any(v == value and type(v) is type(value) for v in values):
            if isinstance(value, float) and value in values:
                continue
            allowed = f"only {values[0]!r} is" if values else "it is not"
            raise RequestError(
                f"{field} is {value!r:.100}; {allowed} served here",
                param=field,
                code="unsupported_value",
            )
    dropped = _NEUTRAL.keys() | _IGNORED
    return {k: v for k, v in body.items() if k not in dropped and v is not None}


def _explained(error: ValidationError) -> RequestError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return RequestError(
            f"{place} is an unknown field that might change the answer; leave it out",
            param=place,
            code="unknown_parameter",
        )
    message = first["msg"].removeprefix("Value error, ")
    return RequestError(f"{place}: {message}", param=place or None)
