"""Answers at a temperature above 0: draws from a law, compared prompt by prompt.

Two draws of one prompt differ by chance, so neither bytes nor single flips mean anything. What is
compared is the distribution of a prompt's answers (a two-sample test, labels permuted within
prompts), the rates of good answers (repeats of a prompt are one cluster), and for our own decoder
the drawn tokens against the target's law, which is known exactly. Either test can accuse a clean
arm by chance, and so can every further arm, so the level is shared out among all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.records import Completion, Distribution, KnownCause, Pair
from draftproof.screen.faults import name_law_break
from draftproof.screen.pairing import Pairing
from draftproof.stats.sampling import hamming_kernel, law_test, mmd_test

_PERMUTATIONS = 999
_ABOVE = 10
"""Permuted statistics beyond the observed one that a p-value at the level rests on, at least."""
_SEED = 71
_LAW_SEED = 72
_TESTS = 2
"""Ways in which a broken law is looked for."""
_LONGEST = 256
"""Tokens of an answer that are compared; later ones hang on the earlier anyway."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Tokens drawn at one prefix, beside the target's law there.

    Attributes:
        counts: Draws of each token, ``[V]``.
        law: The target's probability of each, ``[V]``.
    """

    counts: Sequence[float]
    law: Sequence[float]


@dataclass(frozen=True, slots=True)
class Law:
    """What an arm's decoder was seen to draw.

    Attributes:
        drawn: Draws at several prefixes.
        greedy_clean: Whether it says what plain decoding says when it is asked greedily.
    """

    drawn: Sequence[Drawn]
    greedy_clean: bool


LawTest = Callable[[], Law]
"""Draws tokens with an arm's decoder; called once, when its answers are judged."""


def law_level(alpha_fail: float, arms: int) -> float:
    """Return the level at which one test of one arm's law decides.

    Shared by both tests of every arm that should follow the baseline's law, so a screen of clean
    arms accuses any of them with probability `alpha_fail` at most (Bonferroni; the arms are
    compared with one baseline and are not independent).

    >>> law_level(0.025, 2)
    0.00625
    """
    return alpha_fail / (_TESTS * max(arms, 1))


def distribution(
    joined: Pairing, temperature: float, law: LawTest | None, alpha: float
) -> tuple[Distribution, KnownCause | None]:
    """Return what the draws say about the candidate's law, and the fault that breaks it.

    Args:
        joined: Pairs of draws; the ids of a prompt's draws share what stands before ``#``.
        temperature: Of both arms.
        law: Draws tokens to be tested against the target's law, where that can be done.
        alpha: Level at which either test decides.
    """
    drawn: dict[str, list[Pair]] = {}
    for pair in joined.pairs:
        drawn.setdefault(pair.prompt.id.rpartition("#")[0], []).append(pair)
    groups = [pairs for pairs in drawn.values() if len(pairs) > 1]
    words: dict[str, int] = {}
    found = None
    if groups:
        found = mmd_test(
            [[_tokens(p.baseline, words) for p in pairs] for pairs in groups],
            [[_tokens(p.candidate, words) for p in pairs] for pairs in groups],
            np.random.default_rng(_SEED),
            kernel=hamming_kernel,
            permutations=max(_PERMUTATIONS, math.ceil(_ABOVE / alpha) - 1),
        )
    seen = law() if law is not None else None
    tests = [(d.counts, d.law) for d in seen.drawn] if seen else []
    upper = found.upper() if found is not None else float("nan")
    exact = law_test(tests, np.random.default_rng(_LAW_SEED)) if tests else None
    shown = Distribution(
        temperature=temperature,
        samples=min((len(pairs) for pairs in groups), default=0),
        prompts=len(groups),
        mmd2=found.mmd2 if found else None,
        mmd_p=found.p_value if found else None,
        mmd_upper=None if np.isnan(upper) else upper,
        law_p=exact.p_value if exact else None,
        law_draws=int(sum(sum(counts) for counts, _ in tests)),
        law_prefixes=len(tests),
        text=_text(
            found.p_value if found else None,
            len(groups),
            exact.p_value if exact else None,
            len(tests),
        ),
    )
    fault = None
    if seen is not None and exact is not None:
        fault = name_law_break(greedy_clean=seen.greedy_clean, law_p=exact.p_value, alpha=alpha)
    return shown, fault


def _tokens(completion: Completion, words: dict[str, int]) -> list[int]:
    """Return token ids, or for answers without them a number for every word."""
    if completion.token_ids is not None:
        return list(completion.token_ids[:_LONGEST])
    return [words.setdefault(w, len(words)) for w in completion.text.split()[:_LONGEST]]


def _text(mmd_p: float | None, prompts: int, law_p: float | None, prefixes: int) -> str:
    parts = []
    if mmd_p is not None:
        parts.append(f"answers to {prompts:,} prompts against the baseline's: p = {mmd_p:.3g}")
    if law_p is not None:
        parts.append(
            f"drawn tokens against the target's own distribution at {prefixes} prefixes: "
            f"p = {law_p:.3g}"
        )
    return "; ".join(parts) or "no prompt was answered twice by both arms"
