"""What ONNX's schemas demand of an op: operands, attributes, bodies, and element types that go together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from coregraft.rewriter.errors import GraphError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, Strings
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.schema import first_schema
from coregraft.rewriter.types import Const, DType

if TYPE_CHECKING:
    from onnx.defs import OpSchema

#: Ops that onnxruntime puts into ai.onnx, which has no schema for them.
_FOREIGN = frozenset({"SimplifiedLayerNormalization"})
#: Attributes that hold an element type.
_DTYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "output_datatype", "stash_type", "kernel_type"})
#: Attributes that are a yes or no.
_FLAGS = frozenset(
    {"align_corners", "allowzero", "ceil_mode", "count_include_pad", "exclusive", "fmod", "is_causal", "keepdims"}
    | {"largest", "linear_before_reset", "noop_with_empty_axes", "reverse", "sorted", "transA", "transB", "upper"}
)


def _is_whole(value: Any) -> bool:
    return type(value) is int or isinstance(value, Integral)  # to ask an abstract class alone takes ten times as long


#: Kind of attribute, as schemas name it -> whether a value is of it. Others (type protos, sparse tensors) are not read.
_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "INT": _is_whole,
    "FLOAT": lambda v: isinstance(v, Real) and not isinstance(v, Integral),
    "STRING": lambda v: isinstance(v, (str, bytes)),
    "TENSOR": lambda v: isinstance(v, Const),
    "GRAPH": lambda v: isinstance(v, Graph),
    "INTS": lambda v: type(v) is tuple and all(map(_is_whole, v)),
    "FLOATS": lambda v: type(v) in (tuple, Floats) and all(isinstance(n, Real) for n in v),
    "STRINGS": lambda v: type(v) in (tuple, Strings) and all(isinstance(s, (str, bytes)) for s in v),
}


@dataclass(frozen=True)
class _Legal:
    """What a schema says, ready to be compared with.

    Attributes:
        operands, results: the fewest and the most.
        single: how many operands there must be, at the least.
        kinds: the kind of each attribute.
        needed: the attributes that have no default and must be there.
    """

    operands: tuple[int, int]
    results: tuple[int, int]
    single: int
    kinds: Mapping[str, str]
    needed: tuple[str, ...]


def check_schema(op: Op, opsets: Mapping[str, int]) -> None:
    """Check an op against its schema: how many operands and results it has, and its attributes and bodies.

    Raises:
        GraphError: ``domain-unknown``, ``op-unknown``, ``op-arity``, ``attribute-unknown``, ``attribute-type``,
            ``attribute-missing``, ``dtype-unknown`` or ``body-arity``.
    """
    if op.domain not in opsets and op.domain != "coregraft":
        raise GraphError("domain-unknown", f'no opset is imported for the domain "{op.domain}"', node=op.label)
    legal = _legal(op.type, op.domain, opsets.get(op.domain, 1))
    if legal is None:
        if op.domain or op.type in _FOREIGN:
            return
        raise GraphError("op-unknown", f"ai.onnx has no {op.type} at opset {opsets['']}", node=op.label)
    (least, most), (least_out, most_out) = legal.operands, legal.results
    if not least <= len(op.inputs) <= most or not least_out <= len(op.outputs) <= most_out:
        raise GraphError(
            "op-arity", f"{len(op.inputs)} operands and {len(op.outputs)} results; "
            f"legal are {least} to {most} and {least_out} to {most_out}", node=op.label,
        )  # fmt: skip
    for i, value in enumerate(op.inputs[: legal.single]):
        if not value:
            raise GraphError("op-arity", f"operand {i} must not be left out", node=op.label)
    for name in legal.needed:
        if name not in op.attrs:
            raise GraphError("attribute-missing", f'the attribute "{name}" must be there', node=op.label)
    if op.type == "Constant" and not op.domain and len(op.attrs) != 1:
        raise GraphError("attribute-missing", "it must have one attribute, which is its value", node=op.label)
    for name, value in op.attrs.items():
        _check_attribute(op, name, value, legal.kinds.get(name))
    problem = _body_problem(op, opsets)
    if problem:
        raise GraphError("body-arity", problem, node=op.label)


def _check_attribute(op: Op, name: str, value: Any, kind: str | None) -> None:
    if kind is None:
        raise GraphError("attribute-unknown", f'{op.type} has no attribute "{name}"', node=op.label)
    if isinstance(value, AttrRef) or kind not in _KINDS:
        return
    if not _KINDS[kind](value):
        raise GraphError("attribute-type", f'the attribute "{name}" is not of the type {kind}', node=op.label)
    if name in _FLAGS and kind == "INT" and value not in (0, 1):
        raise GraphError("attribute-type", f'the attribute "{name}" is {value}; it is 0 or 1', node=op.label)
    if name in _DTYPE_ATTRIBUTES and kind == "INT" and value not in DType.__members__.values():
        raise GraphError("dtype-unknown", f'the attribute "{name}" is {value}, which is no element type', node=op.label)


def _body_problem(op: Op, opsets: Mapping[str, int]) -> str:
    """How the inputs and outputs of an op's bodies do not fit the op; empty when they do."""
    if op.domain or op.type not in ("If", "Loop", "Scan") or (op.type == "Scan" and opsets[""] < 9):
        return ""
    wanted = 0 if op.type == "If" else max(len(op.inputs), 2) if op.type == "Loop" else len(op.inputs)
    fewest = len(op.outputs) + (op.type == "Loop")
    for name, body in op.bodies():
        if len(body.inputs) != wanted:
            return f"{name} has {len(body.inputs)} inputs, not {wanted}"
        if len(body.outputs) < fewest or (op.type == "If" and len(body.outputs) != fewest):
            return f"{name} has {len(body.outputs)} outputs, not {fewest}"
    return _scan_problem(op) if op.type == "Scan" else ""


