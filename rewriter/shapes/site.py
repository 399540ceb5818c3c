"""What a type rule is given and what it is made of: the op's surroundings, shapes with symbols, the table of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from coregraft.rewriter.graph import Op
from coregraft.rewriter.shapes.dim_expr import Poly, as_dim, known
from coregraft.rewriter.shapes.values import Content, ints, is_open
from coregraft.rewriter.types import DType, TensorType, ValueType

Known = int | Poly | None
#: The types of an op's results; None where nothing is known.
Types = Sequence[ValueType | None]
Rule = Callable[["Site"], "Types | None"]


class Site:
    """One op as a rule sees it: the op, the types of its operands, and on demand what small operands hold."""

    __slots__ = ("_content", "mismatch", "op", "types")

    def __init__(self, op: Op, types: Sequence[ValueType | None], content: Callable[[str], Content | None]) -> None:
        self.op = op
        self.types = types
        self.mismatch = ""  # set by a rule that sees static shapes that cannot go together
        self._content = content

    def instead(self, op: Op) -> Site:
        """The same surroundings for an op in the place of this one."""
        return Site(op, self.types, self._content)

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


def axis_of(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


def product(dims: Iterable[Known]) -> Known:
    total: Known = 1
    for d in dims:
        if d is None or total is None:
            return None
        total = total * d
    return total


def total(dims: Iterable[Known]) -> Known:
    total: Known = 0
    for d in dims:
        if d is None or total is None:
            return None
        total = total + d
    return total


def as_shape(site: Site, i: int) -> list[Known] | None:
    """Operand ``i`` as a shape: its content, else as many unknown dims as it has elements."""
    content = site.content(i)
    if content is not None and content.ndim == 1:
        return [x if isinstance(x, (int, Poly)) else None for x in content]  # floats: of an op that is none of ONNX's
    length = site.shape(i)
    return [None] * length[0] if length and len(length) == 1 and isinstance(length[0], int) and length[0] < 64 else None


_RULES: dict[tuple[str, str], tuple[int, Rule]] = {}


def rule(*op_types: str, since: int = 0) -> Callable[[Rule], Rule]:
    """Make a function the rule of op types, ``Conv`` or ``com.microsoft::Gelu``.

    Args:
        since: the first opset at which the rule reads the op right, where older forms differ in more than ``axes``.

    Raises:
        ValueError: there is a rule for one of them already.
    """

    def register(function: Rule) -> Rule:
        for op_type in op_types:
            domain, _, name = op_type.rpartition("::")
            if (domain, name) in _RULES:
                raise ValueError(f"{op_type} has a type rule already")
            _RULES[domain, name] = since, function
        return function

    return register


_PROVIDED: list[Rule] = []


def provide(function: Rule) -> None:
    """Add a rule for the ops that have none here; it returns None for those that it does not know either."""
    _PROVIDED.append(function)


def rule_for(op: Op, opset: int) -> Rule | None:
    """The rule for an op in a graph of that opset of ai.onnx, or None."""
    since, function = _RULES.get(op.key, (0, _provided))
    return None if opset < since or is_open(op) else function


def _provided(site: Site) -> Types | None:
    from coregraft.rewriter.registry import load_custom_layers
    from coregraft.rewriter.schema import has_schema

    if not site.op.domain and has_schema(site.op):
        return None
    load_custom_layers()
    found = (types for function in _PROVIDED if (types := function(site)) is not None)
    return next(found, None)
