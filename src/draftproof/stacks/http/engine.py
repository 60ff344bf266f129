"""Any OpenAI-compatible server, somebody else's or one that draftproof starts.

Needs no torch. The server's own counters are the activation proof: those of every response where
it has them, else the gain of its Prometheus totals over the arm, which are right only while
nobody else uses the server. Canaries are asked while those totals are not followed.
"""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

from draftproof.records import (
    Completion,
    DraftproofError,
    Fingerprint,
    Prompt,
    Proof,
    ServerFingerprint,
    digest,
)
from draftproof.stacks.base import fault_kind
from draftproof.stacks.canaries import CANARIES, LONGEST, Round, said
from draftproof.stacks.http import wire
from draftproof.stacks.http.background import event_loop
from draftproof.stacks.http.client import Client, http_client
from draftproof.stacks.http.counters import ServerCounters
from draftproof.stacks.http.server import Server
from draftproof.stacks.http.server_info import ServerInfo, metrics_page, server_info
from draftproof.stacks.spec import ArmSpec
from draftproof.stacks.weights import served_files

_EQUAL_FAULTS = 20
"""So many prompts that fail alike, with no answer between them, end an arm."""
_WATCH_EVERY = 0.5
_METRICS_EVERY = 5.0
_CANARY_RETRIES = 2
_MOST_FINGERPRINTS = 8
_T = TypeVar("_T")