def _scan_problem(op: Op) -> str:
    """How what a Scan says of its sequences does not fit its operands and results; empty when it does."""
    scanned = op.attrs["num_scan_inputs"]
    if not 1 <= scanned <= len(op.inputs):
        return f"num_scan_inputs is {scanned}, and there are {len(op.inputs)} operands"
    stacked = len(op.attrs["body"].outputs) - (len(op.inputs) - scanned)
    for way, count in (("input", scanned), ("output", stacked)):
        for name in (f"scan_{way}_axes", f"scan_{way}_directions"):
            if len(op.attrs.get(name) or range(count)) != count:
                return f"{name} has {len(op.attrs[name])} elements for {count} sequences"
    return ""


@functools.cache
def _legal(op_type: str, domain: str, opset: int) -> _Legal | None:
    schema = _schema(op_type, domain, opset)
    if schema is None:
        return None
    return _Legal(
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        sum(formal.option == type(formal.option).Single for formal in schema.inputs),
        {name: str(attribute.type).rpartition(".")[2] for name, attribute in schema.attributes.items()},
        tuple(name for name, attribute in schema.attributes.items() if attribute.required),
    )


def _schema(op_type: str, domain: str, opset: int) -> OpSchema | None:
    """The schema of an op at an opset; for an op of ai.onnx born between there and the internal opset its later one:
    onnxruntime's optimizer writes LayerNormalization into models of opset 13.
    """
    return first_schema(domain, op_type, opset) if domain else first_schema("", op_type, opset, INTERNAL_OPSET)


# ---------------------------------------------------------------- element types


def check_types(op: Op, dtypes: tuple[DType | None, ...], opsets: Mapping[str, int]) -> None:
    """Check that an op is defined on the element types of its operands.

    Args:
        dtypes: the element type of each of ``op.inputs``; None where it may be any.

    Raises:
        GraphError: ``dtype-mismatch``.
    """
    if any(dtypes):
        problem = _type_problem(op.type, op.domain, opsets.get(op.domain, 1), dtypes)
        if problem:
            raise GraphError("dtype-mismatch", problem, node=op.label)


@functools.lru_cache(maxsize=4096)
def _type_problem(op_type: str, domain: str, opset: int, dtypes: tuple[DType | None, ...]) -> str:
    schema = _schema(op_type, domain, opset)
    if schema is None:
        return ""
    allowed = {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}
    seen: dict[str, tuple[int, str]] = {}
    for (i, dtype), (variable, homogeneous) in zip(enumerate(dtypes), _formals(schema), strict=False):
        if dtype is None:
            continue
        kind = f"tensor({dtype.name.lower()})"
        if kind not in allowed.get(variable, {variable}):
            return f"operand {i} is {kind}, which {op_type} does not take there at opset {opset}"
        first, other = seen.setdefault(variable, (i, kind)) if homogeneous else (i, kind)
        if other != kind:
            return f"operand {i} is {kind}, operand {first} is {other}; they must be of one type"
    return ""


def _formals(schema: OpSchema) -> Iterator[tuple[str, bool]]:
    """The type variable of each operand, and whether all of that variable are of one type; the last may repeat."""
    for formal in schema.inputs:
        yield formal.type_str, formal.is_homogeneous
    while schema.inputs and schema.max_input > len(schema.inputs):
        yield schema.inputs[-1].type_str, schema.inputs[-1].is_homogeneous
