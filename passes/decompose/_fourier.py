"""The discrete Fourier transform as a matrix of cosines and sines."""

from __future__ import annotations

import numpy as np

from coregraft.rewriter.types import Array


def basis(length: int, samples: int, bins: int, parts: int, inverse: bool = False) -> Array:
    """The matrix from samples to bins, fp64[samples, parts, bins, 2].

    Args:
        length: length of the transform; samples beyond ``samples`` are zero.
        parts: 1 for real samples, 2 for complex ones.
        inverse: conjugated, and divided by ``length``.
    """
    # k·n is reduced before the division, so that large products keep their phase.
    angle = 2 * np.pi * (np.outer(np.arange(samples), np.arange(bins)) % length) / length
    cos, sin = np.cos(angle), np.sin(angle) * (-1 if inverse else 1)
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)[:, :parts]
    return matrix / length if inverse else matrix


def real_inverse(length: int) -> Array:
    """The matrix from a one-sided spectrum to the real signal of a length, fp64[length // 2 + 1, 2, length, 1].

    Each bin but the first, and the middle one of an even length, stands for its conjugate as well.
    """
    bins = length // 2 + 1
    twice = np.full(bins, 2.0)
    twice[0] = 1
    if length % 2 == 0:
        twice[-1] = 1
    matrix: Array = basis(length, bins, length, 2, inverse=True)[..., :1] * twice[:, None, None, None]
    return matrix
