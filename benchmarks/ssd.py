"""Speculative Safety-Aware Decoding: against the literal procedure, and what it costs and buys.

Usage: python benchmarks/ssd.py [--quick] [--json] [--run DIRECTORY]

Three parts. Speed: a target of about 120 M and an expert of about 20 M parameters with random
weights; so that they agree as often as a real pair, both follow one bigram on a share of the
tokens (a synthetic match rate: both models run in full). The literal procedure without caches
answers the same prompt. Sizes: other pairs, match rates and γ against the target alone
(`ssd_sizes.py`). Safety: `draftproof study ssd2025` on the models that ship.

How far it is goes to stderr, with the result of each part as soon as it is there; stdout is for the
whole. With --run the study's answers are kept there, and the same command resumes them.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.rules import SafetyAware
from draftproof.stacks import models
from ssd_pair import VOCABULARY, Shape, break_even, costs, follow, llama, median, size
from ssd_reference import literal_ssd
from ssd_sizes import PAIRS, SHAPES, sizes

GAMMA, NEW = 3, 256
_PEAK = 6.0
"""Logit of the bigram's successor."""
_SECONDS = 40.0
"""What a pair of the sizes may take, about."""


def main() -> None:
    """Run the parts that were asked for and print one result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer prompts and tokens, two sizes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--tiny", action="store_true", help="small models, to see that it runs")
    parser.add_argument("--skip-study", action="store_true", help="without the safety part")
    parser.add_argument("--skip-sizes", action="store_true", help="without the other pairs")
    parser.add_argument("--study", type=Path, help="study.json of a finished run, not run again")
    parser.add_argument("--run", type=Path, help="run directory of the study; resumed if it exists")
    parser.add_argument("--new", type=int, help="new tokens of the speed part")
    parser.add_argument("--agree", type=float, default=0.85, help="wanted share of matches")
    asked = parser.parse_args()
    if asked.study is not None and not asked.study.is_file():
        parser.error(f"--study {asked.study}: no such file")
    torch.set_num_threads(1)
    new = asked.new or (16 if asked.tiny else 64 if asked.quick else NEW)
    shapes = (SHAPES["tiny"], SHAPES["tinier"]) if asked.tiny else (SHAPES["120M"], SHAPES["20M"])
    few = asked.quick or asked.tiny
    found = told("speed", speed(shapes, new, asked.agree, passes=1 if few else 3))
    if not asked.skip_sizes:
        pairs = (("tiny", "tinier"),) if asked.tiny else PAIRS[: 2 if asked.quick else None]
        seconds = 2.0 if asked.tiny else _SECONDS / 2 if asked.quick else _SECONDS
        found["sizes"] = sizes(pairs, seconds=seconds, say=say)
    if not asked.skip_study:
        found |= told("study", safety(asked.study, asked.run, quick=few))
    found["lab"] = told("lab", lab_costs())
    found["configuration"] = {
        "gamma": GAMMA,
        "new_tokens": new,
        "threads": 1,
        "dtype": "float32",
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:32} {value}")


def say(text: str) -> None:
    """Say on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


def told(part: str, found: dict[str, Any]) -> dict[str, Any]:
    """Say the result of a part, so that a later one that fails does not take it along."""
    say(f"{part}: {json.dumps(found)}")
    return found


