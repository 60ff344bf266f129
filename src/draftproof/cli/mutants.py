"""``draftproof mutants``: does the decoder's own testing catch planted defects?"""

from __future__ import annotations

import inspect
import json
import sys

import click
from rich.console import Console
from rich.table import Table

from draftproof.cli.options import json_option
from draftproof.cli.output import reports_errors, stderr
from draftproof.records import DraftproofError


@click.command()
@json_option
@reports_errors
def mutants(as_json: bool) -> None:
    """Check that every planted defect of the decoder is detected.

    The checks run on the decoder and on copies of it with one defect each (mutants). The decoder
    must pass every check, and every mutant must fail at least one; otherwise the exit code is 3.
    Takes less than a minute.
    """
    try:
        import torch  # noqa: PLC0415 - an extra

        from draftproof.decoding import selftest  # noqa: PLC0415
        from draftproof.decoding.loop import Batch  # noqa: PLC0415
        from draftproof.decoding.mutants import MUTANTS  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"the decoder needs {error.name}; run: pip install 'draftproof[local]'"
        ) from error
    torch.set_num_threads(1)
    results = {}
    decoders: dict[str, type[Batch]] = {"decoder": Batch, **MUTANTS}
    for name, kind in decoders.items():
        if not as_json:
            stderr().print(f"checking {name}", highlight=False)
        results[name] = selftest.checked(kind)
    clean = all(results["decoder"].values())
    killed = {name: not all(results[name].values()) for name in MUTANTS}
    if as_json:
        click.echo(json.dumps({"checks": results, "killed": killed, "clean": clean}, indent=1))
    else:
        table = Table("decoder", "defect", *selftest.CHECKS, "verdict")
        for name, passed in results.items():
            what = (inspect.getdoc(MUTANTS[name]) or "").splitlines()[0] if name in MUTANTS else ""
            good = clean if name == "decoder" else killed[name]
            word = ("clean" if good else "BROKEN") if name == "decoder" else (
                "killed" if good else "SURVIVES")  # fmt: skip
            marks = ["passes" if ok else "fails" for ok in passed.values()]
            table.add_row(name, what, *marks, word)
        Console().print(table)
    if not clean or not all(killed.values()):
        sys.exit(3)
