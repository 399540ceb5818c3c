"""What ``check`` says of constants that half precision cannot hold: also of those that no neighbour can take."""

import pytest

from coregraft.passes.precision.merge_tiny_scales import MergeTinyScales
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.passes import Context


@pytest.mark.parametrize(
    ("const", "found"),
    [
        ("const c: float[] = 1e-9", ["constant c is below the half-precision range"]),
        ("const c: float[64] = full(1e-9)", ["constant c is below the half-precision range"]),
        ("const c: float[65] = full(1e-9)", []),  # weights: to lose the smallest of them is rounding
        ("const c: float[] = 0.0001", []),
        ("const c: float[] = 1e9", []),
        ("const c: double[] = 1e-9", []),
    ],
)
def test_findings(const: str, found: list[str]) -> None:
    dtype = "double" if "double" in const else "float"
    g = parse(f"input x: {dtype}[1]\n{const}\ny = Add(x, c) @sum\noutput y")
    findings = MergeTinyScales().check(g, Context())
    assert [f.message for f in findings] == found
    assert all((f.code, f.node) == ("CG302", 'Add "sum"') for f in findings)
