"""Result types of reductions, matrix products, sliding windows and resampling; see :mod:`.shape_rules`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from coregraft.rewriter.graph import Op
from coregraft.rewriter.schema import attr
from coregraft.rewriter.shapes.dim_expr import Poly
from coregraft.rewriter.shapes.site import Known, Site, Types, axis_of, broadcast, rule, tensor, total
from coregraft.rewriter.types import DType

_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"


@rule("ArgMax", "ArgMin", *(f"Reduce{n}" for n in _REDUCTIONS.split()))
def _reduce(site: Site) -> Types | None:
    shape, axes, keep = site.shape(0), site.axes(), attr(site.op, "keepdims")
    dtype = DType.INT64 if site.op.type.startswith("Arg") else site.dtype(0)
    if site.op.type.startswith("Arg"):
        axes = [attr(site.op, "axis")]
    elif not axes and not (site.has(1) and axes is None):
        if site.op.attrs.get("noop_with_empty_axes"):
            return [site.types[0]]
        axes = None if shape is None else list(range(len(shape)))
    if shape is None:
        return [tensor(dtype, [] if axes is None and not site.has(1) and not keep else None)]
    if axes is None:
        return [tensor(dtype, [None] * len(shape) if keep else None)]
    gone = {axis_of(a, len(shape)) for a in axes}
    return [tensor(dtype, [1 if i in gone else d for i, d in enumerate(shape) if keep or i not in gone])]


@rule("MatMul")
def _matmul(site: Site) -> Types | None:
    return [tensor(site.dtype(0), matmul_shape(site, site.shape(0), site.shape(1)))]


def matmul_shape(site: Site, a: list[Known] | None, b: list[Known] | None) -> list[Known] | None:
    """numpy's matmul on dims."""
    if not a or not b:
        return None
    if isinstance(a[-1], int) and isinstance(b[-2 if len(b) > 1 else -1], int) and a[-1] != b[-2 if len(b) > 1 else -1]:
        site.mismatch = f"inner dims {a[-1]} and {b[-2 if len(b) > 1 else -1]} differ"
    rows = [a[-2]] if len(a) > 1 else []
    columns = [b[-1]] if len(b) > 1 else []
    batch = broadcast([a[:-2], b[:-2]], site)
    return None if batch is None else batch + rows + columns


@rule("MatMulInteger")
def _integer_matmul(site: Site) -> Types | None:
    return [tensor(DType.INT32, matmul_shape(site, site.shape(0), site.shape(1)))]


@rule("Gemm")
def _gemm(site: Site) -> Types | None:
    a, b = site.shape(0), site.shape(1)
    rows = None if a is None or len(a) != 2 else a[1 if attr(site.op, "transA") else 0]
    columns = None if b is None or len(b) != 2 else b[0 if attr(site.op, "transB") else 1]
    if a and b and len(a) == len(b) == 2:
        inner, outer = a[0 if attr(site.op, "transA") else 1], b[1 if attr(site.op, "transB") else 0]
        if isinstance(inner, int) and isinstance(outer, int) and inner != outer:
            site.mismatch = f"inner dims {inner} and {outer} differ"
    return [tensor(site.dtype(0), [rows, columns])]


@rule("coregraft::Linear", "coregraft::LinearNoBias")
def _linear(site: Site) -> Types | None:
    x, w = site.shape(0), site.shape(1)
    return [tensor(site.dtype(0), None if not x or not w else [*x[:-1], w[0]])]


# ---------------------------------------------------------------- windows


@rule("Conv")
def _conv(site: Site) -> Types | None:
    x, w = site.shape(0), site.shape(1)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    channels = x[1]
    if isinstance(channels, int) and isinstance(w[1], int) and channels != w[1] * attr(site.op, "group"):
        site.mismatch = f"{channels} channels, the weights take {w[1] * attr(site.op, 'group')}"
    kernel = list(site.op.attrs.get("kernel_shape") or w[2:])
    if not _windows_fit(site, len(x) - 2):
        return None
    return [tensor(site.dtype(0), [x[0], w[0], *windowed(site.op, x[2:], kernel)])]


