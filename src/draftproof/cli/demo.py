"""``draftproof demo``: a whole screen on the models that ship."""

from __future__ import annotations

import os
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from draftproof.cli.options import subset_option, verdict_json_option
from draftproof.cli.output import finish, progress_of_arms, reports_errors, stderr

if TYPE_CHECKING:
    from draftproof.records import Verdict
    from draftproof.runs import Plan
    from draftproof.runs.parallel import Workers

_REAL_JOBS = 2
"""Each has a copy of the real model."""
_REAL_MINUTES, _REAL_MEMORY = 10, 4
_JOBS = 5
"""The demo's models are small enough for a copy each, its answers too few for more."""


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run directory; the same command resumes it (default: runs/demo, runs/real).",
)
@click.option(
    "--real",
    is_flag=True,
    help="Screen a real model in place of ours, SmolLM2-135M-Instruct: it is fetched first.",
)
@subset_option("quick")
@click.option("--full", is_flag=True, hidden=True, help="Old name of --subset full.")
@verdict_json_option
@reports_errors
def demo(out: Path | None, real: bool, subset: str, full: bool, as_json: bool) -> None:
    """Screen the models that ship: two candidates must pass, the control must fail.

    Both candidates use a lossless rule; the control uses a lossy one. Needs no arguments, no
    network, and half a minute on 2 cores. The exit code is 0 if every arm ended as expected.
    --real takes minutes, and says download, disk and time before it starts.
    """
    from draftproof.runs.parallel import Workers  # noqa: PLC0415 - quick --help

    if real:
        _fetch()
    jobs = min(os.cpu_count() or 1, _REAL_JOBS if real else _JOBS)
    out = out or Path("runs") / ("real" if real else "demo")
    with Workers(jobs, ["draftproof.stacks.local"]) as workers:
        plan = real_plan() if real else demo_plan(full=full or subset == "full")
        verdict = _run(plan, workers, out, as_json=as_json)
    if not verdict.expected:
        sys.exit(verdict.exit_code or 3)


def _fetch() -> None:
    from draftproof.lab.fetch import fetch  # noqa: PLC0415 - quick --help

    def say(line: str) -> None:
        stderr().print(line, markup=False, highlight=False, soft_wrap=True)

    plan = real_plan()
    prompts = len(plan.load_battery().prompts)
    say(
        f"{len(plan.arms)} arms answer {prompts} prompts with at most "
        f"{plan.baseline.max_new_tokens} tokens: about {_REAL_MINUTES} minutes on 2 idle cores, "
        f"{_REAL_MEMORY} GB of memory"
    )
    fetch("smollm2", say)


def _run(plan: Plan, workers: Workers, out: Path, *, as_json: bool) -> Verdict:
    # after the workers have started: this takes a second, and so do their imports
    from draftproof.runs import RunDirectory  # noqa: PLC0415
    from draftproof.screen.run import run_plan  # noqa: PLC0415

    with RunDirectory(out) as run:
        with progress_of_arms(quiet=as_json) as progress:
            verdict = run_plan(plan, run, progress=progress, workers=workers)
        finish(verdict, out, as_json=as_json)
    return verdict


def real_plan() -> Plan:
    """Return the plan of the demo on a real model."""
    return _shipped_plan("real")


def _shipped_plan(name: str) -> Plan:
    from draftproof.runs import read_plan  # noqa: PLC0415 - quick --help

    with as_file(files("draftproof") / "studies" / f"{name}.yaml") as path:
        return read_plan(path)


def demo_plan(*, full: bool) -> Plan:
    """Return the plan of the demo, with its whole battery if `full`."""
    plan = _shipped_plan("demo")
    return plan.model_copy(update={"half": "full", "limit": None}) if full else plan
