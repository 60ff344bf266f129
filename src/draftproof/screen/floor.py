"""The noise floor: what arms do to themselves, and what a candidate does beyond it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from draftproof.records import Excess, NoiseFloor, Repeat
from draftproof.screen.arms import Compared
from draftproof.screen.evidence import TaskNoise
from draftproof.stats import excess_divergence
from draftproof.stats.effects import modelled_h_cutoff

_SEED = 953
"""Of the draws behind a modelled cutoff; fixed, so that a verdict is a function of its evidence."""
_DRAWS = 4000


def noise_floor(candidate: Compared, repeats: Sequence[tuple[Compared, Repeat]]) -> NoiseFloor:
    """Return the floor under a candidate.

    The excess is taken over the noisiest of the repeats, on the prompts that both paired: with
    off for the baseline and on for the candidate, d(off, on) - max(d(off, off), d(on, on)).

    Args:
        candidate: The candidate against the baseline.
        repeats: Repeats of the baseline and of this candidate, with their counts.
    """
    shown = tuple(found for _, found in repeats)
    if not repeats:
        return NoiseFloor(repeats=(), divergence=None, flips=None, text="no arm was repeated")
    divergence = _worst(
        (_excess(candidate, one, one.divergent, candidate.divergent) for one, _ in repeats)
    )
    flips = _worst((_excess(candidate, one, one.flipped, candidate.flipped) for one, _ in repeats))
    return NoiseFloor(
        repeats=shown, divergence=divergence, flips=flips, text=_text(divergence, flips)
    )


def repeat_of(compared: Compared, *, speculative: bool, shuffled: bool) -> Repeat:
    """Return the counts of a repeat."""
    found = compared.comparison
    return Repeat(
        name=found.name,
        of=found.baseline,
        speculative=speculative,
        shuffled=shuffled,
        n=len(compared.paired),
        divergent=len(compared.divergent),
        flips=len(compared.flipped),
    )


def task_noise(repeats: Sequence[Compared]) -> dict[str, TaskNoise]:
    """Return every task's floor: its noisiest repeat, and the |h| that repeats explain."""
    counted: dict[str, list[tuple[int, int]]] = {}
    flips: Counter[str] = Counter()
    good: Counter[str] = Counter()
    scored: Counter[str] = Counter()
    for one in repeats:
        moved: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for pair in one.pairs:
            task = pair.prompt.task
            size[task] += 1
            moved[task] += not pair.identical
            flips[task] += pair.flip is not None
            label = pair.baseline_label
            if label is not None and label.good is not None:
                scored[task] += 1
                good[task] += label.good
        for task, n in size.items():
            counted.setdefault(task, []).append((moved[task], n))
    out = {}
    for task, found in counted.items():
        divergent, n = max(found, key=lambda f: f[0] / f[1])
        # half an answer either way: a task answered well throughout could still flip
        rate = (good[task] + 0.5) / (scored[task] + 1) if scored[task] else None
        out[task] = TaskNoise(divergent, n, _h_cutoff(rate, flips[task], scored[task], n))
    return out


@lru_cache(maxsize=256)
def _h_cutoff(rate: float | None, flips: int, repeated: int, n: int) -> float | None:
    """Return the |h| that flips at the repeats' own rate explain, None where nothing was scored.

    Args:
        rate: Share of good answers in the repeated arm.
        flips: Flipped pairs of the repeats.
        repeated: Scored pairs of the repeats.
        n: Pairs of the task.
    """
    if rate is None or not repeated or not n:
        return None
    rng = np.random.default_rng(_SEED)
    found = modelled_h_cutoff(rng, rate, min(flips, repeated), repeated, n, draws=_DRAWS)
    return found.value if found.defined else None


def _excess(
    candidate: Compared, repeat: Compared, moved: frozenset[str], own: frozenset[str]
) -> Excess | None:
    shared = sorted(candidate.paired & repeat.paired)
    if not shared:
        return None
    found = excess_divergence([i in own for i in shared], [i in moved for i in shared])
    interval = found.interval()
    return Excess(
        repeat=repeat.comparison.name,
        n=len(shared),
        candidate_only=found.pairs.loss,
        repeat_only=found.pairs.gain,
        excess=found.excess,
        interval=(interval.low, interval.high) if interval.defined else None,
        p_value=found.test().p_value,
    )


def _worst(found: Iterable[Excess | None]) -> Excess | None:
    """Return the smallest excess: that over the noisiest repeat."""
    return min((f for f in found if f is not None), key=lambda e: e.excess, default=None)


def _text(divergence: Excess | None, flips: Excess | None) -> str:
    if divergence is None or flips is None:
        return "no prompt was answered by the candidate and by a repeat"

    def said(what: str, found: Excess) -> str:
        if not found.candidate_only and not found.repeat_only:
            return f"{what} no more often than its repeat"
        return (
            f"{what} on {found.candidate_only:,} prompts where {found.repeat!r} does not, and not "
            f"on {found.repeat_only:,} where that does "
            f"({100 * found.excess:+.1f} points, p = {found.p_value:.3g})"
        )

    return f"beyond the noise floor it {said('differs', divergence)}; it {said('flips', flips)}"
