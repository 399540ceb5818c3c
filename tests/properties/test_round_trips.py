"""Text, ONNX files and graphsurgeon: what goes out comes back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.gs import from_graphsurgeon, to_graphsurgeon
from coregraft.rewriter.onnx_io.load import from_model, load
from coregraft.rewriter.onnx_io.save import save, to_model
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.verify import verify
from tests.properties.strategies import exploring, graphs, outputs_of


@exploring(60)
@given(graphs())
def test_text(g: Graph) -> None:
    text = to_text(g)
    back = parse(text)
    verify(back)
    assert to_text(back) == text
    _same_results(g, back)


@exploring(40)
@given(graphs(rename=False))
def test_onnx(g: Graph) -> None:
    """By way of a proto, and of a file, whose second saving has the same bytes."""
    assert _statement(from_model(to_model(g))) == _statement(g)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        save(g, first)
        back = load(first)
        verify(back)
        assert _statement(back) == _statement(g)
        save(back, second)
        assert first.read_bytes() == second.read_bytes()


@exploring(40)
@given(graphs(rename=False))
def test_graphsurgeon(g: Graph) -> None:
    back = from_graphsurgeon(to_graphsurgeon(g))
    verify(back)
    assert _statement(back) == _statement(g)


@exploring(20)
@given(graphs())
def test_onnx_under_public_names(g: Graph) -> None:
    """A file has one name for a value; an output that is called otherwise takes it over."""
    back = from_model(to_model(g))
    verify(back)
    assert list(back.outputs) == list(g.outputs)
    _same_results(g, back)


def _statement(g: Graph) -> str:
    """The text without what a file adds, its IR version and the names that graphs must have there, and what it has
    no place for: the types that a branch knows of the values around it."""
    lines = to_text(g).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("graph ", "fact ir_version", "value ")))


def _same_results(a: Graph, b: Graph) -> None:
    want, got = outputs_of(a), outputs_of(b)
    assert list(want) == list(got)
    for name in want:
        np.testing.assert_array_equal(want[name], got[name])
