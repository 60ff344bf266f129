"""Answering with known faults planted, to see which one reproduces an arm's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from draftproof.decoding.mutants import MUTANTS
from draftproof.records import Prompt
from draftproof.rescoring.rescorer import Helpers
from draftproof.stacks.local import LocalEngine
from draftproof.stacks.spec import ArmSpec

_DRAWN_ONLY = frozenset({"reused_coin"})
"""Faults that leave greedy answers alone."""
_OF_PROCESSORS = frozenset({"processor_off_by_one"})
_LEAST = 4
"""Prompts that are worth a process."""


class LocalReplayer:
    """Answers as an arm does, decoded here and greedily, with a fault planted.

    Args:
        spec: An arm that names a target and a draft which can be loaded here.
        helpers: Take prompts of their own, where there are any.
        progress: Heard with what is done, faults tried before and faults there are.
    """

    def __init__(
        self,
        spec: ArmSpec,
        helpers: Helpers | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._spec, self._helpers = spec, helpers
        self._progress = progress or (lambda _what, _done, _total: None)
        self._tried = 0
        unseen = _DRAWN_ONLY if spec.processors else _DRAWN_ONLY | _OF_PROCESSORS
        self.faults = tuple(sorted(MUTANTS.keys() - unseen))

    def __call__(self, fault: str, prompts: Sequence[Prompt], tokens: int) -> list[tuple[int, ...]]:
        """See `Replayer`."""
        self._progress(f"faults of {self._spec.name}", self._tried, len(self.faults))
        self._tried += 1
        jobs = self._helpers.jobs if self._helpers else 1
        share = max(-(-len(prompts) // jobs), _LEAST)
        if self._helpers is None or share >= len(prompts):
            return answer_with_fault(self._spec, prompts, tokens, fault)
        parts = [
            (self._spec, prompts[start : start + share], tokens, fault)
            for start in range(0, len(prompts), share)
        ]
        name = f"replaying {self._spec.name!r}"
        answers = self._helpers.spread(name, answer_with_fault, parts)
        return [answer for part in answers for answer in part]


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
