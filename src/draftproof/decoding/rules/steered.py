"""One round of decoding a composite of target and expert, for every rule that has one.

The rule says which token the composite chooses, or by which law; what is here couples that with
what the expert drafted, so that as many drafts as possible are kept and none changes the answer.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch

from draftproof.decoding.rules.rule import Rule, Verification
from draftproof.decoding.rules.sample_spaces import Spaces
from draftproof.decoding.sampling import draw, probabilities


class SteeredState:
    """Where every row of a batch stands: a dataclass of columns ``[B]``, `mode` among them."""

    __slots__: tuple[str, ...] = ()
    mode: torch.Tensor

    def reset(self, row: int, fresh: Self) -> Self:
        """Return the state with `row` put at the beginning of an answer, as in `fresh`."""
        columns = {name: getattr(self, name).clone() for name in self.__slots__}
        for name, column in columns.items():
            column[row] = getattr(fresh, name)[row]
        return type(self)(**columns)


class SteeredRule(Rule):
    """A rule that chooses every token from a composite of target and expert.

    It says what the composite is at one position, with rows ``[B, ...]``; what becomes of a chain
    is the same for all.
    """

    dense: ClassVar[bool] = True

    def verify(
        self, drafts: torch.Tensor, logits: torch.Tensor, q: torch.Tensor | None,
        uniforms: torch.Tensor, temperature: float, state: Any = None,
    ) -> Verification:  # fmt: skip
        """See `Rule.verify`; q is ``[B, γ + 1, V]`` and the state moves on by what is emitted.

        Raises:
            ValueError: No dense rows, no state, another vocabulary, or expert rows that are not
                finite.
        """
        if state is None:
            raise ValueError(f"{self.name} needs a state")
        if temperature == 0:
            return greedy_round(self, drafts, logits, q, state)
        return sampled_round(self, drafts, logits, q, uniforms, temperature, state)

    def spaces(self, p: torch.Tensor, q: torch.Tensor) -> Spaces:
        """Return the sample spaces of rows ``[..., V]``."""
        raise NotImplementedError

    def choice(self, spaces: Spaces, state: Any) -> torch.Tensor:
        """Return the greedy token of each row, ``[B] int64``."""
        raise NotImplementedError

    def weights(self, spaces: Spaces, state: Any) -> torch.Tensor:
        """Return what a token's law is proportional to at temperature 1, ``[B, M]``, >= 0."""
        raise NotImplementedError

    def advance(self, state: Any, match: torch.Tensor, alive: torch.Tensor) -> Any:
        """Return the state after a token of the rows that are alive; all ``[B] bool``."""
        raise NotImplementedError

    def counts(
        self, match: torch.Tensor, chosen: torch.Tensor, spaces: Spaces, state: Any
    ) -> torch.Tensor:
        """Return which matches count, ``[B] bool``; `chosen` is the token of each row."""
        return match

    def steady(self, before: Any, after: Any) -> bool:
        """Return whether a composite chooses in one state what it chooses in another."""
        return bool(torch.equal(before.mode, after.mode))


def greedy_round(
    rule: SteeredRule,
    drafts: torch.Tensor,
    logits: torch.Tensor,
    q: torch.Tensor | None,
    state: Any,
) -> Verification:
    """Keep the drafts that the composite chooses as well; see `Rule.verify`.

    Raises:
        ValueError: The expert's rows are missing, too few, too narrow or not finite.
    """
    q = _checked(rule.name, logits, q)
    gamma = drafts.shape[1]
    own = q.argmax(dim=-1)
    spaces = rule.spaces(probabilities(logits, 1.0), q.masked_fill(logits == -torch.inf, 0.0))
    accepted = torch.zeros_like(own[:, 0])
    alive = torch.ones_like(accepted, dtype=torch.bool)
    token = torch.zeros_like(accepted)
    modes, matches = [], []
    # the whole block in the state that there is; again only from where that changes
    choices = rule.choice(spaces, _of_columns(state))
    for i in range(gamma + 1):
        chosen = choices[:, i]
        token = torch.where(alive, chosen, token)
        modes.append(state.mode)
        matches.append(rule.counts(chosen == own[:, i], chosen, spaces.at(i), state))
        before, state = state, rule.advance(state, matches[-1], alive)
        if i == gamma:
            break
        alive = alive & (chosen == drafts[:, i])
        accepted += alive.long()
        if drafts.is_cpu and not alive.any():
            # what follows is emitted by no row
            modes += [state.mode] * (gamma - i)
            matches += [torch.zeros_like(alive)] * (gamma - i)
            break
        if not rule.steady(before, state):
            choices = rule.choice(spaces, _of_columns(state))
    return Verification(
        accepted, token, torch.stack(modes, dim=1), state, torch.stack(matches, dim=1)
    )


