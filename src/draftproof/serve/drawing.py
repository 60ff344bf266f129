"""How a request wants its answer drawn, in the protocol's own fields."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from draftproof.decoding.options import Options
from draftproof.records import DraftproofError
from draftproof.serve.errors import RequestError

_MAX_STOPS = 16
_MAX_STOP = 256
_MAX_BIASES = 1024
_SHAPING = ("top_p", "top_k", "min_p", "min_tokens", "repetition_penalty")
_NAMES = {"min_tokens": "min_new_tokens"}
"""What transformers calls a field."""


class _Schema(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    document: Mapping[str, object] = Field(alias="schema")


class _Format(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None

    def schema_of_answer(self) -> Mapping[str, object] | None:
        """Return what the answer must be; None if it may be anything."""
        if self.type == "json_object":
            return {"type": "object"}
        return self.json_schema.document if self.json_schema else None

    @model_validator(mode="after")
    def _has_a_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema, and is needed there")
        return self


class Drawing(BaseModel):
    """The fields that decide about the answer's tokens.

    ``top_k``, ``min_p``, ``min_tokens`` and ``repetition_penalty`` are not OpenAI's; they are
    those of vLLM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    min_tokens: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.0, gt=0, le=10)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    logit_bias: Mapping[int, Annotated[float, Field(ge=-100, le=100)]] = {}
    response_format: _Format = _Format(type="text")
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: tuple[str, ...] = ()

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _few_and_short(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > _MAX_STOPS or not all(0 < len(s) <= _MAX_STOP for s in value):
            raise ValueError(
                f"at most {_MAX_STOPS} stop strings of 1 to {_MAX_STOP} characters are served"
            )
        return value

    @field_validator("logit_bias")
    @classmethod
    def _few_tokens(cls, value: Mapping[int, float]) -> Mapping[int, float]:
        if len(value) > _MAX_BIASES or any(token < 0 for token in value):
            raise ValueError(f"at most {_MAX_BIASES} token ids, none below 0, are served")
        return value

    @property
    def with_logprobs(self) -> bool:
        """Whether each token's log-probability is asked for."""
        return False

    def options(self, max_tokens: int) -> Options:
        """Return how the answer is drawn.

        Raises:
            RequestError: The decoder does not take a value.
        """
        # what a request leaves out is the checkpoint's to say
        more = {_NAMES.get(n, n): getattr(self, n) for n in _SHAPING if n in self.model_fields_set}
        if "top_k" in more:
            more["top_k"] = max(self.top_k, 0)
        if not self.min_p:
            more.pop("min_p", None)
        if self.logit_bias:
            more["sequence_bias"] = {(t,): float(b) for t, b in self.logit_bias.items()}
        try:
            return Options(
                max_new_tokens=max_tokens,
                temperature=self.temperature,
                seed=secrets.randbits(63) if self.seed is None else self.seed,
                stop=self.stop,
                json_schema=self.response_format.schema_of_answer(),
                presence_penalty=self.presence_penalty,
                frequency_penalty=self.frequency_penalty,
                logprobs=self.with_logprobs,
                more=more,
            )
        except DraftproofError as error:
            raise RequestError(str(error)) from error
