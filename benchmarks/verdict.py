"""How often the rules of the verdict accuse a clean stack, and which leaks they see.

Usage: python benchmarks/verdict.py [--part rule|stacks] [--replicates 1000] [--quick] [--json]

`ties_false_alarm` is the largest share, over six kinds of noise and a candidate of one, two and
four times the baseline's scale, of clean candidates that leaks-among-ties or two named tokens
accuse; a shape arm has joined the baseline. `hidden_leaks_power` is the share of candidates with
ten hidden leaks that leaks-among-ties alone finds. What is measured on the lab pair, and how, says
`benchmarks/verdict_stacks.py`. `real_accused` and `real_controls_caught` are read from the runs of
`benchmarks/real_model.py`, NaN without them. The part ``rule`` is `verdict_rule`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from benchmarks import verdict_rule
from benchmarks.real_model import accusations
from benchmarks.scored_arms import (
    KINDS,
    Array,
    answered,
    draw_gaps,
    hidden_margins,
    noise_of,
    ordinary_margins,
    planted,
)
from benchmarks.verdict_stacks import lab_pair

from draftproof.stats.contamination import contamination
from draftproof.stats.deviations import fit_noise
from draftproof.stats.naming import NoiseScale, name_tokens
from draftproof.stats.positions import ScoredPositions, pooled

Figures = dict[str, float | str]
RATIOS = (1, 2, 4)
SIGMA = 0.02


@dataclass(frozen=True)
class Run:
    """Plain arm, shape arm and candidate of one simulated run."""

    plain: ScoredPositions
    shape: ScoredPositions
    candidate: ScoredPositions

    @property
    def leaks_among_ties(self) -> bool:
        """Whether contamination fails the candidate."""
        return contamination(self.plain, self.candidate, shape=self.shape).fails

    @property
    def named(self) -> int:
        """Tokens of the candidate that are named."""
        clean = pooled(self.plain, self.shape)
        scale = NoiseScale(fit_noise(clean), fit_noise(self.candidate))
        return name_tokens(self.candidate, scale.sigma, clean.largest).count


def clean_run(rng: np.random.Generator, kind: str, sigma: float, ratio: float = 1.0) -> Run:
    gaps, noise = draw_gaps(rng), noise_of(rng, kind)
    lifts = [noise.draw(rng, factor * sigma) for factor in (1.0, ratio, ratio)]
    return Run(*(answered(gaps, lift) for lift in lifts))


def leaky_run(rng: np.random.Generator, sigma: float, margins: Array) -> Run:
    run = clean_run(rng, "logistic", sigma)
    return replace(run, candidate=planted(rng, run.candidate, margins))


def false_alarms(replicates: int, seed: int = 41) -> Figures:
    rates: dict[str, float] = {}
    single: dict[str, float] = {}
    for kind in KINDS:
        for ratio in RATIOS:
            rng = np.random.default_rng([seed, KINDS.index(kind), ratio])
            accused = alone = 0
            for _ in range(replicates):
                run = clean_run(rng, kind, SIGMA, ratio)
                fails = run.leaks_among_ties or run.named >= 2
                accused += fails
                alone += run.named == 1 and not fails
            rates[f"{kind}_{ratio}"] = accused / replicates
            single[f"{kind}_{ratio}"] = alone / replicates
    return {
        "ties_false_alarm": max(rates.values()),
        **{f"ties_false_alarm_{name}": rate for name, rate in rates.items()},
        **{f"one_token_named_{name}": rate for name, rate in single.items()},
    }


def hidden_leaks(replicates: int, seed: int = 42) -> Figures:
    rng = np.random.default_rng(seed)
    power: dict[str, float] = {}
    for leaks in (5, 10):
        runs = (leaky_run(rng, SIGMA, hidden_margins(rng, leaks)) for _ in range(replicates))
        power[f"hidden_leaks_power_{leaks}"] = sum(r.leaks_among_ties for r in runs) / replicates
    return {"hidden_leaks_power": power["hidden_leaks_power_10"], **power}


def one_leak(replicates: int, seed: int = 43) -> Figures:
    rng = np.random.default_rng(seed)
    shares: dict[str, float] = {}
    for sigma in (0.006, 0.02, 0.1):
        runs = (leaky_run(rng, sigma, ordinary_margins(rng, 1)) for _ in range(replicates))
        shares[f"one_leak_named_{sigma}"] = sum(r.named >= 1 for r in runs) / replicates
    return {**shares}


def stacks(replicates: int, quick: bool) -> Figures:
    return {
        **lab_pair(quick=quick),
        **hidden_leaks(replicates),
        **one_leak(replicates),
        **false_alarms(replicates),
        **accusations(frozenset({"openvino", "llama.cpp"})),
    }


QUICK = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("rule", "stacks"), help="run one part (default: both)")
    parser.add_argument("--replicates", type=int, default=1000, help="simulated runs a setting")
    parser.add_argument(
        "--quick", action="store_true", help=f"240 prompts, {QUICK} simulated runs a setting"
    )
    parser.add_argument("--clean", type=Path, help="recorded clean arms (default: record them now)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    if options.part in {None, "stacks"}:
        replicates = QUICK if options.quick else options.replicates
        figures.update(stacks(replicates, options.quick))
    if options.part in {None, "rule"}:
        figures.update(verdict_rule.measure(quick=options.quick, clean=options.clean))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            shown = f"{value:.4f}" if isinstance(value, float) else json.dumps(value, indent=1)
            print(f"{name:40} {shown}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
