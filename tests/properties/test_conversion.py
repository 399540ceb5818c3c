"""The whole road on drawn graphs: converted, saved, lifted from what was saved, and run beside the source."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given

from coregraft.lowering.convert import Precision, convert
from coregraft.lowering.lift import lift
from coregraft.rewriter.errors import CoregraftError, PassError
from coregraft.rewriter.execute import run, seeded_inputs
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.types import Array
from tests.properties import kinds_blocks
from tests.properties.strategies import INPUTS, KINDS, assert_close, exploring, graphs, outputs_of

Format = Literal["mlprogram", "neuralnetwork"]
SUFFIXES: Mapping[Format, str] = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}
STATIC = [shape for shape in INPUTS if "N" not in shape]
BLOCKS = tuple(sorted(name for name, step in KINDS.items() if step.__module__ == kinds_blocks.__name__))
#: Rounding of some dozens of ops in another order; the numbers of a wrong op are far beyond it.
FULL = 1e-3
#: Differences of numbers of ordinary size may cancel to nothing: they are not compared to the last bit.
SMALLEST = 0.01
#: What half precision may lose of the largest magnitude in a handful of layers.
HALF = 0.06


def _outputs(g: Graph, format: Format, precision: Precision) -> dict[str, Array] | None:
    """The outputs of the saved package by their ONNX names; None when the graph is refused, as users may see it."""
    try:
        done = convert(to_model(g), format=format, precision=precision, fallback="error")
    except CoregraftError as error:
        assert error.exit_code == 4 and not isinstance(error, PassError), error
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{SUFFIXES[format]}"
        done.save(path)
        lifted = lift(path)
        feeds = seeded_inputs(g)
        fed = {f.feature: feeds[f.name].astype(f.dtype.numpy).reshape(f.shape or ()) for f in done.report.inputs}
        values = run(lifted, fed)
    found = {f.name: values[lifted.outputs[f.feature]] for f in done.report.outputs}
    return {
        name: found[name].reshape(want.shape).astype(want.dtype) if found[name].size == want.size else found[name]
        for name, want in outputs_of(g).items()
    }
#: Ops of which one rounding makes another result.
JUMPS = frozenset({"Greater", "Less", "GreaterOrEqual", "QuantizeLinear", "Cast"})


@pytest.mark.parametrize("format", SUFFIXES)
@exploring(25)
@given(g=graphs(ops=BLOCKS, inputs=STATIC))
def test_blocks_of_networks(g: Graph, format: Format) -> None:
    found = _outputs(g, format, "fp32")
    if found is not None:
        assert_close(outputs_of(g), found, FULL, SMALLEST)


@pytest.mark.parametrize("format", SUFFIXES)
@exploring(25)
@given(g=graphs(inputs=STATIC))
def test_anything(g: Graph, format: Format) -> None:
    found = _outputs(g, format, "fp32")
    if found is not None:
        assert_close(outputs_of(g), found, FULL, SMALLEST)




@exploring(25)
@given(graphs(ops=BLOCKS, max_ops=4, inputs=STATIC))
def test_half_precision_keeps_the_magnitude(g: Graph) -> None:
    """No infinity, no NaN and no gross error where full precision has none."""
    want = outputs_of(g)
    found = _outputs(g, "mlprogram", "fp16")
    if found is None or any(a.dtype.kind != "f" or np.abs(a).max(initial=0) > 1e3 for a in want.values()):
        return
    if any(op.type in JUMPS for _, op in g.ops()):
        return
    assert_close(want, found, HALF, SMALLEST)


def test_hardly_any_drawn_graph_is_refused() -> None:
    """The properties above are not empty."""
    converted: list[bool] = []

    @exploring(20)
    @given(graphs(ops=BLOCKS, inputs=STATIC))
    def count(g: Graph) -> None:
        converted.append(_outputs(g, "mlprogram", "fp32") is not None)

    count()
    assert sum(converted) >= len(converted) - 2
