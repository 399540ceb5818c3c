"""Custom layers that coregraft made, as ops whose results only a reference can tell.

Such an op has the domain :data:`DOMAIN` and the layer's class as its type. It takes and gives floats, as layers do;
its attributes are the layer's parameters, and ``coregraft_op``, the ONNX op it stands for.
"""

from __future__ import annotations

import json
from typing import Any

from coregraft.lowering.lift.nn.network import Blob, Layer, Network
from coregraft.lowering.lift.nn.registry import layers
from coregraft.rewriter.errors import InputError
from coregraft.rewriter.types import DType, TensorType

DOMAIN = "coregraft.custom"
#: Attribute with the ONNX op, ``domain.type``.
OP = "coregraft_op"
_SHAPES = "coregraft_output_shapes"


def is_ours(layer: Layer) -> bool:
    """Whether a custom layer says of itself what coregraft's say."""
    return layer.kind == "custom" and _SHAPES in layer.params.parameters


@layers("custom")
def custom(n: Network, layer: Layer) -> None:
    params = layer.params
    attributes: dict[str, Any] = {OP: params.description}
    for key in sorted(params.parameters):
        message = params.parameters[key]
        attributes[key] = getattr(message, message.WhichOneof("value"))
    shapes = _shapes(layer, attributes[_SHAPES])
    values = [n.l.session.fresh(name) for name in layer.outputs]
    inputs = [n.value(blob) for blob in n.xs(layer)]
    n.l.emit(params.className, inputs, attributes, values, DOMAIN)
    for i, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        kind = TensorType(DType.FLOAT, shape)
        n.l.graph.add_value(value, kind)
        blob = Blob(n.fresh(layer.outputs[i]))
        n.learn(blob.name, value, kind)
        n.write(layer, blob, i)


def _shapes(layer: Layer, text: Any) -> list[tuple[int, ...]]:
    try:
        found = json.loads(text)
        shapes = [tuple(int(d) for d in shape) for shape in found]
    except (TypeError, ValueError) as error:
        raise InputError("package-broken", f"{_SHAPES} of the layer is no list of shapes", node=layer.label) from error
    if len(shapes) != len(layer.outputs):
        raise InputError("package-broken", f"{_SHAPES} of the layer is not one shape an output", node=layer.label)
    return shapes
