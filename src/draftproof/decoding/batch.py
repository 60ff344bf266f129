"""The rows that are decoded together, and one round of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from draftproof.decoding.drafters.drafter import Ask, Drafter, Proposal
from draftproof.decoding.forward.prefill import prefill
from draftproof.decoding.judging import Judged, first_doubtful, judge, logprobs
from draftproof.decoding.model import CausalModel
from draftproof.decoding.requests import Answer, Request
from draftproof.decoding.rows import Outcome, Row
from draftproof.decoding.rules.rule import Rule
from draftproof.decoding.trees.tree import Tree

Exactness = Literal["fast", "same_shape", "recheck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a batch is decoded; the arguments of `draftproof.decoding.decode`."""

    temperature: float
    width: int
    rows: int
    capacity: int
    exactness: Exactness = "fast"
    noise_bound: float = 0.0
    logprobs: bool = False


class Batch:
    """Rows, caches, drafter and rule.

    A row's committed text y alone holds its state: the target's cache is valid for y[:-1], the
    next forward starts at the last committed token (the root), and a rejected token is rolled
    back by simply not counting it.
    """

    row_type: type[Row] = Row

    def __init__(
        self, target: CausalModel, drafter: Drafter | None, rule: Rule, settings: Settings
    ) -> None:
        self.target, self.drafter, self.rule, self.settings = target, drafter, rule, settings
        count = settings.rows
        self.rows: list[Row | None] = [None] * count
        self._cache = target.new_cache(count, settings.capacity)
        self._fresh = rule.begin(count, target.device)
        self._course = self._fresh
        self._gamma = self.drafter.gamma if self.drafter else 0
        self._taps = self.drafter.taps if self.drafter else ()
        self._states: torch.Tensor | None = None
        self._no_coins = torch.zeros(
            count, 2 * self._gamma + 1, dtype=torch.float64, device=target.device
        )
        if self.drafter:
            self.drafter.open(count, self.settings.capacity)

    @torch.inference_mode()
    def admit(self, place: int, request: Request) -> None:
        """Give a free place to a request."""
        states = prefill(self.target, self._cache, place, request.prompt, self._taps)
        if self.drafter:
            self.drafter.admit(place, request.draft_prompt or request.prompt, states)
        if self._course is not None:
            self._course = self._course.restarted(place, self._fresh)
        answer = Answer(id=request.id, histogram=[0] * (self._gamma + 1 if self._gamma else 0))
        generator = torch.Generator().manual_seed(request.seed)
        self.rows[place] = self.row_type(request, answer, list(request.prompt), generator)

    @torch.inference_mode()
    def round(self) -> list[Outcome]:
        """Propose, run the target once and judge; what is said of a free place means nothing."""
        lengths = torch.tensor(self._sizes(), device=self.target.device)
        coins = self._coins()
        proposal = self._propose(lengths, coins[:, : self._gamma])
        logits = self._verify_forward(proposal, lengths)
        finite = _finite(logits)
        if proposal.q is not None:
            finite = finite & _finite(proposal.q)
            proposal = proposal._replace(q=proposal.q.nan_to_num(0.0, 0.0, 0.0))
        logits, possible = self._shaped(logits, proposal)
        judged = judge(
            self.rule, proposal, logits, coins[:, self._gamma :], self.settings.temperature,
            [row is not None for row in self.rows], self._course,
        )  # fmt: skip
        self._course = judged.course
        if proposal.tree is not None:
            self._keep_path(lengths, judged)
        if self._states is not None:
            index = judged.path()[..., None].expand(-1, -1, self._states.shape[-1])
            self._states = self._states.gather(1, index)
        if possible is not None:
            steps = torch.arange(judged.tokens.shape[1] + 1, device=possible.device)
            beyond = steps > judged.accepted[:, None]
            possible = (possible.gather(1, judged.path()) | beyond).all(dim=1)
        return self._outcomes(proposal, judged, logits, _fault(finite, possible))

    def observe(self, kept: Sequence[int]) -> None:
        """Tell the drafter how many tokens of each row's proposal were committed."""
        if self.drafter:
            self.drafter.observe(kept, self._states)

    @torch.inference_mode()
    def recheck(self) -> list[Outcome]:
        """Decide the next token of every row at the shape of plain decoding."""
        lengths = torch.tensor(self._sizes(), device=self.target.device)
        logits = self.target.forward(
            self._roots(), lengths - 1, self._cache, longest=max(self._sizes())
        )
        finite = _finite(logits)
        logits, possible = self._shaped(logits, Proposal(self._roots()[:, :0]))
        fault = _fault(finite, None if possible is None else possible[:, 0]).tolist()
        tokens = logits[:, 0].argmax(dim=-1).tolist()
        return [Outcome((), t, 0, "p", fault=f) for t, f in zip(tokens, fault, strict=True)]

    def _sizes(self) -> list[int]:
        return [len(row.text) if row else 2 for row in self.rows]

    def _roots(self) -> torch.Tensor:
        roots = [[row.text[-1]] if row else [0] for row in self.rows]
        return torch.tensor(roots, device=self.target.device)

    def _coins(self) -> torch.Tensor:
        """Return ``[B, 2γ + 1] float64`` coins, each row's from its own generator."""
        count = 2 * self._gamma + 1
        if self.settings.temperature == 0 and not getattr(self.rule, "tosses", False):
            return self._no_coins
        coins = torch.zeros(len(self.rows), count, dtype=torch.float64)
        for place, row in enumerate(self.rows):
            if row is not None:
                coins[place] = torch.rand(count, dtype=torch.float64, generator=row.generator)
        return coins.to(self.target.device)

    def _propose(self, lengths: torch.Tensor, coins: torch.Tensor) -> Proposal:
        if self.drafter is None:
            return Proposal(lengths.new_empty(len(self.rows), 0))
        lags = [row.lag if row else 0 for row in self.rows]
        sizes = [size + lag for size, lag in zip(self._sizes(), lags, strict=True)]
        if any(lags):
            lengths = torch.tensor(sizes, device=lengths.device)
        tail = [row.tail() if row else [0, 0] for row in self.rows]
        ask = Ask(
            texts=[row.draft_text() if row else None for row in self.rows],
            tail=torch.tensor(tail, device=lengths.device),
            lengths=lengths,
            longest=max(sizes),
            coins=coins,
            temperature=self.settings.temperature,
            dense=self.rule.dense,
            rooms=[row.room if row else 0 for row in self.rows],
        )
        proposal = self.drafter.propose(ask)
        if proposal.lengths is not None:
            most = max(
                (n for n, row in zip(proposal.lengths, self.rows, strict=True) if row), default=0
            )
            q = None if proposal.q is None else proposal.q[:, :most]
            proposal = proposal._replace(tokens=proposal.tokens[:, :most], q=q)
        return proposal

    def _verify_forward(self, proposal: Proposal, lengths: torch.Tensor) -> torch.Tensor:
        """Return the target's rows ``[B, N + 1, V]`` for the roots and what is proposed."""
        settings = self.settings
        block = torch.cat([self._roots(), proposal.tokens], dim=1)
        count, fixed = block.shape[1], settings.exactness == "same_shape"
        wanted = settings.width if fixed or self.drafter is None else count
        if proposal.tree is None and wanted > count:
            block = torch.cat([block, block[:, -1:].expand(-1, wanted - count)], dim=1)
        # beyond what the rows have reached attention reads masked slots, which leave the bits
        # alone on a CPU; elsewhere equal shapes are kept equal to the last slot
        longest = None if fixed and self.target.device.type != "cpu" else max(self._sizes())
        logits, self._states = self.target.forward_with_states(
            block, lengths - 1, self._cache, longest=longest, tree=self._shape(proposal),
            taps=self._taps,
        )  # fmt: skip
        return logits[:, :count]

    def _shape(self, proposal: Proposal) -> Tree | None:
        """Return the shape of the block that is verified; None is a chain."""
        return proposal.tree

    def _shaped(
        self, logits: torch.Tensor, proposal: Proposal
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Shape every row of the block with its own text.

        Returns:
            The rows, and ``[B, N + 1] bool``, whether any token may follow each of them; None
            where nothing is shaped.
        """
        shapings = [row.request.shaping if row else None for row in self.rows]
        if not any(shapings):
            return logits, None
        reads = any(s.reads_text for s in shapings if s)
        drafts = proposal.tokens.tolist() if reads else [[]] * len(self.rows)
        parents = [list(range(-1, proposal.tokens.shape[1]))]
        if proposal.tree is not None and reads:
            parents = proposal.tree.parents.tolist()
        shaped = []
        for place, (row, shaping) in enumerate(zip(self.rows, shapings, strict=True)):
            own = logits[place]
            if row is not None and shaping is not None:
                shape = parents[place if len(parents) > 1 else 0]
                texts = self._texts_of_columns(row.answer.tokens, drafts[place], shape)
                texts += [row.answer.tokens] * (own.shape[0] - len(texts))
                own = shaping.shape(own, row.request.prompt, texts, self.settings.temperature)
            shaped.append(own)
        rows = torch.stack(shaped)
        return rows, (rows > -torch.inf).any(dim=-1)

    def _texts_of_columns(
        self, answer: Sequence[int], drafts: Sequence[int], parents: Sequence[int]
    ) -> list[Sequence[int]]:
        """Return the answer's tokens before each column: the committed ones and its own path."""
        texts: list[Sequence[int]] = [answer]
        for node, token in enumerate(drafts, start=1):
            texts.append([*texts[parents[node]], token])
        return texts

    def _keep_path(self, lengths: torch.Tensor, judged: Judged) -> None:
        """Move the accepted path's keys and values to the slots behind the root."""
        nodes = judged.path()[:, 1:]
        depth = torch.arange(1, nodes.shape[1] + 1, device=lengths.device)
        goal = (lengths - 1)[:, None] + depth
        source = (lengths - 1)[:, None] + nodes
        source = torch.where(depth <= judged.accepted[:, None], source, goal)
        self._cache.keep(source, goal)

    def _outcomes(
        self, proposal: Proposal, judged: Judged, logits: torch.Tensor, fault: torch.Tensor
    ) -> list[Outcome]:
        """Bring a round's decision to the host: its only transfer from the device."""
        settings, depth = self.settings, judged.tokens.shape[1]
        singles = [judged.accepted, judged.token, fault]
        if settings.exactness == "recheck":
            singles.append(first_doubtful(logits, judged.path(), settings.noise_bound))
        if judged.leaf is not None:
            singles.append(judged.leaf)
        columns = [torch.stack(singles, dim=1), judged.tokens]
        columns += [c.long() for c in (judged.modes, judged.matches) if c is not None]
        packed: list[list[Any]] = torch.cat(columns, dim=1).tolist()
        scores = logprobs(logits, judged, settings.temperature) if settings.logprobs else []
        offered = proposal.lengths or [proposal.tokens.shape[1]] * len(self.rows)
        outcomes = []
        for place, size in enumerate(offered):
            accepted, token, trouble, *rest = packed[place]
            doubtful = rest.pop(0) if settings.exactness == "recheck" else accepted + 1
            leaf = accepted == size if judged.leaf is None else rest.pop(0)
            drafts, rest = rest[:depth][:accepted], rest[depth:]
            letter = "p" if not size else "b" if leaf else "c"
            if doubtful <= accepted:
                drafts, token = drafts[:doubtful], None
            own = scores[place][: accepted + 1] if scores else ()
            modes = rest[: depth + 1] if judged.modes is not None else ()
            matches = rest[-depth - 1 :] if judged.matches is not None else ()
            outcomes.append(Outcome(drafts, token, size, letter, trouble, modes, matches, own))
        return outcomes


def _finite(rows: torch.Tensor) -> torch.Tensor:
    """Return ``[B] bool``, whether all of ``[B, N, V]`` are; 0 times a sum is 0 only then."""
    return rows.flatten(1).sum(dim=1) * 0 == 0


def _fault(finite: torch.Tensor, possible: torch.Tensor | None) -> torch.Tensor:
    """Return ``[B] int64``: 0 fine, 1 rows are not finite, 2 no token may follow."""
    if possible is None:
        return (~finite).long()
    return torch.where(finite, torch.where(possible, 0, 2), 1)
