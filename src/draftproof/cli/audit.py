"""``draftproof audit``: do a deployment's answers follow this target?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from draftproof.cli.compare import columns_option, rescore_option
from draftproof.cli.options import (
    SHARE,
    device_option,
    json_option,
    subset_option,
    target_help,
    trust_option,
)
from draftproof.cli.output import progress_of_arms, reports_errors
from draftproof.records import DraftproofError, Role, digest

if TYPE_CHECKING:
    from draftproof.battery import Battery
    from draftproof.rescoring.rescore_options import RescoreOptions
    from draftproof.rescoring.scored_answers import Instrument
    from draftproof.screen.audit.subjects import AuditSubject

_ARM = "deployment"


@click.command()
@click.argument("subject")
@click.option("--target", help=f"{target_help}.")
@rescore_option
@click.option(
    "--battery",
    help="Prompts that a URL is asked (default: lab-core), or that a FILE answers.",
)
@subset_option("quick")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", default=20, show_default=True,
    help="Ask a URL the first N prompts of every task only.",
)  # fmt: skip
@click.option("--model", help="Name of the deployed model (default: the one the URL lists).")
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat",
              show_default=True, help="API that a URL is asked by.")  # fmt: skip
@click.option("--api-key-env", metavar="NAME", help="Environment variable with the URL's key.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=128, show_default=True,
              help="Longest answer of a URL.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True,
              help="Requests to a URL at the same time.")  # fmt: skip
@columns_option
@click.option(
    "--detect", type=SHARE, default=0.01, show_default=True,
    help="Share of leaked tokens that must be found for a PASS.",
)  # fmt: skip
@click.option(
    "--sigma",
    type=click.FloatRange(0),
    metavar="NATS",
    help="Scale of this stack's rounding where it is known (default: the answers' own).",
)
@device_option
@trust_option
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="Directory for audit.json, audit.md and a URL's answers (default for a URL: "
    "runs/audit-DIGEST).",
)  # fmt: skip
@json_option
@reports_errors
def audit(
    subject: str,
    target: str | None,
    rescore: RescoreOptions | None,
    detect: float,
    sigma: float | None,
    device: str,
    trust_remote_code: bool,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score the answers of one deployment with the model that it should be.

    SUBJECT is a URL that is asked now, a FILE of recorded answers, or RUN:ARM. No baseline is
    needed. The target scores every token (--target, or --rescore for a server). Only answers at
    temperature 0 can be audited. A PASS says which share of leaked tokens would have been found.
    """
    if (target is None) == (rescore is None):
        raise click.UsageError("name the target: either --target MODEL or --rescore URL")
    from draftproof.report import print_audit, to_json, write_audit  # noqa: PLC0415 - matplotlib
    from draftproof.screen.audit.judge import audit_answers  # noqa: PLC0415 - quick --help

    with progress_of_arms(quiet=as_json) as listener:
        hears = listener or (lambda _arm, _done, _total: None)
        judge = _instrument(target, rescore, device, trust_remote_code, hears)
        asked, out = _subject(subject, out, hears, options)
        audit = audit_answers(
            judge, asked.name, asked.answers, spec=asked.spec, detect=detect, sigma=sigma
        )
    if out is not None:
        report = write_audit(audit, out)
    if as_json:
        click.echo(to_json(audit), nl=False)
    else:
        console = Console()
        print_audit(audit, console)
        if out is not None:
            console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    sys.exit(audit.exit_code)


def _instrument(
    target: str | None,
    rescore: RescoreOptions | None,
    device: str,
    trust: bool,
    hears: Callable[[str, int, int], None],
) -> Instrument:
    if rescore is not None:
        from draftproof.rescoring.score_served import ServedInstrument  # noqa: PLC0415 - an extra

        return ServedInstrument(rescore, progress=lambda done: hears("scoring", done, done + 1))
    try:
        from draftproof.rescoring.score_whole import LocalInstrument  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"--target needs {error.name}; run: pip install 'draftproof[local]'"
        ) from error
    assert target is not None
    return LocalInstrument(
        target,
        device=device,
        trust_remote_code=trust,
        progress=lambda done, total: hears("scoring", done, total),
    )


def _subject(
    subject: str,
    out: Path | None,
    hears: Callable[[str, int, int], None],
    options: dict[str, Any],
) -> tuple[AuditSubject, Path | None]:
    """Return the answers and the directory that the report is written to."""
    from draftproof.screen.audit import subjects  # noqa: PLC0415 - quick --help

    if subject.startswith(("http://", "https://")):
        return _asked(subject, out, hears, options)
    run, _, arm = subject.rpartition(":")
    if run and (Path(run) / "manifest.json").is_file():
        return subjects.run_subject(Path(run), arm), out
    if Path(subject).is_dir():
        raise DraftproofError(f"{subject}: is a directory; name an arm of a run as RUN:ARM")
    battery = _battery(options["battery"]) if options["battery"] else None
    return subjects.recorded_subject(Path(subject), options["columns"], battery), out


def _asked(
    url: str,
    out: Path | None,
    hears: Callable[[str, int, int], None],
    options: dict[str, Any],
) -> tuple[AuditSubject, Path]:
    from pydantic import ValidationError  # noqa: PLC0415 - quick --help

    from draftproof.runs.plan import explain  # noqa: PLC0415
    from draftproof.screen.audit.subjects import served_subject  # noqa: PLC0415
    from draftproof.stacks.spec import ArmSpec  # noqa: PLC0415

    names = ("model", "api", "api_key_env", "max_new_tokens", "concurrency")
    declared = {name: options[name] for name in names}
    try:
        spec = ArmSpec(name=_ARM, role=Role.CANDIDATE, engine="openai", url=url, **declared)
    except ValidationError as error:
        raise DraftproofError(explain(error)) from error
    battery = _battery(options["battery"] or "lab-core")
    if options["battery"] is None:
        battery = battery.half(options["subset"])
    battery = battery.limit(options["limit"])
    if out is None:
        key = digest([spec.model_dump(mode="json"), battery.digest])
        out = Path("runs") / f"audit-{key[:8]}"
    progress = lambda done, total: hears(_ARM, done, total)  # noqa: E731
    return served_subject(spec, battery, out, progress), out


def _battery(source: str) -> Battery:
    from draftproof.battery import load_battery  # noqa: PLC0415 - quick --help

    return load_battery(source)
