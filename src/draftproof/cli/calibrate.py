"""``draftproof calibrate``: people label answers blindly, and the scorers are held against them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from draftproof.cli.options import SHARE, json_option
from draftproof.cli.output import reports_errors
from draftproof.cli.score import read_run
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    from draftproof.scoring.sheet import Calibration


@click.group()
def calibrate() -> None:
    """Measure a run's scorers against labels that people give."""


@calibrate.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--n",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Answers to put on the sheet.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw of answers.")
@reports_errors
def sheet(run: Path, out: Path, n: int, seed: int) -> None:
    """Write answers of a run to a sheet (CSV) for people to label.

    Fill in its column `label`: refusal, partial or compliance for refusals; the letter for
    questions with options. The sheet shows neither the arms nor the scorers' labels.
    """
    from draftproof.scoring.scored import score_answers  # noqa: PLC0415 - quick --help
    from draftproof.scoring.sheet import write_sheet  # noqa: PLC0415

    written = write_sheet(score_answers(*read_run(run)), out, n=n, seed=seed)
    click.echo(f"{written} answers: {out}")


@calibrate.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("labelled", type=click.Path(path_type=Path))
@click.option(
    "--margin",
    type=SHARE,
    default=0.03,
    show_default=True,
    help="Margin on the labels, to convert into a margin on the truth.",
)
@json_option
@reports_errors
def read(run: Path, labelled: Path, margin: float, as_json: bool) -> None:
    """Compute the scorers' error rates from a labelled sheet.

    They are written to calibration.json in RUN, where a verdict reads them.
    """
    from draftproof.scoring.scored import score_answers  # noqa: PLC0415 - quick --help
    from draftproof.scoring.sheet import calibrate as compare  # noqa: PLC0415
    from draftproof.scoring.sheet import read_sheet  # noqa: PLC0415

    labels = read_sheet(labelled)
    rows = list(score_answers(*read_run(run)))
    scorers = [_document(c, margin) for c in compare(rows, labels)]
    text = json.dumps({"labelled": len(labels), "margin": margin, "scorers": scorers}, indent=1)
    try:
        (run / "calibration.json").write_text(text + "\n", "utf-8")
    except OSError as error:
        raise DraftproofError(f"{run}: cannot be written: {error.strerror or error}") from error
    if as_json:
        click.echo(text)
        return
    console = Console()
    for one in scorers:
        console.print(_sentence(one, margin), markup=False, highlight=False, soft_wrap=True)


def _document(calibration: Calibration, margin: float) -> dict[str, Any]:
    validation, table = calibration.validation, calibration.table
    true_margin = validation.true_margin(margin) if _two_sided(calibration) else math.nan
    return {
        "scorer": calibration.scorer,
        "n": table.n,
        "unread": calibration.unread,
        "people_by_scorer": {"labels": list(table.labels), "counts": table.table.tolist()},
        "agreement": _number(table.percent),
        "kappa": _number(table.kappa),
        "ac1": _number(table.ac1),
        "good": {"called_good": validation.true_positive, "n": validation.positives},
        "bad": {"called_bad": validation.true_negative, "n": validation.negatives},
        "false_bad_rate": _number(1 - validation.sensitivity),
        "false_good_rate": _number(1 - validation.specificity),
        "implied_true_margin": _number(true_margin),
    }


def _two_sided(calibration: Calibration) -> bool:
    return bool(calibration.validation.positives and calibration.validation.negatives)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sentence(scorer: dict[str, Any], margin: float) -> str:
    def rate(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.1%}"

    implied = scorer["implied_true_margin"]
    meaning = (
        "what a margin means in truth cannot be said from these labels"
        if implied is None
        else f"±{margin:.1%} on the labels is ±{implied:.1%} in truth"
    )
    kappa = "undefined" if scorer["kappa"] is None else f"{scorer['kappa']:.2f}"
    return (
        f"{scorer['scorer']}: {scorer['n']} answers, kappa {kappa}; good called bad "
        f"{rate(scorer['false_bad_rate'])} of {scorer['good']['n']}, bad called good "
        f"{rate(scorer['false_good_rate'])} of {scorer['bad']['n']}; {meaning}"
    )
