"""Quantised values and compressed weights of lifted packages, against their documented expansion element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import agree, floats, lifted, mb


def _draw(*shape: int) -> Array:
    return np.random.default_rng(4).standard_normal(shape).astype(np.float32)


def _small(values: Any, kind: str) -> Array:
    """An array of one of MIL's integer types of less than 8 bits, as coremltools holds it."""
    from coremltools.converters.mil.mil import types

    return np.asarray(values, np.int8).astype(types.nptype_from_builtin(getattr(types, kind)))


def _expands(build: Any, want: Array, target: str) -> Any:
    """Assert what a weight expands to, by adding it to zeros."""
    zeros = np.zeros(want.shape, want.dtype)
    found = agree(lambda x: mb.add(x=x, y=build()), {"x": zeros}, target, want=want)
    assert set(found.types) <= {"Add", "Cast"}
    return found


# ------------------------------------------------------------------------------------------------ at run time


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("zero", [True, False])
def test_quantize_and_dequantize(kind: str, axis: int | None, zero: bool) -> None:
    x = _draw(3, 4) * 20
    size = () if axis is None else (x.shape[axis],)
    options: dict[str, Any] = {"scale": np.linspace(0.25, 1, int(np.prod(size)), dtype=np.float32).reshape(size)}
    if axis is not None:
        options["axis"] = axis
    if zero:
        options["zero_point"] = np.full(size, 3, kind)

    def build(x: Any) -> Any:
        stored = mb.quantize(input=x, output_dtype=kind, **options)
        return mb.dequantize(input=stored, **options)

    found = agree(build, {"x": x}, "iOS17")
    assert found.types[:2] == ["QuantizeLinear", "DequantizeLinear"]


def test_quantize_saturates_and_rounds_half_to_even() -> None:
    x = floats([-1000, -0.5, 0.5, 1.5, 2.5, 1000])

    def build(x: Any) -> Any:
        return mb.cast(x=mb.quantize(input=x, scale=floats(1)[()], output_dtype="int8"), dtype="int32")

    agree(build, {"x": x}, "iOS17", want=np.array([-128, 0, 0, 2, 2, 127], np.int32))


# ------------------------------------------------------------------------------------------------ iOS 16


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("per_axis", [None, 0, 1, -1])
def test_affine_dequantize(kind: str, per_axis: int | None) -> None:
    stored = np.arange(12, dtype=kind).reshape(3, 4)
    size = () if per_axis is None else (stored.shape[per_axis],)
    scale = np.asarray(np.linspace(0.5, 2, int(np.prod(size))).reshape(size), np.float32)[()]
    zero = np.asarray(np.arange(int(np.prod(size))).reshape(size), kind)[()]

    def build(x: Any) -> Any:
        y = mb.constexpr_affine_dequantize(quantized_data=stored, zero_point=zero, scale=scale, axis=per_axis or 0)
        return mb.add(x=x, y=y)

    agree(build, {"x": np.zeros((3, 4), np.float32)}, "iOS16")


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_cast(target: str) -> None:
    half = _draw(2, 3).astype(np.float16)
    _expands(lambda: mb.constexpr_cast(source_val=half, output_dtype="fp32"), half.astype(np.float32), target)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_table_with_packed_indices(bits: int) -> None:
    picks = np.random.default_rng(bits).integers(0, 1 << bits, 15)
    table = _draw(1 << bits)
    stream = "".join(format(p, f"0{bits}b")[::-1] for p in picks)
    stream += "0" * (-len(stream) % 8)
    packed = np.array([int(stream[i : i + 8][::-1], 2) for i in range(0, len(stream), 8)], np.uint8)
    shape = np.array([3, 5], np.uint32)
    want = table[picks].reshape(3, 5)
    _expands(lambda: mb.constexpr_lut_to_dense(indices=packed, lut=table, shape=shape), want, "iOS16")


def test_sparse_with_a_packed_mask() -> None:
    mask = np.array([[0, 1, 1, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 1, 0]])
    bits = "".join(map(str, mask.ravel())) + "0"
    packed = np.array([int(bits[i : i + 8][::-1], 2) for i in (0, 8)], np.uint8)
    stored = _draw(5)
    want = np.zeros((3, 5), np.float32)
    want[mask == 1] = stored
    shape = np.array([3, 5], np.uint32)
    _expands(lambda: mb.constexpr_sparse_to_dense(nonzero_data=stored, mask=packed, shape=shape), want, "iOS16")


def test_weights_become_constants_with_a_value_where_an_op_needs_one() -> None:
    x, stored = _draw(1, 3, 4, 4), np.arange(54, dtype=np.int8).reshape(2, 3, 3, 3)

    def build(x: Any) -> Any:
        w = mb.constexpr_affine_dequantize(quantized_data=stored, zero_point=np.int8(4), scale=np.float32(0.1), axis=0)
        return mb.conv(x=x, weight=w)

    assert agree(build, {"x": x}, "iOS16").types == ["Conv"]


def test_simulated_fp16_rounds_the_expanded_weight() -> None:
    stored, scale = np.arange(100, dtype=np.uint8), np.float16(0.3)

    def build(x: Any) -> Any:
        w = mb.constexpr_affine_dequantize(quantized_data=stored, zero_point=np.uint8(0), scale=scale, axis=0)
        return mb.add(x=x, y=w)

    feeds = {"x": np.zeros(100, np.float16)}
    full = stored * np.float32(scale)
    (exact,) = lifted(build, feeds, "iOS16").results.values()
    (rounded,) = lifted(build, feeds, "iOS16", fp16="simulate").results.values()
    np.testing.assert_array_equal(exact, full)
    np.testing.assert_array_equal(rounded, full.astype(np.float16).astype(np.float32))
    assert (exact != rounded).any()


