"""If, Loop and Scan, sequences and optional values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, ints, versions

#: Control flow changed at many versions, but only in the element types that it takes.
_OPSETS = (11, 16, 21, 25)
_TRUE, _FALSE = np.array(True), np.array(False)
_BRANCHES = (
    ("float[2,3] a", "a = Relu(x1)", "float[2,3] b", "b = Neg(x1)"),
    ("float[2,3] a", "a = Identity(x1)", "float[2,3] b", "c = Constant<value = float {2}>() b = Mul(x1, c)"),
    ("float[3,2] a", "a = Transpose(x1)", "float[3,2] b", "s = Constant<value = int64[2] {3, 2}>() b = Reshape(x1, s)"),
)


@family("If")
def branches(op: str) -> Iterator[Variant]:
    for opset, (one, then, two, other), cond in product(_OPSETS, _BRANCHES, (_TRUE, _FALSE)):
        text = f"y0 = If<then_branch = t () => ({one}) {{ {then} }}, else_branch = e () => ({two}) {{ {other} }}>(x0)"
        yield Variant(opset, [cond, data(2, 3)], text=text)
        yield Variant(opset, [cond, data(2, 3)], text=text, constants=[0])
        yield Variant(opset, [cond.reshape(1), data(2, 3)], text=text)
    several = """y0, y1 = If<then_branch = t () => (float[2,3] a, int64[2] b) { a = Abs(x1) b = Shape(x1) },
        else_branch = e () => (float[2,3] c, int64[2] d) { c = Exp(x1) d = Constant<value = int64[2] {7, 8}>() }>(x0)"""
    nested = """y0 = If<then_branch = t () => (float[2,3] a) {
        a = If<then_branch = u () => (float[2,3] b) { b = Sin(x1) },
        else_branch = v () => (float[2,3] c) { c = Cos(x1) }>(x2)
        }, else_branch = e () => (float[2,3] d) { d = Sqrt(x1) }>(x0)"""
    sizes = """y0 = If<then_branch = t () => (float[n] a) { k = Constant<value = int64[1] {-1}>() a = Reshape(x1, k) },
        else_branch = e () => (float[m] b) { k = Constant<value = int64[1] {0}>() z = Constant<value = int64[1] {1}>()
        r = Slice(x1, k, z, k) f = Constant<value = int64[1] {-1}>() b = Reshape(r, f) }>(x0)"""
    for cond in (_TRUE, _FALSE):
        yield Variant(16, [cond, data(2, 3)], text=several, outputs=2)
        yield Variant(16, [cond, data(2, 3, low=0.1)], text=sizes)
        for other_cond in (_TRUE, _FALSE):
            yield Variant(16, [cond, data(2, 3, low=0.1), other_cond], text=nested)
            yield Variant(16, [cond, data(2, 3, low=0.1), other_cond], text=nested, constants=[2])
    computed = """m = ReduceMax<keepdims = 0>(x1) z = CastLike(x0, m) c = Greater(m, z)
        y0 = If<then_branch = t () => (float[2,3] a) { a = Relu(x1) },
        else_branch = e () => (float[2,3] b) { b = Neg(x1) }>(c)"""
    yield Variant(16, [np.array(0, np.float32), data(2, 3)], text=computed)
    yield Variant(16, [np.array(9, np.float32), data(2, 3)], text=computed)


def _loop(body: str, state: str = "float[2] s", scans: str = "", turns: str = "x0", cond: str = "") -> str:
    results = "y0, y1" if scans else "y0"
    out = "float[2] t" + (f", {scans}" if scans else "")
    return f"{results} = Loop<body = b (int64 i, bool c, {state}) => (bool d, {out}) {{ {body} }}>({turns}, {cond}, x1)"


@family("Loop")
def loops(op: str) -> Iterator[Variant]:
    go = "d = Identity(c)"
    for opset, turns in product(_OPSETS, (0, 1, 3, 40)):
        once = _loop(f"{go} k = Constant<value = float {{0.5}}>() h = Mul(s, k) t = Add(h, x2)")
        operands = [np.array(turns, np.int64), data(2), data(2, seed=1)]
        for constants in ([0], [0, 1], []):
            yield Variant(opset, operands, constants=constants, text=once)
        kept = _loop(f"{go} t = Add(s, x2) v = Identity(t)", scans="float[2] v")
        if turns:
            yield Variant(opset, operands, constants=[0], text=kept, outputs=2)
    by_index = _loop(f"{go} j = Cast<to = 1>(i) h = Mul(x2, j) t = Add(s, h)")
    until = _loop("m = ReduceSum<keepdims = 0>(s) k = Constant<value = float {9}>() d = Less(m, k) t = Add(s, x2)")
    endless = until.replace("(x0, ", "(, ").replace("(, , x1)", "(, x0, x1)")
    row = _loop(f"{go} r = Gather<axis = 0>(x2, i) t = Add(s, r)")
    for turns in (1, 5, 40):
        operands = [np.array(turns, np.int64), data(2, low=0.5), data(2, low=0.5, seed=1)]
        for text, constants in product((by_index, until), ([0], [])):
            yield Variant(16, operands, constants=constants, text=text)
        yield Variant(16, [_TRUE, *operands[1:]], constants=[0], text=endless)
        yield Variant(16, [np.array(turns, np.int64), data(2), data(40, 2)], constants=[0], text=row)
    yield Variant(16, [np.array(3, np.int64), data(2, dtype=np.int32), data(2, dtype=np.int32, seed=1)], constants=[0],
                  text=once.replace("float", "int32").replace("{0.5}", "{2}"))  # fmt: skip
    growing = """y0 = Loop<body = b (int64 i, bool c, float[n] s) => (bool d, float[m] t) {
        d = Identity(c) t = Concat<axis = 0>(s, x2) }>(x0, , x1)"""
    yield Variant(16, [np.array(3, np.int64), data(2), data(2, seed=1)], constants=[0], text=growing)


@family("Scan")
def scans(op: str) -> Iterator[Variant]:
    body = "b (float[2] s, float[2] e) => (float[2] t, float[2] v) { t = Add(s, e) v = Mul(t, e) }"
    for opset, length, constants in product((9, *_OPSETS), (1, 3, 20), ([], [0])):
        text = f"y0, y1 = Scan<num_scan_inputs = 1, body = {body}>(x0, x1)"
        yield Variant(opset, [data(2), data(length, 2, seed=1)], text=text, outputs=2, constants=constants)
    for direction, axis in product((0, 1), (0, 1, -1)):
        sequence = data(4, 2, seed=1) if axis == 0 else data(2, 4, seed=1)
        for end, way in product((0, 1), ("in", "out")):
            attrs = f"scan_{way}put_directions = [{direction}], scan_input_axes = [{axis}], scan_output_axes = [{end}]"
            text = f"y0, y1 = Scan<num_scan_inputs = 1, {attrs}, body = {body}>(x0, x1)"
            yield Variant(16, [data(2), sequence], text=text, outputs=2)
    stateless = "b (float[2] e) => (float[2] v) { v = Exp(e) }"
    yield Variant(16, [data(3, 2)], text=f"y0 = Scan<num_scan_inputs = 1, body = {stateless}>(x0)")
    two = "b (float[2] s, float[2] e, float f) => (float[2] t, float[2] v) { t = Add(s, e) v = Mul(t, f) }"
    operands = [data(2), data(3, 2, seed=1), data(3, seed=2)]
    yield Variant(16, operands, text=f"y0, y1 = Scan<num_scan_inputs = 2, body = {two}>(x0, x1, x2)", outputs=2)
    outer = "b (float[2] s, float[2] e) => (float[2] t) { u = Add(s, e) t = Mul(u, x2) }"
    text = f"y0 = Scan<num_scan_inputs = 1, body = {outer}>(x0, x1)"
    yield Variant(16, [data(2), data(3, 2, seed=1), data(2, seed=2)], text=text)


@family("SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength", "SequenceEmpty")
def sequences(op: str) -> Iterator[Variant]:
    x, y = data(2, 3), data(2, 3, seed=1)
    made = "s = SequenceConstruct(x0, x1, x0)"
    if op == "SequenceConstruct":
        for i in (0, 2, -1):
            yield Variant(11, [x, y, np.array(i, np.int64)], text=f"{made} y0 = SequenceAt(s, x2)", constants=[2])
    elif op == "SequenceEmpty":
        text = "e = SequenceEmpty<dtype = 1>() f = SequenceInsert(e, x0) y0 = ConcatFromSequence<axis = 0>(f)"
        yield Variant(11, [x], text=text)
        yield Variant(11, [x], text="e = SequenceEmpty() y0 = SequenceLength(e)")
    elif op == "SequenceLength":
        yield Variant(11, [x, y], text=f"{made} y0 = SequenceLength(s)")
    positions = [(0, [2]), (1, [2]), (-1, [2]), (1, [])]
    for i, constants in positions if op in ("SequenceInsert", "SequenceErase", "SequenceAt") else ():
        rest = {
            "SequenceInsert": "r = SequenceInsert(s, x1, x2) y0 = ConcatFromSequence<axis = 1>(r)",
            "SequenceErase": "r = SequenceErase(s, x2) y0 = ConcatFromSequence<axis = 1>(r)",
            "SequenceAt": "y0 = SequenceAt(s, x2)",
        }[op]
        yield Variant(11, [x, y, np.array(i, np.int64)], text=f"{made} {rest}", constants=constants)
        yield Variant(11, [x, y, np.array(i, np.int32)], text=f"{made} {rest}", constants=constants)
    if op in ("SequenceInsert", "SequenceErase"):
        text = {"SequenceInsert": "SequenceInsert(s, x1)", "SequenceErase": "SequenceErase(s)"}[op]
        yield Variant(11, [x, y], text=f"{made} r = {text} y0 = ConcatFromSequence<axis = 0>(r)")


@family("SplitToSequence", "ConcatFromSequence")
def split(op: str) -> Iterator[Variant]:
    if op == "ConcatFromSequence":
        for axis, new in product((0, 1, -1, -2), (0, 1)):
            attrs = f"axis = {axis}, new_axis = {new}"
            text = f"s = SequenceConstruct(x0, x1, x0) y0 = ConcatFromSequence<{attrs}>(s)"
            yield Variant(11, [data(2, 3), data(2, 3, seed=1)], text=text)
        return
    pieces: list[tuple[Array, int]] = [(ints(1, 2, 1), 0), (ints(2, 1), 1), (np.array(2, np.int64), 0), (ints(3), -1)]
    for opset, (sizes, axis), constants in product(versions(op), pieces, ([1], [])):
        text = f"s = SplitToSequence<axis = {axis}>(x0, x1) y0 = SequenceAt(s, x2)"
        operands = [data(4, 3), sizes, np.array(0, np.int64)]
        yield Variant(opset, operands, text=text, constants=[*constants, 2])
    for axis, keep in product((0, 1), (0, 1)):
        text = f"s = SplitToSequence<axis = {axis}, keepdims = {keep}>(x0) y0 = SequenceAt(s, x1)"
        yield Variant(11, [data(4, 3), np.array(-1, np.int64)], text=text, constants=[1])
    uneven = "s = SplitToSequence<axis = 0>(x0, x1) y0 = ConcatFromSequence<axis = 0>(s)"
    yield Variant(11, [data(5, 3), np.array(2, np.int64)], text=uneven, constants=[1])


@family("SequenceMap")
def mapped(op: str) -> Iterator[Variant]:
    body = "b (float[2,3] e) => (float[2,3] f) { f = Exp(e) }"
    made = "s = SequenceConstruct(x0, x1)"
    text = f"{made} r = SequenceMap<body = {body}>(s) y0 = ConcatFromSequence<axis = 0>(r)"
    yield Variant(17, [data(2, 3), data(2, 3, seed=1)], text=text)
    two = "b (float[2,3] e, float[2,3] a) => (float[2,3] f) { f = Add(e, a) }"
    text = f"{made} r = SequenceMap<body = {two}>(s, x0) y0 = ConcatFromSequence<axis = 0>(r)"
    yield Variant(17, [data(2, 3), data(2, 3, seed=1)], text=text)


@family("Optional", "OptionalGetElement", "OptionalHasElement")
def optional(op: str) -> Iterator[Variant]:
    x = data(2, 3)
    for opset in (15, 18):
        if op == "OptionalHasElement":
            yield Variant(opset, [x], text="o = Optional(x0) y0 = OptionalHasElement(o)")
        else:
            yield Variant(opset, [x], text="o = Optional(x0) y0 = OptionalGetElement(o)")
            text = "s = SequenceConstruct(x0, x0) o = Optional(s) g = OptionalGetElement(o) y0 = SequenceAt(g, x1)"
            yield Variant(opset, [x, np.array(1, np.int64)], text=text, constants=[1])
    if op == "OptionalGetElement":
        yield Variant(18, [x], text="y0 = OptionalGetElement(x0)")
    if op == "OptionalHasElement":
        yield Variant(18, [x], text="y0 = OptionalHasElement(x0)")
        yield Variant(18, [x], text="y0 = OptionalHasElement()")
