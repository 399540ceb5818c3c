"""Reducing: to the guilty op, with any check, and honest when there is nothing to find."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array
from coregraft.verification.failures import write_bundle
from coregraft.verification.inputs import draw
from coregraft.verification.reduce import command_check, reduce

CHAIN = "input x: float[2,3]\n" + "".join(
    f"v{i} = {op}({'x' if i == 0 else f'v{i - 1}'}) @n{i}\n"
    for i, op in enumerate(["Relu", "Exp", "Neg", "Tanh", "Sigmoid", "Abs", "Sqrt", "Sin", "Cos", "Ceil"])
)


@pytest.fixture
def g() -> Graph:
    text = CHAIN + "w = Add(v9, v2) @join\noutput w\noutput v4\n"
    return PassManager("upgrade-opset,infer-shapes").run(parse(text)).graph


def has(kind: str) -> object:
    def fails(graph: Graph, inputs: Mapping[str, Array]) -> bool:
        return any(op.type == kind for _, op in graph.ops())

    return fails


@pytest.mark.parametrize("kind", ["Relu", "Tanh", "Sqrt", "Ceil", "Add"])
def test_one_guilty_op_is_left(g: Graph, kind: str) -> None:
    found = reduce(g, draw(g), has(kind))  # type: ignore[arg-type]
    assert [label.split()[0] for label in found.ops] == [kind]
    assert found.tried < 40


def test_the_part_sees_the_numbers_of_the_whole(g: Graph) -> None:
    feeds = draw(g)
    found = reduce(g, feeds, has("Tanh"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.inputs["v2"], -np.exp(np.maximum(feeds["x"], 0)))


def test_two_ops_that_fail_together_stay_together(g: Graph) -> None:
    def fails(graph: Graph, inputs: Mapping[str, Array]) -> bool:
        types = {op.type for _, op in graph.ops()}
        return {"Exp", "Abs"} <= types

    found = reduce(g, draw(g), fails)
    assert {label.split()[0] for label in found.ops} == {"Exp", "Abs"}


@pytest.mark.parametrize(("kind", "left"), [("Exp", ["Exp"]), ("SequenceAt", ["SequenceConstruct", "SequenceAt"])])
def test_no_part_begins_at_what_is_no_tensor(kind: str, left: list[str]) -> None:
    text = "input x: float[2]\na = Tanh(x)\ns = SequenceConstruct(a, x)\nb = SequenceAt(s, 0)\nc = Exp(b)\noutput c\n"
    g = PassManager("upgrade-opset,infer-shapes").run(parse(text)).graph
    found = reduce(g, draw(g), has(kind))  # type: ignore[arg-type]
    assert [label.split()[0] for label in found.ops] == left


def test_nothing_to_reduce(g: Graph) -> None:
    with pytest.raises(UsageError) as caught:
        reduce(g, draw(g), lambda graph, inputs: False)
    assert caught.value.code == "reduce-passes"


def test_any_command_can_be_the_check(g: Graph, tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text(
        "import sys, onnx, numpy\n"
        "model = onnx.load(sys.argv[1]); inputs = numpy.load(sys.argv[2])\n"
        "assert set(inputs.files) == {i.name for i in model.graph.input}\n"
        "sys.exit(any(n.op_type == 'Sigmoid' for n in model.graph.node))\n"
    )
    found = reduce(g, draw(g), command_check(f"{sys.executable} {script} {{model}} {{inputs}}"))
    assert [label.split()[0] for label in found.ops] == ["Sigmoid"]


@pytest.mark.parametrize("command", ["true", "/no/such/program {model}"])
def test_a_command_that_cannot_be_used(g: Graph, command: str) -> None:
    with pytest.raises(UsageError) as caught:
        reduce(g, draw(g), command_check(command))
    assert caught.value.code == "check-command"


def test_the_bundle(g: Graph, tmp_path: Path) -> None:
    found = reduce(g, draw(g), has("Tanh"))  # type: ignore[arg-type]
    folder = write_bundle(found, tmp_path / "bundle", {"model": "m.onnx"})
    assert {p.name for p in folder.iterdir()} == {"reduced.onnx", "inputs.npz", "versions.json", "README.txt"}
    assert 'Tanh "n3"' in (folder / "README.txt").read_text()
