"""DynamicQuantizeLSTM as an LSTM with dequantised weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import constant, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array

_LSTM = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget")


@dataclass(frozen=True)
class UnfuseDynamicLstm(Contrib):
    """Write an LSTM with dynamically quantised activations as an LSTM with float ones.

    What it does
    ------------
    Dequantises both weights, which must be constant (one scale for each direction, or one for each of its columns),
    transposes them to ONNX's layout and keeps everything else: biases, sequence lengths, initial states, peepholes,
    all directions and attributes.

    Why it matters
    --------------
    Core ML has no integer LSTM; its own takes float weights.

    Example
    -------
    ``y = com.microsoft.DynamicQuantizeLSTM(x, w, r, b, _, _, _, _, ws, wz, rs, rz)`` becomes ``y = LSTM(x, (w - wz) *
    ws, (r - rz) * rs, b)``.

    Equivalence
    -----------
    Approximate within 5e-2 of the largest magnitude: the kernel rounds inputs and states to 8 bits at every step, and
    the float op does not.

    Sources
    -------
    H1.16; onnxruntime operator schema DynamicQuantizeLSTM-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.APPROXIMATE
    bound: ClassVar[float] = 5e-2
    roots: ClassVar[tuple[str, ...]] = ms("DynamicQuantizeLSTM")
    defaults: ClassVar[Mapping[str, Any]] = dict.fromkeys(_LSTM)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        weights = [self._weights(node, value, scale) for value, scale in ((1, 8), (2, 10))]
        if any(w is None for w in weights):
            return NoMatch("its weights, or their scales, are computed at run time")
        w, r = (op.const(np.ascontiguousarray(x)) for x in weights if x is not None)
        rest = [operand(node, i) for i in range(3, 8)]
        outputs = len(node.op.outputs)
        made = op.LSTM(operand(node, 0), w, r, *rest, _outputs=outputs, **self.kept(node, *_LSTM))
        results = made if outputs > 1 else (made,)
        return tuple(results[i] for i, name in enumerate(node.op.outputs) if name)

    @staticmethod
    def _weights(node: OpView, value: int, scale: int) -> Array | None:
        """[directions, 4 * hidden, in] floats of [directions, in, 4 * hidden] integers."""
        parts = [constant(node, i) for i in (value, scale, scale + 1)]
        if any(part is None for part in parts):
            return None
        integers, scales, zeros = (np.asarray(part).astype(np.float32) for part in parts)
        scales, zeros = (v.reshape(v.shape[0], 1, -1) for v in (scales, zeros))
        floats: Array = ((integers - zeros) * scales).transpose(0, 2, 1)
        return floats