# ------------------------------------------------------------------------------------------------ iOS 18


@pytest.mark.parametrize("kind", ["int4", "uint4", "int8", "uint8"])
@pytest.mark.parametrize("blocks", [(1, 1), (4, 1), (2, 3), (4, 6)])
@pytest.mark.parametrize("offset", ["none", "same", "float"])
def test_blockwise_shift_scale(kind: str, blocks: tuple[int, int], offset: str) -> None:
    low = -8 if kind == "int4" else 0
    values = np.arange(24).reshape(4, 6) % 16 + low
    stored = _small(values, kind) if "4" in kind else values.astype(kind)
    scale = np.abs(_draw(*blocks)) + np.float32(0.5)
    shift = np.arange(np.prod(blocks)).reshape(blocks) % 7
    options: dict[str, Any] = {"data": stored, "scale": scale}
    if offset == "same":
        options["offset"] = _small(shift, kind) if "4" in kind else shift.astype(kind)
    elif offset == "float":
        options["offset"] = shift.astype(np.float32)
    want = np.zeros((4, 6), np.float32)
    for i, j in np.ndindex(4, 6):
        block = i * blocks[0] // 4, j * blocks[1] // 6
        want[i, j] = scale[block] * (values[i, j] - (shift[block] if offset != "none" else 0))
    _expands(lambda: mb.constexpr_blockwise_shift_scale(**options), want, "iOS18")


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("groups", [(1, 1), (2, 1), (3, 2)])
def test_tables_by_group(bits: int, groups: tuple[int, int]) -> None:
    picks = np.random.default_rng(bits).integers(0, 1 << bits, (6, 4))
    tables = _draw(*groups, 1 << bits, 1)
    stored = picks.astype(np.uint8) if bits == 8 else _small(picks, f"uint{bits}")
    want = np.zeros((6, 4), np.float32)
    for i, j in np.ndindex(6, 4):
        want[i, j] = tables[i * groups[0] // 6, j * groups[1] // 4, picks[i, j], 0]
    _expands(lambda: mb.constexpr_lut_to_dense(indices=stored, lut=tables), want, "iOS18")


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("groups", [(1, 1, 1), (2, 1, 1)])
def test_tables_of_vectors(axis: int, groups: tuple[int, int, int]) -> None:
    picks = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]])
    tables = _draw(*groups, 2, 3)
    shape = [2, 2, 2]
    shape[axis] *= 3
    want = np.zeros(shape, np.float32)
    for at in np.ndindex(*shape):
        place = list(at)
        place[axis], k = divmod(place[axis], 3)
        group = tuple(p * g // 2 for p, g in zip(place, groups, strict=True))
        want[at] = tables[(*group, picks[tuple(place)], k)]
    stored = _small(picks, "uint1")
    _expands(lambda: mb.constexpr_lut_to_dense(indices=stored, lut=tables, vector_axis=axis), want, "iOS18")


MASK = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]])


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_sparse(kind: str) -> None:
    stored = _draw(9) if kind == "fp32" else np.arange(1, 10, dtype=np.int8)
    want = np.zeros(MASK.shape, np.float32)
    want[MASK == 1] = stored

    def build() -> Any:
        dense = mb.constexpr_sparse_to_dense(nonzero_data=stored, mask=_small(MASK, "uint1"))
        return mb.cast(x=dense, dtype="fp32") if kind == "int8" else dense

    _expands(build, want, "iOS18")


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_table_of_sparse_indices(axis: int | None) -> None:
    """The example of the op's documentation."""
    picks = [0, 1, 1, 0, 1, 1, 0, 0, 1]
    width = 1 if axis is None else 2
    table = np.array([2, 3], np.float32).reshape(1, 1, 2, 1).repeat(width, axis=3)
    want = np.zeros(MASK.shape, np.float32)
    want[MASK == 1] = table[0, 0, picks, 0]
    options: dict[str, Any] = {} if axis is None else {"vector_axis": axis}
    if axis is not None:
        want = want.repeat(2, axis=axis)

    def build() -> Any:
        mask, values = mb.constexpr_lut_to_sparse(
            indices_mask=_small(MASK, "uint1"), indices_nonzero_data=_small(picks, "uint1"), lut=table, **options
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)

    _expands(build, want, "iOS18")


@pytest.mark.parametrize("offset", [True, False])
def test_scaled_sparse_values(offset: bool) -> None:
    """The example of the op's documentation."""
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
    stored = np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8)
    scale, shift = floats([[0.1, 0.2, 0.3, 0.4]]), np.array([[1, 2, 3, 4]], np.int8)
    want = np.zeros((4, 4), np.float32)
    want[mask == 1] = stored
    want = (want - shift * offset) * scale * mask
    if offset:
        np.testing.assert_allclose(want[mask == 1], [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], rtol=1e-6)
    options: dict[str, Any] = {"offset": shift} if offset else {}

    def build() -> Any:
        found, values = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=_small(mask, "uint1"), nonzero_data=stored, scale=scale, **options
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=found)

    _expands(build, want.astype(np.float32), "iOS18")


def test_a_table_of_quantised_values() -> None:
    picks = np.random.default_rng(1).integers(0, 4, (4, 6))
    table, scale = np.array([-3, 0, 2, 5], np.int8).reshape(1, 1, 4, 1), floats([[0.5], [1], [2], [4]])
    want = (table.ravel()[picks] * scale).astype(np.float32)

    def build() -> Any:
        whole = mb.constexpr_lut_to_dense(indices=_small(picks, "uint2"), lut=table)
        return mb.constexpr_blockwise_shift_scale(data=whole, scale=scale)

    _expands(build, want, "iOS18")
