"""What a plan may say about the server that scores positions again."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from draftproof.stacks.http.options import HttpOptions


class RescoreOptions(BaseModel):
    """A server that returns log-probabilities of prompts, for models that cannot be loaded here.

    It must serve the target alone: log-probabilities of a server that speculates are no evidence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    model: str
    """The target's name there."""
    api: Literal["completions", "chat"] = "completions"
    dialect: Literal["echo", "prompt_logprobs"] = "echo"
    """``echo`` with ``logprobs``, or vLLM's ``prompt_logprobs``."""
    timeout: float = Field(default=120.0, gt=0)
    api_key_env: str | None = None
    """Environment variable that holds the key; the key itself is never written down."""

    @model_validator(mode="before")
    @classmethod
    def _of_0_1_0(cls, value: Any) -> Any:
        """Drop the bound that plans of version 0.1.0 name; the stack's own noise is measured."""
        if isinstance(value, dict):
            value = {name: entry for name, entry in value.items() if name != "noise_bound"}
        return value

    @field_validator("url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        checked = HttpOptions(url=value).url
        assert checked is not None
        return checked

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, value: str | None) -> str | None:
        return HttpOptions(api_key_env=value).api_key_env

    @property
    def path(self) -> str:
        """Path of the API under ``/v1``."""
        return "chat/completions" if self.api == "chat" else "completions"
