"""Values that this package did not compute: R, published tables, independent code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import check_oracle  # noqa: E402

ENTRIES = json.loads((Path(__file__).parent / "data" / "oracle.json").read_text("utf-8"))

NOT_OFFERED = {
    "anova_eta2_from_summary": "means of a continuous score; labels here are good or not",
    "anova_from_summary": "means of a continuous score; labels here are good or not",
    "bootstrap_percentile_ci_limit_pp": "no width at zero discordance; the exact interval has one",
    "cohen_d_binary_from_rates": "a standardised mean of a binary label; Cohen's h is offered",
    "cohen_d_from_summary": "means of a continuous score; labels here are good or not",
    "mantel_haenszel_rbg": "independent arms; of pairs it measures how alike the arms are",
    "mde_unpaired_pp": "a design of independent arms, used on paired data",
    "n_superiority_noninf_paired_normal": "normal approximation; pairs_needed is exact",
    "paired_mean_diff_wald_ci_pp": "means of a continuous score; labels here are good or not",
    "pooled_sd_from_summary": "means of a continuous score; labels here are good or not",
    "wald90_minimal_discordance_pp": "inverts the Wald interval, which decides nothing here",
}
"""Methods of oracle entries that this package does not offer, and why."""


def shared_entries():
    place = os.environ.get("DRAFTPROOF_ORACLE")
    default = TESTS.parents[1] / "shared" / "oracles" / "statistics.json"
    path = Path(place) if place else default
    known = {entry["id"] for entry in ENTRIES}
    if not path.is_file():
        return []
    return [entry for entry in json.loads(path.read_text("utf-8")) if entry["id"] not in known]


@pytest.mark.parametrize("entry", [*ENTRIES, *shared_entries()], ids=lambda entry: entry["id"])
def test_value_is_reproduced(entry):
    if "misuse" in entry["method"].lower() or entry["method"].lower() in NOT_OFFERED:
        with pytest.raises(check_oracle.NotOffered):
            check_oracle.compute(entry)
        return
    got = check_oracle.compute(entry)
    tolerance = float(entry["tolerance"])
    assert check_oracle.agrees(got, entry["expected"], tolerance), (got, entry["expected"])


def test_what_is_listed_as_not_offered_is_not_offered():
    assert not set(NOT_OFFERED) & set(check_oracle.METHODS)
    assert all(reason and "\n" not in reason for reason in NOT_OFFERED.values())
    # a name without an entry excuses nothing
    assert set(NOT_OFFERED) <= {entry["method"].lower() for entry in ENTRIES}


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(TESTS / "check_oracle.py"), *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def entry(**changes):
    base = {
        "id": "x", "method": "cohen_h", "inputs": {"p1": 0.5, "p2": 0.5}, "expected": 0.0,
        "tolerance": 1e-9, "source": "definition",
    }  # fmt: skip
    return {**base, **changes}


def test_the_command_counts_and_exits(tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps([entry(), entry(id="y", method="phase_of_the_moon")]))
    done = run(path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "1 agree, 0 disagree, 1 not offered"
    assert "not offered y: phase_of_the_moon" in done.stdout
    path.write_text(json.dumps([entry(), entry(id="wrong", expected=0.1)]))
    done = run(path)
    assert done.returncode == 1
    assert "wrong" in done.stdout
    assert "0.1" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 agree, 1 disagree, 0 not offered"


NO_INPUTS = '[{"id": 1, "method": "m", "inputs": [], "expected": 1}]'


@pytest.mark.parametrize(
    "content",
    ["{", "3", '[{"id": 1}]', '["x"]', NO_INPUTS],
)
def test_a_broken_file_is_an_error_with_a_name(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    done = run(path)
    assert done.returncode == 2
    assert "broken.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_an_error(tmp_path):
    assert run(tmp_path / "none.json").returncode == 2
    assert run().returncode == 2


def test_a_function_that_raises_disagrees(capsys):
    assert check_oracle.check([entry(inputs={"p1": 2.0, "p2": 0.5})]) == (0, 1, 0)
    assert "ValueError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        (1.0, 1.0 + 1e-10, True), (1.0, 1.1, False), (float("nan"), "nan", True),
        (0.0, "nan", False),
        ([1.0, 2.0], [1.0, 2.0], True), ([1.0], [1.0, 2.0], False), ("PASS", "PASS", True),
        ("FAIL", "PASS", False), (float("inf"), "inf", True), (None, "nan", True),
    ],
)  # fmt: skip
def test_comparison(got, expected, same):
    assert check_oracle.agrees(got, expected, 1e-9) is same
