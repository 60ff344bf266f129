"""Argument checks of the statistics: counts, levels, probabilities, names of methods.

A statistic of an impossible count is worse than an exception, so public functions check their
arguments first; the error names the argument.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def count(name: str, value: Any) -> int:
    """Return `value` as a non-negative int.

    Args:
        name: Argument name, used in the error.
        value: Anything that is an integer, numpy integers included.

    Raises:
        ValueError: When the value is a bool, not integral, or negative.
    """
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be a count, got the boolean {value!r}")
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name} must be an integer count, got {value!r}") from error
    if number < 0:
        raise ValueError(f"{name} must be >= 0, got {number}")
    return number


def discordants(loss: Any, gain: Any, n: Any) -> tuple[int, int, int]:
    """Check a triple (loss, gain, n) of paired counts.

    Raises:
        ValueError: When a count is invalid or loss + gain exceeds n.
    """
    b, c, total = count("loss", loss), count("gain", gain), count("n", n)
    if b + c > total:
        raise ValueError(f"loss + gain must be <= n, got {b} + {c} > {total}")
    return b, c, total


def open_unit(name: str, value: float) -> float:
    """Return `value` when it lies strictly between 0 and 1 (levels, alphas, powers).

    Raises:
        ValueError: Otherwise, NaN included.
    """
    number = float(value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value!r}")
    return number


def closed_unit(name: str, value: float) -> float:
    """Return `value` when it lies in [0, 1].

    Raises:
        ValueError: Otherwise, NaN included.
    """
    number = float(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value!r}")
    return number


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return `value` when it is one of the allowed names.

    Raises:
        ValueError: Otherwise; the message lists what is allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
    return value


def count_arrays(
    loss: ArrayLike, gain: ArrayLike, n: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Broadcast paired counts to float64 arrays.

    The cast comes first: products such as 8·n·gain overflow int32 above n of about 30,000.
    Fractions are allowed, effective counts of clustered pairs have them.

    Raises:
        ValueError: When any count is negative or NaN, or loss + gain exceeds n.
    """
    b, c, total = np.broadcast_arrays(
        np.asarray(loss, dtype=np.float64),
        np.asarray(gain, dtype=np.float64),
        np.asarray(n, dtype=np.float64),
    )
    for name, values in (("loss", b), ("gain", c), ("n", total)):
        if not np.all(values >= 0):
            raise ValueError(f"{name} must hold counts >= 0")
    # effective counts are quotients, their sum may exceed n by rounding
    if not np.all(b + c <= total * (1 + 1e-12)):
        raise ValueError("loss + gain must be <= n in every table")
    return b, c, total
