"""What the noise of the stack decides of one comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from draftproof.records import Reason, State
from draftproof.screen.stack_noise.findings import NoiseFindings
from draftproof.screen.stack_noise.measure import MeasuredNoise
from draftproof.stats.contamination import CUT
from draftproof.stats.naming import COARSER, FOREIGN_SHARE, WIDEST_MARGIN

MORE_POWER = "more plain prompts, a float32 model or the stack's own scores (rescore) would help"


@dataclass(frozen=True, slots=True)
class NoiseRuling:
    """What stands against an arm by its stack's noise.

    Attributes:
        invalid: What makes the comparison INVALID, by code.
        leaks: Named tokens that FAIL the arm and that the draft proposed.
        faults: The others that FAIL it.
        fails: What else FAILs it.
        open: What stands between the evidence and a PASS, by code.
    """

    invalid: dict[str, str] = field(default_factory=dict)
    leaks: int = 0
    faults: int = 0
    fails: tuple[Reason, ...] = ()
    open: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether anything FAILs the arm."""
        return bool(self.leaks or self.faults or self.fails)


def rule_on(noise: NoiseFindings | None, *, identical: bool) -> NoiseRuling:
    """Return what a comparison's noise findings decide.

    Args:
        noise: The findings; None where nothing was measured or bits do not depend on shapes.
        identical: Whether all answers are equal byte for byte.
    """
    if noise is None or noise.measured is None:
        return NoiseRuling()
    measured = noise.measured
    if measured.foreign:
        return NoiseRuling(invalid={"baseline-is-another-model": _foreign(noise, measured)})
    fails = _hidden(measured)
    appealed = len(noise.named) == 1 and noise.named[0].appeal == "lost"
    convicts = not measured.named_clean and (len(noise.named) > 1 or appealed)
    if convicts or fails:
        leaks, faults = (noise.leaks, noise.faults) if convicts else (0, 0)
        return NoiseRuling(leaks=leaks, faults=faults, fails=fails)
    return NoiseRuling(open=_open(noise, measured, identical=identical))


def _foreign(noise: NoiseFindings, measured: MeasuredNoise) -> str:
    return (
        f"{measured.named_clean:,} of {measured.clean.n:,} positions of plain decoding say tokens "
        f"that {noise.instrument} would not (at most {FOREIGN_SHARE:.1%} may): the model that "
        "scores is not the one that answered; name the model that is served"
    )


def _hidden(measured: MeasuredNoise) -> tuple[Reason, ...]:
    reasons = []
    hidden = measured.contamination
    if hidden.fails:
        text = (
            f"more tokens deviate than this stack's rounding explains: a share of "
            f"{hidden.candidate_share:.2%} beside {hidden.baseline_share:.2%} in plain decoding "
            f"(J = {hidden.statistic:.1f}, {CUT} decides)"
        )
        reasons.append(Reason(code="leaks-among-ties", state=State.FAIL, text=text))
    if measured.direction is not None and measured.direction.fails:
        ties = measured.direction.candidate
        text = (
            f"near-ties follow the draft: {ties.statistic:,} of {int(ties.said.sum()):,} second "
            f"tokens are its proposals (p = {ties.p_value:.2g}; replayed on plain decoding "
            f"p = {measured.direction.baseline.p_value:.2g})"
        )
        reasons.append(Reason(code="ties-follow-the-draft", state=State.FAIL, text=text))
    return tuple(reasons)


def _open(noise: NoiseFindings, measured: MeasuredNoise, *, identical: bool) -> dict[str, str]:
    texts = {}
    if measured.named_clean:
        texts["baseline-token-named"] = (
            f"{measured.named_clean:,} of {measured.clean.n:,} tokens of plain decoding lie beyond "
            "its own rounding, so a token of the candidate that does proves nothing"
        )
    elif noise.named:
        texts["token-without-appeal"] = _one(noise)
    if measured.contamination.exceeds:
        texts["leaks-among-ties-unshaped"] = (
            f"more tokens deviate than rounding explains (J = "
            f"{measured.contamination.statistic:.1f}, {CUT} is the bound), but plain decoding was "
            "not computed in the candidate's shape, whose own noise may look the same; add an arm "
            "of role shape, or screen a stack that can be asked at given prefixes"
        )
    elif measured.share.exceeds:
        texts["unexplained-deviations"] = (
            f"the candidate deviates beyond its own rounding (likelihood ratio "
            f"{measured.share.ratio:.1f}, {measured.share.cut:.1f} is the bound), though not "
            "beyond plain decoding's"
        )
    if measured.coarser:
        texts["coarser-arithmetic"] = (
            f"coarser arithmetic: the candidate's noise scale of {measured.fit.sigma:.3g} nats is "
            f"more than {COARSER:g} times that of plain decoding (at most "
            f"{measured.clean_fit.sigma_upper:.3g}); compare at one precision"
        )
    if measured.named.rounding_hides_leaks and not identical:
        known = math.isfinite(measured.margin)
        upto = f"up to {measured.margin:.3g} nats" if known else "of any size"
        texts["rounding-hides-leaks"] = (
            f"this stack's rounding hides leaks {upto}, {WIDEST_MARGIN} nats are the most for a "
            f"PASS where answers differ; {MORE_POWER}"
        )
    return texts


def _one(noise: NoiseFindings) -> str:
    (token,) = noise.named[:1]
    why = {
        None: "and the plain stack could not be asked again at that prefix",
        "won": "and the plain stack says the same at that prefix",
        "other": "and the plain stack says a third token at that prefix",
    }[token.appeal]
    return (
        f"one token, {token.token!r} at position {token.position} of {token.id!r}, lies "
        f"{token.deviation:.3g} nats below the model's best, {why}; a larger battery would tell"
    )
