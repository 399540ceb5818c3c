"""Result types by our own rules: the frequent ops (fast), and those where symbols or contents say more than a schema.

Each rule takes a :class:`Site` and returns the types of the op's results, or None to leave it to onnx's own inference.
Rules are for internal-opset forms; they also take older forms that differ only in ``axes`` being an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from coregraft.rewriter import dim_expr
from coregraft.rewriter.dim_expr import Poly, as_dim, known
from coregraft.rewriter.graph import Op
from coregraft.rewriter.schema import attr
from coregraft.rewriter.shape_values import Content, ints, is_open
from coregraft.rewriter.types import DType, TensorType, ValueType

Known = int | Poly | None
Types = list[ValueType | None]
Rule = Callable[["Site"], "Types | None"]


class Site:
    """One op as a rule sees it: the op, the types of its operands, and on demand what small operands hold."""

    __slots__ = ("_content", "mismatch", "op", "types")

    def __init__(self, op: Op, types: Sequence[ValueType | None], content: Callable[[str], Content | None]) -> None:
        self.op = op
        self.types = types
        self.mismatch = ""  # set by a rule that sees static shapes that cannot go together
        self._content = content

    def __len__(self) -> int:
        return len(self.types)

    def tensor(self, i: int) -> TensorType | None:
        kind = self.types[i] if i < len(self.types) else None
        return kind if isinstance(kind, TensorType) else None

    def dtype(self, i: int) -> DType:
        kind = self.tensor(i)
        return DType.UNDEFINED if kind is None else kind.dtype

    def shape(self, i: int) -> list[Known] | None:
        """The dims of an operand, ready to compute with; None when it is absent or its rank is unknown."""
        kind = self.tensor(i)
        return None if kind is None or kind.shape is None else [known(d) for d in kind.shape]

    def has(self, i: int) -> bool:
        return i < len(self.op.inputs) and self.op.inputs[i] != ""

    def content(self, i: int) -> Content | None:
        return self._content(self.op.inputs[i]) if self.has(i) else None

    def ints(self, i: int) -> list[int] | None:
        return ints(self.content(i))

    def axes(self, i: int = 1) -> list[int] | None:
        """``axes`` as an attribute or as operand ``i``; None when absent, or when it is not a constant."""
        if "axes" in self.op.attrs:
            return list(self.op.attrs["axes"])
        return self.ints(i)


def tensor(dtype: DType, shape: Iterable[Known] | None) -> TensorType:
    """A tensor type of computed dims."""
    return TensorType(dtype, None if shape is None else tuple(as_dim(d) for d in shape))


def broadcast(shapes: Sequence[list[Known] | None], site: Site | None = None) -> list[Known] | None:
    """The shape that shapes broadcast to. Of two dims that cannot be told apart the result is unknown."""
    if any(s is None for s in shapes):
        return None
    known_shapes = [s for s in shapes if s is not None]
    rank = max(map(len, known_shapes), default=0)
    result: list[Known] = [1] * rank
    for shape in known_shapes:
        for at, dim in enumerate(shape, rank - len(shape)):
            result[at] = _joined(result[at], dim, site)
    return result


def _joined(a: Known, b: Known, site: Site | None = None) -> Known:
    if a == 1 or (a is not None and a == b):
        return b
    if b == 1:
        return a
    if isinstance(a, int):
        if isinstance(b, int) and site is not None:
            site.mismatch = f"dims {a} and {b} do not broadcast"
        return a  # the other is unknown or a name: 1 or the same number
    if isinstance(b, int):
        return b
    for one, other in ((a, b), (b, a)):  # seq against min(512, seq): the same, or the model does not run
        if one is not None and other is not None and f"{one}" in str(other).removeprefix("min(")[:-1].split(", "):
            return one
    return None


def _axis(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


# ---------------------------------------------------------------- elementwise


def _same(site: Site) -> Types | None:
    return [site.types[0], *[None] * (len(site.op.outputs) - 1)]


def _binary(site: Site) -> Types | None:
    a, b = site.types
    if a == b and isinstance(a, TensorType) and a.shape is not None and None not in a.shape:
        return [a]
    return [tensor(site.dtype(0) or site.dtype(1), broadcast([site.shape(0), site.shape(1)], site))]


def _comparison(site: Site) -> Types | None:
    return [tensor(DType.BOOL, broadcast([site.shape(i) for i in range(len(site))], site))]


def _variadic(site: Site) -> Types | None:
    return [tensor(site.dtype(0), broadcast([site.shape(i) for i in range(len(site))], site))]


def _where(site: Site) -> Types | None:
    return [tensor(site.dtype(1) or site.dtype(2), broadcast([site.shape(i) for i in range(3)], site))]


def _cast(site: Site) -> Types | None:
    return [tensor(DType(attr(site.op, "to")), site.shape(0))]


def _cast_like(site: Site) -> Types | None:
    return [tensor(site.dtype(1), site.shape(0))] if site.dtype(1) else None


def _same_shape(dtype: DType) -> Rule:
    return lambda site: [tensor(dtype, site.shape(0))]


def _dropout(site: Site) -> Types | None:
    return [site.types[0], tensor(DType.BOOL, site.shape(0))][: len(site.op.outputs)]


def _batch_norm(site: Site) -> Types | None:
    return [site.types[0], site.types[3], site.types[4]][: len(site.op.outputs)] if len(site) > 4 else None


def _layer_norm(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None:
        return [site.types[0], None, None][: len(site.op.outputs)]
    axis = _axis(attr(site.op, "axis"), len(shape))
    kept = shape[:axis] + [1] * (len(shape) - axis)
    statistics = DType(attr(site.op, "stash_type") or 1)
    return [site.types[0], *[tensor(statistics, kept) for _ in site.op.outputs[1:]]]


# ---------------------------------------------------------------- views and shape arithmetic


def _shape(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None:
        return [tensor(DType.INT64, [None])]
    return [tensor(DType.INT64, [len(shape[slice(attr(site.op, "start"), site.op.attrs.get("end"))])])]


def _size(site: Site) -> Types | None:
    return [tensor(DType.INT64, [])]


def _reshape(site: Site) -> Types | None:
    source, target = site.shape(0), _as_shape(site, 1)
    if target is None:
        return [tensor(site.dtype(0), None)]
    copied = {i for i, d in enumerate(target) if isinstance(d, int) and d == 0 and attr(site.op, "allowzero") != 1}
    result = [d if i not in copied else source[i] if source and i < len(source) else None for i, d in enumerate(target)]
    open_at = [i for i, d in enumerate(target) if d is None or (isinstance(d, int) and d < 0)]
    if source is not None:  # a dim that is copied is on both sides, known or not
        source = [d for i, d in enumerate(source) if i not in copied]
    rest = [d for i, d in enumerate(target) if i not in copied and i not in open_at]
    if len(open_at) == 1:
        result[open_at[0]] = _quotient(source, rest, site)
    elif open_at:
        result = [None if i in open_at else d for i, d in enumerate(result)]
    elif isinstance(whole := _product(source or [None]), int) and isinstance(part := _product(rest), int) and whole != part:
        site.mismatch = f"{whole} elements cannot be reshaped to {part}"
    return [tensor(site.dtype(0), result)]


def _as_shape(site: Site, i: int) -> list[Known] | None:
    """Operand ``i`` as a shape: its content, else as many unknown dims as it has elements."""
    content = site.content(i)
    if content is not None and content.ndim == 1:
        return list(content)
    length = site.shape(i)
    return [None] * length[0] if length and len(length) == 1 and isinstance(length[0], int) and length[0] < 64 else None


def _product(dims: Iterable[Known]) -> Known:
    total: Known = 1
    for d in dims:
        if d is None or total is None:
            return None
        total = total * d
    return total


def _quotient(source: list[Known] | None, others: list[Known], site: Site) -> Known:
    """What is left of ``source`` for the one open dim of a reshape."""
    whole, part = (None if source is None else _product(source)), _product(others)
    if whole is None or part is None or part == 0:
        return None
    if isinstance(whole, int) and isinstance(part, int) and whole % part:
        site.mismatch = f"{whole} elements cannot be reshaped to a multiple of {part}"
        return None
    return whole // part


def _transpose(site: Site) -> Types | None:
    kind = site.tensor(0)
    if kind is None or kind.shape is None:
        return [kind]
    perm = site.op.attrs.get("perm") or range(len(kind.shape) - 1, -1, -1)
    if len(perm) != len(kind.shape):
        site.mismatch = f"perm {tuple(perm)} on rank {len(kind.shape)}"
        return [TensorType(kind.dtype)]
    return [TensorType(kind.dtype, tuple(kind.shape[p] for p in perm))]


def _unsqueeze(site: Site) -> Types | None:
    shape, axes = site.shape(0), site.axes()
    if shape is None or axes is None:
        return None
    rank = len(shape) + len(axes)
    inserted = {_axis(a, rank) for a in axes}
    rest = iter(shape)
    if len(inserted) != len(axes) or not all(0 <= a < rank for a in inserted):
        return None
    return [tensor(site.dtype(0), [1 if i in inserted else next(rest) for i in range(rank)])]


def _squeeze(site: Site) -> Types | None:
    shape, axes = site.shape(0), site.axes()
    if shape is None or (axes is None and (site.has(1) or not all(isinstance(d, int) for d in shape))):
        return [tensor(site.dtype(0), None)]
    gone = {i for i, d in enumerate(shape) if d == 1} if axes is None else {_axis(a, len(shape)) for a in axes}
    return [tensor(site.dtype(0), [d for i, d in enumerate(shape) if i not in gone])]


def _flatten(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None:
        return [tensor(site.dtype(0), [None, None])]
    axis = _axis(attr(site.op, "axis"), len(shape))
    return [tensor(site.dtype(0), [_product(shape[:axis]), _product(shape[axis:])])]


def _concat(site: Site) -> Types | None:
    shapes = [site.shape(i) for i in range(len(site))]
    present = [s for s in shapes if s is not None]
    if not present or any(len(s) != len(present[0]) for s in present):
        return [tensor(site.dtype(0), None)]
    axis = _axis(attr(site.op, "axis"), len(present[0]))
    result: list[Known] = []
    for at in range(len(present[0])):
        dims = [None if s is None else s[at] for s in shapes]
        result.append(_sum(dims) if at == axis else next((d for d in dims if isinstance(d, int)), dims[0]))
    return [tensor(site.dtype(0), result)]


def _sum(dims: Iterable[Known]) -> Known:
    total: Known = 0
    for d in dims:
        if d is None or total is None:
            return None
        total = total + d
    return total


def _split(site: Site) -> Types | None:
    shape, count = site.shape(0), len(site.op.outputs)
    if shape is None:
        return [tensor(site.dtype(0), None)] * count
    axis = _axis(attr(site.op, "axis"), len(shape))
    sizes: Sequence[Known] | None = site.op.attrs.get("split")
    if sizes is None and site.has(1):
        content = site.content(1)
        sizes = [None] * count if content is None else list(content.flat)
    if sizes is None:
        whole = shape[axis]
        chunk = None if whole is None else (whole + count - 1) // count
        last = None if whole is None or chunk is None else whole - chunk * (count - 1)
        sizes = [chunk] * (count - 1) + [last]
    return [tensor(site.dtype(0), [*shape[:axis], size, *shape[axis + 1 :]]) for size in sizes][:count]


def _slice(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None or len(site) < 3:
        return None
    starts, ends = _as_shape(site, 1), _as_shape(site, 2)
    axes = site.ints(3) if site.has(3) else list(range(len(starts or ())))
    steps = site.ints(4) if site.has(4) else [1] * len(starts or ())
    result = list(shape)
    if axes is None or starts is None or ends is None:
        return [tensor(site.dtype(0), [None] * len(shape) if axes is None else _forget(shape, axes))]
    for at, axis in enumerate(axes):
        i = _axis(axis, len(shape))
        step = steps[at] if steps is not None else None
        result[i] = None if step is None or step == 0 else sliced(shape[i], starts[at], ends[at], step)
    return [tensor(site.dtype(0), result)]


def _forget(shape: list[Known], axes: Iterable[int]) -> list[Known]:
    gone = {_axis(a, len(shape)) for a in axes}
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


def _gather(site: Site) -> Types | None:
    data, indices = site.shape(0), site.shape(1)
    if data is None or indices is None:
        return [tensor(site.dtype(0), None)]
    axis = _axis(attr(site.op, "axis"), len(data))
    return [tensor(site.dtype(0), [*data[:axis], *indices, *data[axis + 1 :]])]


def _expand(site: Site) -> Types | None:
    return [tensor(site.dtype(0), broadcast([site.shape(0), _as_shape(site, 1)]))]


def _tile(site: Site) -> Types | None:
    shape, repeats = site.shape(0), _as_shape(site, 1)
    if shape is None or repeats is None:
        return [tensor(site.dtype(0), None if shape is None else [None] * len(shape))]
    return [tensor(site.dtype(0), [None if d is None or r is None else d * r for d, r in zip(shape, repeats, strict=False)])]


def _full(site: Site) -> Types | None:
    value = site.op.attrs.get("value")
    return [tensor(DType.FLOAT if value is None else value.dtype, _as_shape(site, 0))]


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


def _constant(site: Site) -> Types | None:
    value = site.op.attrs.get("value")
    return [value.type] if value is not None and hasattr(value, "type") else None


# ---------------------------------------------------------------- reductions, products


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
    gone = {_axis(a, len(shape)) for a in axes}
    return [tensor(dtype, [1 if i in gone else d for i, d in enumerate(shape) if keep or i not in gone])]


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


def _integer_matmul(site: Site) -> Types | None:
    return [tensor(DType.INT32, matmul_shape(site, site.shape(0), site.shape(1)))]


def _gemm(site: Site) -> Types | None:
    a, b = site.shape(0), site.shape(1)
    rows = None if a is None or len(a) != 2 else a[1 if attr(site.op, "transA") else 0]
    columns = None if b is None or len(b) != 2 else b[0 if attr(site.op, "transB") else 1]
    if a and b and len(a) == len(b) == 2:
        inner, outer = a[0 if attr(site.op, "transA") else 1], b[1 if attr(site.op, "transB") else 0]
        if isinstance(inner, int) and isinstance(outer, int) and inner != outer:
            site.mismatch = f"inner dims {inner} and {outer} differ"
    return [tensor(site.dtype(0), [rows, columns])]


def _linear(site: Site) -> Types | None:
    x, w = site.shape(0), site.shape(1)
    return [tensor(site.dtype(0), None if not x or not w else [*x[:-1], w[0]])]


# ---------------------------------------------------------------- windows


def _conv(site: Site) -> Types | None:
    x, w = site.shape(0), site.shape(1)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    channels = x[1]
    if isinstance(channels, int) and isinstance(w[1], int) and channels != w[1] * attr(site.op, "group"):
        site.mismatch = f"{channels} channels, the weights take {w[1] * attr(site.op, 'group')}"
    kernel = list(site.op.attrs.get("kernel_shape") or w[2:])
    return [tensor(site.dtype(0), [x[0], w[0], *windowed(site.op, x[2:], kernel)])]


def _pool(site: Site) -> Types | None:
    x = site.shape(0)
    if x is None or len(x) < 3:
        return [tensor(site.dtype(0), None)] + [tensor(DType.INT64, None)] * (len(site.op.outputs) - 1)
    shape = [*x[:2], *windowed(site.op, x[2:], list(site.op.attrs["kernel_shape"]))]
    return [tensor(site.dtype(0), shape)] + [tensor(DType.INT64, shape)] * (len(site.op.outputs) - 1)


def _global_pool(site: Site) -> Types | None:
    x = site.shape(0)
    return None if x is None else [tensor(site.dtype(0), [*x[:2], *[1] * (len(x) - 2)])]


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


def _conv_transpose(site: Site) -> Types | None:
    x, w = site.shape(0), site.shape(1)
    if x is None or w is None or len(x) != len(w) or len(x) < 3:
        return None
    op, rank = site.op, len(x) - 2
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
        i = _axis(axis, len(shape))
        result[i] = _sum([shape[i], amounts[at], amounts[at + len(axes)]])
    return [tensor(site.dtype(0), result)]


def _resize(site: Site) -> Types | None:
    shape = site.shape(0)
    if shape is None:
        return None
    axes = [_axis(a, len(shape)) for a in site.op.attrs.get("axes") or range(len(shape))]
    result = list(shape)
    sizes, scales = site.content(3), site.content(2)
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
        import math

        return math.floor(dim * float(scale))
    inverse = 1 / float(scale)
    return dim // int(inverse) if inverse.is_integer() else None


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


# ---------------------------------------------------------------- com.microsoft, as onnxruntime's own optimizer writes it


def _fused_matmul(site: Site) -> Types | None:
    a, b = site.shape(0), site.shape(1)
    if not a or not b or site.op.attrs.get("transBatchA") or site.op.attrs.get("transBatchB"):
        return None
    if site.op.attrs.get("transA") and len(a) > 1:
        a[-2:] = a[:-3:-1]
    if site.op.attrs.get("transB") and len(b) > 1:
        b[-2:] = b[:-3:-1]
    return [tensor(site.dtype(0), matmul_shape(site, a, b))]


def _skip_norm(site: Site) -> Types | None:
    outputs: list[ValueType | None] = [site.types[0], None, None, site.types[0]]
    return outputs[: len(site.op.outputs)]


def _self_attention(site: Site) -> Types | None:
    x, bias = site.shape(0), site.shape(2)
    if not x or len(x) != 3 or not bias:
        return None
    sizes = site.op.attrs.get("qkv_hidden_sizes")
    width: Known = sizes[2] if sizes else None if bias[0] is None else bias[0] // 3
    return [tensor(site.dtype(0), [x[0], x[1], width]), *[None] * (len(site.op.outputs) - 1)]


def _multi_head(site: Site) -> Types | None:
    q, v = site.shape(0), site.shape(2)
    if not q or len(q) != 3 or not v or len(v) != 3:
        return None
    return [tensor(site.dtype(0), [q[0], q[1], v[2]]), *[None] * (len(site.op.outputs) - 1)]


def _n_bits(site: Site) -> Types | None:
    x = site.shape(0)
    return [tensor(site.dtype(0), None if not x else [*x[:-1], site.op.attrs["N"]])]


def _q_binary(site: Site) -> Types | None:
    return [tensor(site.dtype(0), broadcast([site.shape(0), site.shape(3)], site))]


def _dynamic_matmul(site: Site) -> Types | None:
    return [tensor(DType.FLOAT, matmul_shape(site, site.shape(0), site.shape(1)))]


_UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Clip Cos Cosh CumSum CumProd Elu Erf Exp Floor Gelu "
    "GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization LRN LeakyRelu Log LogSoftmax "
    "LpNormalization MeanVarianceNormalization Mish Neg Not RMSNormalization Reciprocal Relu Round ScatterElements "
    "ScatterND Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh TensorScatter "
    "ThresholdedRelu Trilu PRelu ReverseSequence"
)
_MICROSOFT_UNARY = "BiasGelu FastGelu Gelu QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QuickGelu RotaryEmbedding"
_RULES: dict[tuple[str, str], Rule] = {
    **{("", name): _same for name in _UNARY.split()},
    **{("", name): _binary for name in ["Add", "Sub", "Mul", "Div", "Pow", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"]},
    **{("", name): _comparison for name in ["And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]},
    **{("", name): _variadic for name in ["Max", "Mean", "Min", "Sum"]},
    **{("", name): _same_shape(DType.BOOL) for name in ("IsInf", "IsNaN")},
    **{("", f"Reduce{n}"): _reduce for n in ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]},
    **{("", name): _reduce for name in ("ArgMax", "ArgMin")},
    **{("", name): _pool for name in ("AveragePool", "MaxPool", "LpPool")},
    **{("", name): _global_pool for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")},
    ("", "BatchNormalization"): _batch_norm,
    ("", "Cast"): _cast,
    ("", "CastLike"): _cast_like,
    ("", "Concat"): _concat,
    ("", "Constant"): _constant,
    ("", "ConstantOfShape"): _full,
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "DepthToSpace"): _depth_to_space,
    ("", "Dropout"): _dropout,
    ("", "Expand"): _expand,
    ("", "Flatten"): _flatten,
    ("", "Gather"): _gather,
    ("", "Gemm"): _gemm,
    ("", "LayerNormalization"): _layer_norm,
    ("", "MatMul"): _matmul,
    ("", "MatMulInteger"): _integer_matmul,
    ("", "Pad"): _pad,
    ("", "Range"): _range,
    ("", "Reshape"): _reshape,
    ("", "Resize"): _resize,
    ("", "Shape"): _shape,
    ("", "SimplifiedLayerNormalization"): _layer_norm,
    ("", "Size"): _size,
    ("", "Slice"): _slice,
    ("", "SpaceToDepth"): _depth_to_space,
    ("", "Split"): _split,
    ("", "Squeeze"): _squeeze,
    ("", "Tile"): _tile,
    ("", "Transpose"): _transpose,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "Where"): _where,
    ("coregraft", "Linear"): _linear,
    ("coregraft", "LinearNoBias"): _linear,
    **{
        ("com.microsoft", name): _same
        for name in _MICROSOFT_UNARY.split()
    },
    **{("com.microsoft", name): _q_binary for name in ("QLinearAdd", "QLinearMul")},
    **{("com.microsoft", name): _dynamic_matmul for name in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat")},
    **{("com.microsoft", name): _skip_norm for name in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")},
    ("com.microsoft", "Attention"): _self_attention,
    ("com.microsoft", "FusedConv"): _conv,
    ("com.microsoft", "FusedGemm"): _gemm,
    ("com.microsoft", "FusedMatMul"): _fused_matmul,
    ("com.microsoft", "MatMulNBits"): _n_bits,
    ("com.microsoft", "MultiHeadAttention"): _multi_head,
}
#: The first opset at which a rule reads an op right, where an older form differs in more than ``axes``.
_SINCE: dict[tuple[str, str], int] = {
    ("", "Slice"): 10, ("", "Pad"): 11, ("", "Resize"): 11, ("", "Dropout"): 12, ("", "BatchNormalization"): 14,
}  # fmt: skip


def rule_for(op: Op, opset: int) -> Rule | None:
    """Our rule for an op in a graph of that opset of ai.onnx, or None."""
    rule = _RULES.get(op.key)
    return None if rule is None or opset < _SINCE.get(op.key, 0) or is_open(op) else rule


def register(domain: str, op_type: str, rule: Rule) -> None:
    """Make ``rule`` give the result types of an op of a domain that onnx has no schema for.

    Raises:
        ValueError: there is a rule for that op already.
    """
    if (domain, op_type) in _RULES:
        raise ValueError(f"{domain}.{op_type} has a type rule already")
    _RULES[domain, op_type] = rule
