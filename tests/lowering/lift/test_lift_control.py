"""Branches and loops of lifted packages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.lowering.lift.one_op import agree, lifted, mb, refusal

X = np.array([1.5, -2, 3], np.float32)


def _branch(x: Any, true: Any, false: Any) -> Any:
    return mb.cond(pred=mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0)), _true_fn=true, _false_fn=false)


@pytest.mark.parametrize("sign", [1, -1])
def test_cond(sign: int) -> None:
    def build(x: Any) -> Any:
        return _branch(x, lambda: mb.add(x=x, y=np.float32(1)), lambda: mb.mul(x=x, y=np.float32(3)))

    agree(build, {"x": X * np.float32(sign)})


@pytest.mark.parametrize("sign", [1, -1])
def test_cond_that_hands_on_what_it_did_not_compute(sign: int) -> None:
    def build(x: Any) -> Any:
        doubled = mb.add(x=x, y=x)

        def true() -> Any:
            return mb.identity(x=doubled), mb.identity(x=doubled)

        def false() -> Any:
            return mb.add(x=x, y=np.float32(1)), mb.identity(x=x)

        return _branch(x, true, false)

    agree(build, {"x": X * np.float32(sign)})


@pytest.mark.parametrize("a, b", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_cond_in_cond(a: int, b: int) -> None:
    def build(x: Any, y: Any) -> Any:
        def true() -> Any:
            return _branch(y, lambda: mb.add(x=x, y=y), lambda: mb.sub(x=x, y=y))

        return _branch(x, true, lambda: mb.mul(x=x, y=y))

    agree(build, {"x": X * np.float32(a), "y": X * np.float32(2 * b)})


def _counted(x: Any, limit: Any, body: Any) -> Any:
    """A loop over (i, x) while i < limit."""
    return mb.while_loop(
        _cond=lambda i, x: mb.less(x=i, y=limit), _body=lambda i, x: (mb.add(x=i, y=np.int32(1)), body(i, x)),
        loop_vars=(np.int32(0), x),
    )  # fmt: skip


@pytest.mark.parametrize("turns", [0, 1, 4])
def test_while_loop(turns: int) -> None:
    def build(x: Any, limit: Any) -> Any:
        bound = mb.squeeze(x=limit, axes=[0])
        count, found = _counted(x, bound, lambda i, v: mb.add(x=mb.mul(x=v, y=np.float32(2)), y=x))
        return mb.identity(x=found), mb.expand_dims(x=count, axes=[0])

    agree(build, {"x": X, "limit": np.array([turns], np.int32)})


def test_while_loop_in_while_loop_and_cond() -> None:
    def build(x: Any) -> Any:
        def inner(i: Any, v: Any) -> Any:
            _, found = _counted(v, np.int32(2), lambda j, w: mb.add(x=w, y=mb.cast(x=mb.add(x=i, y=j), dtype="fp32")))
            return _branch(found, lambda: mb.sub(x=found, y=np.float32(1)), lambda: mb.mul(x=found, y=x))

        return _counted(x, np.int32(3), inner)[1]

    agree(build, {"x": X})
    agree(build, {"x": -X})


def test_while_loop_that_ends_on_what_it_computes() -> None:
    def build(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda v: mb.less(x=mb.reduce_sum(x=mb.abs(x=v)), y=np.float32(100)),
            _body=lambda v: mb.mul(x=v, y=np.float32(-3)),
            loop_vars=(x,),
        )

    agree(build, {"x": X})


def test_while_loop_that_turns_its_values_over() -> None:
    """A turn may yield what it was given, and one value twice."""
    def build(x: Any) -> Any:
        def turn(a: Any, b: Any, c: Any, i: Any) -> Any:
            total = mb.add(x=b, y=c)
            return b, total, total, mb.add(x=i, y=np.int32(1))

        counts = mb.while_loop(
            _cond=lambda a, b, c, i: mb.less(x=i, y=np.int32(3)), _body=turn,
            loop_vars=(x, mb.add(x=x, y=np.float32(1)), x, np.int32(0)),
        )  # fmt: skip
        return counts[:3]

    a, b, c = X, X + 1, X
    for _ in range(3):
        a, b, c = b, b + c, b + c
    agree(build, {"x": X}, want=[a, b, c])


def test_fp16_is_rounded_within_bodies_too() -> None:
    def build(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda i, v: mb.less(x=i, y=np.int32(5)),
            _body=lambda i, v: (mb.add(x=i, y=np.int32(1)), mb.mul(x=v, y=np.float16(1.1))),
            loop_vars=(np.int32(0), x),
        )[1]

    want = np.array([1, 3, 7], np.float16)
    for _ in range(5):
        want = (want.astype(np.float32) * np.float32(np.float16(1.1))).astype(np.float16)
    (found,) = lifted(build, {"x": np.array([1, 3, 7], np.float16)}, "iOS16", fp16="simulate").results.values()
    np.testing.assert_array_equal(found, want.astype(np.float32))


@pytest.mark.parametrize("kind, options", [
    ("random_normal", {"mean": np.float32(0), "stddev": np.float32(1)}),
    ("random_uniform", {"low": np.float32(0), "high": np.float32(1)}),
    ("random_bernoulli", {"prob": np.float32(0.5)}),
])  # fmt: skip
def test_random_ops_are_refused_by_name(kind: str, options: dict[str, Any]) -> None:
    def build(x: Any) -> Any:
        return mb.add(x=x, y=getattr(mb, kind)(shape=np.array([3], np.int32), seed=np.int32(1), **options))

    assert kind in refusal(build, {"x": X}).message
