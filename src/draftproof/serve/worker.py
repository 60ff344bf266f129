"""The one thread that decodes, and the queue before it."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from contextlib import closing, suppress
from typing import Any

from draftproof.decoding import Answer, Request
from draftproof.decoding.drafters.registry import Parts, make_drafter
from draftproof.decoding.growing_text import GrowingText
from draftproof.decoding.options import Options
from draftproof.decoding.prompts import Prompt
from draftproof.decoding.session import PromptIds, Session, loop_counters
from draftproof.records import DraftproofError, Speculation
from draftproof.serve.errors import RequestError
from draftproof.serve.jobs import Finished, Job, Piece, piece_of
from draftproof.stacks import models

_RETRY_AFTER = 1


class Service:
    """A target, perhaps with a draft, that answers one request after the other.

    Args:
        target: Directory, hub name or ``lab:NAME``.
        draft: The draft model, None decodes plainly.
        gamma: Tokens drafted a round.
        rule: Acceptance rule.
        rule_options: Its parameters.
        name: Name of the model in the protocol; the target's by default.
        dtype: Number format of the weights.
        device: Where to run.
        max_length: Most tokens of prompt and answer together; every request is decoded in
            buffers of this length, so that equal requests meet equal shapes.
        waiting: Requests that may wait; more are turned away.
        trust_remote_code: Run code that a checkpoint brings along.
        ignore_generation_config: Leave out what the checkpoint's ``generation_config`` asks of
            every answer; a request's own fields come first in any case.

    Raises:
        DraftproofError: A model cannot be loaded, the two do not fit, or there is no such rule.
    """

    def __init__(
        self,
        target: str,
        *,
        draft: str | None = None,
        gamma: int = 4,
        rule: str = "exact",
        rule_options: dict[str, Any] | None = None,
        name: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        max_length: int = 4096,
        waiting: int = 64,
        trust_remote_code: bool = False,
        ignore_generation_config: bool = False,
    ) -> None:
        options = (dtype, device, trust_remote_code)
        self.name = name or target
        self._target = models.load(target, *options)
        second, drafter = models.load(draft, *options) if draft else None, None
        if second:
            models.require_same_vocabulary(self._target, second, padded=True)
            parts = Parts(target=self._target.model, gamma=gamma, draft=second.model)
            drafter = make_drafter("draft_model", parts)
        self._session = Session(
            self._target, drafter, draft=second, rule=rule, rule_options=rule_options,
            capacity=max_length, ignore_generation_config=ignore_generation_config,
        )  # fmt: skip
        self.gamma = drafter.gamma if drafter else 0
        self.capacity = self._session.capacity or max_length
        self._queue: queue.Queue[Job] = queue.Queue(waiting)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self.totals: Counter[str] = Counter()
        """Counts for the metrics page; written by the worker alone."""
        self.per_position = [0] * self.gamma
        """Accepted drafts by their position in the proposal."""

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.qsize()

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._thread.is_alive() and not self._ending.is_set()

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker; answers under way end in an error."""
        self._ending.set()
        self._thread.join(10)

    def ids_of(self, prompt: Prompt, prefill: str, param: str) -> PromptIds:
        """Return a prompt as the models are fed it; `prefill` begins the answer.

        Raises:
            RequestError: It is empty, holds no tokens of the model, or the chat template fails.
        """
        try:
            with models.quiet():
                return self._session.ids_of(prompt, 0, prefill)
        except DraftproofError as error:
            raise RequestError(str(error), param=param) from error

    def room(self, prompt: PromptIds, max_tokens: int | None) -> int:
        """Return how many tokens an answer may have.

        Raises:
            RequestError: The prompt leaves no room.
        """
        left = self.capacity - self._session.spare - prompt.longest
        if left < (max_tokens or 1):
            raise RequestError(
                f"the prompt has {prompt.longest} tokens and the answer may have "
                f"{max_tokens or 1}; {self.capacity - self._session.spare} fit in all",
                param="max_tokens" if left > 0 else None,
                code="context_length_exceeded",
            )
        return max_tokens or left

    def request_of(self, name: str, prompt: PromptIds, options: Options) -> Request:
        """Return what the decoder is asked for a prompt.

        Raises:
            RequestError: What is to be done to the rows cannot be, or a schema cannot be read.
        """
        try:
            request = self._session.request(name, prompt, options, seed=options.seed)
        except DraftproofError as error:
            field = "response_format" if options.has_grammar else None
            raise RequestError(str(error), param=field) from error
        biased = [token for (token,) in options.more.get("sequence_bias", ())]
        if biased and max(biased) >= self._target.model.vocab_size:
            raise RequestError(f"{max(biased)} is no token", param="logit_bias")
        return request

    def token_text(self, token: int) -> str:
        """Return what one token says; half a character is a replacement character."""
        text: str = self._target.tokenizer.decode([token])
        return text

    def submit(self, job: Job) -> None:
        """Put a job into the queue.

        Raises:
            RequestError: The queue is full, or the server is going down.
        """
        if not self.alive:
            raise RequestError("the server is going down", status=503)
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            raise RequestError(
                f"{self._queue.maxsize} requests are waiting already",
                status=429,
                code="queue_full",
                retry_after=_RETRY_AFTER,
            ) from None

    def _run(self) -> None:
        while not self._ending.is_set():
            with suppress(queue.Empty):
                job = self._queue.get(timeout=0.2)
                if not job.dropped.is_set():
                    self._answer(job)
        while not self._queue.empty():
            self._fail(self._queue.get_nowait(), "the server is going down")

    def _fail(self, job: Job, text: str) -> None:
        self.totals["errors"] += 1
        with suppress(RuntimeError):  # the loop that listened is gone
            job.tell(Finished(Piece("", (), ""), "error", 0, None, text))

    def _answer(self, job: Job) -> None:
        text = GrowingText(self._target.text_of, self._target.eos, job.options.stops)
        try:
            answer = Answer(id=job.request.id)
            settings = self._session.settings(job.options, capacity=self.capacity)
            with closing(self._session.stream([job.request], settings)) as rounds:
                for answer, start in rounds:
                    text.add(answer.tokens[start:])
                    if text.stopped or job.dropped.is_set() or self._ending.is_set():
                        break
                    if job.live and not answer.finish_reason and (shown := text.certain()):
                        job.tell(piece_of(answer, shown))
            if self._ending.is_set() and not answer.finish_reason:
                raise DraftproofError("the server is going down")
            if answer.error:
                raise DraftproofError(answer.error)
            speculation = loop_counters(answer) if self.gamma else None
            self._record(text.count, speculation)
            reason = "stop" if text.stopped else answer.finish_reason or "stop"
            with suppress(RuntimeError):
                rest = piece_of(answer, text.rest())
                job.tell(Finished(rest, reason, text.count, speculation))
        # one request must not end the worker: whatever fails here is told to its asker
        except Exception as error:
            self._fail(job, f"{type(error).__name__}: {error}")

    def _record(self, tokens: int, speculation: Speculation | None) -> None:
        self.totals["requests"] += 1
        self.totals["tokens"] += tokens
        if speculation is None:
            return
        self.totals["rounds"] += speculation.rounds
        self.totals["drafted"] += speculation.drafted
        self.totals["accepted"] += speculation.accepted
        for accepted, rounds in enumerate(speculation.histogram):
            for position in range(accepted):
                self.per_position[position] += rounds
