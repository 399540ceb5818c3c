"""AffineGrid as a matrix product."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, constant, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array


@dataclass(frozen=True)
class DecomposeAffineGrid(Decomposition):
    """Write AffineGrid as the product of a constant grid with the transformation.

    What it does
    ------------
    The normalised coordinates of all pixels, with a 1 below them, are a constant; the grid is their product with
    ``theta``. Two and three axes and ``align_corners`` are honoured; ``size`` must be constant. Fires where the
    target has no lowering for the op.

    Why it matters
    --------------
    Core ML computes affine grids only inside its own resampling op, which knows two axes.

    Example
    -------
    ``g = AffineGrid(theta, [1, 3, 8, 8])`` becomes ``g = Reshape(MatMul(base, Transpose(theta)))``.

    Equivalence
    -----------
    Reassociating: the same products, summed in the order of the matrix product.

    Sources
    -------
    H4.24, H3.21 (keep the coordinates in fp32); ONNX AffineGrid-20.
    """

    code: ClassVar[str] = "CG424"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("AffineGrid",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        theta, size = need(node, 0), constant(node, 1)
        if size is None or theta.dtype is None:
            return NoMatch("its size is computed at run time")
        batch, _, *image = (int(n) for n in size)
        base = _grid(image, node.attr("align_corners") == 1).astype(theta.dtype.numpy)
        points = op.MatMul(op.const(base), op.Transpose(theta, perm=[0, 2, 1]))
        return op.Reshape(points, ints(op, [batch, *image, len(image)]))


def _grid(image: list[int], aligned: bool) -> Array:
    """The homogeneous coordinates of all pixels, last axis first: [pixels, axes + 1]."""
    along = [np.linspace(-1, 1, n) if aligned and n > 1 else (2 * np.arange(n) + 1) / n - 1 for n in image]
    mesh = np.meshgrid(*along, indexing="ij")
    return np.stack([*reversed(mesh), np.ones(image)], axis=-1).reshape(math.prod(image), len(image) + 1)
