"""gather-pad: every mode, with pads and axes at run time."""

from __future__ import annotations

import numpy as np
import pytest

from .conftest import FLOATS, X, declined, rewritten, vector


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize(("pads", "shape"), [((0, 1, 2, 0, 0, 1), "2,4,7"), ((0, -1, 1, 0, 0, 2), "2,2,7")])
def test_modes(mode: str, pads: tuple[int, ...], shape: str) -> None:
    text = X + f'input p: int64[6]\ny: float[{shape}] = Pad(x, p, mode="{mode}")\noutput y\n'
    rewritten("gather-pad", text, {"x": FLOATS, "p": vector(*pads)})


@pytest.mark.parametrize("axes", [(2, 1), (-1, -2)])
def test_axes_and_a_fill_value(axes: tuple[int, int]) -> None:
    text = X + "input p: int64[4]\ninput v: float[]\ninput a: int64[2]\ny: float[2,6,5] = Pad(x, p, v, a)\noutput y\n"
    rewritten("gather-pad", text,
              {"x": FLOATS, "p": vector(1, 0, 0, 3), "v": np.array(1.5, np.float32), "a": vector(*axes)})  # fmt: skip


def test_constant_axes_leave_the_others_alone() -> None:
    text = X + "input p: int64[2]\nconst a: int64[1] = [-1]\ny: float[2,3,6] = Pad(x, p, _, a)\noutput y\n"
    feeds = [{"x": FLOATS, "p": vector(*pads)} for pads in ((1, 1), (2, 0), (-1, 3))]
    assert rewritten("gather-pad", text, *feeds).count("Gather") == 1


@pytest.mark.parametrize("line", ["y: float[2,?,4] = Pad(x, p)", "y = Pad(x, c)"])
def test_unknown_shapes_and_constants_are_left_alone(line: str) -> None:
    text = X + "input p: int64[6]\nconst c: int64[6] = [0, 0, 1, 0, 0, 1]\n" + line + "\noutput y\n"
    assert declined("gather-pad", text)
