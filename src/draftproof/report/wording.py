"""How states, causes, roles and numbers are put into words, the same in every rendering."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from draftproof.records import Cause, Comparison, Counts, Role, State, TaskEvidence, Verdict

ABSENT = "n/a"
"""Shown for a number that was not measured; never a zero."""

STATE_GLYPH = {State.PASS: "✓", State.FAIL: "✕", State.INCONCLUSIVE: "?", State.INVALID: "!"}

STATE_MEANING = {
    State.PASS: "no change beyond the margin",
    State.FAIL: "a difference was shown",
    State.INCONCLUSIVE: "not enough evidence to decide",
    State.INVALID: "the comparison is not valid",
}

ROLE_MEANING = {
    Role.BASELINE: "the target alone",
    Role.NOISE: "a repeat, for the noise floor",
    Role.CANDIDATE: "the arm under test",
    Role.CONTROL: "control: known to change answers, so it has to FAIL",
    Role.VARIANT: "a candidate with one setting changed",
    Role.SHAPE: "plain decoding in a candidate's shape",
}

CAUSE_ORDER = (
    Cause.LEAK,
    Cause.FAULT,
    Cause.TEMPLATE,
    Cause.TRUNCATION,
    Cause.TOKENISATION,
    Cause.UNEXPLAINED,
    Cause.SPELLING,
    Cause.TIE,
)
"""Worst first: this is the order in which a reader should meet them."""

CAUSE_MEANING = {
    Cause.TIE: "the target's logits of both tokens are equal within rounding",
    Cause.LEAK: "the draft's token was accepted although the target clearly prefers another",
    Cause.FAULT: "a token that neither the target nor the draft would choose",
    Cause.TRUNCATION: "one answer stops early where the other goes on",
    Cause.TEMPLATE: "the two arms were given different prompts",
    Cause.SPELLING: "the arguments of tool calls are the same JSON values, written differently",
    Cause.TOKENISATION: "the texts do not show which tokens were generated at the first difference",
    Cause.UNEXPLAINED: "no model was available to score it again",
}

PROVENANCE = {
    "d": "proposed by the draft and accepted",
    "c": "corrected by the target",
    "b": "bonus token of the target",
    "p": "plain decoding",
}


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage that never rounds onto 0 or 100 by accident.

    >>> percent(0.25), percent(0.9999), percent(1.0), percent(0.0001), percent(None)
    ('25.0%', '>99.9%', '100%', '<0.1%', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if value in (0, 1):
        return f"{value:.0%}"
    step = 10.0**-digits
    if 0 < value * 100 < step / 2:
        return f"<{step:.{digits}f}%"
    if 100 - step / 2 <= value * 100 < 100:
        return f">{100 - step:.{digits}f}%"
    return f"{value * 100:.{digits}f}%"


def points(value: float | None, *, signed: bool = True) -> str:
    """Return a difference of rates in percentage points, without the unit.

    >>> points(0.0123), points(-0.03), points(0.0), points(0.03, signed=False), points(None)
    ('+1.2', '-3.0', '0.0', '3.0', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    shown = round(value * 100, 1) + 0.0
    return f"{shown:+.1f}" if signed and shown else f"{shown:.1f}"


def interval(value: tuple[float, float] | None) -> str:
    """Return an interval in percentage points.

    >>> interval((-0.01, 0.02))
    '-1.0 to +2.0'
    """
    if value is None or not all(math.isfinite(end) for end in value):
        return ABSENT
    return f"{points(value[0])} to {points(value[1])}"


def probability(value: float | None) -> str:
    """Return a p value to three decimals.

    >>> probability(0.0002), probability(0.0456)
    ('<0.001', '0.046')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with its thousands separated and integers left whole.

    >>> number(12345), number(3.14159), number(None)
    ('12,345', '3.14', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def effect(task: TaskEvidence) -> str:
    """Return |h| and its standard error."""
    if task.h is None or not math.isfinite(task.h):
        return ABSENT
    return f"{abs(task.h):.3f} ± {number(task.h_se, 3)}"


def share(part: int, whole: int) -> float | None:
    """Return a share, or None of nothing."""
    return part / whole if whole else None


def causes(counts: Counts) -> dict[Cause, int]:
    """Return the causes that occurred, worst first."""
    counted = {cause: counts.divergences.get(cause.value, 0) for cause in CAUSE_ORDER}
    return {cause: count for cause, count in counted.items() if count}


def tally(cause: Cause, count: int) -> str:
    """Return a cause with its count, in words.

    >>> tally(Cause.TIE, 2), tally(Cause.UNEXPLAINED, 2)
    ('2 ties', '2 unexplained')
    """
    countable = cause not in (
        Cause.TEMPLATE, Cause.TOKENISATION, Cause.UNEXPLAINED, Cause.SPELLING
    )  # fmt: skip
    return f"{count:,} {plural(cause.value, count) if countable else cause.value}"


def flips(comparison: Comparison) -> tuple[str, str]:
    """Return the regressions (good to bad) and improvements, where any answer was scored."""
    if not any(task.n for task in comparison.tasks):
        return ABSENT, ABSENT
    flips = comparison.counts.flips
    return number(flips.get("loss", 0)), number(flips.get("gain", 0))


def margin_of(verdict: Verdict) -> float | None:
    """Return the equivalence margin of the plan as a fraction, where the method states one."""
    value = verdict.method.get("margin")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def comparisons(verdict: Verdict) -> Iterator[Comparison]:
    """Yield every comparison in the order in which it is shown."""
    yield from verdict.candidates
    yield from verdict.controls
    yield from verdict.noise
    yield from verdict.variants


def resolution(verdict: Verdict) -> str:
    """Say in one or two sentences how fine a change this run could see."""
    if verdict.state is State.INVALID:
        return "The comparison is not valid, so none of its numbers can be used."
    gated = [t for c in verdict.candidates for t in c.tasks if t.gated and t.n]
    if not gated:
        return "No deciding task was measured, so this run cannot decide."
    sizes = sorted({task.n for task in gated})
    names = {task.task for task in gated}
    spread = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    each = "each" if len(names) > 1 else "compared"
    text = f"{len(names)} deciding {plural('task', len(names))}, {spread} pairs of answers {each}."
    margin = margin_of(verdict)
    bounded = [(t.interval[1], t) for t in gated if t.interval and math.isfinite(t.interval[1])]
    if bounded:
        worst, task = max(bounded, key=lambda entry: entry[0])
        loss = f"{points(worst, signed=False)} points ({task.task})"
        text += f" The largest loss that the data do not rule out is {loss}"
        text += "." if margin is None else f"; the margin is {points(margin, signed=False)}."
        text += _in_truth(worst, task)
    return text


def _in_truth(labels: float, task: TaskEvidence) -> str:
    """Say what a bound on labels is in truth, where the scorer's errors were measured."""
    truth = task.truth
    if truth is None:
        return ""
    estimate, most = truth.in_truth(max(labels, 0.0))
    shows = f"{truth.scorer} shows {percent(truth.youden, 0)} of a true difference"
    between = f"{percent(max(truth.low, 0.0), 0)} to {percent(truth.high, 0)}"
    means = "so it may be any loss in truth"
    if estimate is not None and most is not None:
        means = (
            f"so it is {points(estimate, signed=False)} points in truth, at most "
            f"{points(most, signed=False)}"
        )
    return f" By {truth.source}, {shows} ({between}, 95 %), {means}."


def unmeasured(verdict: Verdict) -> list[str]:
    """List what the candidates' verdicts do not rest on."""
    arms_of_gap: dict[str, list[str]] = {}
    for comparison in verdict.candidates:
        for gap in _gaps(comparison):
            arms_of_gap.setdefault(gap, []).append(comparison.name)
    gaps = [f"{', '.join(names)}: {gap}" for gap, names in arms_of_gap.items()]
    if not verdict.controls:
        gaps.append("No positive control: the assay sensitivity of this run is unknown.")
    if not verdict.noise:
        gaps.append("No noise arm: how often the target differs from its own repeat is unknown.")
    return gaps


def _gaps(comparison: Comparison) -> Iterator[str]:
    counts = comparison.counts
    unexplained = counts.divergences.get(Cause.UNEXPLAINED.value, 0)
    for count, what in (
        (counts.missing, "answered by one arm only"),
        (counts.unscored, "could not be scored"),
        (unexplained, "differ and were not explained"),
    ):
        if count:
            yield f"{count:,} {plural('pair', count)} {what}."
    empty = [task.task for task in comparison.tasks if not task.n]
    if empty:
        yield f"nothing was measured for {', '.join(empty)}."
    shown = [task.task for task in comparison.tasks if task.n and not task.gated]
    if shown:
        yield f"{', '.join(shown)} shown, not deciding."
    if comparison.promise is not None and comparison.promise.untested:
        yield f"not tested: {', '.join(comparison.promise.untested)}."


def widest(verdict: Verdict) -> float:
    """Return the largest divergence rate or bound of any arm: the full width of a bar."""
    ends = [
        end
        for comparison in comparisons(verdict)
        for end in (comparison.identity.divergence_rate, comparison.identity.divergence_upper)
        if end is not None and math.isfinite(end)
    ]
    return max(ends, default=0.0) or 1.0


def plural(word: str, count: int) -> str:
    """Return a word in the number that fits the count."""
    return word if count == 1 else word + "s"


def expectation(comparison: Comparison) -> str:
    """Say whether a control, noise or variant arm came out as its role expects."""
    if comparison.role is Role.CONTROL:
        return "as expected" if comparison.expected else "expected FAIL"
    must_pass = comparison.role in (Role.NOISE, Role.VARIANT)
    return "expected PASS" if must_pass and not comparison.expected else ""


def nats(value: float | None) -> str:
    """Return a number of nats with two significant digits."""
    return ABSENT if value is None else f"{value:.2g}"


def flat(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of a nested mapping as dotted names and one-line values."""
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(str(entry) for entry in value) or "none"
        elif value is None:
            yield name, ABSENT
        else:
            yield name, str(value)
