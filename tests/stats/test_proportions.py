"""Intervals of one proportion."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

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
        found = ours(x, n, level)
        assert found.low == pytest.approx(low, abs=1e-9)
        assert found.high == pytest.approx(high, abs=1e-9)
        assert ours(x, n, 1 - (1 - level) / 2, "upper").high == pytest.approx(found.high, abs=1e-12)
        assert ours(x, n, 1 - (1 - level) / 2, "lower").low == pytest.approx(found.low, abs=1e-12)
        assert found.low <= x / n <= found.high


def test_counts_are_checked():
    for interval in (clopper_pearson, wilson):
        with pytest.raises(ValueError, match="x <= n"):
            interval(3, 2)
        with pytest.raises(ValueError, match="side"):
            interval(1, 2, 0.95, "left")
        with pytest.raises(ValueError, match="level"):
            interval(1, 2, 1.0)
