"""Seeded inputs of a manifest entry: the same arrays on every machine, and each input's apart from the others'.

A feed is a table with ``name``, ``dtype``, ``shape`` and ``gen``, the kind of content:

* ``normal`` (times ``scale``), ``uniform`` and ``int`` (from ``low`` to below ``high``), ``bernoulli``, ``onehot``;
* ``zeros``, ``ones``, ``value`` (the numbers given), ``arange_last`` (counting up from ``low`` along the last axis);
* ``image``: a page with lines of strokes on an uneven ground, in NCHW, from ``low`` to ``high``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.models import Model

Array = npt.NDArray[Any]
Feed = Mapping[str, Any]


def make_feeds(model: Model, seed: int | None = None) -> dict[str, Array]:
    """The inputs of a model by name; ``seed`` replaces the entry's own.

    Raises:
        KeyError: the entry asks for a kind of content that is not known.
    """
    return {f["name"]: make_array(f, model.seed if seed is None else seed) for f in model.feeds}


def make_array(feed: Feed, seed: int) -> Array:
    """One input."""
    rng = np.random.default_rng([seed, zlib.crc32(feed["name"].encode())])
    content = _KINDS[feed["gen"]](feed, tuple(feed["shape"]), rng)
    return np.ascontiguousarray(content.astype(np.dtype(feed["dtype"]))).reshape(feed["shape"])


def _normal(feed: Feed, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return np.multiply(rng.standard_normal(shape), feed.get("scale", 1.0))


def _uniform(feed: Feed, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.uniform(feed.get("low", 0.0), feed.get("high", 1.0), shape)


def _int(feed: Feed, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.integers(feed.get("low", 0), feed.get("high", 10), shape)


def _onehot(feed: Feed, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]


def _arange_last(feed: Feed, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return np.broadcast_to(np.arange(shape[-1]) + feed.get("low", 0), shape)


def _image(feed: Feed, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    batch, channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    pages = []
    for _ in range(batch):
        page = 0.8 + 0.1 * np.sin(3 * x / width + rng.uniform(0, 6)) + 0.08 * np.cos(4 * y / height + rng.uniform(0, 6))
        for top in range(8, height - 12, 20):
            left = 6
            while left < width - 10:
                stroke = int(rng.integers(2, 6))
                page[top : top + 10, left : left + stroke] *= rng.uniform(0.05, 1.0)
                left += stroke + int(rng.integers(1, 4))
        tinted = page * (1 - 0.1 * np.arange(channels)[:, None, None])
        pages.append(tinted + 0.01 * rng.standard_normal((channels, height, width)))
    low, high = feed.get("low", 0.0), feed.get("high", 1.0)
    made: Array = np.clip(np.stack(pages), 0, 1) * (high - low) + low
    return made


_KINDS: dict[str, Callable[[Feed, tuple[int, ...], np.random.Generator], Array]] = {
    "normal": _normal,
    "uniform": _uniform,
    "int": _int,
    "onehot": _onehot,
    "arange_last": _arange_last,
    "image": _image,
    "bernoulli": lambda feed, shape, rng: rng.uniform(size=shape) < feed.get("p", 0.5),
    "value": lambda feed, shape, rng: np.broadcast_to(np.asarray(feed["value"]).reshape(-1), shape or (1,)),
    "zeros": lambda feed, shape, rng: np.zeros(shape),
    "ones": lambda feed, shape, rng: np.ones(shape),
}
