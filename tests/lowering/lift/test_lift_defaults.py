"""Parameters that a package leaves out have the defaults that coremltools documents.

coremltools writes every parameter down; other tools need not. Each op is saved, its parameters that hold their default
are taken out of the file, and it must compute the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.lowering.lift import lift
from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import Build, mb, program_of, run_graph, save

X = np.random.default_rng(5).standard_normal((2, 4, 6, 6)).astype(np.float32)
ROW = X[0, 0]
INDICES = np.array([[2, 0, 1], [1, 1, 0]], np.int32)
WEIGHT = X[:, :, :3, :3]
SQUARE = np.abs(X[:, :2, :2, :2])

CASES: dict[str, tuple[str, Build, Array]] = {
    "gelu": ("iOS15", lambda x: mb.gelu(x=x), X),
    "softmax": ("iOS15", lambda x: mb.softmax(x=x), X),
    "conv": ("iOS15", lambda x: mb.conv(x=x, weight=WEIGHT), X),
    "conv_transpose": ("iOS15", lambda x: mb.conv_transpose(x=x, weight=X[:, :, :3, :3].swapaxes(0, 1)), X),
    "max_pool": ("iOS15", lambda x: mb.max_pool(x=x, kernel_sizes=[2, 3], pad_type="valid"), X),
    "avg_pool": ("iOS15", lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 3], pad_type="valid"), X),
    "avg_pool padded": (
        "iOS15", lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 3], pad_type="custom", pad=[1, 1, 1, 0]), X,
    ),
    "l2_pool": ("iOS15", lambda x: mb.l2_pool(x=x, kernel_sizes=[2, 3], pad_type="valid"), X),
    "layer_norm": ("iOS15", lambda x: mb.layer_norm(x=x, axes=[1, 2, 3]), X / 100),
    "instance_norm": ("iOS15", lambda x: mb.instance_norm(x=x), X / 100),
    "batch_norm": (
        "iOS15", lambda x: mb.batch_norm(x=x, mean=X[0, :, 0, 0], variance=np.full(4, 1e-5, np.float32)), X,
    ),
    "l2_norm": ("iOS15", lambda x: mb.l2_norm(x=x), X / 10000),
    "local_response_norm": ("iOS15", lambda x: mb.local_response_norm(x=x, size=3), X * 100),
    "matmul": ("iOS15", lambda x: mb.matmul(x=x, y=X), X),
    "linear": ("iOS15", lambda x: mb.linear(x=x, weight=X[0, 0]), X),
    "log": ("iOS15", lambda x: mb.log(x=x), SQUARE / 1e6),
    "rsqrt": ("iOS15", lambda x: mb.rsqrt(x=x), SQUARE * 1e-12),
    "inverse": ("iOS15", lambda x: mb.inverse(x=x), SQUARE / 1000),
    "cumsum": ("iOS15", lambda x: mb.cumsum(x=x), X),
    "reduce_sum": ("iOS15", lambda x: mb.reduce_sum(x=x), X),
    "reduce_mean": ("iOS15", lambda x: mb.reduce_mean(x=x, axes=[1]), X),
    "reduce_argmax": ("iOS15", lambda x: mb.reduce_argmax(x=x), X),
    "topk": ("iOS15", lambda x: mb.topk(x=x), X),
    "topk of iOS 17": ("iOS17", lambda x: mb.topk(x=x, k=2), X),
    "argsort": ("iOS15", lambda x: mb.argsort(x=x), X),
    "gather": ("iOS15", lambda x: mb.gather(x=x, indices=[1, 0]), X),
    "gather of iOS 17": ("iOS17", lambda x: mb.gather(x=x, indices=[1, 0]), X),
    "gather_nd": ("iOS17", lambda x: mb.gather_nd(x=x, indices=[[1, 0], [0, 2]]), X),
    "gather_along_axis": ("iOS15", lambda x: mb.gather_along_axis(x=x, indices=INDICES), ROW[:, :3]),
    "scatter": ("iOS15", lambda x: mb.scatter(data=x, indices=[1, 0], updates=X[:2, 0, 0]), ROW),
    "scatter_nd": ("iOS15", lambda x: mb.scatter_nd(data=x, indices=[[1], [0]], updates=X[:2, 0, 0]), ROW),
    "scatter_along_axis": (
        "iOS15", lambda x: mb.scatter_along_axis(data=x, indices=INDICES, updates=X[0, 0, :2, :3]), ROW[:, :3],
    ),
    "sliding_windows": ("iOS15", lambda x: mb.sliding_windows(x=x, axis=2, size=3), X),
    "reverse_sequence": ("iOS15", lambda x: mb.reverse_sequence(x=x, lengths=[1, 3], seq_axis=1), X),
    "pad": ("iOS15", lambda x: mb.pad(x=x, pad=[1, 0, 2, 1]), X),
    "concat": ("iOS15", lambda x: mb.concat(values=[x, x], axis=1), X),
    "flatten2d": ("iOS15", lambda x: mb.flatten2d(x=x), X),
    "band_part": ("iOS15", lambda x: mb.band_part(x=x), X),
    "one_hot": ("iOS15", lambda x: mb.one_hot(indices=x, one_hot_vector_size=4), INDICES),
    "upsample_nearest_neighbor": ("iOS15", lambda x: mb.upsample_nearest_neighbor(x=x), X),
    "upsample_bilinear": ("iOS15", lambda x: mb.upsample_bilinear(x=x), X),
    "resize_bilinear": ("iOS15", lambda x: mb.resize_bilinear(x=x), X),
}  # fmt: skip


def _stripped(path: Path, kinds: dict[str, Any]) -> int:
    """Take the parameters that hold their default out of the ops of a package; how many there were."""
    from coremltools import proto

    file = next(path.rglob("*.mlmodel"))
    model = proto.Model_pb2.Model.FromString(file.read_bytes())
    count = 0
    for function in model.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for op in block.operations:
                for key in [k for k in op.inputs if k in kinds.get(op.type, {})]:
                    del op.inputs[key]
                    count += 1
    file.write_bytes(model.SerializeToString())
    return count


def _same(given: Any, default: Any) -> bool:
    return bool(np.array_equal(given, np.asarray(default).astype(np.asarray(given).dtype)))


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_out_is_the_default(name: str, tmp_path: Path) -> None:
    target, build, x = CASES[name]
    program = program_of(build, {"x": x}, target)
    op = next(op for op in program.functions["main"].operations if op.op_type == name.split()[0])
    given = {key: None if var is None or isinstance(var, (tuple, list)) else var.val for key, var in op.inputs.items()}
    defaults = {
        key: value for key, value in op.default_inputs().items()
        if value is not None and given.get(key) is not None and _same(given[key], value)
    }  # fmt: skip
    path = save(program, tmp_path / "m.mlpackage", target)
    whole = run_graph(lift(path, fp16="exact"), {"x": x})
    assert _stripped(path, {op.op_type: defaults}) == len(defaults) > 0
    for key, array in run_graph(lift(path, fp16="exact"), {"x": x}).items():
        np.testing.assert_array_equal(array, whole[key])
