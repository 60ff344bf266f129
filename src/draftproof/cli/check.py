"""``draftproof check``: does the local decoder compute what a checkpoint says?"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from draftproof.cli.options import json_option
from draftproof.cli.output import reports_errors


@click.command(
    epilog="\b\nExit codes:\n  0 they agree   2 they do not, or the model could not be opened"
)
@click.argument("model")
@click.option("--dtype", default="auto", show_default=True, help="Type of the weights.")
@click.option("--device", default="auto", show_default=True, help="Where to run.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that the checkpoint brings.")
@json_option
@reports_errors
def check(model: str, dtype: str, device: str, trust_remote_code: bool, as_json: bool) -> None:
    """Check that the local decoder computes what a model says.

    MODEL is a directory, a hub name or lab:NAME. Its logits by every way that decoding may take
    are compared with those of the checkpoint's own forward, on a few dozen tokens.
    """
    from draftproof.decoding.agreement import settled  # noqa: PLC0415 - quick --help
    from draftproof.decoding.pretrained import load_pretrained  # noqa: PLC0415
    from draftproof.stacks.models import quiet, resolve  # noqa: PLC0415

    with quiet():
        loaded = load_pretrained(
            resolve(model), name=model, dtype=dtype, device=device,
            trust_remote_code=trust_remote_code, check=False,
        )  # fmt: skip
        found = settled(loaded.model)
    if as_json:
        about = {"model": model, "architecture": type(loaded.model.module).__name__}
        click.echo(json.dumps({**about, **asdict(found), "holds": found.holds}, indent=1))
        return
    click.echo(f"{model}: {type(loaded.model.module).__name__}, {found.forward} forward: agrees")
    click.echo(
        f"  largest difference {found.difference:.2g} of the logits' spread ({found.where}); "
        f"arithmetic explains {found.bound:.2g}"
    )
    if found.instead_of:
        click.echo(f"  the {found.instead_of} forward differs by more and is not used")
    if found.past_window is False:
        click.echo("  its window is longer than what was looked at")
