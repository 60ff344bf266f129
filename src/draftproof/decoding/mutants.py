"""Decoders with one planted defect each.

Every defect is one that real stacks have had. The checks of `draftproof.decoding.selftest` must
catch each of them, and the screen must find an arm that is decoded by one and name the defect. A
mutant is chosen with ``decode(target, requests, settings, batch_type=MUTANTS[name])``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from draftproof.decoding.decisions import RoundDecision, RowDecision
from draftproof.decoding.drafters.drafter import Proposal
from draftproof.decoding.loop import Batch
from draftproof.decoding.rows import Row
from draftproof.decoding.rules.rule import Chains, TokenRule
from draftproof.decoding.trees.tree import Tree, tree_of
from draftproof.records.rules import PromiseLevel, RuleFacts


@dataclass(frozen=True, slots=True)
class _Lenient(TokenRule):
    """Accepts a draft that is the target's second choice."""

    name: ClassVar[str] = "lenient"
    facts: ClassVar[RuleFacts] = RuleFacts(PromiseLevel.LOSSY)
    dense: ClassVar[bool] = False

    def kept(self, chains: Chains) -> torch.Tensor:
        """See `TokenRule.kept`."""
        best = chains.logits[:, : chains.gamma].topk(2, dim=-1).indices
        return (best == chains.drafts[..., None]).any(dim=-1)

    def following(self, chains: Chains, accepted: torch.Tensor) -> torch.Tensor:
        """See `TokenRule.following`."""
        return chains.best.gather(1, accepted[:, None])[:, 0]


class LenientAccept(Batch):
    """The rule lets a draft through that the target ranks second."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rule = _Lenient()


class StaleCache(Batch):
    """After a rejection the rejected token's keys and values stay where the corrected one's belong.

    The corrected token is computed rightly, but whatever follows attends to the wrong one.
    """

    def forward(
        self, proposal: Proposal, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Batch.forward`."""
        spare = torch.full_like(lengths, self.capacity - 1)[:, None]
        corrected = [bool(r and r.answer.provenance[-1:] == ["c"]) for r in self.rows]
        root = (lengths - 1)[:, None]
        goal = torch.where(torch.tensor(corrected, device=root.device)[:, None], root, spare)
        self.cache.keep(root, spare)
        logits_and_states = super().forward(proposal, lengths)
        self.cache.keep(spare, goal)
        return logits_and_states


class MissingBonus(Batch):
    """The bonus token of a fully accepted round is emitted but never fed to the target.

    In its place the last accepted draft is fed a second time.
    """

    def roots(self) -> torch.Tensor:
        """See `Batch.roots`."""
        roots = super().roots()
        for place, row in enumerate(self.rows):
            if row is not None and row.answer.provenance[-1:] == ["b"]:
                roots[place, 0] = row.text[-2]
        return roots


class ProcessorOffByOne(Batch):
    """Every row of a block is shaped with the committed text, as if no draft stood before it."""

    def column_texts(
        self, answer: Sequence[int], drafts: Sequence[int], parents: Sequence[int]
    ) -> list[Sequence[int]]:
        """See `Batch.column_texts`."""
        return [answer] * (len(drafts) + 1)


class WrongPosition(Batch):
    """Drafted tokens are verified one position too far to the right."""

    def tree(self, proposal: Proposal) -> Tree | None:
        """See `Batch.tree`."""
        width = proposal.tokens.shape[1] + 1
        tree = proposal.tree or tree_of(list(range(-1, width - 1)), device=str(self.target.device))
        return replace(tree, depths=tree.depths + (tree.depths > 0).long())


class ReusedUniform(Batch):
    """The random number that rejected a draft also draws the token in its place."""

    def uniforms(self) -> torch.Tensor:
        """See `Batch.uniforms`."""
        uniforms = super().uniforms()
        uniforms[:, -1] = uniforms[:, self.gamma]
        return uniforms


class _DeafRow(Row):
    """Looks for an end only in the last token of what a round brings."""

    def _until_the_end(self, fresh: Sequence[int], stops: Collection[int]) -> int:
        count, shaping = min(len(fresh), self.room), self.request.shaping
        ended = bool(count) and fresh[count - 1] in stops
        if count and shaping is not None and shaping.stop_strings:
            ended = ended or shaping.stops_at([*self.answer.tokens, *fresh[:count]])
        if ended:
            self.answer.finish_reason = "stop"
        elif len(fresh) >= self.room:
            self.answer.finish_reason = "length"
        return count


class StopAcrossBlock(Batch):
    """An end inside an accepted block is passed over."""

    row_type = _DeafRow


class MissingDraft(Batch):
    """A corrected token swallows the last accepted draft before it."""

    def to_rows(
        self, proposal: Proposal, decision: RoundDecision, logits: torch.Tensor, fault: torch.Tensor
    ) -> list[RowDecision]:
        """See `Batch.to_rows`."""
        return [
            d._replace(drafts=d.drafts[:-1]) if d.letter == "c" and len(d.drafts) > 1 else d
            for d in super().to_rows(proposal, decision, logits, fault)
        ]


MUTANTS: dict[str, type[Batch]] = {
    "lenient_accept": LenientAccept,
    "missing_bonus": MissingBonus,
    "missing_draft": MissingDraft,
    "processor_off_by_one": ProcessorOffByOne,
    "reused_coin": ReusedUniform,
    "stale_kv": StaleCache,
    "stop_across_block": StopAcrossBlock,
    "wrong_position": WrongPosition,
}
