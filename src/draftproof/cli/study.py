"""``draftproof study``: a published experiment, on the models that ship or on yours."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftproof.cli.output import progress_of_arms, reports_errors
from draftproof.defence.records import DefenceStudy
from draftproof.records import DraftproofError

SHIPPED = ("ssd2025",)


@click.command()
@click.argument("study")
@click.option(
    "--subset",
    type=click.Choice(["full", "quick"]),
    default="full",
    show_default=True,
    help="Which prompts: all, or a fifth of them in a minute or two.",
)
@click.option("--quick", is_flag=True, hidden=True, help="Old name of --subset quick.")
@click.option(
    "--seed",
    "seeds",
    type=int,
    multiple=True,
    help="Seed of the prompts that ship; several are pooled (default: the study's).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run directory (default: runs/NAME); the same command resumes it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the study document only.")
@reports_errors
def study(
    study: str,
    subset: str,
    quick: bool,
    seeds: tuple[int, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the study of safety-aware decoding on the shipped models or yours.

    STUDY is ssd2025, or a YAML file like it. ssd2025 attacks the target without and with defences
    (a reminder, SafeDecoding, Speculative Safety-Aware Decoding) and measures safety, utility and
    speed. Writes study.html, study.md and study.json into the run directory.
    """
    from draftproof.defence.run import collect_study  # noqa: PLC0415
    from draftproof.defence.study import read_study  # noqa: PLC0415
    from draftproof.runs import RunDirectory  # noqa: PLC0415 - quick --help

    if study in SHIPPED:
        with as_file(files("draftproof") / "studies" / f"{study}.yaml") as path:
            declared = read_study(path)
    elif Path(study).is_file():
        declared = read_study(Path(study))
    else:
        raise DraftproofError(f"no study {study!r}: neither a file nor one of {', '.join(SHIPPED)}")
    quick = quick or subset == "quick"
    if quick:
        declared = declared.quick()
    if seeds:
        declared = declared.of_seeds(seeds)
    ending = ("-quick" if quick else "") + "".join(f"-{seed}" for seed in seeds)
    directory = out or Path("runs") / (declared.name + ending)
    with RunDirectory(directory) as run, progress_of_arms(quiet=as_json) as progress:
        try:
            collected = collect_study(declared, run, progress)
        except ModuleNotFoundError as error:
            raise DraftproofError(
                f"a study needs {error.name}; run: pip install 'draftproof[local]'"
            ) from error
    from draftproof.defence.judge import judge_study  # noqa: PLC0415
    from draftproof.defence.report import to_json, write_study  # noqa: PLC0415 - matplotlib

    result = judge_study(declared, collected, directory)
    written = write_study(result, directory)
    if as_json:
        click.echo(to_json(result))
        return
    _print(result)
    click.echo(f"report: {written['html']}")


def _print(result: DefenceStudy) -> None:
    from draftproof.defence.report import comparisons, sentences  # noqa: PLC0415 - matplotlib

    console = Console()
    attacks: dict[str, list[str]] = {}
    for task in dict.fromkeys(c.task for c in result.cells if c.role == "attack"):
        stem, _, length = task.rpartition("-")
        attacks.setdefault(stem if length.isdecimal() else task, []).append(task)
    heads = [_head(stem, tasks) for stem, tasks in attacks.items()]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for head in ("arm", *heads, "utility", "over- refusal", "time"):
        # a row must not break inside a list of lengths
        table.add_column(head, no_wrap="/" in head or head == "arm")
    for arm in result.arms:
        rates = [
            "/".join(_whole(result.attack_success(arm.name, task)) for task in tasks)
            for tasks in attacks.values()
        ]
        benign = (_whole(result.utility(arm.name)), _whole(result.over_refusal(arm.name)))
        table.add_row(arm.name, *rates, *benign, f"{arm.time_ratio:.2f}")
    console.print(table)
    console.print(
        "Percent. Attack columns: answers that refused nothing. Time: of a token, against the "
        "first arm.",
        style="dim",
        highlight=False,
    )
    for sentence in (*sentences(result), *comparisons(result)):
        console.print(sentence, highlight=False, markup=False)


def _head(stem: str, tasks: list[str]) -> str:
    """Return a column's head: the attack, and its lengths where there are several."""
    lengths = [task.removeprefix(f"{stem}-") for task in tasks if task != stem]
    return f"{stem}\n{'/'.join(lengths)}" if lengths else stem


def _whole(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"
