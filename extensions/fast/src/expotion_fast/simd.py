"""Sixteen lanes at a time inside numba: a vector type and the operations that the kernels are made of.

LLVM lowers them to whatever the target has: one AVX-512 instruction, two of AVX2, four of NEON. Memory is named by
address (int64), as torch gives it (`tensor.data_ptr()`). Only `dot` is several instructions without
AVX-512 VNNI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from expotion_fast.target import multiplies_bytes

LANES = 16
F32, I8, I16, I32, I64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_declared: Any = cgutils.get_or_insert_function
_PrimitiveModel: Any = models.PrimitiveModel
Build = Callable[[Any, Any, Sequence[Any]], Any]
"""(builder, module, values of the arguments) to the value of the result."""


class Vector(types.Type):
    """numba's name for an LLVM vector."""

    def __init__(self, name: str, element: Any) -> None:
        super().__init__(name=name)
        self.llvm = ir.VectorType(element, LANES)


floats = Vector("expotion_f32x16", F32)
whole = Vector("expotion_i32x16", I32)


@register_model(Vector)
class _InRegisters(_PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


_ARITIES: dict[int, Callable[[Any, Any], Any]] = {
    0: lambda signature, code: lambda typing: (signature, code),
    1: lambda signature, code: lambda typing, a: (signature, code),
    2: lambda signature, code: lambda typing, a, b: (signature, code),
    3: lambda signature, code: lambda typing, a, b, c: (signature, code),
}


def _operation(signature: Any, build: Build) -> Any:
    """An intrinsic of a fixed signature."""

    def code(context: Any, builder: Any, _: Any, values: Sequence[Any]) -> Any:
        result = build(builder, builder.module, values)
        return context.get_dummy_value() if signature.return_type == types.void else result

    define: Any = intrinsic
    return define(_ARITIES[len(signature.args)](signature, code))


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(_at(builder, address, kind), align=1)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def _call(name: str, result: Any, arguments: Sequence[Any]) -> Build:
    def build(builder: Any, module: Any, values: Sequence[Any]) -> Any:
        function = _declared(module, ir.FunctionType(result, arguments), name)
        return builder.call(function, values)

    return build


def _same(value: int) -> Any:
    return ir.Constant(whole.llvm, [value] * LANES)


def _vectors(n: int) -> Any:
    return floats(*[floats] * n)


# ------------------------------------------------------------------------------------------------ memory

_address = types.int64
load = _operation(floats(_address), lambda b, m, v: _load(b, v[0], floats.llvm))
load_bf16 = _operation(
    floats(_address),
    lambda b, m, v: b.bitcast(
        b.shl(b.zext(_load(b, v[0], ir.VectorType(I16, LANES)), whole.llvm), _same(16)), floats.llvm
    ),
)
load_i8 = _operation(
    floats(_address),
    lambda b, m, v: b.sitofp(b.sext(_load(b, v[0], ir.VectorType(I8, LANES)), whole.llvm), floats.llvm),
)
load_whole = _operation(whole(_address), lambda b, m, v: _load(b, v[0], whole.llvm))
store = _operation(types.void(_address, floats), lambda b, m, v: b.store(v[1], _at(b, v[0], floats.llvm), align=1))
number = _operation(types.float32(_address), lambda b, m, v: _load(b, v[0], F32))
put = _operation(types.void(_address, types.float32), lambda b, m, v: b.store(v[1], _at(b, v[0], F32), align=1))


def _rounded(builder: Any, bits: Any, constant: Callable[[int], Any]) -> Any:
    """The upper 16 of float32's bits, rounded to nearest even."""
    odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    return builder.lshr(builder.add(bits, builder.add(odd, constant(0x7FFF))), constant(16))


def _put_bf16(b: Any, m: Any, v: Sequence[Any]) -> Any:
    bits = _rounded(b, b.bitcast(v[1], I32), lambda n: ir.Constant(I32, n))
    return b.store(b.trunc(bits, I16), _at(b, v[0], I16), align=1)


put_bf16 = _operation(types.void(_address, types.float32), _put_bf16)


def _store_halves(b: Any, m: Any, v: Sequence[Any]) -> Any:
    """Bytes of 16 numbers 0..65535: the high ones to the first address, the low ones to the second."""
    numbers = b.fptosi(v[2], whole.llvm)
    kind = ir.VectorType(I8, LANES)
    b.store(b.trunc(b.lshr(numbers, _same(8)), kind), _at(b, v[0], kind), align=1)
    return b.store(b.trunc(numbers, kind), _at(b, v[1], kind), align=1)


store_halves = _operation(types.void(_address, _address, floats), _store_halves)


def _store_bytes(b: Any, m: Any, v: Sequence[Any]) -> Any:
    kind = ir.VectorType(I8, LANES)
    return b.store(b.trunc(b.fptosi(v[1], whole.llvm), kind), _at(b, v[0], kind), align=1)


store_bytes = _operation(types.void(_address, floats), _store_bytes)
"""16 numbers 0..255 as bytes."""


def _prefetch(b: Any, m: Any, v: Sequence[Any]) -> Any:
    build = _call("llvm.prefetch.p0", ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    return build(b, m, [_at(b, v[0], I8), *(ir.Constant(I32, n) for n in (0, 2, 1))])


prefetch = _operation(types.void(_address), _prefetch)
"""Ask for the line at an address, which need not exist."""

# -------------------------------------------------------------------------------------------- arithmetic

every = _operation(floats(types.float32), lambda b, m, v: _splat(b, v[0], floats.llvm))
every_whole = _operation(whole(_address), lambda b, m, v: _splat(b, _load(b, v[0], I32), whole.llvm))
"""The four bytes at an address in every lane."""
no_sums = _operation(whole(), lambda b, m, v: _same(0))
add = _operation(_vectors(2), lambda b, m, v: b.fadd(*v))
sub = _operation(_vectors(2), lambda b, m, v: b.fsub(*v))
mul = _operation(_vectors(2), lambda b, m, v: b.fmul(*v))
div = _operation(_vectors(2), lambda b, m, v: b.fdiv(*v))
fma = _operation(_vectors(3), _call("llvm.fma.v16f32", floats.llvm, [floats.llvm] * 3))
"""a b + c."""
smaller = _operation(_vectors(2), _call("llvm.minnum.v16f32", floats.llvm, [floats.llvm] * 2))
larger = _operation(_vectors(2), _call("llvm.maxnum.v16f32", floats.llvm, [floats.llvm] * 2))
nearest = _operation(_vectors(1), _call("llvm.rint.v16f32", floats.llvm, [floats.llvm]))
magnitude = _operation(_vectors(1), _call("llvm.fabs.v16f32", floats.llvm, [floats.llvm]))
with_sign = _operation(_vectors(2), _call("llvm.copysign.v16f32", floats.llvm, [floats.llvm] * 2))
"""|a| with the sign of b."""
to_floats = _operation(floats(whole), lambda b, m, v: b.sitofp(v[0], floats.llvm))


def _power_of_two(b: Any, m: Any, v: Sequence[Any]) -> Any:
    exponent = b.add(b.fptosi(v[0], whole.llvm), _same(127))
    return b.bitcast(b.shl(exponent, _same(23)), floats.llvm)


power_of_two = _operation(_vectors(1), _power_of_two)
"""2^n of whole numbers n in -126..127."""


def _total(b: Any, m: Any, v: Sequence[Any]) -> Any:
    kind = ir.FunctionType(F32, [F32, floats.llvm])
    function = _declared(m, kind, "llvm.vector.reduce.fadd.v16f32")
    return b.call(function, [ir.Constant(F32, 0.0), v[0]], fastmath=("reassoc",))


total = _operation(types.float32(floats), _total)
largest = _operation(types.float32(floats), _call("llvm.vector.reduce.fmax.v16f32", F32, [floats.llvm]))
smallest = _operation(types.float32(floats), _call("llvm.vector.reduce.fmin.v16f32", F32, [floats.llvm]))


def _first(b: Any, m: Any, v: Sequence[Any]) -> Any:
    count = _splat(b, b.trunc(v[1], I32), whole.llvm)
    inside = b.icmp_signed("<", ir.Constant(whole.llvm, list(range(LANES))), count)
    return b.select(inside, v[0], _splat(b, v[2], floats.llvm))


first = _operation(floats(floats, types.int64, types.float32), _first)
"""The first n lanes of a, the others c."""


def _dot(b: Any, m: Any, v: Sequence[Any]) -> Any:
    if multiplies_bytes():
        return _call("llvm.x86.avx512.vpdpbusd.512", whole.llvm, [whole.llvm] * 3)(b, m, v)
    summed, unsigned, signed = v
    for shift in (0, 8, 16, 24):
        byte = b.and_(b.lshr(unsigned, _same(shift)), _same(255))
        summed = b.add(summed, b.mul(byte, b.ashr(b.shl(signed, _same(24 - shift)), _same(24))))
    return summed


dot = _operation(whole(whole, whole, whole), _dot)
"""a + the sum over four bytes of (unsigned) b times (signed) c, in every lane."""

# ---------------------------------------------------------------------------------------------- together

arrive = _operation(
    types.int64(_address), lambda b, m, v: b.atomic_rmw("add", _at(b, v[0], I64), ir.Constant(I64, 1), "seq_cst")
)
arrived = _operation(types.int64(_address), lambda b, m, v: b.load_atomic(_at(b, v[0], I64), "acquire", align=8))


def _give_way(b: Any, m: Any, v: Sequence[Any]) -> Any:
    kind = ir.FunctionType(I32, [])
    return b.sext(b.call(b.inttoptr(v[0], kind.as_pointer()), []), I64)


give_way = _operation(types.int64(_address), _give_way)
"""Call the function at an address: it lets another thread run."""
