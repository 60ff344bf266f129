"""What the noise of the stack says of one comparison: named tokens, with their causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from draftproof.records import Cause, NamedToken
from draftproof.rescoring.scored_answers import UNKNOWN
from draftproof.screen.forensics import Explanation
from draftproof.screen.stack_noise.measure import MeasuredNoise
from draftproof.screen.stack_noise.proposals import origins, proposed_tokens
from draftproof.screen.stack_noise.source import PrefixQuestion, StackSource

LISTED = 100
"""Named tokens that a verdict lists; all are counted."""
_WRONG = frozenset({Cause.LEAK, Cause.FAULT})


@dataclass(frozen=True, slots=True, eq=False)
class NoiseFindings:
    """One comparison in the light of its stack's noise.

    Attributes:
        instrument: What scored, in words; None where nothing was scored.
        problem: Why nothing was measured; None where it was.
        measured: The measurement.
        named: The arm's named tokens that count, in the order of the answers.
        deviating: First divergences at which the baseline, and at which the arm, is not the
            model's best.
    """

    instrument: str | None
    problem: str | None = None
    measured: MeasuredNoise | None = None
    named: tuple[NamedToken, ...] = ()
    deviating: tuple[int, int] = (0, 0)

    @property
    def leaks(self) -> int:
        """Named tokens that the draft proposed."""
        return sum(1 for token in self.named if token.cause == Cause.LEAK.value)

    @property
    def faults(self) -> int:
        """Named tokens that no draft is known to have proposed."""
        return len(self.named) - self.leaks


def noise_findings(
    source: StackSource, measured: MeasuredNoise | None, explanations: Sequence[Explanation]
) -> NoiseFindings:
    """Name the tokens of an arm: those of its whole answers and those at first divergences.

    A text that was spelled again yields no fault by itself: of such an answer a token counts where
    the draft proposed it, or where the pair shows at its first divergence that no other spelling
    can be the reason.
    """
    if measured is None:
        problem = source.problem or "no position of the arm and of the baseline could be scored"
        return NoiseFindings(None, problem)
    tokens = {(t.id, t.position): t for t in _named_at_divergences(explanations, measured.margin)}
    for token in _named_whole(source, measured):
        tokens[token.id, token.position] = token
    order = {name: index for index, name in enumerate(measured.scores.prompts)}
    named = sorted(tokens.values(), key=lambda t: (order.get(t.id, len(order)), t.position))
    if len(named) == 1:
        named = [_appealed(source, measured, named[0])]
    return NoiseFindings(
        measured.scores.instrument,
        measured=measured,
        named=tuple(named),
        deviating=_deviating(explanations),
    )


def _named_whole(source: StackSource, measured: MeasuredNoise) -> list[NamedToken]:
    scores = measured.scores
    rows = measured.positions.row[measured.named.index].tolist()
    if not rows:
        return []
    proposed = proposed_tokens(scores, source.proposals(scores.arm))
    letters = origins(scores, source.answers)
    out = []
    for row in rows:
        said, best = int(scores.said[row]), int(scores.best[row])
        leak = proposed[row] == said or letters[row] == "d"
        if scores.respelled[row] and not leak:
            continue
        out.append(
            NamedToken(
                id=scores.prompts[int(scores.prompt[row])],
                position=int(scores.position[row]),
                token=source.show(said),
                best=None if best == UNKNOWN else source.show(best),
                deviation=float(scores.deviation[row]),
                cause=(Cause.LEAK if leak else Cause.FAULT).value,
            )
        )
    return out


def _named_at_divergences(explanations: Sequence[Explanation], margin: float) -> list[NamedToken]:
    out = []
    for explanation in explanations:
        found, first, opinion = explanation.divergence, explanation.first, explanation.opinion
        if found.cause not in _WRONG or first is None or opinion is None:
            continue
        deviation = opinion.margin(first.kept)
        # where the baseline's token is the odd one, the baseline is named and not this arm
        if deviation > margin:
            out.append(
                NamedToken(
                    id=found.id,
                    position=first.index,
                    token=found.candidate_token or "",
                    best=None,
                    deviation=deviation,
                    cause=found.cause.value,
                )
            )
    return out


def _appealed(source: StackSource, measured: MeasuredNoise, token: NamedToken) -> NamedToken:
    """Return the only named token with what the plain stack says when it is asked there again."""
    scores = measured.scores
    if token.id not in scores.prompts:
        return token
    rows = (scores.prompt == scores.prompts.index(token.id)) & (scores.position == token.position)
    if not rows.any():
        return token
    row = int(rows.argmax())
    answers = source.ask_plain([PrefixQuestion(token.id, token.position)])
    said = answers[0] if answers else None
    if said is None:
        return token
    verdicts = {int(scores.said[row]): "won", int(scores.best[row]): "lost"}
    return replace(token, appeal=verdicts.get(said, "other"))


def _deviating(explanations: Sequence[Explanation]) -> tuple[int, int]:
    before = after = 0
    for explanation in explanations:
        first, opinion = explanation.first, explanation.opinion
        if first is not None and opinion is not None:
            before += opinion.ranks[first.rejected] > 0
            after += opinion.ranks[first.kept] > 0
    return before, after
