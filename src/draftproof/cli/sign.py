"""``draftproof sign``: sign the receipt of a finished run, or make a key to sign with."""

from __future__ import annotations

from pathlib import Path

import click

from draftproof.cli.lazy import RenamedOption
from draftproof.cli.output import reports_errors
from draftproof.records import DraftproofError


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--sign-key",
    "key",
    cls=RenamedOption,
    before=("--key",),
    type=click.Path(path_type=Path),
    metavar="KEYFILE",
    help="Private key (PEM, Ed25519) to sign the receipt with.",
)
@click.option(
    "--new-key",
    type=click.Path(path_type=Path),
    metavar="KEYFILE",
    help="File to write a new private key to, in place of signing.",
)
@reports_errors
def sign(run: Path | None, key: Path | None, new_key: Path | None) -> None:
    """Sign the receipt of a run, or make a key to sign with.

    RUN is verified against its receipt first. Prints the public key, which `draftproof verify
    --public-key` takes. A new key is a file that only you may read; whoever has it can sign in your
    name.
    """
    from draftproof.runs.receipt import sign_receipt  # noqa: PLC0415 - quick --help
    from draftproof.runs.signature import new_key as make  # noqa: PLC0415
    from draftproof.runs.signature import read_private_key  # noqa: PLC0415
    from draftproof.runs.verify import verify  # noqa: PLC0415

    if new_key is not None:
        if run is not None or key is not None:
            raise click.UsageError("--new-key only makes a key; give it alone")
        click.echo(make(new_key))
        return
    if run is None or key is None:
        raise click.UsageError("give RUN and --sign-key to sign, or --new-key to make a key")
    read_private_key(key)
    checked = verify(run)
    if checked.findings:
        first = checked.findings[0]
        raise DraftproofError(
            f"{run}: differs from its receipt ({first.code}: {first.place}), so it was not signed; "
            f"`draftproof verify {run}` lists every difference"
        )
    click.echo(sign_receipt(run, key)["signature"]["public_key"])
