"""The decision of one stratum, from its counts to a state with reasons.

PASS needs the equivalence test at `alpha`, the same with every missing pair counted against
the claim, and (unless the profile leaves out the bounds on flips) an upper bound of the loss rate
within `gross_margin` and gains that stay within the margin with no loss set off against them: else
one loss more could turn into a PASS. Both count every missing pair. FAIL needs a loss shown at
`alpha_fail` and no PASS: a real loss was shown and it was not shown to be below the margin; or more
flips than the margin allows were shown. Everything else is INCONCLUSIVE.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from draftproof.records import Reason, State
from draftproof.stats.checks import count, discordants, one_of, open_unit
from draftproof.stats.decisions import change_p_values
from draftproof.stats.evidence import Code, Profile, resolve_profile
from draftproof.stats.flips import flip_upper, rung
from draftproof.stats.mcnemar import mcnemar_test
from draftproof.stats.paired import DiscordantPairs
from draftproof.stats.results import Interval
from draftproof.stats.sizes import SizeNeeded, discordance_bound, pairs_needed

MODES = ("equivalence", "noninferiority")


@dataclass(frozen=True, slots=True)
class GateResult:
    """Decision of one stratum; every number that led to it comes along.

    Attributes:
        state: PASS, FAIL or INCONCLUSIVE.
        p_equivalence: p-value of the claim; NaN without pairs.
        p_worst_case: The same with every missing pair against the claim; NaN without pairs.
        p_gains: p-value that gains alone reach the margin, no loss set off against them and
            every missing pair gained; 0 where gains are not bounded.
        p_loss: One-sided exact McNemar p-value that a loss exists; 1 without discordance.
        p_loss_family: `p_loss` adjusted for the family of strata by Holm; the same for one.
        p_change: p-value that more changed than is tolerated; see `change_p_values`.
        p_change_family: `p_change` adjusted for the family of strata by Holm.
        flip_upper: One-sided upper bound of the loss rate, every missing pair lost; 1 without
            pairs.
        interval: Tango interval of the difference at level 1 - 2·alpha.
        rung: Smallest n that passes with the observed losses and no gains.
        smallest_loss_compatible: Lower limit of the interval, not below 0; NaN without pairs.
        drift: PASS although a loss was shown: real, but below the margin.
        reasons: Why.
        pairs: The counts.
        missing: Pairs of which one arm is missing.
        margin: Equivalence margin.
        alpha: Level of the equivalence test.
        alpha_fail: Level of the loss test.
        gross_margin: Bound for `flip_upper`; 1 when left out.
        mode: "equivalence" or "noninferiority".
        profile: Name of the profile.
        cohen_h: Effect size that was used, or NaN.
        name: Name of the stratum; empty outside a screen.
        by_bytes: Byte identity alone decided, without a scorer.
    """

    state: State
    p_equivalence: float
    p_worst_case: float
    p_gains: float
    p_loss: float
    p_loss_family: float
    p_change: float
    p_change_family: float
    flip_upper: float
    interval: Interval
    rung: int
    smallest_loss_compatible: float
    drift: bool
    reasons: tuple[Reason, ...]
    pairs: DiscordantPairs
    missing: int
    margin: float
    alpha: float
    alpha_fail: float
    gross_margin: float
    mode: str
    profile: str
    cohen_h: float
    name: str = ""
    by_bytes: bool = False

    @property
    def n_needed(self) -> int | None:
        """Pairs from which on 80 % of the harmless candidates pass; see `size_needed`."""
        return self.size_needed().n

    def size_needed(self, *, unexplained: bool = False) -> SizeNeeded:
        """Return how many pairs an INCONCLUSIVE stratum needs, by the whole rule.

        Discordance is taken at its upper 80 % bound, and the size is never below what was asked.

        Args:
            unexplained: Nobody looks why answers differ, so that all flips are bounded.
        """
        if self.state is not State.INCONCLUSIVE:
            return SizeNeeded(None)
        n, flips = self.pairs.n, self.pairs.discordant
        psi = discordance_bound(flips, n)
        needed = pairs_needed(
            psi, margin=self.margin, alpha=self.alpha, gross_margin=self.gross_margin,
            mode=self.mode, unexplained=unexplained,
        )  # fmt: skip
        if needed.n is not None:
            return SizeNeeded(max(needed.n, n))
        if flips <= n * self.margin / 2:
            # rates that few pairs leave open are no reason to give up
            return SizeNeeded(
                None,
                f"{n} independent pairs are too few to say how often labels flip by chance (up to "
                f"{100 * psi:.2g} %), so it is open how many are needed: "
                f"{rung(0, self.margin, self.alpha)} at least",
            )
        return needed


def gate(
    loss: int,
    gain: int,
    n: int,
    *,
    missing: int = 0,
    torn: int = 0,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    gross_margin: float | None = None,
    mode: str | None = None,
    profile: str | Profile = "exact",
    cohen_h: float = math.nan,
    name: str = "",
) -> GateResult:
    """Decide one stratum.

    Args:
        loss: Pairs good in the baseline only.
        gain: Pairs good in the candidate only.
        n: Complete pairs.
        missing: Pairs of which one arm is missing.
        torn: Pairs counted as lost of which another answer gained: gains for every claim on gains.
        margin: Equivalence margin.
        alpha: One-sided level of the equivalence test.
        alpha_fail: Level of the loss test.
        gross_margin: Bound on the upper limit of the loss rate; None means the margin itself
            under a profile with the flip bound, 1 (no bound) otherwise.
        mode: "equivalence" or "noninferiority" (loss side only); None takes the profile's.
        profile: "exact", "tais", or a `Profile`.
        cohen_h: Effect size, used when the profile has a cutoff for it.
        name: Name of the stratum, which its reasons carry.

    Returns:
        The decision. No pairs is INCONCLUSIVE, never PASS.

    Raises:
        ValueError: For impossible counts or arguments; the message names the argument.

    Examples:
        >>> gate(0, 0, 99).state, gate(0, 0, 98).state
        (<State.PASS: 'PASS'>, <State.INCONCLUSIVE: 'INCONCLUSIVE'>)
        >>> gate(10, 1, 404).state
        <State.FAIL: 'FAIL'>
        >>> [reason.code.value for reason in gate(0, 0, 100, missing=3).reasons]
        ['missing-pairs', 'gain-bound', 'flip-bound']
    """
    rules = resolve_profile(profile)
    b, c, total = discordants(loss, gain, n)
    gone, gained = count("missing", missing), c + count("torn", torn)
    chosen = one_of("mode", mode or rules.mode, MODES)
    for argument, level in (("margin", margin), ("alpha", alpha), ("alpha_fail", alpha_fail)):
        open_unit(argument, level)
    bound = gross_margin if gross_margin is not None else (margin if rules.flip_bound else 1.0)
    pairs = DiscordantPairs(b, c, total)
    interval = pairs.interval(1 - 2 * alpha)
    low = max(interval.low, 0.0) if interval.defined else math.nan
    p_loss = mcnemar_test(b, c, alternative="loss").p_value
    most = max(b, gained) if chosen == "equivalence" else b
    p_change = float(change_p_values(most, 0, total, bound))
    at_worst = gone if rules.missing_worst_case else 0
    bounded = chosen == "equivalence" and bound < 1
    result = GateResult(
        state=State.INCONCLUSIVE,
        p_equivalence=_claim(b, c, total, 0, margin, chosen, rules.method),
        p_worst_case=_claim(b, c, total, gone, margin, chosen, rules.method),
        p_gains=_claim(gained, 0, total, at_worst, margin, "noninferiority", rules.method)
        if bounded
        else 0.0,
        p_loss=p_loss,
        p_loss_family=p_loss,
        p_change=p_change,
        p_change_family=p_change,
        flip_upper=flip_upper(b + at_worst, total + at_worst, alpha) if total else 1.0,
        interval=interval,
        rung=rung(b, margin, alpha),
        smallest_loss_compatible=low,
        drift=False,
        reasons=(),
        pairs=pairs,
        missing=gone,
        margin=margin,
        alpha=alpha,
        alpha_fail=alpha_fail,
        gross_margin=bound,
        mode=chosen,
        profile=rules.name,
        cohen_h=cohen_h,
        name=name,
    )
    return decide(result, rules)


def decide(evidence: GateResult, profile: Profile) -> GateResult:
    """State and reasons from a stratum's numbers; FAIL goes by the family's p-values."""
    obstacles = _obstacles(evidence, profile)
    b, c, n = evidence.pairs.loss, evidence.pairs.gain, evidence.pairs.n
    if not obstacles:
        # the flag is not a claim about the family, so it goes by the stratum's own p-value
        drift = evidence.p_loss <= evidence.alpha_fail
        text = f"difference within ±{evidence.margin:g} (p = {evidence.p_equivalence:.3g})"
        because = [(Code.EQUIVALENT, text)]
        if drift:
            text = f"{b} regressions against {c} improvements (p = {evidence.p_loss:.3g}): small"
            because.append((Code.DRIFT, text))
        return _decided(evidence, State.PASS, because, drift=drift)
    if n > 0 and evidence.p_loss_family <= evidence.alpha_fail:
        text = (
            f"{b} regressions against {c} improvements in {n} pairs "
            f"(p = {evidence.p_loss_family:.3g})"
        )
        return _decided(evidence, State.FAIL, [(Code.LOSS_SHOWN, text), *obstacles])
    if n > 0 and evidence.p_change_family <= evidence.alpha_fail:
        text = (
            f"{b} regressions and {c} improvements in {n} pairs: more answers flip, one way or the "
            f"other, than the margin of {evidence.margin:g} allows "
            f"(p = {evidence.p_change_family:.3g}); the rates may be equal"
        )
        return _decided(evidence, State.FAIL, [(Code.CHANGE_SHOWN, text), *obstacles])
    return _decided(evidence, State.INCONCLUSIVE, obstacles)


def _decided(
    evidence: GateResult, state: State, because: list[tuple[Code, str]], *, drift: bool = False
) -> GateResult:
    reasons = tuple(
        Reason(code=code, state=state, text=text, task=evidence.name or None)
        for code, text in because
    )
    return replace(evidence, state=state, drift=drift, reasons=reasons)


def _obstacles(evidence: GateResult, profile: Profile) -> list[tuple[Code, str]]:
    """What stands between the evidence and PASS; empty when nothing does."""
    n, alpha = evidence.pairs.n, evidence.alpha
    if n == 0:
        if evidence.missing:
            return [(Code.ARM_MISSING, f"all {evidence.missing} pairs lack an answer")]
        return [(Code.NO_PAIRS, "there are no pairs")]
    obstacles = []
    # comparisons are written so that NaN counts as an obstacle
    if not evidence.p_equivalence <= alpha:
        text = f"p = {evidence.p_equivalence:.3g} > {alpha:g} for ±{evidence.margin:g}"
        obstacles.append((Code.NOT_SHOWN, text))
    elif profile.missing_worst_case and not evidence.p_worst_case <= alpha:
        text = f"with {evidence.missing} missing pairs at worst p = {evidence.p_worst_case:.3g}"
        obstacles.append((Code.MISSING_PAIRS, text))
    gone = f" and {evidence.missing} missing pairs" if evidence.missing else ""
    if not evidence.p_gains <= alpha:
        text = (
            f"{evidence.pairs.gain} improvements{gone}, no regression set off against them: "
            f"p = {evidence.p_gains:.3g} > {alpha:g}"
        )
        obstacles.append((Code.GAIN_BOUND, text))
    if not evidence.flip_upper <= evidence.gross_margin:
        text = (
            f"{evidence.pairs.loss} regressions{gone}: upper bound {evidence.flip_upper:.4f} > "
            f"{evidence.gross_margin:g}"
        )
        obstacles.append((Code.FLIP_BOUND, text))
    if profile.effect_cutoff is not None and not abs(evidence.cohen_h) < profile.effect_cutoff:
        text = f"|h| = {abs(evidence.cohen_h):.3f}, cutoff {profile.effect_cutoff:g}"
        obstacles.append((Code.EFFECT_SIZE, text))
    return obstacles


def _claim(b: int, c: int, n: int, gone: int, margin: float, mode: str, method: str) -> float:
    """p-value of the claim when each side takes the missing pairs in its own worst way."""
    if n == 0:
        return math.nan
    loss_side = DiscordantPairs(b + gone, c, n + gone).noninferiority(margin, method).p_value
    if mode == "noninferiority":
        return loss_side
    gain_side = DiscordantPairs(c + gone, b, n + gone).noninferiority(margin, method).p_value
    return max(loss_side, gain_side)
