"""``draftproof plan``: what a plan costs and can resolve, before anything runs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from draftproof.cli.options import SHARE, json_option
from draftproof.cli.output import progress_of_arms, reports_errors

if TYPE_CHECKING:
    from draftproof.screen.pricing import Price

_SIZES = (50, 99, 157, 208, 303, 400, 521, 953)
_LEAKS = (0.01, 0.02, 0.03, 0.05, 0.10, 0.20)
_SHOWN = (0.02, 0.05, 0.10)
_BAR = 14
_HOUR, _MINUTE = 3600, 60


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
@json_option
@reports_errors
def plan(
    plan: Path | None,
    sizes: tuple[int, ...],
    discordance: float,
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
    from draftproof.stats.planning import plan as tabulate  # noqa: PLC0415 - quick --help
    from draftproof.stats.sensitivity import canned_leak, detection_curve  # noqa: PLC0415

    if plan is None and (measure or like):
        raise click.UsageError("--measure and --like compute the hours of a PLAN; name one")
    if measure and like:
        raise click.UsageError("give --measure or --like, not both")
    priced: Price | None = None
    if plan is not None:
        priced, limit = _price(
            plan,
            measure,
            like,
            quiet=as_json,
            margin=margin,
            assumed={"discordance": discordance, "scorer_error": scorer_error, "power": power},
        )
    else:
        limit = margin or 0.03
    wanted = sorted({*sizes, *(t.independent for t in (priced.tasks if priced else ()))})
    wanted = wanted or list(_SIZES)
    design = tabulate(wanted, discordance, scorer_error=scorer_error, margin=limit, power=power)
    leak = canned_leak(base_rate, discordance)
    rows: list[dict[str, Any]] = []
    for n, chance, loss in zip(wanted, design.power, design.detectable_loss, strict=True):
        curve = detection_curve(n, leak, _LEAKS, margin=limit, gross_margin=limit)
        rows.append(
            {
                "n": n,
                "power": round(float(chance), 4),
                "detectable_loss": None if math.isnan(loss) else round(float(loss), 4),
                "leak_detected": {
                    f"{rate:g}": round(float(p), 4)
                    for rate, p in zip(_LEAKS, curve.fail, strict=True)
                },
            }
        )
    document = {
        "margin": limit,
        "discordance": discordance,
        "scorer_error": scorer_error,
        "wanted_power": power,
        "pairs_needed": design.needed,
        "sizes": rows,
        "tasks": {t.task: _task(asdict(t)) for t in priced.tasks} if priced else {},
        "price": _total(priced) if priced else None,
    }
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    console = Console()
    if priced is not None:
        _print_price(console, priced)
    _print_sizes(console, document)


def _price(
    path: Path,
    measure: int | None,
    like: Path | None,
    *,
    quiet: bool,
    margin: float | None,
    assumed: dict[str, float],
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
    priced = price(declared, battery, speeds, margin=margin, **assumed)
    return priced, declared.decision.margin if margin is None else margin


def _task(task: dict[str, Any]) -> dict[str, Any]:
    loss = task["detectable_loss"]
    rounded = {"power": round(task["power"], 4), "detectable_loss": loss and round(loss, 4)}
    return {k: v for k, v in task.items() if k != "task"} | rounded


def _total(priced: Price) -> dict[str, Any]:
    seconds = priced.seconds
    return {
        "answers": priced.answers,
        "most_tokens": priced.most_tokens,
        "tokens": None if priced.tokens is None else round(priced.tokens),
        "hours": None if seconds is None else seconds / _HOUR,
        "pass_chance": priced.pass_chance,
        "sequential": priced.sequential,
        "arms": [asdict(a) for a in priced.arms],
    }


def _print_price(console: Console, priced: Price) -> None:
    tasks = Table("task", "prompts", "independent", "answers", "decides", box=SIMPLE_HEAD)
    for task in priced.tasks:
        cells = (task.prompts, task.independent, task.answers)
        tasks.add_row(escape(task.task), *map(str, cells), "yes" if task.gated else "no")
    console.print(tasks)
    arms = Table("arm", "answers", "tokens at most", "expected", "time", box=SIMPLE_HEAD)
    for arm in priced.arms:
        arms.add_row(
            escape(arm.arm),
            f"{arm.answers:,}",
            f"{arm.most_tokens:,}",
            "-" if arm.tokens is None else f"{arm.tokens:,.0f}",
            _duration(arm.seconds),
        )
    tokens = "-" if priced.tokens is None else f"{priced.tokens:,.0f}"
    total = (f"{priced.answers:,}", f"{priced.most_tokens:,}", tokens, _duration(priced.seconds))
    arms.add_row("together", *total, style="bold")
    console.print(arms)
    sources = sorted({a.source for a in priced.arms if a.source})
    lines = [f"Speed: {', '.join(sources)}; arms one after the other, forensics not counted."]
    if not sources:
        lines = ["No speed is known: give --measure N or --like RUN for tokens and hours."]
    if priced.sequential:
        lines.append("The plan may stop earlier: this is the most that it costs.")
    if priced.pass_chance is not None:
        lines.append(
            f"If nothing was lost, every deciding task passes with {priced.pass_chance:.0%} "
            "(equal bytes always pass)."
        )
    for line in lines:
        console.print(escape(line), highlight=False)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < _HOUR else f"{seconds / _HOUR:.1f} h"


def _print_sizes(console: Console, document: dict[str, Any]) -> None:
    table = Table(
        "n", "P(PASS)", "", "least loss", *(f"leak {r:.0%}" for r in _SHOWN), box=SIMPLE_HEAD
    )
    for row in document["sizes"]:
        loss = row["detectable_loss"]
        table.add_row(
            str(row["n"]),
            f"{row['power']:.2f}",
            "█" * round(row["power"] * _BAR),
            "-" if loss is None else f"{100 * loss:.1f} points",
            *(f"{row['leak_detected'][f'{r:g}']:.2f}" for r in _SHOWN),
        )
    console.print(table)
    console.print(
        f"P(PASS): if nothing was lost and {document['discordance']:.1%} of the labels differ by "
        f"chance. Least loss: shown with {document['wanted_power']:.0%} power. Leak: P(FAIL) if "
        "that share of the answers leaks into bad ones.",
        style="dim",
        highlight=False,
    )
    needed = document["pairs_needed"]
    what = f"±{document['margin']:.0%} at {document['wanted_power']:.0%} power"
    if needed is None:
        console.print(f"{what} is out of reach at this discordance.", highlight=False)
    else:
        console.print(f"{what} needs {needed} independent prompts per task.", highlight=False)
