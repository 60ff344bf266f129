"""From a proposal and the target's rows to the decision: chains, ragged chains and trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from draftproof.decoding.cache import RowCache
from draftproof.decoding.drafters.drafter import Proposal
from draftproof.decoding.rules.rule import Rule, TreeRule, Verification
from draftproof.decoding.sampling import draw, probabilities
from draftproof.decoding.settings import Settings


class RoundDecision(NamedTuple):
    """A round's decision, still on the device; D is the depth of the proposal.

    Attributes:
        tokens: ``[B, D] int64``, the accepted path's tokens.
        accepted: ``[B] int64``.
        token: ``[B] int64``, what follows.
        nodes: ``[B, D] int64``, the path's nodes in the block of a tree; None for a chain, whose
            node i is the i-th token.
        leaf: ``[B] int64``, 1 where nothing was proposed below the path of a tree.
        modes: ``[B, D + 1] int64``, or None.
        matches: ``[B, D + 1] bool``, or None.
        state: The rule's state after the round.
    """

    tokens: torch.Tensor
    accepted: torch.Tensor
    token: torch.Tensor
    nodes: torch.Tensor | None = None
    leaf: torch.Tensor | None = None
    modes: torch.Tensor | None = None
    matches: torch.Tensor | None = None
    state: Any = None

    def path(self) -> torch.Tensor:
        """Return ``[B, D + 1] int64``, the block's columns along the path, the root's first."""
        rows, depth = self.tokens.shape
        if self.nodes is None:
            return torch.arange(depth + 1, device=self.tokens.device).expand(rows, -1)
        return torch.cat([self.nodes.new_zeros(rows, 1), self.nodes], dim=1)

    def along_path(self, states: torch.Tensor) -> torch.Tensor:
        """Return those of the block's ``[B, N + 1, H]`` states that lie on the path."""
        return states.gather(1, self.path()[..., None].expand(-1, -1, states.shape[-1]))


class RowDecision(NamedTuple):
    """What a round decided for one row, on the host.

    Attributes:
        drafts: The accepted tokens.
        token: What follows them; None where that is still to be decided.
        proposed: Tokens that were proposed.
        letter: Provenance of `token`.
        fault: 0, or why the row cannot go on: 1 rows are not finite, 2 no token may follow.
        modes: The mode each token was decided in, for a rule with modes.
        matches: Whether each token was the draft model's own choice, for a rule that counts them.
        logprobs: Of the accepted tokens and the one that follows, if asked for.
    """

    drafts: Sequence[int]
    token: int | None
    proposed: int
    letter: str
    fault: int = 0
    modes: Sequence[int] = ()
    matches: Sequence[int] = ()
    logprobs: Sequence[float] = ()


def decide(
    rule: Rule, proposal: Proposal, logits: torch.Tensor, uniforms: torch.Tensor,
    temperature: float, busy: Sequence[bool], state: Any,
) -> RoundDecision:  # fmt: skip
    """Let the rule decide about every row.

    A chain rule sees chains of one length; where rows propose different lengths it is asked once
    for each length, with the rows that propose it.

    Args:
        rule: Decides.
        proposal: What is proposed.
        logits: ``[B, N + 1, V] float32`` target rows.
        uniforms: ``[B, γ + 1] float64``: those of the proposed tokens, then that of the token.
        temperature: 0 is greedy.
        busy: Which rows hold a request; the others may be decided anyhow.
        state: The rule's state.

    Raises:
        ValueError: The rule does not judge trees, or has a state that ragged chains cannot keep.
    """
    if proposal.tree is not None:
        return _decide_trees(rule, proposal, logits, uniforms, temperature, state)
    lengths = proposal.lengths or [proposal.tokens.shape[1]] * len(busy)
    distinct = {n for n, is_busy in zip(lengths, busy, strict=True) if is_busy}
    if len(distinct) < 2:
        length = distinct.pop() if distinct else 0
        verified = _decide_chains(rule, proposal, logits, uniforms, temperature, length, state)
    else:
        if state is not None:
            raise ValueError(f"the rule {rule.name!r} needs proposals of one length")
        limit = torch.tensor(lengths, device=logits.device)
        accepted, token = torch.zeros_like(limit), torch.zeros_like(limit)
        for length in distinct:
            rows = (limit == length).nonzero()[:, 0]
            part = Proposal(proposal.tokens[rows], None if proposal.q is None else proposal.q[rows])
            kept = _decide_chains(
                rule, part, logits[rows], uniforms[rows], temperature, length, None
            )
            accepted[rows], token[rows] = kept.accepted, kept.token
        verified = Verification(accepted, token)
    return RoundDecision(
        proposal.tokens, verified.accepted, verified.token,
        modes=verified.modes, matches=verified.matches, state=verified.state,
    )  # fmt: skip


