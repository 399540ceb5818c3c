"""Every value gets the element type it is computed in."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from coregraft.passes.precision import _half
from coregraft.passes.precision._angles import angles_of_positions
from coregraft.rewriter.dialect import DOMAIN
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.passes import APPROXIMATE, Context, Equivalence, Pass, Rewriter
from coregraft.rewriter.rewriter import rename_free
from coregraft.rewriter.schema import schema
from coregraft.rewriter.types import Const, DType, TensorType

#: Computed in fp32 whatever is asked: coordinates (H3.21), counts (H3.17), and what has bodies of its own.
FULL_PRECISION = frozenset(
    {"GridSample", "RoiAlign", "NonMaxSuppression", "Range", "If", "Loop", "Scan", "DFT", "STFT", "MelWeightMatrix"}
)
#: The same for what our own rules made of such ops: their coordinates, and sums that are whole numbers.
FULL_PRECISION_RULES = frozenset(
    {
        "DecomposeAffineGrid",
        "DecomposeBitCast",
        "DecomposeDeformConv",
        "DecomposeDft",
        "DecomposeDynamicResize",
        "DecomposeGridSample",
        "DecomposeMaxRoiPool",
        "DecomposeMelWeightMatrix",
        "DecomposeNonMaxSuppression",
        "DecomposeRoiAlign",
        "DecomposeStft",
        "DecomposeUnique",
    }
)
#: What our rules made of ai.onnx.ml: it works on features as they were measured, prices and identifiers among them,
#: which half precision may not hold, and compares them with thresholds that lie between two of them.
FEATURE_RULES = frozenset(
    {
        "DecomposeArrayFeatureExtractor",
        "DecomposeFeatureOps",
        "DecomposeImputer",
        "DecomposeLabelEncoder",
        "DecomposeLinearClassifier",
        "DecomposeLinearRegressor",
        "DecomposeNormalizer",
        "DecomposeScaler",
        "DecomposeSvmClassifier",
        "DecomposeSvmRegressor",
        "DecomposeTreeEnsemble",
        "DecomposeTreeEnsembleClassifier",
        "DecomposeTreeEnsembleRegressor",
    }
)
#: Constants of at most this many elements keep their op in fp32 when half precision cannot hold them.
SMALL = 64
#: Ops that are undefined at zero -> the operand that must not be rounded to it.
_NONZERO = {"Div": 1, "Log": 0, "Pow": 0, "Reciprocal": 0}
#: What may stand between a small constant that keeps a value off zero and the op that needs that.
_PASSED = frozenset({"Expand", "Identity", "Reshape", "Sqrt", "Squeeze", "Transpose", "Unsqueeze"})
_TOO_SMALL = "is too small (CG302)"
#: Ops -> the operands that say how large their result is.
_SIZES = {
    "ConstantOfShape": (0,), "Expand": (1,), "Range": (0, 1, 2), "Reshape": (1,), "Slice": (1, 2), "Tile": (1,),
    "TopK": (1,),
}  # fmt: skip
_FLOATS = (DType.FLOAT, DType.FLOAT16, DType.BFLOAT16)
_ALLOWED = {DType.FLOAT: "tensor(float)", DType.FLOAT16: "tensor(float16)"}


@dataclass(frozen=True)
class AssignPrecision(Pass):
    """Give every floating-point value its compute type, fp16 or fp32, in the graph itself.

    What it does
    ------------
    Decides for each op whether it is computed in fp16 or fp32, retypes values, casts constants once, and puts a Cast
    where a value crosses from one to the other. Inputs and outputs keep the type they had unless ``io`` says otherwise;
    where the model has bfloat16, which Core ML has not, results are fp32, and a cast to it that only leads into more
    arithmetic becomes one to the type of that arithmetic. Bodies of If and Loop are computed in fp32 throughout. An op
    stays in fp32 when the user says so, when it computes coordinates, counts, sizes or sums of integers, when it was
    made from an op of ai.onnx.ml, when it casts integers for an output or an op in fp32, when it makes an angle for Sin
    or Cos of inputs and constants alone (rotary and timestep embeddings), when a constant of its is out of
    half-precision range, or when a small constant would lose more than rounding; in the last case, what then divides by
    the result or takes its logarithm does too: ``x / max(norm, 1e-12)``.

    Why it matters
    --------------
    coremltools decides this on its own program: it raises constants below 6e-8 to 6e-8, computes ``(1 - m) * -3.4e38``
    in fp16 as ``0 * -inf``, and ignores casts the author wrote (H3.01, H3.02, H3.22). In the graph the decision can be
    seen, tested and compared, and weights are cast once.

    Example
    -------
    ``y = Relu(x)`` becomes ``y = Cast(Relu(Cast(x, fp16)), fp32)`` with fp32 inputs and outputs.

    Equivalence
    -----------
    Approximate: half precision has 11 bits; 5 % of the largest magnitude is a gross-error bound, not an estimate.

    Options
    -------
    ``precision``: fp16 or fp32. ``keep-ops``: op types kept in fp32. ``keep-nodes``: node names (``*`` and ``?``
    allowed) kept in fp32. ``io``: ``same``, or ``fp16`` for half-precision inputs and outputs.

    Sources
    -------
    Hazard catalogue H3.01, H3.02, H3.18, H3.21 to H3.23.
    """

    equivalence: ClassVar[Equivalence] = APPROXIMATE
    bound: ClassVar[float] = 0.05
    compares: ClassVar[Literal["region", "outputs"]] = "outputs"
    precision: Literal["fp16", "fp32"] = "fp16"
    keep_ops: tuple[str, ...] = ()
    keep_nodes: tuple[str, ...] = ()
    io: Literal["same", "fp16"] = "same"

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        io_types = {v: g.tensor_type(v) for v in (*g.inputs, *g.outputs.values())}
        computed = self._decisions(g, ctx)
        if self.io == "fp16" and self.precision == "fp16":
            self._retype_io(g, rw)
            io_types = {v: g.tensor_type(v) for v in g.inputs}
        casts: dict[tuple[str, DType], str] = {}
        self._assign(g, rw, ctx, computed, casts)
        self._restore_outputs(g, rw, io_types, casts)

    def _decisions(self, g: Graph, ctx: Context) -> dict[int, DType | None]:
        computed: dict[int, DType | None] = {}
        guards: set[int] = set()
        inverses: set[int] = set()
        reasons: dict[int, str] = {}
        sizing, angles = _sizing(g), angles_of_positions(g)
        for op_id in g.topological():
            dtype, why = self._decide(g, g.op(op_id), ctx)
            if dtype is DType.FLOAT16 and op_id in sizing:
                dtype, why = DType.FLOAT, "a size is computed from its result"
            if dtype is DType.FLOAT16 and op_id in angles:
                dtype, why = DType.FLOAT, "it makes an angle of positions (H3.18)"
            if why.endswith(_TOO_SMALL):
                guards.add(op_id)
            computed[op_id], reasons[op_id] = dtype, why
            if dtype is DType.FLOAT16:
                for kept in _guarded(g, op_id, guards):
                    computed[kept], reasons[kept] = DType.FLOAT, "rounded to half precision, its operand may be zero"
                    if _is_inverse(g, g.op(kept)):
                        inverses.add(kept)
                if g.op(op_id).type == "Mul" and any(g.producer(v) in inverses for v in g.op(op_id).inputs):
                    computed[op_id], reasons[op_id] = DType.FLOAT, "an operand may be 1 over a small constant"
        for op_id in [i for i, dtype in computed.items() if dtype is DType.FLOAT16 and self._widens(g, i, computed)]:
            computed[op_id], reasons[op_id] = DType.FLOAT, "it makes floats of integers for what is fp32 itself"
        for op_id, dtype in computed.items():
            why = reasons[op_id]
            if dtype is not None:
                ctx.count(dtype.name.lower())
            if why and self.precision == "fp16":
                ctx.note(f"{g.op(op_id).label} stays in fp32: {why}")
        return computed

    def _assign(
        self, g: Graph, rw: Rewriter, ctx: Context, computed: Mapping[int, DType | None],
        casts: dict[tuple[str, DType], str],
    ) -> None:  # fmt: skip
        for op_id in g.topological():
            dtype = computed.get(op_id)
            if dtype is not None:
                _retype(g, rw, op_id, dtype, casts)
            if any(g.op(op_id).bodies()):
                _enter(g, rw, op_id, casts, ctx)

    def _decide(self, g: Graph, op: Op, ctx: Context) -> tuple[DType | None, str]:
        """The type an op is computed in (None: it has no floating point) and why it is not the one asked for."""
        kinds = [k.dtype for v in (*op.inputs, *op.outputs) if v and (k := g.tensor_type(v)) is not None]
        if not any(k in _FLOATS for k in kinds) or _measures(op):
            return None, ""
        if any(op.bodies()):
            return DType.FLOAT, "it has bodies"
        if any(value and any(value in g.op(user).captures for user in g.users(value)) for value in op.outputs):
            return DType.FLOAT, "a body reads its result"
        if op.type == "Cast" and not op.domain and all(k in _FLOATS for k in kinds) and not _enters_bfloat16(g, op):
            return None, ""  # where a value crosses already; a pair that goes there and back is a clean-up's business
        if self.precision == "fp32":
            return DType.FLOAT, ""
        if op.type in FULL_PRECISION:
            return DType.FLOAT, "it computes coordinates or counts"
        if op.origin is not None and op.origin.rule in FULL_PRECISION_RULES:
            return DType.FLOAT, "it computes coordinates or counts"
        if op.origin is not None and op.origin.rule in FEATURE_RULES:
            return DType.FLOAT, "it works on features as they were measured"
        if _counts(g, op):
            return DType.FLOAT, "its result is a whole number, or made from a sum of whole numbers"
        if op.type in self.keep_ops or any(fnmatch.fnmatchcase(op.name, p) for p in self.keep_nodes):
            return DType.FLOAT, "asked for"
        if not _takes(op, DType.FLOAT16):
            return DType.FLOAT, "the op has no half-precision form"
        for i, value in enumerate(op.inputs):
            const = g.const(value) if value else None
            if const is None or const.dtype not in _FLOATS or not _operand_takes(op, i, DType.FLOAT16):
                continue
            array = const.numpy()
            if _half.overflows(array):
                return DType.FLOAT, f"constant {value} is out of range (CG323)"
            if const.size <= SMALL and _half.loses(array):
                return DType.FLOAT, f"constant {value} {_TOO_SMALL}"
        return DType.FLOAT16, ""

    def _widens(self, g: Graph, op_id: int, computed: Mapping[int, DType | None]) -> bool:
        """Whether an op makes floats of integers for an output or an op in fp32, so that rounding is for nothing."""
        op = g.op(op_id)
        if op.type != "Cast" or op.domain:
            return False
        source, result = g.tensor_type(op.inputs[0]), g.tensor_type(op.outputs[0])
        if source is None or source.dtype in _FLOATS or result is None:
            return False
        is_output = bool(g.public_names(op.outputs[0])) and result.dtype is DType.FLOAT and self.io == "same"
        return is_output or any(computed[user] is DType.FLOAT for user in g.users(op.outputs[0]))

    def _retype_io(self, g: Graph, rw: Rewriter) -> None:
        for name in g.inputs:
            kind = g.tensor_type(name)
            if kind is not None and kind.dtype is DType.FLOAT:
                rw.set_type(name, TensorType(DType.FLOAT16, kind.shape))

    def _restore_outputs(
        self, g: Graph, rw: Rewriter, io_types: dict[str, TensorType | None], casts: dict[tuple[str, DType], str]
    ) -> None:
        outputs = dict(g.outputs)
        for name, value in outputs.items():
            wanted, found = io_types.get(value), g.tensor_type(value)
            if wanted is None or found is None or wanted.dtype == found.dtype:
                continue
            dtype = DType.FLOAT if wanted.dtype is DType.BFLOAT16 else wanted.dtype
            if dtype == found.dtype:
                continue
            producer = g.producer(value)
            if producer is not None:
                rw.at((producer,), "AssignPrecision")
            outputs[name] = _cast(g, rw, value, dtype, casts)
        if outputs != dict(g.outputs):
            rw.set_outputs(outputs)


def _sizing(g: Graph) -> set[int]:
    """The ops that make a size of the run time out of a few numbers: what those are taken from is the network's."""
    pending = [v for _, op in g.ops() if not op.domain for i in _SIZES.get(op.type, ()) for v in op.inputs[i : i + 1]]
    found: set[int] = set()
    while pending:
        value = pending.pop()
        kind, op_id = g.tensor_type(value) if value else None, g.producer(value) if value else None
        shape = None if kind is None else kind.static_shape
        if op_id is None or op_id in found or shape is None or math.prod(shape) > SMALL:
            continue
        if not _measures(g.op(op_id)):
            found.add(op_id)
            pending.extend(g.op(op_id).operands)
    return found


