"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch

from draftproof.decoding.drafters.drafter import Kind
from draftproof.decoding.sampling import draw, probabilities
from draftproof.decoding.trees.tree import Tree
from draftproof.records.rules import RuleFacts


class Verification(NamedTuple):
    """What a rule keeps of a batch of chains.

    Attributes:
        accepted: ``[B] int64``, how many drafted tokens are kept, 0 to γ.
        token: ``[B] int64``, the corrected token, or the bonus token where all γ are kept.
        modes: ``[B, γ + 1] int64``, the mode each position was decided in, for a rule with modes.
        state: State after the emitted tokens, for a rule that has one.
        matches: ``[B, γ + 1] bool``, whether each token counts as the draft model's own choice,
            for a rule with modes; the modes follow from it.
    """

    accepted: torch.Tensor
    token: torch.Tensor
    modes: torch.Tensor | None = None
    state: Any = None
    matches: torch.Tensor | None = None


class TreeVerification(NamedTuple):
    """What a rule keeps of a batch of trees.

    Attributes:
        nodes: ``[B, deepest] int64``, the accepted nodes from the root's child on; beyond
            `accepted` any nodes.
        accepted: ``[B] int64``, how many nodes are kept.
        token: ``[B] int64``, what follows the last of them.
    """

    nodes: torch.Tensor
    accepted: torch.Tensor
    token: torch.Tensor


class Rule(Protocol):
    """Decides which drafted tokens of a chain are kept and what follows them."""

    name: ClassVar[str]
    facts: ClassVar[RuleFacts]
    """Its row in the table of rules' facts."""
    dense: ClassVar[bool]
    """Whether the rule needs the draft's rows even where drafting is deterministic."""
    needs_uniforms: ClassVar[bool] = False
    """Whether it draws at temperature 0 too."""

    def begin(self, rows: int, device: torch.device) -> Any:
        """Return the state of `rows` answers at their beginning, None for a rule without one."""
        return None

    def verify(
        self, drafts: torch.Tensor, logits: torch.Tensor, q: torch.Tensor | None,
        uniforms: torch.Tensor, temperature: float, state: Any = None,
    ) -> Verification:  # fmt: skip
        """Judge a batch of chains.

        Args:
            drafts: ``[B, γ] int64`` drafted tokens.
            logits: ``[B, γ + 1, V] float32`` target rows after every processor but temperature;
                row i follows the committed text and the first i drafts.
            q: ``[B, γ, V] float32`` the draft's rows: what the drafts were drawn from, or at
                temperature 0 the rows at temperature 1 for a `dense` rule, with the row after the
                last draft as well; None where the proposal was deterministic (one-hot).
            uniforms: ``[B, γ + 1] float64`` in [0, 1): γ for acceptance, the last for the token.
            temperature: 0 is greedy.
            state: What `begin` or the last round returned.
        """
        ...


@runtime_checkable
class TreeRule(Protocol):
    """A rule that can judge trees as well."""

    def verify_tree(
        self, tokens: torch.Tensor, tree: Tree, logits: torch.Tensor, q: torch.Tensor | None,
        kind: Kind, uniforms: torch.Tensor, temperature: float,
    ) -> TreeVerification:  # fmt: skip
        """Judge a batch of trees.

        Args:
            tokens: ``[B, N] int64``, the tokens of nodes 1 to N; siblings come in the order in
                which they were proposed.
            tree: The shape of N + 1 nodes.
            logits: ``[B, N + 1, V] float32`` target rows; row j follows the path to node j.
            q: ``[B, N + 1, V] float32``, the rows that the children of each node were drawn
                from; None where they were chosen without a coin.
            kind: How siblings came about.
            uniforms: ``[B, N + 1] float64`` in [0, 1): number i - 1 for node i,
                the last for the token.
            temperature: 0 is greedy.
        """
        ...


def leading(kept: torch.Tensor) -> torch.Tensor:
    """Return the length of the leading run of True in ``[B, γ] bool``, as ``[B] int64``."""
    return kept.long().cumprod(dim=1).sum(dim=1)


