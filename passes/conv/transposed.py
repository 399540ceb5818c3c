"""The geometry of a transposed convolution: what is cut off the full result, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coregraft.passes.conv.geometry import text
from coregraft.rewriter.passes import OpView


@dataclass(frozen=True, slots=True)
class TransposedGeometry:
    """A ConvTranspose, per spatial axis: its full result has ``stride*(size-1) + (kernel-1)*dilation + 1`` elements,
    of which ``begins`` are cut off in front and ``ends`` behind. Negative ends stand for zeros that are added."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int
    begins: tuple[int, ...]
    ends: tuple[int, ...]


def transposed_geometry(node: OpView) -> TransposedGeometry | None:
    """The geometry of a ConvTranspose, ``auto_pad``, ``output_shape`` and ``output_padding`` resolved.

    None when the kernel is not known, or a length on which the padding depends; and for SAME where the full result
    falls short of ``size * stride``, which ONNX fills with zeros and onnxruntime does not.
    """
    x, w = node.inputs[0], node.inputs[1]
    weight = None if w is None else w.static_shape
    if x is None or x.shape is None or weight is None or len(weight) != len(x.shape) or len(weight) < 3:
        return None
    kernel = weight[2:]
    rank = len(kernel)
    strides = tuple(node.attr("strides") or (1,) * rank)
    dilations = tuple(node.attr("dilations") or (1,) * rank)
    growth = tuple(node.attr("output_padding") or (0,) * rank)
    mode, shape = text(node.attr("auto_pad")), node.attr("output_shape")
    pads = tuple(node.attr("pads") or (0,) * (2 * rank))
    if shape or mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [d for d in x.shape[2:] if isinstance(d, int)]
        if len(sizes) != rank:
            return None
        # Some exporters write the whole shape, batch and channels included.
        wanted = list(shape)[-rank:] if shape else [n * s for n, s in zip(sizes, strides, strict=True)]
        pads = _computed_pads(sizes, kernel, strides, dilations, growth, wanted, upper=mode == "SAME_UPPER")
        if not shape and min(pads) < 0:
            return None
    elif mode == "VALID":
        pads = (0,) * (2 * rank)
    ends = tuple(p - g for p, g in zip(pads[rank:], growth, strict=True))
    return TransposedGeometry(kernel, strides, dilations, int(node.attr("group")), pads[:rank], ends)


def _computed_pads(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    growth: Sequence[int],
    wanted: Sequence[int],
    *,
    upper: bool,
) -> tuple[int, ...]:
    """Pads for a wanted output size; the odd one goes to the end for SAME_UPPER, else to the begin.

    A size beyond the full result is reached by zeros behind it, so an end may be negative.
    """
    begins, ends = [], []
    for n, k, s, d, g, out in zip(sizes, kernel, strides, dilations, growth, wanted, strict=True):
        full = s * (n - 1) + (k - 1) * d + 1 + g
        total = max(0, full - out)
        begins.append(total // 2 if upper else total - total // 2)
        ends.append(full - out - begins[-1])
    return (*begins, *ends)
