"""Audit of one deployment: do its answers follow this target up to rounding?

There is no baseline, so the scale of the rounding is the deployment's own (`stats.deviations`),
and nothing is said beyond the share of leaked tokens that would have been found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from draftproof import __version__
from draftproof.records import AuditDocument, AuditedToken, Completion, Prompt, State
from draftproof.rescoring.scored_answers import Instrument, ScoredAnswers, score_answers
from draftproof.screen.verdict import EXIT_CODES
from draftproof.stacks.spec import ArmSpec
from draftproof.stats.contamination import share_test
from draftproof.stats.naming import WIDEST_MARGIN, Audit, audit, name_tokens
from draftproof.stats.positions import ScoredPositions, scored_positions

_FAILING = 2
"""Named tokens that show a deviation; one might be a hiccup, and nobody can be asked again."""
_UNSEEN = 0.05
"""Largest share of answers or positions that may stay unscored."""
_SHOWN = 50
_SEED = 0


@dataclass(frozen=True, slots=True)
class _Judged:
    state: State
    sentence: str
    reasons: tuple[str, ...]


def audit_answers(
    instrument: Instrument,
    name: str,
    answers: Iterable[tuple[Prompt, Completion]],
    *,
    spec: ArmSpec | None = None,
    detect: float = 0.01,
    sigma: float | None = None,
) -> AuditDocument:
    """Audit one arm's answers.

    Args:
        instrument: The target.
        name: What is audited.
        answers: Prompts with the answers; equal answers to equal prompts count once.
        spec: How the arm decodes; None for recorded answers, which are taken as greedy.
        detect: Share of leaked tokens that must be found for a PASS.
        sigma: Scale of the stack's rounding where it is known, nats; else the answers' own.

    Raises:
        DraftproofError: The arm samples.
    """
    distinct = {_question(prompt, answer): (prompt, answer) for prompt, answer in answers}
    scored = score_answers(instrument, name, list(distinct.values()), spec=spec)
    return judge_audit(scored, instrument.show, detect, sigma)


def judge_audit(
    scored: ScoredAnswers,
    show: Callable[[int], str],
    detect: float = 0.01,
    sigma: float | None = None,
) -> AuditDocument:
    """Audit answers that were scored.

    Args:
        scored: The answers as the target sees them.
        show: Returns a token's text.
        detect: See `audit_answers`.
        sigma: See `audit_answers`.
    """
    positions = scored_positions(scored.gap, scored.deviation, scored.prompt, scored.position)
    if not positions.n:
        return _document(scored, positions, None, _nothing(scored), ())
    figures = audit(positions)
    if sigma is not None:
        # leaks widen the scale of an arm that has no clean one beside it
        figures = replace(figures, named=name_tokens(positions, sigma))
    tokens = _named(scored, positions, figures, show)
    return _document(
        scored, positions, figures, _judged(scored, positions, figures, tokens, detect), tokens
    )


def _question(prompt: Prompt, answer: Completion) -> tuple[object, ...]:
    said = answer.token_ids if answer.token_ids is not None else answer.text
    return prompt.messages, prompt.prefill, said, answer.finish_reason


def _named(
    scored: ScoredAnswers,
    positions: ScoredPositions,
    figures: Audit,
    show: Callable[[int], str],
) -> tuple[AuditedToken, ...]:
    """Return the named tokens, the farthest first."""
    index = figures.named.index[np.argsort(-positions.deviation[figures.named.index])]
    return tuple(
        AuditedToken(
            id=scored.prompts[scored.prompt[row]],
            position=int(scored.position[row]),
            token=show(int(scored.said[row])),
            best=show(int(scored.best[row])),
            deviation=float(scored.deviation[row]),
            respelled=bool(scored.respelled[row]),
        )
        for row in positions.row[index]
    )


def _judged(
    scored: ScoredAnswers,
    positions: ScoredPositions,
    figures: Audit,
    tokens: tuple[AuditedToken, ...],
    detect: float,
) -> _Judged:
    proved = [token for token in tokens if not token.respelled]
    if len(proved) >= _FAILING:
        where = len({token.id for token in proved})
        count, far = len(proved), proved[0].deviation
        shown = (
            f"{count} of {positions.n:,} tokens, in {where} answers, are not the target's choice"
        )
        reasons = [f"{shown} up to rounding; the farthest lies {far:.2g} nats behind it"]
        if figures.named.foreign:
            reasons.append(
                "that is more than 1 in 1,000: another model, other weights, another chat "
                "template or sampling look like this too"
            )
        return _Judged(State.FAIL, "these answers do not follow the target", tuple(reasons))
    if reasons := _open_questions(scored, positions, figures, tokens, detect):
        return _Judged(
            State.INCONCLUSIVE,
            "whether these answers follow the target cannot be said",
            tuple(reasons),
        )
    return _Judged(
        State.PASS,
        f"no token lies beyond rounding; {figures.smallest_share:.2%} of leaked tokens would have "
        "been found, less may be hidden",
        (),
    )


def _open_questions(
    scored: ScoredAnswers,
    positions: ScoredPositions,
    figures: Audit,
    tokens: tuple[AuditedToken, ...],
    detect: float,
) -> list[str]:
    """Return why no PASS may be said, each with what would settle it."""
    reasons = []
    proved = sum(not token.respelled for token in tokens)
    if proved:
        reasons.append(
            f"one token of {positions.n:,} is not the target's choice up to rounding; there is no "
            "plain stack to ask again: screen this deployment against one without speculation"
        )
    if len(tokens) > proved:
        reasons.append(
            f"{len(tokens) - proved} tokens lie beyond rounding, but their ids were made from "
            "text, which the deployment may have spelled otherwise: record token ids"
        )
    if figures.named.margin > WIDEST_MARGIN:
        margin = figures.named.margin
        far = f"up to {margin:.2g} nats" if math.isfinite(margin) else "of any size"
        reasons.append(
            f"rounding hides deviations {far}: its scale, which leaks would widen, is these "
            "answers' own; more of them, a float32 target, or the scale of the same stack without "
            "speculation (--sigma) would show more"
        )
    if share_test(positions, seed=_SEED).exceeds:
        reasons.append(
            "more tokens deviate than this deployment's rounding explains, each too near to be "
            "named: screen it against one without speculation"
        )
    if figures.smallest_share > detect:
        reasons.append(
            f"{positions.n:,} tokens would only show {figures.smallest_share:.2%} of leaked ones, "
            f"and {detect:.2%} are asked for (--detect): more answers"
        )
    return reasons + _unseen(scored, positions)


def _unseen(scored: ScoredAnswers, positions: ScoredPositions) -> list[str]:
    reasons = []
    gone = sum(one.answers for one in scored.left_out)
    if gone > _UNSEEN * (gone + len(scored.prompts)):
        reasons.append(
            f"{gone} of {gone + len(scored.prompts)} answers could not be scored "
            f"({scored.left_out[0].reason})"
        )
    if positions.unexplained > _UNSEEN * scored.n:
        reasons.append(
            f"{positions.unexplained:,} of {scored.n:,} tokens have no usable log-probability"
        )
    return reasons


def _nothing(scored: ScoredAnswers) -> _Judged:
    why = scored.left_out[0].reason if scored.left_out else "no log-probability is usable"
    return _Judged(State.INVALID, f"no token could be scored: {why}", ())


def _document(
    scored: ScoredAnswers,
    positions: ScoredPositions,
    figures: Audit | None,
    judged: _Judged,
    tokens: tuple[AuditedToken, ...],
) -> AuditDocument:
    fit = figures.fit if figures else None
    return AuditDocument(
        name=scored.arm,
        instrument=scored.instrument,
        state=judged.state,
        sentence=judged.sentence,
        reasons=judged.reasons,
        exit_code=EXIT_CODES[judged.state],
        answers=len(scored.prompts),
        left_out=tuple((one.reason, one.answers) for one in scored.left_out),
        positions=positions.n,
        respelled=int(scored.respelled[positions.row].sum()),
        unexplained=positions.unexplained,
        deviations=int(positions.deviates.sum()),
        sigma=fit.sigma if fit else None,
        sigma_upper=_finite(fit.sigma_upper) if fit else None,
        epsilon=fit.epsilon if fit else None,
        epsilon_interval=(fit.epsilon_interval.low, fit.epsilon_interval.high) if fit else None,
        margin=_finite(figures.named.margin) if figures else None,
        smallest_share=figures.smallest_share if figures else None,
        named=len(tokens),
        tokens=tokens[:_SHOWN],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        draftproof_version=__version__,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
