"""``draftproof screen``: judge a draft against its target, or run a declared plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from draftproof.cli.options import (
    accept_change_option,
    device_option,
    dtype_option,
    gamma_option,
    limit_option,
    margin_option,
    profile_option,
    require_option,
    subset_option,
    trust_option,
    verdict_json_option,
)
from draftproof.cli.output import finish, progress_of_arms, reports_errors, sign_option
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    from draftproof.runs.plan_check import PlanFaultsError

_WITH_A_PLAN = frozenset({"plan", "limit", "jobs", "out", "sign", "as_json", "require",
                          "profile",
                          "fresh", "accept_change", "retry_errors"})  # fmt: skip
"""Options that do not stand in a plan, or may be given beside it."""
_IN_A_PLAN = {
    "batteries": "edit battery",
    "subset": "edit subset",
    "margin": "edit decision.margin",
    "no_noise": "leave the noise arm out",
    "no_control": "leave the control arm out",
}
"""What to do in a plan in place of an option whose field has another name."""


@click.command()
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option("--target", help="Model of the target: directory, hub name or lab:NAME.")
@click.option("--draft", help="Model of the draft: directory, hub name or lab:NAME.")
@click.option(
    "--battery",
    "batteries",
    multiple=True,
    default=("lab-core",),
    show_default=True,
    help="Bundled name, file (.jsonl .csv .parquet .yaml) or folder; may be repeated.",
)
@subset_option("full")
@limit_option
@click.option(
    "--engine",
    type=click.Choice(["local", "transformers"]),
    default="local",
    show_default=True,
    help="Software that runs the models.",
)
@gamma_option
@click.option(
    "--rule",
    default="exact",
    show_default=True,
    help="Acceptance rule of the candidate; `draftproof rules` lists them.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Longest answer, in tokens.",
)
@dtype_option
@device_option
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Prompts that the local decoder answers together.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that generate and find causes at the same time, each with its own copy of the "
    "models.",
)
@click.option(
    "--no-noise", is_flag=True, help="Leave out the noise arm, which repeats the baseline."
)
@click.option(
    "--no-control", is_flag=True, help="Leave out the control arm, which uses a lossy rule."
)
@trust_option
@margin_option
@profile_option
@require_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run directory (default: runs/NAME-DIGEST); the same command resumes it.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Ask everything again of arms that have changed since they answered.",
)
@accept_change_option
@click.option("--retry-errors", is_flag=True, help="Ask prompts again whose answers are errors.")
@sign_option
@verdict_json_option
@reports_errors
def screen(
    plan: Path | None,
    out: Path | None,
    sign: Path | None,
    as_json: bool,
    jobs: int,
    profile: str | None,
    require: str | None,
    fresh: bool,
    accept_change: bool,
    retry_errors: bool,
    **options: Any,
) -> None:
    """Ask prompts with and without speculation, and judge the differences.

    Give either a PLAN (a YAML file), or --target and --draft. The target then answers the battery
    in four arms: alone (baseline), alone again (noise), with the draft (candidate), and with a
    lossy rule that must fail (control).
    """
    from draftproof.runs import RunDirectory  # noqa: PLC0415 - quick --help
    from draftproof.runs.parallel import Workers  # noqa: PLC0415
    from draftproof.runs.plan_check import PlanFaultsError, read_faultless  # noqa: PLC0415
    from draftproof.runs.resume import Resume  # noqa: PLC0415
    from draftproof.scoring import SCORERS  # noqa: PLC0415
    from draftproof.screen.run import run_plan  # noqa: PLC0415

    if fresh and accept_change:
        raise click.UsageError("--fresh asks changed arms again, --accept-change does not: one")
    resume = Resume("fresh" if fresh else "accept" if accept_change else "stop", retry_errors)
    if plan is not None:
        if options["target"] or options["draft"]:
            raise click.UsageError("give a PLAN or --target and --draft, not both")
        _refuse_what_a_plan_says()
        declared = read_faultless(plan, SCORERS)
        if options["limit"] is not None:
            declared = declared.model_copy(update={"limit": options["limit"]})
    else:
        if not options["target"] or not options["draft"]:
            raise click.UsageError("--target and --draft are both needed, or a PLAN")
        declared = _plan(**options)
    named = {"require": require, "profile": profile}
    changed = {field: value for field, value in named.items() if value is not None}
    if changed:
        decision = declared.decision.model_copy(update=changed)
        declared = declared.model_copy(update={"decision": decision})
    directory = out or Path("runs") / f"{declared.name}-{declared.digest[:8]}"
    with RunDirectory(directory) as run:
        with Workers(jobs) as workers, progress_of_arms(quiet=as_json) as progress:
            try:
                verdict = run_plan(declared, run, progress=progress, workers=workers, resume=resume)
            except PlanFaultsError as error:
                raise error if plan is not None else _of_options(error) from error
        finish(verdict, directory, as_json=as_json, sign=sign)
    sys.exit(verdict.exit_code)


def _of_options(error: PlanFaultsError) -> DraftproofError:
    """Return the faults of a plan that was made of options, by the options' names."""
    names = {"rule_options": "--rule", "battery": "--battery"}
    lines = []
    for place, said in error.faults:
        field = place.rpartition("].")[2].partition(".")[0].partition("[")[0]
        lines.append(f"{names.get(field, f'--{field}')}: {said.partition(' (arms[')[0]}")
    return DraftproofError("\n".join(dict.fromkeys(lines)))


def _refuse_what_a_plan_says() -> None:
    """Refuse options that a plan has fields for, all but --limit, rather than ignore them.

    Raises:
        click.UsageError: Naming the first of them.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        on_the_command_line = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if on_the_command_line and name not in _WITH_A_PLAN:
            raise click.UsageError(
                f"{parameter.opts[0]} cannot be given beside a PLAN; in the plan, "
                f"{_IN_A_PLAN.get(name, f'edit {name}')}"
            )


def _plan(
    *,
    target: str,
    draft: str,
    batteries: tuple[str, ...],
    subset: str,
    limit: int | None,
    engine: str,
    gamma: int,
    rule: str,
    no_noise: bool,
    no_control: bool,
    margin: float,
    **shared: Any,
) -> Any:
    from pydantic import ValidationError  # noqa: PLC0415

    from draftproof.runs import Plan  # noqa: PLC0415
    from draftproof.runs.plan import explain  # noqa: PLC0415

    arms: list[dict[str, Any]] = [
        {"name": "target", "role": "baseline", "engine": engine},
        {"name": "target-again", "role": "noise", "engine": engine},
        {"name": "draft", "role": "candidate", "engine": engine, "draft": draft, "rule": rule},
        {"name": "leaky-control", "role": "control", "draft": draft, "rule": "typical"},
    ]
    left_out = {"noise": no_noise, "control": no_control}
    try:
        return Plan.model_validate(
            {
                "name": "screen",
                "battery": batteries,
                "half": subset if batteries == ("lab-core",) else "full",
                "limit": limit,
                "target": target,
                "gamma": gamma,
                "arms": [a for a in arms if not left_out.get(a["role"], False)],
                "decision": {"margin": margin},
                **shared,
            }
        )
    except ValidationError as error:
        raise DraftproofError(explain(error)) from error