def _measures(op: Op) -> bool:
    """Whether an op reads the size of a tensor, and none of its elements."""
    return op.type in ("Shape", "Size") and not op.domain


def _guarded(g: Graph, op_id: int, guards: set[int]) -> list[int]:
    """An op that a small constant keeps from zero, and the ops on the way to it; none for any other op."""
    op = g.op(op_id)
    at = None if op.domain else _NONZERO.get(op.type)
    way: list[int] = []
    value = None if at is None else op.inputs[at]
    while value is not None and (producer := g.producer(value)) is not None:
        way.append(producer)
        if producer in guards:
            return [op_id, *way[:-1]]
        before = g.op(producer)
        value = before.inputs[0] if before.type in _PASSED and not before.domain else None
    return []


def _is_inverse(g: Graph, op: Op) -> bool:
    return op.type == "Reciprocal" or (op.type == "Div" and g.const(op.inputs[0]) is not None)


def _enters_bfloat16(g: Graph, op: Op) -> bool:
    """Whether an op casts to bfloat16 what only ops of other kinds read: they are computed in a wider type. A cast for
    the sake of its rounding, to an output or back, stays what it is."""
    value = op.outputs[0]
    kind = g.tensor_type(value)
    if kind is None or kind.dtype is not DType.BFLOAT16 or g.public_names(value):
        return False
    return all(g.op(user).type != "Cast" for user in g.users(value))


