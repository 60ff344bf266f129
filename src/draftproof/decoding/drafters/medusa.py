"""Medusa: several heads look ahead at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.decoding.drafters.drafter import Ask, Drafter, Proposal
from draftproof.decoding.drafters.heads import Bound, refuse_dense, shifted
from draftproof.decoding.drafters.medusa_heads import MedusaHeads
from draftproof.decoding.drafters.ranks import Ranks
from draftproof.decoding.model import CausalModel


class Medusa(Drafter):
    """Proposes the heads' best tokens as a tree, or as a chain.

    Cai et al. 2024 (arXiv 2401.10774, section 2.1.2). A node of depth d and rank r holds the
    token that head d - 1 ranks r-th, whatever its parent is: heads do not read each other. They
    read the state before the root, which is the last one that the target has computed.

    Args:
        heads: The heads; moved to the target's device and dtype.
        target: The model that they were trained for.
        parents: The tree, siblings by rank; None is the chain of all heads.

    Raises:
        DraftproofError: The heads belong to another target.
        ValueError: The tree is deeper than there are heads.
    """

    taps: tuple[int, ...] = (-1,)

    def __init__(
        self, heads: MedusaHeads, target: CausalModel, parents: Sequence[int] | None = None
    ) -> None:
        self._bound = Bound(target, heads.shape)
        self._bound.adopt(heads)
        self._heads = heads
        self._ranks = Ranks(parents or range(-1, heads.shape.heads), str(target.device))
        if self._ranks.deepest > heads.shape.heads:
            raise ValueError(
                f"the tree is {self._ranks.deepest} deep, there are {heads.shape.heads} heads"
            )
        self.gamma = self._ranks.size
        self._depths = self._ranks.depths - 1
        self._states: torch.Tensor

    def open(self, rows: int, capacity: int) -> None:
        """See `Drafter.open`."""
        bound = self._bound
        hidden = self._heads.shape.hidden
        self._states = torch.zeros(rows, hidden, dtype=bound.dtype, device=bound.device)

    @torch.inference_mode()
    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.admit`; of a single token's prompt there is no state, it counts as zero."""
        self._states[row] = shifted(states, len(ids), "Medusa")[-1]

    @torch.inference_mode()
    def propose(self, ask: Ask) -> Proposal:
        """See `Drafter.propose`."""
        refuse_dense(ask.dense, "Medusa")
        ahead = self._heads(self._states, self._ranks.deepest)
        best = self._bound.logits(ahead).topk(self._ranks.widest, dim=-1).indices
        tokens = best[:, self._depths, self._ranks.ranks]
        return Proposal(tokens, tree=self._ranks.tree)

    @torch.inference_mode()
    def observe(self, accepted: Sequence[int], states: torch.Tensor | None = None) -> None:
        """See `Drafter.observe`; keep the state before the next root."""
        if states is not None:
            last = torch.tensor(accepted, device=states.device)
            self._states = states[torch.arange(len(accepted), device=states.device), last].clone()
