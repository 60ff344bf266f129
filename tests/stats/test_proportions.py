"""Intervals of one proportion, and what importing a function loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from draftproof import stats
from draftproof.stats import clopper_pearson, wilson


@given(x=st.integers(0, 200), extra=st.integers(0, 200), level=st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_proportions_against_statsmodels(x, extra, level):
    n = x + extra
    if n == 0:
        for interval in (clopper_pearson(0, 0), wilson(0, 0)):
            assert (interval.low, interval.high) == (0.0, 1.0)
        return
    for ours, theirs in ((clopper_pearson, "beta"), (wilson, "wilson")):
        low, high = proportion_confint(x, n, 1 - level, theirs)
        interval = ours(x, n, level)
        assert interval.low == pytest.approx(low, abs=1e-9)
        assert interval.high == pytest.approx(high, abs=1e-9)
        assert ours(x, n, 1 - (1 - level) / 2, "upper").high == pytest.approx(
            interval.high, abs=1e-12
        )
        assert ours(x, n, 1 - (1 - level) / 2, "lower").low == pytest.approx(
            interval.low, abs=1e-12
        )
        assert interval.low <= x / n <= interval.high


def test_counts_are_checked():
    for interval in (clopper_pearson, wilson):
        with pytest.raises(ValueError, match="x <= n"):
            interval(3, 2)
        with pytest.raises(ValueError, match="side"):
            interval(1, 2, 0.95, "left")
        with pytest.raises(ValueError, match="level"):
            interval(1, 2, 1.0)


def test_the_names_for_type_checkers_are_the_names_that_are_offered():
    tree = ast.parse(Path(stats.__file__).read_text("utf-8"))
    checked = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("draftproof.stats.")
        for alias in node.names
    }
    assert checked == set(stats._FILE_OF)
    for name in checked:
        assert getattr(stats, name) is not None
        assert name in dir(stats)
    with pytest.raises(AttributeError, match="phase_of_the_moon"):
        _ = stats.phase_of_the_moon


def test_one_function_does_not_load_scipy_stats():
    code = (
        "import sys\n"
        "from draftproof.stats import clopper_pearson, holm, mcnemar_test\n"
        "clopper_pearson(1, 10), holm([0.1]), mcnemar_test(3, 1, alternative='loss')\n"
        "assert 'scipy.stats' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
