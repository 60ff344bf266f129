"""``draftproof plan``: what a plan costs and can resolve, before anything runs."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from draftproof.cli.options import SHARE, json_option
from draftproof.cli.output import progress_of_arms, reports_errors
from draftproof.cli.plan_printed import print_price, print_sizes

if TYPE_CHECKING:
    from draftproof.screen.counts.observed import ObservedFlips
    from draftproof.screen.pricing import Assumptions, Price

_SIZES = (50, 99, 157, 208, 303, 400, 521, 953)
_RARITIES = (100, 1000, 10_000)
_FILES = 2
_LEAKS = (0.01, 0.02, 0.03, 0.05, 0.10, 0.20)
_HOUR = 3600


@click.command()
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option(
    "--n",
    "sizes",
    type=click.IntRange(1),
    multiple=True,
    help="Number of prompts that both arms answer; may be repeated (default: the plan's tasks).",
)
@click.option(
    "--discordance",
    type=click.FloatRange(0, 0.5),
    default=0.01,
    show_default=True,
    help="Share of prompts whose label differs between the arms though nothing was lost.",
)
@click.option(
    "--discordance-from",
    "seen",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="RUN",
    help="Take discordance and clusters from an earlier run, at their upper 80 % bound; or "
    "from two files of answers: give the option twice.",
)
@click.option(
    "--unexplained",
    is_flag=True,
    help="Plan for a PASS at level LS: no model will find why answers differ.",
)
@click.option(
    "--scorer-error",
    type=click.FloatRange(0, 0.5, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of texts that the scorer labels wrong, independently in each arm.",
)
@click.option(
    "--margin",
    type=SHARE,
    help="Largest change of a rate that still counts as none (default: the plan's, or 0.03).",
)
@click.option(
    "--power", type=SHARE, default=0.80, show_default=True, help="Power that --n should reach."
)
@click.option(
    "--base-rate",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Share of the baseline's answers that are good, for the columns about leaks.",
)
@click.option(
    "--measure",
    type=click.IntRange(1),
    metavar="N",
    help="Ask every arm N prompts now, and compute hours from that speed (default: no hours).",
)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Compute hours from the speed that arms had in RUN (default: no hours).",
)
@click.option(
    "--check",
    is_flag=True,
    help="Only check that everything the PLAN names exists and fits together.",
)
@json_option
@reports_errors
def plan(
    plan: Path | None,
    check: bool,
    sizes: tuple[int, ...],
    discordance: float,
    seen: tuple[Path, ...],
    unexplained: bool,
    scorer_error: float,
    margin: float | None,
    power: float,
    base_rate: float,
    measure: int | None,
    like: Path | None,
    as_json: bool,
) -> None:
    """Compute what a plan costs, and what its number of prompts can show.

    PLAN is a YAML file, as `draftproof screen` takes it. Printed are its answers, tokens, power
    and, with --measure or --like, its hours. Without a PLAN, prints what numbers of prompts can
    show.
    """
    if check:
        _check(plan, as_json=as_json)
        return
    from draftproof.screen.pricing import Assumptions  # noqa: PLC0415 - quick --help
    from draftproof.stats.sizes import observed_rates, pairs_needed  # noqa: PLC0415

    if plan is None and (measure or like):
        raise click.UsageError("--measure and --like compute the hours of a PLAN; name one")
    if measure and like:
        raise click.UsageError("give --measure or --like, not both")
    observed = _observed(plan, seen)
    if observed:
        discordance = max(task.discordance for task in observed.values())
    assumed = Assumptions(
        discordance=discordance, observed=observed, scorer_error=scorer_error, power=power
    )
    priced, limit = None, margin or 0.03
    if plan is not None:
        priced, limit = _price(plan, measure, like, quiet=as_json, margin=margin, assumed=assumed)
    tasks = priced.tasks if priced else ()
    wanted = sorted({*sizes, *(t.independent for t in tasks)}) or list(_SIZES)
    psi = sum(observed_rates(0.0, discordance, scorer_error))
    needed = pairs_needed(psi, power=power, margin=limit, unexplained=unexplained)
    document = {
        "margin": limit,
        "discordance": discordance,
        "scorer_error": scorer_error,
        "wanted_power": power,
        "unexplained": unexplained,
        "observed": {name: asdict(task) for name, task in observed.items()},
        "pairs_needed": needed.n,
        "pairs_needed_why": needed.why,
        "positions": _positions(priced),
        "sizes": [_size(n, psi, limit, power, base_rate, unexplained=unexplained) for n in wanted],
        "tasks": {t.task: _task(asdict(t)) for t in tasks},
        "price": _total(priced) if priced else None,
    }
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    console = Console()
    if priced is not None:
        print_price(console, priced)
    print_sizes(console, document)


def _observed(plan: Path | None, seen: tuple[Path, ...]) -> dict[str, ObservedFlips]:
    from draftproof.runs import read_plan  # noqa: PLC0415
    from draftproof.screen.recorded import flips_of_files  # noqa: PLC0415
    from draftproof.screen.run import flips_of_run  # noqa: PLC0415

    if not seen:
        return {}
    if len(seen) == 1:
        return flips_of_run(seen[0])
    if len(seen) > _FILES:
        raise click.UsageError("--discordance-from takes one run, or two files of answers")
    return flips_of_files(
        seen[0], seen[1], battery=read_plan(plan).load_battery() if plan else None
    )


def _size(
    n: int, psi: float, margin: float, power: float, base_rate: float, *, unexplained: bool
) -> dict[str, Any]:
    from draftproof.stats.sensitivity import canned_leak, detection_curve  # noqa: PLC0415
    from draftproof.stats.sizes import detectable_loss, pass_power  # noqa: PLC0415

    loss = detectable_loss(n, psi, power=power, margin=margin)
    curve = detection_curve(n, canned_leak(base_rate, psi), _LEAKS, margin=margin)
    return {
        "n": n,
        "power": round(pass_power(n, psi, margin=margin, unexplained=unexplained), 4),
        "detectable_loss": None if math.isnan(loss) else round(loss, 4),
        "leak_detected": {
            f"{rate:g}": round(float(p), 4) for rate, p in zip(_LEAKS, curve.fail, strict=True)
        },
    }


def _positions(priced: Price | None) -> dict[str, Any]:
    """Return how many tokens must be scored to see rare leaks, and what the plan has at most."""
    from draftproof.stats.contamination import leaks_detectable  # noqa: PLC0415

    # the chance of no leak among N is (1 - 1/rarity)^N
    wanted = {str(r): math.ceil(math.log(0.05) / math.log1p(-1 / r)) for r in _RARITIES}
    if priced is None:
        return {"wanted": wanted, "candidate": None, "plain": None, "leaks_among_ties": None}
    candidate, plain = priced.positions
    leaks = leaks_detectable(plain, candidate)
    return {
        "wanted": wanted,
        "candidate": candidate,
        "plain": plain,
        "leaks_among_ties": leaks if leaks <= candidate else None,
    }


def _check(path: Path | None, *, as_json: bool) -> None:
    from draftproof.runs.plan_check import look_at  # noqa: PLC0415 - quick --help
    from draftproof.scoring import SCORERS  # noqa: PLC0415

    if path is None:
        raise click.UsageError("--check looks at a PLAN; name one")
    error = look_at(path, SCORERS)
    if as_json:
        listed = (
            [{"field": place, "message": said} for place, said in error.faults] if error else []
        )
        click.echo(json.dumps({"plan": str(path), "faults": listed}, indent=1))
        sys.exit(2 if listed else 0)
    if error is not None:
        raise error
    click.echo(f"{path}: everything that it names exists and fits together")


def _price(
    path: Path,
    measure: int | None,
    like: Path | None,
    *,
    quiet: bool,
    margin: float | None,
    assumed: Assumptions,
) -> tuple[Price, float]:
    from draftproof.runs import read_plan  # noqa: PLC0415
    from draftproof.runs.speed import measure_speeds, recorded_speeds  # noqa: PLC0415
    from draftproof.screen.pricing import price  # noqa: PLC0415

    declared = read_plan(path)
    battery = declared.load_battery()
    speeds = {}
    if measure:
        with progress_of_arms(quiet=quiet) as progress:
            speeds = measure_speeds(declared, battery, measure, progress=progress)
    elif like:
        speeds = recorded_speeds(declared, like)
    priced = price(declared, battery, speeds, margin=margin, assumed=assumed)
    return priced, declared.decision.margin if margin is None else margin


def _task(task: dict[str, Any]) -> dict[str, Any]:
    loss = task["detectable_loss"]
    rounded = {k: round(task[k], 4) for k in ("power", "error", "discordance")}
    rounded["detectable_loss"] = loss and round(loss, 4)
    return {k: v for k, v in task.items() if k != "task"} | rounded


def _total(priced: Price) -> dict[str, Any]:
    seconds = priced.seconds
    return {
        "answers": priced.answers,
        "most_tokens": priced.most_tokens,
        "tokens": None if priced.tokens is None else round(priced.tokens),
        "hours": None if seconds is None else seconds / _HOUR,
        "pass_chance": priced.pass_chance,
        "blocked": priced.blocked,
        "sequential": priced.sequential,
        "arms": [asdict(a) for a in priced.arms],
    }
