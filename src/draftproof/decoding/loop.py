"""The speculative loop.

Each round goes propose, forward, shape, rule, commit. Rows advance independently; a finished
row's place is taken by the next request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import torch

from draftproof.decoding.decisions import (
    RoundDecision,
    RowDecision,
    all_finite,
    decide,
    faults,
    move_path,
    to_host,
)
from draftproof.decoding.drafters.drafter import Ask, Proposal
from draftproof.decoding.forward.prefill import prefill
from draftproof.decoding.model import CausalModel
from draftproof.decoding.requests import Answer, AnswerDelta, Request
from draftproof.decoding.rows import Row
from draftproof.decoding.settings import Settings
from draftproof.decoding.shaping import path_texts
from draftproof.decoding.trees.tree import Tree


class Batch:
    """Rows, their caches, and the speculative step that advances them.

    A row's committed text y alone holds its state: the target's cache is valid for y[:-1], the
    next forward starts at the last committed token (the root), and a rejected token is rolled
    back by simply not counting it. A mutant overrides one stage of the step.
    """

    row_type: type[Row] = Row

    def __init__(
        self, target: CausalModel, settings: Settings, requests: Sequence[Request]
    ) -> None:
        self.target = target
        self.settings, self.capacity, self.width = settings.resolved(requests)
        self.drafter, self.rule, self.gamma = settings.drafter, settings.rule, settings.gamma
        self.eos = frozenset(settings.eos)
        self.rows: list[Row | None] = [None] * settings.batch
        self.cache = target.new_cache(settings.batch, self.capacity)
        self._initial_state = self.rule.begin(settings.batch, target.device)
        self._rule_state = self._initial_state
        self._taps = self.drafter.taps if self.drafter else ()
        self._no_uniforms = torch.zeros(
            settings.batch, 2 * self.gamma + 1, dtype=torch.float64, device=target.device
        )
        if self.drafter:
            self.drafter.open(settings.batch, self.capacity)

    @torch.inference_mode()
    def admit(self, place: int, request: Request) -> None:
        """Give a free place to a request."""
        states = prefill(self.target, self.cache, place, request.prompt, self._taps)
        if self.drafter:
            self.drafter.admit(place, request.draft_prompt or request.prompt, states)
        if self._rule_state is not None:
            self._rule_state = self._rule_state.reset(place, self._initial_state)
        answer = Answer(id=request.id, histogram=[0] * (self.gamma + 1 if self.gamma else 0))
        generator = torch.Generator().manual_seed(request.seed)
        self.rows[place] = self.row_type(request, answer, list(request.prompt), generator)

    @torch.inference_mode()
    def step(self) -> list[AnswerDelta]:
        """Advance every busy row by one round and free the rows that are finished."""
        busy = [(place, row) for place, row in enumerate(self.rows) if row is not None]
        starts = [len(row.answer.tokens) for _, row in busy]
        lengths = torch.tensor(self.lengths(), device=self.target.device)
        uniforms = self.uniforms()

        # 1. propose: up to gamma tokens a row, a chain or a tree
        proposal = self.propose(lengths, uniforms[:, : self.gamma])

        # 2. forward: the target's rows for the last committed token and everything proposed
        logits, states = self.forward(proposal, lengths)
        finite = all_finite(logits)
        if proposal.q is not None:
            finite = finite & all_finite(proposal.q)
            proposal = proposal._replace(q=proposal.q.nan_to_num(0.0, 0.0, 0.0))

        # 3. shape: logits processors and grammar, every column with its own text
        logits, possible = self.shape(logits, proposal)

        # 4. rule: the longest prefix (or path) that is kept, and the token after it
        decision = decide(
            self.rule, proposal, logits, uniforms[:, self.gamma :], self.settings.temperature,
            [row is not None for row in self.rows], self._rule_state,
        )  # fmt: skip
        self._rule_state = decision.state
        if proposal.tree is not None:
            move_path(self.cache, lengths, decision)
        row_decisions = self.to_rows(proposal, decision, logits, faults(finite, possible, decision))

        # 5. commit: append tokens, cut at the end of the answer; nothing else rolls back
        kept = [0] * len(self.rows)
        for place, row in busy:
            kept[place] = row.commit(row_decisions[place], self.target.name, self.eos)
        self._decide_doubtful([
            (place, row) for place, row in busy
            if row_decisions[place].token is None and not row.answer.finish_reason
        ])  # fmt: skip
        if self.drafter:
            self.drafter.observe(kept, None if states is None else decision.along_path(states))
        for place, row in busy:
            if row.answer.finish_reason:
                self.rows[place] = None
        return [AnswerDelta(row.answer, s) for (_, row), s in zip(busy, starts, strict=True)]

    def lengths(self) -> list[int]:
        """Return how many tokens each row has committed; of a free row 2, for nothing."""
        return [len(row.text) if row else 2 for row in self.rows]

    def roots(self) -> torch.Tensor:
        """Return ``[B, 1] int64``, the last committed token of each row."""
        roots = [[row.text[-1]] if row else [0] for row in self.rows]
        return torch.tensor(roots, device=self.target.device)

    def uniforms(self) -> torch.Tensor:
        """Return ``[B, 2γ + 1] float64`` in [0, 1), each row's from its own generator."""
        if self.settings.temperature == 0 and not self.rule.needs_uniforms:
            return self._no_uniforms
        uniforms = torch.zeros(self._no_uniforms.shape, dtype=torch.float64)
        for place, row in enumerate(self.rows):
            if row is not None:
                uniforms[place] = torch.rand(
                    uniforms.shape[1], dtype=torch.float64, generator=row.generator
                )
        return uniforms.to(self.target.device)

    def propose(self, lengths: torch.Tensor, uniforms: torch.Tensor) -> Proposal:
        """Return the drafter's proposal, cut to what the busy rows' chains need."""
        if self.drafter is None:
            return Proposal(lengths.new_empty(len(self.rows), 0))
        lags = [row.lag if row else 0 for row in self.rows]
        sizes = [size + lag for size, lag in zip(self.lengths(), lags, strict=True)]
        if any(lags):
            lengths = torch.tensor(sizes, device=lengths.device)
        tail = [row.tail() if row else [0, 0] for row in self.rows]
        ask = Ask(
            texts=[row.draft_text() if row else None for row in self.rows],
            tail=torch.tensor(tail, device=lengths.device),
            lengths=lengths,
            longest=max(sizes),
            uniforms=uniforms,
            temperature=self.settings.temperature,
            dense=self.rule.dense,
            rooms=[row.room if row else 0 for row in self.rows],
        )
        proposal = self.drafter.propose(ask)
        if proposal.lengths is None:
            return proposal
        by_row = zip(proposal.lengths, self.rows, strict=True)
        longest = max((n for n, row in by_row if row), default=0)
        q = None if proposal.q is None else proposal.q[:, :longest]
        return proposal._replace(tokens=proposal.tokens[:, :longest], q=q)

    def forward(
        self, proposal: Proposal, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the target's rows ``[B, N + 1, V]`` for roots and proposal, and tapped states."""
        block = torch.cat([self.roots(), proposal.tokens], dim=1)
        count, fixed = block.shape[1], self.settings.exactness == "same_shape"
        wanted = self.width if fixed or self.drafter is None else count
        if proposal.tree is None and wanted > count:
            block = torch.cat([block, block[:, -1:].expand(-1, wanted - count)], dim=1)
        # beyond what the rows have reached attention reads masked slots, which leave the bits
        # alone on a CPU; elsewhere equal shapes are kept equal to the last slot
        longest = None if fixed and self.target.device.type != "cpu" else max(self.lengths())
        logits, states = self.target.forward_with_states(
            block, lengths - 1, self.cache, longest=longest, tree=self.tree(proposal),
            taps=self._taps,
        )  # fmt: skip
        return logits[:, :count], states

    def tree(self, proposal: Proposal) -> Tree | None:
        """Return the shape of the block that is verified; None is a chain."""
        return proposal.tree

    def shape(
        self, logits: torch.Tensor, proposal: Proposal
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Shape every column of the block with its own text.

        Returns the rows, and ``[B, N + 1] bool``, whether any token may follow each of them; None
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
        shaped = list(logits)
        for place, (row, shaping) in enumerate(zip(self.rows, shapings, strict=True)):
            if row is not None and shaping is not None:
                tree = parents[place if len(parents) > 1 else 0]
                texts = self.column_texts(row.answer.tokens, drafts[place], tree)
                texts += [row.answer.tokens] * (logits.shape[1] - len(texts))
                shaped[place] = shaping.shape(
                    logits[place], row.request.prompt, texts, self.settings.temperature
                )
        rows = torch.stack(shaped)
        return rows, (rows > -torch.inf).any(dim=-1)

    def column_texts(
        self, answer: Sequence[int], drafts: Sequence[int], parents: Sequence[int]
    ) -> list[Sequence[int]]:
        """Return the answer's tokens before each column of the block."""
        return path_texts(answer, drafts, parents)

    def to_rows(
        self, proposal: Proposal, decision: RoundDecision, logits: torch.Tensor, fault: torch.Tensor
    ) -> list[RowDecision]:
        """Bring the decision to the host, row by row."""
        return to_host(proposal, decision, logits, fault, self.settings)

    def _decide_doubtful(self, undecided: Sequence[tuple[int, Row]]) -> None:
        """Decide the next token of some rows in a forward of one column, as plain decoding does."""
        if not undecided:
            return
        roots, lengths = self.roots(), self.lengths()
        logits = self.target.forward(
            roots, torch.tensor(lengths, device=roots.device) - 1, self.cache, longest=max(lengths)
        )
        finite = all_finite(logits)
        logits, possible = self.shape(logits, Proposal(roots[:, :0]))
        fault = faults(finite, possible).tolist()
        tokens = logits[:, 0].argmax(dim=-1).tolist()
        for place, row in undecided:
            row.answer.rechecked += 1
            decided = RowDecision((), tokens[place], 0, "p", fault=fault[place])
            row.commit(decided, self.target.name, self.eos)


def decode(
    target: CausalModel,
    requests: Sequence[Request],
    settings: Settings,
    *,
    batch_type: type[Batch] = Batch,
) -> Iterator[Answer]:
    """Continue every request and yield each answer as soon as it is finished.

    Args:
        target: The model whose answers are wanted.
        requests: What to continue; order decides who enters the batch first.
        settings: How.
        batch_type: What decodes a batch; `draftproof.decoding.mutants` has some that do it wrong.

    Yields:
        Answers in the order of finishing. A row whose logits are not finite ends with
        ``finish_reason == "error"``.

    Raises:
        DraftproofError: A request does not fit into the model.
        ValueError: See `Settings.resolved`.
    """
    for delta in stream(target, requests, settings, batch_type=batch_type):
        if delta.answer.finish_reason:
            yield delta.answer


def stream(
    target: CausalModel,
    requests: Sequence[Request],
    settings: Settings,
    *,
    batch_type: type[Batch] = Batch,
) -> Iterator[AnswerDelta]:
    """Do what `decode` does and yield what each round adds to each busy row's answer.

    The last item of an answer has its `finish_reason` set. Closing the generator ends the decoding.
    """
    if not requests:
        return
    batch, waiting = batch_type(target, settings, requests), deque(requests)
    while True:
        for place, row in enumerate(batch.rows):
            if row is None and waiting:
                batch.admit(place, waiting.popleft())
        if all(row is None for row in batch.rows):
            return
        yield from batch.step()
