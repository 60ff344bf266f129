"""Any OpenAI-compatible server, somebody else's or one that draftproof starts.

Needs no torch. The server's own counters are the activation proof: those of every response where
it has them, else the gain of its Prometheus totals over the arm, which are right only while
nobody else uses the server. Those totals are kept in the log directory as they grow, so that the
counts of a part that was killed are not lost.
"""

from __future__ import annotations

import asyncio
import queue
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal

from draftproof.records import (
    Completion,
    Counters,
    DraftproofError,
    Fingerprint,
    Prompt,
    Proof,
    ProofState,
    ServerFingerprint,
    digest,
)
from draftproof.stacks.http import wire
from draftproof.stacks.http.client import Client, http_client
from draftproof.stacks.http.counters import CounterStore, CounterWatch
from draftproof.stacks.http.server import Server
from draftproof.stacks.http.server_info import ServerInfo, metrics_page, server_info
from draftproof.stacks.spec import ArmSpec

_EQUAL_FAULTS = 20
"""So many prompts that fail alike, with no answer between them, end an arm."""
_WATCH_EVERY = 0.5
_METRICS_EVERY = 5.0


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
        self._counters = CounterWatch()
        self._store = CounterStore(logs / f"{spec.name}.counters.json" if logs else None)
        self._counted = Counters(0, 0, 0)
        self._counted_answers = 0
        self._unknown: str | None = None
        self._attempts = 0

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`. Starts the server if the arm has a command."""
        spec = self.spec
        if spec.serve is not None:
            self._store.begin_part(self._counters.gained, self._counters.problem)
            self._counters = CounterWatch()
            self._server = Server(spec.name, spec.serve, spec.url, self._logs)
            self._url = self._server.url
            try:
                self._server.wait_until_ready(spec.ready_timeout)
            except BaseException:
                self._server.stop()
                raise

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
            with start_blocking_portal() as portal:
                future = portal.start_task_soon(self._ask_all, prompts, results)
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
                self._info = await server_info(http, self.spec)
                self._counters.read(await metrics_page(http, self.spec.timeout))
                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(self._watch_server()),
                        group.create_task(self._watch_counters(http)),
                    ]
                    await self._work(http, self._info, prompts, results)
                    for task in beside:
                        task.cancel()
                await self._read_counters(http)
        except BaseExceptionGroup as group_:
            expected = group_.subgroup(DraftproofError)
            if expected is None:
                raise
            raise _first(expected) from None

    async def _work(
        self,
        http: httpx.AsyncClient,
        info: ServerInfo,
        prompts: Sequence[Prompt],
        results: queue.SimpleQueue[Completion | None],
    ) -> None:
        spec = self.spec
        client = Client(
            spec,
            http,
            spec.model or info.models[0],
            echoes_ids=info.echoes_ids,
            extra=info.extra,
        )
        waiting = deque(prompts)
        # not passed on while the server may still be unreachable or refuse everything
        held: list[Completion] = []
        unreached = 0
        patience = max(10, 2 * spec.concurrency)

        async def worker() -> None:
            nonlocal unreached
            while waiting:
                completion, unreachable = await client.ask(waiting.popleft())
                self._attempts, self._unknown = client.attempts, client.unknown_counters
                unreached = unreached + 1 if unreachable else 0
                held.append(completion)
                if completion.finish_reason != "error":
                    self._pass_on(held, results)
                elif unreached >= patience:
                    raise self._gone(completion)
                elif len(held) >= _EQUAL_FAULTS and len({_fault_kind(c) for c in held}) == 1:
                    raise self._refuses_all(held)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(spec.concurrency, len(prompts))):
                group.create_task(worker())
        if unreached:
            raise self._gone(held[-1])
        self._pass_on(held, results)

    def _pass_on(
        self, held: list[Completion], results: queue.SimpleQueue[Completion | None]
    ) -> None:
        for completion in held:
            self._count(completion)
            results.put(completion)
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

    def _count(self, completion: Completion) -> None:
        speculation = completion.speculation
        if speculation is not None:
            self._counted_answers += 1
            self._counted += Counters(speculation.rounds, speculation.drafted, speculation.accepted)

    async def _watch_server(self) -> None:
        while self._server is not None:
            self._server.check()
            await asyncio.sleep(_WATCH_EVERY)

    async def _watch_counters(self, http: httpx.AsyncClient) -> None:
        while self._counters.readings:
            await asyncio.sleep(_METRICS_EVERY)
            await self._read_counters(http)

    async def _read_counters(self, http: httpx.AsyncClient) -> None:
        watch = self._counters
        watch.read(await metrics_page(http, self.spec.timeout))
        self._store.keep(watch.gained, watch.problem)

    def proof(self) -> Proof:
        """See `Engine.proof`: what the responses say, else the gain of the server's totals.

        Unproven are counters that cannot be believed, absent those that the server does not have.
        """
        problem = self._unknown or self._counters.problem or self._store.problem
        if self._counted_answers and not self._unknown:
            return Proof(
                state=ProofState.COUNTED,
                source="responses",
                counters=self._counted,
                answers=self._counted_answers,
                problem=problem,
            )
        if problem:
            return Proof(state=ProofState.UNPROVEN, source="none", problem=problem)
        gained = self._counters.gained
        if gained is None:
            return Proof(state=ProofState.ABSENT, source="none")
        return Proof(
            state=ProofState.COUNTED, source="prometheus", counters=self._store.earlier + gained
        )

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
            ),
        )

    def close(self) -> None:
        """See `Engine.close`: stops the server and deletes the counts that were kept."""
        if self._server is not None:
            self._server.stop()
        self._store.clear()


def _fault_kind(failed: Completion) -> str:
    """Return an error without its numbers and ids, so that equal faults compare equal."""
    return re.sub(r"[0-9a-f]{8,}|\d+", "#", failed.error or "")[:200]


def _first(group: BaseExceptionGroup[DraftproofError]) -> DraftproofError:
    one = group.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
