"""Reshapes, transposes, joins and splits of lifted packages against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.lift.one_op import agree, lift_program, lifted, mb, program_of, run_graph

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
IMAGE = np.arange(2 * 8 * 4 * 6, dtype=np.float32).reshape(2, 8, 4, 6)
INTS = np.arange(6, dtype=np.int32).reshape(2, 3)
FLAGS = INTS % 2 == 0


@pytest.mark.parametrize("x", [X[0, :2, :3].copy(), INTS, FLAGS], ids=["fp32", "int32", "bool"])
def test_every_element_type_is_moved(x: Any) -> None:
    feeds = {"x": x}
    agree(lambda x: mb.identity(x=x), feeds, want=x)
    agree(lambda x: mb.reshape(x=x, shape=[3, 2]), feeds, want=x.reshape(3, 2))
    agree(lambda x: mb.transpose(x=x, perm=[1, 0]), feeds, want=x.T)
    agree(lambda x: mb.expand_dims(x=x, axes=[-1, 0]), feeds, want=x[None, :, :, None])
    agree(lambda x: mb.concat(values=[x, x], axis=-1), feeds, want=np.concatenate([x, x], -1))
    agree(lambda x: mb.stack(values=[x, x], axis=-1), feeds, want=np.stack([x, x], -1))
    agree(lambda x: mb.tile(x=x, reps=[2, 1]), feeds, want=np.tile(x, [2, 1]))
    agree(lambda x: mb.split(x=x, num_splits=3, axis=1), feeds, want=np.split(x, 3, 1))
    agree(lambda x: mb.flatten2d(x=x), feeds, want=x)


@pytest.mark.parametrize(
    ("target", "shape", "want"),
    [
        ("iOS15", [4, -1], (4, 6)), ("iOS15", [0, -1, 2], (2, 6, 2)), ("iOS15", [24], (24,)),
        ("iOS17", [0, 0, -1], (2, 3, 4)), ("iOS17", [1, 0, -1, 0, 0], (1, 1, 2, 3, 4)), ("iOS17", [-1, 0], (6, 4)),
    ],
)  # fmt: skip
def test_reshape(target: str, shape: list[int], want: tuple[int, ...]) -> None:
    agree(lambda x: mb.reshape(x=x, shape=shape), {"x": X}, target, want=X.reshape(want))


def test_reshape_to_a_computed_shape() -> None:
    shape = np.array([4, 6], np.int32)
    found = lifted(lambda x, s: mb.reshape(x=x, shape=s), {"x": X, "s": shape})
    np.testing.assert_array_equal(next(iter(found.results.values())), X.reshape(4, 6))
    assert "assumed to hold no 0" in found.warnings[0]
    agree(lambda x, s: mb.reshape(x=x, shape=s), {"x": X, "s": np.array([0, -1, 2], np.int32)}, want=X.reshape(2, 6, 2))


def test_reshape_like() -> None:
    options: dict[str, Any] = {
        "begins": [np.int32(0), np.int32(1)], "ends": [np.int32(1), np.int32(0)], "end_masks": [False, True]
    }  # fmt: skip
    other = np.zeros((5, 12), np.float32)
    for target in ("iOS16", "iOS17"):
        agree(lambda x, a, b: mb.reshape_like(x=x, ref_tensors=[a, b], **options), {"x": X, "a": X, "b": other}, target,
              want=X.reshape(2, 12))  # fmt: skip


def test_squeeze_follows_pytorch() -> None:
    x = X[:, :1, :, None]
    agree(lambda x: mb.squeeze(x=x), {"x": x}, want=x.squeeze())
    agree(lambda x: mb.squeeze(x=x, axes=[-1]), {"x": x}, want=x.squeeze(-1))
    found = agree(lambda x: mb.squeeze(x=x, axes=[0, 1]), {"x": x}, want=x[:, 0])
    assert "Squeeze" in found.types
    agree(lambda x: mb.squeeze(x=x, axes=[0]), {"x": x}, want=x)


def test_transpose_with_negative_axes() -> None:
    agree(lambda x: mb.transpose(x=x, perm=[-1, 0, -2]), {"x": X}, want=X.transpose(2, 0, 1))


@pytest.mark.parametrize("axis", [-2, -1, 0, 1, 2])
def test_flatten2d(axis: int) -> None:
    shape = (int(np.prod(X.shape[:axis])), int(np.prod(X.shape[axis:])))
    agree(lambda x: mb.flatten2d(x=x, axis=axis), {"x": X}, want=X.reshape(shape))


def test_shape_of_a_value() -> None:
    agree(lambda x: mb.shape(x=x), {"x": X}, want=np.array(X.shape, np.int32))


def _dcr(x: Any, b: int) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _crd(x: Any, b: int) -> Any:
    n, c, h, w = x.shape
    return x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)


def test_depth_and_space() -> None:
    agree(lambda x: mb.depth_to_space(x=x, block_size=2), {"x": IMAGE}, want=_dcr(IMAGE, 2))
    agree(lambda x: mb.pixel_shuffle(x=x, upscale_factor=2), {"x": IMAGE}, want=_crd(IMAGE, 2))
    agree(lambda x: mb.space_to_depth(x=x, block_size=2), {"x": _dcr(IMAGE, 2)}, want=IMAGE)
    shuffled = _crd(IMAGE, 2)
    agree(lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)), {"x": shuffled}, "iOS16", want=IMAGE)


def test_batch_and_space() -> None:
    block, crops = [2, 3], [[1, 1], [2, 1]]
    padded = np.pad(IMAGE, [(0, 0), (0, 0), (1, 1), (2, 1)])
    n, c, h, w = padded.shape
    want = padded.reshape(n, c, h // 2, 2, w // 3, 3).transpose(3, 5, 0, 1, 2, 4).reshape(n * 6, c, h // 2, w // 3)
    agree(lambda x: mb.space_to_batch(x=x, block_shape=block, paddings=crops), {"x": IMAGE}, want=want)
    agree(lambda x: mb.batch_to_space(x=x, block_shape=block, crops=crops), {"x": want}, want=IMAGE)


def test_concat_interleaved() -> None:
    y, want = X + 100, np.empty((2, 6, 4), np.float32)
    want[:, 0::2], want[:, 1::2] = X, y
    agree(lambda x, y: mb.concat(values=[x, y], axis=1, interleave=True), {"x": X, "y": y}, want=want)
    plain = np.concatenate([X, y], 1)
    agree(lambda x, y: mb.concat(values=[x, y], axis=-2, interleave=False), {"x": X, "y": y}, want=plain)


def test_concat_of_scalars() -> None:
    def build(x: Any) -> Any:
        a, b = (mb.squeeze(x=part, axes=[0]) for part in mb.split(x=x, num_splits=2, axis=0))
        return mb.concat(values=[b, a], axis=0)

    agree(build, {"x": np.array([1, 2], np.int32)}, want=np.array([2, 1], np.int32))


def test_split_by_sizes() -> None:
    agree(lambda x: mb.split(x=x, split_sizes=[1, 2, 1], axis=-1), {"x": X}, want=np.split(X, [1, 3], -1))
    agree(lambda x: mb.split(x=x, split_sizes=[1, 2], num_splits=2, axis=1), {"x": X}, want=np.split(X, [1], 1))


def test_tile_by_computed_counts() -> None:
    reps = np.array([2, 1, 3], np.int32)
    agree(lambda x, r: mb.tile(x=x, reps=r), {"x": X, "r": reps}, want=np.tile(X, reps))


def test_stack_in_front() -> None:
    agree(lambda x, y: mb.stack(values=[x, y], axis=0), {"x": X, "y": X + 1}, want=np.stack([X, X + 1]))


def test_sizes_that_must_be_known() -> None:
    from coremltools.converters.mil.mil import get_new_symbol

    x = X[0, :, :2].copy()
    spec = mb.placeholder(shape=(get_new_symbol(), 2))
    program = program_of(lambda x: mb.concat(values=[x, x], axis=0, interleave=True), {"x": x}, x=spec)
    with pytest.raises(UnsupportedError, match="size is not fixed"):
        lift_program(program)
    program = program_of(lambda x: mb.squeeze(x=x, axes=[0]), {"x": x}, x=spec)
    graph = lift_program(program)
    np.testing.assert_array_equal(next(iter(run_graph(graph, {"x": x}).values())), x)
    assert "a size is not known" in graph.graph["lift_warnings"][0]
