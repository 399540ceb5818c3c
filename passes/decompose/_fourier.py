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
