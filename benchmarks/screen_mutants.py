"""Is every planted fault found and named, and no clean arm accused, in every arithmetic?

    python benchmarks/screen_mutants.py --out DIR            # lab-core, both dtypes, 2 processes
    python benchmarks/screen_mutants.py --out DIR --prompts 4 --json

Every mutant of the decoder is screened as a control beside clean arms that must agree with the
same baseline: the target in another order, drafts of other quality and length, a tree. Answers are
appended to DIR as they come and verdicts are kept there: the same command goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from draftproof.decoding.mutants import MUTANTS
from draftproof.records import Comparison, State, Verdict, digest
from draftproof.report.document import from_json, to_json
from draftproof.runs import Plan, RunDirectory, collect
from draftproof.runs.parallel import Workers
from draftproof.screen.run import run_plan

DRAWN = frozenset({"reused_coin"})
"""Faults that leave greedy answers alone; looked for at a temperature above 0."""
DTYPES = ("float32", "bfloat16")
CLEAN: Mapping[str, Mapping[str, Any]] = {
    "draft": {"draft": "lab:draft"},
    "draft-gamma-2": {"draft": "lab:draft", "gamma": 2},
    "adversarial-draft": {"draft": "lab:adversarial"},
    "draft-tree": {"draft": "lab:draft", "drafter": "draft_tree",
                   "drafter_options": {"parents": [-1, 0, 0, 1, 1, 3, 5]}},
}  # fmt: skip
ACCUSING = frozenset({"leak", "fault"})
_SECONDS = 10
"""Between two lines of progress."""


def plans(dtype: str, limit: int | None, tokens: int) -> dict[str, Plan]:
    """Return the plans of one arithmetic: greedy answers, and answers drawn at a temperature.

    Args:
        dtype: Of every model.
        limit: Prompts of every task; None for all.
        tokens: Longest greedy answer. Drawn answers only have to be there: the law is tested by
            draws of its own.
    """
    shared = {"battery": "lab-core", "target": "lab:target", "dtype": dtype, "batch": 32}
    baseline = {"name": "target", "role": "baseline"}
    greedy = [
        *({"name": n, "role": "control", "draft": "lab:draft", "mutant": n}
          for n in sorted(MUTANTS.keys() - DRAWN)),
        *({"name": n, "role": "candidate", **own} for n, own in CLEAN.items()),
        baseline,
        {"name": "target-again", "role": "noise", "order": "shuffled"},
    ]  # fmt: skip
    warm = [
        baseline,
        {"name": "draft", "role": "candidate", "draft": "lab:draft"},
        *({"name": n, "role": "control", "draft": "lab:adversarial", "mutant": n}
          for n in sorted(DRAWN)),
    ]  # fmt: skip
    declared: dict[str, dict[str, Any]] = {
        # shaped alike, so that a processor can be off by one row
        dtype: {"limit": limit, "max_new_tokens": tokens, "arms": greedy,
                "processors": {"no_repeat_ngram_size": 2}},
        f"{dtype}-drawn": {"limit": 2, "samples": 2, "temperature": 0.8, "max_new_tokens": 16,
                           "arms": warm},
    }  # fmt: skip
    return {
        name: Plan.model_validate({**shared, "name": name, **own}) for name, own in declared.items()
    }


def run(
    folder: Path, dtypes: Sequence[str], limit: int | None, tokens: int, jobs: int
) -> dict[str, Any]:
    """Answer and judge what is not there yet; return what was found in every arithmetic."""
    start = time.perf_counter()
    wanted = {dtype: plans(dtype, limit, tokens) for dtype in dtypes}
    every = {name: plan for own in wanted.values() for name, plan in own.items()}
    unjudged = {name: plan for name, plan in every.items() if kept(folder, plan) is None}
    with Workers(jobs) as workers:
        for name, plan in unjudged.items():
            hear, battery = reporter(name, plan), plan.load_battery()
            with RunDirectory(folder / name) as place:
                collect(plan, battery, place, progress=hear, workers=workers)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        for name, seconds in pool.map(judged, [folder] * len(unjudged), unjudged.values()):
            say(f"{name}: judged in {seconds:.0f} s")
    verdicts = {name: kept(folder, plan) for name, plan in every.items()}
    by_dtype = {
        dtype: summary([v for n in own if (v := verdicts[n]) is not None])
        for dtype, own in wanted.items()
    }
    return {
        **overall(list(by_dtype.values())),
        "tokens": tokens,
        "mutants_seconds": round(time.perf_counter() - start),
        "by_dtype": by_dtype,
    }


def overall(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what holds in every arithmetic: the least that was named, all that were accused."""
    rates = [own["smallest_leak_caught"] for own in found if own["smallest_leak_caught"]]
    return {
        "prompts": min(own["prompts"] for own in found),
        "mutants": max(own["mutants"] for own in found),
        "mutants_caught": min(own["mutants_caught"] for own in found),
        "mutants_named": min(own["mutants_named"] for own in found),
        "clean_arms": sum(own["clean_arms"] for own in found),
        "clean_arms_accused": sum(own["clean_arms_accused"] for own in found),
        "smallest_leak_caught": max(rates, default=None),
    }


