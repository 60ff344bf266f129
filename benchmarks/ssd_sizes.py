"""At which sizes and match rates SSD is faster than the undefended target, by measurement.

Usage: python benchmarks/ssd_sizes.py [--tiny] [--seconds S]

For each pair of models with random weights: c, an expert step over a target step; t(γ + 1), a
verification over a step; and for synthetic match rates the measured time of a token over that of
the target alone, decoded without a draft by the same engine, beside what c, t and the match rate
predict. The prompt decides the match rate: the vocabulary is divided into one ring a rate, the
target walks the ring, and the expert takes another way after a share of its tokens. Both models run
in full. Union mode is closed (threshold 0), so that the match rate stays what it is set to; a round
costs the same in either mode.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.rules import SafetyAware
from ssd_pair import (
    VOCABULARY,
    Shape,
    break_even,
    costs,
    follow,
    llama,
    predicted,
    size,
)

RATES = (0.6, 0.8, 0.9, 0.95)
GAMMAS = (3, 6)
SHAPES: dict[str, Shape] = {
    "350M": (1280, 17, 20, 3328),
    "120M": (896, 12, 14, 2304),
    "30M": (448, 9, 7, 1216),
    "20M": (512, 4, 8, 1408),
    "5M": (192, 4, 3, 512),
    "3M": (128, 4, 2, 352),
    "tiny": (96, 2, 2, 128),
    "tinier": (64, 1, 1, 96),
}
PAIRS = (("30M", "5M"), ("120M", "20M"), ("120M", "3M"), ("350M", "20M"))
_PEAK = 12.0
"""Logit of a successor: about 0.95 of the mass."""
_PROMPT, _LEAST, _MOST = 32, 20, 100
"""Tokens of the prompt, and of an answer at least and at most."""
_STRETCH = 20
"""Tokens in which the match rate is kept."""
_STEER = SafetyAware(threshold=0.0, reset_threshold=0.0)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """A target and an expert, and the rings of tokens of every match rate."""

    target: CausalModel
    expert: CausalModel
    rings: dict[float, list[int]]
    parameters: tuple[int, int]


def sizes(
    pairs: Sequence[tuple[str, str]] = PAIRS,
    *,
    seconds: float = 40.0,
    rates: Sequence[float] = RATES,
    gammas: Sequence[int] = GAMMAS,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Return what was measured of every pair, and where SSD was faster.

    Args:
        pairs: Names of target and expert in `SHAPES`.
        seconds: What a pair may take, about; more of them are longer answers.
        rates: Synthetic match rates.
        gammas: Tokens drafted a round.
        say: Hears how far it is.
    """
    found = []
    for target, expert in pairs:
        start = time.perf_counter()
        say(f"sizes {target}/{expert}: building")
        pair = build(SHAPES[target], SHAPES[expert], rates)
        built = time.perf_counter() - start
        row = measure(pair, gammas, max(seconds - built, 1.0), say=say)
        found.append({"target": target, "expert": expert, **row})
        say(f"sizes {target}/{expert}: {json.dumps(row)} ({time.perf_counter() - start:.0f} s)")
        del pair
        gc.collect()
    faster = [
        {"target": one["target"], "expert": one["expert"], **run}
        for one in found
        for run in one["runs"]
        if run["measured"] < 1
    ]
    return {"pairs": found, "faster_than_target": faster}


