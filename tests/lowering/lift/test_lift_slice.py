"""Slices, updates of slices, windows and reversals of lifted packages against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lowering.lift.one_op import agree, lifted, mb, refusal

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
FLAGS = X[0] % 3 == 0


def _cut(x: Any, begin: Any, end: Any, stride: Any, masks: dict[str, Any]) -> Any:
    """What ``slice_by_index`` is documented to give."""
    from_edge, to_edge, squeezed = (masks.get(k, [False] * x.ndim) for k in ("begin_mask", "end_mask", "squeeze_mask"))
    found: list[Any] = []
    for i in range(x.ndim):
        if squeezed[i]:
            found.append(int(begin[i]))
        else:
            found.append(slice(None if from_edge[i] else begin[i], None if to_edge[i] else end[i], stride[i]))
    return tuple(found)


SLICES: dict[str, dict[str, Any]] = {
    "plain": {"begin": [0, 1, 2], "end": [2, 3, 5]},
    "from the end": {"begin": [-2, -3, -5], "end": [-1, 4, -1]},
    "strided": {"begin": [0, 0, 1], "end": [3, 4, 5], "stride": [2, 3, 2]},
    "beyond the end": {"begin": [0, 2, 0], "end": [9, 9, 9]},
    "backwards": {"begin": [2, 3, 4], "end": [0, 1, 0], "stride": [-1, -1, -2]},
    "masked": {
        "begin": [1, 1, 1], "end": [2, 2, 2], "begin_mask": [True, False, True], "end_mask": [False, True, True]
    },
    "squeezed": {"begin": [1, 0, 4], "end": [0, 4, 0], "squeeze_mask": [True, False, True]},
    "squeezed last": {"begin": [-1, 0, -1], "end": [0, 4, 0], "squeeze_mask": [True, False, True]},
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(SLICES))
@pytest.mark.parametrize("computed", [False, True])
def test_slice_by_index(case: str, computed: bool) -> None:
    options = dict(SLICES[case])
    begin, end = (np.array(options.pop(k), np.int32) for k in ("begin", "end"))
    where = _cut(X, begin, end, options.get("stride", [1, 1, 1]), options)
    if not computed:
        agree(lambda x: mb.slice_by_index(x=x, begin=begin.copy(), end=end.copy(), **options), {"x": X}, want=X[where])
        return
    feeds = {"x": X, "b": begin, "e": end}
    agree(lambda x, b, e: mb.slice_by_index(x=x, begin=b, end=e, **options), feeds, want=X[where])


@pytest.mark.parametrize("computed", [False, True])
def test_a_mask_with_a_negative_stride_is_open(computed: bool) -> None:
    options: dict[str, Any] = {"stride": [1, -1, 1], "begin_mask": [True] * 3, "end_mask": [True] * 3}
    zero, want = np.zeros(3, np.int32), X[:, ::-1]
    if computed:
        agree(lambda x, b: mb.slice_by_index(x=x, begin=b, end=b, **options), {"x": X, "b": zero}, want=want, doubts=1)
        return
    options |= {"begin": zero.copy(), "end": zero.copy()}
    agree(lambda x: mb.slice_by_index(x=x, **options), {"x": X}, want=want, doubts=1)


def test_slices_to_a_scalar_and_of_flags() -> None:
    line = X[0, 0]
    agree(lambda x: mb.slice_by_index(x=x, begin=[3], end=[0], squeeze_mask=[True]), {"x": line}, want=line[3])
    agree(lambda x: mb.slice_by_index(x=x, begin=[0, 1], end=[3, 4]), {"x": FLAGS}, want=FLAGS[:3, 1:4])


@pytest.mark.parametrize("computed", [False, True])
def test_slice_by_size(computed: bool) -> None:
    for begin, size, want in (([0, 1, 2], [2, 3, 1], X[:2, 1:4, 2:3]), ([1, -2, 3], [-1, 2, -1], X[1:, -2:, 3:])):
        b, s = np.array(begin, np.int32), np.array(size, np.int32)
        if computed:
            agree(lambda x, b, s: mb.slice_by_size(x=x, begin=b, size=s), {"x": X, "b": b, "s": s}, want=want)
        else:
            agree(lambda x, b=b, s=s: mb.slice_by_size(x=x, begin=b, size=s), {"x": X}, want=want)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_any_slice_update(data: st.DataObject) -> None:
    begin, end, stride = [], [], []
    for d in X.shape:
        a = data.draw(st.integers(0, d - 1))
        begin.append(a)
        end.append(data.draw(st.integers(a + 1, d)))
        stride.append(data.draw(st.integers(1, 2)))
    where = tuple(slice(*s) for s in zip(begin, end, stride, strict=True))
    update = -1 - np.arange(X[where].size, dtype=np.float32).reshape(X[where].shape)
    want = X.copy()
    want[where] = update
    build = lambda x, u: mb.slice_update(x=x, update=u, begin=begin, end=end, stride=stride)  # noqa: E731
    agree(build, {"x": X, "u": update}, "iOS18", want=want)


def test_slice_update_at_a_computed_place() -> None:
    update, place = np.full((3, 1, 5), -1, np.float32), np.array([0, 2, 0], np.int32)
    want = X.copy()
    want[:, 2:3] = update
    feeds = {"x": X, "u": update, "b": place, "e": np.array([3, 3, 5], np.int32)}
    agree(lambda x, u, b, e: mb.slice_update(x=x, update=u, begin=b, end=e), feeds, "iOS18", want=want)


def test_slice_update_of_one_row() -> None:
    options: dict[str, Any] = {"begin": [1, 0, 0], "end": [0, 0, 0], "squeeze_mask": [True, False, False],
                               "begin_mask": [False, True, True], "end_mask": [False, True, True]}  # fmt: skip
    want = X.copy()
    want[1] = 7
    feeds = {"x": X, "u": want[1]}
    agree(lambda x, u: mb.slice_update(x=x, update=u, **options), feeds, "iOS18", want=want)


@pytest.mark.parametrize(("axis", "size", "stride"), [(1, 2, 1), (2, 3, 2), (-3, 1, 1), (0, 3, 1)])
def test_sliding_windows(axis: int, size: int, stride: int) -> None:
    windows = np.lib.stride_tricks.sliding_window_view(X, size, axis=axis)
    at = axis % 3
    want = np.moveaxis(windows.take(range(0, windows.shape[at], stride), axis=at), -1, at + 1)
    agree(lambda x: mb.sliding_windows(x=x, axis=axis, size=size, stride=stride), {"x": X}, want=want)


def test_reverse() -> None:
    agree(lambda x: mb.reverse(x=x), {"x": X}, want=np.flip(X))
    agree(lambda x: mb.reverse(x=x, axes=[0, -1]), {"x": X}, want=np.flip(X, (0, -1)))
    agree(lambda x: mb.reverse(x=x, axes=[1]), {"x": FLAGS}, want=np.flip(FLAGS, 1))


@pytest.mark.parametrize(("batch", "time"), [(0, 1), (1, 0), (0, 2), (2, 1)])
def test_reverse_sequence(batch: int, time: int) -> None:
    lengths = np.array([0, 2, 3, 1, 3], np.int32)[: X.shape[batch]]
    want = X.copy()
    for i, n in enumerate(lengths):
        row = np.moveaxis(want, (batch, time), (0, 1))[i]
        row[:n] = row[:n][::-1].copy()
    build = lambda x, n: mb.reverse_sequence(x=x, lengths=n, batch_axis=batch, seq_axis=time)  # noqa: E731
    agree(build, {"x": X, "n": lengths}, want=want)


def test_reverse_sequence_needs_two_axes() -> None:
    error = refusal(lambda x: mb.reverse_sequence(x=x, lengths=np.array([1, 1, 1], np.int32)), {"x": X})
    assert "are the same" in error.message


def test_a_wrong_declared_size_does_not_matter() -> None:
    """Type inference does not clamp: it declares size 1 of an empty slice."""
    found = lifted(lambda x: mb.slice_by_index(x=x, begin=[5, 0, 0], end=[6, 4, 5]), {"x": X})
    assert next(iter(found.results.values())).shape == (0, 4, 5)
