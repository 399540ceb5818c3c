"""Which ops depend on constants alone, and which of their results are worth keeping in the file."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from coregraft.passes.cleanup.scopes import Scope
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Const, DType

#: Ops whose result is not a function of their operands, or is not a tensor. Dropout is eliminate-identities' job.
NEVER = frozenset({
    "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "If", "Loop", "Scan", "SequenceMap", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
    "SequenceInsert", "SequenceLength", "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement",
    "OptionalHasElement", "TensorScatter",
})  # fmt: skip
#: Results of at most as many elements as the first operand has.
_NOT_LARGER = frozenset({
    "Abs", "Acos", "Acosh", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "CastLike",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Elu", "Erf", "Exp", "Flatten",
    "Floor", "Gelu", "HardSigmoid", "HardSwish", "Hardmax", "Identity", "IsInf", "IsNaN", "LayerNormalization",
    "LeakyRelu", "Log", "LogSoftmax", "Mish", "Neg", "Not", "QuantizeLinear", "Reciprocal", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "ReverseSequence", "Round", "ScatterElements", "ScatterND", "Selu",
    "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split",
    "Sqrt", "Squeeze", "Swish", "Tan", "Tanh", "ThresholdedRelu", "TopK", "Transpose", "Trilu", "Unsqueeze",
})  # fmt: skip
_BROADCAST = frozenset({
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
    "Gather", "GatherElements", "GatherND", "MatMul", "Gemm", "Einsum",
})  # fmt: skip
#: No intermediate of a cone may take more bytes than this, unless its operands do.
_TRANSIENT = 1 << 28
_MAX_RANK = 8


@dataclass
class Plan:
    """The outcome: ops to compute, the constants they read, and the values to keep.

    Attributes:
        ops: ids of the ops that depend on constants alone, in topological order.
        wanted: results that other ops or the graph's outputs need, in that order.
        deferred: whether some op waits for a constant that this plan computes.
        refused: ids of ops that must not be computed, with the reason.
    """

    ops: list[int] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    leaves: dict[str, Const] = field(default_factory=dict)
    deferred: bool = False
    refused: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """How many bytes a result may take; see :class:`FoldConstants` for the options."""

    max_bytes: int
    keep_quantised: bool
    widen_floats: bool


def plan(scope: Scope, budget: Budget, skip: frozenset[int]) -> Plan:
    """Plan the folding of one graph. Linear in its edges."""
    finder = _Finder(scope, budget, skip)
    finder.collect()
    finder.choose()
    return finder.plan


class _Finder:
    def __init__(self, scope: Scope, budget: Budget, skip: frozenset[int]) -> None:
        self.scope, self.g, self.budget, self.skip = scope, scope.graph, budget, skip
        self.plan = Plan()
        self.elements: dict[str, int] = {}  # upper bounds, of computed values
        self.consts: dict[str, Const | None] = {}
        self.public = frozenset(self.g.outputs.values())

    # ------------------------------------------------------------ what can be computed

    def collect(self) -> None:
        queue = deque(op_id for op_id, op in self.g.ops() if self.may_fold(op_id, op) and self.is_ready(op))
        seen = set(queue)
        while queue:
            op_id = queue.popleft()
            op = self.g.op(op_id)
            if not self.admit(op_id, op):
                continue
            self.plan.ops.append(op_id)
            for output in op.outputs:
                for user in self.g._succ[output] if output else ():
                    if user not in seen and self.may_fold(user, other := self.g.op(user)) and self.is_ready(other):
                        seen.add(user)
                        queue.append(user)

    def may_fold(self, op_id: int, op: Op) -> bool:
        return (
            op.domain == ""
            and op.type not in NEVER
            and op_id not in self.skip
            and not op.captures
            and any(op.inputs)
            and not (self.budget.keep_quantised and self.is_compressed(op))
        )

    def is_compressed(self, op: Op) -> bool:
        """A quantised weight of fewer bits than it stands for; the int32 of a bias has as many."""
        if op.type != "DequantizeLinear":
            return False
        before, after = (self.scope.type(v) for v in (op.inputs[0], op.outputs[0]))
        return before is None or after is None or before.dtype.bits < after.dtype.bits

    def is_ready(self, op: Op) -> bool:
        return all(not v or v in self.elements or self.const(v) is not None for v in op.inputs)

    def const(self, value: str) -> Const | None:
        if value not in self.consts:
            own = self.g.const(value)
            self.consts[value] = self.scope.const(value) if own is None and self.scope.outer else own
        return self.consts[value]

    def admit(self, op_id: int, op: Op) -> bool:
        """Note the bounds of an op's results, unless they are unknown, too large, or computing them is unsafe."""
        if op.type in ("Div", "Mod") and (reason := self.unsafe_division(op)) is not None:
            if reason:
                self.plan.refused[op_id] = reason
            return False
        sizes = [self.bound(op, o) for o in op.outputs]
        operands = sum(self.bytes_of(v) for v in op.inputs if v)
        for output, size in zip(op.outputs, sizes, strict=True):
            if size is None:
                self.plan.deferred |= any(v in self.elements for v in op.inputs)
                return False
            if output and size * self.width(output) > max(_TRANSIENT, operands):
                return False
        self.elements.update((o, s) for o, s in zip(op.outputs, sizes, strict=True) if o and s is not None)
        return True

    def unsafe_division(self, op: Op) -> str | None:
        """None when safe; "" when an operand must be known first; else why the op has no result."""
        dtypes = [c.dtype for v in op.inputs if (c := self.const(v)) is not None]
        dtypes += [t.dtype for v in (*op.inputs, *op.outputs) if (t := self.scope.type(v)) is not None]
        if any(d.is_float for d in dtypes):
            return None
        a, b = (self.const(v) for v in op.inputs)
        if b is None:
            self.plan.deferred = True
            return ""
        divisor = b.numpy()
        if not divisor.all():
            return "integer division by zero"
        if b.dtype.is_integer and np.issubdtype(divisor.dtype, np.signedinteger) and (divisor == -1).any():
            if a is None:
                self.plan.deferred = True
                return ""
            if (a.numpy() == np.iinfo(divisor.dtype).min).any():
                return "integer division overflows"
        return None

    def bound(self, op: Op, output: str) -> int | None:
        """The most elements a result can have, or None when that cannot be told yet."""
        if not output:
            return 0
        kind = self.g.tensor_type(output)
        if kind is not None and kind.static_shape is not None:
            return math.prod(kind.static_shape)
        sizes = [self.size(v) for v in op.inputs if v]
        if op.type in _NOT_LARGER:
            return sizes[0]
        if op.type in _BROADCAST:
            return math.prod(max(s, 1) for s in sizes)
        if op.type == "Concat":
            return sum(sizes)
        if op.type in ("Shape", "Size"):
            return _MAX_RANK
        if op.type == "NonZero":
            return sizes[0] * _MAX_RANK
        grows = _GROWING.get(op.type)
        operands = [self.const(v) for v in op.inputs]
        if grows is None or any(c is None for c in operands):
            return None
        return grows([c for c in operands if c is not None])

    def size(self, value: str) -> int:
        const = self.const(value)
        return self.elements[value] if const is None else const.size

    def width(self, value: str) -> int:
        const = self.const(value)
        dtype = const.dtype if const is not None else t.dtype if (t := self.g.tensor_type(value)) else DType.INT64
        return max(1, dtype.bits // 8)

    def bytes_of(self, value: str) -> int:
        return self.size(value) * self.width(value)

    # ------------------------------------------------------------ what is worth keeping

    def choose(self) -> None:
        """Walk backwards from the results that are needed; one that costs more than it saves stays an op."""
        g, pending = self.g, set(self.plan.ops)
        saved = self.savings()
        needed = {
            v
            for op_id in self.plan.ops
            for v in g.op(op_id).outputs
            if v and (v in self.public or any(u not in pending for u in g._succ[v]))
        }
        keep: dict[int, list[str]] = {}
        for op_id in reversed(self.plan.ops):
            op = g.op(op_id)
            mine = [o for o in op.outputs if o in needed]
            if not mine:
                continue
            cost = sum(self.bytes_of(o) for o in mine)
            if cost <= max(self.budget.max_bytes, saved[op_id]) or self.widens(op):
                keep[op_id] = mine
            else:
                needed.update(v for v in op.inputs if v)
        self.plan.wanted = [v for op_id in self.plan.ops for v in keep.get(op_id, ())]
        self.trim()

    def trim(self) -> None:
        """Leave only the ops that a wanted value, or nothing at all, depends on; collect their constants."""
        g, wanted = self.g, set(self.plan.wanted)
        ops: list[int] = []
        for op_id in reversed(self.plan.ops):
            op = g.op(op_id)
            if not wanted.isdisjoint(o for o in op.outputs if o):
                ops.append(op_id)
                wanted.update(v for v in op.inputs if v)
        self.plan.ops = ops[::-1]
        for op_id in self.plan.ops:
            for value in g.op(op_id).inputs:
                if value and (const := self.const(value)) is not None:
                    self.plan.leaves[value] = const

    def savings(self) -> dict[int, int]:
        """Bytes of the constants that die with each op if it is folded: those nothing else reads."""
        saved: dict[int, int] = {}
        through: dict[str, int] = {}
        for op_id in self.plan.ops:
            op = self.g.op(op_id)
            total = 0
            for value in dict.fromkeys(v for v in op.inputs if v):
                if len(self.g._succ[value]) != 1 or value in self.public:
                    continue
                own = self.g.const(value)
                total += own.nbytes if own is not None else through.get(value, 0)
            saved[op_id] = total
            outputs = [o for o in op.outputs if o]
            if self.widens(op) and total:
                total = sum(self.bytes_of(o) for o in outputs)
            for output in outputs:
                through[output] = total if len(outputs) == 1 else min(total, self.bytes_of(output))
        return saved

    def widens(self, op: Op) -> bool:
        """A weight stored in half precision that is cast up: rules and emitters want to see it as a weight."""
        if not self.budget.widen_floats or op.type != "Cast":
            return False
        source = self.const(op.inputs[0])
        return source is not None and source.dtype in (DType.FLOAT16, DType.BFLOAT16) and op.attrs.get("to") in (1, 11)


def _product(values: Iterable[int]) -> int:
    return math.prod(max(int(v), 0) for v in values)


def _expand(operands: list[Const]) -> int:
    data, shape = operands[0].shape, [int(d) for d in operands[1].numpy().ravel()]
    rank = max(len(data), len(shape))
    left = (1,) * (rank - len(data)) + data
    right = [1] * (rank - len(shape)) + shape
    return _product(max(a, b) for a, b in zip(left, right, strict=True))


def _range(operands: list[Const]) -> int | None:
    start, limit, delta = (float(c.numpy().reshape(())) for c in operands)
    return max(0, math.ceil((limit - start) / delta)) if delta and math.isfinite((limit - start) / delta) else None


def _pad(operands: list[Const]) -> int | None:
    if len(operands) > 3:
        return None
    pads = operands[1].numpy().ravel()
    half = len(pads) // 2
    if half != len(operands[0].shape):
        return None
    return _product(d + int(pads[i]) + int(pads[i + half]) for i, d in enumerate(operands[0].shape))


#: Ops whose result can be larger than what they read; sizes follow from the content of their operands.
_GROWING: dict[str, Callable[[list[Const]], int | None]] = {
    "ConstantOfShape": lambda c: _product(c[0].numpy().ravel()),
    "Expand": _expand,
    "OneHot": lambda c: c[0].size * max(0, int(c[1].numpy().ravel()[0])),
    "Pad": _pad,
    "Range": _range,
    "Tile": lambda c: c[0].size * _product(c[1].numpy().ravel()),
}
