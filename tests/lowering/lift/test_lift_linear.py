"""Matrix products of lifted packages against numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import agree, mb


def _draw(*shape: int, seed: int = 5) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    options = {"bias": _draw(5)} if bias else {}
    found = agree(lambda x: mb.linear(x=x, weight=_draw(5, 4), **options), {"x": _draw(*shape)})
    assert "Transpose" not in found.types


def test_linear_of_other_types() -> None:
    half = {"weight": _draw(5, 4).astype(np.float16), "bias": _draw(5).astype(np.float16)}
    agree(lambda x: mb.linear(x=x, **half), {"x": _draw(3, 4)}, "iOS17")
    x, w = np.arange(12, dtype=np.int32).reshape(3, 4), np.arange(20, dtype=np.int32).reshape(5, 4)
    agree(lambda x: mb.linear(x=x, weight=w), {"x": x}, want=x @ w.T)


@pytest.mark.parametrize(
    "x, y", [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((4, 1, 2, 3), (5, 3, 4))]
)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_matmul(x: tuple[int, ...], y: tuple[int, ...], turned: tuple[bool, bool]) -> None:
    shapes = [(*s[:-2], s[-1], s[-2]) if t else s for s, t in zip((x, y), turned, strict=True)]
    feeds = {"x": _draw(*shapes[0]), "y": _draw(*shapes[1], seed=6)}
    agree(lambda x, y: mb.matmul(x=x, y=y, transpose_x=turned[0], transpose_y=turned[1]), feeds)


@pytest.mark.parametrize("x, y, doubts", [((3,), (3, 4), 0), ((3,), (5, 3, 4), 1)])
def test_matmul_with_a_vector(x: tuple[int, ...], y: tuple[int, ...], doubts: int) -> None:
    feeds = {"x": _draw(*x), "y": _draw(*y, seed=6)}
    build: Any = lambda x, y: mb.matmul(x=x, y=y)  # noqa: E731
    agree(build, feeds, want=np.matmul(feeds["x"], feeds["y"]), doubts=doubts)


def test_matmul_of_integers_and_with_a_constant_of_another_type() -> None:
    x, y = np.arange(6, dtype=np.int32).reshape(2, 3), np.arange(12, dtype=np.int32).reshape(3, 4)
    agree(lambda x, y: mb.matmul(x=x, y=y), {"x": x, "y": y})
    feeds = {"x": _draw(2, 3)}
    agree(lambda x: mb.matmul(x=x, y=y), feeds, "iOS17", want=feeds["x"] @ y)
    agree(lambda x: mb.matmul(x=x, y=_draw(3, 4).astype(np.float16)), feeds, "iOS17")


@pytest.mark.parametrize(
    "equation, x, y",
    [
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("abcd,adce->abce", (1, 3, 4, 5), (2, 5, 4, 6)),
        ("nchw,nwhu->nchu", (2, 3, 1, 5), (1, 5, 4, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 1, 6)),
    ],
)
def test_einsum(equation: str, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    feeds = {"x": _draw(*x), "y": _draw(*y, seed=6)}
    agree(lambda x, y: mb.einsum(values=(x, y), equation=equation), feeds)


@pytest.mark.parametrize("mask", ["none", "bool", "float"])
@pytest.mark.parametrize("batch", [(2,), (2, 3), (1, 2, 2)])
def test_attention(mask: str, batch: tuple[int, ...]) -> None:
    feeds = {"query": _draw(*batch, 4, 8), "key": _draw(*batch, 5, 8, seed=6), "value": _draw(*batch, 5, 3, seed=7)}
    scores = feeds["query"] @ np.swapaxes(feeds["key"], -1, -2) / math.sqrt(8)
    options: dict[str, Any] = {}
    if mask == "bool":
        options["attn_mask"] = np.tril(np.ones((4, 5), np.bool_))
        scores = np.where(options["attn_mask"], scores, -np.inf)
    elif mask == "float":
        options["attn_mask"] = _draw(4, 5, seed=8)
        scores = scores + options["attn_mask"]
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    want = powers / powers.sum(-1, keepdims=True) @ feeds["value"]

    def build(query: Any, key: Any, value: Any) -> Any:
        return mb.scaled_dot_product_attention(query=query, key=key, value=value, **options)

    agree(build, feeds, "iOS18", want=want)
