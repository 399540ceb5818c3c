"""STFT as a strided convolution, or as gathered frames times a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, ints, need, operand
from coregraft.passes.decompose._choices import select
from coregraft.passes.decompose._fourier import basis
from coregraft.passes.shapes._index import count_up
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, DType


@dataclass(frozen=True)
class DecomposeStft(Decomposition):
    """Write a short-time Fourier transform as a strided convolution with the windowed basis.

    What it does
    ------------
    One Conv with a kernel as long as a frame, strided by ``frame_step``, has the window times cosines and sines of
    all bins as its channels; a Reshape and a Transpose bring frames and bins in order. Real and complex signals,
    ``onesided``, window and frame length are honoured. A step or length that is given at run time is the one that the
    declared shape of the result leaves; between an even and an odd length it selects at run time. With a window, or
    one of several steps, that is given at run time, the frames are gathered and multiplied by the basis instead.
    Fires where the target has no lowering for the op.

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
        x, window = need(node, 0), operand(node, 2)
        if x.shape is None or x.dtype is None or len(x.shape) not in (2, 3):
            return NoMatch("the shape of the signal is not known")
        samples = x.shape[1]
        if not isinstance(samples, int) or not isinstance(x.shape[-1], int):
            return NoMatch("the shape of the signal is not known")
        lengths = _lengths(node, samples)
        if lengths is None:
            return NoMatch("its length is computed at run time, and the shape of its result is not known")
        if window is not None and [window.static_shape] != [(n,) for n in lengths]:
            return NoMatch("the window has shape {}, a frame {} elements", window.static_shape, lengths[0])
        steps = {n: _steps(node, samples, n) for n in lengths}
        if None in steps.values():
            return NoMatch("its step is computed at run time, and the shape of its result is not known")
        possible = [(n,) for n in lengths if steps[n]]

        def transform(choice: tuple[int, ...]) -> Any:
            found = steps[choice[0]] or ()
            if len(found) > 1:
                return _gathered(op, node, choice[0], _starts(op, node))
            if not computed(node, 2):
                return _convolution(op, node, choice[0], found[0])
            starts = np.arange((samples - choice[0]) // found[0] + 1, dtype=np.int64) * found[0]
            return _gathered(op, node, choice[0], op.const(starts))

        return select(op, lambda: need(node, 3), possible, transform)


def _lengths(node: OpView, samples: int) -> list[int] | None:
    """The lengths that a frame can have, by the operands or by the shape of the result; None if any."""
    window, given = operand(node, 2), constant(node, 3)
    if given is not None:
        return [int(given.reshape(()))]
    if window is not None and window.static_shape is not None:
        return list(window.static_shape)
    if operand(node, 3) is None:
        return [samples]
    y = node.outputs[0]
    if y is None or y.static_shape is None:
        return None
    bins = y.static_shape[2]
    return [n for n in (2 * bins - 2, 2 * bins - 1) if n > 0] if node.attr("onesided") == 1 else [bins]


def _steps(node: OpView, samples: int, length: int) -> tuple[int, ...] | None:
    """The steps with which frames of a length are as many as the result has; None if any."""
    y, given, room = node.outputs[0], constant(node, 1), samples - length
    frames = None if y is None or y.static_shape is None else y.static_shape[1]
    if room < 0:
        return ()
    if given is not None:
        step = int(given.reshape(()))
        return (step,) if frames in (None, room // step + 1) else ()
    if frames == 1:
        return (room + 1,)  # a single frame, whatever the step is
    return None if frames is None else tuple(step for step in range(1, room + 1) if room // step + 1 == frames)


def _convolution(op: OpBuilder, node: OpView, length: int, step: int) -> Any:
    """Frames of a known length, step and window: a strided convolution with the windowed basis."""
    signal, matrix = _signal(op, node), _matrix(node, length)
    window = constant(node, 2)
    if window is not None:
        matrix = matrix * window.astype(np.float64)[:, None, None, None]
    _, parts, bins, _ = matrix.shape
    kernel = np.ascontiguousarray(matrix.transpose(2, 3, 1, 0).reshape(bins * 2, parts, length))
    weights = op.const(kernel.astype(signal.dtype.numpy))
    frames = op.Conv(op.Transpose(signal, perm=[0, 2, 1]), weights, strides=[step])
    return op.Transpose(op.Reshape(frames, ints(op, [0, bins, 2, -1])), perm=[0, 3, 1, 2])


def _starts(op: OpBuilder, node: OpView) -> Any:
    """Where the frames of a step that is given at run time start, int64[frames]."""
    y = node.outputs[0]
    assert y is not None and y.static_shape is not None
    step = op.Cast(op.Reshape(need(node, 1), ints(op, [1])), to=int(DType.INT64))
    return op.Mul(step, count_up(op, y.static_shape[1]))


def _gathered(op: OpBuilder, node: OpView, length: int, starts: Any) -> Any:
    """Frames whose step or window is given at run time: gathered, windowed, and multiplied by the basis."""
    signal, matrix, window = _signal(op, node), _matrix(node, length), operand(node, 2)
    _, parts, bins, _ = matrix.shape
    frames = op.Gather(signal, op.Add(op.Unsqueeze(starts, ints(op, [1])), count_up(op, length)), axis=1)
    if window is not None:
        frames = op.Mul(frames, op.Reshape(window, ints(op, [length, 1])))
    weights = op.const(matrix.reshape(length * parts, bins * 2).astype(signal.dtype.numpy))
    product = op.MatMul(op.Reshape(frames, ints(op, [0, 0, length * parts])), weights)
    return op.Reshape(product, ints(op, [0, 0, bins, 2]))


def _matrix(node: OpView, length: int) -> Array:
    """The basis of a frame, fp64[length, parts, bins, 2]."""
    shape = need(node, 0).shape
    assert shape is not None
    bins, parts = length // 2 + 1 if node.attr("onesided") == 1 else length, shape[2] if len(shape) == 3 else 1
    assert isinstance(parts, int)
    return basis(length, length, bins, parts)


def _signal(op: OpBuilder, node: OpView) -> Any:
    """The signal with an axis for its parts, [batch, samples, parts]."""
    x = need(node, 0)
    return x if x.rank == 3 else op.Unsqueeze(x, ints(op, [2]))
