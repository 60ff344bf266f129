"""``draftproof compare``: judge two files of recorded answers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from draftproof.cli.options import margin_option, require_option, unread_option, verdict_json_option
from draftproof.cli.output import finish, reports_errors, sign_option


def _columns(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    named = {}
    for part in (p for text in value for p in text.split(",")):
        field, equals, column = part.partition("=")
        if not equals or not field.strip() or not column.strip():
            raise click.BadParameter(f"{part!r} is not FIELD=COLUMN, like text=completion")
        named[field.strip()] = column.strip()
    return named


@click.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("candidate", type=click.Path(path_type=Path))
@click.option(
    "--columns",
    multiple=True,
    callback=_columns,
    metavar="FIELD=COLUMN,…",
    help="Columns with unusual names: text=completion,label=final_label. Fields: id, "
    "text, task, prompt, label, token_ids, finish_reason, prompt_hash, cluster.",
)
@click.option(
    "--good",
    multiple=True,
    metavar="LABEL",
    help="Label that counts as good; may be repeated. Needed unless the battery says it or the "
    "names cannot be read both ways (safe, harmless, correct, ...).",
)
@unread_option
@click.option(
    "--battery",
    help="Battery that the answers belong to, which says how they are scored (default: refusal).",
)
@margin_option
@require_option
@click.option(
    "--differing-only",
    is_flag=True,
    help="Score only answers that differ (Parquet): same decision, much faster, no rates.",
)
@sign_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run directory for the reports (default: none)."
)
@verdict_json_option
@reports_errors
def compare(
    baseline: Path,
    candidate: Path,
    columns: dict[str, str],
    good: tuple[str, ...],
    unread: tuple[str, ...],
    battery: str | None,
    margin: float,
    require: str | None,
    differing_only: bool,
    sign: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Judge recorded answers of a candidate against a baseline's.

    BASELINE and CANDIDATE are files of JSON lines, CSV or Parquet with the columns id and text.
    Labels come from the column named with --columns label=…, otherwise from the scorers. Large
    Parquet files are read piece by piece and may be larger than the memory.
    """
    if sign is not None and out is None:
        raise click.UsageError("--sign signs the receipt of a run directory; name one with --out")
    from draftproof.battery import load_battery  # noqa: PLC0415 - quick --help
    from draftproof.runs import RunDirectory  # noqa: PLC0415
    from draftproof.runs.plan import Decision  # noqa: PLC0415
    from draftproof.screen.recorded import compare_files  # noqa: PLC0415

    verdict, files = compare_files(
        baseline,
        candidate,
        columns=columns,
        good=good,
        unread=unread,
        battery=load_battery(battery) if battery else None,
        rule=Decision.model_validate({"margin": margin, "require": require or "LS"}),
        differing_only=differing_only,
    )
    if out is not None:
        with RunDirectory(out) as run:
            if files is None:
                run.record_files(verdict.name, verdict.environment["files"])
            else:
                run.record(verdict.name, [file.completions.values() for file in files])
            finish(verdict, out, as_json=as_json, sign=sign)
    else:
        finish(verdict, None, as_json=as_json, sign=sign)
    sys.exit(verdict.exit_code)