def _counts(g: Graph, op: Op) -> bool:
    """Whether an op makes integers of floats, or scales a sum of integers, which may be far out of fp16's range."""
    users = [g.op(user) for value in op.outputs if value for user in g.users(value)]
    if any(_makes_integers(g, user) for user in users):
        return True
    if op.type == "Cast":
        return _is_sum(g, op)
    producers = [g.op(i) for value in op.inputs if value and (i := g.producer(value)) is not None]
    return op.type in ("Mul", "Div", "Add", "Sub") and any(_is_sum(g, producer) for producer in producers)


def _is_sum(g: Graph, op: Op) -> bool:
    """Whether an op casts an int32 back to a float that was made from floats: an exact product of small integers."""
    kind = g.tensor_type(op.inputs[0]) if op.type == "Cast" and not op.domain else None
    producer = g.producer(op.inputs[0]) if kind is not None and kind.dtype is DType.INT32 else None
    return producer is not None and (_makes_integers(g, g.op(producer)) or g.op(producer).type == "Add")


def _makes_integers(g: Graph, op: Op) -> bool:
    to = g.tensor_type(op.outputs[0]) if op.type == "Cast" and not op.domain else None
    return to is not None and to.dtype.is_integer


def _enter(g: Graph, rw: Rewriter, op_id: int, casts: dict[tuple[str, DType], str], ctx: Context) -> None:
    """Let the bodies of an op, and all they capture, be fp32."""
    op = g.op(op_id)
    captured: dict[str, str] = {}
    for value in op.captures:
        kind = g.tensor_type(value)
        if kind is not None and kind.dtype in _FLOATS and kind.dtype is not DType.FLOAT:
            captured[value] = _cast(g, rw, value, DType.FLOAT, casts)
    bodies: dict[str, Graph] = {}
    for name, body in op.bodies():
        copy: Graph = body.copy()
        for old, new in captured.items():
            copy = rename_free(copy, old, new)
        inner = Rewriter(copy, rw.pass_name, rw.target)
        _in_full(copy, inner, ctx)
        if inner.changed or captured:
            bodies[name] = copy
    if bodies:
        rw.update(op_id, attrs={**op.attrs, **bodies})


