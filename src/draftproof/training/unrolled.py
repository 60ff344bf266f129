"""Attention of a head that is trained on its own outputs."""

from __future__ import annotations

import torch
from torch import Tensor


def later(states: Tensor, by: int) -> Tensor:
    """Move ``[B, T, ...]`` by some slots along T; what comes in is zero."""
    if by == 0:
        return states
    return torch.cat([torch.zeros_like(states[:, :by]), states[:, :-by]], dim=1)


class Unrolled:
    """The attention of training-time test (Li et al., arXiv 2503.01840, section 3.2).

    The sequence is run several times. In run s slot j reads what run s - 1 made of slot j - 1,
    as if the last s tokens had been drafted. Its keys are then those of run 0 up to slot j - s,
    where features are the target's, and one key of every later run r, that of slot j - (s - r).
    """

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `draftproof.decoding.drafters.eagle_head.Attend`; each call is the next run."""
        group = query.shape[2] // key.shape[2]
        self._keys.append(key.repeat_interleave(group, dim=2))
        self._values.append(value.repeat_interleave(group, dim=2))
        run, slots = len(self._keys) - 1, query.shape[1]
        query = query * query.shape[-1] ** -0.5
        scores = torch.einsum("bjhd,bihd->bhji", query, self._keys[0])
        unseen = torch.ones(slots, slots, dtype=torch.bool, device=query.device).triu(1 - run)
        scores = scores.masked_fill(unseen, -torch.inf)
        extra = [
            torch.einsum("bjhd,bjhd->bhj", query, later(self._keys[r], run - r))
            for r in range(1, run + 1)
        ]
        weights = torch.cat([scores, *(e[..., None] for e in extra)], dim=-1).softmax(dim=-1)
        mixed = torch.einsum("bhji,bihd->bjhd", weights[..., :slots], self._values[0])
        for r in range(1, run + 1):
            weight = weights[..., slots + r - 1].transpose(1, 2)[..., None]
            mixed = mixed + weight * later(self._values[r], run - r)
        return mixed.flatten(2)
