"""Asking one server, again where that may help."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import tenacity

from draftproof.records import Completion, DraftproofError, Prompt, digest
from draftproof.stacks.http import wire
from draftproof.stacks.http.wire import FaultError, Reply
from draftproof.stacks.spec import ArmSpec

MAX_BODY = 16 * 1024 * 1024
"""Bytes of one response; an answer is text, not a file."""
MAX_WAIT = 60.0
"""Most seconds that a server's Retry-After is waited for; a longer one ends the arm."""
_LONGEST_BACKOFF = 30.0
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


KEY_HINT = (
    "; name the environment variable that holds the key: api_key_env (sent as a bearer token), "
    "or headers_env for a header of another name"
)


class RefusedError(Exception):
    """The server will not answer this prompt, however often it is asked."""


def authorization(who: str, variable: str | None) -> dict[str, str]:
    """Return the header that carries an API key, none where no variable is named.

    Args:
        who: Who asks, for messages.
        variable: Environment variable that holds the key.

    Raises:
        DraftproofError: The variable is not set.
    """
    if variable is None:
        return {}
    return {"Authorization": f"Bearer {from_environment(f'{who}: api_key_env', variable)}"}


def from_environment(field: str, variable: str) -> str:
    """Return the secret that an environment variable holds; `field` names the variable.

    Raises:
        DraftproofError: It is not set.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise DraftproofError(f"{field} names {variable}, which is not set")
    return value


def authentication_failed(spec: ArmSpec, text: str) -> DraftproofError:
    """Return the error for a server that refuses the arm's key, or the lack of one."""
    hint = "" if spec.api_key_env or spec.headers_env else KEY_HINT
    return DraftproofError(f"arm {spec.name!r}: authentication failed: {text}{hint}")


def http_client(spec: ArmSpec, url: str) -> httpx.AsyncClient:
    """Return the connection pool of an arm.

    Raises:
        DraftproofError: The variable that should hold the key is not set.
    """
    headers = authorization(f"arm {spec.name!r}", spec.api_key_env)
    for header, variable in spec.headers_env.items():
        headers[header] = from_environment(f"arm {spec.name!r}: headers_env.{header}", variable)
    return httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=httpx.Timeout(spec.timeout, connect=min(10.0, spec.timeout), pool=None),
        limits=httpx.Limits(max_connections=spec.concurrency + 2),
        # certificates take longer to load than a short answer takes to come
        verify=urlsplit(url).scheme != "http",
        # a proxy of the environment has no business between two processes of one machine
        trust_env=urlsplit(url).hostname not in {"127.0.0.1", "::1", "localhost"},
    )


def secrets_of(spec: ArmSpec) -> list[str]:
    """Return the values that must never be written down, the longest first."""
    names = [*([spec.api_key_env] if spec.api_key_env else []), *spec.headers_env.values()]
    return sorted({os.environ.get(n, "").strip() for n in names} - {""}, key=len, reverse=True)


