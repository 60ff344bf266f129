"""``draftproof compare``: judge two files of recorded answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from draftproof.cli.options import (
    device_option,
    dtype_option,
    margin_option,
    profile_option,
    require_option,
    trust_option,
    unread_option,
    verdict_json_option,
)
from draftproof.cli.output import finish, reports_errors, sign_option


def _columns(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    named = {}
    for part in (p for text in value for p in text.split(",")):
        field, equals, column = part.partition("=")
        if not equals or not field.strip() or not column.strip():
            raise click.BadParameter(f"{part!r} is not FIELD=COLUMN, like text=completion")
        named[field.strip()] = column.strip()
    return named


def _server(_: click.Context, __: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    from pydantic import ValidationError  # noqa: PLC0415 - quick --help

    from draftproof.rescoring.rescore_options import RescoreOptions  # noqa: PLC0415
    from draftproof.runs.plan import explain  # noqa: PLC0415

    url, *fields = value.split(",")
    named = {"url": url} | {f: v for f, _, v in (part.partition("=") for part in fields)}
    try:
        return RescoreOptions.model_validate(named)
    except ValidationError as error:
        raise click.BadParameter(explain(error)) from error


columns_option = click.option(
    "--columns",
    multiple=True,
    callback=_columns,
    metavar="FIELD=COLUMN,…",
    help="Columns with other names, such as text=completion,label=final_label. Fields: id, "
    "text, task, prompt, label, token_ids, finish_reason, prompt_hash, cluster.",
)
rescore_option = click.option(
    "--rescore",
    callback=_server,
    metavar="URL[,FIELD=VALUE…]",
    help="Server of the target without speculation that returns log-probabilities of a prompt, in "
    "place of --target. Fields as in a plan: model, api, dialect, api_key_env, "
    "noise_bound, timeout.",
)


@click.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("candidate", type=click.Path(path_type=Path))
@columns_option
@click.option(
    "--good",
    multiple=True,
    metavar="LABEL",
    help="Label that counts as good; may be repeated. Needed with a label column, unless the "
    "battery says it or the labels are safe/unsafe, correct/incorrect or the like.",
)
@unread_option
@click.option(
    "--battery",
    help="Battery that the answers belong to, which says how they are scored (default: refusal).",
)
@click.option(
    "--target",
    metavar="MODEL",
    help="Model of the target, to find why answers differ: directory, hub name or lab:NAME "
    "(default: none).",
)
@click.option(
    "--draft",
    metavar="MODEL",
    help="Model of the draft, to distinguish leaks from faults (default: none).",
)
@rescore_option
@click.option(
    "--noise",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Answers of the baseline to the same prompts, generated again; what differs there is not "
    "due to speculation (default: none).",
)
@dtype_option
@device_option
@trust_option
@margin_option
@profile_option
@require_option
@click.option(
    "--differing-only",
    is_flag=True,
    help="Score only answers that differ (Parquet): same decision, faster, without rates.",
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
    target: str | None,
    draft: str | None,
    rescore: Any,
    noise: Path | None,
    dtype: str,
    device: str,
    trust_remote_code: bool,
    margin: float,
    profile: str | None,
    require: str | None,
    differing_only: bool,
    sign: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Judge two files of recorded answers, a baseline's and a candidate's.

    BASELINE and CANDIDATE are JSON lines, CSV or Parquet with the columns id and text, or logs of
    inspect_ai and lm-evaluation-harness. Answers with the same id are compared. Labels come from
    the column that --columns label=NAME names, otherwise from the scorers. Large Parquet files are
    read in pieces and may be larger than memory.
    With --target or --rescore, a model finds why answers differ, and one leaked token FAILs; this
    needs the prompts.
    """
    if target is not None and rescore is not None:
        raise click.UsageError("--target and --rescore both name the target; give only one of them")
    if draft is not None and target is None:
        raise click.UsageError("--draft needs a local target; name it with --target")
    if sign is not None and out is None:
        raise click.UsageError(
            "--sign-key signs the receipt of a run directory; name one with --out"
        )
    from draftproof.battery import load_battery  # noqa: PLC0415 - quick --help
    from draftproof.runs import RunDirectory  # noqa: PLC0415
    from draftproof.runs.plan import Decision  # noqa: PLC0415
    from draftproof.screen.deployment import Explainer  # noqa: PLC0415
    from draftproof.screen.recorded import compare_files  # noqa: PLC0415

    verdict, files = compare_files(
        baseline,
        candidate,
        columns=columns,
        good=good,
        unread=unread,
        battery=load_battery(battery) if battery else None,
        rule=Decision.model_validate(
            {"margin": margin, "require": require or "LS", "profile": profile or "exact"}
        ),
        differing_only=differing_only,
        explainer=Explainer(
            target=target, draft=draft, rescore=rescore, dtype=dtype, device=device,
            trust_remote_code=trust_remote_code,
        ),
        noise=noise,
    )  # fmt: skip
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
