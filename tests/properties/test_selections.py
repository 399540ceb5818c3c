"""Networks whose sizes depend on the data: one package agrees with onnxruntime whatever is selected."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from coregraft.lowering import targets
from coregraft.lowering.convert import convert
from coregraft.lowering.lift import lift
from coregraft.passes.pipelines import convert_pipeline
from coregraft.rewriter.errors import CoregraftError, PassError
from coregraft.rewriter.execute import UnrunnableError, run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.onnx_io.text import to_text
from coregraft.rewriter.types import Array, DType
from coregraft.rewriter.verify import verify
from tests.properties import kinds_selections as kinds
from tests.properties.kinds_selections import COLUMNS, ROWS, Selecting
from tests.properties.sketch import Draw
from tests.properties.strategies import assert_close, exploring

STEPS = [step for name, step in vars(kinds).items() if getattr(step, "__module__", "") == kinds.__name__
         and callable(step) and not isinstance(step, type)]  # fmt: skip
#: Which rows a mask selects.
MASKS = ([1, 0, 1, 1, 0], [1] * ROWS, [0, 0, 0, 1, 0], [0] * ROWS)


@st.composite
def selections(draw: Draw) -> Graph:
    """Graphs that start with a selection."""
    s = Selecting(draw)
    s.input((ROWS, COLUMNS))
    s.input((ROWS,), DType.BOOL)
    kinds.select(s)
    for _ in range(s.integer(1, 6)):
        s.pick(STEPS)(s)
    ends = [v for chosen in s.selections for v in chosen.values if not s.g.users(v)]
    s.g.set_outputs(list(dict.fromkeys([*ends, *s.results])))
    assume(s.g.outputs)
    verify(s.g)
    return s.g


def wanted(g: Graph) -> list[tuple[dict[str, Array], dict[str, Array], bool]]:
    """Feeds, what onnxruntime makes of them, where it does and all of it is finite, and whether a tensor is empty."""
    rng = np.random.default_rng(0)
    found = []
    for mask in MASKS:
        feeds: dict[str, Array] = {g.inputs[0]: rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)}
        feeds |= {name: np.array(mask, bool) for name in g.inputs[1:]}
        try:
            values = run(g, feeds, [v for v in g.values() if g.producer(v) is not None])
        except UnrunnableError:
            continue
        if all(np.isfinite(values[v]).all() for v in g.outputs.values()):
            empty = any(not a.size for a in values.values())
            found.append((feeds, {v: values[v] for v in g.outputs.values()}, empty))
    return found


def _reduces(g: Graph) -> bool:
    """Whether a graph reduces: of an empty tensor, onnxruntime keeps axes that are to go."""
    return any(op.type.startswith(("Reduce", "Arg")) for _, op in g.ops())


@pytest.mark.parametrize("masked", [False, True], ids=["as it comes", "masked"])
@exploring(15)
@given(g=selections())
def test_any_selection(g: Graph, masked: bool) -> None:
    _agree(g, "mlprogram", masked)


@exploring(10)
@given(g=selections())
def test_any_selection_in_a_neuralnetwork(g: Graph) -> None:
    _agree(g, "neuralnetwork", masked=False)


def _agree(g: Graph, format: str, masked: bool) -> None:
    note(to_text(g))
    expected = wanted(g)
    assume(expected)
    passes = [p for p in convert_pipeline(targets.get("iOS17", format), "fp32") if masked or p != "mask-selections"]
    try:
        done = convert(to_model(g), format=format, precision="fp32", fallback="error", passes=passes)
    except CoregraftError as error:
        assert error.exit_code == 4 and not isinstance(error, PassError), error
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("m.mlpackage" if format == "mlprogram" else "m.mlmodel")
        done.save(path)
        lifted = lift(path)
        for feeds, want, empty in expected:
            if empty and (_reduces(g) or _reduces(lifted)):
                continue
            fed = {f.feature: feeds[f.name].astype(f.dtype.numpy).reshape(f.shape or ()) for f in done.report.inputs}
            values = run(lifted, fed)
            found = {f.name: values[lifted.outputs[f.feature]] for f in done.report.outputs}
            reshaped = {n: a.reshape(want[n].shape) if not want[n].ndim else a for n, a in found.items()}
            assert_close(want, {n: a.astype(want[n].dtype) for n, a in reshaped.items()}, 1e-3, 1.0)


def test_hardly_any_selection_is_refused() -> None:
    """The properties above are not empty."""
    refused: list[str] = []
    drawn: list[Graph] = []

    @exploring(20)
    @given(selections())
    def count(g: Graph) -> None:
        drawn.append(g)
        try:
            convert(to_model(g), precision="fp32", fallback="error")
        except CoregraftError as error:
            refused.append(str(error))

    count()
    assert len(refused) <= len(drawn) // 20, refused
