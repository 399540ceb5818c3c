"""Result types of onnxruntime's quantised ops, and of products with packed weights."""

from __future__ import annotations

from coregraft.rewriter.shapes.contrib.compute import as_onnx, moved, setting
from coregraft.rewriter.shapes.rules_compute import matmul_shape, windowed
from coregraft.rewriter.shapes.site import Site, Types, axis_of, broadcast, rule, tensor, total
from coregraft.rewriter.types import DType


@rule("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul")
def _binary(site: Site) -> Types | None:
    return [tensor(site.dtype(0), broadcast([site.shape(0), site.shape(3)], site))]


@rule("com.microsoft::QLinearWhere")
def _where(site: Site) -> Types | None:
    return [tensor(site.dtype(1), broadcast([site.shape(i) for i in (0, 1, 4)], site))]


@rule("com.microsoft::QLinearConcat")
def _concat(site: Site) -> Types | None:
    shapes = [site.shape(i) for i in range(2, len(site), 3)]
    present = [s for s in shapes if s is not None]
    if len(present) != len(shapes) or not present or any(len(s) != len(present[0]) for s in present):
        return [tensor(site.dtype(1), None)]
    axis = axis_of(setting(site.op, "axis", 0), len(present[0]))
    joined = [total([s[axis] for s in present]) if i == axis else d for i, d in enumerate(present[0])]
    return [tensor(site.dtype(1), joined)]


@rule("com.microsoft::QLinearAveragePool", "com.microsoft::QLinearGlobalAveragePool")
def _pool(site: Site) -> Types | None:
    x, last = site.shape(0), setting(site.op, "channels_last", 0)
    if x is None or len(x) < 3 or not ("Global" in site.op.type or "kernel_shape" in site.op.attrs):
        return None
    first = moved(x, "first") if last else list(x)
    if "Global" in site.op.type:
        spatial = [1] * (len(x) - 2)
    else:
        spatial = windowed(site.op, first[2:], list(site.op.attrs["kernel_shape"]))  # type: ignore[assignment]
    result = [*first[:2], *spatial]
    return [tensor(site.dtype(0), moved(result, "last") if last else result)]


@rule("com.microsoft::QLinearReduceMean")
def _reduce(site: Site) -> Types | None:
    return as_onnx(site, "ReduceMean")


@rule("com.microsoft::QLinearConv")
def _conv(site: Site) -> Types | None:
    x, w, last = site.shape(0), site.shape(3), setting(site.op, "channels_last", 0)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    first = moved(x, "first") if last else x
    kernel = list(site.op.attrs.get("kernel_shape") or w[2:])
    result = [first[0], w[0], *windowed(site.op, first[2:], kernel)]
    return [tensor(site.dtype(7) or site.dtype(0), moved(result, "last") if last else result)]


@rule("com.microsoft::QGemm")
def _gemm(site: Site) -> Types | None:
    a, b = site.shape(0), site.shape(3)
    rows = None if a is None or len(a) != 2 else a[1 if setting(site.op, "transA", 0) else 0]
    columns = None if b is None or len(b) != 2 else b[0 if setting(site.op, "transB", 0) else 1]
    return [tensor(site.dtype(0) if site.has(7) else DType.FLOAT, [rows, columns])]


@rule("com.microsoft::DynamicQuantizeMatMul", "com.microsoft::MatMulIntegerToFloat")
def _matmul(site: Site) -> Types | None:
    return [tensor(DType.FLOAT, matmul_shape(site, site.shape(0), site.shape(1)))]


@rule("com.microsoft::MatMulNBits", "com.microsoft::MatMulBnb4")
def _packed(site: Site) -> Types | None:
    x = site.shape(0)
    return [tensor(site.dtype(0), None if not x else [*x[:-1], site.op.attrs.get("N")])]


@rule("com.microsoft::GatherBlockQuantized")
def _gather(site: Site) -> Types | None:
    data, indices = site.shape(0), site.shape(1)
    if data is None or indices is None:
        return [tensor(site.dtype(2), None)]
    if site.dtype(0) is DType.UINT8 and data[-1] is not None:
        data[-1] = data[-1] * (8 // setting(site.op, "bits", 4))
    axis = axis_of(setting(site.op, "gather_axis", 0), len(data))
    return [tensor(site.dtype(2), [*data[:axis], *indices, *data[axis + 1 :]])]
