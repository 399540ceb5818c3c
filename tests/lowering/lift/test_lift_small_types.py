"""The element types of fewer than 32 bits that iOS 17 lets through ops that only move data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.lowering.lift.one_op import agree, mb

X = np.arange(24, dtype=np.int32).reshape(4, 3, 2)
INDEX = np.array([[2, 0], [1, 2]], np.int32)
ALONG = np.zeros((1, 3, 2), np.int32)

MOVES: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "expand_dims": ("iOS17", lambda x: mb.expand_dims(x=x, axes=[1]), lambda x: x[:, None]),
    "gather": ("iOS17", lambda x: mb.gather(x=x, indices=INDEX, axis=0), lambda x: x[INDEX]),
    "gather_along_axis": ("iOS17", lambda x: mb.gather_along_axis(x=x, indices=ALONG, axis=0), lambda x: x[:1]),
    "gather_nd": ("iOS17", lambda x: mb.gather_nd(x=x, indices=[[1, 2]]), lambda x: x[1, 2][None]),
    "reshape": ("iOS17", lambda x: mb.reshape(x=x, shape=[6, 4]), lambda x: x.reshape(6, 4)),
    "reverse": ("iOS17", lambda x: mb.reverse(x=x, axes=[1]), lambda x: x[:, ::-1]),
    "reverse_sequence": (
        "iOS17", lambda x: mb.reverse_sequence(x=x, lengths=np.full(4, 3, np.int32), batch_axis=0, seq_axis=1),
        lambda x: x[:, ::-1],
    ),
    "slice_by_index": ("iOS17", lambda x: mb.slice_by_index(x=x, begin=[1, 0, 0], end=[3, 2, 2]), lambda x: x[1:3, :2]),
    "slice_by_size": ("iOS17", lambda x: mb.slice_by_size(x=x, begin=[1, 0, 0], size=[2, 2, 2]), lambda x: x[1:3, :2]),
    "slice_update": (
        "iOS18", lambda x: mb.slice_update(x=x, update=x, begin=[0, 0, 0], end=[4, 3, 2]), lambda x: x
    ),
    "sliding_windows": (
        "iOS17", lambda x: mb.sliding_windows(x=x, axis=0, size=4), lambda x: x[None],
    ),
    "squeeze": ("iOS17", lambda x: mb.squeeze(x=x), lambda x: x),
    "transpose": ("iOS17", lambda x: mb.transpose(x=x, perm=[2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
}  # fmt: skip
NO_BOOL = {"gather", "gather_along_axis", "gather_nd"}


@pytest.mark.parametrize("name", sorted(MOVES))
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "bool"])
def test_small_elements_are_moved(name: str, dtype: str) -> None:
    if dtype == "bool" and name in NO_BOOL:
        pytest.skip("MIL has no bool here")
    target, build, function = MOVES[name]

    def crossing(x: Any) -> Any:
        return mb.cast(x=build(mb.cast(x=x, dtype=dtype)), dtype="int32")

    want = function(X.astype(np.bool_ if dtype == "bool" else dtype)).astype(np.int32)
    agree(crossing, {"x": X}, target, want=want)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_small_elements_are_sorted(dtype: str) -> None:
    def build(x: Any) -> Any:
        values, indices = mb.topk(x=mb.cast(x=x, dtype=dtype), k=2, axis=0)
        return [mb.cast(x=values, dtype="int32"), indices]

    agree(build, {"x": X}, "iOS17", want=[X[:1:-1], np.broadcast_to(np.array([3, 2])[:, None, None], (2, 3, 2))])