def _decide_chains(
    rule: Rule, proposal: Proposal, logits: torch.Tensor, uniforms: torch.Tensor,
    temperature: float, length: int, state: Any,
) -> Verification:  # fmt: skip
    """Judge rows that all propose `length` tokens."""
    rows = logits[:, : length + 1]
    # a rule that changes the target distribution decides without a draft too, by the rows of both
    # models
    if length == 0 and not (rule.facts.changes_target and proposal.tokens.shape[1] == 0):
        token = (
            rows[:, 0].argmax(dim=-1)
            if temperature == 0
            else draw(probabilities(rows[:, 0], temperature), uniforms[:, -1])
        )
        return Verification(torch.zeros_like(token), token, state=state)
    q = proposal.q
    if q is not None:
        q = q[:, : length + rule.dense]
    uniforms = torch.cat([uniforms[:, :length], uniforms[:, -1:]], dim=1)
    return rule.verify(proposal.tokens[:, :length], rows, q, uniforms, temperature, state)


def _decide_trees(
    rule: Rule, proposal: Proposal, logits: torch.Tensor, uniforms: torch.Tensor,
    temperature: float, state: Any,
) -> RoundDecision:  # fmt: skip
    tree = proposal.tree
    if tree is None or not isinstance(rule, TreeRule):
        raise ValueError(f"the rule {rule.name!r} judges chains; this drafter proposes trees")
    uniforms = torch.cat([uniforms[:, : tree.size - 1], uniforms[:, -1:]], dim=1)
    verified = rule.verify_tree(
        proposal.tokens, tree, logits, proposal.q, proposal.kind, uniforms, temperature
    )
    nodes = verified.nodes
    tokens = proposal.tokens.gather(1, (nodes - 1).clamp(min=0))
    path = torch.cat([torch.zeros_like(nodes[:, :1]), nodes], dim=1)
    last = path.gather(1, verified.accepted[:, None])
    leaf = ~(tree.parents.expand(nodes.shape[0], -1)[:, 1:] == last).any(dim=1)
    return RoundDecision(tokens, verified.accepted, verified.token, nodes, leaf.long(), state=state)


def all_finite(rows: torch.Tensor) -> torch.Tensor:
    """Return ``[B] bool``, whether all of ``[B, N, V]`` are; 0 times a sum is 0 only then."""
    return rows.flatten(1).sum(dim=1) * 0 == 0


def faults(
    finite: torch.Tensor, possible: torch.Tensor | None, decision: RoundDecision | None = None
) -> torch.Tensor:
    """Return ``[B] int64``: 0 fine, 1 rows are not finite, 2 no token may follow.

    Args:
        finite: ``[B] bool``.
        possible: ``[B, N + 1] bool``, whether any token may follow each column; None is yes.
        decision: Says which columns were read; None reads the first.
    """
    if possible is None:
        return (~finite).long()
    if decision is None:
        possible = possible[:, 0]
    else:
        steps = torch.arange(decision.tokens.shape[1] + 1, device=possible.device)
        beyond = steps > decision.accepted[:, None]
        possible = (possible.gather(1, decision.path()) | beyond).all(dim=1)
    return torch.where(finite, torch.where(possible, 0, 2), 1)


