"""What arms do to themselves, and what must not change when one thing is changed.

*Noise floor*: arms are repeated, and a candidate is shown beside what repeats move.

*Relations* need no statistics. At temperature 0 a lossless rule says what the target says, whoever
drafts. Another draft at the same γ computes in the same shapes, so not one byte may move; another
γ computes in other shapes, so ties may; another seed is never looked at. A rule that changes the
target's law (safety-aware decoding) says the same at every γ by its definition, and the same as
token by token, where nothing is drafted at all. Whether such a rule's divergence is a tie the
target alone cannot say: it stays unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from draftproof.records import Cause, Excess, NoiseFloor, Relation, Repeat, Role
from draftproof.screen.evidence import ArmEvidence
from draftproof.screen.tally import TaskTally
from draftproof.screen.tasks import TaskNoise
from draftproof.stats import excess_divergence
from draftproof.stats.effects import modelled_h_cutoff

_SEED = 953
"""Of the draws behind a modelled cutoff; fixed, so that a verdict is a function of its evidence."""
_DRAWS = 4000
_EXPECTED = {
    "draft": "no byte changes",
    "seed": "no byte changes",
    "gamma": "only ties change",
    "autoregressive": "only ties change",
}
_NAMES = {
    "draft": "another draft",
    "seed": "another seed",
    "gamma": "another γ",
    "autoregressive": "plain decoding",
}
_OTHER_SHAPES = frozenset({"gamma", "autoregressive"})
_IGNORED = frozenset({"name", "role", "of", "order"})


def noise_floor(candidate: ArmEvidence, repeats: Sequence[ArmEvidence]) -> NoiseFloor:
    """Return the floor under a candidate.

    The excess is taken over the noisiest of the repeats, on the prompts that both paired: with
    off for the baseline and on for the candidate, d(off, on) - max(d(off, off), d(on, on)).

    Args:
        candidate: The candidate against the baseline.
        repeats: Repeats of the baseline and of this candidate.
    """
    if not repeats:
        return NoiseFloor(repeats=(), divergence=None, flips=None, text="no arm was repeated")
    divergence = _worst(_excess(candidate, repeat, flips=False) for repeat in repeats)
    flips = _worst(_excess(candidate, repeat, flips=True) for repeat in repeats)
    return NoiseFloor(
        repeats=tuple(_repeat(repeat) for repeat in repeats),
        divergence=divergence,
        flips=flips,
        text=_text(divergence, flips),
    )


def _repeat(evidence: ArmEvidence) -> Repeat:
    counts = evidence.counts
    return Repeat(
        name=evidence.arm.name,
        of=evidence.against.name,
        speculative=evidence.against.role is not Role.BASELINE,
        shuffled=evidence.arm.declared.get("order") == "shuffled",
        n=counts.n,
        divergent=counts.n - counts.identical,
        flips=sum(counts.flips.values()),
    )


def task_noise(repeats: Sequence[ArmEvidence]) -> dict[str, TaskNoise]:
    """Return every task's floor: its noisiest repeat, and the |h| that repeats explain."""
    measured: dict[str, list[TaskTally]] = {}
    for repeat in repeats:
        for name, task in repeat.tally.tasks.items():
            if task.pairs:
                measured.setdefault(name, []).append(task)
    return {name: _task_noise(tasks) for name, tasks in measured.items()}


def _task_noise(tasks: Sequence[TaskTally]) -> TaskNoise:
    noisiest = max(tasks, key=lambda t: t.divergent / t.pairs)
    scored = sum(t.baseline_scored for t in tasks)
    good = sum(t.baseline_good for t in tasks)
    flips = sum(t.loss + t.gain for t in tasks)
    # half an answer either way: a task answered well throughout could still flip
    rate = (good + 0.5) / (scored + 1) if scored else None
    cutoff = _h_cutoff(rate, flips, scored, noisiest.pairs)
    moved = noisiest.loss + noisiest.gain
    return TaskNoise(noisiest.divergent, noisiest.pairs, cutoff, moved)


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
    cutoff = modelled_h_cutoff(rng, rate, min(flips, repeated), repeated, n, draws=_DRAWS)
    return cutoff.value if cutoff.defined else None


