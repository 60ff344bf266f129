"""The command line: one file a verb, each of which parses, calls and prints."""

from __future__ import annotations

import gc

import click

from draftproof import __version__
from draftproof.cli.acceptance import acceptance
from draftproof.cli.battery import battery
from draftproof.cli.calibrate import calibrate
from draftproof.cli.compare import compare
from draftproof.cli.demo import demo
from draftproof.cli.export import export
from draftproof.cli.generate import generate
from draftproof.cli.lab import lab
from draftproof.cli.lint import lint
from draftproof.cli.mutants import mutants
from draftproof.cli.noise import noise
from draftproof.cli.plan import plan
from draftproof.cli.rejudge import rejudge
from draftproof.cli.rules import rules
from draftproof.cli.score import score
from draftproof.cli.screen import screen
from draftproof.cli.serve import serve
from draftproof.cli.sign import sign
from draftproof.cli.study import study
from draftproof.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="draftproof")
def main() -> None:
    r"""Does speculative decoding still refuse what your model refused?

    \b
    Exit codes of demo, screen, compare and rejudge:
      0 PASS   3 FAIL   4 INVALID   5 INCONCLUSIVE   2 something could not be done
    """
    # importing torch and transformers makes millions of objects that stay; looking through them
    # for garbage all the while took a seventh of the start
    gc.set_threshold(100_000, 10, 10)


VERBS = (
    demo, screen, compare, rejudge, verify, sign, score, calibrate, plan, battery, lint, rules,
    generate, serve, export, study, acceptance, noise, mutants, lab,
)  # fmt: skip
for verb in VERBS:
    main.add_command(verb)

__all__ = ["main"]
