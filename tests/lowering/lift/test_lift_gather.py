"""Gathers and scatters of lifted packages against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.lowering.lift.one_op import agree, mb, refusal

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
INTS = np.arange(12, dtype=np.int32).reshape(3, 4)
PICK = np.array([[2, 0], [1, 2]], np.int32)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(axis: int) -> None:
    want = np.take(X, PICK, axis=axis)
    agree(lambda x: mb.gather(x=x, indices=PICK, axis=axis), {"x": X}, want=want)
    agree(lambda x, i: mb.gather(x=x, indices=i, axis=axis), {"x": X, "i": PICK}, "iOS17", want=want)
    agree(lambda x: mb.gather(x=x, indices=np.int32(1), axis=axis), {"x": X}, want=np.take(X, 1, axis=axis))


def test_gather_by_small_indices_of_small_values() -> None:
    def build(x: Any) -> Any:
        small = mb.cast(x=x, dtype="uint8")
        return mb.cast(x=mb.gather(x=small, indices=PICK.astype(np.uint16), axis=0), dtype="int32")

    agree(build, {"x": INTS}, "iOS17", want=INTS[PICK])


@pytest.mark.parametrize(("axis", "batch"), [(1, 1), (2, 1), (2, 2), (-1, 1)])
def test_gather_by_batch(axis: int, batch: int) -> None:
    indices = np.random.default_rng(1).integers(0, 3, (*X.shape[:batch], 2)).astype(np.int32)
    want = np.empty((*X.shape[: axis % 3], *indices.shape[batch:], *X.shape[axis % 3 + 1 :]), np.float32)
    for place in np.ndindex(*X.shape[:batch]):
        want[place] = np.take(X[place], indices[place], axis=axis % 3 - batch)
    agree(lambda x: mb.gather(x=x, indices=indices, axis=axis, batch_dims=batch), {"x": X}, "iOS16", want=want)


def test_gather_by_batch_of_indices_of_two_dims_along_a_later_axis() -> None:
    x = np.arange(2 * 3 * 5 * 4, dtype=np.float32).reshape(2, 3, 5, 4)
    indices = np.random.default_rng(1).integers(0, 5, (2, 3, 2)).astype(np.int32)
    want = np.stack([np.take(part, picked, axis=1) for part, picked in zip(x, indices, strict=True)])
    agree(lambda x: mb.gather(x=x, indices=indices, axis=2, batch_dims=1), {"x": x}, "iOS16", want=want)


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17"])
def test_negative_indices_are_open_from_ios17(target: str) -> None:
    doubts = int(target == "iOS17")
    agree(lambda x: mb.gather(x=x, indices=[-1, 0], axis=1), {"x": X}, target, want=X[:, [-1, 0]], doubts=doubts)
    along = np.full((3, 1, 5), -1, np.int32)
    agree(lambda x: mb.gather_along_axis(x=x, indices=along, axis=1), {"x": X}, target, want=X[:, -1:], doubts=doubts)
    agree(lambda x: mb.gather_nd(x=x, indices=[[-1, 0]]), {"x": X}, target, want=X[-1, 0][None], doubts=doubts)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_along_axis(axis: int) -> None:
    shape = [2 if i == axis % 3 else d for i, d in enumerate(X.shape)]
    indices = np.random.default_rng(2).integers(0, X.shape[axis], shape).astype(np.int32)
    want = np.take_along_axis(X, indices, axis)
    agree(lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=axis), {"x": X, "i": indices}, want=want)


def test_gather_nd() -> None:
    pairs = np.array([[2, 3], [0, 1]], np.int32)
    agree(lambda x: mb.gather_nd(x=x, indices=pairs), {"x": X}, want=X[[2, 0], [3, 1]])
    agree(lambda x: mb.gather_nd(x=x, indices=PICK[..., None]), {"x": INTS}, want=INTS[PICK])
    by_batch = np.array([[3], [0], [2]], np.int32)
    want = X[np.arange(3), by_batch[:, 0]]
    agree(lambda x: mb.gather_nd(x=x, indices=by_batch, batch_dims=1), {"x": X}, "iOS16", want=want)


MODES: dict[str, Callable[[Any, Any], Any]] = {
    "update": lambda a, u: u, "add": lambda a, u: a + u, "sub": lambda a, u: a - u, "mul": lambda a, u: a * u,
    "div": lambda a, u: a / u, "max": np.maximum, "min": np.minimum,
}  # fmt: skip
UPDATES = np.random.default_rng(4).uniform(1, 50, (2, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_scatter(mode: str) -> None:
    where = [2, 0]
    for axis in (0, 2):
        updates = UPDATES if axis == 0 else UPDATES[:, :3, :4].transpose(1, 2, 0)
        want = np.moveaxis(X.copy(), axis, 0)
        want[where] = MODES[mode](want[where], np.moveaxis(updates, axis, 0))
        feeds = {"x": X, "u": np.ascontiguousarray(updates)}
        build = lambda x, u, axis=axis: mb.scatter(data=x, indices=where, updates=u, axis=axis, mode=mode)  # noqa: E731
        agree(build, feeds, want=np.moveaxis(want, 0, axis))


@pytest.mark.parametrize("mode", sorted(MODES))
def test_scatter_along_axis(mode: str) -> None:
    indices = np.tile(np.array([2, 0], np.int32)[:, None, None], (1, 4, 5))
    want = X.copy()
    want[[2, 0]] = MODES[mode](want[[2, 0]], UPDATES)
    build = lambda x, u, i: mb.scatter_along_axis(data=x, indices=i, updates=u, axis=0, mode=mode)  # noqa: E731
    agree(build, {"x": X, "u": UPDATES, "i": indices}, "iOS17", want=want)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_scatter_nd(mode: str) -> None:
    pairs = np.array([[2, 3], [0, 1]], np.int32)
    want = X.copy()
    want[[2, 0], [3, 1]] = MODES[mode](want[[2, 0], [3, 1]], UPDATES[:, 0])
    feeds = {"x": X, "u": np.ascontiguousarray(UPDATES[:, 0])}
    agree(lambda x, u: mb.scatter_nd(data=x, indices=pairs, updates=u, mode=mode), feeds, want=want)


def test_repeated_indices_add_up() -> None:
    want = INTS.copy()
    want[1] += [2, 2, 2, 2]
    feeds = {"x": INTS, "u": np.ones((2, 4), np.int32)}
    agree(lambda x, u: mb.scatter(data=x, indices=[1, 1], updates=u), feeds, want=want)  # the builder writes the mode
    agree(lambda x, u: mb.scatter_nd(data=x, indices=[[1], [1]], updates=u), feeds, want=want)


def test_an_absent_mode_of_scatter_is_open() -> None:
    from coregraft.lowering.lift.lifter import Lifter, Session
    from coregraft.lowering.lift.spec import Block, MilOp, Slot
    from coregraft.rewriter.errors import UnsupportedError
    from coregraft.rewriter.types import Const, DType, TensorType

    kind = TensorType(DType.FLOAT, (3,))
    indices = Const.of(np.arange(3, dtype=np.int32))
    operands: dict[str, tuple[str | Const, ...]] = {"data": ("x",), "updates": ("x",), "indices": (indices,)}
    for strict in (False, True):
        lifter = Lifter(Session("CoreML5", strict))
        lifter.bind(Slot("x", kind), lifter.input("x", kind))
        block = Block((), (MilOp("scatter", "s", operands, (Slot("y", kind),)),), ("y",))
        if strict:
            with pytest.raises(UnsupportedError) as caught:
                lifter.run(block)
            assert caught.value.code == "lift-undefined"
        else:
            lifter.run(block)
            assert lifter.session.warnings


def test_quotients_of_integers_are_refused() -> None:
    feeds = {"x": INTS, "u": INTS[:1]}
    error = refusal(lambda x, u: mb.scatter(data=x, indices=[1], updates=u, mode="div"), feeds)
    assert "divides integers" in error.message