def sampled_round(
    rule: SteeredRule,
    drafts: torch.Tensor,
    logits: torch.Tensor,
    q: torch.Tensor | None,
    uniforms: torch.Tensor,
    temperature: float,
    state: Any,
) -> Verification:
    """Keep drafts by the maximal coupling of the expert's law and the composite's.

    A draft x is kept iff u·q(x) < m(x); at a rejection the token comes from max(m - q, 0), after
    γ acceptances from m (Leviathan et al., arXiv 2211.17192, with m for p). A token is a match
    where the coupling makes both laws say the same: an accepted draft is one, a corrected token is
    none, and the token after the last draft is one with probability min(1, q(x)/m(x)), decided by
    what its coin leaves over.

    Raises:
        ValueError: The expert's rows are missing, too few, too narrow or not finite.
    """
    q = _checked(rule.name, logits, q)
    gamma, vocabulary = drafts.shape[1], logits.shape[-1]
    # rows are at the temperature that drafts are drawn with; the composite is formed at 1
    warm = q.double() ** temperature
    warm = (warm / warm.sum(dim=-1, keepdim=True)).float()
    spaces = rule.spaces(probabilities(logits, 1.0), warm.masked_fill(logits == -torch.inf, 0.0))
    accepted = drafts.new_zeros(len(drafts))
    alive = torch.ones_like(accepted, dtype=torch.bool)
    token = torch.zeros_like(accepted)
    modes, matches = [], []
    for i in range(gamma + 1):
        here = spaces.at(i)
        law = _law(here, rule.weights(here, state), rule.choice(here, state), temperature)
        law = here.spread(law, vocabulary)
        row_q = q[:, i].double()
        if i < gamma:
            x = drafts[:, i : i + 1]
            match = (uniforms[:, i : i + 1] * row_q.gather(1, x) < law.gather(1, x)).squeeze(1)
            residual = (law - row_q).clamp(min=0)
            empty = residual.sum(dim=-1, keepdim=True) == 0
            other = draw(torch.where(empty, law, residual), uniforms[:, gamma])
            chosen = torch.where(match, drafts[:, i], other)
        else:
            chosen = draw(law, uniforms[:, gamma])
            match = _coupled(law, row_q, chosen, uniforms[:, gamma])
        token = torch.where(alive, chosen, token)
        modes.append(state.mode)
        matches.append(rule.counts(match, chosen, here, state))
        state = rule.advance(state, matches[-1], alive)
        alive = alive & match if i < gamma else alive & False
        accepted += alive.long()
    return Verification(
        accepted, token, torch.stack(modes, dim=1), state, torch.stack(matches, dim=1)
    )


def _of_columns(state: Any) -> Any:
    """Return a state of ``[B]`` as one of ``[B, 1]``, for all positions of a block."""
    return type(state)(*(getattr(state, name)[:, None] for name in state.__slots__))


def _law(
    spaces: Spaces, weights: torch.Tensor, choice: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the law over the space, ``[B, M] float64``; without weight it is the greedy choice."""
    top = weights.double().amax(dim=-1, keepdim=True)
    tempered = (weights.double() / top.clamp(min=1e-300)) ** (1 / temperature)
    sole = (spaces.tokens == choice[:, None]) & spaces.first
    law = torch.where(top > 0, tempered, sole.double())
    return law / law.sum(dim=-1, keepdim=True)


def _coupled(
    law: torch.Tensor, q: torch.Tensor, chosen: torch.Tensor, uniforms: torch.Tensor
) -> torch.Tensor:
    """Return whether a token drawn from `law` by its coin is the expert's too, ``[B] bool``.

    The coin falls into the token's cell of the distribution function; its place within the cell
    is uniform and independent of the token.
    """
    mass = law.gather(1, chosen[:, None]).squeeze(1)
    below = law.cumsum(dim=-1).gather(1, chosen[:, None]).squeeze(1) - mass
    place = (uniforms * law.sum(dim=-1) - below).clamp(min=0)
    return place < q.gather(1, chosen[:, None]).squeeze(1)


def _checked(name: str, logits: torch.Tensor, q: torch.Tensor | None) -> torch.Tensor:
    if q is None or q.shape[1] != logits.shape[1]:
        raise ValueError(f"{name} needs the expert's row at every position")
    if q.shape[-1] != logits.shape[-1]:
        raise ValueError(
            f"{name}: the target's rows have {logits.shape[-1]} tokens and the expert's "
            f"{q.shape[-1]}: both must share one vocabulary"
        )
    if not bool(q.isfinite().all()):
        raise ValueError(f"{name}: the expert's probabilities are not finite")
    return q
