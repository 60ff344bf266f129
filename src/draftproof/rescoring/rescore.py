"""Scoring positions again with a local target, away from every arm.

Many positions share a forward: their texts are read side by side, shared prefixes once, then the
last token of each is read once in a block one token wide, as plain decoding computes it, and
once in a block as wide as verification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from draftproof.decoding import CausalModel
from draftproof.records import Completion, Prompt
from draftproof.rescoring.prefixes import CachedPrefix, blocks, read, read_prefixes
from draftproof.rescoring.rescorer import Helpers, ScoreRequest, TokenScore
from draftproof.stacks import models
from draftproof.stacks.drafting import shaper_of
from draftproof.stacks.spec import ArmSpec

_BEST = 8
"""Best tokens that a score lists."""
_CHUNK = 512
"""Positions among which prefixes are shared; bounds the memory of the caches."""
_MIN_SHARE = 32
"""Positions below which another process is not worth starting."""


class LocalRescorer:
    """Teacher-forces prefixes through an arm's target (and asks its draft).

    Args:
        spec: The arm under suspicion.
        helpers: Read a part of many positions; this process alone if None.
    """

    reads_text = False

    def __init__(self, spec: ArmSpec, helpers: Helpers | None = None) -> None:
        self._spec, self._helpers = spec, helpers
        self._target = _target_of(spec)

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
        end = self._target.tokenizer.eos_token_id
        return (end,) if end in self._target.eos else tuple(sorted(self._target.eos)[:1])

    def scores(self, requests: Sequence[ScoreRequest]) -> list[TokenScore]:
        """See `Rescorer.scores`."""
        jobs = self._helpers.jobs if self._helpers else 1
        share = -(-len(requests) // jobs)
        if self._helpers is None or share < _MIN_SHARE:
            return score_requests(self._spec, requests)
        parts = [(self._spec, requests[i : i + share]) for i in range(0, len(requests), share)]
        name = f"explaining {self._spec.name!r}"
        results = self._helpers.spread(name, score_requests, parts)
        return [score for part in results for score in part]


def score_requests(
    spec: ArmSpec,
    requests: Sequence[ScoreRequest],
    _on_progress: Callable[[Any], None] | None = None,
) -> list[TokenScore]:
    """Return the scores that an arm's models give, in the order of the requests."""
    return _Scorer(spec).scores(requests)


def _target_of(spec: ArmSpec) -> models.Loaded:
    return models.load(spec.target, spec.dtype, spec.device, spec.trust_remote_code)


class _Scorer:
    """Scores positions, many side by side, with an arm's models."""

    def __init__(self, spec: ArmSpec) -> None:
        options = (spec.dtype, spec.device, spec.trust_remote_code)
        self._target = _target_of(spec)
        self._draft = models.load(spec.draft, *options) if spec.draft else None
        self._shaping_of = shaper_of(spec, self._target)
        self._width = spec.gamma + 1

    def scores(self, requests: Sequence[ScoreRequest]) -> list[TokenScore]:
        """See `Rescorer.scores`."""
        texts = [[*models.render_known(self._target, r.prompt).ids, *r.prefix] for r in requests]
        scores: dict[int, TokenScore] = {}
        for start in range(0, len(texts), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(texts)))
            scores.update(self._chunk_scores(requests, texts, chunk))
        return [scores[i] for i in range(len(requests))]

    def _chunk_scores(
        self, requests: Sequence[ScoreRequest], texts: Sequence[Sequence[int]], chunk: range
    ) -> Iterator[tuple[int, TokenScore]]:
        """Yield scores with the index of their request; prefixes are shared within the chunk."""
        parts = [texts[i] for i in chunk]
        target, draft = self._target.model, self._draft.model if self._draft else None
        prefixes = read_prefixes(target, parts)
        draft_prefixes = read_prefixes(draft, parts) if draft else []
        unread = [len(t) - (p.length if p else 0) for t, p in zip(parts, prefixes, strict=True)]
        for block in blocks(target, unread, self._width):
            block_texts = [parts[i] for i in block]
            widths = (1, self._width)
            rows = last_rows(target, block_texts, widths, [prefixes[i] for i in block])
            draft_tokens: list[int | None] = [None] * len(block)
            if draft:
                cached = [draft_prefixes[i] for i in block]
                draft_tokens = last_rows(draft, block_texts, (1,), cached)[0].argmax(dim=1).tolist()
            block_requests = [requests[chunk[i]] for i in block]
            shaped = [
                self._shaped(rows[:, k], block_texts[k], request)
                for k, request in enumerate(block_requests)
            ]
            scores = _token_scores(torch.stack(shaped, dim=1), block_requests, draft_tokens)
            yield from zip((chunk[i] for i in block), scores, strict=True)

    def _shaped(
        self, rows: torch.Tensor, text: Sequence[int], request: ScoreRequest
    ) -> torch.Tensor:
        """Return ``[2, V]`` rows as the arm's own processors make them."""
        prompt = text[: len(text) - len(request.prefix)]
        shaping = self._shaping_of(len(prompt))
        if shaping is None or not shaping.reads_text:
            return rows
        device = self._target.model.device
        return shaping.shape(rows.to(device), prompt, [request.prefix] * len(rows), 0.0).cpu()


def last_rows(
    model: CausalModel,
    texts: Sequence[Sequence[int]],
    widths: Sequence[int],
    prefixes: Sequence[CachedPrefix | None] = (),
) -> torch.Tensor:
    """Return the rows after each text, ``[len(widths), B, V] float32`` on the CPU.

    The prefixes are read once, padded to one length; then each text's last token in a block
    of each width. Our own kernels compute the same bits at every width and run at one only.

    Args:
        model: Whose rows are wanted.
        texts: At least one token each.
        widths: Columns of the blocks.
        prefixes: What was read of each text before, if anything.
    """
    distinct = widths[:1] if model.shape_free else widths
    cache = read(model, texts, prefixes or [None] * len(texts), max(distinct))
    starts = torch.tensor([len(t) - 1 for t in texts], device=model.device)
    longest = max(len(t) for t in texts)
    rows = []
    for width in distinct:
        block = torch.tensor([[t[-1]] * width for t in texts], device=model.device)
        rows.append(model.forward(block, starts, cache, longest=longest)[:, 0].cpu())
    return torch.stack(rows * (len(widths) // len(rows)))


def _token_scores(
    rows: torch.Tensor, requests: Sequence[ScoreRequest], draft_tokens: Sequence[int | None]
) -> list[TokenScore]:
    """Return the scores that ``[2, B, V]`` rows hold."""
    behind = rows.max(dim=2, keepdim=True).values - rows
    nearest = behind.amin(dim=0)
    best = behind[0].topk(min(_BEST, rows.shape[2]), largest=False).indices
    listed = list(zip(best.tolist(), nearest.gather(1, best).tolist(), strict=True))
    most = max(len(r.tokens) for r in requests)
    tokens = torch.tensor([[*r.tokens, *([0] * (most - len(r.tokens)))] for r in requests])
    margins = behind.gather(2, tokens.expand(2, -1, -1)).tolist()
    logits = rows[0].gather(1, tokens)
    ranks = [(rows[0] > logits[:, k : k + 1]).sum(dim=1).tolist() for k in range(most)]
    return [
        TokenScore(
            margins={t: (margins[0][i][k], margins[1][i][k]) for k, t in enumerate(request.tokens)},
            ranks={t: ranks[k][i] for k, t in enumerate(request.tokens)},
            best=tuple(zip(*listed[i], strict=True)),
            draft_token=draft_tokens[i],
        )
        for i, request in enumerate(requests)
    ]
