"""Screen a real model, SmolLM2-135M-Instruct, on every stack that is here.

    real_model.py --part stacks --json           # all stacks, 100 prompts each
    real_model.py --stack llama.cpp --limit 10   # one stack, 10 prompts a task
    real_model.py --collect                      # what finished runs say, without asking anything

`judge_share` is judging over answering of `draftproof demo --real` (one process), `minutes` both
together; `accused` counts lossless candidates and noise arms that FAIL, `controls_caught` says
whether every control did. Runs are kept under DRAFTPROOF_STACKS/real and resumed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from draftproof.cli.demo import real_plan
from draftproof.lab.fetch import fetch
from draftproof.report import to_json
from draftproof.runs import Plan, RunDirectory, read_plan
from draftproof.screen.run import run_plan

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
STACKS = Path(os.environ.get("DRAFTPROOF_STACKS", Path.home() / ".cache/draftproof/stacks"))
PLACE = STACKS / "real"
LIBRARIES = {"transformers": "transformers", "openvino": "openvino_genai", "llama.cpp": "xllamacpp"}


def made(stack: str) -> bool:
    """Say whether a stack can be run here; export the model for OpenVINO on first use."""
    if stack == "vllm":
        return (STACKS / "vllm" / "ready").exists()
    if importlib.util.find_spec(LIBRARIES[stack]) is None:
        return False
    if stack == "openvino" and not (PLACE / "exported").is_dir():
        from draftproof.stacks.openvino.export import export  # noqa: PLC0415

        export("lab:smollm2", PLACE / "exported")
    return True


def screened(plan: Plan, name: str, share: dict[str, float] | None = None) -> None:
    """Run a plan to its end in the directory of that name and keep the verdict there.

    Args:
        plan: What is asked.
        name: Of the run.
        share: Receives `judge_share` and `minutes` where the run was not begun before.
    """
    begun = time.monotonic()
    answered = begun

    def hear(what: str, done: int, total: int) -> None:
        nonlocal answered
        print(f"{name}: {what}: {done} of {total}", file=sys.stderr)
        if what in {arm.name for arm in plan.arms}:
            answered = time.monotonic()

    run = PLACE / "runs" / name
    fresh = not run.exists()
    with RunDirectory(run) as directory:
        verdict = run_plan(plan, directory, progress=hear)
    (run / "verdict.json").write_text(to_json(verdict), "utf-8")
    if share is not None and fresh:
        ended = time.monotonic()
        share["judge_share"] = (ended - answered) / (answered - begun)
        share["minutes"] = (ended - begun) / 60
        (run / "share.json").write_text(json.dumps(share), "utf-8")


def kept(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the verdict of every finished run with its name."""
    for file in sorted(folder.glob("*/verdict.json")):
        yield file.parent.name, json.loads(file.read_text("utf-8"))


def rows(name: str, verdict: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each arm that was judged."""
    arms = verdict["environment"]["arms"]
    for role in ("noise", "candidates", "controls"):
        for one in verdict[role]:
            counts, noise = one["counts"], one.get("stack_noise") or {}
            own = noise.get("arm") or {}
            yield {
                "run": name,
                "arm": one["name"],
                "role": one["role"],
                "version": version(arms[one["name"]]),
                "state": one["state"],
                "n": counts["n"],
                "identical": counts["identical"],
                "causes": counts["divergences"],
                "positions": own.get("positions"),
                "deviations": own.get("deviations"),
                "sigma_upper": own.get("sigma_upper"),
                "margin": noise.get("margin"),
                "accepted": one["activation"]["acceptance_rate"],
            }


def version(fingerprint: Mapping[str, Any] | None) -> str | None:
    """Return the version of the stack that an arm's fingerprint tells."""
    known = fingerprint or {}
    engine = str(known.get("engine"))
    library = {"openvino": "openvino_genai", "openai": "version", "local": "torch"}
    return known.get(library.get(engine, engine))


def figures() -> dict[str, Any]:
    """Return what the finished runs say together."""
    found = [row for name, verdict in kept(PLACE / "runs") for row in rows(name, verdict)]
    judged = [r for r in found if r["role"] != "control"]
    controls = [r for r in found if r["role"] == "control"]
    share = PLACE / "runs" / "demo" / "share.json"
    measured = json.loads(share.read_text("utf-8")) if share.exists() else {}
    stacks = {r["run"]: r["version"] for r in found if r["run"] != "demo"}
    return {
        "judge_share": measured.get("judge_share"),
        "minutes": measured.get("minutes"),
        "stacks": stacks,
        "accused": sum(r["state"] == "FAIL" for r in judged),
        "controls_caught": all(r["state"] == "FAIL" for r in controls) if controls else None,
        "rows": found,
    }


def accusations(names: frozenset[str]) -> dict[str, float]:
    """Return how many lossless arms of these stacks FAIL and whether all controls do.

    NaN where nothing was run: `benchmarks/verdict.py` prints them beside its own figures.
    """
    found = [row for name, verdict in kept(PLACE / "runs") if name in names
             for row in rows(name, verdict)]  # fmt: skip
    judged = [r["state"] == "FAIL" for r in found if r["role"] != "control"]
    controls = [r["state"] == "FAIL" for r in found if r["role"] == "control"]
    return {
        "real_accused": sum(judged) if judged else math.nan,
        "real_controls_caught": float(all(controls)) if controls else math.nan,
    }


def stacks(limit: int | None, only: list[str]) -> None:
    """Screen the demo and every stack that can be run here."""
    PLACE.mkdir(parents=True, exist_ok=True)
    model = fetch("smollm2", lambda line: print(line, file=sys.stderr))
    os.environ["PATH"] = f"{STACKS / 'vllm' / 'bin'}:{os.environ['PATH']}"
    with chdir(PLACE):
        if not Path("smollm2").exists():
            Path("smollm2").symlink_to(model)
        if not only or "demo" in only:
            plan = real_plan()
            if limit is not None:
                plan = plan.model_copy(update={"limit": limit})
            screened(plan, "demo", {})
        for file in sorted(RECIPES.glob("*/smollm2.yaml")):
            if (only and file.parent.name not in only) or not made(file.parent.name):
                continue
            asked = {"limit": limit or 50}
            screened(read_plan(file).model_copy(update=asked), file.parent.name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["stacks"], default="stacks")
    parser.add_argument("--stack", action="append", default=[], help="only this one (or demo)")
    parser.add_argument("--limit", type=int, help="prompts a task (default: 50, the demo all)")
    parser.add_argument("--collect", action="store_true", help="ask nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if not options.collect:
        stacks(options.limit, options.stack)
    found = figures()
    if options.json:
        print(json.dumps(found))
        return 0
    for row in found.pop("rows"):
        print(*(f"{name}={value}" for name, value in row.items()))
    for name, value in found.items():
        print(f"{name:20} {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
