"""gather-compress: conditions at run time."""

from __future__ import annotations

import numpy as np
import pytest

from .conftest import FLOATS, X, declined, rewritten


@pytest.mark.parametrize(("attrs", "shape"), [(", axis=1", "2,2,4"), (", axis=-2", "2,2,4"), ("", "16")])
def test_places(attrs: str, shape: str) -> None:
    text = X + f"input c: bool[{3 if attrs else 24}]\ny: float[{shape}] = Compress(x, c{attrs})\noutput y\n"
    rows = ([True, False, True], [False, True, True], [True, True, False])
    feeds = [{"x": FLOATS, "c": np.array(c if attrs else c * 8)} for c in rows]
    assert "Compress" not in rewritten("gather-compress", text, *feeds)


@pytest.mark.parametrize("line", ["y: float[?] = Compress(x, c)", "y = Compress(x, k, axis=1)"])
def test_unknown_shapes_and_constants_are_left_alone(line: str) -> None:
    text = X + "input c: bool[3]\nconst k: bool[3] = [true, false, true]\n" + line + "\noutput y\n"
    assert declined("gather-compress", text)
