"""The weights of a layer: floats, half floats, or quantised to a few bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.rewriter.errors import InputError
from coregraft.rewriter.types import Array, Const, DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.nn.network import Layer


def weights(layer: Layer, message: Any, shape: Sequence[int]) -> Const:
    """A ``WeightParams`` message as a constant, expanded when it is asked for. Scales run along the first axis.

    Raises:
        InputError: ``package-broken``: the message does not hold that many values.
    """
    size = math.prod(shape)
    held = _held(message)
    if held != size and not (message.rawValue and held >= size):
        raise InputError(
            "package-broken", f"{held} weights where the layer says {list(shape)}", node=layer.label
        )
    return Const(DType.FLOAT, shape, lambda: _values(message, size).reshape(shape))


def _held(message: Any) -> int:
    """How many values a message holds; bits that fill the last byte count, too."""
    if message.float16Value:
        return len(message.float16Value) // 2
    if message.rawValue:
        return len(message.rawValue) * 8 // max(int(message.quantization.numberOfBits), 1)
    return len(message.floatValue)


def _values(message: Any, size: int) -> Array:
    if message.float16Value:
        return np.frombuffer(message.float16Value, np.float16).astype(np.float32)
    if not message.rawValue:
        return np.array(message.floatValue, np.float32)
    bits = int(message.quantization.numberOfBits)
    # The highest bit comes first, across the borders of bytes.
    stream = np.unpackbits(np.frombuffer(message.rawValue, np.uint8))[: size * bits].reshape(size, bits)
    codes = stream @ (1 << np.arange(bits)[::-1])
    if message.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        return np.array(message.quantization.lookupTableQuantization.floatValue, np.float32)[codes]
    linear = message.quantization.linearQuantization
    scale, bias = (np.array(v, np.float32)[:, None] for v in (linear.scale, linear.bias))
    return np.asarray(codes.reshape(len(scale), -1) * scale + (bias if bias.size else 0), np.float32)
