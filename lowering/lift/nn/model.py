"""A whole ``neuralnetwork`` model as a graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from coregraft.lowering.lift.lifter import Lifter, Session
from coregraft.lowering.lift.nn.custom import DOMAIN, is_ours
from coregraft.lowering.lift.nn.network import Blob, Layer, Network
from coregraft.lowering.lift.nn.registry import table
from coregraft.lowering.lift.spec import Package, Slot
from coregraft.rewriter.errors import InputError, UnsupportedError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.opset import required_opset
from coregraft.rewriter.types import Dim, DType, TensorType

#: The kinds of model that hold a network.
NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
_INT32 = 0x20000 | 32


def lift_network(package: Package, *, strict: bool, custom: bool = False) -> Graph:
    """The graph of a model of one of the three kinds of network. Everything in it is fp32.

    Args:
        strict: refuse what is left undefined.
        custom: whether custom layers that coregraft made become ops, see :mod:`coregraft.lowering.lift.nn.custom`.

    Raises:
        InputError: ``package-broken``.
        UnsupportedError: ``lift-op-unsupported`` naming each kind of layer that cannot be lifted; ``lift-undefined``.
    """
    model = package.model
    spec = getattr(model, model.WhichOneof("Type"))
    _require_lifts(spec.layers, custom)
    # The op set whose indices may be negative, as those of layers may.
    network = Network(Lifter(Session("CoreML5", strict, "exact")))
    outputs = [feature.name for feature in model.description.output]
    for feature in model.description.input:
        _enter(network, spec, feature)
    if model.WhichOneof("Type") == "neuralNetworkClassifier":
        outputs = [spec.labelProbabilityLayerName] if spec.labelProbabilityLayerName else outputs
        network.l.session.warnings["the label that the classifier picks is not lifted, only its probabilities"] = None
    network.run(spec.layers, frozenset(outputs))
    graph = network.l.graph
    end = Layer("output", "output", None, tuple(outputs), ())
    graph.set_outputs({name: network.value(network.read(end, name)) for name in outputs})
    ours = {DOMAIN: 1} if any(is_ours(layer) for layer in _walk(spec.layers)) else {}
    graph.set_opsets({"": required_opset(graph), **ours})
    graph.name = "main"
    graph.graph["producer_name"] = "coregraft"
    graph.graph["lift_warnings"] = tuple(network.l.session.warnings)
    graph.graph["lift_half"] = False
    return graph


def _require_lifts(messages: Any, custom: bool) -> None:
    """Check that every layer can be lifted.

    Raises:
        UnsupportedError: ``lift-op-unsupported``.
    """
    missing: dict[str, list[str]] = defaultdict(list)
    for layer in _walk(messages):
        if layer.kind == "custom" and not (custom and is_ours(layer)):
            missing[f"custom layer of class {layer.params.className}"].append(layer.name)
        elif layer.kind not in table():
            missing[layer.kind].append(layer.name)
    if missing:
        lines = [f'{kind} x{len(names)} (first: "{names[0]}")' for kind, names in sorted(missing.items())]
        text = f"{len(lines)} kind(s) of layer cannot be lifted: " + ", ".join(lines)
        raise UnsupportedError("lift-op-unsupported", text, node=missing[min(missing)][0])


def _walk(messages: Any) -> Iterator[Layer]:
    for message in messages:
        layer = Layer.of(message)
        yield layer
        if layer.kind == "branch":
            yield from _walk(layer.params.ifBranch.layers)
            yield from _walk(layer.params.elseBranch.layers)
        elif layer.kind == "loop":
            yield from _walk(layer.params.conditionNetwork.layers)
            yield from _walk(layer.params.bodyNetwork.layers)


def _enter(network: Network, spec: Any, feature: Any) -> None:
    """Add an input to the graph, and the blob that the layers see: reshaped, as floats, preprocessed."""
    layer = Layer("input", feature.name, None, (), (feature.name,))
    kind = feature.type.WhichOneof("Type")
    if kind not in ("multiArrayType", "imageType"):
        raise UnsupportedError("lift-type-unsupported", f'input "{feature.name}" is no tensor', node=feature.name)
    image = kind == "imageType"
    described = getattr(feature.type, kind)
    shape = _image_shape(described) if image else _array_shape(described)
    integer = not image and described.dataType == _INT32
    declared = TensorType(DType.INT32 if integer else DType.FLOAT, shape)
    name = network.l.input(feature.name, declared)
    if name != feature.name:
        raise InputError("package-broken", f'two inputs are called "{feature.name}"', node=feature.name)
    network.l.bind(Slot(name, declared), name)
    network.types[name] = network.values[name] = declared
    blob = network.floats(layer, Blob(name), f"{name}/float") if integer else Blob(name)
    if image:
        space = described.ColorSpace.Name(described.colorSpace).lower()
        network.warn(layer, f"an image ({space}); feed its pixels as the tensor 1 x channels x H x W")
    rank5 = (spec.imageInputShapeMapping if image else spec.arrayInputShapeMapping) == 0
    if rank5:
        blob = _as_rank5(network, layer, blob, image)
    for step in spec.preprocessing:
        # An empty name stands for the only input.
        if step.featureName in (feature.name, "") and image:
            blob = _preprocessed(network, layer, blob, step, described)
    network.blobs[feature.name] = blob


def _array_shape(array: Any) -> tuple[Dim, ...]:
    """The declared shape, with None for a size that may vary."""
    shape: list[Dim] = [int(d) for d in array.shape]
    flexible = array.WhichOneof("ShapeFlexibility")
    if flexible == "shapeRange":
        ranges = array.shapeRange.sizeRanges
        return tuple(int(r.lowerBound) if r.lowerBound == r.upperBound else None for r in ranges)
    if flexible == "enumeratedShapes":
        listed = [list(s.shape) for s in array.enumeratedShapes.shapes]
        if any(len(s) != len(shape) for s in listed):
            raise InputError("package-broken", "the enumerated shapes of an input differ in rank")
        return tuple(d if all(s[i] == d for s in listed) else None for i, d in enumerate(shape))
    return tuple(shape)


def _image_shape(image: Any) -> tuple[Dim, ...]:
    channels = 1 if image.ColorSpace.Name(image.colorSpace) == "GRAYSCALE" else 3
    fixed = image.WhichOneof("SizeFlexibility") is None
    return (1, channels, int(image.height) if fixed else None, int(image.width) if fixed else None)


def _as_rank5(network: Network, layer: Layer, blob: Blob, image: bool) -> Blob:
    """The legacy mapping, [sequence, batch, channel, height, width]."""
    rank = network.rank(layer, blob)
    if rank not in (1, 3) and not image:
        network.refuse(layer, f"the legacy mapping takes arrays of rank 1 or 3, not {rank}")
    network.warn(layer, "the legacy mapping of shapes: every blob has rank 5, outputs too")
    axes = [0] if image else [0, 1, 3, 4] if rank == 1 else [0, 1]
    return network.op(layer, "expand_dims", x=blob, axes=axes)


def _preprocessed(network: Network, layer: Layer, blob: Blob, step: Any, image: Any) -> Blob:
    if step.WhichOneof("preprocessor") == "meanImage":
        mean = np.array(step.meanImage.meanImage, np.float32).reshape(network.sizes(layer, blob)[-3:])
        return network.op(layer, "sub", x=blob, y=mean)
    scaler = step.scaler
    space = image.ColorSpace.Name(image.colorSpace)
    colours = {"RGB": [scaler.redBias, scaler.greenBias, scaler.blueBias],
               "BGR": [scaler.blueBias, scaler.greenBias, scaler.redBias]}  # fmt: skip
    bias = np.array(colours.get(space, [scaler.grayBias]), np.float32).reshape(-1, 1, 1)
    scaled = network.op(layer, "mul", x=blob, y=np.float32(scaler.channelScale))
    return network.op(layer, "add", x=scaled, y=bias)
