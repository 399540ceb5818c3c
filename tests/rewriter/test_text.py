"""The text form: authoring, exactness, quoting, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coregraft.rewriter.errors import GraphError, InputError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.onnx_io.text import diff, equal, parse, to_text
from coregraft.rewriter.types import Const, DType, OpaqueType, TensorType

AUTHORED = """
    # a comment
    opset com.microsoft 1
    opset 24
    input x: float[N, 3, 8, 8]
    input cond: bool[]
    const w: float[4,3,3,3] = normal(seed=1, scale=0.1)
    const axes = [0, -1]
    y, _ = com.microsoft.Thing(x, w, _, alpha=0.1, mode=linear, names=["a", "b"]) @"/layer 1/conv:0"
    z: float[*] = Clip(y, 0.0, 6.0)
    r = If(cond, then_branch={
        t = Mul(z, 2.0)
        output t
    }, else_branch={
        output t = z
    })
    output result = r
"""


def test_authored_text_means_what_it_says() -> None:
    g = parse(AUTHORED)
    assert g.inputs == ("x", "cond")
    assert dict(g.outputs) == {"result": "r"}
    assert dict(g.opsets) == {"com.microsoft": 1, "": 24}
    assert g.tensor_type("x") == TensorType(DType.FLOAT, ("N", 3, 8, 8))
    assert g.tensor_type("z") == TensorType(DType.FLOAT, None)
    thing, clip, branch = (g.op(i) for i in g.topological())
    assert thing.key == ("com.microsoft", "Thing")
    assert thing.inputs == ("x", "w", "") and thing.outputs == ("y", "")
    assert thing.name == "/layer 1/conv:0"
    assert thing.attrs == {"alpha": float(np.float32(0.1)), "mode": "linear", "names": Strings(["a", "b"])}
    assert [c.numpy().tolist() for c in map(g.const, clip.inputs[1:]) if c] == [0.0, 6.0]
    assert branch.captures == ("z",)
    assert dict(branch.attrs["else_branch"].outputs) == {"t": "z"}
    axes = g.const("axes")
    assert axes is not None and axes.dtype is DType.INT64 and axes.numpy().tolist() == [0, -1]


def test_opset_defaults_to_the_internal_one() -> None:
    assert dict(parse("input x: float[1]\ny = Relu(x)\noutput y").opsets) == {"": 24}


def test_attributes_take_the_type_of_their_schema() -> None:
    g = parse("input x: float[2,2]\ny = Gemm(x, x, alpha=1, transB=1)\noutput y")
    attrs = g.op(0).attrs
    assert type(attrs["alpha"]) is float and type(attrs["transB"]) is int


@pytest.mark.parametrize("exact", [True, False])
def test_text_is_a_fixed_point(exact: bool) -> None:
    text = to_text(parse(AUTHORED), exact=exact)
    assert to_text(parse(text), exact=exact) == text


def test_everything_a_graph_can_hold_survives() -> None:
    body = parse('input i: int64[]\nfact note = "inner"\no = Add(i, outer)\noutput o')
    g = parse("input x: float[1]")
    g.name = "weird name"
    g.graph["metadata"] = (("author", "me"), ("k", 'quote " and \n newline'))
    g.graph["functions"] = {("local", "F", ""): parse("opset 18\ninput a\nb = Relu(a)\noutput b\ndefault alpha = 1.5")}
    g.add_input("seq", OpaqueType(b"\x22\x00"))
    g.add_value("outer", const=Const.of(np.array(7, np.int64)))
    g.add_value("dangling", TensorType(DType.BFLOAT16, (None, "a+b", 3)))
    attrs = {
        "ints": (1, 2), "none": (), "floats": Floats([0.5, float("inf")]), "nof": Floats(), "nos": Strings(),
        "strings": Strings(["a", b"\xff"]), "t": Const.of(np.asarray([[1.5, -0.0]], np.float16)),
        "r": AttrRef("alpha", 1),
        "raw": RawAttr(b"\x01"), "b": b"\x00\xff", "g": body, "f": 0.25, "ts": (Const.of(True), Const.of(False)),
    }  # fmt: skip
    g.add_op(Op("Odd", ("x", "", "x"), ("", "y:0"), attrs, "a domain", "n", "ov", captures=("outer",)))
    g.set_outputs({"y:0": "y:0", "again": "y:0"})
    back = parse(to_text(g))
    assert to_text(back) == to_text(g)
    op, restored = g.op(0), back.op(0)
    assert (op.type, op.domain, op.overload, op.inputs, op.outputs) == (
        restored.type, restored.domain, restored.overload, restored.inputs, restored.outputs,
    )  # fmt: skip
    for name in set(attrs) - {"t", "g", "ts"}:
        assert restored.attrs[name] == attrs[name] and type(restored.attrs[name]) is type(attrs[name]), name
    assert restored.attrs["t"].numpy().tobytes() == attrs["t"].numpy().tobytes()  # type: ignore[attr-defined]
    assert back.graph["metadata"] == g.graph["metadata"]
    assert back.functions["local", "F", ""].graph["defaults"] == {"alpha": 1.5}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_survives(name: str) -> None:
    g = Graph()
    g.set_opsets({"": 24})
    g.add_input(name, TensorType(DType.FLOAT, (1,)))
    g.add_op(Op("Relu", (name,), (name + "'",), name=name))
    g.set_outputs({name + "'": name + "'"})
    back = parse(to_text(g))
    assert back.inputs == (name,) and back.op(0).name == name and back.op(0).outputs == (name + "'",)


@given(st.lists(st.floats(width=32), min_size=1, max_size=12), st.sampled_from(["float32", "float16", "float64"]))
def test_inline_floats_are_exact(values: list[float], dtype: str) -> None:
    with np.errstate(over="ignore"):
        array = np.asarray(values, np.float64).astype(dtype)
    g = Graph()
    g.add_value("c", const=Const.of(array))
    back = parse(to_text(g)).const("c")
    assert back is not None and back.numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [d for d in DType if d not in (DType.UNDEFINED, DType.STRING)])
@pytest.mark.parametrize("size", [3, 40])
def test_constants_of_every_type_are_exact(dtype: DType, size: int) -> None:
    raw = np.random.default_rng(0).integers(0, 2, (size * dtype.bits + 7) // 8, np.uint8).tobytes()
    g = Graph()
    g.add_value("c", const=Const(dtype, (size,), raw))
    back = parse(to_text(g)).const("c")
    assert back is not None and back.dtype is dtype
    assert back.numpy().tobytes() == Const(dtype, (size,), raw).numpy().tobytes()


def test_generators_are_deterministic_and_differ_by_seed() -> None:
    g = parse(
        "const a: float[5,4] = normal(seed=3)\nconst b: float[5,4] = normal(seed=3)\n"
        "const c: float[5,4] = normal(seed=4)\nconst d: int64[3] = arange(start=2, step=-1)\n"
        "const e: float[2] = full(0.5)\nconst f: bool[2] = ones"
    )
    a, b, c, d, e, f = (g.const(v) for v in "abcdef")
    assert a and b and c and d and e and f
    assert a.digest() == b.digest() != c.digest()
    assert d.numpy().tolist() == [2, 1, 0] and e.numpy().tolist() == [0.5, 0.5] and f.numpy().tolist() == [True, True]


def test_a_digest_compares_but_has_no_content() -> None:
    exact = parse("const w: float[20] = normal(seed=1)\ninput x: float[20]\ny = Add(x, w)\noutput y")
    short = parse(to_text(exact, exact=False))
    assert equal(exact, short)
    const = short.const("w")
    assert const is not None
    with pytest.raises(GraphError, match="constant-elided"):
        const.numpy()


def test_diff_shows_the_changed_line_only() -> None:
    a = parse("input x: float[1]\ny = Relu(x)\nz = Abs(y)\noutput z")
    b = parse("input x: float[1]\ny = Sigmoid(x)\nz = Abs(y)\noutput z")
    changed = [line for line in diff(a, b).splitlines() if line[0] in "+-" and not line.startswith(("+++", "---"))]
    assert changed == ["-y = Relu(x)", "+y = Sigmoid(x)"]
    assert diff(a, a) == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("input x: float[1]\ny = Relu(x", 2),
        ("input x: flute[1]", 1),
        ("\n\ninput x: float[1,]x", 3),
        ("const c = [[1, 2], [3]]", 1),
        ("const c: float[3] = [1, 2]", 1),
        ("const c: float[N] = ones", 1),
        ("const c: float[2] = gaussian(seed=1)", 1),
        ("const c: float[2] = normal(sed=1)", 1),
        ("y = Relu(x, ?)", 1),
        ("y = If(c, then_branch={ output x", 1),
        ("~", 1),
    ],
)
def test_a_mistake_is_one_error_naming_its_line(text: str, line: int) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert caught.value.code == "text-syntax" and caught.value.node == f"line {line}"


def test_a_value_defined_twice_is_refused() -> None:
    for text in ("input x: float[1]\ny = Relu(x)\ny = Abs(x)", "const c = 1\nconst c = 2"):
        with pytest.raises(GraphError, match="value-redefined"):
            parse(text)
