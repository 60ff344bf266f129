"""Which server answers: its kind, version and models, asked before anything else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from draftproof.records import DraftproofError
from draftproof.stacks.http.client import authentication_failed, read_bounded
from draftproof.stacks.http.wire import FaultError, error_text
from draftproof.stacks.spec import ArmSpec

_LOG = logging.getLogger(__name__)
_READY_EVERY = 0.5
"""Seconds between two questions to a server that is loading."""
_ECHO = frozenset({"vllm", "draftproof"})
"""Servers whose response ids hold the X-Request-Id that they were sent."""
_EXTRA: dict[str, dict[str, object]] = {
    "vllm": {"return_token_ids": True},
    "draftproof": {"return_token_ids": True},
    "llama.cpp": {"return_tokens": True, "verbose": True},
    "sglang": {"return_spec_tokens_details": True},
}
"""How each kind is asked for token ids, which explain divergences, and for its counters."""

_KINDS = {
    "vllm": ("vllm", ("/version",), "version"),
    "draftproof": ("draftproof", ("/version",), "version"),
    "llamacpp": ("llama.cpp", ("/props",), "build_info"),
    "tensorrt_llm": ("trtllm", ("/version",), "version"),
    "sglang": ("sglang", ("/server_info", "/get_server_info"), "version"),
}
"""By the owner of the models: the stack, where it tells its version, and under which name."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says about itself.

    Attributes:
        stack: ``vllm``, ``sglang``, ``llama.cpp``, ``trtllm``, ``draftproof`` or ``unknown``.
        version: Its version, None where it does not say.
        models: The models that it lists.
    """

    stack: str
    version: str | None
    models: tuple[str, ...]

    @property
    def echoes_ids(self) -> bool:
        """Whether a response's id holds the request's."""
        return self.stack in _ECHO

    @property
    def extra(self) -> dict[str, object]:
        """What to ask this kind of server for besides the answer."""
        # others may refuse an unknown field
        return _EXTRA.get(self.stack, {})


async def server_info(http: httpx.AsyncClient, spec: ArmSpec) -> ServerInfo:
    """Ask a server what it is.

    Raises:
        DraftproofError: It cannot be reached, lists no model and none is named, or lists others.
    """
    response = await _model_list(http, spec)
    if response.status_code in {401, 403}:
        raise authentication_failed(spec, f"{http.base_url}: HTTP {response.status_code}")
    models = _models(response)
    if spec.model is None and not models:
        raise DraftproofError(
            f"arm {spec.name!r}: {http.base_url} lists no model; name one as the arm's model"
        )
    if spec.model is None and len(models) > 1:
        raise DraftproofError(
            f"arm {spec.name!r}: {http.base_url} lists {len(models)} models: "
            f"{', '.join(models[:8])}; name the one that is meant as the arm's `model`"
        )
    if spec.model is not None and models and spec.model not in models:
        raise DraftproofError(
            f"arm {spec.name!r}: {http.base_url} has no model {spec.model!r}; "
            f"it has {', '.join(models[:8])}"
        )
    stack, version = await _stack(http, _owners(response))
    return ServerInfo(stack, version, models)


async def _model_list(http: httpx.AsyncClient, spec: ArmSpec) -> httpx.Response:
    """Ask for the list of models; a server that is loading its model (503) is waited for."""
    deadline = time.monotonic() + spec.ready_timeout
    told = False
    while True:
        try:
            response = await http.get("/v1/models")
        except httpx.HTTPError as error:
            raise DraftproofError(
                f"arm {spec.name!r}: {http.base_url} cannot be reached: "
                f"{str(error) or type(error).__name__}"
            ) from error
        if response.status_code != 503:
            return response
        if time.monotonic() >= deadline:
            raise DraftproofError(
                f"arm {spec.name!r}: {http.base_url} was not ready within {spec.ready_timeout:g} s "
                f"(ready_timeout); it says: {error_text(response.content, 503)}"
            )
        if not told:
            told = True
            _LOG.warning(
                "arm %r: waiting for %s, up to %g s (ready_timeout); it says: %s",
                spec.name, http.base_url, spec.ready_timeout, error_text(response.content, 503),
            )  # fmt: skip
        await asyncio.sleep(_READY_EVERY)


def _models(response: httpx.Response) -> tuple[str, ...]:
    return tuple(str(m["id"]) for m in _listed(response) if isinstance(m.get("id"), str))


def _owners(response: httpx.Response) -> frozenset[str]:
    return frozenset(str(m.get("owned_by")) for m in _listed(response))


def _listed(response: httpx.Response) -> list[Mapping[str, object]]:
    try:
        document = response.json()
    except ValueError:
        return []
    data = document.get("data") if isinstance(document, dict) else None
    if response.status_code != 200 or not isinstance(data, list):
        return []
    return [m for m in data if isinstance(m, dict)]


async def _stack(http: httpx.AsyncClient, owners: frozenset[str]) -> tuple[str, str | None]:
    """Return the server's kind and version; each kind tells its version at a place of its own."""
    for owner, (stack, places, field) in _KINDS.items():
        if owner not in owners:
            continue
        for place in places:
            version = _string(await _document(http, place), field)
            if version:
                return stack, version
        return stack, None
    return "unknown", None


def _string(document: Mapping[str, object], field: str) -> str | None:
    value = document.get(field)
    return value if isinstance(value, str) and value else None


async def _document(http: httpx.AsyncClient, path: str) -> Mapping[str, object]:
    try:
        response = await http.get(path)
        document = response.json() if response.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


async def metrics_page(http: httpx.AsyncClient, timeout: float) -> str | None:
    """Return the server's Prometheus page, None where it has none.

    Args:
        http: The arm's connection pool.
        timeout: Seconds that the whole page may take.
    """
    try:
        async with asyncio.timeout(timeout), http.stream("GET", "/metrics") as response:
            if response.status_code != 200:
                return None
            raw = await read_bounded(response)
    except (httpx.HTTPError, FaultError, TimeoutError):
        return None
    return raw.decode("utf-8", "replace")
