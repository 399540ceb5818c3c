"""One op in one configuration: version, attributes, operands; and the case that it makes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from coregraft.rewriter.types import Array, DType
from tests.conformance.cases import Case
from tests.conformance.outcome import Outcome, outcome
from tests.conformance.references import reference
from tests.conformance.rules import not_applicable
from tests.conformance.setting import Setting

#: The opsets that are tried: the oldest that is asked for, and the newest.
OLDEST, NEWEST = 7, 28
#: The version of ``ai.onnx`` beside an op of another domain.
_BESIDE = 21
#: Constants of no more elements than this are told apart in a variant's name.
_SPELLED = 8
_UNUSED = "unused"
_T = TypeVar("_T")
_HERE = Path(__file__).parent
Make: TypeAlias = "Callable[[str], Iterator[Variant]]"
_FAMILIES: dict[str, Make] = {}


@dataclass(frozen=True, eq=False)
class Variant:
    """One op in one configuration.

    Attributes:
        opset: version of the op's domain.
        operands: the op's operands in order; None is an omitted one.
        attrs: attributes, as ``onnx.helper.make_node`` takes them.
        constants: positions of operands that are initializers; the others are inputs.
        outputs: how many results the op gives, or for each whether it is given.
        op: ``Type``, or ``domain::Type``; left out, it is the family's.
        text: ops in ONNX's text form that make ``y0`` and so on of the operands ``x0`` and so on, for an op that takes
            others beside it.
        declared: whether the model says how large its results are.
    """

    opset: int
    operands: Sequence[Array | None]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    constants: Sequence[int] = ()
    outputs: int | Sequence[bool] = 1
    op: str = ""
    text: str = ""
    declared: bool = True

    @property
    def label(self) -> str:
        """Version, attributes and operands in short."""
        attrs = ",".join(f"{key}={_spelled(value)}" for key, value in sorted(self.attrs.items()))
        operands = (_operand(a, i in self.constants) for i, a in enumerate(self.operands))
        given = "" if isinstance(self.outputs, int) else "".join("01"[bool(g)] for g in self.outputs)
        results = f">{given or self.outputs}" if given or self.outputs != 1 else ""
        results += "" if self.declared else "?"
        text = f" {' '.join(self.text.split())} " if self.text else ""
        return f"{self.opset}({','.join(operands)}){results}{text}{{{attrs}}}"


def family(*names: str) -> Callable[[Make], Make]:
    """Register a maker of variants, which is called with the op: ``Type``, or ``domain::Type``."""

    def add(make: Make) -> Make:
        for name in names:
            if name in _FAMILIES:
                raise ValueError(f"{name} has variants already")
            _FAMILIES[name] = make
        return make

    return add


@cache
def families() -> Mapping[str, Make]:
    """All families by op, from the modules of this folder."""
    for path in sorted(_HERE.glob("of_*.py")):
        importlib.import_module(f"tests.conformance.variants.{path.stem}")
    return dict(sorted(_FAMILIES.items()))


def versions(op: str, oldest: int = OLDEST, newest: int = NEWEST) -> list[int]:
    """The opsets at which an op of ``ai.onnx`` changed, and the oldest that is tried."""
    from onnx import defs

    changes = sorted({s.since_version for s in defs.get_all_schemas_with_history() if (s.domain, s.name) == ("", op)})
    if not changes:
        raise ValueError(f"no op {op}")
    first = max(oldest, changes[0])
    return [first, *(v for v in changes if first < v <= newest)]


def attempt(case: Case, setting: Setting) -> Outcome:
    """What becomes of a case. It does not apply where fp32, in which a neural network computes, cannot hold it."""
    operands, wanted = case.data[0]
    whole = [a for a in (*operands, *wanted) if a.dtype.kind in "iu"]
    if setting.format == "neuralnetwork" and any(_exceeds_fp32(a) for a in whole):
        return Outcome("not-applicable:beyond-fp32")
    return outcome(case, setting)


def _exceeds_fp32(array: Array) -> bool:
    return bool((array.astype(np.float32).astype(np.float64) != array.astype(np.float64)).any())


#: Element types that are tried, of those an op takes.
_TRIED = (
    "float", "float16", "double", "int32", "int64", "int8", "uint8", "int16", "uint16", "uint32", "uint64", "bool",
)  # fmt: skip
_CLASSES = ("float", "double", "int64", "uint8", "bool")


def dtypes(op: str, opset: int, operand: int = 0) -> list[Any]:
    """The element types that an operand of an op of ``ai.onnx`` may have, of those that NumPy and Core ML know.

    Of a version that a newer one replaced, only one of each class.
    """
    from onnx import defs

    inputs = defs.get_schema(op, opset, "").inputs
    taken = inputs[min(operand, len(inputs) - 1)].types
    tried = _TRIED if opset >= versions(op)[-1] else _CLASSES
    return [DType[kind.upper()].numpy.type for kind in tried if f"tensor({kind})" in taken]


def some(op: str, opset: int, items: Sequence[_T], few: int = 3) -> Sequence[_T]:
    """All of the items where the op is newest; of an older version, a few from the first to the last."""
    if opset >= versions(op)[-1] or len(items) <= few:
        return items
    return [items[i * (len(items) - 1) // max(few - 1, 1)] for i in range(few)]


@cache
def labelled(name: str) -> tuple[tuple[str, Variant], ...]:
    """The variants of a family in order, each with a name of its own."""
    seen: dict[str, int] = {}
    found = []
    for variant in families()[name](name):
        label = f"{variant.op or name}-{variant.label}"
        seen[label] = seen.get(label, 0) + 1
        found.append((label if seen[label] == 1 else f"{label}#{seen[label]}", variant))
    return tuple(found)


def case(name: str, label: str, variant: Variant) -> Case:
    """The case of a variant: a model of one op, its operands, and what the reference gives.

    It is excluded as ``no-reference`` where neither onnxruntime nor onnx's evaluator can run it.
    """
    model = _model(variant, variant.op or name)
    feeds = {f"x{i}": a for i, a in enumerate(variant.operands) if a is not None and i not in variant.constants}
    feeds = feeds or {_UNUSED: np.zeros(1, np.float32)}
    wanted = reference(model, feeds)
    if wanted is None:
        return Case(label, name, "shipped", model, [], "no-reference")
    for info, array in zip(model.graph.output, wanted, strict=True):
        kind = info.type.tensor_type
        kind.elem_type = int(DType.of(array.dtype))
        if variant.declared:
            kind.shape.SetInParent()
            for size in array.shape:
                kind.shape.dim.add().dim_value = size
    excluded = not_applicable(model, feeds)
    if excluded == "domain:ai.onnx.ml":
        excluded = None
    return Case(label, name, "shipped", model, [(list(feeds.values()), wanted)], excluded)


def _model(variant: Variant, op: str) -> Any:
    from onnx import ValueInfoProto, helper, numpy_helper
    from onnx.parser import parse_graph

    domain, _, kind = op.rpartition("::")
    given = [True] * variant.outputs if isinstance(variant.outputs, int) else list(variant.outputs)
    inputs = ["" if a is None else f"x{i}" for i, a in enumerate(variant.operands)]
    outputs = [f"y{i}" if is_given else "" for i, is_given in enumerate(given)]
    if variant.text:
        nodes = list(parse_graph(f"g () => () {{ {variant.text} }}").node)
    else:
        nodes = [helper.make_node(kind, inputs, outputs, kind.lower(), domain=domain, **variant.attrs)]
    graph_inputs, initializers = [], []
    for i, array in enumerate(variant.operands):
        if array is None:
            continue
        if i in variant.constants:
            initializers.append(numpy_helper.from_array(array, f"x{i}"))
        else:
            graph_inputs.append(helper.make_tensor_value_info(f"x{i}", int(DType.of(array.dtype)), array.shape))
    if not graph_inputs:  # Core ML wants one
        graph_inputs.append(helper.make_tensor_value_info(_UNUSED, int(DType.FLOAT), [1]))
    results = [ValueInfoProto(name=name) for name in outputs if name]  # the reference tells their types
    graph = helper.make_graph(nodes, "variant", graph_inputs, results, initializers)
    opsets = [helper.make_opsetid(domain, variant.opset)]
    if domain:
        opsets.append(helper.make_opsetid("", _BESIDE))
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _operand(array: Array | None, is_constant: bool) -> str:
    if array is None:
        return "-"
    kind = f"{array.dtype.name}[{'x'.join(map(str, array.shape))}]"
    if not is_constant:
        return kind
    return f"{kind}={_spelled(array.tolist())}" if array.size <= _SPELLED else f"{kind}=#"


def _spelled(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + " ".join(_spelled(v) for v in value) + "]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, np.ndarray):
        return _operand(value, is_constant=True)
    return value.decode() if isinstance(value, bytes) else str(value) if isinstance(value, str | int) else "#"


def data(*shape: int, dtype: Any = np.float32, low: float = -2, high: float = 2, seed: int = 0) -> Array:
    """Numbers drawn evenly from ``low`` to ``high``, which integers include."""
    random = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind == "b":
        return np.asarray(random.random(shape) < 0.5)
    if np.dtype(dtype).kind in "iu":
        return random.integers(int(low), int(high) + 1, shape).astype(dtype)
    return (random.random(shape) * (high - low) + low).astype(dtype)


def ints(*values: int) -> Array:
    """An int64 vector."""
    return np.array(values, np.int64)
