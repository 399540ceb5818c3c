"""What small tensors of shape arithmetic hold, symbols included: ``Shape -> Gather -> Mul -> Concat -> Reshape``.

A *content* is a numpy object array, of the tensor's shape, of at most :data:`MAX_ELEMENTS` elements: an ``int``,
a ``bool``, a float (a numpy scalar of the tensor's own precision), a :class:`~coregraft.rewriter.shapes.dim_expr.Poly`,
or None where nothing is known.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.graph import AttrRef, Op
from coregraft.rewriter.schema import attr
from coregraft.rewriter.shapes import dim_expr
from coregraft.rewriter.shapes.dim_expr import Poly
from coregraft.rewriter.types import Array, Const, Dim, DType, TensorType

MAX_ELEMENTS = 64

Content = Array
_Rule = Callable[[Op, Sequence[Content | None], Sequence[TensorType | None]], "Content | Sequence[Content] | None"]


def of_const(const: Const) -> Content | None:
    """The content of a constant; None when it is too large, or not a number."""
    if const.size > MAX_ELEMENTS or const.dtype in (DType.STRING, DType.COMPLEX64, DType.COMPLEX128):
        return None
    array = const.numpy()
    if const.dtype.is_float:
        content = np.empty(array.shape, object)
        for index in np.ndindex(array.shape):
            content[index] = array[index]
        return content
    return array.astype(object)


def dims(content: Content | None) -> tuple[Dim, ...] | None:
    """A content of rank 1 or 0 as dimensions, the way a type would hold them; None when it is anything else."""
    if content is None or content.ndim > 1 or any(isinstance(x, (float, np.floating)) for x in content.flat):
        return None
    return tuple(str(x) if isinstance(x, Poly) else x if x is None else int(x) for x in content.flat)


def ints(content: Content | None) -> list[int] | None:
    """The elements when all of them are whole numbers, else None."""
    if content is None or not all(isinstance(x, int) for x in content.flat):
        return None
    return [int(x) for x in content.flat]


def evaluate(
    op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]
) -> list[Content | None]:
    """The contents of an op's results, as far as they follow.

    Args:
        op: one that :func:`follows`, in its internal-opset form or an older one that differs only in where ``axes`` is.
        operands: a content, or None, for each of ``op.inputs``.
        types: the type, or None, of each of ``op.inputs``.
    """
    unknown: list[Content | None] = [None] * len(op.outputs)
    try:
        found = _RULES[op.type](op, operands, types)
    except (IndexError, ValueError, ArithmeticError):
        return unknown  # the op is wrong (a bad index, shapes that do not fit), or a formula has too many terms
    results = unknown if found is None else [found] if isinstance(found, np.ndarray) else list(found)
    return [r if r is not None and r.size <= MAX_ELEMENTS else None for r in results]


def follows(op: Op) -> bool:
    """Whether the content of the op's results can follow from that of its operands or from their types."""
    return op.domain == "" and op.type in _RULES and not is_open(op)


def is_open(op: Op) -> bool:
    """Whether an attribute is a parameter of the function around the op, whose value only a call gives."""
    return AttrRef in map(type, op.attrs.values())


def _objects(values: Any) -> Content:
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


