"""ONNX's backend tests as cases, in the two forms in which they are tried."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.rules import free_inputs, graphs, not_applicable

Form = Literal["shipped", "frozen"]
FORMS: tuple[Form, ...] = ("shipped", "frozen")
#: Kinds of case whose models and data come as files with the ``onnx`` package; node cases are made by its code.
_KINDS = ("simple", "pytorch-converted", "pytorch-operator")
#: IR version from which an initializer need not be an input as well.
_FREE_INITIALIZERS = 4

#: Operands that exported models hold as constants: weights, shapes, axes, scales.
PARAMETERS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,), "BatchNormalization": (1, 2, 3, 4), "BlackmanWindow": (0,), "CausalConvWithState": (1, 2),
    "CenterCropPad": (1,), "Clip": (1, 2), "Col2Im": (1, 2), "ConstantOfShape": (0,), "Conv": (1, 2),
    "ConvInteger": (1, 2, 3), "ConvTranspose": (1, 2), "CumProd": (1,), "CumSum": (1,), "DFT": (1, 2),
    "DeformConv": (1, 3), "DequantizeLinear": (1, 2), "Dropout": (1, 2), "Expand": (1,), "GRU": (1, 2, 3, 4),
    "GroupNormalization": (1, 2), "HammingWindow": (0,), "HannWindow": (0,), "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 4, 7), "LayerNormalization": (1, 2), "Loop": (0, 1), "MatMulInteger": (2, 3),
    "MaxUnpool": (2,), "MelWeightMatrix": (0, 1, 2, 3, 4), "NonMaxSuppression": (2, 3, 4), "OneHot": (1, 2),
    "PRelu": (1,), "Pad": (1, 2, 3), "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8), "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2), "RMSNormalization": (1,), "RNN": (1, 2, 3, 4), "Range": (0, 1, 2), "Reshape": (1,),
    "Resize": (1, 2, 3), "ReverseSequence": (1,), "RotaryEmbedding": (1, 2), "STFT": (1, 2, 3), "SequenceAt": (1,),
    "SequenceErase": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "SplitToSequence": (1,), "Squeeze": (1,),
    "Tile": (1,), "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,), "Upsample": (1,),
    **{f"Reduce{kind}": (1,) for kind in
       ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One case in one form.

    Attributes:
        id: ``kind/name``.
        family: op type that the case is about; the kind, where it is about a network.
        form: which form it is in.
        model: ``ModelProto``.
        data: pairs of operands and wanted results, in the order of the model's inputs and outputs.
        excluded: the rule by which it is not applicable, or None.
    """

    id: str
    family: str
    form: Form
    model: Any
    data: Sequence[tuple[Sequence[Array], Sequence[Array]]]
    excluded: str | None


def cases(form: Form) -> Iterator[Case]:
    """All cases in one form, in order of their kinds and names."""
    for case in _shipped():
        yield freeze(case) if form == "frozen" else case


def freeze(case: Case) -> Case:
    """The case with the operands in :data:`PARAMETERS` as initializers; as it was where there are none."""
    frozen = _parameters(case)
    if not frozen:
        return replace(case, form="frozen")
    from onnx import ModelProto, numpy_helper

    inputs = free_inputs(case.model)
    operands, wanted = case.data[0]
    model = ModelProto()
    model.CopyFrom(case.model)
    model.ir_version = max(model.ir_version, _FREE_INITIALIZERS)
    del model.graph.input[:]
    model.graph.input.extend(info for info in case.model.graph.input if info.name not in frozen)
    for info, array in zip(inputs, operands, strict=True):
        if info.name in frozen:
            model.graph.initializer.append(numpy_helper.from_array(array, info.name))
    kept = [a for info, a in zip(inputs, operands, strict=True) if info.name not in frozen]
    feeds = {i.name: a for i, a in zip(inputs, operands, strict=True) if i.name not in frozen}
    return replace(case, form="frozen", model=model, data=[(kept, wanted)], excluded=not_applicable(model, feeds))


def _parameters(case: Case) -> set[str]:
    """The inputs that are read as parameters and in no other way; none if nothing else would be left to feed."""
    inputs = [info.name for info in free_inputs(case.model)]
    if case.excluded or len(case.data) != 1 or len(case.data[0][0]) != len(inputs):
        return set()
    parameters: set[str] = set()
    others = {info.name for info in case.model.graph.output}
    for graph in graphs(case.model.graph):
        for node in graph.node:
            positions = PARAMETERS.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ()
            for i, name in enumerate(node.input):
                (parameters if graph is case.model.graph and i in positions else others).add(name)
    found = {name for name in inputs if name in parameters and name not in others}
    return found if len(found) < len(inputs) else set()


@functools.cache
def _shipped() -> tuple[Case, ...]:
    found = [*_node_cases(), *_file_cases(), *_light_cases()]
    return tuple(sorted(found, key=lambda case: case.id))


def _case(kind: str, name: str, family: str, model: Any, data: Sequence[tuple[list[Any], list[Any]]]) -> Case:
    """A case; one whose data are no numeric tensors has none, and is excluded by its rule."""
    excluded = not_applicable(model, {})
    arrays = [] if excluded else [([_array(v) for v in ins], [_array(v) for v in outs]) for ins, outs in data]
    if arrays:
        feeds = {info.name: a for info, a in zip(free_inputs(model), arrays[0][0], strict=False)}
        excluded = not_applicable(model, feeds)
    return Case(f"{kind}/{name}", family, "shipped", model, arrays, excluded)


def _array(value: Any) -> Array:
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _node_cases() -> Iterator[Case]:
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        entries: list[Any] = load_node_model_tests()
    families = {}
    for entry in entries:
        if "_expanded" not in entry.name:
            node = entry.model.graph.node[0]
            families[entry.name] = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    for entry in entries:
        family = families.get(entry.name.partition("_expanded")[0]) or entry.model.graph.node[0].op_type
        yield _case("node", entry.name, family, entry.model, entry.data_sets)


def _file_cases() -> Iterator[Case]:
    import onnx

    for kind in _KINDS:
        for folder in sorted(_data_folder().joinpath(kind).iterdir()):
            if folder.joinpath("model.onnx").exists():
                model = onnx.load(str(folder / "model.onnx"))
                tensors = model.graph.input, model.graph.output
                is_tensor = all(i.type.HasField("tensor_type") for infos in tensors for i in infos)
                sets = sorted(folder.glob("test_data_set_*")) if is_tensor else []
                yield _case(kind, folder.name, kind, model, [(_read(s, "input"), _read(s, "output")) for s in sets])


def _light_cases() -> Iterator[Case]:
    """Networks whose weights are all alike; they are fed a ramp, as onnx's own runner does."""
    import onnx

    folder = _data_folder() / "light"
    for path in sorted(folder.glob("*.onnx")):
        model = onnx.load(str(path))
        shapes = [tuple(d.dim_value or 1 for d in i.type.tensor_type.shape.dim) for i in free_inputs(model)]
        ramps = [(np.arange(np.prod(s)).reshape(s) / np.prod(s)).astype(np.float32) for s in shapes]
        yield _case("light", path.stem, "light", model, [(ramps, _read(folder, f"{path.stem}_output"))])


def _data_folder() -> Path:
    import onnx.backend.test

    return Path(onnx.backend.test.__file__).parent / "data"


def _read(folder: Path, stem: str) -> list[Any]:
    from onnx import TensorProto

    paths = sorted(folder.glob(f"{stem}_*.pb"), key=lambda p: int(p.stem.rpartition("_")[2]))
    return [TensorProto.FromString(path.read_bytes()) for path in paths]