class Client:
    """Asks for answers, one prompt a call; keeps what must hold across all of them.

    Args:
        spec: The arm.
        http: Its connection pool.
        model: Name of the model in requests; the only one that answers are believed from.
        echoes_ids: Whether the server builds a response's id from the X-Request-Id it was sent.
        extra: What to add to every body for this kind of server.
    """

    def __init__(
        self,
        spec: ArmSpec,
        http: httpx.AsyncClient,
        model: str,
        *,
        echoes_ids: bool,
        extra: dict[str, object],
    ) -> None:
        self._spec = spec
        self._http = http
        self._model = model
        self._echoes_ids = echoes_ids
        self._extra = extra
        self._answered_as: str | None = None
        self._ids: set[str] = set()
        self._next_slot = 0.0
        self.unknown_counters: str | None = None
        self.attempts = 0
        self.system_fingerprints: set[str] = set()

    async def ask(self, prompt: Prompt) -> tuple[Completion, bool]:
        """Return the answer to a prompt, and whether the server could not be reached at all.

        A prompt that stays unanswered is a completion with ``finish_reason == "error"``.

        Raises:
            DraftproofError: Nothing that is asked of this server will be answered.
        """
        spec = self._spec
        start = time.perf_counter()
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(FaultError),
            stop=tenacity.stop_after_attempt(spec.retries + 1),
            wait=_pause(spec.backoff),
            reraise=True,
        )
        try:
            reply: Reply = await retrying(self._attempt, prompt)
        except FaultError as fault:
            text = f"after {spec.retries + 1} attempts: {fault}"
            return self._failed(prompt, text, start), fault.unreachable
        except RefusedError as refusal:
            return self._failed(prompt, str(refusal), start), False
        self.unknown_counters = self.unknown_counters or reply.unknown_counters
        if reply.system_fingerprint is not None:
            self.system_fingerprints.add(reply.system_fingerprint)
        completion = Completion(
            arm=spec.name,
            id=prompt.id,
            text=reply.message.text,
            reasoning=reply.message.reasoning,
            tool_calls=reply.message.tool_calls,
            refusal=reply.message.refusal,
            channels=reply.channels,
            finish_reason=reply.finish_reason,
            token_ids=reply.token_ids,
            provenance=reply.provenance,
            prompt_hash=digest(wire.question(spec, prompt)),
            speculation=reply.speculation,
            seconds=time.perf_counter() - start,
        )
        return completion, False

    def _failed(self, prompt: Prompt, text: str, start: float) -> Completion:
        # a server may repeat what it was sent, and errors are kept with the answers
        for secret in secrets_of(self._spec):
            text = text.replace(secret, "[key]")
        return Completion(
            arm=self._spec.name,
            id=prompt.id,
            text="",
            finish_reason="error",
            prompt_hash=digest(wire.question(self._spec, prompt)),
            seconds=time.perf_counter() - start,
            error=text,
        )

    async def _attempt(self, prompt: Prompt) -> Reply:
        spec = self._spec
        await self._wait_for_slot()
        self.attempts += 1
        name = uuid4().hex
        body = {**self._extra, **wire.request_body(spec, prompt, self._model)}
        try:
            async with (
                asyncio.timeout(spec.timeout),
                self._http.stream(
                    "POST", _PATHS[spec.api], json=body, headers={"X-Request-Id": name}
                ) as response,
            ):
                raw = await read_bounded(response)
        except TimeoutError as error:
            raise FaultError(f"no whole answer within {spec.timeout:g} s (timeout)") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise FaultError(f"no connection: {error}", unreachable=True) from error
        except httpx.HTTPError as error:
            raise FaultError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        _check_status(response, raw, spec)
        reply = wire.read_reply(raw, spec)
        self._check_identity(reply, name)
        return reply

    def _check_identity(self, reply: Reply, name: str) -> None:
        """Raise a fault unless the answer is new, to this request and from this model."""
        if self._echoes_ids and name not in reply.id:
            raise FaultError(f"the response has id {reply.id!r}, which is another request's")
        if reply.id in self._ids:
            raise FaultError(f"the response's id {reply.id!r} came before with another answer")
        expected = reply.model == self._model or reply.model.startswith(f"{self._model}-")
        if not expected or reply.model != (self._answered_as or reply.model):
            raise FaultError(
                f"the answer is from model {reply.model[:200]!r}, not from "
                f"{self._answered_as or self._model!r}; "
                "if that is its name, give it as the arm's model"
            )
        self._answered_as = reply.model
        self._ids.add(reply.id)

    async def _wait_for_slot(self) -> None:
        if self._spec.rate is None:
            return
        now = time.monotonic()
        slot = max(now, self._next_slot)
        self._next_slot = slot + 1 / self._spec.rate
        await asyncio.sleep(slot - now)


async def read_bounded(response: httpx.Response) -> bytes:
    """Return a response's body.

    Raises:
        FaultError: It is larger than any answer.
    """
    pieces, size = [], 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > MAX_BODY:
            raise FaultError(f"the response is larger than {MAX_BODY:,} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _check_status(response: httpx.Response, raw: bytes, spec: ArmSpec) -> None:
    status = response.status_code
    if status == 200:
        return
    text = wire.error_text(raw, status)
    if status in _AGAIN:
        pause = _retry_after(response.headers.get("Retry-After"))
        if pause is not None and pause > MAX_WAIT:
            raise DraftproofError(
                f"arm {spec.name!r}: the server asks to wait {pause:,.0f} s (Retry-After): {text}; "
                "answers already given are kept, the same command goes on after that time"
            )
        raise FaultError(text, retry_after=pause)
    if status in {401, 403}:
        raise authentication_failed(spec, text)
    if status in {404, 405} or 300 <= status < 400:
        raise DraftproofError(
            f"arm {spec.name!r}: {response.request.url}: {text}; check url, api and model"
        )
    raise RefusedError(text)


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    # a NaN compares false with everything
    return seconds if seconds > 0 else None


def _pause(first: float) -> Callable[[tenacity.RetryCallState], float]:
    grow = tenacity.wait_random_exponential(multiplier=first, max=_LONGEST_BACKOFF)

    def pause(state: tenacity.RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome else None
        wanted = fault.retry_after if isinstance(fault, FaultError) else None
        return max(grow(state), wanted or 0.0)

    return pause