def move_path(cache: RowCache, lengths: torch.Tensor, decision: RoundDecision) -> None:
    """Move the keys and values of a tree's accepted path to the slots behind the root."""
    nodes = decision.path()[:, 1:]
    depth = torch.arange(1, nodes.shape[1] + 1, device=lengths.device)
    goal = (lengths - 1)[:, None] + depth
    source = (lengths - 1)[:, None] + nodes
    source = torch.where(depth <= decision.accepted[:, None], source, goal)
    cache.keep(source, goal)


def to_host(
    proposal: Proposal,
    decision: RoundDecision,
    logits: torch.Tensor,
    fault: torch.Tensor,
    settings: Settings,
) -> list[RowDecision]:
    """Bring a round's decision to the host, row by row: its only transfer from the device."""
    recheck, path = settings.exactness == "recheck", decision.path()
    doubtful = first_doubtful(logits, path, settings.noise_bound) if recheck else None
    named = {
        "accepted": decision.accepted, "token": decision.token, "fault": fault,
        "doubtful": doubtful, "leaf": decision.leaf, "drafts": decision.tokens,
        "modes": decision.modes, "matches": decision.matches,
    }  # fmt: skip
    columns = _named_columns({name: column for name, column in named.items() if column is not None})
    scores = logprobs(logits, decision, settings.temperature) if settings.logprobs else []
    proposed = proposal.lengths or [proposal.tokens.shape[1]] * len(columns["token"])
    row_decisions = []
    for row, size in enumerate(proposed):
        accepted = columns["accepted"][row][0]
        leaf = columns["leaf"][row][0] if "leaf" in columns else accepted == size
        drafts: list[int]
        token: int | None
        drafts, token = columns["drafts"][row][:accepted], columns["token"][row][0]
        if "doubtful" in columns and columns["doubtful"][row][0] <= accepted:
            drafts, token = drafts[: columns["doubtful"][row][0]], None
        row_decisions.append(
            RowDecision(
                drafts=drafts,
                token=token,
                proposed=size,
                letter="p" if not size else "b" if leaf else "c",
                fault=columns["fault"][row][0],
                modes=columns["modes"][row] if "modes" in columns else (),
                matches=columns["matches"][row] if "matches" in columns else (),
                logprobs=scores[row][: accepted + 1] if scores else (),
            )
        )
    return row_decisions


def _named_columns(named: Mapping[str, torch.Tensor]) -> dict[str, list[list[int]]]:
    """Return integer tensors ``[B]`` or ``[B, N]`` as lists of rows, in one transfer."""
    matrices = [c.long() if c.dim() == 2 else c.long()[:, None] for c in named.values()]
    rows: list[list[int]] = torch.cat(matrices, dim=1).tolist()
    columns: dict[str, list[list[int]]] = {}
    start = 0
    for name, matrix in zip(named, matrices, strict=True):
        stop = start + matrix.shape[1]
        columns[name] = [row[start:stop] for row in rows]
        start = stop
    return columns


def first_doubtful(logits: torch.Tensor, path: torch.Tensor, bound: float) -> torch.Tensor:
    """Return the first step of each path whose two best tokens lie closer than `bound`.

    Returns:
        ``[B] int64``, the length of the path plus one where there is none.
    """
    best = logits.topk(2, dim=-1).values
    narrow = ((best[..., 0] - best[..., 1]) < bound).gather(1, path)
    steps = torch.arange(narrow.shape[1], device=logits.device)
    return torch.where(narrow, steps, narrow.shape[1]).amin(dim=1)


def logprobs(
    logits: torch.Tensor, decision: RoundDecision, temperature: float
) -> list[list[float]]:
    """Return the log-probability of every emitted token under its own row."""
    scores = torch.log_softmax(logits.double() / (temperature or 1.0), dim=-1)
    emitted = torch.cat([decision.tokens, decision.token[:, None]], dim=1)
    emitted = emitted.scatter(1, decision.accepted[:, None], decision.token[:, None])
    rows = scores.gather(1, decision.path()[..., None].expand(-1, -1, scores.shape[-1]))
    by_row: list[list[float]] = rows.gather(2, emitted[..., None])[..., 0].tolist()
    return by_row
