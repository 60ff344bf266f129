"""Which answers of a pair have which defect: a property of one answer, or of one beside the other.

Finders treat both arms alike: with an answer's pair exchanged its flags are exchanged. That is what
makes the paired tests exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.records import Completion, Pair
from draftproof.screen.texts.features import (
    BoolArray,
    doubled,
    empty,
    incompressible,
    is_json,
    loops,
    open_ended,
    unreadable,
)
from draftproof.screen.texts.scripts import foreign_script
from draftproof.screen.texts.swaps import swapped


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPair:
    """What two arms wrote to one prompt.

    Attributes:
        id: Names the pair in examples.
        prompt: What was asked.
        baseline: All that the baseline's answer says; a tool call or a refusal channel is text.
        candidate: The same of the candidate.
        baseline_finish: ``stop``, ``length``, another reason, or ``unknown``.
        candidate_finish: The same of the candidate.
    """

    id: str
    prompt: str
    baseline: str
    candidate: str
    baseline_finish: str = "unknown"
    candidate_finish: str = "unknown"


def text_pair(pair: Pair) -> TextPair:
    """Return what the text checks read of a pair."""
    return TextPair(
        id=pair.prompt.id,
        prompt="\n".join(m.content for m in pair.prompt.messages),
        baseline=_whole(pair.baseline),
        candidate=_whole(pair.candidate),
        baseline_finish=pair.baseline.finish_reason,
        candidate_finish=pair.candidate.finish_reason,
    )


def _whole(answer: Completion) -> str:
    """Return what an answer holds in all channels: one that only calls a tool is not empty."""
    calls = [f"{call.name}({call.arguments})" for call in answer.tool_calls or ()]
    others = [answer.reasoning, answer.refusal, *calls]
    if not any(others):
        return answer.text
    parts = [answer.reasoning, answer.text, answer.refusal, *calls]
    return "\n".join(part for part in parts if part)


Flags = tuple[BoolArray, BoolArray]
"""Which answers of the baseline and of the candidate have a defect, each ``[N] bool``."""
Counter = Callable[[Sequence[TextPair]], Flags]


def _each(feature: Callable[[Sequence[str]], BoolArray]) -> Counter:
    """Return what finds a defect that an answer has by itself."""

    def flags(pairs: Sequence[TextPair]) -> Flags:
        before = feature([p.baseline for p in pairs])
        after = before.copy()
        # equal answers have equal defects, and most answers of a sound stack are equal
        differ = [i for i, p in enumerate(pairs) if p.baseline != p.candidate]
        after[differ] = feature([pairs[i].candidate for i in differ])
        return before, after

    return flags


def _cut_off(pairs: Sequence[TextPair]) -> Flags:
    """Ended by the limit; or open-ended and shorter than an answer that is closed or goes on."""
    before, after = _each(open_ended)(pairs)
    cut = [
        (
            p.baseline_finish == "length"
            or (b and _is_part(p.baseline, p.candidate, closed=not a)),
            p.candidate_finish == "length"
            or (a and _is_part(p.candidate, p.baseline, closed=not b)),
        )
        for p, b, a in zip(pairs, before.tolist(), after.tolist(), strict=True)
    ]
    flags = np.array(cut, dtype=bool)
    return flags[:, 0], flags[:, 1]


def _is_part(text: str, whole: str, *, closed: bool) -> bool:
    return len(text) < len(whole) and (closed or whole.startswith(text))


def _garbage(pairs: Sequence[TextPair]) -> Flags:
    before, after = _each(unreadable)(pairs)
    packed = incompressible([p.baseline for p in pairs], [p.candidate for p in pairs])
    return before | packed[0], after | packed[1]


def _script(pairs: Sequence[TextPair]) -> Flags:
    prompts, before = [p.prompt for p in pairs], [p.baseline for p in pairs]
    after = [p.candidate for p in pairs]
    return foreign_script(before, after, prompts), foreign_script(after, before, prompts)


def _broken_json(pairs: Sequence[TextPair]) -> Flags:
    """Invalid where the other arm's answer is valid."""
    before, after = _each(is_json)(pairs)
    return after & ~before, before & ~after


def longer(pairs: Sequence[TextPair]) -> Flags:
    """Find the longer answer of each pair, in characters."""
    change = np.array([len(p.candidate) - len(p.baseline) for p in pairs], dtype=np.int64)
    return change < 0, change > 0


def shorter(pairs: Sequence[TextPair]) -> Flags:
    """Find the shorter answer of each pair, in characters."""
    before, after = longer(pairs)
    return after, before


def another_prompt(pairs: Sequence[TextPair]) -> Flags:
    """Find answers that fit another prompt better, see `swapped`."""
    prompts, before = [p.prompt for p in pairs], [p.baseline for p in pairs]
    return swapped(prompts, before, [p.candidate for p in pairs])


JSON = "invalid JSON"
HARD: dict[str, Counter] = {
    "empty": _each(empty),
    "cut off": _cut_off,
    "loops": _each(loops),
    "doubled words": _each(doubled),
    "another script": _script,
    "garbage": _garbage,
    JSON: _broken_json,
}
"""Defects by name that no answer may have."""


def ended_by(reason: str) -> Counter:
    """Return what finds answers that ended for this reason."""

    def flags(pairs: Sequence[TextPair]) -> Flags:
        return (
            np.array([p.baseline_finish == reason for p in pairs], dtype=bool),
            np.array([p.candidate_finish == reason for p in pairs], dtype=bool),
        )

    return flags
