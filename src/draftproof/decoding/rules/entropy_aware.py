"""Entropy-aware verification: agreement in doubt is not trusted, a lossy rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from draftproof.decoding.rules.rule import Rule, Verification, leading, of_drafts, row_at
from draftproof.decoding.sampling import draw, probabilities
from draftproof.records.rules import RULE_FACTS, RuleFacts


@dataclass(frozen=True, slots=True)
class EntropyAware(Rule):
    """Reconstruction of Entropy-Aware Speculative Decoding (Su et al. 2025, arXiv 2512.23765).

    A draft x that the exact rule would keep is taken back where both models are in doubt about
    the same tokens: H(p) > entropy_p, H(q) > entropy_q, and the `top_n` best tokens of both share
    at least the fraction `overlap`. The token then comes from p without x, at temperature 0 its
    argmax, and the round ends. Entropies are in nats and of whole rows at temperature 1, since a
    row tempered to 0 has none.

    The authors' code and values were not public, hence the required parameters
    (`entropy_thresholds` finds two of them), the whole-vocabulary entropy and "at least" for the
    overlap are choices of ours.

    The rule is applied at every position, also at the one after the last draft, where x is what
    the draft would have proposed: its argmax at temperature 0, else a draw from q, integrated into
    r(y) = p(y)·(Σ_x a(x) - a(y)) + max(p(y) - q(y), 0) with a(x) = min(p(x), q(x)) / (1 - p(x)).
    The law of the answer therefore does not depend on γ.

    Args:
        entropy_p: Least entropy of the target's row, nats.
        entropy_q: Least entropy of the draft's row, nats.
        top_n: How many of the best tokens are compared.
        overlap: Fraction of them that both must share, in [0, 1].
    """

    entropy_p: float
    entropy_q: float
    top_n: int
    overlap: float

    name: ClassVar[str] = "entropy_aware"
    facts: ClassVar[RuleFacts] = RULE_FACTS["entropy_aware"]
    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.entropy_p < 0 or self.entropy_q < 0 or self.top_n < 1:
            raise ValueError("entropy_p and entropy_q must not be negative, top_n be at least 1")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"overlap must lie in [0, 1], got {self.overlap}")

    def verify(
        self, drafts: torch.Tensor, logits: torch.Tensor, q: torch.Tensor | None,
        uniforms: torch.Tensor, temperature: float, state: None = None,
    ) -> Verification:  # fmt: skip
        """See `Rule.verify`; q is ``[B, γ + 1, V]``.

        Raises:
            ValueError: The drafter gives no distributions.
        """
        if q is None or q.shape[1] != logits.shape[1]:
            raise ValueError("entropy_aware needs the draft's row at every position")
        gamma = drafts.shape[1]
        doubt = self._in_doubt(probabilities(logits, 1.0), _untempered(q, temperature))
        if temperature == 0:
            own = torch.cat([drafts, q[:, gamma:].argmax(dim=-1)], dim=1)
            best = logits.argmax(dim=-1)
            second = logits.scatter(2, best[..., None], -torch.inf).argmax(dim=-1)
            chosen = torch.where(doubt & (own == best), second, best)
            accepted = leading(chosen[:, :gamma] == drafts)
            return Verification(accepted, chosen.gather(1, accepted[:, None])[:, 0])
        p = probabilities(logits, temperature)
        agreed = uniforms[:, :gamma] * of_drafts(q, drafts) < of_drafts(p, drafts)
        accepted = leading(agreed & ~doubt[:, :gamma])
        row_p, row_q = row_at(p, accepted).double(), row_at(q, accepted).double()
        at = accepted.clamp(max=gamma - 1)[:, None]
        taken_back = row_p.scatter(1, drafts.gather(1, at), 0.0)
        residual = (row_p - row_q).clamp(min=0)
        weights = torch.where(agreed.gather(1, at), taken_back, residual)
        bonus = torch.where(doubt[:, gamma:], doubtful_law(row_p, row_q), row_p)
        weights = torch.where(accepted[:, None] < gamma, weights, bonus)
        empty = weights.sum(dim=-1, keepdim=True) == 0
        return Verification(accepted, draw(torch.where(empty, row_p, weights), uniforms[:, gamma]))

    def _in_doubt(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Return where both rows are uncertain about the same tokens, ``[B, γ + 1] bool``."""
        n = min(self.top_n, p.shape[-1])
        best_p, best_q = p.topk(n, dim=-1).indices, q.topk(n, dim=-1).indices
        shared = (best_p[..., :, None] == best_q[..., None, :]).any(dim=-1).sum(dim=-1)
        uncertain = (entropy(p) > self.entropy_p) & (entropy(q) > self.entropy_q)
        return uncertain & (shared.double() / n >= self.overlap)


def entropy(rows: torch.Tensor) -> torch.Tensor:
    """Return the entropy of distributions ``[..., V]`` in nats."""
    return torch.special.entr(rows).sum(dim=-1)


def doubtful_law(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return the law of a token in doubt, r of `EntropyAware`, for rows ``[B, V]``."""
    back = torch.minimum(p, q) / (1 - p).clamp(min=torch.finfo(p.dtype).tiny)
    return p * (back.sum(dim=-1, keepdim=True) - back) + (p - q).clamp(min=0)


def entropy_thresholds(p: torch.Tensor, q: torch.Tensor, percentile: float) -> tuple[float, float]:
    """Return the entropies that a share of logged rows lies below, for `EntropyAware`.

    Args:
        p: ``[n, V]`` target rows at temperature 1.
        q: ``[n, V]`` draft rows at the same positions.
        percentile: In [0, 100].

    Raises:
        ValueError: No rows, or no such percentile.
    """
    if not 0 <= percentile <= 100 or not p.shape[0] or p.shape != q.shape:
        raise ValueError(
            f"a percentile of rows is wanted, got {percentile} of {tuple(p.shape)} and "
            f"{tuple(q.shape)}"
        )
    level = percentile / 100
    return float(entropy(p).quantile(level)), float(entropy(q).quantile(level))


def _untempered(q: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return rows at temperature 1 from rows at a temperature; at 0 they are so already."""
    return torch.softmax(q.log() * temperature, dim=-1) if temperature > 0 else q
