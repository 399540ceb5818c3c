"""Every adapter against onnxruntime: the model at its own opset, and the upgraded graph, give the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from onnx import helper

from coregraft.passes.opset import oldest
from coregraft.passes.opset.edit import ADAPTERS
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.save import to_model

from .conftest import Model, run, upgraded

RNG = np.random.default_rng(7)
Differ = Callable[[Model], Graph]


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def one(opset: int, op_type: str, feeds: Any, consts: Any = None, outputs: Any = ("y",), **attrs: Any) -> Model:
    """A model of one op that reads the feeds, then the constants; a feed of None is an omitted operand."""
    operands = {**feeds, **(consts or {})}
    node = helper.make_node(op_type, [n if a is not None else "" for n, a in operands.items()], list(outputs), **attrs)
    given = {n: np.asarray(a) for n, a in feeds.items() if a is not None}
    return Model(opset, [node], given, {n: np.asarray(a) for n, a in (consts or {}).items() if a is not None},
                 [o for o in outputs if o])  # fmt: skip


def cases() -> Iterator[tuple[str, Model]]:
    x = floats(2, 3, 4, 5)
    for op_type in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset, axis in ((7, 1), (9, 2), (11, -1), (12, 3), (12, -2), (8, 0)):
            yield f"{op_type} {opset} axis {axis}", one(opset, op_type, {"x": x}, axis=axis)
        yield f"{op_type} default axis", one(12, op_type, {"x": x})
        yield f"{op_type} one wide axis", one(12, op_type, {"x": floats(2, 7, 1, 1)}, axis=1)
        yield f"{op_type} default axis, the one wide one", one(12, op_type, {"x": floats(2, 7, 1, 1)})
    for opset in (7, 11):
        yield f"Squeeze {opset}", one(opset, "Squeeze", {"x": floats(1, 3, 1, 2)}, axes=[0, 2])
        yield f"Squeeze {opset}, all", one(opset, "Squeeze", {"x": floats(1, 3, 1, 2)})
        yield f"Unsqueeze {opset}", one(opset, "Unsqueeze", {"x": floats(3, 2)}, axes=[0, 3])
    yield "Unsqueeze 11, negative", one(11, "Unsqueeze", {"x": floats(3, 2)}, axes=[-1])
    for op_type in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"):
        positive = np.abs(x) + 1
        yield f"Reduce{op_type} 8", one(8, f"Reduce{op_type}", {"x": positive}, axes=[1, 3], keepdims=0)
        yield f"Reduce{op_type} 11, all", one(11, f"Reduce{op_type}", {"x": positive})
        if op_type != "Sum":
            yield f"Reduce{op_type} 13", one(13, f"Reduce{op_type}", {"x": positive}, axes=[-1])
    yield "Split 7", one(7, "Split", {"x": x}, outputs=("a", "b"), axis=3, split=[2, 3])
    yield "Split 11, equal", one(11, "Split", {"x": x}, outputs=("a", "b"), axis=2)
    yield "Split 13", one(13, "Split", {"x": x}, {"s": np.array([1, 4])}, outputs=("a", "b"), axis=3)
    yield "Split 13, equal", one(13, "Split", {"x": x}, outputs=("a", "b"), axis=-2)
    yield "Slice 7", one(7, "Slice", {"x": x}, starts=[1, -3], ends=[9, -1], axes=[1, 3])
    yield "Slice 9, no axes", one(9, "Slice", {"x": x}, starts=[0, 1], ends=[1, 3])
    for mode in ("constant", "reflect", "edge"):
        yield f"Pad 7 {mode}", one(7, "Pad", {"x": x}, pads=[0, 0, 1, 2, 0, 0, 2, 1], mode=mode, value=1.5)
    yield "Pad 10 of double", one(10, "Pad", {"x": x.astype(np.float64)}, pads=[0, 0, 0, 1, 0, 0, 0, 0], value=2.0)
    yield "Clip 6", one(7, "Clip", {"x": x}, min=-0.5, max=0.25)
    yield "Clip 6, one bound", one(10, "Clip", {"x": x}, max=0.25)
    yield "Clip 6, no bound", one(10, "Clip", {"x": x})
    yield "TopK 7", one(7, "TopK", {"x": x}, outputs=("v", "i"), k=2, axis=3)
    yield "TopK 10", one(10, "TopK", {"x": x}, {"k": np.array([2])}, outputs=("v", "i"), axis=1)
    for opset in (7, 10):
        yield f"Dropout {opset}", one(opset, "Dropout", {"x": x}, ratio=0.3)
    yield "DFT 17", one(17, "DFT", {"x": floats(2, 8, 3, 1)})
    yield "DFT 17, axis", one(17, "DFT", {"x": floats(2, 8, 6, 2)}, {"n": np.array(4)}, axis=2, inverse=1)
    yield "Scatter 9", one(9, "Scatter", {"x": floats(4, 3)}, {"i": np.array([[0, 2, 1]]), "u": floats(1, 3)}, axis=0)
    yield "Erf 9", one(9, "Erf", {"x": x})
    grid = RNG.uniform(-1.1, 1.1, (2, 3, 3, 2)).astype(np.float32)
    for mode_name in (None, "bilinear", "bicubic", "nearest"):
        attrs: dict[str, Any] = {} if mode_name is None else {"mode": mode_name}
        yield f"GridSample 16 {mode_name}", one(16, "GridSample", {"x": x, "grid": grid}, align_corners=1, **attrs)
    scale, bias = floats(3), floats(3)
    mean, var = floats(3), np.abs(floats(3)) + 0.5
    statistics = {"s": scale, "b": bias, "m": mean, "v": var}
    yield "BatchNormalization 7", one(7, "BatchNormalization", {"x": x}, statistics, epsilon=1e-3)
    yield "BatchNormalization 7, spatial", one(7, "BatchNormalization", {"x": x}, statistics, spatial=1)
    per_activation = {n: np.abs(floats(*x.shape[1:])) + 0.5 for n in "sbmv"}
    yield "BatchNormalization 7, per activation", one(
        7, "BatchNormalization", {"x": x}, per_activation, spatial=0, epsilon=0.25
    )
    yield "BatchNormalization 9", one(9, "BatchNormalization", {"x": x}, statistics, momentum=0.8)
    yield from resizes(x)


def resizes(x: np.ndarray[Any, Any]) -> Iterator[tuple[str, Model]]:
    enlarge, shrink = np.array([1, 1, 2, 1.6], np.float32), np.array([1, 1, 0.5, 0.7], np.float32)
    both = np.array([1, 1, 2.5, 0.7], np.float32)
    for mode in ("nearest", "linear"):
        yield f"Upsample 7 {mode}", one(7, "Upsample", {"x": x}, mode=mode, scales=enlarge.tolist())
        yield f"Upsample 9 {mode}", one(9, "Upsample", {"x": x}, {"s": enlarge}, mode=mode)
        for name, scales in (("larger", enlarge), ("smaller", shrink), ("both", both)):
            yield f"Resize 10 {mode} {name}", one(10, "Resize", {"x": x}, {"s": scales}, mode=mode)
    for scales in (enlarge, shrink, both):
        yield f"Resize 10, run-time scales {scales}", one(10, "Resize", {"x": x, "s": scales}, mode="nearest")
    none = np.zeros(0, np.float32)
    for mode, coordinates, rounding in (
        ("nearest", "half_pixel", "round_prefer_floor"), ("nearest", "asymmetric", "ceil"),
        ("nearest", "tf_half_pixel_for_nn", "floor"), ("nearest", "tf_half_pixel_for_nn", "round_prefer_ceil"),
        ("linear", "pytorch_half_pixel", "floor"), ("linear", "align_corners", "floor"),
        ("cubic", "half_pixel", "floor"),
    ):  # fmt: skip
        attrs: dict[str, Any] = {
            "mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding,
        }  # fmt: skip
        for name, scales in (("larger", enlarge), ("smaller", shrink)):
            yield f"Resize 11 {mode} {coordinates} {rounding} {name}", one(
                11, "Resize", {"x": x}, {"roi": none, "s": scales}, **attrs
            )
        sizes = {"roi": none, "s": none, "z": np.array([2, 3, 6, 3])}
        yield f"Resize 11 sizes {mode} {coordinates} {rounding}", one(11, "Resize", {"x": x}, sizes, **attrs)
    crop = {"roi": np.array([0, 0, 0.1, 0.2, 1, 1, 0.9, 0.8], np.float32), "s": enlarge}
    attrs = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.0}
    yield "Resize 11 crop", one(11, "Resize", {"x": x}, crop, **attrs)
    yield "Resize 13", one(13, "Resize", {"x": x}, {"roi": None, "s": enlarge}, mode="cubic")


CASES = dict(cases())


@pytest.mark.parametrize("name", CASES)
def test_same_numbers(name: str, differ: Differ) -> None:
    differ(CASES[name])


def test_every_adapter_has_a_case() -> None:
    """An adapter that no model above (or below) goes through would be untested."""
    below = {("BatchNormalization", 14), ("GroupNormalization", 21), ("Scan", 9), ("Dropout", 10), ("RoiAlign", 16)}
    exercised = set(below)
    for model in CASES.values():
        for record in upgraded(model.graph()).graph.get("upgrades", ()):
            steps = {key for key in ADAPTERS if record.before < key[1] <= record.after}
            op_types = {node.op_type for node in model.nodes} | {"Resize"}
            exercised |= {key for key in steps if key[0] in op_types}
    passed_through = {("Erf", 13), ("BatchNormalization", 9)}  # they only check, or leave no trace
    tested = {key for key, adapter in ADAPTERS.items() if adapter.__module__ != oldest.__name__}  # see test_oldest
    assert tested - exercised - passed_through == set()


@pytest.mark.parametrize(("opset", "mode"), [(10, None), (16, "half_pixel"), (16, "output_half_pixel"), (16, None)])
def test_roi_align(opset: int, mode: str | None) -> None:
    """onnxruntime has no RoiAlign of opset 22, which added element types only: it runs at 21 here."""
    rois = np.array([[0.0, 0.0, 3.0, 2.0], [1.0, 1.0, 4.0, 3.0]], np.float32)
    attrs: dict[str, Any] = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    if mode is not None:
        attrs["coordinate_transformation_mode"] = mode
    model = one(opset, "RoiAlign", {"x": floats(2, 3, 4, 5), "r": rois}, {"b": np.array([0, 1])}, **attrs)
    before = run(model.proto(), model.feeds)
    g = upgraded(model.graph())
    g.set_opsets({"": 21})
    np.testing.assert_array_equal(run(to_model(g), model.feeds), before)
    (op,) = [op for _, op in g.ops()]
    default = "output_half_pixel" if opset < 16 else "half_pixel"
    assert op.attrs.get("coordinate_transformation_mode", "half_pixel") == (mode or default)


def test_group_normalization_per_group() -> None:
    x = floats(2, 6, 4)
    normal = one(18, "GroupNormalization", {"x": x}, {"s": floats(3), "b": floats(3)}, num_groups=3)
    g = upgraded(normal.graph())
    (op,) = [op for _, op in g.ops()]
    assert [g.tensor_type(v).shape for v in op.inputs[1:]] == [(6,), (6,)]  # type: ignore[union-attr]
    np.testing.assert_array_equal(g.const(op.inputs[1]).numpy(), np.repeat(normal.consts["s"], 2))  # type: ignore[union-attr]


@pytest.mark.parametrize("at_run_time", [False, True])
def test_group_normalization_numbers(at_run_time: bool) -> None:
    """onnxruntime has no GroupNormalization-18: the definition in numpy stands in for it."""
    x, s, b = floats(2, 6, 4), floats(3), floats(3)
    feeds, consts = ({"x": x, "s": s, "b": b}, {}) if at_run_time else ({"x": x}, {"s": s, "b": b})
    model = one(18, "GroupNormalization", feeds, consts, num_groups=3, epsilon=1e-3)
    grouped = x.reshape(2, 3, 8)
    centred = grouped - grouped.mean(-1, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3) * s[:, None] + b[:, None]
    (got,) = run(to_model(upgraded(model.graph())), model.feeds)
    np.testing.assert_allclose(got, want.reshape(x.shape), atol=1e-5)


def test_scan_of_opset_8(differ: Differ) -> None:
    """The batch is looped over outside, sequences forward and backward inside, outer values still in reach."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["h", "a"], ["sum"]),
            helper.make_node("Mul", ["sum", "factor"], ["h_out"]),
            helper.make_node("Sub", ["h_out", "b"], ["o"]),
        ],
        "cell",
        [helper.make_tensor_value_info(n, 1, [3]) for n in ("h", "a", "b")],
        [helper.make_tensor_value_info(n, 1, [3]) for n in ("h_out", "o")],
    )
    node = helper.make_node(
        "Scan", ["", "h0", "xs", "zs"], ["last", "ys"], body=body, num_scan_inputs=2, directions=[0, 1]
    )
    feeds = {"h0": floats(2, 3), "xs": floats(2, 5, 3), "zs": floats(2, 5, 3)}
    model = Model(8, [node], feeds, {"factor": np.array([0.5], np.float32)}, ("last", "ys"))
    g = differ(model)
    (record,) = g.graph["upgrades"]
    assert (record.before, record.after) == (8, 9)


