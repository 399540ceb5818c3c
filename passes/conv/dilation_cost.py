"""What each way of computing a dilated convolution costs, in multiplies and bytes.

Notation: N batch, C and Co channels in and out, g groups; per axis: k kernel, d dilation, s stride, O output length,
K = (k-1)d+1 extent; for polyphase P = d/gcd(s,d) phases, m outputs and M inputs a phase. Products run over the axes.

=============  =======================  ===============
way            multiplies               weight elements
=============  =======================  ===============
zero-inflate   N·ΠO·Co·C/g·ΠK           Co·C/g·ΠK
polyphase      N·Π(mP)·Co·C/g·Πk        Co·C/g·Πk
taps           N·ΠO·Co·C/g·Πk           Co·C/g·Πk
=============  =======================  ===============

Elements live besides the input and the result: none when inflated; with A = N·C·Π(MP) and B = N·Co·Π(mP),
max(2·A, A + B, 2·B) for polyphase; N·C·ΠL' + N·C·ΠO + 2·N·Co·ΠO for taps one after the other (L' padded length);
N·C·ΠL' + 2·N·C·ΠO·Πk for taps side by side. Elements moved without computing, read and written: for polyphase the
pad, a transpose an axis and direction, and the crop; for taps Πk slices and Πk-1 sums, or Πk slices and one
concatenation.

``keep`` is charged as zero-inflate: that is what a backend without a dilated kernel is believed to do (H1.01, H1.02).
On a device none of this has been measured; on one CPU thread of onnxruntime run times follow the multiplies of
zero-inflate closely and the moved elements of the others roughly.

Ways are compared by one number, ``multiplies + memory_weight * (weight + live + moved bytes)``. A memory weight of 16
multiplies a byte is a processor that is memory-bound below 16 multiplies a byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from coregraft.passes.conv.geometry import ConvGeometry
from coregraft.passes.conv.phases import AxisPhases


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one way: multiplications, and bytes of weights, of live intermediates, and moved without computing."""

    multiplies: int
    weight_bytes: int
    live_bytes: int = 0
    moved_bytes: int = 0

    def score(self, memory_weight: float) -> float:
        """The number by which ways are compared; ``memory_weight`` is in multiplies a byte."""
        return self.multiplies + memory_weight * (self.weight_bytes + self.live_bytes + self.moved_bytes)

    def __str__(self) -> str:
        return (f"{_si(self.multiplies)} multiplies, {_si(self.weight_bytes)}B weights, "
                f"{_si(self.live_bytes)}B live, {_si(self.moved_bytes)}B moved")  # fmt: skip


def blow_up(geometry: ConvGeometry) -> float:
    """Taps of the zero-filled kernel over taps of the kernel: 121 for k=3, d=16 in 2-D."""
    return geometry.extent_taps / geometry.taps


def inflated_weight_bytes(geometry: ConvGeometry, itemsize: int) -> int:
    """Bytes of the weights with the gaps filled by zeros."""
    return _weights_per_tap(geometry) * geometry.extent_taps * itemsize


def zero_inflate_cost(geometry: ConvGeometry, itemsize: int) -> Cost:
    """Cost with a kernel whose gaps are zeros. Needs static spatial dims, as all of these functions."""
    per_tap = _weights_per_tap(geometry)
    outputs = _batch(geometry) * math.prod(_out(geometry))
    return Cost(outputs * per_tap * geometry.extent_taps, per_tap * geometry.extent_taps * itemsize)


def polyphase_cost(geometry: ConvGeometry, phases: Sequence[AxisPhases], itemsize: int) -> Cost:
    """Cost through phase space, by the figures of the plan."""
    batch, per_tap = _batch(geometry), _weights_per_tap(geometry)
    inside = batch * geometry.channels * math.prod(p.phases * p.length if p.phases > 1 else p.total for p in phases)
    results = math.prod(p.phases * p.outputs for p in phases)
    outside = batch * geometry.out_channels * results
    movements = sum(p.phases > 1 for p in phases)
    padded = any(p.front or p.back for p in phases if p.phases > 1) or any(p.step > 1 for p in phases)
    cropped = any(p.phases * p.outputs > p.keep for p in phases)
    live = max(2 * inside, inside + outside, 2 * outside) if movements else inside
    moved = 2 * inside * (padded + movements) + 2 * outside * (cropped + movements)
    weights = per_tap * geometry.taps
    return Cost(batch * results * weights, weights * itemsize, live * itemsize, moved * itemsize)


def taps_cost(geometry: ConvGeometry, itemsize: int, *, concat: bool = False) -> Cost:
    """Cost as a sum over the taps, or (``concat``) as one 1x1 convolution over all of them side by side."""
    batch, weights, taps = _batch(geometry), _weights_per_tap(geometry) * geometry.taps, geometry.taps
    outputs = math.prod(_out(geometry))
    padded = math.prod((axis.size or 0) + axis.begin + axis.end for axis in geometry.axes)
    has_pads = any(geometry.pads)
    read, made = batch * geometry.channels * outputs, batch * geometry.out_channels * outputs
    before = batch * geometry.channels * padded * has_pads
    live = before + (2 * read * taps if concat else read + 2 * made)
    moved = 2 * before + 2 * taps * read + (2 * taps * read if concat else 3 * (taps - 1) * made)
    return Cost(batch * outputs * weights, weights * itemsize, live * itemsize, moved * itemsize)


def _batch(geometry: ConvGeometry) -> int:
    return geometry.batch if isinstance(geometry.batch, int) else 1


def _weights_per_tap(geometry: ConvGeometry) -> int:
    return geometry.out_channels * geometry.channels // geometry.group


def _out(geometry: ConvGeometry) -> list[int]:
    return [axis.out or 0 for axis in geometry.axes]


def _si(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} P"