@rule("AveragePool", "LpPool", "MaxPool")
def _pool(site: Site) -> Types | None:
    x = site.shape(0)
    if x is None or len(x) < 3:
        return [tensor(site.dtype(0), None)] + [tensor(DType.INT64, None)] * (len(site.op.outputs) - 1)
    if not _windows_fit(site, len(x) - 2):
        return None
    shape = [*x[:2], *windowed(site.op, x[2:], list(site.op.attrs["kernel_shape"]))]
    return [tensor(site.dtype(0), shape)] + [tensor(DType.INT64, shape)] * (len(site.op.outputs) - 1)


@rule("Einsum")
def _einsum(site: Site) -> Types | None:
    """Left to the schema, but for an operand with two ellipses: onnx's inference does not return from it."""
    equation = site.op.attrs.get("equation")
    if isinstance(equation, str):
        for term in equation.partition("->")[0].split(","):
            if "." in term.replace("...", "", 1):
                site.mismatch = f'"{term}" names the dims of an operand with more than one ellipsis'
                return [tensor(site.dtype(0), None)]
    return None


@rule("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool")
def _global_pool(site: Site) -> Types | None:
    x = site.shape(0)
    return None if x is None else [tensor(site.dtype(0), [*x[:2], *[1] * (len(x) - 2)])]


def _windows_fit(site: Site, rank: int) -> bool:
    """Whether the lists that describe a window are as long as the operand has spatial axes, and of sizes that a window
    can have; says so where not."""
    lengths = {"kernel_shape": rank, "strides": rank, "dilations": rank, "output_padding": rank, "pads": 2 * rank}
    for name, length in lengths.items():
        given = site.op.attrs.get(name)
        if given and len(given) != length:
            site.mismatch = f"{name} has {len(given)} elements for {rank} spatial axes"
            return False
        if given and name in ("kernel_shape", "strides", "dilations") and min(given) < 1:
            site.mismatch = f"{name} is {tuple(given)}; each is at least 1"
            return False
    return True


