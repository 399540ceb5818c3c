"""Fused convolutions, products, activations and normalisations, against onnxruntime's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.contrib.rename_contrib_ops import RenameContribOps
from coregraft.passes.contrib.unfuse_bias import UnfuseBias
from coregraft.passes.contrib.unfuse_conv import UnfuseConv
from coregraft.passes.contrib.unfuse_embed_layer_norm import UnfuseEmbedLayerNorm
from coregraft.passes.contrib.unfuse_gelu import UnfuseGelu
from coregraft.passes.contrib.unfuse_gemm import UnfuseGemm
from coregraft.passes.contrib.unfuse_group_norm import UnfuseGroupNorm
from coregraft.passes.contrib.unfuse_layer_norm import UnfuseLayerNorm
from coregraft.passes.contrib.unfuse_mat_mul import UnfuseMatMul
from coregraft.rewriter.graph import Floats
from coregraft.rewriter.types import Array, Const

MS = "com.microsoft"


def f(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def c(*shape: int, seed: int = 1) -> Const:
    return Const.of(f(*shape, seed=seed))


# ---------------------------------------------------------------- convolutions


@pytest.mark.parametrize(
    ("activation", "params"),
    [
        *((a, ()) for a in ("Relu", "Tanh", "Sigmoid", "HardSwish")),
        ("LeakyRelu", (0.2,)),
        ("Clip", (-0.5, 0.75)),
        ("HardSigmoid", (0.1, 0.4)),
    ],
)
def test_fused_conv(harness: Any, activation: str, params: tuple[float, ...]) -> None:
    operands = [f(1, 4, 9, 8), c(6, 2, 3, 3), c(6)]
    attrs = {"group": 2, "strides": (2, 1), "pads": (1, 0, 1, 2), "activation": activation}
    if params:
        attrs["activation_params"] = Floats(params)
    g, feeds = harness.graph("FusedConv", operands, domain=MS, **attrs)
    harness.same(UnfuseConv(), g, feeds)


def test_fused_conv_adds_before_it_activates(harness: Any) -> None:
    g, feeds = harness.graph(
        "FusedConv", [f(1, 2, 5, 5), c(3, 2, 3, 3), c(3), f(1, 3, 3, 3)], domain=MS, activation="Relu"
    )
    outcome = harness.same(UnfuseConv(), g, feeds)
    assert outcome.types == ["Conv", "Add", "Relu"]


def test_fused_conv_without_an_activation_or_bias(harness: Any) -> None:
    g, feeds = harness.graph("FusedConv", [f(1, 2, 7), c(3, 2, 3)], domain=MS, dilations=(2,), pads=(2, 1))
    assert harness.same(UnfuseConv(), g, feeds).types == ["Conv"]


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"activation": "Elu"}, "has no alpha"),
        ({"activation": "Erf"}, "none that onnxruntime fuses"),
        ({"activation": "LeakyRelu"}, "has no alpha"),
        ({"fuse_what": 1}, "attribute fuse_what is not known"),
    ],
)
def test_what_a_conv_may_not_have(harness: Any, attrs: dict[str, Any], reason: str) -> None:
    g, _ = harness.graph("FusedConv", [f(1, 2, 5, 5), c(3, 2, 3, 3)], domain=MS, **attrs)
    harness.declines(UnfuseConv(), g, reason)


@pytest.mark.parametrize(("fused", "weights_last"), [(False, False), (False, True), (True, False)])
def test_nhwc_conv(harness: Any, fused: bool, weights_last: bool) -> None:
    """No CPU kernel has it: it must be what Conv makes of the transposed operands."""
    x, w, b, z = f(1, 6, 7, 4), f(6, 2, 3, 3), f(6), f(1, 3, 5, 6)
    stored = w.transpose(0, 2, 3, 1) if weights_last else w
    attrs: dict[str, Any] = {"group": 2, "strides": (2, 1), "pads": (1, 0, 0, 0)}
    more = [Const.of(z)] if fused else []
    extra = {"activation": "Relu"} if fused else {}
    kind = "NhwcFusedConv" if fused else "NhwcConv"
    g, feeds = harness.graph(kind, [x, Const.of(stored), Const.of(b), *more], domain=MS, **attrs, **extra)
    after = harness.rewrite(UnfuseConv(), g).after
    (got,) = harness.run(after, feeds)
    plain, fed = harness.graph("Conv", [x.transpose(0, 3, 1, 2), Const.of(w), Const.of(b)], **attrs)
    want = harness.run(plain, fed)[0].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(got, np.maximum(want + z, 0) if fused else want, rtol=1e-5, atol=1e-5)
    assert after.tensor_type("y0") == g.tensor_type("y0")


def test_weights_of_an_nhwc_conv_that_fit_both_layouts_have_their_channels_last(harness: Any) -> None:
    x, stored = f(1, 6, 7, 4), f(5, 4, 3, 4)  # [out, height, width, in], or [out, in, height, width]
    g, feeds = harness.graph("NhwcConv", [x, Const.of(stored)], domain=MS)
    (got,) = harness.run(harness.rewrite(UnfuseConv(), g).after, feeds)
    plain, fed = harness.graph("Conv", [x.transpose(0, 3, 1, 2), Const.of(stored.transpose(0, 3, 1, 2))])
    np.testing.assert_allclose(got, harness.run(plain, fed)[0].transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- products


@pytest.mark.parametrize(
    ("a", "b", "attrs"),
    [
        ((2, 3, 4), (2, 4, 5), {"alpha": 0.25}),
        ((2, 4, 3), (2, 4, 5), {"transA": 1}),
        ((2, 3, 4), (5, 4), {"transB": 1, "alpha": -2.0}),
        ((2, 4, 3), (2, 5, 4), {"transA": 1, "transB": 1}),
        ((5, 3, 2, 4), (3, 2, 4, 6), {"transBatchA": 1}),
        ((3, 2, 5, 4), (4, 3, 2, 6), {"transBatchB": 1}),
        ((4, 3, 2, 5), (3, 2, 4, 6), {"transBatchA": 1, "transA": 1}),
        ((4,), (2, 4, 6), {"transA": 1}),
        ((2, 6, 4), (4,), {"transB": 1}),
    ],
)
def test_fused_mat_mul(harness: Any, a: Any, b: Any, attrs: dict[str, Any]) -> None:
    g, feeds = harness.graph("FusedMatMul", [f(*a), f(*b)], domain=MS, **attrs)
    assert g.tensor_type("y0").shape == harness.run(g, feeds)[0].shape
    harness.same(UnfuseMatMul(), g, feeds, atol=1e-5)


def test_transpose_mat_mul(harness: Any) -> None:
    g, feeds = harness.graph("TransposeMatMul", [f(3, 2), f(3, 4)], domain=MS, transA=1, alpha=2.0)
    harness.same(UnfuseMatMul(), g, feeds)


def test_mat_mul_with_an_activation(harness: Any) -> None:
    a, b = f(2, 3), f(4, 3)
    for kind, attrs, expected in (
        ("Relu", {}, np.maximum(a @ b.T, 0)),
        ("LeakyRelu", {"activation_alpha": 0.3}, np.where(a @ b.T > 0, a @ b.T, 0.3 * (a @ b.T))),
        ("Softmax", {"activation_axis": 0}, np.exp(a @ b.T) / np.exp(a @ b.T).sum(0, keepdims=True)),
    ):
        g, feeds = harness.graph("FusedMatMulActivation", [a, b], domain=MS, transB=1, activation=kind, **attrs)
        (got,) = harness.run(harness.rewrite(UnfuseMatMul(), g).after, feeds)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    g, _ = harness.graph("FusedMatMulActivation", [a, b], domain=MS, transB=1, activation="LeakyRelu")
    harness.declines(UnfuseMatMul(), g, "has no alpha")


@pytest.mark.parametrize(
    ("activation", "params"),
    [
        *((a, {}) for a in ("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign")),
        *((a, {"activation_alpha": 0.3}) for a in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu")),
        *(
            (a, {"activation_alpha": 0.3, "activation_beta": 0.7})
            for a in ("HardSigmoid", "ScaledTanh", "ParametricSoftplus")
        ),
        ("Selu", {"activation_alpha": 1.3, "activation_gamma": 0.7}),
    ],
)
def test_fused_gemm(harness: Any, activation: str, params: dict[str, float]) -> None:
    g, feeds = harness.graph(
        "FusedGemm", [f(4, 3), f(5, 3), c(5)], domain=MS,
        alpha=0.5, beta=2.0, transB=1, activation=activation, **params,
    )  # fmt: skip
    harness.same(UnfuseGemm(), g, feeds, atol=1e-5)


def test_fused_gemm_needs_its_parameters(harness: Any) -> None:
    g, _ = harness.graph("FusedGemm", [f(4, 3), f(3, 5)], domain=MS, activation="Elu")
    harness.declines(UnfuseGemm(), g, "has no alpha")


# ---------------------------------------------------------------- activations


@pytest.mark.parametrize(
    ("kind", "operands", "attrs"),
    [
        ("Gelu", [f(3, 8)], {}),
        ("BiasGelu", [f(3, 8), f(8)], {}),
        ("FastGelu", [f(3, 8)], {}),
        ("FastGelu", [f(3, 8), f(8)], {}),
        ("QuickGelu", [f(3, 8)], {}),
        ("QuickGelu", [f(3, 8)], {"alpha": 1.0}),
    ],
)
def test_gelus(harness: Any, kind: str, operands: list[Array], attrs: dict[str, Any]) -> None:
    g, feeds = harness.graph(kind, operands, domain=MS, **attrs)
    harness.same(UnfuseGelu(), g, feeds, atol=2e-6)


def gelu(x: Array) -> Array:
    from math import erf

    y: Array = x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))
    return y


def test_gelus_without_a_cpu_kernel(harness: Any) -> None:
    x, w, b = f(2, 3, 4), f(4, 6), f(6)
    g, feeds = harness.graph("GemmFastGelu", [x, w, b], domain=MS)
    y = x @ w + b
    tanh = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    (got,) = harness.run(harness.rewrite(UnfuseGelu(), g).after, feeds)
    np.testing.assert_allclose(got, tanh, rtol=1e-5, atol=1e-6)
    g, feeds = harness.graph("BiasSplitGelu", [f(2, 3, 6), b], domain=MS)
    y = f(2, 3, 6) + b
    want = y[..., :3] * gelu(y[..., 3:])
    (got,) = harness.run(harness.rewrite(UnfuseGelu(), g).after, feeds)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- normalisations


@pytest.mark.parametrize(("skip", "simplified"), [*(((2, 3, 8)[i:], False) for i in (0, 1)), ((1, 3, 8), False),
                                                   ((2, 3, 8), True)])  # fmt: skip
def test_skip_layer_norm(harness: Any, skip: tuple[int, ...], simplified: bool) -> None:
    kind = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    operands = [f(2, 3, 8), f(*skip, seed=3), c(8), *([] if simplified else [c(8, seed=4)]), c(8, seed=5)]
    g, feeds = harness.graph(kind, operands, domain=MS, outputs=(True, False, False, True), epsilon=1e-3)
    harness.same(UnfuseLayerNorm(), g, feeds, atol=1e-5)
    assert g.tensor_type("y3").shape == (2, 3, 8)


def test_skip_layer_norm_alone_and_with_moments(harness: Any) -> None:
    g, feeds = harness.graph("SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8, seed=3), c(8)], domain=MS)
    assert harness.same(UnfuseLayerNorm(), g, feeds, atol=1e-5).types == ["Add", "LayerNormalization"]
    g, feeds = harness.graph("SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8, seed=3), c(8)], domain=MS, outputs=3)
    harness.same(UnfuseLayerNorm(), g, feeds, atol=1e-5)


@pytest.mark.parametrize("attrs", [{}, {"axis": 1, "epsilon": 1e-3}])
def test_simplified_layer_norm_of_ai_onnx(harness: Any, attrs: dict[str, Any]) -> None:
    scale = c(8) if not attrs else c(3, 8)
    g, feeds = harness.graph("SimplifiedLayerNormalization", [f(2, 3, 8), scale], **attrs)
    assert harness.same(UnfuseLayerNorm(), g, feeds, atol=1e-5).types == ["RMSNormalization"]


def test_layer_norm_of_another_domain(harness: Any) -> None:
    operands = [f(2, 3, 8), c(8), c(8, seed=2)]
    plain, feeds = harness.graph("LayerNormalization", operands, outputs=3, axis=-1)
    other, _ = harness.graph("LayerNormalization", operands, outputs=3, domain=MS)
    after = harness.rewrite(UnfuseLayerNorm(), other).after
    for a, b in zip(harness.run(plain, feeds), harness.run(after, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rms_moments_are_refused(harness: Any) -> None:
    g, _ = harness.graph("SimplifiedLayerNormalization", [f(2, 8), c(8)], outputs=2)
    harness.declines(UnfuseLayerNorm(), g, "inverse deviation is an output")
    g, _ = harness.graph("SkipSimplifiedLayerNormalization", [f(2, 3, 8), f(2, 3, 8), c(8)], domain=MS, outputs=3)
    harness.declines(UnfuseLayerNorm(), g, "inverse deviation is an output")


@pytest.mark.parametrize("case", ["all", "no segments", "places", "no mask"])
def test_embed_layer_norm(harness: Any, case: str) -> None:
    rng = np.random.default_rng(0)
    ids, segments, mask = (rng.integers(0, n, (2, 5)).astype(np.int32) for n in (7, 2, 2))
    places = rng.integers(0, 9, (2 if case == "places" else 1, 5)).astype(np.int32)
    bare = case == "no segments"
    operands = [
        ids, None if bare else segments, c(7, 8), c(9, 8, seed=2), None if bare else c(2, 8, seed=3),
        c(8, seed=4), c(8, seed=5), None if case == "no mask" else mask, places if case == "places" else None,
    ]  # fmt: skip
    while operands[-1] is None:
        operands.pop()
    g, feeds = harness.graph("EmbedLayerNormalization", operands, domain=MS, outputs=3)
    harness.same(UnfuseEmbedLayerNorm(), g, feeds, atol=1e-5)


def group_norm(x: Array, gamma: Array, beta: Array, groups: int, eps: float) -> Array:
    """Over [N, H, W, C]."""
    n, h, w, ch = x.shape
    y = x.astype(np.float64).reshape(n, h * w, groups, ch // groups)
    mean, var = y.mean((1, 3), keepdims=True), y.var((1, 3), keepdims=True)
    result: Array = ((y - mean) / np.sqrt(var + eps)).reshape(x.shape) * gamma + beta
    return result


def test_group_norm_of_halves_has_parameters_in_fp32(harness: Any) -> None:
    x, gamma, beta = f(2, 3, 5, 8).astype(np.float16), f(8, seed=1), f(8, seed=2)
    g, feeds = harness.graph("GroupNorm", [x, gamma, beta], domain=MS, groups=4, activation=0)
    (got,) = harness.run(harness.rewrite(UnfuseGroupNorm(), g).after, feeds)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, group_norm(x, gamma, beta, 4, 1e-5), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("attrs", [{"groups": 4, "activation": 2}, {"activation": 1}])
def test_what_a_group_norm_may_not_have(harness: Any, attrs: dict[str, Any]) -> None:
    g, _ = harness.graph("GroupNorm", [f(2, 3, 5, 8), f(8), f(8)], domain=MS, **attrs)
    harness.declines(UnfuseGroupNorm(), g, "is not known, or it has no groups")


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("skip", ["", "full", "channels", "spread"])
def test_group_norm(harness: Any, last: int, skip: str) -> None:
    x, gamma, beta, bias = f(2, 3, 5, 8), f(8, seed=1), f(8, seed=2), f(8, seed=3)
    residuals = {"full": f(2, 3, 5, 8, seed=4), "channels": f(2, 8, seed=5), "spread": f(2, 1, 1, 8, seed=6)}
    total = x + bias + (residuals[skip] if skip != "channels" else residuals[skip][:, None, None]) if skip else x
    want = group_norm(total, gamma, beta, 4, 1e-3)
    want = want / (1 + np.exp(-want)) if last else want

    def laid(v: Array) -> Array:
        return v if last or v.ndim < 4 else v.transpose(0, 3, 1, 2)

    operands = [laid(x), gamma, beta, *([laid(residuals[skip]), bias] if skip else [])]
    g, feeds = harness.graph(
        "SkipGroupNorm" if skip else "GroupNorm", operands, domain=MS, outputs=2 if skip else 1,
        channels_last=last, groups=4, epsilon=1e-3, activation=last,
    )  # fmt: skip
    got = harness.run(harness.rewrite(UnfuseGroupNorm(), g).after, feeds)
    np.testing.assert_allclose(got[0], laid(want), rtol=1e-4, atol=1e-5)
    if skip:
        np.testing.assert_allclose(got[1], laid(total), rtol=1e-5, atol=1e-6)


def test_bias_softmax_and_bias_add(harness: Any) -> None:
    x, b = f(2, 3, 4, 5), f(2, 1, 1, 5, seed=1)
    for axis, axes in ((3, (3,)), (2, (2, 3))):
        g, feeds = harness.graph("BiasSoftmax", [x, b], domain=MS, axis=axis, is_inner_broadcast=1)
        e = np.exp((x + b).astype(np.float64))
        (got,) = harness.run(harness.rewrite(UnfuseBias(), g).after, feeds)
        np.testing.assert_allclose(got, e / e.sum(axes, keepdims=True), rtol=1e-5)
    g, feeds = harness.graph("BiasAdd", [f(2, 3, 4), f(4), f(2, 3, 4, seed=2)], domain=MS)
    (got,) = harness.run(harness.rewrite(UnfuseBias(), g).after, feeds)
    np.testing.assert_allclose(got, f(2, 3, 4) + f(4) + f(2, 3, 4, seed=2), rtol=1e-6)


# ---------------------------------------------------------------- other names


def i64(*values: int) -> Const:
    return Const.of(np.array(values, np.int64))


@pytest.mark.parametrize(
    ("kind", "operands", "attrs"),
    [
        ("Trilu", [f(2, 4, 5)], {}),
        ("Trilu", [f(4, 5), Const.of(np.array(-1, np.int64))], {"upper": 0}),
        ("Pad", [f(2, 3), i64(0, 1, 2, 0)], {}),
        ("Pad", [f(2, 3), Const.of(np.array([[0, 1, 0, 2]])), c(1)], {"mode": "constant"}),
        ("Pad", [f(3, 4), i64(1, 1, 1, 1)], {"mode": "reflect"}),
        ("Pad", [f(3, 4), i64(1, 1, 1, 1)], {"mode": "edge"}),
        ("GridSample", [f(1, 2, 4, 5), f(1, 3, 3, 2)], {}),
        ("GridSample", [f(1, 2, 4, 5), f(1, 3, 3, 2)], {"mode": "bicubic", "padding_mode": "border"}),
        ("GridSample", [f(1, 2, 4, 5), f(1, 3, 3, 2)], {"mode": "nearest", "align_corners": 1}),
        ("GatherND", [f(3, 4), Const.of(np.array([[0, 1], [2, 3]], np.int32))], {}),
        ("Range", [np.array(2, np.int64), np.array([7], np.int64)], {}),
        ("Range", [np.array(2.0, np.float32), np.array(4.0, np.float32), np.array(0.5, np.float32)], {}),
        ("ExpandDims", [f(2, 3), Const.of(np.array(-1, np.int32))], {}),
        ("ExpandDims", [f(2, 3), Const.of(np.array(1, np.int32))], {}),
        ("SampleOp", [f(2, 3)], {}),
        ("QuantizeLinear", [f(2, 3), Const.of(np.float32(0.1)), Const.of(np.uint8(9))], {}),
        ("DequantizeLinear", [np.arange(6, dtype=np.int8).reshape(2, 3), c(3), Const.of(np.arange(3, dtype=np.int8))],
         {"axis": 1}),
        ("DequantizeLinear", [np.arange(6, dtype=np.uint8).reshape(2, 3), c(1)], {}),
    ],
)  # fmt: skip
def test_other_names(harness: Any, kind: str, operands: list[Any], attrs: dict[str, Any]) -> None:
    g, feeds = harness.graph(kind, operands, domain=MS, **attrs)
    declared = g.tensor_type("y0")
    outcome = harness.same(RenameContribOps(), g, feeds)
    shape = harness.run(g, feeds)[0].shape
    assert declared.static_shape in (None, shape)
    assert all(outcome.after.op(i).domain == "" for i in outcome.after.topological())


def test_expand_dims_by_a_computed_axis(harness: Any) -> None:
    g, _ = harness.graph("ExpandDims", [f(2, 3), np.array(0, np.int32)], domain=MS)
    harness.declines(RenameContribOps(), g, "axis is computed at run time")
