"""Small matrix products for the engine, written in LLVM's own terms and compiled by numba on the
node itself.

A loop over arrays does not get what these need: sums that stay in registers, and the processor's
int8 dot product (VNNI). numba is here for training already and needs no compiler installed. torch
spends longer on calling an operator than one lane's step takes. Its int8 operators also scale
activations by what is in the batch, so lane-mates would change a sample.

A product adds to what `out` (W lanes, N outputs) holds; weights lie in panels of COLUMNS outputs.
float32 sums go in order of k with fused multiply-adds, int8 sums are integers. So how many lanes
are stepped together changes no bit, and neither does the width of the processor's registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pipeline.engine.compiling import target_features

COLUMNS = 64  # of a panel: four registers of 16
GROUP = 4  # int8 inputs that one instruction takes
# Numbers in a register of AVX-512. For a processor with narrower ones LLVM takes two or four.
_WIDTH = 16
# The target decides, not the host: LLVM ends the process at an instruction that the target lacks.
_VNNI = "avx512vnni" in target_features()

_F32 = ir.FloatType()
_I8 = ir.IntType(8)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_F32S = ir.VectorType(_F32, _WIDTH)
_I32S = ir.VectorType(_I32, _WIDTH)
_I8S = ir.VectorType(_I8, _WIDTH * GROUP)

# Bytes from one register of a panel's row to the next, in out, panel (float32) and scale.
_PARTS = [ir.Constant(_I64, 4 * _WIDTH * part) for part in range(COLUMNS // _WIDTH)]


def float_tile(rows: int) -> Any:
    """A product of `rows` lanes with one panel, in float32: out += x @ panel, each output's terms
    in order of k.

    Addresses: out (rows, N) at out_stride bytes a row, x (rows, K) likewise, panel (K, COLUMNS).
    """

    @intrinsic
    def tile(
        typing: Any, out: Any, out_stride: Any, x: Any, x_stride: Any, panel: Any, count: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            out, out_stride, x, x_stride, panel, count = args
            inputs = _rows(builder, x, x_stride, rows)
            places = [
                builder.add(row, part)
                for row in _rows(builder, ir.Constant(_I64, 0), out_stride, rows)
                for part in _PARTS
            ]
            fma = _operation(builder, "llvm.fma.v16f32", _F32S, [_F32S] * 3)

            def body(k: Any, sums: list[Any]) -> list[Any]:
                panel_row = builder.mul(k, ir.Constant(_I64, 4 * COLUMNS))
                column = builder.mul(k, ir.Constant(_I64, 4))
                weights = _load_row(builder, panel, panel_row, _F32S)
                values = [
                    _splat(builder, _load(builder, row, column, _F32), _F32S) for row in inputs
                ]
                terms = [(value, weight) for value in values for weight in weights]
                return [
                    builder.call(fma, [value, weight, total])
                    for (value, weight), total in zip(terms, sums, strict=True)
                ]

            # The sums begin with what `out` holds, so a bias costs no pass of its own.
            starts = [_load(builder, out, place, _F32S) for place in places]
            sums = _accumulate(builder, count, starts, body)
            for total, place in zip(sums, places, strict=True):
                _store(builder, total, out, place)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 6), generate

    return tile


def int_tile(rows: int) -> Any:
    """A product of `rows` lanes with one panel, in int8 with 32-bit sums: out += (x @ panel - 128
    sum) * scale.

    x holds int8 values plus 128, as unsigned bytes (rows, K); `start` (COLUMNS) is what that adds
    to each output, negated. panel is (K / GROUP, COLUMNS, GROUP) signed bytes, scale (COLUMNS)
    float32.
    """

    @intrinsic
    def tile(
        typing: Any,
        out: Any,
        out_stride: Any,
        x: Any,
        x_stride: Any,
        panel: Any,
        count: Any,
        start: Any,
        scale: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            out, out_stride, x, x_stride, panel, count, start, scale = args
            inputs = _rows(builder, x, x_stride, rows)
            dot = _dot(builder)

            def body(k: Any, sums: list[Any]) -> list[Any]:
                panel_row = builder.mul(k, ir.Constant(_I64, GROUP * COLUMNS))
                column = builder.mul(k, ir.Constant(_I64, GROUP))
                weights = _load_row(builder, panel, panel_row, _I32S)
                values = [
                    _splat(builder, _load(builder, row, column, _I32), _I32S) for row in inputs
                ]
                terms = [(value, weight) for value in values for weight in weights]
                return [
                    dot(total, value, weight)
                    for (value, weight), total in zip(terms, sums, strict=True)
                ]

            starts = _load_row(builder, start, ir.Constant(_I64, 0), _I32S) * rows
            sums = _accumulate(builder, count, starts, body)
            places = [
                (row, part)
                for row in _rows(builder, ir.Constant(_I64, 0), out_stride, rows)
                for part in _PARTS
            ]
            for total, (row, part) in zip(sums, places, strict=True):
                # Rounded twice, as in numpy: LLVM fuses nothing that it is not asked to.
                place = builder.add(row, part)
                factor = _load(builder, scale, part, _F32S)
                scaled = builder.fmul(builder.sitofp(total, _F32S), factor)
                before = _load(builder, out, place, _F32S)
                _store(builder, builder.fadd(before, scaled), out, place)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 8), generate

    return tile


def _dot(builder: Any) -> Any:
    """A builder of: sums (16 of int32), to each of which four products of bytes are added.

    Of a product's bytes the first is unsigned, the second signed.
    """
    if _VNNI:
        name = "llvm.x86.avx512.vpdpbusd.512"
        instruction = _operation(builder, name, _I32S, [_I32S, _I8S, _I8S])

        def by_instruction(total: Any, x: Any, weight: Any) -> Any:
            arguments = [total, builder.bitcast(x, _I8S), builder.bitcast(weight, _I8S)]
            return builder.call(instruction, arguments)

        return by_instruction

    # The same integers from shifts and multiplications, byte by byte, on processors without the
    # instruction.
    def by_shifts(total: Any, x: Any, weight: Any) -> Any:
        for byte in range(GROUP):
            right = ir.Constant(_I32S, [8 * byte] * _WIDTH)
            unsigned = builder.and_(builder.lshr(x, right), ir.Constant(_I32S, [255] * _WIDTH))
            left = ir.Constant(_I32S, [8 * (GROUP - 1 - byte)] * _WIDTH)
            top = ir.Constant(_I32S, [8 * (GROUP - 1)] * _WIDTH)
            signed = builder.ashr(builder.shl(weight, left), top)
            total = builder.add(total, builder.mul(unsigned, signed))
        return total

    return by_shifts


def _accumulate(builder: Any, count: Any, starts: list[Any], body: Any) -> list[Any]:
    """A loop over k in 0..count with values in registers: body(k, values) gives the next values."""
    # Phi nodes keep the sums in registers; in memory, every term would load and store one.
    before = builder.block
    loop = builder.append_basic_block("k")
    after = builder.append_basic_block("done")
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


def _rows(builder: Any, base: Any, stride: Any, rows: int) -> list[Any]:
    """The addresses of rows, `stride` bytes apart."""
    return [builder.add(base, builder.mul(stride, ir.Constant(_I64, row))) for row in range(rows)]


def _load_row(builder: Any, base: Any, offset_bytes: Any, kind: Any) -> list[Any]:
    """A panel's row of COLUMNS places, in registers."""
    return [_load(builder, base, builder.add(offset_bytes, part), kind) for part in _PARTS]


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    """A vector that holds one value in every place."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_I32S, None))


def _load(builder: Any, base: Any, offset_bytes: Any, kind: Any) -> Any:
    loaded = builder.load(_pointer(builder, base, offset_bytes, kind))
    loaded.align = 4  # numpy promises no more for a row of float32 or int32
    return loaded


def _store(builder: Any, value: Any, base: Any, offset_bytes: Any) -> None:
    stored = builder.store(value, _pointer(builder, base, offset_bytes, value.type))
    stored.align = 4


def _pointer(builder: Any, base: Any, offset_bytes: Any, kind: Any) -> Any:
    """A pointer to `kind`, some bytes behind an address."""
    return builder.inttoptr(builder.add(base, offset_bytes), kind.as_pointer())


def _operation(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """One of LLVM's own functions, declared once a module."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)
