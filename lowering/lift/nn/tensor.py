"""Layers that move data: shapes, slices, gathers, scatters, sorts; and the constants."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.lift.nn.registry import layers
from coregraft.rewriter.types import DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.nn.network import Blob, Layer, Network

_AXES = {"CHANNEL_AXIS": -3, "HEIGHT_AXIS": -2, "WIDTH_AXIS": -1}


@layers("loadConstant", "loadConstantND")
def load_constant(n: Network, layer: Layer) -> None:
    shape = [int(d) for d in layer.params.shape]
    if layer.kind == "loadConstant":
        shape = [1, 1, *shape]
    n.write(layer, n.const(layer, n.weights(layer, layer.params.data, shape), layer.outputs[0]))


@layers("fillStatic")
def fill_static(n: Network, layer: Layer) -> None:
    shape = [int(d) for d in layer.params.targetShape]
    n.write(layer, n.const(layer, np.full(shape, layer.params.value, np.float32), layer.outputs[0]))


@layers("fillDynamic", "fillLike")
def fill(n: Network, layer: Layer) -> None:
    shape = n.x(layer)
    if layer.kind == "fillLike":
        shape = n.op(layer, "shape", DType.INT32, x=shape)
    n.give(layer, "fill", shape=shape, value=np.float32(layer.params.value))


@layers("rangeStatic", "rangeDynamic")
def range_(n: Network, layer: Layer) -> None:
    """Inputs are end, start and step, as many as there are."""
    p = layer.params
    given = [_scalar(n, layer, blob) for blob in n.xs(layer)]
    rest = [np.float32(getattr(p, "endValue", 0)), np.float32(p.startValue), np.float32(p.stepSizeValue)]
    operands: list[Any] = [*given, *rest[len(given) :]]
    end, start, step = operands
    n.give(layer, "range_1d", end=end, start=start, step=step)


@layers("getShape")
def get_shape(n: Network, layer: Layer) -> None:
    n.give(layer, "shape", DType.INT32, x=n.x(layer))


@layers("copy")
def copy(n: Network, layer: Layer) -> None:
    n.write(layer, n.x(layer))


@layers("reshapeStatic", "rankPreservingReshape")
def reshape(n: Network, layer: Layer) -> None:
    n.give(layer, "reshape", x=n.x(layer), shape=[int(d) for d in layer.params.targetShape])


@layers("reshapeDynamic")
def reshape_dynamic(n: Network, layer: Layer) -> None:
    n.give(layer, "reshape", x=n.x(layer), shape=n.x(layer, 1))


@layers("flattenTo2D")
def flatten(n: Network, layer: Layer) -> None:
    n.give(layer, "flatten2d", x=n.x(layer), axis=int(layer.params.axis))


@layers("expandDims")
def expand_dims(n: Network, layer: Layer) -> None:
    n.give(layer, "expand_dims", x=n.x(layer), axes=[int(a) for a in layer.params.axes])


@layers("squeeze")
def squeeze(n: Network, layer: Layer) -> None:
    """A tensor never loses its last dim."""
    x = n.x(layer)
    rank = n.rank(layer, x)
    if layer.params.squeezeAll:
        axes = [i for i, size in enumerate(n.sizes(layer, x)) if size == 1]
    else:
        axes = sorted({int(a) % rank for a in layer.params.axes})
    if len(axes) == rank:
        n.give(layer, "reshape", x=x, shape=[1])
    elif axes:
        n.give(layer, "squeeze", x=x, axes=axes)
    else:
        n.write(layer, x)


@layers("transpose")
def transpose(n: Network, layer: Layer) -> None:
    n.give(layer, "transpose", x=n.x(layer), perm=[int(a) for a in layer.params.axes])


@layers("concat", "concatND")
def concat(n: Network, layer: Layer) -> None:
    p = layer.params
    axis = (-5 if p.sequenceConcat else -3) if layer.kind == "concat" else int(p.axis)
    interleave = layer.kind == "concatND" and bool(p.interleave)
    n.give(layer, "concat", values=n.xs(layer), axis=axis, interleave=interleave)


@layers("stack")
def stack(n: Network, layer: Layer) -> None:
    n.give(layer, "stack", values=n.xs(layer), axis=int(layer.params.axis))


@layers("split", "splitND")
def split(n: Network, layer: Layer) -> None:
    count = len(layer.outputs)
    sizes: dict[str, Any] = {"num_splits": count}
    if layer.kind == "splitND" and layer.params.splitSizes:
        sizes = {"split_sizes": [int(s) for s in layer.params.splitSizes]}
    axis = int(layer.params.axis) if layer.kind == "splitND" else -3
    n.give_all(layer, "split", [DType.FLOAT] * count, x=n.x(layer), axis=axis, **sizes)


@layers("slice")
def slice_(n: Network, layer: Layer) -> None:
    """One of the last three axes, from start to end exclusive."""
    p, x = layer.params, n.x(layer)
    rank = n.rank(layer, x)
    axis = _AXES[p.SliceAxis.Name(p.axis)] % rank
    here = [i == axis for i in range(rank)]
    n.give(
        layer, "slice_by_index", x=x,
        begin=[int(p.startIndex) if h else 0 for h in here], end=[int(p.endIndex) if h else 0 for h in here],
        stride=[int(p.stride) or 1 if h else 1 for h in here],
        begin_mask=[not h for h in here], end_mask=[not h for h in here],
    )  # fmt: skip


@layers("sliceStatic")
def slice_static(n: Network, layer: Layer) -> None:
    p = layer.params
    _slice(n, layer, [int(v) for v in p.beginIds], [int(v) for v in p.endIds])


@layers("sliceDynamic")
def slice_dynamic(n: Network, layer: Layer) -> None:
    """Inputs are x, begin and end; the end may be a parameter."""
    if len(layer.inputs) > 3:
        n.refuse(layer, "its strides or masks are inputs")
    end = n.x(layer, 2) if len(layer.inputs) == 3 else [int(v) for v in layer.params.endIds]
    _slice(n, layer, n.x(layer, 1), end)


def _slice(n: Network, layer: Layer, begin: Any, end: Any) -> None:
    p, x = layer.params, n.x(layer)
    rank = n.rank(layer, x)
    masks = {key: list(getattr(p, f"{name}Masks")) for key, name in
             (("begin_mask", "begin"), ("end_mask", "end"), ("squeeze_mask", "squeeze"))}  # fmt: skip
    options = {key: mask for key, mask in masks.items() if mask}
    stride = [int(s) for s in p.strides] or [1] * rank
    if all(masks["squeeze_mask"]) and masks["squeeze_mask"]:
        options["squeeze_mask"] = [False] * rank
        found = n.op(layer, "slice_by_index", x=x, begin=begin, end=end, stride=stride, **options)
        n.give(layer, "reshape", x=found, shape=[1])
        return
    n.give(layer, "slice_by_index", x=x, begin=begin, end=end, stride=stride, **options)


@layers("tile")
def tile(n: Network, layer: Layer) -> None:
    reps = n.x(layer, 1) if len(layer.inputs) > 1 else [int(r) for r in layer.params.reps]
    n.give(layer, "tile", x=n.x(layer), reps=reps)


@layers("reverse")
def reverse(n: Network, layer: Layer) -> None:
    axes = [i for i, turned in enumerate(layer.params.reverseDim) if turned]
    if axes:
        n.give(layer, "reverse", x=n.x(layer), axes=axes)
    else:
        n.write(layer, n.x(layer))


@layers("reverseSeq")
def reverse_sequence(n: Network, layer: Layer) -> None:
    p = layer.params
    lengths = n.integers(layer, n.x(layer, 1))
    n.give(layer, "reverse_sequence", x=n.x(layer), lengths=lengths, seq_axis=int(p.sequenceAxis),
           batch_axis=int(p.batchAxis))  # fmt: skip


@layers("gather", "gatherAlongAxis")
def gather(n: Network, layer: Layer) -> None:
    kind = "gather" if layer.kind == "gather" else "gather_along_axis"
    n.give(layer, kind, x=n.x(layer), indices=_indices(n, layer), axis=int(layer.params.axis))


@layers("gatherND")
def gather_nd(n: Network, layer: Layer) -> None:
    n.give(layer, "gather_nd", x=n.x(layer), indices=_indices(n, layer))


@layers("scatter", "scatterAlongAxis", "scatterND")
def scatter(n: Network, layer: Layer) -> None:
    kinds = {"scatter": "scatter", "scatterAlongAxis": "scatter_along_axis", "scatterND": "scatter_nd"}
    p = layer.params
    mode = p.DESCRIPTOR.fields_by_name["mode"].enum_type.values_by_number[p.mode].name
    options: dict[str, Any] = {} if layer.kind == "scatterND" else {"axis": int(p.axis)}
    n.give(
        layer, kinds[layer.kind], data=n.x(layer), indices=_indices(n, layer), updates=n.x(layer, 2),
        mode=mode.removeprefix("SCATTER_").lower(), **options,
    )  # fmt: skip


@layers("oneHot")
def one_hot(n: Network, layer: Layer) -> None:
    p = layer.params
    size = _scalar(n, layer, n.x(layer, 1)) if len(layer.inputs) > 1 else np.int32(p.oneHotVectorSize)
    n.give(
        layer, "one_hot", indices=n.integers(layer, n.x(layer)), one_hot_vector_size=size, axis=int(p.axis),
        on_value=np.float32(p.onValue), off_value=np.float32(p.offValue),
    )  # fmt: skip


@layers("whereNonZero")
def non_zero(n: Network, layer: Layer) -> None:
    n.give(layer, "non_zero", DType.INT32, x=n.x(layer))


@layers("matrixBandPart")
def band_part(n: Network, layer: Layer) -> None:
    n.give(layer, "band_part", x=n.x(layer), lower=int(layer.params.numLower), upper=int(layer.params.numUpper))


@layers("topK")
def topk(n: Network, layer: Layer) -> None:
    p = layer.params
    k = n.integers(layer, n.x(layer, 1)) if len(layer.inputs) > 1 else np.int32(p.K)
    n.give_all(layer, "topk", [DType.FLOAT, DType.INT32], x=n.x(layer), k=k, axis=int(p.axis),
               ascending=bool(p.useBottomK))  # fmt: skip


@layers("argSort")
def argsort(n: Network, layer: Layer) -> None:
    p = layer.params
    n.give(layer, "argsort", DType.INT32, x=n.x(layer), axis=int(p.axis), ascending=not p.descending)


@layers("slidingWindows")
def sliding_windows(n: Network, layer: Layer) -> None:
    p = layer.params
    n.give(layer, "sliding_windows", x=n.x(layer), axis=int(p.axis), size=int(p.windowSize), stride=int(p.step))


@layers("NonMaximumSuppression")
def nms(n: Network, layer: Layer) -> None:
    if len(layer.inputs) > 2:
        n.refuse(layer, "its thresholds are inputs")
    p = layer.params
    n.give_all(
        layer, "non_maximum_suppression", [DType.FLOAT, DType.FLOAT, DType.INT32, DType.INT32],
        boxes=n.x(layer), scores=n.x(layer, 1), iou_threshold=np.float32(p.iouThreshold),
        score_threshold=np.float32(p.scoreThreshold), max_boxes=int(p.maxBoxes),
        per_class_suppression=bool(p.perClassSuppression),
    )  # fmt: skip


@layers("embeddingND", "embedding")
def embedding(n: Network, layer: Layer) -> None:
    """Rows of a table that is stored by columns; the last dim of the indices, or the last three, is 1."""
    p = layer.params
    nd = layer.kind == "embeddingND"
    rows, width = (int(p.vocabSize), int(p.embeddingSize)) if nd else (int(p.inputDim), int(p.outputChannels))
    stored = n.weights(layer, p.weights, (width, rows))
    table = n.op(layer, "transpose", x=n.const(layer, stored), perm=[1, 0])
    x = n.x(layer)
    rank = n.rank(layer, x)
    ones = 1 if nd else 3
    indices = n.integers(layer, n.op(layer, "squeeze", x=x, axes=list(range(rank - ones, rank))))
    found = n.op(layer, "gather", x=table, indices=indices, axis=0)
    if p.hasBias:
        found = n.op(layer, "add", x=found, y=n.const(layer, n.weights(layer, p.bias, (width,))))
    if nd:
        n.give(layer, "identity", x=found)
    else:
        n.give(layer, "expand_dims", x=found, axes=[-2, -1])


@layers("innerProduct")
def inner_product(n: Network, layer: Layer) -> None:
    """Of rank 4 and 5, the last three dims are the vector, and come out as [C_out, 1, 1]."""
    p, x = layer.params, n.x(layer)
    wide, narrow = int(p.inputChannels), int(p.outputChannels)
    operands: dict[str, Any] = {"weight": n.weights(layer, p.weights, (narrow, wide))}
    if p.hasBias:
        operands["bias"] = n.weights(layer, p.bias, (narrow,))
    rank = n.rank(layer, x)
    if rank <= 3:
        n.give(layer, "linear", x=x, **operands)
        return
    flat = [*n.sizes(layer, x)[: rank - 3], math.prod(n.sizes(layer, x)[-3:])]
    vectors = n.op(layer, "reshape", x=x, shape=flat)
    n.give(layer, "expand_dims", x=n.op(layer, "linear", x=vectors, **operands), axes=[-2, -1])


@layers("batchedMatmul")
def batched_matmul(n: Network, layer: Layer) -> None:
    """A product of two inputs, vectors made matrices for good; or of one input and a matrix stored by columns."""
    p, a = layer.params, n.x(layer)
    if len(layer.inputs) == 1:
        rows, columns = int(p.weightMatrixFirstDimension), int(p.weightMatrixSecondDimension)
        operands: dict[str, Any] = {"weight": n.weights(layer, p.weights, (columns, rows))}
        if p.hasBias:
            operands["bias"] = n.weights(layer, p.bias, (columns,))
        n.give(layer, "linear", x=a, **operands)
        return
    b = n.x(layer, 1)
    if n.rank(layer, a) == 1:
        a = n.op(layer, "expand_dims", x=a, axes=[0])
    if n.rank(layer, b) == 1:
        b = n.op(layer, "expand_dims", x=b, axes=[1])
    n.give(layer, "matmul", x=a, y=b, transpose_x=bool(p.transposeA), transpose_y=bool(p.transposeB))


def _indices(n: Network, layer: Layer) -> Blob:
    return n.integers(layer, n.x(layer, 1))


def _scalar(n: Network, layer: Layer, blob: Blob) -> Blob:
    """A blob of one element as a scalar."""
    rank = n.rank(layer, blob)
    return n.op(layer, "squeeze", x=blob, axes=list(range(rank))) if rank else blob
