"""Scoring positions again with a server that returns log-probabilities of the prompt.

The server reads an answer's text as if it were a prompt and returns how likely every token of it
was (``echo`` with ``logprobs``, or ``prompt_logprobs``, of the completions API). The tokens are
the server's, so answers are compared by its own tokenisation. All scores are computed at the
shape in which the server reads prompts: the shapes of decoding and of verification cannot be
chosen from outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.rescoring.prompt_logprobs import ScoredToken, read_answer_tokens, request_body
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.rescoring.rescorer import ScoreRequest, TokenScore
from draftproof.stacks.http.client import authorization

_TOP = 8


@dataclass(frozen=True, slots=True)
class _Tokenised:
    """An answer as the server tokenises it, by token numbers of our own."""

    ids: tuple[int, ...]
    tokens: tuple[ScoredToken, ...]


class ServerRescorer:
    """Asks a server for the log-probabilities of answers.

    Args:
        options: Where the server is and which prompt format it takes.
        http: A client to ask with; by default one of its own.
    """

    reads_text = True

    def __init__(self, options: RescoreOptions, http: httpx.Client | None = None) -> None:
        self._options = options
        self._http = http or rescore_client(options)
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._answers: dict[str, dict[str, _Tokenised | None]] = {}

    def show(self, token: int) -> str:
        """See `Rescorer.show`."""
        return self._texts[token]

    def tokenise(
        self, answers: Sequence[tuple[Prompt, Completion]]
    ) -> list[tuple[int, ...] | None]:
        """See `Rescorer.tokenise`."""
        tokenised = [self._tokenised(prompt, completion.text) for prompt, completion in answers]
        return [None if answer is None else answer.ids for answer in tokenised]

    def scores(self, requests: Sequence[ScoreRequest]) -> list[TokenScore]:
        """See `Rescorer.scores`; the answers must have been tokenised before."""
        return [self._score(request) for request in requests]

    def _score(self, request: ScoreRequest) -> TokenScore:
        index = len(request.prefix)
        margins: dict[int, tuple[float, float]] = {}
        ranks: dict[int, int] = {}
        best: tuple[tuple[int, float], ...] = ()
        for answer in self._answers.get(request.prompt.id, {}).values():
            if answer is None or answer.ids[:index] != request.prefix:
                continue
            if len(answer.ids) <= index or answer.ids[index] not in request.tokens:
                continue
            token = answer.tokens[index]
            highest = max(token.top.values(), default=token.logprob)
            behind = max(highest - token.logprob, 0.0)
            margins[answer.ids[index]] = (behind, behind)
            ranks[answer.ids[index]] = sum(1 for v in token.top.values() if v > token.logprob)
            best = tuple(
                sorted(
                    ((self._number(t), highest - v) for t, v in token.top.items()),
                    key=lambda entry: entry[1],
                )
            )
        unscored = [t for t in request.tokens if t not in margins]
        if unscored:
            raise DraftproofError(
                f"{self._options.url}: prompt {request.prompt.id!r}: token "
                f"{self.show(unscored[0])!r} was never scored at position {index}"
            )
        return TokenScore(margins=margins, ranks=ranks, best=best)

    def _tokenised(self, prompt: Prompt, text: str) -> _Tokenised | None:
        """Return an answer as the server tokenises it, None where its tokens do not spell it."""
        answers = self._answers.setdefault(prompt.id, {})
        if text not in answers:
            tokens = ask_answer_tokens(self._http, self._options, prompt, text, _TOP)
            answers[text] = None
            # a log-probability that is missing is no zero: nothing is said of such an answer
            if tokens is not None and not any(math.isnan(t.logprob) for t in tokens):
                answers[text] = _Tokenised(tuple(self._number(t.token) for t in tokens), tokens)
        return answers[text]

    def _number(self, token: str) -> int:
        if token not in self._numbers:
            self._numbers[token] = len(self._texts)
            self._texts.append(token)
        return self._numbers[token]


def ask_answer_tokens(
    http: httpx.Client, options: RescoreOptions, prompt: Prompt, text: str, top: int
) -> tuple[ScoredToken, ...] | None:
    """Ask a server what it thinks of an answer's tokens.

    Returns:
        See `read_answer_tokens`.

    Raises:
        DraftproofError: The server cannot be reached or returns no log-probabilities of prompts.
    """
    body = request_body(options, prompt, text, top)
    where = f"{options.url}: prompt {prompt.id!r}"
    try:
        reply = http.post(f"/v1/{options.path}", json=body)
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
    return read_answer_tokens(document, options, text)


def rescore_client(options: RescoreOptions) -> httpx.Client:
    """Return a client of the server that scores."""
    headers = authorization("rescore", options.api_key_env)
    return httpx.Client(base_url=options.url, headers=headers, timeout=options.timeout)
