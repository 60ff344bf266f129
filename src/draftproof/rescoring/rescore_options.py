"""What a plan may say about the server that scores positions again."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

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
    noise_bound: float = Field(default=0.5, ge=0)
    """Least margin, in nats, that counts as a choice; raised where the sample shows more noise."""
    timeout: float = Field(default=120.0, gt=0)
    api_key_env: str | None = None
    """Environment variable that holds the key; the key itself is never written down."""

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
