"""Checks that a decoder must pass and that every mutant must fail.

They run on models small enough to know everything about: random ones over a handful of tokens,
where the law of an answer can be written down, so that nothing rests on a sample of text that
happens to look right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.loop import Batch, decode
from draftproof.decoding.model import CausalModel
from draftproof.decoding.requests import Answer, Request
from draftproof.decoding.sampling import probabilities
from draftproof.decoding.settings import Settings
from draftproof.decoding.shaping import Shaping

_GAMMA = 4
_END = 3
_LAW_VOCABULARY = 7
_DRAWS = 4000
_SEVERITY = 6.0
"""Standard deviations of Pearson's statistic that a right law exceeds in some 2 to 15 runs of a
million (chi-square with 49 to 20 degrees of freedom)."""


@dataclass(frozen=True, slots=True)
class RandomPair:
    """A random target and a draft that often agrees with it."""

    target: CausalModel
    draft: CausalModel


def random_pair(seed: int, vocabulary: int, noise: float = 0.04) -> RandomPair:
    """Return a random Llama of two layers and a noisy copy of it, fp32 on the CPU."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.35,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        target = LlamaForCausalLM(config).eval()
        draft = LlamaForCausalLM(config).eval()
        draft.load_state_dict(target.state_dict())
        with torch.no_grad():
            for weight in draft.parameters():
                weight.add_(noise * weight.std() * torch.randn(weight.shape))
    return RandomPair(CausalModel(target, "random target"), CausalModel(draft, "noisy copy"))


def _answers(
    pair: RandomPair,
    requests: list[Request],
    batch_type: type[Batch],
    *,
    plain: bool = False,
    temperature: float = 0.0,
    end: int = _END,
) -> dict[str, Answer]:
    drafter = None if plain else DraftModel(pair.draft, _GAMMA)
    found = decode(
        pair.target,
        requests,
        Settings(
            eos={end}, drafter=drafter, temperature=temperature, batch=min(len(requests), 500)
        ),
        batch_type=batch_type,
    )
    return {a.id: a for a in found}


def _prompts(count: int, vocabulary: int, seed: int) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(3, 9, (count,), generator=generator).tolist()
    draw = torch.randint
    return [tuple(draw(4, vocabulary, (n,), generator=generator).tolist()) for n in sizes]


def _same(batch_type: type[Batch], shaping: Shaping | None, end: int) -> bool:
    """Return whether speculative and plain decoding write the same tokens."""
    pair = random_pair(1, 29)
    requests = [
        Request(id=str(i), prompt=p, max_new_tokens=40, shaping=shaping)
        for i, p in enumerate(_prompts(24, 29, 5))
    ]
    plain = _answers(pair, requests, Batch, plain=True, end=end)
    fast = _answers(pair, requests, batch_type, end=end)
    return all(
        (fast[k].tokens, fast[k].finish_reason) == (plain[k].tokens, plain[k].finish_reason)
        for k in plain
    )


def greedy_equality(batch_type: type[Batch]) -> bool:
    """Greedy answers equal those of plain decoding, to a length that no end cuts short."""
    return _same(batch_type, None, end=-1)


def ends_inside_blocks(batch_type: type[Batch]) -> bool:
    """Greedy answers end where plain decoding ends them, wherever in a block that is."""
    return all(_same(batch_type, None, end=token) for token in (5, 11, 17, 23))


def processors_inside_blocks(batch_type: type[Batch]) -> bool:
    """With a penalty on tokens that the answer holds already, answers still equal plain ones."""

    def penalty(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        counts = torch.zeros_like(scores).scatter_add_(
            1, ids, torch.ones_like(ids, dtype=scores.dtype)
        )
        return scores - 1.5 * counts

    return _same(batch_type, Shaping(processors=(penalty,)), end=-1)


def exact_law(batch_type: type[Batch]) -> bool:
    """Sampled pairs of tokens follow the target's own law, by Pearson's test.

    The law of two tokens is written down from the target's rows: p(x₁)·p(x₂ | x₁).
    """
    size = _LAW_VOCABULARY
    pair = random_pair(4, size, noise=0.5)
    prompt = (4,)
    cache = pair.target.new_cache(size, 16)
    ids = torch.tensor([[*prompt, x] for x in range(size)])
    rows = pair.target.forward(ids, torch.zeros(size, dtype=torch.int64), cache)
    first, second = probabilities(rows[0, 0], 1.0), probabilities(rows[:, 1], 1.0)
    law = (first[:, None] * second).double()
    requests = [
        Request(id=str(i), prompt=prompt, max_new_tokens=2, seed=1000 + i) for i in range(_DRAWS)
    ]
    answers = _answers(pair, requests, batch_type, temperature=1.0, end=-1)
    counts = torch.zeros(size, size, dtype=torch.float64)
    for answer in answers.values():
        counts[answer.tokens[0], answer.tokens[1]] += 1
    expected = _DRAWS * law
    big = expected >= 5
    pearson = float(((counts - expected) ** 2 / expected)[big].sum())
    degrees = int(big.sum())
    return pearson < degrees + _SEVERITY * (2 * degrees) ** 0.5


Check = Callable[[type[Batch]], bool]

CHECKS: dict[str, Check] = {
    "greedy equality": greedy_equality,
    "ends inside blocks": ends_inside_blocks,
    "processors inside blocks": processors_inside_blocks,
    "exact law": exact_law,
}


def checked(batch_type: type[Batch]) -> dict[str, bool]:
    """Return whether a decoder passes each check.

    `Batch` must pass all of them; a mutant is killed by every one that it fails.
    """
    return {name: check(batch_type) for name, check in CHECKS.items()}
