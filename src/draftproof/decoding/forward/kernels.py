"""Compiled arithmetic whose every output depends on its own row alone.

The matrix products of libraries choose their order of summation by the number of rows, so that
a token verified beside four others gets other last bits than the same token alone. Here an output
is always the same chain of fused multiply-adds, whatever is computed beside it: 8 lanes over the
inner dimension, summed pairwise at the end. Rows that are computed together only share
the reading of the weights, which is what a verification of a few columns spends its time on.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, njit
from numpy.typing import NDArray

from draftproof.decoding.forward.vector_code import LANES, blend_of, pointer, tile_of

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Kind = NDArray[Any]
FLOAT32: Kind = np.empty(0, np.float32)

_AHEAD = 8
"""Rows of weights after which the ones that are asked of memory now will be needed."""
_PANEL = 2**15
"""Weights, in elements, that are kept near while all rows pass by."""
_SOURCES = ("vector_code.py", "kernels.py", "fused_attention.py", "fused_step.py")


@lru_cache(maxsize=1)
def remove_stale_cache() -> None:
    """Remove compiled functions if any of the sources is another one than when they were compiled.

    numba keeps a compiled function until the function's own file changes, not those it calls. It
    reads its cache when a function is called for the first time: call this before.
    """
    folder = Path(__file__).parent
    stamp = folder / "__pycache__" / "kernels.sha256"
    try:
        whole = b"".join((folder / name).read_bytes() for name in _SOURCES)
        now = hashlib.sha256(whole).hexdigest()
        if stamp.exists() and stamp.read_text("ascii") == now:
            return
        stamp.parent.mkdir(exist_ok=True)
        for old in stamp.parent.glob("*.nb[ic]"):
            old.unlink(missing_ok=True)
        stamp.write_text(now, "ascii")
    except OSError:
        return  # installed where nobody writes, and so nothing changes


_1x1, _1x4, _2x4, _3x4 = tile_of(1, 1), tile_of(1, 4), tile_of(2, 4), tile_of(3, 4)
_4x2, _5x2, _6x2 = tile_of(4, 2), tile_of(5, 2), tile_of(6, 2)
_blend1, _blend4 = blend_of(1), blend_of(4)


@njit(cache=True, nogil=True)
def products(
    kind: Kind, x: int, x_stride: int, rows: int, w: int, w_stride: int, columns: int, depth: int,
    y: int, y_stride: int,
) -> None:  # fmt: skip
    """Compute y = x·wᵀ; all three are addresses, strides are in elements.

    Args:
        kind: An empty array of the kind that w is stored in; x and y are float32.
        x: ``[rows, depth]``.
        x_stride: Elements from one row of x to the next.
        rows: Rows of x.
        w: ``[columns, depth]``.
        w_stride: Elements from one row of w to the next.
        columns: Rows of w.
        depth: A multiple of `LANES`.
        y: ``[rows, columns]``.
        y_stride: Elements from one row of y to the next.
    """
    size = kind.itemsize
    whole = columns - columns % 4
    panel = max(4, _PANEL // depth // 4 * 4)
    chunk = max(1, -(-rows // max(1, -(-rows // 6))))
    for first in range(0, whole, panel):
        last = min(first + panel, whole)
        for row in range(0, rows, chunk):
            ahead = size * _AHEAD * w_stride if row == 0 else 0
            read, count = x + 4 * row * x_stride, min(chunk, rows - row)
            for column in range(first, last, 4):
                weights, write = w + size * column * w_stride, y + 4 * (row * y_stride + column)
                half = weights + 2 * size * w_stride
                if count == 6:
                    _6x2(kind, read, x_stride, weights, w_stride, depth, write, y_stride, ahead)
                    _6x2(kind, read, x_stride, half, w_stride, depth, write + 8, y_stride, ahead)
                elif count == 5:
                    _5x2(kind, read, x_stride, weights, w_stride, depth, write, y_stride, ahead)
                    _5x2(kind, read, x_stride, half, w_stride, depth, write + 8, y_stride, ahead)
                elif count == 4:
                    _4x2(kind, read, x_stride, weights, w_stride, depth, write, y_stride, ahead)
                    _4x2(kind, read, x_stride, half, w_stride, depth, write + 8, y_stride, ahead)
                elif count == 3:
                    _3x4(kind, read, x_stride, weights, w_stride, depth, write, y_stride, ahead)
                elif count == 2:
                    _2x4(kind, read, x_stride, weights, w_stride, depth, write, y_stride, ahead)
                else:
                    _1x4(kind, read, x_stride, weights, w_stride, depth, write, y_stride, ahead)
    for column in range(whole, columns):
        for row in range(rows):
            _1x1(
                kind, x + 4 * row * x_stride, x_stride, w + size * column * w_stride, w_stride,
                depth, y + 4 * (row * y_stride + column), y_stride, 0,
            )  # fmt: skip


@njit(cache=True, nogil=True)
def blended(factors: int, rows: int, stride: int, count: int, width: int, out: int) -> None:
    """Write ``[width]`` sums of `count` rows, each times its factor, in their order; addresses.

    Args:
        factors: ``[count]``.
        rows: ``[count, width]``.
        stride: Elements from one row to the next.
        count: At least 1.
        width: A multiple of `LANES`.
        out: ``[width]``.
    """
    first = 0
    while first + 4 * LANES <= width:
        _blend4(factors, rows + 4 * first, stride, count, out + 4 * first)
        first += 4 * LANES
    while first < width:
        _blend1(factors, rows + 4 * first, stride, count, out + 4 * first)
        first += LANES


_LOG2E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2, _P3, _P4, _P5 = map(
    np.float32,
    (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5),
)
_HALF, _ONE, _LOWEST, _HIGHEST = map(np.float32, (0.5, 1.0, -87.0, 88.0))


@njit(cache=True, nogil=True)
def exponentials(values: Floats, count: int, powers: NDArray[np.int32]) -> None:
    """Replace the first `count` of ``[n] float32`` values by their exponentials.

    The polynomial of Cephes' expf (S. Moshier), good to about one unit in the last place; an
    argument is clamped to [-87, 88], and one that is not finite gives NaN.

    Args:
        values: The arguments.
        count: How many.
        powers: ``[n] int32`` of room.
    """
    for i in range(count):
        v = min(max(values[i], _LOWEST), _HIGHEST)
        n = np.floor(v * _LOG2E + _HALF)
        r = v - n * _LN2_HIGH - n * _LN2_LOW
        p = _P0 * r + _P1
        p = p * r + _P2
        p = p * r + _P3
        p = p * r + _P4
        p = p * r + _P5
        values[i] = p * r * r + r + _ONE + (values[i] - values[i])
        powers[i] = (np.int32(n) + np.int32(127)) << np.int32(23)
    scales = powers.view(np.float32)
    for i in range(count):
        values[i] *= scales[i]


@njit(cache=True, nogil=True)
def floats(where: int, size: int) -> Floats:
    """Return the ``[size] float32`` that lie at an address."""
    return carray(pointer(where), size)


@njit(cache=True, nogil=True)
def address(values: Floats) -> int:
    """Return where ``[n, m]`` or ``[n, m, k]`` values lie."""
    where: int = np.int64(values.ctypes.data)  # type: ignore[assignment]
    return where


@njit(cache=True, nogil=True)
def copied(source: int, target: int, size: int) -> None:
    """Copy `size` floats from one address to another."""
    read, write = floats(source, size), floats(target, size)
    for i in range(size):
        write[i] = read[i]


@njit(cache=True, nogil=True)
def normed(x: int, weight: int, size: int, eps: float, out: int) -> None:
    """Write the RMS norm of `size` floats at x, times the weight, to `out`; all are addresses.

    Zhang & Sennrich 2019 (arXiv 1910.07467), equation 4, with eps under the root.
    """
    square = np.empty((1, 1), np.float32)
    _1x1(square[0], x, size, x, size, size, address(square), 1, 0)
    scale = np.float32(_ONE / np.sqrt(square[0, 0] / np.float32(size) + np.float32(eps)))
    values, factors, result = floats(x, size), floats(weight, size), floats(out, size)
    for i in range(size):
        result[i] = values[i] * scale * factors[i]
