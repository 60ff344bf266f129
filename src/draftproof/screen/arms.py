"""An arm as it is judged, and what all comparisons of a screen share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from draftproof.records import Completion, NoiseFloor, Role
from draftproof.rescoring.rescorer import Replayer, Rescorer
from draftproof.runs.plan import Decision
from draftproof.screen.pairing import Labeller
from draftproof.screen.sampled import LawTest
from draftproof.screen.stack_noise.source import StackSource
from draftproof.screen.tasks import TaskNoise
from draftproof.stats import AssayEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm's answers and what is expected of them.

    Attributes:
        name: The arm.
        role: Candidate, control, noise or variant.
        answers: Its answers by prompt id; empty where they were counted without being held.
        speculative: Whether it must prove that it speculated; None where the answers were
            recorded elsewhere and may carry no counters.
        rescorer: Makes what explains divergences; called only if there is something to ask it.
        stack: Scores answers whole, so that the stack's own rounding is known; None where no
            model is at hand.
        exact: Whether the bits of its kernels do not depend on the shape of a computation.
        counters: What the arm's server counted, where it has one.
        of: The arm that it repeats or varies; the baseline if None.
        promise: The level that its rule declares, where that is known.
        lossy: Whether it changes answers on purpose.
        law: Draws tokens for the test of its law, at a temperature above 0.
        replayer: Makes what answers with known faults planted; called only if there are leaks or
            faults.
        declared: The arm as its plan declares it.
        untested: What a run of this arm says nothing about.
    """

    name: str
    role: Role
    answers: Mapping[str, Completion]
    speculative: bool | None
    rescorer: Callable[[], Rescorer | None]
    stack: StackSource | None = None
    exact: bool = False
    counters: Mapping[str, Any] | None = None
    of: str | None = None
    promise: str | None = None
    lossy: bool = False
    law: LawTest | None = None
    replayer: Callable[[], Replayer | None] = lambda: None
    declared: Mapping[str, object] = field(default_factory=dict)
    untested: Sequence[str] = ()


def recorded_arm(
    name: str,
    role: Role,
    answers: Mapping[str, Completion] | None = None,
    rescorer: Callable[[], Rescorer | None] = lambda: None,
) -> Arm:
    """Return an arm whose answers were recorded elsewhere.

    Args:
        name: The arm.
        role: Its role.
        answers: By prompt id; None where they are counted without being held.
        rescorer: Makes what explains divergences; by default nothing can.
    """
    return Arm(name=name, role=role, answers=answers or {}, speculative=None, rescorer=rescorer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the comparisons of a screen share, and what one candidate takes from the other arms.

    Attributes:
        label: Scores an answer.
        rule: Margin and levels.
        ungated: Tasks that do not decide.
        prompts: Prompts of the battery.
        sequential: Asking ended by looking at the answers, so only certainty decides.
        temperature: Of every arm.
        level: At which a test of an arm's law decides, at a temperature above 0.
        calibration: What people's labels of a sample said of the scorers, if there is any.
        assay: What is known of the plan's sensitivity; asked for by candidates only.
        noise: Every task's noise floor, where arms were repeated.
        floor: The candidate beside the repeats; None for other arms.
        clean: Names of the baseline and of the arms that repeat it.
        shaped: Names of plain arms that compute in a candidate's shape.
        broken: Divergences of the candidate's variants that no rounding explains.
        vouched_bytes: A control failed and its answers differ: identity would have been lost.
        vouched_labels: Tasks in which the labels of a control were shown to be worse.
    """

    label: Labeller
    rule: Decision
    ungated: frozenset[str] = frozenset()
    prompts: int = 0
    sequential: bool = False
    temperature: float = 0.0
    level: float = 0.0
    calibration: Mapping[str, Any] = field(default_factory=dict)
    assay: AssayEvidence | None = None
    noise: Mapping[str, TaskNoise] = field(default_factory=dict)
    floor: NoiseFloor | None = None
    clean: tuple[str, ...] = ()
    shaped: tuple[str, ...] = ()
    broken: int = 0
    vouched_bytes: bool = False
    vouched_labels: frozenset[str] = frozenset()