def build(target: Shape, expert: Shape, rates: Sequence[float]) -> Pair:
    """Return a pair that agrees at every one of the rates, in its own part of the vocabulary."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(VOCABULARY, generator=generator)
    rings = torch.tensor_split(order, len(rates))
    step, detour = torch.empty_like(order), torch.empty_like(order)
    for rate, ring in zip(rates, rings, strict=True):
        step[ring] = ring.roll(-1)
        detour[ring] = step[ring]
        astray = ring[_astray(len(ring), rate, generator)]
        # each takes the way of the next that goes astray: a permutation still
        detour[astray] = step[astray.roll(-1)]
    made = []
    everywhere = torch.ones(VOCABULARY, dtype=torch.bool)
    for shape, way, seed in ((target, step, 1), (expert, detour, 2)):
        model = llama(shape, seed)
        follow(model, way, everywhere, _PEAK)
        made.append(model)
    parameters = size(made[0]), size(made[1])
    own, helper = CausalModel(made[0], "target"), CausalModel(made[1], "expert")
    named = {rate: ring.tolist() for rate, ring in zip(rates, rings, strict=True)}
    return Pair(own, helper, named, parameters)


def _astray(length: int, rate: float, generator: torch.Generator) -> torch.Tensor:
    """Return ``[length] bool``: at random, but equally often in every stretch of `_STRETCH`.

    A short answer then has the match rate that was asked for.
    """
    stretches = -(-length // _STRETCH)
    places = torch.rand(stretches, _STRETCH, generator=generator).argsort(dim=1)
    return (places < round(_STRETCH * (1 - rate))).flatten()[:length]


def measure(pair: Pair, gammas: Sequence[int], seconds: float, *, say: Say) -> dict[str, Any]:
    """Return costs, and predicted and measured ratios, at every rate and γ."""
    start = time.perf_counter()
    c, widths = costs(pair.target, pair.expert, 2 * _PROMPT, gammas)
    # one answer of each kind warms up, and says how many tokens the time is enough for
    begun = time.perf_counter()
    _run(pair, next(iter(pair.rings)), _LEAST, gammas[0])
    _run(pair, next(iter(pair.rings)), _LEAST, None)
    each = (time.perf_counter() - begun) / (2 * _LEAST)
    answers = 2 * len(pair.rings) * len(gammas)
    left = seconds - (time.perf_counter() - start)
    new = int(min(max(left / (answers * each), _LEAST), _MOST))
    runs = []
    for rate in pair.rings:
        for gamma in gammas:
            alone = _run(pair, rate, new, None)
            steered = _run(pair, rate, new, gamma)
            if steered.tokens != alone.tokens:
                raise RuntimeError("in intersection mode the random target leads; it did not")
            runs.append(
                {
                    "gamma": gamma,
                    "wanted": rate,
                    "alpha": round(steered.alpha, 3),
                    "tokens_a_round": round(new / steered.rounds, 3),
                    "predicted": round(predicted(steered.alpha, gamma, c, widths[gamma]), 3),
                    "measured": round(steered.seconds / alone.seconds, 3),
                }
            )
    say(f"  {new} tokens an answer")
    return {
        "parameters": {"target": pair.parameters[0], "expert": pair.parameters[1]},
        "c": round(c, 3),
        "t_width": {gamma: round(t, 3) for gamma, t in widths.items()},
        "break_even": {gamma: break_even(gamma, c, t) for gamma, t in widths.items()},
        "new_tokens": new,
        "runs": runs,
    }


@dataclass(frozen=True, slots=True)
class _Run:
    tokens: list[int]
    seconds: float
    rounds: int
    alpha: float


def _run(pair: Pair, rate: float, new: int, gamma: int | None) -> _Run:
    """Time one answer behind a prompt of the rate's ring; without γ the target alone."""
    ring = pair.rings[rate]
    asked = [Request(id="a", prompt=tuple(ring[:_PROMPT]), max_new_tokens=new)]
    steer: dict[str, Any] = {}
    if gamma is not None:
        steer = {"drafter": DraftModel(pair.expert, gamma), "rule": _STEER}
    start = time.perf_counter()
    (answer,) = decode(pair.target, asked, Settings(eos=(), **steer))
    seconds = time.perf_counter() - start
    matched = sum(answer.matches) / max(len(answer.matches), 1)
    return _Run(answer.tokens, seconds, max(answer.rounds, 1), matched)


def table(found: dict[str, Any]) -> str:
    """Return the result as lines for a terminal."""
    lines = ["target / expert   c     γ  t(γ+1)  break-even  wanted  match  predicted  measured"]
    for one in found["pairs"]:
        for run in one["runs"]:
            gamma = run["gamma"]
            even = one["break_even"][gamma]
            lines.append(
                f"{one['target'] + ' / ' + one['expert']:15}  {one['c']:.3f}  {gamma}  "
                f"{one['t_width'][gamma]:6.2f}  {'none' if even is None else even:>10}  "
                f"{run['wanted']:6}  {run['alpha']:5.2f}  {run['predicted']:9.3f}  "
                f"{run['measured']:8.3f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one small pair, to see that it runs")
    parser.add_argument("--seconds", type=float, default=40.0, help="time for each pair, about")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = sizes(
        (("tiny", "tinier"),) if asked.tiny else PAIRS,
        seconds=asked.seconds,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(json.dumps(found) if asked.json else table(found))


if __name__ == "__main__":
    main()
