"""An answer with modes as a strip of its tokens, and its text in the colours of the modes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from draftproof.defence.records import DefenceExample, DefenceTrace, DefenceWindow

MODES = {"1": "intersection", "2": "union"}
HEIGHT = 60
"""Units of the plot's height; a unit of its width is a token."""


@dataclass(frozen=True, slots=True)
class TokenRun:
    """Neighbouring tokens of one kind.

    Attributes:
        start, size: Position of the first token, and tokens.
        mode: ``intersection`` or ``union``.
        matched: Whether they count as the expert's own choice.
        text: Their text.
    """

    start: int
    size: int
    mode: str
    matched: bool
    text: str


@dataclass(frozen=True, slots=True)
class Strip:
    """What the page draws of one answer; every coordinate is computed here.

    Attributes:
        example: The answer.
        tokens: How many it has.
        runs: Neighbouring tokens of one mode that match or do not.
        top: The value at the upper edge: 1, or a larger weight.
        ratio, threshold, alpha: Points of the three lines, ``x,y`` in tokens and in `HEIGHT`.
        windows: As recorded, each with a line about it.
    """

    example: DefenceExample
    tokens: int
    runs: tuple[TokenRun, ...]
    top: float
    ratio: str
    threshold: str
    alpha: str
    windows: tuple[tuple[DefenceWindow, str], ...]

    @property
    def label(self) -> str:
        """What the strip shows, for readers who do not see it."""
        union = sum(run.size for run in self.runs if run.mode == "union")
        return f"{self.tokens} tokens, {union} of them in union mode"


def by_prompt(examples: Iterable[DefenceExample]) -> list[list[Strip]]:
    """Return the strips of the answers to each prompt, in the order of the first arm."""
    groups: dict[tuple[str, str, str], list[Strip]] = {}
    for example in examples:
        groups.setdefault((example.task, example.asked, example.given), []).append(strip(example))
    return list(groups.values())


def strip(example: DefenceExample) -> Strip:
    """Return an answer ready to be drawn; without a trace, its modes alone."""
    trace = example.trace or DefenceTrace(pieces=(), modes=example.modes, matches="", windows=())
    top = max([1.0, *(window.alpha for window in trace.windows)])
    return Strip(
        example=example,
        tokens=len(trace.modes),
        runs=tuple(_runs(trace)),
        top=top,
        ratio=_line(trace.windows, [w.matched / w.size for w in trace.windows], top),
        threshold=_line(trace.windows, [w.threshold for w in trace.windows], top),
        alpha=_line(trace.windows, [w.alpha for w in trace.windows], top),
        windows=tuple((window, words(window)) for window in trace.windows),
    )


def words(window: DefenceWindow) -> str:
    """Return one line about a window.

    >>> words(DefenceWindow(start=7, size=7, mode=2, matched=3, threshold=0.6, alpha=0.8))
    'tokens 7 to 13: union, 3 of 7 matched, threshold 0.60, α 0.80'
    """
    last = window.start + window.size - 1
    return (
        f"tokens {window.start} to {last}: {MODES[str(window.mode)]}, {window.matched} of "
        f"{window.size} matched, threshold {window.threshold:.2f}, α {window.alpha:.2f}"
    )


def _runs(trace: DefenceTrace) -> Iterable[TokenRun]:
    kinds = list(zip(trace.modes, trace.matches or "1" * len(trace.modes), strict=True))
    start = 0
    for (mode, match), members in groupby(kinds):
        size = len(list(members))
        text = "".join(trace.pieces[start : start + size])
        yield TokenRun(start, size, MODES[mode], match == "1", text)
        start += size


def _line(windows: Sequence[DefenceWindow], values: Sequence[float], top: float) -> str:
    """Return a line that is level within each window."""
    points = []
    for window, value in zip(windows, values, strict=True):
        y = HEIGHT * (1 - value / top)
        points += [f"{window.start},{y:.2f}", f"{window.start + window.size},{y:.2f}"]
    return " ".join(points)
