"""Answers scored whole by an instrument: every position of an arm, not only where pairs part.

The instrument is the target, local or behind a server. At each position it gives the gap g between
its two best tokens and the deviation d, the log-probability of its best token minus that of the
token said (0 where that was its best). Needs no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.stacks.spec import ArmSpec

MOST_ANSWERS = 20_000
"""Answers an arm that are scored; of more, a seeded sample."""
UNKNOWN = -1
"""Id of a token that the instrument cannot name."""
_HARMLESS = frozenset({
    "cache_prompt", "logprobs", "metadata", "min_p", "n_probs", "return_token_ids", "stop",
    "stream_options", "top_k", "top_logprobs", "top_p", "user",
})  # fmt: skip
"""Fields of a request that leave the best token at temperature 0 as it is."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Answers that were not scored, with the reason they share."""

    reason: str
    answers: int


@dataclass(frozen=True, slots=True, eq=False)
class ScoredAnswers:
    """One arm's answers as the instrument sees them.

    Attributes:
        arm: Name of the arm.
        instrument: The model that scored, with its dtype, in words.
        prompts: Ids of the prompts whose answers were scored.
        gap: Best minus second-best log-probability, nats, float64 [N]; NaN where unexplained.
        deviation: Best log-probability minus that of the token said, nats, float64 [N].
        prompt: Index into `prompts`, int64 [N].
        position: Index of the token in its answer, int64 [N].
        said: Token said, int64 [N]; the instrument's own number of it over a server.
        best: The instrument's best token, int64 [N]; -1 where unknown.
        second: Its second-best token, int64 [N]; -1 where unknown.
        respelled: Whether the ids were made from the answer's text, bool [N]: the stack may have
            spelled it otherwise, so such a position is never a fault.
        positions: Positions that the answers have; more than N where they were sampled.
        seed: Seed of the sample; None where every position was scored.
        left_out: Answers that were not scored.
    """

    arm: str
    instrument: str
    prompts: tuple[str, ...]
    gap: NDArray[np.float64]
    deviation: NDArray[np.float64]
    prompt: NDArray[np.int64]
    position: NDArray[np.int64]
    said: NDArray[np.int64]
    best: NDArray[np.int64]
    second: NDArray[np.int64]
    respelled: NDArray[np.bool_]
    positions: int
    seed: int | None
    left_out: tuple[LeftOut, ...]

    @property
    def n(self) -> int:
        """Positions scored, unexplained ones among them."""
        return int(self.gap.size)


@dataclass(frozen=True, slots=True, eq=False)
class PositionScores:
    """The scores of one answer; the fields are those of `ScoredAnswers`, [n] each."""

    gap: NDArray[np.float64]
    deviation: NDArray[np.float64]
    said: NDArray[np.int64]
    best: NDArray[np.int64]
    second: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ScorableAnswer:
    """An answer by its tokens.

    Attributes:
        prompt: What it answers.
        text: The answer's text.
        tokens: Its ids, without an end token that was not recorded; the numbers of the server's
            own tokens where a server scores.
        end: Whether an end token that was not recorded is scored behind them.
        respelled: Whether the ids were made from the text.
    """

    prompt: Prompt
    text: str
    tokens: tuple[int, ...]
    end: bool
    respelled: bool

    @property
    def length(self) -> int:
        """Positions that can be scored."""
        return len(self.tokens) + self.end


class Instrument(Protocol):
    """Something that scores answers whole."""

    description: str
    """The model with its dtype, or the server, in words."""

    def read(self, prompt: Prompt, completion: Completion, *, stops: bool) -> ScorableAnswer | str:
        """Return an answer by its tokens, or the reason why it cannot be scored.

        Args:
            prompt: What was asked.
            completion: The answer.
            stops: Whether stop strings may have ended it, so that it has no end token.
        """
        ...

    def score(
        self, answers: Sequence[ScorableAnswer], spec: ArmSpec | None
    ) -> list[PositionScores]:
        """Score every position of each answer, in the order given.

        Args:
            answers: The answers, of one position at least each.
            spec: The arm whose processors shape the scores; None has none.
        """
        ...

    def show(self, token: int) -> str:
        """Return a token's text."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens that follow each other."""
        ...

    @property
    def ends(self) -> Collection[int]:
        """Return the tokens that end an answer, where they are known."""
        ...

    def continues(self, asked: Prompt, prompt: Prompt, prefix: Sequence[int]) -> bool:
        """Return whether one prompt is rendered to another's ids and the prefix behind them."""
        ...


