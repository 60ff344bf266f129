"""The loops that must keep their sums in registers, written as LLVM code for numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
"""Inner dimensions must be multiples of this."""
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INT32 = ir.IntType(32)
_BYTES = 4


def tile_of(rows: int, columns: int) -> Callable[..., None]:
    """Return a function that computes `rows` x `columns` dot products in registers.

    Its arguments, an empty array of the kind that w is stored in (float32, int16 for half
    precision, uint16 for bfloat16: numba knows neither), then addresses and elements: x, its
    row stride, w, its row stride, the inner dimension, y, its row stride, and how many bytes
    ahead memory is asked for weights.
    """

    @intrinsic
    def tile(  # type: ignore[no-untyped-def]
        _context, kind, x, x_stride, w, w_stride, depth, y, y_stride, ahead
    ):
        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            _dots(builder, rows, columns, kind.dtype, *args[1:])
            return context.get_dummy_value()

        return types.void(kind, *[types.intp] * 8), generate

    found: Callable[..., None] = tile
    return found


def _fma(build: Any) -> Any:
    return cgutils.get_or_insert_function(
        build.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
    )


def _number(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def _dots(
    build: Any, rows: int, columns: int, kind: Any, x: Any, x_stride: Any, w: Any, w_stride: Any,
    depth: Any, y: Any, y_stride: Any, ahead: Any,
) -> None:  # fmt: skip
    """Write the loop over the inner dimension and what follows it."""
    size = kind.bitwidth // 8

    def line(start: Any, stride: Any, index: int, size: int = _BYTES) -> Any:
        return build.add(start, build.mul(_number(size * index), stride))

    lines_x = [line(x, x_stride, i) for i in range(rows)]
    lines_w = [line(w, w_stride, j, size) for j in range(columns)]
    multiply = _fma(build)
    fetch = cgutils.get_or_insert_function(
        build.module,
        ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _INT32, _INT32, _INT32]),
        "llvm.prefetch.p0",
    )
    before = build.block
    loop, after = build.append_basic_block("dots"), build.append_basic_block("sum")
    build.branch(loop)
    build.position_at_end(loop)
    inner = build.phi(x.type)
    sums = [[build.phi(_VECTOR) for _ in range(columns)] for _ in range(rows)]
    offset = build.mul(inner, _number(_BYTES))
    offset_w = build.mul(inner, _number(size))
    later = build.add(offset_w, ahead)
    for start in lines_w:
        place = build.inttoptr(build.add(start, later), ir.IntType(8).as_pointer())
        build.call(fetch, [place, *(ir.Constant(_INT32, c) for c in (0, 3, 1))])

    weights = [_widened(build, build.add(start, offset_w), kind) for start in lines_w]
    fresh = []
    for i in range(rows):
        values = _load(build, build.add(lines_x[i], offset))
        fresh.append(
            [
                build.call(multiply, [values, one, s])
                for one, s in zip(weights, sums[i], strict=True)
            ]
        )
    following = build.add(inner, _number(LANES))
    build.cbranch(build.icmp_signed("<", following, depth), loop, after)
    inner.add_incoming(_number(0), before)
    inner.add_incoming(following, loop)
    for i in range(rows):
        for j in range(columns):
            sums[i][j].add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
            sums[i][j].add_incoming(fresh[i][j], loop)
    build.position_at_end(after)
    for i in range(rows):
        for j in range(columns):
            place = build.add(line(y, y_stride, i), _number(_BYTES * j))
            build.store(_sum(build, fresh[i][j]), build.inttoptr(place, _FLOAT.as_pointer()))


def _load(build: Any, where: Any) -> Any:
    return build.load(build.inttoptr(where, _VECTOR.as_pointer()), align=_BYTES)


def _widened(build: Any, where: Any, kind: Any) -> Any:
    """Load weights of any kind as float32, which holds them exactly."""
    if kind == types.float32:
        return _load(build, where)
    stored = ir.IntType(16) if kind == types.uint16 else ir.HalfType()
    place = build.inttoptr(where, ir.VectorType(stored, LANES).as_pointer())
    values = build.load(place, align=kind.bitwidth // 8)
    if kind == types.int16:
        return build.fpext(values, _VECTOR)
    wide = ir.VectorType(_INT32, LANES)
    shifted = build.shl(build.zext(values, wide), ir.Constant(wide, [16] * LANES))
    return build.bitcast(shifted, _VECTOR)


def _sum(build: Any, lanes: Any) -> Any:
    """Add the lanes of a vector: halves to halves until one is left."""
    count = LANES
    while count > 1:
        count //= 2
        nothing = ir.Constant(lanes.type, ir.Undefined)
        low, high = (
            build.shuffle_vector(
                lanes, nothing, ir.Constant(ir.VectorType(_INT32, count), list(range(s, s + count)))
            )
            for s in (0, count)
        )
        lanes = build.fadd(low, high)
    return build.extract_element(lanes, ir.Constant(_INT32, 0))


def blend_of(vectors: int) -> Callable[..., None]:
    """Return a function that adds up ``[count]`` rows of floats, each times its factor.

    Its arguments, addresses and elements: the factors, the rows, their stride, their number, and
    where the ``[vectors · LANES]`` sums go. The rows are added in their order.
    """

    @intrinsic
    def blend(  # type: ignore[no-untyped-def]
        _context, factors, rows, stride, count, out
    ):
        def generate(context: Any, build: Any, _signature: Any, args: Any) -> Any:
            factors, rows, stride, count, out = args
            multiply, before = _fma(build), build.block
            loop, after = build.append_basic_block("rows"), build.append_basic_block("end")
            build.branch(loop)
            build.position_at_end(loop)
            index = build.phi(count.type)
            sums = [build.phi(_VECTOR) for _ in range(vectors)]
            place = build.add(factors, build.mul(index, _number(_BYTES)))
            factor = build.load(build.inttoptr(place, _FLOAT.as_pointer()))
            first = build.insert_element(ir.Constant(_VECTOR, ir.Undefined), factor, _INT32(0))
            spread = build.shuffle_vector(
                first, first, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
            )
            row = build.add(rows, build.mul(build.mul(index, stride), _number(_BYTES)))
            following = build.add(index, _number(1))
            offsets = [_number(_BYTES * LANES * j) for j in range(vectors)]
            for total, offset in zip(sums, offsets, strict=True):
                value = _load(build, build.add(row, offset))
                total.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
                total.add_incoming(build.call(multiply, [spread, value, total]), loop)
            index.add_incoming(_number(0), before)
            index.add_incoming(following, loop)
            build.cbranch(build.icmp_signed("<", following, count), loop, after)
            build.position_at_end(after)
            for total, offset in zip(sums, offsets, strict=True):
                place = build.inttoptr(build.add(out, offset), _VECTOR.as_pointer())
                build.store(total.incomings[1][0], place, align=_BYTES)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), generate

    found: Callable[..., None] = blend
    return found


@intrinsic
def pointer(_context, address):  # type: ignore[no-untyped-def]
    """Return an address as a pointer to float32."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _FLOAT.as_pointer())

    return types.CPointer(types.float32)(types.intp), generate
