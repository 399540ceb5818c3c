"""Whole conversions of models whose sizes depend on the data: one package, run on data that give it several sizes.

The saved package is lifted and run by onnxruntime. Every size that it declares of a value is the one that the value
has, and sizes to which coremltools gives one name are equal: an inference that guesses shows even where no number does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coregraft
from coregraft.lowering import targets
from coregraft.lowering.lift import lift
from coregraft.passes.pipelines import Precision, convert_pipeline
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array, DType

_LEAD, _CASE, _SOME = "-- ", "== ", " (some)"


def _read() -> tuple[dict[str, str], frozenset[str]]:
    """The models of ``run_time_sizes.txt`` by name, and which of them are not asked of nothing."""
    text = (Path(__file__).parent / "run_time_sizes.txt").read_text()
    leads: dict[str, str] = {}
    cases: dict[str, str] = {}
    for part in text.split("\n\n")[1:]:
        head, _, body = part.strip().partition("\n")
        if head.startswith(_LEAD):
            leads[head.removeprefix(_LEAD)] = body + "\n"
            continue
        first, _, rest = body.partition("\n")
        if first.startswith("with "):
            body = "".join(leads[name] for name in first.removeprefix("with ").split(", ")) + rest
        cases[head.removeprefix(_CASE)] = body
    some = frozenset(name.removesuffix(_SOME) for name in cases if name.endswith(_SOME))
    return {name.removesuffix(_SOME): body for name, body in cases.items()}, some


CASES, NOT_OF_NOTHING = _read()
MORE = """
input x: float[6,4]
input k: bool[6]
c = Compress(x, k, axis=0)
s = Shape(c)
n = Slice(s, [0], [1], [0])
d = Squeeze(n)
f = Cast(d, to=1)
const w: float[1,9,4] = zeros
const v: float[1,9,3] = zeros
const l: int32[1] = 3
"""


@pytest.mark.parametrize("name", CASES)
def test_any_number(name: str, tmp_path: Path) -> None:
    right(CASES[name], tmp_path, nothing=name not in NOT_OF_NOTHING)


@pytest.mark.parametrize(("target", "precision"), [("iOS15", "fp32"), ("iOS18", "fp32"), ("iOS17", "fp16")])
@pytest.mark.parametrize("name", ["slices to a count", "as a shape", "reshape", "tile", "ranges", "images"])
def test_other_targets_and_half_precision(name: str, target: str, precision: Precision, tmp_path: Path) -> None:
    close, nothing = 1e-5 if precision == "fp32" else 0.02, name not in NOT_OF_NOTHING
    right(CASES[name], tmp_path, nothing=nothing, target=target, precision=precision, tolerance=close)


@pytest.mark.parametrize("name", [
    "products", "concat", "count along", "slices to a count", "slices of a selection", "steps", "slices of one",
    "where", "as a shape", "tile", "reshape", "two unknown sizes", "places along an axis", "pad", "norms",
])  # fmt: skip
def test_a_neuralnetwork(name: str, tmp_path: Path) -> None:
    right(CASES[name], tmp_path, nothing=name not in NOT_OF_NOTHING, format="neuralnetwork", tolerance=1e-3)


@pytest.mark.parametrize(("lines", "what"), [
    ("y = Range(0.5, f, 0.7)\noutput y", "rounded"),
    ("y = Range(0, d, d)\noutput y", "its step is computed at run time"),
    ("y, z = Split(c, num_outputs=2, axis=0)\noutput y\noutput z", "shape"),
    ("y = Squeeze(c)\ns2 = Shape(y)\noutput s2", "shape"),
    ("y = EyeLike(c)\noutput y", "shape"),
    ("y = Pad(c, [2,0,0,0], mode=\"reflect\")\noutput y", "shape"),
    ("y = Pad(c, [-1,0,0,0])\noutput y", "shape"),
    ("a = Unsqueeze(c, [0])\ny = Attention(a, a, a, is_causal=1, q_num_heads=2, kv_num_heads=2)\noutput y", "position"),
    ("y = Slice(x, [0], n, [0], n)\noutput y", "steps must be known"),
    ("y = Slice(c, [-1], [9223372036854775807], [0], [-1])\noutput y", "backwards"),
    ("y = Slice(x, [0], n, [1], [0])\noutput y", "step is 0"),
    ("y = Gather(n, [[0]], axis=1)\noutput y", "axis 1 does not exist"),
    ("y, z = Split(c, [1,2], axis=1)\noutput y\noutput z", "make up the 4"),
    ("y = Expand(c, [0,4])\noutput y", "empty"),
    ("i = Unsqueeze(c, [1])\ny, h = GRU(i, w, v, _, l, hidden_size=3)\noutput y", "lengths"),
])  # fmt: skip
def test_what_needs_the_number_is_refused_by_name(lines: str, what: str) -> None:
    with pytest.raises(UnsupportedError, match=what):
        converted(parse(MORE + lines))


def test_the_report_names_where_the_data_come_in() -> None:
    done = converted(parse(MORE + "a = Relu(c)\ny = Neg(a)\noutput y"))
    (warning,) = done.report.warnings
    assert warning.startswith('the size of "c/NonZero" depends on the data: ')
    assert not converted(parse("input x: float[2]\ny = Neg(x)\noutput y")).report.warnings


def converted(g: Graph, target: str = "iOS17", precision: Precision = "fp32", format: str = "mlprogram") -> Any:
    """A conversion in which the emitters see every size that depends on the data: no pass masks it away."""
    passes = [p for p in convert_pipeline(targets.get(target, format), precision) if p != "mask-selections"]
    return coregraft.convert(g, target=target, precision=precision, format=format, passes=passes, fallback="error")


def right(
    source: str, folder: Path, *, nothing: bool = True, target: str = "iOS17", precision: Precision = "fp32",
    format: str = "mlprogram", tolerance: float = 1e-5,
) -> None:  # fmt: skip
    g = parse(source)
    done = converted(parse(source), target, precision, format)
    path = folder / ("m.mlpackage" if format == "mlprogram" else "m.mlmodel")
    done.save(path)
    lifted = lift(path)
    for feeds in draws(g, nothing):
        want = run(g, feeds)
        fed = {f.feature: feeds[f.name].astype(f.dtype.numpy).reshape(f.shape) for f in done.report.inputs}
        values = run(lifted, fed, [v for v in lifted.values() if lifted.producer(v) is not None])
        for f in done.report.outputs:
            expected, found = want[f.name], values[lifted.outputs[f.feature]]
            assert found.shape == (expected.shape or (1,)), f.name
            np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=tolerance, atol=tolerance)
        if format == "mlprogram":
            assert_as_declared(done.program, lifted, values)


def draws(g: Graph, nothing: bool) -> list[dict[str, Array]]:
    """Data that select some, all, one and, if asked for, nothing."""
    rng = np.random.default_rng(0)
    picks: list[Any] = [lambda i: i % 3 != 1, lambda i: i >= 0, lambda i: i == i.max()]
    found = []
    for pick in [*picks, lambda i: i < 0] if nothing else picks:
        feeds = {}
        for name in g.inputs:
            kind = g.tensor_type(name)
            assert kind is not None and kind.static_shape is not None
            size = int(np.prod(kind.static_shape))
            flat = pick(np.arange(size)) if kind.dtype is DType.BOOL else rng.standard_normal(size) * 3
            feeds[name] = flat.reshape(kind.static_shape).astype(kind.dtype.numpy)
        if "p" in feeds:
            feeds["p"][:] = True
        found.append(feeds)
    return found


def assert_as_declared(program: Any, lifted: Graph, values: dict[str, Array]) -> None:
    sizes: dict[Any, int] = {}
    (function,) = program.functions.values()
    for var in (var for op in function.operations for var in op.outputs if var.name in values):
        shape, kind = values[var.name].shape, lifted.tensor_type(var.name)
        assert kind is not None and kind.shape is not None and len(shape) == len(kind.shape) == len(var.shape)
        for size, declared, symbol in zip(shape, kind.shape, var.shape, strict=True):
            assert declared in (None, size), f"{var.name} is declared {kind} and has the shape {shape}"
            if declared is None:
                assert sizes.setdefault(symbol, size) == size, f"{var.name}: {symbol} is not one size"
