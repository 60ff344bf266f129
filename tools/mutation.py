"""Mutation testing of what decides a verdict: ``make mutation``, not part of the tests.

mutmut plants one small fault at a time into the modules that ``[tool.mutmut]`` of pyproject.toml
names and runs the tests of that room that reach it. A seeded sample is taken, because all mutants
would take hours. The outcome is written to benchmarks/mutants.json with the commit and the date.

A mutant that survives is killed by a new test, or listed in tools/equivalent_mutants.toml with
the reason why no test can tell it from the code.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "mutants.json"
EQUIVALENT = ROOT / "tools" / "equivalent_mutants.toml"
_NO_SUCH = "no.such.module*"
_SURVIVED = frozenset({0, 5, 33})
"""Exit codes of pytest and mutmut: all passed, or no test reached the mutant."""


def mutmut(*arguments: str, quiet: bool = True) -> str:
    """Run mutmut in the project's root and return what it prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, text=True, check=False, stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout or ""


def outcomes() -> dict[str, int | None]:
    """Return the exit code of every mutant that was made, None of those that were not run."""
    codes: dict[str, int | None] = {}
    for file in sorted((ROOT / "mutants").rglob("*.meta")):
        codes |= json.loads(file.read_text("utf-8"))["exit_code_by_key"]
    return codes


def changed_line(name: str) -> str:
    """Return the line that a mutant puts in, which names it across versions of the code."""
    diff = mutmut("show", name).splitlines()
    added = [line[1:].strip() for line in diff if line.startswith("+") and line[:3] != "+++"]
    return " ".join(added)


def main() -> None:
    """Make the mutants, run a sample of them, and write down what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=600, help="mutants to run (default 600)")
    parser.add_argument("--seed", type=int, default=8, help="of the sample (default 8)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default 2)")
    chosen = parser.parse_args()
    print("making the mutants, and finding which tests reach them")
    problem = mutmut("run", _NO_SUCH)
    made = sorted(outcomes())
    if not made:
        sys.exit(f"no mutant was made; mutmut says: {problem[-2000:]}")
    sample = random.Random(chosen.seed).sample(made, min(chosen.sample, len(made)))
    print(f"running {len(sample)} of {len(made):,} mutants")
    mutmut("run", "--max-children", str(chosen.jobs), *sample, quiet=False)
    codes = outcomes()
    survivors = {name: changed_line(name) for name in sample if codes[name] in _SURVIVED}
    not_run = sum(codes[name] is None for name in sample)
    reasons = tomllib.loads(EQUIVALENT.read_text("utf-8")) if EQUIVALENT.exists() else {}
    equivalent = {n: reasons[line] for n, line in survivors.items() if line in reasons}
    judged = len(sample) - not_run - len(equivalent)
    killed = judged - (len(survivors) - len(equivalent))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, text=True, check=True, capture_output=True
    ).stdout.strip()
    record = {
        "commit": commit,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": chosen.seed,
        "mutants": len(made),
        "sampled": len(sample),
        "not_run": not_run,
        "equivalent": len(equivalent),
        "killed": killed,
        "mutants_killed": killed / judged if judged else None,
        "survivors": {n: line for n, line in sorted(survivors.items()) if n not in equivalent},
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(f"\n{killed} of {judged} killed; see {RECORD.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
