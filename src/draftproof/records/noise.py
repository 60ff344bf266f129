"""What a verdict says of the rounding of the stack that answered: the section `stack_noise`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmNoise:
    """How far one arm's arithmetic lies from the model that scored its answers."""

    positions: int
    """Positions scored."""
    of: int
    """Positions that the answers have; more where a sample was scored."""
    deviations: int
    """Positions at which the arm said another token than the scoring model's best."""
    unexplained: int
    """Positions without a usable log-probability."""
    largest: float
    """Largest deviation, nats."""
    sigma: float
    """Noise scale, nats; 0 where no deviation looks like rounding."""
    sigma_upper: float | None
    """One-sided 95 % bound of `sigma`; None where the positions bound nothing."""
    epsilon: float
    """Share of positions that deviate whatever the gap."""
    epsilon_interval: tuple[float, float]
    """Two-sided 95 % interval of `epsilon`."""
    left_out: dict[str, int]
    """Answers that were not scored, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedToken:
    """A token whose deviation no rounding of this stack explains."""

    id: str
    """Of the prompt."""
    position: int
    """Index of the token in the answer."""
    token: str
    best: str | None
    """The scoring model's best token there, where it is known."""
    deviation: float
    """Nats below it."""
    cause: str
    """``leak`` where the draft proposed the token, else ``fault``."""
    appeal: str | None = None
    """What the plain stack says when it is asked again at this prefix: ``lost`` (it says the
    scoring model's token), ``won`` (it says the arm's), ``other``; None where it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationEvidence:
    """Whether more of the arm's tokens deviate beyond rounding than of plain decoding's."""

    statistic: float
    """J: twice the gain in log-likelihood of letting the arm's share exceed the baseline's."""
    p_value: float
    """One-sided."""
    baseline_share: float
    candidate_share: float
    shape_arm: str | None
    """The plain arm that was computed in the candidate's shape; None without one, when J is no
    proof."""
    leaks_detectable: int
    """Leaks, each beyond rounding, that J would find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionEvidence:
    """Whether near-ties follow the draft's proposal."""

    near_ties: int
    """Of the arm, where the draft proposed one of the two best tokens."""
    followed: int
    """Second tokens that the draft proposed and the arm said."""
    p_value: float
    baseline_p_value: float
    """The same of the baseline's answers, the draft replayed on them."""
    excess_z: float | None
    """Excess of the arm over the baseline; None where the margins fix it."""
    fails: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StackNoise:
    """The stack's own rounding, measured on its answers, and what lies beyond it."""

    instrument: str | None
    """The model that scored, with its dtype; None where nothing was scored."""
    text: str
    """The section in a sentence or two."""
    arm: ArmNoise | None = None
    clean: ArmNoise | None = None
    """Baseline, noise and shape arms together."""
    clean_arms: tuple[str, ...] = ()
    sigma: float | None = None
    """The scale that tokens are held against, nats."""
    threshold: float | None = None
    """What rounding of that scale passes once in a million arms, nats."""
    margin: float | None = None
    """Smallest margin at which one leak is named, nats."""
    coarser: bool = False
    """Whether the arm's own scale exceeds four times the baseline's bound."""
    named: tuple[NamedToken, ...] = ()
    """The first hundred of the arm."""
    named_count: int = 0
    named_clean: int = 0
    """Tokens of the clean arms that are named."""
    share_ratio: float | None = None
    """Likelihood ratio for deviations of the arm beyond its own rounding."""
    share_cut: float | None = None
    contamination: ContaminationEvidence | None = None
    direction: DirectionEvidence | None = None
    deviating: tuple[int, int] | None = None
    """First divergences at which the baseline, and at which the arm, is not the model's best."""
