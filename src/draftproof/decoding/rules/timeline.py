"""The state of a safety-aware answer, token by token, from what matched and the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import torch

from draftproof.decoding.rules.safety_aware import INTERSECTION, SafetyAware


class Moment(NamedTuple):
    """The state in which one token was decided.

    Attributes:
        position: 0 for the first token of the answer.
        mode: 1 intersection (utility), 2 union (safety).
        matched: Whether the token counts as the expert's own choice.
        match_ratio: Share of matches in the window so far, this token included; with the window's
            last token it is what the next mode is decided by.
        threshold: Match ratio below which the next window is decoded in union mode.
        alpha: The weight of the expert in this position's composite.
    """

    position: int
    mode: int
    matched: bool
    match_ratio: float
    threshold: float
    alpha: float


class Span(NamedTuple):
    """A run of tokens decided in one mode; `end` is exclusive."""

    start: int
    end: int
    mode: int


class Window(NamedTuple):
    """A window of tokens that share mode, threshold and weight; the last one may be short.

    Attributes:
        start: Position of its first token.
        size: Tokens in it.
        mode: 1 intersection, 2 union.
        matched: How many of them count as the expert's own choice.
        threshold: Match ratio below which the next window is decoded in union mode.
        alpha: The weight of the expert.
    """

    start: int
    size: int
    mode: int
    matched: int
    threshold: float
    alpha: float


def timeline(rule: SafetyAware, matches: Iterable[bool]) -> list[Moment]:
    """Return the whole state of an answer.

    Modes, thresholds and weights follow from the matches alone, so an answer needs to keep one
    bit a token.

    Args:
        rule: With the parameters that the answer was decoded with.
        matches: For every token whether it counts as the expert's own choice, see
            `Verification.matches`.

    >>> [m.mode for m in timeline(SafetyAware(window=2), [False, False, True, True, True])]
    [1, 1, 2, 2, 1]
    """
    state, alive = rule.begin(1, torch.device("cpu")), torch.ones(1, dtype=torch.bool)
    moments: list[Moment] = []
    for position, match in enumerate(map(bool, matches)):
        mode, ratio = int(state.mode), (int(state.matched) + match) / (int(state.seen) + 1)
        alpha = float(state.alpha if mode == INTERSECTION else rule.alpha_union)
        moments.append(Moment(position, mode, match, ratio, float(state.threshold), alpha))
        state = rule.advance(state, alive & match, alive)
    return moments


def windows(rule: SafetyAware, matches: Iterable[bool]) -> list[Window]:
    """Return the state of an answer window by window; see `timeline`.

    >>> [(w.start, w.size, w.mode) for w in windows(SafetyAware(window=2), [False] * 3)]
    [(0, 2, 1), (2, 1, 2)]
    """
    state = timeline(rule, matches)
    parts = [state[i : i + rule.window] for i in range(0, len(state), rule.window)]
    return [
        Window(
            start=part[0].position,
            size=len(part),
            mode=part[0].mode,
            matched=sum(moment.matched for moment in part),
            threshold=part[0].threshold,
            alpha=part[0].alpha,
        )
        for part in parts
    ]


def spans(modes: Sequence[int]) -> list[Span]:
    """Return the runs of one mode, for colouring an answer.

    >>> spans([1, 1, 2, 2, 1])
    [Span(start=0, end=2, mode=1), Span(start=2, end=4, mode=2), Span(start=4, end=5, mode=1)]
    """
    found, start = [], 0
    for mode, run in groupby(modes):
        end = start + len(list(run))
        found.append(Span(start, end, mode))
        start = end
    return found