def row_at(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return ``rows[b, index[b]]`` of ``[B, N, V]`` as ``[B, V]``."""
    return rows[torch.arange(rows.shape[0], device=rows.device), index]


def after_rejection(
    drafts: torch.Tensor,
    p: torch.Tensor,
    q: torch.Tensor | None,
    accepted: torch.Tensor,
    uniforms: torch.Tensor,
) -> torch.Tensor:
    """Draw what follows the kept drafts: from max(p - q, 0), after all of them from p.

    Args:
        drafts: ``[B, γ] int64``.
        p: ``[B, γ + 1, V]`` target rows.
        q: ``[B, γ or more, V]`` draft rows; None is one-hot.
        accepted: ``[B] int64``.
        uniforms: ``[B] float64``.

    Returns:
        ``[B] int64``.
    """
    row_p, gamma = row_at(p, accepted), drafts.shape[1]
    at = accepted.clamp(max=gamma - 1)
    if q is None:
        residual = row_p.scatter(1, drafts.gather(1, at[:, None]), 0.0)
    else:
        residual = (row_p - row_at(q, at)).clamp(min=0)
    # p = q leaves no residual, yet rounding may still have rejected: fall back to p
    whole = (accepted[:, None] == gamma) | (residual.sum(dim=-1, keepdim=True) == 0)
    return draw(torch.where(whole, row_p, residual), uniforms)


def own_token(row: torch.Tensor, uniforms: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the target's own choice from its ``[B, V]`` row, by the last of the uniforms."""
    if temperature == 0:
        return row.argmax(dim=-1)
    return draw(probabilities(row, temperature), uniforms[:, -1])


@dataclass
class Chains:
    """A batch of chains under judgement, and what several tests read of them; see `Rule.verify`."""

    drafts: torch.Tensor
    logits: torch.Tensor
    q: torch.Tensor | None
    uniforms: torch.Tensor
    temperature: float

    @property
    def gamma(self) -> int:
        """Drafted tokens a row."""
        return self.drafts.shape[1]

    @cached_property
    def best(self) -> torch.Tensor:
        """``[B, γ + 1] int64``, the target's argmax."""
        return self.logits.argmax(dim=-1)

    @cached_property
    def p(self) -> torch.Tensor:
        """``[B, γ + 1, V] float32``, the target's rows; those at temperature 1 when greedy."""
        return probabilities(self.logits, self.temperature or 1.0)

    @cached_property
    def p_x(self) -> torch.Tensor:
        """``[B, γ] float64``, what the target says of each draft."""
        return of_drafts(self.p, self.drafts)

    def below(self, chance: torch.Tensor) -> torch.Tensor:
        """Return where u·q(x) < chance, ``[B, γ] bool``; q is 1 where drafting drew no coin."""
        coins = self.uniforms[:, : self.gamma]
        return (coins if self.q is None else coins * of_drafts(self.q, self.drafts)) < chance


def of_drafts(rows: torch.Tensor, drafts: torch.Tensor) -> torch.Tensor:
    """Return what the first γ of ``[B, γ or more, V]`` rows say of the drafts, ``float64``."""
    return rows[:, : drafts.shape[1]].gather(2, drafts[..., None]).squeeze(2).double()


class TokenRule(Rule):
    """A rule that keeps the leading drafts that pass a test at their own position.

    Attributes:
        reads_q: Whether it looks at the draft's rows; if not, every proposal counts as
            deterministic.
    """

    reads_q: ClassVar[bool] = True

    def kept(self, chains: Chains) -> torch.Tensor:
        """Return which drafts pass, ``[B, γ] bool``, whatever became of those before them."""
        raise NotImplementedError

    def following(self, chains: Chains, accepted: torch.Tensor) -> torch.Tensor:
        """Return what follows the first `accepted` drafts, ``[B] int64``."""
        if chains.temperature == 0:
            return chains.best.gather(1, accepted[:, None])[:, 0]
        last = chains.uniforms[:, chains.gamma]
        return after_rejection(chains.drafts, chains.p, chains.q, accepted, last)

    def verify(
        self, drafts: torch.Tensor, logits: torch.Tensor, q: torch.Tensor | None,
        uniforms: torch.Tensor, temperature: float, state: Any = None,
    ) -> Verification:  # fmt: skip
        """See `Rule.verify`."""
        chains = Chains(drafts, logits, q if self.reads_q else None, uniforms, temperature)
        accepted = leading(self.kept(chains))
        return Verification(accepted, self.following(chains, accepted))