def _in_full(body: Graph, rw: Rewriter, ctx: Context) -> None:
    """Let everything in a body be fp32, what goes in and comes out included."""
    full = AssignPrecision("fp32")
    for value in (*body.inputs, *body.free_values()):
        kind = body.tensor_type(value)
        if kind is not None and kind.dtype in _FLOATS:
            rw.set_type(value, TensorType(DType.FLOAT, kind.shape))
    casts: dict[tuple[str, DType], str] = {}
    full._assign(body, rw, ctx, full._decisions(body, Context()), casts)
    kinds = {v: kind for v in body.outputs.values() if (kind := body.tensor_type(v)) is not None}
    wanted = {v: TensorType(DType.FLOAT, kind.shape) for v, kind in kinds.items() if kind.dtype in _FLOATS}
    full._restore_outputs(body, rw, dict(wanted), casts)


def _retype(g: Graph, rw: Rewriter, op_id: int, dtype: DType, casts: dict[tuple[str, DType], str]) -> None:
    """Let an op compute in ``dtype``: operands cast where they are not, results retyped."""
    op = g.op(op_id)
    rw.at((op_id,), "AssignPrecision")
    inputs = []
    for i, value in enumerate(op.inputs):
        kind = g.tensor_type(value) if value else None
        fixed = op.type == "Cast" or not _operand_takes(op, i, dtype)
        if kind is None or kind.dtype not in _FLOATS or kind.dtype is dtype or fixed:
            wrong = kind is not None and kind.dtype in _FLOATS and not _operand_takes(op, i, kind.dtype)
            inputs.append(_cast(g, rw, value, DType.FLOAT, casts) if wrong and op.type != "Cast" else value)
        else:
            inputs.append(_cast(g, rw, value, dtype, casts))
    attrs: dict[str, Any] = dict(op.attrs)
    for name in ("to", "dtype", "output_dtype"):
        if name in attrs and attrs[name] in _FLOATS:
            attrs[name] = int(dtype)
    if op.type == "ConstantOfShape":
        attrs.setdefault("value", Const.of(np.zeros(1, np.float32)))  # what it is by default, whose type is FLOAT
    if isinstance(attrs.get("value"), Const) and attrs["value"].dtype in _FLOATS and attrs["value"].dtype is not dtype:
        attrs["value"] = Const.of(attrs["value"].numpy(), dtype)
    if tuple(inputs) != op.inputs or attrs != dict(op.attrs):
        rw.update(op_id, inputs=inputs, attrs=attrs)
    for i, value in enumerate(op.outputs):
        kind = g.tensor_type(value) if value else None
        if kind is not None and kind.dtype in _FLOATS and _result_takes(op, i, dtype):
            rw.set_type(value, TensorType(dtype, kind.shape))


