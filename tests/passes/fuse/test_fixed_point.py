"""``rewrite`` once is enough: fusions that clear the way for each other, in every order."""

import pytest

from coregraft.passes.pipelines import rewrite_pipeline
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import diff, parse

HEAD = """
input x: float[1,2,4,4]
const w: float[2,2,1,1] = normal(seed=1)
const s: float[2] = uniform(seed=2)
"""
CHAINS = {
    "sub, mul": "a = Conv(x, w)\nb = Sub(a, 1.5)\ny = Mul(b, 2.0)",
    "mul, sub": "a = Conv(x, w)\nb = Mul(a, 2.0)\ny = Sub(b, 1.5)",
    "sub, batch norm": "a = Conv(x, w)\nb = Sub(1.5, a)\ny = BatchNormalization(b, s, s, s, s)",
    "batch norm, mul, batch norm": "a = BatchNormalization(x, s, s, s, s)\nb = Mul(a, 2.0)\n"
    "c = BatchNormalization(b, s, s, s, s)\ny = Conv(c, w)",
    "pad, mul": "a = Pad(x, [0,0,1,1,0,0,1,1])\nb = Mul(a, 2.0)\ny = Conv(b, w)",
    "mul, pad": "a = Mul(x, 2.0)\nb = Pad(a, [0,0,1,1,0,0,1,1])\ny = Conv(b, w)",
    "conv, reciprocal, conv": "a = Conv(x, w)\nb = Sub(a, 9.5)\nc = Div(3.0, b)\ny = Conv(c, w)",
}


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_a_second_rewrite_changes_nothing(name: str) -> None:
    once = PassManager(rewrite_pipeline(), checked=True).run(parse(f"{HEAD}{CHAINS[name]}\noutput y"))
    assert once.changed
    again = PassManager(rewrite_pipeline()).run(once.graph)
    assert not again.changed, diff(once.graph, again.graph)
