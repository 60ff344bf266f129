"""How likely the k-th sibling of a draft is the one accepted, measured on logged rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from draftproof.decoding.sampling import draw, probabilities


class Acceptance(NamedTuple):
    """An acceptance vector.

    Attributes:
        vector: p_k by rank: how likely the k-th sibling is accepted, all its elders rejected.
        positions: Over how many positions it is the mean.
    """

    vector: tuple[float, ...]
    positions: int

    @property
    def none(self) -> float:
        """How likely no sibling is accepted."""
        return 1 - sum(self.vector)


def measure_acceptance(
    rows: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    ranks: int,
    temperature: float,
    seed: int = 0,
) -> Acceptance:
    """Return the mean acceptance by rank.

    At temperature 0 siblings are the draft's best tokens, and one is accepted iff it is the
    target's argmax. Otherwise they are drawn without replacement, and their acceptance is
    integrated over the uniforms of verification (Chen et al. 2024, arXiv 2402.12374): p_k =
    (1 - Σ_{j<k} p_j)·min(1, P(x_k) / Q(x_k)) on the successive residuals.

    Args:
        rows: Logits of target and draft at the same positions, ``[n, V]`` each.
        ranks: Siblings.
        temperature: Of sampling.
        seed: Of the uniforms that draw siblings.

    Raises:
        ValueError: No rows.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(ranks, dtype=torch.float64)
    positions = 0
    for p, q in rows:
        if temperature == 0:
            best = q.topk(min(ranks, q.shape[-1]), dim=-1).indices
            chances = (best == p.argmax(dim=-1, keepdim=True)).double()
            chances = torch.nn.functional.pad(chances, (0, ranks - chances.shape[1]))
        else:
            uniforms = torch.rand(p.shape[0], ranks, dtype=torch.float64, generator=generator)
            chances = branch_chances(
                probabilities(p, temperature),
                probabilities(q, temperature),
                uniforms.to(p.device),
            )
        total += chances.sum(dim=0).cpu()
        positions += p.shape[0]
    if not positions:
        raise ValueError("acceptance is measured on rows, and there are none")
    return Acceptance(tuple((total / positions).tolist()), positions)


def branch_chances(p: torch.Tensor, q: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Return how likely each of some siblings, drawn without replacement, is accepted.

    Args:
        p: ``[n, V]`` target rows.
        q: ``[n, V]`` draft rows.
        uniforms: ``[n, k] float64``, one a sibling.

    Returns:
        ``[n, k] float64``, the k-th sibling accepted and all its elders rejected.
    """
    left, drawn = p.double(), q.double()
    rest = torch.ones_like(left[:, 0])
    found = []
    for rank in range(uniforms.shape[1]):
        token = draw(drawn, uniforms[:, rank])[:, None]
        drawn = drawn / drawn.sum(dim=-1, keepdim=True).clamp(min=1e-300)
        share, chance = drawn.gather(1, token), left.gather(1, token)
        kept = torch.where(share > 0, chance / share.clamp(min=1e-300), 0).clamp(max=1)[:, 0]
        found.append(rest * kept)
        rest = rest * (1 - kept)
        residual = (left - drawn).clamp(min=0)
        mass = residual.sum(dim=-1, keepdim=True)
        left = torch.where(mass > 0, residual / mass.clamp(min=1e-300), left)
        drawn = drawn.scatter(1, token, 0.0)
    return torch.stack(found, dim=1)
