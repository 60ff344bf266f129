"""Drawing tokens with an arm's decoder at known prefixes, beside the target's distribution there.

Every prompt is answered many times with a few tokens. The first token follows the prompt; the
second is counted in the answers that begin with the most common first one, and so on, so each set
of draws has one prefix and one distribution. A prefix inside a block is verified as a draft, at
its end as a correction or a bonus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from draftproof.decoding.sampling import probabilities
from draftproof.records import Prompt
from draftproof.rescoring.rescore import last_rows
from draftproof.stacks import models
from draftproof.stacks.local import LocalEngine
from draftproof.stacks.spec import ArmSpec

_MIN_DRAWS = 50
"""Draws below which a prefix is left out."""


def draw_tokens(
    spec: ArmSpec, prompts: Sequence[Prompt], draws: int
) -> list[tuple[list[float], list[float]]]:
    """Return draws of each token and the target's law, one pair a prefix.

    Args:
        spec: A local arm at a temperature above 0.
        prompts: Prompts, each answered `draws` times.
        draws: Answers to each prompt.

    Returns:
        Counts ``[V]`` and law ``[V]`` for every prefix that was reached often enough.
    """
    depth = spec.gamma + 2
    engine = LocalEngine(spec.model_copy(update={"max_new_tokens": depth}))
    repeats = [replace(p, id=f"{p.id}#law{k}") for p in prompts for k in range(draws)]
    engine.open(repeats)
    answers: dict[str, list[tuple[int, ...]]] = {}
    for completion in engine.answer(repeats):
        name = completion.id.rpartition("#")[0]
        answers.setdefault(name, []).append(completion.token_ids or ())
    target = models.load(spec.target, spec.dtype, spec.device, spec.trust_remote_code)
    results = []
    for prompt in prompts:
        ids = models.render(target, prompt).ids
        for prefix, drawn in _prefixes(answers.get(prompt.id, []), depth):
            row = last_rows(target.model, [[*ids, *prefix]], (1,))[0, 0]
            law = probabilities(row, spec.temperature).double()
            counts = torch.bincount(torch.tensor(drawn), minlength=len(law))
            results.append((counts.tolist(), (law / law.sum()).tolist()))
    return results


def greedy_clean(spec: ArmSpec, prompts: Sequence[Prompt], tokens: int) -> bool:
    """Whether an arm's decoder answers greedily as plain decoding does.

    Args:
        spec: A local arm.
        prompts: Prompts.
        tokens: Tokens of each answer.
    """
    cold = spec.model_copy(update={"temperature": 0.0, "max_new_tokens": tokens})
    plain: dict[str, object] = {"draft": None, "rule": "exact", "rule_options": {}, "mutant": None}
    answers = []
    for arm in (cold, cold.model_copy(update=plain)):
        engine = LocalEngine(arm)
        engine.open(prompts)
        answers.append({c.id: c.token_ids for c in engine.answer(prompts)})
    return answers[0] == answers[1]


def _prefixes(
    answers: Sequence[tuple[int, ...]], depth: int
) -> list[tuple[tuple[int, ...], list[int]]]:
    """Return the most common prefix of each length with the tokens that were drawn after it."""
    prefix: tuple[int, ...] = ()
    prefixes = []
    for length in range(depth):
        drawn = [a[length] for a in answers if a[:length] == prefix and len(a) > length]
        if len(drawn) < _MIN_DRAWS:
            break
        prefixes.append((prefix, drawn))
        prefix = (*prefix, Counter(drawn).most_common(1)[0][0])
    return prefixes
