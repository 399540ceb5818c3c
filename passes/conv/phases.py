"""Phase space: a spatial axis taken apart into its phases modulo a rate, which go to the batch.

A tensor (N, C, ..., d*M, ...) with phases modulo ``d`` on one axis is (d*N, C, ..., M, ...): element ``d*j + r`` of
the axis is element ``j`` of the batch entries that belong to phase ``r``. Phases are the slow part of the batch axis,
and a later axis is slower than an earlier one. In phase space a convolution of dilation ``d`` is an ordinary one.

Everything is reshape and transpose of rank 5 at most (Core ML's limit): dims before and behind the axis are merged.
``space_to_batch`` is not used: coremltools turns it back into a dilated convolution, wrongly for pads and strides
(H2.05).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from coregraft.passes.conv.geometry import Axis

#: One data movement: ("reshape", target shape) or ("transpose", permutation).
Step = tuple[str, tuple[int, ...]]


def split_steps(shape: Sequence[int], rates: Sequence[int]) -> tuple[Step, ...]:
    """The steps from space to phase space.

    Args:
        shape: (N, C, spatial...); N may be -1 (not known), spatial dims are multiples of their rate.
        rates: phases per spatial axis, 1 where the axis stays as it is.
    """
    steps: list[Step] = []
    now = list(shape)
    for axis, rate in enumerate(rates, start=2):
        if rate == 1:
            continue
        before, behind = math.prod(now[1:axis]), now[axis + 1 :]
        view: tuple[int, ...] = (now[0], before, now[axis] // rate, rate)
        perm: tuple[int, ...] = (3, 0, 1, 2)
        if behind:
            view, perm = (*view, math.prod(behind)), (3, 0, 1, 2, 4)
        now[0], now[axis] = _times(now[0], rate), now[axis] // rate
        steps += [("reshape", view), ("transpose", perm), ("reshape", tuple(now))]
    return _merged(steps)


def merge_steps(shape: Sequence[int], rates: Sequence[int]) -> tuple[Step, ...]:
    """The steps back from phase space; ``shape`` is that of the result, (N, C, spatial...), N may be -1."""
    batch, now = shape[0], list(shape)
    for axis, rate in enumerate(rates, start=2):
        now[0], now[axis] = _times(now[0], rate), now[axis] // rate
    steps: list[Step] = []
    outer = math.prod(rates)
    for axis, rate in reversed(list(enumerate(rates, start=2))):
        if rate == 1:
            continue
        outer //= rate
        now[0] = _times(batch, outer)
        before, behind = math.prod(now[1:axis]), now[axis + 1 :]
        view: tuple[int, ...] = (rate, now[0], before, now[axis])
        perm: tuple[int, ...] = (1, 2, 3, 0)
        if behind:
            view, perm = (*view, math.prod(behind)), (1, 2, 3, 0, 4)
        now[axis] *= rate
        steps += [("reshape", view), ("transpose", perm), ("reshape", tuple(now))]
    return _merged(steps)


def _times(batch: int, rate: int) -> int:
    return batch if batch == -1 else batch * rate


def _merged(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with a reshape that feeds a reshape left out."""
    kinds = [kind for kind, _ in steps]
    kept = [step for i, step in enumerate(steps) if kinds[i : i + 2] != ["reshape", "reshape"]]
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class AxisPhases:
    """How one axis of a convolution is computed through its phases.

    The input is read as ``x[start::step][:count]``, gets ``front`` and ``back`` zeros, and falls into ``phases``
    phases; an ordinary convolution of ``stride`` gives ``outputs`` elements a phase, of which the interleaving keeps
    the first ``keep``. With one phase the zeros are left to the convolution's own pads.
    """

    start: int
    step: int
    count: int
    front: int
    back: int
    phases: int
    stride: int
    length: int
    outputs: int
    keep: int

    @property
    def total(self) -> int:
        """Length of the axis after padding, before it is taken apart."""
        return self.front + self.count + self.back


def axis_phases(axis: Axis) -> AxisPhases | None:
    """The phases of an axis of known length; None when no output or no input element takes part.

    Output ``o`` reads ``x'[s*o + d*i]`` of the padded input: only multiples of ``g = gcd(s, d)``, so the input is
    subsampled by ``g``. With ``s' = s/g`` and ``d' = d/g`` coprime, output ``o = d'*j + r`` reads ``x''[d'*(s'*j + i)
    + s'*r]``, a convolution of stride ``s'`` over every ``d'``-th element from ``s'*r`` on.
    """
    size, out = axis.size, axis.out
    if size is None or out is None or out < 1:
        return None
    step = gcd(axis.stride, axis.dilation)
    stride, phases = axis.stride // step, axis.dilation // step
    subsampled = -(-(size + axis.begin + axis.end) // step)
    front = max(0, -(-axis.begin // step))
    start = step * front - axis.begin
    outputs = -(-out // phases)
    if phases == 1:
        length = total = subsampled
    elif stride == 1:
        length = outputs + axis.kernel - 1
        total = phases * length
    else:
        length = (outputs - 1) * stride + axis.kernel
        total = stride * (phases - 1) + phases * (length - 1) + 1
    count = min(subsampled - front, (size - 1 - start) // step + 1, total - front)
    if count < 1:
        return None
    return AxisPhases(start, step, count, front, total - front - count, phases, stride, length, outputs, out)
