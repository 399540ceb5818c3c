"""Layers and models that coremltools' converter does not write, built by hand: legacy shapes, images, small weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.lowering.lift import lift
from coregraft.rewriter.errors import InputError, UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array, DType
from tests.lowering.lift.one_op import floats, run_graph


def _draw(*shape: int, seed: int = 5) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _builder(inputs: dict[str, tuple[int, ...]], *, legacy: bool = False, mode: str | None = None) -> Any:
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    features = [(name, datatypes.Array(*shape)) for name, shape in inputs.items()]
    return NeuralNetworkBuilder(
        features, [("y", None)], mode, disable_rank5_shape_mapping=not legacy, use_float_arraytype=True
    )


def _lifted(builder: Any, folder: Path, **options: Any) -> Graph:
    path = folder / "m.mlmodel"
    path.write_bytes(builder.spec.SerializeToString())
    return lift(path, **options)


def _ran(builder: Any, folder: Path, **feeds: Array) -> Array:
    graph = _lifted(builder, folder)
    return next(iter(run_graph(graph, feeds).values()))


@pytest.mark.parametrize("mode, function", [
    ("rsqrt", lambda x: 1 / np.sqrt(x + 1e-6)), ("inverse", lambda x: 1 / (x + 1e-6)), ("log", np.log),
    ("power", lambda x: x**3), ("threshold", lambda x: np.maximum(x, 3)), ("abs", np.abs), ("exp", np.exp),
])  # fmt: skip
def test_unary_shifts_and_scales_first(mode: str, function: Any, tmp_path: Path) -> None:
    b = _builder({"x": (2, 3)})
    b.add_unary("u", "x", "y", mode, alpha=3.0, shift=1.5, scale=0.5, epsilon=0)
    x = np.abs(_draw(2, 3))
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), function(0.5 * x + 1.5), rtol=1e-5)


def test_epsilon_of_a_logarithm_is_reported(tmp_path: Path) -> None:
    b = _builder({"x": (3,)})
    b.add_unary("u", "x", "y", "log", epsilon=0.1)
    assert "epsilon" in _lifted(b, tmp_path).graph["lift_warnings"][0]
    with pytest.raises(UnsupportedError) as caught:
        _lifted(b, tmp_path, strict=True)
    assert caught.value.code == "lift-undefined"


@pytest.mark.parametrize("mode, function", [
    ("ADD", sum), ("MAX", lambda v: np.max(v, axis=0)), ("MIN", lambda v: np.min(v, axis=0)),
    ("AVE", lambda v: np.mean(v, axis=0)), ("MULTIPLY", lambda v: np.prod(v, axis=0)),
])  # fmt: skip
def test_layers_of_several_inputs(mode: str, function: Any, tmp_path: Path) -> None:
    feeds = {name: _draw(2, 3, seed=i) for i, name in enumerate("abc")}
    b = _builder(dict.fromkeys(feeds, (2, 3)))
    b.add_elementwise("e", list(feeds), "y", mode)
    np.testing.assert_allclose(_ran(b, tmp_path, **feeds), function(list(feeds.values())), rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 1, 4), (2, 2, 3, 1, 4)])
def test_inner_product_of_images(shape: tuple[int, ...], tmp_path: Path) -> None:
    w, bias, x = _draw(5, 12), _draw(5), _draw(*shape)
    b = _builder({"x": shape})
    b.add_inner_product("p", w, bias, 12, 5, True, "x", "y")
    want = (x.reshape(*shape[:-3], 12) @ w.T + bias)[..., None, None]
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), want, rtol=1e-4, atol=1e-5)


def test_embedding_of_rank_4(tmp_path: Path) -> None:
    w, bias = _draw(3, 7), _draw(3)
    b = _builder({"x": (2, 1, 1, 1)})
    b.add_embedding("e", w, bias, 7, 3, True, "x", "y")
    got = _ran(b, tmp_path, x=floats([6, 0]).reshape(2, 1, 1, 1))
    np.testing.assert_allclose(got, (w.T[[6, 0]] + bias)[..., None, None], rtol=1e-5)


def test_a_matrix_stored_by_columns(tmp_path: Path) -> None:
    w, bias, x = _draw(4, 5), _draw(5), _draw(2, 3, 4)
    b = _builder({"x": x.shape})
    b.add_batched_mat_mul("m", ["x"], "y", weight_matrix_rows=4, weight_matrix_columns=5, W=w, bias=bias)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), x @ w + bias, rtol=1e-4, atol=1e-5)


def test_products_with_vectors_keep_their_dim(tmp_path: Path) -> None:
    b = _builder({"x": (3,), "z": (3, 4)})
    b.add_batched_mat_mul("m", ["x", "z"], "y")
    x, z = _draw(3), _draw(3, 4)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x, z=z), (x @ z)[None], rtol=1e-5)


@pytest.mark.parametrize("shape", [[1], [3], [1, 4, 5], [3, 4, 5]])
def test_scales_and_biases(shape: list[int], tmp_path: Path) -> None:
    w, bias, x = _draw(*shape), _draw(*shape, seed=6), _draw(2, 3, 4, 5)
    b = _builder({"x": x.shape})
    b.add_scale("s", w, bias, True, "x", "t", shape, shape)
    b.add_bias("b", bias, "t", "y", shape)
    spread = [v.reshape(-1, 1, 1) if len(shape) == 1 else v for v in (w, bias)]
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), x * spread[0] + 2 * spread[1], rtol=1e-4, atol=1e-5)


def test_layers_on_more_than_one_leading_dim(tmp_path: Path) -> None:
    x, w = _draw(2, 2, 3, 5, 5), _draw(3, 3, 3, 4)
    b = _builder({"x": x.shape})
    b.add_convolution("c", 3, 4, 3, 3, 1, 1, "valid", 1, w, None, False, input_name="x", output_name="t")
    b.add_pooling("p", 2, 2, 1, 1, "MAX", "VALID", "t", "y")
    flat = x.reshape(4, 3, 5, 5)
    conv = np.zeros((4, 4, 3, 3))
    for i, j in np.ndindex(3, 3):
        conv[:, :, i, j] = np.einsum("nchw,hwco->no", flat[:, :, i : i + 3, j : j + 3], w)
    want = np.max([conv[..., i : i + 2, j : j + 2] for i, j in np.ndindex(2, 2)], axis=0).reshape(2, 2, 4, 2, 2)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["BOTTOM_RIGHT_HEAVY", "TOP_LEFT_HEAVY"])
def test_same_padding_is_documented_for_layers(mode: str, tmp_path: Path) -> None:
    x, w = _draw(1, 1, 5, 6), _draw(2, 3, 1, 1)
    b = _builder({"x": x.shape})
    b.add_convolution("c", 1, 1, 2, 3, 1, 2, "same", 1, w, None, False, input_name="x", output_name="y",
                      same_padding_asymmetry_mode=mode)  # fmt: skip
    low = mode == "TOP_LEFT_HEAVY"
    padded = np.pad(x[0, 0], [(1, 0) if low else (0, 1), (1, 0) if low else (0, 1)])
    want = np.array([[np.sum(padded[i : i + 2, j : j + 3] * w[:, :, 0, 0]) for j in (0, 2, 4)] for i in range(5)])
    graph = _lifted(b, tmp_path, strict=True)
    np.testing.assert_allclose(next(iter(run_graph(graph, {"x": x}).values()))[0, 0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape, doubts", [((5, 7), 0), ((6, 8), 1)])
def test_deconvolution_to_a_size(shape: tuple[int, int], doubts: int, tmp_path: Path) -> None:
    x, w = _draw(1, 2, 3, 4), _draw(3, 3, 2, 1)
    b = _builder({"x": x.shape})
    b.add_convolution("c", 2, 1, 3, 3, 2, 2, "same", 1, w, None, False, True, shape, "x", "y")
    full = np.zeros((7, 9))
    for i, j in np.ndindex(3, 4):
        full[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("c,hwco->hw", x[0, :, i, j], w)
    begin = [(f - s) // 2 for f, s in zip(full.shape, shape, strict=True)]
    want = full[begin[0] : begin[0] + shape[0], begin[1] : begin[1] + shape[1]]
    graph = _lifted(b, tmp_path)
    np.testing.assert_allclose(next(iter(run_graph(graph, {"x": x}).values()))[0, 0], want, rtol=1e-4, atol=1e-5)
    assert len(graph.graph["lift_warnings"]) == doubts


def test_normalisation_without_variance_and_across_channels(tmp_path: Path) -> None:
    x = _draw(2, 3, 4, 5)
    b = _builder({"x": x.shape})
    b.add_mvn("m", "x", "y", across_channels=True, normalize_variance=False)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), x - x.mean((1, 2, 3), keepdims=True), rtol=1e-4, atol=1e-6)


def test_layer_normalization(tmp_path: Path) -> None:
    x, gamma, beta = _draw(2, 3, 4), _draw(3, 4), _draw(3, 4, seed=6)
    b = _builder({"x": x.shape})
    b.add_layer_normalization("l", "x", "y", [3, 4], gamma, beta, 0.1)
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), (x - mean) / np.sqrt(var + 0.1) * gamma + beta, rtol=1e-4,
                               atol=1e-5)  # fmt: skip


def test_batch_statistics_are_refused(tmp_path: Path) -> None:
    b = _builder({"x": (2, 3, 4, 4)})
    b.add_batchnorm("n", 3, np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), "x", "y")
    b.spec.neuralNetwork.layers[0].batchnorm.computeMeanVar = True
    with pytest.raises(UnsupportedError) as caught:
        _lifted(b, tmp_path)
    assert "batch" in caught.value.message


def test_crop_to_another_blob_and_slices_of_an_axis(tmp_path: Path) -> None:
    x = _draw(1, 2, 5, 6)
    b = _builder({"x": x.shape, "z": (1, 2, 2, 3)})
    b.add_crop("c", 0, 0, 0, 0, [1, 2], ["x", "z"], "t")
    b.add_slice("s", "t", "y", "width", 0, -1, 1)
    got = _ran(b, tmp_path, x=x, z=_draw(1, 2, 2, 3))
    np.testing.assert_array_equal(got, x[..., 1:3, 2:5][..., 0:-1])


def test_a_blob_that_is_written_twice(tmp_path: Path) -> None:
    b = _builder({"x": (3,)})
    b.add_activation("a", "RELU", "x", "y")
    b.add_elementwise("e", ["y"], "z", "ADD", 1.0)
    b.add_copy("k", "z", "y")
    x = _draw(3)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), np.maximum(x, 0) + 1, rtol=1e-6)


def test_a_counted_loop(tmp_path: Path) -> None:
    from coremltools.models.neural_network import NeuralNetworkBuilder

    b = _builder({"x": (3,)})
    b.add_copy("k", "x", "y")
    layer = b.add_loop("l", max_iterations=3)
    inner = NeuralNetworkBuilder(nn_spec=layer.loop.bodyNetwork, disable_rank5_shape_mapping=True)
    inner.add_elementwise("e", ["y"], "z", "MULTIPLY", 2.0)
    inner.add_copy("c", "z", "y")
    x = _draw(3)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x), 8 * x, rtol=1e-6)


def test_a_branch_that_may_not_write(tmp_path: Path) -> None:
    from coremltools.models.neural_network import NeuralNetworkBuilder

    b = _builder({"x": (3,), "go": (1,)})
    b.add_copy("k", "x", "y")
    layer = b.add_branch("b", "go")
    inner = NeuralNetworkBuilder(nn_spec=layer.branch.ifBranch, disable_rank5_shape_mapping=True)
    inner.add_elementwise("e", ["x"], "z", "MULTIPLY", 2.0)
    inner.add_copy("c", "z", "y")
    x = _draw(3)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x, go=floats([1])), 2 * x, rtol=1e-6)
    np.testing.assert_allclose(_ran(b, tmp_path, x=x, go=floats([0])), x, rtol=1e-6)


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("bits", [1, 3, 4, 8])
@pytest.mark.parametrize("mode", ["linear", "table"])
def test_small_weights(bits: int, mode: str, tmp_path: Path) -> None:
    b = _builder({"x": (12, 12)})
    b.add_inner_product("p", _draw(5, 12), None, 12, 5, False, "x", "y")
    levels = np.arange(60) % (1 << bits)
    message = b.spec.neuralNetwork.layers[0].innerProduct.weights
    message.ClearField("floatValue")
    message.rawValue = np.packbits([(int(v) >> i) & 1 for v in levels for i in reversed(range(bits))]).tobytes()
    message.quantization.numberOfBits = bits
    if mode == "linear":
        scale, bias = np.abs(_draw(5)), _draw(5, seed=6)
        message.quantization.linearQuantization.scale.extend(scale.tolist())
        message.quantization.linearQuantization.bias.extend(bias.tolist())
        want = levels.reshape(5, 12) * scale[:, None] + bias[:, None]
    else:
        table = _draw(1 << bits)
        message.quantization.lookupTableQuantization.floatValue.extend(table.tolist())
        want = table[levels].reshape(5, 12)
    got = _ran(b, tmp_path, x=np.eye(12, dtype=np.float32))
    np.testing.assert_allclose(got, want.T, rtol=1e-5, atol=1e-6)


def test_half_precision_weights(tmp_path: Path) -> None:
    w = _draw(5, 12).astype(np.float16)
    b = _builder({"x": (12, 12)})
    b.add_inner_product("p", w, None, 12, 5, False, "x", "y")
    message = b.spec.neuralNetwork.layers[0].innerProduct.weights
    message.ClearField("floatValue")
    message.float16Value = w.tobytes()
    np.testing.assert_array_equal(_ran(b, tmp_path, x=np.eye(12, dtype=np.float32)), w.T.astype(np.float32))


def test_weights_that_do_not_fit_are_one_clear_error(tmp_path: Path) -> None:
    b = _builder({"x": (4,)})
    b.add_inner_product("p", _draw(5, 4), None, 4, 5, False, "x", "y")
    b.spec.neuralNetwork.layers[0].innerProduct.weights.floatValue.append(1)
    with pytest.raises(InputError) as caught:
        _lifted(b, tmp_path)
    assert caught.value.code == "package-broken"


# ------------------------------------------------------------------------------------------------ inputs and outputs


@pytest.mark.parametrize("rank", [1, 3])
def test_the_legacy_mapping_of_shapes(rank: int, tmp_path: Path) -> None:
    shape = (3,) if rank == 1 else (3, 4, 5)
    b = _builder({"x": shape}, legacy=True)
    b.add_activation("a", "RELU", "x", "y")
    x = _draw(*shape)
    graph = _lifted(b, tmp_path)
    (result,) = run_graph(graph, {"x": x}).values()
    assert result.shape == ((1, 1, 3, 1, 1) if rank == 1 else (1, 1, 3, 4, 5))
    np.testing.assert_array_equal(result.ravel(), np.maximum(x, 0).ravel())
    assert any("rank 5" in text for text in graph.graph["lift_warnings"])


@pytest.mark.parametrize("colours", ["RGB", "BGR", "GRAYSCALE"])
def test_images_and_their_preprocessing(colours: str, tmp_path: Path) -> None:
    channels = 1 if colours == "GRAYSCALE" else 3
    b = _builder({"x": (1, channels, 2, 3)})
    b.add_activation("a", "LINEAR", "x", "y", params=[1, 0])
    feature = b.spec.description.input[0].type
    feature.imageType.width, feature.imageType.height = 3, 2
    feature.imageType.colorSpace = feature.imageType.ColorSpace.Value(colours)
    b.spec.neuralNetwork.imageInputShapeMapping = 1
    step = b.spec.neuralNetwork.preprocessing.add()
    step.featureName = "x"
    step.scaler.channelScale = 0.5
    step.scaler.redBias, step.scaler.greenBias, step.scaler.blueBias, step.scaler.grayBias = 1, 2, 3, 4
    x = np.full((1, channels, 2, 3), 10, np.float32)
    graph = _lifted(b, tmp_path)
    (result,) = run_graph(graph, {"x": x}).values()
    bias = {"RGB": [1, 2, 3], "BGR": [3, 2, 1], "GRAYSCALE": [4]}[colours]
    np.testing.assert_array_equal(result, x / 2 + floats(bias).reshape(1, -1, 1, 1))
    assert any("image" in text for text in graph.graph["lift_warnings"])


def test_integer_inputs_and_sizes_that_vary(tmp_path: Path) -> None:
    from coremltools.models.neural_network.flexible_shape_utils import set_multiarray_ndshape_range
    from coremltools.proto import FeatureTypes_pb2

    b = _builder({"x": (2, 3)})
    b.add_reduce_sum("r", "x", "y", axes=[0], keepdims=False)
    b.spec.description.input[0].type.multiArrayType.dataType = FeatureTypes_pb2.ArrayFeatureType.INT32
    set_multiarray_ndshape_range(b.spec, "x", [1, 3], [9, 3])
    graph = _lifted(b, tmp_path)
    kind = graph.tensor_type("x")
    assert kind is not None and kind.dtype is DType.INT32 and kind.shape == (None, 3)
    x = np.arange(12, dtype=np.int32).reshape(4, 3)
    (result,) = run_graph(graph, {"x": x}).values()
    np.testing.assert_array_equal(result, x.sum(0))


def test_a_classifier_gives_its_probabilities(tmp_path: Path) -> None:
    b = _builder({"x": (1, 3)}, mode="classifier")
    b.add_softmax_nd("s", "x", "y", -1)
    b.set_class_labels(["a", "b", "c"], "label", "y")
    graph = _lifted(b, tmp_path)
    x = _draw(1, 3)
    results = run_graph(graph, {"x": x})
    assert list(results) == ["y"]
    np.testing.assert_allclose(results["y"], np.exp(x) / np.exp(x).sum(), rtol=1e-5)
    assert any("label" in text for text in graph.graph["lift_warnings"])


# ------------------------------------------------------------------------------------------------ refusals


def test_custom_layers_are_refused_by_their_class(tmp_path: Path) -> None:
    from coremltools.proto import NeuralNetwork_pb2

    b = _builder({"x": (3,)})
    params = NeuralNetwork_pb2.CustomLayerParams()
    params.className = "Swirl"
    b.add_custom("c", ["x"], ["y"], params)
    with pytest.raises(UnsupportedError) as caught:
        _lifted(b, tmp_path)
    assert caught.value.code == "lift-op-unsupported" and "Swirl" in caught.value.message


def test_every_kind_that_cannot_be_lifted_is_named(tmp_path: Path) -> None:
    b = _builder({"x": (3,)})
    b.add_acosh("a", "x", "t")
    b.add_random_normal_like("r", "t", "y", 0.0, 1.0, 3)
    with pytest.raises(UnsupportedError) as caught:
        _lifted(b, tmp_path)
    assert "acosh" in caught.value.message and "randomNormalLike" in caught.value.message


def test_a_blob_that_nothing_writes_is_one_clear_error(tmp_path: Path) -> None:
    b = _builder({"x": (3,)})
    b.add_activation("a", "RELU", "nowhere", "y")
    with pytest.raises(InputError) as caught:
        _lifted(b, tmp_path)
    assert caught.value.code == "package-broken" and "nowhere" in caught.value.message


def test_a_network_has_no_functions(tmp_path: Path) -> None:
    b = _builder({"x": (3,)})
    b.add_activation("a", "RELU", "x", "y")
    with pytest.raises(UsageError) as caught:
        _lifted(b, tmp_path, function="main")
    assert caught.value.code == "function-unknown"
