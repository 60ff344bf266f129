"""Our decoder beside transformers' generate: same models, same prompts, same outputs.

Usage: python benchmarks/decoder.py [--quick] [--prompts N] [--json] [--gpu]

Greedy, one thread; every pass answers the same prompts with each contestant in turn, and a ratio
is the median over the passes. ``--quick`` stays with the lab pair and takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from typing import Any

import numpy as np
import torch
import transformers

from decoder_identity import identity
from decoder_openvino import openvino_pair
from decoder_pair import of_theory, ours, random_pair, step_costs, theirs
from draftproof.battery import load_battery
from draftproof.decoding import selftest
from draftproof.decoding.loop import Batch
from draftproof.decoding.mutants import MUTANTS
from draftproof.stacks import ArmSpec, make_engine
from draftproof.stacks.models import load

NEW_TOKENS = 96
BATCH = 32
GAMMA = 4
ALPHA = 0.8
PLAIN, ASSISTED = "transformers, plain", "transformers, assisted"
OURS, DRAFT = "ours, plain, batch 1", "ours, draft, batch 1"
OURS_BATCHED, DRAFT_BATCHED = f"ours, plain, batch {BATCH}", f"ours, draft, batch {BATCH}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the lab pair alone")
    parser.add_argument("--gpu", action="store_true", help="8B / 1B shapes in bf16 on a GPU")
    parser.add_argument("--prompts", type=int, default=0, help="prompts of every task")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = lab_pair(asked.prompts or (2 if asked.quick else 8), asked.passes)
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    for name, dtype in list(kinds.items())[: 1 if asked.quick else 3]:
        modes = identity(32 if asked.quick else 100, dtype)
        found |= {f"{mode}_identity_{name}": row["identity"] for mode, row in modes.items()}
        found[f"exactness_{name}"] = modes
    found |= killed()
    if not asked.quick:
        found["lab_pair_bf16"] = lab_pair(1, 1, "bfloat16")
        few = load_battery("lab-core").half("quick").limit(asked.prompts or 4).prompts
        found["openvino"] = openvino_pair(arm, few, asked.passes)
        names = ("8B", "1B") if asked.gpu else ("120M", "20M")
        found["random_pair"] = big_pair(names, asked.passes, gpu=asked.gpu)
    found["configuration"] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": 1,
        "passes": asked.passes,
        "machine": platform.machine(),
    }
    print(json.dumps(found) if asked.json else json.dumps(found, indent=1))


def arm(**options: Any) -> ArmSpec:
    shared = {"name": "x", "role": "candidate", "target": "lab:target", "dtype": "float32"}
    return ArmSpec.model_validate({**shared, "max_new_tokens": NEW_TOKENS, **options})


def lab_pair(count: int, passes: int, dtype: str = "float32") -> dict[str, Any]:
    """Contest on the models that ship, through the engines that a screen uses."""
    draft = {"draft": "lab:draft", "dtype": dtype}
    arms = {
        PLAIN: arm(engine="transformers", dtype=dtype),
        OURS: arm(batch=1, dtype=dtype),
        OURS_BATCHED: arm(batch=BATCH, dtype=dtype),
        ASSISTED: arm(engine="transformers", **draft),
        DRAFT: arm(batch=1, **draft),
        DRAFT_BATCHED: arm(batch=BATCH, **draft),
    }
    prompts = load_battery("lab-core").half("quick").limit(count).prompts
    engines = {name: make_engine(spec) for name, spec in arms.items()}
    for engine in engines.values():
        engine.open(prompts)
        list(engine.answer(prompts[:2]))
    speeds: dict[str, list[float]] = {name: [] for name in engines}
    texts: dict[str, dict[str, str]] = {}
    alpha = 0.0
    for _ in range(passes):
        for name, engine in engines.items():
            start = time.perf_counter()
            answers = list(engine.answer(prompts))
            seconds = time.perf_counter() - start
            speeds[name].append(sum(len(a.token_ids or ()) for a in answers) / seconds)
            texts[name] = {a.id: a.text for a in answers}
            if name == DRAFT:
                counted = [a.speculation for a in answers if a.speculation]
                kept = sum(s.accepted for s in counted)
                alpha = kept / (kept + sum(sum(s.histogram[:GAMMA]) for s in counted))

    def ratio(one: str, other: str) -> float:
        return round(float(np.median(np.divide(speeds[one], speeds[other]))), 2)

    cost = step_costs(
        load("lab:target", dtype, "cpu", False).model,
        load("lab:draft", dtype, "cpu", False).model,
        GAMMA,
    )
    theory = of_theory(ratio(DRAFT, OURS), alpha, GAMMA, cost)
    return {
        "plain_vs_transformers": ratio(OURS, PLAIN),
        "vs_transformers_assisted": ratio(DRAFT, ASSISTED),
        "plain_batched_vs_transformers": ratio(OURS_BATCHED, PLAIN),
        "batched_vs_transformers_assisted": ratio(DRAFT_BATCHED, ASSISTED),
        "same_outputs": all(t == texts[PLAIN] for t in texts.values()),
        "same_as_plain": {
            name: sum(text == texts[PLAIN][i] for i, text in own.items())
            for name, own in texts.items()
        },
        "of_theory": theory["of_theory"],
        "lab_theory": theory,
        "tokens_per_s": {k: round(float(np.median(v))) for k, v in speeds.items()},
        "lab": {
            "models": "lab:target (3.74 M), lab:draft (0.66 M), γ=4, greedy",
            "dtype": dtype,
            "prompts": len(prompts),
            "max_new_tokens": NEW_TOKENS,
        },
    }


def killed() -> dict[str, Any]:
    clean = all(selftest.checked(Batch).values())
    fallen = [n for n, kind in MUTANTS.items() if not all(selftest.checked(kind).values())]
    return {"mutants": len(MUTANTS), "mutants_killed": len(fallen), "decoder_clean": clean}


def big_pair(names: tuple[str, str], passes: int, *, gpu: bool) -> dict[str, Any]:
    """Contest on random weights at a chosen acceptance rate."""
    dtype, device = (torch.bfloat16, "cuda") if gpu else (torch.float32, "cpu")
    pair = random_pair(names, ALPHA, new=128 if gpu else 48, prompts=8, dtype=dtype, device=device)
    speeds: dict[str, list[float]] = {}
    same, last = True, {}
    contests = {
        PLAIN: lambda: theirs(pair, 0),
        OURS: lambda: ours(pair, 0),
        ASSISTED: lambda: theirs(pair, GAMMA),
        DRAFT: lambda: ours(pair, GAMMA),
        "ours, draft, batch 8": lambda: ours(pair, GAMMA, 8),
        "ours, plain, batch 8": lambda: ours(pair, 0, 8),
    }
    for _ in range(passes):
        for name, run in contests.items():
            last[name] = run()
            speeds.setdefault(name, []).append(last[name]["tokens_per_s"])
            same = same and last[name]["same"]

    def ratio(one: str, other: str) -> float:
        return round(float(np.median(np.divide(speeds[one], speeds[other]))), 2)

    cost = step_costs(pair.target, pair.draft, GAMMA)
    eight = step_costs(pair.target, pair.draft, GAMMA, rows=8)
    return {
        "models": f"{names[0]} / {names[1]}, random weights, {str(dtype)[6:]}, γ={GAMMA}",
        "plain_vs_transformers": ratio(OURS, PLAIN),
        "vs_transformers_assisted": ratio(DRAFT, ASSISTED),
        "batch_8_vs_1": ratio("ours, draft, batch 8", DRAFT),
        "plain_batch_8_vs_1": ratio("ours, plain, batch 8", OURS),
        "batch_8_possible": round(
            8 * (cost["tw"] + cost["proposal"]) / (eight["tw"] + eight["proposal"]), 2
        ),
        "same_outputs": same,
        "theory": of_theory(ratio(DRAFT, OURS), last[DRAFT]["alpha"], GAMMA, cost),
        "tokens_per_s": {k: round(float(np.median(v)), 1) for k, v in speeds.items()},
    }


if __name__ == "__main__":
    main()