def score_answers(
    instrument: Instrument,
    arm: str,
    answers: Sequence[tuple[Prompt, Completion]],
    *,
    spec: ArmSpec | None = None,
    most: int = MOST_ANSWERS,
    seed: int = 0,
    always: Collection[str] = (),
) -> ScoredAnswers:
    """Score an arm's answers whole.

    Args:
        instrument: Who scores.
        arm: Name of the arm.
        answers: Prompts with the arm's answers.
        spec: How the arm decodes; None for recorded answers, which are taken as greedy and
            without processors.
        most: Answers that are scored; of more, a seeded sample.
        seed: Seed of the sample.
        always: Ids of prompts whose answers are in the sample (pairs that part).

    Raises:
        DraftproofError: The arm samples: its tokens are not meant to be the best.
    """
    if spec is not None and spec.temperature > 0:
        raise DraftproofError(
            f"arm {arm!r} answers at temperature {spec.temperature:g}; only at temperature 0 is "
            "every token meant to be the model's best, so only such answers can be scored"
        )
    unknown = unknown_processors(spec)
    stops = spec is not None and bool({**spec.extra_body, **spec.processors}.get("stop"))
    scorable: list[ScorableAnswer] = []
    reasons: Counter[str] = Counter()
    for prompt, completion in answers:
        read: ScorableAnswer | str
        if unknown:
            read = f"shaped by {', '.join(unknown)}, which cannot be applied here"
        elif completion.error is not None:
            read = "no answer, an error"
        else:
            read = instrument.read(prompt, completion, stops=stops)
        if isinstance(read, str):
            reasons[read] += 1
        elif read.length == 0:
            reasons["nothing was generated"] += 1
        else:
            scorable.append(read)
    chosen = _sample(scorable, most, seed, always)
    lengths = [a.length for a in chosen]
    scores = instrument.score(chosen, spec) if chosen else []
    return ScoredAnswers(
        arm=arm,
        instrument=instrument.description,
        prompts=tuple(a.prompt.id for a in chosen),
        gap=_nats([s.gap for s in scores]),
        deviation=_nats([s.deviation for s in scores]),
        prompt=np.repeat(np.arange(len(chosen), dtype=np.int64), lengths),
        position=_ids([np.arange(n, dtype=np.int64) for n in lengths]),
        said=_ids([s.said for s in scores]),
        best=_ids([s.best for s in scores]),
        second=_ids([s.second for s in scores]),
        respelled=np.repeat(np.array([a.respelled for a in chosen], dtype=np.bool_), lengths),
        positions=sum(a.length for a in scorable),
        seed=seed if len(scorable) > most else None,
        left_out=tuple(LeftOut(reason, n) for reason, n in reasons.most_common()),
    )


def unknown_processors(spec: ArmSpec | None) -> tuple[str, ...]:
    """Return what shapes an arm's scores in a way that cannot be repeated here, by name.

    The local decoder's processors can be; of a server's request only the fields that leave the
    best token alone are known.
    """
    if spec is None:
        return ()
    return tuple(sorted(spec.extra_body.keys() - _HARMLESS))


def _sample(
    answers: Sequence[ScorableAnswer], most: int, seed: int, always: Collection[str]
) -> list[ScorableAnswer]:
    """Return the answers that are scored, in their own order."""
    if len(answers) <= most:
        return list(answers)
    drawn = np.random.default_rng(seed).permutation(len(answers)).tolist()
    drawn.sort(key=lambda i: answers[i].prompt.id not in always)
    return [answers[i] for i in sorted(drawn[:most])]


def _nats(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.empty(0), *parts])


def _ids(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
