"""When divergences that nobody explains still allow a PASS: level LS.

Without the target (recorded answers, hosted servers) the statement is weaker: the labels are equal
within the margin on these tasks, and nobody looked why answers differ. It needs that the labels
moved no more than noise moves them, that the texts are sound, and that the labels would have shown
a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from draftproof.records import Cause, Divergence, LabelTruth, Pair, Reason, State
from draftproof.scoring import SCORERS, Scorer
from draftproof.scoring.truth import label_truth
from draftproof.screen.arms import Conditions
from draftproof.screen.evidence import ArmEvidence
from draftproof.screen.scorer_assay import AssayState, ScorerAssay, assay_scorers
from draftproof.screen.tally import TaskTally
from draftproof.screen.tasks import TaskNoise
from draftproof.screen.text_checks import text_checks
from draftproof.screen.texts.defects import text_pair
from draftproof.stats import Stratum, clopper_pearson, gate
from draftproof.stats.proportions import UnpairedRates
from draftproof.stats.sizes import discordance_bound, pairs_needed

SETTLED = frozenset({Cause.TIE, Cause.LEAK, Cause.FAULT, Cause.SPELLING})
"""Causes that a model or the answers themselves name; every other divergence is unexplained."""
_WAYS = (
    "what would settle it: a model that finds them (--target MODEL or --rescore URL; in a plan: "
    "target or rescore), a repeat of the baseline (--noise FILE; in a plan: a noise arm), or a "
    "control arm that fails"
)
"""What would settle a comparison that rests on labels alone."""
_SIDES = 0.90
"""Level of the two-sided interval whose upper limit is the one-sided 95 % bound."""


def unexplained(causes: Mapping[Cause, int]) -> int:
    """Return how many divergences no model looked at."""
    return sum(count for cause, count in causes.items() if cause not in SETTLED)


def labels_only(
    evidence: ArmEvidence, gated: Mapping[str, Stratum], conditions: Conditions
) -> dict[str, str]:
    """Return what stands between equal labels and a PASS at level LS, by code.

    Args:
        evidence: Of a candidate of which answers differ and nobody looked why.
        gated: The counts of the tasks that decide.
        conditions: The margin, the noise, and through what a control failed.
    """
    differing = [n for n in gated if evidence.tally.tasks[n].divergent]
    # files that are read in pieces come in another order, which must not matter
    read = sorted(evidence.read_pairs, key=lambda p: p.prompt.id)
    pairs = [p for p in read if p.prompt.task in gated]
    assays = {n: _assay(n, pairs) for n in differing}
    texts = {}
    for name in differing:
        assay, truth = assays[name], task_truth(evidence.tally.tasks[name], conditions)
        margin = _margin(assay, truth, conditions)
        told = _flips(gated[name], conditions.noise.get(name), margin)
        if told is not None:
            texts[f"flips-beyond-noise:{name}"] = f"task {name!r}: {told}"
        if truth is not None and (coarse := _too_coarse(gated[name], truth, conditions)):
            texts[f"labels-too-coarse:{name}"] = f"task {name!r}: {coarse}"
        if name not in conditions.vouched_labels and assay.state is not AssayState.PASSED:
            texts[f"labels-unproven:{name}"] = (
                f"{assay.sentence}; no control failed in these labels either"
            )
    checks = text_checks(text_pair(p) for p in one_a_prompt(read))
    if not checks.passed:
        part = "" if len(read) == evidence.tally.pairs else f" (a sample of {len(read):,} pairs)"
        texts["texts-unsound"] = f"{checks.sentence.removesuffix('.')}{part}"
    flipped = [d for d in evidence.findings.divergences if d.flip and d.cause not in SETTLED]
    blind = [d for d in flipped if d.task in assays and _recorded(assays[d.task])]
    if blind:
        texts["flip-unexplained"] = _named(blind)
    return texts


def nobody_looked(causes: Mapping[Cause, int]) -> Reason | None:
    """Return what would settle an undecided comparison in which answers differ unexplained."""
    n = unexplained(causes)
    text = f"the causes of {n:,} differences are unknown; {_WAYS}"
    return Reason(code="nobody-looked", state=State.INCONCLUSIVE, text=text) if n else None


def one_a_prompt(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the first pair of every prompt that was asked; ids of equal prompts are no pairs."""
    return list({_asked(p): p for p in reversed(list(pairs))}.values())[::-1]


