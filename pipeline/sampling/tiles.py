"""Small matrix products for the engine, written in LLVM's own terms and compiled by numba on the node itself.

A loop over arrays does not get what these need: sums that stay in registers, and the processor's int8 dot product (VNNI).
numba is here for training already and needs no compiler installed; torch spends longer on calling an operator than one
lane's step takes, and its int8 operators scale activations by what is in the batch, so that lane-mates would change a
sample.

A product adds to what `out` (W lanes, N outputs) holds; weights lie in panels of COLUMNS outputs. float32 sums go in order
of k with fused multiply-adds, int8 sums are integers: how many lanes are stepped together changes no bit, and neither does
the width of the processor's registers.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

COLUMNS = 64  # of a panel: four registers of 16
GROUP = 4  # int8 inputs that one instruction takes
_WIDTH = 16
_VNNI = bool(llvmlite.binding.get_host_cpu_features().get("avx512vnni"))
_F32, _I8, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
_F32S, _I32S, _I8S = ir.VectorType(_F32, _WIDTH), ir.VectorType(_I32, _WIDTH), ir.VectorType(_I8, _WIDTH * GROUP)


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    """A vector that holds one value in every place."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(_I32S, None))


def _at(builder: Any, base: Any, offset_bytes: Any, kind: Any) -> Any:
    """A pointer to `kind`, some bytes behind an address."""
    return builder.inttoptr(builder.add(base, offset_bytes), kind.as_pointer())


def _load(builder: Any, base: Any, offset_bytes: Any, kind: Any) -> Any:
    loaded = builder.load(_at(builder, base, offset_bytes, kind))
    loaded.align = 4 if kind is not _I8 else 1
    return loaded


def _store(builder: Any, value: Any, base: Any, offset_bytes: Any) -> None:
    stored = builder.store(value, _at(builder, base, offset_bytes, value.type))
    stored.align = 4


