"""Loop as ``while_loop``: every way a loop begins, goes on and ends, compared with onnxruntime after save and lift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coregraft
from coregraft.lowering.program import lower_graph
from coregraft.lowering.targets import get
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import Array
from tests.lowering.packages import FORMATS, assert_agrees

X = np.array([1.0, -2.0], np.float32)
Feeds = dict[str, Array]


def loop(head: str, call: str, inputs: str, body: str, outputs: str, results: str = "output y") -> str:
    """The text of a model with one loop."""
    lines = ["opset 24", *head.split("; "), f"{call}, body={{", "  input i: int64[]", "  input c: bool[]"]
    lines += [f"  input {line}" for line in inputs.split("; ") if line]
    lines += [f"  {line}" for line in body.split("; ") if line]
    lines += [f"  output {line}" for line in outputs.split()]
    return "\n".join([*lines, "})", *results.split("; ")])


def while_loop(text: str, format: str = "mlprogram") -> Any:
    done = coregraft.convert(parse(text), precision="fp32", format=format, fallback="error")
    return next(op for op in done.program.functions["main"].operations if op.op_type == "while_loop")


def block(found: Any, index: int) -> list[str]:
    return [op.op_type for op in found.blocks[index].operations if op.op_type != "const"]


COUNTED = loop("input x: float[2]; input m: int64[]", "y = Loop(m, _, x", "s: float[2]", "t = Add(s, x)", "c t")


@pytest.mark.parametrize("format", FORMATS)
def test_only_what_changes_is_a_variable(format: str) -> None:
    text = loop(
        "input x: float[2]; input m: int64[]", "y, z = Loop(m, _, x, x", "s: float[2]; k: float[2]",
        "t = Add(s, k)", "c t k", "output y; output z",
    )  # fmt: skip
    found = while_loop(text, format)
    assert [len(found.loop_vars), block(found, 0), block(found, 1)] == [2, ["less"], ["add", "add"]]
    assert_agrees(parse(text), [{"x": X, "m": np.array(n)} for n in (0, 3)], format)


def test_a_loop_without_a_limit_does_not_count() -> None:
    text = loop(
        "input x: float[2]; const most: int64[] = 9223372036854775807; const yes: bool[] = true",
        "y = Loop(most, yes, x", "s: float[2]",
        "const h: float[] = 99.0; const d: float[] = 2.0; t = Mul(s, d); r = ReduceL1(t, keepdims=0); "
        "g = Less(r, h)", "g t",
    )  # fmt: skip
    found = while_loop(text)
    assert [len(found.loop_vars), block(found, 0)] == [2, ["identity"]]
    assert_agrees(parse(text), [{"x": X}, {"x": 200 * X}], "mlprogram")


@pytest.mark.parametrize("format", FORMATS)
def test_variables_are_unknown_at_compile_time(format: str) -> None:
    """coremltools would take a state for the constant it starts as, and one that follows it a turn later for an
    error."""
    text = loop(
        "input x: float[2]; input m: int64[]; const z: float[2] = [0.0, 0.0]", "y, u, v = Loop(m, _, z, z, z",
        "a: float[2]; b: float[2]; d: float[2]", "n = Add(b, x); e = Identity(z)", "c n a e",
        "output y; output u; output v",
    )  # fmt: skip
    assert_agrees(parse(text), [{"x": X, "m": np.array(n)} for n in range(4)], format)


def test_a_constant_of_the_body_may_have_the_name_of_one_around_it() -> None:
    text = loop(
        "input x: float[2]; input m: int64[]; const k: float[2] = [0.0, 0.0]", "y = Loop(m, _, k", "s: float[2]",
        "const k: float[2] = [1.0, 2.0]; t = Add(s, k)", "c t",
    )  # fmt: skip
    g = parse(text)
    infer_shapes(g)
    found = lower_graph(g, get("iOS17")).program.functions["main"]
    (op,) = [op for op in found.operations if op.op_type == "while_loop"]
    (add,) = [inner for inner in op.blocks[1].operations if inner.op_type == "add" and inner.x.rank]
    assert [list(op.loop_vars[1].val), list(add.y.val)] == [[0.0, 0.0], [1.0, 2.0]]


SWAP = loop(
    "input x: float[2]; input z: float[2]; input m: int64[]", "y, u, v, w = Loop(m, _, x, z, x, z",
    "a: float[2]; b: float[2]; d: float[2]; e: float[2]", "const k: float[2] = [3.0, 4.0]; o = Identity(x)",
    "c b a o k", "output y; output u; output v; output w",
)  # fmt: skip
COUNTER = loop(
    "input x: float[2]; input m: int64[1]", "y, n = Loop(m, _, x, m", "s: float[2]; k: int64[1]",
    "f = Cast(i, to=1); t = Add(s, f); j = Add(k, i)", "c t j", "output y; output n",
)  # fmt: skip
CONDITION = loop(
    "input x: float[2]; input m: int64[]; input go: bool[]; input top: float[]",
    "y, b = Loop(m, go, x, go", "s: float[2]; p: bool[]",
    "t = Sub(s, x); r = ReduceSum(t, keepdims=0); g = Less(r, top); q = Not(p)", "g t q",
    "bi = Cast(b, to=6); output y; output bi",
)  # fmt: skip
SHAPED = loop(
    "input x: float[2]; input m: int64[]; input top: float[]", "y = Loop(m, _, x", "s: float[2]",
    "t = Sub(s, x); r = ReduceSum(t, keepdims=1); g = Less(r, top)", "g t",
)  # fmt: skip
ONCE = loop(
    "input x: float[2]; input m: int64[]", "y = Loop(m, _, x", "s: float[2]",
    "const no: bool[] = false; t = Add(s, s)", "no t",
)  # fmt: skip
READS = loop(
    "input x: float[2]; input m: int64[]", "y, z = Loop(m, _, x, m", "s: float[2]; n: int64[]",
    "f = Cast(c, to=1); t = Add(s, f); k = Not(c); g = Not(k); j = Identity(i)", "g t j", "output y; output z",
)  # fmt: skip
INTEGERS = loop(
    "input u: uint8[2]; input j: int8[3]; input d: double[2]; input b: bool[2]; input m: int64[]",
    "uo, jo, do, bo = Loop(m, _, u, j, d, b", "u1: uint8[2]; j1: int8[3]; d1: double[2]; b1: bool[2]",
    "u2 = BitwiseXor(u1, u); j2 = Max(j1, j); d2 = Add(d1, d); b2 = Not(b1)", "c u2 j2 d2 b2",
    "ui = Cast(uo, to=6); ji = Cast(jo, to=6); df = Cast(do, to=1); bi = Cast(bo, to=6); "
    "output ui; output ji; output df; output bi",
)  # fmt: skip
TRIPS: list[Feeds] = [{"x": X, "m": np.array(n)} for n in (0, 1, 3)]
CASES: dict[str, tuple[str, list[Feeds]]] = {
    "states swap, and follow an outer value and a constant": (SWAP, [{**f, "z": 5 * X} for f in TRIPS]),
    "the counter is read": (COUNTER, [{"x": X, "m": np.array([n])} for n in (-1, 0, 1, 4)]),
    "the condition is computed": (
        CONDITION,
        [
            {"x": X, "m": np.array(n), "go": np.array(go), "top": np.array(top, np.float32)}
            for n in (0, 1, 5) for go in (True, False) for top in (-9, 1.5, 9)
        ],
    ),
    "a condition of shape (1,)": (SHAPED, [{**f, "top": np.array(t, np.float32)} for f in TRIPS for t in (0, 1.5)]),
    "it ends after a turn": (ONCE, TRIPS),
    "the condition and the last counter are read": (READS, TRIPS),
    "element types": (
        INTEGERS,
        [
            {
                "u": np.array([1, 200], np.uint8), "j": np.array([1, -2, 3], np.int8), "d": np.array([1, 2.5]),
                "b": np.array([True, False]), "m": np.array(n),
            }
            for n in (0, 3)
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_it_agrees(name: str, format: str) -> None:
    text, feeds = CASES[name]
    assert_agrees(parse(text), feeds, format)


GREEDY = """
opset 24
input table: float[5,4]
input h0: float[1,4]
input most: int64[]
const w: float[4,5] = [1.0,0.5,0.1,-1.0,0.3, 0.2,0.7,-0.4,1.0,0.1, -0.3,0.4,1.2,0.1,0.2, 0.5,-0.5,0.3,0.9,-1.1]
const end: int64[] = 3
const blank: int64[1,6] = [9,9,9,9,9,9]
const first: int64[1] = [0]
const none: int64[] = 0
const one: int64[] = 1
h, tokens, last, n = Loop(most, _, h0, blank, first, none, body={
  input i: int64[]
  input c: bool[]
  input h1: float[1,4]
  input t: int64[1,6]
  input token: int64[1]
  input k: int64[]
  e = Gather(table, token, axis=0)
  a = Add(h1, e)
  h2 = Tanh(a)
  scores = MatMul(h2, w)
  best = ArgMax(scores, axis=1, keepdims=0)
  const matrix: int64[2] = [1, 1]
  at = Reshape(i, matrix)
  what = Reshape(best, matrix)
  t2 = ScatterElements(t, at, what, axis=1)
  b = Squeeze(best)
  stop = Equal(b, end)
  go = Not(stop)
  k2 = Add(k, one)
  output go
  output h2
  output t2
  output best
  output k2
})
output tokens
output h
output n
"""


@pytest.mark.parametrize("format", FORMATS)
def test_greedy_decoding_stops_early(format: str) -> None:
    rng = np.random.default_rng(1)
    feeds = [
        {"table": rng.normal(size=(5, 4)).astype(np.float32), "h0": h.astype(np.float32), "most": np.array(n)}
        for n, h in zip((0, 1, 6, 6, 6), rng.normal(size=(5, 1, 4)), strict=True)
    ]
    assert_agrees(parse(GREEDY), feeds, format)


COLLECTS = loop(
    "input x: float[2]; input last: int64[]", "y, z{declared}, b = Loop({trips}, _, x", "s: float[2]",
    "const h: float[] = 0.5; t = Mul(s, h); u = Add(t, x); v = Greater(u, s); g = Less(i, last)", "{again} t u v",
    "bi = Cast(b, to=6); output y; output z; output bi",
)  # fmt: skip


def collecting(trips: str, declared: str = "", again: str = "c") -> str:
    text = COLLECTS
    for name, value in {"trips": trips, "declared": declared, "again": again}.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("text", [
    collecting("70"), collecting("70", again="g", declared=": float[66,2]"), collecting("last", ": float[65,2]"),
])  # fmt: skip
def test_what_it_collects(text: str, format: str) -> None:
    """By a constant count, by a condition with a declared length, and by a count that the declared length tells."""
    assert_agrees(parse(text), [{"x": X, "last": np.array(65)}], format)


IN_A_BRANCH = """
opset 24
input x: float[3]
input m: int64[]
input p: bool[]
y = If(p, then_branch={
  a = Loop(m, p, x, body={
    input i: int64[]
    input c: bool[]
    input s: float[3]
    t = Add(s, x)
    output c
    output t
  })
  l, v = Scan(a, wide, body={
    input r: float[3]
    input e: float[3]
    const h: float[] = 0.5
    q = Mul(r, h)
    w = Add(q, e)
    k = ReduceMax(w, keepdims=0)
    output w
    output k
  }, num_scan_inputs=1)
  const sizes: int64[2] = [70, 3]
  wide = Expand(x, sizes)
  z = ReduceSum(v, keepdims=0)
  o = Add(l, z)
  output o
}, else_branch={
  n = Neg(x)
  output n
})
output y
"""


@pytest.mark.parametrize("format", FORMATS)
def test_loops_in_a_branch(format: str) -> None:
    x = np.array([0.5, -1.0, 2.0], np.float32)
    feeds = [{"x": x, "m": np.array(m), "p": np.array(p)} for m in (0, 2) for p in (True, False)]
    assert_agrees(parse(IN_A_BRANCH), feeds, format)


@pytest.mark.parametrize(("text", "reason"), [
    (collecting("last"), 'the size of its scan output "z" is only known at run time'),
    (collecting("70", again="g"), 'the size of its scan output "z" is only known at run time'),
    (COUNTED.replace("s: float[2]", "s: float[n]").replace("Add(s, x)", "Concat(s, x, axis=0)"),
     'its state "x" starts with the shape (2,) and goes on with (4,)'),
    (COUNTED.replace("Loop(m,", "Loop(_,"), "it has no trip count, and its condition does not change"),
])  # fmt: skip
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_refused(text: str, reason: str, format: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        coregraft.convert(parse(text), precision="fp32", format=format, fallback="error")
    assert error.value.code == "op-unsupported" and reason in str(error.value)


def test_a_layer_of_ones_own_is_no_way_out() -> None:
    """What the user reads is why the loop was refused, not that no layer holds a graph."""
    with pytest.raises(UnsupportedError, match="only known at run time"):
        coregraft.convert(parse(collecting("last")), format="neuralnetwork", fallback="custom")


def test_a_network_counts_as_far_as_its_numbers_go() -> None:
    text = COUNTED.replace("Loop(m,", "Loop(100000000,")
    with pytest.raises(UnsupportedError, match="cannot count beyond 16777216"):
        coregraft.convert(parse(text), format="neuralnetwork", fallback="error")
    assert coregraft.convert(parse(text), fallback="error").report.mil_ops["while_loop"] == 1


@pytest.mark.parametrize("source", ["float", "float16"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_half_precision_stays_outside(precision: str, source: str) -> None:
    text = loop(
        "input x: {0}[2]; input m: int64[]; const h: {0}[] = 0.5; k = Mul(x, h)", "y, z = Loop(m, _, x, k",
        "s: {0}[2]; r: {0}[2]", "const q: {0}[2] = [1.0, 2.0]; p = Mul(s, h); t = Add(p, x); v = Add(t, k); "
        "w = Add(r, q)", "c v w", "u = Mul(z, h); output y; output u",
    ).replace("{0}", source)  # fmt: skip
    dtype = np.float16 if source == "float16" else np.float32
    feeds = [{"x": X.astype(dtype), "m": np.array(n)} for n in (0, 3)]
    done = assert_agrees(parse(text), feeds, "mlprogram", precision, 5e-3)
    (op,) = [op for op in done.program.functions["main"].operations if op.op_type == "while_loop"]
    kinds = {str(var.dtype) for b in op.blocks for inner in b.operations for var in inner.outputs}
    assert not [kind for kind in kinds if "fp16" in kind]


# -------------------------------------------------------------------- drawn loops

_UPDATES = {
    "float": ["{0}", "{1}", "x", "Add({0}, {1})", "Mul({0}, half)", "Sub({1}, x)", "Min({0}, x)", "Add({0}, turn)"],
    "int64": ["{0}", "{1}", "k", "Add({0}, k)", "Sub({1}, k)", "Max({0}, i{d})", "Mul(i{d}, k)"],
}


@st.composite
def bodies(draw: st.DrawFn, depth: int) -> str:
    """The lines of a body with two float and two integer states, and its outputs."""
    d = str(depth)
    lines = [f"input i{d}: int64[]", f"input c{d}: bool[]"]
    lines += [f"input f{n}{d}: float[2]" for n in "ab"] + [f"input n{n}{d}: int64[]" for n in "ab"]
    lines += [f"turn = Cast(i{d}, to=1)"] if depth == 0 else [f"turn{d} = Cast(i{d}, to=1)"]
    states = {"float": [f"fa{d}", f"fb{d}"], "int64": [f"na{d}", f"nb{d}"]}
    if depth < 1 and draw(st.booleans()):
        inner = draw(bodies(depth + 1))
        trips = draw(st.sampled_from([f"i{d}", "m", "k", "2"]))
        call = f"p{d}, q{d}, r{d}, t{d} = Loop({trips}, c{d}, fa{d}, fb{d}, na{d}, nb{d}, body={{"
        lines += [call, *(f"  {line}" for line in inner.splitlines()), "})"]
        states = {"float": [f"p{d}", f"q{d}"], "int64": [f"r{d}", f"t{d}"]}
    results = []
    for dtype, names in states.items():
        for n in range(2):
            update = draw(st.sampled_from(_UPDATES[dtype]))
            text = update.format(names[n], names[1 - n], d=d)
            if "(" in text:
                lines.append(f"new{dtype}{n}{d} = {text}")
                text = f"new{dtype}{n}{d}"
            if text in results or text in ("x", "k") or text.startswith(("p", "q", "r", "t")):
                lines.append(f"copy{dtype}{n}{d} = Identity({text})")
                text = f"copy{dtype}{n}{d}"
            results.append(text)
    ends = draw(st.sampled_from(["on", "below", "sum"]))
    if ends == "on":
        lines.append(f"go{d} = Identity(c{d})")
    elif ends == "below":
        lines.append(f"go{d} = Less(i{d}, k)")
    else:
        lines += [f"sum{d} = ReduceSum({results[0]}, keepdims=0)", f"go{d} = Less(sum{d}, top)"]
    return "\n".join([*lines, *(f"output {v}" for v in [f"go{d}", *results])])


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(body=bodies(0), format=st.sampled_from(FORMATS), condition=st.sampled_from(["_", "go"]))
def test_drawn_loops(body: str, format: str, condition: str) -> None:
    head = ["opset 24", "input x: float[2]", "input m: int64[]", "input k: int64[]", "input go: bool[]",
            "const half: float[] = 0.5", "const top: float[] = 4.0",
            f"y, z, u, v = Loop(m, {condition}, x, x, k, m, body={{"]  # fmt: skip
    lines = [*head, *(f"  {line}" for line in body.splitlines()), "})", *(f"output {v}" for v in "yzuv")]
    feeds = [
        {"x": X, "m": np.array(m), "k": np.array(k), "go": np.array(go)}
        for m, k, go in ((0, 1, True), (1, 0, True), (4, 2, True), (3, 5, False))
    ]
    assert_agrees(parse("\n".join(lines)), feeds, format)
