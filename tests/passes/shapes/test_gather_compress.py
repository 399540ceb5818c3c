"""gather-compress: conditions at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coregraft.rewriter.onnx_io.text import parse

from .conftest import FLOATS, X, declined, rewritten


@pytest.mark.parametrize(("attrs", "shape"), [(", axis=1", "2,2,4"), (", axis=-2", "2,2,4"), ("", "16")])
def test_places(attrs: str, shape: str) -> None:
    text = X + f"input c: bool[{3 if attrs else 24}]\ny: float[{shape}] = Compress(x, c{attrs})\noutput y\n"
    rows = ([True, False, True], [False, True, True], [True, True, False])
    feeds = [{"x": FLOATS, "c": np.array(c if attrs else c * 8)} for c in rows]
    assert "Compress" not in rewritten("gather-compress", text, *feeds)


@pytest.mark.parametrize(("attrs", "shape"), [(", axis=1", "2,?,4"), ("", "?")])
def test_as_many_as_there_are(attrs: str, shape: str) -> None:
    text = X + f"input c: bool[{3 if attrs else 24}]\ny: float[{shape}] = Compress(x, c{attrs})\noutput y\n"
    rows = ([True, False, True], [False, True, False])
    feeds = [{"x": FLOATS, "c": np.array(c if attrs else c * 8)} for c in rows]
    assert rewritten("gather-compress", text, *feeds)[-3:] == ["NonZero", "Squeeze", "Gather"]


@pytest.mark.parametrize(("kind", "suffix"), [("mlprogram", ".mlpackage"), ("neuralnetwork", ".mlmodel")])
def test_converted_without_a_size(kind: str, suffix: str, tmp_path: Path) -> None:
    import coregraft
    from coregraft.lowering.lift import lift
    from coregraft.rewriter.execute import run

    text = X + "input c: bool[3]\ny: float[2,?,4] = Compress(x, c, axis=1)\noutput y\n"
    done = coregraft.convert(parse(text), format=kind, precision="fp32", fallback="error")
    (warning,) = done.report.warnings
    assert done.report.outputs[0].shape is None and 'size of "y/NonZero" depends on the data' in warning
    done.save(tmp_path / f"m{suffix}")
    lifted = lift(tmp_path / f"m{suffix}")
    feeds = {"x": FLOATS, "c": np.array([True, False, True])}
    given = {f.feature: feeds[f.name].astype(f.dtype.numpy) for f in done.report.inputs}
    found = run(lifted, given)[lifted.outputs[done.report.outputs[0].feature]]
    np.testing.assert_array_equal(found, FLOATS[:, [0, 2]])


def test_a_condition_of_unknown_length() -> None:
    """Of what a condition selects from, another may select again."""
    text = (
        X + "input c: bool[3]\ninput d: bool[3]\na = Compress(x, c, axis=1)\nb = Compress(d, c)\n"
        "y = Compress(a, b, axis=1)\noutput y\n"
    )
    rows = ([True, False, True], [False, True, False])
    feeds = [{"x": FLOATS, "c": np.array(c), "d": np.array([True, True, False])} for c in rows]
    assert "Compress" not in rewritten("gather-compress", text, *feeds)


@pytest.mark.parametrize("line", [
    "y = Compress(x, k, axis=1)",
    "y: float[2] = Compress(x, u)",
    "y: float[2] = Compress(x, l)",
])  # fmt: skip
def test_constants_and_long_conditions_are_left_alone(line: str) -> None:
    text = X + "input u: bool[n]\ninput l: bool[4097]\nconst k: bool[3] = [true, false, true]\n"
    assert declined("gather-compress", text + line + "\noutput y\n")
