"""Killed, interrupted and on a full disk: the same command gives the verdict it would have given.

The rest is ``python -m tests.kills``, with hundreds of kills and every kind of run.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def disturbed(tmp_path, *options):
    command = [sys.executable, "-m", "tests.kills", "--folder", tmp_path, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_handful_of_disturbed_runs(tmp_path):
    options = ("--random", "2", "--aimed", "8", "--seed", "3", "--scenario", "urls", "recorded")
    assert "10 runs disturbed and gone on with, 0 faults" in disturbed(tmp_path, *options)


@pytest.mark.slow
def test_disturbed_runs_of_every_kind(tmp_path):
    options = ("--random", "20", "--aimed", "40")
    assert "60 runs disturbed and gone on with, 0 faults" in disturbed(tmp_path, *options)
