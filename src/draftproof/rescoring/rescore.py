"""Scoring positions again with a local target, away from every arm.

Many positions share a forward: their prefixes are read side by side, common beginnings once, then
the last token of each is read once in a block one token wide, as plain decoding computes it, and
once in a block as wide as verification. Company moves the bits of a row as any other shape does;
the noise bound was measured over such shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from draftproof.decoding import CausalModel
from draftproof.decoding.noise_bound import noise_bound
from draftproof.records import Completion, Prompt
from draftproof.rescoring.beginnings import Known, blocks, read, read_beginnings
from draftproof.rescoring.opinion import Helpers, Opinion, Question
from draftproof.stacks import models
from draftproof.stacks.drafting import Shaper
from draftproof.stacks.spec import ArmSpec

_BEST = 8
"""Best tokens of a position that an opinion lists."""
_TOGETHER = 512
"""Positions among which beginnings are shared; bounds the memory of what was read."""
_WORTH_SENDING = 32
"""Positions that are worth another process's while."""


class LocalRescorer:
    """Teacher-forces prefixes through an arm's target (and asks its draft).

    Args:
        spec: The arm under suspicion.
        prompts: The battery's prompts by id.
        sample: Answers of the baseline to calibrate the noise bound with.
        helpers: Read a part of many positions; this process alone if None.
    """

    reads_text = False

    def __init__(
        self,
        spec: ArmSpec,
        prompts: Mapping[str, Prompt],
        sample: Sequence[Completion],
        helpers: Helpers | None = None,
    ) -> None:
        self._spec, self._helpers = spec, helpers
        self._target = _target_of(spec)
        texts = [
            (models.render_known(self._target, prompts[c.id]).ids, c.token_ids)
            for c in sample
            if c.token_ids and c.id in prompts
        ]
        self.noise_bound = noise_bound(self._target.model, texts, spec.gamma + 1)

    def show(self, token: int) -> str:
        """See `Rescorer.show`."""
        text: str = self._target.tokenizer.decode([token])
        return text

    def tokenise(
        self, answers: Sequence[tuple[Prompt, Completion]]
    ) -> list[tuple[int, ...] | None]:
        """See `Rescorer.tokenise`; an answer that ended by itself ends with the target's end."""
        tokenizer = self._target.tokenizer
        out: list[tuple[int, ...] | None] = []
        for _, completion in answers:
            ids = tokenizer(completion.text, add_special_tokens=False)["input_ids"]
            if tokenizer.decode(ids) != completion.text:
                out.append(None)
                continue
            out.append((*ids, *(self._end() if completion.finish_reason == "stop" else ())))
        return out

    def _end(self) -> tuple[int, ...]:
        """Return the target's end of sequence; nothing where it has none."""
        own = self._target.tokenizer.eos_token_id
        return (own,) if own in self._target.eos else tuple(sorted(self._target.eos)[:1])

    def opinions(self, questions: Sequence[Question]) -> list[Opinion]:
        """See `Rescorer.opinions`."""
        jobs = self._helpers.jobs if self._helpers else 1
        each = -(-len(questions) // jobs)
        if self._helpers is None or each < _WORTH_SENDING:
            return read_opinions(self._spec, questions)
        parts = [(self._spec, questions[i : i + each]) for i in range(0, len(questions), each)]
        name = f"explaining {self._spec.name!r}"
        return [o for part in self._helpers.spread(name, read_opinions, parts) for o in part]


def read_opinions(
    spec: ArmSpec, questions: Sequence[Question], _tell: Callable[[Any], None] | None = None
) -> list[Opinion]:
    """Return what an arm's models think of positions, in the order given, read in this process."""
    return _Reader(spec).opinions(questions)


def _target_of(spec: ArmSpec) -> models.Loaded:
    return models.load(spec.target, spec.dtype, spec.device, spec.trust_remote_code)


class _Reader:
    """Reads positions, many side by side, with an arm's models."""

    def __init__(self, spec: ArmSpec) -> None:
        options = (spec.dtype, spec.device, spec.trust_remote_code)
        self._target = _target_of(spec)
        self._draft = models.load(spec.draft, *options) if spec.draft else None
        self._shaper = Shaper(spec, self._target)
        self._width = spec.gamma + 1

    def opinions(self, questions: Sequence[Question]) -> list[Opinion]:
        """See `Rescorer.opinions`."""
        texts = [[*models.render_known(self._target, q.prompt).ids, *q.prefix] for q in questions]
        found: dict[int, Opinion] = {}
        for start in range(0, len(texts), _TOGETHER):
            some = range(start, min(start + _TOGETHER, len(texts)))
            for index, opinion in self._some(questions, texts, some):
                found[index] = opinion
        return [found[i] for i in range(len(questions))]

    def _some(
        self, questions: Sequence[Question], texts: Sequence[Sequence[int]], some: range
    ) -> Iterator[tuple[int, Opinion]]:
        """Yield opinions with the index of their question; beginnings are shared among these."""
        parts = [texts[i] for i in some]
        models_ = [m.model for m in (self._target, self._draft) if m]
        known = [read_beginnings(model, parts) for model in models_]
        left = [len(t) - (k.length if k else 0) for t, k in zip(parts, known[0], strict=True)]
        for block in blocks(models_[0], left, self._width):
            own = [parts[i] for i in block]
            before = [[of[i] for i in block] for of in known]
            rows = last_rows(models_[0], own, (1, self._width), before[0])
            drafted: list[int | None] = [None] * len(block)
            if self._draft:
                drafts = last_rows(models_[1], own, (1,), before[1])
                drafted = drafts[0].argmax(dim=1).tolist()
            asked = [questions[some[i]] for i in block]
            shaped = [self._shaped(rows[:, k], own[k], q) for k, q in enumerate(asked)]
            opinions = _opinions(torch.stack(shaped, dim=1), asked, drafted)
            yield from zip((some[i] for i in block), opinions, strict=True)

    def _shaped(self, rows: torch.Tensor, text: Sequence[int], question: Question) -> torch.Tensor:
        """Return ``[2, V]`` rows as the arm's own processors make them."""
        prompt = text[: len(text) - len(question.prefix)]
        shaping = self._shaper.shaping(len(prompt))
        if shaping is None or not shaping.reads_text:
            return rows
        device = self._target.model.device
        return shaping.shape(rows.to(device), prompt, [question.prefix] * len(rows), 0.0).cpu()


def last_rows(
    model: CausalModel,
    texts: Sequence[Sequence[int]],
    widths: Sequence[int],
    known: Sequence[Known | None] = (),
) -> torch.Tensor:
    """Return the rows after each text, ``[len(widths), B, V] float32`` on the CPU.

    The prefixes are read once, padded to one length; then each text's last token in a block
    of each width. Our own kernels say the same bits at every width and are asked at one only.

    Args:
        model: Who is asked.
        texts: At least one token each.
        widths: Columns of the blocks.
        known: What was read of each text before, if anything.
    """
    asked = widths[:1] if model.is_fused else widths
    cache = read(model, texts, known or [None] * len(texts), max(asked))
    starts = torch.tensor([len(t) - 1 for t in texts], device=model.device)
    longest = max(len(t) for t in texts)
    rows = []
    for width in asked:
        block = torch.tensor([[t[-1]] * width for t in texts], device=model.device)
        rows.append(model.forward(block, starts, cache, longest=longest)[:, 0].cpu())
    return torch.stack(rows * (len(widths) // len(rows)))


def _opinions(
    rows: torch.Tensor, questions: Sequence[Question], drafted: Sequence[int | None]
) -> list[Opinion]:
    """Return the opinions that ``[2, B, V]`` rows hold."""
    behind = rows.max(dim=2, keepdim=True).values - rows
    nearest = behind.amin(dim=0)
    best = behind[0].topk(min(_BEST, rows.shape[2]), largest=False).indices
    listed = list(zip(best.tolist(), nearest.gather(1, best).tolist(), strict=True))
    most = max(len(q.tokens) for q in questions)
    tokens = torch.tensor([[*q.tokens, *([0] * (most - len(q.tokens)))] for q in questions])
    margins = behind.gather(2, tokens.expand(2, -1, -1)).tolist()
    own = rows[0].gather(1, tokens)
    ranks = [(rows[0] > own[:, k : k + 1]).sum(dim=1).tolist() for k in range(most)]
    found = []
    for i, question in enumerate(questions):
        found.append(
            Opinion(
                margins={
                    t: (margins[0][i][k], margins[1][i][k]) for k, t in enumerate(question.tokens)
                },
                ranks={t: ranks[k][i] for k, t in enumerate(question.tokens)},
                best=tuple(zip(*listed[i], strict=True)),
                draft_token=drafted[i],
            )
        )
    return found
