"""Answering with known faults planted, to see which one reproduces an arm's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from draftproof.decoding.mutants import MUTANTS
from draftproof.records import Prompt
from draftproof.rescoring.rescorer import Helpers, Replayer
from draftproof.stacks.local import LocalEngine
from draftproof.stacks.spec import ArmSpec

_DRAWN_ONLY = frozenset({"reused_coin"})
"""Faults that leave greedy answers alone."""


def local_replayer(spec: ArmSpec, helpers: Helpers | None = None) -> Replayer:
    """Return what answers as an arm does, decoded here and greedily, a fault at a time.

    Args:
        spec: An arm that names a target and a draft which can be loaded here.
        helpers: Take faults of their own, where there are any.
    """
    faults = sorted(MUTANTS.keys() - _DRAWN_ONLY)

    def replay(prompts: Sequence[Prompt], tokens: int) -> dict[str, list[tuple[int, ...]]]:
        arguments = [(spec, prompts, tokens, name) for name in faults]
        if helpers is None:
            answers = [answer_with_fault(*each) for each in arguments]
        else:
            answers = helpers.spread(f"replaying {spec.name!r}", answer_with_fault, arguments)
        return dict(zip(faults, answers, strict=True))

    return replay


def answer_with_fault(
    spec: ArmSpec,
    prompts: Sequence[Prompt],
    tokens: int,
    fault: str,
    _on_progress: Callable[[Any], None] | None = None,
) -> list[tuple[int, ...]]:
    """Return the token ids of an arm's answers with a fault of `MUTANTS` planted."""
    change = {
        "engine": "local", "mutant": fault, "rule": "exact", "rule_options": {},
        "temperature": 0.0, "max_new_tokens": min(tokens, spec.max_new_tokens),
    }  # fmt: skip
    if spec.engine != "local":
        # options of another stack's drafter mean nothing to ours
        change |= {"drafter_options": {}, "properties": {}}
    engine = LocalEngine(spec.model_copy(update=change))
    engine.open(prompts)
    answers = {c.id: c.token_ids or () for c in engine.answer(prompts)}
    return [answers[p.id] for p in prompts]
