"""``draftproof export``: models in the form that another stack reads."""

from __future__ import annotations

from pathlib import Path

import click

from draftproof.cli.options import trust_option
from draftproof.cli.output import reports_errors
from draftproof.records import DraftproofError


@click.group()
def export() -> None:
    """Export a model in the format of another stack."""


@export.command()
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--heads-of",
    help="Target that MODEL, an EAGLE-3 head, belongs to (default: MODEL is a whole model).",
)
@trust_option
@reports_errors
def openvino(model: str, out: Path, heads_of: str | None, trust_remote_code: bool) -> None:
    """Export a model to a new directory for OpenVINO GenAI.

    MODEL is a directory, a hub name or lab:NAME; OUT is the new directory. With --heads-of, MODEL
    is a directory of trained EAGLE-3 heads or lab:eagle3. The exported model is compared with its
    original before anything is written.
    """
    try:
        # both need torch and openvino
        from draftproof.stacks.openvino.eagle import export_heads  # noqa: PLC0415
        from draftproof.stacks.openvino.export import export as export_model  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"exporting needs {error.name}; run: pip install 'draftproof[local,openvino]'"
        ) from error
    if heads_of is not None:
        difference = export_heads(model, heads_of, out, trust_remote_code=trust_remote_code)
    else:
        difference = export_model(model, out, trust_remote_code=trust_remote_code)
    click.echo(f"{out}: within {difference:.1e} nats of {model}")
