"""Whether a run's scorer would detect a change: flips planted into the run's own answers.

A label that is equal in both arms says something only where it would have differed. Copies of
the candidate's answers are corrupted so that their meaning flips, labelled again by the scorer
that labelled the run, and counted: sensitivity is the share of planted flips that flip the label,
specificity the share of edits without a change of meaning that leave it. Planted flips are
plain; how a scorer does on subtle ones is measured with labels that people give.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from draftproof.records import Completion, Prompt
from draftproof.scoring import Scorer, score_with
from draftproof.screen.texts.flips import plant_flip, preserving_edit
from draftproof.stats import clopper_pearson

LEAST_SHARE = 0.80
"""The lower bound must reach it: 14 of 14, 28 of 30, 37 of 40."""
MOST_ANSWERS = 400
_LEVEL = 0.95
_SEED = 2026


class AssayState(StrEnum):
    """What the assay of one task shows."""

    PASSED = "passed"
    FAILED = "failed"
    """Planted flips were not seen, or harmless edits changed labels."""
    TOO_FEW = "too-few"
    """All that could be planted does not reach the bound, nor miss it."""
    NO_SCORER = "no-scorer"
    """Labels were recorded with the answers: nothing can be labelled again."""
    NOTHING_PLANTED = "nothing-planted"
    """No answer could be flipped: unscored, in a language or of a construct without a way to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionCount:
    """Flips of one direction.

    Attributes:
        name: What was turned into what.
        planted: Answers that were corrupted.
        seen: Those whose label went from good to bad or back.
    """

    name: str
    planted: int
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerAssay:
    """The assay of one task's scorer.

    Attributes:
        task: The task.
        scorer: Name and version; None for recorded labels.
        state: What it shows.
        directions: Planted flips by direction.
        edited: Answers that were edited without a change of meaning.
        kept: Those whose label stayed.
    """

    task: str
    scorer: str | None
    state: AssayState
    directions: tuple[DirectionCount, ...] = ()
    edited: int = 0
    kept: int = 0

    @property
    def planted(self) -> int:
        """Planted flips of all directions."""
        return sum(d.planted for d in self.directions)

    @property
    def seen(self) -> int:
        """Planted flips that the label shows."""
        return sum(d.seen for d in self.directions)

    @property
    def sensitivity(self) -> float | None:
        """Share of planted flips seen; None where none was planted."""
        return self.seen / self.planted if self.planted else None

    @property
    def specificity(self) -> float | None:
        """Share of harmless edits that leave the label; None where none was made."""
        return self.kept / self.edited if self.edited else None

    @property
    def sensitivity_low(self) -> float | None:
        """One-sided lower 95 % Clopper-Pearson bound."""
        return _low(self.seen, self.planted)

    @property
    def specificity_low(self) -> float | None:
        """One-sided lower 95 % Clopper-Pearson bound."""
        return _low(self.kept, self.edited)

    @property
    def margin_factor(self) -> float | None:
        """Sensitivity + specificity - 1: a true change of m shows as a change of m times this.

        Rogan & Gladen (1978) American Journal of Epidemiology 107:71-76. None where the assay
        did not pass: a margin has no meaning then.
        """
        if self.state is not AssayState.PASSED or not (self.planted and self.edited):
            return None
        return self.seen / self.planted + self.kept / self.edited - 1

    def margin(self, margin: float) -> float | None:
        """Return the margin to test labels against so that the meaning stays within `margin`."""
        factor = self.margin_factor
        return None if factor is None else margin * factor

    @property
    def sentence(self) -> str:
        """What the assay shows, in one sentence."""
        match self.state:
            case AssayState.NO_SCORER:
                return (
                    f"{self.task}: the labels were recorded with the answers, so it cannot be "
                    "tested whether they would show a change"
                )
            case AssayState.NOTHING_PLANTED:
                return f"{self.task}: no flip could be planted for {self.scorer}"
        seen = f"{self.seen} of {self.planted} planted flips"
        kept = f"{self.kept} of {self.edited} harmless edits left the label"
        return f"{self.task}: {self.scorer} detected {seen}; {kept} ({self.state})"


