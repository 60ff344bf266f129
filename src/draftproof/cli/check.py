"""``draftproof check``: does the local decoder compute what a checkpoint says?"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from draftproof.cli.options import device_option, dtype_option, json_option, trust_option
from draftproof.cli.output import reports_errors


@click.command(
    epilog="\b\nExit codes:\n  0 they agree   2 they differ, or the model could not be loaded"
)
@click.argument("model")
@dtype_option
@device_option
@trust_option
@json_option
@reports_errors
def check(model: str, dtype: str, device: str, trust_remote_code: bool, as_json: bool) -> None:
    """Check that the local decoder computes a model's own logits.

    MODEL is a directory, a hub name or lab:NAME. For a few dozen tokens, the logits of every kind
    of forward pass that decoding uses are compared with those of the checkpoint's own code.
    """
    from draftproof.decoding.agreement import settled  # noqa: PLC0415 - quick --help
    from draftproof.decoding.pretrained import load_pretrained  # noqa: PLC0415
    from draftproof.stacks.models import quiet  # noqa: PLC0415

    with quiet():
        loaded = load_pretrained(
            model, dtype=dtype, device=device,
            trust_remote_code=trust_remote_code, check=False,
        )  # fmt: skip
        agreement = settled(loaded.model)
    if as_json:
        about = {"model": model, "architecture": type(loaded.model.module).__name__}
        click.echo(json.dumps({**about, **asdict(agreement), "holds": agreement.holds}, indent=1))
        return
    click.echo(
        f"{model}: {type(loaded.model.module).__name__}, {agreement.forward} forward: agrees"
    )
    click.echo(
        f"  largest difference {agreement.difference:.2g} of the logits' spread "
        f"({agreement.where}); "
        f"arithmetic explains {agreement.bound:.2g}"
    )
    if agreement.instead_of:
        click.echo(f"  the {agreement.instead_of} forward differs by more and is not used")
    if agreement.past_window is False:
        click.echo("  its sliding window is longer than the text that was compared")
