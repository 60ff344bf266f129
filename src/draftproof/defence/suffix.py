"""A suffix attack by greedy coordinate gradient, small enough for one core.

Zou et al., arXiv 2307.15043, algorithm 2: the gradient of the loss with respect to the one-hot
suffix proposes, for every place, tokens that should lower it; of a sample of single exchanges the
best is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Suffix:
    """A suffix and how it was found.

    Attributes:
        text: To be put behind a request; begins with a space.
        losses: Nats a token of the wanted beginnings, before the search and after every step.
    """

    text: str
    losses: tuple[float, ...]


def find_suffix(
    model: Any,
    tokenizer: Any,
    requests: Sequence[tuple[str, str]],
    *,
    avoid: Collection[str] = (),
    length: int = 12,
    steps: int = 30,
    candidates: int = 48,
    shortlist: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Suffix:
    """Search one suffix for several requests at once.

    Args:
        model: A causal LM whose input embeddings are its first layer.
        tokenizer: Its tokenizer, with a chat template.
        requests: What the suffix is fitted on, each with the beginning of the answer that it is to
            bring about; keep them apart from those it is tried on.
        avoid: Words that a suffix must not hold: with those that requests are made of, it would
            ask for something else instead of changing the answer.
        length: Tokens of the suffix.
        steps: Exchanges at most.
        candidates: Exchanges tried in each step.
        shortlist: Tokens considered for each place.
        seed: Seed of the candidates.
        progress: Receives the steps done and to do.

    Raises:
        ValueError: No request.
    """
    if not requests:
        raise ValueError("a suffix needs at least one request to be fitted on")
    generator = torch.Generator().manual_seed(seed)
    parts = [_parts(tokenizer, *request) for request in requests]
    plain = _plain_tokens(tokenizer, avoid)
    suffix = tokenizer(" x" * length, add_special_tokens=False)["input_ids"][:length]
    best = torch.tensor(suffix)
    losses = [_loss(model, parts, best[None])[0]]
    for step in range(steps):
        gradient = sum(_gradient(model, best, part) for part in parts)
        assert isinstance(gradient, torch.Tensor)
        gradient[:, ~plain] = torch.inf
        choices = gradient.topk(shortlist, dim=1, largest=False).indices
        tried = _exchanged(tokenizer, best, choices, candidates, generator)
        scores = _loss(model, parts, tried)
        least = min(range(len(scores)), key=scores.__getitem__)
        if scores[least] < losses[-1]:
            best = tried[least]
        losses.append(min(losses[-1], scores[least]))
        progress(step + 1, steps)
    return Suffix(tokenizer.decode(best), tuple(round(loss, 4) for loss in losses))


_Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The ids before the suffix, those after it, and those of the wanted beginning."""


def _parts(tokenizer: Any, request: str, wanted: str) -> _Part:
    """Return the ids around the suffix, by the tokenizer's own template."""
    mark = "\u0001"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": request + mark}], tokenize=False, add_generation_prompt=True
    )
    before, after = text.split(mark)
    ids = [
        tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after, wanted)
    ]
    return torch.tensor(ids[0]), torch.tensor(ids[1]), torch.tensor(ids[2])


def _plain_tokens(tokenizer: Any, avoid: Collection[str]) -> torch.Tensor:
    """Return ``[V] bool``: printable ASCII, no special tokens, no word to be avoided."""
    texts = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    special = set(tokenizer.all_special_ids)
    return torch.tensor(
        [
            t.isascii() and t.isprintable() and i not in special and t.strip() not in avoid
            for i, t in enumerate(texts)
        ]
    )


def _gradient(model: Any, suffix: torch.Tensor, part: _Part) -> torch.Tensor:
    """Return the gradient of the loss by the one-hot suffix, ``[L, V]``."""
    before, after, wanted = part
    table = model.get_input_embeddings().weight.detach()
    hot = torch.nn.functional.one_hot(suffix, table.shape[0]).to(table.dtype).requires_grad_()
    inputs = torch.cat([table[before], hot @ table, table[after], table[wanted]])
    logits = model(inputs_embeds=inputs[None]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[-len(wanted) - 1 : -1], wanted)
    (gradient,) = torch.autograd.grad(loss, hot)
    return gradient


@torch.no_grad()
def _loss(model: Any, parts: Sequence[_Part], suffixes: torch.Tensor) -> list[float]:
    """Return the mean loss of every suffix over the requests."""
    total = torch.zeros(len(suffixes))
    for part in parts:
        sides = [side.expand(len(suffixes), -1) for side in part]
        ids = torch.cat([sides[0], suffixes, sides[1], sides[2]], dim=1)
        logits = model(input_ids=ids).logits[:, -sides[2].shape[1] - 1 : -1]
        loss = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2).float(), sides[2], reduction="none"
        )
        total += loss.mean(dim=1)
    means: list[float] = (total / len(parts)).tolist()
    return means


def _exchanged(
    tokenizer: Any,
    suffix: torch.Tensor,
    choices: torch.Tensor,
    count: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return suffixes with one token exchanged that a text can carry, ``[<= count, L]``.

    What is decoded and read again must be the same tokens, or the attack would not survive being
    typed.
    """
    places = torch.randint(0, len(suffix), (count * 4,), generator=generator)
    picks = torch.randint(0, choices.shape[1], (count * 4,), generator=generator)
    suffixes = [suffix]
    for place, pick in zip(places.tolist(), picks.tolist(), strict=True):
        tried = suffix.clone()
        tried[place] = choices[place, pick]
        again = tokenizer(tokenizer.decode(tried), add_special_tokens=False)["input_ids"]
        if again == tried.tolist():
            suffixes.append(tried)
        if len(suffixes) > count:
            break
    return torch.stack(suffixes)
