"""The noise of a model's arithmetic, measured for several widths of verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.noise_bound import noise_bound
from draftproof.records import Prompt
from draftproof.stacks import models

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Noise:
    """What one width does to the logits.

    Attributes:
        width: Columns of a verification, γ + 1.
        bound: Nats; two tokens nearer than this may change places for no other reason than the
            shape of the computation (three times the largest disturbance seen).
        doubtful: Share of the answers' tokens whose two best logits lie nearer than that.
    """

    width: int
    bound: float
    doubtful: float


def noise_of(
    target: models.Loaded,
    prompts: Sequence[Prompt],
    widths: Sequence[int],
    *,
    new_tokens: int = 48,
) -> list[Noise]:
    """Measure the disturbance of plain answers at each width.

    Args:
        target: The model, in the dtype and on the device in question.
        prompts: Prompts that it answers.
        widths: Columns of a verification.
        new_tokens: Length of the answers.

    Returns:
        One entry a width.
    """
    requests = [
        Request(id=p.id, prompt=models.render(target, p).ids, max_new_tokens=new_tokens)
        for p in prompts
    ]
    prompt_ids = {r.id: r.prompt for r in requests}
    batch = min(_BATCH, len(requests))
    answers = decode(target.model, requests, Settings(eos=target.eos, batch=batch))
    texts = [(prompt_ids[a.id], a.tokens) for a in answers]
    margins = torch.cat([_margins(target.model, prompt, answer) for prompt, answer in texts])
    results = []
    for width in widths:
        bound = noise_bound(target.model, texts, width)
        results.append(Noise(width, bound, float((margins < bound).double().mean())))
    return results


def _margins(model: CausalModel, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Return how far the two best logits lie apart where each token was chosen, ``[n]``, nats."""
    best = model.rows_of(prompt, answer).topk(2, dim=-1).values
    return (best[:, 0] - best[:, 1]).cpu()
