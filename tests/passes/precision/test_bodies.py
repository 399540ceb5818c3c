"""assign-precision around bodies: what a body reads keeps the type that the body was written for."""

from __future__ import annotations

import onnx
from onnx import parser

from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.load import from_model
from coregraft.rewriter.types import DType


def test_a_result_that_a_body_reads_stays_fp32() -> None:
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 24]>
        g (float[2] x, bool p) => (float[2] y)
        {
            a = Relu (x)
            b = Relu (a)
            c = If (p) <
                then_branch = t () => (float[2] t0) { t0 = Sigmoid (b) },
                else_branch = e () => (float[2] e0) { e0 = Identity (b) }
            >
            y = Neg (c)
        }
    """)
    assert isinstance(model, onnx.ModelProto)
    g = PassManager(["infer-shapes", "assign-precision"]).run(from_model(model)).graph
    kinds = {name: kind.dtype for name in ("a", "b", "c") if (kind := g.tensor_type(name)) is not None}
    assert kinds == {"a": DType.FLOAT16, "b": DType.FLOAT, "c": DType.FLOAT}