def judged(folder: Path, plan: Plan) -> tuple[str, float]:
    """Judge a run whose answers are there and keep the verdict; called in a process of its own."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    with RunDirectory(folder / plan.name) as place:
        verdict = run_plan(plan, place)
        document = place.path / "verdict.json"
        document.with_suffix(".part").write_text(to_json(verdict), "utf-8")
        document.with_suffix(".part").replace(document)
    return plan.name, time.perf_counter() - start


def kept(folder: Path, plan: Plan) -> Verdict | None:
    """Return the verdict of an earlier run of the same plan, None where there is none."""
    place = folder / plan.name / "verdict.json"
    if not place.exists():
        return None
    verdict = from_json(place.read_bytes())
    same = digest(verdict.plan) == digest(json.loads(plan.model_dump_json()))
    return verdict if same else None


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Count what was found of the mutants, and which clean arms were accused."""
    controls = [c for v in verdicts for c in v.controls]
    clean = [(v, c) for v in verdicts for c in (*v.candidates, *v.noise)]
    names = {c.name: c.known_cause.name if c.known_cause else None for c in controls}
    seen = [c.sensitivity for _, c in clean if c.sensitivity is not None]
    rates = [s.token_rate for s in seen if s.token_rate is not None]
    return {
        "prompts": min(c.counts.n for c in verdicts[0].candidates),
        "mutants": len(controls),
        "mutants_caught": sum(c.state is State.FAIL for c in controls),
        "mutants_named": sum(name == cause for name, cause in names.items()),
        "names": names,
        "clean_arms": len(clean),
        "clean_arms_accused": sum(accused(c) for _, c in clean),
        "clean_states": {
            c.name + (" (drawn)" if v.method.get("temperature") else ""): c.state.value
            for v, c in clean
        },
        "relations_held": f"{sum(r.held for v in verdicts for r in v.relations)}/"
        f"{sum(len(v.relations) for v in verdicts)}",
        "smallest_leak_caught": min(rates, default=None),
        "injected_leaks_named": f"{sum(s.detected for s in seen)}/{sum(s.injected for s in seen)}",
        "arms": [row(c) for v in verdicts for c in (*v.candidates, *v.noise, *v.controls)],
    }


def accused(comparison: Comparison) -> bool:
    """Whether a fault was named, a token called one, or an arm that ran well FAILs or is INVALID.

    INCONCLUSIVE is no accusation: few prompts resolve nothing.
    """
    classes = ACCUSING & comparison.counts.divergences.keys()
    wrong = comparison.state in {State.FAIL, State.INVALID}
    return bool(comparison.known_cause or classes) or wrong


def row(comparison: Comparison) -> dict[str, Any]:
    """Return one arm as a row of the table."""
    cause, counts = comparison.known_cause, comparison.counts
    return {
        "arm": comparison.name,
        "role": comparison.role.value,
        "state": comparison.state.value,
        "pairs": counts.n,
        "identical": counts.identical,
        "divergences": dict(counts.divergences),
        "named": cause and f"{cause.name} ({cause.explained} of {cause.of}, {cause.confidence})",
    }


def reporter(name: str, plan: Plan) -> Callable[[str, int, int], None]:
    """Return what tells how far a run is, at most every few seconds."""
    done: dict[str, int] = {}
    first: dict[str, int] = {}
    start = last = time.perf_counter()

    def hear(arm: str, answers: int, total: int) -> None:
        nonlocal last
        done[arm] = answers
        first.setdefault(arm, answers)
        now, all_ = time.perf_counter(), total * len(plan.arms)
        if now - last < _SECONDS:
            return
        last, given = now, sum(done.values())
        new = given - sum(first.values())
        left = (all_ - given) * (now - start) / max(new, 1)
        say(f"{name}: {given:,} of {all_:,} answers ({given / all_:.0%}), {arm} {answers:,}; "
            f"{now - start:.0f} s, about {left:.0f} s left")  # fmt: skip

    return hear


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def show(found: Mapping[str, Any]) -> None:
    """Print a table for people."""
    for dtype, own in found["by_dtype"].items():
        print(f"\n{dtype}: {own['mutants_named']} of {own['mutants']} mutants named, "
              f"{own['clean_arms_accused']} of {own['clean_arms']} clean arms accused, "
              f"{own['prompts']:,} prompts")  # fmt: skip
        for arm in own["arms"]:
            causes = ", ".join(f"{n:,} {c}" for c, n in arm["divergences"].items()) or "-"
            print(f"  {arm['arm']:20} {arm['role']:9} {arm['state']:12} {arm['identical']:>6,}"
                  f"/{arm['pairs']:<6,} {causes:32} {arm['named'] or '-'}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where answers are kept")
    parser.add_argument("--prompts", type=int, help="prompts of every task, in place of all")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="one only")
    parser.add_argument("--tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    found = run(asked.out, asked.dtype or DTYPES, asked.prompts, asked.tokens, asked.jobs)
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)


if __name__ == "__main__":
    main()