def _cast(g: Graph, rw: Rewriter, value: str, dtype: DType, casts: dict[tuple[str, DType], str]) -> str:
    """A value in another type: one cast constant or one Cast op for all who need it."""
    known = casts.get((value, dtype))
    if known is not None:
        return known
    const = g.const(value)
    if const is not None:
        made: str = rw.const(_lazily(const, dtype), f"{value}/{_short(dtype)}")
    else:
        made = rw.insert("Cast", [value], {"to": int(dtype)}, outputs=None, name=f"{value}/{_short(dtype)}")
    casts[value, dtype] = made
    return made


def _lazily(const: Const, dtype: DType) -> Const:
    """The constant in another type; a large one is converted when its bytes are asked for, not kept twice."""
    if const.nbytes < 1 << 16:
        return Const.of(const.numpy(), dtype)
    return Const(dtype, const.shape, lambda: const.numpy().astype(dtype.numpy))


def _short(dtype: DType) -> str:
    return "fp16" if dtype is DType.FLOAT16 else "fp32"


def _takes(op: Op, dtype: DType) -> bool:
    """Whether every floating-point result of an op can be of a type."""
    if op.domain == DOMAIN:
        return True
    found = schema(op.domain, op.type)
    if found is None or op.domain:
        return False
    return all(_result_takes(op, i, dtype) for i in range(len(op.outputs)))


def _operand_takes(op: Op, index: int, dtype: DType) -> bool:
    return _allows(op, index, dtype, "inputs")


def _result_takes(op: Op, index: int, dtype: DType) -> bool:
    return _allows(op, index, dtype, "outputs")


def _allows(op: Op, index: int, dtype: DType, which: str) -> bool:
    """Whether the schema allows a type at an operand or result (the last formal one may be variadic)."""
    if op.domain == DOMAIN:
        return True
    found = schema(op.domain, op.type)
    formal = list(getattr(found, which)) if found is not None else []
    if not formal:
        return False
    kind = formal[min(index, len(formal) - 1)].type_str
    for constraint in found.type_constraints:
        if constraint.type_param_str == kind:
            return _ALLOWED[dtype] in constraint.allowed_type_strs
    return bool(kind == _ALLOWED[dtype])