def _asked(pair: Pair) -> object:
    hashed = pair.baseline.prompt_hash or pair.candidate.prompt_hash
    return hashed or pair.prompt.messages or pair.prompt.id


def _assay(task: str, pairs: Sequence[Pair]) -> ScorerAssay:
    """Return the assay of a task's labels, the weakest where several scorers gave them."""
    rows = [
        (p.prompt, p.candidate, _scorer(p))
        for p in pairs
        if p.prompt.task == task and p.candidate_label is not None
    ]
    found = assay_scorers(rows)
    if not found:
        return ScorerAssay(task=task, scorer=None, state=AssayState.NO_SCORER)
    return next((a for a in found if a.state is not AssayState.PASSED), found[0])


def _scorer(pair: Pair) -> Scorer | None:
    """Return the scorer that gave a pair's label; None where it came from elsewhere."""
    assert pair.candidate_label is not None
    name, _, version = pair.candidate_label.scorer.rpartition("@")
    scorer = SCORERS.get(name)
    return scorer if scorer is not None and scorer.version == version else None


def _recorded(assay: ScorerAssay) -> bool:
    return assay.state is AssayState.NO_SCORER


def task_truth(task: TaskTally, conditions: Conditions) -> LabelTruth | None:
    """Return what is known of the errors of a task's scorer."""
    return label_truth(task.label.scorer, conditions.calibration) if task.label else None


def _margin(assay: ScorerAssay, truth: LabelTruth | None, conditions: Conditions) -> float:
    """Return the margin for labels: errors of a scorer shrink every true difference."""
    margin = conditions.rule.margin
    factors = [assay.margin_factor, None if truth is None else max(truth.low, 0.0)]
    return margin * min((f for f in factors if f is not None), default=1.0)


def _too_coarse(stratum: Stratum, truth: LabelTruth, conditions: Conditions) -> str | None:
    """Return why labels with these errors cannot carry the margin, None where they do.

    A task that does not pass by its labels as they are has other reasons.
    """
    rule = conditions.rule

    def passes(margin: float) -> bool:
        result = gate(
            stratum.loss, stratum.gain, stratum.n,
            missing=stratum.missing, margin=margin, alpha=rule.alpha,
            alpha_fail=rule.alpha_fail, mode=rule.mode,
        )  # fmt: skip
        return result.state is State.PASS

    shrunk = max(truth.low, 0.0) * rule.margin
    if not passes(rule.margin) or (shrunk > 0 and passes(shrunk)):
        return None
    what = f"at most ±{100 * shrunk:.2g} of labels" if shrunk > 0 else "no margin of labels"
    return (
        f"the margin of {100 * rule.margin:g} points is finer than these labels can carry: by "
        f"{truth.source} ({truth.answers:,} answers) {truth.scorer} shows {100 * truth.youden:.0f} "
        f"% of a true difference ({100 * truth.low:.0f} % at least), so it is {what}, and that "
        f"is not shown with {stratum.n} independent pairs"
    )


def _flips(stratum: Stratum, noise: TaskNoise | None, margin: float) -> str | None:
    """Return why the labels may have moved by more than noise and margin, None if they did not.

    Missing and unread answers count as flipped.
    """
    flips = stratum.loss + stratum.gain + stratum.missing
    n = stratum.n + stratum.missing
    if noise is None or not noise.n:
        upper, over = clopper_pearson(flips, n, 0.95, "upper").high, "of flipped labels"
    else:
        rates = UnpairedRates(flips, n, noise.flips, noise.n)
        upper = rates.interval(_SIDES, "newcombe").high
        over = f"of their excess over the noise arm's {noise.flips} of {noise.n}"
    if upper <= margin:
        return None
    text = (
        f"{flips} of {n} labels flipped or are missing; the upper 95 % bound {over} is "
        f"{100 * upper:.2g} %, above the margin of {100 * margin:.2g} points"
    )
    if noise is not None and noise.n:
        return text
    needed = pairs_needed(discordance_bound(flips, n), margin=margin, unexplained=True)
    if needed.n is None:
        return f"{text}; how many prompts would be enough is not known: {needed.why}"
    return f"{text}; from {max(needed.n, n):,} independent prompts on it is within, with 80 % power"


def _named(flipped: Sequence[Divergence]) -> str:
    first = ", ".join(repr(d.id) for d in flipped[:5])
    more = f" and {len(flipped) - 5:,} more" if len(flipped) > 5 else ""
    text = "no model found the cause, and recorded labels cannot be tested"
    return f"the label of {first}{more} changed; {text}"
