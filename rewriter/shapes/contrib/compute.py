"""Result types of onnxruntime's fused products, normalisations and embeddings, and of ops that ONNX has too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from coregraft.rewriter.graph import Op
from coregraft.rewriter.shapes.rules_compute import matmul_shape, windowed
from coregraft.rewriter.shapes.site import Known, Site, Types, axis_of, broadcast, rule, rule_for, tensor
from coregraft.rewriter.types import DType

_NEW = 24  # the opset whose rules the ops that only have another name follow


def setting(op: Op, name: str, default: Any) -> Any:
    """An attribute; onnx knows no defaults of these ops."""
    return op.attrs.get(name, default)


def as_onnx(site: Site, op_type: str, **attrs: Any) -> Types | None:
    """The types that the rule of an op of ai.onnx gives for the same operands."""
    op = replace(site.op, type=op_type, domain="", attrs={**site.op.attrs, **attrs})
    found = rule_for(op, _NEW)
    return None if found is None else found(site.instead(op))


def moved(shape: Sequence[Known], to: str) -> list[Known]:
    """A shape with its channels moved to ``first`` or ``last``."""
    spatial = shape[1:-1] if to == "first" else shape[2:]
    return [shape[0], shape[-1], *spatial] if to == "first" else [shape[0], *spatial, shape[1]]


@rule("com.microsoft::FusedConv")
def _fused_conv(site: Site) -> Types | None:
    return as_onnx(site, "Conv")


@rule("com.microsoft::FusedGemm")
def _fused_gemm(site: Site) -> Types | None:
    return as_onnx(site, "Gemm")


@rule("com.microsoft::NhwcConv", "com.microsoft::NhwcFusedConv")
def _nhwc_conv(site: Site) -> Types | None:
    x, w = site.shape(0), site.shape(1)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    group = setting(site.op, "group", 1)
    plain = isinstance(w[1], int) and isinstance(w[-1], int) and x[-1] == w[1] * group and x[-1] != w[-1] * group
    spatial = w[2:] if plain or site.op.type == "NhwcFusedConv" else w[1:-1]
    kernel = list(site.op.attrs.get("kernel_shape") or spatial)
    return [tensor(site.dtype(0), [x[0], *windowed(site.op, x[1:-1], kernel), w[0]])]


@rule("com.microsoft::NhwcMaxPool")
def _nhwc_pool(site: Site) -> Types | None:
    x = site.shape(0)
    if x is None or len(x) < 3 or "kernel_shape" not in site.op.attrs:
        return None
    return [tensor(site.dtype(0), [x[0], *windowed(site.op, x[1:-1], list(site.op.attrs["kernel_shape"])), x[-1]])]


@rule("com.microsoft::ConvTransposeWithDynamicPads")
def _dynamic_pads(site: Site) -> Types | None:
    pads = site.ints(2)
    if site.has(2) and pads is None:
        return [tensor(site.dtype(0), None)]
    return as_onnx(site, "ConvTranspose", **({"pads": tuple(pads)} if pads else {}))


@rule("com.microsoft::FusedMatMul", "com.microsoft::TransposeMatMul", "com.microsoft::FusedMatMulActivation")
def _fused_matmul(site: Site) -> Types | None:
    a, b = (_turned(site, i, side) for i, side in ((0, "A"), (1, "B")))
    return [tensor(site.dtype(0), matmul_shape(site, a, b))]


def _turned(site: Site, i: int, side: str) -> list[Known] | None:
    shape = site.shape(i)
    if shape is None or len(shape) < 2:
        return shape
    if site.op.attrs.get(f"transBatch{side}"):
        shape = [*shape[1:-1], shape[0], shape[-1]]
    return [*shape[:-2], shape[-1], shape[-2]] if site.op.attrs.get(f"trans{side}") else shape


@rule("com.microsoft::GemmFastGelu")
def _gemm_gelu(site: Site) -> Types | None:
    return [tensor(site.dtype(0), matmul_shape(site, site.shape(0), site.shape(1)))]


@rule("com.microsoft::BiasSplitGelu")
def _split_gelu(site: Site) -> Types | None:
    x = site.shape(0)
    return [tensor(site.dtype(0), None if not x else [*x[:-1], None if x[-1] is None else x[-1] // 2])]


@rule("com.microsoft::BiasAdd", "com.microsoft::BiasSoftmax", "com.microsoft::GroupNorm", "com.microsoft::SampleOp",
      "com.microsoft::Trilu", "com.microsoft::Inverse")  # fmt: skip
def _same(site: Site) -> Types | None:
    return [site.types[0]]


@rule("com.microsoft::SkipGroupNorm")
def _skip_group_norm(site: Site) -> Types | None:
    return [site.types[0]] * len(site.op.outputs)


@rule("com.microsoft::SkipLayerNormalization", "com.microsoft::SkipSimplifiedLayerNormalization")
def _skip_norm(site: Site) -> Types | None:
    shape = broadcast([site.shape(0), site.shape(1)], site)
    total = tensor(site.dtype(0), shape)
    moment = tensor(DType.FLOAT, None if not shape else [*shape[:-1], 1])
    return [total, moment, moment, total][: len(site.op.outputs)]


@rule("SimplifiedLayerNormalization", *(f"com.microsoft::{n}LayerNormalization" for n in ("Simplified", "")))
def _plain_norm(site: Site) -> Types | None:
    shape = site.shape(0)
    axis = None if shape is None else axis_of(setting(site.op, "axis", -1), len(shape))
    kept = None if shape is None or axis is None else shape[:axis] + [1] * (len(shape) - axis)
    moment = tensor(DType(setting(site.op, "stash_type", 1)), kept)
    return [site.types[0], moment, moment][: len(site.op.outputs)]


@rule("com.microsoft::EmbedLayerNormalization")
def _embed(site: Site) -> Types | None:
    ids, words = site.shape(0), site.shape(2)
    known = ids is not None and len(ids) == 2 and words is not None and len(words) == 2
    rows = tensor(site.dtype(2), [*ids, words[1]] if known and ids and words else None)
    return [rows, tensor(DType.INT32, ids[:1] if ids else None), rows][: len(site.op.outputs)]


@rule("com.microsoft::CropAndResize")
def _crop(site: Site) -> Types | None:
    x, boxes, size = site.shape(0), site.shape(1), site.ints(3)
    if x is None or len(x) != 4 or boxes is None:
        return None
    return [tensor(site.dtype(0), [boxes[0], x[1], *(size if size is not None and len(size) == 2 else [None, None])])]


@rule("com.microsoft::ExpandDims")
def _expand_dims(site: Site) -> Types | None:
    shape, axis = site.shape(0), site.ints(1)
    if shape is None:
        return None
    if not axis:
        return [tensor(site.dtype(0), [None] * (len(shape) + 1))]
    at = axis_of(axis[0], len(shape) + 1)
    return [tensor(site.dtype(0), [*shape[:at], 1, *shape[at:]])]


@rule("com.microsoft::Pad")
def _pad(site: Site) -> Types | None:
    shape, pads = site.shape(0), site.ints(1)
    if shape is None:
        return None
    if pads is None or len(pads) != 2 * len(shape):
        return [tensor(site.dtype(0), [None] * len(shape))]
    both = zip(pads[: len(shape)], pads[len(shape) :], strict=True)
    grown = [None if d is None else d + (a + b) for d, (a, b) in zip(shape, both, strict=True)]
    return [tensor(site.dtype(0), grown)]


@rule("com.microsoft::Range")
def _range(site: Site) -> Types | None:
    return [tensor(site.dtype(0), [None])]


@rule("com.microsoft::GridSample")
def _grid_sample(site: Site) -> Types | None:
    x, grid = site.shape(0), site.shape(1)
    if x is None or grid is None or len(x) != len(grid):
        return None
    return [tensor(site.dtype(0), [*x[:2], *grid[1:-1]])]


@rule("com.microsoft::GatherND")
def _gather_nd(site: Site) -> Types | None:
    data, indices = site.shape(0), site.shape(1)
    if data is None or not indices or not isinstance(indices[-1], int):
        return None
    return [tensor(site.dtype(0), [*indices[:-1], *data[indices[-1] :]])]
