"""Scoring positions again with a server that returns log-probabilities of the prompt.

The server reads an answer's text as if it were a prompt and says how likely every token of it was
(``echo`` with ``logprobs``, or ``prompt_logprobs``, of the completions API). What the tokens are
is the server's word, so answers are compared by its own spelling. All scores are computed at the
shape in which the server reads prompts: the shapes of decoding and of verification cannot be
chosen from outside.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.rescoring.opinion import Opinion, Question
from draftproof.rescoring.prompt_logprobs import Spoken, read_spoken, request_body
from draftproof.rescoring.rescore_options import RescoreOptions

_TOP = 8
_SAFETY = 3.0
_SAMPLE = 16


@dataclass(frozen=True, slots=True)
class _Heard:
    """An answer as the server spells it, by token numbers of our own."""

    ids: tuple[int, ...]
    spoken: tuple[Spoken, ...]


class ServerRescorer:
    """Asks a server for the log-probabilities of answers.

    Args:
        options: Where the server is and which prompt format it takes.
        sample: Prompts with the baseline's answers to them, to measure the noise bound with.
        http: A client to ask with; by default one of its own.

    Raises:
        DraftproofError: The server cannot be reached or returns no log-probabilities of prompts.
    """

    reads_text = True

    def __init__(
        self,
        options: RescoreOptions,
        sample: Sequence[tuple[Prompt, Completion]],
        http: httpx.Client | None = None,
    ) -> None:
        self._options = options
        self._http = http or _client(options)
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._heard: dict[str, dict[str, _Heard | None]] = {}
        self.noise_bound = max(options.noise_bound, self._calibrate(sample[:_SAMPLE]))

    def show(self, token: int) -> str:
        """See `Rescorer.show`."""
        return self._texts[token]

    def tokenise(
        self, answers: Sequence[tuple[Prompt, Completion]]
    ) -> list[tuple[int, ...] | None]:
        """See `Rescorer.tokenise`."""
        heard = [self._hear(prompt, completion.text) for prompt, completion in answers]
        return [None if one is None else one.ids for one in heard]

    def opinions(self, questions: Sequence[Question]) -> list[Opinion]:
        """See `Rescorer.opinions`; the answers asked about must have been tokenised before."""
        return [self._opinion(q) for q in questions]

    def _opinion(self, question: Question) -> Opinion:
        index = len(question.prefix)
        margins: dict[int, tuple[float, float]] = {}
        ranks: dict[int, int] = {}
        best: tuple[tuple[int, float], ...] = ()
        for heard in self._heard.get(question.prompt.id, {}).values():
            if heard is None or heard.ids[:index] != question.prefix:
                continue
            if len(heard.ids) <= index or heard.ids[index] not in question.tokens:
                continue
            spoken = heard.spoken[index]
            highest = max(spoken.top.values(), default=spoken.logprob)
            behind = max(highest - spoken.logprob, 0.0)
            margins[heard.ids[index]] = (behind, behind)
            ranks[heard.ids[index]] = sum(1 for v in spoken.top.values() if v > spoken.logprob)
            best = tuple(
                sorted(
                    ((self._number(t), highest - v) for t, v in spoken.top.items()),
                    key=lambda entry: entry[1],
                )
            )
        unheard = [t for t in question.tokens if t not in margins]
        if unheard:
            raise DraftproofError(
                f"{self._options.url}: prompt {question.prompt.id!r}: token "
                f"{self.show(unheard[0])!r} was never scored at position {index}"
            )
        return Opinion(margins=margins, ranks=ranks, best=best)

    def _hear(self, prompt: Prompt, text: str) -> _Heard | None:
        """Return an answer as the server spells it, None where its tokens do not."""
        known = self._heard.setdefault(prompt.id, {})
        if text not in known:
            spoken = read_spoken(self._ask(prompt, text), self._options, text)
            known[text] = None
            if spoken is not None:
                known[text] = _Heard(tuple(self._number(s.token) for s in spoken), spoken)
        return known[text]

    def _ask(self, prompt: Prompt, text: str) -> Mapping[str, Any]:
        body = request_body(self._options, prompt, text, _TOP)
        where = f"{self._options.url}: prompt {prompt.id!r}"
        try:
            reply = self._http.post(f"/v1/{self._options.path}", json=body)
        except httpx.HTTPError as error:
            raise DraftproofError(f"{where}: cannot be reached: {error}") from error
        if reply.status_code != 200:
            raise DraftproofError(
                f"{where}: HTTP {reply.status_code} to a request for log-probabilities of a "
                "prompt; name a server that returns them, or a local target"
            )
        try:
            document = reply.json()
        except ValueError as error:
            raise DraftproofError(f"{where}: the response is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise DraftproofError(f"{where}: the response is no JSON object")
        return document

    def _number(self, token: str) -> int:
        if token not in self._numbers:
            self._numbers[token] = len(self._texts)
            self._texts.append(token)
        return self._numbers[token]

    def _calibrate(self, sample: Sequence[tuple[Prompt, Completion]]) -> float:
        """Return how far the baseline's own tokens lie behind what the server likes best.

        Plain decoding said the favourite of its own shape; where the prompt's shape disagrees,
        that is a tie and shows how far rounding reaches.
        """
        largest = 0.0
        for prompt, completion in sample:
            heard = self._hear(prompt, completion.text) if completion.text else None
            for spoken in heard.spoken if heard else ():
                highest = max(spoken.top.values(), default=spoken.logprob)
                largest = max(largest, highest - spoken.logprob)
        return _SAFETY * largest


def _client(options: RescoreOptions) -> httpx.Client:
    headers = {}
    if options.api_key_env is not None:
        key = os.environ.get(options.api_key_env, "").strip()
        if not key:
            raise DraftproofError(
                f"rescore: api_key_env names {options.api_key_env}, which is not set"
            )
        headers["Authorization"] = f"Bearer {key}"
    return httpx.Client(base_url=options.url, headers=headers, timeout=options.timeout)