def windowed(op: Op, spatial: Sequence[Known], kernel: Sequence[Known]) -> list[Known]:
    """The spatial dims after a sliding window. With ``ceil_mode`` a window that starts in the end padding is
    dropped, which is what onnxruntime computes (onnx's own inference from opset 19 on keeps it)."""
    rank = len(spatial)
    strides = op.attrs.get("strides") or (1,) * rank
    dilations = op.attrs.get("dilations") or (1,) * rank
    pads = op.attrs.get("pads") or (0,) * (2 * rank)
    auto_pad = op.attrs.get("auto_pad", "NOTSET")
    result: list[Known] = []
    for i, (size, k) in enumerate(zip(spatial, kernel, strict=True)):
        if size is None or (k is None and auto_pad != "SAME_UPPER" and auto_pad != "SAME_LOWER"):
            result.append(None)
            continue
        stride = strides[i]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            result.append((size + stride - 1) // stride)
            continue
        front, back = (0, 0) if auto_pad == "VALID" else (pads[i], pads[i + rank])
        span = size + (front + back) - ((k or 0) - 1) * dilations[i] - 1
        if not attr(op, "ceil_mode"):
            result.append(span // stride + 1)
            continue
        count = (span + stride - 1) // stride + 1
        if isinstance(count, int) and isinstance(size, int) and (count - 1) * stride >= size + front:
            count -= 1
        elif isinstance(count, Poly) and stride > 1 and (front or back):
            result.append(None)
            continue
        result.append(count)
    return result


@rule("ConvTranspose")
def _conv_transpose(site: Site) -> Types | None:
    x, w = site.shape(0), site.shape(1)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    op, rank = site.op, len(x) - 2
    if not _windows_fit(site, rank):
        return None
    kernel = list(op.attrs.get("kernel_shape") or w[2:])
    strides = op.attrs.get("strides") or (1,) * rank
    dilations = op.attrs.get("dilations") or (1,) * rank
    pads = op.attrs.get("pads") or (0,) * (2 * rank)
    extra = op.attrs.get("output_padding") or (0,) * rank
    auto_pad = op.attrs.get("auto_pad", "NOTSET")
    spatial: list[Known] = list(op.attrs.get("output_shape") or [])[-rank:]
    for i in range(rank) if not spatial else ():
        size, k = x[2 + i], kernel[i]
        if size is None or k is None:
            spatial.append(None)
        elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            spatial.append(size * strides[i])
        else:
            padding = 0 if auto_pad == "VALID" else pads[i] + pads[i + rank]
            spatial.append((size - 1) * strides[i] + extra[i] + (k - 1) * dilations[i] + 1 - padding)
    channels = None if w[1] is None else w[1] * attr(op, "group")
    return [tensor(site.dtype(0), [x[0], channels, *spatial])]


@rule("Pad", since=11)
def _pad(site: Site) -> Types | None:
    shape, pads = site.shape(0), site.content(1)
    if shape is None:
        return None
    axes = site.ints(3) if site.has(3) else list(range(len(shape)))
    if axes is None or pads is None or pads.size != 2 * len(axes):
        return [tensor(site.dtype(0), [None] * len(shape))]
    amounts: list[Known] = list(pads.flat)
    result = list(shape)
    for at, axis in enumerate(axes):
        i = axis_of(axis, len(shape))
        result[i] = total([shape[i], amounts[at], amounts[at + len(axes)]])
    return [tensor(site.dtype(0), result)]


@rule("Resize", "Upsample", since=9)
def _resize(site: Site) -> Types | None:
    """onnx 1.23 rounds sizes down in double precision: to 6 where onnxruntime makes 7 of 10 by 0.7."""
    shape = site.shape(0)
    if shape is None:
        return None
    axes = [axis_of(a, len(shape)) for a in site.op.attrs.get("axes") or range(len(shape))]
    result = list(shape)
    sizes, scales = site.content(3), site.content(2 if len(site.op.inputs) > 2 else 1)  # no roi before opset 11
    if site.has(3):
        if attr(site.op, "keep_aspect_ratio_policy") != "stretch":
            return None
        for at, i in enumerate(axes):
            result[i] = None if sizes is None or at >= sizes.size else sizes.flat[at]
    else:
        for at, i in enumerate(axes):
            result[i] = _scaled(shape[i], None if scales is None or at >= scales.size else scales.flat[at])
    return [tensor(site.dtype(0), result)]


def _scaled(dim: Known, scale: float | None) -> Known:
    if scale is None or dim is None:
        return dim if scale == 1 else None
    if float(scale).is_integer():
        return dim * int(scale)
    if isinstance(dim, int):
        return math.floor(np.float32(dim) * np.float32(scale))
    inverse = 1 / float(scale)
    return dim // int(inverse) if inverse.is_integer() else None


@rule("DepthToSpace", "SpaceToDepth")
def _depth_to_space(site: Site) -> Types | None:
    x, block = site.shape(0), attr(site.op, "blocksize")
    if x is None or len(x) != 4:
        return None
    n, c, h, w = x
    if site.op.type == "DepthToSpace":
        dims = [n, None if c is None else c // (block * block), *(None if d is None else d * block for d in (h, w))]
    else:
        dims = [n, None if c is None else c * (block * block), *(None if d is None else d // block for d in (h, w))]
    return [tensor(site.dtype(0), dims)]


@rule("STFT")
def _stft(site: Site) -> Types | None:
    """onnx 1.23 itself counts all frequencies where ``onesided``, which is the default, is left out."""
    signal, window = site.shape(0), site.shape(2)
    if signal is None or len(signal) != 3:
        return None
    steps, lengths = site.ints(1), site.ints(3)
    length: Known = lengths[0] if lengths else window[0] if window and not site.has(3) else None
    if length is None:
        return [tensor(site.dtype(0), [signal[0], None, None, 2])]
    frames = None if not steps or signal[1] is None else (signal[1] - length) // steps[0] + 1
    bins = length // 2 + 1 if attr(site.op, "onesided") else length
    return [tensor(site.dtype(0), [signal[0], frames, bins, 2])]


# ---------------------------------------------------------------- quantization


@rule("QuantizeLinear", "com.microsoft::QuantizeLinear")
def _quantize(site: Site) -> Types | None:
    given = site.op.attrs.get("output_dtype")
    return [tensor(DType(given) if given else site.dtype(2) or DType.UINT8, site.shape(0))]


@rule("DequantizeLinear", "com.microsoft::DequantizeLinear")
def _dequantize(site: Site) -> Types | None:
    given = site.op.attrs.get("output_dtype")
    return [tensor(DType(given) if given else site.dtype(1), site.shape(0))]
