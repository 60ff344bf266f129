"""Families of tests: when all must pass, and when any claim is made.

"Every stratum is equivalent" is an intersection-union test: each stratum is tested at the full
level and the size stays at most that level (Berger 1982, Technometrics 24:295-300); correcting
would only cost power. "Some stratum lost" is a union of claims and needs Holm's correction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from draftproof.stats.checks import FloatArray


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p-values.

    Source: Holm (1979) Scandinavian Journal of Statistics 6:65-70. NaN (an undefined test)
    counts as 1: it claims nothing, but it was a member of the declared family.

    Examples:
        >>> holm([0.01, 0.04, 0.03, 0.005, 0.5]).round(3).tolist()
        [0.04, 0.09, 0.09, 0.025, 0.5]
    """
    p = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    if np.any((p < 0) | (p > 1)):
        raise ValueError("p_values must lie in [0, 1]")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((p.size - np.arange(p.size)) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
