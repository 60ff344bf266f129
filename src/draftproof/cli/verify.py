"""``draftproof verify``: verify a run against its receipt."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from draftproof.cli.lazy import RenamedOption
from draftproof.cli.options import json_option, trust_option
from draftproof.cli.output import plain, progress_of_arms, reports_errors

if TYPE_CHECKING:
    from draftproof.runs.regenerate import Regenerated
    from draftproof.runs.verify import ReceiptCheck

_SHOWN = 20


@click.command(
    epilog="\b\nExit codes:\n"
    "  0 verified   3 something differs from the receipt   2 it could not be checked"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--public-key",
    "key",
    cls=RenamedOption,
    before=("--key",),
    help="Public key that must have signed it: 64 hex digits or a PEM file (default: any).",
)
@click.option(
    "--regenerate",
    "n",
    type=click.IntRange(1),
    metavar="N",
    help="Generate N random answers again, of every arm that runs in this process, and compare "
    "the bytes (default: none).",
)
@click.option("--seed", type=int, help="Seed of the draw for --regenerate (default: random).")
@trust_option
@json_option
@reports_errors
def verify(
    run: Path,
    key: str | None,
    n: int | None,
    seed: int | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Verify a run against its receipt and its signature."""
    from draftproof.runs.signature import read_public_key  # noqa: PLC0415 - quick --help
    from draftproof.runs.verify import verify as check  # noqa: PLC0415

    checked = check(run, None if key is None else read_public_key(key))
    asked: Regenerated | None = None
    # a plan that was altered is not followed
    if n is not None and not checked.findings:
        from draftproof.runs.regenerate import regenerate  # noqa: PLC0415

        drawn = secrets.randbits(32) if seed is None else seed
        with progress_of_arms(quiet=as_json) as progress:
            asked = regenerate(
                run, n, seed=drawn, trust_remote_code=trust_remote_code, progress=progress
            )
    findings = [*checked.findings, *(asked.findings if asked else ())]
    if as_json:
        click.echo(json.dumps(_document(run, checked, asked), indent=1))
    else:
        _print(run, checked, asked)
    sys.exit(3 if findings else 0)


def _document(run: Path, checked: ReceiptCheck, asked: Regenerated | None) -> dict[str, Any]:
    findings = [*checked.findings, *(asked.findings if asked else ())]
    return {
        "run": str(run),
        "verified": not findings,
        "created": checked.created,
        "files": checked.files,
        "signed_by": checked.signed_by,
        "same_code": checked.same_code,
        "about": checked.about,
        "findings": [asdict(f) for f in findings],
        "regenerated": None
        if asked is None
        else {
            "seed": asked.seed,
            "prompts": asked.ids,
            "answers": asked.answers,
            "differ": sum(1 for f in asked.findings if f.code == "answer-differs"),
            "skipped": dict(asked.skipped),
            "arithmetic": dict(asked.arithmetic),
        },
    }


def _print(run: Path, checked: ReceiptCheck, asked: Regenerated | None) -> None:
    console = Console()

    def say(text: str, style: str | None = None) -> None:
        console.print(plain(text), style=style, highlight=False, soft_wrap=True)

    if checked.findings:
        say(f"ALTERED  {run}: differs from its receipt of {checked.created}", "bold red")
        for one in checked.findings[:_SHOWN]:
            say(f"  {one.code} {one.place}: {one.text}")
        if len(checked.findings) > _SHOWN:
            say(f"  and {len(checked.findings) - _SHOWN} more")
        return
    verdict = checked.about.get("verdict")
    state = verdict.get("state") if isinstance(verdict, dict) else None
    say(
        f"VERIFIED  {run}: {checked.files} files, verdict {state}, receipt of {checked.created}",
        "bold",
    )
    say(f"signed with {checked.signed_by}" if checked.signed_by else
        "not signed: whoever can write the directory can make such a receipt")  # fmt: skip
    if not checked.same_code:
        say("made by another version of draftproof than this one")
    if asked is not None:
        _print_asked(say, asked)


def _print_asked(say: Any, asked: Regenerated) -> None:
    differ = sum(1 for f in asked.findings if f.code == "answer-differs")
    say(
        f"regenerated: {asked.answers} answers to {len(asked.ids)} prompts (seed {asked.seed}), "
        + (f"{differ} differ" if differ else "all the same bytes"),
        "bold red" if asked.findings else "bold",
    )
    for one in asked.findings[:_SHOWN]:
        say(f"  {one.code} {one.place}: {one.text}")
    for arm, why in asked.skipped.items():
        say(f"  arm {arm!r} was not regenerated: {why}")
    for arm, what in asked.arithmetic.items():
        say(f"  arm {arm!r} ran elsewhere, so rounding may decide a tie otherwise: {what}")
