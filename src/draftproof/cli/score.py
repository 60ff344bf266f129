"""``draftproof score``: label the answers of a run again, generating nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    from draftproof.battery import Battery
    from draftproof.runs.labels import Origin
    from draftproof.scoring.judges import Backend, Format, JudgedAnswers
    from draftproof.scoring.scored import Answers, Scored


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--scorer",
    help="Scorer for the prompts whose construct it measures (default: each task's own).",
)
@click.option("--judge", help="Guard or judge in place of a scorer; an unknown name lists them.")
@click.option(
    "--rubric", type=click.Path(path_type=Path), help="Rubric (YAML) for a judge of your own."
)
@click.option(
    "--judge-template",
    type=click.Path(path_type=Path),
    help="Template or model card, for guards whose template may not ship (default: the card of "
    "--model).",
)
@click.option("--endpoint", help="Address of the judge's OpenAI-compatible server.")
@click.option(
    "--model",
    help="Name of the judge at the endpoint, or the model: directory, hub name or lab:NAME.",
)
@click.option("--api-key-env", help="Name of the environment variable with the endpoint's key.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the order in which the judge is asked.",
)
@click.option(
    "--keep",
    metavar="NAME",
    help="Keep a judge's labels in RUN under this name, for `draftproof rejudge --labels NAME` "
    "(default: the judge's name).",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write one JSON line for each answer to."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line for each answer.")
@reports_errors
def score(
    run: Path,
    scorer: str | None,
    judge: str | None,
    rubric: Path | None,
    judge_template: Path | None,
    endpoint: str | None,
    model: str | None,
    api_key_env: str | None,
    seed: int,
    keep: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Label the answers of a run with a scorer or a judge.

    Prints a summary of the labels for each arm. The labels of a judge are kept in RUN;
    `draftproof rejudge --labels` makes a verdict that uses them.
    """
    from draftproof.scoring import scorer_named  # noqa: PLC0415 - quick --help
    from draftproof.scoring.judges import origin_of  # noqa: PLC0415
    from draftproof.scoring.scored import judge_arms, score_answers, summary  # noqa: PLC0415

    judged: JudgedAnswers | None = None
    kept: Path | None = None
    if judge or rubric:
        if scorer:
            raise click.UsageError("give --scorer or a judge, not both")
        format_ = _format(judge, rubric, judge_template).with_card(model)
        name = _free_name(keep or format_.name)
        backend = _backend(endpoint, model, api_key_env)
        battery, answers = read_run(run)
        rows, judged = judge_arms(battery, answers, format_, backend, seed)
        origin = origin_of(format_, judged, battery, model=model, endpoint=endpoint, seed=seed)
        kept = _keep(run, name, origin, rows, judged)
    else:
        if keep:
            raise click.UsageError(
                "--keep keeps a judge's labels; a scorer is named again: rejudge --labels SCORER"
            )
        chosen = scorer_named(scorer, "--scorer") if scorer else None
        rows = list(score_answers(*read_run(run), chosen))
    lines = [json.dumps(line, ensure_ascii=False) for line in _lines(rows, judged)]
    if out is not None:
        _write(out, lines)
    if as_json:
        click.echo("\n".join(lines))
        return
    _print(summary(rows))
    if judged is not None:
        _print_judged(judged)
    if kept is not None:
        stderr().print(
            f"labels kept: {kept}\n"
            f"a verdict by them: draftproof rejudge {run} --labels {kept.stem}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def read_run(path: Path) -> tuple[Battery, Answers]:
    """Return the battery and the answers of a run that was made from a plan.

    Raises:
        DraftproofError: No such run.
    """
    from draftproof.runs import Plan, RunDirectory  # noqa: PLC0415 - quick --help

    if not (path / "manifest.json").is_file():
        raise DraftproofError(f"{path}: holds no run (no manifest.json)")
    with RunDirectory(path) as directory:
        manifest = directory.manifest()
        if "plan" not in manifest:
            raise DraftproofError(f"{path}: its manifest holds no plan; it cannot be scored again")
        plan = Plan.model_validate(manifest["plan"])
        answers = {arm.name: directory.log(arm.name).read() for arm in plan.arms}
    return plan.load_battery(), answers


def _format(judge: str | None, rubric: Path | None, template: Path | None) -> Format:
    from draftproof.scoring.judges import format_named, read_rubric  # noqa: PLC0415

    if judge and rubric:
        raise click.UsageError("give --judge or --rubric, not both")
    judge_format = read_rubric(rubric) if rubric else format_named(judge or "")
    return judge_format if template is None else judge_format.with_template(template)


def _backend(endpoint: str | None, model: str | None, api_key_env: str | None) -> Backend:
    from draftproof.stacks.judges import Endpoint, LocalModel  # noqa: PLC0415

    if endpoint:
        return Endpoint(endpoint, model, api_key_env)
    if model:
        return LocalModel(model)
    raise click.UsageError("a judge needs --endpoint URL, or --model with a local directory")


def _free_name(name: str) -> str:
    from draftproof.runs.labels import checked_name  # noqa: PLC0415
    from draftproof.scoring import SCORERS  # noqa: PLC0415

    if name in SCORERS:
        raise DraftproofError(
            f"labels cannot be kept as {name!r}, which is a scorer's name; name them with --keep"
        )
    return checked_name(name)


def _keep(run: Path, name: str, origin: Origin, rows: list[Scored], judged: JudgedAnswers) -> Path:
    from draftproof.runs import RunDirectory  # noqa: PLC0415
    from draftproof.runs.labels import write_labels  # noqa: PLC0415

    labelled = (
        (row.completion, row.label, judged.raw.get((row.arm, row.prompt.id)))
        for row in rows
        if row.label is not None
    )
    with RunDirectory(run):
        return write_labels(run, name, origin, labelled)


def _lines(rows: list[Scored], judged: JudgedAnswers | None) -> list[dict[str, Any]]:
    if judged is None:
        return [row.row() for row in rows]
    return [{**r.row(), "judge": judged.raw.get((r.arm, r.prompt.id))} for r in rows]


def _write(path: Path, lines: list[str]) -> None:
    try:
        path.write_text("\n".join(lines) + "\n", "utf-8")
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be written: {error.strerror or error}") from error
    stderr().print(f"labels: {path}", markup=False, highlight=False)


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("arm and task", "n", "good", "unread"):
        table.add_column(heading, no_wrap=True)
    table.add_column("labels, and how answers broke down", overflow="fold")
    for row in rows:
        labels = ", ".join(f"{k} {v}" for k, v in row["labels"].items())
        broken = ", ".join(f"{k} {v}" for k, v in row["degenerate"].items())
        table.add_row(
            escape(f"{row['arm']}\n  {row['task']} ({row['scorer'] or 'no scorer'})"),
            str(row["n"]),
            "" if row["good"] is None else f"{row['good']:.1%}",
            str(row["unread"]),
            escape(labels + (f"; {broken}" if broken else "")),
        )
    console = Console()
    console.print(table)
    for row in rows:
        for name, found in row.get("bbq", {}).items():
            console.print(
                f"{row['arm']}, {row['task']}, {name}: accuracy {found['accuracy']:.1%}, "
                f"bias score {found['bias']:+.3f}",
                markup=False, highlight=False,
            )  # fmt: skip


def _print_judged(judged: JudgedAnswers) -> None:
    agreed = judged.self_agreement
    repeat = "" if agreed is None else f", {agreed:.0%} of {judged.repeated} repeats labelled alike"
    Console().print(
        f"judge: {judged.asked} distinct exchanges, {judged.unparsed} unparsed, "
        f"{judged.errors} errors, {judged.cut} cut{repeat}",
        markup=False, highlight=False,
    )  # fmt: skip
