"""``draftproof noise``: how far the shape of a computation moves a model's logits."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from draftproof.cli.options import device_option, dtype_option, json_option, trust_option
from draftproof.cli.output import plain, reports_errors
from draftproof.records import DraftproofError


@click.command()
@click.argument("target")
@click.option(
    "--width",
    "widths",
    type=click.IntRange(2, 256),
    multiple=True,
    help="Tokens in a verification pass, γ + 1; may be repeated (default: 5).",
)
@dtype_option
@device_option
@click.option("--battery", default="lab-core", show_default=True, help="Battery that TARGET reads.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=4,
    show_default=True,
    help="Ask the first N prompts of every task only.",
)
@trust_option
@json_option
@reports_errors
def noise(
    target: str,
    widths: tuple[int, ...],
    dtype: str,
    device: str,
    battery: str,
    limit: int,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Measure how far rounding moves a model's logits.

    Plain decoding computes one token in a forward pass, verification γ + 1 tokens. In exact
    arithmetic both give the same logits; the largest difference is the noise. Two tokens whose
    logits lie closer together than the printed bound can be swapped by rounding. TARGET is a
    directory, a hub name or lab:NAME.
    """
    try:
        import torch  # noqa: PLC0415 - an extra

        from draftproof.battery import load_battery  # noqa: PLC0415
        from draftproof.rescoring.noise import noise_of  # noqa: PLC0415
        from draftproof.stacks.models import load  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"the decoder needs {error.name}; run: pip install 'draftproof[local]'"
        ) from error
    loaded = load(target, dtype, device, trust_remote_code)
    prompts = load_battery(battery).limit(limit).prompts
    bounds = noise_of(loaded, prompts, widths or (5,))
    environment = {
        "target": target,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": str(loaded.model.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "prompts": len(prompts),
    }
    if as_json:
        click.echo(json.dumps({**environment, "widths": [asdict(n) for n in bounds]}, indent=1))
        return
    table = Table("width", "noise bound, nats", "tokens nearer than that")
    for entry in bounds:
        table.add_row(str(entry.width), f"{entry.bound:.2g}", f"{entry.doubtful:.3%}")
    console = Console()
    console.print(table)
    console.print(
        plain(
            f"{target}, {environment['dtype']} on {environment['device']}, {len(prompts)} prompts, "
            f"{environment['threads']} threads, torch {environment['torch']}"
        ),
        highlight=False,
    )
