"""Screen the lab pair on every stack that was made here, and print what each candidate did.

    stacks.py --json                                          # float32, 1 and 8 at a time
    stacks.py --stack vllm --plan bfloat16 --concurrency 8
    stacks.py --stack openvino --speed                        # speeds taken in turns
    stacks.py --collect                                       # the table of finished runs

Stacks are made with recipes/make.sh; transformers and OpenVINO GenAI, which need no environment of
their own, are made here if they can be imported. Runs are kept under DRAFTPROOF_STACKS and resumed.
Without --speed the ratio is that of the whole arms, which ran one after the other.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

RECIPES = Path(__file__).parents[1] / "recipes"
PLACE = Path(os.environ.get("DRAFTPROOF_STACKS", Path.home() / ".cache/draftproof/stacks"))
STACKS = ("transformers", "openvino", "llama.cpp", "vllm")
LIBRARIES = {"transformers": "transformers", "openvino": "openvino_genai"}
ONE_AT_A_TIME = frozenset({"transformers"})
NOTES = {
    "weak": "weak pair",
    "eagle3-f16": "float16 cache",
    "inprocess-float32": "in process",
    "inprocess-bfloat16": "in process",
    "inprocess-sampled": "in process",
}
CAUSES = ("tie", "leak", "fault", "truncation", "template", "unexplained")


def made(stack: str) -> bool:
    """Say whether a stack can be run; make it where that takes seconds."""
    if not (PLACE / stack / "ready").exists() and stack in LIBRARIES:
        if importlib.util.find_spec(LIBRARIES[stack]) is None:
            return False
        subprocess.run(
            ["bash", RECIPES / "make.sh", stack],
            env=os.environ | {"PYTHON": sys.executable, "DRAFTPROOF_STACKS": str(PLACE)},
            stdout=sys.stderr,
            check=True,
        )
    return (PLACE / stack / "ready").exists()


def screen(stack: str, plan: str, concurrency: int, limit: int | None) -> Path:
    """Run one screen to its end and return the run directory."""
    run = run_directory(stack, plan, concurrency, limit)
    file = declared(stack, plan, concurrency, limit)
    command: list[str | Path] = ["-m", "draftproof", "screen", file, "--out", run, "--json"]
    if run_there(stack, plan, command).returncode == 2:
        raise SystemExit(f"{stack} {plan}: the screen could not be run; delete {run} to start anew")
    return run


def declared(stack: str, plan: str, concurrency: int, limit: int | None) -> Path:
    """Write the plan of a run and return where it is."""
    run = run_directory(stack, plan, concurrency, limit)
    document = yaml.safe_load((RECIPES / stack / f"{plan}.yaml").read_text("utf-8"))
    document["name"] = run.name
    if stack not in ONE_AT_A_TIME:
        document["concurrency"] = concurrency
    if limit is not None:
        document["limit"] = limit
    file = PLACE / stack / "plans" / f"{run.name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return file


def run_there(
    stack: str, plan: str, command: list[str | Path]
) -> subprocess.CompletedProcess[bytes]:
    """Run python in a stack's directory: servers are found by name, models beside it."""
    own = plan.startswith("inprocess-")
    python = PLACE / stack / "bin" / "inprocess-python" if own else Path(sys.executable)
    return subprocess.run(
        [python, *command],
        cwd=PLACE / stack,
        env=os.environ | {"PATH": f"{PLACE / stack / 'bin'}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        check=False,
    )


def measure(stack: str, plan: str, run: Path, file: Path) -> None:
    """Take the speeds of a run's arms in turns and keep them beside the runs."""
    done = run_there(stack, plan, [Path(__file__).with_name("stacks_speed.py"), file])
    if done.returncode:
        raise SystemExit(f"{stack} {plan}: the speeds could not be taken")
    speeds(stack, run).parent.mkdir(exist_ok=True)
    speeds(stack, run).write_bytes(done.stdout)


def speeds(stack: str, run: Path) -> Path:
    return PLACE / stack / "speeds" / f"{run.name}.json"


def run_directory(stack: str, plan: str, concurrency: int, limit: int | None) -> Path:
    few = "" if limit is None else f"-{limit}"
    return PLACE / stack / "runs" / f"{stack}-{plan}-c{concurrency}{few}"


def rows(
    stack: str, plan: str, concurrency: int, verdict: dict, taken: dict[str, dict] | None = None
) -> list[dict]:
    """Return one object for every candidate and control of a verdict.

    Args:
        stack: Its name.
        plan: The plan's.
        concurrency: Prompts at a time.
        verdict: The verdict document.
        taken: Speeds that were taken in turns, by arm; otherwise those of the whole arms are given.
    """
    arms = {arm["name"]: arm for arm in verdict["arms"]}
    records = verdict["environment"]["arms"]
    specs = {arm["name"]: arm for arm in verdict["plan"]["arms"]}
    plain = arms[verdict["baseline"]]
    noise = [one["identity"] for one in verdict["noise"]]
    out = []
    for one in (*verdict["candidates"], *verdict["controls"]):
        arm, counts, proof = arms[one["name"]], one["counts"], one["activation"]
        gated = [task for task in one["tasks"] if task["gated"]]
        found = {cause: counts["divergences"].get(cause, 0) for cause in CAUSES}
        out.append(
            {
                "stack": stack,
                "plan": plan,
                "version": version(stack, records[one["name"]]),
                "method": one["name"],
                "role": one["role"],
                "dtype": specs[one["name"]]["dtype"],
                "concurrency": concurrency,
                "prompts": counts["n"],
                "identity": share(one["identity"]),
                "noise_identity": min(
                    (s for i in noise if (s := share(i)) is not None), default=None
                ),
                "ties": found["tie"],
                "leaks": found["leak"],
                "faults": found["fault"],
                "other": found["truncation"] + found["template"] + found["unexplained"],
                "lost": counts["flips"].get("loss", 0),
                "gained": counts["flips"].get("gain", 0),
                "equivalent_tasks": sum(task["state"] == "PASS" for task in gated),
                "gated_tasks": len(gated),
                "proven": proof["proven"],
                "drafted": proof["drafted"],
                "accepted": proof["accepted"],
                "verdict": one["state"],
                "as_it_must": one["expected"],
                **speed(plain, arm, (taken or {}).get(one["name"])),
            }
        )
    return out


def version(stack: str, record: dict) -> str | None:
    keys = {"transformers": "transformers", "openvino": "openvino_genai"}
    return record.get(keys.get(stack, "version"))


def share(identity: dict) -> float | None:
    return round(identity["identical"] / identity["n"], 4) if identity["n"] else None


def whole_times(verdict: dict, manifest: dict) -> dict:
    """Return the verdict without the seconds of arms whose last part alone was timed."""
    for arm in verdict["arms"]:
        if manifest["arms"].get(arm["name"], {}).get("generated") != arm["answers"]:
            arm["seconds"] = None
    return verdict


def speed(plain: dict, arm: dict, taken: dict | None) -> dict:
    """Tokens a second of an arm over those of plain decoding, server starts left out."""
    if taken is not None:
        return {"speed_ratio": taken["ratio"], "speed_range": [taken["from"], taken["to"]]}
    each = [one["tokens"] / one["seconds"] if one["seconds"] else 0 for one in (plain, arm)]
    return {"speed_ratio": round(each[1] / each[0], 2) if all(each) else None, "speed_range": None}


def markdown(table: list[dict]) -> str:
    """Return the table of docs/stacks.md."""
    names = (
        "stack", "version", "method", "dtype", "at a time", "prompts", "identical", "noise",
        "ties / leaks / faults / other", "lost / gained", "tasks equivalent", "drafted / accepted",
        "verdict", "speed",
    )  # fmt: skip
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for r in table:
        state = r["verdict"] + (" (control)" if r["role"] == "control" else "")
        who = r["stack"] + (f" ({NOTES[r['plan']]})" if r["plan"] in NOTES else "")
        cells = (
            who, r["version"], r["method"], r["dtype"], r["concurrency"], r["prompts"],
            percent(r["identity"]), percent(r["noise_identity"]),
            f"{r['ties']} / {r['leaks']} / {r['faults']} / {r['other']}",
            f"{r['lost']} / {r['gained']}", f"{r['equivalent_tasks']} of {r['gated_tasks']}",
            f"{r['drafted']:,} / {r['accepted']:,}", state,
            speed_cell(r),
        )  # fmt: skip
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def speed_cell(row: dict) -> str:
    if row["speed_ratio"] is None:
        return "–"
    if row["speed_range"] is None:
        return f"({row['speed_ratio']}×)"
    least, most = row["speed_range"]
    return f"{row['speed_ratio']}× ({least} to {most})"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", action="append", choices=STACKS, help="default: all made")
    parser.add_argument("--plan", action="append", help="float32 (default), bfloat16, weak, …")
    parser.add_argument("--concurrency", type=int, action="append", help="default: 1 and 8")
    parser.add_argument("--limit", type=int, help="prompts of every task, for a quick look")
    parser.add_argument("--speed", action="store_true", help="take speeds in turns as well")
    parser.add_argument("--collect", action="store_true", help="run nothing, read finished runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = []
    for stack in options.stack or [s for s in STACKS if made(s)]:
        for plan in options.plan or ["float32"]:
            for width in options.concurrency or [1, 8]:
                if width > 1 and (stack in ONE_AT_A_TIME or plan.startswith("eagle3")):
                    continue
                run = run_directory(stack, plan, width, options.limit)
                if not (RECIPES / stack / f"{plan}.yaml").exists():
                    continue
                if not options.collect:
                    screen(stack, plan, width, options.limit)
                if options.speed:
                    file = declared(stack, plan, width, options.limit)
                    measure(stack, plan, run, file)
                if (run / "verdict.json").exists():
                    verdict = json.loads((run / "verdict.json").read_text("utf-8"))
                    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
                    verdict = whole_times(verdict, manifest)
                    kept = speeds(stack, run)
                    taken = json.loads(kept.read_text("utf-8")) if kept.exists() else None
                    table += rows(stack, plan, width, verdict, taken)
    print(json.dumps(table, indent=1) if options.json else markdown(table))


if __name__ == "__main__":
    main()
