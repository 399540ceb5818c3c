"""A MIL program evaluated with numpy, op by op, by the documented meaning of each op.

For tests: it tells whether what an emitter wrote means what the ONNX op means. It is not how Core ML computes
(no fp16 accumulation, no fused kernels), and an op it does not know is an error.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Inputs = dict[str, Any]
Rule = Callable[[Inputs], Any]

DTYPES = {
    "fp16": np.float16, "fp32": np.float32, "int32": np.int32, "bool": np.bool_,
    "int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16,
}  # fmt: skip
RULES: dict[str, Rule] = {}


def run_mil(program: Any, feeds: Mapping[str, Array], function: str = "main") -> dict[str, Array]:
    """The outputs of a MIL program, by name.

    Args:
        program: a ``coremltools`` MIL ``Program``.
        feeds: an array for every input, by the input's name in the program.
        function: which function of it to run.

    Raises:
        NotImplementedError: an op that this evaluator does not know, by name.
        AssertionError: an op whose result has another shape or element type than coremltools inferred.
    """
    load_rules()
    body = program.functions[function]
    values: dict[Any, Any] = {var: np.asarray(feeds[name]) for name, var in body.inputs.items()}
    for var in values:
        assert tuple(var.shape) == values[var].shape, f"{var.name}: fed {values[var].shape}, declared {var.shape}"
    return {var.name: result for var, result in zip(body.outputs, _run_block(body, values), strict=True)}


def op_types(program: Any, function: str = "main") -> list[str]:
    """The op types of a function in order, constants left out; nested blocks follow the op that owns them."""

    def walk(block: Any) -> list[str]:
        found = []
        for op in block.operations:
            if op.op_type != "const":
                found.append(op.op_type)
            for inner in op.blocks:
                found += walk(inner)
        return found

    return walk(program.functions[function])


def find_ops(program: Any, op_type: str, function: str = "main") -> list[Any]:
    """The ops of one type in a function, in order."""
    return [op for op in program.functions[function].operations if op.op_type == op_type]


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register how to evaluate some op types: a function of the op's inputs by name (numpy arrays, lists of them)."""

    def register(function: Rule) -> Rule:
        for name in names:
            assert name not in RULES, name
            RULES[name] = function
        return function

    return register


def _run_block(block: Any, values: dict[Any, Any]) -> list[Any]:
    for op in block.operations:
        _run_op(op, values)
    return [_value(var, values) for var in block.outputs]


def _run_op(op: Any, values: dict[Any, Any]) -> None:
    if op.op_type == "const":
        values[op.outputs[0]] = op.val.val
        return
    inputs = {
        name: [_value(v, values) for v in var] if isinstance(var, (list, tuple)) else _value(var, values)
        for name, var in op.inputs.items()
        if var is not None
    }
    if op.op_type in ("cond", "while_loop"):
        results = _control(op, inputs, values)
    elif op.op_type in RULES:
        with np.errstate(all="ignore"):
            results = RULES[op.op_type](inputs)
    else:
        raise NotImplementedError(f"no numpy rule for the MIL op {op.op_type}")
    results = list(results) if isinstance(results, (list, tuple)) else [results]
    for var, result in zip(op.outputs, results, strict=True):
        values[var] = _checked(op, var, np.asarray(result))


def _control(op: Any, inputs: Inputs, values: dict[Any, Any]) -> list[Any]:
    if op.op_type == "cond":
        return _run_block(op.blocks[0] if bool(np.asarray(inputs["pred"]).item()) else op.blocks[1], values)
    condition, body = op.blocks
    state = list(inputs["loop_vars"])
    for _ in range(100_000):
        values.update(zip(condition.inputs, state, strict=True))
        if not bool(np.asarray(_run_block(condition, values)[0]).item()):
            return state
        values.update(zip(body.inputs, state, strict=True))
        state = _run_block(body, values)
    raise AssertionError(f"{op.name}: the loop does not end")


def _value(var: Any, values: dict[Any, Any]) -> Any:
    return values.get(var, var.val)


def _checked(op: Any, var: Any, result: Array) -> Array:
    """The result in the element type that MIL declares, once its shape agrees."""
    from coremltools.converters.mil.mil import types

    where = f"{op.op_type} {var.name}"
    declared = tuple(var.shape)
    if all(isinstance(d, (int, np.integer)) for d in declared):
        assert declared == result.shape, f"{where}: declared {declared}, computed {result.shape}"
    dtype = np.dtype(types.nptype_from_builtin(var.dtype))
    kinds = {dtype.kind, result.dtype.kind}
    assert len(kinds) == 1 or kinds <= {"i", "u"}, f"{where}: declared {dtype}, computed {result.dtype}"
    return result.astype(dtype)


def rank0(values: Inputs, name: str, default: Any = None) -> Any:
    """A scalar operand as a Python object; ``default`` when it is absent."""
    found = values.get(name)
    return default if found is None else np.asarray(found).item()


def ints(values: Inputs, name: str, default: Sequence[int] = ()) -> list[int]:
    """A list operand as Python ints."""
    found = values.get(name)
    return list(default) if found is None else [int(v) for v in np.asarray(found).ravel()]


def along(vector: Any, rank: int) -> Array:
    """A vector that broadcasts along the channels of a tensor of ``rank`` dims."""
    return np.asarray(vector).reshape([-1 if i == 1 else 1 for i in range(rank)])


@functools.cache
def load_rules() -> None:
    """Import the modules beside this one that say what each op means."""
    for topic in ("pointwise", "data", "layers", "special"):
        importlib.import_module(f"tests.lowering.mil_rules_{topic}")
