"""What is known of one arm against another before anything is decided: counts and findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from draftproof.battery import Battery
from draftproof.records import (
    Cause,
    Channel,
    Counts,
    Distribution,
    Divergence,
    KnownCause,
    Pair,
    Role,
)
from draftproof.screen.arms import Arm, Conditions
from draftproof.screen.faults import find_fault
from draftproof.screen.forensics import explain
from draftproof.screen.pairing import Pairing, pair
from draftproof.screen.sampled import distribution
from draftproof.screen.sensitivity import inject_leaks
from draftproof.screen.stack_noise.ends import ends_settled
from draftproof.screen.stack_noise.findings import NoiseFindings, noise_findings
from draftproof.screen.stack_noise.measure import measure
from draftproof.screen.tally import Tally, tally_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Why pairs differ.

    Attributes:
        causes: All divergences by cause.
        divergences: Those that are listed, prompts that reached the arms in different form first.
        known_cause: The implementation fault that they look like.
        untried: Faults that it might be and that were not tried, to save time.
        distribution: Evidence at a temperature above 0, where single divergences mean nothing.
        explained: Whether a leak among the pairs would have been named: a model scored the
            divergences again, or there are none.
        noise: The stack's own rounding; None where bits do not depend on shapes, or where nobody
            scores answers.
        injected: Leaked tokens that were injected, and how many of them were named.
    """

    causes: Counter[Cause]
    divergences: tuple[Divergence, ...] = ()
    known_cause: KnownCause | None = None
    untried: tuple[str, ...] = ()
    distribution: Distribution | None = None
    explained: bool = False
    noise: NoiseFindings | None = None
    injected: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEvidence:
    """One arm against another: all that a decision rests on.

    Attributes:
        arm: The judged arm.
        against: The arm that it is compared with.
        tally: Their pairs, counted.
        findings: Why pairs differ.
        pairing: The pairs themselves; None where they were counted without being held.
        all_scored: Identical answers were scored too; else rates are those of the others.
        sample: Some of the pairs, where they were counted without being held.
    """

    arm: Arm
    against: Arm
    tally: Tally
    findings: Findings
    pairing: Pairing | None = None
    all_scored: bool = True
    sample: tuple[Pair, ...] = ()

    @property
    def read_pairs(self) -> tuple[Pair, ...]:
        """The pairs that can be read: all of them, or a sample."""
        return self.sample if self.pairing is None else self.pairing.pairs

    @property
    def counts(self) -> Counts:
        """The numbers of the comparison."""
        tally, tasks, causes = self.tally, self.tally.tasks.values(), self.findings.causes
        return Counts(
            n=tally.pairs,
            identical=tally.identical,
            divergences={c.value: causes[c] for c in Cause if causes[c]},
            flips={"loss": sum(t.loss for t in tasks), "gain": sum(t.gain for t in tasks)},
            missing=tally.missing + tally.mismatched,
            unscored=sum(t.unread + t.same_unread for t in tasks),
            channels={c.value: n for c in Channel if (n := tally.channels.parted[c])},
        )


def gather(battery: Battery, against: Arm, arm: Arm, conditions: Conditions) -> ArmEvidence:
    """Return the evidence of two arms whose answers are held in memory.

    Args:
        battery: The prompts.
        against: The arm that it is compared with.
        arm: The judged arm.
        conditions: What all comparisons share.
    """
    joined = pair(battery.prompts, against.answers, arm.answers, conditions.label)
    return ArmEvidence(
        arm=arm,
        against=against,
        tally=tally_pairs(
            battery.prompts, joined, against.answers.values(), arm.answers.values(),
            sampled=conditions.temperature > 0,
        ),
        findings=find(joined, arm, conditions, exact=arm.exact and against.exact),
        pairing=joined,
    )  # fmt: skip


def find(joined: Pairing, arm: Arm, conditions: Conditions, *, exact: bool = False) -> Findings:
    """Return why pairs differ.

    Args:
        joined: The pairs.
        arm: The judged arm, with what explains its divergences.
        conditions: What all comparisons share.
        exact: Whether both arms run kernels whose bits do not depend on shapes.
    """
    if conditions.temperature > 0:
        # an arm that changes answers on purpose has a law of its own
        law = None if arm.lossy else arm.law
        drawn, fault = distribution(joined, conditions.temperature, law, conditions.level)
        return Findings(causes=Counter(), known_cause=fault, distribution=drawn)
    inject = conditions.rule.inject
    if arm.role is not Role.CANDIDATE or arm.lossy:
        inject = 0
    differing = [p for p in joined.pairs if not p.identical]
    rescorer = arm.rescorer() if differing or inject else None
    unlike = [p for p in joined.mismatched if not p.identical]
    measured = None
    if not exact and arm.stack is not None and arm.stack.problem is None:
        deciding = arm.role in {Role.CANDIDATE, Role.CONTROL} and not arm.lossy
        clean = [name for name in conditions.clean if name != arm.name]
        shaped = [name for name in conditions.shaped if name != arm.name]
        measured = measure(arm.stack, arm.name, clean, shaped, tests=deciding)
    bound = 0.0 if exact else measured.margin if measured is not None else None
    explanations = explain([*unlike, *differing], rescorer, bound)
    if measured is not None:
        explanations = ends_settled(explanations, measured)
    noise = None
    if not exact and arm.stack is not None:
        noise = noise_findings(arm.stack, measured, explanations)
    search = find_fault(explanations, joined.pairs, arm.replayer)
    return Findings(
        causes=Counter(e.divergence.cause for e in explanations),
        divergences=tuple(e.divergence for e in explanations),
        known_cause=search.cause,
        untried=search.left_out,
        explained=(rescorer is not None and bound is not None) or not differing,
        noise=noise,
        injected=(
            inject_leaks(joined.pairs, rescorer, inject, bound)
            if rescorer is not None and bound is not None and inject
            else (0, 0)
        ),
    )
