"""Normalisations of lifted packages against the documented formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import agree, floats, mb


def _draw(*shape: int, seed: int = 5) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _build(kind: str, **options: Any) -> Any:
    return lambda x: getattr(mb, kind)(x=x, **options)


def _affine(*keys: str, shape: tuple[int, ...] = (3,)) -> dict[str, Array]:
    return {key: _draw(*shape, seed=i + 1) for i, key in enumerate(keys)}


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 3, 2)])
@pytest.mark.parametrize("keys", [(), ("gamma",), ("beta",), ("gamma", "beta")])
def test_batch_norm(shape: tuple[int, ...], keys: tuple[str, ...]) -> None:
    stored = {"mean": _draw(3), "variance": floats([0.5, 1, 2]), **_affine(*keys)}
    agree(_build("batch_norm", **stored), {"x": _draw(*shape)})
    agree(_build("batch_norm", **stored, epsilon=np.float32(0.25)), {"x": _draw(*shape)})


def test_batch_norm_with_parameters_of_another_precision() -> None:
    half = {"mean": _draw(3), "variance": floats([0.5, 1, 2]), **_affine("gamma", "beta")}
    agree(_build("batch_norm", **{k: v.astype(np.float16) for k, v in half.items()}), {"x": _draw(2, 3, 4)}, "iOS17")


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("keys", [(), ("gamma",), ("beta",), ("gamma", "beta")])
def test_instance_norm(shape: tuple[int, ...], keys: tuple[str, ...]) -> None:
    agree(_build("instance_norm", **_affine(*keys)), {"x": _draw(*shape)})
    agree(_build("instance_norm", **_affine(*keys), epsilon=np.float32(0.5)), {"x": _draw(*shape)})


def test_instance_norm_beyond_the_documented_ranks_is_reported() -> None:
    x = _draw(2, 3, 2, 4, 2)
    over = (2, 3, 4)
    want = (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + 1e-5)
    agree(_build("instance_norm"), {"x": x}, want=want, doubts=1)


@pytest.mark.parametrize("axes", [[-1], [2, 3], [1], [0, 2], [1, 2], [0, 1, 2, 3]])
@pytest.mark.parametrize("keys", [(), ("gamma",), ("gamma", "beta")])
def test_layer_norm(axes: list[int], keys: tuple[str, ...]) -> None:
    x = _draw(2, 3, 4, 5)
    shape = tuple(x.shape[a] for a in axes)
    agree(_build("layer_norm", axes=axes, **_affine(*keys, shape=shape)), {"x": x})
    agree(_build("layer_norm", axes=axes, **_affine(*keys, shape=shape), epsilon=np.float32(0.5)), {"x": x})


def test_layer_norm_with_axes_in_another_order_is_reported() -> None:
    x, gamma = _draw(2, 3, 3), _draw(3, 3)
    want = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5) * gamma
    agree(_build("layer_norm", axes=[2, 1], gamma=gamma), {"x": x}, want=want, doubts=1)


def test_layer_norm_of_large_values_keeps_its_digits() -> None:
    agree(_build("layer_norm", axes=[-1]), {"x": _draw(4, 64) + np.float32(1000)}, atol=5e-4)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (2, 2, 3, 2, 2)])
@pytest.mark.parametrize("options", [{}, {"epsilon": np.float32(3)}])
def test_l2_norm(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    agree(_build("l2_norm", **options), {"x": _draw(*shape)})


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("options", [{}, {"alpha": np.float32(2), "beta": np.float32(0.5), "k": np.float32(3)}])
def test_local_response_norm(size: int, options: dict[str, Any]) -> None:
    agree(_build("local_response_norm", size=size, **options), {"x": _draw(2, 6, 3, 4)})


def _neighbours(x: Array, before: int, after: int) -> Array:
    square = np.pad(x * x, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    around = [square[:, i : i + x.shape[1]] for i in range(before + after + 1)]
    return np.asarray(np.mean(around, axis=0, dtype=np.float32))


@pytest.mark.parametrize("shape, before, after", [((2, 6, 3), 1, 1), ((1, 6, 3, 2), 0, 1), ((1, 6, 3, 2), 1, 2)])
def test_local_response_norm_where_it_is_ambiguous(shape: tuple[int, ...], before: int, after: int) -> None:
    x = _draw(*shape)
    want = x / (1 + 2 * _neighbours(x, before, after)) ** 0.75
    build = _build("local_response_norm", size=before + after + 1, alpha=np.float32(2))
    agree(build, {"x": x}, want=want, doubts=1)
