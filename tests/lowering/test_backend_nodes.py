"""ONNX's own node tests through the emitters of one-op families: right, or refused for a stated reason."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.lowering.emitter import CANONICAL
from coregraft.lowering.program import lower_graph
from coregraft.lowering.registry import table_for
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.onnx_io.load import from_model
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Array, Const, DType, TensorType
from tests.lowering.mil_numpy import run_mil

_FAMILIES = (
    "activation", "attention", "bitwise", "conv", "elementwise", "gather", "matmul", "norm", "pad", "pool", "pow",
    "quant", "reduce", "resize", "rnn", "shape", "slice",
)  # fmt: skip
#: Operands that exported models hold as constants.
_CONSTANT = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Squeeze": (1,), "Unsqueeze": (1,),
    "Pad": (1, 2, 3), "TopK": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "OneHot": (1, 2), "Split": (1,),
    "CumSum": (1,), "CumProd": (1,), "Clip": (1, 2), "Dropout": (1, 2), "PRelu": (1,), "Trilu": (1,), "Compress": (1,),
    "Resize": (1, 2, 3), "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "BatchNormalization": (1, 2, 3, 4),
    "Conv": (1, 2), "ConvTranspose": (1, 2), "LSTM": (1, 2, 3, 4, 7), "GRU": (1, 2, 3, 4), "RNN": (1, 2, 3, 4),
    "LayerNormalization": (1, 2), "InstanceNormalization": (1, 2), "GroupNormalization": (1, 2),
    "RMSNormalization": (1,), "CastLike": (1,),
}  # fmt: skip
#: Element types that Core ML holds in wider ones, in which a cast to them would not round.
_ROUNDED = ("BFLOAT16", "INT4", "UINT4", "INT2", "UINT2")
#: What a case may be refused for: (code, part of the message).
_REASONS = (
    ("op-unsupported", "empty"), ("empty-tensor", "no elements"), ("op-unsupported", "at random"),
    ("op-unsupported", "rank 6"),
    # What passes take apart before the emitters see it.
    ("op-unsupported", "no dilation"), ("op-unsupported", "Indices output"), ("op-unsupported", "no einsum"),
    ("op-unsupported", "cubic interpolation"), ("op-unsupported", "two spatial axes, not 3"),
    ("op-unsupported", "not a whole number"), ("op-unsupported", "aliasing"), ("op-unsupported", "single pixel"),
    ("op-unsupported", "tf_crop_and_resize"),
)  # fmt: skip
#: Ops all of whose cases are for a pass.
_FOR_PASSES = ("Einsum",)
#: Results that ONNX states with four digits.
_FOUR_DIGITS = ("test_averagepool_2d_ceil_last_window_starts_on_pad",)
#: No numpy rule for the one MIL op they become; no case in ONNX's suite.
_NOT_RUN = ("ReverseSequence", "GlobalLpPool")


@functools.cache
def _cases() -> dict[str, list[Any]]:
    """The single-op cases by op type, of the op types that these families emit, in a form they know."""
    from onnx import defs
    from onnx.backend.test.loader import load_node_model_tests

    known = set(_ops())
    found: dict[str, list[Any]] = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        entries: list[Any] = load_node_model_tests()
        for entry in entries:
            node, opset = entry.model.graph.node[0], entry.model.opset_import[0].version
            if len(entry.model.graph.node) != 1 or node.domain or node.op_type not in known:
                continue
            if opset < 7:  # the oldest that models are read in; these ops have not changed since
                entry.model.opset_import[0].version = 7
            form = defs.get_schema(node.op_type, opset).since_version
            internal = defs.get_schema(node.op_type, max(INTERNAL_OPSET, form)).since_version
            if form >= internal and _is_numeric(entry):
                found.setdefault(node.op_type, []).append(entry)
    return found


def _is_numeric(entry: Any) -> bool:
    infos = [*entry.model.graph.input, *entry.model.graph.output]
    numbers = [DType(i.type.tensor_type.elem_type) for i in infos if i.type.HasField("tensor_type")]
    return len(numbers) == len(infos) and all(d in CANONICAL and d.name not in _ROUNDED for d in numbers)


def _result(entry: Any, constant: tuple[int, ...]) -> tuple[list[Array], list[Array]]:
    """(what the program computes, what ONNX wants)."""
    from onnx import TensorProto, numpy_helper

    g = from_model(entry.model)
    names = entry.model.graph.node[0].input
    operands, wanted = (
        [numpy_helper.to_array(a) if isinstance(a, TensorProto) else np.asarray(a) for a in arrays]
        for arrays in entry.data_sets[0]
    )
    by_name = dict(zip((i.name for i in entry.model.graph.input), operands, strict=True))
    fed = [n for n in by_name if not any(names[i] == n for i in constant if i < len(names))]
    for name, array in by_name.items():
        kind = TensorType(DType.of(array.dtype), array.shape)
        g.add_value(name, kind, None if name in fed else Const.of(array))
    if not fed:  # Core ML wants an input
        fed.append(g.add_input("unused", TensorType(DType.FLOAT, (1,))))
        by_name["unused"] = np.zeros(1, np.float32)
    g.set_inputs(fed)
    for info, array in zip(entry.model.graph.output, wanted, strict=True):
        g.add_value(info.name, TensorType(DType.of(array.dtype), array.shape))
    program = lower_graph(g, targets.get("iOS17"))
    feeds = {f.feature: by_name[f.name].astype(f.dtype.numpy).reshape(f.shape or ()) for f in program.inputs}
    with np.errstate(all="ignore"):
        found = run_mil(program.program, feeds)
    return [found[f.feature].reshape(f.type.static_shape or ()) for f in program.outputs], wanted


@functools.cache
def _ops() -> list[str]:
    """The op types that these families emit."""
    table = table_for("iOS17", "mlprogram")
    return [k[1] for k, v in table.items() if not k[0] and v.emit.__module__.rpartition(".emit_")[2] in _FAMILIES]


@pytest.mark.parametrize("op", [op for op in _ops() if op not in _NOT_RUN])
def test_onnx_node_cases(op: str) -> None:
    outcomes: Counter[str] = Counter()
    for entry in _cases()[op]:
        try:
            found, wanted = _result(entry, _CONSTANT.get(op, (1,) if op.startswith("Reduce") else ()))
        except UnsupportedError as error:
            stated = any(error.code == code and part in error.message for code, part in _REASONS)
            assert stated, f"{entry.name}: {error}"
            outcomes["refused"] += 1
            continue
        for have, want in zip(found, wanted, strict=True):
            coarse = want.dtype == np.float16 or entry.name in _FOUR_DIGITS
            tolerance = {"rtol": 2e-3, "atol": 1e-3} if coarse else {"rtol": 1e-4, "atol": 1e-5}
            close = np.allclose(have.astype(np.float64), want.astype(np.float64), equal_nan=True, **tolerance)
            assert close and have.shape == want.shape, f"{entry.name}: {have} is not {want}"
        outcomes["right"] += 1
    assert outcomes["right"] or op in _FOR_PASSES


def test_the_suite_is_there() -> None:
    assert sum(len(found) for found in _cases().values()) > 700
