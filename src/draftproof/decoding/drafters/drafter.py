"""What a drafter is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

import torch

from draftproof.decoding.trees.tree import Tree


class Kind(Enum):
    """How candidates came about; a rule must know it to keep the target's distribution."""

    ONE_HOT = auto()
    """Chosen without a coin: a greedy draft, a lookup, the top k of a tree."""
    DENSE = auto()
    """Drawn from q; siblings independently of each other."""
    WITHOUT_REPLACEMENT = auto()
    """Siblings drawn from q one after the other, each time without those drawn before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a drafter is asked to continue.

    Attributes:
        texts: Committed tokens of each row, in the drafter's own prompt where it has one; None
            for a free row.
        tail: ``[B, 2] int64``, the last two committed tokens of each row.
        lengths: ``[B] int64``, committed tokens of each row, prompt included.
        longest: The largest of `lengths`.
        uniforms: ``[B, γ] float64`` in [0, 1).
        temperature: 0 is greedy.
        dense: Give rows at temperature 0 too, those at temperature 1, and the row after the last
            drafted token as well.
        rooms: Tokens that each row may still emit; drafting more is in vain.
    """

    texts: Sequence[Sequence[int] | None]
    tail: torch.Tensor
    lengths: torch.Tensor
    longest: int
    uniforms: torch.Tensor
    temperature: float
    dense: bool
    rooms: Sequence[int]


class Proposal(NamedTuple):
    """What is proposed to a batch.

    Attributes:
        tokens: ``[B, N] int64``; of a tree, the tokens of nodes 1 to N.
        q: The distributions that the tokens were drawn from, float32, None where there are none.
            Of a chain ``[B, N, V]``, row i that of token i (with a dense row, ``[B, N + 1, V]``);
            of a tree ``[B, N + 1, V]``, row j that of the children of node j.
        lengths: How many tokens of each row's chain are meant; None all of them.
        tree: The shape; None is a chain.
        kind: How the tokens came about; with `q` None always `Kind.ONE_HOT`.
    """

    tokens: torch.Tensor
    q: torch.Tensor | None = None
    lengths: Sequence[int] | None = None
    tree: Tree | None = None
    kind: Kind = Kind.ONE_HOT


class Drafter(Protocol):
    """Proposes tokens and hears what was kept.

    Attributes:
        gamma: Most tokens it proposes a row and round (nodes below the root).
        taps: Target layers whose states it wants to hear, as in
            `CausalModel.forward_with_states`; the empty tuple for none.
    """

    gamma: int
    taps: tuple[int, ...] = ()

    def open(self, rows: int, capacity: int) -> None:
        """Forget everything and make room for `rows` sequences of `capacity` tokens."""
        ...

    def admit(self, row: int, ids: Sequence[int], states: torch.Tensor | None) -> None:
        """Take a new sequence into `row`.

        Args:
            row: Where.
            ids: Its whole prompt.
            states: ``[n - 1, len(taps)·hidden]`` of all prompt tokens but the last, if tapped.
        """
        ...

    def propose(self, ask: Ask) -> Proposal:
        """Propose what may follow the committed texts."""
        ...

    def observe(self, accepted: Sequence[int], states: torch.Tensor | None) -> None:
        """Hear what was kept of the last proposal.

        Args:
            accepted: How many tokens of each row were kept.
            states: ``[B, D + 1, len(taps)·hidden]``, if tapped: those of the root and of the
                accepted path below it; columns beyond a row's accepted tokens mean nothing.
        """
        del accepted, states  # to many drafters the next texts say all


def option_said(error: Exception) -> str:
    """Return what an error about keyword arguments says of a plan's options.

    >>> option_said(TypeError("f() got an unexpected keyword argument 'layer'"))
    "there is no option 'layer'"
    """
    said = str(error)
    unknown = re.search(r"unexpected keyword argument ('\w+')", said)
    missing = re.search(r"missing \d+ required .*?arguments?: (.*)", said)
    if unknown:
        return f"there is no option {unknown[1]}"
    return f"needs the option {missing[1]}" if missing else said
