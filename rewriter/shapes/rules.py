"""Result types of the elementwise ops and of those that only move elements or compute with shapes.

Each rule takes a :class:`Site` and returns the types of the op's results, or None to leave it to onnx's own inference.
Rules are for internal-opset forms; they also take older forms that differ only in ``axes`` being an attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coregraft.rewriter.schema import attr
from coregraft.rewriter.shapes import dim_expr
from coregraft.rewriter.shapes.dim_expr import Poly
from coregraft.rewriter.shapes.site import (
    Known,
    Site,
    Types,
    as_shape,
    axis_of,
    broadcast,
    product,
    rule,
    tensor,
    total,
)
from coregraft.rewriter.types import DType, TensorType

_UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Clip Cos Cosh CumSum CumProd Elu Erf Exp Floor Gelu "
    "GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization LRN LeakyRelu Log LogSoftmax "
    "LpNormalization MeanVarianceNormalization Mish Neg Not RMSNormalization Reciprocal Relu Round ScatterElements "
    "ScatterND Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh TensorScatter "
    "ThresholdedRelu Trilu PRelu ReverseSequence "
    "com.microsoft::BiasGelu com.microsoft::FastGelu com.microsoft::Gelu com.microsoft::QLinearLeakyRelu "
    "com.microsoft::QLinearSigmoid com.microsoft::QLinearSoftmax com.microsoft::QuickGelu "
    "com.microsoft::RotaryEmbedding"
)


@rule(*_UNARY.split())
def _same(site: Site) -> Types | None:
    return [site.types[0], *[None] * (len(site.op.outputs) - 1)]


@rule("Add", "Sub", "Mul", "Div", "Pow", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift")
def _binary(site: Site) -> Types | None:
    a, b = site.types
    if a == b and isinstance(a, TensorType) and a.shape is not None and None not in a.shape:
        return [a]
    return [tensor(site.dtype(0) or site.dtype(1), broadcast([site.shape(0), site.shape(1)], site))]


@rule("And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def _comparison(site: Site) -> Types | None:
    return [tensor(DType.BOOL, broadcast([site.shape(i) for i in range(len(site))], site))]


@rule("Max", "Mean", "Min", "Sum")
def _variadic(site: Site) -> Types | None:
    return [tensor(site.dtype(0), broadcast([site.shape(i) for i in range(len(site))], site))]


@rule("Where")
def _where(site: Site) -> Types | None:
    return [tensor(site.dtype(1) or site.dtype(2), broadcast([site.shape(i) for i in range(3)], site))]


@rule("Cast", since=6)
def _cast(site: Site) -> Types | None:
    return [tensor(DType(attr(site.op, "to")), site.shape(0))]


@rule("CastLike")
def _cast_like(site: Site) -> Types | None:
    return [tensor(site.dtype(1), site.shape(0))] if site.dtype(1) else None


@rule("IsInf", "IsNaN")
def _test(site: Site) -> Types | None:
    return [tensor(DType.BOOL, site.shape(0))]


@rule("Dropout", since=12)
def _dropout(site: Site) -> Types | None:
    return [site.types[0], tensor(DType.BOOL, site.shape(0))][: len(site.op.outputs)]


@rule("BatchNormalization", since=14)
def _batch_norm(site: Site) -> Types | None:
    return [site.types[0], site.types[3], site.types[4]][: len(site.op.outputs)] if len(site) > 4 else None


@rule("LayerNormalization")
def _layer_norm(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None:
        return [site.types[0], None, None][: len(site.op.outputs)]
    axis = axis_of(attr(site.op, "axis"), len(shape))
    kept = shape[:axis] + [1] * (len(shape) - axis)
    statistics = DType(attr(site.op, "stash_type") or 1)
    return [site.types[0], *[tensor(statistics, kept) for _ in site.op.outputs[1:]]]


# ---------------------------------------------------------------- views and shape arithmetic


@rule("Shape")
def _shape(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None:
        return [tensor(DType.INT64, [None])]
    return [tensor(DType.INT64, [len(shape[slice(attr(site.op, "start"), site.op.attrs.get("end"))])])]


@rule("Size")
def _size(site: Site) -> Types | None:
    return [tensor(DType.INT64, [])]


@rule("Reshape")
def _reshape(site: Site) -> Types | None:
    source, target = site.shape(0), as_shape(site, 1)
    if target is None:
        return [tensor(site.dtype(0), None)]
    copied = {i for i, d in enumerate(target) if isinstance(d, int) and d == 0 and attr(site.op, "allowzero") != 1}
    result = [d if i not in copied else source[i] if source and i < len(source) else None for i, d in enumerate(target)]
    open_at = [i for i, d in enumerate(target) if d is None or (isinstance(d, int) and d < 0)]
    if [d for d in target if isinstance(d, int) and d < 0] not in ([], [-1]):
        site.mismatch = f"the new shape {target} has more than one size to be found, or one that is none"
    if source is not None:  # a dim that is copied is on both sides, known or not
        source = [d for i, d in enumerate(source) if i not in copied]
    rest = [d for i, d in enumerate(target) if i not in copied and i not in open_at]
    if len(open_at) == 1:
        result[open_at[0]] = _quotient(source, rest, site)
    elif open_at:
        result = [None if i in open_at else d for i, d in enumerate(result)]
    elif source is not None:
        whole, part = product(source), product(rest)
        if isinstance(whole, int) and isinstance(part, int) and whole != part:
            site.mismatch = f"{whole} elements cannot be reshaped to {part}"
    return [tensor(site.dtype(0), result)]


def _quotient(source: list[Known] | None, others: list[Known], site: Site) -> Known:
    """What is left of ``source`` for the one open dim of a reshape."""
    whole, part = (None if source is None else product(source)), product(others)
    if whole is None or part is None or part == 0:
        return None
    if isinstance(whole, int) and isinstance(part, int) and whole % part:
        site.mismatch = f"{whole} elements cannot be reshaped to a multiple of {part}"
        return None
    return whole // part


@rule("Transpose")
def _transpose(site: Site) -> Types | None:
    kind = site.tensor(0)
    if kind is None or kind.shape is None:
        return [kind]
    perm = site.op.attrs.get("perm") or range(len(kind.shape) - 1, -1, -1)
    if sorted(perm) != list(range(len(kind.shape))):
        site.mismatch = f"perm {tuple(perm)} on rank {len(kind.shape)}"
        return [TensorType(kind.dtype)]
    return [TensorType(kind.dtype, tuple(kind.shape[p] for p in perm))]


@rule("Unsqueeze")
def _unsqueeze(site: Site) -> Types | None:
    shape, axes = site.shape(0), site.axes()
    if shape is None or axes is None:
        return None
    rank = len(shape) + len(axes)
    inserted = {axis_of(a, rank) for a in axes}
    rest = iter(shape)
    if len(inserted) != len(axes) or not all(0 <= a < rank for a in inserted):
        return None
    return [tensor(site.dtype(0), [1 if i in inserted else next(rest) for i in range(rank)])]


@rule("Squeeze")
def _squeeze(site: Site) -> Types | None:
    shape, axes = site.shape(0), site.axes()
    if shape is None or (axes is None and (site.has(1) or not all(isinstance(d, int) for d in shape))):
        return [tensor(site.dtype(0), None)]
    gone = {i for i, d in enumerate(shape) if d == 1} if axes is None else {axis_of(a, len(shape)) for a in axes}
    return [tensor(site.dtype(0), [d for i, d in enumerate(shape) if i not in gone])]


@rule("Flatten")
def _flatten(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None:
        return [tensor(site.dtype(0), [None, None])]
    axis = axis_of(attr(site.op, "axis"), len(shape))
    return [tensor(site.dtype(0), [product(shape[:axis]), product(shape[axis:])])]


@rule("Concat", since=4)
def _concat(site: Site) -> Types | None:
    shapes = [site.shape(i) for i in range(len(site))]
    present = [s for s in shapes if s is not None]
    if not present or any(len(s) != len(present[0]) for s in present):
        return [tensor(site.dtype(0), None)]
    axis = axis_of(attr(site.op, "axis"), len(present[0]))
    result: list[Known] = []
    for at in range(len(present[0])):
        dims = [None if s is None else s[at] for s in shapes]
        result.append(total(dims) if at == axis else next((d for d in dims if isinstance(d, int)), dims[0]))
    return [tensor(site.dtype(0), result)]


@rule("Split", since=2)
def _split(site: Site) -> Types | None:
    shape, count = site.shape(0), len(site.op.outputs)
    if not shape:
        return [tensor(site.dtype(0), None)] * count
    axis = axis_of(attr(site.op, "axis"), len(shape))
    sizes: Sequence[Known] | None = site.op.attrs.get("split")
    if sizes is None and site.has(1):
        content = site.content(1)
        sizes = [None] * count if content is None else list(content.flat)
    if sizes is None:
        whole = shape[axis]
        chunk = None if whole is None else (whole + count - 1) // count
        last = None if whole is None or chunk is None else whole - chunk * (count - 1)
        sizes = [chunk] * (count - 1) + [last]
    dtype = site.dtype(0)
    return [tensor(dtype, [*shape[:axis], size, *shape[axis + 1 :]]) for size in sizes[:count]]


@rule("Slice", since=10)
def _slice(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None or len(site) < 3:
        return None
    starts, ends = as_shape(site, 1), as_shape(site, 2)
    axes = site.ints(3) if site.has(3) else list(range(len(starts or ())))
    steps = site.ints(4) if site.has(4) else [1] * len(starts or ())
    result = list(shape)
    if axes is None or starts is None or ends is None:
        return [tensor(site.dtype(0), [None] * len(shape) if axes is None else _forget(shape, axes))]
    if not len(axes) == len(starts) == len(ends) == (len(axes) if steps is None else len(steps)):
        site.mismatch = f"{len(starts)} starts and {len(ends)} ends for {len(axes)} axes"
        return [tensor(site.dtype(0), [None] * len(shape))]
    for at, axis in enumerate(axes):
        i = axis_of(axis, len(shape))
        step = steps[at] if steps is not None else None
        result[i] = None if step is None or step == 0 else sliced(shape[i], starts[at], ends[at], step)
    return [tensor(site.dtype(0), result)]


def _forget(shape: list[Known], axes: Iterable[int]) -> list[Known]:
    gone = {axis_of(a, len(shape)) for a in axes}
    return [None if i in gone else d for i, d in enumerate(shape)]


def sliced(dim: Known, start: Known, end: Known, step: int) -> Known:
    """The size of ``range(dim)[start:end:step]``; a symbolic dim is taken to be larger than constant offsets."""
    if start is None or end is None:
        return None
    if isinstance(dim, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(dim)[start : None if step < 0 and end < -dim else end : step])
    whole_start = start == 0 if step > 0 else isinstance(start, int) and start >= 2**31 - 1
    if isinstance(end, int) and (end >= 2**31 - 1 if step > 0 else end <= -(2**31) + 1):
        if whole_start and abs(step) == 1:
            return dim
        end = dim if step > 0 else -1
        if dim is None:
            return None
    elif step < 0:
        return None
    if dim is None:
        both_from_front = isinstance(start, int) and isinstance(end, int) and start == 0 and end == 1
        return 1 if both_from_front else None
    start, end = _from_front(start, dim), _from_front(end, dim)
    if step < 0:
        return None if end is None else (dim + -step - 1) // -step if whole_start else None
    if start is None or end is None:
        return None
    end = dim_expr.minimum(end, dim)
    start = start if dim_expr.at_most(start, end) is not False else end
    return (end - start + step - 1) // step


def _from_front(index: int | Poly | None, dim: int | Poly) -> int | Poly | None:
    if index is None or isinstance(index, int):
        return index if index is None or index >= 0 else dim + index
    if dim_expr.at_most(0, index):
        return index
    return dim + index if dim_expr.at_most(index, -1) else None


@rule("Gather")
def _gather(site: Site) -> Types | None:
    data, indices = site.shape(0), site.shape(1)
    if data is None or indices is None:
        return [tensor(site.dtype(0), None)]
    axis = axis_of(attr(site.op, "axis"), len(data))
    return [tensor(site.dtype(0), [*data[:axis], *indices, *data[axis + 1 :]])]


@rule("GatherND")
def _gather_nd(site: Site) -> Types | None:
    data, indices = site.shape(0), site.shape(1)
    depth = indices[-1] if indices else None
    if data is None or not indices or not isinstance(depth, int):
        return [tensor(site.dtype(0), None)]
    return [tensor(site.dtype(0), [*indices[:-1], *data[attr(site.op, "batch_dims") + depth :]])]


@rule("Expand")
def _expand(site: Site) -> Types | None:
    return [tensor(site.dtype(0), broadcast([site.shape(0), as_shape(site, 1)], site))]


@rule("Tile", since=6)
def _tile(site: Site) -> Types | None:
    shape, repeats = site.shape(0), as_shape(site, 1)
    if shape is None or repeats is None:
        return [tensor(site.dtype(0), None if shape is None else [None] * len(shape))]
    return [tensor(site.dtype(0), [product(pair) for pair in zip(shape, repeats, strict=False)])]


@rule("ConstantOfShape")
def _full(site: Site) -> Types | None:
    value = site.op.attrs.get("value")
    return [tensor(DType.FLOAT if value is None else value.dtype, as_shape(site, 0))]


@rule("Range")
def _range(site: Site) -> Types | None:
    bounds = [site.content(i) for i in range(3)]
    start, limit, delta = (None if b is None or b.size != 1 else b.item() for b in bounds)
    if start is None or limit is None or not delta or isinstance(delta, Poly):
        return [tensor(site.dtype(0), [None])]
    if not isinstance(delta, int):
        return None  # floating point: onnx counts the steps
    steps = limit - start + (delta - 1 if delta > 0 else delta + 1)
    count = steps // delta
    return [tensor(site.dtype(0), [max(count, 0) if isinstance(count, int) else count])]


@rule("Constant")
def _constant(site: Site) -> Types | None:
    value = site.op.attrs.get("value")
    return [value.type] if value is not None and hasattr(value, "type") else None
