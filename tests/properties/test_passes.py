"""Every pass of the catalogue by itself, in checked mode, on graphs that are full of the ops it looks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given

from coregraft.lowering import targets
from coregraft.passes.catalogue import PASSES
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from tests.properties.strategies import INPUTS, exploring, graphs

#: Pass -> kinds of steps it should meet often. The passes not listed look for ops that have attribute sweeps of their
#: own (quantised and classical ops, samplers, transforms): on drawn graphs they must do no harm.
BIAS: dict[str, tuple[str, ...]] = {
    "assign-precision": ("conv", "layer_norm", "softmax", "reduce", "cast", "linear"),
    "bound-mask-constants": ("attention_mask",),
    "canonical-conv-transpose": ("conv_transpose",),
    "cleanup": ("neutral", "transpose", "reshape", "reshape_by_shape", "repeat", "fold", "branch", "slice", "squeeze"),
    "conv-transpose-to-depth-to-space": ("conv_transpose",),
    "decompose-average-pool": ("pool",),
    "decompose-einsum": ("einsum",),
    "decompose-resize": ("resize",),
    "eliminate-common-subexpressions": ("repeat", "unary", "binary"),
    "eliminate-dead-code": ("split", "recurrent", "branch"),
    "eliminate-identities": ("neutral", "slice", "pad", "expand", "concat", "reshape"),
    "explicit-reciprocal": ("binary", "positive", "layer_norm"),
    "fold-constants": ("fold", "linear", "reshape_by_shape"),
    "fold-if": ("branch",),
    "fold-input-scale": ("scale", "conv"),
    "fold-shape-arithmetic": ("reshape_by_shape",),
    "form-linear": ("linear", "matmul", "gemm"),
    "fuse-batch-norm": ("conv", "batch_norm", "conv_transpose"),
    "fuse-conv-bias": ("conv", "scale", "conv_transpose", "scale"),
    "fuse-conv-input": ("pad", "scale", "batch_norm", "conv"),
    "fuse-conv-output": ("conv", "scale", "batch_norm"),
    "fuse-conv-scale": ("conv", "scale", "conv_transpose", "scale"),
    "fuse-gelu": ("gelu",),
    "fuse-hard-swish": ("swish",),
    "fuse-layer-norm": ("layer_norm",),
    "fuse-log-softmax": ("softmax",),
    "fuse-matmul-batch-norm": ("gemm", "batch_norm", "matmul", "linear"),
    "fuse-mean": ("reduce", "scale"),
    "fuse-pad-conv": ("padded_conv", "pad", "conv"),
    "fuse-reshapes": ("reshape", "squeeze", "reshape_by_shape"),
    "fuse-rms-norm": ("rms_norm",),
    "fuse-softmax": ("softmax",),
    "fuse-swish": ("swish",),
    "fuse-transposes": ("transpose", "unary", "transpose", "binary", "reduce", "neutral", "split", "concat", "softmax"),
    "lift-conv3d": ("conv",),
    "order-residual": ("conv_residual", "residual", "conv"),
    "private-conv-bias": ("conv",),
    "push-batch-norm": ("batch_norm", "residual", "conv_residual", "unary"),
    "reciprocal-of-conv": ("conv", "positive"),
    "replace-dilated-conv": ("conv",),
    "resolve-auto-pad": ("conv",),
    "root-of-square": ("positive", "reduce"),
    "select-if": ("branch",),
    "split-grouped-dilated": ("conv",),
    "stabilize-log-softmax": ("softmax",),
    "stabilize-mish": ("unary",),
    "stabilize-softplus": ("unary",),
    "unroll-gru": ("recurrent",),
    "unroll-lstm": ("recurrent",),
    "unroll-rnn": ("recurrent",),
}
#: Passes that must have rewritten something in the graphs drawn for them, or the bias is none.
MUST_FIRE = (
    "assign-precision", "bound-mask-constants", "cleanup", "decompose-einsum", "eliminate-common-subexpressions",
    "eliminate-identities", "fold-constants", "fold-if", "form-linear", "fuse-batch-norm", "fuse-conv-bias",
    "fuse-conv-input", "fuse-conv-output", "fuse-conv-scale", "fuse-gelu", "fuse-hard-swish", "fuse-layer-norm",
    "fuse-matmul-batch-norm", "fuse-pad-conv", "fuse-reshapes", "fuse-rms-norm", "fuse-swish", "fuse-transposes",
    "order-residual", "resolve-auto-pad", "select-if", "unroll-gru",
)  # fmt: skip
IMAGES = [shape for shape in INPUTS if len(shape) in (3, 4)]
#: Kind of step -> the shapes that it needs.
SHAPES: dict[str, Sequence[tuple[int | str, ...]]] = {
    "recurrent": [(1, 3, 4), (3, 2, 4)], "gemm": [(3, 6), ("N", 4)], "conv": IMAGES, "conv_transpose": IMAGES,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PASSES))
def test_pass_keeps_its_promise(name: str) -> None:
    """Structure, facts and numbers by the declared equivalence, on every drawn graph."""
    fired: Counter[str] = Counter()
    steps = BIAS.get(name, ())
    inputs = next((shapes for kind, shapes in SHAPES.items() if kind in steps), INPUTS)

    @exploring(12 if name in BIAS else 3)
    @given(graphs(ops=BIAS.get(name), max_ops=5, inputs=inputs))
    def check(g: Graph) -> None:
        result = PassManager(name, target=targets.get("iOS17", "mlprogram"), checked=True).run(g)
        assert not [n for r in result.reports for n in r.notes if n.startswith("numbers not checked")]
        fired[name] += sum(r.changed for r in result.reports if not r.automatic)

    check()
    assert fired[name] or name not in MUST_FIRE, "the pass met nothing that it rewrites"