def test_scan_with_lengths_is_refused() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["h", "a"], ["h_out"])], "cell",
        [helper.make_tensor_value_info(n, 1, [3]) for n in ("h", "a")],
        [helper.make_tensor_value_info("h_out", 1, [3])],
    )  # fmt: skip
    node = helper.make_node("Scan", ["n", "h0", "xs"], ["y"], body=body, num_scan_inputs=1)
    feeds = {"n": np.array([1, 2]), "h0": floats(2, 3), "xs": floats(2, 5, 3)}
    refused(Model(8, [node], feeds), "sequence_lens")


def test_dropout_mask_of_opset_7_has_the_data_s_type() -> None:
    """onnxruntime gives a bool there, so the definition is the reference: a mask of ones, of the data's type."""
    model = one(7, "Dropout", {"x": floats(2, 3)}, outputs=("y", "m"))
    output, mask = run(to_model(upgraded(model.graph())), model.feeds)
    np.testing.assert_array_equal(output, model.feeds["x"])
    np.testing.assert_array_equal(mask, np.ones((2, 3), np.float32), strict=True)


@pytest.mark.parametrize("opset", [7, 10])
def test_dropout_mask_that_nobody_reads_is_left_out(opset: int) -> None:
    """onnxruntime fills it with zeros, later versions with ones: there is nothing that could be compared."""
    node = helper.make_node("Dropout", ["x"], ["y", "m"])
    feeds = {"x": floats(2, 3)}
    before = Model(opset, [node], feeds).graph()
    after = PassManager("upgrade-opset", checked=True).run(before).graph
    assert [op.outputs for _, op in after.ops()] == [("y",)]
    np.testing.assert_array_equal(run(to_model(after), feeds)[0], feeds["x"])


