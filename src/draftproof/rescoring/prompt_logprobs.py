"""Log-probabilities of a prompt over HTTP: the request, and the reply that is read with care.

Two dialects of one API: ``echo`` with ``logprobs`` (OpenAI's completions, SGLang, our own tests;
llama.cpp leaves the prompt out of its log-probabilities) and ``prompt_logprobs`` (vLLM, for
completions and for chats).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from draftproof.records import DraftproofError, Prompt
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.stacks.base import messages_of, plain_text
from draftproof.stacks.http.wire import continued


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """One token of an answer as the server sees it.

    Attributes:
        token: Its text.
        logprob: Its log-probability given all before it, nats; NaN where the server said nothing
            finite: what is missing is unexplained, and no certainty.
        top: The most likely tokens there with theirs, `token` among them or not.
        ranked: Log-probabilities of the most likely tokens, descending: one an id where the
            server told them by id, as two ids may have one text.
    """

    token: str
    logprob: float
    top: Mapping[str, float]
    ranked: tuple[float, ...] = ()


def request_body(options: RescoreOptions, prompt: Prompt, text: str, top: int) -> dict[str, object]:
    """Return the request that scores an answer's text after its prompt.

    Args:
        options: Model name, api and dialect.
        prompt: The prompt.
        text: The answer.
        top: Tokens a position that are wanted beside the answer's own.
    """
    common: dict[str, object] = {"model": options.model, "temperature": 0.0, "max_tokens": 1}
    if options.dialect == "echo":
        common |= {"echo": True, "logprobs": top}
    else:
        common |= {"prompt_logprobs": top}
    messages = messages_of(prompt)
    if options.api == "completions":
        return {**common, "prompt": plain_text(messages, prompt.prefill) + text}
    return {**common, **continued(messages, prompt.prefill + text)}


def read_answer_tokens(
    document: Mapping[str, object], options: RescoreOptions, text: str
) -> tuple[ScoredToken, ...] | None:
    """Return the answer's tokens from the server's reply.

    The answer is what its tokens at the end spell; tokens before belong to the prompt.

    Args:
        document: The reply.
        options: Which dialect it is in.
        text: The answer's text.

    Returns:
        The tokens, None where they do not spell the answer: the first may reach back into the
        prompt, and then nothing can be said of it.

    Raises:
        DraftproofError: The reply holds no log-probabilities of the prompt.
    """
    tokens = _echoed(document) if options.dialect == "echo" else _listed(document)
    if not tokens:
        raise DraftproofError(
            f"{options.url}: the response holds no log-probabilities of the prompt "
            f"({options.dialect}); name a server that returns them, or a local target"
        )
    spelling, start = "", len(tokens)
    while len(spelling) < len(text) and start > 0:
        start -= 1
        spelling = tokens[start].token + spelling
    return tuple(tokens[start:]) if spelling == text else None


def _echoed(document: Mapping[str, object]) -> list[ScoredToken]:
    """Read ``choices[0].logprobs``; the generated token at the end is left out."""
    choice = _first(document.get("choices"))
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        return []
    tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    tops = logprobs.get("top_logprobs")
    if not (isinstance(tokens, list) and isinstance(values, list) and len(tokens) == len(values)):
        return []
    likeliest: Sequence[object] = (
        tops if isinstance(tops, list) and len(tops) == len(tokens) else []
    )
    generated = _count(document)
    out = []
    for i in range(len(tokens) - generated):
        # the first token of all has nothing before it and no probability
        top = _numbers(likeliest[i] if i < len(likeliest) else None)
        out.append(ScoredToken(str(tokens[i]), _finite(values[i]), top, _descending(top.values())))
    return out


def _listed(document: Mapping[str, object]) -> list[ScoredToken]:
    """Read ``prompt_logprobs``: for every token a mapping from ids to what is known of them.

    The first entry of a mapping is the prompt's own token, the others are the likeliest.
    """
    rows = document.get("prompt_logprobs")
    if rows is None:
        rows = _first(document.get("choices")).get("prompt_logprobs")
    if not isinstance(rows, list):
        return []
    out = []
    for row in rows:
        if not isinstance(row, dict) or not row:
            continue
        entries = [v for v in row.values() if isinstance(v, dict)]
        # of two ids with one text the likelier stands for both; `ranked` keeps them apart
        known = sorted(entries, key=lambda v: _finite(v.get("logprob")))
        top = _numbers({str(v.get("decoded_token")): v.get("logprob") for v in known})
        token = str(entries[0].get("decoded_token")) if entries else ""
        own = _finite(entries[0].get("logprob")) if entries else math.nan
        by_id = _descending(_finite(v.get("logprob")) for v in entries)
        out.append(ScoredToken(token, own, top, by_id))
    return out


def _finite(value: object) -> float:
    """Return a number that a server gave; NaN where it is none or infinite."""
    given = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if given and isinstance(value, int | float) else math.nan


def _descending(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(sorted((v for v in values if math.isfinite(v)), reverse=True))


def _numbers(values: object) -> dict[str, float]:
    """Return the finite numbers of an object by name; nothing where it is no object."""
    if not isinstance(values, dict):
        return {}
    return {
        str(k): float(v)
        for k, v in values.items()
        if isinstance(v, int | float) and math.isfinite(v)
    }


def _first(choices: object) -> Mapping[str, object]:
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return {}


def _count(document: Mapping[str, object]) -> int:
    """Return how many tokens were generated after the prompt; one was asked for."""
    usage = document.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count >= 0 else 1
