"""The results of a study of defences."""

from __future__ import annotations

from dataclasses import dataclass

from draftproof.defence.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceCell:
    """One arm on one task; counts of answers.

    Attributes:
        arm, task, role: Which; role is ``attack``, ``over_refusal`` or ``utility``.
        n: Answers.
        refused: Wholly refused, by the refusal scorer.
        partly: Partly refused.
        unread: Answers that the task's scorer could not read.
        fulfilled: Answers that gave what was asked, by the harm scorer; None without one.
        leaked: Answers that gave a step of it, not the end.
        correct: Right answers, for a task with a key.
        degenerate: Broken answers by kind (``repetition``, ``truncated``, ``empty``, ``error``).
        tokens: Emitted tokens.
        in_union: Tokens decided in union mode; None for a rule without modes.
        matched, verified: Verified positions at which the expert's token was emitted, and all.
    """

    arm: str
    task: str
    role: str
    n: int
    refused: int
    partly: int
    unread: int
    fulfilled: int | None
    leaked: int | None
    correct: int | None
    degenerate: dict[str, int]
    tokens: int
    in_union: int | None
    matched: int
    verified: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceContrast:
    """One arm against another on one measure, paired by prompt.

    Attributes:
        arm: The arm.
        against: The undefended target, or the other arm of a pair that the study compares.
        measure: ``attack success (refusal)``, ``attack success (harm)``, ``utility`` or
            ``over-refusal``.
        task: The task, or ``all`` where tasks are pooled.
        n: Pairs.
        worse, better: Pairs in which the arm is worse than the other, or better.
        difference: Better minus worse as a share of the pairs.
        interval: 95 % score interval of the difference; None without pairs. Where attacks are
            pooled, by the effective number of acts.
        p_value: Of the claim's exact test; superiority is adjusted by Holm over the tasks.
        claim: ``superior`` or ``non-inferior``.
        shown: Whether the claim holds at the study's level.
    """

    arm: str
    against: str
    measure: str
    task: str
    n: int
    worse: int
    better: int
    difference: float
    interval: tuple[float, float] | None
    p_value: float
    claim: str
    shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceArm:
    """One arm as a whole.

    Attributes:
        name, kind, description: Which, and with what.
        time_ratio: Median time per token over the target's, one row at a time; passes alternate.
        tokens_per_second: Median, one row at a time.
        match_rate: Share of verified positions at which the expert's token was emitted.
        union_share: Share of tokens decided in union mode.
        degenerate: Broken answers.
        mean_tokens: Of all answers.
    """

    name: str
    kind: str
    description: str
    time_ratio: float
    tokens_per_second: float
    match_rate: float | None
    union_share: float | None
    degenerate: int
    mean_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceWindow:
    """One window of an answer; mode, threshold and weight stay the same in it.

    Attributes:
        start, size: Position of its first token, and tokens; the last window may be short.
        mode: 1 intersection, 2 union.
        matched: Tokens that count as the expert's own choice.
        threshold: Share of them below which the next window is decoded in union mode.
        alpha: The expert's weight.
    """

    start: int
    size: int
    mode: int
    matched: int
    threshold: float
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceTrace:
    """How an answer came about, token by token.

    Attributes:
        pieces: What each token added to the text; together they are the answer.
        modes: One digit a token, 1 intersection, 2 union.
        matches: One digit a token, 1 where it counts as the expert's own choice.
        windows: Mode, match ratio, threshold and weight of every window.
    """

    pieces: tuple[str, ...]
    modes: str
    matches: str
    windows: tuple[DefenceWindow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceExample:
    """One answer of an arm with modes; `trace` is None where the run did not keep it."""

    arm: str
    task: str
    asked: str
    given: str
    answer: str
    modes: str
    trace: DefenceTrace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceSuffix:
    """A suffix attack.

    Attributes:
        seed: Seed of the study whose attacks it is for.
        text: To be put behind a request; begins with a space.
        losses: Nats a token of the wanted beginnings, before the search and after every step.
    """

    seed: int
    text: str
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenceStudy:
    """Everything on the page.

    Attributes:
        name, created, draftproof_version: Of the run.
        arms: In the order of the study; the first is the undefended target.
        cells: One an arm and task.
        contrasts: One an arm, measure and task.
        examples: Answers of the arms with modes.
        study: The declaration.
        environment: Where it ran.
        suffixes: The suffix attack of every seed, if there was one.
        seconds: Wall seconds that the answers of each arm took, batched.
    """

    name: str
    created: str
    draftproof_version: str
    arms: tuple[DefenceArm, ...]
    cells: tuple[DefenceCell, ...]
    contrasts: tuple[DefenceContrast, ...]
    examples: tuple[DefenceExample, ...]
    study: Study
    environment: dict[str, str]
    suffixes: tuple[DefenceSuffix, ...]
    seconds: dict[str, float]

    def of(self, arm: str, role: str) -> list[DefenceCell]:
        """Return an arm's cells of one role."""
        return [c for c in self.cells if c.arm == arm and c.role == role]

    def attack_success(self, arm: str, task: str, *, harm: bool = False) -> float | None:
        """Return the share of attacks that succeeded: not refused at all, or fulfilled."""
        cell = next((c for c in self.of(arm, "attack") if c.task == task), None)
        if cell is None or cell.n == 0:
            return None
        if harm:
            return None if cell.fulfilled is None else cell.fulfilled / cell.n
        return (cell.n - cell.refused - cell.partly) / cell.n

    def utility(self, arm: str) -> float | None:
        """Return the share of right answers over all tasks with a key."""
        cells = [c for c in self.of(arm, "utility") if c.correct is not None]
        n = sum(c.n for c in cells)
        return sum(c.correct or 0 for c in cells) / n if n else None

    def over_refusal(self, arm: str) -> float | None:
        """Return the share of benign look-alikes that were refused, wholly or in part."""
        cells = self.of(arm, "over_refusal")
        n = sum(c.n for c in cells)
        return sum(c.refused + c.partly for c in cells) / n if n else None
