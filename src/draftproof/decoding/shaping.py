"""What is done to the target's rows before a rule sees them.

Processors of transformers look at the text so far. Inside a block of drafted tokens every row
has a text of its own: row j follows the committed tokens and the drafts on the way to node j,
and is shaped with exactly those. Shaping a whole block with the committed text alone is the
commonest way to make speculation change answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

Processor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""transformers' LogitsProcessor: ``([n, length] int64 ids, [n, V] scores) -> [n, V] scores``; what
it does to one row depends on that row alone."""


class Grammar(Protocol):
    """Says which tokens may follow a text; see `draftproof.decoding.grammar`."""

    def allowed(self, answers: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return ``[len(answers), V] bool`` for the token after each answer.

        After an answer that the grammar does not allow, everything is allowed: such a row
        follows a draft that is rejected, and nothing is read from it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """How the rows of one request are shaped, in transformers' order.

    Args:
        processors: Applied to each row with its own text (penalties, least length, forbidden
            tokens).
        grammar: Forbids what the grammar does not allow.
        warpers: Applied to rows divided by the temperature, whatever the text (top-k, top-p,
            min-p); without effect at temperature 0.
        stop_strings: The answer ends with the token that completes one of them.
        decode: From tokens to text, needed for stop strings.
    """

    processors: Sequence[Processor] = ()
    grammar: Grammar | None = None
    warpers: Sequence[Processor] = ()
    stop_strings: tuple[str, ...] = ()
    decode: Callable[[Sequence[int]], str] | None = None

    def __post_init__(self) -> None:
        if self.stop_strings and (self.decode is None or "" in self.stop_strings):
            raise ValueError("stop strings must not be empty and need a way to decode tokens")

    @property
    def reads_text(self) -> bool:
        """Whether a row's shape depends on the text before it."""
        return bool(self.processors) or self.grammar is not None

    def shape(
        self,
        logits: torch.Tensor,
        prompt: Sequence[int],
        answers: Sequence[Sequence[int]],
        temperature: float,
    ) -> torch.Tensor:
        """Return the rows of one request as the rule shall see them.

        Args:
            logits: ``[W, V] float32``.
            prompt: The request's prompt.
            answers: For every row the answer's tokens before it, accepted or only drafted. All
                begin with the first row's.
            temperature: 0 is greedy; rows are returned before division by it.
        """
        if self.processors:
            logits = self._processed(logits, prompt, answers)
        if self.grammar is not None:
            allowed = self.grammar.allowed(answers).to(logits.device)
            logits = logits.masked_fill(~allowed, -torch.inf)
        if temperature > 0 and self.warpers:
            ids = torch.zeros(logits.shape[0], 1, dtype=torch.int64, device=logits.device)
            scaled = logits / temperature
            for warper in self.warpers:
                scaled = warper(ids, scaled)
            logits = scaled * temperature
        return logits

    def _processed(
        self, logits: torch.Tensor, prompt: Sequence[int], answers: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Apply the processors, once for all rows whose texts have one length.

        Those are the siblings and cousins of a tree. A chain has a length a row: padding it to
        one would show a processor a text that is nobody's.
        """
        known = len(answers[0])
        committed = torch.tensor([[*prompt, *answers[0]]], device=logits.device)
        alike: dict[int, list[int]] = {}
        for row, answer in enumerate(answers):
            alike.setdefault(len(answer), []).append(row)
        shaped = torch.empty_like(logits)
        for rows in alike.values():
            drafts = torch.tensor([answers[r][known:] for r in rows], dtype=torch.int64)
            ids = torch.cat(
                [committed.expand(len(rows), -1), drafts.to(logits.device, non_blocking=True)],
                dim=1,
            )
            scores = logits[rows]
            for processor in self.processors:
                scores = processor(ids, scores)
            shaped[rows] = scores
        return shaped

    def stops_at(self, answer: Sequence[int]) -> bool:
        """Return whether the answer's last token completes a stop string."""
        if self.decode is None or not answer:
            return False
        # a token is at least one byte, a character at most four: no more tokens can matter
        tail = list(answer[-(4 * max(len(s) for s in self.stop_strings) + 4) :])
        whole, before = self.decode(tail), self.decode(tail[:-1])
        return any(s in whole and s not in before for s in self.stop_strings)


def path_texts(
    answer: Sequence[int], drafts: Sequence[int], parents: Sequence[int]
) -> list[Sequence[int]]:
    """Return the tokens before each column of a block: those of the answer and of its own path.

    Args:
        answer: The answer's committed tokens.
        drafts: The tokens of nodes 1 to N.
        parents: The parent of each of the N + 1 nodes; that of the root is not read.
    """
    texts: list[Sequence[int]] = [answer]
    for node, token in enumerate(drafts, start=1):
        texts.append([*texts[parents[node]], token])
    return texts