def _each(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The function on broadcast elements: unknown where an operand is, or where a symbol meets a float."""

    def one(*elements: Any) -> Any:
        if any(e is None for e in elements):
            return None
        if any(isinstance(e, Poly) for e in elements) and not all(isinstance(e, (int, Poly)) for e in elements):
            return None
        return function(*elements)

    vectorized: Callable[..., Any] = np.frompyfunc(one, count, 1)
    return vectorized


def _lifted(function: Callable[..., Any], count: int = 2) -> _Rule:
    """An elementwise op of ``count`` operands."""
    vector = _each(function, count)

    def rule(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
        return None if any(x is None for x in operands) else np.asarray(vector(*operands), object)

    return rule


def _folded(function: Callable[[Any, Any], Any]) -> _Rule:
    """An elementwise op of one or more operands."""
    vector = _each(function, 2)

    def rule(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
        return None if any(x is None for x in operands) else np.asarray(functools.reduce(vector, operands), object)

    return rule


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, Poly) or isinstance(b, Poly):
        return a // b
    if isinstance(a, int):
        return a // b if (a >= 0) == (b > 0) else -(-a // b)  # ONNX cuts towards zero
    return a / b if b else None


def _number(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *e: None if any(isinstance(x, Poly) for x in e) else function(*e)


def _less(a: Any, b: Any, strict: bool) -> Any:
    if not isinstance(a, Poly) and not isinstance(b, Poly):
        return bool(a < b if strict else a <= b)
    return dim_expr.at_most(a + 1 if strict else a, b)


def _equal(a: Any, b: Any) -> Any:
    if not isinstance(a, Poly) and not isinstance(b, Poly):
        return bool(a == b)
    gap = a - b
    if isinstance(gap, int):
        return gap == 0
    apart = dim_expr.at_most(a + 1, b) or dim_expr.at_most(b + 1, a)
    return False if apart else None


def _minimum(a: Any, b: Any) -> Any:
    return dim_expr.minimum(a, b) if isinstance(a, Poly) or isinstance(b, Poly) else min(a, b)


def _maximum(a: Any, b: Any) -> Any:
    return dim_expr.maximum(a, b) if isinstance(a, Poly) or isinstance(b, Poly) else max(a, b)


def _shape(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    kind = types[0]
    if kind is None or kind.shape is None:
        return None
    return _objects([dim_expr.known(d) for d in kind.shape[slice(attr(op, "start"), op.attrs.get("end"))]])


def _size(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    shape = _shape(op, operands, types)
    return None if shape is None else _product(shape.flat)


def _product(elements: Any) -> Content:
    total: Any = 1
    for element in elements:
        total = None if total is None or element is None else total * element
    return _objects(total)


def _cast(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    to = DType(attr(op, "to")) if op.type == "Cast" else types[1].dtype if types[1] else None
    if operands[0] is None or to is None:
        return None

    def one(x: Any) -> Any:
        if x is None or isinstance(x, Poly):
            return x if to in (DType.INT64, DType.INT32) else None
        if to is DType.BOOL:
            return bool(x)
        if to.is_integer:
            return int(x)
        return to.numpy.type(x) if to.is_float else None

    return np.asarray(np.frompyfunc(one, 1, 1)(operands[0]), object)


def _axes(op: Op, operands: Sequence[Content | None]) -> list[int] | None:
    if "axes" in op.attrs:
        return list(op.attrs["axes"])
    return ints(operands[1]) if len(operands) > 1 and op.inputs[1] else None


def _unsqueeze(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    axes = _axes(op, operands)
    return None if operands[0] is None or axes is None else np.expand_dims(operands[0], tuple(axes))


def _squeeze(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    axes = _axes(op, operands)
    if operands[0] is None or (axes is None and len(op.inputs) > 1 and op.inputs[1]):
        return None
    return np.squeeze(operands[0], None if axes is None else tuple(axes))


def _reshape(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    target = ints(operands[1])
    if operands[0] is None or target is None:
        return None
    keep = attr(op, "allowzero") == 0
    return operands[0].reshape([operands[0].shape[i] if d == 0 and keep else d for i, d in enumerate(target)])


def _gather(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    indices = ints(operands[1])
    if operands[0] is None or operands[1] is None or indices is None:
        return None
    picked = np.take(operands[0], np.array(indices, int).reshape(operands[1].shape), axis=attr(op, "axis"))
    return _objects(picked)


def _concat(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    parts = [_unknown(t) if x is None else x for x, t in zip(operands, types, strict=True)]
    return None if any(p is None for p in parts) else np.concatenate(parts, axis=attr(op, "axis"))  # type: ignore[arg-type]


def _unknown(kind: TensorType | None) -> Content | None:
    shape = kind.static_shape if kind else None
    if shape is None or len(shape) != 1 or shape[0] > MAX_ELEMENTS:
        return None
    return np.full(shape, None, object)


def _slice(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    if len(operands) < 3 or operands[0] is None:
        return None
    data = operands[0]
    given = [ints(x) for x in operands[1:]]
    if any(g is None for g, name in zip(given, op.inputs[1:], strict=True) if name):
        return None
    starts, ends = given[0] or [], given[1] or []
    axes = (given[2] if len(given) > 2 else None) or list(range(len(starts)))
    steps = (given[3] if len(given) > 3 else None) or [1] * len(starts)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        past_front = step < 0 and end < -data.shape[axis]
        index[axis] = slice(start, None if past_front else end, step)
    return data[tuple(index)]


def _split(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> list[Content] | None:
    data = operands[0]
    if data is None:
        return None
    axis = attr(op, "axis")
    sizes = list(op.attrs["split"]) if "split" in op.attrs else ints(operands[1]) if len(operands) > 1 else None
    if sizes is None:
        chunk = -(-data.shape[axis] // len(op.outputs))
        return list(np.split(data, range(chunk, data.shape[axis], chunk), axis))
    return list(np.split(data, np.cumsum(sizes)[:-1].tolist(), axis))


def _select(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    condition, a, b = operands
    if condition is None or a is None or b is None:
        return None
    pick = np.frompyfunc(lambda c, x, y: (x if _same(x, y) else None) if c is None else x if c else y, 3, 1)
    return np.asarray(pick(condition, a, b), object)


def _same(x: Any, y: Any) -> bool:
    return x is not None and type(x) is type(y) and bool(x == y)


def _full(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    shape = ints(operands[0])
    value = op.attrs.get("value")
    if shape is None or np.prod(shape, dtype=float) > MAX_ELEMENTS:
        return None
    fill = of_const(value) if isinstance(value, Const) else _objects([np.float32(0)])
    return None if fill is None else np.broadcast_to(fill.reshape(()), shape).copy()


def _expand(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    shape = ints(operands[1])
    if operands[0] is None or shape is None or np.prod(shape, dtype=float) > MAX_ELEMENTS:
        return None
    return np.broadcast_to(operands[0], np.broadcast_shapes(operands[0].shape, tuple(shape))).copy()


def _tile(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    repeats = ints(operands[1])
    if operands[0] is None or repeats is None or np.prod(repeats, dtype=float) * operands[0].size > MAX_ELEMENTS:
        return None
    return np.tile(operands[0], repeats)


def _range(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    bounds = [ints(x) for x in operands]
    if any(b is None for b in bounds):
        return None
    numbers = range(*(b[0] for b in bounds if b))
    return _objects(list(numbers)) if len(numbers) <= MAX_ELEMENTS else None


def _reduced(function: Callable[[Any, Any], Any], start: Any) -> _Rule:
    def rule(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
        data = operands[0]
        axes = _axes(op, operands)
        whole = axes is None and not (len(op.inputs) > 1 and op.inputs[1]) and not attr(op, "noop_with_empty_axes")
        if data is None or data.ndim > 1 or data.size == 0 or not (whole or axes in ([0], [-1])):
            return None
        total = start
        for element in data.flat:
            if element is None:
                return None
            total = element if total is None else function(total, element)
            if total is None:
                return None
        return _objects([total] if attr(op, "keepdims") and data.ndim else total)

    return rule


def _constant(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Content | None:
    for name, dtype in (("value_int", DType.INT64), ("value_ints", DType.INT64), ("value_float", DType.FLOAT)):
        if name in op.attrs:
            return of_const(Const.of(op.attrs[name], dtype))
    value = op.attrs.get("value")
    return of_const(value) if isinstance(value, Const) else None


_floor_mod = _lifted(lambda a, b: a % b if isinstance(a, (int, Poly)) and isinstance(b, (int, Poly)) else None)


def _mod(op: Op, operands: Sequence[Content | None], types: Sequence[TensorType | None]) -> Any:
    return None if attr(op, "fmod") else _floor_mod(op, operands, types)


_RULES: dict[str, _Rule] = {
    "Abs": _lifted(_number(abs), 1),
    "Add": _lifted(operator.add),
    "And": _lifted(lambda a, b: bool(a and b)),
    "Cast": _cast,
    "CastLike": _cast,
    "Ceil": _lifted(_number(np.ceil), 1),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _full,
    "Div": _lifted(_divide),
    "Equal": _lifted(_equal),
    "Expand": _expand,
    "Flatten": lambda op, x, t: None if x[0] is None or x[0].ndim > 1 else x[0].reshape(1, -1),
    "Floor": _lifted(_number(np.floor), 1),
    "Gather": _gather,
    "Greater": _lifted(lambda a, b: _less(b, a, True)),
    "GreaterOrEqual": _lifted(lambda a, b: _less(b, a, False)),
    "Identity": lambda op, x, t: x[0],
    "Less": _lifted(lambda a, b: _less(a, b, True)),
    "LessOrEqual": _lifted(lambda a, b: _less(a, b, False)),
    "Max": _folded(_maximum),
    "Min": _folded(_minimum),
    "Mod": _mod,
    "Mul": _lifted(operator.mul),
    "Neg": _lifted(operator.neg, 1),
    "Not": _lifted(lambda a: not a, 1),
    "Or": _lifted(lambda a, b: bool(a or b)),
    "Range": _range,
    "ReduceMax": _reduced(_maximum, None),
    "ReduceMin": _reduced(_minimum, None),
    "ReduceProd": _reduced(operator.mul, 1),
    "ReduceSum": _reduced(operator.add, 0),
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _lifted(operator.sub),
    "Tile": _tile,
    "Transpose": lambda op, x, t: None if x[0] is None else np.transpose(x[0], op.attrs.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": _select,
}
