"""An arm as it is judged, what all comparisons share, and what a comparison yields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from draftproof.records import Comparison, Completion, Pair, Role
from draftproof.rescoring.rescorer import Replayer, Rescorer
from draftproof.runs.plan import Decision
from draftproof.screen.evidence import TaskNoise
from draftproof.screen.pairing import Labeller
from draftproof.screen.sampled import LawTest
from draftproof.stats import AssayEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm's answers and what is expected of them.

    Attributes:
        name: The arm.
        role: Candidate, control, noise or variant.
        answers: Its answers by prompt id.
        speculative: Whether it must prove that it speculated; None where the answers were
            recorded elsewhere and may carry no counters.
        rescorer: Makes what explains divergences; called only if there is something to ask it.
        counters: What the arm's server counted, where it has one.
        of: The arm that it repeats or varies; the baseline if None.
        promise: The level that its rule declares, where that is known.
        lossy: Whether it changes answers on purpose.
        law: Draws tokens for the test of its law, at a temperature above 0.
        replayer: Answers with known faults planted; asked only if there are leaks or faults.
        declared: The arm as its plan declares it.
        untested: What a run of this arm says nothing about.
    """

    name: str
    role: Role
    answers: Mapping[str, Completion]
    speculative: bool | None
    rescorer: Callable[[], Rescorer | None]
    counters: Mapping[str, Any] | None = None
    of: str | None = None
    promise: str | None = None
    lossy: bool = False
    law: LawTest | None = None
    replayer: Replayer | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)
    untested: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all comparisons of a screen share.

    Attributes:
        label: Scores an answer.
        rule: Margin and levels.
        assay: What is known of the plan's sensitivity; asked for by candidates only.
        noise: Every task's noise floor, where arms were repeated.
        sequential: Asking ended by looking at the answers, so only certainty decides.
        temperature: Of every arm.
        level: At which a test of an arm's law decides, at a temperature above 0.
    """

    label: Labeller
    rule: Decision
    assay: AssayEvidence | None = None
    noise: Mapping[str, TaskNoise] = field(default_factory=dict)
    sequential: bool = False
    temperature: float = 0.0
    level: float = 0.0


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison with the prompts behind its counts.

    Attributes:
        comparison: What the verdict document says.
        paired: Prompts that both arms answered.
        divergent: Those whose bytes differ.
        flipped: Those whose label differs.
        pairs: Flips and labels by task, for the noise floor of a task.
    """

    comparison: Comparison
    paired: frozenset[str]
    divergent: frozenset[str]
    flipped: frozenset[str]
    pairs: tuple[Pair, ...]
