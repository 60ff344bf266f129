"""What a plan may say about an arm that answers over HTTP."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SECRET_OPTION = re.compile(
    r"--(?:[a-z]+[-_])?(?:api[-_]key|token|secret|password)[\s=]"
    r"|\b[A-Z_]*(?:API_KEY|TOKEN|SECRET|PASSWORD)=\S",
)
_SECRET_FIELD = re.compile(
    r"(?:.*[-_])?(?:api[-_]?key|access[-_]token|auth[-_]token|secret|password|authorization)",
    re.IGNORECASE,
)
_RESERVED = frozenset(
    {"messages", "prompt", "model", "stream", "n", "max_tokens", "max_completion_tokens", "seed"}
)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


def command_words(command: str, port: int) -> list[str]:
    """Return the words of a server's command, ``{port}`` and ``{python}`` replaced.

    Raises:
        ValueError: A quotation does not end.
    """
    return [
        word.replace("{port}", str(port)).replace("{python}", sys.executable)
        for word in shlex.split(command)
    ]


class HttpOptions(BaseModel):
    """Fields of `ArmSpec` that only the ``openai`` engine reads.

    An arm names a ``url`` that somebody else serves, or a ``serve`` command that draftproof
    starts, waits for and stops. ``{port}`` in the command is replaced by a free port, ``{python}``
    by the Python that runs draftproof; with both url and command, the command is started and the
    url is where it listens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    serve: str | None = None
    api: Literal["chat", "completions"] = "chat"
    model: str | None = None
    """Model name in the requests; by default the one that the server lists."""
    stream: bool = False
    concurrency: int = Field(default=1, ge=1, le=1024)
    """Requests in flight. One stream and a loaded server are different arms."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that one attempt may take, from sending to the last byte."""
    ready_timeout: float = Field(default=600.0, gt=0)
    """Seconds that a started server may take until it lists its model."""
    retries: int = Field(default=5, ge=0, le=100)
    backoff: float = Field(default=0.5, ge=0)
    """Seconds before the first retry; doubled each time, with jitter, up to 30."""
    rate: float | None = Field(default=None, gt=0)
    """Most requests a second, retries included."""
    api_key_env: str | None = None
    """Environment variable that holds the key; the key itself is never written down."""
    headers_env: dict[str, str] = Field(default_factory=dict)
    """Request headers whose values are secrets: header name to the environment variable that
    holds the value. The values are never written down."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name under which `max_new_tokens` is sent."""
    extra_body: dict[str, object] = Field(default_factory=dict)
    speculates: bool | None = None
    """Whether the server is meant to speculate; by default candidates and controls are."""

    @field_validator("url")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{value!r} is no http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("an address must not carry a password; use api_key_env")
        if parts.query or parts.fragment:
            raise ValueError("an address must not carry a query; use extra_body or api_key_env")
        return value.rstrip("/").removesuffix("/v1")

    @field_validator("serve")
    @classmethod
    def _keyless_command(cls, value: str | None) -> str | None:
        if value is not None and _SECRET_OPTION.search(value):
            raise ValueError(
                "a command in a plan must not carry an API key or a token: run files keep the "
                "plan; let the server read the key from its environment"
            )
        return value

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            # the value is not repeated: somebody may have put the key itself there
            raise ValueError("is the name of an environment variable, not the key itself")
        return value

    @field_validator("headers_env")
    @classmethod
    def _header_names(cls, value: dict[str, str]) -> dict[str, str]:
        for header, variable in value.items():
            if not _HEADER.fullmatch(header):
                raise ValueError(f"{header[:40]!r} is no name of a request header")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
                # the value is not repeated: somebody may have put the key itself there
                raise ValueError(
                    f"of {header!r} is the name of an environment variable, not the key itself"
                )
        return value

    @field_validator("extra_body")
    @classmethod
    def _own_fields(cls, value: dict[str, object]) -> dict[str, object]:
        secret = next((k for k in value if _SECRET_FIELD.fullmatch(k)), None)
        if secret is not None:
            # the value is not repeated
            raise ValueError(f"{secret!r} looks like a key; run files keep the plan: api_key_env")
        taken = sorted(_RESERVED & value.keys())
        if taken:
            raise ValueError(f"{taken[0]!r} is set by the engine and cannot be overridden")
        return value
