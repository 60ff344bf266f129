"""The sample spaces of SafeDecoding and of Speculative Safety-Aware Decoding.

Rows are ``[..., V]``: p of the target, q of the expert (arXiv 2402.08983 and 2508.17739). Ties in
probability and in score go to the lowest id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

_FEW, _MORE = 64, 8
"""Best tokens looked at first, and how many times as many where they do not settle the space."""


@dataclass(frozen=True, slots=True)
class Spaces:
    """The tokens that may follow, with both models' probabilities; all ``[..., M]`` or ``[...]``.

    Attributes:
        tokens: ``int64``; a token may be listed twice, and is then allowed in one place only.
        first: ``bool``, whether a token is listed here for the first time.
        p: The target's probabilities of them.
        q: The expert's.
        both: ``bool``, the intersection: tokens within the top k* of both models, k* being the
            least k for which these share `common` tokens.
        either: ``bool``, the union of the `common` best tokens of either model.
        best: ``bool``, the target's own k* best tokens.
        argmax: ``[...] int64``, the target's most probable token.
        argmax_outside_intersection: ``[...] bool``, whether the expert does not rank
            the argmax within k*.
    """

    tokens: torch.Tensor
    first: torch.Tensor
    p: torch.Tensor
    q: torch.Tensor
    both: torch.Tensor
    either: torch.Tensor
    best: torch.Tensor
    argmax: torch.Tensor
    argmax_outside_intersection: torch.Tensor

    def at(self, position: int) -> Self:
        """Return the spaces of one position of ``[B, W, ...]``."""
        return type(self)(*(getattr(self, name)[:, position] for name in self.__slots__))

    def composite(self, alpha: torch.Tensor | float) -> torch.Tensor:
        """Return p + α(q - p): α 0 is the target, 1 the expert, more goes beyond it."""
        weight = torch.as_tensor(alpha, device=self.p.device)[..., None]
        return self.p + weight.to(self.p.dtype) * (self.q - self.p)

    def choose(self, scores: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Return the allowed token of the highest score, ``[...] int64``."""
        scores = scores.masked_fill(~allowed, -torch.inf)
        top = scores.amax(dim=-1, keepdim=True)
        beyond = torch.iinfo(torch.int64).max
        return self.tokens.masked_fill(scores < top, beyond).amin(dim=-1)

    def spread(self, weights: torch.Tensor, vocabulary: int) -> torch.Tensor:
        """Return weights by token id, ``[..., V] float64``, zero outside of the space."""
        row = torch.zeros(
            *weights.shape[:-1], vocabulary, dtype=torch.float64, device=self.p.device
        )
        return row.scatter_add_(-1, self.tokens, weights.double())


def sample_spaces(p: torch.Tensor, q: torch.Tensor, common: int, few: int = _FEW) -> Spaces:
    """Return the spaces of every row.

    A token lies in the top k of both iff the worse of its two ranks is below k, so k* is one more
    than the `common`-th smallest of these worse ranks, and no search is needed. The ranks of the
    best tokens are enough wherever these share `common` tokens and no tie reaches beyond them.

    Args:
        p: ``[..., V] float32`` probabilities of the target.
        q: The expert's, of the same shape.
        common: C; with a smaller vocabulary all of it is shared.
        few: How many of the best tokens are looked at before all of them are.

    Raises:
        ValueError: The vocabularies differ in size.
    """
    if p.shape != q.shape:
        raise ValueError(
            f"the target's rows have {p.shape[-1]} tokens and the expert's {q.shape[-1]}: both "
            "must share one vocabulary"
        )
    vocabulary = p.shape[-1]
    common = min(common, vocabulary)
    while common < few < vocabulary:
        spaces, settled = _spaces(p, q, common, few)
        if settled:
            return spaces
        few *= _MORE
    return _spaces(p, q, common, vocabulary)[0]


def _spaces(p: torch.Tensor, q: torch.Tensor, common: int, size: int) -> tuple[Spaces, bool]:
    """Return the spaces by the `size` best tokens, and whether these settle them."""
    best_p, sure_p = _leaders(p, size)
    best_q, sure_q = _leaders(q, size)
    places = torch.arange(size, device=p.device).expand_as(best_p)
    nowhere = torch.full_like(p, size, dtype=torch.int64)
    rank_p = nowhere.scatter(-1, best_p, places)
    rank_q = nowhere.scatter(-1, best_q, places)
    worse = torch.maximum(places, rank_q.gather(-1, best_p))
    reach = worse.kthvalue(common, dim=-1, keepdim=True).values + 1
    # a token of the second list that is in the first as well is left out of the second
    again = rank_p.gather(-1, best_q[..., :common]) < size
    tokens = torch.cat([best_p, best_q[..., :common]], dim=-1)
    no = torch.zeros_like(again)
    argmax = best_p[..., :1]
    spaces = Spaces(
        tokens=tokens,
        first=torch.cat([~torch.zeros_like(worse, dtype=torch.bool), ~again], dim=-1),
        p=p.gather(-1, tokens),
        q=q.gather(-1, tokens),
        both=torch.cat([worse < reach, no], dim=-1),
        either=torch.cat([(places < common) | (rank_q.gather(-1, best_p) < common), ~again], -1),
        best=torch.cat([places < reach, no], dim=-1),
        argmax=argmax.squeeze(-1),
        argmax_outside_intersection=(rank_q.gather(-1, argmax) >= reach).squeeze(-1),
    )
    if size == p.shape[-1]:
        return spaces, True
    enough = reach.squeeze(-1) <= torch.minimum(sure_p, sure_q)
    return spaces, bool((enough & (common <= sure_p) & (common <= sure_q)).all())


def _leaders(rows: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `size` best tokens in order, and how many of these ranks no tie makes unsure."""
    if size == rows.shape[-1]:
        order = rows.argsort(dim=-1, descending=True, stable=True)
        return order, torch.full_like(order[..., 0], size)
    values, tokens = rows.topk(size + 1, dim=-1)
    sure = (values[..., :size] > values[..., size:]).sum(dim=-1)
    tokens = tokens[..., :size].sort(dim=-1).values
    order = rows.gather(-1, tokens).argsort(dim=-1, descending=True, stable=True)
    return tokens.gather(-1, order), sure
