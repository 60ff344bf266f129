"""``python -m tools.lab``: make the models that ship, their heads and the study's prompts."""

from __future__ import annotations

from pathlib import Path

import click

from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError

_OUT = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Directory that receives them."
)
_SEED = click.option("--seed", type=int, default=0, show_default=True, help="Build seed.")
_SCALE = click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the training steps; below 1 for a quick try.",
)


@click.group()
def lab() -> None:
    """Make what ships: models, heads and the prompts of the study."""


@lab.command()
@_OUT
@_SEED
@_SCALE
@reports_errors
def build(out: Path, seed: int, scale: float) -> None:
    """Generate the corpus, train, tune and quantise all five models from scratch."""
    try:
        from tools.lab.build import build as build_models  # noqa: PLC0415 - needs torch

        build_models(out, seed=seed, steps_scale=scale, progress=_progress)
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"building models needs {error.name}; run: pip install 'draftproof[train]'"
        ) from error
    click.echo(f"models: {out}")


@lab.command()
@_OUT
@click.option(
    "--target",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of a target made by `build`; the one that ships if left out.",
)
@_SEED
@_SCALE
@reports_errors
def heads(out: Path, target: Path | None, seed: int, scale: float) -> None:
    """Train Medusa and EAGLE heads for a target."""
    from draftproof.lab.models import model_path  # noqa: PLC0415

    try:
        from tools.lab.heads import make_heads  # noqa: PLC0415 - needs torch
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"training heads needs {error.name}; run: pip install 'draftproof[train]'"
        ) from error
    make_heads(
        target or model_path("target"), out, seed=seed, steps_scale=scale, progress=_progress
    )
    click.echo(f"heads: {out}")


@lab.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory that receives them; the data of draftproof.defence if left out.",
)
@reports_errors
def prompts(out: Path | None) -> None:
    """Write the prompts of the study of defences."""
    from tools.lab.study_prompts import DATA, write_prompts  # noqa: PLC0415 - builds the world

    for path in write_prompts(out or DATA):
        click.echo(path)


def _progress(line: str) -> None:
    stderr().print(line, markup=False, highlight=False)


if __name__ == "__main__":
    lab(prog_name="python -m tools.lab")
