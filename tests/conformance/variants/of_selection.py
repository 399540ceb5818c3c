"""Networks with sizes that depend on the data, and that nothing declares: what comes after a selection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from tests.conformance.variants.variant import Variant, data, family, ints

#: What is made of ``r``, the selected rows [n, 3]; ``z``, ``one`` and ``k`` are 0, 1 and -1 in vectors.
_AFTER = (
    "y0 = Relu(r)",
    "y0 = Softmax<axis = -1>(r)",
    "y0 = ReduceSum<keepdims = 0>(r, z)",
    "y0 = ReduceMax<keepdims = 1>(r, one)",
    "y0 = ReduceMean<keepdims = 0>(r)",
    "y0 = Transpose(r)",
    "y0 = Concat<axis = 0>(r, x0)",
    "y0 = Concat<axis = 1>(r, r)",
    "y0 = Reshape(r, k)",
    "y0 = Unsqueeze(r, one)",
    "y0 = Add(r, r)",
    "t = Slice(x0, z, one, z) y0 = Mul(r, t)",
    "y0 = Cast<to = 6>(r)",
    "y0 = Shape(r)",
    "y0 = Size(r)",
    "w = Transpose(x0) y0 = MatMul(r, w)",
    "t = Transpose(r) y0 = MatMul(r, t)",
    "y0 = Gather<axis = 0>(r, z)",
    "y0 = Gather<axis = 1>(r, z)",
    "y0 = Slice(r, z, one, z)",
    "y0 = Slice(r, k, z, z, k)",
    "y0 = ArgMax<axis = 0>(r)",
    "y0, y1 = TopK<axis = 0>(r, one)",
    "s = Shape(r) y0 = Expand(one, s)",
    "s = Shape(r) y0 = ConstantOfShape(s)",
    "p = Constant<value = int64[4] {1, 0, 0, 1}>() y0 = Pad(r, p)",
    "t = Constant<value = int64[2] {2, 1}>() y0 = Tile(r, t)",
    "y0 = CumSum(r, c)",
    "l = Less(r, h) y0 = Where(l, r, h)",
)
_CONSTANTS = """z = Constant<value = int64[1] {0}>() one = Constant<value = int64[1] {1}>()
    k = Constant<value = int64[1] {-1}>() c = Constant<value = int64 {0}>() h = Constant<value = float {0.5}>()"""


@family("Selection")
def selection(op: str) -> Iterator[Variant]:
    x, mask = data(5, 3), np.array([True, False, True, True, False])
    for after in _AFTER:
        text = f"{_CONSTANTS} r = Compress<axis = 0>(x0, x1) {after}"
        results = 2 if "y1" in after else 1
        yield Variant(18, [x, mask], text=text, outputs=results, declared=False)
    for after in _AFTER[:8]:
        text = f"{_CONSTANTS} i = NonZero(x1) j = Transpose(i) r = GatherND(x0, j) {after}"
        yield Variant(18, [x, mask], text=text, declared=False)
    yield from _alone()


def _alone() -> Iterator[Variant]:
    """The ops with such results by themselves."""
    grid = data(4, 3, dtype=np.int32, low=0, high=1).astype(np.float32)
    for shape in ((5,), (3, 4), (2, 3, 2)):
        x = (data(*shape) > 0).astype(np.float32)
        yield Variant(13, [x], text="y0 = NonZero(x0)", declared=False)
        yield Variant(13, [x], text="i = NonZero(x0) y0 = Transpose(i)", declared=False)
    for sort, outputs in product((0, 1), (1, 4)):
        attrs = f"sorted = {sort}"
        results = ", ".join(f"y{i}" for i in range(outputs))
        yield Variant(11, [grid[:, 0]], text=f"{results} = Unique<{attrs}>(x0)", outputs=outputs, declared=False)
        yield Variant(11, [grid], text=f"{results} = Unique<{attrs}, axis = 0>(x0)", outputs=outputs, declared=False)
    for stop in (1, 4):
        text = "z = Constant<value = int64 {0}>() one = Constant<value = int64 {1}>() y0 = Range(z, x0, one)"
        yield Variant(11, [np.array(stop, np.int64)], text=text, declared=False)
        text = "z = Constant<value = int64[1] {0}>() y0 = Slice(x1, z, x0, z)"
        yield Variant(11, [ints(stop), data(5, 3)], text=text, declared=False)
        yield Variant(11, [ints(stop, 3)], text="y0 = ConstantOfShape(x0)", declared=False)
        yield Variant(13, [ints(stop, 3), data(3)], text="y0 = Expand(x1, x0)", declared=False)
        yield Variant(13, [ints(stop, 2), data(2, 3)], text="y0 = Tile(x1, x0)", declared=False)
    random = np.random.default_rng(3)
    corners = random.random((1, 6, 2)).astype(np.float32) * 4
    boxes = np.concatenate([corners, corners + random.random((1, 6, 2)).astype(np.float32) + 0.5], -1)
    scores = random.random((1, 2, 6)).astype(np.float32)
    limits = [ints(3), np.array([0.3], np.float32), np.array([0.4], np.float32)]
    after = "two = Constant<value = int64 {2}>() y0 = Gather<axis = 1>(s, two)"
    for text in ("y0 = NonMaxSuppression(x0, x1, x2, x3, x4)", f"s = NonMaxSuppression(x0, x1, x2, x3, x4) {after}"):
        yield Variant(11, [boxes, scores, *limits], text=text, constants=[2, 3, 4], declared=False)
