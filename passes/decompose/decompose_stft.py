"""STFT as a strided convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, ints, need
from coregraft.passes.decompose._fourier import basis
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeStft(Decomposition):
    """Write a short-time Fourier transform as a strided convolution with the windowed basis.

    What it does
    ------------
    One Conv with a kernel as long as a frame, strided by ``frame_step``, has the window times cosines and sines of
    all bins as its channels; a Reshape and a Transpose bring frames and bins in order. Real and complex signals,
    ``onesided``, window and frame length are honoured; step and window must be constant. Fires where the target has
    no lowering for the op.

    Why it matters
    --------------
    Core ML has no Fourier transform; the convolution runs on every compute unit.

    Example
    -------
    ``y = STFT(x, 160, window)`` becomes ``y = Transpose(Reshape(Conv <strides = [160]> (Transpose(x), W)))``.

    Equivalence
    -----------
    Reassociating: a plain sum instead of a fast algorithm, whose rounding differs.

    Sources
    -------
    H4.25; ONNX STFT-17.
    """

    code: ClassVar[str] = "CG425"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("STFT",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, window = need(node, 0), constant(node, 2)
        if any(computed(node, i) for i in (1, 2, 3)):
            return NoMatch("its step, window or length is computed at run time")
        if x.shape is None or x.dtype is None or not isinstance(x.shape[-1], int):
            return NoMatch("the shape of the signal is not known")
        given, step = constant(node, 3), constant(node, 1)
        assert step is not None  # ONNX requires it
        if given is None and window is None:
            return NoMatch("it has neither window nor frame length")
        length = int(given.reshape(())) if given is not None else len(window if window is not None else ())
        if window is not None and len(window) != length:
            return NoMatch("the window has {} elements, a frame {}", len(window), length)
        signal = x if len(x.shape) == 3 else op.Unsqueeze(x, ints(op, [2]))
        parts = x.shape[2] if len(x.shape) == 3 else 1
        onesided = node.attr("onesided") == 1
        if not isinstance(parts, int) or (parts == 2 and onesided):
            return NoMatch("a complex signal has no one-sided transform")
        bins = length // 2 + 1 if onesided else length
        matrix = basis(length, length, bins, parts)
        if window is not None:
            matrix = matrix * window.astype(np.float64)[:, None, None, None]
        kernel = np.ascontiguousarray(matrix.transpose(2, 3, 1, 0).reshape(bins * 2, parts, length))
        weights = op.const(kernel.astype(x.dtype.numpy))
        frames = op.Conv(op.Transpose(signal, perm=[0, 2, 1]), weights, strides=[int(step.reshape(()))])
        return op.Transpose(op.Reshape(frames, ints(op, [0, bins, 2, -1])), perm=[0, 3, 1, 2])
