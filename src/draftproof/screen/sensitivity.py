"""Assay sensitivity: what leak this plan can see, and the smallest that this run would have caught.

By forensics: leaked tokens are injected into baseline answers at random places, and the share
that is called a leak bounds the chance d that one is; a leak of each token with probability t is
then seen in N tokens with probability 1 - (1 - t·d)^N. The confidence is split evenly between d
and N. By statistics: the smallest share of a task's answers that FAILs its test as regressions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np

from draftproof.records import Pair, Sensitivity, TaskEvidence
from draftproof.rescoring.rescorer import Rescorer, ScoreRequest, TokenScore
from draftproof.runs.plan import Decision
from draftproof.stats import AssayEvidence, canned_leak, clopper_pearson, minimum_detectable_leak
from draftproof.stats.operating import gate_probabilities

_CONFIDENCE = 0.95
_POWER = 0.80
_SEED = 2026
_INJECTED = 0.05
"""Share of a task's answers that the leak of an assay turns bad."""
_ENOUGH = 10_000
"""Pairs with which such a leak is certainly seen, if it can be seen at all; more see no less."""
STATISTICS_MOST = 100_000
"""Pairs from which on the smallest leak is not searched for by statistics: it takes minutes."""


def inject_leaks(
    pairs: Sequence[Pair], rescorer: Rescorer, most: int, bound: float
) -> tuple[int, int]:
    """Return how many leaked tokens were injected, and how many of them the forensics name.

    A leaked token is the draft's choice where it is not the baseline's token, otherwise the
    target's second choice.

    Args:
        pairs: Pairs whose baseline answers carry token ids.
        rescorer: Scores positions again.
        most: Positions that are tried.
        bound: Margin, nats, above which a token is called a leak.
    """
    rng = np.random.default_rng(_SEED)
    spelled = [p for p in pairs if p.baseline.token_ids]
    if not spelled or rescorer.reads_text:
        return 0, 0
    questions = []
    for place in rng.integers(len(spelled), size=most):
        ids = spelled[int(place)].baseline.token_ids or ()
        index = int(rng.integers(len(ids)))
        questions.append(ScoreRequest(spelled[int(place)].prompt, ids[:index], (ids[index],)))
    margins = [
        margin
        for question, opinion in zip(questions, rescorer.scores(questions), strict=True)
        if (margin := _leaked(opinion, question.tokens[0])) is not None
    ]
    return len(margins), sum(1 for m in margins if m > bound)


def _leaked(opinion: TokenScore, own: int) -> float | None:
    """Return how far a leaked token would lie behind, None where there is none to leak."""
    if opinion.draft_token not in {None, own}:
        # beyond the best few it lies at least as far behind as the last of them
        return dict(opinion.best).get(opinion.draft_token or 0, opinion.best[-1][1])
    others = [m for t, m in opinion.best if t != own]
    return others[0] if others else None


def sensitivity(
    tasks: Sequence[TaskEvidence],
    rule: Decision,
    *,
    tokens: int,
    answers: int,
    injected: tuple[int, int],
) -> Sensitivity:
    """Return what the run would have caught.

    Args:
        tasks: The candidate's tasks.
        rule: Margin and levels.
        tokens: Candidate tokens whose divergences would have been explained; 0 for none.
        answers: Their answers.
        injected: What `inject_leaks` returned.
    """
    tried, named = injected
    half = (1 - _CONFIDENCE) / 2
    # untried, a leaked token would at least have been a divergence without an explanation
    chance = clopper_pearson(named, tried, 1 - half, "lower").low if tried else 1.0
    rate = _smallest(tokens, chance, half)
    answer_rate = _smallest(answers, chance, half)
    statistics, task = _by_statistics(tasks, rule)
    return Sensitivity(
        tokens=tokens,
        injected=tried,
        detected=named,
        token_rate=rate,
        answer_rate=answer_rate,
        confidence=_CONFIDENCE,
        statistics_rate=statistics,
        statistics_task=task,
        power=_POWER,
        text=_text(tokens, rate, answer_rate, injected, statistics, task),
    )


def _smallest(n: int, chance: float, miss: float) -> float | None:
    """Return the rate t at which (1 - t·chance)^n is `miss`, None where there is none."""
    if not n or not chance > 0:
        return None
    rate = (1 - miss ** (1 / n)) / chance
    return rate if rate <= 1 else None


def _by_statistics(
    tasks: Sequence[TaskEvidence], rule: Decision
) -> tuple[float | None, str | None]:
    found = []
    for task in tasks:
        n = int(task.effective_n or task.n)
        if task.gated and n and task.baseline_rate:
            rate = _detectable(
                n, round(task.baseline_rate, 2), rule.margin, rule.alpha, rule.alpha_fail
            )
            if not math.isnan(rate):
                found.append((rate, task.task))
    return min(found, default=(None, None))


@lru_cache(maxsize=256)
def _detectable(n: int, rate: float, margin: float, alpha: float, alpha_fail: float) -> float:
    return minimum_detectable_leak(
        n, canned_leak(rate), power=_POWER, margin=margin, alpha=alpha, alpha_fail=alpha_fail
    )


def _text(
    tokens: int,
    rate: float | None,
    answer_rate: float | None,
    injected: tuple[int, int],
    statistics: float | None,
    task: str | None,
) -> str:
    parts = []
    if rate is not None:
        named = f"; {injected[1]} of {injected[0]} injected leaks detected" if injected[0] else ""
        parts.append(
            f"one leaked token in {round(1 / rate):,} would have been detected with "
            f"{_CONFIDENCE:.0%} confidence ({tokens:,} tokens compared{named})"
        )
    if answer_rate is not None:
        parts.append(f"in answers, one leak in {round(1 / answer_rate):,}")
    if statistics is not None:
        parts.append(
            f"by statistics alone, a leak that makes {100 * statistics:.1f} % of {task} answers "
            f"bad FAILs with {_POWER:.0%} power"
        )
    return "; ".join(parts) or "no leak would have been detected"


def leak_detection(sizes: Collection[int], rule: Decision) -> AssayEvidence | None:
    """Return the chance that a leak of five points in the smallest task would FAIL.

    Computed by enumeration over all outcomes, not simulated. It stands for a control arm where
    none can be run.

    Args:
        sizes: Independent prompts of each gated task; variants of one behaviour leak together.
        rule: Margin and levels.

    Returns:
        None without a gated task.
    """
    if not sizes:
        return None
    detection = min(
        _detection(n, rule.margin, rule.alpha, rule.alpha_fail, rule.mode)
        for n in {min(n, _ENOUGH) for n in sizes}
    )
    return AssayEvidence(detection=detection)


@lru_cache(maxsize=256)
def _detection(n: int, margin: float, alpha: float, alpha_fail: float, mode: str) -> float:
    return gate_probabilities(
        n,
        _INJECTED,
        0.0,
        margin=margin,
        alpha=alpha,
        alpha_fail=alpha_fail,
        gross_margin=margin,
        mode=mode,
    ).fail
