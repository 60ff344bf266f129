"""Log-probabilities of a prompt over HTTP: what is asked, and what may be believed of the reply.

Two dialects of one API: ``echo`` with ``logprobs`` (OpenAI's completions, llama.cpp, SGLang, our
own tests) and ``prompt_logprobs`` (vLLM, for completions and for chats).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from draftproof.records import DraftproofError, Prompt
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.stacks.base import messages_of, plain_text
from draftproof.stacks.http.wire import continued


@dataclass(frozen=True, slots=True)
class Spoken:
    """One token of an answer as the server sees it.

    Attributes:
        token: Its text.
        logprob: Its log-probability given all before it, nats.
        top: The most likely tokens there with theirs, `token` among them or not.
    """

    token: str
    logprob: float
    top: Mapping[str, float]


def request_body(options: RescoreOptions, prompt: Prompt, text: str, top: int) -> dict[str, Any]:
    """Return the request that scores an answer's text after its prompt.

    Args:
        options: Model name, api and dialect.
        prompt: The prompt.
        text: The answer.
        top: Tokens a position that are wanted beside the answer's own.
    """
    common: dict[str, Any] = {"model": options.model, "temperature": 0.0, "max_tokens": 1}
    if options.dialect == "echo":
        common |= {"echo": True, "logprobs": top}
    else:
        common |= {"prompt_logprobs": top}
    messages = messages_of(prompt)
    if options.api == "completions":
        return {**common, "prompt": plain_text(messages, prompt.prefill) + text}
    return {**common, **continued(messages, prompt.prefill + text)}


def read_spoken(
    document: Mapping[str, Any], options: RescoreOptions, text: str
) -> tuple[Spoken, ...] | None:
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
    spelled, start = "", len(tokens)
    while len(spelled) < len(text) and start > 0:
        start -= 1
        spelled = tokens[start].token + spelled
    return tuple(tokens[start:]) if spelled == text else None


def _echoed(document: Mapping[str, Any]) -> list[Spoken]:
    """Read ``choices[0].logprobs``; the generated token at the end is left out."""
    choice = _first(document.get("choices"))
    found = choice.get("logprobs")
    if not isinstance(found, dict):
        return []
    tokens, values = found.get("tokens"), found.get("token_logprobs")
    tops = found.get("top_logprobs")
    if not (isinstance(tokens, list) and isinstance(values, list) and len(tokens) == len(values)):
        return []
    listed: Sequence[Any] = tops if isinstance(tops, list) and len(tops) == len(tokens) else []
    generated = _count(document)
    out = []
    for i in range(len(tokens) - generated):
        # the first token of all has nothing before it and no probability
        value = values[i] if isinstance(values[i], int | float) else 0.0
        top = listed[i] if i < len(listed) and isinstance(listed[i], dict) else {}
        out.append(Spoken(str(tokens[i]), float(value), _numbers(top)))
    return out


def _listed(document: Mapping[str, Any]) -> list[Spoken]:
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
        known = [v for v in row.values() if isinstance(v, dict)]
        top = _numbers({str(v.get("decoded_token")): v.get("logprob") for v in known})
        own = str(known[0].get("decoded_token")) if known else ""
        out.append(Spoken(own, top.get(own, 0.0), top))
    return out


def _numbers(values: Mapping[Any, Any]) -> dict[str, float]:
    return {
        str(k): float(v)
        for k, v in values.items()
        if isinstance(v, int | float) and math.isfinite(v)
    }


def _first(choices: object) -> Mapping[str, Any]:
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return {}


def _count(document: Mapping[str, Any]) -> int:
    """Return how many tokens were generated after the prompt; one was asked for."""
    usage = document.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count >= 0 else 1