def test_average_pool_with_overhang() -> None:
    """Pooling kept its meaning, though onnxruntime runs another kernel from opset 19 on."""
    for ceil_mode in (0, 1):
        for count_include_pad in (0, 1):
            model = one(
                11, "AveragePool", {"x": floats(1, 2, 7, 8)}, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
                ceil_mode=ceil_mode, count_include_pad=count_include_pad,
            )  # fmt: skip
            (before,) = run(model.proto(), model.feeds)
            (after,) = run(to_model(upgraded(model.graph())), model.feeds)
            np.testing.assert_allclose(before, after, rtol=1e-6, atol=1e-6)


def refused(model: Model, part: str) -> None:
    with pytest.raises(UnsupportedError, match=part) as caught:
        upgraded(model.graph())
    assert caught.value.code == "opset-upgrade"
    assert caught.value.node


def test_what_has_no_successor_is_refused() -> None:
    x = floats(1, 2, 3, 3)
    per_activation = {n: floats(2, 3, 3) for n in "sbmv"}
    outputs = ("y", "mean", "var", "m2", "v2")
    refused(one(7, "BatchNormalization", {"x": x}, per_activation, spatial=0, outputs=outputs), "per activation")
    statistics = {n: np.ones(2, np.float32) for n in "sbmv"}
    refused(one(7, "BatchNormalization", {"x": x}, statistics, outputs=outputs), "training mode")
    refused(one(9, "Erf", {"x": np.ones(3, np.int32)}), "Erf of int32")


def test_unused_training_results_are_dropped() -> None:
    x = floats(1, 2, 3, 3)
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "mean", "var"])
    statistics = {n: np.ones(2, np.float32) for n in "sbmv"}
    g = upgraded(Model(9, [node], {"x": x}, statistics).graph())
    (op,) = [op for _, op in g.ops()]
    assert op.outputs == ("y",)