def _accumulate(builder: Any, count: Any, starts: list[Any], body: Any) -> list[Any]:
    """A loop over k in 0..count with values in registers: body(k, values) gives the next values."""
    before = builder.block
    loop, after = builder.append_basic_block("k"), builder.append_basic_block("done")
    zero = ir.Constant(_I64, 0)
    builder.cbranch(builder.icmp_signed(">", count, zero), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(_I64)
    k.add_incoming(zero, before)
    values = [builder.phi(start.type) for start in starts]
    for value, start in zip(values, starts, strict=True):
        value.add_incoming(start, before)
    ends = body(k, values)
    following = builder.add(k, ir.Constant(_I64, 1))
    k.add_incoming(following, builder.block)
    for value, end in zip(values, ends, strict=True):
        value.add_incoming(end, builder.block)
    last = builder.block
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    results = [builder.phi(start.type) for start in starts]
    for result, start, end in zip(results, starts, ends, strict=True):
        result.add_incoming(start, before)
        result.add_incoming(end, last)
    return results


def _operation(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """One of LLVM's own functions, declared once a module."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def float_tile(rows: int) -> Any:
    """A product of `rows` lanes with one panel, in float32: out += x @ panel, each output's terms in order of k.

    Addresses: out (rows, N) at out_stride bytes a row, x (rows, K) likewise, panel (K, COLUMNS).
    """

    @intrinsic
    def tile(typing: Any, out: Any, out_stride: Any, x: Any, x_stride: Any, panel: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            out, out_stride, x, x_stride, panel, count = args
            places = [
                builder.add(builder.mul(out_stride, ir.Constant(_I64, row)), ir.Constant(_I64, 4 * _WIDTH * part))
                for row in range(rows)
                for part in range(COLUMNS // _WIDTH)
            ]
            inputs = [builder.add(x, builder.mul(x_stride, ir.Constant(_I64, row))) for row in range(rows)]

            def body(k: Any, sums: list[Any]) -> list[Any]:
                at = builder.mul(k, ir.Constant(_I64, 4 * COLUMNS))
                weights = [
                    _load(builder, panel, builder.add(at, ir.Constant(_I64, 4 * _WIDTH * part)), _F32S)
                    for part in range(COLUMNS // _WIDTH)
                ]
                column = builder.mul(k, ir.Constant(_I64, 4))
                values = [_splat(builder, _load(builder, row, column, _F32), _F32S) for row in inputs]
                fma = _operation(builder, "llvm.fma.v16f32", _F32S, [_F32S] * 3)
                terms = [(value, weight) for value in values for weight in weights]
                return [builder.call(fma, [value, weight, s]) for (value, weight), s in zip(terms, sums, strict=True)]

            sums = _accumulate(builder, count, [_load(builder, out, place, _F32S) for place in places], body)
            for value, place in zip(sums, places, strict=True):
                _store(builder, value, out, place)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 6), generate

    return tile


def int_tile(rows: int) -> Any:
    """A product of `rows` lanes with one panel, in int8 with 32-bit sums: out += (x @ panel - 128 sum) * scale.

    x holds int8 values plus 128, as unsigned bytes (rows, K); `start` (COLUMNS) is what that adds to each output, negated.
    panel is (K / GROUP, COLUMNS, GROUP) signed bytes, scale (COLUMNS) float32.
    """

    @intrinsic
    def tile(
        typing: Any, out: Any, out_stride: Any, x: Any, x_stride: Any, panel: Any, count: Any, start: Any, scale: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            out, out_stride, x, x_stride, panel, count, start, scale = args
            parts = [ir.Constant(_I64, 4 * _WIDTH * part) for part in range(COLUMNS // _WIDTH)]
            inputs = [builder.add(x, builder.mul(x_stride, ir.Constant(_I64, row))) for row in range(rows)]
            dot = _dot(builder)

            def body(k: Any, sums: list[Any]) -> list[Any]:
                at = builder.mul(k, ir.Constant(_I64, GROUP * COLUMNS))
                weights = [_load(builder, panel, builder.add(at, part), _I32S) for part in parts]
                column = builder.mul(k, ir.Constant(_I64, GROUP))
                values = [_splat(builder, _load(builder, row, column, _I32), _I32S) for row in inputs]
                terms = [(value, weight) for value in values for weight in weights]
                return [dot(s, value, weight) for (value, weight), s in zip(terms, sums, strict=True)]

            first = [_load(builder, start, part, _I32S) for part in parts]
            sums = _accumulate(builder, count, first * rows, body)
            for index, value in enumerate(sums):
                row, part = divmod(index, len(parts))
                place = builder.add(builder.mul(out_stride, ir.Constant(_I64, row)), parts[part])
                scaled = builder.fmul(builder.sitofp(value, _F32S), _load(builder, scale, parts[part], _F32S))
                _store(builder, builder.fadd(_load(builder, out, place, _F32S), scaled), out, place)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 8), generate

    return tile


def _dot(builder: Any) -> Any:
    """Sums (16 of int32) plus products of four unsigned bytes with four signed ones in each place."""
    if _VNNI:
        vpdpbusd = _operation(builder, "llvm.x86.avx512.vpdpbusd.512", _I32S, [_I32S, _I8S, _I8S])
        return lambda s, x, w: builder.call(vpdpbusd, [s, builder.bitcast(x, _I8S), builder.bitcast(w, _I8S)])

    def portable(s: Any, x: Any, w: Any) -> Any:
        for byte in range(GROUP):
            shift = ir.Constant(_I32S, [8 * byte] * _WIDTH)
            low = builder.and_(builder.lshr(x, shift), ir.Constant(_I32S, [255] * _WIDTH))
            up = ir.Constant(_I32S, [8 * (GROUP - 1 - byte)] * _WIDTH)
            signed = builder.ashr(builder.shl(w, up), ir.Constant(_I32S, [8 * (GROUP - 1)] * _WIDTH))
            s = builder.add(s, builder.mul(low, signed))
        return s

    return portable