class OpenAIEngine:
    """Answers over HTTP, `concurrency` prompts at a time.

    Args:
        spec: The arm.
        logs: Directory for the output of a server that is started; a temporary one if None.
    """

    def __init__(self, spec: ArmSpec, logs: Path | None = None) -> None:
        self.spec = spec
        self._logs = logs
        self._server: Server | None = None
        self._info: ServerInfo | None = None
        self._url = spec.url or ""
        self._counters = ServerCounters()
        self._unknown: str | None = None
        self._attempts = 0
        self._passed_on = 0
        self._canaries: Round | None = None
        self._asks_canaries = False
        self._system_fingerprints: set[str] = set()

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`. Starts the server if the arm has a command."""
        spec = self.spec
        if spec.serve is not None:
            self._counters.begin_part()
            self._server = Server(spec.name, spec.serve, spec.url, self._logs)
            self._url = self._server.url
            try:
                self._server.wait_until_ready(spec.ready_timeout)
                self._info = self._connected(lambda http: server_info(http, spec))
            except BaseException:
                self._server.stop()
                raise
        else:
            self._info = self._connected(lambda http: server_info(http, spec))

    def _connected(self, ask: Callable[[httpx.AsyncClient], Awaitable[_T]]) -> _T:
        async def connected() -> _T:
            async with http_client(self.spec, self._url) as http:
                return await ask(http)

        with event_loop() as loop:
            return asyncio.run_coroutine_threadsafe(connected(), loop).result()

    def canaries(self) -> Round | None:
        """See `AsksCanaries.canaries`."""
        if self._server is None or not self._server.stopped:
            self._asks_canaries = True
            self._canaries = self._connected(self._canary_round)
        return self._canaries

    async def _canary_round(self, http: httpx.AsyncClient) -> Round | None:
        changed = {
            "temperature": 0.0,
            "max_new_tokens": LONGEST,
            "retries": min(self.spec.retries, _CANARY_RETRIES),
        }
        client = self._client(http, self.spec.model_copy(update=changed))
        answers = {}
        for canary in CANARIES:
            completion, _ = await client.ask(canary)
            if completion.finish_reason == "error":
                return None
            answers[canary.id] = said(completion)
        self._system_fingerprints |= client.system_fingerprints
        return answers

    async def _last_round(self, http: httpx.AsyncClient) -> Round | None:
        try:
            return await self._canary_round(http)
        except DraftproofError:
            # every answer is there already
            return None

    def _client(self, http: httpx.AsyncClient, spec: ArmSpec) -> Client:
        info = self._info
        assert info is not None, "open was called"
        return Client(
            spec,
            http,
            spec.model or info.models[0],
            echoes_ids=info.echoes_ids,
            extra=info.extra,
        )

    def prompt_hash(self, prompt: Prompt) -> str:
        """See `Engine.prompt_hash`: the digest of the messages, or of the text, as sent."""
        return digest(wire.question(self.spec, prompt))

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """See `Engine.answer`. The server that was started is stopped at the end.

        Raises:
            DraftproofError: The server cannot be reached or has ended. Prompts that it could not
                be reached for are not answered, so that the same command asks them again.
        """
        results: queue.SimpleQueue[Completion | None] = queue.SimpleQueue()
        try:
            with event_loop() as loop:
                asked = self._ask_all(prompts, results)
                future = asyncio.run_coroutine_threadsafe(asked, loop)
                future.add_done_callback(lambda _: results.put(None))
                try:
                    while (completion := results.get()) is not None:
                        yield completion
                    future.result()
                finally:
                    future.cancel()
        finally:
            if self._server is not None:
                self._server.stop()

    async def _ask_all(
        self, prompts: Sequence[Prompt], results: queue.SimpleQueue[Completion | None]
    ) -> None:
        try:
            async with http_client(self.spec, self._url) as http:
                self._counters.watch.read(await metrics_page(http, self.spec.timeout))
                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(self._watch_server()),
                        group.create_task(self._watch_counters(http)),
                    ]
                    await self._work(http, prompts, results)
                    for task in beside:
                        task.cancel()
                if self._server is not None and self._asks_canaries:
                    self._canaries = await self._last_round(http)
        except BaseExceptionGroup as group_:
            expected = group_.subgroup(DraftproofError)
            if expected is None:
                raise
            raise _first(expected) from None

    async def _work(
        self,
        http: httpx.AsyncClient,
        prompts: Sequence[Prompt],
        results: queue.SimpleQueue[Completion | None],
    ) -> None:
        spec = self.spec
        client = self._client(http, spec)
        waiting = deque(prompts)
        self._passed_on = 0
        # not passed on while the server may still be unreachable or refuse everything
        held: list[Completion] = []
        unreached = 0
        patience = max(10, 2 * spec.concurrency)

        async def worker() -> None:
            nonlocal unreached
            while waiting:
                completion, unreachable = await client.ask(waiting.popleft())
                self._attempts, self._unknown = client.attempts, client.unknown_counters
                self._system_fingerprints |= client.system_fingerprints
                unreached = unreached + 1 if unreachable else 0
                held.append(completion)
                if completion.finish_reason != "error":
                    if self._passed_on + len(held) == len(prompts):
                        # whoever has the last answer may be killed: then the counts are kept
                        await self._read_counters(http)
                    self._pass_on(held, results)
                elif unreached >= patience:
                    raise self._gone(completion)
                elif len(held) >= _EQUAL_FAULTS and len(set(map(_kind, held))) == 1:
                    raise self._refuses_all(held)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(spec.concurrency, len(prompts))):
                group.create_task(worker())
        if unreached:
            raise self._gone(held[-1])
        if held:
            await self._read_counters(http)
        self._pass_on(held, results)

    def _pass_on(
        self, held: list[Completion], results: queue.SimpleQueue[Completion | None]
    ) -> None:
        for completion in held:
            self._counters.count(completion.speculation)
            results.put(completion)
        self._passed_on += len(held)
        held.clear()

    def _refuses_all(self, failed: Sequence[Completion]) -> DraftproofError:
        return DraftproofError(
            f"arm {self.spec.name!r}: {len(failed)} prompts in a row failed and none was answered "
            f"between them; the server says: {failed[-1].error}; mend the server or the arm, then "
            "the same command asks these prompts again (answers already given are kept)"
        )

    def _gone(self, completion: Completion) -> DraftproofError:
        if self._server is not None:
            self._server.check()
        return DraftproofError(
            f"arm {self.spec.name!r}: {self._url} does not answer any more ({completion.error}); "
            "answers already given are kept, the same command asks for the others again"
        )

    async def _watch_server(self) -> None:
        while self._server is not None:
            self._server.check()
            await asyncio.sleep(_WATCH_EVERY)

    async def _watch_counters(self, http: httpx.AsyncClient) -> None:
        while self._counters.watch.readings:
            await asyncio.sleep(_METRICS_EVERY)
            await self._read_counters(http)

    async def _read_counters(self, http: httpx.AsyncClient) -> None:
        self._counters.watch.read(await metrics_page(http, self.spec.timeout))

    def proof(self) -> Proof:
        """See `Engine.proof`."""
        return self._counters.proof(self._unknown)

    def fingerprint(self) -> Fingerprint:
        """See `Engine.fingerprint`."""
        spec, info = self.spec, self._info
        return Fingerprint(
            engine="openai",
            server=ServerFingerprint(
                stack=info.stack if info else None,
                version=info.version if info else None,
                models=info.models if info else (),
                url=None if spec.serve else spec.url,
                command=spec.serve,
                api=spec.api,
                stream=spec.stream,
                concurrency=spec.concurrency,
                attempts=self._attempts,
                system_fingerprints=tuple(sorted(self._system_fingerprints)[:_MOST_FINGERPRINTS]),
                files=served_files(spec.serve),
            ),
        )

    def close(self) -> None:
        """See `Engine.close`: stops the server."""
        if self._server is not None:
            self._server.stop()


def _kind(failed: Completion) -> str:
    return fault_kind(failed.error or "")


def _first(group: BaseExceptionGroup[DraftproofError]) -> DraftproofError:
    one = group.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
