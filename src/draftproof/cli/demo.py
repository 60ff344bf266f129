"""``draftproof demo``: a whole screen on the models that ship."""

from __future__ import annotations

import os
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from draftproof.cli.options import subset_option, verdict_json_option
from draftproof.cli.output import finish, progress_of_arms, reports_errors

if TYPE_CHECKING:
    from draftproof.records import Verdict
    from draftproof.runs import Plan
    from draftproof.runs.parallel import Workers

_JOBS = 5
"""The demo's models are small enough for a copy each, its answers too few for more."""


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Run directory; the same command resumes it.",
)
@subset_option("quick")
@click.option("--full", is_flag=True, hidden=True, help="Old name of --subset full.")
@verdict_json_option
@reports_errors
def demo(out: Path, subset: str, full: bool, as_json: bool) -> None:
    """Screen the models that ship: two candidates must pass, the control must fail.

    Both candidates use a lossless rule; the control uses a lossy one. Needs no arguments, no
    network, and half a minute on 2 cores. The exit code is 0 if every arm ended as expected.
    """
    from draftproof.runs.parallel import Workers  # noqa: PLC0415 - quick --help

    with Workers(min(os.cpu_count() or 1, _JOBS), ["draftproof.stacks.local"]) as workers:
        verdict = _run(workers, out, full=full or subset == "full", as_json=as_json)
    if not verdict.expected:
        sys.exit(verdict.exit_code or 3)


def _run(workers: Workers, out: Path, *, full: bool, as_json: bool) -> Verdict:
    # after the workers have started: this takes a second, and so do their imports
    from draftproof.runs import RunDirectory  # noqa: PLC0415
    from draftproof.screen.run import run_plan  # noqa: PLC0415

    plan = demo_plan(full=full)
    with RunDirectory(out) as run:
        with progress_of_arms(quiet=as_json) as progress:
            verdict = run_plan(plan, run, progress=progress, workers=workers)
        finish(verdict, out, as_json=as_json)
    return verdict


def demo_plan(*, full: bool) -> Plan:
    """Return the plan of the demo, with its whole battery if `full`."""
    from draftproof.runs import read_plan  # noqa: PLC0415 - quick --help

    with as_file(files("draftproof") / "studies" / "demo.yaml") as path:
        plan = read_plan(path)
    return plan.model_copy(update={"half": "full", "limit": None}) if full else plan