def _excess(candidate: ArmEvidence, repeat: ArmEvidence, *, flips: bool) -> Excess | None:
    assert candidate.pairing is not None
    assert repeat.pairing is not None
    pairings = (candidate.pairing, repeat.pairing)
    moved, moved_by_repeat = (p.flipped if flips else p.divergent for p in pairings)
    shared = sorted(candidate.pairing.paired & repeat.pairing.paired)
    if not shared:
        return None
    result = excess_divergence([i in moved for i in shared], [i in moved_by_repeat for i in shared])
    interval = result.interval()
    return Excess(
        repeat=repeat.arm.name,
        n=len(shared),
        candidate_only=result.pairs.loss,
        repeat_only=result.pairs.gain,
        excess=result.excess,
        interval=(interval.low, interval.high) if interval.defined else None,
        p_value=result.test().p_value,
    )


def _worst(excesses: Iterable[Excess | None]) -> Excess | None:
    """Return the smallest excess: that over the noisiest repeat."""
    return min((e for e in excesses if e is not None), key=lambda e: e.excess, default=None)


def _text(divergence: Excess | None, flips: Excess | None) -> str:
    if divergence is None or flips is None:
        return "no prompt was answered by the candidate and by a repeat"

    def sentence(what: str, excess: Excess) -> str:
        if not excess.candidate_only and not excess.repeat_only:
            return f"{what} no more often than its repeat"
        return (
            f"{what} on {excess.candidate_only:,} prompts where the repeat {excess.repeat!r} does "
            f"not, the repeat on {excess.repeat_only:,} where the candidate does not "
            f"({100 * excess.excess:+.1f} points, p = {excess.p_value:.3g})"
        )

    differs = sentence("differs from the baseline", divergence)
    return f"the candidate {differs}; its label {sentence('flips', flips)}"


def changed_between(first: Mapping[str, object], second: Mapping[str, object]) -> str | None:
    """Return the one thing that differs between two arms as declared: draft, gamma or seed.

    None where nothing differs, more than one thing does, or a thing that may matter. A γ of 0,
    nothing drafted, is called autoregressive.

    >>> changed_between({"name": "a", "gamma": 4}, {"name": "b", "gamma": 2})
    'gamma'
    """
    keys = (first.keys() | second.keys()) - _IGNORED
    differing = [k for k in keys if first.get(k) != second.get(k)]
    if differing == ["gamma"] and 0 in {first.get("gamma"), second.get("gamma")}:
        return "autoregressive"
    return differing[0] if len(differing) == 1 and differing[0] in _EXPECTED else None


def relation(varied: ArmEvidence, changed: str | None = None) -> Relation:
    """Return whether a relation held.

    Args:
        varied: The varied arm against the arm that it varies.
        changed: What was changed; what the two arms declare differently if None.
    """
    changed = changed or changed_between(varied.against.declared, varied.arm.declared) or "draft"
    counts = varied.counts
    ties = counts.divergences.get(Cause.TIE.value, 0)
    unexplained = counts.divergences.get(Cause.UNEXPLAINED.value, 0)
    allowed = counts.identical + (ties if changed in _OTHER_SHAPES else 0)
    moved = counts.n - counts.identical
    if not counts.n:
        what = "was not measured"
    elif not moved:
        what = f"changes none of {counts.n:,} answers"
    else:
        what = f"changes {moved:,} of {counts.n:,} answers, {ties:,} of them by ties"
        what += f", {unexplained:,} unexplained" if unexplained else ""
    name, of = varied.arm.name, varied.against.name
    return Relation(
        arm=name,
        of=of,
        changed=changed,
        expected=_EXPECTED[changed],
        n=counts.n,
        identical=counts.identical,
        ties=ties,
        held=counts.n > 0 and allowed == counts.n,
        unexplained=unexplained,
        text=f"{_NAMES[changed]} ({name!r} instead of {of!r}) {what}",
    )


def broken(varied: ArmEvidence) -> int:
    """Return how many divergences of a varied arm no rounding explains."""
    return sum(varied.findings.causes[cause] for cause in (Cause.LEAK, Cause.FAULT))
