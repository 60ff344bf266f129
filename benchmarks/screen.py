"""What the screen finds, what it saves and how fast it explains.

Usage: python benchmarks/screen.py [--quick] [--json] [--out DIR] [--part mutants]

Mutants of the decoder are screened as controls beside clean arms (`screen_mutants.py`; over the
whole battery in two dtypes, quickly over a few prompts in float32); what is found and named is
counted. Stopping is simulated with the screen's own evidence. Explaining is timed over the
divergences of a leaky rule, models loaded and noise bound measured before.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import screen_mutants
import screen_scale
from draftproof.records import Pair
from draftproof.rescoring.rescore import LocalRescorer
from draftproof.runs import Plan
from draftproof.runs.plan import Decision
from draftproof.screen.forensics import explain
from draftproof.stacks import ArmSpec, make_engine
from draftproof.stats.sequential import log_e_loss, log_e_margin

TASKS, BLOCK, AVAILABLE = 6, 19, 320
RUNS = 400
LONGEST = 64
"""Tokens of an answer: enough for every mutant to show."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few prompts a task, float32")
    parser.add_argument("--prompts", type=int, help="prompts of every task, in place of all")
    parser.add_argument("--dtype", action="append", choices=["float32", "bfloat16"])
    parser.add_argument("--part", action="append", choices=["mutants", "stopping", "forensics",
                        "scale"], help="one only")  # fmt: skip
    parser.add_argument("--out", type=Path, help="where answers of mutants are kept, to go on")
    parser.add_argument("--jobs", type=int, default=2, help="processes that answer at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    limit = asked.prompts or (3 if asked.quick else None)
    dtypes = asked.dtype or (["float32"] if asked.quick else ["float32", "bfloat16"])
    parts = {
        "mutants": lambda: mutants(asked.out, dtypes, limit, 1 if asked.quick else asked.jobs),
        "stopping": lambda: stopping(RUNS),
        "forensics": lambda: forensics(6 if asked.quick else 40, dtypes[0]),
        "scale": lambda: scale(100_000 if asked.quick else 10_000_000),
    }
    found: dict[str, Any] = {}
    for name in asked.part or parts:
        found |= parts[name]()
    found["configuration"] = {
        "models": "lab:target (3.74 M), lab:draft and lab:adversarial (0.66 M)",
        "dtypes": dtypes,
        "prompts_a_task": limit or "all",
        "threads": 1,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        if name != "by_dtype":
            print(f"{name:28} {value}")
    if "by_dtype" in found:
        screen_mutants.show(found)


def mutants(
    out: Path | None, dtypes: Sequence[str], limit: int | None, jobs: int
) -> dict[str, Any]:
    """Screen every mutant as a control beside clean arms; count what is found and named."""
    if out is not None:
        return screen_mutants.run(out, dtypes, limit, LONGEST, jobs)
    with tempfile.TemporaryDirectory() as folder:
        return screen_mutants.run(Path(folder), dtypes, limit, LONGEST, jobs)


def stopping(runs: int) -> dict[str, Any]:
    """Simulate looks after every block over tasks that all have to pass."""
    rng = np.random.default_rng(11)
    clean = [_stop(np.zeros((TASKS, AVAILABLE), dtype=np.int64))]
    noisy = [_stop(_flips(rng, 0.001, 0.001)) for _ in range(runs)]
    leaks = [_stop(_flips(rng, 0.10, 0.0)) for _ in range(runs)]
    margin = [_stop(_flips(rng, 0.03, 0.0, one=True)) for _ in range(runs)]
    return {
        "sequential_saving": round(1 - clean[0][1] / AVAILABLE, 3),
        "sequential_saving_noisy": round(1 - float(np.mean([n for _, n in noisy])) / AVAILABLE, 3),
        "leak_10_percent_stopped_within": int(np.quantile([n for _, n in leaks], 0.99)),
        "leak_10_percent_failed": round(float(np.mean([s == "FAIL" for s, _ in leaks])), 3),
        "false_pass_at_margin": round(float(np.mean([s == "PASS" for s, _ in margin])), 3),
        "false_fail_when_noisy": round(float(np.mean([s == "FAIL" for s, _ in noisy])), 3),
    }


def _flips(rng: np.random.Generator, lost: float, gained: float, *, one: bool = False) -> Any:
    u = rng.random((TASKS, AVAILABLE))
    flips = np.where(u < lost, 1, np.where(u < lost + gained, -1, 0))
    if one:
        flips[1:] = 0
    return flips


def _stop(tasks: Any) -> tuple[str, int]:
    """Return the state of a screen and the pairs of each task that it took."""
    rule = Decision()
    ends = np.arange(BLOCK, tasks.shape[1] + 1, BLOCK)
    lost = (tasks == 1).cumsum(axis=1)[:, ends - 1]
    gained = (tasks == -1).cumsum(axis=1)[:, ends - 1]
    bar = -np.log(rule.alpha)
    shown = (
        np.minimum(
            log_e_margin(lost, 0, ends, rule.margin), log_e_margin(gained, lost, ends, rule.margin)
        )
        >= bar
    )
    # a task that is certain is asked no more, so its evidence stays
    shown = np.maximum.accumulate(shown, axis=1)
    losing = np.where(shown, 0.0, np.exp(np.minimum(log_e_loss(lost, gained), 60)))
    for look, end in enumerate(ends):
        if shown[:, look].all():
            return "PASS", int(end)
        if losing[:, look].mean() >= 1 / rule.alpha_fail:
            return "FAIL", int(end)
    return "open", tasks.shape[1]


def forensics(limit: int, dtype: str) -> dict[str, Any]:
    """Time the explanation of a leaky rule's divergences."""
    shared = {"name": "x", "target": "lab:target", "dtype": dtype, "batch": 32,
              "max_new_tokens": 48}  # fmt: skip
    plain = ArmSpec.model_validate({**shared, "role": "baseline"})
    leaky = ArmSpec.model_validate(
        {**shared, "role": "control", "draft": "lab:adversarial", "rule": "typical"}
    )
    prompts = Plan.model_validate(
        {"battery": "lab-core", "limit": limit, "target": "lab:target",
         "arms": [{"name": "t", "role": "baseline"},
                  {"name": "d", "role": "candidate", "draft": "lab:draft"}]}
    ).load_battery().prompts  # fmt: skip
    said = []
    for spec in (plain, leaky):
        engine = make_engine(spec)
        engine.open(prompts)
        said.append({c.id: c for c in engine.answer(prompts)})
    pairs = [Pair(prompt=p, baseline=said[0][p.id], candidate=said[1][p.id]) for p in prompts]
    pairs = [p for p in pairs if not p.identical]
    rescorer = LocalRescorer(leaky)
    explain(pairs, rescorer, 0.0)
    best_wall = best_cpu = 0.0
    for _ in range(3):
        start, cpu = time.perf_counter(), time.process_time()
        explain(pairs, rescorer, 0.0)
        best_wall = max(best_wall, len(pairs) / (time.perf_counter() - start))
        best_cpu = max(best_cpu, len(pairs) / (time.process_time() - cpu))
    start = time.perf_counter()
    for pair in pairs[:16]:
        explain([pair], rescorer, 0.0)
    alone = len(pairs[:16]) / (time.perf_counter() - start)
    return {
        "forensics_per_s": round(best_wall, 1),
        "forensics_per_cpu_s": round(best_cpu, 1),
        "forensics_alone_per_s": round(alone, 1),
        "divergences_timed": len(pairs),
    }


def scale(pairs: int) -> dict[str, Any]:
    """Return how fast recorded pairs are compared, and in how much memory."""
    measured = screen_scale.scale(pairs)
    return {name: measured[name] for name in ("pairs_per_s", "analysis_rss_mb")}


if __name__ == "__main__":
    main()
