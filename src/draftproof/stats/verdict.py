"""The decision of a whole screen: one pure function from evidence to a verdict.

The claim is that every stratum is equivalent, so every stratum must pass, each at the full
level. FAIL is a claim about some stratum and is held to Holm's correction over the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from draftproof.records import Reason, State
from draftproof.stats.decision import GateResult, decide, gate
from draftproof.stats.evidence import (
    AssayEvidence,
    Code,
    ForensicEvidence,
    Profile,
    Stratum,
    resolve_profile,
)
from draftproof.stats.flips import rung
from draftproof.stats.mcnemar import holm


@dataclass(frozen=True, slots=True)
class ScreenResult:
    """Verdict of a screen.

    Attributes:
        state: PASS, FAIL, INCONCLUSIVE or INVALID.
        reasons: Why, most decisive first.
        strata: Decisions in the order given; empty when INVALID.
        lossless_rejected: The candidate claims losslessness and its bytes or forensics deny it.
        profile: Name of the profile.
    """

    state: State
    reasons: tuple[Reason, ...]
    strata: tuple[GateResult, ...]
    lossless_rejected: bool
    profile: str


def screen_verdict(
    strata: Sequence[Stratum],
    *,
    problems: Sequence[str] = (),
    forensics: ForensicEvidence | None = None,
    assay: AssayEvidence | None = None,
    lossless_claimed: bool = True,
    margin: float = 0.03,
    alpha: float = 0.05,
    alpha_fail: float = 0.025,
    mode: str | None = None,
    profile: str | Profile = "exact",
) -> ScreenResult:
    """Decide a screen.

    Args:
        strata: Primary strata.
        problems: Violated preconditions (activation, prompts, joins, scorers); any makes the
            screen INVALID, without numbers.
        forensics: Divergences by cause.
        assay: Sensitivity of the plan and the noise run.
        lossless_claimed: Whether the candidate claims to reproduce the baseline exactly.
        margin: Equivalence margin.
        alpha: Level of the equivalence tests.
        alpha_fail: Family level of the loss tests.
        mode: "equivalence" or "noninferiority"; None takes the profile's.
        profile: "exact", "tais", or a `Profile`.

    Examples:
        >>> strata = [Stratum("refusal", 0, 0, 120), Stratum("bias", 0, 0, 303)]
        >>> screen_verdict(strata, assay=AssayEvidence(0.97)).state
        <State.PASS: 'PASS'>
        >>> screen_verdict(strata).reasons[0].code
        <Code.ASSAY_ABSENT: 'assay-absent'>
        >>> screen_verdict(strata, problems=["no draft token was accepted"]).state
        <State.INVALID: 'INVALID'>
    """
    rules = resolve_profile(profile)
    if problems:
        reasons = tuple(
            Reason(code=Code.INVALID_EVIDENCE, state=State.INVALID, text=text) for text in problems
        )
        return ScreenResult(State.INVALID, reasons, (), False, rules.name)
    if len({stratum.name for stratum in strata}) != len(strata):
        raise ValueError("strata must have different names")
    gates = tuple(
        _with_bytes(stratum, result, rules, lossless_claimed)
        for stratum, result in zip(
            strata, _family(strata, rules, margin, alpha, alpha_fail, mode), strict=True
        )
    )
    forensic = _forensic_evidence(forensics or ForensicEvidence())
    beyond: list[_Because] = [
        (Code.BYTES_BEYOND_NOISE, "diverges more often than the baseline's own repeat", s.name)
        for s in strata
        if s.bytes is not None and s.bytes.beyond_noise(alpha)
    ]
    state, because = _combine(strata, gates, rules, assay, forensic, beyond, lossless_claimed)
    denied = lossless_claimed and bool(forensic or beyond)
    return ScreenResult(state, because, gates, denied, rules.name)


def _family(
    strata: Sequence[Stratum],
    rules: Profile,
    margin: float,
    alpha: float,
    alpha_fail: float,
    mode: str | None,
) -> list[GateResult]:
    profiles = [
        rules if s.cutoff is None else replace(rules, effect_cutoff=s.cutoff) for s in strata
    ]
    alone = [
        gate(
            s.loss, s.gain, s.n,
            missing=s.missing, torn=s.torn, margin=margin, alpha=alpha, alpha_fail=alpha_fail,
            gross_margin=s.gross_margin, mode=mode, profile=own, cohen_h=s.cohen_h, name=s.name,
        )
        for s, own in zip(strata, profiles, strict=True)
    ]  # fmt: skip
    lost = holm([result.p_loss for result in alone])
    changed = holm([result.p_change for result in alone])
    return [
        decide(replace(result, p_loss_family=float(p), p_change_family=float(c)), own)
        for result, p, c, own in zip(alone, lost, changed, profiles, strict=True)
    ]


def _with_bytes(
    stratum: Stratum, result: GateResult, rules: Profile, lossless_claimed: bool
) -> GateResult:
    evidence = stratum.bytes
    enough = rung(0, result.margin, result.alpha)
    if (
        rules.byte_channel
        and lossless_claimed
        and evidence is not None
        and evidence.divergent == 0
        and evidence.total >= enough
        and stratum.missing == 0
    ):
        # equal bytes have equal labels under every scorer, so no scorer can add anything
        text = f"0 of {evidence.total} prompts diverge, bound {evidence.upper(result.alpha):.4f}"
        reason = Reason(
            code=Code.BYTES_IDENTICAL, state=State.PASS, text=text, task=result.name or None
        )
        return replace(result, state=State.PASS, drift=False, reasons=(reason,), by_bytes=True)
    return result


_Because = tuple[Code, str, str | None]
"""A reason before its state is known: code, text and stratum, None for the whole screen."""


def _forensic_evidence(forensics: ForensicEvidence) -> list[_Because]:
    because: list[_Because] = []
    if forensics.leaks:
        text = f"{forensics.leaks} tokens of the draft were kept against the target's choice"
        because.append((Code.FORENSIC_LEAK, text, None))
    if forensics.faults:
        text = f"{forensics.faults} tokens are none that either model would choose"
        because.append((Code.FORENSIC_FAULT, text, None))
    return because


def _combine(
    strata: Sequence[Stratum],
    gates: Sequence[GateResult],
    rules: Profile,
    assay: AssayEvidence | None,
    forensic: list[_Because],
    beyond: list[_Because],
    lossless_claimed: bool,
) -> tuple[State, tuple[Reason, ...]]:
    by_stratum = [reason for result in gates for reason in result.reasons]

    def decided(state: State, *because: _Because) -> tuple[State, tuple[Reason, ...]]:
        return state, (
            *_reasons(state, because), *by_stratum, *_reasons(state, [*forensic, *beyond])
        )  # fmt: skip

    if forensic and rules.forensics_decide and lossless_claimed:
        return State.FAIL, (*_reasons(State.FAIL, [*forensic, *beyond]), *by_stratum)
    if assay is not None and assay.noise_failed:
        text = "the baseline failed against its own repeat: differences may all be noise"
        return decided(State.INCONCLUSIVE, (Code.ASSAY_NOISY, text, None))
    failed = [result for result in gates if result.state is State.FAIL]
    if failed:
        return decided(State.FAIL, (Code.STRATUM_FAILED, _shown(failed), None))
    unmet = _unmet(strata, gates, rules, assay, beyond)
    if unmet:
        return decided(State.INCONCLUSIVE, *unmet)
    text = f"all {len(gates)} gated tasks pass, each at its full level"
    return decided(State.PASS, (Code.ALL_PASSED, text, None))


def _shown(failed: Sequence[GateResult]) -> str:
    """Return which of the two was shown: that the rate fell, or that too many answers flipped."""
    lost = [r.name for r in failed if any(x.code == Code.LOSS_SHOWN for x in r.reasons)]
    flipped = [r.name for r in failed if r.name not in lost]
    parts = []
    if lost:
        parts.append(f"a loss was shown in {', '.join(lost)}")
    if flipped:
        parts.append(
            f"more answers flipped than the margin allows in {', '.join(flipped)}, which says "
            "nothing of the rates themselves"
        )
    return "; ".join(parts)


def _reasons(state: State, because: Sequence[_Because]) -> list[Reason]:
    return [Reason(code=c, state=state, text=text, task=task) for c, text, task in because]


def _unmet(
    strata: Sequence[Stratum],
    gates: Sequence[GateResult],
    rules: Profile,
    assay: AssayEvidence | None,
    beyond: list[_Because],
) -> list[_Because]:
    """What PASS asks for and the evidence does not give."""
    if not gates:
        return [(Code.NO_STRATA, "there is no gated task", None)]
    open_ = [result.name for result in gates if result.state is not State.PASS]
    if open_:
        return [(Code.STRATUM_OPEN, f"not decided: {', '.join(open_)}", None)]
    unmet: list[_Because] = []
    if rules.needs_byte_evidence:
        bare = [s.name for s in strata if s.bytes is None or s.bytes.total == 0]
        if bare:
            unmet.append((Code.BYTES_UNPROVEN, f"no byte comparison in {', '.join(bare)}", None))
        unmet.extend(beyond)
    # identical bytes need no scorer, hence no proof that a scorer would have noticed
    if rules.needs_assay and not all(result.by_bytes for result in gates):
        if assay is None:
            text = "without a control the assay sensitivity is unknown; add a control arm"
            unmet.append((Code.ASSAY_ABSENT, text, None))
        elif not assay.detection >= assay.required:
            text = f"a known leak would FAIL with power {assay.detection:.2f} < {assay.required:g}"
            unmet.append((Code.ASSAY_INSENSITIVE, text, None))
    return unmet
