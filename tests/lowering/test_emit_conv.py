"""Conv and ConvTranspose: every attribute against onnxruntime, and the traps the emitters step around."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.lowering import targets
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.agreement import agree, by_runtime, mil_op
from tests.lowering.fold_harness import Case, case, graph_of, lowered
from tests.lowering.mil_numpy import find_ops, run_mil

_RNG = np.random.default_rng(11)
WEIGHTS = (1, 2)


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return _RNG.standard_normal(shape).astype(dtype)


def conv(x: tuple[int, ...], w: tuple[int, ...], *, bias: bool = True, kind: str = "Conv", **attrs: Any) -> Case:
    group = attrs.get("group", 1)
    channels = w[0] if kind == "Conv" else w[1] * group
    operands = [floats(*x), floats(*w), *([floats(channels)] if bias else [])]
    return case(kind, *operands, constant=WEIGHTS, **attrs)


CONVS = [
    conv((1, 3, 9), (4, 3, 3)),
    conv((2, 4, 7, 8), (6, 2, 3, 2), group=2, strides=[2, 1], pads=[1, 0, 2, 3]),
    conv((1, 4, 9, 9), (4, 1, 3, 3), group=4, dilations=[2, 3], pads=[2, 3, 2, 3], bias=False),
    conv((1, 2, 5, 6, 7), (3, 2, 2, 3, 1), strides=[1, 2, 2], pads=[0, 1, 2, 1, 0, 0]),
    conv((1, 2, 8, 9), (3, 2, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    conv((1, 2, 8, 9), (3, 2, 4, 3), auto_pad="SAME_LOWER", strides=[3, 2]),
    conv((1, 2, 8), (3, 2, 4), auto_pad="VALID", kernel_shape=[4]),
]
TRANSPOSED = [
    conv((1, 3, 5), (3, 4, 3), kind="ConvTranspose", strides=[2]),
    conv((2, 4, 5, 4), (4, 2, 3, 2), kind="ConvTranspose", group=2, strides=[2, 3], pads=[1, 0, 1, 0]),
    conv((1, 2, 4, 4), (2, 3, 3, 3), kind="ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    conv((1, 2, 4, 5), (2, 3, 3, 4), kind="ConvTranspose", strides=[3, 2], pads=[0, 2, 1, 1], output_padding=[2, 0]),
    conv((1, 2, 4, 5), (2, 3, 2, 2), kind="ConvTranspose", strides=[3, 3], output_padding=[2, 1], bias=False),
    conv((1, 2, 4, 5), (2, 3, 3, 3), kind="ConvTranspose", dilations=[2, 1], pads=[2, 1, 2, 1]),
    conv((1, 2, 4, 5), (2, 3, 4, 3), kind="ConvTranspose", strides=[2, 2], auto_pad="SAME_UPPER"),
    conv((1, 2, 4, 5), (2, 3, 4, 3), kind="ConvTranspose", strides=[2, 2], auto_pad="SAME_LOWER"),
    conv((1, 2, 3, 3), (2, 3, 3, 3), kind="ConvTranspose", strides=[3, 2], output_shape=[10, 8]),
    conv((1, 2, 2, 3, 2), (2, 1, 2, 3, 2), kind="ConvTranspose", strides=[2, 2, 1], pads=[0, 1, 0, 1, 1, 0]),
]


@pytest.mark.parametrize("c", CONVS, ids=str)
def test_conv_is_one_conv_that_agrees(c: Case) -> None:
    assert agree(c) == ["conv"]


@pytest.mark.parametrize("c", TRANSPOSED, ids=str)
def test_transposed_conv_agrees(c: Case) -> None:
    assert "conv_transpose" in agree(c)


def test_pads_are_explicit_whatever_auto_pad_says() -> None:
    op = mil_op(by_runtime(CONVS[4]), "conv")
    assert op.pad_type.val == "custom"
    assert op.pad.val.tolist() == [1, 1, 1, 1]


def test_negative_pads_become_a_slice() -> None:
    # onnxruntime takes no negative pads, so the expected values are those of the cropped input.
    c = conv((1, 2, 9, 8), (3, 2, 3, 3), pads=[-1, 1, 0, -2])
    x, w, b = c.operands
    assert x is not None
    want = by_runtime(case("Conv", x[:, :, 1:, :-2], w, b, pads=[0, 1, 0, 0])).want
    stated = case("Conv", x, w, b, constant=WEIGHTS, want=want, pads=[-1, 1, 0, -2])
    assert agree(stated) == ["slice_by_index", "conv"]


def test_bias_comes_after_the_zeros_that_output_padding_adds() -> None:
    assert agree(TRANSPOSED[4]) == ["conv_transpose", "pad"]
    with_bias = conv((1, 2, 4, 5), (2, 3, 2, 2), kind="ConvTranspose", strides=[3, 3], output_padding=[2, 1])
    assert agree(with_bias) == ["conv_transpose", "pad", "add"]


def test_symmetric_pads_stay_in_the_op_and_asymmetric_ones_do_not() -> None:
    symmetric = conv((1, 2, 6, 6), (2, 3, 3, 3), kind="ConvTranspose", pads=[1, 0, 1, 0])
    assert agree(symmetric) == ["conv_transpose"]
    asymmetric = conv((1, 2, 6, 6), (2, 3, 3, 3), kind="ConvTranspose", pads=[1, 0, 0, 2], bias=False)
    assert agree(asymmetric) == ["conv_transpose", "slice_by_index"]
    assert mil_op(by_runtime(asymmetric), "conv_transpose").pad.val.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
def test_weights_computed_at_run_time(target: str) -> None:
    c = case("Conv", floats(1, 2, 5, 5), floats(3, 2, 3, 3), floats(3), strides=[2, 2])
    assert agree(c, target) == ["conv", "reshape", "add"]
    grouped = case("Conv", floats(1, 4, 7, 7), floats(4, 2, 3, 3), group=2)
    dilated = case("Conv", floats(1, 4, 7, 7), floats(4, 4, 3, 3), dilations=[2, 2])
    for refused in (grouped, dilated):
        with pytest.raises(UnsupportedError, match="run time"):
            lowered(by_runtime(refused), target)
    spatial = by_runtime(case("Conv", floats(1, 2, 3, 4, 5), floats(3, 2, 2, 2, 2)))
    assert agree(spatial, target) == ["conv"]
    with pytest.raises(UnsupportedError, match="over two axes at most"):
        lower_graph(graph_of(spatial, (0, 1)), targets.get(target, "neuralnetwork"))


def test_transposed_conv_with_weights_computed_at_run_time() -> None:
    c = case("ConvTranspose", floats(1, 2, 5, 5), floats(2, 3, 3, 3))
    assert agree(c, "iOS17") == ["conv_transpose"]
    with pytest.raises(UnsupportedError, match="iOS17"):
        lowered(by_runtime(c), "iOS16")


@pytest.mark.parametrize("constant", [(1, 2), ()])
def test_one_axis_of_a_neuralnetwork_is_lifted_to_two(constant: tuple[int, ...]) -> None:
    operands = floats(2, 3, 9), floats(4, 3, 3), floats(4)
    c = by_runtime(case("Conv", *operands, constant=constant, strides=[2], pads=[2, 0]))
    fed = tuple(i for i in range(3) if i not in constant)
    program = lower_graph(graph_of(c, fed), targets.get("iOS15", "neuralnetwork")).program
    assert find_ops(program, "conv")[0].x.rank == 4
    feeds = {f"x{i}": a for i, a in enumerate(c.operands) if a is not None and i in fed}
    assert c.want is not None
    np.testing.assert_allclose(run_mil(program, feeds)["y0"], c.want[0], rtol=1e-4, atol=1e-5)


def test_half_precision() -> None:
    operands = floats(1, 2, 6, 6, dtype=np.float16), floats(3, 2, 3, 3, dtype=np.float16), floats(3, dtype=np.float16)
    assert agree(case("Conv", *operands, constant=WEIGHTS)) == ["conv"]


def test_kernel_shape_that_contradicts_the_weights_is_refused() -> None:
    want = (np.zeros((1, 3, 4, 4), np.float32),)
    c = case("Conv", floats(1, 2, 6, 6), floats(3, 2, 3, 3), constant=WEIGHTS, want=want, kernel_shape=[5, 5])
    with pytest.raises(UnsupportedError, match="kernel_shape"):
        lowered(c)


@pytest.mark.parametrize("rank", [2, 6])
def test_other_than_one_to_three_spatial_axes_are_refused(rank: int) -> None:
    c = case("Conv", floats(*[1] * rank), floats(*[1] * rank), constant=WEIGHTS, want=(floats(*[1] * rank),))
    with pytest.raises(UnsupportedError, match=r"one to three spatial axes|takes 5"):
        lowered(c)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_transposed_window(data: st.DataObject) -> None:
    kernel, stride, dilation, size = (data.draw(st.integers(1, hi)) for hi in (4, 3, 2, 4))
    extent = (kernel - 1) * dilation + 1
    begin, end = data.draw(st.integers(0, extent - 1)), data.draw(st.integers(0, extent - 1))
    growth = data.draw(st.integers(0, stride - 1))  # onnxruntime takes no more than that
    if stride * (size - 1) + extent - begin - end + growth < 1:
        return
    window: dict[str, Any] = {"strides": [stride], "dilations": [dilation], "pads": [begin, end]}
    agree(conv((1, 2, size), (2, 3, kernel), kind="ConvTranspose", output_padding=[growth], **window))
