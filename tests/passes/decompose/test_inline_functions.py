"""Function bodies in the place of calls: the model's own, and those of ONNX, against onnxruntime."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import defs, parser

from coregraft.passes.decompose.inline_functions import InlineFunctions
from coregraft.rewriter.contract import Context
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.target import Target, frozen_ops
from coregraft.rewriter.types import Const

PASS = InlineFunctions()


def data(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def inlined(g: Graph, target: Target | None = None, options: InlineFunctions = PASS) -> tuple[Graph, Context]:
    after: Graph = g.copy()
    ctx = Context(target=target or Target.any(), checked=True, pass_name=options.name)
    options.run(after, ctx)
    return after, ctx


def lacking(*missing: str) -> Target:
    """A target that has every op of ONNX but these."""
    ops = {("", s.name): frozenset(s.attributes) for s in defs.get_all_schemas() if s.domain == ""}
    return Target("iOS17", "mlprogram", ops=frozen_ops({k: v for k, v in ops.items() if k[1] not in missing}))


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Attention", [data(1, 2, 3, 4), data(1, 2, 5, 4, seed=1), data(1, 2, 5, 4, seed=2)], {"is_causal": 1}),
    ("Attention", [data(2, 3, 8), data(2, 5, 8, seed=1), data(2, 5, 8, seed=2)], {"q_num_heads": 2, "kv_num_heads": 2}),
    ("RotaryEmbedding", [data(1, 2, 3, 8), data(1, 3, 4, seed=1), data(1, 3, 4, seed=2)], {}),
    ("RotaryEmbedding", [data(1, 2, 3, 8), data(1, 3, 4, seed=1), data(1, 3, 4, seed=2)], {"interleaved": 1}),
    ("RMSNormalization", [data(2, 3, 4), data(4, seed=1)], {"epsilon": 1e-3}),
    ("LayerNormalization", [data(2, 3, 4), data(3, 4, seed=1), data(3, 4, seed=2)], {"axis": 1}),
    ("GroupNormalization", [data(2, 4, 3, 3), data(4, seed=1), data(4, seed=2)], {"num_groups": 2}),
    ("Mish", [data(3, 4)], {}),
    ("CenterCropPad", [data(5, 6), Const.of(np.array([3, 9], np.int64))], {}),
    ("CenterCropPad", [data(5, 6), Const.of(np.array([4], np.int64))], {"axes": [1]}),
    ("AffineGrid", [data(2, 2, 3), Const.of(np.array([2, 3, 4, 5], np.int64))], {"align_corners": 1}),
    ("CastLike", [data(2, 3), Const.of(np.zeros(1, np.int64))], {}),
    ("Clip", [data(3, 4), Const.of(np.float32(-0.3)), Const.of(np.float32(0.2))], {}),
    ("Clip", [data(3, 4), None, Const.of(np.float32(0.2))], {}),
    ("Shrink", [data(3, 4)], {"lambd": 0.3, "bias": 0.1}),
    ("MeanVarianceNormalization", [data(2, 3, 4, 4)], {}),
    ("HammingWindow", [Const.of(np.int64(8))], {"periodic": 0}),
    ("ReduceLogSum", [np.abs(data(2, 3, 4)), Const.of(np.array([1], np.int64))], {"keepdims": 0}),
    ("ReduceSumSquare", [data(2, 3, 4)], {}),
    ("Softsign", [data(3, 4)], {}),
    ("ThresholdedRelu", [data(3, 4)], {"alpha": 0.4}),
    ("Celu", [data(3, 4)], {"alpha": 0.7}),
    ("HardSwish", [data(3, 4)], {}),
    ("Swish", [data(3, 4)], {"alpha": 1.5}),
    ("Gelu", [data(3, 4)], {"approximate": "tanh"}),
    ("GreaterOrEqual", [data(3, 4), data(3, 1, seed=1)], {}),
    ("DynamicQuantizeLinear", [data(3, 4)], {}),
    ("ReduceL1", [data(2, 3, 4)], {"keepdims": 0}),
    ("Selu", [data(3, 4)], {}),
]


@pytest.mark.parametrize(("op_type", "operands", "attrs"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_ops_that_the_target_lacks(harness: Any, op_type: str, operands: list[Any], attrs: dict[str, Any]) -> None:
    outputs = 3 if op_type == "DynamicQuantizeLinear" else 1
    g, feeds = harness.graph(op_type, operands, outputs=outputs, **attrs)
    after, ctx = inlined(g, lacking(op_type))
    assert ctx.counts[op_type] == 1
    assert op_type not in {op.type for _, op in after.ops()}
    again, second = inlined(after, lacking(op_type))
    assert not second.rewriter(again).changed
    for want, got in zip(harness.run(g, feeds), harness.run(after, feeds), strict=True):
        assert want.dtype == got.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_what_a_target_has_stays(harness: Any) -> None:
    g, _ = harness.graph("Softsign", [data(3)])
    assert not inlined(g)[1].rewriter(g).changed
    after, ctx = inlined(g, lacking("Softsign"), InlineFunctions(missing_ops=False))
    assert not ctx.rewriter(after).changed


def test_an_op_without_a_body_stays(harness: Any) -> None:
    g, _ = harness.graph("Tanh", [data(3)])
    after, ctx = inlined(g, lacking("Tanh"))
    assert not ctx.rewriter(after).changed


def test_bodies_in_bodies(harness: Any) -> None:
    """ThresholdedRelu is defined by CastLike, among others."""
    g, feeds = harness.graph("ThresholdedRelu", [data(3, 4)])
    after, _ = inlined(g, lacking("ThresholdedRelu", "CastLike", "Less", "LessOrEqual"))
    types = {op.type for _, op in after.ops()}
    assert not types & {"ThresholdedRelu", "CastLike"}
    np.testing.assert_array_equal(harness.run(after, feeds)[0], harness.run(g, feeds)[0])


# -------------------------------------------------------------------- the model's own functions


def model(text: str) -> Graph:
    proto = parser.parse_model(text)
    for i, node in enumerate(proto.graph.node):
        node.name = f"call{i}"
    onnx.checker.check_model(proto, skip_opset_compatibility_check=True)
    g = load(proto)
    infer_shapes(g)
    return g


HEAD = '<ir_version: 10, opset_import: ["" : 24, "own" : 1]>'

NESTED = f"""{HEAD}
main (float[2,3] x) => (float[2,3] y, float[2,3] z) {{
    y = own.outer <scale = 3.0> (x)
    z = own.outer (y)
}}
<domain: "own", opset_import: ["" : 24, "own" : 1]>
outer <scale: float = 0.5> (a) => (b) {{
    t = own.inner <factor: float = @scale> (a)
    u = own.inner <factor = 2.0> (t)
    b = Elu <alpha: float = @scale> (u)
}}
<domain: "own", opset_import: ["" : 24]>
inner <factor> (a) => (b) {{
    f = Constant <value_float: float = @factor> ()
    t = Mul (a, f)
    b = Identity (t)
}}
"""

BRANCHES = f"""{HEAD}
main (float[2,3] x, bool c) => (float[2,3] y) {{
    y = If (c) <
        then_branch = then () => (float[2,3] t) {{ t = own.pick <by = 1.5> (x, c) }},
        else_branch = other () => (float[2,3] e) {{ e = Neg (x) }}
    >
}}
<domain: "own", opset_import: ["" : 24]>
pick <by> (a, c) => (b) {{
    b = If (c) <
        then_branch = yes () => (p) {{
            k = Constant <value_float: float = @by> ()
            p = Mul (a, k)
        }},
        else_branch = no () => (n) {{ n = Abs (a) }}
    >
}}
"""

OPTIONAL = f"""{HEAD}
main (float[2,3] x) => (float[2,3] y, float[2,3] same) {{
    y = own.bounded (x)
    same, unused = own.both (x)
}}
<domain: "own", opset_import: ["" : 24]>
bounded (a, low, high) => (b) {{ b = Clip (a, low, high) }}
<domain: "own", opset_import: ["" : 24]>
both (a) => (p, q) {{
    p = Identity (a)
    q = Neg (a)
}}
"""

OLD = """<ir_version: 10, opset_import: ["" : 24, "own" : 1]>
main (float[2,3,4] x) => (float[2,3,4] y) { y = own.old (x) }
<domain: "own", opset_import: ["" : 12]>
old (a) => (b) { b = Softmax <axis = 1> (a) }
"""


@pytest.mark.parametrize("text", [NESTED, BRANCHES, OPTIONAL], ids=["nested", "branches", "optional"])
def test_functions_of_the_model(harness: Any, text: str) -> None:
    g = model(text)
    feeds = {"x": data(2, 3), "c": np.array(True)}
    after, _ = inlined(g)
    assert after.functions == {}
    assert "own" not in after.opsets
    assert all(op.domain == "" for op in ops_of(after))
    names = [op.name for op in ops_of(after)]
    assert len(names) == len(set(names))
    assert list(after.outputs) == list(g.outputs)
    for want, got in zip(harness.run(g, feeds), harness.run(after, feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    again, second = inlined(after)
    assert not second.rewriter(again).changed


def test_a_function_of_another_opset_is_upgraded(harness: Any) -> None:
    """Before opset 13 Softmax was over all axes from ``axis`` on."""
    after, _ = inlined(model(OLD))
    x = data(2, 3, 4)
    exponentials = np.exp(x.astype(np.float64)).reshape(2, 12)
    want = (exponentials / exponentials.sum(axis=1, keepdims=True)).reshape(2, 3, 4)
    np.testing.assert_allclose(harness.run(after, {"x": x})[0], want, rtol=1e-5)


def ops_of(g: Graph) -> Sequence[Any]:
    return [op for _, op in g.ops()] + [o for _, op in g.ops() for _, body in op.bodies() for o in ops_of(body)]


def test_local_functions_can_be_kept() -> None:
    after, ctx = inlined(model(NESTED), options=InlineFunctions(local=False))
    assert not ctx.rewriter(after).changed


def test_functions_that_call_themselves_are_refused() -> None:
    g = model(f"""{HEAD}
        main (float[2] x) => (float[2] y) {{ y = own.f (x) }}
        <domain: "own", opset_import: ["" : 24]>
        f (a) => (b) {{ b = Neg (a) }}
    """)
    body: Graph = g.functions["own", "f", ""].copy()
    (op_id,) = (i for i, _ in body.ops())
    body.set_op(op_id, dataclasses.replace(body.op(op_id), type="f", domain="own"))
    g.graph["functions"] = {("own", "f", ""): body}
    with pytest.raises(CoregraftError) as caught:
        inlined(g)
    assert caught.value.code == "function-recursive"


def test_functions_that_explode_are_refused() -> None:
    levels = "\n".join(
        f'<domain: "own", opset_import: ["" : 24, "own" : 1]>'
        f" f{i} (a) => (b) {{ t = own.f{i + 1} (a) b = own.f{i + 1} (t) }}"
        for i in range(50)
    )
    last = '<domain: "own", opset_import: ["" : 24]> f50 (a) => (b) { b = Neg (a) }'
    g = model(f"{HEAD} main (float[2] x) => (float[2] y) {{ y = own.f0 (x) }} {levels} {last}")
    with pytest.raises(CoregraftError) as caught:
        inlined(g)  # at once: the ops are counted, not made
    assert caught.value.code == "function-too-large"


def test_functions_are_refused_by_the_ops_that_they_unfold_into() -> None:
    text = f"""{HEAD}
        main (float[2] x) => (float[2] y) {{ t = own.f (x) y = own.f (t) }}
        <domain: "own", opset_import: ["" : 24, "own" : 1]>
        f (a) => (b) {{ t = own.g (a) b = Neg (t) }}
        <domain: "own", opset_import: ["" : 24]>
        g (a) => (b) {{ t = Abs (a) b = Neg (t) }}
    """
    g, _ = inlined(model(text), options=InlineFunctions(max_ops=8))
    assert len(list(g.ops())) == 6
    with pytest.raises(CoregraftError) as caught:
        inlined(model(text), options=InlineFunctions(max_ops=5))
    assert caught.value.code == "function-too-large"


def test_too_many_operands_are_refused() -> None:
    g = model(NESTED)
    (first,) = (i for i, op in g.ops() if op.name == "call0")
    g.set_op(first, dataclasses.replace(g.op(first), inputs=("x", "x")))
    with pytest.raises(CoregraftError) as caught:
        inlined(g)
    assert caught.value.code == "function-arity"


def test_check_names_calls(harness: Any) -> None:
    assert [f.node for f in PASS.check(model(NESTED), Context())] == ['own.outer "call0"', 'own.outer "call1"']
    g, _ = harness.graph("Softsign", [data(3)])
    (finding,) = PASS.check(g, Context(target=lacking("Softsign")))
    assert "no lowering for iOS17" in finding.message
