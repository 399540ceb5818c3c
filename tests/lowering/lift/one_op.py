"""A MIL program made by coremltools' builder, saved, lifted from disk and run by onnxruntime.

What it computes is compared with the documented meaning of the op (``tests.lowering.mil_numpy``), or with what a test
says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array

Build = Callable[..., Any]


class _Ops:
    """coremltools' op builder, imported when the first op is asked for."""

    def __getattr__(self, name: str) -> Any:
        from coremltools.converters.mil.mil import Builder

        return getattr(Builder, name)


mb: Any = _Ops()


def floats(values: Any) -> Array:
    """An fp32 array."""
    return np.array(values, np.float32)


@dataclass(frozen=True)
class Lifted:
    """A program, the graph that was lifted from its package, and what the graph computes by output name."""

    program: Any
    graph: Graph
    results: dict[str, Array]

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self.graph.graph["lift_warnings"])

    @property
    def types(self) -> list[str]:
        """The graph's op types in order."""
        return [self.graph.op(i).type for i in self.graph.topological()]


def program_of(build: Build, feeds: Mapping[str, Array], target: str = "iOS15", **specs: Any) -> Any:
    """A MIL program with one input per feed; ``specs`` replaces the declared type of some.

    Core ML lets no booleans in or out: they cross as int32.
    """
    import coremltools as ct
    from coremltools.converters.mil.mil import Function, Program
    from coremltools.converters.mil.mil.types.type_mapping import numpy_type_to_builtin_type

    opset = getattr(ct.target, target)
    crossing = {name: _crossing(value) for name, value in feeds.items()}
    inputs = {
        name: specs.get(name) or mb.placeholder(shape=value.shape, dtype=numpy_type_to_builtin_type(value.dtype))
        for name, value in crossing.items()
    }
    program = Program()
    with Function(inputs, opset_version=opset) as function:
        entered = [
            mb.cast(x=var, dtype="bool") if feeds[name].dtype == np.bool_ else var
            for name, var in function.inputs.items()
        ]
        found = build(*entered)
        results = list(found) if isinstance(found, (list, tuple)) else [found]
        function.set_outputs([mb.cast(x=var, dtype="int32") if var.is_tensor_or_scalar_of(dtype="bool") else var
                              for var in results])  # fmt: skip
    program.add_function("main", function)
    return program


def _crossing(value: Array) -> Array:
    return value.astype(np.int32) if value.dtype == np.bool_ else value


def save(program: Any, path: Path, target: str = "iOS15") -> Path:
    """Write a program as it is."""
    from coregraft.lowering.metadata import Metadata
    from coregraft.lowering.package import write
    from coregraft.rewriter.target import Target

    write(program, path, Target(target, "mlprogram"), Metadata())
    return path


def lift_program(
    program: Any, target: str = "iOS15", *, strict: bool = False, fp16: Literal["simulate", "exact"] = "exact"
) -> Graph:
    """The graph of a program, by way of a package on disk; its weights are read before the package goes."""
    from coregraft.lowering.lift import lift

    with tempfile.TemporaryDirectory() as folder:
        graph = lift(save(program, Path(folder) / "one_op.mlpackage", target), strict=strict, fp16=fp16)
        for value in graph.values():
            const = graph.const(value)
            if const is not None:
                graph.nodes[value]["const"] = type(const).of(np.array(const.numpy()))
        return graph


def run_graph(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What a graph computes, by output name; fp16 feeds go in as the FLOAT that the graph takes."""
    from coregraft.rewriter.execute import run

    given = {name: _crossing(value) for name, value in feeds.items()}
    wide = {name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in given.items()}
    values = run(graph, wide)
    return {name: values[value] for name, value in graph.outputs.items()}


def lifted(build: Build, feeds: Mapping[str, Array], target: str = "iOS15", **options: Any) -> Lifted:
    """Build, save, lift and run."""
    program = program_of(build, feeds, target)
    graph = lift_program(program, target, **options)
    return Lifted(program, graph, run_graph(graph, feeds))


def agree(
    build: Build,
    feeds: Mapping[str, Array],
    target: str = "iOS15",
    *,
    want: Sequence[Array] | Array | None = None,
    doubts: int = 0,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> Lifted:
    """Assert that the lifted graph computes ``want``, or what the op is documented to compute when that is None.

    Args:
        doubts: how many cases that Core ML leaves open the lift must report; with any, it must refuse when strict.
    """
    import pytest

    from coregraft.rewriter.errors import UnsupportedError
    from tests.lowering.mil_numpy import run_mil

    found = lifted(build, feeds, target)
    if want is None:
        expected = list(run_mil(found.program, {name: _crossing(value) for name, value in feeds.items()}).values())
    else:
        expected = [np.asarray(w) for w in want] if isinstance(want, (list, tuple)) else [np.asarray(want)]
    for (name, result), right in zip(found.results.items(), expected, strict=True):
        assert result.shape == right.shape, f"{name}: {result.shape}, expected {right.shape}"
        if right.dtype.kind in "fc":
            np.testing.assert_allclose(result.astype(np.float64), right.astype(np.float64), rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(result, right)
    assert len(found.warnings) == doubts, found.warnings
    if doubts:
        with pytest.raises(UnsupportedError) as caught:
            lift_program(program_of(build, feeds, target), target, strict=True)
        assert caught.value.code == "lift-undefined"
    return found


def refusal(build: Build, feeds: Mapping[str, Array], target: str = "iOS15") -> Any:
    """The error with which the lift refuses a program."""
    import pytest

    from coregraft.rewriter.errors import UnsupportedError

    with pytest.raises(UnsupportedError) as caught:
        lift_program(program_of(build, feeds, target), target)
    assert caught.value.code == "lift-op-unsupported"
    return caught.value


def network_of(build: Build, feeds: Mapping[str, Array]) -> tuple[Any, Graph]:
    """A MIL program, and the graph that was lifted from the neural network that coremltools makes of it."""
    from coregraft.lowering import pipeline
    from coregraft.lowering.lift import lift
    from coregraft.lowering.metadata import Metadata
    from coregraft.lowering.package import write
    from coregraft.rewriter.target import Target

    target = Target("iOS15", "neuralnetwork")
    program = program_of(build, feeds)
    pipeline.run(program, target, "none")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one_op.mlmodel"
        write(program, path, target, Metadata())
        return program_of(build, feeds), lift(path)


def network_agrees(
    build: Build,
    feeds: Mapping[str, Array],
    *,
    want: Sequence[Array] | Array | None = None,
    doubts: int = 0,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> Graph:
    """As :func:`agree`, by way of a neural network, in which all values are floats and no tensor is without dims."""
    from tests.lowering.mil_numpy import run_mil

    program, graph = network_of(build, feeds)
    found = list(run_graph(graph, {name: value.astype(np.float32) for name, value in feeds.items()}).values())
    if want is None:
        expected = list(run_mil(program, {name: _crossing(value) for name, value in feeds.items()}).values())
    else:
        expected = [np.asarray(w) for w in want] if isinstance(want, (list, tuple)) else [np.asarray(want)]
    for result, right in zip(found, expected, strict=True):
        assert result.dtype == np.float32
        assert result.shape == (right.shape or (1,))
        np.testing.assert_allclose(result, right.reshape(result.shape).astype(np.float64), rtol=rtol, atol=atol)
    assert len(graph.graph["lift_warnings"]) == doubts, graph.graph["lift_warnings"]
    return graph