def _low(count: int, n: int) -> float | None:
    return clopper_pearson(count, n, _LEVEL, "lower").low if n else None


def _high(count: int, n: int) -> float:
    return clopper_pearson(count, n, _LEVEL, "upper").high


def assay_scorers(
    answers: Iterable[tuple[Prompt, Completion, Scorer | None]],
) -> tuple[ScorerAssay, ...]:
    """Assay every task of a run.

    Args:
        answers: The candidate's answers with the scorer that labelled them; None for labels
            that were recorded.

    Returns:
        One assay a task and scorer, in the order in which they come.
    """
    groups: dict[tuple[str, str | None], list[tuple[Prompt, Completion]]] = {}
    scorers: dict[str | None, Scorer | None] = {}
    for prompt, completion, scorer in answers:
        name = None if scorer is None else f"{scorer.name}@{scorer.version}"
        scorers[name] = scorer
        groups.setdefault((prompt.task, name), []).append((prompt, completion))
    return tuple(assay_scorer(t, scorers[name], rows) for (t, name), rows in groups.items())


def assay_scorer(
    task: str,
    scorer: Scorer | None,
    answers: Sequence[tuple[Prompt, Completion]],
    *,
    most: int = MOST_ANSWERS,
) -> ScorerAssay:
    """Plant flips into copies of a task's answers and label them again.

    Args:
        task: Name of the task.
        scorer: The scorer that labelled the run; None for recorded labels.
        answers: The candidate's answers.
        most: Answers that are used, a fixed random choice where there are more.

    Returns:
        The counts; nothing is counted of answers that the scorer could not read.
    """
    if scorer is None:
        return ScorerAssay(task=task, scorer=None, state=AssayState.NO_SCORER)
    order = np.random.default_rng(_SEED).permutation(len(answers))[:most]
    planted: dict[str, list[bool]] = {}
    kept: list[bool] = []
    for number in sorted(order.tolist()):
        prompt, completion = answers[number]
        label = score_with(scorer, prompt, completion)
        if label.good is None:
            continue
        edit = preserving_edit(completion.spoken, number)
        kept.append(_good(scorer, prompt, completion, edit) == label.good)
        flip = plant_flip(scorer, prompt, completion.spoken, label, number)
        if flip is not None:
            flipped = _good(scorer, prompt, completion, flip.text) == (not label.good)
            planted.setdefault(flip.direction, []).append(flipped)
    directions = tuple(
        DirectionCount(name=name, planted=len(seen), seen=sum(seen))
        for name, seen in sorted(planted.items())
    )
    return ScorerAssay(
        task=task,
        scorer=f"{scorer.name}@{scorer.version}",
        state=_state(directions, len(kept), sum(kept)),
        directions=directions,
        edited=len(kept),
        kept=sum(kept),
    )


def _good(scorer: Scorer, prompt: Prompt, completion: Completion, text: str) -> bool | None:
    """Return what the scorer says of another text in the answer's place."""
    return score_with(scorer, prompt, replace(completion, text=text, refusal=None)).good


def _state(directions: Sequence[DirectionCount], edited: int, kept: int) -> AssayState:
    planted, seen = sum(d.planted for d in directions), sum(d.seen for d in directions)
    low, kept_low = _low(seen, planted), _low(kept, edited)
    if low is None or kept_low is None:
        return AssayState.NOTHING_PLANTED
    # a scorer that sees one direction only must not pass by the other's numbers
    counts = [(seen, planted), (kept, edited), *((d.seen, d.planted) for d in directions)]
    if any(_high(k, n) < LEAST_SHARE for k, n in counts):
        return AssayState.FAILED
    if low >= LEAST_SHARE and kept_low >= LEAST_SHARE:
        return AssayState.PASSED
    # a share below the limit is no lack of answers
    missed = seen < LEAST_SHARE * planted or kept < LEAST_SHARE * edited
    return AssayState.FAILED if missed else AssayState.TOO_FEW