def speed(shapes: tuple[Shape, Shape], new: int, agree: float, passes: int) -> dict[str, Any]:
    """Time our decoder, the literal procedure and the target alone on the random pair."""
    expert, target = model(shapes[1], 2, agree), model(shapes[0], 1, agree)
    # the decoder may lay weights out anew for speed, so the literal procedure has its own models
    literal_pair = model(shapes[0], 1, agree), model(shapes[1], 2, agree)
    parameters = {"target": size(target), "expert": size(expert)}
    own, helper = CausalModel(target, "target"), CausalModel(expert, "expert")
    rule = SafetyAware.preset("llama2")
    prompt = torch.randint(
        1, VOCABULARY, (32,), generator=torch.Generator().manual_seed(3)
    ).tolist()
    ask = [Request(id="a", prompt=tuple(prompt), max_new_tokens=new)]

    def ours(gamma: int) -> Any:
        (answer,) = decode(own, ask, Settings(eos=(), drafter=DraftModel(helper, gamma), rule=rule))
        return answer

    def alone() -> Any:
        (answer,) = decode(own, ask, Settings(eos=()))
        return answer

    short = [Request(id="w", prompt=tuple(prompt), max_new_tokens=8)]
    list(decode(own, short, Settings(eos=(), drafter=DraftModel(helper, GAMMA), rule=rule)))
    taken: dict[str, list[float]] = {"ours": [], "alone": []}
    busy: dict[str, list[float]] = {"ours": [], "alone": []}
    for number in range(passes):
        say(f"speed: pass {number + 1} of {passes}, {new} tokens")
        for name, run in (("ours", lambda: ours(GAMMA)), ("alone", alone)):
            start, start_busy = time.perf_counter(), time.process_time()
            answer = run()
            taken[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - start_busy)
            if name == "ours":
                steered = answer
    say("speed: the literal procedure, which reads the whole text for every token")
    start, start_busy = time.perf_counter(), time.process_time()
    tokens, modes = literal_ssd(
        *literal_pair, prompt, prompt, rule, gamma=GAMMA, new=new, eos=frozenset()
    )
    literal, literal_busy = time.perf_counter() - start, time.process_time() - start_busy
    plan = _costs(own, helper, len(prompt) + new // 2)
    letters = "".join(steered.provenance)
    alpha = letters.count("d") / max(letters.count("d") + letters.count("c"), 1)
    return {
        "vs_no_cache": round(literal / median(taken["ours"]), 2),
        # seconds of the one thread, which other work on the machine does not lengthen much
        "vs_no_cache_cpu": round(literal_busy / median(busy["ours"]), 2),
        "time_ratio_120m_20m_cpu": round(median(busy["ours"]) / median(busy["alone"]), 3),
        "identical_to_reference": steered.tokens == tokens and steered.modes == modes,
        "time_ratio_120m_20m": round(
            median(a / b for a, b in zip(taken["ours"], taken["alone"], strict=True)), 3
        ),
        "tokens_per_s": {
            "ours": round(new / median(taken["ours"]), 2),
            "target alone": round(new / median(taken["alone"]), 2),
            "literal": round(new / literal, 2),
        },
        "match_rate": round(alpha, 3),
        **plan,
        "parameters": parameters,
    }


def lab_costs() -> dict[str, Any]:
    """Return c, t and the break-even match rate of the models that ship."""
    own, helper = (models.load(f"lab:{n}", "float32", "cpu").model for n in ("target", "expert"))
    return _costs(own, helper, 96)


def _costs(own: CausalModel, helper: CausalModel, length: int) -> dict[str, Any]:
    c, widths = costs(own, helper, length, [GAMMA])
    t = widths[GAMMA]
    even = break_even(GAMMA, c, t)
    return {"c": round(c, 3), "t_width": round(t, 3), "break_even_match_rate": even}


def model(shape: Shape, seed: int, agree: float) -> Any:
    """Return a Llama with random weights that follows a shared bigram on a share of tokens.

    Each token's successor is written into the head as the token's own embedding, the same
    successor in every model, for a share of the vocabulary; after the other tokens a model follows
    its own noise. Nothing else is shared, and every model runs in full.
    """
    made = llama(shape, seed)
    shared = torch.Generator().manual_seed(0)
    successor = torch.randperm(VOCABULARY, generator=shared)
    follow(made, successor, torch.rand(VOCABULARY, generator=shared) < agree, _PEAK)
    return made


def safety(document: Path | None, run: Path | None, *, quick: bool) -> dict[str, Any]:
    """Return the figures of the study on the models that ship.

    Args:
        document: study.json of a finished run; None runs it.
        run: Where the run is kept; None keeps nothing.
        quick: A fifth of the prompts.
    """
    if document is None:
        with tempfile.TemporaryDirectory() as folder:
            place = run or Path(folder)
            options = ["--quick"] if quick else []
            command = [sys.executable, "-m", "draftproof", "study", "ssd2025", *options,
                       "--out", str(place)]  # fmt: skip
            # its progress and its table go where ours goes
            done = subprocess.run(command, check=False, stdout=sys.stderr)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)}: ended with {done.returncode}")
            found = json.loads((place / "study.json").read_text("utf-8"))["summary"]
    else:
        found = json.loads(document.read_text("utf-8"))["summary"]
    target, ssd, paper = found["target"], found["ssd-fixed"], found["ssd-paper"]

    def prefilled(arm: dict[str, Any], scorer: str) -> float:
        rates = [v for k, v in arm[f"attack_success_{scorer}"].items() if k.startswith("prefill")]
        return round(sum(rates) / len(rates), 4)

    return {
        "average_token_time_ratio": round(ssd["average_token_time_ratio"], 3),
        "attack_success_target": prefilled(target, "refusal"),
        "attack_success_ssd": prefilled(ssd, "refusal"),
        "attack_success_ssd_paper": prefilled(paper, "refusal"),
        "harm_target": prefilled(target, "harm"),
        "harm_ssd": prefilled(ssd, "harm"),
        "harm_ssd_paper": prefilled(paper, "harm"),
        "utility_target": round(target["utility"], 4),
        "utility_ssd": round(ssd["utility"], 4),
        "over_refusal_target": round(target["over_refusal"], 4),
        "over_refusal_ssd": round(ssd["over_refusal"], 4),
    }


if __name__ == "__main__":
    main()
