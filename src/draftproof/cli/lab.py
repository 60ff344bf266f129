"""``draftproof lab``: the small models that ship and how they are made."""

from __future__ import annotations

from pathlib import Path

import click

from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError


@click.group()
def lab() -> None:
    """List the small models that ship."""


@lab.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to put them.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the training steps; below 1 for a quick try.",
)
@reports_errors
def build(out: Path, seed: int, scale: float) -> None:
    """Generate the corpus, train, tune and quantise all five models from scratch."""
    console = stderr()
    try:
        from tools.lab.build import build as build_models  # noqa: PLC0415 - needs torch, trl
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"building models needs {error.name}; run: pip install 'draftproof[lab]'"
        ) from error
    build_models(
        out,
        seed=seed,
        steps_scale=scale,
        progress=lambda line: console.print(line, markup=False, highlight=False),
    )
    click.echo(f"models: {out}")


@lab.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to put them.")
@click.option(
    "--target",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of a target made by `lab build`; the one that ships if left out.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the training steps; below 1 for a quick try.",
)
@reports_errors
def heads(out: Path, target: Path | None, seed: int, scale: float) -> None:
    """Train Medusa and EAGLE heads for a target."""
    from draftproof.lab.models import model_path  # noqa: PLC0415
    from draftproof.training.head_training import make_all  # noqa: PLC0415 - needs torch

    console = stderr()
    make_all(
        target or model_path("target"),
        out,
        seed=seed,
        steps_scale=scale,
        progress=lambda line: console.print(line, markup=False, highlight=False),
    )
    click.echo(f"heads: {out}")
