"""How far the shape of a computation moves a model's best logits.

The same tokens are read three times: one at a time beside others, as plain decoding does; in
blocks as wide as verification; and in one block, as a prompt is read and as a divergence is
scored again. The first answer is read once more without company. Exact arithmetic would give
four times the same numbers. Where our own kernels do (their bits do not depend on shapes), they
read at two widths only, and the three readings are made by torch as well, since the engines under
suspicion are not ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import torch

from draftproof.decoding import CausalModel
from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.prefill import prefill

_SAFETY = 3.0
"""The bound is this many times the largest disturbance seen."""
_RIVALS = 16
"""Only the target's best tokens can become its choice; their disturbance is what counts."""
_ANSWERS = 16
_TOKENS = 64
"""Answers read and tokens of each: about a thousand positions."""
_Texts = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def noise_bound(
    model: CausalModel, texts: Sequence[tuple[Sequence[int], Sequence[int]]], width: int
) -> float:
    """Return the largest margin, in nats, that the model's arithmetic can be blamed for.

    The disturbance of a position is the spread of the differences over its best tokens, because
    a shift common to all tokens changes no choice.

    Args:
        model: The target.
        texts: Token ids of prompts and of answers, as many as there are; some are taken.
        width: Columns of a verification.
    """
    step = max(len(texts) // _ANSWERS, 1)
    chosen = tuple((tuple(p), tuple(a[:_TOKENS])) for p, a in texts[::step][:_ANSWERS] if a)
    if not chosen:
        return _SAFETY * torch.finfo(model.dtype).eps
    return _SAFETY * _disturbance(model, chosen, width)


@lru_cache(maxsize=16)
def _disturbance(model: CausalModel, chosen: _Texts, width: int) -> float:
    """Return the largest disturbance; arms with one target and γ share it."""
    eps = torch.finfo(model.dtype).eps
    narrow = _read(model, chosen, 1)
    largest = 0.0
    passes = [narrow, _read(model, chosen, width)]
    torch_model = model.in_torch()
    if torch_model is model:
        passes.append(_read(model, chosen, _TOKENS))
    else:
        passes += [_read(torch_model, chosen, columns) for columns in (1, width, _TOKENS)]
    best = narrow.topk(min(_RIVALS, narrow.shape[2]), dim=2).indices
    held = torch.tensor([[i < len(a) for i in range(narrow.shape[1])] for _, a in chosen])
    for one, other in combinations(passes, 2):
        largest = max(largest, _spread(one, other, best, held))
    alone = _read(model, chosen[:1], 1)
    length = alone.shape[1]
    largest = max(
        largest, _spread(narrow[:1, :length], alone, best[:1, :length], held[:1, :length])
    )
    return max(largest, float(narrow.abs().max()) * eps)


def _read(model: CausalModel, texts: _Texts, width: int) -> torch.Tensor:
    """Return the rows that every answer token was chosen from, read `width` columns at a time.

    Returns:
        ``[B, T, V] float32`` on the CPU; rows past an answer's end mean nothing.
    """
    longest = max(len(a) for _, a in texts)
    width = min(width, longest)
    capacity = max(len(p) for p, _ in texts) + longest + width
    cache: RowCache = model.new_cache(len(texts), min(capacity, model.max_positions or capacity))
    for row, (prompt, _) in enumerate(texts):
        prefill(model, cache, row, prompt)
    rows = []
    for start in range(0, longest, width):
        block = torch.tensor(
            [_columns([*p[-1:], *a], start, width) for p, a in texts], device=model.device
        )
        starts = torch.tensor([len(p) - 1 + start for p, _ in texts], device=model.device)
        # a short answer is read again and again at its end; it must not leave the cache
        starts = starts.clamp(max=cache.capacity - width)
        rows.append(model.forward(block, starts, cache).cpu())
    return torch.cat(rows, dim=1)[:, :longest]


def _columns(text: Sequence[int], start: int, width: int) -> list[int]:
    piece = list(text[start : start + width])
    return piece + [text[-1]] * (width - len(piece))


def _spread(
    one: torch.Tensor, other: torch.Tensor, best: torch.Tensor, held: torch.Tensor
) -> float:
    shift = (one - other).gather(2, best)
    spread = shift.max(dim=2).values - shift.min(dim=2).values
    return float(spread[held].max())
