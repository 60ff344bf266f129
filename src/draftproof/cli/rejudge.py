"""``draftproof rejudge``: score and judge a finished run again, generating nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from draftproof.cli.options import (
    SHARE,
    accept_change_option,
    profile_option,
    require_option,
    unread_option,
    verdict_json_option,
)
from draftproof.cli.output import finish, progress_of_arms, reports_errors, sign_option
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    from draftproof.battery import Battery
    from draftproof.scoring.kept import Labelling


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--margin",
    type=SHARE,
    help="Largest change of a rate that still counts as none (default: the plan's).",
)
@click.option(
    "--labels",
    "named",
    multiple=True,
    metavar="NAME[=TASK,...]",
    help="Use labels that `draftproof score --judge` kept in RUN, or another scorer. They replace "
    "the scorers that measure the same thing, or those of the tasks named.",
)
@accept_change_option
@profile_option
@require_option
@unread_option
@sign_option
@verdict_json_option
@click.option("--detail", is_flag=True, help="Show every task of every arm.")
@reports_errors
def rejudge(
    run: Path,
    margin: float | None,
    profile: str | None,
    require: str | None,
    accept_change: bool,
    named: tuple[str, ...],
    unread: tuple[str, ...],
    sign: Path | None,
    as_json: bool,
    detail: bool,
) -> None:
    """Score and judge the answers of a run again, without generating.

    Use it for another scorer, the labels of a judge, another margin, or to write the reports again.
    """
    from draftproof.runs import Plan, RunDirectory  # noqa: PLC0415 - quick --help
    from draftproof.runs.manifest import Manifest  # noqa: PLC0415
    from draftproof.runs.resume import Resume, check_arms, take_up  # noqa: PLC0415
    from draftproof.screen.run import SCORES, judge_run  # noqa: PLC0415
    from draftproof.screen.stack_noise.scores import RunScores  # noqa: PLC0415

    if not (run / "manifest.json").is_file():
        raise DraftproofError(f"{run}: holds no run (no manifest.json)")
    with RunDirectory(run) as directory:
        manifest = directory.manifest()
        if "plan" not in manifest:
            raise DraftproofError(f"{run}: its manifest holds no plan; it cannot be judged again")
        plan = Plan.model_validate(manifest["plan"])
        named_now = {"margin": margin, "require": require, "profile": profile}
        changed = {name: value for name, value in named_now.items() if value is not None}
        decision = plan.decision.model_copy(update=changed)
        plan = plan.model_copy(update={"decision": decision})
        battery = plan.load_battery()
        held = Manifest(manifest)
        take_up(directory, held)
        resume = Resume("accept" if accept_change else "stop")
        check_arms(plan, battery, directory, held, resume, None)
        manifest = directory.manifest()
        answers = {arm.name: directory.log(arm.name).read() for arm in plan.arms}
        labelling = _labelling(run, battery, named)
        labelling = replace(labelling, unread=frozenset(unread))
        with progress_of_arms(quiet=as_json) as progress:
            scores = RunScores(plan.arms, battery, plan.rescore, run / SCORES, progress)
            verdict = judge_run(
                plan, battery, answers, manifest, directory.calibration(), labelling, scores=scores
            )
        finish(verdict, run, as_json=as_json, detail=detail, sign=sign)
    sys.exit(verdict.exit_code)


def _labelling(run: Path, battery: Battery, named: tuple[str, ...]) -> Labelling:
    from draftproof.runs.labels import label_names, read_labels  # noqa: PLC0415
    from draftproof.scoring import SCORERS  # noqa: PLC0415
    from draftproof.scoring.kept import Substitute, substitute_labels  # noqa: PLC0415

    substitutes = []
    for one in named:
        name, _, tasks = one.partition("=")
        scorer = None if name in label_names(run) else SCORERS.get(name)
        source = scorer or read_labels(run, name)
        substitutes.append(Substitute(source, tuple(t for t in tasks.split(",") if t)))
    return substitute_labels(battery, substitutes)
