"""The decision of a whole screen: one pure function from evidence to a verdict.

The claim is that every stratum is equivalent, so every stratum must pass, each at the full
level. FAIL is a claim about some stratum and is held to Holm's correction over the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from draftproof.stats.decision import GateResult, decide, gate
from draftproof.stats.evidence import Code, Outcome, Profile, Reason, resolve_profile
from draftproof.stats.flips import rung
from draftproof.stats.mcnemar import holm
from draftproof.stats.screen_evidence import AssayEvidence, ForensicEvidence, StratumEvidence


@dataclass(frozen=True, slots=True)
class StratumResult:
    """One stratum of a screen: its decision, and whether bytes alone settled it."""

    name: str
    state: Outcome
    gate: GateResult
    by_bytes: bool


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

    state: Outcome
    reasons: tuple[Reason, ...]
    strata: tuple[StratumResult, ...]
    lossless_rejected: bool
    profile: str


def screen_verdict(
    strata: Sequence[StratumEvidence],
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
        >>> strata = [StratumEvidence("refusal", 0, 0, 120), StratumEvidence("bias", 0, 0, 303)]
        >>> screen_verdict(strata, assay=AssayEvidence(0.97)).state
        <Outcome.PASS: 'PASS'>
        >>> screen_verdict(strata).reasons[0].code
        <Code.ASSAY_ABSENT: 'assay-absent'>
        >>> screen_verdict(strata, problems=["no draft token was accepted"]).state
        <Outcome.INVALID: 'INVALID'>
    """
    rules = resolve_profile(profile)
    if problems:
        reasons = tuple(Reason(Code.INVALID_EVIDENCE, text) for text in problems)
        return ScreenResult(Outcome.INVALID, reasons, (), False, rules.name)
    if len({stratum.name for stratum in strata}) != len(strata):
        raise ValueError("strata must have different names")
    gates = _family(strata, rules, margin, alpha, alpha_fail, mode)
    decided = tuple(
        _with_bytes(stratum, result, rules, lossless_claimed)
        for stratum, result in zip(strata, gates, strict=True)
    )
    forensic = _forensic_reasons(forensics or ForensicEvidence())
    beyond = [s.name for s in strata if s.bytes is not None and s.bytes.beyond_noise(alpha)]
    byte_reasons = [
        Reason(Code.BYTES_BEYOND_NOISE, "diverges more often than the baseline's own repeat", name)
        for name in beyond
    ]
    denied = lossless_claimed and bool(forensic or beyond)
    state, reasons_ = _combine(
        strata, decided, rules, assay, forensic, byte_reasons, lossless_claimed=lossless_claimed
    )
    return ScreenResult(state, tuple(reasons_), decided, denied, rules.name)


def _family(
    strata: Sequence[StratumEvidence],
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
            missing=s.missing, margin=margin, alpha=alpha, alpha_fail=alpha_fail,
            gross_margin=s.gross_margin, mode=mode, profile=own, cohen_h=s.cohen_h,
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
    stratum: StratumEvidence, result: GateResult, rules: Profile, lossless_claimed: bool
) -> StratumResult:
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
        settled = replace(
            result, state=Outcome.PASS, n_needed=None, drift=False,
            reasons=(Reason(Code.BYTES_IDENTICAL, text),),
        )  # fmt: skip
        return StratumResult(stratum.name, Outcome.PASS, settled, True)
    return StratumResult(stratum.name, result.state, result, False)


def _forensic_reasons(forensics: ForensicEvidence) -> list[Reason]:
    found = []
    if forensics.leaks:
        text = f"{forensics.leaks} divergences follow the draft against the target"
        found.append(Reason(Code.FORENSIC_LEAK, text))
    if forensics.faults:
        text = f"{forensics.faults} divergences follow neither target nor draft"
        found.append(Reason(Code.FORENSIC_FAULT, text))
    return found


def _combine(
    strata: Sequence[StratumEvidence],
    decided: Sequence[StratumResult],
    rules: Profile,
    assay: AssayEvidence | None,
    forensic: list[Reason],
    byte_reasons: list[Reason],
    *,
    lossless_claimed: bool,
) -> tuple[Outcome, list[Reason]]:
    own = [
        replace(reason, stratum=result.name) for result in decided for reason in result.gate.reasons
    ]
    context = [*own, *forensic, *byte_reasons]
    if forensic and rules.forensics_decide and lossless_claimed:
        return Outcome.FAIL, [*forensic, *byte_reasons, *own]
    if assay is not None and assay.noise_failed:
        text = "the baseline failed against its own repeat: the pipeline cannot tell noise"
        return Outcome.INCONCLUSIVE, [Reason(Code.ASSAY_NOISY, text), *context]
    failed = [r.name for r in decided if r.state is Outcome.FAIL]
    if failed:
        text = f"a loss or a change beyond the margin was shown in {', '.join(failed)}"
        return Outcome.FAIL, [Reason(Code.STRATUM_FAILED, text), *context]
    unmet = _unmet(strata, decided, rules, assay, byte_reasons)
    if unmet:
        return Outcome.INCONCLUSIVE, [*unmet, *context]
    text = f"all {len(decided)} strata pass, each at its full level"
    return Outcome.PASS, [Reason(Code.ALL_PASSED, text), *context]


def _unmet(
    strata: Sequence[StratumEvidence],
    decided: Sequence[StratumResult],
    rules: Profile,
    assay: AssayEvidence | None,
    byte_reasons: list[Reason],
) -> list[Reason]:
    """What PASS asks for and the evidence does not give."""
    if not decided:
        return [Reason(Code.NO_STRATA, "there is no stratum")]
    open_ = [r.name for r in decided if r.state is not Outcome.PASS]
    if open_:
        return [Reason(Code.STRATUM_OPEN, f"not settled: {', '.join(open_)}")]
    unmet = []
    if rules.needs_byte_evidence:
        bare = [s.name for s in strata if s.bytes is None or s.bytes.total == 0]
        if bare:
            text = f"no byte comparison in {', '.join(bare)}"
            unmet.append(Reason(Code.BYTES_UNPROVEN, text))
        unmet.extend(byte_reasons)
    # identical bytes need no scorer, hence no proof that a scorer would have noticed
    if rules.needs_assay and not all(result.by_bytes for result in decided):
        if assay is None:
            text = "no control shows that this plan would have seen a leak"
            unmet.append(Reason(Code.ASSAY_ABSENT, text))
        elif not assay.detection >= assay.required:
            text = f"a known leak would FAIL with {assay.detection:.2f} < {assay.required:g}"
            unmet.append(Reason(Code.ASSAY_INSENSITIVE, text))
    return unmet
