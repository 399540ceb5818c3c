"""What ``check`` says of a group of public rules: each finding in the name of its rule."""

from coregraft.passes.pipelines import default_names
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

MODEL = """
input x: float[1,2,4,4]
const w: float[3,2,1,1] = normal(seed=1)
const s: float[2] = uniform(seed=2)
a = Pad(x, [0,0,1,1,0,0,1,1])
b = Conv(a, w) @padded
c = Relu(b)
d = Mul(x, 0.5)
e = Conv(d, w) @scaled
f = Relu(e)
g = BatchNormalization(x, s, s, s, s)
h = Conv(g, w) @normalised
i = Relu(h)
output c
output f
output i
"""


def test_findings_carry_the_names_of_the_rules() -> None:
    found = PassManager("fuse-conv-input").check(parse(MODEL))
    assert {(f.code, f.pass_name, f.node) for f in found} == {
        ("CG105", "fuse-pad-conv", 'Conv "padded"'),
        ("CG211", "fold-input-scale", 'Conv "scaled"'),
        ("CG208", "push-batch-norm", 'Conv "normalised"'),
    }


def test_rules_without_a_code_find_nothing() -> None:
    head = "input x: float[1,2,4,4]\nconst w: float[3,2,1,1] = normal(seed=1)\n"
    foldable = f"{head}c = Conv(x, w)\ny = Mul(c, 2.0)\noutput y"
    assert PassManager("fuse-conv-output").run(parse(foldable)).changed
    assert PassManager("fuse-conv-output").check(parse(foldable)) == []


def test_the_rules_of_a_group_count_as_run_by_default() -> None:
    assert {"fuse-conv-input", "fuse-pad-conv", "fuse-conv-output", "fuse-batch-norm"} <= set(default_names())
